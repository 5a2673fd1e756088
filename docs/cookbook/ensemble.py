"""# An ensemble under `vmap`, in one compiled update

Five probabilistic models of the dynamics of gymnasium's `Pendulum-v1`, as in
[Chua et al., 2018](https://arxiv.org/abs/1805.12114). Each model has its own weights and its own minibatches. All learn
in one call.

* `loss` and `update` are functions of one model. `vmap` maps them over weights and keys.
* `random.split(key, MODELS)` gives each model its own key, so each draws its own rows of the data.
* `torch.compile(fullgraph=True)` makes one graph of the draws, the gradients and Adam, for all models.
* The step is a tensor. To the compiler a Python number is a constant: a new number recompiles.

The disagreement of the models then says where they do not know the dynamics.

The program takes about 40 seconds on one core, most of it for the compiler. `--short` traces the same graph, and runs 30
updates without machine code.
"""

import argparse
from functools import partial

import gymnasium as gym
import torch
from optree import tree_map
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from tqdm import tqdm

from functional_dists import independent_normal, parameters, random

parser = argparse.ArgumentParser()
parser.add_argument("--short", action="store_true", help="make 30 updates without machine code")
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

MODELS, EPISODES, UPDATES, BATCH, LEARNING_RATE = 5, 10, (30 if args.short else 2000), 128, 3e-3
torch.set_num_threads(1)


def record(seed: int) -> tuple[Tensor, Tensor]:
    """Return inputs (observation, action) and changes of the observation, of a policy that draws uniform torques."""
    env, inputs, changes, key = gym.make("Pendulum-v1"), [], [], random.key(seed)
    for episode in range(EPISODES):
        obs, _ = env.reset(seed=seed + episode)
        for action in random.uniform(random.fold_in(key, episode), (200, 1)) * 4 - 2:
            next_obs, *_ = env.step(action.numpy())
            inputs.append(torch.cat([torch.from_numpy(obs), action]))
            changes.append(torch.from_numpy(next_obs - obs))
            obs = next_obs
    return torch.stack(inputs), torch.stack(changes)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 6))


network = mlp()  # it only lends its shape: `functional_call` runs it with the weights of a model


def predict(weights: dict, inputs: Tensor) -> independent_normal.Params:
    """Return the distribution of the change, of one model."""
    return independent_normal.Params(*parameters.normal_params(functional_call(network, weights, (inputs,))))


def loss(weights: dict, inputs: Tensor, changes: Tensor) -> Tensor:
    return -independent_normal.log_prob(predict(weights, inputs), changes).mean()


def update(weights: dict, state: tuple, key: Tensor, step: Tensor, inputs: Tensor, changes: Tensor) -> tuple:
    """Make a step of Adam, of one model."""
    rows = random.randint(random.fold_in(key, step), (BATCH,), 0, len(inputs))
    grads = grad(loss)(weights, inputs[rows], changes[rows])
    mean = tree_map(lambda m, g: 0.9 * m + 0.1 * g, state[0], grads)
    square = tree_map(lambda s, g: 0.999 * s + 0.001 * g * g, state[1], grads)
    rate, unbias = LEARNING_RATE / (1 - 0.9 ** (step + 1)), 1 / (1 - 0.999 ** (step + 1))
    weights = tree_map(lambda w, m, s: w - rate * m / ((s * unbias).sqrt() + 1e-8), weights, mean, square)
    return weights, (mean, square)


@partial(torch.compile, fullgraph=True, backend="aot_eager" if args.short else "inductor")
def update_all(weights, state, keys, step, inputs, changes):
    return vmap(update, in_dims=(0, 0, 0, None, None, None))(weights, state, keys, step, inputs, changes)


torch.manual_seed(args.seed)  # for the initial weights; everything else draws from keys
weights, _ = stack_module_state([mlp() for _ in range(MODELS)])
weights = tree_map(torch.Tensor.detach, weights)  # leaves without a history
state = tree_map(torch.zeros_like, weights), tree_map(torch.zeros_like, weights)
keys = random.split(random.key(args.seed), MODELS)
inputs, changes = record(args.seed)
for step in tqdm(range(UPDATES), unit=" updates", disable=None):
    weights, state = update_all(weights, state, keys, torch.tensor(step), inputs, changes)

inputs, changes = record(args.seed + 1000)  # episodes that no model has seen
params = vmap(predict, in_dims=(0, None))(weights, inputs)  # of shape (MODELS, rows, 3)
log_prob = independent_normal.log_prob(params, changes.expand(MODELS, -1, -1)).mean(1)
baseline = independent_normal.log_prob(changes.mean(0), changes.std(0), changes).mean().item()
disagreement = params.loc.std(0).mean().item()
far = inputs * torch.tensor([1.0, 1.0, 5.0, 1.0])  # speeds that the pendulum does not reach
far_disagreement = vmap(predict, in_dims=(0, None))(weights, far).loc.std(0).mean().item()
print(f"log-prob of new data: {', '.join(f'{value:.1f}' for value in log_prob)}; of a constant model: {baseline:.1f}")
print(f"disagreement: {disagreement:.3f} on new data, {far_disagreement:.3f} at speeds outside of the data")
assert log_prob.unique().numel() == MODELS  # each model has its own weights and its own rows
assert args.short or (log_prob > baseline + 3).all()
assert args.short or far_disagreement > 3 * disagreement
