"""What every part of an action space knows: its family, its parameters, and the form of its actions."""

from typing import Any, NamedTuple, Protocol

import optree
from torch import Tensor

from functional_dists.combinators import independent
from functional_dists.family import bind, specification_of


class Inputs(NamedTuple):
    """What the parameters of a part are made of.

    raw: The output of the network for it, of shape (*batch, size).
    mask: Its flat mask, of shape (*batch, mask_size), or None.
    present: Bool of shape (*sample, *batch), False where the part is absent; None where it never is.
    """

    raw: Tensor
    mask: Tensor | None = None
    present: Tensor | None = None

    def part(self, raw: slice, mask: slice, present: Tensor | None) -> "Inputs":
        """Return the inputs of a part of this part."""
        return Inputs(self.raw[..., raw], None if self.mask is None else self.mask[..., mask], present)

    def as_dict(self) -> dict[str, Tensor]:
        """Return what is not None by name: the parameters of a chain."""
        return {name: tensor for name, tensor in self._asdict().items() if tensor is not None}


class Node(Protocol):
    """A part of an action space."""

    @property
    def size(self) -> int:
        """How many numbers a network puts out for it."""

    @property
    def mask_size(self) -> int:
        """How many outcomes its flat mask has."""

    def family(self, dims: int, optional: bool) -> Any:
        """Return its family.

        Args:
            dims: The number of axes between the batch and its own, one for each sequence around it.
            optional: Whether the family takes `present`.
        """

    def params(self, inputs: Inputs) -> Any:
        """Return the parameters of the family."""

    def entropy(self, inputs: Inputs) -> Tensor:
        """Return the entropy, of the shape of the batch; exact also where the family is a chain."""

    def flat_mask(self, given: Any) -> Tensor | None:
        """Return a mask in any of the known forms as a flat mask, or None if it allows everything."""

    def to_env(self, value: Any) -> Any:
        """Return what an environment takes, or a batch of it in the form of gymnasium's vector environments."""

    def from_env(self, action: Any, batch_dims: int) -> Any:
        """Return the value that `to_env` turns into this action."""

    def absent(self) -> Any:
        """Return the value of an absent draw without a batch."""


def with_events(family: Any, dims: int) -> Any:
    """Return a family whose scores are sums over `dims` axes.

    >>> from functional_dists import categorical, tanh_normal
    >>> with_events(categorical, 1), with_events(tanh_normal, 2)
    (independent(categorical, 1), bind(tanh_normal, event_dims=2))
    """
    spec = specification_of(family.log_prob)
    if spec is not None and spec.event_dims is not None:
        return bind(family, event_dims=dims)
    return independent(family, dims) if dims else family


def at(value: Any, index: int) -> Any:
    """Return the entries of all tensors at an index of the first axis."""
    return optree.tree_map(lambda leaf: leaf[index], value, namespace="torch")
