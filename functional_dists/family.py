"""What a family of distributions is, and how to fix some of its parameters."""

import functools
import importlib
import inspect
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, NamedTuple, Protocol

from functional_dists.tree import as_params

__all__ = ["BoundFamily", "Family", "bind", "verbs"]


class Family(Protocol):
    """What is asked of a family: a module, or an object, with these names.

    A family of your own is a module with a `Params` NamedTuple and functions decorated with `tree.verb`. Every further
    verb (`entropy`, `mode`, `kl`, ...) is found by its name.
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
        return family.verbs
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
        self.family: Any = family
        self.fixed = fixed
        fields = family.Params._fields
        parameters = {name: fixed[name] for name in fields if name in fixed}
        options = {name: given for name, given in fixed.items() if name not in fields}
        known = {name for verb in verbs(family).values() for name in inspect.signature(verb).parameters}
        if unknown := sorted(set(options) - known):
            raise TypeError(
                f"{unknown} are neither parameters nor options of {_name(family)}, whose parameters are {fields}"
            )
        self.Params = _without(family.Params, parameters)
        self.verbs = {name: _bind_verb(verb, parameters, options, self.Params) for name, verb in verbs(family).items()}
        vars(self).update(self.verbs)

    def __getattr__(self, name: str) -> Any:
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


def _without(params: Any, fixed: dict[str, Any]) -> Any:
    """Return a `Params` of the fields that are not fixed, with their defaults and descriptions."""
    fields = [name for name in params._fields if name not in fixed]
    left = NamedTuple("Params", [(name, params.__annotations__[name]) for name in fields])  # type: ignore[misc]
    left.__new__.__defaults__ = tuple(params._field_defaults[name] for name in fields if name in params._field_defaults)
    left._field_defaults = {name: given for name, given in params._field_defaults.items() if name in fields}
    left.__doc__ = params.__doc__
    return left


def _bind_verb(
    verb: Callable[..., Any], parameters: dict[str, Any], options: dict[str, Any], left: Any
) -> Callable[..., Any]:
    signature = inspect.signature(verb)
    names = [p.name for p in signature.parameters.values() if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    free = [name for name in names if name not in parameters]
    own = {name: given for name, given in options.items() if name in signature.parameters}
    if "event_dims" in own and hasattr(verb, "with_event_dims"):
        # A default, which parameters without axes may undercut; an option of the call would be an error there.
        verb = verb.with_event_dims(own["event_dims"])
        defaults = {name: given for name, given in own.items() if name != "event_dims"}
    else:
        defaults = own

    def of_pair(p: Any, q: Any, **given: Any) -> Any:
        full = ({**parameters, **as_params(left, side)._asdict()} for side in (p, q))
        return verb(*full, **defaults, **given)

    def of_arguments(*arguments: Any, **given: Any) -> Any:
        named = {**parameters, **dict(zip(free, arguments, strict=False)), **given}
        if len(arguments) > len(free):
            raise TypeError(f"takes {len(free)} positional arguments {tuple(free)}, got {len(arguments)}")
        positional = [named.pop(name) for name in names if name in named]
        if len(positional) < len(names):
            raise TypeError(f"misses {[name for name in free[len(arguments) :] if name not in given]}")
        return verb(*positional, **{**defaults, **named})

    bound = of_pair if names[:2] == ["p", "q"] else of_arguments
    functools.update_wrapper(bound, verb)
    bound.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[
            p.replace(default=own.get(name, p.default))
            for name, p in signature.parameters.items()
            if name not in parameters
        ]
    )
    return bound
