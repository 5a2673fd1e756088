"""What single families promise: points, one-hot vectors and their relaxation, listed outcomes, ordered outcomes."""

import math
from typing import Any

import pytest
import torch
from mpmath import mp, mpf
from scipy.stats import chisquare
from torch import Tensor
from torch.func import grad, vmap

from functional_dists import (
    bind,
    categorical,
    delta,
    divergence,
    independent_normal,
    masked_categorical,
    masked_one_hot_categorical,
    normal,
    one_hot_categorical,
    one_hot_ordinal,
    ordinal,
    random,
    sparse_categorical,
    sparse_one_hot_categorical,
    tanh_delta,
    tanh_normal,
    truncated_normal,
)

KEY = random.key(5)
LOGITS, MASK = torch.tensor([0.3, -1.1, 0.8, 0.1]), torch.tensor([True, False, True, True])


# ------------------------------------------------------------------------------------------------------------- points
def test_points_have_log_prob_0_within_the_tolerance_in_every_element() -> None:
    point = torch.tensor([1.0, 100.0])
    values = torch.tensor([[1.0, 100.0], [1.0 + 1e-6, 100.0 + 5e-5], [1.0, 100.1], [1.1, 100.0]])
    assert delta.log_prob(point, values).tolist() == [0, 0, -math.inf, -math.inf]
    assert delta.log_prob(point, values, atol=0.2).tolist() == [0, 0, 0, 0]
    assert delta.log_prob(point, torch.tensor([1, 100])).item() == 0  # integers are numbers
    assert delta.log_prob(point, torch.tensor([math.nan, 100.0])).isnan()
    gradient = grad(lambda p: delta.log_prob(p, values).clamp(min=-1).sum())(point)
    assert (gradient == 0).all()


def test_squashed_points_lie_where_the_bounds_say() -> None:
    assert tanh_delta.mode(torch.zeros(1), -2.0, 3.0).item() == 0.5
    far = tanh_delta.sample(KEY, torch.tensor([-1e4, 1e4]), 0.0, 1e-3)
    assert ((far > 0) & (far < 1e-3)).all()
    assert (
        tanh_delta.log_prob(torch.tensor([0.3, 50.0]), -2.0, 3.0, tanh_delta.mode(torch.tensor([0.3, 50.0]), -2.0, 3.0))
        == 0
    )
    slope = grad(lambda p: tanh_delta.rsample(KEY, p, -2.0, 3.0).sum())(torch.tensor([0.3]))
    torch.testing.assert_close(slope, 2.5 / torch.cosh(torch.tensor([0.3])) ** 2)
    with pytest.raises(ValueError, match="low must leave"):
        tanh_delta.check(torch.zeros(1), 1.0, 1.0)


# ------------------------------------------------------------------------------------------------------------ one-hot
ONE_HOTS = {
    "one_hot_categorical": (one_hot_categorical, categorical, (LOGITS,)),
    "masked_one_hot_categorical": (masked_one_hot_categorical, masked_categorical, (LOGITS, MASK)),
    "sparse_one_hot_categorical": (sparse_one_hot_categorical, sparse_categorical, (LOGITS, torch.tensor([3, 0, 2]))),
    "one_hot_ordinal": (one_hot_ordinal, ordinal, (LOGITS,)),
}


@pytest.mark.parametrize("name", list(ONE_HOTS))
def test_vectors_encode_the_outcomes_of_the_family_of_indices(name: str) -> None:
    family, of_indices, params = ONE_HOTS[name]
    drawn = family.sample(KEY, *params, sample_shape=(300,))
    index = of_indices.sample(KEY, *params, sample_shape=(300,))
    assert torch.equal(drawn, torch.nn.functional.one_hot(index, 4))
    torch.testing.assert_close(family.log_prob(*params, drawn), of_indices.log_prob(*params, index))
    torch.testing.assert_close(family.log_prob(*params, drawn.float()), of_indices.log_prob(*params, index))
    assert torch.equal(family.entropy(*params), of_indices.entropy(*params))
    assert torch.equal(family.mode(*params).argmax(), of_indices.mode(*params))
    mean = family.mean(*params)
    torch.testing.assert_close(mean.sum(), torch.tensor(1.0))
    torch.testing.assert_close(mean[index].log(), of_indices.log_prob(*params, index))
    torch.testing.assert_close(family.variance(*params), mean * (1 - mean))
    broken = torch.tensor([[0, 0, 0, 0], [1, 0, 1, 0], [2, 0, 0, 0], [-1, 1, 1, 0]])
    assert family.log_prob(*params, broken).eq(-math.inf).all()
    assert family.log_prob(*params, torch.tensor([0.5, 0.0, 0.5, 0.0])) == -math.inf


