# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # PPO with masked actions, four agents at once
#
# Proximal policy optimisation ([Schulman et al., 2017](https://arxiv.org/abs/1707.06347)) on gymnasium's `Taxi-v4`:
# fetch a passenger, deliver them, 20 points for the delivery, -1 a step and -10 for each attempt to pick up or drop
# off where that is impossible. The best mean return is about 7.9. The environment says which actions change anything,
# and `masked_categorical` leaves out the others: they are never drawn, and get neither probability nor gradient.
#
# Four agents learn with that mask; then four learn without it, by the same compiled functions with a mask of all
# True. Run this as a script, or cell by cell.

# %%
import argparse
import sys
from functools import partial
from pathlib import Path
from timeit import default_timer
from typing import NamedTuple

import gymnasium as gym
import matplotlib
import numpy as np
import torch
from optree import tree_map
from torch import Tensor
from torch.func import grad, vmap
from torch.nn.functional import pad
from tqdm import tqdm

from functional_dists import masked_categorical, random

IN_SCRIPT = "__file__" in globals()
parser = argparse.ArgumentParser(description="Train PPO agents on Taxi-v4, with and without the mask of its actions.")
parser.add_argument("--seed", type=int, default=0, help="everything random in the run follows from it")
parser.add_argument("--steps", type=int, default=160_000, help="environment steps per agent, 2000 to an update")
parser.add_argument("--agents", type=int, default=4, help="agents trained at once")
parser.add_argument("--smoke", action="store_true", help="four updates only, to see that everything runs")
parser.add_argument("--output", type=Path, default=Path("outputs"), help="folder for the plot and the policies")
args = parser.parse_args() if IN_SCRIPT else parser.parse_args([])

STATES, ACTIONS, AGENTS = 500, 6, args.agents
TAXIS, LENGTH = 20, 100  # an agent drives 20 taxis for 100 steps, then learns from these 2000
EPOCHS, MINIBATCHES = 4, 4
ROLLOUTS = 4 if args.smoke else args.steps // (TAXIS * LENGTH)
LEARNING_RATE, DISCOUNT, GAE_DECAY, CLIP, ENTROPY_BONUS = 3e-2, 0.99, 0.95, 0.2, 3e-2
REWARD_UNIT = 20.0  # a delivery counts as 1, so that values are of a size that Adam's steps reach
LAST, GOAL = 100, 5.0  # each agent's mean return over its last hundred training episodes must exceed the goal
GREEDY_ROUNDS = 1 if args.smoke else 10  # an episode of every taxi in each: 200 episodes per agent

torch.set_num_threads(1)  # tensors as small as these lose more to a second thread than they gain
if IN_SCRIPT:
    matplotlib.use("Agg")
import matplotlib.pyplot as plt

# %% [markdown]
# ## A policy that is a function
#
# Taxi has 500 states, so tables will do in place of networks: the logits of the six actions and the value of every
# state. The policy is the row of a state, and the mask that came with that state.


# %%
class Rollout(NamedTuple):
    """Of one agent, each of shape (LENGTH, TAXIS, ...)."""

    obs: Tensor
    mask: Tensor
    action: Tensor
    log_prob: Tensor
    reward: Tensor
    next_obs: Tensor  # where an episode ends, its own last observation
    terminated: Tensor
    done: Tensor  # terminated, or cut off after 200 steps


def policy(tables: dict[str, Tensor], obs: Tensor, mask: Tensor) -> masked_categorical.Params:
    return masked_categorical.Params(tables["logits"][obs], mask)


@partial(torch.compile, fullgraph=True)
def act(tables, keys, obs, mask, step):
    def one_agent(tables, key, obs, mask):
        return masked_categorical.sample_and_log_prob(random.fold_in(key, step), *policy(tables, obs, mask))

    return vmap(one_agent)(tables, keys, obs, mask)


# %% [markdown]
# ## Advantages
#
# Generalised advantage estimation is a recursion back in time, $A_t = \delta_t + c_t A_{t+1}$, where $c_t$ is 0 at the
# end of an episode. Unrolled it would be a hundred steps in the compiled graph. Instead all steps look ahead together,
# and each round doubles how far: seven rounds, the same sums.
#
# An episode that is cut off has not ended for the critic: it bootstraps through the cut, from the episode's last
# observation.


# %%
def discounted_sums(delta: Tensor, carry: Tensor) -> Tensor:
    ahead = 1
    while ahead < len(delta):
        later_delta, later_carry = (pad(x[ahead:], (0, 0, 0, ahead)) for x in (delta, carry))
        delta, carry = delta + carry * later_delta, carry * later_carry
        ahead *= 2
    return delta


