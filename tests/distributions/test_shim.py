"""The objects are `torch.distributions.Distribution`s whose methods are the verbs."""

import copy
import math
import pickle
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter
from torch.distributions import Categorical, Distribution, Normal, constraints, kl_divergence
from torch.func import grad, hessian, jvp, vmap

from functional_dists import (
    bind,
    categorical,
    delta,
    independent_normal,
    llm_masked_categorical,
    masked_categorical,
    masked_one_hot_categorical,
    normal,
    one_hot_categorical,
    one_hot_ordinal,
    ordinal,
    random,
    sparse_categorical,
    tanh_delta,
    tanh_normal,
    truncated_normal,
)
from functional_dists.distributions import (
    Delta,
    FamilyDistribution,
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
    wrap,
)
from functional_dists.family import Real, verbs
from tests.families import BY_NAME, FAMILIES
from tests.test_support import parameters_of, values_for

LOC, SCALE = torch.tensor([[0.3, -1.1, 2.0], [0.1, 0.0, -0.4]]), torch.tensor([0.5, 1.4, 0.8])
LOGITS, MASK = torch.tensor([[0.3, -1.1, 0.8], [0.1, 0.0, -0.4]]), torch.tensor([True, False, True])
LISTED = torch.tensor([[2, 0], [0, 1]])
KEY = random.key(3)

# name -> (a distribution, the family that it stands for, the parameters)
OBJECTS: dict[str, tuple[FamilyDistribution, Any, tuple[Any, ...]]] = {
    "TanhNormal": (TanhNormal(LOC, SCALE, low=-2.0, high=3.0), tanh_normal, (LOC, SCALE, -2.0, 3.0)),
    "IndependentNormal": (IndependentNormal(LOC, SCALE), independent_normal, (LOC, SCALE)),
    "MaskedCategorical": (MaskedCategorical(LOGITS, mask=MASK), masked_categorical, (LOGITS, MASK)),
    "TruncatedNormal": (TruncatedNormal(LOC, SCALE, high=2.0), truncated_normal, (LOC, SCALE, -1.0, 2.0)),
    "Delta": (Delta(LOC), delta, (LOC,)),
    "TanhDelta": (TanhDelta(LOC, low=-2.0), tanh_delta, (LOC, -2.0, 1.0)),
    "OneHotCategorical": (OneHotCategorical(LOGITS), one_hot_categorical, (LOGITS,)),
    "MaskedOneHotCategorical": (
        MaskedOneHotCategorical(LOGITS, mask=MASK),
        masked_one_hot_categorical,
        (LOGITS, MASK),
    ),
    "Ordinal": (Ordinal(LOGITS), ordinal, (LOGITS,)),
    "OneHotOrdinal": (OneHotOrdinal(LOGITS), one_hot_ordinal, (LOGITS,)),
    "wrap(normal)": (wrap(normal, LOC, 1.0), normal, (LOC, 1.0)),
    "wrap(categorical)": (wrap(categorical, logits=LOGITS), categorical, (LOGITS,)),
    "wrap(sparse_categorical)": (wrap(sparse_categorical, LOGITS, LISTED), sparse_categorical, (LOGITS, LISTED)),
    "wrap(tanh_normal)": (
        wrap(tanh_normal, LOC, SCALE, event_dims=2),
        bind(tanh_normal, event_dims=2),
        (LOC, SCALE, -1.0, 1.0),
    ),
    "wrap(bound)": (wrap(bind(tanh_normal, low=-3.0), LOC, SCALE), tanh_normal, (LOC, SCALE, -3.0, 1.0)),
}
NAMES = list(OBJECTS)
DRAWS = ("sample", "rsample", "sample_and_log_prob", "rsample_and_log_prob")
PROPERTIES = {name: name for name in ("mean", "variance", "stddev", "mode", "median")}
PROPERTIES["deterministic_sample"] = "deterministic"


def parts(result: Any) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("name", NAMES)
def test_methods_are_the_verbs(name: str) -> None:
    dist, family, params = OBJECTS[name]
    assert isinstance(dist, Distribution)
    known = verbs(family)
    for method in DRAWS:
        if method in known:
            got, wanted = getattr(dist, method)((5,), key=KEY), known[method](KEY, *params, sample_shape=(5,))
            assert all(torch.equal(a, b) for a, b in zip(parts(got), parts(wanted), strict=True))
        else:
            with pytest.raises(NotImplementedError, match=method):
                getattr(dist, method)((5,), key=KEY)
    assert dist.has_rsample == ("rsample" in known and "OneHot" not in name)
    for attribute, verb_name in PROPERTIES.items():
        if verb_name == "deterministic" and name == "TruncatedNormal":
            assert torch.equal(dist.deterministic_sample, dist.mean)  # as TorchRL has it
        elif verb_name in known:
            assert torch.equal(getattr(dist, attribute), known[verb_name](*params))
        else:
            with pytest.raises(NotImplementedError, match=verb_name):
                getattr(dist, attribute)
    value = dist.sample((4,), key=KEY)
    assert value.shape == (4, *dist.batch_shape, *dist.event_shape)
    assert torch.equal(dist.log_prob(value), known["log_prob"](*params, value))
    assert dist.log_prob(value).shape == (4, *dist.batch_shape)
    assert torch.equal(dist.entropy(), known["entropy"](*params))
    assert dist.entropy().shape == dist.batch_shape
    for method in ("cdf", "icdf"):
        if method in known:
            inside = value if method == "cdf" else torch.rand(value.shape)
            assert torch.equal(getattr(dist, method)(inside), known[method](*params, inside))
        else:
            with pytest.raises(NotImplementedError, match=method):
                getattr(dist, method)(value)


