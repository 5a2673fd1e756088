"""Ranks as threads of one process, with real collectives and autograd: a hundred tests of them take seconds."""

import functools
import math
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, distribute_tensor
from torch.testing._internal.distributed.multi_threaded_pg import (
    ProcessLocalGroup,
    _install_threaded_pg,
    _uninstall_threaded_pg,
)

from tests.torch_versions import need

__all__ = ["mesh_of", "replicated", "run_ranks", "split"]

_SECONDS = 120


class _Rank(threading.Thread):
    """A rank. It keeps its thread, because PyTorch caches what it knows of a rank's part by the id of the thread."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.start()

    def run(self) -> None:
        while True:
            self.tasks.get()()


_ranks: list[_Rank] = []


def run_ranks(world: int, function: Callable[..., object], *arguments: Any) -> list[Any]:
    """Run `function(rank, world, *arguments)` on each rank, and return what the ranks return.

    The error of a rank ends the other ranks at their next collective, and is raised here.
    """
    need("run DTensors in several threads")
    _ranks.extend(_Rank() for _ in range(world - len(_ranks)))
    store, results, errors = dist.HashStore(), [None] * world, []
    done: queue.SimpleQueue[int] = queue.SimpleQueue()

    def run(rank: int) -> None:
        try:
            dist.init_process_group("threaded", rank=rank, world_size=world, store=store)
            results[rank] = function(rank, world, *arguments)
        except BaseException as error:
            errors.append((rank, error))
            ProcessLocalGroup.exception_handle(error)
        finally:
            dist.destroy_process_group()
            done.put(rank)

    _install_threaded_pg()
    torch._C._distributed_c10d._set_thread_isolation_mode(True)
    waiting = set(range(world))
    try:
        for rank in waiting:
            _ranks[rank].tasks.put(functools.partial(run, rank))
        while waiting:
            waiting.discard(done.get(timeout=_SECONDS))
    except queue.Empty:
        errors.append((min(waiting), TimeoutError("waits for a collective that other ranks do not reach")))
        _ranks.clear()
    finally:
        ProcessLocalGroup.reset()
        torch._C._distributed_c10d._set_thread_isolation_mode(False)
        _uninstall_threaded_pg()
    for rank, error in errors:
        if not isinstance(error, SystemExit):  # of a rank that another one ended
            error.add_note(f"on rank {rank} of {world}")
            raise error
    return results


def mesh_of(world: int, shape: Sequence[int] | None = None) -> DeviceMesh:
    """Return a mesh of all ranks, `(world,)` or of another shape."""
    shape = tuple(shape or (world,))
    assert math.prod(shape) == world
    return init_device_mesh("cpu", shape)


def split(tensor: Tensor, mesh: DeviceMesh, placements: Sequence[Placement]) -> DTensor:
    """Return a DTensor of what all ranks hold alike; with `Partial` each number is on one rank, and 0 on others."""
    whole = [Replicate() if isinstance(p, Partial) else p for p in placements]
    parts = distribute_tensor(tensor, mesh, whole, src_data_rank=None)
    if whole == list(placements):
        return parts
    local = parts.to_local()
    for dim in (dim for dim, p in enumerate(placements) if isinstance(p, Partial)):
        owner = torch.arange(local.numel()).reshape(local.shape) % mesh.size(dim)
        local = torch.where(owner == mesh.get_local_rank(dim), local, torch.zeros_like(local))
    return DTensor.from_local(local, mesh, placements, run_check=False, shape=tensor.shape, stride=tensor.stride())


def replicated(tensor: Tensor, mesh: DeviceMesh) -> DTensor:
    """Return a replicated DTensor, also of a key: gloo does not send uint64, and `distribute_tensor` would send it."""
    return DTensor.from_local(tensor, mesh, [Replicate()] * mesh.ndim, run_check=False)
