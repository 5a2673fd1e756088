"""The Beta distribution: references of many digits, ends, draws, policies' needs."""

import itertools
import math
from typing import Any

import mpmath
import pytest
import scipy.stats
import torch
from mpmath import mpf
from torch import Tensor
from torch.distributions import Beta, kl_divergence
from torch.func import grad, hessian, vmap
from torch.utils._python_dispatch import TorchDispatchMode

from functional_dists import beta, distributions, random
from functional_dists.random.extension import without_kernels
from functional_dists.special.beta_local import beta_local
from functional_dists.special.beta_quantile import beta_quantile
from functional_dists.special.beta_start import beta_start
from functional_dists.special.implicit import log_odds
from tests import beta_references as references

F64 = torch.float64
ONE = torch.ones((), dtype=F64)
WITH_KERNELS = pytest.mark.parametrize("run", [lambda f: f, without_kernels], ids=["kernels", "operations"])
# a, b and the offset of the logit from log(a / b)
POINTS = [
    (1e-3, 1e-3, -20000.0),
    (1e-3, 1e-3, 0.0),
    (0.4, 1.0, -3.0),
    (0.4, 1e-3, 2.0),
    (7.5, 0.03, 9.0),
    (7.5, 4.0, -4.0),
    (1.0, 1.0, 3.0),
    (1e-3, 300.0, 9.0),
    (300.0, 300.0, 0.7),
    (2e4, 50.0, -0.3),
]
HARD_POINTS = [
    *((a, b, d) for a, b in itertools.product((1e-3, 0.5, 30.0, 3e4), repeat=2) for d in (-1.0, -0.02, 0.01, 1.0)),
    (1e6, 1e6, -0.01),
    (1e6, 1e6, 1e-3),
    (1e-3, 1e6, 6.0),
    (1e6, 30.0, 0.9),
]


def error_of(got: Tensor, exact: Any) -> float:
    return float(abs(mpf(float(got)) - exact) / abs(exact)) if exact else abs(float(got))


def check_local(run: Any, a: float, b: float, offset: float) -> None:
    tensors = [ONE * z for z in (offset, a, b)]
    with mpmath.workdps(references.DIGITS):
        t = mpmath.log(mpf(a) / mpf(b)) + mpf(offset)
    exact = references.reference(t, a, b)
    for precise, bound in ((True, 1e-13), (False, 2e-9)):
        local = run(beta_local)(*tensors, precise)
        for got, log_mass in ((local.log_below, exact.log_below), (local.log_above, exact.log_above)):
            scale = max(1.0, abs(log_mass) / 100)  # no double holds more digits of far tails
            assert abs(mpmath.expm1(mpf(float(got)) - log_mass)) < bound * scale or error_of(got, log_mass) < bound
        for got, slope in zip(local.slopes, exact.slopes, strict=True):
            assert error_of(got, slope) < bound
        if precise:
            aa, ab, bb = exact.curves
            for got, curve, size in zip(local.curves, (aa, ab, bb), (aa, mpmath.sqrt(abs(aa * bb)), bb), strict=True):
                assert abs(mpf(float(got)) - curve) < 2e-11 * max(abs(curve), abs(size))


@WITH_KERNELS
@pytest.mark.parametrize(("a", "b", "offset"), POINTS)
def test_masses_and_derivatives_against_seventy_digits(run: Any, a: float, b: float, offset: float) -> None:
    check_local(run, a, b, offset)


@pytest.mark.slow
@WITH_KERNELS
def test_masses_and_derivatives_on_a_grid(run: Any) -> None:
    for a, b, offset in HARD_POINTS:
        check_local(run, a, b, offset)


# ---------------------------------------------------------------------------------------------------------- quantiles
SIZES = (1e-3, 1e-2, 0.1, 0.5, 1.0, 1.5, 2.2, 8.0, 30.0, 1e3, 1e6)
TAILS = [1e-30, 1e-16, 1e-8, 1e-3, 0.02, 0.3, 0.5]


@WITH_KERNELS
def test_quantiles_have_their_probabilities(run: Any) -> None:
    tails = torch.tensor(TAILS, dtype=F64)
    below, above = torch.cat([tails, 1 - tails]), torch.cat([1 - tails, tails])
    sizes = torch.tensor(SIZES, dtype=F64)
    a, b = sizes.view(-1, 1, 1), sizes.view(1, -1, 1)
    for precise, bound in ((True, 1e-13), (False, 2e-10)):
        offset = run(beta_quantile)(below, above, a, b, precise)
        local = run(beta_local)(offset, a, b, True)
        scale = 1 / (1 / local.below + 1 / local.above)
        gap = (local.log_below - local.log_above) - log_odds(below, above)
        size = scale + (a.log() - b.log() + offset).abs()
        assert (scale * gap / size).abs().max() < bound
    assert ((beta_start(below, above, a, b) - offset) / size).abs().max() < 1  # two steps from there converge


