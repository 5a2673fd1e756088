"""Entries of nested data by their keys, for dicts and TensorDicts alike; nothing is written in place."""

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

Key = str | tuple[str, ...]


def as_key(given: Any) -> Key:
    """Return the normal form of a key: a string, or a flat tuple of at least two strings.

    >>> as_key(["agents", ("arm", "loc")]), as_key(("loc",))
    (('agents', 'arm', 'loc'), 'loc')
    """
    if isinstance(given, str):
        return given
    if not isinstance(given, Sequence) or not given:
        raise TypeError(f"a key must be a string or a tuple of strings, got {given!r}")
    path = tuple(part for entry in given for part in path_of(as_key(entry)))
    return path if len(path) > 1 else path[0]


def as_keys(given: Any) -> tuple[Key, ...]:
    """Return the normal forms of several keys; a string is one key.

    >>> as_keys("loc"), as_keys(["loc", ("arm", "scale")])
    (('loc',), ('loc', ('arm', 'scale')))
    """
    return (given,) if isinstance(given, str) else tuple(as_key(key) for key in given)


def path_of(key: Key) -> tuple[str, ...]:
    """Return a key as a tuple of strings."""
    return (key,) if isinstance(key, str) else key


def find(data: Any, key: Key) -> Any:
    """Return the entry of `data` at a key, or None.

    Raises:
        TypeError: `data` is a tensor.

    >>> find({"arm": {"loc": 1}}, ("arm", "loc"))
    1
    """
    if isinstance(data, Tensor):
        raise TypeError(
            f"data must be a dict or a TensorDict with {key!r}, got a tensor; a step takes params, key and data"
        )
    if isinstance(key, str):
        return data.get(key, None)
    for part in key:
        if data is None or not hasattr(data, "get"):
            return None
        data = data.get(part, None)
    return data


def get(data: Any, key: Key) -> Any:
    """Return the entry of `data` at a key.

    Raises:
        KeyError: there is no such entry.
    """
    found = find(data, key)
    if found is None:
        raise KeyError(f"data have no {key!r}; their keys are {[str(name) for name in data.keys()]}")  # noqa: SIM118
    return found


def put(data: Any, entries: Iterable[tuple[Key, Any]]) -> Any:
    """Return `data` with these entries; only the dicts on the way to an entry are copied.

    >>> before = {"arm": {"loc": 1}}
    >>> put(before, [(("arm", "scale"), 2)]), before
    ({'arm': {'loc': 1, 'scale': 2}}, {'arm': {'loc': 1}})
    """
    new = data.copy()
    for key, value in entries:
        if isinstance(key, str):
            new[key] = value
        else:
            child = new.get(key[0], None)
            rest = key[1] if len(key) == 2 else key[1:]
            new[key[0]] = put({} if child is None else child, [(rest, value)])
    return new