def test_the_mode_is_one_vector_also_at_ties() -> None:
    assert one_hot_categorical.mode(torch.tensor([1.0, 3.0, 3.0])).tolist() == [0, 1, 0]


@pytest.mark.parametrize("name", list(ONE_HOTS))
def test_straight_through_gradient_is_that_of_the_probabilities(name: str) -> None:
    family, _, params = ONE_HOTS[name]
    weight = torch.tensor([1.0, -2.0, 0.5, 3.0])
    drawn = grad(lambda table: (family.rsample(KEY, table, *params[1:]) * weight).sum())(params[0])
    of_mean = grad(lambda table: (family.mean(table, *params[1:]) * weight).sum())(params[0])
    torch.testing.assert_close(drawn, of_mean)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("name", list(ONE_HOTS))
def test_relaxed_vectors_lie_in_the_simplex_and_score_as_they_were_drawn(name: str, temperature: float) -> None:
    family, _, params = ONE_HOTS[name]
    params = (params[0].double(), *params[1:])
    options = {"gradient": "relaxed", "temperature": temperature}
    value, log_density = family.rsample_and_log_prob(KEY, *params, sample_shape=(2000,), **options)
    assert torch.equal(value, family.rsample(KEY, *params, sample_shape=(2000,), **options))
    torch.testing.assert_close(value.sum(-1), torch.ones(2000, dtype=torch.float64))
    assert (value[:, family.mean(*params) == 0] == 0).all()
    torch.testing.assert_close(family.log_prob_relaxed(*params, value, temperature=temperature), log_density)
    # The largest element is at an outcome as often as the outcome is drawn, whatever the temperature.
    winners = torch.bincount(value.argmax(-1), minlength=4)
    mean = family.mean(*params)
    assert chisquare(winners[mean > 0].numpy(), (2000 * mean[mean > 0]).numpy()).pvalue > 1e-3
    assert torch.autograd.gradcheck(
        lambda table: family.rsample(KEY, table, *params[1:], **options), params[0].clone().requires_grad_()
    )


def test_the_relaxed_density_is_a_density() -> None:
    """Of two outcomes, so that it can be integrated; at a temperature of 1 and even odds it is uniform."""
    grid = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    simplex = torch.stack([grid, 1 - grid], -1)
    for temperature in (0.7, 1.0, 3.0):
        logits = torch.tensor([0.4, -0.3], dtype=torch.float64)
        density = one_hot_categorical.log_prob_relaxed(logits, simplex, temperature=temperature).exp()
        assert density.mean().item() == pytest.approx(1.0, abs=2e-3)
    assert one_hot_categorical.log_prob_relaxed(torch.zeros(2), torch.tensor([0.7, 0.7])) == -math.inf
    outside = torch.tensor([0.2, 0.1, 0.3, 0.4])
    assert masked_one_hot_categorical.log_prob_relaxed(LOGITS, MASK, outside) == -math.inf
    with pytest.raises(ValueError, match="straight_through"):
        one_hot_categorical.rsample(KEY, LOGITS, gradient="soft")


# ------------------------------------------------------------------------------------------------------------- sparse
def test_listed_outcomes_are_the_masked_ones() -> None:
    indices = torch.tensor([[2, 0, -1], [1, 3, 2], [-1, -1, -1]])
    logits = torch.stack([LOGITS, 2 * LOGITS, LOGITS])
    mask = torch.tensor([[True, False, True, False], [False, True, True, True], [False] * 4])
    options = {"padding_value": -1}
    family = sparse_categorical
    every = torch.arange(4)[:, None].expand(4, 3)
    listed = family.log_prob(logits, indices, every, **options)
    torch.testing.assert_close(listed, masked_categorical.log_prob(logits, mask, every))
    torch.testing.assert_close(family.entropy(logits, indices, **options), masked_categorical.entropy(logits, mask))
    table = family.probs(logits, indices, **options)
    assert table.shape == (3, 3)
    torch.testing.assert_close(table[0], masked_categorical.probs(logits, mask)[0][torch.tensor([2, 0, 1])])
    drawn = family.sample(KEY, logits, indices, sample_shape=(500,), **options)
    assert (drawn[:, 2] == -1).all()
    assert {*drawn[:, 0].tolist()} == {0, 2}
    assert {*drawn[:, 1].tolist()} == {1, 2, 3}
    assert family.mode(logits, indices, **options).tolist() == [2, 2, -1]
    assert family.log_prob(logits, indices, torch.tensor(-1), **options).eq(-math.inf).all()
    with pytest.raises(ValueError, match=r"indices must list an outcome in every row; this fails at position \(2,\)"):
        family.check(logits, indices, **options)
    with pytest.raises(ValueError, match="indices must lie between 0 and N - 1"):
        family.check(logits, indices)


