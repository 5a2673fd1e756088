"""Exact answers: value and every first derivative, from mpmath, at the exact floats that a function was given.

A reference takes the arguments of the verb as mpf numbers and returns a dictionary: `value`, then the derivative with
respect to each argument under that argument's name, then (rarely) something the meter needs. Derivatives are written
out by hand, and a test checks each against mpmath's numerical differentiation. Digits that cancel here never decide:
80 are carried.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import mpmath

from . import reference_gamma, reference_lines, reference_unit

Answer = dict[str, Any]

mp = mpmath.mp.clone()  # a context of our own: another test may set the global one's precision
mp.dps = 80
ROOT_TWO_PI = mp.sqrt(2 * mp.pi)


# ---------------------------------------------------------------------------------------------- the standard normal
def density(z):
    return mp.exp(-z * z / 2) / ROOT_TWO_PI


def lower_tail(z):
    return mp.erfc(-z / mp.sqrt(2)) / 2


def log_lower_tail(z):
    """log Phi(z), from whichever tail is small, so that neither end cancels."""
    return mp.log(lower_tail(z)) if z < 0 else mp.log1p(-lower_tail(-z))


def quantile(p):
    """Phi^-1(p): Newton on the log of the smaller tail, which is concave, so that every start converges."""
    if p == mp.mpf(1) / 2:
        return mp.zero
    if p > mp.mpf(1) / 2:
        return -quantile(1 - p)
    target, z = mp.log(p), -mp.sqrt(-2 * mp.log(2 * p))
    for _ in range(60):
        tail = lower_tail(z)
        step = (mp.log(tail) - target) * tail / density(z)
        z -= step
        if abs(step) <= abs(z) * mp.mpf(10) ** (-mp.dps + 8):
            return z
    raise ArithmeticError(f"the quantile of {p} did not converge")


def tail_slopes(z, verb):
    """The value of a cdf-like verb at z and its derivative with respect to z."""
    sign = 1 if verb.endswith("cdf") else -1
    if verb.startswith("log"):
        value = log_lower_tail(sign * z)
        return value, sign * density(z) / lower_tail(sign * z)
    return lower_tail(sign * z), sign * density(z)


TAIL_VERBS = ("cdf", "survival", "log_cdf", "log_survival")


# ------------------------------------------------------------------------------------------------------------- normal
def normal_log_prob(loc, scale, value) -> Answer:
    z = (value - loc) / scale
    return {
        "value": -z * z / 2 - mp.log(scale * ROOT_TWO_PI),
        "loc": z / scale,
        "scale": (z * z - 1) / scale,
        "at": -z / scale,
    }


def normal_tail(verb: str) -> Callable[..., Answer]:
    def answer(loc, scale, value) -> Answer:
        z = (value - loc) / scale
        result, slope = tail_slopes(z, verb)
        return {"value": result, "loc": -slope / scale, "scale": -z * slope / scale, "at": slope / scale}

    return answer


def normal_icdf(loc, scale, p) -> Answer:
    z = quantile(p)
    return {"value": loc + scale * z, "loc": mp.one, "scale": z, "at": scale / density(z)}


def normal_kl(p_loc, p_scale, q_loc, q_scale) -> Answer:
    ratio, gap = (p_scale / q_scale) ** 2, (p_loc - q_loc) / q_scale
    return {
        "value": (ratio - 1 - mp.log(ratio) + gap * gap) / 2,
        "p_loc": gap / q_scale,
        "p_scale": (ratio - 1) / p_scale,
        "q_loc": -gap / q_scale,
        "q_scale": (1 - ratio - gap * gap) / q_scale,
    }


def normal_entropy(loc, scale) -> Answer:
    return {"value": mp.log(scale * ROOT_TWO_PI) + mp.mpf(1) / 2, "loc": mp.zero, "scale": 1 / scale}


# -------------------------------------------------------------------------------------------------------- tanh-normal
def upper_gap(x):
    """1 - tanh(x) to full relative precision."""
    return 2 / (1 + mp.exp(2 * x))


def log_cosh(x):
    return abs(x) + mp.log1p(mp.exp(-2 * abs(x))) - mp.log(2)


def chained(value, slope, x_slopes: Answer, bound_slopes: Answer) -> Answer:
    """Derivatives of squash(x): through x, and directly through the bounds."""
    through_x = {name: slope * dx for name, dx in x_slopes.items()}
    return {"value": value, **through_x, **bound_slopes}


def squash_slopes(low, high, x):
    """squash(x), its derivative with respect to x, and those with respect to the bounds."""
    up, down = upper_gap(-x) / 2, upper_gap(x) / 2  # the shares of the width below and above
    value = low + (high - low) * up if x < 0 else high - (high - low) * down
    return value, 2 * (high - low) * up * down, {"low": down, "high": up}


def tanh_squash(pre, low, high) -> Answer:
    value, slope, bounds = squash_slopes(low, high, pre)
    return chained(value, slope, {"pre": mp.one}, bounds)


def tanh_median(loc, scale, low, high) -> Answer:
    value, slope, bounds = squash_slopes(low, high, loc)
    return chained(value, slope, {"loc": mp.one, "scale": mp.zero}, bounds)


def unsquash_slopes(low, high, value):
    below, above = value - low, high - value
    return mp.log(below / above) / 2, {
        "low": -1 / (2 * below),
        "high": -1 / (2 * above),
        "at": (high - low) / (2 * below * above),
    }


def tanh_unsquash(value, low, high) -> Answer:
    pre, slopes = unsquash_slopes(low, high, value)
    return {"value": pre, **slopes}


def tanh_log_prob(loc, scale, low, high, value) -> Answer:
    below, above, width = value - low, high - value, high - low
    pre, slopes = unsquash_slopes(low, high, value)
    inner = normal_log_prob(loc, scale, pre)
    return {
        "value": inner["value"] - mp.log(2 * below * above / width),
        "loc": inner["loc"],
        "scale": inner["scale"],
        "low": inner["at"] * slopes["low"] + 1 / below - 1 / width,
        "high": inner["at"] * slopes["high"] - 1 / above + 1 / width,
        "at": inner["at"] * slopes["at"] - 1 / below + 1 / above,
    }


def tanh_log_prob_pretanh(loc, scale, low, high, pre) -> Answer:
    inner = normal_log_prob(loc, scale, pre)
    return {
        "value": inner["value"] - mp.log((high - low) / 2) + 2 * log_cosh(pre),
        "loc": inner["loc"],
        "scale": inner["scale"],
        "low": 1 / (high - low),
        "high": -1 / (high - low),
        "at": inner["at"] + 2 * mp.tanh(pre),
    }


def tanh_tail(verb: str) -> Callable[..., Answer]:
    def answer(loc, scale, low, high, value) -> Answer:
        pre, slopes = unsquash_slopes(low, high, value)
        z = (pre - loc) / scale
        result, slope = tail_slopes(z, verb)
        through_x = {name: slope / scale * dx for name, dx in slopes.items()}
        return {"value": result, "loc": -slope / scale, "scale": -z * slope / scale, **through_x}

    return answer


def tanh_icdf(loc, scale, low, high, p) -> Answer:
    z = quantile(p)
    value, slope, bounds = squash_slopes(low, high, loc + scale * z)
    return chained(value, slope, {"loc": mp.one, "scale": z, "at": scale / density(z)}, bounds)


def mode_pre(loc, scale):
    """The pre-tanh point of largest density: the largest root of x = |loc| + 2 scale^2 tanh(x), with the sign of loc.

    The residual is convex in x >= 0 and the start is above its largest root, so Newton falls onto that root.
    """
    strength, shift = 2 * scale * scale, abs(loc)
    if shift == 0 and strength <= 1:
        return mp.zero
    x = shift + strength
    for _ in range(2000):
        step = (x - shift - strength * mp.tanh(x)) / (1 - strength * mp.sech(x) ** 2)
        x -= step
        if abs(step) <= x * mp.mpf(10) ** (-mp.dps + 10):
            return -x if loc < 0 else x
    raise ArithmeticError(f"the mode at loc {loc}, scale {scale} did not converge")


def tanh_mode(loc, scale, low, high) -> Answer:
    x = mode_pre(loc, scale)
    stiffness = 1 - 2 * scale * scale * mp.sech(x) ** 2
    value, slope, bounds = squash_slopes(low, high, x)
    return chained(value, slope, {"loc": 1 / stiffness, "scale": 4 * scale * mp.tanh(x) / stiffness}, bounds)


# Moments: the trapezoidal rule in z is exact up to exp(-2 pi^2 / step^2) of the Gaussian and exp(-pi^2 / (scale
# step)) of tanh's poles at +-i pi/2 (Trefethen & Weideman 2014), here both below 1e-40. The left end reaches 30
# deviations because 1 - tanh grows as x falls: at loc 50 the variance sits far out on that side.
@cache
def trapezoid(scale):
    step = min(mp.mpf("0.4"), mp.pi**2 / (100 * scale))
    points = [step * i for i in range(int(mp.ceil(-30 / step)), int(mp.floor(15 / step)) + 1)]
    return [(z, step * density(z)) for z in points]


@cache
def tanh_moments(loc, scale) -> Answer:
    """For loc >= 0: mean and variance of 1 - tanh(x), the mean of log cosh(x), and their derivatives."""
    nodes = [(z, weight, upper_gap(loc + scale * z)) for z, weight in trapezoid(scale)]
    gap = sum(weight * q for _, weight, q in nodes)
    sums = dict.fromkeys(
        ("gap_loc", "gap_scale", "var", "var_loc", "var_scale", "cosh", "cosh_loc", "cosh_scale"), mp.zero
    )
    for z, weight, q in nodes:
        slope, off = -weight * q * (2 - q), q - gap
        x = loc + scale * z
        sums["gap_loc"] += slope
        sums["gap_scale"] += slope * z
        sums["var"] += weight * off * off
        sums["var_loc"] += 2 * slope * off
        sums["var_scale"] += 2 * slope * off * z
        sums["cosh"] -= weight * (x + mp.log(q))  # q = exp(-x) / cosh(x)
        sums["cosh_loc"] += weight * (1 - q)
        sums["cosh_scale"] += weight * (1 - q) * z
    return {"gap": gap, **sums}


def half_moments(loc, scale):
    """The moments at |loc|, and the sign of loc: tanh(x) is odd, its square and cosh are even."""
    return tanh_moments(abs(loc), scale), (-1 if loc < 0 else 1)


def tanh_mean(loc, scale, low, high) -> Answer:
    moments, sign = half_moments(loc, scale)
    half, gap = (high - low) / 2, moments["gap"]
    return {
        "value": low + half * gap if sign < 0 else high - half * gap,
        "loc": -half * moments["gap_loc"],
        "scale": -sign * half * moments["gap_scale"],
        "low": (1 - gap / 2) if sign < 0 else gap / 2,
        "high": gap / 2 if sign < 0 else (1 - gap / 2),
        "stddev": half * mp.sqrt(moments["var"]),
    }


def tanh_variance(loc, scale, low, high) -> Answer:
    moments, sign = half_moments(loc, scale)
    half = (high - low) / 2
    return {
        "value": half**2 * moments["var"],
        "loc": sign * half**2 * moments["var_loc"],
        "scale": half**2 * moments["var_scale"],
        "low": -half * moments["var"],
        "high": half * moments["var"],
    }


def tanh_entropy(loc, scale, low, high) -> Answer:
    moments, sign = half_moments(loc, scale)
    width = high - low
    return {
        "value": mp.log(scale * ROOT_TWO_PI * width / 2) + mp.mpf(1) / 2 - 2 * moments["cosh"],
        "loc": -2 * sign * moments["cosh_loc"],
        "scale": 1 / scale - 2 * moments["cosh_scale"],
        "low": -1 / width,
        "high": 1 / width,
    }


# ---------------------------------------------------------------------------------------------------- truncated normal
class Cut:
    """The standard normal between two standardised bounds: mass, densities at the bounds, moments and their slopes."""

    def __init__(self, loc, scale, low, high):
        self.scale, self.a, self.b = scale, (low - loc) / scale, (high - loc) / scale
        self.mass = between(self.a, self.b)
        # Nothing happens at an infinite bound; a zero stands for it in products.
        self.at_a, self.at_b = (density(z) / self.mass if mp.isfinite(z) else mp.zero for z in (self.a, self.b))
        self.a, self.b = (z if mp.isfinite(z) else mp.zero for z in (self.a, self.b))
        self.moments = [mp.one, self.at_a - self.at_b]
        for k in (1, 2, 3):
            ends = self.a**k * self.at_a - self.b**k * self.at_b
            self.moments.append(k * self.moments[k - 1] + ends)
        self.first, self.second = self.moments[1:3]
        self.variance = self.second - self.first**2

    def sizes(self, prefix="") -> Answer:
        """What the meter needs: the deviations of the value and of the energy's derivative by log(scale)."""
        spread = mp.sqrt(self.moments[4] - self.second**2)
        return {f"{prefix}stddev": self.scale * mp.sqrt(self.variance), f"{prefix}spread": spread}

    def moment_slopes(self, k):
        """The derivatives of a moment with respect to the standardised bounds."""
        moment = self.moments[k]
        return self.at_a * (moment - self.a**k), self.at_b * (self.b**k - moment)

    def by_parameters(self, by_a, by_b) -> Answer:
        """Derivatives through the standardised bounds."""
        return {
            "loc": -(by_a + by_b) / self.scale,
            "scale": -(self.a * by_a + self.b * by_b) / self.scale,
            "low": by_a / self.scale,
            "high": by_b / self.scale,
        }


