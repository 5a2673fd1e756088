"""Laws that hold for every family of the table: transforms, distributions against their cdf, densities, divergences."""

import inspect
import math
import pickle
from typing import Any

import mpmath
import pytest
import torch
from torch.func import grad, jvp, vmap

from functional_dists import random
from functional_dists.family import verbs
from tests.algebra.case import Call, Case, call_of, parts, tensors_of, verbs_of
from tests.algebra.table import CASES

FLOAT = torch.float64
BY_NAME = {case.name: case for case in CASES}
VERBS = [(case.name, verb) for case in CASES for verb in verbs_of(case)]
UNIVARIATE = [case for case in CASES if hasattr(case.family, "cdf")]
CONTINUOUS = [case for case in UNIVARIATE if case.values is None and not case.has_atoms]
REAL = [(name, verb) for name, verb in VERBS if verb not in BY_NAME[name].inexact]


def total(call: Call, function: Any = None) -> Any:
    """Return the sum of a verb's results as a function of its real arguments."""

    def of_real(*moved: Any) -> Any:
        tensors = list(call.tensors)
        for i, tensor in zip(call.real, moved, strict=True):
            tensors[i] = tensor
        results = parts((function or call.function)(*tensors))
        real = [result.clamp(-1e6, 1e6).sum() for result in results if result.is_floating_point()]
        return sum(real) if real else moved[0].sum() * 0

    return of_real


def close(a: Any, b: Any, **tolerance: float) -> None:
    for left, right in zip(parts(a), parts(b), strict=True):
        torch.testing.assert_close(left, right, equal_nan=True, **tolerance)


def lane_axes(name: str, count: int) -> list[tuple[int | None, ...]]:
    """Return which of `count` tensors `vmap` maps: all, each alone, all but each."""
    fields = [*BY_NAME[name].params] * 2  # of p and of q, for kl
    free = [i for i in range(count) if i >= len(fields) or fields[i] not in BY_NAME[name].lacks_vmap]
    chosen = {frozenset(free), *(frozenset([i]) for i in free), *(frozenset(free) - {i} for i in free)}
    return [tuple(0 if i in mapped else None for i in range(count)) for mapped in chosen if mapped]


