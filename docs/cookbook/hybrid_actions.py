"""# Hybrid actions: a choice, and an amount that depends on it

In gymnasium's `CartPole-v1` every push has the same force. Here the agent also chooses the force. An action is a dict: the
direction of the push, and its force in [0, 20]. Force costs a little, so a good agent balances with small pushes.

* `composite.chain` is one joint distribution, $p(\\text{push})\\, p(\\text{force} \\mid \\text{push})$. The network gives a
  location and a scale for each push. `composite.pick` takes the row of the push that was drawn.
* `policy.actor` makes a step of the network and the chain. `act` draws. `act.log_prob` and `act.entropy` score stored actions.
  The loss never looks into the action.
* The network is a module that an ordinary optimizer trains. The step is a pure function, so `torch.compile(fullgraph=True)`
  and `vmap` also take it.

The program trains by PPO for 40 updates of 1024 steps, and takes about 15 seconds on one core. `--short` makes 2 updates.
"""

import argparse

import gymnasium as gym
import torch
from torch import Tensor, nn
from tqdm import tqdm

from functional_dists import categorical, composite, parameters, policy, random, tanh_normal
from functional_dists.composite import Head, pick

parser = argparse.ArgumentParser()
parser.add_argument("--short", action="store_true", help="make 2 updates only")
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

ENVS, LENGTH, UPDATES, EPOCHS, MINIBATCHES = 8, 128, (2 if args.short else 40), 4, 4
LEARNING_RATE, DISCOUNT, GAE_DECAY, CLIP, ENTROPY_BONUS = 2e-3, 0.99, 0.95, 0.2, 5e-3
REWARD_UNIT = 10.0  # for values of a size that the critic learns quickly
torch.set_num_threads(1)


class GentleCartPole(gym.Wrapper):
    """CartPole with an action of two parts; a force of 20 costs a tenth of the reward."""

    def __init__(self, **options) -> None:
        super().__init__(gym.make("CartPole-v1", **options))
        self.action_space = gym.spaces.Dict(push=gym.spaces.Discrete(2), force=gym.spaces.Box(0.0, 20.0, (1,)))

    def step(self, action):
        force = float(action["force"][0])
        self.unwrapped.force_mag = force
        obs, reward, *others = self.env.step(int(action["push"]))
        return obs, float(reward) - force / 200, *others


gym.register("GentleCartPole-v0", entry_point=GentleCartPole)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2 + 2 * 2))

    def forward(self, obs: Tensor) -> dict[str, Tensor]:
        logits, raw = self.layers(obs).split([2, 4], -1)
        loc, scale = parameters.normal_params(raw.unflatten(-1, (2, 2)))  # (batch, pushes, 1) each
        return {"push": logits, "loc": loc, "scale": scale}


def force_given_push(params: dict, earlier: dict) -> tanh_normal.Params:
    loc, scale = (pick(params[name], earlier["push"]) for name in ("loc", "scale"))
    return tanh_normal.Params(loc, scale, 0.0, 20.0)


torch.manual_seed(args.seed)  # for the initial weights; everything else draws from keys
network, critic = Network(), nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 1))
family = composite.chain(push=Head(categorical), force=Head(tanh_normal, force_given_push))
params, act = policy.actor(network, family, in_keys=["observation"], return_log_prob=True)
optimizer = torch.optim.Adam([*network.parameters(), *critic.parameters()], LEARNING_RATE)


def loss(batch: dict) -> Tensor:
    ratio = (act.log_prob(params, batch) - batch["sample_log_prob"]).exp()
    advantage = (batch["advantage"] - batch["advantage"].mean()) / (batch["advantage"].std() + 1e-8)
    surrogate = torch.minimum(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage)
    critic_loss = (critic(batch["observation"]).squeeze(-1) - batch["target"]).square()
    return (critic_loss - surrogate - ENTROPY_BONUS * act.entropy(params, batch)).mean()


def stacked(steps: list) -> dict:
    """Stack nested dicts of tensors along a new first axis."""
    if isinstance(steps[0], dict):
        return {name: stacked([step[name] for step in steps]) for name in steps[0]}
    return torch.stack(steps)


def rows_of(stored: dict, rows: Tensor) -> dict:
    """Return the rows of nested dicts of tensors (LENGTH, ENVS, ...)."""
    return {
        name: rows_of(value, rows) if isinstance(value, dict) else value.flatten(0, 1)[rows]
        for name, value in stored.items()
    }


act_key, shuffle_key = random.split(random.key(args.seed))
options = {"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP}
envs = gym.make_vec("GentleCartPole-v0", ENVS, vectorization_mode="sync", vector_kwargs=options)
obs = torch.from_numpy(envs.reset(seed=args.seed)[0])
running, finished = torch.zeros(ENVS), []
for number in tqdm(range(UPDATES), unit=" updates", disable=None):
    steps = []
    for t in range(LENGTH * number, LENGTH * (number + 1)):
        with torch.no_grad():
            data = act(params, random.fold_in(act_key, t), {"observation": obs})
            value = critic(obs).squeeze(-1)
        if t == 0:  # what the step wrote is the score of the action as stored, so the first ratio of PPO is 1
            assert torch.equal(act.log_prob(params, data), data["sample_log_prob"])
        action = data["action"]  # {"push": (ENVS,), "force": (ENVS, 1)}
        next_obs, reward, terminated, truncated, _ = envs.step({name: part.numpy() for name, part in action.items()})
        reward, done = torch.from_numpy(reward).float(), torch.from_numpy(terminated | truncated)
        seen = {name: data[name] for name in ("observation", "action", "sample_log_prob")}
        steps.append({**seen, "reward": reward, "value": value, "done": done})
        running += reward
        finished += running[done].tolist()
        running *= ~done
        obs = torch.from_numpy(next_obs)

    rollout = stacked(steps)
    with torch.no_grad():
        next_value, advantage, found = critic(obs).squeeze(-1), torch.zeros(ENVS), []
    for t in reversed(range(LENGTH)):
        alive = (~rollout["done"][t]).float()
        delta = rollout["reward"][t] / REWARD_UNIT + DISCOUNT * alive * next_value - rollout["value"][t]
        advantage = delta + DISCOUNT * GAE_DECAY * alive * advantage
        next_value = rollout["value"][t]
        found.append(advantage)
    rollout["advantage"] = torch.stack(found[::-1])
    rollout["target"] = rollout["advantage"] + rollout["value"]
    for rows in random.permutation(random.fold_in(shuffle_key, number), (EPOCHS, ENVS * LENGTH)):
        for minibatch in rows.chunk(MINIBATCHES):
            optimizer.zero_grad()
            loss(rows_of(rollout, minibatch)).backward()
            optimizer.step()

force = rollout["action"]["force"].mean().item()
last = torch.tensor(finished[-20:]).mean().item()
print(f"mean return of the last 20 episodes: {last:.0f} of at most 500; mean force of the last rollout: {force:.1f}")
assert ((rollout["action"]["force"] > 0) & (rollout["action"]["force"] < 20)).all()
assert args.short or last > 100
