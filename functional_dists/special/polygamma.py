"""The gamma function's logarithm and its derivatives, exact for all positive arguments, with exact derivatives.

PyTorch's trigamma function, which is the derivative of its digamma function, has an error of 5e-10. And log Gamma(a)
and psi(a) = (log Gamma)'(a) cancel where a is large. So everything here is computed from what is left of them after the
main terms of Stirling's series,

    r0 = log Gamma(a) - ((a - 1/2) log a - a + log(2 pi) / 2),  r1 = psi(a) - log a,
    r2 = psi'(a) - 1 / a,  r3 = psi''(a) + 1 / a^2.

From a to a + 1 each changes by a term of one sign. So nothing cancels (Abramowitz & Stegun 6.3.5, 6.4.6 and 6.4.11).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from functional_dists.special.constant import table_of
from functional_dists.special.deviance import excess_of
from functional_dists.special.elementary import horner
from functional_dists.special.implicit import second_order
from functional_dists.special.log_gamma import stirling_rest
from functional_dists.special.operations import elementwise_operation

__all__ = [
    "Rests",
    "carried_rests",
    "digamma",
    "digamma_tail",
    "log_gamma",
    "rests",
    "stirling_rests",
    "trigamma",
    "trigamma_rest",
]
__dir__ = __all__.copy  # what tab completion shows


class Rests(NamedTuple):
    """What is left of the functions after the main terms, in float64, without derivatives."""

    log_gamma: Tensor  # r0 > 0
    digamma: Tensor  # r1 < 0
    trigamma: Tensor  # r2 > 0
    tetragamma: Tensor  # r3 < 0


_SHIFT = 10  # the series in 1 / a is used from this argument on; below, at a + 10
# B_20, B_18, ..., B_2
_BERNOULLI = (-174611 / 330, 43867 / 798, -3617 / 510, 7 / 6, -691 / 2730, 5 / 66, -1 / 30, 1 / 42, -1 / 30, 1 / 6)
_ORDERS = range(20, 0, -2)
_OF_DIGAMMA = [number / order for number, order in zip(_BERNOULLI, _ORDERS, strict=True)]
_OF_TETRAGAMMA = [number * (order + 1) for number, order in zip(_BERNOULLI, _ORDERS, strict=True)]


def _shifts(like: Tensor) -> Tensor:
    return torch.arange(_SHIFT, dtype=like.dtype, device=like.device)


def digamma_tail(z: Tensor) -> Tensor:
    """Return r1 + 1 / (2 z) = psi(z) - log z + 1 / (2 z) for z >= 10, by the series, without derivatives.

    >>> digamma_tail(torch.tensor(10.0, dtype=torch.float64))
    tensor(-0.0008, dtype=torch.float64)
    """
    square = 1 / (z * z)
    return -square * horner(_OF_DIGAMMA, square)


def rests(a: Tensor) -> tuple[Tensor, ...]:
    """Return the rests of a positive argument, which `stirling_rests` names."""
    is_large = a >= _SHIFT
    z = torch.where(is_large, a, a + _SHIFT)
    y = 1 / z
    square = y * y
    found = (
        stirling_rest(z),
        -0.5 * y - square * horner(_OF_DIGAMMA, square),
        -y * square - square * square * horner(_OF_TETRAGAMMA, square),
    )
    z = torch.where(is_large, 1.0, a) + table_of(_shifts, a).view(-1, *[1] * a.ndim)
    y = 1 / z
    excess = excess_of(y)  # y - log(1 + y)
    per_next, is_far = y / (z + 1), y > 1
    steps = (
        torch.where(is_far, (z + 0.5) * torch.log1p(y) - 1, 0.5 * y - (z + 0.5) * excess),
        -excess,
        -(3 * z + 2) * y * per_next * per_next,
    )
    log_gamma, digamma, tetragamma = (
        torch.where(is_large, f, f + step.sum(0)) for f, step in zip(found, steps, strict=True)
    )
    return log_gamma, digamma, trigamma_rest(a), tetragamma


def trigamma_rest(a: Tensor) -> Tensor:
    """Return r2 = psi'(a) - 1 / a of a positive argument, without derivatives.

    >>> trigamma_rest(torch.tensor(1.0, dtype=torch.float64))  # pi^2 / 6 - 1
    tensor(0.6449, dtype=torch.float64)
    """
    is_large = a >= _SHIFT
    y = 1 / torch.where(is_large, a, a + _SHIFT)
    square = y * y
    found, of_steps = 0.5 * square + y * square * horner(_BERNOULLI, square), torch.zeros_like(a)
    first = torch.where(is_large, 1.0, a)
    for k in range(_SHIFT - 1, -1, -1):  # the smallest first
        y = 1 / (first + k)
        of_steps = of_steps + y * y / (first + (k + 1))
    return torch.where(is_large, found, found + of_steps)


_operation = elementwise_operation("stirling_rests", ["a"], rests, num_results=4)


def stirling_rests(a: Tensor) -> Rests:
    """Return the rests of a positive float64 argument, without derivatives.

    >>> stirling_rests(torch.tensor(1e6, dtype=torch.float64)).digamma
    tensor(-5.0000e-07, dtype=torch.float64)
    """
    return Rests(*_operation(a.detach()))


def carried_rests(a: Tensor, rests: Rests | None = None) -> tuple[Tensor, Tensor]:
    """Return r0 = log Gamma(a) less Stirling's formula, and r1 = psi(a) - log a, with first and second derivatives.

    Give the rests of `a` if they are known.

    >>> a = torch.tensor(3.0, dtype=torch.float64)
    >>> torch.func.grad(lambda a: carried_rests(a)[1])(a)  # psi'(3) - 1 / 3
    tensor(0.0616, dtype=torch.float64)
    """
    found, y = stirling_rests(a), 1 / a.detach()
    first = second_order([found.digamma + 0.5 * y], [found.trigamma - 0.5 * y * y], [a])
    second = second_order([found.trigamma], [found.tetragamma], [a])
    return found.log_gamma + first, found.digamma + second


def log_gamma(a: Tensor, rests: Rests | None = None) -> Tensor:
    """Return log Gamma(a) of a positive float64 argument, with first and second derivatives.

    Give the rests of `a` if they are known.

    >>> a = torch.tensor(1.0, dtype=torch.float64)
    >>> torch.func.hessian(log_gamma)(a)  # pi^2 / 6
    tensor(1.6449, dtype=torch.float64)
    """
    found, fixed = stirling_rests(a), a.detach()
    slope, curve = fixed.log() + found.digamma, 1 / fixed + found.trigamma
    return torch.lgamma(fixed) + second_order([slope], [curve], [a])


def digamma(a: Tensor) -> Tensor:
    """Return psi(a) of a positive float64 argument, with first and second derivatives.

    >>> a = torch.tensor(1.0, dtype=torch.float64)
    >>> torch.func.grad(digamma)(a)  # pi^2 / 6
    tensor(1.6449, dtype=torch.float64)
    """
    return a.log() + carried_rests(a)[1]


def trigamma(a: Tensor) -> Tensor:
    """Return psi'(a) of a positive float64 argument, with its first derivative.

    >>> trigamma(torch.tensor(1.0, dtype=torch.float64))
    tensor(1.6449, dtype=torch.float64)
    """
    found = stirling_rests(a)
    return 1 / a + found.trigamma + found.tetragamma * (a - a.detach())
