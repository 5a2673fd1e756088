"""The kinds of tensors that verbs take. A verb annotates each of its tensor arguments with one of these."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeAlias

__all__ = [
    "Atom",
    "Index",
    "Kind",
    "Mask",
    "Matrix",
    "OneHot",
    "Parameters",
    "Real",
    "RowReal",
    "Value",
    "Vector",
    "kind_of",
    "outcomes",
]


class Kind(NamedTuple):
    """The dtype of an argument, and how its axes match those of the parameters."""

    name: str  # what `help` shows as the annotation of an argument
    holds: Literal["floating point", "bool", "integer"]
    layout: Literal["per element", "per row", "one-hot", "vector", "matrix", "outcomes"] = "per element"
    size: int | None = None  # of "outcomes": how many one value has; None for as many as the parameters
    has_atoms: bool = False  # whether single numbers have probabilities, as counts have

    def __repr__(self) -> str:
        return self.name


if TYPE_CHECKING:  # a tensor of that kind, a Python number, or a pytree of them
    Real: TypeAlias = Any
    Atom: TypeAlias = Any
    Mask: TypeAlias = Any
    Index: TypeAlias = Any
    RowReal: TypeAlias = Any
    OneHot: TypeAlias = Any
    Vector: TypeAlias = Any
    Matrix: TypeAlias = Any
    Parameters: TypeAlias = Any
    Value: TypeAlias = Any
else:
    #: Floating point, one number for each element of the parameters.
    Real = Kind("Real", "floating point")
    #: A value like `Real` of a family that gives single numbers a probability: a count, or a clipped number.
    Atom = Kind("Real", "floating point", has_atoms=True)
    #: Bool, one for each element of the parameters.
    Mask = Kind("Mask", "bool")
    #: An integer, one for the last axis of the parameters: an outcome.
    Index = Kind("Index", "integer", "per row")
    #: Floating point, one number for the last axis of the parameters.
    RowReal = Kind("RowReal", "floating point", "per row")
    #: Floating point, of the parameters' shape: the last axis is one outcome.
    OneHot = Kind("OneHot", "floating point", "one-hot")
    #: Floating point, of the parameters' shape: the last axis is one event, such as a point of the simplex.
    Vector = Kind("Vector", "floating point", "vector")
    #: Floating point, a row of numbers for each element of the parameters: a parameter with one more axis.
    Matrix = Kind("Matrix", "floating point", "matrix")
    #: All parameters of the family, as its `Params`.
    Parameters = Annotated[Any, "Params"]
    #: A value of the family that a combinator got.
    Value = Annotated[Any, "Value"]


def outcomes(size: int | None) -> Kind:
    """Return the kind of vectors of this many outcomes; None for as many as the parameters.

    >>> outcomes(2).size
    2
    """
    return Kind("Outcomes", "integer", "outcomes", size)


def kind_of(annotation: Any) -> Kind | None:
    """Return the kind of an annotation, or None if it has no kind.

    >>> kind_of(Real)
    Real
    >>> kind_of(Real).holds
    'floating point'
    """
    return annotation if isinstance(annotation, Kind) else None
