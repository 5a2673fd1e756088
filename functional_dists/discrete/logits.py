"""Functions that compute, scale or truncate logits, and draws of several outcomes at once.

Every discrete family treats a logit of -inf as an outcome outside the support. So these functions compose with all
families and with each other: `categorical.sample(key, top_p(temperature(logits, 0.7), 0.9))`. A kept outcome keeps its
logit and its gradient; a cut one has gradient 0. The results are those of Hugging Face transformers and of vLLM, except
for ties: among equal logits the first are kept, as in `mode`, where those libraries may keep more than requested.

`t`, `k` and `p` are a number, or a tensor that broadcasts to the batch, like (*batch). One row of logits, (N,), becomes
as many rows as there are numbers. A number outside its range raises a ValueError in eager code on the CPU. In
transforms, in compiled code and on other devices, where values cannot be read, it makes the row NaN.
"""

import math

import numpy as np
import torch
from torch import Tensor

import functional_dists.random as random
from functional_dists.discrete.kept import Kept, as_mask
from functional_dists.discrete.token_options import check_softcap
from functional_dists.discrete.truncation import at_least, first_k, keep, keep_min_p, keep_top_k, keep_top_p, option
from functional_dists.family.options import NOT_NEGATIVE, fixed
from functional_dists.random import Shape, Source
from functional_dists.special import softmax
from functional_dists.special.adjustment import Adjustment
from functional_dists.special.chunks import by_chunks
from functional_dists.special.elementary import softplus
from functional_dists.special.temperature import positive, tempered
from functional_dists.special.truncation import likeliest

__all__ = [
    "keep",
    "keep_min_p",
    "keep_top_k",
    "keep_top_p",
    "log_kept_mass",
    "logits_from_probs",
    "min_p",
    "sample_without_replacement",
    "softcap",
    "temperature",
    "top_k",
    "top_p",
]
__dir__ = __all__.copy  # what tab completion shows


def logits_from_probs(probs: Tensor) -> Tensor:
    """Return the logarithm of probabilities as logits, with gradient 0 where a probability is 0.

    The probabilities of a row need not sum to 1: every family divides by their sum.

    Args:
        probs: Probabilities or weights, not negative, of any shape.

    Returns:
        Logits of that shape, -inf where the probability is 0.

    >>> logits_from_probs(torch.tensor([1.0, 0.0]))
    tensor([0., -inf])
    """
    is_nonzero = probs != 0  # True for NaN, which stays NaN
    return torch.where(is_nonzero, torch.where(is_nonzero, probs, 1.0).log(), -math.inf)


def temperature(logits: Tensor, t: Tensor | float) -> Tensor:
    """Divide logits by a temperature: below 1 the likely outcomes become likelier, above 1 less so.

    0 is greedy: the first of the largest logits becomes 0, and the others -inf, with gradient 0. An infinite
    temperature makes all outcomes of the support equally likely. If the largest quotient of a row would overflow, the
    largest logit is subtracted first, which does not change the distribution. Logits that still overflow become the
    lowest finite number. So mask logits before this call, not after it.

    Args:
        logits: Of shape (*batch, N).
        t: Not negative, a number or a tensor of shape (*batch).

    Returns:
        Logits of shape (*batch, N), -inf where they were.

    Raises:
        TypeError: `t` is neither a number nor a tensor of numbers.
        ValueError: `t` does not broadcast to the batch, or is negative or NaN.

    >>> temperature(torch.tensor([1.0, 2.0, -math.inf]), 0.5)
    tensor([2., 4., -inf])
    >>> temperature(torch.tensor([1.0, 2.0, 2.0]), 0.0)
    tensor([-inf, 0., -inf])
    """
    dtype = _full_dtype(logits)
    checked = option("temperature", "t", t, logits, within=NOT_NEGATIVE)
    divisor = fixed(t) or positive(checked, dtype)
    return tempered(logits.to(dtype), divisor, logits.dtype).to(logits.dtype)


