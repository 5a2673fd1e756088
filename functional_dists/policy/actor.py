"""An actor in one call: a network, the family whose parameters it returns, and the projection onto a spec."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

from torch import Tensor, nn

from functional_dists.composite.chains import Chain, families_from_pickle, families_to_pickle
from functional_dists.composite.structure import Path, is_single, names_in_data, parts
from functional_dists.family.reprs import call, changed, shown
from functional_dists.parameters import normal_params
from functional_dists.policy import keys
from functional_dists.policy.layout import heads, leaves_as_written
from functional_dists.policy.modules import without_tensors
from functional_dists.policy.probabilistic import ProbabilisticModule
from functional_dists.policy.projection import project
from functional_dists.policy.spaces import spaces_of
from functional_dists.policy.steps import FunctionModule, Sequential, made_by
from functional_dists.spaces import ActionSpace, from_space
from functional_dists.spaces.kinds import COMPOSITES, kind_of


class DrawOptions(TypedDict, total=False):
    """The options of `ProbabilisticModule` that `actor` passes on."""

    return_log_prob: bool
    log_prob_key: Any
    log_prob_of: str
    keep_pretanh: bool
    cache_dist: bool
    n_empirical_estimate: int
    num_samples: int | Sequence[int] | None
    skip_existing: bool
    params_key: Any


def actor(
    network: nn.Module | tuple[Any, Callable[..., Any]],
    family: Any = None,
    *,
    in_keys: Sequence[Any],
    out_keys: Any = ("action",),
    data_keys: Mapping[str, Any] | None = None,
    spec: Any = None,
    safe: bool = False,
    mask_keys: Any = None,
    default_interaction_type: Any = "random",
    **options: Unpack[DrawOptions],
) -> tuple[tuple[Any, ...], Sequential]:
    """Make an actor step from a network that returns the parameters of a family.

    The network returns the parameters that have no default, in the order of `Params`: one tensor or a tuple of tensors.
    Or it returns a dict with any of the parameters. If the family needs `loc` and `scale` and the network returns one
    tensor, `parameters.normal_params` splits it in two. For a pytree of families the network returns the pytree of
    these; for a chain it returns what the functions of the heads take. The step writes the parameters by their names
    under "params". For other structures build a `Sequential` of steps, which is what this function returns.

    Without a family it is that of the spec, by `spaces.from_space`, and the network returns one tensor with the `size`
    of the space in its last axis. The step writes values of the space; its `to_env` gives what the environment takes.

    Args:
        network: A module, which is taken apart as by `from_module`; or a pair of parameters and a function
            `fn(params, *inputs)`.
        family: A family, a bound family or a composite. Without it there must be a spec.
        in_keys: The keys of the network's inputs.
        out_keys: The key of the action. For a composite: one key, below which the actions go by their paths, or one key
            for each action.
        data_keys: The keys of parameters that are in the data instead, such as `{"mask": "action_mask"}`; for a pytree
            of families a dict of such dicts. For a chain: the keys of further entries for the dict that the network
            returns. Without a family: `{"mask": key}`, for the mask that the space takes.
        spec: The action space, of gymnasium or of torchrl: a composite, or the space of the first action. Outcome k of
            a discrete family is the action `start + k`. Without a family it may be an `ActionSpace`, and a composite of
            torchrl that has the out_key stands for the spec at that key.
        safe: Whether to project actions outside the spec onto it, including actions that are in the data already. The
            log-probability is that of the stored action. This needs a family.
        mask_keys: With `safe`, the keys of the masks of valid actions: one key, for the first action, or a dict by
            action key.
        default_interaction_type: What to play if neither the call nor a context says. Default: a draw, as in TorchRL's
            ProbabilisticActor. (`ProbabilisticModule` plays the mode by default, as TorchRL's class of that name does.)
        options: Other options of `ProbabilisticModule`: `return_log_prob`, `log_prob_key`, `log_prob_of`,
            `keep_pretanh`, `cache_dist`, `params_key`, `n_empirical_estimate`, `num_samples` and `skip_existing`.

    Returns:
        The parameters, a tuple with an entry for each step; and the actor.

    Raises:
        TypeError: an argument is not a network, a family, a key or a spec; there is neither a family nor a spec.
        ValueError: `safe` without a spec, or masks without `safe`; the keys or the spec do not fit the family; `safe`,
            or parameters in the data, without a family.

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
    # By the path of the head, then the name of the parameter.
    from_data = leaves_as_written(data_keys or {}, lambda node: not isinstance(node, Mapping))
    extra_keys = map(keys.as_key, from_data.values())
    if not isinstance(network, nn.Module) and not (isinstance(network, tuple | list) and len(network) == 2):
        raise TypeError(f"network must be a torch.nn.Module, or parameters and a function, got {shown(network)}")
    weights, function = without_tensors(network) if isinstance(network, nn.Module) else network
    input_keys = keys.as_keys(in_keys)
    if family is None:
        space = _action_space(spec, out_keys, [*from_data], safe)
        drawn, drawn_spec = space.family, None  # its values are in the space
        named: Any = _SpaceParameters(function, space, len(input_keys))
    else:
        drawn, drawn_spec = family, spec
        named = _NetworkParameters(function, family, len(input_keys), tuple(from_data))
    to_params = FunctionModule(named, (*input_keys, *extra_keys), ["params"])
    act = ProbabilisticModule(
        drawn,
        "params",
        _action_keys(drawn, out_keys),
        default_interaction_type=default_interaction_type,
        spec=drawn_spec,
        safe=safe,
        mask_keys=mask_keys,
        **options,
    )
    given = {
        "out_keys": out_keys,
        "data_keys": data_keys,
        "spec": spec,
        "safe": safe,
        "mask_keys": mask_keys,
        "default_interaction_type": default_interaction_type,
        **options,
    }
    shown_network = network if isinstance(network, nn.Module) else (..., function)
    families = [] if family is None else [family]
    code = call("policy.actor", shown_network, *families, in_keys=in_keys, **changed(actor, given))
    if not safe:
        return (weights, ()), made_by(Sequential(to_params, act), code)
    # `act` projects what it draws before it scores it; the last step projects actions that were in the data already.
    steps = Sequential(to_params, act, project(spec, act.action_keys, act.mask_keys))
    return (weights, (), ()), made_by(steps, code)


def _action_space(spec: Any, out_keys: Any, from_data: Sequence[Path], safe: bool) -> ActionSpace:
    """Return the space whose family an actor without a family has."""
    if spec is None:
        raise TypeError("an actor needs a family or a spec")
    if safe:
        raise ValueError("safe=True needs a family: the family of a space draws no other values")
    if any(path != ("mask",) for path in from_data):
        names = ["/".join(map(str, path)) for path in from_data]
        raise ValueError(f'data_keys without a family must be {{"mask": key}}, got entries for {names}')
    if isinstance(spec, ActionSpace):
        return spec
    if kind_of(spec, COMPOSITES) == ("torchrl", "Composite") and not isinstance(out_keys, Mapping):
        action_keys = keys.as_keys(out_keys)
        found = [space for key, space in _found(spec, action_keys).items() if key == action_keys[0]]
        spec = found[0] if len(action_keys) == 1 and found else spec
    return from_space(spec)


def _found(spec: Any, action_keys: Sequence[keys.Key]) -> dict[keys.Key, Any]:
    try:
        return spaces_of(spec, action_keys)
    except KeyError:
        return {}


def _action_keys(family: Any, out_keys: Any) -> Any:
    if is_single(family) or isinstance(out_keys, Mapping):
        return out_keys
    flat = keys.as_keys(out_keys)
    return flat if len(flat) > 1 else [keys.as_key((*flat, *map(str, path))) for path in heads(family)]


# --------------------------------------------------------------------------------------------------------- parameters
@dataclass(frozen=True, eq=False)
class _NetworkParameters:
    """The function of the first step: it runs the network, and names the parameters.

    network: `fn(params, *inputs)`.
    family: The family or composite whose parameters the network returns.
    inputs: The number of arguments that are inputs of the network. The others are parameters from the data.
    paths: The paths of the parameters from the data: of the head, then the name of the parameter.
    """

    network: Callable[..., Any]
    family: Any
    inputs: int
    paths: tuple[Path, ...]

    def __repr__(self) -> str:
        return shown(self.network)

    def __call__(self, params: Any, *arguments: Any) -> Any:
        output = self.network(params, *arguments[: self.inputs])
        return _named(self.family, output, dict(zip(self.paths, arguments[self.inputs :], strict=True)))

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (self.network, families_to_pickle(self.family), self.inputs, self.paths)


def _unpickled(network: Callable[..., Any], family: Any, inputs: int, paths: tuple[Path, ...]) -> _NetworkParameters:
    return _NetworkParameters(network, families_from_pickle(family), inputs, paths)


@dataclass(frozen=True, eq=False)
class _SpaceParameters:
    """The function of the first step of an actor without a family: it runs the network, whose output is one tensor.

    network: `fn(params, *inputs)`.
    space: The space.
    inputs: The number of arguments that are inputs of the network. A further one is the mask.
    """

    network: Callable[..., Any]
    space: ActionSpace
    inputs: int

    def __repr__(self) -> str:
        return shown(self.network)

    def __call__(self, params: Any, *arguments: Any) -> Any:
        raw = self.network(params, *arguments[: self.inputs])
        if not isinstance(raw, Tensor):
            raise TypeError(f"without a family the network must return one tensor, got {type(raw).__name__}")
        return self.space.named_params(raw, *arguments[self.inputs :])


def _named(family: Any, output: Any, given: dict[Path, Any]) -> Any:
    """Return the network's output for `family` as dicts by name, with what the data gave: entries of data."""
    if is_single(family):
        given_names = {name: value for (name,), value in given.items()}
        return {**_named_parameters(family, output, given_names), **given_names}
    if isinstance(family, Chain):
        return _named_of_chain(family, output, given)
    paths: list[Path] = [(entry,) for entry in (family if isinstance(family, Mapping) else range(len(family)))]
    outputs = parts(family, paths, "the network's output", output)
    return {
        name: _named(family[path[0]], own, _below(given, path))
        for name, path, own in zip(names_in_data(family), paths, outputs, strict=True)
    }


def _named_of_chain(chain: Chain, output: Any, given: dict[Path, Any]) -> Any:
    if not isinstance(output, Mapping):
        if given:
            raise TypeError(f"data_keys of a chain add to a dict, and the network returned {type(output).__name__}")
        return output
    own = {name: head.family for name, head in chain.heads if head.params is None}
    named = {
        name: _named(own[name], value, _below(given, (name,))) if name in own else value
        for name, value in output.items()
    }
    return {**named, **{path[0]: value for path, value in given.items() if path[0] not in own}}


def _below(given: dict[Path, Any], above: Path) -> dict[Path, Any]:
    return {path[len(above) :]: value for path, value in given.items() if path[: len(above)] == above}


def _named_parameters(family: Any, output: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(output, Mapping):
        return dict(output)
    defaults = family.Params._field_defaults
    names = [name for name in family.Params._fields if name not in given and name not in defaults]
    if isinstance(output, Tensor):
        output = normal_params(output) if names == ["loc", "scale"] else (output,)
    if len(output) != len(names):
        raise ValueError(
            f"the network must put out {names}, or a dict with names of parameters, got {len(output)}; "
            "`data_keys` names parameters that are in the data, such as a mask"
        )
    return dict(zip(names, output, strict=True))
