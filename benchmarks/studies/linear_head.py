"""Measure the memory and the time of linear_categorical, beside the table of logits and loops over chunks of rows.

2026-11-30, float32, one thread, on a machine under load. Found: log_prob and log_prob_and_entropy at
(4096, 256, 131072) take 11 MB forward, and 11 to 12 MB beyond gradients of 138 MB backward and in func.grad; the logits
are 2147 MB. At (4096, 256, 8192) the forward pass of log_prob_and_entropy takes 1.5 times its product, that of the
table 3.0 times and linear_cross_entropy 1.8 times; with the backward pass these are 1.2, 2.3 and 1.3 times.

    python -m benchmarks.studies.linear_head

Every figure of memory comes from a fresh process: the peak of its resident memory during the call (Linux), less what
was resident before it, in MB. With `backward` that includes the gradients of hidden and weight, whose size is printed.

Times are medians of interleaved rounds of CPU time in one process, in multiples of the matrix products that the call
needs: one for the forward pass; four with the backward pass, which multiplies again. These products write to memory
that is there.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.progress import say, steps
from benchmarks.studies.llm_memory import resident
from functional_dists import linear_categorical, random

CHUNK = 512  # rows, as in the loops of verl and TRL
Result = tuple[Tensor, ...]


def table(hidden: Tensor, weight: Tensor, token: Tensor) -> Result:
    log_probs = (hidden @ weight.T).log_softmax(-1)
    return log_probs.gather(-1, token[:, None]).squeeze(-1), -(log_probs.exp() * log_probs).sum(-1)


def chunks(hidden: Tensor, weight: Tensor, token: Tensor) -> Result:
    parts = [table(h, weight, t) for h, t in zip(hidden.split(CHUNK), token.split(CHUNK), strict=True)]
    return tuple(torch.cat(part) for part in zip(*parts, strict=True))


def cross_entropy(hidden: Tensor, weight: Tensor, token: Tensor) -> Result:
    return (functional.linear_cross_entropy(hidden, weight, token, reduction="none"),)


def of_family(hidden: Tensor, weight: Tensor, token: Tensor) -> Result:
    log_prob, entropy = linear_categorical.log_prob_and_entropy(hidden, weight, 0.0, token)
    return log_prob, entropy


CALLS: dict[str, Callable[[Tensor, Tensor, Tensor], Result]] = {
    "log_prob_and_entropy": of_family,
    "log_prob": lambda h, w, t: (linear_categorical.log_prob(h, w, 0.0, t),),
    "kl": lambda h, w, t: (linear_categorical.kl((h, w), (h.detach().flip(0), w.detach())),),
    "sample": lambda h, w, t: (linear_categorical.sample(random.key(1), h, w),),
    "table": table,
    "chunks of 512 rows": chunks,
    "linear_cross_entropy": cross_entropy,
}
NOT_TIMED = ("kl", "sample")  # they need other products


def inputs(shape: tuple[int, int, int]) -> tuple[Tensor, Tensor, Tensor]:
    rows, size, count = shape
    torch.manual_seed(0)
    hidden = torch.empty(rows, size).normal_().requires_grad_()
    weight = torch.empty(count, size).normal_(std=size**-0.5).requires_grad_()
    return hidden, weight, torch.randint(count, (rows,))


def run(call: str, direction: str, hidden: Tensor, weight: Tensor, token: Tensor) -> None:
    if direction == "forward":
        with torch.no_grad():
            CALLS[call](hidden, weight, token)
        return
    hidden.grad = weight.grad = None
    if direction == "func.grad":
        torch.func.grad(lambda h, w: sum(r.sum() for r in CALLS[call](h, w, token)), (0, 1))(
            hidden.detach(), weight.detach()
        )
    else:
        sum(r.sum() for r in CALLS[call](hidden, weight, token)).backward()


def peak(call: str, direction: str, shape: tuple[int, int, int]) -> float:
    """Return the peak of resident memory beyond what was there, in MB."""
    run(call, direction, *inputs((20, 8, 600)))  # what a first call makes, such as thread pools, is not counted
    data = inputs(shape)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # resets VmHWM
    before = resident("VmRSS")
    run(call, direction, *data)
    return (resident("VmHWM") - before) / 1e6


def products(direction: str, hidden: Tensor, weight: Tensor, room: tuple[Tensor, Tensor, Tensor]) -> None:
    """Multiply what the direction needs, into memory that is there."""
    logits, by_hidden, by_weight = room
    torch.mm(hidden, weight.T, out=logits)
    if direction != "forward":
        torch.mm(hidden, weight.T, out=logits)
        torch.mm(logits, weight, out=by_hidden)
        torch.mm(logits.T, hidden, out=by_weight)


def times(shape: tuple[int, int, int], rounds: int) -> dict[tuple[str, str], tuple[float, float]]:
    """Return medians for all calls and directions: the seconds, and the ratio to the products of the same round."""
    hidden, weight, token = inputs(shape)
    room = (torch.empty(shape[0], shape[2]), torch.empty_like(hidden.detach()), torch.empty_like(weight.detach()))
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for direction in ("forward", "backward"):
        for turn in steps(range(rounds + 1), "rounds"):
            start = time.process_time()
            products(direction, hidden.detach(), weight.detach(), room)
            bare = time.process_time() - start
            for call in CALLS:
                if call in NOT_TIMED:
                    continue
                start = time.process_time()
                run(call, direction, hidden, weight, token)
                seconds = time.process_time() - start
                if turn:
                    found.setdefault((call, direction), []).append((seconds, seconds / bare))
    return {key: tuple(map(statistics.median, zip(*pairs, strict=True))) for key, pairs in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=[4096, 256, 131_072], metavar=("ROWS", "H", "V"))
    parser.add_argument("--time-shape", type=int, nargs=3, default=[4096, 256, 32_768], metavar=("ROWS", "H", "V"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", nargs="+", default=list(CALLS), help="measure the memory of these")
    parser.add_argument("--one", nargs=2, metavar=("CALL", "DIRECTION"), help="measure this in this process")
    arguments = parser.parse_args()
    shape = tuple(arguments.shape)
    if arguments.one:
        print(peak(*arguments.one, shape))
        return
    rows, size, count = shape
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32\n")
    print(
        f"Peak memory in MB at {shape}; logits {4e-6 * rows * count:.0f}, "
        f"gradients {4e-6 * size * (rows + count):.0f}\n"
    )
    print("| | forward | backward | func.grad |\n|---|---|---|---|")
    for call in steps(arguments.calls, "calls"):
        cells = []
        for direction in ("forward", "backward", "func.grad"):
            if direction != "forward" and (
                call == "sample" or (call, direction) == ("linear_cross_entropy", "func.grad")
            ):
                cells.append("")
                continue
            options = ["--one", call, direction, "--shape", *map(str, shape)]
            command = [sys.executable, "-m", "benchmarks.studies.linear_head", *options]
            cells.append(f"{float(subprocess.run(command, check=True, capture_output=True, text=True).stdout):.0f}")
        say(" ".join([f"| {call} |", " | ".join(cells), "|"]))
    shape = tuple(arguments.time_shape)
    if arguments.rounds:
        print(f"\nTime at {shape}: seconds, and multiples of the products\n")
        for (call, direction), (seconds, ratio) in times(shape, arguments.rounds).items():
            print(f"{direction:9} {call:22} {seconds:7.3f} {ratio:6.2f}")


if __name__ == "__main__":
    main()
