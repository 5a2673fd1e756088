"""What is left out where no derivative can be asked for changes no value, but for the last digits."""

import pytest
import torch
from torch import Tensor

from functional_dists import masked_categorical, normal, random, special, tanh_normal

KEY = random.key(3)
LOC = torch.linspace(-30.0, 30.0, 400).reshape(-1, 4)
SCALE = torch.logspace(-4, 1, 400).reshape(-1, 4).flip(0)
BOUNDS = torch.tensor(-2.0), torch.tensor(3.0)
VALUE = tanh_normal.rsample(random.key(4), LOC / 10, SCALE, *BOUNDS)
LOGITS = torch.cat([3 * random.normal(KEY, (50, 9)), 1e4 * random.normal(KEY, (50, 9)), torch.zeros(50, 9)])
MASK = random.bernoulli(KEY, (150, 9), 0.6).index_fill(0, torch.tensor([7]), False)

CALLS = {
    "normal.sample_and_log_prob": (lambda *p: normal.sample_and_log_prob(KEY, *p), (LOC, SCALE)),
    "tanh_normal.sample_and_log_prob": (lambda *p: tanh_normal.sample_and_log_prob(KEY, *p), (LOC, SCALE, *BOUNDS)),
    "tanh_normal.rsample": (lambda *p: tanh_normal.rsample(KEY, *p), (LOC, SCALE, *BOUNDS)),
    "tanh_normal.log_prob": (lambda *p: tanh_normal.log_prob(*p, VALUE), (LOC, SCALE, *BOUNDS)),
    "masked_categorical.sample_and_log_prob": (
        lambda logits: masked_categorical.sample_and_log_prob(KEY, logits, MASK),
        (LOGITS,),
    ),
    "masked_categorical.log_prob": (
        lambda logits: masked_categorical.log_prob(logits, MASK, torch.arange(150) % 9),
        (LOGITS,),
    ),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", CALLS)
def test_values_are_those_of_what_has_derivatives(name: str, dtype: torch.dtype) -> None:
    function, parameters = CALLS[name]
    parameters = tuple(parameter.to(dtype) for parameter in parameters)
    alone = function(*parameters)
    tracked = function(*(parameter.clone().requires_grad_() for parameter in parameters))
    with torch.no_grad():
        cut = function(*(parameter.clone().requires_grad_() for parameter in parameters))
    eps = torch.finfo(dtype).eps
    for a, b, c in zip(*(r if isinstance(r, tuple) else (r,) for r in (alone, tracked, cut)), strict=True):
        assert torch.equal(a, c)
        torch.testing.assert_close(a, b.detach(), rtol=4 * eps, atol=4 * eps)


def test_whose_derivative_can_be_asked_for() -> None:
    plain, tracked = torch.zeros(2), torch.zeros(2, requires_grad=True)
    assert special.is_constant(plain)
    assert not special.is_constant(plain, tracked)
    with torch.no_grad():
        assert special.is_constant(tracked)
    seen = []

    def look(x: Tensor) -> Tensor:
        seen.append(special.is_constant(plain))
        return x.sum()

    torch.vmap(look)(torch.zeros(3, 2))
    torch.func.grad(look)(plain)
    torch.func.jvp(look, (plain,), (plain,))
    torch.compile(look, backend="eager", fullgraph=True)(plain)
    torch.fx.experimental.proxy_tensor.make_fx(look)(plain)
    with torch.autograd.forward_ad.dual_level():
        look(plain)
    assert seen == [False] * len(seen)
    assert len(seen) >= 6
