"""Families of vectors, of several outcomes, and of the values of bins."""

import itertools
from typing import Any

import torch

from functional_dists.continuous import low_rank_normal, multivariate_normal
from functional_dists.discrete import empirical, hl_gauss, multi_categorical, plackett_luce, two_hot
from tests.algebra.case import Case


def _choices(nvec: tuple[int, ...]) -> Any:
    return lambda params: torch.tensor(list(itertools.product(*map(range, nvec))))


_HEAD = {
    "logits": [[0.3, -1.1, 0.8, 0.1], [0.1, 0.2, -0.4, 0.5]],
    "bins": [[-1.0, 0.0, 0.5, 2.0], [-2.0, -1.0, 1.0, 2.0]],
}

CASES = [
    Case(
        "multi_categorical",
        multi_categorical((2, 3, 1)),
        {
            "logits": [[0.3, -1.1, 0.8, 0.1, -0.6, 0.2], [0.1, 0.2, -0.4, 0.5, 0.9, -2.0]],
            "mask": [[True, True, True, False, True, True], [True] * 6],
        },
        [[1, 2, 0], [0, 1, 0]],
        {"logits": [[0.1, -0.2, 0.4, 0.0, 0.3, 0.2], [0.3, 0.2, -0.4, 0.1, 0.9, 1.0]]},
        _choices((2, 3, 1)),
    ),
    Case(
        "multi_categorical of equal sizes",
        multi_categorical((3, 3)),
        {"logits": [[0.3, -1.1, 0.8, 0.1, -0.6, 0.2], [0.1, 0.2, -0.4, 0.5, 0.9, -2.0]], "mask": [[True] * 6] * 2},
        [[1, 2], [0, 1]],
        {"logits": [[0.1, -0.2, 0.4, 0.0, 0.3, 0.2], [0.3, 0.2, -0.4, 0.1, 0.9, 1.0]]},
        _choices((3, 3)),
    ),
    Case("two_hot", two_hot, _HEAD, [0.3, -1.7], values=lambda params: params[1]),
    Case("hl_gauss", hl_gauss, _HEAD, [0.3, -1.7]),
    Case(
        "multivariate_normal",
        multivariate_normal,
        {
            "loc": [[0.3, -1.1, 0.2], [0.0, 0.4, 2.0]],
            "scale_tril": [
                [[0.5, 0.0, 0.0], [-0.3, 1.2, 0.0], [0.4, 0.2, 0.8]],
                [[1.5, 0.0, 0.0], [0.7, 0.6, 0.0], [-0.1, 0.3, 1.1]],
            ],
        },
        [[0.2, -0.4, 1.0], [-0.3, 0.8, 0.1]],
        {
            "loc": [[0.1, -0.9, 0.0], [0.2, 0.4, 1.5]],
            "scale_tril": [
                [[0.7, 0.0, 0.0], [0.1, 1.0, 0.0], [0.2, -0.2, 0.9]],
                [[1.2, 0.0, 0.0], [0.5, 0.8, 0.0], [0.1, 0.2, 1.3]],
            ],
        },
    ),
    Case(
        "low_rank_normal",
        low_rank_normal,
        {
            "loc": [[0.3, -1.1, 0.2], [0.0, 0.4, 2.0]],
            "factor": [[[0.5, 0.1], [-0.3, 1.2], [0.4, 0.2]], [[1.5, -0.2], [0.7, 0.6], [-0.1, 0.3]]],
            "diagonal": [[0.4, 0.9, 1.2], [0.6, 1.3, 0.8]],
        },
        [[0.2, -0.4, 1.0], [-0.3, 0.8, 0.1]],
        {
            "loc": [[0.1, -0.9, 0.0], [0.2, 0.4, 1.5]],
            "factor": [[[0.3, 0.2], [-0.1, 1.0], [0.6, 0.1]], [[1.2, -0.1], [0.9, 0.4], [0.2, 0.2]]],
            "diagonal": [[0.5, 0.7, 1.0], [0.8, 1.1, 1.0]],
        },
    ),
    Case(
        "plackett_luce",
        plackett_luce(),
        {"scores": [[0.3, -1.1, 0.8, 0.1], [0.1, 0.2, -0.4, 0.5]]},
        [[2, 0, 1, 3], [3, 1, 0, 2]],
        values=lambda params: torch.tensor(list(itertools.permutations(range(4)))),
    ),
    Case(
        "plackett_luce of three",
        plackett_luce(3),
        {"scores": [[0.3, -1.1, 0.8, 0.1, -0.5], [0.1, 0.2, -0.4, 0.5, 1.0]]},
        [[2, 0, 1], [4, 1, 0]],
        values=lambda params: torch.tensor(list(itertools.permutations(range(5), 3))),
    ),
    Case(
        "empirical",
        empirical,
        {"points": [[0.3, -1.1, 0.8, 1.1], [0.1, 0.2, -0.4, 0.5]], "logits": [[0.1, 0.7, 0.8, -0.5], [0.0] * 4]},
        [0.8, -0.4],
        values=lambda params: params[0],
        inexact=("log_prob", "cdf"),  # the points jump there
    ),
]
