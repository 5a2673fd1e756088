"""Quantiles, modes and integrals of a distribution that is known by its cdf and density alone.

The functions that are searched take values with one more leading axis, that of the candidates.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from functional_dists.special.constant import table_of
from functional_dists.special.gaussian import ndtr
from functional_dists.special.quadrature import panel_rule

__all__ = ["log_difference_of_exps", "log_sum_of_exps", "panels", "quantile_between", "score_grid", "top_between"]
__dir__ = __all__.copy  # what tab completion shows

Function = Callable[[Tensor], Tensor]
_PARTS = 33  # of an interval in one step of a search


def _fractions(like: Tensor) -> Tensor:
    return torch.arange(1, _PARTS, dtype=like.dtype, device=like.device) / _PARTS


def _inner_points(low: Tensor, high: Tensor) -> Tensor:
    """Return points between two bounds, on a new leading axis."""
    fraction = table_of(_fractions, low).reshape(-1, *[1] * low.ndim)
    return low + (high - low) * fraction


def quantile_between(is_below: Function, low: Tensor, high: Tensor, num_steps: int = 7) -> tuple[Tensor, Tensor]:
    """Return a bracket, 33^num_steps times as short as (low, high), of the point up to which `is_below` is True.

    >>> low, high = quantile_between(lambda x: x < 0.3, torch.tensor(0.0).double(), torch.tensor(1.0).double())
    >>> low < 0.3, high - low < 1e-10
    (tensor(True), tensor(True))
    """
    for _ in range(num_steps):
        points = _inner_points(low, high)
        count = is_below(points).sum(0).to(low.dtype)
        width = high - low
        low, high = low + width * (count / _PARTS), low + width * ((count + 1) / _PARTS)
    return low, high


def top_between(log_density: Function, candidates: Tensor, num_steps: int = 12) -> Tensor:
    """Return the point of largest density between the smallest and the largest of the candidates ``(K, *B)``.

    The first step looks at the candidates and at points between them. Each further step looks between the neighbours of
    the best point. A peak is found if it is the highest around a candidate, or wider than 1/33 of the whole. Densities
    near a peak round to the same number, so a peak of width w is found to sqrt(eps) w.

    >>> found = top_between(lambda x: -(x - 0.3) ** 2, torch.tensor([0.0, 1.0]).double())
    >>> (found - 0.3).abs() < 1e-7
    tensor(True)
    """
    points = torch.cat([candidates, _inner_points(candidates.amin(0), candidates.amax(0))]).sort(0).values
    for _ in range(num_steps):
        best = log_density(points).argmax(0, keepdim=True)
        last = len(points) - 1
        low, high = (points.gather(0, (best + side).clamp(0, last)) for side in (-1, 1))
        top = points.gather(0, best)
        points = torch.cat([_inner_points(low[0], high[0]), top]).sort(0).values
    return top[0]


# ------------------------------------------------------------------------------------------------------------- panels
def score_grid(like: Tensor) -> Tensor:
    """Return the probabilities of the normal quantiles -8.25, -7.75, ..., 8.25, and 1/2.

    Neither tail beyond them has more than 1e-16 of the mass.

    >>> len(score_grid(torch.tensor(0.0)))
    35
    """
    score = torch.arange(-16.5, 17.0, 1.0, dtype=torch.float64, device=like.device) / 2
    return ndtr(torch.cat([score, score.new_zeros(1)]).sort().values).to(like.dtype)


def panels(points: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes and weights, on one leading axis, for integrals over the panels between points ``(P, *B)``.

    >>> x, weight = panels(torch.tensor([0.0, 1.0, 3.0]).double())
    >>> (weight * x**2).sum()
    tensor(9., dtype=torch.float64)
    """
    points = points.sort(0).values
    u, weight = (rule.reshape(-1, *[1] * points.ndim) for rule in table_of(panel_rule, points))
    width = points[1:] - points[:-1]
    return (points[:-1] + width * u).flatten(0, 1), (width * weight).flatten(0, 1)


# ---------------------------------------------------------------------------------------------------------- log space
def log_sum_of_exps(x: Tensor, dim: int = -1) -> Tensor:
    """Return log sum exp(x) over an axis; -inf, with no gradient, where all terms are -inf.

    >>> log_sum_of_exps(torch.tensor([[0.0, 0.0], [-torch.inf, -torch.inf]]))
    tensor([0.6931,   -inf])
    """
    top = x.detach().amax(dim, keepdim=True)
    is_empty = top == -torch.inf
    top = torch.where(is_empty, 0.0, top)
    total = torch.exp(x - top).sum(dim, keepdim=True)
    return torch.where(is_empty, -torch.inf, torch.where(is_empty, 1.0, total).log() + top).squeeze(dim)


def log_difference_of_exps(x: Tensor, y: Tensor) -> Tensor:
    """Return log(exp(x) - exp(y)) for x >= y; -inf, with no gradient, where they are equal.

    >>> log_difference_of_exps(torch.tensor([0.0, 0.0]), torch.tensor([-torch.inf, 0.0]))
    tensor([0., -inf])
    """
    is_empty = x <= y
    gap = torch.where(is_empty, 1.0, x - y)
    is_far = gap == torch.inf  # nothing is subtracted
    gap = torch.where(is_far, 1.0, gap)
    shrinking = torch.where(is_far, 0.0, torch.log(-torch.expm1(-gap)))
    return torch.where(is_empty, -torch.inf, torch.where(is_empty, 0.0, x) + shrinking)
