"""half_normal, half_cauchy, pareto and weibull against references of 50 digits, and like those of torch."""

import math
import pickle
from collections.abc import Iterator
from typing import Any

import mpmath
import pytest
import torch
from mpmath import mpf
from torch import distributions as theirs
from torch.func import grad

from functional_dists import folded, half_cauchy, half_normal, normal, pareto, random, student_t, weibull
from functional_dists.family import verbs

F64 = torch.float64


@pytest.fixture(autouse=True)
def fifty_digits() -> Iterator[None]:
    with mpmath.workdps(50):
        yield


def at(family: Any, verb: str, *numbers: float) -> Any:
    return mpf(float(verbs(family)[verb](*(torch.tensor(number, dtype=F64) for number in numbers))))


def error(got: Any, wanted: Any) -> float:
    return float(abs(got - wanted) / abs(wanted))


def _normal_below(z: Any) -> Any:
    return mpmath.erf(z / mpmath.sqrt(2))


def _cauchy_below(z: Any) -> Any:
    return 2 / mpmath.pi * mpmath.atan(z)


@pytest.mark.parametrize(
    ("family", "below", "points"),
    [
        (half_normal, _normal_below, (1e-300, 1e-20, 1e-3, 0.1, 0.6, 0.7, 2.0, 8.0, 30.0)),
        (half_cauchy, _cauchy_below, (1e-300, 1e-20, 1e-3, 0.1, 0.9, 1.1, 8.0, 1e10, 1e200)),
    ],
    ids=["half_normal", "half_cauchy"],
)
def test_folded_families_are_exact_at_both_ends(family: Any, below: Any, points: tuple[float, ...]) -> None:
    for z in points:
        value, scale = 0.7 * z, 0.7
        exact = mpf(value) / mpf(scale)
        with mpmath.workdps(500):
            lower, upper = below(exact), 1 - below(exact)
        wanted = {
            "cdf": lower,
            "log_cdf": mpmath.log(lower) if lower < 0.5 else mpmath.log1p(-upper),
            "survival": upper,
            "log_survival": mpmath.log(upper) if upper < 0.5 else mpmath.log1p(-lower),
        }
        for verb, number in wanted.items():
            if abs(number) > 1e-290:
                tolerance = 3e-15 * (1 + min(z, 40) ** 2 if family is half_normal else 1)
                assert error(at(family, verb, scale, value), number) < tolerance, (verb, z)
        if lower < 0.5:
            assert error(at(family, "icdf", scale, float(lower)), exact * mpf(scale)) < 3e-15
    median = at(family, "median", 0.7)
    assert error(below(median / mpf(0.7)), mpf(1) / 2) < 1e-15


def test_quantiles_of_folded_families_have_derivatives() -> None:
    for family, params in ((half_normal, (0.7,)), (half_cauchy, (0.7,)), (folded(student_t), (3.0, 0.7))):
        for p in (1e-9, 0.2, 0.5, 0.9):

            def log_probability(t: Any, family: Any = family) -> Any:
                return family.log_cdf(*t[:-1], family.icdf(*t))

            slope = grad(log_probability)(torch.tensor([*params, p], dtype=F64))
            wanted = torch.tensor([*[0.0] * len(params), 1 / p], dtype=F64)
            torch.testing.assert_close(slope, wanted, rtol=1e-10, atol=1e-10)
    zero = torch.zeros((), dtype=F64)
    assert half_normal.cdf(zero + 2, zero) == 0
    assert math.isclose(grad(half_normal.cdf, argnums=1)(zero + 2, zero), math.sqrt(0.5 / math.pi))
    assert half_normal.log_cdf(zero + 2, zero) == -math.inf
    assert half_normal.log_prob(zero + 2, zero - 1) == -math.inf


@pytest.mark.parametrize("k", [0.3, 1.0, 4.9, 5.1, 40.0, 1e5])
def test_moments_of_weibull(k: float) -> None:
    c = 1 / mpf(k)
    first, second = mpmath.gamma(1 + c), mpmath.gamma(1 + 2 * c)
    with mpmath.workdps(70):
        variance = mpf(4) * (second - first**2)
    assert error(at(weibull, "mean", 2.0, k), 2 * first) < 3e-15
    assert error(at(weibull, "variance", 2.0, k), variance) < 2e-14
    mode = 2 * ((mpf(k) - 1) / mpf(k)) ** c if k > 1 else mpf(0)
    assert abs(at(weibull, "mode", 2.0, k) - mode) < 1e-15
    for verb, z in (("log_survival", 1.3), ("cdf", 1e-5)):
        power = (mpf(2 * z) / 2) ** mpf(k)
        wanted = -power if verb == "log_survival" else -mpmath.expm1(-power)
        if 1e-290 < abs(wanted) < 1e290:
            assert error(at(weibull, verb, 2.0, k, 2 * z), wanted) < 3e-15 * (1 + abs(mpmath.log(power)) + k)