def between(a, b):
    """Phi(b) - Phi(a), from the tails that are small."""
    return lower_tail(b) - lower_tail(a) if a + b < 0 else lower_tail(-a) - lower_tail(-b)


def added(*answers: Answer) -> Answer:
    names = dict.fromkeys(name for answer in answers for name in answer)
    return {name: mp.fsum(answer.get(name, mp.zero) for answer in answers) for name in names}


def truncated_log_prob(loc, scale, low, high, value) -> Answer:
    cut, z = Cut(loc, scale, low, high), (value - loc) / scale
    own = {
        "value": -z * z / 2 - mp.log(scale * ROOT_TWO_PI * cut.mass),
        "loc": z / scale,
        "scale": (z * z - 1) / scale,
        "at": -z / scale,
    }
    return {**added(own, cut.by_parameters(cut.at_a, -cut.at_b)), **cut.sizes()}


def truncated_entropy(loc, scale, low, high) -> Answer:
    cut = Cut(loc, scale, low, high)
    by_a, by_b = cut.moment_slopes(2)
    own = {"value": mp.log(scale * ROOT_TWO_PI * cut.mass) + cut.second / 2, "scale": 1 / scale}
    return {**added(own, cut.by_parameters(by_a / 2 - cut.at_a, by_b / 2 + cut.at_b)), **cut.sizes()}


