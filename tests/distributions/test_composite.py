"""`CompositeDistribution` beside tensordict's, and in the modules of tensordict and TorchRL."""

import inspect
import subprocess
import sys
import warnings
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch import distributions as torch_distributions
from torch.distributions import kl_divergence
from torch.func import vmap
from torch.testing import assert_close

from functional_dists import bind, categorical, composite, distributions, random, tanh_normal
from functional_dists.distributions import CompositeDistribution, IndependentNormal, MaskedCategorical, TanhNormal

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tensordict import TensorDict
    from tensordict.nn import CompositeDistribution as Theirs
    from tensordict.nn import (
        InteractionType,
        ProbabilisticTensorDictModule,
        ProbabilisticTensorDictSequential,
        TensorDictModule,
        set_composite_lp_aggregate,
        set_interaction_type,
    )
    from torchrl.modules import distributions as torchrl_distributions
    from torchrl.objectives import ClipPPOLoss

KEY = random.key(5)
LOC, SCALE = torch.tensor([[0.3, -1.1, 1.2], [0.1, 0.0, -0.4]]), torch.tensor([[0.5, 1.4, 0.8], [1.0, 0.3, 0.2]])
LOGITS = torch.tensor([[0.3, -1.1, 0.8, 0.1], [0.1, 0.0, -0.4, 2.0]])
DEEP = ("deep", "gear")
NORMAL, CATEGORICAL = torch_distributions.Normal, torch_distributions.Categorical

# distribution_map, and the other arguments
MADE: list[tuple[dict[Any, Any], dict[str, Any]]] = [
    ({"steer": NORMAL, DEEP: CATEGORICAL}, {}),
    ({"steer": torchrl_distributions.IndependentNormal, DEEP: CATEGORICAL}, {}),
    ({"steer": IndependentNormal, DEEP: distributions.OneHotCategorical}, {}),
    ({"steer": NORMAL, DEEP: CATEGORICAL}, {"name_map": {"steer": ("out", "s"), DEEP: "g"}}),
    ({"steer": NORMAL, DEEP: CATEGORICAL}, {"log_prob_key": ("lp", "sum"), "entropy_key": "h"}),
    ({"steer": IndependentNormal, DEEP: CATEGORICAL}, {"extra_kwargs": {"steer": {"event_dim": 1, "tanh_loc": True}}}),
]


def params() -> TensorDict:
    return TensorDict({"steer": {"loc": LOC, "scale": SCALE}, "deep": {"gear": {"logits": LOGITS}}}, [2])


def params_with_agents() -> TensorDict:
    locs = LOC.expand(4, 2, 3).transpose(0, 1)
    return TensorDict({"steer": {"loc": locs, "scale": locs.exp()}, "deep": {"gear": {"logits": LOGITS}}}, [2])


