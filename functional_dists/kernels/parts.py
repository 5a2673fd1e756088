"""Kernels of the operations on parts of rows, `special.row_parts`, for float32 on the CPU."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import functional_dists.random.extension as extension
from functional_dists.kernels.operands import is_readable, is_small
from functional_dists.special import row_parts
from functional_dists.special.choice import unit_of


def _or_formula(name: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Return the kernel, or the formula where C cannot read the table, or PyTorch has many threads for it."""
    formula = row_parts.FORMULAS[name]

    def run(table: Tensor, *others: Any) -> Any:
        if extension.kernels is None or not is_readable(table, torch.float32) or not is_small(table.shape):
            return formula(table, *others)
        return kernel(table.contiguous(), *others)

    return run


def _call(name: str, table: Tensor, *others: Any) -> None:
    count = table.shape[-1]
    addresses = [other.data_ptr() if isinstance(other, Tensor) else other for other in others]
    getattr(extension.kernels, name)(table.data_ptr(), table.numel() // count, count, *addresses)


def _tops(table: Tensor) -> tuple[Tensor, Tensor]:
    maximum, index = table.new_empty(table.shape[:-1]), table.new_empty(table.shape[:-1], dtype=torch.int64)
    _call("part_tops", table, maximum, index)
    return maximum, index


def _sums(table: Tensor, maximum: Tensor, without: Tensor) -> tuple[Tensor, Tensor]:
    rest, tilt = (table.new_empty(table.shape[:-1], dtype=torch.float64) for _ in range(2))
    _call("part_sums", table, maximum.contiguous(), without.contiguous(), rest, tilt)
    return rest, tilt


def _units(table: Tensor, maximum: Tensor, count: int) -> Tensor:
    total = table.new_empty(table.shape[:-1], dtype=torch.float64)
    _call("part_units", table, maximum.contiguous(), unit_of(count), total)
    return total


def _places(table: Tensor, maximum: Tensor, target: Tensor, count: int) -> Tensor:
    place = torch.empty(target.shape, dtype=torch.int64, device="cpu")
    if place.numel():
        _call("part_places", table, maximum.contiguous(), unit_of(count), target.contiguous(), target.shape[-1], place)
    return place


def _slopes(table: Tensor, maximum: Tensor, constant: Tensor, factor: Tensor) -> Tensor:
    slopes, count = table.clone(memory_format=torch.contiguous_format), table.shape[-1]
    coefficients = (maximum.contiguous(), constant.contiguous(), factor.contiguous())
    assert extension.kernels is not None
    extension.kernels.tile_slopes(
        slopes.data_ptr(), table.numel() // count, count, *(c.data_ptr() for c in coefficients)
    )
    return slopes


for _name, _kernel in (
    ("part_tops", _tops),
    ("part_sums", _sums),
    ("part_units", _units),
    ("part_places", _places),
    ("part_slopes", _slopes),
):
    row_parts.library.impl(_name, _or_formula(_name, _kernel), "CPU")
