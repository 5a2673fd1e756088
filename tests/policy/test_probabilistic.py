"""The probabilistic step: keys in and out, draws, scores, composites, TensorDicts."""

import copy
import pickle
from typing import Any, NamedTuple

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import (
    InteractionType,
    ProbabilisticTensorDictModule,
    set_composite_lp_aggregate,
)
from torch._dynamo.testing import CompileCounter

from functional_dists import (
    bind,
    categorical,
    composite,
    independent_normal,
    masked_categorical,
    random,
    tanh_normal,
)
from functional_dists.composite import Head
from functional_dists.family.trees import fnv1a
from functional_dists.policy import ProbabilisticModule

KEY = random.key(3)
DATA = {"loc": random.normal(random.key(1), (4, 3)), "scale": torch.full((4, 3), 0.5), "obs": torch.zeros(4)}
TORQUE = bind(tanh_normal, low=-2.0, high=2.0)
CONTAINERS = pytest.mark.parametrize(
    "container", [dict, lambda data: TensorDict(data, [4])], ids=["dict", "TensorDict"]
)


def step_of(family=tanh_normal, in_keys=("loc", "scale"), out_keys=("action",), **options):
    return ProbabilisticModule(family, in_keys, out_keys, default_interaction_type="random", **options)


@CONTAINERS
def test_draws_from_its_own_key_and_scores_the_draw(container):
    data = container(DATA)
    before = dict(data.items())
    after = step_of(return_log_prob=True)((), KEY, data)
    own = random.fold_in(KEY, fnv1a("action"))
    action, of_noise = tanh_normal.rsample_and_log_prob(own, DATA["loc"], DATA["scale"], -1.0, 1.0)
    log_prob = tanh_normal.log_prob(DATA["loc"], DATA["scale"], -1.0, 1.0, action)
    assert torch.equal(step_of(return_log_prob=True, log_prob_of="noise")((), KEY, data)["sample_log_prob"], of_noise)
    assert type(after) is type(data)
    assert torch.equal(after["action"], action)
    assert torch.equal(after["sample_log_prob"], log_prob)
    assert dict(data.items()) == before
    assert set(after.keys()) == {*before, "action", "sample_log_prob"}


@pytest.mark.parametrize("options", [{"log_prob_of": "noise"}, {"keep_pretanh": True}], ids=str)
def test_the_log_prob_has_the_digits_of_the_noise_where_it_is_asked_for(options):
    data = {"loc": torch.full((1, 2), 12.0), "scale": torch.ones(1, 2)}
    after = step_of(return_log_prob=True, **options)((), KEY, data)
    wide = {name: value.double() for name, value in data.items()}
    noise = random.normal(random.fold_in(KEY, fnv1a("action")), (1, 2))
    exact = tanh_normal.log_prob_pretanh(*wide.values(), -1.0, 1.0, wide["loc"] + noise.double())
    torch.testing.assert_close(after["sample_log_prob"].double(), exact, rtol=1e-6, atol=0)


def test_a_generator_is_used_as_it_is():
    made = [torch.Generator().manual_seed(5) for _ in range(2)]
    after = step_of()((), made[0], DATA)
    assert torch.equal(after["action"], tanh_normal.sample(made[1], DATA["loc"], DATA["scale"], -1.0, 1.0))


def test_without_a_key_nothing_can_be_drawn():
    with pytest.raises(TypeError, match=r"a key is needed to draw \('action',\), got None"):
        step_of()((), None, DATA)
    with pytest.raises(TypeError, match="key must be a key"):
        step_of()((), 42, DATA)
    assert step_of()((), None, DATA, interaction_type="mode")["action"].shape == (4, 3)


def test_a_draw_has_the_pathwise_gradient():
    data = {name: value.double() for name, value in DATA.items()}

    def loss(loc):
        after = step_of(return_log_prob=True)((), KEY, {**data, "loc": loc})
        return (after["action"].square().sum(-1) + 0.1 * after["sample_log_prob"]).sum()

    assert torch.autograd.gradcheck(loss, data["loc"].requires_grad_())


@CONTAINERS
def test_keys_may_be_nested_and_renamed(container):
    data = container({"net": {"loc": DATA["loc"], "sigma": DATA["scale"]}})
    expected = step_of()((), KEY, DATA)["action"]
    named = ProbabilisticModule(
        tanh_normal,
        {"loc": ("net", "loc"), "scale": ("net", "sigma")},
        [("action",)],
        default_interaction_type="random",
    )
    assert torch.equal(named((), KEY, data)["action"], expected)
    nested = step_of(in_keys=[("net", "loc"), ("net", "scale")], out_keys=[("net", "arm", "action")])
    data = container({"net": {"loc": DATA["loc"], "scale": DATA["scale"]}})
    after = nested((), KEY, data)
    assert after["net"]["arm"]["action"].shape == (4, 3)
    assert "arm" not in data["net"].keys()  # noqa: SIM118 (a TensorDict iterates over rows)
    assert after["net"]["loc"] is data["net"]["loc"]
    assert nested.log_prob((), after).shape == (4,)


