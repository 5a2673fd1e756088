"""The inputs on which accuracy is measured: where normals, squashed normals and categoricals lose digits.

Every grid takes a floating dtype of NumPy and returns an array of shape (cases, arguments), in that dtype, with the
columns in the order of `reference.REFERENCES`. Products of lists are thinned by a fixed stride. Nothing is random.
"""

import math
from collections.abc import Callable, Iterable
from itertools import product

import numpy as np
from numpy.typing import NDArray

from . import reference, reference_lines, reference_unit

Floats = NDArray[np.floating]

LOCS = (0.0, 0.3, -1.0, 5.0, -20.0, 50.0, -50.0)
SCALES = (1e-4, 1e-2, 0.3, 1.0, 2.5, 10.0)
BOUNDS = ((-1.0, 1.0), (-2.0, 3.0), (0.0, 1e-3), (1000.0, 1001.0))
CONCENTRATIONS = (1e-3, 0.05, 0.7, 1.0, 3.0, 40.0, 1e4, 1e6)
TAIL_Z = (1e-30, 1e-9, 1e-4, 0.03, 0.4, 0.7, 1.0, 1.7, 2.5, 3.3, 4.5, 6.0, 8.0, 10.5, 12.5, 13.2, 16.0, 25.0, 36.0)
FAR_Z = (38.2, 60.0, 150.0, 1e3, 1e4)


def both_signs(numbers: Iterable[float]) -> list[float]:
    return [0.0, *(sign * number for number in numbers for sign in (1.0, -1.0))]


def thinned(rows: Iterable[tuple[float, ...]], stride: int, dtype: type) -> Floats:
    """Every so-many-th row, rounded to the dtype; rows that rounding makes equal appear once."""
    rounded = np.asarray(list(rows)[::stride], dtype=np.float64).astype(dtype)
    return np.asarray(list(dict.fromkeys(map(tuple, rounded))), dtype=dtype)


def steps_from(bound: float, towards: float, steps: int, dtype: type) -> float:
    """The float so many floats away from a bound."""
    first = np.nextafter(dtype(bound), dtype(towards))
    if bound == 0.0:  # near zero floats are subnormal: there a step is the smallest normal number
        return float(np.copysign(np.finfo(dtype).tiny * steps, towards)) if steps > 1 else float(first)
    return float(dtype(bound) + (first - dtype(bound)) * dtype(steps))


def values_inside(low: float, high: float, dtype: type) -> list[float]:
    """From the centre to one ulp from either bound, all strictly inside."""
    low, high = float(dtype(low)), float(dtype(high))
    shares = (0.5, 0.5000001, 0.500001, 0.5001, 0.51, 0.6, 0.8, 0.95, 0.99, 0.999, 0.99999, 1 - 1e-7)
    near_high = [low + (high - low) * share for share in shares]
    near_low = [low + (high - low) * (1 - share) for share in shares[3:]]
    steps = (1, 2, 3, 11, 100, 5001)
    edges = [steps_from(low, high, n, dtype) for n in steps] + [steps_from(high, low, n, dtype) for n in steps]
    rounded = {float(dtype(value)) for value in near_high + near_low + edges}
    return sorted(value for value in rounded if low < value < high)


def pre_images(dtype: type) -> list[float]:
    """Pre-tanh values from 0 through saturation to far beyond it."""
    small = (1e-30, 1e-12, 1e-6, 1e-3, 0.03, 0.1, 0.25, 0.4, 0.499, 0.5, 0.501, 0.54, 0.56, 0.7, 0.85)
    large = (1.0, 1.3, 1.8, 2.5, 3.5, 5.0, 7.0, 8.4, 8.8, 9.1, 12.0, 17.0, 18.5, 19.1, 22.0, 30.0, 43.0, 50.0)
    return both_signs((*small, *large))


