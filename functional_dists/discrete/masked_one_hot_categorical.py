"""Categorical distribution over those one-hot vectors of length N that a mask allows.

Probabilities are proportional to exp(logits) where the mask is True, and 0 elsewhere; what the logits are there reaches
neither value nor gradient. A row without any True is invalid (`check` says so), and does not harm the others: its
probabilities and entropy are 0, its log-probs -inf, its gradients 0, its draws the first vector.

`rsample` has a gradient in one of two ways. "straight_through" is the one-hot vector with the gradient of the
probabilities (Bengio, Leonard, Courville 2013). "relaxed" is a point inside the simplex of what is allowed, the softmax
of perturbed logits over a temperature, with the density `log_prob_relaxed` (Maddison, Mnih, Teh, "The Concrete
distribution", 2017).
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from functional_dists import random
from functional_dists.discrete.categorical import check_logits, draw, draw_and_log_prob, table_shape
from functional_dists.options import NOT_NEGATIVE, POSITIVE, Range, fixed, per_row
from functional_dists.random import Shape, Source
from functional_dists.special import one_hot, root, softmax
from functional_dists.special import support as supports
from functional_dists.special.temperature import positive
from functional_dists.tree import Mask, OneHot, Real, require, verb

__all__ = [
    "Params",
    "check",
    "deterministic",
    "entropy",
    "kl",
    "log_prob",
    "log_prob_relaxed",
    "mean",
    "mode",
    "normalized_logits",
    "probs",
    "rsample",
    "rsample_and_log_prob",
    "sample",
    "sample_and_log_prob",
    "stddev",
    "support",
    "variance",
]

Gradient = Literal["straight_through", "relaxed"]


class Params(NamedTuple):
    """Parameters of a masked one-hot categorical distribution, which broadcast against each other.

    logits: Log-probabilities up to a constant, of shape (*batch, N).
    mask: Bool, of shape (*batch, N), True where an outcome is allowed.
    value: Vectors, of shape (*sample, *batch, N): they may add leading axes to the batch.
    sample: One-hot vectors of shape (*sample_shape, *batch, N), int64.
    """

    logits: Real
    mask: Mask


@verb
def check(logits: Real, mask: Mask) -> None:
    """Raise a ValueError that names the parameter and the first bad position, in eager code only.

    >>> check(torch.zeros(2, 3), torch.tensor([[True, False, True], [False, False, False]]))
    Traceback (most recent call last):
    ...
    ValueError: mask must allow an outcome in every row; it is not at position (1,)
    """
    require(mask.any(-1), "mask", "must allow an outcome in every row")
    check_logits(logits, mask)


# -------------------------------------------------------------------------------------------------------------- draws
@verb
def sample(key: Source, logits: Real, mask: Mask, *, sample_shape: Shape = ()) -> Tensor:
    """Draw one-hot vectors.

    >>> sample(random.key(42), torch.zeros(3), torch.tensor([True, False, True]))
    tensor([1, 0, 0])
    """
    return hard_draw(key, logits, mask, sample_shape)


@verb
def rsample(
    key: Source,
    logits: Real,
    mask: Mask,
    *,
    sample_shape: Shape = (),
    gradient: Gradient = "straight_through",
    temperature: float | Tensor = 1.0,
) -> Tensor:
    """Draw vectors in the logits' dtype, with a gradient: those of `sample`, or relaxed ones at a temperature.

    >>> rsample(random.key(42), torch.zeros(3), torch.tensor([True, False, True]))
    tensor([1., 0., 0.])
    """
    return soft_draw("masked_one_hot_categorical.rsample", key, logits, mask, sample_shape, gradient, temperature)


@verb
def sample_and_log_prob(key: Source, logits: Real, mask: Mask, *, sample_shape: Shape = ()) -> tuple[Tensor, Tensor]:
    """Draw what `sample` draws, with its log-probability, which carries the gradient of the score function.

    >>> value, log_prob = sample_and_log_prob(random.key(42), torch.zeros(3), torch.tensor([True, False, True]))
    >>> log_prob
    tensor(-0.6931)
    """
    return hard_draw_and_log_prob(key, logits, mask, sample_shape)


@verb
def rsample_and_log_prob(
    key: Source,
    logits: Real,
    mask: Mask,
    *,
    sample_shape: Shape = (),
    gradient: Gradient = "straight_through",
    temperature: float | Tensor = 1.0,
) -> tuple[Tensor, Tensor]:
    """Draw what `rsample` draws, with its log-probability; of relaxed vectors the log-density, from the same noise.

    >>> value, log_prob = rsample_and_log_prob(random.key(42), torch.zeros(3), torch.tensor([True, False, True]))
    >>> log_prob
    tensor(-0.6931)
    """
    return soft_draw_and_log_prob(
        "masked_one_hot_categorical.rsample_and_log_prob", key, logits, mask, sample_shape, gradient, temperature
    )


def hard_draw(key: Source, logits: Tensor, mask: Tensor | None, sample_shape: Shape) -> Tensor:
    """Draw one-hot vectors, int64."""
    return one_hot.encoded(draw(key, logits, mask, sample_shape), table_shape(logits, mask)[-1])


def hard_draw_and_log_prob(
    key: Source, logits: Tensor, mask: Tensor | None, sample_shape: Shape
) -> tuple[Tensor, Tensor]:
    """Draw one-hot vectors, int64, and their log-probability."""
    index, log_prob = draw_and_log_prob(key, logits, mask, sample_shape)
    return one_hot.encoded(index, table_shape(logits, mask)[-1]), log_prob


def soft_draw(
    function: str,
    key: Source,
    logits: Tensor,
    mask: Tensor | None,
    sample_shape: Shape,
    gradient: Gradient,
    temperature: float | Tensor,
) -> Tensor:
    """Draw vectors with a gradient, for the verb of that name."""
    of_rows = row_temperature(function, temperature, logits, mask, within=NOT_NEGATIVE)
    if is_relaxed(gradient):
        return _relaxed_log_draw(key, logits, mask, sample_shape, fixed(temperature) or of_rows)[1].exp()
    probs = softmax.probs(softmax.softmax(logits, mask))
    return one_hot.straight_through(hard_draw(key, logits, mask, sample_shape), probs)


def soft_draw_and_log_prob(
    function: str,
    key: Source,
    logits: Tensor,
    mask: Tensor | None,
    sample_shape: Shape,
    gradient: Gradient,
    temperature: float | Tensor,
) -> tuple[Tensor, Tensor]:
    """Draw vectors with a gradient, and their log-probability or log-density, for the verb of that name."""
    within = POSITIVE if is_relaxed(gradient) else NOT_NEGATIVE
    of_rows = row_temperature(function, temperature, logits, mask, within=within)
    if is_relaxed(gradient):
        support, log_value = _relaxed_log_draw(key, logits, mask, sample_shape, fixed(temperature) or of_rows)
        return log_value.exp(), one_hot.relaxed_log_density(logits, support, log_value, of_rows)
    hard, log_prob = hard_draw_and_log_prob(key, logits, mask, sample_shape)
    return one_hot.straight_through(hard, softmax.probs(softmax.softmax(logits, mask))), log_prob


def row_temperature(
    function: str, temperature: float | Tensor, logits: Tensor, mask: Tensor | None, *, within: Range
) -> Tensor:
    """Return the option `temperature` of a verb as a tensor that broadcasts to ``(*B, 1)``."""
    batch = table_shape(logits, mask)[:-1]
    wide = per_row(
        function, "temperature", temperature, batch, dtype=torch.float64, device=logits.device, within=within
    )
    return positive(wide, logits.dtype)


def is_relaxed(gradient: Gradient) -> bool:
    """Say which of the two gradients is asked for."""
    if gradient not in ("straight_through", "relaxed"):
        raise ValueError(f'gradient must be "straight_through" or "relaxed", got {gradient!r}')
    return gradient == "relaxed"


def _relaxed_log_draw(
    key: Source, logits: Tensor, mask: Tensor | None, sample_shape: Shape, temperature: Tensor | float
) -> tuple[Tensor, Tensor]:
    support = softmax.softmax(logits, mask).support
    *batch, count = support.shape
    noise = random.draw_entries(
        random.gumbel, key, sample_shape, batch, (count,), dtype=logits.dtype, device=logits.device
    )
    return support, one_hot.relaxed(logits, support, noise, temperature)


# -------------------------------------------------------------------------------------------------------- probability
@verb
def log_prob(logits: Real, mask: Mask, value: OneHot) -> Tensor:
    """Return the log-probability of a one-hot vector; -inf for one that is masked, and for what is not one-hot.

    >>> log_prob(torch.zeros(2), torch.tensor([True, True]), torch.tensor([[1, 0], [1, 1]]))
    tensor([-0.6931,    -inf])
    """
    return one_hot.log_prob(logits, mask, value)


@verb
def log_prob_relaxed(logits: Real, mask: Mask, value: OneHot, *, temperature: float | Tensor = 1.0) -> Tensor:
    """Return the log-density of a relaxed vector on the simplex of what is allowed.

    A zero in the vector, which relaxed draws round to at low temperatures, counts as the smallest normal number.

    >>> log_prob_relaxed(torch.zeros(2), torch.tensor([True, True]), torch.tensor([0.3, 0.7]))
    tensor(0.)
    """
    return relaxed_score("masked_one_hot_categorical.log_prob_relaxed", logits, mask, value, temperature)


def relaxed_score(
    function: str, logits: Tensor, mask: Tensor | None, value: Tensor, temperature: float | Tensor
) -> Tensor:
    """Return the log-density of relaxed vectors; -inf for what lies outside the simplex of the support."""
    temperature = row_temperature(function, temperature, logits, mask, within=POSITIVE)
    support = softmax.softmax(logits, mask).support
    is_outside = ((value < 0) | (~support & (value > 0))).any(-1) | ((value.sum(-1) - 1).abs() >= 1e-3)  # False for NaN
    smallest = torch.finfo(value.dtype).tiny
    density = one_hot.relaxed_log_density(
        logits, support, torch.where(value <= smallest, smallest, value).log(), temperature
    )
    return one_hot.nan_where(value.detach().amax(-1).isnan(), torch.where(is_outside, -torch.inf, density))


@verb
def probs(logits: Real, mask: Mask) -> Tensor:
    """Return the probabilities of all outcomes, 0 for the masked ones.

    >>> probs(torch.zeros(3), torch.tensor([True, False, True]))
    tensor([0.5000, 0.0000, 0.5000])
    """
    return softmax.probs(softmax.softmax(logits, mask))


@verb
def normalized_logits(logits: Real, mask: Mask) -> Tensor:
    """Return the log-probabilities of all outcomes, -inf for the masked ones.

    >>> normalized_logits(torch.zeros(3), torch.tensor([True, False, True]))
    tensor([-0.6931,    -inf, -0.6931])
    """
    return softmax.log_probs(softmax.softmax(logits, mask))


@verb
def entropy(logits: Real, mask: Mask) -> Tensor:
    """Return the entropy in nats.

    >>> entropy(torch.zeros(3), torch.tensor([True, False, True]))
    tensor(0.6931)
    """
    return softmax.entropy(logits, mask)


@verb
def support(logits: Real, mask: Mask) -> Constraint:
    """Return the one-hot vectors of finite log-probability, as a constraint.

    >>> support(torch.zeros(2), torch.tensor([True, False])).check(torch.tensor([[1, 0], [0, 1], [1, 1]]))
    tensor([ True, False, False])
    """
    return supports.one_hot_outcomes(supports.allowed(logits, mask))


@verb
def kl(p: Params, q: Params) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) in nats; +inf where p allows an outcome that q does not.

    >>> every, some = torch.ones(3, dtype=torch.bool), torch.tensor([True, False, True])
    >>> kl(Params(torch.zeros(3), some), Params(torch.zeros(3), every))
    tensor(0.4055)
    """
    return softmax.kl(p.logits, p.mask, q.logits, q.mask)


