"""Measure the memory that verbs of llm_masked_categorical take at vocabulary scale, beside cross_entropy's.

2026-11-21, figures of 2026-11-27. Found: at (8, 32, 128256) log_prob with its gradient peaks at 2.2 to 2.4 times the
logits, cross_entropy at 3.0; entropy at 2.1 to 2.6, kl at 2.6, sample and mode below 0.3. tests/test_llm.py holds these
limits.

    python -m benchmarks.studies.llm_memory

Every figure comes from a fresh process: the peak of its resident memory during the call (Linux), less what was resident
before it with the logits in place, in multiples of the logits' own size. A call with `backward` includes the gradient
of the logits, which is one of these multiples; `forward` keeps the graph. What cross_entropy keeps for its backward
pass, and what its backward pass adds, are all counted.
"""

import argparse
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from functional_dists import llm_masked_categorical as family
from functional_dists import random

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
CALLS: dict[str, Callable[[Tensor, dict[str, Tensor]], Tensor]] = {
    "cross_entropy": lambda logits, data: torch.nn.functional.cross_entropy(
        logits.flatten(0, -2), data["tokens"].flatten(), reduction="none"
    ),
    "log_prob, positions": lambda logits, data: family.log_prob(logits, data["positions"], data["tokens"]),
    "log_prob, tokens": lambda logits, data: family.log_prob(logits, data["allowed"], data["tokens"]),
    "log_prob, changed": lambda logits, data: family.log_prob(
        logits, data["positions"], data["tokens"], temperature=data["temperature"], softcap=30.0
    ),
    "entropy, positions": lambda logits, data: family.entropy(logits, data["positions"]),
    "entropy, tokens": lambda logits, data: family.entropy(logits, data["allowed"]),
    "kl, positions": lambda logits, data: family.kl((logits, data["positions"]), (data["other"], data["positions"])),
    "sample, positions": lambda logits, data: family.sample(random.key(1), logits, data["positions"]),
    "sample, tokens": lambda logits, data: family.sample(random.key(1), logits, data["allowed"]),
    "mode, tokens": lambda logits, data: family.mode(logits, data["allowed"]),
}


def resident(field: str) -> int:
    """Bytes: VmRSS, what is resident, or VmHWM, the most there was since the last reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def inputs(call: str, shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, dict[str, Tensor]]:
    torch.manual_seed(0)
    logits = torch.empty(shape, dtype=dtype).normal_().requires_grad_()
    data = {
        "tokens": torch.randint(shape[-1], shape[:-1]),
        "positions": torch.rand(shape[:-1]) < 0.9,
        "temperature": torch.linspace(0.5, 2.0, math.prod(shape[:-1])).reshape(shape[:-1]),
        "allowed": torch.zeros(shape if "tokens" in call else (), dtype=torch.bool).bernoulli_(0.9),
        "other": torch.empty(shape if "kl" in call else (), dtype=dtype).normal_(),
    }
    return logits, data


def measure(call: str, direction: str, shape: tuple[int, ...], dtype: torch.dtype) -> tuple[float, float]:
    """Return the peak in multiples of the logits' size, and the seconds."""

    def run(logits: Tensor, data: dict[str, Tensor]) -> Tensor:
        result = CALLS[call](logits, data)
        if direction == "backward":
            result.masked_fill(result == -torch.inf, 0).sum().backward()
        return result

    run(*inputs(call, (2, 2, 50), dtype))  # what is made at a first call, such as thread pools and keys, is not counted
    logits, data = inputs(call, shape, dtype)
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    before, start = resident("VmRSS"), time.perf_counter()
    run(logits, data)
    return (resident("VmHWM") - before) / (logits.numel() * dtype.itemsize), time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs="+", default=[8, 32, 128_256])
    parser.add_argument("--one", nargs=3, metavar=("CALL", "DIRECTION", "DTYPE"), help="measure this in this process")
    arguments = parser.parse_args()
    shape = tuple(arguments.shape)
    if arguments.one:
        call, direction, dtype = arguments.one
        print(*measure(call, direction, shape, DTYPES[dtype]))
        return
    from tqdm import tqdm  # here, as a process that measures does not need it

    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, logits {list(shape)}; peak beyond the inputs")
    print("in multiples of the logits' size / seconds, forward and forward with backward\n")
    columns = [(dtype, direction) for dtype in DTYPES for direction in ("forward", "backward")]
    print("| |", " | ".join(f"{dtype} {direction}" for dtype, direction in columns), "|")
    print("|---" * (len(columns) + 1) + "|")
    for call in tqdm(CALLS, unit=" calls", disable=None):
        cells = []
        for dtype, direction in columns:
            if direction == "backward" and ("sample" in call or "mode" in call):
                cells.append("")
                continue
            options = ["--one", call, direction, dtype, "--shape", *map(str, shape)]
            output = subprocess.run([sys.executable, __file__, *options], check=True, capture_output=True, text=True)
            peak, seconds = map(float, output.stdout.split())
            cells.append(f"{peak:.2f} / {seconds:.2f}")
        with tqdm.external_write_mode():
            print(f"| {call} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
