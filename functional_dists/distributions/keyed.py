"""tensordict's probabilistic module with explicit randomness: the key is in the data, beside the parameters."""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Size, Tensor

from functional_dists.composite.pretanh import check_score_options, has_pretanh, pretanh_of, rsample_with_pretanh
from functional_dists.distributions.base import FamilyDistribution
from functional_dists.distributions.continuous import TanhNormal
from functional_dists.family import leaf_key
from functional_dists.random.keys import split

try:
    from tensordict import TensorDict, TensorDictBase, unravel_key
    from tensordict.nn import (
        InteractionType,
        ProbabilisticTensorDictModule,
        composite_lp_aggregate,
        dispatch,
        skip_existing,
    )
    from tensordict.nn.probabilistic import interaction_type

    from functional_dists.distributions.composite import CompositeDistribution, name_path, suffixed
except ModuleNotFoundError as error:
    raise ImportError("KeyedModule needs tensordict: pip install functional_dists[tensordict]") from error

__all__ = ["KeyedModule"]

Name = str | tuple[str, ...]


class KeyedModule(ProbabilisticTensorDictModule):  # type: ignore[misc]
    """A ProbabilisticTensorDictModule whose draws are a function of the data: of the parameters and of a key.

    It replaces tensordict's module: as the last module of a ProbabilisticTensorDictSequential, as the policy of a
    rollout, in the PPO loss of TorchRL. A call reads the key and splits it in two. It draws with one, and writes the
    other in its place, for the next call. So after a step of a rollout the data have the key of the next step. A call
    that draws nothing, such as one that plays the mode, needs no key and does not change it. The module does not use
    the global generator, can be compiled, and works under `torch.vmap` over keys.

    Every entry of a batch has its own key, as from `random.split(key, batch)`, and its draw depends on that key alone.
    So part of a batch draws what the whole batch draws there. A TensorDict without batch dimensions has one key.

    The module writes the log-probability of the action as stored. The distribution of `get_dist` returns the same bits,
    so the first ratio of PPO is 1. Near a bound the rounding of a stored action loses digits. Two options avoid that
    loss. `log_prob_of="noise"` scores the noise of the draw, for losses that differentiate through the step.
    `keep_pretanh=True` also stores the value before the squashing, under ("pretanh", *key of the action). If data have
    both, the distribution of `get_dist` scores the stored action from that value, in TorchRL's losses too.

    The key is a uint64 tensor as `random` makes it, or its int64 view, `key.view(torch.int64)`; the next key has the
    same dtype. Use the view if data are indexed or go to a replay buffer: PyTorch cannot write uint64 at indices.

    Args:
        in_keys: The keys of the parameters, as in tensordict: a list of keys, whose last parts are the names of the
            parameters, or a dict from names to keys.
        out_keys: The keys of the draw. Default, for a CompositeDistribution: the names of its values.
        key: The key in the data of the random key, which has shape (*batch, 2). It may have further axes before the
            last, such as one of agents, if all parameters have them.
        log_prob_of: What to score: "value", the action as stored, or "noise", the noise of the draw.
        keep_pretanh: Whether to write the values before the squashing, of TanhNormal and other families that have them,
            and to score these. Code that replaces a stored action must delete its entry.
        options: `distribution_class`, a class of this package or a function that makes a distribution of this package;
            `distribution_kwargs`, the same for every entry of a batch; `default_interaction_type`, `return_log_prob`,
            `log_prob_key`, `log_prob_keys`, `n_empirical_estimate` and `num_samples`, as in tensordict. If
            `num_samples` adds axes to the data, every entry gets its own next key.

    Raises:
        TypeError: there is a `generator`.
        ValueError: `log_prob_of` is unknown, or contradicts `keep_pretanh`.

    >>> from tensordict import TensorDict
    >>> from functional_dists import random
    >>> from functional_dists.distributions import TanhNormal
    >>> act = KeyedModule(["loc"], ["action"], distribution_class=TanhNormal, distribution_kwargs={"scale": 1.0},
    ...     default_interaction_type="random")
    >>> data = TensorDict({"loc": torch.zeros(2, 3), "rng": random.split(random.key(42), 2)}, [2])
    >>> first, again = act(data.clone()), act(data.clone())
    >>> torch.equal(first["action"], again["action"]), torch.equal(first["action"], act(first)["action"])
    (True, False)
    """

    in_keys: list[Any]

    def __init__(
        self,
        in_keys: Any,
        out_keys: Any = None,
        *,
        key: Name = "rng",
        log_prob_of: str = "value",
        keep_pretanh: bool = False,
        **options: Any,
    ) -> None:
        if "generator" in options:
            raise TypeError("KeyedModule draws with the key in the data, and takes no generator")
        check_score_options(log_prob_of, keep_pretanh)
        if out_keys is None and options.get("distribution_class") is CompositeDistribution:
            maps = options["distribution_kwargs"]
            names = {unravel_key(name): unravel_key(other) for name, other in (maps.get("name_map") or {}).items()}
            out_keys = [names.get(name, name) for name in map(unravel_key, maps["distribution_map"])]
        super().__init__(in_keys, out_keys, **options)
        self.key, self.log_prob_of, self.keep_pretanh = key, log_prob_of, keep_pretanh
        self.in_keys = [*self.in_keys, key]

    @property
    def out_keys(self) -> list[Name]:
        """The keys that a call writes: of the draw, of its log-probability and pre-tanh value, and of the next key."""
        return [*super().out_keys, *self._pretanh_keys(), self.key]

    def _pretanh_keys(self) -> list[Name]:
        if not self.keep_pretanh:
            return []
        if self.distribution_class is not CompositeDistribution:
            return [_pretanh_key(self.dist_sample_keys[0])]
        made = self.distribution_kwargs["distribution_map"]
        heads = [made[name] for name in made.keys()]  # noqa: SIM118
        return [_pretanh_key(name) for name, head in zip(self.dist_sample_keys, heads, strict=True) if _can_keep(head)]

    @property
    def dist_params_keys(self) -> list[Name]:
        """The keys of the parameters."""
        return list(self.in_keys[:-1])

    def get_dist(self, tensordict: TensorDictBase) -> Any:
        """Return the distribution of the parameters in the data; with `keep_pretanh` it knows the pre-tanh value."""
        dist = self._made(self._params_in(tensordict))
        if not self.keep_pretanh:
            return dist
        pre = {name: tensordict.get(_pretanh_key(name), None) for name in self._squashed(dist)}
        return self._with_known(dist, tensordict, pre)

    build_dist_from_params = get_dist

    @dispatch(auto_batch_size=False)  # type: ignore[untyped-decorator]
    def forward(
        self, tensordict: TensorDictBase, tensordict_out: TensorDictBase | None = None, _requires_sample: bool = True
    ) -> TensorDictBase:
        """Write a draw, its log-probability and the next key.

        Args:
            tensordict: The data with the parameters, and with the key if something is drawn.
            tensordict_out: The data to write to. Default: `tensordict`.

        Returns:
            `tensordict_out`, expanded to `num_samples`.

        Raises:
            KeyError: there is no key.
            TypeError: the key has another dtype, or the distribution takes no key.
            ValueError: the key has another shape.
        """
        out = tensordict if tensordict_out is None else tensordict_out
        if skip_existing() and all(name in tensordict.keys(True) for name in super().out_keys):
            return tensordict
        if not _requires_sample:
            return self._scored(tensordict, out) if self.return_log_prob else out
        kind = interaction_type() or self.default_interaction_type
        dist = None if kind is InteractionType.RANDOM else self._made(self._params_in(tensordict))
        value = None if dist is None else _point(dist, kind)
        if value is not None:
            pre = {
                name: pretanh_of(head.family, head.params, _at(value, name), kind.value)
                for name, head in self._squashed(dist).items()
            }
            return self._written(out, value, pre, self._scores_of(dist, value, pre))
        value, pre, scores, next_key = self._drawn(tensordict, kind)
        if kind is InteractionType.RANDOM and self.num_samples is not None:
            tensordict, out = (data.expand(self.num_samples + data.shape) for data in (tensordict, out))
        if scores is None and self.return_log_prob:
            scores = self._scores_of(self._made(self._params_in(tensordict)), value, pre)
        return self._written(out.set(self.key, next_key), value, pre, scores)

    def _dist_sample(self, dist: Any, interaction_type: Any = None, *, generator: Any = None) -> Any:
        """Return a point for `get_dist` of a sequence, which asks all modules but the last for a value."""
        value = _point(dist, interaction_type or self.default_interaction_type)
        if value is None:
            raise RuntimeError(
                "the distribution of a sequence of several probabilistic modules depends on what the first ones draw, "
                "for which there is no key here: pass return_composite=False, or set another interaction type"
            )
        return value

    # ---------------------------------------------------------------------------------------------------------- draws
    def _drawn(self, tensordict: TensorDictBase, kind: InteractionType) -> tuple[Any, dict[Name, Tensor], Any, Tensor]:
        """Return a draw of every entry, its pre-tanh values, the scores of its noise, and the next key."""
        key = tensordict.get(self.key, None)
        if key is None:
            raise KeyError(f"no key {self.key!r} among {list(tensordict.keys(True, True))}")
        if key.dtype not in (torch.int64, torch.uint64):
            raise TypeError(f"{self.key!r} must be a key, uint64 or the int64 view of one, got {key.dtype}")
        if key.shape[-1:] != (2,):
            raise ValueError(f"{self.key!r} must have shape (*batch, 2), got {tuple(key.shape)}")
        estimates = kind is InteractionType.MEAN
        sample_shape = Size() if estimates or self.num_samples is None else self.num_samples

        def lane(key: Tensor, params: dict[str, Any]) -> tuple[Any, ...]:
            next_key, draw_key = split(key)
            if sample_shape:
                next_key = split(next_key, math.prod(sample_shape)).reshape(*sample_shape, 2)
            dist = self._made(params)
            if not estimates:
                return (next_key, *self._draw_of(dist, draw_key, sample_shape))
            return next_key, _keyed(dist).rsample((self.n_empirical_estimate,), key=draw_key).mean(0), {}

        for _ in range(key.ndim - 1):
            lane = torch.vmap(lane, out_dims=len(sample_shape))
        next_key, value, pre, *scores = lane(key.view(torch.uint64), self._params_in(tensordict))
        return value, pre, scores[0] if scores else None, next_key.view(key.dtype)

    def _draw_of(self, dist: Any, key: Tensor, sample_shape: Size) -> tuple[Any, ...]:
        """Return a draw, its pre-tanh values, and with `log_prob_of="noise"` the scores of its noise."""
        by_noise = self.return_log_prob and self.log_prob_of == "noise"
        if not (by_noise or self.keep_pretanh):
            return getattr(dist, "rsample" if _keyed(dist).has_rsample else "sample")(sample_shape, key=key), {}
        drawn: dict[Name, Any] = {}
        pre: dict[Name, Tensor] = {}
        known: dict[Name, Tensor] = {}
        for name, head in self._heads(dist).items():
            own = key if head is dist else leaf_key(key, name_path(name))
            if name in self._squashed(dist):
                drawn[name], pre[name] = rsample_with_pretanh(own, head.family, head.params, sample_shape=sample_shape)
                continue
            method = "rsample" if _keyed(head).has_rsample else "sample"
            if by_noise and isinstance(head, FamilyDistribution):
                drawn[name], known[name] = getattr(head, f"{method}_and_log_prob")(sample_shape, key=own)
            else:
                drawn[name] = getattr(head, method)(sample_shape, key=own)
        if isinstance(dist, CompositeDistribution):
            value: Any = TensorDict(drawn, sample_shape + dist.batch_shape)
        else:
            (value,) = drawn.values()
        if not by_noise:
            return value, pre
        return value, {}, self._scores(_with_scores(dist, value, known), value)

    def _params_in(self, tensordict: TensorDictBase) -> dict[str, Any]:
        found = {}
        for name, where in zip(self.dist_keys, self.dist_params_keys, strict=True):
            value = tensordict.get(where, None)
            if value is not None:
                found[name if isinstance(name, str) else name[-1]] = value
        return found

    def _made(self, params: dict[str, Any]) -> Any:
        options = self.distribution_kwargs
        return self.distribution_class(**params, **{name: options[name] for name in options.keys()})  # noqa: SIM118

    # --------------------------------------------------------------------------------------------------------- writing
    def _scores(self, dist: Any, value: Any) -> Any:
        """Return the log-probability of a value; for a composite a TensorDict of log-probabilities by their keys."""
        if not isinstance(dist, CompositeDistribution):
            return dist.log_prob(value)
        found = dist.log_prob_composite(value)
        if composite_lp_aggregate():
            names = [(dist.log_prob_key, self.log_prob_key)]
        else:
            names = [
                (suffixed(name, "_log_prob"), key)
                for name, key in zip(self.dist_sample_keys, self.log_prob_keys, strict=True)
            ]
        for given, wanted in names:
            if given != wanted:
                found.rename_key_(given, wanted)
        return found

    def _scores_of(self, dist: Any, value: Any, pre: dict[Name, Tensor]) -> Any:
        """Return the log-probability of the stored value, or None without `return_log_prob`."""
        return self._scores(self._with_known(dist, value, pre), value) if self.return_log_prob else None

    def _scored(self, tensordict: TensorDictBase, out: TensorDictBase) -> TensorDictBase:
        """Write the log-probability of the value in the data."""
        dist = self.get_dist(tensordict)
        composite = isinstance(dist, CompositeDistribution)
        value = tensordict.select(*dist) if composite else tensordict.get(self.dist_sample_keys[0])
        return self._written(out, value, {}, self._scores(dist, value))

    def _written(self, out: TensorDictBase, value: Any, pre: dict[Name, Tensor], scores: Any) -> TensorDictBase:
        for name, found in ((self.dist_sample_keys[0], value), (self.log_prob_keys[0], scores)):
            if isinstance(found, Tensor):
                out.set(name, found)
            elif found is not None:
                out.update(found)
        for name, found in pre.items():
            out.set(_pretanh_key(name), found)
        return out

    # ------------------------------------------------------------------------------------ values before the squashing
    def _heads(self, dist: Any) -> dict[Name, Any]:
        """Return the single distributions by the names of their values."""
        return dist.dists if isinstance(dist, CompositeDistribution) else {self.dist_sample_keys[0]: dist}

    def _squashed(self, dist: Any) -> dict[Name, FamilyDistribution]:
        """Return the distributions whose pre-tanh values are stored."""
        if not self.keep_pretanh:
            return {}
        found = {name: head for name, head in self._heads(dist).items() if _can_keep(head)}
        if not found:
            raise ValueError(f"keep_pretanh=True needs a distribution that squashes, such as TanhNormal, got {dist}")
        return found

    def _with_known(self, dist: Any, stored: Any, pre: dict[Name, Any]) -> Any:
        """Return the distribution; it scores stored values from their pre-tanh values, where the data have both."""
        heads = self._squashed(dist) if pre else {}
        known = {
            name: head.family.log_prob_pretanh(*head.params, pre[name], **head._options)
            for name, head in heads.items()
            if pre[name] is not None and _at(stored, name) is not None
        }
        return _with_scores(dist, stored, known)


