"""Draws follow the cdf, and densities, entropies and moments belong to it."""

import math

import pytest
import scipy.stats
import torch
from mpmath import mp

from functional_dists import normal, random, tanh_normal
from tests.families import BY_NAME, CONTINUOUS, EVENT, IN_MODES, call_of


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("source", ["key", "generator"])
def test_samples_follow_the_cdf(name: str, source: str) -> None:
    family = BY_NAME[name].family
    parameters = call_of(name, "mean").tensors
    key = random.key(2024) if source == "key" else torch.Generator().manual_seed(2024)
    drawn = family.sample(key, *parameters, sample_shape=(20_000,))
    uniform = family.cdf(*parameters, drawn).numpy()
    for i in range(EVENT):
        assert scipy.stats.kstest(uniform[:, i], "uniform").pvalue > 1e-3


@pytest.mark.parametrize("name", CONTINUOUS)
def test_lanes_of_different_keys_are_independent(name: str) -> None:
    family = BY_NAME[name].family
    parameters = call_of(name, "mean").tensors
    keys = random.split(random.key(11), 4000)
    drawn = torch.func.vmap(lambda key: family.sample(key, *parameters))(keys)
    ranks = family.cdf(*parameters, drawn)
    bound = 4 / math.sqrt(len(keys))
    between_elements = torch.corrcoef(ranks.T) - torch.eye(EVENT, dtype=ranks.dtype)
    assert between_elements.abs().max() < bound
    assert abs(torch.corrcoef(torch.stack([ranks[:-1, 0], ranks[1:, 0]]))[0, 1]) < bound


