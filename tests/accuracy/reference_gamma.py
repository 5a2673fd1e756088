"""Exact answers for the gamma distribution. Derivatives of tails by the concentration are differences at 110 digits."""

from collections.abc import Callable
from typing import Any

Answer = dict[str, Any]
PARAMETERS = ("concentration", "rate")
TAILS = ("cdf", "survival", "log_cdf", "log_survival")
NAMES = (*(f"gamma.{verb}" for verb in ("log_prob", *TAILS, "icdf", "entropy", "kl")),)

OF_TAILS = (*(f"gamma.{verb}" for verb in (*TAILS, "icdf")),)  # whose derivatives are differences


def references(mp: Any) -> dict[str, tuple[tuple[str, ...], Callable[..., Answer]]]:
    """All references: the names of the arguments, and the function."""

    def tail(a: Any, x: Any, is_lower: bool) -> Any:
        """One tail of the standard distribution, from the smaller one."""
        with mp.workdps(mp.dps + (20 + int(x) if a < 30 else 10)):
            if (x < a) == is_lower:
                return mp.gammainc(a, 0, x, regularized=True) if is_lower else mp.gammainc(a, x, regularized=True)
            return 1 - tail(a, x, not is_lower)

    def by_concentration(a: Any, x: Any, is_lower: bool) -> Any:
        step = a * mp.mpf(10) ** -35
        with mp.workdps(110):
            return (tail(a + step, x, is_lower) - tail(a - step, x, is_lower)) / (2 * step)

    def log_density(a: Any, x: Any) -> Any:
        return (a - 1) * mp.log(x) - x - mp.loggamma(a)

    def log_prob(a: Any, rate: Any, value: Any) -> Answer:
        x = rate * value
        return {
            "value": log_density(a, x) + mp.log(rate),
            "concentration": mp.log(x) - mp.psi(0, a),
            "rate": a / rate - value,
            "at": (a - 1) / value - rate,
        }

    def of_tail(verb: str) -> Callable[..., Answer]:
        is_lower = verb.endswith("cdf")

        def answer(a: Any, rate: Any, value: Any) -> Answer:
            x = rate * value
            found, density = tail(a, x, is_lower), mp.exp(log_density(a, x)) * (1 if is_lower else -1)
            slopes = {"concentration": by_concentration(a, x, is_lower), "rate": density * value, "at": density * rate}
            if verb.startswith("log"):
                slopes = {name: slope / found for name, slope in slopes.items()}
                found = mp.log(found) if found < 0.5 else mp.log1p(-tail(a, x, not is_lower))
            return {"value": found, **slopes}

        return answer

    def quantile(a: Any, p: Any) -> Any:
        """Newton steps in log x on the logarithm of the smaller tail, which is concave, from beyond the quantile."""
        is_lower = p < 0.5
        target = mp.log(p) if is_lower else mp.log1p(-p)
        t = (target + mp.loggamma(a + 1)) / a if is_lower else mp.log(a + mp.sqrt(-2 * a * target) - target)
        for _ in range(100):
            x = mp.exp(t)
            found = tail(a, x, is_lower)
            step = (mp.log(found) - target) * found / mp.exp(log_density(a, x) + t) * (1 if is_lower else -1)
            t -= step
            if abs(step) < (1 + abs(t)) * mp.mpf(10) ** (-mp.dps + 15):
                return mp.exp(t)
        raise ArithmeticError(f"the quantile of {p} did not converge")

    def icdf(a: Any, rate: Any, p: Any) -> Answer:
        x = quantile(a, p)
        density, is_lower = mp.exp(log_density(a, x)), p < 0.5
        slope = by_concentration(a, x, is_lower) * (-1 if is_lower else 1) / density
        return {"value": x / rate, "concentration": slope / rate, "rate": -x / rate**2, "at": 1 / density / rate}

    def entropy(a: Any, rate: Any) -> Answer:
        return {
            "value": a + mp.loggamma(a) + (1 - a) * mp.psi(0, a) - mp.log(rate),
            "concentration": 1 + (1 - a) * mp.psi(1, a),
            "rate": -1 / rate,
        }

    def kl(a: Any, r: Any, b: Any, s: Any) -> Answer:
        return {
            "value": (a - b) * mp.psi(0, a) - mp.loggamma(a) + mp.loggamma(b) + b * mp.log(r / s) + a * (s - r) / r,
            "p_concentration": (a - b) * mp.psi(1, a) + s / r - 1,
            "p_rate": (b - a * s / r) / r,
            "q_concentration": mp.psi(0, b) - mp.psi(0, a) + mp.log(r / s),
            "q_rate": a / r - b / s,
        }

    pair = tuple(f"{side}_{name}" for side in "pq" for name in PARAMETERS)
    return {
        "gamma.log_prob": ((*PARAMETERS, "at"), log_prob),
        **{f"gamma.{verb}": ((*PARAMETERS, "at"), of_tail(verb)) for verb in TAILS},
        "gamma.icdf": ((*PARAMETERS, "at"), icdf),
        "gamma.entropy": (PARAMETERS, entropy),
        "gamma.kl": (pair, kl),
    }
