"""Options that may be a number or a tensor: their shapes and values are checked here, for all functions."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from functional_dists.special.constant import PLAIN_TENSORS, is_plain

__all__ = ["AT_LEAST_1", "NOT_NEGATIVE", "POSITIVE", "SHARE", "Range", "fixed", "per_element", "per_row"]


class Range(NamedTuple):
    """The numbers that an option may be."""

    text: str  # for the message
    holds: Callable[[Any], Any]  # whether a number, or every element of a tensor, is one of them


NOT_NEGATIVE = Range("not negative", lambda x: x >= 0)
POSITIVE = Range("positive and finite", lambda x: (x > 0) & (x < math.inf))
SHARE = Range("between 0 and 1", lambda x: (x >= 0) & (x <= 1))
AT_LEAST_1 = Range("at least 1", lambda x: x >= 1)


def per_row(
    function: str, name: str, given: Any, batch: torch.Size, *, dtype: torch.dtype, device: torch.device, within: Range
) -> Tensor:
    """Return an option with one number for every row of a batch ``(*B)`` as a tensor that broadcasts to ``(*B, 1)``.

    Numbers outside the range raise where eager code can see them (tensors on the CPU, outside transforms and tracers),
    and become NaN where it cannot; integers are left as they are.

    Args:
        function: The function whose option it is, for messages.
        name: The option.
        given: A number, or a tensor that broadcasts to the batch.
        batch: The shape of the batch.
        dtype: The dtype of the result; integers alone are taken where it is one of integers.
        device: The device of the result.
        within: The numbers it may be.

    Returns:
        The numbers, with an axis of size 1 behind.

    Raises:
        TypeError: `given` is no number or tensor of the right kind.
        ValueError: it does not broadcast to the batch, or holds numbers outside the range.

    >>> options = {"dtype": torch.float32, "device": torch.device("cpu"), "within": NOT_NEGATIVE}
    >>> per_row("f", "t", torch.tensor([0.5, 2.0]), torch.Size([4, 2]), **options)
    tensor([[0.5000],
            [2.0000]])
    >>> per_row("f", "t", torch.ones(2, 1), torch.Size([2]), **options)
    Traceback (most recent call last):
    ...
    ValueError: f: t of shape (2, 1) does not broadcast against the batch (2,): give one number, or one for every row
    """
    wanted = f"does not broadcast against the batch {tuple(batch)}: give one number, or one for every row"
    return _checked(function, name, given, batch, wanted, dtype, device, within).unsqueeze(-1)


def per_element(
    function: str, name: str, given: Any, shape: torch.Size, *, dtype: torch.dtype, device: torch.device, within: Range
) -> Tensor:
    """Return an option with one number for every element of the parameters, as a tensor that broadcasts to their shape.

    It is checked as that of `per_row` is.

    >>> options = {"dtype": torch.float32, "device": torch.device("cpu"), "within": NOT_NEGATIVE}
    >>> per_element("f", "atol", torch.ones(3), torch.Size([2]), **options)
    Traceback (most recent call last):
    ...
    ValueError: f: atol of shape (3,) does not broadcast to the shape (2,) of the parameters
    """
    wanted = f"does not broadcast to the shape {tuple(shape)} of the parameters"
    return _checked(function, name, given, shape, wanted, dtype, device, within)


def fixed(given: Any) -> float | None:
    """Return an option as a Python number where it is one, finite, not 0 and known to be so; None elsewhere.

    >>> fixed(np.float32(0.5)), fixed(0.0), fixed(torch.tensor(0.5))
    (0.5, None, None)
    """
    if isinstance(given, Tensor) or torch.compiler.is_compiling():
        return None
    number = float(given)
    return number if 0 < abs(number) < math.inf else None


def _checked(
    function: str,
    name: str,
    given: Any,
    shape: torch.Size,
    wanted: str,
    dtype: torch.dtype,
    device: torch.device,
    within: Range,
) -> Tensor:
    if isinstance(given, np.ndarray) and given.ndim == 0:  # as which `torch.compile` shows a number of NumPy
        given = torch.as_tensor(given)
    if isinstance(given, np.generic):
        given = given.item()
    if not isinstance(given, Tensor):
        _check_number(function, name, given, dtype, within)
        # Under torch.compile torch.full keeps the number symbolic, where torch.as_tensor would compile it in.
        number = torch.full((), given, dtype=dtype, device=device)
        return _or_nan(number, within) if torch.compiler.is_compiling() else number
    if given.dtype == torch.bool or given.dtype.is_complex or (given.dtype.is_floating_point > dtype.is_floating_point):
        raise TypeError(f"{function}: {_kind(name, dtype)}, got {given.dtype}")
    if not _broadcasts_to(given.shape, shape):
        raise ValueError(f"{function}: {name} of shape {tuple(given.shape)} {wanted}")
    if not _can_look_at(given):
        return _or_nan(given.to(device, dtype), within)
    is_within = within.holds(given.detach())
    if not is_within.all():
        position = tuple((~is_within).nonzero()[0].tolist())
        at = f" at position {position}" if position else ""
        raise ValueError(f"{function}: {name} must be {within.text}, got {given[position].item()}{at}")
    return given.to(device, dtype)


def _check_number(function: str, name: str, given: Any, dtype: torch.dtype, within: Range) -> None:
    kinds = (int, float, torch.SymInt, torch.SymFloat) if dtype.is_floating_point else (int, torch.SymInt)
    if not isinstance(given, kinds) or isinstance(given, bool):
        raise TypeError(f"{function}: {_kind(name, dtype)}, got {given!r}")
    # A comparison of a symbolic number would compile the answer in.
    if not torch.compiler.is_compiling() and not within.holds(given):
        raise ValueError(f"{function}: {name} must be {within.text}, got {given}")


def _can_look_at(given: Tensor) -> bool:
    """Say whether this is eager code, where the numbers can be read without waiting for a device."""
    return is_plain() and not torch._C._is_tracing() and given.is_cpu and type(given) in PLAIN_TENSORS


def _kind(name: str, dtype: torch.dtype) -> str:
    return f"{name} must be " + ("a number or a tensor" if dtype.is_floating_point else "an integer or integer tensor")


def _or_nan(tensor: Tensor, within: Range) -> Tensor:
    """Return the tensor, NaN for numbers that eager code refuses."""
    return torch.where(within.holds(tensor), tensor, torch.nan) if tensor.is_floating_point() else tensor


def _broadcasts_to(given: torch.Size, shape: torch.Size) -> bool:
    if len(given) > len(shape):
        return False
    return all(a in (1, b) for a, b in zip(reversed(given), reversed(shape), strict=False))
