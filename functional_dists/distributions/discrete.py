"""The classes of distributions over integers, with the constructors of TorchRL's classes."""

import math
from typing import Any, ClassVar

import torch
from torch import Size, Tensor
from torch.distributions import constraints

from functional_dists.discrete import logits_from_probs, masked_categorical, ordinal, sparse_categorical
from functional_dists.distributions.base import FamilyDistribution

__all__ = ["Discrete", "MaskedCategorical", "Ordinal"]


class Discrete(FamilyDistribution):
    """Base of the distributions over the integers 0, ..., N - 1."""

    arg_constraints: ClassVar[dict[str, Any]] = {"probs": constraints.simplex, "logits": constraints.real_vector}
    has_enumerate_support = True

    @property
    def logits(self) -> Tensor:
        """The log-probabilities."""
        return self._verb("normalized_logits")(*self.params)

    @property
    def probs(self) -> Tensor:
        """The probabilities."""
        return self._verb("probs")(*self.params)

    @property
    def num_samples(self) -> int:
        """The number of outcomes, allowed or not."""
        return int(self.params[0].shape[-1])

    @property
    def param_shape(self) -> Size:
        """The shape of `logits` and `probs`."""
        return self.probs.shape

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Return all outcomes along a new first axis."""
        values = torch.arange(self.num_samples, device=self.device)
        values = values.reshape(-1, *[1] * len(self.batch_shape))
        return values.expand(-1, *self.batch_shape) if expand else values


class MaskedCategorical(Discrete):
    """Categorical distribution over the outcomes that a mask allows, or over listed outcomes.

    Args:
        logits: Log-probabilities up to a constant, of shape (*batch, N).
        probs: Probabilities up to a factor, instead of `logits`.
        mask: Bool, of the shape of the logits, True where an outcome is allowed.
        indices: Instead of a mask, the allowed outcomes: distinct integers of shape (*batch, K). The attributes
            `logits` and `probs` are then tables over these K; values and draws remain outcomes.
        neg_inf: What `log_prob` and `logits` return for an outcome that is not allowed.
        padding_value: Marks the unused slots of `indices`; a row with no used slot draws it.
        use_cross_entropy: Ignored.
        padding_side: Kept as an attribute.
        validate_args: As in `torch.distributions`.

    Raises:
        TypeError: the mask is not bool.
        ValueError: not exactly one of `mask` and `indices`, or of `logits` and `probs`, is given; or they do not
            broadcast, or hold invalid numbers.

    >>> allowed = torch.tensor([True, False, True])
    >>> MaskedCategorical(torch.zeros(3), mask=allowed).probs
    tensor([0.5000, 0.0000, 0.5000])
    >>> MaskedCategorical(torch.zeros(9), indices=torch.tensor([7, 4])).log_prob(torch.tensor([4, 5]))
    tensor([-0.6931,    -inf])
    """

    _masked_family: Any = masked_categorical
    _sparse_family: Any = sparse_categorical

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
            raise ValueError("A ``mask`` or some ``indices`` must be provided, but not both")
        logits = as_logits(logits, probs)
        self._padding_value = padding_value
        self.neg_inf, self.padding_side, self.use_cross_entropy = neg_inf, padding_side, use_cross_entropy
        self._is_sparse = indices is not None
        family, allowed = (self._sparse_family, indices) if self._is_sparse else (self._masked_family, mask)
        super().__init__(family, (logits, allowed), None, validate_args)

    @property
    def _fixed(self) -> dict[str, Any]:
        return {"padding_value": self._padding_value} if self._is_sparse else {}

    @property
    def mask(self) -> Tensor:
        """The mask; raises a ValueError where indices were given."""
        if self._is_sparse:
            raise ValueError("MaskedCategorical.mask does not support sparse masks")
        return self.params.mask

    @property
    def logits(self) -> Tensor:
        """The log-probabilities, of the listed outcomes where indices were given."""
        return self._with_neg_inf(self._verb("normalized_logits")(*self.params))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of an outcome; `neg_inf` for one that is not allowed."""
        return self._with_neg_inf(super().log_prob(value))

    def _with_neg_inf(self, log_probs: Tensor) -> Tensor:
        return torch.where(log_probs == -math.inf, self.neg_inf, log_probs)

    @property
    def padding_value(self) -> int:
        """The mark of the unused slots of the indices."""
        return 0 if self._padding_value is None else self._padding_value


class Ordinal(Discrete):
    """Ordinal distribution over 0, ..., N - 1, in which neighbours have similar probabilities.

    Args:
        scores: The increase of the logit from one outcome to the next, of shape (*batch, N).
        validate_args: As in `torch.distributions`.

    Raises:
        ValueError: a score is NaN.

    >>> Ordinal(torch.zeros(4)).mean
    tensor(1.5000)
    """

    num_params = 1

    def __init__(self, scores: Tensor, *, validate_args: bool | None = None) -> None:
        super().__init__(ordinal, (scores,), None, validate_args)


def as_logits(logits: Tensor | None, probs: Tensor | None) -> Tensor:
    """Return the logits, given as `logits` or as `probs`, of which exactly one must be given."""
    if probs is not None and logits is None:
        return logits_from_probs(probs)
    if probs is not None or logits is None:
        raise ValueError("Either `probs` or `logits` must be specified, but not both")
    return logits
