"""Chi-squared distribution of every element: `gamma` of the concentration df / 2 and the rate 1 / 2.

See Johnson, Kotz & Balakrishnan, "Continuous univariate distributions" (1994), chapter 18.
"""

from typing import NamedTuple

import torch  # noqa: F401 (for the examples)
from torch import Tensor

import functional_dists.random as random  # noqa: F401 (for the examples)
from functional_dists.continuous import gamma
from functional_dists.family import Real, define, require
from functional_dists.special.constant import scalar
from functional_dists.special.positive import positive_normal


class Params(NamedTuple):
    """The parameter of a chi-squared distribution.

    df: The degrees of freedom, positive, of shape (*batch, *event).
    """

    df: Real


def _as_gamma(df: Tensor) -> gamma.Params:
    return gamma.Params(0.5 * df, scalar(0.5, df))


verb = define(Params)
_of_gamma = verb.through(_as_gamma)


@verb
def check(df: Real) -> None:
    """Raise a ValueError that names the first bad position, in eager code only.

    >>> check(torch.tensor([1.0, 0.0]))
    Traceback (most recent call last):
    ...
    ValueError: df must be positive and finite; this fails at position (1,)
    """
    require((df > 0) & df.isfinite(), "df", "must be positive and finite")


# ---------------------------------------------------------------------------------------------------------------- draws
sample = _of_gamma(
    gamma.sample,
    confine=positive_normal,
    doc="""Draw a value of shape (*sample_shape, *batch, *event), detached from the graph.

    >>> sample(random.key(42), torch.full((2,), 4.0))
    tensor([4.1427, 0.8845])
    """,
)
rsample = _of_gamma(
    gamma.rsample,
    confine=positive_normal,
    doc="""Draw what `sample` draws, differentiable with respect to `df`.

    >>> rsample(random.key(42), torch.full((2,), 4.0))
    tensor([4.1427, 0.8845])
    """,
)
sample_and_log_prob = _of_gamma(
    gamma.sample_and_log_prob,
    confine=positive_normal,
    doc="""Draw what `sample` draws, with its log-density; only the log-density has a gradient, the score-function one.

    >>> sample_and_log_prob(random.key(42), torch.full((2,), 4.0))[1]
    tensor([-2.0363, -1.9513])
    """,
)
rsample_and_log_prob = _of_gamma(
    gamma.rsample_and_log_prob,
    confine=positive_normal,
    doc="""Draw what `rsample` draws, with its log-density from the same noise.

    >>> rsample_and_log_prob(random.key(42), torch.full((2,), 4.0))[1]
    tensor([-2.0363, -1.9513])
    """,
)

# -------------------------------------------------------------------------------------------------------------- density
log_prob = _of_gamma(
    gamma.log_prob,
    doc="""Return the log-density at `value`; -inf, with no gradient, below 0, and its limit at 0.

    >>> log_prob(torch.full((2,), 4.0), torch.tensor([3.0, -1.0]))
    tensor([-1.7877,    -inf])
    """,
)
entropy = _of_gamma(
    gamma.entropy,
    doc="""Return the differential entropy in nats, that of the gamma distribution.

    >>> entropy(torch.tensor([2.0, 4.0]))
    tensor([1.6931, 2.2704])
    """,
)
support = _of_gamma(
    gamma.support,
    doc="""Return the support as a constraint: the positive numbers.

    >>> support(torch.ones(2)).check(torch.tensor([0.5, 0.0]))
    tensor([ True, False])
    """,
)
kl = _of_gamma(
    gamma.kl,
    doc="""Return the Kullback-Leibler divergence KL(p || q) in nats, exact where p and q are close.

    >>> kl(Params(torch.full((2,), 2.0)), Params(4.0))
    tensor([0.5772, 0.5772])
    """,
)

