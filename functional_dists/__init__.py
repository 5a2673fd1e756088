"""Probability distributions as pure functions for PyTorch, made for reinforcement-learning policies."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from functional_dists import (
        composite,
        distributions,
        divergence,
        family,
        parameters,
        plot,
        policy,
        random,
        spaces,
        special,
    )
    from functional_dists.combinators import (
        independent,
        independent_normal,
        masked_one_hot_categorical,
        one_hot,
        one_hot_categorical,
        one_hot_ordinal,
        sparse_one_hot_categorical,
    )
    from functional_dists.continuous import (
        delta,
        normal,
        tanh_delta,
        tanh_normal,
        truncated_normal,
    )
    from functional_dists.discrete import (
        categorical,
        kept,
        linear_categorical,
        llm_masked_categorical,
        logits,
        logits_from_probs,
        masked_categorical,
        ordinal,
        sparse_categorical,
    )
    from functional_dists.family import Family, bind, define

__all__ = [
    "Family",
    "bind",
    "categorical",
    "composite",
    "define",
    "delta",
    "distributions",
    "divergence",
    "family",
    "independent",
    "independent_normal",
    "kept",
    "linear_categorical",
    "llm_masked_categorical",
    "logits",
    "logits_from_probs",
    "masked_categorical",
    "masked_one_hot_categorical",
    "normal",
    "one_hot",
    "one_hot_categorical",
    "one_hot_ordinal",
    "ordinal",
    "parameters",
    "plot",
    "policy",
    "random",
    "spaces",
    "sparse_categorical",
    "sparse_one_hot_categorical",
    "special",
    "tanh_delta",
    "tanh_normal",
    "truncated_normal",
]

# A folder is imported when something in it is asked for: all of them take three times as long as most programs need.
_HOMES = {
    "combinators": (
        "independent",
        "independent_normal",
        "masked_one_hot_categorical",
        "one_hot",
        "one_hot_categorical",
        "one_hot_ordinal",
        "sparse_one_hot_categorical",
    ),
    "continuous": (
        "delta",
        "normal",
        "tanh_delta",
        "tanh_normal",
        "truncated_normal",
    ),
    "discrete": (
        "categorical",
        "kept",
        "linear_categorical",
        "llm_masked_categorical",
        "logits",
        "logits_from_probs",
        "masked_categorical",
        "ordinal",
        "sparse_categorical",
    ),
    "family": (
        "Family",
        "bind",
        "define",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    if name in _HOME_OF:
        found = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    else:
        found = import_module(f"{__name__}.{name}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted((*__all__, "__version__"))
