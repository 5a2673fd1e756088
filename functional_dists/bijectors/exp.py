"""The bijector y = exp(x) of every element, from the real line onto the positive numbers.

`forward` underflows to 0 and overflows to inf where exp does; `inverse` then gives -inf and inf.
"""

from typing import NamedTuple

import torch  # noqa: F401 (for the examples)
from torch import Tensor
from torch.distributions import constraints

from functional_dists.bijectors.derived import increasing_onto
from functional_dists.family import Real, define
from functional_dists.special.positive import log_in_double


class Params(NamedTuple):
    """The exponential has no parameters."""


verb = define(Params)


@verb
def forward(value: Real) -> Tensor:
    """Return exp(x).

    >>> forward(torch.tensor([0.0, -1.0]))
    tensor([1.0000, 0.3679])
    """
    return value.exp()


@verb
def inverse(value: Real) -> Tensor:
    """Return log y; -inf at 0, NaN below.

    >>> inverse(torch.tensor([1.0, 0.0, -1.0]))
    tensor([0., -inf, nan])
    """
    return log_in_double(value).to(value.dtype)


@verb
def forward_log_det(value: Real) -> Tensor:
    """Return log |dy / dx| = x, elementwise.

    >>> forward_log_det(torch.tensor([0.0, -1.0]))
    tensor([ 0., -1.])
    """
    return value.clone()


@verb
def inverse_log_det(value: Real) -> Tensor:
    """Return log |dx / dy| = -log y, elementwise.

    >>> inverse_log_det(torch.tensor([1.0, 0.0, -1.0]))
    tensor([-0., inf, nan])
    """
    return -log_in_double(value).to(value.dtype)


forward_and_log_det = verb.forward_and_log_det(forward, forward_log_det)
is_increasing, domain, image = increasing_onto(verb, constraints.positive, "the positive numbers")
