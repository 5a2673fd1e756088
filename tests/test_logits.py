"""Temperature, cuts of the tail and draws without replacement, against plain Python."""

import itertools
import math
from typing import Any

import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import grad, jvp, vmap

from functional_dists import categorical, llm_masked_categorical, logits, masked_categorical, random
from functional_dists import logits_from_probs as exported

KEY = random.key(3)
INF, NAN = math.inf, math.nan
ROWS = st.lists(st.integers(-40, 40).map(lambda n: n / 8) | st.just(-INF), min_size=1, max_size=12)


def compiled(function: Any, backend: str = "aot_eager") -> Any:
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend=backend)


# ------------------------------------------------------------------------------------------------------- plain Python
def softmax(row: list[float]) -> list[float]:
    top = max(row)
    weights = [math.exp(x - top) if top > -INF else 0.0 for x in row]
    return [w / (math.fsum(weights) or 1.0) for w in weights]


def falling(row: list[float]) -> list[int]:
    return sorted(range(len(row)), key=lambda i: -row[i])  # stable: the first of equals comes first


def kept(row: list[float], places: list[int]) -> list[float]:
    return [x if i in places else -INF for i, x in enumerate(row)]


def plain_top_k(row: list[float], k: int) -> list[float]:
    return kept(row, falling(row)[:k])


def plain_top_p(row: list[float], p: float) -> list[float]:
    places: list[int] = []
    for i in falling(row):
        if places and math.fsum(softmax(row)[j] for j in places) >= p:
            break
        places.append(i)
    return kept(row, places)


def plain_min_p(row: list[float], p: float) -> list[float]:
    return [x if x > -INF and math.exp(x - max(row)) >= p else -INF for x in row]


@settings(deadline=None)
@given(ROWS, st.integers(1, 14))
def test_top_k(row: list[float], k: int) -> None:
    table = torch.tensor(row, dtype=torch.float64)
    assert logits.top_k(table, k).tolist() == plain_top_k(row, k)
    assert logits.top_k(table, torch.tensor(k)).tolist() == plain_top_k(row, k)


@settings(deadline=None)
@given(ROWS, st.integers(1, 99).map(lambda n: n / 100 + 1e-5))
def test_top_p(row: list[float], p: float) -> None:
    assert logits.top_p(torch.tensor(row, dtype=torch.float64), p).tolist() == plain_top_p(row, p)


@settings(deadline=None)
@given(ROWS, st.integers(1, 99).map(lambda n: n / 100 + 1e-5))
def test_min_p(row: list[float], p: float) -> None:
    assert logits.min_p(torch.tensor(row, dtype=torch.float64), p).tolist() == plain_min_p(row, p)


@settings(deadline=None)
@given(ROWS, st.floats(0.05, 20))
def test_temperature(row: list[float], t: float) -> None:
    got = logits.temperature(torch.tensor(row, dtype=torch.float64), t)
    assert got.tolist() == [x / t for x in row]


# --------------------------------------------------------------------------------------------------------------- edges
def test_edges() -> None:
    row = torch.tensor([0.5, -1.0, 2.0, -INF, 2.0])
    assert logits.top_p(row, 0.0).tolist() == [-INF, -INF, 2.0, -INF, -INF]
    assert torch.equal(logits.top_p(row, 1.0), row)
    assert torch.equal(logits.top_k(row, 5), row)
    assert torch.equal(logits.top_k(row, 99), row)
    assert logits.top_k(row, 1).tolist() == [-INF, -INF, 2.0, -INF, -INF]
    assert torch.equal(logits.min_p(row, 0.0), row)
    assert logits.min_p(row, 1.0).tolist() == [-INF, -INF, 2.0, -INF, 2.0]
    nothing = torch.full((3,), -INF)
    for function in (logits.top_p, logits.min_p, logits.temperature):
        assert torch.equal(function(nothing, 0.5), nothing)
    assert torch.equal(logits.top_k(nothing, 2), nothing)
    assert exported is logits.logits_from_probs


