# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # PPO with an action in two parts, one of which decides the other
#
# A vehicle has to stop on a disc. At every step it does one of three things, and how much of it: it *accelerates* by an
# amount in [0, 1], *turns* by one in [-1, 1], or *brakes* by one in [0, 1]; and not everything is possible at any
# moment. So an action is a masked choice, and a bounded number whose distribution, bounds included, depends on it:
# $p(\text{move})\, p(\text{amount} \mid \text{move})$. `composite.chain` makes one distribution of the two, and
# proximal policy optimisation ([Schulman et al., 2017](https://arxiv.org/abs/1707.06347)) uses it as any other.
#
# Twelve agents learn at once, in the same compiled calls: four with that distribution; four whose amount does not know
# the choice, but for its bounds; four without the mask. Run this as a script, or cell by cell.

# %%
import argparse
import sys
from functools import partial
from math import pi
from pathlib import Path
from timeit import default_timer
from typing import NamedTuple

import gymnasium as gym
import matplotlib
import numpy as np
import torch
from gymnasium.utils.env_checker import check_env
from optree import tree_map
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.functional import pad
from tqdm import tqdm

from functional_dists import composite, masked_categorical, parameters, random, tanh_normal

IN_SCRIPT = "__file__" in globals()
parser = argparse.ArgumentParser(description="Train PPO agents whose actions are a masked choice and its amount.")
parser.add_argument("--seed", type=int, default=0, help="everything random in the run follows from it")
parser.add_argument("--steps", type=int, default=120_000, help="environment steps per agent, 2000 to an update")
parser.add_argument("--agents", type=int, default=4, help="agents of each of the three kinds, trained at once")
parser.add_argument(
    "--smoke",
    action="store_true",
    help="three updates of tiny networks, to see that everything runs: graphs are traced, not made into machine code",
)
parser.add_argument("--output", type=Path, default=Path("outputs"), help="folder for the plots and the policies")
args = parser.parse_args() if IN_SCRIPT else parser.parse_args([])

