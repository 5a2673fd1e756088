"""A family of independent elements: scores are summed over the last axes of the batch, which become event axes."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.distributions.constraints import Constraint

from functional_dists.combinators.values import require_family, values_of
from functional_dists.family import BoundFamily, combinator, define, name_of, specification_of, sum_event, verbs
from functional_dists.special.support import of_events

__all__ = ["independent"]

_SCORES = ("entropy", "kl", "log_prob", "log_prob_relaxed")
_PAIRS = ("rsample_and_log_prob", "sample_and_log_prob")


@combinator
def independent(family: Any, event_dims: int = 1) -> Any:
    """Return a family of independent elements, whose log-prob, entropy and divergence are sums over the last axes.

    Args:
        family: A family. If it has the option `event_dims`, it keeps that option with another default.
        event_dims: How many axes of the batch become axes of the event, in addition to those of the family.

    Returns:
        A family with the parameters of `family`.

    Raises:
        TypeError: `family` is not a family.
        ValueError: `event_dims` is negative.

    >>> import torch
    >>> from functional_dists import categorical, normal
    >>> independent(normal).log_prob(torch.zeros(4, 3), 1.0, torch.zeros(4, 3)).shape
    torch.Size([4])
    >>> independent(categorical, 2).entropy(torch.zeros(4, 3, 5)).shape
    torch.Size([])
    """
    require_family("independent", family)
    if event_dims < 0:
        raise ValueError(f"independent: event_dims must not be negative, got {event_dims}")
    spec = specification_of(family.log_prob)
    if spec is not None and spec.event_dims is not None:
        return BoundFamily(family, {"event_dims": spec.event_dims + event_dims}, (independent, (family, event_dims)))
    verb = define(family.Params, f"independent({name_of(family)}, {event_dims})")
    verb.event_axes = values_of(family).event_dims + event_dims

    def sum_score(score: Tensor) -> Tensor:
        if score.ndim < event_dims:
            raise ValueError(f"{verb.name}: the batch must have {event_dims} axes to sum over, got {score.ndim}")
        return sum_event(score, event_dims)

    def sum_log_prob(pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return pair[0], sum_score(pair[1])

    def sum_both(pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return sum_score(pair[0]), sum_score(pair[1])

    def of_vectors(support: Constraint) -> Constraint:
        return of_events(support, event_dims)

    changes: dict[str, Callable[..., Any]] = {
        **dict.fromkeys(_SCORES, sum_score),
        **dict.fromkeys(_PAIRS, sum_log_prob),
        "log_prob_and_entropy": sum_both,
        "support": of_vectors,
    }
    for name, function in verbs(family).items():
        change = changes.get(name)
        if change is None:
            verb.inherit(family, name)
        else:
            change_as_text = "for all elements at once" if name == "support" else "with the score summed"
            verb.mapped(function, change, f"Return the result of `{name}` of {name_of(family)}, {change_as_text}.")
    return verb