def test_quantiles_of_extreme_probabilities_are_finite() -> None:
    sizes = torch.tensor([1e-6, 1e-3, 1.0, 1e3, 1e8], dtype=F64)
    a, b = sizes.view(-1, 1), sizes
    for p in (0.0, 5e-324, 1e-300, 1 - 2**-53, 1.0):
        value = beta.icdf(a, b, value=p * ONE)
        assert ((value > 0) & (value < 1)).all()
        if p == 5e-324:
            continue  # 1 / p is infinite
        slopes = grad(lambda *z: beta.icdf(z[0], z[1], value=z[2]).sum(), (0, 1, 2))(a, b, p * ONE)
        assert all(slope.isfinite().all() for slope in slopes)


def test_log_tails_far_beyond_the_doubles() -> None:
    """Where the probability is exp(-1e6) the logarithm has all digits: log F = a log x - log(a B) for a small x."""
    a, b, x = 2e3, 3.0, 1e-200
    exact = a * math.log(x) - float(mpmath.log(a) + references.log_beta(a, b))
    assert error_of(beta.log_cdf(ONE * a, b, value=ONE * x), mpf(exact)) < 1e-14
    assert error_of(beta.log_survival(ONE * a, b, value=ONE * (1 - 2**-53)), mpf(3 * math.log(2**-53 * 2e3))) < 0.1
    slope = grad(lambda value: beta.log_cdf(ONE * a, b, value=value))(ONE * x)
    assert error_of(slope, mpf(a) / mpf(x)) < 1e-13


def test_median_of_a_skewed_distribution_moves_the_right_way() -> None:
    a, b = torch.tensor(3.0), torch.tensor(1e6)
    by_a, by_b = grad(beta.median, (0, 1))(a, b)
    assert by_a > 0 > by_b
    torch.testing.assert_close(by_a, (beta.median(a + 0.01, b) - beta.median(a - 0.01, b)) / 0.02, rtol=1e-3, atol=0)


# -------------------------------------------------------------------------------------------------------------- draws
@pytest.mark.parametrize(("a", "b"), [(1e-3, 1e-3), (0.3, 0.7), (2.0, 5.0), (80.0, 0.2), (1e4, 3e4)])
def test_draws_follow_the_distribution(a: float, b: float) -> None:
    """The logits, since values at the ends are rounded; SciPy's cdf of the smaller of x and 1 - x has all digits."""
    logit = beta.sample_logit(random.key(11), ONE * a, b, sample_shape=4000)
    below = torch.from_numpy(scipy.stats.beta(a, b).cdf(torch.sigmoid(logit).numpy()))
    above = torch.from_numpy(scipy.stats.beta(b, a).cdf(torch.sigmoid(-logit).numpy()))
    is_far = logit < -700  # the smaller one underflows: x^a / (a B)
    scale = float(mpmath.log(a) + references.log_beta(a, b))
    below = torch.where(is_far, torch.exp(a * logit - scale), below)
    above = torch.where(logit > 700, torch.exp(-b * logit - float(mpmath.log(b) + references.log_beta(a, b))), above)
    uniform = torch.where(below < above, below, 1 - above)
    assert scipy.stats.kstest(uniform.numpy(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, F64])
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 1.0), (-3.0, -2.0)])
def test_draws_are_strictly_inside(dtype: torch.dtype, bounds: tuple[float, float]) -> None:
    sizes = torch.tensor([1e-3, 0.1, 3.0, 1e4]).to(dtype)
    low, high = (torch.tensor(bound, dtype=dtype) for bound in bounds)
    value, score = beta.rsample_and_log_prob(random.key(0), sizes.view(-1, 1), sizes, low, high, sample_shape=200)
    assert ((value > low) & (value < high)).all()
    assert score.isfinite().all()
    assert value.dtype == score.dtype == dtype
    assert beta.log_prob(sizes.view(-1, 1), sizes, low, high, value).isfinite().all()


def test_bits_do_not_depend_on_the_mode() -> None:
    a, b = torch.rand(2, 64, generator=torch.Generator().manual_seed(0)) * 5 + 0.01
    keys = random.split(random.key(5), 64)
    draws = beta.rsample(keys, a, b)
    assert torch.equal(draws, vmap(beta.rsample)(keys, a, b))
    assert torch.equal(draws, beta.sample_and_log_prob(keys, a, b)[0])
    assert torch.equal(draws[3], beta.sample(keys[3], a[3], b[3]))