@pytest.mark.parametrize(("name", "verb"), VERBS)
def test_vmap_is_a_loop(name: str, verb: str) -> None:
    call = call_of(BY_NAME[name], verb)
    all_axes = max(lane_axes(name, len(call.tensors)), key=lambda dims: dims.count(0))
    single = [t if d is None else t[0] for t, d in zip(call.tensors, all_axes, strict=True)]
    for dims in lane_axes(name, len(call.tensors)):
        mixed = [t if d == 0 else one for t, one, d in zip(call.tensors, single, dims, strict=True)]
        lanes = [call.function(*(t if d is None else t[i] for t, d in zip(mixed, dims, strict=True))) for i in (0, 1)]
        stacked = [torch.stack(pair) for pair in zip(*map(parts, lanes), strict=True)]
        close(parts(vmap(call.function, in_dims=dims)(*mixed)), tuple(stacked), rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize(("name", "verb"), REAL)
def test_derivatives(name: str, verb: str) -> None:
    """Reverse and forward mode agree, and equal differences where the result is no score of a draw."""
    call = call_of(BY_NAME[name], verb)
    function, real = total(call), [call.tensors[i] for i in call.real]
    slopes = grad(function, argnums=tuple(range(len(real))))(*real)
    assert all(slope.isfinite().all() for slope in slopes)
    generator = torch.Generator().manual_seed(0)
    directions = tuple(torch.randn(t.shape, dtype=t.dtype, generator=generator) for t in real)
    forward = jvp(function, tuple(real), directions)[1]
    reverse = sum((slope * direction).sum() for slope, direction in zip(slopes, directions, strict=True))
    close(forward, reverse, rtol=1e-9, atol=1e-11)
    second = jvp(lambda *t: jvp(function, t, directions)[1], tuple(real), directions)[1]
    assert second.isfinite()
    if "sample" in verb and not verb.startswith("rsample"):
        return  # score-function gradients, and none
    if verb in BY_NAME[name].no_differences:
        return
    step = 1e-5
    ahead, behind = (function(*(t + s * step * d for t, d in zip(real, directions, strict=True))) for s in (1, -1))
    if verb in ("mode", "median", "icdf", "deterministic") and BY_NAME[name].values is not None:
        return  # integers
    close((ahead - behind) / (2 * step), forward, rtol=3e-6, atol=1e-6)
    slopes_at = [
        jvp(function, tuple(t + s * step * d for t, d in zip(real, directions, strict=True)), directions)[1]
        for s in (1, -1)
    ]
    close((slopes_at[0] - slopes_at[1]) / (2 * step), second, rtol=1e-4, atol=1e-4)


def compiled_results(name: str, backend: str, dtype: torch.dtype, *, with_slopes: bool) -> tuple[Any, Any]:
    """Return the results of all verbs, and the gradient of each, of one graph and of eager code."""
    calls = {verb: call_of(BY_NAME[name], verb, dtype) for verb in verbs_of(BY_NAME[name])}

    def run_all(tensors: dict[str, list[Any]]) -> dict[str, Any]:
        results = {}
        for verb, call in calls.items():
            results[verb] = call.function(*tensors[verb])
            if with_slopes and (name, verb) in REAL:
                real = [tensors[verb][i] for i in call.real]
                results[f"slope of {verb}"] = grad(total(Call(call.function, tensors[verb])))(*real)
        return results

    tensors = {verb: call.tensors for verb, call in calls.items()}
    torch._dynamo.reset()
    return torch.compile(run_all, fullgraph=True, backend=backend)(tensors), run_all(tensors)


@pytest.mark.parametrize(("name", "verb"), VERBS)
def test_nested_vmap_is_the_loop_of_loops(name: str, verb: str) -> None:
    call = call_of(BY_NAME[name], verb)
    dims = max(lane_axes(name, len(call.tensors)), key=lambda dims: dims.count(0))
    wide = [t if d is None else torch.stack([t, t.flip(0), t]) for t, d in zip(call.tensors, dims, strict=True)]
    once = vmap(call.function, in_dims=dims)
    rows = [parts(once(*(t if d is None else t[i] for t, d in zip(wide, dims, strict=True)))) for i in range(3)]
    stacked = tuple(torch.stack(row) for row in zip(*rows, strict=True))
    close(parts(vmap(once, in_dims=dims)(*wide)), stacked, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize(("name", "verb"), REAL)
def test_gradients_under_vmap_are_those_of_each_lane(name: str, verb: str) -> None:
    call = call_of(BY_NAME[name], verb)
    axes = max(lane_axes(name, len(call.tensors)), key=lambda dims: dims.count(0))
    function, real = total(call), [call.tensors[i] for i in call.real]
    dims = tuple(axes[i] for i in call.real)
    if any(axes[i] == 0 for i in set(range(len(call.tensors))) - {*call.real}):
        return  # `total` holds integers and masks of both lanes
    of_all = grad(function, argnums=tuple(range(len(real))))
    lanes = [of_all(*(t if d is None else t[i] for t, d in zip(real, dims, strict=True))) for i in (0, 1)]
    stacked = tuple(torch.stack(pair) for pair in zip(*lanes, strict=True))
    close(vmap(of_all, in_dims=dims)(*real), stacked, rtol=1e-9, atol=1e-11)


# Those whose code the others share. A few more take long to trace.
DISTINCT = (
    *("log-normal", "mixture of categories", "clipped normal", "masked unimix", "repeated categories", "laplace"),
    *("student_t", "half_normal"),
)
LONG = (
    *("mixture of vectors", "truncated normal", "poisson", "multivariate_normal", "hl_gauss", "spline of a normal"),
    "von_mises",
)
FIRST = [*DISTINCT, *(pytest.param(name, marks=pytest.mark.slow) for name in LONG)]


@pytest.mark.parametrize("name", FIRST)
def test_verbs_compile_in_one_graph(name: str) -> None:
    got, wanted = compiled_results(name, "eager", FLOAT, with_slopes=False)
    for verb, result in wanted.items():
        close(got[verb], result, rtol=1e-12, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in BY_NAME if name not in (*DISTINCT, *LONG)])
def test_draws_and_gradients_compile_in_one_graph(name: str) -> None:
    calls = [call_of(BY_NAME[name], verb) for verb in ("sample", "log_prob")]

    def run(*tensors: list[Any]) -> list[Any]:
        results = [parts(call.function(*given)) for call, given in zip(calls, tensors, strict=True)]
        real = [tensors[1][i] for i in calls[1].real]
        slopes = grad(total(Call(calls[1].function, tensors[1])), argnums=tuple(range(len(real))))(*real)
        return [part for result in (*results, slopes) for part in result]

    torch._dynamo.reset()
    given = [call.tensors for call in calls]
    close(
        tuple(torch.compile(run, fullgraph=True, backend="aot_eager")(*given)),
        tuple(run(*given)),
        rtol=1e-11,
        atol=1e-12,
    )


@pytest.mark.parametrize("name", ["dirichlet", "low_rank_normal", "repeated normal"])
def test_sizes_may_be_symbols(name: str) -> None:
    call = call_of(BY_NAME[name], "entropy")
    torch._dynamo.reset()
    found = torch.compile(vmap(call.function), fullgraph=True, dynamic=True, backend="eager")(*call.tensors)
    close(found, vmap(call.function)(*call.tensors), rtol=1e-12, atol=1e-13)


class Scores(torch.nn.Module):
    """The verbs of a family that draw nothing, as a module."""

    def __init__(self, name: str) -> None:
        super().__init__()
        exact = [verb for verb in verbs_of(BY_NAME[name]) if verb not in BY_NAME[name].inexact]
        self.calls = {verb: call_of(BY_NAME[name], verb) for verb in exact if "sample" not in verb}

    @property
    def tensors(self) -> tuple[Any, ...]:
        return tuple(tensor for call in self.calls.values() for tensor in call.tensors)

    def forward(self, *tensors: Any) -> tuple[Any, ...]:
        given = iter(tensors)
        results = [call.function(*[next(given) for _ in call.tensors]) for call in self.calls.values()]
        return tuple(part for result in results for part in parts(result))


# The code of these is that of others, and a minute's work to record.
REPEATED = ("normal, truncated far out", "mixture of two families")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in BY_NAME if name not in REPEATED])
@pytest.mark.parametrize("how", ["export", "trace"])
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_verbs_are_exported_and_traced(how: str, name: str) -> None:
    module = Scores(name)
    others = tuple(t * (1 + 1e-6) if t.is_floating_point() else t for t in module.tensors)
    if how == "export":
        recorded = torch.export.export(module, module.tensors).module()
    else:
        recorded = torch.jit.trace(module, module.tensors, check_trace=False)
    close(recorded(*others), module(*others), rtol=1e-12, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["log-normal", "laplace", "masked unimix"])
