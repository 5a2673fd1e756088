"""Mixtures of numbers, of vectors, of different families, and of categories."""

from functional_dists import (
    bijectors,
    bind,
    categorical,
    independent,
    mixture,
    mixture_of,
    normal,
    tanh_normal,
    transformed,
    truncated_normal,
)
from tests.algebra.case import Case

_LOGITS = {"mixing_logits": [[0.3, -0.2], [-1.1, 0.4]]}
_OTHER_LOGITS = {"mixing_logits": [[0.1, 0.5], [0.2, 0.4]]}

CASES = [
    Case(
        "mixture of normals",
        mixture(normal),
        {**_LOGITS, "loc": [[-1.0, 1.2], [0.3, 2.0]], "scale": [[0.5, 0.3], [1.4, 0.2]]},
        [0.2, 1.9],
        inexact=("mode", "deterministic"),
        no_differences=("rsample", "rsample_and_log_prob"),
    ),
    Case(
        "mixture of vectors",
        mixture(independent(normal)),
        {
            **_LOGITS,
            "loc": [[[-1.0, 0.1], [1.2, 0.4]], [[0.3, -0.5], [2.0, 0.9]]],
            "scale": [[[0.5, 0.6], [0.3, 0.8]], [[1.4, 0.7], [0.2, 0.9]]],
        },
        [[0.2, 0.3], [1.9, -0.4]],
        is_joint=True,
        no_differences=("rsample", "rsample_and_log_prob"),
    ),
    Case(
        "mixture of tanh-normals",
        mixture(bind(tanh_normal, event_dims=0)),
        {**_LOGITS, "loc": [[-1.0, 1.2], [0.3, 1.0]], "scale": [[0.5, 0.3], [0.7, 0.2]], "low": -1.0, "high": 1.0},
        [0.2, 0.7],
        inexact=("mode", "deterministic"),
        no_differences=("rsample", "rsample_and_log_prob"),
        lacks_vmap=("low", "high"),
    ),
    Case(
        "exp of a mixture",
        transformed(mixture(normal), bijectors.exp),
        {**_LOGITS, "loc": [[-1.0, 1.2], [0.3, 2.0]], "scale": [[0.5, 0.3], [1.4, 0.2]]},
        [0.6, 5.9],
        inexact=("deterministic",),
        no_differences=("rsample", "rsample_and_log_prob"),
    ),
    Case(
        "mixture of two families",
        mixture_of(bind(tanh_normal, event_dims=0), bind(truncated_normal, event_dims=0)),
        {
            **_LOGITS,
            "loc": [-0.5, 0.3],
            "scale": [0.5, 0.7],
            "low": [-1.0, -1.0],
            "high": [1.0, 1.0],
            "loc_2": [0.5, 0.1],
            "scale_2": [0.8, 0.4],
            "low_2": [-1.0, -1.0],
            "high_2": [1.0, 1.0],
        },
        [0.2, 0.7],
        inexact=("mode", "deterministic"),
        no_differences=("rsample", "rsample_and_log_prob"),
    ),
    Case(
        "mixture of categories",
        mixture(categorical),
        {**_LOGITS, "logits": [[[0.3, -1.1, 0.8], [0.1, 0.2, -0.4]], [[0.5, 0.1, 0.4], [-0.7, 0.3, 0.2]]]},
        [2, 0],
        values=lambda params: [0, 1, 2],
    ),
]
