"""Half-normal and half-Cauchy distributions of every element: `folded(normal)` and `folded(cauchy)` with names."""

import math
from typing import NamedTuple

from torch import Tensor

from functional_dists.combinators.folded_values import folded
from functional_dists.combinators.named import NamedFamily, expression
from functional_dists.continuous import cauchy, normal
from functional_dists.family import Real
from functional_dists.family.protocol import MadeFamily

__all__ = ["half_cauchy", "half_normal"]


class HalfNormalParams(NamedTuple):
    """The parameter of a half-normal distribution: that of |x| for a normal x with mean 0.

    scale: The standard deviation of x, positive, of shape (*batch, *event).
    """

    scale: Real


class HalfCauchyParams(NamedTuple):
    """The parameter of a half-Cauchy distribution: that of |x| for a Cauchy x with median 0.

    scale: The median, positive, of shape (*batch, *event).
    """

    scale: Real


_folded_normal, _folded_cauchy = folded(normal), folded(cauchy)
_half_normal = expression("half_normal", HalfNormalParams, _folded_normal, _folded_normal.Params)


@_half_normal
def mean(scale: Real) -> Tensor:
    """Return the mean, elementwise: scale sqrt(2 / pi)."""
    return (math.sqrt(2 / math.pi) * scale.double()).to(scale.dtype)


@_half_normal
def variance(scale: Real) -> Tensor:
    """Return the variance, elementwise: scale^2 (1 - 2 / pi)."""
    return ((1 - 2 / math.pi) * scale.double().square()).to(scale.dtype)


@_half_normal
def stddev(scale: Real) -> Tensor:
    """Return the standard deviation, elementwise: scale sqrt(1 - 2 / pi)."""
    return (math.sqrt(1 - 2 / math.pi) * scale.double()).to(scale.dtype)


half_normal: MadeFamily = NamedFamily(_half_normal)
half_cauchy: MadeFamily = NamedFamily(
    expression("half_cauchy", HalfCauchyParams, _folded_cauchy, _folded_cauchy.Params)
)
