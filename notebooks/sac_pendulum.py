# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Eight soft actor-critic agents in one compiled update
#
# Soft actor-critic ([Haarnoja et al., 2018](https://arxiv.org/abs/1812.05905)) on gymnasium's `Pendulum-v1`. Eight
# agents learn at once, each with its own weights, environment and noise.
#
# In `functional_dists` a policy's distribution is a function, `tanh_normal.rsample_and_log_prob(key, *params)`. It
# hides no state, so it goes where any tensor function goes: into a loss, the loss into `grad_and_value`, that into
# `vmap` over the agents, and all of it into `torch.compile(fullgraph=True)`. Run this as a script, or cell by cell.

# %%
import argparse
import sys
from copy import deepcopy
from functools import partial
from pathlib import Path
from timeit import default_timer, timeit

import gymnasium as gym
import matplotlib
import torch
from cycler import cycler
from optree import tree_map
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from tqdm import tqdm

from functional_dists import parameters, random, tanh_normal

IN_SCRIPT = "__file__" in globals()
parser = argparse.ArgumentParser(description="Train SAC agents on Pendulum-v1, all in one compiled update.")
parser.add_argument("--seed", type=int, default=0, help="everything random in the run follows from it")
parser.add_argument("--steps", type=int, default=10_000, help="environment steps per agent, 200 to an episode")
parser.add_argument("--agents", type=int, default=8, help="agents trained at once")
parser.add_argument("--smoke", action="store_true", help="three episodes only, to see that everything runs")
parser.add_argument("--output", type=Path, default=Path("outputs"), help="folder for the plots and the policy")
args = parser.parse_args() if IN_SCRIPT else parser.parse_args([])

AGENTS, EPISODE, WARM_UP, BATCH, WIDTH = args.agents, 200, 400, 128, 64
EPISODES = 3 if args.smoke else args.steps // EPISODE
LEARNING_RATE, DISCOUNT, TARGET_RATE = 2e-3, 0.98, 0.02
LOW, HIGH = torch.tensor([-2.0]), torch.tensor([2.0])  # the torques that Pendulum-v1 accepts, in N m
LAST, GOAL = 10, -250.0  # each agent's mean return over its last ten training episodes must exceed the goal

torch.set_num_threads(1)  # tensors as small as these lose more to a second thread than they gain
if IN_SCRIPT:
    matplotlib.use("Agg")
import matplotlib.pyplot as plt

# %% [markdown]
# ## Networks, and a policy that is a function
#
# The two modules only lend their shape: `functional_call` runs them with the weights it is given. The twin critics are
# one network with two sets of weights, mapped over by `vmap`.


