"""How far a computed result is from the exact one.

An error is relative to max(|exact|, floor). The floor says below which size digits stop mattering, in the natural
unit of the quantity: one nat for a log-density, the standard deviation for a mean, and so on. The natural unit of a
derivative is that of the value times the root Fisher information of the argument: 1/scale for a location,
sqrt(2)/scale for a scale, 1/width for a bound. A floor of 0 asks for relative accuracy however small the number, down
to the smallest normal number over eps: there the operators themselves begin to round or flush subnormal numbers
(times what a derivative is multiplied with afterwards).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from . import reference, reference_lines, stored

Array = NDArray[np.float64]
Columns = dict[str, Array]
Floors = dict[str, Array | float]


# -------------------------------------------------------------------------------- floors, one function per kind of verb
def normal_tail(inputs: Columns, answers: Columns) -> Floors:
    """Relative."""
    scale, tiny = inputs["scale"], inputs["tiny"]
    z = (inputs["at"] - inputs["loc"]) / scale
    return {"loc": tiny / scale, "scale": tiny * np.abs(z) / scale, "at": tiny / scale}


def normal_score(inputs: Columns, answers: Columns) -> Floors:
    """Log-density: one nat; its derivatives: the root Fisher information."""
    scale = inputs["scale"]
    return {"value": 1.0, "loc": 1 / scale, "scale": np.sqrt(2) / scale, "at": 1 / scale}


def pre_image(inputs: Columns) -> tuple[Array, Floors]:
    """The pre-tanh value, and the size of its derivatives with respect to the value and the bounds."""
    below, above = inputs["at"] - inputs["low"], inputs["high"] - inputs["at"]
    sizes: Floors = {"at": 0.5 / below + 0.5 / above, "low": 0.5 / below, "high": 0.5 / above}
    return 0.5 * (np.log(below) - np.log(above)), sizes


def tanh_score(inputs: Columns, answers: Columns) -> Floors:
    """As for the normal; the value and the bounds move the pre-image, and the bounds the width."""
    scale, width = inputs["scale"], inputs["high"] - inputs["low"]
    _, sizes = pre_image(inputs)
    return {
        **normal_score(inputs, answers),
        "at": sizes["at"] / scale,
        "low": sizes["low"] / scale + 1 / width,
        "high": sizes["high"] / scale + 1 / width,
    }


def tanh_score_near(inputs: Columns, answers: Columns) -> Floors:
    """Near a sharp peak the rounding of the pre-image alone, |x|/scale deviations, decides: it joins the floor."""
    pre, _ = pre_image(inputs)
    scale, z = inputs["scale"], (pre - inputs["loc"]) / inputs["scale"]
    blur = np.abs(pre) / scale
    floors = {name: floor * (1 + blur) for name, floor in tanh_score(inputs, answers).items()}
    return {**floors, "value": 1 + blur * np.abs(z), "scale": np.sqrt(2) / scale * (1 + blur * np.abs(z))}


def tanh_score_pretanh(inputs: Columns, answers: Columns) -> Floors:
    width = inputs["high"] - inputs["low"]
    return {**normal_score(inputs, answers), "low": 1 / width, "high": 1 / width}


def tanh_tail(inputs: Columns, answers: Columns) -> Floors:
    """Relative, but for the effect of one rounding of the pre-image, which no formula in working precision escapes."""
    pre, sizes = pre_image(inputs)
    z = (pre - inputs["loc"]) / inputs["scale"]
    blur = np.abs(pre) / inputs["scale"]
    moves = {**sizes, "loc": 1.0, "scale": np.abs(z)}  # how the arguments move scale z
    slopes = {
        name: np.abs(answers[name]) * (1 + blur * (1 + np.abs(z))) + inputs["tiny"] * move / inputs["scale"]
        for name, move in moves.items()
    }
    return {**slopes, "value": np.abs(answers["loc"] * pre)}


def normal_quantile(inputs: Columns, answers: Columns) -> Floors:
    """The standard deviation; relative in the probability."""
    return {"value": inputs["scale"], "scale": 1.0}


def tanh_quantile(inputs: Columns, answers: Columns) -> Floors:
    """The deviation at that point (scale times tanh's slope there), and one rounding of the pre-image x.

    The latter moves the slope exp(-2|x|) by 2|x| roundings. A bound moves the action by at most as much as itself: 1.
    """
    z, width = special.ndtri(inputs["at"]), inputs["high"] - inputs["low"]
    pre, slope = inputs["loc"] + inputs["scale"] * z, np.abs(answers["loc"])
    steep = slope * (1 + np.abs(pre)) + inputs["tiny"] * width
    stretch = inputs["scale"] * np.sqrt(2 * np.pi) * np.exp(0.5 * z * z)
    return {
        "value": slope * (inputs["scale"] + np.abs(pre)),
        "loc": steep,
        "scale": steep * np.maximum(np.abs(z), 1),
        "at": steep * stretch,
        "low": 1.0,
        "high": 1.0,
    }


def squashed(inputs: Columns, answers: Columns) -> Floors:
    """Relative; a bound moves the action by at most as much as itself: 1."""
    width = inputs["high"] - inputs["low"]
    return {"low": 1.0, "high": 1.0, "pre": inputs["tiny"] * width, "loc": inputs["tiny"] * width}


def unsquashed(inputs: Columns, answers: Columns) -> Floors:
    """Relative."""
    return {}


def tanh_mode(inputs: Columns, answers: Columns) -> Floors:
    """As for a quantile: one rounding of the pre-image x moves the mode by |x| times tanh's slope, that slope by 2|x|.

    Where two modes are about to part, at 2 scale^2 = 1, one rounding of the scale moves the mode too.
    """
    scale, width = inputs["scale"], inputs["high"] - inputs["low"]
    reach = np.abs(inputs["loc"]) + 2 * scale * scale  # |x| at most
    share = np.clip((answers["value"] - inputs["low"]) / width, 0, 1)
    slope, tiny = 2 * width * share * (1 - share), inputs["tiny"] * width
    return {
        "value": slope * (scale + reach) + np.abs(answers["scale"]) * scale,
        "loc": np.abs(answers["loc"]) * (1 + reach) + tiny,
        "scale": np.abs(answers["scale"]) * (1 + reach) + tiny * scale,
        "low": 1.0,
        "high": 1.0,
    }


def tanh_mean(inputs: Columns, answers: Columns) -> Floors:
    """The standard deviation, at least one rounding of the half width: below that, all actions are one float."""
    half, scale = 0.5 * (inputs["high"] - inputs["low"]), inputs["scale"]
    deviation = np.maximum(answers["stddev"], inputs["eps"] * half)
    return {
        "value": deviation,
        "loc": deviation / scale,
        "scale": np.sqrt(2) * deviation / scale,
        "low": 1.0,
        "high": 1.0,
    }


def tanh_variance(inputs: Columns, answers: Columns) -> Floors:
    """Relative, down to the square of one rounding of the half width."""
    half, scale = 0.5 * (inputs["high"] - inputs["low"]), inputs["scale"]
    variance = np.maximum(answers["value"], (inputs["eps"] * half) ** 2)
    by_width = variance / half
    return {
        "value": variance,
        "loc": variance / scale,
        "scale": np.sqrt(2) * variance / scale,
        "low": by_width,
        "high": by_width,
    }


def truncated_score(inputs: Columns, answers: Columns) -> Floors:
    """Log-density and entropy: one nat; their derivatives: the root Fisher information, 1 / deviation for a bound."""
    scale, deviation = inputs["scale"], answers["stddev"]
    return {
        "value": 1.0,
        "loc": deviation / scale**2,
        "scale": answers["spread"] / scale,
        "low": 1 / deviation,
        "high": 1 / deviation,
        "at": 1 / scale,
    }


def times(floors: Floors, factor: Array) -> Floors:
    return {name: floor * factor for name, floor in floors.items()}


def truncated_tail(inputs: Columns, answers: Columns) -> Floors:
    """Relative; the derivatives of its logarithm, as for a log-density."""
    log = np.abs(answers["value"])
    share = np.where(answers["value"] < 0, np.maximum(log, np.finfo(np.float64).tiny), log)
    return {**times(truncated_score(inputs, answers), np.minimum(share, 1)), "value": 0.0, "at": 0.0}


def truncated_mean(inputs: Columns, answers: Columns) -> Floors:
    """The standard deviation, times the root Fisher information; a bound moves it by at most as much as itself: 1."""
    floors = times(truncated_score(inputs, answers), answers["stddev"])
    return {**floors, "low": 1.0, "high": 1.0, "at": answers["stddev"]}


def truncated_variance(inputs: Columns, answers: Columns) -> Floors:
    """Relative, times the root Fisher information."""
    return times(truncated_score(inputs, answers), answers["value"])


def truncated_divergence(inputs: Columns, answers: Columns) -> Floors:
    """eps^2, and the distance of p and q times the root Fisher information, as for categoricals."""
    eps = inputs["eps"]
    distance = np.maximum(np.sqrt(2 * np.abs(answers["value"])), eps)
    floors: Floors = {"value": eps**2}
    for side, size in (("p", distance), ("q", np.minimum(distance, 1))):
        scale, deviation = inputs[f"{side}_scale"], answers[f"{side}_stddev"]
        floors[f"{side}_loc"] = size * deviation / scale**2
        floors[f"{side}_scale"] = size * answers[f"{side}_spread"] / scale
        floors[f"{side}_low"] = floors[f"{side}_high"] = size / deviation
    floors["low"] = floors["high"] = 1 / answers["p_stddev"]  # the sum of that of p and of q, which cancel
    return floors


def divergence(inputs: Columns, answers: Columns) -> Floors:
    """eps^2, and eps times the root Fisher information: between parameters one ulp apart there is nothing more to know.

    The slope in q's scale, (1 - ratio^2 - gap^2) / scale, is 0 where the second moments agree; the gap itself is its
    unit.
    """
    p_scale, q_scale, eps = inputs["p_scale"], inputs["q_scale"], inputs["eps"]
    gap = (inputs["p_loc"] - inputs["q_loc"]) / q_scale
    return {
        "value": eps**2,
        "p_loc": eps / q_scale,
        "q_loc": eps / q_scale,
        "p_scale": np.sqrt(2) * eps / p_scale,
        "q_scale": (np.sqrt(2) * eps + gap * gap) / q_scale,
    }


def probabilities(inputs: Columns, prefix: str = "") -> tuple[Array, Array]:
    """The probabilities of a masked categorical and the root Fisher information of its logits, sqrt(p (1 - p))."""
    logits, mask = (np.stack([inputs[name] for name in reference.table_of(prefix + table)], -1) for table in TABLES)
    logits = np.where(mask > 0, logits, -np.inf)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    total, others = weights.sum(-1, keepdims=True), weights @ (1 - np.eye(reference.OUTCOMES))
    return weights / total, np.sqrt(weights * others) / total


TABLES = ("logits", "mask")


def by_outcome(name: str, floors: Array) -> Floors:
    return dict(zip(reference.table_of(name), floors.T, strict=True))


def categorical_score(inputs: Columns, answers: Columns) -> Floors:
    """Log-probability or entropy: one nat; its derivatives: the root Fisher information."""
    _, information = probabilities(inputs)
    return {"value": 1.0, **by_outcome("logits", information)}


def ordinal_score(inputs: Columns, answers: Columns) -> Floors:
    """As for a categorical: a score parts the outcomes into those below and those from there on."""
    scores = np.stack([inputs[name] for name in reference.table_of("scores")], -1)
    logits = np.cumsum(scores, -1) - scores[:, :1]
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    above = np.cumsum(weights[:, ::-1], -1)[:, ::-1]
    below = np.cumsum(np.roll(weights, 1, -1) * (np.arange(reference.OUTCOMES) > 0), -1)
    return {"value": 1.0, **by_outcome("scores", np.sqrt(above * below) / weights.sum(-1, keepdims=True))}


def categorical_probability(inputs: Columns, answers: Columns) -> Floors:
    """Relative, but for one rounding of its logarithm; derivatives: that times the root Fisher information."""
    _, information = probabilities(inputs)
    value = answers["value"][:, None]
    blur = 1 + np.abs(np.log(np.maximum(value, inputs["tiny"][:, None])))
    slopes = np.abs(np.stack([answers[name] for name in reference.table_of("logits")], -1))
    return {
        "value": (blur * value)[:, 0],
        **by_outcome("logits", blur * np.maximum(slopes, value * information)),
    }


def categorical_divergence(inputs: Columns, answers: Columns) -> Floors:
    """eps^2, as for the normal; its derivatives: the root Fisher information times how far p and q are apart.

    Between neighbours the divergence is half the square of a distance in standard deviations, and each derivative that
    distance times the root Fisher information, up to a cosine, which can be 0. So its unit is sqrt(2 KL), at least eps;
    for q's, the differences of two probabilities, at most 1.
    """
    (_, of_p), (_, of_q) = probabilities(inputs, "p_"), probabilities(inputs, "q_")
    distance = np.maximum(np.sqrt(2 * answers["value"]), inputs["eps"])[:, None]
    return {
        "value": inputs["eps"] ** 2,
        **by_outcome("p_logits", distance * of_p),
        **by_outcome("q_logits", np.minimum(distance, 1) * of_q),
    }


def line_score(inputs: Columns, answers: Columns) -> Floors:
    """Log-density or entropy: one nat; its derivatives: the inverse scale."""
    return {"value": 1.0, "loc": 1 / inputs["scale"], "scale": 1 / inputs["scale"], "at": 1 / inputs["scale"]}


def line_tail(inputs: Columns, answers: Columns) -> Floors:
    """Relative."""
    return normal_tail(inputs, answers)


def line_quantile(inputs: Columns, answers: Columns) -> Floors:
    """Relative to the scale; the slope in the scale, z, relative to 1."""
    return {"value": inputs["scale"], "scale": 1.0}


def exponential_score(inputs: Columns, answers: Columns) -> Floors:
    return {"value": 1.0, "rate": 1 / inputs["rate"], "at": inputs["rate"]}


def kumaraswamy_score(inputs: Columns, answers: Columns) -> Floors:
    """Log-density: one nat; its derivatives: the inverse of each parameter, and of the distance to a bound."""
    a, b, at = (inputs[name] for name in ("concentration1", "concentration0", "at"))
    return {"value": 1.0, "concentration1": 1 / a, "concentration0": 1 / b, "at": 1 / at}


def log_scale_score(inputs: Columns, answers: Columns) -> Floors:
    """As that of a normal, whose value the logarithm or the logit is."""
    return {**line_score(inputs, answers), "at": (1 + 1 / inputs["scale"]) / inputs["at"]}


def gamma_score(inputs: Columns, answers: Columns) -> Floors:
    """One nat, and what one rounding of rate value changes; the root Fisher information."""
    a, rate = inputs["concentration"], inputs["rate"]
    slopes: Floors = {"concentration": a**-0.5 + 1 / a, "rate": a / rate}
    if "at" not in inputs:  # an entropy
        return {"value": 1.0, **slopes}
    return {"value": 1 + np.abs(a - rate * inputs["at"]), "at": (1 + a) / inputs["at"], **slopes}


def gamma_tail(inputs: Columns, answers: Columns) -> Floors:
    """Relative, but for the effect of one rounding of rate value."""
    move = 1 + np.abs(inputs["concentration"] - inputs["rate"] * inputs["at"])
    slopes = {name: np.abs(answers[name]) * move for name in ("concentration", "rate", "at")}
    return {"value": np.abs(answers["at"] * inputs["at"]), **slopes}


def gamma_quantile(inputs: Columns, answers: Columns) -> Floors:
    """Relative, but for one rounding of log x, and of the probability."""
    x, p = answers["value"] * inputs["rate"], inputs["at"]
    blur = 1 + np.abs(np.log(x)) + np.abs(answers["at"]) * p / answers["value"]
    slopes = {name: np.abs(answers[name]) * blur for name in ("concentration", "rate")}
    of_density = 1 + np.abs(inputs["concentration"] - x)  # how the density changes
    return {"value": answers["value"] * blur, **slopes, "at": np.abs(answers["at"]) * blur * of_density}


def gamma_divergence(inputs: Columns, answers: Columns) -> Floors:
    """Relative, but for one rounding of the ratio of the means; slopes are differences of terms as large as these."""
    a, b, means = inputs["p_concentration"], inputs["q_concentration"], inputs["q_rate"] / inputs["p_rate"]
    return {
        "value": np.sqrt(np.abs(answers["value"]) * b) + b * inputs["eps"] ** 2,
        "p_concentration": 1 + means,
        "p_rate": (b + a * means) / inputs["p_rate"],
        "q_concentration": 1 + 1 / b,
        "q_rate": (b + a * means) / inputs["q_rate"],
    }


def relative(inputs: Columns, answers: Columns) -> Floors:
    return {}


def one_nat(inputs: Columns, answers: Columns) -> Floors:
    return {"value": 1.0, "logits": 1.0, "rate": np.fmax(1.0, 1 / inputs["rate"]) if "rate" in inputs else 1.0}


FLOORS: dict[str, Callable[[Columns, Columns], Floors]] = {
    "normal.log_prob": normal_score,
    **{f"normal.{verb}": normal_tail for verb in reference.TAIL_VERBS},
    "normal.icdf": normal_quantile,
    "normal.kl": divergence,
    "normal.entropy": normal_score,
    "tanh_normal.log_prob": tanh_score,
    "tanh_normal.log_prob_near_loc": tanh_score_near,
    "tanh_normal.log_prob_pretanh": tanh_score_pretanh,
    "tanh_normal.squash": squashed,
    "tanh_normal.unsquash": unsquashed,
    "tanh_normal.mode": tanh_mode,
    "tanh_normal.median": squashed,
    "tanh_normal.mean": tanh_mean,
    "tanh_normal.variance": tanh_variance,
    "tanh_normal.entropy": tanh_score_pretanh,
    **{f"tanh_normal.{verb}": tanh_tail for verb in reference.TAIL_VERBS},
    "tanh_normal.icdf": tanh_quantile,
    "tanh_normal.kl": divergence,
    "truncated_normal.log_prob": truncated_score,
    "truncated_normal.entropy": truncated_score,
    "truncated_normal.mean": truncated_mean,
    "truncated_normal.variance": truncated_variance,
    **{f"truncated_normal.{verb}": truncated_tail for verb in reference.TAIL_VERBS},
    "truncated_normal.icdf": truncated_mean,
    "truncated_normal.kl": truncated_divergence,
    "truncated_normal.kl_wider_window": truncated_divergence,
    "masked_categorical.log_prob": categorical_score,
    "llm_masked_categorical.log_prob": categorical_score,
    "masked_categorical.normalized_logits": categorical_score,
    "masked_categorical.probs": categorical_probability,
    "masked_categorical.entropy": categorical_score,
    "llm_masked_categorical.entropy": categorical_score,
    "masked_categorical.kl_same_mask": categorical_divergence,
    "masked_categorical.kl_wider_mask": categorical_divergence,
    "ordinal.log_prob": ordinal_score,
    "ordinal.entropy": ordinal_score,
    **{
        name: {"icdf": line_quantile, "log_prob": line_score, "entropy": line_score}.get(
            name.rpartition(".")[2], line_tail
        )
        for name in reference_lines.NAMES
    },
    "kumaraswamy.log_prob": kumaraswamy_score,
    **{f"kumaraswamy.{verb}": relative for verb in ("log_cdf", "log_survival")},
    **{f"{family}.log_prob": log_scale_score for family in ("log_normal", "logit_normal")},
    "gamma.log_prob": gamma_score,
    **{f"gamma.{verb}": gamma_tail for verb in ("cdf", "survival", "log_cdf", "log_survival")},
    "gamma.icdf": gamma_quantile,
    "gamma.entropy": gamma_score,
    "gamma.kl": gamma_divergence,
    "exponential.log_prob": exponential_score,
    **{f"exponential.{verb}": relative for verb in ("log_cdf", "log_survival")},
    "bernoulli.log_prob": relative,
    "geometric.log_prob": one_nat,
    "poisson.log_prob": one_nat,
    **{f"{bijector}.forward_log_det": relative for bijector in ("softplus", "symlog")},
    "tanh.forward_log_det": relative,
}


# -------------------------------------------------------------------------------------------------------- measuring
class Error(NamedTuple):
    """The largest error over the cases of one output."""

    ulp: float
    relative: float
    nonfinite: int
    worst: str  # the inputs of the largest error, and of the first non-finite result if there is one

    def __str__(self) -> str:
        nonfinite = f" nf{self.nonfinite}" if self.nonfinite else ""
        return f"{self.ulp:.2g} {self.relative:.0e}{nonfinite}"


def floors(name: str, cases: stored.Cases) -> dict[str, Array]:
    """The floor of every output of a verb."""
    info = np.finfo(next(iter(cases.inputs.values())).dtype)
    size, tiny = len(next(iter(cases.inputs.values()))), float(info.tiny) / float(info.eps)
    inputs = {argument: column.astype(np.float64) for argument, column in cases.inputs.items()}
    answers = {output: exact.hi for output, exact in cases.answers.items()}
    with np.errstate(over="ignore", invalid="ignore"):
        chosen = FLOORS[name]({**inputs, "eps": np.full(size, float(info.eps)), "tiny": np.full(size, tiny)}, answers)
        return {output: np.broadcast_to(np.fmax(chosen.get(output, 0.0), tiny), size) for output in answers}


def show(inputs: dict[str, NDArray[np.floating]], case: int) -> str:
    """The inputs of a case, less its mask and what that hides."""
    row = {argument: float(column[case]) for argument, column in inputs.items()}
    masks = [argument for argument in row if "mask_" in argument]
    hidden = {*masks, *(mask.replace("mask", "logits") for mask in masks if not row[mask])}
    return ", ".join(f"{argument}={number!r}" for argument, number in row.items() if argument not in hidden)


def asked(cases: stored.Cases, output: str, dtype: np.dtype) -> NDArray[np.bool_]:
    """Where anything is asked of an output: not where the exact number is at the end of the dtype's range.

    One float away from a bound at 0 the slopes in the value and in the bounds can be: then none of these is asked for.
    """
    together = ("low", "high", "at") if output in ("low", "high", "at") else (output,)
    exact = [cases.answers[name].hi for name in together if name in cases.answers]
    return np.logical_and.reduce([np.abs(hi) < 1e-3 * float(np.finfo(dtype).max) for hi in exact])


def measure(name: str, cases: stored.Cases, output: str, computed: NDArray[np.floating]) -> Error:
    """Compare one output (`value`, or a derivative by the name of its argument) with the exact answers."""
    exact, floor, largest = cases.answers[output], floors(name, cases)[output], float(np.finfo(computed.dtype).max)
    wanted = asked(cases, output, computed.dtype)
    lost = wanted & ~np.isfinite(computed)
    measured = wanted & ~lost
    result = np.where(measured, computed, 0).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        distance = np.where(measured, np.abs((result - exact.hi) - exact.lo), 0.0)
        size = np.where(measured, np.maximum(np.abs(exact.hi), floor), 1.0)
        ulp = np.spacing(np.minimum(size, largest).astype(computed.dtype)).astype(np.float64)
    worst = int(np.argmax(distance / size))
    found = f"{show(cases.inputs, worst)}: {float(computed[worst])!r}, exactly {float(exact.hi[worst])!r}"
    if lost.any():
        first = int(np.argmax(lost))
        found += f"; {float(computed[first])} at {show(cases.inputs, first)}"
    return Error(float((distance / ulp).max()), float((distance / size).max()), int(lost.sum()), found)


def worst_of(errors: dict[str, Error]) -> tuple[str, Error]:
    """The output of the largest error, with all non-finite results counted."""
    output = max(errors, key=lambda name: (errors[name].nonfinite > 0, errors[name].relative))
    return output, errors[output]._replace(nonfinite=sum(error.nonfinite for error in errors.values()))