@pytest.mark.parametrize(
    ("family", "in_keys", "message"),
    [
        (tanh_normal, ["mu", "scale"], "names .'mu'., which are not among the parameters"),
        (tanh_normal, ["loc"], "lacks the parameters .'scale'."),
        (tanh_normal, [("a", "loc"), ("b", "loc")], "last parts of in_keys must differ"),
        ({"arm": tanh_normal}, ["loc", "scale"], "in_keys of a composite must be one key"),
        ({"arm": {"loc": tanh_normal}}, {"arm": {"hand": ["loc"]}}, "at 'arm'"),
    ],
)
def test_in_keys_that_do_not_fit(family, in_keys, message):
    with pytest.raises(ValueError, match=message):
        ProbabilisticModule(family, in_keys, ["action"])


def test_out_keys_that_do_not_fit():
    with pytest.raises(ValueError, match="must be 1, one for each value, got 2"):
        ProbabilisticModule(tanh_normal, ["loc", "scale"], ["a", "b"])
    with pytest.raises(ValueError, match="must differ"):
        ProbabilisticModule([tanh_normal, tanh_normal], "params", ["a", "a"])
    with pytest.raises(TypeError, match="needs the key of its value"):
        ProbabilisticModule(tanh_normal, ["loc", "scale"])
    with pytest.raises(TypeError, match="families at 'a' must hold families, got 3"):
        ProbabilisticModule({"a": 3}, "params")


def test_missing_entries_are_named():
    with pytest.raises(KeyError, match=r"data have no 'scale'; their keys are \['loc'\]"):
        step_of()((), KEY, {"loc": DATA["loc"]})
    with pytest.raises(KeyError, match="data have no 'action'"):
        step_of().log_prob((), DATA)
    with pytest.raises(TypeError, match=r"data must be a dict or a TensorDict .*got a tensor"):
        step_of()((), DATA, KEY)


@CONTAINERS
def test_what_is_there_stays_and_gets_its_log_prob(container):
    stored = torch.full((4, 3), 0.25)
    data = container({**DATA, "action": stored})
    assert step_of()((), None, data)["action"] is data["action"]
    after = step_of(return_log_prob=True)((), None, data)
    expected = tanh_normal.log_prob(DATA["loc"], DATA["scale"], -1.0, 1.0, stored)
    assert torch.equal(after["sample_log_prob"], expected)
    kept = step_of(return_log_prob=True)(
        (), None, container({**DATA, "action": stored, "sample_log_prob": stored[:, 0]})
    )
    assert torch.equal(kept["sample_log_prob"], stored[:, 0])
    drawn = step_of(skip_existing=False)((), KEY, data)
    assert torch.equal(drawn["action"], step_of()((), KEY, DATA)["action"])


@CONTAINERS
@pytest.mark.parametrize("interaction", ["random", "mode"])
def test_several_samples_lead(container, interaction):
    step = step_of(num_samples=5, return_log_prob=True)
    after = step((), KEY, container(DATA), interaction_type=interaction)
    assert after["action"].shape == (5, 4, 3)
    assert after["sample_log_prob"].shape == (5, 4)
    torch.testing.assert_close(step.log_prob((), after), after["sample_log_prob"], rtol=1e-4, atol=1e-5)
    if interaction == "random":
        assert len(after["action"].unique()) == 60
    if isinstance(after, TensorDict):
        theirs = ProbabilisticTensorDictModule(
            in_keys=["loc", "scale"],
            out_keys=["action"],
            distribution_class=torch.distributions.Normal,
            default_interaction_type=InteractionType.RANDOM,
            num_samples=5,
        )(container(DATA))
        assert after.batch_size == theirs.batch_size
        assert {name: after[name].shape for name in theirs.keys()} == {  # noqa: SIM118
            name: value.shape for name, value in theirs.items()
        }


@CONTAINERS
def test_cached_parameters_outlive_the_ones_they_were(container):
    step = step_of(cache_dist=True)
    after = step((), KEY, container(DATA))
    later = {"loc": after["loc"] + 1, "dist_params": after["dist_params"]}
    assert torch.equal(later["dist_params"]["loc"], DATA["loc"])
    assert set(later["dist_params"].keys()) == {"loc", "scale"}


