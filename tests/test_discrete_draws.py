"""Outcomes are drawn at their rates, never without weight, and the same in every mode."""

import timeit
from fractions import Fraction

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.func import vmap

from functional_dists import categorical, logits_from_probs, masked_categorical, random
from functional_dists.special import choice

KEY = random.key(11)


def compiled(function, backend: str = "inductor"):
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend=backend)


# ------------------------------------------------------------------------------------------------ the choice by weight
def chosen_by_integers(weights: list[float], share: float) -> int:
    """The definition, in Python's integers and fractions."""
    unit = 2 ** (53 - (len(weights) - 1).bit_length())
    integers = [int(weight * unit) for weight in weights]
    target, running = Fraction(share * sum(integers)), 0
    for outcome, integer in enumerate(integers):
        running += integer
        if running > target:
            return outcome
    return 0


SHARES = st.integers(0, 2**53 - 1) | st.sampled_from([0, 1, 2**52 - 1, 2**52, 2**53 - 1])


@given(st.lists(st.floats(0, 1, width=32) | st.sampled_from([0.0, 1.0]), min_size=1, max_size=40), SHARES)
def test_choice_is_that_of_exact_integers(weights: list[float], digits: int) -> None:
    share = digits * 2.0**-53
    for dtype in (torch.float32, torch.float64):
        got = choice.choose(torch.tensor(weights, dtype=dtype), torch.tensor(share, dtype=torch.float64))
        assert got.item() == chosen_by_integers(weights, share)


@given(st.integers(1, 2**53))
def test_the_largest_share_is_below_the_total(total: int) -> None:
    assert (1 - 2.0**-53) * total < total


