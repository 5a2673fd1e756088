"""Normal distribution of vectors, with the covariance L L^T of a lower triangular matrix L.

The log-density of x is -|z|^2 / 2 - log det L - (N / 2) log(2 pi), where L z = x - loc.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

import functional_dists.random as random
from functional_dists.family import Matrix, Real, Vector, define, require
from functional_dists.random import Shape, Source
from functional_dists.special import HALF_LOG_2PI, nan_of, normal_kl, row_is_nan
from functional_dists.special.matrices import diagonal_of, product, solution


class Params(NamedTuple):
    """Parameters of a normal distribution of vectors, whose batches broadcast against each other.

    loc: The mean, of shape (*batch, N).
    scale_tril: The lower triangular factor of the covariance, its diagonal positive, of shape (*batch, N, N); what
        lies above the diagonal is not read.
    value: Vectors, of shape (*sample, *batch, N): they may add leading axes to the batch.
    sample: Vectors of shape (*sample_shape, *batch, N), in the parameters' dtype.
    """

    loc: Real
    scale_tril: Matrix


verb = define(Params)


@verb
def check(loc: Real, scale_tril: Matrix) -> None:
    """Raise a ValueError that names the parameter and the first bad position, in eager code only.

    >>> check(torch.zeros(2), torch.tensor([[1.0, 0.0], [0.5, -1.0]]))
    Traceback (most recent call last):
    ...
    ValueError: scale_tril must have a positive diagonal; this fails at position (1,)
    """
    loc, lower = _matched(loc, scale_tril)
    require(loc.isfinite(), "loc", "must be finite")
    require(lower.isfinite(), "scale_tril", "must be finite")
    require(diagonal_of(lower) > 0, "scale_tril", "must have a positive diagonal")


def _matched(loc: Tensor, scale_tril: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean with as many elements as the matrix has rows, and the matrix, 0 above the diagonal."""
    size = scale_tril.shape[-1] if scale_tril.ndim > 1 else -1
    if scale_tril.shape[-2:] != (size, size) or loc.shape[-1:] not in ((), (1,), (size,)):
        raise ValueError(
            "multivariate_normal: scale_tril must be square, with one row for each element of loc, got loc "
            f"{tuple(loc.shape)} and scale_tril {tuple(scale_tril.shape)}"
        )
    return loc.expand(*loc.shape[:-1], size), scale_tril.tril()


# -------------------------------------------------------------------------------------------------------------- draws
@verb
def rsample(key: Source, loc: Real, scale_tril: Matrix, *, sample_shape: Shape = ()) -> Tensor:
    """Draw a vector, differentiable with respect to `loc` and `scale_tril`.

    >>> rsample(random.key(42), torch.zeros(2), torch.eye(2))
    tensor([-0.9702,  0.1940])
    """
    loc, lower = _matched(loc, scale_tril)
    return loc + product(lower, _noise(key, sample_shape, loc, lower))


sample = verb.sample(rsample)


@verb
def sample_and_log_prob(
    key: Source, loc: Real, scale_tril: Matrix, *, sample_shape: Shape = ()
) -> tuple[Tensor, Tensor]:
    """Draw what `sample` draws, with its log-density; only the log-density has a gradient, the score-function one.

    >>> sample_and_log_prob(random.key(42), torch.zeros(2), torch.eye(2))
    (tensor([-0.9702,  0.1940]), tensor(-2.3273))
    """
    loc, lower = _matched(loc, scale_tril)
    noise = _noise(key, sample_shape, loc, lower)
    value = (loc + product(lower, noise)).detach()
    wide_loc, wide, noise = loc.double(), lower.double(), noise.double()
    # 0, with the derivatives of the noise that belongs to a constant value
    change = (wide_loc.detach() - wide_loc) + (product(wide.detach(), noise) - product(wide, noise))
    return value, _log_density(noise + solution(wide, change), wide).to(loc.dtype)


@verb
def rsample_and_log_prob(
    key: Source, loc: Real, scale_tril: Matrix, *, sample_shape: Shape = ()
) -> tuple[Tensor, Tensor]:
    """Draw what `rsample` draws, with its log-density from the same noise.

    >>> rsample_and_log_prob(random.key(42), torch.zeros(2), torch.eye(2))
    (tensor([-0.9702,  0.1940]), tensor(-2.3273))
    """
    loc, lower = _matched(loc, scale_tril)
    noise = _noise(key, sample_shape, loc, lower)
    log_prob = nan_of(_log_density(noise.double(), lower.double()).to(loc.dtype), row_is_nan(loc, lower.flatten(-2)))
    return loc + product(lower, noise), log_prob


