"""Sums of the scores of heads, whose shapes may differ in their trailing axes."""

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import optree
import torch
from torch import Tensor

from functional_dists.family import as_dicts
from functional_dists.special.vectorized import sum_event


def aggregated(scores: Any, aggregate: bool) -> Any:
    """Return the scores of the heads, or their sum if asked to.

    Each is first summed over the axes after the leading ones that all heads share.
    """
    if not aggregate or isinstance(scores, Tensor):
        return scores
    leaves = optree.tree_leaves(as_dicts(scores), namespace="torch")
    if not leaves:
        raise TypeError("families holds no family")
    return sum_scores(leaves, len(shared_shape([leaf.shape for leaf in leaves])))


def sum_scores(scores: Iterable[Tensor], dims: int) -> Tensor:
    """Add up tensors, each first summed over the axes after the first `dims`.

    >>> sum_scores([torch.ones(2), torch.ones(2, 3)], 1)
    tensor([4., 4.])
    """
    return functools.reduce(torch.add, [sum_event(score, max(score.ndim - dims, 0)) for score in scores])


def shared_shape(shapes: Sequence[torch.Size]) -> torch.Size:
    """Return the leading axes that all shapes have.

    >>> shared_shape([torch.Size([4]), torch.Size([4, 2])])
    torch.Size([4])
    """
    dims = 0
    while all(len(shape) > dims and shape[dims] == shapes[0][dims] for shape in shapes):
        dims += 1
    return shapes[0][:dims]