def test_shapes_split_into_batch_and_event() -> None:
    shapes = {name: (tuple(d.batch_shape), tuple(d.event_shape)) for name, (d, _, _) in OBJECTS.items()}
    assert shapes == {
        "TanhNormal": ((2,), (3,)),
        "IndependentNormal": ((2,), (3,)),
        "MaskedCategorical": ((2,), ()),
        "TruncatedNormal": ((2,), (3,)),
        "Delta": ((2,), (3,)),
        "TanhDelta": ((2,), (3,)),
        "OneHotCategorical": ((2,), (3,)),
        "MaskedOneHotCategorical": ((2,), (3,)),
        "Ordinal": ((2,), ()),
        "OneHotOrdinal": ((2,), (3,)),
        "wrap(normal)": ((2, 3), ()),
        "wrap(categorical)": ((2,), ()),
        "wrap(sparse_categorical)": ((2,), ()),
        "wrap(tanh_normal)": ((), (2, 3)),
        "wrap(bound)": ((2,), (3,)),
    }
    assert TanhNormal(torch.zeros(()), 1.0).event_shape == ()
    with pytest.raises(ValueError, match="event_dims=2"):
        IndependentNormal(torch.zeros(()), 1.0, event_dim=2)
    with pytest.raises(ValueError, match=r"do not broadcast: loc \(3,\), scale \(4,\)"):
        TanhNormal(torch.zeros(3), torch.ones(4))


@pytest.mark.parametrize("name", NAMES)
def test_expand(name: str) -> None:
    dist = OBJECTS[name][0]
    wide = dist.expand((7, *dist.batch_shape))
    assert type(wide) is type(dist)
    assert wide.batch_shape == (7, *dist.batch_shape)
    assert wide.event_shape == dist.event_shape
    value = dist.sample((), key=KEY)
    assert torch.equal(wide.log_prob(value), dist.log_prob(value).expand(wide.batch_shape))
    assert wide.sample((2,), key=KEY).shape == (2, *wide.batch_shape, *wide.event_shape)


@pytest.mark.parametrize("name", NAMES)
def test_pickles_and_copies(name: str) -> None:
    dist = OBJECTS[name][0]
    for twin in (pickle.loads(pickle.dumps(dist)), copy.deepcopy(dist), copy.copy(dist)):
        assert torch.equal(twin.sample((3,), key=KEY), dist.sample((3,), key=KEY))
        assert twin.batch_shape == dist.batch_shape
        assert torch.equal(kl_divergence(dist, twin), torch.zeros(dist.batch_shape))


@pytest.mark.parametrize("name", NAMES)
def test_shows_its_parameters(name: str) -> None:
    dist, family, _ = OBJECTS[name]
    first = family.Params._fields[0]
    assert f"{first}: (2, 3)" in repr(dist)
    assert torch.equal(getattr(dist.params, first), LOC if first in ("loc", "param") else LOGITS)
    with pytest.raises(AttributeError, match="has no attribute nonsense"):
        dist.nonsense  # noqa: B018


# --------------------------------------------------------------------------------------------------------- randomness
def test_without_a_key_the_numbers_are_those_of_torch() -> None:
    def seeded(draw: Any) -> Tensor:
        torch.manual_seed(5)
        return draw((4,))

    wanted = seeded(Normal(LOC, SCALE).rsample)
    assert torch.equal(seeded(IndependentNormal(LOC, SCALE).rsample), wanted)
    assert torch.equal(seeded(IndependentNormal(LOC, SCALE).sample), wanted)
    torch.testing.assert_close(seeded(TanhNormal(LOC, SCALE).rsample), wanted.tanh(), rtol=1e-6, atol=1e-7)
    masked = MaskedCategorical(LOGITS, mask=MASK)
    assert torch.equal(seeded(masked.sample), seeded(masked.sample))
    assert not torch.equal(masked.sample((50,)), masked.sample((50,)))


@pytest.mark.parametrize("name", [name for name in NAMES if "Delta" not in name])
def test_a_generator_is_taken_and_the_global_one_left_alone(name: str) -> None:
    dist = OBJECTS[name][0]
    before = torch.get_rng_state()
    first, second = (dist.sample((9,), key=torch.Generator().manual_seed(1)) for _ in range(2))
    dist.sample((9,), key=KEY)
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(TypeError, match="key"):
        dist.sample((9,), key=3)  # type: ignore[arg-type]