@pytest.mark.parametrize("name", CONTINUOUS)
def test_density_is_the_reference(name: str) -> None:
    row = BY_NAME[name]
    *parameters, value = call_of(name, "log_prob").tensors
    got = row.family.log_prob(*parameters, value, event_dims=0)
    with mp.workdps(30):
        wanted = [float(row.mp_log_density(*(mp.mpf(t[i].item()) for t in (value, *parameters)))) for i in range(EVENT)]
    torch.testing.assert_close(got, torch.tensor(wanted, dtype=got.dtype), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_density_is_the_slope_of_the_cdf(name: str) -> None:
    family = BY_NAME[name].family
    *parameters, value = call_of(name, "cdf").tensors
    slope = torch.func.grad(lambda value: family.cdf(*parameters, value).sum())(value)
    torch.testing.assert_close(slope.log(), family.log_prob(*parameters, value, event_dims=0))


@pytest.mark.parametrize("name", CONTINUOUS)
def test_cdf_survival_and_quantile_agree(name: str) -> None:
    family = BY_NAME[name].family
    *parameters, value = call_of(name, "cdf").tensors
    cdf, survival = family.cdf(*parameters, value), family.survival(*parameters, value)
    torch.testing.assert_close(cdf + survival, torch.ones_like(cdf))
    torch.testing.assert_close(family.log_cdf(*parameters, value), cdf.log())
    torch.testing.assert_close(family.log_survival(*parameters, value), survival.log())
    torch.testing.assert_close(family.icdf(*parameters, cdf), value)
    torch.testing.assert_close(family.icdf(*parameters, torch.full_like(cdf, 0.5)), family.median(*parameters))


@pytest.mark.parametrize("name", CONTINUOUS)
def test_moments_and_entropy_are_integrals_over_the_quantiles(name: str) -> None:
    """E f(X) = E f(icdf(Phi(Z))), by the trapezoidal rule in Z: another rule than the families' own."""
    family = BY_NAME[name].family
    parameters = call_of(name, "mean").tensors
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64)[:, None]
    weight = torch.exp(normal.log_prob(torch.zeros_like(z), 1.0, z)) * (z[1] - z[0])
    value = family.icdf(*parameters, normal.cdf(torch.zeros_like(z), 1.0, z).expand(-1, EVENT))
    mean = (weight * value).sum(0)
    variance = (weight * (value - mean).square()).sum(0)
    surprise = -family.log_prob(*parameters, value, event_dims=0)
    torch.testing.assert_close(family.mean(*parameters), mean, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(family.variance(*parameters), variance, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(family.stddev(*parameters), variance.sqrt(), rtol=1e-8, atol=1e-8)
    entropy = (weight * surprise).sum(0)
    torch.testing.assert_close(family.entropy(*parameters, event_dims=0), entropy, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_kl_is_the_mean_log_ratio(name: str) -> None:
    family = BY_NAME[name].family
    parameters = call_of(name, "mean").tensors
    other = [parameters[0] + 0.3, parameters[1] * 1.2, *parameters[2:]]
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64)[:, None]
    weight = torch.exp(normal.log_prob(torch.zeros_like(z), 1.0, z)) * (z[1] - z[0])
    value = family.icdf(*parameters, normal.cdf(torch.zeros_like(z), 1.0, z).expand(-1, EVENT))
    ratio = family.log_prob(*parameters, value, event_dims=0) - family.log_prob(*other, value, event_dims=0)
    p, q = family.Params(*parameters), family.Params(*other)
    torch.testing.assert_close(family.kl(p, q, event_dims=0), (weight * ratio).sum(0), rtol=1e-6, atol=1e-6)
    assert (family.kl(p, p, event_dims=0) == 0).all()


@pytest.mark.parametrize("name", CONTINUOUS)
def test_mode_is_the_largest_density(name: str) -> None:
    family = BY_NAME[name].family
    parameters = call_of(name, "mean").tensors
    mode = family.mode(*parameters)
    grid = family.icdf(*parameters, torch.linspace(1e-6, 1 - 1e-6, 10_001, dtype=torch.float64)[:, None].expand(-1, 3))
    highest = family.log_prob(*parameters, grid, event_dims=0).max(0).values
    assert (family.log_prob(*parameters, mode, event_dims=0) >= highest - 1e-12).all()


# ---------------------------------------------------------------------------------------------------------- tanh_normal
BOUNDS = [(-1.0, 1.0), (-2.0, 3.0), (1000.0, 1001.0), (0.0, 1e-3)]


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
@pytest.mark.parametrize(("mode", "dtype"), IN_MODES, ids=str)
def test_tanh_normal_values_lie_strictly_inside(bounds: tuple[float, float], mode: str, dtype: torch.dtype) -> None:
    low, high = (torch.tensor(bound, dtype=dtype) for bound in bounds)
    loc = torch.tensor([-1e4, -50.0, -9.0, 0.0, 9.0, 50.0, 1e4], dtype=dtype).repeat(3)
    scale = torch.tensor([1e-3, 1.0, 100.0], dtype=dtype).repeat_interleave(7)
    if not torch.nextafter(low, high) < high:
        with pytest.raises(ValueError, match="low must leave a number"):
            tanh_normal.check(loc, scale, low, high)
        return

    def values(loc: torch.Tensor, scale: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> list[torch.Tensor]:
        parameters = (loc, scale, low, high)
        drawn, log_prob = tanh_normal.sample_and_log_prob(random.key(1), *parameters, sample_shape=(50,))
        assert log_prob.shape == (50,)
        return [drawn, tanh_normal.deterministic(*parameters), tanh_normal.squash(loc, low, high)]

    if mode == "eager":
        others = [tanh_normal.mode(loc, scale, low, high), tanh_normal.mean(loc, scale, low, high)]
        drawn = [*values(loc, scale, low, high), *others]
    else:
        torch._dynamo.reset()
        drawn = torch.compile(values, fullgraph=True)(loc, scale, low, high)
    for value in drawn:
        assert ((value > low) & (value < high)).all()


def test_tanh_normal_no_number_between_the_bounds() -> None:
    with pytest.raises(ValueError, match="low must leave a number between itself and high"):
        tanh_normal.check(torch.zeros(1, dtype=torch.bfloat16), 1.0, 1000.0, 1001.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_tanh_normal_log_prob_at_the_bounds(dtype: torch.dtype) -> None:
    low, high = torch.tensor(-1.0, dtype=dtype), torch.tensor(1.0, dtype=dtype)
    next_to_high, next_to_low = torch.nextafter(high, low), torch.nextafter(low, high)
    outside = torch.tensor([-math.inf, -1.5, -1.0, 1.0, 1.5, math.inf], dtype=dtype)
    zero, one = torch.zeros((), dtype=dtype), torch.ones((), dtype=dtype)
    assert (tanh_normal.log_prob(zero, one, low, high, outside) == -math.inf).all()
    with mp.workdps(40):
        x = mp.atanh(mp.mpf(next_to_high.item()))
        wanted = float(mp.log(mp.npdf(x)) - mp.log(mp.sech(x) ** 2))
    for value in (next_to_low, next_to_high):
        assert tanh_normal.log_prob(zero, one, low, high, value).item() == pytest.approx(wanted, rel=1e-6)
    gradients = torch.func.grad(
        lambda *arguments: tanh_normal.log_prob(*arguments).sum().nan_to_num(neginf=0.0), argnums=(0, 1, 2, 3, 4)
    )(zero, one, low, high, outside)
    assert all((gradient == 0).all() for gradient in gradients)


def test_tanh_normal_density_of_the_last_float_below_one() -> None:
    """-20.26 where clamped implementations give -14.07."""
    log_prob = tanh_normal.log_prob(torch.zeros(()), 1.0, -1.0, 1.0, torch.tensor(0.9999999))
    with mp.workdps(30):
        y = mp.mpf(torch.tensor(0.9999999).item())
        wanted = float(mp.log(mp.npdf(mp.atanh(y))) - mp.log(1 - y * y))
    assert log_prob.item() == pytest.approx(wanted, rel=1e-6)
    assert wanted == pytest.approx(-20.26, abs=0.01)


def test_tanh_normal_stored_pretanh_value_scores_exactly() -> None:
    parameters = (torch.tensor([10.0]), torch.tensor([0.1]), torch.tensor(-1.0), torch.tensor(1.0))
    key = random.key(3)
    pre = tanh_normal.sample_pretanh(key, *parameters)
    value, log_prob = tanh_normal.sample_and_log_prob(key, *parameters)
    assert torch.equal(tanh_normal.squash(pre, *parameters[2:]), value)
    torch.testing.assert_close(tanh_normal.log_prob_pretanh(*parameters, pre), log_prob)


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
def test_tanh_normal_squash_and_unsquash_are_inverse(bounds: tuple[float, float]) -> None:
    low, high = (torch.tensor(bound, dtype=torch.float64) for bound in bounds)
    pre = torch.linspace(-5, 5, 41, dtype=torch.float64)
    # (1000, 1001) leaves 1e-13 of the interval between two floats; near its ends that is what remains.
    resolution = 2e-16 * max(abs(bounds[0]), abs(bounds[1])) / (bounds[1] - bounds[0])
    got = tanh_normal.unsquash(tanh_normal.squash(pre, low, high), low, high)
    assert ((got - pre).abs() <= 4 * resolution * torch.cosh(pre) ** 2 + 1e-14).all()


def test_tanh_normal_ties_and_peaks_of_the_mode() -> None:
    scale = torch.tensor([0.3, 0.7, 1.0, 3.0], dtype=torch.float64)
    mode = tanh_normal.mode(torch.zeros(4, dtype=torch.float64), scale, -1.0, 1.0)
    assert (mode[:2] == 0).all()
    assert (mode[2:] > 0.9).all()
    lower = tanh_normal.mode(torch.full((4,), -1e-3, dtype=torch.float64), scale, -1.0, 1.0)
    assert (lower[2:] < -0.9).all()


def test_tanh_normal_kl_of_other_bounds() -> None:
    p = tanh_normal.Params(torch.zeros(3), 1.0, low=torch.tensor([-1.0, -2.0, -0.5]), high=1.0)
    q = tanh_normal.Params(torch.zeros(3), 1.0)
    divergence = tanh_normal.kl(p, q, event_dims=0)
    assert divergence[0] == 0
    assert divergence[1] == math.inf
    assert 0 < divergence[2] < math.inf
    gradient = torch.func.grad(lambda loc: tanh_normal.kl(p._replace(loc=loc), q, event_dims=0)[:2].sum())(p.loc)
    assert (gradient == 0).all()
