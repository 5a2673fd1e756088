"""The classes of the discrete families, with the constructors of TorchRL's."""

import math
from collections.abc import Sequence
from enum import Enum
from typing import Any, ClassVar

import torch
from torch import Size, Tensor
from torch.distributions import Categorical, constraints

from functional_dists.discrete import (
    llm_masked_categorical,
    logits_from_probs,
    masked_categorical,
    masked_one_hot_categorical,
    one_hot_categorical,
    one_hot_ordinal,
    ordinal,
    sparse_categorical,
    sparse_one_hot_categorical,
)
from functional_dists.discrete.indices import mask_from_indices
from functional_dists.distributions.base import FamilyDistribution
from functional_dists.random import Source
from functional_dists.special import one_hot

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
    """Which gradient the vectors of `rsample` have: that of the probabilities, or that of a relaxed draw near them."""

    PassThrough = 1
    RelaxedOneHot = 2


class _Discrete(FamilyDistribution):
    """What the distributions over the integers below N share."""

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

    @property
    def support(self) -> Any:
        """The integers from 0 to N - 1."""
        return constraints.integer_interval(0, self.num_samples - 1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Return all outcomes along a new first axis."""
        values = torch.arange(self.num_samples, device=self.device)
        values = values.reshape(-1, *[1] * len(self.batch_shape))
        return values.expand(-1, *self.batch_shape) if expand else values


class MaskedCategorical(_Discrete):
    """Categorical distribution over the outcomes that a mask allows, or over those that are listed.

    Args:
        logits: Log-probabilities up to a constant, of shape (*batch, N).
        probs: Probabilities up to a factor, instead of `logits`.
        mask: Bool, of the shape of the logits, True where an outcome is allowed.
        indices: Instead of a mask the allowed outcomes themselves, distinct integers of shape (*batch, K). The
            attributes `logits` and `probs` are then tables over these; values and draws still are outcomes.
        neg_inf: What `log_prob` and `logits` say of an outcome that is not allowed.
        padding_value: Marks the unused slots of `indices`, and is the draw of a row without any other.
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
    >>> MaskedCategorical(torch.zeros(9), indices=torch.tensor([7, 4])).log_prob(torch.tensor([4, 5]))
    tensor([-0.6931,    -inf])
    """

    _of_mask: Any = masked_categorical
    _of_indices: Any = sparse_categorical

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
        logits = _one_of(logits, probs)
        self._padding_value = padding_value
        self.neg_inf, self.padding_side, self.use_cross_entropy = neg_inf, padding_side, use_cross_entropy
        self._is_sparse = indices is not None
        family, choice = (self._of_indices, indices) if self._is_sparse else (self._of_mask, mask)
        super().__init__(family, (logits, choice), None, validate_args)

    @property
    def _fixed(self) -> dict[str, Any]:
        return {"padding_value": self._padding_value} if self._is_sparse else {}

    @property
    def mask(self) -> Tensor:
        """The mask; a ValueError where indices were given."""
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
        """What marks the unused slots of the indices."""
        return 0 if self._padding_value is None else self._padding_value

    def _over_all_outcomes(self) -> masked_categorical.Params:
        logits, choice = self.params
        mask = mask_from_indices(choice, self.num_samples, **self._fixed) if self._is_sparse else choice
        return masked_categorical.Params(logits, mask)

    def _kl_to(self, q: FamilyDistribution) -> Tensor:
        if not isinstance(q, MaskedCategorical):
            return super()._kl_to(q)
        if isinstance(self, _OneHot) != isinstance(q, _OneHot):
            raise NotImplementedError("there is no KL divergence between vectors and integers")
        return masked_categorical.kl(self._over_all_outcomes(), q._over_all_outcomes())


class _OneHot(_Discrete):
    """What the one-hot distributions share."""

    grad_method: ReparamGradientStrategy

    def rsample(self, sample_shape: Sequence[int] | None = Size(), *, key: Source | None = None) -> Tensor:
        """Draw a one-hot vector with the gradient that `grad_method` says; without a key from PyTorch's generator."""
        if not self._is_relaxed:
            return super().rsample(sample_shape, key=key)
        relaxed = self._draw("rsample", sample_shape, key, gradient="relaxed")
        return one_hot.straight_through(_nearest(relaxed), relaxed)

    def rsample_and_log_prob(
        self, sample_shape: Sequence[int] | None = Size(), *, key: Source | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw what `rsample` draws, with its log-probability."""
        if not self._is_relaxed:
            return super().rsample_and_log_prob(sample_shape, key=key)
        value = self.rsample(sample_shape, key=key)
        return value, self.log_prob(value.detach())

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """False, as in TorchRL: modules then act by `sample`, and the actions are integers."""
        return False

    @property
    def _is_relaxed(self) -> bool:
        return self.grad_method.name == "RelaxedOneHot"  # by name, so that TorchRL's own members serve too

    @property
    def support(self) -> Any:
        """The one-hot vectors."""
        return constraints.one_hot

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Return all vectors along a new first axis."""
        count = self.num_samples
        values = torch.eye(count, dtype=torch.int64, device=self.device)
        values = values.reshape(count, *[1] * len(self.batch_shape), count)
        return values.expand(-1, *self.batch_shape, -1) if expand else values


def _nearest(relaxed: Tensor) -> Tensor:
    return one_hot.encoded(relaxed.argmax(-1), relaxed.shape[-1])


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

    _of_mask: Any = masked_one_hot_categorical
    _of_indices: Any = sparse_one_hot_categorical

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


class Ordinal(_Discrete):
    """Distribution over 0, ..., N - 1 in which neighbours are alike.

    Args:
        scores: What the logit of every outcome adds to that of the one below, of shape (*batch, N).
        validate_args: As in `torch.distributions`.

    Raises:
        ValueError: a score is NaN.

    >>> Ordinal(torch.zeros(4)).mean
    tensor(1.5000)
    """

    num_params = 1

    def __init__(self, scores: Tensor, *, validate_args: bool | None = None) -> None:
        super().__init__(ordinal, (scores,), None, validate_args)


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
                f"Mask shape {tuple(mask.shape)} must be either logits batch shape {tuple(logits.shape[:-1])}, of "
                f"positions, or logits shape {tuple(logits.shape)}, of tokens"
            )
        self.ignore_index = ignore_index
        super().__init__(llm_masked_categorical, (logits, mask), None, validate_args)

    def _parameter_shape(self) -> Size:
        return self.params.logits.shape

    def _draw(self, name: str, sample_shape: Sequence[int] | None, key: Source | None, **options: Any) -> Any:
        return super()._draw(name, sample_shape, key, ignore_index=self.ignore_index, **options)

    def rsample(self, sample_shape: Sequence[int] | None = Size(), *, key: Source | None = None) -> Tensor:
        """Draw what `sample` draws, as in TorchRL: a token has no pathwise gradient, and `has_rsample` is False."""
        return self.sample(sample_shape, key=key)

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

    @property
    def masked_logits(self) -> Tensor:
        """The logits, the least number of their dtype where the mask is False; a table as large as the logits."""
        mask = self.mask[..., None] if self.position_level_masking else self.mask
        return torch.where(mask, self.logits, torch.finfo(self.logits.dtype).min)

    @property
    def masked_dist(self) -> Categorical:
        """The `torch.distributions.Categorical` of `masked_logits`; several tables as large as the logits."""
        return Categorical(logits=self.masked_logits, validate_args=False)

    def clear_cache(self) -> None:
        """Do nothing: no table is kept."""

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
        raise ValueError("Either `probs` or `logits` must be specified, but not both")
    return logits
