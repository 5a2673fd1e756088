"""Bijectors of consecutive slices of the last axis, as one bijector."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from functional_dists.bijectors.derived import make_verbs
from functional_dists.bijectors.images import sliced
from functional_dists.bijectors.structure import (
    added_entries,
    event_dims_of,
    num_params,
    require_bijector,
    split,
    sum_vector,
)
from functional_dists.family import Definition, combinator, define, joined_params, name_of

__all__ = ["block"]


@combinator
def block(bijectors: Sequence[Any], sizes: Sequence[int]) -> Definition:
    """Return the bijector that applies one bijector to each of several consecutive slices of the last axis.

    Args:
        bijectors: The bijectors, in the order of the slices.
        sizes: How many entries of the last axis of the argument of `forward` each of them takes.

    Returns:
        A bijector with the parameters of all, in their order: each has the shape that its slice asks for. It maps
        vectors if one of the bijectors does, and else elements.

    Raises:
        TypeError: there is something that is no bijector.
        ValueError: there are not as many sizes as bijectors.

    >>> import torch
    >>> from functional_dists.bijectors import exp, tanh
    >>> block((exp, tanh), (1, 2)).forward(torch.zeros(3))
    tensor([1., 0., 0.])
    """
    for bijector in bijectors:
        require_bijector("block", bijector)
    if not bijectors or len(bijectors) != len(sizes):
        raise ValueError(f"block: needs a size for each bijector, got {len(sizes)} for {len(bijectors)}")
    event_dims = max(map(event_dims_of, bijectors))
    sizes_after = [size + added_entries(bijector) for bijector, size in zip(bijectors, sizes, strict=True)]
    counts = [num_params(bijector) for bijector in bijectors]
    inside = ", ".join(map(name_of, bijectors))
    name = f"block(({inside}{',' * (len(bijectors) == 1)}), {tuple(sizes)})"

    def with_params(params: Any) -> list[tuple[Any, Sequence[Any]]]:
        return list(zip(bijectors, split(params, counts), strict=True))

    def mapped(verb: str, params: Any, value: Tensor) -> list[Any]:
        lengths = sizes_after if verb.startswith("inverse") else sizes
        if value.shape[-1:] != (sum(lengths),):
            raise ValueError(
                f"{name}.{verb}: the last axis of value must have {sum(lengths)} entries, got shape "
                f"{tuple(value.shape)}"
            )
        given = zip(bijectors, split(params, counts), value.split(tuple(lengths), -1), strict=True)
        return [getattr(bijector, verb)(*own, part) for bijector, own, part in given]

    def log_det_of(found: Sequence[Tensor]) -> Tensor:
        if not event_dims:
            return torch.cat(tuple(found), -1)
        given = zip(bijectors, found, strict=True)
        return torch.stack([sum_vector(bijector, 1, log_det) for bijector, log_det in given]).sum(0)

    def forward_and_log_det(params: Any, value: Tensor) -> tuple[Tensor, Tensor]:
        values, log_dets = zip(*mapped("forward_and_log_det", params, value), strict=True)
        return torch.cat(values, -1), log_det_of(log_dets)

    def is_increasing(params: Any) -> Tensor:
        device = params[0].device if params else None
        found = [bijector.is_increasing(*own).to(device) for bijector, own in with_params(params)]
        found = [t.expand(torch.broadcast_shapes(t.shape, (size,))) for t, size in zip(found, sizes, strict=True)]
        batch = torch.broadcast_shapes(*(t.shape[:-1] for t in found))
        return torch.cat([t.expand(*batch, t.shape[-1]) for t in found], -1)

    def set_of(verb: str, lengths: Sequence[int]) -> Callable[[Any], Constraint]:
        def of_params(params: Any) -> Constraint:
            parts = [getattr(bijector, verb)(*own) for bijector, own in with_params(params)]
            return sliced(parts, lengths, event_dims)

        return of_params

    of_params: dict[str, Callable[[Any], Any]] = {
        "domain": set_of("domain", sizes),
        "image": set_of("image", sizes_after),
    }
    if not event_dims:
        of_params["is_increasing"] = is_increasing
    return make_verbs(
        define(joined_params(*(bijector.Params for bijector in bijectors)), name),
        event_dims,
        of_value={
            "forward": lambda params, value: torch.cat(mapped("forward", params, value), -1),
            "inverse": lambda params, value: torch.cat(mapped("inverse", params, value), -1),
            "forward_log_det": lambda params, value: log_det_of(mapped("forward_log_det", params, value)),
            "inverse_log_det": lambda params, value: log_det_of(mapped("inverse_log_det", params, value)),
            "forward_and_log_det": forward_and_log_det,
        },
        of_params=of_params,
        parts_check_shapes=True,
    )
