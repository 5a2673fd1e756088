"""Spaces of gymnasium and specs of torchrl, known by the names of their classes: neither package is imported."""

from collections.abc import Collection
from typing import Any

Kind = tuple[str, str]  # a package and the name of a class

COMPOSITES: tuple[Kind, ...] = (("gymnasium", "Dict"), ("gymnasium", "Tuple"), ("torchrl", "Composite"))


def kind_of(space: Any, known: Collection[Kind]) -> Kind | None:
    """Return the kind of the first class of this object that is known, or None."""
    kinds = ((base.__module__.partition(".")[0], base.__name__) for base in type(space).__mro__)
    return next((kind for kind in kinds if kind in known), None)
