# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Many devices, the same run
#
# A small token policy learns to count on from a digit by GRPO. Its batch is cut over one dim of a mesh of processes,
# and the vocabulary of its last layer over the other. No process holds the whole weight or the whole table of logits.
#
# One process, two and four draw the same tokens at every step and learn the same curve, since a draw depends on the key
# and on the position in the whole batch, not on the device. Run this as a script: it starts runs of 1, 2 and 4
# processes by `torchrun`. Or start one of them:
#
#     torchrun --nproc-per-node 4 notebooks/many_devices.py

# %%
import argparse
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from tqdm import tqdm

from functional_dists import categorical, random

IN_SCRIPT = "__file__" in globals()
parser = argparse.ArgumentParser(description="Train a token policy on several processes, with the same draws.")
parser.add_argument("--seed", type=int, default=0, help="everything random in the run follows from it")
parser.add_argument("--updates", type=int, default=80)
parser.add_argument("--worlds", type=int, nargs="+", help="numbers of processes; default: 1 2 4, with --smoke 1 2")
parser.add_argument("--smoke", action="store_true", help="three updates only, to see that everything runs")
parser.add_argument("--output", type=Path, default=Path("outputs"), help="folder for the plot and the tokens")
args = parser.parse_args() if IN_SCRIPT else parser.parse_args([])

DIGITS, VOCABULARY, LENGTH, WIDTH = 10, 101, 3, 32  # no number of processes divides this vocabulary
PROMPTS, GROUP, EPOCHS = 16, 16, 2
UPDATES = 3 if args.smoke else args.updates
WORLDS = args.worlds or ([1, 2] if args.smoke else [1, 2, 4])
LEARNING_RATE, CLIP = 1e-2, 0.2
BATCH = PROMPTS * GROUP

torch.set_num_threads(1)

# %% [markdown]
# ## The mesh
#
# With two processes the vocabulary is cut, with four the batch too. `ROWS` are placements of what has an axis of the
# batch, `COLUMNS` those of the weight, whose first axis is the vocabulary.

# %%
MESHES = {1: (1, 1), 2: (1, 2), 4: (2, 2), 8: (2, 4)}
ROWS, COLUMNS, WHOLE = (Shard(0), Replicate()), (Replicate(), Shard(0)), (Replicate(), Replicate())


class Policy(torch.nn.Module):
    """A recurrent trunk, the same on all processes, and a last layer whose rows are cut."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = torch.nn.GRUCell(VOCABULARY, WIDTH)
        self.head = torch.nn.Parameter(0.02 * torch.randn(VOCABULARY, WIDTH))

    def states(self, prompt: Tensor, tokens: Tensor) -> Tensor:
        """Return the hidden states before each of the tokens, of shape (rows, LENGTH, WIDTH)."""
        state, states = prompt.new_zeros((len(prompt), WIDTH), dtype=torch.float32), []
        for token in (prompt, *tokens.unbind(1)):
            state = self.cell(torch.nn.functional.one_hot(token, VOCABULARY).float(), state)
            states.append(state)
        return torch.stack(states, 1)


# %% [markdown]
# ## Draws and losses
#
# The verbs take DTensors as they take tensors. `sample` gives each process its window of the draw of the whole batch.


# %%
def logits_of(mesh, states: Tensor, head: Tensor) -> Tensor:
    """Return the logits, cut by rows and by columns, of the hidden states that this process has."""
    return DTensor.from_local(states, mesh, ROWS) @ head.T


@torch.compile(fullgraph=True)
def score(mesh, states: Tensor, head: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    tokens = DTensor.from_local(tokens, mesh, ROWS)
    return categorical.log_prob_and_entropy(logits_of(mesh, states, head), tokens)


@torch.no_grad()
def roll_out(policy: Policy, mesh, key: Tensor, prompt: Tensor) -> tuple[Tensor, Tensor]:
    """Return the tokens of this process's rows, and their log-probabilities."""
    tokens, scores = prompt.new_zeros((len(prompt), 0)), []
    for position in range(LENGTH):
        state = policy.states(prompt, tokens)[:, -1]
        logits = logits_of(mesh, state, policy.head)
        token, log_prob = categorical.sample_and_log_prob(random.fold_in(key, position), logits)
        tokens = torch.cat([tokens, token.to_local()[:, None]], 1)
        scores.append(log_prob.to_local())
    return tokens, torch.stack(scores, 1)


