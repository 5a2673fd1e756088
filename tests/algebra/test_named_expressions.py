"""log_normal, logit_normal and kumaraswamy: references of 50 digits, ends, errors, and their objects."""

import math
from typing import Any

import mpmath
import pytest
import torch
from mpmath import mpf
from torch.distributions import Kumaraswamy, LogNormal, kl_divergence
from torch.func import grad, hessian, jvp, vmap

from functional_dists import (
    bijectors,
    distributions,
    kumaraswamy,
    log_normal,
    logit_normal,
    normal,
    random,
    transformed,
)
from functional_dists.family import verbs

F64 = torch.float64
ONE = torch.ones((), dtype=F64)
FAMILIES = {"log_normal": log_normal, "logit_normal": logit_normal, "kumaraswamy": kumaraswamy}
NORMALS = [(0.3, 0.5), (-2.0, 1.4), (30.0, 0.01), (-5.0, 3.0), (0.1, 1e-6)]
SHAPES = [(a, b) for a in (0.01, 0.7, 1.0, 2.0, 4.5, 300.0, 1e7) for b in (0.01, 0.7, 1.0, 3.0, 15.5, 1e3, 1e8)]
ENDS = [0.0, 1.0]


def at(family: Any, verb: str, *numbers: float) -> Any:
    return mpf(float(verbs(family)[verb](*(torch.tensor(number, dtype=F64) for number in numbers))))


def error(got: Any, wanted: Any, condition: Any = 1) -> float:
    """Return the error in units of the last place, over how much the result grows with rounded arguments."""
    return float(abs(got - wanted) / abs(wanted) / condition * mpf(2) ** 52)


# ---------------------------------------------------------------------------------------------------------- log-normal
@pytest.mark.parametrize(("loc", "scale"), NORMALS)
def test_moments_of_log_normal(loc: float, scale: float) -> None:
    with mpmath.workdps(50):
        m, s = mpf(loc), mpf(scale)
        squared = s * s
        wanted = {
            "mean": mpmath.exp(m + squared / 2),
            "mode": mpmath.exp(m - squared),
            "variance": mpmath.exp(2 * m + squared) * mpmath.expm1(squared),
            "stddev": mpmath.exp(m + squared / 2) * mpmath.sqrt(mpmath.expm1(squared)),
        }
        for verb, number in wanted.items():
            assert error(at(log_normal, verb, loc, scale), number, 1 + 2 * abs(m) + 4 * squared) < 2, verb
        entropy = m + mpf(1) / 2 + mpmath.log(2 * mpmath.pi) / 2 + mpmath.log(s)
        assert abs(at(log_normal, "entropy", loc, scale) - entropy) < 1e-14 * (1 + abs(m) + abs(mpmath.log(s)))


@pytest.mark.parametrize("value", [1e-300, 1e-20, 0.4, 1.0, 1e10, 1e300])
def test_tails_of_log_normal(value: float) -> None:
    with mpmath.workdps(50):
        z = (mpmath.log(mpf(value)) - mpf(0.3)) / mpf(0.5)
        for verb, side in (("cdf", 1), ("survival", -1)):
            wanted = mpmath.erfc(-side * z / mpmath.sqrt(2)) / 2
            # The distance z is rounded, and a tail changes by z^2 of its relative error.
            if wanted > 1e-300:
                assert error(at(log_normal, verb, 0.3, 0.5, value), wanted, 1 + z * z) < 2
            log_wanted = mpmath.log(wanted)
            got = at(log_normal, f"log_{verb}", 0.3, 0.5, value)
            assert abs(got - log_wanted) < 1e-15 * (abs(log_wanted) + z * z * wanted + wanted), verb


