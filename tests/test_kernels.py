"""Compiled kernels give what PyTorch's operations give: the same draws, the same numbers to a few ulp."""

import importlib.util
import math
import shutil
import warnings
from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from functional_dists import (
    categorical,
    extension,
    independent_normal,
    masked_categorical,
    normal,
    one_hot_categorical,
    ordinal,
    random,
    tanh_normal,
)
from functional_dists.extension import without_kernels
from functional_dists.special import choice, kernels, softmax

KEY = random.key(11)
EPS = torch.finfo(torch.float32).eps
needs_kernels = pytest.mark.skipif(extension.kernels is None, reason="the kernels are not built")


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_kernels_are_built_where_the_package_is_installed() -> None:
    assert importlib.util.find_spec("functional_dists._kernels"), "pip install -e . builds them"


# ------------------------------------------------------------------------------------------------------- same results
def table(*shape: int, spread: float = 1.0) -> Tensor:
    return spread * random.normal(random.fold_in(KEY, sum(shape)), shape)


def positive(*shape: int) -> Tensor:
    return 10 ** (4 * random.uniform(random.fold_in(KEY, sum(shape)), shape) - 3)


LOGITS = torch.cat([table(40, 9), table(40, 9, spread=30.0), table(40, 9, spread=1e4), torch.zeros(40, 9)])
MASK = random.bernoulli(KEY, (160, 9), 0.6).index_fill(0, torch.tensor([7]), False)
LOC, SCALE = table(50, 6, spread=3.0), positive(50, 6)
PAIR = tanh_normal.sample_and_log_prob
SHAPES = [(1,), (3,), (8,), (4, 1), (5, 7), (5, 8), (2, 3, 17), (256, 64), (2, 16_384)]

DRAWS: dict[str, Callable[[Tensor], object]] = {
    "categorical": lambda key: categorical.sample_and_log_prob(key, LOGITS),
    "masked_categorical": lambda key: masked_categorical.sample_and_log_prob(key, LOGITS, MASK),
    "masked_categorical.sample": lambda key: masked_categorical.sample(key, LOGITS, MASK),
    "one_hot_categorical": lambda key: one_hot_categorical.sample_and_log_prob(key, LOGITS),
    "ordinal": lambda key: ordinal.sample_and_log_prob(key, LOGITS),
    "many draws": lambda key: masked_categorical.sample_and_log_prob(key, LOGITS, MASK, sample_shape=(3,)),
    "tanh_normal": lambda key: PAIR(key, LOC, SCALE, -1.0, 1.0),
    "tanh_normal, elementwise": lambda key: PAIR(key, LOC, SCALE, -1.0, 1.0, event_dims=0),
    "tanh_normal, all axes": lambda key: PAIR(key, LOC, SCALE, -1.0, 1.0, event_dims=2),
    "tanh_normal, aslant": lambda key: PAIR(key, LOC, SCALE, -2.0, 5.0),
    "tanh_normal, rsample": lambda key: tanh_normal.rsample_and_log_prob(key, LOC, SCALE, -3.0, 3.0),
    "tanh_normal, saturated": lambda key: PAIR(key, 40 * LOC, 10 * SCALE, -1.0, 1.0),
    "tanh_normal, subnormal": lambda key: PAIR(key, LOC, SCALE * 1e-41, -1.0, 1.0),
    "tanh_normal, number": lambda key: PAIR(key, LOC[0, 0], SCALE[0, 0], -1.0, 1.0),
}
DRAWS |= {
    f"{family.__name__} of {shape}": lambda key, family=family, shape=shape: family.sample_and_log_prob(
        key, table(*shape)
    )
    for family in (categorical, ordinal)
    for shape in SHAPES
}
DRAWS |= {f"tanh_normal of {s}": lambda key, s=s: PAIR(key, table(*s), positive(*s), -1.0, 1.0) for s in SHAPES}


@needs_kernels
@pytest.mark.parametrize("name", DRAWS)
def test_draws_are_the_same_and_log_probs_to_some_ulp(name: str) -> None:
    for key in random.split(KEY, 5).unbind():
        by_kernels = _parts(DRAWS[name](key))
        by_operations = _parts(without_kernels(DRAWS[name])(key))
        assert torch.equal(by_kernels[0], by_operations[0])
        for a, b in zip(by_kernels[1:], by_operations[1:], strict=True):
            assert not a.isnan().any()
            torch.testing.assert_close(a, b, rtol=4 * EPS, atol=20 * EPS)


