"""The glue of every family: `verb` turns a function of tensors into one of pytrees, numbers and any floating dtype."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, TypeVar, cast, overload

import numpy as np
import optree
import torch
from torch import Tensor

from functional_dists import docs, kernels, random
from functional_dists.random import Source, keys, reuse
from functional_dists.special.constant import goes_with_plain, remembered, scalar
from functional_dists.special.vectorized import sum_event

__all__ = [
    "Index",
    "Mask",
    "OneHot",
    "Real",
    "RowReal",
    "broadcast_shape",
    "require",
    "sum_event",
    "sum_leaves",
    "verb",
]

# What an argument of a verb holds: a tensor of that kind, a Python number, or a pytree of them.
Real = Annotated[Any, "floating point"]
Mask = Annotated[Any, "bool"]
Index = Annotated[Any, "integer", "per row"]  # one for the last axis of the parameters, as a value is an outcome
RowReal = Annotated[Any, "floating point", "per row"]
OneHot = Annotated[Any, "floating point", "one-hot"]  # of the parameters' shape, all of whose last axis is one outcome

F = TypeVar("F", bound=Callable[..., Any])
Fit = Callable[..., torch.Size]
_NUMBERS = (int, float, np.number, np.bool_, torch.SymInt, torch.SymFloat)
_FLOAT32, _FLOAT64, _BOOL = torch.float32, torch.float64, torch.bool
_HALF = (torch.float16, torch.bfloat16)
_NO_INTEGERS = (torch.bool, torch.complex64, torch.complex128)


# ---------------------------------------------------------------------------------------- for the bodies of the verbs
def broadcast_shape(*tensors: Tensor) -> torch.Size:
    """Return the shape that `tensors` broadcast to.

    >>> broadcast_shape(torch.zeros(4, 1), torch.zeros(3))
    torch.Size([4, 3])
    """
    shape = tensors[0].shape
    for tensor in tensors[1:]:
        if tensor.ndim and tensor.shape != shape:
            return torch.broadcast_shapes(*(t.shape for t in tensors))
    return shape


def require(condition: Tensor, parameter: str, trouble: str) -> None:
    """Raise a ValueError that names `parameter`, its `trouble` and the first position where `condition` is False.

    >>> require(torch.tensor([True, False]), "scale", "must be positive")
    Traceback (most recent call last):
    ...
    ValueError: scale must be positive; it is not at position (1,)
    """
    if not condition.all():
        position = tuple((~condition).nonzero()[0].tolist())
        raise ValueError(f"{parameter} {trouble}; it is not" + (f" at position {position}" if position else ""))


def sum_leaves(tree: Any) -> Tensor:
    """Add up the leaves of a pytree of tensors: the log-probs of the parts make that of the whole.

    >>> sum_leaves({"arm": torch.ones(2), "leg": torch.ones(2)})
    tensor([2., 2.])
    """
    return cast(Tensor, optree.tree_sum(as_dicts(tree), namespace="torch"))


# ------------------------------------------------------------------------------------------------------ the decorator
class _Signature(NamedTuple):
    """What `verb` knows of the function it decorates."""

    function: str  # its name, for the messages
    draws: bool  # a key comes before the tensors
    names: tuple[str, ...]  # the arguments that hold tensors ...
    kinds: tuple[str, ...]  # ... what each of them holds ...
    parameters: tuple[bool, ...]  # ... whether it is a parameter of the family (a value is not) ...
    layouts: tuple[str, ...]  # ... and how its axes go with those of the others
    params: Any  # the family's `Params`, where one may stand for all parameters
    defaults: Mapping[str, Any]  # of parameters that may be left out
    alike: bool  # arguments which all have one shape fit together
    fit: Fit | None  # asked for the shape of the parameters, where they do not broadcast
    keeps_dtypes: bool  # the function takes floating tensors as they are

    @classmethod
    def of(cls, function: Callable[..., Any], params: Any, fit: Fit | None, keeps_dtypes: bool) -> "_Signature":
        names = positional_names(function)
        draws = names[0] == "key"
        names = names[draws:]
        layouts = tuple(_layout(function.__annotations__[name]) for name in names)
        fields = params._fields
        return cls(
            function=f"{function.__module__.rpartition('.')[2]}.{function.__name__}",
            draws=draws,
            names=names,
            kinds=tuple(_kind(function.__annotations__[name]) for name in names),
            parameters=tuple(name in fields for name in names),
            layouts=layouts,
            params=params if names[: len(fields)] == fields else None,
            defaults={name: default for name, default in params._field_defaults.items() if name in names},
            alike=fit is None and names[0] in fields and set(layouts) == {"per element"},
            fit=fit,
            keeps_dtypes=keeps_dtypes,
        )

    @classmethod
    def of_pair(cls, function: Callable[..., Any], params: Any, fit: Fit | None, keeps_dtypes: bool) -> "_Signature":
        """Return what there is to know of f(p, q), whose arguments are the fields of both."""
        size = len(params._fields)
        kinds = tuple(_kind(params.__annotations__[name]) for name in params._fields)
        layouts = tuple(_layout(params.__annotations__[name]) for name in params._fields)

        def fit_both(*shapes: torch.Size) -> torch.Size:
            assert fit is not None
            of_p, of_q = fit(*shapes[:size]), fit(*shapes[size:])
            if of_p != of_q:
                raise ValueError("p and q must have one shape, as they do not broadcast")
            return of_p

        return cls(
            function=f"{function.__module__.rpartition('.')[2]}.{function.__name__}",
            draws=False,
            names=tuple(f"{side}.{name}" for side in "pq" for name in params._fields),
            kinds=kinds + kinds,
            parameters=(True,) * (2 * size),
            layouts=layouts + layouts,
            params=None,
            defaults={},
            alike=fit is None and set(layouts) == {"per element"},
            fit=fit and fit_both,
            keeps_dtypes=keeps_dtypes,
        )


@overload
def verb(function: F, /) -> F: ...
@overload
def verb(
    *,
    confine: Callable[..., Tensor] | None = None,
    event_dims: int | None = None,
    fit: Fit | None = None,
    keeps_dtypes: bool = False,
) -> Callable[[F], F]: ...
def verb(
    function: F | None = None,
    /,
    *,
    confine: Callable[..., Tensor] | None = None,
    event_dims: int | None = None,
    fit: Fit | None = None,
    keeps_dtypes: bool = False,
) -> F | Callable[[F], F]:
    """Make a family's verb of a function of tensors that share one full-precision dtype.

    The verb checks the structure of its arguments, turns numbers into tensors, computes half precision in float32
    (and returns half precision), and maps over pytrees: the other arguments then have the same structure or a prefix
    of it, and a leaf draws from `fold_in(key, hash of its path)`. The option `event_dims` reaches the function
    resolved: where the caller gave none, it is 0 for parameters without axes.

    Args:
        function: `f([key,] *tensors, *, options)` in the module of a family, each tensor annotated `Real`, `Mask` or
            `Index`; or `f(p, q, *, options)` of two of the family's `Params`.
        confine: `confine(value, *bounds)`, applied to the result (the first of a pair) in its final dtype; `bounds`
            are found among the arguments by name.
        event_dims: a default for the option of that name, other than the function's own.
        fit: for parameters that do not broadcast: `fit(*shapes)` of the parameters' shapes returns the one of batch and
            event, or raises a ValueError.
        keeps_dtypes: the function takes floating tensors in the dtypes in which they are given, half precision
            included; its result is still cast to the parameters' dtype.

    Returns:
        The decorated function, with the same signature.
    """
    if function is None:
        return lambda function: _decorated(function, confine, event_dims, fit, keeps_dtypes)
    return _decorated(function, confine, event_dims, fit, keeps_dtypes)


def _decorated(
    function: F,
    confine: Callable[..., Tensor] | None,
    event_dims: int | None,
    fit: Fit | None,
    keeps_dtypes: bool,
) -> F:
    params = function.__globals__["Params"]
    if event_dims is None:
        event_dims = (function.__kwdefaults__ or {}).get("event_dims")
    names = positional_names(function)
    is_pair = names[0] == "p"
    signature = (_Signature.of_pair if is_pair else _Signature.of)(function, params, fit, keeps_dtypes)

    def lifted(event_dims: int | None) -> Callable[..., Any]:
        kernel = kernels.find(function, event_dims)
        if is_pair:
            return _lift_pair(function, params, signature, event_dims, kernel)
        return _lift(function, signature, confine, event_dims, kernel)

    decorated = functools.update_wrapper(lifted(event_dims), function)
    decorated.__doc__ = docs.complete(function, params)
    if names[-1] in params._field_defaults:
        decorated.__signature__ = _with_defaults(function, params._field_defaults)  # type: ignore[attr-defined]
    # What a distribution object wants to know of `log_prob`: its shapes follow from these two.
    decorated.event_dims = event_dims  # type: ignore[attr-defined]
    decorated.value_layout = _layout(function.__annotations__.get("value", Real))  # type: ignore[attr-defined]
    decorated.with_event_dims = lifted  # type: ignore[attr-defined]
    decorated.fit = fit  # type: ignore[attr-defined]
    return cast(F, decorated)


def _with_defaults(function: Callable[..., Any], defaults: Mapping[str, Any]) -> inspect.Signature:
    signature = inspect.signature(function)
    arguments = [
        argument.replace(default=defaults.get(name, argument.default))
        for name, argument in signature.parameters.items()
    ]
    return signature.replace(parameters=arguments)


def _lift(
    function: Callable[..., Any],
    signature: _Signature,
    confine: Callable[..., Tensor] | None,
    default_event_dims: int | None,
    kernel: Callable[..., Any] | None,
) -> Callable[..., Any]:
    count = signature.draws + len(signature.names)
    bounds = [signature.names.index(name) for name in positional_names(confine)[1:]] if confine else []

    def on_tensors(
        key: tuple[Source, ...], tensors: Sequence[Tensor], options: dict[str, Any], dtype: torch.dtype | None = None
    ) -> Any:
        """Run the function; `dtype` is the result's where that is not the tensors' own."""
        shape = _checked_shape(signature, tensors)
        if default_event_dims is not None:
            event_dims = options.get("event_dims", default_event_dims)
            if not isinstance(event_dims, int) or not 0 <= event_dims <= len(shape):
                event_dims = _resolved(signature, options.get("event_dims"), default_event_dims, shape)
            options = {**options, "event_dims": event_dims}
        result = function(*key, *tensors, **options)
        if dtype is not None:
            result = _cast(result, dtype)
        if confine is None:
            return result
        limits = [tensors[i] if dtype is None else tensors[i].to(dtype) for i in bounds]
        if isinstance(result, tuple):
            value, log_prob = result
            return confine(value, *limits), log_prob
        return confine(result, *limits)

    def on_leaf(key: tuple[Source, ...], arguments: Sequence[Any], options: dict[str, Any]) -> Any:
        """Take tensors of any floating dtype, and numbers."""
        tensors, dtype = _to_one_dtype(signature, arguments)
        return on_tensors(key, tensors, options, dtype)

    def on_leaf_by_kernel(key: tuple[Source, ...], arguments: Sequence[Any], options: dict[str, Any]) -> Any:
        result = kernel(*key, *arguments, **options) if kernel and kernels.can_be_used() else NotImplemented
        return on_leaf(key, arguments, options) if result is NotImplemented else result

    draws, kinds = signature.draws, signature.kinds
    # What others wrote may return its bounds, or write into them; a support holds them.
    is_own = function.__module__.startswith(__package__ + ".") and function.__name__ != "support"
    is_shared = tuple(is_own and name in ("low", "high") for name in signature.names)

    def lifted(*arguments: Any, **options: Any) -> Any:
        if len(arguments) != count or isinstance(arguments[draws], signature.params or ()):
            arguments, options = _by_position(signature, arguments, options)
        if "sample_shape" in options and type(options["sample_shape"]) is not tuple:
            shape = random.size_of(options["sample_shape"], f"{signature.function}: sample_shape")
            options = {**options, "sample_shape": shape}
        if kernel is not None and kernels.can_be_used():
            result = kernel(*arguments, **options)
            if result is not NotImplemented:
                return result
        key, arguments = (arguments[:1], arguments[1:]) if draws else ((), arguments)
        ready = _ready(kinds, is_shared, arguments)
        if ready is not None:
            return on_tensors(key, ready, options)
        if _has_tree(arguments):
            return _over_leaves(signature, on_leaf if kernel is None else on_leaf_by_kernel, key, arguments, options)
        return on_leaf(key, arguments, options)

    return lifted


def _lift_pair(
    function: Callable[..., Any],
    params: Any,
    signature: _Signature,
    default_event_dims: int | None,
    kernel: Callable[..., Any] | None,
) -> Callable[..., Any]:
    """Lift f(p, q): the fields of the two `Params` are lifted side by side."""
    size = len(params._fields)

    def on_fields(*tensors: Tensor, **options: Any) -> Any:
        return function(params(*tensors[:size]), params(*tensors[size:]), **options)

    on_arguments = _lift(on_fields, signature, None, default_event_dims, kernel)

    def lifted(p: Any, q: Any, **options: Any) -> Any:
        return on_arguments(*as_params(params, p), *as_params(params, q), **options)

    return lifted


def as_params(params: Any, given: Any) -> Any:
    """Return `given`, a tuple or a mapping (a dict, a TensorDict) of a family's parameters, as its `Params`.

    >>> from functional_dists import normal
    >>> as_params(normal.Params, {"loc": 0.0, "scale": 1.0})
    Params(loc=0.0, scale=1.0)
    """
    if isinstance(given, params):
        return given
    if isinstance(given, tuple):
        least = len(params._fields) - len(params._field_defaults)
        if type(given).__name__ == "Params" or not least <= len(given) <= len(params._fields):
            got = _fields_of(given) if hasattr(given, "_fields") else f"{len(given)} of them"
            raise TypeError(f"parameters must be {params.__module__}.Params or the {params._fields}, got {got}")
        return params(*given)
    if isinstance(given, Mapping) or is_tensordict(given):
        unknown = [name for name in given.keys() if name not in params._fields]  # noqa: SIM118 (a TensorDict iterates over rows)
        if unknown:
            raise TypeError(f"{unknown} are not among the parameters {params._fields}")
        missing = [name for name in params._fields if name not in given.keys() and name not in params._field_defaults]  # noqa: SIM118
        if missing:
            raise TypeError(f"{missing} of the parameters {params._fields} are missing")
        return params(**{name: given[name] for name in given.keys()})  # noqa: SIM118
    raise TypeError(
        f"parameters must be {params.__module__}.Params, a tuple or a mapping of {params._fields}, "
        f"got {type(given).__name__}"
    )


def positional_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of the arguments that may be given by position; `inspect.signature` would slow the import."""
    return function.__code__.co_varnames[: function.__code__.co_argcount]