def probabilities(dtype: type) -> list[float]:
    """From the smallest normal number (and 1e-300) through 1/2 to one ulp below 1."""
    smallest = 1e-38 if dtype is np.float32 else 1e-300
    exponents = np.linspace(np.log10(smallest), -1.0, 24)
    middle = (0.2, 0.3, 0.4, 0.49, 0.4999, 0.4999999, 0.5, 0.5000001, 0.5001, 0.51, 0.6, 0.75, 0.9)
    unit = float(np.finfo(dtype).epsneg)
    upper = [1 - unit * steps for steps in (1, 2, 5, 50, 1000, 30000)]
    lower = [*np.power(10.0, exponents)]
    return [float(p) for p in (*lower, smallest, *middle, 0.99, 0.9999, *upper)]


# --------------------------------------------------------------------------------------------------------------- grids
def normal_values(dtype: type) -> Floats:
    offsets = both_signs((*TAIL_Z, *FAR_Z))
    return thinned(((loc, scale, loc + scale * z) for loc, scale, z in product(LOCS, SCALES, offsets)), 1, dtype)


def normal_probabilities(dtype: type) -> Floats:
    parameters = ((0.0, 1.0), (0.0, 1e-4), (3.0, 0.5), (-50.0, 10.0), (50.0, 1e-2))
    return thinned(((*pair, p) for pair, p in product(parameters, probabilities(dtype))), 1, dtype)


def normal_parameters(dtype: type) -> Floats:
    return thinned(product(LOCS, (1e-30, *SCALES, 1e30)), 1, dtype)


def normal_pairs(dtype: type) -> Floats:
    """Pairs from equal through one ulp apart to far apart, in location and in scale."""
    ulp = float(np.finfo(dtype).eps)
    shifts = (0.0, ulp, -3 * ulp, 1e-6, -1e-3, 0.1, -1.0, 30.0, 1e4)  # in units of the scale
    ratios = (1.0, 1 + ulp, 1 - 2 * ulp, 1 + 1e-6, 1 - 1e-3, 0.8, 1.19, 1.26, 1.5, 3.0, 0.1, 1e-4, 1e4)
    rows = product((0.0, 0.3, -50.0), (1e-4, 0.3, 1.0, 10.0), shifts, ratios)
    return thinned(((loc, scale, loc + shift * scale, scale * ratio) for loc, scale, shift, ratio in rows), 1, dtype)


def tanh_values(dtype: type) -> Floats:
    rows = [
        (loc, scale, low, high, value)
        for low, high in BOUNDS
        for loc, scale, value in product(LOCS, SCALES, values_inside(low, high, dtype))
    ]
    return thinned(rows, 3, dtype)


def tanh_values_near_loc(dtype: type) -> Floats:
    """The values a sharp policy draws: within a few deviations of its location, rounded to floats."""
    rows = []
    for (low, high), loc, scale, z in product(
        BOUNDS, (0.0, 1e-3, 0.3, -1.0, 2.5, -4.0), SCALES[:4], (0.0, 0.6, -2.0, 5.0)
    ):
        value = float(dtype(low + (high - low) / (1 + np.exp(-2 * (loc + scale * z)))))
        if float(dtype(low)) < value < float(dtype(high)):
            rows.append((loc, scale, low, high, value))
    return thinned(rows, 1, dtype)


def tanh_pre_values(dtype: type) -> Floats:
    rows = product(LOCS, SCALES, BOUNDS, pre_images(dtype))
    return thinned(((loc, scale, *bounds, pre) for loc, scale, bounds, pre in rows), 5, dtype)


def squash_values(dtype: type) -> Floats:
    dense = [*pre_images(dtype), *np.linspace(-10.3, 10.3, 41), 150.0, -150.0, 1e4, -1e4]
    return thinned(((pre, *bounds) for bounds, pre in product(BOUNDS, dense)), 1, dtype)


def unsquash_values(dtype: type) -> Floats:
    return thinned(((value, *bounds) for bounds in BOUNDS for value in values_inside(*bounds, dtype)), 1, dtype)


def tanh_modes(dtype: type) -> Floats:
    """One mode and two: the density has two where scale > sqrt(1/2) and loc is small."""
    locs = both_signs((1e-12, 1e-6, 1e-3, 0.05, 0.3, 1.0, 3.0, 8.0, 20.0, 50.0))
    scales = (1e-4, 1e-2, 0.2, 0.5, 0.65, 0.7, 0.715, 0.75, 0.9, 1.0, 1.2, 1.6, 2.5, 5.0, 10.0)
    return thinned(((*pair, *bounds) for bounds, pair in product(BOUNDS, product(locs, scales))), 1, dtype)


