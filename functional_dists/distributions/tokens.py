"""The class of distributions over the tokens of a language model, with the constructor of TorchRL's class."""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Categorical

from functional_dists.discrete import llm_masked_categorical
from functional_dists.distributions.base import FamilyDistribution
from functional_dists.random import size_of

__all__ = ["LLMMaskedCategorical"]


class LLMMaskedCategorical(FamilyDistribution):
    """Categorical distribution over the tokens of a language model.

    Args:
        logits: Log-probabilities up to a constant, of shape (*batch, T, V).
        mask: Bool: of shape (*batch, T), True at positions that count; or (*batch, T, V), True for allowed tokens.
        ignore_index: The token drawn at a position that does not count; its log-prob is 0.
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

    def _verb(self, name: str) -> Any:
        verb = super()._verb(name)
        has_option = name.startswith("sample") or name in ("log_prob", "mode", "deterministic", "support")
        return functools.partial(verb, ignore_index=self.ignore_index) if has_option else verb

    @property
    def position_level_masking(self) -> bool:
        """Whether the mask marks positions, not tokens."""
        return self.mask.ndim < self.params.logits.ndim

    @property
    def probs(self) -> Tensor:
        """The probabilities of all tokens, a table as large as the logits."""
        return llm_masked_categorical.probs(*self.params)

    @property
    def masked_logits(self) -> Tensor:
        """The logits, with the least number of their dtype where the mask is False; a table as large as the logits."""
        mask = self.mask[..., None] if self.position_level_masking else self.mask
        return torch.where(mask, self.logits, torch.finfo(self.logits.dtype).min)

    @property
    def masked_dist(self) -> Categorical:
        """The `torch.distributions.Categorical` of `masked_logits`; several tables as large as the logits."""
        return Categorical(logits=self.masked_logits, validate_args=False)

    def clear_cache(self) -> None:
        """Do nothing: there is no cache."""

    def expand(self, batch_shape: int | Sequence[int], _instance: Any = None) -> Any:
        """Return the distribution with its parameters expanded to a batch shape."""
        batch_shape = Size(size_of(batch_shape))
        new = type(self).__new__(type(self)) if _instance is None else _instance
        new.__dict__.update(self.__dict__)
        new._batch_shape = batch_shape
        mask_event = () if self.position_level_masking else self._parameter_event
        new.params = self.params._replace(
            logits=self.params.logits.expand(*batch_shape, *self._parameter_event),
            mask=self.mask.expand(*batch_shape, *mask_event),
        )
        return new
