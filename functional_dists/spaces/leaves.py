"""The leaves of an action space: integers, bits and real numbers."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import functional_dists.discrete.categorical as categorical
from functional_dists.family import sum_event
from functional_dists.spaces import masks
from functional_dists.spaces.nodes import Inputs, with_events
from functional_dists.spaces.optional import optional as optional_family
from functional_dists.spaces.ports import Port
from functional_dists.spaces.recoded import Code, Recoded
from functional_dists.spaces.tables import slots, table


class _Leaf:
    """What all leaves share: they are one family, and an action is one array."""

    shape: tuple[int, ...]
    port: Port
    code: Code | None = None
    base: Any  # the family of the elements
    rows = 1  # the number of axes of the parameters that belong to one element

    def _entropies(self, elements: Any) -> Tensor:
        """Return the entropies of the elements."""
        return categorical.entropy(*elements)

    def _elements(self, inputs: Inputs) -> Any:
        """Return the parameters of the family of the elements."""
        raise NotImplementedError

    def family(self, dims: int, optional: bool) -> Any:
        """Return its family."""
        base = optional_family(self.base) if optional else self.base
        whole = with_events(base, dims + len(self.shape))
        return whole if self.code is None else Recoded(whole, self.code)

    def params(self, inputs: Inputs) -> Any:
        """Return the parameters of the family."""
        own, present = self._elements(inputs), inputs.present
        if present is None:
            return own
        # Not as `Params`: compiled code cannot make the family.
        return (*own, present.reshape((*present.shape, *[1] * (len(self.shape) + self.rows))))

    def entropy(self, inputs: Inputs) -> Tensor:
        """Return the entropy."""
        return sum_event(self._entropies(self._elements(inputs)), len(self.shape))

    def to_env(self, value: Any) -> Any:
        """Return the array of a tensor."""
        return self.port.to_env(torch.as_tensor(value))

    def from_env(self, action: Any, batch_dims: int) -> Tensor:
        """Return the tensor of an array; the leading axes are the batch."""
        return self.port.from_env(action)

    def absent(self) -> Tensor:
        """Return the value of an absent draw."""
        if self.code is None:
            return torch.zeros(self.shape, dtype=self.port.value_dtype)
        return self.code.encode(torch.zeros(self.shape, dtype=torch.int64))


@dataclass(frozen=True, eq=False)
class Integers(_Leaf):
    """Integers, each with its own number of outcomes.

    shape: Their shape.
    counts: The numbers of outcomes, flat.
    port: The form of the actions.
    code: The code of the outcomes; None where outcomes are the actions.
    name: The name of the space in messages.
    allowed: The mask of the space itself, flat, or None.
    """

    shape: tuple[int, ...]
    counts: tuple[int, ...]
    port: Port
    code: Code | None = None
    name: str = "integers"
    allowed: tuple[bool, ...] | None = None
    base = categorical

    @property
    def size(self) -> int:
        """How many numbers a network puts out for it: one for each outcome."""
        return sum(self.counts)

    mask_size = size

    def _elements(self, inputs: Inputs) -> categorical.Params:
        mask = inputs.mask
        if mask is None and self.allowed is not None:
            mask = table(self.allowed, torch.ones((), dtype=torch.bool, device=inputs.raw.device))
        logits = inputs.raw if mask is None else torch.where(mask, inputs.raw, -math.inf)
        return categorical.Params(self._rows(logits))

    def _rows(self, logits: Tensor) -> Tensor:
        """Return flat logits as rows of equal length, of shape (*batch, *shape, N); a logit of -inf has no outcome."""
        # The one place that would change for a family which takes the flat logits of outcomes of several numbers.
        width = max(self.counts)
        if len(set(self.counts)) == 1:
            return logits.unflatten(-1, (*self.shape, width)) if self.shape else logits
        index, is_used = slots(self.counts, logits)
        rows = logits.index_select(-1, index).unflatten(-1, (len(self.counts), width))
        return torch.where(is_used, rows, -math.inf).unflatten(-2, self.shape)

    def flat_mask(self, given: Any) -> Tensor | None:
        """Return a flat mask, or gymnasium's tuples of arrays, as a flat mask."""
        if given is None or masks.is_flat(given):
            return None if given is None else masks.as_flat(given, self.size, self.name)
        rows = np.arange(len(self.counts)).reshape(self.shape)
        return masks.joined(self._masks_of(given, rows), self.counts)

    def _masks_of(self, given: Any, rows: Any) -> list[Tensor | None]:
        if rows.ndim == 0:
            return [None if given is None else masks.as_flat(given, self.counts[int(rows)], self.name)]
        if given is None:
            return [None] * rows.size
        parts = masks.entries(given, range(len(rows)), f"the mask of {self.name}")
        return [mask for part, own in zip(parts, rows, strict=True) for mask in self._masks_of(part, own)]


