"""Options that families of tokens share: a soft cap on logits, a temperature, and a kept set as the support."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from functional_dists.discrete.kept import Kept, as_mask
from functional_dists.family.options import NOT_NEGATIVE, POSITIVE, fixed, per_row
from functional_dists.special.chunks import by_chunks
from functional_dists.special.temperature import positive, tempered

__all__ = ["Options", "adjusted", "as_mask", "check_softcap", "restricted", "row_temperature"]


def check_softcap(function: str, cap: Any) -> None:
    """Raise an error if a soft cap is not a positive number.

    >>> check_softcap("f", -1.0)
    Traceback (most recent call last):
    ...
    ValueError: f: softcap must be positive and finite, got -1.0
    """
    if isinstance(cap, torch.SymFloat):
        return
    if isinstance(cap, (Tensor, bool, complex, str)) or not hasattr(cap, "__float__"):
        raise TypeError(f"{function}: softcap must be a number, got {cap!r}")
    if not 0 < cap < math.inf:
        raise ValueError(f"{function}: softcap must be {POSITIVE.text}, got {cap}")


def row_temperature(function: str, temperature: Any, logits: Tensor) -> Tensor | float | None:
    """Return a temperature as a number that eager code divides by, or as a tensor ``(*B, 1)``; None stays None."""
    if temperature is None:
        return None
    full = torch.promote_types(logits.dtype, torch.float32)
    batch, device = logits.shape[:-1], logits.device
    given = per_row(
        function, "temperature", temperature, batch, dtype=torch.float64, device=device, within=NOT_NEGATIVE
    )
    number = fixed(temperature)
    return positive(given, full).expand(*batch, 1) if number is None else number


def adjusted(logits: Tensor, softcap: float | None, temperature: Tensor | float | None) -> Tensor:
    """Return softcap tanh(logits / softcap) / temperature of a tile of logits, in float32 at least; -inf stays -inf.

    >>> adjusted(torch.tensor([1.0, 60.0, -math.inf]), 30.0, 0.5)
    tensor([ 1.9993, 57.8417,    -inf])
    """
    if softcap is None and temperature is None:
        return logits
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if softcap is not None:
        logits = torch.where(logits == -math.inf, logits.detach(), softcap * torch.tanh(logits / softcap))
    return logits if temperature is None else tempered(logits, temperature, logits.dtype)


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


class Options(NamedTuple):
    """What the options of a verb make of the logits and the mask."""

    mask: Tensor  # of positions or of tokens
    temperature: Tensor | float | None
    softcap: float | None

    @staticmethod
    def checked(
        function: str,
        logits: Tensor,
        mask: Tensor,
        temperature: Tensor | float | None,
        softcap: float | None,
        support: Kept | None,
    ) -> "Options":
        """Return the checked options, for the messages of a function."""
        if softcap is not None:
            check_softcap(function, softcap)
        return Options(restricted(logits, mask, support), row_temperature(function, temperature, logits), softcap)

    def detached(self) -> "Options":
        """Return the options without their gradient."""
        temperature = self.temperature
        return self._replace(temperature=temperature.detach() if isinstance(temperature, Tensor) else temperature)

    def by_chunks(self, function: Callable[..., Tensor], logits: Tensor, *others: Tensor) -> Tensor:
        """Apply a function of logits, mask and others to chunks; the options change the logits of a chunk alone."""
        mask, temperature, softcap = self
        if isinstance(temperature, Tensor):

            def of_rows(logits: Tensor, temperature: Tensor, *rest: Tensor) -> Tensor:
                return function(adjusted(logits, softcap, temperature), *rest)

            return by_chunks(of_rows, logits, temperature, mask, *others)

        def of_all(logits: Tensor, *rest: Tensor) -> Tensor:
            return function(adjusted(logits, softcap, temperature), *rest)

        return by_chunks(of_all, logits, mask, *others)
