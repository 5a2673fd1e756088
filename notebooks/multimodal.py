# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Behaviour cloning of a choice: a normal, a mixture and a flow
#
# A driver passes an obstacle on the left or on the right. Both are good; the middle is not. A policy that imitates the
# driver by maximum likelihood has to represent the choice: a normal distribution puts its mean between the two, and
# steers into the obstacle.
#
# Three families learn from the same data, by the same loss: `independent(normal)`, `mixture(tanh_normal)`, and a neural
# spline flow ([Durkan et al., 2019](https://arxiv.org/abs/1906.04032)),
# `transformed(independent(normal), chain(rational_quadratic_spline, interval))`. Nothing but the family and the number
# of outputs of the network differs. Run this as a script, or cell by cell.

# %%
import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from timeit import default_timer
from typing import Any, NamedTuple

import matplotlib
import torch
from optree import tree_map
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from tqdm import tqdm

from functional_dists import (
    bijectors,
    gumbel,
    independent,
    mixture,
    normal,
    parameters,
    random,
    tanh_normal,
    transformed,
)

IN_SCRIPT = "__file__" in globals()
parser = argparse.ArgumentParser(description="Clone a driver who passes an obstacle on either side, by three families.")
parser.add_argument("--seed", type=int, default=0, help="everything random in the run follows from it")
parser.add_argument("--steps", type=int, default=600, help="steps of Adam")
parser.add_argument("--agents", type=int, default=4, help="agents of each family, trained at once")
parser.add_argument(
    "--smoke",
    action="store_true",
    help="five steps of tiny networks, to see that everything runs",
)
parser.add_argument("--output", type=Path, default=Path("outputs"), help="folder for the plot and the policies")
args = parser.parse_args() if IN_SCRIPT else parser.parse_args([])

AGENTS, BATCH, EXAMPLES = args.agents, 256, 512 if args.smoke else 8192
STEPS, WIDTH = (5, 8) if args.smoke else (args.steps, 32)
LEARNING_RATE, COMPONENTS, BINS = 5e-3, 2, 8
GAIN = 0.5  # nats per action, by which the mixture and the flow must beat the normal

torch.set_num_threads(1)  # tensors as small as these lose more to a second thread than they gain
if IN_SCRIPT:
    matplotlib.use("Agg")
import matplotlib.pyplot as plt

# %% [markdown]
# ## The driver
#
# What the driver sees is how near the obstacle is, from 0 to 1, and how far to the right it lies, from -1 to 1. The
# action is the steering, in (-1, 1). The nearer the obstacle, the more the driver swerves; the farther to the right it
# lies, the more often to the left. The hand is not steady, and swerves too much rather than too little: a Gumbel
# distribution, mirrored for the left.
#
# This too is a family, made of others. Its exact density says how well any policy can do.

# %%
expert = mixture(transformed(gumbel, bijectors.chain(bijectors.affine, bijectors.tanh)))
SIDES = torch.tensor([-1.0, 1.0])
CLEAR = 0.3  # to steer less than this, close to an obstacle straight ahead, is to hit it


def expert_params(state: Tensor) -> Any:
    near, right = state[..., :1], state[..., 1:]
    logits = 1.5 * right * -SIDES
    swerve, spread = (0.9 * near).expand(logits.shape), 0.05 + 0.1 * near
    return expert.Params(logits, swerve, spread.expand(logits.shape), 0.3 * right.expand(logits.shape), SIDES)


def examples(key: Tensor, count: int) -> tuple[Tensor, Tensor]:
    state_key, action_key = random.split(key)
    near, right = random.uniform(state_key, (2, count)).unbind()
    state = torch.stack([near, 2 * right - 1], dim=-1)
    return state, expert.sample(action_key, *expert_params(state)).unsqueeze(-1)


# %% [markdown]
# ## Three policies
#
# Each is a function from what the network says to the parameters of its family. The networks have the same hidden
# layers.


