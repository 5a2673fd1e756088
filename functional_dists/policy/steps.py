"""Steps: functions of parameters, a key and data, which return the data with more entries; and sequences of steps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import torch  # noqa: F401 (for the examples)
from torch import Tensor

from functional_dists.family.reprs import call
from functional_dists.policy import keys
from functional_dists.policy.keys import Key
from functional_dists.random import Source

S = TypeVar("S")


class Step(Protocol):
    """The interface of a step: it reads `in_keys` of the data, and returns data that also have `out_keys`.

    A step is immutable and hashable, and does not change its input. `params` is `()` for a step without parameters, and
    `key` may be None if nothing is drawn. A step that holds a distribution also has `dist_params`, `log_prob`,
    `entropy` and `dist`. They are functions of (params, data), and score the actions in the data.
    """

    @property
    def in_keys(self) -> tuple[Key, ...]:
        """The keys that the step reads."""

    @property
    def out_keys(self) -> tuple[Key, ...]:
        """The keys that the step writes."""

    def __call__(self, params: Any, key: Source | None, data: Any, *, interaction_type: Any = None) -> Any:
        """Return the data with the entries of `out_keys`."""


@dataclass(frozen=True, eq=False)
class FunctionModule:
    """A step that applies a function to its parameters and to some entries of the data.

    Args:
        fn: `fn(params, *inputs)`, which returns one value, or one for each of the `out_keys`.
        in_keys: The keys of the inputs. A key is a string, or a tuple of strings for a nested entry.
        out_keys: The keys of the values.

    >>> double = FunctionModule(lambda params, x: 2 * x, ["x"], [("twice", "x")])
    >>> double((), None, {"x": torch.ones(1)})
    {'x': tensor([1.]), 'twice': {'x': tensor([2.])}}
    """

    _made_by: ClassVar[str | None] = None
    fn: Callable[..., Any]
    in_keys: tuple[Key, ...]
    out_keys: tuple[Key, ...]

    def __init__(self, fn: Callable[..., Any], in_keys: Sequence[Any], out_keys: Sequence[Any]) -> None:
        object.__setattr__(self, "fn", fn)
        object.__setattr__(self, "in_keys", keys.as_keys(in_keys))
        object.__setattr__(self, "out_keys", keys.as_keys(out_keys))

    def __repr__(self) -> str:
        return self._made_by or call("FunctionModule", self.fn, [*self.in_keys], [*self.out_keys])

    def __call__(self, params: Any, key: Source | None, data: Any, *, interaction_type: Any = None) -> Any:
        """Return the data with the values of the function."""
        values = self.fn(params, *[keys.get(data, name) for name in self.in_keys])
        if len(self.out_keys) == 1 and not (isinstance(values, tuple) and len(values) == 1):
            values = (values,)
        if not isinstance(values, tuple | list) or len(values) != len(self.out_keys):
            got = f"{len(values)} values" if isinstance(values, tuple | list) else type(values).__name__
            raise ValueError(f"the function of a step with out_keys {self.out_keys} returned {got}")
        return keys.put(data, zip(self.out_keys, values, strict=True))


def made_by(step: S, code: str) -> S:
    """Give a step the code that makes it as its repr."""
    object.__setattr__(step, "_made_by", code)
    return step


class _Scored(NamedTuple):
    """A step that holds a distribution, with its parameters and the data that it reads."""

    step: Any
    params: Any
    data: Any


@dataclass(frozen=True, eq=False)
class Sequential:
    """A sequence of steps; several of them may draw.

    `params` is a tuple with an entry for each step. Every step gets the whole key and folds a hash of its out_keys into
    it, so a further step changes no draw. `log_prob` and `entropy` run the deterministic steps again, and take the
    actions from the data.

    Args:
        steps: The steps.

    Raises:
        ValueError: two steps that draw write the same key.

    >>> from functional_dists import independent_normal, random
    >>> from functional_dists.policy import ProbabilisticModule
    >>> policy = Sequential(
    ...     FunctionModule(lambda weight, x: (weight * x, torch.ones_like(x)), ["x"], ["loc", "scale"]),
    ...     ProbabilisticModule(independent_normal, ["loc", "scale"], ["action"], default_interaction_type="random"),
    ... )
    >>> params = (torch.tensor(3.0), ())
    >>> data = policy(params, random.key(42), {"x": torch.ones(2)})
    >>> data["action"]
    tensor([4.7918, 1.0551])
    >>> policy.log_prob(params, data)
    tensor(-5.3345)
    """

    _made_by: ClassVar[str | None] = None
    steps: tuple[Any, ...]
    in_keys: tuple[Key, ...]
    out_keys: tuple[Key, ...]
    drawn_keys: tuple[Key, ...]

    def __init__(self, *steps: Any) -> None:
        read: dict[Key, None] = {}
        written: dict[Key, None] = {}
        drawn: dict[Key, None] = {}
        for step in steps:
            read.update(dict.fromkeys(key for key in step.in_keys if not any(_overlap(key, out) for out in written)))
            own = getattr(step, "drawn_keys", ())
            if twice := [key for key in own if key in drawn]:
                raise ValueError(f"two of the steps that draw write {twice}")
            drawn.update(dict.fromkeys(own))
            written.update(dict.fromkeys(step.out_keys))
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "in_keys", tuple(read))
        object.__setattr__(self, "out_keys", tuple(written))
        object.__setattr__(self, "drawn_keys", tuple(drawn))

    def __repr__(self) -> str:
        return self._made_by or call("Sequential", *self.steps)

    def __call__(self, params: Any, key: Source | None, data: Any, *, interaction_type: Any = None) -> Any:
        """Return the data with the entries of all steps."""
        for step, own in self._paired(params):
            data = step(own, key, data, interaction_type=interaction_type)
        return data

    def dist_params(self, params: Any, data: Any) -> Any:
        """Return the parameters of the distribution; for several distributions a tuple, in the order of the steps."""
        return _one_or_all([step.dist_params(own, seen) for step, own, seen in self._scored(params, data)])

    def dist(self, params: Any, data: Any) -> Any:
        """Return the distribution as an object; for several distributions a tuple, in the order of the steps."""
        return _one_or_all([step.dist(own, seen) for step, own, seen in self._scored(params, data)])

    def log_prob(self, params: Any, data: Any) -> Tensor:
        """Return the log-probability of the actions in `data`, the sum over the steps that draw."""
        return _total([step.log_prob(own, seen) for step, own, seen in self._scored(params, data)])

    def entropy(self, params: Any, data: Any) -> Tensor:
        """Return the sum of the entropies, each conditional on the actions of the earlier steps in `data`."""
        return _total([step.entropy(own, seen) for step, own, seen in self._scored(params, data)])

    def _paired(self, params: Any) -> Any:
        if not isinstance(params, tuple | list) or len(params) != len(self.steps):
            got = f"{len(params)}" if isinstance(params, tuple | list) else f"a {type(params).__name__}"
            raise ValueError(f"params must be a tuple with an entry for each of the {len(self.steps)} steps, got {got}")
        return zip(self.steps, params, strict=True)

    def _scored(self, params: Any, data: Any) -> list[_Scored]:
        scored, _ = self._replayed(params, data)
        if not scored:
            raise TypeError("none of the steps holds a distribution")
        return scored

    def _replayed(self, params: Any, data: Any) -> tuple[list[_Scored], Any]:
        """Run the deterministic steps again; the data already have what the other steps drew."""
        scored: list[_Scored] = []
        for step, own in self._paired(params):
            if isinstance(step, Sequential):
                inner, data = step._replayed(own, data)
                scored += inner
            elif hasattr(step, "dist_params"):
                scored.append(_Scored(step, own, data))
            else:
                data = step(own, None, data)
        return scored, data


def _overlap(one: Key, other: Key) -> bool:
    """Say whether two keys are the same, or one is below the other."""
    return all(a == b for a, b in zip(keys.path_of(one), keys.path_of(other), strict=False))


def _one_or_all(found: list[Any]) -> Any:
    return found[0] if len(found) == 1 else tuple(found)


def _total(scores: list[Tensor]) -> Tensor:
    total = scores[0]
    for score in scores[1:]:
        if score.shape != total.shape:
            raise ValueError(
                f"the steps' scores have shapes {[tuple(s.shape) for s in scores]}, which are not added up; "
                "use one step with a composite family, which sums over the axes that its heads do not share"
            )
        total = total + score
    return total