# -------------------------------------------------------------------------------------------------------- logit-normal
@pytest.mark.parametrize(("loc", "scale"), [(0.3, 0.5), (-2.0, 1.4), (3.0, 0.2)])
def test_moments_of_logit_normal(loc: float, scale: float) -> None:
    with mpmath.workdps(30):
        m, s = mpf(loc), mpf(scale)

        def expectation(function: Any) -> Any:
            def integrand(z: Any) -> Any:
                x = m + s * z
                return function(1 / (1 + mpmath.exp(-x)), x) * mpmath.exp(-z * z / 2)

            return mpmath.quad(integrand, range(-14, 15)) / mpmath.sqrt(2 * mpmath.pi)

        mean = expectation(lambda y, x: y)
        assert error(at(logit_normal, "mean", loc, scale), mean) < 10
        variance = expectation(lambda y, x: (y - mean) ** 2)
        assert error(at(logit_normal, "variance", loc, scale), variance) < 40
        log_slope = expectation(lambda y, x: -x - 2 * mpmath.log1p(mpmath.exp(-x)))
        entropy = mpf(1) / 2 + mpmath.log(2 * mpmath.pi) / 2 + mpmath.log(s) + log_slope
        assert abs(at(logit_normal, "entropy", loc, scale) - entropy) < 1e-14 * (1 + abs(log_slope))
        mode = at(logit_normal, "mode", loc, scale)  # logit(y) = loc + scale^2 (2 y - 1)
        assert abs(mpmath.log(mode / (1 - mode)) - m - s * s * (2 * mode - 1)) < 1e-13


def test_logit_normal_is_the_expression() -> None:
    moved = transformed(normal, bijectors.sigmoid)
    loc, scale = torch.tensor([0.3, -2.0]), torch.tensor([0.5, 1.4])
    for seed in (1, 2):
        drawn = [family.sample(random.key(seed), loc, scale, sample_shape=5) for family in (moved, logit_normal)]
        assert torch.equal(*drawn)
        assert torch.equal(moved.log_prob(loc, scale, drawn[0]), logit_normal.log_prob(loc, scale, drawn[0]))


@pytest.mark.parametrize("family", [log_normal, logit_normal], ids=lambda family: family.__name__)
def test_divergences_broadcast(family: Any) -> None:
    p, q = family.Params(torch.zeros(3, 1), 1.0), family.Params(torch.ones(2), torch.tensor([1.0, 2.0]))
    assert torch.equal(family.kl(p, q), normal.kl(normal.Params(*p), normal.Params(*q)))
    assert family.kl(p, q, event_dims=1).shape == (3,)


# --------------------------------------------------------------------------------------------------------- Kumaraswamy
@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_moments_of_kumaraswamy(a: float, b: float) -> None:
    with mpmath.workdps(60):
        p, q = mpf(a), mpf(b)
        mean, second = (q * mpmath.beta(1 + n / p, q) for n in (1, 2))
        variance = second - mean * mean
        if mean > 1e-300:
            assert error(at(kumaraswamy, "mean", a, b), mean, 1 + abs(mpmath.log(mean))) < 3
        if variance > 1e-300:
            got = at(kumaraswamy, "variance", a, b)
            condition = 1 + abs(mpmath.log(variance)) + 1 / q  # psi'(1) - psi'(1 + b) is rounded
            assert error(got, variance, condition) < 20
            assert error(at(kumaraswamy, "stddev", a, b), mpmath.sqrt(variance), condition) < 20
        terms = (1 - 1 / q, (1 - 1 / p) * (mpmath.digamma(1 + q) + mpmath.euler), -mpmath.log(p), -mpmath.log(q))
        assert abs(at(kumaraswamy, "entropy", a, b) - sum(terms)) < 1e-15 * (1 + sum(map(abs, terms)))
        if a > 1 and b >= 1:
            mode = ((p - 1) / (p * q - 1)) ** (1 / p)
            assert error(at(kumaraswamy, "mode", a, b), mode, 1 + abs(mpmath.log(mode))) < 2


@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_distribution_of_kumaraswamy(a: float, b: float) -> None:
    with mpmath.workdps(420):
        p, q = mpf(a), mpf(b)
        for value in (1e-300, 1e-20, 0.01, 0.5, 0.99, 1 - 2**-53):
            log_value = mpmath.log(mpf(value))
            if p * log_value < -800:
                continue
            log_rest = mpmath.log(-mpmath.expm1(p * log_value))
            log_survival = q * log_rest
            survival, cdf = mpmath.exp(log_survival), -mpmath.expm1(log_survival)
            condition = 1 + abs(p * log_value) + abs(log_survival)
            wanted = {"cdf": cdf, "survival": survival, "log_cdf": mpmath.log(cdf), "log_survival": log_survival}
            for verb, number in wanted.items():
                if abs(number) > 1e-300:
                    assert error(at(kumaraswamy, verb, a, b, value), number, condition) < 3, (verb, value)
            terms = (mpmath.log(p), mpmath.log(q), (p - 1) * log_value, (q - 1) * log_rest)
            got = at(kumaraswamy, "log_prob", a, b, value)
            assert abs(got - sum(terms)) < 1e-15 * (sum(map(abs, terms)) + condition), value
        for probability in (1e-300, 1e-20, 0.3, 0.999):
            quantile = (-mpmath.expm1(mpmath.log1p(-mpf(probability)) / q)) ** (1 / p)
            if quantile > 1e-300:
                got = at(kumaraswamy, "icdf", a, b, probability)
                assert error(got, quantile, 1 + abs(mpmath.log(quantile))) < 3, probability


