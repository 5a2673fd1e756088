"""What a probabilistic step plays: a draw, or a point of the distribution; said by an argument or by a context."""

import contextlib
import enum
import sys
import threading
from contextvars import ContextVar, Token
from typing import Any

import torch

__all__ = ["InteractionType", "interaction_type", "resolve", "set_interaction_type"]


class InteractionType(enum.Enum):
    """What is played: a draw (`RANDOM`), or the point of the distribution that has this name.

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
    """Return the InteractionType that is meant by a name in any case, or by a member of another enum of that name."""
    if isinstance(given, InteractionType):
        return given
    name = given.name if isinstance(given, enum.Enum) else given
    if not isinstance(name, str) or name.upper() not in _BY_NAME:
        raise ValueError(f"the interaction type must be one of {[*_BY_NAME]}, got {given!r}")
    return _BY_NAME[name.upper()]


class _Process:
    """What compiled code sees: dynamo cannot read a ContextVar, and does not notice that a thread-local changed."""

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


_own: ContextVar[InteractionType | None] = ContextVar("interaction_type", default=None)
_process = _Process()


class set_interaction_type(contextlib.ContextDecorator):
    """Have the steps inside of the context play this, those aside that are told by argument.

    The context is that of a thread or of an asynchronous task. Compiled code sees the one that was entered last in the
    process, and refuses to be compiled while threads disagree.

    Args:
        type: An InteractionType, its name, or None, for the steps' own defaults.

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

    def __enter__(self) -> None:
        if torch.compiler.is_compiling():
            self._before.append(_process.type)
            _process.type = self.type
        else:
            self._tokens.append(_own.set(self.type))
            _process.enter((threading.get_ident(), self.type))

    def __exit__(self, *error: object) -> None:
        if torch.compiler.is_compiling():
            _process.type = self._before.pop()
        else:
            _own.reset(self._tokens.pop())
            _process.leave((threading.get_ident(), self.type))


def interaction_type() -> InteractionType | None:
    """Return what the context says, tensordict's where ours says nothing; None where neither does.

    >>> interaction_type() is None
    True
    """
    own = _seen_by_compiled_code() if torch.compiler.is_compiling() else _own.get()
    if own is not None:
        return own
    tensordict = sys.modules.get("tensordict.nn.probabilistic")
    theirs = None if tensordict is None else tensordict.interaction_type()
    return None if theirs is None else as_type(theirs)


def _seen_by_compiled_code() -> InteractionType | None:
    if _process.threads_disagree:
        raise RuntimeError(
            "set_interaction_type is in force in several threads, which compiled code cannot tell apart: "
            "pass interaction_type= to the step"
        )
    return _process.type


def resolve(given: Any, default: InteractionType) -> InteractionType:
    """Return the type of a call: the argument, else the context, else the step's default."""
    if given is not None:
        return as_type(given)
    return interaction_type() or default