def test_scores_are_those_of_the_family():
    step = step_of(TORQUE)
    after = step((), KEY, DATA)
    params = TORQUE.Params(DATA["loc"], DATA["scale"])
    assert step.dist_params((), after) == params
    assert torch.equal(step.log_prob((), after), TORQUE.log_prob(*params, after["action"]))
    assert torch.equal(step.entropy((), after), TORQUE.entropy(*params))
    dist = step.dist((), after)
    assert isinstance(dist, torch.distributions.Distribution)
    assert torch.equal(dist.log_prob(after["action"]), step.log_prob((), after))


def test_steps_are_immutable_hashable_and_can_be_copied():
    families = {"arm": TORQUE, "unit": (categorical, masked_categorical)}
    step = ProbabilisticModule(families, "params", return_log_prob=True, num_samples=(2,))
    assert {step: 1}[step] == 1
    with pytest.raises(AttributeError):
        step.return_log_prob = False
    for again in (copy.deepcopy(step), pickle.loads(pickle.dumps(step))):
        assert again.out_keys == step.out_keys == ("arm", ("unit", "0"), ("unit", "1"), "sample_log_prob")
        assert again.sample_shape == (2,)
        assert again.family["unit"][0] is categorical


# --------------------------------------------------------------------------------------------------------- composites
FAMILIES = {"unit": masked_categorical, "arm": (TORQUE, independent_normal)}
MASK = torch.tensor([[True, False, True]]).expand(4, 3)
PARAMS = {
    "unit": {"logits": random.normal(random.key(5), (4, 3)), "mask": MASK},
    "arm": ({"loc": DATA["loc"], "scale": DATA["scale"]}, {"loc": DATA["loc"], "scale": DATA["scale"]}),
}


def test_a_composite_reads_its_parameters_under_one_key_or_head_by_head():
    joint = ProbabilisticModule(FAMILIES, ["params"], return_log_prob=True, default_interaction_type="random")
    data = {"params": PARAMS}
    after = joint((), KEY, data)
    own = random.fold_in(KEY, fnv1a("unit,arm/0,arm/1"))
    values = composite.rsample(own, FAMILIES, PARAMS)
    log_prob = composite.log_prob(FAMILIES, PARAMS, values)
    assert torch.equal(after["unit"], values["unit"])
    assert torch.equal(after["arm"]["1"], values["arm"][1])
    assert torch.equal(after["sample_log_prob"], log_prob)
    torch.testing.assert_close(joint.log_prob((), after), log_prob, rtol=1e-4, atol=1e-5)
    assert torch.equal(joint.entropy((), after), composite.entropy(FAMILIES, PARAMS))

    by_head = ProbabilisticModule(
        FAMILIES,
        {"unit": {"logits": "logits", "mask": "valid"}, "arm": (["loc", "scale"], ["loc", "scale"])},
        {"unit": "unit", "arm": [("arm", "0"), ("arm", "1")]},
        default_interaction_type="random",
    )
    flat = {**DATA, "logits": PARAMS["unit"]["logits"], "valid": MASK}
    assert torch.equal(by_head((), KEY, flat)["arm"]["0"], values["arm"][0])
    assert by_head.in_keys == ("logits", "valid", "loc", "scale")


def test_out_keys_follow_the_order_in_which_the_heads_were_written():
    joint = ProbabilisticModule({"b": categorical, "a": TORQUE}, "params", ["first", "second"])
    data = {"params": {"a": {"loc": DATA["loc"], "scale": 1.0}, "b": {"logits": torch.zeros(4, 3)}}}
    after = joint((), None, data)
    assert after["first"].shape == (4,)
    assert after["second"].shape == (4, 3)


def test_the_distribution_of_a_composite_is_a_composite_distribution():
    joint = ProbabilisticModule(FAMILIES, "params", return_log_prob=True, default_interaction_type="random")
    after = joint((), KEY, {"params": PARAMS})
    values = TensorDict({"unit": after["unit"], "arm": after["arm"]}, [4])
    with set_composite_lp_aggregate(True):
        torch.testing.assert_close(joint.dist((), after).log_prob(values), joint.log_prob((), after))


class Pair(NamedTuple):
    left: Any
    right: Any


