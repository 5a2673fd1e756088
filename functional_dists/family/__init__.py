"""Families of distributions: `define` makes verbs, `bind` fixes parameters, `combinator` combines families."""

from functional_dists.family.arguments import as_params
from functional_dists.family.binding import BoundFamily, bind
from functional_dists.family.definition import Definition, define, fit_of, specification_of
from functional_dists.family.joining import joined_params
from functional_dists.family.kinds import (
    Atom,
    Index,
    Mask,
    Matrix,
    OneHot,
    Parameters,
    Real,
    RowReal,
    Value,
    Vector,
)
from functional_dists.family.protocol import Family, combinator, from_pickle, made_by, name_of, to_pickle, verbs
from functional_dists.family.shapes import broadcast_shape, require
from functional_dists.family.trees import as_dicts, fnv1a, is_tensordict, leaf_key, sample_keys, sum_leaves
from functional_dists.special.vectorized import sum_event

__all__ = [
    "Atom",
    "BoundFamily",
    "Definition",
    "Family",
    "Index",
    "Mask",
    "Matrix",
    "OneHot",
    "Parameters",
    "Real",
    "RowReal",
    "Value",
    "Vector",
    "as_dicts",
    "as_params",
    "bind",
    "broadcast_shape",
    "combinator",
    "define",
    "fit_of",
    "fnv1a",
    "from_pickle",
    "is_tensordict",
    "joined_params",
    "leaf_key",
    "made_by",
    "name_of",
    "require",
    "sample_keys",
    "specification_of",
    "sum_event",
    "sum_leaves",
    "to_pickle",
    "verbs",
]
__dir__ = __all__.copy  # what tab completion shows
