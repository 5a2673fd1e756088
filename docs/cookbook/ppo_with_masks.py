"""# PPO with action masks

Proximal policy optimisation ([Schulman et al., 2017](https://arxiv.org/abs/1707.06347)) on gymnasium's `Taxi-v4`. The
environment says in `info["action_mask"]` which actions have an effect.

* `masked_categorical` draws allowed actions only. Masked logits get neither probability nor gradient.
* The loss uses the mask that was stored with the action. It does not set logits to -1e9.
* `entropy` is that of the allowed actions, so the entropy bonus does not reward a long list of them.

Taxi has 500 states, so the logits and the values are tables. To use a network, replace `nn.Embedding` by it.

The program trains for 60 updates of 2000 steps, and takes about 10 seconds on one core. `--short` makes 2 updates.
"""

import argparse

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from functional_dists import masked_categorical, random

parser = argparse.ArgumentParser()
parser.add_argument("--short", action="store_true", help="make 2 updates only")
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

ENVS, LENGTH, UPDATES = 20, 100, (2 if args.short else 60)
EPOCHS, MINIBATCHES = 4, 4
LEARNING_RATE, DISCOUNT, GAE_DECAY, CLIP, ENTROPY_BONUS = 3e-2, 0.99, 0.95, 0.2, 3e-2
REWARD_UNIT = 20.0  # the reward of a delivery
torch.set_num_threads(1)

logits, values = nn.Embedding(500, 6), nn.Embedding(500, 1)
for table in (logits, values):
    nn.init.zeros_(table.weight)
optimizer = torch.optim.Adam([*logits.parameters(), *values.parameters()], LEARNING_RATE)


def mask_of(info: dict) -> Tensor:
    return torch.from_numpy(info["action_mask"]).bool()


def advantages(rollout: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return generalised advantage estimates and values, of shape (LENGTH, ENVS)."""
    with torch.no_grad():
        value, next_value = values(rollout["obs"]).squeeze(-1), values(rollout["next_obs"]).squeeze(-1)
    delta = rollout["reward"] / REWARD_UNIT + DISCOUNT * next_value * ~rollout["terminated"] - value
    carry, advantage, found = DISCOUNT * GAE_DECAY * ~rollout["done"], torch.zeros(ENVS), []
    for t in reversed(range(LENGTH)):
        advantage = delta[t] + carry[t] * advantage
        found.append(advantage)
    return torch.stack(found[::-1]), value


def loss(batch: dict[str, Tensor]) -> Tensor:
    params = masked_categorical.Params(logits(batch["obs"]), batch["mask"])
    ratio = (masked_categorical.log_prob(params, batch["action"]) - batch["log_prob"]).exp()
    advantage = (batch["advantage"] - batch["advantage"].mean()) / (batch["advantage"].std() + 1e-8)
    surrogate = torch.minimum(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage)
    critic_loss = (values(batch["obs"]).squeeze(-1) - batch["target"]).square()
    return (critic_loss - surrogate - ENTROPY_BONUS * masked_categorical.entropy(params)).mean()


act_key, shuffle_key = random.split(random.key(args.seed))
options = {"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP}
envs = gym.make_vec("Taxi-v4", ENVS, vectorization_mode="sync", vector_kwargs=options)
obs, info = envs.reset(seed=args.seed)
obs, mask = torch.from_numpy(obs), mask_of(info)
running, finished, refused = torch.zeros(ENVS), [], 0
for number in tqdm(range(UPDATES), unit=" updates", disable=None):
    steps = []
    for t in range(LENGTH * number, LENGTH * (number + 1)):
        with torch.no_grad():
            key = random.fold_in(act_key, t)
            action, log_prob = masked_categorical.sample_and_log_prob(key, logits(obs), mask)
        refused += int((~mask.gather(-1, action.unsqueeze(-1))).sum())
        next_obs, reward, terminated, truncated, info = envs.step(action.numpy())
        done = torch.from_numpy(terminated | truncated)
        own_next = next_obs
        if "final_obs" in info:  # the last observation of an episode that ended in this step
            own_next = np.where(info["_final_obs"], info["final_obs"], next_obs).astype(next_obs.dtype)
        names = ("obs", "mask", "action", "log_prob", "reward", "next_obs", "terminated", "done")
        reward, terminated = torch.from_numpy(reward).float(), torch.from_numpy(terminated)
        row = (obs, mask, action, log_prob, reward, torch.from_numpy(own_next), terminated, done)
        steps.append(dict(zip(names, row, strict=True)))
        running += reward
        finished += running[done].tolist()
        running *= ~done
        obs, mask = torch.from_numpy(next_obs), mask_of(info)

    rollout = {name: torch.stack([step[name] for step in steps]) for name in steps[0]}
    rollout["advantage"], value = advantages(rollout)
    rollout["target"] = rollout["advantage"] + value
    samples = {name: stored.flatten(0, 1) for name, stored in rollout.items()}
    for rows in random.permutation(random.fold_in(shuffle_key, number), (EPOCHS, ENVS * LENGTH)):
        for minibatch in rows.chunk(MINIBATCHES):
            optimizer.zero_grad()
            loss({name: stored[minibatch] for name, stored in samples.items()}).backward()
            optimizer.step()

last = torch.tensor(finished[-100:]).mean().item()
print(f"mean return of the last 100 episodes: {last:.1f} (the best is about 7.9); masked actions drawn: {refused}")
assert refused == 0
assert args.short or last > 4