def test_compiled_slopes_are_those_of_eager_code(name: str) -> None:
    got, wanted = compiled_results(name, "aot_eager", FLOAT, with_slopes=True)
    for verb, result in wanted.items():
        close(got[verb], result, rtol=1e-11, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["log-normal", "laplace", "masked unimix", "mixture of categories", "student_t"])
def test_inductor_is_eager_code(name: str) -> None:
    got, wanted = compiled_results(name, "inductor", torch.float32, with_slopes=False)
    for verb, result in wanted.items():
        close(got[verb], result, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "verb"), VERBS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtypes(name: str, verb: str, dtype: torch.dtype) -> None:
    """Results have the parameters' dtype and are those of float64 to its digits."""
    call, wide = call_of(BY_NAME[name], verb, dtype), call_of(BY_NAME[name], verb)
    for result in parts(call.function(*call.tensors)):
        assert not result.is_floating_point() or result.dtype == dtype
    if "sample" in verb:
        return  # other random numbers
    narrow = [t.to(FLOAT) if t.is_floating_point() else t for t in call.tensors]
    got, wanted = parts(call.function(*call.tensors)), parts(wide.function(*narrow))
    tolerance = {torch.float32: 2e-5, torch.bfloat16: 1e-2}[dtype]
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a.to(b.dtype), b, rtol=tolerance, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize(("name", "verb"), [(name, verb) for name, verb in VERBS if "sample" in verb])
def test_a_batch_of_keys_is_a_vmap(name: str, verb: str) -> None:
    case = BY_NAME[name]
    keys, function, params = random.split(random.key(0), 2), verbs(case.family)[verb], tensors_of(case.params)
    dims = tuple(None if field in case.lacks_vmap else 0 for field in case.params)
    close(function(keys, *params), vmap(function, in_dims=(0, *dims))(keys, *params), rtol=1e-13, atol=0.0)
    shaped = parts(function(keys, *params, sample_shape=(3,)))
    assert all(part.shape[:2] == (3, 2) for part in shaped)


