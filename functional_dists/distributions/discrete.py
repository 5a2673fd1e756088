"""The classes of the discrete families, with the constructors of TorchRL's."""

import math
from collections.abc import Sequence
from enum import Enum
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import constraints

from functional_dists.discrete import (
    llm_masked_categorical,
    logits_from_probs,
    masked_categorical,
    masked_one_hot_categorical,
    one_hot_categorical,
    one_hot_ordinal,
    ordinal,
)
from functional_dists.discrete.indices import mask_from_indices, used_slots
from functional_dists.distributions.base import FamilyDistribution
from functional_dists.random import Source

__all__ = [
    "LLMMaskedCategorical",
    "MaskedCategorical",
    "MaskedOneHotCategorical",
    "OneHotCategorical",
    "OneHotOrdinal",
    "Ordinal",
    "ReparamGradientStrategy",
]


class ReparamGradientStrategy(Enum):
    """Which gradient `rsample` of a one-hot distribution has."""

    PassThrough = 1
    RelaxedOneHot = 2


# By name, so that TorchRL's own members serve too.
_GRADIENTS = {"PassThrough": "straight_through", "RelaxedOneHot": "relaxed"}


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
    _family: Any = masked_categorical

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
        logits = _one_of(logits, probs)
        if indices is not None:
            mask = mask_from_indices(indices, logits.shape[-1], padding_value=padding_value)
        self._indices, self._padding_value = indices, padding_value
        self.neg_inf, self.padding_side, self.use_cross_entropy = neg_inf, padding_side, use_cross_entropy
        super().__init__(self._family, (logits, mask), None, validate_args)

    @property
    def logits(self) -> Tensor:
        """The log-probabilities, of the listed outcomes where indices were given."""
        table = self.family.normalized_logits(*self.params)
        return self._listed(self._with_neg_inf(table), self.neg_inf)

    @property
    def probs(self) -> Tensor:
        """The probabilities, of the listed outcomes where indices were given."""
        return self._listed(self.family.probs(*self.params), 0.0)

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
        return int(self.params[0].shape[-1])

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
        values = torch.arange(self.num_samples, device=self.params[0].device)
        values = values.reshape(-1, *[1] * len(self.batch_shape))
        return values.expand(-1, *self.batch_shape) if expand else values

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        """Return the distribution with its parameters expanded to a batch shape."""
        new = super().expand(batch_shape, _instance)
        if self._indices is not None:
            new._indices = self._indices.expand(*batch_shape, -1)
        return new


