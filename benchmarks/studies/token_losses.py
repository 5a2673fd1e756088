"""Time log-probs, entropies and both, with their gradients, against the formulas of TRL, TorchRL and PyTorch.

2026-11-30, on a busy machine. Found: eager, at (2, 32, 32000), log-prob, entropy and both take 6.3, 6.5 and 7.1 ms in
float32 and 5.5, 7.0 and 7.6 ms in bfloat16; TRL 16.4, 18.9 and 37.0 ms, and 10.4, 15.9 and 28.5 ms. The log-prob at
(8, 32, 32000) takes 18.5 ms, TorchRL's 40.4 ms. Compiled, the entropy of categories at (64, 32000) takes 8.4 ms and
the naive formula 11.0 ms, where it took 54 ms before; the log-prob 9.9 and 9.6 ms. At (256, 6), with the gradient in
the compiled function, categories and masked ones take 1.3 to 1.4 times as long as the naive formula, before 1.5 to 1.8.
What is left are guards of dynamo: a log-prob of categories takes 86 us, 51 us without guards, and the naive formula 63
and 48 us. It has 267 managers of guards beside 106.

    python -m benchmarks.studies.token_losses [--only WORDS] [--rounds N]

One thread; every row is a call and its backward pass. Calls take turns, and a cell is the median of their processor
times, which other work on the machine disturbs least. The formulas of TRL 1.16 (trl/trainer/utils.py, without Triton)
are `selective_log_softmax` and `entropy_from_logits`: logits minus logsumexp for float32, log_softmax part by part for
half precision, and entropies of 128 rows at a time. "naive" is the log_softmax of the whole table. Masked families get
a mask that allows 9 of 10 outcomes.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping

import torch
import torchrl.modules as theirs
from torch import Tensor

from benchmarks.progress import say, steps
from functional_dists import categorical, llm_masked_categorical, masked_categorical, random

Call = Callable[..., Tensor]
WORDS = ("log_prob", "entropy", "both")
SMALL = [(family, shape) for shape in ((256, 6), (256, 64), (64, 32_000)) for family in ("categorical", "masked")]
TOKENS = [((2, 32, 32_000), "float32"), ((2, 32, 32_000), "bfloat16"), ((8, 32, 32_000), "float32")]
TOKENS += [((8, 32, 32_000), "bfloat16"), ((2, 16, 128_256), "bfloat16")]


# ------------------------------------------------------------------------------------------------------------ formulas
def naive_log_prob(logits: Tensor, value: Tensor) -> Tensor:
    return logits.log_softmax(-1).gather(-1, value[..., None]).squeeze(-1)


def naive_entropy(logits: Tensor) -> Tensor:
    """The product is 0 where a logit is masked."""
    log_probs = logits.log_softmax(-1)
    return -(log_probs.exp() * log_probs.clamp(min=torch.finfo(logits.dtype).min)).sum(-1)


def trl_log_prob(logits: Tensor, value: Tensor) -> Tensor:
    if logits.dtype == torch.float32:
        total = torch.stack([torch.logsumexp(part, -1) for part in logits])
        return logits.gather(-1, value[..., None]).squeeze(-1) - total
    return torch.stack([naive_log_prob(part, index) for part, index in zip(logits, value, strict=True)])


def trl_entropy(logits: Tensor) -> Tensor:
    parts = logits.reshape(-1, logits.shape[-1]).split(128)
    tables = [part.log_softmax(-1) for part in parts]
    return torch.cat([-(table.exp() * table).sum(-1) for table in tables]).reshape(logits.shape[:-1])


def torchrl_of(made: object, value: Tensor, word: str) -> Tensor:
    parts = {"log_prob": lambda: made.log_prob(value), "entropy": lambda: made.entropy()}
    return parts[word]() if word in parts else parts["log_prob"]() + parts["entropy"]()


def ours(family: object, word: str, parameters: tuple[Tensor, ...], value: Tensor) -> Tensor:
    if word == "log_prob":
        return family.log_prob(*parameters, value)
    if word == "entropy":
        return family.entropy(*parameters)
    log_prob, entropy = family.log_prob_and_entropy(*parameters, value)
    return log_prob + entropy


def either(log_prob: Call, entropy: Call) -> Callable[[str, Tensor, Tensor], Tensor]:
    """Return a function of a word, logits and value."""

    def call(word: str, logits: Tensor, value: Tensor) -> Tensor:
        if word == "both":
            return log_prob(logits, value) + entropy(logits)
        return log_prob(logits, value) if word == "log_prob" else entropy(logits)

    return call


NAIVE, TRL = either(naive_log_prob, naive_entropy), either(trl_log_prob, trl_entropy)


# ------------------------------------------------------------------------------------------------------------- timings
def with_gradient(call: Callable[[Tensor], Tensor], logits: Tensor) -> Callable[[], object]:
    leaf = logits.clone().requires_grad_()

    def run() -> None:
        leaf.grad = None
        call(leaf).float().sum().backward()

    return run


def contenders(word: str, kind: str, shape: tuple[int, ...], dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    """Return what is timed: eager and compiled forms by name."""
    key = random.key(0)
    logits = random.normal(key, shape).to(dtype)
    value = random.randint(random.fold_in(key, 1), shape[:-1], 0, shape[-1])
    mask = random.bernoulli(random.fold_in(key, 2), shape, 0.9)
    mask.scatter_(-1, value[..., None], True)
    if kind == "tokens":
        is_answer = torch.ones(shape[:-1], dtype=torch.bool)
        forms = {
            "ours": lambda leaf: ours(llm_masked_categorical, word, (leaf, is_answer), value),
            "naive": lambda leaf: NAIVE(word, leaf, value),
            "TorchRL": lambda leaf: torchrl_of(theirs.LLMMaskedCategorical(leaf, is_answer), value, word),
            "TRL": lambda leaf: TRL(word, leaf, value),
        }
    elif kind == "masked":
        forms = {
            "ours": lambda leaf: ours(masked_categorical, word, (leaf, mask), value),
            "naive": lambda leaf: NAIVE(word, leaf.masked_fill(~mask, -torch.inf), value),
            "TorchRL": lambda leaf: torchrl_of(theirs.MaskedCategorical(logits=leaf, mask=mask), value, word),
        }
    else:
        forms = {
            "ours": lambda leaf: ours(categorical, word, (leaf,), value),
            "naive": lambda leaf: NAIVE(word, leaf, value),
            "TorchRL": lambda leaf: torchrl_of(torch.distributions.Categorical(logits=leaf), value, word),
        }
    calls = {}
    for name, form in forms.items():
        calls[name] = with_gradient(form, logits)
        if name != "TRL":
            torch.compiler.reset()
            calls[f"{name}, compiled"] = with_gradient(torch.compile(form), logits)
    return calls


def medians(calls: Mapping[str, Callable[[], object]], rounds: int, repeats: int) -> dict[str, float]:
    """Return the median microseconds of processor time per call, without the first round."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            start = time.process_time()
            for _ in range(repeats):
                call()
            times[name].append((time.process_time() - start) / repeats * 1e6)
    return {name: statistics.median(found[1:]) for name, found in times.items()}


