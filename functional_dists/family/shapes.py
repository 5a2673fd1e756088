"""Checks of the shapes of parameters and values, and of `event_dims`."""

from collections.abc import Sequence

import torch
from torch import Tensor

from functional_dists.family.kinds import Kind
from functional_dists.family.specification import Specification

__all__ = ["broadcast_shape", "checked_shape", "parameter_shape", "require", "resolved_event_dims", "value_shape"]


def broadcast_shape(*tensors: Tensor) -> torch.Size:
    """Return the shape that `tensors` broadcast to.

    >>> broadcast_shape(torch.zeros(4, 1), torch.zeros(3))
    torch.Size([4, 3])
    """
    shape = tensors[0].shape
    for tensor in tensors[1:]:
        if tensor.ndim and tensor.shape != shape:
            return torch.broadcast_shapes(*(t.shape for t in tensors))
    return shape


def require(condition: Tensor, parameter: str, trouble: str) -> None:
    """Raise a ValueError with `parameter`, `trouble` and the first position where `condition` is False.

    >>> require(torch.tensor([True, False]), "scale", "must be positive")
    Traceback (most recent call last):
    ...
    ValueError: scale must be positive; this fails at position (1,)
    """
    if not condition.all():
        position = tuple((~condition).nonzero()[0].tolist())
        raise ValueError(f"{parameter} {trouble}" + (f"; this fails at position {position}" if position else ""))


def checked_shape(spec: Specification, tensors: Sequence[Tensor]) -> torch.Size:
    """Return the common shape of the parameters.

    Raises:
        ValueError: a value does more than add leading axes, or parameters of rows have no axis.
    """
    shape = parameter_shape(spec, tensors)
    if spec.of_rows and spec.fit is None and not all(tensor.ndim for tensor in tensors):
        _require_rows(spec, tensors)
    for argument, tensor in zip(spec.arguments, tensors, strict=True):
        layout = argument.kind.layout
        if not argument.is_parameter and layout == "vector" and not tensor.ndim:
            raise ValueError(f"{spec.name}: {argument.name} must have an axis, the last one is that of a vector")
        if not argument.is_parameter and (
            tensor.ndim or layout in ("one-hot", "vector", "outcomes")
        ):  # a number is scored at every position
            _check_value_shape(spec, argument.name, tensor.shape, value_shape(argument.kind, shape))
    return shape


def _require_rows(spec: Specification, tensors: Sequence[Tensor]) -> None:
    """Raise a ValueError if the parameters have no last axis: one of those with rows of their own, or all others."""
    given = [(a.name, a.kind.layout, t) for a, t in zip(spec.arguments, tensors, strict=True) if a.is_parameter]
    are_numbers = not any(tensor.ndim for _, layout, tensor in given if layout == "per element")
    needs_axis = ("per row", "per element") if are_numbers else ("per row",)
    if wrong := [name for name, layout, tensor in given if not tensor.ndim and layout in needs_axis]:
        raise ValueError(
            f"{spec.name}: {' and '.join(wrong)} of shape () must have a last axis, that of the outcomes; give a "
            "number for each outcome, as torch.zeros(3) does for three"
        )


def value_shape(kind: Kind, shape: torch.Size) -> torch.Size:
    """Return the shape of one value, and of one draw, for parameters of this common shape.

    >>> value_shape(Kind("Index", "integer", "per row"), torch.Size([2, 3]))
    torch.Size([2])
    """
    if kind.layout == "per row":
        return shape[:-1]
    return shape if kind.size is None else torch.Size((*shape[:-1], kind.size))


def parameter_shape(spec: Specification, tensors: Sequence[Tensor]) -> torch.Size:
    """Return the common shape of the parameters among the arguments of a verb."""
    given = [(a.name, a.kind.layout, t) for a, t in zip(spec.arguments, tensors, strict=True) if a.is_parameter]
    if spec.fit is not None:
        shapes = [t.shape for _, _, t in given]
        try:
            return spec.fit(*shapes)
        except ValueError as error:
            raise ValueError(f"{spec.name}: {error}: {_listed(given, shapes)}") from None
    shapes = [_own_shape(layout, tensor.shape) for _, layout, tensor in given]
    if not shapes:  # a function of values alone
        return tensors[0].shape
    if all(shape == shapes[0] for shape in shapes[1:]):
        return shapes[0]  # a fast path: `torch.broadcast_shapes` takes 20 us
    try:
        return torch.broadcast_shapes(*shapes)
    except RuntimeError:
        raise ValueError(
            f"{spec.name}: the shapes of the parameters do not broadcast: {_listed(given, shapes)}"
        ) from None


def _own_shape(layout: str, shape: torch.Size) -> torch.Size:
    """Return the shape of a parameter that broadcasts with those of the others."""
    if layout == "per row":
        return torch.Size((*shape[:-1], 1))
    return shape[:-1] if layout == "matrix" else shape


def _listed(given: Sequence[tuple[str, str, Tensor]], shapes: Sequence[torch.Size]) -> str:
    return ", ".join(f"{name} {tuple(shape)}" for (name, _, _), shape in zip(given, shapes, strict=True))


def _check_value_shape(spec: Specification, name: str, value: torch.Size, shape: torch.Size) -> None:
    if not _ends_with(value, shape):
        has_column = value[-1:] == (1,) and _ends_with(value[:-1], shape)
        cure = "call .squeeze(-1) on it" if has_column else "expand it"
        raise ValueError(
            f"{spec.name}: {name} of shape {tuple(value)} does not fit the parameters, whose values have "
            f"shape {tuple(shape)}: it may only add leading axes, as a value does not broadcast; {cure}"
        )


def _ends_with(shape: torch.Size, end: torch.Size) -> bool:
    return len(shape) >= len(end) and shape[len(shape) - len(end) :] == end


def resolved_event_dims(spec: Specification, given: int | None, default: int, shape: torch.Size) -> int:
    """Return the number of trailing axes to sum over; the default is 0 for parameters without axes."""
    if given is None:
        given = default if len(shape) else 0
    if not isinstance(given, (int, torch.SymInt)):
        raise TypeError(f"{spec.name}: event_dims must be an integer, got {given!r}")
    if given < 0 or given > len(shape):
        raise ValueError(
            f"{spec.name}: event_dims={given} does not fit the parameters, which broadcast to {tuple(shape)}; "
            f"it must lie between 0 and {len(shape)}"
        )
    return given