class _OneHot(FamilyDistribution):
    """What the one-hot distributions share."""

    has_enumerate_support = True

    def _draw_soft(self, name: str, sample_shape: Sequence[int], key: Source | None) -> Any:
        return self._draw(name, sample_shape, key, gradient=_GRADIENTS[self.grad_method.name])

    def rsample(self, sample_shape: Sequence[int] = Size(), *, key: Source | None = None) -> Tensor:
        """Draw a vector with the gradient that `grad_method` says; without a key from PyTorch's global generator."""
        return self._draw_soft("rsample", sample_shape, key)

    def rsample_and_log_prob(
        self, sample_shape: Sequence[int] = Size(), *, key: Source | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw what `rsample` draws, with its log-probability."""
        return self._draw_soft("rsample_and_log_prob", sample_shape, key)

    @property
    def logits(self) -> Tensor:
        """The log-probabilities."""
        return self.family.normalized_logits(*self.params)

    @property
    def probs(self) -> Tensor:
        """The probabilities."""
        return self.family.probs(*self.params)

    @property
    def num_samples(self) -> int:
        """The number of outcomes, allowed or not."""
        return int(self.event_shape[-1])

    @property
    def support(self) -> Any:
        """The one-hot vectors."""
        return constraints.one_hot

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Return all vectors along a new first axis."""
        count = self.num_samples
        values = torch.eye(count, dtype=torch.int64, device=self.params[0].device)
        values = values.reshape(count, *[1] * len(self.batch_shape), count)
        return values.expand(-1, *self.batch_shape, -1) if expand else values


class OneHotCategorical(_OneHot):
    """Categorical distribution over one-hot vectors.

    Args:
        logits: Log-probabilities up to a constant, of shape (*batch, N).
        probs: Probabilities up to a factor, instead of `logits`.
        grad_method: Which gradient `rsample` has.
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
        super().__init__(one_hot_categorical, (_one_of(logits, probs),), None, validate_args)


class MaskedOneHotCategorical(_OneHot, MaskedCategorical):
    """Categorical distribution over the one-hot vectors that a mask allows, or over those that are listed.

    Args:
        logits: Log-probabilities up to a constant, of shape (*batch, N).
        probs: Probabilities up to a factor, instead of `logits`.
        mask: Bool, of the shape of the logits, True where an outcome is allowed.
        indices: Instead of a mask the allowed outcomes themselves, integers of shape (*batch, K).
        neg_inf: What `log_prob` and `logits` say of an outcome that is not allowed.
        padding_value: Marks the unused slots of `indices`.
        grad_method: Which gradient `rsample` has.
        validate_args: As in `torch.distributions`.

    Raises:
        ValueError: as for `MaskedCategorical`.

    >>> MaskedOneHotCategorical(torch.zeros(3), mask=torch.tensor([False, True, False])).sample()
    tensor([0, 1, 0])
    """

    _family: Any = masked_one_hot_categorical
    logits, probs = MaskedCategorical.logits, MaskedCategorical.probs

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


class Ordinal(FamilyDistribution):
    """Distribution over 0, ..., N - 1 in which neighbours are alike.

    Args:
        scores: What the logit of every outcome adds to that of the one below, of shape (*batch, N).
        validate_args: As in `torch.distributions`.

    Raises:
        ValueError: a score is NaN.

    >>> Ordinal(torch.zeros(4)).mean
    tensor(1.5000)
    """

    has_enumerate_support = True
    num_params = 1

    def __init__(self, scores: Tensor, *, validate_args: bool | None = None) -> None:
        super().__init__(ordinal, (scores,), None, validate_args)

    @property
    def logits(self) -> Tensor:
        """The log-probabilities."""
        return ordinal.normalized_logits(*self.params)

    @property
    def probs(self) -> Tensor:
        """The probabilities."""
        return ordinal.probs(*self.params)

    num_samples = MaskedCategorical.num_samples
    support, enumerate_support = MaskedCategorical.support, MaskedCategorical.enumerate_support


class OneHotOrdinal(_OneHot):
    """Ordinal distribution over one-hot vectors.

    Args:
        scores: What the logit of every outcome adds to that of the one below, of shape (*batch, N).
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


class LLMMaskedCategorical(FamilyDistribution):
    """Distribution of the tokens of a language model.

    Args:
        logits: Log-probabilities up to a constant, of shape (*batch, T, V).
        mask: Bool, of shape (*batch, T), True at the positions that count, or (*batch, T, V), True for allowed tokens.
        ignore_index: Has a log-prob of 0, and is the sample of a position that does not count.
        validate_args: As in `torch.distributions`.

    Raises:
        ValueError: the mask has neither of these shapes, or the parameters hold invalid numbers.

    >>> LLMMaskedCategorical(torch.zeros(2, 5), torch.tensor([True, False])).log_prob(torch.tensor([4, -100]))
    tensor([-1.6094,  0.0000])
    """

    num_params = 2

    def __init__(
        self, logits: Tensor, mask: Tensor, ignore_index: int = -100, *, validate_args: bool | None = None
    ) -> None:
        if mask.shape not in (logits.shape, logits.shape[:-1]):
            raise ValueError(
                f"the mask of shape {tuple(mask.shape)} fits neither positions nor tokens of the logits of "
                f"shape {tuple(logits.shape)}"
            )
        self.ignore_index = ignore_index
        super().__init__(llm_masked_categorical, (logits, mask), None, validate_args)

    def _parameter_shape(self) -> Size:
        return self.params.logits.shape

    def _draw(self, name: str, sample_shape: Sequence[int], key: Source | None, **options: Any) -> Any:
        return super()._draw(name, sample_shape, key, ignore_index=self.ignore_index, **options)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of a token at every position."""
        return llm_masked_categorical.log_prob(self.params.logits, self.mask, value, ignore_index=self.ignore_index)

    @property
    def mode(self) -> Tensor:
        """The most probable token of every position."""
        return llm_masked_categorical.mode(*self.params, ignore_index=self.ignore_index)

    @property
    def deterministic_sample(self) -> Tensor:
        """The mode."""
        return self.mode

    @property
    def position_level_masking(self) -> bool:
        """Whether the mask is of positions."""
        return self.mask.ndim < self.params.logits.ndim

    @property
    def probs(self) -> Tensor:
        """The probabilities of all tokens, a table as large as the logits."""
        return llm_masked_categorical.probs(*self.params)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        """Return the distribution with its parameters expanded to a batch shape."""
        new = type(self).__new__(type(self)) if _instance is None else _instance
        new.__dict__.update(self.__dict__)
        new._batch_shape = Size(batch_shape)
        own = () if self.position_level_masking else self._parameter_event
        new.params = self.params._replace(
            logits=self.params.logits.expand(*batch_shape, *self._parameter_event),
            mask=self.mask.expand(*batch_shape, *own),
        )
        return new


def _one_of(logits: Tensor | None, probs: Tensor | None) -> Tensor:
    if probs is not None and logits is None:
        return logits_from_probs(probs)
    if probs is not None or logits is None:
        raise ValueError("either logits or probs must be given, but not both")
    return logits
