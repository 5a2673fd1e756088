"""The parameters with which each family is drawn; those of tests/families.py for a family that is not listed."""

from typing import Any

from tests.families import BY_NAME

_LOGITS = [[0.0, 1.0, 2.0, 1.5, 0.5, -1.0], [1.5, 0.5, -0.5, 0.0, 1.0, 1.5]]
_MASK = [[True, True, True, False, True, True], [True, False, True, True, False, True]]
_SCORES = [[0.0, 1.0, 1.0, -0.5, -1.0, -1.5], [0.0, -1.0, 0.5, 0.5, 0.0, 1.0]]
_BOUNDED = {"low": -2.0, "high": 2.0}

_EXAMPLES: dict[str, dict[str, Any]] = {
    "normal": {"loc": [-1.0, 0.0, 1.5], "scale": [0.5, 1.0, 2.0]},
    "independent_normal": {"loc": [-1.0, 0.0, 1.5], "scale": [0.5, 1.0, 2.0]},
    "tanh_normal": {"loc": [0.0, 0.5, 0.0], "scale": [0.4, 0.6, 1.2], **_BOUNDED},
    "truncated_normal": {"loc": [0.0, 1.0, -3.0], "scale": [0.6, 1.5, 1.5], **_BOUNDED},
    "uniform": {"low": [-1.0, 0.0, 0.5], "high": [0.0, 2.0, 1.0]},
    **{
        name: {"loc": [-1.0, 0.0, 1.5], "scale": [0.5, 1.0, 2.0]}
        for name in ("laplace", "logistic", "gumbel", "cauchy")
    },
    "exponential": {"rate": [0.5, 1.0, 2.0]},
    "beta": {"concentration1": [2.0, 5.0, 0.5], "concentration0": [2.0, 1.5, 0.5]},
    "gamma": {"concentration": [1.0, 2.0, 5.0], "rate": [1.0, 1.0, 1.5]},
    "chi2": {"df": [2.0, 4.0, 8.0]},
    "inverse_gamma": {"concentration": [3.0, 3.0, 5.0], "rate": [1.0, 2.0, 6.0]},
    "fisher_snedecor": {"df1": [2.0, 8.0, 30.0], "df2": [10.0, 10.0, 30.0]},
    "log_normal": {"loc": [0.0, 0.5, 0.0], "scale": [0.2, 0.4, 0.8]},
    "logit_normal": {"loc": [0.0, 1.0, 0.0], "scale": [0.5, 1.0, 2.5]},
    "kumaraswamy": {"concentration1": [2.0, 5.0, 1.5], "concentration0": [2.0, 3.0, 6.0]},
    "delta": {"param": [-1.0, 0.0, 1.5]},
    "tanh_delta": {"param": [-1.0, 0.0, 1.5], **_BOUNDED},
    "categorical": {"logits": _LOGITS},
    "masked_categorical": {"logits": _LOGITS, "mask": _MASK},
    "sparse_categorical": {"logits": _LOGITS, "indices": [[0, 1, 2, 4], [0, 2, 3, 5]]},
    "llm_masked_categorical": {"logits": _LOGITS, "mask": _MASK},
    "ordinal": {"scores": _SCORES},
}
for _name in ("laplace", "logistic", "gumbel", "cauchy"):
    _EXAMPLES[_name] = _EXAMPLES["normal"]
for _name in ("categorical", "masked_categorical", "sparse_categorical"):
    _EXAMPLES[_name.replace("categorical", "one_hot_categorical")] = _EXAMPLES[_name]
_EXAMPLES["one_hot_ordinal"] = _EXAMPLES["ordinal"]


def example_of(name: str) -> dict[str, Any] | None:
    """Return the parameters of an example by name, as numbers and lists of them; None for what has no such plot."""
    rows = {row.name: {key: list(numbers) for key, numbers in row.parameters.items()} for row in BY_NAME.values()}
    return _EXAMPLES.get(name) or rows.get(name)
