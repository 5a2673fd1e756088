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
    "gradient": 'Which gradient: "straight_through" or "relaxed".',
    "temperature": "Of the relaxed vectors, positive: the lower, the closer they are to one-hot vectors.",
    "atol": "The absolute tolerance.",
    "rtol": "The relative tolerance.",
    "padding_value": "Marks the unused slots of `indices`; `None` where all are used.",
    "ignore_index": "The token that stands for none.",
    "event_dims": "Over how many trailing axes to sum (0 where the parameters have no axes).",
}
_RAISES = [
    "    TypeError: an argument is no tensor, number or pytree of them, or has the wrong dtype.",
    "    ValueError: the shapes or the structures of pytrees do not fit together.",
]
_EVENT_RAISES = "    ValueError: `event_dims` exceeds the parameters' axes."
_CHECK_RAISES = "    ValueError: a parameter holds an invalid number."
_SAMPLE = "A tensor of shape (*sample_shape, *batch, *event), in the parameters' dtype and on their device."
_IN_NATS = ("log_prob", "log_prob_pretanh", "entropy", "kl")
_TABLES = ("probs", "normalized_logits")
_OUTCOMES = ("mode", "deterministic")
_TREES = "Every argument but the key may be a pytree of what is described here; the result is one then."


def complete(function: Callable[..., Any], params: Any) -> str:
    """Return the docstring of `function` with its arguments, result, errors and example, in the usual order.

    Args:
        function: A verb; its own docstring holds a sentence, what else there is to say, and an example.
        params: The family's `Params`, the lines of whose docstring read `name: text`: of the parameters and, where they
            are not as usual, of `value` (what is scored) and of `sample` (what is drawn).

    Returns:
        The whole docstring.
    """
    text, _, example = inspect.cleandoc(function.__doc__ or "").partition(">>>")
    described = {**_ARGUMENTS, "sample": _SAMPLE, **_described(params)}
    names = function.__code__.co_varnames[: function.__code__.co_argcount + function.__code__.co_kwonlyargcount]
    arguments = [f"    {name}: {described[name]}" for name in names if name in described]
    raises = [*_RAISES, *[_EVENT_RAISES] * ("event_dims" in names), *[_CHECK_RAISES] * (function.__name__ == "check")]
    result = _returns(function.__name__, names, described["sample"])
    parts = [
        text.strip() + " " + _TREES,
        "\n".join(["Args:", *arguments]),
        f"Returns:\n    {result}",
        "\n".join(["Raises:", *raises]),
    ]
    if example:
        parts.append(">>>" + example.rstrip())
    return "\n\n".join(parts)


def _returns(verb: str, names: Sequence[str], sample: str) -> str:
    if verb == "check":
        return "None."
    if verb.endswith("sample_and_log_prob"):
        return f"{sample[:-1]}, and its log-density in nats, of shape (*sample_shape, *batch)."
    if names[0] == "key":
        return sample
    if verb in _IN_NATS:
        return "A tensor of shape (*sample, *batch), with the leading axes of the value, in nats."
    if verb in _TABLES:
        return "A tensor of shape (*batch, N)."
    if verb in _OUTCOMES and sample != _SAMPLE:
        return sample.replace("*sample_shape, ", "")
    return "A tensor of the shape to which the arguments broadcast."


def _described(params: Any) -> dict[str, str]:
    names = (*params._fields, "value", "sample")
    lines = (line.strip().partition(": ") for line in (params.__doc__ or "").splitlines())
    return {name: text for name, separator, text in lines if separator and name in names}
