"""Heads whose vocabulary is cut among ranks give what whole ones give, and no rank has the table or the weight."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard
from torch.utils._python_dispatch import TorchDispatchMode

from functional_dists import kept, llm_masked_categorical, random
from functional_dists import linear_categorical as family
from functional_dists.special import linear_head
from functional_dists.special.axis import Cut
from tests.sharded.ranks import mesh_of, run_ranks, split

KEY = random.key(5)
WHOLE, ROWS, COLUMNS, VOCABULARY = Replicate(), Shard(0), Shard(1), Shard(0)
Placements = Sequence[Placement]


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_head, "ROWS", 16)
    monkeypatch.setattr(linear_head, "TOKENS", 16)


def numbers(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return random.normal(random.fold_in(KEY, seed), shape, dtype=torch.float64).to(dtype)


def head(
    seed: int, batch: Sequence[int], size: int, count: int, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, ...]:
    shapes = ((*batch, size), (count, size), (count,))
    hidden, weight, bias = (numbers(3 * seed + i, *shape, dtype=dtype) for i, shape in enumerate(shapes))
    bias[1] = -math.inf
    return hidden, weight, bias


def verbs(p: Any, q: Any, value: Any, **options: Any) -> list[Any]:
    return [
        family.sample(KEY, *p, sample_shape=3, **options),
        *family.sample_and_log_prob(KEY, *p, **options),
        family.log_prob(*p, value, **options),
        family.entropy(*p, **options),
        *family.log_prob_and_entropy(*p, value, **options),
        family.kl(p, q, **options),
        family.mode(*p, **options),
        family.deterministic(*p, **options),
    ]


def total(p: Any, q: Any, value: Any, **options: Any) -> Any:
    scores = [*family.log_prob_and_entropy(*p, value, **options), family.kl(p, q, **options)]
    finite = (torch.where(score.isfinite(), score, torch.zeros_like(score)) for score in scores)
    return sum(weight * score.sin().sum() for weight, score in zip((1, 2, 3), finite, strict=True))


def assert_close(results: Sequence[Any], expected: Sequence[Any], tolerance: float) -> None:
    for result, wanted in zip(results, expected, strict=True):
        whole = result.full_tensor() if isinstance(result, DTensor) else result
        if wanted.is_floating_point():
            torch.testing.assert_close(whole, wanted, rtol=tolerance, atol=tolerance, equal_nan=True)
        else:
            assert torch.equal(whole, wanted)


def check(
    mesh_shape: Sequence[int],
    of_hidden: Placements,
    of_weight: Placements,
    p: Sequence[Tensor],
    q: Sequence[Tensor],
    value: Any,
    options: dict[str, Any],
    tolerance: float = 2e-6,
    tolerance_of_slopes: float = 1e-5,
) -> None:
    """Compare all verbs, and gradients by `torch.func.grad`, with those of whole tensors."""
    expected = verbs(p, q, value, **options)

    def by_parameters(*p: Tensor) -> Any:
        return total(p, q, value, **options)

    slopes = torch.func.grad(by_parameters, (0, 1, 2))(*p)

    def run(rank: int, world: int) -> None:
        mesh = mesh_of(world, mesh_shape)
        placements = (of_hidden, of_weight, of_weight)
        p_parts, q_parts = (tuple(map(split, given, [mesh] * 3, placements)) for given in (p, q))
        given = dict(options)
        for name in {"temperature", "mask"} & options.keys():
            given[name] = split(options[name], mesh, of_hidden)
        support = given.get("support")
        if isinstance(support, Tensor) and support.dtype == torch.bool:
            pairs = zip(of_hidden, of_weight, strict=True)
            of_mask = [Shard(support.ndim - 1) if isinstance(weight, Shard) else hidden for hidden, weight in pairs]
            given["support"] = split(support, mesh, of_mask)
        assert_close(verbs(p_parts, q_parts, value, **given), expected, tolerance)

        def by_parts(*p: Tensor) -> Any:
            return total(p, q_parts, value, **given)

        got = torch.func.grad(by_parts, (0, 1, 2))(*p_parts)
        assert_close(got, slopes, tolerance_of_slopes)
        for slope, placement in zip(got[1:], placements[1:], strict=True):
            assert [s for s in slope.placements if not isinstance(s, Partial)] == [
                s for s in placement if isinstance(s, Shard)
            ]

    run_ranks(math.prod(mesh_shape), run)


LAYOUTS: dict[str, tuple[tuple[int, ...], Placements, Placements, int]] = {
    "one rank": ((1,), [WHOLE], [VOCABULARY], 37),
    "vocabulary": ((2,), [WHOLE], [VOCABULARY], 37),
    "vocabulary, uneven": ((3,), [WHOLE], [VOCABULARY], 37),
    "vocabulary, a rank without tokens": ((4,), [WHOLE], [VOCABULARY], 5),
    "rows, a rank without rows": ((3,), [COLUMNS], [WHOLE], 20),
    "rows and vocabulary": ((2, 2), [ROWS, WHOLE], [WHOLE, VOCABULARY], 37),
    "vocabulary by two dims": ((2, 2), [WHOLE, WHOLE], [VOCABULARY, VOCABULARY], 40),
}
BATCH = (3, 2)
VALUE = torch.tensor([[[0, 4], [-100, 36], [37, 19]], [[3, -1], [2, 4], [1, -100]]])
MASK = torch.tensor([[True, True], [False, True], [True, False]])


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_verbs_and_gradients(layout: Any) -> None:
    mesh_shape, of_hidden, of_weight, count = layout
    options = {"temperature": numbers(22, *BATCH).exp(), "softcap": 3.0, "mask": MASK}
    check(mesh_shape, of_hidden, of_weight, head(0, BATCH, 6, count), head(1, BATCH, 4, count), VALUE, options)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_dtypes_without_options(dtype: torch.dtype) -> None:
    p, q = head(0, BATCH, 6, 37, dtype), head(1, BATCH, 4, 37, dtype)
    # Each rank rounds its part of the gradient by hidden vectors.
    tolerances = (1e-2, 3e-2) if dtype == torch.bfloat16 else (1e-13, 1e-12)
    check((3,), [WHOLE], [VOCABULARY], p, q, VALUE, {}, *tolerances)


def test_rows_with_nan_or_without_support() -> None:
    p, q = head(0, BATCH, 6, 20), head(1, BATCH, 4, 20)
    p[0][0, 0, 2], p[0][1, 1, 0], p[0][2, 0, 3] = math.nan, math.inf, 200.0
    p[2][:12] = -math.inf  # the first rank has no token
    check((2,), [WHOLE], [VOCABULARY], p, q, VALUE, {})
    p[2][:] = -math.inf
    check((2,), [WHOLE], [VOCABULARY], p, q, VALUE, {})


KEPT = torch.zeros(*BATCH, 37, dtype=torch.bool)
KEPT[0, 0], KEPT[0, 1, 3:5], KEPT[1, 1, 30:], KEPT[2, :, ::5] = True, True, True, True
SUPPORTS = {"mask": KEPT, "indices": kept.as_indices(KEPT), "tokens": kept.as_tokens(KEPT)}


@pytest.mark.parametrize("support", SUPPORTS.values(), ids=SUPPORTS)
@pytest.mark.parametrize("layout", ["vocabulary", "rows and vocabulary"])
def test_kept_sets(layout: str, support: Any) -> None:
    mesh_shape, of_hidden, of_weight, count = LAYOUTS[layout]
    p, q = head(0, BATCH, 6, count), head(1, BATCH, 4, count)
    check(mesh_shape, of_hidden, of_weight, p, q, VALUE, {"support": support, "temperature": numbers(22, *BATCH).exp()})


@pytest.mark.parametrize("support", SUPPORTS.values(), ids=SUPPORTS)
def test_kept_sets_of_logits(support: Any) -> None:
    logits = numbers(23, *BATCH, 37)

    def scores(logits: Any) -> Any:
        return llm_masked_categorical.log_prob(logits, MASK, VALUE, support=support)

    expected = scores(logits)

    def run(rank: int, world: int) -> None:
        mesh = mesh_of(world)
        for dim in range(3):
            assert_close([scores(split(logits, mesh, [Shard(dim)]))], [expected], 2e-6)

    run_ranks(3, run)


def test_arguments_that_are_plain_or_cut_otherwise() -> None:
    (hidden, weight, bias), q = head(0, BATCH, 6, 37), head(1, BATCH, 4, 37)
    expected = verbs((hidden, weight, bias), q, 3, temperature=0.5)
    is_allowed = family.support(hidden, weight, bias).check(VALUE)
    by_number = verbs((hidden, weight, 0.5), q, VALUE)

    def run(rank: int, world: int) -> None:
        mesh = mesh_of(world)
        cut, cut_bias = split(weight, mesh, [VOCABULARY]), split(bias, mesh, [VOCABULARY])
        assert_close(verbs((hidden, cut, bias), q, 3, temperature=torch.tensor(0.5)), expected, 2e-6)
        assert torch.equal(family.support(hidden, cut, cut_bias).check(VALUE).full_tensor(), is_allowed)
        family.check(hidden, cut, torch.where(torch.arange(37) < 20, -math.inf, 0.0))
        assert_close(verbs((split(hidden, mesh, [Shard(2)]), cut, cut_bias), q, 3, temperature=0.5), expected, 2e-6)
        results = verbs((split(hidden, mesh, [ROWS]), cut, 0.5), q, split(VALUE, mesh, [COLUMNS]))
        assert_close(results, by_number, 2e-6)
        assert all(result.placements == (Replicate(),) for result in results)  # the weight stays where it is

    run_ranks(2, run)


def test_second_derivatives() -> None:
    p, q = head(0, BATCH, 6, 20, torch.float64), head(1, BATCH, 4, 20, torch.float64)

    def derivatives(q: Any, *leaves: Any) -> Any:
        first = torch.autograd.grad(total(leaves[:3], q, VALUE, temperature=leaves[3]), leaves, create_graph=True)
        return torch.autograd.grad(sum(slope.sin().sum() for slope in first), leaves)

    temperature = numbers(22, *BATCH).double().exp()
    expected = derivatives(q, *(t.clone().requires_grad_() for t in (*p, temperature)))

    def run(rank: int, world: int) -> None:
        mesh, placements = mesh_of(world), ([WHOLE], [VOCABULARY], [VOCABULARY], [WHOLE])
        parts = map(split, (*p, temperature), [mesh] * 4, placements)
        leaves = [part.requires_grad_() for part in parts]
        assert_close(derivatives(tuple(map(split, q, [mesh] * 3, placements)), *leaves), expected, 1e-10)

    run_ranks(2, run)


class Sent(TorchDispatchMode):
    """Counts the collectives, and how many numbers the largest sends."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.largest = 0, 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function.namespace == "_c10d_functional" and function is not torch.ops._c10d_functional.wait_tensor.default:
            self.count, self.largest = self.count + 1, max(self.largest, args[0].numel())
        return function(*args, **(kwargs or {}))