VALUE = torch.tanh(table(50, 6)).index_fill_(1, torch.tensor([1]), 0.0)
EDGES = VALUE.clone()
EDGES[0, 0], EDGES[1, 0], EDGES[2, 0] = 1.0, -1.0, 2.0
SCORES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "normal": lambda loc, scale: normal.log_prob(loc, scale, VALUE),
    "normal, far out": lambda loc, scale: normal.log_prob(loc, scale, 1e25 * VALUE),
    "normal, of infinity": lambda loc, scale: normal.log_prob(loc, scale, (VALUE + 2.0) / 0.0),
    "independent_normal": lambda loc, scale: independent_normal.log_prob(loc, scale, VALUE),
    "tanh_normal": lambda loc, scale: tanh_normal.log_prob(loc, scale, -1.0, 1.0, VALUE),
    "tanh_normal, all axes": lambda loc, scale: tanh_normal.log_prob(loc, scale, -1.0, 1.0, VALUE, event_dims=2),
    "tanh_normal, elementwise": lambda loc, scale: tanh_normal.log_prob(loc, scale, -1.0, 1.0, EDGES, event_dims=0),
    "tanh_normal, aslant": lambda loc, scale: tanh_normal.log_prob(loc, scale, -2.0, 5.0, EDGES),
}


@needs_kernels
@pytest.mark.parametrize("name", SCORES)
def test_scores_and_their_derivatives_are_the_same_to_some_ulp(name: str) -> None:
    def results() -> list[Tensor]:
        parameters = [LOC.clone().requires_grad_(), SCALE.clone().requires_grad_()]
        scores = SCORES[name](*parameters)
        weights = torch.linspace(1, 2, scores.numel()).view_as(scores)
        by_sum = torch.autograd.grad(scores.sum(), parameters, retain_graph=True)
        weighted = torch.autograd.grad(scores, parameters, weights, create_graph=True)
        again = torch.autograd.grad(sum(g.sum() for g in weighted), parameters)
        with torch.no_grad():
            cut = SCORES[name](*parameters)
        return [scores, cut, *by_sum, *weighted, *again]

    by_kernels = results()
    by_operations = without_kernels(results)()
    for a, b in zip(by_kernels, by_operations, strict=True):
        assert not a.isnan().any()
        torch.testing.assert_close(a, b, rtol=16 * EPS, atol=64 * EPS)


OUTCOMES = torch.arange(160) % 9
ABSENT = torch.arange(160) % 11 - 1  # some of which do not exist, or are masked
OF_ROWS: dict[str, Callable[[Tensor], Tensor]] = {
    "categorical.log_prob": lambda logits: categorical.log_prob(logits, OUTCOMES),
    "categorical.log_prob, absent": lambda logits: categorical.log_prob(logits, ABSENT),
    "masked_categorical.log_prob": lambda logits: masked_categorical.log_prob(logits, MASK, ABSENT),
    "one_hot_categorical.log_prob": lambda logits: one_hot_categorical.log_prob(
        logits, torch.nn.functional.one_hot(OUTCOMES, 9)
    ),
    "ordinal.log_prob": lambda scores: ordinal.log_prob(scores, OUTCOMES),
    "categorical.entropy": categorical.entropy,
    "masked_categorical.entropy": lambda logits: masked_categorical.entropy(logits, MASK),
}


OTHER_LOGITS = {
    "far": LOGITS.flip(0),
    "near": LOGITS * (1 + 1e-5 * table(160, 9)),
    "equal but for a constant": LOGITS + 1.0,
    "partly without support": LOGITS.masked_fill(table(160, 9) > 1, -math.inf),
}
OTHER_MASKS = {"no mask": (None, None), "one mask": (MASK, MASK), "wider": (MASK, MASK | (table(160, 9) > 0))}


