"""The kinds of tensors that verbs take. A verb annotates each of its tensor arguments with one of these."""

from typing import Annotated, Any, Literal, NamedTuple

__all__ = ["Index", "Kind", "Mask", "OneHot", "Parameters", "Real", "RowReal", "kind_of"]


class Kind(NamedTuple):
    """The dtype of an argument, and how its axes match those of the parameters."""

    holds: Literal["floating point", "bool", "integer"]
    layout: Literal["per element", "per row", "one-hot"] = "per element"


# A tensor of that kind, a Python number, or a pytree of them.
Real = Annotated[Any, Kind("floating point")]
Mask = Annotated[Any, Kind("bool")]
Index = Annotated[Any, Kind("integer", "per row")]  # one number for the last axis of the parameters: an outcome
RowReal = Annotated[Any, Kind("floating point", "per row")]
OneHot = Annotated[Any, Kind("floating point", "one-hot")]  # of the parameters' shape; the last axis is one outcome
Parameters = Annotated[Any, "Params"]  # all parameters of the family, as its `Params`


def kind_of(annotation: Any) -> Kind | None:
    """Return the kind of an annotation, or None if it has no kind.

    >>> kind_of(Real)
    Kind(holds='floating point', layout='per element')
    """
    return next((note for note in getattr(annotation, "__metadata__", ()) if isinstance(note, Kind)), None)