def test_top_p_of_a_flat_vocabulary_is_right_to_a_token() -> None:
    count = 100_003
    table = torch.zeros(count)
    for p in (0.1, 0.5, 0.9):
        got = logits.top_p(table, p) == 0
        assert got.sum() == math.ceil(p * count)
        assert got[: math.ceil(p * count)].all()


def test_equal_logits_are_kept_in_order() -> None:
    table = random.randint(KEY, (50, 400), 0, 4).float()
    for got, count in ((logits.top_k(table, 150), 150), (logits.top_k(table, torch.full((50,), 150)), 150)):
        assert ((got > -INF).sum(-1) == count).all()
    wanted = torch.tensor([plain_top_k(row, 150) for row in table.tolist()])
    assert torch.equal(logits.top_k(table, 150), wanted)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtype_is_kept(dtype: torch.dtype) -> None:
    table = (2 * random.normal(KEY, (4, 30))).to(dtype)
    half = torch.full((4,), 0.5)
    for function in (logits.temperature, logits.top_p, logits.min_p):
        for p in (0.5, half, half.double()):
            assert function(table, p).dtype == dtype
            wanted = function(table.double(), p)
            same = function(table, p).double()
            assert torch.equal(same, wanted) or function is logits.temperature
            torch.testing.assert_close(same, wanted, rtol=torch.finfo(dtype).eps, atol=0)
    assert torch.equal(logits.top_k(table, 7).double(), logits.top_k(table.double(), 7))


def test_one_number_for_every_row() -> None:
    table = random.normal(KEY, (3, 4, 9))
    p = random.uniform(random.fold_in(KEY, 1), (3, 4))
    k = random.randint(KEY, (3, 4), 1, 10)
    for function, numbers in ((logits.temperature, p), (logits.top_p, p), (logits.min_p, p), (logits.top_k, k)):
        got = function(table, numbers)
        for i, j in itertools.product(range(3), range(4)):
            assert torch.equal(got[i, j], function(table[i, j], numbers[i, j]))
            number = numbers[i, j].item()
            torch.testing.assert_close(got[i, j], function(table[i, j], number), rtol=1e-6, atol=0)
        assert torch.equal(vmap(vmap(function))(table, numbers), got)
        assert function(table[0, 0], numbers).shape == table.shape  # rows of parameters for one row of logits
        with pytest.raises(ValueError, match=r"of shape \(5,\) does not broadcast against the batch \(3, 4\)"):
            function(table, numbers.new_ones(5))


def test_refuses_what_is_no_count() -> None:
    table = torch.zeros(4)
    for wrong in (0.5, True, torch.tensor(0.5), torch.tensor(True)):
        with pytest.raises(TypeError, match="k must be an integer"):
            logits.top_k(table, wrong)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        logits.top_k(table, 0)
    for wrong in (0.5, True, None):
        with pytest.raises(TypeError, match="k must be an integer"):
            logits.sample_without_replacement(KEY, table, wrong)
    for wrong in (-1, 5):
        with pytest.raises(ValueError, match="k must lie between 0 and the number of outcomes 4"):
            logits.sample_without_replacement(KEY, table, wrong)
    with pytest.raises(TypeError, match="key"):
        logits.sample_without_replacement(None, table, 2)


