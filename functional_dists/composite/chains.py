"""Chains: joint distributions whose heads depend on the values of the earlier heads."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import optree
import torch
from torch import Tensor

from functional_dists.family import from_pickle, to_pickle
from functional_dists.family.reprs import call, shown


class Head(NamedTuple):
    """A member of a `chain`.

    family: A family, or a pytree of families.
    params: A function of the chain's parameters and of a dict of the earlier values by name. It returns the head's
        parameters. Without it they are `params[name]` of the chain's parameters. When values with sample axes are
        scored, the earlier values have these axes too, and the function must broadcast over them.
    """

    family: Any
    params: Callable[[Any, dict[str, Any]], Any] | None = None

    def __repr__(self) -> str:
        return shown(self)


@dataclass(frozen=True, eq=False)
class Chain:
    """Heads that depend on the values of the earlier heads; made by `chain`."""

    heads: tuple[tuple[str, Head], ...]

    def __repr__(self) -> str:
        return call("composite.chain", **dict(self.heads))

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, tuple(
            (name, head._replace(family=families_to_pickle(head.family))) for name, head in self.heads
        )


def _unpickled(*heads: tuple[str, Head]) -> Chain:
    return Chain(tuple((name, head._replace(family=families_from_pickle(head.family))) for name, head in heads))


def chain(**heads: Head) -> Chain:
    """Make a joint distribution whose heads depend on the values of the earlier heads.

    Args:
        heads: A `Head` for every name, in the order of the draws.

    Returns:
        A `Chain`, which all functions here take as a family. Its parameters are what the functions of the heads take.
        Its values are dicts by the names of the heads.

    Raises:
        TypeError: an argument is not a `Head`.

    >>> from functional_dists import categorical, masked_categorical, random
    >>> from functional_dists.composite import log_prob, sample
    >>> allowed = torch.tensor([[True, False, False], [False, True, True]])  # the targets that each unit can reach
    >>> order = chain(
    ...     unit=Head(categorical),
    ...     target=Head(masked_categorical, lambda params, earlier: (params["target"], pick(allowed, earlier["unit"]))),
    ... )
    >>> params = {"unit": (torch.zeros(2),), "target": torch.zeros(3)}
    >>> sample(random.key(42), order, params)
    {'unit': tensor(0), 'target': tensor(0)}
    >>> log_prob(order, params, {"unit": torch.tensor([1, 1, 1]), "target": torch.tensor([0, 1, 2])})
    tensor([   -inf, -1.3863, -1.3863])
    """
    for name, head in heads.items():
        if not isinstance(head, Head):
            raise TypeError(f"{name} must be a Head, got {type(head).__name__}")
    return Chain(tuple(heads.items()))


def pick(table: Tensor, index: Tensor) -> Tensor:
    """Return the rows of a table that an earlier head chose, such as the mask or the parameters of a later head.

    Unlike `table[index]` this also works under vmap when the index has no axes.

    Args:
        table: A tensor of shape (*batch, rows, columns).
        index: Integers of shape (*sample, *batch).

    Returns:
        A tensor of shape (*sample, *batch, columns).

    >>> pick(torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([1, 0, 1]))
    tensor([[4, 5, 6],
            [1, 2, 3],
            [4, 5, 6]])
    """
    batch = torch.broadcast_shapes(table.shape[:-2], index.shape)
    rows = index.expand(batch)[..., None, None]
    return torch.take_along_dim(table.expand(*batch, *table.shape[-2:]), rows, -2).squeeze(-2)


def families_to_pickle(families: Any) -> Any:
    """Return `families` with a stand-in for every module, as pickle refuses modules."""
    return optree.tree_map(to_pickle, families, namespace="torch")


def families_from_pickle(families: Any) -> Any:
    """Return the families for which `families_to_pickle` made this."""
    return optree.tree_map(from_pickle, families, namespace="torch")
