"""Training by several processes takes the updates that one process takes, and resumes from their checkpoint."""

import multiprocessing
import traceback
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as checkpoint
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard
from torch.testing import assert_close

from functional_dists import llm_masked_categorical, parameters, random, tanh_normal

ROWS, POSITIONS, VOCABULARY, ACTIONS, UPDATES, SAVED = 12, 4, 10, 3, 5, 3
KEY = random.key(2**64 - 11)  # negative as int64
Records = list[tuple[Tensor, Tensor, Tensor]]  # of each update the loss, the actions and the tokens


# ------------------------------------------------------------------------------------------------------ the processes
def run_processes(function: Callable[..., Any], world: int, folder: Path) -> list[Any]:
    """Run `function(rank, world)` in fresh processes with a gloo group; they start from one that has imported all."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.sharded.test_training"])
    folder.mkdir(exist_ok=True)
    processes = [
        context.Process(target=_run_rank, args=(function, rank, world, folder), daemon=True) for rank in range(world)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
        process.kill()
    errors = [path.read_text() for path in folder.glob("error_*")]
    assert not errors, "\n".join(errors)
    return [torch.load(folder / f"result_{rank}") for rank in range(world)]


def _run_rank(function: Callable[..., Any], rank: int, world: int, folder: Path) -> None:
    torch.set_num_threads(1)
    try:
        dist.init_process_group(
            "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world, timeout=timedelta(seconds=60)
        )
        torch.save(function(rank, world), folder / f"result_{rank}")
        dist.destroy_process_group()
    except BaseException:
        (folder / f"error_{rank}").write_text(traceback.format_exc())


# -------------------------------------------------------------------------------------------------------- the training
class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 16), nn.Tanh())
        self.actions = nn.Linear(16, 2 * ACTIONS)
        self.tokens = nn.Linear(16, POSITIONS * VOCABULARY)

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.body(states)
        return self.actions(hidden), self.tokens(hidden)


def make_network() -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Network()


def batch_of(update: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the states, the goals and the mask of the positions that count, of the whole batch."""
    state_key, goal_key, mask_key = random.split(random.fold_in(random.key(5), update), 3)
    mask = random.bernoulli(mask_key, (ROWS, POSITIONS), 0.8)
    return random.normal(state_key, (ROWS, 5)), random.uniform(goal_key, (ROWS, ACTIONS)), mask


