"""The `Params` of a family that is made of others: the fields of theirs, one after the other."""

from collections import namedtuple
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

__all__ = ["called_to_rebuild", "class_from_pickle", "class_to_pickle", "joined_params"]

# How to make a `Params` class again, by class: pickle finds a class by the name of its module, and these have none.
_MADE_BY: dict[Any, tuple[Callable[..., Any], tuple[Any, ...]]] = {}


def joined_params(*params: Any, change: Callable[[str], str] = lambda text: text, without: Sequence[str] = ()) -> Any:
    """Return a `Params` with the fields of several, in their order; a name that is taken gets a number.

    Args:
        params: The `Params` of families or bijectors.
        change: Changes the description of a field, such as its shape.
        without: The names of fields to leave out.

    Returns:
        A NamedTuple class. A field keeps its default where those that follow have one too.

    >>> from functional_dists import normal, tanh_normal
    >>> joined_params(normal.Params, tanh_normal.Params)._fields
    ('loc', 'scale', 'loc_2', 'scale_2', 'low', 'high')
    """
    fields: dict[str, tuple[Any, str, str]] = {}  # by name: the class that it comes from, its name there, its text
    for part in params:
        described = dict(line.strip().split(": ", 1) for line in (part.__doc__ or "").splitlines() if ": " in line)
        for name in (name for name in part._fields if name not in without):
            numbered = (f"{name}_{number}" for number in range(2, len(fields) + 3))
            free = next(new for new in (name, *numbered) if new not in fields)
            fields[free] = part, name, described.get(name, "")
    defaults: list[Any] = []
    for part, name, _ in reversed(fields.values()):
        if name not in part._field_defaults:
            break
        defaults.insert(0, part._field_defaults[name])
    make: Any = namedtuple
    joined = make("Params", list(fields), defaults=defaults)
    joined.__annotations__ = {name: part.__annotations__[field] for name, (part, field, _) in fields.items()}
    lines = [f"{name}: {change(text)}" for name, (_, _, text) in fields.items() if text]
    joined.__doc__ = "\n\n".join(["Parameters of a family made of others.", "\n".join(lines)])
    joined.__reduce__ = _reduce
    return joined


def called_to_rebuild(params: Any, function: Callable[..., Any], *arguments: Any) -> None:
    """Tell pickle that `function(*arguments).Params` is this class, if `joined_params` made it."""
    if getattr(params, "__reduce__", None) is _reduce:
        _MADE_BY.setdefault(params, (function, arguments))


def class_to_pickle(params: Any) -> Any:
    """Return an object that can be pickled in place of a `Params` class.

    >>> from functional_dists import normal
    >>> class_from_pickle(class_to_pickle(normal.Params)) is normal.Params
    True
    """
    return _Made(*_MADE_BY[params]) if params in _MADE_BY else params


def class_from_pickle(stored: Any) -> Any:
    """Return the `Params` class for which `class_to_pickle` returned this object."""
    return stored.function(*stored.arguments).Params if isinstance(stored, _Made) else stored


class _Made(NamedTuple):
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


def _reduce(params: Any) -> tuple[Any, ...]:
    return _rebuilt, (class_to_pickle(type(params)), tuple(params))


def _rebuilt(stored: Any, fields: tuple[Any, ...]) -> Any:
    return class_from_pickle(stored)(*fields)
