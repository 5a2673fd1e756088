"""Events some of whose elements are padding, which a mask leaves out."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from functional_dists.combinators.values import common_shape, point_inside, require_family, values_of
from functional_dists.family import (
    Definition,
    Mask,
    Parameters,
    Value,
    combinator,
    define,
    fit_of,
    joined_params,
    name_of,
    sum_event,
)
from functional_dists.random import Shape, Source

__all__ = ["masked_event"]

_POINTS = ("deterministic", "mean", "median", "mode", "stddev", "variance")
_PAIRS = ("rsample_and_log_prob", "sample_and_log_prob")


class _EventMask(NamedTuple):
    """The mask of padded events.

    event_mask: Bool, True where an element counts, of shape (*batch, *event).
    """

    event_mask: Mask


@combinator
def masked_event(family: Any) -> Definition:
    """Return a family whose elements count only where a mask is True: elsewhere is padding, as after an episode's end.

    Args:
        family: A family. If its scores are sums over elements, the mask has the shape of the elements; else that of the
            batch, and `independent(masked_event(family))` sums over steps.

    Returns:
        A family with the parameters of `family`, then `event_mask`. What the mask leaves out adds 0 to scores, whatever
        its value is, even NaN. Draws, moments and points are 0 there.

    Raises:
        TypeError: `family` is not a family.

    >>> from functional_dists import normal
    >>> masked_event(normal).log_prob(torch.zeros(2), 1.0, torch.tensor([True, False]), torch.tensor([0.0, torch.nan]))
    tensor([-0.9189,  0.0000])
    """
    require_family("masked_event", family)
    values, own_fit = values_of(family), fit_of(family)
    param_dims = 0 if values.can_split else values.shape_dims
    verb = define(joined_params(family.Params, _EventMask), f"masked_event({name_of(family)})", values_of=family)
    verb.event_axes = values.event_dims

    def fit(*shapes: torch.Size) -> torch.Size:
        *own, mask = shapes
        whole = torch.broadcast_shapes(*own) if own_fit is None else own_fit(*own)
        last = len(whole) - param_dims
        return torch.Size((*torch.broadcast_shapes(whole[:last], mask), *whole[last:]))

    def split(params: Any) -> tuple[list[Tensor], Tensor]:
        """Return the parameters of the family with all axes of the batch, and the mask."""
        *own, mask = params
        if own_fit is not None:
            return own, mask
        shape = torch.broadcast_shapes(common_shape(own), (*mask.shape, *[1] * param_dims))
        return [tensor.expand(shape) for tensor in own], mask.expand(shape[: len(shape) - param_dims])

    value_axes = 0 if values.can_split else values.event_dims  # of a value, beyond those of the mask

    def only(mask: Tensor, result: Tensor, num_axes: int = 0) -> Tensor:
        return torch.where(mask[(..., *[None] * num_axes)], result, 0)

    def scored(name: str, mask: Tensor, options: dict[str, Any], *arguments: Any) -> Any:
        """Return the result of a verb, a score or a pair, without what the mask leaves out."""
        event_dims = 0
        if values.can_split:
            event_dims = options.pop("event_dims", min(values.event_dims, mask.ndim))
            options = {**options, "event_dims": 0}
        result = getattr(family, name)(*arguments, **options)
        value, score = result if isinstance(result, tuple) else (None, result)
        score = sum_event(only(mask, score), event_dims)
        return score if value is None else (only(mask, value, value_axes), score)

    @verb(fit=fit, passes_to=family.log_prob)
    def log_prob(params: Parameters, value: Value, **options: Any) -> Tensor:
        """Return the log-prob of the elements that count."""
        own, mask = split(params)
        safe = 0 if values.are_indices else point_inside(family, own)
        value = torch.where(mask[(..., *[None] * value_axes)], value, safe)
        score: Tensor = scored("log_prob", mask, options, *own, value)
        return score

    def named(name: str, function: Callable[..., Any], text: str, **keywords: Any) -> None:
        function.__name__ = name
        function.__doc__ = text
        verb(fit=fit, **keywords)(function)

    def of_draw(name: str) -> None:
        def function(key: Source, params: Parameters, *, sample_shape: Shape = (), **options: Any) -> Any:
            own, mask = split(params)
            if name in _PAIRS:
                return scored(name, mask, {**options, "sample_shape": sample_shape}, key, *own)
            return only(mask, getattr(family, name)(key, *own, sample_shape=sample_shape, **options), value_axes)

        named(
            name,
            function,
            f"Draw what `{name}` of {name_of(family)} draws, 0 for padding.",
            passes_to=getattr(family, name),
        )

    def of_score(name: str) -> None:
        def function(params: Parameters, **options: Any) -> Any:
            own, mask = split(params)
            return scored(name, mask, options, *own)

        named(name, function, f"Return the {name} of the elements that count.", passes_to=getattr(family, name))

    def of_point(name: str) -> None:
        def function(params: Parameters) -> Tensor:
            own, mask = split(params)
            return only(mask, getattr(family, name)(*own), value_axes)

        named(name, function, f"Return the {name} of {name_of(family)}, 0 for padding.")

    for make, names in ((of_draw, (*_PAIRS, "rsample", "sample")), (of_score, ("entropy",)), (of_point, _POINTS)):
        for name in names:
            if hasattr(family, name):
                make(name)
    if hasattr(family, "kl"):

        @verb(fit=fit, passes_to=family.kl)
        def kl(p: Parameters, q: Parameters, **options: Any) -> Tensor:
            """Return the Kullback-Leibler divergence of the elements that count for both."""
            (own_p, mask_p), (own_q, mask_q) = split(p), split(q)
            make = family.Params
            divergence: Tensor = scored("kl", mask_p & mask_q, options, make(*own_p), make(*own_q))
            return divergence

    return verb
