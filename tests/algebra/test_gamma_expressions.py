"""chi2, inverse_gamma and fisher_snedecor: references of 50 digits, ends, errors, and PyTorch's classes."""

import math
from typing import Any

import mpmath
import pytest
import torch
from torch.func import grad, hessian

from functional_dists import chi2, distributions, divergence, exponential, fisher_snedecor, gamma, inverse_gamma, random
from functional_dists.family import verbs

FLOAT = torch.float64
ONE = torch.ones((), dtype=FLOAT)
FAMILIES = {"chi2": chi2, "inverse_gamma": inverse_gamma, "fisher_snedecor": fisher_snedecor}
PARAMS = {"chi2": [2.0], "inverse_gamma": [1.5, 3.0], "fisher_snedecor": [2.0, 6.0]}


def _error(found: Any, wanted: Any, scale: Any = None) -> float:
    """Return an error in ulps."""
    return float(abs(mpmath.mpf(float(found)) - wanted) / (abs(wanted) if scale is None else scale)) / 2.0**-53


def test_chi2_is_a_gamma_distribution() -> None:
    df, value = torch.tensor([0.3, 5.0, 1e5], dtype=FLOAT), torch.tensor([0.2, 4.0, 9.9e4], dtype=FLOAT)
    for name in ("log_prob", "log_cdf", "survival", "log_prob_log"):
        assert verbs(chi2)[name](df, value).equal(verbs(gamma)[name](0.5 * df, 0.5, value))
    for name in ("mean", "variance", "median", "entropy"):
        assert verbs(chi2)[name](df).equal(verbs(gamma)[name](0.5 * df, 0.5 * torch.ones_like(df)))
    assert chi2.rsample(random.key(1), df).equal(gamma.rsample(random.key(1), 0.5 * df, 0.5))
    close = chi2.kl(chi2.Params(df), chi2.Params(df * (1 + 1e-6)))
    assert (close > 0).all()
    rate = torch.full_like(df, 0.5)
    for p, q in ((chi2.Params(df), gamma.Params(df, rate)), (gamma.Params(df, rate), chi2.Params(df))):
        families = [chi2 if isinstance(one, chi2.Params) else gamma for one in (p, q)]
        wide = [gamma.Params(0.5 * one.df, rate) if isinstance(one, chi2.Params) else one for one in (p, q)]
        torch.testing.assert_close(divergence.kl((families[0], p), (families[1], q)), gamma.kl(*wide))
    two = chi2.Params(2 * ONE)
    assert divergence.kl((chi2, two), (exponential, exponential.Params(0.5 * ONE))) == 0


@pytest.mark.parametrize("a", [1e-3, 0.7, 3.0, 1e6])
def test_inverse_gamma_against_fifty_digits(a: float) -> None:
    mpmath.mp.dps = 50
    exact, rate = mpmath.mpf(a), mpmath.mpf(3)
    entropy = exact + mpmath.log(rate) + mpmath.loggamma(exact) - (1 + exact) * mpmath.digamma(exact)
    assert _error(inverse_gamma.entropy(a * ONE, 3.0), entropy, 1 + abs(entropy)) < 10
    for probability in (1e-12, 0.3, 0.9):
        found = inverse_gamma.icdf(a * ONE, 3.0, probability * ONE)
        if not 1e-300 < found < 1e300:
            continue
        y = mpmath.mpf(float(found))
        log_prob = exact * mpmath.log(rate) - (exact + 1) * mpmath.log(y) - rate / y - mpmath.loggamma(exact)
        condition = 1 + abs(log_prob) + 3 * mpmath.sqrt(exact)
        assert _error(inverse_gamma.log_prob(a * ONE, 3.0, found), log_prob, condition) < 10
        back = float(inverse_gamma.cdf(a * ONE, 3.0, found))
        assert back == pytest.approx(probability, rel=1e-11)
        if a < 1e4:
            cdf = mpmath.gammainc(exact, rate / y, regularized=True)
            assert back == pytest.approx(float(cdf), rel=1e-13)
            survival = mpmath.gammainc(exact, 0, rate / y, regularized=True)
            found_survival = float(inverse_gamma.survival(a * ONE, 3.0, found))
            assert found_survival == pytest.approx(float(survival), rel=1e-13)


