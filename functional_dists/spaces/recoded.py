"""A family whose values are the numbers of an environment, such as `start + k` for outcome k or one-hot vectors."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from functional_dists.family import verbs
from functional_dists.family.protocol import MadeFamily
from functional_dists.family.reprs import call, changed
from functional_dists.spaces.tables import table
from functional_dists.special import one_hot as vectors

_SCORES = ("log_prob", "log_prob_and_entropy", "cdf", "log_cdf", "survival", "log_survival")
_DRAWS = ("sample", "rsample", "icdf", "mode", "deterministic", "median", "mean")
_PAIRS = ("sample_and_log_prob", "rsample_and_log_prob")


class Code(Protocol):
    """A one-to-one map from the outcomes of a family to the numbers of an environment."""

    def encode(self, outcome: Tensor) -> Tensor:
        """Return the numbers of outcomes."""

    def decode(self, value: Tensor) -> Tensor:
        """Return the outcomes of numbers; an outcome that does not exist for other numbers."""


@dataclass(frozen=True)
class Shift:
    """Outcome k is the number `start + k`.

    start: One integer, or nested tuples with one for each element of the last axes.
    dtype: The dtype of the numbers. Default: that of the outcomes.
    """

    start: Any
    dtype: torch.dtype | None = None

    def __repr__(self) -> str:
        return call("Shift", self.start, **changed(Shift, {"dtype": self.dtype}))

    def encode(self, outcome: Tensor) -> Tensor:
        """Return the numbers of outcomes."""
        value = outcome + self._start(outcome)
        return value if self.dtype is None else value.to(self.dtype)

    def decode(self, value: Tensor) -> Tensor:
        """Return the outcomes of numbers."""
        value = value if self.dtype is None else value.long()
        return value - self._start(value)

    def _start(self, like: Tensor) -> Any:
        return self.start if isinstance(self.start, int) else table(self.start, like)


@dataclass(frozen=True)
class Constants:
    """Real numbers, some of which are always the same; the family has 0 for these.

    numbers: The constants, and 0 for elements that vary, as nested tuples.
    """

    numbers: Any

    def __repr__(self) -> str:
        return call("Constants", self.numbers)

    def encode(self, outcome: Tensor) -> Tensor:
        """Return the numbers with the constants in their places."""
        return outcome + table(self.numbers, outcome)

    def decode(self, value: Tensor) -> Tensor:
        """Return the numbers with 0 in the places of the constants."""
        return value - table(self.numbers, value)


@dataclass(frozen=True)
class OneHots:
    """Outcomes are one-hot vectors, which are joined along the last axis.

    counts: The numbers of outcomes. With one alone, the outcomes have no axis for it.
    dtype: The dtype of the vectors.
    joined: Whether the last axis of the outcomes has an entry for each of the counts.
    """

    counts: tuple[int, ...]
    dtype: torch.dtype
    joined: bool

    def encode(self, outcome: Tensor) -> Tensor:
        """Return the vectors of outcomes."""
        parts = outcome.unbind(-1) if self.joined else [outcome]
        found = [self._numbers(count, part) == part[..., None] for count, part in zip(self.counts, parts, strict=True)]
        return torch.cat(found, -1).to(self.dtype)

    def decode(self, value: Tensor) -> Tensor:
        """Return the outcomes of vectors; for one that is not one-hot the number of outcomes."""
        found = [vectors.decoded(part.long())[0] for part in value.split(self.counts, -1)]
        outcome = torch.stack(found, -1) if self.joined else found[0]
        return torch.where(outcome < 0, max(self.counts), outcome)

    @staticmethod
    def _numbers(count: int, like: Tensor) -> Tensor:
        return torch.arange(count, device=like.device)


class Recoded(MadeFamily):
    """A family whose outcomes are replaced by their code.

    >>> from functional_dists import categorical
    >>> Recoded(categorical, Shift(-1)).mode(torch.tensor([5.0, 1.0, 1.0]))
    tensor(-1)
    >>> Recoded(categorical, OneHots((3,), torch.bool, joined=False)).mode(torch.tensor([5.0, 1.0, 1.0]))
    tensor([ True, False, False])
    """

    def __init__(self, family: Any, code: Code) -> None:
        super().__init__(Recoded, (family, code), {})
        self.family, self.code = family, code
        self._text = repr(self)  # compiled code, which asks for verbs, cannot make it
        vars(self).update(
            Params=family.Params, **{name: self._recoded_verb(name, verb) for name, verb in verbs(family).items()}
        )

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{self._text} has no {name}" if "_text" in vars(self) else name)

    def _recoded_verb(self, name: str, verb: Callable[..., Any]) -> Callable[..., Any]:
        code = self.code

        def score(*arguments: Any, **options: Any) -> Any:
            if "value" not in options:
                *arguments, options["value"] = arguments  # type: ignore[assignment]
            return verb(*arguments, **{**options, "value": code.decode(options["value"])})

        def draw(*arguments: Any, **options: Any) -> Any:
            return code.encode(verb(*arguments, **options))

        def draw_and_score(*arguments: Any, **options: Any) -> Any:
            outcome, log_prob = verb(*arguments, **options)
            return code.encode(outcome), log_prob

        def constraint(*arguments: Any, **options: Any) -> Any:
            return _RecodedConstraint(verb(*arguments, **options), code)

        for names, recoded in ((_SCORES, score), (_DRAWS, draw), (_PAIRS, draw_and_score), (("support",), constraint)):
            if name in names:
                return functools.wraps(verb)(recoded)
        return verb


class _RecodedConstraint(Constraint):
    """The numbers whose outcomes satisfy a constraint."""

    def __init__(self, outcomes: Constraint, code: Code) -> None:
        self.outcomes, self._code = outcomes, code

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]
        return self.outcomes.is_discrete

    @property
    def event_dim(self) -> int:  # type: ignore[override]
        return self.outcomes.event_dim

    def check(self, value: Tensor) -> Tensor:
        return self.outcomes.check(self._code.decode(value))