# ------------------------------------------------------------------------------------------------ arguments of a call
def _kind(annotation: Any) -> str:
    return cast(str, annotation.__metadata__[0])


def _layout(annotation: Any) -> str:
    return cast(str, [*annotation.__metadata__, "per element"][1])


_REAL, _MASK, _INDEX = _kind(Real), _kind(Mask), _kind(Index)


def _by_position(
    signature: _Signature, arguments: tuple[Any, ...], options: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return all arguments by position: of those given by name, by default, and as one `Params`."""
    names = ("key",) * signature.draws + signature.names
    first = int(signature.draws)
    if signature.params is not None and len(arguments) > first and isinstance(arguments[first], signature.params):
        arguments = (*arguments[:first], *arguments[first], *arguments[first + 1 :])
    for argument in arguments[first : first + 1]:
        if type(argument).__name__ == "Params" and isinstance(argument, tuple):
            raise TypeError(f"{signature.function} takes Params of its own family, got {_fields_of(argument)}")
    if len(arguments) > len(names):
        raise TypeError(f"{signature.function} takes {len(names)} positional arguments {names}, got {len(arguments)}")
    if doubled := [name for name in names[: len(arguments)] if name in options]:
        raise TypeError(f"{signature.function} got {doubled} by position and by name")
    rest = {**signature.defaults, **options}
    missing = [name for name in names[len(arguments) :] if name not in rest]
    if missing:
        hint = "; give it by name where parameters are left to their defaults" if "value" in missing[-1:] else ""
        raise TypeError(f"{signature.function} misses {missing}: its arguments are {names}{hint}")
    arguments = arguments + tuple(rest[name] for name in names[len(arguments) :])
    return arguments, {name: option for name, option in options.items() if name not in names}


def _fields_of(params: Any) -> str:
    return f"{type(params).__module__}.Params of {params._fields}"


def _has_tree(arguments: Sequence[Any]) -> bool:
    return any(not isinstance(a, Tensor) and not _is_number(a) for a in arguments)


def _is_number(argument: Any) -> bool:
    """Say whether this is a number; `torch.compile` shows one of NumPy as an array without axes."""
    return isinstance(argument, _NUMBERS) or (isinstance(argument, np.ndarray) and argument.ndim == 0)


def _ready(kinds: Sequence[str], is_shared: Sequence[bool], arguments: Sequence[Any]) -> Sequence[Tensor] | None:
    """Return the arguments if all are tensors as a function wants them, or numbers; almost every call ends here.

    Of the numbers the bounds are remembered as tensors where the function is one of this package, whose results share
    no memory with them. Others are not, as results such as a mean may be views of them.
    """
    shared, has_number = None, False
    for kind, argument in zip(kinds, arguments):  # noqa: B905 (`strict` costs a fifth of it all)
        if not isinstance(argument, Tensor):
            if kind is not _REAL or type(argument) is not float:
                return None
            has_number = True
            continue
        dtype = argument.dtype
        if kind is _REAL:
            if shared is None:
                shared, like = dtype, argument
            elif dtype is not shared:
                return None
        elif (dtype is not _BOOL) if kind is _MASK else (dtype.is_floating_point or dtype in _NO_INTEGERS):
            return None
    if shared is not _FLOAT32 and shared is not _FLOAT64:
        return None
    if not has_number:
        return arguments
    tensors, may_share = list(arguments), True in is_shared and goes_with_plain(like)
    for i, argument in enumerate(arguments):
        if not isinstance(argument, Tensor):
            tensors[i] = remembered(argument, shared) if may_share and is_shared[i] else scalar(argument, like)
    return tensors


def _to_one_dtype(signature: _Signature, arguments: Sequence[Any]) -> tuple[list[Tensor], torch.dtype]:
    """Return the arguments as tensors of one full-precision dtype, and the result's dtype."""
    for name, kind, argument in zip(signature.names, signature.kinds, arguments, strict=True):
        _check_kind(signature, name, kind, argument)
    device = next((argument.device for argument in arguments if isinstance(argument, Tensor)), None)
    if device is None:
        raise TypeError(
            f"{signature.function}: one of {signature.names} must be a tensor, got only numbers; "
            f"make one of them a tensor, as in torch.tensor({arguments[0]!r})"
        )
    real = [
        (n, a.dtype)
        for n, k, a in zip(signature.names, signature.kinds, arguments, strict=True)
        if k == _REAL and isinstance(a, Tensor)
    ]
    of_parameters = [dtype for name, dtype in real if not _is_value(signature, name)]
    floating = [dtype for _, dtype in real if dtype.is_floating_point]
    result = functools.reduce(torch.promote_types, of_parameters or floating or [torch.get_default_dtype()])
    compute = functools.reduce(torch.promote_types, floating, result)
    if compute in _HALF:
        compute = torch.float32
    tensors = []
    for kind, argument in zip(signature.kinds, arguments, strict=True):
        if not isinstance(argument, Tensor):
            # A number is a 0-d tensor before anything else, so that another number does not recompile.
            dtype = result if kind == _REAL else _BOOL if kind == _MASK else torch.int64
            if isinstance(argument, np.ndarray):
                argument = torch.as_tensor(argument, dtype=dtype, device=device)
            else:
                number = argument.item() if isinstance(argument, np.generic) else argument
                argument = torch.full((), number, dtype=dtype, device=device)
        tensors.append(argument.to(compute) if kind == _REAL and not signature.keeps_dtypes else argument)
    return tensors, result


def _is_value(signature: _Signature, name: str) -> bool:
    return name == "value" or (name == "pre" and signature.params is not None)


_INTEGERS, _BOOLS = (int, np.integer, torch.SymInt), (bool, np.bool_)
_KINDS = {_REAL: "a floating point", _MASK: "a bool", _INDEX: "an integer"}
_CURES = {_REAL: "call .float() on it", _MASK: "call .bool() on it", _INDEX: "call .long() on it"}


def _check_kind(signature: _Signature, name: str, kind: str, argument: Any) -> None:
    if isinstance(argument, np.ndarray):
        argument = torch.as_tensor(argument)
        if kind == _REAL and argument.dtype != _BOOL:
            return
    if not isinstance(argument, Tensor):
        is_bool = isinstance(argument, _BOOLS)
        right = is_bool if kind == _MASK else not is_bool and (kind == _REAL or isinstance(argument, _INTEGERS))
        if not right:
            raise TypeError(f"{signature.function}: {name} must be {_KINDS[kind]} number or tensor, got {argument!r}")
        return
    if kind == _REAL:
        right = argument.dtype.is_floating_point or (_is_value(signature, name) and not argument.dtype.is_complex)
    elif kind == _MASK:
        right = argument.dtype == torch.bool
    else:
        right = not (argument.dtype.is_floating_point or argument.dtype in _NO_INTEGERS)
    if not right:
        raise TypeError(
            f"{signature.function}: {name} must be {_KINDS[kind]} tensor, got {argument.dtype}; {_CURES[kind]}"
        )


def _checked_shape(signature: _Signature, tensors: Sequence[Tensor]) -> torch.Size:
    """Return the parameters' common shape; the value may add leading axes to it, and nothing else."""
    shape = tensors[0].shape
    if signature.alike:
        for tensor in tensors:
            if tensor.shape != shape and tensor.ndim:
                break
        else:
            return shape  # the common case, all of one shape or without axes, must cost nothing
    shape = _broadcast_parameters(signature, tensors)
    rows = zip(signature.names, signature.parameters, signature.layouts, tensors, strict=True)
    for name, is_parameter, layout, tensor in rows:
        if not is_parameter and (tensor.ndim or layout == "one-hot"):  # a number is scored everywhere
            _check_value_shape(signature, name, tensor.shape, shape[:-1] if layout == "per row" else shape)
    return shape


def _broadcast_parameters(signature: _Signature, tensors: Sequence[Tensor]) -> torch.Size:
    if signature.fit is not None:
        return _fitted(signature, tensors)
    rows = zip(signature.parameters, signature.layouts, tensors, strict=True)
    shapes = [
        torch.Size((*t.shape[:-1], 1)) if layout == "per row" else t.shape for is_one, layout, t in rows if is_one
    ]
    if all(shape == shapes[0] for shape in shapes[1:]):
        return shapes[0]  # PyTorch takes 20 us to say so
    try:
        return torch.broadcast_shapes(*shapes)
    except RuntimeError:
        names = [name for name, is_one in zip(signature.names, signature.parameters, strict=True) if is_one]
        given = ", ".join(f"{name} {tuple(shape)}" for name, shape in zip(names, shapes, strict=True))
        raise ValueError(f"{signature.function}: the shapes of the parameters do not broadcast: {given}") from None


def _fitted(signature: _Signature, tensors: Sequence[Tensor]) -> torch.Size:
    shapes = [t.shape for is_one, t in zip(signature.parameters, tensors, strict=True) if is_one]
    try:
        return cast(Fit, signature.fit)(*shapes)
    except ValueError as error:
        names = [name for name, is_one in zip(signature.names, signature.parameters, strict=True) if is_one]
        got = ", ".join(f"{name} {tuple(shape)}" for name, shape in zip(names, shapes, strict=True))
        raise ValueError(f"{signature.function}: {error}: {got}") from None


def _check_value_shape(signature: _Signature, name: str, value: torch.Size, shape: torch.Size) -> None:
    if len(value) < len(shape) or value[len(value) - len(shape) :] != shape:
        raise ValueError(
            f"{signature.function}: {name} of shape {tuple(value)} does not fit the parameters, whose values have "
            f"shape {tuple(shape)}: it may only add leading axes, as a value does not broadcast; expand it"
        )


def _resolved(signature: _Signature, given: int | None, default: int, shape: torch.Size) -> int:
    if given is None:
        given = default if len(shape) else 0
    if not isinstance(given, (int, torch.SymInt)):
        raise TypeError(f"{signature.function}: event_dims must be an integer, got {given!r}")
    if given < 0 or given > len(shape):
        raise ValueError(
            f"{signature.function}: event_dims={given} does not fit the parameters, which broadcast to {tuple(shape)}; "
            f"it must lie between 0 and {len(shape)}"
        )
    return given


def _cast(result: Any, dtype: torch.dtype) -> Any:
    if isinstance(result, tuple):
        return tuple(_cast(part, dtype) for part in result)
    return result.to(dtype) if isinstance(result, Tensor) and result.is_floating_point() else result


# ------------------------------------------------------------------------------------------------------------ pytrees
def _over_leaves(
    signature: _Signature,
    on_leaf: Callable[..., Any],
    key: tuple[Source, ...],
    arguments: Sequence[Any],
    options: dict[str, Any],
) -> Any:
    trees = [as_dicts(argument) for argument in arguments]
    sizes = [len(optree.tree_leaves(tree, namespace="torch")) for tree in trees]
    widest = max(range(len(trees)), key=sizes.__getitem__)
    paths, _, structure = optree.tree_flatten_with_path(trees[widest], namespace="torch")
    columns = [
        _broadcast_prefix(signature, name, tree, trees[widest])
        for name, tree in zip(signature.names, trees, strict=True)
    ]
    results = []
    for path, *row in zip(paths, *columns, strict=True):
        _check_leaves(signature, row)
        results.append(on_leaf(tuple(leaf_key(k, path) for k in key), row, options))

    def gather(leaves: list[Any]) -> Any:
        return _like_tensordicts(arguments[widest], optree.tree_unflatten(structure, leaves), options)

    if results and isinstance(results[0], tuple):
        return tuple(gather(list(part)) for part in zip(*results, strict=True))
    return gather(results)


def _broadcast_prefix(signature: _Signature, name: str, prefix: Any, tree: Any) -> list[Any]:
    """Return one leaf of `prefix` for each leaf of `tree`."""
    try:
        repeated = optree.tree_map(
            lambda leaf, subtree: [leaf] * len(optree.tree_leaves(subtree, namespace="torch")),
            prefix,
            tree,
            namespace="torch",
        )
    except ValueError as error:
        raise ValueError(
            f"{signature.function}: the structure of {name} is no prefix of the widest argument's: {error}"
        ) from None
    return optree.tree_leaves(repeated, namespace="torch")


def _check_leaves(signature: _Signature, row: Sequence[Any]) -> None:
    for name, leaf in zip(signature.names, row, strict=True):
        if not isinstance(leaf, Tensor) and not _is_number(leaf):
            raise TypeError(
                f"{signature.function}: {name} must hold tensors or numbers, got {type(leaf).__name__}"
                + ("; call torch.as_tensor on it" if isinstance(leaf, np.ndarray) else "")
            )


def leaf_key(key: Source, path: tuple[Any, ...]) -> Source:
    """Return the key of the leaf at `path`; a Generator is its own, and is advanced in the order of the leaves."""
    if not path:
        return key
    if not isinstance(key, Tensor) and isinstance(key, torch.Generator):  # in this order it can be traced
        return key
    reuse.consume(keys.checked_key(key), path, reuse.LEAF)
    return keys.child(key, fnv1a("/".join(str(entry) for entry in path)))


def sample_keys(key: Tensor, path: tuple[Any, ...], num: int) -> Tensor:
    """Return `num` keys for the samples of the part of a pytree at `path`, whose leaves then derive theirs of these."""
    if path:
        reuse.consume(keys.checked_key(key), ("samples", path), reuse.LEAF)
        return keys.children(key, num)
    return random.split(key, num)


def fnv1a(text: str) -> int:
    """Return the 64-bit FNV-1a hash of `text` (Fowler, Noll and Vo; RFC 9923).

    >>> hex(fnv1a("a"))
    '0xaf63dc4c8601ec8c'
    """
    digest = 0xCBF29CE484222325
    for byte in text.encode():
        digest = (digest ^ byte) * 0x100000001B3 & (2**64 - 1)
    return digest


# A TensorDict's own pytree form numbers its entries and keeps its batch size; paths need the names of the entries, and
# a log-prob or a sample has another batch size. So it is taken for a dict, and the results for one again.
def is_tensordict(node: Any) -> bool:
    """Say whether `node` is a TensorDict, without importing tensordict."""
    return hasattr(node, "batch_size") and hasattr(node, "to_dict")


def as_dicts(tree: Any) -> Any:
    """Return `tree` with a dict for every TensorDict in it."""
    if isinstance(tree, Tensor) or _is_number(tree):
        return tree
    return optree.tree_map(
        lambda node: node.to_dict() if is_tensordict(node) else node, tree, is_leaf=is_tensordict, namespace="torch"
    )


def _like_tensordicts(tree: Any, result: Any, options: dict[str, Any]) -> Any:
    """Return `result` with a TensorDict wherever `tree` has one."""

    def like(node: Any, part: Any) -> Any:
        if not is_tensordict(node):
            return part
        shapes = [leaf.shape for leaf in optree.tree_leaves(part, namespace="torch")]
        most = len(node.batch_size) + len(options.get("sample_shape", ()))
        shared = 0
        while shared < most and all(len(s) > shared and s[shared] == shapes[0][shared] for s in shapes):
            shared += 1
        return type(node)(part, batch_size=shapes[0][:shared])

    return optree.tree_map(like, tree, result, is_leaf=is_tensordict, namespace="torch")
