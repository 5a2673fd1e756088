"""On a GPU every verb stays on the device, and the host neither waits for its numbers nor sends tables to it.

Two devices stand for a GPU here. "meta" is a device of every PyTorch, whose tensors hold no numbers. "cuda" is the
device of fake tensors; a PyTorch without CUDA cannot index these.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from gymnasium import spaces
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.func import grad, vmap
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from functional_dists import (
    bind,
    categorical,
    composite,
    distributions,
    divergence,
    logits,
    masked_categorical,
    normal,
    parameters,
    policy,
    random,
    tanh_normal,
    truncated_normal,
)
from functional_dists.composite import Head, chain
from functional_dists.random import ops
from functional_dists.special import choice, constant, truncated_quantile, truncation, vectorized
from tests.families import COMBINED_VERBS, SHARED, call_of, is_differentiable, keyed_call_of
from tests.families import VERBS as FAMILIES_VERBS
from tests.test_constants import forget

# Those in SHARED select rows by their mask, for which they wait for the device: their docstring says so.
VERBS = [*FAMILIES_VERBS, *(pair for pair in COMBINED_VERBS if pair[0] not in SHARED)]
DRAWS = [(name, verb) for name, verb in VERBS if "sample" in verb]
DIFFERENTIABLE = [(name, verb) for name, verb in VERBS if is_differentiable(name, verb)]
NOT_BUILT = "this PyTorch is built without CUDA, and cannot index fake CUDA tensors"
NO_GPU = "PyTorch's derivatives of fake CUDA tensors ask for a GPU itself"
READS = ("_local_scalar_dense", "equal", "is_nonzero", "nonzero", "masked_select", "_unique2")
# What the package's own operations run on a GPU; fake tensors would leave it out.
ELSEWHERE = {
    "philox": ops._elsewhere,
    "first_above": choice._search,
    "likeliest": truncation._likeliest,
    "truncated_quantile": truncated_quantile._quantile_elsewhere,
    "truncated_quantile_repair": truncated_quantile._repaired_elsewhere,
    "mask_bytes": vectorized._bytes_elsewhere,
}


class Watch(TorchDispatchMode):
    """Count the tensors that go to the device; an operation that reads numbers of the device is an error."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device, self.sent = device, 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        given = [self._is_there(t) for t in tensors_in((args, kwargs))]
        if function.namespace == "functional_dists" and any(given):
            with self:
                result = ELSEWHERE[name](*args, **(kwargs or {}))
        else:
            result = function(*args, **(kwargs or {}))
        made = [self._is_there(t) for t in tensors_in(result)]
        assert not any(given) or (name not in READS and all(made)), f"{function} reads numbers of the device"
        if given and any(made) and (name == "copy_" or not any(given)):
            self.sent += not all(given)
        else:
            axes = [t.ndim for t in tensors_in((args, kwargs)) if not self._is_there(t)]
            assert not any(made) or not any(axes), f"{function} mixes devices"
        return result

    def _is_there(self, tensor: Tensor) -> bool:
        return tensor.device.type == self.device


