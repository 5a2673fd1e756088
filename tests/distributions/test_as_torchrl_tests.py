"""What users and tests of TorchRL's classes ask of them, asked of the classes here by swapping the names."""

import math
import pickle
import warnings
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import RelaxedOneHotCategorical
from torch.nn.functional import one_hot

from functional_dists.distributions import (
    Delta,
    IndependentNormal,
    LLMMaskedCategorical,
    MaskedCategorical,
    MaskedOneHotCategorical,
    OneHotCategorical,
    OneHotOrdinal,
    Ordinal,
    ReparamGradientStrategy,
    TanhDelta,
    TanhNormal,
    TruncatedNormal,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torchrl.modules import distributions as theirs
    from torchrl.modules.distributions.continuous import uniform_sample_tanhnormal

LOWS = [-torch.ones(3), -1, 3 * torch.tensor([-1.0, -2.0, -0.5]), -0.1]
HIGHS = [torch.ones(3), 1, 3 * torch.tensor([1.0, 2.0, 0.5]), 0.1]
VECTORS = [(torch.tensor([0.1, 10.0, 5.0]), torch.tensor([0.1, 10.0, 5.0])), (torch.zeros(7, 3), torch.ones(7, 3))]
SHAPES = [torch.Size([]), torch.Size([3]), torch.Size([3, 4])]
STRATEGIES = [ReparamGradientStrategy.PassThrough, ReparamGradientStrategy.RelaxedOneHot]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# ---------------------------------------------------------------------------------------------------------- continuous
@pytest.mark.parametrize("made", [TanhNormal, TruncatedNormal])
@pytest.mark.parametrize("low", LOWS, ids=str)
@pytest.mark.parametrize("high", HIGHS, ids=str)
@pytest.mark.parametrize("vectors", VECTORS, ids=["(3,)", "(7, 3)"])
@pytest.mark.parametrize("upscale", [torch.ones(1), 3])
def test_draws_lie_within_the_bounds_and_are_scored(
    made: Any, low: Any, high: Any, vectors: tuple[Tensor, Tensor], upscale: Any
) -> None:
    dist = made(*vectors, upscale=upscale, low=low, high=high)
    assert dist.device == vectors[0].device
    for shape in SHAPES:
        value = dist.rsample(shape)
        assert value.shape == (*shape, *vectors[0].shape)
        assert ((value >= dist.low) & (value <= dist.high)).all()
        log_prob = dist.log_prob(value)
        assert log_prob.shape == (*shape, *vectors[0].shape[:-1])
        assert log_prob.isfinite().all()
    for outside in (dist.low - 1e-2, dist.high + 1e-2):
        assert not dist.log_prob(outside.expand(*dist.batch_shape, *dist.event_shape)).isfinite().any()
    assert dist.deterministic_sample.shape == dist.mode.shape == vectors[0].shape


@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (-3.0, 0.5)])
def test_modes_of_close_locations_are_close(bounds: tuple[float, float]) -> None:
    loc = torch.randn(10) + torch.zeros(100, 10)
    dist = TanhNormal(loc, 0.5, low=bounds[0], high=bounds[1], event_dims=0)
    assert dist.get_mode().std(0).max() == 0
    nearby = TanhNormal(loc + 1e-3 * torch.randn(100, 10), 0.5, low=bounds[0], high=bounds[1], event_dims=0)
    assert nearby.get_mode().std(0).max() < 0.1
    for offset in (-1e-3, 1e-3):
        beside = (dist.mode + offset).clamp(*bounds)
        assert (dist.log_prob(dist.mode) >= dist.log_prob(beside)).all()


@pytest.mark.parametrize("event_dims", [0, 1, 2])
def test_event_dims(event_dims: int) -> None:
    loc = torch.randn(1, 2, 3, 4)
    dist = TanhNormal(loc, 1.0, event_dims=event_dims)
    value = dist.sample()
    assert value.shape == loc.shape
    assert dist.log_prob(value).shape == loc.shape[: 4 - event_dims]
    assert dist.entropy().shape == loc.shape[: 4 - event_dims]


@pytest.mark.parametrize("scale", [torch.ones(4), 0.5, torch.ones_like, partial(torch.full_like, fill_value=0.1)])
def test_scales_of_every_kind(scale: Any) -> None:
    loc = torch.randn(3, 4)
    for made in (IndependentNormal, TanhNormal):
        dist = made(loc, scale)
        wanted = scale(loc) if callable(scale) and not isinstance(scale, Tensor) else scale
        torch.testing.assert_close(dist.scale.expand(3, 4), torch.as_tensor(wanted).expand(3, 4))
        dist.update(loc + 1, scale)
        assert torch.equal(dist.loc, loc + 1)
        assert dist.sample().shape == loc.shape


