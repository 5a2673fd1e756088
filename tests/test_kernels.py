"""Compiled kernels give what PyTorch's operations give: the same draws, the same numbers to a few ulp."""

import functools
import importlib.util
import itertools
import math
import shutil
from collections import Counter
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from functional_dists import (
    bind,
    categorical,
    distributions,
    independent_normal,
    kernels,
    linear_categorical,
    llm_masked_categorical,
    masked_categorical,
    normal,
    one_hot_categorical,
    ordinal,
    parameters,
    policy,
    random,
    tanh_normal,
)
from functional_dists.kernels import can_be_used, operands
from functional_dists.random import extension
from functional_dists.random.extension import without_kernels
from functional_dists.special import axis, choice
from functional_dists.special.beta_local import beta_local
from functional_dists.special.beta_quantile import beta_quantile
from functional_dists.special.beta_score import beta_score

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


def divergence(p: Tensor, p_mask: Tensor | None, q: Tensor, q_mask: Tensor | None) -> Tensor:
    return categorical.kl((p,), (q,)) if p_mask is None else masked_categorical.kl((p, p_mask), (q, q_mask))


@needs_kernels
@pytest.mark.parametrize("masks", OTHER_MASKS)
@pytest.mark.parametrize("other", OTHER_LOGITS)
def test_divergences_are_the_same(other: str, masks: str) -> None:
    p_mask, q_mask = OTHER_MASKS[masks]
    for p, q in ((LOGITS, OTHER_LOGITS[other]), (OTHER_LOGITS[other], LOGITS)):
        by_kernel = divergence(p, p_mask, q, q_mask)
        exact = without_kernels(divergence)(p.double(), p_mask, q.double(), q_mask)
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
        (got,) = torch.autograd.grad(categorical.log_prob(tracked := _tracked(logits), outcome).sum(), tracked)
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
    outcomes = torch.tensor([-1, 0, count - 1, count])[:, None].expand(4, 8)
    results = []
    for module in (extension.kernels, None):
        monkeypatch.setattr(extension, "kernels", module)
        chosen, log_prob = masked_categorical.sample_and_log_prob(KEY, logits, mask)
        assert torch.equal(chosen, masked_categorical.sample(KEY, logits, mask))
        scores = [masked_categorical.log_prob(logits, mask, outcome) for outcome in outcomes]
        results.append([chosen, log_prob, *scores])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=4 * EPS, atol=4 * EPS, equal_nan=True)


@needs_kernels
def test_log_probs_of_categories_are_exact_to_an_ulp() -> None:
    logits = torch.cat([table(200, 50, spread=spread) for spread in (0.01, 1.0, 20.0, 1e4)])
    outcomes = logits.argmax(-1)  # whose log-prob is next to 0 where others hardly count
    for outcome in (outcomes, torch.zeros_like(outcomes)):
        exact = logits.double().log_softmax(-1).gather(-1, outcome[:, None]).squeeze(-1)
        got = categorical.log_prob(logits, outcome)
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
    for given, samples in itertools.product((None, mask), (1, 50)):
        by_kernels = chosen(logits, given, shares, samples)
        by_operations = torch.stack([choice.choose_by_logits(logits, given, share) for share in shares])
        assert torch.equal(by_kernels, by_operations)
        assert mask.gather(-1, by_kernels.T)[mask.any(-1)].all()


def chosen(logits: Tensor, mask: Tensor | None, shares: Tensor, samples: int) -> Tensor:
    """Choose outcomes at shares, so many of a row at a time, by the kernel itself."""
    outcome = torch.empty(shares.shape, dtype=torch.int64)
    for some_shares, some in zip(shares.split(samples), outcome.split(samples), strict=True):
        extension.kernels.categories(
            logits.shape,
            *operands.layouts(logits, mask),
            samples,
            some_shares.data_ptr(),
            choice.unit_of(logits.shape[-1]),
            some.data_ptr(),
            0,
        )
    return outcome


# ----------------------------------------------------------------------------------------------- when kernels are used
NETWORK = table(8, 12)  # what a network puts out
LAYOUTS = {
    "contiguous": NETWORK[:, :6].contiguous(),
    "chunk": NETWORK.chunk(2, -1)[1],
    "columns": NETWORK[:, ::2],
    "transposed": table(6, 8).t(),
    "row": NETWORK[0, :6],
    "expanded": NETWORK[0, :6].expand(8, 6),
    "column": NETWORK[:, :1],
    "no axes": NETWORK[0, 0],
    "parameter": torch.nn.Parameter(NETWORK[:, :6].clone()),
}
SCALES = {name: (tensor.detach().abs() + 0.5) for name, tensor in LAYOUTS.items()} | {"float": 0.5, "int": 2}
ALL_BOUNDS = {
    "unit": (-1.0, 1.0),
    "ints": (-2, 2),
    "aslant": (-2.0, 3.0),
    "int and float": (-1, 2.5),
    "NumPy numbers": (np.float32(-2.0), np.float64(2.0)),
    "rows": (-torch.arange(1.0, 7.0), torch.tensor([1.0, 5.0, 3.0, 4.0, 2.0, 6.0])),
    "tables": (-LAYOUTS["columns"].abs() - 1, LAYOUTS["transposed"].abs() + 1),
    "no axes": (torch.tensor(-1.0), 1),
}
VALUES = {
    "one": torch.tanh(LAYOUTS["columns"]),
    "many": 0.9 * torch.tanh(table(8, 3, 6)).transpose(0, 1),
    "number": 0.5,
}
WANTED_LOGITS = {
    "contiguous": table(8, 9),
    "split": torch.split(table(8, 30), [7, 9, 14], -1)[1],
    "transposed": table(9, 8).t(),
    "row": table(9),
    "expanded": table(9).expand(8, 9),
}
MASKS = {"row": MASK[0], "table": MASK[:8], "transposed": MASK[:9, :8].t()}


