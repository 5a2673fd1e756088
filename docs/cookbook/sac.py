"""# Soft actor-critic

Soft actor-critic ([Haarnoja et al., 2018](https://arxiv.org/abs/1812.05905)) on gymnasium's `Pendulum-v1`, with ordinary
modules, autograd and `torch.optim.Adam`.

* `tanh_normal` with `low` and `high` is a distribution on the torques that the environment accepts. No action is rescaled.
* `rsample_and_log_prob` scores the noise of the draw. It never inverts tanh, so saturated actions lose no digits.
* Each step has its own key, `fold_in(key, step)`. A run is a function of its seed, and a resumed run needs only the step.

The program trains for 6000 steps, and takes about half a minute on one core. `--short` trains for 600 steps, to see that everything runs.
"""

import argparse
from copy import deepcopy

import gymnasium as gym
import torch
from torch import Tensor, nn
from tqdm import tqdm

from functional_dists import parameters, random, tanh_normal

parser = argparse.ArgumentParser()
parser.add_argument("--short", action="store_true", help="train for 600 steps only")
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

STEPS, WARM_UP, BATCH = (600 if args.short else 6000), 400, 128
LEARNING_RATE, DISCOUNT, TARGET_RATE = 2e-3, 0.98, 0.02
LOW, HIGH = -2.0, 2.0  # the torques of Pendulum-v1
TARGET_ENTROPY = -1.0  # minus the number of action dimensions
torch.set_num_threads(1)  # small tensors are slower with two threads


def mlp(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, outputs))


torch.manual_seed(args.seed)  # for the initial weights; everything else draws from keys
actor, critics = mlp(3, 2), nn.ModuleList([mlp(4, 1), mlp(4, 1)])
targets = deepcopy(critics).requires_grad_(False)
log_alpha = torch.zeros((), requires_grad=True)
actor_optimizer = torch.optim.Adam([*actor.parameters(), log_alpha], LEARNING_RATE)
critic_optimizer = torch.optim.Adam(critics.parameters(), LEARNING_RATE)


def policy(obs: Tensor) -> tanh_normal.Params:
    loc, scale = parameters.normal_params(actor(obs))  # splits the output, and makes the scale positive
    return tanh_normal.Params(loc, scale, LOW, HIGH)


def smaller_value(critics: nn.ModuleList, obs: Tensor, action: Tensor) -> Tensor:
    return torch.stack([critic(torch.cat([obs, action], -1)).squeeze(-1) for critic in critics]).amin(0)


def update(key: Tensor, obs: Tensor, action: Tensor, reward: Tensor, next_obs: Tensor) -> None:
    next_key, actor_key = random.split(key)
    alpha = log_alpha.detach().exp()

    with torch.no_grad():
        next_action, next_log_prob = tanh_normal.rsample_and_log_prob(next_key, *policy(next_obs))
        target = reward + DISCOUNT * (smaller_value(targets, next_obs, next_action) - alpha * next_log_prob)
    values = [critic(torch.cat([obs, action], -1)).squeeze(-1) for critic in critics]
    critic_optimizer.zero_grad()
    sum((value - target).square().mean() for value in values).backward()
    critic_optimizer.step()

    new_action, log_prob = tanh_normal.rsample_and_log_prob(actor_key, *policy(obs))
    critics.requires_grad_(False)
    actor_loss = alpha * log_prob - smaller_value(critics, obs, new_action)
    critics.requires_grad_(True)
    alpha_loss = -log_alpha * (log_prob.detach() + TARGET_ENTROPY)
    actor_optimizer.zero_grad()
    (actor_loss + alpha_loss).mean().backward()
    actor_optimizer.step()

    with torch.no_grad():
        for old, new in zip(targets.parameters(), critics.parameters(), strict=True):
            old.lerp_(new, TARGET_RATE)


explore_key, batch_key, update_key = random.split(random.key(args.seed), 3)
env = gym.make("Pendulum-v1")
replay = [torch.zeros(STEPS, *shape) for shape in [(3,), (1,), (), (3,)]]
obs, _ = env.reset(seed=args.seed)
obs, returns = torch.from_numpy(obs), [0.0]
for step in tqdm(range(STEPS), unit=" steps", disable=None):
    with torch.no_grad():
        action = tanh_normal.sample(random.fold_in(explore_key, step), *policy(obs))
    next_obs, reward, terminated, truncated, _ = env.step(action.numpy())
    next_obs, returns[-1] = torch.from_numpy(next_obs), returns[-1] + float(reward)
    for stored, new in zip(replay, (obs, action, float(reward), next_obs), strict=True):
        stored[step] = new
    obs = next_obs
    if terminated or truncated:  # Pendulum is cut off after 200 steps and never terminates: no target needs a mask
        obs = torch.from_numpy(env.reset()[0])
        returns.append(0.0)
    if step >= WARM_UP:
        rows = random.randint(random.fold_in(batch_key, step), (BATCH,), 0, step + 1)
        update(random.fold_in(update_key, step), *(stored[rows] for stored in replay))

last = torch.tensor(returns[:-1][-5:]).mean().item()
print(f"mean return of the last episodes: {last:.0f} after {STEPS} steps")
assert all(weight.isfinite().all() for weight in actor.parameters())
assert args.short or last > -300
