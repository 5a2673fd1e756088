"""Univariate families against references of 50 digits, at the edges of their supports, and as objects."""

import math
from collections.abc import Iterator
from typing import Any

import mpmath
import pytest
import torch
from mpmath import mpf
from torch.distributions import kl_divergence
from torch.func import grad, hessian, jvp

from functional_dists import (
    bernoulli,
    beta,
    cauchy,
    distributions,
    divergence,
    exponential,
    gamma,
    geometric,
    gumbel,
    laplace,
    logistic,
    normal,
    poisson,
    random,
    uniform,
)
from functional_dists.family import verbs
from functional_dists.special import poisson as special_poisson
from tests.algebra.univariate_references import TAIL_VERBS, kl_errors, log_of, references, units, verb_errors

F64 = torch.float64
DTYPES = [torch.float32, F64]
NAMES = ("laplace", "logistic", "gumbel", "cauchy", "exponential", "uniform")
LOC_SCALE = {"laplace": laplace, "logistic": logistic, "gumbel": gumbel, "cauchy": cauchy}


@pytest.fixture(autouse=True)
def fifty_digits() -> Iterator[None]:
    with mpmath.workdps(50):
        yield


def worst(errors: Iterator[tuple[float, Any]], bound: float) -> None:
    error, where = max(errors, key=lambda found: found[0])
    assert error <= bound, where


# --------------------------------------------------------------------------------------------------------- continuous
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("verb", ["log_prob", *TAIL_VERBS, "icdf"])
@pytest.mark.parametrize("name", NAMES)
def test_values_against_fifty_digits(name: str, verb: str, dtype: torch.dtype) -> None:
    worst(verb_errors(name, verb, dtype), 0.51 if dtype == torch.float32 else 1.5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name in NAMES if name != "logistic"])
def test_divergences_against_fifty_digits(name: str, dtype: torch.dtype) -> None:
    worst(kl_errors(name, dtype), 0.51 if dtype == torch.float32 else 4.0)


@pytest.mark.parametrize("name", NAMES)
def test_entropies_against_fifty_digits(name: str) -> None:
    reference = references()[name]
    for row in ((0.5, 3.0), (0.25, 1e-30 + 0.25), (1e-30, 1e30)) if name == "uniform" else ((0.3, 1e-30), (0.3, 7.0)):
        params = [torch.tensor(p, dtype=F64) for p in (row[1:] if name == "exponential" else row)]
        if name == "uniform" and params[0] == params[1]:
            continue
        _, scale = reference.to_loc_scale(*(mpf(p.item()) for p in params))
        wanted = reference.entropy + mpmath.log(scale)
        got = float(verbs(reference.family)["entropy"](*params))
        assert units(got, wanted, abs(wanted) + abs(mpmath.log(scale)), F64) < 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [-math.inf, math.inf])
def test_infinite_values_have_no_density_and_no_gradient(name: str, value: float) -> None:
    family, x = references()[name].family, torch.tensor(value, dtype=F64)
    params = (torch.tensor(0.5, dtype=F64), torch.tensor(1.5, dtype=F64))[: len(family.Params._fields)]
    arguments, everything = (*params, x), tuple(range(len(params) + 1))
    assert family.log_prob(*arguments) == -math.inf
    assert all(slope == 0 for slope in grad(family.log_prob, argnums=everything)(*arguments))
    is_above = float(value > 0)
    assert family.cdf(*arguments) == is_above
    assert family.survival(*arguments) == 1 - is_above
    for verb in TAIL_VERBS:
        function = verbs(family)[verb]
        if function(*arguments).isfinite():
            assert all(slope == 0 for slope in grad(function, argnums=everything)(*arguments))
            tangents = tuple(torch.ones_like(t) for t in arguments)
            assert jvp(function, arguments, tangents)[1] == 0


@pytest.mark.parametrize("name", NAMES)
def test_nan_has_nan_gradients(name: str) -> None:
    family, count = references()[name].family, len(references()[name].family.Params._fields)
    params = (torch.tensor(0.5, dtype=F64), torch.tensor(1.5, dtype=F64))[:count]
    slopes = grad(family.log_prob, argnums=tuple(range(count + 1)))(*params, torch.tensor(math.nan, dtype=F64))
    assert slopes[-1].isnan()
    for verb in ("log_prob", "cdf"):
        for i in range(count):
            moved = [torch.tensor(math.nan, dtype=F64) if i == j else t for j, t in enumerate(params)]
            assert verbs(family)[verb](*moved, torch.tensor(0.7, dtype=F64)).isnan()