class WatchNumbers(TorchFunctionMode):
    """Count the tensors that are made of Python numbers on the device "meta", where no operation shows it."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        self.sent += function in (torch.tensor, torch.as_tensor) and result.is_meta and not tensors_in(args)
        return result


def tensors_in(tree: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


@pytest.fixture(params=["meta", "cuda"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    # A mode watches the code, and yet it is to run as in eager mode.
    monkeypatch.setattr(torch._C, "_len_torch_dispatch_stack", lambda: 0)
    # PyTorch's own kernels of keys would be tried with numbers.
    monkeypatch.setattr(ops, "_has_native_kernels", lambda device_type: False)
    # A PyTorch without CUDA raises here.
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    forget()
    with FakeTensorMode() if request.param == "cuda" else contextlib.nullcontext():
        yield request.param
    forget()


def there(device: str, tree: Any) -> Any:
    """Return tensors of these shapes on the device."""
    return pytree.tree_map_only(
        Tensor,
        lambda t: torch.empty(t.shape, dtype=t.dtype, device=device).requires_grad_(t.requires_grad),
        tree,
    )


def stays(device: str, function: Callable[..., Any], *arguments: Any, sent: int | None = 0) -> Any:
    """Call a function on the device, where its results must be; None allows that it sends tensors."""
    try:
        with Watch(device) as watch, WatchNumbers() as numbers:
            assert constant.is_plain()
            result = function(*arguments)
    except RuntimeError as error:
        if "not linked with support for cuda" in str(error):
            pytest.skip(NOT_BUILT)
        raise
    assert {tensor.device.type for tensor in tensors_in(result)} == {device}
    assert sent is None or watch.sent + numbers.sent == sent, "tensors were sent to the device"
    return result


def call_on(device: str, name: str, verb: str, dtype: torch.dtype = torch.float32) -> Any:
    call = (keyed_call_of if "sample" in verb else call_of)(name, verb, dtype, (2,))
    return call._replace(tensors=there(device, call.tensors))


# ---------------------------------------------------------------------------------------------------- families' verbs
@pytest.mark.parametrize(("name", "verb"), VERBS)
def test_verbs(name: str, verb: str, device: str) -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        call = call_on(device, name, verb, dtype)
        stays(device, call.function, *call.tensors)


@pytest.mark.parametrize(("name", "verb"), VERBS)
def test_numbers_as_scale_bounds_and_value(name: str, verb: str, device: str) -> None:
    call = call_on(device, name, verb)
    numbers = {"scale": 1.5, "low": -1, "high": 2.0, "pre": 0.5, **({} if "one_hot" in name else {"value": 1})}
    arguments = [numbers.get(given.split(".")[-1], t) for given, t in zip(call.names, call.tensors, strict=True)]
    if not tensors_in(arguments):
        arguments[0] = call.tensors[0]
    stays(device, call.function, *arguments)


@pytest.mark.parametrize(("name", "verb"), DIFFERENTIABLE)
def test_gradients(name: str, verb: str, device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip(NO_GPU)
    call = call_on(device, name, verb)

    def total(*tensors: Tensor) -> Tensor:
        return sum(part.sum() for part in tensors_in(call.function(*tensors)))

    tracked = [t.requires_grad_(i in call.real) for i, t in enumerate(call.tensors)]
    with torch.autograd.set_multithreading_enabled(False):
        stays(device, lambda: torch.autograd.grad(total(*tracked), [tracked[i] for i in call.real], allow_unused=True))
    stays(device, vmap(grad(total, call.real), (None if "sample" in verb else 0, *[0] * (len(tracked) - 1))), *tracked)


@pytest.mark.parametrize(("name", "verb"), DRAWS)
def test_a_batch_of_keys(name: str, verb: str, device: str) -> None:
    call = call_on(device, name, verb)
    keys = there(device, random.split(random.key(3)))
    for draw in (call.function, vmap(call.function)):
        stays(device, draw, keys, *call.tensors[1:])


@pytest.mark.parametrize(("name", "verb"), DRAWS)
def test_a_key_on_the_host_is_sent(name: str, verb: str, device: str) -> None:
    call = call_on(device, name, verb)
    stays(device, call.function, random.key(3), *call.tensors[1:], sent=name not in ("delta", "tanh_delta"))


@pytest.mark.parametrize(("name", "verb"), VERBS)
def test_caches_hold_nothing_of_a_default_device_or_a_fake(name: str, verb: str) -> None:
    call = (keyed_call_of if "sample" in verb else call_of)(name, verb, torch.float32)
    wanted = tensors_in(call.function(*call.tensors))
    forget()
    with torch.device("meta"):
        under_default_device = call.function(*call.tensors)
    after_default_device = call.function(*call.tensors)
    forget()
    with FakeTensorMode() as mode:
        assert all(isinstance(t, FakeTensor) for t in tensors_in(call.function(*map(mode.from_tensor, call.tensors))))
    for result in (under_default_device, after_default_device, call.function(*call.tensors)):
        torch.testing.assert_close(tensors_in(result), wanted, rtol=0, atol=0, equal_nan=True)


# ------------------------------------------------------------------------------------------------------ other functions
KEY = random.key(3)
LOC, SCALE, LOGITS, MASK = torch.zeros(4, 3), torch.ones(3), torch.zeros(4, 5), torch.ones(4, 5, dtype=torch.bool)
REACH = torch.ones(4, 3, dtype=torch.bool)
TORQUE = bind(tanh_normal, low=-2.0, high=3.0)
HEADS = {"move": TORQUE, "tool": masked_categorical}
PARAMS = {"move": (LOC, SCALE), "tool": (LOGITS, MASK)}
VALUES = {"move": LOC, "tool": torch.zeros(4, dtype=torch.int64)}
ARM = chain(
    tool=Head(categorical), move=Head(normal, lambda params, values: (params["loc"] + values["tool"][:, None], 1.0))
)
ARM_PARAMS = {"tool": (LOGITS,), "loc": LOC}


def composites(verb: str) -> dict[str, Any]:
    function = getattr(composite, verb)
    if "sample" in verb:
        return {
            f"composite.{verb}": (lambda key, params: function(key, HEADS, params), (KEY, PARAMS)),
            f"composite.{verb} of a chain": (lambda key, params: function(key, ARM, params), (KEY, ARM_PARAMS)),
        }
    return {f"composite.{verb}": (lambda params: function(HEADS, params), (PARAMS,))}


def normal_draws(dtype: torch.dtype) -> dict[str, Any]:
    kinds = (random.uniform, random.normal, random.exponential, random.gumbel, random.uniform_and_rest)
    return {
        f"random.{draw.__name__} {dtype}": (lambda key, draw=draw: draw(key, (4, 3), dtype=dtype), (KEY,))
        for draw in kinds
    }


CALLS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    **normal_draws(torch.float32),
    **normal_draws(torch.float64),
    **normal_draws(torch.bfloat16),
    "random.bits": (lambda key: [random.bits(key, 5, dtype=dtype) for dtype in (torch.int8, torch.int64)], (KEY,)),
    "random.bernoulli": (lambda key, p: (random.bernoulli(key, 4, 0.5), random.bernoulli(key, 4, p)), (KEY, SCALE[:1])),
    "random.randint": (lambda key, low: (random.randint(key, 4, 1, 7), random.randint(key, 4, low, 7)), (KEY, KEY[:1])),
    "random.permutation": (lambda key: random.permutation(key, 5), (KEY,)),
    "random.split": (random.split, (KEY,)),
    "random.fold_in": (lambda key: (random.fold_in(key, 3), random.fold_in(key, key)), (KEY,)),
    "random.where": (random.where, (MASK[0, 0], KEY, KEY)),
    "random.normal_at": (lambda key, at: (random.normal_at(key, at), random.bits_at(key, at)), (KEY, torch.arange(4))),
    "logits, numbers": (
        lambda x: (logits.temperature(x, 0.5), logits.top_k(x, 2), logits.top_p(x, 0.5), logits.min_p(x, 0.1)),
        (LOGITS,),
    ),
    "logits, a number a row": (
        lambda x, k, p: (logits.temperature(x, p), logits.top_k(x, k), logits.top_p(x, p), logits.min_p(x, p)),
        (LOGITS, torch.ones(4, dtype=torch.int64), torch.ones(4)),
    ),
    "logits.sample_without_replacement": (lambda key, x: logits.sample_without_replacement(key, x, 2), (KEY, LOGITS)),
    "parameters": (
        lambda raw, scale: (parameters.normal_params(raw), parameters.state_independent_scale(raw, scale)),
        (torch.zeros(4, 6), torch.ones(6)),
    ),
    **{
        f"divergence.kl of {p.__name__.split(chr(46))[-1]}": (
            lambda loc, scale, p=p, q=q: divergence.kl((p, p.Params(loc, scale)), (q, q.Params(loc, 1.0))),
            (LOC, SCALE),
        )
        for p, q in ((normal, normal), (tanh_normal, tanh_normal), (truncated_normal, truncated_normal))
    },
    **composites("sample"),
    **composites("rsample_and_log_prob"),
    **composites("rsample_pretanh"),
    **composites("entropy"),
    **composites("deterministic"),
    "composite.log_prob": (lambda params, values: composite.log_prob(HEADS, params, values), (PARAMS, VALUES)),
    "composite.log_prob of a chain": (
        lambda params, values: composite.log_prob(ARM, params, values),
        (ARM_PARAMS, VALUES),
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_functions(name: str, device: str) -> None:
    function, arguments = CALLS[name]
    stays(device, function, *there(device, arguments))


# ------------------------------------------------------------------------------------------------------ policy and shim
SPEC = spaces.Dict({"move": spaces.Box(-1.0, 1.0, (3,)), "tool": spaces.Discrete(5, start=2)})
MANY = spaces.MultiDiscrete([5, 5], start=[1, 2])


ACTORS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "tanh_normal": (TORQUE, torch.ones(3, 6), {}),
    "tanh_normal, pre-tanh": (TORQUE, torch.ones(3, 6), {"keep_pretanh": True}),
    "truncated_normal": (truncated_normal, torch.ones(3, 6), {"spec": SPEC["move"], "safe": True}),
    "categorical": (categorical, torch.ones(3, 5), {"spec": SPEC["tool"]}),
    "heads": (
        {"move": normal, "tool": categorical},
        {"move": torch.ones(3, 6), "tool": torch.ones(3, 5)},
        {"spec": SPEC, "safe": True},
    ),
    "multi-discrete": (categorical, torch.ones(3, 5), {"spec": MANY, "rows": True}),
}


@pytest.mark.parametrize("kind", ["random", "mode"])
@pytest.mark.parametrize("name", ACTORS)
def test_actors(name: str, kind: str, device: str) -> None:
    family, weights, options = ACTORS[name]
    options = dict(options)
    rows = options.pop("rows", False)
    x = torch.zeros(4, 2, 3) if rows else torch.zeros(4, 3)
    weights, act = policy.actor(
        (weights, lambda params, x: pytree.tree_map(lambda weight: x @ weight, params)),
        family,
        in_keys=["x"],
        return_log_prob=True,
        default_interaction_type=kind,
        **options,
    )
    weights, key, data = there(device, (weights, KEY, {"x": x}))
    stays(device, act, weights, key, data, sent=None)  # the first call sends the constants of the spec
    data = stays(device, act, weights, key, data)
    stays(device, act.log_prob, weights, data)
    stays(device, act.entropy, weights, data)


OBJECTS: dict[str, Callable[..., Any]] = {
    "TanhNormal": lambda loc, scale, mask: distributions.TanhNormal(loc, scale, low=-2.0, high=3.0),
    "TanhNormal, upscale": lambda loc, scale, mask: distributions.TanhNormal(loc, scale, upscale=2.0, tanh_loc=True),
    "TanhNormal, tensors": lambda loc, scale, mask: distributions.TanhNormal(loc, scale, low=-scale, high=scale),
    "TruncatedNormal": lambda loc, scale, mask: distributions.TruncatedNormal(loc, scale, low=-2.0, high=3.0),
    "IndependentNormal": lambda loc, scale, mask: distributions.IndependentNormal(loc, scale),
    "Delta": lambda loc, scale, mask: distributions.Delta(loc),
    "TanhDelta": lambda loc, scale, mask: distributions.TanhDelta(loc, low=-2.0),
    "MaskedCategorical": lambda loc, scale, mask: distributions.MaskedCategorical(loc, mask=mask),
    "OneHotCategorical": lambda loc, scale, mask: distributions.OneHotCategorical(loc),
    "MaskedOneHotCategorical": lambda loc, scale, mask: distributions.MaskedOneHotCategorical(loc, mask=mask),
    "Ordinal": lambda loc, scale, mask: distributions.Ordinal(loc),
    "OneHotOrdinal": lambda loc, scale, mask: distributions.OneHotOrdinal(loc),
    "LLMMaskedCategorical": lambda loc, scale, mask: distributions.LLMMaskedCategorical(loc, mask),
    "wrap": lambda loc, scale, mask: distributions.wrap(truncated_normal, loc, 1.0, -1.0, 2.0),
}
METHODS = ("entropy", "mean", "variance", "stddev", "mode", "median", "deterministic_sample")


@pytest.mark.parametrize("name", OBJECTS)
def test_objects(name: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributions.Distribution, "_validate_args", False)  # which reads the parameters
    arguments = there(device, (LOC, SCALE, REACH))
    key = there(device, KEY)

    def use(*arguments: Any) -> Any:
        dist = OBJECTS[name](*arguments)
        value = dist.sample((2,), key=key)
        found = [value, dist.log_prob(value)]
        for method in METHODS:
            with contextlib.suppress(NotImplementedError, AttributeError):
                result = getattr(dist, method)
                found.append(result() if callable(result) else result)
        return [*found, dist.expand((5, 4)).sample(key=key)]

    assert len(stays(device, use, *arguments)) > 4