@pytest.mark.parametrize("count", [1025, 5000, 65_536])
def test_choice_in_blocks_is_the_choice_at_once(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = random.uniform(KEY, (3, count)) * random.bernoulli(random.fold_in(KEY, 1), (3, count), 0.3)
    weights[2] = 0
    weights[1, 5:], weights[1, 3] = 0, 0.5
    shares = random.uniform(KEY, (200, 3), dtype=torch.float64)
    shares[0], shares[1] = 0, 1 - 2.0**-53
    in_blocks = choice.choose(weights, shares)
    monkeypatch.setattr(choice, "LONG", count)
    assert torch.equal(in_blocks, choice.choose(weights, shares))
    assert (weights[:2].expand(200, 2, count).gather(-1, in_blocks[:, :2, None]) > 0).all()
    assert (in_blocks[:, 2] == 0).all()


# -------------------------------------------------------------------------------------------------------------- rates
def p_value(counts: Tensor, probs: Tensor) -> float:
    """Of Pearson's chi-square; outcomes expected fewer than ten times count together."""
    expected = probs.double() * counts.sum()
    rare = expected < 10
    observed = torch.cat([counts[~rare], counts[rare].sum()[None]]).numpy()
    expected = torch.cat([expected[~rare], expected[rare].sum()[None]]).numpy()
    used = expected > 0
    assert not observed[~used].any()
    return float(scipy.stats.chisquare(observed[used], expected[used] * observed.sum() / expected.sum()).pvalue)


@pytest.mark.parametrize("count", [2, 7, 64, 3000])
@pytest.mark.parametrize("source", ["key", "generator"])
def test_draws_have_their_rates(count: int, source: str) -> None:
    logits = 2 * random.normal(KEY, (count,))
    mask = random.bernoulli(random.fold_in(KEY, 1), (count,), 0.7)
    mask[:2] = True
    key = KEY if source == "key" else torch.Generator().manual_seed(1)
    total = 40_000 if count > 1024 else 200_000
    drawn = masked_categorical.sample(key, logits, mask, sample_shape=(total,))
    counts = torch.bincount(drawn, minlength=count)
    assert (counts[~mask] == 0).all()
    assert p_value(counts, masked_categorical.probs(logits.double(), mask)) > 1e-3


def test_draws_of_rows_and_keys_are_independent() -> None:
    rows = masked_categorical.sample(KEY, torch.zeros(20_000, 4), torch.ones(4, dtype=torch.bool))
    lanes = vmap(lambda key: categorical.sample(key, torch.zeros(4)))(random.split(KEY, 20_000))
    for drawn in (rows, lanes):
        pairs = torch.bincount(4 * drawn[:-1] + drawn[1:], minlength=16)
        assert scipy.stats.chisquare(pairs.numpy()).pvalue > 1e-3


@pytest.mark.slow
def test_rare_outcomes_have_their_rates() -> None:
    """1e8 draws; probabilities down to 1e-7."""
    probs = torch.tensor([1e-7, 3e-7, 1e-6, 1e-5, 0.3, 0.0, 1e-4, 0.5, 2e-7], dtype=torch.float64)
    logits, mask = logits_from_probs(probs).float(), torch.tensor([True] * 7 + [False, True])
    counts = torch.zeros(9, dtype=torch.int64)
    for part in random.split(KEY, 100):
        drawn = masked_categorical.sample(part, logits, mask, sample_shape=(1_000_000,))
        counts += torch.bincount(drawn, minlength=9)
    assert counts[5] == counts[7] == 0
    assert p_value(counts, masked_categorical.probs(logits.double(), mask)) > 1e-3


def test_more_categories_than_float32_counts() -> None:
    count = 2**24 + 3
    logits = torch.full((count,), -30.0)
    logits[-1] = logits[-2] = 0.0
    drawn = categorical.sample(KEY, logits, sample_shape=(64,))
    assert set(drawn.tolist()) == {count - 2, count - 1}
    assert categorical.sample(KEY, torch.zeros(count), sample_shape=(200,)).unique().numel() > 195


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_draws_like_its_float32_numbers(dtype: torch.dtype) -> None:
    logits = (3 * random.normal(KEY, (50, 20))).to(dtype)
    mask = random.bernoulli(KEY, (50, 20), 0.5)
    drawn, log_prob = masked_categorical.sample_and_log_prob(KEY, logits, mask)
    assert torch.equal(drawn, masked_categorical.sample(KEY, logits.float(), mask))
    assert log_prob.dtype == dtype


def test_extreme_shares_never_choose_what_is_masked() -> None:
    mask = torch.tensor([False, True, False, False, True, False])
    parts = torch.where(mask, 1.0, 0.0)
    shares = torch.tensor([0.0, 2.0**-53, 0.5 - 2.0**-53, 0.5, 1 - 2.0**-53], dtype=torch.float64)
    assert choice.choose(parts, shares).tolist() == [1, 1, 1, 4, 4]


# -------------------------------------------------------------------------------------------------------------- modes
@pytest.mark.parametrize("shape", [(1000, 64), (40, 3000)])
def test_draws_are_the_same_in_every_mode(shape: tuple[int, int]) -> None:
    logits, mask = 3 * random.normal(KEY, shape), random.bernoulli(KEY, shape, 0.5)

    def sample(key: Tensor, logits: Tensor, mask: Tensor) -> Tensor:
        return masked_categorical.sample(key, logits, mask, sample_shape=(20,))

    eager = sample(KEY, logits, mask)
    assert torch.equal(compiled(sample)(KEY, logits, mask), eager)
    keys = random.split(KEY, 3)
    loop = torch.stack([sample(key, logits, mask) for key in keys])
    mapped = vmap(sample, in_dims=(0, None, None))
    assert torch.equal(mapped(keys, logits, mask), loop)
    assert torch.equal(compiled(mapped)(keys, logits, mask), loop)


# ------------------------------------------------------------------------------------------------------ what is masked
def test_what_is_masked_reaches_nothing() -> None:
    logits = torch.tensor([[0.3, np.nan, 0.8, np.inf], [0.1, -np.inf, 5e4, 1e38]])
    mask = torch.tensor([True, False, True, False])
    other = torch.where(mask, logits, 0.0)
    family = masked_categorical
    for verb in (family.probs, family.normalized_logits, family.entropy, family.mode):
        assert torch.equal(verb(logits, mask), verb(other, mask))
    assert torch.equal(family.sample(KEY, logits, mask), family.sample(KEY, other, mask))
    assert family.kl(family.Params(logits, mask), family.Params(other, mask)).eq(0).all()

    def scores(logits: Tensor) -> Tensor:
        q = family.Params(torch.ones(4), mask)
        value = torch.tensor([[0, 2], [1, 3], [7, -1]])
        parts = [
            family.log_prob(logits, mask, value).clamp(min=-1e6),
            family.entropy(logits, mask),
            family.kl(family.Params(logits, mask), q),
            family.kl(q, family.Params(logits, mask)),
            family.probs(logits, mask)[:, 0],
        ]
        return sum(part.sum() for part in parts)

    gradient = torch.func.grad(scores)(logits)
    assert gradient.isfinite().all()
    assert (gradient[:, ~mask] == 0).all()
    assert (gradient[0, mask] != 0).all()
    assert torch.func.hessian(scores)(logits).isfinite().all()
    torch.testing.assert_close(gradient, torch.func.grad(scores)(other))


def test_an_empty_row_is_defined_and_alone() -> None:
    logits = torch.tensor([[0.3, 0.1, 0.8], [0.1, 0.2, -0.4]])
    mask = torch.tensor([[True, False, True], [False, False, False]])
    family = masked_categorical
    assert family.sample(KEY, logits, mask, sample_shape=(50,))[:, 1].eq(0).all()
    assert family.mode(logits, mask)[1] == 0
    assert family.probs(logits, mask)[1].eq(0).all()
    assert family.entropy(logits, mask)[1] == 0
    assert family.log_prob(logits, mask, 0)[1] == -torch.inf
    _, log_prob = family.sample_and_log_prob(KEY, logits, mask)
    assert log_prob[1] == -torch.inf
    p = family.Params(logits, mask)
    assert family.kl(p, p).eq(0).all()
    assert family.kl(family.Params(logits, mask | True), p)[1] == torch.inf

    def scores(logits: Tensor) -> Tensor:
        parts = (
            family.entropy(logits, mask),
            family.log_prob(logits, mask, 0),
            family.probs(logits, mask),
            family.kl(p, p),
        )
        return sum(part.sum() for part in parts)

    gradient = torch.func.grad(scores)(logits)
    assert gradient.isfinite().all()
    assert (gradient[1] == 0).all()
    with pytest.raises(ValueError, match=r"mask must allow an outcome in every row; this fails at position \(1,\)"):
        family.check(logits, mask)
    everything_left_out = torch.full((2, 3), -torch.inf)
    assert categorical.sample(KEY, everything_left_out).eq(0).all()
    assert categorical.entropy(everything_left_out).eq(0).all()
    with pytest.raises(ValueError, match="logits must leave a category in every row"):
        categorical.check(everything_left_out)


def test_divergence_outside_the_other_support() -> None:
    family, table = masked_categorical, torch.tensor([0.3, 0.1, 0.8])
    some, every = torch.tensor([True, False, True]), torch.ones(3, dtype=torch.bool)

    def divergence(p_logits: Tensor, q_logits: Tensor) -> Tensor:
        return family.kl(family.Params(p_logits, every), family.Params(q_logits, some))

    assert divergence(table, table) == torch.inf
    for gradient in torch.func.grad(divergence, (0, 1))(table, table):
        assert (gradient == 0).all()
    lost = -family.normalized_logits(table, every)[some].logsumexp(0)
    torch.testing.assert_close(family.kl(family.Params(table, some), family.Params(table, every)), lost)


# ------------------------------------------------------------------------------------------------------- against tables
@pytest.mark.parametrize("masked", [False, True])
def test_verbs_follow_from_the_probabilities(masked: bool) -> None:
    logits, other = 2 * random.normal(KEY, (6, 5)).double(), random.normal(random.fold_in(KEY, 1), (6, 5)).double()
    mask = random.bernoulli(KEY, (6, 5), 0.6) if masked else torch.ones(6, 5, dtype=torch.bool)
    mask[:, 3] = True
    family = masked_categorical if masked else categorical
    p = family.Params(logits, mask) if masked else family.Params(logits)
    q = p._replace(logits=other)
    table = torch.where(mask, logits.exp(), 0.0)
    table = table / table.sum(-1, keepdim=True)
    log_table = torch.where(mask, table, 1.0).log()
    torch.testing.assert_close(family.probs(*p), table)
    torch.testing.assert_close(family.normalized_logits(*p), torch.where(mask, log_table, -torch.inf))
    torch.testing.assert_close(family.entropy(*p), -(table * log_table).sum(-1))
    other_log_table = torch.where(mask, family.normalized_logits(*q), 0.0)
    torch.testing.assert_close(family.kl(p, q), (table * (log_table - other_log_table)).sum(-1))
    assert torch.equal(family.mode(*p), table.argmax(-1))
    assert torch.equal(family.deterministic(*p), table.argmax(-1))
    every = torch.arange(5)[:, None].expand(5, 6)
    torch.testing.assert_close(family.log_prob(*p, every).exp().T, table)


def test_logits_from_probs() -> None:
    probs = torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64)
    assert logits_from_probs(probs).tolist() == [-np.inf, np.log(0.25), 0.0]
    gradient = torch.func.grad(lambda p: categorical.entropy(logits_from_probs(p)))(probs)
    assert gradient[0] == 0
    assert gradient.isfinite().all()
    assert logits_from_probs(torch.tensor(np.nan)).isnan()


