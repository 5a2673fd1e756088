"""Families moved by bijectors of elements and of vectors."""

from functional_dists import bijectors, independent, normal, tanh_normal, transformed
from tests.algebra.case import Case

_NORMAL = {"loc": [0.3, -1.1], "scale": [0.5, 1.4]}
_OTHER = {"loc": [0.1, -0.7], "scale": [0.7, 1.1]}
_VECTORS = {"loc": [[0.3, -1.1], [0.1, 0.4]], "scale": [[0.5, 1.4], [0.7, 0.2]]}

CASES = [
    Case("log-normal", transformed(normal, bijectors.exp), _NORMAL, [0.2, 2.4], _OTHER),
    Case(
        "normal in an interval",
        transformed(normal, bijectors.interval),
        {**_NORMAL, "low": [-1.0, -2.0], "high": [1.0, 3.0]},
        [0.2, 2.4],
        _OTHER,
        no_differences=("kl",),
    ),
    Case(
        "normal, mirrored",
        transformed(normal, bijectors.affine),
        {**_NORMAL, "shift": [0.3, -0.4], "scale_2": [-1.5, 0.7]},
        [0.2, 2.4],
        _OTHER,
        no_differences=("kl",),
    ),
    Case(
        "logistic-normal on a simplex",
        transformed(independent(normal), bijectors.simplex),
        _VECTORS,
        [[0.2, 0.3, 0.5], [0.1, 0.6, 0.3]],
        {"loc": [[0.1, -0.1], [0.2, 0.3]]},
        no_differences=("log_prob",),
    ),
    Case(
        "normal with a scale matrix",
        transformed(independent(normal), bijectors.scale_tril),
        {
            **_VECTORS,
            "loc_2": [[0.1, 0.2], [0.3, 0.4]],
            "scale_tril": [[[1.0, 0.0], [0.5, 2.0]], [[0.7, 0.0], [-0.5, 1.0]]],
        },
        [[0.2, 0.3], [0.1, 0.6]],
    ),
    Case(
        "spline of a normal",
        transformed(normal, bijectors.rational_quadratic_spline),
        {
            **_NORMAL,
            "widths": [[0.1, 0.5, -0.3], [0.2, 0.1, 0.4]],
            "heights": [[0.3, -0.5, 0.2], [0.0, 0.1, -0.4]],
            "derivatives": [[0.1, 0.3], [-0.2, 0.4]],
            "bound": [5.0, 4.0],
        },
        [0.2, 0.4],
        no_differences=("kl",),
    ),
    Case(
        "tanh-normal, shifted",
        transformed(tanh_normal, bijectors.affine),
        {
            **_VECTORS,
            "low": [[-1.0, -2.0]] * 2,
            "high": [[1.0, 3.0]] * 2,
            "shift": [[0.1, 0.2]] * 2,
            "scale_2": [[2.0, 0.5]] * 2,
        },
        [[0.2, 0.3], [0.1, 0.6]],
        no_differences=("kl",),
    ),
]
