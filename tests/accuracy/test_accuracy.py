"""Every measured verb, in both dtypes, eager and compiled, stays within its goal and finite on the hard grids."""

import random

import numpy as np
import pytest

from . import evaluate, grids, meter, reference, reference_gamma, reference_lines, reference_unit, stored
from .calls import CALLS, MADE
from .goals import NAMES, Limits, limits

DTYPES = list(stored.DTYPES)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_error_is_within_the_goal(name: str, dtype: str):
    hold_to_the_goal(name, dtype, compiled=False)


@pytest.mark.usefixtures("without_kernels")
@pytest.mark.parametrize("name", NAMES)
def test_error_of_operations_is_within_the_goal(name: str):
    """What compiled kernels do for small float32 batches is left to PyTorch's operations elsewhere."""
    hold_to_the_goal(name, "float32", compiled=False)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MADE)
def test_a_family_that_is_made_reaches_the_goal_of_its_own_module(name: str, dtype: str):
    of, call = MADE[name]
    hold(evaluate.errors(of, dtype, call), limits(of, dtype))


LINES = {*reference_lines.references(reference.mp), *reference_unit.references(reference.mp)}
# Another name for log_prob, and the formulas that need few operations, of which two stand for all.
NOT_COMPILED = {"tanh_normal.log_prob_near_loc", *LINES, *reference_gamma.NAMES} - {
    "laplace.log_prob",
    "bernoulli.log_prob",
}
COMPILED = [name for name in NAMES if name not in NOT_COMPILED]


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LINES)) for name in COMPILED])
def test_error_is_within_the_goal_compiled(name: str, dtype: str):
    hold_to_the_goal(name, dtype, compiled=True)


def hold_to_the_goal(name: str, dtype: str, *, compiled: bool):
    hold(evaluate.errors(name, dtype, CALLS[name], compiled=compiled), limits(name, dtype))


def hold(found: dict[str, meter.Error], allowed: Limits):
    for output, error in found.items():
        assert not error.nonfinite, f"{error.nonfinite} non-finite results of {output}: {error.worst}"
        ulps = allowed.value if output == "value" else allowed.slope
        assert error.ulp <= ulps, f"{output} is {error} off, more than {ulps} ulp, at {error.worst}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_stored_answers_are_those_of_mpmath(name: str, dtype: str):
    cases = stored.cases(name, dtype)
    inputs = np.stack(list(cases.inputs.values()), axis=-1)
    chosen = random.Random(f"{name} {dtype}").sample(range(len(inputs)), 5)
    fresh = stored.solve_all(name, inputs[chosen])
    for column, exact in enumerate(cases.answers.values()):
        np.testing.assert_array_equal(fresh[0, :, column], exact.hi[chosen])
        if dtype == "float64":
            np.testing.assert_array_equal(fresh[1, :, column], exact.lo[chosen])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_stored_inputs_are_those_of_the_grid(name: str, dtype: str):
    kept = np.stack(list(stored.cases(name, dtype).inputs.values()), axis=-1)
    made = grids.GRIDS[name](stored.DTYPES[dtype])
    np.testing.assert_allclose(made, kept, rtol=8 * float(np.finfo(kept.dtype).eps))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in reference_gamma.OF_TAILS])
def test_written_derivatives_are_those_of_mpmath(name: str):
    """Hand-written derivatives against mpmath's numerical ones, at three inputs of the grid, to 25 digits."""
    mp = reference.mp
    arguments, answer = reference.REFERENCES[name]
    inputs = np.stack(list(stored.cases(name, "float64").inputs.values()), axis=-1)
    chosen = [row for row in inputs if is_smooth(name, dict(zip(arguments, row, strict=True)))]
    for row in random.Random(name).sample(chosen, 3):
        point = [mp.mpf(float(number)) for number in row]
        written = answer(*point)
        for argument in reference.differentiable(name):
            index = arguments.index(argument)

            def along(moved, index=index, point=point):
                return answer(*point[:index], moved, *point[index + 1 :])["value"]

            # A central difference with a step far below the scale on which anything here changes; its error is step^2.
            step = (abs(point[index]) or mp.one) * mp.mpf(10) ** -25
            step = min(mp.mpf(10) ** -25, step)  # in this order a NaN, which a mask hides, is not the smaller
            with mp.workdps(150):
                numerical = (along(point[index] + step) - along(point[index] - step)) / (2 * step)
            allowed = mp.mpf(10) ** -25 * max(abs(written[argument]), mp.mpf(10) ** -25)
            assert abs(numerical - written[argument]) <= allowed, (argument, row)


