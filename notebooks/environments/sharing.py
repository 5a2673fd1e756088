"""A server that shares its capacity among queues: at every step the action is a point of the simplex.

Each of four queues holds some work. The server does one unit of work in a step, split by the weights that the action
gives; what it gives to a queue beyond the work there is lost. A step costs the mean square of the work that is left,
and then new work arrives, of the same distribution in all queues.

The optimum is known: serve the longest queues, down to one level. That gives the most equal work (what is left under
any other split majorizes it), and nothing prefers one queue. So it is best for every number of steps. The weight of
a short queue is then 0: the best actions lie on the border of the simplex.

The dynamics are pure functions of tensors, for one server or any number of them, also under `torch.vmap`. `Sharing-v0`
is one server as an environment of gymnasium.
"""

import gymnasium as gym
import torch
from torch import Tensor

from functional_dists import random

QUEUES, LIMIT = 4, 32
CHANCE, SIZE = 0.3, 0.75  # of new work in a queue, and its mean: 0.9 units arrive in a step, on average


def arrivals(key: Tensor, shape: tuple[int, ...] = ()) -> Tensor:
    """Return the work that arrives at servers, of shape (*shape, QUEUES)."""
    which, size = random.split(key)
    comes = random.uniform(which, (*shape, QUEUES)) < CHANCE
    return torch.where(comes, SIZE * random.exponential(size, (*shape, QUEUES)), 0.0)


def start(key: Tensor, shape: tuple[int, ...] = ()) -> Tensor:
    """Return the work at the start, about one unit in each queue, of shape (*shape, QUEUES)."""
    return random.exponential(key, (*shape, QUEUES))


def serve(work: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the work that is left in the queues, and the reward, for weights that are positive and add up to 1."""
    left = (work - weights).clamp(min=0.0)
    return left, -left.square().mean(-1)


def step(key: Tensor, work: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the work after a step, and the reward."""
    left, reward = serve(work, weights)
    return left + arrivals(key, tuple(left.shape[:-1])), reward


def best_weights(work: Tensor) -> Tensor:
    """Return the optimal weights, which bring the longest queues to one level.

    >>> best_weights(torch.tensor([1.5, 0.2, 1.0, 0.0]))
    tensor([0.7500, 0.0000, 0.2500, 0.0000])
    """
    longest = work.sort(-1, descending=True).values.cumsum(-1)
    count = torch.arange(1, QUEUES + 1, dtype=work.dtype, device=work.device)
    level = ((longest - 1) / count).amax(-1, keepdim=True).clamp(min=0.0)
    weights = (work - level).clamp(min=0.0)
    rest = (1 - weights.sum(-1, keepdim=True)).clamp(min=0.0)
    return weights + rest / QUEUES  # a rest only where all the work gets done


class Sharing(gym.Env):
    """One server. It divides an action by its sum; one that is all 0 serves the queues alike."""

    metadata = {"render_modes": []}  # noqa: RUF012
    observation_space = gym.spaces.Box(0.0, 1000.0, (QUEUES,))  # 32 of the largest draws add up to 400
    action_space = gym.spaces.Box(0.0, 1.0, (QUEUES,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.key = random.key(int(self.np_random.integers(2**63)))
        self.work, self.clock = start(random.fold_in(self.key, 0)), 0
        return self.work.numpy(), {}

    def step(self, action):
        self.clock += 1
        weights = torch.as_tensor(action, dtype=torch.float32)
        total = weights.sum()
        weights = torch.where(total > 0, weights / torch.where(total > 0, total, 1.0), 1 / QUEUES)
        self.work, reward = step(random.fold_in(self.key, self.clock), self.work, weights)
        return self.work.numpy(), reward.item(), False, False, {}


gym.register("Sharing-v0", entry_point=Sharing, max_episode_steps=LIMIT)
