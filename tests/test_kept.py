"""Kept sets: the rules that make them, against sorts in Python integers, their forms, and their probability."""

import math
from collections.abc import Callable
from typing import Any

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._dynamo.testing import CompileCounter
from torch.func import grad, jvp, vmap

import functional_dists.random.extension as extension
from functional_dists import categorical, kept, logits, masked_categorical, random, sparse_categorical
from functional_dists.special.choice import unit_of
from functional_dists.special.truncation import likeliest

KEY = random.key(5)
INF, NAN = math.inf, math.nan
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
NUMBERS = st.integers(-24, 24).map(lambda n: n / 4)
ROWS = st.lists(NUMBERS | st.sampled_from([-INF, -0.0, 0.0, 1.0]), min_size=1, max_size=14)
PARTS = st.sampled_from([0.0, 1.0]) | st.floats(0.0, 1.0)


def compiled(function: Any, backend: str = "aot_eager") -> Any:
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend=backend)


# -------------------------------------------------------------------------------------------------- a sort in integers
def integer_weights(row: list[float], dtype: torch.dtype) -> list[int]:
    full = torch.tensor(row, dtype=torch.promote_types(dtype, torch.float32))
    weights = (full - full.amax()).exp() if max(row) > -INF else torch.ones_like(full)
    return [int(w) for w in (weights.clamp(min=1e-34).double() * unit_of(len(row))).tolist()]


def reference(
    row: list[float], k: int | None, p: float | None, is_joint: bool = False, dtype: torch.dtype = torch.float64
) -> list[bool]:
    """Return the mask of one row by a sort, in exact sums of Python integers."""
    if any(math.isnan(x) for x in row):
        above = [INF if math.isnan(x) else -INF for x in row]
        first = reference([INF if math.isnan(x) else x for x in row], k, None) if p is None else [x > 0 for x in above]
        everything = p is not None and p >= 1
        return [f or math.isnan(x) or (everything and x > -INF) for f, x in zip(first, row, strict=True)]
    order = sorted(range(len(row)), key=lambda i: -row[i])  # stable: the first of equals comes first
    order = order if k is None else order[:k]
    if p is not None and p < 1:
        weights = integer_weights(row, dtype)
        goal = p * float(sum(weights[i] for i in (range(len(row)) if is_joint else order)))
        taken = 0
        for count, i in enumerate(order):
            if count and taken >= goal:
                order = order[:count]
                break
            taken += weights[i]
    places = set(order)
    return [i in places and x > -INF for i, x in enumerate(row)]


@settings(deadline=None, max_examples=300)
@given(ROWS, st.none() | st.integers(1, 16), st.none() | PARTS, st.booleans())
def test_rules_keep_what_a_sort_keeps(row: list[float], k: int | None, p: float | None, is_joint: bool) -> None:
    table = torch.tensor(row, dtype=torch.float64)
    order: Any = "joint" if is_joint else "sequential"
    wanted = reference(row, k, p, is_joint)
    assert logits.keep(table, top_k=k, top_p=p, order=order).tolist() == wanted
    rows = None if k is None else torch.tensor([k, 1]), None if p is None else torch.tensor([p, 0.5]).double()
    assert logits.keep(table, top_k=rows[0], top_p=rows[1], order=order).reshape(-1, len(row))[0].tolist() == wanted
    if p is None and k is not None:
        assert logits.keep_top_k(table, k).tolist() == wanted
        assert torch.equal(logits.top_k(table, k), torch.where(torch.tensor(wanted), table, -INF))
    if k is None and p is not None:
        assert logits.keep_top_p(table, p).tolist() == wanted
        assert torch.equal(logits.top_p(table, p), torch.where(torch.tensor(wanted), table, -INF))


@settings(deadline=None, max_examples=100)
@given(st.lists(NUMBERS | st.just(NAN), min_size=1, max_size=9), st.integers(1, 10), PARTS)
def test_a_nan_is_kept_as_the_largest(row: list[float], k: int, p: float) -> None:
    table = torch.tensor([row, [0.0] * len(row)])
    assert logits.keep_top_k(table, k)[0].tolist() == reference(row, k, None)
    assert logits.keep_top_p(table, p)[0].tolist() == reference(row, None, p, dtype=torch.float32)
    assert logits.keep_min_p(table, p)[0].tolist() == [math.isnan(x) for x in row] or not table[0].isnan().any()
    assert logits.keep_top_k(table, k)[1].tolist() == [i < k for i in range(len(row))]


