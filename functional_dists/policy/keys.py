"""Entries of nested data by their keys, the same for dicts and for TensorDicts; nothing is written in place."""

from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["Key", "as_key", "as_keys", "find", "get", "name_of", "path_of", "put"]

Key = str | tuple[str, ...]


def as_key(given: Any) -> Key:
    """Return a key in its one form: a string, or a flat tuple of at least two.

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
    """Return keys, of which a single string is one.

    >>> as_keys("loc"), as_keys(["loc", ("arm", "scale")])
    (('loc',), ('loc', ('arm', 'scale')))
    """
    return (given,) if isinstance(given, str) else tuple(as_key(key) for key in given)


def path_of(key: Key) -> tuple[str, ...]:
    """Return a key as a tuple, whatever its depth."""
    return (key,) if isinstance(key, str) else key


def name_of(key: Key) -> str:
    """Return the last part of a key."""
    return key if isinstance(key, str) else key[-1]


def find(data: Any, key: Key) -> Any:
    """Return the entry of `data`, or None.

    >>> find({"arm": {"loc": 1}}, ("arm", "loc"))
    1
    """
    if isinstance(key, str):
        return data.get(key, None)
    for part in key:
        if data is None or not hasattr(data, "get"):
            return None
        data = data.get(part, None)
    return data


def get(data: Any, key: Key) -> Any:
    """Return the entry of `data`.

    Raises:
        KeyError: there is none.
    """
    found = find(data, key)
    if found is None:
        raise KeyError(f"data have no {key!r}; their keys are {[str(name) for name in data.keys()]}")  # noqa: SIM118
    return found


def put(data: Any, entries: Iterable[tuple[Key, Any]]) -> Any:
    """Return `data` with these entries; what is nested is copied along the paths that are written, and only there.

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
