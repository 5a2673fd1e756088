"""The Dirichlet distribution: references of 50 digits, draws against their marginals, the border, errors, the shim."""

import math
from typing import Any

import mpmath
import pytest
import torch
from scipy import special
from torch.func import grad, hessian, jvp, vmap

from functional_dists import dirichlet, distributions, gamma, independent, mixture, random
from functional_dists.family import verbs

FLOAT = torch.float64
ROWS = ([1e-3] * 3, [1.0, 1.0], [0.5, 2.0, 3.0], [1e6] * 3, [1e6, 1e-3], [1e-3, 1.0, 1e6], [3e4] * 8)


def _exact(row: torch.Tensor) -> list[Any]:
    mpmath.mp.dps = 50
    return [mpmath.mpf(number) for number in row.tolist()]


def _log_prob(a: torch.Tensor, value: torch.Tensor) -> Any:
    exact, x = _exact(a), _exact(value)
    terms = [(t - 1) * mpmath.log(y / sum(x)) - mpmath.loggamma(t) for t, y in zip(exact, x, strict=True)]
    return sum(terms) + mpmath.loggamma(sum(exact))


def _entropy(a: torch.Tensor) -> Any:
    exact = _exact(a)
    total = sum(exact)
    terms = [mpmath.loggamma(t) - (t - 1) * mpmath.digamma(t) for t in exact]
    return sum(terms) - mpmath.loggamma(total) + (total - len(exact)) * mpmath.digamma(total)


def _kl(a: torch.Tensor, b: torch.Tensor) -> Any:
    p, q = _exact(a), _exact(b)
    of_p = mpmath.digamma(sum(p))
    terms = [
        mpmath.loggamma(t) - mpmath.loggamma(s) + (s - t) * (mpmath.digamma(s) - of_p)
        for s, t in zip(p, q, strict=True)
    ]
    return sum(terms) + mpmath.loggamma(sum(p)) - mpmath.loggamma(sum(q))


def _error(found: torch.Tensor, wanted: Any, scale: Any = None) -> float:
    """Return an error in ulps."""
    return float(abs(mpmath.mpf(float(found)) - wanted) / (abs(wanted) if scale is None else scale)) / 2.0**-53


@pytest.mark.parametrize("row", ROWS)
def test_against_fifty_digits(row: list[float]) -> None:
    a = torch.tensor(row, dtype=FLOAT)
    assert _error(dirichlet.entropy(a), _entropy(a), 1 + abs(_entropy(a))) < 20
    draws, scores = dirichlet.sample_and_log_prob(random.key(1), a, sample_shape=3)
    found = dirichlet.log_prob(a, draws)
    for value, score, of_noise in zip(draws, found, scores, strict=True):
        wanted = _log_prob(a, value)
        condition = 1 + abs(wanted) + 2 * mpmath.sqrt(sum(row))  # what an ulp of the value changes
        assert _error(score, wanted, condition) < 10
        if value.min() > 1e-300:
            assert _error(of_noise, wanted, condition) < 20


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("change", [1e-8, 1e-4, 1.0, 30.0])
def test_divergences_of_close_concentrations(row: list[float], change: float) -> None:
    a = torch.tensor(row, dtype=FLOAT)
    one = torch.arange(len(row)) == 0
    for b in (a * (1 + change), torch.where(one, a * (1 + change), a)):
        wanted = _kl(a, b)
        found = dirichlet.kl(dirichlet.Params(a), dirichlet.Params(b))
        assert found >= 0
        # What one large concentration adds to the sum over the entries, and to that of the whole, almost cancels.
        assert _error(found, wanted, wanted + 0.02 * change**2 / (1 + change)) < 50
    assert dirichlet.kl(dirichlet.Params(a), dirichlet.Params(a)) == 0


