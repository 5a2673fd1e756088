"""Every class inside tensordict's and TorchRL's modules: every interaction type, log-probs, actors, vmap."""

import warnings
from typing import Any

import pytest
import torch
from torch import nn

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
    from torchrl.data import Bounded, Categorical, OneHot
    from torchrl.modules import ProbabilisticActor
    from torchrl.modules.distributions.utils import has_analytic_entropy, has_analytic_kl

BATCH, SIZE = 5, 3
MASK = torch.tensor([[True, False, True], [True, True, True], [False, True, True], [True, True, False], [True] * 3])
LISTED = torch.tensor([[2, 0], [0, 1], [1, 2], [2, 1], [1, 0]])
NORMAL, LOGITS, WITH_MASK, WITH_LIST = ["loc", "scale"], ["logits"], ["logits", "mask"], ["logits", "indices"]
RELAXED = {"grad_method": distributions.ReparamGradientStrategy.RelaxedOneHot}
CLASSES: dict[str, tuple[Any, list[str], dict[str, Any]]] = {
    "IndependentNormal": (distributions.IndependentNormal, NORMAL, {}),
    "TanhNormal": (distributions.TanhNormal, NORMAL, {"low": -2.0, "high": 2.0}),
    "TruncatedNormal": (distributions.TruncatedNormal, NORMAL, {"low": -2.0, "high": 2.0}),
    "Delta": (distributions.Delta, ["param"], {}),
    "TanhDelta": (distributions.TanhDelta, ["param"], {"low": -2.0, "high": 2.0}),
    "OneHotCategorical": (distributions.OneHotCategorical, LOGITS, {}),
    "OneHotCategorical, relaxed": (distributions.OneHotCategorical, LOGITS, RELAXED),
    "OneHotCategorical, probs": (distributions.OneHotCategorical, ["probs"], {}),
    "MaskedCategorical": (distributions.MaskedCategorical, WITH_MASK, {}),
    "MaskedCategorical, indices": (distributions.MaskedCategorical, WITH_LIST, {}),
    "MaskedOneHotCategorical": (distributions.MaskedOneHotCategorical, WITH_MASK, {}),
    "MaskedOneHotCategorical, indices": (distributions.MaskedOneHotCategorical, WITH_LIST, {}),
    "Ordinal": (distributions.Ordinal, ["scores"], {}),
    "OneHotOrdinal": (distributions.OneHotOrdinal, ["scores"], {}),
    "LLMMaskedCategorical": (distributions.LLMMaskedCategorical, WITH_MASK, {}),
}
ATTRIBUTES = {
    InteractionType.RANDOM: None,
    InteractionType.MODE: "mode",
    InteractionType.MEAN: "mean",
    InteractionType.MEDIAN: "median",
    InteractionType.DETERMINISTIC: "deterministic_sample",
}
# Outcomes without an order have neither; for the mean tensordict then tries that of integers, which is none either.
ABSENT = (NotImplementedError, RuntimeError)


def parameters(in_keys: list[str]) -> TensorDict:
    torch.manual_seed(0)
    table = torch.randn(BATCH, SIZE)
    made = {"scale": table.exp(), "probs": table.softmax(-1), "mask": MASK, "indices": LISTED}
    return TensorDict({key: made.get(key, table) for key in in_keys}, [BATCH])


def has(made: Any, attribute: str) -> bool:
    try:
        getattr(made, attribute)
    except NotImplementedError:
        return False
    return True


