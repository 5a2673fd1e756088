"""Projections: the nearest valid action of a space of gymnasium or of a spec of torchrl."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from functional_dists.family.reprs import call
from functional_dists.policy.keys import Key
from functional_dists.policy.spaces import spaces_of
from functional_dists.policy.steps import FunctionModule, made_by
from functional_dists.spaces.kinds import COMPOSITES, Kind, kind_of
from functional_dists.special.constant import table_of

# A function of a value and a mask or None, which returns the nearest value of the space that the mask allows
Projection = Callable[[Tensor, Tensor | None], Tensor]


def project(spec: Any, action_keys: Sequence[Key], mask_keys: Mapping[Key, Key]) -> FunctionModule:
    """Make a step that projects actions onto their spaces.

    It does not update log-probabilities. A `ProbabilisticModule` with the spec and `safe=True` projects before it
    scores.

    Args:
        spec: A space of gymnasium or a spec of torchrl, either a composite or that of the first action. A composite is
            looked up by the key of the action, or by the end of the key.
        action_keys: The keys of the actions.
        mask_keys: The key of the mask for each action key, for discrete actions. A mask has shape (*batch, N), and is
            True where an action is valid.

    Returns:
        A step that writes the actions. Actions that a composite spec lacks stay as they are.

    Raises:
        KeyError: the spec has none of the actions, or there is a mask for an action that the spec lacks.
        TypeError: the spec is of an unknown class.
    """
    spaces = spaces_of(spec, action_keys)
    if unknown := [key for key in mask_keys if key not in spaces]:
        raise KeyError(f"there are masks of {unknown}, and specs of {[*spaces]}")
    projections = tuple((key in mask_keys, projection(space)) for key, space in spaces.items())
    in_keys = (*spaces, *(mask_keys[key] for key in spaces if key in mask_keys))
    step = FunctionModule(_ProjectAll(projections), in_keys, tuple(spaces))
    return made_by(step, call("policy.project", spec, [*action_keys], dict(mask_keys)))


@dataclass(frozen=True, eq=False)
class _ProjectAll:
    """The function of the step: its inputs are the actions, then the masks.

    projections: For every action whether it has a mask, and its projection.
    """

    projections: tuple[tuple[bool, Projection], ...]

    def __call__(self, params: Any, *inputs: Tensor) -> tuple[Tensor, ...]:
        count = len(self.projections)
        masks = iter(inputs[count:])
        return tuple(
            project(value, next(masks) if has_mask else None)
            for value, (has_mask, project) in zip(inputs[:count], self.projections, strict=True)
        )


def projection(space: Any) -> Projection:
    """Return the function of a value and a mask or None that returns the nearest valid value of a space.

    A value is clamped to a box. An integer becomes the nearest one that the mask allows, of two equally near ones the
    lower. Without a mask the mask of the space applies, if it has one. If a mask allows nothing, the result is the
    first integer. A vector that is not one-hot becomes the one-hot vector of its largest element.

    Args:
        space: A `Box`, `Discrete`, `MultiDiscrete` or `MultiBinary` of gymnasium; or a `Bounded`, `Unbounded`,
            `Categorical`, `MultiCategorical`, `OneHot`, `MultiOneHot` or `Binary` of torchrl.

    Raises:
        TypeError: the space is of an unknown class.

    >>> class Discrete:
    ...     __module__, n, start = "gymnasium.spaces", 4, 0
    >>> projection(Discrete())(torch.tensor([1, 7]), torch.tensor([True, False, True, False]))
    tensor([0, 2])
    """
    kind = kind_of(space, PROJECTIONS)
    if kind is None:
        known = ", ".join(".".join(name) for name in (*PROJECTIONS, *COMPOSITES))
        raise TypeError(f"spec must be one of {known}, got {type(space).__module__}.{type(space).__name__}")
    return PROJECTIONS[kind](space)


@dataclass(frozen=True, eq=False)
class Box:
    """Clamps to bounds."""

    low: Tensor
    high: Tensor

    def __call__(self, value: Tensor, mask: Tensor | None) -> Tensor:
        for bound in (self.low, self.high):
            if torch.broadcast_shapes(bound.shape, value.shape) != value.shape:
                shapes = f"{tuple(bound.shape)} does not fit an action of shape {tuple(value.shape)}"
                raise ValueError(f"a spec of shape {shapes}")
        low, high = table_of(self._bounds, value)
        return torch.minimum(torch.maximum(value, low), high)

    def _bounds(self, like: Tensor) -> tuple[Tensor, Tensor]:
        return self.low.to(like), self.high.to(like)


@dataclass(frozen=True, eq=False)
class Integers:
    """Gives the nearest integers, one for each element of the last axis; each has its own range.

    sizes: The number of integers in each range.
    start: The first integer of each range.
    mask: The masks of the space, joined along the last axis.
    """

    sizes: tuple[int, ...]
    start: tuple[int, ...]
    mask: Tensor | None = None

    def __call__(self, value: Tensor, mask: Tensor | None) -> Tensor:
        masks = _split(self.mask if mask is None else mask, self.sizes)
        parts = zip(value.unbind(-1), masks, self.sizes, self.start, strict=True)
        return torch.stack([_nearest(*part) for part in parts], -1)


@dataclass(frozen=True, eq=False)
class _Integer:
    """Gives the nearest integer from `start` to `start + size - 1`."""

    size: int
    start: int = 0
    mask: Tensor | None = None

    def __call__(self, value: Tensor, mask: Tensor | None) -> Tensor:
        return _nearest(value, self.mask if mask is None else mask, self.size, self.start)


@dataclass(frozen=True, eq=False)
class _OneHots:
    """Gives the nearest one-hot vectors, which are joined along the last axis, as are the masks."""

    sizes: tuple[int, ...]
    mask: Tensor | None = None

    def __call__(self, value: Tensor, mask: Tensor | None) -> Tensor:
        masks = _split(self.mask if mask is None else mask, self.sizes)
        parts = zip(value.split(self.sizes, -1), masks, self.sizes, strict=True)
        return torch.cat([_nearest_one_hot(*part) for part in parts], -1)


def _bits(value: Tensor, mask: Tensor | None) -> Tensor:
    return value if value.dtype == torch.bool else _rounded(value).clamp(0, 1)


def _unchanged(value: Tensor, mask: Tensor | None) -> Tensor:
    return value


def _nearest(value: Tensor, mask: Tensor | None, size: int, start: int) -> Tensor:
    index = (_rounded(value) - start).clamp(0, size - 1)
    if mask is None:
        return index + start
    if mask.shape[-1] != size:
        raise ValueError(f"the mask must have {size} entries in its last axis, got shape {tuple(mask.shape)}")
    indices = torch.arange(size, device=value.device)
    gap = indices - index[..., None]
    # All distances differ, so that the result does not depend on how argmin breaks ties.
    distance = torch.where(mask.to(value.device), 2 * gap.abs() + (gap > 0), 2 * size + indices)
    return distance.argmin(-1).to(value.dtype) + start


def _nearest_one_hot(value: Tensor, mask: Tensor | None, size: int) -> Tensor:
    index = _nearest(value.to(torch.int8 if value.dtype == torch.bool else value.dtype).argmax(-1), mask, size, 0)
    nearest = (torch.arange(size, device=value.device) == index[..., None]).to(value.dtype)
    # A valid vector is returned itself, with its gradient.
    return torch.where((value == nearest).all(-1, keepdim=True), value, nearest)


def _rounded(value: Tensor) -> Tensor:
    return value.round() if value.is_floating_point() else value


def _split(mask: Tensor | None, sizes: tuple[int, ...]) -> Sequence[Tensor | None]:
    return [None] * len(sizes) if mask is None else mask.split(sizes, -1)


def _sizes(nvec: Any) -> tuple[int, ...]:
    if len(nvec.shape) != 1:
        raise TypeError(f"nvec must have one axis, got shape {tuple(nvec.shape)}")
    return tuple(int(size) for size in nvec)


PROJECTIONS: dict[Kind, Callable[[Any], Projection]] = {
    ("gymnasium", "Box"): lambda space: Box(torch.as_tensor(space.low), torch.as_tensor(space.high)),
    ("gymnasium", "Discrete"): lambda space: _Integer(int(space.n), int(space.start)),
    ("gymnasium", "MultiDiscrete"): lambda space: Integers(_sizes(space.nvec), tuple(map(int, space.start))),
    ("gymnasium", "MultiBinary"): lambda space: _bits,
    ("torchrl", "Bounded"): lambda spec: Box(spec.space.low, spec.space.high),
    ("torchrl", "Unbounded"): lambda spec: _unchanged,
    ("torchrl", "Categorical"): lambda spec: _Integer(int(spec.space.n), 0, spec.mask),
    ("torchrl", "MultiCategorical"): lambda spec: Integers(_sizes(spec.nvec), (0,) * len(spec.nvec), spec.mask),
    ("torchrl", "OneHot"): lambda spec: _OneHots((int(spec.space.n),), spec.mask),
    ("torchrl", "MultiOneHot"): lambda spec: _OneHots(tuple(int(box.n) for box in spec.space), spec.mask),
    ("torchrl", "Binary"): lambda spec: _bits,
}