# --------------------------------------------------------------------------------------------------------- transforms
def through_tanh(loc: Tensor, key: Tensor) -> tuple[Tensor, ...]:
    dist = TanhNormal(loc, SCALE, low=-2.0, high=3.0)
    value = dist.rsample(key=key)
    return (
        value,
        dist.log_prob(value),
        dist.entropy(),
        dist.mode,
        kl_divergence(dist, TanhNormal(loc, 1.0, low=-2.0, high=3.0)),
    )


def through_normal(loc: Tensor, key: Tensor) -> tuple[Tensor, ...]:
    dist = IndependentNormal(loc, torch.ones_like, tanh_loc=True)
    return (*dist.rsample_and_log_prob(key=key), dist.entropy(), dist.stddev)


def through_masked(logits: Tensor, key: Tensor) -> tuple[Tensor, ...]:
    dist = MaskedCategorical(logits, mask=MASK)
    value = dist.sample(key=key)
    return (
        value,
        dist.log_prob(value),
        dist.entropy(),
        dist.probs,
        kl_divergence(dist, MaskedCategorical(0 * logits, mask=MASK)),
    )


def through_probs(probs: Tensor, key: Tensor) -> tuple[Tensor, ...]:
    dist = MaskedCategorical(probs=probs.exp(), mask=MASK)
    return dist.sample(key=key), dist.entropy(), dist.mode


def through_indices(logits: Tensor, key: Tensor) -> tuple[Tensor, ...]:
    dist = MaskedCategorical(logits, indices=torch.tensor([2, 0, -1]), padding_value=-1)
    value, log_prob = dist.sample_and_log_prob(key=key)
    return value, log_prob, dist.logits.nan_to_num(neginf=0.0), dist.mode


def through_truncated(loc: Tensor, key: Tensor) -> tuple[Tensor, ...]:
    dist = TruncatedNormal(loc, SCALE, low=-2.0, high=3.0)
    value = dist.rsample(key=key)
    return value, dist.log_prob(value), dist.entropy(), dist.mean


def through_one_hot(logits: Tensor, key: Tensor) -> tuple[Tensor, ...]:
    dist = MaskedOneHotCategorical(logits, mask=MASK, grad_method=ReparamGradientStrategy.RelaxedOneHot)
    hard = OneHotCategorical(logits).sample(key=key)
    return dist.rsample(key=key), hard, dist.log_prob(hard).clamp(min=-9.0), OneHotCategorical(logits).stddev


def through_ordinal(scores: Tensor, key: Tensor) -> tuple[Tensor, ...]:
    dist = Ordinal(scores)
    value, log_prob = dist.sample_and_log_prob(key=key)
    return value, log_prob, dist.mean, dist.cdf(value), OneHotOrdinal(scores).entropy()


def through_delta(param: Tensor, key: Tensor) -> tuple[Tensor, ...]:
    dist = TanhDelta(param, low=-2.0)
    return dist.rsample(key=key), dist.log_prob(dist.mode), Delta(param).mean, Delta(param).entropy()


def through_wrap(loc: Tensor, key: Tensor) -> tuple[Tensor, ...]:
    dist = wrap(normal, loc, 1.0, event_dims=1)
    return dist.sample(key=key), dist.log_prob(loc), dist.expand((2,)).mean


THROUGH = [through_tanh, through_normal, through_masked, through_probs, through_indices, through_wrap]
THROUGH += [through_truncated, through_one_hot, through_ordinal, through_delta]


FIRST = [through_masked, through_wrap]  # the others share their code, and take 20 seconds each


