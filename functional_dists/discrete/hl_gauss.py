"""Categorical distribution over bins of a real number, trained on a histogram of a normal: a value head.

The target of a number is the mass that a normal distribution about it has in each bin, divided by the mass in all of
them; see Imani & White, "Improving regression performance with distributional losses" (2018), and Farebrother et al.,
"Stop regressing: training value functions via classification for scalable deep RL" (2024). The edges of the bins lie
midway between their numbers; the outer edges are as far from the outer numbers as the inner ones.
"""

from typing import NamedTuple

import torch
from torch import Tensor

import functional_dists.random as random  # noqa: F401 (for the examples)
from functional_dists.discrete import two_hot
from functional_dists.family import Real, RowReal, define
from functional_dists.family.options import POSITIVE, per_row
from functional_dists.special.bins import score_of_weights, smoothed


class Params(NamedTuple):
    """Parameters of a distribution over bins, which broadcast against each other.

    logits: Log-probabilities of the bins up to a constant, of shape (*batch, N).
    bins: The numbers that the bins stand for, ascending, of shape (*batch, N), such as (N,).
    value: Real numbers, of shape (*sample, *batch): they may add leading axes to the batch.
    sample: Numbers of bins, of shape (*sample_shape, *batch), in the parameters' dtype.
    """

    logits: Real
    bins: Real


verb = define(Params, values_of=RowReal)
of_bins = verb.through(two_hot.Params)
check = of_bins(two_hot.check)


# ------------------------------------------------------------------------------------------------------------- targets
@verb
def encode(bins: Real, value: RowReal, *, sigma: float | Tensor | None = None) -> Tensor:
    """Return the target of the probabilities, of shape (*value, N): the masses of a normal about each value.

    `sigma` is its standard deviation, by default 3/4 of the mean distance of two bins, as in Farebrother et al.

    >>> encode(torch.tensor([-1.0, 0.0, 1.0]), 0.25, sigma=0.5)
    tensor([0.0670, 0.6287, 0.3043])
    """
    return smoothed(bins, value, _sigma("hl_gauss.encode", sigma, bins, value))


@verb
def log_prob(logits: Real, bins: Real, value: RowReal, *, sigma: float | Tensor | None = None) -> Tensor:
    """Return the log-probs of the bins, weighted as `encode` does: minus the loss of a value head.

    `sigma` is that of `encode`.

    >>> log_prob(torch.zeros(3), torch.tensor([-1.0, 0.0, 1.0]), 0.25, sigma=0.5)
    tensor(-1.0986)
    """
    return score_of_weights(smoothed(bins, value, _sigma("hl_gauss.log_prob", sigma, bins, value)), logits)


def _sigma(function: str, given: float | Tensor | None, bins: Tensor, value: Tensor) -> Tensor:
    if given is None:
        return 0.75 * (bins[..., -1:] - bins[..., :1]) / (bins.shape[-1] - 1)
    shape = torch.broadcast_shapes(value.shape, bins.shape[:-1])
    return per_row(function, "sigma", given, shape, dtype=torch.float64, device=bins.device, within=POSITIVE)


# -------------------------------------------------------------------------------------------------- draws and summaries
sample = of_bins(two_hot.sample)
probs = of_bins(two_hot.probs)
normalized_logits = of_bins(two_hot.normalized_logits)
entropy = of_bins(two_hot.entropy)
mean = of_bins(two_hot.mean)
variance = of_bins(two_hot.variance)
stddev = of_bins(two_hot.stddev)
mode = of_bins(two_hot.mode)
