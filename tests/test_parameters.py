"""From network outputs to parameters, against tensordict's mappings."""

import pytest
import torch
from tensordict.nn.distributions import AddStateIndependentNormalScale, NormalParamExtractor
from tensordict.nn.utils import mappings
from torch.func import grad, hessian, jvp, vmap

from functional_dists import beta, parameters

NAMES = [
    "softplus",
    "exp",
    "relu",
    "expln",
    "none",
    "biased_softplus",
    "biased_softplus_0.5",
    "biased_softplus_0.5_0.2",
]
X = torch.linspace(-6, 6, 25)


@pytest.mark.parametrize("name", NAMES)
def test_mappings_are_those_of_tensordict(name: str) -> None:
    torch.testing.assert_close(parameters.scale_mapping(name)(X), mappings(name)(X))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("relu", "none")])
def test_mappings_are_positive_and_differentiable(name: str) -> None:
    function = parameters.scale_mapping(name)
    wide = torch.linspace(-80, 80, 33, dtype=torch.float64)
    assert (function(wide) > 0).all()
    for transformed in (vmap(grad(function)), vmap(hessian(function)), vmap(grad(grad(function)))):
        assert transformed(wide).isfinite().all()
    assert torch.autograd.gradcheck(function, torch.linspace(-4.9, 5, 9, dtype=torch.float64).requires_grad_())


@pytest.mark.parametrize(
    "name",
    ["soft", "biased_softplus_", "biased_softplus1.0", "biased_softplus_1_2_3", "biased_softplus_0.5_0.5", "biased"],
)
def test_unknown_mappings_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        parameters.scale_mapping(name)


@pytest.mark.parametrize("name", NAMES)
def test_normal_params_is_the_extractor_of_tensordict(name: str) -> None:
    raw = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    wanted = NormalParamExtractor(scale_mapping=name)(raw, X)
    got = parameters.normal_params(raw, X, scale_mapping=name)
    assert len(got) == 3
    torch.testing.assert_close(got, tuple(wanted))


def test_normal_params_takes_a_function_and_refuses_an_odd_axis() -> None:
    _, scale = parameters.normal_params(torch.ones(2, 4), scale_mapping=torch.square, scale_lb=2.0)
    assert (scale == 2).all()
    with pytest.raises(TypeError, match=r"raw must be one tensor, .*got tuple"):
        parameters.normal_params((torch.zeros(2), torch.zeros(2)))
    with pytest.raises(ValueError, match=r"even, got \(2, 3\)"):
        parameters.normal_params(torch.ones(2, 3))


def test_state_independent_scale_is_that_of_tensordict() -> None:
    loc = torch.zeros(5, 3)
    module = AddStateIndependentNormalScale(3)
    with torch.no_grad():
        module.state_independent_scale.copy_(torch.tensor([-1.0, 0.0, 2.0]))
    wanted = module(loc)
    got = parameters.state_independent_scale(loc, module.state_independent_scale)
    torch.testing.assert_close(got, tuple(wanted))


def test_concentrations_are_above_a_floor() -> None:
    raw = torch.tensor([-200.0, -1.0, 0.0, 30.0], dtype=torch.float64)
    torch.testing.assert_close(parameters.concentrations(raw), 1 + torch.nn.functional.softplus(raw))
    assert (parameters.concentrations(raw, floor=1e-3) >= 1e-3).all()
    with pytest.raises(ValueError, match="floor must be positive"):
        parameters.concentrations(raw, floor=0.0)


def test_beta_params_are_two_halves_above_a_floor() -> None:
    raw = torch.tensor([[-200.0, 0.5, 3.0, -1.0]], dtype=torch.float64)
    concentration1, concentration0, low, high = parameters.beta_params(raw, -2.0, 2.0)
    torch.testing.assert_close(torch.cat([concentration1, concentration0], -1), parameters.concentrations(raw))
    assert (low, high) == (-2.0, 2.0)
    assert (parameters.beta_params(raw, floor=0.1)[0] < 1.1).any()
    with pytest.raises(ValueError, match="must be even"):
        parameters.beta_params(raw[..., :3])


def test_beta_params_have_the_mean_and_the_variance() -> None:
    logit, precision = torch.tensor([-30.0, 0.3, 2.0], dtype=torch.float64), torch.tensor(7.0, dtype=torch.float64)
    params = parameters.beta_params_from_mean(logit, precision)
    torch.testing.assert_close(beta.mean(*params), torch.sigmoid(logit), rtol=1e-14, atol=0)
    torch.testing.assert_close(beta.variance(*params), torch.sigmoid(logit) * torch.sigmoid(-logit) / 8)
    slopes = torch.func.grad(lambda x: parameters.beta_params_from_mean(x, precision)[0].sum())(logit)
    torch.testing.assert_close(slopes, 7 * torch.sigmoid(logit) * torch.sigmoid(-logit))


def test_scale_loc_bounds_softly() -> None:
    torch.testing.assert_close(parameters.scale_loc(torch.tensor([0.0, 1e3, -1e3])), torch.tensor([0.0, 5.0, -5.0]))
    torch.testing.assert_close(parameters.scale_loc(torch.tensor(10.0)), 5 * torch.tanh(torch.tensor(2.0)))
    assert grad(parameters.scale_loc)(torch.tensor(0.0)) == 1


def test_inverse_softplus() -> None:
    x = torch.linspace(-30, 50, 81, dtype=torch.float64)
    y = torch.log1p(torch.exp(x))
    torch.testing.assert_close(parameters.inverse_softplus(y), x, rtol=1e-12, atol=1e-12)
    tiny = torch.tensor(1e-30)
    torch.testing.assert_close(parameters.inverse_softplus(tiny), tiny.log())


def test_everything_transforms_and_compiles() -> None:
    def loss(raw: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        loc, scale = parameters.normal_params(raw)
        loc, other = parameters.state_independent_scale(parameters.scale_loc(loc), shift)
        return (loc * scale + parameters.inverse_softplus(scale) * other).sum()

    raw, shift = torch.linspace(-3, 3, 8).reshape(2, 4).double(), torch.zeros(2, dtype=torch.float64)
    mapped = vmap(grad(loss), in_dims=(0, None))
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(mapped, fullgraph=True)(raw, shift), mapped(raw, shift))
    _, slope = jvp(loss, (raw, shift), (torch.ones_like(raw), torch.ones_like(shift)))
    torch.testing.assert_close(slope, sum(g.sum() for g in grad(loss, (0, 1))(raw, shift)))
    assert hessian(loss)(raw, shift).isfinite().all()
