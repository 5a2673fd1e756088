"""Reference results in float64 by NumPy and SciPy, and the check of a contender's result against them.

The inputs are not extreme, so plain formulas are accurate. Only the first rows are computed.
"""

import numpy as np
from scipy import special, stats

from benchmarks.cases import (
    ACTION,
    CONTINUOUS,
    HEAD,
    HIGH,
    IGNORE_INDEX,
    LOGITS,
    LOW,
    TARGET,
    TEMPERATURE,
    Arrays,
    Case,
)

MOST_ELEMENTS = 2**18
TOLERANCE = {"float32": 1e-3, "bfloat16": 2e-2}
# A drawn value next to a bound has lost digits that its log-density depends on.
TOLERANCE_NEAR_BOUNDS = 2e-2
SIGMAS = 6.0
STEP = 1e-5


def verdict(case: Case, arrays: Arrays, result: tuple[np.ndarray, ...]) -> str:
    """Return "" if the result is right, else a description of the error."""
    if case.is_pipeline:
        case = case.call
    if case.family == "memory":
        return "" if (result[0] == 1).all() else "not a copy"
    if case.family == "random":
        return _of_draws(case, result[0])
    if case.family == "ensemble":
        return _of_update(arrays, *result)
    if case.family == HEAD and result[0].shape == (case.shape[0], case.shape[-1]):
        return "" if np.allclose(result[0][0], arrays["hidden"][0] @ arrays["weight"].T, atol=1e-3) else "not a product"
    of_row = case.shape[-1] if case.family == HEAD else case.size // case.shape[0]
    rows = max(1, MOST_ELEMENTS // max(1, of_row))
    few = {name: _wide(array if name == "weight" else array[:rows]) for name, array in arrays.items()}
    return _of_verb(case, few, tuple(part[:rows] if part.ndim else part for part in result))


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64) if array.dtype == np.float32 else array


def _of_verb(case: Case, arrays: Arrays, result: tuple[np.ndarray, ...]) -> str:
    if case.verb == "entropy":
        return _compared(case, "entropy", result[0], entropy(case, arrays))
    if case.verb == "kl":
        return _compared(case, "kl", result[0], kl(case, arrays))
    if case.verb == "log_prob":
        wrong = _compared(case, "log-prob", result[0], log_prob(case, arrays, arrays["value"]))
        return wrong or _of_gradient(case, arrays, result[1])
    wrong = _of_sample(case, arrays, result[0])
    if not wrong and case.verb != "sample":
        tolerance = TOLERANCE_NEAR_BOUNDS if case.family == "tanh_normal" else None
        wrong = _compared(case, "log-prob", result[1], log_prob(case, arrays, result[0]), tolerance)
    if not wrong and case.verb == "sample_log_prob_entropy":
        wrong = _compared(case, "entropy", result[2], entropy(case, arrays))
    return wrong


def _compared(case: Case, what: str, actual: np.ndarray, expected: np.ndarray, tolerance: float | None = None) -> str:
    if actual.shape != expected.shape:
        return f"{what} of shape {actual.shape}"
    error = float(np.max(np.abs(actual - expected) / (1 + np.abs(expected))))
    return "" if error <= (tolerance or TOLERANCE[case.dtype]) else f"{what} off by {error:.1g}"


def _of_gradient(case: Case, arrays: Arrays, gradient: np.ndarray) -> str:
    """Compare the slope along one direction with a difference quotient."""
    first = _first(arrays)
    direction = arrays[f"q_{first}"]
    up, down = ({**arrays, first: arrays[first] + sign * STEP * direction} for sign in (1, -1))
    value = arrays["value"]
    slope = (log_prob(case, up, value) - log_prob(case, down, value)) / (2 * STEP)
    return _compared(case, "gradient", (gradient.astype(np.float64) * direction).sum(-1), slope)