def truncated_mean(loc, scale, low, high) -> Answer:
    cut = Cut(loc, scale, low, high)
    by_a, by_b = cut.moment_slopes(1)
    own = {"value": loc + scale * cut.first, "loc": mp.one, "scale": cut.first}
    return {**added(own, cut.by_parameters(scale * by_a, scale * by_b)), **cut.sizes()}


def truncated_variance(loc, scale, low, high) -> Answer:
    cut = Cut(loc, scale, low, high)
    by_a, by_b = (
        scale**2 * (second - 2 * cut.first * first)
        for first, second in zip(cut.moment_slopes(1), cut.moment_slopes(2), strict=True)
    )
    own = {"value": scale**2 * cut.variance, "scale": 2 * scale * cut.variance}
    return {**added(own, cut.by_parameters(by_a, by_b)), **cut.sizes()}


def truncated_tail(verb: str) -> Callable[..., Answer]:
    def answer(loc, scale, low, high, value) -> Answer:
        cut, z = Cut(loc, scale, low, high), (value - loc) / scale
        below = between((low - loc) / scale, z) / cut.mass
        above = between(z, (high - loc) / scale) / cut.mass
        sign, share = (1, below) if verb.endswith("cdf") else (-1, above)
        slope = density(z) / cut.mass / scale
        slopes = added(
            {"loc": -slope, "scale": -z * slope, "at": slope},
            cut.by_parameters(-cut.at_a * above, -cut.at_b * below),
        )
        by = sign / share if verb.startswith("log") else sign
        value = (mp.log1p(-min(below, above)) if share > 0.5 else mp.log(share)) if verb.startswith("log") else share
        return {"value": value, **{name: by * slope for name, slope in slopes.items()}, **cut.sizes()}

    return answer