# %%
class Policy(NamedTuple):
    family: Any
    outputs: int
    params: Callable[[Tensor], Any]  # of the outputs


either_way = mixture(tanh_normal)
flow = transformed(independent(normal), bijectors.chain(bijectors.rational_quadratic_spline, bijectors.interval))


def normal_params(raw: Tensor) -> Any:
    return normal.Params(*parameters.normal_params(raw))


def mixture_params(raw: Tensor) -> Any:
    logits, rest = raw.split((COMPONENTS, 2 * COMPONENTS), -1)
    loc, scale = parameters.normal_params(rest)
    loc = loc + torch.linspace(-1, 1, COMPONENTS)  # components that begin as one would stay one
    return either_way.Params(logits, loc.unsqueeze(-1), scale.unsqueeze(-1), -1.0, 1.0)


def flow_params(raw: Tensor) -> Any:
    loc_scale, *spline = raw.split((2, BINS, BINS, BINS - 1), -1)
    widths, heights, derivatives = (part.unsqueeze(-2) for part in spline)
    return flow.Params(*parameters.normal_params(loc_scale), widths, heights, derivatives, 4.0, -1.0, 1.0)


POLICIES = {
    "normal": Policy(independent(normal), 2, normal_params),
    "mixture": Policy(either_way, 3 * COMPONENTS, mixture_params),
    "spline flow": Policy(flow, 3 * BINS + 1, flow_params),
}


