"""# Offline data with actions at the bounds

A controller that clips its actions leaves a data set in which many actions are equal to a bound. The density of a
tanh-normal is 0 there, and its log-prob is -inf: a fit by maximum likelihood fails at once. This program records a
hand-written controller of gymnasium's `MountainCarContinuous-v0`, and fits two policies to its actions.

* `tanh_normal.inside(action, low, high)` moves an action at a bound to the nearest number inside. Its log-prob is then finite.
* `truncated_normal` has a density at its bounds, so it needs no such step.
* Neither clamps the density: the fit gets the exact gradient of the log-prob.

The program takes some seconds. `--short` records 2 episodes and makes 20 steps of the optimizer.
"""

import argparse

import gymnasium as gym
import torch
from torch import Tensor, nn
from tqdm import tqdm

from functional_dists import parameters, random, tanh_normal, truncated_normal

parser = argparse.ArgumentParser()
parser.add_argument("--short", action="store_true", help="record 2 episodes and make 20 steps of the optimizer")
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

EPISODES, STEPS, BATCH = (2, 20, 256) if args.short else (20, 1000, 256)
LOW, HIGH = -1.0, 1.0  # the forces of MountainCarContinuous-v0
torch.set_num_threads(1)


def controller(obs: Tensor) -> Tensor:
    """Push in the direction of the motion, the harder the faster, and clip the force to the bounds."""
    return torch.clamp(40 * obs[1:], LOW, HIGH)


def play(policy, episodes: int, seed: int) -> tuple[Tensor, Tensor, float]:
    """Return the observations and actions of some episodes, and their mean return."""
    env, observations, actions, total = gym.make("MountainCarContinuous-v0"), [], [], 0.0
    for episode in range(episodes):
        obs, is_over = env.reset(seed=seed + episode)[0], False
        while not is_over:
            observations.append(torch.from_numpy(obs))
            with torch.no_grad():
                actions.append(policy(observations[-1]))
            obs, reward, terminated, truncated, _ = env.step(actions[-1].numpy())
            total, is_over = total + float(reward), terminated or truncated
    return torch.stack(observations), torch.stack(actions), total / episodes


def outputs(network: nn.Module, obs: Tensor) -> tuple[Tensor, Tensor]:
    return parameters.normal_params(network(obs * torch.tensor([1.0, 20.0])))  # speeds are at most 0.07


def fit(family, obs: Tensor, action: Tensor, key: Tensor) -> tuple[nn.Module, float]:
    """Fit a policy by maximum likelihood; return its network and the mean log-prob of the data."""
    torch.manual_seed(args.seed)  # for the initial weights
    network = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 2))
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for step in tqdm(range(STEPS), unit=" steps", disable=None):
        rows = random.randint(random.fold_in(key, step), (BATCH,), 0, len(obs))
        loc, scale = outputs(network, obs[rows])
        loss = -family.log_prob(loc, scale, LOW, HIGH, action[rows]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return network, family.log_prob(*outputs(network, obs), LOW, HIGH, action).mean().item()


obs, action, expert = play(controller, EPISODES, args.seed)
at_bounds = (action.abs() == HIGH).float().mean().item()
print(f"controller: mean return {expert:.0f}; {at_bounds:.0%} of its actions are at a bound")

loc, scale = torch.zeros_like(action), torch.ones_like(action)
assert tanh_normal.log_prob(loc, scale, LOW, HIGH, action).isneginf().any()  # the density at a bound is 0
inside = tanh_normal.inside(action, LOW, HIGH)
assert tanh_normal.log_prob(loc, scale, LOW, HIGH, inside).isfinite().all()
assert truncated_normal.log_prob(loc, scale, LOW, HIGH, action).isfinite().all()

for family, data in ((tanh_normal, inside), (truncated_normal, action)):
    network, log_prob = fit(family, obs, data, random.key(args.seed))

    def policy(obs: Tensor, family=family, network=network) -> Tensor:
        return family.deterministic(*outputs(network, obs), LOW, HIGH)

    _, played, mean_return = play(policy, 2 if args.short else 10, seed=1000)
    name = family.__name__.rpartition(".")[2]
    print(f"{name}: mean log-prob {log_prob:.2f}, mean return {mean_return:.0f}")
    assert played.abs().max() <= HIGH
    assert all(weight.isfinite().all() for weight in network.parameters())
    assert args.short or mean_return > 85