@settings(deadline=None, max_examples=100)
@given(ROWS, PARTS)
def test_min_p_compares_with_the_largest(row: list[float], p: float) -> None:
    bound = max(row) + (math.log(p) if p else -INF)
    wanted = [x > -INF and x >= bound for x in row]
    assert logits.keep_min_p(torch.tensor(row, dtype=torch.float64), p).tolist() == wanted
    assert logits.keep(torch.tensor(row, dtype=torch.float64), min_p=p).tolist() == wanted


def table_of(dtype: torch.dtype, size: int, batch: tuple[int, ...] = (6,)) -> Tensor:
    """Return rows of ordinary logits, half masked, all masked, in steps, flat with both zeros, and with a NaN."""
    table = 3 * random.normal(KEY, (*batch, size))
    table[1, ::2] = -INF
    table[2] = -INF
    table[3] = (2 * table[3]).round() / 2
    table[4] = torch.where(torch.arange(size) % 3 == 0, 0.0, -0.0)
    table[5, size // 2] = NAN
    return table.to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [300, 32_000])
def test_long_rows(dtype: torch.dtype, size: int) -> None:
    table = table_of(dtype, size)
    counts = torch.tensor([1, 7, 50, 300, 200, 3])
    parts = torch.tensor([0.5, 0.9, 0.99, 0.999, 0.3, 0.9], dtype=torch.float64)
    for k, p, is_joint in ((50, None, False), (None, 0.9, False), (50, 0.9, False), (50, 0.9, True)):
        order: Any = "joint" if is_joint else "sequential"
        got = logits.keep(table, top_k=k, top_p=p, order=order)
        assert got.tolist() == [reference(row, k, p, is_joint, dtype) for row in table.tolist()]
        ks, ps = None if k is None else counts, None if p is None else parts
        got = logits.keep(table, top_k=ks, top_p=ps, order=order)
        for row, mask, a, b in zip(table.tolist(), got.tolist(), counts.tolist(), parts.tolist(), strict=True):
            assert mask == reference(row, k and a, p and b, is_joint, dtype)


def test_the_probability_is_reached_and_not_without_the_last() -> None:
    with mpmath.workdps(40):
        table = 3 * random.normal(KEY, (4, 2000))
        for p in (0.1, 0.9, 0.999):
            for row, mask in zip(table.tolist(), logits.keep_top_p(table, p).tolist(), strict=True):
                weights = [mpmath.exp(x) for x in row]
                mass = [w / mpmath.fsum(weights) for w, m in zip(weights, mask, strict=True) if m]
                assert mpmath.fsum(mass) > p - 1e-7
                assert mpmath.fsum(mass) - min(mass) < p + 1e-7


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_set_does_not_depend_on_the_mode_nor_on_the_batch(elsewhere: bool, monkeypatch: Any) -> None:
    table = table_of(torch.float32, 3000)[:, None].expand(6, 3, 3000)
    k, p = torch.tensor([5, 100, 2000]), torch.tensor([0.5, 0.9, 0.99]).expand(6, 3)
    rules: list[Callable[..., Tensor]] = [
        lambda x, k, p: logits.keep_top_k(x, k),
        lambda x, k, p: logits.keep_top_k(x, 20),
        lambda x, k, p: logits.keep_top_p(x, p),
        lambda x, k, p: logits.keep_min_p(x, p),
        lambda x, k, p: logits.keep(x, top_k=k, top_p=p, min_p=0.01),
        lambda x, k, p: logits.keep(x, top_k=20, top_p=0.9, min_p=p / 10, order="joint"),
    ]
    for rule in rules:
        wanted = rule(table, k, p)
        assert wanted.dtype == torch.bool
        if elsewhere:  # what runs on a device without NumPy
            with monkeypatch.context() as patch:
                patch.setattr(torch.Tensor, "is_cpu", False)
                assert torch.equal(rule(table, k, p), wanted)
            continue
        for i in range(6):
            for j in range(3):
                assert torch.equal(rule(table[i, j], k[j], p[i, j]), wanted[i, j])
        assert torch.equal(vmap(rule, in_dims=(0, None, 0))(table, k, p), wanted)
        assert torch.equal(vmap(vmap(rule), in_dims=(0, None, 0))(table, k, p), wanted)
        assert torch.equal(vmap(rule, in_dims=(1, 0, 1), out_dims=1)(table, k, p), wanted)
        assert torch.equal(vmap(rule, in_dims=(None, None, 0))(table[0], k, p), rule(table[:1].expand(6, 3, -1), k, p))
        assert torch.equal(compiled(rule, "inductor")(table, k, p), wanted)
        assert torch.equal(compiled(vmap(rule, in_dims=(0, None, 0)), "inductor")(table, k, p), wanted)
        assert torch.equal(rule(table.transpose(0, 1), k[:, None], p.T), wanted.transpose(0, 1))


