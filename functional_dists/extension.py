"""The functions of `_kernels.c`, where the package was installed with a C compiler at hand; else `kernels` is None.

They are given addresses of memory: see `random.cpu` and `special.kernels`, which alone call them.
"""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

try:
    from functional_dists import _kernels as kernels
except ImportError:
    kernels = None  # type: ignore[assignment]

__all__ = ["kernels", "without_kernels"]

P = ParamSpec("P")
R = TypeVar("R")


def without_kernels(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function that does its work as where no kernels are built; for tests and benchmarks, in one thread.

    >>> from functional_dists import extension
    >>> extension.without_kernels(lambda: extension.kernels is None)()
    True
    """

    @functools.wraps(function)
    def plainly(*arguments: P.args, **options: P.kwargs) -> R:
        global kernels
        built, kernels = kernels, None  # type: ignore[assignment]
        try:
            return function(*arguments, **options)
        finally:
            kernels = built

    return plainly
