"""`bind` returns a family with some parameters or options of another one fixed."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from functional_dists.family import docs
from functional_dists.family.definition import register, specification_of
from functional_dists.family.joining import class_from_pickle, class_to_pickle
from functional_dists.family.protocol import FamilyDoc, MadeFamily, name_of, verbs
from functional_dists.family.reprs import shown
from functional_dists.family.trees import is_tensordict

__all__ = ["BoundFamily", "bind"]


def bind(family: Any, **fixed: Any) -> "BoundFamily":
    """Return a family with some parameters or options of another one fixed.

    Args:
        family: A family: a module, a bound family, the result of a combinator.
        fixed: Values of parameters, which the verbs then no longer take, or new defaults of options.

    Returns:
        A family with the same verbs, whose `Params` holds the remaining parameters.

    Raises:
        TypeError: a name is neither a parameter of the family nor an option of one of its verbs.

    >>> import torch
    >>> from functional_dists import tanh_normal
    >>> torque = bind(tanh_normal, low=-2.0, high=2.0)
    >>> torque.deterministic(torch.tensor([0.0, 9.0]), 1.0)
    tensor([0.0000, 2.0000])
    """
    return BoundFamily(family, fixed)


class BoundFamily(MadeFamily):
    __doc__ = FamilyDoc(
        """A family with some parameters or options fixed; made by `bind`.

        Args:
            family: A family.
            fixed: Values of parameters and options by name.
            made_by: The function and the arguments whose result this is, where that is not `bind`.
        """
    )

    def __init__(
        self, family: Any, fixed: dict[str, Any], made_by: tuple[Callable[..., Any], tuple[Any, ...]] | None = None
    ) -> None:
        call = (*made_by, {}) if made_by else (bind, (family,), fixed)
        if isinstance(family, BoundFamily):
            function, arguments, named = family._call
            if function is bind and not made_by:
                call = (bind, arguments, {**named, **fixed})
            family, fixed = family.family, {**family.fixed, **fixed}
        super().__init__(*call)
        if not hasattr(family, "Params"):
            raise TypeError(f"bind: family must be a family, such as functional_dists.normal, got {shown(family)}")
        self.family: Any = family
        self.fixed = fixed
        if torch.compiler.is_compiling():  # the rest cannot be traced; `__getattr__` binds a verb when it is used
            return
        known = {name for verb in verbs(family).values() for name in inspect.signature(verb).parameters}
        if unknown := sorted(set(fixed) - known - {*family.Params._fields}):
            raise TypeError(
                f"{unknown} are neither parameters nor options of {name_of(family)}, whose parameters are "
                f"{family.Params._fields}"
            )
        code = repr(self)
        for name, verb in verbs(family).items():
            setattr(self, name, _with_signature(self, code, verb, _bound_verb(self, verb)))
        _remaining_params(family.Params, fixed)  # cached here, because compiled code cannot make a class

    @property
    def Params(self) -> Any:
        """The NamedTuple of the remaining parameters."""
        return _remaining_params(self.family.Params, self.fixed)

    def __getattr__(self, name: str) -> Any:
        verb = None if name.startswith("_") else getattr(self.family, name, None)
        if inspect.isfunction(verb):
            return _bound_verb(self, verb)
        raise AttributeError(f"{self!r} has no {name}")


# -------------------------------------------------------------------------------------------------------------- Params
_REMAINING_PARAMS: dict[tuple[Any, tuple[str, ...]], Any] = {}  # a cache, because compiled code cannot make a class
_WHOLE_PARAMS: dict[Any, Any] = {}  # by those of `_REMAINING_PARAMS`, for pickle


def _remaining_params(params: Any, fixed: Mapping[str, Any]) -> Any:
    """Return a `Params` of the fields that are not fixed, with their defaults and descriptions."""
    fields = tuple(name for name in params._fields if name not in fixed)
    if (params, fields) not in _REMAINING_PARAMS:
        defaults = {name: given for name, given in params._field_defaults.items() if name in fields}
        make: Any = NamedTuple
        left = make("Params", [(name, params.__annotations__[name]) for name in fields])
        left.__new__.__defaults__ = tuple(defaults.values())
        left._field_defaults = defaults
        lines = (params.__doc__ or "").splitlines()
        left.__doc__ = "\n".join(line for line in lines if line.strip().partition(": ")[0] not in fixed)
        left.__reduce__ = _reduce
        _REMAINING_PARAMS[params, fields] = left
        _WHOLE_PARAMS[left] = params
    return _REMAINING_PARAMS[params, fields]


def _reduce(params: Any) -> tuple[Any, ...]:
    left = type(params)
    whole = _WHOLE_PARAMS[left]
    fixed = tuple(name for name in whole._fields if name not in left._fields)
    return _rebuilt, (class_to_pickle(whole), fixed, tuple(params))


def _rebuilt(stored: Any, fixed: tuple[str, ...], fields: tuple[Any, ...]) -> Any:
    return _remaining_params(class_from_pickle(stored), dict.fromkeys(fixed))(*fields)


def _by_name(fields: tuple[str, ...], given: Any) -> dict[str, Any]:
    """Return the parameters of one distribution by name."""
    if isinstance(given, tuple):
        if len(given) > len(fields):
            raise TypeError(f"there are {len(fields)} parameters {fields}, got {len(given)}")
        return dict(zip(fields, given, strict=False))
    if isinstance(given, Mapping) or is_tensordict(given):
        return {name: given[name] for name in given.keys()}  # noqa: SIM118 (a TensorDict iterates over rows)
    raise TypeError(f"parameters must be Params, a tuple or a mapping of {fields}, got {type(given).__name__}")


# --------------------------------------------------------------------------------------------------------------- verbs
def _bound_verb(bound_family: BoundFamily, verb: Callable[..., Any]) -> Callable[..., Any]:
    family, fixed = bound_family.family, bound_family.fixed
    names, options, is_pair = _names_of(verb)
    left = tuple(name for name in family.Params._fields if name not in fixed)
    parameters = {name: given for name, given in fixed.items() if name in family.Params._fields}
    defaults = {name: given for name, given in fixed.items() if name not in parameters and name in options}
    if "event_dims" in defaults:
        # As a default it becomes 0 for parameters without axes; as an option of the call it would be an error there.
        defaults["default_event_dims"] = defaults.pop("event_dims")
    called = f"{name_of(family)}.{verb.__name__}"

    def call_with_pair(p: Any, q: Any, **given: Any) -> Any:
        full = ({**parameters, **_by_name(left, side)} for side in (p, q))
        return verb(*full, **{**defaults, **given})

    free = tuple(name for name in names if name not in parameters)
    first = int(names[:1] == ("key",))

    def call_with_tensors(*arguments: Any, **given: Any) -> Any:
        params = _REMAINING_PARAMS.get((family.Params, left))
        if params is not None and len(arguments) > first and isinstance(arguments[first], params):
            arguments = (*arguments[:first], *arguments[first], *arguments[first + 1 :])
        if len(arguments) > len(free):
            raise TypeError(f"{called} takes {len(free)} positional arguments {free}, got {len(arguments)}")
        if again := [name for name in given if name in parameters]:
            raise TypeError(f"{called}: {again} are fixed by bind")
        if len(arguments) < len(free):
            named = {**parameters, **dict(zip(free, arguments, strict=False)), **defaults, **given}
            return verb(**{name: one for name, one in named.items() if name not in parameters or name in names})
        own = iter(arguments)
        return verb(*(parameters[name] if name in parameters else next(own) for name in names), **{**defaults, **given})

    return call_with_pair if is_pair else call_with_tensors


def _names_of(verb: Callable[..., Any]) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """Return the names of the tensors and of the options, and True if the verb takes two `Params` instead."""
    spec = specification_of(verb)
    if spec is not None:
        return ("key",) * spec.draws + spec.names, spec.options, spec.num_params == 2
    parameters = inspect.signature(verb).parameters.values()
    names = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)
    return names, tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY), names[:2] == ("p", "q")


_names_of._dynamo_marked_constant = True  # type: ignore[attr-defined]  # `torch.compile` does not trace it


def _with_signature(
    bound_family: BoundFamily, code: str, verb: Callable[..., Any], bound: Callable[..., Any]
) -> Callable[..., Any]:
    fixed, fields = bound_family.fixed, bound_family.family.Params._fields
    functools.update_wrapper(bound, verb).__qualname__ = f"{code}.{verb.__name__}"
    of_whole = f"{name_of(bound_family.family)}.{verb.__name__}"
    bound.__doc__ = docs.of_bound(verb.__doc__, code, of_whole, [name for name in fields if name in fixed])
    spec = specification_of(verb)
    if spec is not None and spec.event_dims is not None:
        register(bound, verb, fixed.get("event_dims", spec.event_dims))
    signature = inspect.signature(verb)
    bound.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[
            p.replace(default=fixed.get(name, p.default))
            for name, p in signature.parameters.items()
            if name not in fixed or name not in fields
        ]
    )
    return bound
