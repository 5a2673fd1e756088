"""Actors: what a network's outputs become, projection onto a spec, export."""

import copy
import pickle
from typing import Any, NamedTuple

import gymnasium.spaces as gym
import numpy as np
import pytest
import torch
import torchrl.data as rl
from tensordict import TensorDict
from torch import nn

from functional_dists import (
    bind,
    categorical,
    composite,
    independent_normal,
    masked_categorical,
    normal,
    one_hot_categorical,
    parameters,
    random,
    tanh_normal,
)
from functional_dists.composite import Head
from functional_dists.policy import FunctionModule, Sequential, actor, project
from functional_dists.policy.projection import projection

KEY = random.key(3)
DATA = {"observation": random.normal(random.key(1), (4, 3)), "valid": torch.tensor([[True, False, True, True]] * 4)}
TORQUE = bind(tanh_normal, low=-2.0, high=2.0)


def linear(outputs):
    return nn.Linear(3, outputs)


def test_one_tensor_is_split_into_loc_and_scale():
    network = linear(4)
    for family in (TORQUE, tanh_normal, independent_normal):
        params, act = actor(network, family, in_keys=["observation"], return_log_prob=True)
        after = act(params, KEY, DATA)
        loc, scale = parameters.normal_params(network(DATA["observation"]))
        assert torch.equal(after["params"]["loc"], loc)
        assert torch.equal(after["params"]["scale"], scale)
        torch.testing.assert_close(act.log_prob(params, after), after["sample_log_prob"], rtol=1e-4, atol=1e-5)
        assert torch.equal(act.dist_params(params, after).loc, loc)


def test_outputs_are_the_parameters_in_their_order_or_by_name():
    weight = torch.ones(())
    by_order = (weight, lambda weight, x: (weight * x, torch.ones_like(x)))
    by_name = (
        weight,
        lambda weight, x: {"scale": torch.ones_like(x), "loc": weight * x, "high": torch.full_like(x, 3)},
    )
    params, act = actor(by_order, tanh_normal, in_keys="observation")
    assert params == (weight, ())
    narrow = act(params, None, DATA, interaction_type="deterministic")["action"]
    params, act = actor(by_name, tanh_normal, in_keys="observation")
    wide = act(params, None, DATA, interaction_type="deterministic")["action"]
    torch.testing.assert_close(wide, 2 * narrow + 1)
    params, act = actor((weight, lambda weight, x: (x, x, x)), tanh_normal, in_keys=["observation"])
    with pytest.raises(ValueError, match=r"must put out \['loc', 'scale'\], .* got 3"):
        act(params, KEY, DATA)
    params, act = actor(linear(4), masked_categorical, in_keys=["observation"])
    with pytest.raises(ValueError, match=r"'mask'\], .* got 1; `data_keys` names"):
        act(params, KEY, DATA)


def test_what_is_no_network():
    with pytest.raises(TypeError, match=r"network must be a torch.nn.Module, .*got bind\(tanh_normal"):
        actor(TORQUE, linear(2), in_keys=["observation"])
    with pytest.raises(TypeError, match=r"network must be a torch\.nn\.Module"):
        actor(lambda obs: obs, TORQUE, in_keys=["observation"])


def test_parameters_may_come_from_the_data():
    params, act = actor(
        linear(4), masked_categorical, in_keys=["observation"], data_keys={"mask": "valid"}, return_log_prob=True
    )
    after = act(params, KEY, DATA)
    assert act.in_keys == ("observation", "valid")
    assert (after["action"] != 1).all()
    assert after["sample_log_prob"].isfinite().all()


class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.unit, self.arm = linear(4), linear(4)

    def forward(self, x):
        return {"unit": self.unit(x), "arm": self.arm(x)}


def test_a_composite_of_heads():
    families = {"unit": masked_categorical, "arm": TORQUE}
    params, act = actor(
        Heads(), families, in_keys=["observation"], data_keys={"unit": {"mask": "valid"}}, return_log_prob=True
    )
    after = act(params, KEY, DATA)
    assert after["action"]["unit"].shape == (4,)
    assert after["action"]["arm"].shape == (4, 2)
    torch.testing.assert_close(act.log_prob(params, after), after["sample_log_prob"], rtol=1e-4, atol=1e-5)
    _, flat = actor(
        Heads(), families, in_keys=["observation"], data_keys={"unit": {"mask": "valid"}}, out_keys=["a", "b"]
    )
    assert flat.out_keys == ("params", "a", "b")
    pair = (Heads(), (categorical, TORQUE))
    params, act = actor(((), lambda params, x: (x, (x, 1.0))), pair[1], in_keys=["observation"])
    assert act(params, KEY, DATA)["action"]["1"].shape == (4, 3)


