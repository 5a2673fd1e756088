"""Several outcomes in one value: edge values, gradients, errors, and the shim."""

import math
import pickle

import numpy as np
import pytest
import torch
from torch.func import grad

from functional_dists import categorical, distributions, independent, masked_categorical, multi_categorical, random

FLOAT = torch.float64
NVEC = (2, 4, 1, 3)
LOGITS = torch.randn(5, 10, dtype=FLOAT, generator=torch.Generator().manual_seed(0))
MASK = torch.tensor([True, True, True, False, True, True, True, False, True, True])


def parts(table: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return table.split(NVEC, -1)


# --------------------------------------------------------------------------------------------------- multi_categorical
def test_multi_categorical_is_a_loop_over_masked_categoricals() -> None:
    family = multi_categorical(NVEC)
    value = family.sample(random.key(1), LOGITS, MASK, sample_shape=7)
    each = [(a, m) for a, m in zip(parts(LOGITS), parts(MASK), strict=True)]
    scores = [masked_categorical.log_prob(*one, value[..., i]) for i, one in enumerate(each)]
    torch.testing.assert_close(family.log_prob(LOGITS, MASK, value), torch.stack(scores).sum(0), rtol=1e-14, atol=0.0)
    entropies = torch.stack([masked_categorical.entropy(*one) for one in each])
    torch.testing.assert_close(family.entropy(LOGITS, MASK), entropies.sum(0), rtol=1e-14, atol=0.0)
    for verb in ("probs", "normalized_logits"):
        loop = torch.cat([getattr(masked_categorical, verb)(*one) for one in each], -1)
        torch.testing.assert_close(getattr(family, verb)(LOGITS, MASK), loop, rtol=1e-14, atol=0.0)
    modes = torch.stack([masked_categorical.mode(*one) for one in each], -1)
    assert torch.equal(family.mode(LOGITS, MASK), modes)
    other = LOGITS.flip(0)
    divergences = [
        masked_categorical.kl((p, m), (q, m)) for p, q, m in zip(parts(LOGITS), parts(other), parts(MASK), strict=True)
    ]
    divergence = family.kl(family.Params(LOGITS, MASK), family.Params(other, MASK))
    torch.testing.assert_close(divergence, torch.stack(divergences).sum(0), rtol=1e-13, atol=0.0)


def test_multi_categorical_draws_of_equal_choices_are_those_of_independent_categoricals() -> None:
    logits = torch.randn(4, 6, dtype=FLOAT)
    value = multi_categorical((3, 3)).sample(random.key(3), logits, sample_shape=9)
    assert torch.equal(value, independent(categorical).sample(random.key(3), logits.reshape(4, 2, 3), sample_shape=9))


def test_masked_and_missing_outcomes_have_no_probability_and_no_gradient() -> None:
    family, logits = multi_categorical((2, 3)), torch.tensor([0.1, 0.2, 0.3, math.nan, math.inf])
    mask = torch.tensor([True, True, True, False, False])
    good = torch.tensor([1, 0])
    assert family.log_prob(logits, mask, good).isfinite()
    slope = grad(lambda x: family.log_prob(x, mask, good))(logits)
    assert slope.isfinite().all()
    assert (slope[2:] == 0).all()
    for bad in ([1, 1], [2, 0], [-1, 0], [0, 3]):
        value = torch.tensor(bad)
        assert family.log_prob(logits, mask, value) == -math.inf
        assert (grad(lambda x, value=value: family.log_prob(x, mask, value))(logits) == 0).all()
    draws = family.sample(random.key(0), logits, mask, sample_shape=200)
    assert set(draws[:, 0].tolist()) == {0, 1}
    assert (draws[:, 1] == 0).all()
    assert family.support(logits, mask).check(torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.5, 0.0]])).tolist() == [
        True,
        False,
        False,
    ]


def test_an_invalid_choice_does_not_poison_others() -> None:
    family, mask = multi_categorical((2, 3)), torch.tensor([[False, False, True, True, True], [True] * 5])
    logits = torch.zeros(2, 5)
    assert family.entropy(logits, mask)[1] == pytest.approx(math.log(6))
    assert family.probs(logits, mask)[0].tolist() == pytest.approx([0, 0, 1 / 3, 1 / 3, 1 / 3])
    assert family.sample(random.key(0), logits, mask)[0, 0] == 0
    with pytest.raises(ValueError, match=r"mask must allow an outcome of every choice; .* \(0, 0\)"):
        family.check(logits, mask)
    with pytest.raises(ValueError, match=r"logits must be numbers below infinity .* \(3,\)"):
        family.check(torch.tensor([0.0, 0.0, 0.0, math.nan, 0.0]))


def test_multi_categorical_says_what_is_wrong() -> None:
    family = multi_categorical((2, 3))
    with pytest.raises(ValueError, match="must have 5 entries on the last axis"):
        family.entropy(torch.zeros(4))
    with pytest.raises(ValueError, match=r"values have shape \(7, 2\)"):
        family.log_prob(torch.zeros(7, 5), value=torch.zeros(7, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="does not fit"):
        family.log_prob(torch.zeros(5), value=1)
    with pytest.raises(TypeError, match=r"call \.long"):
        family.log_prob(torch.zeros(5), value=torch.zeros(2))
    with pytest.raises(ValueError, match="positive"):
        multi_categorical((2, 0))
    with pytest.raises(ValueError, match="positive"):
        multi_categorical(())
    with pytest.raises(TypeError, match="tuple of integers"):
        multi_categorical((2, 0.5))
    assert multi_categorical(tuple(np.array([[2, 3]]).reshape(-1).tolist())) is family
    assert pickle.loads(pickle.dumps(family)) is family


def test_half_precision_keeps_the_digits_of_float32_on_request() -> None:
    family, logits = multi_categorical((2, 3)), torch.tensor([0.3, -1.1, 0.8, 0.1, -0.6]).bfloat16()
    value = torch.tensor([1, 2])
    wide = family.log_prob(logits.float(), value=value)
    assert family.log_prob(logits, value=value, dtype=torch.float32) == wide
    assert family.log_prob(logits, value=value).dtype == torch.bfloat16


def test_multi_categorical_in_the_shim() -> None:
    dist = distributions.wrap(multi_categorical(NVEC), LOGITS, mask=MASK)
    assert (dist.batch_shape, dist.event_shape) == ((5,), (4,))
    draws = dist.sample((3,), key=random.key(0))
    assert draws.shape == (3, 5, 4)
    assert dist.log_prob(draws).equal(dist.log_prob(draws.double()))
    assert dist.log_prob(draws.double() + 0.5).eq(-math.inf).all()
    assert dist.log_prob(draws.double() * math.nan).isnan().all()
    assert dist.expand((2, 5)).log_prob(draws[:2]).shape == (2, 5)
    other = distributions.wrap(multi_categorical(NVEC), LOGITS.flip(0), mask=MASK)
    assert torch.distributions.kl_divergence(dist, other).shape == (5,)
    assert (dist.entropy() > 0).all()
