"""Normal distribution of vectors, with the covariance W W^T + diag(d) of few factors.

A factor W of K columns needs matrices of size K alone. The determinant of the covariance is that of
C = I + W^T diag(d)^-1 W times the product of d (the matrix determinant lemma). With y = C^-1 W^T (x / d) the quadratic
form x^T Sigma^-1 x is |x - W y|^2 weighted by 1 / d, plus |y|^2. Unlike the difference of Woodbury's formula, no term
of that sum is negative.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

import functional_dists.random as random
from functional_dists.family import Matrix, Real, Vector, define, require
from functional_dists.random import Shape, Source
from functional_dists.special import HALF_LOG_2PI, nan_of, row_is_nan
from functional_dists.special.matrices import diagonal_of, product, solution


class Params(NamedTuple):
    """Parameters of a normal distribution of vectors, whose batches broadcast against each other.

    loc: The mean, of shape (*batch, N).
    factor: The factor W of the covariance, of shape (*batch, N, K).
    diagonal: What the diagonal of the covariance has in addition, positive, of shape (*batch, N).
    value: Vectors, of shape (*sample, *batch, N): they may add leading axes to the batch.
    sample: Vectors of shape (*sample_shape, *batch, N), in the parameters' dtype.
    """

    loc: Real
    factor: Matrix
    diagonal: Real


verb = define(Params)


@verb
def check(loc: Real, factor: Matrix, diagonal: Real) -> None:
    """Raise a ValueError that names the parameter and the first bad position, in eager code only.

    >>> check(torch.zeros(2), torch.ones(2, 1), torch.tensor([1.0, 0.0]))
    Traceback (most recent call last):
    ...
    ValueError: diagonal must be positive and finite; this fails at position (1,)
    """
    loc, factor, diagonal = _matched(loc, factor, diagonal)
    require(loc.isfinite(), "loc", "must be finite")
    require(factor.isfinite(), "factor", "must be finite")
    require((diagonal > 0) & diagonal.isfinite(), "diagonal", "must be positive and finite")


def _matched(loc: Tensor, factor: Tensor, diagonal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the parameters with one number of elements, and the factor and the diagonal of one batch."""
    if factor.ndim < 2:
        raise ValueError(f"low_rank_normal: factor must be a matrix of shape (*batch, N, K), got {tuple(factor.shape)}")
    shape = torch.broadcast_shapes(factor.shape[:-1], diagonal.shape)
    size = torch.broadcast_shapes(shape, loc.shape)[-1]
    shape = torch.Size((*shape[:-1], size))
    return loc.expand(*loc.shape[:-1], size), factor.expand(*shape, factor.shape[-1]), diagonal.expand(shape)


class _Covariance(NamedTuple):
    """A covariance in float64."""

    factor: Tensor
    diagonal: Tensor
    lower: Tensor  # (*B, K, K): the Cholesky factor of C

    def log_density(self, x: Tensor) -> Tensor:
        """Return the log-density of vectors with mean 0."""
        # A size is a tensor for `jit.trace`, and its product with a number would be float32.
        return -0.5 * self.square(x) - self.half_log_det() - HALF_LOG_2PI * int(x.shape[-1])

    def square(self, x: Tensor) -> Tensor:
        """Return the quadratic form of the inverse."""
        y = solution(self.lower, product(self.factor.mT, x / self.diagonal))
        y = solution(self.lower, y, transposed=True)
        rest = x - product(self.factor, y)
        return (rest * rest / self.diagonal).sum(-1) + (y * y).sum(-1)

    def half_log_det(self) -> Tensor:
        """Return half the logarithm of the determinant."""
        return diagonal_of(self.lower).log().sum(-1) + 0.5 * self.diagonal.log().sum(-1)


