"""Kernels of library operations of gamma distributions: each replaces the operation's tensor mathematics on the CPU.

Unlike kernels of verbs they run in every mode, since an operation has no derivatives and is one node of a traced graph.
"""

import functools
from typing import Any

import torch
from torch import Tensor

import functional_dists.random.extension as extension
from functional_dists.kernels.operands import MOST_AXES, layouts
from functional_dists.special import gamma_density, gamma_local, gamma_quantile, polygamma
from functional_dists.special.gauss_legendre import coarse_gauss_rule, fine_gauss_rule
from functional_dists.special.operations import library

__all__ = ["of_gamma_divergence", "of_gamma_local", "of_gamma_quantile", "of_stirling_rests"]
__dir__ = __all__.copy  # what tab completion shows


def of_gamma_quantile(below: Tensor, above: Tensor, a: Tensor, precise: bool) -> Tensor:
    """Do what the operation `gamma_quantile` does."""
    kernels: Any = extension.kernels
    operands = _readable(below, above, a)
    if kernels is None or operands is None:
        return gamma_quantile.quantile(below, above, a, precise)
    shape = torch.broadcast_shapes(*(operand.shape for operand in operands))
    result = a.new_empty(shape)
    if result.numel():
        tables = [_gamma_table(False).data_ptr(), _gamma_table(True).data_ptr()]
        kernels.gamma_quantile(shape, *layouts(*operands), precise, *tables, result.data_ptr())
    return result


def of_gamma_local(offset: Tensor, a: Tensor, precise: bool) -> tuple[Tensor, ...]:
    """Do what the operation `gamma_local` does."""
    kernels: Any = extension.kernels
    operands = _readable(offset, a)
    if kernels is None or operands is None:
        return gamma_local.local(offset, a, precise)
    shape = torch.broadcast_shapes(*(operand.shape for operand in operands))
    results = [a.new_empty(shape) for _ in range(gamma_local.NUM_RESULTS)]
    if results[0].numel():
        addresses = [result.data_ptr() for result in results]
        kernels.gamma_local(shape, *layouts(*operands), precise, _gamma_table(precise).data_ptr(), *addresses)
    return tuple(results)


def of_stirling_rests(a: Tensor) -> tuple[Tensor, ...]:
    """Do what the operation `stirling_rests` does."""
    kernels: Any = extension.kernels
    operands = _readable(a)
    if kernels is None or operands is None:
        return polygamma.rests(a)
    results = [a.new_empty(a.shape) for _ in polygamma.Rests._fields]
    if a.numel():
        kernels.stirling_rests(a.shape, *layouts(*operands), *(result.data_ptr() for result in results))
    return tuple(results)


def of_gamma_divergence(a: Tensor, b: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
    """Do what the operation `gamma_divergence` does."""
    kernels: Any = extension.kernels
    operands = _readable(a, b, change)
    if kernels is None or operands is None:
        return gamma_density.equal_means(a, b, change)
    shape = torch.broadcast_shapes(a.shape, b.shape, change.shape)
    value, slope = a.new_empty(shape), a.new_empty(shape)
    if value.numel():
        rule = _nodes()
        addresses = [rule.data_ptr(), value.data_ptr(), slope.data_ptr()]
        kernels.gamma_divergence(shape, *layouts(*operands), rule.shape[1], *addresses)
    return value, slope


@functools.cache
def _nodes() -> Tensor:
    """Return the nodes and weights of the integrals of divergences."""
    with torch.inference_mode(False):
        return torch.stack(coarse_gauss_rule(torch.zeros((), dtype=torch.float64, device="cpu")))


def _readable(*tensors: Tensor) -> list[Tensor] | None:
    """Return the operands as C code can read them, None if it cannot."""
    if any(tensor.dtype != torch.float64 or tensor.ndim > MOST_AXES for tensor in tensors):
        return None
    return [tensor.resolve_neg() for tensor in tensors]


@functools.cache
def _gamma_table(precise: bool) -> Tensor:
    """Return what `_gamma.h` knows of an integration."""
    with torch.inference_mode(False):
        like = torch.zeros((), dtype=torch.float64, device="cpu")
        u, weight = (fine_gauss_rule if precise else coarse_gauss_rule)(like)
        counts = (len(u), gamma_local.NUM_TERMS[precise], gamma_local.NUM_FLAT_TERMS[precise])
        numbers = torch.tensor(
            [*counts, gamma_local.ENERGY[precise], gamma_local.FEW], dtype=torch.float64, device="cpu"
        )
        return torch.cat([numbers, u, weight])


library.impl("gamma_quantile", of_gamma_quantile, "CPU")
library.impl("gamma_local", of_gamma_local, "CPU")
library.impl("stirling_rests", of_stirling_rests, "CPU")
library.impl("gamma_divergence", of_gamma_divergence, "CPU")
