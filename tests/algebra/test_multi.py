"""Families of several outcomes and of vectors: edge values, gradients, references, errors, and the shim."""

import itertools
import math
import pickle
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from torch.func import grad, hessian, vmap

from functional_dists import (
    categorical,
    distributions,
    divergence,
    empirical,
    independent,
    low_rank_normal,
    masked_categorical,
    multi_categorical,
    multivariate_normal,
    plackett_luce,
    random,
)

FLOAT = torch.float64
NVEC = (2, 4, 1, 3)
LOGITS = torch.randn(5, 10, dtype=FLOAT, generator=torch.Generator().manual_seed(0))
MASK = torch.tensor([True, True, True, False, True, True, True, False, True, True])


def parts(table: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return table.split(NVEC, -1)


# --------------------------------------------------------------------------------------------------- multi_categorical
def test_multi_categorical_is_a_loop_over_masked_categoricals() -> None:
    family = multi_categorical(NVEC)
    value = family.sample(random.key(1), LOGITS, MASK, sample_shape=7)
    each = [(a, m) for a, m in zip(parts(LOGITS), parts(MASK), strict=True)]
    scores = [masked_categorical.log_prob(*one, value[..., i]) for i, one in enumerate(each)]
    torch.testing.assert_close(family.log_prob(LOGITS, MASK, value), torch.stack(scores).sum(0), rtol=1e-14, atol=0.0)
    entropies = torch.stack([masked_categorical.entropy(*one) for one in each])
    torch.testing.assert_close(family.entropy(LOGITS, MASK), entropies.sum(0), rtol=1e-14, atol=0.0)
    for verb in ("probs", "normalized_logits"):
        loop = torch.cat([getattr(masked_categorical, verb)(*one) for one in each], -1)
        torch.testing.assert_close(getattr(family, verb)(LOGITS, MASK), loop, rtol=1e-14, atol=0.0)
    modes = torch.stack([masked_categorical.mode(*one) for one in each], -1)
    assert torch.equal(family.mode(LOGITS, MASK), modes)
    other = LOGITS.flip(0)
    divergences = [
        masked_categorical.kl((p, m), (q, m)) for p, q, m in zip(parts(LOGITS), parts(other), parts(MASK), strict=True)
    ]
    divergence = family.kl(family.Params(LOGITS, MASK), family.Params(other, MASK))
    torch.testing.assert_close(divergence, torch.stack(divergences).sum(0), rtol=1e-13, atol=0.0)


def test_multi_categorical_draws_of_equal_choices_are_those_of_independent_categoricals() -> None:
    logits = torch.randn(4, 6, dtype=FLOAT)
    value = multi_categorical((3, 3)).sample(random.key(3), logits, sample_shape=9)
    assert torch.equal(value, independent(categorical).sample(random.key(3), logits.reshape(4, 2, 3), sample_shape=9))


def test_masked_and_missing_outcomes_have_no_probability_and_no_gradient() -> None:
    family, logits = multi_categorical((2, 3)), torch.tensor([0.1, 0.2, 0.3, math.nan, math.inf])
    mask = torch.tensor([True, True, True, False, False])
    good = torch.tensor([1, 0])
    assert family.log_prob(logits, mask, good).isfinite()
    slope = grad(lambda x: family.log_prob(x, mask, good))(logits)
    assert slope.isfinite().all()
    assert (slope[2:] == 0).all()
    for bad in ([1, 1], [2, 0], [-1, 0], [0, 3]):
        value = torch.tensor(bad)
        assert family.log_prob(logits, mask, value) == -math.inf
        assert (grad(lambda x, value=value: family.log_prob(x, mask, value))(logits) == 0).all()
    draws = family.sample(random.key(0), logits, mask, sample_shape=200)
    assert set(draws[:, 0].tolist()) == {0, 1}
    assert (draws[:, 1] == 0).all()
    assert family.support(logits, mask).check(torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.5, 0.0]])).tolist() == [
        True,
        False,
        False,
    ]