def is_smooth(name: str, inputs: dict[str, float]) -> bool:
    """Whether a difference quotient means anything: not at the last floats before a bound, nor at two equal modes."""
    edge = "low" in inputs and "at" in inputs and name != "tanh_normal.icdf" and near_bound(inputs)
    tie = name == "tanh_normal.mode" and inputs["loc"] == 0
    # Between equal distributions the slopes are 0, and the difference quotient is its own error.
    equal = name.startswith("truncated_normal.kl") and inputs["p_scale"] == inputs["q_scale"]
    # The density of a Laplace distribution has a kink, and the slope of a symmetric logarithm.
    kink = name.startswith(("laplace", "symlog")) and "at" in inputs
    kink = kink and "icdf" not in name and abs(inputs["at"] - inputs.get("loc", 0.0)) < 1e-20
    # Quantiles near 0 and 1 move too fast for the step, and that of a Laplace distribution has a kink at 1/2.
    p = inputs["at"] if name in reference_lines.NAMES and name.endswith("icdf") else 0.3
    edge = edge or not 1e-8 < p < 1 - 1e-8 or (name == "laplace.icdf" and p == 0.5)
    return not edge and not tie and not equal and not kink


def near_bound(inputs: dict[str, float]) -> bool:
    room = min(inputs["at"] - inputs["low"], inputs["high"] - inputs["at"])
    return room < 1e-6 * (inputs["high"] - inputs["low"])


@pytest.mark.parametrize(("loc", "scale"), [(1.0, 2.5), (4.5, 0.1), (20.0, 1.01)])
def test_moments_agree_with_adaptive_quadrature(loc: float, scale: float):
    """The trapezoidal rule of the reference against mpmath's tanh-sinh rule on pieces."""
    mp, moments = reference.mp, reference.tanh_moments(reference.mp.mpf(loc), reference.mp.mpf(scale))
    pieces = [mp.mpf(piece) for piece in range(-30, 16)]
    pieces = sorted({*pieces, *(-loc / mp.mpf(scale) + step * mp.mpf(1) / 4 for step in range(-12, 13))})
    with mp.workdps(60):
        gap = mp.quad(lambda z: reference.density(z) * reference.upper_gap(loc + scale * z), pieces)
        variance = mp.quad(lambda z: reference.density(z) * (reference.upper_gap(loc + scale * z) - gap) ** 2, pieces)
        log_cosh = mp.quad(lambda z: reference.density(z) * reference.log_cosh(loc + scale * z), pieces)
    for found, written in ((gap, "gap"), (variance, "var"), (log_cosh, "cosh")):
        assert abs(found - moments[written]) <= mp.mpf(10) ** -25 * abs(moments[written]), written


def test_meter_counts_in_ulp_and_sees_what_is_not_finite():
    exact = stored.Exact(np.array([1.0, 1.0, 0.0]), np.array([0.0, 2.0**-55, 0.0]))
    inputs = {"loc": np.zeros(3), "scale": np.ones(3)}
    cases = stored.Cases(inputs, {"value": exact, "loc": exact, "scale": exact})
    error = meter.measure("normal.entropy", cases, "value", np.array([1 + 2.0**-51, 1.0, np.nan]))
    assert (error.ulp, error.nonfinite) == (2.0, 1)
    assert "nan at loc=0.0, scale=1.0" in error.worst
    error = meter.measure("normal.entropy", cases, "value", np.array([1.0, 1.0, 0.0]))
    assert error.ulp == 0.125
