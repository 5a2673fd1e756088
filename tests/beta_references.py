"""The Beta distribution in mpmath: masses, and the derivatives of quantiles by differences at many digits."""

from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath
from mpmath import mpf

DIGITS = 70


class Reference(NamedTuple):
    """What is known of the logit t of a Beta(a, b)."""

    log_below: Any
    log_above: Any
    slopes: tuple[Any, ...]  # dt/da and dt/db at a fixed probability
    curves: tuple[Any, ...]  # second derivatives by aa, ab, bb


def log_beta(a: Any, b: Any) -> Any:
    """Return log B(a, b)."""
    return mpmath.loggamma(a) + mpmath.loggamma(b) - mpmath.loggamma(a + b)


def log_masses(t: Any, a: Any, b: Any) -> tuple[Any, Any]:
    """Return the logs of the masses below and above the logit t, by the series with positive terms (DLMF 8.17.8)."""
    if t > 0:
        return log_masses(-t, b, a)[::-1]
    x, y = 1 / (1 + mpmath.exp(-t)), 1 / (1 + mpmath.exp(t))
    total = term = 1 / a
    k = 0
    while term > total * mpf(10) ** -(DIGITS + 2):
        term *= x * (a + b + k) / (a + 1 + k)
        total += term
        k += 1
    log_below = mpmath.log(total) + a * mpmath.log(x) + b * mpmath.log(y) - log_beta(a, b)
    return log_below, mpmath.log1p(-mpmath.exp(log_below))


def reference(t: Any, a: Any, b: Any) -> Reference:
    """Return the masses at a logit, and the derivatives of the quantile there."""
    with mpmath.workdps(DIGITS):
        t, a, b = mpf(t), mpf(a), mpf(b)
        log_below, log_above = log_masses(t, a, b)
        side = 0 if log_below < log_above else 1

        def tail(moved: tuple[int, ...]) -> Any:
            i, j, k = moved
            return log_masses(t + k * step, a * (1 + i * step), b * (1 + j * step))[side]

        step = mpf(10) ** -16
        sizes = (a, b, mpf(1))
        first, second = _differences(tail, step)
        slope = [of / size for of, size in zip(first, sizes, strict=True)]
        curve = {(i, j): second[i, j] / (sizes[i] * sizes[j]) for i, j in second}
        along = [-slope[i] / slope[2] for i in (0, 1)]
        curves = tuple(
            -(curve[i, j] + curve[i, 2] * along[j] + curve[j, 2] * along[i] + curve[2, 2] * along[i] * along[j])
            / slope[2]
            for i, j in ((0, 0), (0, 1), (1, 1))
        )
        return Reference(log_below, log_above, tuple(along), curves)


def _differences(function: Callable[[tuple[int, ...]], Any], step: Any) -> tuple[list[Any], dict[tuple[int, int], Any]]:
    centre, ahead, behind = function((0, 0, 0)), [], []
    for i in range(3):
        unit = [int(i == j) for j in range(3)]
        ahead.append(function(tuple(unit)))
        behind.append(function(tuple(-u for u in unit)))
    first = [(up - down) / (2 * step) for up, down in zip(ahead, behind, strict=True)]
    second = {(i, i): (ahead[i] - 2 * centre + behind[i]) / step**2 for i in range(3)}
    for i, j in ((0, 1), (0, 2), (1, 2)):
        corners = 0
        for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            moved = [0, 0, 0]
            moved[i], moved[j] = signs
            corners += signs[0] * signs[1] * function(tuple(moved))
        second[i, j] = corners / (4 * step**2)
    return first, second


def entropy(a: Any, b: Any) -> Any:
    """Return the entropy on (0, 1)."""
    a, b = mpf(a), mpf(b)
    psi = [mpmath.digamma(z) for z in (a, b, a + b)]
    return log_beta(a, b) - (a - 1) * psi[0] - (b - 1) * psi[1] + (a + b - 2) * psi[2]


def divergence(a: Any, b: Any, c: Any, d: Any) -> Any:
    """Return KL(Beta(a, b) || Beta(c, d))."""
    a, b, c, d = map(mpf, (a, b, c, d))
    psi = mpmath.digamma(a + b)
    means = mpmath.digamma(a) - psi, mpmath.digamma(b) - psi
    return log_beta(c, d) - log_beta(a, b) + (a - c) * means[0] + (b - d) * means[1]


def density(x: Any, a: Any, b: Any) -> Any:
    """Return the log-density at x."""
    return (a - 1) * mpmath.log(x) + (b - 1) * mpmath.log1p(-x) - log_beta(a, b)
