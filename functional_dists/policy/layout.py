"""Where in the data the parameters of a family lie, and where its values go; of a composite, those of every head."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optree

from functional_dists import family
from functional_dists.composite import Chain
from functional_dists.family import as_params
from functional_dists.policy import keys
from functional_dists.policy.keys import Key

__all__ = [
    "Path",
    "Reader",
    "build",
    "from_pickle",
    "heads",
    "holds_chain",
    "is_single",
    "readers",
    "to_pickle",
    "value_keys",
    "value_paths",
]

Path = tuple[Any, ...]  # of names and indices, from the root of `families` to a head


def is_single(families: Any) -> bool:
    """Say whether this is a family, and not a composite of several."""
    return hasattr(families, "Params")


def to_pickle(families: Any) -> Any:
    """Return what stands for `families` in a pickle, which does not know modules."""
    return optree.tree_map(family.to_pickle, families, namespace="torch")


def from_pickle(families: Any) -> Any:
    """Return the families for which this stood in a pickle."""
    return optree.tree_map(family.from_pickle, families, namespace="torch")


def holds_chain(families: Any) -> bool:
    """Say whether there is a chain among the heads."""
    if is_single(families) or isinstance(families, Chain):
        return not is_single(families)
    return any(holds_chain(part) for _, part in _parts(families, ()))


def build(families: Any, leaf: Callable[[Path], Any], *, stop: Callable[[Path], bool], path: Path = ()) -> Any:
    """Return the containers of `families`, down to the paths at which to stop, with leaf(path) in these places."""
    if stop(path) or is_single(families):
        return leaf(path)
    parts = [build(part, leaf, stop=stop, path=(*path, name)) for name, part in _parts(families, path)]
    if isinstance(families, Sequence):
        return tuple(parts)
    return dict(zip([name for name, _ in _parts(families, path)], parts, strict=True))


def _parts(families: Any, path: Path) -> list[tuple[Any, Any]]:
    """Return the names and parts of a container, in the order in which they were written."""
    if isinstance(families, Chain):
        return [(name, head.family) for name, head in families.heads]
    if isinstance(families, Mapping):
        return list(families.items())
    if isinstance(families, Sequence) and not isinstance(families, str):
        return list(enumerate(families))
    place = "/".join(map(str, path))
    raise TypeError(f"families{place and f' at {place!r}'} must hold families, got {families!r}")


# ------------------------------------------------------------------------------------------------------------- values
def value_paths(families: Any, path: Path = ()) -> list[Path]:
    """Return the paths of the values, in the order in which the families were written.

    >>> from functional_dists import categorical, normal
    >>> value_paths({"unit": categorical, "aim": (normal, normal)})
    [('unit',), ('aim', 0), ('aim', 1)]
    """
    return list(heads(families, path))


def heads(families: Any, path: Path = ()) -> dict[Path, Any]:
    """Return the families by the paths of their values, in the order in which they were written.

    >>> from functional_dists import categorical, normal
    >>> heads({"unit": categorical, "aim": (normal,)})["aim", 0] is normal
    True
    """
    if is_single(families):
        return {path: families}
    parts = [heads(part, (*path, name)) for name, part in _parts(families, path)]
    return {where: family for found in parts for where, family in found.items()}


def value_keys(families: Any, out_keys: Any) -> dict[Path, Key]:
    """Return the keys of the values by their paths.

    Args:
        families: A family or a composite.
        out_keys: Keys in the order of the paths; or a dict or sequence in the shape of `families`, of keys or such
            lists. None: the paths.
    """
    paths = value_paths(families)
    if out_keys is None:
        if paths == [()]:
            raise TypeError("a single family needs the key of its value, out_keys")
        return {path: keys.as_key(tuple(map(str, path))) for path in paths}
    flat = [out_keys] if isinstance(out_keys, str) else _flat(families, out_keys)
    if len(flat) != len(paths):
        raise ValueError(f"out_keys must be {len(paths)}, one for each value, got {len(flat)}: {out_keys}")
    if len(set(flat)) < len(flat):
        raise ValueError(f"out_keys must differ, got {out_keys}")
    return dict(zip(paths, flat, strict=True))


def _flat(families: Any, out_keys: Any) -> list[Key]:
    if isinstance(out_keys, str):
        return [out_keys]
    if not isinstance(out_keys, Mapping):
        return [keys.as_key(key) for key in out_keys]
    names = [name for name, _ in _parts(families, ())] if not is_single(families) else []
    if set(out_keys) != set(names):
        raise ValueError(f"out_keys must hold {names}, got {[*out_keys]}")
    return [key for name, part in _parts(families, ()) for key in _of_part(part, out_keys[name])]


def _of_part(part: Any, out_keys: Any) -> list[Key]:
    return [keys.as_key(out_keys)] if is_single(part) else _flat(part, out_keys)


# --------------------------------------------------------------------------------------------------------- parameters
@dataclass(frozen=True, eq=False)
class Reader:
    """Reads the parameters of one head, or all of those below a path, from the data.

    family: The family, or the composite below the path.
    entries: The name and the key of each parameter; None where all of them lie under one key.
    key: That key.
    """

    family: Any
    entries: tuple[tuple[str, Key], ...] | None
    key: Key = ""

    @property
    def in_keys(self) -> tuple[Key, ...]:
        """The keys that are read."""
        return (self.key,) if self.entries is None else tuple(key for _, key in self.entries)

    def read(self, data: Any) -> Any:
        """Return the parameters, as the functions of `composite` take them."""
        if self.entries is None:
            found = keys.get(data, self.key)
            return as_params(self.family.Params, found) if is_single(self.family) else found
        named = {name: keys.get(data, key) for name, key in self.entries}
        return self.family.Params(**named) if is_single(self.family) else named

    def copied(self, data: Any, place: Path) -> list[tuple[Key, Any]]:
        """Return what was read as entries of data, below `place`."""
        if self.entries is None:
            return [(keys.as_key(place), keys.get(data, self.key))]
        return [(keys.as_key((*place, name)), keys.get(data, key)) for name, key in self.entries]


def readers(families: Any, in_keys: Any, path: Path = ()) -> dict[Path, Reader]:
    """Return the readers of the parameters by the paths at which their results go.

    Args:
        families: A family or a composite.
        in_keys: As `ProbabilisticModule` takes it.
        path: Where in the composite `families` is.
    """
    if isinstance(in_keys, str):
        return {path: Reader(families, None, in_keys)}
    if is_single(families) or isinstance(families, Chain):
        return {path: Reader(families, _entries(families, in_keys))}
    if isinstance(in_keys, Mapping):
        given = dict(in_keys)
    else:
        if len(in_keys) == 1 and _is_key(in_keys[0]):
            return {path: Reader(families, None, keys.as_key(in_keys[0]))}
        given = dict(enumerate(in_keys))
    parts = _parts(families, path)
    if set(given) != {name for name, _ in parts}:
        place = "/".join(map(str, path))
        raise ValueError(
            f"in_keys of a composite must be one key, or hold the in_keys of {[name for name, _ in parts]}"
            f"{place and f' at {place!r}'}, got {in_keys!r}"
        )
    return {
        where: reader for name, part in parts for where, reader in readers(part, given[name], (*path, name)).items()
    }


def _is_key(given: Any) -> bool:
    return isinstance(given, str) or (
        isinstance(given, tuple) and bool(given) and all(isinstance(part, str) for part in given)
    )


def _entries(families: Any, in_keys: Any) -> tuple[tuple[str, Key], ...]:
    if isinstance(in_keys, Mapping):
        entries = tuple((name, keys.as_key(key)) for name, key in in_keys.items())
    else:
        entries = tuple((keys.name_of(key), key) for key in keys.as_keys(in_keys))
    names = [name for name, _ in entries]
    if len(set(names)) < len(names):
        raise ValueError(f"the last parts of in_keys must differ, got {in_keys!r}; a dict names them otherwise")
    if is_single(families):
        fields, defaults = families.Params._fields, families.Params._field_defaults
        if unknown := [name for name in names if name not in fields]:
            raise ValueError(
                f"in_keys names {unknown}, which are not among the parameters {fields}; "
                "a dict parameter -> key has them read from other keys"
            )
        if missing := [name for name in fields if name not in names and name not in defaults]:
            raise ValueError(f"in_keys lacks the parameters {missing}, got {in_keys!r}")
    return entries