def test_inverse_gamma_draws_are_inverses() -> None:
    a, rate = torch.tensor([1e-3, 0.4, 50.0], dtype=FLOAT), 2.0
    logs = inverse_gamma.sample_log(random.key(1), a, rate, sample_shape=100)
    assert logs.equal(-gamma.sample_log(random.key(1), a, rate, sample_shape=100))
    values, score = inverse_gamma.sample_and_log_prob(random.key(1), a, rate, sample_shape=100)
    assert values.isfinite().all()
    torch.testing.assert_close(values[:, 1:], logs[:, 1:].exp())
    torch.testing.assert_close(score, inverse_gamma.log_prob_log(a, rate, logs) - logs)
    assert inverse_gamma.mean(a, rate)[:2].isinf().all()
    assert inverse_gamma.variance(torch.tensor([2.0, 2.5]), 1.0).isinf().tolist() == [True, False]
    assert inverse_gamma.median(torch.tensor([2.0, 2.5]), torch.ones(3, 1)).shape == (3, 2)


@pytest.mark.parametrize(("m", "n"), [(0.01, 3.0), (2.0, 2.0), (5.0, 0.1), (1e5, 3e5)])
def test_fisher_snedecor_against_fifty_digits(m: float, n: float) -> None:
    mpmath.mp.dps = 50
    p, q = mpmath.mpf(m), mpmath.mpf(n)
    a, b = p / 2, q / 2
    digamma = mpmath.digamma
    of_beta = mpmath.log(mpmath.beta(a, b)) - (a - 1) * digamma(a) - (b - 1) * digamma(b) + (a + b - 2) * digamma(a + b)
    entropy = of_beta + mpmath.log(b / a) - 2 * (digamma(b) - digamma(a + b))
    assert _error(fisher_snedecor.entropy(m * ONE, n), entropy, 1 + abs(entropy)) < 10
    for probability in (1e-9, 0.3, 0.9):
        found = fisher_snedecor.icdf(m * ONE, n, probability * ONE)
        if not 1e-300 < found < 1e300:
            continue
        x = mpmath.mpf(float(found))
        log_prob = a * mpmath.log(p / q) + (a - 1) * mpmath.log(x) - (a + b) * mpmath.log(1 + p * x / q)
        log_prob -= mpmath.log(mpmath.beta(a, b))
        assert _error(fisher_snedecor.log_prob(m * ONE, n, found), log_prob, 1 + abs(log_prob) + mpmath.sqrt(a)) < 20
        assert float(fisher_snedecor.cdf(m * ONE, n, found)) == pytest.approx(probability, rel=1e-12)
        if m < 1e4:
            survival = 1 - mpmath.betainc(a, b, 0, p * x / (p * x + q), regularized=True)
            found_survival = float(fisher_snedecor.survival(m * ONE, n, found))
            assert found_survival == pytest.approx(float(survival), rel=1e-12)


