"""Families made of families, and what holds for a family as a value."""

import inspect
import pickle
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap

from functional_dists import (
    bernoulli,
    bind,
    categorical,
    greedy,
    independent,
    independent_normal,
    masked_categorical,
    multi_categorical,
    normal,
    one_hot,
    one_hot_categorical,
    ordinal,
    random,
    softened,
    sparse_categorical,
    tanh_normal,
    two_hot,
    with_uniform,
)
from functional_dists.family import Family, Real, define, name_of, verbs

KEY = random.key(3)
LOGITS = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
MADE = [one_hot(categorical), independent(categorical), independent(one_hot(ordinal), 2)]
VALUES = [normal, bind(normal, scale=1.0), *MADE]


@pytest.mark.parametrize("family", VALUES, ids=name_of)
def test_a_family_is_a_value(family: Any) -> None:
    assert isinstance(family, Family)
    assert {family: 1}[family] == 1
    assert name_of(family) in repr(family)
    with pytest.raises(AttributeError, match="nothing"):
        family.nothing  # noqa: B018


@pytest.mark.parametrize("family", MADE, ids=name_of)
def test_a_pickle_gives_the_same_family(family: Any) -> None:
    assert pickle.loads(pickle.dumps(family)) is family


def test_the_same_arguments_make_the_same_family() -> None:
    assert one_hot(categorical) is one_hot_categorical
    assert independent(categorical) is independent(categorical, event_dims=1)
    assert independent(categorical, 2) is not independent(categorical, 1)
    assert repr(independent(one_hot(masked_categorical), 2)) == "independent(one_hot(masked_categorical), 2)"
    assert repr(independent_normal) == "independent(normal, 1)"


@pytest.mark.parametrize("family", [categorical, *MADE[:2]], ids=name_of)
def test_compiled_code_takes_a_family_as_an_argument_and_closes_over_one(family: Any) -> None:
    def takes(given: Any, key: Tensor, logits: Tensor) -> Any:
        return given.sample_and_log_prob(key, logits)

    wanted = takes(family, KEY, LOGITS)
    given = torch.compile(takes, fullgraph=True, backend="eager")(family, KEY, LOGITS)
    closed = torch.compile(lambda key, logits: takes(family, key, logits), fullgraph=True, backend="eager")(KEY, LOGITS)
    for got in (given, closed):
        assert torch.equal(got[0], wanted[0])
        torch.testing.assert_close(got[1], wanted[1], rtol=1e-15, atol=0)


# --------------------------------------------------------------------------------------------------------- independent
def test_compiled_code_asks_a_family_for_verbs() -> None:
    families = independent(categorical, 1), one_hot(categorical)
    asked = torch.compile(lambda x: x + sum(hasattr(f, "rsample") for f in families), fullgraph=True, backend="eager")
    assert asked(torch.zeros(())) == 1
    with pytest.raises(AttributeError, match=r"independent\(categorical, 1\) has no rsample"):
        _ = families[0].rsample


def test_scores_of_independent_elements_are_summed_over_their_axes() -> None:
    family = independent(categorical, 2)
    value, log_prob = family.sample_and_log_prob(KEY, LOGITS, sample_shape=6)
    assert torch.equal(value, categorical.sample(KEY, LOGITS, sample_shape=6))
    assert log_prob.shape == (6,)
    torch.testing.assert_close(log_prob, family.log_prob(LOGITS, value))
    torch.testing.assert_close(log_prob, categorical.log_prob(LOGITS, value).sum((-1, -2)))
    torch.testing.assert_close(family.entropy(LOGITS), categorical.entropy(LOGITS).sum())
    other = LOGITS.flip(0)
    torch.testing.assert_close(family.kl((LOGITS,), (other,)), categorical.kl((LOGITS,), (other,)).sum())
    torch.testing.assert_close(vmap(independent(categorical).entropy)(LOGITS), categorical.entropy(LOGITS).sum(-1))


def test_the_support_of_independent_elements_is_that_of_their_vectors() -> None:
    support = independent(categorical).support(torch.zeros(4, 3))
    assert support.event_dim == 1
    assert support.check(torch.tensor([[0, 1, 2, 2], [0, 1, 2, 3]])).tolist() == [True, False]