def test_derivatives_against_fifty_digits() -> None:
    a, b = torch.tensor([0.3, 2.5, 1e4], dtype=FLOAT), torch.tensor([0.7, 2.4, 9e3], dtype=FLOAT)
    p, q = _exact(a), _exact(b)
    of_p, of_q = (mpmath.polygamma(1, sum(row)) for row in (p, q))
    slopes = grad(dirichlet.entropy)(a)
    for i, slope in enumerate(slopes):
        wanted = (sum(p) - 3) * of_p - (p[i] - 1) * mpmath.polygamma(1, p[i])
        assert _error(slope, wanted, 1 + abs(wanted)) < 20
    curves = hessian(lambda a, b: dirichlet.kl(dirichlet.Params(a), dirichlet.Params(b)), argnums=(0, 1))(a, b)
    for i in range(3):
        for j in range(3):
            mixed = of_p - (i == j) * mpmath.polygamma(1, p[i])
            of_both = (i == j) * mpmath.polygamma(1, q[i]) - of_q
            assert _error(curves[0][1][i, j], mixed, 1 + abs(mixed)) < 20
            assert _error(curves[1][1][i, j], of_both, 1 + abs(of_both)) < 20


def test_against_torch() -> None:
    a = torch.tensor([[0.4, 3.7, 1.6], [2.2, 0.8, 5.0]], dtype=FLOAT)
    b = a.flip(0) + 0.3
    ours, theirs = distributions.wrap(dirichlet, a), torch.distributions.Dirichlet(a)
    value = theirs.sample((4,))
    for name in ("mean", "variance", "stddev"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name))
    torch.testing.assert_close(ours.mode[1], torch.tensor([1.2 / 5.2, 0.0, 4.0 / 5.2], dtype=FLOAT))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    torch.testing.assert_close(ours.log_prob(value), theirs.log_prob(value))
    assert (ours.batch_shape, ours.event_shape) == (theirs.batch_shape, theirs.event_shape)
    wanted = torch.distributions.kl_divergence(theirs, torch.distributions.Dirichlet(b))
    for p in (ours, theirs):
        for q in (distributions.wrap(dirichlet, b), torch.distributions.Dirichlet(b)):
            torch.testing.assert_close(torch.distributions.kl_divergence(p, q), wanted)


# -------------------------------------------------------------------------------------------------------------- draws
@pytest.mark.parametrize("row", [[1e-3] * 3, [0.05, 1.0, 30.0], [2e5, 3e5]])
@pytest.mark.parametrize("dtype", [torch.float32, FLOAT])
def test_marginals_are_beta_distributions(row: list[float], dtype: torch.dtype) -> None:
    count, total = 4000, sum(row)
    draws = dirichlet.sample(random.key(5), torch.tensor(row, dtype=dtype), sample_shape=count).double()
    logs = dirichlet.sample_log(random.key(5), torch.tensor(row, dtype=dtype), sample_shape=count).double()
    assert ((draws.sum(-1) - 1).abs() <= torch.finfo(dtype).eps).all()
    for i, a in enumerate(row):
        x = draws[:, i].sort().values
        mass = torch.as_tensor(special.betainc(a, total - a, x.numpy()))
        rank = torch.arange(1, count + 1, dtype=FLOAT) / count
        is_apart = (x > 1e-37) & (x < 1 - 1e-6)  # the others lie where float32 numbers end
        assert (mass - rank)[is_apart].abs().max() < 1.8 / math.sqrt(count)
        mean, variance = (
            special.digamma(a) - special.digamma(total),
            special.polygamma(1, a) - special.polygamma(1, total),
        )
        assert logs[:, i].mean() == pytest.approx(mean, abs=4.5 * math.sqrt(variance / count))
        assert logs[:, i].var() == pytest.approx(variance, rel=0.3)


def test_draws_of_tiny_concentrations_are_vertices() -> None:
    draws = dirichlet.sample(random.key(2), torch.full((3,), 1e-3), sample_shape=3000)
    assert (draws.max(-1).values > 0.99).double().mean() > 0.98
    assert torch.bincount(draws.argmax(-1)).min() > 850
    assert (draws > 0).all()


