"""Swapping the import is enough: beside TorchRL's own classes, and inside its modules and tensordict's."""

import inspect
import math
import warnings
from typing import Any

import pytest
import torch
from mpmath import mp
from torch import Tensor, nn
from torch.distributions import kl_divergence
from torch.func import grad

from functional_dists import distributions

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tensordict import TensorDict
    from tensordict.nn import (
        InteractionType,
        NormalParamExtractor,
        ProbabilisticTensorDictModule,
        ProbabilisticTensorDictSequential,
        TensorDictModule,
        set_interaction_type,
    )
    from tensordict.nn.distributions import continuous as continuous_of_tensordict
    from torchrl.data import Bounded, Categorical
    from torchrl.modules import ProbabilisticActor
    from torchrl.modules import distributions as theirs

NAMES = [
    *("Delta", "IndependentNormal", "TanhDelta", "TanhNormal", "TruncatedNormal"),
    *("MaskedCategorical", "MaskedOneHotCategorical", "OneHotCategorical", "OneHotOrdinal", "Ordinal"),
]
LOC, SCALE = torch.tensor([[0.3, -1.1, 1.2], [0.1, 0.0, -0.4]]), torch.tensor([[0.5, 1.4, 0.8], [1.0, 0.3, 0.2]])
LOGITS = torch.tensor([[0.3, -1.1, 0.8, 0.1], [0.1, 0.0, -0.4, 2.0]])
MASK = torch.tensor([[True, False, True, True], [True, True, False, True]])

# name -> constructor arguments
MADE: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("IndependentNormal", (LOC, SCALE), {}),
    ("IndependentNormal", (LOC, 0.5), {"event_dim": 2}),
    ("IndependentNormal", (LOC, torch.ones_like), {"event_dim": 0}),
    ("TanhNormal", (LOC, SCALE), {}),
    ("TanhNormal", (LOC, SCALE), {"low": -2.0, "high": 3.0}),
    ("TanhNormal", (LOC, SCALE), {"low": torch.tensor([-1.0, -2.0, 0.0]), "high": torch.tensor(5.0), "event_dims": 0}),
    ("TanhNormal", (LOC, torch.ones_like), {"tanh_loc": True, "upscale": 2.0}),
    ("TanhNormal", (0.3, 1.2), {}),
    ("TruncatedNormal", (LOC, SCALE), {}),
    ("TruncatedNormal", (LOC, SCALE), {"low": -2.0, "high": torch.tensor([1.0, 2.0, 3.0]), "tanh_loc": True}),
    ("OneHotCategorical", (LOGITS,), {}),
    ("OneHotCategorical", (), {"probs": LOGITS.exp()}),
    ("MaskedOneHotCategorical", (LOGITS,), {"mask": MASK}),
    ("MaskedOneHotCategorical", (LOGITS,), {"indices": torch.tensor([[0, 2, 3], [3, 1, 0]])}),
    ("Ordinal", (LOGITS,), {}),
    ("OneHotOrdinal", (LOGITS,), {}),
    ("MaskedCategorical", (LOGITS,), {"mask": MASK}),
    ("MaskedCategorical", (), {"probs": LOGITS.exp(), "mask": MASK}),
    ("MaskedCategorical", (LOGITS,), {"mask": MASK, "neg_inf": -1e10}),
    ("MaskedCategorical", (LOGITS,), {"indices": torch.tensor([[0, 2, 3], [3, 1, 0]])}),
    ("MaskedCategorical", (LOGITS,), {"indices": torch.tensor([[0, 2, -1], [3, 1, 0]]), "padding_value": -1}),
]


# The mean of outcomes without an order is a NotImplementedError; there it is NaN, also where there is an order.
ORDERLESS = (
    distributions.MaskedCategorical,
    distributions.OneHotCategorical,
    distributions.Ordinal,
    distributions.OneHotOrdinal,
)


def both(name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, Any]:
    return getattr(distributions, name)(*arguments, **options), getattr(theirs, name)(*arguments, **options)