# ------------------------------------------------------------------------------------------------ extreme temperatures
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("t", [1e-4, 1e-6, 1e-30, 1e-40, 1e-300, 1e-320, 0.0])
def test_low_temperatures_play_the_largest_logit(dtype: torch.dtype, t: float) -> None:
    table = torch.tensor([[5.0, 12, 30, -3], [-5, -12, -30, -INF], [-INF, 0, -9, -9], [6e4, 5e4, 0, -6e4]]).to(dtype)
    best = table.argmax(-1)
    for number in (t, torch.full((4,), t, dtype=torch.float64), torch.tensor([t], dtype=torch.float64)):
        cold = logits.temperature(table, number)
        assert cold.dtype == dtype
        assert torch.equal(cold.argmax(-1), best)
        drawn, log_prob = categorical.sample_and_log_prob(KEY, cold)
        assert torch.equal(drawn, best)
        assert (log_prob == 0).all()
        gradient, slope = grad(lambda table, t: categorical.log_prob(logits.temperature(table, t), best).sum(), (0, 1))(
            table, torch.as_tensor(number, dtype=torch.float64)
        )
        assert gradient.isfinite().all()
        assert slope.isfinite().all()
        if t > 0:  # what was in the support stays in it
            assert torch.equal(cold == -INF, table == -INF)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_that_do_not_overflow_are_divided_and_no_more(dtype: torch.dtype) -> None:
    largest = torch.finfo(dtype).max
    table = torch.tensor([[1.0, 2.0, -INF], [-largest / 4, 0.5, 2.0], [largest / 2, 1.0, -1.0]], dtype=dtype)
    for t in (0.5, torch.full((3,), 0.5)):
        got = logits.temperature(table, t)
        assert torch.equal(got[:2], table[:2] * 2)
        assert (got[2, 1:] <= -largest / 2).all() or torch.equal(got[2], table[2] * 2)
    got = logits.temperature(table, 0.25)  # the largest of the last row would overflow, and the least of the second
    assert torch.equal(got[:2, 1:], table[:2, 1:] * 4)
    assert got[2].tolist() == [0.0, -largest, -largest]
    assert (got.isfinite() == (table > -INF)).all()
    assert torch.equal(logits.temperature(torch.full((2, 3), -largest, dtype=dtype), 0.5), torch.zeros(2, 3).to(dtype))


def test_a_temperature_of_0_is_greedy_in_its_rows_alone() -> None:
    table = torch.tensor([[1.0, 3.0, 3.0, -INF], [1.0, 3.0, 3.0, -INF], [-INF] * 4, [NAN, 1.0, 2.0, 0.0]])
    t = torch.tensor([0.0, 0.5, 0.0, 0.0])
    wanted = torch.tensor([[-INF, 0.0, -INF, -INF], [2.0, 6.0, 6.0, -INF], [-INF] * 4])
    assert torch.equal(logits.temperature(table, t)[:3], wanted)
    assert categorical.log_prob(logits.temperature(table, t), torch.zeros(4, dtype=torch.long))[3].isnan()
    assert torch.equal(logits.temperature(table[0], 0), wanted[0])
    assert torch.equal(vmap(logits.temperature)(table, t)[:3], wanted)
    for backend in ("aot_eager", "inductor"):
        assert torch.equal(compiled(logits.temperature, backend)(table, t)[:3], wanted)
    assert torch.equal(compiled(logits.temperature)(table[0], 0.0), wanted[0])

    def total(table: Tensor, t: Tensor) -> Tensor:
        return categorical.log_prob(logits.temperature(table, t), torch.tensor([1, 1])).sum()

    of_table, of_t = grad(total, (0, 1))(table[:2].double(), t[:2].double())
    assert (of_table[0] == 0).all()
    assert (of_table[1] != 0)[:3].all()
    assert of_t[0] == 0
    assert of_t[1] != 0


def test_an_infinite_temperature_is_uniform_over_the_support() -> None:
    table = torch.tensor([1.0, -3.0, -INF, 0.0])
    for t in (INF, torch.tensor(INF), 1e300):
        probs = categorical.probs(logits.temperature(table, t))
        torch.testing.assert_close(probs, torch.tensor([1 / 3, 1 / 3, 0.0, 1 / 3]))
        slopes = grad(lambda x, t: logits.temperature(x, t).exp().sum(), (0, 1))(table, torch.as_tensor(t))
        assert all((slope == 0).all() for slope in slopes)