@needs_kernels
@pytest.mark.parametrize("masks", OTHER_MASKS)
@pytest.mark.parametrize("other", OTHER_LOGITS)
def test_divergences_are_the_same(other: str, masks: str) -> None:
    p_mask, q_mask = OTHER_MASKS[masks]
    for p, q in ((LOGITS, OTHER_LOGITS[other]), (OTHER_LOGITS[other], LOGITS)):
        by_kernel = softmax.kl(p, p_mask, q, q_mask)
        exact = without_kernels(softmax.kl)(p.double(), p_mask, q.double(), q_mask)
        assert (by_kernel >= 0).all()
        torch.testing.assert_close(by_kernel.double(), exact, rtol=EPS, atol=1e-16)


@needs_kernels
@pytest.mark.parametrize("name", OF_ROWS)
def test_what_is_of_rows_of_logits_has_the_same_derivatives(name: str) -> None:
    def results() -> list[Tensor]:
        logits = _tracked(LOGITS)
        of_rows = OF_ROWS[name](logits)
        weights = torch.linspace(-1, 2, len(of_rows))
        (by_sum,) = torch.autograd.grad(of_rows.sum(), logits, retain_graph=True)
        (weighted,) = torch.autograd.grad(of_rows, logits, weights, create_graph=True)
        (again,) = torch.autograd.grad(weighted.square().sum(), logits)
        lanes = torch.eye(len(of_rows))[:2]
        (batched,) = torch.autograd.grad(OF_ROWS[name](logits), logits, lanes, is_grads_batched=True)
        with torch.no_grad():
            return [of_rows, OF_ROWS[name](logits), by_sum, weighted, again, batched]

    by_kernels = results()
    by_operations = without_kernels(results)()
    for a, b in zip(by_kernels, by_operations, strict=True):
        assert not a.isnan().any()
        torch.testing.assert_close(a, b, rtol=16 * EPS, atol=4 * EPS)


@needs_kernels
@pytest.mark.parametrize("count", [1, 5, 8, 64, 5000])
def test_slopes_keep_their_digits(count: int) -> None:
    """Where one outcome is nearly certain the slopes of its log-prob are as small as what is left."""
    logits = torch.cat([table(20, count, spread=spread) for spread in (0.1, 10.0, 60.0)])
    top = logits.argmax(-1)
    weights = torch.exp((logits - logits.amax(-1, keepdim=True)).double())
    rest = torch.where(torch.arange(count) == top[:, None], 0.0, weights).sum(-1)
    for outcome in (top, torch.zeros_like(top)):
        got = kernels.category_slopes(logits, None, outcome, torch.ones(60))
        probs = weights / (1 + rest[:, None])
        wanted = torch.where(torch.arange(count) == outcome[:, None], 1 - probs, -probs)
        wanted = torch.where((outcome == top)[:, None] & (wanted >= 0), (rest / (1 + rest))[:, None], wanted)
        torch.testing.assert_close(got.double(), wanted, rtol=4 * EPS, atol=1e-44)


@needs_kernels
def test_a_slope_that_is_no_number_does_not_reach_rows_without_density() -> None:
    logits = _tracked(LOGITS)
    log_prob = masked_categorical.log_prob(logits, MASK, ABSENT)
    missed = log_prob == -math.inf
    (by_logits,) = torch.autograd.grad(log_prob, logits, torch.where(missed, math.nan, 1.0))
    assert missed.any()
    assert (by_logits[missed] == 0).all()
    assert (by_logits[~MASK] == 0).all()


@needs_kernels
@pytest.mark.parametrize("family", [categorical, ordinal])
def test_one_value_of_a_row_is_scored_as_several_are(family: ModuleType) -> None:
    values = OUTCOMES.expand(5, 160)
    torch.testing.assert_close(
        family.log_prob(LOGITS, values), family.log_prob(LOGITS, OUTCOMES).expand(5, 160), rtol=2 * EPS, atol=EPS
    )


@needs_kernels
def test_one_parameter_alone_has_its_derivative() -> None:
    both = torch.autograd.grad(SCORES["normal"](*(p := (_tracked(LOC), _tracked(SCALE)))).sum(), p)
    (by_loc,) = torch.autograd.grad(SCORES["normal"](loc := _tracked(LOC), SCALE).sum(), loc)
    (by_scale,) = torch.autograd.grad(SCORES["normal"](LOC, scale := _tracked(SCALE)).sum(), scale)
    assert torch.equal(by_loc, both[0])
    assert torch.equal(by_scale, both[1])