def _covariance(factor: Tensor, diagonal: Tensor) -> _Covariance:
    factor, diagonal = factor.double(), diagonal.double()
    one = torch.eye(factor.shape[-1], dtype=torch.float64, device=factor.device)
    # `cholesky` would raise an error for a NaN.
    lower, _ = torch.linalg.cholesky_ex(one + factor.mT @ (factor / diagonal[..., None]))
    return _Covariance(factor, diagonal, lower)


# -------------------------------------------------------------------------------------------------------------- draws
@verb
def rsample(key: Source, loc: Real, factor: Matrix, diagonal: Real, *, sample_shape: Shape = ()) -> Tensor:
    """Draw a vector, loc + W e + sqrt(d) e' for independent normal e and e', differentiable by all parameters.

    >>> rsample(random.key(42), torch.zeros(2), torch.ones(2, 1), torch.ones(2))
    tensor([-0.7762, -2.2058])
    """
    loc, factor, diagonal = _matched(loc, factor, diagonal)
    return loc + _centred(_noise(key, sample_shape, loc, factor), factor, diagonal)


sample = verb.sample(rsample)


@verb
def sample_and_log_prob(
    key: Source, loc: Real, factor: Matrix, diagonal: Real, *, sample_shape: Shape = ()
) -> tuple[Tensor, Tensor]:
    """Draw what `sample` draws, with its log-density; only the log-density has a gradient, the score-function one.

    >>> sample_and_log_prob(random.key(42), torch.zeros(2), torch.ones(2, 1), torch.ones(2))[1]
    tensor(-3.6392)
    """
    loc, factor, diagonal = _matched(loc, factor, diagonal)
    noise, covariance = _noise(key, sample_shape, loc, factor), _covariance(factor, diagonal)
    value = (loc + _centred(noise, factor, diagonal)).detach()
    centred = _centred(noise.double(), covariance.factor, covariance.diagonal).detach()
    score = covariance.log_density(centred + (loc.detach() - loc).double()).to(loc.dtype)
    return value, nan_of(score, row_is_nan(loc, factor.flatten(-2), diagonal))


@verb
def rsample_and_log_prob(
    key: Source, loc: Real, factor: Matrix, diagonal: Real, *, sample_shape: Shape = ()
) -> tuple[Tensor, Tensor]:
    """Draw what `rsample` draws, with its log-density from the same noise.

    >>> rsample_and_log_prob(random.key(42), torch.zeros(2), torch.ones(2, 1), torch.ones(2))[1]
    tensor(-3.6392)
    """
    loc, factor, diagonal = _matched(loc, factor, diagonal)
    noise, covariance = _noise(key, sample_shape, loc, factor), _covariance(factor, diagonal)
    score = covariance.log_density(_centred(noise.double(), covariance.factor, covariance.diagonal)).to(loc.dtype)
    score = nan_of(score, row_is_nan(loc, factor.flatten(-2), diagonal))
    return loc + _centred(noise, factor, diagonal), score


def _noise(key: Source, sample_shape: Shape, loc: Tensor, factor: Tensor) -> Tensor:
    *batch, size = torch.broadcast_shapes(loc.shape, factor.shape[:-1])
    event = (factor.shape[-1] + size,)
    return random.draw_entries(random.normal, key, sample_shape, batch, event, dtype=loc.dtype, device=loc.device)


def _centred(noise: Tensor, factor: Tensor, diagonal: Tensor) -> Tensor:
    """Return the vector of the noise, less its mean; the first K numbers are those of the factors."""
    rank = factor.shape[-1]
    return product(factor, noise[..., :rank]) + diagonal.sqrt() * noise[..., rank:]


# ------------------------------------------------------------------------------------------------------------ density
@verb
def log_prob(loc: Real, factor: Matrix, diagonal: Real, value: Vector) -> Tensor:
    """Return the log-density of a vector; -inf, with no gradient, where an element is infinite.

    >>> log_prob(torch.zeros(2), torch.ones(2, 1), torch.ones(2), torch.tensor([0.0, 1.0]))
    tensor(-2.7205)
    """
    loc, factor, diagonal = _matched(loc, factor, diagonal)
    is_infinite = value.isinf()
    offset = torch.where(is_infinite, 0.0, value).double() - loc.double()
    is_outside = is_infinite.any(-1)
    density = _covariance(factor, diagonal).log_density(torch.where(is_outside[..., None], 0.0, offset))
    inside = torch.where(is_outside, -torch.inf, density).to(loc.dtype)
    return nan_of(inside, row_is_nan(value, loc, factor.flatten(-2), diagonal))