@pytest.mark.parametrize(
    "function", [*FIRST, *(pytest.param(f, marks=pytest.mark.slow) for f in THROUGH if f not in FIRST)]
)
def test_inside_vmap_and_compile(function: Any) -> None:
    keys = random.split(KEY, 2)
    lanes = [function(LOC[i], keys[i]) for i in range(2)]
    wanted = tuple(torch.stack(part) for part in zip(*lanes, strict=True))
    for mapped in (vmap(function), torch.compile(vmap(function), fullgraph=True, backend="aot_eager")):
        torch._dynamo.reset()
        for got, want in zip(mapped(LOC, keys), wanted, strict=True):
            torch.testing.assert_close(got, want)
    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")(LOC[0], keys[0])
    for got, want in zip(compiled, lanes[0], strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("function", THROUGH)
def test_derivatives(function: Any) -> None:
    def total(x: Tensor) -> Tensor:
        return sum(part.sum() for part in function(x, KEY) if part.is_floating_point())

    x = LOC[0].double()
    slope = grad(total)(x)
    torch.testing.assert_close(jvp(total, (x,), (torch.ones_like(x),))[1], slope.sum())
    curvature = hessian(total)(x)
    step = 1e-5 * torch.eye(3, dtype=x.dtype)
    for i in range(3):
        torch.testing.assert_close(
            curvature[i], (grad(total)(x + step[i]) - grad(total)(x - step[i])) / 2e-5, rtol=1e-4, atol=1e-4
        )


def test_without_a_key_inside_vmap_and_compile() -> None:
    def draw(loc: Tensor) -> tuple[Tensor, Tensor]:
        return TanhNormal(loc, 1.0).rsample(), MaskedCategorical(loc, mask=MASK).sample((20,))

    same = LOC[:1].expand(2, 3)
    torch._dynamo.reset()
    for function in (
        vmap(draw, randomness="different"),
        torch.compile(vmap(draw, randomness="different"), fullgraph=True, backend="aot_eager"),
    ):
        actions, outcomes = function(same)
        assert not torch.equal(actions[0], actions[1])
        assert not torch.equal(outcomes[0], outcomes[1])
        assert (outcomes != 1).all()
    actions, _ = vmap(draw, randomness="same")(same)
    assert torch.equal(actions[0], actions[1])
    alone = torch.compile(draw, fullgraph=True, backend="aot_eager")
    assert not torch.equal(alone(LOC)[0], alone(LOC)[0])


def test_new_bounds_recompile_at_most_once() -> None:
    counter = CompileCounter()

    @torch.compile(fullgraph=True, backend=counter)
    def score(loc: Tensor, high: float) -> Tensor:
        return TanhNormal(loc, 1.0, high=high).log_prob(loc.tanh())

    torch._dynamo.reset()
    for high in (1.0, 1.5, 2.0, 2.5, 3.0):
        score(LOC, high)
    assert counter.frame_count <= 2


# --------------------------------------------------------------------------------------------------------- validation
@pytest.fixture
def _validation() -> Any:
    """PyTorch itself turns the default off once anything was compiled."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(True)
    yield
    Distribution.set_default_validate_args(before)


INVALID = {
    "scale": lambda **options: TanhNormal(LOC, -SCALE, **options),
    "loc": lambda **options: IndependentNormal(LOC * math.nan, 1.0, **options),
    "mask": lambda **options: MaskedCategorical(LOGITS, mask=torch.zeros(3, dtype=torch.bool), **options),
    "logits": lambda **options: MaskedCategorical(LOGITS * math.nan, mask=MASK, **options),
}


@pytest.mark.usefixtures("_validation")
@pytest.mark.parametrize("name", list(INVALID))
def test_parameters_are_checked(name: str) -> None:
    for options in ({}, {"validate_args": True}):
        with pytest.raises(ValueError, match=name):
            INVALID[name](**options)
    INVALID[name](validate_args=False)
    Distribution.set_default_validate_args(False)
    INVALID[name]()
    with pytest.raises(ValueError, match=name):
        INVALID[name](validate_args=True)


@pytest.mark.usefixtures("_validation")
def test_values_are_checked_on_demand() -> None:
    outside = torch.full((3,), 1.5)
    assert TanhNormal(LOC, SCALE).log_prob(outside).eq(-math.inf).all()
    with pytest.raises(ValueError, match="value"):
        TanhNormal(LOC, SCALE, validate_args=True).log_prob(outside)
    TanhNormal(LOC, SCALE, validate_args=True).log_prob(outside / 3)
    assert MaskedCategorical(LOGITS, mask=MASK).log_prob(torch.tensor(3)).eq(-math.inf).all()
    with pytest.raises(ValueError, match="value"):
        MaskedCategorical(LOGITS, mask=MASK, validate_args=True).log_prob(torch.tensor([3, 0]))


@pytest.mark.parametrize("bounds", [(1.0, 0.0), (0.5, 0.5), (torch.tensor([-1.0, 2.0, 0.0]), 1.0)], ids=str)
def test_bounds_out_of_order(bounds: Any) -> None:
    with pytest.raises(RuntimeError, match="high values must be strictly greater than low values"):
        TanhNormal(LOC, SCALE, low=bounds[0], high=bounds[1])


def test_arguments_that_exclude_each_other() -> None:
    for arguments in ({}, {"mask": MASK, "indices": torch.tensor([0, 2])}):
        with pytest.raises(ValueError, match="must be provided, but not both"):
            MaskedCategorical(LOGITS, **arguments)
    for tables in ({}, {"logits": LOGITS, "probs": LOGITS.exp()}):
        with pytest.raises(ValueError, match="Either `probs` or `logits` must be specified, but not both"):
            MaskedCategorical(**tables, mask=MASK)
    with pytest.raises(TypeError, match="mask must be a bool tensor"):
        MaskedCategorical(LOGITS, mask=MASK.to(torch.int8)).sample()
    with pytest.raises(TypeError, match="nonsense"):
        wrap(normal, LOC, 1.0, nonsense=3)


# ---------------------------------------------------------------------------------------------------------- attributes
def test_support_is_where_the_density_is() -> None:
    tanh = TanhNormal(LOC, SCALE, low=-2.0, high=3.0)
    assert tanh.support.check(torch.tensor([[-1.9, 0.0, 2.9], [-2.1, 0.0, 0.0]])).tolist() == [True, False]
    assert IndependentNormal(LOC, SCALE).support.check(LOC).tolist() == [True, True]
    masked = MaskedCategorical(LOGITS, mask=MASK)
    assert masked.support.check(torch.tensor([-1, 0, 2, 3])).tolist() == [False, True, True, False]
    assert masked.enumerate_support().tolist() == [[0, 0], [1, 1], [2, 2]]
    assert masked.enumerate_support(expand=False).tolist() == [[0], [1], [2]]
    torch.testing.assert_close(masked.log_prob(masked.enumerate_support()).exp().sum(0), torch.ones(2))


def test_update_takes_other_parameters() -> None:
    tanh = TanhNormal(LOC, SCALE, low=-2.0, high=3.0, tanh_loc=True)
    tanh.update(2 * LOC, 1.0)
    torch.testing.assert_close(tanh.loc, 5.0 * torch.tanh(2 * LOC / 5.0))
    assert (tanh.low, tanh.high, tanh.scale) == (-2.0, 3.0, 1.0)
    independent = IndependentNormal(LOC, SCALE, tanh_loc=True, upscale=2.0)
    independent.update(LOC[0], torch.ones_like)
    torch.testing.assert_close(independent.mean, 2.0 * torch.tanh(LOC[0] / 2.0))
    assert independent.batch_shape == ()


def test_kl_between_what_has_none() -> None:
    with pytest.raises(NotImplementedError, match="no KL divergence"):
        kl_divergence(wrap(categorical, LOGITS), TanhNormal(LOC, SCALE))
    with pytest.raises(ValueError, match="different events"):
        kl_divergence(wrap(normal, LOC, 1.0), IndependentNormal(LOC, 1.0))
    bound = wrap(bind(tanh_normal, low=-2.0), LOC, SCALE)
    torch.testing.assert_close(
        kl_divergence(bound, TanhNormal(0 * LOC, SCALE, low=-2.0)),
        tanh_normal.kl((LOC, SCALE, -2.0, 1.0), (0 * LOC, SCALE, -2.0, 1.0)),
    )


def test_masked_categorical_is_the_categorical_of_what_is_left() -> None:
    masked, plain = MaskedCategorical(LOGITS, mask=MASK), Categorical(logits=LOGITS[:, [0, 2]])
    torch.testing.assert_close(masked.probs[:, [0, 2]], plain.probs)
    torch.testing.assert_close(masked.entropy(), plain.entropy())
    assert masked.num_samples == 3
    listed = MaskedCategorical(LOGITS, indices=torch.tensor([2, 0, -1]), padding_value=-1)
    torch.testing.assert_close(listed.probs, masked.probs[:, [2, 0, 1]])
    torch.testing.assert_close(listed.entropy(), masked.entropy())
    drawn = sparse_categorical.sample(KEY, *listed.params, sample_shape=(9,), padding_value=-1)
    assert torch.equal(listed.sample((9,), key=KEY), drawn)
    assert listed.expand((4, 2)).probs.shape == (4, 2, 3)
    finite = MaskedCategorical(LOGITS, mask=MASK, neg_inf=-1e4)
    assert (finite.log_prob(torch.tensor(1)) == -1e4).all()
    assert (finite.logits[:, 1] == -1e4).all()


# ------------------------------------------------------------------------------------------------------------- support
@pytest.mark.parametrize("name", [row.name for row in FAMILIES])
def test_support_is_that_of_the_family(name: str) -> None:
    row = BY_NAME[name]
    parameters, values = parameters_of(row), values_for(row)
    dist = wrap(row.family, *parameters)
    found, of_family = dist.support, row.family.support(*parameters)
    assert torch.equal(found.check(values), dist.log_prob(values).isfinite())
    assert (found.is_discrete, found.event_dim) == (of_family.is_discrete, of_family.event_dim)
    if "tanh_normal" not in name:  # where values at the bounds are taken for those next to them
        assert torch.equal(found.check(values), of_family.check(values))


@pytest.mark.parametrize("name", NAMES)
def test_support_of_every_class_is_where_its_log_prob_is_finite(name: str) -> None:
    dist, family, params = OBJECTS[name]
    values = dist.sample((4,), key=KEY)
    assert dist.support.check(values).all()
    assert dist.support.check(values).shape == dist.log_prob(values).shape
    outside = values + 100
    if "normal" not in name.lower() or "tanh" in name.lower() or "Truncated" in name:
        assert not dist.support.check(outside).any()
    assert torch.equal(dist.support.check(outside), dist.log_prob(outside).isfinite())
    assert type(dist.support) is type(family.support(*params)) or "anh" in name or name in ("wrap(bound)",)


def test_support_of_options() -> None:
    assert Delta(LOC, atol=0.5).support.check(LOC + 0.4).all()
    assert TanhDelta(LOC, atol=0.5).support.check(LOC.tanh() + 0.4).all()
    listed = MaskedCategorical(LOGITS, indices=torch.tensor([2, 0, -1]), padding_value=-1)
    assert listed.support.check(torch.arange(-1, 4)[:, None].expand(5, 2))[:, 0].tolist() == [
        False,
        True,
        False,
        True,
        False,
    ]
    masked = MaskedOneHotCategorical(LOGITS, mask=MASK).support
    assert masked.check(torch.eye(3)[:, None].expand(3, 2, 3))[:, 0].tolist() == [True, False, True]
    tokens = LLMMaskedCategorical(LOGITS, torch.tensor([True, False]), ignore_index=-1).support
    assert tokens.check(torch.tensor([[-1, 9], [3, 0]])).tolist() == [[True, True], [False, True]]


# ---------------------------------------------------------------------------------------------------- values at a bound
@pytest.mark.parametrize(
    "made",
    [
        lambda high, **options: TanhNormal(torch.zeros(1), 1.0, low=-high, high=high, **options),
        lambda high, **options: wrap(tanh_normal, torch.zeros(1), 1.0, -high, high, **options),
        lambda high, **options: wrap(bind(tanh_normal, low=-high, high=high), torch.zeros(1), 1.0, **options),
    ],
)
@pytest.mark.parametrize("high", [1.0, 2.0, 0.1, 0.7])
def test_a_value_at_a_bound_is_taken_for_the_last_number_inside(made: Any, high: float) -> None:
    dist = made(high)
    bound = torch.tensor([high])
    last = torch.nextafter(bound, torch.zeros(1))
    for side in (1, -1):
        exact = tanh_normal.log_prob(torch.zeros(1), 1.0, -high, high, side * bound)
        assert exact == -math.inf
        assert torch.equal(dist.log_prob(side * bound), dist.log_prob(side * last))
        for value in (bound.double(), torch.tensor([high], dtype=torch.float64), bound.bfloat16(), bound.half()):
            assert dist.log_prob(side * value).isfinite()
            assert dist.support.check(side * value)
            assert made(high, validate_args=True).log_prob(side * value).isfinite()
        assert dist.log_prob(side * bound * 1.001) == -math.inf
        assert not dist.support.check(side * bound * 1.001)
    assert dist.cdf(bound) == 1


def test_a_number_at_a_bound_is_taken_for_the_last_number_inside() -> None:
    dist = TanhNormal(torch.zeros(()), 1.0)
    assert torch.equal(dist.log_prob(1.0), dist.log_prob(torch.tensor(1.0)))
    assert torch.equal(dist.log_prob(torch.tensor(1)), dist.log_prob(torch.tensor(1.0)))
    assert dist.log_prob(torch.tensor(1)).isfinite()


def test_a_value_at_a_bound_in_every_transform() -> None:
    value = torch.tensor([0.5, 1.0, -1.0])

    def score(loc: Tensor, value: Tensor) -> Tensor:
        return TanhNormal(loc, 1.0, event_dims=0).log_prob(value)

    loc = torch.tensor([0.1, 2.0, -3.0])
    eager = score(loc, value)
    assert eager.isfinite().all()
    torch.testing.assert_close(vmap(score)(loc, value), eager)
    assert grad(lambda loc: score(loc, value).sum())(loc).isfinite().all()
    assert hessian(lambda loc: score(loc, value).sum())(loc).isfinite().all()
    assert jvp(lambda value: score(loc, value), (value,), (torch.ones(3),))[1].isfinite().all()
    torch._dynamo.reset()
    compiled = torch.compile(score, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(loc, value), eager)


# --------------------------------------------------------------------------------------------------- outcomes as floats
WITH_INTEGERS: dict[str, tuple[Any, Any]] = {
    "MaskedCategorical": (MaskedCategorical(LOGITS, mask=MASK), 2),
    "listed": (MaskedCategorical(LOGITS, indices=LISTED), 0),
    "Ordinal": (Ordinal(LOGITS), 1),
    "LLMMaskedCategorical": (LLMMaskedCategorical(LOGITS, MASK.expand(2, 3)), 2),
    "wrap(categorical)": (wrap(categorical, LOGITS), 1),
    "wrap(masked_categorical)": (wrap(masked_categorical, LOGITS, MASK), 2),
    "wrap(bound)": (wrap(bind(sparse_categorical, padding_value=-1), LOGITS, LISTED), 0),
}


@pytest.mark.parametrize("name", list(WITH_INTEGERS))
def test_outcomes_may_be_floats(name: str) -> None:
    dist, inside = WITH_INTEGERS[name]
    value = torch.tensor([inside, inside])
    wanted = dist.log_prob(value)
    assert wanted.isfinite().all()
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.uint8):
        assert torch.equal(dist.log_prob(value.to(dtype)), wanted)
        assert dist.support.check(value.to(dtype)).all()
    for number in (inside, float(inside)):
        torch.testing.assert_close(dist.log_prob(number), wanted)
    for other in (inside + 0.5, -1.0, 3.0, 1e30, math.inf, -math.inf):
        outside = torch.tensor([other, float(inside)])
        assert dist.log_prob(outside).tolist() == [-math.inf, wanted[1]]
        assert dist.support.check(outside).tolist() == [False, True]
    assert dist.log_prob(torch.tensor([math.nan, inside])).isnan().tolist() == [True, False]
    zero_or_one = torch.tensor([True, False])
    assert torch.equal(dist.log_prob(zero_or_one), dist.log_prob(zero_or_one.long()))
    assert dist.log_prob(torch.full((4, 2), float(inside))).shape == (4, 2)


def test_floats_for_tokens_that_stand_for_none_and_positions_that_do_not_count() -> None:
    for ignore_index in (-100, -1, -2):
        dist = LLMMaskedCategorical(LOGITS, torch.tensor([True, False]), ignore_index=ignore_index)
        value = torch.tensor([[ignore_index, math.nan], [0.5, 0.5], [math.nan, ignore_index]])
        found = dist.log_prob(value)
        assert found[:, 1].tolist() == [0, 0, 0]
        assert found[:2, 0].tolist() == [0, -math.inf]
        assert found[2, 0].isnan()


def test_floats_with_a_finite_neg_inf_and_with_checked_values() -> None:
    finite = MaskedCategorical(LOGITS, mask=MASK, neg_inf=-1e4)
    assert finite.log_prob(torch.tensor([1.0, 0.5])).tolist() == [-1e4, -1e4]
    checked = MaskedCategorical(LOGITS, mask=MASK, validate_args=True)
    assert checked.log_prob(torch.tensor([2.0, 0.0])).isfinite().all()
    for bad in (0.5, 1.0, 3.0, math.nan):
        with pytest.raises(ValueError, match="value"):
            checked.log_prob(torch.tensor([bad, 0.0]))


def test_floats_inside_transforms() -> None:
    def score(logits: Tensor, value: Tensor) -> Tensor:
        return MaskedCategorical(logits, mask=MASK).log_prob(value).nan_to_num(7.0).clamp(min=-9.0)

    value = torch.tensor([2.0, 0.5])
    wanted = score(LOGITS, value)
    torch._dynamo.reset()
    for transformed in (vmap(score), torch.compile(score, fullgraph=True, backend="aot_eager")):
        torch.testing.assert_close(transformed(LOGITS, value), wanted)
    slope = grad(lambda logits: score(logits, value).sum())(LOGITS)
    assert slope[0].ne(0).any()
    assert slope[1].eq(0).all()


@pytest.mark.parametrize("made", [OneHotCategorical, OneHotOrdinal, lambda t: MaskedOneHotCategorical(t, mask=MASK)])
def test_vectors_may_be_floats(made: Any) -> None:
    dist, vector = made(LOGITS), torch.tensor([[0, 0, 1], [1, 0, 0]])
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.bool, torch.uint8):
        torch.testing.assert_close(dist.log_prob(vector.to(dtype)), dist.log_prob(vector))
    assert dist.log_prob(0.5 * vector).eq(-math.inf).all()


# --------------------------------------------------------------------------------------------- parameters without axes
@pytest.mark.parametrize(
    "made",
    [
        lambda x: IndependentNormal(x, 1.0),
        lambda x: TruncatedNormal(x, 1.0),
        lambda x: TanhNormal(x, 1.0),
        lambda x: TanhDelta(x),
        lambda x: Delta(x),
        lambda x: wrap(independent_normal, x, 1.0),
        lambda x: wrap(tanh_normal, x, 1.0),
    ],
)
@pytest.mark.parametrize("given", [0.25, torch.tensor(0.25), torch.tensor(0.25, dtype=torch.float64)])
def test_parameters_without_axes_have_no_event_axes(made: Any, given: Any) -> None:
    dist = made(given)
    assert (dist.batch_shape, dist.event_shape) == ((), ())
    value = dist.sample((5,), key=KEY)
    assert dist.log_prob(value).shape == value.shape == (5,)
    assert dist.entropy().shape == ()
    assert dist.support.check(value).shape == (5,)
    assert dist.expand((3,)).sample(key=KEY).shape == (3,)
    if hasattr(dist, "reinterpreted_batch_ndims"):
        assert dist.reinterpreted_batch_ndims == 0


def test_one_parameter_with_an_axis_makes_an_event() -> None:
    for dist in (
        IndependentNormal(0.25, SCALE),
        TruncatedNormal(0.25, SCALE),
        TanhDelta(0.25, low=torch.full((3,), -2.0)),
    ):
        assert (dist.batch_shape, dist.event_shape) == ((), (3,))
    with pytest.raises(ValueError, match="event_dims=2"):
        TanhDelta(torch.zeros(3), event_dims=2)
    independent = IndependentNormal(0.25, 1.0)
    independent.update(LOC, 1.0)
    assert (independent.batch_shape, independent.event_shape) == ((2,), (3,))


# ---------------------------------------------------------------------------------------------------------- arguments
@pytest.mark.parametrize("name", list(WITH_INTEGERS))
def test_rsample_without_a_pathwise_gradient_raises(name: str) -> None:
    dist = WITH_INTEGERS[name][0]
    assert not dist.has_rsample
    for method in ("rsample", "rsample_and_log_prob"):
        with pytest.raises(NotImplementedError, match=f"has no {method}"):
            getattr(dist, method)(key=KEY)


@pytest.mark.parametrize("name", [*NAMES, "LLMMaskedCategorical"])
def test_generator_is_a_second_name_of_key_and_shapes_may_be_ints(name: str) -> None:
    dist = OBJECTS[name][0] if name in OBJECTS else WITH_INTEGERS[name][0]
    for method in DRAWS:
        if method.startswith("r") and not hasattr(dist.family, method):
            continue
        draw = getattr(dist, method)
        wanted = draw((5,), key=KEY)
        for found in (draw(5, key=KEY), draw([5], generator=KEY), draw(sample_shape=5, generator=KEY)):
            assert all(torch.equal(a, b) for a, b in zip(parts(found), parts(wanted), strict=True))
        seeded = [draw(5, **{word: torch.Generator().manual_seed(1)}) for word in ("key", "generator")]
        assert all(torch.equal(a, b) for a, b in zip(*map(parts, seeded), strict=True))
        with pytest.raises(TypeError, match="`generator` is a second name of `key`"):
            draw(5, key=KEY, generator=KEY)
        with pytest.raises(TypeError):
            draw(2.5, key=KEY)
    assert dist.expand((7, *dist.batch_shape)).batch_shape == (7, *dist.batch_shape)


def test_wrap_says_what_is_wrong() -> None:
    with pytest.raises(TypeError, match=r"wrap: the parameters of normal are \('loc', 'scale'\), got 1 by position"):
        wrap(normal, LOC)
    with pytest.raises(TypeError, match="got 2 by position and \\['scale'\\] by name; give each of them once"):
        wrap(normal, LOC, SCALE, scale=1.0)
    with pytest.raises(TypeError, match=r"wrap: family must be a module such as `normal`.*got 'normal'"):
        wrap("normal", LOC, SCALE)
    with pytest.raises(NotImplementedError, match="FamilyDistribution has no cdf, as the family categorical has no"):
        wrap(categorical, LOGITS).cdf(LOGITS)


def test_wrap_takes_all_parameters_as_one() -> None:
    for given in (normal.Params(LOC, SCALE), {"loc": LOC, "scale": SCALE}):
        assert torch.equal(wrap(normal, given).log_prob(LOC), wrap(normal, LOC, SCALE).log_prob(LOC))
    assert wrap(masked_categorical, LOGITS, True).log_prob(torch.tensor(1)).shape == (2,)


# ------------------------------------------------------------------------------------------------ a family of your own
class RayleighParams(NamedTuple):
    """Parameters of a Rayleigh distribution.

    scale: The mode.
    """

    scale: Real


def test_wrap_takes_a_family_of_your_own() -> None:
    """Plain functions, without the decorator and without `event_dims`."""

    def sample(key: Tensor, scale: Tensor, *, sample_shape: tuple[int, ...] = ()) -> Tensor:
        return (scale * (2 * random.exponential(key, (*sample_shape, *scale.shape))).sqrt()).detach()

    def log_prob(scale: Tensor, value: Tensor) -> Tensor:
        return (value / scale**2).log() - 0.5 * (value / scale) ** 2

    def check(scale: Tensor) -> None:
        assert (scale > 0).all()

    family = SimpleNamespace(Params=RayleighParams, sample=sample, log_prob=log_prob, check=check)
    dist = wrap(family, SCALE)
    assert (dist.batch_shape, dist.event_shape) == ((3,), ())
    value = dist.sample((10_000,), key=KEY)
    torch.testing.assert_close(value.mean(0), SCALE * math.sqrt(math.pi / 2), rtol=0.02, atol=0.0)
    assert dist.log_prob(value).shape == (10_000, 3)
    assert not dist.has_rsample
    assert torch.equal(dist.scale, SCALE)
    with pytest.raises(NotImplementedError, match=r"the family namespace\(.*has no function support"):
        dist.support  # noqa: B018
    family.support = lambda scale: constraints.positive
    assert wrap(family, SCALE).support is constraints.positive


def test_numbers_that_are_no_outcomes_are_none_wherever_outcomes_begin() -> None:
    no_token = wrap(llm_masked_categorical, torch.zeros(2, 3), torch.tensor([True, True]), ignore_index=-1)
    scores = no_token.log_prob(torch.tensor([0.5, math.nan]))
    assert scores[0] == -math.inf
    assert scores[1].isnan()
    ordinal = Ordinal(torch.zeros(4, 3))
    assert torch.equal(ordinal.cdf(torch.full((4,), 1.5)), ordinal.cdf(torch.ones(4, dtype=torch.int64)))


def test_a_mask_of_positions_may_be_wrapped() -> None:
    dist = wrap(llm_masked_categorical, torch.zeros(4, 2, 3), torch.ones(4, 2, dtype=torch.bool))
    assert dist.batch_shape == (4, 2)
    assert dist.log_prob(dist.sample()).shape == (4, 2)
    assert dist.support.check(dist.sample()).all()