def truncated_icdf(loc, scale, low, high, p) -> Answer:
    cut = Cut(loc, scale, low, high)
    a, b = (low - loc) / scale, (high - loc) / scale
    lower, upper = ((1 - p) * lower_tail(s * a) + p * lower_tail(s * b) for s in (1, -1))
    z = quantile(lower) if lower < upper else -quantile(upper)
    by_a, by_b = (1 - p) * cut.at_a / density(z) * cut.mass, p * cut.at_b / density(z) * cut.mass
    own = {"value": loc + scale * z, "loc": mp.one, "scale": z, "at": scale * cut.mass / density(z)}
    return {**added(own, cut.by_parameters(scale * by_a, scale * by_b)), **cut.sizes()}


def truncated_kl(p_loc, p_scale, q_loc, q_scale, p_low, p_high, q_low, q_high) -> Answer:
    p, q, gap = Cut(p_loc, p_scale, p_low, p_high), Cut(q_loc, q_scale, q_low, q_high), p_loc - q_loc
    square = p_scale**2 * p.second + 2 * p_scale * gap * p.first + gap**2  # the mean of (x - q_loc)^2
    to_mean = p_scale * p.first + gap
    value = mp.log(q_scale * q.mass / (p_scale * p.mass)) - p.second / 2 + square / q_scale**2 / 2
    by_a, by_b = (
        (p_scale**2 * second + 2 * p_scale * gap * first) / q_scale**2 / 2 - second / 2 + of_mass
        for first, second, of_mass in zip(p.moment_slopes(1), p.moment_slopes(2), (p.at_a, -p.at_b), strict=True)
    )
    of_p = added(
        p.by_parameters(by_a, by_b),
        {"loc": to_mean / q_scale**2, "scale": (p_scale * p.second + gap * p.first) / q_scale**2 - 1 / p_scale},
    )
    of_q = added(
        q.by_parameters(-q.at_a, q.at_b),
        {"loc": -to_mean / q_scale**2, "scale": 1 / q_scale - square / q_scale**3},
    )
    slopes = {f"{side}_{name}": slope for side, of in (("p", of_p), ("q", of_q)) for name, slope in of.items()}
    return {"value": value, **slopes, **p.sizes("p_"), **q.sizes("q_")}


