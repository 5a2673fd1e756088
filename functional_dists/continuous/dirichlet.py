"""Dirichlet distribution of vectors on the simplex, with density Gamma(A) prod_i x_i^(a_i - 1) / Gamma(a_i).

Here A is the sum of the concentrations a_i. The density is that of the first N - 1 entries. Independent gamma variables
g_i of the concentrations a_i give x_i = g_i / sum_j g_j, which is independent of the sum. See Johnson, Kotz &
Balakrishnan, "Continuous multivariate distributions" (2000), chapter 49. Each g_i is a quantile of its own uniform
number, so that a draw has exact derivatives. All verbs compute in float64, and round once.

At small concentrations most entries of a draw are too small for a floating-point number: `sample` then returns the
smallest normal one. `sample_log` returns log x, which has all its digits, and `log_prob_log` scores it.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

import functional_dists.random as random
from functional_dists.family import Real, Vector, define, require
from functional_dists.random import Shape, Source
from functional_dists.special import nan_of, row_is_nan
from functional_dists.special.deviance import excess_of, ratio_excess
from functional_dists.special.gamma_density import equal_means_divergence, gamma_entropy, gamma_log_density, log_ratio
from functional_dists.special.gamma_local import gamma_local
from functional_dists.special.gamma_quantile import gamma_quantile
from functional_dists.special.implicit import second_order
from functional_dists.special.polygamma import digamma


class Params(NamedTuple):
    """The parameter of a Dirichlet distribution.

    concentration: The shape parameters, positive, of shape (*batch, N).
    value: Vectors in the simplex, of shape (*sample, *batch, N): they may add leading axes to the batch.
    sample: Vectors of shape (*sample_shape, *batch, N), in the parameters' dtype.
    """

    concentration: Real


verb = define(Params)
_TOLERANCE = 0.01  # of the sum of a value: values of half precision, which may be stored in a wider one, are 0.002 off


@verb
def check(concentration: Real) -> None:
    """Raise a ValueError that names the first bad position, in eager code only.

    >>> check(torch.tensor([1.0, 0.0]))
    Traceback (most recent call last):
    ...
    ValueError: concentration must be positive and finite; this fails at position (1,)
    """
    a = _wide(concentration)
    require((a > 0) & a.isfinite(), "concentration", "must be positive and finite")


def _wide(concentration: Tensor) -> Tensor:
    """Return the concentrations in float64."""
    if not concentration.ndim or not concentration.shape[-1]:
        raise ValueError(
            f"dirichlet: concentration of shape {tuple(concentration.shape)} must have a last axis, that of the "
            "entries; give a number for each entry, as torch.ones(3) does for three"
        )
    return concentration.double()


def _inside(value: Tensor) -> Tensor:
    """Return positive numbers, the nearest ones: normal ones but for float16, whose normal ones add up to too much."""
    info = torch.finfo(value.dtype)
    return value.clamp(min=info.tiny * info.eps if value.dtype == torch.float16 else info.tiny)


def _is_top(table: Tensor) -> Tensor:
    """Return where the largest entry of each row is, the first of equals."""
    return torch.arange(table.shape[-1], device=table.device) == table.argmax(-1, keepdim=True)


# -------------------------------------------------------------------------------------------------------------- draws
def _draw(key: Source, sample_shape: Shape, concentration: Tensor) -> Tensor:
    """Return log x in float64, with first and second derivatives.

    With g_t the largest of the g_i it is log(g_i / g_t) - log(1 + sum_{i != t} g_i / g_t). So the logarithm of an entry
    near 1 has its digits.
    """
    a, precise = _wide(concentration), concentration.dtype == torch.float64
    *batch, size = a.shape
    tails = random.draw_entries(
        random.uniform_and_rest, key, sample_shape, batch, (size,), dtype=torch.float64, device=a.device
    )
    offset = gamma_quantile(*tails, a, precise=precise)  # log g - log a
    local = gamma_local(offset, a, precise=precise)
    change = second_order(local.slopes, local.curves, [a])  # 0, with the derivatives of log g
    fixed = a.detach()
    is_top = _is_top(fixed.log() + offset)
    a_of_top, offset_of_top, change_of_top = (
        torch.where(is_top, t, 0.0).sum(-1, keepdim=True) for t in (fixed, offset, change)
    )
    to_top = (fixed / a_of_top).log() + (offset - offset_of_top) + (change - change_of_top)
    rest = torch.where(is_top, 0.0, to_top.exp()).sum(-1, keepdim=True)
    return to_top - torch.log1p(rest)


def _value(log_value: Tensor, concentration: Tensor) -> Tensor:
    value = log_value.exp()
    return _inside((value / value.sum(-1, keepdim=True)).to(concentration.dtype))


@verb(confine=_inside)
def rsample(key: Source, concentration: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Draw a vector, differentiable with respect to `concentration`.

    >>> rsample(random.key(42), torch.tensor([1.0, 2.0, 3.0]))
    tensor([0.0995, 0.0464, 0.8541])
    """
    return _value(_draw(key, sample_shape, concentration), concentration)


