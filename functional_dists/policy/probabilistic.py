"""The step that holds a distribution: it reads the parameters, draws, and writes the value and its log-probability."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optree
import torch
from torch import Tensor

from functional_dists import composite, pretanh, random
from functional_dists.family import as_params, fnv1a, is_tensordict
from functional_dists.policy import keys, layout
from functional_dists.policy.interaction import InteractionType, as_type, resolve
from functional_dists.policy.keys import Key
from functional_dists.policy.projection import Action, actions
from functional_dists.policy.shifted import Shifted
from functional_dists.random import Source

__all__ = ["ProbabilisticModule"]

_POINTS = (InteractionType.MODE, InteractionType.MEAN, InteractionType.MEDIAN, InteractionType.DETERMINISTIC)


@dataclass(frozen=True, eq=False, init=False)
class ProbabilisticModule:
    """A step that draws from a family, whose parameters are in the data, or plays a point of it.

    A draw has the pathwise gradient where the family has one. The key of the draw is `fold_in(key, h)`, h the FNV-1a-64
    hash of `out_keys`; a Generator is used as it is.

    The log-probability that is written is that of the action as stored, to the bit what `log_prob` returns for the
    data: the first ratio of PPO is 1. It differentiates as `log_prob` of the draw does, through the parameters and
    through the draw. Next to a bound a stored action has lost digits of the noise it was made of. Two options keep
    them: `log_prob_of="noise"` scores the noise, for losses that differentiate through the step and store nothing
    (SAC); and `keep_pretanh=True` stores the value before the squashing too, and `log_prob` then scores that.

    Args:
        family: A family, what `bind` gives, or a composite of several: a pytree of families, or a `composite.chain`.
        in_keys: Where the parameters are. Of a single family a list of keys, the last part of each of which is the name
            of the parameter, or a dict from parameter to key. Of a pytree of families either one key, under which the
            pytree of parameters lies, or a pytree with the in_keys of a head in its place. Of a chain keys too, whose
            values the chain gets as a dict by their last parts. A string stands for all parameters under one key.
        out_keys: Where the value goes: one key, for a composite one for each head in the order in which the heads were
            written, or in the shape of `family`. Default, for a composite: the paths of the heads.
        default_interaction_type: What is played where neither the call nor a context says. Default: the mode, as in
            TorchRL's ProbabilisticModule; that of `actor` is "random", as in TorchRL's ProbabilisticActor.
        return_log_prob: Whether to write the log-probability of the value too, summed over heads.
        log_prob_key: Where.
        log_prob_of: What is scored: "value", the action as stored, or "noise", what it was drawn from.
        keep_pretanh: Whether to write the values before the squashing too, under ("pretanh", *key of the action), and
            to score these where the data have them. Who replaces a stored action removes its entry.
        spec: The space of the actions: of gymnasium or of torchrl, a composite or that of the first action. Outcome k
            of a discrete family is stored as the action `start + k`, and scored as outcome k.
        safe: Whether to project what is drawn onto the spec, before it is scored as stored. The score of the noise, and
            that of a value before the squashing, stays that of the draw.
        mask_keys: With `safe`, the keys of masks of valid actions: one, for the first action, or a dict by action key.
        cache_dist: Whether to write copies of the parameters too, under `params_key`, by their names and below the
            paths of their heads: those of the policy that acted, when the data meet a later one.
        n_empirical_estimate: How many draws stand for a mean that the family does not have.
        num_samples: Of how many draws to write, as leading axes; a TensorDict is expanded to them.
        skip_existing: Whether to leave values that are in the data already; a missing log-probability is still written.
        params_key: See `cache_dist`.

    Raises:
        TypeError: something is no family, no key or no spec.
        ValueError: the keys or the spec do not fit the family, or the options each other.

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
    log_prob_of: str
    keep_pretanh: bool
    mask_keys: dict[Key, Key]
    cache_dist: bool
    n_empirical_estimate: int
    sample_shape: tuple[int, ...]
    skip_existing: bool
    params_key: Key
    _readers: dict[layout.Path, layout.Reader] = field(repr=False)
    _value_keys: dict[layout.Path, Key] = field(repr=False)
    _pretanh_keys: dict[layout.Path, Key] = field(repr=False)  # of the heads that squash, with `keep_pretanh`
    _actions: dict[Key, Action] = field(repr=False)  # by the keys of the actions of the spec
    _of_actions: dict[layout.Path, Any] = field(repr=False)  # families of actions, where these are not the outcomes
    _is_single: bool = field(repr=False)
    _is_relaxed: bool = field(repr=False)  # whether a head is bound to relaxed draws
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
        found = layout.readers(family, in_keys)
        value_keys = layout.value_keys(family, out_keys)
        action_keys = tuple(value_keys.values())
        heads = layout.heads(family)
        log_prob_key, params_key = keys.as_key(log_prob_key), keys.as_key(params_key)
        pretanh.check_options(log_prob_of, keep_pretanh)
        pretanh_keys = _pretanh_keys(heads, value_keys) if keep_pretanh else {}
        masks = _masks(action_keys, spec, safe, mask_keys)
        by_key = {value_keys[path]: head for path, head in heads.items()}
        stored = {} if spec is None else actions(spec, by_key, safe, masks)
        also = (log_prob_key,) * return_log_prob + (params_key,) * cache_dist
        options = {
            "default_interaction_type": as_type(default_interaction_type),
            "return_log_prob": return_log_prob,
            "log_prob_key": log_prob_key,
            "log_prob_of": log_prob_of,
            "keep_pretanh": keep_pretanh,
            "cache_dist": cache_dist,
            "n_empirical_estimate": n_empirical_estimate,
            "skip_existing": skip_existing,
            "params_key": params_key,
        }
        self.__dict__.update(
            options,
            family=family,
            in_keys=tuple(
                dict.fromkeys([*(key for reader in found.values() for key in reader.in_keys), *masks.values()])
            ),
            action_keys=action_keys,
            out_keys=(*action_keys, *pretanh_keys.values(), *also),
            sample_shape=_shape(num_samples),
            _readers=found,
            _value_keys=value_keys,
            _pretanh_keys=pretanh_keys,
            _actions={key: action for key, action in stored.items() if action.changes},
            _of_actions={
                path: Shifted(head, stored[value_keys[path]].start)
                for path, head in heads.items()
                if value_keys[path] in stored and stored[value_keys[path]].is_shifted
            },
            mask_keys=masks,
            _is_single=layout.is_single(family),
            _is_relaxed=any(composite.log_prob_verb(head) is not head.log_prob for head in heads.values()),
            _points=frozenset(point for point in _POINTS if composite.has(family, point.value)),
            _salt=fnv1a(",".join("/".join(keys.path_of(key)) for key in action_keys)),
            _given=(
                in_keys,
                out_keys,
                {**options, "num_samples": num_samples, "spec": spec, "safe": safe, "mask_keys": mask_keys},
            ),
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
        pre = log_prob = None
        if played is not InteractionType.RANDOM:
            value = self._point(played, key, of_dist)
            pre = self._pretanh_of(value, of_dist, played) if self.keep_pretanh else None
        elif self.keep_pretanh:
            value, pre = self._draw("rsample_pretanh", self._source(key), of_dist, self.sample_shape)
        elif self.return_log_prob and self.log_prob_of == "noise":
            value, log_prob = self._draw("rsample_and_log_prob", self._source(key), of_dist, self.sample_shape)
        else:
            value = self._draw("rsample", self._source(key), of_dist, self.sample_shape)
        entries = self._entries_of(value, self._value_keys)
        if self._actions:
            entries = [(name, self._action_of(name, outcome, data)) for name, outcome in entries]
            value = self._value_of(dict(entries).__getitem__)
        if self.sample_shape and is_tensordict(data):
            data = data.expand(*self.sample_shape, *data.batch_size)
            of_dist = self._params(data) if self.return_log_prob and log_prob is None else of_dist
        if pre is not None:
            entries += self._entries_of(pre, self._pretanh_keys)
        if self.return_log_prob:
            entries.append((self.log_prob_key, self._score(of_dist, value, pre) if log_prob is None else log_prob))
        if self.cache_dist:
            for path, reader in self._readers.items():
                entries += reader.copied(data, (*keys.path_of(self.params_key), *map(str, path)))
        return keys.put(data, entries)

    # -------------------------------------------------------------------------------------------------------- scoring
    def dist_params(self, params: Any, data: Any) -> Any:
        """Return the parameters in the data: `Params` of the family, of a composite the pytree of them."""
        return self._params(data)

    def log_prob(self, params: Any, data: Any) -> Tensor:
        """Return the log-probability of the value in the data, with `keep_pretanh` from that before the squashing.

        Raises:
            KeyError: the data lack the value or a parameter.
        """
        return self._score(self._params(data), self._value_in(data), self._pretanh_in(data))

    def entropy(self, params: Any, data: Any) -> Tensor:
        """Return the entropy; of a chain that of each head given the earlier values in the data."""
        of_dist = self._params(data)
        if self._is_single or composite.has(self.family, "entropy"):
            return self._verb("entropy", of_dist)
        return composite.conditional_entropy(self.family, of_dist, self._value_in(data))

    def dist(self, params: Any, data: Any) -> Any:
        """Return the distribution of the actions as a `torch.distributions.Distribution`.

        Of a composite that is a `CompositeDistribution` by `action_keys`, which needs tensordict.

        Raises:
            NotImplementedError: there is a chain, whose heads have no distribution without the earlier values.
        """
        from functional_dists import distributions  # here, as few programs need it

        of_dist = self._params(data)
        if self._is_single:
            return distributions.wrap(self._of_actions.get((), self.family), *of_dist)
        if layout.holds_chain(self.family):
            raise NotImplementedError(f"{self.family!r} has no distribution object, as its heads depend on values")
        from tensordict import TensorDict

        families = {path: self._of_actions.get(path, head) for path, head in layout.heads(self.family).items()}
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

    def _score(self, of_dist: Any, value: Any, pre: Any = None) -> Tensor:
        """Return the log-probability of a value; from the one before the squashing where that is known."""
        if not self._is_single:
            if pre is None and not self._is_relaxed:
                return composite.log_prob(self.family, of_dist, value)
            pre = self._value_of(lambda key: None) if pre is None else pre
            return composite.log_prob_pretanh(self.family, of_dist, value, pre)
        if pre is not None:
            return self.family.log_prob_pretanh(*of_dist, pre)
        return composite.log_prob_verb(self.family)(*of_dist, value)

    def _pretanh_of(self, value: Any, of_dist: Any, played: InteractionType) -> Any:
        return composite.pretanh_of_point(self.family, of_dist, value, played.value)

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

    def _value_in(self, data: Any) -> Any:
        return self._value_of(lambda key: keys.get(data, key))

    def _value_of(self, action: Callable[[Key], Any]) -> Any:
        """Return what the family drew, from the actions by their keys."""

        def outcome(path: layout.Path) -> Any:
            key = self._value_keys[path]
            return self._actions[key].outcome(action(key)) if key in self._actions else action(key)

        return outcome(()) if self._is_single else layout.build(self.family, outcome, stop=_nowhere)

    def _action_of(self, key: Key, outcome: Any, data: Any) -> Any:
        return self._actions[key].of(outcome, data) if key in self._actions else outcome

    def _pretanh_in(self, data: Any) -> Any:
        """Return the values before the squashing, None for a head without; None if there are none at all."""
        found = {path: keys.find(data, key) for path, key in self._pretanh_keys.items()}
        if all(pre is None for pre in found.values()):
            return None
        return found[()] if self._is_single else layout.build(self.family, found.get, stop=_nowhere)

    def _entries_of(self, value: Any, value_keys: dict[layout.Path, Key]) -> list[tuple[Key, Any]]:
        if self._is_single:
            return [(value_keys[()], value)]
        return [(key, _part(value, path)) for path, key in value_keys.items()]

    def _with_missing_log_prob(self, params: Any, data: Any) -> Any:
        if not self.return_log_prob or keys.find(data, self.log_prob_key) is not None:
            return data
        stored = [
            (key, action.nearest(keys.get(data, key), data))
            for key, action in self._actions.items()
            if action.project is not None
        ]
        data = keys.put(data, stored)
        return keys.put(data, [(self.log_prob_key, self.log_prob(params, data))])

    def __reduce__(self) -> tuple[Any, ...]:
        in_keys, out_keys, options = self._given
        return _again, (layout.to_pickle(self.family), in_keys, out_keys, options)


def _again(family: Any, in_keys: Any, out_keys: Any, options: dict[str, Any]) -> ProbabilisticModule:
    return ProbabilisticModule(layout.from_pickle(family), in_keys, out_keys, **options)


def _pretanh_keys(heads: dict[layout.Path, Any], value_keys: dict[layout.Path, Key]) -> dict[layout.Path, Key]:
    found = {
        path: keys.as_key(("pretanh", value_keys[path])) for path, head in heads.items() if pretanh.has_pretanh(head)
    }
    if not found:
        raise ValueError(
            f"keep_pretanh=True needs a family that squashes, such as tanh_normal, got {[*heads.values()]}"
        )
    return found


def _masks(action_keys: tuple[Key, ...], spec: Any, safe: bool, mask_keys: Any) -> dict[Key, Key]:
    if safe and spec is None:
        raise ValueError("safe=True needs a spec to project actions onto")
    if mask_keys is None:
        return {}
    if not safe:
        raise ValueError("mask_keys say what is valid for safe=True")
    if isinstance(mask_keys, Mapping):
        return {keys.as_key(action): keys.as_key(mask) for action, mask in mask_keys.items()}
    return {action_keys[0]: keys.as_key(mask_keys)}


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
