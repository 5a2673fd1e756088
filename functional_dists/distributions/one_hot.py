"""The classes of distributions over one-hot vectors, with the constructors of TorchRL's classes."""

import math
from enum import Enum
from typing import Any

import torch
from torch import Tensor

from functional_dists.combinators import (
    masked_one_hot_categorical,
    one_hot_categorical,
    one_hot_ordinal,
    sparse_one_hot_categorical,
)
from functional_dists.distributions.base import Shape, one_source
from functional_dists.distributions.discrete import Discrete, MaskedCategorical, as_logits
from functional_dists.random import Source
from functional_dists.special import one_hot

__all__ = ["MaskedOneHotCategorical", "OneHotCategorical", "OneHotOrdinal", "ReparamGradientStrategy"]


class ReparamGradientStrategy(Enum):
    """The gradient of `rsample`: that of the probabilities, or that of the relaxed draw whose argmax is the vector."""

    PassThrough = 1
    RelaxedOneHot = 2


class _OneHot(Discrete):
    """Base of the one-hot distributions."""

    grad_method: ReparamGradientStrategy

    def rsample(
        self, sample_shape: Shape = (), *, key: Source | None = None, generator: Source | None = None
    ) -> Tensor:
        """Draw a one-hot vector with the gradient of `grad_method`. Without a key, the global generator is used."""
        source = one_source(key, generator)
        if not self._is_relaxed:
            return super().rsample(sample_shape, key=source)
        relaxed = self._draw("rsample", sample_shape, source, gradient="relaxed")
        return one_hot.straight_through(_nearest(relaxed), relaxed)

    def rsample_and_log_prob(
        self, sample_shape: Shape = (), *, key: Source | None = None, generator: Source | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw the value of `rsample` and its log-probability."""
        source = one_source(key, generator)
        if not self._is_relaxed:
            return super().rsample_and_log_prob(sample_shape, key=source)
        value = self.rsample(sample_shape, key=source)
        return value, self.log_prob(value.detach())

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """False, as in TorchRL: modules then call `sample`, whose actions are integers."""
        return False

    @property
    def _is_relaxed(self) -> bool:
        return self.grad_method.name == "RelaxedOneHot"  # by name, so that members of TorchRL's enum work too

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Return all vectors along a new first axis."""
        count = self.num_samples
        values = torch.eye(count, dtype=torch.int64, device=self.device)
        values = values.reshape(count, *[1] * len(self.batch_shape), count)
        return values.expand(-1, *self.batch_shape, -1) if expand else values


def _nearest(relaxed: Tensor) -> Tensor:
    return one_hot.encoded(relaxed.argmax(-1), relaxed)


class OneHotCategorical(_OneHot):
    """Categorical distribution over one-hot vectors.

    Args:
        logits: Log-probabilities up to a constant, of shape (*batch, N).
        probs: Probabilities up to a factor, instead of `logits`.
        grad_method: The gradient of `rsample`.
        validate_args: As in `torch.distributions`.

    Raises:
        ValueError: not exactly one of `logits` and `probs` is given, or they hold invalid numbers.

    >>> OneHotCategorical(torch.tensor([1.0, 3.0, 3.0])).mode
    tensor([0, 1, 0])
    """

    num_params = 1

    def __init__(
        self,
        logits: Tensor | None = None,
        probs: Tensor | None = None,
        grad_method: ReparamGradientStrategy = ReparamGradientStrategy.PassThrough,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.grad_method = grad_method
        super().__init__(one_hot_categorical, (as_logits(logits, probs),), None, validate_args)


class MaskedOneHotCategorical(_OneHot, MaskedCategorical):
    """Categorical distribution over the one-hot vectors that a mask allows, or over listed ones.

    Args:
        logits: Log-probabilities up to a constant, of shape (*batch, N).
        probs: Probabilities up to a factor, instead of `logits`.
        mask: Bool, of the shape of the logits, True where an outcome is allowed.
        indices: Instead of a mask, the allowed outcomes: distinct integers of shape (*batch, K).
        neg_inf: What `log_prob` and `logits` return for an outcome that is not allowed.
        padding_value: Marks the unused slots of `indices`.
        grad_method: The gradient of `rsample`.
        validate_args: As in `torch.distributions`.

    Raises:
        ValueError: as for `MaskedCategorical`.

    >>> MaskedOneHotCategorical(torch.zeros(3), mask=torch.tensor([False, True, False])).sample()
    tensor([0, 1, 0])
    """

    _masked_family: Any = masked_one_hot_categorical
    _sparse_family: Any = sparse_one_hot_categorical

    def __init__(
        self,
        logits: Tensor | None = None,
        probs: Tensor | None = None,
        mask: Tensor | None = None,
        indices: Tensor | None = None,
        neg_inf: float = -math.inf,
        padding_value: int | None = None,
        grad_method: ReparamGradientStrategy = ReparamGradientStrategy.PassThrough,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.grad_method = grad_method
        MaskedCategorical.__init__(
            self,
            logits,
            probs,
            mask=mask,
            indices=indices,
            neg_inf=neg_inf,
            padding_value=padding_value,
            validate_args=validate_args,
        )


class OneHotOrdinal(_OneHot):
    """Ordinal distribution over one-hot vectors.

    Args:
        scores: The increase of the logit from one outcome to the next, of shape (*batch, N).
        validate_args: As in `torch.distributions`.

    Raises:
        ValueError: a score is NaN.

    >>> OneHotOrdinal(torch.tensor([0.0, 2.0, -2.0])).mode
    tensor([0, 1, 0])
    """

    num_params = 1
    grad_method = ReparamGradientStrategy.PassThrough

    def __init__(self, scores: Tensor, *, validate_args: bool | None = None) -> None:
        super().__init__(one_hot_ordinal, (scores,), None, validate_args)
