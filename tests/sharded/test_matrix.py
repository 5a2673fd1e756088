"""Verbs of DTensors give what they give for whole tensors, in every layout."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard
from torch.utils._pytree import tree_map

from functional_dists import (
    categorical,
    delta,
    greedy,
    independent,
    linear_categorical,
    llm_masked_categorical,
    masked_categorical,
    normal,
    one_hot,
    ordinal,
    random,
    sparse_categorical,
    tanh_delta,
    tanh_normal,
    truncated_normal,
    two_hot,
)
from functional_dists.family import Real, define, name_of, specification_of, verbs
from functional_dists.random.extension import without_kernels
from tests.sharded.ranks import mesh_of, replicated, run_ranks, split

KEY = random.key(42)
SHAPES = ((6, 8), (7, 5), (3, 3))


class Layout(NamedTuple):
    """A mesh, and the placements of tensors on it."""

    mesh: tuple[int, ...]
    placements: tuple[Placement, ...]

    def __str__(self) -> str:
        return f"{'x'.join(map(str, self.mesh))} {' '.join(map(str, self.placements))}"


class Rows(NamedTuple):
    """A tensor without the last axis."""

    tensor: Tensor


class Plain(NamedTuple):
    """A tensor that stays a plain one."""

    tensor: Tensor


class Otherwise(NamedTuple):
    """A tensor that is placed in its own way on the first dim of the mesh, and replicated along the others."""

    tensor: Tensor
    placement: Placement


class Case(NamedTuple):
    """A call of a verb."""

    verb: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: Mapping[str, Any] = MappingProxyType({})


LAYOUTS = [
    Layout((1,), (Shard(0),)),
    Layout((1,), (Shard(1),)),
    Layout((2,), (Shard(0),)),
    Layout((2,), (Shard(1),)),
    Layout((2,), (Replicate(),)),
    Layout((2,), (Partial(),)),
    Layout((4,), (Shard(0),)),
    Layout((4,), (Shard(1),)),
    Layout((7,), (Shard(1),)),
    Layout((2, 2), (Shard(0), Shard(0))),
    Layout((2, 2), (Shard(0), Shard(1))),
    Layout((2, 2), (Shard(1), Shard(0))),
    Layout((2, 2), (Shard(1), Shard(1))),
    Layout((2, 2), (Replicate(), Shard(1))),
    Layout((2, 2), (Shard(0), Partial())),
]


def _numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _of_continuous(family: Any, shape: tuple[int, ...], names: Sequence[str]) -> dict[str, Case]:
    loc, scale = 2 * _numbers(*shape), _numbers(*shape, seed=1).exp()
    # Off the centre a draw of tanh_normal is a sigmoid, whose last bit depends on the place in PyTorch's vector code.
    low, high = torch.full(shape[-1:], -2.0), torch.full(shape, 2.0)
    given = {"loc": loc, "param": loc, "scale": scale, "low": low, "high": high}
    parameters = tuple(given[name] for name in names)
    alone = tuple(2.0 if name == "high" else Plain(given[name]) for name in names[1:])
    row = tuple({"scale": Otherwise(scale[:1], Replicate()), "high": 2.0, "low": low}[name] for name in names[1:])
    value, half = family.sample(KEY, *parameters, sample_shape=2), tuple(t.bfloat16() for t in parameters)
    few = (Otherwise(loc[:, :1], Shard(0)), *parameters[1:])
    other = family.Params(*(t + 0.25 if name == "loc" else t for name, t in zip(names, parameters, strict=True)))
    cases = {
        "sample": Case(family.sample, (KEY, *parameters)),
        "rsample of samples": Case(family.rsample, (KEY, *parameters), {"sample_shape": (3, 2)}),
        "sample beside plain": Case(family.sample, (KEY, loc, *alone), {"sample_shape": 3}),
        "sample of rows": Case(family.sample, (KEY, *few)),
        "sample of half": Case(family.sample, (KEY, *half)),
        "pair": Case(family.sample_and_log_prob, (KEY, *parameters)),
        "rpair": Case(family.rsample_and_log_prob, (KEY, loc, *row), {"event_dims": 1}),
        "rpair of half": Case(family.rsample_and_log_prob, (KEY, *half), {"event_dims": 2}),
        "log_prob": Case(family.log_prob, (*parameters, value[0])),
        "log_prob of samples": Case(family.log_prob, (*parameters, value), {"event_dims": 2}),
        "log_prob of elements": Case(family.log_prob, (loc, *row, value), {"event_dims": 0}),
        "log_prob of a number": Case(family.log_prob, (loc, *row, 0.5), {"event_dims": 1}),
        "log_prob of plain": Case(family.log_prob, (*parameters, Plain(value))),
        "entropy": Case(family.entropy, parameters, {"event_dims": 1}),
        "kl": Case(family.kl, (family.Params(*parameters), other), {"event_dims": 1}),
        "kl of elements": Case(family.kl, (other, family.Params(loc, *alone)), {"event_dims": 0}),
        "mean": Case(family.mean, (loc, *alone)),
        "stddev": Case(family.stddev, parameters),
        "cdf": Case(family.cdf, (*parameters, value[0])),
        "log_survival": Case(family.log_survival, (*parameters, value)),
        "icdf": Case(family.icdf, (*parameters, torch.full(shape, 0.3))),
    }
    if hasattr(family, "deterministic"):
        cases["deterministic"] = Case(family.deterministic, parameters)
    return cases


def _table(shape: tuple[int, ...]) -> Tensor:
    """Logits with a row of -inf, ties, outcomes without support, and if there are many rows NaN."""
    logits = (3 * _numbers(*shape)).round(decimals=1)
    if shape[0] > 3:
        logits[3, 1] = math.nan
    logits[0] = -math.inf
    logits[1, 1:] = 2.0
    logits[2, ::2] = -math.inf
    return logits


def _of_rows(family: Any, shape: tuple[int, ...], **masks: Any) -> dict[str, Case]:
    """Return cases of a family of rows; the masks are of the calls with names that begin with theirs."""
    logits, q = _table(shape), _numbers(*shape, seed=2)
    cases: dict[str, Case] = {}
    for name, mask in masks.items():
        table, other = (logits, *mask), family.Params(q, *mask)
        few = torch.arange(shape[0]) % (shape[-1] + 1)
        many = torch.arange(4 * shape[0]).reshape(4, shape[0]) % (shape[-1] + 2) - 1
        cases |= {
            f"{name} sample": Case(family.sample, (KEY, *table)),
            f"{name} sample of samples": Case(family.sample, (KEY, *table), {"sample_shape": (3, 2)}),
            f"{name} sample of half": Case(family.sample, (KEY, logits.bfloat16(), *mask)),
            f"{name} pair": Case(family.sample_and_log_prob, (KEY, *table)),
            f"{name} pair of samples": Case(family.sample_and_log_prob, (KEY, *table), {"sample_shape": 2}),
            f"{name} log_prob": Case(family.log_prob, (*table, Rows(few))),
            f"{name} log_prob of half": Case(family.log_prob, (logits.bfloat16(), *mask, Rows(few))),
            f"{name} log_prob in float32": Case(
                family.log_prob, (logits.bfloat16(), *mask, Rows(few)), {"dtype": torch.float32}
            ),
            f"{name} log_prob of samples": Case(family.log_prob, (*table, Rows(many))),
            f"{name} log_prob of plain": Case(family.log_prob, (*table, Plain(many))),
            f"{name} log_prob and entropy": Case(family.log_prob_and_entropy, (*table, Rows(many))),
            f"{name} entropy": Case(family.entropy, table),
            f"{name} kl": Case(family.kl, (family.Params(*table), other)),
            f"{name} kl without support": Case(family.kl, (other, family.Params(*table))),
            f"{name} probs": Case(family.probs, table),
            f"{name} normalized_logits": Case(family.normalized_logits, table),
            f"{name} mode": Case(family.mode, table),
            f"{name} deterministic of half": Case(family.deterministic, (logits.bfloat16(), *mask)),
        }
    return cases


def _of_masked(shape: tuple[int, ...]) -> dict[str, Case]:
    mask = _numbers(*shape, seed=3) > -0.5
    mask[-1] = False
    return _of_rows(masked_categorical, shape, all=(mask,), event=(mask[1],), plain=(Plain(mask),))


def _of_tokens(shape: tuple[int, ...]) -> dict[str, Case]:
    mask, positions = _numbers(*shape, seed=3) > -0.5, torch.arange(shape[0]) % 3 > 0
    mask[-1] = False
    cases = _of_rows(llm_masked_categorical, shape, tokens=(mask,), positions=(Rows(positions),))
    table, tokens = (_table(shape), mask), Rows(torch.arange(shape[0]) % shape[-1])
    temperature = {"temperature": Rows(0.5 + torch.arange(float(shape[0])))}
    return cases | {
        "sample of temperature": Case(llm_masked_categorical.sample, (KEY, *table), temperature),
        "sample of cold": Case(llm_masked_categorical.sample, (KEY, *table), {"temperature": 0.01}),
        "pair of softcap": Case(llm_masked_categorical.sample_and_log_prob, (KEY, *table), {"softcap": 2.0}),
        "log_prob of temperature": Case(llm_masked_categorical.log_prob, (*table, tokens), temperature),
        "log_prob of warm": Case(llm_masked_categorical.log_prob, (*table, tokens), {"temperature": 3.0}),
        "entropy of both": Case(llm_masked_categorical.entropy, table, {**temperature, "softcap": 2.0}),
        "kl of temperature": Case(llm_masked_categorical.kl, (table, table), temperature),
        "mode of temperature": Case(llm_masked_categorical.mode, table, temperature),
    }


def _of_ordinal(shape: tuple[int, ...]) -> dict[str, Case]:
    scores = _numbers(*shape)
    return {
        **_of_rows(ordinal, shape, all=()),
        "mean": Case(ordinal.mean, (scores,)),
        "median": Case(ordinal.median, (scores,)),
        "cdf": Case(ordinal.cdf, (scores, Rows(torch.arange(shape[0]) % shape[-1]))),
        "icdf": Case(ordinal.icdf, (scores, Rows(torch.rand(shape[0], generator=torch.Generator().manual_seed(4))))),
    }


_BOUNDED = ("loc", "scale", "low", "high")
CASES: dict[str, Callable[[tuple[int, ...]], dict[str, Case]]] = {
    "normal": lambda shape: _of_continuous(normal, shape, ("loc", "scale")),
    "tanh_normal": lambda shape: _of_continuous(tanh_normal, shape, _BOUNDED),
    "truncated_normal": lambda shape: _of_continuous(truncated_normal, shape, _BOUNDED),
    "delta": lambda shape: _of_continuous(delta, shape, ("param",)),
    "tanh_delta": lambda shape: _of_continuous(tanh_delta, shape, ("param", "low", "high")),
    "categorical": lambda shape: _of_rows(categorical, shape, all=()),
    "masked_categorical": _of_masked,
    "llm_masked_categorical": _of_tokens,
    "ordinal": _of_ordinal,
}
CUT_ROWS = ("categorical", "masked_categorical", "llm_masked_categorical")
EXACT_IN_CUT_ROWS = ("log_prob", "entropy", "sample", "mode", "deterministic", "pair")


# ------------------------------------------------------------------------------------------------------------- helpers
def _is_marker(leaf: Any) -> bool:
    return isinstance(leaf, (Rows, Plain, Otherwise))


def _as_whole(leaf: Any) -> Any:
    return leaf.tensor if _is_marker(leaf) else leaf


def _placed(leaf: Any, mesh: DeviceMesh, placements: Sequence[Placement]) -> Any:
    """Return an argument on the mesh. `placements` are those of two axes; other tensors are aligned with the last."""
    tensor = _as_whole(leaf)
    if isinstance(leaf, Plain) or not isinstance(tensor, Tensor) or tensor.dtype == torch.uint64:
        return tensor
    if isinstance(leaf, Otherwise):
        return split(tensor, mesh, (leaf.placement, *[Replicate()] * (mesh.ndim - 1)))
    lacks = 2 - tensor.ndim - isinstance(leaf, Rows)

    def own(placement: Placement) -> Placement:
        if isinstance(placement, Shard):
            axis = placement.dim - lacks
            has = 0 <= axis < tensor.ndim and tensor.shape[axis] > 1
            return Shard(axis) if has else Replicate()
        return Replicate() if tensor.dtype == torch.bool else placement  # a sum of bools is no bool

    return split(tensor, mesh, [own(placement) for placement in placements])


def _run(case: Case, change: Callable[[Any], Any]) -> tuple[Any, ...]:
    arguments = tree_map(change, case.arguments, is_leaf=_is_marker)
    options = {name: change(option) if _is_marker(option) else option for name, option in case.options.items()}
    result = case.verb(*arguments, **options)
    return result if isinstance(result, tuple) else (result,)


@functools.cache
def _wanted(family: str, shape: tuple[int, ...], has_kernels: bool) -> dict[str, tuple[Any, ...]]:
    def results() -> dict[str, tuple[Any, ...]]:
        return {name: _run(case, _as_whole) for name, case in CASES[family](shape).items()}

    return results() if has_kernels else without_kernels(results)()


def _check_family(
    rank: int, world: int, family: str, shape: tuple[int, ...], layout: Layout, has_kernels: bool
) -> None:
    mesh = mesh_of(world, layout.mesh)
    for name, case in CASES[family](shape).items():
        results = _run(case, lambda leaf: _placed(leaf, mesh, layout.placements))
        for number, (result, wanted) in enumerate(zip(results, _wanted(family, shape, has_kernels)[name], strict=True)):
            message = f"{family} {name}, result {number}, {layout}, shape {shape}"
            assert isinstance(result, DTensor), message
            assert not any(isinstance(placement, Partial) for placement in result.placements), message
            assert (result.shape, result.dtype) == (wanted.shape, wanted.dtype), message
            is_exact = (number == 0 and ("sample" in name or "pair" in name)) or wanted.dtype == torch.int64
            is_exact = is_exact or (not has_kernels and _has_exact_scores(family, name, layout))
            tolerance = 0.0 if is_exact else 1e-6 if wanted.dtype == torch.float32 else torch.finfo(wanted.dtype).eps
            torch.testing.assert_close(
                result.full_tensor(),
                wanted,
                rtol=tolerance,
                atol=tolerance,
                equal_nan=True,
                msg=lambda text, message=message: f"{message}: {text}",
            )


def _has_exact_scores(family: str, name: str, layout: Layout) -> bool:
    if Shard(1) not in layout.placements:  # `softplus` and `sinh` round otherwise elsewhere in the vector code
        return family != "tanh_normal" and "kl" not in name
    return family in CUT_ROWS and any(part in name for part in EXACT_IN_CUT_ROWS)


LAYOUTS_OF_FAMILIES = [
    pytest.param(family, SHAPES[(i + j) % 3], layout, id=f"{family} {SHAPES[(i + j) % 3]} {layout}")
    for i, family in enumerate(CASES)
    for j, layout in enumerate(LAYOUTS)
    if (i + j) % 4  # three layouts of four: all of them take a minute
]


@pytest.mark.parametrize(("family", "shape", "layout"), LAYOUTS_OF_FAMILIES)
def test_results_are_those_of_whole_tensors(family: str, shape: tuple[int, ...], layout: Layout) -> None:
    _wanted(family, shape, False)
    without_kernels(run_ranks)(math.prod(layout.mesh), _check_family, family, shape, layout, False)


@pytest.mark.parametrize("family", CASES)
@pytest.mark.parametrize("placement", [Shard(0), Shard(1)], ids=str)
def test_kernels_draw_what_they_draw_of_whole_tensors(family: str, placement: Placement) -> None:
    _wanted(family, (6, 8), True)
    run_ranks(2, _check_family, family, (6, 8), Layout((2,), (placement,)), True)


# ----------------------------------------------------------------------------------------------------------------- keys
KEYS = random.split(KEY, 6)  # one for each row of (6, 8)
OF_KEYS: dict[str, Callable[[Tensor, Any, Any], Any]] = {
    "normal": lambda key, loc, mask: normal.rsample(key, loc, 0.5, sample_shape=3),
    "normal of float64": lambda key, loc, mask: normal.sample(key, loc.double(), 0.5),
    "truncated_normal": lambda key, loc, mask: truncated_normal.sample(key, loc, 0.5, -1.0, 1.0),
    "categorical": lambda key, loc, mask: categorical.sample(key, loc, sample_shape=(2, 2)),
    "llm_masked_categorical": lambda key, loc, mask: llm_masked_categorical.sample(key, loc, mask),
}


def _check_keys(rank: int, world: int, layout: Layout, source: Tensor, is_placed: bool) -> None:
    mesh, loc = mesh_of(world, layout.mesh), _numbers(6, 8)
    mask = loc > -1.0
    placed, mask_placed = split(loc, mesh, layout.placements), split(mask, mesh, layout.placements)
    for name, draw in OF_KEYS.items():
        drawn = draw(replicated(source, mesh) if is_placed else source, placed, mask_placed)
        assert torch.equal(drawn.full_tensor(), draw(source, loc, mask)), name


@pytest.mark.parametrize("source", [KEY, KEYS], ids=["key", "keys"])
@pytest.mark.parametrize("is_placed", [False, True], ids=["plain", "placed"])
@pytest.mark.parametrize("layout", [LAYOUTS[2], LAYOUTS[6], LAYOUTS[10], LAYOUTS[11]], ids=str)
def test_draws_of_a_key_and_of_a_batch_of_keys(source: Tensor, is_placed: bool, layout: Layout) -> None:
    run_ranks(math.prod(layout.mesh), _check_keys, layout, source, is_placed)


def _check_batch_of_keys_and_rows(rank: int, world: int) -> None:
    mesh, logits = mesh_of(world), _numbers(2, 3, 5)
    keys = random.split(KEY, 6).reshape(2, 3, 2)
    for placement in (Shard(0), Shard(1), Shard(2)):
        drawn = categorical.sample(keys, split(logits, mesh, [placement]), sample_shape=2)
        assert torch.equal(drawn.full_tensor(), categorical.sample(keys, logits, sample_shape=2))
        drawn = categorical.sample(keys[:, 0], split(logits, mesh, [placement]))
        assert torch.equal(drawn.full_tensor(), categorical.sample(keys[:, 0], logits))


def test_keys_of_two_axes_and_of_fewer_axes_than_the_batch() -> None:
    run_ranks(2, _check_batch_of_keys_and_rows)


def test_bits_do_not_depend_on_where_a_shard_begins() -> None:
    """A shard may begin in a block of the cipher, and its values fall elsewhere in a vector."""
    loc = _numbers(5, 37)

    def draw(rank: int, world: int) -> Any:
        mesh = mesh_of(world)
        parts = [split(loc, mesh, [Shard(axis)]) for axis in (0, 1)]
        drawn = [tanh_normal.sample_and_log_prob(KEY, part, 0.5, event_dims=0) for part in parts]
        drawn += [(normal.rsample(KEY, part.double(), 2.0), categorical.sample(KEY, part)) for part in parts]
        return [result.full_tensor() for pair in drawn for result in pair]

    def whole() -> list[Tensor]:
        pair = tanh_normal.sample_and_log_prob(KEY, loc, 0.5, event_dims=0)
        others = (normal.rsample(KEY, loc.double(), 2.0), categorical.sample(KEY, loc))
        return [*pair, *pair, *others, *others]

    wanted = whole()
    for number, results in enumerate(run_ranks(3, draw)):
        for place, (result, one) in enumerate(zip(results, wanted, strict=True)):
            assert torch.equal(result, one) or place in (1, 3), (number, place)  # log-probs round by their place


def _check_reuse(rank: int, world: int) -> None:
    mesh = mesh_of(world)
    loc, point = split(_numbers(5, 7), mesh, [Shard(1)]), split(_numbers(5), mesh, [Shard(0)])
    with random.forbid_reuse():
        first, second = random.split(KEY)
        normal.sample(first, loc, 1.0)  # whose parts begin and end inside of blocks
        delta.sample(second, point)
        for used in (first, second):
            with pytest.raises(random.KeyReuseError):
                normal.sample(used, loc, 1.0)


def test_a_draw_consumes_its_key_once() -> None:
    run_ranks(2, _check_reuse)


def test_families_say_whether_they_know_cut_rows() -> None:
    know = [categorical, masked_categorical, llm_masked_categorical, linear_categorical, one_hot(masked_categorical)]
    lack = [ordinal, sparse_categorical, one_hot(ordinal), greedy(categorical), independent(categorical), two_hot]
    own = define(categorical.Params, "own", values_of=categorical, knows_cut_rows=True)

    @own
    def mode(logits: Real) -> Tensor:
        """Return an outcome."""
        return logits.argmax(-1)

    for family in (*know, *lack):
        for verb in verbs(family).values():
            spec: Any = specification_of(verb)
            if spec.name.startswith(f"{name_of(family)}."):  # not a verb of another family that it shares
                assert spec.knows_cut_rows == (family in know), spec.name
    assert specification_of(mode).knows_cut_rows
    assert specification_of(own.mapped(mode, torch.neg, "Return less.", "less")).knows_cut_rows
