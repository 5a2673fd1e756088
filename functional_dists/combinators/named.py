"""Families that have a name of their own and are expressions of others."""

from collections.abc import Callable
from typing import Any

from functional_dists.family import Definition, define, verbs
from functional_dists.family.protocol import FamilyDoc, MadeFamily

__all__ = ["NamedFamily", "expression"]


def expression(name: str, params: Any, of: Any, change: Callable[..., Any]) -> Definition:
    """Return the verbs of the family of a name, which are those of another family.

    Args:
        name: The name.
        params: The `Params` of the family of this name.
        of: The other family.
        change: `change(*parameters)` returns the `Params` of the other family.
    """
    verb = define(params, name)
    derive = verb.through(change, examples=False)
    for own, function in verbs(of).items():
        if not own.endswith("_pre"):  # of the values before a bijector
            derive(function)
    return verb


class NamedFamily(MadeFamily):
    """A family with a name; its repr is the name, and its pickle the place where it is found."""

    __doc__ = FamilyDoc("A family with a name.")

    def __init__(self, definition: Definition) -> None:
        super().__init__(NamedFamily, (), {})
        self._name = definition.name or ""
        self.__module__ = definition.params.__module__
        vars(self).update(definition.verbs, Params=definition.params)

    def __reduce__(self) -> Any:
        return self._name

    def __repr__(self) -> str:
        return self._name

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{vars(self).get('_name')} has no {name}")
