"""What a family of distributions is, and how to fix some of its parameters."""

import functools
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch

from functional_dists.tree import is_tensordict, positional_names

__all__ = ["BoundFamily", "Family", "bind", "verbs"]


@runtime_checkable
class Family(Protocol):
    """What is asked of a family: a module, or an object, with these names.

    A family of your own is a module with a `Params` NamedTuple and functions decorated with `tree.verb`. Every further
    verb (`entropy`, `mode`, `kl`, ...) is found by its name.

    >>> from functional_dists import normal
    >>> isinstance(normal, Family), isinstance(bind(normal, scale=1.0), Family)
    (True, True)
    """

    Params: Any
    sample: Callable[..., Any]
    log_prob: Callable[..., Any]


def verbs(family: Any) -> dict[str, Callable[..., Any]]:
    """Return the public functions of `family` by name.

    >>> from functional_dists import normal
    >>> verbs(normal)["log_prob"] is normal.log_prob
    True
    """
    if isinstance(family, BoundFamily):
        return {name: getattr(family, name) for name in verbs(family.family)}
    names: Iterable[str] = getattr(family, "__all__", None) or [
        name for name in vars(family) if not name.startswith("_")
    ]
    return {name: getattr(family, name) for name in names if inspect.isfunction(getattr(family, name))}


def bind(family: Any, **fixed: Any) -> "BoundFamily":
    """Fix parameters or options of a family, which gives a family again.

    Args:
        family: A family's module, or a bound family.
        fixed: Parameters, which the verbs then no longer take, or options, whose defaults they become.

    Returns:
        A family with the same verbs, whose `Params` holds the parameters that are left.

    Raises:
        TypeError: a name is neither a parameter of the family nor an option of one of its verbs.

    >>> import torch
    >>> from functional_dists import tanh_normal
    >>> torque = bind(tanh_normal, low=-2.0, high=2.0)
    >>> torque.deterministic(torch.tensor([0.0, 9.0]), 1.0)
    tensor([0.0000, 2.0000])
    """
    return BoundFamily(family, fixed)


class BoundFamily:
    """A family with some parameters or options fixed; made by `bind`."""

    def __init__(self, family: Any, fixed: dict[str, Any]) -> None:
        if isinstance(family, BoundFamily):
            family, fixed = family.family, {**family.fixed, **fixed}
        if not hasattr(family, "Params"):
            raise TypeError(f"bind: family must be a family, such as functional_dists.normal, got {family!r}")
        self.family: Any = family
        self.fixed = fixed
        if torch.compiler.is_compiling():  # verbs are bound when they are asked for, as what follows cannot be traced
            return
        known = {name for verb in verbs(family).values() for name in inspect.signature(verb).parameters}
        if unknown := sorted(set(fixed) - known - {*family.Params._fields}):
            raise TypeError(
                f"{unknown} are neither parameters nor options of {_name(family)}, whose parameters are "
                f"{family.Params._fields}"
            )
        for name, verb in verbs(family).items():
            setattr(self, name, _documented(self, verb, _bind_verb(self, verb)))
        _left_of(family.Params, fixed)  # before compiled code asks for it

    @property
    def Params(self) -> Any:
        """The NamedTuple of the parameters that are left."""
        return _left_of(self.family.Params, self.fixed)

    def __getattr__(self, name: str) -> Any:
        verb = None if name.startswith("_") else getattr(self.family, name, None)
        if inspect.isfunction(verb):
            return _bind_verb(self, verb)
        raise AttributeError(f"{self!r} has no {name}")

    def __reduce__(self) -> tuple[Any, ...]:
        return _bound_again, (to_pickle(self.family), self.fixed)

    def __repr__(self) -> str:
        fixed = "".join(f", {name}={given}" for name, given in self.fixed.items())
        return f"bind({_name(self.family)}{fixed})"


class _ModuleName(str):
    """Stands in a pickle for a module, which pickle does not know."""


def to_pickle(family: Any) -> Any:
    """Return what stands for a family in a pickle.

    >>> from functional_dists import normal
    >>> from_pickle(to_pickle(normal)) is normal
    True
    """
    return _ModuleName(family.__name__) if isinstance(family, ModuleType) else family


