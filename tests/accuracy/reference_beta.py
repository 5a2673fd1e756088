"""Exact answers for the Beta distribution on (0, 1).

Masses are sums of positive terms. Their derivatives by the concentrations are differences of 25 digits, since they have
no closed form; those by the value are densities.
"""

from collections.abc import Callable
from typing import Any

Answer = dict[str, Any]
CONCENTRATIONS = ("concentration1", "concentration0")
NAMES = tuple(f"beta.{verb}" for verb in ("log_prob", "log_cdf", "log_survival", "entropy"))


def references(mp: Any) -> dict[str, tuple[tuple[str, ...], Callable[..., Answer]]]:
    """All references: the names of the arguments, and the function; `mp` is the context of mpmath."""

    def log_beta(a: Any, b: Any) -> Any:
        return mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)

    def score(a: Any, b: Any, x: Any) -> Any:
        return (a - 1) * mp.log(x) + (b - 1) * mp.log1p(-x) - log_beta(a, b)

    def log_mass(a: Any, b: Any, x: Any, y: Any) -> Any:
        """The logarithm of the mass below x = 1 - y (DLMF 8.17.8)."""
        if x > y:
            return mp.log1p(-mp.exp(log_mass(b, a, y, x)))
        total = term = 1 / a
        k = 0
        while term > total * mp.eps / 100:
            term *= x * (a + b + k) / (a + 1 + k)
            total += term
            k += 1
        return mp.log(total) + a * mp.log(x) + b * mp.log(y) - log_beta(a, b)

    def tail(is_lower: bool) -> Callable[..., Answer]:
        def value(a: Any, b: Any, x: Any) -> Any:
            return log_mass(a, b, x, 1 - x) if is_lower else log_mass(b, a, 1 - x, x)

        def answer(a: Any, b: Any, x: Any) -> Answer:
            found, step = value(a, b, x), mp.mpf(10) ** -25
            by_a = (value(a * (1 + step), b, x) - value(a * (1 - step), b, x)) / (2 * a * step)
            by_b = (value(a, b * (1 + step), x) - value(a, b * (1 - step), x)) / (2 * b * step)
            by_x = mp.exp(score(a, b, x) - found)
            return {
                "value": found,
                **dict(zip(CONCENTRATIONS, (by_a, by_b), strict=True)),
                "at": by_x if is_lower else -by_x,
            }

        return answer

    def log_prob(a: Any, b: Any, x: Any) -> Answer:
        psi = mp.digamma(a + b)
        slopes = mp.log(x) - mp.digamma(a) + psi, mp.log1p(-x) - mp.digamma(b) + psi
        at = (a - 1) / x - (b - 1) / (1 - x)
        return {"value": score(a, b, x), **dict(zip(CONCENTRATIONS, slopes, strict=True)), "at": at}

    def entropy(a: Any, b: Any) -> Answer:
        n = a + b
        value = log_beta(a, b) - (a - 1) * mp.digamma(a) - (b - 1) * mp.digamma(b) + (n - 2) * mp.digamma(n)
        of_all = (n - 2) * mp.psi(1, n)
        slopes = (of_all - (a - 1) * mp.psi(1, a), of_all - (b - 1) * mp.psi(1, b))
        return {"value": value, **dict(zip(CONCENTRATIONS, slopes, strict=True))}

    return {
        "beta.log_prob": ((*CONCENTRATIONS, "at"), log_prob),
        "beta.log_cdf": ((*CONCENTRATIONS, "at"), tail(True)),
        "beta.log_survival": ((*CONCENTRATIONS, "at"), tail(False)),
        "beta.entropy": (CONCENTRATIONS, entropy),
    }
