"""What only a truncated normal has: windows in the tails, infinite bounds, and divergences between windows."""

import itertools
import math
from typing import Any

import numpy
import pytest
import scipy.special
import scipy.stats
import torch
from mpmath import mp
from torch import Tensor

from functional_dists import divergence, normal, random, tanh_normal, truncated_normal
from functional_dists.special import gaussian, quadrature, truncated, truncated_log_mass, truncated_quantile
from tests.families import IN_MODES

WIDE = torch.float64


def of(*numbers: float, dtype: torch.dtype = WIDE) -> list[Tensor]:
    return [torch.tensor(number, dtype=dtype) for number in numbers]


def test_known_figures_in_the_tail() -> None:
    """Four deviations out and more, where a normaliser clamped at 1e-6 gives a log-density off by several nats."""
    parameters = of(4.0, 0.5, -1.0, 1.0, dtype=torch.float32)
    value = torch.tensor(0.5)
    assert truncated_normal.log_prob(*parameters, value).item() == pytest.approx(-3.989, abs=5e-4)
    assert truncated_normal.mean(*parameters).item() == pytest.approx(0.9208, abs=5e-5)
    assert truncated_normal.entropy(*parameters).item() == pytest.approx(-1.536, abs=1e-3)
    score = torch.func.grad(truncated_normal.log_prob)(*parameters, value)
    assert score.item() == pytest.approx(-1.683, abs=5e-4)
    # The mean moves with loc as the draws do on average: variance / scale^2.
    path = torch.func.grad(lambda loc: truncated_normal.mean(loc, *parameters[1:]))(parameters[0])
    assert path.item() == pytest.approx(0.0240, abs=5e-5)
    draws = torch.func.grad(
        lambda loc: truncated_normal.rsample(random.key(5), loc, *parameters[1:], sample_shape=(20_000,)).mean()
    )(parameters[0])
    assert draws.item() == pytest.approx(0.0240, abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("loc", [-50.0, -5.0, 0.3, 5.0, 50.0])
def test_draws_in_the_tails_follow_the_exact_cdf(loc: float, dtype: torch.dtype) -> None:
    scale, low, high = 0.5, -1.0, 1.0
    drawn = truncated_normal.sample(random.key(2024), *of(loc, scale, low, high, dtype=dtype), sample_shape=(4000,))
    # Logs of the tails on the side where they do not cancel.
    side = -1 if loc > 0 else 1
    near, far = sorted(side * (bound - loc) / scale for bound in (low, high))
    of_near, of_far, of_value = (
        scipy.special.log_ndtr(-z) for z in (near, far, side * (drawn.double().numpy() - loc) / scale)
    )
    share = numpy.expm1(of_value - of_near) / numpy.expm1(of_far - of_near)
    uniform = share if side > 0 else 1 - share
    assert scipy.stats.kstest(uniform, "uniform").pvalue > 1e-3


@pytest.mark.parametrize(("mode", "dtype"), IN_MODES, ids=str)
def test_values_lie_strictly_inside(mode: str, dtype: torch.dtype) -> None:
    loc = torch.tensor([-1e4, -50.0, -1.0, 0.0, 0.3, 9.0, 1e4], dtype=dtype).repeat(3)
    scale = torch.tensor([1e-2, 1.0, 100.0], dtype=dtype).repeat_interleave(7)

    def values(loc: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> list[Tensor]:
        parameters = (loc, scale, low, high)
        drawn = truncated_normal.rsample(random.key(1), *parameters, sample_shape=(50,))
        return [drawn, truncated_normal.deterministic(*parameters), truncated_normal.mean(*parameters)]

    if mode == "inductor":
        torch._dynamo.reset()
    function = values if mode == "eager" else torch.compile(values, fullgraph=True)
    for bounds in ((-1.0, 1.0), (0.0, 1e-3), (-math.inf, -0.5), (2.0, math.inf), (-math.inf, math.inf)):
        low, high = (torch.tensor(bound, dtype=dtype) for bound in bounds)
        for value in function(loc, scale, low, high):
            assert ((value > low) & (value < high)).all()


@pytest.mark.parametrize("verb", ["log_prob", "cdf", "log_cdf", "survival", "log_survival", "icdf"])
def test_without_bounds_it_is_the_normal(verb: str) -> None:
    loc, scale, low, high = of(0.3, 1.7, -math.inf, math.inf)
    value = torch.tensor([0.1, 0.25, 0.9], dtype=WIDE)
    got = getattr(truncated_normal, verb)(loc, scale, low, high, value)
    torch.testing.assert_close(got, getattr(normal, verb)(loc, scale, value))


@pytest.mark.parametrize("bounds", [(-math.inf, -0.5), (2.0, math.inf), (-math.inf, math.inf)], ids=str)
def test_infinite_bounds_have_finite_derivatives(bounds: tuple[float, float]) -> None:
    parameters = of(0.3, 0.7, *bounds)
    value = torch.tensor(-0.6 if bounds[1] < 0 else 2.2, dtype=WIDE)
    calls = [
        *(lambda *p, verb=verb: getattr(truncated_normal, verb)(*p) for verb in ("mean", "variance", "entropy")),
        *(lambda *p, verb=verb: getattr(truncated_normal, verb)(*p, value) for verb in ("log_prob", "log_cdf", "cdf")),
        lambda *p: truncated_normal.icdf(*p, torch.tensor(0.3, dtype=WIDE)),
        lambda *p: truncated_normal.rsample_and_log_prob(random.key(0), *p)[0],
        lambda *p: truncated_normal.rsample_and_log_prob(random.key(0), *p)[1],
        lambda *p: truncated_normal.kl(truncated_normal.Params(*p), truncated_normal.Params(p[1], p[0] + 1, *p[2:])),
    ]
    for call in calls:
        assert call(*parameters).isfinite()
        for row in torch.func.hessian(call, argnums=(0, 1, 2, 3))(*parameters):
            assert all(second.isfinite() for second in row)
        assert all(first.isfinite() for first in torch.func.grad(call, argnums=(0, 1, 2, 3))(*parameters))


def test_outside_of_the_window_there_is_no_density_and_no_gradient() -> None:
    parameters = of(0.3, 0.7, -1.0, 1.0)
    outside = torch.tensor([-math.inf, -1.1, 1.1, math.inf], dtype=WIDE)
    assert (truncated_normal.log_prob(*parameters, outside, event_dims=0) == -math.inf).all()
    gradients = torch.func.grad(
        lambda *arguments: truncated_normal.log_prob(*arguments).nan_to_num(neginf=0.0).sum(), argnums=(0, 1, 2, 3, 4)
    )(*parameters, outside)
    assert all((gradient == 0).all() for gradient in gradients)
    assert truncated_normal.cdf(*parameters, outside).tolist() == [0.0, 0.0, 1.0, 1.0]
    assert truncated_normal.log_survival(*parameters, outside).tolist() == [0.0, 0.0, -math.inf, -math.inf]
    at_bounds = torch.tensor([-1.0, 1.0], dtype=WIDE)
    assert truncated_normal.log_prob(*parameters, at_bounds, event_dims=0).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, WIDE], ids=str)