def softcap(logits: Tensor, cap: float) -> Tensor:
    """Return cap tanh(logits / cap), which bounds logits smoothly; -inf stays -inf.

    Source: Gemma Team, "Gemma 2: improving open language models at a practical size" (2024).

    Args:
        logits: Of any shape.
        cap: The bound, a positive number.

    Returns:
        Logits of that shape.

    Raises:
        TypeError: `cap` is not a number.
        ValueError: `cap` is not positive and finite.

    >>> softcap(torch.tensor([1.0, 60.0, -math.inf]), 30.0)
    tensor([ 0.9996, 28.9208,    -inf])
    """
    check_softcap("logits.softcap", cap)
    return Adjustment(softcap=cap).adjusted(logits).to(logits.dtype)


def top_k(logits: Tensor, k: Tensor | int) -> Tensor:
    """Cut all but the `k` largest logits of every row, which are those of `keep_top_k`.

    Args:
        logits: Of shape (*batch, N).
        k: At least 1, an integer or an integer tensor of shape (*batch); all logits are kept if it exceeds N. Where
            values cannot be read, a smaller one counts as 1.

    Returns:
        Logits of shape (*batch, N), -inf where they are cut.

    Raises:
        TypeError: `k` is not an integer.
        ValueError: `k` is below 1, or does not broadcast to the batch.

    >>> top_k(torch.tensor([1.0, 3.0, 0.0, 1.0]), 2)
    tensor([1., 3., -inf, -inf])
    """
    return torch.where(first_k("top_k", logits, k), logits, -math.inf)


def top_p(logits: Tensor, p: Tensor | float) -> Tensor:
    """Cut all but the fewest likeliest outcomes whose total probability reaches `p`, which are those of `keep_top_p`.

    Source: Holtzman, Buys, Du, Forbes, Choi, "The curious case of neural text degeneration" (2020).

    Args:
        logits: Of shape (*batch, N).
        p: Between 0 and 1, a number or a tensor of shape (*batch). 0 keeps one outcome, and 1 keeps all of them.

    Returns:
        Logits of shape (*batch, N), -inf where they are cut.

    Raises:
        TypeError: `p` is neither a number nor a tensor of numbers.
        ValueError: `p` does not broadcast to the batch, or is not between 0 and 1.

    >>> top_p(torch.tensor([0.2, 0.5, 0.3]).log(), 0.6).exp()
    tensor([0.0000, 0.5000, 0.3000])
    """
    mass = option("top_p", "p", p, logits)
    return _cut(logits, likeliest(logits, None, None, mass), mass)


def min_p(logits: Tensor, p: Tensor | float) -> Tensor:
    """Cut the outcomes whose probability is below `p` times that of the likeliest; `keep_min_p` gives the others.

    Source: Nguyen et al., "Turning up the heat: min-p sampling for creative and coherent LLM outputs" (2024).

    Args:
        logits: Of shape (*batch, N).
        p: Between 0 and 1, a number or a tensor of shape (*batch).

    Returns:
        Logits of shape (*batch, N), -inf where they are cut.

    Raises:
        TypeError: `p` is neither a number nor a tensor of numbers.
        ValueError: `p` does not broadcast to the batch, or is not between 0 and 1.

    >>> min_p(torch.tensor([0.2, 0.5, 0.3]).log(), 0.5).exp()
    tensor([0.0000, 0.5000, 0.3000])
    """
    least = option("min_p", "p", p, logits)
    return _cut(logits, at_least(logits, least), least)


def log_kept_mass(logits: Tensor, kept: Kept) -> Tensor:
    """Return the log of the probability of a kept set under all logits of its row.

    Where tokens were drawn from the kept set and are scored on all tokens, the mean importance ratio is this mass.
    The result keeps its digits where the mass is almost 1: it is log1p of minus the lost probability.

    Args:
        logits: Of shape (*batch, N).
        kept: A kept set in any form of the module `kept`, of the same batch.

    Returns:
        Of shape (*batch), differentiable by the logits: 0 if no other outcome is possible, -inf if no kept one is.

    Raises:
        TypeError: `kept` is not a kept set.
        ValueError: `kept` does not fit the logits.

    >>> log_kept_mass(torch.tensor([0.2, 0.5, 0.3]).log(), torch.tensor([1, 2])).exp()
    tensor(0.8000)
    >>> log_kept_mass(torch.tensor([0.0, 60.0]), torch.tensor([False, True]))
    tensor(-8.7565e-27)
    """
    mask = as_mask(kept, logits.shape[-1], logits.shape[:-1])
    if mask.shape != logits.shape:
        raise ValueError(f"logits.log_kept_mass: kept of shape {tuple(mask.shape)} does not fit {tuple(logits.shape)}")
    return by_chunks(_log_mass, logits, mask)


