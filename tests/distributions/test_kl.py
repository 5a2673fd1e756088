"""`torch.distributions.kl_divergence` between the classes here and those of PyTorch and TorchRL that they stand for."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch import distributions as of_torch
from torch.distributions import kl_divergence
from torch.testing import assert_close

from functional_dists import (
    bind,
    categorical,
    independent_normal,
    llm_masked_categorical,
    normal,
    sparse_categorical,
    tanh_normal,
)
from functional_dists.distributions import (
    CompositeDistribution,
    IndependentNormal,
    LLMMaskedCategorical,
    MaskedCategorical,
    MaskedOneHotCategorical,
    OneHotCategorical,
    OneHotOrdinal,
    Ordinal,
    TanhNormal,
    TruncatedNormal,
    wrap,
)
from functional_dists.distributions.from_torch import as_family

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tensordict import TensorDict
    from torchrl.modules import distributions as of_torchrl

LOC, SCALE = torch.tensor([[0.3, -1.1, 1.2], [0.1, 0.0, -0.4]]), torch.tensor([[0.5, 1.4, 0.8], [1.0, 0.3, 0.2]])
LOC_2, SCALE_2 = LOC.flip(0), SCALE.flip(0)
MASK, ALL = torch.tensor([[True, False, True], [True, True, False]]), torch.ones(2, 3, dtype=torch.bool)
BOUNDS = [(-1.0, 1.0), (-2.0, 3.0), (-0.1, 0.3), (-0.7, 0.1)]


def independent(loc: Tensor, scale: Any, dims: int = 1) -> Any:
    return of_torch.Independent(of_torch.Normal(loc, scale), dims)


def squashed(low: float, high: float) -> Callable[[Tensor, Tensor], Any]:
    def made(loc: Tensor, scale: Tensor) -> Any:
        affine = of_torch.AffineTransform((high + low) / 2, (high - low) / 2)
        return of_torch.TransformedDistribution(independent(loc, scale), [of_torch.TanhTransform(), affine])

    return made


def of_logits(made: Any) -> Callable[[Tensor, Tensor], Any]:
    return lambda loc, scale: made(logits=loc)


# Of two parameters: the class here, and what it stands for.
PAIRS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "Normal": (lambda loc, scale: wrap(normal, loc, scale), of_torch.Normal),
    "IndependentNormal(event_dim=0)": (lambda *p: IndependentNormal(*p, event_dim=0), of_torch.Normal),
    "Independent(Normal)": (IndependentNormal, independent),
    "Independent(Normal, 2)": (lambda *p: wrap(normal, *p, event_dims=2), lambda *p: independent(*p, 2)),
    "Independent of a class here": (IndependentNormal, lambda *p: of_torch.Independent(wrap(normal, *p), 1)),
    "bound": (lambda loc, scale: wrap(bind(independent_normal, loc=loc), scale), independent),
    "TorchRL's normal": (IndependentNormal, of_torchrl.IndependentNormal),
    "Tanh": (
        TanhNormal,
        lambda *p: of_torch.TransformedDistribution(independent(*p), of_torch.TanhTransform(cache_size=1)),
    ),
    "Tanh of elements": (
        lambda *p: TanhNormal(*p, event_dims=0),
        lambda *p: of_torch.TransformedDistribution(of_torch.Normal(*p), [of_torch.TanhTransform()]),
    ),
    "Affine, Tanh, Affine with a negative scale": (
        lambda loc, scale: TanhNormal(1.0 + 2.0 * loc, 2.0 * scale, low=-2.0, high=3.0),
        lambda loc, scale: of_torch.TransformedDistribution(
            independent(-loc, scale),
            of_torch.ComposeTransform(
                [
                    of_torch.AffineTransform(-1.0, 2.0),
                    of_torch.IndependentTransform(of_torch.TanhTransform(), 1),
                    of_torch.AffineTransform(0.5, -2.5),
                ]
            ),
        ),
    ),
    "Affine": (
        lambda loc, scale: IndependentNormal(1.0 - 2.0 * loc, 2.0 * scale),
        lambda *p: of_torch.TransformedDistribution(independent(*p), [of_torch.AffineTransform(1.0, -2.0)]),
    ),
    **{
        f"Tanh on {bounds}": (lambda *p, b=bounds: TanhNormal(*p, low=b[0], high=b[1]), squashed(*bounds))
        for bounds in BOUNDS
    },
    **{
        f"TorchRL's TanhNormal on {bounds}": tuple(
            lambda *p, b=bounds, made=made: made(*p, low=b[0], high=b[1])
            for made in (TanhNormal, of_torchrl.TanhNormal)
        )
        for bounds in BOUNDS
    },
    "TorchRL's TruncatedNormal": (TruncatedNormal, of_torchrl.TruncatedNormal),
    "Categorical": (of_logits(lambda logits: wrap(categorical, logits)), of_logits(of_torch.Categorical)),
    "Categorical, masked": (
        of_logits(lambda logits: MaskedCategorical(logits, mask=ALL)),
        of_logits(of_torch.Categorical),
    ),
    "Categorical, listed": (
        of_logits(lambda logits: wrap(sparse_categorical, logits, torch.tensor([2, 0, 1]))),
        of_logits(of_torch.Categorical),
    ),
    "Categorical, tokens": (
        of_logits(lambda logits: LLMMaskedCategorical(logits, torch.tensor([True, True]))),
        of_logits(of_torch.Categorical),
    ),
    "OneHotCategorical": (of_logits(OneHotCategorical), of_logits(of_torch.OneHotCategorical)),
    "OneHotCategoricalStraightThrough": (
        of_logits(lambda logits: MaskedOneHotCategorical(logits, mask=ALL)),
        of_logits(of_torch.OneHotCategoricalStraightThrough),
    ),
    "TorchRL's OneHotCategorical": (of_logits(OneHotCategorical), of_logits(of_torchrl.OneHotCategorical)),
    "TorchRL's MaskedCategorical": tuple(
        of_logits(lambda logits, made=made: made(logits, mask=MASK))
        for made in (MaskedCategorical, of_torchrl.MaskedCategorical)
    ),
    "TorchRL's MaskedOneHotCategorical": tuple(
        of_logits(lambda logits, made=made: made(logits, mask=MASK))
        for made in (MaskedOneHotCategorical, of_torchrl.MaskedOneHotCategorical)
    ),
    "TorchRL's Ordinal": (lambda loc, _: Ordinal(loc), lambda loc, _: of_torchrl.Ordinal(loc)),
    "TorchRL's OneHotOrdinal": (lambda loc, _: OneHotOrdinal(loc), lambda loc, _: of_torchrl.OneHotOrdinal(loc)),
}


@pytest.mark.parametrize("name", list(PAIRS))
def test_is_that_of_two_classes_here_in_either_order(name: str) -> None:
    ours, other = PAIRS[name]
    p, q = (LOC, SCALE), (LOC_2, SCALE_2)
    wanted = kl_divergence(ours(*p), ours(*q))
    assert wanted.isfinite().all()
    assert (wanted > 0).all()
    assert_close(kl_divergence(ours(*p), other(*q)), wanted, rtol=1e-5, atol=1e-6)
    assert_close(kl_divergence(other(*p), ours(*q)), wanted, rtol=1e-5, atol=1e-6)
    for mixed in (kl_divergence(ours(*p), other(*p)), kl_divergence(other(*p), ours(*p))):
        assert_close(mixed, torch.zeros_like(mixed), rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("name", ["Normal", "Independent(Normal)", "Categorical", "OneHotCategorical"])
def test_is_that_of_two_classes_of_torch(name: str) -> None:
    ours, other = PAIRS[name]
    wanted = kl_divergence(other(LOC, SCALE), other(LOC_2, SCALE_2))
    assert_close(kl_divergence(ours(LOC, SCALE), other(LOC_2, SCALE_2)), wanted)
    assert_close(kl_divergence(other(LOC, SCALE), ours(LOC_2, SCALE_2)), wanted)


def test_is_infinite_where_the_support_is_missed() -> None:
    narrow, wide = TanhNormal(LOC, SCALE), squashed(-1.5, 1.0)(LOC, SCALE)
    assert (kl_divergence(wide, narrow) == math.inf).all()
    assert kl_divergence(narrow, wide).isfinite().all()
    masked, every = MaskedCategorical(LOC, mask=MASK), of_torch.Categorical(logits=LOC)
    assert (kl_divergence(every, masked) == math.inf).all()
    assert kl_divergence(masked, every).isfinite().all()
    listed = MaskedCategorical(LOC, indices=torch.tensor([[0, 2], [0, 1]]))
    assert (kl_divergence(every, listed) == math.inf).all()
    assert_close(kl_divergence(listed, every), kl_divergence(masked, every))
    some = of_torch.Categorical(logits=LOC.masked_fill(~MASK, -math.inf))
    assert (kl_divergence(wrap(categorical, LOC), some) == math.inf).all()
    assert_close(kl_divergence(masked, some), torch.zeros(2))


def test_positions_that_do_not_count_add_nothing() -> None:
    tokens = LLMMaskedCategorical(LOC, torch.tensor([True, False]))
    other = of_torch.Categorical(logits=LOC_2)
    wanted = llm_masked_categorical.kl((LOC, torch.tensor([True, False])), (LOC_2, torch.tensor([True, True])))
    assert_close(kl_divergence(tokens, other), wanted)
    assert kl_divergence(other, tokens)[1] == 0


MISFITS = {
    "different events": [
        (lambda: IndependentNormal(LOC, SCALE), lambda: of_torch.Normal(LOC, SCALE)),
        (lambda: wrap(normal, LOC, SCALE), lambda: independent(LOC, SCALE)),
        (lambda: IndependentNormal(LOC, SCALE), lambda: independent(LOC[:, :1], 1.0)),
        (lambda: TanhNormal(LOC, SCALE, event_dims=0), lambda: squashed(-1.0, 1.0)(LOC, SCALE)),
        (lambda: OneHotCategorical(LOC), lambda: of_torch.OneHotCategorical(logits=torch.zeros(2, 1))),
    ],
    "batches do not broadcast": [
        (lambda: wrap(normal, LOC, SCALE), lambda: of_torch.Normal(torch.zeros(4), 1.0)),
        (lambda: IndependentNormal(LOC, SCALE), lambda: independent(torch.zeros(3, 3), 1.0)),
        (lambda: MaskedCategorical(LOC, mask=MASK), lambda: of_torch.Categorical(logits=torch.zeros(3, 3))),
    ],
    "different numbers of outcomes": [
        (lambda: MaskedCategorical(LOC, mask=MASK), lambda: of_torch.Categorical(logits=torch.zeros(1))),
        (lambda: Ordinal(LOC), lambda: of_torch.Categorical(logits=torch.zeros(2, 4))),
    ],
}


@pytest.mark.parametrize("message", list(MISFITS))
def test_shapes_that_do_not_fit(message: str) -> None:
    for ours, other in MISFITS[message]:
        for pair in ((ours(), other()), (other(), ours())):
            with pytest.raises(ValueError, match=message):
                kl_divergence(*pair)


def test_a_batch_of_one_side_broadcasts() -> None:
    wanted = kl_divergence(independent(LOC, SCALE), independent(torch.zeros(3), 1.0))
    assert_close(kl_divergence(IndependentNormal(LOC, SCALE), independent(torch.zeros(3), 1.0)), wanted)
    prior = of_torch.Categorical(logits=torch.zeros(3))
    assert kl_divergence(MaskedCategorical(LOC, mask=MASK), prior).shape == (2,)


def test_what_is_not_recognised() -> None:
    unknown = [
        (IndependentNormal(LOC, SCALE), of_torch.Independent(of_torch.VonMises(LOC, SCALE), 1)),
        (wrap(normal, LOC, SCALE), of_torch.VonMises(LOC, SCALE)),
        (wrap(normal, LOC, SCALE), of_torch.LogNormal(LOC, SCALE)),
        (TanhNormal(LOC, SCALE), of_torch.Independent(of_torch.LogNormal(LOC, SCALE), 1)),
        (TanhNormal(LOC, SCALE), of_torch.TransformedDistribution(of_torch.Uniform(LOC, LOC + 1), [])),
        (TanhNormal(LOC, SCALE), independent(LOC, SCALE)),
        (OneHotCategorical(LOC), of_torch.Categorical(logits=LOC)),
        (MaskedCategorical(LOC, mask=MASK), of_torchrl.OneHotCategorical(LOC)),
        (wrap(categorical, LOC), of_torch.Independent(of_torch.Categorical(logits=LOC), 1)),
        (wrap(categorical, LOC), of_torchrl.MaskedCategorical(LOC, indices=torch.tensor([[0, 2], [0, 1]]))),
    ]
    for pair in unknown:
        for p, q in (pair, pair[::-1]):
            with pytest.raises(NotImplementedError):
                kl_divergence(p, q)


def test_derivatives_reach_both_sides() -> None:
    ours, other = (LOC.double().requires_grad_() for _ in range(2))
    kl_divergence(IndependentNormal(ours, 1.0), independent(other * 0.5, 2.0)).sum().backward()
    assert_close(ours.grad, (LOC.double() * 0.5) / 4)
    assert_close(other.grad, -(LOC.double() * 0.5) / 8)


def test_compiled() -> None:
    def through(loc: Tensor, scale: Tensor) -> list[Tensor]:
        found = []
        for name in (
            "Normal",
            "Independent(Normal)",
            "Tanh on (-2.0, 3.0)",
            "Categorical, masked",
            "OneHotCategorical",
        ):
            ours, other = PAIRS[name]
            found += [kl_divergence(ours(loc, scale), other(loc.flip(0), scale))]
            found += [kl_divergence(other(loc, scale), ours(loc.flip(0), scale))]
        return found

    torch._dynamo.reset()
    compiled = torch.compile(through, fullgraph=True, backend="aot_eager")(LOC, SCALE)
    for got, wanted in zip(compiled, through(LOC, SCALE), strict=True):
        assert_close(got, wanted)


def test_of_composites_of_both_kinds() -> None:
    given = TensorDict({"steer": {"loc": LOC, "scale": SCALE}, "gear": {"logits": LOC}}, [2])
    ours = CompositeDistribution(given, {"steer": IndependentNormal, "gear": categorical})
    mixed = CompositeDistribution(given * 0.5, {"steer": of_torchrl.IndependentNormal, "gear": of_torch.Categorical})
    same = CompositeDistribution(given * 0.5, {"steer": IndependentNormal, "gear": categorical})
    assert_close(kl_divergence(ours, mixed), kl_divergence(ours, same))


def test_bounds_that_an_affine_transform_rounded_are_the_same_bounds() -> None:
    for low, high in BOUNDS:
        ours = wrap(tanh_normal, LOC, SCALE, low, high)
        found = kl_divergence(ours, squashed(low, high)(LOC_2, SCALE_2))
        assert torch.equal(found, kl_divergence(IndependentNormal(LOC, SCALE), independent(LOC_2, SCALE_2)))


POSITIVE, REAL = torch.tensor([0.7, 2.5]), torch.tensor([-0.4, 1.3])
OF_TORCH = [
    of_torch.Bernoulli(logits=REAL),
    of_torch.Beta(POSITIVE, 1.5),
    of_torch.Cauchy(REAL, POSITIVE),
    of_torch.Chi2(POSITIVE),
    of_torch.Dirichlet(torch.stack([POSITIVE, POSITIVE.square()])),
    of_torch.Exponential(POSITIVE),
    of_torch.FisherSnedecor(POSITIVE, torch.tensor([1.5, 0.5])),
    of_torch.Gamma(POSITIVE, 1.5),
    of_torch.Geometric(logits=REAL),
    of_torch.Gumbel(REAL, POSITIVE),
    of_torch.HalfCauchy(POSITIVE),
    of_torch.HalfNormal(POSITIVE),
    of_torch.InverseGamma(POSITIVE, torch.tensor([1.5, 0.5])),
    of_torch.Kumaraswamy(POSITIVE, torch.tensor([1.5, 0.5])),
    of_torch.Laplace(REAL, POSITIVE),
    of_torch.LogNormal(REAL, POSITIVE),
    of_torch.LowRankMultivariateNormal(REAL, POSITIVE[:, None], POSITIVE),
    of_torch.MultivariateNormal(REAL, torch.diag(POSITIVE) + 0.1),
    of_torch.Pareto(POSITIVE, torch.tensor([1.5, 0.5])),
    of_torch.Poisson(POSITIVE),
    of_torch.StudentT(POSITIVE, REAL, 1.5),
    of_torch.Uniform(REAL, REAL + POSITIVE),
    of_torch.VonMises(REAL, POSITIVE),
    of_torch.Weibull(POSITIVE, torch.tensor([1.5, 0.5])),
]


@pytest.mark.parametrize("dist", OF_TORCH, ids=lambda dist: type(dist).__name__)
def test_a_distribution_of_torch_is_that_of_its_family(dist: of_torch.Distribution) -> None:
    ours = as_family(dist)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        value = dist.sample((5,))
    assert_close(ours.log_prob(value), dist.log_prob(value), rtol=2e-5, atol=2e-5)
    assert (ours.batch_shape, ours.event_shape) == (dist.batch_shape, dist.event_shape)
    if hasattr(ours.family, "kl"):
        none = torch.zeros(dist.batch_shape)
        assert_close(kl_divergence(ours, dist), none, rtol=0, atol=1e-6)
        assert_close(kl_divergence(dist, ours), none, rtol=0, atol=1e-6)


def test_pairs_of_different_families_are_those_of_torch() -> None:
    ours, theirs = wrap(normal, REAL, POSITIVE), of_torch.Normal(REAL, POSITIVE)
    other = of_torch.Laplace(-REAL, 2 * POSITIVE)
    assert_close(kl_divergence(ours, other), kl_divergence(theirs, other))
    assert_close(kl_divergence(other, ours), kl_divergence(other, theirs))
