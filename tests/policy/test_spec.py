"""Outcome k of a discrete family is the action `start + k` of the spec, and specs that do not fit are refused."""

import copy
import math
import pickle
import re

import gymnasium.spaces as gym
import numpy as np
import pytest
import torch
import torchrl.data as rl
from torch import nn

from functional_dists import (
    bind,
    categorical,
    composite,
    masked_categorical,
    normal,
    one_hot_categorical,
    ordinal,
    random,
    tanh_normal,
)
from functional_dists.composite import Head
from functional_dists.family import name_of
from functional_dists.policy import ProbabilisticModule, actor

KEY = random.key(3)
LOGITS = random.normal(random.key(1), (500, 3))
MASK = torch.tensor([True, False, True])


def identity(output):
    """Return a network whose output is the input, or made of it."""
    return ((), lambda params, x: output(x))


def act_with(family, spec, **options):
    return actor(identity(lambda x: x), family, in_keys=["logits"], spec=spec, return_log_prob=True, **options)


@pytest.mark.parametrize("start", [-1, 0, 2])
@pytest.mark.parametrize("safe", [False, True])
@pytest.mark.parametrize("family", [categorical, ordinal], ids=["categorical", "ordinal"])
def test_outcome_k_is_the_action_start_plus_k(family, safe: bool, start: int) -> None:
    params, act = act_with(family, gym.Discrete(3, start=start), safe=safe)
    plain_params, plain = act_with(family, None)
    data = {"logits": LOGITS}
    for interaction in ("random", "mode", "deterministic"):
        after = act(params, KEY, data, interaction_type=interaction)
        outcome = plain(plain_params, KEY, data, interaction_type=interaction)["action"]
        assert torch.equal(after["action"], outcome + start)
        assert after["action"].dtype == torch.int64
        assert torch.equal(after["sample_log_prob"], family.log_prob(LOGITS, outcome))
        assert torch.equal(act.log_prob(params, after), after["sample_log_prob"])
        assert torch.equal(act.entropy(params, after), family.entropy(LOGITS))
    if family is categorical:
        even = act(params, KEY, {"logits": torch.zeros(3000, 3)})["action"]
        assert even.unique().tolist() == [start, start + 1, start + 2]
        assert (even - start).bincount().min() > 900


@pytest.mark.parametrize("safe", [False, True])
def test_masks_are_of_the_outcomes(safe: bool) -> None:
    options = {"mask_keys": "mask"} if safe else {}
    params, act = act_with(
        masked_categorical, gym.Discrete(3, start=-1), safe=safe, data_keys={"mask": "mask"}, **options
    )
    data = {"logits": LOGITS, "mask": MASK.expand(500, 3)}
    after = act(params, KEY, data)
    assert after["action"].unique().tolist() == [-1, 1]
    assert torch.equal(act.log_prob(params, after), after["sample_log_prob"])
    # A mask of the projection alone moves what the family draws.
    if safe:
        params, act = act_with(categorical, gym.Discrete(3, start=-1), safe=True, mask_keys="mask")
        after = act(params, KEY, data)
        assert after["action"].unique().tolist() == [-1, 1]
        assert torch.equal(after["sample_log_prob"], categorical.log_prob(LOGITS, after["action"] + 1))


@pytest.mark.parametrize("safe", [False, True])
def test_several_heads_have_starts_of_their_own(safe: bool) -> None:
    families = {"unit": categorical, "arm": tanh_normal, "pair": (categorical, one_hot_categorical)}
    spec = gym.Dict(
        {
            "unit": gym.Discrete(3, start=-1),
            "arm": gym.Box(-1, 1, (3,)),
            "pair": gym.Tuple([gym.Discrete(3, start=5), gym.Box(0, 1, (3,))]),
        }
    )
    network = identity(lambda x: {"unit": (x,), "arm": (x, 1.0), "pair": ((x,), (x,))})
    params, act = actor(network, families, in_keys=["x"], spec=spec, safe=safe, return_log_prob=True)
    plain_params, plain = actor(network, families, in_keys=["x"], return_log_prob=True)
    after, outcomes = act(params, KEY, {"x": LOGITS}), plain(plain_params, KEY, {"x": LOGITS})
    assert torch.equal(after["action"]["unit"], outcomes["action"]["unit"] - 1)
    assert torch.equal(after["action"]["pair"]["0"], outcomes["action"]["pair"]["0"] + 5)
    assert torch.equal(after["action"]["pair"]["1"], outcomes["action"]["pair"]["1"])
    assert torch.equal(after["sample_log_prob"], outcomes["sample_log_prob"])
    assert torch.equal(act.log_prob(params, after), after["sample_log_prob"])