# %%
def mlp(inputs: int, outputs: int) -> nn.Sequential:
    hidden = [nn.Linear(inputs, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(WIDTH, outputs))


actor, critic = mlp(3, 2), mlp(4, 1)  # a pendulum gives three observations and takes one action


def policy(weights: dict, obs: Tensor) -> tanh_normal.Params:
    loc, scale = parameters.normal_params(functional_call(actor, weights, (obs,)))
    return tanh_normal.Params(loc, scale, LOW, HIGH)


def twin_values(weights: dict, obs: Tensor, action: Tensor) -> Tensor:
    inputs = torch.cat([obs, action], dim=-1)
    return vmap(partial(functional_call, critic), in_dims=(0, None))(weights, (inputs,)).squeeze(-1)


# %% [markdown]
# ## The loss of one agent
#
# One scalar holds all three losses; `detach` keeps each away from weights that are not its own. An action and its
# log-density come from the same noise, never through an inverse tanh, and the noise comes from a **key**: a small
# tensor that stands for a stream of random numbers. `vmap` maps over keys as over any other argument, so each agent
# has its own noise; and one key gives the same numbers in eager code, under `vmap`, and compiled.


# %%
def loss(learned: dict, targets: dict, key: Tensor, batch: tuple[Tensor, ...]) -> Tensor:
    obs, action, reward, next_obs = batch
    fixed = tree_map(torch.Tensor.detach, learned)
    alpha = fixed["log_alpha"].exp()

    params = policy(learned["actor"], torch.stack([obs, next_obs]))
    (new_action, next_action), (log_prob, next_log_prob) = tanh_normal.rsample_and_log_prob(key, *params)

    next_value = twin_values(targets, next_obs, next_action).amin(0) - alpha * next_log_prob
    target = (reward + DISCOUNT * next_value).detach()
    critic_loss = (twin_values(learned["critics"], obs, action) - target).square().sum(0)
    actor_loss = alpha * log_prob - twin_values(fixed["critics"], obs, new_action).amin(0)
    alpha_loss = learned["log_alpha"] * (1.0 - log_prob.detach())  # brings the entropy, E[-log_prob], to -1
    return (critic_loss + actor_loss + alpha_loss).mean()


# %% [markdown]
# ## The update of one agent, and of all of them
#
# `update` is a pure function of parameters, optimiser state, key and batch. Adam is a few lines on pytrees; its step
# count is a tensor, since to the compiler a Python number is a constant, and a new one a reason to compile again.
#
# `train_step` maps over the agents. What `torch.compile` traces is all of it, for all agents: the keys, the draw of
# the batch, the actions, the gradients, Adam, the target networks. It becomes one graph without a break.


# %%
def adam(grads: dict, state: tuple, learned: dict) -> tuple[dict, tuple]:
    step, mean, square = state
    step = step + 1
    mean = tree_map(lambda m, g: 0.9 * m + 0.1 * g, mean, grads)
    square = tree_map(lambda s, g: 0.999 * s + 0.001 * g * g, square, grads)
    rate, unbias = LEARNING_RATE / (1 - 0.9**step), 1 / (1 - 0.999**step)
    learned = tree_map(lambda p, m, s: p - rate * m / ((s * unbias).sqrt() + 1e-8), learned, mean, square)
    return learned, (step, mean, square)


def update(params: tuple, optimiser: tuple, key: Tensor, batch: tuple[Tensor, ...]) -> tuple[tuple, tuple]:
    learned, targets = params
    grads, _ = grad_and_value(loss)(learned, targets, key, batch)
    learned, optimiser = adam(grads, optimiser, learned)
    targets = tree_map(lambda old, new: old + TARGET_RATE * (new - old), targets, learned["critics"])
    return (learned, targets), optimiser


@partial(torch.compile, fullgraph=True)
def train_step(params, optimiser, keys, replay, step):
    def one_agent(params, optimiser, key, replay):
        rows_key, update_key = random.split(random.fold_in(key, step))
        rows = random.randint(rows_key, (BATCH,), 0, step + 1)  # the replay buffer is filled up to this step
        return update(params, optimiser, update_key, tree_map(lambda stored: stored[rows], replay))

    return vmap(one_agent)(params, optimiser, keys, replay)


@partial(torch.compile, fullgraph=True)
def explore(weights, keys, obs, step):
    return vmap(lambda w, key, o: tanh_normal.sample(random.fold_in(key, step), *policy(w, o)))(weights, keys, obs)


# %% [markdown]
# ## Training
#
# Every agent has its own pendulum and makes one update per step. All episodes end together after 200 steps, cut off
# and never terminated: the loop resets them itself, and the critics bootstrap through the cut.


# %%
def initial(seed: int) -> tuple[tuple, tuple]:
    torch.manual_seed(seed)  # modules draw their weights from the global generator; nothing else here does
    actors, _ = stack_module_state([mlp(3, 2) for _ in range(AGENTS)])
    critics, _ = stack_module_state([mlp(4, 1) for _ in range(2 * AGENTS)])
    critics = tree_map(lambda stacked: stacked.unflatten(0, (AGENTS, 2)), critics)
    learned = {"actor": actors, "critics": critics, "log_alpha": torch.zeros(AGENTS)}
    learned = tree_map(torch.Tensor.detach, learned)  # leaves without an autograd history: vmap(grad) needs none
    mean, square = (tree_map(torch.zeros_like, learned) for _ in range(2))
    return (learned, tree_map(torch.clone, learned["critics"])), (torch.zeros(AGENTS), mean, square)


def make_environments() -> gym.vector.VectorEnv:
    options = {"autoreset_mode": gym.vector.AutoresetMode.DISABLED}
    return gym.make_vec("Pendulum-v1", AGENTS, vectorization_mode="sync", vector_kwargs=options)


def train(seed: int, episodes: int) -> tuple[tuple, tuple, tuple[Tensor, ...], Tensor]:
    reset_key, explore_key, update_key = random.split(random.key(seed), 3)
    reset_seeds = random.randint(reset_key, (AGENTS,), 0, 2**31).tolist()
    explore_keys, update_keys = random.split(explore_key, AGENTS), random.split(update_key, AGENTS)
    params, optimiser = initial(seed)
    environments = make_environments()
    replay = tuple(torch.zeros(AGENTS, EPISODES * EPISODE, *shape) for shape in [(3,), (1,), (), (3,)])
    returns = torch.zeros(AGENTS, episodes)
    progress = tqdm(range(episodes), unit=" episodes", disable=None)
    for episode in progress:
        obs = torch.from_numpy(environments.reset(seed=reset_seeds if episode == 0 else None)[0])
        for t in range(EPISODE * episode, EPISODE * (episode + 1)):
            step = torch.tensor(t)
            action = explore(params[0]["actor"], explore_keys, obs, step)
            next_obs, reward = map(torch.from_numpy, environments.step(action.numpy())[:2])
            for stored, new in zip(replay, (obs, action, reward, next_obs), strict=True):
                stored[:, t] = new
            returns[:, episode] += reward
            obs = next_obs
            if t >= WARM_UP:
                params, optimiser = train_step(params, optimiser, update_keys, replay, step)
        progress.set_postfix_str(f"mean return {returns[:, episode].mean():.0f}")
    return params, optimiser, replay, returns


start = default_timer()
params, optimiser, replay, returns = train(args.seed, EPISODES)
print(f"{AGENTS} agents, {EPISODES * EPISODE} steps each: {default_timer() - start:.0f} s with compilation.")

# %%
COLOURS = matplotlib.colormaps["GnBu"]([0.45 + 0.5 * agent / AGENTS for agent in range(AGENTS)])
plt.rcParams.update({"font.size": 11, "savefig.dpi": 160, "axes.grid": True, "grid.color": "0.93"})
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "axes.prop_cycle": cycler(color=COLOURS)})

figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
steps = EPISODE * torch.arange(1, EPISODES + 1)
one_agent = axes.plot(steps, returns.T, linewidth=1)[AGENTS // 2]
mean = axes.plot(steps, returns.mean(0), linewidth=2.5, color="#c8102e")[0]
goal = axes.axhline(GOAL, linewidth=1.5, color="0.2", linestyle="dotted", zorder=3)
axes.legend([one_agent, mean, goal], ["one agent", f"mean of {AGENTS}", "goal"], loc="lower right", frameon=False)
axes.set(xlabel="environment steps per agent", ylabel="return of a training episode", xlim=(0, None))
axes.set_title(f"Pendulum-v1: {AGENTS} SAC agents in one compiled update", loc="left", weight="bold")
args.output.mkdir(parents=True, exist_ok=True)
figure.savefig(args.output / "sac_pendulum.png")

# %% [markdown]
# ## The same seed, the same curve
#
# Once the weights are made, nothing draws from a hidden generator. A second run repeats the first, bit for bit.

# %%
*_, again = train(args.seed, min(5, EPISODES))
reproducible = torch.equal(again, returns[:, : again.shape[1]])
print(f"Second run, {again.shape[1]} episodes: {'the same returns, bit for bit' if reproducible else 'DIFFERENT'}.")

# %% [markdown]
# ## What it buys
#
# The yardstick is the ordinary way: modules, autograd, `torch.optim.Adam`, one agent after the other, eagerly, on the
# same single thread. The distribution functions are the same; in place of a key they take a `torch.Generator`.


# %%
class OrdinaryAgent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.actor, self.critics = mlp(3, 2), nn.ModuleList([mlp(4, 1), mlp(4, 1)])
        self.log_alpha = nn.Parameter(torch.zeros(()))
        self.optimiser = torch.optim.Adam(self.parameters(), LEARNING_RATE)
        self.targets = deepcopy(self.critics)

    def act(self, generator, obs):
        return tanh_normal.rsample_and_log_prob(generator, *parameters.normal_params(self.actor(obs)), LOW, HIGH)

    def update(self, generator, obs, action, reward, next_obs):
        def values(critics, *inputs):
            return torch.stack([critic(torch.cat(inputs, dim=-1)).squeeze(-1) for critic in critics])

        alpha = self.log_alpha.detach().exp()
        with torch.no_grad():
            next_action, next_log_prob = self.act(generator, next_obs)
            next_value = values(self.targets, next_obs, next_action).amin(0) - alpha * next_log_prob
        critic_loss = (values(self.critics, obs, action) - reward - DISCOUNT * next_value).square().sum(0)
        new_action, log_prob = self.act(generator, obs)
        self.critics.requires_grad_(False)
        actor_loss = alpha * log_prob - values(self.critics, obs, new_action).amin(0)
        self.critics.requires_grad_(True)
        alpha_loss = self.log_alpha * (1.0 - log_prob.detach())
        self.optimiser.zero_grad()
        (critic_loss + actor_loss + alpha_loss).mean().backward()
        self.optimiser.step()
        for target, weight in zip(self.targets.parameters(), self.critics.parameters(), strict=True):
            target.data.lerp_(weight.data, TARGET_RATE)


def ordinary_updates() -> None:
    for index, agent in enumerate(ordinary_agents):
        rows = torch.randint(EPISODES * EPISODE, (BATCH,), generator=generator)
        agent.update(generator, *(stored[index, rows] for stored in replay))


ordinary_agents, generator = [OrdinaryAgent() for _ in range(AGENTS)], torch.Generator().manual_seed(args.seed)
keys = random.split(random.key(args.seed), AGENTS)
compiled_update = partial(train_step, params, optimiser, keys, replay, torch.tensor(EPISODES * EPISODE - 1))
rounds = [[timeit(f, number=1) for f in (compiled_update, ordinary_updates)] for _ in range(5 if args.smoke else 100)]
compiled, ordinary = torch.tensor(rounds).median(0).values.tolist()
print(f"One update of {AGENTS} agents, compiled: {1e3 * compiled:.1f} ms, {1 / compiled:.0f} updates of all a second.")
print(f"The same by ordinary modules in a loop: {1e3 * ordinary:.1f} ms. Speed-up: {ordinary / compiled:.1f}x.")

# %% [markdown]
# ## A saved policy, loaded and played
#
# The policies are a dictionary of tensors, with the agents on the first axis. Loaded again, each plays one episode
# without noise, from a start of its own.

# %%
policy_file = args.output / "sac_pendulum_policy.pt"
torch.save({"actor": params[0]["actor"], "returns": returns, "seed": args.seed}, policy_file)

weights = torch.load(policy_file, weights_only=True)["actor"]
play = vmap(lambda weights, obs: tanh_normal.deterministic(*policy(weights, obs)))
environments = make_environments()
obs, _ = environments.reset(seed=args.seed)
heights, played = [], 0.0
for _ in range(EPISODE):
    obs, reward, *_ = environments.step(play(weights, torch.from_numpy(obs)).numpy())
    heights.append(obs[:, 0])
    played += reward
print("Returns of the loaded policies, one episode each:", " ".join(f"{value:.0f}" for value in played))

figure, axes = plt.subplots(figsize=(9, 3), layout="constrained")
axes.plot(0.05 * torch.arange(1, EPISODE + 1), heights)
axes.set(xlabel="time (s)", ylabel="height of the tip (m)", xlim=(0, 10), yticks=[-1, 0, 1])
axes.set_title("One episode of each loaded policy, without noise", loc="left", weight="bold")
figure.savefig(args.output / "sac_pendulum_episode.png")

# %% [markdown]
# ## The verdict

# %%
final = returns[:, -LAST:].mean(1)
print(f"Mean return over the last {LAST} training episodes, exploration included, seed {args.seed}:")
print("  ".join(f"{value:.0f}" for value in final), f"  worst {final.min():.0f}")
print(f"Plots and policy: {', '.join(map(str, sorted(args.output.glob('sac_pendulum*'))))}")
if not reproducible:
    sys.exit("FAILED: the second run differs from the first.")
if not args.smoke and not (final > GOAL).all():
    sys.exit(f"FAILED: not all agents are above {GOAL:.0f}.")
print("A smoke run is too short to judge the goal." if args.smoke else f"Goal met: all agents are above {GOAL:.0f}.")
