"""The nearest valid action: onto a space of gymnasium or a spec of torchrl, neither of which is imported."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from functional_dists.family import specification_of
from functional_dists.policy import keys
from functional_dists.policy.keys import Key
from functional_dists.policy.steps import FunctionModule

__all__ = ["Action", "actions", "project", "projection"]

# (value, mask or None) -> the nearest value that is in the space, and allowed by the mask
_Projection = Callable[[Tensor, Tensor | None], Tensor]


def project(spec: Any, action_keys: Sequence[Key], mask_keys: Mapping[Key, Key]) -> FunctionModule:
    """Make the step that projects actions onto their spaces.

    The log-probability of an action that this changes is another one, and is not written: a `ProbabilisticModule` with
    the spec and `safe=True` scores what it has projected.

    Args:
        spec: A space of gymnasium or a spec of torchrl: a composite of both or the one of the first action. A composite
            is looked up by the key of the action, or by the end of the key.
        action_keys: Of the actions.
        mask_keys: The keys of masks by the keys of discrete actions, of shape (*batch, N), True where one is valid.

    Returns:
        A step that writes the actions; those that the composite does not have stay as they are.

    Raises:
        KeyError: the composite has none of the actions, or a mask is not that of an action of the spec.
        TypeError: it is no spec that is known.
    """
    spaces = _spaces(spec, action_keys)
    if alien := [key for key in mask_keys if key not in spaces]:
        raise KeyError(f"there are masks of {alien}, and specs of {[*spaces]}")
    masked = tuple(key for key in spaces if key in mask_keys)
    projections = tuple((key in mask_keys, projection(space)) for key, space in spaces.items())
    in_keys = (*spaces, *(mask_keys[key] for key in masked))
    return FunctionModule(_Projections(projections), in_keys, tuple(spaces))


def _spaces(spec: Any, action_keys: Sequence[Key]) -> dict[Key, Any]:
    if _kind(spec) in _COMPOSITES:
        spaces = {key: space for key in action_keys if (space := _space_of(spec, key)) is not None}
    else:
        spaces = {action_keys[0]: spec}
    if not spaces:
        raise KeyError(f"the spec has none of the actions {[*action_keys]}")
    return spaces


@dataclass(frozen=True, eq=False)
class _Projections:
    """The function of the step: of the actions, then of the masks that some of them have."""

    projections: tuple[tuple[bool, _Projection], ...]

    def __call__(self, params: Any, *inputs: Tensor) -> tuple[Tensor, ...]:
        masks = iter(inputs[len(self.projections) :])
        values = inputs[: len(self.projections)]
        return tuple(
            project(value, next(masks) if has_mask else None)
            for value, (has_mask, project) in zip(values, self.projections, strict=True)
        )


def projection(space: Any) -> _Projection:
    """Return the function (value, mask or None) -> nearest valid value of a space.

    A box clamps. Of integers the nearest one that the mask allows is taken, the lower of two; without a mask that of
    the space counts, if it has one. A row whose mask allows nothing gives the first. A vector that is not one-hot
    becomes that of its largest element.

    Args:
        space: Of gymnasium `Box`, `Discrete`, `MultiDiscrete` or `MultiBinary`; of torchrl `Bounded`, `Unbounded`,
            `Categorical`, `MultiCategorical`, `OneHot`, `MultiOneHot` or `Binary`.

    Raises:
        TypeError: it is something else.

    >>> class Discrete:
    ...     __module__, n, start = "gymnasium.spaces", 4, 0
    >>> projection(Discrete())(torch.tensor([1, 7]), torch.tensor([True, False, True, False]))
    tensor([0, 2])
    """
    kind = _kind(space)
    if kind not in _MAKERS:
        known = ", ".join(".".join(name) for name in (*_MAKERS, *_COMPOSITES))
        raise TypeError(f"spec must be one of {known}, got {type(space).__module__}.{type(space).__name__}")
    return _MAKERS[kind](space)


def _kind(space: Any) -> tuple[str, str] | None:
    """Return the package and the name of the first class of this object that is known."""
    for base in type(space).__mro__:
        kind = (base.__module__.partition(".")[0], base.__name__)
        if kind in _MAKERS or kind in _COMPOSITES:
            return kind
    return None


def _space_of(spec: Any, key: Key) -> Any:
    path = keys.path_of(key)
    for start in range(len(path)):
        space = spec
        for part in path[start:]:
            space = _part(space, part)
        if space is not None:
            return space
    return None


def _part(space: Any, name: str) -> Any:
    if space is None or _kind(space) not in _COMPOSITES:
        return None
    if _kind(space) == ("gymnasium", "Tuple"):
        parts = dict(enumerate(space.spaces))
        return parts.get(int(name)) if name.isdigit() else None
    names = space.spaces if hasattr(space, "spaces") else space.keys()
    return space[name] if name in names else None


# ------------------------------------------------------------------------------------------------ outcomes and actions
@dataclass(frozen=True, eq=False)
class Action:
    """How what a family draws is stored as an action of a space: outcome k of a discrete one is `start + k`.

    start: The first action; of a vector of integers those of its elements.
    project: Gives the nearest action of the space, with `safe`.
    mask_key: Where in the data the mask of the valid actions is.
    """

    start: int | tuple[int, ...] = 0
    project: _Projection | None = None
    mask_key: Key | None = None

    @property
    def is_shifted(self) -> bool:
        """Whether an action is another number than its outcome."""
        return any(self.start) if isinstance(self.start, tuple) else self.start != 0

    @property
    def changes(self) -> bool:
        """Whether there is anything to do, be it only to look at the shape of vectors."""
        return isinstance(self.start, tuple) or self.is_shifted or self.project is not None

    def of(self, outcome: Any, data: Any) -> Any:
        """Return the action that is stored."""
        return self.nearest(self._moved(outcome, 1), data)

    def nearest(self, action: Any, data: Any) -> Any:
        """Return the nearest action that is valid, if there is a projection."""
        if self.project is None:
            return action
        return self.project(action, None if self.mask_key is None else keys.get(data, self.mask_key))

    def outcome(self, action: Any) -> Any:
        """Return the outcome of a stored action."""
        return self._moved(action, -1)

    def _moved(self, value: Any, sign: int) -> Any:
        if isinstance(self.start, int):
            return value + sign * self.start if self.start else value
        if value.shape[-1:] != (len(self.start),):
            raise ValueError(
                f"the spec is of {len(self.start)} integers, and the family's value of shape {tuple(value.shape)} has "
                "no such last axis: give it parameters with an axis for them, such as logits of shape (*batch, "
                f"{len(self.start)}, N), or a composite of a family and a Discrete space for each"
            )
        return value + sign * torch.tensor(self.start, dtype=value.dtype, device=value.device)


def actions(
    spec: Any, families: Mapping[Key, Any], safe: bool = False, mask_keys: Mapping[Key, Key] | None = None
) -> dict[Key, Action]:
    """Return how the values of families are stored as actions of a spec, by the keys of those that it has.

    Args:
        spec: As `project` takes it.
        families: The families of the heads by the keys of their actions.
        safe: Whether actions are projected onto the spec.
        mask_keys: As `project` takes it.

    Raises:
        KeyError: the composite has none of the actions.
        TypeError: it is no spec that is known.
        ValueError: a family draws what is no action of its space.

    >>> class Discrete:
    ...     __module__, n, start = "gymnasium.spaces", 3, -1
    >>> from functional_dists import categorical
    >>> actions(Discrete(), {"action": categorical})["action"].of(torch.tensor([0, 1, 2]), {})
    tensor([-1,  0,  1])
    """
    found = {}
    for key, space in _spaces(spec, list(families)).items():
        nearest = projection(space)
        _check_fit(key, families[key], space, nearest)
        start = getattr(nearest, "start", 0)
        found[key] = Action(start, nearest if safe else None, (mask_keys or {}).get(key))
    return found


# What the families of each layout of values draw, which spaces have such actions, and which families do for others.
_DRAWS = {"per row": "integers", "one-hot": "one-hot vectors", "per element": "real numbers"}
_SPACES = {
    "per row": ("Discrete", "Categorical", "MultiDiscrete", "MultiCategorical", "Unbounded"),
    "one-hot": ("OneHot", "Box", "Bounded", "Unbounded"),
    "per element": ("Box", "Bounded", "Unbounded"),
}
_CURES = {
    "Discrete": "use a family of integers, such as categorical",
    "Categorical": "use a family of integers, such as categorical",
    "OneHot": "use a family of one-hot vectors, such as one_hot_categorical",
    "Box": "use a family of real numbers, such as tanh_normal, or a Discrete space with the lowest action as its start",
    "Bounded": "use a family of real numbers, such as tanh_normal, or a Categorical spec",
}
_CURE_OF_VECTORS = "use a composite of a family for each element, in a composite of their spaces"


def _check_fit(key: Key, family: Any, space: Any, nearest: Any) -> None:
    spec = specification_of(getattr(family, "log_prob", None))
    layout = None if spec is None else spec.value_layout
    package, name = _kind(space) or ("", "")
    fits = layout not in _SPACES or name in _SPACES[layout]
    if isinstance(nearest, _Integers) and layout == "per row":
        fits = len(set(nearest.sizes)) == 1  # one table of logits has one number of outcomes
    elif isinstance(nearest, _Box) and layout == "per row":
        fits = not nearest.low.is_floating_point() and not nearest.low.any()
    if layout is not None and not fits:
        named = family.__name__.rpartition(".")[2] if hasattr(family, "__name__") else repr(family)
        raise ValueError(
            f"the spec of {key!r}, {package}'s {name}, does not fit the family {named}, which draws "
            f"{_DRAWS[layout]}: {_CURES.get(name, _CURE_OF_VECTORS)}; the spec is {space}"
        )


# ------------------------------------------------------------------------------------------------------------- spaces
@dataclass(frozen=True, eq=False)
class _Box:
    low: Tensor
    high: Tensor

    def __call__(self, value: Tensor, mask: Tensor | None) -> Tensor:
        low, high = (_like(bound, value) for bound in (self.low, self.high))
        return torch.minimum(torch.maximum(value, low), high)


@dataclass(frozen=True, eq=False)
class _Integers:
    """Integers in ranges of their own, one for each element of the last axis; their masks are joined."""

    sizes: tuple[int, ...]
    start: tuple[int, ...]
    mask: Tensor | None = None

    def __call__(self, value: Tensor, mask: Tensor | None) -> Tensor:
        mask = self.mask if mask is None else mask
        masks = [None] * len(self.sizes) if mask is None else mask.split(self.sizes, -1)
        parts = zip(value.unbind(-1), masks, self.sizes, self.start, strict=True)
        return torch.stack([_nearest(part, mask, size, start) for part, mask, size, start in parts], -1)


@dataclass(frozen=True, eq=False)
class _Integer:
    size: int
    start: int = 0
    mask: Tensor | None = None

    def __call__(self, value: Tensor, mask: Tensor | None) -> Tensor:
        return _nearest(value, self.mask if mask is None else mask, self.size, self.start)


@dataclass(frozen=True, eq=False)
class _OneHots:
    """One-hot vectors joined along the last axis."""

    sizes: tuple[int, ...]
    mask: Tensor | None = None

    def __call__(self, value: Tensor, mask: Tensor | None) -> Tensor:
        mask = self.mask if mask is None else mask
        masks = [None] * len(self.sizes) if mask is None else mask.split(self.sizes, -1)
        parts = zip(value.split(self.sizes, -1), masks, self.sizes, strict=True)
        return torch.cat([_nearest_one_hot(part, mask, size) for part, mask, size in parts], -1)


@dataclass(frozen=True, eq=False)
class _Bits:
    def __call__(self, value: Tensor, mask: Tensor | None) -> Tensor:
        if value.dtype == torch.bool:
            return value
        return _rounded(value).clamp(0, 1)


def _anything(value: Tensor, mask: Tensor | None) -> Tensor:
    return value


def _nearest(value: Tensor, mask: Tensor | None, size: int, start: int) -> Tensor:
    place = (_rounded(value) - start).clamp(0, size - 1)
    if mask is None:
        return place + start
    if mask.shape[-1] != size:
        raise ValueError(f"the mask must have {size} entries in its last axis, got shape {tuple(mask.shape)}")
    places = torch.arange(size, device=value.device)
    gap = places - place[..., None]
    # Unlike one another, so that no tie is left to the order in which argmin looks.
    distance = torch.where(mask.to(value.device), 2 * gap.abs() + (gap > 0), 2 * size + places)
    return distance.argmin(-1).to(value.dtype) + start


def _nearest_one_hot(value: Tensor, mask: Tensor | None, size: int) -> Tensor:
    place = _nearest(value.to(torch.int8 if value.dtype == torch.bool else value.dtype).argmax(-1), mask, size, 0)
    nearest = (torch.arange(size, device=value.device) == place[..., None]).to(value.dtype)
    # What is valid passes as it is, with its gradient.
    return torch.where((value == nearest).all(-1, keepdim=True), value, nearest)


def _rounded(value: Tensor) -> Tensor:
    return value.round() if value.is_floating_point() else value


def _like(bound: Tensor, value: Tensor) -> Tensor:
    if torch.broadcast_shapes(bound.shape, value.shape) != value.shape:
        raise ValueError(f"a spec of shape {tuple(bound.shape)} does not fit an action of shape {tuple(value.shape)}")
    return bound.to(value)


def _sizes(nvec: Any) -> tuple[int, ...]:
    if len(nvec.shape) != 1:
        raise TypeError(f"nvec must have one axis, got shape {tuple(nvec.shape)}")
    return tuple(int(size) for size in nvec)


_COMPOSITES = (("gymnasium", "Dict"), ("gymnasium", "Tuple"), ("torchrl", "Composite"))
_MAKERS: dict[tuple[str, str], Callable[[Any], _Projection]] = {
    ("gymnasium", "Box"): lambda space: _Box(torch.as_tensor(space.low), torch.as_tensor(space.high)),
    ("gymnasium", "Discrete"): lambda space: _Integer(int(space.n), int(space.start)),
    ("gymnasium", "MultiDiscrete"): lambda space: _Integers(_sizes(space.nvec), tuple(map(int, space.start))),
    ("gymnasium", "MultiBinary"): lambda space: _Bits(),
    ("torchrl", "Bounded"): lambda spec: _Box(spec.space.low, spec.space.high),
    ("torchrl", "Unbounded"): lambda spec: _anything,
    ("torchrl", "Categorical"): lambda spec: _Integer(int(spec.space.n), 0, spec.mask),
    ("torchrl", "MultiCategorical"): lambda spec: _Integers(_sizes(spec.nvec), (0,) * len(spec.nvec), spec.mask),
    ("torchrl", "OneHot"): lambda spec: _OneHots((int(spec.space.n),), spec.mask),
    ("torchrl", "MultiOneHot"): lambda spec: _OneHots(tuple(int(box.n) for box in spec.space), spec.mask),
    ("torchrl", "Binary"): lambda spec: _Bits(),
}