sample = verb.sample(rsample)


@verb(confine=_inside)
def sample_and_log_prob(key: Source, concentration: Real, *, sample_shape: Shape = ()) -> tuple[Tensor, Tensor]:
    """Draw what `sample` draws, with its log-density; only the log-density has a gradient, the score-function one.

    >>> value, log_prob = sample_and_log_prob(random.key(42), torch.tensor([1.0, 2.0, 3.0]))
    >>> log_prob
    tensor(0.7080)
    """
    log_value = _draw(key, sample_shape, concentration).detach()
    score = _log_density(concentration.double(), log_value, of_log=False)
    return _value(log_value, concentration), score.to(concentration.dtype)


@verb(confine=_inside)
def rsample_and_log_prob(key: Source, concentration: Real, *, sample_shape: Shape = ()) -> tuple[Tensor, Tensor]:
    """Draw what `rsample` draws, with its log-density from the same noise.

    >>> value, log_prob = rsample_and_log_prob(random.key(42), torch.tensor([1.0, 2.0, 3.0]))
    >>> log_prob
    tensor(0.7080)
    """
    log_value = _draw(key, sample_shape, concentration)
    score = _log_density(concentration.double(), log_value, of_log=False)
    return _value(log_value, concentration), score.to(concentration.dtype)


# ------------------------------------------------------------------------------------------------------------ density
def _log_density(a: Tensor, log_value: Tensor, *, of_log: bool) -> Tensor:
    """Return the log-density of a vector inside the simplex, from the logarithms of its entries."""
    ratio = log_value.detach() - (a / a.sum(-1, keepdim=True)).detach().log()
    return _joined(a, *_of_entries(a, log_value, ratio, of_log=of_log))


def _of_entries(a: Tensor, log_value: Tensor, ratio: Tensor, *, of_log: bool) -> tuple[Tensor, Tensor]:
    """Return the log-densities of independent gamma variables x_i of the rate A, and log A.

    Given that their sum is 1, these have the Dirichlet distribution. Nothing large cancels in their log-densities.

    Args:
        a: The concentrations.
        log_value: log x.
        ratio: log(x_i / (a_i / A)) with all digits.
        of_log: Whether to return the log-densities of log x.
    """
    log_total = a.sum(-1, keepdim=True).log()
    return gamma_log_density(a, log_total, log_value, ratio, of_log=of_log), log_total


def _joined(a: Tensor, entries: Tensor, log_total: Tensor) -> Tensor:
    """Return the log-density given the sum: the sum is a gamma variable of the concentration A and the rate A, at 1."""
    total, zero = a.sum(-1, keepdim=True), torch.zeros_like(log_total)
    of_sum = gamma_log_density(total, log_total, zero, zero, of_log=False)
    return entries.sum(-1) - of_sum.squeeze(-1)


@verb
def log_prob(concentration: Real, value: Vector) -> Tensor:
    """Return the log-density of the vector value / sum(value); -inf, with no gradient, outside the simplex.

    That is where an entry is negative, or the sum is more than 0.01 off 1. If an entry is 0, the log-density is -inf
    where its concentration is larger than 1, and else inf where it is smaller.

    >>> log_prob(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.2, 0.3, 0.6]]))
    tensor([1.5041,   -inf,   -inf])
    """
    a, x = _wide(concentration), value.double()
    total = x.sum(-1, keepdim=True)
    is_outside = (x < 0).any(-1, keepdim=True) & ~x.isnan().any(-1, keepdim=True)
    is_outside = is_outside | ((total - 1).abs() > _TOLERANCE)
    is_zero = x == 0
    inner, total = torch.where(is_outside | is_zero, 1.0, x), torch.where(is_outside, 1.0, total)
    rate = a.sum(-1, keepdim=True) / total
    ratio = log_ratio(inner, rate, a)
    entries, log_total = _of_entries(a, inner.log() - total.log(), ratio, of_log=False)
    inside = _joined(a, torch.where(is_zero, log_total - rate * torch.where(is_zero, x, 0.0), entries), log_total)
    is_null = is_outside.squeeze(-1) | (is_zero & (a > 1)).any(-1)
    has_pole = (is_zero & (a < 1)).any(-1)
    found = torch.where(is_null, -math.inf, torch.where(has_pole, math.inf, inside))
    return nan_of(found, row_is_nan(x, a)).to(concentration.dtype)


