"""The step that holds a distribution: it reads the parameters, draws, and writes the value and its log-probability."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import optree
import torch
from torch import Tensor

from functional_dists import composite, random
from functional_dists.policy import keys, layout
from functional_dists.policy.interaction import InteractionType, as_type, resolve
from functional_dists.policy.keys import Key
from functional_dists.random import Source
from functional_dists.tree import as_params, fnv1a, is_tensordict

__all__ = ["ProbabilisticModule"]

_POINTS = (InteractionType.MODE, InteractionType.MEAN, InteractionType.MEDIAN, InteractionType.DETERMINISTIC)


@dataclass(frozen=True, eq=False, init=False)
class ProbabilisticModule:
    """A step that draws from a family, whose parameters are in the data, or plays a point of it.

    A draw has the pathwise gradient where the family has one, and its log-probability is scored from the noise. The
    key of the draw is `fold_in(key, h)`, h the FNV-1a-64 hash of `out_keys`; a Generator is used as it is.

    Args:
        family: A family, what `bind` gives, or a composite of several: a pytree of families, or a `composite.chain`.
        in_keys: Where the parameters are. Of a single family a list of keys, the last part of each of which is the name
            of the parameter, or a dict from parameter to key. Of a pytree of families either one key, under which the
            pytree of parameters lies, or a pytree with the in_keys of a head in its place. Of a chain keys too, whose
            values the chain gets as a dict by their last parts. A string stands for all parameters under one key.
        out_keys: Where the value goes: one key, for a composite one for each head in the order in which the heads were
            written, or in the shape of `family`. Default, for a composite: the paths of the heads.
        default_interaction_type: What is played where neither the call nor a context says.
        return_log_prob: Whether to write the log-probability of the value too, summed over heads.
        log_prob_key: Where.
        cache_dist: Whether to write copies of the parameters too, under `params_key`, by their names and below the
            paths of their heads: those of the policy that acted, when the data meet a later one.
        n_empirical_estimate: How many draws stand for a mean that the family does not have.
        num_samples: Of how many draws to write, as leading axes; a TensorDict is expanded to them.
        skip_existing: Whether to leave values that are in the data already; a missing log-probability is still written.
        params_key: See `cache_dist`.

    Raises:
        TypeError: something is no family, or no key.
        ValueError: the keys do not fit the family.

    >>> from functional_dists import tanh_normal
    >>> act = ProbabilisticModule(tanh_normal, ["loc", "scale"], ["action"], return_log_prob=True)
    >>> data = {"loc": torch.zeros(4, 2), "scale": torch.ones(4, 2)}
    >>> after = act((), random.key(42), data, interaction_type="random")
    >>> after["action"].shape, after["sample_log_prob"].shape
    (torch.Size([4, 2]), torch.Size([4]))
    >>> act.entropy((), data).shape
    torch.Size([4])
    """

    family: Any
    in_keys: tuple[Key, ...]
    out_keys: tuple[Key, ...]  # all that is written: of the values, and of what goes with them
    action_keys: tuple[Key, ...]
    default_interaction_type: InteractionType
    return_log_prob: bool
    log_prob_key: Key
    cache_dist: bool
    n_empirical_estimate: int
    sample_shape: tuple[int, ...]
    skip_existing: bool
    params_key: Key
    _readers: dict[layout.Path, layout.Reader] = field(repr=False)
    _value_keys: dict[layout.Path, Key] = field(repr=False)
    _is_single: bool = field(repr=False)
    _points: frozenset[InteractionType] = field(repr=False)  # what the family can play besides draws
    _salt: int = field(repr=False)
    _given: tuple[Any, ...] = field(repr=False)  # to make another one of

    def __init__(
        self,
        family: Any,
        in_keys: Any,
        out_keys: Any = None,
        *,
        default_interaction_type: Any = "mode",
        return_log_prob: bool = False,
        log_prob_key: Any = "sample_log_prob",
        cache_dist: bool = False,
        n_empirical_estimate: int = 1000,
        num_samples: int | Sequence[int] | None = None,
        skip_existing: bool = True,
        params_key: Any = "dist_params",
    ) -> None:
        found = layout.readers(family, in_keys)
        value_keys = layout.value_keys(family, out_keys)
        action_keys = tuple(value_keys.values())
        log_prob_key, params_key = keys.as_key(log_prob_key), keys.as_key(params_key)
        also = (log_prob_key,) * return_log_prob + (params_key,) * cache_dist
        options = {
            "default_interaction_type": as_type(default_interaction_type),
            "return_log_prob": return_log_prob,
            "log_prob_key": log_prob_key,
            "cache_dist": cache_dist,
            "n_empirical_estimate": n_empirical_estimate,
            "skip_existing": skip_existing,
            "params_key": params_key,
        }
        self.__dict__.update(
            options,
            family=family,
            in_keys=tuple(dict.fromkeys(key for reader in found.values() for key in reader.in_keys)),
            action_keys=action_keys,
            out_keys=action_keys + also,
            sample_shape=_shape(num_samples),
            _readers=found,
            _value_keys=value_keys,
            _is_single=layout.is_single(family),
            _points=frozenset(point for point in _POINTS if composite.has(family, point.value)),
            _salt=fnv1a(",".join("/".join(keys.path_of(key)) for key in action_keys)),
            _given=(in_keys, out_keys, {**options, "num_samples": num_samples}),
        )

    @property
    def drawn_keys(self) -> tuple[Key, ...]:
        """The keys that a step which draws writes, here all of them."""
        return self.out_keys

    def __call__(self, params: Any, key: Source | None, data: Any, *, interaction_type: Any = None) -> Any:
        """Return the data with a value, and with what goes with it.

        Args:
            params: `()`, as the step has none.
            key: A key, or a `torch.Generator`; None where nothing is drawn.
            data: A dict or TensorDict that has the in_keys.
            interaction_type: What to play; an `InteractionType` or its name.

        Returns:
            The same kind of data.

        Raises:
            KeyError: the data lack a parameter.
            NotImplementedError: the family cannot give what is to be played.
            TypeError: there is something to draw and no key.
        """
        if self.skip_existing and self._has_actions(data):
            return self._with_missing_log_prob(params, data)
        of_dist = self._params(data)
        played = resolve(interaction_type, self.default_interaction_type)
        log_prob = None
        if played is not InteractionType.RANDOM:
            value = self._point(played, key, of_dist)
            if self.return_log_prob:
                log_prob = self._verb("log_prob", of_dist, value)
        elif self.return_log_prob:
            value, log_prob = self._draw("rsample_and_log_prob", self._source(key), of_dist, self.sample_shape)
        else:
            value = self._draw("rsample", self._source(key), of_dist, self.sample_shape)
        entries = self._entries_of(value)
        if log_prob is not None:
            entries.append((self.log_prob_key, log_prob))
        if self.cache_dist:
            for path, reader in self._readers.items():
                entries += reader.copied(data, (*keys.path_of(self.params_key), *map(str, path)))
        if self.sample_shape and is_tensordict(data):
            data = data.expand(*self.sample_shape, *data.batch_size)
        return keys.put(data, entries)

    # -------------------------------------------------------------------------------------------------------- scoring
    def dist_params(self, params: Any, data: Any) -> Any:
        """Return the parameters in the data: `Params` of the family, of a composite the pytree of them."""
        return self._params(data)

    def log_prob(self, params: Any, data: Any) -> Tensor:
        """Return the log-probability of the value in the data.

        Raises:
            KeyError: the data lack the value or a parameter.
        """
        return self._verb("log_prob", self._params(data), self._actions(data))

    def entropy(self, params: Any, data: Any) -> Tensor:
        """Return the entropy; of a chain that of each head given the earlier values in the data."""
        of_dist = self._params(data)
        if self._is_single or composite.has(self.family, "entropy"):
            return self._verb("entropy", of_dist)
        return composite.conditional_entropy(self.family, of_dist, self._actions(data))

    def dist(self, params: Any, data: Any) -> Any:
        """Return the distribution as a `torch.distributions.Distribution`.

        Of a composite that is a `CompositeDistribution` by `action_keys`, which needs tensordict.

        Raises:
            NotImplementedError: there is a chain, whose heads have no distribution without the earlier values.
        """
        from functional_dists import distributions  # here, as few programs need it

        of_dist = self._params(data)
        if self._is_single:
            return distributions.wrap(self.family, *of_dist)
        if layout.holds_chain(self.family):
            raise NotImplementedError(f"{self.family!r} has no distribution object, as its heads depend on values")
        from tensordict import TensorDict

        families = {path: _part(self.family, path) for path in self._value_keys}
        parts = {
            key: distributions.wrap(families[path], *as_params(families[path].Params, _part(of_dist, path)))
            for path, key in self._value_keys.items()
        }
        batch = _shared_prefix([part.batch_shape for part in parts.values()])
        return distributions.CompositeDistribution.from_distributions(TensorDict({}, batch), parts)

    # ----------------------------------------------------------------------------------------------------- the family
    def _verb(self, name: str, of_dist: Any, *value: Any) -> Any:
        if self._is_single:
            return getattr(self.family, name)(*of_dist, *value)
        return getattr(composite, name)(self.family, of_dist, *value)

    def _draw(self, name: str, source: Source, of_dist: Any, sample_shape: tuple[int, ...]) -> Any:
        if self._is_single and hasattr(self.family, name):
            return getattr(self.family, name)(source, *of_dist, sample_shape=sample_shape)
        return getattr(composite, name)(source, self.family, of_dist, sample_shape=sample_shape)

    def _source(self, key: Source | None) -> Source:
        if isinstance(key, Tensor):
            return random.fold_in(key, self._salt)
        if key is None:
            raise TypeError(f"a key is needed to draw {self.action_keys}, got None")
        return random.checked_source(key)

    def _point(self, played: InteractionType, key: Source | None, of_dist: Any) -> Any:
        if played in self._points:
            value = self._verb(played.value, of_dist)
        elif played is InteractionType.MEAN and (estimate := self._estimated_mean(key, of_dist)) is not None:
            value = estimate
        else:
            can = ["RANDOM", *(point.name for point in _POINTS if point in self._points)]
            raise NotImplementedError(f"{self.family!r} has no {played.value}; the step can play {can}")
        if not self.sample_shape:
            return value
        return optree.tree_map(lambda leaf: leaf.expand(*self.sample_shape, *leaf.shape), value, namespace="torch")

    def _estimated_mean(self, key: Source | None, of_dist: Any) -> Any:
        """Return the mean of draws; None where these are labels, which have no mean."""
        draws = self._draw("rsample", self._source(key), of_dist, (self.n_empirical_estimate,))
        if not all(leaf.is_floating_point() for leaf in optree.tree_leaves(draws, namespace="torch")):
            return None
        return optree.tree_map(lambda leaf: leaf.mean(0), draws, namespace="torch")

    # -------------------------------------------------------------------------------------------------------- the data
    def _params(self, data: Any) -> Any:
        if self._is_single:
            return self._readers[()].read(data)
        return layout.build(self.family, lambda path: self._readers[path].read(data), stop=self._readers.__contains__)

    def _has_actions(self, data: Any) -> bool:
        return all(keys.find(data, key) is not None for key in self.action_keys)

    def _actions(self, data: Any) -> Any:
        if self._is_single:
            return keys.get(data, self.action_keys[0])
        return layout.build(self.family, lambda path: keys.get(data, self._value_keys[path]), stop=_nowhere)

    def _entries_of(self, value: Any) -> list[tuple[Key, Any]]:
        if self._is_single:
            return [(self.action_keys[0], value)]
        return [(key, _part(value, path)) for path, key in self._value_keys.items()]

    def _with_missing_log_prob(self, params: Any, data: Any) -> Any:
        if not self.return_log_prob or keys.find(data, self.log_prob_key) is not None:
            return data
        return keys.put(data, [(self.log_prob_key, self.log_prob(params, data))])

    def __reduce__(self) -> tuple[Any, ...]:
        in_keys, out_keys, options = self._given
        return _again, (layout.to_pickle(self.family), in_keys, out_keys, options)


def _again(family: Any, in_keys: Any, out_keys: Any, options: dict[str, Any]) -> ProbabilisticModule:
    return ProbabilisticModule(layout.from_pickle(family), in_keys, out_keys, **options)


def _shape(num_samples: int | Sequence[int] | None) -> tuple[int, ...]:
    if num_samples is None:
        return ()
    return (num_samples,) if isinstance(num_samples, int) else tuple(num_samples)


def _shared_prefix(shapes: list[torch.Size]) -> list[int]:
    return [sizes[0] for sizes in itertools.takewhile(lambda sizes: len(set(sizes)) == 1, zip(*shapes, strict=False))]


def _nowhere(path: layout.Path) -> bool:
    return False


def _part(value: Any, path: layout.Path) -> Any:
    for name in path:
        value = value[name]
    return value