def test_divergences_of_close_distributions() -> None:
    for family, p, q in (
        (weibull, (2.0, 1.5), (2.0 * (1 + 1e-9), 1.5 * (1 - 1e-9))),
        (pareto, (2.0, 1.5), (2.0 * (1 - 1e-9), 1.5 * (1 + 1e-9))),
        (half_normal, (2.0,), (2.0 * (1 + 1e-9),)),
        (half_cauchy, (2.0,), (2.0 * (1 + 1e-9),)),
    ):
        first, second = (tuple(torch.tensor(number, dtype=F64) for number in given) for given in (p, q))
        a, b = tuple(map(mpf, p)), tuple(map(mpf, q))
        wanted = {
            weibull: lambda a, b: (
                mpmath.log(a[1] / b[1])
                + b[1] * mpmath.log(b[0] / a[0])
                - mpmath.euler * (1 - b[1] / a[1])
                + (a[0] / b[0]) ** b[1] * mpmath.gamma(1 + b[1] / a[1])
                - 1
            ),
            pareto: lambda a, b: mpmath.log(a[1] / b[1]) + b[1] * mpmath.log(a[0] / b[0]) + b[1] / a[1] - 1,
            half_normal: lambda a, b: mpmath.log(b[0] / a[0]) + (a[0] / b[0]) ** 2 / 2 - mpf(1) / 2,
            half_cauchy: lambda a, b: mpmath.log((a[0] + b[0]) ** 2 / (4 * a[0] * b[0])),
        }[family](a, b)
        assert error(mpf(float(family.kl(first, second))), wanted) < 1e-14
    assert pareto.kl((torch.ones(1), 2.0), (1.5, 2.0)).tolist() == [math.inf]


def test_values_are_those_of_torch() -> None:
    a, b, x = torch.tensor([0.5, 1.4]), torch.tensor([2.5, 8.0]), torch.tensor([0.7, 1.6])
    for family, params, other in (
        (half_normal, (a,), theirs.HalfNormal(a)),
        (half_cauchy, (a,), theirs.HalfCauchy(a)),
        (pareto, (a, b), theirs.Pareto(a, b)),
        (weibull, (a, b), theirs.Weibull(a, b)),
    ):
        assert torch.allclose(family.log_prob(*params, x), other.log_prob(x), rtol=1e-5)
        assert torch.allclose(family.cdf(*params, x), other.cdf(x), rtol=1e-4)
        assert torch.allclose(family.entropy(*params), other.entropy(), rtol=1e-5)
        if family is not half_cauchy:
            assert torch.allclose(family.mean(*params), other.mean, rtol=1e-5)
            assert torch.allclose(family.variance(*params), other.variance, rtol=1e-3)
        assert set(family.Params._fields) == {name for name in other.arg_constraints if name != "loc"}
    heavy = torch.tensor([0.5, 1.0, 1.5, 2.0, 3.0])
    assert torch.equal(pareto.mean(torch.ones(5), heavy), theirs.Pareto(torch.ones(5), heavy).mean)


def test_named_families_have_a_name_and_a_pickle() -> None:
    for family in (half_normal, half_cauchy, pareto, weibull):
        assert pickle.loads(pickle.dumps(family)) is family
        assert repr(family) in ("half_normal", "half_cauchy", "pareto", "weibull")
        assert type(pickle.loads(pickle.dumps(family.Params(*[1.0] * len(family.Params._fields))))) is family.Params
    with pytest.raises(TypeError, match="must have a parameter loc"):
        folded(pareto)
    with pytest.raises(ValueError, match=r"^alpha must"):
        pareto.check(torch.ones(2), -1.0)
    draws = half_normal.sample(random.key(1), torch.ones(1), sample_shape=9)
    assert torch.equal(draws, normal.sample(random.key(1), torch.zeros(1), 1.0, sample_shape=9).abs())