def truncated_kl_same_window(p_loc, p_scale, q_loc, q_scale, low, high) -> Answer:
    answer = truncated_kl(p_loc, p_scale, q_loc, q_scale, low, high, low, high)
    return {**answer, "low": answer["p_low"] + answer["q_low"], "high": answer["p_high"] + answer["q_high"]}


# --------------------------------------------------------------------------------------------------------- categorical
OUTCOMES = 12  # of every case; the mask leaves fewer

# An outcome can be certain but for the smallest double, and 1 less that must not be 1.
carrying_tails = mp.workdps(420)


def table_of(name: str) -> tuple[str, ...]:
    """The arguments that make up one row of logits or of a mask."""
    return tuple(f"{name}_{i}" for i in range(OUTCOMES))


def log_probs(logits, mask):
    """The log-probabilities of the outcomes that exist."""
    exist = [i for i in range(OUTCOMES) if mask[i] and logits[i] != -mp.inf]
    top = max(logits[i] for i in exist)
    log_sum = top + mp.log(mp.fsum(mp.exp(logits[i] - top) for i in exist))
    return {i: logits[i] - log_sum for i in exist}


def slopes_of(name: str, slopes) -> Answer:
    """One for each outcome, 0 for those that do not exist."""
    return {argument: slopes.get(i, mp.zero) for i, argument in enumerate(table_of(name))}


