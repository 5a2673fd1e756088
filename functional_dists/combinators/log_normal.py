"""Log-normal distribution of every element: `transformed(normal, bijectors.exp)`, with its moments in closed form.

The logarithm of a value has the mean `loc` and the standard deviation `scale`. See Johnson, Kotz & Balakrishnan,
"Continuous univariate distributions" (1994), chapter 14.
"""

from typing import NamedTuple

import torch
from torch import Tensor

import functional_dists.random as random  # noqa: F401 (for the examples)
from functional_dists.bijectors import exp
from functional_dists.combinators.transforms import transformed
from functional_dists.continuous import normal
from functional_dists.family import Real, define, sum_event
from functional_dists.special import HALF_LOG_2PI, expm1


class Params(NamedTuple):
    """Parameters of a log-normal distribution, which broadcast against each other.

    loc: The mean of the logarithm, of shape (*batch, *event).
    scale: The standard deviation of the logarithm, positive, of shape (*batch, *event).
    """

    loc: Real
    scale: Real


verb = define(Params)
_moved = transformed(normal, exp)
_of_moved = verb.through(_moved.Params)
_of_normal = verb.through(normal.Params)

check = _of_normal(normal.check)

# -------------------------------------------------------------------------------------------------------------- draws
sample = _of_moved(
    _moved.sample,
    doc="""Draw a value of shape (*sample_shape, *batch, *event), detached from the graph.

    >>> sample(random.key(42), torch.zeros(2), 1.0)
    tensor([0.3790, 1.2141])
    """,
)
rsample = _of_moved(
    _moved.rsample,
    doc="""Draw what `sample` draws, differentiable with respect to `loc` and `scale`.

    >>> rsample(random.key(42), torch.zeros(2), 1.0)
    tensor([0.3790, 1.2141])
    """,
)
sample_and_log_prob = _of_moved(
    _moved.sample_and_log_prob,
    doc="""Draw what `sample` draws, with its log-density; only the log-density has a gradient, the score-function one.

    >>> value, log_prob = sample_and_log_prob(random.key(42), torch.zeros(2), 1.0)
    >>> log_prob
    tensor([-0.4194, -1.1318])
    """,
)
rsample_and_log_prob = _of_moved(
    _moved.rsample_and_log_prob,
    doc="""Draw what `rsample` draws, with its log-density from the same noise.

    >>> value, log_prob = rsample_and_log_prob(random.key(42), torch.zeros(2), 1.0)
    >>> log_prob
    tensor([-0.4194, -1.1318])
    """,
)
sample_pre = _of_moved(
    _moved.sample_pre,
    doc="""Draw the logarithm of what `sample` draws, detached from the graph.

    >>> sample_pre(random.key(42), torch.zeros(2), 1.0)
    tensor([-0.9702,  0.1940])
    """,
)

# ------------------------------------------------------------------------------------------------------------ density
log_prob = _of_moved(
    _moved.log_prob,
    doc="""Return the log-density at `value`; -inf, with no gradient, at 0 and below.

    >>> log_prob(torch.zeros(2), 1.0, torch.tensor([1.0, 0.0]))
    tensor([-0.9189,    -inf])
    """,
)
log_prob_pre = _of_moved(
    _moved.log_prob_pre,
    doc="""Return the log-density of exp(pre), exact even where that value underflows.

    >>> log_prob_pre(torch.zeros(2), 1.0, torch.tensor([0.0, -200.0]))
    tensor([-9.1894e-01, -1.9801e+04])
    """,
)
support = _of_moved(
    _moved.support,
    doc="""Return the support as a constraint: the positive numbers.

    >>> support(torch.zeros(2), 1.0).check(torch.tensor([1.0, 0.0]))
    tensor([ True, False])
    """,
)
kl = _of_normal(
    normal.kl,
    doc="""Return the Kullback-Leibler divergence KL(p || q) in nats, that of the normals.

    >>> kl(Params(torch.zeros(2), 1.0), Params(1.0, 1.0))
    tensor([0.5000, 0.5000])
    """,
)


