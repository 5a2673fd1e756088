"""The distribution of tokens from hidden vectors: against `categorical` of the whole logits, and in bounded memory."""

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import grad, jvp, vjp, vmap

from functional_dists import bind, categorical, random
from functional_dists import linear_categorical as family
from functional_dists.random.extension import without_kernels
from functional_dists.special import linear_head

KEY = random.key(5)
BATCH, SIZE, TOKENS = (2, 19), 6, 37
HALF = (torch.float16, torch.bfloat16)


@pytest.fixture(autouse=True, params=["one tile", "many tiles"])
def tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == "many tiles":
        monkeypatch.setattr(linear_head, "ROWS", 16)
        monkeypatch.setattr(linear_head, "TOKENS", 10)
    return


def example(dtype: torch.dtype = torch.float64, seed: int = 0, size: int = SIZE) -> tuple[Tensor, Tensor, Tensor]:
    key = random.fold_in(KEY, seed)
    shapes = ((*BATCH, size), (TOKENS, size), (TOKENS,))
    hidden, weight, bias = (
        random.normal(random.fold_in(key, i), shape, dtype=torch.float64).to(dtype) for i, shape in enumerate(shapes)
    )
    bias[3] = -math.inf
    return hidden, weight, bias


def tokens(*shape: int) -> Tensor:
    return random.randint(random.fold_in(KEY, 9), (*shape, *BATCH), -1, TOKENS + 1)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"softcap": 1.5},
    {"temperature": 0.7},
    {"temperature": torch.linspace(0.3, 2.0, 38, dtype=torch.float64).reshape(BATCH), "softcap": 2.0},
]


