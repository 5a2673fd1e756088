"""The options of llm_masked_categorical: results are those of logits and a mask that were changed before the call."""

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter
from torch.func import grad, jvp, vmap

from functional_dists import bind, kept, logits, masked_categorical, random
from functional_dists import llm_masked_categorical as family
from functional_dists.random import extension
from functional_dists.special import chunks
from functional_dists.special.adjustment import Adjustment

KEY = random.key(5)
SEED = torch.Generator().manual_seed(1)
TABLE, OTHER = 4 * torch.randn((3, 4, 50), generator=SEED), torch.randn((3, 4, 50), generator=SEED)
POSITION = torch.rand((3, 4), generator=SEED) < 0.7
TOKEN_MASK = torch.rand((3, 4, 50), generator=SEED) < 0.8
VALUE = torch.randint(0, 50, (3, 4), generator=SEED)
TEMPERATURE = torch.rand((3, 4), generator=SEED) + 0.5
SUPPORT = logits.keep_top_k(TABLE, 9)
FORMS = {"mask": SUPPORT, "indices": kept.as_indices(SUPPORT), "tokens": kept.as_tokens(SUPPORT)}
VERBS: dict[str, Any] = {
    "sample": lambda table, mask, **options: family.sample(KEY, table, mask, sample_shape=2, **options),
    "sample_and_log_prob": lambda table, mask, **options: family.sample_and_log_prob(KEY, table, mask, **options),
    "log_prob": lambda table, mask, **options: family.log_prob(table, mask, VALUE, **options),
    "log_prob_and_entropy": lambda table, mask, **options: family.log_prob_and_entropy(table, mask, VALUE, **options),
    "entropy": family.entropy,
    "probs": family.probs,
    "normalized_logits": family.normalized_logits,
    "mode": family.mode,
    "deterministic": family.deterministic,
    "support": lambda table, mask, **options: family.support(table, mask, **options).check(VALUE),
}
OTHERWISE = {"sample": -100, "mode": -100, "deterministic": -100, "normalized_logits": -math.inf, "support": True}
CHUNKS = pytest.mark.parametrize("chunk", [120, 2**18], ids=["chunks", "whole"])


def compiled(function: Any, backend: str = "aot_eager") -> Any:
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend=backend)


def parts_of(result: Any) -> list[Tensor]:
    return list(result) if isinstance(result, tuple) else [result]


def counted(verb: str, result: Any) -> list[Tensor]:
    """Return the parts of a result, with what a verb gives at ignored positions."""
    parts = parts_of(result)
    otherwise = [-100, 0] if verb == "sample_and_log_prob" else [OTHERWISE.get(verb, 0)] * 2
    position = POSITION[..., None] if parts[0].shape == TABLE.shape else POSITION
    return [torch.where(position, part, other) for part, other in zip(parts, otherwise, strict=False)]


def changed(table: Tensor, temperature: Any = 1.0, softcap: float | None = None) -> Tensor:
    return logits.temperature(table if softcap is None else logits.softcap(table, softcap), temperature)