def advantages_and_targets(tables: dict[str, Tensor], rollout: Rollout) -> tuple[Tensor, Tensor]:
    value, next_value = tables["values"][rollout.obs], tables["values"][rollout.next_obs]
    delta = rollout.reward / REWARD_UNIT + DISCOUNT * next_value * ~rollout.terminated - value
    advantage = discounted_sums(delta, DISCOUNT * GAE_DECAY * ~rollout.done)
    return (advantage - advantage.mean()) / (advantage.std() + 1e-8), advantage + value


# %% [markdown]
# ## The loss of one agent, and the update of all of them
#
# `log_prob` and `entropy` are those of the distribution over the allowed actions, and so is their gradient: nothing
# here has to set logits to -1e9 or multiply by the mask.
#
# `prepare` and `minibatch_step` are compiled with all agents inside, each into one graph without a break: keys,
# permutations and advantages in the first, gradients and Adam in the second. `update` calls the second for every
# minibatch, since sixteen of them in one graph would take minutes to compile. Adam's step count is a tensor: to the
# compiler a Python number is a constant, and a new one a reason to compile again.


# %%
def loss(tables: dict[str, Tensor], batch: Rollout, advantage: Tensor, target: Tensor) -> Tensor:
    params = policy(tables, batch.obs, batch.mask)
    ratio = (masked_categorical.log_prob(*params, batch.action) - batch.log_prob).exp()
    surrogate = torch.minimum(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage)
    critic_loss = (tables["values"][batch.obs] - target).square()
    return (critic_loss - surrogate - ENTROPY_BONUS * masked_categorical.entropy(*params)).mean()


def adam(grads: dict, state: tuple, tables: dict) -> tuple[dict, tuple]:
    step, mean, square = state
    step = step + 1
    mean = tree_map(lambda m, g: 0.9 * m + 0.1 * g, mean, grads)
    square = tree_map(lambda s, g: 0.999 * s + 0.001 * g * g, square, grads)
    rate, unbias = LEARNING_RATE / (1 - 0.9**step), 1 / (1 - 0.999**step)
    tables = tree_map(lambda p, m, s: p - rate * m / ((s * unbias).sqrt() + 1e-8), tables, mean, square)
    return tables, (step, mean, square)


@partial(torch.compile, fullgraph=True)
def prepare(tables, keys, number, rollouts):
    def one_agent(tables, key, rollout):
        rows = random.permutation(random.fold_in(key, number), (EPOCHS, TAXIS * LENGTH))
        samples = rollout, *advantages_and_targets(tables, rollout)
        return rows.reshape(EPOCHS * MINIBATCHES, -1), tree_map(lambda x: x.flatten(0, 1), samples)

    return vmap(one_agent)(tables, keys, rollouts)


@partial(torch.compile, fullgraph=True)
def minibatch_step(tables, optimiser, rows, samples):
    def one_agent(tables, optimiser, rows, samples):
        grads = grad(loss)(tables, *tree_map(lambda x: x[rows], samples))
        return adam(grads, optimiser, tables)

    return vmap(one_agent)(tables, optimiser, rows, samples)


def update(tables: dict, optimiser: tuple, keys: Tensor, number: Tensor, rollouts: Rollout) -> tuple[dict, tuple]:
    rows, samples = prepare(tables, keys, number, rollouts)
    for minibatch in rows.unbind(1):
        tables, optimiser = minibatch_step(tables, optimiser, minibatch, samples)
    return tables, optimiser


# %% [markdown]
# ## Driving
#
# The environments reset themselves in the very step that ends an episode (`SAME_STEP`), so no step is a dummy that
# must be kept from training: what `step` returns then is the first observation of the next episode together with its
# mask, and the last one of the old is in `final_obs`. A step keeps the mask it acted on, since the loss needs it again.


