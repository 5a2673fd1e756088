"""The components of a mixture: one family whose parameters have an axis K, or K families.

A result of the components has an axis K before the axes of the event.
"""

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from functional_dists.combinators.values import common_shape, require_family, values_of
from functional_dists.family import Real, fit_of, joined_params, leaf_key, name_of
from functional_dists.random import Source

__all__ = ["Components", "of_families", "of_family"]


class _Mixing(NamedTuple):
    """What all mixtures have.

    mixing_logits: Log-probabilities of the K components up to a constant, of shape (*batch, K).
    """

    mixing_logits: Real


class Components:
    """The components of a mixture, and the parameters of the mixture."""

    def __init__(self, families: Sequence[Any], made_by: str) -> None:
        for family in families:
            require_family(made_by, family)
        self.families = families
        self.values = values_of(families[0])
        if any(values_of(family) != self.values for family in families):
            raise TypeError(
                f"{made_by}: all families must have the same kind of values and of events, got "
                f"{', '.join(map(name_of, families))}"
            )
        self.axis = -1 - self.values.event_dims  # that of the components, in a result of the shape of values

    Params: Any
    of_elements: "Components"

    def _complete(self) -> None:
        """Make the components of single elements of an event."""
        self.of_elements = copy.copy(self)
        self.of_elements.values, self.of_elements.axis = self.values._replace(event_dims=0), -1

    def have(self, verb: str) -> bool:
        """Return whether all families have this verb."""
        return all(hasattr(family, verb) for family in self.families)

    def fit(self, *shapes: torch.Size) -> torch.Size:
        """Return the shape of the mixture's parameters: the batch, and the event."""
        raise NotImplementedError

    def check(self, params: Any) -> None:
        """Check the parameters of the components."""
        raise NotImplementedError

    def apply(self, verb: str, params: Any, *values: Tensor, **options: Any) -> Tensor:
        """Return the results of a verb, for values that have no axis K."""
        raise NotImplementedError

    def draw(self, verb: str, key: Source, params: Any, sample_shape: tuple[int, ...]) -> Tensor:
        """Return a draw of every component."""
        raise NotImplementedError

    def full(self, params: Any) -> list[Tensor]:
        """Return the parameters of the components, with all axes of the batch of the mixture."""
        raise NotImplementedError

    def of_whole(self, params: Any) -> list[Tensor]:
        """Return tensors of the shape of the values that are NaN where a parameter is."""
        return [params[0].sum(-1)[(..., *[None] * self.values.event_dims)], *self.full(params)]

    def by_element(self, params: Any) -> list[list[Tensor]]:
        """Return the parameters of each element of the events, for `of_elements`."""
        count = self.values.event_dims
        columns = zip(*(tensor.flatten(-count).unbind(-1) for tensor in self.full(params)), strict=True)
        return [[params[0], *column] for column in columns]

    def scores(self, params: Any, value: Tensor) -> Tensor:
        """Return the log-probs ``(*S, *B, K)``, of whole events."""
        return self.apply("log_prob", params, value, **self.values.options)


class _OneFamily(Components):
    def __init__(self, family: Any, made_by: str) -> None:
        super().__init__([family], made_by)
        self.family = family
        self.Params = joined_params(_Mixing, family.Params, change=_with_axis)
        self._fit_of_family = fit_of(family)
        self._broadcasts = self._fit_of_family is None
        self._complete()

    def full(self, params: Any) -> list[Tensor]:
        mixing, *own = params
        if not self._broadcasts:
            return own
        shape = common_shape(own)
        shape = torch.broadcast_shapes(shape, (*mixing.shape, *[1] * self.values.shape_dims))
        return [tensor.expand(shape) for tensor in own]

    def of_whole(self, params: Any) -> list[Tensor]:
        mixing, *own = super().of_whole(params)
        real = [tensor for tensor in own if tensor.is_floating_point()]
        return [mixing, *(tensor.sum(self.axis) for tensor in real if self._broadcasts)]

    def fit(self, *shapes: torch.Size) -> torch.Size:
        mixing, *own = shapes
        if not mixing:
            raise ValueError("mixing_logits must have an axis of components")
        whole = torch.broadcast_shapes(*own) if self._fit_of_family is None else self._fit_of_family(*own)
        try:
            whole = torch.broadcast_shapes(whole, (*mixing, *[1] * self.values.shape_dims))
        except RuntimeError as error:
            raise ValueError("the parameters of the components must have the axis of components") from error
        last = len(whole) - self.values.shape_dims
        return torch.Size((*whole[: last - 1], *whole[last:]))

    def check(self, params: Any) -> None:
        if hasattr(self.family, "check"):
            self.family.check(*self.full(params))

    def apply(self, verb: str, params: Any, *values: Tensor, **options: Any) -> Tensor:
        full = self.full(params)
        count = params[0].shape[-1]
        spread = [_repeated(value, self.axis, count) for value in values]
        result: Tensor = getattr(self.family, verb)(*full, *spread, **options)
        return result

    def draw(self, verb: str, key: Source, params: Any, sample_shape: tuple[int, ...]) -> Tensor:
        drawn: Tensor = getattr(self.family, verb)(key, *self.full(params), sample_shape=sample_shape)
        return drawn


