"""The structure of a joint distribution: where its heads are, and the parts of other pytrees at these places."""

from collections.abc import Mapping, Sequence
from typing import Any

import optree

from functional_dists.composite.chains import Chain
from functional_dists.family import is_tensordict

Path = tuple[Any, ...]  # names and indices, from the root of `families` to a head


def is_single(families: Any) -> bool:
    """Say whether this is one family, not a composite of several."""
    return hasattr(families, "Params")


def is_head(node: Any) -> bool:
    """Say whether a node of `families` is a family or a chain, not a container."""
    return is_single(node) or isinstance(node, Chain)


def has_names(node: Any) -> bool:
    """Say whether a node is a mapping or a TensorDict."""
    return isinstance(node, Mapping) or is_tensordict(node)


def place(path: Path) -> str:
    """Return the part of a message that says where in `families` the problem is.

    >>> place(("arm", 0)), place(())
    (" at 'arm/0'", '')
    """
    return f" at {'/'.join(map(str, path))!r}" if path else ""


def first_chain(families: Any) -> Path | None:
    """Return the path of the first chain, or None."""
    paths, heads, _ = optree.tree_flatten_with_path(families, is_leaf=is_head, namespace="torch")
    return next((path for path, head in zip(paths, heads, strict=True) if isinstance(head, Chain)), None)


def opened(families: Any) -> Any:
    """Return `families` with a dict of families for every chain, so that optree sees all heads.

    >>> from functional_dists import categorical
    >>> from functional_dists.composite import Head, chain
    >>> opened([chain(unit=Head(categorical))])[0]["unit"] is categorical
    True
    """

    def open_chain(head: Any) -> Any:
        return {name: opened(member.family) for name, member in head.heads} if isinstance(head, Chain) else head

    return optree.tree_map(open_chain, families, is_leaf=is_head, none_is_leaf=True, namespace="torch")


def names_in_data(container: Any) -> list[str]:
    """Return the names of a container's entries where data hold it: "0", "1", ... for a tuple or a list.

    >>> names_in_data({"arm": 0}), names_in_data((0, 0))
    (['arm'], ['0', '1'])
    """
    entries = container if isinstance(container, Mapping) else range(len(container))
    return [str(name) for name in getattr(container, "_fields", entries)]


def parts(families: Any, paths: Sequence[Path], label: str, tree: Any, root: Path = ()) -> list[Any]:
    """Return the parts of a pytree at `paths`.

    Args:
        families: The pytree to which the paths lead. The containers of `tree` must have the entries of its containers.
        paths: Paths as optree gives them.
        label: The name of `tree` in messages.
        tree: A pytree. A TensorDict may stand for a dict, a mapping or a tuple for a NamedTuple, and a mapping with the
            names "0", "1", ... for a tuple: data hold tuples in this form.
        root: The path of `families` itself, for messages.

    Raises:
        TypeError: a container has other entries, or is of another kind.
    """
    found = {(): (families, tree)}
    for path in paths:
        for depth in range(len(path)):
            if path[: depth + 1] not in found:
                above = path[:depth]
                container, part = found[above]
                for entry, child in _children(container, label, part, root + above).items():
                    found[(*above, entry)] = container[entry], child
    return [found[path][1] for path in paths]


def _children(container: Any, label: str, tree: Any, path: Path) -> dict[Any, Any]:
    """Return the parts of `tree` for the entries of a container of `families`."""
    entries = list(container) if isinstance(container, Mapping) else list(range(len(container)))
    names = list(getattr(container, "_fields", entries))
    if has_names(tree):
        got = list(tree.keys())
        for known in (names, names_in_data(container)):
            if len(got) == len(known) and all(name in got for name in known):
                return {entry: tree[name] for entry, name in zip(entries, known, strict=True)}
    elif isinstance(tree, (tuple, list)) and not isinstance(container, Mapping):
        got = list(range(len(tree)))
        if len(got) == len(names):
            return dict(enumerate(tree))
    else:
        raise TypeError(f"{label}{place(path)} must hold {names}, got {type(tree).__name__}")
    raise TypeError(f"{label}{place(path)} must hold {names}, got {got}")