@carrying_tails
def categorical_log_prob(*arguments) -> Answer:
    log_p, at = log_probs(arguments[:OUTCOMES], arguments[OUTCOMES:-1]), int(arguments[-1])
    return {"value": log_p[at], **slopes_of("logits", {i: (i == at) - mp.exp(log_p[i]) for i in log_p})}


@carrying_tails
def categorical_probs(*arguments) -> Answer:
    answer = categorical_log_prob(*arguments)
    value = mp.exp(answer["value"])
    return {**{name: value * slope for name, slope in answer.items()}, "value": value}


@carrying_tails
def categorical_entropy(*arguments) -> Answer:
    log_p = log_probs(arguments[:OUTCOMES], arguments[OUTCOMES:])
    entropy = -mp.fsum(mp.exp(log) * log for log in log_p.values())
    slopes = {i: -mp.exp(log) * (log + entropy) for i, log in log_p.items()}
    return {"value": entropy, **slopes_of("logits", slopes)}


@carrying_tails
def categorical_kl(*arguments) -> Answer:
    p_logits, q_logits, p_mask, q_mask = (arguments[i * OUTCOMES : (i + 1) * OUTCOMES] for i in range(4))
    log_p, log_q = log_probs(p_logits, p_mask), log_probs(q_logits, q_mask)
    p, q = ({i: mp.exp(log) for i, log in logs.items()} for logs in (log_p, log_q))
    value = mp.fsum(p[i] * (log_p[i] - log_q[i]) for i in p)
    return {
        "value": value,
        **slopes_of("p_logits", {i: p[i] * (log_p[i] - log_q[i] - value) for i in p}),
        **slopes_of("q_logits", {i: q[i] - p.get(i, 0) for i in q}),
    }


def ordinal_log_probs(scores):
    """The first score counts for nothing."""
    logits = [mp.fsum(scores[1 : k + 1]) for k in range(OUTCOMES)]
    return log_probs(logits, [1] * OUTCOMES)


def slopes_of_scores(slopes_of_logits) -> Answer:
    """A score moves the logit of its own outcome and of all above it."""
    slopes = {j: mp.fsum(slope for k, slope in slopes_of_logits.items() if k >= j) for j in range(1, OUTCOMES)}
    return slopes_of("scores", slopes)


@carrying_tails
def ordinal_log_prob(*arguments) -> Answer:
    log_p, at = ordinal_log_probs(arguments[:OUTCOMES]), int(arguments[-1])
    return {"value": log_p[at], **slopes_of_scores({i: (i == at) - mp.exp(log_p[i]) for i in log_p})}


@carrying_tails
def ordinal_entropy(*arguments) -> Answer:
    log_p = ordinal_log_probs(arguments)
    entropy = -mp.fsum(mp.exp(log) * log for log in log_p.values())
    return {"value": entropy, **slopes_of_scores({i: -mp.exp(log) * (log + entropy) for i, log in log_p.items()})}


# -------------------------------------------------------------------------------------------------------------- table
NORMAL, BOUNDED, PAIR = ("loc", "scale"), ("loc", "scale", "low", "high"), ("p_loc", "p_scale", "q_loc", "q_scale")
MASKED = (*table_of("logits"), *table_of("mask"))
MASKED_PAIR = tuple(argument for name in ("p_logits", "q_logits", "p_mask", "q_mask") for argument in table_of(name))

