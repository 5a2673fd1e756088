"""NaN in, NaN out: of a parameter or a value, in results and derivatives, and in no more than its element or row."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap

from functional_dists import (
    categorical,
    delta,
    divergence,
    llm_masked_categorical,
    masked_categorical,
    masked_one_hot_categorical,
    normal,
    one_hot_categorical,
    ordinal,
    random,
    sparse_categorical,
    tanh_normal,
    truncated_normal,
)
from functional_dists.random.extension import without_kernels
from tests.families import BY_NAME, DISCRETE, DISTINCT, EVENT, VERBS, Call, call_of, is_differentiable

KEY = random.key(5)
NAN, INF = math.nan, math.inf
PARAMETERS_OF_ROWS = ("logits", "scores")  # where one NaN makes the probabilities of its whole row NaN


def parts(result: Any) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


def total(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *tensors: sum(part.sum() for part in parts(function(*tensors)) if part.is_floating_point())


def with_nan(call: Call, i: int, place: tuple[int, ...]) -> Call:
    tensors = [tensor.clone() for tensor in call.tensors]
    tensors[i][place] = NAN
    return call._replace(tensors=tensors)


def places(call: Call, i: int) -> list[tuple[int, ...]]:
    return [(0,)] if call.tensors[i].ndim == 1 else [(0, j) for j in range(EVENT)]


def allowed(name: str) -> Tensor:
    """Return which outcomes the example of a discrete family has."""
    return torch.tensor([True, not {"mask", "indices"} & set(BY_NAME[name].parameters), True])


def is_reached(name: str, call: Call, i: int, place: tuple[int, ...]) -> bool:
    """Whether the argument at this place counts: a masked logit does not."""
    if name not in DISCRETE or call.names[i].rpartition(".")[2] not in PARAMETERS_OF_ROWS:
        return True
    return bool(allowed(name)[place[-1]])


def where_nan(result: Tensor, name: str, place: tuple[int, ...], counts: bool) -> Tensor:
    """Return where NaN belongs: in the element of a family with an event, or else in the row."""
    wanted = torch.zeros(result.shape, dtype=torch.bool)
    if counts and result.is_floating_point():
        wanted[place if result.ndim == len(place) and name not in DISCRETE else 0] = True
    return wanted


# A verb as eager code runs it, float32 by kernels where there are any, and as `vmap` does.
MODES: dict[str, tuple[torch.dtype, Callable[..., Any]]] = {
    "float32": (torch.float32, lambda function: function),
    "float64": (torch.float64, lambda function: function),
    "vmap": (torch.float32, vmap),
}


def assert_nan_where_it_belongs(name: str, call: Call, function: Callable[..., Any]) -> None:
    clean = parts(function(*call.tensors))
    for i in call.real:
        for place in places(call, i):
            got = parts(function(*with_nan(call, i, place).tensors))
            for result, other in zip(got, clean, strict=True):
                wanted = where_nan(result, name, place, is_reached(name, call, i, place))
                assert torch.equal(result.isnan(), wanted), (call.names[i], place, result)
                others = ~wanted if result.is_floating_point() else slice(1, None)
                assert torch.equal(result[others], other[others]), (call.names[i], place)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("name", "verb"), VERBS)
def test_any_nan_gives_nan_in_its_element_or_row_alone(name: str, verb: str, mode: str) -> None:
    dtype, transform = MODES[mode]
    call = call_of(name, verb, dtype, (2,))
    assert_nan_where_it_belongs(name, call, transform(call.function))


@pytest.mark.parametrize(("name", "verb"), [pair for pair in VERBS if pair[0] in DISTINCT])
def test_operations_give_nan_where_kernels_do(name: str, verb: str) -> None:
    call = call_of(name, verb, torch.float32, (2,))
    assert_nan_where_it_belongs(name, call, without_kernels(call.function))


slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "verb"),
    [
        ("tanh_normal", "log_prob"),
        ("masked_categorical", "sample_and_log_prob"),
        ("ordinal", "log_cdf"),
        pytest.param("normal", "log_prob", marks=slow),
        pytest.param("tanh_normal", "rsample_and_log_prob", marks=slow),
        pytest.param("truncated_normal", "log_prob", marks=slow),
        pytest.param("masked_categorical", "kl", marks=slow),
        pytest.param("masked_one_hot_categorical", "log_prob", marks=slow),
        pytest.param("llm_masked_categorical", "log_prob", marks=slow),
        pytest.param("llm_masked_categorical", "kl", marks=slow),
    ],
)
def test_compiled_code_gives_nan_alike(name: str, verb: str) -> None:
    torch._dynamo.reset()
    call = call_of(name, verb, torch.float32, (2,))
    assert_nan_where_it_belongs(name, call, torch.compile(call.function, fullgraph=True))


# --------------------------------------------------------------------------------------------------------- derivatives
def by_autograd(function: Callable[..., Any], call: Call) -> tuple[Tensor, ...]:
    tracked = [t.clone().requires_grad_() if i in call.real else t for i, t in enumerate(call.tensors)]
    asked = [tracked[i] for i in call.real]
    found = torch.autograd.grad(total(function)(*tracked), asked, allow_unused=True)
    return tuple(torch.zeros_like(t) if g is None else g for g, t in zip(found, asked, strict=True))


def by_func(function: Callable[..., Any], call: Call) -> tuple[Tensor, ...]:
    return grad(total(vmap(function)), call.real)(*call.tensors)


def depends(name: str, verb: str, i: int, place: tuple[int, ...]) -> list[Tensor]:
    """Return where the derivatives change with an argument; that of what is linear in it does not, and may stay."""
    call = call_of(name, verb, torch.float64, (2,))
    moved = [tensor.clone() for tensor in call.tensors]
    moved[i][place] += 1e-3
    pairs = zip(by_autograd(call.function, call._replace(tensors=moved)), by_autograd(call.function, call), strict=True)
    return [(a - b).abs() > 1e-9 for a, b in pairs]


@pytest.mark.parametrize("differentiate", [by_autograd, by_func])
@pytest.mark.parametrize(("name", "verb"), [pair for pair in VERBS if is_differentiable(*pair)])
def test_derivatives_that_meet_a_nan_are_nan_and_no_others(name: str, verb: str, differentiate: Any) -> None:
    call = call_of(name, verb, torch.float32, (2,))
    clean = differentiate(call.function, call)
    for i in call.real:
        for place in places(call, i):
            got = differentiate(call.function, with_nan(call, i, place))
            counts = is_reached(name, call, i, place)
            for k, by, other, meets in zip(call.real, got, clean, depends(name, verb, i, place), strict=True):
                may = torch.zeros(by.shape, dtype=torch.bool)
                must = may.clone()
                if counts and name not in DISCRETE:
                    may[place] = True
                    must = may & meets
                elif counts:
                    is_logit = call.names[k].rpartition(".")[2] in PARAMETERS_OF_ROWS
                    may[0] = allowed(name) if is_logit and by.ndim == 2 else True
                    must[0] = allowed(name) if by.ndim == 2 else True
                assert (by.isnan() >= must).all(), (call.names[i], place, call.names[k], by)
                assert (by.isnan() <= may).all(), (call.names[i], place, call.names[k], by)
                torch.testing.assert_close(by[~may], other[~may])


# -------------------------------------------------------------------------------------------------- what has support
def score_and_slopes(function: Callable[..., Tensor], *arguments: float) -> tuple[Tensor, Tensor]:
    tensors = torch.tensor([arguments]).T.clone().requires_grad_()
    result = function(*tensors.unbind())
    return result.detach(), torch.autograd.grad(result.sum(), tensors)[0]


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (normal.log_prob, (NAN, 1.0, 0.0)),
        (normal.log_prob, (0.0, NAN, 0.0)),
        (normal.log_prob, (0.0, 1.0, NAN)),
        (lambda *x: tanh_normal.log_prob(*x[:2], -1.0, 1.0, x[2]), (NAN, 1.0, 0.0)),
        (lambda *x: tanh_normal.log_prob(*x[:2], -1.0, 1.0, x[2]), (0.0, 1.0, NAN)),
        (lambda *x: tanh_normal.log_prob(*x[:2], -2.0, 5.0, x[2]), (0.0, 1.0, NAN)),
        (lambda *x: truncated_normal.log_prob(*x[:2], -1.0, 1.0, x[2]), (NAN, 1.0, 0.0)),
    ],
)
def test_a_policy_that_diverged_is_seen_to_have(function: Callable[..., Tensor], arguments: tuple[float, ...]) -> None:
    for given in (function, without_kernels(function)):
        score, slopes = score_and_slopes(given, *arguments)
        assert score.isnan().all()
        assert slopes.isnan().all()


@pytest.mark.parametrize("value", [-1.0, 1.0, 1.5, -7.0, INF, -INF])
@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (-0.5, 0.25), (-0.7, 0.7)])
def test_values_outside_stay_without_density_and_gradient(value: float, bounds: tuple[float, float]) -> None:
    low, high = torch.tensor(bounds[0]), torch.tensor(bounds[1])
    score_of = {
        "numbers": lambda *x: tanh_normal.log_prob(*x[:2], *bounds, x[2]),
        "constants": lambda *x: tanh_normal.log_prob(*x[:2], *bounds, x[2].detach()),
        "tensors": lambda *x: tanh_normal.log_prob(*x[:2], low.expand(1), high.expand(1), x[2]),
        "no kernels": without_kernels(lambda *x: tanh_normal.log_prob(*x[:2], *bounds, x[2].detach())),
        "vmap": vmap(lambda *x: tanh_normal.log_prob(*x[:2], *bounds, x[2])),
    }
    if abs(value) > 1:
        score_of["truncated"] = lambda *x: truncated_normal.log_prob(*x[:2], *bounds, x[2])
    for name, function in score_of.items():
        score, slopes = score_and_slopes(function, 0.3, 0.5, value)
        assert (score == -INF).all(), name
        assert (slopes == 0).all(), name


def test_unsquash_tells_the_ends_from_nan() -> None:
    value = torch.tensor([-3.0, -1.0, NAN, 1.0, 2.0])
    wanted = torch.tensor([-INF, -INF, NAN, INF, INF])
    for given in (value, value.clone().requires_grad_()):
        got = tanh_normal.unsquash(given, -1.0, 1.0)
        torch.testing.assert_close(got.detach(), wanted, equal_nan=True, rtol=0, atol=0)


def test_a_nan_is_seen_where_the_value_lies_outside() -> None:
    one = torch.ones(1)
    for value in (one, 2 * one):
        for verb in ("log_prob", "cdf", "survival", "log_cdf", "log_survival"):
            assert getattr(tanh_normal, verb)(NAN * one, 1.0, -1.0, 1.0, value).isnan().all(), verb
            assert getattr(truncated_normal, verb)(NAN * one, 1.0, -1.0, 1.0, value).isnan().all(), verb


def test_divergences_from_narrower_bounds_are_infinite_but_of_nan() -> None:
    narrow, wide = (0.0, 1.0, -1.0, 1.0), (torch.zeros(1), 1.0, -2.0, 2.0)
    for family in (tanh_normal, truncated_normal):
        assert divergence.kl((family, wide), (family, narrow)) == INF
        for i in range(4):
            poisoned = [*wide]
            poisoned[i] = torch.full((1,), NAN)
            assert divergence.kl((family, tuple(poisoned)), (family, narrow)).isnan()
            assert divergence.kl((family, narrow), (family, tuple(poisoned))).isnan()


def test_points_are_elsewhere_or_nan() -> None:
    score = delta.log_prob(torch.tensor([0.0, NAN, 0.0]), torch.tensor([1.0, 0.0, NAN]), event_dims=0)
    torch.testing.assert_close(score, torch.tensor([-INF, NAN, NAN]), equal_nan=True)
    assert delta.kl((torch.tensor([NAN]),), (torch.zeros(1),)).isnan()


# ------------------------------------------------------------------------------------------------------------ outcomes
ROWS = torch.tensor([[0.1, NAN, -INF, 0.7], [0.1, 0.2, 0.3, NAN], [0.1, 0.2, 0.3, 0.4]])
MASK = torch.tensor([[True, True, True, False], [True, True, True, False], [True, False, True, True]])


def tracked(function: Callable[[Tensor], Any], logits: Tensor) -> tuple[Any, Tensor]:
    given = logits.clone().requires_grad_()
    result = function(given)
    return result.detach(), torch.autograd.grad(result.sum(), given)[0]


@pytest.mark.parametrize("transform", [lambda f: f, without_kernels], ids=["kernels", "no kernels"])
@pytest.mark.parametrize("outcome", [0, 1, 2, 3])
def test_every_log_prob_of_a_row_with_a_nan_is_nan(outcome: int, transform: Any) -> None:
    value = torch.full((3,), outcome)
    score_of = transform(lambda logits: masked_categorical.log_prob(logits, MASK, value))
    clean = masked_categorical.log_prob(ROWS.nan_to_num(9.0, neginf=-INF), MASK, value)
    score, slopes = tracked(score_of, ROWS)
    assert torch.equal(score_of(ROWS).isnan(), torch.tensor([True, False, False]))
    assert torch.equal(score.isnan(), torch.tensor([True, False, False]))
    torch.testing.assert_close(score[1:], clean[1:])
    assert slopes[0, :2].isnan().all()
    assert not slopes[1:].isnan().any()
    assert (slopes[~MASK] == 0).all()


@pytest.mark.parametrize("transform", [lambda f: f, without_kernels, vmap], ids=["kernels", "no kernels", "vmap"])
def test_tables_of_a_row_with_a_nan_are_nan(transform: Any) -> None:
    for verb in ("probs", "normalized_logits", "entropy"):
        result = transform(getattr(masked_categorical, verb))(ROWS, MASK)
        assert result[0].isnan().all()
        assert not result[1:].isnan().any()
        assert verb == "entropy" or (result[1:][~MASK[1:]] == (0.0 if verb == "probs" else -INF)).all()
    for p, q in ((ROWS, ROWS[[2]].expand(3, 4)), (ROWS[[2]].expand(3, 4), ROWS)):
        for masks in ((MASK, MASK), (MASK, ~MASK), (~MASK, ~MASK)):
            got = masked_categorical.kl((p, masks[0]), (q.contiguous(), masks[1]))
            is_nan = (p.isnan() & masks[0]).any(-1) | (q.isnan() & masks[1]).any(-1)
            assert torch.equal(got.isnan(), is_nan)


@pytest.mark.parametrize("logits", [[NAN], [NAN, NAN], [NAN, -INF], [-INF, NAN], [NAN, 3e38]])
def test_a_row_of_little_else_than_nan_is_nan(logits: list[float]) -> None:
    row = torch.tensor([logits])
    for given in (row, row.double(), row.clone().requires_grad_()):
        for call in (lambda x: x, without_kernels):
            assert call(categorical.log_prob)(given, torch.tensor([0])).isnan().all()
            assert call(categorical.entropy)(given).isnan().all()
            assert call(categorical.probs)(given).isnan().all()
            assert call(categorical.kl)((given,), (given,)).isnan().all()
            outcome, score = call(categorical.sample_and_log_prob)(KEY, given)
            assert score.isnan().all()
            assert 0 <= outcome.item() < len(logits)
    slopes = tracked(lambda x: categorical.log_prob(x, torch.tensor([0])), row)[1]
    assert slopes[row.isnan()].isnan().all()
    assert tracked(categorical.entropy, row)[1][row.isnan()].isnan().all()


def test_draws_of_a_row_with_a_nan_are_of_what_is_allowed_and_the_same_everywhere() -> None:
    logits = torch.randn((64, 40), generator=torch.Generator().manual_seed(0))
    mask = torch.rand((64, 40), generator=torch.Generator().manual_seed(1)) < 0.5
    logits[:32][torch.rand((32, 40), generator=torch.Generator().manual_seed(2)) < 0.2] = NAN
    mask[:, 7] = True
    pair = masked_categorical.sample_and_log_prob
    torch._dynamo.reset()
    compiled = torch.compile(masked_categorical.sample, fullgraph=True)
    for key in random.split(KEY, 5).unbind():
        draw, score = pair(key, logits, mask)
        assert mask.gather(-1, draw[:, None]).all()
        is_nan = (logits.isnan() & mask).any(-1)
        assert torch.equal(score.isnan(), is_nan)
        clean = pair(key, logits.nan_to_num(0.0), mask)
        assert torch.equal(draw[~is_nan][-32:], clean[0][~is_nan][-32:])
        assert torch.equal(masked_categorical.sample(key, logits, mask), draw)
        assert torch.equal(without_kernels(masked_categorical.sample)(key, logits, mask), draw)
        assert torch.equal(without_kernels(pair)(key, logits, mask)[0], draw)
        assert torch.equal(pair(key, logits.clone().requires_grad_(), mask)[0], draw)
        assert torch.equal(masked_categorical.sample(key, logits.double(), mask), draw)
        assert torch.equal(compiled(key, logits, mask), draw)


def test_the_mode_of_a_row_with_a_nan_is_allowed() -> None:
    logits = torch.tensor([[0.0, NAN, 5.0, 1.0], [NAN, 1.0, 2.0, 3.0]])
    mask = torch.tensor([[True, True, True, False], [False, True, False, True]])
    torch._dynamo.reset()
    mode = masked_categorical.mode
    for function in (mode, torch.compile(mode, fullgraph=True)):
        assert torch.equal(function(logits, mask), torch.tensor([1, 3]))


def test_scores_of_steps_and_lists_and_tokens_are_nan() -> None:
    for i in range(3):
        scores = torch.zeros(2, 3)
        scores[0, i] = NAN
        for verb in ("cdf", "survival", "log_cdf", "log_survival", "log_prob"):
            for value in (0, 1, 2) if verb == "log_prob" else (-1, 0, 1, 2):
                result = getattr(ordinal, verb)(scores, torch.full((2,), value))
                assert torch.equal(result.isnan(), torch.tensor([True, False])), (i, verb, value)
        for verb in ("icdf", "sample"):
            drawn = ordinal.icdf(scores, torch.tensor([0.4, 0.4])) if verb == "icdf" else ordinal.sample(KEY, scores)
            assert ((drawn >= 0) & (drawn < 3)).all()
    logits = torch.tensor([NAN, 0.0, 1.0, 2.0])
    indices = torch.tensor([[0, 1], [2, 3], [-1, 1]])
    score = sparse_categorical.log_prob(logits, indices, torch.tensor([1, 3, 1]), padding_value=-1)
    assert torch.equal(score.isnan(), torch.tensor([True, False, False]))
    tokens = torch.tensor([1, 1, -100])
    table = logits.expand(3, 4).contiguous()
    score = llm_masked_categorical.log_prob(table, torch.tensor([True, False, True]), tokens)
    assert torch.equal(score.isnan(), torch.tensor([True, False, False]))


def test_vectors_with_a_nan_have_nan_log_probs() -> None:
    logits, mask = torch.zeros(4, 3), torch.tensor([True, True, False])
    vectors = torch.tensor([[NAN, 0, 0], [0, 1, NAN], [0, 1, 0], [1, 1, 0]])
    is_nan = torch.tensor([True, True, False, False])
    for score in (
        one_hot_categorical.log_prob(logits, vectors),
        masked_one_hot_categorical.log_prob(logits, mask, vectors),
    ):
        assert torch.equal(score.isnan(), is_nan)
        assert score[3] == -INF
    relaxed = torch.tensor([[NAN, 0.3, 0.0], [0.7, 0.3, NAN], [0.7, 0.3, 0.0], [0.7, 0.4, 0.0]])
    score = masked_one_hot_categorical.log_prob_relaxed(logits, mask, relaxed)
    assert torch.equal(score.isnan(), is_nan)
    assert score[3] == -INF


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("low", "high", "value"), [(math.nan, 1.0, 5.0), (-1.0, math.nan, -5.0), (math.nan, 1.0, 1.0)])
def test_a_bound_of_nan_beside_a_value_beyond_the_other(
    low: float, high: float, value: float, dtype: torch.dtype
) -> None:
    loc = torch.zeros(1, dtype=dtype)
    for family in (tanh_normal, truncated_normal):
        assert family.log_prob(loc, 1.0, low, high, torch.tensor([value], dtype=dtype)).isnan()