@needs_kernels
@pytest.mark.parametrize("count", [1, 5, 8, 9, 64, 100, 5000])
def test_logits_that_are_no_numbers(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty rows, infinite logits and NaN fare as they do in PyTorch's operations."""
    logits = table(8, count)
    mask = torch.ones(8, count, dtype=torch.bool)
    logits[0], mask[1] = -math.inf, False
    logits[2, 0], logits[3, -1], logits[4] = math.inf, math.nan, 3e38
    logits[5], mask[5, 0] = math.nan, False
    logits[6, 0] = -math.inf
    share = random.uniform(KEY, (8,), dtype=torch.float64)
    outcomes = torch.tensor([-1, 0, count - 1, count])[:, None].expand(4, 8)
    results = []
    for module in (extension.kernels, None):
        monkeypatch.setattr(extension, "kernels", module)
        chosen, log_prob = choice.choose_and_score(logits, mask, share)
        assert torch.equal(chosen, choice.choose_by_logits(logits, mask, share))
        scores = [softmax.log_prob(logits, mask, outcome) for outcome in outcomes]
        results.append([chosen, log_prob, *scores])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=4 * EPS, atol=4 * EPS, equal_nan=True)


@needs_kernels
def test_log_probs_of_categories_are_exact_to_an_ulp() -> None:
    logits = torch.cat([table(200, 50, spread=spread) for spread in (0.01, 1.0, 20.0, 1e4)])
    outcomes = logits.argmax(-1)  # whose log-prob is next to 0 where others hardly count
    for outcome in (outcomes, torch.zeros_like(outcomes)):
        exact = logits.double().log_softmax(-1).gather(-1, outcome[:, None]).squeeze(-1)
        got = kernels.score(logits, None, outcome)
        torch.testing.assert_close(got.double(), exact, rtol=EPS, atol=1e-15)


@needs_kernels
@pytest.mark.parametrize("count", [1, 2, 7, 8, 15, 64, 1000, 1500, 5000])
def test_choices_are_the_same(count: int) -> None:
    weights = random.uniform(KEY, (32, count)) * random.bernoulli(random.fold_in(KEY, 1), (32, count), 0.5)
    weights[0], weights[1], weights[2] = 0, 1, 2.0**-60
    weights[3] = torch.where(torch.arange(count) == count - 1, 1.0, 0.0)
    weights[4] = torch.where(torch.arange(count) == 0, 1.0, 0.0)
    shares = random.uniform(KEY, (50, 32), dtype=torch.float64)
    shares[0], shares[1] = 0, 1 - 2.0**-53
    logits, mask = weights.log(), weights > 0
    for given in (None, mask):
        by_kernels = [choice.choose_by_logits(logits, given, share) for share in shares]
        by_operations = [without_kernels(choice.choose_by_logits)(logits, given, share) for share in shares]
        assert torch.equal(torch.stack(by_kernels), torch.stack(by_operations))
        assert mask.gather(-1, torch.stack(by_kernels).T)[mask.any(-1)].all()


# -------------------------------------------------------------------------------------------------------- whom to serve
class Subclass(Tensor):
    """Whose elements may lie elsewhere."""


@needs_kernels
def test_only_plain_arrays_are_served() -> None:
    x = torch.zeros(4, 4)
    assert kernels.serve(x, x, None, mask=x > 0)
    assert kernels.serve(torch.nn.Parameter(x).detach())
    with torch.no_grad():
        assert kernels.serve(torch.nn.Parameter(x))
    with torch.inference_mode():
        assert kernels.serve(torch.zeros(4))
    refused = [
        torch.nn.Parameter(x),
        x.double(),
        x.half(),
        x.t().contiguous().t()[:2],
        x[:, :2],
        x[0].expand(4, 4),
        torch.zeros(0, 4),
        x.to("meta"),
        x.as_subclass(Subclass),
        torch._neg_view(x),
    ]
    assert [kernels.serve(tensor) for tensor in refused] == [False] * len(refused)
    assert [kernels.serve(x, tensor) for tensor in refused] == [False] * len(refused)
    assert not kernels.serve(x, mask=x)
    outcome = torch.zeros(4, dtype=torch.int64)
    assert kernels.serve(x, outcome=outcome)
    for wrong in (outcome.int(), outcome[:3], outcome.to("meta"), outcome.as_subclass(Subclass), x.long()[:, 0]):
        assert not kernels.serve(x, outcome=wrong)
    assert not kernels.serve(x, mask=(x > 0)[0])
    assert not kernels.serve(x, mask=(x > 0).t()[:, ::2])


