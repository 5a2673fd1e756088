"""Fast paths of eager code: kernels of some verbs of families, each instead of ten to twenty operations.

A kernel takes the arguments of its verb as the user gave them, and returns the verb's result. It returns NotImplemented
if it cannot; then the verb's own formula runs, and raises the proper error if an argument is wrong. Draws are equal to
the bit. Other results may differ by a few ulp, since kernels compute in float64 and round once.

The C functions are compiled when the package is installed, if there is a C compiler; see `random.extension`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

import functional_dists.random.extension as extension
from functional_dists.kernels import beta, categorical, linear, normal, operands, parts, quantiles, tokens  # noqa: F401 (each registers its kernels)
from functional_dists.special.axis import is_any_cut
from functional_dists.special.constant import PLAIN_TENSORS, is_plain

__all__ = ["are_known_equal", "can_be_used", "find"]
__dir__ = __all__.copy  # what tab completion shows

_PACKAGE = __name__.partition(".")[0] + "."
_OF_CATEGORICALS: dict[str, Callable[..., Any]] = {
    "entropy": categorical.entropy,
    "kl": categorical.kl,
    "log_prob": categorical.log_prob,
    "log_prob_and_entropy": categorical.log_prob_and_entropy,
    "sample": partial(categorical.draw, False),
    "sample_and_log_prob": partial(categorical.draw, True),
}
_OF_NORMALS: dict[str, Callable[..., Any]] = {
    "log_prob": normal.log_prob,
    **dict.fromkeys(("sample", "sample_and_log_prob"), partial(normal.draw, False)),
    **dict.fromkeys(("rsample", "rsample_and_log_prob"), partial(normal.draw, True)),
}
_KERNELS: dict[str, dict[str, Callable[..., Any]]] = {
    "categorical": _OF_CATEGORICALS,
    "masked_categorical": _OF_CATEGORICALS,
    "llm_masked_categorical": {
        "entropy": tokens.entropy,
        "log_prob": tokens.log_prob,
        "log_prob_and_entropy": tokens.log_prob_and_entropy,
        "sample": categorical.tokens,
    },
    "normal": _OF_NORMALS,
    "tanh_normal": _OF_NORMALS,
}


def find(verb: str, module: str) -> Callable[..., Any] | None:
    """Return the kernel for a verb of a family of this package, if there is one.

    It takes the verb's arguments by position and its options by name. If the caller gives no `event_dims`, the kernel
    uses `default_event_dims`, which the caller gives for every verb that sums over events.

    Args:
        verb: Such as "normal.log_prob".
        module: The module of the family; another package may also have a `normal`.

    >>> find("normal.log_prob", "my_package.normal") is None
    True
    """
    family, _, name = verb.partition(".")
    return _KERNELS.get(family, {}).get(name) if module.startswith(_PACKAGE) else None


def can_be_used() -> bool:
    """Say whether kernels are built, and this is eager code outside of every transform, tracer, mode and cut."""
    return is_plain() and extension.kernels is not None and not is_any_cut()


def are_known_equal(a: Any, b: Any) -> bool:
    """Say whether two arguments are equal numbers, or in eager code equal constants on the CPU.

    >>> are_known_equal(1, 1.0), are_known_equal(torch.ones(2), torch.ones(2)), are_known_equal(1.0, torch.ones(2))
    (True, True, False)
    """
    if operands.is_number(a) and operands.is_number(b):
        return bool(a == b)
    return (
        is_plain()
        and all(type(x) in PLAIN_TENSORS and x.is_cpu and not operands.are_tracked(x) for x in (a, b))
        and torch.equal(a, b)
    )
