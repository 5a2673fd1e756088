"""A discrete family whose values are actions: outcome k is the action `start + k`."""

import functools
from collections.abc import Callable
from typing import Any

import torch  # noqa: F401 (for the examples)
from torch import Tensor
from torch.distributions.constraints import Constraint

from functional_dists.family import verbs
from functional_dists.family.protocol import MadeFamily
from functional_dists.policy.projection import integers

_SCORES = ("log_prob", "cdf", "log_cdf", "survival", "log_survival")
_DRAWS = ("sample", "rsample", "icdf", "mode", "deterministic", "median", "mean")
_PAIRS = ("sample_and_log_prob", "rsample_and_log_prob")


class Shifted(MadeFamily):
    """A family whose outcomes are shifted by `start`, one integer or one for each element of the last axis.

    >>> from functional_dists import categorical
    >>> Shifted(categorical, -1).mode(torch.tensor([5.0, 1.0, 1.0]))
    tensor(-1)
    """

    def __init__(self, family: Any, start: int | tuple[int, ...]) -> None:
        super().__init__(Shifted, (family, start), {})
        self.family, self.start = family, start
        vars(self).update(
            Params=family.Params, **{name: self._shifted_verb(name, verb) for name, verb in verbs(family).items()}
        )

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{self!r} has no {name}" if "_call" in vars(self) else name)

    def _shifted_verb(self, name: str, verb: Callable[..., Any]) -> Callable[..., Any]:
        def score(*arguments: Any, **options: Any) -> Any:
            if "value" not in options:
                *arguments, options["value"] = arguments  # type: ignore[assignment]
            return verb(*arguments, **{**options, "value": options["value"] - self._start(options["value"])})

        def draw(*arguments: Any, **options: Any) -> Any:
            outcome = verb(*arguments, **options)
            return outcome + self._start(outcome)

        def draw_and_score(*arguments: Any, **options: Any) -> Any:
            outcome, log_prob = verb(*arguments, **options)
            return outcome + self._start(outcome), log_prob

        def constraint(*arguments: Any, **options: Any) -> Any:
            return _ShiftedConstraint(verb(*arguments, **options), self._start)

        for names, shifted in ((_SCORES, score), (_DRAWS, draw), (_PAIRS, draw_and_score), (("support",), constraint)):
            if name in names:
                return functools.wraps(verb)(shifted)
        return verb

    def _start(self, like: Tensor) -> Any:
        return self.start if isinstance(self.start, int) else integers(self.start, like)


class _ShiftedConstraint(Constraint):
    """The actions whose outcomes satisfy a constraint."""

    def __init__(self, outcomes: Constraint, start: Callable[[Tensor], Any]) -> None:
        self.outcomes, self._start = outcomes, start

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]
        return self.outcomes.is_discrete

    @property
    def event_dim(self) -> int:  # type: ignore[override]
        return self.outcomes.event_dim

    def check(self, value: Tensor) -> Tensor:
        return self.outcomes.check(value - self._start(value))