def test_the_two_quadratures_agree(dtype: torch.dtype) -> None:
    """The table on the CPU and the arithmetic elsewhere, on densities that fall as far as windows are integrated."""
    node, mirrored, weight = quadrature.window_rule(torch.zeros((), dtype=dtype))
    other_node, other_weight = quadrature.fejer_rule(torch.zeros((), dtype=dtype))
    torch.testing.assert_close(mirrored, node.flip(0))
    energies = [lambda u: u, lambda u: 1 - u, lambda u: u.square(), lambda u: (2 * u - 1).square()]
    for fall in (0.0, 1.0, truncated._ENERGY[dtype] / 2):
        for energy in energies:
            by_table = (weight * torch.exp(-fall * energy(node))).sum()
            by_arithmetic = (other_weight * torch.exp(-fall * energy(other_node))).sum()
            torch.testing.assert_close(by_table, by_arithmetic, rtol=8 * torch.finfo(dtype).eps, atol=0.0)


def test_windows_at_the_ends_of_float32() -> None:
    far = truncated_normal.log_prob(torch.tensor([-2e19]), 1.0, 0.0, 1.0, 0.0)
    torch.testing.assert_close(far, torch.tensor(math.log(2e19)))  # the density at 0 of an exponential of that rate
    narrow = torch.tensor([-1e-37], requires_grad=True), torch.tensor([1e-38], requires_grad=True)
    log_prob = truncated_normal.log_prob(*narrow, 0.0, 1.0, 1e-38)
    assert log_prob.isfinite()
    assert not any(slope.isnan().any() for slope in torch.autograd.grad(log_prob, narrow))


