"""Rules that keep some outcomes of every row of logits: the likeliest k, those that reach a probability, and both."""

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from functional_dists.family.options import AT_LEAST_1, UNIT_INTERVAL, Range, per_row
from functional_dists.special.truncation import likeliest

__all__ = ["keep", "keep_min_p", "keep_top_k", "keep_top_p"]


def keep_top_k(logits: Tensor, k: Tensor | int) -> Tensor:
    """Return the mask of the `k` largest logits of every row, the first among equals.

    Args:
        logits: Of shape (*batch, N).
        k: At least 1, an integer or an integer tensor of shape (*batch). Where values cannot be read, a smaller one
            counts as 1.

    Returns:
        Bool of shape (*batch, N): False at a logit of -inf, True at NaN.

    Raises:
        TypeError: `k` is not an integer.
        ValueError: `k` is below 1, or does not broadcast to the batch.

    >>> keep_top_k(torch.tensor([1.0, 3.0, 0.0, 1.0]), 2)
    tensor([ True,  True, False, False])
    """
    return first_k("keep_top_k", logits, k)


def keep_top_p(logits: Tensor, p: Tensor | float) -> Tensor:
    """Return the mask of the fewest likeliest outcomes of every row whose total probability reaches `p`.

    The first among equals are kept. Weights exp(logit - maximum) are rounded down to multiples of 2^-(53 - log2 N), so
    that their sum does not depend on its order: the kept set is the same in every batch, transform and compiled code.

    Args:
        logits: Of shape (*batch, N).
        p: Between 0 and 1, a number or a tensor of shape (*batch). 0 keeps one outcome, and 1 keeps all of them.

    Returns:
        Bool of shape (*batch, N): False at a logit of -inf, True at NaN, beside which nothing else is kept.

    Raises:
        TypeError: `p` is neither a number nor a tensor of numbers.
        ValueError: `p` does not broadcast to the batch, or is not between 0 and 1.

    >>> keep_top_p(torch.tensor([0.2, 0.5, 0.3]).log(), 0.6)
    tensor([False,  True,  True])
    """
    return likeliest(logits, None, None, option("keep_top_p", "p", p, logits))


def keep_min_p(logits: Tensor, p: Tensor | float) -> Tensor:
    """Return the mask of the outcomes of every row whose probability is at least `p` times that of the likeliest.

    A logit is compared with the largest one plus log(p), rounded to the precision of the logits.

    Args:
        logits: Of shape (*batch, N).
        p: Between 0 and 1, a number or a tensor of shape (*batch).

    Returns:
        Bool of shape (*batch, N): False at a logit of -inf, True at NaN, beside which nothing else is kept.

    Raises:
        TypeError: `p` is neither a number nor a tensor of numbers.
        ValueError: `p` does not broadcast to the batch, or is not between 0 and 1.

    >>> keep_min_p(torch.tensor([0.2, 0.5, 0.3]).log(), 0.5)
    tensor([False,  True,  True])
    """
    return at_least(logits, option("keep_min_p", "p", p, logits))


def keep(
    logits: Tensor,
    *,
    top_k: Tensor | int | None = None,
    top_p: Tensor | float | None = None,
    min_p: Tensor | float | None = None,
    order: Literal["sequential", "joint"] = "sequential",
) -> Tensor:
    """Return the mask of the outcomes that all given rules keep.

    With the order "sequential", `top_p` is a part of the probability of those that `top_k` keeps, as in Hugging Face
    transformers (`GenerationMixin._get_logits_processor`: top-k, top-p, min-p) and in FlashInfer ("top_k_first"). With
    "joint" it is a part of the probability of all outcomes, as in FlashInfer ("joint"). The likeliest outcome is always
    kept, so `min_p` keeps the same ones in both orders.

    Args:
        logits: Of shape (*batch, N).
        top_k: As in `keep_top_k`; None keeps all.
        top_p: As in `keep_top_p`; None keeps all.
        min_p: As in `keep_min_p`; None keeps all.
        order: "sequential" or "joint".

    Returns:
        Bool of shape (*batch, N).

    Raises:
        TypeError: An option is not a number or a tensor of the right kind.
        ValueError: An option does not broadcast to the batch or is out of its range, or the order is unknown.

    >>> row = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    >>> keep(row, top_k=3, top_p=0.75)
    tensor([ True,  True, False, False])
    >>> keep(row, top_k=3, top_p=0.75, order="joint")
    tensor([ True,  True,  True, False])
    """
    if order not in ("sequential", "joint"):
        raise ValueError(f'logits.keep: order must be "sequential" or "joint", got {order!r}')
    count, most = (None, None) if top_k is None else _counts("keep", "top_k", top_k, logits)
    mass = None if top_p is None else option("keep", "top_p", top_p, logits)
    kept = likeliest(logits, count, most, mass, order == "joint")
    return kept if min_p is None else kept & at_least(logits, option("keep", "min_p", min_p, logits))


# ------------------------------------------------------------------------------------------------------------- helpers
def first_k(function: str, logits: Tensor, k: Tensor | int) -> Tensor:
    """Return the mask of the first `k` outcomes, on behalf of a function."""
    return likeliest(logits, *_counts(function, "k", k, logits), None)


def _counts(function: str, name: str, k: Tensor | int, logits: Tensor) -> tuple[Tensor, int | None]:
    """Return the counts of the rows, and the largest one if it is known."""
    count = option(function, name, k, logits, torch.int64, AT_LEAST_1)
    k = int(k) if isinstance(k, np.generic) else k
    return count, k if isinstance(k, (int, torch.SymInt)) else None


def option(
    function: str,
    name: str,
    given: Tensor | float,
    logits: Tensor,
    dtype: torch.dtype = torch.float64,
    within: Range = UNIT_INTERVAL,
) -> Tensor:
    """Return the checked option as a tensor with one number per row and a last axis of size 1."""
    batch = logits.shape[:-1]
    if isinstance(given, Tensor) and not batch:
        batch = given.shape
    return per_row(f"logits.{function}", name, given, batch, dtype=dtype, device=logits.device, within=within)


def at_least(logits: Tensor, p: Tensor) -> Tensor:
    """Return the mask of the outcomes that are at least `p` ``(*B, 1)`` times as likely as the likeliest."""
    numbers = logits.detach().to(torch.promote_types(logits.dtype, torch.float32))
    bound = (numbers.amax(-1, keepdim=True).double() + p.detach().log()).to(numbers.dtype)
    lowest = torch.finfo(numbers.dtype).min  # above -inf, which is never kept
    return ~(numbers < bound.nan_to_num(math.inf, math.inf, lowest))