# -------------------------------------------------------------------------------------------------- logarithms of draws
sample_log = _of_gamma(
    gamma.sample_log,
    doc="""Draw the logarithm of the value that `sample` draws, detached from the graph.

    >>> sample_log(random.key(42), torch.full((2,), 2e-3))
    tensor([ -489.3390, -2614.0095])
    """,
)
rsample_log = _of_gamma(
    gamma.rsample_log,
    doc="""Draw the logarithm of the value that `rsample` draws, differentiable; exact where that underflows.

    >>> rsample_log(random.key(42), torch.full((2,), 2e-3))
    tensor([ -489.3390, -2614.0095])
    """,
)
sample_log_and_log_prob = _of_gamma(
    gamma.sample_log_and_log_prob,
    doc="""Draw what `sample_log` draws, with the log-density of the logarithm, which has the score-function gradient.

    >>> sample_log_and_log_prob(random.key(42), torch.full((2,), 2e-3))[1]
    tensor([-7.3972, -9.5219])
    """,
)
rsample_log_and_log_prob = _of_gamma(
    gamma.rsample_log_and_log_prob,
    doc="""Draw what `rsample_log` draws, with the log-density of the logarithm: that of `log_prob_log`, from the noise.

    >>> rsample_log_and_log_prob(random.key(42), torch.full((2,), 2e-3))[1]
    tensor([-7.3972, -9.5219])
    """,
)
log_prob_log = _of_gamma(
    gamma.log_prob_log,
    doc="""Return the log-density of log x at `value`, also where exp(value) underflows.

    >>> log_prob_log(torch.full((2,), 2e-3), torch.tensor([-500.0, -1.0]))
    tensor([-7.4079, -7.0928])
    """,
)

# --------------------------------------------------------------------------------------------------------- distribution
cdf = _of_gamma(
    gamma.cdf,
    doc="""Return P(X <= value), elementwise.

    >>> cdf(torch.full((2,), 4.0), torch.tensor([3.0, 1e-10]))
    tensor([4.4217e-01, 1.2500e-21])
    """,
)
log_cdf = _of_gamma(
    gamma.log_cdf,
    doc="""Return log P(X <= value), elementwise; finite where that underflows.

    >>> log_cdf(torch.full((2,), 4.0), torch.tensor([3.0, 1e-30]))
    tensor([  -0.8161, -140.2345])
    """,
)
survival = _of_gamma(
    gamma.survival,
    doc="""Return P(X > value), elementwise.

    >>> survival(torch.full((2,), 4.0), torch.tensor([3.0, 100.0]))
    tensor([5.5783e-01, 9.8366e-21])
    """,
)
log_survival = _of_gamma(
    gamma.log_survival,
    doc="""Return log P(X > value), elementwise; finite where the survival underflows.

    >>> log_survival(torch.full((2,), 4.0), torch.tensor([3.0, 1000.0]))
    tensor([  -0.5837, -493.7834])
    """,
)
icdf = _of_gamma(
    gamma.icdf,
    doc="""Return the quantile of the probability `value`, elementwise; 0 for 0, inf for 1, and NaN outside [0, 1].

    >>> icdf(torch.full((2,), 4.0), torch.tensor([0.5, 1e-10]))
    tensor([3.3567e+00, 2.8284e-05])
    """,
)

# -------------------------------------------------------------------------------------------------------------- moments
mean = _of_gamma(
    gamma.mean,
    doc="""Return the mean, df, elementwise.

    >>> mean(torch.tensor([1.0, 4.0]))
    tensor([1., 4.])
    """,
)
variance = _of_gamma(
    gamma.variance,
    doc="""Return the variance, 2 df, elementwise.

    >>> variance(torch.tensor([1.0, 4.0]))
    tensor([2., 8.])
    """,
)
stddev = _of_gamma(
    gamma.stddev,
    doc="""Return the standard deviation, elementwise.

    >>> stddev(torch.tensor([2.0, 8.0]))
    tensor([2., 4.])
    """,
)
median = _of_gamma(
    gamma.median,
    confine=positive_normal,
    doc="""Return the median, elementwise.

    >>> median(torch.tensor([1.0, 4.0]))
    tensor([0.4549, 3.3567])
    """,
)
mode = _of_gamma(
    gamma.mode,
    confine=positive_normal,
    doc="""Return the mode, elementwise, df - 2; the smallest normal number where that is not positive.

    >>> mode(torch.tensor([4.0, 1.0]))
    tensor([2.0000e+00, 1.1755e-38])
    """,
)
deterministic = _of_gamma(
    gamma.deterministic,
    confine=positive_normal,
    doc="""Return the action of a policy that does not explore: the median, since the mode may be the end 0.

    >>> deterministic(torch.tensor([1.0, 4.0]))
    tensor([0.4549, 3.3567])
    """,
)