# %%
def make_environments() -> gym.vector.VectorEnv:
    options = {"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP}
    return gym.make_vec("Taxi-v4", AGENTS * TAXIS, vectorization_mode="sync", vector_kwargs=options)


def by_agent(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array).unflatten(0, (AGENTS, TAXIS))


def mask_of(info: dict) -> Tensor:
    return by_agent(info["action_mask"]).bool()


def own_next_obs(next_obs: np.ndarray, info: dict) -> Tensor:
    if "final_obs" in info:
        next_obs = np.where(info["_final_obs"], info["final_obs"], next_obs).astype(next_obs.dtype)
    return by_agent(next_obs)


# %% [markdown]
# ## Training


# %%
class Run(NamedTuple):
    tables: dict[str, Tensor]
    episodes: Tensor  # a row for each finished one: the agent's steps until then, the agent, the return
    invalid: Tensor  # (ROLLOUTS,): the share of the actions taken that the environment's mask rules out
    seconds: Tensor  # (ROLLOUTS, 2): spent on driving, and on the update


def train(seed: int, masked: bool, rollouts: int) -> Run:
    reset_key, act_key, update_key = random.split(random.key(seed), 3)
    act_keys, update_keys = random.split(act_key, AGENTS), random.split(update_key, AGENTS)
    tables = {"logits": torch.zeros(AGENTS, STATES, ACTIONS), "values": torch.zeros(AGENTS, STATES)}
    optimiser = (torch.zeros(AGENTS), *(tree_map(torch.zeros_like, tables) for _ in range(2)))
    environments = make_environments()
    obs, info = environments.reset(seed=random.randint(reset_key, (AGENTS * TAXIS,), 0, 2**31).tolist())
    obs, valid = by_agent(obs), mask_of(info)
    returns, episodes, seconds = torch.zeros(AGENTS, TAXIS), [], torch.zeros(rollouts, 2)
    invalid = torch.zeros(rollouts)
    progress = tqdm(range(rollouts), "with mask" if masked else "without mask", unit=" updates", disable=None)
    for number in progress:
        start, steps = default_timer(), []
        for t in range(LENGTH * number, LENGTH * (number + 1)):
            mask = valid if masked else torch.ones_like(valid)
            action, log_prob = act(tables, act_keys, obs, mask, torch.tensor(t))
            refused = ~valid.gather(-1, action.unsqueeze(-1))
            assert not (masked and refused.any()), "a masked action was drawn"
            invalid[number] += refused.float().mean() / LENGTH
            next_obs, *outcome, info = environments.step(action.flatten().numpy())
            reward, terminated, truncated = map(by_agent, outcome)
            reward, done = reward.float(), terminated | truncated
            steps.append(Rollout(obs, mask, action, log_prob, reward, own_next_obs(next_obs, info), terminated, done))
            returns += reward
            episodes += [
                ((t + 1) * TAXIS, agent, returns[agent, taxi].item()) for agent, taxi in done.nonzero().tolist()
            ]
            returns = returns * ~done
            obs, valid = by_agent(next_obs), mask_of(info)
        batch = tree_map(lambda *leaves: torch.stack(leaves, dim=1), *steps)
        driven = default_timer()
        tables, optimiser = update(tables, optimiser, update_keys, torch.tensor(number), batch)
        seconds[number] = torch.tensor([driven - start, default_timer() - driven])
        if episodes:
            latest = np.mean([value for *_, value in episodes[-LAST:]])
            progress.set_postfix_str(f"mean return {latest:.1f}")
    return Run(tables, torch.tensor(episodes), invalid, seconds)


start = default_timer()
runs = {name: train(args.seed, name == "with mask", ROLLOUTS) for name in ("with mask", "without mask")}
print(
    f"{AGENTS} agents, {ROLLOUTS * LENGTH * TAXIS} steps each, twice: {default_timer() - start:.0f} s with compilation."
)

# %% [markdown]
# The lines are the means over the agents of the returns of finished episodes, the bands go from the worst agent to the
# best. Both panels show the same curves, the right one near the goal.


# %%
def learning_curve(episodes: Tensor) -> tuple[Tensor, Tensor]:
    """Return steps, and what each agent's episodes gave on average that finished in the interval up to there."""
    interval = 2 * LENGTH * TAXIS  # a taxi's 200 steps, the longest an episode may take: no interval is empty
    ends = interval * torch.arange(1, ROLLOUTS // 2 + 1)
    steps, agent, value = episodes.unbind(1)
    here = (steps > (ends - interval)[:, None, None]) & (steps <= ends[:, None, None])
    here = here & (agent == torch.arange(AGENTS)[:, None])  # (intervals, AGENTS, episodes)
    return ends, (here * value).sum(-1) / here.sum(-1)


plt.rcParams.update({"font.size": 11, "savefig.dpi": 160, "axes.grid": True, "grid.color": "0.93"})
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})

figure, (whole, close) = plt.subplots(ncols=2, figsize=(11, 4.5), layout="constrained")
for axes in (whole, close):
    for (name, run), colour in zip(runs.items(), ("#c8102e", "#2b8cbe"), strict=True):
        steps, curves = learning_curve(run.episodes)
        axes.fill_between(steps, curves.amin(1), curves.amax(1), color=colour, alpha=0.2, linewidth=0)
        axes.plot(steps, curves.mean(1), color=colour, linewidth=2, label=f"{name}, mean and range of {AGENTS} agents")
    axes.axhline(GOAL, linewidth=1.5, color="0.2", linestyle="dotted", zorder=3, label=f"goal, {GOAL:.0f}")
    axes.set(xlabel="environment steps per agent", ylabel="mean return of finished episodes", xlim=(0, None))
    axes.locator_params(axis="x", nbins=5)
