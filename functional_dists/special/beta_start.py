"""A first guess of the quantile of the logit of a Beta variable, good to a few tenths of its scale."""

import torch
from torch import Tensor

from functional_dists.special.beta_mass import log_beta

__all__ = ["beta_start", "probability_logs"]
__dir__ = __all__.copy  # what tab completion shows


def probability_logs(below: Tensor, above: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logs of two probabilities that add up to 1, from the digits of the smaller one."""
    is_low = below <= above
    small = torch.where(is_low, below, above)
    log_small, log_rest = torch.log(small), torch.log1p(-small)
    return torch.where(is_low, log_small, log_rest), torch.where(is_low, log_rest, log_small)


def beta_start(below: Tensor, above: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return about the offset from log(a / b) of the point with the given masses below and above it.

    With a <= b, after a reflection, it is one of these:

    * Where both exceed 1.5, the formula of Carter (1947), as in AS 109 (Cran, Martin & Thomas, 1977), for the centre.
    * Where b is below 0.6, or the upper tail is meant, a power of x or of 1 - x.
    * Else -log(1 - x) is about a Gamma(a) variable, divided by b + (a - 1) / 2.
    """
    is_swapped = a > b
    a, b = torch.where(is_swapped, b, a), torch.where(is_swapped, a, b)
    below, above = torch.where(is_swapped, above, below), torch.where(is_swapped, below, above)
    log_below, log_above = probability_logs(below, above)
    mode = torch.log(a) - torch.log(b)
    z = torch.special.ndtri(torch.minimum(below, above))
    z = torch.where(below <= above, z, -z)

    log_decay = _log_gamma_quantile(log_below, log_above, z, a) - torch.log(b + 0.5 * (a - 1))
    decay = torch.exp(log_decay.clamp(max=30.0))  # -log(1 - x)
    far = torch.where(log_decay < -18, log_decay, torch.log(torch.expm1(decay.clamp(1e-300, 30.0))))
    found = torch.where(decay > 30, decay, far)

    # Carter: twice the logit is nearly normal
    skewness = (z * z - 3) / 6
    per_a, per_b = 1 / (2 * a - 1).clamp(min=0.2), 1 / (2 * b - 1).clamp(min=0.2)
    harmonic = 2 / (per_a + per_b)
    w = -z * torch.sqrt((harmonic + skewness).clamp(min=0.05)) / harmonic
    w = w - (per_b - per_a) * (skewness + 5 / 6 - 2 / (3 * harmonic))
    is_far = (z > 3) & (a < 8)
    found = torch.where((a > 1.5) & ~is_far & (harmonic + skewness > 0) & (w.abs() < 3), mode - 2 * w, found)

    # The lower tail is x^a / (a B(a, b)). Of both guesses the one that is farther out is the better one.
    beta = log_beta(a, b)
    log_low = (torch.log(a) + beta + log_below) / a
    log_high = (torch.log(b) + beta + log_above) / b
    found = torch.where(b < 0.6, torch.where(log_low < log_high, _logit(log_low), -_logit(log_high)), found)
    found = torch.where((b >= 0.6) & (b < 3) & (log_high < -3), -_logit(log_high), found)
    return torch.where(is_swapped, mode - found, found - mode)


def _logit(log_x: Tensor) -> Tensor:
    log_x = log_x.clamp(max=-1e-3)
    return log_x - torch.log(-torch.expm1(log_x))


def _log_gamma_quantile(log_below: Tensor, log_above: Tensor, z: Tensor, a: Tensor) -> Tensor:
    """Return about the log of the quantile of a Gamma(a) variable.

    For a >= 1 by Wilson & Hilferty (1931), in the lower tail from x^a / Gamma(1 + a). For a < 1 by the bound
    (1 - exp(-c x))^a of Alzer (1997), in the upper tail from x^(a - 1) exp(-x) / Gamma(a).
    """
    log_gamma = torch.lgamma(a + 1)
    tail = (log_below + log_gamma) / a
    root = 1 - 1 / (9 * a) + z / (3 * torch.sqrt(a))
    tail_of_large = tail + (torch.exp(tail.clamp(max=3.0)) / (a + 1)).clamp(max=1.0)
    large = torch.where(root > 0.45, torch.log(a) + 3 * torch.log(root.clamp(min=0.1)), tail_of_large)

    log_power = log_below / a
    alzer = torch.log((-torch.log(-torch.expm1(log_power))).clamp(min=1e-37))
    small = torch.where(log_power < -30.0, log_power, alzer) + log_gamma / a
    centre = torch.where(a < 1, small, large)
    energy = (torch.log(a) - log_gamma - log_above).clamp(min=1.0)
    x = energy
    for _ in range(4):
        x = torch.maximum(x, 0.5 + a)
        x = energy + (a - 1) * torch.log(x) - torch.log1p((1 - a) / (1 + x))
    return torch.where((energy > 2) & (x > 1 + 2 * a), torch.log(x.clamp(min=1.0)), centre)
