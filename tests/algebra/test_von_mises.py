"""The von Mises distribution against references of 40 digits, at its ends, and in every transform."""

import math
from collections.abc import Iterator
from typing import Any

import mpmath
import pytest
import torch
from mpmath import mpf
from torch.distributions import VonMises
from torch.func import grad, hessian, vmap

from functional_dists import random, von_mises
from functional_dists.family import verbs
from functional_dists.special.von_mises import half_circle

F64 = torch.float64
# Half of them in the slow tests: references of 40 digits take their time.
CONCENTRATIONS = [
    *(0.0, 1e-3, 4.0, 1e6),
    *(pytest.param(concentration, marks=pytest.mark.slow) for concentration in (0.3, 1.0, 30.0, 1e3)),
]


@pytest.fixture(autouse=True)
def forty_digits() -> Iterator[None]:
    with mpmath.workdps(40):
        yield


def number(x: float) -> torch.Tensor:
    return torch.tensor(x, dtype=F64)


def error(got: Any, wanted: Any) -> float:
    """Return the relative error, where the reference is no smaller than floats can be."""
    return float(abs(mpf(float(got)) - wanted) / max(abs(wanted), mpf(10) ** -290))


class Exact:
    """A concentration, in mpmath."""

    def __init__(self, concentration: float) -> None:
        self.k = mpf(concentration)
        self.ratio = mpmath.besseli(1, self.k) / mpmath.besseli(0, self.k)
        self.log_total = mpmath.log(mpmath.pi * mpmath.besseli(0, self.k))

    def integral(self, angle: Any, power: int) -> Any:
        """Return the integral above an angle of the density over that there, times a power of the change of cos."""

        def relative(x: Any) -> Any:
            change = mpmath.cos(x) - mpmath.cos(angle)
            return mpmath.exp(self.k * change) * change**power

        width = 1 / mpmath.sqrt(self.k + 1)
        marks = [angle + j * width for j in (0, 1, 2, 4, 8, 14) if angle + j * width < mpmath.pi]
        return mpmath.quad(relative, [*marks, mpmath.pi])

    def log_tail(self, angle: Any) -> Any:
        """Return log P(|X| > angle)."""
        return mpmath.log(self.integral(angle, 0)) + self.k * mpmath.cos(angle) - self.log_total

    def slope(self, angle: Any) -> Any:
        """Return the derivative of the quantile by the concentration."""
        return self.integral(angle, 1) + self.integral(angle, 0) * (mpmath.cos(angle) - self.ratio)


def distances(concentration: float) -> Iterator[tuple[float, float]]:
    """Yield angles and pi less them, one of which has all digits."""
    width = 1 / math.sqrt(concentration + 1)
    for z in (1e-9, 0.3, 1.2, 4.0):
        if z * width < 1.6:
            yield z * width, math.pi - z * width
    for rest in (1.2, 1e-3, 1e-12):
        yield math.pi - rest, rest


@pytest.mark.parametrize("precise", [True, False])
@pytest.mark.parametrize("concentration", CONCENTRATIONS)
def test_quantiles_have_all_digits_at_both_ends(concentration: float, precise: bool) -> None:
    """The numbers at a point are exact, and the quantile of their masses is the point."""
    exact, half = Exact(concentration), half_circle(number(concentration))
    if not precise:
        half = half._replace(precise=False)
    bound = 1e-14 if precise else 1e-8
    for angle, rest in distances(concentration):
        point = mpmath.pi - mpf(rest) if rest < angle else mpf(angle)
        local = half.local(number(angle), number(rest))
        log_tail = exact.log_tail(point)
        assert abs(float(local.log_above) - log_tail) < bound * (1 + abs(log_tail))
        assert error(local.slopes[0], exact.slope(point)) < bound
        below, above = local.log_below.exp(), local.log_above.exp()
        if above > 1e-300 and below > 1e-300:
            found = half.quantile(below, above)
            condition = 1 - torch.minimum(local.log_below, local.log_above)
            assert abs(float(found[0]) / angle - 1) < 10 * bound * condition
            assert abs(float(found[1]) / rest - 1) < 10 * bound * condition


@pytest.mark.parametrize("concentration", CONCENTRATIONS)
def test_moments_and_their_derivatives(concentration: float) -> None:
    exact, k = Exact(concentration), number(concentration)
    ratio = exact.ratio
    slope = 1 - ratio / exact.k - ratio**2 if concentration else mpf(1) / 2
    entropy = mpmath.log(2) + exact.log_total - exact.k * ratio
    assert error(von_mises.variance(number(0.0), k), 1 - ratio) < 2e-15
    assert error(grad(lambda k: von_mises.variance(number(0.0), k))(k), -slope) < 2e-15
    assert abs(float(von_mises.entropy(number(0.0), k)) - entropy) < 2e-15 * (1 + abs(entropy))
    assert error(grad(lambda k: von_mises.entropy(number(0.0), k))(k), -exact.k * slope) < 2e-15
    with mpmath.workdps(60):
        curve = -slope - exact.k * mpmath.diff(lambda x: 1 - Exact(x).ratio / x - Exact(x).ratio ** 2, exact.k or 1e-30)
    assert error(hessian(lambda k: von_mises.entropy(number(0.0), k))(k), curve) < 1e-13