def same(ours: Any, theirs: Any) -> None:
    """Check the keys, shapes and numbers of two TensorDicts or tensors."""
    if isinstance(theirs, Tensor):
        assert_close(ours, theirs)
        return
    assert ours.batch_size == theirs.batch_size
    assert set(ours.keys(True, True)) == set(theirs.keys(True, True))
    for name in theirs.keys(True, True):
        assert_close(ours[name], theirs[name], msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize(
    "function", ["__init__", "from_distributions", "log_prob_composite", "entropy", "entropy_composite"]
)
def test_the_signatures_are_theirs(function: str) -> None:
    ours, theirs = (inspect.signature(getattr(made, function)).parameters for made in (CompositeDistribution, Theirs))
    assert [(p.kind, p.default) for p in ours.values()] == [(p.kind, p.default) for p in theirs.values()]
    assert [name for name in ours if name != "value"] == [name for name in theirs if name != "sample"]


@pytest.mark.parametrize("aggregate", [True, False])
@pytest.mark.parametrize("given", [params, params_with_agents])
@pytest.mark.parametrize("case", range(len(MADE)))
def test_beside_theirs(case: int, given: Any, aggregate: bool) -> None:
    maps, options = MADE[case]
    with set_composite_lp_aggregate(aggregate):
        ours, theirs = CompositeDistribution(given(), maps, **options), Theirs(given(), maps, **options)
        assert isinstance(ours, Mapping)
        assert list(ours) == list(theirs)
        assert len(ours) == 2
        assert [type(ours[name]) for name in ours] == [type(theirs[name]) for name in theirs]
        assert (ours.batch_shape, ours.log_prob_key, ours.entropy_key) == (
            theirs.batch_shape,
            theirs.log_prob_key,
            theirs.entropy_key,
        )
        for sample_shape in ((), (5,)):
            torch.manual_seed(0)
            value = ours.sample(sample_shape)
            torch.manual_seed(0)
            same(value, theirs.sample(sample_shape))
            same(ours.log_prob(value), theirs.log_prob(value.clone()))
            for include_sum in (None, True, False):
                same(
                    ours.log_prob_composite(value, include_sum=include_sum),
                    theirs.log_prob_composite(value.clone(), include_sum=include_sum),
                )
        same(ours.entropy(), theirs.entropy())
        for include_sum in (True, False):
            same(ours.entropy_composite(include_sum=include_sum), theirs.entropy_composite(include_sum=include_sum))
        same(ours.mode, theirs.mode)
        same(ours.deterministic_sample, theirs.deterministic_sample)


def test_beside_theirs_where_all_are_continuous() -> None:
    given = TensorDict({"a": {"loc": LOC, "scale": SCALE}, "b": {"c": {"loc": -LOC, "scale": SCALE}}}, [2])
    maps = {"a": NORMAL, ("b", "c"): torch_distributions.Laplace}
    ours, theirs = CompositeDistribution(given, maps), Theirs(given, maps)
    torch.manual_seed(0)
    value = ours.rsample((3,))
    torch.manual_seed(0)
    same(value, theirs.rsample((3,)))
    same(ours.mean, theirs.mean)
    with_cdf = ours.cdf(value)
    same(with_cdf, theirs.cdf(value.clone()))
    same(ours.icdf(with_cdf), theirs.icdf(with_cdf.clone()))
    assert_close(ours.icdf(value)["b", "c_icdf"], value["b", "c"], rtol=1e-4, atol=1e-4)
    probabilities = with_cdf.select("a_cdf", ("b", "c_cdf"))
    assert_close(ours.icdf(probabilities)["a_icdf"], value["a"], rtol=1e-4, atol=1e-4)
    with pytest.raises(KeyError, match="no value 'a'"):
        ours.icdf(TensorDict({}, [3, 2]))


def test_where_theirs_is_mended() -> None:
    joint = CompositeDistribution(params(), {"steer": TanhNormal, DEEP: CATEGORICAL})
    assert joint.event_shape == torch.Size()
    value = joint.sample((5,))
    assert value.batch_size == (5, *joint.batch_shape, *joint.event_shape)
    before = value.clone()
    with set_composite_lp_aggregate(True):
        joint.log_prob_composite(value)
        assert set(value.keys(True, True)) == set(before.keys(True, True))
        assert set(joint.entropy(aggregate_probabilities=False).keys(True, True)) == {
            "steer_entropy",
            ("deep", "gear_entropy"),
            "entropy",
        }
    with set_composite_lp_aggregate(False):
        assert joint.entropy(aggregate_probabilities=True).shape == (2,)
    with pytest.raises(KeyError, match=r"name_map has \['steering'\]"):
        CompositeDistribution(params(), {"steer": NORMAL}, name_map={"steering": "s"})
    with pytest.raises(KeyError, match=r"extra_kwargs has \['steering'\]"):
        CompositeDistribution(params(), {"steer": NORMAL}, extra_kwargs={"steering": {"low": -2.0}})
    with pytest.raises(KeyError, match=r"name_map has \['b'\]"):
        CompositeDistribution.from_distributions(params(), {"a": NORMAL(LOC, SCALE)}, name_map={"b": "s"})
    with pytest.raises(TypeError, match="params must be a TensorDict"):
        CompositeDistribution(params().to_dict(), {"steer": NORMAL})
    with pytest.raises(KeyError, match="no value 'steer'"):
        joint.log_prob(TensorDict({}, [2]))


NESTED, FLAT = (("nested",), "gear"), ("nested", "gear")


def test_nested_names_are_the_flat_ones() -> None:
    given = TensorDict({"steer": {"loc": LOC, "scale": SCALE}, "nested": {"gear": {"logits": LOGITS}}}, [2])
    maps = {("steer",): NORMAL, NESTED: CATEGORICAL}
    options: list[dict[str, Any]] = [
        {},
        {"name_map": {NESTED: ((("out",),), "g"), "steer": ("s",)}},
        {"name_map": {FLAT: "g"}},
        {"log_prob_key": (("lp",), "sum"), "entropy_key": ("h",)},
    ]
    for more in options:
        ours, theirs = CompositeDistribution(given, maps, **more), Theirs(given, maps, **more)
        if "name_map" not in more:
            assert list(ours) == list(theirs) == ["steer", FLAT]
        torch.manual_seed(0)
        value = ours.sample((3,))
        with set_composite_lp_aggregate(True):
            found = ours.log_prob_composite(value)
            wanted = (
                CompositeDistribution(given, {"steer": NORMAL, FLAT: CATEGORICAL}).log_prob(value) if not more else None
            )
            assert ours.log_prob_key in found.keys(True)
            assert wanted is None or torch.equal(found[ours.log_prob_key], wanted)
            assert ours.entropy_key in ours.entropy_composite().keys(True)
    assert list(CompositeDistribution(given, maps, **options[1])) == ["s", ("out", "g")]
    assert list(CompositeDistribution(given, {FLAT: CATEGORICAL}, name_map={NESTED: "g"})) == ["g"]
    parts = {("steer",): NORMAL(LOC, SCALE), NESTED: CATEGORICAL(logits=LOGITS)}
    for name_map in ({NESTED: ("out", ("g",))}, {FLAT: ("out", "g")}):
        joint = CompositeDistribution.from_distributions(given, parts, name_map=name_map, log_prob_key=(("lp",), "sum"))
        assert list(joint) == ["steer", ("out", "g")]
        assert joint.log_prob_key == ("lp", "sum")


def test_nested_names_of_extra_arguments() -> None:
    given = TensorDict({"nested": {"steer": {"loc": LOC, "scale": SCALE}}}, [2])
    for name in (("nested", "steer"), (("nested",), "steer")):
        for other in (("nested", "steer"), ("nested", ("steer",))):
            joint = CompositeDistribution(given, {name: TanhNormal}, extra_kwargs={other: {"low": -2.0}})
            assert joint["nested", "steer"].low == -2.0
            drawn = composite.sample(KEY, {"nested": {"steer": bind(tanh_normal, low=-2.0)}}, given)
            assert torch.equal(joint.sample(key=KEY)["nested", "steer"], drawn["nested"]["steer"])
    with pytest.raises(KeyError, match="extra_kwargs has"):
        CompositeDistribution(given, {name: TanhNormal}, extra_kwargs={(("nested",), "steering"): {}})


def test_two_values_of_one_name() -> None:
    with pytest.raises(ValueError, match="distribution_map has one name twice"):
        CompositeDistribution(params(), {"steer": NORMAL, ("steer",): NORMAL})
    with pytest.raises(ValueError, match="name_map writes two values to one name"):
        CompositeDistribution(params(), {"steer": NORMAL, DEEP: CATEGORICAL}, name_map={"steer": "x", DEEP: ("x",)})


def test_generator_is_a_second_name_of_key_and_shapes_may_be_ints() -> None:
    joint = CompositeDistribution(params(), {"steer": TanhNormal, DEEP: categorical})
    for draw in (joint.sample, joint.rsample):
        same(draw(5, generator=KEY), draw((5,), key=KEY))
        with pytest.raises(TypeError, match="`generator` is a second name of `key`"):
            draw(key=KEY, generator=KEY)


def test_has_rsample_where_all_have_it() -> None:
    loc = LOC.clone().requires_grad_()
    given = TensorDict({"a": {"loc": loc, "scale": SCALE}, "b": {"logits": LOGITS}}, [2])
    mixed = CompositeDistribution(given, {"a": TanhNormal, "b": CATEGORICAL})
    assert not mixed.has_rsample
    assert mixed.rsample()["a"].requires_grad
    assert not mixed.sample()["a"].requires_grad
    assert CompositeDistribution(given.select("a"), {"a": TanhNormal}).has_rsample


def test_a_key_draws_what_the_functions_draw() -> None:
    torque = bind(tanh_normal, low=-2.0, high=2.0)
    joint = CompositeDistribution(
        params(), {"steer": TanhNormal, DEEP: categorical}, extra_kwargs={"steer": {"low": -2.0, "high": 2.0}}
    )
    families = {"steer": torque, "deep": {"gear": categorical}}
    torch.manual_seed(0)
    state = torch.get_rng_state()
    for sample_shape in ((), (5,)):
        found = joint.sample(sample_shape, key=KEY)
        expected = composite.sample(KEY, families, params(), sample_shape=sample_shape)
        same(found, TensorDict(expected, found.batch_size))
        with set_composite_lp_aggregate(True):
            assert_close(joint.log_prob(found), composite.log_prob(families, params(), expected))
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(TypeError, match="steer: Normal takes no key"):
        CompositeDistribution(params(), {"steer": NORMAL, DEEP: CATEGORICAL}).sample(key=KEY)


def test_entropies_without_a_formula_are_estimated() -> None:
    given = TensorDict({"a": {"loc": LOC, "scale": SCALE}}, [2])
    made = torchrl_distributions.TanhNormal
    torch.manual_seed(0)
    with set_composite_lp_aggregate(True):
        estimate = CompositeDistribution(given, {"a": made}).entropy(4000)
        exact = CompositeDistribution(given, {"a": TanhNormal}).entropy()
    assert_close(estimate, exact, rtol=0.1, atol=0.1)


def test_kl_is_the_sum() -> None:
    p = CompositeDistribution(params_with_agents(), {"steer": TanhNormal, DEEP: CATEGORICAL})
    q = CompositeDistribution(params_with_agents() * 0.5, {"steer": TanhNormal, DEEP: CATEGORICAL})
    expected = kl_divergence(p["steer"], q["steer"]).sum(-1) + kl_divergence(p[DEEP], q[DEEP])
    assert_close(kl_divergence(p, q), expected)
    other = CompositeDistribution(params(), {"steer": TanhNormal})
    with pytest.raises(ValueError, match="different values"):
        kl_divergence(p, other)


def test_from_distributions_and_expand() -> None:
    parts = {"a": TanhNormal(LOC, SCALE), ("b", "c"): CATEGORICAL(logits=LOGITS)}
    joint = CompositeDistribution.from_distributions(TensorDict({}, [2]), parts, name_map={"a": "x"}, log_prob_key="lp")
    assert type(joint) is CompositeDistribution
    assert list(joint) == ["x", ("b", "c")]
    wide = joint.expand((3, 2))
    assert wide.batch_shape == (3, 2)
    assert wide.log_prob_key == "lp"
    value = wide.sample()
    with set_composite_lp_aggregate(True):
        assert_close(wide.log_prob(value), joint.log_prob(value))


# ------------------------------------------------------------------------------------------------ in their modules
class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(5, 10)

    def forward(self, obs: Tensor) -> tuple[Tensor, ...]:
        loc, scale, logits = self.linear(obs).split([3, 3, 4], -1)
        return (
            loc,
            nn.functional.softplus(scale) + 0.1,
            logits,
            torch.tensor([True, True, False, True]).expand_as(logits),
        )


def actor(made: Any, **options: Any) -> ProbabilisticTensorDictSequential:
    return ProbabilisticTensorDictSequential(
        TensorDictModule(
            Net(),
            in_keys=["obs"],
            out_keys=[
                ("params", "steer", "loc"),
                ("params", "steer", "scale"),
                ("params", *DEEP, "logits"),
                ("params", *DEEP, "mask"),
            ],
        ),
        ProbabilisticTensorDictModule(
            in_keys=["params"],
            out_keys=["steer", DEEP],
            distribution_class=made,
            distribution_kwargs={
                "distribution_map": {"steer": TanhNormal, DEEP: MaskedCategorical},
                "extra_kwargs": {"steer": {"low": -2.0, "high": 2.0}},
            },
            return_log_prob=True,
            **options,
        ),
    )


@pytest.mark.parametrize("aggregate", [True, False])
@pytest.mark.parametrize("interaction", [InteractionType.RANDOM, InteractionType.MODE, InteractionType.DETERMINISTIC])
def test_as_distribution_class(aggregate: bool, interaction: InteractionType) -> None:
    data = TensorDict({"obs": torch.linspace(-1, 1, 35).reshape(7, 5)}, [7])
    with set_composite_lp_aggregate(aggregate), set_interaction_type(interaction), torch.no_grad():
        ours, theirs = actor(CompositeDistribution), actor(Theirs)
        torch.manual_seed(1)
        found = ours(data.clone())
        torch.manual_seed(1)
        same(found, theirs(data.clone()))
        assert type(ours.get_dist(data.clone())) is CompositeDistribution
        same(ours.log_prob(found.clone()), theirs.log_prob(found.clone()))


def test_the_module_in_vmap_and_compiled() -> None:
    data = TensorDict({"obs": torch.linspace(-1, 1, 35).reshape(7, 5)}, [7])
    with set_composite_lp_aggregate(True), set_interaction_type(InteractionType.MODE), torch.no_grad():
        module = actor(CompositeDistribution)
        expected = module(data.clone())
        same(vmap(module)(data.clone()), expected)
        torch._dynamo.reset()
        same(torch.compile(module, fullgraph=True, backend="aot_eager")(data.clone()), expected)


def test_in_the_ppo_loss_of_torchrl() -> None:
    data = TensorDict({"obs": torch.linspace(-1, 1, 35).reshape(7, 5)}, [7])
    losses = []
    for made in (CompositeDistribution, Theirs):
        with set_composite_lp_aggregate(False):
            policy = actor(made)
            torch.manual_seed(2)
            value = nn.Linear(5, 1)
            critic = TensorDictModule(value, in_keys=["obs"], out_keys=["state_value"])
            loss = ClipPPOLoss(policy, critic, entropy_bonus=True)
            loss.set_keys(action=["steer", DEEP], sample_log_prob=["steer_log_prob", ("deep", "gear_log_prob")])
            with torch.no_grad():
                batch = policy(data.clone())
            batch["advantage"] = torch.linspace(-1, 1, 7)[:, None]
            batch["value_target"] = torch.ones(7, 1)
            torch.manual_seed(3)
            losses.append(loss(batch))
    assert_close(losses[0]["loss_objective"], losses[1]["loss_objective"])
    assert_close(losses[0]["loss_entropy"], losses[1]["loss_entropy"])
    losses[0]["loss_objective"].backward()


def test_the_other_classes_do_not_need_tensordict() -> None:
    code = (
        "import sys; sys.modules['tensordict'] = None\n"
        "from functional_dists import distributions\n"
        "assert distributions.TanhNormal\n"
        "try:\n    distributions.CompositeDistribution\n"
        "except ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "needs tensordict" in done.stdout