def mlp(outputs: int) -> nn.Sequential:
    hidden = [nn.Linear(2, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU()]
    return nn.Sequential(*hidden, nn.Linear(WIDTH, outputs))


# They only lend their shape: `functional_call` runs them with given weights.
networks = {name: mlp(policy.outputs) for name, policy in POLICIES.items()}


def params_of(name: str, weights: dict, state: Tensor) -> Any:
    return POLICIES[name].params(functional_call(networks[name], weights, (state,)))


# %% [markdown]
# ## Maximum likelihood
#
# One step of all agents of a family is one call, mapped over the agents by `vmap`: the minibatch is drawn from a key,
# then come the loss, its gradient and Adam. `torch.compile(train_step, fullgraph=True)` works, and makes a step several
# times as fast; but for so few steps, compiling the spline takes longer than it saves.


# %%
def adam(grads: dict, state: tuple, weights: dict) -> tuple[dict, tuple]:
    step, mean, square = state
    step = step + 1
    mean = tree_map(lambda m, g: 0.9 * m + 0.1 * g, mean, grads)
    square = tree_map(lambda s, g: 0.999 * s + 0.001 * g * g, square, grads)
    rate = LEARNING_RATE * (1 - step / (STEPS + 1))  # it falls to 0
    rate, unbias = rate / (1 - 0.9**step), 1 / (1 - 0.999**step)
    weights = tree_map(lambda p, m, s: p - rate * m / ((s * unbias).sqrt() + 1e-8), weights, mean, square)
    return weights, (step, mean, square)


def loss(weights: dict, name: str, state: Tensor, action: Tensor) -> Tensor:
    return -POLICIES[name].family.log_prob(*params_of(name, weights, state), action).mean()


def train_step(name, weights, optimiser, keys, number, states, actions):
    def one_agent(weights, optimiser, key):
        rows = random.randint(random.fold_in(key, number), (BATCH,), 0, EXAMPLES)
        grads, value = grad_and_value(loss)(weights, name, states[rows], actions[rows])
        return *adam(grads, optimiser, weights), value

    return vmap(one_agent)(weights, optimiser, keys)


class Run(NamedTuple):
    weights: dict
    losses: Tensor  # (STEPS, AGENTS)


def train(name: str, seed: int, steps: int) -> Run:
    torch.manual_seed(seed)  # modules draw their weights from the global generator; nothing else here does
    weights = stack_module_state([mlp(POLICIES[name].outputs) for _ in range(AGENTS)])[0]
    weights = tree_map(torch.Tensor.detach, weights)  # leaves without an autograd history: vmap(grad) needs none
    optimiser = torch.zeros(AGENTS), *(tree_map(torch.zeros_like, weights) for _ in range(2))

    data_key, batch_key = random.split(random.key(seed), 3)[:2]
    states, actions = examples(data_key, EXAMPLES)
    keys, losses = random.split(batch_key, AGENTS), []
    progress = tqdm(range(steps), desc=name, unit=" steps", disable=None)
    for number in progress:
        weights, optimiser, value = train_step(name, weights, optimiser, keys, torch.tensor(number), states, actions)
        losses.append(value)
        if number % 100 == 0:
            progress.set_postfix_str(f"loss {value.mean():.2f}")
    return Run(weights, torch.stack(losses))


runs = {}
for name in POLICIES:
    begin = default_timer()
    runs[name] = train(name, args.seed, STEPS)
    print(f"{name}: {AGENTS} agents, {STEPS} steps, {default_timer() - begin:.0f} s.")

# %% [markdown]
# ## The same seed, the same curve
#
# A second run repeats the first, bit for bit.

# %%
again = train("spline flow", args.seed, min(20, STEPS)).losses
reproducible = torch.equal(again, runs["spline flow"].losses[: len(again)])
print(f"Second run, {len(again)} steps: {'the same losses, bit for bit' if reproducible else 'DIFFERENT'}.")

# %% [markdown]
# ## Judged on new examples
#
# The number is the negative log-likelihood per action, and the least one possible is that of the driver's own density.
# The share of crashes is that of actions that steer too little to pass a near obstacle straight ahead.

# %%
states, actions = examples(random.split(random.key(args.seed), 3)[2], EXAMPLES)
ahead = torch.tensor([[0.95, 0.0]]).expand(EXAMPLES, 2)
draw_keys = random.split(random.key(args.seed + 1), AGENTS + 1)


def judge(name: str) -> tuple[Tensor, Tensor]:
    """Return the negative log-likelihood and the share of crashes of each agent."""
    family = POLICIES[name].family

    def one_agent(weights: dict, key: Tensor) -> tuple[Tensor, Tensor]:
        score = family.log_prob(*params_of(name, weights, states), actions)
        steered = family.sample(key, *params_of(name, weights, ahead))
        return -score.mean(), (steered.abs() < CLEAR).float().mean()

    return vmap(one_agent)(runs[name].weights, draw_keys[:AGENTS])


verdicts = {name: judge(name) for name in POLICIES}
least = -expert.log_prob(*expert_params(states), actions.squeeze(-1)).mean()
crashes = (expert.sample(draw_keys[-1], *expert_params(ahead)).abs() < CLEAR).float().mean()
args.output.mkdir(parents=True, exist_ok=True)
stored = {
    name: {"weights": runs[name].weights, "losses": runs[name].losses, "nll": nll, "crashes": share}
    for name, (nll, share) in verdicts.items()
}
torch.save({**stored, "least": least, "seed": args.seed}, args.output / "multimodal_policy.pt")

# %% [markdown]
# Above, the densities of the steering as the obstacle comes nearer, straight ahead, beside the driver's examples with
# an obstacle almost straight ahead. The colour grows with the root of the density. Below, the same densities at three
# distances, of all agents, over the driver's exact density.

# %%
plt.rcParams.update({"font.size": 11, "savefig.dpi": 160})
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})
COLOURS = {"normal": "#c8102e", "mixture": "#2b8cbe", "spline flow": "#2ca25f"}
near, steer = torch.linspace(0, 1, 161), torch.linspace(-0.995, 0.995, 399)
grid = torch.stack(torch.meshgrid(near, torch.zeros(1), indexing="ij"), dim=-1)  # (161, 1, 2)