def table(hidden: Tensor, weight: Tensor, bias: Tensor, temperature: Any = 1.0, softcap: float | None = None) -> Tensor:
    logits = hidden @ weight.T + bias
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    return logits / (temperature[..., None] if isinstance(temperature, Tensor) else temperature)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_verbs_follow_from_the_table(options: dict[str, Any]) -> None:
    head = example()
    logits, value = table(*head, **options), tokens(3)
    tolerance = {"rtol": 1e-12, "atol": 1e-12}
    wanted = categorical.log_prob(logits, value), categorical.entropy(logits)
    torch.testing.assert_close(family.log_prob(*head, value, **options), wanted[0], **tolerance)
    torch.testing.assert_close(family.entropy(*head, **options), wanted[1], **tolerance)
    torch.testing.assert_close(family.log_prob_and_entropy(*head, value, **options), wanted, **tolerance)
    assert torch.equal(family.mode(*head, **options), categorical.mode(logits))
    assert torch.equal(family.support(*head, **options).check(value), wanted[0].isfinite())
    drawn, log_prob = family.sample_and_log_prob(KEY, *head, sample_shape=50, **options)
    assert torch.equal(drawn, categorical.sample(KEY, logits, sample_shape=50))
    torch.testing.assert_close(log_prob, categorical.log_prob(logits, drawn), **tolerance)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_divergence_follows_from_the_tables(options: dict[str, Any]) -> None:
    p, q = example(), example(seed=1, size=4)
    got = family.kl(p, q, **options)
    torch.testing.assert_close(got, categorical.kl((table(*p, **options),), (table(*q, **options),)))
    q = (q[0], q[1], torch.roll(q[2], 1))
    assert (family.kl(p, q) == math.inf).all()
    gradients = grad(lambda hidden: family.kl((hidden, *p[1:]), q).nan_to_num(posinf=0.0).sum())(p[0])
    assert (gradients == 0).all()
    close = (p[0], p[1] + 1e-5 * q[1].sum(), p[2])
    got = family.kl(tuple(t.float() for t in p), tuple(t.float() for t in close))
    assert (got >= 0).all()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gradients_are_those_of_the_table(options: dict[str, Any]) -> None:
    (hidden, weight, bias), other, value = example(), example(seed=1), tokens(2)
    head = (
        hidden,
        weight,
        bias.nan_to_num(neginf=-1.0),
    )  # the table's own derivative by the temperature is NaN at -inf
    other = (*other[:2], head[2] / 2)
    temperature = torch.as_tensor(options.get("temperature", 1.0), dtype=torch.float64).expand(BATCH).clone()
    rest = {"softcap": options.get("softcap")}

    def total(log_prob: Tensor, entropy: Tensor, kl: Tensor) -> Tensor:
        return log_prob.nan_to_num(neginf=0.0).sin().sum() + 2 * entropy.sin().sum() + 3 * kl.sin().sum()

    def by_tiles(hidden: Tensor, weight: Tensor, bias: Tensor, temperature: Tensor) -> Tensor:
        of_both = family.log_prob_and_entropy(hidden, weight, bias, value, temperature=temperature, **rest)
        return total(*of_both, family.kl((hidden, weight, bias), other, temperature=temperature, **rest))

    def by_table(hidden: Tensor, weight: Tensor, bias: Tensor, temperature: Tensor) -> Tensor:
        logits = table(hidden, weight, bias, temperature, **rest)
        divergence = categorical.kl((logits,), (table(*other, temperature, **rest),))
        return total(categorical.log_prob(logits, value), categorical.entropy(logits), divergence)

    arguments, argnums = (*head, temperature), (0, 1, 2, 3)
    wanted = grad(by_table, argnums)(*arguments)
    assert all(g.isfinite().all() for g in wanted)
    torch.testing.assert_close(grad(by_tiles, argnums)(*arguments), wanted)
    leaves = [t.clone().requires_grad_() for t in arguments]
    by_tiles(*leaves).backward()
    torch.testing.assert_close(tuple(leaf.grad for leaf in leaves), wanted)
    slope = jvp(by_tiles, arguments, wanted)[1]
    torch.testing.assert_close(slope, sum((g * g).sum() for g in wanted))
    pulled = jvp(
        lambda hidden: vjp(by_tiles, hidden, *arguments[1:])[1](torch.ones(()).double())[0], head[:1], head[:1]
    )
    tangent = jvp(lambda hidden: grad(by_table)(hidden, *arguments[1:]), head[:1], head[:1])
    torch.testing.assert_close(pulled, tangent)
    lanes = vmap(grad(by_tiles, argnums), in_dims=(0, None, None, 0))
    batched = (torch.stack([head[0], -head[0]]), *head[1:], torch.stack([temperature, 2 * temperature]))
    singles = [grad(by_tiles, argnums)(batched[0][i], *head[1:], batched[3][i]) for i in range(2)]
    torch.testing.assert_close(lanes(*batched), tuple(map(torch.stack, zip(*singles, strict=True))))

    def of_excluded(hidden: Tensor, temperature: Tensor) -> Tensor:
        scores = family.log_prob_and_entropy(hidden, weight, bias, value, temperature=temperature, **rest)
        return total(*scores, torch.zeros(()))

    by_backward = grad(of_excluded, (0, 1))(hidden, temperature)
    assert all(g.isfinite().all() for g in by_backward)
    slope = jvp(of_excluded, (hidden, temperature), by_backward)[1]
    torch.testing.assert_close(slope, sum((g * g).sum() for g in by_backward))


def test_ignored_rows_may_hold_anything_and_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, bias = example()
    mask = random.bernoulli(KEY, BATCH, 0.5)
    hidden = torch.where(mask[..., None], hidden, math.nan).requires_grad_()
    value = torch.where(random.bernoulli(random.fold_in(KEY, 1), BATCH, 0.2), -100, 5)
    masked = bind(family, mask=mask)
    parts = [
        masked.log_prob(hidden, weight, bias, value),
        masked.entropy(hidden, weight, bias),
        masked.kl((hidden, weight, bias), (hidden.detach() + 1, weight, bias)),
    ]
    assert all((part[~mask] == 0).all() for part in parts)
    assert (parts[0][value == -100] == 0).all()
    (gradient,) = torch.autograd.grad(sum(part.sum() for part in parts), hidden)
    assert (gradient[~mask] == 0).all()
    assert gradient.isfinite().all()
    assert (masked.sample(KEY, hidden, weight, bias, ignore_index=-7)[~mask] == -7).all()
    assert (masked.mode(hidden, weight, bias)[~mask] == -100).all()
    rows: list[int] = []
    product = linear_head.tile_of
    monkeypatch.setattr(
        "functional_dists.special.linear_score.tile_of",
        lambda head, rows_of, *rest: rows.append(rows_of.size) or product(head, rows_of, *rest),
    )
    for function in (family.log_prob, torch.compile(family.log_prob, fullgraph=True, backend="aot_eager")):
        rows.clear()
        function(hidden.detach(), weight, bias, value, mask=mask)
        assert sum(rows) == (mask & (value != -100)).sum() * len(range(0, TOKENS, linear_head.TOKENS))


