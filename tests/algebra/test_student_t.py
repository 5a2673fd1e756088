"""Student's t distribution against references of 50 digits, its limits, its ends, and its derivatives."""

import math
from collections.abc import Iterator
from typing import Any

import mpmath
import pytest
import torch
from mpmath import mpf
from torch.distributions import StudentT
from torch.func import grad, hessian, vmap

from functional_dists import cauchy, normal, random, student_t
from functional_dists.family import verbs
from functional_dists.special.student_t import half_line

F64 = torch.float64
# Half of them in the slow tests: references of 50 digits take their time.
ALL_DF = [*(0.4, 1.7, 2.3, 1e6), *(pytest.param(df, marks=pytest.mark.slow) for df in (0.1, 1.0, 7.0, 40.0, 1e3))]


@pytest.fixture(autouse=True)
def fifty_digits() -> Iterator[None]:
    with mpmath.workdps(50):
        yield


def number(x: float) -> torch.Tensor:
    return torch.tensor(x, dtype=F64)


def error(got: Any, wanted: Any) -> float:
    return float(abs(mpf(float(got)) - wanted) / max(abs(wanted), mpf(10) ** -290))


def rest(df: Any) -> Any:
    """Return the log of the normaliser less that of a normal."""
    return mpmath.loggamma((df + 1) / 2) - mpmath.loggamma(df / 2) - mpmath.log(df / 2) / 2


def density(df: Any, x: Any) -> Any:
    return mpmath.exp(rest(df) - (df + 1) / 2 * mpmath.log1p(x * x / df)) / mpmath.sqrt(2 * mpmath.pi)


def tail(df: Any, x: Any) -> Any:
    """Return P(X > x) for x >= 0."""
    share = df / (df + x * x)
    if share < 0.9:
        return mpmath.betainc(df / 2, mpf(1) / 2, 0, share, regularized=True) / 2
    with mpmath.workdps(150):
        return (1 - mpmath.betainc(mpf(1) / 2, df / 2, 0, 1 - share, regularized=True)) / 2


def slope_of_quantile(df: Any, x: Any) -> Any:
    with mpmath.workdps(150):
        step = mpf(10) ** -30 * df
        return (tail(df + step, x) - tail(df - step, x)) / (2 * step) / density(df, x)


@pytest.mark.parametrize("df", ALL_DF)
def test_tails_quantiles_and_their_derivatives(df: float) -> None:
    exact = mpf(df)
    for x in (1e-9, 0.3, 1.5, 1.6, 4.0, 15.0, *((1e4, 1e90) if df < 10 else ())):
        probability, slope = tail(exact, mpf(x)), slope_of_quantile(exact, mpf(x))
        for precise, bound in ((True, 1e-13), (False, 1e-8)):
            half = half_line(number(df))._replace(precise=precise)
            local = half.local(number(x))
            assert error(local.log_above, mpmath.log(probability)) < bound
            assert error(local.log_below, mpmath.log1p(-probability)) < bound
            assert error(local.slopes[0], slope) < bound
            found = half.quantile(1 - 2 * local.log_above.exp(), 2 * local.log_above.exp())
            if local.log_above > -690:
                assert abs(float(found) / x - 1) < 10 * bound * (1 + 1 / min(x, 1)) * (1 + abs(math.log(x)))
        lower = student_t.log_cdf(number(df), value=number(-x))
        assert error(lower, mpmath.log(probability)) < 1e-13
        by_value = grad(lambda v, df=df: student_t.log_cdf(number(df), value=v))(number(-x))
        assert error(by_value, density(exact, mpf(x)) / probability) < 1e-13
        by_df = grad(lambda v, x=x: student_t.log_cdf(v, value=number(-x)))(number(df))
        assert error(by_df, slope * density(exact, mpf(x)) / probability) < 1e-13


@pytest.mark.parametrize("df", ALL_DF)
def test_scores_and_entropies_and_their_derivatives(df: float) -> None:
    exact = mpf(df)
    for x in (1e-6, 0.7, 3.0, 1e3, 1e170):
        wanted = mpmath.log(density(exact, mpf(x))) if x < 1e100 else rest(exact) - mpmath.log(2 * mpmath.pi) / 2
        if x > 1e100:
            wanted -= (exact + 1) / 2 * mpmath.log1p(mpf(x) ** 2 / exact)
        got = student_t.log_prob(number(df), value=number(x))
        assert abs(float(got) - wanted) < 4e-15 * (1 + abs(wanted))
        share = mpf(x) ** 2 / exact
        parts = mpmath.diff(rest, exact), -mpmath.log1p(share) / 2 + (exact + 1) / 2 * share / (exact * (1 + share))
        slope = grad(lambda v, x=x: student_t.log_prob(v, value=number(x)))(number(df))
        assert abs(float(slope) - sum(parts)) < 1e-14 * sum(map(abs, parts))
    entropy = lambda v: (v + 1) * mpmath.diff(rest, v) + 1 / (2 * v) - rest(v) + (1 + mpmath.log(2 * mpmath.pi)) / 2  # noqa: E731
    verb = lambda v: student_t.entropy(v)  # noqa: E731
    assert error(verb(number(df)), entropy(exact)) < 2e-15
    with mpmath.workdps(90):
        assert error(grad(verb)(number(df)), mpmath.diff(entropy, exact)) < 1e-14
        assert error(hessian(verb)(number(df)), mpmath.diff(entropy, exact, 2)) < 1e-13