@pytest.mark.parametrize("name", BY_NAME)
def test_nan_gives_nan(name: str) -> None:
    case = BY_NAME[name]
    for verb in verbs_of(case):
        call = call_of(case, verb)
        for i in call.real:
            tensors = list(call.tensors)
            tensors[i] = torch.full_like(tensors[i], math.nan)
            for result in parts(call.function(*tensors)):
                assert not result.is_floating_point() or result.isnan().all(), (verb, i)


OF_REAL_VALUES = [
    (name, verb)
    for name, verb in VERBS
    if verb in ("log_prob", "cdf", "log_cdf", "survival", "log_survival")
    and call_of(BY_NAME[name], verb).tensors[-1].is_floating_point()
]


@pytest.mark.parametrize(("name", "verb"), OF_REAL_VALUES)
def test_derivatives_outside_the_support_are_no_nan(name: str, verb: str) -> None:
    for outside in (-1e3, -0.5, 2.5, 1e3):
        call = call_of(BY_NAME[name], verb)
        call.tensors[-1] = torch.full_like(call.tensors[-1], outside)
        real = tuple(call.tensors[i] for i in call.real)
        value, forward = jvp(total(call), real, tuple(map(torch.ones_like, real)))
        reverse = grad(total(call), argnums=tuple(range(len(real))))(*real)
        assert not any(found.isnan().any() for found in (value, forward, *reverse))


@pytest.mark.parametrize("name", BY_NAME)
def test_signatures_names_and_pickles(name: str) -> None:
    family, fields = BY_NAME[name].family, list(BY_NAME[name].params)
    assert list(family.Params._fields) == fields
    for verb, function in verbs(family).items():
        names = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        assert (
            names[: 1 + len(fields)] == ["key", *fields]
            if "sample" in verb
            else names[:1] in (["p"], fields[:1], ["pre"]) or verb in ("encode", "from_logit", "to_logit")
        )
        assert inspect.getdoc(function)
    if not inspect.ismodule(family):
        assert pickle.loads(pickle.dumps(family)) is not None
        params = family.Params(*tensors_of(BY_NAME[name].params))
        assert type(pickle.loads(pickle.dumps(params)))._fields == tuple(fields)


