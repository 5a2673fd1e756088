"""The goals of the benchmarks, and whether a run meets them."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.cases import ENSEMBLES, HEADS, LOGITS, PIPELINE, PIPELINES, Case
from benchmarks.contenders import CONTIGUOUS, PRODUCTS

Medians = Mapping[str, float]  # seconds by contender


@dataclass(frozen=True)
class Goal:
    """The goal that the fastest of `ours` is `times` as fast as the fastest of `peers`."""

    case: Case
    ours: tuple[str, ...]
    peers: tuple[str, ...]
    times: float

    @property
    def text(self) -> str:
        if self.times < 1:
            return f"{_named(self.ours)} at most {1 / self.times:.3g}x the time of {_named(self.peers)}"
        return f"{_named(self.ours)} {self.times:.3g}x as fast as {_named(self.peers)}"

    def outcome(self, medians: Medians) -> tuple[str, bool] | None:
        """Return the measured ratio as text and whether it meets the goal; None if a measurement is missing."""
        ours, theirs = _fastest(self.ours, medians), _fastest(self.peers, medians)
        if ours is None or theirs is None:
            return None
        told = f"{ours / theirs:.2f}x the time" if self.times < 1 else f"{theirs / ours:.2f}x"
        return told, theirs / ours >= self.times


@dataclass(frozen=True)
class Excess:
    """The goal that `slower` takes at most `most` seconds longer than `faster`."""

    case: Case
    slower: str
    faster: str
    most: float

    @property
    def text(self) -> str:
        return f"{self.slower} at most {self.most * 1e6:.0f} us over {self.faster}"

    def outcome(self, medians: Medians) -> tuple[str, bool] | None:
        if self.slower not in medians or self.faster not in medians:
            return None
        excess = medians[self.slower] - medians[self.faster]
        return f"{excess * 1e6:.0f} us", excess <= self.most


def _named(contenders: tuple[str, ...]) -> str:
    return contenders[0] if len(contenders) == 1 else f"the best of {contenders[0].partition('/')[0]}"


def _fastest(contenders: tuple[str, ...], medians: Medians) -> float | None:
    return min((medians[c] for c in contenders if c in medians), default=None)


EAGER, KEY, COMPILED = ("ours/eager",), ("ours/key",), ("ours/compiled",)
OURS = (*EAGER, *KEY, *COMPILED)
TORCHRL, TORCHRL_EAGER, JAX = ("torchrl/eager", "torchrl/compiled"), ("torchrl/eager",), ("jax/jit",)
SIZES = ((256, 6), (16_384, 6), (262_144, 6))
LLM = (8, 32, 32_000)


def _both(case: Case, ours: tuple[str, ...], torchrl: float, jax: float) -> list[Goal]:
    return [Goal(case, ours, TORCHRL, torchrl), Goal(case, ours, JAX, jax)]


def _pair(family: str, shape: tuple[int, ...]) -> Case:
    return Case(family, "sample_and_log_prob", shape)


def _goals() -> list[Goal | Excess]:
    goals: list[Goal | Excess] = [
        Goal(_pair("tanh_normal", SIZES[0]), EAGER, TORCHRL, 3),
        Goal(Case("tanh_normal", "log_prob", SIZES[0]), EAGER, TORCHRL, 2),
    ]
    for verb in ("sample", "log_prob", "entropy"):
        case = Case("truncated_normal", verb, SIZES[0])
        goals += [Goal(case, EAGER, TORCHRL_EAGER, 1), Goal(case, COMPILED, TORCHRL_EAGER, 3)]
    goals.append(Goal(_pair("masked_categorical", (256, 64)), EAGER, TORCHRL, 5))
    for shape in SIZES:
        goals += _both(_pair("tanh_normal", shape), COMPILED, 2, 1.5)
    goals += _both(_pair("masked_categorical", (16_384, 64)), COMPILED, 4, 4)
    goals += _both(_pair("masked_categorical", (256, 32_000)), COMPILED, 6, 6)
    goals += _both(Case(LOGITS, "sample", LLM), OURS, 8, 4)
    goals += _both(Case(LOGITS, "log_prob", LLM), OURS, 1.2, 1.5)
    goals += [Goal(case, EAGER, (PRODUCTS,), 1 / 1.2) for case in HEADS if case.verb != "sample"]
    goals += [Goal(ENSEMBLES[-1], COMPILED, loop, 50) for loop in (TORCHRL_EAGER, EAGER)]
    goals.append(Excess(_pair("tanh_normal", SIZES[0]), *KEY, *EAGER, 150e-6))
    goals += [Goal(_pair("tanh_normal", shape), KEY, EAGER, 1 / 3) for shape in SIZES[1:]]
    goals += [Goal(case, EAGER, (CONTIGUOUS,), 1 / 1.3) for case in PIPELINES]
    for verb in ("sample_and_log_prob", "log_prob"):
        goals.append(Goal(Case(f"{PIPELINE}tanh_normal", verb, SIZES[0]), EAGER, TORCHRL, 2))
    return goals


GOALS = _goals()
