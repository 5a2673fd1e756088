"""What single bijectors and combinators do: bits, ends, references of splines and vectors, messages, random chains."""

import math
from typing import Any

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mpf
from torch import Tensor

from functional_dists import bind, random, tanh_normal
from functional_dists.bijectors import (
    affine,
    block,
    chain,
    event_dims_of,
    exp,
    interval,
    invert,
    ordered,
    power,
    rational_quadratic_spline,
    scale_tril,
    sigmoid,
    sigmoid_interval,
    simplex,
    softplus,
    symexp,
    symlog,
    tanh,
)

FLOAT = torch.float64
mpmath.mp.dps = 50


# ----------------------------------------------------------------------------------------------------------------- bits
@pytest.mark.parametrize("dtype", [torch.float32, FLOAT])
def test_interval_is_the_map_of_tanh_normal(dtype: torch.dtype) -> None:
    key, loc, low = random.key(0), torch.linspace(-9, 9, 1001, dtype=dtype), torch.tensor(-0.3, dtype=dtype)
    noise = random.normal(key, loc.shape, dtype=dtype)
    draw = tanh_normal.sample(key, loc, 2.0, low, 7.0)
    assert interval.forward(low, 7.0, loc + 2.0 * noise).equal(draw)


def params_of(bijector: Any, dtype: torch.dtype) -> list[Tensor]:
    given: dict[Any, list[Any]] = {
        affine: [torch.tensor(0.3), torch.tensor(-1.7)],
        interval: [torch.tensor(-0.3), torch.tensor(1.7)],
        sigmoid_interval: [torch.tensor(-0.3), torch.tensor(1.7)],
        power: [torch.tensor(0.3)],
        rational_quadratic_spline: [
            torch.linspace(-1, 1, 5),
            torch.linspace(2, -1, 5),
            torch.linspace(-3, 3, 4),
            torch.tensor(3.0),
        ],
        scale_tril: [torch.linspace(-1, 1, 5), torch.eye(5) + 0.3],
    }
    return [tensor.to(dtype) for tensor in given.get(bijector, [])]


EVERY = [
    affine,
    exp,
    interval,
    power,
    rational_quadratic_spline,
    scale_tril,
    sigmoid,
    sigmoid_interval,
    softplus,
    symexp,
]
EVERY += [symlog, tanh, ordered, bind(affine, scale=-2.0), chain(affine, sigmoid)]


@pytest.mark.parametrize("bijector", EVERY, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, FLOAT, torch.bfloat16])
def test_a_bijector_and_its_inverse_are_the_identity_to_the_bit(bijector: Any, dtype: torch.dtype) -> None:
    params = params_of(affine if "affine" in repr(bijector) else bijector, dtype)
    params = params[: len(bijector.Params._fields)]
    value = random.normal(random.key(1), (100, 5), dtype=FLOAT).to(dtype)
    value = value.abs() + 0.01 if bijector is power else value
    both = chain(bijector, invert(bijector))
    for verb in ("forward", "inverse"):
        there = bijector.forward(*params, value) if verb == "inverse" and bijector is not ordered else value
        there = value if not params else there if verb == "forward" else value
        assert getattr(both, verb)(*params, *params, there).equal(there)
        log_det = getattr(both, f"{verb}_log_det")(*params, *params, there)
        assert (log_det == 0).all()
        assert log_det.shape == value.shape[: 2 - event_dims_of(bijector)]


def test_pairs_are_found_in_nested_chains() -> None:
    value = torch.tensor([100.0, -3.0])
    assert chain(chain(exp, tanh), invert(tanh), invert(exp)).forward(value).equal(value)
    assert chain(exp, chain(tanh, invert(chain(exp, tanh)))).forward(value).equal(value)
    onto = bind(interval, low=-2.0, high=1.0)
    assert chain(onto, invert(onto)).Params._fields == ()
    assert chain(onto, invert(onto)).forward(value).equal(value)
    assert chain().forward(value).equal(value)