def test_cdf_of_kumaraswamy_where_powers_underflow() -> None:
    """log F = log b + a log x to the last digit, where x^a is 0 in float64."""
    got = kumaraswamy.log_cdf(20 * ONE, 3.0, 1e-300 * ONE)
    torch.testing.assert_close(got, (math.log(3) + 20 * math.log(1e-300)) * ONE, rtol=1e-15, atol=0.0)
    slope = grad(lambda value: kumaraswamy.log_cdf(20 * ONE, 3.0, value))(1e-100 * ONE)
    torch.testing.assert_close(slope, 20e100 * ONE, rtol=1e-14, atol=0.0)


@pytest.mark.parametrize(
    ("a", "b", "low", "high"),
    [
        (2.0, 3.0, -math.inf, -math.inf),
        (0.5, 0.5, math.inf, math.inf),
        (1.0, 3.0, math.log(3.0), -math.inf),
        (3.0, 1.0, -math.inf, math.log(3.0)),
        (1.0, 1.0, 0.0, 0.0),
    ],
)
def test_ends_of_kumaraswamy(a: float, b: float, low: float, high: float) -> None:
    values = torch.tensor([0.0, 1.0, -0.1, 1.1, math.inf, -math.inf], dtype=F64)
    score = kumaraswamy.log_prob(a * ONE, b, values)
    wanted = torch.tensor([low, high, *[-math.inf] * 4], dtype=F64)
    torch.testing.assert_close(score, wanted, rtol=1e-15, atol=0.0)
    slopes = vmap(grad(kumaraswamy.log_prob, argnums=(0, 1, 2)), in_dims=(None, None, 0))(a * ONE, b * ONE, values[2:])
    assert all((slope == 0).all() for slope in slopes)
    for verb, ends in (("cdf", (0.0, 1.0)), ("survival", (1.0, 0.0)), ("log_cdf", (-math.inf, 0.0))):
        assert verbs(kumaraswamy)[verb](a * ONE, b, values[:2]).tolist() == list(ends)


def test_nan_outside_the_support_is_kept() -> None:
    for value in (-1.0, 0.0, 0.5, 1.0, 2.0):
        for params in ((math.nan, 1.0), (1.0, math.nan), (2.0, math.nan)):
            assert math.isnan(float(at(kumaraswamy, "log_prob", *params, value)))
            assert math.isnan(float(at(kumaraswamy, "cdf", *params, value)))


@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.bfloat16])
def test_draws_stay_inside_and_keep_both_tails(dtype: torch.dtype) -> None:
    for a, b in ((0.01, 1.0), (1.0, 0.01), (1e4, 1e-2), (1e-2, 1e4)):
        params = torch.tensor(a, dtype=dtype), torch.tensor(b, dtype=dtype)
        value, score = kumaraswamy.sample_and_log_prob(random.key(0), *params, sample_shape=1000)
        assert ((value > 0) & (value < 1)).all()
        assert score.isfinite().all()
    for point in ("mode", "median", "deterministic", "mean"):
        found = verbs(kumaraswamy)[point](torch.tensor([0.01, 50.0], dtype=dtype), torch.tensor([50.0, 0.01]).to(dtype))
        assert ((found > 0) & (found < 1)).all()
    assert (kumaraswamy.icdf(ONE.to(dtype), 2.0, torch.tensor(ENDS, dtype=dtype)) % 1 != 0).all()