def test_numbers_outside_the_range_raise_where_they_can_be_seen() -> None:
    table = random.normal(KEY, (2, 5))
    bad = {
        "temperature": (logits.temperature, "t must be at least 0", (-1.0, -1e-30, NAN, -INF)),
        "top_p": (logits.top_p, "p must be between 0 and 1", (-0.1, 1.5, NAN)),
        "min_p": (logits.min_p, "p must be between 0 and 1", (-0.1, 1.5, NAN)),
        "top_k": (logits.top_k, "k must be at least 1", (0, -3)),
    }
    for name, (function, message, numbers) in bad.items():
        for number in numbers:
            with pytest.raises(ValueError, match=rf"^logits\.{name}: {message}, got {number}$"):
                function(table, number)
            good = torch.ones((), dtype=torch.int64 if name == "top_k" else torch.float64)
            row = torch.stack([good, torch.tensor(number).to(good.dtype)])
            with pytest.raises(ValueError, match=rf"^logits\.{name}: {message}, got .* at position \(1,\)$"):
                function(table, row)
            unseen = vmap(function)(table, row)
            assert torch.equal(unseen[0], function(table[0], good))
            if name == "top_k":
                assert torch.equal(unseen[1], function(table[1], 1))
            else:
                assert unseen[1].isnan().any()
    assert compiled(logits.temperature)(table, torch.tensor([1.0, -1.0]))[1].isnan().all()
    assert compiled(logits.temperature)(table, -1.0).isnan().all()