class Counted:
    """The kernels, which count their calls by name."""

    def __init__(self, built: object) -> None:
        self.built, self.calls = built, Counter()

    def __getattr__(self, name: str) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            self.calls[name] += 1
            return getattr(self.built, name)(*arguments)

        return call

    def during(self, function: Callable[..., object], *arguments: object) -> dict[str, int]:
        """Return how often a call used each of them; those that draw noise do not count."""
        self.calls.clear()
        function(*arguments)
        return {name: count for name, count in self.calls.items() if not name.startswith("philox")}


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    if extension.kernels is None:
        pytest.skip("the kernels are not built")
    counted = Counted(extension.kernels)
    monkeypatch.setattr(extension, "kernels", counted)
    return counted


def assert_kernels_agree(counted: Counted, call: Callable[..., object], used: set[str], tolerance: float = 16) -> None:
    """Assert that a call, and its derivatives by what it returns with it, use kernels, and change no draw."""
    assert set(counted.during(call)) == used
    wanted = without_kernels(call)()
    for got, expected in zip(_parts(call()), _parts(wanted), strict=True):
        assert got.shape == expected.shape
        assert got.dtype == expected.dtype
        assert got.requires_grad == expected.requires_grad
        torch.testing.assert_close(got, expected, rtol=tolerance * EPS, atol=4 * tolerance * EPS)


NORMALS = dict.fromkeys(
    [
        *(("chunk", "row", bounds) for bounds in (None, *ALL_BOUNDS)),
        *((loc, "row", bounds) for loc in LAYOUTS for bounds in (None, "aslant")),
        *(("chunk", scale, bounds) for scale in SCALES for bounds in (None, "aslant")),
    ]
)


@pytest.mark.parametrize("is_tracked", [False, True], ids=["plain", "tracked"])
@pytest.mark.parametrize(("loc", "scale", "bounds"), NORMALS)
def test_normals_of_any_layout(loc: str, scale: str, bounds: str | None, is_tracked: bool, counted: Counted) -> None:
    family = normal if bounds is None else tanh_normal
    first = LAYOUTS[loc].clone().requires_grad_() if is_tracked else LAYOUTS[loc].detach()
    second = SCALES[scale]
    if is_tracked and isinstance(second, Tensor):
        second = second.clone().requires_grad_()
    parameters = (first, second) if bounds is None else (first, second, *ALL_BOUNDS[bounds])
    tracked = [t for t in (first, second) if isinstance(t, Tensor) and t.requires_grad]
    draw = {"draws_of_noise"} if bounds is None else {"draws_of_noise", "squash"}

    def with_slopes(call: Callable[[], object]) -> tuple[Tensor, ...]:
        parts = _parts(call())
        result = sum((part * torch.linspace(1, 2, part.numel()).view_as(part)).sum() for part in parts)
        return parts + (torch.autograd.grad(result, tracked) if result.requires_grad else ())

    for name, sample_shape in itertools.product(("sample", "rsample"), ((), (3,))):

        def sample(name: str = name, sample_shape: tuple[int, ...] = sample_shape) -> Tensor:
            return getattr(family, name)(KEY, *parameters, sample_shape=sample_shape)

        def pair(name: str = name, sample_shape: tuple[int, ...] = sample_shape) -> tuple[Tensor, ...]:
            return getattr(family, f"{name}_and_log_prob")(KEY, *parameters, sample_shape=sample_shape)

        if loc != "transposed":  # where PyTorch has other last digits for the last elements, in the order of memory
            assert torch.equal(sample(), without_kernels(sample)())
        slopes = {"draw_slopes"} if name == "rsample" and tracked else set()
        assert_kernels_agree(counted, lambda call=sample: with_slopes(call), draw | slopes, 200)
        slopes = slopes or ({"log_density_slopes"} if tracked else set())
        assert_kernels_agree(counted, lambda call=pair: with_slopes(call), draw | slopes, 200)
    if bounds is not None or {loc, scale} & {"contiguous", "chunk", "row"}:
        shape = torch.broadcast_shapes(first.shape, *(t.shape for t in parameters[1:] if isinstance(t, Tensor)))
        for value in VALUES.values() if shape == (8, 6) else [VALUES["number"]]:

            def score(value: object = value) -> Tensor:
                return family.log_prob(*parameters, value)

            slopes = {"log_density_slopes"} if tracked else set()
            assert_kernels_agree(counted, lambda call=score: with_slopes(call), {"log_density_at"} | slopes, 200)