def test_named_tuples_of_heads():
    families = Pair(TORQUE, {"b": categorical, "a": independent_normal})
    own = {"left": ["loc", "scale"], "right": {"a": ["loc", "scale"], "b": "labels"}}
    step = ProbabilisticModule(families, Pair(**own), default_interaction_type="random", cache_dist=True)
    assert step.action_keys == ("0", ("1", "b"), ("1", "a"))
    normal = {"loc": DATA["loc"], "scale": DATA["scale"]}
    data = {**normal, "labels": {"logits": DATA["loc"]}}
    after = step((), KEY, data)
    params = step.dist_params((), data)
    assert params == Pair(TORQUE.Params(**normal), {"b": categorical.Params(DATA["loc"]), "a": params.right["a"]})
    assert after["dist_params"]["1"]["b"]["logits"] is DATA["loc"]
    joint = step.dist((), data)
    assert list(joint) == ["0", ("1", "b"), ("1", "a")]
    assert joint.batch_shape == (4,)
    under_one_key = ProbabilisticModule(families, "params", default_interaction_type="random")
    by_name = TensorDict({"params": {"left": normal, "right": {"a": normal, "b": {"logits": DATA["loc"]}}}}, [4])
    assert list(under_one_key.dist((), by_name)) == list(joint)
    assert torch.equal(under_one_key((), KEY, by_name)["1", "a"], after["1"]["a"])


@pytest.mark.parametrize(
    ("out_keys", "message"),
    [
        ({"unit": "u"}, "must have keys for .'arm/0', 'arm/1'."),
        ({"unit": "u", "arm": ["a"]}, "out_keys at 'arm' must be 2, one for each value, got 1"),
        ({"unit": "u", "arm": ["a", "b"], "leg": "c"}, "out_keys at 'leg' must be 0"),
    ],
)
def test_nested_out_keys_that_do_not_fit(out_keys, message):
    with pytest.raises(ValueError, match=message):
        ProbabilisticModule(FAMILIES, "params", out_keys)


CHAIN = composite.chain(
    unit=Head(categorical, lambda params, earlier: (params["unit"],)),
    aim=Head(
        TORQUE,
        lambda params, earlier: (
            torch.take_along_dim(params["aim"], earlier["unit"][..., None, None], -2).squeeze(-2),
            0.5,
        ),
    ),
)


@CONTAINERS
def test_a_chain_gets_its_inputs_by_their_names(container):
    inputs = {"unit": random.normal(random.key(8), (4, 5)), "aim": random.normal(random.key(9), (4, 5, 2))}
    step = ProbabilisticModule(
        CHAIN, [("net", "unit"), ("net", "aim")], return_log_prob=True, default_interaction_type="random"
    )
    assert step.action_keys == ("unit", "aim")
    after = step((), KEY, container({"net": inputs}))
    values = {"unit": after["unit"], "aim": after["aim"]}
    torch.testing.assert_close(step.log_prob((), after), after["sample_log_prob"], rtol=1e-4, atol=1e-5)
    assert torch.equal(step.log_prob((), after), composite.log_prob(CHAIN, inputs, values))
    assert torch.equal(step.entropy((), after), composite.conditional_entropy(CHAIN, inputs, values))
    with pytest.raises(NotImplementedError, match="heads depend on values"):
        step.dist((), after)


# ------------------------------------------------------------------------------------------------- transformations
@CONTAINERS
def test_compiled_is_eager(container):
    step = step_of(return_log_prob=True, cache_dist=True)
    data = container(DATA)
    compiled = torch.compile(lambda key, data: step((), key, data), fullgraph=True, backend="aot_eager")
    after, expected = compiled(KEY, data), step((), KEY, data)
    assert type(after) is type(expected)
    torch.testing.assert_close(after["action"], expected["action"])
    torch.testing.assert_close(after["sample_log_prob"], expected["sample_log_prob"])


def test_new_values_do_not_recompile():
    torch._dynamo.reset()
    counter = CompileCounter()
    step = step_of(return_log_prob=True)
    compiled = torch.compile(lambda key, data: step((), key, data), fullgraph=True, backend=counter)
    for seed in range(3):
        data = {name: value + seed for name, value in DATA.items()}
        found, expected = (f(random.key(seed), data)["action"] for f in (compiled, lambda *at: step((), *at)))
        torch.testing.assert_close(found, expected)
    assert counter.frame_count == 1


def test_vmap_is_the_loop():
    step, keys = step_of(return_log_prob=True), random.split(KEY, 4)
    after = torch.vmap(lambda key, data: step((), key, data))(keys, DATA)
    for lane in range(4):
        alone = step((), keys[lane], {name: value[lane] for name, value in DATA.items()})
        torch.testing.assert_close(after["action"][lane], alone["action"])
        torch.testing.assert_close(after["sample_log_prob"][lane], alone["sample_log_prob"])