@pytest.mark.parametrize("concentration", CONCENTRATIONS[1:])
def test_divergences_of_close_distributions(concentration: float) -> None:
    with mpmath.workdps(70):
        for factor in (1 + 1e-9, 1 - 1e-3, 1.25, 1.4, 0.75, 0.5, 1e-3, 30.0):
            for shift in (0.0, 1e-9, 1.0):
                p, q = Exact(concentration), Exact(concentration * factor)
                wanted = q.log_total - p.log_total + p.ratio * (p.k - q.k * mpmath.cos(mpf(shift)))
                params = von_mises.Params(number(0.0), number(concentration))
                other = von_mises.Params(number(shift), number(concentration * factor))
                assert error(von_mises.kl(params, other), wanted) < 3e-14, (factor, shift)

                def by_concentrations(p: Any, q: Any, shift: float = shift) -> Any:
                    return von_mises.kl((number(0.0), p), (number(shift), q))

                slope = grad(by_concentrations, argnums=1)(params.concentration, other.concentration)
                assert error(slope, q.ratio - p.ratio * mpmath.cos(mpf(shift))) < 1e-12 * (1 + 1 / (shift or 1))


def test_cdf_of_angles_for_any_loc() -> None:
    """It counts from -pi, and the density is its slope also beyond the point opposite to loc."""
    for loc in (0.0, 0.4, 3.0, -2.5, 7.0, -100.0):
        for k in (0.0, 0.5, 6.0, 300.0):
            value = torch.linspace(-3.1, 3.1, 40, dtype=F64)
            params = number(loc), number(k)
            found, slope = vmap(torch.func.grad_and_value(lambda x, p=params: von_mises.cdf(*p, x)))(value)[::-1]
            density = von_mises.log_prob(*params, value).exp()
            torch.testing.assert_close(slope, density, rtol=1e-10, atol=1e-14)
            assert (found.diff() >= 0).all()
            torch.testing.assert_close(found + von_mises.survival(*params, value), torch.ones_like(found))
            inner = density > 1e-6  # elsewhere the cdf is flat
            again = von_mises.icdf(*params, found)
            torch.testing.assert_close(again[inner], value[inner], rtol=1e-6, atol=1e-6)
            ends = torch.tensor([-4.0, -math.pi, math.pi, 4.0], dtype=F64)
            torch.testing.assert_close(von_mises.cdf(*params, ends), torch.tensor([0.0, 0, 1, 1], dtype=F64))
    deep = von_mises.log_cdf(number(0.0), number(2e3), number(-3.0))
    wanted = Exact(2e3).log_tail(mpf(3.0)) - mpmath.log(2)
    assert error(deep, wanted) < 1e-14
    assert grad(lambda x: von_mises.log_cdf(number(0.0), number(2e3), x))(number(-3.0)) > 0


def test_quantiles_have_derivatives_by_all_arguments() -> None:
    for loc, k, p in ((0.0, 3.0, 0.2), (2.0, 3.0, 0.7), (-2.5, 0.7, 0.4), (1.0, 40.0, 0.5)):
        arguments = number(loc), number(k), number(p)

        def probability(*given: Any) -> Any:
            return von_mises.cdf(given[0], given[1], von_mises.icdf(*given))

        slopes = grad(probability, argnums=(0, 1, 2))(*arguments)
        torch.testing.assert_close(torch.stack(slopes), torch.tensor([0.0, 0.0, 1.0], dtype=F64), rtol=0, atol=1e-12)
        curves = hessian(lambda t: probability(*t))(torch.stack(arguments))
        torch.testing.assert_close(curves, torch.zeros(3, 3, dtype=F64), rtol=0, atol=1e-9)


def test_draws_are_angles() -> None:
    for dtype in (torch.float32, F64, torch.bfloat16):
        loc = torch.tensor([3.14, -3.14, 100.0, 0.0], dtype=dtype)
        draws = von_mises.sample(random.key(1), loc, torch.tensor(0.5, dtype=dtype), sample_shape=2000)
        assert (draws.double().abs() < math.pi).all()
        median = von_mises.icdf(loc[3:], 2.0, torch.full((1,), 0.5, dtype=dtype))
        assert abs(float(median)) < 1e-15
    keys = random.key(3)
    sharp = von_mises.rsample(keys, number(0.0), number(1e6), sample_shape=50_000)
    assert abs(float(sharp.std()) * 1e3 - 1) < 0.02


def test_the_scores_are_those_of_torch() -> None:
    loc, k = torch.tensor([0.3, -2.0], dtype=F64), torch.tensor([0.5, 20.0], dtype=F64)
    value = torch.tensor([[0.2, 2.9], [10.0, -4.0]], dtype=F64)
    torch.testing.assert_close(
        von_mises.log_prob(loc, k, value), VonMises(loc, k).log_prob(value), rtol=1e-6, atol=1e-6
    )
    torch.testing.assert_close(von_mises.variance(loc, k), VonMises(loc, k).variance, rtol=1e-6, atol=1e-6)
    assert von_mises.log_prob(loc, k, math.inf).tolist() == [-math.inf] * 2


@pytest.mark.parametrize("verb", ["sample", "rsample_and_log_prob", "cdf", "icdf", "entropy"])
def test_float32_has_the_same_bits_in_eager_code_and_vmap(verb: str) -> None:
    loc, k = torch.linspace(-3, 3, 50), torch.logspace(-2, 4, 50)
    arguments = (loc, k, torch.linspace(0.01, 0.99, 50)) if "cdf" in verb else (loc, k)
    function = verbs(von_mises)[verb]
    if "sample" in verb:
        keys = random.split(random.key(0), 50)
        whole, lanes = function(keys, *arguments), vmap(function)(keys, *arguments)
    else:
        whole, lanes = function(*arguments), vmap(function)(*arguments)
    for a, b in zip(*((x if isinstance(x, tuple) else (x,)) for x in (whole, lanes)), strict=True):
        assert torch.equal(a, b)