whole.legend(loc="lower right", frameon=False)
whole.set_title("PPO on Taxi-v4, with and without its mask", loc="left", weight="bold")
close.set_title("The same near the goal", loc="left", weight="bold")
close.set_ylim(-25, 12)
args.output.mkdir(parents=True, exist_ok=True)
figure.savefig(args.output / "ppo_taxi.png")

# %% [markdown]
# ## The same seed, the same curve
#
# Nothing draws from a hidden generator. A second run repeats the first, bit for bit.

# %%
again = train(args.seed, True, min(5, ROLLOUTS)).episodes
reproducible = torch.equal(again, runs["with mask"].episodes[: len(again)])
print(f"Second run, {len(again)} episodes: {'the same returns, bit for bit' if reproducible else 'DIFFERENT'}.")

# %% [markdown]
# ## Saved policies, loaded and played
#
# The policies are tables, with the agents on the first axis. Loaded again, each plays 200 episodes without noise:
# `masked_categorical.deterministic` is the best of the allowed actions.

# %%
policy_file = args.output / "ppo_taxi_policy.pt"
torch.save({name: run._asdict() for name, run in runs.items()} | {"seed": args.seed}, policy_file)


def play(tables: dict[str, Tensor], obs: Tensor, mask: Tensor) -> Tensor:
    return vmap(lambda *one: masked_categorical.deterministic(*policy(*one)))(tables, obs, mask)


def greedy_returns(tables: dict[str, Tensor], masked: bool, seed: int) -> Tensor:
    environments, rounds = make_environments(), []
    for number in range(GREEDY_ROUNDS):
        obs, info = environments.reset(seed=seed if number == 0 else None)
        returns, playing = torch.zeros(AGENTS, TAXIS), torch.ones(AGENTS, TAXIS, dtype=torch.bool)
        while playing.any():  # a taxi that is done drives on, in an episode that does not count
            mask = mask_of(info) if masked else torch.ones(AGENTS, TAXIS, ACTIONS, dtype=torch.bool)
            obs, *outcome, info = environments.step(play(tables, by_agent(obs), mask).flatten().numpy())
            reward, terminated, truncated = map(by_agent, outcome)
            returns += reward.float() * playing
            playing &= ~(terminated | truncated)
        rounds.append(returns)
    return torch.cat(rounds, dim=1)


saved = torch.load(policy_file, weights_only=True)
greedy = {name: greedy_returns(saved[name]["tables"], name == "with mask", args.seed).mean(1) for name in runs}

# %% [markdown]
# ## The verdict


# %%
def last_returns(episodes: Tensor) -> Tensor:
    return torch.stack([episodes[episodes[:, 1] == agent][-LAST:, 2].mean() for agent in range(AGENTS)])


def listed(values: Tensor) -> str:
    return "  ".join(f"{value:7.2f}" for value in values)


final = {name: last_returns(run.episodes) for name, run in runs.items()}
for name, run in runs.items():
    first, last = run.invalid[:5].mean(), run.invalid[-5:].mean()
    print(f"Seed {args.seed}, {name}, agents 1 to {AGENTS}:")
    print(f"  mean return of the last {LAST} training episodes  {listed(final[name])}")
    print(f"  mean return of {GREEDY_ROUNDS * TAXIS} episodes without noise     {listed(greedy[name])}")
    print(
        f"  actions taken that the mask rules out: {run.invalid.mean():.2%} (at first {first:.2%}, at last {last:.2%})"
    )
driving, updating = runs["with mask"].seconds.median(0).values.tolist()
print(f"Environment steps a second, actions included: {AGENTS * TAXIS * LENGTH / driving:.0f}.")
print(f"One update of {AGENTS} agents, {EPOCHS * MINIBATCHES} minibatches: {1e3 * updating:.0f} ms.")
print(f"Compilation took about {runs['with mask'].seconds[0].sum() - driving - updating:.0f} s.")
print(f"Plot and policies: {', '.join(map(str, sorted(args.output.glob('ppo_taxi*'))))}")
if not reproducible:
    sys.exit("FAILED: the second run differs from the first.")
if not args.smoke and not (torch.cat([final["with mask"], greedy["with mask"]]) > GOAL).all():
    sys.exit(f"FAILED: not all agents with the mask are above {GOAL:.0f}.")
print("A smoke run is too short to judge the goal." if args.smoke else f"Goal met: all agents are above {GOAL:.0f}.")
