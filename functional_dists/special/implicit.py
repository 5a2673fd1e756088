"""Quantiles and tails of densities exp(sum_i theta_i g_i(s) + const) on a line, with exact derivatives by parameters.

With t the quantile, integrate relative to the density and to the statistics at t, on both sides of t:

    L = int_{s<t} f(s) / f(t) ds,  L_i = int_{s<t} (g_i(s) - g_i(t)) f(s) / f(t) ds,  L_ij = with two such factors,

and U, U_i, U_ij above t. Then, without a normaliser, and with h = log f,

    dt/dtheta_i = (U_i L - L_i U) / (L + U),
    d2t/dtheta_i dtheta_j = (U_ij L - L_ij U) / (L + U) - h'(t) dt/dtheta_i dt/dtheta_j,
    g_i(t) - E g_i = -(L_i + U_i) / (L + U).

The first is minus the derivative of the cdf over the density (Figurnov, Mohamed & Mnih, "Implicit reparameterization
gradients", 2018). The point t and these numbers are computed without derivatives. A polynomial of second order in the
changes of the parameters, which are 0, adds the first and the second derivatives. So each transform of PyTorch sees
plain tensor operations.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "Local",
    "carried_by_tail",
    "carried_point",
    "carried_quantile",
    "carried_tails",
    "change_of_mass",
    "log_odds",
    "odds_step",
    "second_order",
    "step_to_odds",
]
__dir__ = __all__.copy  # what tab completion shows


class Local(NamedTuple):
    """What is known at a point t of a density f with parameters theta_1, ..., theta_n, without derivatives."""

    log_below: Tensor  # log of the mass below t
    log_above: Tensor  # log of the mass above t
    below: Tensor  # L: the mass below t over f(t)
    above: Tensor  # U
    growth: Tensor  # h'(t)
    slopes: Sequence[Tensor]  # dt/dtheta_i of the quantile
    curves: Sequence[Tensor]  # d2t/dtheta_i dtheta_j of the quantile, for i <= j, row by row
    tilts: Sequence[Tensor]  # g_i(t) - E g_i: the derivative of log f(t)


def second_order(slopes: Sequence[Tensor], curves: Sequence[Tensor], params: Sequence[Tensor]) -> Tensor:
    """Return 0, with the first and second derivatives by the parameters that are given as constants.

    >>> x = torch.tensor(3.0)
    >>> torch.func.grad(lambda y: second_order([2 * x], [x], [y]))(x)
    tensor(6.)
    """
    changes = [param - param.detach() for param in params]
    pairs = [(i, j) for i in range(len(changes)) for j in range(i, len(changes))]
    total: Tensor = sum(slope * change for slope, change in zip(slopes, changes, strict=True))  # type: ignore[assignment]
    for curve, (i, j) in zip(curves, pairs, strict=True):
        total = total + (0.5 if i == j else 1.0) * curve * (changes[i] * changes[j])
    return total


def carried_point(point: Tensor, local: Local, params: Sequence[Tensor]) -> Tensor:
    """Return the quantile `point`, with its first and second derivatives by the parameters at a fixed probability."""
    return point.detach() + second_order(local.slopes, local.curves, params)


def carried_tails(point: Tensor, local: Local, params: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the logs of the masses below and above `point`, with first and second derivatives by all arguments."""
    mass = change_of_mass(point, local, params)
    more, less = mass / local.below, -mass / local.above
    return local.log_below + more - 0.5 * more * more, local.log_above + less - 0.5 * less * less


def change_of_mass(point: Tensor, local: Local, params: Sequence[Tensor]) -> Tensor:
    """Return 0, with the first and second derivatives by all arguments of the mass below `point`, over f(t).

    Let the point change by dx, and the quantile by dq. The mass between them is to second order
    f(t) (dx - dq) (1 + h'(t) (dx + dq) / 2 + sum_i (g_i(t) - E g_i) dtheta_i).
    """
    change, of_quantile = point - point.detach(), second_order(local.slopes, local.curves, params)
    tilt: Tensor = sum(t * (p - p.detach()) for t, p in zip(local.tilts, params, strict=True))  # type: ignore[assignment]
    return (change - of_quantile) * (1 + 0.5 * local.growth * (change + of_quantile) + tilt)