@pytest.mark.parametrize("interaction", list(ATTRIBUTES), ids=str)
@pytest.mark.parametrize("name", list(CLASSES))
def test_every_interaction_type(name: str, interaction: InteractionType) -> None:
    made, in_keys, options = CLASSES[name]
    module = ProbabilisticTensorDictModule(
        in_keys={key: key for key in in_keys},
        out_keys=["action"],
        distribution_class=made,
        distribution_kwargs=options,
        return_log_prob=(name, interaction) != ("Ordinal", InteractionType.MEAN),  # a mean of integers is not one
    )
    data = parameters(in_keys)
    dist = made(**data.to_dict(), **options)
    attribute = ATTRIBUTES[interaction]
    with set_interaction_type(interaction):
        if attribute and not has(dist, attribute):
            with pytest.raises(ABSENT):
                module(data)
            return
        out = module(data.clone())
    action = out["action"]
    assert action.shape == (BATCH, *dist.event_shape)
    if attribute:
        assert torch.equal(action, getattr(dist, attribute))
    if not module.return_log_prob:
        return
    assert out["action_log_prob"].shape == (BATCH,)
    torch.testing.assert_close(out["action_log_prob"], dist.log_prob(action), rtol=1e-4, atol=1e-4)
    assert out["action_log_prob"].isfinite().all() or attribute == "mean"  # the mean of vectors is not one of them
    assert type(module.get_dist(data)) is made
    torch.testing.assert_close(module.log_prob(out), dist.log_prob(action), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("generator", [None, "its own"])
@pytest.mark.parametrize("name", list(CLASSES))
def test_draws_follow_the_seed_and_the_generator(name: str, generator: str | None) -> None:
    made, in_keys, options = CLASSES[name]

    def draw(seed: int) -> torch.Tensor:
        module = ProbabilisticTensorDictModule(
            in_keys={key: key for key in in_keys},
            out_keys=["action"],
            distribution_class=made,
            distribution_kwargs=options,
            default_interaction_type=InteractionType.RANDOM,
            num_samples=40,
            generator=torch.Generator().manual_seed(seed) if generator else None,
        )
        data = parameters(in_keys)
        torch.manual_seed(0 if generator else seed)
        return module(data)["action"]

    assert draw(1).shape[:2] == (40, BATCH)
    assert torch.equal(draw(1), draw(1))
    assert "Delta" in name or not torch.equal(draw(1), draw(2))


def network(in_keys: list[str]) -> TensorDictModule:
    """A network that reads an observation and writes what the distribution is made of, but for masks and lists."""
    made = [key for key in in_keys if key not in ("mask", "indices")]
    torch.manual_seed(1)
    last = {"loc": [NormalParamExtractor()], "probs": [nn.Softmax(-1)]}.get(made[0], [])
    layers = nn.Sequential(nn.Linear(4, SIZE * len(made)), *last)
    return TensorDictModule(layers, in_keys=["observation"], out_keys=made)


def observations(in_keys: list[str]) -> TensorDict:
    data = parameters(in_keys).select("mask", "indices", strict=False)
    return data.set("observation", torch.linspace(-1, 1, 4 * BATCH).reshape(BATCH, 4))


def actor_of(name: str, **options: Any) -> ProbabilisticActor:
    made, in_keys, made_with = CLASSES[name]
    return ProbabilisticActor(
        network(in_keys),
        in_keys={key: key for key in in_keys},
        distribution_class=made,
        distribution_kwargs=made_with,
        return_log_prob=True,
        default_interaction_type=InteractionType.RANDOM,
        **options,
    )


@pytest.mark.parametrize("name", list(CLASSES))
def test_in_an_actor(name: str) -> None:
    made, in_keys, options = CLASSES[name]
    spec = Bounded(-2.0, 2.0, (SIZE,)) if "low" in options else None
    if spec is None and in_keys[0] in ("logits", "probs", "scores"):
        spec = OneHot(SIZE) if "OneHot" in name else Categorical(SIZE)
    actor = actor_of(name, spec=spec)
    out = actor(observations(in_keys))
    dist = actor.get_dist(observations(in_keys))
    assert type(dist) is made
    torch.testing.assert_close(out["action_log_prob"], dist.log_prob(out["action"]), rtol=1e-4, atol=1e-4)
    if in_keys[0] in ("logits", "probs", "scores"):
        assert out["action"].dtype == torch.int64
    if "Delta" not in name:  # whose log-prob is 0 whatever the point is
        out["action_log_prob"].sum().backward()
        gradients = [weight.grad for weight in actor.parameters()]
        assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
        assert any(gradient.ne(0).any() for gradient in gradients)
    assert has_analytic_entropy(dist)
    assert has_analytic_kl(dist, dist)


@pytest.mark.parametrize("name", list(CLASSES))
@pytest.mark.parametrize("interaction", [InteractionType.RANDOM, InteractionType.DETERMINISTIC], ids=str)
def test_an_ensemble_under_vmap(name: str, interaction: InteractionType) -> None:
    """As tensordict's documentation of ProbabilisticTensorDictModule maps over the weights of a sequence."""
    made, in_keys, options = CLASSES[name]
    sequence = ProbabilisticTensorDictSequential(
        network(in_keys),
        ProbabilisticTensorDictModule(
            in_keys={key: key for key in in_keys},
            out_keys=["action"],
            distribution_class=made,
            distribution_kwargs=options,
            return_log_prob=True,
            default_interaction_type=interaction,
        ),
    )
    params = TensorDict.from_module(sequence).detach().expand(4).clone()
    params.apply_(lambda weight: weight + 0.1 * torch.arange(4.0).reshape(4, *[1] * (weight.ndim - 1)))

    def act(data: TensorDict, params: TensorDict) -> TensorDict:
        with params.to_module(sequence):
            return sequence(data)

    data = observations(in_keys)
    out = torch.vmap(act, (None, 0), randomness="different")(data, params)
    made_of = {key: out[key] if key in out.keys() else data[key].expand(4, *data[key].shape) for key in in_keys}  # noqa: SIM118
    dist = made(**made_of, **options)
    assert out["action"].shape == (4, BATCH, *dist.event_shape)
    assert out["action_log_prob"].shape == (4, BATCH)
    torch.testing.assert_close(out["action_log_prob"], dist.log_prob(out["action"]), rtol=1e-4, atol=1e-4)
    if interaction is InteractionType.DETERMINISTIC:
        torch.testing.assert_close(out["action"], dist.deterministic_sample)


@pytest.mark.parametrize("name", list(CLASSES))
def test_nested_keys_num_samples_and_cached_parameters(name: str) -> None:
    made, in_keys, options = CLASSES[name]
    module = ProbabilisticTensorDictModule(
        in_keys=[("agents", key) for key in in_keys],
        out_keys=[("agents", "action")],
        distribution_class=made,
        distribution_kwargs=options,
        default_interaction_type=InteractionType.RANDOM,
        return_log_prob=True,
        log_prob_key=("agents", "lp"),
        num_samples=6,
        cache_dist=True,
    )
    found = module(TensorDict({"agents": parameters(in_keys)}, [BATCH]))
    dist = made(**parameters(in_keys).to_dict(), **options)
    assert module.cache_dist == hasattr(made, "update")
    assert found.batch_size == (6, BATCH)
    assert found["agents", "action"].shape == (6, BATCH, *dist.event_shape)
    assert found["agents", "lp"].shape == (6, BATCH)
    torch.testing.assert_close(found["agents", "lp"], dist.log_prob(found["agents", "action"]), rtol=1e-4, atol=1e-4)
    for key in in_keys:
        assert torch.equal(found["agents", key][0], parameters(in_keys)[key])


@pytest.mark.parametrize("name", ["IndependentNormal", "TanhNormal", "TruncatedNormal", "Delta", "TanhDelta"])
@pytest.mark.parametrize("bound", [0.5, 2.0])
def test_a_safe_actor_stays_within_its_spec(name: str, bound: float) -> None:
    _, in_keys, options = CLASSES[name]
    data = observations(in_keys).set("observation", torch.linspace(-20, 20, 4 * BATCH).reshape(BATCH, 4))
    found = []
    for safe in (False, True):
        actor = actor_of(name, spec=Bounded(-bound, bound, (SIZE,)) if safe else None, safe=safe)
        torch.manual_seed(2)
        found.append(actor(data.clone()))
    free, safe_one = found
    assert torch.equal(safe_one["action"], free["action"].clamp(-bound, bound))
    assert torch.equal(safe_one["action_log_prob"], free["action_log_prob"])  # that of the draw
    assert "low" not in options or bound < 2.0 or torch.equal(safe_one["action"], free["action"])
    assert bound > 0.5 or not torch.equal(safe_one["action"], free["action"])


@pytest.mark.parametrize("name", ["OneHotCategorical", "MaskedCategorical", "MaskedOneHotCategorical", "Ordinal"])
def test_a_safe_actor_of_choices(name: str) -> None:
    """What is drawn is an outcome of the spec already, of its dtype and shape."""
    _, in_keys, _ = CLASSES[name]
    spec = OneHot(SIZE) if "OneHot" in name else Categorical(SIZE)
    actor = actor_of(name, spec=spec, safe=True)
    actions = actor(observations(in_keys))["action"]
    assert all(spec.is_in(action.to(spec.dtype)) for action in actions)
    assert actor.get_dist(observations(in_keys)).log_prob(actions).isfinite().all()
