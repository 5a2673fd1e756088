"""What type checkers know of verbs.

A verb has the signature of its function, and a second one: `Params` may stand for the parameters, and those that have a
default may be left out. In the second one the number and the names of the parameters are not checked. The options
`sample_shape` and `event_dims` are, and the result is.
"""

from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from torch import Tensor

from functional_dists.random import Shape

__all__ = ["Decorator", "Derive", "P", "R", "Verb"]

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Verb(Protocol[P, R_co]):
    """A verb of a family."""

    @property
    def __name__(self) -> str: ...
    @property
    def __wrapped__(self) -> Callable[P, R_co]: ...

    @overload
    def __call__(self, *arguments: P.args, **options: P.kwargs) -> R_co: ...
    @overload
    def __call__(self, *arguments: Any, sample_shape: Shape = ..., event_dims: int = ..., **named: Any) -> R_co: ...


class Decorator(Protocol):
    """What makes a function of tensors a verb."""

    def __call__(self, function: Callable[P, R], /) -> Verb[P, R]: ...


class Derive(Protocol):
    """What makes a verb of another family one of this family, with other parameters."""

    def __call__(
        self, verb: Callable[..., R], /, *, confine: Callable[..., Tensor] | None = None, doc: str | None = None
    ) -> Verb[..., R]: ...
