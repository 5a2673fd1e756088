"""Masses and densities of the logit of a Beta variable, and the derivatives of its quantiles.

With the notation of `beta_mass`, q = n int_{s<t} X f(s) / f(t) ds, and q_a, q_bb, ... the same with factors
log(X / x) and log(Y / y) inside, twice for two letters, the derivatives of a L = 1 + q at a fixed point t give those of
the quantile. Write Q = q / n and so on, and

    m_a = psi(1 + a) - psi(n) - log x > 0,  m_b = psi(b) - psi(n) - log y < 0.

Then, with F fixed and h = log f, and where the terms 1 / a and 1 / a^2 of psi(a) and psi'(a) have cancelled,

    a dt/da = (1 + q) m_a - Q - q_a,
    a dt/db = (1 + q) m_b - Q - q_b,
    a (d2t/da2 + h' (dt/da)^2) = (1 + q) (m_a^2 + psi'(1 + a) - psi'(n)) - 2 Q_a - q_aa - 2 dt/da,
    a (d2t/dadb + h' dt/da dt/db) = (1 + q) (m_a m_b - psi'(n)) - Q_a - Q_b - q_ab - dt/db,
    a (d2t/db2 + h' (dt/db)^2) = (1 + q) (m_b^2 + psi'(b) - psi'(n)) - 2 Q_b - q_bb.
"""

import torch
from torch import Tensor

from functional_dists.special.beta_mass import (
    integral_below,
    log_masses,
    log_total_at_mode,
    point_at,
    total_growth,
)
from functional_dists.special.beta_score import statistics_at
from functional_dists.special.implicit import Local
from functional_dists.special.operations import elementwise_operation

__all__ = ["beta_local", "local"]
__dir__ = __all__.copy  # what tab completion shows


def local(offset: Tensor, a: Tensor, b: Tensor, precise: bool) -> tuple[Tensor, ...]:
    point, is_reflected = point_at(offset, a, b)
    a, b = point.a, point.b
    n = a + b
    weight, log_x, log_y = integral_below(point, precise)
    by_x, by_y = weight * log_x, weight * log_y
    mass, mass_a, mass_b, mass_aa, mass_ab, mass_bb = (
        v.sum(0) for v in (weight, by_x, by_y, by_x * log_x, by_x * log_y, by_y * log_y)
    )
    rest = n * mass
    log_total = log_total_at_mode(a, b) + total_growth(point)
    log_below, log_above = log_masses(log_total, rest)
    below = (1 + rest) / a
    above = torch.exp(log_above + log_total) / a

    m_a, m_b, variance_a, variance_b, trigamma_of_all = statistics_at(point)
    scale = 1 + rest
    slope_a = (scale * m_a - mass - n * mass_a) / a
    slope_b = (scale * m_b - mass - n * mass_b) / a
    growth = point.growth
    curve_aa = (scale * (m_a * m_a + variance_a) - 2 * mass_a - n * mass_aa - 2 * slope_a) / a
    curve_ab = (scale * (m_a * m_b - trigamma_of_all) - mass_a - mass_b - n * mass_ab - slope_b) / a
    curve_bb = (scale * (m_b * m_b + variance_b) - 2 * mass_b - n * mass_bb) / a
    curve_aa = curve_aa - growth * slope_a * slope_a
    curve_ab = curve_ab - growth * slope_a * slope_b
    curve_bb = curve_bb - growth * slope_b * slope_b
    tilt_a, tilt_b = 1 / a - m_a, -m_b

    def swapped(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        return torch.where(is_reflected, other, one), torch.where(is_reflected, one, other)

    sign = torch.where(is_reflected, -1.0, 1.0).to(a.dtype)
    slopes, curves = swapped(slope_a, slope_b), swapped(curve_aa, curve_bb)
    return (
        *swapped(log_below, log_above),
        *swapped(below, above),
        sign * growth,
        *(sign * slope for slope in slopes),
        *(sign * curve for curve in (curves[0], curve_ab, curves[1])),
        *swapped(tilt_a, tilt_b),
    )


_operation = elementwise_operation("beta_local", ["offset", "a", "b"], local, flags=["precise"], num_results=12)


def beta_local(offset: Tensor, a: Tensor, b: Tensor, precise: bool) -> Local:
    """Return what is known of the logit of a Beta(a, b) at an offset from its mode log(a / b), without derivatives.

    >>> one = torch.ones((), dtype=torch.float64)
    >>> beta_local(0 * one, one, one, True).log_below.exp()
    tensor(0.5000, dtype=torch.float64)
    """
    found = _operation(offset.detach(), a.detach(), b.detach(), precise)
    log_below, log_above, below, above, growth = found[:5]
    return Local(log_below, log_above, below, above, growth, found[5:7], found[7:10], found[10:])