def _of_sample(case: Case, arrays: Arrays, value: np.ndarray) -> str:
    if case.family in CONTINUOUS:
        if case.family != "independent_normal" and not ((value >= LOW) & (value <= HIGH)).all():
            return "samples outside the bounds"
        return _uniform(cdf(case, arrays, value.astype(np.float64)))
    if case.family == "one_hot_categorical" and not (value.sum(-1) == 1).all():
        return "samples are not one-hot"
    counted = arrays["mask"] if case.family == LOGITS else np.ones(value.shape[: len(case.shape) - 1], bool)
    table = _log_probs(case, arrays)[counted]
    index = (value.argmax(-1) if case.family == "one_hot_categorical" else value)[counted].astype(np.int64)
    if ((index < 0) | (index >= case.shape[-1])).any():
        return "samples that do not exist"
    scores = np.take_along_axis(table, index[..., None], -1)[..., 0]
    if np.isinf(scores).any():
        return "samples that are masked"
    probs, finite = np.exp(table), np.where(np.isinf(table), 0.0, table)
    mean = (probs * finite).sum(-1)
    deviation = np.sqrt(((probs * finite**2).sum(-1) - mean**2).sum())
    z = abs((scores - mean).sum()) / deviation
    return "" if z < SIGMAS else f"samples off by {z:.0f} sigma"


def _of_draws(case: Case, value: np.ndarray) -> str:
    if value.shape[: len(case.shape)] != case.shape:
        return f"draws of shape {value.shape}"
    if case.verb == "split":
        return "" if len(np.unique(value, axis=0)) == len(value) else "keys are equal"
    return _uniform(value.astype(np.float64) if case.verb == "uniform" else special.ndtr(value.astype(np.float64)))


def _uniform(u: np.ndarray) -> str:
    """Compare the first two moments of numbers that should be uniform."""
    first = abs(u.mean() - 0.5) / np.sqrt(1 / 12 / u.size)
    second = abs(((u - 0.5) ** 2).mean() - 1 / 12) / np.sqrt(1 / 180 / u.size)
    z = max(first, second)
    return "" if z < SIGMAS else f"samples off by {z:.0f} sigma"


# ------------------------------------------------------------------------------------------------------------- formulas
def _first(arrays: Arrays) -> str:
    return next(name for name in ("loc", "logits", "scores", "hidden") if name in arrays)


class _Window:
    """A normal distribution cut to the bounds."""

    def __init__(self, loc: np.ndarray, scale: np.ndarray) -> None:
        self.loc, self.scale = loc, scale
        self.low, self.high = (LOW - loc) / scale, (HIGH - loc) / scale
        self.mass = special.ndtr(self.high) - special.ndtr(self.low)
        self.at_low, self.at_high = (stats.norm.pdf(z) / self.mass for z in (self.low, self.high))

    def log_density(self, value: np.ndarray) -> np.ndarray:
        return stats.norm.logpdf(value, self.loc, self.scale) - np.log(self.mass)

    def cdf(self, value: np.ndarray) -> np.ndarray:
        return (special.ndtr((value - self.loc) / self.scale) - special.ndtr(self.low)) / self.mass

    def entropy(self) -> np.ndarray:
        of_edges = 0.5 * (self.low * self.at_low - self.high * self.at_high)
        return 0.5 * np.log(2 * np.pi * np.e) + np.log(self.scale * self.mass) + of_edges

    def mean_square_from(self, centre: np.ndarray) -> np.ndarray:
        shift = self.at_low - self.at_high
        variance = self.scale**2 * (1 + self.low * self.at_low - self.high * self.at_high - shift**2)
        return variance + (self.loc + self.scale * shift - centre) ** 2


def _window(arrays: Arrays) -> _Window:
    return _Window(arrays["loc"], arrays["scale"])


def _logits(case: Case, arrays: Arrays, prefix: str = "") -> np.ndarray:
    if case.family == "ordinal":
        return arrays[f"{prefix}scores"].cumsum(-1)
    if case.family == HEAD:
        return arrays[f"{prefix}hidden"] @ arrays["weight"].T
    logits = arrays[f"{prefix}logits"]
    return np.where(arrays["mask"], logits, -np.inf) if case.family == "masked_categorical" else logits


def _log_probs(case: Case, arrays: Arrays, prefix: str = "") -> np.ndarray:
    return special.log_softmax(_logits(case, arrays, prefix), -1)


def log_prob(case: Case, arrays: Arrays, value: np.ndarray) -> np.ndarray:
    if case.family not in CONTINUOUS:
        return _log_prob_of_outcome(case, arrays, value)
    value = value.astype(np.float64)
    if case.family == "truncated_normal":
        return _window(arrays).log_density(value).sum(-1)
    if case.family == "independent_normal":
        return stats.norm.logpdf(value, arrays["loc"], arrays["scale"]).sum(-1)
    density = stats.norm.logpdf(np.arctanh(value), arrays["loc"], arrays["scale"])
    return (density - np.log1p(-(value**2))).sum(-1)