def test_a_later_head_of_a_chain_sees_the_outcome() -> None:
    table = torch.tensor([[0.0, 9.0], [9.0, 0.0], [0.0, 9.0]])
    chain = composite.chain(
        unit=Head(categorical), move=Head(categorical, lambda params, earlier: (table[earlier["unit"]],))
    )
    spec = gym.Dict({"unit": gym.Discrete(3, start=-1), "move": gym.Discrete(2, start=10)})
    params, act = actor(identity(lambda x: {"unit": (x,)}), chain, in_keys=["x"], spec=spec, return_log_prob=True)
    after = act(params, KEY, {"x": LOGITS})
    assert after["action"]["unit"].unique().tolist() == [-1, 0, 1]
    assert ((after["action"]["move"] == 10) == (after["action"]["unit"] == 0)).float().mean() > 0.99
    assert torch.equal(act.log_prob(params, after), after["sample_log_prob"])
    assert act.entropy(params, after).shape == (500,)


@pytest.mark.parametrize("safe", [False, True])
def test_one_categorical_with_an_axis_for_equal_components(safe: bool) -> None:
    spec = gym.MultiDiscrete([3, 3], start=[-1, 4])
    params, act = act_with(categorical, spec, safe=safe)
    data = {"logits": torch.stack([LOGITS, -LOGITS], -2)}
    after = act(params, KEY, data)
    assert after["action"].shape == (500, 2)
    assert after["action"].amin(0).tolist() == [-1, 4]
    assert after["action"].amax(0).tolist() == [1, 6]
    outcome = after["action"] - torch.tensor([-1, 4])
    assert torch.equal(after["sample_log_prob"], categorical.log_prob(data["logits"], outcome))
    assert torch.equal(act.log_prob(params, after), after["sample_log_prob"])
    with pytest.raises(ValueError, match=r"spec is of 2 integers, .* shape \(500,\)"):
        act(params, KEY, {"logits": LOGITS})


@pytest.mark.parametrize("spec", [rl.Categorical(3), rl.Categorical(3, shape=(500,)), gym.Discrete(3)], ids=repr)
def test_without_a_start_an_outcome_is_the_action(spec) -> None:
    params, act = act_with(categorical, spec)
    plain_params, plain = act_with(categorical, None)
    after = act(params, KEY, {"logits": LOGITS})
    assert torch.equal(after["action"], plain(plain_params, KEY, {"logits": LOGITS})["action"])


def test_the_step_that_draws_takes_the_spec_too() -> None:
    step = ProbabilisticModule(
        categorical,
        ["logits"],
        ["action"],
        spec=gym.Discrete(3, start=-1),
        default_interaction_type="random",
        num_samples=2,
        return_log_prob=True,
    )
    after = step((), KEY, {"logits": LOGITS})
    assert after["action"].unique().tolist() == [-1, 0, 1]
    keys, data = random.split(KEY, 500), {"logits": LOGITS}
    vmapped = torch.vmap(lambda key, data: step((), key, data))
    assert torch.equal(vmapped(keys, data)["action"][7], step((), keys[7], {"logits": LOGITS[7]})["action"])
    compiled = torch.compile(lambda key, data: step((), key, data), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(KEY, data)["action"], after["action"])
    for again in (copy.deepcopy(step), pickle.loads(pickle.dumps(step))):
        assert torch.equal(again((), KEY, data)["action"], after["action"])