# ------------------------------------------------------------------------------------------------------------ moments
@verb
def mean(logits: Real, mask: Mask) -> Tensor:
    """Return the mean of the vectors, elementwise: the probabilities.

    >>> mean(torch.zeros(3), torch.tensor([True, False, True]))
    tensor([0.5000, 0.0000, 0.5000])
    """
    return softmax.probs(softmax.softmax(logits, mask))


@verb
def variance(logits: Real, mask: Mask) -> Tensor:
    """Return the variance of the vectors, elementwise: p (1 - p).

    >>> variance(torch.zeros(3), torch.tensor([True, False, True]))
    tensor([0.2500, 0.0000, 0.2500])
    """
    return softmax.variance(softmax.softmax(logits, mask))


@verb
def stddev(logits: Real, mask: Mask) -> Tensor:
    """Return the standard deviation of the vectors, elementwise.

    >>> stddev(torch.zeros(3), torch.tensor([True, False, True]))
    tensor([0.5000, 0.0000, 0.5000])
    """
    return root(softmax.variance(softmax.softmax(logits, mask)))


@verb
def mode(logits: Real, mask: Mask) -> Tensor:
    """Return the most probable vector, the first of equals.

    >>> mode(torch.tensor([1.0, 3.0, 3.0]), torch.tensor([True, False, True]))
    tensor([0, 0, 1])
    """
    return most_probable(logits, mask)


@verb
def deterministic(logits: Real, mask: Mask) -> Tensor:
    """Return what a policy plays when it does not explore: the mode.

    >>> deterministic(torch.tensor([1.0, 3.0, 3.0]), torch.tensor([True, False, True]))
    tensor([0, 0, 1])
    """
    return most_probable(logits, mask)


def most_probable(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Return the most probable one-hot vector, int64."""
    table = softmax.masked(logits, mask)
    return one_hot.encoded(softmax.mode(table, None), table.shape[-1])