def test_it_is_a_cauchy_or_a_normal_distribution() -> None:
    value = torch.tensor([-40.0, -3.0, -0.2, 0.0, 1.1, 7.0], dtype=F64)
    p = torch.tensor([1e-300, 1e-5, 0.4, 0.5, 0.9, 1 - 1e-12], dtype=F64)
    for df, family in ((1.0, cauchy), (1e60, normal), (math.inf, normal)):
        for verb in ("log_prob", "cdf", "survival", "log_cdf", "log_survival", "icdf"):
            given = p if verb == "icdf" else value
            if family is normal and verb == "icdf":
                given = p[1:]
            mine = verbs(student_t)[verb](number(df), 0.3, 1.7, given)
            theirs = verbs(family)[verb](number(0.3), 1.7, given)
            torch.testing.assert_close(mine, theirs, rtol=3e-13, atol=0, msg=lambda m, v=verb, f=family: f"{f} {v} {m}")
        own = random.key(4)
        assert student_t.rsample(own, number(df), sample_shape=9).isfinite().all()
    torch.testing.assert_close(student_t.entropy(number(1.0)), cauchy.entropy(number(0.0), 1.0))


def test_derivatives_of_quantiles_by_all_arguments() -> None:
    for df, p in ((0.3, 0.2), (3.0, 0.01), (30.0, 0.5), (1e4, 0.7), (2.0, 1e-9)):
        arguments = number(df), number(0.4), number(1.3), number(p)

        def score(*given: Any) -> Any:
            return student_t.log_cdf(*given[:3], student_t.icdf(*given))

        slopes = torch.stack(grad(score, argnums=(0, 1, 2, 3))(*arguments))
        torch.testing.assert_close(slopes, torch.tensor([0, 0, 0, 1 / p], dtype=F64), rtol=1e-12, atol=1e-12)
        curves = hessian(lambda t: score(*t))(torch.stack(arguments))
        wanted = torch.zeros(4, 4, dtype=F64)
        wanted[3, 3] = -1 / p**2
        torch.testing.assert_close(curves * p, wanted * p, rtol=1e-9, atol=1e-10)


def test_second_derivatives_by_df() -> None:
    """Against differences of the first ones."""
    for df in (0.2, 1.5, 3.0, 60.0):
        for p in (1e-8, 0.1, 0.45):
            slope = grad(lambda v, p=p: student_t.icdf(v, value=number(p)))
            step = 1e-5 * df
            change = (slope(number(df + step)) - slope(number(df - step))) / (2 * step)
            curve = hessian(lambda v, p=p: student_t.icdf(v, value=number(p)))(number(df))
            assert math.isclose(curve, change, rel_tol=3e-6, abs_tol=1e-9)


def _divergence(p: tuple[float, ...], q: tuple[float, ...]) -> Any:
    """Return the divergence by many panels."""
    (p_df, p_loc, p_scale), (q_df, q_loc, q_scale) = (tuple(map(mpf, given)) for given in (p, q))
    start = mpmath.asinh((q_loc - p_loc) / p_scale / mpmath.sqrt(p_df))
    width = q_scale * mpmath.sqrt(q_df) / (p_scale * mpmath.sqrt(p_df) * mpmath.cosh(start))

    def term(w: Any) -> Any:
        y = mpmath.sqrt(p_df) * mpmath.sinh(w)
        z = (p_loc + p_scale * y - q_loc) / q_scale
        ratio = rest(p_df) - rest(q_df) + mpmath.log(q_scale / p_scale)
        ratio += (q_df + 1) / 2 * mpmath.log1p(z * z / q_df) - (p_df + 1) / 2 * mpmath.log1p(y * y / p_df)
        return density(p_df, y) * ratio * mpmath.sqrt(p_df) * mpmath.cosh(w)

    end = abs(start) + 80 / p_df + 20 / mpmath.sqrt(p_df)
    marks = {mpf(0), start, end, -end}
    for base, size in ((mpf(0), 1 / mpmath.sqrt(p_df)), (start, width)):
        marks |= {base + sign * size * mpf(4) ** k for k in range(-1, 10) for sign in (1, -1)}
    return mpmath.quad(term, sorted(mark for mark in marks if abs(mark) <= end))