def test_the_distribution_object_is_of_actions() -> None:
    params, act = act_with(categorical, gym.Discrete(3, start=-1))
    after = act(params, KEY, {"logits": LOGITS})
    dist = act.dist(params, after)
    assert torch.equal(dist.log_prob(after["action"]), after["sample_log_prob"])
    assert torch.equal(dist.mode, LOGITS.argmax(-1) - 1)
    assert dist.sample(key=KEY).unique().tolist() == [-1, 0, 1]
    assert torch.equal(dist.entropy(), categorical.entropy(LOGITS))
    assert torch.equal(torch.distributions.kl_divergence(dist, act.dist(params, after)), torch.zeros(len(LOGITS)))


# ------------------------------------------------------------------------------------------- specs that do not fit
VECTORS = [gym.MultiDiscrete([3, 4]), gym.MultiBinary(3), rl.MultiCategorical([3, 4]), rl.Binary(3)]
VECTORS += [rl.MultiOneHot([3, 4])]
UNFIT = [
    *((family, spec) for family in (categorical, masked_categorical, ordinal) for spec in VECTORS),
    *((family, spec) for family in (one_hot_categorical, tanh_normal, normal) for spec in VECTORS),
    (tanh_normal, gym.Discrete(3)),
    (tanh_normal, rl.Categorical(3)),
    (tanh_normal, rl.OneHot(3)),
    (bind(tanh_normal, low=0.0, high=3.0), gym.Discrete(3)),
    (one_hot_categorical, gym.Discrete(3)),
    (categorical, rl.OneHot(3)),
    (categorical, gym.Box(-1, 1, (3,))),
    (categorical, gym.Box(-1, 1, (), dtype=np.int64)),
    (categorical, rl.Bounded(-1, 1, (3,))),
]


@pytest.mark.parametrize(("family", "spec"), UNFIT, ids=repr)
@pytest.mark.parametrize("safe", [False, True])
def test_a_spec_that_does_not_fit_is_refused(family, spec, safe: bool) -> None:
    name = re.escape(name_of(family))
    kind = "Bounded" if isinstance(spec, rl.Bounded) else type(spec).__name__
    with pytest.raises(ValueError, match=f"{kind}, does not fit the family .*{name}.*: use a "):
        actor(nn.Linear(3, 6), family, in_keys=["observation"], spec=spec, safe=safe)
    with pytest.raises(ValueError, match="does not fit the family"):
        actor(nn.Linear(3, 6), {"a": family}, in_keys=["x"], spec=rl.Composite(a=spec) if kind in dir(rl) else spec)


@pytest.mark.parametrize(
    ("family", "spec"),
    [
        (tanh_normal, gym.Box(-1, 1, (3,))),
        (tanh_normal, rl.Unbounded(3)),
        (one_hot_categorical, rl.OneHot(3)),
        (one_hot_categorical, gym.Box(0, 1, (3,))),
        (categorical, rl.Bounded(0, 2, (), dtype=torch.int64)),
    ],
    ids=repr,
)
def test_a_spec_that_fits_is_taken(family, spec) -> None:
    outputs = 6 if family is tanh_normal else 3
    params, act = actor(nn.Linear(3, outputs), family, in_keys=["observation"], spec=spec, safe=True)
    assert act(params, KEY, {"observation": torch.zeros(4, 3)})["action"].shape[:1] == (4,)


def test_the_object_of_shifted_actions_knows_their_support_and_what_is_none() -> None:
    network = torch.nn.Linear(2, 3)
    params, act = actor(network, categorical, in_keys=["x"], spec=gym.Discrete(3, start=-1))
    dist = act.dist(params, {"x": torch.zeros(2, 2)})
    assert dist.support.check(torch.tensor([-1, 1])).all()
    assert not dist.support.check(torch.tensor([2, -2])).any()
    scores = dist.log_prob(torch.tensor([0.5, math.nan]))
    assert scores[0] == -math.inf
    assert scores[1].isnan()
