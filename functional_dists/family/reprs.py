"""Short reprs: the code that makes an object, in one style for families, chains and steps.

Functions have the name by which the package's root reaches them, as in `policy.actor(...)`; classes have their own.
"""

import enum
import inspect
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np
from torch import Tensor, nn

__all__ = ["call", "changed", "shown"]

_LONGEST = 80  # the longest repr of an object of other packages that is shown whole


def shown(value: Any) -> str:
    """Return the text that stands for a value in a repr.

    It is a module's own name, and a tensor's shape and dtype. The arguments of a network are left out, and so is what
    another package shows in more than 80 characters.

    >>> import torch
    >>> from functional_dists import normal
    >>> shown({"family": normal, "loc": torch.zeros(3), "net": torch.nn.Linear(3, 4)})
    "{'family': normal, 'loc': Tensor(shape=(3,), dtype=float32), 'net': Linear(...)}"
    """
    if isinstance(value, ModuleType):
        return value.__name__.rpartition(".")[2]
    if isinstance(value, Tensor | np.ndarray):
        dtype = str(value.dtype).removeprefix("torch.")
        return f"{type(value).__name__}(shape={tuple(value.shape)}, dtype={dtype})"
    if isinstance(value, enum.Enum):
        return repr(value.value)
    if value is ...:
        return "..."
    if type(value) is dict:
        return "{" + ", ".join(f"{key!r}: {shown(entry)}" for key, entry in value.items()) + "}"
    if type(value) in (tuple, list):
        inside = ", ".join(map(shown, value)) + "," * (type(value) is tuple and len(value) == 1)
        return f"[{inside}]" if type(value) is list else f"({inside})"
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return call(type(value).__name__, **changed(type(value), value._asdict()))
    if inspect.isroutine(value) or inspect.isclass(value):
        return value.__name__
    text = repr(value)
    is_foreign = not type(value).__module__.startswith(__name__.partition(".")[0])
    is_short = len(text) <= _LONGEST and "\n" not in text and not isinstance(value, nn.Module)
    return text if is_short or not is_foreign or isinstance(value, str) else f"{type(value).__name__}(...)"


def call(function: str, *arguments: Any, **named: Any) -> str:
    """Return the code of a call.

    >>> call("bind", "normal", scale=1.0)
    "bind('normal', scale=1.0)"
    """
    return f"{function}({', '.join([*map(shown, arguments), *(f'{k}={shown(v)}' for k, v in named.items())])})"


def changed(function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that differ from a function's defaults.

    >>> changed(sorted, {"key": len, "reverse": False})
    {'key': <built-in function len>}
    """
    parameters = inspect.signature(function).parameters
    return {
        name: given
        for name, given in options.items()
        if name not in parameters or shown(given) != shown(parameters[name].default)
    }
