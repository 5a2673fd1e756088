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
        function.__name__ = name
        function.__doc__ = doc
        verb(function)

    for name in _DRAWS:
        if hasattr(family, name):

            def draw(
                key: Source, params: Parameters, *, sample_shape: Shape = (), _of: Any = getattr(family, name)
            ) -> Tensor:
                return where(params, _of(key, *params[:-1], sample_shape=sample_shape))

            made(name, draw, f"Draw what `{name}` of {name_of(family)} draws, and 0 where that is absent.")
    for name in _PAIRS:
        if hasattr(family, name):

            def draw_and_score(
                key: Source, params: Parameters, *, sample_shape: Shape = (), _of: Any = getattr(family, name)
            ) -> tuple[Tensor, Tensor]:
                value, log_prob = _of(key, *params[:-1], sample_shape=sample_shape, **options)
                return where(params, value), where(params, log_prob)

            made(name, draw_and_score, f"Draw what `{name}` of {name_of(family)} draws, with its log-probability.")

    def log_prob(params: Parameters, value: value_kind) -> Tensor:  # type: ignore[valid-type]
        return where(params, family.log_prob(*params[:-1], value=value, **options))

    made("log_prob", log_prob, "Return the log-probability of a value, and 0 where that is absent.")
    if hasattr(family, "entropy"):

        def entropy(params: Parameters) -> Tensor:
            return where(params, family.entropy(*params[:-1], **options))

        made("entropy", entropy, "Return the entropy in nats, and 0 where the draw is absent.")
    for name in _POINTS:
        if hasattr(family, name):

            def point(params: Parameters, *, _of: Any = getattr(family, name)) -> Tensor:
                return where(params, _of(*params[:-1]))

            made(name, point, f"Return the {name}, and 0 where the draw is absent.")
    return verb