# ---------------------------------------------------------------------------------------------------------------- ends
def test_log_probs_at_the_ends() -> None:
    zero, far = 0 * ONE, math.inf * ONE
    assert [float(chi2.log_prob(df * ONE, zero)) for df in (1.0, 2.0, 3.0)] == [math.inf, -math.log(2), -math.inf]
    assert [float(fisher_snedecor.log_prob(df * ONE, 3.0, zero)) for df in (1.0, 2.0, 3.0)] == [math.inf, 0, -math.inf]
    assert inverse_gamma.log_prob(ONE, 3.0, zero) == -math.inf
    for name, family in FAMILIES.items():
        params = [param * ONE for param in PARAMS[name]]
        for value in (-ONE, far, math.nan * ONE):
            score = family.log_prob(*params, value=value)
            assert score.isnan() if value.isnan() else score == -math.inf
            wanted = (
                [math.nan] * 4
                if value.isnan()
                else [0.0, -math.inf, 1.0, 0.0]
                if value < 0
                else [1.0, 0.0, 0.0, -math.inf]
            )
            found = [float(verbs(family)[v](*params, value)) for v in ("cdf", "log_cdf", "survival", "log_survival")]
            assert found == pytest.approx(wanted, nan_ok=True)
            if not value.isnan():
                positions = tuple(range(len(params) + 1))
                slopes = grad(family.log_prob, argnums=positions)(*params, value)
                assert all(slope == 0 for slope in slopes)
        ends = family.icdf(*params, torch.tensor([0.0, 1.0, -0.1, 1.1], dtype=FLOAT))
        assert ends[:2].tolist() == [0.0, math.inf]
        assert ends[2:].isnan().all()


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, FLOAT])
def test_draws_stay_inside_in_every_dtype(name: str, dtype: torch.dtype) -> None:
    params = [torch.tensor([0.01, 3.0], dtype=dtype)] * len(PARAMS[name])
    value, score = FAMILIES[name].sample_and_log_prob(random.key(0), *params, sample_shape=500)
    assert value.dtype == score.dtype == dtype
    assert ((value > 0) & value.isfinite()).all()
    moved = grad(lambda p: FAMILIES[name].rsample(random.key(0), *[p] * len(params), sample_shape=9).log().sum())
    assert moved(params[0][1]).isfinite()


# --------------------------------------------------------------------------------------------------- PyTorch's classes
def test_against_the_classes_of_torch() -> None:
    a, b = torch.tensor([1.4, 7.0], dtype=FLOAT), torch.tensor([5.0, 9.0], dtype=FLOAT)
    classes = torch.distributions
    pairs = [
        (chi2, (a,), classes.Chi2(a)),
        (inverse_gamma, (b, a), classes.InverseGamma(b, a)),
        (fisher_snedecor, (a, b), classes.FisherSnedecor(a, b)),
    ]
    value = torch.tensor([[0.3, 2.0], [4.0, 0.7]], dtype=FLOAT)
    for family, params, theirs in pairs:
        ours = distributions.wrap(family, *params)
        torch.testing.assert_close(ours.log_prob(value), theirs.log_prob(value))
        torch.testing.assert_close(ours.mean, theirs.mean)
        torch.testing.assert_close(ours.variance, theirs.variance)
        if family is not fisher_snedecor:
            torch.testing.assert_close(ours.entropy(), theirs.entropy())
    mine = distributions.wrap(inverse_gamma, b, a)
    wanted = torch.distributions.kl_divergence(classes.InverseGamma(b, a), classes.InverseGamma(b, 2 * a))
    torch.testing.assert_close(torch.distributions.kl_divergence(mine, classes.InverseGamma(b, 2 * a)), wanted)
    mine = distributions.wrap(chi2, a)
    wanted = torch.distributions.kl_divergence(classes.Chi2(a), classes.Chi2(b))
    torch.testing.assert_close(torch.distributions.kl_divergence(mine, classes.Chi2(b)), wanted)
    torch.testing.assert_close(torch.distributions.kl_divergence(classes.Chi2(a), distributions.wrap(chi2, b)), wanted)


def test_second_derivatives_of_moments_are_finite() -> None:
    for family, params in ((inverse_gamma, (0.5, 2.0)), (fisher_snedecor, (3.0, 1.5))):
        for name in ("mean", "variance", "mode", "entropy"):
            found = hessian(verbs(family)[name], argnums=(0, 1))(*(param * ONE for param in params))
            assert all(part.isfinite() for row in found for part in row)


@pytest.mark.parametrize("name", FAMILIES)
def test_errors_name_the_parameter(name: str) -> None:
    field = FAMILIES[name].Params._fields[-1]
    params = [torch.ones(2)] * (len(PARAMS[name]) - 1)
    with pytest.raises(ValueError, match=rf"{field} must be positive and finite; .* \(1,\)"):
        FAMILIES[name].check(*params, torch.tensor([1.0, 0.0]))