def train(world: int) -> dict[str, list]:
    mesh = init_device_mesh("cpu", MESHES[world], mesh_dim_names=("batch", "vocabulary"))
    torch.manual_seed(args.seed)
    policy = Policy()
    policy.head = torch.nn.Parameter(distribute_tensor(policy.head.detach(), mesh, COLUMNS))
    optimizers = [torch.optim.Adam(p, LEARNING_RATE) for p in (policy.cell.parameters(), [policy.head])]
    rows = BATCH // mesh.size(0)
    own = slice(mesh.get_local_rank(0) * rows, (mesh.get_local_rank(0) + 1) * rows)
    prompt_key, draw_key = random.split(random.key(args.seed))
    found: dict[str, list] = {"reward": [], "loss": [], "tokens": []}
    bar = tqdm(range(UPDATES), desc=f"{world} processes", unit="update", disable=None)  # none outside of a terminal
    for number in range(UPDATES) if dist.get_rank() else bar:
        prompts = random.randint(random.fold_in(prompt_key, number), (PROMPTS,), 0, DIGITS)
        prompt = prompts.repeat_interleave(GROUP)[own]
        tokens, old_log_prob = roll_out(policy, mesh, random.fold_in(draw_key, number), prompt)
        wanted = (prompt[:, None] + torch.arange(1, LENGTH + 1)) % DIGITS
        reward = (tokens == wanted).float().mean(-1).view(-1, GROUP)
        advantage = (reward - reward.mean(1, keepdim=True)) / (reward.std(1, keepdim=True) + 1e-4)
        advantage = advantage.reshape(-1, 1).expand(-1, LENGTH).flatten()
        for _ in range(EPOCHS):
            states = policy.states(prompt, tokens[:, :-1]).flatten(0, 1)
            log_prob, entropy = (part.to_local() for part in score(mesh, states, policy.head, tokens.flatten()))
            ratio = (log_prob - old_log_prob.flatten()).exp()
            surrogate = torch.minimum(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage)
            loss = -(surrogate + 1e-2 * entropy).sum() / (BATCH * LENGTH)  # this process's part of the mean
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss.backward()
            for parameter in policy.cell.parameters():
                dist.all_reduce(parameter.grad, group=mesh.get_group("batch"))
            for optimizer in optimizers:
                optimizer.step()
        totals = torch.stack([reward.sum(), loss.detach()])
        dist.all_reduce(totals, group=mesh.get_group("batch"))
        everything = DTensor.from_local(tokens, mesh, ROWS).full_tensor()
        for name, part in zip(found, (totals[0] / BATCH, totals[1], everything), strict=True):
            found[name].append(part.tolist())
    return found


# %% [markdown]
# ## One run of a given number of processes


# %%
def results_file(world: int) -> Path:
    return args.output / f"many_devices_{world}.json"


def run_here() -> None:
    dist.init_process_group("gloo")
    found = train(dist.get_world_size())
    if dist.get_rank() == 0:
        args.output.mkdir(parents=True, exist_ok=True)
        results_file(dist.get_world_size()).write_text(json.dumps(found))
    dist.destroy_process_group()


if IN_SCRIPT and "RANK" in os.environ:  # started by torchrun
    warnings.filterwarnings("ignore")
    run_here()
    sys.exit()

# %% [markdown]
# ## All runs, and their curves

# %%
script = Path(__file__ if IN_SCRIPT else "many_devices.py").resolve()
options = ["--seed", args.seed, "--updates", args.updates, "--output", args.output, *["--smoke"] * args.smoke]
for world in WORLDS:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}", script]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([str(word) for word in (*launch, *options)], check=True, env=environment)

import matplotlib

if IN_SCRIPT:
    matplotlib.use("Agg")
import matplotlib.pyplot as plt

runs = {world: json.loads(results_file(world).read_text()) for world in WORLDS}
first = runs[WORLDS[0]]
figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
for world, found in runs.items():
    width = 6 - 2 * WORLDS.index(world)
    axes.plot([100 * r for r in found["reward"]], linewidth=width, alpha=0.6, label=f"{world} processes")
    same = found["tokens"] == first["tokens"]
    distance = max(abs(a - b) for a, b in zip(found["loss"], first["loss"], strict=True))
    print(
        f"{world} processes: {'the same' if same else 'other'} tokens in all {UPDATES} updates as {WORLDS[0]}; "
        f"losses differ by at most {distance:.0e}; digits right at the end {found['reward'][-1]:.1%}"
    )
    assert same
axes.set(xlabel="update", ylabel="digits right (%)", title="One run on 1, 2 and 4 processes")
axes.legend()
figure.savefig(args.output / "many_devices.png", dpi=150)
print(f"Plot: {args.output / 'many_devices.png'}")
