"""Values and log-determinants against mpmath with 50 digits, over grids that go to where digits are lost."""

import math
from collections.abc import Callable
from typing import Any

import mpmath
import pytest
import torch
from mpmath import mpf

from functional_dists import bijectors

mpmath.mp.dps = 50
DTYPES = (torch.float32, torch.float64)
FAR = [0.0, 1e-30, 1e-8, 1e-4, 0.01, 0.3, 0.5, 0.7, 1.0, 1.7, 3.0, 9.0, 20.0, 45.0, 88.0, 700.0, 1e4]


def log1p_exp(x: Any) -> Any:
    return mpmath.log1p(mpmath.exp(x))


class Formula:
    """The value and the log-slope of a bijector, and those of its inverse, in mpmath."""

    def __init__(self, forward: Callable[..., Any], log_det: Callable[..., Any], inverse: Callable[..., Any]) -> None:
        self.forward, self.forward_log_det, self.inverse = forward, log_det, inverse

    def inverse_log_det(self, *arguments: Any) -> Any:
        return -self.forward_log_det(*arguments[:-1], self.inverse(*arguments))


def squashed(low: Any, high: Any, x: Any) -> Any:
    return low + (high - low) / (1 + mpmath.exp(-2 * x))


FORMULAS = {
    "exp": Formula(mpmath.exp, lambda x: x, mpmath.log),
    "tanh": Formula(mpmath.tanh, lambda x: -mpmath.log1p(mpmath.sinh(x) ** 2), mpmath.atanh),
    "sigmoid": Formula(
        lambda x: 1 / (1 + mpmath.exp(-x)), lambda x: -log1p_exp(x) - log1p_exp(-x), lambda y: mpmath.log(y / (1 - y))
    ),
    "softplus": Formula(log1p_exp, lambda x: -log1p_exp(-x), lambda y: mpmath.log(mpmath.expm1(y))),
    "symlog": Formula(
        lambda x: mpmath.sign(x) * mpmath.log1p(abs(x)),
        lambda x: -mpmath.log1p(abs(x)),
        lambda y: mpmath.sign(y) * mpmath.expm1(abs(y)),
    ),
    "power": Formula(
        lambda p, x: x**p, lambda p, x: mpmath.log(abs(p)) + (p - 1) * mpmath.log(x), lambda p, y: y ** (1 / p)
    ),
    "interval": Formula(
        squashed,
        lambda low, high, x: mpmath.log((high - low) / 2) - 2 * mpmath.log(mpmath.cosh(x)),
        lambda low, high, y: mpmath.log((y - low) / (high - y)) / 2,
    ),
    "sigmoid_interval": Formula(
        lambda low, high, x: squashed(low, high, x / 2),
        lambda low, high, x: mpmath.log(high - low) - log1p_exp(x) - log1p_exp(-x),
        lambda low, high, y: mpmath.log((y - low) / (high - y)),
    ),
}


def inside(dtype: torch.dtype, low: float, high: float) -> list[float]:
    """Return values from one ulp inside one bound to one ulp inside the other."""
    ends = torch.tensor([low, high], dtype=dtype)
    first = torch.nextafter(ends, ends.flip(0))
    near = [low + (high - low) * f for f in (1e-6, 0.01, 0.2, 0.45, 0.5 - 1e-5, 0.5, 0.5 + 1e-4, 0.6, 0.9, 0.999)]
    return sorted({*first.tolist(), *torch.tensor(near, dtype=dtype).tolist()})


