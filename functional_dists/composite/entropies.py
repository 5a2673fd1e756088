"""Entropy and Kullback-Leibler divergence of joint distributions, and for chains their conditional forms."""

from typing import Any

import optree
import torch  # noqa: F401 (for the examples)

from functional_dists.composite.arguments import documented
from functional_dists.composite.structure import first_chain, place
from functional_dists.composite.sums import aggregated
from functional_dists.composite.verbs import per_head, refuse_chains, verb_of
from functional_dists.composite.visit import HeadCall, Visit
from functional_dists.divergence import kl as kl_of_families


@documented
def entropy(families: Any, params: Any, *, aggregate: bool = True) -> Any:
    """Return the entropy in nats, the sum of the entropies of the heads.

    Returns:
        A tensor of the leading shape that the heads share; without `aggregate` a pytree with a tensor for every head.

    Raises:
        NotImplementedError: a family has no entropy, or a head is a chain; see `conditional_entropy`.

    >>> from functional_dists import categorical
    >>> entropy((categorical, categorical), ((torch.zeros(2),), (torch.zeros(3),)))
    tensor(1.7918)
    """
    return aggregated(per_head("entropy", families, params), aggregate)


@documented
def conditional_entropy(families: Any, params: Any, value: Any, *, aggregate: bool = True) -> Any:
    """Return the entropy, in a chain the sum of the entropies of the heads given the earlier values.

    Over values drawn from the chain its expectation is the entropy of the joint distribution. Without a chain it is
    `entropy`.

    Returns:
        Entropies in the shapes that `log_prob` returns for the same arguments.

    Raises:
        NotImplementedError: a family has no entropy.

    >>> from functional_dists import categorical
    >>> from functional_dists.composite import Head, chain
    >>> draws = chain(first=Head(categorical), second=Head(categorical, lambda params, earlier: params["first"]))
    >>> params, first = {"first": (torch.zeros(2),)}, torch.tensor(0)
    >>> conditional_entropy(draws, params, {"first": first, "second": first})
    tensor(1.3863)
    """

    def at_head(call: HeadCall, family: Any, params: Any, value: Any) -> tuple[Any, Any]:
        return value, verb_of(family, "entropy", call.path)(*params)

    return aggregated(_conditional(Visit(at_head), families, (params,), value), aggregate)


@documented
def kl(families: Any, p: Any, q: Any, *, aggregate: bool = True) -> Any:
    """Return the Kullback-Leibler divergence KL(p || q) in nats, the sum of the divergences of the heads.

    Returns:
        A tensor of the leading shape that the heads share; without `aggregate` a pytree with a tensor for every head.

    Raises:
        NotImplementedError: a family has no divergence, or a head is a chain; see `conditional_kl`.

    >>> from functional_dists import normal
    >>> p, q = ((torch.zeros(()), 1.0), (torch.zeros(()), 1.0)), ((1.0, 1.0), (2.0, 1.0))
    >>> kl((normal, normal), p, q)
    tensor(2.5000)
    """
    refuse_chains(families, "kl")
    return aggregated(Visit(_kl_at_head, ("p", "q"))(families, (p, q))[1], aggregate)


@documented
def conditional_kl(families: Any, p: Any, q: Any, value: Any, *, aggregate: bool = True) -> Any:
    """Return the Kullback-Leibler divergence KL(p || q), in a chain that of the heads given the earlier values.

    Over values drawn from p its expectation is the divergence of the joint distributions. Without a chain it is `kl`.

    Returns:
        Divergences in the shapes that `log_prob` returns for the same value.

    Raises:
        NotImplementedError: a family has no divergence.

    >>> from functional_dists import normal
    >>> from functional_dists.composite import Head, chain
    >>> walk = chain(x=Head(normal), y=Head(normal, lambda params, earlier: (earlier["x"], params["x"][1])))
    >>> p, q = {"x": (torch.zeros(()), torch.ones(()))}, {"x": (torch.ones(()), torch.ones(()))}
    >>> conditional_kl(walk, p, q, {"x": torch.tensor(0.5), "y": torch.tensor(0.5)})
    tensor(0.5000)
    """
    return aggregated(_conditional(Visit(_kl_at_head, ("p", "q")), families, (p, q), value), aggregate)


def _kl_at_head(call: HeadCall, family: Any, p: Any, q: Any, value: Any = None) -> tuple[Any, Any]:
    try:
        return value, kl_of_families((family, p), (family, q))
    except NotImplementedError as error:
        raise NotImplementedError(f"the family{place(call.path)}: {error}") from None


def _conditional(visit: Visit, families: Any, params: tuple[Any, ...], value: Any) -> Any:
    def at_head(call: HeadCall, family: Any, *arguments: Any) -> tuple[Any, Any]:
        """Expand to the sample axes of the value: the parameters of the first head of a chain do not have them."""
        value, found = visit.at_head(call, family, *arguments)
        like = family.log_prob(*arguments[0], value)
        return value, optree.tree_map(lambda part, scores: part.expand_as(scores), found, like, namespace="torch")

    return (visit if first_chain(families) is None else Visit(at_head, visit.labels))(families, params, (value,))[1]