def test_updates_keep_the_bounds_and_change_the_density() -> None:
    for made in (TanhNormal, TruncatedNormal):
        dist = made(torch.zeros(3), torch.ones(3), low=-2.0, high=torch.tensor([1.0, 2.0, 3.0]))
        dist.update(torch.ones(3), 2 * torch.ones(3))
        fresh = made(torch.ones(3), 2 * torch.ones(3), low=-2.0, high=torch.tensor([1.0, 2.0, 3.0]))
        value = torch.tensor([0.5, -0.5, 2.0])
        assert torch.equal(dist.log_prob(value), fresh.log_prob(value))
    point = Delta(torch.zeros(3))
    point.update(torch.ones(3))
    assert torch.equal(point.mode, torch.ones(3))
    squashed = TanhDelta(torch.zeros(3), low=-2.0)
    squashed.update(torch.ones(3))
    assert torch.equal(squashed.mode, TanhDelta(torch.ones(3), low=-2.0).mode)


def test_pairs_of_a_saturated_policy_agree_with_torchrl() -> None:
    loc, scale = torch.tensor([20.0, -20.0]), torch.full((2,), 0.1)
    for method in ("sample_and_log_prob", "rsample_and_log_prob"):
        pairs = []
        for made in (TanhNormal, theirs.TanhNormal):
            torch.manual_seed(1)
            pairs.append(getattr(made(loc, scale), method)((4,)))
        torch.testing.assert_close(pairs[0][0], pairs[1][0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(pairs[0][1], pairs[1][1], rtol=1e-5, atol=1e-5)


def test_gradients_of_draws_and_scores_agree_with_torchrl() -> None:
    slopes = []
    for made in (TanhNormal, theirs.TanhNormal):
        torch.manual_seed(1)
        loc, scale = torch.tensor([0.3, -0.2], requires_grad=True), torch.tensor([0.5, 0.8], requires_grad=True)
        dist = made(loc, scale, low=-2.0, high=3.0)
        value = dist.rsample((10,))
        slopes.append(torch.autograd.grad((value.sum() + dist.log_prob(value.detach()).sum()), (loc, scale)))
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-4, atol=1e-4)


def test_uniform_draws_between_the_bounds() -> None:
    dist = TanhNormal(torch.zeros(3), torch.ones(3), low=-2.0, high=torch.tensor([1.0, 2.0, 3.0]))
    value = uniform_sample_tanhnormal(dist, (500,))
    assert value.shape == (500, 3)
    torch.testing.assert_close(value.mean(0), (dist.high + dist.low) / 2, atol=0.4, rtol=0.0)


@pytest.mark.parametrize("tolerance", [1e-4, 1e-2])
def test_points_are_met_to_the_tolerance(tolerance: float) -> None:
    point = torch.randn(1000, 4)
    dist = Delta(point, atol=tolerance, rtol=tolerance)
    assert dist.log_prob(dist.mode).shape == (1000,)
    assert (dist.log_prob(point + tolerance / 2) == 0).all()
    assert (dist.log_prob(point + 10 * tolerance * (1 + point.abs())) == -math.inf).all()
    assert torch.equal(dist.sample(), point)
    assert dist.sample((3, 2)).shape == (3, 2, 1000, 4)


# ------------------------------------------------------------------------------------------------------------ discrete
def masked(made: Any, logits: Tensor, *, sparse: bool, by_logits: bool, neg_inf: float = -math.inf) -> Any:
    """A distribution that allows all outcomes but the second."""
    allowed = torch.tensor([True, False, True, True])
    table = {"logits": logits} if by_logits else {"probs": logits.softmax(-1)}
    if not sparse:
        return made(**table, mask=allowed.expand(logits.shape), neg_inf=neg_inf)
    return made(**table, indices=torch.tensor([0, 2, 3]).expand(*logits.shape[:-1], 3), neg_inf=neg_inf)


@pytest.mark.parametrize("made", [MaskedCategorical, MaskedOneHotCategorical])
@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("by_logits", [True, False])
@pytest.mark.parametrize("neg_inf", [-math.inf, -10.0])
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_masked_outcomes(made: Any, sparse: bool, by_logits: bool, neg_inf: float, batch: tuple[int, ...]) -> None:
    logits = (torch.randn(*batch, 4) / 100).requires_grad_()
    dist = masked(made, logits, sparse=sparse, by_logits=by_logits, neg_inf=neg_inf)
    assert dist.num_samples == 4
    value = dist.sample((2000,))
    index = value.argmax(-1) if made is MaskedOneHotCategorical else value
    assert index.shape == (2000, *batch)
    assert not (index == 1).any()
    log_prob = dist.log_prob(value)
    assert log_prob.isfinite().all()
    wrong = torch.ones_like(index)
    assert (dist.log_prob(one_hot(wrong, 4) if made is MaskedOneHotCategorical else wrong) == neg_inf).all()
    rates = one_hot(index, 4).float().mean(0)
    torch.testing.assert_close(rates, torch.tensor([1.0, 0.0, 1.0, 1.0]).expand(*batch, 4) / 3, atol=0.05, rtol=0.0)
    torch.testing.assert_close(dist.entropy().detach(), torch.full(batch, math.log(3)), atol=1e-3, rtol=0.0)
    assert dist.probs.shape == dist.logits.shape == (*batch, 3 if sparse else 4)
    log_prob[0].sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad.ne(0).any()


@pytest.mark.parametrize("use_cross_entropy", [True, False])
@pytest.mark.parametrize("batch", [(), (5,), (5, 2)])
def test_listed_outcomes_are_drawn_and_scored_as_torchrl_does(use_cross_entropy: bool, batch: tuple[int, ...]) -> None:
    logits = torch.randn(*batch, 9)
    indices = torch.rand(*batch, 9).argsort(-1)[..., :5]
    indices[..., 3] = -1
    pair = [
        module(logits, indices=indices, padding_value=-1, use_cross_entropy=use_cross_entropy)
        for module in (MaskedCategorical, theirs.MaskedCategorical)
    ]
    for attribute in ("probs", "logits", "mode", "num_samples", "padding_value", "padding_side", "batch_shape"):
        ours, other = (getattr(dist, attribute) for dist in pair)
        if isinstance(other, Tensor):
            torch.testing.assert_close(ours, other)
        else:
            assert ours == other
    for value in (pair[0].sample(), torch.full(batch, 3), torch.full(batch, 12)):
        torch.testing.assert_close(*(dist.log_prob(value) for dist in pair))
    assert (pair[0].log_prob(torch.full(batch, -1)) == -math.inf).all()  # the padding is no outcome
    drawn = pair[0].sample((200,))
    assert (drawn[..., None] == indices).any(-1).all()
    assert (drawn != -1).all()


@pytest.mark.parametrize("grad_method", STRATEGIES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["plain", "probs", "mask", "indices"])
def test_reparametrized_vectors(grad_method: ReparamGradientStrategy, shape: torch.Size, kind: str) -> None:
    logits = torch.randn(1, 10, requires_grad=True)
    mask = torch.ones(1, 10, dtype=torch.bool)
    mask[0, 4] = False
    options: dict[str, dict[str, Any]] = {
        "plain": {"logits": logits},
        "probs": {"probs": logits.softmax(-1)},
        "mask": {"logits": logits, "mask": mask},
        "indices": {"logits": logits, "indices": torch.tensor([[0, 1, 2, 3, 5, 6, 7, 8, 9]])},
    }
    made = OneHotCategorical if kind in ("plain", "probs") else MaskedOneHotCategorical
    dist = made(**options[kind], grad_method=grad_method)
    value = dist.rsample(shape)
    assert value.shape == (*shape, 1, 10)
    assert value.dtype == logits.dtype
    assert ((value == 0) | (value == 1)).all()
    assert (value.sum(-1) == 1).all()
    assert dist.log_prob(value.detach()).isfinite().all()
    weight = torch.randn(10)
    slope = torch.autograd.grad((value * weight).sum(), logits, retain_graph=True)[0]
    assert slope.isfinite().all()
    assert slope.ne(0).any()
    if kind in ("mask", "indices"):
        assert slope[0, 4] == 0
    again, log_prob = dist.rsample_and_log_prob(shape)
    torch.testing.assert_close(log_prob, dist.log_prob(again.detach()))


def test_gradients_of_reparametrized_vectors() -> None:
    """Of probabilities as in TorchRL; of relaxed draws as in PyTorch, as TorchRL overwrites what autograd has kept."""
    logits, weight = torch.randn(4), torch.randn(4)

    def slope(made: Any, **options: Any) -> Tensor:
        table = logits.clone().requires_grad_()
        value = made(logits=table, **options).rsample((40_000,))
        return torch.autograd.grad((value * weight).sum(-1).mean(), table)[0]

    torch.testing.assert_close(slope(OneHotCategorical), slope(theirs.OneHotCategorical))
    relaxed = slope(partial(RelaxedOneHotCategorical, torch.tensor(1.0)))
    for strategy in (ReparamGradientStrategy, theirs.discrete.ReparamGradientStrategy):
        got = slope(OneHotCategorical, grad_method=strategy.RelaxedOneHot)
        torch.testing.assert_close(got, relaxed, atol=5e-3, rtol=0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1), (10, 10), (5, 10, 20)])