def test_quantiles_outside_of_probabilities_are_nan() -> None:
    p = torch.tensor([-0.1, 1.1, math.nan])
    for name in NAMES:
        family = references()[name].family
        params = (torch.zeros(3), torch.ones(3)) if name != "exponential" else (torch.ones(3),)
        assert family.icdf(*params, p).isnan().all()


def test_far_gumbel_values_overflow_without_gradient() -> None:
    for dtype, far in ((torch.float32, -89.0), (F64, -710.0)):
        zero, x = torch.zeros((), dtype=dtype), torch.tensor(far, dtype=dtype)
        for verb in ("log_prob", "log_cdf"):
            assert verbs(gumbel)[verb](zero, 1.0, x) == -math.inf
            assert grad(verbs(gumbel)[verb], argnums=2)(zero, torch.ones_like(zero), x) == 0


def test_uniform_bounds() -> None:
    low, high = torch.tensor([-1.0, 5.0]), torch.tensor([1.0, 5.0 + 2**-20])
    draws = uniform.sample(random.key(0), low, high, sample_shape=1000)
    assert uniform.support(low, high).check(draws).all()
    assert (uniform.log_prob(low, high, low) == -(high.double() - low.double()).log().float()).all()
    assert (uniform.log_prob(low, high, torch.nextafter(high, high + 1)) == -math.inf).all()
    assert grad(lambda x: uniform.log_prob(low[0], high[0], x))(torch.tensor(3.0)) == 0
    inner, outer = uniform.Params(low, high), uniform.Params(low, torch.nextafter(high, low))
    assert (uniform.kl(inner, outer) == math.inf).all()
    assert (uniform.kl(outer, inner) > 0).all()
    assert not hasattr(uniform, "mode")
    assert not hasattr(cauchy, "mean")
    assert not hasattr(logistic, "kl")


def test_second_derivatives_at_the_centre() -> None:
    """The distance |z| has a corner at 0, the logistic density has none."""
    zero, one = torch.zeros((), dtype=F64), torch.ones((), dtype=F64)
    assert math.isclose(hessian(logistic.log_prob, argnums=2)(zero, one, zero), -0.5)
    assert math.isclose(hessian(logistic.log_cdf, argnums=2)(zero, one, zero), -0.25)
    assert math.isclose(hessian(bernoulli.entropy)(zero), -0.25)


