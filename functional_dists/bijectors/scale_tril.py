"""The bijector y = loc + L x of vectors, with a lower triangular matrix L whose diagonal has no 0.

What stands above the diagonal is not read.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from functional_dists.family import Matrix, Real, Vector, define
from functional_dists.special import nan_of


class Params(NamedTuple):
    """Parameters of a triangular map, whose batches broadcast against each other.

    loc: What is added, of shape (*batch, N).
    scale_tril: The matrix L, of shape (*batch, N, N).
    value: Vectors, of shape (*sample, *batch, N).
    sample: Vectors of shape (*sample_shape, *batch, N), in the parameters' dtype.
    """

    loc: Real
    scale_tril: Matrix


def _fit(loc: torch.Size, scale_tril: torch.Size) -> torch.Size:
    if len(scale_tril) < 2 or scale_tril[-1] != scale_tril[-2]:
        raise ValueError("scale_tril must be square in its last two axes")
    if loc[-1:] not in ((), (1,), scale_tril[-1:]):
        raise ValueError("loc must have as many entries as scale_tril has columns")
    try:
        return torch.broadcast_shapes(loc, scale_tril[:-1])
    except RuntimeError:
        raise ValueError("the batches of loc and scale_tril do not broadcast") from None


verb = define(Params)


def _log_diagonal(loc: Tensor, scale_tril: Tensor, value: Tensor) -> Tensor:
    """Return the sum of log |L_ii|, NaN where an argument has NaN."""
    diagonal = scale_tril.diagonal(dim1=-2, dim2=-1).double()
    below = nan_of(torch.zeros_like(scale_tril), scale_tril.tril()).sum(-1).double()
    return (nan_of(diagonal.abs().log(), loc.double(), value.double()) + below).sum(-1)


@verb(fit=_fit)
def forward(loc: Real, scale_tril: Matrix, value: Vector) -> Tensor:
    """Return loc + L x.

    >>> forward(torch.zeros(2), torch.tensor([[1.0, 0.0], [2.0, 3.0]]), torch.ones(2))
    tensor([1., 5.])
    """
    return loc + torch.matmul(scale_tril.tril(), value[..., None]).squeeze(-1)


@verb(fit=_fit)
def inverse(loc: Real, scale_tril: Matrix, value: Vector) -> Tensor:
    """Return the solution of L x = y - loc.

    >>> inverse(torch.zeros(2), torch.tensor([[1.0, 0.0], [2.0, 3.0]]), torch.tensor([1.0, 5.0]))
    tensor([1., 1.])
    """
    # The solver reads nothing above the diagonal; `tril` says the same to the derivatives.
    return torch.linalg.solve_triangular(scale_tril.tril(), (value - loc)[..., None], upper=False).squeeze(-1)


@verb(fit=_fit)
def forward_log_det(loc: Real, scale_tril: Matrix, value: Vector) -> Tensor:
    """Return the log-determinant, one for a vector: the sum of log |L_ii|.

    >>> forward_log_det(torch.zeros(2), torch.tensor([[1.0, 0.0], [2.0, 3.0]]), torch.ones(2))
    tensor(1.0986)
    """
    return _log_diagonal(loc, scale_tril, value).to(value.dtype)


@verb(fit=_fit)
def inverse_log_det(loc: Real, scale_tril: Matrix, value: Vector) -> Tensor:
    """Return the log-determinant of the inverse, one for a vector: minus the sum of log |L_ii|.

    >>> inverse_log_det(torch.zeros(2), torch.tensor([[1.0, 0.0], [2.0, 3.0]]), torch.ones(2))
    tensor(-1.0986)
    """
    return -_log_diagonal(loc, scale_tril, value).to(value.dtype)


forward_and_log_det = verb.forward_and_log_det(forward, forward_log_det)


@verb(fit=_fit)
def domain(loc: Real, scale_tril: Matrix) -> Constraint:
    """Return the set that `forward` takes as a constraint: the vectors of real numbers.

    >>> domain(torch.zeros(2), torch.eye(2)).check(torch.zeros(2))
    tensor(True)
    """
    return constraints.real_vector


@verb(fit=_fit)
def image(loc: Real, scale_tril: Matrix) -> Constraint:
    """Return the set of the values of `forward` as a constraint: the vectors of real numbers.

    >>> image(torch.zeros(2), torch.eye(2)).check(torch.zeros(2))
    tensor(True)
    """
    return constraints.real_vector
