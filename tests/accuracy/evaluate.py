"""Value and every first derivative of a verb on its stored cases, eager or compiled, and their errors."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from . import meter, reference, stored

Call = Callable[..., Tensor]


def with_gradients(call: Call, arguments: Sequence[int]) -> Callable[..., tuple[Tensor, ...]]:
    """(value, derivative with respect to each of some arguments); those of the sum are those of each element."""

    def summed(*arguments: Tensor) -> tuple[Tensor, Tensor]:
        value = call(*arguments)
        return value.sum(), value

    gradients = torch.func.grad(summed, argnums=tuple(arguments), has_aux=True)

    def value_and_gradients(*arguments: Tensor) -> tuple[Tensor, ...]:
        slopes, value = gradients(*arguments)
        return value, *slopes

    return value_and_gradients


def errors(name: str, dtype: str, call: Call, *, compiled: bool = False) -> dict[str, meter.Error]:
    """The largest error of the value and of each derivative.

    Compiled, the bounds are held fixed, as in a policy: their derivatives would double the time to compile.
    """
    cases = stored.cases(name, dtype)
    arguments = [
        argument for argument in reference.differentiable(name) if not (compiled and argument in ("low", "high"))
    ]
    function = with_gradients(call, [list(cases.inputs).index(argument) for argument in arguments])
    if compiled:
        torch.compiler.reset()
        function = torch.compile(function, fullgraph=True, dynamic=False)
    outputs = function(*(torch.from_numpy(column.copy()) for column in cases.inputs.values()))
    names = ["value", *arguments]
    return {
        output: meter.measure(name, cases, output, computed.detach().numpy())
        for output, computed in zip(names, outputs, strict=True)
    }


def value_and_worst_derivative(found: dict[str, meter.Error]) -> tuple[meter.Error, str, meter.Error]:
    slopes = {output: error for output, error in found.items() if output != "value"}
    return found["value"], *meter.worst_of(slopes)