def test_one_row_and_a_number_for_each_of_many() -> None:
    row = 3 * random.normal(KEY, (40,))
    got = logits.keep(row, top_k=torch.tensor([3, 9]), top_p=torch.tensor([0.5, 0.9]))
    assert torch.equal(got, torch.stack([logits.keep(row, top_k=3, top_p=0.5), logits.keep(row, top_k=9, top_p=0.9)]))
    assert logits.keep(row).all()
    assert not logits.keep(torch.full((3,), -INF), top_k=2, top_p=0.5, min_p=0.5).any()
    with pytest.raises(ValueError, match='order must be "sequential" or "joint", got '):
        logits.keep(row, order="both")
    for option, wrong in (("top_k", 0), ("top_p", 1.5), ("min_p", -0.5)):
        with pytest.raises(ValueError, match=rf"^logits\.keep: {option} must be"):
            logits.keep(row, **{option: wrong})
    with pytest.raises(TypeError, match=r"^logits\.keep_top_k: k must be an integer"):
        logits.keep_top_k(row, 0.5)


def test_the_orders_differ_as_their_sources_say() -> None:
    row = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    assert logits.keep(row, top_k=3, top_p=0.75).tolist() == [True, True, False, False]  # 0.7 of 0.9 is 0.78
    assert logits.keep(row, top_k=3, top_p=0.75, order="joint").tolist() == [True, True, True, False]
    assert torch.equal(logits.keep(row, top_k=3, top_p=0.75), logits.top_p(logits.top_k(row, 3), 0.75) > -INF)


def test_a_new_count_does_not_recompile() -> None:
    counts = CompileCounter()
    torch._dynamo.reset()
    rule = torch.compile(lambda x, k, p: logits.keep(x, top_k=k, top_p=p), fullgraph=True, backend=counts)
    table = random.normal(KEY, (4, 50))
    for k, p in ((3, 0.5), (7, 0.6), (9, 0.7), (12, 0.8)):
        assert torch.equal(rule(table, k, p), logits.keep(table, top_k=k, top_p=p))
    assert counts.frame_count <= 2


# ---------------------------------------------------------------------------------------------------------------- forms
MASK = torch.tensor([[True, False, True, True], [False, False, False, False], [False, True, False, False]])
INDICES = torch.tensor([[0, 2, 3], [-1, -1, -1], [1, -1, -1]])
TOKENS = kept.KeptTokens(torch.tensor([0, 2, 3, 1]), torch.tensor([0, 3, 3, 4]))


FORMS = [MASK, INDICES, TOKENS, INDICES.int(), kept.KeptTokens(*(t.int() for t in TOKENS))]


@pytest.mark.parametrize("given_form", FORMS)
def test_forms(given_form: kept.Kept) -> None:
    assert torch.equal(kept.as_mask(given_form, 4), MASK)
    assert torch.equal(kept.as_indices(given_form), INDICES)
    assert torch.equal(kept.as_indices(given_form, 5), torch.nn.functional.pad(INDICES, (0, 2), value=-1))
    assert all(torch.equal(a, b) for a, b in zip(kept.as_tokens(given_form), TOKENS, strict=True))
    assert torch.equal(compiled(lambda s: kept.as_mask(s, 4))(given_form), MASK)
    assert torch.equal(compiled(lambda s: kept.as_indices(s, 3))(given_form), INDICES)
    assert kept.as_indices(given_form).dtype == torch.int64


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=6))
def test_round_trips(rows: list[list[bool]]) -> None:
    mask = torch.tensor(rows)
    for form in (kept.as_indices(mask), kept.as_tokens(mask), kept.as_indices(kept.as_tokens(mask))):
        assert torch.equal(kept.as_mask(form, 5), mask)
    deep = mask[:, None].expand(-1, 2, -1)
    assert torch.equal(kept.as_mask(kept.as_tokens(deep), 5, deep.shape[:-1]), deep)
    assert torch.equal(kept.as_mask(kept.as_indices(deep), 5), deep)


def test_slots_may_be_anywhere_and_keep_their_order() -> None:
    scattered = torch.tensor([[-7, 3, -1, 0], [2, -1, 1, -1]])
    assert kept.as_indices(scattered).tolist() == [[3, 0], [2, 1]]
    assert kept.as_tokens(scattered).token_ids.tolist() == [3, 0, 2, 1]
    assert torch.equal(vmap(lambda s: kept.as_mask(s, 4))(scattered), kept.as_mask(scattered, 4))
    assert torch.equal(vmap(lambda s: kept.as_indices(s, 2))(scattered), kept.as_indices(scattered))
    assert vmap(lambda s: kept.as_indices(s, 2))(kept.as_mask(scattered, 4)).tolist() == [[0, 3], [1, 2]]


