"""Gradients by sharded and by replicated parameters are those by whole ones."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard

from functional_dists import (
    categorical,
    llm_masked_categorical,
    masked_categorical,
    normal,
    ordinal,
    random,
    tanh_normal,
    truncated_normal,
)
from functional_dists.random.extension import without_kernels
from tests.sharded.ranks import mesh_of, run_ranks, split

KEY = random.key(42)
SHAPE = (5, 6)
TOLERANCE = 2e-6


class Loss(NamedTuple):
    """A function of parameters that requires gradients, and the shapes of the parameters."""

    function: Callable[..., Tensor]  # of the parameters, and of a function that places what is no parameter
    shapes: tuple[tuple[int, ...], ...]
    positive: tuple[int, ...] = ()


def _weighted(result: Tensor, place: Callable[[Tensor], Any], ndim: int | None = None) -> Tensor:
    """Return a sum with a weight for each number, so that no gradient is that of another one."""
    weight = torch.arange(1.0, 1.0 + result.numel(), dtype=result.dtype).reshape(result.shape).cos()
    return (result * place(weight)).sum()


def _rsample(family: Any, *bounds: float) -> Callable[..., Tensor]:
    return lambda loc, scale, place: _weighted(family.rsample(KEY, loc, scale, *bounds), place)


def _pair(family: Any, *bounds: float, event_dims: int = 1) -> Callable[..., Tensor]:
    def loss(loc: Tensor, scale: Tensor, place: Callable[[Tensor], Any]) -> Tensor:
        value, score = family.rsample_and_log_prob(KEY, loc, scale, *bounds, event_dims=event_dims)
        return _weighted(value, place) + _weighted(score, place)

    return loss


def _score(family: Any, *bounds: float) -> Callable[..., Tensor]:
    def loss(loc: Tensor, scale: Tensor, place: Callable[[Tensor], Any]) -> Tensor:
        _, score = family.sample_and_log_prob(KEY, loc, scale, *bounds, event_dims=1)
        at_value = family.log_prob(loc, scale, *bounds, place(0.1 * _numbers(*SHAPE)), event_dims=1)
        return _weighted(score, place) + _weighted(at_value, place)

    return loss


def _numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


TOKENS = torch.arange(2 * SHAPE[0]).reshape(2, SHAPE[0]) % SHAPE[1]
MASK = (_numbers(*SHAPE, seed=7) > -0.8).index_fill(0, torch.tensor([3]), False)
POSITIONS = torch.arange(SHAPE[0]) % 3 > 0


def _divergence(p: Tensor, q: Tensor, place: Callable[[Tensor], Any]) -> Tensor:
    return _weighted(categorical.kl((p,), (q,)), place)


def _masked(logits: Tensor, place: Callable[[Tensor], Any]) -> Tensor:
    score, entropy = masked_categorical.log_prob_and_entropy(logits, place(MASK), TOKENS)
    finite = torch.where(score > -math.inf, score, torch.zeros_like(score))
    return _weighted(finite, place) + _weighted(entropy, place)


def _tokens(logits: Tensor, place: Callable[[Tensor], Any]) -> Tensor:
    _, drawn = llm_masked_categorical.sample_and_log_prob(KEY, logits, POSITIONS)
    warm = llm_masked_categorical.log_prob(logits, POSITIONS, TOKENS, temperature=2.0, softcap=3.0)
    return _weighted(drawn, place) + _weighted(warm, place)


SAME, ROW, NONE = (SHAPE, SHAPE), (SHAPE, SHAPE[1:]), (SHAPE, ())
LOSSES = {
    "normal.rsample": Loss(_rsample(normal), SAME, (1,)),
    "normal pair, scale of the event": Loss(_pair(normal), ROW, (1,)),
    "normal scores, one scale": Loss(_score(normal), NONE, (1,)),
    "normal pair, all axes": Loss(_pair(normal, event_dims=2), SAME, (1,)),
    "normal.kl": Loss(
        lambda a, b, c, place: _weighted(normal.kl((a, b), (c, 1.5), event_dims=1), place), (*ROW, SHAPE), (1,)
    ),
    "tanh_normal pair": Loss(_pair(tanh_normal, -2.0, 3.0), SAME, (1,)),
    "tanh_normal scores, scale of the event": Loss(_score(tanh_normal, -2.0, 3.0), ROW, (1,)),
    "tanh_normal.entropy": Loss(lambda a, b, place: _weighted(tanh_normal.entropy(a, b), place), ROW, (1,)),
    "truncated_normal pair": Loss(_pair(truncated_normal, -2.0, 3.0), ROW, (1,)),
    "categorical.log_prob": Loss(lambda t, place: _weighted(categorical.log_prob(t, TOKENS), place), (SHAPE,)),
    "categorical.entropy": Loss(lambda t, place: _weighted(categorical.entropy(t), place), (SHAPE,)),
    "categorical.probs": Loss(lambda t, place: _weighted(categorical.probs(t), place), (SHAPE,)),
    "categorical.kl": Loss(_divergence, SAME),
    "categorical.kl, q of the event": Loss(_divergence, ROW),
    "masked_categorical": Loss(_masked, (SHAPE,)),
    "llm_masked_categorical": Loss(_tokens, (SHAPE,)),
    "ordinal.log_prob": Loss(lambda t, place: _weighted(ordinal.log_prob(t, TOKENS), place), (SHAPE,)),
}
LAYOUTS: list[tuple[tuple[int, ...], tuple[Placement, ...]]] = [
    ((2,), (Shard(0),)),
    ((2,), (Shard(1),)),
    ((2,), (Partial(),)),
    ((2, 2), (Shard(0), Shard(1))),
    ((2, 2), (Shard(1), Shard(1))),
    ((4,), (Shard(1),)),
]


def _parameters(loss: Loss, dtype: torch.dtype) -> list[Tensor]:
    tensors = [_numbers(*shape, seed=number).to(dtype) for number, shape in enumerate(loss.shapes)]
    return [0.5 * t.exp() + 0.1 if number in loss.positive else t for number, t in enumerate(tensors)]


def _aligned(tensor: Tensor, mesh: DeviceMesh, placements: Sequence[Placement]) -> DTensor:
    """Return a DTensor that is cut where the whole is; a scalar, or what lacks the axis, is replicated."""
    lacks = len(SHAPE) - tensor.ndim

    def own(placement: Placement) -> Placement:
        if isinstance(placement, Shard):
            return Shard(placement.dim - lacks) if placement.dim >= lacks else Replicate()
        return placement if tensor.is_floating_point() else Replicate()

    return split(tensor, mesh, [own(placement) for placement in placements])


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


@functools.cache
def _wanted(name: str) -> tuple[Tensor, ...]:
    given = [t.requires_grad_() for t in _parameters(LOSSES[name], torch.float32)]
    return torch.autograd.grad(without_kernels(LOSSES[name].function)(*given, _as_it_is), given)


def _whole(result: Any) -> Tensor:
    whole = result.full_tensor() if isinstance(result, DTensor) else result
    assert isinstance(whole, Tensor)
    return whole


class _Beside:
    """Places tensors that are no parameters, and repeats what it placed: PyTorch does not place under `torch.func`."""

    def __init__(self, mesh: DeviceMesh) -> None:
        self.mesh, self.placed, self.next = mesh, [], 0

    def __call__(self, tensor: Tensor) -> DTensor:
        if self.next == len(self.placed):
            self.placed.append(split(tensor, self.mesh, [Replicate()] * self.mesh.ndim))
        self.next += 1
        return self.placed[self.next - 1]

    def again(self) -> "_Beside":
        self.next = 0
        return self


def _check_gradients(rank: int, world: int, name: str, shape: tuple[int, ...], placements: Sequence[Placement]) -> None:
    mesh, loss = mesh_of(world, shape), LOSSES[name]
    given = [_aligned(t, mesh, placements).requires_grad_() for t in _parameters(loss, torch.float32)]
    beside = _Beside(mesh)
    result = loss.function(*given, beside)
    by_autograd = torch.autograd.grad(result, given)
    by_func = torch.func.grad(
        lambda *tensors: loss.function(*tensors, beside.again()), argnums=tuple(range(len(given)))
    )(*(t.detach() for t in given))
    for number, wanted in enumerate(_wanted(name)):
        for way, gradient in (("autograd", by_autograd[number]), ("func", by_func[number])):
            size = max(1.0, float(wanted.abs().max()))
            torch.testing.assert_close(
                _whole(gradient),
                wanted,
                rtol=TOLERANCE,
                atol=TOLERANCE * size,
                msg=lambda text, way=way, number=number: f"{name} by {number}, {way}, {placements}: {text}",
            )


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(("shape", "placements"), LAYOUTS, ids=str)
def test_gradients_are_those_of_whole_tensors(
    name: str, shape: tuple[int, ...], placements: tuple[Placement, ...]
) -> None:
    _wanted(name)
    run_ranks(math.prod(shape), _check_gradients, name, shape, placements)


# --------------------------------------------------------------------------------------------------------- second order
OF_SECOND_ORDER = [
    "normal pair, scale of the event",
    "tanh_normal scores, scale of the event",
    "categorical.log_prob",
    "categorical.entropy",
    "categorical.probs",
    "categorical.kl",
    "llm_masked_categorical",
]


def _second_derivatives(name: str, given: Sequence[Tensor], place: Callable[[Tensor], Any]) -> list[Tensor]:
    """Return the gradient of a weighted sum of the squares of the gradient."""
    first = torch.autograd.grad(LOSSES[name].function(*given, place), given, create_graph=True)
    curvature = sum((_weighted(slope * slope, place) for slope in first), torch.zeros(()))
    return [_whole(slope) for slope in torch.autograd.grad(curvature, given)]


def _check_second_order(rank: int, world: int, name: str, placement: Placement) -> None:
    mesh = mesh_of(world)
    whole = [t.requires_grad_() for t in _parameters(LOSSES[name], torch.float64)]
    given = [_aligned(t.detach(), mesh, [placement]).requires_grad_() for t in whole]
    wanted = _second_derivatives(name, whole, _as_it_is)
    for result, one in zip(_second_derivatives(name, given, _Beside(mesh)), wanted, strict=True):
        size = max(1.0, float(one.abs().max()))
        torch.testing.assert_close(result, one, rtol=1e-9, atol=1e-9 * size)


@pytest.mark.parametrize("name", OF_SECOND_ORDER)
@pytest.mark.parametrize("placement", [Shard(0), Shard(1)], ids=str)
def test_second_derivatives(name: str, placement: Placement) -> None:
    run_ranks(2, _check_second_order, name, placement)


# ------------------------------------------------------------------------------------------- plain and mixed parameters
def _check_plain_parameters(rank: int, world: int) -> None:
    """A plain parameter is one that all ranks hold alike, and so is its gradient."""
    mesh, loss = mesh_of(world), LOSSES["normal pair, scale of the event"]
    wanted = _wanted("normal pair, scale of the event")
    for placement in (Shard(0), Shard(1), Replicate()):
        loc, scale = _parameters(loss, torch.float32)
        given = (_aligned(loc, mesh, [placement]).requires_grad_(), scale.requires_grad_())
        slopes = torch.autograd.grad(loss.function(*given, _Beside(mesh)), given)
        assert not isinstance(slopes[1], DTensor)
        for slope, one in zip(slopes, wanted, strict=True):
            torch.testing.assert_close(_whole(slope), one, rtol=TOLERANCE, atol=TOLERANCE)


def test_gradients_by_plain_parameters_beside_placed_ones() -> None:
    _wanted("normal pair, scale of the event")
    run_ranks(2, _check_plain_parameters)


def _check_mixed_placements(rank: int, world: int) -> None:
    mesh, loss = mesh_of(world), LOSSES["normal.rsample"]
    for first in (Shard(0), Shard(1), Replicate()):
        for second in (Shard(0), Shard(1), Replicate()):
            loc, scale = _parameters(loss, torch.float32)
            given = [split(loc, mesh, [first]).requires_grad_(), split(scale, mesh, [second]).requires_grad_()]
            slopes = torch.autograd.grad(loss.function(*given, _Beside(mesh)), given)
            for slope, one in zip(slopes, _wanted("normal.rsample"), strict=True):
                torch.testing.assert_close(_whole(slope), one, rtol=TOLERANCE, atol=TOLERANCE)


def test_gradients_by_parameters_of_different_placements() -> None:
    _wanted("normal.rsample")
    run_ranks(2, _check_mixed_placements)
