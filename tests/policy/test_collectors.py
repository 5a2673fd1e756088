"""Collectors with several processes: the number of workers changes no draw, as docs/randomness.md shows."""

import multiprocessing
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from functional_dists import random
from functional_dists.distributions import KeyedModule, NormalParamExtractor, TanhNormal
from tests.test_readme import blocks_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torchrl.collectors  # noqa: F401
    from tensordict import TensorDict
    from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictModule

PAGE = Path(__file__).parents[2] / "docs" / "randomness.md"
NUM_ENVS, NUM_STEPS, NUM_BATCHES = 4, 6, 2


class RowByRow(nn.Module):
    """A network whose results for a row have the same bits in any batch."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, rows: Tensor) -> Tensor:
        return torch.stack([self.network(row) for row in rows])


def make_policy(*, row_by_row: bool) -> ProbabilisticTensorDictSequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network: nn.Module = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 2))
    network = nn.Sequential(RowByRow(network) if row_by_row else network, NormalParamExtractor())
    return ProbabilisticTensorDictSequential(
        TensorDictModule(network, ["observation"], ["loc", "scale"]),
        KeyedModule(
            ["loc", "scale"],
            ["action"],
            distribution_class=TanhNormal,
            distribution_kwargs={"low": -2.0, "high": 2.0},
            default_interaction_type="random",
            return_log_prob=True,
        ),
    )


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The functions of the page. Workers start in a fraction of a second, from a process that has imported all."""
    before = multiprocessing.get_start_method(allow_none=True)
    threads = torch.get_num_threads()
    multiprocessing.set_start_method("forkserver", force=True)
    multiprocessing.set_forkserver_preload(["torchrl.collectors", "torchrl.envs", "functional_dists.distributions"])
    (block,) = [block for block in blocks_of(PAGE) if "def make_collector(" in block]
    namespace: dict[str, Any] = {"__name__": "page", "torch": torch, "random": random}
    exec(compile(block, str(PAGE), "exec"), namespace)
    yield namespace
    torch.set_num_threads(threads)  # the collector changes it
    multiprocessing.set_start_method(before, force=True)


def collected(recipe: dict[str, Any], num_workers: int, *, row_by_row: bool) -> TensorDict:
    """Return the trajectories, of shape (environments, steps)."""
    frames = NUM_ENVS * NUM_STEPS
    collector = recipe["make_collector"](
        make_policy(row_by_row=row_by_row),
        NUM_ENVS,
        num_workers,
        frames_per_batch=frames,
        total_frames=NUM_BATCHES * frames,
        num_threads=1,
        cat_results="stack",
        auto_register_policy_transforms=False,
    )
    try:
        batches = [batch.clone().reshape(NUM_ENVS, NUM_STEPS) for batch in collector]
    finally:
        collector.shutdown()
    assert len(batches) == NUM_BATCHES
    return torch.cat(batches, 1).exclude("collector")


@pytest.mark.slow
@pytest.mark.parametrize("row_by_row", [True, False])
def test_the_number_of_workers_changes_no_draw(recipe: dict[str, Any], row_by_row: bool) -> None:
    whole = collected(recipe, 1, row_by_row=row_by_row)
    for number in range(NUM_ENVS):
        begins = whole["step_count"][number, :, 0] == 0
        episodes = random.fold_in(random.fold_in(random.key(7), number), torch.arange(int(begins.sum())))
        next_keys = random.split(episodes)[:, 0]  # the data of a step have the key of the next one
        assert torch.equal(whole["rng"][number][begins], next_keys.view(torch.int64))
    assert whole["action"].unique().numel() == whole["action"].numel()
    for num_workers in (2, 4):
        found = collected(recipe, num_workers, row_by_row=row_by_row)
        assert set(found.keys(True, True)) == set(whole.keys(True, True))
        assert {"observation", "action", "action_log_prob", ("next", "reward"), "rng"} <= set(found.keys(True, True))
        for name in found.keys(True, True):
            exactly = row_by_row or not whole[name].is_floating_point()
            tolerance = 0.0 if exactly else 1e-4  # products of matrices round a row otherwise in another batch
            torch.testing.assert_close(found[name], whole[name], rtol=tolerance, atol=tolerance)
