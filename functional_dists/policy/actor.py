"""An actor in one call: a network, the family whose parameters it puts out, and the projection onto a spec."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from functional_dists import parameters
from functional_dists.composite import Chain
from functional_dists.policy import keys, layout
from functional_dists.policy.modules import without_tensors
from functional_dists.policy.probabilistic import ProbabilisticModule
from functional_dists.policy.projection import project
from functional_dists.policy.steps import FunctionModule, Sequential

__all__ = ["actor"]


def actor(
    network: nn.Module | tuple[Any, Callable[..., Any]],
    family: Any,
    *,
    in_keys: Sequence[Any],
    out_keys: Any = ("action",),
    data_keys: Mapping[str, Any] | None = None,
    spec: Any = None,
    safe: bool = False,
    mask_keys: Any = None,
    default_interaction_type: Any = "random",
    return_log_prob: bool = False,
    log_prob_key: Any = "sample_log_prob",
    log_prob_of: str = "value",
    keep_pretanh: bool = False,
    cache_dist: bool = False,
    n_empirical_estimate: int = 1000,
    num_samples: int | Sequence[int] | None = None,
    skip_existing: bool = True,
) -> tuple[tuple[Any, ...], Sequential]:
    """Make an actor step of a network that puts out the parameters of a family.

    The network returns the parameters without defaults in the order of `Params`, one or a tuple of them, or any of the
    parameters as a dict by their names. One tensor for a family of `loc` and `scale` is split in two by
    `parameters.normal_params`. For a pytree of families it returns the pytree of these, for a chain what the functions
    of its heads take. The step writes them, by their names, under "params"; what has another shape is a `Sequential` of
    steps, of which this is made too.

    Args:
        network: A module, taken apart as by `from_module`; or a pair of parameters and a function
            `fn(params, *inputs)`.
        family: A family, what `bind` gives, or a composite.
        in_keys: Of the network's inputs.
        out_keys: Of the action. For a composite one key, below which the actions go by their paths, or one for each.
        data_keys: The keys of parameters that are in the data instead, such as `{"mask": "action_mask"}`; for a pytree
            of families a dict of such dicts; for a chain those of further entries of the dict that the network returns.
        spec: The space of the actions: of gymnasium or of torchrl, a composite or that of the first action. Outcome k
            of a discrete family is the action `start + k`.
        safe: Whether to project actions outside of the spec onto it, those in the data too. The log-probability is
            that of the action which is stored.
        mask_keys: With `safe`, the keys of masks of valid actions: one, for the first action, or a dict by action key.
        default_interaction_type: What is played where neither the call nor a context says. Default: a draw, as in
            TorchRL's ProbabilisticActor; that of `ProbabilisticModule` is "mode", as in TorchRL's class of that name.
        return_log_prob: Whether to write the log-probability too.
        log_prob_key: Where.
        log_prob_of: What is scored: "value", the action as stored, whose first PPO ratio is 1; or "noise", what it was
            drawn from, for losses that differentiate through the step (SAC).
        keep_pretanh: Whether to write the values before the squashing too, under ("pretanh", *key of the action), and
            to score these, which serves both.
        cache_dist: Whether to write a copy of the parameters under "dist_params", which the scores leave alone.
        n_empirical_estimate: How many draws stand for a mean that the family does not have.
        num_samples: Of how many draws to write, as leading axes.
        skip_existing: Whether to leave actions that are in the data already.

    Returns:
        The parameters, an entry for each step; and the step.

    Raises:
        TypeError: something is no family, no key or no spec.
        ValueError: `safe` without a spec, or masks without `safe`; the keys or the spec do not fit the family.

    >>> import torch
    >>> from functional_dists import masked_categorical, random
    >>> network = torch.nn.Linear(17, 5)
    >>> params, act = actor(
    ...     network, masked_categorical, in_keys=["observation"], data_keys={"mask": "valid"}, return_log_prob=True
    ... )
    >>> data = {"observation": torch.zeros(256, 17), "valid": torch.ones(256, 5, dtype=torch.bool)}
    >>> data = act(params, random.key(42), data)
    >>> data["action"].shape, data["sample_log_prob"].shape
    (torch.Size([256]), torch.Size([256]))
    >>> act.log_prob(params, data).shape, act.entropy(params, data).shape
    (torch.Size([256]), torch.Size([256]))
    """
    names, extra_keys = _flat_data_keys(data_keys or {})
    weights, function = without_tensors(network) if isinstance(network, nn.Module) else network
    input_keys = keys.as_keys(in_keys)
    to_params = FunctionModule(
        _Parameters(function, family, len(input_keys), names), (*input_keys, *extra_keys), ["params"]
    )
    act = ProbabilisticModule(
        family,
        "params",
        _action_keys(family, out_keys),
        default_interaction_type=default_interaction_type,
        return_log_prob=return_log_prob,
        log_prob_key=log_prob_key,
        log_prob_of=log_prob_of,
        keep_pretanh=keep_pretanh,
        spec=spec,
        safe=safe,
        mask_keys=mask_keys,
        cache_dist=cache_dist,
        n_empirical_estimate=n_empirical_estimate,
        num_samples=num_samples,
        skip_existing=skip_existing,
    )
    if not safe:
        return (weights, ()), Sequential(to_params, act)
    # What is drawn is projected before it is scored; this projects actions that are in the data already.
    return (weights, (), ()), Sequential(to_params, act, project(spec, act.action_keys, act.mask_keys))


def _action_keys(family: Any, out_keys: Any) -> Any:
    if layout.is_single(family) or isinstance(out_keys, Mapping):
        return out_keys
    flat = keys.as_keys(out_keys)
    if len(flat) > 1:
        return flat
    return [keys.as_key((*flat, *map(str, path))) for path in layout.value_paths(family)]


# --------------------------------------------------------------------------------------------------------- parameters
_Names = tuple[tuple[Any, ...], ...]  # for each parameter in the data its head's path and its own name


def _flat_data_keys(data_keys: Mapping[str, Any], path: layout.Path = ()) -> tuple[_Names, list[keys.Key]]:
    names: list[tuple[Any, ...]] = []
    found: list[keys.Key] = []
    for name, entry in data_keys.items():
        if isinstance(entry, Mapping):
            inner = _flat_data_keys(entry, (*path, name))
            names += inner[0]
            found += inner[1]
        else:
            names.append((*path, name))
            found.append(keys.as_key(entry))
    return tuple(names), found


@dataclass(frozen=True, eq=False)
class _Parameters:
    """The function of the first step: runs the network, and names what it puts out.

    network: `fn(params, *inputs)`.
    family: The family or composite whose parameters it puts out.
    inputs: How many of the arguments are the network's; the others are parameters from the data ...
    names: ... whose paths and names are these.
    """

    network: Callable[..., Any]
    family: Any
    inputs: int
    names: _Names

    def __call__(self, params: Any, *arguments: Any) -> Any:
        output = self.network(params, *arguments[: self.inputs])
        given: dict[str, Any] = {}
        for path, value in zip(self.names, arguments[self.inputs :], strict=True):
            node = given
            for name in path[:-1]:
                node = node.setdefault(name, {})
            node[path[-1]] = value
        return _named(self.family, output, given)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.network, layout.to_pickle(self.family), self.inputs, self.names)


def _again(network: Callable[..., Any], family: Any, inputs: int, names: _Names) -> _Parameters:
    return _Parameters(network, layout.from_pickle(family), inputs, names)


def _named(family: Any, output: Any, given: Mapping[Any, Any]) -> Any:
    """Return what the network put out for `family` as dicts by names, together with what the data gave."""
    if layout.is_single(family):
        return {**_named_parameters(family, output, given), **given}
    if isinstance(family, Chain):
        if not isinstance(output, Mapping):
            if given:
                raise TypeError(f"data_keys of a chain add to a dict, and the network put out {type(output).__name__}")
            return output
        own = {name: head.family for name, head in family.heads if head.params is None}
        taken = {name: given.get(name, {}) for name in own}
        named = {name: _named(own[name], part, taken[name]) if name in own else part for name, part in output.items()}
        return {**named, **{name: value for name, value in given.items() if name not in own}}
    if isinstance(family, Mapping):
        return {name: _named(part, output[name], given.get(name, {})) for name, part in family.items()}
    return [_named(part, one, given.get(i, {})) for i, (part, one) in enumerate(zip(family, output, strict=True))]


def _named_parameters(family: Any, output: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(output, Mapping):
        return dict(output)
    defaults = family.Params._field_defaults
    names = [name for name in family.Params._fields if name not in given and name not in defaults]
    if isinstance(output, Tensor):
        output = parameters.normal_params(output) if names == ["loc", "scale"] else (output,)
    if len(output) != len(names):
        raise ValueError(f"the network must put out {names}, or a dict by the names of parameters, got {len(output)}")
    return dict(zip(names, output, strict=True))