# ----------------------------------------------------------------------------------------------------------- transforms
FUNCTIONS: dict[str, Any] = {
    "temperature": lambda table, p: logits.temperature(table, p),
    "top_k": lambda table, p: logits.top_k(table, 3),
    "top_k of rows": lambda table, p: logits.top_k(table, (5 * p).long() + 1),
    "top_p": lambda table, p: logits.top_p(table, p),
    "min_p": lambda table, p: logits.min_p(table, p),
    "all": lambda table, p: logits.min_p(logits.top_p(logits.top_k(logits.temperature(table, p), 6), 0.9), 0.05),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_transforms(name: str) -> None:
    function = FUNCTIONS[name]
    table = random.normal(KEY, (4, 9)).double()
    table[:, 4] = -INF
    p = torch.tensor([0.2, 0.4, 0.6, 0.8], dtype=torch.float64)
    wanted = function(table, p)
    assert torch.equal(vmap(function)(table, p), wanted)
    assert torch.equal(compiled(function)(table, p), wanted)
    assert torch.equal(compiled(vmap(function))(table, p), wanted)

    def total(table: Tensor, p: Tensor) -> Tensor:
        return function(table, p).clamp(min=-1e3).sum()

    gradient, of_p = grad(total, (0, 1))(table, p)
    scale = p[:, None] if name in ("temperature", "all") else 1.0
    torch.testing.assert_close(gradient, torch.where(wanted > -INF, 1.0 / scale, 0.0).double())
    assert of_p.isfinite().all()
    tangent = jvp(lambda table: total(table, p), (table,), (torch.ones_like(table),))[1]
    torch.testing.assert_close(tangent, gradient.sum())
    torch.testing.assert_close(vmap(grad(total))(table, p), gradient)
    torch.testing.assert_close(compiled(grad(total))(table, p), gradient)
    score = grad(lambda table: categorical.log_prob(function(table, p), wanted.argmax(-1)).sum())(table)
    assert score.isfinite().all()
    assert (score[wanted == -INF] == 0).all()


def test_inductor_and_numbers() -> None:
    table = random.normal(KEY, (4, 50))
    table[:, 7] = -INF

    def cut(table: Tensor, t: float, k: int, p: float) -> Tensor:
        return logits.min_p(logits.top_p(logits.top_k(logits.temperature(table, t), k), p), p / 10)

    function = compiled(cut, "inductor")
    for t, k, p in ((0.7, 20, 0.8), (1.3, 30, 0.95), (2.0, 10, 0.5)):
        torch.testing.assert_close(function(table, t, k, p), cut(table, t, k, p))


def test_compose_with_the_families() -> None:
    table = random.normal(KEY, (6, 20))
    cut = logits.top_p(logits.temperature(table, 0.7), 0.8)
    mask = torch.ones_like(table, dtype=torch.bool)
    wanted = categorical.probs(cut)
    assert (wanted[cut == -INF] == 0).all()
    torch.testing.assert_close(masked_categorical.probs(cut, mask), wanted)
    torch.testing.assert_close(llm_masked_categorical.probs(cut, mask[:, 0]), wanted)
    drawn = categorical.sample(KEY, cut, sample_shape=(1000,))
    assert (wanted.expand(1000, 6, 20).gather(-1, drawn[..., None]) > 0).all()


# -------------------------------------------------------------------------------------------------- without replacement
def test_draws_are_those_of_plackett_and_luce() -> None:
    row = [0.3, -1.0, -INF, 1.2, 0.0]
    probs, total = softmax(row), 60_000
    drawn = logits.sample_without_replacement(KEY, torch.tensor(row), 3, sample_shape=(total,))
    counts, rates = [], []
    for order in itertools.permutations([0, 1, 3, 4], 3):
        left, rate = 1.0, 1.0
        for i in order:
            rate, left = rate * probs[i] / left, left - probs[i]
        counts.append(int((drawn == torch.tensor(order)).all(-1).sum()))
        rates.append(rate * total)
    assert sum(counts) == total
    assert math.fsum(rates) == pytest.approx(total)
    assert scipy.stats.chisquare(counts, rates, sum_check=False).pvalue > 1e-3


def test_draws_are_distinct_and_inside_the_support() -> None:
    table = torch.where(random.bernoulli(KEY, (200, 30), 0.4), 3 * random.normal(KEY, (200, 30)), -INF)
    drawn = logits.sample_without_replacement(KEY, table, 15)
    assert drawn.dtype == torch.int64
    for row, outcomes in zip(table.tolist(), drawn.tolist(), strict=True):
        support = [i for i, x in enumerate(row) if x > -INF]
        used = min(len(support), 15)
        assert len(set(outcomes[:used])) == used
        assert set(outcomes[:used]) <= set(support)
        assert outcomes[used:] == [-1] * (15 - used)
    padded = logits.sample_without_replacement(KEY, table, 15, padding_value=30)
    assert torch.equal(padded, torch.where(drawn < 0, 30, drawn))
    assert logits.sample_without_replacement(KEY, table, 0).shape == (200, 0)


def test_draws_are_the_same_in_every_mode() -> None:
    table, keys = random.normal(KEY, (20, 30)), random.split(KEY, 4)

    def draw(key: Tensor, table: Tensor) -> Tensor:
        return logits.sample_without_replacement(key, table, 5, sample_shape=(3,))

    wanted = torch.stack([draw(key, table) for key in keys])
    assert wanted.shape == (4, 3, 20, 5)
    assert torch.equal(vmap(draw, in_dims=(0, None))(keys, table), wanted)
    assert torch.equal(compiled(draw, "inductor")(keys[0], table), wanted[0])
    assert torch.equal(compiled(vmap(draw, in_dims=(0, None)))(keys, table), wanted)
    rows = vmap(lambda row: draw(KEY, row))(table)
    assert torch.equal(rows, torch.stack([draw(KEY, row) for row in table]))
    assert torch.equal(draw(KEY, table.bfloat16()), draw(KEY, table.bfloat16().float()))
    generator = torch.Generator().manual_seed(1)
    assert not torch.equal(draw(generator, table), draw(generator, table))


@pytest.mark.parametrize(
    "cut", [lambda x: logits.top_k(x, 2), lambda x: logits.top_p(x, 0.5), lambda x: logits.min_p(x, 0.5)]
)
def test_a_nan_is_kept_so_that_its_row_is_not_silently_empty(cut: Any) -> None:
    table = torch.tensor([[0.0, math.nan, 1.0], [0.0, 2.0, 1.0]])
    kept = cut(table)
    assert kept[0, 1].isnan()
    assert torch.equal(kept[1], cut(table[1]))
    assert categorical.entropy(kept).isnan().tolist() == [True, False]