def test_a_pair_with_parameters_keeps_its_derivatives() -> None:
    both, x = chain(affine, invert(affine)), torch.tensor(0.7, dtype=FLOAT)
    zero, two = torch.tensor(0.1, dtype=FLOAT), torch.tensor(2.0, dtype=FLOAT)
    slopes = torch.func.grad(both.forward, argnums=(0, 1, 2, 3, 4))(zero, two, zero, two, x)
    torch.testing.assert_close(torch.stack(slopes), torch.tensor([0.5, 0.35, -0.5, -0.35, 1.0], dtype=FLOAT))
    slopes = torch.func.grad(both.forward_log_det, argnums=(1, 3))(zero, two, zero, two, x)
    torch.testing.assert_close(torch.stack(slopes), torch.tensor([0.5, -0.5], dtype=FLOAT))
    cross = torch.func.jacfwd(torch.func.jacrev(both.forward, argnums=4), argnums=1)(zero, two, zero, two, x)
    torch.testing.assert_close(cross, torch.tensor(0.5, dtype=FLOAT))


# ----------------------------------------------------------------------------------------------------------------- ends
@pytest.mark.parametrize("dtype", [torch.float32, FLOAT, torch.bfloat16])
@pytest.mark.parametrize("bijector", [tanh, sigmoid, softplus, exp, interval, sigmoid_interval])
def test_ends_of_the_image(bijector: Any, dtype: torch.dtype) -> None:
    params = params_of(bijector, dtype)
    image = bijector.image(*params)
    low = torch.as_tensor(image.lower_bound, dtype=dtype)
    high = torch.as_tensor(getattr(image, "upper_bound", math.inf), dtype=dtype)
    assert bijector.inverse(*params, low) == -math.inf
    assert bijector.inverse(*params, high) == math.inf
    assert bijector.inverse_log_det(*params, low) == math.inf
    assert bijector.inverse(*params, low - 1).isnan()
    assert bijector.inverse_log_det(*params, low - 1).isnan()
    if high < math.inf:
        assert bijector.inverse_log_det(*params, high) == math.inf
        assert bijector.inverse(*params, high + 1).isnan()
        assert image.check(bijector.forward(*params, torch.tensor([-1e4, 1e4], dtype=dtype))).all()
    if dtype == torch.bfloat16:
        return
    first, last = torch.nextafter(low, low + 1), torch.nextafter(high, low)
    near = torch.stack([low, first, *[last, high] * bool(high < math.inf)])
    for verb in ("inverse", "inverse_log_det"):
        slope = torch.func.grad(lambda y, verb=verb: getattr(bijector, verb)(*params, y).sum())(near)
        assert slope.isfinite().all()
        assert getattr(bijector, verb)(*params, first).isfinite()


def test_vectors_at_the_border_and_outside() -> None:
    assert simplex.inverse(torch.tensor([0.0, 0.5, 0.5]))[0] == -math.inf
    assert simplex.inverse(torch.tensor([-0.1, 0.6, 0.5])).isnan().all()
    assert simplex.inverse(torch.tensor([0.9, 0.6, 0.5])).isnan().all()
    assert simplex.inverse_log_det(torch.tensor([0.0, 0.5, 0.5])) == math.inf
    assert ordered.inverse_log_det(torch.tensor([0.0, 0.0])) == math.inf
    assert ordered.inverse_log_det(torch.tensor([0.0, -1.0])).isnan()
    assert chain(affine, tanh).image(torch.zeros(2), 2.0).lower_bound == -1.0
    found = chain(tanh, affine).image(torch.ones(()), torch.tensor(-2.0))
    assert (found.lower_bound, found.upper_bound) == (-1.0, 3.0)
    assert chain(exp, affine).image(torch.ones(()), torch.tensor(-2.0)).upper_bound == 1.0


