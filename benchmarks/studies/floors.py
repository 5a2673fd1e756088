"""Time the fewest PyTorch operations that could do what a goal speaks of, beside this package and TorchRL.

2026-11-27, before the C kernels. Found: 28 us for the eager pair of tanh_normal at (256, 6) and 62 us for that of
masked_categorical at (256, 64), which is 0.6 of what ours took. The goals left no time for checks, so the kernels of C
were written.

    python -m benchmarks.studies.floors

Each is written for its inputs alone: bounds of -1 and 1, which an action may reach, shapes that are not checked,
sums in float32, no derivatives that nobody asks for. No code of PyTorch operations is much faster, so where the
column of the goal is smaller than that of the fewest operations it cannot be reached by such code. Of an ensemble it
is the compiled update of the networks alone, with the mean of their squared outputs for a loss.
"""

import argparse
import math
import os
import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks import cases
from benchmarks.cases import RATE, Arrays, Case
from benchmarks.contenders import ours, tensors, torchrl
from benchmarks.goals import COMPILED, EAGER, GOALS, Goal
from benchmarks.measures import medians
from benchmarks.progress import say, steps

Call = Callable[[], object]


def fewest_of_pair(data: dict[str, Tensor]) -> Call:
    loc, scale = data["loc"], data["scale"]
    generator = torch.Generator().manual_seed(0)
    constant = torch.tensor(-0.5 * math.log(2 * math.pi) - 2 * math.log(2))

    def call() -> tuple[Tensor, Tensor]:
        noise = torch.randn(loc.shape, generator=generator)
        x = torch.addcmul(loc, scale, noise)
        density = torch.addcmul(constant, noise, noise, value=-0.5) - scale.log()
        density = density.add(x, alpha=2).add(functional.softplus(-2 * x), alpha=2)
        return torch.tanh(x), density.sum(-1)

    return call


def fewest_of_log_prob(data: dict[str, Tensor]) -> Call:
    value = data["value"]
    constant = torch.tensor(-0.5 * math.log(2 * math.pi))

    def log_prob(loc: Tensor, scale: Tensor) -> Tensor:
        x = torch.atanh(value)
        z = (x - loc) / scale
        return (torch.addcmul(constant - torch.log1p(-value * value), z, z, value=-0.5) - scale.log()).sum(-1)

    return tensors.with_gradient(log_prob, [data["loc"], data["scale"]]).call


def fewest_of_choice(data: dict[str, Tensor]) -> Call:
    logits, mask = data["logits"], data["mask"]
    generator = torch.Generator().manual_seed(0)
    outside = torch.tensor(-math.inf)

    def call() -> tuple[Tensor, Tensor]:
        probs = torch.softmax(torch.where(mask, logits, outside), -1)
        uniform = torch.rand(len(probs), 1, generator=generator)
        drawn = (probs.cumsum(-1) <= uniform).sum(-1, keepdim=True)
        return drawn, probs.gather(-1, drawn).log()

    return call


def fewest_of_update(data: dict[str, Tensor]) -> Call:
    def loss_of(weights: dict[str, Tensor], observation: Tensor) -> Tensor:
        loc, scale = tensors.policy(weights, observation)
        return (loc.square() + scale.square()).mean()

    def update(weights: dict[str, Tensor], observation: Tensor) -> dict[str, Tensor]:
        gradients = torch.func.grad(loss_of)(weights, observation)
        return {name: weights[name] - RATE * gradients[name] for name in weights}

    weights = {name: data[name] for name in ("w1", "b1", "w2", "b2")}
    compiled = torch.compile(torch.vmap(update), fullgraph=True)
    return lambda: compiled(weights, data["observation"])


FEWEST: dict[tuple[Case, tuple[str, ...]], Callable[[dict[str, Tensor]], Call]] = {
    (Case("tanh_normal", "sample_and_log_prob", (256, 6)), EAGER): fewest_of_pair,
    (Case("tanh_normal", "log_prob", (256, 6)), EAGER): fewest_of_log_prob,
    (Case("masked_categorical", "sample_and_log_prob", (256, 64)), EAGER): fewest_of_choice,
    (cases.ENSEMBLES[-1], COMPILED): fewest_of_update,
}


def prepared(contender: str, case: Case, arrays: Arrays) -> Call:
    framework, form = contender.split("/")
    call = {"ours": ours, "torchrl": torchrl}[framework].prepare(form, case, arrays, "cpu")
    assert call is not None
    return call.call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=51)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {arguments.threads} of {os.cpu_count()} cores; medians in us\n")
    print(
        "| work | peer's best | goal | fewest operations | ours | the goal is within reach |\n|---|---|---|---|---|---|"
    )
    for goal in steps(GOALS, "goals"):
        fewest = FEWEST.get((goal.case, goal.ours)) if isinstance(goal, Goal) else None
        if fewest is None or not isinstance(goal, Goal):
            continue
        case, arrays = goal.case, cases.inputs(goal.case)
        calls = {name: prepared(name, case, arrays) for name in (*goal.ours, *goal.peers)}
        calls["fewest"] = fewest(tensors.from_numpy(arrays, case, "cpu"))
        is_large = case in cases.ENSEMBLES
        median = medians(calls, 11 if is_large else arguments.rounds, 1 if is_large else 100)
        peer = min(median[name] for name in goal.peers)
        cells = [case.name, *(f"{us:.0f}" for us in (peer, peer / goal.times, median["fewest"], median[goal.ours[0]]))]
        say(f"| {' | '.join([*cells, 'yes' if median['fewest'] <= peer / goal.times else 'no'])} |")
        torch._dynamo.reset()


if __name__ == "__main__":
    main()