# ----------------------------------------------------------------------------------------------------------- bernoulli
LOGITS = [-800.0, -700.0, -37.0, -3.0, -1e-9, 0.0, 1e-17, 0.3, 2.0, 36.0, 690.0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_bernoulli_against_fifty_digits(dtype: torch.dtype) -> None:
    bound = 0.51 if dtype == torch.float32 else 4.0
    for number in torch.tensor(LOGITS, dtype=dtype).tolist():
        logits, exact = torch.tensor(number, dtype=dtype), mpf(number)
        one, zero = 1 / (1 + mpmath.exp(-exact)), 1 / (1 + mpmath.exp(exact))
        entropy = -one * log_of(one, zero) - zero * log_of(zero, one)
        wanted = {
            "log_prob of 1": (bernoulli.log_prob(logits, 1), log_of(one, zero)),
            "log_prob of 0": (bernoulli.log_prob(logits, 0), log_of(zero, one)),
            "probs": (bernoulli.probs(logits), one),
            "cdf": (bernoulli.cdf(logits, 0.0), zero),
            "log_survival": (bernoulli.log_survival(logits, 0.5), log_of(one, zero)),
            "entropy": (bernoulli.entropy(logits), entropy),
            "variance": (bernoulli.variance(logits), one * zero),
        }
        for verb, (got, want) in wanted.items():
            assert units(float(got), want, abs(want), dtype) <= bound, (verb, number)


def _kl_of_bernoulli(p: Any, q: Any) -> Any:
    one, zero = 1 / (1 + mpmath.exp(-p)), 1 / (1 + mpmath.exp(p))
    other_one, other_zero = 1 / (1 + mpmath.exp(-q)), 1 / (1 + mpmath.exp(q))
    return one * mpmath.log(one / other_one) + zero * mpmath.log(zero / other_zero)


def test_divergences_of_bernoulli_and_geometric_against_fifty_digits() -> None:
    mpmath.mp.dps = 400  # the reference cancels
    numbers = [-300.0, -37.0, -3.0, -1e-9, 0.0, 0.3, 2.0, 36.0, 250.0]
    for number in numbers:
        for other in [*numbers, number + 1e-12, number - 1e-5, number + 0.3, number - 0.99, number + 1.01]:
            p, q = torch.tensor(number, dtype=F64), torch.tensor(other, dtype=F64)
            wanted = _kl_of_bernoulli(mpf(number), mpf(other))
            assert units(float(bernoulli.kl((p,), (q,))), wanted, wanted, F64) <= 16, (number, other)
            wanted *= 1 + mpmath.exp(-mpf(number))
            assert units(float(geometric.kl((p,), (q,))), wanted, wanted, F64) <= 16, (number, other)
    rare = torch.tensor([-400.0, -1000.0], dtype=F64)
    wanted = [float(mpmath.exp(1) - 2)] * 2  # of two rates, exp(d) - 1 - d
    torch.testing.assert_close(geometric.kl((rare,), (rare + 1,)), torch.tensor(wanted, dtype=F64), rtol=1e-12, atol=0)


def test_certain_outcomes() -> None:
    logits = torch.tensor([math.inf, -math.inf], dtype=F64)
    assert bernoulli.sample(random.key(0), logits, sample_shape=50).float().mean(0).tolist() == [1, 0]
    assert bernoulli.log_prob(logits, torch.tensor([1.0, 1.0])).tolist() == [0, -math.inf]
    assert bernoulli.entropy(logits).tolist() == [0, 0]
    assert bernoulli.kl((logits,), (logits,)).tolist() == [0, 0]
    assert bernoulli.kl((logits,), (-logits,)).tolist() == [math.inf, math.inf]
    assert bernoulli.kl((torch.zeros(2, dtype=F64),), (logits,)).tolist() == [math.inf, math.inf]
    assert bernoulli.kl((logits,), (torch.zeros(2, dtype=F64),)).tolist() == [math.log(2)] * 2
    for verb in ("log_prob", "log_cdf", "log_survival"):
        assert grad(lambda x, v=verb: verbs(bernoulli)[v](x, 0.0).sum())(logits).isfinite().all()
    certain = logits[0]
    assert geometric.sample(random.key(0), certain) == 0
    assert geometric.entropy(certain) == 0
    assert geometric.log_prob(certain, torch.tensor([0, 1])).tolist() == [0, -math.inf]
    assert geometric.cdf(certain, torch.tensor([-1.0, 0.0])).tolist() == [0, 1]
    assert geometric.log_survival(certain, 0.0) == -math.inf


def test_straight_through_and_relaxed_values() -> None:
    key, logits = random.key(3), torch.tensor([0.4, -1.3, 2.0], dtype=F64)
    hard = bernoulli.sample(key, logits, sample_shape=2000)
    through = bernoulli.rsample(key, logits, sample_shape=2000)
    assert torch.equal(hard.to(F64), through)
    slope = grad(lambda x: bernoulli.rsample(key, x).sum())(logits)
    torch.testing.assert_close(slope, bernoulli.variance(logits))
    relaxed = bernoulli.rsample(key, logits, sample_shape=2000, gradient="relaxed", temperature=0.3)
    assert torch.equal((relaxed > 0.5).long(), hard)
    assert ((relaxed >= 0) & (relaxed <= 1)).all()
    options: dict[str, Any] = {"gradient": "relaxed", "temperature": torch.tensor([1.0, 1.3, 2.0], dtype=F64)}
    value, score = bernoulli.rsample_and_log_prob(key, logits, sample_shape=50, **options)
    again = bernoulli.log_prob_relaxed(logits, value, temperature=options["temperature"])
    torch.testing.assert_close(score, again, rtol=1e-8, atol=1e-8)
    # The density integrates to 1, by the midpoint rule in the log-odds.
    at = torch.linspace(-34, 34, 17001, dtype=F64)[:, None].expand(-1, 3)
    x = torch.sigmoid(at)
    density = bernoulli.log_prob_relaxed(logits, x, temperature=options["temperature"]).exp() * x * torch.sigmoid(-at)
    torch.testing.assert_close(density.sum(0) * 0.004, torch.ones(3, dtype=F64), rtol=1e-9, atol=0)
    assert bernoulli.log_prob_relaxed(logits, torch.full((3,), 1.5)).tolist() == [-math.inf] * 3
    with pytest.raises(ValueError, match='gradient must be "straight_through" or "relaxed"'):
        bernoulli.rsample(key, logits, gradient="hard")
    with pytest.raises(ValueError, match="temperature must be positive"):
        bernoulli.rsample(key, logits, gradient="relaxed", temperature=0.0)


# ------------------------------------------------------------------------------------------------------------- counts
@pytest.mark.parametrize("dtype", DTYPES)
def test_geometric_against_fifty_digits(dtype: torch.dtype) -> None:
    bound = 0.51 if dtype == torch.float32 else 4.0
    for number in torch.tensor([-40.0, -8.0, -1e-3, 0.0, 2.0, 37.0, 600.0], dtype=dtype).tolist():
        logits, exact = torch.tensor(number, dtype=dtype), mpf(number)
        rate, odds = mpmath.log1p(mpmath.exp(exact)), mpmath.exp(-exact)
        for count in (0, 1, 5, 1000, 10**12):
            energy = (count + 1) * rate
            below, above = -mpmath.expm1(-energy), mpmath.exp(-energy)
            wanted = {
                "log_prob": -mpmath.log1p(odds) - count * rate,
                "cdf": below,
                "survival": above,
                "log_cdf": log_of(below, above),
                "log_survival": -energy,
            }
            for verb, want in wanted.items():
                got = float(verbs(geometric)[verb](logits, torch.tensor(count)))
                condition = energy if verb in ("survival", "log_cdf") and dtype == F64 else energy * 2**-20
                assert units(got, want, abs(want) * (1 + condition), dtype) <= bound, (verb, number, count)
        entropy = mpmath.log1p(odds) + odds * rate
        assert units(float(geometric.entropy(logits)), entropy, entropy, dtype) <= bound


def test_geometric_quantiles_invert_the_cdf() -> None:
    logits = torch.tensor([-20.0, -3.0, 0.0, 4.0], dtype=F64)
    for count in (0, 1, 2, 7, 40, 1000):
        p = geometric.cdf(logits, count)
        inner = p < 1 - 1e-6
        assert (geometric.icdf(logits, p)[inner] == count).all()
        assert (geometric.icdf(logits, torch.nextafter(p, torch.ones_like(p)))[inner] == count + 1).all()
    assert geometric.icdf(logits[0], torch.tensor([-0.1, math.nan])).tolist() == [-1, -1]
    assert geometric.icdf(logits[0], 1.0) == 2**62


RATES = [1e-3, 0.3, 1.0, 7.5, 30.0, 1000.0, 1e5, 1e6]


def _poisson_tails(rate: Any, count: int) -> tuple[Any, Any, Any]:
    """Return the mass and both tails, by sums from the count outwards to where nothing is left."""
    mass = mpmath.exp(count * mpmath.log(rate) - rate - mpmath.loggamma(count + 1)) if count >= 0 else mpf(0)
    below, term, k = mass, mass, count
    while k > 0 and term > below * mpf(10) ** -40:
        term, k = term * k / rate, k - 1
        below += term
    above, k = mpf(0), count + 1
    term = mass * rate / k
    while term > above * mpf(10) ** -40:
        above += term
        k += 1
        term *= rate / k
    return mass, below if count < rate else 1 - above, above if count >= rate else 1 - below


@pytest.mark.parametrize("rate", RATES)
def test_poisson_against_fifty_digits(rate: float) -> None:
    """The unit is the last place of the result times 1 + |log P(X = k)|, as a tail is an exponential."""
    for dtype in DTYPES:
        tensor = torch.tensor(rate, dtype=dtype)
        exact = mpf(tensor.item())
        bound = 0.51 if dtype == torch.float32 else 3.0
        for z in (-30, -8, -3, -0.5, 0, 0.5, 3, 8, 30):
            count = int(max(0, rate + z * math.sqrt(rate)))
            mass, below, above = _poisson_tails(exact, count)
            wanted = {
                "log_prob": mpmath.log(mass),
                "cdf": below,
                "survival": above,
                "log_cdf": log_of(below, above),
                "log_survival": log_of(above, below),
            }
            for verb, want in wanted.items():
                got = float(verbs(poisson)[verb](tensor, torch.tensor(count)))
                condition = 1 if verb == "log_prob" else 1 - min(wanted["log_prob"], mpmath.log(min(below, above)))
                condition = condition if dtype == F64 else 1 + condition * mpf(2) ** -26
                assert units(got, want, abs(want) * condition, dtype) <= bound, (verb, rate, count)


@pytest.mark.parametrize("rate", [1e-3, 0.05, 1.0, 20.0, 99.9, 100.0, 5000.0])
def test_poisson_entropies(rate: float) -> None:
    exact, total, first = mpf(rate), mpf(0), int(max(0, rate - 25 * math.sqrt(rate)))
    for count in range(first, int(rate + 25 * math.sqrt(rate)) + 40):
        log_mass = count * mpmath.log(exact) - exact - mpmath.loggamma(count + 1)
        total -= mpmath.exp(log_mass) * log_mass
    got = float(poisson.entropy(torch.tensor(rate, dtype=F64)))
    assert units(got, total, total, F64) <= 4


def test_poisson_quantiles_are_the_first_counts_that_reach_them() -> None:
    generator = torch.Generator().manual_seed(0)
    for rate in (1e-3, 0.4, 1.0, 3.3, 20.0, 400.0, 1e6, 1e10):
        tail = torch.exp(-45 * torch.rand(300, dtype=F64, generator=generator)) / 2
        rates = torch.full_like(tail, rate)
        low = special_poisson.quantile(rates, tail, 1 - tail)
        assert (poisson.cdf(rates, low) >= tail * (1 - 1e-12)).all()
        assert (poisson.cdf(rates, low - 1) < tail * (1 + 1e-12)).all()
        high = special_poisson.quantile(rates, 1 - tail, tail)
        assert (poisson.survival(rates, high) <= tail * (1 + 1e-12)).all()
        assert (poisson.survival(rates, high - 1) > tail * (1 - 1e-12)).all()
    rates = torch.tensor([0.01, 3.0, 80.0, 1e4, 1e6], dtype=F64)
    for z in (-30, -4, -1, 0, 1, 3, 5):
        counts = (rates + z * rates.sqrt()).clamp(min=0).floor()
        probability = poisson.cdf(rates, counts)
        is_known = (probability > 1e-300) & (probability < 1 - 1e-6)
        assert (poisson.icdf(rates, probability)[is_known] == counts[is_known]).all()
    assert poisson.icdf(torch.ones(4), torch.tensor([0.0, 1.0, 1.5, math.nan])).tolist() == [0, 2**62, -1, -1]


def test_rate_0_is_the_count_0() -> None:
    zero = torch.zeros((), dtype=F64)
    counts = torch.tensor([0, 1])
    assert poisson.log_prob(zero, counts).tolist() == [0, -math.inf]
    assert poisson.cdf(zero, counts).tolist() == [1, 1]
    assert poisson.log_survival(zero, counts).tolist() == [-math.inf] * 2
    assert poisson.sample(random.key(0), zero, sample_shape=20).sum() == 0
    assert poisson.entropy(zero) == 0
    assert poisson.kl((zero,), (zero,)) == 0
    assert poisson.kl((zero,), (zero + 2,)) == 2
    assert poisson.kl((zero + 2,), (zero,)) == math.inf
    assert grad(poisson.log_prob)(zero, 0) == -1
    assert grad(poisson.log_prob)(zero, 1) == 0
    assert grad(poisson.cdf)(zero, 0) == -1


@pytest.mark.parametrize("rate", [0.7, 12.0, 1e6])
def test_divergences_of_close_poissons(rate: float) -> None:
    for other in (rate * (1 + 1e-12), rate * (1 - 1e-6), rate * 1.3, rate * 0.4, rate * 40):
        p, q = mpf(rate), mpf(other)
        wanted = p * mpmath.log(p / q) - p + q
        got = poisson.kl((torch.tensor(rate, dtype=F64),), (torch.tensor(other, dtype=F64),))
        assert units(float(got), wanted, wanted, F64) <= 4


@pytest.mark.parametrize("family", [bernoulli, poisson, geometric])
def test_values_that_are_no_counts(family: Any) -> None:
    param, values = torch.tensor(0.7, dtype=F64), torch.tensor([-1.0, 0.5, math.inf, -math.inf], dtype=F64)
    assert family.log_prob(param, values).tolist() == [-math.inf] * 4
    assert grad(lambda x: family.log_prob(x, values).sum())(param) == 0
    assert family.log_prob(param, math.nan).isnan()
    assert family.cdf(param, math.nan).isnan()
    assert grad(family.log_prob)(param, torch.tensor(math.nan, dtype=F64)).isnan()
    assert family.cdf(param, values)[[0, 2, 3]].tolist() == [0, 1, 0]
    for verb in ("log_prob", *TAIL_VERBS):
        slope = jvp(verbs(family)[verb], (param.repeat(4), values), (torch.ones(4, dtype=F64),) * 2)[1]
        assert (slope[[0, 2, 3]] == 0).all()
    assert torch.equal(family.log_prob(param, torch.tensor([True])), family.log_prob(param, torch.tensor([1.0])))


# --------------------------------------------------------------------------------------------------- pairs and objects
ONES = torch.ones(3, dtype=F64)
EXAMPLES = {
    normal: ((0.3, 1.2), (-0.2, 0.8)),
    laplace: ((-0.3, 0.7), (0.2, 1.1)),
    gumbel: ((0.1, 1.4), (0.5, 1.2)),
    logistic: ((0.1, 0.9), None),
    cauchy: ((0.0, 1.0), (0.4, 2.0)),
    exponential: ((1.7,), (0.4,)),
    beta: ((2.1, 1.3, 0.2, 2.9), (1.7, 0.9, 0.1, 3.0)),
    gamma: ((2.1, 1.3), (1.7, 0.9)),
    uniform: ((0.2, 2.9), (0.1, 3.0)),
    bernoulli: ((0.4,), (-0.2,)),
    poisson: ((3.4,), (2.0,)),
    geometric: ((0.4,), (1.0,)),
}
FINITE = [
    *((p, normal) for p in (exponential, gumbel, laplace, logistic, uniform)),
    *((p, gumbel) for p in (exponential, normal, uniform)),
    *((exponential, gamma), (gamma, exponential), (beta, uniform), (uniform, beta)),
    *((normal, laplace), (uniform, exponential), (bernoulli, poisson)),
]


def _params(family: Any, which: int = 0) -> Any:
    return family.Params(*(number * ONES for number in EXAMPLES[family][which]))


@pytest.mark.parametrize(("p", "q"), FINITE)
def test_divergences_of_two_families_against_draws(p: Any, q: Any) -> None:
    draws, score = p.sample_and_log_prob(random.key(5), *_params(p), sample_shape=20_000)
    ratio = score - q.log_prob(*_params(q), draws)
    found = divergence.kl((p, _params(p)), (q, _params(q)))
    assert ((ratio.mean(0) - found).abs() < 4.5 * ratio.std(0) / math.sqrt(20_000)).all()
    assert divergence.kl((p, _params(p)), (q, _params(q)), event_dims=1).shape == ()


def test_divergences_without_mass_are_infinite() -> None:
    for p, q in ((laplace, uniform), (normal, exponential), (exponential, uniform), (cauchy, normal)):
        assert (divergence.kl((p, _params(p)), (q, _params(q))) == math.inf).all()
    assert (divergence.kl((poisson, _params(poisson)), (bernoulli, _params(bernoulli))) == math.inf).all()
    assert (divergence.kl((uniform, (-ONES, ONES)), (exponential, (ONES,))) == math.inf).all()


@pytest.mark.parametrize("family", [family for family in EXAMPLES if family is not normal], ids=lambda f: f.__name__)
def test_objects_of_these_families(family: Any) -> None:
    params = _params(family)
    dist = distributions.wrap(family, **params._asdict(), validate_args=True)
    value = dist.sample((4,))
    assert value.shape == (4, 3)
    assert dist.log_prob(value).shape == (4, 3)
    assert torch.equal(dist.log_prob(value), family.log_prob(*params, value))
    assert torch.equal(dist.cdf(value), family.cdf(*params, value))
    assert dist.entropy().shape == (3,)
    assert torch.equal(dist.icdf(0.3 * ONES), family.icdf(*params, 0.3 * ONES))
    assert family is cauchy or torch.equal(dist.variance, family.variance(*params))
    assert dist.has_rsample == hasattr(family, "rsample")
    if EXAMPLES[family][1] is not None:
        other = distributions.wrap(family, *_params(family, 1))
        assert torch.equal(kl_divergence(dist, other), family.kl(params, _params(family, 1)))


def test_checks_name_the_parameter() -> None:
    bad = torch.tensor([1.0, math.nan])
    calls = [(family, (bad, 1.0), "loc") for family in LOC_SCALE.values()]
    calls += [(family, (1.0, -bad), "scale") for family in LOC_SCALE.values()]
    calls += [(exponential, (bad,), "rate"), (poisson, (bad,), "rate"), (bernoulli, (bad,), "logits")]
    calls += [(geometric, (bad,), "logits"), (uniform, (bad, 2.0), "low"), (uniform, (0.0, -bad), "high")]
    for family, params, name in calls:
        with pytest.raises(ValueError, match=f"^{name} must"):
            family.check(*params)