def test_a_chain_gets_what_the_network_puts_out():
    chain = composite.chain(
        unit=Head(masked_categorical),
        arm=Head(
            TORQUE, lambda params, earlier: parameters.normal_params(params["arm"] + 0.1 * earlier["unit"][..., None])
        ),
    )
    params, act = actor(
        Heads(), chain, in_keys=["observation"], data_keys={"unit": {"mask": "valid"}}, return_log_prob=True
    )
    after = act(params, KEY, DATA)
    assert (after["action"]["unit"] != 1).all()
    torch.testing.assert_close(act.log_prob(params, after), after["sample_log_prob"], rtol=1e-4, atol=1e-5)
    assert act.entropy(params, after).shape == (4,)


def test_a_deterministic_actor_exports():
    params, act = actor(linear(4), TORQUE, in_keys=["observation"], default_interaction_type="deterministic")

    class Exported(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = nn.ParameterDict({name.replace(".", "_"): tensor for name, tensor in params[0].items()})
            self.names = {name.replace(".", "_"): name for name in params[0]}

        def forward(self, observation):
            weights = {self.names[name]: tensor for name, tensor in self.network.items()}
            return act((weights, ()), None, {"observation": observation})["action"]

    program = torch.export.export(Exported(), (DATA["observation"],))
    expected = act(params, None, DATA)["action"]
    torch.testing.assert_close(program.module()(DATA["observation"]), expected)


def test_an_actor_can_be_copied_and_pickled():
    families = {"unit": categorical, "arm": TORQUE}
    spec = gym.Dict({"unit": gym.Discrete(4), "arm": gym.Box(-1, 1, (2,))})
    params, act = actor(Heads(), families, in_keys=["observation"], spec=spec, safe=True)
    expected = act(params, KEY, DATA)["action"]
    for again in (copy.deepcopy(act), pickle.loads(pickle.dumps(act))):
        torch.testing.assert_close(again(params, KEY, DATA)["action"], expected, rtol=0, atol=0)
    assert {act: 1}[act] == 1


# --------------------------------------------------------------------------------------------------------- projection
WIDE = bind(independent_normal, event_dims=1)


def test_safe_needs_a_spec():
    with pytest.raises(ValueError, match="safe=True needs a spec"):
        actor(linear(4), WIDE, in_keys=["observation"], safe=True)
    with pytest.raises(ValueError, match="mask_keys say what is valid for safe=True"):
        actor(linear(4), categorical, in_keys=["observation"], spec=gym.Discrete(4), mask_keys="valid")


def test_without_safe_a_spec_is_checked_and_changes_nothing():
    with pytest.raises(TypeError, match="spec must be one of"):
        actor(linear(4), WIDE, in_keys=["observation"], spec=gym.Text(3))
    params, act = actor(linear(4), WIDE, in_keys=["observation"], spec=gym.Box(-1e-3, 1e-3, (2,)))
    assert (act(params, KEY, DATA)["action"].abs() > 1e-3).any()


@pytest.mark.parametrize(
    "spec",
    [
        gym.Box(-0.5, 0.25, (2,)),
        rl.Bounded(-0.5, 0.25, (2,)),
        rl.Composite(action=rl.Bounded(-0.5, 0.25, (2,))),
        gym.Dict({"action": gym.Box(-0.5, 0.25, (2,)), "other": gym.Discrete(3)}),
    ],
    ids=lambda spec: f"{type(spec).__module__.partition('.')[0]}-{type(spec).__name__}",
)
def test_safe_actions_lie_in_the_spec_and_are_scored_as_they_are_stored(spec):
    network = linear(4)
    options = {"in_keys": ["observation"], "return_log_prob": True}
    params, act = actor(network, WIDE, **options)
    safe_params, safe = actor(network, WIDE, spec=spec, safe=True, **options)
    drawn = act(params, KEY, DATA)
    after = safe(safe_params, KEY, DATA)
    assert torch.equal(after["action"], drawn["action"].clamp(-0.5, 0.25))
    assert not torch.equal(after["action"], drawn["action"])
    assert torch.equal(after["sample_log_prob"], safe.log_prob(safe_params, after))
    assert not torch.equal(after["sample_log_prob"], drawn["sample_log_prob"])
    of_noise_params, of_noise = actor(network, WIDE, spec=spec, safe=True, log_prob_of="noise", **options)
    assert torch.equal(of_noise(of_noise_params, KEY, DATA)["action"], after["action"])
    torch.testing.assert_close(
        of_noise(of_noise_params, KEY, DATA)["sample_log_prob"], drawn["sample_log_prob"], rtol=1e-4, atol=1e-5
    )
    known = {**DATA, "action": drawn["action"]}  # a value that was there is projected, and then scored
    scored = safe(safe_params, None, known)
    assert torch.equal(scored["sample_log_prob"], after["sample_log_prob"])

    def loop(key, data):
        return safe(safe_params, key, data)["action"]

    keys = random.split(KEY, 3)
    expected = torch.stack([loop(key, DATA) for key in keys])
    vmapped = torch.vmap(loop, in_dims=(0, None))
    torch.testing.assert_close(vmapped(keys, DATA), expected)
    torch.testing.assert_close(torch.compile(vmapped, fullgraph=True, backend="aot_eager")(keys, DATA), expected)


def test_a_discrete_action_goes_to_the_nearest_valid_one_inside_vmap_and_compile():
    params, act = actor(
        linear(4), categorical, in_keys=["observation"], spec=gym.Discrete(4), safe=True, mask_keys="valid"
    )
    data = {**DATA, "valid": torch.tensor([[False, False, True, True]] * 4), "action": torch.tensor([0, 2, 1, 3])}
    expected = torch.tensor([2, 2, 2, 3])
    assert torch.equal(act(params, None, data)["action"], expected)
    vmapped = torch.vmap(lambda data: act(params, None, data)["action"])
    assert torch.equal(vmapped(data), expected)
    assert torch.equal(torch.compile(vmapped, fullgraph=True, backend="aot_eager")(data), expected)
    assert torch.isin(act(params, KEY, {**DATA, "valid": data["valid"]})["action"], torch.tensor([2, 3])).all()


T, F = True, False
CASES = {
    "gym Discrete": (gym.Discrete(4, start=-1), [-3, 0, 9], None, [-1, 0, 2]),
    "gym Discrete with a mask": (gym.Discrete(4, start=-1), [-1, 1, 2], [T, F, F, T], [-1, 2, 2]),
    "a tie goes down": (gym.Discrete(3), [1], [T, F, T], [0]),
    "nothing valid": (gym.Discrete(3), [2], [F, F, F], [0]),
    "gym MultiDiscrete": (gym.MultiDiscrete([3, 2]), [[-1, 1], [5, 5]], None, [[0, 1], [2, 1]]),
    "gym MultiDiscrete with a mask": (gym.MultiDiscrete([3, 2]), [[1, 1]], [T, F, F, T, F], [[0, 0]]),
    "gym MultiDiscrete with starts": (gym.MultiDiscrete([3, 2], start=[1, -1]), [[0, 4]], None, [[1, 0]]),
    "gym MultiBinary": (gym.MultiBinary(3), [[-2, 1, 7]], None, [[0, 1, 1]]),
    "bits that are no integers": (gym.MultiBinary(3), [[0.2, 0.7, 3.0]], None, [[0.0, 1.0, 1.0]]),
    "bits that are bool": (rl.Binary(2), [[T, F]], None, [[T, F]]),
    "gym Box of other bounds": (
        gym.Box(np.float32([0, -np.inf]), np.float32([1, 2])),
        [[-5.0, -5.0], [3.0, 3.0]],
        None,
        [[0.0, -5.0], [1.0, 2.0]],
    ),
    "Bounded integers": (rl.Bounded(0, 3, (), dtype=torch.int64), [-1, 2, 8], None, [0, 2, 3]),
    "Unbounded": (rl.Unbounded(2), [[1e9, -1e9]], None, [[1e9, -1e9]]),
    "Categorical": (rl.Categorical(3), [-1, 1, 3], None, [0, 1, 2]),
    "Categorical with its own mask": (rl.Categorical(3, mask=torch.tensor([F, T, T])), [0, 2], None, [1, 2]),
    "Binary": (rl.Binary(2), [[3, 0]], None, [[1, 0]]),
    "MultiCategorical": (rl.MultiCategorical([3, 4]), [[4, 5]], None, [[2, 3]]),
    "OneHot": (rl.OneHot(3), [[0, 1, 0], [0, 2, 5]], None, [[0, 1, 0], [0, 0, 1]]),
    "OneHot with a mask": (rl.OneHot(3), [[0, 1, 0]], [F, F, T], [[0, 0, 1]]),
    "MultiOneHot": (rl.MultiOneHot([2, 3]), [[1, 0, 0, 2, 0]], None, [[1, 0, 0, 1, 0]]),
}


@pytest.mark.parametrize("name", CASES)
def test_nearest_valid_action(name):
    space, value, mask, expected = CASES[name]
    found = projection(space)(torch.tensor(value), None if mask is None else torch.tensor(mask))
    expected = torch.tensor(expected)
    assert found.dtype == expected.dtype
    assert torch.equal(found, expected)


def test_what_is_valid_keeps_its_gradient():
    params, act = actor(linear(3), one_hot_categorical, in_keys=["observation"], spec=rl.OneHot(3), safe=True)
    weights = {name: tensor.detach() for name, tensor in params[0].items()}
    prices = torch.tensor([1.0, 5.0, -2.0])

    def loss(weights, act, rest):
        return (act((weights, *rest), KEY, DATA)["action"] * prices).sum()

    plain = torch.func.grad(loss)(weights, Sequential(*act.steps[:2]), ((),))
    safe = torch.func.grad(loss)(weights, act, ((), ()))
    assert safe["weight"].abs().sum() > 0
    torch.testing.assert_close(safe, plain)


def test_a_composite_spec_is_looked_up_by_key():
    spec = gym.Dict({"unit": gym.Discrete(2), "arm": gym.Box(-1, 1, (2,))})
    keys = [("action", "unit"), ("action", "arm"), "other"]
    step = project(spec, keys, {})
    assert step.out_keys == (("action", "unit"), ("action", "arm"))
    data = {"action": {"unit": torch.tensor(7), "arm": torch.tensor([3.0, 0.0])}, "other": torch.tensor(9)}
    after = step((), None, data)
    assert after["action"]["unit"] == 1
    assert torch.equal(after["action"]["arm"], torch.tensor([1.0, 0.0]))
    pair = gym.Tuple([gym.Discrete(2), gym.Discrete(3)])
    assert project(pair, [("action", "1")], {}).out_keys == (("action", "1"),)
    nested = rl.Composite(agents=rl.Composite(action=rl.Bounded(-1, 1, (2,))))
    assert project(nested, [("agents", "action")], {}).out_keys == (("agents", "action"),)


def test_specs_that_do_not_fit():
    with pytest.raises(TypeError, match=r"spec must be one of gymnasium.Box, .* got gymnasium.spaces.text.Text"):
        project(gym.Text(3), ["action"], {})
    with pytest.raises(KeyError, match="has none of the actions"):
        project(gym.Dict({"arm": gym.Discrete(2)}), ["action"], {})
    with pytest.raises(KeyError, match=r"masks of \['arm'\]"):
        project(gym.Discrete(2), ["action"], {"arm": "mask"})
    with pytest.raises(ValueError, match=r"a spec of shape \(4, 2\) does not fit an action of shape \(2,\)"):
        projection(rl.Bounded(-1, 1, (4, 2)))(torch.zeros(2), None)
    with pytest.raises(ValueError, match="must have 3 entries"):
        projection(gym.Discrete(3))(torch.tensor(0), torch.ones(4, dtype=torch.bool))


def test_steps_of_ones_own_compose_alike():
    params, act = actor(linear(4), TORQUE, in_keys=["observation"])
    tail = FunctionModule(lambda params, action: action.abs(), ["action"], ["size"])
    longer = Sequential(act, tail)
    after = longer((params, ()), KEY, DATA)
    assert torch.equal(after["size"], act(params, KEY, DATA)["action"].abs())
    assert torch.equal(longer.log_prob((params, ()), after), act.log_prob(params, after))


def test_a_tuple_of_families_is_a_dict_in_the_data() -> None:
    class Pair(NamedTuple):
        unit: Any
        aim: Any

    network = nn.Linear(3, 7), lambda layer, x: (layer(x)[..., :3], layer(x)[..., 3:])
    for families, names in (((categorical, normal), ("0", "1")), (Pair(categorical, normal), ("unit", "aim"))):
        params, act = actor(network, families, in_keys=["observation"], return_log_prob=True)
        given = {"observation": torch.linspace(-1, 1, 12).view(4, 3)}
        data = act(params, random.key(1), TensorDict(given, 4))
        assert {*data["params"].keys(True, True)} == {(names[0], "logits"), (names[1], "loc"), (names[1], "scale")}
        plain = act(params, random.key(1), given)
        assert torch.equal(act.log_prob(params, data), plain["sample_log_prob"])
        assert torch.equal(data["action", "0"], plain["action"]["0"])
