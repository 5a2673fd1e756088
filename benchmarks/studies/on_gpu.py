"""Check every verb of every family on a GPU, and time some beside the peers, in eight minutes at most.

2026-11-30. Found: nothing yet, as no GPU was at hand; put the largest difference, the failures and the shares here.

    PYTHONPATH=. python -m benchmarks.studies.on_gpu > ON_GPU.md
    PYTHONPATH=. python -m benchmarks.studies.on_gpu --device cpu --tiny --no-compile

Three tables come out: verbs that make the host wait, draws beside those of the CPU, and median times. On a CPU the
first one runs the verbs without looking at waits. TorchRL has columns where it is installed. The exit status
is 1 where a verb fails or waits, or where a discrete draw or a word of a key differs.
"""

import argparse
import contextlib
import functools
import importlib.util
import inspect
import math
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks import cases
from benchmarks.cases import Case
from benchmarks.contenders import Prepared, tensors
from benchmarks.progress import say, steps
from benchmarks.report import seconds_as_text
from functional_dists import random
from functional_dists.__main__ import families
from functional_dists.family import verbs

SKIPPED = ("check", "support")  # the first reads values for its messages, the second computes nothing
CONTENDERS = ("ours/eager", "ours/key", "ours/compiled", "torchrl/eager", "torchrl/compiled")
CONTENDERS += ("torch/eager", "torch/compiled")
MINUTES = 8.0
ULPS = 8  # the last place that floating-point draws may differ in, without a mark
Arguments = dict[str, Any]


