"""The layout of a policy's values: the heads in the order in which they were written, and the keys of their values."""

from collections.abc import Callable, Mapping
from typing import Any

import optree

from functional_dists.composite.structure import Path, is_single, opened, place
from functional_dists.family.reprs import shown
from functional_dists.policy import keys
from functional_dists.policy.keys import Key


def heads(families: Any) -> dict[Path, Any]:
    """Return the families by their paths, in the order in which they were written; those of chains too.

    >>> from functional_dists import categorical, normal
    >>> list(heads({"unit": categorical, "aim": (normal, normal)}))
    [('unit',), ('aim', 0), ('aim', 1)]
    """
    found = leaves_as_written(opened(families), is_single)
    for path, family in found.items():
        if not is_single(family):
            raise TypeError(f"families{place(path)} must hold families, got {shown(family)}")
    return found


def map_heads(function: Callable[[Path, Any], Any], families: Any) -> Any:
    """Return what a function of path and family returns for every head, in the containers of `opened(families)`."""
    return optree.tree_map_with_path(function, opened(families), is_leaf=is_single, namespace="torch")


def leaves_as_written(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> dict[Path, Any]:
    """Return the leaves of a pytree by their paths, in the order in which they were written: optree may sort dicts."""
    paths, leaves, _ = optree.tree_flatten_with_path(tree, is_leaf, none_is_leaf=True, namespace="torch")

    def positions(path: Path) -> list[int]:
        node, found = tree, []
        for entry in path:
            found.append(list(node).index(entry) if isinstance(node, Mapping) else entry)
            node = node[entry]
        return found

    by_path = dict(zip(paths, leaves, strict=True))
    return {path: by_path[path] for path in sorted(paths, key=positions)}


def value_keys(paths: list[Path], out_keys: Any) -> dict[Path, Key]:
    """Return the keys of the values of the heads at `paths`.

    Args:
        paths: The paths of the heads.
        out_keys: Keys in the order of the paths; or a dict with the names of the families' containers, which holds the
            keys of the heads below each name. None stands for the paths.

    Raises:
        TypeError: something is not a key, or a single family has none.
        ValueError: there are too many or too few keys, or two are the same.
    """
    if out_keys is None:
        if paths == [()]:
            raise TypeError("a single family needs the key of its value, out_keys")
        return {path: keys.as_key(tuple(map(str, path))) for path in paths}
    found: dict[Path, Key] = {}
    for prefix, own in leaves_as_written(out_keys, lambda node: not isinstance(node, Mapping)).items():
        below = [path for path in paths if path[: len(prefix)] == prefix]
        is_one = isinstance(own, str) or (prefix and below == [prefix])
        flat = [keys.as_key(key) for key in ([own] if is_one else own)]
        if len(flat) != len(below):
            wanted = f"out_keys{place(prefix)} must be {len(below)}, one for each value"
            raise ValueError(f"{wanted}, got {len(flat)}: {out_keys}")
        found.update(zip(below, flat, strict=True))
    if missing := ["/".join(map(str, path)) for path in paths if path not in found]:
        raise ValueError(f"out_keys must have keys for {missing}, got {out_keys}")
    if len(set(found.values())) < len(found):
        raise ValueError(f"out_keys must differ, got {out_keys}")
    return {path: found[path] for path in paths}
