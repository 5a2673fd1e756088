"""Converts the arguments of a call to positional tensors of one dtype, or raises an error that says how to fix them."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from functional_dists.family.kinds import Kind
from functional_dists.family.reprs import shown
from functional_dists.family.specification import Specification
from functional_dists.family.trees import is_tensordict
from functional_dists.special.constant import tensor_of

__all__ = ["as_params", "check_options", "tensors_if_same_dtype", "to_one_dtype", "to_positional"]

_HALF = (torch.float16, torch.bfloat16)
_FLOAT32, _FLOAT64 = torch.float32, torch.float64
_NOT_INTEGERS = (torch.bool, torch.complex64, torch.complex128)
_CURES = {"floating point": "call .float() on it", "bool": "call .bool() on it", "integer": "call .long() on it"}
_ARTICLES = {"floating point": "a", "bool": "a", "integer": "an"}
_OF_PARAMETERS = ("is_increasing", "domain", "image")  # of a bijector: all of its parameters may be numbers
_INTEGERS, _BOOLS = (int, np.integer, torch.SymInt), (bool, np.bool_)


def as_params(params: Any, given: Any) -> Any:
    """Return `given`, a tuple or a mapping (a dict, a TensorDict) of a family's parameters, as its `Params`.

    >>> from functional_dists import normal
    >>> as_params(normal.Params, {"loc": 0.0, "scale": 1.0})
    Params(loc=0.0, scale=1.0)
    """
    if isinstance(given, params):
        return given
    fields, defaults = params._fields, params._field_defaults
    if isinstance(given, tuple):
        if type(given).__name__ == "Params" or not len(fields) - len(defaults) <= len(given) <= len(fields):
            got = _fields_of(given) if hasattr(given, "_fields") else f"{len(given)} of them"
            raise TypeError(f"parameters must be {params.__module__}.Params or the {fields}, got {got}")
        return params(*given)
    if isinstance(given, Mapping) or is_tensordict(given):
        names = list(given.keys())
        if unknown := [name for name in names if name not in fields]:
            raise TypeError(f"{unknown} are not among the parameters {fields}")
        if missing := [name for name in fields if name not in names and name not in defaults]:
            raise TypeError(f"{missing} of the parameters {fields} are missing")
        return params(**{name: given[name] for name in names})
    raise TypeError(
        f"parameters must be {params.__module__}.Params, a tuple or a mapping of {fields}, got {type(given).__name__}"
    )


def to_positional(
    spec: Specification, arguments: tuple[Any, ...], options: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return all tensors by position and the options; tensors may come by name, by default, or in one `Params`."""
    names = ("key",) * spec.draws + spec.names
    first = int(spec.draws)
    params = arguments[first] if len(arguments) > first else None
    if isinstance(params, spec.params) and spec.takes_all_parameters():
        arguments = (*arguments[:first], *params, *arguments[first + 1 :])
    elif type(params).__name__ == "Params" and isinstance(params, tuple):
        raise TypeError(f"{spec.name} takes Params of its own family, got {_fields_of(params)}")
    if len(arguments) > len(names):
        options_hint = f"; options go by name: {spec.options}" if spec.options else ""
        raise TypeError(
            f"{spec.name} takes {len(names)} positional arguments {names}, got {len(arguments)}{options_hint}"
        )
    if doubled := [name for name in names[: len(arguments)] if name in options]:
        raise TypeError(f"{spec.name} got {doubled} by position and by name")
    rest = {**spec.defaults, **options}
    if missing := [name for name in names[len(arguments) :] if name not in rest]:
        raise TypeError(f"{spec.name} misses {missing}: its arguments are {names}{_cure(spec, arguments, options)}")
    arguments = arguments + tuple(rest[name] for name in names[len(arguments) :])
    return arguments, {name: option for name, option in options.items() if name not in names}


def _cure(spec: Specification, arguments: tuple[Any, ...], options: dict[str, Any]) -> str:
    """Return what to change in a call that misses arguments."""
    known = ("key", *spec.names, *spec.options, "default_event_dims")
    if unknown := [name for name in options if name not in known]:
        return f"; it has none of the name {unknown[0]!r}"
    source, rest = arguments[: int(spec.draws)], arguments[int(spec.draws) :]
    if source and not isinstance(source[0], torch.Generator) and getattr(source[0], "dtype", None) != torch.uint64:
        return f"; the first must be a key (see random.key) or a torch.Generator, got {shown(source[0])}"
    if rest and spec.takes_all_parameters() and (isinstance(rest[0], tuple | Mapping) or is_tensordict(rest[0])):
        return (
            "; a Params stands for all parameters, a tuple or a mapping does not: pass Params(*tuple) or Params(**dict)"
        )
    return "" if spec.arguments[-1].is_parameter else "; give it by name where parameters are left to their defaults"


def check_options(spec: Specification, options: Mapping[str, Any]) -> None:
    """Raise a TypeError if the verb does not have one of `options`, or if `dtype` is no floating-point dtype."""
    if unknown := [name for name in options if name not in spec.options and name != "default_event_dims"]:
        raise TypeError(f"{spec.name} has no option {unknown}; its options are {spec.options}")
    dtype = options.get("dtype")
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise TypeError(f"{spec.name}: dtype must be a floating-point dtype, such as torch.float32, got {dtype!r}")


