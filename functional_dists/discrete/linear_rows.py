"""The rows of a head with the options of `linear_categorical`, and their results over all tokens or the kept ones."""

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from functional_dists.discrete import kept
from functional_dists.discrete.kept import Kept
from functional_dists.discrete.token_options import Temperature, check_softcap, row_temperature
from functional_dists.family import require
from functional_dists.special import linear_choice, linear_kept, linear_kl, linear_parts, linear_score
from functional_dists.special.axis import cut, cut_of_rows, cuts_of, reduced
from functional_dists.special.linear_head import Head

__all__ = ["Rows"]


class Rows:
    """The parameters as the rows of a head, with the shape of their batch."""

    def __init__(
        self,
        function: str,
        params: Any,
        temperature: Temperature,
        softcap: float | None,
        mask: Tensor | None,
        support: Kept | None,
    ) -> None:
        function = f"linear_categorical.{function}"
        hidden, weight, bias = params
        self.batch = hidden.shape[:-1]
        count = math.prod(self.batch)
        self.mask = mask if mask is None else _checked_mask(function, mask, self.batch)
        if bias.ndim == 0 and softcap is None:  # one number for all tokens cancels, unless it is NaN or infinite
            hidden, bias = hidden + 0.0 * bias, bias.new_empty(0)
        else:
            bias = bias.expand(weight.shape[0])
        if softcap is not None:
            check_softcap(function, softcap)
        cap = 0.0 if softcap is None else float(softcap)
        of_tokens = cut_of_rows()
        head = Head(hidden.reshape(count, hidden.shape[-1]), weight, bias, hidden.new_empty(0), cap, of_tokens)
        divisor = row_temperature(function, temperature, self.batch, head.dtype, hidden.device)
        self.head = head if divisor is None else head._replace(temperature=divisor.reshape(count))
        self.index = None if support is None else _listed(function, support, self.batch, head)

    # The results of rows ``(N, ...)``: over all tokens, or over the kept ones.
    def score(self, value: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-probabilities of tokens (N, S) and entropies (N,)."""
        if self.index is None:
            return linear_score.log_prob_and_entropy(self.head, value, counted)
        return self._of_kept(linear_kept.log_prob_and_entropy, value, self._index_of(counted))

    def choose(self, uniform: Tensor) -> Tensor:
        """Return a token for each uniform number (N, S)."""
        if self.index is None:
            return linear_choice.choose(self.head, uniform, self.counted())
        return self._of_kept(linear_kept.choose, uniform, self._index_of(self.counted()))

    def kl(self, other: "Rows") -> Tensor:
        """Return the divergence from the rows of another head."""
        if self.index is None:
            return linear_kl.kl(self.head, other.head, self.counted())
        return self._of_kept(linear_kept.kl, other.head, self._index_of(self.counted()))

    def mode(self) -> Tensor:
        """Return the most probable tokens (N,)."""
        if self.index is None:
            return linear_score.terms(self.head, self.counted()).argmax
        return self._of_kept(linear_kept.mode, self._index_of(self.counted()))

    def _of_kept(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if self.head.cut is None:
            return function(self.head, *arguments)
        with cut({}):  # all processes have the table of kept tokens
            return function(self.head, *arguments)

    def _index_of(self, counted: Tensor) -> Tensor:
        index = cast(Tensor, self.index)
        return torch.where(counted[:, None], index, -1) if counted.numel() else index

    def counted(self, has_value: Tensor | None = None) -> Tensor:
        """Return which rows count, of shape (N,); an empty tensor if all do."""
        counted = has_value if self.mask is None else self.mask.reshape(-1)
        if counted is None:
            return torch.empty(0, dtype=torch.bool, device=self.head.hidden.device)
        return counted if has_value is None else counted & has_value

    def tokens(self, value: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
        """Return values as columns (N, S), -1 where they are ignored, and the values that are scored (*S, *B)."""
        value = value.long()
        value = value.expand(torch.broadcast_shapes(value.shape, self.batch))
        is_token = value != ignore_index
        if self.mask is not None:
            is_token = is_token & self.mask
        return self.as_columns(torch.where(is_token, value, -1)), is_token

    def as_columns(self, table: Tensor) -> Tensor:
        """Return ``(*S, *B)`` as ``(N, S)``."""
        samples = table.shape[: table.ndim - len(self.batch)]
        return table.reshape(math.prod(samples), math.prod(self.batch)).T

    def from_columns(self, columns: Tensor, shape: torch.Size) -> Tensor:
        """Return ``(N, S)`` as ``(*S, *B)``."""
        return columns.T.reshape(shape)

    def where_counted(self, result: Tensor, otherwise: int) -> Tensor:
        """Return the result, with another value in ignored rows."""
        return result if self.mask is None else torch.where(self.mask, result, otherwise)


def _checked_mask(function: str, mask: Any, batch: torch.Size) -> Tensor:
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        got = mask.dtype if isinstance(mask, Tensor) else repr(mask)
        raise TypeError(f"{function}: mask must be a bool tensor, got {got}")
    if mask.shape != batch:
        raise ValueError(f"{function}: mask must have the shape {tuple(batch)} of the batch, got {tuple(mask.shape)}")
    return mask


def _listed(function: str, support: Kept, batch: torch.Size, head: Head) -> Tensor:
    """Return the kept tokens of N rows as a list ``(N, K)``, ascending in eager code, -1 in unused slots."""
    count, is_mask = math.prod(batch), isinstance(support, Tensor) and support.dtype == torch.bool
    num_tokens = head.weight.shape[0] if is_mask else head.num_tokens
    try:
        if isinstance(support, Tensor) and support.shape[:-1] != batch:
            raise ValueError(f"support of shape {tuple(support.shape)} must have the batch {tuple(batch)} of hidden")
        support = kept.checked(support)
        if kept.can_count(support):
            tokens, offsets = kept.as_tokens(support)
            as_tokens = kept.KeptTokens(tokens, offsets)
            if offsets.shape[0] != count + 1:
                raise ValueError(
                    f"offsets are of {offsets.shape[0] - 1} rows, which do not fit the batch {tuple(batch)}"
                )
            if isinstance(support, Tensor) and is_mask and support.shape[-1] != num_tokens:
                raise ValueError(f"support of shape {tuple(support.shape)} must have {num_tokens} columns")
            require((tokens >= 0) & (tokens < num_tokens), "token_ids", "must be at least 0 and below the vocabulary")
            index = kept.as_indices(as_tokens)
            if is_mask and head.cut is not None:
                index = linear_parts.joined_lists(torch.where(index < 0, -1, index + head.offset), head.cut)
            last = torch.where(index < 0, head.num_tokens, index).sort(-1).values
            return _of_common_size(torch.where(last == head.num_tokens, -1, last), head, batch)
        if isinstance(support, Tensor) and is_mask:
            if head.cut is not None:
                raise ValueError(
                    "compiled code does not know which tokens a mask keeps in the parts of other processes; "
                    "give support as padded indices, kept.as_indices(mask, size)"
                )
            every = torch.arange(num_tokens, device=support.device)
            return torch.where(support, every, -1).reshape(count, num_tokens)
        index = kept.as_indices(support) if not isinstance(support, Tensor) else support.long()
        return index.reshape(count, index.shape[-1])
    except (TypeError, ValueError) as error:
        raise type(error)(f"{function}: {error}") from None


def _of_common_size(index: Tensor, head: Head, batch: torch.Size) -> Tensor:
    """Return a list with as many slots as the longest row of all processes: draws depend on their number."""
    cuts = cuts_of(range(-len(batch) - 1, -1))
    if not cuts and head.cut is None:
        return index
    longest = (index >= 0).sum(-1).max() if len(index) else torch.tensor(0, device=index.device)
    size = int(reduced(longest, "max", cuts))
    return functional.pad(index, (0, max(0, size - index.shape[1])), value=-1)[:, :size]