@pytest.mark.parametrize("dtype", [torch.float32, WIDE], ids=str)
def test_nodes_add_up_to_the_same_bits_in_any_shape(dtype: torch.dtype) -> None:
    table = torch.rand(20, 300, dtype=dtype, generator=torch.Generator().manual_seed(0))
    wanted = quadrature.sum_of_nodes(table)
    for count in (1, 2, 6, 15, 30, 64, 100, 299):
        part = table[:, :count]
        assert torch.equal(quadrature.sum_of_nodes(part), wanted[:count])
        assert torch.equal(quadrature.sum_of_nodes(part[:, None].expand(20, 5, count))[3], wanted[:count])
        assert torch.equal(torch.vmap(quadrature.sum_of_nodes, in_dims=1)(part), wanted[:count])
        assert torch.equal(torch.vmap(quadrature.sum_of_nodes)(part.expand(3, 20, count))[2], wanted[:count])
    assert torch.equal(quadrature.sum_of_nodes(table[:, 7]), wanted[7])


def test_without_derivatives_compiled_code_needs_no_tables() -> None:
    """It sums up the nodes one by one, which is not how the accuracy is measured: that is with derivatives."""
    loc = torch.tensor([0.0, 0.3, -3.0, 7.0, -50.0, 1e3])
    scale = torch.tensor([[1e-3], [0.5], [1.0], [30.0], [1e4]])
    value = torch.tensor(0.25)
    torch._dynamo.reset()
    for bounds in ((-1.0, 1.0), (0.0, 0.5), (-math.inf, 0.25), (-math.inf, math.inf)):
        parameters = loc, scale, *(torch.tensor(bound) for bound in bounds)
        for function in (truncated_normal.entropy, lambda *p: truncated_normal.log_prob(*p, value, event_dims=0)):
            exact = function(*(parameter.double() for parameter in parameters)).float()
            compiled = torch.compile(function, fullgraph=True)
            for got in (function(*parameters), compiled(*parameters)):
                torch.testing.assert_close(got, exact, rtol=2e-6, atol=2e-6)


def windows_everywhere() -> list[Tensor]:
    """Return loc, scale, low, high and value of shape (N, 3): in the bulk and in tails, narrow, wide and infinite."""
    bounds = ((-1.0, 1.0), (0.0, 1e-3), (2.0, 7.0), (-math.inf, 0.5), (-0.5, math.inf), (-math.inf, math.inf))
    locs = (-1e3, -50.0, -5.0, -1.0, -0.3, 0.0, 0.3, 1.0, 5.0, 50.0, 1e3)
    scales = (1e-3, 0.1, 0.5, 1.0, 30.0, 1e4)
    rows = [
        (loc, scale, low, high, max(low, -3.0) + part * (min(high, 7.0) - max(low, -3.0)))
        for (low, high), loc, scale, part in itertools.product(bounds, locs, scales, (0.01, 0.4, 0.99))
    ]
    return [column.view(-1, 3) for column in torch.tensor(rows).T.contiguous()]


def assert_scores_are_the_same(found: Tensor, eager: Tensor, arguments: list[Tensor]) -> None:
    """Within two units in the last place of the largest summand."""
    largest = truncated_normal.log_prob(*arguments, event_dims=0).abs().amax(-1)
    unit = torch.exp2(torch.frexp(largest).exponent - 24.0)
    assert ((found - eager).abs() <= 2 * unit).all()


def test_scores_in_float32_are_the_same_in_every_mode() -> None:
    arguments = windows_everywhere()
    eager = truncated_normal.log_prob(*arguments)
    torch._dynamo.reset()
    for found in (
        truncated_normal.log_prob(*(t.double() for t in arguments)),
        torch.vmap(truncated_normal.log_prob)(*arguments),
        torch.vmap(torch.func.grad_and_value(truncated_normal.log_prob))(*arguments)[1],
        torch.compile(truncated_normal.log_prob, fullgraph=True)(*arguments),
    ):
        assert_scores_are_the_same(found, eager, arguments)