def test_a_row_without_tokens_is_defined() -> None:
    hidden, weight, _ = example()
    bias = torch.full((TOKENS,), -math.inf, dtype=torch.float64)

    def total(hidden: Tensor) -> Tensor:
        scores = family.log_prob(hidden, weight, bias, torch.tensor(3)).nan_to_num(neginf=0.0)
        return (scores + family.entropy(hidden, weight, bias) + family.kl((hidden, weight, bias), example())).sum()

    assert (family.log_prob(hidden, weight, bias, torch.tensor(3)) == -math.inf).all()
    assert (family.entropy(hidden, weight, bias) == 0).all()
    assert (family.sample(KEY, hidden, weight, bias) == 0).all()
    assert (grad(total)(hidden) == 0).all()
    with pytest.raises(ValueError, match="bias must leave a token"):
        family.check(hidden, weight, bias)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_nan_and_infinity_stay_in_their_row(dtype: torch.dtype, wrong: float) -> None:
    hidden, weight, bias = example(dtype)
    hidden[0, 3, 0] = math.nan
    score, entropy = family.log_prob_and_entropy(hidden, weight, bias, torch.tensor(2))
    is_nan = torch.zeros(BATCH, dtype=torch.bool)
    is_nan[0, 3] = True
    assert torch.equal(score.isnan(), is_nan)
    assert torch.equal(entropy.isnan(), is_nan)
    bias[7] = wrong
    logits = table(*example(dtype)[:2], bias)
    assert torch.equal(family.mode(*example(dtype)[:2], bias), categorical.mode(logits))
    drawn = family.sample(KEY, *example(dtype)[:2], bias, sample_shape=4)
    assert torch.equal(drawn, categorical.sample(KEY, logits, sample_shape=4))
    assert family.entropy(*example(dtype)[:2], bias).isnan().all()


def test_a_nearly_certain_token_keeps_its_digits() -> None:
    hidden = torch.ones(1, dtype=torch.float32)
    weight = torch.tensor([[0.0], [-40.0], [-41.0]])
    rest = math.exp(-40) + math.exp(-41)

    def score(weight: Tensor) -> Tensor:
        return family.log_prob(hidden, weight, 0.0, torch.tensor(0))

    torch.testing.assert_close(score(weight).item(), -rest, rtol=1e-6, atol=0)
    torch.testing.assert_close(grad(score)(weight)[0, 0].item(), rest, rtol=1e-6, atol=0)
    wanted = 41 * math.exp(-40) + 42 * math.exp(-41)
    torch.testing.assert_close(family.entropy(hidden, weight).item(), wanted, rtol=1e-6, atol=0)