def test_draws_are_gamma_variables_over_their_sum() -> None:
    a = torch.tensor([0.02, 1.3, 40.0], dtype=FLOAT)

    def of_gamma(a: torch.Tensor) -> torch.Tensor:
        return gamma.rsample_log(random.key(3), a, 1.0).log_softmax(-1)

    def ours(a: torch.Tensor) -> torch.Tensor:
        return dirichlet.rsample_log(random.key(3), a)

    torch.testing.assert_close(ours(a), of_gamma(a), rtol=1e-13, atol=1e-13)
    tangent = torch.tensor([1.0, -0.3, 5.0], dtype=FLOAT)
    for found, wanted in zip(jvp(ours, (a,), (tangent,)), jvp(of_gamma, (a,), (tangent,)), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-13)
    for i in range(3):
        found, wanted = (hessian(lambda a, f=f, i=i: f(a)[i])(a) for f in (ours, of_gamma))
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
        found = grad(lambda a, i=i: dirichlet.rsample(random.key(3), a, sample_shape=4000)[:, i].mean())(a)
        torch.testing.assert_close(found, grad(lambda a, i=i: dirichlet.mean(a)[i])(a), rtol=0.2, atol=2e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, FLOAT])
@pytest.mark.parametrize("concentration", [1e-3, 1.0, 1e4])
def test_draws_of_every_dtype_have_finite_scores(dtype: torch.dtype, concentration: float) -> None:
    a = torch.full((1000,), concentration, dtype=dtype)
    value, score = dirichlet.sample_and_log_prob(random.key(0), a, sample_shape=5)
    assert value.dtype == dtype
    assert (value > 0).all()
    wide = a.float().double()
    assert dirichlet.log_prob(wide, value.double()).isfinite().all()  # stored in a wider dtype
    assert score.double().isfinite().all() or dtype == torch.float16  # whose range ends at 65504


def test_logarithms_have_their_digits_where_the_values_underflow() -> None:
    a = torch.tensor([1e-3, 2e-3, 5e-3], dtype=FLOAT)
    value, score = dirichlet.sample_log_and_log_prob(random.key(4), a, sample_shape=50)
    assert value.min() < -1000
    assert value.isfinite().all()
    torch.testing.assert_close(dirichlet.log_prob_log(a, value), score, rtol=1e-12, atol=0.0)
    moved, of_moved = dirichlet.rsample_log_and_log_prob(random.key(4), a, sample_shape=50)
    assert torch.equal(moved, value)
    torch.testing.assert_close(of_moved, score, rtol=1e-13, atol=0.0)
    exact = _exact(a)
    for x, found in zip(value[:5], score[:5], strict=True):
        logs = _exact(x)
        wanted = mpmath.loggamma(sum(exact)) + sum(t * y - mpmath.loggamma(t) for t, y in zip(exact, logs, strict=True))
        assert _error(found, wanted) < 20
    inner = torch.tensor([0.2, 0.3, 0.5], dtype=FLOAT)
    wanted = dirichlet.log_prob(a, inner) + inner.log().sum()
    torch.testing.assert_close(dirichlet.log_prob_log(a, inner.log()), wanted, rtol=1e-14, atol=0.0)


# ------------------------------------------------------------------------------------------------------------- borders
def test_the_border_and_what_lies_outside() -> None:
    a = torch.tensor([0.5, 1.0, 3.0], dtype=FLOAT)
    cases = {
        (0.0, 0.5, 0.5): math.inf,
        (0.5, 0.0, 0.5): math.lgamma(4.5) - math.lgamma(0.5) - math.lgamma(3.0) + 1.5 * math.log(0.5),
        (0.5, 0.5, 0.0): -math.inf,
        (0.0, 1.0, 0.0): -math.inf,
        (-0.1, 0.6, 0.5): -math.inf,
        (0.2, 0.3, 0.6): -math.inf,
        (math.inf, 0.5, 0.5): -math.inf,
    }
    for given, wanted in cases.items():
        value = torch.tensor(given, dtype=FLOAT)
        found = dirichlet.log_prob(a, value)
        assert float(found) == pytest.approx(wanted, rel=1e-14)
        for derivative in (grad, hessian):
            slopes = derivative(dirichlet.log_prob, argnums=(0, 1))(a, value)
            flat = torch.cat(
                [s.flatten() for slope in slopes for s in (slope if isinstance(slope, tuple) else (slope,))]
            )
            assert flat.isfinite().all()
            assert found.isfinite() or (flat == 0).all()
        assert not jvp(dirichlet.log_prob, (a, value), (a, value))[1].isnan()
    value = torch.tensor([math.nan, 0.7, -0.2], dtype=FLOAT)
    assert dirichlet.log_prob(a, value).isnan()
    assert grad(dirichlet.log_prob)(a, value).isnan().all()
    logs = torch.tensor([[-math.inf, -0.1, -2.3], [0.0, 0.0, 0.0], [-1.0, math.inf, -1.0]], dtype=FLOAT)
    assert (dirichlet.log_prob_log(a, logs) == -math.inf).all()
    assert (grad(lambda a: dirichlet.log_prob_log(a, logs).sum())(a) == 0).all()


