"""Discrete families made of others, repetitions and padding."""

import itertools

import torch

from functional_dists import (
    bind,
    categorical,
    greedy,
    independent,
    masked_categorical,
    masked_event,
    normal,
    repeated,
    softened,
    tanh_normal,
    with_uniform,
)
from tests.algebra.case import Case

_LOGITS = {"logits": [[0.3, -1.1, 0.8], [0.1, 0.2, -0.4]]}
_OTHER = {"logits": [[0.5, -0.2, -0.4], [0.0, 0.3, 0.1]]}
_NORMAL = {"loc": [[0.3, -1.1], [0.1, 0.4]], "scale": [[0.5, 1.4], [0.7, 0.2]]}

CASES = [
    Case("unimix", with_uniform(categorical, 0.1), _LOGITS, [2, 0], _OTHER, lambda params: [0, 1, 2]),
    Case(
        "masked unimix",
        with_uniform(masked_categorical, 0.1),
        {**_LOGITS, "mask": [[True, False, True], [True, True, False]]},
        [2, 0],
        values=lambda params: [0, 1, 2],
    ),
    Case("epsilon-greedy", with_uniform(greedy(categorical), 0.1), _LOGITS, [2, 0], values=lambda params: [0, 1, 2]),
    Case("softened", softened(categorical, 2.0), _LOGITS, [2, 0], _OTHER, lambda params: [0, 1, 2]),
    Case(
        "repeated categories",
        repeated(categorical, 2),
        _LOGITS,
        [[2, 1], [0, 0]],
        _OTHER,
        lambda params: torch.tensor(list(itertools.product(range(3), repeat=2))),
    ),
    Case(
        "repeated normal",
        repeated(normal, 3),
        {"loc": [0.3, -1.1], "scale": [0.5, 1.4]},
        [[0.2, 0.1, -0.4], [0.3, 0.4, 2.0]],
    ),
    Case(
        "repeated vectors",
        repeated(bind(tanh_normal, low=-1.0, high=1.0), 2),
        _NORMAL,
        [[[0.2, 0.1], [0.3, 0.4]]] * 2,
    ),
    Case(
        "padded normals",
        independent(masked_event(normal)),
        _NORMAL | {"event_mask": [[True, True], [True, True]]},
        [[0.3, 0.2], [0.1, 0.3]],
        {"loc": [[0.1, -0.1], [0.2, 0.3]]},
    ),
    Case(
        "padded categories",
        masked_event(categorical),
        _LOGITS | {"event_mask": [True, True]},
        [2, 1],
        _OTHER,
    ),
]