def test_lists_that_repeat_an_outcome_are_reported() -> None:
    twice = torch.tensor([[3, 0, -1, -1], [2, 1, 2, -1]])
    for family in (sparse_categorical, sparse_one_hot_categorical):
        with pytest.raises(ValueError, match=r"indices must be distinct in every row; this fails at position \(1,\)"):
            family.check(LOGITS, twice, padding_value=-1)
        family.check(LOGITS, twice[:1], padding_value=-1)
        family.check(LOGITS, twice[1, 1:3])


def test_divergence_of_lists() -> None:
    family, zeros = sparse_categorical, torch.zeros(3)
    first, second = family.Params(zeros, torch.tensor([0, 1])), family.Params(zeros, torch.tensor([1, 2]))
    assert family.kl(first, second) == math.inf
    padded = family.Params(zeros, torch.tensor([1, 0, -1]))
    assert family.kl(family.Params(zeros, torch.tensor([0, 1, -1])), padded, padding_value=-1) == 0
    assert family.entropy(*padded, padding_value=-1).item() == pytest.approx(math.log(2))

    def score(logits: Tensor) -> Tensor:
        p = family.Params(logits, torch.tensor([0, 1, -1]))
        return family.kl(p, padded, padding_value=-1) + family.entropy(*p, padding_value=-1)

    gradient = grad(score)(torch.tensor([0.3, -0.2, math.nan]))
    assert gradient.isfinite().all()
    assert gradient[2] == 0


# ------------------------------------------------------------------------------------------------------------ ordinal
def test_ordinal_probabilities_are_those_of_the_definition() -> None:
    scores = torch.tensor([[0.4, 0.3, -0.8, 1.2, -2.0], [3.0, -1.0, 0.1, 5.0, -7.0]], dtype=torch.float64)
    below = torch.nn.functional.logsigmoid(scores).cumsum(-1)
    above = torch.nn.functional.logsigmoid(-scores)
    above = above.flip(-1).cumsum(-1).flip(-1) - above
    torch.testing.assert_close(ordinal.normalized_logits(scores), torch.log_softmax(below + above, -1))
    table = ordinal.probs(scores)
    outcome = torch.arange(5, dtype=torch.float64)
    torch.testing.assert_close(ordinal.mean(scores), (table * outcome).sum(-1))
    torch.testing.assert_close(ordinal.variance(scores), (table * outcome**2).sum(-1) - ordinal.mean(scores) ** 2)
    torch.testing.assert_close(ordinal.stddev(scores), ordinal.variance(scores).sqrt())
    for value in range(-1, 6):
        cdf = table[:, : value + 1].sum(-1)
        torch.testing.assert_close(ordinal.cdf(scores, value), cdf)
        torch.testing.assert_close(ordinal.survival(scores, value), 1 - cdf, atol=1e-15, rtol=1e-7)
        torch.testing.assert_close(ordinal.log_cdf(scores, value).exp(), cdf)
        torch.testing.assert_close(ordinal.log_survival(scores, value).exp(), 1 - cdf, atol=1e-15, rtol=1e-7)
    for probability in (0.0, 0.01, 0.3, 0.5, 0.9, 1.0):
        quantile = ordinal.icdf(scores, torch.tensor(probability, dtype=torch.float64))
        assert (ordinal.cdf(scores, quantile) >= probability - 1e-12).all()
        assert ((quantile == 0) | (ordinal.cdf(scores, quantile - 1) < probability)).all()
    assert torch.equal(ordinal.median(scores), ordinal.icdf(scores, 0.5))


def test_far_tails_of_an_ordinal_keep_their_digits() -> None:
    scores = torch.tensor([0.0, -100.0, -100.0, -100.0])
    assert ordinal.log_prob(scores, 3).item() == pytest.approx(-300.0, rel=1e-6)
    assert ordinal.log_survival(scores, 1).item() == pytest.approx(-200.0, rel=1e-6)
    assert ordinal.log_cdf(-scores, 1).item() == pytest.approx(-200.0, rel=1e-6)