def _with_scores(dist: Any, stored: Any, known: dict[Name, Tensor]) -> Any:
    """Make a distribution return known log-probabilities for stored values; it is changed in place."""
    for name, log_prob in known.items():
        head = dist.dists[name] if isinstance(dist, CompositeDistribution) else dist
        head.log_prob = functools.partial(_log_prob, head.log_prob, _at(stored, name), log_prob)
    return dist


def _log_prob(score: Callable[[Tensor], Tensor], stored: Tensor, known: Tensor, value: Tensor) -> Tensor:
    """Return the log-probability of a value, which is known where the value is the stored one."""
    if value is stored:
        return known
    log_prob = score(value)
    if value.shape != stored.shape:
        return log_prob
    is_stored = value == stored
    while is_stored.ndim > log_prob.ndim:
        is_stored = is_stored.all(-1)
    return torch.where(is_stored, known, log_prob)


def _at(stored: Any, name: Name) -> Any:
    return stored if isinstance(stored, Tensor) else stored.get(name, None)


def _pretanh_key(name: Name) -> Name:
    return ("pretanh", *name_path(name))


def _can_keep(head: Any) -> bool:
    """Say whether a distribution has pre-tanh values; `head` may also be its class or its family."""
    if isinstance(head, FamilyDistribution):
        return has_pretanh(head.family)
    return has_pretanh(head) or (isinstance(head, type) and issubclass(head, TanhNormal))


def _point(dist: Any, kind: InteractionType) -> Any:
    """Return the point to play, or None if that takes a draw."""
    if kind is InteractionType.RANDOM:
        return None
    if kind is InteractionType.DETERMINISTIC:
        return dist.deterministic_sample
    try:
        return getattr(dist, kind.value)
    except NotImplementedError:
        if kind is not InteractionType.MEAN or not dist.has_rsample:
            raise
        return None


def _keyed(dist: Any) -> Any:
    if not isinstance(dist, (FamilyDistribution, CompositeDistribution)):
        raise TypeError(f"{type(dist).__name__} takes no key, as it draws from the global generator")
    return dist