@pytest.mark.parametrize("is_tracked", [False, True], ids=["plain", "tracked"])
@pytest.mark.parametrize("mask", [None, *MASKS])
@pytest.mark.parametrize("logits", WANTED_LOGITS)
def test_categories_of_any_layout(logits: str, mask: str | None, is_tracked: bool, counted: Counted) -> None:
    family = categorical if mask is None else masked_categorical
    table = WANTED_LOGITS[logits].clone().requires_grad_() if is_tracked else WANTED_LOGITS[logits]
    parameters = (table,) if mask is None else (table, MASKS[mask])
    others = (table.detach().flip(0), *parameters[1:])
    batch = torch.broadcast_shapes(*(parameter.shape for parameter in parameters))[:-1]

    def with_slopes(call: Callable[[], object]) -> tuple[Tensor, ...]:
        parts = _parts(call())
        if not parts[-1].requires_grad:
            return parts
        finite = torch.where(parts[-1].isfinite(), parts[-1], 0.0)
        return parts + torch.autograd.grad((finite * torch.linspace(1, 2, finite.numel()).view_as(finite)).sum(), table)

    slopes = {"category_slopes"} if is_tracked else set()
    for outcome in (torch.arange(batch.numel()).view(batch) % 9, torch.tensor(3, dtype=torch.int32)):
        call = functools.partial(with_slopes, lambda outcome=outcome: family.log_prob(*parameters, outcome))
        assert_kernels_agree(counted, call, {"categories"} | slopes)
    many = torch.arange(4 * batch.numel()).view(4, *batch) % 9
    assert_kernels_agree(counted, lambda: with_slopes(lambda: family.log_prob(*parameters, many)), {"categories"})
    assert_kernels_agree(counted, lambda: with_slopes(lambda: family.entropy(*parameters)), {"entropies"} | slopes)
    for sample_shape in ((), (5,)):
        options = {"sample_shape": sample_shape}
        assert_kernels_agree(counted, lambda o=options: family.sample(KEY, *parameters, **o), {"categories"}, 0)
        pair = functools.partial(family.sample_and_log_prob, KEY, *parameters, **options)
        used = {"categories"} | (slopes if not sample_shape else set())
        assert_kernels_agree(counted, lambda call=pair: with_slopes(call), used)
    if not is_tracked:
        assert_kernels_agree(counted, lambda: family.kl(parameters, others), {"divergences"})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("mask", [MASK[:8], MASK[:8, 0]], ids=["tokens", "positions"])
def test_tokens(mask: Tensor, dtype: torch.dtype, counted: Counted) -> None:
    logits = WANTED_LOGITS["split"].clone().to(dtype)
    logits[~mask] = math.nan
    value = torch.arange(8) % 9
    value[2], value[5] = -100, 9
    many = torch.stack([value, value.flip(0), value])
    family = llm_masked_categorical

    def with_slopes(call: Callable[[Tensor], object]) -> tuple[Tensor, ...]:
        tracked = _tracked(logits)
        results = _parts(call(tracked))
        finite = [torch.where(r.isfinite(), r, 0.0) for r in results]
        loss = sum((r * torch.linspace(1, 2, r.numel()).view_as(r)).sum() for r in finite)
        return *results, *(slope.float() for slope in torch.autograd.grad(loss, tracked))

    calls: dict[str, Callable[[Tensor], object]] = {
        "log_prob": lambda t: family.log_prob(t, mask, value, dtype=torch.float32),
        "log_prob of many": lambda t: family.log_prob(t, mask, many, dtype=torch.float32),
        "entropy": lambda t: family.entropy(t, mask, dtype=torch.float32),
        "both": lambda t: family.log_prob_and_entropy(t, mask, value, dtype=torch.float32),
    }
    for call in calls.values():
        assert set(counted.during(call, logits)) == {"token_scores"}
        run = functools.partial(with_slopes, call)
        assert set(counted.during(run)) == {"token_scores", "token_slopes"}
        for got, expected in zip(run(), without_kernels(run)(), strict=True):
            is_slope = got.shape == logits.shape
            rounding = max(torch.finfo(dtype).eps if is_slope else 0.0, 16 * EPS)
            torch.testing.assert_close(got, expected, rtol=rounding, atol=rounding)
    if dtype == torch.float32:
        for shape in ((), (3,)):
            draw = functools.partial(family.sample, KEY, logits, mask, sample_shape=shape)
            assert_kernels_agree(counted, draw, {"categories"}, 0)
    drawn, log_prob = family.sample_and_log_prob(KEY, logits, mask)
    assert torch.equal(log_prob, family.log_prob(logits, mask, drawn))


