"""Exact answers for symmetric families whose quantiles have no closed form, as those of `reference_lines`."""

from collections.abc import Callable
from typing import Any

Answer = dict[str, Any]
_STUDENT = ("df", "loc", "scale")
_ANGLE = ("loc", "concentration")


def references(mp: Any) -> dict[str, tuple[tuple[str, ...], Callable[..., Answer]]]:
    """All references: the names of the arguments, and the function; `mp` is the context of mpmath."""

    def normaliser(df: Any) -> tuple[Any, Any]:
        """Return the log of the normaliser of Student's density, and its slope."""
        value = mp.loggamma((df + 1) / 2) - mp.loggamma(df / 2) - mp.log(df * mp.pi) / 2
        return value, (mp.digamma((df + 1) / 2) - mp.digamma(df / 2) - 1 / df) / 2

    def student_log_prob(df: Any, loc: Any, scale: Any, value: Any) -> Answer:
        z = (value - loc) / scale
        constant, slope = normaliser(df)
        share = z * z / df
        by_z = -(df + 1) * z / (df + z * z)
        return {
            "value": constant - (df + 1) / 2 * mp.log1p(share) - mp.log(scale),
            "df": slope - mp.log1p(share) / 2 + (df + 1) / 2 * share / (df * (1 + share)),
            "loc": -by_z / scale,
            "scale": -(1 + z * by_z) / scale,
            "at": by_z / scale,
        }

    def student_entropy(df: Any, loc: Any, scale: Any) -> Answer:
        constant, slope = normaliser(df)
        change = mp.psi(1, (df + 1) / 2) / 2 - mp.psi(1, df / 2) / 2
        mean_log = mp.digamma((df + 1) / 2) - mp.digamma(df / 2)  # of 1 + z^2 / df
        return {
            "value": (df + 1) / 2 * mean_log - constant + mp.log(scale),
            "df": (df + 1) / 2 * change + mean_log / 2 - slope,
            "loc": mp.zero,
            "scale": 1 / scale,
        }

    def bessel(concentration: Any) -> tuple[Any, Any, Any]:
        """Return log I0, E cos(angle) and the variance of cos(angle)."""
        zeroth = mp.besseli(0, concentration)
        mean = mp.besseli(1, concentration) / zeroth
        return mp.log(zeroth), mean, 1 - mean / concentration - mean * mean

    def angle_log_prob(loc: Any, concentration: Any, value: Any) -> Answer:
        log_zeroth, mean, _ = bessel(concentration)
        by_value = -concentration * mp.sin(value - loc)
        return {
            "value": concentration * mp.cos(value - loc) - log_zeroth - mp.log(2 * mp.pi),
            "loc": -by_value,
            "concentration": mp.cos(value - loc) - mean,
            "at": by_value,
        }

    def angle_entropy(loc: Any, concentration: Any) -> Answer:
        log_zeroth, mean, variance = bessel(concentration)
        return {
            "value": mp.log(2 * mp.pi) + log_zeroth - concentration * mean,
            "loc": mp.zero,
            "concentration": -concentration * variance,
        }

    def angle_variance(loc: Any, concentration: Any) -> Answer:
        _, mean, variance = bessel(concentration)
        return {"value": 1 - mean, "loc": mp.zero, "concentration": -variance}

    return {
        "student_t.log_prob": ((*_STUDENT, "at"), student_log_prob),
        "student_t.entropy": (_STUDENT, student_entropy),
        "von_mises.log_prob": ((*_ANGLE, "at"), angle_log_prob),
        "von_mises.entropy": (_ANGLE, angle_entropy),
        "von_mises.variance": (_ANGLE, angle_variance),
    }
