"""The gamma distribution against references of 50 digits."""

import functools
import math
from collections.abc import Iterator
from typing import Any

import mpmath
import pytest
import torch
from mpmath import mpf
from torch.func import grad, hessian, jacrev, vmap
from torch.utils._python_dispatch import TorchDispatchMode

from functional_dists import gamma, random
from functional_dists.family import verbs
from functional_dists.special import polygamma
from functional_dists.special.gamma_density import log_ratio
from functional_dists.special.gamma_local import gamma_local
from functional_dists.special.gamma_quantile import gamma_quantile

F64 = torch.float64
CONCENTRATIONS = (1e-3, 0.1, 0.7, 1.3, 3.9, 20.0, 1e4, 1e6)
DEVIATIONS = (-8.0, -3.0, -1.0, -0.1, 0.3, 2.0, 7.0)  # of log x from its mean, in units of about its deviation


@pytest.fixture(autouse=True)
def fifty_digits() -> Iterator[None]:
    with mpmath.workdps(50):
        yield


def both(number: float) -> torch.Tensor:
    return torch.tensor(number, dtype=F64)


def masses(a: Any, x: Any) -> tuple[Any, Any]:
    """Return P(X <= x) and P(X > x); digits cancel where a is small."""
    with mpmath.workdps(60 + int(min(x, 400)) // 2):
        is_low = mpmath.log(x) < mpmath.psi(0, a)
        tail = mpmath.gammainc(a, 0, x, regularized=True) if is_low else mpmath.gammainc(a, x, regularized=True)
        return (tail, 1 - tail) if is_low else (1 - tail, tail)


def log_of(probability: Any, rest: Any) -> Any:
    return mpmath.log(probability) if probability < 0.5 else mpmath.log1p(-rest)


@functools.cache
def points() -> tuple[tuple[float, float, Any, Any, Any], ...]:
    """Return concentrations, values, the masses on both sides, and dx/da at a constant probability."""
    rows = []
    with mpmath.workdps(50):
        for a in CONCENTRATIONS:
            mean, deviation = mpmath.psi(0, mpf(a)), mpmath.sqrt(mpmath.psi(1, mpf(a)))
            for z in DEVIATIONS:
                log_x = mean + z * deviation if z < 0 else min(mean + z * deviation, mpmath.log(mpf(a) + 60 * z))
                x = float(mpmath.exp(log_x))
                if x < 1e-300:
                    continue
                exact_a, exact_x, step = mpf(a), mpf(x), mpf(a) * mpf(10) ** -20
                below, above = masses(exact_a, exact_x)
                change = [masses(exact_a + s * step, exact_x)[below > above] for s in (1, -1)]
                slope = (change[0] - change[1]) / (2 * step) * (1 if below > above else -1)
                log_density = (exact_a - 1) * mpmath.log(exact_x) - exact_x - mpmath.loggamma(exact_a)
                rows.append((a, x, below, above, slope / mpmath.exp(log_density)))
    return tuple(rows)


# ------------------------------------------------------------------------------------------------------------- tails
@pytest.mark.parametrize("verb", ["cdf", "log_cdf", "survival", "log_survival"])
def test_tails(verb: str) -> None:
    """A tail is an exponential, so that its error grows with its logarithm: 6e-14 at 1e-30."""
    a, x, *_ = zip(*points(), strict=True)
    got = verbs(gamma)[verb](torch.tensor(a, dtype=F64), 1.0, torch.tensor(x, dtype=F64)).tolist()
    for found, (a, x, below, above, _) in zip(got, points(), strict=True):
        tail, rest = (below, above) if "cdf" in verb else (above, below)
        wanted = log_of(tail, rest) if verb.startswith("log") else tail
        size = 1 - mpmath.log(min(below, above))
        assert abs(found / wanted - 1) <= 2e-15 + 9e-16 * size, (verb, a, x)


def test_tails_of_float32_are_right_to_an_ulp() -> None:
    eps = torch.finfo(torch.float32).eps
    for a, x, *_ in points():
        a, x = (torch.tensor(number, dtype=torch.float32) for number in (a, x))
        if x < 1e-30:
            continue
        wide = a.double(), both(1.0), x.double()
        for verb in ("cdf", "log_cdf", "survival", "log_survival"):
            got, wanted = verbs(gamma)[verb](a, 1.0, x), verbs(gamma)[verb](*wide)
            size = wanted.abs().clamp(min=1e-38)
            assert (got.double() - wanted).abs() <= 0.51 * eps * size, (verb, a, x)


def test_logarithms_of_tails_below_the_smallest_number() -> None:
    for a, x in ((2.0, 1e-200), (2.0, 3000.0), (1e4, 100.0), (1e4, 4e4), (0.3, 1500.0), (300.0, 1e-20)):
        below, above = masses(mpf(a), mpf(x))
        is_low = below < above
        got = gamma.log_cdf(both(a), 1.0, both(x)) if is_low else gamma.log_survival(both(a), 1.0, both(x))
        wanted = mpmath.log(below if is_low else above)
        assert wanted < -700
        assert abs(got.item() / wanted - 1) < 4e-15
        slope = grad(gamma.log_cdf if is_low else gamma.log_survival, argnums=(0, 1, 2))(both(a), both(1.0), both(x))
        assert all(s.isfinite() for s in slope)


def test_ends() -> None:
    ends = torch.tensor([-1.0, 0.0, math.inf])
    assert gamma.cdf(torch.ones(3), 1.0, ends).tolist() == [0, 0, 1]
    assert gamma.log_survival(torch.ones(3), 1.0, ends).tolist() == [0, 0, -math.inf]
    for a, at_zero in ((0.5, math.inf), (1.0, math.log(3.0)), (2.0, -math.inf)):
        score = gamma.log_prob(torch.full((3,), a), 3.0, ends)
        assert score.tolist() == [-math.inf, pytest.approx(at_zero), -math.inf]
        for slope in jacrev(gamma.log_prob, argnums=(0, 2))(torch.full((3,), a), torch.full((3,), 3.0), ends):
            assert (slope == 0).all()
    assert gamma.icdf(torch.ones(5), 1.0, torch.tensor([0.0, 1.0, -0.1, 1.1, math.nan])).tolist()[:2] == [0, math.inf]
    assert gamma.icdf(torch.ones(3), 1.0, torch.tensor([-0.1, 1.1, math.nan])).isnan().all()


# --------------------------------------------------------------------------------------------------------- quantiles
def test_quantiles_and_their_derivatives_by_the_concentration() -> None:
    rows = [row for row in points() if min(row[2], row[3]) > 1e-30]
    a, x, below, above, slopes = zip(*rows, strict=True)
    a, x = torch.tensor(a, dtype=F64), torch.tensor(x, dtype=F64)
    tails = torch.tensor([[float(p) for p in tail] for tail in (below, above)], dtype=F64)
    offset = gamma_quantile(tails[0], tails[1], a, precise=True)
    point = offset + a.log()
    exact_offset = log_ratio(x, torch.ones_like(x), a)
    local = gamma_local(exact_offset, a, precise=True)
    # One unit in the last place of the smaller probability moves the point by as much as the harmonic mean of both.
    size = point.abs() + 1 / (1 / local.below + 1 / local.above)
    assert ((point - x.log()).abs() <= 8 * 2**-53 * size).all()
    exact = local.slopes[0] * x
    wanted = torch.tensor([float(slope) for slope in slopes], dtype=F64)
    assert ((exact / wanted - 1).abs() <= 1e-13).all()
    coarse = gamma_local(exact_offset, a, precise=False).slopes[0] * x
    assert ((coarse / wanted - 1).abs() <= 1e-9).all()


def test_quantiles_far_out() -> None:
    a = torch.logspace(-3, 6, 46, dtype=F64)[:, None]
    tail = torch.logspace(-30, -0.31, 60, dtype=F64)
    for below, above in ((tail, 1 - tail), (1 - tail, tail)):
        for precise, tolerance in ((True, 2e-14), (False, 1e-9)):
            local = gamma_local(gamma_quantile(below, above, a, precise=precise), a, precise=True)
            error = (local.log_below - local.log_above) - (below.log() - above.log())
            scale = local.below * local.above / (local.below + local.above)
            scale = torch.where(scale.isfinite(), scale, torch.minimum(local.below, local.above))
            known = torch.minimum(below, above) > 2**-53  # or else its difference from 1 has no digits
            assert ((error * scale).abs()[:, known] <= tolerance * (1 + scale + a.log().abs())[:, known]).all()


def second_derivatives(function: Any, x: Any, y: Any) -> list[Any]:
    """Return the derivatives f_xx, f_xy and f_yy in mpmath."""
    h, k = x * mpf(10) ** -12, y * mpf(10) ** -12
    at = {(i, j): function(x + i * h, y + j * k) for i in (-1, 0, 1) for j in (-1, 0, 1)}
    return [
        (at[1, 0] - 2 * at[0, 0] + at[-1, 0]) / h**2,
        (at[1, 1] - at[1, -1] - at[-1, 1] + at[-1, -1]) / (4 * h * k),
        (at[0, 1] - 2 * at[0, 0] + at[0, -1]) / k**2,
    ]


@pytest.mark.parametrize(("a", "x"), [(0.05, 1e-9), (0.05, 0.4), (1.4, 0.3), (3.0, 11.0), (30.0, 20.0), (1e3, 1050.0)])
def test_second_derivatives_of_tails(a: float, x: float) -> None:
    """By the concentration and the value, which `special.implicit` carries."""
    for verb, index in (("log_cdf", 0), ("log_survival", 1)):

        def tail(a: Any, x: Any, index: int = index) -> Any:
            masses_at = masses(a, x)
            return log_of(masses_at[index], masses_at[1 - index])

        found = hessian(lambda p, verb=verb: verbs(gamma)[verb](p[0], 1.0, p[1]))(torch.tensor([a, x], dtype=F64))
        wanted = torch.tensor([float(w) for w in second_derivatives(tail, mpf(a), mpf(x))], dtype=F64)
        torch.testing.assert_close(found.flatten()[[0, 1, 3]], wanted, rtol=2e-11, atol=1e-300)
        torch.testing.assert_close(found[0, 1], found[1, 0], rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize(("a", "p"), [(0.2, 0.3), (0.2, 0.9), (1.4, 0.02), (7.0, 0.5), (200.0, 0.99)])
def test_second_derivatives_of_quantiles(a: float, p: float) -> None:
    """Those of the inverse function, from those of the cdf."""

    def cdf(a: Any, x: Any) -> Any:
        return masses(a, x)[0]

    point = torch.tensor([a, p], dtype=F64)
    x = mpf(float(gamma.icdf(point[0], 1.0, point[1])))
    x = mpmath.findroot(lambda y: cdf(mpf(a), y) - mpf(p), (x, x * (1 + mpf(10) ** -12)), tol=1e-60)
    h, k = mpf(a) * mpf(10) ** -15, x * mpf(10) ** -15
    by_a = (cdf(mpf(a) + h, x) - cdf(mpf(a) - h, x)) / (2 * h)
    by_x = (cdf(mpf(a), x + k) - cdf(mpf(a), x - k)) / (2 * k)
    f_aa, f_ax, f_xx = second_derivatives(cdf, mpf(a), x)
    slope, per_p = -by_a / by_x, 1 / by_x
    wanted = [
        -(f_aa + 2 * f_ax * slope + f_xx * slope**2) / by_x,
        -(f_ax + f_xx * slope) * per_p / by_x,
        -f_xx * per_p**2 / by_x,
    ]
    found = grad(lambda q: gamma.icdf(q[0], 1.0, q[1]))(point)
    torch.testing.assert_close(found, torch.tensor([float(slope), float(per_p)], dtype=F64), rtol=1e-12, atol=0.0)
    found = hessian(lambda q: gamma.icdf(q[0], 1.0, q[1]))(point)
    wanted = torch.tensor([float(w) for w in wanted], dtype=F64)
    torch.testing.assert_close(found.flatten()[[0, 1, 3]], wanted, rtol=1e-10, atol=0.0)


# ------------------------------------------------------------------------------------------------- density and entropy
@pytest.mark.parametrize("a", [1e-4, 0.02, 0.7, 1.4616321449683623, 9.9, 10.1, 1e3, 1e7])
def test_derivatives_of_the_logarithm_of_the_gamma_function(a: float) -> None:
    x, exact = both(a), mpf(a)
    wanted = [mpmath.psi(k, exact) for k in range(3)]
    assert abs(polygamma.log_gamma(x).item() - mpmath.loggamma(exact)) <= 1e-15 * (1 + abs(mpmath.loggamma(exact)))
    found = [polygamma.digamma(x), grad(polygamma.digamma)(x), grad(grad(polygamma.digamma))(x)]
    assert abs(found[0].item() - wanted[0]) <= 2e-15 * (1 + abs(wanted[0]))
    assert all(abs(f.item() / w - 1) < 2e-15 for f, w in zip(found[1:], wanted[1:], strict=True))
    assert abs(hessian(polygamma.log_gamma)(x).item() / wanted[1] - 1) < 2e-15
    assert abs(grad(polygamma.trigamma)(x).item() / wanted[2] - 1) < 2e-15


def test_densities() -> None:
    """The unit is that of the terms: log x, the energy, and half of log a."""
    rate = 0.7
    for a, y, *_ in points():
        x = y / rate
        exact_a, exact_x, exact_rate = mpf(a), mpf(x), mpf(rate)
        t = mpmath.log(exact_x * exact_rate)
        wanted = exact_a * t - mpmath.log(exact_x) - mpmath.exp(t) - mpmath.loggamma(exact_a)
        d = t - mpmath.log(exact_a)
        energy = exact_a * (mpmath.exp(d) - 1 - d)
        moves = exact_a * abs(mpmath.exp(d) - 1)  # what a unit of the product of rate and x changes
        size = abs(mpmath.log(exact_x)) + 1 + energy + mpmath.log(1 + exact_a) + moves
        arguments = both(a), both(rate), both(x)
        assert abs(gamma.log_prob(*arguments).item() - wanted) <= 6e-16 * size, (a, x)
        slopes = grad(gamma.log_prob, argnums=(0, 1, 2))(*arguments)
        exact = (t - mpmath.psi(0, exact_a), exact_a / exact_rate - exact_x, (exact_a - 1) / exact_x - exact_rate)
        sizes = (abs(t - mpmath.psi(0, exact_a)) + 1 / exact_a + 1, exact_a / exact_rate, (1 + exact_a) / exact_x)
        for slope, want, unit in zip(slopes, exact, sizes, strict=True):
            assert abs(slope.item() - want) <= 2e-15 * (unit + abs(want)), (a, x)
        second = hessian(lambda p: gamma.log_prob(*p))(torch.stack(arguments)).diagonal().tolist()
        exact = (-mpmath.psi(1, exact_a), -exact_a / exact_rate**2, -(exact_a - 1) / exact_x**2)
        for slope, want, unit in zip(second, exact, (0, y / exact_rate**2, (1 + y) / exact_x**2), strict=True):
            assert abs(slope - want) <= 1e-13 * (abs(want) + unit), (a, x)
        score = gamma.log_prob_log(both(a), both(rate), both(x).log()).item()
        assert abs(score - (wanted + mpmath.log(exact_x))) <= 1e-15 * (size + moves * (1 + abs(mpmath.log(exact_x))))


@pytest.mark.parametrize("a", [1e-3, 0.3, 1.0, 7.5, 1e3, 1e6])
def test_entropies(a: float) -> None:
    exact = mpf(a)
    wanted = exact + mpmath.loggamma(exact) + (1 - exact) * mpmath.psi(0, exact)
    assert abs(gamma.entropy(both(a), 1.0).item() - wanted) <= 2e-15 * (1 + abs(wanted))
    slope = 1 + (1 - exact) * mpmath.psi(1, exact)
    assert abs(grad(gamma.entropy)(both(a), both(1.0)).item() / slope - 1) <= 1e-14
    second = (1 - exact) * mpmath.psi(2, exact) - mpmath.psi(1, exact)
    assert abs(hessian(gamma.entropy)(both(a), both(1.0)).item() / second - 1) <= 1e-13


@pytest.mark.parametrize("a", [0.01, 1.0, 30.0, 1e6])
def test_divergences_keep_their_digits(a: float) -> None:
    for ratio in (1 + 1e-12, 1 + 1e-4, 0.999, 1.5, 0.3, 3.9, 4.1, 1e-4, 1e4):
        for rates in ((1.0, 1.0), (0.7, 0.7 * ratio), (2.0, 9.0)):
            p, q = (a, rates[0]), (a * ratio, rates[1])

            def divergence(a: Any, r: Any, b: Any, s: Any) -> Any:
                terms = (a - b) * mpmath.psi(0, a) - mpmath.loggamma(a) + mpmath.loggamma(b)
                return terms + b * mpmath.log(r / s) + a * (s - r) / r

            arguments = tuple(both(number) for number in (*p, *q))
            exact = [mpf(number) for number in (*p, *q)]
            wanted = divergence(*exact)
            got = gamma.kl(arguments[:2], arguments[2:])
            assert got >= 0
            # A ratio of means that rounds to 1 leaves only the divergence of the concentrations.
            size = wanted + exact[2] * mpf(2) ** -100
            assert abs(got.item() - wanted) <= 2e-15 * size + 4 * mpf(2) ** -52 * mpmath.sqrt(wanted * exact[2]), (p, q)
            slopes = grad(lambda *t: gamma.kl(t[:2], t[2:]), argnums=(0, 1, 2, 3))(*arguments)
            a_, r, b, s = exact
            by = (
                (a_ - b) * mpmath.psi(1, a_) + s / r - 1,
                (b - a_ * s / r) / r,
                mpmath.psi(0, b) - mpmath.psi(0, a_) + mpmath.log(r / s),
                a_ / r - b / s,
            )
            units = (
                1 + s / r,
                (b + a_ * s / r) / r,
                1 + abs(mpmath.log(r / s)) + abs(mpmath.psi(0, b)),
                a_ / r + b / s,
            )
            for slope, want, unit in zip(slopes, by, units, strict=True):
                assert abs(slope.item() - want) <= 4e-15 * unit + 1e-14 * abs(want), (p, q)
    same = gamma.kl((both(a), both(0.3)), (both(a), both(0.3)))
    assert same == 0


# --------------------------------------------------------------------------------------------------------------- draws
@pytest.mark.parametrize("a", [1e-3, 0.3, 2.0, 80.0, 1e4])
def test_draws_follow_the_cdf(a: float) -> None:
    """Kolmogorov-Smirnov on log x, which has all digits at small concentrations."""
    count, params = 20_000, (torch.tensor(a), torch.tensor(2.5))
    log_x = gamma.sample_log(random.key(5), *params, sample_shape=count).double()
    wide = params[0].double(), params[1].double()
    offset = log_x + wide[1].log() - wide[0].log()
    probability = gamma_local(offset, wide[0], precise=False).log_below.exp().sort().values
    rank = torch.arange(count, dtype=F64)
    distance = torch.maximum((rank + 1) / count - probability, probability - rank / count).max()
    assert distance * math.sqrt(count) < 1.95
    draws = gamma.sample(random.key(5), *params, sample_shape=count)
    assert ((draws > 0) & draws.isfinite()).all()
    is_normal = log_x > math.log(torch.finfo(torch.float32).tiny)
    torch.testing.assert_close(draws[is_normal].double().log(), log_x[is_normal], rtol=1e-6, atol=1e-6)


def test_tiny_concentrations_and_huge_ones() -> None:
    for dtype in (torch.float32, F64):
        a = torch.tensor([1e-30, 1e-10, 1e12, 1e30], dtype=dtype)
        value, score = gamma.rsample_and_log_prob(random.key(1), a, 1.0, sample_shape=20)
        assert (gamma.support(a, 1.0).check(value)).all()
        assert score.isfinite().all()
        log_value, score = gamma.rsample_log_and_log_prob(random.key(1), a, 1.0, sample_shape=20)
        assert log_value.isfinite().all()
        assert score.isfinite().all()
        slope = grad(lambda a: gamma.rsample(random.key(1), a, torch.ones_like(a), sample_shape=20).sum())(a)
        assert slope.isfinite().all()
    narrow = gamma.rsample(random.key(1), torch.tensor([1e-4, 3.0], dtype=torch.float16), 1.0, sample_shape=9)
    assert (narrow > 0).all()


def test_float32_bits_do_not_depend_on_the_mode() -> None:
    generator = torch.Generator().manual_seed(0)
    a, rate = (torch.rand((2, 300), generator=generator) * 8 - 4).exp()
    key = random.key(3)

    def pair(a: torch.Tensor, rate: torch.Tensor) -> tuple[torch.Tensor, ...]:
        value, score = gamma.rsample_and_log_prob(key, a, rate)
        return value, score, gamma.rsample_log(key, a, rate)

    wanted = pair(a, rate)
    torch._dynamo.reset()
    compiled = torch.compile(pair, backend="aot_eager", fullgraph=True)(a, rate)
    lanes = vmap(pair)(a[None], rate[None])
    for one, other, lane in zip(wanted, compiled, lanes, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one, lane[0])


class _Count(TorchDispatchMode):
    total = 0

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        self.total += 1
        return function(*arguments, **(options or {}))


def test_a_draw_and_its_gradient_take_few_operations() -> None:
    a = torch.full((4,), 2.0, requires_grad=True)
    with _Count() as count:
        gamma.rsample(random.key(0), a, 1.0).sum().backward()
    assert count.total <= 100