@pytest.mark.parametrize(
    ("scores", "probs"),
    [
        ([math.inf, 0.0, -math.inf], [0.5, 0.5, 0.0]),
        ([0.0, math.inf, 0.0], [0.0, 0.5, 0.5]),
        ([0.0, math.inf, -math.inf], [0.0, 1.0, 0.0]),
        ([0.0, -math.inf, 2.0], [1.0, 0.0, 0.0]),
    ],
)
def test_infinite_scores(scores: list[float], probs: list[float]) -> None:
    table = torch.tensor(scores)
    torch.testing.assert_close(ordinal.probs(table), torch.tensor(probs))
    assert ordinal.entropy(table).isfinite()
    gradient = grad(lambda s: ordinal.entropy(s) + ordinal.mean(s) + ordinal.probs(s)[0])(table)
    assert gradient.isfinite().all()
    assert torch.tensor(probs)[ordinal.sample(KEY, table, sample_shape=(50,))].gt(0).all()


# --------------------------------------------------------------------------------------------------------- divergence
def test_divergence_dispatches_on_the_families() -> None:
    p, q = (one_hot_categorical, (LOGITS,)), (one_hot_categorical, {"logits": torch.zeros(4)})
    expected = categorical.kl((LOGITS,), (torch.zeros(4),))
    assert torch.equal(divergence.kl(p, q), expected)
    with pytest.raises(NotImplementedError, match=r"categorical from .*ordinal"):
        divergence.kl((categorical, (LOGITS,)), (ordinal, (LOGITS,)))

    @divergence.register(categorical, ordinal)
    def of_tables(p: categorical.Params, q: ordinal.Params) -> Tensor:
        return categorical.kl(p, (ordinal.normalized_logits(*q),))

    assert divergence.kl((categorical, (ordinal.normalized_logits(LOGITS),)), (ordinal, (LOGITS,))).abs() < 1e-6


def test_divergence_keeps_the_options_that_are_bound() -> None:
    p, q = (torch.zeros(4, 3), torch.ones(3)), (torch.ones(3), torch.ones(3))
    torch.testing.assert_close(divergence.kl((independent_normal, p), (independent_normal, q)), torch.full((4,), 1.5))
    assert divergence.kl((independent_normal, p), (independent_normal, q), event_dims=0).shape == (4, 3)
    padded = bind(sparse_categorical, padding_value=-1)
    listed = (torch.zeros(3), torch.tensor([0, 1, -1]))
    assert divergence.kl((padded, listed), (padded, listed)) == 0


@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0, 10.0])
@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (-2.0, 1.0), (-1.0, 1.5), (-3.0, 8.0)])
def test_divergence_of_tanh_normals_with_other_bounds(scale: float, bounds: tuple[float, float]) -> None:
    p = tanh_normal.Params(torch.tensor([0.4], dtype=torch.float64), torch.tensor([scale], dtype=torch.float64))
    q = tanh_normal.Params(torch.tensor([-0.2], dtype=torch.float64), 1.3 * p.scale, *bounds)
    got = divergence.kl((tanh_normal, p), (tanh_normal, q))
    with mp.workdps(30):
        loc, s = mp.mpf(p.loc.item()), mp.mpf(p.scale.item())
        q_loc, q_scale, low, high = (mp.mpf(float(t)) for t in q)

        def integrand(z: mpf) -> mpf:
            x = loc + s * z
            below, above = 2 / (1 + mp.exp(-2 * x)), 2 / (1 + mp.exp(2 * x))
            log_p = mp.log(mp.npdf(z)) - mp.log(s) - mp.log(below * above)
            below, above = below + (-1 - low), above + (high - 1)
            pre = mp.log(below / above) / 2
            log_q = mp.log(mp.npdf(pre, q_loc, q_scale)) - mp.log(2 * below * above / (high - low))
            return mp.npdf(z) * (log_p - log_q)

        wanted = float(mp.quad(integrand, [step / mp.mpf(2) for step in range(-22, 23)]))
    assert got.item() == pytest.approx(wanted, rel=1e-12, abs=1e-14)
    assert torch.equal(tanh_normal.kl(p, q), got)
    assert torch.equal(divergence.kl((bind(tanh_normal, low=-1.0, high=1.0), p[:2]), (tanh_normal, q)), got)
    single = (tanh_normal.Params(*(torch.as_tensor(t).float() for t in side)) for side in (p, q))
    assert tanh_normal.kl(*single).item() == pytest.approx(wanted, rel=2e-6)
    assert divergence.kl((tanh_normal, q._replace(low=-9.0)), (tanh_normal, p)) == math.inf
    slopes = grad(lambda loc: divergence.kl((tanh_normal, p._replace(loc=loc)), (tanh_normal, q)))(p.loc)
    step = 1e-6
    ends = [divergence.kl((tanh_normal, p._replace(loc=p.loc + d)), (tanh_normal, q)) for d in (step, -step)]
    torch.testing.assert_close(slopes[0], (ends[0] - ends[1]) / (2 * step), rtol=1e-5, atol=1e-7)


