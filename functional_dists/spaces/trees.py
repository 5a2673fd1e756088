"""The inner parts of an action space: several parts at once, one of several, and sequences of a part."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import optree
import torch
from torch import Tensor

import functional_dists.discrete.categorical as categorical
from functional_dists.composite import Chain, Head, chain
from functional_dists.composite.structure import has_names
from functional_dists.spaces import masks
from functional_dists.spaces.leaves import Integers
from functional_dists.spaces.nodes import Inputs, Node, at
from functional_dists.spaces.tables import table


def _slices(sizes: Sequence[int]) -> list[slice]:
    ends = [*itertools.accumulate(sizes)]
    return [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]


def _inputs(nodes: Sequence[Node], inputs: Inputs) -> list[Inputs]:
    """Return the inputs of nodes that lie side by side; what is present is the same for all."""
    raw, mask = _slices([node.size for node in nodes]), _slices([node.mask_size for node in nodes])
    return [inputs.part(*own, inputs.present) for own in zip(raw, mask, strict=True)]


def _joined(nodes: Sequence[Node], given: Sequence[Any]) -> Tensor | None:
    """Return the flat mask of nodes that lie side by side."""
    found = [node.flat_mask(own) for node, own in zip(nodes, given, strict=True)]
    return None if all(mask is None for mask in found) else masks.joined(found, [node.mask_size for node in nodes])


@dataclass(frozen=True, eq=False)
class _ParamsOf:
    """The function of a head of a chain: the parameters of the chain are inputs by name."""

    method: Callable[[Inputs, dict[str, Tensor]], Any]

    def __repr__(self) -> str:
        return self.method.__name__

    def __call__(self, params: Any, earlier: dict[str, Any]) -> Any:
        given = {name: params[name] for name in Inputs._fields if name in params.keys()}  # noqa: SIM118 (a TensorDict)
        return self.method(Inputs(**given), earlier)


@dataclass(frozen=True, eq=False)
class Several:
    """Independent parts, in a dict or a tuple.

    names: Their names; None for a tuple.
    parts: The parts.
    """

    names: tuple[str, ...] | None
    parts: tuple[Node, ...]

    @property
    def size(self) -> int:
        """How many numbers a network puts out for it."""
        return sum(part.size for part in self.parts)

    @property
    def mask_size(self) -> int:
        """How many outcomes its flat mask has."""
        return sum(part.mask_size for part in self.parts)

    @property
    def _entries(self) -> Sequence[Any]:
        return range(len(self.parts)) if self.names is None else self.names

    def _contained(self, found: Sequence[Any]) -> Any:
        return tuple(found) if self.names is None else dict(zip(self.names, found, strict=True))

    def family(self, dims: int, optional: bool) -> Any:
        """Return a dict or a tuple of families."""
        return self._contained([part.family(dims, optional) for part in self.parts])

    def params(self, inputs: Inputs) -> Any:
        """Return a dict or a tuple of parameters."""
        own = _inputs(self.parts, inputs)
        return self._contained([part.params(given) for part, given in zip(self.parts, own, strict=True)])

    def entropy(self, inputs: Inputs) -> Tensor:
        """Return the sum of the entropies."""
        own = _inputs(self.parts, inputs)
        start = torch.zeros(inputs.raw.shape[:-1], dtype=inputs.raw.dtype, device=inputs.raw.device)
        return sum((part.entropy(given) for part, given in zip(self.parts, own, strict=True)), start)

    def flat_mask(self, given: Any) -> Tensor | None:
        """Return a flat mask, or the masks of the parts in their container, as a flat mask."""
        if given is None or masks.is_flat(given):
            return None if given is None else masks.as_flat(given, self.mask_size, "several parts")
        return _joined(self.parts, masks.entries(given, self._entries, "a mask"))

    def to_env(self, value: Any) -> Any:
        """Return a dict or a tuple of actions."""
        own = masks.entries(value, self._entries, "a value")
        return self._contained([part.to_env(given) for part, given in zip(self.parts, own, strict=True)])

    def from_env(self, action: Any, batch_dims: int) -> Any:
        """Return a dict or a tuple of values."""
        own = masks.entries(action, self._entries, "an action")
        return self._contained([part.from_env(given, batch_dims) for part, given in zip(self.parts, own, strict=True)])

    def absent(self) -> Any:
        """Return the values of absent draws."""
        return self._contained([part.absent() for part in self.parts])


@dataclass(frozen=True, eq=False)
class OneOf:
    """One of several parts. A value has `which`, and all `parts`; those that were not chosen are absent.

    which: The choice.
    parts: The parts.
    """

    which: Integers
    parts: Several

    @property
    def size(self) -> int:
        """How many numbers a network puts out for it."""
        return self.which.size + self.parts.size

    @property
    def mask_size(self) -> int:
        """How many outcomes its flat mask has."""
        return self.which.mask_size + self.parts.mask_size

    def family(self, dims: int, optional: bool) -> Chain:
        """Return a chain of the choice and the parts."""
        which = Head(self.which.family(dims, optional), _ParamsOf(self.of_which))
        return chain(which=which, parts=Head(self.parts.family(dims, True), _ParamsOf(self.of_parts)))

    def params(self, inputs: Inputs) -> dict[str, Tensor]:
        """Return what the functions of the chain take."""
        return inputs.as_dict()

    def of_which(self, inputs: Inputs, earlier: dict[str, Tensor]) -> Any:
        """Return the parameters of the choice."""
        return self.which.params(_inputs((self.which, self.parts), inputs)[0])

    def of_parts(self, inputs: Inputs, earlier: dict[str, Tensor]) -> Any:
        """Return the parameters of the parts, of which one is present."""
        _, all_parts = _inputs((self.which, self.parts), inputs)
        found = []
        for i, (part, own) in enumerate(zip(self.parts.parts, _inputs(self.parts.parts, all_parts), strict=True)):
            chosen = earlier["which"] == i
            present = chosen if inputs.present is None else chosen & inputs.present
            found.append(part.params(own._replace(present=present)))
        return tuple(found)

    def entropy(self, inputs: Inputs) -> Tensor:
        """Return the entropy: that of the choice, and the mean of those of the parts."""
        own, all_parts = _inputs((self.which, self.parts), inputs)
        probs = categorical.probs(*self.which.params(own))
        entropies = [
            part.entropy(given)
            for part, given in zip(self.parts.parts, _inputs(self.parts.parts, all_parts), strict=True)
        ]
        return self.which.entropy(own) + (probs * torch.stack(entropies, -1)).sum(-1)

    def flat_mask(self, given: Any) -> Tensor | None:
        """Return a flat mask, gymnasium's tuple of masks, or a dict of `which` and `parts`, as a flat mask."""
        if given is None or masks.is_flat(given):
            return None if given is None else masks.as_flat(given, self.mask_size, "OneOf")
        own = masks.entries(given, ("which", "parts"), "the mask of OneOf") if has_names(given) else (None, given)
        return _joined((self.which, self.parts), own)

    def to_env(self, value: Any) -> Any:
        """Return the pair of the choice and the action of that part."""
        which, parts = masks.entries(value, ("which", "parts"), "a value of OneOf")
        if which.ndim:
            return tuple(self.to_env({"which": which[i], "parts": at(parts, i)}) for i in range(len(which)))
        index = self.which.to_env(which)
        chosen = masks.entries(parts, range(len(self.parts.parts)), "a value of OneOf")[int(index)]
        return index, self.parts.parts[int(index)].to_env(chosen)

    def from_env(self, action: Any, batch_dims: int) -> Any:
        """Return the value of a pair, or of tuples of pairs."""
        if batch_dims:
            return _stacked([self.from_env(own, batch_dims - 1) for own in action])
        index, chosen = action
        parts = [
            part.from_env(chosen, 0) if i == int(index) else part.absent() for i, part in enumerate(self.parts.parts)
        ]
        return {"which": self.which.from_env(index, 0), "parts": tuple(parts)}

    def absent(self) -> Any:
        """Return the value of an absent draw."""
        return {"which": self.which.absent(), "parts": self.parts.absent()}