VEHICLES, LENGTH = 10 if args.smoke else 50, 40  # an agent drives 50 vehicles for 40 steps, then learns from these 2000
UPDATES, WIDTH = (3, 8) if args.smoke else (args.steps // (VEHICLES * LENGTH), 64)
EPOCHS, MINIBATCHES = 4, 4
LEARNING_RATE, DISCOUNT, GAE_DECAY, CLIP, ENTROPY_BONUS = 2e-3, 0.98, 0.95, 0.2, 5e-3
ROUNDS = 1 if args.smoke else 2  # an episode of every vehicle in each: 100 episodes per agent
GOAL = 1.1  # the mean return, in gymnasium's environment, that each agent with the chain must exceed
in_one_graph = partial(torch.compile, fullgraph=True, backend="aot_eager" if args.smoke else "inductor")

torch.set_num_threads(1)  # tensors as small as these lose more to a second thread than they gain
if IN_SCRIPT:
    matplotlib.use("Agg")
import matplotlib.pyplot as plt

# %% [markdown]
# ## The vehicle
#
# Its dynamics are pure functions of tensors, for one vehicle or any number of them. The disc is at the origin. What a
# vehicle sees is how far ahead and how far to the left of it the disc is, and its own speed. It may accelerate below
# its top speed, turn while it is slow, and brake while it moves; whatever else it tries does nothing. Each step costs
# 0.05, what it gets nearer to the disc counts in its favour, and to stop on the disc gives 1 and ends the episode.

# %%
MOVES = ACCELERATE, TURN, BRAKE = 0, 1, 2
NAMES = ("accelerate", "turn", "brake")
LOW, HIGH = torch.tensor([[0.0], [-1.0], [0.0]]), torch.ones(3, 1)  # the bounds of the amount, a row for each move
TOP_SPEED, SLOW, RADIUS, LIMIT = 0.2, 0.1, 0.1, 40  # lengths per step, length, steps
ACCELERATION, ANGLE, BRAKING = 0.1, pi / 2, 0.1  # what an amount of 1 does


def start(key: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return poses (x, y, heading, speed) of standing vehicles between 0.5 and 1 from the disc."""
    distance, bearing, heading = random.uniform(key, (3, *shape)).unbind()
    distance, bearing, heading = 0.5 + 0.5 * distance, 2 * pi * bearing, 2 * pi * heading
    return torch.stack([distance * bearing.cos(), distance * bearing.sin(), heading, torch.zeros(shape)], dim=-1)


def observe(pose: Tensor) -> Tensor:
    x, y, heading, speed = pose.unbind(-1)
    ahead, left = -x * heading.cos() - y * heading.sin(), x * heading.sin() - y * heading.cos()
    return torch.stack([ahead, left, speed / TOP_SPEED], dim=-1)


def allowed(pose: Tensor) -> Tensor:
    speed = pose[..., 3]
    return torch.stack([speed < TOP_SPEED, speed <= SLOW, speed > 0], dim=-1)


def drive(pose: Tensor, move: Tensor, amount: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the next pose, the reward, and whether the vehicle has stopped on the disc."""
    x, y, heading, speed = pose.unbind(-1)
    index = move.unsqueeze(-1)
    amount = torch.clamp(amount, composite.pick(LOW, move), composite.pick(HIGH, move))
    amount = (amount * allowed(pose).gather(-1, index)).squeeze(-1)
    heading = heading + ANGLE * amount * (move == TURN)
    change = ACCELERATION * (move == ACCELERATE) - BRAKING * (move == BRAKE)
    speed = (speed + change * amount).clamp(0, TOP_SPEED)
    moved = torch.stack([x + speed * heading.cos(), y + speed * heading.sin(), heading, speed], dim=-1)
    before, after = (p[..., :2].norm(dim=-1) for p in (pose, moved))
    parked = (after < RADIUS) & (speed == 0)
    return moved, before - after - 0.05 + parked.float(), parked


# %% [markdown]
# Gymnasium knows it as an environment with a `Dict` of actions, and with the mask of the moves in `info`. The trained
# policies are judged there; training calls the functions themselves, on all vehicles together.


# %%
class Parking(gym.Env):
    metadata = {"render_modes": []}  # noqa: RUF012
    observation_space = gym.spaces.Box(-10.0, 10.0, (3,))
    action_space = gym.spaces.Dict(move=gym.spaces.Discrete(3), amount=gym.spaces.Box(-1.0, 1.0, (1,)))

    def seen(self) -> tuple[np.ndarray, dict]:
        return observe(self.pose).numpy(), {"action_mask": allowed(self.pose).numpy().astype(np.int8)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.pose = start(random.key(int(self.np_random.integers(2**63))), ())
        return self.seen()

    def step(self, action):
        self.pose, reward, parked = drive(self.pose, torch.tensor(action["move"]), torch.tensor(action["amount"]))
        obs, info = self.seen()
        return obs, reward.item(), parked.item(), False, info


gym.register("Parking-v0", entry_point=Parking, max_episode_steps=LIMIT)
check_env(gym.make("Parking-v0").unwrapped, skip_render_check=True)
print("Parking-v0 passes gymnasium's check of environments.")

# %% [markdown]
# ## A policy that is a function
#
# The network gives a logit for every move, and for *every* move a location and a scale of its amount. The chain draws
# the move, picks the row of that move out of each table, and draws the amount from it. Under `log_prob` the picking
# goes by the move that was taken. The values are dicts `{"move": ..., "amount": ...}`, as the environment wants them.
#
# The kinds of agents differ in data alone: `rows` says which row of the tables serves each move, always the first one
# where the amount shall not know the choice; and where `masked` is False the mask is all True.


# %%
def amount_given_move(params: dict, earlier: dict) -> tanh_normal.Params:
    tables = params["loc"], params["scale"], LOW, HIGH
    return tanh_normal.Params(*(composite.pick(table, earlier["move"]) for table in tables))


action_family = composite.chain(
    move=composite.Head(masked_categorical),
    amount=composite.Head(tanh_normal, amount_given_move),
)


class Kind(NamedTuple):
    rows: Tensor
    masked: Tensor


KINDS = {
    "chain": Kind(torch.tensor([0, 1, 2]), torch.tensor(True)),
    "amount blind to the move": Kind(torch.tensor([0, 0, 0]), torch.tensor(True)),
    "chain without mask": Kind(torch.tensor([0, 1, 2]), torch.tensor(False)),
}
AGENTS = len(KINDS) * args.agents
kinds = tree_map(lambda *of_kinds: torch.stack(of_kinds).repeat_interleave(args.agents, 0), *KINDS.values())


def mlp(outputs: int) -> nn.Sequential:
    hidden = [nn.Linear(3, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.Tanh()]
    return nn.Sequential(*hidden, nn.Linear(WIDTH, outputs))


actor, critic = mlp(9), mlp(1)  # they only lend their shape: `functional_call` runs them with given weights


def policy(weights: dict, kind: Kind, obs: Tensor, mask: Tensor) -> dict:
    raw = functional_call(actor, weights["actor"], (obs,))
    loc, scale = parameters.normal_params(raw[..., 3:].unflatten(-1, (3, 2))[..., kind.rows, :])
    move = masked_categorical.Params(raw[..., :3], mask | ~kind.masked)
    return {"move": move, "loc": parameters.scale_loc(loc, 3.0), "scale": scale}


def values(weights: dict, obs: Tensor) -> Tensor:
    return functional_call(critic, weights["critic"], (obs,)).squeeze(-1)


# %% [markdown]
# ## Driving
#
# One step of all vehicles of all agents is one compiled call: what the policy sees, the draw of move and amount with
# their joint log-probability, the dynamics, and a new start wherever an episode ends. All randomness comes from a key.


# %%
class Traffic(NamedTuple):
    """The vehicles of an agent, each of shape (VEHICLES, ...)."""

    pose: Tensor
    clock: Tensor
    total: Tensor


class Rollout(NamedTuple):
    """Of one agent, each of shape (LENGTH, VEHICLES, ...)."""

    obs: Tensor
    mask: Tensor
    action: dict[str, Tensor]
    log_prob: Tensor
    reward: Tensor
    next_obs: Tensor  # where an episode ends, its own last observation
    terminated: Tensor
    done: Tensor  # terminated, or cut off after LIMIT steps
    total: Tensor  # the return of the episode until here


@in_one_graph
def drive_all(weights, kinds, keys, traffic, step):
    def one_agent(weights, kind, key, traffic):
        act_key, start_key = random.split(random.fold_in(key, step))
        obs, mask = observe(traffic.pose), allowed(traffic.pose)
        action, log_prob = composite.sample_and_log_prob(act_key, action_family, policy(weights, kind, obs, mask))
        pose, reward, parked = drive(traffic.pose, **action)
        clock, total = traffic.clock + 1, traffic.total + reward
        done = parked | (clock == LIMIT)
        seen = Rollout(obs, mask, action, log_prob, reward, observe(pose), parked, done, total)
        pose = torch.where(done.unsqueeze(-1), start(start_key, (VEHICLES,)), pose)
        return Traffic(pose, clock * ~done, total * ~done), seen

    return vmap(one_agent)(weights, kinds, keys, traffic)


# %% [markdown]
# ## The loss of one agent, and the update of all of them
#
# The loss never looks into the action: `composite.log_prob` is that of move and amount together, and so is the ratio.
# `composite.conditional_entropy` adds the entropy of the amount, given the move that was taken, to that of the move.
#
# Generalised advantage estimation is a recursion back in time, $A_t = \delta_t + c_t A_{t+1}$, where $c_t$ is 0 at the
# end of an episode. Here all steps look ahead together, and each round doubles how far. An episode that is cut off has
# not ended for the critic: it bootstraps from the last observation.


# %%
def discounted_sums(delta: Tensor, carry: Tensor) -> Tensor:
    ahead = 1
    while ahead < len(delta):
        later_delta, later_carry = (pad(x[ahead:], (0, 0, 0, ahead)) for x in (delta, carry))
        delta, carry = delta + carry * later_delta, carry * later_carry
        ahead *= 2
    return delta


def advantages_and_targets(weights: dict, rollout: Rollout) -> tuple[Tensor, Tensor]:
    value, next_value = values(weights, rollout.obs), values(weights, rollout.next_obs)
    delta = rollout.reward + DISCOUNT * next_value * ~rollout.terminated - value
    advantage = discounted_sums(delta, DISCOUNT * GAE_DECAY * ~rollout.done)
    return (advantage - advantage.mean()) / (advantage.std() + 1e-8), advantage + value


def loss(weights: dict, kind: Kind, batch: Rollout, advantage: Tensor, target: Tensor) -> Tensor:
    params = policy(weights, kind, batch.obs, batch.mask)
    ratio = (composite.log_prob(action_family, params, batch.action) - batch.log_prob).exp()
    surrogate = torch.minimum(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage)
    entropy = composite.conditional_entropy(action_family, params, batch.action)
    critic_loss = (values(weights, batch.obs) - target).square()
    return (critic_loss - surrogate - ENTROPY_BONUS * entropy).mean()


def adam(grads: dict, state: tuple, weights: dict) -> tuple[dict, tuple]:
    step, mean, square = state
    step = step + 1
    mean = tree_map(lambda m, g: 0.9 * m + 0.1 * g, mean, grads)
    square = tree_map(lambda s, g: 0.999 * s + 0.001 * g * g, square, grads)
    rate, unbias = LEARNING_RATE / (1 - 0.9**step), 1 / (1 - 0.999**step)
    weights = tree_map(lambda p, m, s: p - rate * m / ((s * unbias).sqrt() + 1e-8), weights, mean, square)
    return weights, (step, mean, square)


@in_one_graph
def prepare(weights, keys, number, rollouts):
    def one_agent(weights, key, rollout):
        rows = random.permutation(random.fold_in(key, number), (EPOCHS, VEHICLES * LENGTH))
        samples = rollout, *advantages_and_targets(weights, rollout)
        return rows.reshape(EPOCHS * MINIBATCHES, -1), tree_map(lambda x: x.flatten(0, 1), samples)

    return vmap(one_agent)(weights, keys, rollouts)


@in_one_graph
def minibatch_step(weights, optimiser, kinds, rows, samples):
    def one_agent(weights, optimiser, kind, rows, samples):
        grads = grad(loss)(weights, kind, *tree_map(lambda x: x[rows], samples))
        return adam(grads, optimiser, weights)

    return vmap(one_agent)(weights, optimiser, kinds, rows, samples)


# %% [markdown]
# ## Training


# %%
def initial(seed: int) -> tuple[dict, tuple]:
    torch.manual_seed(seed)  # modules draw their weights from the global generator; nothing else here does
    weights = {
        name: stack_module_state([mlp(n) for _ in range(AGENTS)])[0] for name, n in [("actor", 9), ("critic", 1)]
    }
    weights = tree_map(torch.Tensor.detach, weights)  # leaves without an autograd history: vmap(grad) needs none
    return weights, (torch.zeros(AGENTS), *(tree_map(torch.zeros_like, weights) for _ in range(2)))


class Run(NamedTuple):
    weights: dict
    returns: Tensor  # (UPDATES, AGENTS): of the episodes that ended in the rollout, on average
    refused: Tensor  # (UPDATES, AGENTS): the share of the moves taken that the mask rules out
    seconds: Tensor  # (UPDATES, 2): spent on driving, and on the update


def train(seed: int, updates: int) -> Run:
    start_key, drive_key, update_key = random.split(random.key(seed), 3)
    drive_keys, update_keys = random.split(drive_key, AGENTS), random.split(update_key, AGENTS)
    weights, optimiser = initial(seed)
    traffic = Traffic(start(start_key, (AGENTS, VEHICLES)), *torch.zeros(2, AGENTS, VEHICLES))
    logs = []
    progress = tqdm(range(updates), unit=" updates", disable=None)
    for number in progress:
        begin, steps = default_timer(), []
        for t in range(LENGTH * number, LENGTH * (number + 1)):
            traffic, seen = drive_all(weights, kinds, drive_keys, traffic, torch.tensor(t))
            steps.append(seen)
        rollouts = tree_map(lambda *leaves: torch.stack(leaves, dim=1), *steps)
        driven = default_timer()
        rows, samples = prepare(weights, update_keys, torch.tensor(number), rollouts)
        for minibatch in rows.unbind(1):
            weights, optimiser = minibatch_step(weights, optimiser, kinds, minibatch, samples)
        seconds = torch.tensor([driven - begin, default_timer() - driven])

        # Within LIMIT steps every vehicle ends an episode, so no mean is empty.
        returns = (rollouts.total * rollouts.done).sum((1, 2)) / rollouts.done.sum((1, 2))
        refused = ~rollouts.mask.gather(-1, rollouts.action["move"].unsqueeze(-1))
        logs.append((returns, refused.float().mean((1, 2, 3)), seconds))
        progress.set_postfix_str(f"mean return {returns.mean():.2f}")
    return Run(weights, *(torch.stack(rows) for rows in zip(*logs, strict=True)))


begin = default_timer()
run = train(args.seed, UPDATES)
print(f"{AGENTS} agents, {UPDATES * VEHICLES * LENGTH} steps each: {default_timer() - begin:.0f} s with compilation.")

# %% [markdown]
# ## The same seed, the same curve
#
# Once the weights are made, nothing draws from a hidden generator. A second run repeats the first, bit for bit.

# %%
again = train(args.seed, min(5, UPDATES)).returns
reproducible = torch.equal(again, run.returns[: len(again)])
print(f"Second run, {len(again)} updates: {'the same returns, bit for bit' if reproducible else 'DIFFERENT'}.")

# %% [markdown]
# ## Saved policies, loaded and judged in gymnasium's environment
#
# `composite.deterministic` plays the chain head by head: the best of the allowed moves, then the amount of that move at
# its location.

# %%
policy_file = args.output / "mixed_actions_policy.pt"
args.output.mkdir(parents=True, exist_ok=True)
torch.save({**run._asdict(), "kinds": list(KINDS), "seed": args.seed}, policy_file)
weights = torch.load(policy_file, weights_only=True)["weights"]


def play(weights: dict, kind: Kind, obs: Tensor, mask: Tensor) -> dict[str, Tensor]:
    return composite.deterministic(action_family, policy(weights, kind, obs, mask))


class Verdict(NamedTuple):
    """Of episodes without exploration, each of shape (AGENTS, episodes)."""

    returns: Tensor
    parked: Tensor
    refused: Tensor  # moves that the mask rules out


def by_agent(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array).unflatten(0, (AGENTS, VEHICLES))


def judge(seed: int) -> Verdict:
    options = {"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP}
    environments = gym.make_vec("Parking-v0", AGENTS * VEHICLES, vectorization_mode="sync", vector_kwargs=options)
    rounds = []
    for number in range(ROUNDS):
        obs, info = environments.reset(seed=seed if number == 0 else None)
        returns, refused = torch.zeros(2, AGENTS, VEHICLES)
        playing = torch.ones(AGENTS, VEHICLES, dtype=torch.bool)
        parked = torch.zeros_like(playing)
        while playing.any():  # a vehicle that is done drives on, in an episode that does not count
            mask = by_agent(info["action_mask"]).bool()
            action = vmap(play)(weights, kinds, by_agent(obs), mask)
            obs, *outcome, info = environments.step({name: part.flatten(0, 1).numpy() for name, part in action.items()})
            reward, terminated, truncated = map(by_agent, outcome)
            returns += reward.float() * playing
            refused += ~mask.gather(-1, action["move"].unsqueeze(-1)).squeeze(-1) & playing
            parked |= terminated & playing
            playing &= ~(terminated | truncated)
        rounds.append(Verdict(returns, parked, refused))
    return tree_map(lambda *parts: torch.cat(parts, dim=1), *rounds)


verdict = judge(args.seed)

# %% [markdown]
# On the left the lines are the means over the agents of a kind of the returns of finished training episodes, the bands
# go from the worst agent to the best. On the right the first agent with the chain drives in gymnasium's environment,
# without exploration; a point is where the vehicle was when it made the move of that colour, the larger the more of it.

# %%
plt.rcParams.update({"font.size": 11, "savefig.dpi": 160, "axes.grid": True, "grid.color": "0.93"})
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})
COLOURS, MOVE_COLOURS = ("#c8102e", "#2b8cbe", "0.45"), ("#2ca25f", "#f0a202", "#7b3294")
first = tree_map(lambda stacked: stacked[0], weights)


def episode(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    environment, poses, actions, over = gym.make("Parking-v0"), [], [], False
    obs, info = environment.reset(seed=seed)
    while not over:
        mask = torch.from_numpy(info["action_mask"]).bool()
        action = play(first, KINDS["chain"], torch.from_numpy(obs), mask)
        poses.append(environment.unwrapped.pose)
        actions.append(action)
        obs, _, *ends, info = environment.step({name: part.numpy() for name, part in action.items()})
        over = any(ends)
    move, amount = (torch.stack([action[name] for action in actions]) for name in ("move", "amount"))
    return torch.stack([*poses, environment.unwrapped.pose]), move, amount.squeeze(-1)


figure, (curves, plane) = plt.subplots(ncols=2, figsize=(11, 4.5), layout="constrained", width_ratios=(1.35, 1))
steps = VEHICLES * LENGTH * torch.arange(1, UPDATES + 1)
for name, colour, returns in zip(KINDS, COLOURS, run.returns.split(args.agents, 1), strict=True):
    curves.fill_between(steps, returns.amin(1), returns.amax(1), color=colour, alpha=0.2, linewidth=0)
    curves.plot(steps, returns.mean(1), color=colour, linewidth=2, label=name)
curves.axhline(GOAL, linewidth=1.5, color="0.2", linestyle="dotted", zorder=3, label=f"goal of the chain, {GOAL}")
curves.set(xlabel="environment steps per agent", ylabel="mean return of finished episodes")
curves.set(xlim=(0, steps[-1]), ylim=(-3, 1.5))
curves.locator_params(axis="x", nbins=6)
curves.legend(loc="lower right", frameon=False)
curves.set_title(f"PPO on a hybrid action, {args.agents} agents of each kind", loc="left", weight="bold")

plane.add_patch(plt.Circle((0, 0), RADIUS, color="0.8"))
for poses, move, amount in map(episode, range(args.seed, args.seed + 12)):
    x, y = poses[:, 0], poses[:, 1]
    plane.plot(x, y, color="0.6", linewidth=1, zorder=1)
    plane.scatter(x[:-1], y[:-1], c=[MOVE_COLOURS[m] for m in move], s=6 + 30 * amount.abs(), zorder=2)
handles = [
    plane.scatter([], [], color=colour, s=22, label=name) for name, colour in zip(NAMES, MOVE_COLOURS, strict=True)
]
plane.legend(handles=handles, loc="upper right", frameon=False)
plane.set(aspect="equal", xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), xticks=(-1, 0, 1), yticks=(-1, 0, 1))
plane.set_title("Twelve episodes of one agent", loc="left", weight="bold")
figure.savefig(args.output / "mixed_actions.png")

# %% [markdown]
# ## What the chain has learned
#
# The distribution of the same agent, in two rows of situations. Above are the probabilities of the moves; below, for
# each move that has more than 1%, the median of its amount and the range from its 5% to its 95% quantile. On the left
# the vehicle stands, with the disc in any direction from it: it has to turn or may drive off. On the right it drives
# straight to the disc at half its top speed, where all three moves are allowed: far away it accelerates, on the disc it
# brakes, and between the two it mostly turns, which lets it roll on at the same speed.


# %%
def pose_of(distance: Tensor, bearing: Tensor, speed: float) -> Tensor:
    """Return the pose from which the disc is so far away, so many degrees to the left."""
    heading = -torch.deg2rad(bearing)
    return torch.stack([-distance, torch.zeros_like(distance), heading, torch.full_like(distance, speed)], dim=-1)


bearing, distance = torch.linspace(-180, 180, 361), torch.linspace(0.02, 0.8, 361)
SITUATIONS = {
    "standing 0.7 away, by direction of the disc": (bearing, pose_of(torch.full_like(bearing, 0.7), bearing, 0.0)),
    "driving to the disc, by distance": (distance, pose_of(distance, torch.zeros_like(distance), TOP_SPEED / 2)),
}
figure, panels = plt.subplots(2, 2, figsize=(11, 5.5), sharex="col", sharey="row", layout="constrained")
for (above, below), (situation, (x, poses)) in zip(panels.T, SITUATIONS.items(), strict=True):
    params = policy(first, KINDS["chain"], observe(poses), allowed(poses))
    chances = masked_categorical.probs(*params["move"])
    for move, name, colour in zip(MOVES, NAMES, MOVE_COLOURS, strict=True):
        chance = chances[:, move]
        given_move = amount_given_move(params, {"move": torch.full_like(x, move, dtype=torch.int64)})
        shares = torch.tensor([0.05, 0.5, 0.95])[:, None, None].expand(3, len(x), 1)
        low, median, high = tanh_normal.icdf(*given_move, shares).squeeze(-1)
        above.plot(x, chance, color=colour, linewidth=2, label=name)
        below.fill_between(x, low, high, where=chance > 0.01, color=colour, alpha=0.25, linewidth=0)
        below.plot(x, median.where(chance > 0.01, torch.nan), color=colour, linewidth=2)
    above.set_title(situation, loc="left", weight="bold")
panels[0, 0].legend(loc="center left", frameon=False)
panels[0, 0].set_ylabel("probability of the move")
panels[1, 0].set(xlabel="degrees to the left", ylabel="its amount", xticks=range(-180, 181, 90))
panels[1, 1].set_xlabel("distance")
figure.savefig(args.output / "mixed_actions_policy.png")

# %% [markdown]
# ## The verdict


# %%
def listed(values: Tensor) -> str:
    return "  ".join(f"{value:6.2f}" for value in values)


episodes = VEHICLES * ROUNDS
for name, own in zip(KINDS, torch.arange(AGENTS).split(args.agents), strict=True):
    print(f"Seed {args.seed}, {name}, agents 1 to {args.agents}:")
    print(f"  mean return of {episodes} episodes of Parking-v0   {listed(verdict.returns[own].mean(1))}")
    print(f"  share of them that end parked              {listed(verdict.parked[own].float().mean(1))}")
    print(f"  moves that the mask rules out: {run.refused[:, own].mean():.2%} in training, ", end="")
    print(f"{verdict.refused[own].sum():.0f} in these episodes")
driving, updating = run.seconds.median(0).values.tolist()
print(f"Environment steps a second, actions included: {AGENTS * VEHICLES * LENGTH / driving:.0f}.")
print(f"One update of {AGENTS} agents, {EPOCHS * MINIBATCHES} minibatches: {1e3 * updating:.0f} ms.")
print(f"Compilation took about {run.seconds[0].sum() - driving - updating:.0f} s.")
print(f"Plots and policies: {', '.join(map(str, sorted(args.output.glob('mixed_actions*'))))}")
if not reproducible:
    sys.exit("FAILED: the second run differs from the first.")
if run.refused[:, kinds.masked].any() or verdict.refused[kinds.masked].any():
    sys.exit("FAILED: a masked move was made.")
if not args.smoke and not (verdict.returns[: args.agents].mean(1) > GOAL).all():
    sys.exit(f"FAILED: not all agents with the chain are above {GOAL}.")
print(
    "A smoke run is too short to judge the goal." if args.smoke else f"Goal met: all with the chain are above {GOAL}."
)
