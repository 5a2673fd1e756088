"""Logit-normal distribution of every element on (0, 1): `transformed(normal, bijectors.sigmoid)`.

The logit of a value has the mean `loc` and the standard deviation `scale`. It is a tanh-normal of half of both between
0 and 1, because 1 / (1 + exp(-x)) = (1 + tanh(x / 2)) / 2. So the moments, the mode and the entropy are those of
`tanh_normal`, with its quadratures.
"""

from typing import NamedTuple

import torch  # noqa: F401 (for the examples)
from torch import Tensor

import functional_dists.random as random  # noqa: F401 (for the examples)
from functional_dists.bijectors import sigmoid
from functional_dists.bijectors.sigmoid import inside
from functional_dists.combinators.transforms import transformed
from functional_dists.continuous import normal, tanh_normal
from functional_dists.family import Real, define
from functional_dists.special.constant import scalar


class Params(NamedTuple):
    """Parameters of a logit-normal distribution, which broadcast against each other.

    loc: The mean of the logit, of shape (*batch, *event).
    scale: The standard deviation of the logit, positive, of shape (*batch, *event).
    """

    loc: Real
    scale: Real


def _as_tanh_normal(loc: Tensor, scale: Tensor) -> tanh_normal.Params:
    return tanh_normal.Params(0.5 * loc, 0.5 * scale, scalar(0.0, loc), scalar(1.0, loc))


verb = define(Params)
_moved = transformed(normal, sigmoid)
_of_moved = verb.through(_moved.Params)
_of_normal = verb.through(normal.Params)
_of_tanh_normal = verb.through(_as_tanh_normal)

check = _of_normal(normal.check)

# -------------------------------------------------------------------------------------------------------------- draws
sample = _of_moved(
    _moved.sample,
    confine=inside,
    doc="""Draw a value of shape (*sample_shape, *batch, *event) inside (0, 1), detached from the graph.

    >>> sample(random.key(42), torch.zeros(2), 1.0)
    tensor([0.2748, 0.5484])
    """,
)
rsample = _of_moved(
    _moved.rsample,
    confine=inside,
    doc="""Draw what `sample` draws, differentiable with respect to `loc` and `scale`.

    >>> rsample(random.key(42), torch.zeros(2), 1.0)
    tensor([0.2748, 0.5484])
    """,
)
sample_and_log_prob = _of_moved(
    _moved.sample_and_log_prob,
    confine=inside,
    doc="""Draw what `sample` draws, with its log-density; only the log-density has a gradient, the score-function one.

    >>> value, log_prob = sample_and_log_prob(random.key(42), torch.zeros(2), 1.0)
    >>> log_prob
    tensor([0.2234, 0.4579])
    """,
)
rsample_and_log_prob = _of_moved(
    _moved.rsample_and_log_prob,
    confine=inside,
    doc="""Draw what `rsample` draws, with its log-density from the same noise.

    >>> value, log_prob = rsample_and_log_prob(random.key(42), torch.zeros(2), 1.0)
    >>> log_prob
    tensor([0.2234, 0.4579])
    """,
)
sample_pre = _of_moved(
    _moved.sample_pre,
    doc="""Draw the logit of what `sample` draws, detached from the graph; store it if you need the density later.

    >>> sample_pre(random.key(42), torch.zeros(2), 1.0)
    tensor([-0.9702,  0.1940])
    """,
)

