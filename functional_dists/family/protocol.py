"""The interface of a family: a module or an object with `Params` and verbs."""

import functools
import importlib
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from functional_dists.family import docs, reprs
from functional_dists.family.definition import Definition, specification_of
from functional_dists.family.joining import called_to_rebuild
from functional_dists.family.typed import P

__all__ = ["Family", "combinator", "from_pickle", "hide_imports", "name_of", "to_pickle", "verbs"]


@runtime_checkable
class Family(Protocol):
    """The attributes of every family: a module, a bound family, the result of a combinator, or an object of your own.

    Other verbs (`entropy`, `mode`, `kl`, ...) are found by their names.

    >>> from functional_dists import bind, normal
    >>> isinstance(normal, Family), isinstance(bind(normal, scale=1.0), Family)
    (True, True)
    """

    @property
    def Params(self) -> Any:
        """The NamedTuple of the parameters."""

    @property
    def sample(self) -> Callable[..., Any]:
        """The verb that draws, `sample(key, *parameters, sample_shape=())`."""

    @property
    def log_prob(self) -> Callable[..., Any]:
        """The verb that scores, `log_prob(*parameters, value)`."""


def verbs(family: Any) -> dict[str, Callable[..., Any]]:
    """Return the verbs of a family by name; its public functions if `define` made none of them.

    >>> from functional_dists import normal
    >>> verbs(normal)["log_prob"] is normal.log_prob
    True
    """
    functions = {
        name: found for name, found in vars(family).items() if not name.startswith("_") and inspect.isfunction(found)
    }
    defined = {name: found for name, found in functions.items() if specification_of(found) is not None}
    return dict(sorted((defined or functions).items()))


def hide_imports(*families: Any) -> None:
    """Make `dir` of families that are modules list `Params` and the verbs alone; tab completion and `help` then do too.

    >>> from functional_dists import normal
    >>> "sample" in dir(normal), "torch" in dir(normal)
    (True, False)
    """
    for family in families:
        family.__dir__ = functools.partial(_public_names, family)


def _public_names(family: Any) -> list[str]:
    return ["Params", *verbs(family)]


def name_of(family: Any) -> str:
    """Return the name of a family for messages.

    >>> from functional_dists import bind, normal
    >>> name_of(normal), name_of(bind(normal, scale=1.0))
    ('normal', 'bind(normal, scale=1.0)')
    """
    return family.__name__.rpartition(".")[2] if hasattr(family, "__name__") else repr(family)


# -------------------------------------------------------------------------------------------- families made of families
def combinator(make: Callable[P, Any]) -> Callable[P, "MadeFamily"]:
    """Return a function from families to a family, made of a function from families to a `Definition`.

    The family has the verbs of the definition, a repr and a hash. Its pickle stores the combinator and its arguments.
    The same arguments give the same family. Make a family outside compiled code, and use it inside.

    >>> from functional_dists import categorical, one_hot
    >>> one_hot(categorical), one_hot(categorical) is one_hot(categorical)
    (one_hot(categorical), True)
    """
    signature = inspect.signature(make)
    make_of_all: Callable[..., Any] = make  # of all arguments, by position

    @functools.lru_cache(maxsize=256)
    def combine_cached(*arguments: Any) -> Any:
        made = make_of_all(*arguments)
        return _Combined(combine, arguments, made) if isinstance(made, Definition) else made

    @functools.wraps(make)
    def combine(*arguments: P.args, **named: P.kwargs) -> Any:
        bound = signature.bind(*arguments, **named)
        bound.apply_defaults()
        return combine_cached(*(tuple(given) if isinstance(given, list) else given for given in bound.args))

    return combine


class MadeFamily:
    """A family that a function makes; its repr and its pickle are the call of that function."""

    if TYPE_CHECKING:  # the attributes of the object are its verbs

        @property
        def Params(self) -> Any: ...
        @property
        def sample(self) -> Callable[..., Any]: ...
        @property
        def log_prob(self) -> Callable[..., Any]: ...
        def __getattr__(self, name: str) -> Any: ...

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._call = function, arguments, named

    def __reduce__(self) -> tuple[Any, ...]:
        function, arguments, named = self._call
        return _called_again, (function, tuple(map(to_pickle, arguments)), named)

    def __repr__(self) -> str:
        function, arguments, named = self._call
        return reprs.call(function.__name__, *arguments, **named)


class FamilyDoc:
    """The docstring of a class of families, and of its instances what `help` shows, made when it is asked for."""

    def __init__(self, of_class: str) -> None:
        self.of_class = of_class

    def __get__(self, family: Any, owner: type) -> str:
        return self.of_class if family is None else docs.of_family(family.Params, verbs(family))


class _Combined(MadeFamily):
    __doc__ = FamilyDoc("A family that a combinator made.")

    def __init__(self, combinator: Callable[..., Any], arguments: tuple[Any, ...], definition: Definition) -> None:
        super().__init__(combinator, arguments, {})
        self._text = repr(self)  # compiled code, which asks for verbs, cannot make it
        vars(self).update(definition.verbs, **definition.functions, Params=definition.params)
        called_to_rebuild(definition.params, _called_again, combinator, tuple(map(to_pickle, arguments)), {})
        for name, verb in definition.verbs.items():
            spec = specification_of(verb)
            if spec is not None and spec.name == f"{definition.name}.{name}":  # not one that it shares with a module
                verb.__qualname__ = spec.name

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{self._text} has no {name}" if "_text" in vars(self) else name)


def made_by(family: Any) -> tuple[str, tuple[Any, ...]]:
    """Return the name of the combinator that made a family, and its arguments; no name for any other family.

    >>> from functional_dists import categorical, one_hot
    >>> made_by(one_hot(categorical))[0], made_by(categorical)
    ('one_hot', ('', ()))
    """
    if isinstance(family, _Combined):
        function, arguments, _ = family._call
        return function.__name__, arguments
    return "", ()


class _ModuleName(str):
    """Stands for a module in a pickle, because pickle cannot store modules."""


def to_pickle(family: Any) -> Any:
    """Return an object that can be pickled in place of a family.

    >>> from functional_dists import normal
    >>> from_pickle(to_pickle(normal)) is normal
    True
    """
    if type(family) is tuple:  # several families
        return tuple(map(to_pickle, family))
    return _ModuleName(family.__name__) if isinstance(family, ModuleType) else family


def from_pickle(family: Any) -> Any:
    """Return the family for which `to_pickle` returned this object."""
    if type(family) is tuple:
        return tuple(map(from_pickle, family))
    return importlib.import_module(family) if isinstance(family, _ModuleName) else family


def _called_again(function: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    return function(*map(from_pickle, arguments), **named)
