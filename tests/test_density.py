"""Log-densities of values, and their derivatives, of which eager code has some from kernels."""

import math

import pytest
import torch
from torch import Tensor

from functional_dists import normal, tanh_normal
from functional_dists.random.extension import without_kernels

F64 = torch.float64
LOC = torch.linspace(-2, 2, 12, dtype=F64).reshape(4, 3)
SCALE = torch.linspace(0.2, 1.5, 3, dtype=F64)
VALUE = torch.linspace(-0.99, 0.9, 12, dtype=F64).reshape(4, 3)
OUTSIDE = VALUE.clone().index_fill_(1, torch.tensor([1]), 1.5)
SCORES = {
    "normal": lambda loc, scale, value: normal.log_prob(loc, scale, value),
    "normal, far out": lambda loc, scale, value: normal.log_prob(loc, scale, 1e300 * value),
    "tanh_normal": lambda loc, scale, value: tanh_normal.log_prob(loc, scale, -1.0, 1.0, value),
    "tanh_normal, tables": lambda loc, scale, value: tanh_normal.log_prob(
        loc, scale, -1.5 - loc.abs().detach(), 2.0, value
    ),
    "tanh_normal, elementwise": lambda loc, scale, value: tanh_normal.log_prob(
        loc, scale, -1.0, 1.0, value, event_dims=0
    ),
}
ARGUMENTS = {
    "one shape": (LOC, SCALE.expand(4, 3), VALUE),
    "broadcast": (LOC, SCALE, VALUE),
    "more values": (LOC[0], SCALE, VALUE),
    "outside": (LOC, SCALE, OUTSIDE),
}


@pytest.mark.parametrize("arguments", ARGUMENTS)
@pytest.mark.parametrize("score", [score for score in SCORES if "far out" not in score])  # which float32 has not
def test_values_and_derivatives_of_kernels_are_those_of_formulas(score: str, arguments: str) -> None:
    def results(dtype: torch.dtype) -> list[Tensor]:
        *parameters, value = (argument.float().to(dtype) for argument in ARGUMENTS[arguments])
        tracked = [parameter.clone().requires_grad_() for parameter in parameters]
        scores = SCORES[score](*tracked, value)
        weights = torch.linspace(1, 2, scores.numel(), dtype=dtype).view_as(scores)
        weighted = (scores.nan_to_num(neginf=0.0) * weights).sum()
        alone = torch.autograd.grad(weighted, tracked, retain_graph=True)
        first = torch.autograd.grad(weighted, tracked, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), tracked)
        return [scores, *alone, *first, *second]

    for i, (single, double) in enumerate(zip(results(torch.float32), results(F64), strict=True)):
        assert not single.isnan().any()
        tolerance = 2e-6 if i < 5 else 1e-5  # of second derivatives, which are sums of several others
        torch.testing.assert_close(single.double(), double, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("loc", "scale", "value"), [(0.0, 1e-20, 0.5), (1e20, 1.0, 0.5), (1e30, 1e-10, 2.0)])
@pytest.mark.parametrize("score", ["normal", "tanh_normal"])
def test_no_gradient_where_the_density_underflows(score: str, loc: float, scale: float, value: float) -> None:
    for function in (SCORES[score], without_kernels(SCORES[score])):
        parameters = [torch.tensor([number], requires_grad=True) for number in (loc, scale)]
        scores = function(*parameters, torch.tensor([value]))
        assert scores.item() == -math.inf
        assert torch.autograd.grad(scores, parameters, create_graph=True) == (0, 0)


def test_no_nan_where_a_scale_is_subnormal() -> None:
    parameters = [torch.tensor(number, requires_grad=True) for number in (0.0, 2e-39)]
    by_loc, by_scale = torch.autograd.grad(normal.log_prob(*parameters, torch.tensor(0.0)), parameters)
    assert by_loc == 0
    assert by_scale == -math.inf  # as -1 / scale is, in float32


@pytest.mark.parametrize("made_in_inference_mode", ["loc", "value"])
def test_what_was_made_in_inference_mode_may_be_scored(made_in_inference_mode: str) -> None:
    with torch.inference_mode():
        made = {"loc": LOC.clone(), "value": VALUE.clone()}[made_in_inference_mode]
    loc, value = (made, VALUE) if made_in_inference_mode == "loc" else (LOC, made)
    scale = SCALE.clone().requires_grad_()
    for score in SCORES.values():
        (got,) = torch.autograd.grad(score(loc, scale, value).sum(), scale)
        (wanted,) = torch.autograd.grad(score(LOC, scale, VALUE).sum(), scale)
        torch.testing.assert_close(got, wanted)
    with torch.inference_mode(), torch.enable_grad():
        normal.log_prob(torch.nn.Parameter(LOC), 1.0, VALUE)


