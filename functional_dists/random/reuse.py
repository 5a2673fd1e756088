"""Detection of reused keys: inside of ``forbid_reuse`` a key that is consumed twice is an error.

A draw, ``split`` and ``fold_in`` consume their key. The same key may serve two uses that take different parts of it:
folds of different numbers, numbers at different positions, and the leaves of one call of a verb.
"""

import contextlib
import linecache
import os
import sys
import threading
from collections.abc import Hashable, Iterator
from contextvars import ContextVar
from typing import NamedTuple

import optree
import torch
from torch import Tensor


class KeyReuseError(RuntimeError):
    """A key was consumed twice inside of ``forbid_reuse``."""


@contextlib.contextmanager
def forbid_reuse() -> Iterator[None]:
    """Raise an error where eager code inside of this context consumes a key twice.

    Draws, ``split``, ``fold_in`` and every verb that draws consume a key. Calls of ``fold_in`` with different numbers
    are different uses, and so are numbers at different positions. Keys are compared by value, so a copy of a key is the
    same key; a batch of keys counts as each of its keys. A Generator may be used again.

    Compiled code and other threads are not watched. A context inside of another one continues the outer one. Every key
    is read on the host, which takes time: use this in tests and to search for errors.

    Raises:
        KeyReuseError: if a key is consumed twice; the message names both places.

    >>> from functional_dists import random
    >>> key = random.key(42)
    >>> with random.forbid_reuse():
    ...     actor_key, env_key = random.split(key)
    ...     try:
    ...         noise = random.normal(key, 3)
    ...     except random.KeyReuseError:
    ...         print("split and drawn from")
    split and drawn from
    """
    if _watch.get() is not None:
        yield
        return
    token = _watch.set(_Watch())
    try:
        yield
    finally:
        _watch.reset(token)


def consume(key: Tensor, part: Tensor | Hashable = None, kind: str | None = None) -> None:
    """Record a use of keys ``(*K, 2)``, inside of ``forbid_reuse``.

    Args:
        key: the keys.
        part: the part of each key that is used: an integer tensor ``(*K, *R)``, or one value for all keys.
        kind: the kind of part. Uses of one kind may take different parts of a key; uses of the kind `LEAF` must also
            come from one call. None is a use of the whole key.
    """
    if torch.compiler.is_compiling():
        return
    watch = _watch.get()
    if watch is None or _are_values_hidden():  # before any operation, which a tracer would record
        return
    table = key.view(torch.int64)
    if isinstance(part, Tensor):
        table, part = torch.cat([table.expand(*part.shape, 2), part.unsqueeze(-1)], -1), None
    values = readable(table)
    if values is not None:
        watch.note(values, part, kind, _place())


@contextlib.contextmanager
def unwatched() -> Iterator[None]:
    """Record no use in this context, for draws from keys that were made of one whose use is recorded.

    >>> from functional_dists import random
    >>> with random.forbid_reuse(), unwatched():
    ...     random.normal(random.key(42)), random.normal(random.key(42))
    (tensor(-0.9702), tensor(-0.9702))
    """
    token = _watch.set(None)
    try:
        yield
    finally:
        _watch.reset(token)


LEAF = "leaf"


# --- What was consumed -----------------------------------------------------------------------------------------------


class _Place(NamedTuple):
    """The place where the user's code called the package."""

    file: str
    line: int
    action: str
    call: Hashable  # the same during one call; a later call may get it too, once the frame of the first is gone

    def __str__(self) -> str:
        source = linecache.getline(self.file, self.line).strip()
        return f"{self.action} at {self.file}:{self.line}" + (f" ({source})" if source else "")


class _Watch:
    """The uses of every key: their kind, and the places by part."""

    def __init__(self) -> None:
        self.uses: dict[tuple[int, int], tuple[Hashable, dict[Hashable, _Place]]] = {}
        self.lock = threading.Lock()

    def note(self, table: Tensor, part: Hashable, kind: str | None, place: _Place) -> None:
        """Record uses of the keys in the rows of a table; a third column, if there is one, holds the parts."""
        group = (kind, place.call) if kind == LEAF else kind
        with self.lock:
            for seed, offset, *own in table.reshape(-1, table.shape[-1]).tolist():
                key = (seed % 2**64, offset % 2**64)
                self._note_one(key, own[0] if own else part, group, place)

    def _note_one(self, key: tuple[int, int], part: Hashable, group: Hashable, place: _Place) -> None:
        known, places = self.uses.setdefault(key, (group, {}))
        earlier = places.get(part) if group is not None and group == known else next(iter(places.values()), None)
        if earlier is place:
            raise KeyReuseError(
                f"the key {key} is consumed twice in one call, {place}; every entry of a batch needs a key of its own"
            )
        if earlier is not None:
            raise KeyReuseError(
                f"the key {key} is consumed twice: first by {earlier}, then by {place}; "
                "make a key for each use, by random.split or by random.fold_in"
            )
        places[part] = place


_watch: ContextVar[_Watch | None] = ContextVar("functional_dists_key_watch", default=None)


def readable(tensor: Tensor) -> Tensor | None:
    """Return a plain tensor with the values of this one; None where a tracer, mode or device hides them."""
    if _are_values_hidden():
        return None
    tensor = _without_wrappers(tensor)
    return tensor if type(tensor) is Tensor and tensor.device.type != "meta" else None


def _are_values_hidden() -> bool:
    return torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0 or torch._C._is_tracing()


def _without_wrappers(tensor: Tensor) -> Tensor:
    """Unwrap a tensor from ``torch.vmap`` and ``torch.func.grad``, with the lanes as leading axes."""
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(tensor):
        inner = functorch.get_unwrapped(tensor)
        if functorch.is_batchedtensor(tensor):
            inner = inner.movedim(functorch.maybe_get_bdim(tensor), 0)
        tensor = inner
    return tensor


# --- Where -----------------------------------------------------------------------------------------------------------

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_NOT_THE_USER = (_PACKAGE, *(os.path.dirname(str(module.__file__)) + os.sep for module in (torch, optree)))
_WRAPPER = "functional_dists.family.wrapper"
_GLUE = ("functional_dists.family.", "functional_dists.random.reuse")


def _place() -> _Place:
    """Find the place where the user's code called the package, and the outermost function of the package."""
    frame, action = sys._getframe(1), "a draw of a pytree"
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_not_the_user()):
        module = str(frame.f_globals.get("__name__"))
        if module == _WRAPPER and "spec" in frame.f_locals:
            action = frame.f_locals["spec"].name  # that of the verb, whose work a kernel may do
        elif frame.f_code.co_filename.startswith(_PACKAGE) and not module.startswith(_GLUE):
            action = f"{_name_of(module)}.{frame.f_code.co_qualname}"
        frame = frame.f_back
    return _Place(frame.f_code.co_filename, frame.f_lineno, action, (id(frame), frame.f_lasti))


def _not_the_user() -> tuple[str, ...]:
    tensordict = sys.modules.get("tensordict")
    return _NOT_THE_USER if tensordict is None else (*_NOT_THE_USER, os.path.dirname(str(tensordict.__file__)) + os.sep)


def _name_of(module: str) -> str:
    return "random" if module.startswith("functional_dists.random.") else module.rpartition(".")[2]