@pytest.mark.slow
def test_compiled_code_draws_the_same_bits() -> None:
    a, b = torch.rand(2, 64, generator=torch.Generator().manual_seed(0)) * 5 + 0.01
    key = random.key(5)
    compiled = torch.compile(beta.rsample_logit, fullgraph=True)
    assert torch.equal(compiled(key, a, b), beta.rsample_logit(key, a, b))


def test_pairs_score_what_they_draw() -> None:
    a, b = torch.tensor([0.3, 4.0], dtype=F64), torch.tensor([0.6, 9.0], dtype=F64)
    key, bounds = random.key(2), (-1.0, 3.0)
    for draw in (beta.sample_and_log_prob, beta.rsample_and_log_prob):
        value, score = draw(key, a, b, *bounds)
        torch.testing.assert_close(score, beta.log_prob(a, b, *bounds, value), rtol=1e-12, atol=1e-12)
    for draw in (beta.sample_logit_and_log_prob, beta.rsample_logit_and_log_prob):
        logit, score = draw(key, a, b, *bounds)
        torch.testing.assert_close(score, beta.log_prob_logit(a, b, *bounds, logit), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(beta.from_logit(logit, *bounds), beta.sample(key, a, b, *bounds))

    def scored(verb: Any, *params: Tensor) -> Tensor:
        return verb(key, *params)[1].sum()

    params = (a, b, ONE * -1, ONE * 3)
    constant = beta.sample(key, *params)
    slopes = grad(lambda *p: beta.log_prob(*p, constant).sum(), (0, 1, 2, 3))(*params)
    for got, exact in zip(
        grad(lambda *p: scored(beta.sample_and_log_prob, *p), (0, 1, 2, 3))(*params), slopes, strict=True
    ):
        torch.testing.assert_close(got, exact, rtol=1e-10, atol=1e-12)


def test_logits_keep_the_digits_that_values_lose() -> None:
    key, a = random.key(0), torch.full((1000,), 1e-3)
    logit, score = beta.sample_logit_and_log_prob(key, a, 1e-3)
    assert logit.unique().numel() > 990
    torch.testing.assert_close(score, beta.log_prob_logit(a, 1e-3, 0.0, 1.0, logit), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        beta.to_logit(torch.tensor([0.25, 0.0, 1.0]), 0.0, 1.0), torch.tensor([-math.log(3), -math.inf, math.inf])
    )


def test_count_of_operations_of_a_draw_with_gradient() -> None:
    class Counter(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            Counter.count += 1
            return func(*args, **(kwargs or {}))

    a, b = (torch.full((3,), z, requires_grad=True) for z in (2.0, 3.0))
    with Counter():
        torch.autograd.grad(beta.rsample(random.key(0), a, b).sum(), (a, b))
    assert Counter.count < 200


# ------------------------------------------------------------------------------------------- density and divergences
@pytest.mark.parametrize("a", [1e-3, 0.5, 1.0, 40.0, 1e6])
@pytest.mark.parametrize("b", [1e-3, 1.0, 3.0, 1e6])
def test_entropy_density_and_divergence_against_seventy_digits(a: float, b: float) -> None:
    with mpmath.workdps(references.DIGITS):
        exact = references.entropy(a, b)
        assert abs(float(beta.entropy(ONE * a, b)) - exact) < 2e-15 * (1 + abs(exact))
        for x in (0.3, a / (a + b)):
            if 0 < x < 1:
                exact = references.density(mpf(x), mpf(a), mpf(b))
                assert abs(float(beta.log_prob(ONE * a, b, value=ONE * x)) - exact) < 1e-14 * (1 + abs(exact))
        for c, d in (
            (a * (1 + 1e-4), b * (1 + 1e-4)),
            (a * (1 - 1e-9), b * (1 + 1e-9)),
            (2 * a, b / 2),
            (a / 100, b * 3),
        ):
            p, q = beta.Params(ONE * a, ONE * b), beta.Params(ONE * c, ONE * d)
            assert error_of(beta.kl(p, q), references.divergence(a, b, c, d)) < 2e-12


def test_divergence_of_equals_is_zero_and_of_missed_supports_infinite() -> None:
    p = beta.Params(ONE * 0.3, ONE * 1e6, -ONE, ONE)
    assert beta.kl(p, p) == 0
    assert beta.kl(p, p._replace(low=-0.5 * ONE)) == math.inf
    longer = p._replace(low=-2 * ONE, high=1.5 * ONE)
    assert 0 < beta.kl(p, longer) < math.inf
    assert beta.kl(longer, p) == math.inf


@pytest.mark.parametrize("bounds", [(-0.5, 1.0), (-1e-6, 1.0), (-3.0, 4.0)])
def test_divergence_for_longer_bounds_against_quadrature(bounds: tuple[float, float]) -> None:
    low, high = bounds
    a, b, c, d = 0.7, 2.5, 1.8, 0.6

    def integrand(x: Any) -> Any:
        share = (x - low) / (high - low)
        q = references.density(share, c, d) - mpmath.log(high - low)
        p = references.density(x, a, b)
        return mpmath.exp(p) * (p - q)

    with mpmath.workdps(30):
        exact = mpmath.quad(integrand, [0, mpf("1e-9"), mpf("1e-4"), 0.5, 1])
    got = beta.kl(beta.Params(ONE * a, ONE * b), beta.Params(ONE * c, ONE * d, ONE * low, ONE * high))
    assert error_of(got, exact) < 1e-6  # of the quadrature, at the ends


def test_shim_and_pytorch_agree() -> None:
    a, b = torch.tensor([0.5, 3.0]), torch.tensor([2.0, 4.0])
    ours, theirs = distributions.wrap(beta, a, b), Beta(a, b)
    value = torch.tensor([0.2, 0.9])
    for name in ("mean", "variance"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name))
    torch.testing.assert_close(ours.log_prob(value), theirs.log_prob(value))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    other = Beta(b, a)
    for left, right in ((ours, other), (theirs, distributions.wrap(beta, b, a))):
        torch.testing.assert_close(kl_divergence(left, right), kl_divergence(theirs, other), rtol=1e-4, atol=1e-5)
    assert ours.rsample().shape == (2,)


# --------------------------------------------------------------------------------------------------------------- ends
def test_modes_and_ends() -> None:
    a = torch.tensor([2.0, 0.5, 1.0, 0.5, 3.0, 1.0, 2.0])
    b = torch.tensor([4.0, 0.7, 1.0, 0.5, 1.0, 2.0, 0.5])
    modes = beta.mode(a, b, -1.0, 1.0)
    assert modes.tolist()[0] == -0.5
    assert modes.tolist()[2] == 0
    assert (modes[[1, 5]] + 1).abs().max() < 1e-6
    assert (modes[[3, 4, 6]] - 1).abs().max() < 1e-6
    assert (modes.abs() < 1).all()
    ends = torch.tensor([-1.0, 1.0, -2.0, 5.0, math.inf])
    assert (beta.log_prob(ONE.float() * 2, 0.5, -1.0, 1.0, ends) == -math.inf).all()
    assert beta.cdf(ONE.float(), 2.0, -1.0, 1.0, ends).tolist() == [0, 1, 0, 1, 1]
    assert beta.survival(ONE.float(), 2.0, -1.0, 1.0, ends).tolist() == [1, 0, 1, 0, 0]
    slopes = vmap(grad(lambda *z: beta.log_prob(*z), (0, 1, 2, 3, 4)), (None,) * 4 + (0,))(
        *(torch.tensor(z) for z in (2.0, 0.5, -1.0, 1.0)), ends
    )
    assert all((slope == 0).all() for slope in slopes)


def test_nan_and_invalid_parameters() -> None:
    nan = torch.tensor(math.nan)
    for params in ((nan, 1.0, 0.0, 1.0), (1.0, nan, 0.0, 1.0), (1.0, 1.0, nan, 1.0), (1.0, 1.0, 0.0, nan)):
        assert beta.log_prob(*params, value=0.5).isnan()
        assert beta.cdf(*params, value=0.5).isnan()
        assert beta.rsample(random.key(0), *params).isnan()
        assert beta.rsample_logit(random.key(0), *params).isnan()
    assert beta.icdf(ONE, 2.0, value=ONE * 1.5).isnan()
    with pytest.raises(ValueError, match="concentration1 must be positive"):
        beta.check(torch.tensor([-1.0]), 1.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="low must leave a number"):
        beta.check(torch.tensor([1.0]), 1.0, 1.0, 1.0)


def test_second_derivatives_pass_through_draws() -> None:
    def loss(params: Tensor) -> Tensor:
        value, score = beta.rsample_and_log_prob(random.key(1), params[0], params[1], sample_shape=3)
        return (value.square() + score).sum()

    params = torch.tensor([1.7, 0.6], dtype=F64)
    got, step = hessian(loss)(params), 1e-5
    for i in range(2):
        unit = torch.eye(2, dtype=F64)[i] * step
        differences = (grad(loss)(params + unit) - grad(loss)(params - unit)) / (2 * step)
        torch.testing.assert_close(got[i], differences, rtol=1e-7, atol=1e-7)