def test_a_rounded_value_is_scored_as_the_nearest_vector_of_the_simplex() -> None:
    a, value = torch.tensor([2e5, 3e5, 5e5], dtype=FLOAT), torch.tensor([0.2, 0.3, 0.5], dtype=FLOAT)
    torch.testing.assert_close(dirichlet.log_prob(a, 1.003 * value), dirichlet.log_prob(a, value), rtol=1e-12, atol=0.0)
    moved, score = dirichlet.sample_and_log_prob(random.key(0), a.float(), sample_shape=20)
    torch.testing.assert_close(dirichlet.log_prob(a.float(), moved), score, rtol=0.0, atol=1e-3)


def test_modes_and_variances_at_the_border() -> None:
    a = torch.tensor([[3.0, 2.0, 2.0], [3.0, 2.0, 1.0], [0.1, 0.9, 0.5], [1.0, 1.0, 1.0]])
    wanted = torch.tensor([[0.5, 0.25, 0.25], [2 / 3, 1 / 3, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    torch.testing.assert_close(dirichlet.mode(a), wanted)
    assert (dirichlet.mode(a) > 0).all()
    found = dirichlet.variance(torch.tensor([1e6, 1e-3], dtype=FLOAT))
    torch.testing.assert_close(
        found, torch.full((2,), 1e-9 / 1.000000000999999e6 / 1.000001, dtype=FLOAT), rtol=1e-8, atol=0.0
    )
    assert dirichlet.sample(random.key(0), torch.ones(1)).item() == 1.0
    assert dirichlet.log_prob(torch.full((1,), 3.0), torch.ones(1)) == 0


def test_errors_and_families_of_vectors() -> None:
    for bad in (torch.tensor(1.0), torch.ones(3, 0)):
        for name in ("mean", "entropy", "mode", "support"):
            with pytest.raises(ValueError, match="must have a last axis"):
                verbs(dirichlet)[name](bad)
    with pytest.raises(ValueError, match=r"concentration must be positive and finite; .* \(1, 0\)"):
        dirichlet.check(torch.tensor([[1.0, 2.0], [-1.0, 2.0]]))
    with pytest.raises(ValueError, match="does not fit"):
        dirichlet.log_prob(torch.ones(3), torch.tensor([0.5, 0.5]))
    a = torch.rand(4, 2, 3, generator=torch.Generator().manual_seed(0)) + 0.5
    family = mixture(dirichlet)
    draws, score = family.sample_and_log_prob(random.key(0), torch.zeros(4, 2), a)
    assert (draws.shape, score.shape) == ((4, 3), (4,))
    both = torch.stack([dirichlet.log_prob(a[:, k], draws) for k in range(2)])
    torch.testing.assert_close(score, both.logsumexp(0) - math.log(2))
    value = dirichlet.sample(random.key(1), a)
    torch.testing.assert_close(independent(dirichlet).log_prob(a, value), dirichlet.log_prob(a, value).sum(-1))
    keys = random.split(random.key(0), 4)
    assert dirichlet.sample(keys, a).equal(vmap(dirichlet.sample)(keys, a))
