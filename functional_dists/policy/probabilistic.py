"""The step that holds a distribution: it reads the parameters, draws, and writes the value and its log-probability."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import optree
from torch import Tensor

import functional_dists.composite as composite
from functional_dists.composite.chains import families_from_pickle, families_to_pickle
from functional_dists.composite.pretanh import check_score_options
from functional_dists.composite.structure import first_chain, is_single, parts
from functional_dists.composite.sums import shared_shape
from functional_dists.composite.verbs import is_relaxed, log_prob_verb
from functional_dists.family import as_params, fnv1a, is_tensordict
from functional_dists.family.reprs import call, changed, shown
from functional_dists.policy import keys, layout
from functional_dists.policy.actions import actions, checked_mask_keys
from functional_dists.policy.interaction import InteractionType, as_type, resolve
from functional_dists.policy.keys import Key
from functional_dists.policy.readers import Reader, readers
from functional_dists.policy.storage import Storage, storage_of
from functional_dists.random.entries import size_of
from functional_dists.random.keys import Source, checked_source, fold_in

_POINTS = (InteractionType.MODE, InteractionType.MEAN, InteractionType.MEDIAN, InteractionType.DETERMINISTIC)


@dataclass(frozen=True, eq=False, init=False)
class ProbabilisticModule:
    """A step that draws from a family whose parameters are in the data, or plays a point of it such as the mode.

    A draw has the pathwise gradient where the family has one. The key of the draw is `fold_in(key, h)`, where h is the
    FNV-1a-64 hash of the keys of the values. A `torch.Generator` is used as it is.

    The step writes the log-probability of the action as stored. `log_prob` of the resulting data returns the same bits,
    so the first ratio of PPO is 1. Its gradient passes through the parameters and through the draw. Near a bound the
    rounding of a stored action loses digits. Two options avoid that loss. `log_prob_of="noise"` scores the noise of
    the draw, for losses that differentiate through the step and store nothing (SAC). `keep_pretanh=True` also stores
    the value before the squashing, and `log_prob` then scores that value.

    Args:
        family: A family, a bound family, or a composite: a pytree of families or a `composite.chain`.
        in_keys: The keys of the parameters. For a single family: a list of keys, whose last parts are the names of the
            parameters, or a dict from parameter to key. For a pytree of families: one key, which holds the pytree of
            parameters, or a pytree with the in_keys of each head in its place. For a chain: keys; the chain gets a dict
            of their values by their last parts. A string is the key that holds all parameters.
        out_keys: The keys of the values: one for a single family; for a composite one for each head, in the order in
            which the heads were written, or in nested dicts with the names of the heads. Default, for a composite: the
            paths of the heads.
        default_interaction_type: What to play if neither the call nor a context says. Default: the mode, as in
            TorchRL's ProbabilisticModule. (`actor` draws by default, as TorchRL's ProbabilisticActor does.)
        return_log_prob: Whether to write the log-probability of the value, summed over the heads.
        log_prob_key: The key of the log-probability.
        log_prob_of: What to score: "value", the action as stored, or "noise", the noise of the draw.
        keep_pretanh: Whether to write the values before the squashing under ("pretanh", *key of the action), and to
            score these where the data have them. Code that replaces a stored action must delete its entry.
        spec: The action space, of gymnasium or of torchrl: a composite, or the space of the first action. Outcome k of
            a discrete family is stored as the action `start + k`, and scored as outcome k.
        safe: Whether to project draws onto the spec before the step scores them as stored. The score of the noise or of
            the value before the squashing remains that of the draw.
        mask_keys: With `safe`, the keys of the masks of valid actions: one key, for the first action, or a dict by
            action key.
        cache_dist: Whether to write the parameters again, under `params_key`, by their names and below the paths of
            their heads. They remain those of the policy that acted when a later policy reads the data.
        n_empirical_estimate: The number of draws that estimate a mean which the family does not have.
        num_samples: An int or a sequence: the leading axes of independent draws. A TensorDict is expanded to them.
        skip_existing: Whether to leave values that are in the data already. A missing log-probability is still written.
        params_key: The key for `cache_dist`.

    Raises:
        TypeError: an argument is not a family, a key or a spec.
        ValueError: the keys or the spec do not fit the family, or two options contradict each other.

    >>> import torch
    >>> from functional_dists import random, tanh_normal
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
    out_keys: tuple[Key, ...]  # of all that is written
    action_keys: tuple[Key, ...]
    default_interaction_type: InteractionType
    return_log_prob: bool
    log_prob_key: Key
    log_prob_of: str
    keep_pretanh: bool
    mask_keys: dict[Key, Key]
    cache_dist: bool
    n_empirical_estimate: int
    sample_shape: tuple[int, ...]
    skip_existing: bool
    params_key: Key
    _readers: tuple[Reader, ...]
    _reader_tree: Any  # the readers in the containers of the family
    _storage_tree: Any  # the storages in the containers of the family, with a dict for a chain
    _storages: tuple[Storage, ...]  # in the order of `action_keys`
    _is_single: bool
    _is_relaxed: bool  # whether a head is bound to relaxed draws
    _points: frozenset[InteractionType]  # the points that all heads have
    _number: int  # what is folded into the key
    _pickled: tuple[Any, ...]  # the arguments after `family`

    def __init__(
        self,
        family: Any,
        in_keys: Any,
        out_keys: Any = None,
        *,
        default_interaction_type: Any = "mode",
        return_log_prob: bool = False,
        log_prob_key: Any = "sample_log_prob",
        log_prob_of: str = "value",
        keep_pretanh: bool = False,
        spec: Any = None,
        safe: bool = False,
        mask_keys: Any = None,
        cache_dist: bool = False,
        n_empirical_estimate: int = 1000,
        num_samples: int | Sequence[int] | None = None,
        skip_existing: bool = True,
        params_key: Any = "dist_params",
    ) -> None:
        check_score_options(log_prob_of, keep_pretanh)
        heads = layout.heads(family)
        value_keys = layout.value_keys(list(heads), out_keys)
        action_keys = tuple(value_keys.values())
        masks = checked_mask_keys(mask_keys, action_keys, spec, safe)
        by_key = {value_keys[path]: head for path, head in heads.items()}
        converted = {} if spec is None else actions(spec, by_key, safe, masks)
        stored = {
            path: storage_of(path, head, value_keys[path], converted.get(value_keys[path]), keep_pretanh)
            for path, head in heads.items()
        }
        reader_tree = readers(family, in_keys)
        own_readers = tuple(layout.leaves_as_written(reader_tree).values())
        read_keys = [key for reader in own_readers for key in reader.in_keys]
        pretanh_keys = [head.pretanh_key for head in stored.values() if head.pretanh_key is not None]
        if keep_pretanh and not pretanh_keys:
            got = [*heads.values()]
            raise ValueError(f"keep_pretanh=True needs a family that squashes, such as tanh_normal, got {shown(got)}")
        options = {
            "default_interaction_type": as_type(default_interaction_type),
            "return_log_prob": return_log_prob,
            "log_prob_key": keys.as_key(log_prob_key),
            "log_prob_of": log_prob_of,
            "keep_pretanh": keep_pretanh,
            "cache_dist": cache_dist,
            "n_empirical_estimate": n_empirical_estimate,
            "skip_existing": skip_existing,
            "params_key": keys.as_key(params_key),
        }
        also = [options["log_prob_key"]] * return_log_prob + [options["params_key"]] * cache_dist
        spec_options = {"num_samples": num_samples, "spec": spec, "safe": safe, "mask_keys": mask_keys}
        self.__dict__.update(
            options,
            family=family,
            in_keys=tuple(dict.fromkeys([*read_keys, *masks.values()])),
            out_keys=(*action_keys, *pretanh_keys, *also),
            action_keys=action_keys,
            mask_keys=masks,
            sample_shape=() if num_samples is None else size_of(num_samples, "num_samples"),
            _readers=own_readers,
            _reader_tree=reader_tree,
            _storages=tuple(stored.values()),
            _storage_tree=layout.map_heads(lambda path, head: stored[path], family),
            _is_single=is_single(family),
            _is_relaxed=any(map(is_relaxed, heads.values())),
            _points=frozenset(point for point in _POINTS if composite.has(family, point.value)),
            _number=fnv1a(",".join("/".join(keys.path_of(key)) for key in action_keys)),
            _pickled=(in_keys, out_keys, {**options, **spec_options}),
        )

    def __repr__(self) -> str:
        in_keys, out_keys, options = self._pickled
        keys_given = [in_keys] if out_keys is None else [in_keys, out_keys]
        return call("ProbabilisticModule", self.family, *keys_given, **changed(ProbabilisticModule, options))

    @property
    def drawn_keys(self) -> tuple[Key, ...]:
        """The keys that are written because the step draws: all of them."""
        return self.out_keys

    def __call__(self, params: Any, key: Source | None, data: Any, *, interaction_type: Any = None) -> Any:
        """Return the data with a value, and with the other entries of `out_keys`.

        Args:
            params: `()`, as the step has no parameters.
            key: A key, or a `torch.Generator`; None where nothing is drawn.
            data: A dict or TensorDict that has the in_keys.
            interaction_type: What to play: an `InteractionType` or its name.

        Returns:
            The same kind of data.

        Raises:
            KeyError: the data lack a parameter.
            NotImplementedError: the family does not have the point to play.
            TypeError: a key is needed, and there is none.
        """
        if self.skip_existing and all(keys.find(data, name) is not None for name in self.action_keys):
            return self._with_missing_log_prob(params, data)
        dist_params = self.dist_params(params, data)
        value, pre, log_prob = self._played(resolve(interaction_type, self.default_interaction_type), key, dist_params)
        entries = [(head.key, head.stored(_part(value, head), data)) for head in self._storages]
        if any(head.action is not None for head in self._storages):
            value = self._value(dict(entries).__getitem__)
        if self.sample_shape and is_tensordict(data):
            data = data.expand(*self.sample_shape, *data.batch_size)
            if self.return_log_prob and log_prob is None:
                dist_params = self.dist_params(params, data)
        if pre is not None:
            entries += [(head.pretanh_key, _part(pre, head)) for head in self._storages if head.pretanh_key is not None]
        if self.return_log_prob:
            entries.append((self.log_prob_key, self._score(dist_params, value, pre) if log_prob is None else log_prob))
        if self.cache_dist:
            for reader in self._readers:
                entries += reader.copied(data, self.params_key)
        return keys.put(data, entries)

    # -------------------------------------------------------------------------------------------------------- scoring
    def dist_params(self, params: Any, data: Any) -> Any:
        """Return the parameters in the data: `Params` of the family, of a composite the pytree of parameters."""
        return self._mapped(lambda reader: reader.read(data), self._reader_tree)

    def log_prob(self, params: Any, data: Any) -> Tensor:
        """Return the log-probability of the value in the data, with `keep_pretanh` that of its pre-tanh value.

        Raises:
            KeyError: the data lack the value or a parameter.
        """
        value = self._value(lambda key: keys.get(data, key))
        has_pretanh = any(head.pretanh_in(data) is not None for head in self._storages)
        pre = self._mapped(lambda head: head.pretanh_in(data), self._storage_tree) if has_pretanh else None
        return self._score(self.dist_params(params, data), value, pre)

    def entropy(self, params: Any, data: Any) -> Tensor:
        """Return the entropy; of a chain that of each head given the earlier values in the data."""
        dist_params = self.dist_params(params, data)
        if self._is_single or composite.has(self.family, "entropy"):
            return self._verb("entropy", dist_params)
        value = self._value(lambda key: keys.get(data, key))
        return composite.conditional_entropy(self.family, dist_params, value)

    def dist(self, params: Any, data: Any) -> Any:
        """Return the distribution of the actions as a `torch.distributions.Distribution`.

        For a composite it is a `CompositeDistribution` by `action_keys`, which needs tensordict.

        Raises:
            NotImplementedError: there is a chain, whose heads have no distribution without the earlier values.
        """
        from functional_dists.distributions import wrap  # here, as few programs need it

        dist_params = self.dist_params(params, data)
        if self._is_single:
            return wrap(self._storage_tree.family, *dist_params)
        if first_chain(self.family) is not None:
            raise NotImplementedError(f"{shown(self.family)} has no distribution object, as its heads depend on values")
        from tensordict import TensorDict

        from functional_dists.distributions.composite import CompositeDistribution

        own = parts(self.family, [head.path for head in self._storages], "params", dist_params)
        dists = {
            head.key: wrap(head.family, *as_params(head.family.Params, given))
            for head, given in zip(self._storages, own, strict=True)
        }
        batch = shared_shape([dist.batch_shape for dist in dists.values()])
        return CompositeDistribution.from_distributions(TensorDict({}, batch), dists)

    # ----------------------------------------------------------------------------------------------------- the family
    def _verb(self, name: str, dist_params: Any) -> Any:
        if self._is_single:
            return getattr(self.family, name)(*dist_params)
        return getattr(composite, name)(self.family, dist_params)

    def _score(self, dist_params: Any, value: Any, pre: Any = None) -> Tensor:
        """Return the log-probability of a value, or of its pre-tanh value where that is known."""
        if not self._is_single:
            if pre is None and not self._is_relaxed:
                return composite.log_prob(self.family, dist_params, value)
            pre = self._mapped(lambda head: None, self._storage_tree) if pre is None else pre
            return composite.log_prob_pretanh(self.family, dist_params, value, pre)
        if pre is not None:
            return self.family.log_prob_pretanh(*dist_params, pre)
        return log_prob_verb(self.family)(*dist_params, value)

    def _played(self, played: InteractionType, key: Source | None, dist_params: Any) -> tuple[Any, Any, Any]:
        """Return what is played, and where they are asked for its pre-tanh value and its score from the noise."""
        if played is not InteractionType.RANDOM:
            value = self._point(played, key, dist_params)
            if not self.keep_pretanh:
                return value, None, None
            return value, composite.pretanh_of_point(self.family, dist_params, value, played.value), None
        if self.keep_pretanh:
            return *self._draw("rsample_pretanh", key, dist_params, self.sample_shape), None
        if self.return_log_prob and self.log_prob_of == "noise":
            value, log_prob = self._draw("rsample_and_log_prob", key, dist_params, self.sample_shape)
            return value, None, log_prob
        return self._draw("rsample", key, dist_params, self.sample_shape), None, None

    def _draw(self, name: str, key: Source | None, dist_params: Any, sample_shape: tuple[int, ...]) -> Any:
        if key is None:
            raise TypeError(f"a key is needed to draw {self.action_keys}, got None")
        own = fold_in(key, self._number) if isinstance(key, Tensor) else checked_source(key)
        if self._is_single and hasattr(self.family, name):
            return getattr(self.family, name)(own, *dist_params, sample_shape=sample_shape)
        return getattr(composite, name)(own, self.family, dist_params, sample_shape=sample_shape)

    def _point(self, played: InteractionType, key: Source | None, dist_params: Any) -> Any:
        if played in self._points:
            value = self._verb(played.value, dist_params)
        else:
            value = self._estimated_mean(key, dist_params) if played is InteractionType.MEAN else None
        if value is None:
            can = ["RANDOM", *(point.name for point in _POINTS if point in self._points)]
            raise NotImplementedError(f"{shown(self.family)} has no {played.value}; the step can play {can}")
        if not self.sample_shape:
            return value
        return optree.tree_map(lambda leaf: leaf.expand(*self.sample_shape, *leaf.shape), value, namespace="torch")

    def _estimated_mean(self, key: Source | None, dist_params: Any) -> Any:
        """Return the mean of draws; None where draws are labels, which have no mean."""
        draws = self._draw("rsample", key, dist_params, (self.n_empirical_estimate,))
        if not all(leaf.is_floating_point() for leaf in optree.tree_leaves(draws, namespace="torch")):
            return None
        return optree.tree_map(lambda leaf: leaf.mean(0), draws, namespace="torch")

    # -------------------------------------------------------------------------------------------------------- the data
    def _mapped(self, function: Callable[[Any], Any], tree: Any) -> Any:
        """Call a function on every reader or storage; without optree's overhead for a single family."""
        return function(tree) if self._is_single else optree.tree_map(function, tree, namespace="torch")

    def _value(self, stored: Callable[[Key], Any]) -> Any:
        """Return the value that the family scores, from what is stored at each key."""
        return self._mapped(lambda head: head.outcome(stored(head.key)), self._storage_tree)

    def _with_missing_log_prob(self, params: Any, data: Any) -> Any:
        if not self.return_log_prob or keys.find(data, self.log_prob_key) is not None:
            return data
        projected = [
            (head.key, head.action.nearest(keys.get(data, head.key), data))
            for head in self._storages
            if head.action is not None and head.action.project is not None
        ]
        data = keys.put(data, projected)
        return keys.put(data, [(self.log_prob_key, self.log_prob(params, data))])

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (families_to_pickle(self.family), *self._pickled)


def _unpickled(family: Any, in_keys: Any, out_keys: Any, options: dict[str, Any]) -> ProbabilisticModule:
    return ProbabilisticModule(families_from_pickle(family), in_keys, out_keys, **options)


def _part(value: Any, head: Storage) -> Any:
    for entry in head.path:
        value = value[entry]
    return value
