"""Several families as one joint distribution over a pytree: the actions of a policy with several heads.

`families` is a pytree whose leaves, the heads, are families; `params` is the matching pytree of their parameters. The
containers are dicts, tuples, lists and NamedTuples; where `families` has a dict or a NamedTuple, `params` and values
may have a TensorDict. A single family is the pytree of one head, and is treated as its own verbs treat it.

The heads are independent, but in a `chain`, where the parameters of a head are a function of the values of the earlier
ones: log p(x, y) = log p(x) + log p(y | x). A chain is a head like any other.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import optree
import torch
from torch import Tensor

from functional_dists import divergence, pretanh, random  # noqa: F401 (the last for the examples)
from functional_dists.family import (
    BoundFamily,
    as_dicts,
    as_params,
    from_pickle,
    is_tensordict,
    leaf_key,
    sample_keys,
    sum_event,
    to_pickle,
)
from functional_dists.random import Shape, Source, size_of

__all__ = [
    "Chain",
    "Head",
    "cdf",
    "chain",
    "conditional_entropy",
    "conditional_kl",
    "deterministic",
    "entropy",
    "has",
    "icdf",
    "kl",
    "log_prob",
    "log_prob_pretanh",
    "mean",
    "median",
    "mode",
    "pick",
    "pretanh_of_point",
    "rsample",
    "rsample_and_log_prob",
    "rsample_pretanh",
    "sample",
    "sample_and_log_prob",
]


# ------------------------------------------------------------------------------------------------------------- chains
class Head(NamedTuple):
    """A member of a `chain`.

    family: A family, or a pytree of families.
    params: A function of the chain's parameters and of a dict of the earlier values by name, which returns the head's
        parameters. Without it they are `params[name]` of the chain's parameters. Values that are scored may have
        leading sample axes, over which it then has to broadcast.
    """

    family: Any
    params: Callable[[Any, dict[str, Any]], Any] | None = None


@dataclass(frozen=True, eq=False)
class Chain:
    """Heads of which each depends on the values of the earlier ones; made by `chain`."""

    heads: tuple[tuple[str, Head], ...]

    def __repr__(self) -> str:
        return f"chain({', '.join(name for name, _ in self.heads)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _chain_again, tuple((name, _map_families(to_pickle, head)) for name, head in self.heads)


def chain(**heads: Head) -> Chain:
    """Make a joint distribution whose heads depend on the values of the earlier ones.

    Args:
        heads: `Head`s by name, in the order in which they are drawn.

    Returns:
        What every function here takes for a family: its parameters are whatever the functions of the heads take, its
        values are dicts by the names of the heads.

    Raises:
        TypeError: something is no `Head`.

    >>> from functional_dists import categorical, masked_categorical
    >>> allowed = torch.tensor([[True, False, False], [False, True, True]])  # which targets a unit can reach
    >>> order = chain(
    ...     unit=Head(categorical),
    ...     target=Head(masked_categorical, lambda params, earlier: (params["target"], pick(allowed, earlier["unit"]))),
    ... )
    >>> params = {"unit": (torch.zeros(2),), "target": torch.zeros(3)}
    >>> sample(random.key(42), order, params)
    {'unit': tensor(0), 'target': tensor(0)}
    >>> log_prob(order, params, {"unit": torch.tensor([1, 1, 1]), "target": torch.tensor([0, 1, 2])})
    tensor([   -inf, -1.3863, -1.3863])
    """
    for name, head in heads.items():
        if not isinstance(head, Head):
            raise TypeError(f"{name} must be a Head, got {type(head).__name__}")
    return Chain(tuple(heads.items()))


def pick(table: Tensor, index: Tensor) -> Tensor:
    """Return the row of a table that an earlier head chose, such as the mask or the parameters of a later one.

    Under vmap PyTorch does not index by a tensor without axes; this does.

    Args:
        table: Of shape (*batch, rows, columns).
        index: Integers of shape (*sample, *batch).

    Returns:
        A tensor of shape (*sample, *batch, columns).

    >>> pick(torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([1, 0, 1]))
    tensor([[4, 5, 6],
            [1, 2, 3],
            [4, 5, 6]])
    """
    batch = torch.broadcast_shapes(table.shape[:-2], index.shape)
    rows = index.expand(batch)[..., None, None]
    return torch.take_along_dim(table.expand(*batch, *table.shape[-2:]), rows, -2).squeeze(-2)


def _chain_again(*heads: tuple[str, Head]) -> Chain:
    return Chain(tuple((name, _map_families(from_pickle, head)) for name, head in heads))


def _map_families(function: Callable[[Any], Any], head: Head) -> Head:
    return head._replace(family=optree.tree_map(function, head.family, namespace="torch"))


# -------------------------------------------------------------------------------------------------------------- draws
def sample(key: Source, families: Any, params: Any, *, sample_shape: Shape = ()) -> Any:
    """Draw a value of every head, cut from the graph.

    A head draws from `fold_in(key, hash of its path)`, so that its draw does not change with the other heads; a single
    family draws from `key` itself. A chain with a `sample_shape` draws each of its samples from a key of its own.

    Args:
        key: A uint64 key tensor of shape (2,) (`random.key`); a batch of them (*K, 2), where K are the leading axes of
            the batch of every head; or a `torch.Generator`, which is advanced head by head.
        families: A pytree of families.
        params: The pytree of their parameters: at every head `Params`, a tuple or a mapping.
        sample_shape: The axes to put before the parameters' shape, one independent draw each.

    Returns:
        The values, in the containers of `families`.

    Raises:
        TypeError: `params` has not the structure of `families`, or lacks a parameter.

    >>> from functional_dists import categorical, tanh_normal
    >>> families = {"steer": tanh_normal, "gear": categorical}
    >>> params = {"steer": (torch.zeros(4, 2), 1.0), "gear": (torch.zeros(4, 6),)}
    >>> {name: value.shape for name, value in sample(random.key(42), families, params).items()}
    {'steer': torch.Size([4, 2]), 'gear': torch.Size([4])}
    """
    return _drawn(_sample, key, families, params, sample_shape)[0]


def rsample(key: Source, families: Any, params: Any, *, sample_shape: Shape = ()) -> Any:
    """Draw what `sample` draws, with the pathwise gradient of every head that has one.

    Args:
        key: A key tensor, or a `torch.Generator`.
        families: A pytree of families.
        params: The pytree of their parameters.
        sample_shape: The axes to put before the parameters' shape.

    Returns:
        The values, in the containers of `families`; those of families without `rsample` are cut from the graph.

    Raises:
        TypeError: `params` has not the structure of `families`, or lacks a parameter.

    >>> from functional_dists import categorical, normal
    >>> loc = torch.zeros((), requires_grad=True)
    >>> value = rsample(random.key(42), (normal, categorical), ((loc, 1.0), (loc * torch.ones(3),)))
    >>> [part.requires_grad for part in value]
    [True, False]
    """
    return _drawn(_rsample, key, families, params, sample_shape)[0]


def sample_and_log_prob(
    key: Source, families: Any, params: Any, *, sample_shape: Shape = (), aggregate: bool = True
) -> tuple[Any, Any]:
    """Draw what `sample` draws, with its log-probability, which alone carries a gradient, that of the score function.

    Args:
        key: A key tensor, or a `torch.Generator`.
        families: A pytree of families.
        params: The pytree of their parameters.
        sample_shape: The axes to put before the parameters' shape.
        aggregate: Whether to sum the log-probabilities, as `log_prob` does.

    Returns:
        The values, and their log-probability as `log_prob` returns it.

    Raises:
        TypeError: `params` has not the structure of `families`, or lacks a parameter.

    >>> from functional_dists import categorical
    >>> sample_and_log_prob(random.key(42), {"gear": categorical}, {"gear": (torch.zeros(6),)})[1]
    tensor(-1.7918)
    """
    value, scores = _drawn(_sample_and_log_prob, key, families, params, sample_shape)
    return value, _aggregated(scores) if aggregate else scores


def rsample_and_log_prob(
    key: Source, families: Any, params: Any, *, sample_shape: Shape = (), aggregate: bool = True
) -> tuple[Any, Any]:
    """Draw what `rsample` draws, with its log-probability.

    Args:
        key: A key tensor, or a `torch.Generator`.
        families: A pytree of families.
        params: The pytree of their parameters.
        sample_shape: The axes to put before the parameters' shape.
        aggregate: Whether to sum the log-probabilities, as `log_prob` does.

    Returns:
        The values, and their log-probability as `log_prob` returns it.

    Raises:
        TypeError: `params` has not the structure of `families`, or lacks a parameter.

    >>> from functional_dists import normal
    >>> rsample_and_log_prob(random.key(42), normal, (torch.zeros(()), 1.0))
    (tensor(-0.9702), tensor(-1.3896))
    """
    value, scores = _drawn(_rsample_and_log_prob, key, families, params, sample_shape)
    return value, _aggregated(scores) if aggregate else scores


def rsample_pretanh(key: Source, families: Any, params: Any, *, sample_shape: Shape = ()) -> tuple[Any, Any]:
    """Draw what `rsample` draws, with the values before the squashing, which `log_prob_pretanh` scores exactly.

    Args:
        key: A key tensor, or a `torch.Generator`.
        families: A pytree of families.
        params: The pytree of their parameters.
        sample_shape: The axes to put before the parameters' shape.

    Returns:
        The values, and those before the squashing; heads that squash nothing have their value in both.

    Raises:
        TypeError: `params` has not the structure of `families`, or lacks a parameter.

    >>> from functional_dists import categorical, tanh_normal
    >>> params = {"steer": (torch.zeros(2), 1.0), "gear": (torch.zeros(6),)}
    >>> value, pre = rsample_pretanh(random.key(42), {"steer": tanh_normal, "gear": categorical}, params)
    >>> torch.equal(value["steer"], tanh_normal.squash(pre["steer"], -1.0, 1.0)), pre["gear"] is value["gear"]
    (True, True)
    """
    return _drawn(_rsample_pretanh, key, families, params, sample_shape)


def _sample(family: Any, *arguments: Any, **options: Any) -> tuple[Any, Any]:
    value = family.sample(*arguments, **options)
    return value, value


def _rsample(family: Any, *arguments: Any, **options: Any) -> tuple[Any, Any]:
    value = (family.rsample if hasattr(family, "rsample") else family.sample)(*arguments, **options)
    return value, value


def _sample_and_log_prob(family: Any, key: Source, *params: Any, **options: Any) -> tuple[Any, Any]:
    if hasattr(family, "sample_and_log_prob"):
        return family.sample_and_log_prob(key, *params, **options)
    value = family.sample(key, *params, **options)
    return value, family.log_prob(*params, value)


def _rsample_and_log_prob(family: Any, key: Source, *params: Any, **options: Any) -> tuple[Any, Any]:
    if hasattr(family, "rsample_and_log_prob"):
        return family.rsample_and_log_prob(key, *params, **options)
    if hasattr(family, "rsample"):
        value = family.rsample(key, *params, **options)
        return value, family.log_prob(*params, value)
    return _sample_and_log_prob(family, key, *params, **options)


def _rsample_pretanh(family: Any, key: Source, *params: Any, **options: Any) -> tuple[Any, Any]:
    if pretanh.has_pretanh(family):
        return pretanh.rsample(key, family, family.Params(*params), **options)
    return _rsample(family, key, *params, **options)


def _drawn(draw: Callable[..., Any], key: Source, families: Any, params: Any, sample_shape: Shape) -> Any:
    def of_head(call: _Call, path: _Path, family: Any, params: Any) -> tuple[Any, Any]:
        return draw(family, leaf_key(call.key, path), *params, sample_shape=call.sample_shape)

    return _run(_Call(of_head, ("params",), key, size_of(sample_shape, "sample_shape")), families, (params,), ())


# ------------------------------------------------------------------------------------------------------------ scoring
def log_prob(families: Any, params: Any, value: Any, *, aggregate: bool = True) -> Any:
    """Return the log-probability of a value.

    Args:
        families: A pytree of families.
        params: The pytree of their parameters.
        value: The pytree of their values, which may have leading sample axes, all of them the same.
        aggregate: Whether to sum over the heads. Their log-probabilities are first summed over the axes that come after
            those which all of them share: of shapes (B,) and (B, agents) to (B,).

    Returns:
        A tensor of the leading shape that the heads share; without `aggregate` the pytree of the heads' own.

    Raises:
        TypeError: `params` or `value` has not the structure of `families`, or a parameter is missing.

    >>> from functional_dists import categorical
    >>> families = {"unit": categorical, "orders": categorical}
    >>> params = {"unit": (torch.zeros(4, 2),), "orders": (torch.zeros(4, 3, 2),)}
    >>> value = {"unit": torch.zeros(4, dtype=torch.int64), "orders": torch.ones(4, 3, dtype=torch.int64)}
    >>> log_prob(families, params, value)
    tensor([-2.7726, -2.7726, -2.7726, -2.7726])
    """
    return _scored("log_prob", families, params, value, aggregate)


def log_prob_pretanh(families: Any, params: Any, value: Any, pre: Any, *, aggregate: bool = True) -> Any:
    """Return the log-probability of what `rsample_pretanh` draws: exact, as heads that squash score what they squash.

    A head that is bound to relaxed draws scores a relaxed vector, as its `rsample` draws one.

    Args:
        families: A pytree of families.
        params: The pytree of their parameters.
        value: The pytree of their values, which the later heads of a chain see.
        pre: The pytree of the values before the squashing; where a head has None its value is scored.
        aggregate: Whether to sum over the heads, as `log_prob` does.

    Returns:
        What `log_prob` returns.

    Raises:
        TypeError: `params`, `value` or `pre` has not the structure of `families`, or a parameter is missing.

    >>> from functional_dists import tanh_normal
    >>> value, pre = rsample_pretanh(random.key(42), [tanh_normal], [(torch.full((1,), 20.0), 1.0)])
    >>> log_prob_pretanh([tanh_normal], [(torch.full((1,), 20.0), 1.0)], value, pre)
    tensor(37.5167)
    """

    def of_head(call: _Call, path: _Path, family: Any, params: Any, value: Any, pre: Any) -> tuple[Any, Any]:
        if pre is None or not pretanh.has_pretanh(family):
            return value, log_prob_verb(family, path)(*params, value)
        return value, family.log_prob_pretanh(*params, pre)

    found = _run(_Call(of_head, ("params",)), families, (params,), (value, pre))[1]
    return _aggregated(found) if aggregate else found


def pretanh_of_point(families: Any, params: Any, value: Any, name: str) -> Any:
    """Return the values before the squashing of what `mode`, `deterministic` and so on give.

    Args:
        families: A pytree of families.
        params: The pytree of their parameters.
        value: The pytree of their values.
        name: Which point it is, as the deterministic action is known before the squashing.

    Returns:
        The values before the squashing, in the containers of `families`; None where a head squashes nothing.

    Raises:
        TypeError: `params` or `value` has not the structure of `families`, or a parameter is missing.

    >>> from functional_dists import tanh_normal
    >>> params = [(torch.full((1,), 20.0), 1.0)]
    >>> pretanh_of_point([tanh_normal], params, deterministic([tanh_normal], params), "deterministic")
    [tensor([20.])]
    """

    def of_head(call: _Call, path: _Path, family: Any, params: Any, value: Any) -> tuple[Any, Any]:
        return value, pretanh.of_value(family, params, value, name) if pretanh.has_pretanh(family) else None

    return _run(_Call(of_head, ("params",)), families, (params,), (value,))[1]


def entropy(families: Any, params: Any, *, aggregate: bool = True) -> Any:
    """Return the entropy in nats, which for independent heads is the sum of theirs.

    Args:
        families: A pytree of families.
        params: The pytree of their parameters.
        aggregate: Whether to sum the entropies, as `log_prob` does.

    Returns:
        A tensor of the leading shape that the heads share; without `aggregate` the pytree of the heads' own.

    Raises:
        NotImplementedError: a family has none; or a head is a chain, see `conditional_entropy`.
        TypeError: `params` has not the structure of `families`, or lacks a parameter.

    >>> from functional_dists import categorical
    >>> entropy((categorical, categorical), ((torch.zeros(2),), (torch.zeros(3),)))
    tensor(1.7918)
    """
    found = _at_heads("entropy", families, params, "conditional_entropy takes the values of the earlier heads")
    return _aggregated(found) if aggregate else found


def conditional_entropy(families: Any, params: Any, value: Any, *, aggregate: bool = True) -> Any:
    """Return the entropy, in chains that of every head given the earlier values.

    Over values drawn from the chain its expectation is the entropy of the joint distribution. Without a chain it is
    `entropy`.

    Args:
        families: A pytree of families.
        params: The pytree of their parameters.
        value: The pytree of their values.
        aggregate: Whether to sum the entropies, as `log_prob` does.

    Returns:
        What `log_prob` returns of the same arguments, of entropies.

    Raises:
        NotImplementedError: a family has none.
        TypeError: `params` or `value` has not the structure of `families`, or a parameter is missing.

    >>> from functional_dists import categorical
    >>> draws = chain(first=Head(categorical), second=Head(categorical, lambda params, earlier: params["first"]))
    >>> params, first = {"first": (torch.zeros(2),)}, torch.tensor(0)
    >>> conditional_entropy(draws, params, {"first": first, "second": first})
    tensor(1.3863)
    """

    def of_head(call: _Call, path: _Path, family: Any, params: Any, value: Any) -> tuple[Any, Any]:
        return value, _verb(family, "entropy", path)(*params)

    return _conditional(of_head, families, (params,), value, aggregate)


def kl(families: Any, p: Any, q: Any, *, aggregate: bool = True) -> Any:
    """Return the Kullback-Leibler divergence KL(p || q) in nats, which for independent heads is the sum of theirs.

    Args:
        families: A pytree of families.
        p: The pytree of the parameters of the first distribution.
        q: The pytree of the parameters of the second one.
        aggregate: Whether to sum the divergences, as `log_prob` does.

    Returns:
        A tensor of the leading shape that the heads share; without `aggregate` the pytree of the heads' own.

    Raises:
        NotImplementedError: a family has none; or a head is a chain, see `conditional_kl`.
        TypeError: `p` or `q` has not the structure of `families`, or lacks a parameter.

    >>> from functional_dists import normal
    >>> p, q = ((torch.zeros(()), 1.0), (torch.zeros(()), 1.0)), ((1.0, 1.0), (2.0, 1.0))
    >>> kl((normal, normal), p, q)
    tensor(2.5000)
    """
    _refuse_chains(families, "kl", "conditional_kl takes the values of the earlier heads")
    found = _run(_Call(_kl_of_head, ("p", "q")), families, (p, q), ())[1]
    return _aggregated(found) if aggregate else found


def conditional_kl(families: Any, p: Any, q: Any, value: Any, *, aggregate: bool = True) -> Any:
    """Return the Kullback-Leibler divergence KL(p || q), in chains that of every head given the earlier values.

    Over values drawn from p its expectation is the divergence of the joint distributions. Without a chain it is `kl`.

    Args:
        families: A pytree of families.
        p: The pytree of the parameters of the first distribution.
        q: The pytree of the parameters of the second one.
        value: The pytree of their values.
        aggregate: Whether to sum the divergences, as `log_prob` does.

    Returns:
        What `log_prob` returns of the same arguments, of divergences.

    Raises:
        NotImplementedError: a family has none.
        TypeError: `p`, `q` or `value` has not the structure of `families`, or a parameter is missing.

    >>> from functional_dists import normal
    >>> walk = chain(x=Head(normal), y=Head(normal, lambda params, earlier: (earlier["x"], params["x"][1])))
    >>> p, q = {"x": (torch.zeros(()), torch.ones(()))}, {"x": (torch.ones(()), torch.ones(()))}
    >>> conditional_kl(walk, p, q, {"x": torch.tensor(0.5), "y": torch.tensor(0.5)})
    tensor(0.5000)
    """
    return _conditional(_kl_of_head, families, (p, q), value, aggregate)


def cdf(families: Any, params: Any, value: Any) -> Any:
    """Return the cumulative probability of every element; in a chain given the earlier values.

    Args:
        families: A pytree of families.
        params: The pytree of their parameters.
        value: The pytree of their values.

    Returns:
        The probabilities, in the containers of `families`.

    Raises:
        NotImplementedError: a family has no `cdf`.
        TypeError: `params` or `value` has not the structure of `families`, or a parameter is missing.

    >>> from functional_dists import normal
    >>> cdf({"x": normal}, {"x": (torch.zeros(2), 1.0)}, {"x": torch.zeros(2)})
    {'x': tensor([0.5000, 0.5000])}
    """
    return _scored("cdf", families, params, value, aggregate=False)


def icdf(families: Any, params: Any, value: Any) -> Any:
    """Return the quantile of every element; in a chain given the earlier quantiles, which inverts `cdf`.

    Args:
        families: A pytree of families.
        params: The pytree of their parameters.
        value: The pytree of probabilities.

    Returns:
        The values, in the containers of `families`.

    Raises:
        NotImplementedError: a family has no `icdf`.
        TypeError: `params` or `value` has not the structure of `families`, or a parameter is missing.

    >>> from functional_dists import normal
    >>> icdf({"x": normal}, {"x": (torch.ones(2), 1.0)}, {"x": torch.full((2,), 0.5)})
    {'x': tensor([1., 1.])}
    """

    def of_head(call: _Call, path: _Path, family: Any, params: Any, value: Any) -> tuple[Any, Any]:
        quantile = _verb(family, "icdf", path)(*params, value)
        return quantile, quantile

    return _run(_Call(of_head, ("params",)), families, (params,), (value,))[1]


# ------------------------------------------------------------------------------------------------------------- points
def mode(families: Any, params: Any) -> Any:
    """Return the value of the highest probability or density of every head.

    In a chain each head takes its mode given those of the earlier ones, which need not be the mode of all together.

    Args:
        families: A pytree of families.
        params: The pytree of their parameters.

    Returns:
        The values, in the containers of `families`.

    Raises:
        NotImplementedError: a family has no `mode`.
        TypeError: `params` has not the structure of `families`, or lacks a parameter.

    >>> from functional_dists import categorical, normal
    >>> mode([categorical, normal], [(torch.tensor([0.0, 1.0]),), (torch.ones(()), 1.0)])
    [tensor(1), tensor(1.)]
    """
    return _at_heads("mode", families, params)


def deterministic(families: Any, params: Any) -> Any:
    """Return what a policy plays when it does not explore; a chain plays head by head.

    Args:
        families: A pytree of families.
        params: The pytree of their parameters.

    Returns:
        The values, in the containers of `families`.

    Raises:
        NotImplementedError: a family has no `deterministic`.
        TypeError: `params` has not the structure of `families`, or lacks a parameter.

    >>> from functional_dists import tanh_normal
    >>> deterministic({"steer": tanh_normal}, {"steer": (torch.tensor([0.0, 9.0]), 1.0)})
    {'steer': tensor([0.0000, 1.0000])}
    """
    return _at_heads("deterministic", families, params)


def mean(families: Any, params: Any) -> Any:
    """Return the mean of every head.

    Args:
        families: A pytree of families.
        params: The pytree of their parameters.

    Returns:
        The means, in the containers of `families`.

    Raises:
        NotImplementedError: a family has no `mean`; or a head is a chain.
        TypeError: `params` has not the structure of `families`, or lacks a parameter.

    >>> from functional_dists import normal
    >>> mean({"x": normal}, {"x": (torch.ones(2), 1.0)})
    {'x': tensor([1., 1.])}
    """
    return _at_heads("mean", families, params, "average draws instead")


def median(families: Any, params: Any) -> Any:
    """Return the median of every element of every head.

    Args:
        families: A pytree of families.
        params: The pytree of their parameters.

    Returns:
        The medians, in the containers of `families`.

    Raises:
        NotImplementedError: a family has no `median`; or a head is a chain.
        TypeError: `params` has not the structure of `families`, or lacks a parameter.

    >>> from functional_dists import normal
    >>> median({"x": normal}, {"x": (torch.ones(2), 1.0)})
    {'x': tensor([1., 1.])}
    """
    return _at_heads("median", families, params, "take it of draws instead")


def has(families: Any, verb: str) -> bool:
    """Say whether every head has a verb: whether the function of that name here would find what it asks for.

    >>> from functional_dists import categorical, normal
    >>> has({"x": normal, "n": categorical}, "mode"), has({"x": normal, "n": categorical}, "mean")
    (True, False)
    """
    if isinstance(families, Chain):
        return verb not in _NOT_OF_CHAINS and all(has(head.family, verb) for _, head in families.heads)
    if _is_head(families):
        return hasattr(families, verb)
    return all(has(part, verb) for part in optree.tree_leaves(families, is_leaf=_is_head, namespace="torch"))


# ---------------------------------------------------------------------------------------------------------- the heads
_Path = tuple[Any, ...]
_NOT_OF_CHAINS = ("entropy", "kl", "mean", "median")


class _Call(NamedTuple):
    """What is done at every head."""

    # of_head(call, path, family, *params, *value) returns the head's value, for the later ones, and the result.
    of_head: Callable[..., tuple[Any, Any]]
    labels: tuple[str, ...]  # what the messages call the pytrees of parameters
    key: Any = None
    sample_shape: tuple[int, ...] = ()


def _run(call: _Call, families: Any, params: tuple[Any, ...], value: tuple[Any, ...], path: _Path = ()) -> Any:
    """Return the values and the results of all heads, each in the containers of `families`.

    `params` holds as many pytrees as there are labels, `value` one or none.
    """
    if isinstance(families, Chain):
        return _run_chain(call, families, params, value, path)
    if hasattr(families, "Params"):
        own = (_params_of(families, label, tree, path) for label, tree in zip(call.labels, params, strict=True))
        return call.of_head(call, path, families, *own, *value)
    paths, heads, structure = optree.tree_flatten_with_path(families, is_leaf=_is_head, namespace="torch")
    if paths == [()]:
        raise TypeError(f"families{_at(path)} must hold families, got {type(families).__name__}")
    labels = (*call.labels, *("value" for _ in value))
    trees = zip(labels, params + value, strict=True)
    rows = zip(*(_parts(families, paths, label, tree, path) for label, tree in trees), strict=True)
    found = [
        _run(call, head, row[: len(params)], row[len(params) :], path + own)
        for own, head, row in zip(paths, heads, rows, strict=True)
    ]
    return tuple(optree.tree_unflatten(structure, [pair[i] for pair in found]) for i in range(2))


def _run_chain(call: _Call, families: Chain, params: tuple[Any, ...], value: tuple[Any, ...], path: _Path) -> Any:
    if call.sample_shape:
        return _run_chain_often(call, families, params, value, path)
    names = [name for name, _ in families.heads]
    given = [_entries(dict(families.heads), names, "value", tree, path) for tree in value]
    values: dict[str, Any] = {}
    results: dict[str, Any] = {}
    for (name, head), *own in zip(families.heads, *given, strict=True):
        place = (*path, name)
        if head.params is None:
            of_head = tuple(_entry(name, label, tree, path) for label, tree in zip(call.labels, params, strict=True))
        else:
            of_head = tuple(head.params(tree, dict(values)) for tree in params)
        values[name], results[name] = _run(call, head.family, of_head, tuple(own), place)
    return values, results


def _run_chain_often(call: _Call, families: Chain, params: tuple[Any, ...], value: tuple[Any, ...], path: _Path) -> Any:
    """Draw once per sample: so the functions of the heads meet values without the axes of the samples."""

    def once(key: Source) -> Any:
        return _run(call._replace(key=key, sample_shape=()), families, params, value, path)

    count = math.prod(call.sample_shape)
    lanes = max(count, 1)  # vmap needs one
    if isinstance(call.key, Tensor):
        drawn = torch.vmap(once, in_dims=call.key.ndim - 1)(sample_keys(call.key, path, lanes))
    else:
        drawn = torch.vmap(lambda _: once(call.key), randomness="different")(torch.empty(lanes))
    return optree.tree_map(lambda leaf: leaf[:count].unflatten(0, call.sample_shape), drawn, namespace="torch")


def _is_head(node: Any) -> bool:
    return isinstance(node, Chain) or hasattr(node, "Params")


def _params_of(family: Any, label: str, given: Any, path: _Path) -> Any:
    try:
        return as_params(family.Params, given)
    except TypeError as error:
        raise TypeError(f"{label}{_at(path)}: {error}") from None


def _parts(families: Any, paths: Sequence[_Path], label: str, tree: Any, path: _Path) -> list[Any]:
    """Return the part of a pytree at each of `paths`; its containers must be like those of `families`."""
    if paths == [()]:
        return [tree]
    rest: dict[Any, list[_Path]] = {}
    for entry, *deeper in paths:
        rest.setdefault(entry, []).append(tuple(deeper))
    below = zip(rest.items(), _entries(families, list(rest), label, tree, path), strict=True)
    return [
        part
        for (entry, deeper), child in below
        for part in _parts(families[entry], deeper, label, child, (*path, entry))
    ]


def _entries(families: Any, entries: Sequence[Any], label: str, tree: Any, path: _Path) -> list[Any]:
    """Return the parts of a pytree for the entries of the container `families`."""
    fields = getattr(families, "_fields", None)
    names = [fields[entry] for entry in entries] if fields else list(entries)
    if isinstance(tree, Mapping) or is_tensordict(tree):
        got = list(tree.keys())
        if len(got) == len(names) and all(name in got for name in names):
            return [tree[name] for name in names]
    elif isinstance(tree, (tuple, list)) and not isinstance(families, Mapping):
        got = list(range(len(tree)))
        if len(got) == len(names):
            return list(tree)
    else:
        raise TypeError(f"{label}{_at(path)} must hold {names}, got {type(tree).__name__}")
    raise TypeError(f"{label}{_at(path)} must hold {names}, got {got}")


def _entry(name: str, label: str, tree: Any, path: _Path) -> Any:
    if not (isinstance(tree, Mapping) or is_tensordict(tree)) or name not in tree.keys():  # noqa: SIM118
        raise TypeError(f"{label}{_at(path)} must have an entry {name!r}, as that head has no function of its own")
    return tree[name]


def _verb(family: Any, name: str, path: _Path) -> Any:
    verb = getattr(family, name, None)
    if verb is None:
        raise NotImplementedError(f"the family{_at(path)}, {_name(family)}, has no {name}")
    return verb


def log_prob_verb(family: Any, path: _Path = ()) -> Any:
    """Return the verb that scores what `rsample` of the family draws, which may be bound to draw relaxed vectors.

    >>> from functional_dists import bind, one_hot_categorical
    >>> log_prob_verb(bind(one_hot_categorical, gradient="relaxed")).__name__
    'log_prob_relaxed'
    """
    is_relaxed = isinstance(family, BoundFamily) and family.fixed.get("gradient") == "relaxed"
    return _verb(family, "log_prob_relaxed" if is_relaxed else "log_prob", path)


def _at(path: _Path) -> str:
    return f" at {_joined(path)!r}" if path else ""


def _joined(path: _Path) -> str:
    return "/".join(str(entry) for entry in path)


def _name(family: Any) -> str:
    return getattr(family, "__name__", None) or repr(family)


# ------------------------------------------------------------------------------------------------- what is done there
def _scored(name: str, families: Any, params: Any, value: Any, aggregate: bool) -> Any:
    def of_head(call: _Call, path: _Path, family: Any, params: Any, value: Any) -> tuple[Any, Any]:
        return value, _verb(family, name, path)(*params, value)

    found = _run(_Call(of_head, ("params",)), families, (params,), (value,))[1]
    return _aggregated(found) if aggregate else found


def _at_heads(name: str, families: Any, params: Any, instead: str = "") -> Any:
    def of_head(call: _Call, path: _Path, family: Any, params: Any) -> tuple[Any, Any]:
        found = _verb(family, name, path)(*params)
        return found, found

    if name in _NOT_OF_CHAINS:
        _refuse_chains(families, name, instead)
    return _run(_Call(of_head, ("params",)), families, (params,), ())[1]


def _kl_of_head(call: _Call, path: _Path, family: Any, p: Any, q: Any, *value: Any) -> tuple[Any, Any]:
    try:
        return (*value, None)[0], divergence.kl((family, p), (family, q))
    except NotImplementedError as error:
        raise NotImplementedError(f"the family{_at(path)}: {error}") from None


def _conditional(
    of_head: Callable[..., tuple[Any, Any]], families: Any, params: tuple[Any, ...], value: Any, aggregate: bool
) -> Any:
    def of_head_per_sample(call: _Call, path: _Path, family: Any, *arguments: Any) -> tuple[Any, Any]:
        """Give the first head of a chain the sample axes too, which only the parameters of the later ones have."""
        value, found = of_head(call, path, family, *arguments)
        like = family.log_prob(*arguments[0], value)
        return value, optree.tree_map(lambda part, scores: part.expand_as(scores), found, like, namespace="torch")

    per_head = of_head if _first_chain(families) is None else of_head_per_sample
    found = _run(_Call(per_head, ("params",) if len(params) == 1 else ("p", "q")), families, params, (value,))[1]
    return _aggregated(found) if aggregate else found


def _refuse_chains(families: Any, name: str, instead: str) -> None:
    path = _first_chain(families)
    if path is not None:
        raise NotImplementedError(f"the {name} of the chain{_at(path)} has no closed form; {instead}")


def _first_chain(families: Any) -> _Path | None:
    paths, heads, _ = optree.tree_flatten_with_path(families, is_leaf=_is_head, namespace="torch")
    return next((path for path, head in zip(paths, heads, strict=True) if isinstance(head, Chain)), None)


def _aggregated(scores: Any) -> Tensor:
    """Add up scores, each summed over the axes that come after those which all of them share."""
    if isinstance(scores, Tensor):
        return scores
    leaves = optree.tree_leaves(as_dicts(scores), namespace="torch")
    if not leaves:
        raise TypeError("families holds no family")
    shared = 0
    while all(len(leaf.shape) > shared and leaf.shape[shared] == leaves[0].shape[shared] for leaf in leaves):
        shared += 1
    total = sum_event(leaves[0], leaves[0].ndim - shared)
    for leaf in leaves[1:]:
        total = total + sum_event(leaf, leaf.ndim - shared)
    return total
