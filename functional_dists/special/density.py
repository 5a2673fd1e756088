"""Log-densities at given values of a normal, and of a normal squashed by tanh onto an interval.

Float32 inputs are computed in float64, here and in the kernels, and rounded once. So eager code, compiled code and
every transform give a stored action the same score, to one unit in the last place.
"""

import math

import torch
from torch import Tensor

from functional_dists.special.constant import computed_once_for_numbers
from functional_dists.special.gaussian import log_pushforward_density, log_pushforward_density_at
from functional_dists.special.interval import pre_image
from functional_dists.special.vectorized import sum_event


def log_normal_density_at(value: Tensor, loc: Tensor, scale: Tensor, event_dims: int) -> Tensor:
    """Return the log-density of Normal(loc, scale), summed over the event.

    It is -inf for an element, without gradient, where the value is too far from loc. It is NaN where the value is NaN.

    >>> log_normal_density_at(torch.tensor([0.0, 1e30]), torch.tensor(0.0), torch.tensor(1.0), 0)
    tensor([-0.9189,    -inf])
    """
    x, loc, scale = value.double(), loc.double(), scale.double()
    largest = torch.finfo(value.dtype).max
    return log_pushforward_density_at(x, loc, scale, event_dims=event_dims, largest=largest).to(value.dtype)


def log_tanh_normal_density_at(
    value: Tensor, loc: Tensor, scale: Tensor, low: Tensor, high: Tensor, event_dims: int
) -> Tensor:
    """Return the log-density of squash(Normal(loc, scale), low, high), summed over the event.

    It is -inf for an element, without gradient, where the value is not between the bounds. It is NaN where the value is
    NaN.

    >>> zero, one = torch.tensor(0.0), torch.tensor(1.0)
    >>> log_tanh_normal_density_at(torch.tensor([0.0, 1.0]), zero, one, -one, one, 0)
    tensor([-0.9189,    -inf])
    """
    scale, largest = scale.double(), torch.finfo(value.dtype).max
    if value.dtype != torch.float32:
        x, log_slope = pre_image(value, low, high)
        density = log_pushforward_density_at(x, loc, scale, log_slope, event_dims=event_dims, largest=largest)
        return density.to(value.dtype)
    x, log_slope, is_outside = _pre_image_in_double(value, low, high)
    z = (x - loc.double()) / scale
    density = log_pushforward_density(z, scale.log() + log_slope)
    is_outside = is_outside | (z * z >= largest)  # False for NaN
    return sum_event(density.masked_fill(is_outside, -math.inf), event_dims).float()


def _pre_image_in_double(value: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the result of `pre_image`, arbitrary outside of the bounds, and whether the value lies there.

    The plain formula is accurate enough for float32 inputs.

    >>> _pre_image_in_double(torch.tensor([0.5, 1.0]), *torch.tensor([-1.0, 1.0]))[0]
    tensor([0.5493, 0.0000], dtype=torch.float64)
    """
    low, high, log_half_width = _bounds_in_double(low, high)
    value = value.double()
    below, above = value - low, high - value
    is_outside = torch.minimum(below, above) <= 0  # False for NaN
    log_below, log_above = below.masked_fill(is_outside, 1.0).log(), above.masked_fill(is_outside, 1.0).log()
    return 0.5 * (log_below - log_above), log_below + log_above - log_half_width, is_outside


@computed_once_for_numbers
def _bounds_in_double(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    low, high = low.double(), high.double()
    return low, high, torch.log(0.5 * (high - low))
