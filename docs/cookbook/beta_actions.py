"""# Bounded actions with a Beta distribution

A Beta distribution lives on the interval of the actions itself: it has no mass beyond the bounds, and with concentrations above 1
its density is finite and has one peak. So its policy gradient has no bias from clipped actions.

* `parameters.beta_params` turns a network's output into the two concentrations; the bounds are parameters of the family.
* A rollout stores the logits of the actions, not the actions: next to a bound an action has few digits, and its logit has all. So
  the ratios of PPO are exact, and the first ones are 1.
* `beta.deterministic` is the mean, which moves smoothly; the mode would jump to a bound.

The task is to steer towards a target between -2 and 2; half of the targets are a bound. The program trains by PPO for 150 updates
of 1024 steps, and takes about 10 seconds on one core. `--short` makes 5 updates.
"""

import argparse

import torch
from torch import nn
from tqdm import tqdm

from functional_dists import beta, parameters, random

parser = argparse.ArgumentParser()
parser.add_argument("--short", action="store_true", help="make 5 updates only")
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

BATCH, UPDATES, EPOCHS, CLIP, BOUNDS = 1024, (5 if args.short else 150), 4, 0.2, (-2.0, 2.0)
torch.set_num_threads(1)
torch.manual_seed(args.seed)  # for the initial weights; everything else draws from keys
network = nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 2))
optimizer = torch.optim.Adam(network.parameters(), 3e-3)


def policy(observation: torch.Tensor) -> beta.Params:
    return beta.Params(*parameters.beta_params(network(observation), *BOUNDS))


def reward_of(action: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return -(action - target).square().squeeze(-1)


for number in tqdm(range(UPDATES), unit=" updates", disable=None):
    of_targets, of_actions = random.split(random.fold_in(random.key(args.seed), number))
    target = (4 * random.uniform(of_targets, (BATCH, 1)) - 2).mul(2).clamp(*BOUNDS)
    with torch.no_grad():
        logit = beta.sample_logit(of_actions, policy(target))
        old = beta.log_prob_logit(policy(target), logit, event_dims=1)  # of the logit as stored
        reward = reward_of(beta.from_logit(logit, *BOUNDS), target)
    advantage = (reward - reward.mean()) / reward.std()
    for epoch in range(EPOCHS):
        params = policy(target)
        ratio = torch.exp(beta.log_prob_logit(params, logit, event_dims=1) - old)
        assert epoch or (ratio == 1).all()
        surrogate = torch.minimum(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage)
        loss = -surrogate.mean() - 1e-3 * beta.entropy(params, event_dims=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

target = torch.linspace(*BOUNDS, 9).unsqueeze(-1)
with torch.no_grad():
    played = beta.deterministic(policy(target))
print("targets", [round(x, 1) for x in target.squeeze(-1).tolist()])
print("played ", [round(x, 1) for x in played.squeeze(-1).tolist()])
error = (played - target).abs().mean().item()
print(f"mean error {error:.2f}")
assert args.short or error < 0.25