# ----------------------------------------------------------------------------------------------------------- references
def spline_reference(raw: tuple[Any, ...], bound: Any, x: Any) -> tuple[Any, Any]:
    widths, heights, derivatives = ([mpf(number) for number in row] for row in raw)

    def knots(row: list[Any]) -> list[Any]:
        powers = [mpmath.exp(number) for number in row]
        least, total = mpf(0.001), mpmath.fsum(powers)
        parts = [2 * bound * ((1 - least) * power / total + least / len(row)) for power in powers]
        return [-bound + mpmath.fsum(parts[:k]) for k in range(len(row) + 1)]

    xs, ys = knots(widths), knots(heights)
    least, shift = mpf(0.001), mpmath.log(mpmath.e - 1)
    slopes = [mpf(1), *(least + (1 - least) * mpmath.log1p(mpmath.exp(d + shift)) for d in derivatives), mpf(1)]
    k = max(k for k in range(len(widths)) if xs[k] <= x)
    s, t = (ys[k + 1] - ys[k]) / (xs[k + 1] - xs[k]), (x - xs[k]) / (xs[k + 1] - xs[k])
    bottom = s + (slopes[k + 1] + slopes[k] - 2 * s) * t * (1 - t)
    y = ys[k] + (ys[k + 1] - ys[k]) * (s * t * t + slopes[k] * t * (1 - t)) / bottom
    top = s * s * (slopes[k + 1] * t * t + 2 * s * t * (1 - t) + slopes[k] * (1 - t) ** 2)
    return y, mpmath.log(top / bottom**2)


@pytest.mark.parametrize("dtype", [torch.float32, FLOAT])
def test_spline_against_mpmath(dtype: torch.dtype) -> None:
    raw = [[2.0, -3.0, 0.5, 7.0], [-1.0, 4.0, 0.25, -6.0], [3.0, -9.0, 0.0]]
    tensors = [torch.tensor(row, dtype=dtype) for row in raw]
    value = torch.linspace(-2.0, 2.0, 203, dtype=dtype)[1:-1]
    y, log_det = rational_quadratic_spline.forward_and_log_det(*tensors, 2.0, value)
    wanted = [spline_reference(tuple(raw), mpf(2), mpf(x)) for x in value.tolist()]
    eps = torch.finfo(dtype).eps
    of_y = max(float(abs(mpf(a) - b)) for a, (b, _) in zip(y.tolist(), wanted, strict=True))
    of_log_det = max(float(abs(mpf(a) - b)) for a, (_, b) in zip(log_det.tolist(), wanted, strict=True))
    assert of_y < 4 * eps
    # A bin of a hundredth of the width divides the rounding of the knots by its width.
    assert of_log_det < (4 * eps if dtype == torch.float32 else 1e4 * eps)
    back = rational_quadratic_spline.inverse(*tensors, bound=2.0, value=y)
    slope = log_det.exp()
    assert ((back - value).abs() <= 8 * eps * (1 + 1 / slope)).all()


def test_the_slope_of_a_spline_is_continuous() -> None:
    raw = [torch.tensor(row, dtype=FLOAT) for row in ([1.0, -1.0, 0.5], [0.0, 2.0, 0.3], [1.0, -2.0])]
    fraction = 0.999 * torch.softmax(raw[0], -1) + 0.001 / 3
    knots = torch.cat((torch.tensor([-2.0, 2.0], dtype=FLOAT), 2.0 * (2.0 * fraction.cumsum(-1)[:-1] - 1.0)))
    around = [rational_quadratic_spline.forward_log_det(*raw, bound=2.0, value=knots + s * 1e-13) for s in (-1, 0, 1)]
    torch.testing.assert_close(around[0], around[1], rtol=0.0, atol=1e-10)
    torch.testing.assert_close(around[2], around[1], rtol=0.0, atol=1e-10)
    assert (around[1][:2] == 0).all()
    zero = [torch.zeros(row.shape, dtype=FLOAT) for row in raw]
    value = torch.linspace(-3, 3, 101, dtype=FLOAT)
    torch.testing.assert_close(rational_quadratic_spline.forward(*zero, bound=2.0, value=value), value)


