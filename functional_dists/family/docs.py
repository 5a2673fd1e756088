"""Completes the docstrings of the verbs with the text that they have in common."""

import inspect
import re
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from functional_dists.family.specification import Specification

_WIDTH = 96  # of the lines; `help` indents them by four columns
_END = "\n\n"  # of a paragraph
_ARGUMENTS = {
    "key": "A key of shape (2,), a batch of keys (*K, 2) whose K are the leading axes of the batch, or a "
    "`torch.Generator`.",
    "value": "Where to evaluate, of shape (*sample, *batch, *event): it has all axes of the parameters and may add "
    "leading ones; a number or a 0-d tensor is scored at every position.",
    "p": "`Params` of the first distribution, or a mapping with their names.",
    "q": "`Params` of the second distribution, or a mapping with their names.",
    "pre": "A value before the squashing, of shape (*sample, *batch, *event).",
    "sample_shape": "An int or a sequence: the axes before the parameters' shape, one independent draw for each entry.",
    "gradient": 'Which gradient: "straight_through" or "relaxed".',
    "temperature": "Of relaxed vectors: a lower one brings them closer to one-hot vectors. A positive number, or a "
    "tensor that broadcasts to the batch, like (*batch).",
    "atol": "The absolute tolerance, not negative: a number, or a tensor that broadcasts to (*batch, *event).",
    "rtol": "The relative tolerance, not negative: a number, or a tensor that broadcasts to (*batch, *event).",
    "padding_value": "Marks the unused slots of `indices`; `None` if all are used.",
    "sigma": "The standard deviation of the normal about a value, positive: a number, or a tensor that broadcasts to "
    "the values. Default: 3/4 of the mean distance of two bins.",
    "ignore_index": "The number that stands for no token.",
    "dtype": "The dtype of the log-probs and entropies. Default: the parameters' dtype. They are computed in at least "
    "float32; `torch.float32` keeps the digits that rounding to half precision removes.",
    "event_dims": "The number of trailing axes, those of the event, to sum over (0 for parameters without axes).",
}
_ZERO_TEMPERATURE = " 0 draws one-hot vectors without a gradient."
_RAISES = [
    "TypeError: an argument is not a tensor, a number or a pytree of them, or has the wrong dtype.",
    "ValueError: the shapes, or the structures of pytrees, do not fit together.",
]
_EVENT_RAISES = "ValueError: `event_dims` exceeds the parameters' axes."
_CHECK_RAISES = "ValueError: a parameter holds an invalid number."
_OPTION_RAISES = "ValueError: {names} does not broadcast, or is outside its range (checked in eager code on the CPU)."
_IN_DTYPE = "in the parameters' dtype"
_SAMPLE = f"A tensor of shape (*sample_shape, *batch, *event), {_IN_DTYPE}."
_TREES = "Any argument except `key` may be a pytree; the result then has the same structure."
_ROW_OPTIONS = ("temperature", "atol", "rtol", "sigma")
_SCORES = ("entropy", "kl", "log_prob", "log_prob_pretanh", "log_prob_relaxed")  # summed over the event, in nats
_CONSTRAINT = "A constraint of `torch.distributions.constraints`."
_RETURNS = {"check": "None.", "support": _CONSTRAINT, "image": _CONSTRAINT, "domain": _CONSTRAINT}
_RETURNS["is_increasing"] = "A bool tensor of the shape of the parameters."
_LOG_DETS = ("forward_log_det", "inverse_log_det", "forward_and_log_det")
_TABLES = ("encode", "probs", "normalized_logits")
_OUTCOMES = ("mode", "deterministic", "median", "icdf")  # these results have the dtype of a draw


def complete(doc: str | None, spec: Specification, descriptions: Mapping[str, str]) -> str:
    """Return the docstring of a verb with its arguments, result, errors and example, in the usual order.

    Args:
        doc: A sentence, further text, and an example.
        spec: The specification of the verb. The docstring of its `Params` has a line `name: text` for each parameter,
            and may have one for `value` (the scored value) and for `sample` (the draw).
        descriptions: Texts by name that replace those lines.

    Returns:
        The whole docstring.
    """
    text, _, example = inspect.cleandoc(doc or "").partition(">>>")
    verb, names = spec.name.rpartition(".")[2], (*_positional(spec), *spec.options)
    described = {**_ARGUMENTS, "sample": _SAMPLE, **_described(spec.params), **descriptions}
    if verb == "icdf":
        described["value"] = f"Probabilities, of shape {_shape(described['value'])}."
    elif verb == "log_prob_relaxed":
        described["value"] = f"Vectors in the simplex, of shape {_shape(described['value'])}."
    elif verb == "rsample":
        described["temperature"] += _ZERO_TEMPERATURE
    arguments = [_indented(f"{name}: {described[name]}") for name in names if name in described]
    options = " or ".join(f"`{name}`" for name in names if name in _ROW_OPTIONS)
    raises = [
        *_RAISES,
        *[_EVENT_RAISES] * ("event_dims" in names),
        *[_OPTION_RAISES.format(names=options)] * bool(options),
        *[_CHECK_RAISES] * (verb == "check"),
    ]
    parts = [
        text.strip(),
        textwrap.fill(_TREES, _WIDTH),
        "\n".join(["Args:", *arguments]),
        f"Returns:\n{_indented(_returns(verb, names, spec.params, described))}",
        "\n".join(["Raises:", *map(_indented, raises)]),
    ]
    if example:
        parts.append(">>>" + example.rstrip())
    return "\n\n".join(parts)


def _indented(text: str) -> str:
    """Return an entry of a section, in lines that a terminal shows whole."""
    return textwrap.fill(text, _WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 8, break_on_hyphens=False)


