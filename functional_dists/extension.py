"""The functions of `_kernels.c`, where the package was installed with a C compiler at hand; else `kernels` is None.

They are given addresses of memory: see `random.cpu` and `special.kernels`, which alone call them.
"""

try:
    from functional_dists import _kernels as kernels
except ImportError:
    kernels = None  # type: ignore[assignment]

__all__ = ["kernels"]
