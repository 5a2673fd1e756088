"""Several distributions as one over a TensorDict, with the constructor of tensordict's class, which it is a kind of."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, kl_divergence, register_kl

from functional_dists.distributions.base import FamilyDistribution, Shape, one_source, wrap
from functional_dists.family import leaf_key, sum_event
from functional_dists.random import Source, size_of

try:
    from tensordict import TensorDict, TensorDictBase, unravel_key
    from tensordict.nn import CompositeDistribution as _OfTensordict
    from tensordict.nn import composite_lp_aggregate
except ImportError as error:
    raise ImportError("CompositeDistribution needs tensordict: pip install functional_dists[tensordict]") from error

__all__ = ["CompositeDistribution"]

Name = str | tuple[Any, ...]


class CompositeDistribution(_OfTensordict):  # type: ignore[misc]
    """Independent distributions as one, whose values are TensorDicts; a mapping from the names of the values to them.

    The batch shape is that of the TensorDict of parameters, and the event shape is empty, as a value has the shape
    (*sample, *batch); the distributions have event shapes of their own. With tensordict's `set_composite_lp_aggregate`
    log-probabilities and entropies are tensors of that shape, summed over the distributions; without it they are
    TensorDicts of each one's own. No method changes its argument.

    Args:
        params: A TensorDict with one of parameters for every name in `distribution_map`. Names are strings or tuples,
            nested as tensordict takes them.
        distribution_map: A class for every name: one of this package, of TorchRL or of `torch.distributions`, or any
            function of the parameters; or a family of this package.
        name_map: Where the values are to be written. Default: the names in `distribution_map`.
        extra_kwargs: More arguments of the classes, by name.
        log_prob_key: Where the sum of the log-probabilities is written. Default: "sample_log_prob".
        entropy_key: Where the sum of the entropies is written. Default: "entropy".

    Raises:
        KeyError: a name has no parameters, or `name_map` or `extra_kwargs` has a name that `distribution_map` lacks.
        TypeError: `params` is no TensorDict.
        ValueError: two names are the same.

    >>> from functional_dists.distributions import MaskedCategorical, TanhNormal
    >>> steer = {"loc": torch.zeros(4, 2), "scale": torch.ones(4, 2)}
    >>> gear = {"logits": torch.zeros(4, 6), "mask": torch.ones(4, 6, dtype=torch.bool)}
    >>> params = TensorDict({"steer": steer, "gear": gear}, [4])
    >>> joint = CompositeDistribution(params, {"steer": TanhNormal, "gear": MaskedCategorical})
    >>> value = joint.sample((3,))
    >>> value["steer"].shape, value["gear"].shape, joint.log_prob_composite(value)["gear_log_prob"].shape
    (torch.Size([3, 4, 2]), torch.Size([3, 4]), torch.Size([3, 4]))
    """

    def __init__(
        self,
        params: TensorDictBase,
        distribution_map: Mapping[Name, Any],
        *,
        name_map: Mapping[Name, Name] | None = None,
        extra_kwargs: Mapping[Name, Mapping[str, Any]] | None = None,
        log_prob_key: Name | None = None,
        entropy_key: Name | None = None,
    ) -> None:
        if not isinstance(params, TensorDictBase):
            raise TypeError(
                f"params must be a TensorDict, whose shape is that of the batch, got {type(params).__name__}"
            )
        distribution_map = _flat_names("distribution_map", distribution_map)
        name_map = _written_names(name_map, distribution_map)
        extra_kwargs = _flat_names("extra_kwargs", extra_kwargs or {}, distribution_map)
        super().__init__(
            params,
            {name: _maker(made) for name, made in distribution_map.items()},
            name_map=name_map,
            extra_kwargs=extra_kwargs,
            log_prob_key=_flat(log_prob_key),
            entropy_key=_flat(entropy_key),
        )

    @classmethod
    def from_distributions(
        cls,
        params: TensorDictBase,
        distributions: Mapping[Name, Distribution],
        *,
        name_map: Mapping[Name, Name] | None = None,
        log_prob_key: Name | None = None,
        entropy_key: Name | None = None,
    ) -> "CompositeDistribution":
        """Make one of distributions by name.

        Args:
            params: A TensorDict of the shape of the batch; what it holds does not matter.
            distributions: Distributions by name.
            name_map: Where the values are to be written. Default: the names in `distributions`.
            log_prob_key: Where the sum of the log-probabilities is written.
            entropy_key: Where the sum of the entropies is written.

        Returns:
            A distribution of them all.

        Raises:
            KeyError: `name_map` has a name that `distributions` lacks.
            ValueError: two names are the same.
        """
        distributions = _flat_names("distributions", distributions)
        return super().from_distributions(
            params,
            distributions,
            name_map=_written_names(name_map, distributions),
            log_prob_key=_flat(log_prob_key),
            entropy_key=_flat(entropy_key),
        )

    @property
    def event_shape(self) -> Size:
        """Empty: what the values in a TensorDict have beyond its shape is theirs."""
        return Size()

    @property
    def has_rsample(self) -> bool:
        """Whether all of the distributions have pathwise gradients."""
        return all(dist.has_rsample for dist in self.dists.values())

    # ---------------------------------------------------------------------------------------------------------- draws
    # `generator` is a second name of `key`, for those who know it from PyTorch.
    def sample(
        self, sample_shape: Shape = None, *, key: Source | None = None, generator: Source | None = None
    ) -> TensorDictBase:
        """Draw values, cut from the graph; with a key those of `composite.sample`, else from the global generator."""
        return self._drawn("sample", sample_shape, one_source(key, generator))

    def rsample(
        self, sample_shape: Shape = None, *, key: Source | None = None, generator: Source | None = None
    ) -> TensorDictBase:
        """Draw values with the pathwise gradient of every distribution that has one, as `composite.rsample` does."""
        return self._drawn("rsample", sample_shape, one_source(key, generator))

    def _drawn(self, method: str, sample_shape: Shape, key: Source | None) -> TensorDictBase:
        shape = size_of(sample_shape)
        drawn = {}
        for name, dist in self.dists.items():
            draw = getattr(dist, method if dist.has_rsample else "sample")
            if key is None:
                drawn[name] = draw(shape)
            elif isinstance(dist, (FamilyDistribution, CompositeDistribution)):
                drawn[name] = draw(shape, key=leaf_key(key, name if isinstance(name, tuple) else (name,)))
            else:
                raise TypeError(f"{name}: {type(dist).__name__} takes no key, as it draws from the global generator")
        return TensorDict(drawn, shape + self.batch_shape)

    # -------------------------------------------------------------------------------------------------------- scoring
    def log_prob(self, value: TensorDictBase) -> Any:
        """Return the log-probability of values: a tensor of their shape, or what `log_prob_composite` returns."""
        if not composite_lp_aggregate():
            return self.log_prob_composite(value)
        return _sum(self._log_probs(value), value.ndim)

    def log_prob_composite(self, value: TensorDictBase, *, include_sum: bool | None = None) -> TensorDictBase:
        """Return every distribution's log-probability, of the name of the value with "_log_prob".

        Args:
            value: Values, of shape (*sample, *batch).
            include_sum: Whether their sum is there too, as `log_prob_key`. Default: `composite_lp_aggregate()`.

        Returns:
            A TensorDict of the shape of `value`, and with what that holds where `composite_lp_aggregate()`.
        """
        scores = self._log_probs(value)
        found = value.copy() if composite_lp_aggregate() else value.empty()
        return self._written(found, scores, "_log_prob", self.log_prob_key, include_sum)

    def entropy(
        self, samples_mc: int = 1, *, aggregate_probabilities: bool | None = None, include_sum: bool | None = None
    ) -> Any:
        """Return the entropy in nats: a tensor of the shape of the batch, or what `entropy_composite` returns.

        Args:
            samples_mc: How many draws estimate an entropy that a distribution has no formula for.
            aggregate_probabilities: Whether to sum. Default: `composite_lp_aggregate()`.
            include_sum: As for `entropy_composite`.

        Returns:
            A tensor or a TensorDict.
        """
        aggregate = composite_lp_aggregate() if aggregate_probabilities is None else aggregate_probabilities
        if not aggregate:
            return self.entropy_composite(samples_mc, include_sum=include_sum)
        return _sum(self._entropies(samples_mc), len(self.batch_shape))

    def entropy_composite(self, samples_mc: int = 1, *, include_sum: bool | None = None) -> TensorDictBase:
        """Return every distribution's entropy, of the name of the value with "_entropy".

        Args:
            samples_mc: How many draws estimate an entropy that a distribution has no formula for.
            include_sum: Whether their sum is there too, as `entropy_key`. Default: `composite_lp_aggregate()`.

        Returns:
            A TensorDict of the shape of the batch.
        """
        found = TensorDict({}, self.batch_shape)
        return self._written(found, self._entropies(samples_mc), "_entropy", self.entropy_key, include_sum)

    def cdf(self, value: TensorDictBase) -> TensorDictBase:
        """Return the values with their cumulative probabilities, of the name of the value with "_cdf"."""
        found = {suffixed(name, "_cdf"): dist.cdf(_at(value, name)) for name, dist in self.dists.items()}
        return value.copy().update(found)

    def icdf(self, value: TensorDictBase) -> TensorDictBase:
        """Return the quantiles, of the name of the value with "_icdf", beside what is given.

        Args:
            value: Probabilities, of the name of the value with "_cdf"; or values, whose probabilities are taken.

        Returns:
            A TensorDict of the shape of `value`.

        Raises:
            KeyError: there is neither for a distribution.
        """
        found = {}
        for name, dist in self.dists.items():
            given = value.get(suffixed(name, "_cdf"), None)
            found[suffixed(name, "_icdf")] = dist.icdf(dist.cdf(_at(value, name)) if given is None else given)
        return value.copy().update(found)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> "CompositeDistribution":
        """Return the distribution with all of its distributions expanded to a batch shape."""
        own = len(self.batch_shape)
        return self.from_distributions(
            TensorDict({}, batch_shape),
            {name: dist.expand((*batch_shape, *dist.batch_shape[own:])) for name, dist in self.dists.items()},
            log_prob_key=self.log_prob_key,
            entropy_key=self.entropy_key,
        )

    def _log_probs(self, value: TensorDictBase) -> dict[Name, Tensor]:
        return {name: dist.log_prob(_at(value, name)) for name, dist in self.dists.items()}

    def _entropies(self, samples_mc: int) -> dict[Name, Tensor]:
        return {name: _entropy(dist, samples_mc) for name, dist in self.dists.items()}

    def _written(
        self, found: TensorDictBase, scores: dict[Name, Tensor], suffix: str, sum_key: Name, include_sum: bool | None
    ) -> TensorDictBase:
        found.update({suffixed(name, suffix): score for name, score in scores.items()})
        if composite_lp_aggregate() if include_sum is None else include_sum:
            found.set(sum_key, _sum(scores, found.ndim))
        return found


@register_kl(CompositeDistribution, CompositeDistribution)  # type: ignore[untyped-decorator]
def _kl(p: CompositeDistribution, q: CompositeDistribution) -> Tensor:
    if p.dists.keys() != q.dists.keys():
        raise ValueError(f"the distributions have different values: {list(p.dists)} and {list(q.dists)}")
    return _sum({name: kl_divergence(dist, q.dists[name]) for name, dist in p.dists.items()}, len(p.batch_shape))


def _maker(made: Any) -> Callable[..., Any]:
    return functools.partial(wrap, made) if hasattr(made, "Params") else made


def _flat(name: Name | None) -> Name | None:
    """Return a name as tensordict knows it: ("a", ("b",)) is ("a", "b"), and ("a",) is "a"."""
    return None if name is None else unravel_key(name)


def _flat_names(argument: str, given: Mapping[Name, Any], known: Mapping[Name, Any] | None = None) -> dict[Name, Any]:
    """Return a mapping by flat names, which are among those known."""
    found = {unravel_key(name): value for name, value in given.items()}
    if len(found) < len(given):
        raise ValueError(f"{argument} has one name twice: {list(given)}")
    if known is not None and (unknown := [name for name in found if name not in known]):
        raise KeyError(f"{argument} has {unknown}, the distributions are {list(known)}")
    return found


def _written_names(name_map: Mapping[Name, Name] | None, known: Mapping[Name, Any]) -> dict[Name, Name] | None:
    """Return where values are written, by and with flat names."""
    if name_map is None:
        return None
    written = {name: unravel_key(other) for name, other in _flat_names("name_map", name_map, known).items()}
    if len({written.get(name, name) for name in known}) < len(known):
        raise ValueError(f"name_map writes two values to one name: {written}")
    return written


def suffixed(name: Name, suffix: str) -> Name:
    """Return the name of a value with a suffix on its last part.

    >>> suffixed(("arm", "angle"), "_log_prob")
    ('arm', 'angle_log_prob')
    """
    return name + suffix if isinstance(name, str) else (*name[:-1], name[-1] + suffix)


def _at(value: TensorDictBase, name: Name) -> Any:
    found = value.get(name, None)
    if found is None:
        raise KeyError(f"no value {name!r} among {list(value.keys(True, True))}")
    return found


def _entropy(dist: Distribution, samples_mc: int) -> Tensor:
    try:
        return dist.entropy()
    except NotImplementedError:
        draws = (dist.rsample if dist.has_rsample else dist.sample)((samples_mc,))
        return -dist.log_prob(draws).mean(0)


def _sum(scores: dict[Name, Tensor], dims: int) -> Tensor:
    """Add up scores, each summed over the axes after the first `dims`."""
    return functools.reduce(torch.add, (sum_event(score, max(score.ndim - dims, 0)) for score in scores.values()))
