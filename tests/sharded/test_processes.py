"""Verbs of DTensors in two real processes, eager and compiled: threads share what PyTorch knows of a process."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from functional_dists import categorical, normal, random, tanh_normal

WORLD, SECONDS = 2, 600
KEY = random.key(42)
ROWS = torch.randn((4, 6), generator=torch.Generator().manual_seed(0))
TOKENS = torch.arange(4)

VERBS: dict[str, Callable[[Tensor], Any]] = {
    "tanh_normal.rsample_and_log_prob": lambda loc: tanh_normal.rsample_and_log_prob(KEY, loc, 0.5),
    "categorical.log_prob": lambda logits: categorical.log_prob(logits, TOKENS),
    "categorical.sample": lambda logits: categorical.sample(KEY, logits, sample_shape=3),
    "normal.log_prob": lambda loc: normal.log_prob(loc, 0.5, 0.25, event_dims=1),
    "categorical.sample_and_log_prob": lambda logits: categorical.sample_and_log_prob(KEY, logits),
    "categorical.kl": lambda logits: categorical.kl((logits,), (2 * logits,)),
}
COMPILED = list(VERBS)[:3]


def _parts(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


def _with_gradient(verb: Callable[[Tensor], Any], given: Tensor) -> list[Tensor]:
    """Return the results, whole, and the gradient of their sum, if there is one."""
    results = _parts(verb(given))
    tracked = [result for result in results if result.requires_grad]
    slopes = torch.autograd.grad([t.sum() for t in tracked], given) if tracked else ()
    return [t.full_tensor() if isinstance(t, DTensor) else t for t in (*(r.detach() for r in results), *slopes)]


def _check(name: str, backend: str, placement: Shard) -> None:
    mesh = init_device_mesh("cpu", (WORLD,))
    part = distribute_tensor(ROWS, mesh, [placement], src_data_rank=None).requires_grad_()
    verb = VERBS[name]
    # A verb is compiled in a function of its own: each layout compiles once.
    run = verb if not backend else torch.compile(lambda given: verb(given), fullgraph=True, backend=backend)
    results = _with_gradient(run, part)
    wanted = _with_gradient(verb, ROWS.clone().requires_grad_())
    assert len(results) == len(wanted), name
    for result, one in zip(results, wanted, strict=True):
        tolerance = 2e-6 if one.is_floating_point() else 0.0
        torch.testing.assert_close(
            result, one, rtol=tolerance, atol=tolerance, msg=lambda t: f"{name} {placement}: {t}"
        )


def _worker(*backends: str) -> None:
    dist.init_process_group("gloo")
    for backend in backends:
        for name in COMPILED if backend else VERBS:
            for placement in (Shard(0), Shard(1)):
                torch._dynamo.reset()
                _check(name, backend, placement)
    dist.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _run(*backends: str) -> None:
    """Run the checks in two processes, as torchrun would start them."""
    rendezvous = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(WORLD)}
    code = f"import tests.sharded.test_processes as here; here._worker(*{backends})"
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error::UserWarning:functional_dists", "-c", code],
            env={**os.environ, **rendezvous, "RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(WORLD)
    ]
    try:
        outputs = [process.communicate(timeout=SECONDS)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    for rank, (process, output) in enumerate(zip(processes, outputs, strict=True)):
        assert process.returncode == 0, f"rank {rank}: {output[-4000:]}"


def test_eager_code_and_what_autograd_compiles() -> None:
    _run("", "aot_eager")


@pytest.mark.slow
def test_code_of_inductor() -> None:
    _run("inductor")