@verb
def entropy(concentration: Real) -> Tensor:
    """Return the differential entropy in nats.

    It is the entropies of the gamma variables g_i, less that of their sum and (N - 1) psi(A).

    >>> entropy(torch.tensor([[1.0, 1.0, 1.0], [1.0, 2.0, 3.0]]))
    tensor([-0.6931, -1.2443])
    """
    a = _wide(concentration)
    total = a.sum(-1)
    freedom = torch.ones_like(a).sum(-1) - 1  # under `vmap`, compiled code cannot multiply by a size that is a symbol
    found = gamma_entropy(a).sum(-1) - gamma_entropy(total) - freedom * digamma(total)
    return found.to(concentration.dtype)


@verb
def kl(p: Params, q: Params) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) in nats, exact where p and q are close.

    With the concentrations a and b, and their sums A and B, it is B KL(b / B || a / A) of the probabilities, plus the
    divergences of gamma distributions with means 1 and the concentrations a_i and b_i, less that with A and B. Neither
    the first part nor the rest is negative.

    >>> kl(Params(torch.ones(3)), Params(torch.tensor([1.0, 2.0, 3.0])))
    tensor(1.0988)
    """
    a, b = _wide(p.concentration), _wide(q.concentration)
    of_a, of_b = a.sum(-1, keepdim=True), b.sum(-1, keepdim=True)
    change = b - a
    of_change = change.sum(-1, keepdim=True)
    x = (a * of_change - of_a * change) / (b * of_a)  # (a_i / A) / (b_i / B) - 1
    is_near = x.abs() < 0.5
    near = excess_of(torch.where(is_near, x, 0.0))
    far = ratio_excess(torch.where(is_near, 1.0, a / of_a), torch.where(is_near, 1.0, b / of_b))
    probabilities = (b * torch.where(is_near, near, far)).sum(-1)
    of_sum = equal_means_divergence(of_a, of_b, of_change)
    sizes = equal_means_divergence(a, b).sum(-1) - of_sum.squeeze(-1)
    sizes = sizes + (-sizes.detach()).clamp(min=0.0)  # what rounding made negative
    return (probabilities + sizes).to(p.concentration.dtype)


@verb
def support(concentration: Real) -> Constraint:
    """Return the support as a constraint: the simplex.

    >>> support(torch.ones(2)).check(torch.tensor([[0.5, 0.5], [0.5, 0.6]]))
    tensor([ True, False])
    """
    _wide(concentration)
    return constraints.simplex


# ------------------------------------------------------------------------------------------------- logarithms of draws
@verb
def rsample_log(key: Source, concentration: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Draw the logarithm of the vector that `rsample` draws, differentiable; it has its digits where that underflows.

    >>> rsample_log(random.key(42), torch.full((3,), 1e-3))
    tensor([ -477.0984, -2601.7688,    -0.0000])
    """
    return _draw(key, sample_shape, concentration).to(concentration.dtype)


sample_log = verb.mapped(
    rsample_log,
    Tensor.detach,
    """Draw the logarithm of the vector that `sample` draws, detached from the graph.

    >>> sample_log(random.key(42), torch.full((3,), 1e-3))
    tensor([ -477.0984, -2601.7688,    -0.0000])
    """,
    "sample_log",
)


@verb
def rsample_log_and_log_prob(key: Source, concentration: Real, *, sample_shape: Shape = ()) -> tuple[Tensor, Tensor]:
    """Draw what `rsample_log` draws, with its log-density: that of `log_prob_log`, from the noise.

    >>> rsample_log_and_log_prob(random.key(42), torch.full((3,), 1e-3))[1]
    tensor(-17.9930)
    """
    log_value = _draw(key, sample_shape, concentration)
    score = _log_density(concentration.double(), log_value, of_log=True)
    return log_value.to(concentration.dtype), score.to(concentration.dtype)


