"""The repr of an object is the code that makes it, short: no addresses, no paths of modules, no numbers of tensors."""

import pickle
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from functional_dists import (
    bind,
    categorical,
    composite,
    define,
    distributions,
    independent,
    independent_normal,
    masked_categorical,
    normal,
    one_hot,
    one_hot_categorical,
    policy,
    sparse_categorical,
    tanh_normal,
)
from functional_dists.composite import Head
from functional_dists.family.reprs import shown
from functional_dists.spaces.recoded import Recoded, Shift


class Both(NamedTuple):
    move: Any
    aim: Any


class Discrete:
    """Stands for the space of gymnasium, whose repr names its size."""

    __module__ = "gymnasium.spaces"
    n, start = 4, 0

    def __repr__(self) -> str:
        return "Discrete(4)"


def network(params: Any, x: Any) -> Any:
    """Stand for a network."""
    return params, x


LINEAR, DEEP = torch.nn.Linear(3, 4), torch.nn.Sequential(*[torch.nn.Linear(4, 4) for _ in range(9)])
TORQUE = bind(tanh_normal, low=-2.0, high=2.0)
OBSERVATION = ["observation"]

# What a user writes, and the repr where it differs.
FAMILIES: dict[str, Any] = {
    "bind(tanh_normal, low=-2.0, high=2.0)": bind(bind(tanh_normal, low=-2.0), high=2.0),
    "bind(normal, event_dims=1)": bind(normal, event_dims=1),
    "bind(tanh_normal, low=Tensor(shape=(3,), dtype=float32))": bind(tanh_normal, low=torch.zeros(3)),
    "bind(normal, scale=ndarray(shape=(2,), dtype=float64))": bind(normal, scale=np.ones(2)),
    "bind(one_hot(categorical), gradient='relaxed')": bind(one_hot_categorical, gradient="relaxed"),
    "independent(normal, 1)": independent(normal),
    "independent(normal, 2)": independent(normal, 2),
    "independent(independent(normal, 1), 1)": independent(independent_normal),
    "bind(independent(normal, 1), scale=1.0)": bind(independent_normal, scale=1.0),
    "bind(independent(normal, 1), scale=1.0, loc=0.0)": bind(bind(independent_normal, scale=1.0), loc=0.0),
    "independent(bind(tanh_normal, low=-2.0, high=2.0), 1)": independent(TORQUE),
    "independent(one_hot(masked_categorical), 2)": independent(one_hot(masked_categorical), 2),
    "one_hot(bind(sparse_categorical, padding_value=-1))": one_hot(bind(sparse_categorical, padding_value=-1)),
    "composite.chain(unit=Head(family=categorical), aim=Head(family={'x': normal}, params=network))": composite.chain(
        unit=Head(categorical), aim=Head({"x": normal}, network)
    ),
    "Recoded(categorical, Shift(-1))": Recoded(categorical, Shift(-1)),
}
STEPS: dict[str, Any] = {
    "FunctionModule(network, ['x'], [('twice', 'x')])": policy.FunctionModule(network, ["x"], [("twice", "x")]),
    "policy.from_module(Linear(...), ['observation'], ['loc'])": policy.from_module(LINEAR, OBSERVATION, ["loc"])[1],
    "policy.project(Discrete(4), ['action'], {'action': 'mask'})": policy.project(
        Discrete(), ["action"], {"action": "mask"}
    ),
    "ProbabilisticModule(independent(normal, 1), ['loc', 'scale'], ['action'])": policy.ProbabilisticModule(
        independent_normal, ["loc", "scale"], ["action"], default_interaction_type="mode"
    ),
    "ProbabilisticModule({'a': normal}, {'a': ['loc', 'scale']}, default_interaction_type='random')": (
        policy.ProbabilisticModule({"a": normal}, {"a": ["loc", "scale"]}, default_interaction_type="RANDOM")
    ),
    "Sequential(FunctionModule(network, ['x'], ['p']), ProbabilisticModule(categorical, 'p', 'a', num_samples=3))": (
        policy.Sequential(
            policy.FunctionModule(network, ["x"], ["p"]),
            policy.ProbabilisticModule(categorical, "p", "a", num_samples=3),
        )
    ),
    "policy.actor(Linear(...), tanh_normal, in_keys=['observation'], return_log_prob=True)": policy.actor(
        LINEAR, tanh_normal, in_keys=OBSERVATION, return_log_prob=True
    )[1],
    "policy.actor((..., network), Both(move=categorical, aim=normal), in_keys=['observation'])": policy.actor(
        ({}, network), Both(categorical, normal), in_keys=OBSERVATION
    )[1],
}
OTHERS: dict[str, Any] = {
    "policy.actor(Sequential(...), categorical, in_keys=['observation'], spec=Discrete(4), safe=True)": policy.actor(
        DEEP, categorical, in_keys=OBSERVATION, spec=Discrete(), safe=True
    )[1],
    "define(Params)": define(normal.Params),
    "set_interaction_type('mode')": policy.set_interaction_type("MODE"),
    "FamilyDistribution(normal, loc: (2,), scale: ())": distributions.wrap(normal, torch.zeros(2), 1.0),
    "TanhNormal(loc: (2,), scale: (), low: (), high: ())": distributions.TanhNormal(torch.zeros(2), 1.0),
    "AddStateIndependentNormalScale((3,), scale_mapping='exp', scale_lb=0.0001)": (
        distributions.AddStateIndependentNormalScale(3)
    ),
}


@pytest.mark.parametrize(("text", "made"), [*FAMILIES.items(), *STEPS.items(), *OTHERS.items()])
def test_the_repr_is_the_code(text: str, made: Any) -> None:
    assert repr(made) == text


@pytest.mark.parametrize("made", [*FAMILIES.values(), *STEPS.values()], ids=repr)
def test_a_pickle_keeps_the_repr(made: Any) -> None:
    assert repr(pickle.loads(pickle.dumps(made))) == repr(made)


def test_a_step_of_an_actor_shows_the_network() -> None:
    act = policy.actor(LINEAR, tanh_normal, in_keys=OBSERVATION)[1]
    assert repr(act.steps[0]) == "FunctionModule(Linear(...), ['observation'], ['params'])"


def test_a_verb_of_a_made_family_says_whose_it_is() -> None:
    assert repr(TORQUE.log_prob).startswith("<function bind(tanh_normal, low=-2.0, high=2.0).log_prob at ")
    assert repr(one_hot_categorical.sample).startswith("<function one_hot(categorical).sample at ")
    assert repr(independent(categorical).entropy).startswith("<function independent(categorical, 1).entropy at ")
    assert pickle.loads(pickle.dumps(independent(categorical).mode)) is categorical.mode


def test_what_another_package_shows_at_length_is_cut() -> None:
    assert shown(torch.distributions.Normal(0.0, 1.0)) == "Normal(loc: 0.0, scale: 1.0)"
    assert shown(range(3)) == "range(0, 3)"
    assert shown(frozenset(range(100))) == "frozenset(...)"
    assert shown((1,)) == "(1,)"


def test_messages_name_families_not_modules() -> None:
    with pytest.raises(ValueError, match=r"got \[normal\]"):
        policy.ProbabilisticModule(normal, ["loc", "scale"], ["action"], keep_pretanh=True)