def test_independent_elements_of_a_family_with_event_dims_have_more_of_them() -> None:
    value = torch.zeros(4, 3)
    assert independent(normal, 2).log_prob(value, 1.0, value).shape == ()
    assert independent(tanh_normal).log_prob(value, 1.0, value=value).shape == ()
    assert independent(normal).log_prob(torch.zeros(()), 1.0, 0.5).shape == ()


def test_a_batch_with_too_few_axes_is_told() -> None:
    with pytest.raises(ValueError, match="2 axes to sum over, got 0"):
        independent(categorical, 2).entropy(LOGITS[0, 0])
    with pytest.raises(ValueError, match="must not be negative"):
        independent(categorical, -1)


def test_what_is_no_family_or_not_discrete_is_told() -> None:
    with pytest.raises(TypeError, match=r"one_hot: family must be a discrete family, .*got normal"):
        one_hot(normal)
    with pytest.raises(TypeError, match=r"independent: family must be a family, .*got 'categorical'"):
        independent("categorical")


@pytest.mark.parametrize(
    "make", [one_hot, greedy, partial(with_uniform, epsilon=0.1), partial(softened, temperature=2)]
)
def test_values_that_are_no_outcomes_of_a_row_are_told(make: Any) -> None:
    for family in (bernoulli, multi_categorical((2, 3)), one_hot(categorical), two_hot):
        with pytest.raises(TypeError, match=r"whose values are not one outcome for each row|got bernoulli"):
            make(family)
    for family in (bind(categorical), ordinal, independent(categorical)):
        assert hasattr(make(family), "sample")


# ------------------------------------------------------------------------------------------------------------- one-hot
def test_one_hot_vectors_of_a_bound_family_keep_its_options() -> None:
    family = one_hot(bind(sparse_categorical, padding_value=-1))
    indices = torch.tensor([4, 2, -1])
    drawn = family.sample(KEY, LOGITS, indices)
    outcome = sparse_categorical.sample(KEY, LOGITS, indices, padding_value=-1)
    assert torch.equal(drawn.argmax(-1), outcome)
    torch.testing.assert_close(
        family.log_prob(LOGITS, indices, drawn), sparse_categorical.log_prob(LOGITS, indices, outcome, padding_value=-1)
    )


@pytest.mark.parametrize(
    "family", [one_hot_categorical, one_hot(sparse_categorical), independent(categorical)], ids=name_of
)
def test_verbs_that_draw_alone_have_a_sample_shape(family: Any) -> None:
    for name, verb in verbs(family).items():
        assert ("sample_shape" in inspect.signature(verb).parameters) == ("sample" in name), name


def test_one_hot_vectors_of_a_family_of_ones_own() -> None:
    class Bernoulli:
        """A family that has only what a combinator needs, and takes its table from `normalized_logits`."""

        Params = categorical.Params
        verb = define(categorical.Params, "bernoulli")

        @staticmethod
        @verb
        def sample(key: random.Source, logits: Real, *, sample_shape: random.Shape = ()) -> Tensor:
            return categorical.sample(key, logits, sample_shape=sample_shape)

    for name in ("log_prob", "sample_and_log_prob", "normalized_logits", "probs", "mode"):
        setattr(Bernoulli, name, staticmethod(getattr(categorical, name)))
    family = one_hot(Bernoulli)
    assert torch.equal(family.sample(KEY, LOGITS), one_hot_categorical.sample(KEY, LOGITS))
    torch.testing.assert_close(family.mean(LOGITS), one_hot_categorical.mean(LOGITS))
    torch.testing.assert_close(
        family.rsample(KEY, LOGITS, gradient="relaxed", temperature=0.5),
        one_hot_categorical.rsample(KEY, LOGITS, gradient="relaxed", temperature=0.5),
    )
    weight = torch.arange(5.0, dtype=torch.float64)
    slopes = [
        grad(lambda logits, f=f: (f.rsample(KEY, logits) * weight).sum())(LOGITS) for f in (family, one_hot_categorical)
    ]
    torch.testing.assert_close(slopes[0], slopes[1])
    assert not hasattr(family, "kl")


# ------------------------------------------------------------------------------------------------------------- errors
def test_an_argument_without_a_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="value must be annotated"):

        @define(normal.Params, "mine")
        def log_prob(loc: Real, value: Tensor) -> Tensor:
            return value


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(
        TypeError, match=r"normal.sample has no option \['shape'\]; its options are \('sample_shape',\)"
    ):
        normal.sample(KEY, LOGITS, 1.0, shape=(3,))