def test_divergence_of_tanh_normals_is_one_however_the_bounds_are_given() -> None:
    """As numbers, tensors without axes, rows, or views of the same; in eager code, lanes and under grad."""
    loc, scale = torch.tensor([0.4, -1.0, 3.0]), torch.tensor([0.5, 1.0, 2.0])
    of_normals = normal.kl((loc, scale), (loc + 0.1, 2 * scale))
    for bounds in ((-2.0, 2.0), (-2, 2), torch.tensor([-2.0, 2.0]).unbind(), torch.tensor([-2.0, 2.0]).expand(3, 2).T):
        p, q = tanh_normal.Params(loc, scale, *bounds), tanh_normal.Params(loc + 0.1, 2 * scale, -2.0, 2.0)
        assert torch.equal(tanh_normal.kl(p, q, event_dims=0), of_normals)
        assert torch.equal(divergence.kl((tanh_normal, p), (tanh_normal, q), event_dims=0), of_normals)
        lanes = vmap(lambda one, p=p, q=q: tanh_normal.kl(p._replace(loc=one), q, event_dims=0))(loc.expand(2, 3))
        assert torch.equal(lanes, of_normals.expand(2, 3))
        slopes = grad(lambda one, p=p, q=q: tanh_normal.kl(p._replace(loc=one), q))(loc)
        assert torch.equal(slopes, grad(lambda one: normal.kl((one, scale), (loc + 0.1, 2 * scale)).sum())(loc))
        wider = tanh_normal.kl(p, q._replace(low=-2.5), event_dims=0)
        lanes = vmap(lambda one, p=p, q=q: tanh_normal.kl(p._replace(loc=one), q._replace(low=-2.5), event_dims=0))
        torch.testing.assert_close(lanes(loc.expand(2, 3)), wider.expand(2, 3))
        assert ((wider > 0) & wider.isfinite()).all()


def test_divergence_of_tanh_normals_that_are_close_keeps_its_digits_and_sign() -> None:
    """With p = q but for a gap at one bound it is the square of the gap, times the same, while the gap is small."""
    p = tanh_normal.Params(torch.tensor(0.4, dtype=torch.float64), 0.01, -1.0, 1.0)
    gaps = torch.tensor([1e-4, 1e-6, 1e-8], dtype=torch.float64)
    got = tanh_normal.kl(p, p._replace(low=-1 - gaps), event_dims=0) / gaps.square()
    torch.testing.assert_close(got, got[1].expand(3), rtol=2e-2, atol=0.0)
    of_bounds = torch.func.grad(lambda low: tanh_normal.kl(p, p._replace(low=low)))(-1 - gaps[0])
    torch.testing.assert_close(of_bounds, -2 * got[0] * gaps[0], rtol=2e-2, atol=0.0)


@pytest.mark.parametrize("family", [tanh_normal, truncated_normal])
def test_divergence_is_nan_for_nan_and_infinite_where_bounds_miss(family: Any) -> None:
    p = family.Params(torch.tensor([0.0, 0.2]), torch.tensor([0.5, 1.0]), -1.0, 1.0)
    for missed in (
        p._replace(low=-0.5),
        p._replace(high=0.5),
        p._replace(low=0.5, high=2.0),
        p._replace(low=5.0, high=6.0),
    ):
        assert (family.kl(p, missed, event_dims=0) == math.inf).all()
        gradients = grad(
            lambda loc, other, p=p, q=missed: family.kl(p._replace(loc=loc), q._replace(loc=other)), (0, 1)
        )
        assert all((gradient == 0).all() for gradient in gradients(p.loc, p.loc))
    for name in ("loc", "scale", "low", "high"):
        nan = p._replace(**{name: torch.tensor([math.nan, getattr(p, name) if name in ("low", "high") else 0.5])})
        for q in (p, p._replace(low=-2.0), p._replace(high=0.5)):
            assert family.kl(nan, q, event_dims=0)[0].isnan()
            assert family.kl(q, nan, event_dims=0)[0].isnan()
