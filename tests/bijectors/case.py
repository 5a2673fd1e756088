"""The table of the bijectors that the laws run over, with examples."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from functional_dists import bind
from functional_dists.bijectors import (
    affine,
    block,
    chain,
    exp,
    interval,
    invert,
    ordered,
    power,
    rational_quadratic_spline,
    scale_tril,
    sigmoid,
    sigmoid_interval,
    simplex,
    softplus,
    symexp,
    symlog,
    tanh,
)
from functional_dists.bijectors.structure import event_dims_of

FLOAT = torch.float64
_AFFINE = ([[0.5, -1.0, 0.7], [0.0, 1.0, -0.25]], [[1.2, -0.5, 0.9], [-1.1, 1.0, 0.125]])
_OTHER = ([[0.5, 1.0, 0.2], [0.25, 0.3, 1.0]], [[1.0, 0.9, -1.5], [-1.2, 0.5, 0.75]])
_BOUNDS = ([[-1.0, 0.0, -3.0], [0.5, -2.0, 1.0]], [[1.0, 4.0, 0.5], [2.5, -1.0, 9.0]])
_VALUE = [[-0.7, 0.3, 1.9], [0.9, -2.2, 0.4]]
_POSITIVE = [[0.7, 0.3, 1.9], [0.9, 2.2, 0.4]]
_TRIL = [[[1.0, 9.0, 9.0], [0.5, -2.0, 9.0], [0.1, 0.3, 0.7]], [[0.3, 0.0, 0.0], [-1.0, 1.0, 0.0], [0.2, 2.0, -1.5]]]


def _spline_parameters(bins: int) -> tuple[Any, ...]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 3, bins), (2, 3, bins), (2, 3, bins - 1)]
    return (*(torch.randn(shape, generator=generator, dtype=FLOAT).tolist() for shape in shapes), [[2.0] * 3] * 2)


class Case(NamedTuple):
    """A bijector with examples, nested lists with a batch of 2; that of a value has 3 elements after it."""

    bijector: Any
    params: tuple[Any, ...] = ()
    value: Any = _VALUE

    def tensors(self, dtype: torch.dtype = FLOAT) -> list[Tensor]:
        """Return the parameters."""
        return [torch.tensor(numbers, dtype=dtype) for numbers in self.params]

    def argument(self, verb: str, dtype: torch.dtype = FLOAT) -> Tensor:
        """Return an argument of a verb."""
        value = torch.tensor(self.value, dtype=dtype)
        return self.bijector.forward(*self.tensors(dtype), value) if verb.startswith("inverse") else value

    @property
    def event_dims(self) -> int:
        """How many axes one event has."""
        return event_dims_of(self.bijector)


OF_VALUE = ("forward", "inverse", "forward_log_det", "inverse_log_det", "forward_and_log_det")
CASES = [
    Case(affine, _AFFINE),
    Case(exp),
    Case(interval, _BOUNDS),
    Case(ordered),
    Case(power, ([[2.0, -1.5, 0.5], [3.0, 1.0, -0.5]],), _POSITIVE),
    Case(rational_quadratic_spline, _spline_parameters(4)),
    Case(rational_quadratic_spline, _spline_parameters(1)),
    Case(scale_tril, (_AFFINE[0], _TRIL)),
    Case(sigmoid),
    Case(sigmoid_interval, _BOUNDS),
    Case(simplex),
    Case(softplus),
    Case(symexp),
    Case(symlog),
    Case(tanh),
    Case(chain(affine, tanh), _AFFINE),
    Case(chain(affine, affine, sigmoid), (*_AFFINE, *_OTHER)),
    Case(chain(affine, interval), (*_AFFINE, *_BOUNDS)),
    Case(chain(affine, bind(interval, low=-2.0, high=2.0)), _AFFINE),
    Case(chain(affine, invert(affine)), (*_AFFINE, *_AFFINE)),
    Case(chain(affine, invert(affine)), (*_AFFINE, *_OTHER)),
    Case(chain(exp, invert(exp))),
    Case(chain(tanh, invert(tanh), exp)),
    Case(chain(affine, simplex), _AFFINE),
    Case(chain(scale_tril, exp), (_AFFINE[0], _TRIL)),
    Case(chain(scale_tril, invert(scale_tril)), (_AFFINE[0], _TRIL) * 2),
    Case(chain(rational_quadratic_spline, invert(rational_quadratic_spline)), _spline_parameters(3) * 2),
    Case(chain(chain(exp, affine), invert(chain(exp, affine))), (*_AFFINE, *_AFFINE)),
    Case(invert(power), ([[2.0, -1.5, 0.5], [3.0, 1.0, -0.5]],), _POSITIVE),
    Case(invert(chain(exp, affine)), ([[0.0] * 3] * 2, [[2.0] * 3] * 2), _POSITIVE),
    Case(block((affine, tanh), (2, 1)), ([[0.5, 1.0]] * 2, [[2.0, -1.0]] * 2)),
    Case(block((simplex, exp, affine), (1, 1, 1)), ([[0.5]] * 2, [[2.0]] * 2)),
    Case(chain(block((affine, tanh), (2, 1)), exp), ([[0.5, 1.0]] * 2, [[2.0, -1.0]] * 2)),
    Case(
        chain(block((affine, exp), (2, 1)), invert(block((affine, exp), (2, 1)))),
        ([[0.5, 1.0]] * 2, [[2.0, -1.0]] * 2) * 2,
    ),
    Case(invert(block((affine, simplex), (1, 2))), ([[0.5]] * 2, [[2.0]] * 2), [[-0.7, 0.2, 0.3, 0.5]] * 2),
]
IDS = [
    f"{number}-{case.bijector!r}"
    if not hasattr(case.bijector, "__name__")
    else f"{number}-{case.bijector.__name__.rpartition('.')[2]}"
    for number, case in enumerate(CASES)
]