def _stacked(values: Sequence[Any]) -> Any:
    return optree.tree_map(lambda *leaves: torch.stack(leaves), *values, namespace="torch")


@dataclass(frozen=True, eq=False)
class Repeated:
    """A sequence of one part. A value has the `length`, and `items` with an axis for `most` of them after the batch.

    length: The number of items. Items from there on are absent.
    item: The part.
    least: The least length.
    most: The greatest length.
    is_stacked: Whether an action is one structure of arrays instead of a tuple.
    """

    length: Integers
    item: Node
    least: int
    most: int
    is_stacked: bool = False

    @property
    def size(self) -> int:
        """How many numbers a network puts out for it."""
        return self.length.size + self.most * self.item.size

    @property
    def mask_size(self) -> int:
        """How many outcomes its flat mask has."""
        return self.length.mask_size + self.most * self.item.mask_size

    def family(self, dims: int, optional: bool) -> Chain:
        """Return a chain of the length and the items."""
        length = Head(self.length.family(dims, optional), _ParamsOf(self.of_length))
        return chain(length=length, items=Head(self.item.family(dims + 1, True), _ParamsOf(self.of_items)))

    def params(self, inputs: Inputs) -> dict[str, Tensor]:
        """Return what the functions of the chain take."""
        return inputs.as_dict()

    def _parts(self, inputs: Inputs) -> tuple[Inputs, Inputs]:
        """Return the inputs of the length; and those of the items, with an axis for them, and all of them present."""
        raw, mask = self.length.size, self.length.mask_size
        own = inputs.part(slice(0, raw), slice(0, mask), inputs.present)
        items = inputs.part(slice(raw, None), slice(mask, None), None)
        rows = items.raw.unflatten(-1, (self.most, self.item.size))
        if items.mask is None:
            return own, Inputs(rows)
        return own, Inputs(rows, items.mask.unflatten(-1, (self.most, self.item.mask_size)))

    def of_length(self, inputs: Inputs, earlier: dict[str, Tensor]) -> Any:
        """Return the parameters of the length."""
        return self.length.params(self._parts(inputs)[0])

    def of_items(self, inputs: Inputs, earlier: dict[str, Tensor]) -> Any:
        """Return the parameters of the items, of which the first ones are present."""
        length = earlier["length"][..., None]
        present = torch.arange(self.most, device=length.device) < length
        if inputs.present is not None:
            present = present & inputs.present[..., None]
        return self.item.params(self._parts(inputs)[1]._replace(present=present))

    def entropy(self, inputs: Inputs) -> Tensor:
        """Return the entropy: that of the length, and the mean of those of the items."""
        own, items = self._parts(inputs)
        probs = categorical.probs(*self.length.params(own))
        lengths = range(self.least, self.most + 1)
        has_item = table(tuple(tuple(float(length > i) for i in range(self.most)) for length in lengths), probs)
        present = (probs[..., None] * has_item).sum(-2)
        return self.length.entropy(own) + (present * self.item.entropy(items)).sum(-1)

    def flat_mask(self, given: Any) -> Tensor | None:
        """Return as a flat mask: a flat mask, gymnasium's pair of lengths and mask, or a dict of `length` and `items`.

        The lengths are a mask, bool, or the allowed ones, integers. The mask of the items is the same for all.
        """
        if given is None or masks.is_flat(given):
            return None if given is None else masks.as_flat(given, self.mask_size, "a sequence")
        length, items = masks.entries(given, ("length", "items"), "the mask of a sequence")
        lengths, per_item = self._mask_of_length(length), self.item.flat_mask(items)
        if per_item is None:
            return None if lengths is None else masks.joined([lengths, None], self._mask_sizes)
        lengths = self._possible(lengths, per_item)
        rows = per_item[..., None, :].expand(*per_item.shape[:-1], self.most, per_item.shape[-1])
        return masks.joined([lengths, rows.flatten(-2)], self._mask_sizes)

    @property
    def _mask_sizes(self) -> tuple[int, int]:
        return self.length.mask_size, self.most * self.item.mask_size

    def _possible(self, lengths: Tensor | None, per_item: Tensor) -> Tensor | None:
        """Return the lengths that a mask of the items leaves possible."""
        return lengths

    def _mask_of_length(self, given: Any) -> Tensor | None:
        if given is None:
            return None
        allowed = torch.as_tensor(given)
        if allowed.dtype == torch.bool:
            return self.length.flat_mask(allowed)
        if allowed.ndim > 1:
            raise ValueError(f"allowed lengths must be a number or a list, got shape {tuple(allowed.shape)}")
        if unknown := [n for n in allowed.reshape(-1).tolist() if not self.least <= n <= self.most]:
            raise ValueError(f"allowed lengths must lie between {self.least} and {self.most}, got {unknown}")
        lengths = torch.arange(self.least, self.most + 1, device=allowed.device)
        return (lengths == allowed.reshape(-1, 1)).any(0)

    def to_env(self, value: Any) -> Any:
        """Return the items up to the length, or a tuple of that for each entry of a batch."""
        length, items = masks.entries(value, ("length", "items"), "a value of a sequence")
        if length.ndim:
            return tuple(self.to_env({"length": length[i], "items": at(items, i)}) for i in range(len(length)))
        return self._action(items, int(length))

    def _action(self, items: Any, length: int) -> Any:
        if self.is_stacked:
            return self.item.to_env(optree.tree_map(lambda leaf: leaf[:length], items, namespace="torch"))
        return tuple(self.item.to_env(at(items, i)) for i in range(length))

    def from_env(self, action: Any, batch_dims: int) -> Any:
        """Return the value of a sequence, or of tuples of sequences."""
        if batch_dims:
            return _stacked([self.from_env(own, batch_dims - 1) for own in action])
        items = self._items(action)
        if not self.least <= len(items) <= self.most:
            raise ValueError(f"a sequence must have from {self.least} to {self.most} items, got {len(items)}")
        padding = [self.item.absent() for _ in range(self.most - len(items))]
        return {"length": self.length.port.from_env(len(items)), "items": _stacked([*items, *padding])}

    def _items(self, action: Any) -> list[Any]:
        if not self.is_stacked:
            return [self.item.from_env(own, 0) for own in action]
        values = self.item.from_env(action, 1)
        return [at(values, i) for i in range(len(optree.tree_leaves(values, namespace="torch")[0]))]

    def absent(self) -> Any:
        """Return the value of an absent draw."""
        return {"length": self.length.absent(), "items": _stacked([self.item.absent()] * self.most)}


@dataclass(frozen=True, eq=False)
class Characters(Repeated):
    """A text: a sequence of characters, whose items are their numbers in `alphabet`."""

    alphabet: str = ""

    def _action(self, items: Any, length: int) -> str:
        return "".join(self.alphabet[index] for index in items[:length].tolist())

    def _items(self, action: Any) -> list[Tensor]:
        return [torch.tensor(self.alphabet.index(character)) for character in action]

    def _possible(self, lengths: Tensor | None, per_item: Tensor) -> Tensor | None:
        """Return the lengths; without an allowed character only that of the empty text."""
        own = torch.arange(self.least, self.most + 1, device=per_item.device)
        possible = per_item.any(-1, keepdim=True) | (own == 0)
        return possible if lengths is None else possible & lengths
