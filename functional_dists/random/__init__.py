"""Explicit randomness: keys, and draws that are pure functions of a key or take a ``torch.Generator``.

    k = random.key(42)
    actor_key, env_key = random.split(k)
    noise = random.normal(actor_key, (256, 6))

The numbers are those of PyTorch's experimental ``torch.func._random`` (Philox4x32-10), on every version of PyTorch.
Nothing here touches the global generator.
"""

from functional_dists.random.draws import (
    bernoulli,
    bits,
    exponential,
    gumbel,
    normal,
    permutation,
    randint,
    uniform,
    uniform_and_rest,
)
from functional_dists.random.keys import Source, checked_source, fold_in, key, key_from, split, where

__all__ = [
    "Source",
    "bernoulli",
    "bits",
    "checked_source",
    "exponential",
    "fold_in",
    "gumbel",
    "key",
    "key_from",
    "normal",
    "permutation",
    "randint",
    "split",
    "uniform",
    "uniform_and_rest",
    "where",
]