def _fields_of(params: Any) -> str:
    return f"{type(params).__module__}.Params of {params._fields}"


# ------------------------------------------------------------------------------------------------- tensors of one dtype
def tensors_if_same_dtype(kinds: Sequence[str], arguments: Sequence[Any]) -> Sequence[Tensor] | None:
    """Return the arguments as tensors if they are tensors of one full-precision dtype, or floats; else None.

    This is the fast path that almost every call takes.
    """
    dtype, has_number, like = None, False, None
    for holds, argument in zip(kinds, arguments):  # noqa: B905 (`strict` would add a fifth to the time)
        if not isinstance(argument, Tensor):
            if holds != "floating point" or type(argument) is not float:
                return None
            has_number = True
        elif holds == "floating point":
            if dtype is None:
                dtype, like = argument.dtype, argument
            elif argument.dtype is not dtype:
                return None
        elif holds == "bool":
            if argument.dtype is not torch.bool:
                return None
        elif argument.dtype.is_floating_point or argument.dtype in _NOT_INTEGERS:
            return None
    if like is None or (dtype is not _FLOAT32 and dtype is not _FLOAT64):
        return None
    if not has_number:
        return arguments
    device = like.device
    return [a if isinstance(a, Tensor) else tensor_of(a, dtype, device) for a in arguments]


def to_one_dtype(spec: Specification, arguments: Sequence[Any]) -> tuple[list[Tensor], torch.dtype]:
    """Return the arguments as tensors of one full-precision dtype, and the result's dtype."""
    for (name, kind, is_parameter), argument in zip(spec.arguments, arguments, strict=True):
        _check_kind(spec.name, name, kind, argument, takes_integers=not is_parameter)
    device = next((argument.device for argument in arguments if isinstance(argument, Tensor)), None)
    if device is None and spec.name.rpartition(".")[2] in _OF_PARAMETERS:
        return [torch.tensor(float(number), dtype=torch.float64) for number in arguments], torch.float64
    if device is None:
        raise TypeError(
            f"{spec.name}: one of {spec.names} must be a tensor, got only numbers; "
            f"make one of them a tensor, as in torch.tensor({arguments[0]!r})"
        )
    holds = [argument.kind.holds for argument in spec.arguments]
    real = [
        (is_parameter, argument.dtype)
        for is_parameter, kind, argument in zip(spec.parameters, holds, arguments, strict=True)
        if kind == "floating point" and isinstance(argument, Tensor)
    ]
    floating = [dtype for _, dtype in real if dtype.is_floating_point]
    parameter_dtypes = [dtype for is_parameter, dtype in real if is_parameter]
    result = functools.reduce(torch.promote_types, parameter_dtypes or floating or [torch.get_default_dtype()])
    compute = functools.reduce(torch.promote_types, floating, result)
    if compute in _HALF:
        compute = torch.float32
    tensors = []
    for held, argument in zip(holds, arguments, strict=True):
        tensor = argument if isinstance(argument, Tensor) else _to_tensor(argument, held, result, device)
        tensors.append(tensor.to(compute) if held == "floating point" and not spec.keeps_dtypes else tensor)
    return tensors, result


def _to_tensor(number: Any, holds: str, real: torch.dtype, device: torch.device) -> Tensor:
    dtype = real if holds == "floating point" else torch.bool if holds == "bool" else torch.int64
    if isinstance(number, np.ndarray):
        return torch.as_tensor(number, dtype=dtype, device=device)
    # A number becomes a 0-d tensor at once, so that compiled code does not recompile for another number.
    return tensor_of(number.item() if isinstance(number, np.generic) else number, dtype, device)


def _check_kind(verb: str, name: str, kind: Kind, argument: Any, *, takes_integers: bool) -> None:
    holds = kind.holds
    if isinstance(argument, np.ndarray):
        argument = torch.as_tensor(argument)
        if holds == "floating point" and argument.dtype != torch.bool:
            return
    if not isinstance(argument, Tensor):
        is_bool = isinstance(argument, _BOOLS)
        is_right = (
            is_bool if holds == "bool" else not is_bool and (holds != "integer" or isinstance(argument, _INTEGERS))
        )
        if not is_right:
            raise TypeError(f"{verb}: {name} must be {_ARTICLES[holds]} {holds} number or tensor, got {argument!r}")
        return
    dtype = argument.dtype
    if holds == "floating point":
        is_right = dtype.is_floating_point or (takes_integers and not dtype.is_complex)
    elif holds == "bool":
        is_right = dtype == torch.bool
    else:
        is_right = not (dtype.is_floating_point or dtype in _NOT_INTEGERS)
    if not is_right:
        cure = _CURES[holds] if dtype != torch.uint64 else "a key goes first, and only to verbs that draw"
        raise TypeError(f"{verb}: {name} must be {_ARTICLES[holds]} {holds} tensor, got {dtype}; {cure}")
