"""Families that `tests/families.py` has too: they show that the laws hold for what is known to be right."""

from functional_dists import categorical, normal
from tests.algebra.case import Case

CASES = [
    Case(
        "normal",
        normal,
        {"loc": [0.3, -1.1], "scale": [0.5, 1.4]},
        [0.2, -0.4],
        {"loc": [0.1, -0.7], "scale": [0.7, 1.1]},
    ),
    Case(
        "categorical",
        categorical,
        {"logits": [[0.3, -1.1, 0.8], [0.1, 0.2, -0.4]]},
        [2, 0],
        {"logits": [[0.5, -0.2, -0.4], [0.0, 0.3, 0.1]]},
        lambda params: [0, 1, 2],
    ),
]
