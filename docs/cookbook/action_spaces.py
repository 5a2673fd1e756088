"""# Any action space

A network puts out one vector of numbers. `spaces.from_space` says how many an action space needs, which family it has, and how
its draws become actions:

* Integers are categorical, bits have a logit each, and a box has a tanh-normal between its bounds. `Dict` and `Tuple` are
  independent families. `OneOf`, `Sequence` and `Text` are chains: the parts that were not chosen, and the items after the end,
  have no effect on the log-probability.
* A value is dicts and tuples of tensors of fixed shapes, so that one `torch.compile` or `vmap` takes the whole policy.
  `to_env` turns it into what `env.step` takes: here dicts, pairs, arrays and strings.
* Masks have the form that `space.sample(mask=...)` of gymnasium takes, with a batch in front of the arrays.

The environment below is a desk with buttons, a slider and a keyboard. The observation says what to use, and how; one button
is broken. The program trains by REINFORCE for 300 updates of 64 steps, and takes about 12 seconds on one core. `--short` makes
10 updates.
"""

import argparse

import gymnasium as gym
import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from functional_dists import policy, random
from functional_dists.spaces import from_space

parser = argparse.ArgumentParser()
parser.add_argument("--short", action="store_true", help="make 10 updates only")
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

ENVS, UPDATES, LEARNING_RATE, ENTROPY_BONUS = 64, (10 if args.short else 300), 3e-3, 1e-2
BUTTONS, LETTERS = 4, "ab"
torch.set_num_threads(1)


class Desk(gym.Env):
    """Episodes of one step: press a button, move a slider or type a word, and set two lamps."""

    observation_space = gym.spaces.Box(0.0, 1.0, (3 + BUTTONS + 1 + 2 + 2,))
    action_space = gym.spaces.Dict(
        use=gym.spaces.OneOf(
            [
                gym.spaces.Discrete(BUTTONS),
                gym.spaces.Box(0.0, 1.0, (1,)),
                gym.spaces.Text(2, charset=LETTERS),
            ]
        ),
        lamps=gym.spaces.MultiBinary(2),
    )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.tool = int(self.np_random.integers(3))
        self.button = int(self.np_random.integers(1, BUTTONS))
        self.place = float(self.np_random.random())
        self.word = "".join(self.np_random.choice(list(LETTERS), 2))
        self.lamps = self.np_random.integers(0, 2, 2)
        is_b = [float(letter == "b") for letter in self.word]
        parts = np.eye(3)[self.tool], np.eye(BUTTONS)[self.button], [self.place], is_b, self.lamps
        # Button 0 is broken; the mask of `use` has an entry for each tool, and None allows everything.
        working = np.array([0] + [1] * (BUTTONS - 1), dtype=np.int8)
        return np.concatenate(parts).astype(np.float32), {"working": working}

    def step(self, action):
        assert action in self.action_space
        tool, how = action["use"]
        reward = 0.25 * float((action["lamps"] == self.lamps).sum())
        if tool == self.tool:
            reward += [self.score_of_button, self.score_of_slider, self.score_of_word][tool](how)
        return np.zeros(self.observation_space.shape, np.float32), reward, True, False, {}

    def score_of_button(self, button):
        return float(button == self.button)

    def score_of_slider(self, place):
        return 1 - 2 * abs(float(place[0]) - self.place)

    def score_of_word(self, word):
        return sum(a == b for a, b in zip(word, self.word, strict=False)) / 2


gym.register("Desk-v0", entry_point=Desk)
space = from_space(Desk.action_space)
print(f"{space.size} numbers of the network are the parameters of an action of {Desk.action_space}")

torch.manual_seed(args.seed)  # for the initial weights; everything else draws from keys
network = nn.Sequential(nn.Linear(*Desk.observation_space.shape, 64), nn.Tanh(), nn.Linear(64, space.size))
options = {"in_keys": ["observation"], "data_keys": {"mask": "mask"}, "return_log_prob": True}
params, act = policy.actor(network, spec=space, **options)
optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)

envs = gym.make_vec("Desk-v0", ENVS, vectorization_mode="sync")
rewards = []
for number in tqdm(range(UPDATES), unit=" updates", disable=None):
    observation, info = envs.reset(seed=None if number else args.seed)
    mask = {"use": (info["working"], None, None)}
    data = {"observation": torch.from_numpy(observation), "mask": mask}
    with torch.no_grad():
        data = act(params, random.fold_in(random.key(args.seed), number), data)
    assert (data["action"]["use"]["parts"]["0"] != 0)[data["action"]["use"]["which"] == 0].all()  # no broken button
    reward = torch.from_numpy(envs.step(space.to_env(data["action"]))[1]).float()
    rewards.append(reward.mean().item())
    advantage = reward - reward.mean()
    loss = -(advantage * act.log_prob(params, data)).mean() - ENTROPY_BONUS * act.entropy(params, data).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

for one in data["observation"][:4]:
    with torch.no_grad():
        played = act(params, None, {"observation": one, "mask": {}}, interaction_type="deterministic")
    print("without exploration the policy plays", space.to_env(played["action"]))
last = sum(rewards[-10:]) / len(rewards[-10:])
print(f"mean reward of the last 10 updates: {last:.2f} of at most 1.5, {rewards[0]:.2f} in the first")
assert args.short or last > 1.0
