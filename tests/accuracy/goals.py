"""How many ulp a result may be off: a figure that was reached, times a factor.

A figure is the largest error in ulp, of the value or of the worst first derivative, that careful formulas in working
precision reached. PUBLISHED are the design's figures. HARDER are those of the same formulas on the grids here, where
these grids ask for more: farther tails, and a sum of large terms that cancel. Staying within FACTOR of a figure is as
good as reaching it; where a much simpler formula is finite everywhere it may take SIMPLER: tails and derivatives
matter to a policy, the last ulps do not.
"""

from typing import NamedTuple

from . import reference, reference_gamma, reference_lines, reference_unit

FACTOR, SIMPLER = 4.0, 20.0


class Goal(NamedTuple):
    value: float
    slope: float
    factor: float = FACTOR


Goals = dict[str, tuple[Goal, Goal]]  # name -> (float32, float64)

PUBLISHED: Goals = {
    "normal.log_prob": (Goal(2.8, 1.4), Goal(2.3, 1.5)),
    **{f"normal.{verb}": (Goal(44, 1e2), Goal(1e3, 1e3)) for verb in reference.TAIL_VERBS},
    "normal.icdf": (Goal(1.1, 28), Goal(2, 71)),
    "normal.kl": (Goal(1.7, 3.7), Goal(2.4, 2.7)),
    "tanh_normal.log_prob": (Goal(2e2, 19), Goal(98, 13)),
    # The slope of log(1 - tanh^2) as 2 - 4 sigmoid(2x) is right to the last digit of 1, not of itself, at the centre.
    "tanh_normal.log_prob_pretanh": (Goal(9, 2.2, SIMPLER), Goal(24, 2.1, SIMPLER)),
    "tanh_normal.squash": (Goal(0.59, 1.9), Goal(0.64, 1.5)),
    "tanh_normal.mode": (Goal(1.9, 60), Goal(2, 30)),
    "tanh_normal.mean": (Goal(1.2, 3.5), Goal(1.7, 4.5)),
    "tanh_normal.variance": (Goal(7.2, 9.2), Goal(12, 17)),
    "tanh_normal.entropy": (Goal(5.6, 2.2), Goal(5, 6)),
    "tanh_normal.kl": (Goal(1.6, 3.6), Goal(2.1, 2.4)),
    "truncated_normal.log_prob": (Goal(9.1, 7), Goal(6, 6.5)),
    "truncated_normal.entropy": (Goal(2.5, 5.1), Goal(2.2, 4.2)),
    "truncated_normal.mean": (Goal(3.5, 10), Goal(3.2, 8.5)),
    "truncated_normal.variance": (Goal(8, 9.2), Goal(3.3, 13)),
    **{f"truncated_normal.{verb}": (Goal(82, 1e2), Goal(84, 98)) for verb in reference.TAIL_VERBS},
    "truncated_normal.icdf": (Goal(6.7, 91), Goal(19, 2e2)),
    "truncated_normal.kl": (Goal(1e2, 8.8), Goal(3e2, 13)),
    "truncated_normal.kl_wider_window": (Goal(1e2, 8.8), Goal(3e2, 13)),
    "masked_categorical.log_prob": (Goal(0.94, 11), Goal(1, 6.9)),
    "masked_categorical.normalized_logits": (Goal(0.94, 11), Goal(1, 6.9)),  # the same numbers
    "masked_categorical.entropy": (Goal(0.89, 27), Goal(1.2, 2e2)),
    "masked_categorical.kl_same_mask": (Goal(16, 61), Goal(11, 5e2)),
    "masked_categorical.kl_wider_mask": (Goal(9.5, 58), Goal(24, 5e2)),
    "llm_masked_categorical.log_prob": (Goal(0.94, 11), Goal(1, 6.9)),  # those of a masked categorical
    "llm_masked_categorical.entropy": (Goal(0.89, 27), Goal(1.2, 2e2)),
    "ordinal.log_prob": (Goal(1.2, 23), Goal(1.7, 28)),
    "ordinal.entropy": (Goal(0.95, 1.9), Goal(0.86, 2.5)),
}

