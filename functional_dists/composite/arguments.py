"""Completes docstrings: the arguments and the error that all functions here share are described once."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_ARGUMENTS = {
    "key": "A uint64 key tensor of shape (2,) (`random.key`); a batch of keys (*K, 2), where K are the leading axes of "
    "the batch of every head; or a `torch.Generator`, which is advanced head by head.",
    "families": "A pytree of families.",
    "params": "The pytree of their parameters: for every head `Params`, a tuple or a mapping.",
    "p": "The pytree of the parameters of the first distribution.",
    "q": "The pytree of the parameters of the second distribution.",
    "value": "The pytree of values. They may have leading sample axes, the same for all heads.",
    "pre": "The pytree of values before the squashing. A head with None here scores its value.",
    "name": "The name of the function that returned the value, such as `deterministic`.",
    "sample_shape": "An int or a sequence: axes of independent draws, which come before the shape of the parameters.",
    "aggregate": "Whether to sum over the heads, as `log_prob` does. If not, every head has its own tensor.",
}
_STRUCTURE_ERROR = "    TypeError: a pytree does not have the structure of `families`, or a parameter is missing."


def documented(function: F) -> F:
    """Add the shared descriptions to a docstring whose sections are `Returns`, `Raises` and an example."""
    text, _, example = inspect.cleandoc(function.__doc__ or "").partition(">>>")
    text, _, rest = text.partition("Returns:")
    code = function.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    arguments = [f"    {name}: {_ARGUMENTS[name]}" for name in names if name in _ARGUMENTS]
    returns, _, raises = rest.partition("Raises:")
    sections = [
        text.rstrip(),
        "\n".join(["Args:", *arguments]),
        f"Returns:{returns.rstrip()}",
        "\n".join(["Raises:", *filter(None, [raises.strip("\n ") and "    " + raises.strip()]), _STRUCTURE_ERROR]),
        f">>>{example}",
    ]
    function.__doc__ = "\n\n".join(sections)
    return function