@pytest.mark.parametrize("score", ["normal", "tanh_normal", "tanh_normal, tables"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_value_with_a_gradient_is_scored_to_the_same_bits(score: str, dtype: torch.dtype) -> None:
    """What a rollout stores and what a loss differentiates is one number, whatever has a gradient."""
    loc, scale, value = (argument.to(dtype).contiguous() for argument in ARGUMENTS["one shape"])
    expected = SCORES[score](loc, scale, value)
    tracked = [argument.clone().requires_grad_() for argument in (loc, scale, value)]
    for gradients in range(1, 8):
        chosen = [own if gradients >> i & 1 else own.detach() for i, own in enumerate(tracked)]
        assert torch.equal(SCORES[score](*chosen), expected)
    by_kernels, by_formulas = (
        torch.autograd.grad(function(*tracked).sum(), tracked)
        for function in (SCORES[score], without_kernels(SCORES[score]))
    )
    torch.testing.assert_close(by_kernels, by_formulas)
    if dtype is F64 and "tables" not in score:  # whose bounds are made of `loc`
        assert torch.autograd.gradcheck(SCORES[score], tracked)
        assert torch.autograd.gradgradcheck(SCORES[score], tracked)


def test_learned_bounds_are_scored_to_the_same_bits() -> None:
    loc, scale, value = (argument.float().contiguous() for argument in ARGUMENTS["one shape"])
    low, high = torch.tensor(-1.5), torch.full((4, 3), 2.0)
    expected = tanh_normal.log_prob(loc, scale, low, high, value)
    tracked = [low.clone().requires_grad_(), high.clone().requires_grad_()]
    assert torch.equal(tanh_normal.log_prob(loc, scale, *tracked, value), expected)
    wide = [argument.detach().double().requires_grad_() for argument in tracked]
    assert torch.autograd.gradcheck(lambda low, high: tanh_normal.log_prob(LOC, SCALE, low, high, VALUE), wide)


def test_derivatives_of_one_parameter_alone() -> None:
    for tracked in (0, 1):
        parameters = [LOC.clone(), SCALE.clone()]
        parameters[tracked].requires_grad_()
        both = [LOC.clone().requires_grad_(), SCALE.clone().requires_grad_()]
        (alone,) = torch.autograd.grad(tanh_normal.log_prob(*parameters, -1.0, 1.0, VALUE).sum(), parameters[tracked])
        together = torch.autograd.grad(tanh_normal.log_prob(*both, -1.0, 1.0, VALUE).sum(), both)
        assert torch.equal(alone, together[tracked])


def test_gradients_of_many_weights_at_once() -> None:
    loc, scale = LOC.clone().requires_grad_(), SCALE.clone().requires_grad_()
    scores = tanh_normal.log_prob(loc, scale, -1.0, 1.0, VALUE)
    weights = torch.eye(4, dtype=F64)
    batched = torch.autograd.grad(scores, (loc, scale), weights, is_grads_batched=True, retain_graph=True)
    one_by_one = [torch.autograd.grad(scores, (loc, scale), weight, retain_graph=True) for weight in weights]
    for a, b in zip(batched, zip(*one_by_one, strict=True), strict=True):
        torch.testing.assert_close(a, torch.stack(b))


def test_third_derivatives() -> None:
    loc, scale = LOC.clone().requires_grad_(), SCALE.clone().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda *p: tanh_normal.log_prob(*p, -1.0, 1.0, VALUE), (loc, scale))

    def curvature(loc: Tensor) -> Tensor:
        scores = normal.log_prob(loc, scale.detach(), VALUE).sum()
        (slope,) = torch.autograd.grad(scores, loc, create_graph=True)
        return torch.autograd.grad((slope**3).sum(), loc, create_graph=True)[0]

    assert torch.autograd.gradcheck(curvature, (loc,))


SINGLE_LOC, SINGLE_SCALE = torch.tensor([0.3, -0.2]), torch.tensor([0.8, 1.1])


@pytest.mark.parametrize("family", [normal, tanh_normal])
@pytest.mark.parametrize("again", [False, True])
def test_derivatives_of_a_value_that_depends_on_the_parameters(family: object, again: bool) -> None:
    """The kernel's derivatives are those by its arguments alone: a value may be a function of the parameters."""

    def slopes(dtype: torch.dtype) -> list[Tensor]:
        loc, scale = (t.to(dtype).requires_grad_() for t in (SINGLE_LOC, SINGLE_SCALE))
        hidden = 1.0 * loc
        value = torch.tanh(0.5 * hidden + 0.1 * scale)
        score = (family.log_prob(hidden, scale, value=value) + value).sum()
        first = torch.autograd.grad(score, [loc, scale], create_graph=again)
        return [*first, *torch.autograd.grad(sum(g.square().sum() for g in first), [loc, scale])] if again else [*first]

    for single, double in zip(slopes(torch.float32), slopes(F64), strict=True):
        torch.testing.assert_close(single.double(), double, rtol=2e-6, atol=2e-6)


def test_a_draw_may_be_scored_by_its_own_parameters() -> None:
    loc, scale = (t.clone().requires_grad_() for t in (SINGLE_LOC, SINGLE_SCALE))
    noise = torch.randn(2, generator=torch.Generator().manual_seed(0))
    value = loc + scale * noise
    by_loc, by_scale = torch.autograd.grad(normal.log_prob(loc, scale, value).sum(), [loc, scale])
    torch.testing.assert_close(by_loc, torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(by_scale, -1 / SINGLE_SCALE)


@pytest.mark.parametrize("family", [normal, tanh_normal])
def test_float32_scores_are_the_same_to_a_unit_in_the_last_place_in_every_mode(family: object) -> None:
    loc, scale = torch.linspace(-3, 3, 60).reshape(20, 3), torch.linspace(0.2, 1.5, 60).reshape(20, 3)
    value = 0.999 * torch.tanh(torch.linspace(-9, 9, 60)).reshape(20, 3)

    def score(loc: Tensor, scale: Tensor, value: Tensor) -> Tensor:
        return family.log_prob(loc, scale, value=value, event_dims=1)

    wanted = score(loc.double(), scale.double(), value.double())
    tracked = score(loc.clone().requires_grad_(), scale, value).detach()
    compiled = torch.compile(score, fullgraph=True)(loc, scale, value)
    mapped = torch.vmap(lambda *row: family.log_prob(*row[:2], value=row[2], event_dims=1))(loc, scale, value)
    for got in (score(loc, scale, value), tracked, compiled, mapped):
        assert ((got - wanted).abs() <= 2.0**-23 * wanted.abs()).all()
