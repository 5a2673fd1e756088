"""The functions of `_kernels.c`, where the package was installed with a C compiler at hand; else `kernels` is None.

They are given addresses of memory: see `random.cpu` and `kernels`, which alone call them.
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
    """Return a function that does its work as where no kernels are built; for tests and benchmarks.

    Calls may overlap. Another thread that is just about to call a kernel may find it gone, and fail.

    >>> from functional_dists import extension
    >>> extension.without_kernels(lambda: extension.kernels is None)()
    True
    """

    @functools.wraps(function)
    def plainly(*arguments: P.args, **options: P.kwargs) -> R:
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

    return plainly


# Calls may overlap, in threads or one inside another: the first takes the kernels away, the last brings them back.
_lock, _calls, _set_aside = threading.Lock(), 0, kernels