def test_kernels_agree_with_tensors() -> None:
    head, value = example(torch.float32), tokens(2)
    got = family.log_prob_and_entropy(*head, value)
    wanted = without_kernels(family.log_prob_and_entropy)(*head, value)
    torch.testing.assert_close(got, wanted, rtol=1e-6, atol=2e-6)
    leaf = head[0].requires_grad_()

    def gradient() -> Tensor:
        scores, entropy = family.log_prob_and_entropy(leaf, *head[1:], value.clamp(4, TOKENS - 1))
        return torch.autograd.grad(scores.sum() + entropy.sum(), leaf)[0]

    torch.testing.assert_close(gradient(), without_kernels(gradient)(), rtol=1e-5, atol=1e-5)


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    """In float32 on the CPU with one thread."""
    if torch.get_num_threads() > 1 or sys.platform != "linux":
        pytest.skip("holds for one thread")
    hidden = random.normal(KEY, (90, 64))
    weight = random.normal(random.fold_in(KEY, 1), (1300, 64))
    value = random.randint(random.fold_in(KEY, 2), (90,), 0, 1300)
    whole = family.log_prob_and_entropy(hidden, weight, 0.0, value)
    for first, count in ((0, 1), (3, 2), (10, 40), (89, 1), (50, 40)):
        rows = slice(first, first + count)
        part = family.log_prob_and_entropy(hidden[rows], weight, 0.0, value[rows])
        assert all(torch.equal(a, b[rows]) for a, b in zip(part, whole, strict=True))


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    head, value = example(dtype), tokens()
    full = tuple(t.float() for t in head)
    wanted = family.log_prob_and_entropy(*full, value)
    assert [r.dtype for r in family.log_prob_and_entropy(*head, value)] == [dtype] * 2
    got = family.log_prob_and_entropy(*head, value, dtype=torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
    assert family.kl(head, head, dtype=torch.float32).dtype == torch.float32
    leaf = head[1].requires_grad_()
    family.entropy(head[0], leaf, head[2]).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.dtype == dtype


def test_errors_name_the_argument() -> None:
    hidden, weight, bias = example()
    cases: list[tuple[str, Any]] = [
        ("hidden and weight must have one size", lambda: family.entropy(hidden, weight[:, 1:], bias)),
        ("bias must be a number", lambda: family.entropy(hidden, weight, bias[1:])),
        ("p and q must have one shape", lambda: family.kl((hidden, weight), (hidden, weight[1:]))),
        ("temperature must be positive", lambda: family.entropy(hidden, weight, temperature=0.0)),
        ("temperature of shape", lambda: family.entropy(hidden, weight, temperature=torch.ones(3))),
        ("softcap must be positive", lambda: family.entropy(hidden, weight, softcap=-1.0)),
        ("mask must have the shape", lambda: family.entropy(hidden, weight, mask=torch.ones(3, dtype=torch.bool))),
    ]
    for message, call in cases:
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match="mask must be a bool tensor"):
        family.entropy(hidden, weight, mask=torch.ones(BATCH))


def test_compiled_code_takes_the_operations_whole(tiles: None) -> None:
    head, value = example(torch.float32), tokens()

    def loss(hidden: Tensor, weight: Tensor) -> Tensor:
        scores, entropy = family.log_prob_and_entropy(hidden, weight, head[2], value.clamp(4, TOKENS - 1))
        return scores.sum() + entropy.sum()

    torch._dynamo.reset()
    compiled = torch.compile(grad(loss, (0, 1)), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*head[:2]), grad(loss, (0, 1))(*head[:2]), rtol=1e-5, atol=1e-5)
    shapes: list[Any] = []

    def record(graph: Any, inputs: Any) -> Any:
        shapes.extend(n.meta["val"] for n in graph.graph.nodes if "val" in n.meta)
        return graph.forward

    from torch._dynamo.backends.common import aot_autograd

    torch._dynamo.reset()
    torch.compile(grad(loss, (0, 1)), fullgraph=True, backend=aot_autograd(fw_compiler=record))(*head[:2])
    sizes = [t.numel() for val in shapes for t in (val if isinstance(val, (tuple, list)) else (val,))]
    assert sizes
    assert max(sizes) < math.prod(BATCH) * TOKENS


@pytest.mark.slow
@pytest.mark.parametrize(("direction", "most"), [("forward", 150), ("backward", 150 + 138), ("func.grad", 150 + 138)])
def test_memory(direction: str, most: float) -> None:
    """The logits are 2147 MB, the gradients 138 MB."""
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    command = [sys.executable, "-m", "benchmarks.studies.linear_head", "--one", "log_prob_and_entropy", direction]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    assert float(output) < most