def tanh_parameters(dtype: type) -> Floats:
    return thinned(((*pair, *bounds) for pair, bounds in product(product(LOCS, SCALES), BOUNDS)), 1, dtype)


def tanh_moments(dtype: type) -> Floats:
    locs = (0.0, 1e-6, 0.05, -0.3, 1.0, -2.2, 4.5, -9.0, 20.0, -50.0)
    scales = (1e-4, 1e-2, 0.1, 0.4, 0.75, 0.99, 1.0, 1.01, 1.5, 2.5, 5.0, 10.0)
    bounds = ((-1.0, 1.0), (1000.0, 1001.0), (-2.0, 3.0), (0.0, 1e-3))
    return thinned(((*pair, *edges) for pair, edges in product(product(locs, scales), bounds)), 1, dtype)


def tanh_probabilities(dtype: type) -> Floats:
    rows = product(LOCS, SCALES, BOUNDS, probabilities(dtype))
    return thinned(((loc, scale, *bounds, p) for loc, scale, bounds, p in rows), 5, dtype)


# ------------------------------------------------------------------------------------------ grids of truncated normals
def windows(dtype: type) -> list[tuple[float, float, float, float]]:
    """Up to 1,000 deviations out on either side, from 1e-6 deviations to all of the line wide, rounded to the dtype.

    The nearer bound is often 0: only there can a bound 1,000 deviations from loc and a narrow window both be floats.
    """
    places = (-1000.0, -50.0, -9.0, -3.0, -1.0, -0.4, 0.0, 0.3, 1.0, 2.0, 5.0, 12.0, 30.0, 50.0, 1000.0)
    widths = (1e-6, 1e-3, 0.1, 1.0, 2.5, 6.0, 20.0, 2000.0, np.inf)
    rows = []
    for place, width, scale, flip in product(places, widths, (1e-3, 0.5, 1.0, 30.0), (False, True)):
        loc, high = -place * scale, width * scale
        rows.append((-loc, scale, -high, 0.0) if flip else (loc, scale, 0.0, high))
    rows += product((-50.0, -5.0, -0.7, 0.0, 0.3, 4.0, 50.0), (1e-3, 0.5, 10.0), (-1.0,), (1.0,))
    rows += [(loc, 0.3, 1000.0, 1001.0) for loc in (990.0, 1000.3, 1001.0, 1004.0)]
    rows += [(loc, 1.0, -np.inf, np.inf) for loc in (0.0, -3.0, 1000.0)]
    rounded = [tuple(float(dtype(number)) for number in row) for row in rows]
    return [row for row in dict.fromkeys(rounded) if row[2] < row[3]]


def truncated_values(dtype: type) -> Floats:
    """Shares of the window, and of the distance over which its density falls."""
    rows = []
    for loc, scale, low, high in windows(dtype):
        nearest = min(max(loc, low), high)
        slope = abs(nearest - loc) / scale
        fall = scale / (slope + 1)
        width = min(high - low, 40 * fall)
        start, stop = max(low, nearest - width), min(high, nearest + width)
        values = [start + share * (stop - start) for share in (0.0, 1e-6, 0.01, 0.3, 0.5, 0.9, 0.9999, 1.0)]
        values += [nearest + sign * step * fall for sign, step in product((1, -1), (0.1, 1.0, 3.0, 10.0))]
        rounded = [float(dtype(value)) for value in values]
        rows += [(loc, scale, low, high, value) for value in rounded if low <= value <= high and np.isfinite(value)]
    return thinned(rows, 3, dtype)


def truncated_values_inside(dtype: type) -> Floats:
    """Not the bounds themselves, where a cdf is 0 and its logarithm infinite."""
    rows = truncated_values(dtype)
    return rows[(rows[:, 4] > rows[:, 2]) & (rows[:, 4] < rows[:, 3])]


def truncated_parameters(dtype: type) -> Floats:
    return thinned(windows(dtype), 1, dtype)