@pytest.mark.parametrize("count", [2, 63, 64, 65, 512, 700])
def test_tokens_that_are_nearly_certain_or_no_numbers(count: int, counted: Counted) -> None:
    logits = torch.cat([table(6, count, spread=spread) for spread in (0.1, 10.0, 60.0)])
    logits[0, 0], logits[1, -1], logits[2], logits[3, 0] = math.nan, math.inf, -math.inf, -math.inf
    logits[4], logits[5, :2] = 0.0, 200.0
    rows = torch.ones(18, dtype=torch.bool)
    for value in (logits.nan_to_num().argmax(-1), torch.zeros(18, dtype=torch.int64)):

        def results(value: Tensor = value) -> list[Tensor]:
            tracked = _tracked(logits)
            log_prob, entropy = llm_masked_categorical.log_prob_and_entropy(tracked, rows, value)
            slopes = [torch.autograd.grad(score.sum(), tracked, retain_graph=True)[0] for score in (log_prob, entropy)]
            return [log_prob, entropy, *slopes]

        assert counted.during(results) == {"token_scores": 1, "token_slopes": 2}
        for got, expected in zip(results(), without_kernels(results)(), strict=True):
            torch.testing.assert_close(got, expected, rtol=16 * EPS, atol=16 * EPS, equal_nan=True)


def test_several_threads_give_the_bits_of_one(monkeypatch: pytest.MonkeyPatch, counted: Counted) -> None:
    logits, rows = table(7, 300).bfloat16(), torch.ones(7, dtype=torch.bool)

    def results() -> list[Tensor]:
        tracked = _tracked(logits)
        parts = llm_masked_categorical.log_prob_and_entropy(tracked, rows, torch.arange(7))
        return [*parts, *torch.autograd.grad(sum(part.sum() for part in parts), tracked)]

    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    alone = results()
    monkeypatch.setattr(kernels.tokens, "_LEAST", 1)
    assert counted.during(results) == {"token_scores": 3, "token_slopes": 3}
    assert all(map(torch.equal, results(), alone))


def test_pipelines_use_kernels(counted: Counted) -> None:
    raw = torch.nn.Parameter(table(8, 12))
    low, high = -torch.arange(1.0, 7.0), torch.arange(1.0, 7.0)

    def sac() -> None:
        loc, scale = parameters.normal_params(raw)
        _, log_prob = tanh_normal.rsample_and_log_prob(KEY, loc, scale, low, high)
        log_prob.sum().backward()

    def ppo() -> None:
        loc, scale = parameters.state_independent_scale(raw[:, :6], raw[0, 6:])
        tanh_normal.log_prob(loc, scale, -2, 2, VALUES["many"]).sum().backward()

    def tree() -> None:
        tanh_normal.sample(KEY, {"arm": raw[:, :6], "leg": [raw[:, 6:]]}, 1.0, -1.0, 1.0)

    def shim() -> None:
        dist = distributions.TanhNormal(raw[:, :6], 1.0, low=low, high=high)
        dist.log_prob(dist.sample())
        distributions.MaskedCategorical(logits=raw[:, :9], mask=MASK[10:18]).entropy()

    torque = bind(tanh_normal, low=low, high=high)
    weights, step = policy.actor(torch.nn.Linear(3, 12), torque, in_keys=["observation"], return_log_prob=True)
    data = {"observation": torch.ones(8, 3)}

    def act() -> None:
        step(weights, KEY, data)

    def learn() -> None:
        step.log_prob(weights, {**data, "action": torch.zeros(8, 6)}).sum().backward()

    assert counted.during(act) == {"draws_of_noise": 1, "squash": 1, "log_density_at": 1}
    assert counted.during(learn) == {"log_density_at": 1, "log_density_slopes": 1}
    assert counted.during(sac) == {"draws_of_noise": 1, "squash": 1, "draw_slopes": 1}
    assert counted.during(ppo) == {"log_density_at": 1, "log_density_slopes": 1}
    assert counted.during(tree) == {"draws_of_noise": 2, "squash": 2}
    assert counted.during(shim) == {"draws_of_noise": 1, "squash": 1, "log_density_at": 1, "entropies": 1}
    assert counted.during(ordinal.log_prob, raw, torch.zeros(8, dtype=torch.int64)) == {"categories": 1}
    assert counted.during(bind(tanh_normal, event_dims=0).log_prob, raw, 1.0, -1.0, 1.0, 0.5) == {"log_density_at": 1}


class Subclass(Tensor):
    """Whose elements may lie elsewhere."""


def test_what_kernels_cannot_read_is_left_to_operations(counted: Counted) -> None:
    x = torch.ones(4, 4)
    with torch.inference_mode():
        made = torch.ones(4, 4)
    unreadable = [
        x.double(),
        x.half(),
        torch.ones(0, 4),
        x.as_subclass(Subclass),
        torch._neg_view(-x),
    ]
    for scale in unreadable:
        assert counted.during(normal.sample, KEY, scale, scale) == {}
        assert counted.during(normal.log_prob, scale, scale, scale) == {}
        assert counted.during(categorical.entropy, scale) == {}
    assert counted.during(normal.log_prob, made, 1.0, 0.0) == {"log_density_at": 1}
    tracked = _tracked(x)
    assert counted.during(normal.log_prob, made, tracked, 0.0) == {}
    assert counted.during(normal.rsample, KEY, made, tracked) == {}
    assert counted.during(categorical.log_prob, made, torch.zeros(4, dtype=torch.int64)) == {"categories": 1}
    with torch.inference_mode():
        assert counted.during(normal.log_prob, x, 1.0, 0.0) == {"log_density_at": 1}
    assert counted.during(normal.log_prob, x, 1.0, x.double()) == {}
    assert counted.during(categorical.entropy, x.to("meta")) == {}
    assert counted.during(tanh_normal.rsample, KEY, tracked, 1.0, _tracked(-x), 1.0) == {}
    assert counted.during(tanh_normal.sample, KEY, tracked, 1.0, _tracked(-x), 1.0) == {
        "draws_of_noise": 1,
        "squash": 1,
    }
    assert counted.during(normal.sample, KEY, torch.ones([1] * 9), 1.0) == {}
    for wrong in (lambda: normal.sample(KEY, x, True), lambda: masked_categorical.sample(KEY, x, None)):
        with pytest.raises((TypeError, ValueError)):
            wrong()
    with pytest.raises(RuntimeError, match="overflow"):
        normal.sample(KEY, x, 1e300)


