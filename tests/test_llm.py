"""The distribution of tokens: against dense float64 tables, in every mode, at any chunk size, and in bounded memory."""

import functools
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import scipy.stats
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import grad, hessian, jvp, vmap
from torch.utils._python_dispatch import TorchDispatchMode

from functional_dists import bind, categorical, logits, masked_categorical, random
from functional_dists import llm_masked_categorical as family
from functional_dists.random import extension
from functional_dists.special import chunks
from functional_dists.special.adjustment import Adjustment

KEY = random.key(5)
BATCH, POSITIONS, TOKENS = 2, 5, 7
SHAPE = (BATCH, POSITIONS, TOKENS)
HALF = (torch.float16, torch.bfloat16)


def compiled(function: Any, backend: str = "aot_eager") -> Any:
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend=backend)


def example(kind: str, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits with NaN and infinity where the mask is False, that mask, and tokens with some `ignore_index`."""
    key = random.fold_in(KEY, seed)
    table = (2 * random.normal(key, SHAPE, dtype=torch.float64)).to(dtype)
    if kind == "positions":
        mask = torch.tensor([[True, True, False, True, False], [True, False, True, True, True]])
        table[0, 2], table[0, 4, 3], table[1, 1] = math.nan, math.inf, -math.inf
    else:
        mask = random.bernoulli(random.fold_in(key, 1), SHAPE, 0.6)
        mask[..., 2] = True
        table = torch.where(mask, table, torch.tensor([math.nan, math.inf, -math.inf, 3e38]).to(dtype)[0])
        table[0, 0, ~mask[0, 0]] = math.inf
    value = random.randint(random.fold_in(key, 2), SHAPE[:-1], 0, TOKENS)
    value[0, 1] = value[1, 4] = -100
    return table, mask, value


def dense(table: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return log-probabilities in float64, -inf outside the support, and where a position counts."""
    allowed = mask if mask.ndim == table.ndim else mask[..., None].expand(table.shape)
    counts = torch.ones(table.shape[:-1], dtype=torch.bool) if mask.ndim == table.ndim else mask
    masked = torch.where(allowed, table.double(), -math.inf)
    return torch.where(counts[..., None], masked, 0.0).log_softmax(-1), counts


def scores(table: Tensor, mask: Tensor, value: Tensor) -> Tensor:
    """Return something of all that has a gradient, of which none is infinite."""
    other = family.Params(torch.zeros_like(table), mask)
    parts = [
        family.log_prob(table, mask, value).clamp(min=-1e4),
        family.entropy(table, mask),
        family.kl(family.Params(table, mask), other),
        family.kl(other, family.Params(table, mask)),
        family.probs(table, mask)[..., 2],
    ]
    return sum((i + 1) * part.sum() for i, part in enumerate(parts))


KINDS = pytest.mark.parametrize("kind", ["positions", "tokens"])


@pytest.fixture(params=["whole", "rows", "samples"])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Cut not at all, into rows, or into the samples of the batch."""
    size = {"whole": chunks.CHUNK, "rows": 2 * TOKENS, "samples": POSITIONS * TOKENS}[request.param]
    monkeypatch.setattr(chunks, "CHUNK", size)
    return request.param


# ------------------------------------------------------------------------------------------------- against dense tables
@KINDS
def test_verbs_follow_from_the_table(kind: str, chunk: str) -> None:
    table, mask, value = example(kind)
    log_table, counts = dense(table, mask)
    probs = torch.where(counts[..., None], log_table.exp(), 0.0)
    torch.testing.assert_close(family.probs(table, mask), probs)
    torch.testing.assert_close(family.normalized_logits(table, mask), probs.log())
    finite = torch.where(probs > 0, log_table, 0.0)
    torch.testing.assert_close(family.entropy(table, mask), -(probs * finite).sum(-1))
    best = torch.where(counts, log_table.argmax(-1), -100)
    assert torch.equal(family.mode(table, mask), best)
    assert torch.equal(family.deterministic(table, mask), best)
    picked = log_table.gather(-1, value.clamp(min=0)[..., None]).squeeze(-1)
    wanted = torch.where(counts & (value != -100), picked, 0.0)
    torch.testing.assert_close(family.log_prob(table, mask, value), wanted)
    assert (wanted == -math.inf).any() or kind == "positions"
    many = torch.stack([value, value.flip(0), value.flip(1)]).expand(2, 3, *value.shape)
    alone = torch.stack([family.log_prob(table, mask, v) for v in many[0]])
    torch.testing.assert_close(family.log_prob(table, mask, many), alone.expand(2, *alone.shape))


@KINDS
def test_kl_follows_from_the_tables(kind: str, chunk: str) -> None:
    p, q = (family.Params(*example(kind, seed=seed)[:2]) for seed in (0, 1))
    q = q._replace(mask=q.mask | (p.mask if kind == "tokens" else False))
    q = q._replace(logits=torch.where(q.logits.isfinite(), q.logits, 0.0))
    for one, other in ((p, q), (p, family.Params(p.logits + 1e-3 * q.logits.nan_to_num(), p.mask))):
        (log_p, p_counts), (log_q, q_counts) = dense(*one), dense(*other)
        both = p_counts & q_counts
        terms = torch.where(log_p > -math.inf, log_p.exp() * (log_p - log_q), 0.0)
        wanted = torch.where(both, terms.sum(-1), 0.0)
        torch.testing.assert_close(family.kl(one, other), wanted, rtol=1e-9, atol=1e-13)
    if kind == "tokens":
        lost = p.mask & ~torch.roll(p.mask, 1, -1)
        rolled = family.Params(torch.zeros(SHAPE).double(), torch.roll(p.mask, 1, -1))
        assert torch.equal(family.kl(p, rolled) == math.inf, lost.any(-1))
        gradient = grad(lambda table: family.kl((table, p.mask), rolled).nan_to_num(posinf=0.0).sum())(p.logits)
        assert gradient.isfinite().all()


def test_kl_of_close_logits_keeps_its_digits_and_sign() -> None:
    table = 2 * random.normal(KEY, (20, 3000))
    other = table + 1e-3 * random.normal(random.fold_in(KEY, 1), table.shape)
    mask = torch.ones(20, dtype=torch.bool)
    wanted = categorical.kl((table.double(),), (other.double(),)).float()
    got = family.kl((table, mask), (other, mask))
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=0)
    assert (family.kl((table, mask), (table + 1, mask)) >= 0).all()


def test_kl_takes_masks_of_both_kinds_and_two_dtypes() -> None:
    table, positions, _ = example("positions")
    tokens = example("tokens")[1]
    table = table.nan_to_num()
    got = family.kl((table, tokens), (table.float(), positions))
    wanted = masked_categorical.kl((table, tokens), (table, torch.ones_like(tokens)))
    torch.testing.assert_close(got, torch.where(positions, wanted, 0.0), rtol=1e-5, atol=1e-6)
    assert family.kl((table.bfloat16(), tokens), (table.bfloat16(), positions)).dtype == torch.bfloat16


@KINDS
def test_gradients_are_those_of_the_dense_table(kind: str, chunk: str) -> None:
    table, mask, value = example(kind)
    allowed = mask if kind == "tokens" else mask[..., None].expand(SHAPE)

    def of_dense(table: Tensor) -> Tensor:
        p, zeros = (torch.where(allowed, table, 0.0), allowed), (torch.zeros_like(table), allowed)
        picked = masked_categorical.log_prob(*p, value.clamp(min=0)).clamp(min=-1e4)
        parts = [
            torch.where(allowed.any(-1) & (value != -100), picked, 0.0),
            masked_categorical.entropy(*p),
            masked_categorical.kl(p, zeros),
            masked_categorical.kl(zeros, p),
            masked_categorical.probs(*p)[..., 2],
        ]
        return sum((i + 1) * part.sum() for i, part in enumerate(parts))

    wanted = grad(of_dense)(table)
    assert (wanted[~allowed] == 0).all()
    got = grad(scores)(table, mask, value)
    torch.testing.assert_close(got, wanted)
    assert (got[~allowed] == 0).all()
    leaf = table.clone().requires_grad_()
    scores(leaf, mask, value).backward()
    torch.testing.assert_close(leaf.grad, wanted)
    tangent = torch.ones_like(table)
    tangent[..., 0] = -2
    slope = jvp(lambda table: scores(table, mask, value), (table,), (tangent,))[1]
    torch.testing.assert_close(slope, (wanted * tangent).sum())
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(table.clone().requires_grad_(), tangent)
        torch.testing.assert_close(forward_ad.unpack_dual(scores(dual, mask, value)).tangent, slope)


@KINDS
def test_second_derivatives(kind: str, chunk: str) -> None:
    table, mask, value = example(kind)
    allowed = mask if kind == "tokens" else mask[..., None].expand(SHAPE)
    table = torch.where(allowed, table, math.nan)

    def of_row(row: Tensor) -> Tensor:
        return scores(torch.cat([row[None], table[1:]]), mask, value)

    second = hessian(of_row)(table[0])
    assert second.isfinite().all()
    leaf = table.clone().requires_grad_()
    (first,) = torch.autograd.grad(scores(leaf, mask, value), leaf, create_graph=True)
    weights = random.normal(KEY, SHAPE[1:]).double()
    (product,) = torch.autograd.grad((first[0] * weights).sum(), leaf)
    torch.testing.assert_close(product[0], torch.einsum("ijkl,ij->kl", second, weights))


def test_retained_graph_and_changed_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK", 2 * TOKENS)
    table, mask, value = example("positions")
    leaf = table.clone().requires_grad_()
    total = scores(leaf, mask, value)
    twice = [torch.autograd.grad(total, leaf, retain_graph=True)[0] for _ in range(2)]
    torch.testing.assert_close(*twice)
    moved = leaf * 1.0
    total = family.log_prob(moved, mask, value).sum()
    with torch.no_grad():
        moved.mul_(2)
    with pytest.raises(RuntimeError, match="modified in place"):
        total.backward()


# ------------------------------------------------------------------------------------------------------------ semantics
def test_ignore_index() -> None:
    table, mask, value = example("positions")
    with_zero = torch.where(value == -100, 0, value)
    assert torch.equal(family.log_prob(table, mask, with_zero, ignore_index=0) == 0, ~mask | (with_zero == 0))
    assert (family.sample(KEY, table, mask, ignore_index=-1)[~mask] == -1).all()
    assert (family.mode(table, mask, ignore_index=-1)[~mask] == -1).all()
    own = bind(family, ignore_index=-7)
    drawn, log_prob = own.sample_and_log_prob(KEY, table, mask)
    assert torch.equal(drawn == -7, ~mask)
    assert torch.equal(log_prob, own.log_prob(table, mask, drawn))
    assert (log_prob[~mask] == 0).all()
    assert family.log_prob(table, mask, torch.full((), TOKENS))[0, 0] == -math.inf
    assert family.log_prob(table, mask, torch.full((), -1))[0, 0] == -math.inf


def test_ignored_rows_may_hold_anything() -> None:
    """As in cross_entropy, but here NaN does not come through the gradient either."""
    table, mask = torch.zeros(2, 3), torch.ones(2, dtype=torch.bool)
    table[1] = math.nan
    gradient = grad(lambda table: family.log_prob(table, mask, torch.tensor([1, -100])).sum())(table)
    torch.testing.assert_close(gradient, torch.tensor([[-1 / 3, 2 / 3, -1 / 3], [0.0, 0.0, 0.0]]))


@KINDS
def test_a_position_without_tokens_is_defined_and_alone(kind: str) -> None:
    table, mask, value = example(kind)
    if kind == "tokens":
        mask[0, 0] = False
    else:
        table[0, 0] = -math.inf
    value[0, 0] = 1
    assert family.log_prob(table, mask, value)[0, 0] == -math.inf
    assert family.entropy(table, mask)[0, 0] == family.sample(KEY, table, mask)[0, 0] == 0
    assert (family.probs(table, mask)[0, 0] == 0).all()
    gradient = grad(scores)(table, mask, value)
    assert gradient.isfinite().all()
    assert (gradient[0, 0] == 0).all()
    with pytest.raises(
        ValueError, match=r"must (allow|leave) a token at every position; this fails at position \(0, 0\)"
    ):
        family.check(table, mask)


def test_cut_logits_are_outside_the_support(chunk: str) -> None:
    table, mask, _ = example("positions")
    cut = logits.top_k(table.nan_to_num(), 3)
    drawn, log_prob = family.sample_and_log_prob(KEY, cut, mask, sample_shape=(500,))
    assert log_prob.isfinite().all()
    assert (cut.expand(500, *SHAPE).gather(-1, drawn.clamp(min=0)[..., None])[..., 0][:, mask] > -math.inf).all()
    worst = table.nan_to_num().argmin(-1)
    assert torch.equal(family.log_prob(cut, mask, worst) == -math.inf, mask)

    def total(cut: Tensor) -> Tensor:
        return family.log_prob(cut, mask, worst).sum()

    assert (grad(total)(cut) == 0).all()
    assert (grad(lambda cut: family.entropy(cut, mask).sum())(cut)[cut == -math.inf] == 0).all()


def test_agrees_with_cross_entropy() -> None:
    table = random.normal(KEY, (4, 6, 50))
    value = random.randint(KEY, (4, 6), 0, 50)
    value[1, 2:] = -100
    wanted = torch.nn.functional.cross_entropy(table.flatten(0, 1), value.flatten(), reduction="none").view(4, 6)
    torch.testing.assert_close(-family.log_prob(table, torch.ones(4, 6, dtype=torch.bool), value), wanted)


def test_check() -> None:
    table, mask, _ = example("positions")
    family.check(table, mask)
    family.check(*example("tokens")[:2])
    table[1, 2, 3] = math.nan
    with pytest.raises(ValueError, match=r"logits must be numbers below infinity.*\(1, 2, 3\)"):
        family.check(table, mask)


@pytest.mark.parametrize("shape", [(), (5,), (2, 1), (1, 5), (2, 5, 1), (1, 5, 7), (2, 7), (3, 2, 5), (1, 2, 5, 7)])
def test_masks_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    table, mask = torch.zeros(SHAPE), torch.ones(shape, dtype=torch.bool)
    message = r"mask must have the shape of the logits or .* do not broadcast: logits \(2, 5, 7\), mask \("
    for call in (
        lambda: family.log_prob(table, mask, torch.zeros(2, 5, dtype=torch.int64)),
        lambda: family.sample(KEY, table, mask),
        lambda: family.entropy(table, mask),
        lambda: family.check(table.bfloat16(), mask),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    right = torch.ones(SHAPE, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"llm_masked_categorical\.kl: mask must have the shape"):
        family.kl((table, right), (table, mask))


def test_other_errors() -> None:
    table, mask = torch.zeros(SHAPE), torch.ones(SHAPE[:-1], dtype=torch.bool)
    with pytest.raises(ValueError, match=r"p and q must have one shape, as they do not broadcast: p\.logits"):
        family.kl((table, mask), (table[:1], mask[:1]))
    with pytest.raises(TypeError, match="mask must be a bool tensor"):
        family.entropy(table, mask.long())
    with pytest.raises(ValueError, match="may only add leading axes"):
        family.log_prob(table, mask, torch.zeros(2, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="logits must have an axis of tokens"):
        family.entropy(torch.zeros(()), True)
    assert family.entropy(torch.zeros(4), True) == pytest.approx(math.log(4))


def test_pytrees() -> None:
    table, mask, value = example("positions")
    tree = {"a": table, "b": (table[:1],)}
    masks, values = {"a": mask, "b": (mask[:1],)}, {"a": value, "b": (value[:1],)}
    got = family.log_prob(tree, masks, values)
    assert torch.equal(got["a"], family.log_prob(table, mask, value))
    assert torch.equal(got["b"][0], family.log_prob(table[:1], mask[:1], value[:1]))


def test_empty_batches() -> None:
    table, mask = torch.zeros(0, 3, 4), torch.zeros(0, 3, dtype=torch.bool)
    assert family.entropy(table, mask).shape == family.mode(table, mask).shape == (0, 3)
    assert family.log_prob(table, mask, torch.zeros(5, 0, 3, dtype=torch.int64)).shape == (5, 0, 3)


# ---------------------------------------------------------------------------------------------------------------- draws
@KINDS
@pytest.mark.parametrize("count", [7, 3000])
def test_draws_are_the_same_in_every_mode(kind: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    table = 3 * random.normal(KEY, (3, 4, count))
    mask = random.bernoulli(KEY, table.shape if kind == "tokens" else table.shape[:-1], 0.6)
    table = torch.where(mask if kind == "tokens" else mask[..., None], table, math.nan)
    keys = random.split(KEY, 3)

    def sample(key: Tensor, table: Tensor, mask: Tensor) -> Tensor:
        return family.sample(key, table, mask, sample_shape=(2, 3))

    eager = torch.stack([sample(key, table, mask) for key in keys])
    for size in (1, count, 2 * count, 5 * count):
        monkeypatch.setattr(chunks, "CHUNK", size)
        assert torch.equal(torch.stack([sample(key, table, mask) for key in keys]), eager)
    mapped = vmap(sample, in_dims=(0, None, None))
    assert torch.equal(mapped(keys, table, mask), eager)
    if count > 7:
        assert torch.equal(compiled(sample, "inductor")(KEY, table, mask), sample(KEY, table, mask))
        assert torch.equal(compiled(mapped)(keys, table, mask), eager)
    rows = vmap(lambda table, mask: sample(KEY, table, mask))(table, mask)
    assert torch.equal(rows, torch.stack([sample(KEY, *row) for row in zip(table, mask, strict=True)]))
    without = family.sample(KEY, table, mask)
    assert torch.equal(compiled(family.sample, "inductor")(KEY, table, mask), without)
    if kind == "tokens":
        assert torch.equal(without, masked_categorical.sample(KEY, table, mask))


@KINDS
@pytest.mark.parametrize("source", ["key", "generator"])
def test_draws_have_their_rates(kind: str, source: str) -> None:
    table, mask, _ = example(kind)
    key = KEY if source == "key" else torch.Generator().manual_seed(1)
    drawn = family.sample(key, table, mask, sample_shape=(20_000,))
    probs = family.probs(table, mask)
    for place in torch.cartesian_prod(torch.arange(BATCH), torch.arange(POSITIONS)).tolist():
        of_place, expected = drawn[:, *place], 20_000 * probs[*place]
        if expected.sum() == 0:
            assert (of_place == -100).all()
            continue
        counts = torch.bincount(of_place, minlength=TOKENS)
        assert (counts[expected == 0] == 0).all()
        used = expected > 0
        if used.sum() > 1:
            assert scipy.stats.chisquare(counts[used].numpy(), expected[used].numpy()).pvalue > 1e-4


def test_score_gradient_is_that_of_log_prob_at_the_sample(chunk: str) -> None:
    table, mask, _ = example("tokens")
    drawn = family.sample(KEY, table, mask)
    got = grad(lambda table: family.sample_and_log_prob(KEY, table, mask)[1].sum())(table)
    assert torch.equal(got, grad(lambda table: family.log_prob(table, mask, drawn).sum())(table))


# ---------------------------------------------------------------------------------------------------------------- modes
@KINDS
def test_vmap_is_the_loop(kind: str, chunk: str) -> None:
    table, mask, value = example(kind)
    for verb, arguments in (
        (family.log_prob, (table, mask, value)),
        (family.entropy, (table, mask)),
        (family.probs, (table, mask)),
        (family.mode, (table, mask)),
        (lambda *p: family.kl(p, (p[0] / 2, p[1])), (table, mask)),
    ):
        whole = verb(*arguments)
        torch.testing.assert_close(vmap(verb)(*arguments), whole, equal_nan=True)
        torch.testing.assert_close(vmap(vmap(verb))(*arguments), whole, equal_nan=True)
        shared = vmap(verb, in_dims=(0, *[None] * (len(arguments) - 1)))(table[None], *arguments[1:])
        torch.testing.assert_close(shared[0], whole, equal_nan=True)
    per_row = vmap(grad(scores))(table, mask, value)
    torch.testing.assert_close(per_row, grad(scores)(table, mask, value))


VERBS: dict[str, Any] = {
    "log_prob": family.log_prob,
    "entropy": lambda table, mask, value: family.entropy(table, mask),
    "log_prob_and_entropy": lambda table, mask, value: sum(family.log_prob_and_entropy(table, mask, value)),
    "kl": lambda table, mask, value: family.kl((table, mask), (0.5 * table, mask)),
    "probs": lambda table, mask, value: family.probs(table, mask),
    "normalized_logits": lambda table, mask, value: family.normalized_logits(table, mask),
    "mode": lambda table, mask, value: family.mode(table, mask),
    "deterministic": lambda table, mask, value: family.deterministic(table, mask),
    "sample": lambda table, mask, value: family.sample(KEY, table, mask),
    "sample_and_log_prob": lambda table, mask, value: family.sample_and_log_prob(KEY, table, mask)[1],
}


@KINDS
@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "deterministic"])  # which is the mode
def test_compiled(verb: str, kind: str) -> None:
    function, arguments = VERBS[verb], example(kind)
    wanted = function(*arguments)
    torch.testing.assert_close(compiled(function)(*arguments), wanted, equal_nan=True)
    if verb in ("mode", "sample"):
        torch.testing.assert_close(compiled(vmap(function, randomness="error"))(*arguments).shape, wanted.shape)
        return

    def total(*arguments: Tensor) -> Tensor:
        return function(*arguments).clamp(min=-1e4).sum()

    # Under vmap it traces the verb and its gradient too; `test_compiled_by_inductor` has the gradient alone.
    gradient, lanes = grad(total)(*arguments), compiled(vmap(grad(total)))(*arguments)
    if verb == "sample_and_log_prob":  # every lane draws with the key
        assert lanes.shape == gradient.shape
    else:
        torch.testing.assert_close(lanes, gradient)
    leaf = arguments[0].clone().requires_grad_()
    compiled(total)(leaf, *arguments[1:]).backward()
    torch.testing.assert_close(leaf.grad, gradient)


@pytest.mark.slow
@KINDS
def test_compiled_by_inductor(kind: str) -> None:
    arguments = example(kind, torch.float32)
    torch.testing.assert_close(compiled(grad(scores), "inductor")(*arguments), grad(scores)(*arguments))
    leaf = arguments[0].bfloat16().requires_grad_()
    compiled(family.log_prob, "inductor")(leaf, *arguments[1:]).clamp(min=-1e4).sum().backward()
    assert leaf.grad.isfinite().all()


@KINDS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_compiled_log_prob_of_one_token_and_of_many(kind: str, dtype: torch.dtype) -> None:
    """One token of every row is scored without the table of all of them."""
    table, mask, value = example(kind, dtype)
    value[0, 2], value[1, 0] = TOKENS, -1
    log_prob = compiled(family.log_prob, "inductor")
    wanted = family.log_prob(table, mask, value)
    torch.testing.assert_close(log_prob(table, mask, value), wanted)
    torch.testing.assert_close(log_prob(table, mask, torch.stack([value, value])), torch.stack([wanted, wanted]))


# ------------------------------------------------------------------------------------------------------- half precision
@KINDS
@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_is_float32_rounded(kind: str, dtype: torch.dtype, chunk: str) -> None:
    table, mask, value = example(kind, dtype)
    full = table.float()
    rounding = {"rtol": torch.finfo(dtype).eps, "atol": 1e-7}

    def same(got: Tensor, wanted: Tensor, **tolerance: float) -> None:
        assert got.dtype == dtype
        torch.testing.assert_close(got.float(), wanted, **(tolerance or rounding))

    assert torch.equal(family.sample(KEY, table, mask), family.sample(KEY, full, mask))
    assert torch.equal(family.mode(table, mask), family.mode(full, mask))
    same(family.log_prob(table, mask, value), family.log_prob(full, mask, value))
    same(family.entropy(table, mask), family.entropy(full, mask))
    same(family.probs(table, mask), family.probs(full, mask))
    same(family.kl((table, mask), (table / 2, mask)), family.kl((full, mask), ((table / 2).float(), mask)))
    for verb in ("log_prob", "entropy"):

        def total(table: Tensor, verb: str = verb) -> Tensor:
            return VERBS[verb](table, mask, value).clamp(min=-1e4).float().sum()

        wanted = grad(total)(full)
        same(grad(total)(table), wanted)
        leaf = table.clone().requires_grad_()
        total(leaf).backward()
        same(leaf.grad, wanted)


def test_no_chunk_casts_the_whole_of_the_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK", 2 * TOKENS)
    table, mask, value = example("positions", torch.bfloat16)
    seen = []
    of_chunk = Adjustment.adjusted

    def adjusted(own: Adjustment, logits: Tensor, mask: Tensor | None = None) -> Tensor:
        seen.append(logits.numel())
        return of_chunk(own, logits, mask)

    monkeypatch.setattr(Adjustment, "adjusted", adjusted)
    monkeypatch.setattr(extension, "kernels", None)
    for verb in VERBS.values():
        verb(table, mask, value)
    assert max(seen) <= 2 * TOKENS


# --------------------------------------------------------------------------------------------------------------- memory
ROOT = Path(__file__).parents[1]
MEMORY_STUDY = ROOT / "benchmarks" / "studies" / "llm_memory.py"


@functools.cache
def peak(call: str, direction: str, dtype: str, run: int = 0) -> float:
    """Return the peak beyond the inputs in multiples of the logits' size, of one of several runs."""
    options = ["--one", call, direction, dtype, "--shape", "8", "16", "128256"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}  # the package beside these tests, not an installed one
    output = subprocess.run(
        [sys.executable, MEMORY_STUDY, *options], check=True, capture_output=True, text=True, env=environment
    ).stdout
    return float(output.split()[0])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.skipif(not MEMORY_STUDY.exists(), reason="a source distribution has no benchmarks")
@pytest.mark.parametrize(
    ("call", "dtype"),
    [
        ("log_prob, positions", "bfloat16"),
        ("log_prob, tokens", "bfloat16"),
        ("entropy, tokens", "bfloat16"),
        ("sample, tokens", "bfloat16"),
        ("log_prob, tokens", "float32"),
        pytest.param("log_prob, positions", "float32", marks=pytest.mark.slow),
        pytest.param("entropy, tokens", "float32", marks=pytest.mark.slow),
        pytest.param("sample, tokens", "float32", marks=pytest.mark.slow),
    ],
)
def test_memory_is_at_most_that_of_cross_entropy(call: str, dtype: str) -> None:
    direction = "forward" if "sample" in call else "backward"
    # What the allocator has not given back yet counts too, half a table at times where the machine is busy: of both
    # sides the least of three runs is compared.
    limit = min(peak("cross_entropy", direction, dtype, run) for run in range(3)) + 0.5
    assert any(peak(call, direction, dtype, run) < limit for run in range(3))


class Sizes(TorchDispatchMode):
    """Counts the results of operations that are as large as a table and share no memory with what was there before."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.known = size, set[int]()
        self.names: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        result = function(*arguments, **(options or {}))
        for part in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(part, Tensor) and part.numel() >= self.size:
                storage = part.untyped_storage()._cdata
                if storage not in self.known:
                    self.known.add(storage)
                    self.names.append(str(function))
        return result


def call_with_mask(verb: Any, mask: Tensor, leaf: Tensor) -> Tensor:
    return verb(leaf, mask)


def large_results(call: Any, table: Tensor) -> list[str]:
    """Return the operations of forward and backward pass that make something as large as the table."""
    leaf = table.detach().clone().requires_grad_()
    with Sizes(leaf.numel()) as sizes:
        sizes.known.add(leaf.untyped_storage()._cdata)
        result = call(leaf)
        result.clamp(min=-1e4).sum().backward()
    assert leaf.grad is not None
    return sizes.names


@KINDS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_table_is_made_for_the_gradient(kind: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    table, mask, value = example(kind, dtype)
    other = (torch.zeros_like(table), mask)
    options: Any = {"temperature": torch.linspace(0.5, 2.0, 10).reshape(SHAPE[:-1]).requires_grad_(), "softcap": 5.0}
    for size in (2 * TOKENS, POSITIONS * TOKENS):
        monkeypatch.setattr(chunks, "CHUNK", size)
        calls = {
            "log_prob": lambda leaf: family.log_prob(leaf, mask, value),
            "log_prob of many": lambda leaf: family.log_prob(leaf, mask, value.expand(3, *value.shape)),
            "pair": lambda leaf: family.sample_and_log_prob(KEY, leaf, mask)[1],
            "entropy": lambda leaf: family.entropy(leaf, mask),
            "both": lambda leaf: sum(family.log_prob_and_entropy(leaf, mask, value)),
            "kl to": lambda leaf: family.kl((leaf, mask), other),
            "kl from": lambda leaf: family.kl(other, (leaf, mask)),
            "changed log_prob": lambda leaf: family.log_prob(leaf, mask, value, **options),
            "changed pair": lambda leaf: family.sample_and_log_prob(KEY, leaf, mask, **options)[1],
            "changed both": lambda leaf: sum(family.log_prob_and_entropy(leaf, mask, value, **options)),
            "changed kl": lambda leaf: family.kl((leaf, mask), other, **options),
        }
        for name, call in calls.items():
            assert large_results(call, table) == ["aten.empty_like.default"], name
        for verb in (family.probs, family.normalized_logits):  # the result is a table itself, and so is its slope
            of_verb = large_results(functools.partial(call_with_mask, verb, mask), table)
            assert of_verb.count("aten.empty_like.default") == 1


def test_gradients_for_many_slopes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    table, mask, value = example("tokens")
    monkeypatch.setattr(chunks, "CHUNK", 2 * TOKENS)
    leaf = table.clone().requires_grad_()
    scored = family.log_prob(leaf, mask, value).clamp(min=-1e4)
    slopes = random.normal(KEY, (3, *scored.shape), dtype=torch.float64)
    (many,) = torch.autograd.grad(scored, leaf, slopes, is_grads_batched=True, retain_graph=True)
    for slope, gradient in zip(slopes, many, strict=True):
        torch.testing.assert_close(torch.autograd.grad(scored, leaf, slope, retain_graph=True)[0], gradient)
    p, q = (table.clone().nan_to_num(posinf=0.0).requires_grad_() for _ in range(2))
    of_p, of_q = torch.autograd.grad(family.kl((p, mask), (q * 0.5, mask)).sum(), (p, q))
    monkeypatch.undo()
    wanted = torch.autograd.grad(family.kl((p, mask), (q * 0.5, mask)).sum(), (p, q))
    assert torch.equal(of_p, wanted[0])
    assert torch.equal(of_q, wanted[1])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.skipif(not MEMORY_STUDY.exists(), reason="a source distribution has no benchmarks")
@pytest.mark.parametrize("call", ["log_prob, positions", "entropy, tokens"])
def test_the_peak_of_memory_is_one_gradient(call: str) -> None:
    # One table, the chunks and what they left; the gradients of all chunks beside it would make it two tables and more.
    assert any(peak(call, "backward", "float32", run) < 1.9 for run in range(3))
