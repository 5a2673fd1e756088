"""Families restricted to an interval."""

import torch

from functional_dists import clipped, normal, quantized, truncated
from tests.algebra.case import Case

_NORMAL = {"loc": [0.3, -1.1], "scale": [0.5, 1.4]}
_OTHER = {"loc": [0.1, -0.7], "scale": [0.7, 1.1]}

CASES = [
    Case("truncated normal", truncated(normal), {**_NORMAL, "low": [-0.5, 0.2], "high": [1.0, 2.5]}, [0.2, 0.9]),
    Case(
        "normal, truncated far out",
        truncated(normal),
        {**_NORMAL, "low": [9.0, -40.0], "high": [9.5, -38.0]},
        [9.1, -38.2],
    ),
    Case(
        "clipped normal",
        clipped(normal),
        {**_NORMAL, "low": [-0.5, -1.2], "high": [0.8, 2.5]},
        [0.2, 0.9],
        has_atoms=True,
    ),
    Case(
        "quantized normal",
        quantized(normal),
        {**_NORMAL, "low": [-2.0, -3.0], "high": [2.0, 1.0]},
        [1, -2],
        values=lambda params: torch.arange(-3.0, 3.0),
    ),
]