def truncated_probabilities(dtype: type) -> Floats:
    rows = product(windows(dtype), probabilities(dtype)[::2])
    return thinned(((*row, p) for row, p in rows), 7, dtype)


def truncated_pairs(dtype: type) -> Floats:
    """q from equal through one ulp apart to far apart."""
    ulp = float(np.finfo(dtype).eps)
    shifts = (0.0, ulp, -3 * ulp, 1e-6, -1e-3, 0.1, -1.0, 30.0)  # in units of the scale
    ratios = (1.0, 1 + ulp, 1 - 2 * ulp, 1 + 1e-6, 1 - 1e-3, 0.8, 1.26, 3.0, 0.1)
    rows = product(windows(dtype), shifts, ratios)
    return thinned(((w[0], w[1], w[0] + s * w[1], w[1] * r, *w[2:]) for w, s, r in rows), 29, dtype)


def truncated_pairs_wider(dtype: type) -> Floats:
    """The window of q is wider on one side or on both, by a little or by all there is."""
    more = (0.0, 1e-6, 1e-2, 1.0, np.inf)  # in units of the scale
    rows = []
    for turn, (loc, scale, q_loc, q_scale, low, high) in enumerate(truncated_pairs(dtype).astype(np.float64)):
        q_low, q_high = low - scale * more[turn % 5], high + scale * more[turn // 5 % 5]
        rows.append((loc, scale, q_loc, q_scale, low, high, q_low, q_high))
    return thinned(rows, 1, dtype)


# ----------------------------------------------------------------------------------------- grids of masked categoricals
SPREADS = (1e-3, 1.0, 30.0, 1e4)
HIDDEN = (np.nan, np.inf, -np.inf, 1e30, -1e30, 1e4, 0.0)  # what the logits are where the mask is False


def scattered(count: int, seed: int) -> Floats:
    """Numbers from 0 to 1, both included, in no order: multiples of the golden ratio, less their integers."""
    numbers = np.modf((np.arange(count) + 1 + 7 * seed) * 0.6180339887498949)[0]
    return (numbers - numbers.min()) / max(np.ptp(numbers), 0.1)  # of a single one there is no range


def shapes(count: int) -> list[Floats]:
    """Logits from 0 to 1: scattered, alternating, the largest twice, one far above the others, one far below."""
    tied = scattered(count, 1)
    tied[tied.argsort()[-2:]] = 1.0
    above = 1e-3 * scattered(count, 2)
    above[count // 2] = 1.0
    return [scattered(count, 0), np.arange(count) % 2.0, tied, above, 1 - above]


def laid_out(tables: list[list[float]], turn: int) -> list[list[float]]:
    """Tables of logits, then as many masks, of all OUTCOMES: outcomes are dealt out, the empty places get anything.

    A missing outcome is None.
    """
    size = reference.OUTCOMES
    rows, masks = [], []
    for number, table in enumerate(tables):
        row = [HIDDEN[(place + turn + 3 * number) % len(HIDDEN)] for place in range(size)]
        mask = [0.0] * size
        for i, logit in enumerate(table):
            if logit is not None:
                row[place_of(i, turn)], mask[place_of(i, turn)] = float(logit), 1.0
        rows.append(row)
        masks.append(mask)
    return [*rows, *masks]


def place_of(outcome: int, turn: int) -> int:
    return (5 * outcome + turn) % reference.OUTCOMES


def logit_tables() -> list[list[float]]:
    """Logits of all spreads, some with a common offset; then one outcome that is ever more certain; then odd ones."""
    spread_out = [
        list(offset + spread * shape)
        for count, spread, offset in product((2, 3, 5, 12), SPREADS, (0.0, 1e4, -300.0))
        for shape in shapes(count)
    ]
    certain = [
        [0.0, gap, 0.3 * sign] for gap in (3, 5, 9, 14, 17, 20, 35, 37, 40, 80, 104, 700, 745) for sign in (1, -1)
    ]
    return [*spread_out[::2], *certain, [3.0], [0.0, -np.inf], [1.0, -np.inf, 0.9, 1e4, 1e4 - 1], [0.0] * 12]


def masked_logits(dtype: type) -> Floats:
    rows = [laid_out([table], turn) for turn, table in enumerate(logit_tables())]
    return np.asarray([np.concatenate(row) for row in rows]).astype(dtype)


def masked_values(dtype: type) -> Floats:
    """Score a likely outcome and another."""
    rows = []
    for turn, table in enumerate(logit_tables()):
        some = turn % len(table) if table[turn % len(table)] > -np.inf else 0
        outcomes = dict.fromkeys((int(np.argmax(table)), some))
        rows += [[*np.concatenate(laid_out([table], turn)), place_of(outcome, turn)] for outcome in outcomes]
    return np.asarray(rows).astype(dtype)


def neighbours(logits: Floats, dtype: type) -> list[Floats]:
    """From equal logits through those one float apart to those far apart."""
    centred = scattered(len(logits), 3) - 0.5
    signs = np.where(np.arange(len(logits)) % 2, np.inf, -np.inf)
    one_float = np.nextafter(logits, signs.astype(dtype))
    one_of_them = np.where(np.arange(len(logits)) == 1, one_float, logits)
    apart = [logits.astype(np.float64) + distance * centred for distance in (1e-6, 1e-3, 1.0, 4.0, 30.0)]
    return [logits, one_float, one_of_them, logits + dtype(3.3), *apart, logits[::-1]]


def masked_pairs(dtype: type) -> Floats:
    rows, turn = [], 0
    for count, spread, offset in product((2, 3, 5, 12), SPREADS, (0.0, 1e4)):
        for shape in shapes(count):
            p_logits = (offset + spread * shape).astype(dtype)
            for q_logits in neighbours(p_logits, dtype):
                turn += 1
                if turn % 7 == 0:
                    rows.append(np.concatenate(laid_out([list(p_logits), list(q_logits)], turn)))
    return np.asarray(rows).astype(dtype)


def masked_pairs_wider(dtype: type) -> Floats:
    """q allows one or two outcomes more, from hopeless to almost certain."""
    rows, turn = [], 0
    for count, spread, offset in product((1, 2, 3, 5, 10), SPREADS, (0.0, 1e4)):
        for shape in shapes(count) if count > 1 else [np.ones(1)]:
            p_logits = (offset + spread * shape).astype(dtype)
            for q_logits in neighbours(p_logits, dtype):
                for above in (-1e4, -40.0, -17.0, -5.0, -1.0, 0.0, 2.0, 20.0, 200.0):
                    turn += 1
                    if turn % 41 == 0:
                        more = [float(np.max(q_logits)) + above, float(np.min(q_logits))][: 1 + turn % 2]
                        p_table = [*p_logits, *(None for _ in more)]
                        rows.append(np.concatenate(laid_out([p_table, [*q_logits, *more]], turn)))
    return np.asarray(rows).astype(dtype)


def ordinal_scores(dtype: type) -> Floats:
    """Scores of all spreads, in any order and falling, as those of a single peak do."""
    rows = []
    for spread, offset in product((1e-3, 0.3, 1.0, 8.0, 30.0, 200.0), (0.0, 2.0, -30.0)):
        for shape in shapes(reference.OUTCOMES):
            rows += [offset + spread * shape, np.sort(offset + spread * shape)[::-1]]
    return np.asarray(rows).astype(dtype)


def ordinal_values(dtype: type) -> Floats:
    """Score a likely outcome and another."""
    rows = []
    for turn, scores in enumerate(ordinal_scores(dtype)):
        likely = int(np.argmax(np.cumsum(scores.astype(np.float64)) - scores[0]))
        rows += [[*scores, outcome] for outcome in dict.fromkeys((likely, turn % reference.OUTCOMES))]
    return np.asarray(rows).astype(dtype)


def line_values(dtype: type) -> Floats:
    """From the centre to far tails, of a few locations and scales."""
    sizes = (1e-30, 1e-9, 1e-4, 0.03, 0.4, 0.7, 1.0, 1.7, 3.3, 6.0, 12.5, 16.0, 25.0, 40.0, 80.0, 150.0, 1e3, 1e4)
    parameters = product((0.0, 0.3, -20.0), (1e-4, 1.0, 10.0))
    return thinned(
        ((loc, scale, loc + scale * z) for (loc, scale), z in product(parameters, both_signs(sizes))), 1, dtype
    )


def laplace_values(dtype: type) -> Floats:
    """Without the location, where the density has a kink."""
    rows = line_values(dtype)
    return rows[rows[:, 0] != rows[:, 2]]


def exponential_values(dtype: type) -> Floats:
    sizes = (1e-30, 1e-12, 1e-6, 1e-3, 0.1, 0.5, 0.69, 0.7, 1.0, 3.0, 10.0, 30.0, 80.0, 500.0, 1e4)
    return thinned(((rate, size / rate) for rate, size in product((1e-4, 0.3, 1.0, 30.0), sizes)), 1, dtype)


def counts(dtype: type) -> Floats:
    """Logits to both sides, and counts up to a million."""
    logits = both_signs((1e-30, 1e-6, 0.1, 1.0, 5.0, 17.0, 40.0, 80.0))
    return thinned(product(logits, (0.0, 1.0, 2.0, 7.0, 100.0, 1e6)), 1, dtype)


def bits(dtype: type) -> Floats:
    return thinned(product(both_signs((1e-30, 1e-6, 0.1, 1.0, 5.0, 17.0, 40.0, 80.0)), (0.0, 1.0)), 1, dtype)


def poisson_counts(dtype: type) -> Floats:
    rates = (1e-30, 1e-6, 0.1, 1.0, 3.5, 10.0, 100.0, 1e4, 1e6)
    near = [(rate, float(round(rate + z * rate**0.5))) for rate in rates[4:] for z in (-2.0, 0.0, 1.0, 3.0)]
    return thinned([*near, *product(rates, (0.0, 1.0, 2.0, 5.0, 20.0, 150.0, 1e4, 1e6))], 1, dtype)


def pre_values(dtype: type) -> Floats:
    return thinned(((x,) for x in pre_images(dtype)), 1, dtype)


def kumaraswamy_values(dtype: type) -> Floats:
    """Powers from flat to sharp, and values up to the bounds."""
    sizes = (1e-30, 1e-8, 0.01, 0.3, 0.5, 0.9, 0.999, 1 - 2.0**-20)
    powers = (1e-3, 0.3, 1.0, 2.5, 50.0, 1e4)
    return thinned(((a, b, x) for a, b, x in product(powers, powers, sizes) if x**a > 1e-30), 1, dtype)


def positive_values(dtype: type) -> Floats:
    return thinned(((loc, scale, math.exp(y)) for loc, scale, y in line_values(np.float64) if abs(y) < 60), 1, dtype)


def unit_values(dtype: type) -> Floats:
    rows = thinned(
        ((loc, scale, 1 / (1 + math.exp(-y))) for loc, scale, y in line_values(np.float64) if abs(y) < 60), 1, dtype
    )
    return rows[rows[:, 2] < 1]


def gamma_values(dtype: type) -> Floats:
    """From the tail at 0 to that far out, of probabilities of 1e-30 and more."""
    rows = [(a, 1.0, a * np.exp(z / a**0.5)) for a in CONCENTRATIONS[3:] for z in (-5, -2, -0.5, -0.01, 0, 0.3, 1, 3)]
    rows += [(a, 1.0, a + z * a**0.5 + z * z / 3) for a in CONCENTRATIONS[3:] for z in (6.0, 10.0)]
    rows += [(a, 1.0, np.exp(-e / a)) for a in CONCENTRATIONS[:3] for e in (60.0, 20.0, 3.0, 1.0, 0.6, 0.05)]
    rows += [(a, 1.0, x) for a in CONCENTRATIONS[:3] for x in (0.01, 0.4, 1.0, 5.0, 55.0)]
    kept = [
        (a, rate, x / rate)
        for a, _, x in rows
        for rate in (1.0, 0.3)
        if x > 1e-30 or (dtype is np.float64 and x > 1e-290)
    ]
    return thinned(kept, 1, dtype)


def gamma_probabilities(dtype: type) -> Floats:
    shares = [p for p in probabilities(dtype) if p > 1e-30]
    rows = product(CONCENTRATIONS[::2], (0.3,), shares[::4])
    smallest = 1e-34 if dtype is np.float32 else 1e-290  # of values that are normal numbers
    return thinned([row for row in rows if np.log(row[2]) / row[0] > np.log(smallest)], 1, dtype)


def gamma_parameters(dtype: type) -> Floats:
    return thinned(product((*CONCENTRATIONS, 1.4616, 9.99, 12.0), (1e-6, 1.0, 30.0)), 1, dtype)


def gamma_pairs(dtype: type) -> Floats:
    ratios = (1.0, 1 + 2e-7, 1.0001, 0.99, 1.5, 0.3, 3.9, 30.0, 1e-3)
    rows = product((0.01, 0.7, 1.0, 30.0, 1e6), ratios, (1.0, 1.0001, 0.4, 5.0))
    return thinned(((a, 0.7, a * ratio, 0.7 * of_rates) for a, ratio, of_rates in rows), 1, dtype)


TAILS = ("cdf", "survival", "log_cdf", "log_survival")
GRIDS: dict[str, Callable[[type], Floats]] = {
    "normal.log_prob": normal_values,
    **{f"normal.{verb}": normal_values for verb in TAILS},
    "normal.icdf": normal_probabilities,
    "normal.kl": normal_pairs,
    "normal.entropy": normal_parameters,
    "tanh_normal.log_prob": tanh_values,
    "tanh_normal.log_prob_near_loc": tanh_values_near_loc,
    "tanh_normal.log_prob_pretanh": tanh_pre_values,
    "tanh_normal.squash": squash_values,
    "tanh_normal.unsquash": unsquash_values,
    "tanh_normal.mode": tanh_modes,
    "tanh_normal.median": tanh_parameters,
    "tanh_normal.mean": tanh_moments,
    "tanh_normal.variance": tanh_moments,
    "tanh_normal.entropy": tanh_moments,
    **{f"tanh_normal.{verb}": tanh_values for verb in TAILS},
    "tanh_normal.icdf": tanh_probabilities,
    "tanh_normal.kl": normal_pairs,
    "truncated_normal.log_prob": truncated_values,
    "truncated_normal.entropy": truncated_parameters,
    "truncated_normal.mean": truncated_parameters,
    "truncated_normal.variance": truncated_parameters,
    **{f"truncated_normal.{verb}": truncated_values_inside for verb in TAILS},
    "truncated_normal.icdf": truncated_probabilities,
    "truncated_normal.kl": truncated_pairs,
    "truncated_normal.kl_wider_window": truncated_pairs_wider,
    "masked_categorical.log_prob": masked_values,
    "masked_categorical.normalized_logits": masked_values,
    "masked_categorical.probs": masked_values,
    "masked_categorical.entropy": masked_logits,
    "masked_categorical.kl_same_mask": masked_pairs,
    "masked_categorical.kl_wider_mask": masked_pairs_wider,
    "llm_masked_categorical.log_prob": masked_values,
    "llm_masked_categorical.entropy": masked_logits,
    "ordinal.log_prob": ordinal_values,
    "ordinal.entropy": ordinal_scores,
    **{
        name: {"icdf": normal_probabilities, "entropy": normal_parameters}.get(name.rpartition(".")[2], line_values)
        for name in reference_lines.NAMES
    },
    **{f"kumaraswamy.{verb}": kumaraswamy_values for verb in reference_unit.VERBS},
    "log_normal.log_prob": positive_values,
    "logit_normal.log_prob": unit_values,
    "laplace.log_prob": laplace_values,
    **{f"exponential.{verb}": exponential_values for verb in ("log_prob", "log_cdf", "log_survival")},
    **{f"gamma.{verb}": gamma_values for verb in ("log_prob", *TAILS)},
    "gamma.icdf": gamma_probabilities,
    "gamma.entropy": gamma_parameters,
    "gamma.kl": gamma_pairs,
    "bernoulli.log_prob": bits,
    "geometric.log_prob": counts,
    "poisson.log_prob": poisson_counts,
    **{f"{bijector}.forward_log_det": pre_values for bijector in ("tanh", "softplus", "symlog")},
}