@pytest.mark.parametrize("dtype", [torch.float32, FLOAT])
def test_simplex_against_mpmath(dtype: torch.dtype) -> None:
    value = torch.tensor([[0.3, -40.0, 2.0], [30.0, 1.0, 0.0], [-80.0, 80.0, 1e-3]], dtype=dtype)
    found, log_det = simplex.forward_and_log_det(value)
    eps = torch.finfo(dtype).eps
    for row, given_row, total in zip(found.tolist(), value.tolist(), log_det.tolist(), strict=True):
        left, entries = mpf(1), []
        for k, x in enumerate(given_row):
            entries.append(left / (1 + mpmath.exp(-(mpf(x) - mpmath.log(3 - k)))))
            left *= 1 / (1 + mpmath.exp(mpf(x) - mpmath.log(3 - k)))
        wanted = [*entries, left]
        for a, b in zip(row, wanted, strict=True):
            if b > torch.finfo(dtype).tiny:
                assert abs(mpf(a) / b - 1) < eps * (1 + (abs(mpmath.log(b)) if dtype == FLOAT else 0))
        exact = mpmath.fsum(mpmath.log(b) for b in wanted)
        assert abs(mpf(total) - exact) < 2 * eps * abs(exact)
    torch.testing.assert_close(simplex.inverse(found[:1]), value[:1], rtol=4 * eps, atol=4 * eps)


# ------------------------------------------------------------------------------------------------------------- messages
def test_messages() -> None:
    with pytest.raises(TypeError, match=r"chain: takes bijectors, such as .*tanh, got 3"):
        chain(tanh, 3)
    with pytest.raises(TypeError, match="invert: takes bijectors"):
        invert(tanh_normal)
    with pytest.raises(ValueError, match="block: needs a size for each bijector, got 1 for 2"):
        block((tanh, exp), (1,))
    with pytest.raises(
        ValueError, match=r"block\(\(tanh, exp\), \(1, 2\)\).forward: the last axis of value must have 3"
    ):
        block([tanh, exp], [1, 2]).forward(torch.zeros(4))
    with pytest.raises(ValueError, match="scale_tril must be square"):
        scale_tril.forward(torch.zeros(2), torch.zeros(2, 3), torch.zeros(2))
    with pytest.raises(ValueError, match="loc must have as many entries"):
        scale_tril.forward(torch.zeros(3), torch.zeros(2, 2), torch.zeros(2))
    with pytest.raises(ValueError, match="derivatives K - 1"):
        rational_quadratic_spline.forward(torch.zeros(3), torch.zeros(3), torch.zeros(3), value=torch.zeros(()))
    with pytest.raises(ValueError, match="value must have an axis"):
        simplex.forward(torch.zeros(()))
    with pytest.raises(ValueError, match="does not fit the parameters"):
        affine.forward(torch.zeros(3), 1.0, torch.zeros(2))
    with pytest.raises(TypeError, match="takes 0 positional arguments"):
        tanh.image(1.0)
    assert tanh.image(tanh.Params()).check(torch.tensor(0.5))


# -------------------------------------------------------------------------------------------------------- random chains
ON_THE_LINE = [
    affine,
    symlog,
    symexp,
    rational_quadratic_spline,
    chain(sigmoid, invert(tanh)),
    chain(softplus, invert(exp)),
]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(range(len(ON_THE_LINE))), max_size=4), st.booleans(), st.integers(0, 10**6))
def test_random_chains_invert(places: list[int], inverts: bool, seed: int) -> None:
    parts = [ON_THE_LINE[place] for place in places]
    bijector = invert(chain(*parts)) if inverts else chain(*parts)
    params = [tensor for part in parts for tensor in params_of(part, FLOAT)]
    value = random.normal(random.key(seed), (7,), dtype=FLOAT).clamp(-1.5, 1.5)
    if any(part in (symexp, chain(sigmoid, invert(tanh))) for part in parts):
        value = value * 0.1 + 0.3
    y, log_det = bijector.forward_and_log_det(*params, value)
    back = bijector.inverse(*params, y)
    usable = (y.abs() < 1e3) & (log_det.abs() < 10)
    torch.testing.assert_close(back[usable], value[usable], rtol=1e-9, atol=1e-9)
    total = log_det + bijector.inverse_log_det(*params, y)
    torch.testing.assert_close(total[usable], torch.zeros_like(total[usable]), rtol=0.0, atol=1e-8)
    slope = torch.func.vmap(torch.func.grad(lambda x: bijector.forward(*params, x)))(value)
    torch.testing.assert_close(slope.abs().log()[usable], log_det[usable], rtol=1e-10, atol=1e-10)