@verb
def entropy(loc: Real, scale: Real, *, event_dims: int = 0) -> Tensor:
    """Return the differential entropy in nats, loc + 1/2 log(2 pi e scale^2).

    >>> entropy(torch.tensor([0.0, 2.0]), 1.0)
    tensor([1.4189, 3.4189])
    """
    return sum_event(loc.double() + (0.5 + HALF_LOG_2PI) + scale.double().log(), event_dims).to(loc.dtype)


# ------------------------------------------------------------------------------------------------------- distribution
cdf = _of_moved(
    _moved.cdf,
    doc="""Return P(X <= value), elementwise.

    >>> cdf(torch.zeros(2), 1.0, torch.tensor([1.0, 1e-5]))
    tensor([5.0000e-01, 5.6780e-31])
    """,
)
log_cdf = _of_moved(
    _moved.log_cdf,
    doc="""Return log P(X <= value), elementwise; finite where the cdf underflows.

    >>> log_cdf(torch.zeros(2), 1.0, torch.tensor([1.0, 1e-30]))
    tensor([-6.9315e-01, -2.3910e+03])
    """,
)
survival = _of_moved(
    _moved.survival,
    doc="""Return P(X > value), elementwise.

    >>> survival(torch.zeros(2), 1.0, torch.tensor([1.0, 1e5]))
    tensor([5.0000e-01, 5.6780e-31])
    """,
)
log_survival = _of_moved(
    _moved.log_survival,
    doc="""Return log P(X > value), elementwise; finite where the survival underflows.

    >>> log_survival(torch.zeros(2), 1.0, torch.tensor([1.0, 1e30]))
    tensor([-6.9315e-01, -2.3910e+03])
    """,
)
icdf = _of_moved(
    _moved.icdf,
    doc="""Return the quantile of the probability `value`, elementwise; NaN outside [0, 1].

    >>> icdf(torch.zeros(2), 1.0, torch.tensor([0.5, 0.975]))
    tensor([1.0000, 7.0991])
    """,
)
median = _of_moved(
    _moved.median,
    doc="""Return the median, exp(loc), elementwise.

    >>> median(torch.zeros(2), 1.0)
    tensor([1., 1.])
    """,
)
deterministic = _of_moved(
    _moved.deterministic,
    doc="""Return the action of a policy that does not explore: exp(loc), the median.

    >>> deterministic(torch.zeros(2), 1.0)
    tensor([1., 1.])
    """,
)


# ------------------------------------------------------------------------------------------------------------ moments
@verb
def mean(loc: Real, scale: Real) -> Tensor:
    """Return the mean, exp(loc + scale^2 / 2), elementwise.

    >>> mean(torch.zeros(2), 1.0)
    tensor([1.6487, 1.6487])
    """
    return torch.exp(loc.double() + 0.5 * scale.double().square()).to(loc.dtype)


@verb
def mode(loc: Real, scale: Real) -> Tensor:
    """Return the mode, exp(loc - scale^2), elementwise.

    >>> mode(torch.zeros(2), 1.0)
    tensor([0.3679, 0.3679])
    """
    return torch.exp(loc.double() - scale.double().square()).to(loc.dtype)


@verb
def variance(loc: Real, scale: Real) -> Tensor:
    """Return the variance, exp(2 loc + scale^2) (exp(scale^2) - 1), elementwise.

    >>> variance(torch.zeros(2), 1.0)
    tensor([4.6708, 4.6708])
    """
    square = scale.double().square()
    return (torch.exp(2 * loc.double() + square) * expm1(square)).to(loc.dtype)


@verb
def stddev(loc: Real, scale: Real) -> Tensor:
    """Return the standard deviation, elementwise, the root of the variance.

    >>> stddev(torch.zeros(2), 1.0)
    tensor([2.1612, 2.1612])
    """
    square = scale.double().square()
    return (torch.exp(loc.double() + 0.5 * square) * expm1(square).sqrt()).to(loc.dtype)
