"""The specification of a verb, read once from the annotations of its function."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from functional_dists.family.kinds import Kind, Parameters, Value, kind_of
from functional_dists.random import Source

__all__ = [
    "Argument",
    "Confine",
    "Specification",
    "function_and_bounds",
    "parse",
    "positional_names",
    "with_params",
    "with_unpacked_params",
]

Fit = Callable[..., torch.Size]
# The verbs that have the option `dtype`, in families that take it: those that return log-probs, entropies and kl.
_OF_LOG_PROBS = (
    "entropy",
    "kl",
    "log_cdf",
    "log_prob",
    "log_prob_and_entropy",
    "log_prob_relaxed",
    "log_survival",
    "normalized_logits",
    "rsample_and_log_prob",
    "sample_and_log_prob",
)
_OF_ROWS = ("per row", "one-hot", "outcomes")


class Confine(NamedTuple):
    """A function that keeps a value off bounds, where its arguments do not have the names of the bounds."""

    function: Callable[..., Tensor]
    bounds: tuple[str, ...]


def function_and_bounds(confine: Any) -> Confine:
    """Return what keeps a value off bounds, with the names of the bounds.

    >>> from functional_dists.special import strictly_inside
    >>> function_and_bounds(strictly_inside).bounds
    ('low', 'high')
    """
    return confine if isinstance(confine, Confine) else Confine(confine, positional_names(confine)[1:])


class Argument(NamedTuple):
    """A tensor argument of a verb."""

    name: str
    kind: Kind
    is_parameter: bool  # False for a value


class Specification(NamedTuple):
    """The properties of a function that the wrapper of its verb needs."""

    name: str  # "normal.log_prob", for messages and for the registry of kernels
    params: Any  # the family's `Params`
    draws: bool  # the first argument is a source of randomness
    arguments: tuple[Argument, ...]
    num_params: int  # how many `Params` the function takes instead of single parameters
    options: tuple[str, ...]  # the names of all keyword-only arguments
    event_dims: int | None  # the default of the option of that name
    confine: Callable[..., Tensor] | Confine | None
    fit: Fit | None
    keeps_dtypes: bool
    takes_dtype: bool  # the verb has the option `dtype`, that of log-probs
    passes_dtype: bool  # the function has it too
    of_rows: bool  # a value belongs to the last axis of the parameters, which must have one
    event_axes: int = (
        0  # of a value whose score is that of the whole event, where the kind of the value does not say so
    )
    knows_cut_rows: bool = False  # of DTensors the function takes parts of rows, whose sums it adds up over processes
    maps_verb: bool = False  # the function calls another verb, which runs on DTensors by itself

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the tensors."""
        return tuple(argument.name for argument in self.arguments)

    @property
    def parameters(self) -> tuple[bool, ...]:
        """Whether each of the tensors is a parameter."""
        return tuple(argument.is_parameter for argument in self.arguments)

    @property
    def value_kind(self) -> Kind:
        """The kind of the value."""
        return next((a.kind for a in self.arguments if not a.is_parameter), Kind("Real", "floating point"))

    @property
    def value_layout(self) -> str:
        """How the axes of the value match those of the parameters."""
        return self.value_kind.layout

    @property
    def defaults(self) -> Mapping[str, Any]:
        """The defaults of the optional parameters."""
        return {name: default for name, default in self.params._field_defaults.items() if name in self.names}

    def takes_all_parameters(self) -> bool:
        """Return whether one `Params` may replace the first arguments."""
        fields = self.params._fields
        return self.num_params < 2 and self.names[: len(fields)] == fields


