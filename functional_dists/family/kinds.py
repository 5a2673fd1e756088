"""The kinds of tensors that verbs take. A verb annotates each of its tensor arguments with one of these."""

from typing import Annotated, Any, Literal, NamedTuple

__all__ = ["Index", "Kind", "Mask", "OneHot", "Parameters", "Real", "RowReal", "kind_of"]


class Kind(NamedTuple):
    """The dtype of an argument, and how its axes match those of the parameters."""

    holds: Literal["floating point", "bool", "integer"]
    layout: Literal["per element", "per row", "one-hot"] = "per element"


# A tensor of that kind, a Python number, or a pytree of them.
#: Floating point, one number for each element of the parameters.
Real = Annotated[Any, Kind("floating point")]
#: Bool, one for each element of the parameters.
Mask = Annotated[Any, Kind("bool")]
#: An integer, one for the last axis of the parameters: an outcome.
Index = Annotated[Any, Kind("integer", "per row")]
#: Floating point, one number for the last axis of the parameters.
RowReal = Annotated[Any, Kind("floating point", "per row")]
#: Floating point, of the parameters' shape: the last axis is one outcome.
OneHot = Annotated[Any, Kind("floating point", "one-hot")]
#: All parameters of the family, as its `Params`.
Parameters = Annotated[Any, "Params"]


def kind_of(annotation: Any) -> Kind | None:
    """Return the kind of an annotation, or None if it has no kind.

    >>> kind_of(Real)
    Kind(holds='floating point', layout='per element')
    """
    return next((note for note in getattr(annotation, "__metadata__", ()) if isinstance(note, Kind)), None)
