# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # GRPO on tokens, scored on the support that sampled them
#
# A small language model learns to sort digits by reinforcement alone: group relative policy optimisation
# ([Shao et al., 2024](https://arxiv.org/abs/2402.03300)), a reward that a program checks, no example answers.
#
# Rollouts draw with a temperature and top-p, and each request has its own key. The update scores the same tokens
# straight from the hidden states with `linear_categorical`: no table of logits of all tokens is made. It scores them
# on the tokens that top-p had kept. Without that, the importance ratio of the first step is not 1 but the kept mass.
# Run this as a script, or cell by cell.

# %%
import argparse
import subprocess
import sys
from functools import partial
from pathlib import Path
from timeit import default_timer
from typing import NamedTuple

import matplotlib
import torch
from optree import tree_map
from torch import Tensor
from torch.func import functional_call, grad
from torch.nn import Embedding, Linear, Module, RMSNorm, Sequential
from torch.nn.functional import gelu, scaled_dot_product_attention
from tqdm import tqdm

from functional_dists import linear_categorical, logits, random

IN_SCRIPT = "__file__" in globals()
parser = argparse.ArgumentParser(description="Teach a small decoder to sort digits by GRPO.")
parser.add_argument("--seed", type=int, default=0, help="everything random in the run follows from it")
parser.add_argument("--updates", type=int, default=240, help="of 32 prompts with 16 answers each")
parser.add_argument("--smoke", action="store_true", help="four updates only, to see that everything runs")
parser.add_argument("--output", type=Path, default=Path("outputs"), help="folder for the plot and the policy")
args = parser.parse_args() if IN_SCRIPT else parser.parse_args([])

DIGITS, SORT = 10, 10  # the tokens 0 to 9 are digits, the token 10 asks for the answer
VOCABULARY = 32  # the other tokens are never right
LENGTH = 4  # digits to sort
PROMPT = LENGTH + 1
WIDTH, LAYERS, HEADS = 64, 2, 4
PROMPTS, GROUP, EPOCHS = 32, 16, 2
UPDATES = 4 if args.smoke else args.updates
LEARNING_RATE, WARM_UP, CLIP = 3e-3, 20, 0.2
TEMPERATURE, TOP_P = 1.0, 0.95

torch.set_num_threads(1)  # tensors as small as these lose more to a second thread than they gain
if IN_SCRIPT:
    matplotlib.use("Agg")
import matplotlib.pyplot as plt

# %% [markdown]
# ## The policy
#
# A decoder of two layers returns hidden states. The logits of a token are `hidden @ head.T`, which nothing below
# computes for a whole batch: the head is a parameter of the distribution.


# %%
class Block(Module):
    def __init__(self) -> None:
        super().__init__()
        self.norms = torch.nn.ModuleList([RMSNorm(WIDTH), RMSNorm(WIDTH)])
        self.query_key_value, self.out = Linear(WIDTH, 3 * WIDTH, bias=False), Linear(WIDTH, WIDTH, bias=False)
        self.up, self.down = Linear(WIDTH, 4 * WIDTH), Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.query_key_value(self.norms[0](x)).chunk(3, -1)
        query, key, value = (part.unflatten(-1, (HEADS, -1)).transpose(-2, -3) for part in parts)
        mixed = scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(mixed.transpose(-2, -3).flatten(-2))
        return x + self.down(gelu(self.up(self.norms[1](x))))