PAIRS = [
    ((3.0, 0.2, 1.0), (3.01, 0.2, 1.001)),
    ((3.0, 0.2, 1.0), (5.0, 0.9, 0.4)),
    ((0.4, 0.0, 1.0), (0.4, 0.0, 1.05)),
    ((40.0, 0.0, 1.0), (1.0, -3.0, 1e-3)),
    ((1e6, 0.0, 1.0), (2e6, 1.0, 1.0)),
    ((2.0, 0.0, 1.0), (0.3, 5.0, 2.0)),
]


@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_divergences(p: tuple[float, ...], q: tuple[float, ...]) -> None:
    with mpmath.workdps(20):
        wanted = _divergence(p, q)
    first, second = (student_t.Params(*map(number, given)) for given in (p, q))
    assert error(student_t.kl(first, second), wanted) < 1e-11
    assert student_t.kl(first, first) < 1e-28


def test_divergences_of_one_family_are_those_of_cauchy_and_normal() -> None:
    p, q = (number(0.3), number(0.8)), (number(-0.2), number(1.4))
    for df, family in ((1.0, cauchy), (math.inf, normal)):
        mine = lambda p, q, df=df: student_t.kl((number(df), *p), (number(df), *q))  # noqa: E731
        theirs = lambda p, q, family=family: family.kl(p, q)  # noqa: E731
        torch.testing.assert_close(mine(p, q), theirs(p, q), rtol=1e-12, atol=0)
        torch.testing.assert_close(grad(mine)(p, q), grad(theirs)(p, q), rtol=1e-11, atol=1e-13)
        torch.testing.assert_close(hessian(mine)(p, q), hessian(theirs)(p, q), rtol=1e-10, atol=1e-12)
    assert student_t.kl((number(2.0), *p), (number(math.inf), *q)) == math.inf


def test_moments_and_values_like_those_of_torch() -> None:
    df = torch.tensor([0.5, 1.0, 1.5, 2.0, 3.0, 1e5], dtype=F64)
    theirs = StudentT(df, 0.3, 1.7)
    torch.testing.assert_close(student_t.mean(df, 0.3, 1.7).float(), theirs.mean.float(), equal_nan=True)
    torch.testing.assert_close(student_t.variance(df, 0.3, 1.7), theirs.variance, equal_nan=True, rtol=1e-6, atol=0)
    torch.testing.assert_close(student_t.entropy(df, 0.3, 1.7), theirs.entropy(), rtol=1e-6, atol=0)
    torch.testing.assert_close(student_t.log_prob(df, 0.3, 1.7, 2.0), theirs.log_prob(number(2.0)), rtol=1e-6, atol=0)


def test_draws_are_finite_and_so_are_their_derivatives() -> None:
    for dtype in (torch.float32, F64):
        df = torch.tensor([0.1, 1.0, 10.0, 1e7], dtype=dtype)
        draws, slopes = vmap(
            lambda key, df=df: torch.func.jvp(lambda v: student_t.rsample(key, v), (df,), (torch.ones_like(df),))
        )(random.split(random.key(1), 20_000))
        assert draws.isfinite().all()
        assert slopes.isfinite().all()
    ends = torch.tensor([-math.inf, math.inf], dtype=F64)
    assert student_t.cdf(number(3.0), value=ends).tolist() == [0, 1]
    assert student_t.icdf(number(3.0), value=number(0.5)) == 0
    for verb in ("cdf", "log_cdf", "survival", "log_survival"):
        function = verbs(student_t)[verb]
        slopes = grad(lambda v, df, f=function: f(df, value=v), argnums=(0, 1))(number(1e306), number(0.2))
        assert all(slope.isfinite() for slope in slopes)


@pytest.mark.parametrize("verb", ["rsample", "rsample_and_log_prob", "log_cdf", "icdf", "entropy", "log_prob"])
def test_float32_has_the_same_bits_in_eager_code_and_vmap(verb: str) -> None:
    df, loc, scale = torch.logspace(-1, 4, 50), torch.linspace(-3, 3, 50), torch.logspace(-2, 2, 50)
    arguments: tuple[Any, ...] = (df, loc, scale)
    if verb in ("log_cdf", "icdf", "log_prob"):
        arguments = (*arguments, torch.linspace(0.01, 0.99, 50))
    if "sample" in verb:
        arguments = (random.split(random.key(0), 50), *arguments)
    function = verbs(student_t)[verb]
    whole, lanes = function(*arguments), vmap(function)(*arguments)
    for a, b in zip(*((x if isinstance(x, tuple) else (x,)) for x in (whole, lanes)), strict=True):
        assert torch.equal(a, b)
