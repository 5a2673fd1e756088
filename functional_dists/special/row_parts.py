"""What a process computes of its parts of softmax rows ``(*B, n)``, given the largest logits of the whole rows.

These are operations of `torch.library`, for which `kernels` has others. Compiled code fuses the formulas instead.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from functional_dists.special import softmax
from functional_dists.special.choice import first_above, integers_of
from functional_dists.special.chunks import by_rows

__all__ = ["has_support", "lifted", "places", "shifted", "slopes", "sums", "tops", "units"]

_LOWEST_SHIFT = -1e4  # where exp(shift) is 0 in every dtype


def tops(table: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest logits ``(*B)``, NaN if there is one, and their first positions.

    >>> tops(torch.tensor([1.0, 3.0, 3.0]))
    (tensor(3.), tensor(1))
    """
    maximum, index = (_tops_of if torch.compiler.is_compiling() else _tops)(table)
    return maximum, index


def sums(table: Tensor, maximum: Tensor, without: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sums of exp(x) and exp(x) x, x = logit - maximum, without one position of each row, -1 for none.

    >>> sums(torch.tensor([0.0, 0.0]), torch.tensor(0.0), torch.tensor(1))[0]
    tensor(1., dtype=torch.float64)
    """
    rest, tilt = (_sums_of if torch.compiler.is_compiling() else _sums)(table, maximum, without)
    return rest, tilt


def units(table: Tensor, maximum: Tensor, count: int) -> Tensor:
    """Return the sums of the integer weights, those of rows of `count` logits in all.

    >>> units(torch.zeros(2), torch.tensor(0.0), 4) == 2.0**52
    tensor(True)
    """
    return cast(Tensor, (_units_of if torch.compiler.is_compiling() else _units)(table, maximum, count))


def places(table: Tensor, maximum: Tensor, target: Tensor, count: int) -> Tensor:
    """Return the first positions ``(*B, S)`` where sums of integer weights exceed targets ``(*B, S)``, 0 if none does.

    >>> places(torch.zeros(2), torch.tensor(0.0), torch.tensor([2.0**51], dtype=torch.float64), 4)
    tensor([1])
    """
    return cast(Tensor, (_places_of if torch.compiler.is_compiling() else _places)(table, maximum, target, count))


def slopes(table: Tensor, maximum: Tensor, constant: Tensor, factor: Tensor) -> Tensor:
    """Return exp(x) (constant + factor x), x = logit - maximum, as a new table.

    >>> slopes(torch.zeros(2), torch.tensor(0.0), torch.tensor(3.0), torch.tensor(1.0))
    tensor([3., 3.])
    """
    return cast(Tensor, (_slopes_of if torch.compiler.is_compiling() else _slopes)(table, maximum, constant, factor))


def shifted(table: Tensor, maximum: Tensor) -> Tensor:
    """Return the logits less the maximum.

    >>> shifted(torch.tensor([1.0, 2.0]), torch.tensor(2.0))
    tensor([-1.,  0.])
    """
    return table - maximum[..., None]


def lifted(shifted: Tensor) -> Tensor:
    """Return logits less their maximum, finite where they are -inf, so that their product with a weight of 0 is 0.

    >>> lifted(torch.tensor([-1.0, -torch.inf]))
    tensor([-1.0000e+00, -1.0000e+04])
    """
    return shifted.clamp(min=_LOWEST_SHIFT)


def has_support(maximum: Tensor) -> Tensor:
    """Return False for the largest logit of a row without support, which is the lowest float.

    >>> has_support(torch.tensor([0.0, torch.finfo(torch.float32).min]))
    tensor([ True, False])
    """
    return maximum != torch.finfo(maximum.dtype).min


# --- The formulas ----------------------------------------------------------------------------------------------------
def _tops_of(table: Tensor) -> tuple[Tensor, Tensor]:
    maximum, index = table.max(-1)
    return maximum, index


def _sums_of(table: Tensor, maximum: Tensor, without: Tensor) -> tuple[Tensor, Tensor]:
    rest, tilt = by_rows(_both_sums, table, maximum, without).unbind(-1)
    return rest.clone(), tilt.clone()  # an operation returns no views of one tensor


def _both_sums(table: Tensor, maximum: Tensor, without: Tensor) -> Tensor:
    differences = shifted(table, maximum)
    weights = differences.exp()
    place = without.clamp(min=0)[..., None]
    weights = weights.scatter(-1, place, torch.where(without[..., None] < 0, weights.gather(-1, place), 0.0))
    tilts = weights * lifted(differences)
    return torch.stack([weights.sum(-1, dtype=torch.float64), tilts.sum(-1, dtype=torch.float64)], -1)


def _integers(table: Tensor, maximum: Tensor, count: int) -> Tensor:
    return integers_of(softmax.relative_weights(table, maximum[..., None]), count)


def _units_of(table: Tensor, maximum: Tensor, count: int) -> Tensor:
    def of_part(table: Tensor, maximum: Tensor) -> Tensor:
        return _integers(table, maximum, count).sum(-1, dtype=torch.float64)

    return by_rows(of_part, table, maximum)


def _places_of(table: Tensor, maximum: Tensor, target: Tensor, count: int) -> Tensor:
    def of_part(table: Tensor, maximum: Tensor, target: Tensor) -> Tensor:
        totals = _integers(table, maximum, count).cumsum(-1, dtype=torch.float64)
        return first_above(totals, target.movedim(-1, 0)).movedim(0, -1).contiguous()

    return by_rows(of_part, table, maximum, target)


def _slopes_of(table: Tensor, maximum: Tensor, constant: Tensor, factor: Tensor) -> Tensor:
    def of_part(table: Tensor, maximum: Tensor, constant: Tensor, factor: Tensor) -> Tensor:
        differences = shifted(table, maximum)
        return differences.exp() * (constant[..., None] + factor[..., None] * lifted(differences))

    return by_rows(of_part, table, maximum, constant, factor)


# --- The operations --------------------------------------------------------------------------------------------------
library = torch.library.Library("functional_dists", "FRAGMENT")
library.define("part_tops(Tensor table) -> (Tensor, Tensor)")
library.define("part_sums(Tensor table, Tensor maximum, Tensor without) -> (Tensor, Tensor)")
library.define("part_units(Tensor table, Tensor maximum, int count) -> Tensor")
library.define("part_places(Tensor table, Tensor maximum, Tensor target, int count) -> Tensor")
library.define("part_slopes(Tensor table, Tensor maximum, Tensor constant, Tensor factor) -> Tensor")
FORMULAS: dict[str, Callable[..., Any]] = {
    "part_tops": _tops_of,
    "part_sums": _sums_of,
    "part_units": _units_of,
    "part_places": _places_of,
    "part_slopes": _slopes_of,
}
for _name, _formula in FORMULAS.items():
    library.impl(_name, _formula, "CompositeExplicitAutograd")
_tops: Callable[..., Any] = torch.ops.functional_dists.part_tops.default
_sums: Callable[..., Any] = torch.ops.functional_dists.part_sums.default
_units: Callable[..., Any] = torch.ops.functional_dists.part_units.default
_places: Callable[..., Any] = torch.ops.functional_dists.part_places.default
_slopes: Callable[..., Any] = torch.ops.functional_dists.part_slopes.default