def test_whom_autograd_may_ask() -> None:
    x, mask = torch.zeros(4, 4, requires_grad=True), torch.ones(4, 4, dtype=torch.bool)
    outcome = torch.zeros(4, dtype=torch.int64)
    with torch.inference_mode():
        made_mask, made_outcome = mask.clone(), outcome.clone()
    for given in ((mask, outcome), (made_mask, outcome), (mask, made_outcome)):
        masked_categorical.log_prob(x, *given).sum().backward()
    masked_categorical.entropy(x, made_mask).sum().backward()


def test_large_tables_are_left_to_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: operands.FEW_THREADS + 1)
    assert operands.is_small((operands.MOST,))
    assert not operands.is_small((operands.MOST, 2))
    monkeypatch.setattr(torch, "get_num_threads", lambda: operands.FEW_THREADS)
    assert operands.is_small((operands.MOST, 2))


@needs_kernels
def test_kernels_are_not_used_in_transforms_and_tracers() -> None:
    seen = []

    def look(x: Tensor) -> Tensor:
        seen.append(can_be_used())
        return x.sum()

    x = torch.ones(3)
    look(x)
    assert seen.pop()
    torch.vmap(look)(x[None])
    torch.func.grad(look)(x)
    torch.func.jvp(look, (x,), (x,))
    torch.fx.experimental.proxy_tensor.make_fx(look)(x)
    torch.fx.experimental.proxy_tensor.make_fx(look, pre_dispatch=True)(x)
    torch.jit.trace(look, (x,), check_trace=False)
    with FakeTensorMode():
        look(torch.ones(3))
    with torch.autograd.forward_ad.dual_level():
        look(x)
    assert seen == [False] * len(seen)
    assert len(seen) == 8


@needs_kernels
def test_a_chosen_logit_of_minus_infinity_has_no_gradient() -> None:
    logits = torch.tensor([[0.0, -math.inf, 1.0], [-math.inf] * 3], requires_grad=True)
    log_prob = categorical.log_prob(logits, torch.tensor([1, 0]))
    (slopes,) = torch.autograd.grad(log_prob, logits, torch.ones(2))
    assert torch.equal(slopes, torch.zeros(2, 3))


