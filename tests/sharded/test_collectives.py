"""How many numbers verbs of DTensors send, and the errors that all ranks raise."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor.debug import CommDebugMode
from torch.utils._python_dispatch import TorchDispatchMode

from functional_dists import (
    categorical,
    delta,
    llm_masked_categorical,
    masked_categorical,
    normal,
    random,
    tanh_normal,
    truncated_normal,
)
from tests.sharded.ranks import mesh_of, run_ranks, split

KEY = random.key(42)
ROWS, OUTCOMES, WORLD = 3, 64, 2
LOGITS = torch.randn((ROWS, OUTCOMES), generator=torch.Generator().manual_seed(0))
TOKENS = torch.arange(ROWS)
MASK = LOGITS > -1.0


class Count(NamedTuple):
    """How many collectives a call takes, and how many its backward pass."""

    forward: int
    backward: int


class Sizes(TorchDispatchMode):
    """Records the numbers of elements that collectives send."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented
        if "_c10d_functional" in str(func) and "wait_tensor" not in str(func):
            self.sizes.append(args[0].numel())
        return func(*args, **(kwargs or {}))


def _llm(verb: Callable[..., Any], *rest: Any) -> Callable[[Tensor, Any], Any]:
    return lambda logits, mask: verb(logits, mask, *rest)


CUT_ROWS: dict[str, tuple[Callable[[Tensor, Tensor], Any], Count]] = {
    "log_prob": (lambda t, mask: categorical.log_prob(t, TOKENS), Count(2, 0)),
    "entropy": (lambda t, mask: categorical.entropy(t), Count(2, 0)),
    "log_prob_and_entropy": (lambda t, mask: categorical.log_prob_and_entropy(t, TOKENS), Count(2, 0)),
    "kl": (lambda t, mask: categorical.kl((t,), (2 * t,)), Count(3, 1)),
    "probs": (lambda t, mask: categorical.probs(t), Count(2, 1)),
    "mode": (lambda t, mask: categorical.mode(t), Count(1, 0)),
    "sample": (lambda t, mask: categorical.sample(KEY, t), Count(3, 0)),
    "sample_and_log_prob": (lambda t, mask: categorical.sample_and_log_prob(KEY, t), Count(3, 0)),
    "masked log_prob": (lambda t, mask: masked_categorical.log_prob(t, mask, TOKENS), Count(2, 0)),
    "masked pair": (lambda t, mask: masked_categorical.sample_and_log_prob(KEY, t, mask), Count(3, 0)),
    "tokens log_prob": (lambda t, mask: llm_masked_categorical.log_prob(t, mask, TOKENS), Count(2, 0)),
    "tokens entropy": (lambda t, mask: llm_masked_categorical.entropy(t, mask), Count(2, 0)),
    "tokens sample": (lambda t, mask: llm_masked_categorical.sample(KEY, t, mask), Count(3, 0)),
}


def _counted(call: Callable[[], Any], given: Tensor) -> tuple[int, int, list[int]]:
    """Return the numbers of collectives of a call and of its backward pass, and the sizes of all."""
    with CommDebugMode() as forward, Sizes() as sizes:
        result = call()
    results = [t for t in (result if isinstance(result, tuple) else (result,)) if t.requires_grad]
    slopes = [_ones(t) for t in results]
    with CommDebugMode() as backward, sizes:
        if results:
            torch.autograd.grad(results, given, slopes)
    return forward.get_total_counts(), backward.get_total_counts(), sizes.sizes


def _ones(like: Any) -> DTensor:
    """Return ones in the placements of a DTensor; `ones_like` of two threads at once crashes torch 2.11."""
    part, whole = torch.ones_like(like.to_local()), torch.empty(like.shape, device="meta")
    return DTensor.from_local(
        part, like.device_mesh, like.placements, run_check=False, shape=whole.shape, stride=whole.stride()
    )


def _count_cut_rows(rank: int, world: int, name: str) -> None:
    call, expected = CUT_ROWS[name]
    mesh = mesh_of(world)
    logits, mask = split(LOGITS, mesh, [Shard(1)]).requires_grad_(), split(MASK, mesh, [Shard(1)])
    forward, backward, sizes = _counted(lambda: call(logits, mask), logits)
    assert forward == expected.forward, (forward, sizes)
    assert backward <= expected.backward, (backward, sizes)
    assert max(sizes) <= 4 * ROWS, f"{sizes}: logits are sent"


@pytest.mark.parametrize("name", CUT_ROWS)
def test_cut_rows_send_a_few_numbers_of_each_row(name: str) -> None:
    run_ranks(WORLD, _count_cut_rows, name)


def _pair(family: Any, *bounds: float, event_dims: int = 1) -> Callable[[Tensor], Any]:
    return lambda loc: family.rsample_and_log_prob(KEY, loc, 0.5, *bounds, event_dims=event_dims)


ELEMENTWISE: dict[str, Callable[[Tensor], Any]] = {
    "normal.sample": lambda loc: normal.sample(KEY, loc, 0.5),
    "normal.log_prob": lambda loc: normal.log_prob(loc, 0.5, 0.25, event_dims=1),
    "normal pair": _pair(normal),
    "normal pair of elements": _pair(normal, event_dims=0),
    "normal.kl": lambda loc: normal.kl((loc, 0.5), (0.0, 1.0), event_dims=1),
    "tanh_normal pair": _pair(tanh_normal, -1.0, 1.0),
    "tanh_normal.mean": lambda loc: tanh_normal.mean(loc, 0.5, -1.0, 1.0),
    "truncated_normal.entropy": lambda loc: truncated_normal.entropy(loc, 0.5, -1.0, 1.0),
    "delta.log_prob": lambda loc: delta.log_prob(loc, 0.25),
    "categorical.log_prob": lambda logits: categorical.log_prob(logits, TOKENS),
    "categorical.sample": lambda logits: categorical.sample(KEY, logits),
}


