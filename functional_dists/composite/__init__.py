"""Several families as one joint distribution over a pytree: the actions of a policy with several heads.

`families` is a pytree whose leaves, the heads, are families; `params` is the matching pytree of their parameters. The
containers are dicts, tuples, lists and NamedTuples. Where `families` has a dict or a NamedTuple, `params` and values
may have a TensorDict. A single family is a pytree of one head.

The heads are independent, except in a `chain`. There the parameters of a head are a function of the values of the
earlier heads: log p(x, y) = log p(x) + log p(y | x). A chain may stand wherever a family may.
"""

from functional_dists.composite.chains import Chain, Head, chain, pick
from functional_dists.composite.draws import rsample, rsample_and_log_prob, sample, sample_and_log_prob
from functional_dists.composite.entropies import conditional_entropy, conditional_kl, entropy, kl
from functional_dists.composite.points import deterministic, mean, median, mode
from functional_dists.composite.pretanh import log_prob_pretanh, pretanh_of_point, rsample_pretanh
from functional_dists.composite.scores import cdf, icdf, log_prob
from functional_dists.composite.verbs import has

__all__ = [
    "Chain",
    "Head",
    "cdf",
    "chain",
    "conditional_entropy",
    "conditional_kl",
    "deterministic",
    "entropy",
    "has",
    "icdf",
    "kl",
    "log_prob",
    "log_prob_pretanh",
    "mean",
    "median",
    "mode",
    "pick",
    "pretanh_of_point",
    "rsample",
    "rsample_and_log_prob",
    "rsample_pretanh",
    "sample",
    "sample_and_log_prob",
]
__dir__ = __all__.copy  # what tab completion shows
