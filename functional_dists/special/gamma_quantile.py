"""Quantiles of the gamma distribution, by a few steps of fourth order from a formula."""

import torch
from torch import Tensor

from functional_dists.special.gamma_local import log_total_at_mode, smaller_side
from functional_dists.special.implicit import log_odds, step_to_odds
from functional_dists.special.operations import elementwise_operation
from functional_dists.special.polygamma import Rests, stirling_rests

__all__ = ["gamma_quantile", "quantile"]
__dir__ = __all__.copy  # what tab completion shows


def quantile(below: Tensor, above: Tensor, a: Tensor, precise: bool) -> Tensor:
    """Return what `gamma_quantile` returns, by tensor operations."""
    below, above, a = torch.broadcast_tensors(below, above, a)
    rests, odds = stirling_rests(a), log_odds(below, above)
    offset = _start(below, above, a, rests)
    for is_precise in (False, False, True) if precise else (False, False):
        offset = offset + _step(offset, odds, a, rests, is_precise)
    return offset


def _step(offset: Tensor, odds: Tensor, a: Tensor, rests: Rests, precise: bool) -> Tensor:
    side = smaller_side(offset, a, rests, 0, precise=precise)
    mass, lower = side.moments[0], side.is_lower
    log_tail = mass.log() - side.log_total
    tail = log_tail.exp()
    gap = log_tail - torch.log1p(-tail)
    per_rest = torch.exp(-side.log_total) / (1 - tail)
    per_below, per_above = torch.where(lower, 1 / mass, per_rest), torch.where(lower, per_rest, 1 / mass)
    gap = torch.where(lower, gap, -gap) - odds
    return step_to_odds(gap, per_below, per_above, -a * torch.expm1(offset), -a * torch.exp(offset))


def _start(below: Tensor, above: Tensor, a: Tensor, rests: Rests) -> Tensor:
    """Return about the offset of the quantile.

    For a >= 1 it is by Wilson & Hilferty, "The distribution of chi-square" (1931), but far below by the first terms of
    the lower tail x^a (1 - a x / (a + 1)) / Gamma(a + 1). For a < 1 it is by Alzer, "On some inequalities for the
    incomplete gamma function" (1997), but far above by the first terms of the upper tail
    x^(a - 1) exp(-x) / Gamma(a) (1 - (1 - a) / (1 + x)).
    """
    log_a, is_lower = a.log(), below <= above
    log_below = torch.where(is_lower, below.log(), torch.log1p(-torch.where(is_lower, 0.5, above)))
    log_gamma = log_total_at_mode(a, rests) + a * log_a - a
    first = (log_below + log_gamma + log_a) / a  # of x^a / Gamma(a + 1)
    # a >= 1
    z = _normal_quantile(torch.minimum(below, above))
    cube_root = 1 - 1 / (9 * a) + torch.where(is_lower, z, -z) / (3 * a.sqrt())
    tail = first + (torch.exp(first.clamp(max=3.0)) / (a + 1)).clamp(max=1.0)
    large = torch.where(cube_root > 0.45, 3 * cube_root.clamp(min=0.1).log(), tail - log_a)
    # a < 1
    exponent = log_below / a  # of F^(1/a)
    alzer = torch.log((-torch.log(-torch.expm1(exponent))).clamp(min=1e-37))
    alzer = torch.where(exponent < -30, exponent, alzer) + (log_gamma + log_a) / a
    y = (-above.log() - log_gamma).clamp(min=1.0)
    x = y
    for _ in range(3):
        x = x.clamp(min=0.5)
        x = y - (1 - a) * x.log() - torch.log1p((1 - a) / (1 + x))
    small = torch.where((y > 2) & (x > 1), x.clamp(min=0.1).log(), alzer)
    return torch.where(a < 1, small - log_a, large)


def _normal_quantile(p: Tensor) -> Tensor:
    """Return the normal quantile of p <= 1/2 to 5e-4 (Abramowitz & Stegun 26.2.23)."""
    t = (-2 * p.log()).sqrt()
    numerator = 2.515517 + t * (0.802853 + t * 0.010328)
    return numerator / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308))) - t


_operation = elementwise_operation("gamma_quantile", ("below", "above", "a"), quantile, flags=["precise"])


def gamma_quantile(below: Tensor, above: Tensor, a: Tensor, *, precise: bool) -> Tensor:
    """Return the logarithm of a quantile of the standard gamma distribution less log a, without derivatives.

    Args:
        below: The probability below the quantile, in (0, 1), in float64.
        above: 1 - below, with all digits where it is the smaller one.
        a: The concentration, in float64.
        precise: Whether the results are for float64, instead of float32.

    >>> tail = torch.tensor(-1.0, dtype=torch.float64).exp()
    >>> abs(gamma_quantile(1 - tail, tail, torch.ones_like(tail), precise=True).item()) < 1e-14  # P(X > 1) = exp(-1)
    True
    """
    return _operation(below.detach(), above.detach(), a.detach(), precise)
