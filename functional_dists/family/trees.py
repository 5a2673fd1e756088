"""Parameters that are pytrees: a verb runs for each leaf, and each leaf draws from its own key."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import optree
import torch
import torch.utils._cxx_pytree  # makes the leaves of a dict keep their order in optree, as `torch.compile` does
from torch import Tensor

from functional_dists.family.reprs import shown
from functional_dists.family.specification import Specification
from functional_dists.random import Source, keys, reuse, split

__all__ = ["as_dicts", "fnv1a", "has_pytree", "is_number", "is_tensordict", "leaf_key", "map_leaves", "sum_leaves"]

_NUMBERS = (int, float, np.number, np.bool_, torch.SymInt, torch.SymFloat)


def is_number(argument: Any) -> bool:
    """Return whether this is a number; `torch.compile` represents a NumPy number as a 0-d array."""
    return isinstance(argument, _NUMBERS) or (isinstance(argument, np.ndarray) and argument.ndim == 0)


def has_pytree(arguments: Sequence[Any]) -> bool:
    """Return whether an argument is neither a tensor nor a number."""
    for argument in arguments:  # three times as fast as `any` of a generator
        if not isinstance(argument, Tensor) and type(argument) is not float and not is_number(argument):
            return True
    return False


def sum_leaves(tree: Any) -> Tensor:
    """Return the sum of the leaves of a pytree of tensors, such as the log-prob of a whole from those of its parts.

    >>> sum_leaves({"arm": torch.ones(2), "leg": torch.ones(2)})
    tensor([2., 2.])
    """
    return cast(Tensor, optree.tree_sum(as_dicts(tree), namespace="torch"))


def map_leaves(
    spec: Specification,
    on_leaf: Callable[..., Any],
    key: tuple[Source, ...],
    arguments: Sequence[Any],
    options: dict[str, Any],
) -> Any:
    """Run `on_leaf` for every leaf of the widest argument; the others are prefixes of it."""
    trees = [as_dicts(argument) for argument in arguments]
    sizes = [len(optree.tree_leaves(tree, namespace="torch")) for tree in trees]
    widest = max(range(len(trees)), key=sizes.__getitem__)
    paths, _, structure = optree.tree_flatten_with_path(trees[widest], namespace="torch")
    columns = [_broadcast_prefix(spec, name, tree, trees[widest]) for name, tree in zip(spec.names, trees, strict=True)]
    results = []
    for path, *row in zip(paths, *columns, strict=True):
        _check_leaves(spec, row)
        results.append(on_leaf(tuple(leaf_key(k, path) for k in key), row, options))

    def gather(leaves: list[Any]) -> Any:
        return _like_tensordicts(arguments[widest], optree.tree_unflatten(structure, leaves), options)

    if results and isinstance(results[0], tuple):
        return tuple(gather(list(part)) for part in zip(*results, strict=True))
    return gather(results)


def _broadcast_prefix(spec: Specification, name: str, prefix: Any, tree: Any) -> list[Any]:
    """Return one leaf of `prefix` for each leaf of `tree`."""
    try:
        repeated = optree.tree_map(
            lambda leaf, subtree: [leaf] * len(optree.tree_leaves(subtree, namespace="torch")),
            prefix,
            tree,
            namespace="torch",
        )
    except ValueError:
        raise ValueError(
            f"{spec.name}: the structure of {name}, {shown(prefix)}, is neither that of the widest argument, "
            f"{shown(tree)}, nor a prefix of it"
        ) from None
    return optree.tree_leaves(repeated, namespace="torch")


def _check_leaves(spec: Specification, row: Sequence[Any]) -> None:
    for name, leaf in zip(spec.names, row, strict=True):
        if not isinstance(leaf, Tensor) and not is_number(leaf):
            cure = "; call torch.as_tensor on it" if isinstance(leaf, np.ndarray) else ""
            raise TypeError(f"{spec.name}: {name} must hold tensors or numbers, got {type(leaf).__name__}{cure}")


# --------------------------------------------------------------------------------------------------- keys of the leaves
def leaf_key(key: Source, path: tuple[Any, ...]) -> Source:
    """Return the key of the leaf at `path`; a Generator is returned itself, and leaves draw from it in their order."""
    if not path:
        return key
    if not isinstance(key, Tensor) and isinstance(key, torch.Generator):  # this order can be traced
        return key
    reuse.consume(keys.checked_key(key), path, reuse.LEAF)
    return keys.child(key, fnv1a("/".join(str(entry) for entry in path)))


def sample_keys(key: Tensor, path: tuple[Any, ...], num: int) -> Tensor:
    """Return `num` sample keys for the part of a pytree at `path`; its leaves derive their keys from these."""
    if path:
        reuse.consume(keys.checked_key(key), ("samples", path), reuse.LEAF)
        return keys.children(key, num)
    return split(key, num)


def fnv1a(text: str) -> int:
    """Return the 64-bit FNV-1a hash of `text` (Fowler, Noll and Vo; RFC 9923).

    >>> hex(fnv1a("a"))
    '0xaf63dc4c8601ec8c'
    """
    digest = 0xCBF29CE484222325
    for byte in list(text.encode()):  # a list, as `torch.compile` of torch 2.11 does not iterate over bytes
        digest = (digest ^ byte) * 0x100000001B3 & (2**64 - 1)
    return digest


# ---------------------------------------------------------------------------------------------------------- TensorDicts
# The pytree form of a TensorDict numbers its entries and keeps its batch size. But paths need the names of the entries,
# and a log-prob or a sample has another batch size. So TensorDicts become dicts, and the results become TensorDicts.
def is_tensordict(node: Any) -> bool:
    """Return whether `node` is a TensorDict, without importing tensordict."""
    if isinstance(node, (dict, list, tuple)):  # `torch.compile` refuses `hasattr` of an OrderedDict in torch 2.15
        return False
    return hasattr(node, "batch_size") and hasattr(node, "to_dict")


def as_dicts(tree: Any) -> Any:
    """Return `tree` with every TensorDict replaced by a dict."""
    if isinstance(tree, Tensor) or is_number(tree):
        return tree
    return optree.tree_map(
        lambda node: node.to_dict() if is_tensordict(node) else node, tree, is_leaf=is_tensordict, namespace="torch"
    )


def _like_tensordicts(tree: Any, result: Any, options: dict[str, Any]) -> Any:
    """Return `result` with a TensorDict where `tree` has one."""

    def like(node: Any, part: Any) -> Any:
        if not is_tensordict(node):
            return part
        shapes = [leaf.shape for leaf in optree.tree_leaves(part, namespace="torch")]
        most = len(node.batch_size) + len(options.get("sample_shape", ()))
        shared = 0
        while shared < most and all(len(s) > shared and s[shared] == shapes[0][shared] for s in shapes):
            shared += 1
        return type(node)(part, batch_size=shapes[0][:shared])

    return optree.tree_map(like, tree, result, is_leaf=is_tensordict, namespace="torch")