def test_few_numbers_of_rows_are_sent() -> None:
    p, q = head(0, BATCH, 60, 37), head(1, BATCH, 40, 37)
    rows, value, support = math.prod(BATCH), VALUE[0], SUPPORTS["indices"]
    cases: dict[str, tuple[Callable[[Any, Any], Any], int, int]] = {
        "sample": (lambda p, q: family.sample(KEY, *p), 3, 4 * rows),
        "sample_and_log_prob": (lambda p, q: family.sample_and_log_prob(KEY, *p)[1], 4, 5 * rows),
        "log_prob": (lambda p, q: family.log_prob(*p, value), 1, 5 * rows),
        "entropy": (lambda p, q: family.entropy(*p), 1, 4 * rows),
        "kl": (lambda p, q: family.kl(p, q), 2, 8 * rows),
        "mode": (lambda p, q: family.mode(*p), 1, 4 * rows),
        "support": (lambda p, q: family.log_prob(*p, value, support=support), 1, support.numel()),
    }

    def run(rank: int, world: int) -> None:
        mesh = mesh_of(world)
        placements = ([WHOLE], [VOCABULARY], [VOCABULARY])
        p_parts, q_parts = (tuple(map(split, given, [mesh] * 3, placements)) for given in (p, q))
        leaves = [part.requires_grad_() for part in p_parts]
        for name, (verb, count, largest) in cases.items():
            with Sent() as sent:
                result = verb(p_parts, q_parts)
            assert (sent.count, sent.largest) == (count, largest), name
            if result.requires_grad:
                with Sent() as sent:
                    torch.autograd.grad(result.to_local().sum(), leaves)
                assert sent.count == 0, name

    run_ranks(2, run)


def test_tiles_of_parts_have_the_bits_of_whole_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_head, "TOKENS", 1024)
    hidden, weight, nothing = numbers(0, 16, 2048), numbers(1, 1100, 2048), torch.empty(0)
    whole = linear_head.Head(hidden, weight, nothing, nothing, 0.0)

    def table(head: linear_head.Head) -> Tensor:
        (rows,), room = linear_head.row_blocks(head, torch.empty(0)), linear_head.room_of(head)
        ranges = list(linear_head.token_ranges(head))
        tiles = [linear_head.tile_of(head, rows, tokens, room).logits.clone() for tokens in ranges]
        assert len(ranges) == linear_head.num_tiles(head)
        return torch.cat(tiles, -1)

    expected = table(whole)
    for first, last in ((0, 3), (3, 23), (23, 1040), (1040, 1100)):
        part = whole._replace(weight=weight[first:last], cut=Cut((), (), 0, first, 1100))
        assert torch.equal(table(part), expected[:, first:last])
