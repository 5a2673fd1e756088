"""The walk over the heads: each gets its parameters, its key and, in a chain, the values of the earlier heads."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import optree
import torch
from torch import Tensor

from functional_dists.composite.chains import Chain
from functional_dists.composite.structure import Path, has_names, is_head, is_single, parts, place
from functional_dists.family import as_params, leaf_key, sample_keys
from functional_dists.random.keys import Source


class HeadCall(NamedTuple):
    """The path of a head, and what its draw needs."""

    path: Path
    source: Any
    sample_shape: tuple[int, ...]

    @property
    def key(self) -> Source:
        """The key of the head, or the generator of all heads."""
        return leaf_key(self.source, self.path)


class Visit(NamedTuple):
    """What to do at every head.

    at_head: A function of a `HeadCall`, the family, its parameters and what is scored. It returns the value that the
        later heads of a chain see, and the result.
    labels: The names of the pytrees of parameters in messages.
    source: The key or generator of all draws.
    sample_shape: The axes of independent draws.
    """

    at_head: Callable[..., tuple[Any, Any]]
    labels: tuple[str, ...] = ("params",)
    source: Source | None = None
    sample_shape: tuple[int, ...] = ()

    def __call__(self, families: Any, params: tuple[Any, ...], values: tuple[Any, ...] = (), path: Path = ()) -> Any:
        """Return the values and the results of all heads, both in the containers of `families`.

        Args:
            families: A pytree of families.
            params: The pytrees of parameters, one for each of the labels.
            values: The pytrees of what is scored.
            path: The path of `families` in the whole.

        Raises:
            TypeError: a pytree does not have the structure of `families`, or a parameter is missing.
        """
        if isinstance(families, Chain):
            return (self._chain_per_sample if self.sample_shape else self._chain)(families, params, values, path)
        if is_single(families):
            own = [_params_of(families, label, tree, path) for label, tree in zip(self.labels, params, strict=True)]
            return self.at_head(HeadCall(path, self.source, self.sample_shape), families, *own, *values)
        paths, heads, structure = optree.tree_flatten_with_path(families, is_leaf=is_head, namespace="torch")
        if paths == [()]:
            raise TypeError(f"families{place(path)} must hold families, got {type(families).__name__}")
        labels = (*self.labels, *("value" for _ in values))
        trees = zip(labels, params + values, strict=True)
        columns = [parts(families, paths, label, tree, path) for label, tree in trees]
        found = [
            self(head, row[: len(params)], row[len(params) :], path + own)
            for own, head, row in zip(paths, heads, zip(*columns, strict=True), strict=True)
        ]
        return tuple(optree.tree_unflatten(structure, [pair[i] for pair in found]) for i in range(2))

    def _chain(self, chain: Chain, params: tuple[Any, ...], values: tuple[Any, ...], path: Path) -> Any:
        names = [(name,) for name, _ in chain.heads]
        columns = [parts(dict(chain.heads), names, "value", tree, path) for tree in values]
        seen: dict[str, Any] = {}
        results: dict[str, Any] = {}
        for (name, head), *own in zip(chain.heads, *columns, strict=True):
            if head.params is None:
                given = [_entry(name, label, tree, path) for label, tree in zip(self.labels, params, strict=True)]
            else:
                given = [head.params(tree, dict(seen)) for tree in params]
            seen[name], results[name] = self(head.family, tuple(given), tuple(own), (*path, name))
        return seen, results

    def _chain_per_sample(self, chain: Chain, params: tuple[Any, ...], values: tuple[Any, ...], path: Path) -> Any:
        """Draw each sample under vmap, so that the functions of the heads see values without sample axes."""

        def one_sample(source: Source | None) -> Any:
            return self._replace(source=source, sample_shape=())._chain(chain, params, values, path)

        count = math.prod(self.sample_shape)
        lanes = max(count, 1)  # vmap refuses an axis of size 0
        if isinstance(self.source, Tensor):
            drawn = torch.vmap(one_sample, in_dims=self.source.ndim - 1)(sample_keys(self.source, path, lanes))
        else:
            drawn = torch.vmap(lambda _: one_sample(self.source), randomness="different")(torch.empty(lanes))
        return optree.tree_map(lambda leaf: leaf[:count].unflatten(0, self.sample_shape), drawn, namespace="torch")


def _params_of(family: Any, label: str, given: Any, path: Path) -> Any:
    try:
        return as_params(family.Params, given)
    except TypeError as error:
        raise TypeError(f"{label}{place(path)}: {error}") from None


def _entry(name: str, label: str, tree: Any, path: Path) -> Any:
    if not has_names(tree) or name not in tree.keys():  # noqa: SIM118 (a TensorDict iterates over rows)
        raise TypeError(f"{label}{place(path)} must have an entry {name!r}, as that head has no function of its own")
    return tree[name]
