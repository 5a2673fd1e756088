"""Combinators: functions from families to a family, and families that are expressions of them."""

from functional_dists.combinators import log_normal, logit_normal
from functional_dists.combinators.clipped_values import clipped
from functional_dists.combinators.folded_values import folded
from functional_dists.combinators.half_families import half_cauchy, half_normal
from functional_dists.combinators.independent_axes import independent
from functional_dists.combinators.mixtures import mixture, mixture_of
from functional_dists.combinators.one_hot_vectors import one_hot
from functional_dists.combinators.padded import masked_event
from functional_dists.combinators.pareto_family import pareto
from functional_dists.combinators.quantized_values import quantized
from functional_dists.combinators.repeats import repeated
from functional_dists.combinators.tables import greedy, softened, with_uniform
from functional_dists.combinators.transforms import transformed
from functional_dists.combinators.truncated_values import truncated
from functional_dists.combinators.weibull_family import weibull
from functional_dists.continuous import normal
from functional_dists.discrete import categorical, masked_categorical, ordinal, sparse_categorical
from functional_dists.family.protocol import hide_imports

independent_normal = independent(normal)
one_hot_categorical = one_hot(categorical)
masked_one_hot_categorical = one_hot(masked_categorical)
sparse_one_hot_categorical = one_hot(sparse_categorical)
one_hot_ordinal = one_hot(ordinal)

__all__ = [
    "clipped",
    "folded",
    "greedy",
    "half_cauchy",
    "half_normal",
    "independent",
    "independent_normal",
    "log_normal",
    "logit_normal",
    "masked_event",
    "masked_one_hot_categorical",
    "mixture",
    "mixture_of",
    "one_hot",
    "one_hot_categorical",
    "one_hot_ordinal",
    "pareto",
    "quantized",
    "repeated",
    "softened",
    "sparse_one_hot_categorical",
    "transformed",
    "truncated",
    "weibull",
    "with_uniform",
]
__dir__ = __all__.copy  # what tab completion shows

hide_imports(log_normal, logit_normal)