# ------------------------------------------------------------------------------------------------------------ density
log_prob = _of_moved(
    _moved.log_prob,
    doc="""Return the log-density at `value`; -inf, with no gradient, at the bounds and beyond.

    >>> log_prob(torch.zeros(2), 1.0, torch.tensor([0.5, 1.0]))
    tensor([0.4674,   -inf])
    """,
)
log_prob_pre = _of_moved(
    _moved.log_prob_pre,
    doc="""Return the log-density at the value with the logit `pre`, exact even where that value rounds to a bound.

    >>> log_prob_pre(torch.zeros(2), 1.0, torch.tensor([0.0, 100.0]))
    tensor([ 4.6736e-01, -4.9009e+03])
    """,
)
support = _of_moved(
    _moved.support,
    doc="""Return the support as a constraint: the open interval (0, 1).

    >>> support(torch.zeros(2), 1.0).check(torch.tensor([0.5, 1.0]))
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
    """Return the differential entropy in nats, by the quadrature of `tanh_normal.entropy`.

    >>> entropy(torch.zeros(2), 1.0)
    tensor([-0.1932, -0.1932])
    """
    return tanh_normal.entropy(*_as_tanh_normal(loc, scale), event_dims=event_dims)


# ------------------------------------------------------------------------------------------------------- distribution
cdf = _of_moved(
    _moved.cdf,
    doc="""Return P(X <= value), elementwise.

    >>> cdf(torch.zeros(2), 1.0, torch.tensor([0.5, 1e-5]))
    tensor([5.0000e-01, 5.6786e-31])
    """,
)
log_cdf = _of_moved(
    _moved.log_cdf,
    doc="""Return log P(X <= value), elementwise; finite where the cdf underflows.

    >>> log_cdf(torch.zeros(2), 1.0, torch.tensor([0.5, 1e-30]))
    tensor([-6.9315e-01, -2.3910e+03])
    """,
)
survival = _of_moved(
    _moved.survival,
    doc="""Return P(X > value), elementwise.

    >>> survival(torch.zeros(2), 1.0, torch.tensor([0.5, 0.999]))
    tensor([5.0000e-01, 2.4791e-12])
    """,
)
log_survival = _of_moved(
    _moved.log_survival,
    doc="""Return log P(X > value), elementwise; finite where the survival underflows.

    >>> log_survival(torch.zeros(2), 0.1, torch.tensor([0.5, 0.999]))
    tensor([-6.9315e-01, -2.3903e+03])
    """,
)
icdf = _of_moved(
    _moved.icdf,
    confine=inside,
    doc="""Return the quantile of the probability `value`, elementwise; NaN outside [0, 1].

    >>> icdf(torch.zeros(2), 1.0, torch.tensor([0.5, 0.975]))
    tensor([0.5000, 0.8765])
    """,
)
median = _of_moved(
    _moved.median,
    confine=inside,
    doc="""Return the median, sigmoid(loc), elementwise.

    >>> median(torch.zeros(2), 1.0)
    tensor([0.5000, 0.5000])
    """,
)
deterministic = _of_moved(
    _moved.deterministic,
    confine=inside,
    doc="""Return the action of a policy that does not explore: sigmoid(loc), the median.

    >>> deterministic(torch.zeros(2), 1.0)
    tensor([0.5000, 0.5000])
    """,
)

# ------------------------------------------------------------------------------------------------------------ moments
mean = _of_tanh_normal(
    tanh_normal.mean,
    confine=inside,
    doc="""Return the mean, elementwise, by the quadrature of `tanh_normal.mean`.

    >>> mean(torch.tensor([0.0, 1.0]), 1.0)
    tensor([0.5000, 0.6967])
    """,
)
mode = _of_tanh_normal(
    tanh_normal.mode,
    confine=inside,
    doc="""Return the value of largest density; of two equal peaks (loc = 0, scale large) the upper one.

    >>> mode(torch.tensor([0.0, 1.0]), 1.0)
    tensor([0.5000, 0.8439])
    """,
)
variance = _of_tanh_normal(
    tanh_normal.variance,
    doc="""Return the variance, elementwise, by the quadrature of the mean.

    >>> variance(torch.zeros(2), 1.0)
    tensor([0.0434, 0.0434])
    """,
)
stddev = _of_tanh_normal(
    tanh_normal.stddev,
    doc="""Return the standard deviation, elementwise, the root of the variance.

    >>> stddev(torch.zeros(2), 1.0)
    tensor([0.2083, 0.2083])
    """,
)
