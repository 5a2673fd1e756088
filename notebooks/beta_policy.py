# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Bounded actions: Beta, tanh-normal or truncated normal, and Dirichlet for shares
#
# An action between two bounds needs a distribution between two bounds. Three are in use: a normal squashed by tanh, a
# normal cut at the bounds, and Beta, which is bounded by nature. Soft actor-critic differentiates through its draws, so
# it needs the pathwise gradient; `torch.distributions` has that of Beta only by approximations, and not under `vmap`.
#
# Here all three train on gymnasium's `Pendulum-v1`, eight agents each. The family is one argument of the training code:
# the same code then trains a Dirichlet policy, whose actions are shares that add up to one.

# %%
import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from timeit import default_timer
from typing import Any, NamedTuple

import gymnasium as gym
import matplotlib
import torch
from optree import tree_map
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.functional import softplus
from tqdm import tqdm

from functional_dists import beta, dirichlet, parameters, random, tanh_normal, truncated_normal

IN_SCRIPT = "__file__" in globals()
FOLDER = Path(__file__).parent if IN_SCRIPT else Path()
sys.path.insert(0, str(FOLDER))
from environments import sharing  # registers its environment

parser = argparse.ArgumentParser(description="Train SAC agents whose actions are Beta, normal and Dirichlet variables.")
parser.add_argument("--seed", type=int, default=0, help="everything random in the run follows from it")
parser.add_argument("--steps", type=int, default=4_000, help="environment steps per agent")
parser.add_argument("--agents", type=int, default=8, help="agents of each family, trained at once")
parser.add_argument("--smoke", action="store_true", help="three episodes only, to see that everything runs")
parser.add_argument("--output", type=Path, default=Path("outputs"), help="folder for the plots and the results")
args = parser.parse_args() if IN_SCRIPT else parser.parse_args([])

AGENTS, WARM_UP, BATCH, WIDTH = args.agents, 300, 128, 64
LEARNING_RATE, DISCOUNT, TARGET_RATE = 2e-3, 0.98, 0.02
LAST = 1_000  # steps at the end, whose episodes are averaged for the verdict

torch.set_num_threads(1)  # tensors as small as these lose more to a second thread than they gain
if IN_SCRIPT:
    matplotlib.use("Agg")
import matplotlib.pyplot as plt

# %% [markdown]
# ## Four heads
#
# A head turns two numbers for each action into the parameters of its family. Beta's concentrations are kept above one,
# where its density has one peak. A peak at a bound is still possible in the limit.


# %%
class Task(NamedTuple):
    name: str
    environment: str
    family: Any
    head: Callable[[Tensor], tuple[Any, ...]]  # from a network's output (*B, outputs per action times actions)
    outputs: int  # of the network, for each action
    entropy: float  # the entropy that the temperature aims at, for each action
    goal: float  # the mean return of all agents over the last episodes must exceed it


LOW, HIGH = -2.0, 2.0  # the torques that Pendulum-v1 accepts, in N m


def beta_head(raw: Tensor) -> tuple[Any, ...]:
    one, zero = (1 + softplus(raw)).chunk(2, -1)
    return one, zero, LOW, HIGH


def tanh_head(raw: Tensor) -> tuple[Any, ...]:
    return *parameters.normal_params(raw), LOW, HIGH


def truncated_head(raw: Tensor) -> tuple[Any, ...]:
    loc, scale = parameters.normal_params(raw)
    return 2 * HIGH * torch.tanh(loc), scale, LOW, HIGH


def dirichlet_head(raw: Tensor) -> tuple[Any, ...]:
    return (0.05 + softplus(raw + 1),)


TASKS = [
    Task("Beta", "Pendulum-v1", beta, beta_head, 2, -1.0, -250.0),
    Task("tanh-normal", "Pendulum-v1", tanh_normal, tanh_head, 2, -1.0, -250.0),
    Task("truncated normal", "Pendulum-v1", truncated_normal, truncated_head, 2, -1.0, -250.0),
    Task("Dirichlet", "Sharing-v0", dirichlet, dirichlet_head, 1, -1.5, -100.0),
]

TASKS = [TASKS[0], TASKS[-1]] if args.smoke else TASKS
PENDULUM, SHARING = TASKS[:-1], TASKS[-1:]