@verb
def sample_log_and_log_prob(key: Source, concentration: Real, *, sample_shape: Shape = ()) -> tuple[Tensor, Tensor]:
    """Draw what `sample_log` draws, with its log-density, which has the score-function gradient.

    >>> sample_log_and_log_prob(random.key(42), torch.full((3,), 1e-3))[1]
    tensor(-17.9930)
    """
    log_value = _draw(key, sample_shape, concentration).detach()
    score = _log_density(concentration.double(), log_value, of_log=True)
    return log_value.to(concentration.dtype), score.to(concentration.dtype)


@verb
def log_prob_log(concentration: Real, value: Vector) -> Tensor:
    """Return the log-density of the ratios log(x_i / x_N) at log x = value, also where x underflows.

    It is log_prob(exp(value)) + sum(value), the same for each order of the entries.

    >>> log_prob_log(torch.full((2,), 1e-3), torch.tensor([[-500.0, 0.0], [0.5, 0.5]]).log_softmax(-1))
    tensor([-8.1009, -7.6023])
    """
    a, log_value = _wide(concentration), value.double()
    log_total = log_value.logsumexp(-1, keepdim=True).detach()
    is_outside = log_value.isinf().any(-1, keepdim=True) | (log_total.abs() > _TOLERANCE)
    inner = torch.where(is_outside, 0.0, log_value)
    inside = _log_density(a, inner - inner.logsumexp(-1, keepdim=True), of_log=True)
    found = torch.where(is_outside.squeeze(-1), -math.inf, inside)
    return nan_of(found, row_is_nan(log_value, a)).to(concentration.dtype)


# ------------------------------------------------------------------------------------------------------------ moments
@verb(confine=_inside)
def mean(concentration: Real) -> Tensor:
    """Return the mean, a_i / A.

    >>> mean(torch.tensor([1.0, 2.0, 3.0]))
    tensor([0.1667, 0.3333, 0.5000])
    """
    a = _wide(concentration)
    return (a / a.sum(-1, keepdim=True)).to(concentration.dtype)


@verb(confine=_inside)
def deterministic(concentration: Real) -> Tensor:
    """Return the action of a policy that does not explore: the mean, since the mode may lie on the border.

    >>> deterministic(torch.tensor([1.0, 2.0, 3.0]))
    tensor([0.1667, 0.3333, 0.5000])
    """
    return mean(concentration)


@verb
def variance(concentration: Real) -> Tensor:
    """Return the variance of each entry, a_i (A - a_i) / (A^2 (A + 1)).

    >>> variance(torch.tensor([1.0, 2.0, 3.0]))
    tensor([0.0198, 0.0317, 0.0357])
    """
    a = _wide(concentration)
    total, is_top = a.sum(-1, keepdim=True), _is_top(a.detach())
    rest = torch.where(is_top, torch.where(is_top, 0.0, a).sum(-1, keepdim=True), total - a)
    return (a / total * (rest / total) / (total + 1)).to(concentration.dtype)


stddev = verb.stddev(variance)


@verb(confine=_inside)
def mode(concentration: Real) -> Tensor:
    """Return the mode, (a_i - 1) / (A - N) where all concentrations exceed 1.

    The density of others has its supremum on the border. An entry whose concentration does not exceed 1 is then the
    smallest normal number, and the others are as if it were not there. Without any others, all is given to the first
    entry of the largest concentration.

    >>> mode(torch.tensor([[3.0, 2.0, 2.0], [3.0, 2.0, 1.0], [0.1, 0.9, 0.5]])).round(decimals=4)
    tensor([[0.5000, 0.2500, 0.2500],
            [0.6667, 0.3333, 0.0000],
            [0.0000, 1.0000, 0.0000]])
    """
    a = _wide(concentration)
    excess = (a - 1).clamp(min=0.0)
    total = excess.sum(-1, keepdim=True)
    is_none = total == 0
    inside = excess / torch.where(is_none, 1.0, total)
    return _inside(torch.where(is_none, _is_top(a.detach()).double(), inside).to(concentration.dtype))
