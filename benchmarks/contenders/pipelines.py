"""What users run: parameters that are views of a network's output, bounds of an action space, one mask for all rows.

The network and `parameters.normal_params` run before the call that is timed, but in the rows of actors, whose network
returns its input.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.cases import CONTINUOUS, HIGH, LOW, Case
from benchmarks.contenders import Prepared, tensors

Tensors = dict[str, Tensor]
GRADIENTS = ("log_prob", "rsample_and_log_prob")


class Inputs(NamedTuple):
    """The arguments of a verb.

    leaves: By which the gradients are taken, where there are any; cut from the network, with the strides of its output.
    rest: The other parameters: bounds, or a mask.
    """

    leaves: list[Tensor]
    rest: list[Any]
    value: Tensor


def bounds(device: str, size: int) -> dict[str, Tensor]:
    """Return what `torch.as_tensor` makes of `low` and `high` of a `gymnasium.spaces.Box` of this size."""
    return {"low": torch.full((size,), LOW, device=device), "high": torch.full((size,), HIGH, device=device)}


def inputs(case: Case, data: Tensors, normal_params: Callable[[Tensor], Any], *, contiguous: bool = False) -> Inputs:
    """Return the inputs of a verb as a pipeline has them, or as contiguous arrays with bounds as floats."""
    case = case.call
    raw = data["raw"]
    rest: list[Any] = []
    if case.family in CONTINUOUS:
        leaves = list(normal_params(raw))
        rest = [LOW, HIGH] if contiguous else list(bounds(str(raw.device), case.shape[-1]).values())
    else:
        leaves = [raw.split([case.shape[-1], 1], -1)[0]]
        if "mask" in data:
            rest = [data["mask"].expand(case.shape).contiguous() if contiguous else data["mask"]]
    if contiguous:
        leaves = [as_contiguous(leaf) for leaf in leaves]
    leaves = [leaf.detach().requires_grad_(case.verb in GRADIENTS) for leaf in leaves]
    return Inputs(leaves, rest, data["value"])


def as_contiguous(tensor: Tensor) -> Tensor:
    return tensor.clone(memory_format=torch.contiguous_format)


def prepared(case: Case, verb: Callable[..., Any], given: Inputs, note: str = "") -> Prepared:
    """Return the call of `verb(*parameters)`, or of `verb(*parameters, value)` where that scores."""
    arguments = [*given.leaves, *given.rest, *([given.value] if case.verb == "log_prob" else [])]
    read = [argument for argument in arguments if isinstance(argument, Tensor)]
    if case.verb not in GRADIENTS:
        return Prepared(lambda: verb(*arguments), read, note)

    def call() -> tuple[Tensor, ...]:
        result = verb(*arguments)
        parts = result if isinstance(result, tuple) else (result,)
        gradients = torch.autograd.grad([part.sum() for part in parts], given.leaves)
        return *(part.detach() for part in parts), *gradients

    return Prepared(call, read, note)


# -------------------------------------------------------------------------------------------------------------- TorchRL
class ContiguousParams(torch.nn.Module):
    """A network's last layer that returns contiguous tensors."""

    def __init__(self, normal_params: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.normal_params = normal_params

    def forward(self, raw: Tensor) -> tuple[Tensor, ...]:
        return tuple(map(as_contiguous, self.normal_params(raw)))


def probabilistic_actor(
    raw: Tensor, distribution_class: type, kwargs: dict[str, Any], *, contiguous: bool = False, compiled: bool = False
) -> Prepared:
    """Return the call of TorchRL's actor whose network has put out `raw`."""
    from tensordict import TensorDict
    from tensordict.nn import InteractionType, NormalParamExtractor, TensorDictModule
    from torchrl.modules import ProbabilisticActor

    extractor = NormalParamExtractor()
    network = ContiguousParams(extractor) if contiguous else extractor
    actor: Any = ProbabilisticActor(
        TensorDictModule(network, in_keys=["observation"], out_keys=["loc", "scale"]),
        in_keys=["loc", "scale"],
        distribution_class=distribution_class,
        distribution_kwargs=kwargs,
        default_interaction_type=InteractionType.RANDOM,
        return_log_prob=True,
    )
    log_prob_key = actor.out_keys[-1]
    step = torch.compile(actor) if compiled else actor
    data = TensorDict({"observation": raw}, [len(raw)])

    def call() -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            result = step(data.copy())  # it writes into what it is given
        return result["action"], result[log_prob_key]

    return Prepared(call, [raw])


def of_objects(make: Callable[..., Any], form: str, case: Case, data: Tensors) -> Prepared:
    """Return the call for a library whose `make(*parameters)` gives a `torch.distributions.Distribution`."""
    from tensordict.nn import NormalParamExtractor

    given = inputs(case, data, NormalParamExtractor())

    def verb(*parameters: Any) -> Any:
        if case.verb == "log_prob":
            *parameters, value = parameters
            return make(*parameters).log_prob(value)
        distribution = make(*parameters)
        if case.verb == "sample" or hasattr(distribution, case.verb):
            return getattr(distribution, case.verb)()
        value = distribution.sample()
        return value, distribution.log_prob(value)

    if form == "eager":
        return prepared(case, verb, given)
    scored = [given.value] if case.verb == "log_prob" else []
    function, note = tensors.compiled(verb, [*given.leaves, *given.rest, *scored])
    return prepared(case, function, given, note)
