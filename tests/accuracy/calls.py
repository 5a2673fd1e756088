"""How each measured verb of the package is called: elementwise, with the arguments in the order of the reference.

Tables of logits come as one argument for each outcome, and a mask as zeros and ones.
"""

from collections.abc import Callable

import torch
from torch import Tensor

import functional_dists
from functional_dists import (
    bijectors,
    gamma,
    llm_masked_categorical,
    masked_categorical,
    normal,
    ordinal,
    tanh_normal,
    transformed,
    truncated_normal,
)

from . import reference, reference_gamma, reference_lines, reference_unit

Call = Callable[..., Tensor]


def elementwise(verb: Call) -> Call:
    return lambda *arguments: verb(*arguments, event_dims=0)


def divergence(family) -> Call:
    """Of families with two parameters."""
    return lambda p_first, p_second, q_first, q_second: family.kl(
        family.Params(p_first, p_second), family.Params(q_first, q_second), event_dims=0
    )


def tables(arguments: tuple[Tensor, ...]) -> list[Tensor]:
    """Put tables together again, the later half of which are masks; what is left over is the index of an outcome."""
    size, count = reference.OUTCOMES, len(arguments) // reference.OUTCOMES
    rows = [torch.stack(arguments[i * size : (i + 1) * size], -1) for i in range(count)]
    masks = [row > 0 for row in rows[count // 2 :]]
    return [*rows[: count // 2], *masks, *(index.long() for index in arguments[count * size :])]


def of_tables(verb: Call) -> Call:
    return lambda *arguments: verb(*tables(arguments))


def of_scores(verb: Call) -> Call:
    """Of one table, and perhaps the index of an outcome."""

    def call(*arguments: Tensor) -> Tensor:
        scores, index = arguments[: reference.OUTCOMES], arguments[reference.OUTCOMES :]
        return verb(torch.stack(scores, -1), *(i.long() for i in index))

    return call


def one_entry(verb: Call) -> Call:
    """That of a table of all outcomes."""

    def call(logits: Tensor, mask: Tensor, index: Tensor) -> Tensor:
        return verb(logits, mask).gather(-1, index[..., None]).squeeze(-1)

    return of_tables(call)


@of_tables
def masked_divergence(p_logits: Tensor, q_logits: Tensor, p_mask: Tensor, q_mask: Tensor) -> Tensor:
    params = masked_categorical.Params
    return masked_categorical.kl(params(p_logits, p_mask), params(q_logits, q_mask))


def truncated_divergence(
    p_loc: Tensor, p_scale: Tensor, q_loc: Tensor, q_scale: Tensor, low: Tensor, high: Tensor
) -> Tensor:
    return truncated_divergence_wider(p_loc, p_scale, q_loc, q_scale, low, high, low, high)


def truncated_divergence_wider(
    p_loc: Tensor,
    p_scale: Tensor,
    q_loc: Tensor,
    q_scale: Tensor,
    p_low: Tensor,
    p_high: Tensor,
    q_low: Tensor,
    q_high: Tensor,
) -> Tensor:
    params = truncated_normal.Params
    p, q = params(p_loc, p_scale, p_low, p_high), params(q_loc, q_scale, q_low, q_high)
    return truncated_normal.kl(p, q, event_dims=0)


CALLS: dict[str, Call] = {
    "normal.log_prob": elementwise(normal.log_prob),
    **{f"normal.{verb}": getattr(normal, verb) for verb in reference.TAIL_VERBS},
    "normal.icdf": normal.icdf,
    "normal.kl": divergence(normal),
    "normal.entropy": elementwise(normal.entropy),
    "tanh_normal.log_prob": elementwise(tanh_normal.log_prob),
    "tanh_normal.log_prob_near_loc": elementwise(tanh_normal.log_prob),
    "tanh_normal.log_prob_pretanh": elementwise(tanh_normal.log_prob_pretanh),
    "tanh_normal.squash": tanh_normal.squash,
    "tanh_normal.unsquash": tanh_normal.unsquash,
    "tanh_normal.mode": tanh_normal.mode,
    "tanh_normal.median": tanh_normal.median,
    "tanh_normal.mean": tanh_normal.mean,
    "tanh_normal.variance": tanh_normal.variance,
    "tanh_normal.entropy": elementwise(tanh_normal.entropy),
    **{f"tanh_normal.{verb}": getattr(tanh_normal, verb) for verb in reference.TAIL_VERBS},
    "tanh_normal.icdf": tanh_normal.icdf,
    "tanh_normal.kl": divergence(tanh_normal),
    "truncated_normal.log_prob": elementwise(truncated_normal.log_prob),
    "truncated_normal.entropy": elementwise(truncated_normal.entropy),
    "truncated_normal.mean": truncated_normal.mean,
    "truncated_normal.variance": truncated_normal.variance,
    **{f"truncated_normal.{verb}": getattr(truncated_normal, verb) for verb in reference.TAIL_VERBS},
    "truncated_normal.icdf": truncated_normal.icdf,
    "truncated_normal.kl": truncated_divergence,
    "truncated_normal.kl_wider_window": truncated_divergence_wider,
    "masked_categorical.log_prob": of_tables(masked_categorical.log_prob),
    "masked_categorical.normalized_logits": one_entry(masked_categorical.normalized_logits),
    "masked_categorical.probs": one_entry(masked_categorical.probs),
    "masked_categorical.entropy": of_tables(masked_categorical.entropy),
    "masked_categorical.kl_same_mask": masked_divergence,
    "masked_categorical.kl_wider_mask": masked_divergence,
    "llm_masked_categorical.log_prob": of_tables(llm_masked_categorical.log_prob),
    "llm_masked_categorical.entropy": of_tables(llm_masked_categorical.entropy),
    "ordinal.log_prob": of_scores(ordinal.log_prob),
    "ordinal.entropy": of_scores(ordinal.entropy),
    **{
        name: elementwise(verb) if name.endswith(("log_prob", "entropy")) else verb
        for name in (*reference_lines.references(reference.mp), *reference_unit.references(reference.mp))
        if not name.endswith("log_det")
        for family, _, of in [name.partition(".")]
        for verb in [getattr(getattr(functional_dists, family), of)]
    },
    **{f"gamma.{verb}": getattr(gamma, verb) for verb in (*reference_gamma.TAILS, "icdf")},
    **{f"gamma.{verb}": elementwise(getattr(gamma, verb)) for verb in ("log_prob", "entropy")},
    "gamma.kl": divergence(gamma),
    **{f"{name}.forward_log_det": getattr(bijectors, name).forward_log_det for name in ("tanh", "softplus", "symlog")},
}

IN_AN_INTERVAL = transformed(normal, bijectors.interval)
#: Verbs of families that combinators make, and the verb whose exact answers are theirs too.
MADE: dict[str, tuple[str, Call]] = {
    f"transformed(normal, interval).{verb}": (f"tanh_normal.{verb}", call)
    for verb in ("log_prob", *reference.TAIL_VERBS, "icdf", "median")
    for of in [getattr(IN_AN_INTERVAL, verb)]
    for call in [elementwise(of) if verb == "log_prob" else of]
}
