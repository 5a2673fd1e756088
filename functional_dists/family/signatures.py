"""The signatures of verbs, as users see them."""

import inspect
from collections.abc import Callable
from typing import Any

import torch

from functional_dists.family.kinds import Parameters
from functional_dists.family.specification import Specification

__all__ = ["of_function", "options_of", "with_params"]


def of_function(
    function: Callable[..., Any], spec: Specification, passes_to: Callable[..., Any] | None
) -> inspect.Signature | None:
    """Return the signature that users see, or None if it is that of the function."""
    defaults = spec.defaults if spec.arguments and spec.arguments[-1].is_parameter else {}
    if spec.num_params != 1 and not defaults and passes_to is None and not spec.takes_dtype:
        return None
    own = inspect.signature(function)
    positional, options = [], {}
    for parameter in own.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            options[parameter.name] = parameter
        elif spec.num_params == 1 and parameter.annotation in (spec.params, Parameters):
            fields = spec.params.__annotations__.items()
            positional += [parameter.replace(name=name, annotation=annotation) for name, annotation in fields]
        elif parameter.kind is not parameter.VAR_KEYWORD:
            positional.append(parameter)
    options |= {name: option for name, option in options_of(passes_to).items() if name not in options}
    if spec.takes_dtype:
        options.pop("dtype", None)  # it comes last
        options["dtype"] = inspect.Parameter(
            "dtype", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=torch.dtype | None
        )
    positional = [p.replace(default=defaults.get(p.name, p.default)) for p in positional]
    return own.replace(parameters=[*positional, *options.values()])


def with_params(signature: inspect.Signature, theirs: Specification, spec: Specification) -> inspect.Signature:
    """Return the signature of a verb with the parameters of another family in place of its own."""
    defaults = spec.defaults if spec.arguments[-1].is_parameter else {}
    fields = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation)
        for name, annotation in spec.params.__annotations__.items()
    ]
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if parameter.name == theirs.params._fields[0]:
            parameters += [field.replace(default=defaults.get(field.name, field.default)) for field in fields]
        elif parameter.annotation is theirs.params:
            parameters.append(parameter.replace(annotation=spec.params))
        elif parameter.name not in theirs.params._fields:
            parameters.append(parameter)
    return signature.replace(parameters=parameters)


def options_of(verb: Callable[..., Any] | None) -> dict[str, inspect.Parameter]:
    """Return the keyword-only arguments of a verb, none of no verb."""
    parameters = inspect.signature(verb).parameters.values() if verb else ()
    return {parameter.name: parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
