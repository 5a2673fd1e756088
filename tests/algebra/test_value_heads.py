"""Value heads: targets against mpmath, exact means, and the balanced divergence against NumPy."""

import itertools
import math
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from torch.func import grad, vmap

from functional_dists import bind, categorical, divergence, hl_gauss, independent, normal, random, two_hot

FLOAT = torch.float64
BINS = torch.linspace(-20.0, 20.0, 255)
HEADS = [two_hot, hl_gauss]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("count", [2, 3, 254, 255])
@pytest.mark.parametrize("dtype", [torch.float32, FLOAT])
def test_equal_logits_and_symmetric_bins_have_the_mean_zero(head: Any, count: int, dtype: torch.dtype) -> None:
    half = torch.rand(count // 2, dtype=dtype).cumsum(0) * 1e3 + 0.1
    bins = torch.cat([-half.flip(0), half.new_zeros(count % 2), half])
    for level in (0.0, 0.3, -700.0):
        assert head.mean(torch.full((4, count), level, dtype=dtype), bins).eq(0).all()


@pytest.mark.parametrize("dtype", [torch.float32, FLOAT])
def test_the_mean_of_a_two_hot_target_is_the_target(dtype: torch.dtype) -> None:
    """The weights are rounded, so the error is that of the numbers of the bins."""
    bins = torch.sinh(torch.linspace(-8.0, 8.0, 41, dtype=dtype))
    value = torch.cat([bins, bins.nextafter(bins + 1)[:-1], bins.nextafter(bins - 1)[1:], torch.randn(200) * 100])
    value = value.to(dtype)
    weights = two_hot.encode(bins, value)
    assert weights.dtype == dtype
    assert ((weights != 0).sum(-1) <= 2).all()
    mean = (weights.double() * bins.double()).sum(-1)
    size = (weights.double() * bins.double().abs()).sum(-1)
    assert ((mean - value.double()).abs() <= torch.finfo(dtype).eps * (size + value.double().abs())).all()
    torch.testing.assert_close(weights.double().sum(-1), torch.ones(len(value), dtype=FLOAT), rtol=1e-7, atol=0.0)


def test_two_hot_beyond_the_ends_and_on_a_bin() -> None:
    bins = torch.tensor([-1.0, 0.0, 2.0])
    value = torch.tensor([-math.inf, -9.0, -1.0, 0.0, 2.0, 3e38, math.inf])
    assert two_hot.encode(bins, value).argmax(-1).tolist() == [0, 0, 0, 1, 2, 2, 2]
    assert (two_hot.encode(bins, value).amax(-1) == 1).all()
    assert two_hot.encode(bins, torch.tensor(math.nan)).isnan().all()
    slope = vmap(grad(lambda x: two_hot.encode(bins, x)[0]))(torch.tensor([-math.inf, -9.0, -0.5, 1.0, 9.0]))
    assert slope.tolist() == [0.0, 0.0, -1.0, 0.0, 0.0]
    by_bins = torch.func.jacrev(lambda b: two_hot.encode(b, torch.tensor([9.0, math.inf])))(bins)
    assert (by_bins == 0).all()


@pytest.mark.parametrize("head", HEADS)
def test_the_score_is_minus_the_cross_entropy(head: Any) -> None:
    logits = torch.randn(6, 255, dtype=FLOAT)
    value = torch.linspace(-25.0, 25.0, 6, dtype=FLOAT)
    target = head.encode(BINS.double(), value)
    wanted = -torch.nn.functional.cross_entropy(logits, target, reduction="none")
    torch.testing.assert_close(head.log_prob(logits, BINS, value), wanted, rtol=1e-12, atol=0.0)
    slopes = grad(lambda x: head.log_prob(x, BINS, value).sum())(logits)
    torch.testing.assert_close(slopes, target - logits.softmax(-1), rtol=1e-9, atol=1e-12)


def test_bins_without_probability() -> None:
    logits, bins = torch.tensor([0.0, 0.0, -math.inf]), torch.tensor([-1.0, 0.0, 1.0])
    assert two_hot.log_prob(logits, bins, -0.5) == pytest.approx(-math.log(2))
    assert grad(lambda x: two_hot.log_prob(x, bins, -0.5))(logits).isfinite().all()
    assert two_hot.log_prob(logits, bins, 0.5) == -math.inf
    slopes = grad(two_hot.log_prob, argnums=(0, 2))(logits, bins, torch.tensor(0.5))
    assert all((slope == 0).all() for slope in slopes)
    assert (two_hot.sample(random.key(0), logits, bins, sample_shape=100) < 1).all()


def _histogram(bins: list[float], value: float, sigma: float) -> list[float]:
    mpmath.mp.dps = 800  # differences of cdfs cancel in the upper tail
    exact = [mpmath.mpf(b) for b in bins]
    middle = [(a + b) / 2 for a, b in itertools.pairwise(exact)]
    edges = [2 * exact[0] - middle[0], *middle, 2 * exact[-1] - middle[-1]]

    def above(edge: Any) -> Any:
        return mpmath.erfc((edge - mpmath.mpf(value)) / mpmath.mpf(sigma) / mpmath.sqrt(2)) / 2

    masses = [a - b for a, b in itertools.pairwise(map(above, edges))]
    total = sum(masses)
    return [float(mass / total) for mass in masses]


@pytest.mark.parametrize("sigma", [0.02, 0.3, 2.0])
def test_hl_gauss_against_mpmath(sigma: float) -> None:
    """The far tails of the histogram too, which plain differences of cdfs lose; values beyond the support too."""
    bins = torch.tensor([-1.0, -0.7, -0.4, 0.0, 0.1, 0.6, 1.0], dtype=FLOAT)
    values = [-1.9, -1.0, -0.05, 0.0, 0.3, 1.0, 1.4]
    found = hl_gauss.encode(bins, torch.tensor(values, dtype=FLOAT), sigma=sigma)
    wanted = torch.tensor([_histogram(bins.tolist(), value, sigma) for value in values], dtype=FLOAT)
    counts = wanted > 1e-300  # smaller ones are subnormal numbers
    assert ((found - wanted).abs()[counts] <= 2e-12 * wanted[counts]).all()
    assert (found[~counts] <= 1e-299).all()
    narrow = hl_gauss.encode(bins.float(), torch.tensor(values), sigma=sigma)
    exact = hl_gauss.encode(bins.float().double(), torch.tensor(values).double(), sigma=sigma)
    torch.testing.assert_close(narrow, exact.float(), rtol=1.2e-7, atol=1e-44)


def test_sigma() -> None:
    bins = torch.linspace(-1.0, 1.0, 5)
    assert hl_gauss.encode(bins, 0.2).equal(hl_gauss.encode(bins, 0.2, sigma=0.375))
    value, sigma = torch.tensor([0.2, 0.4]), torch.tensor([0.1, 0.5])
    each = torch.stack([hl_gauss.encode(bins, v, sigma=float(s)) for v, s in zip(value, sigma, strict=True)])
    torch.testing.assert_close(hl_gauss.encode(bins, value, sigma=sigma), each)
    wide = bind(hl_gauss, sigma=0.5)
    assert wide.log_prob(torch.zeros(5), bins, 0.3) == hl_gauss.log_prob(torch.zeros(5), bins, 0.3, sigma=0.5)
    with pytest.raises(ValueError, match="sigma must be positive"):
        hl_gauss.encode(bins, 0.2, sigma=0.0)
    with pytest.raises(ValueError, match="sigma of shape"):
        hl_gauss.encode(bins, value, sigma=torch.ones(3))


@pytest.mark.parametrize("head", HEADS)
def test_gradients_far_beyond_the_support_are_finite(head: Any) -> None:
    value = torch.tensor([-1e30, -1e4, -20.5, 0.0, 20.5, 1e4, 1e30])
    slopes = vmap(grad(lambda x: head.log_prob(torch.zeros(255), BINS, x)))(value)
    assert slopes.isfinite().all()
    assert (head.encode(BINS, value).sum(-1) - 1).abs().max() < 1e-6


@pytest.mark.parametrize("head", HEADS)
def test_heads_say_what_is_wrong(head: Any) -> None:
    with pytest.raises(ValueError, match="finite numbers that ascend"):
        head.check(torch.zeros(2), torch.tensor([1.0, 1.0]))
    with pytest.raises(ValueError, match="finite numbers that ascend"):
        head.check(torch.zeros(1), torch.zeros(1))
    with pytest.raises(ValueError, match="logits must leave a category"):
        head.check(torch.full((2,), -math.inf), torch.tensor([0.0, 1.0]))
    with pytest.raises(ValueError, match="does not fit"):
        head.log_prob(torch.zeros(4, 3), torch.tensor([0.0, 1.0, 2.0]), torch.zeros(5))


# --------------------------------------------------------------------------------------------------------- balanced kl
def _kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    p, q = (np.exp(x) / np.exp(x).sum(-1, keepdims=True) for x in (p, q))
    return (p * (np.log(p) - np.log(q))).sum((-1, -2))


@pytest.mark.parametrize("free", [0.0, 1.0, 100.0])
def test_balanced_kl_against_numpy(free: float) -> None:
    family = independent(categorical)
    generator = torch.Generator().manual_seed(0)
    posterior, prior = (torch.randn(8, 3, 4, dtype=FLOAT, generator=generator) for _ in range(2))
    loss = divergence.balanced_kl(family, (posterior,), (prior,), dynamics=0.5, representation=0.2, free_nats=free)
    wanted = 0.7 * np.maximum(free, _kl(posterior.numpy(), prior.numpy()))
    np.testing.assert_allclose(loss.numpy(), wanted, rtol=1e-13)

    def of(p: Any, q: Any) -> Any:
        return divergence.balanced_kl(family, (p,), (q,), dynamics=0.5, representation=0.2, free_nats=free).sum()

    slopes = grad(of, argnums=(0, 1))(posterior, prior)
    p, q = posterior.softmax(-1), prior.softmax(-1)
    counts = torch.as_tensor(_kl(posterior.numpy(), prior.numpy()) > free)[:, None, None]
    torch.testing.assert_close(slopes[1], torch.where(counts, 0.5 * (q - p), 0.0))  # prior: the dynamics' weight
    ratio = p.log() - q.log()
    own = p * (ratio - (p * ratio).sum(-1, keepdim=True))
    torch.testing.assert_close(slopes[0], torch.where(counts, 0.2 * own, 0.0))  # posterior: that of the representation


def test_balanced_kl_of_other_families_and_in_transforms() -> None:
    params = {"loc": torch.zeros(5, 3), "scale": torch.ones(5, 3)}
    prior = normal.Params(torch.ones(5, 3), torch.ones(()))
    loss = divergence.balanced_kl(normal, params, prior, event_dims=1, free_nats=0.0)
    torch.testing.assert_close(loss, torch.full((5,), 1.1 * 1.5))

    def of(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        return divergence.balanced_kl(categorical, (p,), (q,), free_nats=0.0)

    p, q = torch.randn(4, 3), torch.randn(4, 3)
    torch.testing.assert_close(vmap(of)(p, q), of(p, q))
    torch.testing.assert_close(torch.compile(of, fullgraph=True, backend="aot_eager")(p, q), of(p, q))
    assert of(p * math.nan, q).isnan().all()
    with pytest.raises(NotImplementedError, match="no KL divergence"):
        divergence.balanced_kl(two_hot, (p, q), (p, q))
