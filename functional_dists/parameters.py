"""Functions from the output of a network to the parameters of a distribution.

The mappings have the names that they have in TorchRL and tensordict, so that a configuration file keeps its meaning.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from functional_dists.special import root, softplus

__all__ = [
    "beta_params",
    "beta_params_from_mean",
    "concentrations",
    "inverse_softplus",
    "normal_params",
    "scale_loc",
    "scale_mapping",
    "state_dependent_params",
    "state_independent_scale",
]
__dir__ = __all__.copy  # what tab completion shows

ScaleMapping = str | Callable[[Tensor], Tensor]


def normal_params(
    raw: Tensor, *rest: Any, scale_mapping: ScaleMapping = "biased_softplus_1.0", scale_lb: float = 1e-4
) -> tuple[Any, ...]:
    """Split a network's output into a location and a positive scale.

    Args:
        raw: The output, of shape (*batch, 2 n): the first half of the last axis is the location.
        rest: Further outputs, which are passed on.
        scale_mapping: A name that the function `scale_mapping` knows, or a function of a tensor.
        scale_lb: The least scale.

    Returns:
        (loc, scale, *rest), with loc and scale of shape (*batch, n).

    Raises:
        TypeError: `raw` is not a tensor.
        ValueError: the last axis is odd, or no mapping has this name.

    >>> normal_params(torch.zeros(2, 2))
    (tensor([[0.],
            [0.]]), tensor([[1.],
            [1.]]))
    """
    if not isinstance(raw, Tensor):
        raise TypeError(f"raw must be one tensor, the loc and the raw scale side by side, got {type(raw).__name__}")
    if raw.ndim == 0 or raw.shape[-1] % 2:
        raise ValueError(f"the last axis of raw holds loc and scale, so its size must be even, got {tuple(raw.shape)}")
    loc, raw_scale = raw.chunk(2, -1)
    return loc, _positive(raw_scale, scale_mapping, scale_lb), *rest


def state_independent_scale(
    loc: Tensor, raw_scale: Tensor, *rest: Any, scale_mapping: ScaleMapping = "exp", scale_lb: float = 1e-4
) -> tuple[Any, ...]:
    """Pair a network's location with a scale that is a separate parameter, the same in every state.

    Args:
        loc: The location, of shape (*batch, n).
        raw_scale: The input of the mapping, of a shape that broadcasts to that of `loc`.
        rest: Further outputs, which are passed on.
        scale_mapping: A name that the function `scale_mapping` knows, or a function of a tensor.
        scale_lb: The least scale.

    Returns:
        (loc, scale, *rest), with the scale expanded to the shape of `loc`.

    Raises:
        ValueError: no mapping has this name.

    >>> state_independent_scale(torch.zeros(2, 1), torch.zeros(1))[1]
    tensor([[1.],
            [1.]])
    """
    return loc, _positive(raw_scale, scale_mapping, scale_lb).expand(loc.shape), *rest


def state_dependent_params(
    loc: Tensor, latent: Tensor, std: Tensor, *rest: Any, scale_lb: float = 1e-4
) -> tuple[Any, ...]:
    """Return the location and scale of an action with state-dependent exploration, loc + latent @ matrix.

    `policy.exploration_matrix` draws the matrix, of independent normal entries with the standard deviations `std`. So
    action a is normal with the variance sum_i latent_i^2 std_ia^2, and the actions of one state are independent:
    `normal` and `tanh_normal` of these parameters have the exact density. Source: Raffin, Kober and Stulp, "Smooth
    exploration for robotic reinforcement learning" (2021).

    Args:
        loc: The mean action, of shape (*batch, A).
        latent: Features of the state, of shape (*batch, L).
        std: The standard deviations of the entries of the matrix, positive, of shape (L, A) or (*batch, L, A).
        rest: Further parameters, which are passed on.
        scale_lb: The least scale.

    Returns:
        (loc, scale, *rest), with the scale of shape (*batch, A).

    Raises:
        ValueError: the shapes do not fit.

    >>> state_dependent_params(torch.zeros(2, 1), torch.tensor([[3.0, 4.0], [0.0, 1.0]]), torch.ones(2, 1))[1]
    tensor([[5.],
            [1.]])
    """
    if std.ndim < 2 or latent.shape[-1:] != std.shape[-2:-1] or loc.shape[-1:] != std.shape[-1:]:
        raise ValueError(
            "std must have a row for each feature and a column for each action, got "
            f"loc {tuple(loc.shape)}, latent {tuple(latent.shape)} and std {tuple(std.shape)}"
        )
    # In float64, where no square of a float32 overflows or underflows.
    variance = (latent.double().square().unsqueeze(-2) @ std.double().square()).squeeze(-2)
    return loc, root(variance).to(loc.dtype).clamp(min=scale_lb), *rest


def _positive(raw_scale: Tensor, mapping: ScaleMapping, scale_lb: float) -> Tensor:
    function = scale_mapping(mapping) if isinstance(mapping, str) else mapping
    return function(raw_scale).clamp(min=scale_lb)


def concentrations(raw: Tensor, *, floor: float = 1.0) -> Tensor:
    """Return softplus(raw) + floor: concentrations, or rates, of a gamma, beta or Dirichlet distribution.

    From concentrations of at least 1 a density is finite, with one mode, as a policy wants it. Source: Chou, Maturana &
    Scherer, "Improving stochastic policy gradients in continuous control with deep reinforcement learning using the
    beta distribution" (2017). With a floor such as 1e-3 the density may also peak at its ends.

    Args:
        raw: A network's output, of any shape.
        floor: The least concentration, positive.

    Returns:
        A tensor of that shape.

    Raises:
        ValueError: the floor is not positive.

    >>> concentrations(torch.tensor([-100.0, 0.0, 5.0]))
    tensor([1.0000, 1.6931, 6.0067])
    """
    if not floor > 0:
        raise ValueError(f"floor must be positive, got {floor}")
    return softplus(raw) + floor


def beta_params(raw: Tensor, *rest: Any, floor: float = 1.0) -> tuple[Any, ...]:
    """Split a network's output into the two concentrations of a Beta distribution, softplus(raw) + floor.

    Args:
        raw: The output, of shape (*batch, 2 n): the first half of the last axis is `concentration1`.
        rest: Further parameters, such as the bounds, which are passed on.
        floor: The least concentration, positive; from 1 on the density has one mode, as in `concentrations`.

    Returns:
        (concentration1, concentration0, *rest), with both of shape (*batch, n).

    Raises:
        ValueError: the last axis is odd, or the floor is not positive.

    >>> beta_params(torch.zeros(2), -1.0, 1.0)
    (tensor([1.6931]), tensor([1.6931]), -1.0, 1.0)
    """
    if raw.ndim == 0 or raw.shape[-1] % 2:
        raise ValueError(f"the last axis of raw holds two halves, so its size must be even, got {tuple(raw.shape)}")
    concentration1, concentration0 = concentrations(raw, floor=floor).chunk(2, -1)
    return concentration1, concentration0, *rest


def beta_params_from_mean(logit: Tensor, precision: Tensor, *rest: Any) -> tuple[Any, ...]:
    """Return the concentrations of a Beta distribution with the mean sigmoid(logit) and the sum `precision`.

    The variance is mean (1 - mean) / (precision + 1). Both concentrations have all digits, also next to a bound.
    Source: Ferrari & Cribari-Neto, "Beta regression for modelling rates and proportions" (2004).

    Args:
        logit: The logit of the mean, as a share of the interval, of any shape.
        precision: The sum of both concentrations, positive, of a shape that broadcasts to that of `logit`.
        rest: Further parameters, such as the bounds, which are passed on.

    Returns:
        (concentration1, concentration0, *rest).

    >>> beta_params_from_mean(torch.tensor([0.0, 20.0]), torch.tensor(4.0))
    (tensor([2., 4.]), tensor([2.0000e+00, 8.2446e-09]))
    """
    return precision * torch.exp(-softplus(-logit)), precision * torch.exp(-softplus(logit)), *rest


def scale_loc(loc: Tensor, upscale: float | Tensor = 5.0) -> Tensor:
    """Bound a location smoothly by upscale * tanh(loc / upscale), so that a squashed policy does not saturate.

    Args:
        loc: The location, of any shape.
        upscale: The bound, positive; a number or a tensor that broadcasts against `loc`.

    Returns:
        The bounded location.

    >>> scale_loc(torch.tensor([0.1, 100.0]))
    tensor([0.1000, 5.0000])
    """
    return upscale * torch.tanh(loc / upscale)


# ----------------------------------------------------------------------------------------------------------- mappings
def scale_mapping(name: str) -> Callable[[Tensor], Tensor]:
    """Return the mapping with this name, a function from real numbers to scales.

    `softplus`; `exp`; `relu`; `expln`, which is exp(x) below 0 and 1 + log(1 + x) above; `none`, the identity;
    `biased_softplus[_bias[_min]]`, which is `bias` (1.0) at 0 and at least `min` (0.01) everywhere.

    Args:
        name: The name, parameters included, such as "biased_softplus_0.5_0.01".

    Returns:
        A function of a tensor.

    Raises:
        ValueError: no mapping has this name.

    >>> scale_mapping("biased_softplus_0.5")(torch.zeros(1))
    tensor([0.5000])
    """
    if name in _MAPPINGS:
        return _MAPPINGS[name]
    stem, *numbers = name.replace("biased_softplus", "biased", 1).split("_")
    if stem != "biased" or not name.startswith("biased_softplus"):
        raise ValueError(f"scale_mapping must be one of {[*_MAPPINGS, 'biased_softplus[_bias[_min]]']}, got {name!r}")
    try:
        bias, least = (*map(float, numbers), *(1.0, 0.01)[len(numbers) :])
    except ValueError:
        raise ValueError(f"biased_softplus takes up to two numbers, 'biased_softplus_0.5_0.01', got {name!r}") from None
    if not bias > least:
        raise ValueError(f"the bias of biased_softplus must be above its minimum, got {name!r}")
    shift = math.log(math.expm1(bias - least))
    return lambda x: softplus(x + shift) + least


def inverse_softplus(y: Tensor) -> Tensor:
    """Return the x with softplus(x) = y, log(exp(y) - 1).

    Args:
        y: A positive tensor of any shape.

    Returns:
        A tensor of that shape.

    >>> inverse_softplus(torch.tensor([1e-5, 1.0, 100.0]))
    tensor([-11.5129,   0.5413, 100.0000])
    """
    small = y < 1
    y_small, y_large = torch.where(small, y, 1.0), torch.where(small, 1.0, y)
    # exp(y) - 1 = 2 exp(y / 2) sinh(y / 2). This stays accurate in compiled code; expm1 does not.
    return torch.where(
        small, 0.5 * y_small + torch.log(2 * torch.sinh(0.5 * y_small)), y_large + torch.log1p(-torch.exp(-y_large))
    )


def _expln(x: Tensor) -> Tensor:
    below = x <= 0
    return torch.where(below, torch.exp(torch.where(below, x, 0.0)), 1 + torch.log1p(torch.where(below, 0.0, x)))


_MAPPINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "softplus": softplus,
    "exp": torch.exp,
    "relu": torch.relu,
    "expln": _expln,
    "none": lambda x: x,
}