def from_pickle(family: Any) -> Any:
    """Return the family for which this stood in a pickle."""
    return importlib.import_module(family) if isinstance(family, _ModuleName) else family


def _bound_again(family: Any, fixed: dict[str, Any]) -> BoundFamily:
    return BoundFamily(from_pickle(family), fixed)


def _name(family: Any) -> str:
    return getattr(family, "__name__", repr(family)).rpartition(".")[2]


# -------------------------------------------------------------------------------------------------------------- Params
_LEFT: dict[tuple[Any, tuple[str, ...]], Any] = {}  # a class cannot be made in compiled code, and is found here


def _left_of(params: Any, fixed: Mapping[str, Any]) -> Any:
    """Return a `Params` of the fields that are not fixed, with their defaults and descriptions."""
    fields = tuple(name for name in params._fields if name not in fixed)
    if (params, fields) not in _LEFT:
        defaults = {name: given for name, given in params._field_defaults.items() if name in fields}
        left = NamedTuple("Params", [(name, params.__annotations__[name]) for name in fields])  # type: ignore[misc]
        left.__new__.__defaults__ = tuple(defaults.values())
        left._field_defaults = defaults
        left.__doc__ = params.__doc__
        _LEFT[params, fields] = left
    return _LEFT[params, fields]


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
def _bind_verb(bound_family: BoundFamily, verb: Callable[..., Any]) -> Callable[..., Any]:
    family, fixed = bound_family.family, bound_family.fixed
    plain = getattr(verb, "__wrapped__", verb)
    names, taken = positional_names(plain), _all_names(plain)
    left = tuple(name for name in family.Params._fields if name not in fixed)
    parameters = {name: given for name, given in fixed.items() if name in family.Params._fields}
    options = {name: given for name, given in fixed.items() if name not in parameters and name in taken}
    if "event_dims" in options and hasattr(verb, "with_event_dims"):
        # A default, which parameters without axes may undercut; an option of the call would be an error there.
        verb = verb.with_event_dims(options.pop("event_dims"))
    called = f"{_name(family)}.{plain.__name__}"

    def of_pair(p: Any, q: Any, **given: Any) -> Any:
        full = ({**parameters, **_by_name(left, side)} for side in (p, q))
        return verb(*full, **{**options, **given})

    free = tuple(name for name in names if name not in parameters)
    first = int(names[0] == "key")

    def of_arguments(*arguments: Any, **given: Any) -> Any:
        whole = _LEFT.get((family.Params, left))
        if whole is not None and len(arguments) > first and isinstance(arguments[first], whole):
            arguments = (*arguments[:first], *arguments[first], *arguments[first + 1 :])
        if len(arguments) > len(free):
            raise TypeError(f"{called} takes {len(free)} positional arguments {free}, got {len(arguments)}")
        if again := [name for name in given if name in parameters]:
            raise TypeError(f"{called}: {again} are fixed by bind")
        if len(arguments) < len(free):
            named = {**parameters, **dict(zip(free, arguments, strict=False)), **options, **given}
            return verb(**{name: one for name, one in named.items() if name in taken})
        own = iter(arguments)
        return verb(*(parameters[name] if name in parameters else next(own) for name in names), **{**options, **given})

    return of_pair if names[:2] == ("p", "q") else of_arguments


def _all_names(function: Callable[..., Any]) -> tuple[str, ...]:
    code = function.__code__
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def _documented(bound_family: BoundFamily, verb: Callable[..., Any], bound: Callable[..., Any]) -> Callable[..., Any]:
    fixed, fields = bound_family.fixed, bound_family.family.Params._fields
    functools.update_wrapper(bound, verb)
    if getattr(verb, "event_dims", None) is not None:
        bound.event_dims = fixed.get("event_dims", verb.event_dims)  # type: ignore[attr-defined]
    signature = inspect.signature(verb)
    bound.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[
            p.replace(default=fixed.get(name, p.default))
            for name, p in signature.parameters.items()
            if name not in fixed or name not in fields
        ]
    )
    return bound