@pytest.mark.parametrize("name", NAMES)
def test_constructors_take_the_same_arguments(name: str) -> None:
    ours, others = (inspect.signature(getattr(module, name)).parameters for module in (distributions, theirs))
    named = [p for p in others.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    for theirs_one in named:
        same = ours[theirs_one.name]
        assert same.kind == theirs_one.kind
        assert getattr(same.default, "name", same.default) == getattr(theirs_one.default, "name", theirs_one.default)
    assert set(ours) - {p.name for p in named} == {"validate_args"}


@pytest.mark.parametrize(("name", "arguments", "options"), MADE)
def test_agrees_where_theirs_is_right(name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    ours, other = both(name, arguments, options)
    assert ours.batch_shape == other.batch_shape
    assert ours.event_shape == (LOGITS.shape[-1:] if "OneHot" in name else other.event_shape)  # there ()
    assert ours.has_rsample == other.has_rsample or "OneHot" in name  # which says no there, and has it
    torch.manual_seed(0)
    value = other.sample()
    assert ours.sample().shape == value.shape
    torch.testing.assert_close(ours.log_prob(value), other.log_prob(value), rtol=1e-5, atol=1e-5)
    for attribute in ("loc", "scale", "low", "high", "logits", "probs", "mode", "mean", "deterministic_sample"):
        try:
            wanted = getattr(other, attribute)
        except (AttributeError, NotImplementedError, RuntimeError):
            continue
        if attribute == "mean" and isinstance(ours, ORDERLESS):
            assert wanted.isnan().all()
        else:
            torch.testing.assert_close(getattr(ours, attribute), wanted, rtol=1e-5, atol=1e-5, check_dtype=False)
    for attribute in ("upscale", "tanh_loc", "num_params", "num_samples", "padding_value", "padding_side", "neg_inf"):
        if hasattr(other, attribute):
            assert getattr(ours, attribute) == getattr(other, attribute)
    if name not in ("TanhNormal", "TruncatedNormal") and "padding_value" not in options:  # NotImplementedError, NaN
        torch.testing.assert_close(ours.entropy(), other.entropy())
    if name == "TanhNormal":
        for base in ("base_dist", "root_dist"):
            torch.testing.assert_close(getattr(ours, base).mean, getattr(other, base).mean)
            assert getattr(ours, base).event_shape == getattr(other, base).event_shape


@pytest.mark.parametrize("name", ["IndependentNormal", "TanhNormal"])
def test_draws_the_same_numbers_from_the_same_seed(name: str) -> None:
    for method in ("sample", "rsample"):
        drawn = []
        for dist in both(name, (LOC, SCALE), {}):
            torch.manual_seed(3)
            drawn.append(getattr(dist, method)((5,)))
        torch.testing.assert_close(*drawn, rtol=1e-6, atol=1e-6)


def test_same_exceptions() -> None:
    for name, arguments, options in [
        ("TanhNormal", (LOC, SCALE), {"low": 1.0, "high": 0.0}),
        ("IndependentNormal", (torch.zeros(()), 1.0), {}),
        ("MaskedCategorical", (LOGITS,), {}),
        ("MaskedCategorical", (LOGITS,), {"mask": MASK, "indices": torch.tensor([[0], [1]])}),
        ("MaskedCategorical", (LOGITS, LOGITS.exp()), {"mask": MASK}),
    ]:
        raised = []
        for module in (distributions, theirs):
            with pytest.raises((ValueError, RuntimeError)) as error:
                getattr(module, name)(*arguments, **options)
            raised.append(error.type)
        assert raised[0] is raised[1]


def test_the_map_of_classes_has_their_keys() -> None:
    for key, other in theirs.distributions_maps.items():
        ours = distributions.distributions_maps[key]
        assert ours.__name__ == other.__name__
        assert distributions.distributions_maps[ours] is distributions.distributions_maps[ours.__name__.lower()] is ours


@pytest.mark.parametrize("mapping", ["biased_softplus_1.0", "softplus", "exp", "relu", "none"])
def test_modules_of_parameters(mapping: str) -> None:
    raw = torch.linspace(-2, 2, 12).reshape(2, 6)
    pairs = [(module.NormalParamExtractor(mapping)(raw, "rest")) for module in (distributions, theirs)]
    torch.testing.assert_close(pairs[0][:2], pairs[1][:2])
    assert pairs[0][2] == "rest"
    made = [
        module.AddStateIndependentNormalScale(6, scale_mapping=mapping, init_value=0.3, make_param=mapping != "exp")
        for module in (distributions, continuous_of_tensordict)
    ]
    torch.testing.assert_close(made[0](raw)[:2], made[1](raw)[:2])
    assert [*dict(made[0].named_parameters())] == [*dict(made[1].named_parameters())]
    assert [*dict(made[0].named_buffers())] == [*dict(made[1].named_buffers())]
    with pytest.raises(RuntimeError):
        made[0](raw[:, :3])


# ------------------------------------------------------------------------------------------------ where theirs is wrong
def test_density_where_tanh_saturates() -> None:
    def exact(y: float) -> float:
        with mp.workdps(40):
            return float(mp.log(mp.npdf(mp.atanh(mp.mpf(y)))) - mp.log(1 - mp.mpf(y) ** 2))

    ours, other = both("TanhNormal", (torch.zeros(1), torch.ones(1)), {})
    value = torch.tensor([0.9999999])
    assert ours.log_prob(value).item() == pytest.approx(exact(value.item()), rel=1e-6)
    assert abs(other.log_prob(value).item() - exact(value.item())) > 6
    assert ours.log_prob(torch.tensor([1.5])).item() == -math.inf


def test_scaled_locations() -> None:
    assert distributions.IndependentNormal(torch.tensor([10.0]), 1.0, tanh_loc=True).mean.item() == pytest.approx(
        5 * math.tanh(2), rel=1e-6
    )
    bounded = distributions.TanhNormal(torch.tensor([10.0]), 1.0, tanh_loc=True, low=-2.0, high=3.0)
    assert bounded.loc.item() == pytest.approx(5 * math.tanh(2), rel=1e-6)


def test_mode_and_moments_of_a_squashed_normal() -> None:
    dist = distributions.TanhNormal(torch.tensor([0.4], dtype=torch.float64), 0.6)
    with mp.workdps(30):
        loc, scale = mp.mpf("0.4"), mp.mpf(dist.scale.item())
        mean = mp.quad(lambda z: mp.tanh(loc + scale * z) * mp.npdf(z), [-12, -4, 0, 4, 12])
        pre_mode = mp.findroot(lambda x: -(x - loc) / scale**2 + 2 * mp.tanh(x), loc)
    assert dist.mean.item() == pytest.approx(float(mean), rel=1e-12)
    assert dist.mode.item() == pytest.approx(float(mp.tanh(pre_mode)), rel=1e-12)
    assert torch.equal(dist.get_mode(), dist.mode)


def test_masked_categoricals() -> None:
    no_choice = distributions.MaskedCategorical(LOGITS, mask=MASK & torch.tensor([[True], [False]]))
    assert no_choice.sample()[1] == 0
    assert no_choice.probs[1].eq(0).all()
    assert no_choice.entropy()[1] == 0

    by_probs = grad(lambda p: distributions.MaskedCategorical(probs=p, mask=MASK).entropy().sum())(LOGITS.exp())
    assert by_probs.isfinite().all()
    assert by_probs[~MASK].eq(0).all()

    def divergence(logits: Tensor) -> Tensor:
        p, q = (distributions.MaskedCategorical(table, mask=MASK) for table in (logits, LOGITS))
        return kl_divergence(p, q).sum()

    assert grad(divergence)(LOGITS + 0.3).isfinite().all()
    first, second = (distributions.MaskedCategorical(torch.zeros(3), indices=torch.tensor(i)) for i in ([0, 1], [1, 2]))
    assert kl_divergence(first, second) == math.inf
    padded = distributions.MaskedCategorical(torch.zeros(4), indices=torch.tensor([3, 1, -1]), padding_value=-1)
    assert padded.entropy().item() == pytest.approx(math.log(2))
    batched = distributions.MaskedCategorical(LOGITS, mask=MASK)
    assert batched.log_prob(batched.sample((5,))).shape == (5, 2)


@pytest.mark.parametrize("of_tokens", [False, True])
def test_tokens(of_tokens: bool) -> None:
    torch.manual_seed(0)
    logits, tokens = torch.randn(2, 4, 9), torch.randint(9, (2, 4))
    mask = torch.rand(2, 4, 9) > 0.3 if of_tokens else torch.tensor([True, True, False, True]).expand(2, 4)
    if of_tokens:
        mask = mask.scatter(-1, tokens[..., None], True)
    ours, other = (module.LLMMaskedCategorical(logits, mask) for module in (distributions, theirs))
    assert ours.batch_shape == other.batch_shape
    torch.testing.assert_close(ours.log_prob(tokens), other.log_prob(tokens))
    assert torch.equal(
        ours.mode[mask] if not of_tokens else ours.mode, other.mode[mask] if not of_tokens else other.mode
    )
    drawn = ours.sample((3,))
    assert ours.log_prob(drawn).shape == (3, 2, 4)
    if not of_tokens:
        assert (drawn[:, :, 2] == -100).all()
        assert (ours.entropy()[:, 2] == 0).all()
    torch.testing.assert_close(ours.entropy()[:, 0], other.entropy()[:, 0])
    assert ours.expand((5, 2, 4)).sample().shape == (5, 2, 4)
    for module in (distributions, theirs):
        with pytest.raises(ValueError, match=r"[Mm]ask"):
            module.LLMMaskedCategorical(logits, mask[:1])


# ------------------------------------------------------------------------------------------------- inside their modules
def network(out_features: int, *keys: str) -> TensorDictModule:
    torch.manual_seed(1)
    extract = [NormalParamExtractor()] if len(keys) == 2 else []
    layers = nn.Sequential(nn.Linear(4, out_features), *extract)
    return TensorDictModule(layers, in_keys=["observation"], out_keys=list(keys))


def observations() -> TensorDict:
    return TensorDict({"observation": torch.linspace(-1, 1, 20).reshape(5, 4), "mask": torch.rand(5, 3) > 0.5}, [5])


CONTINUOUS = {
    "TanhNormal": (distributions.TanhNormal, {"low": -2.0, "high": 2.0}),
    "IndependentNormal": (distributions.IndependentNormal, {}),
}
INTERACTIONS = {
    InteractionType.RANDOM: None,
    InteractionType.MODE: "mode",
    InteractionType.MEAN: "mean",
    InteractionType.MEDIAN: "median",
    InteractionType.DETERMINISTIC: "deterministic_sample",
}


@pytest.mark.parametrize("name", list(CONTINUOUS))
@pytest.mark.parametrize("interaction", list(INTERACTIONS), ids=str)
def test_in_a_probabilistic_module(name: str, interaction: InteractionType) -> None:
    made, options = CONTINUOUS[name]
    module = ProbabilisticTensorDictModule(
        in_keys=["loc", "scale"],
        out_keys=["action"],
        distribution_class=made,
        distribution_kwargs=options,
        return_log_prob=True,
    )
    data = TensorDict({"loc": LOC, "scale": SCALE}, [2])
    with set_interaction_type(interaction):
        out = module(data.clone())
    dist = made(LOC, SCALE, **options)
    assert out["action"].shape == (2, 3)
    if INTERACTIONS[interaction]:
        assert torch.equal(out["action"], getattr(dist, INTERACTIONS[interaction]))
    torch.testing.assert_close(out["action_log_prob"], dist.log_prob(out["action"]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(module.get_dist(data).loc, LOC)


def test_masked_categorical_in_a_probabilistic_module() -> None:
    module = ProbabilisticTensorDictModule(
        in_keys={"logits": "logits", "mask": "mask"},
        out_keys=["action"],
        distribution_class=distributions.MaskedCategorical,
        return_log_prob=True,
    )
    data = TensorDict({"logits": LOGITS, "mask": MASK}, [2])
    dist = distributions.MaskedCategorical(LOGITS, mask=MASK)
    for interaction in (InteractionType.RANDOM, InteractionType.MODE, InteractionType.DETERMINISTIC):
        with set_interaction_type(interaction):
            out = module(data.clone())
        assert MASK.gather(-1, out["action"][:, None]).all()
        torch.testing.assert_close(out["action_log_prob"], dist.log_prob(out["action"]))


@pytest.mark.parametrize("name", list(CONTINUOUS))
def test_in_an_actor(name: str) -> None:
    made, options = CONTINUOUS[name]
    actor = ProbabilisticActor(
        network(6, "loc", "scale"),
        in_keys=["loc", "scale"],
        spec=Bounded(low=-2.0, high=2.0, shape=(3,)) if options else None,
        distribution_class=made,
        distribution_kwargs=options,
        return_log_prob=True,
        default_interaction_type=InteractionType.RANDOM,
    )
    out = actor(observations())
    dist = made(out["loc"], out["scale"], **options)
    torch.testing.assert_close(out["action_log_prob"], dist.log_prob(out["action"]), rtol=1e-4, atol=1e-4)
    assert isinstance(actor.get_dist(observations()), made)
    out["action_log_prob"].sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in actor.parameters())


def test_masked_categorical_in_an_actor() -> None:
    actor = ProbabilisticActor(
        network(3, "logits"),
        in_keys={"logits": "logits", "mask": "mask"},
        spec=Categorical(3),
        distribution_class=distributions.MaskedCategorical,
        return_log_prob=True,
        default_interaction_type=InteractionType.RANDOM,
    )
    data = observations()
    data["mask"][:, 0] = True
    for _ in range(20):
        out = actor(data)
        assert data["mask"].gather(-1, out["action"][:, None]).all()
    dist = distributions.MaskedCategorical(out["logits"], mask=data["mask"])
    torch.testing.assert_close(out["action_log_prob"], dist.log_prob(out["action"]))


def test_in_a_sequence_under_vmap() -> None:
    """An ensemble of actors, as in tensordict's documentation of functional modules."""
    sequence = ProbabilisticTensorDictSequential(
        network(6, "loc", "scale"),
        ProbabilisticTensorDictModule(
            in_keys=["loc", "scale"],
            out_keys=["action"],
            distribution_class=distributions.TanhNormal,
            return_log_prob=True,
            default_interaction_type=InteractionType.RANDOM,
        ),
    )
    params = TensorDict.from_module(sequence).detach().expand(4).clone()

    def act(params: TensorDict, data: TensorDict) -> TensorDict:
        with params.to_module(sequence):
            return sequence(data)

    out = torch.vmap(act, (0, None), randomness="different")(params, observations())
    assert out["action"].shape == (4, 5, 3)
    assert not torch.equal(out["action"][0], out["action"][1])
    assert out["action_log_prob"].shape == (4, 5)
