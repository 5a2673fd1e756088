"""What families between two bounds share."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from functional_dists.family import as_params
from functional_dists.kernels import are_known_equal

__all__ = ["if_bounds_differ"]
__dir__ = __all__.copy  # what tab completion shows

F = TypeVar("F", bound=Callable[..., Any])


def if_bounds_differ(equal: Callable[..., Any], params: Any) -> Callable[[F], F]:
    """Make a `kl` run `equal` instead if the bounds are known to be equal; numbers are also known in compiled code.

    Args:
        equal: The verb for equal bounds.
        params: The `Params` of the family, with the fields `low` and `high`.
    """

    def of(general: F) -> F:
        @functools.wraps(general)
        def dispatch(p: Any, q: Any, **options: Any) -> Any:
            p, q = as_params(params, p), as_params(params, q)
            are_equal = are_known_equal(p.low, q.low) and are_known_equal(p.high, q.high)
            return (equal if are_equal else general)(p, q, **options)

        return cast(F, dispatch)

    return of