def _log_mass(logits: Tensor, mask: Tensor) -> Tensor:
    (inside, has_inside), (outside, has_outside) = _log_sum(logits, mask), _log_sum(logits, ~mask)
    log_odds = outside[0] - inside[0] + (outside[1] - inside[1])
    log_mass = -softplus(torch.where(has_inside & has_outside, log_odds, 0.0 * log_odds.detach()))
    log_mass = torch.where(has_outside | log_mass.isnan(), log_mass, 0.0)
    return torch.where(has_inside | log_mass.isnan(), log_mass, -math.inf).to(logits.dtype)


def _log_sum(logits: Tensor, mask: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Return the maximum of masked logits with the log of the sum of exp(logits - maximum), and if there are any."""
    table = softmax.masked(logits.to(_full_dtype(logits)), mask)
    top = table.detach().amax(-1)
    is_any = top != -math.inf
    top = torch.where(is_any, top, 0.0)
    total = torch.exp(table - top[..., None]).sum(-1)
    return (top.double(), torch.where(is_any, total, 1.0).double().log()), is_any


def sample_without_replacement(
    key: Source, logits: Tensor, k: int, *, sample_shape: Shape = (), padding_value: int = -1
) -> Tensor:
    """Draw `k` distinct outcomes of every row in sequence, each in proportion to exp(logits) of those that remain.

    They are the `k` largest sums of a logit and a Gumbel variable (Vieira, "Gumbel-max trick and weighted reservoir
    sampling", 2014; Kool, van Hoof, Welling, "Stochastic beams and where to find them", 2019); their order is that of
    Plackett and Luce.

    Args:
        key: A uint64 key tensor of shape (2,) (`random.key`), a batch of them (*K, 2) where K are the leading axes of
            `batch`, or a `torch.Generator`.
        logits: Of shape (*batch, N), -inf outside the support.
        k: How many to draw, from 0 to N.
        sample_shape: The axes to put before the batch, one independent draw for each entry.
        padding_value: Fills the last places if the support has fewer than `k` outcomes.

    Returns:
        Outcomes, int64, of shape (*sample_shape, *batch, k), in the order of the draws.

    Raises:
        TypeError: `key` is neither a key nor a Generator, or `k` is not an integer.
        ValueError: `key` has another shape, or `k` is not between 0 and N.

    >>> sample_without_replacement(random.key(42), torch.tensor([0.0, 1.0, -math.inf, 2.0]), 4)
    tensor([ 3,  1,  0, -1])
    """
    if not isinstance(k, (int, np.integer, torch.SymInt)) or isinstance(k, bool):
        raise TypeError(f"logits.sample_without_replacement: k must be an integer, got {k!r}")
    k = int(k) if isinstance(k, np.integer) else k
    if not 0 <= k <= logits.shape[-1]:
        raise ValueError(
            f"logits.sample_without_replacement: k must lie between 0 and the number of outcomes "
            f"{logits.shape[-1]}, got {k}"
        )
    dtype = _full_dtype(logits)
    *batch, count = logits.shape
    noise = random.draw_entries(random.gumbel, key, sample_shape, batch, (count,), dtype=dtype, device=logits.device)
    values, outcomes = (logits.detach().to(dtype) + noise).topk(k, sorted=True)
    return torch.where(values == -math.inf, padding_value, outcomes)


# ------------------------------------------------------------------------------------------------------------ helpers
def _full_dtype(logits: Tensor) -> torch.dtype:
    return torch.promote_types(logits.dtype, torch.float32)


def _cut(logits: Tensor, kept: Tensor, p: Tensor) -> Tensor:
    """Return the kept logits; the cut ones are -inf, or NaN where `p` is NaN."""
    return torch.where(kept, logits, torch.where(p.isnan(), math.nan, -math.inf).to(logits.dtype))
