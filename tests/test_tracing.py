"""What a tracer records depends on nothing that an earlier call remembered, and is right for other inputs."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from functional_dists import distributions, llm_masked_categorical, tanh_normal, truncated_normal
from functional_dists.special import chunks
from tests.families import DISCRETE, DISTINCT, VERBS, call_of
from tests.test_constants import forget

BATCH = (2,)
BOUNDED = ("tanh_normal", "truncated_normal", "tanh_delta")
DETERMINISTIC = [(name, verb) for name, verb in VERBS if "sample" not in verb]
# With bounds that are numbers, where there are bounds.
TRACED = [
    *(
        pytest.param(name, verb, False, marks=[pytest.mark.slow] * (name not in (*DISTINCT, *BOUNDED)))
        for name, verb in DETERMINISTIC
    ),
    *((name, verb, True) for name, verb in DETERMINISTIC if name in BOUNDED),
]
# jit's tracer says of numbers that it took for constants what they are: structure, never values.
pytestmark = pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")


def traceable(name: str, verb: str, with_numbers: bool) -> tuple[Callable[..., Any], list[Tensor], list[Tensor]]:
    """Return a verb as a function of its real tensors, these, and others."""
    call = call_of(name, verb, torch.float32, BATCH)
    numbers = {"low": -1.0, "high": 1.0, "p.low": -1.0, "p.high": 1.0, "q.low": -1.25, "q.high": 1.5}
    if name != "truncated_normal":
        numbers |= {"q.low": -1.0, "q.high": 1.0}
    fixed = {
        i: numbers[argument] if with_numbers and argument in numbers else call.tensors[i]
        for i, argument in enumerate(call.names)
        if i not in call.real or (with_numbers and argument in numbers)
    }
    moving = [i for i in call.real if i not in fixed]

    def function(*tensors: Tensor) -> Any:
        arguments = {**fixed, **dict(zip(moving, tensors, strict=True))}
        return call.function(*(arguments[i] for i in range(len(call.names))))

    inputs = [call.tensors[i] for i in moving]
    if with_numbers:  # the values of the table lie inside other bounds than these
        inputs = [x.clamp(-0.9, 0.9) if call.names[i] == "value" else x for i, x in zip(moving, inputs, strict=True)]
    others = [moved(name, call.names[i].rpartition(".")[2], x) for i, x in zip(moving, inputs, strict=True)]
    return function, inputs, others


def moved(name: str, argument: str, x: Tensor) -> Tensor:
    """Return other numbers, on the other side of some branches, that are in the support as well."""
    if argument == "value":
        return x.clone() if name in DISCRETE else 0.5 * x
    if argument in ("low", "high"):
        return x + (0.25 if argument == "high" else -0.25)
    return x.flip(0, -1) * (1.0 if argument == "param" else 1.5)


def assert_same(got: Any, wanted: Any) -> None:
    torch.testing.assert_close(got, wanted, equal_nan=True, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("grad_mode", [False, True], ids=["no_grad", "grad"])
@pytest.mark.parametrize(("name", "verb", "with_numbers"), TRACED)
def test_jit_trace(name: str, verb: str, with_numbers: bool, grad_mode: bool) -> None:
    """Which itself checks that a second trace records the same, and that it gives the same values."""
    function, inputs, others = traceable(name, verb, with_numbers)
    with torch.set_grad_enabled(grad_mode):
        inputs = tuple(x.clone().requires_grad_(grad_mode) for x in inputs)
        forget()
        fresh = torch.jit.trace(function, inputs)
        wanted = function(*others)  # remembers something
        warm = torch.jit.trace(function, inputs, check_trace=False)
        assert str(warm.graph) == str(fresh.graph)
        assert_same(fresh(*others), wanted)


@pytest.mark.parametrize("verb", ["deterministic", "mode", "cdf"])
@pytest.mark.parametrize("family", [tanh_normal, truncated_normal])
def test_jit_trace_takes_bounds_without_axes_for_tensors(family: Any, verb: str) -> None:
    """Where eager code looks at them."""
    value = (torch.tensor([[0.1, 0.2]]),) if verb == "cdf" else ()

    def of_bounds(low: Tensor, high: Tensor) -> Tensor:
        return getattr(family, verb)(torch.tensor([[0.2, 3.0]]), 0.5, low, high, *value)

    traced = torch.jit.trace(of_bounds, (torch.tensor(-1.0), torch.tensor(1.0)))
    for bounds in ((-2.0, 3.0), (-4.0, 4.0)):
        assert_same(traced(*map(torch.tensor, bounds)), of_bounds(*map(torch.tensor, bounds)))


@pytest.mark.parametrize("pre_dispatch", [False, True], ids=["", "pre_dispatch"])
@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
@pytest.mark.parametrize(("name", "verb"), [(n, v) for n in BOUNDED for v in ("log_prob", "deterministic")])
def test_make_fx(name: str, verb: str, mode: str, pre_dispatch: bool) -> None:
    function, inputs, others = traceable(name, verb, True)

    def trace() -> torch.fx.GraphModule:
        return make_fx(function, tracing_mode=mode, pre_dispatch=pre_dispatch)(*inputs)

    forget()
    fresh = trace()
    wanted = function(*others)
    assert trace().code == fresh.code
    assert_same(fresh(*others), wanted)


class Verb(torch.nn.Module):
    """A verb, as what exports."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: Tensor) -> Any:
        return self.function(*tensors)


