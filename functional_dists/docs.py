"""Completes the docstrings of the verbs: what holds for all of them is written once, here."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

_ARGUMENTS = {
    "key": "A uint64 key tensor of shape (2,) (`random.key`), or a `torch.Generator`.",
    "value": "Where to evaluate, of shape (*sample, *batch, *event): it may add leading axes to the parameters' shape.",
    "p": "`Params` of the first distribution, or a mapping with their names.",
    "q": "`Params` of the second one.",
    "pre": "A value before the squashing, of shape (*sample, *batch, *event).",
    "sample_shape": "The axes to put before the parameters' shape, one independent draw each.",
    "event_dims": "Over how many trailing axes to sum (0 where the parameters have no axes).",
}
_RAISES = [
    "    TypeError: an argument is no tensor, number or pytree of them, or has the wrong dtype.",
    "    ValueError: shapes do not broadcast, pytrees do not match, or `event_dims` exceeds the parameters' axes.",
]
_CHECK_RAISES = "    ValueError: a parameter holds an invalid number."
_SAMPLE = "A tensor of shape (*sample_shape, *batch, *event), in the parameters' dtype and on their device."
_TREES = "Every argument but the key may be a pytree of what is described here; the result is one then."


def complete(function: Callable[..., Any], params: Any) -> str:
    """Return the docstring of `function` with its arguments, result, errors and example, in the usual order.

    Args:
        function: A verb; its own docstring holds a sentence, what else there is to say, and an example.
        params: The family's `Params`, the lines of whose docstring read `name: text`.

    Returns:
        The whole docstring.
    """
    text, _, example = inspect.cleandoc(function.__doc__ or "").partition(">>>")
    described = {**_ARGUMENTS, **_described(params)}
    names = function.__code__.co_varnames[: function.__code__.co_argcount + function.__code__.co_kwonlyargcount]
    arguments = [f"    {name}: {described[name]}" for name in names if name in described]
    raises = [*_RAISES, _CHECK_RAISES] if function.__name__ == "check" else _RAISES
    parts = [
        text.strip() + " " + _TREES,
        "\n".join(["Args:", *arguments]),
        f"Returns:\n    {_returns(function.__name__, names)}",
        "\n".join(["Raises:", *raises]),
    ]
    if example:
        parts.append(">>>" + example.rstrip())
    return "\n\n".join(parts)


def _returns(verb: str, names: Sequence[str]) -> str:
    if verb == "check":
        return "None."
    if verb.endswith("sample_and_log_prob"):
        return f"{_SAMPLE[:-1]}, and its log-density in nats, of shape (*sample_shape, *batch)."
    if names[0] == "key":
        return _SAMPLE
    if "event_dims" in names:
        return "A tensor of shape (*sample, *batch), with the leading axes of the value, in nats."
    return "A tensor of the shape to which the arguments broadcast."


def _described(params: Any) -> dict[str, str]:
    lines = (line.strip().partition(": ") for line in (params.__doc__ or "").splitlines())
    return {name: text for name, separator, text in lines if separator and name in params._fields}