# %% [markdown]
# ## One loss for all families
#
# `rsample_and_log_prob` draws an action and its log-density from one key, with the exact pathwise gradient. Nothing
# else in the loss knows the family.


# %%
def mlp(inputs: int, outputs: int) -> nn.Sequential:
    hidden = [nn.Linear(inputs, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(WIDTH, outputs))


class Agents:
    """Agents of one family, all in one compiled update."""

    def __init__(self, task: Task) -> None:
        self.task = task
        space = gym.make(task.environment)
        self.sizes = space.observation_space.shape[0], space.action_space.shape[0]
        self.length = space.spec.max_episode_steps
        inputs, actions = self.sizes
        self.actor, self.critic = mlp(inputs, task.outputs * actions), mlp(inputs + actions, 1)
        self.train_step = torch.compile(self.updated, fullgraph=True, dynamic=False)
        self.explore = torch.compile(vmap(self.act, in_dims=(0, 0, 0, None)), fullgraph=True, dynamic=False)

    def initial(self, seed: int) -> tuple[tuple[Any, Any], tuple[Any, ...]]:
        torch.manual_seed(seed)  # modules draw their weights from the global generator; nothing else here does
        inputs, actions = self.sizes
        actors, _ = stack_module_state([mlp(inputs, self.task.outputs * actions) for _ in range(AGENTS)])
        critics, _ = stack_module_state([mlp(inputs + actions, 1) for _ in range(2 * AGENTS)])
        critics = tree_map(lambda stacked: stacked.unflatten(0, (AGENTS, 2)), critics)
        learned = {"actor": actors, "critics": critics, "log_alpha": torch.full((AGENTS,), -1.0)}
        learned = tree_map(torch.Tensor.detach, learned)
        mean, square = (tree_map(torch.zeros_like, learned) for _ in range(2))
        return (learned, tree_map(torch.clone, learned["critics"])), (torch.zeros(AGENTS), mean, square)

    def policy(self, weights: Any, obs: Tensor) -> tuple[Any, ...]:
        return self.task.head(functional_call(self.actor, weights, (obs,)))

    def act(self, weights: Any, key: Tensor, obs: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Return an action, and the entropy of the policy for each number of the action."""
        params = self.policy(weights, obs)
        entropy = self.task.family.entropy(*params) / self.sizes[1]
        return self.task.family.sample(random.fold_in(key, step), *params), entropy.sum()

    def values(self, weights: Any, obs: Tensor, action: Tensor) -> Tensor:
        inputs = torch.cat([obs, action], dim=-1)
        return vmap(partial(functional_call, self.critic), in_dims=(0, None))(weights, (inputs,)).squeeze(-1)

    def loss(self, learned: Any, targets: Any, key: Tensor, batch: tuple[Tensor, ...]) -> Tensor:
        obs, action, reward, next_obs = batch
        fixed = tree_map(torch.Tensor.detach, learned)
        alpha = fixed["log_alpha"].exp()
        params = self.policy(learned["actor"], torch.stack([obs, next_obs]))
        drawn, log_prob = self.task.family.rsample_and_log_prob(key, *params)
        log_prob = log_prob.reshape(2, BATCH, -1).sum(-1)  # Beta scores every number, the others a whole action
        next_value = self.values(targets, next_obs, drawn[1]).amin(0) - alpha * log_prob[1]
        target = (reward + DISCOUNT * next_value).detach()
        critic_loss = (self.values(learned["critics"], obs, action) - target).square().sum(0)
        actor_loss = alpha * log_prob[0] - self.values(fixed["critics"], obs, drawn[0]).amin(0)
        excess = -log_prob[0].detach() - self.task.entropy * self.sizes[1]
        return (critic_loss + actor_loss + learned["log_alpha"] * excess).mean()

    def updated(self, params: Any, optimiser: Any, keys: Tensor, replay: Any, step: Tensor) -> tuple[Any, Any]:
        def one_agent(params: Any, optimiser: Any, key: Tensor, replay: Any) -> tuple[Any, Any]:
            (learned, targets), (count, mean, square) = params, optimiser
            rows_key, loss_key = random.split(random.fold_in(key, step))
            rows = random.randint(rows_key, (BATCH,), 0, step + 1)
            grads = grad(self.loss)(learned, targets, loss_key, tree_map(lambda stored: stored[rows], replay))
            count = count + 1
            mean = tree_map(lambda m, g: 0.9 * m + 0.1 * g, mean, grads)
            square = tree_map(lambda s, g: 0.999 * s + 0.001 * g * g, square, grads)
            rate, unbias = LEARNING_RATE / (1 - 0.9**count), 1 / (1 - 0.999**count)
            learned = tree_map(lambda p, m, s: p - rate * m / ((s * unbias).sqrt() + 1e-8), learned, mean, square)
            targets = tree_map(lambda old, new: old + TARGET_RATE * (new - old), targets, learned["critics"])
            return (learned, targets), (count, mean, square)

        return vmap(one_agent)(params, optimiser, keys, replay)


# %% [markdown]
# ## Training
#
# The loop is that of `sac_pendulum.py`. It also notes how many actions lie within a hundredth of the range from a
# bound, and the entropies of the policies.


# %%
class Run(NamedTuple):
    returns: Tensor  # (episodes, agents)
    near_bounds: Tensor  # the fraction of actions near a bound, likewise
    entropies: Tensor
    weights: Any  # of the actors, at the end
    seconds: float


def train(task: Task, seed: int, episodes: int, agents: Agents) -> Run:
    start, length = default_timer(), agents.length
    reset_key, explore_key, update_key = random.split(random.key(seed), 3)
    reset_seeds = random.randint(reset_key, (AGENTS,), 0, 2**31).tolist()
    explore_keys, update_keys = random.split(explore_key, AGENTS), random.split(update_key, AGENTS)
    params, optimiser = agents.initial(seed)
    options = {"autoreset_mode": gym.vector.AutoresetMode.DISABLED}
    environments = gym.make_vec(task.environment, AGENTS, vectorization_mode="sync", vector_kwargs=options)
    low, high = (torch.from_numpy(bound) for bound in (environments.action_space.low, environments.action_space.high))
    inputs, actions = agents.sizes
    replay = tuple(torch.zeros(AGENTS, episodes * length, *shape) for shape in [(inputs,), (actions,), (), (inputs,)])
    noted = torch.zeros(3, episodes, AGENTS)
    progress = tqdm(range(episodes), task.name, unit=" episodes", disable=None)
    for episode in progress:
        obs = torch.from_numpy(environments.reset(seed=reset_seeds if episode == 0 else None)[0]).float()
        for t in range(length * episode, length * (episode + 1)):
            step = torch.tensor(t)
            action, entropy = agents.explore(params[0]["actor"], explore_keys, obs, step)
            results = environments.step(action.numpy())[:2]
            next_obs, reward = (torch.from_numpy(result).float() for result in results)
            for stored, new in zip(replay, (obs, action, reward, next_obs), strict=True):
                stored[:, t] = new
            room = torch.minimum(action - low, high - action) < 0.01 * (high - low)
            noted[:, episode] += torch.stack([reward, room.float().mean(-1) / length, entropy / length])
            obs = next_obs
            if t >= WARM_UP:
                params, optimiser = agents.train_step(params, optimiser, update_keys, replay, step)
        progress.set_postfix_str(f"mean return {noted[0, episode].mean():.1f}")
    return Run(*noted, params[0]["actor"], default_timer() - start)


runs, all_agents = {}, {task.name: Agents(task) for task in TASKS}
for task in TASKS:
    length = all_agents[task.name].length
    runs[task.name] = train(task, args.seed, 3 if args.smoke else args.steps // length, all_agents[task.name])
    seconds = runs[task.name].seconds
    print(f"{task.name}: {AGENTS} agents, {len(runs[task.name].returns) * length} steps each, {seconds:.0f} s.")

# %% [markdown]
# ## What is the best that shares can do?
#
# A server divides one unit of work in a step among four queues (`environments/sharing.py`). To serve the longest queues
# down to one level is optimal, so the mean return of that policy is the mark.


# %%
def mean_return(shares: Callable[[Tensor], Tensor], servers: int = 2000) -> float:
    key = random.key(args.seed)
    work, total = sharing.start(random.fold_in(key, 0), (servers,)), torch.zeros(servers)
    for t in range(1, sharing.LIMIT + 1):
        work, reward = sharing.step(random.fold_in(key, t), work, shares(work))
        total += reward
    return total.mean().item()


def played(weights: Any, work: Tensor) -> Tensor:
    return dirichlet.deterministic(*all_agents["Dirichlet"].policy(weights, work))


best, equal = mean_return(sharing.best_weights), mean_return(lambda work: torch.full_like(work, 1 / sharing.QUEUES))
print(f"Mean return of the best shares {best:.1f}, of equal shares {equal:.1f}.")
lane = [tree_map(lambda stacked, i=i: stacked[i], runs["Dirichlet"].weights) for i in range(AGENTS)]
without_noise = [mean_return(partial(played, weights)) for weights in lane]
print(f"Of the Dirichlet agents without noise: {' '.join(f'{value:.1f}' for value in without_noise)}.")

# %%
COLOURS = {"Beta": "#c8102e", "tanh-normal": "#2b8cbe", "truncated normal": "#7bccc4", "Dirichlet": "#6a3d9a"}
plt.rcParams.update({"font.size": 10, "savefig.dpi": 160, "axes.grid": True, "grid.color": "0.93"})
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})

figure, axes = plt.subplots(2, 2, figsize=(11, 7), layout="constrained")
panels = [
    (axes[0, 0], "returns", "Pendulum-v1: return of an episode", PENDULUM),
    (axes[0, 1], "returns", "Sharing a budget: return of an episode", SHARING),
    (axes[1, 0], "near_bounds", "Pendulum-v1: actions within 1% of a bound", PENDULUM),
    (axes[1, 1], "entropies", "Pendulum-v1: entropy of the policy (nats)", PENDULUM),
]
for panel, what, title, tasks in panels:
    for task in tasks:
        curves = getattr(runs[task.name], what)
        steps = all_agents[task.name].length * torch.arange(1, len(curves) + 1)
        panel.plot(steps, curves, color=COLOURS[task.name], linewidth=0.7, alpha=0.35)
        panel.plot(steps, curves.mean(1), color=COLOURS[task.name], linewidth=2.2, label=task.name)
    panel.set_title(title, loc="left", weight="bold", fontsize=11)
    panel.set(xlabel="environment steps per agent", xlim=(0, None))
for name, style, value in (("the best policy there is", "dotted", best), ("equal shares", "dashed", equal)):
    axes[0, 1].axhline(value, color="0.2", linewidth=1.2, linestyle=style, label=name)
axes[0, 0].legend(frameon=False)
axes[0, 1].legend(frameon=False, loc="lower right")
args.output.mkdir(parents=True, exist_ok=True)
figure.savefig(args.output / "beta_policy.png")
torch.save({name: run._asdict() for name, run in runs.items()}, args.output / "beta_policy.pt")

# %% [markdown]
# ## The same seed, the same curve, and the verdict

# %%
again = train(TASKS[0], args.seed, 3, all_agents["Beta"])
reproducible = torch.equal(again.returns, runs["Beta"].returns[:3])
print(f"Second run of Beta, 3 episodes: {'the same returns, bit for bit' if reproducible else 'DIFFERENT'}.")
print(f"Mean returns of the last {LAST} steps, exploration included, seed {args.seed}:")
missed = []
for task in TASKS:
    run = runs[task.name]
    count = LAST // all_agents[task.name].length
    final, near = run.returns[-count:].mean(0), run.near_bounds[-count:].mean()
    print(f"{task.name:17} returns {' '.join(f'{value:.1f}' for value in final)}; {near:.1%} of actions near a bound")
    missed += [task.name] * (not bool(final.mean() > task.goal))
if not reproducible:
    sys.exit("FAILED: the second run differs from the first.")
if torch.tensor(without_noise).mean() < best - 0.2 * (best - equal):
    missed += ["Dirichlet without noise"]
if missed and not args.smoke:
    sys.exit(f"FAILED: {', '.join(missed)} missed the goal.")
print("A smoke run is too short to judge the goals." if args.smoke else "All goals met.")