def test_what_does_not_fit_raises() -> None:
    ids, offsets = TOKENS
    wrong: list[tuple[Callable[[], Any], str]] = [
        (
            lambda: kept.as_mask(kept.KeptTokens(ids, offsets[:-1]), 4),
            "the number 4 of token_ids, got 0 and 3",
        ),
        (lambda: kept.as_mask(kept.KeptTokens(ids, offsets + 1), 4), "begin with 0"),
        (lambda: kept.as_mask(kept.KeptTokens(ids, torch.tensor([0, 3, 2, 4])), 4), "offsets must not fall"),
        (lambda: kept.as_mask(kept.KeptTokens(ids, offsets[:0]), 4), "offsets must have one element more"),
        (lambda: kept.as_mask(TOKENS, 3), "between 0 and 2, got 3"),
        (lambda: kept.as_mask(kept.KeptTokens(ids - 1, offsets), 4), "between 0 and 3, got -1"),
        (lambda: kept.as_mask(INDICES, 3), "between 0 and 2, got 3"),
        (lambda: kept.as_mask(MASK, 5), "must have 5 columns"),
        (lambda: kept.as_mask(TOKENS, 4, (2, 2)), "of 3 rows, which do not fit the batch"),
        (lambda: kept.as_indices(MASK, 2), "a row keeps 3 tokens, more than size=2"),
        (lambda: kept.as_indices(TOKENS, 2), "a row keeps 3 tokens, more than size=2"),
        (lambda: kept.check(TOKENS, 4), r"must hold a token in every row; this fails at position \(1,\)"),
        (lambda: kept.check(torch.tensor([[1, 1]]), 4), "must hold distinct tokens in every row"),
    ]
    for function, message in wrong:
        with pytest.raises(ValueError, match=message):
            function()
    for form in (torch.zeros(2), kept.KeptTokens(ids.float(), offsets), [1, 2], torch.tensor(1)):
        with pytest.raises(TypeError):
            kept.as_mask(form, 4)
    with pytest.raises(RuntimeError, match="depends on the data"):
        vmap(kept.as_tokens)(MASK)
    kept.check(MASK[:1], 4)


# ----------------------------------------------------------------------------------------------------------------- mass
def exact_log_mass(row: list[float], mask: list[bool]) -> mpmath.mpf:
    weights = [mpmath.exp(mpmath.mpf(x)) if x > -INF else mpmath.mpf(0) for x in row]
    inside = mpmath.fsum(w for w, m in zip(weights, mask, strict=True) if m)
    return mpmath.log(inside / mpmath.fsum(weights)) if inside else -mpmath.inf


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1.0, 10.0, 40.0])
def test_log_mass_has_all_digits(dtype: torch.dtype, scale: float) -> None:
    table = (scale * random.normal(KEY, (40, 20), dtype=torch.float64)).to(dtype)
    mask = random.bernoulli(random.fold_in(KEY, 1), (40, 20), torch.linspace(0.05, 0.95, 40)[:, None])
    mask[:, 0], mask[:, 1] = True, False
    got = logits.log_kept_mass(table, mask)
    eps, tiny = torch.finfo(dtype).eps, torch.finfo(dtype).tiny
    with mpmath.workdps(150):
        for value, row, kept_row in zip(got.tolist(), table.tolist(), mask.tolist(), strict=True):
            wanted = exact_log_mass(row, kept_row)
            # In float64 the log of the odds is rounded, and its exponential has that error relative to 1.
            odds = abs(mpmath.log(mpmath.expm1(-wanted))) if abs(wanted) > 1e-140 else 400
            assert abs(value - wanted) <= (4 + (odds if dtype == torch.float64 else 0)) * eps * abs(wanted) + tiny