def _log_prob_of_outcome(case: Case, arrays: Arrays, value: np.ndarray) -> np.ndarray:
    index = value.argmax(-1) if case.family == "one_hot_categorical" else value.astype(np.int64)
    exists = index != IGNORE_INDEX
    table = _log_probs(case, arrays)
    scores = np.take_along_axis(table, np.where(exists, index, 0)[..., None], -1)[..., 0]
    return np.where(arrays["mask"] & exists, scores, 0.0) if case.family == LOGITS else scores


def cdf(case: Case, arrays: Arrays, value: np.ndarray) -> np.ndarray:
    if case.family == "truncated_normal":
        return _window(arrays).cdf(value)
    if case.family == "tanh_normal":
        value = np.arctanh(np.clip(value, -1 + 1e-12, 1 - 1e-12))
    return stats.norm.cdf(value, arrays["loc"], arrays["scale"])


def entropy(case: Case, arrays: Arrays) -> np.ndarray:
    if case.family == "truncated_normal":
        return _window(arrays).entropy().sum(-1)
    if case.family in CONTINUOUS:
        of_normal = stats.norm.entropy(arrays["loc"], arrays["scale"])
        slope = _mean_log_slope(arrays) if case.family == "tanh_normal" else 0.0
        return (of_normal + slope).sum(-1)
    table = _log_probs(case, arrays)
    result = -(np.exp(table) * np.where(np.isinf(table), 0.0, table)).sum(-1)
    return np.where(arrays["mask"], result, 0.0) if case.family == LOGITS else result


def _mean_log_slope(arrays: Arrays) -> np.ndarray:
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    total = np.zeros_like(arrays["loc"])
    for node, weight in zip(nodes, weights / weights.sum(), strict=True):
        x = arrays["loc"] + arrays["scale"] * node
        total += weight * 2 * (np.log(2) - x - np.logaddexp(0, -2 * x))
    return total


def kl(case: Case, arrays: Arrays) -> np.ndarray:
    if case.family == "truncated_normal":
        p, q = _window(arrays), _Window(arrays["q_loc"], arrays["q_scale"])
        mean_log_q = -0.5 * p.mean_square_from(q.loc) / q.scale**2 - np.log(q.scale * q.mass * np.sqrt(2 * np.pi))
        return (-p.entropy() - mean_log_q).sum(-1)
    if case.family in CONTINUOUS:
        ratio, shift = arrays["scale"] / arrays["q_scale"], (arrays["loc"] - arrays["q_loc"]) / arrays["q_scale"]
        return (0.5 * (ratio**2 + shift**2 - 1) - np.log(ratio)).sum(-1)
    log_p, log_q = _log_probs(case, arrays), _log_probs(case, arrays, "q_")
    allowed = np.isfinite(log_p)
    difference = np.where(allowed, log_p, 0.0) - np.where(allowed, log_q, 0.0)
    result = (np.exp(log_p) * difference).sum(-1)
    return np.where(arrays["mask"], result, 0.0) if case.family == LOGITS else result


# ------------------------------------------------------------------------------------------------------------- ensemble
def _of_update(arrays: Arrays, losses: np.ndarray, weights: np.ndarray) -> str:
    if weights.shape != arrays["w2"].shape or not np.isfinite(weights).all() or (weights == arrays["w2"]).all():
        return "the weights did not move"
    draws = np.stack([_losses(arrays, seed) for seed in range(16)])
    deviation = np.sqrt(draws.var(0, ddof=1).sum() * (1 + 1 / len(draws))) / losses.size
    z = abs(losses.mean() - draws.mean()) / deviation
    return "" if z < SIGMAS else f"losses off by {z:.0f} sigma"


def _losses(arrays: Arrays, seed: int) -> np.ndarray:
    """Return the loss of every policy for new noise."""
    hidden = np.tanh(arrays["observation"] @ arrays["w1"] + arrays["b1"][:, None])
    output = hidden @ arrays["w2"] + arrays["b2"][:, None]
    loc, scale = output[..., :ACTION], np.logaddexp(0, output[..., ACTION:]) + 0.1
    noise = np.random.default_rng(seed).standard_normal(loc.shape)
    x = loc + scale * noise
    log_slope = 2 * (np.log(2) - x - np.logaddexp(0, -2 * x))
    scores = (stats.norm.logpdf(noise) - np.log(scale) - log_slope).sum(-1)
    return (TEMPERATURE * scores + ((np.tanh(x) - TARGET) ** 2).sum(-1)).mean(-1)
