"""Log-densities at given values of a normal, and of a normal squashed by tanh onto an interval.

Float32 inputs are computed in float64, here and in the kernels, and rounded once. So eager code, compiled code and
every transform give a stored action the same score, to one unit in the last place.
"""

import torch
from torch import Tensor

from functional_dists.special.gaussian import log_pushforward_density_at
from functional_dists.special.interval import pre_image


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
    if value.dtype == torch.float32:
        x, log_slope = _pre_image_in_double(value.double(), low.double(), high.double())
    else:
        x, log_slope = pre_image(value, low, high)
    loc, scale, largest = loc.double(), scale.double(), torch.finfo(value.dtype).max
    return log_pushforward_density_at(x, loc, scale, log_slope, event_dims=event_dims, largest=largest).to(value.dtype)


def _pre_image_in_double(value: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return the result of `pre_image` by the plain formula, which is accurate enough for float32 inputs.

    >>> minus_one, one = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    >>> _pre_image_in_double(torch.tensor([0.5, 1.0], dtype=torch.float64), minus_one, one)[0]
    tensor([0.5493,    inf], dtype=torch.float64)
    """
    below, above, width = value - low, high - value, high - low
    is_outside = (below <= 0) | (above <= 0)  # False for NaN
    below, above = torch.where(is_outside, 1.0, below), torch.where(is_outside, 1.0, above)
    x = torch.where(is_outside, width.detach() * torch.inf, 0.5 * torch.log(below / above))  # NaN if a bound is NaN
    return x, torch.log(2 * below * above / width)
