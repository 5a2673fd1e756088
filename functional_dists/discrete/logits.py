"""Functions that make logits of other numbers, or cut their tail, and draws of several outcomes at once.

Every discrete family takes a logit of -inf for an outcome outside the support, so these compose with all of them and
with each other: `categorical.sample(key, top_p(temperature(logits, 0.7), 0.9))`. What is kept keeps its logit and its
gradient; what is cut has gradient 0. They agree with the processors of Hugging Face transformers and of vLLM, but that
among equal logits the first are kept, as `mode` takes the first, where those may keep more of them than asked for.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from functional_dists import random
from functional_dists.random import Source

__all__ = [
    "logits_from_probs",
    "min_p",
    "sample_without_replacement",
    "temperature",
    "top_k",
    "top_p",
]


def logits_from_probs(probs: Tensor) -> Tensor:
    """Return the logits of probabilities, their logarithm, with a gradient of 0 where a probability is 0.

    The probabilities of a row need not sum to 1: every family divides by their sum.

    Args:
        probs: Probabilities or weights, not negative, of any shape.

    Returns:
        Logits of that shape, -inf where the probability is 0.

    >>> logits_from_probs(torch.tensor([1.0, 0.0]))
    tensor([0., -inf])
    """
    positive = probs != 0  # NaN stays NaN
    return torch.where(positive, torch.where(positive, probs, 1.0).log(), -math.inf)


def temperature(logits: Tensor, t: Tensor | float) -> Tensor:
    """Divide logits by a temperature: below 1 the likely outcomes become likelier, above 1 less so.

    Args:
        logits: Of shape (*batch, N).
        t: Positive, a number or a tensor of shape (*batch).

    Returns:
        Logits of shape (*batch, N), -inf where they were.

    Raises:
        ValueError: `t` does not broadcast against the batch.

    >>> temperature(torch.tensor([1.0, 2.0, -math.inf]), 0.5)
    tensor([2., 4., -inf])
    """
    t = _of_rows("t", t, logits, _full_dtype(logits))
    left_out = logits == -math.inf
    return torch.where(left_out, -math.inf, torch.where(left_out, 0.0, logits) / t).to(logits.dtype)


def top_k(logits: Tensor, k: Tensor | int) -> Tensor:
    """Keep the `k` largest logits of every row, the first among equals.

    Args:
        logits: Of shape (*batch, N).
        k: At least 1, an integer or an integer tensor of shape (*batch); all are kept where it exceeds N.

    Returns:
        Logits of shape (*batch, N), -inf where they are cut.

    Raises:
        TypeError: `k` is not an integer.
        ValueError: `k` is an integer below 1, or does not broadcast against the batch.

    >>> top_k(torch.tensor([1.0, 3.0, 0.0, 1.0]), 2)
    tensor([1., 3., -inf, -inf])
    """
    if isinstance(k, Tensor):
        if k.dtype.is_floating_point or k.dtype.is_complex or k.dtype == torch.bool:
            raise TypeError(f"k must be an integer or an integer tensor, got {k.dtype}")
        count = _of_rows("k", k, logits, torch.int64).clamp(1, logits.shape[-1])
        return _keep_largest(logits, _sorted(logits), count)
    if not isinstance(k, (int, torch.SymInt)) or isinstance(k, bool):
        raise TypeError(f"k must be an integer or an integer tensor, got {k!r}")
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if k >= logits.shape[-1]:
        return logits
    return _keep_largest(logits, logits.detach().topk(k).values, torch.full((1,), k, device=logits.device))


def top_p(logits: Tensor, p: Tensor | float) -> Tensor:
    """Keep the fewest outcomes of every row whose probability reaches `p`, the likeliest, the first among equals.

    Source: Holtzman, Buys, Du, Forbes, Choi, "The curious case of neural text degeneration" (2020).

    Args:
        logits: Of shape (*batch, N).
        p: A number or a tensor of shape (*batch). One outcome is kept even for 0, and all of them for 1.

    Returns:
        Logits of shape (*batch, N), -inf where they are cut.

    Raises:
        ValueError: `p` does not broadcast against the batch.

    >>> top_p(torch.tensor([0.2, 0.5, 0.3]).log(), 0.6).exp()
    tensor([0.0000, 0.5000, 0.3000])
    """
    # In float64, where rounding moves a sum over a vocabulary by less than the logits' own digits say.
    p = _of_rows("p", p, logits, torch.float64)
    ordered = _sorted(logits)
    probs = ordered.to(_full_dtype(logits)).softmax(-1).double()
    is_kept = (probs.cumsum(-1) - probs < p) | (p >= 1)
    return _keep_largest(logits, ordered, is_kept.sum(-1, keepdim=True).clamp(min=1))


def min_p(logits: Tensor, p: Tensor | float) -> Tensor:
    """Keep the outcomes of every row whose probability is at least `p` times that of the likeliest.

    Source: Nguyen et al., "Turning up the heat: min-p sampling for creative and coherent LLM outputs" (2024).

    Args:
        logits: Of shape (*batch, N).
        p: Between 0 and 1, a number or a tensor of shape (*batch).

    Returns:
        Logits of shape (*batch, N), -inf where they are cut.

    Raises:
        ValueError: `p` does not broadcast against the batch.

    >>> min_p(torch.tensor([0.2, 0.5, 0.3]).log(), 0.5).exp()
    tensor([0.0000, 0.5000, 0.3000])
    """
    dtype = _full_dtype(logits)
    p = _of_rows("p", p, logits, dtype)
    numbers = logits.detach().to(dtype)
    return torch.where((numbers - numbers.amax(-1, keepdim=True)).exp() >= p, logits, -math.inf)


def sample_without_replacement(
    key: Source, logits: Tensor, k: int, *, sample_shape: Sequence[int] = (), padding_value: int = -1
) -> Tensor:
    """Draw `k` distinct outcomes of every row one after the other, each in proportion to exp(logits) of those left.

    They are the `k` largest sums of a logit and a Gumbel variable (Vieira, "Gumbel-max trick and weighted reservoir
    sampling", 2014; Kool, van Hoof, Welling, "Stochastic beams and where to find them", 2019); their order is that of
    Plackett and Luce.

    Args:
        key: A uint64 key tensor of shape (2,) (`random.key`), a batch of them (*K, 2) where K are the leading axes of
            `batch`, or a `torch.Generator`.
        logits: Of shape (*batch, N), -inf outside the support.
        k: How many to draw, from 0 to N.
        sample_shape: The axes to put before the batch, one independent draw each.
        padding_value: What takes the last places where the support has fewer than `k` outcomes.

    Returns:
        Outcomes, int64, of shape (*sample_shape, *batch, k), in the order in which they are drawn.

    Raises:
        TypeError: `key` is neither a key nor a Generator, or `k` is not an integer.
        ValueError: `key` has another shape, or `k` is not between 0 and N.

    >>> sample_without_replacement(random.key(42), torch.tensor([0.0, 1.0, -math.inf, 2.0]), 4)
    tensor([ 3,  1,  0, -1])
    """
    if not isinstance(k, (int, torch.SymInt)) or isinstance(k, bool):
        raise TypeError(f"k must be an integer, got {k!r}")
    if not 0 <= k <= logits.shape[-1]:
        raise ValueError(f"k must lie between 0 and the number of outcomes {logits.shape[-1]}, got {k}")
    dtype = _full_dtype(logits)
    *batch, count = logits.shape
    noise = random.draw_entries(random.gumbel, key, sample_shape, batch, (count,), dtype=dtype, device=logits.device)
    values, outcomes = (logits.detach().to(dtype) + noise).topk(k, sorted=True)
    return torch.where(values == -math.inf, padding_value, outcomes)


# ------------------------------------------------------------------------------------------------------------ helpers
def _full_dtype(logits: Tensor) -> torch.dtype:
    return torch.promote_types(logits.dtype, torch.float32)


def _of_rows(name: str, given: Tensor | float, logits: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a number or a tensor ``(*B)`` with an axis for the outcomes."""
    if not isinstance(given, Tensor):
        # Under torch.compile torch.full keeps the number symbolic, where torch.as_tensor would compile it in.
        return torch.full((1,), given, dtype=dtype, device=logits.device)
    try:
        torch.broadcast_shapes(given.shape, logits.shape[:-1])
    except RuntimeError:
        raise ValueError(
            f"{name} of shape {tuple(given.shape)} does not broadcast against the batch {tuple(logits.shape[:-1])} "
            "of the logits"
        ) from None
    return given.to(dtype).unsqueeze(-1)


def _sorted(logits: Tensor) -> Tensor:
    return logits.detach().sort(-1, descending=True).values


def _keep_largest(logits: Tensor, ordered: Tensor, count: Tensor) -> Tensor:
    """Keep the ``count`` ``(*B, 1)`` largest logits, the first among equals, given these in falling order."""
    shape = torch.broadcast_shapes(ordered.shape[:-1], count.shape[:-1])
    smallest = ordered.expand(*shape, ordered.shape[-1]).gather(-1, count.expand(*shape, 1) - 1)
    is_larger, is_equal = logits > smallest, logits == smallest
    is_first = is_equal.cumsum(-1, dtype=torch.int32) <= count - is_larger.sum(-1, keepdim=True)
    return torch.where(is_larger | (is_equal & is_first), logits, -math.inf)