def test_an_invalid_choice_does_not_poison_others() -> None:
    family, mask = multi_categorical((2, 3)), torch.tensor([[False, False, True, True, True], [True] * 5])
    logits = torch.zeros(2, 5)
    assert family.entropy(logits, mask)[1] == pytest.approx(math.log(6))
    assert family.probs(logits, mask)[0].tolist() == pytest.approx([0, 0, 1 / 3, 1 / 3, 1 / 3])
    assert family.sample(random.key(0), logits, mask)[0, 0] == 0
    with pytest.raises(ValueError, match=r"mask must allow an outcome of every choice; .* \(0, 0\)"):
        family.check(logits, mask)
    with pytest.raises(ValueError, match=r"logits must be numbers below infinity .* \(3,\)"):
        family.check(torch.tensor([0.0, 0.0, 0.0, math.nan, 0.0]))


def test_multi_categorical_says_what_is_wrong() -> None:
    family = multi_categorical((2, 3))
    with pytest.raises(ValueError, match="must have 5 entries on the last axis"):
        family.entropy(torch.zeros(4))
    with pytest.raises(ValueError, match=r"values have shape \(7, 2\)"):
        family.log_prob(torch.zeros(7, 5), value=torch.zeros(7, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="does not fit"):
        family.log_prob(torch.zeros(5), value=1)
    with pytest.raises(TypeError, match=r"call \.long"):
        family.log_prob(torch.zeros(5), value=torch.zeros(2))
    with pytest.raises(ValueError, match="positive"):
        multi_categorical((2, 0))
    with pytest.raises(ValueError, match="positive"):
        multi_categorical(())
    with pytest.raises(TypeError, match="a list of integers"):
        multi_categorical((2, 0.5))
    assert multi_categorical(tuple(np.array([[2, 3]]).reshape(-1).tolist())) is family
    assert pickle.loads(pickle.dumps(family)) is family


def test_half_precision_keeps_the_digits_of_float32_on_request() -> None:
    family, logits = multi_categorical((2, 3)), torch.tensor([0.3, -1.1, 0.8, 0.1, -0.6]).bfloat16()
    value = torch.tensor([1, 2])
    wide = family.log_prob(logits.float(), value=value)
    assert family.log_prob(logits, value=value, dtype=torch.float32) == wide
    assert family.log_prob(logits, value=value).dtype == torch.bfloat16


def test_multi_categorical_in_the_shim() -> None:
    dist = distributions.wrap(multi_categorical(NVEC), LOGITS, mask=MASK)
    assert (dist.batch_shape, dist.event_shape) == ((5,), (4,))
    draws = dist.sample((3,), key=random.key(0))
    assert draws.shape == (3, 5, 4)
    assert dist.log_prob(draws).equal(dist.log_prob(draws.double()))
    assert dist.log_prob(draws.double() + 0.5).eq(-math.inf).all()
    assert dist.log_prob(draws.double() * math.nan).isnan().all()
    assert dist.expand((2, 5)).log_prob(draws[:2]).shape == (2, 5)
    other = distributions.wrap(multi_categorical(NVEC), LOGITS.flip(0), mask=MASK)
    assert torch.distributions.kl_divergence(dist, other).shape == (5,)
    assert (dist.entropy() > 0).all()


# --------------------------------------------------------------------------------------------------- normals of vectors
def _triangles(*batch: int, size: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    lower = torch.randn(*batch, size, size, dtype=FLOAT, generator=generator).tril(-1)
    return lower + torch.diag_embed(0.3 + torch.rand(*batch, size, dtype=FLOAT, generator=generator))


def _factors(*batch: int, size: int = 4, rank: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    factor = torch.randn(*batch, size, rank, dtype=FLOAT, generator=generator)
    return factor, 0.2 + torch.rand(*batch, size, dtype=FLOAT, generator=generator)


@pytest.mark.parametrize(("of_loc", "of_scale"), [((), ()), ((3,), ()), ((), (3,)), ((2, 1), (3,)), ((2, 3), (2, 3))])
def test_normals_of_vectors_are_those_of_torch(of_loc: tuple[int, ...], of_scale: tuple[int, ...]) -> None:
    loc = torch.randn(*of_loc, 4, dtype=FLOAT)
    factor, diagonal = _factors(*of_scale)
    for family, params, other in [
        (multivariate_normal, (_triangles(*of_scale),), torch.distributions.MultivariateNormal),
        (low_rank_normal, (factor, diagonal), torch.distributions.LowRankMultivariateNormal),
    ]:
        made = other(loc, scale_tril=params[0]) if len(params) == 1 else other(loc, *params)
        value = family.sample(random.key(0), loc, *params, sample_shape=(5, 2))
        assert value.shape == (5, 2, *made.batch_shape, 4)
        torch.testing.assert_close(family.log_prob(loc, *params, value), made.log_prob(value), rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(family.entropy(loc, *params), made.entropy(), rtol=1e-12, atol=1e-12)
        for verb in ("mean", "mode", "variance", "stddev"):
            found = getattr(family, verb)(loc, *params)
            torch.testing.assert_close(found, getattr(made, verb).expand(found.shape), rtol=1e-12, atol=1e-12)
        p, q = family.Params(loc, *params), family.Params(loc.flip(-1), *[2.0 * t for t in params])
        q_made = other(q[0], scale_tril=q[1]) if len(params) == 1 else other(*q)
        wanted = torch.distributions.kl_divergence(made, q_made)
        torch.testing.assert_close(family.kl(p, q), wanted, rtol=1e-11, atol=1e-11)
        few = family.Params(torch.zeros((), dtype=FLOAT), *params)
        torch.testing.assert_close(family.kl(few, q).shape, torch.distributions.kl_divergence(made, q_made).shape)


def test_draws_have_the_covariance() -> None:
    lower, (factor, diagonal) = _triangles(), _factors()
    zero = torch.zeros(4, dtype=FLOAT)
    for family, params, covariance in [
        (multivariate_normal, (lower,), lower @ lower.T),
        (low_rank_normal, (factor, diagonal), factor @ factor.T + diagonal.diag()),
    ]:
        draws = family.sample(random.key(8), zero, *params, sample_shape=40_000)
        error = 5 * covariance.diagonal().max() / 200
        assert ((draws.T @ draws / 40_000 - covariance).abs() < error).all()
        square = torch.einsum("si,ij,sj->s", draws, covariance.inverse(), draws)  # chi-squared of 4 degrees
        assert (square.mean() - 4).abs() < 5 * math.sqrt(8 / 40_000)
        assert (square.var() - 8).abs() < 1


def test_the_pairs_have_the_score_function_gradient_and_the_pathwise_one() -> None:
    loc = torch.randn(3, 4, dtype=FLOAT)
    for family, params in [(multivariate_normal, (loc, _triangles(3))), (low_rank_normal, (loc, *_factors(3)))]:
        value = family.sample(random.key(2), *params)
        every = tuple(range(len(params)))

        def score(*p: torch.Tensor, family: Any = family) -> torch.Tensor:
            return family.sample_and_log_prob(random.key(2), *p)[1].sum()

        def held(*p: torch.Tensor, family: Any = family, value: torch.Tensor = value) -> torch.Tensor:
            return family.log_prob(*p, value).sum()

        def moved(*p: torch.Tensor, family: Any = family) -> torch.Tensor:
            return family.log_prob(*p, family.rsample(random.key(2), *p)).sum()

        def path(*p: torch.Tensor, family: Any = family) -> torch.Tensor:
            return family.rsample_and_log_prob(random.key(2), *p)[1].sum()

        for ours, wanted in ((score, held), (path, moved)):
            slopes = zip(grad(ours, every)(*params), grad(wanted, every)(*params), strict=True)
            for one, other in slopes:
                torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
        curves = [hessian(function)(*params) for function in (score, held)]
        torch.testing.assert_close(*curves, rtol=1e-9, atol=1e-9)


def test_what_lies_above_the_diagonal_is_not_read() -> None:
    loc, lower = torch.randn(4, dtype=FLOAT), _triangles()
    poisoned = torch.where(torch.ones(4, 4).triu(1) == 1, math.nan, lower)
    multivariate_normal.check(loc, poisoned)
    value = multivariate_normal.sample(random.key(0), loc, lower)
    assert torch.equal(value, multivariate_normal.sample(random.key(0), loc, poisoned))
    assert torch.equal(
        multivariate_normal.log_prob(loc, lower, value), multivariate_normal.log_prob(loc, poisoned, value)
    )
    slope = grad(lambda t: multivariate_normal.log_prob(loc, t, value))(poisoned)
    assert slope.isfinite().all()
    assert (slope.triu(1) == 0).all()


@pytest.mark.parametrize("family", [multivariate_normal, low_rank_normal])
def test_infinite_and_nan_vectors(family: Any) -> None:
    params = (torch.zeros(4, dtype=FLOAT), *((_triangles(),) if family is multivariate_normal else _factors()))
    value = torch.tensor([0.0, math.inf, 1.0, -math.inf], dtype=FLOAT)
    assert family.log_prob(*params, value) == -math.inf
    slopes = grad(family.log_prob, argnums=tuple(range(len(params) + 1)))(*params, value)
    assert all((slope == 0).all() for slope in slopes)
    assert family.log_prob(*params, torch.tensor([0.0, math.inf, math.nan, 0.0], dtype=FLOAT)).isnan()


def test_the_divergence_of_close_normals_keeps_its_digits() -> None:
    lower = _triangles()
    other = lower + 1e-9 * _triangles().flip(0).tril()
    loc = torch.zeros(4, dtype=FLOAT)
    mpmath.mp.dps = 60
    p, q = (mpmath.matrix(t.tolist()) for t in (lower, other))
    m = q**-1 * p
    wanted = sum(m[i, j] ** 2 for i in range(4) for j in range(4)) / 2 - 2 - mpmath.log(mpmath.det(m))
    found = multivariate_normal.kl(multivariate_normal.Params(loc, lower), multivariate_normal.Params(loc, other))
    assert float(found) == pytest.approx(float(wanted), rel=1e-6)  # the inputs' own differences have 7 digits
    assert found < 1e-16


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e4, 1e7])
def test_few_large_factors_against_fifty_digits(size: float) -> None:
    """The difference of Woodbury's formula would lose 2 log10(size) digits."""
    mpmath.mp.dps = 60
    factor, diagonal = _factors()
    factor, x = size * factor, torch.tensor([0.3, -1.0, 2.0, 0.4], dtype=FLOAT)
    w = mpmath.matrix(factor.tolist())
    covariance = w * w.T + mpmath.diag([mpmath.mpf(d) for d in diagonal.tolist()])
    column = mpmath.matrix(x.tolist())
    square = (column.T * covariance**-1 * column)[0]
    wanted = -(square + mpmath.log(mpmath.det(covariance)) + 4 * mpmath.log(2 * mpmath.pi)) / 2
    found = low_rank_normal.log_prob(torch.zeros(4, dtype=FLOAT), factor, diagonal, x)
    assert float(found) == pytest.approx(float(wanted), rel=1e-13)
    narrow = low_rank_normal.log_prob(torch.zeros(4), factor.float(), diagonal.float(), x.float())
    assert float(narrow) == pytest.approx(float(wanted), rel=1e-5)


def test_normals_of_vectors_in_the_shim() -> None:
    loc, lower = torch.randn(3, 4), _triangles(3).float()
    factor, diagonal = (t.float() for t in _factors())
    for dist in (
        distributions.wrap(multivariate_normal, loc=loc, scale_tril=lower),
        distributions.wrap(multivariate_normal, loc=torch.zeros(()), scale_tril=lower),
        distributions.wrap(low_rank_normal, loc=loc, factor=factor, diagonal=diagonal),
    ):
        assert (dist.batch_shape, dist.event_shape) == ((3,), (4,))
        draws = dist.rsample((5,), key=random.key(0))
        assert draws.shape == (5, 3, 4)
        assert dist.log_prob(draws).shape == (5, 3)
        assert dist.mean.shape == dist.variance.shape == (3, 4)
        wide = dist.expand((2, 3))
        assert wide.sample().shape == (2, 3, 4)
        assert wide.log_prob(draws[:2]).equal(dist.log_prob(draws[:2]))
        assert torch.distributions.kl_divergence(dist, dist).abs().max() < 1e-6
        assert dist.support.check(draws).all()


def test_normals_of_vectors_say_what_is_wrong() -> None:
    eye = torch.eye(3)
    with pytest.raises(ValueError, match="must be square"):
        multivariate_normal.entropy(torch.zeros(3), torch.ones(3, 2))
    with pytest.raises(ValueError, match="must be square"):
        multivariate_normal.entropy(torch.zeros(3), torch.ones(3))
    with pytest.raises(ValueError, match=r"do not broadcast|must be square"):
        multivariate_normal.entropy(torch.zeros(4), eye)
    with pytest.raises(ValueError, match=r"values have shape \(3,\)"):
        multivariate_normal.log_prob(torch.zeros(3), eye, torch.zeros(4))
    with pytest.raises(ValueError, match="must have an axis"):
        multivariate_normal.log_prob(torch.zeros(3), eye, 0.0)
    with pytest.raises(ValueError, match="must be a matrix"):
        low_rank_normal.entropy(torch.zeros(3), torch.zeros(3), torch.ones(3))
    with pytest.raises(ValueError, match="scale_tril must be finite"):
        multivariate_normal.check(torch.zeros(2), torch.tensor([[1.0, 0.0], [math.inf, 1.0]]))
    with pytest.raises(ValueError, match="factor must be finite"):
        low_rank_normal.check(torch.zeros(2), torch.tensor([[math.nan], [1.0]]), torch.ones(2))


def test_keys_of_a_batch_and_sample_shapes() -> None:
    keys = random.split(random.key(0), 3)
    loc = torch.randn(3, 4, dtype=FLOAT)
    for family, params in [(multivariate_normal, (_triangles(),)), (low_rank_normal, _factors())]:
        draws = family.sample(keys, loc, *params, sample_shape=(2, 5))
        for i in range(3):
            torch.testing.assert_close(draws[:, :, i], family.sample(keys[i], loc[i], *params, sample_shape=(2, 5)))


# ------------------------------------------------------------------------------------------------------- plackett_luce
def _plain(scores: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return the log-prob of one list by a loop over its draws."""
    total, left = scores.new_zeros(()), torch.ones(len(scores), dtype=torch.bool)
    for outcome in value.tolist():
        total = total + scores[outcome] - torch.where(left, scores, -math.inf).logsumexp(-1)
        left = left & (torch.arange(len(scores)) != outcome)
    return total


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("size", [0.0, 1.0, 30.0])
def test_all_rankings_have_the_probability_one(count: int, size: float) -> None:
    scores = size * torch.randn(count, dtype=FLOAT, generator=torch.Generator().manual_seed(count))
    for k in range(1, count + 1):
        values = torch.tensor(list(itertools.permutations(range(count), k)))
        found = plackett_luce(k).log_prob(scores, values)
        assert found.exp().sum() == pytest.approx(1.0, rel=1e-13)
        wanted = torch.stack([_plain(scores, value) for value in values])
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-13)
    assert plackett_luce().log_prob(scores, values).equal(found)


def test_the_first_of_a_slate_is_a_categorical_and_slates_are_margins_of_rankings() -> None:
    scores = torch.randn(3, 5, dtype=FLOAT)
    value = torch.tensor([[0], [3], [4]])
    torch.testing.assert_close(plackett_luce(1).log_prob(scores, value), categorical.log_prob(scores, value[:, 0]))
    whole = torch.tensor(list(itertools.permutations(range(5))))
    margin = plackett_luce().log_prob(scores[0], whole[(whole[:, 0] == 2) & (whole[:, 1] == 4)]).exp().sum()
    assert plackett_luce(2).log_prob(scores[0], torch.tensor([2, 4])).exp() == pytest.approx(float(margin))
    draws = plackett_luce().sample(random.key(0), scores, sample_shape=50)
    assert torch.equal(plackett_luce(2).sample(random.key(0), scores, sample_shape=50), draws[..., :2])


@pytest.mark.parametrize("scores", [[0.0, -1000.0, -1001.0, -3000.0], [700.0, -700.0, 0.0, 1e-3], [0.0] * 4])
@pytest.mark.parametrize("dtype", [torch.float32, FLOAT])
def test_rankings_of_distant_scores_against_fifty_digits(scores: list[float], dtype: torch.dtype) -> None:
    mpmath.mp.dps = 50
    given = torch.tensor(scores, dtype=dtype)
    for value in ([0, 1, 2, 3], [2, 0, 3, 1], [3, 2, 1, 0]):
        exact, left, wanted = [mpmath.mpf(s) for s in given.tolist()], [0, 1, 2, 3], mpmath.mpf(0)
        for outcome in value:
            wanted += exact[outcome] - mpmath.log(sum(mpmath.exp(exact[i]) for i in left))
            left.remove(outcome)
        found = plackett_luce().log_prob(given, torch.tensor(value))
        assert float(found) == pytest.approx(float(wanted), rel=1e-13 if dtype == FLOAT else 1e-7)


def test_derivatives_of_rankings_with_equal_scores() -> None:
    for scores in (torch.zeros(5, dtype=FLOAT), torch.tensor([0.3, 0.3, -2.0, 0.3, 1.0], dtype=FLOAT)):
        for value in (torch.tensor([3, 0, 4]), torch.tensor([1, 2, 0, 4, 3])):
            family = plackett_luce(len(value))
            for derivative in (grad, hessian):
                found = derivative(lambda x, f=family, v=value: f.log_prob(x, v))(scores)
                wanted = derivative(lambda x, v=value: _plain(x, v))(scores)
                torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-13)


def test_what_is_no_ranking_has_no_probability_and_no_gradient() -> None:
    family, scores = plackett_luce(3), torch.tensor([0.5, -math.inf, 0.1, 2.0, 0.0], dtype=FLOAT)
    good = torch.tensor([3, 0, 4])
    assert family.log_prob(scores, good).isfinite()
    slope = grad(lambda x: family.log_prob(x, good))(scores)
    assert slope.isfinite().all()
    assert slope[1] == 0
    for bad in ([3, 3, 0], [3, 1, 0], [0, 5, 3], [0, -1, 3], [1, 1, 1]):
        value = torch.tensor(bad)
        assert family.log_prob(scores, value) == -math.inf
        assert (grad(lambda x, value=value: family.log_prob(x, value))(scores) == 0).all()
    allowed = family.support(scores).check(torch.tensor([[3.0, 0.0, 4.0], [3.0, 1.0, 0.0], [3.0, 0.5, 0.0]]))
    assert allowed.tolist() == [True, False, False]
    draws = family.sample(random.key(0), scores, sample_shape=200)
    assert (draws != 1).all()
    assert (draws.sort(-1).values.diff(dim=-1) > 0).all()
    two = torch.tensor([0.5, -math.inf, 0.1], dtype=FLOAT)
    value, score = family.sample_and_log_prob(random.key(0), two)
    assert value[-1] == -1
    assert score == -math.inf
    assert family.mode(two).tolist() == [0, 2, -1]
    with pytest.raises(ValueError, match="scores must leave 3 outcomes in every row"):
        family.check(two)


def test_rankings_of_a_batch_say_what_is_wrong() -> None:
    scores = torch.randn(4, 6)
    value = plackett_luce(2).sample(random.split(random.key(0), 4), scores, sample_shape=3)
    assert value.shape == (3, 4, 2)
    assert plackett_luce(2).log_prob(scores, value).shape == (3, 4)
    lanes = vmap(lambda s, v: plackett_luce(2).log_prob(s, v), in_dims=(0, 1), out_dims=1)(scores, value)
    torch.testing.assert_close(lanes, plackett_luce(2).log_prob(scores, value))
    assert plackett_luce(2).deterministic(torch.tensor([1.0, 3.0, 3.0])).tolist() == [1, 2]
    with pytest.raises(ValueError, match=r"values have shape \(4, 2\)"):
        plackett_luce(2).log_prob(scores, value[..., :1])
    with pytest.raises(ValueError, match="at least 7 outcomes"):
        plackett_luce(7).sample(random.key(0), scores)
    with pytest.raises(ValueError, match="must be positive"):
        plackett_luce(0)
    with pytest.raises(TypeError, match="must be an integer"):
        plackett_luce(1.5)  # type: ignore[arg-type]
    assert pickle.loads(pickle.dumps(plackett_luce(2))) is plackett_luce(2)
    dist = distributions.wrap(plackett_luce(2), scores)
    assert (dist.batch_shape, dist.event_shape) == ((4,), (2,))
    assert distributions.wrap(plackett_luce(), scores).event_shape == (6,)
    assert dist.expand((3, 4)).log_prob(value).equal(dist.log_prob(value))


# ----------------------------------------------------------------------------------------------------------- empirical
def test_equal_points_add_up() -> None:
    points = torch.tensor([[1.0, 2.0, 2.0, 5.0], [3.0, 3.0, 3.0, 3.0]], dtype=FLOAT)
    logits = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=FLOAT).log()
    value = torch.tensor([[2.0, 3.0], [4.0, 5.0], [1.0, math.inf]], dtype=FLOAT)
    found = empirical.log_prob(points, logits, value).exp()
    torch.testing.assert_close(found, torch.tensor([[0.5, 1.0], [0.0, 0.0], [0.1, 0.0]], dtype=FLOAT))
    assert empirical.log_prob(points, logits, value)[0, 1] == 0
    slope = grad(lambda x: empirical.log_prob(points, x, value)[0, 0])(logits)
    torch.testing.assert_close(slope, torch.tensor([-0.1, 0.2, 0.3, -0.4], dtype=FLOAT))
    assert (grad(lambda x: empirical.log_prob(points, x, value)[1].sum())(logits) == 0).all()
    torch.testing.assert_close(empirical.mean(points, logits), torch.tensor([3.1, 3.0], dtype=FLOAT))
    torch.testing.assert_close(empirical.variance(points, logits), torch.tensor([2.49, 0.0], dtype=FLOAT))


def test_quantiles_of_points() -> None:
    points = torch.tensor([5.0, 1.0, 9.0, 2.0, -7.0])
    logits = torch.tensor([0.0, 0.0, -math.inf, 0.0, -math.inf])
    value = torch.tensor([0.0, 1e-9, 0.33, 0.34, 0.66, 0.67, 1.0, -0.1, 1.1, math.nan])
    found = empirical.icdf(points, logits, value)
    assert found[:7].tolist() == [1.0, 1.0, 1.0, 2.0, 2.0, 5.0, 5.0]
    assert found[7:].isnan().all()
    assert empirical.cdf(points, logits, torch.tensor([-8.0, 1.0, 4.9, 5.0, math.inf])).tolist() == pytest.approx(
        [0.0, 1 / 3, 2 / 3, 1.0, 1.0]
    )
    many = torch.randn(1001, generator=torch.Generator().manual_seed(0))
    assert empirical.median(many) == many.median()
    assert empirical.icdf(many, value=torch.tensor([0.0, 1.0])).tolist() == [many.min(), many.max()]
    assert grad(empirical.median)(many).nonzero().tolist() == [[int(many.argsort()[500])]]
    assert set(empirical.sample(random.key(0), points, logits, sample_shape=100).tolist()) == {1.0, 2.0, 5.0}


def test_the_mean_of_large_points_and_errors() -> None:
    points = torch.tensor([1e8, 1e8 + 8, 1e8 - 8])
    assert empirical.mean(points) == 1e8
    assert empirical.variance(points) == pytest.approx(128 / 3)
    with pytest.raises(ValueError, match="logits must leave a category"):
        empirical.check(torch.zeros(2), torch.full((2,), -math.inf))
    with pytest.raises(ValueError, match="does not fit"):
        empirical.log_prob(torch.zeros(3, 2), value=torch.zeros(2))
    dist = distributions.wrap(empirical, points=torch.randn(3, 7))
    assert (dist.batch_shape, dist.event_shape) == ((3,), ())
    assert dist.log_prob(dist.sample((5,))).eq(-math.log(7)).sum() >= 0
    assert dist.icdf(torch.tensor(0.5)).equal(dist.median)


def test_divergences_between_normals_of_vectors() -> None:
    """Against torch, whose classes have both pairs."""
    generator = torch.Generator().manual_seed(4)
    loc, other = (torch.randn(2, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    factor = torch.randn(2, 3, 2, generator=generator, dtype=torch.float64)
    diagonal = torch.rand(2, 3, generator=generator, dtype=torch.float64) + 0.1
    scale_tril = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64).tril(-1) + 1.3 * torch.eye(3)
    full = torch.distributions.MultivariateNormal(other, scale_tril=scale_tril)
    low_rank = torch.distributions.LowRankMultivariateNormal(loc, factor, diagonal)
    ours = (multivariate_normal, (other, scale_tril)), (low_rank_normal, (loc, factor, diagonal))
    for (p, q), (p_torch, q_torch) in ((ours, (full, low_rank)), (ours[::-1], (low_rank, full))):
        wanted = torch.distributions.kl_divergence(p_torch, q_torch)
        torch.testing.assert_close(divergence.kl(p, q), wanted, rtol=1e-11, atol=0.0)


def test_a_list_gives_the_numbers_of_outcomes_too() -> None:
    assert multi_categorical([2, 3]) is multi_categorical((2, 3))
    assert repr(multi_categorical([2, 3])) == "multi_categorical((2, 3))"
    assert pickle.loads(pickle.dumps(multi_categorical([4]))) is multi_categorical([4])