def test_shapes_of_ordinals(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    scores = torch.testing.make_tensor(shape, dtype=dtype, device="cpu")
    assert Ordinal(scores=scores).sample().shape == shape[:-1]
    assert OneHotOrdinal(scores=scores).sample().shape == shape
    assert (Ordinal(scores=scores).sample((10,)) < shape[-1]).all()
    torch.testing.assert_close(Ordinal(scores).probs, theirs.Ordinal(scores).probs)
    torch.testing.assert_close(Ordinal(scores).entropy(), theirs.Ordinal(scores).entropy())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("made", [Ordinal, OneHotOrdinal])
def test_gradients_of_ordinals_with_the_largest_scores(made: Any, dtype: torch.dtype) -> None:
    limits = torch.finfo(dtype)
    scores = torch.tensor([[1.0, 0.0, limits.max], [1.0, 0.0, limits.min]], dtype=dtype, requires_grad=True)
    dist = made(scores=scores)
    dist.log_prob(dist.sample()).sum().backward()
    assert scores.grad is not None
    assert not scores.grad.isnan().any()


def test_an_ordinal_learns_a_target() -> None:
    scores = torch.ones(5, requires_grad=True)
    optimizer = torch.optim.Adam([scores], lr=0.1)
    for _ in range(20):
        dist = Ordinal(scores=scores)
        value = dist.sample((20,))
        ((value - 2) ** 2 * dist.log_prob(value)).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert dist.probs.argmax() == 2


# -------------------------------------------------------------------------------------------------------------- tokens
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_masks_of_positions(batch: tuple[int, ...]) -> None:
    logits = torch.randn(*batch, 10, 50, requires_grad=True)
    mask = torch.ones(*batch, 10, dtype=torch.bool)
    mask[..., :5] = False
    tokens = torch.randint(0, 50, (*batch, 10)).masked_fill(~mask, -100)
    ours, other = (module(logits=logits, mask=mask) for module in (LLMMaskedCategorical, theirs.LLMMaskedCategorical))
    assert ours.position_level_masking
    log_prob = ours.log_prob(tokens)
    torch.testing.assert_close(log_prob, other.log_prob(tokens))
    assert (log_prob[..., :5] == 0).all()
    assert torch.equal(ours.mode[mask], other.mode[mask])
    torch.testing.assert_close(ours.entropy()[mask], other.entropy()[mask])
    assert ours.sample((3,)).shape == (3, *batch, 10)
    slopes = [torch.autograd.grad(dist.log_prob(tokens).sum(), logits)[0] for dist in (ours, other)]
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("ignore_index", [-100, -1])
def test_masks_of_tokens(ignore_index: int) -> None:
    logits = torch.randn(2, 10, 50)
    mask = torch.ones(2, 10, 50, dtype=torch.bool)
    mask[0, :5, :25] = False
    tokens = torch.randint(25, 50, (2, 10))
    tokens[1, 0] = ignore_index
    ours, other = (
        module(logits, mask, ignore_index=ignore_index)
        for module in (LLMMaskedCategorical, theirs.LLMMaskedCategorical)
    )
    assert not ours.position_level_masking
    torch.testing.assert_close(ours.log_prob(tokens), other.log_prob(tokens))
    torch.testing.assert_close(ours.entropy(), other.entropy())
    assert torch.equal(ours.mode, other.mode)
    assert (ours.sample((40,))[:, 0, :5] >= 25).all()
    tokens[0, 0] = 3
    assert ours.log_prob(tokens)[0, 0] == -math.inf
    plain = MaskedCategorical(logits, mask=mask)
    torch.testing.assert_close(plain.log_prob(tokens.clamp(min=0))[0], ours.log_prob(tokens)[0])


@pytest.mark.parametrize("made", [TanhNormal, IndependentNormal, TruncatedNormal])
def test_pickles(made: Any) -> None:
    dist = pickle.loads(pickle.dumps(made(torch.zeros(2, 3), torch.ones(3))))
    assert dist.sample().shape == (2, 3)
    dist.update(torch.ones(2, 3), torch.ones(3))
    assert torch.equal(dist.loc, torch.ones(2, 3))
