"""Readers: they read the parameters of a family from the data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optree

from functional_dists.composite.structure import Path, is_head, is_single, place
from functional_dists.family import as_params
from functional_dists.policy import keys
from functional_dists.policy.keys import Key


@dataclass(frozen=True, eq=False)
class Reader:
    """Reads the parameters of a head, or of all heads below a path.

    path: The path.
    family: The family or composite at the path.
    in_keys: The keys that it reads.
    names: The name of the parameter at each key; None if all parameters lie under one key.
    """

    path: Path
    family: Any
    in_keys: tuple[Key, ...]
    names: tuple[str, ...] | None = None

    def read(self, data: Any) -> Any:
        """Return the parameters as the functions of `composite` take them."""
        found = [keys.get(data, key) for key in self.in_keys]
        if self.names is None:
            return as_params(self.family.Params, found[0]) if is_single(self.family) else found[0]
        by_name = dict(zip(self.names, found, strict=True))
        return self.family.Params(**by_name) if is_single(self.family) else by_name

    def copied(self, data: Any, key: Key) -> list[tuple[Key, Any]]:
        """Return what was read as entries of data: below `key`, at the path."""
        above = (*keys.path_of(key), *map(str, self.path))
        places = [above] if self.names is None else [(*above, name) for name in self.names]
        return [(keys.as_key(to), keys.get(data, own)) for to, own in zip(places, self.in_keys, strict=True)]


def readers(families: Any, in_keys: Any, path: Path = ()) -> Any:
    """Return a reader for every head in the containers of `families`, or one reader where one key holds a container.

    Args:
        families: A family or a composite.
        in_keys: As `ProbabilisticModule` takes it.
        path: The path of `families` in the whole.

    Raises:
        ValueError: `in_keys` does not have the structure of `families`, or a parameter is missing.
    """
    if isinstance(in_keys, str):
        return Reader(path, families, (in_keys,))
    if is_head(families):
        return _head_reader(families, in_keys, path)
    if not isinstance(in_keys, Mapping) and len(in_keys) == 1 and _is_key(in_keys[0]):
        return Reader(path, families, (keys.as_key(in_keys[0]),))
    children, metadata, entries, rebuild = optree.tree_flatten_one_level(families, namespace="torch")
    given = dict(in_keys) if isinstance(in_keys, Mapping) else dict(enumerate(in_keys))
    if set(given) != set(entries):
        raise ValueError(
            f"in_keys of a composite must be one key, or hold the in_keys of {[*entries]}{place(path)}, got {in_keys!r}"
        )
    own = [readers(child, given[entry], (*path, entry)) for child, entry in zip(children, entries, strict=True)]
    return rebuild(metadata, own)


def _is_key(given: Any) -> bool:
    return isinstance(given, str) or (
        isinstance(given, tuple) and bool(given) and all(isinstance(part, str) for part in given)
    )


def _head_reader(family: Any, in_keys: Any, path: Path) -> Reader:
    own = tuple(keys.as_key(key) for key in in_keys.values()) if isinstance(in_keys, Mapping) else keys.as_keys(in_keys)
    names = tuple(in_keys) if isinstance(in_keys, Mapping) else tuple(keys.path_of(key)[-1] for key in own)
    if len(set(names)) < len(names):
        raise ValueError(f"the last parts of in_keys must differ, got {in_keys!r}; use a dict {{parameter: key}}")
    if is_single(family):
        fields, defaults = family.Params._fields, family.Params._field_defaults
        if unknown := [name for name in names if name not in fields]:
            raise ValueError(
                f"in_keys names {unknown}, which are not among the parameters {fields}; "
                "use a dict {parameter: key} to read them from other keys"
            )
        if missing := [name for name in fields if name not in names and name not in defaults]:
            raise ValueError(f"in_keys lacks the parameters {missing}, got {in_keys!r}")
    return Reader(path, family, own, names)
