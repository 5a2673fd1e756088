"""The log of a window's mass in float64, for results that are rounded to float32.

Eager code on a CPU uses a quadrature: few operations, short derivatives. Compiled code and other devices use a closed
form, which needs no table. Both are right to 3e-9, so the two rounded scores differ by one unit in the last place at
most.
"""

import math

import torch
from torch import Tensor

from functional_dists.special.constant import PLAIN_TENSORS, scalar, table_of
from functional_dists.special.elementary import plus_scaled
from functional_dists.special.gaussian import log_mills
from functional_dists.special.quadrature import window_nodes, window_weights
from functional_dists.special.vectorized import materialize

_ENERGY = 48.0  # twice the energy at which a window is cut off


def log_mass(slope: Tensor, scale: Tensor, start: Tensor, stop: Tensor) -> Tensor:
    """Return the log of the integral of exp(-energy) over offsets from `start` <= 0 to `stop` >= 0; all are float64.

    >>> zero, one = (torch.tensor(number, dtype=torch.float64) for number in (0.0, 1.0))
    >>> log_mass(zero, one, -one, one) - 0.5 * math.log(2 * math.pi)
    tensor(-0.3817, dtype=torch.float64)
    """
    first, last = cut_off(slope, scale, start, stop, _ENERGY)
    is_eager_on_cpu = slope.is_cpu and type(slope) in PLAIN_TENSORS and not torch.compiler.is_compiling()
    function = _log_mass_by_quadrature if is_eager_on_cpu else _log_mass_in_closed_form
    return function(slope, scale, first, last)


def cut_off(slope: Tensor, scale: Tensor, start: Tensor, stop: Tensor, largest: float) -> tuple[Tensor, Tensor]:
    """Return the ends of the window, cut where the energy reaches half of `largest`.

    >>> zero, one = torch.tensor(0.0), torch.tensor(1.0)
    >>> cut_off(zero, one, -one, math.inf * one, 50.0)
    (tensor(-1.), tensor(7.0711))
    """
    fixed = slope.detach().abs()
    root = torch.hypot(fixed, scalar(math.sqrt(largest), slope))  # fixed^2 + largest may overflow
    reach = scale.detach() * (largest / (fixed + root))
    return torch.maximum(start, -reach), torch.minimum(stop, reach)


# ---------------------------------------------------------------------------------------------------------- quadrature
def _log_mass_by_quadrature(slope: Tensor, scale: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """Return the log of the mass by `window_rule`; the energy is a quadratic in the node."""
    powers, weights = table_of(_table, slope)
    width = last - first
    deviation, relative_width = first / scale, width / scale
    z = slope + deviation
    quadratic = (deviation * plus_scaled(z, deviation, -0.5), relative_width * z, relative_width * relative_width)
    return torch.log(width * (torch.exp(torch.stack(quadratic, -1) @ powers) @ weights))


def _table(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the matrix that maps the coefficients of the energy to -energy at the nodes, and the weights."""
    tables = (window_nodes(), window_weights())
    node, weight = (torch.tensor(numbers, dtype=like.dtype, device=like.device) for numbers in tables)
    return -torch.stack((torch.ones_like(node), node, 0.5 * node * node)), weight


# --------------------------------------------------------------------------------------------------------- closed form
_NARROW = 2.5e-3
_SQRT_2PI = math.sqrt(2 * math.pi)


def _log_mass_in_closed_form(slope: Tensor, scale: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """Return the log of the mass from the masses beyond the two ends.

    In a narrow window these cancel. There the mass is width exp(excess - mean), where `mean` is the mean energy of the
    two ends. The excess is a series in u and v, the squares of the width and of the difference of the two energies.
    """
    offset_width = last - first
    # Without this inductor takes a minute to compile, since it copies these into each use.
    slope, first, last = materialize(slope, first / scale, last / scale)
    # The slope is 0 where the window contains the mean. The square adds the second derivative.
    whole = torch.where(slope == 0, _SQRT_2PI * (1 + 0.5 * slope * slope), 0.0)
    mass = whole + _mass_beyond(slope, first) + _mass_beyond(-slope, -last)
    width = last - first
    first_energy, last_energy = (end * plus_scaled(slope, end, 0.5) for end in (first, last))
    difference = last_energy - first_energy
    u, v = width * width, difference * difference
    excess = (2 * u + v) / 24 + (2 * u * u - 4 * u * v - v * v) / 2880
    is_narrow = 2 * u + v < _NARROW
    log_factor = torch.where(is_narrow, excess - 0.5 * (first_energy + last_energy), 0.0)
    # The mass of a narrow window hardly depends on the scale: its derivative would cancel in scale * width.
    return torch.log(torch.where(is_narrow, offset_width, scale * mass)) + log_factor


def _mass_beyond(slope: Tensor, deviation: Tensor) -> Tensor:
    """Return the integral of exp(-energy) above a deviation above the mean, or minus that below one below the mean."""
    z = slope + deviation
    is_above = z > 0
    tail = torch.exp(log_mills(torch.where(is_above, z, -z)) - deviation * plus_scaled(slope, deviation, 0.5))
    return torch.where(is_above, tail, -tail)
