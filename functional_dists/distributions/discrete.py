"""The classes of the discrete families, with the constructors of TorchRL's."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import constraints

from functional_dists.discrete import logits_from_probs, masked_categorical
from functional_dists.discrete.indices import mask_from_indices, used_slots
from functional_dists.distributions.base import FamilyDistribution

__all__ = ["MaskedCategorical"]


class MaskedCategorical(FamilyDistribution):
    """Categorical distribution over the outcomes that a mask allows, or over those that are listed.

    Args:
        logits: Log-probabilities up to a constant, of shape (*batch, N).
        probs: Probabilities up to a factor, instead of `logits`.
        mask: Bool, of the shape of the logits, True where an outcome is allowed.
        indices: Instead of a mask the allowed outcomes themselves, integers of shape (*batch, K). `logits` and `probs`
            are then tables over these.
        neg_inf: What `log_prob` and `logits` say of an outcome that is not allowed.
        padding_value: Marks the unused slots of `indices`.
        use_cross_entropy: Without meaning here.
        padding_side: Kept as an attribute.
        validate_args: As in `torch.distributions`.

    Raises:
        TypeError: the mask is not bool.
        ValueError: not exactly one of `mask` and `indices`, or of `logits` and `probs`, is given; or they do not
            broadcast, or hold invalid numbers.

    >>> allowed = torch.tensor([True, False, True])
    >>> MaskedCategorical(torch.zeros(3), mask=allowed).probs
    tensor([0.5000, 0.0000, 0.5000])
    """

    has_enumerate_support = True

    def __init__(
        self,
        logits: Tensor | None = None,
        probs: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        indices: Tensor | None = None,
        neg_inf: float = -math.inf,
        padding_value: int | None = None,
        use_cross_entropy: bool = True,
        padding_side: str = "left",
        validate_args: bool | None = None,
    ) -> None:
        if (mask is None) == (indices is None):
            raise ValueError("either mask or indices must be given, but not both")
        if probs is not None and logits is None:
            logits = logits_from_probs(probs)
        elif probs is not None or logits is None:
            raise ValueError("either logits or probs must be given, but not both")
        if indices is not None:
            mask = mask_from_indices(indices, logits.shape[-1], padding_value=padding_value)
        self._indices, self._padding_value = indices, padding_value
        self.neg_inf, self.padding_side, self.use_cross_entropy = neg_inf, padding_side, use_cross_entropy
        super().__init__(masked_categorical, (logits, mask), None, validate_args)

    @property
    def logits(self) -> Tensor:
        """The log-probabilities, of the listed outcomes where indices were given."""
        table = masked_categorical.normalized_logits(*self.params)
        return self._listed(self._with_neg_inf(table), self.neg_inf)

    @property
    def probs(self) -> Tensor:
        """The probabilities, of the listed outcomes where indices were given."""
        return self._listed(masked_categorical.probs(*self.params), 0.0)

    def _listed(self, table: Tensor, of_padding: float) -> Tensor:
        if self._indices is None:
            return table
        is_used = used_slots(self._indices, self._padding_value)
        indices = torch.where(is_used, self._indices, 0).expand(*table.shape[:-1], -1)
        return torch.where(is_used, table.gather(-1, indices), of_padding)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of an outcome; `neg_inf` for one that is not allowed."""
        return self._with_neg_inf(super().log_prob(value))

    def _with_neg_inf(self, log_probs: Tensor) -> Tensor:
        return torch.where(log_probs == -math.inf, self.neg_inf, log_probs)

    @property
    def num_samples(self) -> int:
        """The number of outcomes, allowed or not."""
        return int(self.params.logits.shape[-1])

    @property
    def padding_value(self) -> int:
        """What marks the unused slots of the indices."""
        return 0 if self._padding_value is None else self._padding_value

    @property
    def param_shape(self) -> Size:
        """The shape of `logits` and `probs`."""
        return self.logits.shape

    @property
    def support(self) -> Any:
        """The integers from 0 to N - 1."""
        return constraints.integer_interval(0, self.num_samples - 1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Return all outcomes along a new first axis."""
        values = torch.arange(self.num_samples, device=self.params.logits.device)
        values = values.reshape(-1, *[1] * len(self.batch_shape))
        return values.expand(-1, *self.batch_shape) if expand else values

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        """Return the distribution with its parameters expanded to a batch shape."""
        new = super().expand(batch_shape, _instance)
        if self._indices is not None:
            new._indices = self._indices.expand(*batch_shape, -1)
        return new
