"""# A training script with a `torch.Generator`

Existing scripts have a `torch.Generator`, or seed the global one. Every function that draws takes a generator in the place
of the key, so a script moves to this library one line at a time. This one is REINFORCE with a baseline
([Williams, 1992](https://doi.org/10.1007/BF00992696)) on gymnasium's `CartPole-v1`.

* `categorical.sample(generator, logits)` advances the generator, as `torch.multinomial` does.
* `sample_and_log_prob` carries the score-function gradient: its log-probs are ready for the loss.
* A checkpoint saves `generator.get_state()`. With keys it would save the step.

`torch.compile` cannot trace a generator. When a function is to be compiled, make a key outside of it:
`random.key_from(generator)`.

The program takes about half a minute on one core. `--short` plays 20 episodes only.
"""

import argparse

import gymnasium as gym
import torch
from torch import nn
from tqdm import tqdm

from functional_dists import categorical

parser = argparse.ArgumentParser()
parser.add_argument("--short", action="store_true", help="play 20 episodes only")
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

EPISODES, DISCOUNT = (20 if args.short else 250), 0.99
torch.set_num_threads(1)
torch.manual_seed(args.seed)  # for the initial weights
generator = torch.Generator().manual_seed(args.seed)  # for the actions
network = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 3))  # two logits and a value
optimizer = torch.optim.Adam(network.parameters(), 1e-2)


def play(env: gym.Env, generator: torch.Generator, seed: int | None = None) -> tuple[list, list, list]:
    """Play an episode; return the log-probs, the values and the rewards of its steps."""
    log_probs, values, rewards, is_over = [], [], [], False
    obs, _ = env.reset(seed=seed)
    while not is_over:
        output = network(torch.from_numpy(obs))
        action, log_prob = categorical.sample_and_log_prob(generator, output[:2])
        obs, reward, terminated, truncated, _ = env.step(int(action))
        log_probs.append(log_prob)
        values.append(output[2])
        rewards.append(float(reward))
        is_over = terminated or truncated
    return log_probs, values, rewards


env, lengths = gym.make("CartPole-v1"), []
for episode in tqdm(range(EPISODES), unit=" episodes", disable=None):
    log_probs, values, rewards = play(env, generator, args.seed if episode == 0 else None)
    returns, total = [], 0.0
    for reward in reversed(rewards):
        total = reward + DISCOUNT * total
        returns.append(total)
    target = torch.tensor(returns[::-1]) / 20  # values of about 1 are easier to learn
    advantage = target - torch.stack(values)
    loss = (advantage.square() - torch.stack(log_probs) * advantage.detach()).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    lengths.append(len(rewards))

# A checkpoint: the same state of the generator and the same seed of the environment give the same episode.
state = generator.get_state()
first = play(env, generator, seed=1)
generator.set_state(state)
again = play(env, generator, seed=1)
assert torch.equal(torch.stack(first[0]), torch.stack(again[0]))

last = sum(lengths[-20:]) / 20
print(f"mean length of the last 20 episodes: {last:.0f} of at most 500")
assert args.short or last > 150