def _count_elementwise(rank: int, world: int, name: str, placement: Shard) -> None:
    loc = split(LOGITS, mesh_of(world), [placement]).requires_grad_()
    forward, backward, sizes = _counted(lambda: ELEMENTWISE[name](loc), loc)
    sums = "elements" not in name and any(verb in name for verb in ("log_prob", "pair", "kl", "entropy"))
    assert forward == (sums and placement == Shard(1)), (forward, sizes)
    assert backward == 0, (backward, sizes)
    assert max(sizes, default=0) <= ROWS, sizes


@pytest.mark.parametrize("name", [name for name in ELEMENTWISE if "categorical" not in name])
@pytest.mark.parametrize("placement", [Shard(0), Shard(1)], ids=str)
def test_a_cut_event_takes_one_sum_and_nothing_else_any(name: str, placement: Shard) -> None:
    run_ranks(WORLD, _count_elementwise, name, placement)


@pytest.mark.parametrize("name", [name for name in ELEMENTWISE if "categorical" in name])
def test_whole_rows_take_no_collective(name: str) -> None:
    run_ranks(WORLD, _count_elementwise, name, Shard(0))


# ----------------------------------------------------------------------------------------------- slopes, and from_local
def _check_slopes(rank: int, world: int) -> None:
    """A loss that all ranks hold alike has the gradient of one process, not one for each of them."""
    mesh = mesh_of(world)
    for placement in (Shard(1), Replicate()):
        loc = split(torch.zeros(2, 4), mesh, [placement]).requires_grad_()
        score = normal.log_prob(loc, 1.0, 1.0, event_dims=1).sum()
        (slope,) = torch.autograd.grad(score.full_tensor(), loc)
        assert torch.equal(slope.full_tensor(), torch.ones(2, 4))
        assert slope.placements == (placement,)
    scale = split(torch.ones(4), mesh, [Replicate()]).requires_grad_()
    loc = split(torch.zeros(2, 4), mesh, [Shard(0)])
    normal.log_prob(loc, scale, 2.0, event_dims=1).sum().backward()
    assert torch.equal(scale.grad.full_tensor(), torch.full((4,), 6.0))


def test_slopes_are_not_multiplied_by_the_number_of_ranks() -> None:
    run_ranks(WORLD, _check_slopes)


def _check_uneven_parts(rank: int, world: int) -> None:
    mesh, parts = mesh_of(world), LOGITS.T[:5].contiguous()
    own = parts.tensor_split([3])[rank]
    loc = DTensor.from_local(own, mesh, [Shard(0)], shape=parts.shape, stride=parts.stride(), run_check=False)
    value, score = normal.rsample_and_log_prob(KEY, loc, 0.5, event_dims=1)
    wanted = normal.rsample_and_log_prob(KEY, parts, 0.5, event_dims=1)
    for result, one in zip((value, score), wanted, strict=True):
        assert result.shape == one.shape
        assert torch.equal(result.full_tensor(), one)
        assert result.to_local().shape == (len(own), *one.shape[1:])


def test_from_local_of_uneven_parts() -> None:
    run_ranks(WORLD, _check_uneven_parts)


# --------------------------------------------------------------------------------------------------------------- errors
def _raised(call: Callable[[], Any]) -> Exception:
    try:
        call()
    except (TypeError, ValueError) as error:
        return error
    raise AssertionError("nothing is raised")


def _check_errors(rank: int, world: int) -> list[str]:
    mesh = mesh_of(world)
    loc, few = split(torch.zeros(5, 4), mesh, [Shard(0)]), split(torch.ones(3, 4), mesh, [Shard(0)])
    rows = split(LOGITS, mesh, [Shard(1)])
    calls: list[Callable[[], Any]] = [
        lambda: normal.sample(torch.Generator(), loc, 1.0),
        lambda: normal.sample(KEY, loc, split(torch.ones(4), mesh_of(world, (1, world)), [Replicate()] * 2)),
        lambda: normal.sample(KEY, loc, few),
        lambda: normal.log_prob(loc, 1.0, split(torch.zeros(4), mesh, [Replicate()])),
        lambda: normal.log_prob(loc, 1.0, 0.0, event_dims=3),
        lambda: categorical.log_prob(rows, torch.zeros(5, dtype=torch.int64)),
        lambda: normal.sample(random.split(KEY, 4), loc, 1.0),
    ]
    return [f"{type(error).__name__}: {error}" for error in map(_raised, calls)]


def test_errors_are_those_of_whole_tensors_on_all_ranks() -> None:
    first, *others = run_ranks(WORLD, _check_errors)
    assert all(messages == first for messages in others)
    generator, meshes, shapes, value, event_dims, tokens, keys = first
    assert generator.startswith("TypeError: normal.sample: ")
    assert "random.key_from" in generator
    assert meshes.startswith("ValueError: normal.sample: ")
    assert "one mesh" in meshes
    assert shapes.startswith("ValueError: ")
    assert "(5, 4)" in shapes
    assert "(3, 4)" in shapes
    assert value.startswith("ValueError: normal.log_prob: value of shape (4,)")
    assert "(5, 4)" in value
    assert event_dims.startswith("ValueError: normal.log_prob: event_dims=3")
    assert "(5, 4)" in event_dims
    assert tokens.startswith("ValueError: categorical.log_prob: value of shape (5,)")
    assert f"({ROWS},)" in tokens
    assert keys.startswith("ValueError: ")
    assert "(4, 2)" in keys
    assert "(5, 4)" in keys