def test_score_function_gradient_of_kumaraswamy_is_that_at_a_constant_value() -> None:
    """Also for values that round to an end."""
    params = torch.tensor([0.7, 5.5, 2.0], dtype=F64), torch.tensor([1.4, 2.5, 0.9], dtype=F64)
    value = kumaraswamy.sample(random.key(8), *params, sample_shape=50)
    found = jvp(
        lambda *p: kumaraswamy.sample_and_log_prob(random.key(8), *p, sample_shape=50)[1],
        params,
        (ONE + 0 * params[0], params[1]),
    )[1]
    wanted = jvp(lambda *p: kumaraswamy.log_prob(*p, value), params, (ONE + 0 * params[0], params[1]))[1]
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    for b in (0.003, 1e-5):
        slope = grad(lambda a, b: kumaraswamy.sample_and_log_prob(random.key(8), a, b)[1], argnums=(0, 1))(ONE, b * ONE)
        assert all(part.isfinite() for part in slope)


def test_modes_of_kumaraswamy_at_the_ends() -> None:
    a, b = torch.tensor([[0.5, 2.0], [0.5, 2.0], [0.2, 0.5], [0.5, 0.2], [2.0, 0.5], [1.0, 1.0]], dtype=F64).unbind(-1)
    assert kumaraswamy.mode(a, b).round(decimals=3).tolist() == [0.0, 0.0, 0.0, 1.0, 1.0, 0.5]


def test_checks_name_the_parameter() -> None:
    for family in (log_normal, logit_normal):
        with pytest.raises(ValueError, match=r"^scale must"):
            family.check(torch.zeros(2), torch.tensor([1.0, -1.0]))
    for params, name in (((0.0, 1.0), "concentration1"), ((1.0, math.inf), "concentration0")):
        with pytest.raises(ValueError, match=rf"^{name} must"):
            kumaraswamy.check(*map(torch.tensor, params))
    with pytest.raises(ValueError, match=r"^log_normal.log_prob: value"):
        log_normal.log_prob(torch.zeros(3), 1.0, torch.zeros(2))


def test_second_derivatives_are_finite() -> None:
    for family, params in ((log_normal, (-3.0, 2.0)), (logit_normal, (4.0, 2.0)), (kumaraswamy, (0.3, 40.0))):
        given = torch.tensor([*params, 1e-3], dtype=F64)
        found = hessian(lambda given, family=family: family.log_prob(*given))(given)
        assert found.isfinite().all()


# ------------------------------------------------------------------------------------------------------------- objects
TORCH = [
    (
        log_normal,
        LogNormal,
        (torch.tensor([0.3, -1.0, 2.0]), torch.tensor([0.5, 1.0, 0.1])),
        torch.tensor([0.2, 1.0, 7.0]),
    ),
    (
        kumaraswamy,
        Kumaraswamy,
        (torch.tensor([0.7, 1.5, 3.0]), torch.tensor([2.5, 1.0, 0.8])),
        torch.tensor([0.2, 0.5, 0.9]),
    ),
]


@pytest.mark.parametrize(("family", "theirs", "params", "value"), TORCH, ids=["log_normal", "kumaraswamy"])
def test_objects_are_those_of_torch(family: Any, theirs: Any, params: Any, value: torch.Tensor) -> None:
    ours = distributions.wrap(family, *params, validate_args=True)
    other = theirs(*params)
    torch.testing.assert_close(ours.log_prob(value), other.log_prob(value), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.cdf(value), other.cdf(value), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.icdf(ours.cdf(value)), value, rtol=1e-4, atol=0.0)
    torch.testing.assert_close(ours.entropy(), other.entropy(), rtol=1e-5, atol=1e-5)
    for moment in ("mean", "variance", "stddev"):
        torch.testing.assert_close(getattr(ours, moment), getattr(other, moment), rtol=1e-4, atol=0.0)
    assert ours.has_rsample
    assert ours.support.check(ours.rsample((4,))).all()
    assert ours.expand((2, 3)).sample((4,)).shape == (4, 2, 3)


def test_divergence_from_the_log_normal_of_torch() -> None:
    _, theirs, params, _ = TORCH[0]
    ours = distributions.wrap(log_normal, torch.zeros(3), torch.ones(3))
    wanted = normal.kl(normal.Params(torch.zeros(3), 1.0), normal.Params(*params))
    torch.testing.assert_close(kl_divergence(ours, theirs(*params)), wanted)