# ----------------------------------------------------------------------------------------------------- the C functions
@needs_kernels
def test_c_functions_refuse_what_would_crash_them() -> None:
    k, x, words = extension.kernels, torch.ones(4, 4), torch.zeros(64, dtype=torch.int64)
    (at,), room = operands.layouts(x), words.data_ptr()
    for shape in ((0, 4), (4, 0), (-5, 4), (4, -5), (), [4, 4], (1,) * 9, (4, "4"), (4, 5)):
        with pytest.raises((ValueError, TypeError)):
            k.entropies(shape, at, None, room)
        with pytest.raises((ValueError, TypeError)):
            k.log_density_at(shape, 1, at, at, at, None, None, room)
    for shape, logits in (((4, 4), (0, (4, 4), (4, 1))), ((4, 4), None), ((4, 4), (room, (4, 4))), ((4,), at)):
        with pytest.raises((ValueError, TypeError, IndexError)):
            k.entropies(shape, logits, None, room)
    of_tokens = ((4, 4), at, False, None, None)
    scored, slopes = (1, room, -100, room, room, room), (1, room, -100, room, room, room, room)
    for rows in ((0, 5), (-1, 4), (0,), 4):
        with pytest.raises((ValueError, TypeError)):
            k.token_scores(*of_tokens, rows, *scored)
        with pytest.raises((ValueError, TypeError)):
            k.token_slopes(*of_tokens, rows, *slopes)
    with pytest.raises(ValueError, match="tokens are missing"):
        k.token_scores(*of_tokens, (0, 4), 1, 0, -100, room, room, room)
    with pytest.raises(ValueError, match="tokens are missing"):
        k.token_slopes(*of_tokens, (0, 4), 1, 0, -100, room, room, room, room)
    for event_dims in (-1, 3):
        with pytest.raises(ValueError, match="axes"):
            k.log_density_at((4, 4), event_dims, at, at, at, None, None, room)
    for samples in (0, -5):
        with pytest.raises(ValueError, match="positive"):
            k.categories((4, 4), at, None, samples, 0, 1.0, room, 0)
    for rows, num in ((0, 4), (4, 0), (-5, 4), (4, -5)):
        with pytest.raises(ValueError, match="positive"):
            k.philox_words(room, rows, num, room)
    with pytest.raises(TypeError, match="tensor"):
        k.gamma_local((4, 4), at, 1.0, True, room, *[room] * 8)
    rule = (room, room, 2, False)
    with pytest.raises(TypeError, match="rule"):
        k.beta_locals(room, room, room, 4, (room, room), (room,) * 12)
    with pytest.raises(TypeError, match="results"):
        k.beta_locals(room, room, room, 4, rule, (room,))
    calls = {
        "beta_locals": (room, room, room, 4, rule, (*[room] * 11, 0)),
        "beta_scores": (room, room, room, 4, (*[room] * 8, 0)),
        "beta_quantiles": (room, room, room, room, 4, rule, rule, 0),
        "gamma_local": ((4, 4), at, at, True, room, *[room] * 7, 0),
        "gamma_divergence": ((4, 4), at, at, at, 2, room, room, 0),
        "stirling_rests": ((4, 4), at, room, room, room, 0),
        "gamma_quantile": ((4, 4), at, at, at, False, room, 0, room),
        "categories": ((4, 4), at, None, 1, 0, 1.0, 0, 0),
        "category_slopes": ((4, 4), at, None, 0, operands.layouts(x[0])[0], 0),
        "divergences": ((4, 4), at, None, at, None, 0),
        "draws_of_noise": ((4, 4), 1, at, at, at, None, None, 0, 0, 0),
        "entropies": ((4, 4), at, None, 0),
        "log_density_at": ((4, 4), 1, at, at, at, None, None, 0),
        "philox_normals": (room, 4, 4, 0),
        "squash": ((4, 4), 0, 0, -1.0, 1.0, room),
    }
    for name, arguments in calls.items():
        with pytest.raises(ValueError, match="memory"):
            getattr(k, name)(*arguments)
        with pytest.raises(TypeError, match="arguments"):
            getattr(k, name)(*arguments, 0)
    with pytest.raises(OverflowError):
        k.log_density_at((4, 4), 1, at, 1e300, at, None, None, room)
    with pytest.raises(TypeError, match="bound"):
        k.log_density_at((4, 4), 1, at, at, at, -1.0, None, room)


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