def of_bound(doc: str | None, code: str, verb: str, fixed: Collection[str]) -> str:
    """Return the docstring of a verb of a bound family.

    Args:
        doc: The docstring of the verb.
        code: The repr of the bound family.
        verb: The name of the verb, with its family.
        fixed: The names of the parameters that the bound verb does not take.
    """
    text, mark, example = (doc or "").partition(">>>")
    first, _, rest = text.partition(_END)
    for name in fixed:
        rest = re.sub(rf"^    {name}: .*\n(?: {{8}}.*\n)*", "", rest, flags=re.MULTILINE)
    parts = [first, f"A verb of `{code}`.", rest.strip(), *[f"Example of `{verb}`:\n\n{mark}{example}"] * bool(mark)]
    return _END.join(parts)


def of_family(params: Any, verbs: Mapping[str, Callable[..., Any]]) -> str:
    """Return what `help` shows of a family that is no module: its parameters, and its verbs with a sentence each."""
    described = _described(params)
    fields = [_indented(f"{name}: {described[name]}") for name in params._fields if name in described]
    lines = []
    for name, verb in verbs.items():
        signature = inspect.signature(verb)
        parameters = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
        taken = signature.replace(parameters=parameters, return_annotation=signature.empty)
        lines += [f"    {name}{taken}", f"        {(verb.__doc__ or '').partition(_END)[0]}"]
    return "\n".join(["Parameters:", *fields, "", "Verbs:", *lines])


def _positional(spec: Specification) -> tuple[str, ...]:
    return ("p", "q") if spec.num_params == 2 else ("key",) * spec.draws + spec.names


def with_example(sentence: str, verb: Callable[..., Any], example: str) -> str:
    """Return a sentence with an example, if `verb` has one: with the arguments and the result of that one filled in.

    >>> from functional_dists import normal
    >>> with_example("Return it.", normal.mean, ">>> median({arguments})")
    'Return it.\\n\\n>>> median(torch.zeros(2), 1.0)'
    """
    doc = inspect.cleandoc(verb.__doc__ or "")
    found = re.search(rf"^>>> {verb.__name__}\((.*)\)\n((?:(?!>>>).+\n?)+)", doc, re.MULTILINE)
    if not found:
        return sentence
    return f"{sentence}\n\n{example.format(arguments=found[1], result=found[2].rstrip())}"


def _returns(verb: str, names: Sequence[str], params: Any, described: dict[str, str]) -> str:
    if verb in _RETURNS:
        return _RETURNS[verb]
    sample, parameter_axes = described["sample"], _parameter_axes(params, described)
    in_dtype = f"{_IN_DTYPE} or `dtype`" if "dtype" in names else _IN_DTYPE
    if verb.startswith("rsample"):
        sample = sample.replace("One-hot vectors", "Vectors").replace("int64", _IN_DTYPE)
    if verb in _LOG_DETS:
        value = _axes(described["value"]) or ["*sample", "*batch", "*event"]
        log_det = _text(value if value[-1] == "*event" else value[:-1])  # of a vector there is one
        both = f"The value, and its log-determinant of shape {log_det}, {_IN_DTYPE}."
        return both if verb == "forward_and_log_det" else f"A tensor of shape {log_det}, {_IN_DTYPE}."
    if names[0] == "key":
        if not verb.endswith("_and_log_prob"):
            return sample
        log_prob_shape = _text(["*sample_shape", *parameter_axes[:-1]])
        return f"{sample[:-1]}, and its log-prob in nats, of shape {log_prob_shape}, {in_dtype}."
    has_value = "value" in names or "pre" in names
    leading = ["*sample"] * has_value
    if verb == "log_prob_and_entropy":
        shapes = _text([*leading, *parameter_axes[:-1]]), _text(parameter_axes[:-1])
        return f"Log-probs of shape {shapes[0]} and entropies of shape {shapes[1]}, {in_dtype}, in nats."
    if verb in _SCORES:
        return f"A tensor of shape {_text([*leading, *parameter_axes[:-1]])}, {in_dtype}, in nats."
    if verb in _TABLES:
        if "indices" in names:  # over the slots
            return f"A tensor of shape {_shape(described['indices'])}, {in_dtype}."
        return f"A tensor of shape {_text([*leading, *parameter_axes])}, {in_dtype}."
    draw_axes = _axes(sample)[1:]  # an outcome may lack the last axis of the parameters
    if verb in _OUTCOMES:
        return sample.replace(_shape(sample), _text([*leading, *draw_axes]))
    return f"A tensor of shape {_text([*leading, *draw_axes])}, {in_dtype}."


def _parameter_axes(params: Any, described: dict[str, str]) -> list[str]:
    """Return the axes of the first parameter: those of the batch and, last, of the event or of the outcomes."""
    fields = params._fields
    return (_axes(described.get(fields[0], "")) if fields else []) or ["*batch", "*event"]


def _shape(text: str) -> str:
    """Return the first shape in a text, such as "(*batch, N)"."""
    found = re.search(r"\(\*[^)]*\)", text)
    return found[0] if found else ""


def _axes(text: str) -> list[str]:
    shape = _shape(text)
    return shape[1:-1].rstrip(",").split(", ") if shape else []


def _text(axes: Sequence[str]) -> str:
    return f"({', '.join(axes)})"


def _described(params: Any) -> dict[str, str]:
    names = (*params._fields, "value", "sample")
    lines = (line.strip().partition(": ") for line in (params.__doc__ or "").splitlines())
    return {name: text for name, separator, text in lines if separator and name in names}