# name -> (argument names, reference); the value scored, or the probability inverted, is called "at"
REFERENCES: dict[str, tuple[tuple[str, ...], Callable[..., Answer]]] = {
    "normal.log_prob": ((*NORMAL, "at"), normal_log_prob),
    **{f"normal.{verb}": ((*NORMAL, "at"), normal_tail(verb)) for verb in TAIL_VERBS},
    "normal.icdf": ((*NORMAL, "at"), normal_icdf),
    "normal.kl": (PAIR, normal_kl),
    "normal.entropy": (NORMAL, normal_entropy),
    "tanh_normal.log_prob": ((*BOUNDED, "at"), tanh_log_prob),
    "tanh_normal.log_prob_near_loc": ((*BOUNDED, "at"), tanh_log_prob),
    "tanh_normal.log_prob_pretanh": ((*BOUNDED, "at"), tanh_log_prob_pretanh),
    "tanh_normal.squash": (("pre", "low", "high"), tanh_squash),
    "tanh_normal.unsquash": (("at", "low", "high"), tanh_unsquash),
    "tanh_normal.mode": (BOUNDED, tanh_mode),
    "tanh_normal.median": (BOUNDED, tanh_median),
    "tanh_normal.mean": (BOUNDED, tanh_mean),
    "tanh_normal.variance": (BOUNDED, tanh_variance),
    "tanh_normal.entropy": (BOUNDED, tanh_entropy),
    **{f"tanh_normal.{verb}": ((*BOUNDED, "at"), tanh_tail(verb)) for verb in TAIL_VERBS},
    "tanh_normal.icdf": ((*BOUNDED, "at"), tanh_icdf),
    "tanh_normal.kl": (PAIR, normal_kl),
    "truncated_normal.log_prob": ((*BOUNDED, "at"), truncated_log_prob),
    "truncated_normal.entropy": (BOUNDED, truncated_entropy),
    "truncated_normal.mean": (BOUNDED, truncated_mean),
    "truncated_normal.variance": (BOUNDED, truncated_variance),
    **{f"truncated_normal.{verb}": ((*BOUNDED, "at"), truncated_tail(verb)) for verb in TAIL_VERBS},
    "truncated_normal.icdf": ((*BOUNDED, "at"), truncated_icdf),
    "truncated_normal.kl": ((*PAIR, "low", "high"), truncated_kl_same_window),
    "truncated_normal.kl_wider_window": ((*PAIR, "p_low", "p_high", "q_low", "q_high"), truncated_kl),
    "masked_categorical.log_prob": ((*MASKED, "at"), categorical_log_prob),
    "masked_categorical.normalized_logits": ((*MASKED, "at"), categorical_log_prob),
    "masked_categorical.probs": ((*MASKED, "at"), categorical_probs),
    "masked_categorical.entropy": (MASKED, categorical_entropy),
    "masked_categorical.kl_same_mask": (MASKED_PAIR, categorical_kl),
    "masked_categorical.kl_wider_mask": (MASKED_PAIR, categorical_kl),
    "llm_masked_categorical.log_prob": ((*MASKED, "at"), categorical_log_prob),
    "llm_masked_categorical.entropy": (MASKED, categorical_entropy),
    "ordinal.log_prob": ((*table_of("scores"), "at"), ordinal_log_prob),
    "ordinal.entropy": (table_of("scores"), ordinal_entropy),
    **reference_lines.references(mp),
    **reference_unit.references(mp),
    **reference_gamma.references(mp),
}


def differentiable(name: str) -> list[str]:
    """The arguments that the verb has derivatives in: all but masks and indices."""
    arguments = REFERENCES[name][0]
    if name.partition(".")[0] in reference_lines.COUNTED:
        return [arguments[0]]
    return [argument for argument in arguments if "logits" in argument or "scores" in argument] or list(arguments)


def extras(name: str) -> list[str]:
    """What the meter needs beside the value and the derivatives."""
    if name.startswith("truncated_normal.kl"):
        return ["p_stddev", "p_spread", "q_stddev", "q_spread"]
    if name.startswith("truncated_normal"):
        return ["stddev", "spread"]
    return ["stddev"] if name == "tanh_normal.mean" else []


def solve(name: str, arguments: list[float]) -> Answer:
    """The answer of one verb at exact floats."""
    return REFERENCES[name][1](*map(mp.mpf, arguments))