@pytest.mark.slow
def test_compiled_scores_in_float32_are_those_of_eager_code_under_vmap_and_grad() -> None:
    """And the derivatives."""
    arguments = windows_everywhere()
    lanes = torch.vmap(torch.func.grad_and_value(truncated_normal.log_prob, argnums=(0, 1)))
    torch._dynamo.reset()
    slopes, found = torch.compile(lanes, fullgraph=True)(*arguments)
    assert_scores_are_the_same(found, truncated_normal.log_prob(*arguments), arguments)
    for slope, wanted in zip(slopes, lanes(*arguments)[0], strict=True):
        torch.testing.assert_close(slope, wanted, rtol=2**-22, atol=1e-6)


def test_the_closed_form_agrees_with_the_quadrature() -> None:
    """In windows of all widths, at slopes of all sizes, with first and second derivatives."""
    slope, width, place = torch.meshgrid(
        torch.tensor([-1e9, -1e4, -40.0, -3.0, -0.3, 0.0, 0.3, 1.0, 10.0, 1e3, 1e7], dtype=WIDE),
        torch.tensor([1e-9, 1e-6, 1e-3, 0.02, 0.05, 0.1, 1.0, 5.0, 1e3], dtype=WIDE),
        torch.tensor([0.0, 0.5, 1.0], dtype=WIDE),
        indexing="ij",
    )
    is_outside = slope != 0
    place = torch.where(is_outside, (slope < 0).double(), place)
    arguments = [t.flatten() for t in (slope, torch.ones_like(slope), -place * width, (1 - place) * width)]
    first, last = truncated_log_mass.cut_off(*arguments, 48.0)
    deviation = torch.minimum(torch.minimum((last - first) / 12**0.5, 1 / slope.flatten().abs()), torch.ones(()))

    def log_mass(form: Any) -> tuple[Tensor, Tensor, Tensor]:
        call = (arguments[0], arguments[1], first, last)
        return (
            form(*call),
            torch.vmap(torch.func.grad(form))(*call) / deviation,
            torch.vmap(torch.func.hessian(form))(*call) / deviation**2,
        )

    forms = truncated_log_mass._log_mass_in_closed_form, truncated_log_mass._log_mass_by_quadrature
    for found, wanted in zip(*(log_mass(form) for form in forms), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=3e-7)


@pytest.mark.parametrize("extreme", [False, True])
def test_quantiles_that_look_for_hard_windows_equal_those_that_do_not(extreme: bool) -> None:
    """On the CPU only the code is run that a window asks for; elsewhere all of it."""
    slope = torch.tensor([0.0, 0.0, 3.0, -40.0, 1e3, 5.0], dtype=WIDE)
    start = torch.tensor([-1.0, -math.inf, 0.0, -2.0, 0.0, 0.0], dtype=WIDE)
    stop = torch.tensor([2.0, math.inf, 1.0, 0.0, 1.0, 1e-6], dtype=WIDE)
    below = torch.tensor([[1e-3], [0.5], [0.9]], dtype=WIDE)
    everywhere = truncated_quantile._quantile_elsewhere(below, 1 - below, slope, start, stop, extreme)
    for lane in range(len(slope)):
        alone = truncated_quantile.standard_quantile(
            below[:, 0], 1 - below[:, 0], slope[lane], start[lane], stop[lane], extreme=extreme
        )
        assert torch.equal(alone, everywhere[:, lane])


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(WIDE, marks=pytest.mark.slow)], ids=str)
def test_compiled_quantiles_are_those_of_eager_code(dtype: torch.dtype) -> None:
    """Compiled, a formula of ours takes the place of PyTorch's, and an operation puts the hard windows right."""
    slope = torch.tensor([0.0, 0.0, 3.0, -3.0, 0.0, -40.0, 1e3, 5.0], dtype=dtype)
    start = torch.tensor([-1.0, -math.inf, 0.0, -1.0, 0.0, -2.0, 0.0, 0.0], dtype=dtype)
    stop = torch.tensor([2.0, math.inf, 1.0, 0.0, 3.0, 0.0, 1.0, 1e-6], dtype=dtype)
    below = torch.tensor([2.0**-33, 1e-3, 0.25, 0.5, 0.9, 1 - 2.0**-33], dtype=WIDE)[:, None]
    torch._dynamo.reset()
    lanes = torch.vmap(truncated_quantile.standard_quantile, in_dims=(None, None, 0, 0, 0), out_dims=1)
    for hard in (slice(5), slice(None)):  # none of them, and some
        operands = below, 1 - below, slope[hard], start[hard], stop[hard]
        expected = truncated_quantile.standard_quantile(*operands)
        tolerance = {"rtol": 4 * torch.finfo(dtype).eps, "atol": 1e-15}
        for function in (truncated_quantile.standard_quantile, lanes):
            got = torch.compile(function, fullgraph=True, dynamic=False)(*operands)
            torch.testing.assert_close(got.reshape(expected.shape), expected, **tolerance)


