"""Masks as one flat tensor: bool, of shape (*batch, outcomes), with all parts side by side."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from functional_dists.composite.structure import has_names


def is_flat(given: Any) -> bool:
    """Say whether a mask is one tensor or array, not a structure of several."""
    return isinstance(given, Tensor | np.ndarray)


def as_flat(given: Any, size: int, what: str) -> Tensor:
    """Return a tensor or an array as a flat mask.

    Raises:
        TypeError: it is neither.
        ValueError: its last axis does not have `size` entries.

    >>> as_flat(np.array([0, 1], dtype=np.int8), 2, "Discrete")
    tensor([False,  True])
    """
    if not is_flat(given):
        raise TypeError(f"the mask of {what} must be a tensor or an array, got {type(given).__name__}")
    mask = torch.as_tensor(given)
    if mask.ndim == 0 or mask.shape[-1] != size:
        raise ValueError(
            f"the mask of {what} must have {size} entries in its last axis, one for each outcome, "
            f"got shape {tuple(mask.shape)}"
        )
    return mask if mask.dtype == torch.bool else mask != 0


def joined(parts: Sequence[Tensor | None], sizes: Sequence[int]) -> Tensor:
    """Return the flat masks of several parts side by side; None allows everything.

    >>> joined([None, torch.tensor([[True, False]])], [1, 2])
    tensor([[ True,  True, False]])
    """
    given = [part for part in parts if part is not None]
    # Arrays are on the CPU; they go to where the tensors are.
    device = next((part.device for part in given if part.device.type != "cpu"), torch.device("cpu"))
    batch = torch.broadcast_shapes(*[part.shape[:-1] for part in given])
    full = [
        torch.ones((*batch, size), dtype=torch.bool) if part is None else part.expand(*batch, size)
        for part, size in zip(parts, sizes, strict=True)
    ]
    return torch.cat([part.to(device) for part in full], -1)


def entries(given: Any, names: Sequence[Any], what: str) -> list[Any]:
    """Return the parts of a structure by name; a mapping has the names, or their texts, and may lack some: None.

    Raises:
        TypeError: it is no structure.
        ValueError: it has other parts.
    """
    if has_names(given):
        got = {str(name): given[name] for name in given.keys()}  # noqa: SIM118 (a TensorDict iterates over rows)
        if unknown := sorted(set(got) - set(map(str, names))):
            raise ValueError(f"{what} has {unknown}, which are not among {[*map(str, names)]}")
        return [got.get(str(name)) for name in names]
    if not isinstance(given, tuple | list):
        raise TypeError(f"{what} must hold {[*names]}, got {type(given).__name__}")
    if len(given) != len(names):
        raise ValueError(f"{what} must hold {[*names]}, got {len(given)} entries")
    return list(given)