_LOG_TAILS = ("log_cdf", "log_survival")
HARDER: Goals = {
    "normal.log_prob": (Goal(5.4, 2.5), Goal(12, 3.8)),  # 4.5 deviations, scale 1e-4: z^2/2 and log(scale) cancel
    **{f"normal.{verb}": (Goal(77, 91), Goal(2.3e3, 1.8e3)) for verb in reference.TAIL_VERBS},
    "normal.icdf": (Goal(3.2, 56), Goal(2.6, 4.7e2)),  # p down to 1e-300
    "normal.kl": (Goal(13, 5.6), Goal(13, 5.6)),  # scales 1.26 apart
    "normal.entropy": (Goal(1, 1), Goal(1, 1)),
    "tanh_normal.log_prob_near_loc": (Goal(2.2, 3), Goal(2, 2.6)),
    "tanh_normal.unsquash": (Goal(0.94, 2.2), Goal(0.88, 1.5)),
    "tanh_normal.median": (Goal(0.63, 1.2), Goal(1.1, 1.3)),
    "tanh_normal.entropy": (Goal(4.2, 13), Goal(4.9, 20)),  # d/dscale at loc 20, scale 10
    **{f"tanh_normal.{verb}": (Goal(33, 48), Goal(1.1e3, 8.4e2)) for verb in reference.TAIL_VERBS},
    "tanh_normal.icdf": (Goal(2, 44), Goal(17, 4.6e2)),
    "tanh_normal.kl": (Goal(13, 5.6), Goal(13, 5.6)),
    # Shares down to 1e-283, far outside of the window's bulk; the survival function is those formulas' cdf, mirrored.
    **{f"truncated_normal.{verb}": (Goal(1.05e2, 1.3e2), Goal(1.4e3, 1.7e3)) for verb in reference.TAIL_VERBS},
    # Windows 50 deviations out, where a shift and a ratio of scales cancel.
    "truncated_normal.kl": (Goal(3.7e2, 5.2e2), Goal(1.44e3, 9.1e2)),
    "truncated_normal.kl_wider_window": (Goal(3.7e2, 5.2e2), Goal(1.44e3, 9.1e2)),
    "masked_categorical.probs": (Goal(1, 1), Goal(1, 1)),
    **{name: (Goal(1, 1.3), Goal(3.5, 3.2)) for name in reference_lines.references(reference.mp)},
    **{name: (Goal(1, 1), Goal(1, 1)) for name in reference_unit.references(reference.mp)},
    # (value - loc) / scale is rounded in float64, and 150 times as much of a tail.
    **{f"{family}.{verb}": (Goal(1, 1), Goal(85, 103)) for family in ("laplace", "logistic") for verb in _LOG_TAILS},
    "logistic.icdf": (Goal(1, 1), Goal(5.3, 1.4)),
    "gumbel.log_prob": (Goal(1, 1.1), Goal(74, 105)),
    "gumbel.log_cdf": (Goal(1, 1), Goal(85, 103)),
    "gumbel.log_survival": (Goal(1, 1), Goal(1.17e3, 1.12e3)),  # a tail of exp(-400)
    "cauchy.log_prob": (Goal(1, 1.3), Goal(11, 3)),
    # x^a is rounded as a log x is, and the logarithm and the logit of a value as they are, over a scale of 1e-4.
    "kumaraswamy.log_prob": (Goal(1, 1), Goal(9.4, 4.1)),
    "kumaraswamy.log_cdf": (Goal(1, 1), Goal(5.3e2, 6.5e2)),  # a tail of exp(-650)
    "kumaraswamy.log_survival": (Goal(1, 1), Goal(66, 61)),
    "log_normal.log_prob": (Goal(1, 1), Goal(2.6e3, 6.9e3)),
    "logit_normal.log_prob": (Goal(1, 1), Goal(2.2e3, 1.2e4)),
    "exponential.log_cdf": (Goal(1, 1), Goal(1.7e2, 2.03e2)),
    **{name: (Goal(1, 1), Goal(3.5, 2.8)) for name in reference_gamma.NAMES},
    # rate value is rounded, which its distance from the concentration, 1e6, magnifies; and a tail of 1e-30 is an exp.
    "gamma.log_prob": (Goal(1, 1), Goal(5, 2.6e2)),
    **{f"gamma.{verb}": (Goal(1, 1), Goal(35, 70)) for verb in reference_gamma.TAILS},
}


class Limits(NamedTuple):
    """The largest admissible errors in ulp."""

    value: float
    slope: float


def limits(name: str, dtype: str) -> Limits:
    """The larger figure times its factor; one ulp is the least that a figure can be."""
    column = ("float32", "float64").index(dtype)
    goals = [table[name][column] for table in (PUBLISHED, HARDER) if name in table]
    factor = goals[0].factor
    value, slope = (max(1.0, *figures) for figures in zip(*(goal[:2] for goal in goals), strict=True))
    return Limits(factor * value, factor * slope)


NAMES = [name for name in reference.REFERENCES if name in PUBLISHED or name in HARDER]
