"""Fast paths of eager code: kernels of some verbs of families, each instead of ten to twenty operations.

A kernel takes the arguments of its verb as the user gave them, and returns the verb's result. It returns NotImplemented
if it cannot; then the verb's own formula runs, and raises the proper error if an argument is wrong. Draws are equal to
the bit. Other results may differ by a few ulp, since kernels compute in float64 and round once.

The C functions are compiled when the package is installed, if there is a C compiler; see `random.extension`.
"""

from collections.abc import Callable
from typing import Any

import functional_dists.random.extension as extension
from functional_dists.kernels import categorical, normal, tanh_normal
from functional_dists.special.constant import is_plain

__all__ = ["can_be_used", "find"]

_PACKAGE = __name__.partition(".")[0] + "."
_KERNELS: dict[str, Callable[..., Any]] = {
    "categorical.entropy": categorical.entropy,
    "categorical.kl": categorical.kl,
    "categorical.log_prob": categorical.log_prob,
    "categorical.sample": categorical.sample,
    "categorical.sample_and_log_prob": categorical.sample_and_log_prob,
    "llm_masked_categorical.entropy": categorical.token_entropy,
    "llm_masked_categorical.sample": categorical.tokens,
    "masked_categorical.entropy": categorical.masked_entropy,
    "masked_categorical.kl": categorical.masked_kl,
    "masked_categorical.log_prob": categorical.masked_log_prob,
    "masked_categorical.sample": categorical.masked_sample,
    "masked_categorical.sample_and_log_prob": categorical.masked_sample_and_log_prob,
    "normal.log_prob": normal.log_prob,
    "normal.rsample": normal.rsample,
    "normal.rsample_and_log_prob": normal.rsample_and_log_prob,
    "normal.sample": normal.sample,
    "normal.sample_and_log_prob": normal.sample_and_log_prob,
    "tanh_normal.log_prob": tanh_normal.log_prob,
    "tanh_normal.rsample": tanh_normal.rsample,
    "tanh_normal.rsample_and_log_prob": tanh_normal.rsample_and_log_prob,
    "tanh_normal.sample": tanh_normal.sample,
    "tanh_normal.sample_and_log_prob": tanh_normal.sample_and_log_prob,
}


def find(verb: str, module: str) -> Callable[..., Any] | None:
    """Return the kernel for a verb of a family of this package, if there is one.

    It takes the verb's arguments by position and its options by name. If the caller gives no `event_dims`, the kernel
    uses `default_event_dims`.

    Args:
        verb: Such as "normal.log_prob".
        module: The module of the family; another package may also have a `normal`.

    >>> find("normal.log_prob", "my_package.normal") is None
    True
    """
    return _KERNELS.get(verb) if module.startswith(_PACKAGE) else None


def can_be_used() -> bool:
    """Say whether kernels are built, and this is eager code outside of every transform, tracer and mode."""
    return is_plain() and extension.kernels is not None