class Decoder(Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = Embedding(VOCABULARY, WIDTH), Embedding(PROMPT + LENGTH, WIDTH)
        self.blocks, self.norm = Sequential(*(Block() for _ in range(LAYERS))), RMSNorm(WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.norm(self.blocks(self.tokens(tokens) + self.positions.weight[: tokens.shape[-1]]))


class Weights(NamedTuple):
    decoder: dict[str, Tensor]
    head: Tensor  # (VOCABULARY, WIDTH)


DECODER = Decoder()


def initial_weights(seed: int) -> Weights:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        decoder = {name: weight.detach() for name, weight in Decoder().named_parameters()}
        return Weights(decoder, 0.02 * torch.randn(VOCABULARY, WIDTH))


def hidden_states(weights: Weights, tokens: Tensor) -> Tensor:
    return functional_call(DECODER, weights.decoder, (tokens,))


# %% [markdown]
# ## Rollouts
#
# Every request has a key of its own, and every position of it a key derived from that one. So an answer does not depend
# on the other requests in its batch. `keep_top_p` says which tokens may be drawn; the rollout stores that set beside
# the token and its log-probability.


# %%
class Rollout(NamedTuple):
    tokens: Tensor  # (B, PROMPT + LENGTH): the prompt, then the answer
    kept: Tensor  # (B, LENGTH, VOCABULARY): the tokens that top-p kept
    log_prob: Tensor  # (B, LENGTH): on the kept tokens


@partial(torch.compile, fullgraph=True)
def draw_token(weights: Weights, keys: Tensor, tokens: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    hidden = hidden_states(weights, tokens).index_select(1, position).squeeze(1)
    kept = logits.keep_top_p(hidden @ weights.head.T / TEMPERATURE, TOP_P)
    keys = random.fold_in(keys, position.expand(len(keys)))
    draw = linear_categorical.sample_and_log_prob(keys, hidden, weights.head, temperature=TEMPERATURE, support=kept)
    return *draw, kept


def roll_out(weights: Weights, keys: Tensor, prompts: Tensor) -> Rollout:
    tokens, steps = torch.nn.functional.pad(prompts, (0, LENGTH), value=SORT), []
    for position in range(PROMPT - 1, PROMPT - 1 + LENGTH):
        token, log_prob, kept = draw_token(weights, keys, tokens, torch.tensor([position]))
        tokens = torch.cat([tokens[:, : position + 1], token[:, None], tokens[:, position + 2 :]], -1)
        steps.append((kept, log_prob))
    kept, log_prob = (torch.stack(parts, 1) for parts in zip(*steps, strict=True))
    return Rollout(tokens, kept, log_prob)


def rewards(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Return the share of digits in their place, and whether all are."""
    right = tokens[:, PROMPT:] == tokens[:, :LENGTH].sort(-1).values
    return right.float().mean(-1), right.all(-1).float()


# %% [markdown]
# ## The update
#
# One compiled graph: hidden states, log-probabilities and entropies of the answers, the clipped loss, its gradient,
# Adam. `support` replays what the rollout kept. The mean entropy is only watched.


# %%
def score(weights: Weights, rollout: Rollout, support: Tensor | None) -> tuple[Tensor, Tensor]:
    hidden = hidden_states(weights, rollout.tokens[:, :-1])[:, PROMPT - 1 :]
    return linear_categorical.log_prob_and_entropy(
        hidden, weights.head, value=rollout.tokens[:, PROMPT:], temperature=TEMPERATURE, support=support
    )


def loss(weights: Weights, rollout: Rollout, advantage: Tensor) -> tuple[Tensor, Tensor]:
    log_prob, entropy = score(weights, rollout, rollout.kept)
    ratio = (log_prob - rollout.log_prob).exp()
    surrogate = torch.minimum(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage)
    return -surrogate.mean(), entropy.mean()


def adam(grads: Weights, state: tuple, weights: Weights, rate: Tensor) -> tuple[Weights, tuple]:
    step, mean, square = state
    step = step + 1
    mean = tree_map(lambda m, g: 0.9 * m + 0.1 * g, mean, grads)
    square = tree_map(lambda s, g: 0.95 * s + 0.05 * g * g, square, grads)
    rate, unbias = rate / (1 - 0.9**step), 1 / (1 - 0.95**step)
    weights = tree_map(lambda p, m, s: p - rate * m / ((s * unbias).sqrt() + 1e-8), weights, mean, square)
    return weights, (step, mean, square)


@partial(torch.compile, fullgraph=True)
def update(
    weights: Weights, optimiser: tuple, rollout: Rollout, advantage: Tensor, rate: Tensor
) -> tuple[Weights, tuple, Tensor]:
    grads, entropy = grad(loss, has_aux=True)(weights, rollout, advantage)
    return *adam(grads, optimiser, weights, rate), entropy


def advantages(reward: Tensor) -> Tensor:
    """Return how much better each answer is than the others of its prompt, in their standard deviations."""
    group = reward.unflatten(0, (PROMPTS, GROUP))
    return ((group - group.mean(1, keepdim=True)) / (group.std(1, keepdim=True) + 1e-4)).reshape(-1, 1)


# %% [markdown]
# ## Training


# %%
class Run(NamedTuple):
    weights: Weights
    curve: Tensor  # (UPDATES, 3): the share of digits in place, of answers all right, the mean entropy
    ratios: Tensor  # (UPDATES, 3): the first ratio with replay, without it, and the kept mass; means of all tokens


def first_ratios(weights: Weights, rollout: Rollout) -> Tensor:
    """Return the mean ratios before the update, with the support replayed and without, and the mean kept mass."""
    replayed, whole = (score(weights, rollout, support)[0] for support in (rollout.kept, None))
    hidden = hidden_states(weights, rollout.tokens[:, :-1])[:, PROMPT - 1 :]
    mass = logits.log_kept_mass(hidden @ weights.head.T / TEMPERATURE, rollout.kept)
    return torch.stack(
        [(replayed - rollout.log_prob).exp().mean(), (whole - rollout.log_prob).exp().mean(), mass.exp().mean()]
    )


def train(seed: int, updates: int) -> Run:
    prompt_key, draw_key = random.split(random.key(seed))
    weights = initial_weights(seed)
    optimiser = (torch.zeros(()), *(tree_map(torch.zeros_like, weights) for _ in range(2)))
    curve, ratios = torch.zeros(updates, 3), torch.zeros(updates, 3)
    progress = tqdm(range(updates), "GRPO", unit=" updates", disable=None)
    for number in progress:
        digits = random.randint(random.fold_in(prompt_key, number), (PROMPTS, LENGTH), 0, DIGITS)
        prompts = torch.nn.functional.pad(digits, (0, 1), value=SORT).repeat_interleave(GROUP, 0)
        keys = random.split(random.fold_in(draw_key, number), PROMPTS * GROUP)
        rollout = roll_out(weights, keys, prompts)
        share, solved = rewards(rollout.tokens)
        ratios[number] = first_ratios(weights, rollout)
        rate = torch.tensor(LEARNING_RATE * min(1, (number + 1) / WARM_UP) * (1 - number / UPDATES))
        for _ in range(EPOCHS):
            weights, optimiser, entropy = update(weights, optimiser, rollout, advantages(share + solved), rate)
        curve[number] = torch.stack([share.mean(), solved.mean(), entropy])
        progress.set_postfix_str(f"{solved.mean():.0%} sorted")
    return Run(weights, curve, ratios)


start = default_timer()
run = train(args.seed, UPDATES)
print(f"{UPDATES} updates of {PROMPTS * GROUP} answers: {default_timer() - start:.0f} s with compilation.")
last = run.curve[-20:].mean(0)
print(f"Last 20 updates: {last[1]:.1%} of the answers sorted, {last[0]:.1%} of the digits in place.")

# %% [markdown]
# The left panel is the reward. The right one is the mean importance ratio before the first step of every update. With
# the support replayed it is 1. On all tokens it is the probability that top-p kept, always below 1: a bias that no
# clipping repairs.

# %%
plt.rcParams.update({"font.size": 11, "savefig.dpi": 160, "axes.grid": True, "grid.color": "0.93"})
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})
figure, (learning, bias) = plt.subplots(ncols=2, figsize=(11, 4.5), layout="constrained")
steps = torch.arange(1, UPDATES + 1)
learning.plot(steps, run.curve[:, 1], color="#c8102e", linewidth=2, label="answers sorted")
learning.plot(steps, run.curve[:, 0], color="#2b8cbe", linewidth=2, label="digits in place")
learning.set(xlabel="updates", ylabel="share", ylim=(0, 1.02))
learning.set_title(f"GRPO: sorting {LENGTH} digits", loc="left", weight="bold")
learning.legend(loc="lower right", frameon=False)
bias.plot(steps, run.ratios[:, 0], color="#c8102e", linewidth=2, label="on the kept tokens")
bias.plot(steps, run.ratios[:, 1], color="#2b8cbe", linewidth=2, label="on all tokens")
bias.plot(steps, run.ratios[:, 2], color="0.2", linewidth=1.5, linestyle="dotted", label="mass kept by top-p")
bias.set(xlabel="updates", ylabel="mean importance ratio before the first step")
bias.set_title("The first ratio", loc="left", weight="bold")
bias.legend(loc="center right", frameon=False)
args.output.mkdir(parents=True, exist_ok=True)
figure.savefig(args.output / "grpo_tokens.png")

replayed, whole, mass = run.ratios.unbind(1)
print(f"First ratio on the kept tokens: 1 to {(replayed - 1).abs().max():.0e}.")
print(f"First ratio on all tokens: {whole.mean():.3f} on average; mass kept: {mass.mean():.3f}.")
assert (replayed - 1).abs().max() < 1e-5
assert (whole - mass).abs().max() < 1e-4

# %% [markdown]
# ## The same seed, the same run
#
# Nothing draws from a hidden generator. A second run repeats the first, bit for bit.

# %%
again = train(args.seed, min(5, UPDATES))
reproducible = torch.equal(again.curve, run.curve[: len(again.curve)])
print(f"Second run, {len(again.curve)} updates: {'the same curve, bit for bit' if reproducible else 'DIFFERENT'}.")

# %% [markdown]
# ## Memory
#
# The head of this policy is small. The same loss at the size of a language model, each way in a fresh process: 2048
# tokens, a vocabulary of 65,536, a hidden size of 64. The table of logits alone takes 512 MiB.

# %%
MEASURE = """
import sys, torch
from pathlib import Path
from functional_dists import categorical, linear_categorical
torch.set_num_threads(1)
hidden, weight = torch.randn({rows}, 64, requires_grad=True), torch.randn({vocabulary}, 64, requires_grad=True)
tokens = torch.randint({vocabulary}, ({rows},))

def loss(rows):
    part, token = hidden[:rows], tokens[:rows]
    if sys.argv[1] == "table":
        table = part @ weight.T
        log_prob, entropy = categorical.log_prob(table, token), categorical.entropy(table)
    else:
        log_prob, entropy = linear_categorical.log_prob_and_entropy(part, weight, value=token)
    (log_prob + 0.01 * entropy).mean().backward()

def kibibytes(name):
    return int(Path("/proc/self/status").read_text().split(name + ":")[1].split()[0])

loss(2)  # what the first call loads, and the gradients
Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is in use
before = kibibytes("VmRSS")
loss({rows})
print((kibibytes("VmHWM") - before) / 1024)
"""


def peak_memory(way: str) -> float:
    """Return the MiB that the loss and its gradient take in a fresh process, on Linux."""
    program = MEASURE.format(rows=64 if args.smoke else 2048, vocabulary=4096 if args.smoke else 65536)
    printed = subprocess.run([sys.executable, "-c", program, way], capture_output=True, text=True, check=True).stdout
    return float(printed)


print(
    f"Memory of the loss and its gradient: {peak_memory('table'):.0f} MiB by a table of logits, "
    f"{peak_memory('head'):.0f} MiB from the hidden states."
)

# %% [markdown]
# ## Saved, loaded and asked
#
# The saved policy answers greedily: `linear_categorical.deterministic` is the most probable token.

# %%
policy_file = args.output / "grpo_tokens_policy.pt"
torch.save({"weights": run.weights._asdict(), "curve": run.curve, "ratios": run.ratios, "seed": args.seed}, policy_file)
saved = torch.load(policy_file, weights_only=True)
weights = Weights(**saved["weights"])

digits = random.randint(random.key(args.seed + 1), (1000, LENGTH), 0, DIGITS)
tokens = torch.nn.functional.pad(digits, (0, 1), value=SORT)
for _ in range(LENGTH):
    best = linear_categorical.deterministic(hidden_states(weights, tokens)[:, -1], weights.head)
    tokens = torch.cat([tokens, best[:, None]], -1)
for line in tokens[:3].tolist():
    print(f"{line[:LENGTH]} -> {line[PROMPT:]}")
print(f"Greedy answers to a thousand new prompts: {rewards(tokens)[1].mean():.1%} sorted.")
print(f"Plots and policies: {', '.join(map(str, sorted(args.output.glob('grpo_tokens*'))))}")
