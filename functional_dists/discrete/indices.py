"""Lists of outcomes: integers of shape (*batch, K), in which a padding value may mark unused slots."""

import torch
from torch import Tensor

__all__ = ["mask_from_indices", "out_of_range", "used_slots"]


def used_slots(indices: Tensor, padding_value: int | None) -> Tensor:
    """Return a mask of the slots that hold an outcome.

    >>> used_slots(torch.tensor([2, -1]), -1)
    tensor([ True, False])
    """
    return torch.ones_like(indices, dtype=torch.bool) if padding_value is None else indices != padding_value


def mask_from_indices(indices: Tensor, num: int, *, padding_value: int | None = None) -> Tensor:
    """Return the mask, bool of shape (*batch, num), that allows the listed outcomes.

    >>> mask_from_indices(torch.tensor([2, 0, -1]), 4, padding_value=-1)
    tensor([ True, False,  True, False])
    """
    is_used = used_slots(indices, padding_value)
    places = torch.where(is_used, indices, 0).long()
    counts = torch.zeros((*indices.shape[:-1], num), dtype=torch.int64, device=indices.device)
    try:
        return counts.scatter_add(-1, places, is_used.long()) > 0
    except RuntimeError as error:
        raise out_of_range(places, num, error) from None


def out_of_range(places: Tensor, num: int, error: Exception) -> Exception:
    """Return a ValueError if an index is out of range, else `error`, which PyTorch raised.

    >>> out_of_range(torch.tensor([2, -1]), 3, RuntimeError())
    ValueError('indices must lie between 0 and 2, got -1; if that marks an unused slot, pass padding_value=-1')
    """
    if torch._C._functorch.is_functorch_wrapped_tensor(places):
        return error
    missing = places[(places < 0) | (places >= num)]
    if not missing.numel():
        return error
    first = int(missing[0])
    return ValueError(
        f"indices must lie between 0 and {num - 1}, got {first}; if that marks an unused slot, pass "
        f"padding_value={first}"
    )
