"""Probability distributions as pure functions for PyTorch, made for reinforcement-learning policies."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from functional_dists import (
        bijectors,
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
        clipped,
        greedy,
        independent,
        independent_normal,
        masked_event,
        masked_one_hot_categorical,
        mixture,
        mixture_of,
        one_hot,
        one_hot_categorical,
        one_hot_ordinal,
        quantized,
        repeated,
        softened,
        sparse_one_hot_categorical,
        transformed,
        truncated,
        with_uniform,
    )
    from functional_dists.continuous import (
        cauchy,
        delta,
        exponential,
        gumbel,
        laplace,
        logistic,
        low_rank_normal,
        multivariate_normal,
        normal,
        tanh_delta,
        tanh_normal,
        truncated_normal,
        uniform,
    )
    from functional_dists.discrete import (
        bernoulli,
        categorical,
        empirical,
        geometric,
        hl_gauss,
        kept,
        linear_categorical,
        llm_masked_categorical,
        logits,
        logits_from_probs,
        masked_categorical,
        multi_categorical,
        ordinal,
        plackett_luce,
        poisson,
        sparse_categorical,
        two_hot,
    )
    from functional_dists.family import Family, bind, define

__all__ = [
    "Family",
    "bernoulli",
    "bijectors",
    "bind",
    "categorical",
    "cauchy",
    "clipped",
    "composite",
    "define",
    "delta",
    "distributions",
    "divergence",
    "empirical",
    "exponential",
    "family",
    "geometric",
    "greedy",
    "gumbel",
    "hl_gauss",
    "independent",
    "independent_normal",
    "kept",
    "laplace",
    "linear_categorical",
    "llm_masked_categorical",
    "logistic",
    "logits",
    "logits_from_probs",
    "low_rank_normal",
    "masked_categorical",
    "masked_event",
    "masked_one_hot_categorical",
    "mixture",
    "mixture_of",
    "multi_categorical",
    "multivariate_normal",
    "normal",
    "one_hot",
    "one_hot_categorical",
    "one_hot_ordinal",
    "ordinal",
    "parameters",
    "plackett_luce",
    "plot",
    "poisson",
    "policy",
    "quantized",
    "random",
    "repeated",
    "softened",
    "spaces",
    "sparse_categorical",
    "sparse_one_hot_categorical",
    "special",
    "tanh_delta",
    "tanh_normal",
    "transformed",
    "truncated",
    "truncated_normal",
    "two_hot",
    "uniform",
    "with_uniform",
]

# A folder is imported when something in it is asked for: all of them take three times as long as most programs need.
_HOMES = {
    "combinators": (
        "clipped",
        "greedy",
        "independent",
        "independent_normal",
        "masked_event",
        "masked_one_hot_categorical",
        "mixture",
        "mixture_of",
        "one_hot",
        "one_hot_categorical",
        "one_hot_ordinal",
        "quantized",
        "repeated",
        "softened",
        "sparse_one_hot_categorical",
        "transformed",
        "truncated",
        "with_uniform",
    ),
    "continuous": (
        "cauchy",
        "delta",
        "exponential",
        "gumbel",
        "laplace",
        "logistic",
        "low_rank_normal",
        "multivariate_normal",
        "normal",
        "tanh_delta",
        "tanh_normal",
        "truncated_normal",
        "uniform",
    ),
    "discrete": (
        "bernoulli",
        "categorical",
        "empirical",
        "geometric",
        "hl_gauss",
        "kept",
        "linear_categorical",
        "llm_masked_categorical",
        "logits",
        "logits_from_probs",
        "masked_categorical",
        "multi_categorical",
        "ordinal",
        "plackett_luce",
        "poisson",
        "sparse_categorical",
        "two_hot",
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
