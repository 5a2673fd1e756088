"""What a probabilistic step plays, a draw or a point of the distribution: set by an argument or by a context."""

import contextlib
import enum
import sys
import threading
from contextvars import ContextVar, Token
from typing import Any

import torch

from functional_dists.family.reprs import call


class InteractionType(enum.Enum):
    """What to play: a draw (`RANDOM`), or the point of the distribution with this name.

    >>> InteractionType("Mode")
    <InteractionType.MODE: 'mode'>
    """

    RANDOM = "random"
    MODE = "mode"
    MEAN = "mean"
    MEDIAN = "median"
    DETERMINISTIC = "deterministic"

    @classmethod
    def _missing_(cls, value: object) -> "InteractionType":
        return as_type(value)


_BY_NAME = {member.name: member for member in InteractionType}


def as_type(given: Any) -> InteractionType:
    """Return the InteractionType for a name in any case, or for a member of another enum with the same name."""
    if isinstance(given, InteractionType):
        return given
    name = given.name if isinstance(given, enum.Enum) else given
    if not isinstance(name, str) or name.upper() not in _BY_NAME:
        raise ValueError(f"the interaction type must be one of {[*_BY_NAME]}, got {given!r}")
    return _BY_NAME[name.upper()]


class _Process:
    """The contexts of all threads, for compiled code: dynamo cannot read a ContextVar, nor guard a thread-local.

    type: The type of the context that was entered last.
    threads_disagree: Whether threads are in contexts of different types.
    """

    def __init__(self) -> None:
        self.type: InteractionType | None = None
        self.threads_disagree = False
        self.entered: list[tuple[int, InteractionType | None]] = []
        self.lock = threading.Lock()

    def enter(self, entry: tuple[int, InteractionType | None]) -> None:
        with self.lock:
            self.entered.append(entry)
            self._update()

    def leave(self, entry: tuple[int, InteractionType | None]) -> None:
        with self.lock:
            last = len(self.entered) - 1 - self.entered[::-1].index(entry)
            del self.entered[last]
            self._update()

    def _update(self) -> None:
        self.type = self.entered[-1][1] if self.entered else None
        self.threads_disagree = len(set(dict(self.entered).values())) > 1


_context: ContextVar[InteractionType | None] = ContextVar("interaction_type", default=None)
_process = _Process()


class set_interaction_type(contextlib.ContextDecorator):
    """Set what steps play: steps inside the context use this, unless given `interaction_type=`.

    The context belongs to a thread or to an asynchronous task. Compiled code uses the context that was entered last in
    the process. Compilation raises an error while threads are in contexts of different types.

    Args:
        type: An `InteractionType` or its name. None: each step uses its own default.

    Raises:
        ValueError: there is no such type.

    >>> with set_interaction_type("mode"):
    ...     interaction_type()
    <InteractionType.MODE: 'mode'>
    """

    def __init__(self, type: Any) -> None:
        self.type = None if type is None else as_type(type)
        self._tokens: list[Token[InteractionType | None]] = []
        self._before: list[InteractionType | None] = []

    def __repr__(self) -> str:
        return call("set_interaction_type", self.type)

    def __enter__(self) -> None:
        if torch.compiler.is_compiling():
            self._before.append(_process.type)
            _process.type = self.type
        else:
            self._tokens.append(_context.set(self.type))
            _process.enter((threading.get_ident(), self.type))

    def __exit__(self, *error: object) -> None:
        if torch.compiler.is_compiling():
            _process.type = self._before.pop()
        else:
            _context.reset(self._tokens.pop())
            _process.leave((threading.get_ident(), self.type))


def interaction_type() -> InteractionType | None:
    """Return the type that the context sets, else the type that tensordict's context sets, else None.

    >>> interaction_type() is None
    True
    """
    found = _type_for_compiled_code() if torch.compiler.is_compiling() else _context.get()
    tensordict = sys.modules.get("tensordict.nn.probabilistic")
    if found is None and tensordict is not None:
        found = tensordict.interaction_type()
    return None if found is None else as_type(found)


def _type_for_compiled_code() -> InteractionType | None:
    if _process.threads_disagree:
        raise RuntimeError(
            "threads are in contexts of set_interaction_type with different types, which compiled code cannot tell "
            "apart: pass interaction_type= to the step"
        )
    return _process.type


def resolve(given: Any, default: InteractionType) -> InteractionType:
    """Return the type of a call: that of the argument, else of the context, else the step's default."""
    return as_type(given) if given is not None else interaction_type() or default
