"""Options that families of tokens share: a soft cap on logits, a temperature, and a kept set as the support."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from functional_dists.discrete.kept import Kept, as_mask
from functional_dists.family.options import POSITIVE, fixed, per_row
from functional_dists.special.adjustment import Adjustment
from functional_dists.special.temperature import positive

__all__ = ["DESCRIBED", "Temperature", "adjustment_of", "check_softcap", "restricted", "row_temperature"]

Temperature = Tensor | float
_NUMBERS = (int, float, np.integer, np.floating, torch.SymInt, torch.SymFloat)

#: The options, for docstrings.
DESCRIBED: dict[str, Any] = {
    "temperature": "What the logits are divided by, after the soft cap: a positive number, or a tensor that broadcasts "
    "to the batch. 1 changes nothing. 0 is refused: `mode` is the greedy choice.",
    "softcap": "Logits become softcap tanh(logits / softcap): a positive number, or None.",
    "support": "A kept set, in any form of the module `kept`: other tokens are masked too. None for all tokens.",
}


def check_softcap(function: str, cap: Any) -> None:
    """Raise an error if a soft cap is not a positive number.

    >>> check_softcap("f", -1.0)
    Traceback (most recent call last):
    ...
    ValueError: f: softcap must be positive and finite, got -1.0
    """
    if isinstance(cap, bool) or not isinstance(cap, _NUMBERS):
        raise TypeError(f"{function}: softcap must be a number, got {cap!r}")
    if not 0 < cap < math.inf:
        raise ValueError(f"{function}: softcap must be {POSITIVE.text}, got {cap}")


def row_temperature(
    function: str, temperature: Any, batch: torch.Size, dtype: torch.dtype, device: torch.device
) -> Tensor | None:
    """Return a temperature of rows ``(*B)`` as a tensor ``(*B, 1)``; None for the number 1, which changes nothing.

    >>> row_temperature("f", 0.0, torch.Size([2]), torch.float32, torch.device("cpu"))
    Traceback (most recent call last):
    ...
    ValueError: f: temperature must be positive and finite, got 0.0
    """
    if type(temperature) in (float, int) and temperature == 1:
        return None
    given = per_row(function, "temperature", temperature, batch, dtype=torch.float64, device=device, within=POSITIVE)
    return positive(given, dtype).expand(*batch, 1)


def adjustment_of(function: str, logits: Tensor, temperature: Any, softcap: Any) -> Adjustment:
    """Return the checked options `temperature` and `softcap`, for logits ``(*B, V)``.

    >>> adjustment_of("f", torch.zeros(2, 3), 0.5, None)
    Adjustment(temperature=0.5, softcap=None)
    """
    if softcap is not None:
        check_softcap(function, softcap)
    full = torch.promote_types(logits.dtype, torch.float32)
    divisor = row_temperature(function, temperature, logits.shape[:-1], full, logits.device)
    return Adjustment(divisor if divisor is None else fixed(temperature) or divisor, softcap)


def restricted(logits: Tensor, mask: Tensor, support: Kept | None) -> Tensor:
    """Return the mask of the tokens in the kept set that a mask of positions or of tokens allows.

    >>> restricted(torch.zeros(2, 3), torch.tensor([True, False]), torch.tensor([[2], [0]]))
    tensor([[False, False,  True],
            [False, False, False]])
    """
    if support is None:
        return mask
    kept = as_mask(support, logits.shape[-1], logits.shape[:-1])
    if kept.shape != logits.shape:
        raise ValueError(
            f"support of shape {tuple(kept.shape)} must have the shape {tuple(logits.shape)} of the logits"
        )
    return kept & (mask[..., None] if mask.ndim < logits.ndim else mask)