@pytest.mark.parametrize("strict", [False, True], ids=["", "strict"])
@pytest.mark.parametrize(("name", "verb"), [("tanh_normal", "mode"), ("truncated_normal", "log_prob")])
def test_export(name: str, verb: str, strict: bool) -> None:
    function, inputs, others = traceable(name, verb, True)
    forget()
    fresh = torch.export.export(Verb(function), tuple(inputs), strict=strict)
    wanted = function(*others)
    warm = torch.export.export(Verb(function), tuple(inputs), strict=strict)
    assert warm.graph_module.code == fresh.graph_module.code
    assert_same(fresh.module()(*others), wanted)


@pytest.mark.parametrize("name", BOUNDED)
def test_fake_tensors_neither_meet_nor_leave_anything_remembered(name: str) -> None:
    function, inputs, _ = traceable(name, "deterministic", True)
    for prepare in (forget, lambda: function(*inputs)):
        prepare()
        with FakeTensorMode() as mode:
            result = function(*(mode.from_tensor(x) for x in inputs))
        assert result.shape == inputs[0].shape
    forget()
    with FakeTensorMode() as mode:
        function(*(mode.from_tensor(x) for x in inputs))
    assert not isinstance(function(*inputs), torch._subclasses.FakeTensor)


SHIMS = {
    "TanhNormal": lambda loc, scale: distributions.TanhNormal(loc, scale, low=-2.0, high=3.0),
    "TruncatedNormal": lambda loc, scale: distributions.TruncatedNormal(loc, scale, low=-2.0, high=3.0),
    "TanhDelta": lambda loc, scale: distributions.TanhDelta(loc, low=-2.0, high=3.0),
}


@pytest.mark.parametrize("grad_mode", [False, True], ids=["no_grad", "grad"])
@pytest.mark.parametrize("name", SHIMS)
def test_jit_trace_of_what_a_distribution_plays(name: str, grad_mode: bool) -> None:
    loc, scale = torch.linspace(-2, 2, 6).reshape(2, 3), torch.linspace(0.3, 2, 6).reshape(2, 3)
    for attribute in ("deterministic_sample", "mode", "mean"):

        def play(loc: Tensor, scale: Tensor, attribute: str = attribute) -> Tensor:
            return getattr(SHIMS[name](loc, scale), attribute)

        forget()
        with torch.set_grad_enabled(grad_mode):
            traced = torch.jit.trace(play, (loc, scale))
            assert_same(traced(-loc, 1 / scale), play(-loc, 1 / scale))


def test_a_traced_policy_has_its_gradient() -> None:
    """Even one traced without gradients: what would be left out of eager code for constants is there."""
    x = torch.tensor([[-40.0, -0.3, 0.0, 1.0, 90.0]])
    for family in (tanh_normal, truncated_normal):

        def play(loc: Tensor, family: Any = family) -> Tensor:
            return family.deterministic(loc, 0.5, -2.0, 3.0)

        with torch.no_grad():
            traced = torch.jit.trace(play, (x,))
        tracked = x.clone().requires_grad_()
        wanted = torch.autograd.grad(play(tracked).sum(), tracked)[0]
        torch.testing.assert_close(torch.autograd.grad(traced(tracked).sum(), tracked)[0], wanted)


@pytest.mark.parametrize("grad_mode", [False, True], ids=["no_grad", "grad"])
def test_jit_trace_of_many_tokens(monkeypatch: pytest.MonkeyPatch, grad_mode: bool) -> None:
    """Which eager code takes in chunks."""
    monkeypatch.setattr(chunks, "CHUNK", 8)
    logits, mask, tokens = torch.linspace(-3, 2, 40).reshape(4, 10), torch.ones(4, 10) > 0, torch.arange(4)

    def score(logits: Tensor) -> tuple[Tensor, Tensor]:
        return llm_masked_categorical.log_prob(logits, mask, tokens), llm_masked_categorical.entropy(logits, mask)

    with torch.set_grad_enabled(grad_mode):
        traced = torch.jit.trace(score, (logits.clone().requires_grad_(grad_mode),))
    assert_same(traced(logits.flip(0, 1)), score(logits.flip(0, 1)))
