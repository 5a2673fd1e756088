"""Kernels of the operations on tiles of `special.linear_head`, for float32 on the CPU."""

import torch
from torch import Tensor

import functional_dists.random.extension as extension
from functional_dists.special import linear_head


def _can_run(logits: Tensor) -> bool:
    return extension.kernels is not None and logits.dtype == torch.float32 and logits.is_contiguous()


def _add_terms(logits: Tensor, first: int, *results: Tensor) -> None:
    if not _can_run(logits):
        linear_head.add_terms_by_tensors(logits, first, *results)
        return
    assert extension.kernels is not None
    maximum, index, rest, tilt, tokens, picked = (t.data_ptr() for t in results)
    rows, count = logits.shape
    of_tokens = (tokens, results[4].shape[1], picked)
    extension.kernels.add_terms(logits.data_ptr(), rows, count, first, maximum, index, rest, tilt, *of_tokens)


def _weigh(logits: Tensor, maximum: Tensor, constant: Tensor, factor: Tensor) -> None:
    if not _can_run(logits):
        linear_head.weigh_by_tensors(logits, maximum, constant, factor)
        return
    assert extension.kernels is not None
    (rows, count), coefficients = logits.shape, (maximum.data_ptr(), constant.data_ptr(), factor.data_ptr())
    extension.kernels.tile_slopes(logits.data_ptr(), rows, count, *coefficients)


linear_head.library.impl("linear_add_terms", _add_terms, "CPU")
linear_head.library.impl("linear_weigh", _weigh, "CPU")