@needs_kernels
def test_whom_autograd_may_ask() -> None:
    x, mask = torch.zeros(4, 4, requires_grad=True), torch.ones(4, 4, dtype=torch.bool)
    assert kernels.serve(x, mask=mask, for_autograd=True)
    with torch.inference_mode():
        assert not kernels.serve(x, mask=mask, for_autograd=True)
        made, made_mask = torch.zeros(4, 4), mask.clone()
    assert not kernels.serve(made, for_autograd=True)
    assert not kernels.serve(x, mask=made_mask, for_autograd=True)
    outcome = torch.zeros(4, dtype=torch.int64)
    with torch.inference_mode():
        made_outcome = outcome.clone()
    for given in ((mask, outcome), (made_mask, outcome), (mask, made_outcome)):
        masked_categorical.log_prob(x, *given).sum().backward()
    masked_categorical.entropy(x, made_mask).sum().backward()


@needs_kernels
def test_large_tables_are_left_to_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = torch.zeros(kernels.MOST), torch.zeros(kernels.MOST + 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: kernels.FEW_THREADS + 1)
    assert kernels.serve(small)
    assert not kernels.serve(large)
    monkeypatch.setattr(torch, "get_num_threads", lambda: kernels.FEW_THREADS)
    assert kernels.serve(large)


def test_nobody_is_served_in_transforms_and_tracers() -> None:
    seen = []

    def look(x: Tensor) -> Tensor:
        seen.append(kernels.serve(torch.ones(2)))
        return x.sum()

    x = torch.ones(3)
    torch.vmap(look)(x[None])
    torch.func.grad(look)(x)
    torch.func.jvp(look, (x,), (x,))
    torch.fx.experimental.proxy_tensor.make_fx(look)(x)
    torch.fx.experimental.proxy_tensor.make_fx(look, pre_dispatch=True)(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(look, (x,), check_trace=False)
    with FakeTensorMode():
        look(torch.ones(3))
    with torch.autograd.forward_ad.dual_level():
        look(x)
    assert seen == [False] * len(seen)
    assert len(seen) == 8


@pytest.mark.parametrize("pre_dispatch", [False, True])
def test_what_a_tracer_records_holds_for_other_inputs(pre_dispatch: bool) -> None:
    def pair(loc: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        return PAIR(KEY, loc, scale, low, high)

    bounds = torch.tensor(-1.0), torch.tensor(1.0)
    make_fx = torch.fx.experimental.proxy_tensor.make_fx
    traced = make_fx(pair, pre_dispatch=pre_dispatch)(torch.zeros(50, 6), torch.ones(50, 6), *bounds)
    others = torch.tensor(-2.0), torch.tensor(3.0)
    for a, b in zip(traced(LOC, SCALE, *others), pair(LOC, SCALE, *others), strict=True):
        torch.testing.assert_close(a, b, rtol=4 * EPS, atol=20 * EPS)


def test_lanes_of_gradients_are_those_of_a_loop() -> None:
    loc, scale = _tracked(LOC), _tracked(SCALE)
    scores = independent_normal.log_prob(loc, scale, VALUE)
    weights = torch.eye(50)[:3]
    lanes = torch.autograd.grad(scores, (loc, scale), weights, is_grads_batched=True, retain_graph=True)
    loop = [torch.autograd.grad(scores, (loc, scale), weight, retain_graph=True) for weight in weights]
    for a, b in zip(lanes, zip(*loop, strict=True), strict=True):
        torch.testing.assert_close(a, torch.stack(b), rtol=16 * EPS, atol=64 * EPS)


def _tracked(tensor: Tensor) -> Tensor:
    return tensor.clone().requires_grad_()


def _parts(result: object) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)
