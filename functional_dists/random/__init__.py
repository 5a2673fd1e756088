"""Explicit randomness: keys, and draws from a key, a batch of keys or a ``torch.Generator``.

    k = random.key(42)
    actor_key, env_key = random.split(k)
    noise = random.normal(actor_key, (256, 6))

A draw from a key is a pure function. A batch of keys ``(*K, 2)`` holds one key for each entry of a batch, and each
entry draws what it would draw alone. The numbers are those of PyTorch's experimental ``torch.func._random``
(Philox4x32-10), on every version of PyTorch. Nothing here touches the global generator.
"""

import functional_dists.random.batching  # noqa: F401  (for its effect)
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
from functional_dists.random.entries import Shape, draw_entries, size_of
from functional_dists.random.keys import Source, checked_source, fold_in, key, key_from, split, where
from functional_dists.random.positions import bits_at, normal_at, uniform_at
from functional_dists.random.reuse import KeyReuseError, forbid_reuse

__all__ = [
    "KeyReuseError",
    "Shape",
    "Source",
    "bernoulli",
    "bits",
    "bits_at",
    "checked_source",
    "draw_entries",
    "exponential",
    "fold_in",
    "forbid_reuse",
    "gumbel",
    "key",
    "key_from",
    "normal",
    "normal_at",
    "permutation",
    "randint",
    "size_of",
    "split",
    "uniform",
    "uniform_and_rest",
    "uniform_at",
    "where",
]
__dir__ = __all__.copy  # what tab completion shows
