"""Options of verbs that may be a number or a tensor, one number a row or an element: their checks."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from functional_dists.special.constant import PLAIN_TENSORS, is_plain

__all__ = ["AT_LEAST_1", "NOT_NEGATIVE", "POSITIVE", "UNIT_INTERVAL", "Range", "fixed", "per_element", "per_row"]


class Range(NamedTuple):
    """The set of numbers that an option may take."""

    text: str  # for messages
    holds: Callable[[Any], Any]  # whether a number is in the set, or which elements of a tensor are


NOT_NEGATIVE = Range("at least 0", lambda x: x >= 0)
POSITIVE = Range("positive and finite", lambda x: (x > 0) & (x < math.inf))
UNIT_INTERVAL = Range("between 0 and 1", lambda x: (x >= 0) & (x <= 1))
AT_LEAST_1 = Range("at least 1", lambda x: x >= 1)


def per_row(
    function: str, name: str, given: Any, batch: torch.Size, *, dtype: torch.dtype, device: torch.device, within: Range
) -> Tensor:
    """Return an option with one number for every row of a batch ``(*B)`` as a tensor that broadcasts to ``(*B, 1)``.

    A number outside the range is an error where eager code can read it: a Python number, or a tensor on the CPU,
    outside of transforms and tracers. Elsewhere a floating-point number outside the range becomes NaN, and an integer
    is not checked.

    Args:
        function: The name of the function, for messages.
        name: The name of the option.
        given: A number, or a tensor that broadcasts to the batch.
        batch: The shape of the batch.
        dtype: The dtype of the result. For an integer dtype the option must be integer.
        device: The device of the result.
        within: The range of the option.

    Returns:
        The numbers, with a last axis of size 1.

    Raises:
        TypeError: `given` is not a number or a tensor of the right kind.
        ValueError: `given` does not broadcast to the batch, or holds a number outside the range.

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

    The checks are those of `per_row`.

    >>> options = {"dtype": torch.float32, "device": torch.device("cpu"), "within": NOT_NEGATIVE}
    >>> per_element("f", "atol", torch.ones(3), torch.Size([2]), **options)
    Traceback (most recent call last):
    ...
    ValueError: f: atol of shape (3,) does not broadcast to the shape (2,) of the parameters
    """
    wanted = f"does not broadcast to the shape {tuple(shape)} of the parameters"
    return _checked(function, name, given, shape, wanted, dtype, device, within)


def fixed(given: Any) -> float | None:
    """Return an option as a float if it is a Python or NumPy number, finite and not 0, in eager code; otherwise None.

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
    if isinstance(given, np.ndarray) and given.ndim == 0:  # what `torch.compile` makes of a NumPy number
        given = torch.as_tensor(given)
    if isinstance(given, np.generic):
        given = given.item()
    if not isinstance(given, Tensor):
        _check_number(function, name, given, dtype, within)
        # In compiled code torch.full keeps the number symbolic; torch.as_tensor would make it a constant of the code.
        number = torch.full((), given, dtype=dtype, device=device)
        return _or_nan(number, within) if torch.compiler.is_compiling() else number
    if given.dtype == torch.bool or given.dtype.is_complex or (given.dtype.is_floating_point > dtype.is_floating_point):
        raise TypeError(f"{function}: {_kind(name, dtype)}, got {given.dtype}")
    if not _broadcasts_to(given.shape, shape):
        raise ValueError(f"{function}: {name} of shape {tuple(given.shape)} {wanted}")
    if not _can_read(given):
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
    # Comparing a symbolic number would recompile the code for each result.
    if not torch.compiler.is_compiling() and not within.holds(given):
        raise ValueError(f"{function}: {name} must be {within.text}, got {given}")


def _can_read(given: Tensor) -> bool:
    """Whether the numbers can be read without waiting for a device: in eager code, on the CPU."""
    return is_plain() and not torch._C._is_tracing() and given.is_cpu and type(given) in PLAIN_TENSORS


def _kind(name: str, dtype: torch.dtype) -> str:
    return f"{name} must be " + ("a number or a tensor" if dtype.is_floating_point else "an integer or integer tensor")


def _or_nan(tensor: Tensor, within: Range) -> Tensor:
    """The tensor, with NaN for floating-point numbers outside the range."""
    return torch.where(within.holds(tensor), tensor, torch.nan) if tensor.is_floating_point() else tensor


def _broadcasts_to(given: torch.Size, shape: torch.Size) -> bool:
    if len(given) > len(shape):
        return False
    return all(a in (1, b) for a, b in zip(reversed(given), reversed(shape), strict=False))
