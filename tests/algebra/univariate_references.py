"""References of 50 digits for univariate families, and errors in units in the last place.

An error is counted in units of the sum of the magnitudes that a result is made of: the result, its terms, and what one
unit in the last place of the standardised value changes. In float32 the unit is that of the result alone, since all is
computed in float64.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import mpmath
import torch
from mpmath import mpf

from functional_dists import cauchy, exponential, gumbel, laplace, logistic, uniform
from functional_dists.family import verbs

mp = mpmath.mp
TAIL_VERBS = ("cdf", "log_cdf", "survival", "log_survival")


class Reference(NamedTuple):
    """Standard functions of z = (x - loc) / scale, in mpmath."""

    family: Any
    log_density: Callable[[Any], Any]
    cdf: Callable[[Any], Any]
    survival: Callable[[Any], Any]
    quantile: Callable[[Any], Any]
    entropy: Any
    kl: Callable[..., Any] | None
    to_loc_scale: Callable[..., tuple[Any, Any]] = lambda loc, scale: (loc, scale)
    lowest: float = -math.inf


def _kl_laplace(a: Any, s: Any, b: Any, t: Any) -> Any:
    d = abs(a - b)
    return mpmath.log(t / s) + d / t + s / t * mpmath.exp(-d / s) - 1


def _kl_gumbel(a: Any, s: Any, b: Any, t: Any) -> Any:
    r = s / t
    mean_exp = mpmath.exp((b - a) / t) * mpmath.gamma(1 + r)
    return -mpmath.log(r) + mpmath.euler * (r - 1) + (a - b) / t + mean_exp - 1


def _kl_cauchy(a: Any, s: Any, b: Any, t: Any) -> Any:
    return mpmath.log(((s + t) ** 2 + (a - b) ** 2) / (4 * s * t))


def _kl_uniform(a: Any, b: Any, c: Any, d: Any) -> Any:
    return mpmath.log((d - c) / (b - a)) if c <= a and b <= d else mpf("inf")


def references() -> dict[str, Reference]:
    """Return the references by name."""
    with mpmath.workdps(50):
        log, exp, pi = mpmath.log, mpmath.exp, +mpmath.pi
        return {
            "laplace": Reference(
                laplace,
                lambda z: -abs(z) - log(2),
                lambda z: exp(z) / 2 if z < 0 else 1 - exp(-z) / 2,
                lambda z: exp(-z) / 2 if z > 0 else 1 - exp(z) / 2,
                lambda p: log(2 * p) if p < 0.5 else -log(2 * (1 - p)),
                1 + log(2),
                _kl_laplace,
            ),
            "logistic": Reference(
                logistic,
                lambda z: -abs(z) - 2 * mpmath.log1p(exp(-abs(z))),
                lambda z: 1 / (1 + exp(-z)),
                lambda z: 1 / (1 + exp(z)),
                lambda p: log(p) - mpmath.log1p(-p),
                mpf(2),
                None,
            ),
            "gumbel": Reference(
                gumbel,
                lambda z: -z - exp(-z),
                lambda z: exp(-exp(-z)),
                lambda z: -mpmath.expm1(-exp(-z)),
                lambda p: -log(-log(p)),
                1 + mpmath.euler,
                _kl_gumbel,
            ),
            "cauchy": Reference(
                cauchy,
                lambda z: -log(pi) - mpmath.log1p(z * z),
                lambda z: mpmath.atan2(1, -z) / pi,
                lambda z: mpmath.atan2(1, z) / pi,
                lambda p: -mpmath.cot(pi * p),
                log(4 * pi),
                _kl_cauchy,
            ),
            "exponential": Reference(
                exponential,
                lambda z: -z,
                lambda z: -mpmath.expm1(-z),
                lambda z: exp(-z),
                lambda p: -mpmath.log1p(-p),
                mpf(1),
                lambda a, b: b / a - 1 - log(b / a),
                lambda rate: (mpf(0), 1 / rate),
                0.0,
            ),
            "uniform": Reference(
                uniform,
                lambda z: mpf(0) if 0 <= z <= 1 else mpf("-inf"),
                lambda z: min(max(z, mpf(0)), mpf(1)),
                lambda z: min(max(1 - z, mpf(0)), mpf(1)),
                lambda p: p,
                mpf(0),
                _kl_uniform,
                lambda low, high: (low, high - low),
                0.0,
            ),
        }


def log_of(probability: Any, rest: Any) -> Any:
    """Return the logarithm of a probability, exact near 1."""
    if probability == 0:
        return mpf("-inf")
    return mpmath.log1p(-rest) if probability > 0.5 else mpmath.log(probability)


def tail(reference: Reference, verb: str, z: Any) -> Any:
    """Return one of the four verbs of the distribution function at z."""
    if z < reference.lowest:
        return {"cdf": mpf(0), "log_cdf": mpf("-inf"), "survival": mpf(1), "log_survival": mpf(0)}[verb]
    below, above = reference.cdf(z), reference.survival(z)
    return (
        {"cdf": below, "survival": above, "log_cdf": None, "log_survival": None}[verb]
        if "log" not in verb
        else (log_of(below, above) if verb == "log_cdf" else log_of(above, below))
    )


def units(got: float, wanted: Any, magnitude: Any, dtype: torch.dtype) -> float:
    """Return an error in units of the last place of a magnitude; 0 for equal infinities."""
    info = torch.finfo(dtype)
    if abs(wanted) > info.max * (1 + mpf(info.eps) / 4):
        return 0.0 if math.isinf(got) and (got > 0) == (wanted > 0) else math.inf
    if math.isinf(got) or math.isnan(got):
        return 0.0 if abs(wanted) >= info.max * (1 - mpf(info.eps)) else math.inf
    return float(abs(mpf(got) - wanted) / (mpf(info.eps) * max(magnitude, mpf(info.tiny))))


def params_of(name: str, dtype: torch.dtype) -> list[tuple[float, ...]]:
    """Return parameters at ordinary, tiny and huge scales, as numbers of the dtype."""
    wide = dtype == torch.float64
    big, small = (1e150, 1e-150) if wide else (1e15, 1e-15)
    if name == "exponential":
        rows = [(1.0,), (1e-6,), (3e5,), (big,), (small,)]
    elif name == "uniform":
        rows = [(0.0, 1.0), (-1.0, 1.0), (0.3, 0.7), (-1e6, 3.0), (5.0, 5.0001), (-big, big), (0.0, small)]
    else:
        rows = [(0.0, 1.0), (0.3, 1e-3), (-1e6, 1e5), (3.0, big), (-small, small), (1.0, 2.0**-20)]
    return [tuple(torch.tensor(row, dtype=dtype).tolist()) for row in rows]


def values_of(name: str, params: tuple[float, ...], dtype: torch.dtype) -> list[float]:
    """Return values from one tail to the other, and the floats next to the ends."""
    if name == "uniform":
        low, high = params
        ends = torch.tensor([low, high], dtype=dtype)
        steps = [torch.nextafter(ends, torch.full_like(ends, to)) for to in (math.inf, -math.inf)]
        inner = [low + (high - low) * u for u in (1e-12, 0.1, 0.5, 0.7, 0.99)]
        return torch.cat([ends, *steps, torch.tensor(inner, dtype=dtype)]).tolist()
    z = [-1e15, -600.0, -80.0, -30.0, -5.0, -1.0, -1e-3, -1e-9, 0.0, 1e-9, 0.1, 1.0, 3.0, 37.0, 100.0, 700.0, 1e10]
    z = z[1:] if name == "gumbel" else z  # where mpmath itself takes exp(exp(1e15))
    loc, scale = (0.0, 1 / params[0]) if name == "exponential" else params
    return (torch.tensor(loc, dtype=dtype) + torch.tensor(scale, dtype=dtype) * torch.tensor(z, dtype=dtype)).tolist()


def verb_errors(name: str, verb: str, dtype: torch.dtype) -> Iterator[tuple[float, Any]]:
    """Yield the errors of a verb of value over the grid, with where they are."""
    reference = references()[name]
    narrow = dtype == torch.float32
    for row in params_of(name, dtype):
        values = values_of(name, row, dtype)
        if verb == "icdf":
            values = [1e-300, 1e-30, 1e-10, 0.1, 0.25, 0.3, 0.5 - 2**-25, 0.5, 0.5 + 2**-24, 0.75, 0.9, 1 - 2**-24]
            values = torch.tensor(values[narrow:], dtype=dtype).tolist()
        tensors = [torch.tensor(p, dtype=dtype) for p in row]
        got = verbs(reference.family)[verb](*tensors, torch.tensor(values, dtype=dtype)).tolist()
        loc, scale = reference.to_loc_scale(*map(mpf, row))
        for value, number in zip(values, got, strict=True):
            if verb == "icdf":
                z = reference.quantile(mpf(value))
                wanted = loc + scale * z
                magnitude = abs(loc) + scale * max(abs(z), 1 if name == "gumbel" else mpf(10) ** -20)
            else:
                z = (mpf(value) - loc) / scale
                function = reference.log_density if verb == "log_prob" else lambda z: tail(reference, verb, z)
                if verb == "log_prob" and z < reference.lowest:
                    wanted = mpf("-inf")
                else:
                    wanted = function(z) - (mpmath.log(scale) if verb == "log_prob" else 0)
                magnitude = abs(wanted)
                step = mpf(2) ** -70
                if not mpmath.isinf(wanted) and name != "uniform":
                    magnitude += abs(function(z * (1 + step)) - function(z)) / step
                if verb == "log_prob":
                    magnitude += abs(mpmath.log(scale))
            if narrow:  # the double precision inside is far finer, also where terms cancel
                magnitude = abs(wanted) + mpf(2) ** -26 * magnitude
            yield units(number, wanted, magnitude, dtype), (row, value, number, float(wanted))


def kl_errors(name: str, dtype: torch.dtype) -> Iterator[tuple[float, Any]]:
    """Yield the errors of the divergences of distributions that are equal, close, and far, in units of the result."""
    reference = references()[name]
    assert reference.kl is not None
    for row in params_of(name, dtype):
        loc, scale = map(float, reference.to_loc_scale(*row))
        for moved in (0.0, 1e-12, 1e-7, 1e-3, 0.3, -0.3, 2.0, 30.0):
            for grown in (1e-12, -1e-7, 1e-3, 0.3, -0.3, -0.45, -0.6, 1.5, 40.0):
                if name == "exponential":
                    other = (row[0] * (1 + grown),)
                elif name == "uniform":
                    other = (row[0] - abs(moved) * scale, row[1] + abs(grown) * scale)
                else:
                    other = (loc + moved * scale, scale * (1 + grown))
                p, q = torch.tensor(row, dtype=dtype), torch.tensor(other, dtype=dtype)
                make = reference.family.Params
                got = float(reference.family.kl(make(*p), make(*q)))
                wanted = reference.kl(*map(mpf, p.tolist()), *map(mpf, q.tolist()))
                magnitude = abs(wanted) * max(1, mpmath.log(wanted) if wanted > 1 else 1)  # of exp(log(wanted))
                yield units(got, wanted, magnitude, dtype), (p.tolist(), q.tolist(), got, float(wanted))
