"""Kept sets as the support of `linear_categorical`: the results of `masked_categorical`, from the kept rows alone."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.func import grad, hessian, jvp, vmap

from functional_dists import kept, linear_categorical, logits, masked_categorical, random
from functional_dists.discrete.linear_categorical import Params
from functional_dists.special import linear_kept

ROWS, WIDTH, TOKENS = 7, 12, 50


@pytest.fixture
def head() -> Params:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shapes = ((ROWS, WIDTH), (TOKENS, WIDTH), (TOKENS,))
        return Params(*(torch.randn(shape, dtype=torch.float64) for shape in shapes))


def table_of(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return hidden @ weight.T + bias


@pytest.fixture
def mask(head: Params) -> Tensor:
    return logits.keep_top_p(table_of(*head), 0.7)


@pytest.fixture
def value(head: Params, mask: Tensor) -> Tensor:
    best = table_of(*head).masked_fill(~mask, -torch.inf).argmax(-1)
    best[0] = (~mask[0]).nonzero()[0, 0]  # a token outside of its support
    return best


def forms(mask: Tensor) -> list[kept.Kept]:
    """The same kept set in every form, also with more slots and in another order."""
    return [mask, kept.as_indices(mask), kept.as_indices(mask, TOKENS).flip(-1), kept.as_tokens(mask)]


def scores(support: kept.Kept, value: Tensor, **options: object) -> Callable[..., Tensor]:
    """A function of the parameters whose derivatives are compared."""

    def function(*parameters: Tensor) -> Tensor:
        log_prob, entropy = linear_categorical.log_prob_and_entropy(*parameters, value, support=support, **options)
        return log_prob[1:].sum() + entropy.square().sum()

    return function


def reference(mask: Tensor, value: Tensor) -> Callable[..., Tensor]:
    def function(*parameters: Tensor) -> Tensor:
        table = table_of(*parameters)
        log_prob, entropy = masked_categorical.log_prob(table, mask, value), masked_categorical.entropy(table, mask)
        return log_prob[1:].sum() + entropy.square().sum()

    return function


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_all_forms_give_the_same_bits(head: Params, mask: Tensor, value: Tensor, dtype: torch.dtype) -> None:
    params = Params(*(t.to(dtype) for t in head))
    key, temperature = random.key(3), torch.linspace(0.5, 2, ROWS)
    results = []
    for support in forms(mask):
        options = {"support": support, "temperature": temperature}
        pair = linear_categorical.log_prob_and_entropy(params, value, **options)
        alone = linear_categorical.log_prob(params, value, **options), linear_categorical.entropy(params, **options)
        drawn = linear_categorical.sample_and_log_prob(key, params, **options)
        best = linear_categorical.mode(params, **options)
        divergence = linear_categorical.kl(params, params._replace(bias=2 * params.bias), **options)
        assert torch.equal(linear_categorical.sample(key, params, **options), drawn[0])
        assert all(torch.equal(a, b) for a, b in zip(pair, alone, strict=True))
        results.append((*pair, *drawn, best, divergence))
    for others in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], others, strict=True))
    log_prob, entropy, drawn, *_ = results[0]
    assert log_prob.dtype == entropy.dtype == dtype
    assert log_prob[0] == -torch.inf
    assert mask.gather(-1, drawn[:, None]).all()


def test_results_are_those_of_masked_categorical(head: Params, mask: Tensor, value: Tensor) -> None:
    table, other = table_of(*head), head._replace(hidden=1.5 * head.hidden)
    close = torch.testing.assert_close
    close(linear_categorical.log_prob(head, value, support=mask), masked_categorical.log_prob(table, mask, value))
    close(linear_categorical.entropy(head, support=mask), masked_categorical.entropy(table, mask))
    q = masked_categorical.Params(table_of(*other), mask)
    close(linear_categorical.kl(head, other, support=mask), masked_categorical.kl((table, mask), q))
    key = random.key(0)
    drawn = linear_categorical.sample(key, head, sample_shape=(9,), support=mask)
    assert torch.equal(drawn, masked_categorical.sample(key, table, mask, sample_shape=(9,)))
    assert torch.equal(linear_categorical.mode(head, support=mask), masked_categorical.mode(table, mask))


@pytest.mark.parametrize("form", range(4))
def test_derivatives(head: Params, mask: Tensor, value: Tensor, form: int) -> None:
    ours, theirs = scores(forms(mask)[form], value), reference(mask, value)
    close = torch.testing.assert_close
    close(grad(ours, (0, 1, 2))(*head), grad(theirs, (0, 1, 2))(*head))
    close(jvp(ours, head, head), jvp(theirs, head, head))
    hidden, weight, bias = head
    close(
        hessian(ours)(hidden[:2].repeat(4, 1)[:7], weight, bias),
        hessian(theirs)(hidden[:2].repeat(4, 1)[:7], *head[1:]),
    )
    hiddens, weights = torch.stack([hidden, 2 * hidden]), torch.stack([weight, weight / 2])
    for lanes in ((0, 0, None), (0, None, None), (None, 0, None)):
        given = [
            many if lane == 0 else one for many, one, lane in zip((hiddens, weights, bias), head, lanes, strict=True)
        ]
        close(vmap(grad(ours, (0, 1)), lanes)(*given), vmap(grad(theirs, (0, 1)), lanes)(*given))
    twice = [[t.clone().requires_grad_() for t in head] for _ in range(2)]
    second = []
    for function, tensors in zip((ours, theirs), twice, strict=True):
        first = torch.autograd.grad(function(*tensors), tensors, create_graph=True)
        second.append(torch.autograd.grad(sum(t.square().sum() for t in first), tensors))
    close(*second)


@pytest.mark.parametrize("form", range(2))
def test_compiled(head: Params, mask: Tensor, value: Tensor, form: int) -> None:
    support, key = forms(mask)[form], random.key(5)
    compiled = torch.compile(grad(scores(support, value), (0, 1, 2)), fullgraph=True)
    torch.testing.assert_close(compiled(*head), grad(reference(mask, value), (0, 1, 2))(*head))
    draw = torch.compile(lambda key, params: linear_categorical.sample(key, params, support=support), fullgraph=True)
    assert torch.equal(draw(key, head), linear_categorical.sample(key, head, support=support))


def test_a_row_without_kept_tokens_harms_no_other(head: Params, mask: Tensor, value: Tensor) -> None:
    mask = mask.clone()
    mask[2] = False
    for support in forms(mask):
        log_prob, entropy = linear_categorical.log_prob_and_entropy(head, value, support=support)
        assert log_prob[2] == -torch.inf
        assert entropy[2] == 0
        assert linear_categorical.sample(random.key(0), head, support=support)[2] == 0
        assert linear_categorical.mode(head, support=support)[2] == 0
        by_hidden = grad(lambda h, s=support: linear_categorical.entropy(h, *head[1:], support=s).sum())(head.hidden)
        assert by_hidden.isfinite().all()
        assert torch.equal(by_hidden[2], torch.zeros(WIDTH, dtype=torch.float64))


def test_only_kept_rows_of_counted_positions_are_multiplied(
    head: Params, mask: Tensor, value: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, products = linear_kept._pairs, []

    def counting(index: Tensor, width: int) -> object:
        products.append(int((index >= 0).sum()))
        return pairs(index, width)

    monkeypatch.setattr(linear_kept, "_pairs", counting)
    linear_categorical.log_prob(head, value, support=mask)
    assert products == [int(mask.sum())]
    products.clear()
    counted = torch.arange(ROWS) % 2 == 0
    broken = head._replace(hidden=torch.where(counted[:, None], head.hidden, torch.nan))
    log_prob, entropy = linear_categorical.log_prob_and_entropy(broken, value, support=mask, mask=counted)
    assert products == [int(mask[counted].sum())]
    assert torch.equal(log_prob[~counted], torch.zeros(3, dtype=torch.float64))
    assert torch.equal(entropy[~counted], torch.zeros(3, dtype=torch.float64))
    products.clear()
    linear_categorical.log_prob(head, torch.where(counted, value, -100), support=mask)
    assert products == [int(mask[counted].sum())]


def test_batches_of_any_axes(head: Params, mask: Tensor, value: Tensor) -> None:
    flat = linear_categorical.log_prob(head, value, support=mask)
    for support in (mask[:6].view(2, 3, -1), kept.as_indices(mask)[:6].view(2, 3, -1), kept.as_tokens(mask[:6])):
        params = head._replace(hidden=head.hidden[:6].view(2, 3, WIDTH))
        folded = linear_categorical.log_prob(params, value[:6].view(2, 3), support=support)
        assert torch.equal(folded.flatten(), flat[:6])


def test_bad_supports(head: Params, mask: Tensor) -> None:
    bad: list[tuple[object, str]] = [
        (mask[:-1], "batch"),
        (mask[:, :-1], "columns"),
        (torch.full((ROWS, 2), TOKENS), "below"),
        (kept.KeptTokens(torch.tensor([1, 2]), torch.tensor([0, 3])), "offsets must begin with 0 and end"),
        (kept.KeptTokens(torch.tensor([1, 2]), torch.tensor([0, 2])), "offsets are of 1 rows"),
    ]
    for support, message in bad:
        with pytest.raises(ValueError, match=message):
            linear_categorical.entropy(head, support=support)
    for wrong in (mask.double(), "top-p", 3):
        with pytest.raises(TypeError, match="kept"):
            linear_categorical.entropy(head, support=wrong)


def test_check_names_a_row_that_keeps_nothing(head: Params, mask: Tensor) -> None:
    linear_categorical.check(*head, support=mask)
    mask = mask.clone()
    mask[2] = False
    for support in forms(mask):
        with pytest.raises(ValueError, match=r"support must keep a token in every row that counts; .*position \(2,\)"):
            linear_categorical.check(*head, support=support)
        linear_categorical.check(*head, support=support, mask=torch.arange(ROWS) != 2)


@pytest.mark.parametrize("support", [None, "mask"])
def test_every_row_draws_from_its_own_key(head: Params, mask: Tensor, support: str | None) -> None:
    keys, kept_set = random.split(random.key(7), ROWS), mask if support else None
    drawn = linear_categorical.sample(keys, head, support=kept_set)
    alone = [
        linear_categorical.sample(
            key, head._replace(hidden=hidden), support=None if kept_set is None else kept_set[row]
        )
        for row, (key, hidden) in enumerate(zip(keys, head.hidden, strict=True))
    ]
    assert torch.equal(drawn, torch.stack(alone))
