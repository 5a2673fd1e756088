"""The functions of `_kernels.c` as `kernels`, which is None if the package was installed without a C compiler.

They take addresses of memory. Only `random.cpu` and the package `kernels` call them, and `random` may not
import from `kernels`.
"""

import functools
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

try:
    import functional_dists._kernels as kernels
except ImportError:
    kernels = None  # type: ignore[assignment]

__all__ = ["kernels", "without_kernels"]

P = ParamSpec("P")
R = TypeVar("R")


def without_kernels(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function that runs as if no kernels were built, for tests and benchmarks.

    Calls may overlap. Another thread that is about to call a kernel may find `kernels` to be None, and fail.

    >>> from functional_dists.random import extension
    >>> extension.without_kernels(lambda: extension.kernels is None)()
    True
    """

    @functools.wraps(function)
    def wrapper(*arguments: P.args, **options: P.kwargs) -> R:
        global kernels, _set_aside, _calls
        with _lock:
            if _calls == 0:
                _set_aside, kernels = kernels, None  # type: ignore[assignment]
            _calls += 1
        try:
            return function(*arguments, **options)
        finally:
            with _lock:
                _calls -= 1
                if _calls == 0:
                    kernels = _set_aside

    return wrapper


# Calls may overlap, in threads or nested: the first one removes the kernels, the last one restores them.
_lock, _calls, _set_aside = threading.Lock(), 0, kernels