# --------------------------------------------------------------------------------------------------------- equal bounds
@pytest.mark.parametrize(
    ("low", "is_compiled"),
    [
        (-2, False),
        (-2.0, False),
        (np.float32(-2.0), False),
        (torch.tensor(-2.0), False),
        (torch.from_numpy(np.full(6, -2.0, np.float32)), False),
        (-2, True),
        (-2.0, True),
    ],
    ids=str,
)
def test_the_divergence_of_tanh_normals_with_equal_bounds_needs_no_integral(
    low: float | Tensor, is_compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bounds are numbers or, in eager code, two copies of the tensor that a space of gymnasium gives."""
    monkeypatch.setattr(tanh_normal, "kl_inside", lambda p, q: pytest.fail("the integral was computed"))

    def divergence(loc: Tensor, scale: Tensor) -> Tensor:
        p_low, q_low = (low.clone() if isinstance(low, Tensor) else low for _ in range(2))
        p = tanh_normal.Params(loc, scale, p_low, 3.0)
        return tanh_normal.kl(p, tanh_normal.Params(0.0, 1.0, q_low, 3))

    wanted = normal.kl(normal.Params(LOC, SCALE), normal.Params(0.0, 1.0), event_dims=1)
    run = torch.compile(divergence, backend="aot_eager", fullgraph=True) if is_compiled else divergence
    torch.testing.assert_close(run(LOC, SCALE), wanted)


def test_bounds_that_may_differ_are_integrated(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    integral = tanh_normal.kl_inside
    monkeypatch.setattr(tanh_normal, "kl_inside", lambda p, q: calls.append(1) or integral(p, q))
    tracked = torch.full((6,), -2.0, requires_grad=True)
    for p_low, q_low in ((-2.0, -3.0), (torch.tensor(-2.0), -2.0), (tracked, tracked)):
        p, q = tanh_normal.Params(LOC, SCALE, p_low, 3.0), tanh_normal.Params(0.0, 1.0, q_low, 3.0)
        assert tanh_normal.kl(p, q).isfinite().all()
    assert len(calls) == 3


@pytest.mark.parametrize("rows", [1, 37])
@pytest.mark.parametrize("is_biased", [True, False])
def test_tiles_of_a_head(rows: int, is_biased: bool, counted: Counted) -> None:
    """What a network returns: a chunk of its output, not contiguous, and the weight of a linear layer."""
    network, head = torch.nn.Linear(5, 16), torch.nn.Linear(8, 3000, bias=is_biased)  # two tiles of tokens
    for number, parameter in enumerate((*network.parameters(), *head.parameters())):
        torch.nn.init.uniform_(parameter, -1, 1, generator=torch.Generator().manual_seed(number))
    inputs, value = table(rows, 5), torch.arange(rows) * 40
    value[0] = 2999
    parameters = [*network.parameters(), *head.parameters()]

    def scores() -> tuple[Tensor, Tensor]:
        hidden = network(inputs).chunk(2, -1)[0]
        bias = head.bias if is_biased else 0.0
        return linear_categorical.log_prob_and_entropy(hidden, head.weight, bias, value)

    def with_slopes() -> tuple[Tensor, ...]:
        log_prob, entropy = scores()
        return log_prob, entropy, *torch.autograd.grad((log_prob + entropy).sum(), parameters)

    assert counted.during(scores) == {"add_terms": 2}
    assert counted.during(with_slopes) == {"add_terms": 2, "tile_slopes": 2}
    for got, expected in zip(with_slopes(), without_kernels(with_slopes)(), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5 * rows)


@pytest.mark.parametrize("layout", ["contiguous", "chunk of a network's output"])
def test_parts_of_rows(layout: str, counted: Counted) -> None:
    """What a process holds of rows that are cut; here it is the only one."""
    network = torch.nn.Linear(5, 2 * 3000)
    for number, parameter in enumerate(network.parameters()):
        torch.nn.init.uniform_(parameter, -1, 1, generator=torch.Generator().manual_seed(number))
    inputs, value = table(7, 5), torch.arange(7) * 400
    alone = axis.Cut((), (), 0, 0, 3000)

    def logits() -> Tensor:
        part = network(inputs).chunk(2, -1)[1]
        return part.contiguous() if layout == "contiguous" else part

    def of_parts(verb: Callable[..., object], *arguments: object) -> Callable[..., object]:
        def call() -> object:
            with axis.cut({-1: alone}):
                return verb(*arguments, logits()) if verb is categorical.sample else verb(logits(), *arguments)

        return call

    def with_slopes() -> tuple[Tensor, ...]:
        log_prob, entropy = of_parts(categorical.log_prob_and_entropy, value)()
        return log_prob, entropy, *torch.autograd.grad((log_prob + entropy).sum(), network.parameters())

    draw = of_parts(categorical.sample, KEY)
    assert counted.during(draw) == {"part_tops": 1, "part_units": 1, "part_places": 1}
    assert counted.during(with_slopes) == {"part_tops": 1, "part_sums": 1, "tile_slopes": 1}
    assert torch.equal(draw(), categorical.sample(KEY, logits()))
    for got, expected in zip(with_slopes(), without_kernels(with_slopes)(), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


# ------------------------------------------------------------------------------------------------ quantiles by steps
def _of_gammas(precise: bool, a: Tensor, below: Tensor, above: Tensor) -> tuple[Tensor, ...]:
    operations = torch.ops.functional_dists
    offset = operations.gamma_quantile.default(below, above, a, precise)
    return offset, *operations.gamma_local.default(offset, a, precise)


@pytest.mark.parametrize("precise", [False, True])
def test_quantiles_of_gammas(precise: bool, counted: Counted) -> None:
    a = torch.logspace(-3, 6, 28, dtype=torch.float64)[:, None]
    tail = torch.logspace(-22, -0.31, 45, dtype=torch.float64)
    tails = torch.cat([tail, 1 - tail]), torch.cat([1 - tail, tail])
    assert set(counted.during(lambda: _of_gammas(precise, a, *tails))) == {"gamma_local", "gamma_quantile"}
    got, wanted = _of_gammas(precise, a, *tails), without_kernels(_of_gammas)(precise, a, *tails)
    assert ((got[0] - wanted[0]).abs() <= 5e-14 * (1 + wanted[0].abs())).all()
    offset, mass = wanted[0].abs(), torch.minimum(wanted[3], wanted[4])
    growth, slope = wanted[5].abs() + a, wanted[6]
    sizes = (*(result.abs() for result in wanted[1:5]), growth, slope, slope / mass + growth * slope**2, 1 + offset)
    got = torch.ops.functional_dists.gamma_local.default(wanted[0], a, precise)
    for one, other, size in zip(got, wanted[1:], sizes, strict=True):
        assert ((one - other).abs() <= 2e-13 * size).all()


def _rests_and_divergences(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, ...]:
    operations = torch.ops.functional_dists
    return *operations.stirling_rests.default(a), *operations.gamma_divergence.default(a, b, b - a)


def test_gamma_functions_and_divergences_of_gammas(counted: Counted) -> None:
    a = torch.cat([torch.logspace(-4, 8, 300, dtype=torch.float64), torch.tensor([0.5, 1.0, 2.0, 9.99, 10.0])])[:, None]
    for ratio in (1 + 1e-8, 0.5, 3.0, 5.0, 100.0):
        assert set(counted.during(lambda r=ratio: _rests_and_divergences(a, r * a))) == {
            "gamma_divergence",
            "stirling_rests",
        }
        got, wanted = _rests_and_divergences(a, ratio * a), without_kernels(_rests_and_divergences)(a, ratio * a)
        for one, other in zip(got, wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=6e-15, atol=0.0)
    row = a[:7, 0]
    wanted = _rests_and_divergences(row[:, None].expand(7, 7).contiguous(), row.expand(7, 7).contiguous() + 0.5)
    for p, q in ((row[:, None], row + 0.5), (torch._neg_view(-row)[:, None], row + 0.5)):
        found = _rests_and_divergences(p, q)
        for one, other in zip(found, wanted, strict=True):
            assert torch.equal(one.expand(7, 7), other)
    for bad in (math.nan, -1.0):
        given = torch.full((3,), bad, dtype=torch.float64)
        assert all(result.isnan().all() for result in _rests_and_divergences(given, given))
    assert _rests_and_divergences(row[:0], row[:0])[0].shape == (0,)


def test_quantiles_of_gammas_of_any_layout(counted: Counted) -> None:
    uniform = torch.rand(3, 200, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    a = torch.logspace(-2, 3, 200, dtype=torch.float64)
    operands_of = {
        "contiguous": (a[:, None].expand(3, 200, 5).contiguous(), uniform),
        "broadcast": (a[:, None], uniform),
        "strided": (a[:, None].expand(200, 5), uniform.transpose(0, 1).contiguous().transpose(0, 1)),
        "negative": (torch._neg_view(-a)[:, None], uniform),
    }
    results = [_of_gammas(False, given, u, 1 - u) for given, u in operands_of.values()]
    assert all(torch.equal(one, other) for result in results for one, other in zip(results[0], result, strict=True))
    order = torch.randperm(200)
    moved = _of_gammas(False, a[order, None], uniform[:, order], 1 - uniform[:, order])
    assert all(torch.equal(one[:, order], other) for one, other in zip(results[0], moved, strict=True))
    assert _of_gammas(False, a[:0], a[:0], a[:0])[0].shape == (0,)
    assert counted.calls.total() >= 10
    many_axes = _of_gammas(False, a.reshape(*[1] * 8, -1), uniform[0, :, 0], 1 - uniform[0, :, 0])
    torch.testing.assert_close(many_axes[0].flatten(), results[0][0][0, :, 0], rtol=1e-12, atol=1e-12)
    nan = torch.full((3,), math.nan, dtype=torch.float64)
    for arguments in ((nan, nan + 0.5, nan), (nan, a[:3] * 0 + 0.5, a[:3] * 0 + 0.5), (a[:3], nan, nan)):
        assert all(result.isnan().all() for result in _of_gammas(True, *arguments))


# ------------------------------------------------------------------------------------------------- Beta distributions
def _close(got: Tensor, exact: Tensor, tolerance: float) -> None:
    assert torch.equal(got.isnan(), exact.isnan())
    is_compared = exact.abs() < 1e290  # False for NaN
    assert ((got - exact).abs() <= tolerance * exact.abs())[is_compared].all()


@needs_kernels
@pytest.mark.parametrize("size", [0, 1, 7, 8, 19])
def test_kernels_of_beta_compute_what_operations_do(size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    a, b = torch.exp(20 * torch.rand(2, 3, size, generator=generator, dtype=torch.float64) - 7)
    below = torch.rand(3, size, generator=generator, dtype=torch.float64) ** 3
    if size > 1:
        a[0, 0], b[1, 1], below[2, 1] = math.nan, -1.0, math.nan
    for precise, tolerance in ((True, 2e-12), (False, 1e-8)):
        offset = without_kernels(beta_quantile)(below, 1 - below, a, b, precise)
        by_kernel = beta_quantile(below, 1 - below, a, b, precise)
        exact = without_kernels(beta_local)(offset, a, b, precise)
        found = beta_local(offset, a, b, precise)
        if size:
            is_valid = ~(offset.isnan() | exact.below.isnan())
            gap = (by_kernel - offset) / (1 / (1 / exact.below + 1 / exact.above) + offset.abs())
            assert (gap[is_valid].abs() < tolerance).all()
            assert by_kernel[~is_valid].isnan().all()
            exact_score, score = without_kernels(beta_score)(offset, a, b), beta_score(offset, a, b)
            for got, wanted in zip(score, exact_score, strict=True):
                assert ((got - wanted).abs() <= 1e-13 * (1 + wanted.abs()))[is_valid].all()
                assert got[~is_valid].isnan().all()
            for got, wanted in zip(found[2:4] + tuple(found.slopes), exact[2:4] + tuple(exact.slopes), strict=True):
                _close(got, wanted, tolerance)


@needs_kernels
def test_kernels_of_beta_take_any_layout() -> None:
    a, b = torch.rand(2, 5, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
    half = torch.full((), 0.5, dtype=torch.float64)
    found = beta_quantile(half, half, a, b, False)
    for moved in (lambda t: t.T.contiguous().T, torch.clone, lambda t: torch._neg_view(-t)):
        assert torch.equal(beta_quantile(half, half, moved(a), moved(b), False), found)
    assert torch.equal(beta_quantile(half, half, a[:, ::2], b[:, ::2], False), found[:, ::2])
    assert torch.equal(beta_quantile(half, half, a[2:3], b[2, 3:4], False)[:, 3], found[2, 3:4])
    assert torch.equal(beta_local(found, a, b, False).below[1:], beta_local(found[1:], a[1:], b[1:], False).below)
