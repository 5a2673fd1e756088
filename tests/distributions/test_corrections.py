"""What TorchRL's classes get wrong, right here; their own figures stand beside ours where they are cheap to get."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from mpmath import mp
from torch import Tensor
from torch._dynamo.testing import CompileCounter
from torch.distributions import kl_divergence
from torch.func import grad, hessian, jvp, vmap

from functional_dists import distributions as ours
from functional_dists import random, tanh_normal

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torchrl.modules import distributions as theirs

KEY = random.key(7)
LOC, SCALE = torch.tensor([[0.3, -1.1, 1.2], [0.1, 0.0, -0.4]]), torch.tensor([[0.5, 1.4, 0.8], [1.0, 0.3, 0.2]])
LOGITS = torch.tensor([[0.3, -1.1, 0.8, 0.1], [0.1, 0.0, -0.4, 2.0]])
MASK = torch.tensor([[True, False, True, True], [True, True, False, True]])
LISTED = torch.tensor([[0, 2, -1], [3, 1, 0]])
TOKENS = torch.tensor([[[0.3, -1.1, 0.8, 0.1], [0.0, 1.0, 0.5, 0.2]], [[0.1, 0.0, -0.4, 2.0], [1.0, 0.0, 0.0, 1.0]]])
POSITIONS = torch.tensor([[True, False], [True, True]])

# name -> a distribution of a batch of two; of a tensor that a test may differentiate, map over and compile with
MADE: dict[str, Callable[[Tensor], Any]] = {
    "IndependentNormal": lambda x: ours.IndependentNormal(x[..., :3], SCALE[0]),
    "TanhNormal": lambda x: ours.TanhNormal(x[..., :3], SCALE[0], low=-2.0, high=3.0),
    "TruncatedNormal": lambda x: ours.TruncatedNormal(x[..., :3], SCALE[0], low=-2.0, high=3.0),
    "Delta": lambda x: ours.Delta(x),
    "TanhDelta": lambda x: ours.TanhDelta(x, low=-2.0, high=3.0),
    "OneHotCategorical": lambda x: ours.OneHotCategorical(x),
    "OneHotCategorical, probs": lambda x: ours.OneHotCategorical(probs=x.exp()),
    "OneHotCategorical, relaxed": lambda x: ours.OneHotCategorical(
        x, grad_method=ours.ReparamGradientStrategy.RelaxedOneHot
    ),
    "MaskedCategorical": lambda x: ours.MaskedCategorical(x, mask=MASK[0]),
    "MaskedCategorical, probs": lambda x: ours.MaskedCategorical(probs=x.exp(), mask=MASK[0]),
    "MaskedCategorical, indices": lambda x: ours.MaskedCategorical(x, indices=LISTED[0], padding_value=-1),
    "MaskedOneHotCategorical": lambda x: ours.MaskedOneHotCategorical(x, mask=MASK[0]),
    "MaskedOneHotCategorical, indices": lambda x: ours.MaskedOneHotCategorical(x, indices=LISTED[0], padding_value=-1),
    "Ordinal": lambda x: ours.Ordinal(x),
    "OneHotOrdinal": lambda x: ours.OneHotOrdinal(x),
    "LLMMaskedCategorical": lambda x: ours.LLMMaskedCategorical(x, torch.ones(x.shape[:-1], dtype=torch.bool)),
    "LLMMaskedCategorical, tokens": lambda x: ours.LLMMaskedCategorical(x, MASK[0].expand(x.shape)),
}


def raises(function: Callable[[], Any]) -> bool:
    try:
        function()
    except Exception:
        return True
    return False


# ----------------------------------------------------------------------------------------------------- squashed normals
def squashed_density(y: float, loc: float, scale: float) -> float:
    with mp.workdps(50):
        x = mp.atanh(mp.mpf(y))
        return float(mp.log(mp.npdf(x, loc, mp.mpf(scale))) - mp.log(1 - mp.mpf(y) ** 2))


def test_density_next_to_a_bound_and_beyond() -> None:
    dist = ours.TanhNormal(torch.zeros(1), torch.ones(1))
    value = torch.tensor([0.9999999])
    assert dist.log_prob(value).item() == pytest.approx(squashed_density(value.item(), 0, 1), rel=1e-6)
    assert dist.log_prob(value).item() == pytest.approx(-20.26, abs=0.01)
    assert dist.log_prob(torch.tensor([1.5])).item() == -math.inf
    assert theirs.TanhNormal(torch.zeros(1), torch.ones(1)).log_prob(value).item() == pytest.approx(-14.07, abs=0.01)


def test_density_of_a_saturated_action() -> None:
    """The pair is scored from the noise; the stored float alone has the exact density of that float."""
    dist = ours.TanhNormal(torch.full((1,), 10.0), torch.full((1,), 0.1))
    value, joint = dist.sample_and_log_prob((2000,), key=KEY)
    assert joint.mean().item() == pytest.approx(dist.entropy().neg().item(), rel=0.01)
    assert joint.mean().item() == pytest.approx(19.5, abs=0.5)
    assert (value < 1).all()
    stored = value[0, 0].item()
    assert dist.log_prob(value[0]).item() == pytest.approx(squashed_density(stored, 10, dist.scale.item()), rel=1e-5)
    pre = tanh_normal.sample_pretanh(KEY, *dist.params, sample_shape=(2000,))
    assert torch.equal(tanh_normal.squash(pre, -1.0, 1.0), value)
    torch.testing.assert_close(tanh_normal.log_prob_pretanh(*dist.params, pre), joint, rtol=1e-4, atol=1e-4)


def test_locations_are_scaled_and_not_moved() -> None:
    exact = 5 * math.tanh(2)
    assert exact == pytest.approx(4.8201, abs=1e-4)
    ten = torch.tensor([10.0])
    assert ours.IndependentNormal(ten, 1.0, tanh_loc=True).mean.item() == pytest.approx(exact, rel=1e-6)
    bounded = {"tanh_loc": True, "low": -2.0, "high": 3.0}
    assert ours.TanhNormal(ten, 1.0, **bounded).loc.item() == pytest.approx(exact, rel=1e-6)
    assert ours.TruncatedNormal(ten, 1.0, **bounded).loc.item() == pytest.approx(exact, rel=1e-6)
    assert theirs.IndependentNormal(ten, 1.0, tanh_loc=True).mean.item() == 10
    assert theirs.TanhNormal(ten, 1.0, **bounded).loc.item() == pytest.approx(5.32, abs=0.01)


def test_support_of_a_squashed_normal() -> None:
    dist = ours.TanhNormal(LOC, SCALE, low=-2.0, high=3.0)
    assert dist.support.check(torch.tensor([[0.0, 2.9, -1.9], [0.0, 3.1, 0.0]])).tolist() == [True, False]
    assert raises(lambda: theirs.TanhNormal(LOC, SCALE).support)


@pytest.mark.parametrize("name", ["IndependentNormal", "TanhNormal", "TruncatedNormal", "TanhDelta"])
def test_cdf_and_icdf_of_events(name: str) -> None:
    dist = MADE[name](LOC)
    share = torch.tensor([0.1, 0.5, 0.9])
    quantile = dist.icdf(share)
    assert quantile.shape == dist.cdf(quantile).shape == (2, 3)
    if name == "TanhDelta":
        assert (dist.cdf(quantile) == 1).all()
    else:
        torch.testing.assert_close(dist.cdf(quantile), share.expand(2, 3), rtol=1e-5, atol=1e-6)


def test_mode_and_moments_of_a_squashed_normal() -> None:
    dist = ours.TanhNormal(torch.tensor([0.4], dtype=torch.float64), 0.6)
    with mp.workdps(30):
        loc, scale = mp.mpf("0.4"), mp.mpf(dist.scale.item())
        mean = mp.quad(lambda z: mp.tanh(loc + scale * z) * mp.npdf(z), [-12, -4, 0, 4, 12])
        pre_mode = mp.findroot(lambda x: -(x - loc) / scale**2 + 2 * mp.tanh(x), loc)
    assert dist.mean.item() == pytest.approx(float(mean), rel=1e-12)
    assert dist.mode.item() == pytest.approx(float(mp.tanh(pre_mode)), rel=1e-12)
    assert torch.equal(dist.get_mode(), dist.mode)


# ---------------------------------------------------------------------------------------------------- truncated normals
def truncated(loc: Tensor) -> Any:
    return ours.TruncatedNormal(loc, torch.full_like(loc, 0.5))


def test_a_window_in_the_tail() -> None:
    loc, value = torch.tensor([4.0], dtype=torch.float64), torch.tensor([0.5], dtype=torch.float64)
    with mp.workdps(40):
        log_mass = mp.log(mp.ncdf(-6) - mp.ncdf(-10))
        shift = (mp.npdf(-6) - mp.npdf(-10)) / mp.exp(log_mass)  # of the standardized mean, below 0
        mean = 4 - shift / 2
        ends = (-10 * mp.npdf(-10) + 6 * mp.npdf(-6)) / mp.exp(log_mass)
        entropy = mp.log(mp.sqrt(2 * mp.pi * mp.e) / 2) + log_mass + ends / 2
        log_prob = mp.log(2 * mp.npdf(-7)) - log_mass
        slope = (mp.mpf("0.5") - 4) / mp.mpf("0.25") + shift / mp.mpf("0.5")
    for exact, figure in ((log_prob, -3.989), (mean, 0.9208), (entropy, -1.536), (slope, -1.683)):
        assert float(exact) == pytest.approx(figure, abs=1e-3)
    dist = truncated(loc)
    assert dist.log_prob(value).item() == pytest.approx(float(log_prob), rel=1e-10)
    assert dist.mean.item() == pytest.approx(float(mean), rel=1e-10)
    assert dist.entropy().item() == pytest.approx(float(entropy), rel=1e-10)
    assert grad(lambda x: truncated(x).log_prob(value))(loc).item() == pytest.approx(float(slope), rel=1e-10)
    single = truncated(loc.float())
    assert single.log_prob(value.float()).item() == pytest.approx(float(log_prob), rel=1e-5)
    assert single.mean.item() == pytest.approx(float(mean), rel=1e-6)
    assert theirs.TruncatedNormal(loc.float(), torch.tensor([0.5])).mean.item() == pytest.approx(3.997, abs=1e-3)


def test_draws_from_a_window_in_the_tail() -> None:
    loc = torch.tensor([4.0])
    value = truncated(loc).sample((20_000,), key=KEY)
    assert value.mean().item() == pytest.approx(0.9208, abs=2e-3)
    assert ((value > -1) & (value < 1)).all()
    # The mean of the pathwise gradients is the derivative of the mean.
    pathwise = grad(lambda x: truncated(x).rsample((20_000,), key=KEY).mean())(loc)
    of_mean = grad(lambda x: truncated(x).mean.sum())(loc)
    assert of_mean.item() == pytest.approx(0.0240, abs=1e-4)
    assert pathwise.item() == pytest.approx(of_mean.item(), rel=0.03)
    assert theirs.TruncatedNormal(loc, torch.tensor([0.5])).sample((50,)).eq(1).all()


# --------------------------------------------------------------------------------------------------------- categoricals
def test_a_row_that_allows_nothing() -> None:
    mask = MASK & torch.tensor([[True], [False]])
    for dist in (ours.MaskedCategorical(LOGITS, mask=mask), ours.MaskedCategorical(probs=LOGITS.exp(), mask=mask)):
        assert dist.sample(key=KEY)[1] == 0
        assert dist.probs[1].eq(0).all()
        assert dist.entropy()[1] == 0
        assert dist.log_prob(torch.zeros(2, dtype=torch.int64))[1] == -math.inf
        assert dist.entropy()[0].isfinite()
    slope = grad(lambda x: ours.MaskedCategorical(x, mask=mask).entropy().sum())(LOGITS)
    assert slope.isfinite().all()
    assert slope[1].eq(0).all()
    listed = ours.MaskedCategorical(LOGITS, indices=torch.tensor([[0, 2], [-1, -1]]), padding_value=-1)
    assert listed.sample(key=KEY)[1] == -1
    assert listed.entropy()[1] == 0
    assert raises(lambda: theirs.MaskedCategorical(LOGITS, mask=mask).sample())


def test_gradients_through_probabilities_and_divergences_are_finite() -> None:
    def by_probs(probs: Tensor) -> Tensor:
        dist = ours.MaskedCategorical(probs=probs, mask=MASK)
        return dist.log_prob(torch.tensor([0, 3])).sum() + dist.entropy().sum()

    probs = LOGITS.exp()
    slope = grad(by_probs)(probs)
    assert slope.isfinite().all()
    assert slope[~MASK].eq(0).all()
    step = 1e-3 * torch.eye(8).reshape(8, 2, 4)[0]
    wanted = (by_probs(probs.double() + step) - by_probs(probs.double() - step)) / 2e-3
    assert slope[0, 0].item() == pytest.approx(wanted.item(), rel=1e-3)
    with_zero = grad(by_probs)(torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.0, 0.2, 0.3, 0.5]]))
    assert with_zero.isfinite().all()

    def divergence(logits: Tensor) -> Tensor:
        p, q = (ours.MaskedCategorical(table, mask=MASK) for table in (logits, LOGITS))
        return kl_divergence(p, q).sum()

    slope = grad(divergence)(LOGITS + LOC.sum() * torch.arange(4.0))
    assert slope.isfinite().all()
    assert slope[~MASK].eq(0).all()


def test_lists_with_padding() -> None:
    listed: dict[str, Any] = {"indices": torch.tensor([3, 1, -1]), "padding_value": -1}
    padded = ours.MaskedCategorical(torch.zeros(4), **listed)
    assert padded.entropy().item() == pytest.approx(0.6931, abs=1e-4)
    assert theirs.MaskedCategorical(torch.zeros(4), **listed).entropy().isnan()
    kinds: tuple[tuple[Any, dict[str, Any]], ...] = (
        (ours.MaskedCategorical, {}),
        (ours.MaskedOneHotCategorical, {}),
        (ours.MaskedCategorical, {"padding_value": -1}),
    )
    for made, options in kinds:
        first, second = (made(torch.zeros(3), indices=torch.tensor(i), **options) for i in ([0, 1], [1, 2]))
        assert kl_divergence(first, second) == math.inf
        assert kl_divergence(first, first) == 0
    # Lists with other paddings, and a list and a mask, are compared by their outcomes.
    other = ours.MaskedCategorical(torch.zeros(4), indices=torch.tensor([1, 9, 3, 2]), padding_value=9)
    assert kl_divergence(padded, other).item() == pytest.approx(math.log(1.5))
    assert kl_divergence(other, padded) == math.inf
    by_mask = ours.MaskedCategorical(torch.zeros(4), mask=torch.tensor([False, True, False, True]))
    assert kl_divergence(padded, by_mask).item() == pytest.approx(0.0)
    with pytest.raises(NotImplementedError, match="vectors and integers"):
        kl_divergence(padded, ours.MaskedOneHotCategorical(torch.zeros(4), mask=torch.ones(4, dtype=torch.bool)))


def test_infinite_scores() -> None:
    dist = ours.Ordinal(torch.tensor([math.inf, 0.0, -math.inf]))
    assert theirs.Ordinal(torch.tensor([math.inf, 0.0, -math.inf])).probs.isnan().any()
    assert not dist.probs.isnan().any()
    torch.testing.assert_close(dist.probs, torch.tensor([0.5, 0.5, 0.0]))
    assert dist.entropy().item() == pytest.approx(math.log(2))


def test_vectors_are_one_hot_and_have_a_mean() -> None:
    ties = torch.tensor([1.0, 3.0, 3.0])
    allowed = torch.tensor([True, True, True])
    for dist in (ours.OneHotCategorical(ties), ours.MaskedOneHotCategorical(ties, mask=allowed)):
        assert dist.mode.tolist() == [0, 1, 0]
        torch.testing.assert_close(dist.mean, dist.probs)
        assert dist.event_shape == (3,)
    assert ours.OneHotOrdinal(torch.zeros(4)).mode.sum() == 1
    assert theirs.OneHotCategorical(ties).mode.tolist() == [0, 1, 1]
    assert theirs.OneHotCategorical(ties).mean.isnan()


@pytest.mark.usefixtures("without_kernels")  # which score one value of a row, to other last digits
@pytest.mark.parametrize("name", list(MADE))
def test_expand(name: str) -> None:
    dist = MADE[name](LOGITS)
    wide = dist.expand((5, 2))
    assert wide.batch_shape == (5, 2)
    assert wide.event_shape == dist.event_shape
    value = wide.sample(key=KEY)
    assert value.shape == (5, 2, *dist.event_shape)
    assert torch.equal(wide.log_prob(value), dist.log_prob(value))
    assert wide.log_prob(value).shape == wide.entropy().shape == (5, 2)


@pytest.mark.usefixtures("without_kernels")  # which score one value of a row, to other last digits
@pytest.mark.parametrize("name", list(MADE))
def test_more_draws_than_the_batch_has_are_scored(name: str) -> None:
    dist = MADE[name](LOGITS)
    value = dist.sample((5,), key=KEY)
    assert value.shape == (5, 2, *dist.event_shape)
    log_prob = dist.log_prob(value)
    assert log_prob.shape == (5, 2)
    assert torch.equal(log_prob[3], dist.log_prob(value[3]))
    assert log_prob.isfinite().all()


def test_draws_of_positions_and_tokens_are_scored() -> None:
    dist = ours.LLMMaskedCategorical(TOKENS, POSITIONS)
    value = dist.sample((5,), key=KEY)
    assert dist.log_prob(value).shape == (5, 2, 2)
    assert dist.log_prob(value)[:, 0, 1].eq(0).all()
    assert value[:, 0, 1].eq(-100).all()
    assert raises(lambda: theirs.LLMMaskedCategorical(TOKENS, POSITIONS).log_prob(value))


# ------------------------------------------------------------------------------------------ vmap, compile, derivatives
def all_of_it(name: str, x: Tensor, key: Tensor | None) -> dict[str, Tensor]:
    """Draw, score, and what else the class has."""
    dist = MADE[name](x)
    out = {"sample": dist.sample(key=key), "entropy": dist.entropy(), "mode": dist.mode}
    out["log_prob"] = dist.log_prob(out["sample"])
    out["sampled"], out["log_prob of it"] = dist.sample_and_log_prob(key=key)
    out["deterministic"] = dist.deterministic_sample
    if dist.has_rsample or "OneHot" in name:
        out["rsample"] = dist.rsample(key=key)
    if not name.startswith(("Masked", "LLM")) or "OneHot" in name:
        out["mean"] = dist.mean
    out["kl"] = kl_divergence(dist, MADE[name](x + 0.1)) if "Delta" not in name else kl_divergence(dist, MADE[name](x))
    return out


def assert_same(got: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert got.keys() == wanted.keys()
    for what, tensor in wanted.items():
        torch.testing.assert_close(got[what], tensor, rtol=1e-4, atol=1e-5, msg=lambda m, what=what: f"{what}: {m}")


@pytest.mark.parametrize("name", list(MADE))
def test_under_vmap(name: str) -> None:
    lanes = [all_of_it(name, LOGITS[i], KEY) for i in range(2)]
    wanted = {what: torch.stack([lane[what] for lane in lanes]) for what in lanes[0]}
    assert_same(vmap(lambda x: all_of_it(name, x, KEY))(LOGITS), wanted)
    drawn = vmap(lambda x: all_of_it(name, x, None), randomness="different")(LOGITS[:1].expand(50, 4))["sample"]
    assert "Delta" in name or drawn.unique(dim=0).shape[0] > 1


# Others share the code of these, and take 20 seconds each.
DISTINCT = ("TanhNormal", "MaskedCategorical", "LLMMaskedCategorical")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in DISTINCT else pytest.mark.slow) for name in MADE]
)
def test_compiled(name: str) -> None:
    torch._dynamo.reset()
    torch.distributions.kl._KL_MEMOIZE.clear()  # as in a process that has not taken a divergence yet
    compiled = torch.compile(all_of_it, fullgraph=True, backend="aot_eager")
    assert_same(compiled(name, LOGITS, KEY), all_of_it(name, LOGITS, KEY))
    torch._dynamo.reset()
    legacy = torch.compile(lambda x: MADE[name](x).sample((3,)), fullgraph=True, backend="aot_eager")
    assert legacy(LOGITS).shape == MADE[name](LOGITS).sample((3,)).shape


def test_vectors_have_no_divergence_from_integers() -> None:
    with pytest.raises(NotImplementedError, match="between vectors and integers"):
        kl_divergence(MADE["MaskedCategorical"](LOGITS), MADE["MaskedOneHotCategorical"](LOGITS))


@pytest.mark.parametrize("made", [ours.IndependentNormal, ours.TanhNormal, ours.TruncatedNormal])
def test_pathwise_draws_under_vmap(made: Any) -> None:
    def draw(loc: Tensor, key: Tensor | None = None) -> Tensor:
        return made(loc, SCALE[0]).rsample((4,), key=key)

    keys = random.split(KEY, 2)
    assert torch.equal(vmap(draw)(LOC, keys), torch.stack([draw(LOC[i], keys[i]) for i in range(2)]))
    slopes = vmap(grad(lambda loc, key: draw(loc, key).sum()))(LOC, keys)
    assert slopes.isfinite().all()
    assert slopes.ne(0).all()


@pytest.mark.parametrize("made", [ours.TanhNormal, ours.TruncatedNormal])
def test_tensor_bounds_under_vmap(made: Any) -> None:
    low, high = torch.tensor([[-1.0, -2.0, -3.0], [-0.5, -1.5, -4.0]]), torch.tensor([[1.0, 2.0, 3.0], [0.5, 1.5, 4.0]])

    def act(loc: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, ...]:
        dist = made(loc, SCALE[0], low=low, high=high)
        value = dist.rsample(key=KEY)
        return value, dist.log_prob(value), dist.mean

    lanes = [act(LOC[i], low[i], high[i]) for i in range(2)]
    for got, wanted in zip(vmap(act)(LOC, low, high), zip(*lanes, strict=True), strict=True):
        torch.testing.assert_close(got, torch.stack(wanted))


def test_derivatives_of_a_squashed_density() -> None:
    value = torch.tensor([0.2, -0.5, 0.7], dtype=torch.float64)

    def score(loc: Tensor) -> Tensor:
        return ours.TanhNormal(loc, SCALE[0].double()).log_prob(value)

    loc, direction = LOC[0].double(), torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    slope = grad(score)(loc)
    torch.testing.assert_close(jvp(score, (loc,), (direction,))[1], slope @ direction)
    torch.testing.assert_close(hessian(score)(loc), torch.diag(-1 / SCALE[0].double() ** 2))

    def of_draw(loc: Tensor) -> Tensor:
        return ours.TanhNormal(loc, SCALE[0].double()).rsample(key=KEY).sum()

    drawn = ours.TanhNormal(loc, SCALE[0].double()).rsample(key=KEY)
    torch.testing.assert_close(jvp(of_draw, (loc,), (direction,))[1], (1 - drawn**2) @ direction)
    torch.testing.assert_close(hessian(of_draw)(loc), torch.diag(-2 * drawn * (1 - drawn**2)))


BOUNDED: dict[str, Callable[[Tensor, float], Tensor]] = {
    "TanhNormal": lambda x, high: ours.TanhNormal(x, 1.0, high=high).log_prob(x.tanh()),
    "TruncatedNormal": lambda x, high: ours.TruncatedNormal(x, torch.ones_like(x), high=high).log_prob(x.tanh()),
    "TanhDelta": lambda x, high: ours.TanhDelta(x, high=high).mode,
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in DISTINCT else pytest.mark.slow) for name in BOUNDED]
)
def test_new_bounds_do_not_recompile(name: str) -> None:
    """A float costs one more graph when it first changes, and none after that."""
    torch._dynamo.reset()
    counter = CompileCounter()
    compiled = torch.compile(BOUNDED[name], fullgraph=True, backend=counter)
    for high in (1.0, 1.5):
        compiled(LOC, high)
    graphs = counter.frame_count
    assert graphs <= 2
    for high in (2.0, 2.5, 3.0, 7.25):
        torch.testing.assert_close(compiled(LOC, high), BOUNDED[name](LOC, high))
    assert counter.frame_count == graphs
    tensors = CompileCounter()
    torch._dynamo.reset()
    compiled = torch.compile(BOUNDED[name], fullgraph=True, backend=tensors)
    for high in (1.0, 1.5, 2.0):
        compiled(LOC, torch.tensor(high))
    assert tensors.frame_count == 1
