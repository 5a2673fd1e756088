"""Families that combinators make: what the laws do not say."""

import inspect
import math

import mpmath
import pytest
import torch
from torch import Tensor
from torch.func import jvp

from functional_dists import (
    bijectors,
    bind,
    categorical,
    clipped,
    greedy,
    independent,
    logistic,
    masked_categorical,
    masked_event,
    mixture,
    mixture_of,
    normal,
    one_hot,
    quantized,
    random,
    repeated,
    softened,
    tanh_normal,
    transformed,
    truncated,
    truncated_normal,
    with_uniform,
)
from functional_dists.family import verbs

FLOAT = torch.float64
KEY = random.key(3)
mpmath.mp.dps = 50


def of_generator(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# --------------------------------------------------------------------------------------------------------- transformed
def test_a_normal_in_an_interval_is_tanh_normal() -> None:
    """Draws and quantiles bit for bit, scores to 2 ulp; of a pair to 2 ulp of its larger summand."""
    family = transformed(independent(normal), bijectors.interval)
    params = 2 * of_generator(1000, 6), of_generator(1000, 6, seed=1).exp(), -2.0, 3.0
    value = tanh_normal.sample(KEY, *params)
    assert torch.equal(family.sample(KEY, *params), value)
    eps = torch.finfo(torch.float32).eps
    wanted = tanh_normal.log_prob(*params, value, event_dims=0)
    assert ((family.log_prob(*params, value, event_dims=0) - wanted).abs() <= 2 * eps * wanted.abs()).all()
    for verb in ("sample_and_log_prob", "rsample_and_log_prob"):
        drawn, score = getattr(family, verb)(KEY, *params, event_dims=0)
        assert torch.equal(drawn, value)
        exact = getattr(tanh_normal, verb)(KEY, *params, event_dims=0)[1]
        before = normal.log_prob(*params[:2], family.sample_pre(KEY, *params))
        assert ((score - exact).abs() <= 2 * eps * torch.maximum(before.abs(), exact.abs()).clamp(min=1)).all()
    probability = torch.rand(1000, 6, generator=torch.Generator().manual_seed(2))
    assert torch.equal(family.icdf(*params, probability), tanh_normal.icdf(*params, probability))


def test_a_decreasing_bijector_swaps_the_tails() -> None:
    family = transformed(normal, bijectors.affine)
    loc, scale, shift, factor = (torch.tensor(x, dtype=FLOAT) for x in (0.3, 2.0, 1.0, -0.5))
    value = torch.tensor([-3.0, 0.2, 30.0], dtype=FLOAT)
    params = loc, scale, shift, factor
    for verb in ("cdf", "log_cdf", "survival", "log_survival", "log_prob"):
        wanted = getattr(normal, verb)(shift + factor * loc, scale * factor.abs(), value)
        torch.testing.assert_close(getattr(family, verb)(*params, value), wanted, rtol=1e-13, atol=0.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_inside_the_interval(dtype: torch.dtype) -> None:
    family = transformed(normal, bijectors.interval)
    params = torch.full((100,), 9.0, dtype=dtype), torch.full((100,), 4.0, dtype=dtype), -1.0, 1.0
    assert (family.sample(KEY, *params).abs() < 1).all()
    assert (family.sample_and_log_prob(KEY, *params)[0].abs() < 1).all()


def test_score_function_gradients_by_the_bijector() -> None:
    """The gradient of a pair's score is that of the log-prob of a constant value."""
    family = transformed(normal, bijectors.affine)
    params = tuple(torch.tensor(x, dtype=FLOAT, requires_grad=True) for x in (0.3, 2.0, 1.0, -0.5))
    value, score = family.sample_and_log_prob(KEY, *params)
    got = torch.autograd.grad(score, params)
    wanted = torch.autograd.grad(family.log_prob(*params, value), params)
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


def test_divergences_broadcast() -> None:
    family = transformed(normal, bijectors.exp)
    p, q = family.Params(torch.zeros(4, 1), 1.0), family.Params(torch.ones(3), 2.0)
    assert torch.equal(family.kl(p, q), normal.kl(tuple(p), tuple(q)))


def test_what_cannot_be_transformed() -> None:
    with pytest.raises(TypeError, match="must be continuous"):
        transformed(categorical, bijectors.exp)
    with pytest.raises(TypeError, match="takes bijectors"):
        transformed(normal, normal)
    family = transformed(independent(normal), bijectors.simplex)
    with pytest.raises(ValueError, match="must be at least 1"):
        family.log_prob(torch.zeros(2), 1.0, torch.full((3,), 1 / 3), event_dims=0)


# ------------------------------------------------------------------------------------------------------------ mixture
def test_the_path_of_a_vector_keeps_each_conditional_cdf() -> None:
    family = mixture(independent(normal))
    logits, loc, scale = of_generator(3), of_generator(3, 2, seed=1), of_generator(3, 2, seed=2).exp()
    logits, loc, scale = logits.double(), loc.double(), scale.double()

    def conditional_cdfs(*params: Tensor) -> Tensor:
        x = family.rsample(KEY, *params, sample_shape=20)[:, None]
        weights = params[0].softmax(-1) * torch.ones(20, 1, dtype=FLOAT)
        rows = []
        for i in range(2):
            own = params[1][:, i], params[2][:, i]
            rows.append((weights * normal.cdf(*own, x[..., i].expand(20, 3))).sum(-1) / weights.sum(-1))
            weights = weights * normal.log_prob(*own, x[..., i].expand(20, 3)).exp()
        return torch.stack(rows)

    directions = tuple(of_generator(*t.shape, seed=5).double() for t in (logits, loc, scale))
    change = jvp(conditional_cdfs, (logits, loc, scale), directions)[1]
    torch.testing.assert_close(change, torch.zeros_like(change), rtol=0.0, atol=1e-9)


def test_pathwise_gradients_of_a_mixture_are_right_on_average() -> None:
    """d/dt E f(x) against the derivative of the exact mean of x^2."""
    family = mixture(normal)
    params = torch.tensor([0.3, -0.4]).double(), torch.tensor([-1.0, 1.5]).double(), torch.tensor([0.5, 0.8]).double()
    directions = tuple(torch.tensor(d).double() for d in ([1.0, -0.5], [0.3, 0.7], [0.2, -0.1]))
    change = jvp(lambda *p: family.rsample(KEY, *p, sample_shape=40_000).square(), params, directions)[1]
    exact = jvp(lambda *p: family.variance(*p) + family.mean(*p).square(), params, directions)[1]
    assert (change.mean() - exact).abs() < 4 * change.std() / 200


def test_components_far_apart() -> None:
    """Quantiles, modes and entropies where one component is a thousandth as wide as another, or far away."""
    family = mixture(normal)
    logits, loc = torch.zeros(2).double(), torch.tensor([0.0, 0.5]).double()
    scale = torch.tensor([1.0, 1e-3], dtype=FLOAT)
    for probability in (1e-12, 0.3, 0.5, 0.84, 1 - 1e-12):
        x = family.icdf(logits, loc, scale, torch.tensor(probability, dtype=FLOAT))
        assert abs(family.cdf(logits, loc, scale, x).item() / probability - 1) < 1e-9
    assert abs(family.mode(logits, loc, scale).item() - 0.5) < 1e-6

    def integrand(x: mpmath.mpf) -> mpmath.mpf:
        p = (mpmath.npdf(x, 0, 1) + mpmath.npdf(x, 0.5, 0.001)) / 2
        return -p * mpmath.log(p)

    marks = [-12, -4, 0, 0.49, 0.495, 0.5, 0.505, 0.51, 1, 4, 12]
    wanted = float(mpmath.quad(integrand, marks))
    assert abs(family.entropy(logits, loc, scale).item() - wanted) < 1e-11
    far = torch.tensor([0.0, 1e6]).double()
    torch.testing.assert_close(
        family.entropy(logits, far, torch.ones(2).double()),
        normal.entropy(far, 1.0)[0] + math.log(2),
        rtol=1e-12,
        atol=0.0,
    )


def test_mixtures_as_families() -> None:
    family = one_hot(mixture(categorical))
    assert family.sample(KEY, torch.zeros(4, 2), torch.zeros(4, 2, 5)).shape == (4, 5)
    sixth = mixture(tanh_normal)
    value = sixth.sample(KEY, torch.zeros(7, 3), torch.zeros(7, 3, 6), 1.0, sample_shape=2)
    assert value.shape == (2, 7, 6)
    assert sixth.log_prob(torch.zeros(7, 3), torch.zeros(7, 3, 6), 1.0, -1.0, 1.0, value).shape == (2, 7)
    assert (
        sixth.responsibilities(torch.zeros(7, 3), torch.zeros(7, 3, 6), 1.0, -1.0, 1.0, value)
        .sum(-1)
        .allclose(torch.ones(()))
    )
    with pytest.raises(ValueError, match="must have an axis of components"):
        mixture(normal).log_prob(torch.tensor(0.0), 0.0, 1.0, 0.5)
    with pytest.raises(ValueError, match="last axis of 2 components"):
        mixture_of(normal, logistic).log_prob(torch.zeros(3), 0.0, 1.0, 0.0, 1.0, 0.5)
    with pytest.raises(TypeError, match="same kind of values"):
        mixture_of(normal, tanh_normal)
    with pytest.raises(ValueError, match="mixing_logits must give a component a weight"):
        mixture(normal).check(torch.full((2,), -math.inf), torch.zeros(2), 1.0)
    with pytest.raises(ValueError, match="scale must be positive"):
        mixture(normal).check(torch.zeros(2), torch.zeros(2), -1.0)


def test_a_component_without_weight_counts_for_nothing() -> None:
    logits = torch.tensor([0.0, -math.inf], dtype=FLOAT, requires_grad=True)
    loc = torch.tensor([0.0, 5.0], dtype=FLOAT, requires_grad=True)
    score = mixture(normal).log_prob(logits, loc, 1.0, torch.tensor(0.5))
    score.backward()
    torch.testing.assert_close(score.detach(), normal.log_prob(loc[0].detach(), 1.0, 0.5))
    by_logits, by_loc = logits.grad, loc.grad
    assert by_logits is not None
    assert by_loc is not None
    assert by_loc[1] == 0
    assert by_logits.isfinite().all()


# ---------------------------------------------------------------------------------------------------------- intervals
INTERVALS = [(-1.0, 2.0), (0.2, math.inf), (-math.inf, 9.0), (3.0, 3.5), (30.0, 31.0), (-38.0, -37.0)]
INTERVALS += [(0.1, 0.1 + 1e-9), (5.0, math.inf)]


@pytest.mark.parametrize(("low", "high"), INTERVALS)
def test_truncated_normals_are_the_same(low: float, high: float) -> None:
    params = torch.tensor([0.2], dtype=FLOAT), torch.tensor([1.3], dtype=FLOAT), low, high
    family = truncated(normal)
    probability = torch.tensor([0.001, 0.4, 0.999], dtype=FLOAT)[:, None]
    x = truncated_normal.icdf(*params, probability)
    torch.testing.assert_close(family.icdf(*params, probability), x, rtol=1e-13, atol=1e-15)
    score = truncated_normal.log_prob(*params, x, event_dims=0)
    torch.testing.assert_close(family.log_prob(*params, x, event_dims=0), score, rtol=1e-11, atol=1e-11)
    for verb in ("log_cdf", "log_survival"):
        wanted = getattr(truncated_normal, verb)(*params, x)
        torch.testing.assert_close(getattr(family, verb)(*params, x), wanted, rtol=2e-7, atol=1e-11)
    for verb in ("mean", "variance", "mode"):
        wanted = getattr(truncated_normal, verb)(*params)
        torch.testing.assert_close(getattr(family, verb)(*params), wanted, rtol=1e-9, atol=1e-11)


def test_clipped_normals_have_atoms() -> None:
    family, params = clipped(normal), (torch.tensor(0.3, dtype=FLOAT), 2.0, -1.0, 1.5)
    value = torch.tensor([-1.0, 0.2, 1.5, 1.6], dtype=FLOAT)
    z = [(b - 0.3) / 2 for b in (-1.0, 1.5)]
    wanted = [mpmath.log(mpmath.ncdf(z[0])), mpmath.log(mpmath.npdf(0.2, 0.3, 2)), mpmath.log(1 - mpmath.ncdf(z[1]))]
    torch.testing.assert_close(
        family.log_prob(*params, value)[:3], torch.tensor([float(w) for w in wanted], dtype=FLOAT)
    )
    assert family.log_prob(*params, value)[3] == -math.inf
    assert family.cdf(*params, value)[2] == 1
    draws = family.sample(KEY, *params, sample_shape=1000)
    assert draws.amin() == -1
    assert draws.amax() == 1.5
    half_open = family.mean(torch.tensor(0.0, dtype=FLOAT), 1.0, 0.0, math.inf)
    torch.testing.assert_close(half_open, torch.tensor(1 / math.sqrt(2 * math.pi), dtype=FLOAT), rtol=1e-10, atol=0.0)


def test_the_discretised_logistic() -> None:
    """Pixels 0, ..., 255: differences of sigmoids, and the tails at the ends (Salimans et al., 2017)."""
    loc, scale = torch.tensor(200.0, dtype=FLOAT), torch.tensor(3.0, dtype=FLOAT)
    value = torch.arange(256)
    score = quantized(logistic).log_prob(loc, scale, 0.0, 255.0, value)
    torch.testing.assert_close(score.exp().sum(), torch.ones((), dtype=FLOAT), rtol=1e-13, atol=0.0)

    def sigmoid(x: mpmath.mpf) -> mpmath.mpf:
        return 1 / (1 + mpmath.exp(-x))

    wanted = [sigmoid((k + 0.5 - 200) / 3) - sigmoid((k - 0.5 - 200) / 3) for k in range(1, 255)]
    torch.testing.assert_close(
        score[1:-1], torch.tensor([float(mpmath.log(w)) for w in wanted], dtype=FLOAT), rtol=1e-13, atol=1e-13
    )
    assert quantized(logistic).sample(KEY, loc, scale, 0.0, 255.0).dtype == torch.int64
    assert quantized(logistic).log_prob(loc, scale, 0.0, 255.0, torch.tensor([0.5, -1.0, 256.0])).eq(-math.inf).all()


def test_what_cannot_be_limited() -> None:
    for combinator in (truncated, clipped, quantized):
        with pytest.raises(TypeError, match="must be continuous"):
            combinator(categorical)
    with pytest.raises(ValueError, match="low must be below high"):
        truncated(normal).check(torch.zeros(2), 1.0, torch.tensor([0.0, 2.0]), 1.0)
    with pytest.raises(ValueError, match="low must be an integer"):
        quantized(normal).check(torch.zeros(2), 1.0, 0.5, 3.0)


# ------------------------------------------------------------------------------------------------------------- tables
def test_unimix_and_epsilon_greedy() -> None:
    logits = torch.tensor([[1.0, 3.0, 3.0, -math.inf]])
    mask = torch.tensor([[True, True, False, True]])
    unimix = with_uniform(masked_categorical, 0.1)
    wanted = 0.9 * masked_categorical.probs(logits, mask) + 0.1 * mask / 3
    torch.testing.assert_close(unimix.probs(logits, mask), wanted)
    player = with_uniform(greedy(categorical), 0.2)
    torch.testing.assert_close(player.probs(logits), torch.tensor([[0.05, 0.45, 0.45, 0.05]]))
    assert torch.equal(greedy(categorical).mode(logits), torch.tensor([1]))
    torch.testing.assert_close(softened(categorical, 0.5).probs(logits), categorical.probs(2 * logits))
    assert one_hot(unimix).sample(KEY, logits, mask).shape == (1, 4)
    for epsilon in (0.0, 1.0):
        own = with_uniform(categorical, epsilon)
        other = categorical.probs(logits) if epsilon == 0 else torch.full((1, 4), 0.25)
        torch.testing.assert_close(own.probs(logits), other)


def test_numbers_of_table_combinators_are_checked() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        with_uniform(categorical, 1.5)
    with pytest.raises(ValueError, match="positive and finite"):
        softened(categorical, 0.0)
    for make in (greedy, lambda family: with_uniform(family, 0.1), lambda family: softened(family, 2.0)):
        with pytest.raises(TypeError, match="must be a discrete family"):
            make(normal)


# ----------------------------------------------------------------------------------------------- repeats and padding
def test_repeated_values_are_independent() -> None:
    family = repeated(independent(normal), 3)
    loc = torch.zeros(4, 2)
    value, score = family.sample_and_log_prob(KEY, loc, 1.0, sample_shape=5)
    assert value.shape == (5, 4, 3, 2)
    assert score.shape == (5, 4)
    torch.testing.assert_close(score, normal.log_prob(torch.zeros(5, 4, 3, 2), 1.0, value).sum((-1, -2)))
    torch.testing.assert_close(family.log_prob(loc, 1.0, value), score)
    with pytest.raises(ValueError, match="at least 1"):
        repeated(normal, 0)


def test_padding_counts_for_nothing() -> None:
    """Whatever the padding holds, also in the gradients."""
    mask = torch.tensor([[True, True, False], [True, False, False]])
    loc = torch.zeros(2, 3, requires_grad=True)
    value = torch.tensor([[0.3, 0.2, math.nan], [0.1, math.inf, -math.inf]])
    family = independent(masked_event(normal))
    score = family.log_prob(loc, 1.0, mask, value)
    wanted = torch.where(mask, normal.log_prob(0.0, 1.0, torch.where(mask, value, 0.0)), 0.0).sum(-1)
    torch.testing.assert_close(score, wanted)
    score.sum().backward()
    assert loc.grad is not None
    torch.testing.assert_close(loc.grad, torch.where(mask, value, 0.0))
    drawn, pair = family.sample_and_log_prob(KEY, loc.detach(), 1.0, mask)
    assert (drawn[~mask] == 0).all()
    torch.testing.assert_close(pair, family.log_prob(loc.detach(), 1.0, mask, drawn))
    tokens = masked_event(categorical)
    padded = tokens.log_prob(torch.zeros(2, 3, 4), mask, torch.full((2, 3), -100).where(~mask, 1))
    torch.testing.assert_close(padded, torch.where(mask, -math.log(4.0), 0.0))


def test_combinators_of_events_nest() -> None:
    """Each adds its axes to the event, whatever made the family that it gets."""
    loc = torch.zeros(4)
    twice = repeated(repeated(normal, 2), 3)
    value, score = twice.sample_and_log_prob(KEY, loc, 1.0, sample_shape=5)
    assert value.shape == (5, 4, 3, 2)
    torch.testing.assert_close(score, normal.log_prob(torch.zeros(5, 4, 3, 2), 1.0, value).sum((-1, -2)))
    rows = repeated(independent(mixture(normal)), 2)
    value, score = rows.sample_and_log_prob(KEY, torch.zeros(4, 3, 2), torch.zeros(4, 3, 2), 1.0)
    assert value.shape == (4, 2, 3)
    torch.testing.assert_close(score, normal.log_prob(torch.zeros(4, 2, 3), 1.0, value).sum((-1, -2)))
    mixed = mixture(repeated(normal, 2))
    value, score = mixed.sample_and_log_prob(KEY, torch.zeros(4, 3), torch.zeros(4, 3), 1.0)
    assert value.shape == (4, 2)
    torch.testing.assert_close(score, normal.log_prob(torch.zeros(4, 2), 1.0, value).sum(-1))
    mask = torch.tensor([True, False, True, True])
    padded = masked_event(repeated(normal, 2))
    value, score = padded.sample_and_log_prob(KEY, loc, 1.0, mask)
    torch.testing.assert_close(score, torch.where(mask, normal.log_prob(torch.zeros(4, 2), 1.0, value).sum(-1), 0.0))
    dice = mixture(repeated(categorical, 2))
    value, score = dice.sample_and_log_prob(KEY, torch.zeros(4, 3), torch.zeros(4, 3, 6))
    assert value.shape == (4, 2)
    torch.testing.assert_close(score, torch.full((4,), -2 * math.log(6)))
    moved = transformed(repeated(normal, 2), bijectors.exp)
    value, score = moved.sample_and_log_prob(KEY, loc, 1.0)
    torch.testing.assert_close(
        score, transformed(independent(normal), bijectors.exp).log_prob(torch.zeros(4, 2), 1.0, value)
    )


def test_bound_families_combine() -> None:
    torque = bind(tanh_normal, low=-2.0, high=2.0, event_dims=0)
    family = mixture(torque)
    assert family.Params._fields == ("mixing_logits", "loc", "scale")
    assert family.icdf(torch.zeros(2), torch.zeros(2), 1.0, 0.5).abs() < 1e-6


# ------------------------------------------------------------------------------------------------------------- nesting
def test_an_interval_of_an_interval_is_their_overlap() -> None:
    """Every verb is that of the family truncated once, to the bit."""
    twice, once = verbs(truncated(truncated(logistic))), verbs(truncated(logistic))
    loc, scale = of_generator(5).double(), of_generator(5, seed=1).double().exp()
    low, high, low_2, high_2 = -3.0, torch.linspace(0.5, 4, 5).double(), torch.linspace(-4, -1, 5).double(), 2.5
    overlap = torch.clamp(low_2, min=low), torch.clamp(high, max=high_2)
    value = torch.tensor([-2.0, 0.0, 0.4, 2.0, 2.6]).double()
    assert sorted(twice) == sorted(once)
    for name in sorted({*once} - {"check", "support"}):
        first = (KEY,) if "sample" in name else ()
        last = (value,) if "value" in inspect.signature(once[name]).parameters else ()
        last = (torch.sigmoid(value),) if name == "icdf" else last
        got = twice[name](*first, loc, scale, low, high, low_2, high_2, *last)
        torch.testing.assert_close(got, once[name](*first, loc, scale, *overlap, *last), rtol=0, atol=0)


def test_a_moved_mixture_has_the_cdf_of_the_mixture() -> None:
    params = of_generator(4, 3).double(), of_generator(4, 3, seed=1).double(), 0.3
    family, y = transformed(mixture(normal), bijectors.exp), torch.tensor([0.2, 1.0, 2.0, 7.0]).double()
    for name in ("cdf", "log_cdf", "survival", "log_survival"):
        assert torch.equal(getattr(family, name)(*params, y), getattr(mixture(normal), name)(*params, y.log()))
    p = torch.tensor([1e-9, 0.2, 0.7, 0.999]).double()
    torch.testing.assert_close(family.cdf(*params, family.icdf(*params, p)), p, rtol=1e-12, atol=0)


def test_different_families_with_rows_are_refused() -> None:
    spline = transformed(normal, bijectors.rational_quadratic_spline)
    with pytest.raises(TypeError, match="are rows; mix one such family with itself by `mixture`"):
        mixture_of(spline, normal)