def carried_quantile(point: Tensor, local: Local, params: Sequence[Tensor], below: Tensor, above: Tensor) -> Tensor:
    """Return the quantile `point`, with its first and second derivatives also by the probability below it.

    They are taken by the logarithm of the smaller of both probabilities.

    Args:
        point: The quantile, without derivatives.
        local: What is known there.
        params: The parameters.
        below: The probability below the quantile, inside (0, 1).
        above: 1 - below.
    """
    is_lower = below <= above
    log_tail = torch.log(torch.where(is_lower, below, above))
    return carried_by_tail(point, local, params, log_tail, torch.where(is_lower, local.below, -local.above))


def carried_by_tail(point: Tensor, local: Local, params: Sequence[Tensor], log_tail: Tensor, mass: Tensor) -> Tensor:
    """Return the quantile `point`, with its first and second derivatives also by the logarithm v of a tail.

    Those by the probability itself overflow. With m = L for the tail below, or -U for that above, dt/dv = m,
    d2t/dv2 = m (1 - h' m), and d2t/dv dtheta_i = -m (g_i(t) - E g_i + h' dt/dtheta_i).

    Args:
        point: The quantile, without derivatives.
        local: What is known there.
        params: The parameters.
        log_tail: The logarithm of the probability of the tail.
        mass: m.
    """
    moved = local.growth * mass
    mixed = [-mass * tilt - moved * slope for tilt, slope in zip(local.tilts, local.slopes, strict=True)]
    curves, given = [], iter(local.curves)
    for i in range(len(params)):
        curves += [next(given) for _ in range(i, len(params))] + [mixed[i]]
    curves.append(mass * (1 - moved))
    return point.detach() + second_order([*local.slopes, mass], curves, [*params, log_tail])


# ----------------------------------------------------------------------------------------------------------- quantiles
def log_odds(below: Tensor, above: Tensor) -> Tensor:
    """Return log(below / above) of two masses that add up to 1, from the digits of the smaller one.

    >>> log_odds(torch.tensor(1e-30), torch.tensor(1.0))
    tensor(-69.0776)
    """
    is_lower = below <= above
    small = torch.where(is_lower, below, above)
    odds = torch.log(small) - torch.log1p(-small)
    return torch.where(is_lower, odds, -odds)


def odds_step(
    point: Tensor, log_odds: Tensor, below: Tensor, above: Tensor, growth: Tensor, curvature: Tensor
) -> Tensor:
    """Return the next point of an iteration of fourth order for the point whose log-odds are given.

    The log-odds G = log L - log U are almost linear in the point. So a step of Householder's third method converges
    from coarse starts. Source: Householder, "The numerical treatment of a single nonlinear equation" (1970).

    Args:
        point: The point t.
        log_odds: The log-odds of the quantile.
        below: L, the mass below t over f(t).
        above: U.
        growth: h'(t).
        curvature: h''(t).

    >>> one = torch.tensor(1.0)  # exp(-|s|) at 0, whose quantile for log-odds of 0.1 is -log(1 - tanh(0.05))
    >>> odds_step(0 * one, 0.1 * one, one, one, 0 * one, 0 * one)
    tensor(0.0500)
    """
    gap = torch.log(below) - torch.log(above) - log_odds
    return point + step_to_odds(gap, 1 / below, 1 / above, growth, curvature)


def step_to_odds(gap: Tensor, per_below: Tensor, per_above: Tensor, growth: Tensor, curvature: Tensor) -> Tensor:
    """Return the step of `odds_step`, from 1 / L and 1 / U, where L or U itself may overflow.

    Args:
        gap: The log-odds at the point less those of the quantile.
        per_below: 1 / L.
        per_above: 1 / U.
        growth: h'(t).
        curvature: h''(t).

    >>> one = torch.tensor(1.0)
    >>> step_to_odds(-0.1 * one, one, one, 0 * one, 0 * one)
    tensor(0.0500)
    """
    step = -gap / (per_below + per_above)
    second = per_above - per_below + growth  # G'' / G'
    third = second * second + per_above * (per_above + growth) + per_below * (per_below - growth) + curvature
    first = 0.5 * second * step
    factor = 1 - first + (0.5 * second * second - third / 6) * step * step
    return step * torch.where((factor - 1).abs() < 0.5, factor, 1.0)