def grid(name: str, verb: str, dtype: torch.dtype) -> tuple[list[float], list[tuple[float, ...]]]:
    """Return arguments, and parameters with which each is combined."""
    info, line = torch.finfo(dtype), [*FAR, *(-x for x in FAR)]
    positive = [
        info.smallest_normal / 8,
        info.tiny,
        1e-30,
        1e-8,
        1e-3,
        0.5,
        0.69,
        0.7,
        1 - 1e-6,
        1.0,
        1.5,
        9.0,
        50.0,
        1e4,
    ]
    huge = [1e30, info.max / 4]
    bounds: list[tuple[float, ...]] = [(-1.0, 1.0), (0.0, 1.0), (-3.0, 0.5), (0.1, 1000.0)]
    if name == "power":
        return [*positive[2:], 1 + 1e-5], [(2.0,), (-1.5,), (0.3,), (1e4,), (1.0,), (-0.01,)]
    if name in ("exp", "softplus"):
        return (positive + huge if verb.startswith("inverse") else line), [()]
    if name == "symlog":
        return ([x for x in line if abs(x) < 80] if verb == "inverse" else [*line, *huge]), [()]
    if name in ("tanh", "sigmoid"):
        return (inside(dtype, -1.0 + (name == "sigmoid"), 1.0) if verb.startswith("inverse") else line), [()]
    if verb.startswith("inverse"):
        return [], bounds
    return line, bounds


def errors(name: str, verb: str, dtype: torch.dtype) -> list[tuple[float, Any, Any]]:
    """Return errors in ulp, with the arguments and the result; of interval log-slopes, in ulp of their largest term."""
    bijector, formula = getattr(bijectors, name), FORMULAS[name]
    values, sets = grid(name, verb, dtype)
    info, found = torch.finfo(dtype), []
    for params in sets:
        tensors = [torch.tensor(number, dtype=dtype) for number in params]
        given = values or inside(dtype, *params)
        value = torch.tensor(given, dtype=dtype)
        results = getattr(bijector, verb)(*tensors, value)
        for x, result in zip(value.tolist(), results.tolist(), strict=True):
            wanted = getattr(formula, verb)(*(mpf(tensor.item()) for tensor in tensors), mpf(x))
            if abs(wanted) > info.max or (abs(wanted) < info.tiny and wanted != 0):
                continue  # overflow, and numbers with fewer digits
            size = float(abs(wanted))
            if name in ("interval", "sigmoid_interval", "power") and verb.endswith("log_det"):
                size = max(size, *(abs(math.log(abs(t))) for t in terms(name, params, x)))
            spacing = info.eps * 2.0 ** math.floor(math.log2(size)) if size else info.tiny
            found.append((float(abs(mpf(result) - wanted)) / spacing, (params, x), result))
    return found


def terms(name: str, params: tuple[float, ...], x: float) -> list[float]:
    """Return numbers whose logarithms the log-slope is a sum of."""
    return [params[0]] if name == "power" else [(params[1] - params[0]) / 2, 2.0]


LIMITS = {torch.float32: 3.0, torch.float64: 8.0}
#: x^(1 / p) loses |log x| / 7 ulp to the rounding of 1 / p. The result of softplus.inverse is 0 near y = 0.69.
#: The values of intervals are sums that cancel near 0.
OWN_LIMITS = {
    ("power", "inverse", torch.float64): 120.0,
    ("softplus", "inverse", torch.float64): 64.0,
    **{(name, "forward", dtype): 10.0 for name in ("interval", "sigmoid_interval") for dtype in DTYPES},
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("verb", ["forward", "inverse", "forward_log_det", "inverse_log_det"])
@pytest.mark.parametrize("name", FORMULAS)
def test_errors(name: str, verb: str, dtype: torch.dtype) -> None:
    worst = max(errors(name, verb, dtype), key=lambda row: row[0] if row[0] == row[0] else math.inf)
    assert worst[0] <= OWN_LIMITS.get((name, verb, dtype), LIMITS[dtype]), worst


if __name__ == "__main__":
    for name in FORMULAS:
        for verb in ("forward", "inverse", "forward_log_det", "inverse_log_det"):
            print(name, verb, *[max(errors(name, verb, dtype), key=lambda row: row[0]) for dtype in DTYPES])