def density(name: str, weights: dict, state: Tensor) -> Tensor:
    """Return the density of each steering, of shape (len(state), len(steer))."""
    values = steer[:, None, None].expand(-1, len(state), 1)
    return POLICIES[name].family.log_prob(*params_of(name, weights, state), values).exp().T


figure, panels = plt.subplots(2, 4, figsize=(13, 6.5), layout="constrained")
straight = states[:, 1].abs() < 0.15
panels[0, 0].scatter(states[straight, 0], actions[straight, 0], s=4, color="0.2", linewidth=0, alpha=0.6)
panels[0, 0].set_title("the driver", loc="left", weight="bold")
for panel, name in zip(panels[0, 1:], POLICIES, strict=True):
    first = tree_map(lambda stacked: stacked[0], runs[name].weights)
    table = density(name, first, grid[:, 0]).clamp(max=12).sqrt()
    panel.pcolormesh(near, steer, table.T, cmap="Greys", shading="nearest", rasterized=True)
    panel.set_title(f"{name}, {verdicts[name][0].mean():.2f} nats", loc="left", weight="bold", color=COLOURS[name])
for panel in panels[0]:
    panel.set(xlabel="nearness of the obstacle", xlim=(0, 1), ylim=(-1, 1))
panels[0, 0].set_ylabel("steering")

for panel, nearness in zip(panels[1, :3], (0.2, 0.5, 0.95), strict=True):
    state = torch.tensor([[nearness, 0.0]])
    exact = expert.log_prob(*expert_params(state), steer.unsqueeze(-1)).exp().squeeze(-1)
    panel.fill_between(steer, exact, color="0.85", linewidth=0, label="the driver")
    for name, colour in COLOURS.items():
        curves = vmap(partial(density, name), in_dims=(0, None))(runs[name].weights, state)[:, 0]
        panel.plot(steer, curves.T, color=colour, linewidth=1)
        panel.plot([], [], color=colour, label=name)
    panel.set(xlabel="steering", xlim=(-1, 1), ylim=(0, None))
    panel.set_title(f"nearness {nearness}", loc="left")
panels[1, 0].set_ylabel("density")
panels[1, 0].legend(frameon=False, fontsize=9)
losses = panels[1, 3]
for name, colour in COLOURS.items():
    losses.plot(runs[name].losses.unfold(0, min(20, STEPS), 1).mean(-1), color=colour, linewidth=1)
losses.axhline(least, color="0.2", linestyle="dotted", label="the driver's own density")
losses.set(xlabel="steps", xlim=(0, STEPS), ylim=(least - 0.3, 1.5))
losses.set_title("negative log-likelihood", loc="left")
losses.legend(frameon=False, fontsize=9)
figure.savefig(args.output / "multimodal.png")

# %% [markdown]
# ## The verdict


# %%
def listed(values: Tensor) -> str:
    return "  ".join(f"{value:6.3f}" for value in values)


print(f"Seed {args.seed}, {EXAMPLES} new examples, agents 1 to {AGENTS}:")
print(f"  the driver     least possible   {least:6.3f} nats per action, {crashes:.1%} crashes")
for name, (nll, share) in verdicts.items():
    print(f"  {name:<12}   negative log-likelihood   {listed(nll)}   crashes {share.mean():.1%}")
print(f"Plot and policies: {', '.join(map(str, sorted(args.output.glob('multimodal*'))))}")
if not reproducible:
    sys.exit("FAILED: the second run differs from the first.")
worst = {name: nll.max() for name, (nll, _) in verdicts.items()}
best_normal = verdicts["normal"][0].min()
if not args.smoke and not all(worst[name] < best_normal - GAIN for name in ("mixture", "spline flow")):
    sys.exit(f"FAILED: the mixture and the flow are not {GAIN} nats better than the normal.")
print(
    "A smoke run is too short to judge the goal."
    if args.smoke
    else f"Goal met: every mixture and flow is {GAIN} nats better than every normal."
)