@CHUNKS
@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("verb", VERBS)
def test_support_restricts_the_mask(
    verb: str, dtype: torch.dtype, kernels: bool, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK", chunk)
    if not kernels:
        monkeypatch.setattr(extension, "kernels", None)
    table = TABLE.to(dtype)
    wanted = VERBS[verb](table, SUPPORT)
    for support in FORMS.values():
        for got, same in zip(
            parts_of(VERBS[verb](table, POSITION, support=support)), counted(verb, wanted), strict=True
        ):
            assert got.dtype == same.dtype
            assert torch.equal(got, same)
        on_tokens = zip(
            parts_of(VERBS[verb](table, TOKEN_MASK, support=support)),
            parts_of(VERBS[verb](table, TOKEN_MASK & SUPPORT)),
            strict=True,
        )
        assert all(torch.equal(got, same) for got, same in on_tokens)


@CHUNKS
@pytest.mark.parametrize("mask", [POSITION, TOKEN_MASK], ids=["positions", "tokens"])
@pytest.mark.parametrize("temperature", [1.0, 0.7, TEMPERATURE, torch.tensor(1.3)], ids=["1", "number", "rows", "0-d"])
@pytest.mark.parametrize("softcap", [None, 10.0])
def test_temperature_and_softcap_change_the_logits(
    mask: Tensor, temperature: Any, softcap: float | None, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK", chunk)
    monkeypatch.setattr(extension, "kernels", None)
    options = {"temperature": temperature, "softcap": softcap}
    for verb, call in VERBS.items():
        wanted = call(changed(TABLE, **options), mask)
        got = call(TABLE, mask, **options)
        for part, same in zip(parts_of(got), parts_of(wanted), strict=True):
            assert torch.equal(part, same), verb
    p, q = family.Params(TABLE, mask), family.Params(OTHER, POSITION)
    both = (p._replace(logits=changed(TABLE, **options)), q._replace(logits=changed(OTHER, **options)))
    assert torch.equal(family.kl(p, q, **options), family.kl(*both))
    cut = (both[0]._replace(mask=SUPPORT), both[1]._replace(mask=SUPPORT))
    divergence = torch.where(POSITION & (mask if mask.ndim == 2 else POSITION), family.kl(*cut), 0.0)
    if mask.ndim == 2:
        assert torch.equal(family.kl(p, q, **options, support=SUPPORT), divergence)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_changed_logits_are_not_rounded(dtype: torch.dtype) -> None:
    table, options = TABLE.to(dtype), {"temperature": TEMPERATURE, "softcap": 10.0}
    full = changed(table.to(torch.promote_types(dtype, torch.float32)), **options)
    for verb, call in VERBS.items():
        for got, same in zip(parts_of(call(table, POSITION, **options)), parts_of(call(full, POSITION)), strict=True):
            assert got.dtype == (dtype if same.is_floating_point() else same.dtype)
            torch.testing.assert_close(got, same.to(got.dtype), rtol=2 * torch.finfo(dtype).eps, atol=1e-6)
            assert got.is_floating_point() or torch.equal(got, same), verb


def test_results_are_those_of_masked_categorical() -> None:
    options: Any = {"temperature": TEMPERATURE, "softcap": 10.0}
    table = changed(TABLE, **options)
    allowed = TOKEN_MASK & SUPPORT
    options["support"] = SUPPORT
    assert torch.equal(family.sample(KEY, TABLE, TOKEN_MASK, **options), masked_categorical.sample(KEY, table, allowed))
    for verb, value in (("log_prob", (VALUE,)), ("entropy", ()), ("probs", ()), ("normalized_logits", ())):
        got = getattr(family, verb)(TABLE, TOKEN_MASK, *value, **options)
        torch.testing.assert_close(got, getattr(masked_categorical, verb)(table, allowed, *value))


def test_masked_logits_do_not_count() -> None:
    bad = torch.tensor([math.nan, math.inf, -math.inf, 3e38, -3e38])[torch.arange(TABLE.numel()) % 5].view_as(TABLE)
    options: Any = {"temperature": TEMPERATURE, "softcap": 10.0}
    arguments = [(TOKEN_MASK, torch.where(TOKEN_MASK, TABLE, bad), {"temperature": 0.01})]
    arguments += [(TOKEN_MASK, arguments[0][1], options), (TOKEN_MASK, arguments[0][1], {"temperature": TEMPERATURE})]
    arguments += [(POSITION, torch.where(POSITION[..., None], TABLE, bad), options)]
    for mask, table, given in arguments:
        for verb, call in VERBS.items():
            for got, same in zip(
                parts_of(call(table, mask, **given)), parts_of(call(TABLE, mask, **given)), strict=True
            ):
                assert torch.equal(got, same), verb

        def total(table: Tensor, t: Tensor, mask: Tensor = mask) -> Tensor:
            scores = family.log_prob_and_entropy(table, mask, VALUE, temperature=t, softcap=10.0)
            return sum(torch.where(part.isfinite(), part, 0.0).sum() for part in scores)

        slopes = grad(total, (0, 1))(table, TEMPERATURE)
        allowed = mask if mask.ndim == 3 else mask[..., None]
        assert torch.equal(slopes[0], torch.where(allowed, slopes[0], 0.0))
        assert torch.equal(slopes[1], grad(total, 1)(TABLE, TEMPERATURE))


@CHUNKS
@pytest.mark.parametrize("mask", [POSITION, TOKEN_MASK], ids=["positions", "tokens"])
def test_derivatives(mask: Tensor, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK", chunk)

    def sum_of(parts: Any) -> Tensor:
        return sum((i + 1) * torch.where(part.isfinite(), part, 0.0).sum() for i, part in enumerate(parts))

    def total(table: Tensor, t: Tensor) -> Tensor:
        options: Any = {"temperature": t, "softcap": 10.0}
        return sum_of(
            [
                *family.log_prob_and_entropy(table, mask, VALUE, **options, support=SUPPORT),
                family.sample_and_log_prob(KEY, table, mask, **options)[1],
                family.entropy(table, mask, **options),
                family.kl((table, mask), (OTHER.to(table), POSITION), **options),
                family.probs(table, mask, **options)[..., 2],
            ]
        )

    def wanted(table: Tensor, t: Tensor) -> Tensor:
        table, other = changed(table, t, 10.0), changed(OTHER.to(table), t, 10.0)
        cut = torch.where(SUPPORT, table, -math.inf)
        return sum_of(
            [
                *family.log_prob_and_entropy(cut, mask, VALUE),
                family.sample_and_log_prob(KEY, table, mask)[1],
                family.entropy(table, mask),
                family.kl((table, mask), (other, POSITION)),
                family.probs(table, mask)[..., 2],
            ]
        )

    table, t = TABLE.double(), TEMPERATURE.double()
    expected = grad(wanted, (0, 1))(table, t)
    leaves = table.clone().requires_grad_(), t.clone().requires_grad_()
    for got in (
        torch.autograd.grad(total(*leaves), leaves),
        grad(total, (0, 1))(table, t),
        torch.autograd.grad(compiled(total)(*leaves), leaves),
    ):
        torch.testing.assert_close(got, expected)
    of_temperature = torch.autograd.grad(total(table, leaves[1]), leaves[1])[0]  # the logits are constant
    torch.testing.assert_close(of_temperature, expected[1])
    slope = jvp(total, (table, t), (torch.ones_like(table), torch.ones_like(t)))[1]
    torch.testing.assert_close(slope, sum(part.sum() for part in expected))


@pytest.mark.parametrize("form", ["mask", "indices"])
def test_vmap_is_a_loop(form: str) -> None:
    def call(key: Tensor, table: Tensor, mask: Tensor, t: Tensor, support: Tensor) -> list[Tensor]:
        options: Any = {"temperature": t, "softcap": 10.0, "support": support}
        drawn = family.sample_and_log_prob(key, table, mask, **options)
        slope = grad(lambda t: family.entropy(table, mask, **{**options, "temperature": t}).sum())(t)
        return [*drawn, slope, family.probs(table, mask, **options)]

    lanes = (random.split(KEY, 3), TABLE, POSITION, TEMPERATURE, FORMS[form])
    for i, got in enumerate(zip(*vmap(call)(*lanes), strict=True)):
        for part, same in zip(got, call(*(lane[i] for lane in lanes)), strict=True):
            torch.testing.assert_close(part, same)
    got = vmap(lambda t: family.log_prob(TABLE, POSITION, VALUE, temperature=t))(torch.tensor([0.5, 2.0]))
    torch.testing.assert_close(got[1], family.log_prob(TABLE, POSITION, VALUE, temperature=2.0))


def test_compiled_code_computes_the_same() -> None:
    options: Any = {"temperature": TEMPERATURE, "softcap": 10.0}
    for support in FORMS.values():
        for verb, call in VERBS.items():
            if verb != "support":  # a constraint
                code = compiled(lambda table, support, call=call: call(table, POSITION, support=support, **options))
                torch.testing.assert_close(code(TABLE, support), call(TABLE, POSITION, support=support, **options))


def test_new_numbers_recompile_once() -> None:
    counter = CompileCounter()
    code = compiled(lambda t, cap: family.log_prob(TABLE, POSITION, VALUE, temperature=t, softcap=cap), counter)
    for t, cap in ((0.5, 10.0), (0.6, 20.0), (0.7, 30.0), (2.0, 5.0)):
        torch.testing.assert_close(code(t, cap), family.log_prob(TABLE, POSITION, VALUE, temperature=t, softcap=cap))
    assert counter.frame_count <= 2


@pytest.mark.skipif(extension.kernels is None, reason="the kernels are not built")
@pytest.mark.parametrize("support", FORMS.values(), ids=FORMS)
def test_kernels_compute_on_a_kept_set(support: kept.Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, built = Counter[str](), extension.kernels

    class Counted:
        def __getattr__(self, name: str) -> Any:
            calls[name] += 1
            return getattr(built, name)

    monkeypatch.setattr(extension, "kernels", Counted())
    for verb, used in (
        ("sample", {"categories": 1}),
        ("sample_and_log_prob", {"categories": 1, "token_scores": 1}),
        ("log_prob", {"token_scores": 1}),
        ("log_prob_and_entropy", {"token_scores": 1}),
        ("entropy", {"token_scores": 1}),
    ):
        for given, expected in (({"support": support}, used), ({"temperature": 1, "softcap": None}, used)):
            calls.clear()
            VERBS[verb](TABLE, POSITION, **given)
            assert {name: count for name, count in calls.items() if "philox" not in name} == expected, verb
        calls.clear()
        VERBS[verb](TABLE, POSITION, temperature=0.5)
        VERBS[verb](TABLE, POSITION, softcap=1.0)
        assert not {"categories", "token_scores"} & set(calls)
    leaf = TABLE.clone().requires_grad_()
    calls.clear()
    score = family.log_prob(leaf, POSITION, VALUE, support=support)
    slope = torch.autograd.grad(torch.where(score.isfinite(), score, 0.0).sum(), leaf)[0]
    assert calls["token_slopes"] == 1
    assert torch.equal(slope != 0, (slope != 0) & SUPPORT & POSITION[..., None])


@pytest.mark.parametrize("verb", VERBS)
def test_no_chunk_changes_the_whole_of_the_logits(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK", 300)
    seen = [0]
    of_chunk = Adjustment.adjusted

    def adjusted(own: Adjustment, table: Tensor, mask: Tensor | None = None) -> Tensor:
        seen.append(table.numel())
        return of_chunk(own, table, mask)

    monkeypatch.setattr(Adjustment, "adjusted", adjusted)
    leaf = TABLE.clone().requires_grad_()
    results = parts_of(VERBS[verb](leaf, POSITION, temperature=TEMPERATURE, softcap=10.0))
    if results[-1].requires_grad:
        torch.autograd.grad(results[-1].sum(), leaf)
    assert max(seen) <= 300


def test_options_are_checked() -> None:
    wrong: list[tuple[type[Exception], str, Any]] = [
        (ValueError, "temperature", -1.0),
        (ValueError, "temperature", 0.0),
        (ValueError, "temperature", torch.tensor(0.0)),
        (ValueError, "temperature", math.inf),
        (ValueError, "temperature", torch.ones(3)),
        (TypeError, "temperature", None),
        (TypeError, "temperature", True),
        (ValueError, "softcap", 0.0),
        (TypeError, "softcap", "1"),
        (ValueError, "support", SUPPORT[:1]),
        (TypeError, "kept", TABLE),
    ]
    for kind, name, option in wrong:
        given = {"support" if name == "kept" else name: option}
        for verb in (*VERBS.values(), family.check):
            with pytest.raises(kind, match=name):
                verb(TABLE, POSITION, **given)
        with pytest.raises(kind, match=name):
            family.kl((TABLE, POSITION), (OTHER, POSITION), **given)
    nothing = SUPPORT.clone()
    nothing[~POSITION] = False
    family.check(TABLE, POSITION, support=nothing)
    nothing[POSITION] = False
    with pytest.raises(ValueError, match="support must keep an allowed token"):
        family.check(TABLE, POSITION, support=nothing)
    where_not_read = vmap(lambda t: family.entropy(TABLE, POSITION, temperature=t))(torch.tensor([0.0, 1.0]))
    assert where_not_read[0, POSITION].isnan().all()
    assert torch.equal(where_not_read[0, ~POSITION], torch.zeros(int((~POSITION).sum())))
    torch.testing.assert_close(where_not_read[1], family.entropy(TABLE, POSITION))


def test_numbers_of_numpy_and_bound_options() -> None:
    wanted = family.entropy(TABLE, POSITION, temperature=0.5, softcap=10.0)
    assert torch.equal(family.entropy(TABLE, POSITION, temperature=np.float32(0.5), softcap=np.float64(10.0)), wanted)
    assert torch.equal(bind(family, temperature=0.5, softcap=10.0).entropy(TABLE, POSITION), wanted)