# --------------------------------------------------------------------------------------------------------------- inputs
def examples(name: str, family: Any, shape: tuple[int, ...]) -> Arguments:
    """Return parameters of a family on the CPU, those of a second distribution, and values to score, by name."""
    source = torch.Generator().manual_seed(0)
    width = shape[-1]

    def normal() -> Tensor:
        return torch.randn(shape, generator=source)

    found: Arguments = {
        "loc": 0.5 * normal(),
        "scale": 0.3 + torch.rand(shape, generator=source),
        "low": torch.linspace(-1.5, -1.0, width),
        "high": torch.linspace(1.0, 2.0, width),
        "logits": normal(),
        "scores": normal(),
        "param": normal(),
        "hidden": normal(),
        "weight": torch.randn((2 * width, width), generator=source),
        "bias": torch.randn(2 * width, generator=source),
        "mask": torch.rand(shape, generator=source) < 0.7,
        "indices": torch.randperm(width, generator=source)[: width // 2 + 1].expand(*shape[:-1], -1),
        "rate": 0.3 + torch.rand(shape, generator=source),
        "concentration1": 0.3 + torch.rand(shape, generator=source),
        "concentration0": 0.3 + torch.rand(shape, generator=source),
        "concentration": 0.3 + torch.rand(shape, generator=source),
        **{name: 0.3 + torch.rand(shape, generator=source) for name in ("df", "df1", "df2")},
        "alpha": 0.3 + torch.rand(shape, generator=source),
        "points": normal(),
        "bins": torch.linspace(-2.0, 2.0, width),
        "scale_tril": torch.eye(width) + 0.1 * torch.randn((width, width), generator=source).tril(-1),
        "factor": torch.randn((width, 2), generator=source),
        "diagonal": 0.3 + torch.rand(shape, generator=source),
        "pre": normal(),
        "logit": normal(),
        "probability": torch.rand(shape, generator=source).clamp(0.01, 0.99),
    }
    found["mask"][..., 0] = True
    parameters = {field: found[field] for field in family.Params._fields}
    other = {"loc": found["loc"] + 0.1, "scale": 0.9 * found["scale"], "logits": normal(), "scores": normal()}
    other["hidden"] = normal()
    found["p"] = family.Params(**parameters)
    found["q"] = family.Params(**{**parameters, **{field: other[field] for field in parameters if field in other}})
    has_sample = hasattr(family, "sample")
    found["value"] = family.sample(random.key(3), *found["p"]) if has_sample else family.mean(*found["p"])
    found["relaxed"] = family.mean(*found["p"]) if hasattr(family, "log_prob_relaxed") else None
    return found


def arguments_of(name: str, verb: str, function: Callable[..., Any], found: Arguments) -> Arguments:
    """Return what a verb is called with, by the names in its signature."""
    signature = inspect.signature(function).parameters
    names = [each for each in signature if each in found and signature[each].kind != inspect.Parameter.KEYWORD_ONLY]
    arguments = {each: found[each] for each in names}
    if verb == "icdf":
        is_row = found["value"].shape == found["probability"].shape[:-1]
        arguments["value"] = found["probability"][..., 0] if is_row else found["probability"]
    elif verb == "log_prob_relaxed":
        arguments["value"] = found["relaxed"]
    return arguments


def moved(value: Any, device: str) -> Any:
    """Return a copy of a tensor, or of those in `Params`, on a device."""
    if isinstance(value, tuple):
        return type(value)(*(moved(part, device) for part in value))
    return value.detach().to(device, copy=True)


def leaves_of(arguments: Arguments) -> list[Tensor]:
    """Return the tensors by which there may be derivatives."""
    parts = [part for value in arguments.values() for part in (value if isinstance(value, tuple) else (value,))]
    return [part for part in parts if part.is_floating_point()]


def calls(shape: tuple[int, ...], device: str) -> Iterator[tuple[str, str, Callable[..., Any], Arguments]]:
    """Yield every family, verb, its function and its arguments on a device."""
    for name, family in families().items():
        found = examples(name, family, shape)
        for verb, function in verbs(family).items():
            if verb not in SKIPPED:
                arguments = arguments_of(name, verb, function, found)
                yield name, verb, function, {each: moved(value, device) for each, value in arguments.items()}


def draws(function: Callable[..., Any]) -> bool:
    return next(iter(inspect.signature(function).parameters)) == "key"


# ---------------------------------------------------------------------------------------------------------------- waits
@contextlib.contextmanager
def waits_are_errors(device: str) -> Iterator[None]:
    if device == "cpu":
        yield
        return
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def with_gradients(function: Callable[..., Any], arguments: Arguments, *key: Any) -> None:
    """Call a verb, and its derivatives by the parameters where it has any."""
    leaves = [leaf.requires_grad_() for leaf in leaves_of(arguments)]
    result = function(*key, **arguments)
    parts = result if isinstance(result, tuple) else (result,)
    total = [part.sum() for part in parts if part.requires_grad]
    if total:
        torch.autograd.grad(total, leaves, allow_unused=True)


def waiting(shape: tuple[int, ...], device: str) -> tuple[int, list[list[str]]]:
    """Return how many verbs were called, and those that fail or make the host wait once their tables are made."""
    count, rows = 0, []
    for name, verb, function, arguments in steps([*calls(shape, device)], "verbs"):
        sources: list[tuple[Any, ...]] = [()]
        if draws(function):
            sources = [(random.key(7).to(device),), (torch.Generator(device).manual_seed(7),)]
        for key in sources:
            count += 1
            what = [f"{name}.{verb}", "generator" if key and isinstance(key[0], torch.Generator) else "key" * len(key)]
            try:
                with_gradients(function, arguments, *key)
                with waits_are_errors(device):
                    with_gradients(function, arguments, *key)
            except Exception as error:
                rows.append([*what, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:150]}"])
    return count, rows


# ---------------------------------------------------------------------------------------------------------------- draws
def ulps(actual: Tensor, expected: Tensor) -> float:
    """Return the largest difference in units of the last place of the expected numbers."""
    wide, limits = expected.double(), torch.finfo(expected.dtype)
    exponent = torch.frexp(wide.abs().clamp(min=limits.tiny)).exponent
    spacing = torch.exp2((exponent - 1).double()) * limits.eps
    error = ((actual.double() - wide).abs() / spacing).nan_to_num(math.inf)
    return float(torch.where(actual == expected, 0.0, error).max())


def draw_calls(shape: tuple[int, ...], device: str) -> Iterator[tuple[str, Callable[[], tuple[Tensor, Tensor]]]]:
    """Yield functions that return what the CPU and what the device draws from one key."""
    key = random.key(2**63 + 11)
    words: dict[str, Callable[[Tensor], Tensor]] = {
        "random.split": lambda key: random.split(key, shape[0]).view(torch.int64),
        "random.fold_in": lambda key: random.fold_in(key, 5).view(torch.int64),
        "random.uniform": lambda key: random.uniform(key, shape, device=key.device),
        "random.normal": lambda key: random.normal(key, shape, device=key.device),
        "random.normal, float64": lambda key: random.normal(key, shape, dtype=torch.float64, device=key.device),
    }
    for what, draw in words.items():
        yield what, functools.partial(_both, draw, {}, {}, key, device)
    for (name, verb, function, here), (*_, there) in zip(calls(shape, "cpu"), calls(shape, device), strict=True):
        if draws(function):
            yield f"{name}.{verb}", functools.partial(_both, function, here, there, key, device)


def _both(
    draw: Callable[..., Any], here: Arguments, there: Arguments, key: Tensor, device: str
) -> tuple[Tensor, Tensor]:
    results = draw(key, **here), draw(key.to(device), **there)
    first, second = (result[0] if isinstance(result, tuple) else result for result in results)
    return first.detach(), second.detach().cpu()


def differences(shape: tuple[int, ...], device: str) -> tuple[list[list[str]], bool, float]:
    """Return a row for each draw, whether all discrete ones are equal, and the largest difference of the others."""
    rows, equal, largest = [], True, 0.0
    for what, call in draw_calls(shape, device):
        try:
            expected, actual = call()
        except Exception as error:  # the other draws are worth their time
            equal = False
            rows.append([what, "-", "-", "-", f"{type(error).__name__}: {str(error)[:150]}"])
            continue
        different = int((actual != expected).sum())
        size = ulps(actual, expected) if expected.is_floating_point() else 0.0
        exact = not expected.is_floating_point() or "one_hot" in what or what == "random.uniform"
        equal = equal and not (exact and different)
        largest = max(largest, size)
        mark = "**differs**" if (exact and different) or size > ULPS else ""
        rows.append([what, f"{expected.numel():,}", f"{different:,}", "-" if exact else f"{size:.2f}", mark])
    return rows, equal, largest


# ---------------------------------------------------------------------------------------------------------------- times
def timed_cases(tiny: bool) -> list[Case]:
    pair, score = "sample_and_log_prob", "log_prob"
    shapes: dict[str, Sequence[tuple[int, ...]]] = {
        "tanh_normal": [(8, 6)] if tiny else [(256, 6), (2**20, 6)],
        "masked_categorical": [(8, 5)] if tiny else [(256, 64), (16_384, 64), (1024, 32_000)],
        "truncated_normal": [(8, 6)] if tiny else [(256, 6), (2**18, 6)],
    }
    found = [Case(family, verb, shape) for family in shapes for shape in shapes[family] for verb in (pair, score)]
    llm = Case(cases.LOGITS, score, (2, 3, 7) if tiny else (8, 256, 32_000), "bfloat16")
    return [*found[:4], llm, *found[4:]]


def prepared(contender: str, case: Case, arrays: cases.Arrays, device: str) -> Prepared | None:
    framework, form = contender.split("/")
    library = importlib.import_module(f"benchmarks.contenders.{framework}")
    result: Prepared | None = library.prepare(form, case, arrays, device)
    return result


def median_seconds(call: Callable[[], Any], device: str, rounds: int) -> float:
    """Return the median of some rounds, each of as many calls as take five milliseconds; CUDA events time a GPU."""
    for _ in range(3):
        call()
    once = tensors.time_calls(call, 3, device)
    count = max(1, min(200, math.ceil(5e-3 / once)))
    return statistics.median(tensors.time_calls(call, count, device) for _ in range(rounds))


def bandwidth(device: str, tiny: bool, rounds: int) -> float:
    """Return the bytes a second that a copy on the device reads and writes."""
    source = torch.ones(2**16 if tiny else 2**28, device=device)
    target = torch.zeros_like(source)
    return 2 * source.nbytes / median_seconds(lambda: target.copy_(source), device, rounds)


def times_of(case: Case, names: Sequence[str], device: str, rounds: int, until: float) -> tuple[dict[str, float], int]:
    """Return the seconds by contender, and the bytes that ours moves at least; stop when time is up."""
    arrays, seconds, size = cases.inputs(case), {}, 0
    for name in names:
        if time.monotonic() > until:
            break
        try:
            call = prepared(name, case, arrays, device)
            if call is None:
                continue
            result = call.call()
            seconds[name] = median_seconds(call.call, device, rounds)
        except Exception as error:
            print(f"{case.name}, {name}: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr, flush=True)
            continue
        parts = result if isinstance(result, tuple) else (result,)
        size = size or sum(int(part.nbytes) for part in (*call.inputs, *parts))
        torch._dynamo.reset()
    return seconds, size


def time_row(case: Case, names: Sequence[str], seconds: dict[str, float], size: int, copy: float) -> list[str]:
    cells = [seconds_as_text(seconds[name]) if name in seconds else "-" for name in names]
    ours = min((seconds[name] for name in seconds if name.startswith("ours/")), default=math.nan)
    peers = min((seconds[name] for name in seconds if not name.startswith("ours/")), default=math.nan)
    ratio = f"{peers / ours:.2f}x" if peers == peers and ours == ours else "-"
    return [case.name, *cells, ratio, f"{size / ours / copy:.1%}" if ours == ours else "-"]


# ----------------------------------------------------------------------------------------------------------------- main
def show(row: Sequence[str]) -> None:
    say(f"| {' | '.join(row)} |")


def heading(title: str, columns: Sequence[str]) -> None:
    print(f"\n## {title}\n")
    show(columns)
    show(["---"] * len(columns))


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small shapes and few rounds, to try this program")
    parser.add_argument("--no-compile", action="store_true", help="time eager code alone")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="after which nothing more is timed")
    options = parser.parse_args(given)
    device, tiny = options.device, options.tiny
    until = time.monotonic() + 60 * options.minutes - 60  # what is being timed then may end
    warnings.simplefilter("ignore")
    chip = "CPU" if device == "cpu" else torch.cuda.get_device_name(device)
    print(f"# On a GPU\n\ntorch {torch.__version__}, Python {sys.version.split()[0]}, {chip}")

    count, failures = waiting((3, 5) if tiny else (64, 6), device)
    heading(f"Verbs that fail or make the host wait: {len(failures)} of {count} calls", ["verb", "source", "error"])
    for row in failures:
        show(row)
    rows, equal, largest = differences((3, 5) if tiny else (4096, 48), device)
    different = [row for row in rows if row[2] != "0"]
    title = f"Draws beside those of the CPU: {len(rows) - len(different)} of {len(rows)} equal to the bit"
    heading(f"{title}, others within {largest:.2f} ulp", ["draw", "numbers", "different", "largest, ulp", ""])
    for row in different:
        show(row)

    rounds = 2 if tiny else 15
    copy = bandwidth(device, tiny, rounds)
    names = [name for name in CONTENDERS if not (options.no_compile and name.endswith("compiled"))]
    if importlib.util.find_spec("torchrl") is None:
        names = [name for name in names if not name.startswith("torchrl/")]
    print(f"\nA copy reads and writes {copy / 1e9:.0f} GB/s. A share is of that, for the bytes that must be moved.")
    heading("Median times; log_prob is forward and backward", ["work", *names, "best peer / ours", "share"])
    for case in steps([*timed_cases(tiny)], "cases"):
        if time.monotonic() > until:
            say(f"\nTime was up before {case.name}.")
            break
        show(time_row(case, names, *times_of(case, names, device, rounds, until), copy))
    return int(bool(failures) or not equal)


if __name__ == "__main__":
    sys.exit(main())
