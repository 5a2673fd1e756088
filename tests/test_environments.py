"""The environments of the notebooks: gymnasium's check, the dynamics on batches, and the known optimum."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import vmap

from functional_dists import dirichlet, random

gym = pytest.importorskip("gymnasium")
NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


@pytest.fixture(scope="module")
def sharing() -> Any:
    if not (NOTEBOOKS / "environments").exists():
        pytest.skip("a source distribution has no notebooks")
    sys.path.insert(0, str(NOTEBOOKS))
    try:
        return importlib.import_module("environments.sharing")
    finally:
        sys.path.remove(str(NOTEBOOKS))


def cost_of(sharing: Any, policy: Any, servers: int) -> Tensor:
    """Return the cost of an episode of each server, all with the same arrivals for every policy."""
    work, total = sharing.start(random.key(0), (servers,)), torch.zeros(servers)
    for clock in range(sharing.LIMIT):
        work, reward = sharing.step(random.fold_in(random.key(1), clock), work, policy(work))
        total = total - reward
    return total


def test_sharing_passes_the_check_of_gymnasium(sharing: Any) -> None:
    from gymnasium.utils.env_checker import check_env

    check_env(gym.make("Sharing-v0").unwrapped, skip_render_check=True)
    env = gym.make("Sharing-v0")
    env.action_space.seed(0)
    first, _ = env.reset(seed=3)
    for clock in range(1, sharing.LIMIT + 1):
        _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        assert reward <= 0
        assert not terminated
        assert truncated == (clock == sharing.LIMIT)
    assert (env.reset(seed=3)[0] == first).all()
    zero = env.step(0 * env.action_space.sample())[1]
    env.reset(seed=3)
    assert zero == env.step(0 * env.action_space.sample() + 1)[1]


def test_a_batch_of_servers_is_a_vmap(sharing: Any) -> None:
    keys, work = random.split(random.key(2), 5), sharing.start(random.key(3), (5,))
    weights = dirichlet.sample(random.key(4), torch.ones(5, sharing.QUEUES))
    lanes = [sharing.step(key, *row) for key, *row in zip(keys, work, weights, strict=True)]
    for found, wanted in zip(vmap(sharing.step)(keys, work, weights), zip(*lanes, strict=True), strict=True):
        torch.testing.assert_close(found, torch.stack(wanted))
    together = vmap(sharing.best_weights)(work)
    torch.testing.assert_close(together, sharing.best_weights(work), rtol=0.0, atol=0.0)


def test_the_optimum_of_sharing(sharing: Any) -> None:
    work = 2 * sharing.start(random.key(5), (100,))
    best = sharing.best_weights(work)
    torch.testing.assert_close(best.sum(-1), torch.ones(100))
    assert (best >= 0).all()
    assert (best == 0).any(-1).double().mean() > 0.5  # on the border
    reward = sharing.serve(work, best)[1]
    others = dirichlet.sample(random.key(6), torch.full((100, sharing.QUEUES), 0.5), sample_shape=2000)
    towards = best + 0.02 * (others - best)
    for weights in (others, towards):
        assert (sharing.serve(work, weights)[1] <= reward + 1e-5).all()

    best_cost = cost_of(sharing, sharing.best_weights, 400)
    policies = {
        "alike": lambda work: torch.full_like(work, 1 / sharing.QUEUES),
        "by length": lambda work: (work + 1e-6) / (work + 1e-6).sum(-1, keepdim=True),
        "near the best": lambda work: 0.9 * sharing.best_weights(work) + 0.1 / sharing.QUEUES,
        "the longest": lambda work: (work == work.amax(-1, keepdim=True)).float(),
    }
    for name, policy in policies.items():
        assert cost_of(sharing, policy, 400).mean() > 1.005 * best_cost.mean(), name
