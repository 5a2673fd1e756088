"""Exact answers for the families of numbers with a closed form, and for the log-determinants of bijectors.

As in `reference`, derivatives are written out by hand, and a test checks each against mpmath's. A family of location
and scale is described by functions of z = (value - loc) / scale.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

Answer = dict[str, Any]
LOC_SCALE = ("loc", "scale")
VERBS = ("log_prob", "log_cdf", "log_survival", "icdf", "entropy")


class Standard(NamedTuple):
    """A distribution of location 0 and scale 1."""

    score: Callable[[Any], tuple[Any, Any]]  # log-density and its slope
    log_cdf: Callable[[Any], Any]
    log_survival: Callable[[Any], Any]
    quantile: Callable[[Any], Any]
    entropy: Any
    log_cdf_slope: Callable[[Any], Any] | None = None  # where density / cdf cancels


def standards(mp: Any) -> dict[str, Standard]:
    """The distributions by the names of their families; `mp` is the context of mpmath."""
    one, half, log = mp.mpf(1), mp.mpf(1) / 2, mp.log

    def laplace_log_tail(z: Any) -> Any:  # log P(Z > z)
        return log(half) - z if z > 0 else mp.log1p(-half * mp.exp(z))

    def logistic_log_tail(z: Any) -> Any:
        return -mp.log1p(mp.exp(z))

    def cauchy_log_tail(z: Any) -> Any:
        return log(mp.atan(1 / z) / mp.pi) if z > 0 else mp.log1p(-mp.atan(-1 / z) / mp.pi) if z < 0 else log(half)

    def log_of_rest(x: Any) -> Any:  # log(1 - exp(-x))
        return log(-mp.expm1(-x)) if x < 1 else mp.log1p(-mp.exp(-x))

    return {
        "laplace": Standard(
            lambda z: (-abs(z) - log(2), -mp.sign(z)),
            lambda z: laplace_log_tail(-z),
            laplace_log_tail,
            lambda p: log(2 * p) if p < half else -log(2 * (1 - p)),
            one + log(2),
        ),
        "logistic": Standard(
            lambda z: (-abs(z) - 2 * mp.log1p(mp.exp(-abs(z))), -mp.tanh(z / 2)),
            lambda z: logistic_log_tail(-z),
            logistic_log_tail,
            lambda p: log(p) - mp.log1p(-p),
            2 * one,
        ),
        "gumbel": Standard(
            lambda z: (-z - mp.exp(-z), mp.expm1(-z)),
            lambda z: -mp.exp(-z),
            lambda z: log_of_rest(mp.exp(-z)),
            lambda p: -log(-log(p)),
            one + mp.euler,
            lambda z: mp.exp(-z),
        ),
        "cauchy": Standard(
            lambda z: (-log(mp.pi) - mp.log1p(z * z), -2 * z / (1 + z * z)),
            lambda z: cauchy_log_tail(-z),
            cauchy_log_tail,
            lambda p: -mp.cot(mp.pi * p) if p < half else mp.cot(mp.pi * (1 - p)),
            log(4 * mp.pi),
        ),
    }


def of_loc_scale(mp: Any, of: Standard, verb: str) -> Callable[..., Answer]:
    """The reference of a verb."""

    def moved(value: Any, slope: Any, z: Any, scale: Any, more: Any = 0) -> Answer:
        return {"value": value, "loc": -slope / scale, "scale": (more - z * slope) / scale, "at": slope / scale}

    def log_prob(loc: Any, scale: Any, value: Any) -> Answer:
        z = (value - loc) / scale
        score, slope = of.score(z)
        return moved(score - mp.log(scale), slope, z, scale, -1)

    def tail(loc: Any, scale: Any, value: Any) -> Answer:
        z = (value - loc) / scale
        result = of.log_cdf(z) if verb == "log_cdf" else of.log_survival(z)
        size = mp.exp(of.score(z)[0] - result)
        if verb == "log_cdf" and of.log_cdf_slope is not None:
            size = of.log_cdf_slope(z)
        return moved(result, size if verb == "log_cdf" else -size, z, scale)

    def icdf(loc: Any, scale: Any, p: Any) -> Answer:
        z = of.quantile(p)
        return {"value": loc + scale * z, "loc": mp.one, "scale": z, "at": scale * mp.exp(-of.score(z)[0])}

    def entropy(loc: Any, scale: Any) -> Answer:
        return {"value": of.entropy + mp.log(scale), "loc": mp.zero, "scale": 1 / scale}

    return {"log_prob": log_prob, "icdf": icdf, "entropy": entropy}.get(verb, tail)


def references(mp: Any) -> dict[str, tuple[tuple[str, ...], Callable[..., Answer]]]:
    """All references: the names of the arguments, and the function."""
    found: dict[str, tuple[tuple[str, ...], Callable[..., Answer]]] = {
        f"{family}.{verb}": ((*LOC_SCALE, "at") if verb != "entropy" else LOC_SCALE, of_loc_scale(mp, of, verb))
        for family, of in standards(mp).items()
        for verb in VERBS
    }

    def exponential_log_survival(rate: Any, value: Any) -> Answer:
        return {"value": -rate * value, "rate": -value, "at": -rate}

    def exponential_log_cdf(rate: Any, value: Any) -> Answer:
        slope = 1 / mp.expm1(rate * value)
        return {
            "value": mp.log1p(-mp.exp(-rate * value)) if rate * value > 1 else mp.log(-mp.expm1(-rate * value)),
            "rate": value * slope,
            "at": rate * slope,
        }

    def exponential_log_prob(rate: Any, value: Any) -> Answer:
        return {"value": mp.log(rate) - rate * value, "rate": 1 / rate - value, "at": -rate}

    def bernoulli(logits: Any, value: Any) -> Answer:
        sign = 2 * value - 1
        return {"value": -mp.log1p(mp.exp(-sign * logits)), "logits": sign / (1 + mp.exp(sign * logits))}

    def geometric(logits: Any, value: Any) -> Answer:
        p, q = 1 / (1 + mp.exp(-logits)), 1 / (1 + mp.exp(logits))
        score = -mp.log1p(mp.exp(-logits)) - value * mp.log1p(mp.exp(logits))
        return {"value": score, "logits": q - value * p}

    def poisson(rate: Any, value: Any) -> Answer:
        score = value * mp.log(rate) - rate - mp.loggamma(value + 1)
        return {"value": score, "rate": value / rate - 1}

    def tanh_log_det(value: Any) -> Answer:
        size = abs(value)
        return {"value": mp.log(4) - 2 * size - 2 * mp.log1p(mp.exp(-2 * size)), "at": -2 * mp.tanh(value)}

    def softplus_log_det(value: Any) -> Answer:
        return {"value": -mp.log1p(mp.exp(-value)), "at": 1 / (1 + mp.exp(value))}

    def symlog_log_det(value: Any) -> Answer:
        return {"value": -mp.log1p(abs(value)), "at": (1 if value < 0 else -1) / (1 + abs(value))}

    found |= {
        "exponential.log_prob": (("rate", "at"), exponential_log_prob),
        "exponential.log_cdf": (("rate", "at"), exponential_log_cdf),
        "exponential.log_survival": (("rate", "at"), exponential_log_survival),
        "bernoulli.log_prob": (("logits", "at"), bernoulli),
        "geometric.log_prob": (("logits", "at"), geometric),
        "poisson.log_prob": (("rate", "at"), poisson),
        "tanh.forward_log_det": (("at",), tanh_log_det),
        "softplus.forward_log_det": (("at",), softplus_log_det),
        "symlog.forward_log_det": (("at",), symlog_log_det),
    }
    return found


COUNTED = ("bernoulli", "geometric", "poisson")  # whose values have no derivative
NAMES = tuple(f"{family}.{verb}" for family in ("laplace", "logistic", "gumbel", "cauchy") for verb in VERBS)
