"""A whole actor step, and a whole PPO loss over it, compiled and vmapped over an ensemble, number by number."""

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

from functional_dists import bind, composite, masked_categorical, parameters, random, tanh_normal
from functional_dists.composite import Head
from functional_dists.policy import FunctionModule, Sequential, actor, from_module

MEMBERS, BATCH, UNITS, AIM = 3, 8, 4, 2


class Network(nn.Module):
    """Scores of units, and for each unit where it would aim."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(5, 16)
        self.unit = nn.Linear(16, UNITS)
        self.aim = nn.Linear(16, UNITS * 2 * AIM)

    def forward(self, observation):
        hidden = torch.tanh(self.body(observation))
        return {"unit": self.unit(hidden), "aim": self.aim(hidden).unflatten(-1, (UNITS, 2 * AIM))}


def aim_of_chosen(params, earlier):
    chosen = torch.take_along_dim(params["aim"], earlier["unit"][..., None, None], -2).squeeze(-2)
    return parameters.normal_params(chosen)


CHAIN = composite.chain(unit=Head(masked_categorical), aim=Head(bind(tanh_normal, low=-2.0, high=2.0), aim_of_chosen))


def make_policy(seed):
    """An actor and a critic in one sequence."""
    torch.manual_seed(seed)
    actor_params, act = actor(
        Network(), CHAIN, in_keys=["observation"], data_keys={"unit": {"mask": "valid"}}, return_log_prob=True
    )
    critic_params, criticise = from_module(nn.Linear(5, 1), ["observation"], ["value"])
    scale = FunctionModule(lambda params, value: value.squeeze(-1) * 0.5, ["value"], ["value"])
    return (actor_params, critic_params, ()), Sequential(act, criticise, scale)


MADE = [make_policy(seed) for seed in range(MEMBERS)]
POLICY = MADE[0][1]
LANES = [pytree.tree_map(lambda leaf: leaf.detach(), params) for params, _ in MADE]
ENSEMBLE = pytree.tree_map(lambda *leaves: torch.stack(leaves), *LANES)
KEYS = random.split(random.key(11), MEMBERS)
DATA = {
    "observation": random.normal(random.key(1), (BATCH, 5)),
    "valid": random.bernoulli(random.key(2), (BATCH, UNITS), 0.6) | (torch.arange(UNITS) == 1),
}
RETURNS = random.normal(random.key(4), (BATCH,))


def act(params, key):
    after = POLICY(params, key, DATA)
    return {name: after[name] for name in ("action", "sample_log_prob", "value")}


def ppo_loss(params, rollout, returns):
    """The clipped surrogate with value loss and entropy bonus."""
    data = {**DATA, "action": rollout["action"]}
    after = POLICY((params[0], params[1], ()), None, data)
    advantage = returns - rollout["value"]
    ratio = (POLICY.log_prob(params, data) - rollout["sample_log_prob"]).exp()
    surrogate = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
    bonus = 0.01 * POLICY.entropy(params, data)
    return (0.5 * (after["value"] - returns).square() - surrogate - bonus).mean()


def moved(params):
    """Another policy than the one that acted, so that ratios differ from 1."""
    return pytree.tree_map(lambda leaf: leaf + 0.05 * torch.sin(7.0 * leaf), params)


def step_and_update(params, key):
    """Act, and take the gradient of the loss over what was done."""
    rollout = act(params, key)
    return rollout, torch.func.grad_and_value(ppo_loss)(moved(params), rollout, RETURNS)


def loop():
    """The plain eager loop over the members, with autograd instead of transformations."""
    results = []
    for params, key in zip(LANES, KEYS, strict=True):
        rollout = act(params, key)
        leaves, structure = pytree.tree_flatten(moved(params))
        leaves = [leaf.requires_grad_() for leaf in leaves]
        loss = ppo_loss(pytree.tree_unflatten(leaves, structure), rollout, RETURNS)
        gradients = torch.autograd.grad(loss, leaves)
        results.append((rollout, (pytree.tree_unflatten(list(gradients), structure), loss.detach())))
    return results


EXPECTED = loop()


def assert_same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_rollout_is_mixed_valid_and_well_scored():
    for params, (rollout, (gradients, loss)) in zip(LANES, EXPECTED, strict=True):
        unit, aim = rollout["action"]["unit"], rollout["action"]["aim"]
        assert unit.dtype == torch.int64
        assert torch.take_along_dim(DATA["valid"], unit[:, None], -1).all()
        assert (aim.abs() < 2).all()
        data = {**DATA, "action": rollout["action"]}
        assert_same(POLICY.log_prob(params, data), rollout["sample_log_prob"])
        assert loss.isfinite()
        assert all(leaf.abs().sum() > 0 for leaf in pytree.tree_leaves(gradients))


@pytest.mark.parametrize("member", range(MEMBERS))
def test_functional_gradients_are_those_of_autograd(member):
    assert_same(step_and_update(LANES[member], KEYS[member]), EXPECTED[member])


def test_vmapped_over_networks_and_keys_is_the_loop():
    found = torch.vmap(step_and_update)(ENSEMBLE, KEYS)
    for member, expected in enumerate(EXPECTED):
        assert_same(pytree.tree_map(lambda leaf, member=member: leaf[member], found), expected)


def test_compiled_is_the_loop():
    torch._dynamo.reset()
    compiled = torch.compile(step_and_update, fullgraph=True, backend="aot_eager")
    for params, key, expected in zip(LANES, KEYS, EXPECTED, strict=True):
        assert_same(compiled(params, key), expected)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled_and_vmapped_over_networks_and_keys_is_the_loop(backend):
    torch._dynamo.reset()
    found = torch.compile(torch.vmap(step_and_update), fullgraph=True, backend=backend)(ENSEMBLE, KEYS)
    for member, expected in enumerate(EXPECTED):
        assert_same(pytree.tree_map(lambda leaf, member=member: leaf[member], found), expected)


def test_an_optimizer_of_the_module_trains_the_policy():
    params, policy = make_policy(0)
    tensors = pytree.tree_leaves(params)
    optimizer = torch.optim.Adam(tensors, lr=1e-2)
    with torch.no_grad():
        rollout = act(params, KEYS[0])
    losses = []
    for _ in range(20):
        loss = ppo_loss(params, rollout, RETURNS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1
    assert policy.out_keys[-1] == "value"