def parse(
    function: Callable[..., Any],
    params: Any,
    family: str,
    *,
    confine: Callable[..., Tensor] | Confine | None = None,
    event_dims: int | None = None,
    fit: Fit | None = None,
    keeps_dtypes: bool = False,
    takes_dtype: bool = False,
    more_options: tuple[str, ...] = (),
    value_kind: Kind | None = None,
    knows_cut_rows: bool = False,
) -> Specification:
    """Return the specification of a function.

    The first argument is a source of randomness if it is annotated `Source`. An argument annotated with the family's
    `Params` stands for all parameters; two of them stand for those of two distributions. Every other positional
    argument has a kind; `Value` stands for `value_kind`.

    >>> from functional_dists import normal
    >>> parse(normal.log_prob.__wrapped__, normal.Params, "normal").names
    ('loc', 'scale', 'value')
    """
    names, code = positional_names(function), function.__code__
    annotations = [function.__annotations__.get(name) for name in names]
    draws = bool(names) and annotations[0] == Source
    num_params = sum(annotation in (params, Parameters) for annotation in annotations)
    arguments: list[Argument] = []
    for name, annotation in list(zip(names, annotations, strict=True))[draws:]:
        if annotation in (params, Parameters):
            arguments += _fields_of(params, f"{name}." if num_params == 2 else "")
        else:
            kind = value_kind if annotation is Value else kind_of(annotation)
            arguments.append(Argument(name, _require_kind(name, kind), name in params._fields))
    options = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    default = (function.__kwdefaults__ or {}).get("event_dims")
    takes_dtype = takes_dtype and function.__name__ in _OF_LOG_PROBS
    more_options = (*more_options, *["dtype"] * takes_dtype)
    values = [value_kind] if value_kind else [argument.kind for argument in arguments if not argument.is_parameter]
    return Specification(
        name=f"{family}.{function.__name__}",
        params=params,
        draws=draws,
        arguments=tuple(arguments),
        num_params=num_params,
        options=tuple(dict.fromkeys((*options, *more_options))),
        event_dims=default if event_dims is None else event_dims,
        confine=confine,
        fit=fit if fit is None or num_params < 2 else _fit_of_pair(fit, len(params._fields)),
        keeps_dtypes=keeps_dtypes,
        takes_dtype=takes_dtype,
        passes_dtype="dtype" in options,
        knows_cut_rows=knows_cut_rows,
        of_rows=any(kind.layout in _OF_ROWS for kind in values),
    )


def positional_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of the positional arguments, without the slow `inspect.signature`."""
    return function.__code__.co_varnames[: function.__code__.co_argcount]


def with_params(
    spec: Specification,
    params: Any,
    family: str,
    confine: Callable[..., Tensor] | Confine | None,
    fit: Fit | None = None,
) -> Specification:
    """Return the specification of a verb of another family, with the parameters and the name of this one."""
    is_pair = spec.num_params == 2
    fields = [*_fields_of(params, "p."), *_fields_of(params, "q.")] if is_pair else _fields_of(params, "")
    return spec._replace(
        name=f"{family}.{spec.name.rpartition('.')[2]}",
        params=params,
        arguments=(*fields, *(argument for argument in spec.arguments if not argument.is_parameter)),
        num_params=2 if is_pair else 0,
        confine=confine,
        fit=fit if fit is None or not is_pair else _fit_of_pair(fit, len(params._fields)),
        maps_verb=False,
    )


def with_unpacked_params(function: Callable[..., Any], spec: Specification) -> Callable[..., Any]:
    """Return a function that takes the fields of `Params` instead of `Params`."""
    params, first, size = spec.params, int(spec.draws), len(spec.params._fields)

    def unpacked(*tensors: Any, **options: Any) -> Any:
        given = [params(*tensors[first + i * size : first + (i + 1) * size]) for i in range(spec.num_params)]
        return function(*tensors[:first], *given, *tensors[first + spec.num_params * size :], **options)

    return unpacked


def _fields_of(params: Any, prefix: str) -> list[Argument]:
    """Return the arguments that stand for the fields of `Params`."""
    kinds = ((field, kind_of(params.__annotations__[field])) for field in params._fields)
    return [Argument(prefix + field, _require_kind(field, kind), True) for field, kind in kinds]


def _require_kind(name: str, kind: Kind | None) -> Kind:
    if kind is None:
        raise TypeError(
            f"{name} must be annotated with what it holds: Real, Mask, Index, ... of functional_dists.family"
        )
    return kind


def _fit_of_pair(fit: Fit, size: int) -> Fit:
    """Return `fit` for the parameters of two distributions, one after the other."""

    def fit_both(*shapes: torch.Size) -> torch.Size:
        p_shape, q_shape = fit(*shapes[:size]), fit(*shapes[size:])
        if p_shape != q_shape:
            raise ValueError("p and q must have one shape, as they do not broadcast")
        return p_shape

    return fit_both
