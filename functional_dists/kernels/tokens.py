"""Kernels of tokens: rows of logits in float32 or bfloat16, with a mask of positions or of tokens.

A large table is shared by as many threads as PyTorch may use. A row has the same result whichever thread computes it.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

import functional_dists.random.extension as extension
from functional_dists.kernels import gradients, operands
from functional_dists.kernels.operands import address, is_readable, layouts
from functional_dists.special import tokens as formulas

_LEAST = 2**18  # logits for which a thread pays
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def log_prob(
    logits: Any, mask: Any, value: Any, *, ignore_index: int = -100, dtype: torch.dtype | None = None, **options: Any
) -> Any:
    """Do what `llm_masked_categorical.log_prob` does."""
    if change_logits(**options):
        return NotImplemented
    scored = _scored(logits, mask, value, ignore_index, has_entropy=False)
    return NotImplemented if scored is None else cast(Tensor, scored[0]).to(dtype or logits.dtype)


def entropy(logits: Any, mask: Any, *, dtype: torch.dtype | None = None, **options: Any) -> Any:
    """Do what `llm_masked_categorical.entropy` does."""
    if change_logits(**options):
        return NotImplemented
    scored = _scored(logits, mask, None, 0, has_entropy=True)
    return NotImplemented if scored is None else cast(Tensor, scored[1]).to(dtype or logits.dtype)


def log_prob_and_entropy(
    logits: Any, mask: Any, value: Any, *, ignore_index: int = -100, dtype: torch.dtype | None = None, **options: Any
) -> Any:
    """Do what `llm_masked_categorical.log_prob_and_entropy` does."""
    if change_logits(**options):
        return NotImplemented
    scored = _scored(logits, mask, value, ignore_index, has_entropy=True)
    if scored is None:
        return NotImplemented
    return tuple(cast(Tensor, part).to(dtype or logits.dtype) for part in scored)


def change_logits(temperature: Any = 1.0, softcap: Any = None, support: Any = None) -> bool:
    """Say whether options change the logits or their mask; the kernels do not know such options.

    >>> change_logits(), change_logits(temperature=0.5)
    (False, True)
    """
    return type(temperature) not in (float, int) or temperature != 1 or softcap is not None or support is not None


class Table(NamedTuple):
    """What the C functions read of a table of logits ``(*B, V)``."""

    logits: Tensor
    mask: Tensor | None  # (*B, V)
    positions: Tensor | None  # (*B)

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.logits.shape[:-1].numel()

    def call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call a C function on all rows."""
        logits, mask, positions = layouts(*self)
        shape, is_half = tuple(self.logits.shape), self.logits.dtype is torch.bfloat16
        _share(
            lambda rows: function(shape, logits, is_half, mask, positions, rows, *arguments),
            self.rows,
            self.logits.numel(),
        )


def _share(run: Callable[[tuple[int, int]], None], rows: int, size: int) -> None:
    """Run a function on all rows, each thread on a range of them."""
    count = min(torch.get_num_threads(), rows, size // _LEAST)
    if count < 2:
        run((0, rows))
        return
    ranges = [(rows * i // count, rows * (i + 1) // count) for i in range(count)]
    with ThreadPoolExecutor(count) as threads:
        list(threads.map(run, ranges))


def _table(logits: Any, mask: Any) -> Table | None:
    """Return what a kernel reads, None if it cannot."""
    if not (is_readable(logits, torch.float32) or is_readable(logits, torch.bfloat16)):
        return None
    if not is_readable(mask, torch.bool) or not logits.numel() or not 0 < logits.ndim <= operands.MOST_AXES:
        return None
    if mask.shape == logits.shape:
        return Table(logits, mask, None)
    return Table(logits, None, mask) if mask.shape == logits.shape[:-1] else None


def _scored(
    logits: Any, mask: Any, value: Any, ignore_index: int, *, has_entropy: bool
) -> tuple[Tensor | None, Tensor | None] | None:
    """Return the log-probs, unless `value` is None, and the entropies; None if a kernel cannot read an argument."""
    table = _table(logits, mask)
    if table is None:
        return None
    batch, token = logits.shape[:-1], None
    if value is not None:
        if type(value) is not Tensor or value.dtype not in _INTEGERS or type(ignore_index) is not int:
            return None
        if value.shape[value.ndim - len(batch) :] != batch or value.ndim < len(batch):
            if value.ndim:
                return None
            value = value.expand(batch)
        token = value.long().contiguous()
        if not token.numel() or not is_readable(token, torch.int64):
            return None
    is_tracked = operands.are_tracked(logits)
    if is_tracked and not operands.can_be_saved(logits, mask, token):
        return None
    log_prob = None if token is None else torch.empty(token.shape, dtype=torch.float32, device="cpu")
    entropy = torch.empty(batch, dtype=torch.float32, device="cpu") if has_entropy else None
    sums = torch.empty((table.rows, 3), dtype=torch.float64, device="cpu")
    samples = 1 if token is None else token.numel() // table.rows
    scores, kernels = (samples, address(token), ignore_index), cast(Any, extension.kernels)
    table.call(kernels.token_scores, *scores, address(log_prob), address(entropy), sums.data_ptr())
    if is_tracked:
        return cast(Any, TokenScores).apply(*table, token, ignore_index, sums, (log_prob, entropy))
    return log_prob, entropy


class TokenScores(torch.autograd.Function):
    """Log-probs of tokens and entropies, each of which may be None, as functions of the logits."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        mask: Tensor | None,
        positions: Tensor | None,
        token: Tensor | None,
        ignore_index: int,
        sums: Tensor,
        computed: tuple[Tensor | None, Tensor | None],
    ) -> tuple[Tensor | None, Tensor | None]:
        ctx.save_for_backward(logits, mask, positions, token, sums)
        ctx.ignore_index = ignore_index
        ctx.set_materialize_grads(False)
        return computed

    @staticmethod
    def backward(ctx: Any, by_score: Tensor | None, by_entropy: Tensor | None) -> tuple[Tensor | None, ...]:
        *of_table, token, sums = ctx.saved_tensors
        table = Table(*of_table)
        if by_score is None and by_entropy is None:
            return (None,) * 7
        if gradients.can_use_kernel(by_score, by_entropy):
            by_logits = torch.empty_like(table.logits, memory_format=torch.contiguous_format)
            slopes = [None if slope is None else slope.contiguous() for slope in (by_score, by_entropy)]
            scores = (1 if token is None else token.numel() // table.rows, address(token), ctx.ignore_index)
            kernels: Any = extension.kernels
            addresses = (sums.data_ptr(), *map(address, slopes), by_logits.data_ptr())
            table.call(kernels.token_slopes, *scores, *addresses)
            return by_logits, *(None,) * 6
        create_graph = torch.is_grad_enabled()
        mask = cast(Tensor, table.mask if table.positions is None else table.positions)
        with torch.enable_grad():
            logits = table.logits.view_as(table.logits)
            results = []
            if by_score is not None:
                results.append(formulas.log_prob(logits, mask, token, ctx.ignore_index))
            if by_entropy is not None:
                results.append(formulas.entropy(logits, mask))
        asked = [slope for slope in (by_score, by_entropy) if slope is not None]
        return *torch.autograd.grad(results, logits, asked, create_graph=create_graph), *(None,) * 6
