"""What changes logits before their softmax: a soft cap, then a temperature."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from functional_dists.special.chunks import by_chunks
from functional_dists.special.softmax import masked
from functional_dists.special.temperature import tempered


class Adjustment(NamedTuple):
    """Logits become softcap tanh(logits / softcap), and are then divided by the temperature; None leaves a part out."""

    temperature: Tensor | float | None = None  # positive: (*B, 1), or a number without a derivative
    softcap: float | None = None

    def adjusted(self, logits: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return adjusted logits ``(*B, V)``, in float32 at least; -inf stays -inf.

        A masked logit would decide what `tempered` subtracts from its row. So it is -inf, if there is anything to
        change.

        >>> Adjustment(0.5, 30.0).adjusted(torch.tensor([1.0, 60.0, -math.inf]))
        tensor([ 1.9993, 57.8417,    -inf])
        """
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.temperature is None and self.softcap is None:
            return logits
        logits = masked(logits, mask)
        if self.softcap is not None:
            capped = self.softcap * torch.tanh(logits / self.softcap)
            logits = torch.where(logits == -math.inf, logits.detach(), capped)
        return logits if self.temperature is None else tempered(logits, self.temperature, logits.dtype)

    def detached(self) -> "Adjustment":
        """Return the adjustment without its gradient.

        >>> Adjustment(torch.ones(2, 1, requires_grad=True)).detached().temperature.requires_grad
        False
        """
        temperature = self.temperature
        return self._replace(temperature=temperature.detach() if isinstance(temperature, Tensor) else temperature)

    def by_chunks(self, function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        """Return function(adjustment, *tensors), computed by chunks of rows with the temperatures of these rows.

        >>> Adjustment(2.0).by_chunks(lambda own, table: own.adjusted(table).logsumexp(-1), torch.zeros(2, 3))
        tensor([1.0986, 1.0986])
        """
        if not isinstance(self.temperature, Tensor):
            return by_chunks(partial(function, self), *tensors)
        return by_chunks(partial(_with_temperature, function, self.softcap), *tensors, self.temperature)


def _with_temperature(function: Callable[..., Tensor], softcap: float | None, *tensors: Tensor) -> Tensor:
    """Apply a function of an adjustment and tensors, of which the last one is the temperature."""
    *others, temperature = tensors
    return function(Adjustment(temperature, softcap), *others)
