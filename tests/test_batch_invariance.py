"""A row of categories has the same bits in any batch: any size, order, chunk and lane of vmap, within one mode.

The modes are eager code with kernels, eager code without, and compiled code. They differ from each other by roundings,
and the last test has the bound that docs/numerics.md tells. Draws are the same in all modes.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from functional_dists import categorical, llm_masked_categorical, masked_categorical, random, sparse_categorical
from functional_dists.random import extension
from functional_dists.random.extension import without_kernels
from functional_dists.special import chunks

KEY = random.key(21)
ROWS = 12
COUNTS = (7, 64, 1000)
FAMILIES: dict[str, Any] = {
    "categorical": categorical,
    "masked_categorical": masked_categorical,
    "sparse_categorical": sparse_categorical,
    "llm_masked_categorical, positions": llm_masked_categorical,
    "llm_masked_categorical, tokens": llm_masked_categorical,
}
MODES = {
    "with kernels": pytest.param(
        lambda call: call, marks=pytest.mark.skipif(extension.kernels is None, reason="the kernels are not built")
    ),
    "without kernels": pytest.param(without_kernels),
}
Arguments = tuple[Tensor, ...]
Call = Callable[..., Arguments]


def arguments_of(name: str, count: int, dtype: torch.dtype = torch.float32) -> Arguments:
    """Return keys, parameters and values of independent rows."""
    logits = (3 * random.normal(KEY, (ROWS, count))).to(dtype)
    value = random.randint(random.fold_in(KEY, 1), (ROWS,), 0, count)
    mask = random.bernoulli(random.fold_in(KEY, 2), (ROWS, count), 0.8)
    indices = torch.stack([random.permutation(key, count)[:5] for key in random.split(KEY, ROWS)])
    others = {
        "categorical": (),
        "sparse_categorical": (indices,),
        "llm_masked_categorical, positions": (mask[:, 0],),
    }.get(name, (mask,))
    return random.split(random.fold_in(KEY, 3), ROWS), logits, *others, value


def results_of(name: str) -> Call:
    """Return a function of rows: draws, scores, and the gradients of the scores."""
    family = FAMILIES[name]

    def call(keys: Tensor, logits: Tensor, *rest: Tensor) -> Arguments:
        *others, value = rest
        leaf = logits.detach().clone().requires_grad_()
        drawn, of_draw = family.sample_and_log_prob(keys, leaf, *others)
        log_prob, entropy = family.log_prob_and_entropy(leaf, *others, value)
        alone = family.log_prob(leaf, *others, value), family.entropy(leaf, *others)
        scores = (of_draw, log_prob, entropy, *alone)
        finite = sum(torch.where(score.isfinite(), score, 0.0).sum() for score in scores)
        return drawn, *(score.detach() for score in scores), *torch.autograd.grad(finite, leaf)

    return call


def assert_rows_equal(got: Arguments, whole: Arguments, rows: Any) -> None:
    for part, of_all in zip(got, whole, strict=True):
        assert part.isnan().sum() == 0
        assert torch.equal(part, of_all[rows])


@pytest.fixture
def whole_size() -> Iterator[int]:
    size = chunks.CHUNK
    yield size
    chunks.CHUNK = size


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", FAMILIES)
def test_size_order_and_chunks_do_not_matter(
    name: str, count: int, mode: Callable[[Call], Call], dtype: torch.dtype, whole_size: int
) -> None:
    arguments, call = arguments_of(name, count, dtype), mode(results_of(name))
    whole = call(*arguments)

    @settings(max_examples=15, deadline=None, derandomize=True)
    @given(st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=2 * ROWS), st.integers(1, ROWS))
    def check(rows: list[int], rows_of_chunk: int) -> None:
        chunks.CHUNK = rows_of_chunk * count
        assert_rows_equal(call(*(argument[rows] for argument in arguments)), whole, rows)
        chunks.CHUNK = whole_size

    check()


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", FAMILIES)
def test_lanes_of_vmap_are_rows(name: str, count: int) -> None:
    family, (keys, logits, *others, value) = FAMILIES[name], arguments_of(name, count)

    def call(keys: Tensor, logits: Tensor, *rest: Tensor) -> Arguments:
        *others, value = rest
        drawn, of_draw = family.sample_and_log_prob(keys, logits, *others)
        return drawn, of_draw, *family.log_prob_and_entropy(logits, *others, value)

    whole = without_kernels(call)(keys, logits, *others, value)
    assert_rows_equal(torch.vmap(call)(keys, logits, *others, value), whole, slice(None))
    halves = (part.reshape(3, 4, *part.shape[1:]) for part in (keys, logits, *others, value))
    nested = torch.vmap(torch.vmap(call))(*halves)
    assert_rows_equal(tuple(part.flatten(0, 1) for part in nested), whole, slice(None))
    assert torch.equal(call(keys, logits, *others, value)[0], whole[0])


@pytest.mark.parametrize("count", [64, 1000])
@pytest.mark.parametrize("name", ["masked_categorical", "llm_masked_categorical, positions"])
def test_compiled_rows(name: str, count: int) -> None:
    """Compiled code has its own last digits; the draws are those of eager code."""
    family, arguments = FAMILIES[name], arguments_of(name, count)

    def call(keys: Tensor, logits: Tensor, *rest: Tensor) -> Arguments:
        *others, value = rest
        return family.sample(keys, logits, *others), *family.log_prob_and_entropy(logits, *others, value)

    torch._dynamo.reset()
    compiled = torch.compile(call, fullgraph=True, dynamic=True)
    whole, eager = compiled(*arguments), call(*arguments)
    for rows in ([3, 1], [11, 2, 2, 5, 7], list(range(12))[::-1]):
        assert_rows_equal(compiled(*(argument[rows] for argument in arguments)), whole, rows)
    assert torch.equal(whole[0], eager[0])
    for got, wanted in zip(whole[1:], eager[1:], strict=True):
        torch.testing.assert_close(got, wanted, rtol=2**-22, atol=2**-22)