def draws_and_scores(key: Tensor, raw: Tensor, logits: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
    """Return the actions and their scores, the tokens, their scores and the entropies; a key, or one for each row."""
    action_key, token_key = random.split(key).unbind(-2)
    logits = logits.unflatten(-1, (POSITIONS, VOCABULARY))
    action = tanh_normal.rsample_and_log_prob(action_key, *parameters.normal_params(raw))
    token = llm_masked_categorical.sample(token_key, logits, mask)
    return *action, token, *llm_masked_categorical.log_prob_and_entropy(logits, mask, token)


def losses_of(drawn: tuple[Tensor, ...], goal: Tensor) -> Tensor:
    """Return the loss of each row: actions near a goal, and tokens by their rewards."""
    action, action_score, token, token_score, entropy = drawn
    reward = (token > VOCABULARY // 2).float()
    of_tokens = reward * token_score + 0.01 * entropy
    return (action - goal).square().sum(-1) + 0.1 * action_score - of_tokens.mean(-1)


def train_alone(*, key_of_each_row: bool) -> Records:
    """Train in one process, on the whole batch."""
    network = make_network()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
    records = []
    for update in range(UPDATES):
        states, goal, mask = batch_of(update)
        key = random.fold_in(KEY, update)
        drawn = draws_and_scores(random.split(key, ROWS) if key_of_each_row else key, *network(states), mask)
        loss = losses_of(drawn, goal).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        records.append((loss.detach(), drawn[0].detach(), drawn[2]))
    return records


def train_sharded(layout: str, save_to: Path | None, resume_from: Path | None, rank: int, world: int) -> Records:
    """Train a network that FSDP shards, on the rows of this rank."""
    mesh = init_device_mesh("cpu", (world,))
    network = make_network()
    for part in (network.body, network):  # as units, whose weights are gathered together
        fully_shard(part, mesh=mesh)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
    if resume_from is None:
        key, begin = KEY.clone() if rank == 0 else random.key(0), 0
        dist.broadcast(key.view(torch.int64), src=0)
    else:
        key, begin = load(resume_from, network, optimizer)
    records = []
    for update in range(begin, UPDATES):
        states, goal, mask = (part.chunk(world)[rank] for part in batch_of(update))
        update_key = random.fold_in(key, update)
        raw, logits = network(states)
        if layout == "key of each row":
            row_keys = random.split(update_key, ROWS).chunk(world)[rank]
            drawn = draws_and_scores(row_keys, raw, logits, mask)
            loss = losses_of(drawn, goal).mean()
        else:
            whole = partial(DTensor.from_local, device_mesh=mesh, placements=[Shard(0)])
            drawn = draws_and_scores(update_key, whole(raw), whole(logits), whole(mask))
            if layout == "loss of the whole batch":
                loss = losses_of(drawn, whole(goal)).mean()
            else:
                drawn = tuple(part.to_local() for part in drawn)
                loss = losses_of(drawn, goal).mean()
        # FSDP takes the mean of the gradients of all ranks, where the loss of the whole batch needs the sum.
        (world * loss if layout == "loss of the whole batch" else loss).backward()
        optimizer.step()
        optimizer.zero_grad()
        if save_to is not None and update + 1 == SAVED:
            save(save_to, network, optimizer, key, SAVED)
        records.append((mean_of(loss, world), rows_of(drawn[0], world), rows_of(drawn[2], world)))
    return records


def save(folder: Path, network: nn.Module, optimizer: Any, key: Tensor, update: int) -> None:
    of_network, of_optimizer = get_state_dict(network, optimizer)
    numbers = {"key": key, "update": torch.tensor(update)}
    checkpoint.save({"network": of_network, "optimizer": of_optimizer, **numbers}, checkpoint_id=folder)


def load(folder: Path, network: nn.Module, optimizer: Any) -> tuple[Tensor, int]:
    of_network, of_optimizer = get_state_dict(network, optimizer)
    numbers = {"key": random.key(0), "update": torch.tensor(0)}
    checkpoint.load({"network": of_network, "optimizer": of_optimizer, **numbers}, checkpoint_id=folder)
    set_state_dict(network, optimizer, model_state_dict=of_network, optim_state_dict=of_optimizer)
    return numbers["key"], int(numbers["update"])


def mean_of(loss: Tensor, world: int) -> Tensor:
    if isinstance(loss, DTensor):
        return loss.detach().full_tensor()
    total = loss.detach().clone()
    dist.all_reduce(total)
    return total / world


def rows_of(part: Tensor, world: int) -> Tensor:
    if isinstance(part, DTensor):
        return part.detach().full_tensor()
    parts = [torch.empty_like(part) for _ in range(world)]
    dist.all_gather(parts, part.detach())
    return torch.cat(parts)


LAYOUTS = ["loss of the whole batch", "loss of the rows", "key of each row"]


def train_in_every_layout(folder: Path, rank: int, world: int) -> dict[str, Records]:
    return {layout: train_sharded(layout, folder / layout, None, rank, world) for layout in LAYOUTS}


def assert_same(found: Records, expected: Records) -> None:
    assert len(found) == len(expected)
    for (loss, action, token), (its_loss, its_action, its_token) in zip(found, expected, strict=True):
        assert torch.equal(token, its_token)
        assert_close(loss, its_loss, rtol=0, atol=1e-6)
        assert_close(action, its_action, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_data_parallel_training_and_its_checkpoint(tmp_path: Path) -> None:
    alone = {of_rows: train_alone(key_of_each_row=of_rows) for of_rows in (False, True)}
    assert not torch.equal(alone[False][0][2], alone[True][0][2])
    for found in run_processes(partial(train_in_every_layout, tmp_path), 2, tmp_path / "first"):
        for layout in LAYOUTS:
            assert_same(found[layout], alone[layout == "key of each row"])
    for world in (1, 3):
        resume = partial(train_sharded, LAYOUTS[1], None, tmp_path / LAYOUTS[0])
        for found in run_processes(resume, world, tmp_path / f"resumed_{world}"):
            assert_same(found, alone[False][SAVED:])


# ------------------------------------------------------------------------------------------- shards of the vocabulary
def score_shards(rank: int, world: int) -> dict[str, tuple[Tensor, ...]]:
    """Draw and score tokens, as a trainer does that has a process group and plain shards of logits."""
    logits, masks = logits_and_masks()
    mesh = DeviceMesh.from_group(dist.group.WORLD, "cpu")
    found = {}
    for name, mask in masks.items():
        shard = logits.chunk(world, -1)[rank].clone().requires_grad_()
        whole = DTensor.from_local(shard, mesh, [Shard(-1)])
        if name == "tokens":
            mask = DTensor.from_local(mask.chunk(world, -1)[rank], mesh, [Shard(-1)])
        token = llm_masked_categorical.sample(KEY, whole, mask)
        log_prob, entropy = llm_masked_categorical.log_prob_and_entropy(whole, mask, token)
        loss = (log_prob + 0.1 * entropy).to_local().mean()  # all ranks have all scores, and the same loss
        loss.backward()
        found[name] = (token.to_local(), log_prob.to_local().detach(), entropy.to_local().detach(), shard.grad)
    return found


def logits_and_masks() -> tuple[Tensor, dict[str, Tensor]]:
    logit_key, *mask_keys = random.split(random.key(3), 3)
    logits = 3 * random.normal(logit_key, (ROWS, POSITIONS, VOCABULARY))
    positions = random.bernoulli(mask_keys[0], (ROWS, POSITIONS), 0.8)
    return logits, {"positions": positions, "tokens": random.bernoulli(mask_keys[1], logits.shape, 0.7)}


@pytest.mark.slow
def test_plain_shards_of_logits(tmp_path: Path) -> None:
    logits, masks = logits_and_masks()
    shards = run_processes(score_shards, 2, tmp_path)
    for name, mask in masks.items():
        leaf = logits.clone().requires_grad_()
        token = llm_masked_categorical.sample(KEY, leaf, mask)
        log_prob, entropy = llm_masked_categorical.log_prob_and_entropy(leaf, mask, token)
        (log_prob + 0.1 * entropy).mean().backward()
        assert leaf.grad is not None
        for found, slope in zip(shards, leaf.grad.chunk(2, -1), strict=True):
            its_token, *scores, its_slope = found[name]
            assert torch.equal(its_token, token)
            assert_close(scores, [log_prob.detach(), entropy.detach()], rtol=0, atol=1e-6)
            assert_close(its_slope, slope, rtol=0, atol=1e-7)