class _SeveralFamilies(Components):
    def __init__(self, families: Sequence[Any], made_by: str) -> None:
        super().__init__(families, made_by)
        self.Params = joined_params(_Mixing, *(family.Params for family in families))
        self._complete()
        if self.values.are_indices:
            raise TypeError(f"{made_by}: the families must be continuous; mix their tables of logits instead")
        for family in families:
            if fit_of(family) is not None:
                raise TypeError(
                    f"{made_by}: the parameters of a family must have the shape of its values, and those of "
                    f"{name_of(family)} are rows; mix one such family with itself by `mixture`"
                )

    def full(self, params: Any) -> list[Tensor]:
        mixing, *rest = params
        shape = torch.broadcast_shapes(common_shape(rest), (*mixing.shape[:-1], *[1] * self.values.event_dims))
        return [tensor.expand(shape) for tensor in rest]

    def _of_each(self, params: Any) -> list[list[Tensor]]:
        expanded = iter(self.full(params))
        return [[next(expanded) for _ in family.Params._fields] for family in self.families]

    def fit(self, *shapes: torch.Size) -> torch.Size:
        mixing, *rest = shapes
        if not mixing or mixing[-1] != len(self.families):
            raise ValueError(f"mixing_logits must have a last axis of {len(self.families)} components")
        return torch.broadcast_shapes(*rest, (*mixing[:-1], *[1] * self.values.event_dims))

    def check(self, params: Any) -> None:
        for family, own in zip(self.families, self._of_each(params), strict=True):
            if hasattr(family, "check"):
                family.check(*own)

    def apply(self, verb: str, params: Any, *values: Tensor, **options: Any) -> Tensor:
        results = [
            getattr(family, verb)(*own, *values, **options)
            for family, own in zip(self.families, self._of_each(params), strict=True)
        ]
        scores_events = (
            verb == "log_prob" and options.get("event_dims", self.values.event_dims) == self.values.event_dims
        )
        axis = -1 if scores_events else self.axis
        return torch.stack(torch.broadcast_tensors(*results), axis)

    def draw(self, verb: str, key: Source, params: Any, sample_shape: tuple[int, ...]) -> Tensor:
        drawn = [
            getattr(family, verb)(leaf_key(key, (str(i),)), *own, sample_shape=sample_shape)
            for i, (family, own) in enumerate(zip(self.families, self._of_each(params), strict=True))
        ]
        return torch.stack(drawn, self.axis)


def of_family(family: Any, made_by: str) -> Components:
    """Return the components of one family, whose parameters have an axis K."""
    return _OneFamily(family, made_by)


def of_families(families: Sequence[Any], made_by: str) -> Components:
    """Return the components of several families."""
    if not families:
        raise TypeError(f"{made_by}: give at least one family")
    return _SeveralFamilies(families, made_by)


def _with_axis(text: str) -> str:
    """Return the description of a parameter that has an axis of components."""
    return text if "(*batch, K)" in text else text.replace("(*batch", "(*batch, K")


def _repeated(value: Tensor, axis: int, count: int) -> Tensor:
    """Return `value` with a new axis of this size."""
    value = value.unsqueeze(axis)
    shape = list(value.shape)
    shape[axis] = count
    return value.expand(shape)
