"""A family whose draws may be absent, such as the elements after the end of a sequence: these count for nothing."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from functional_dists.family import (
    Definition,
    Mask,
    Parameters,
    combinator,
    define,
    joined_params,
    name_of,
    specification_of,
)
from functional_dists.random import Shape, Source

_DRAWS = ("sample", "rsample")
_PAIRS = ("sample_and_log_prob", "rsample_and_log_prob")
_POINTS = ("mode", "deterministic", "median", "mean")


class Presence(NamedTuple):
    """The additional parameter.

    present: Bool, False where the draw is absent; it broadcasts against the other parameters. Families with a row of
        numbers for each draw have a last axis of size 1 here.
    """

    present: Mask


def has_rows(family: Any) -> bool:
    """Say whether a row of numbers belongs to each draw, as in a categorical."""
    spec = specification_of(family.log_prob)
    return spec is not None and spec.value_layout == "per row"


@combinator
def optional(family: Any) -> Definition:
    """Return a family with the further parameter `present`; an absent draw is 0, with log-probability and entropy 0.

    Args:
        family: A family. Scores are elementwise, also those of families that sum over an event.

    Returns:
        A family with the parameters of `family`, then `present`.

    >>> from functional_dists import categorical
    >>> present = torch.tensor([[True], [False]])
    >>> optional(categorical).log_prob(torch.zeros(2, 3), present, torch.tensor([2, 0]))
    tensor([-1.0986,  0.0000])
    """
    spec = specification_of(family.log_prob)
    value_kind = next(argument.kind for argument in spec.arguments if not argument.is_parameter) if spec else None
    rows, options = has_rows(family), {} if spec is None or spec.event_dims is None else {"event_dims": 0}
    verb = define(joined_params(family.Params, Presence), f"optional({name_of(family)})")

    def where(params: Any, found: Tensor) -> Tensor:
        present = params[-1][..., 0] if rows else params[-1]
        return torch.where(present, found, torch.zeros((), dtype=found.dtype, device=found.device))

    def made(name: str, function: Callable[..., Any], doc: str) -> None:
        if hasattr(family, name):
            function.__name__, function.__doc__ = name, doc
            verb(function)

    def draw_by(name: str) -> Callable[..., Any]:
        def draw(key: Source, params: Parameters, *, sample_shape: Shape = ()) -> Tensor:
            return where(params, getattr(family, name)(key, *params[:-1], sample_shape=sample_shape))

        return draw

    def pair_by(name: str) -> Callable[..., Any]:
        def draw_and_score(key: Source, params: Parameters, *, sample_shape: Shape = ()) -> tuple[Tensor, Tensor]:
            value, log_prob = getattr(family, name)(key, *params[:-1], sample_shape=sample_shape, **options)
            return where(params, value), where(params, log_prob)

        return draw_and_score

    def point_by(name: str) -> Callable[..., Any]:
        def point(params: Parameters) -> Tensor:
            return where(params, getattr(family, name)(*params[:-1]))

        return point

    def log_prob(params: Parameters, value: value_kind) -> Tensor:  # type: ignore[valid-type]
        return where(params, family.log_prob(*params[:-1], value=value, **options))

    def entropy(params: Parameters) -> Tensor:
        return where(params, family.entropy(*params[:-1], **options))

    def kl(p: Parameters, q: Parameters) -> Tensor:
        return where(p, family.kl(family.Params(*p[:-1]), family.Params(*q[:-1]), **options))

    whole = name_of(family)
    for name in _DRAWS:
        made(name, draw_by(name), f"Draw what `{name}` of {whole} draws, and 0 where that is absent.")
    for name in _PAIRS:
        made(name, pair_by(name), f"Draw what `{name}` of {whole} draws, with its log-probability; 0 where absent.")
    for name in _POINTS:
        made(name, point_by(name), f"Return the {name}, and 0 where the draw is absent.")
    made("log_prob", log_prob, "Return the log-probability of a value, and 0 where that is absent.")
    made("entropy", entropy, "Return the entropy in nats, and 0 where the draw is absent.")
    made("kl", kl, "Return the Kullback-Leibler divergence KL(p || q) in nats, and 0 where a draw of p is absent.")
    return verb