# --------------------------------------------------------------------------------------------- many draws of few rows
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
@pytest.mark.parametrize("count", [1, 5, 1024, 1025, 3000, 20_000])
def test_many_draws_are_those_of_few(batch: tuple[int, ...], count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By blocks, by whole rows, and in lanes of vmap that share the rows or have some each."""
    generator = torch.Generator().manual_seed(count)
    weights = torch.rand((*batch, count), generator=generator)
    weights = weights * (torch.rand(weights.shape, generator=generator) > 0.3)
    for draws in ((), (1,), (4,), (70,), (2, 5), (0,)):
        share = torch.rand((*draws, *batch), generator=generator, dtype=torch.float64)
        wanted = choice.choose(weights, share)
        assert wanted.shape == share.shape
        for worth in (0, 2**40):
            monkeypatch.setattr(choice, "_WEIGHTS_PER_DRAW", worth)
            assert torch.equal(choice.choose(weights, share), wanted)
        monkeypatch.undo()
        if not draws or not draws[0]:
            continue
        assert torch.equal(vmap(choice.choose, in_dims=(None, 0))(weights, share), wanted)
        if batch:
            axis = len(draws)
            assert torch.equal(vmap(choice.choose, in_dims=(0, axis), out_dims=axis)(weights, share), wanted)
            nested = vmap(lambda s, axis=axis: vmap(choice.choose, (0, axis - 1), axis - 1)(weights, s))(share)
            assert torch.equal(nested, wanted)
            shared = vmap(choice.choose, in_dims=(0, None))(weights, share)
            assert torch.equal(shared, torch.stack([choice.choose(row, share) for row in weights]))


def test_many_draws_of_a_long_row_share_its_table() -> None:
    """Draws, pairs, scores and their gradients, none of which could hold a table for each draw: that were 80 GB."""
    draws, logits = (200_000,), torch.linspace(-3, 3, 100_000, requires_grad=True)
    outcome, log_prob = categorical.sample_and_log_prob(KEY, logits, sample_shape=draws)
    assert torch.equal(outcome, categorical.sample(KEY, logits, sample_shape=draws))
    (by_pair,) = torch.autograd.grad(log_prob.sum(), logits)
    scored = categorical.log_prob(logits, outcome)
    torch.testing.assert_close(scored, log_prob)
    (by_score,) = torch.autograd.grad(scored.sum(), logits)
    wanted = outcome.bincount(minlength=len(logits)) - draws[0] * logits.detach().double().softmax(-1)
    for gradient in (by_pair, by_score):
        torch.testing.assert_close(gradient.double(), wanted, rtol=1e-3, atol=1e-3)
    keys = random.split(KEY, 2000)
    lanes = vmap(lambda key: categorical.sample(key, logits.detach()), randomness="error")(keys)
    assert torch.equal(lanes[:3], torch.stack([categorical.sample(key, logits.detach()) for key in keys[:3]]))


@pytest.mark.slow
@pytest.mark.parametrize("count", [10, 1000, 100_000])
def test_many_draws_of_a_row_take_about_as_long_as_multinomial(count: int) -> None:
    logits = torch.randn(count, generator=torch.Generator().manual_seed(0))
    probs, draws = logits.softmax(-1), 1_000_000

    def least(function) -> float:
        return min(timeit.repeat(function, number=1, repeat=5))

    ours = least(lambda: categorical.sample(KEY, logits, sample_shape=(draws,)))
    assert ours < 4 * least(lambda: torch.multinomial(probs, draws, replacement=True))
