"""Families with a closed form and those that combinators make, on DTensors whose batch is cut."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate, Shard

from tests.algebra.case import call_of, parts, verbs_of
from tests.algebra.table import CASES
from tests.sharded.ranks import mesh_of, run_ranks, split

BY_NAME = {case.name: case for case in CASES}
# One of each way in which shapes fit together, and a few that draw in another way.
NAMES = [
    *("laplace", "bernoulli", "poisson", "log-normal", "normal in an interval", "logistic-normal on a simplex"),
    *("spline of a normal", "mixture of normals", "mixture of vectors", "mixture of categories", "clipped normal"),
    *("quantized normal", "unimix", "epsilon-greedy", "repeated normal", "padded normals", "multi_categorical"),
    *("plackett_luce", "multivariate_normal", "low_rank_normal", "two_hot", "empirical", "dirichlet"),
]


def run_on_parts(rank: int, world: int, name: str) -> None:
    case, mesh = BY_NAME[name], mesh_of(world, (world,))

    def placed(tensor: Tensor) -> DTensor:
        return split(tensor, mesh, [Shard(0) if tensor.ndim else Replicate()])

    for verb in verbs_of(case):
        call = call_of(case, verb)
        found: Any = parts(call.function(*map(placed, call.tensors)))
        for got, wanted in zip(found, parts(call.function(*call.tensors)), strict=True):
            assert isinstance(got, DTensor), verb
            whole = got.full_tensor().to(wanted.dtype)
            assert torch.allclose(whole, wanted, rtol=1e-12, atol=1e-12, equal_nan=True), verb


@pytest.mark.parametrize("name", NAMES)
def test_results_are_those_of_whole_tensors(name: str) -> None:
    run_ranks(2, run_on_parts, name)
