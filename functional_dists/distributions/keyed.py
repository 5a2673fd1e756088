"""tensordict's probabilistic module with a key, which lies in the data beside the parameters."""

import math
from typing import Any

import torch
from torch import Size, Tensor

from functional_dists import random
from functional_dists.distributions.base import FamilyDistribution

try:
    from tensordict import TensorDictBase
    from tensordict.nn import (
        InteractionType,
        ProbabilisticTensorDictModule,
        composite_lp_aggregate,
        dispatch,
        skip_existing,
    )
    from tensordict.nn.probabilistic import interaction_type

    from functional_dists.distributions.composite import CompositeDistribution, suffixed
except ModuleNotFoundError as error:
    raise ImportError("KeyedModule needs tensordict: pip install functional_dists[tensordict]") from error

__all__ = ["KeyedModule"]

Name = str | tuple[str, ...]


class KeyedModule(ProbabilisticTensorDictModule):  # type: ignore[misc]
    """A ProbabilisticTensorDictModule whose draws are a function of the data: of the parameters and of a key in them.

    It serves wherever tensordict's own does: as the last module of a ProbabilisticTensorDictSequential, as the policy
    of a rollout, in the PPO loss of TorchRL. A call reads the key, draws with one half of its `split`, and writes the
    other half back in its place, for the next call: in a rollout the key of a step is that after the step's draw.
    What is not drawn, such as a mode, needs no key and leaves it as it is. The global generator is not touched, the
    module can be compiled, and `torch.vmap` maps over keys.

    Every entry of a batch has a key of its own, `random.split(key, batch)`, and its draw depends on that alone: a part
    of a batch draws what the whole would. A TensorDict without batch dimensions has one key for all it holds.

    The key is a uint64 tensor as `random` makes it, or its int64 view, `key.view(torch.int64)`; the next one is of the
    same dtype. Take the view where data are indexed or go to a replay buffer: PyTorch cannot write uint64 at indices.

    Args:
        in_keys: Where the parameters are, as in tensordict: a list, the last parts of which are the parameters' names,
            or a dict from names to keys.
        out_keys: Where the draw goes. Default, for a CompositeDistribution: the names of its values.
        key: Where the random key is, of shape (*batch, 2). Further axes before the last are allowed if all of the
            parameters have them, such as one of agents.
        options: `distribution_class`, a class of this package or a function that makes one;
            `distribution_kwargs`, which are the same for every entry of a batch; `default_interaction_type`,
            `return_log_prob`, `log_prob_key`, `log_prob_keys`, `n_empirical_estimate` and `num_samples`, as in
            tensordict. Where `num_samples` adds axes to the data, every entry has a next key of its own.

    Raises:
        TypeError: there is a `generator`.

    >>> from tensordict import TensorDict
    >>> from functional_dists.distributions import TanhNormal
    >>> act = KeyedModule(["loc"], ["action"], distribution_class=TanhNormal, distribution_kwargs={"scale": 1.0},
    ...     default_interaction_type="random")
    >>> data = TensorDict({"loc": torch.zeros(2, 3), "rng": random.split(random.key(42), 2)}, [2])
    >>> first, again = act(data.clone()), act(data.clone())
    >>> torch.equal(first["action"], again["action"]), torch.equal(first["action"], act(first)["action"])
    (True, False)
    """

    in_keys: list[Any]

    def __init__(self, in_keys: Any, out_keys: Any = None, *, key: Name = "rng", **options: Any) -> None:
        if "generator" in options:
            raise TypeError("KeyedModule draws with the key in the data, and takes no generator")
        if out_keys is None and options.get("distribution_class") is CompositeDistribution:
            maps = options["distribution_kwargs"]
            names = maps.get("name_map") or {}
            out_keys = [names.get(name, name) for name in maps["distribution_map"]]
        super().__init__(in_keys, out_keys, **options)
        self.key = key
        self.in_keys = [*self.in_keys, key]

    @property
    def out_keys(self) -> list[Name]:
        """Where a call writes: the draw, with `return_log_prob` its log-probability, and the next key."""
        return [*super().out_keys, self.key]

    @property
    def dist_params_keys(self) -> list[Name]:
        """Where the parameters are."""
        return list(self.in_keys[:-1])

    def get_dist(self, tensordict: TensorDictBase) -> Any:
        """Return the distribution of the parameters in the data."""
        return self._made(self._params_in(tensordict))

    build_dist_from_params = get_dist

    @dispatch(auto_batch_size=False)  # type: ignore[untyped-decorator]
    def forward(
        self, tensordict: TensorDictBase, tensordict_out: TensorDictBase | None = None, _requires_sample: bool = True
    ) -> TensorDictBase:
        """Write a draw, its log-probability and the next key.

        Args:
            tensordict: Has the parameters, and the key if something is drawn.
            tensordict_out: Where to write. Default: `tensordict`.

        Returns:
            `tensordict_out`, expanded to `num_samples`.

        Raises:
            KeyError: there is no key.
            TypeError: the key is no key, or the distribution takes none.
            ValueError: the key has another shape.
        """
        out = tensordict if tensordict_out is None else tensordict_out
        if skip_existing() and all(name in tensordict.keys(True) for name in super().out_keys):
            return tensordict
        if not _requires_sample:
            return self._scored(tensordict, out) if self.return_log_prob else out
        kind = interaction_type() or self.default_interaction_type
        dist = None if kind is InteractionType.RANDOM else self.get_dist(tensordict)
        value = None if dist is None else _point(dist, kind)
        if value is not None:
            return self._written(out, value, self._scores(dist, value) if self.return_log_prob else None)
        value, scores, next_key = self._drawn(tensordict, kind)
        if kind is InteractionType.RANDOM and self.num_samples is not None:
            out = out.expand(self.num_samples + out.shape)
        return self._written(out.set(self.key, next_key), value, scores)

    def _dist_sample(self, dist: Any, interaction_type: Any = None, *, generator: Any = None) -> Any:
        """Say what `get_dist` of a sequence cannot have, which asks modules before the last for a value."""
        value = _point(dist, interaction_type or self.default_interaction_type)
        if value is None:
            raise RuntimeError(
                "the distribution of a sequence of several probabilistic modules depends on what the first ones draw, "
                "for which there is no key here: pass return_composite=False, or set another interaction type"
            )
        return value

    # ---------------------------------------------------------------------------------------------------------- draws
    def _drawn(self, tensordict: TensorDictBase, kind: InteractionType) -> tuple[Any, Any, Tensor]:
        """Return a draw of every entry, its scores and the next key."""
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
            next_key, draw_key = random.split(key)
            if sample_shape:
                next_key = random.split(next_key, math.prod(sample_shape)).reshape(*sample_shape, 2)
            dist = self._made(params)
            if not estimates:
                return (next_key, *self._draw_of(dist, draw_key, sample_shape))
            mean = _keyed(dist).rsample((self.n_empirical_estimate,), key=draw_key).mean(0)
            return (next_key, mean, self._scores(dist, mean)) if self.return_log_prob else (next_key, mean)

        for _ in range(key.ndim - 1):
            lane = torch.vmap(lane, out_dims=len(sample_shape))
        next_key, value, *scores = lane(key.view(torch.uint64), self._params_in(tensordict))
        return value, scores[0] if scores else None, next_key.view(key.dtype)

    def _draw_of(self, dist: Any, key: Tensor, sample_shape: Size) -> tuple[Any, ...]:
        """Return a draw, and its scores where they are wanted: from the noise, where the distribution can do that."""
        method = "rsample" if _keyed(dist).has_rsample else "sample"
        if self.return_log_prob and isinstance(dist, FamilyDistribution):
            return tuple(getattr(dist, f"{method}_and_log_prob")(sample_shape, key=key))
        value = getattr(dist, method)(sample_shape, key=key)
        return (value, self._scores(dist, value)) if self.return_log_prob else (value,)

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
        """Return the log-probability of a value, of a composite one a TensorDict of them under their keys."""
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

    def _scored(self, tensordict: TensorDictBase, out: TensorDictBase) -> TensorDictBase:
        """Write the log-probability of the value that the data have."""
        dist = self.get_dist(tensordict)
        composite = isinstance(dist, CompositeDistribution)
        value = tensordict.select(*dist) if composite else tensordict.get(self.dist_sample_keys[0])
        return self._written(out, value, self._scores(dist, value))

    def _written(self, out: TensorDictBase, value: Any, scores: Any) -> TensorDictBase:
        for name, found in ((self.dist_sample_keys[0], value), (self.log_prob_keys[0], scores)):
            if isinstance(found, Tensor):
                out.set(name, found)
            elif found is not None:
                out.update(found)
        return out


def _point(dist: Any, kind: InteractionType) -> Any:
    """Return what is played without a draw; None where there must be one."""
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