def can_run(name: str, call: Callable[[], object]) -> bool:
    """Whether a peer has such a function for these inputs; ours and the naive formula must run."""
    try:
        call()
    except (NotImplementedError, RuntimeError, ValueError, AttributeError):
        if not name.startswith(("TorchRL", "TRL")):
            raise
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="rows whose name contains this text")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    columns = ["ours", "ours, compiled", "naive", "naive, compiled", "TorchRL", "TorchRL, compiled", "TRL"]
    print("| " + " | ".join(["with gradient, us", *columns]) + " |\n|" + "---|" * (len(columns) + 1))
    cells = [(kind, shape, "float32") for kind, shape in SMALL] + [("tokens", *cell) for cell in TOKENS]
    for kind, shape, dtype in steps(cells, "cells"):
        for word in WORDS:
            row = f"{kind} {word} {shape} {dtype}"
            if options.only not in row:
                continue
            calls = contenders(word, kind, shape, getattr(torch, dtype))
            calls = {name: call for name, call in calls.items() if can_run(name, call)}
            size = torch.Size(shape).numel()
            found = medians(calls, options.rounds, max(1, min(200, 2**20 // size)))
            texts = [f"{found[name]:,.0f}" if name in found else "-" for name in columns]
            say("| " + " | ".join([row, *texts]) + " |")


if __name__ == "__main__":
    main()