def test_lower_quantile_has_all_digits() -> None:
    tails = torch.cat([torch.logspace(-280, -1, 100, dtype=WIDE), torch.linspace(0.05, 0.5, 100, dtype=WIDE)])
    with mp.workdps(40):
        for tail, z in zip(tails.tolist(), gaussian.lower_quantile(tails).tolist(), strict=True):
            # What z is off by, of a Newton step at 40 digits.
            off = (mp.ncdf(z) - tail) / mp.npdf(z)
            assert abs(off) <= 8 * torch.finfo(WIDE).eps * abs(z)


def test_quantiles_of_no_windows_are_none() -> None:
    empty = torch.zeros(0, 3)
    assert truncated_normal.rsample(random.key(0), empty, 1.0, -1.0, 1.0).shape == (0, 3)


def test_kl_between_windows() -> None:
    p = truncated_normal.Params(*of(0.3, 0.7, -1.0, 1.0))
    whole = p._replace(low=p.low - 1, high=p.high + math.inf)
    inside = truncated_normal.cdf(*whole, p.high) - truncated_normal.cdf(*whole, p.low)
    torch.testing.assert_close(truncated_normal.kl(p, whole), -inside.log())  # the same normal, cut twice
    assert truncated_normal.kl(whole, p) == math.inf
    gradients = torch.func.grad(lambda q: truncated_normal.kl(whole, q))(p)
    assert all(gradient == 0 for gradient in gradients)
    near = p._replace(loc=p.loc + 1e-9)
    assert 0 < truncated_normal.kl(p, near) < 1e-17


@pytest.mark.parametrize("loc", [0.2, torch.tensor(0.2), torch.tensor([0.2])], ids=str)
def test_kl_of_fewer_axes_than_the_other_has(loc: float | Tensor) -> None:
    p = truncated_normal.Params(loc, 0.7)
    q = truncated_normal.Params(0.1, torch.tensor([[0.5], [0.6], [0.8], [1.0]]))
    wanted = torch.tensor([0.0312, 0.0078, 0.0088, 0.0189])
    torch.testing.assert_close(truncated_normal.kl(p, q, event_dims=0).flatten(), wanted, rtol=0.0, atol=6e-5)
    sides = ((truncated_normal, p), (truncated_normal, q))
    torch.testing.assert_close(divergence.kl(*sides, event_dims=0).flatten(), wanted, rtol=0.0, atol=6e-5)


# Shapes with as many rows as a rule has nodes, in float32 and in float64, which must not be taken for these.
SHAPES = [(), (3,), (20, 3), (20, 1), (88, 1), (20, 20, 1), (1,)]


@pytest.mark.parametrize("family", [truncated_normal, tanh_normal])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_kl_of_parameters_of_any_axes(family: Any, dtype: torch.dtype) -> None:
    """As of parameters that are expanded to one shape beforehand."""
    pairs = [(p, q) for p in SHAPES for q in SHAPES if fit(p, q)]
    for i, (p_shape, q_shape) in enumerate(pairs):
        shapes = [p_shape, q_shape] if i % 2 else [(), q_shape]
        p = family.Params(uniform(p_shape, -1.5, 1.5, dtype), uniform(shapes[0], 0.2, 2.0, dtype), -1.0, 1.0)
        q = family.Params(uniform(shapes[1], -1.5, 1.5, dtype), uniform(q_shape, 0.2, 2.0, dtype), -1.0, 1.0)
        if i % 3 == 0:
            q = q._replace(low=uniform(p_shape[-1:], -2.0, -1.0, dtype))
        whole = torch.broadcast_shapes(p_shape, q_shape)
        expanded = [
            family.Params(*(torch.as_tensor(t, dtype=dtype).expand(whole).clone() for t in side)) for side in (p, q)
        ]
        got = family.kl(p, q, event_dims=0)
        assert got.shape == whole
        assert torch.equal(got, family.kl(*expanded, event_dims=0))
        lanes = torch.vmap(lambda loc, p=p, q=q: family.kl(p._replace(loc=loc), q, event_dims=0))(
            p.loc.expand(2, *p_shape)
        )
        torch.testing.assert_close(lanes, got.expand(2, *whole))


