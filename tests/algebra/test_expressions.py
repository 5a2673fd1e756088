"""Laws for families made of families: for expressions that hypothesis draws from a grammar of combinators.

`tests/algebra/expressions.py` has the grammar, and the definition of each expression as a plain formula.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import grad, jvp, vmap

from functional_dists import (
    bernoulli,
    bijectors,
    clipped,
    independent,
    mixture_of,
    normal,
    poisson,
    quantized,
    random,
    repeated,
    transformed,
    truncated,
)
from tests.algebra.case import Call, Case, call_of, parts, verbs_of
from tests.algebra.expressions import Expression, Numbers, anything, clipped_lines, finite, lines
from tests.algebra.test_laws import close, total

FLOAT = torch.float64
SEEDS = st.integers(0, 2**31)
COUNTS = pytest.mark.parametrize("count", [1, pytest.param(3, marks=pytest.mark.slow)])
SLOW_COUNTS = pytest.mark.parametrize("count", [pytest.param(1, marks=pytest.mark.slow)])  # seconds an example
#: Verbs of a leaf that its combinations have not: the tanh of a tanh-normal, and its kin.
_OF_A_LEAF = ("inside", "log_prob_pretanh", "sample_pretanh", "squash", "unsquash")
_PROBABILITIES = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98)


def hold(law: Callable[..., None], expressions: st.SearchStrategy[Expression], examples: int) -> None:
    """Check a law on that many expressions, the same ones in every run."""
    given_some = given(expression=expressions, seed=SEEDS)(law)
    checks = (HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large)
    settings(
        deadline=None,
        max_examples=examples,
        derandomize=True,
        database=None,
        phases=(Phase.generate,),  # smaller examples would take minutes to find
        suppress_health_check=checks,
    )(given_some)()


def params_of(expression: Expression, seed: int, shape: tuple[int, ...] = (2,)) -> list[Tensor]:
    return expression.make(Numbers(seed), shape)


def grid(*batch: int, at: tuple[float, ...] = _PROBABILITIES) -> Tensor:
    return torch.tensor(at, dtype=FLOAT).reshape(-1, *[1] * len(batch)).expand(-1, *batch)


def draws(expression: Expression, params: list[Tensor], *sample_shape: int) -> Tensor:
    return expression.family.sample(random.key(5), *params, sample_shape=sample_shape)


def case_of(expression: Expression, seed: int) -> Case:
    params = params_of(expression, seed)
    fields = expression.family.Params._fields
    return Case(
        repr(expression), expression.family, dict(zip(fields, params, strict=True)), draws(expression, params).detach()
    )


def verbs_in(case: Case) -> list[str]:
    return [verb for verb in verbs_of(case) if verb not in _OF_A_LEAF]


def options_of(expression: Expression) -> dict[str, int]:
    return {"event_dims": 0} if expression.has_elements and not expression.event else {}


# ------------------------------------------------------------------------------------------------------- all families
@COUNTS
def test_scores_are_those_of_the_definition(count: int) -> None:
    """Draws lie in the support, and their scores are what a plain formula gives."""

    def law(expression: Expression, seed: int) -> None:
        params = params_of(expression, seed)
        value = draws(expression, params, 5)
        score = expression.family.log_prob(*params, value, **options_of(expression))
        assert score.shape == (5, 2)
        assert value.shape[:2] == (5, 2)
        assert value.ndim == 2 + expression.event
        assert score.isfinite().all()
        close(score, expression.score(params, value), rtol=1e-6, atol=1e-6)
        if hasattr(expression.family, "support"):
            options = options_of(expression)
            assert expression.family.support(*params, **options).check(value).all()

    hold(law, anything(), 16 * count)


@COUNTS
def test_pairs_and_paths_are_draws(count: int) -> None:
    """`rsample` and the pairs give what `sample` gives, with its score, also for a batch of keys."""

    def law(expression: Expression, seed: int) -> None:
        family, params, key = expression.family, params_of(expression, seed), random.key(seed)
        drawn = family.sample(key, *params, sample_shape=3)
        for name in ("rsample", "sample_and_log_prob", "rsample_and_log_prob"):
            if not hasattr(family, name):
                continue
            result = getattr(family, name)(key, *params, sample_shape=3)
            value, *score = parts(result)
            assert value.to(drawn.dtype).equal(drawn)
            if score:
                close(score[0], family.log_prob(*params, drawn), rtol=1e-6, atol=1e-6)
        keys = random.split(key, 2)
        one_by_one = [family.sample(keys[i], *(tensor[i] for tensor in params)) for i in (0, 1)]
        close(family.sample(keys, *params), torch.stack(one_by_one), rtol=1e-13, atol=0.0)

    hold(law, anything(), 12 * count)


@COUNTS
def test_vmap_is_a_loop(count: int) -> None:
    def law(expression: Expression, seed: int) -> None:
        case = case_of(expression, seed)
        for verb in verbs_in(case):
            call = call_of(case, verb)
            lanes = [call.function(*(tensor[i] for tensor in call.tensors)) for i in (0, 1)]
            stacked = [torch.stack(pair) for pair in zip(*map(parts, lanes), strict=True)]
            for got, wanted in zip(parts(vmap(call.function)(*call.tensors)), stacked, strict=True):
                torch.testing.assert_close(
                    got, wanted, rtol=1e-11, atol=1e-13, equal_nan=True, msg=lambda m, verb=verb: f"{verb}: {m}"
                )

    hold(law, anything(), 3 * count)


@pytest.mark.parametrize("count", [1])
def test_derivatives(count: int) -> None:
    """Reverse mode, forward mode and differences agree for scores; all gradients are finite."""

    def law(expression: Expression, seed: int) -> None:
        if "derivatives" in expression.lacks:
            return
        case = case_of(expression, seed)
        for verb in verbs_in(case):
            call = call_of(case, verb)
            function, real = total(call), tuple(call.tensors[i] for i in call.real)
            slopes = grad(function, argnums=tuple(range(len(real))))(*real)
            assert all(slope.isfinite().all() for slope in slopes), verb
            if verb not in ("log_prob", "cdf", "log_survival", "entropy"):
                continue
            directions = tuple(Numbers(seed).between(-1, 1, tuple(tensor.shape)) for tensor in real)
            forward = jvp(function, real, directions)[1]
            reverse = sum((slope * direction).sum() for slope, direction in zip(slopes, directions, strict=True))
            close(forward, reverse, rtol=1e-8, atol=1e-9)
            if verb == "log_prob" and expression.is_smooth and not expression.has_atoms:
                size = 1e-6
                ends = [
                    function(*(t + side * size * d for t, d in zip(real, directions, strict=True))) for side in (1, -1)
                ]
                close((ends[0] - ends[1]) / (2 * size), forward, rtol=1e-4, atol=1e-4)

    hold(law, anything(), 4 * count)


@COUNTS
def test_divergences(count: int) -> None:
    """They are positive, 0 of equal distributions, and those that a sum over outcomes gives."""

    def law(expression: Expression, seed: int) -> None:
        family = expression.family
        if not hasattr(family, "kl"):
            return
        p = params_of(expression, seed)
        moved = params_of(expression, seed + 1)
        close(family.kl(family.Params(*p), family.Params(*p)), torch.zeros(2, dtype=FLOAT), rtol=0.0, atol=1e-12)
        q = [
            b if name in ("loc", "scale", "rate", "logits") else a
            for name, a, b in zip(family.Params._fields, p, moved, strict=True)
        ]
        divergence = family.kl(family.Params(*p), family.Params(*q))
        assert divergence.shape == (2,)
        assert (divergence >= 0).all()
        if expression.outcomes is not None:
            for i in (0, 1):
                of_p, of_q = [tensor[i] for tensor in p], [tensor[i] for tensor in q]
                values = expression.outcomes(of_p)
                scores = [expression.score(lane, values) for lane in (of_p, of_q)]
                terms = torch.where(scores[0] == -torch.inf, 0.0, scores[0].exp() * (scores[0] - scores[1]))
                close(divergence[i], terms.sum(), rtol=1e-9, atol=1e-9)
        elif expression.is_smooth and not expression.event and not expression.is_heavy and (p[0] != q[0]).any():
            # The mean of the difference of the scores over draws, to four standard errors.
            values = draws(expression, p, 4000)
            gap = family.log_prob(*p, values) - family.log_prob(*q, values)
            assert ((gap.mean(0) - divergence).abs() <= 5 * gap.std(0) / math.sqrt(4000) + 1e-9).all()

    hold(law, anything(), 12 * count)


@SLOW_COUNTS
def test_nan_gives_nan(count: int) -> None:
    def law(expression: Expression, seed: int) -> None:
        if "nan" in expression.lacks:
            return
        case = case_of(expression, seed)
        for verb in verbs_in(case):
            call = call_of(case, verb)
            for i in call.real:
                tensors = list(call.tensors)
                tensors[i] = torch.full_like(tensors[i], math.nan)
                for result in parts(call.function(*tensors)):
                    assert not result.is_floating_point() or result.isnan().all(), (verb, i)

    hold(law, anything(), 4 * count)


@COUNTS
def test_single_precision_is_double_precision_rounded(count: int) -> None:
    """Of the scores and the points, at parameters and values that float32 holds exactly."""

    def law(expression: Expression, seed: int) -> None:
        narrow = [t.float() if t.is_floating_point() else t for t in params_of(expression, seed)]
        wide = [t.double() if t.is_floating_point() else t for t in narrow]
        family = expression.family
        value = draws(expression, narrow, 3)
        as_double = value.double() if value.is_floating_point() else value
        got, wanted = family.log_prob(*narrow, value), family.log_prob(*wide, as_double)
        assert got.dtype == torch.float32
        close(got.double(), wanted, rtol=1e-5, atol=1e-5)
        for name in ("entropy", "deterministic", "median"):
            if hasattr(family, name):
                got, wanted = getattr(family, name)(*narrow), getattr(family, name)(*wide)
                close(got.double(), wanted.double(), rtol=1e-4, atol=1e-4)

    hold(law, anything(), 10 * count)


@SLOW_COUNTS
def test_compiled_code_is_eager_code(count: int) -> None:
    def law(expression: Expression, seed: int) -> None:
        case = case_of(expression, seed)
        calls = {verb: call_of(case, verb) for verb in verbs_in(case)}

        def run_all(tensors: dict[str, list[Any]]) -> dict[str, Any]:
            results = {verb: call.function(*tensors[verb]) for verb, call in calls.items()}
            call = calls["log_prob"]
            of_real = total(Call(call.function, tensors["log_prob"]))
            results["slope"] = grad(of_real)(*(tensors["log_prob"][i] for i in call.real))
            return results

        tensors = {verb: call.tensors for verb, call in calls.items()}
        torch._dynamo.reset()
        compiled = torch.compile(run_all, fullgraph=True, backend="eager")(tensors)
        for verb, wanted in run_all(tensors).items():
            close(compiled[verb], wanted, rtol=1e-11, atol=1e-12)

    hold(law, anything(), 3 * count)


# ------------------------------------------------------------------------------------------------- continuous numbers
@COUNTS
def test_cdf_is_that_of_the_definition(count: int) -> None:
    """At quantiles, which it inverts; its logarithm and its mirror agree with it."""

    def law(expression: Expression, seed: int) -> None:
        family, params = expression.family, params_of(expression, seed)
        p = grid(2)
        x = family.icdf(*params, p)
        assert x.shape == p.shape
        assert (x[1:] >= x[:-1]).all()
        if expression.cdf is not None:
            close(family.cdf(*params, x), expression.cdf(params, x), rtol=1e-6, atol=1e-8)
        reach = 1e-12 * (x.abs() + (x[-1] - x[0]))
        assert (family.cdf(*params, x - reach) <= p * (1 + 1e-9)).all()
        assert (family.cdf(*params, x + reach) >= p * (1 - 1e-9)).all()
        close(family.cdf(*params, x) + family.survival(*params, x), torch.ones_like(p), rtol=1e-12, atol=0.0)
        close(family.log_cdf(*params, x), family.cdf(*params, x).log(), rtol=1e-9, atol=1e-12)
        close(family.log_survival(*params, x), family.survival(*params, x).log(), rtol=1e-9, atol=1e-12)
        if hasattr(family, "median"):
            close(family.median(*params), x[3], rtol=1e-9, atol=1e-12)

    hold(law, lines(), 10 * count)


@COUNTS
def test_density_is_the_slope_of_the_cdf_and_has_the_mass_one(count: int) -> None:
    def law(expression: Expression, seed: int) -> None:
        family, params, options = expression.family, params_of(expression, seed), options_of(expression)
        x = family.icdf(*params, grid(2))
        slope = jvp(lambda v: family.cdf(*params, v), (x,), (torch.ones_like(x),))[1]
        close(family.log_prob(*params, x, **options), slope.log(), rtol=1e-6, atol=1e-6)
        marks = torch.linspace(0.01, 0.99, 50, dtype=FLOAT)
        ends = family.icdf(*params, marks[:, None].expand(-1, 2))
        node, weight = (torch.from_numpy(rule) for rule in np.polynomial.legendre.leggauss(8))
        inside = ends[:-1, None] + (ends[1:] - ends[:-1])[:, None] * (node[:, None] + 1) / 2
        density = family.log_prob(*params, inside, **options).exp()
        mass = (density * weight[:, None]).sum(1) / 2 * (ends[1:] - ends[:-1])
        error = (mass * 50 - 1).abs()
        # A panel with a kink, a jump or a gap of the support has an error.
        assert (mass.sum(0) - 0.98).abs().max() < 0.06
        assert (error > 1e-4).sum(0).max() <= 8
        assert error.flatten().sort().values[70] < 1e-6

    hold(law, lines(), 10 * count)


@COUNTS
def test_draws_follow_the_cdf_and_move_with_it(count: int) -> None:
    """Kolmogorov-Smirnov, and the pathwise gradient: the probability of a draw stays what it is."""

    def law(expression: Expression, seed: int) -> None:
        family, params, size = expression.family, params_of(expression, seed), 3000
        probability = family.cdf(*params, draws(expression, params, size)).sort(0).values
        rank = torch.arange(size, dtype=FLOAT)[:, None]
        distance = torch.maximum((rank + 1) / size - probability, probability - rank / size).amax(0)
        assert (distance * math.sqrt(size) < 2.3).all()  # one of twenty thousand is larger by chance
        directions = tuple(Numbers(seed).between(-1, 1, tuple(tensor.shape)) for tensor in params)

        def of_draw(*moved: Tensor) -> Tensor:
            return family.cdf(*moved, family.rsample(random.key(seed), *moved, sample_shape=5))

        change = jvp(of_draw, tuple(params), directions)[1]
        close(change, torch.zeros_like(change), rtol=0.0, atol=1e-6)

    hold(law, lines(), 10 * count)


@COUNTS
def test_moments_are_integrals_over_quantiles(count: int) -> None:
    """Entropy, mean and variance, for which a sum over quantiles has three digits, and two where there are jumps."""

    def law(expression: Expression, seed: int) -> None:
        family, params, options = expression.family, params_of(expression, seed), options_of(expression)
        z = torch.linspace(-6, 6, 201, dtype=FLOAT)
        weight = torch.exp(-z * z / 2) / math.sqrt(2 * math.pi) * 0.06
        tolerance = 1e-3 if expression.is_smooth else 2e-2
        x = family.icdf(*params, torch.special.ndtr(z)[:, None].expand(-1, 2))
        if hasattr(family, "entropy"):
            wanted = -(weight[:, None] * family.log_prob(*params, x, **options)).sum(0)
            close(family.entropy(*params, **options), wanted, rtol=tolerance, atol=tolerance)
        if expression.is_heavy:
            return
        mean = (weight[:, None] * x).sum(0)
        if hasattr(family, "mean"):
            close(family.mean(*params), mean, rtol=tolerance, atol=tolerance)
        if hasattr(family, "variance"):
            close(
                family.variance(*params), (weight[:, None] * (x - mean).square()).sum(0), rtol=tolerance, atol=tolerance
            )

    hold(law, lines(), 8 * count)


@COUNTS
def test_outside_the_support(count: int) -> None:
    """The density is 0 there, and its logarithm has the gradient 0."""

    def law(expression: Expression, seed: int) -> None:
        family, params, options = expression.family, params_of(expression, seed), options_of(expression)
        value = torch.tensor([-1e30, -7.0, -0.5, 0.0, 0.5, 7.0, 1e30], dtype=FLOAT)[:, None].expand(-1, 2)
        score = family.log_prob(*params, value, **options)
        inside = family.support(*params, **options).check(value)
        assert not score.isnan().any()
        assert (score[~inside] == -torch.inf).all()

        def of_all(value: Tensor, *params: Tensor) -> Tensor:
            return torch.where(inside, 0.0, family.log_prob(*params, value, **options)).clamp(min=-1.0).sum()

        assert all((slope == 0).all() for slope in grad(of_all, argnums=tuple(range(1 + len(params))))(value, *params))
        assert (family.cdf(*params, value).diff(dim=0) >= -1e-15).all()

    hold(law, lines(), 8 * count)


# ----------------------------------------------------------------------------------------------------- discrete values
@COUNTS
def test_probabilities_add_up(count: int) -> None:
    """They are those of the definition, and the frequencies of draws."""

    def law(expression: Expression, seed: int) -> None:
        family = expression.family
        params = [tensor[0] for tensor in params_of(expression, seed)]
        values = expression.outcomes(params)  # type: ignore[misc]
        scores = family.log_prob(*params, values)
        close(scores.exp(), expression.score(params, values).exp(), rtol=1e-7, atol=1e-9)
        close(scores.exp().sum(), torch.ones((), dtype=FLOAT), rtol=1e-10, atol=0.0)
        size = 5000
        drawn = family.sample(random.key(seed), *params, sample_shape=size)
        counts = torch.stack([(drawn == value).reshape(size, -1).all(1).sum() for value in values])
        assert counts.sum() == size
        spread = (size * scores.exp() * (1 - scores.exp())).sqrt()
        assert ((counts - size * scores.exp()).abs() <= 4.5 * spread + 2).all()
        if hasattr(family, "cdf"):
            cumulative = family.cdf(*params, values)
            close(cumulative, scores.exp().cumsum(0), rtol=1e-9, atol=1e-12)
            if hasattr(family, "icdf"):
                is_likely = (scores[:-1] > -20) & (cumulative[:-1] < 1 - 1e-6)
                found = family.icdf(*params, cumulative[:-1] * (1 - 1e-9))
                assert (torch.where(is_likely, found, values[:-1]) == values[:-1]).all()
        if hasattr(family, "entropy"):
            terms = torch.where(scores == -torch.inf, 0.0, -scores.exp() * scores)
            close(family.entropy(*params), terms.sum(), rtol=1e-9, atol=1e-10)

    hold(law, finite(), 12 * count)


@COUNTS
def test_clipped_families_have_a_density_and_two_probabilities(count: int) -> None:
    def law(expression: Expression, seed: int) -> None:
        family, params, options = expression.family, params_of(expression, seed), options_of(expression)
        low, high = params[-2:]
        at_low, at_high = (family.log_prob(*params, end, **options).exp() for end in (low, high))
        close(family.cdf(*params, low), at_low, rtol=1e-9, atol=1e-12)
        close(family.cdf(*params, high), torch.ones_like(high), rtol=0.0, atol=0.0)
        drawn = draws(expression, params, 4000)
        for probability, end in ((at_low, low), (at_high, high)):
            frequency = (drawn == end).to(FLOAT).mean(0)
            assert (
                (frequency - probability).abs() < 4.5 * (probability * (1 - probability) / 4000).sqrt() + 1e-3
            ).all()
        middle = low + (high - low) * torch.tensor([0.2, 0.5, 0.8], dtype=FLOAT)[:, None]
        slope = jvp(lambda v: family.cdf(*params, v), (middle,), (torch.ones_like(middle),))[1]
        close(family.log_prob(*params, middle, **options), slope.log(), rtol=1e-6, atol=1e-6)

    hold(law, clipped_lines(), 12 * count)


# --------------------------------------------------------------------------------------------------- wrong arguments
WRONG = {
    "truncated: family must be continuous": lambda: truncated(poisson),
    "truncated: family must be continuous, got clipped": lambda: truncated(clipped(normal)),
    "clipped: family must be continuous": lambda: clipped(quantized(normal)),
    "quantized: family must be continuous": lambda: quantized(bernoulli),
    "transformed: family must be continuous": lambda: transformed(independent(poisson), bijectors.exp),
    "transformed: takes bijectors": lambda: transformed(normal, normal),
    "independent: family must be a family": lambda: independent(bijectors.exp),
    "mixture_of: all families must have the same kind of values": lambda: mixture_of(normal, poisson),
    "repeated: n must be an int": lambda: repeated(normal, 2.5),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_arguments(message: str) -> None:
    with pytest.raises(TypeError, match=message):
        WRONG[message]()


@pytest.mark.parametrize("family", ["laplace", "cauchy"])
def test_quantiles_have_a_slope_at_the_median(family: str) -> None:
    import functional_dists

    icdf = getattr(functional_dists, family).icdf
    zero, one = torch.zeros((), dtype=FLOAT), torch.ones((), dtype=FLOAT)
    slope = grad(icdf, argnums=2)(zero, one, torch.tensor(0.5, dtype=FLOAT))
    close(slope, torch.tensor({"laplace": 2.0, "cauchy": math.pi}[family], dtype=FLOAT), rtol=1e-12, atol=0.0)
