"""Bijectors: invertible maps with the logarithms of their slopes, as pure functions.

A bijector is a module, or what a combinator makes. It has `Params` and verbs, as a family has:

- `forward(*params, value)` and `inverse(*params, value)`;
- `forward_log_det(*params, value)`, the log-determinant of `forward` at x, and `inverse_log_det(*params, value)`, that
  of `inverse` at y; `forward_and_log_det` returns the pair;
- `domain(*params)` and `image(*params)`, the sets that it maps onto each other, as constraints;
- `is_increasing(*params)`, of bijectors of elements.

A bijector of elements returns one log-determinant for each element, a bijector of vectors one for each vector, the last
axis. At the ends of the image, which do not belong to it, `inverse` and `inverse_log_det` are infinite; outside they
are NaN.
"""

from functional_dists.bijectors import (
    affine,
    exp,
    interval,
    ordered,
    power,
    rational_quadratic_spline,
    scale_tril,
    sigmoid,
    sigmoid_interval,
    simplex,
    softplus,
    symlog,
    tanh,
)
from functional_dists.bijectors.blocks import block
from functional_dists.bijectors.chaining import chain
from functional_dists.bijectors.inversion import invert
from functional_dists.bijectors.structure import event_dims_of
from functional_dists.family.protocol import hide_imports

symexp = invert(symlog)

__all__ = [
    "affine",
    "block",
    "chain",
    "event_dims_of",
    "exp",
    "interval",
    "invert",
    "ordered",
    "power",
    "rational_quadratic_spline",
    "scale_tril",
    "sigmoid",
    "sigmoid_interval",
    "simplex",
    "softplus",
    "symexp",
    "symlog",
    "tanh",
]
__dir__ = __all__.copy  # what tab completion shows

hide_imports(affine, exp, interval, ordered, power, rational_quadratic_spline, scale_tril)
hide_imports(sigmoid, sigmoid_interval, simplex, softplus, symlog, tanh)