@dataclass(frozen=True, eq=False)
class Bits(_Leaf):
    """Bits, each with a logit of being 1.

    shape: Their shape.
    port: The form of the actions.
    code: The code of the outcomes; None where outcomes are the actions.
    """

    shape: tuple[int, ...]
    port: Port
    code: Code | None = None
    base = categorical

    @property
    def size(self) -> int:
        """How many numbers a network puts out for it: one for each bit."""
        return math.prod(self.shape)

    @property
    def mask_size(self) -> int:
        """How many outcomes its flat mask has: two for each bit."""
        return 2 * self.size

    # With `base` and `rows`, what would change for a family of bits with a logit each.
    def _elements(self, inputs: Inputs) -> categorical.Params:
        logit = inputs.raw.unflatten(-1, self.shape)
        logits = torch.stack([torch.zeros_like(logit), logit], -1)
        if inputs.mask is not None:
            logits = torch.where(inputs.mask.unflatten(-1, (*self.shape, 2)), logits, -math.inf)
        return categorical.Params(logits)

    def flat_mask(self, given: Any) -> Tensor | None:
        """Return a flat mask, bool, or gymnasium's integers 0, 1 and 2 (free), as a flat mask."""
        if given is None:
            return None
        if not masks.is_flat(given):
            raise TypeError(f"the mask of bits must be a tensor or an array, got {type(given).__name__}")
        mask = torch.as_tensor(given)
        if mask.dtype == torch.bool:
            return masks.as_flat(mask, self.mask_size, "bits")
        axes = len(self.shape)
        if mask.shape[mask.ndim - axes :] != self.shape:
            raise ValueError(
                f"the mask of bits must have shape (*batch, *{self.shape}) and hold 0, 1 or 2 (free), or be bool with "
                f"{self.mask_size} entries in its last axis, got shape {tuple(mask.shape)}"
            )
        return torch.stack([mask != 1, mask != 0], -1).flatten(mask.ndim - axes)


@dataclass(frozen=True, eq=False)
class Reals(_Leaf):
    """Real numbers, with or without bounds.

    shape: Their shape.
    port: The form of the actions.
    base: The family of the elements, in which bounds that are the same for all elements are fixed.
    names: The parameters that the network's output determines, the first ones of the family.
    to_params: A function of the flat output that returns these, each flat.
    bounds: The other bounds by name, as nested tuples.
    score_options: The options with which the scores of the family are elementwise.
    free: Which elements may vary, as nested tuples; None for all. The others are absent draws, of which `code` makes
        the constant.
    """

    shape: tuple[int, ...]
    port: Port
    base: Any
    names: tuple[str, ...]
    to_params: Callable[[Tensor], tuple[Any, ...]]
    bounds: Mapping[str, Any]
    score_options: Mapping[str, Any]
    free: Any = None
    code: Code | None = None
    rows = 0
    mask_size = 0

    @property
    def size(self) -> int:
        """How many numbers a network puts out for it."""
        return len(self.names) * math.prod(self.shape)

    def _elements(self, inputs: Inputs) -> Any:
        own = [part.reshape((*part.shape[:-1], *self.shape)) for part in self.to_params(inputs.raw)]
        bounds = {name: table(bound, own[0]).expand(own[0].shape).clone() for name, bound in self.bounds.items()}
        return self.base.Params(**dict(zip(self.names, own, strict=True)), **bounds)

    def family(self, dims: int, optional: bool) -> Any:
        """Return its family."""
        return super().family(dims, optional or self.free is not None)

    def params(self, inputs: Inputs) -> Any:
        """Return the parameters of the family."""
        if self.free is None:
            return super().params(inputs)
        batch = inputs.raw.shape[:-1]
        present = torch.ones(batch, dtype=torch.bool, device=inputs.raw.device)
        *own, present = super().params(inputs._replace(present=present if inputs.present is None else inputs.present))
        return (*own, present & self._is_free(present))

    def _is_free(self, like: Tensor) -> Tensor:
        return table(self.free, torch.ones((), dtype=torch.bool, device=like.device))

    def _entropies(self, elements: Any) -> Tensor:
        found: Tensor = self.base.entropy(*elements, **self.score_options)
        return found if self.free is None else torch.where(self._is_free(found), found, 0.0)

    def absent(self) -> Tensor:
        """Return the value of an absent draw."""
        zeros = torch.zeros(self.shape, dtype=self.port.value_dtype)
        return zeros if self.code is None else self.code.encode(zeros)

    def flat_mask(self, given: Any) -> None:
        """Refuse a mask: real numbers have none."""
        if given is not None and not (masks.is_flat(given) and given.shape[-1:] == (0,)):
            raise TypeError(f"a box has no mask, got {type(given).__name__}")
