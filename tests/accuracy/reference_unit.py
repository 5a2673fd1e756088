"""Exact answers for families on the positive numbers and on (0, 1), with derivatives written out by hand."""

from collections.abc import Callable
from typing import Any

Answer = dict[str, Any]
VERBS = ("log_prob", "log_cdf", "log_survival")


def references(mp: Any) -> dict[str, tuple[tuple[str, ...], Callable[..., Answer]]]:
    """All references: the names of the arguments, and the function; `mp` is the context of mpmath."""
    log, root_two_pi = mp.log, mp.sqrt(2 * mp.pi)

    def kumaraswamy(verb: str) -> Callable[..., Answer]:
        def answer(a: Any, b: Any, x: Any) -> Answer:
            power, log_x = x**a, log(x)
            log_rest = mp.log1p(-power)
            by_a, by_x = -power * log_x / (1 - power), -a * power / x / (1 - power)  # slopes of log(1 - x^a)
            if verb == "log_prob":
                return {
                    "value": log(a) + log(b) + (a - 1) * log_x + (b - 1) * log_rest,
                    "concentration1": 1 / a + log_x + (b - 1) * by_a,
                    "concentration0": 1 / b + log_rest,
                    "at": (a - 1) / x + (b - 1) * by_x,
                }
            found = {"value": b * log_rest, "concentration1": b * by_a, "concentration0": log_rest, "at": b * by_x}
            if verb == "log_survival":
                return found
            rest = -mp.expm1(found["value"])
            slopes = {name: -slope * mp.exp(found["value"]) / rest for name, slope in found.items()}
            value = log(rest) if rest < 0.5 else mp.log1p(-mp.exp(found["value"]))
            return {**slopes, "value": value}

        return answer

    def normal_at(y: Any, log_slope: Any, loc: Any, scale: Any) -> tuple[Any, Answer]:
        z = (y - loc) / scale
        value = -z * z / 2 - log(scale * root_two_pi) - log_slope
        return z, {"value": value, "loc": z / scale, "scale": (z * z - 1) / scale}

    def log_normal(loc: Any, scale: Any, x: Any) -> Answer:
        z, found = normal_at(log(x), log(x), loc, scale)
        return {**found, "at": -(1 + z / scale) / x}

    def logit_normal(loc: Any, scale: Any, x: Any) -> Answer:
        z, found = normal_at(log(x) - mp.log1p(-x), log(x) + mp.log1p(-x), loc, scale)
        return {**found, "at": -(z / scale + 1 - 2 * x) / (x * (1 - x))}

    two = ("concentration1", "concentration0", "at")
    return {
        **{f"kumaraswamy.{verb}": (two, kumaraswamy(verb)) for verb in VERBS},
        "log_normal.log_prob": (("loc", "scale", "at"), log_normal),
        "logit_normal.log_prob": (("loc", "scale", "at"), logit_normal),
    }
