"""Kernels of the library operations of Beta distributions, on a CPU: in eager code, in transforms and in compiled code.

They replace the mathematics of `special.beta_quantile`, `beta_local` and `beta_score`, which runs where none are built.
"""

from typing import Any

import torch
from torch import Tensor

import functional_dists.random.extension as extension
from functional_dists.special import beta_local, beta_quantile, beta_score
from functional_dists.special.constant import table_of
from functional_dists.special.gauss_legendre import coarse_gauss_rule, fine_gauss_rule
from functional_dists.special.operations import library

__all__ = ["local", "quantile", "score"]
__dir__ = __all__.copy  # what tab completion shows

_NUM_LOCAL, _NUM_SCORE = 12, 11


def quantile(below: Tensor, above: Tensor, a: Tensor, b: Tensor, precise: bool) -> Tensor:
    """Do what the operation `beta_quantile` does."""
    kernels: Any = extension.kernels
    if kernels is None or a.dtype != torch.float64:
        return beta_quantile.quantile(below, above, a, b, precise)
    operands = [tensor.resolve_neg().contiguous() for tensor in torch.broadcast_tensors(below, above, a, b)]
    found = torch.empty_like(operands[0])
    if not found.numel():
        return found
    coarse, fine = _rule(coarse_gauss_rule, a), _rule(fine_gauss_rule, a)
    addresses = [tensor.data_ptr() for tensor in operands]
    kernels.beta_quantiles(
        *addresses, found.numel(), _given(coarse, False), _given(fine if precise else coarse, precise), found.data_ptr()
    )
    return found


def local(offset: Tensor, a: Tensor, b: Tensor, precise: bool) -> tuple[Tensor, ...]:
    """Do what the operation `beta_local` does."""
    kernels: Any = extension.kernels
    if kernels is None or a.dtype != torch.float64:
        return beta_local.local(offset, a, b, precise)
    operands = [tensor.resolve_neg().contiguous() for tensor in torch.broadcast_tensors(offset, a, b)]
    found = tuple(torch.empty_like(operands[0]) for _ in range(_NUM_LOCAL))
    if not operands[0].numel():
        return found
    rule = _rule(fine_gauss_rule if precise else coarse_gauss_rule, a)
    addresses = [tensor.data_ptr() for tensor in operands]
    results = tuple(tensor.data_ptr() for tensor in found)
    kernels.beta_locals(*addresses, operands[0].numel(), _given(rule, precise), results)
    return found


def score(offset: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    """Do what the operation `beta_score` does."""
    kernels: Any = extension.kernels
    if kernels is None or a.dtype != torch.float64:
        return beta_score.score(offset, a, b)
    operands = [tensor.resolve_neg().contiguous() for tensor in torch.broadcast_tensors(offset, a, b)]
    found = tuple(torch.empty_like(operands[0]) for _ in range(_NUM_SCORE))
    if operands[0].numel():
        addresses = [tensor.data_ptr() for tensor in operands]
        results = tuple(tensor.data_ptr() for tensor in found)
        kernels.beta_scores(*addresses, operands[0].numel(), results)
    return found


def _rule(rule: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    nodes, weights = table_of(rule, like)
    return nodes.contiguous(), weights.contiguous()


def _given(rule: tuple[Tensor, Tensor], precise: bool) -> tuple[int, int, int, bool]:
    nodes, weights = rule
    return nodes.data_ptr(), weights.data_ptr(), nodes.numel(), precise


library.impl("beta_quantile", quantile, "CPU")
library.impl("beta_local", local, "CPU")
library.impl("beta_score", score, "CPU")
