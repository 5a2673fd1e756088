"""What processes exchange that have parts of the vocabulary of a head, `linear_head`: numbers of rows, never a table.

Each process makes the terms of its part by tiles. One collective joins them. Then all processes hold the same terms,
and their gradients by the parts need no other collective.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from functional_dists.special.axis import Cut, gathered, reduced
from functional_dists.special.linear_head import Terms, joined

__all__ = ["joined_choices", "joined_lists", "joined_terms", "own_target"]


def joined_terms(parts: Sequence[tuple[Tensor, ...]], counted: Tensor, cut: Cut) -> list[tuple[Tensor, ...]]:
    """Return the terms of whole rows, and the logits of tokens, from those of all processes; one collective.

    Args:
        parts: For each head what `linear_terms` returns for the tokens of this process.
        counted: As in `linear_score.log_prob_and_entropy`.
        cut: The part of the vocabulary.
    """
    columns = [[*terms, *picked.unbind(1)] for *terms, picked in parts]
    numbers = torch.stack([column.double() for of_head in columns for column in of_head])  # exact, tokens too
    of_heads = gathered(numbers, cut).split([len(of_head) for of_head in columns], 1)
    return [_joined(part, of_all, counted) for part, of_all in zip(parts, of_heads, strict=True)]


def _joined(part: tuple[Tensor, ...], of_all: Tensor, counted: Tensor) -> tuple[Tensor, ...]:
    """Return the results of one head from those of all processes ``(world, 4 + S, N)``."""
    every = [Terms(*(n.to(t.dtype) for n, t in zip(numbers, part[:4], strict=True))) for numbers in of_all[:, :4]]
    terms = every[0]
    for after in every[1:]:
        terms = joined(terms, after)
    picked = of_all[:, 4:].amax(0).T.to(part[4].dtype)  # those without the token have -inf
    if not counted.numel():
        return *terms, picked
    # To join the zeros of a row that is not counted would add up their weights.
    return *(torch.where(counted, term, torch.zeros_like(term)) for term in terms), picked


def own_target(totals: Tensor, uniform: Tensor, cut: Cut) -> tuple[Tensor, Tensor]:
    """Return the targets of draws ``(N, S)`` in this process's part, 0 elsewhere, and which lie there.

    Args:
        totals: The sums of the integer weights of this process ``(N,)``.
        uniform: Draws ``(N, S)``, float64.
        cut: The part of the vocabulary.
    """
    ends = functional.pad(gathered(totals, cut).cumsum(0), (0, 0, 1, 0))[..., None]  # (1 + world, N, 1)
    target = uniform * ends[-1]
    before = ends[cut.rank]
    is_mine = (target >= before) & (target < ends[cut.rank + 1])
    return torch.where(is_mine, target - before, 0.0), is_mine  # an exact difference, as in `choice.choose`


def joined_choices(token: Tensor, is_mine: Tensor, cut: Cut) -> Tensor:
    """Return the tokens ``(N, S)`` that all processes have chosen; 0 where none has."""
    return reduced(torch.where(is_mine, token, 0), "sum", [cut])


def joined_lists(index: Tensor, cut: Cut) -> Tensor:
    """Return the lists ``(N, K)`` of kept tokens of whole rows from those of all processes, -1 in unused slots.

    Args:
        index: The tokens of this process ``(N, k)``, numbered in the whole vocabulary, -1 in unused slots.
        cut: The part of the vocabulary.
    """
    size = int(reduced(torch.tensor(index.shape[1], device=index.device), "max", [cut]))
    of_all = gathered(functional.pad(index, (0, size - index.shape[1]), value=-1), cut)
    return of_all.movedim(0, 1).flatten(1)