@pytest.mark.parametrize("family", [truncated_normal, tanh_normal])
def test_verbs_of_parameters_of_any_axes(family: Any) -> None:
    for shapes in [((), (20, 3), (3,)), ((20, 1), (3,), ()), ((3,), (20, 1), (20, 20, 1)), ((88, 1), (), (3,))]:
        for dtype in (torch.float32, torch.float64):
            loc, scale, low = (
                uniform(shape, *ends, dtype)
                for shape, ends in zip(shapes, [(-1.5, 1.5), (0.2, 2.0), (-2.0, -1.0)], strict=True)
            )
            parameters = (loc, scale, low, 1.0)
            whole = torch.broadcast_shapes(*shapes)
            expanded = [torch.as_tensor(t, dtype=dtype).expand(whole).clone() for t in parameters]
            value, share = uniform((2, *whole), -0.9, 0.9, dtype), uniform((2, *whole), 0.01, 0.99, dtype)
            calls = [(verb, ()) for verb in ("mean", "variance", "stddev", "median", "mode")]
            calls += [(verb, (value,)) for verb in ("cdf", "log_cdf", "survival", "log_survival")]
            for verb, arguments in [*calls, ("icdf", (share,))]:
                got = getattr(family, verb)(*parameters, *arguments)
                torch.testing.assert_close(got, getattr(family, verb)(*expanded, *arguments), msg=verb)
            for verb, arguments in (("entropy", ()), ("log_prob", (value,))):
                got = getattr(family, verb)(*parameters, *arguments, event_dims=0)
                torch.testing.assert_close(got, getattr(family, verb)(*expanded, *arguments, event_dims=0), msg=verb)
            key, options = random.key(5), {"sample_shape": (20,), "event_dims": 0}
            for got, wanted in zip(
                family.rsample_and_log_prob(key, *parameters, **options),
                family.rsample_and_log_prob(key, *expanded, **options),
                strict=True,
            ):
                torch.testing.assert_close(got, wanted)


@pytest.mark.slow
def test_compiled_kl_of_parameters_of_other_axes() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(lambda p, q: truncated_normal.kl(p, q, event_dims=0), fullgraph=True)
    p, q = truncated_normal.Params(torch.zeros(3), 0.7), truncated_normal.Params(torch.ones(20, 3), 0.6)
    torch.testing.assert_close(compiled(p, q), truncated_normal.kl(p, q, event_dims=0))


def uniform(shape: tuple[int, ...], low: float, high: float, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=dtype)


def fit(*shapes: tuple[int, ...]) -> bool:
    try:
        return torch.broadcast_shapes(*shapes).numel() <= 1300
    except RuntimeError:
        return False


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_many_draws_are_those_of_few(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are computed in pieces, which no draw shows: of one row, of many, with windows in the bulk and in tails."""
    key = random.key(8)
    for shape, sample_shape in (((1,), (5000,)), ((3,), (1501,)), ((1201, 3), (2,)), ((3, 1), (700,)), ((), (3001,))):
        generator = torch.Generator().manual_seed(1)
        loc = 20 * torch.randn(shape, generator=generator, dtype=dtype)

        def draws(loc: Tensor = loc, sample_shape: tuple[int, ...] = sample_shape) -> Tensor:
            return truncated_normal.sample(key, loc, 0.5, -1.0, 1.0, sample_shape=sample_shape)

        whole = draws()
        for piece in (7, 500, 2**10):
            monkeypatch.setattr(truncated_quantile, "_PIECE", piece)
            monkeypatch.setattr(truncated_quantile, "_PIECE_OF_MANY_THREADS", piece)
            assert torch.equal(draws(), whole)
        monkeypatch.undo()


def test_check_names_what_is_wrong() -> None:
    truncated_normal.check(*of(0.0, 1.0, -math.inf, math.inf))
    for bounds in ((1.0, 1.0), (2.0, 1.0), (math.inf, math.inf), (-math.inf, -math.inf)):
        with pytest.raises(ValueError, match=r"low|high"):
            truncated_normal.check(*of(0.0, 1.0, *bounds))