def _noise(key: Source, sample_shape: Shape, loc: Tensor, lower: Tensor) -> Tensor:
    *batch, size = torch.broadcast_shapes(loc.shape, lower.shape[:-1])
    return random.draw_entries(random.normal, key, sample_shape, batch, (size,), dtype=loc.dtype, device=loc.device)


def _log_density(noise: Tensor, lower: Tensor) -> Tensor:
    """Return the log-density of loc + L noise."""
    log_scale = diagonal_of(lower).log()
    return (-0.5 * noise * noise - HALF_LOG_2PI - log_scale).sum(-1)


# ------------------------------------------------------------------------------------------------------------ density
@verb
def log_prob(loc: Real, scale_tril: Matrix, value: Vector) -> Tensor:
    """Return the log-density of a vector; -inf, with no gradient, where an element is infinite.

    >>> log_prob(torch.zeros(2), torch.eye(2), torch.tensor([0.0, 1.0]))
    tensor(-2.3379)
    """
    loc, lower = _matched(loc, scale_tril)
    wide, is_infinite = lower.double(), value.isinf()
    offset = torch.where(is_infinite, 0.0, value).double() - loc.double()
    is_outside = is_infinite.any(-1)
    density = _log_density(solution(wide, torch.where(is_outside[..., None], 0.0, offset)), wide)
    inside = torch.where(is_outside, -torch.inf, density).to(loc.dtype)
    return nan_of(inside, row_is_nan(value, loc, lower.flatten(-2)))


@verb
def entropy(loc: Real, scale_tril: Matrix) -> Tensor:
    """Return the differential entropy in nats, log det L + (N / 2) log(2 pi e).

    >>> entropy(torch.zeros(2), torch.eye(2))
    tensor(2.8379)
    """
    loc, lower = _matched(loc, scale_tril)
    found = (0.5 + HALF_LOG_2PI + diagonal_of(lower).double().log()).sum(-1).to(loc.dtype)
    return nan_of(found, row_is_nan(loc, lower.flatten(-2)))


@verb
def kl(p: Params, q: Params) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p || q) in nats, a sum in which no term is negative.

    With M = L_q^-1 L_p it is half the sum of squares of M below the diagonal and of L_q^-1 (loc_p - loc_q), plus the
    divergences of the normals whose scales are the diagonals. What lies below the diagonal is computed from L_p - L_q.

    >>> kl(Params(torch.zeros(2), torch.eye(2)), Params(torch.ones(2), torch.eye(2)))
    tensor(1.)
    """
    (p_loc, p_lower), (q_loc, q_lower) = _matched(*p), _matched(*q)
    dtype = p_loc.dtype
    p_wide, q_wide = p_lower.double(), q_lower.double()
    shift = solution(q_wide, p_loc.double() - q_loc.double())
    below = torch.linalg.solve_triangular(q_wide, p_wide - q_wide, upper=False).tril(-1)
    zero = torch.zeros((), dtype=torch.float64, device=shift.device)
    scales = normal_kl(zero, diagonal_of(p_wide), zero, diagonal_of(q_wide)).sum(-1)
    return (scales + 0.5 * (shift.square().sum(-1) + below.square().sum((-1, -2)))).to(dtype)


@verb
def support(loc: Real, scale_tril: Matrix) -> Constraint:
    """Return the support as a constraint: the vectors of real numbers.

    >>> support(torch.zeros(2), torch.eye(2)).check(torch.tensor([[0.0, 1.0], [0.0, torch.nan]]))
    tensor([ True, False])
    """
    return constraints.real_vector


# ------------------------------------------------------------------------------------------------------------ moments
@verb
def mean(loc: Real, scale_tril: Matrix) -> Tensor:
    """Return the mean.

    >>> mean(torch.zeros(2), torch.eye(2))
    tensor([0., 0.])
    """
    loc, lower = _matched(loc, scale_tril)
    return nan_of(loc, row_is_nan(lower))


mode = deterministic = mean


@verb
def variance(loc: Real, scale_tril: Matrix) -> Tensor:
    """Return the variance of each element, the diagonal of the covariance.

    >>> variance(torch.zeros(2), torch.tensor([[2.0, 0.0], [3.0, 4.0]]))
    tensor([ 4., 25.])
    """
    loc, lower = _matched(loc, scale_tril)
    return nan_of(lower.square().sum(-1), loc)


stddev = verb.stddev(variance)
