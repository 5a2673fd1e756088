"""The verbs of the heads: whether all heads have one, and its results for every head."""

from collections.abc import Callable
from typing import Any

import optree

from functional_dists.composite.structure import Path, first_chain, is_single, opened, place
from functional_dists.composite.visit import HeadCall, Visit
from functional_dists.family import BoundFamily, name_of

# What a chain has no closed form for, and what to do instead.
_NOT_OF_CHAINS = {
    "entropy": "conditional_entropy takes the values of the earlier heads",
    "kl": "conditional_kl takes the values of the earlier heads",
    "mean": "average draws instead",
    "median": "take the median of draws instead",
}


def has(families: Any, verb: str) -> bool:
    """Say whether every head has a verb, so that the function of that name here works.

    >>> from functional_dists import categorical, normal
    >>> has({"x": normal, "n": categorical}, "mode"), has({"x": normal, "n": categorical}, "mean")
    (True, False)
    """
    if verb in _NOT_OF_CHAINS and first_chain(families) is not None:
        return False
    heads = optree.tree_leaves(opened(families), is_leaf=is_single, namespace="torch")
    return all(hasattr(head, verb) for head in heads)


def refuse_chains(families: Any, verb: str) -> None:
    """Raise a NotImplementedError if there is a chain, and chains have no such verb."""
    if verb in _NOT_OF_CHAINS and (path := first_chain(families)) is not None:
        raise NotImplementedError(f"the {verb} of the chain{place(path)} has no closed form; {_NOT_OF_CHAINS[verb]}")


def per_head(verb: str, families: Any, params: Any, *value: Any) -> Any:
    """Return what a verb returns for every head. Later heads of a chain see the value, or without one the result."""

    def at_head(call: HeadCall, family: Any, params: Any, *value: Any) -> tuple[Any, Any]:
        found = verb_of(family, verb, call.path)(*params, *value)
        return (*value, found)[0], found

    refuse_chains(families, verb)
    return Visit(at_head)(families, (params,), value)[1]


def verb_of(family: Any, name: str, path: Path) -> Callable[..., Any]:
    """Return a verb of the family at `path`, or raise a NotImplementedError."""
    verb = getattr(family, name, None)
    if verb is None:
        raise NotImplementedError(f"the family{place(path)}, {name_of(family)}, has no {name}")
    return verb


def is_relaxed(family: Any) -> bool:
    """Say whether `bind` fixed the family to relaxed draws."""
    return isinstance(family, BoundFamily) and family.fixed.get("gradient") == "relaxed"


def log_prob_verb(family: Any, path: Path = ()) -> Callable[..., Any]:
    """Return the verb that scores the draws of the family's `rsample`, which may be relaxed vectors.

    >>> from functional_dists import bind, one_hot_categorical
    >>> log_prob_verb(bind(one_hot_categorical, gradient="relaxed")).__name__
    'log_prob_relaxed'
    """
    return verb_of(family, "log_prob_relaxed" if is_relaxed(family) else "log_prob", path)