def test_log_mass_of_every_form_and_mode() -> None:
    table = 3 * random.normal(KEY, (2, 3, 9))
    mask = logits.keep_top_k(table, 4)
    wanted = logits.log_kept_mass(table, mask)
    torch.testing.assert_close(wanted, (table.softmax(-1) * mask).sum(-1).log())
    assert torch.equal(logits.log_kept_mass(table, kept.as_indices(mask)), wanted)
    assert torch.equal(logits.log_kept_mass(table, kept.as_tokens(mask)), wanted)
    assert torch.equal(vmap(logits.log_kept_mass)(table, mask), wanted)
    torch.testing.assert_close(compiled(logits.log_kept_mass, "inductor")(table, mask), wanted)
    torch.testing.assert_close(compiled(logits.log_kept_mass, "inductor")(table, kept.as_tokens(mask)), wanted)
    torch.testing.assert_close(compiled(vmap(logits.log_kept_mass))(table, mask), wanted)
    assert logits.log_kept_mass(table.bfloat16(), mask).dtype == torch.bfloat16
    double = table.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: logits.log_kept_mass(x, mask), double)
    assert torch.autograd.gradgradcheck(lambda x: logits.log_kept_mass(x, mask), double)
    with pytest.raises(ValueError, match="does not fit"):
        logits.log_kept_mass(table, mask[:, :2])


def test_log_mass_at_the_edges() -> None:
    table = torch.tensor([[0.0, 1.0, -INF], [0.0, 1.0, -INF], [-INF, -INF, -INF], [0.0, NAN, 1.0], [NAN, 0.0, 0.0]])
    mask = torch.tensor([[1, 1, 0], [0, 0, 1], [1, 0, 1], [1, 0, 0], [0, 0, 0]]).bool()
    value = logits.log_kept_mass(table, mask)
    assert value[:3].tolist() == [0.0, -INF, -INF]
    assert value[3:].isnan().all()
    slope = grad(lambda x: torch.where(value.isfinite(), logits.log_kept_mass(x, mask), 0.0).sum())(table)
    assert (slope[:3] == 0).all()
    near = logits.log_kept_mass(torch.tensor([0.0, -60.0]), torch.tensor([True, False]))
    assert near.item() == pytest.approx(-math.exp(-60), rel=1e-6)
    assert jvp(lambda x: logits.log_kept_mass(x, mask[0]), (table[0],), (torch.ones(3),))[1] == 0


def test_the_operation_alone() -> None:
    table = torch.tensor([[0.0, 2.0, 1.0]])
    torch.library.opcheck(
        torch.ops.functional_dists.likeliest.default,
        (table, torch.tensor([[2]]), 2, torch.tensor([[0.9]], dtype=torch.float64), True),
    )
    assert likeliest(table, None, None, None).all()


# --------------------------------------------------------------------------------------------- scores on the kept set
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize(("rows", "size", "count"), [(2000, 40, 9), (60, 32_000, 50)])
def test_masks_and_lists_score_the_same(
    dtype: torch.dtype, kernels: bool, rows: int, size: int, count: int, monkeypatch: Any
) -> None:
    if not kernels:
        monkeypatch.setattr(extension, "kernels", None)
    table = (4 * random.normal(KEY, (rows, size))).to(dtype)
    mask = logits.keep_top_k(table, count)
    listed = kept.as_indices(mask)
    shuffled = listed[:, random.permutation(KEY, count)]
    for token in listed.T[:3]:
        wanted = masked_categorical.log_prob(table, mask, token)
        assert torch.equal(wanted, categorical.log_prob(logits.top_k(table, count), token))
        assert torch.equal(wanted, masked_categorical.log_prob(table, kept.as_mask(kept.as_tokens(mask), size), token))
        for indices in (listed, shuffled):
            assert torch.equal(wanted, sparse_categorical.log_prob(table, indices, token, padding_value=-1))


def test_softcap() -> None:
    table = torch.tensor([0.5, -3.0, 1e30, -1e30, -INF, NAN])
    got = logits.softcap(table, 2.0)
    torch.testing.assert_close(got[:2], 2 * torch.tanh(table[:2] / 2))
    assert got[2:5].tolist() == [2.0, -2.0, -INF]
    assert got[5].isnan()
    slope = grad(lambda x: logits.softcap(x, 2.0)[:5].clamp(min=-9).sum() + logits.softcap(x, 2.0)[5])(table)
    torch.testing.assert_close(
        slope, torch.cat([1 - torch.tanh(table[:4] / 2) ** 2, torch.tensor([0.0, NAN])]), equal_nan=True
    )
    assert logits.softcap(table.bfloat16(), 2.0).dtype == torch.bfloat16
    assert torch.equal(vmap(lambda x: logits.softcap(x, 2.0))(table[:, None])[:5, 0], got[:5])
    for wrong in (None, "1", torch.tensor(1.0), True):
        with pytest.raises(TypeError, match=r"logits\.softcap: softcap must be a number"):
            logits.softcap(table, wrong)
    for wrong in (0.0, -1.0, INF, NAN):
        with pytest.raises(ValueError, match=r"logits\.softcap: softcap must be positive"):
            logits.softcap(table, wrong)