# --------------------------------------------------------------------------------------------------- distributions
@pytest.mark.parametrize("case", CONTINUOUS, ids=lambda case: case.name)
def test_icdf_inverts_cdf(case: Case) -> None:
    params = tensors_of(case.params)
    shape = torch.broadcast_shapes(*(t.shape for t in parts(case.family.sample(random.key(0), *params))[:1]))
    for probability in (1e-6, 0.03, 0.5, 0.8, 0.999):
        p = torch.full(shape, probability, dtype=FLOAT)
        x = case.family.icdf(*params, p)
        around = (torch.nextafter(x, torch.full_like(x, side)) for side in (-math.inf, math.inf))
        below, above = (case.family.cdf(*params, end) for end in around)
        assert ((below <= p * (1 + 1e-9)) & (above >= p * (1 - 1e-9))).all()
        close(case.family.cdf(*params, x) + case.family.survival(*params, x), torch.ones_like(p), rtol=1e-12, atol=0.0)
        close(case.family.log_cdf(*params, x), case.family.cdf(*params, x).log(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("case", CONTINUOUS, ids=lambda case: case.name)
def test_draws_follow_the_cdf(case: Case) -> None:
    """Kolmogorov-Smirnov: sqrt(n) D exceeds 1.95 in one of a thousand seeds, and this seed is fixed."""
    params, count = tensors_of(case.params), 20_000
    draws = case.family.sample(random.key(11), *params, sample_shape=count)
    probability = case.family.cdf(*params, draws).sort(0).values
    rank = torch.arange(count, dtype=FLOAT).reshape(-1, *[1] * (probability.ndim - 1))
    distance = torch.maximum((rank + 1) / count - probability, probability - rank / count).amax(0)
    assert (distance * math.sqrt(count) < 1.95).all()


@pytest.mark.parametrize("case", [case for case in CONTINUOUS if not case.is_joint], ids=lambda case: case.name)
def test_density_is_the_slope_of_the_cdf(case: Case) -> None:
    call = call_of(case, "cdf")
    *params, value = call.tensors
    slope = jvp(lambda v: case.family.cdf(*params, v), (value,), (torch.ones_like(value),))[1]
    score = case.family.log_prob(*params, value)
    slope = slope.log().sum(tuple(range(score.ndim, slope.ndim))) if slope.ndim > score.ndim else slope.log()
    close(score, slope, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(
    "case", [c for c in CONTINUOUS if hasattr(c.family, "rsample") and not c.is_joint], ids=lambda c: c.name
)
def test_pathwise_gradient_is_that_of_the_cdf(case: Case) -> None:
    """F(x(t); t) is constant along the path."""
    params = tensors_of(case.params)
    generator = torch.Generator().manual_seed(1)
    real = [i for i, t in enumerate(params) if t.is_floating_point()]
    directions = tuple(torch.randn(params[i].shape, dtype=FLOAT, generator=generator) for i in real)

    def probability(*moved: Any) -> Any:
        full = list(params)
        for i, t in zip(real, moved, strict=True):
            full[i] = t
        return case.family.cdf(*full, case.family.rsample(random.key(5), *full, sample_shape=7))

    change = jvp(probability, tuple(params[i] for i in real), directions)[1]
    if case.is_circular:  # mass also moves over the end of the numbers that stand for angles
        change = change - change[:1]
    close(change, torch.zeros_like(change), rtol=0.0, atol=1e-8)


@pytest.mark.parametrize("case", [case for case in CASES if case.values is not None], ids=lambda case: case.name)
def test_probabilities_of_finite_families(case: Case) -> None:
    """They add up to 1, and draws follow them: a chi-squared test with a fixed seed."""
    params = [t if f in case.lacks_vmap else t[0] for f, t in zip(case.params, tensors_of(case.params), strict=True)]
    values = case.values(params)
    probs = torch.stack([case.family.log_prob(*params, value) for value in values]).exp()
    close(probs.sum(), torch.ones((), dtype=FLOAT), rtol=1e-10, atol=0.0)
    count = 20_000
    draws = case.family.sample(random.key(3), *params, sample_shape=count)
    counts = torch.stack([(draws == value).reshape(count, -1).all(1).sum() for value in values])
    assert (counts[probs == 0] == 0).all()
    is_frequent = count * probs >= 5
    expected = count * probs[is_frequent]
    chi2 = ((counts[is_frequent] - expected).square() / expected).sum()
    freedom = max(1, int(is_frequent.sum()) - 1)
    assert chi2 < freedom + 4 * math.sqrt(2 * freedom) + 8
    if hasattr(case.family, "entropy"):
        terms = torch.where(probs > 0, -probs * probs.log(), 0.0)
        close(case.family.entropy(*params), terms.sum(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("case", [case for case in CASES if hasattr(case.family, "kl")], ids=lambda case: case.name)
def test_divergences(case: Case) -> None:
    make = case.family.Params
    p = make(*tensors_of(case.params))
    q = make(*tensors_of({**case.params, **case.other}))
    close(case.family.kl(p, p), torch.zeros_like(case.family.kl(p, p)), rtol=0.0, atol=1e-12)
    if not case.other:
        return
    divergence = case.family.kl(p, q)
    assert (divergence > 0).all()
    draws, score = case.family.sample_and_log_prob(random.key(1), *p, sample_shape=20_000)
    ratio = score - case.family.log_prob(*q, draws)
    error = ratio.std(0) / math.sqrt(len(ratio))
    assert ((ratio.mean(0) - divergence).abs() < 4.5 * error + 1e-9).all()


@pytest.mark.parametrize("case", [case for case in CASES if hasattr(case.family, "mean")], ids=lambda case: case.name)
def test_moments_against_draws(case: Case) -> None:
    params, count = tensors_of(case.params), 20_000
    draws = case.family.sample(random.key(2), *params, sample_shape=count).to(FLOAT)
    mean = case.family.mean(*params)
    distance = torch.sin(draws - mean) if case.is_circular else draws - mean
    error = draws.std(0) / math.sqrt(count)
    assert (distance.mean(0).abs() < 4.5 * error + 1e-9).all()
    if hasattr(case.family, "variance"):
        squares = 1 - torch.cos(draws - mean) if case.is_circular else distance.square()
        error = squares.std(0) / math.sqrt(count)
        assert ((squares.mean(0) - case.family.variance(*params)).abs() < 5 * error + 1e-9).all()


@pytest.mark.parametrize("case", [case for case in CONTINUOUS if hasattr(case.family, "entropy")], ids=lambda c: c.name)
def test_entropies_against_draws(case: Case) -> None:
    params, count = tensors_of(case.params), 20_000
    _, score = case.family.sample_and_log_prob(random.key(4), *params, sample_shape=count)
    error = score.std(0) / math.sqrt(count)
    assert ((score.mean(0) + case.family.entropy(*params)).abs() < 4.5 * error + 1e-9).all()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_pair_is_the_score_of_the_draw(case: Case) -> None:
    params = tensors_of(case.params)
    for verb in ("sample_and_log_prob", "rsample_and_log_prob"):
        if not hasattr(case.family, verb):
            continue
        value, score = verbs(case.family)[verb](random.key(9), *params, sample_shape=5)
        assert torch.equal(
            value, verbs(case.family)[verb.partition("_and_")[0]](random.key(9), *params, sample_shape=5)
        )
        close(score, case.family.log_prob(*params, value), rtol=1e-8, atol=1e-8)
    if hasattr(case.family, "rsample"):
        drawn, moved = case.family.sample(random.key(9), *params), case.family.rsample(random.key(9), *params)
        assert torch.equal(drawn.to(moved.dtype), moved)


@pytest.mark.parametrize(
    "case", [case for case in CASES if hasattr(case.family, "support")], ids=lambda case: case.name
)
def test_draws_lie_in_the_support(case: Case) -> None:
    params = tensors_of(case.params)
    draws = case.family.sample(random.key(6), *params, sample_shape=100)
    assert case.family.support(*params).check(draws).all()


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.mp_log_density is not None], ids=lambda case: case.name
)
def test_log_prob_against_fifty_digits(case: Case) -> None:
    mpmath.mp.dps = 50
    *params, value = call_of(case, "log_prob").tensors
    options = {"event_dims": 0} if "event_dims" in inspect.signature(case.family.log_prob).parameters else {}
    score = case.family.log_prob(*params, value, **options)
    broadcast = torch.broadcast_tensors(value.to(FLOAT), *params)
    wanted = [
        float(case.mp_log_density(*map(mpmath.mpf, row)))
        for row in zip(*(t.flatten().tolist() for t in broadcast), strict=True)
    ]
    close(score.flatten(), torch.tensor(wanted, dtype=FLOAT), rtol=1e-13, atol=1e-14)
