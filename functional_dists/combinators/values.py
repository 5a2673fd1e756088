"""What combinators ask about a family: the kind of its values, and how many axes one event has."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from functional_dists.family import Index, name_of, specification_of
from functional_dists.family.definition import kind_of_value
from functional_dists.family.reprs import shown

__all__ = [
    "Values",
    "common_shape",
    "in_float64",
    "point_inside",
    "require_cdf",
    "require_density",
    "require_family",
    "require_outcomes",
    "values_of",
]


class Values(NamedTuple):
    """The values of a family."""

    event_dims: int  # the axes of one event
    are_indices: bool  # one integer for the last axis of the parameters
    can_split: bool  # whether single elements of an event have log-probs of their own
    have_density: bool = True  # and no single value has a probability

    @property
    def shape_dims(self) -> int:
        """The axes of one event in the shape that the parameters have together: those of a value, and of outcomes."""
        return self.event_dims + self.are_indices

    @property
    def options(self) -> dict[str, int]:
        """The options of a log-prob of whole events, where the default would be 0 for parameters without axes."""
        return {"event_dims": self.event_dims} if self.can_split else {}


def values_of(family: Any) -> Values:
    """Return what the values of a family are.

    >>> from functional_dists import categorical, tanh_normal
    >>> values_of(tanh_normal).event_dims, values_of(categorical).are_indices
    (1, True)
    """
    spec = specification_of(family.log_prob)
    layout, event_dims = ("per element", None) if spec is None else (spec.value_layout, spec.event_dims)
    whole = 0 if spec is None else spec.event_axes
    if layout in ("vector", "one-hot"):
        return Values(event_dims or max(whole, 1), False, False, layout == "vector")
    kind = None if spec is None else spec.value_kind
    has_density = kind is None or (kind.holds == "floating point" and layout != "per row" and not kind.has_atoms)
    return Values(event_dims or whole, layout == "per row", event_dims is not None, has_density)


def require_family(made_by: str, family: Any) -> None:
    """Raise a TypeError if this is no family."""
    if not hasattr(family, "Params") or not hasattr(family, "log_prob"):
        raise TypeError(f"{made_by}: family must be a family, such as functional_dists.normal, got {shown(family)}")


def require_outcomes(made_by: str, family: Any, verbs: Sequence[str]) -> None:
    """Raise a TypeError if a family has none of these verbs, or if its values are not outcomes of a row.

    A family whose verbs `define` did not make counts as one of outcomes.
    """
    are_others = hasattr(family, "log_prob") and kind_of_value(family) not in (None, Index)
    if are_others or not any(hasattr(family, verb) for verb in verbs):
        why = ", whose values are not one outcome for each row" if are_others else ""
        raise TypeError(
            f"{made_by}: family must be a discrete family, such as functional_dists.categorical, got "
            f"{shown(family)}{why}"
        )


def require_density(made_by: str, family: Any) -> None:
    """Raise a TypeError if this is no family, or single values have a probability."""
    require_family(made_by, family)
    if not values_of(family).have_density:
        raise TypeError(f"{made_by}: family must be continuous, got {name_of(family)}, whose values have probabilities")


def require_cdf(made_by: str, family: Any) -> None:
    """Raise a TypeError if a family is not continuous, lacks the verbs of its cdf, or scores whole events alone."""
    require_density(made_by, family)
    if not values_of(family).can_split or not all(
        hasattr(family, verb) for verb in ("log_cdf", "log_survival", "icdf")
    ):
        raise TypeError(f"{made_by}: family must have a cdf and a quantile for every element, got {name_of(family)}")


_INSIDE = ("median", "mode", "mean", "deterministic")  # verbs that return a value inside the support


def point_inside(family: Any, params: Any) -> Tensor:
    """Return a value inside the support, without gradient; 0 if the family has no verb that gives one.

    >>> from functional_dists import normal
    >>> point_inside(normal, (torch.tensor(3.0), torch.tensor(1.0)))
    tensor(3.)
    """
    for name in _INSIDE:
        if hasattr(family, name):
            point: Tensor = getattr(family, name)(*params)
            return point.detach()
    return params[0].new_zeros(())


def common_shape(tensors: Sequence[Tensor]) -> torch.Size:
    """Return the shape that tensors broadcast to."""
    return torch.broadcast_shapes(*(tensor.shape for tensor in tensors))


def in_float64(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the tensors, those of real numbers in float64."""
    return [tensor.double() if tensor.is_floating_point() else tensor for tensor in tensors]