@verb
def entropy(loc: Real, factor: Matrix, diagonal: Real) -> Tensor:
    """Return the differential entropy in nats.

    >>> entropy(torch.zeros(2), torch.ones(2, 1), torch.ones(2))
    tensor(3.3872)
    """
    loc, factor, diagonal = _matched(loc, factor, diagonal)
    found = _covariance(factor, diagonal).half_log_det() + (0.5 + HALF_LOG_2PI) * int(loc.shape[-1])
    return nan_of(found.to(loc.dtype), row_is_nan(loc, factor.flatten(-2), diagonal))


@verb
def kl(p: Params, q: Params) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) in nats.

    It is a difference of traces and determinants, in float64: its absolute error is some units in the last place of N.

    >>> half = torch.full((2,), 0.5)
    >>> kl(Params(torch.zeros(2), torch.ones(2, 1), half), Params(torch.zeros(2), torch.ones(2, 1), torch.ones(2)))
    tensor(0.1044)
    """
    (p_loc, p_factor, p_diagonal), (q_loc, q_factor, q_diagonal) = _matched(*p), _matched(*q)
    of_p, of_q = _covariance(p_factor, p_diagonal), _covariance(q_factor, q_diagonal)
    shift = of_q.square(p_loc.double() - q_loc.double())
    batch = torch.broadcast_shapes(p_diagonal.shape, q_diagonal.shape)
    columns = of_p.factor.expand(*batch, p_factor.shape[-1]).movedim(-1, 0)
    rows = solution(of_q.lower, of_q.factor.movedim(-2, 0))
    share = rows.square().sum(-1).movedim(0, -1) / of_q.diagonal  # of the factors in the variance of q, in the inverse
    trace = of_q.square(columns).sum(0) + (of_p.diagonal / of_q.diagonal * (1 - share)).sum(-1)
    log_ratio = of_q.half_log_det() - of_p.half_log_det()
    found = (log_ratio + 0.5 * (trace + shift - p_loc.shape[-1])).to(p_loc.dtype)
    tables = (p_loc, p_factor.flatten(-2), p_diagonal, q_loc, q_factor.flatten(-2), q_diagonal)
    return nan_of(found, row_is_nan(*tables))


@verb
def support(loc: Real, factor: Matrix, diagonal: Real) -> Constraint:
    """Return the support as a constraint: the vectors of real numbers.

    >>> support(torch.zeros(2), torch.ones(2, 1), torch.ones(2)).check(torch.tensor([0.0, torch.nan]))
    tensor(False)
    """
    return constraints.real_vector


# ------------------------------------------------------------------------------------------------------------ moments
@verb
def mean(loc: Real, factor: Matrix, diagonal: Real) -> Tensor:
    """Return the mean.

    >>> mean(torch.zeros(2), torch.ones(2, 1), torch.ones(2))
    tensor([0., 0.])
    """
    loc, factor, diagonal = _matched(loc, factor, diagonal)
    return nan_of(loc, row_is_nan(factor), diagonal)


mode = deterministic = mean


@verb
def variance(loc: Real, factor: Matrix, diagonal: Real) -> Tensor:
    """Return the variance of each element, the diagonal of the covariance.

    >>> variance(torch.zeros(2), torch.ones(2, 1), torch.ones(2))
    tensor([2., 2.])
    """
    loc, factor, diagonal = _matched(loc, factor, diagonal)
    return nan_of(factor.square().sum(-1) + diagonal, loc)


stddev = verb.stddev(variance)
