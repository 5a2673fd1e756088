"""What is left out where no derivative can be asked for changes no value, but for the last digits."""

import contextlib
import functools
import itertools
import math
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import mpmath
import pytest
import torch
from torch import Tensor

from functional_dists import masked_categorical, normal, random, special, tanh_normal, truncated_normal
from functional_dists.family import Real, define
from functional_dists.random import extension
from functional_dists.special import constant, quadrature
from tests.families import VERBS, call_of

KEY = random.key(3)
LOC = torch.linspace(-30.0, 30.0, 400).reshape(-1, 4)
SCALE = torch.logspace(-4, 1, 400).reshape(-1, 4).flip(0)
BOUNDS = torch.tensor(-2.0), torch.tensor(3.0)
MIRRORED = torch.tensor(-2.0), torch.tensor(2.0)
VALUE = tanh_normal.rsample(random.key(4), LOC / 10, SCALE, *BOUNDS)
LOGITS = torch.cat([3 * random.normal(KEY, (50, 9)), 1e4 * random.normal(KEY, (50, 9)), torch.zeros(50, 9)])
MASK = random.bernoulli(KEY, (150, 9), 0.6).index_fill(0, torch.tensor([7]), False)

CALLS = {
    "normal.sample_and_log_prob": (lambda *p: normal.sample_and_log_prob(KEY, *p), (LOC, SCALE)),
    "tanh_normal.sample_and_log_prob": (lambda *p: tanh_normal.sample_and_log_prob(KEY, *p), (LOC, SCALE, *BOUNDS)),
    "tanh_normal.rsample": (lambda *p: tanh_normal.rsample(KEY, *p), (LOC, SCALE, *BOUNDS)),
    "tanh_normal.rsample, mirrored": (lambda *p: tanh_normal.rsample(KEY, *p), (LOC, SCALE, *MIRRORED)),
    "tanh_normal.log_prob, mirrored": (lambda *p: tanh_normal.log_prob(*p, VALUE / 2), (LOC, SCALE, *MIRRORED)),
    "tanh_normal.log_prob": (lambda *p: tanh_normal.log_prob(*p, VALUE), (LOC, SCALE, *BOUNDS)),
    "truncated_normal.entropy": (truncated_normal.entropy, (LOC, SCALE, *BOUNDS)),
    "truncated_normal.log_prob": (lambda *p: truncated_normal.log_prob(*p, VALUE), (LOC, SCALE, *BOUNDS)),
    "masked_categorical.sample_and_log_prob": (
        lambda logits: masked_categorical.sample_and_log_prob(KEY, logits, MASK),
        (LOGITS,),
    ),
    "masked_categorical.log_prob": (
        lambda logits: masked_categorical.log_prob(logits, MASK, torch.arange(150) % 9),
        (LOGITS,),
    ),
}


def forget() -> None:
    """Bring the package to where no call is remembered."""
    constant._result.cache_clear()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", CALLS)
def test_values_are_those_of_what_has_derivatives(name: str, dtype: torch.dtype) -> None:
    function, parameters = CALLS[name]
    parameters = tuple(parameter.to(dtype) for parameter in parameters)
    alone = function(*parameters)
    tracked = function(*(parameter.clone().requires_grad_() for parameter in parameters))
    with torch.no_grad():
        cut = function(*(parameter.clone().requires_grad_() for parameter in parameters))
    eps = torch.finfo(dtype).eps
    for a, b, c in zip(*(r if isinstance(r, tuple) else (r,) for r in (alone, tracked, cut)), strict=True):
        assert torch.equal(a, c)
        torch.testing.assert_close(a, b.detach(), rtol=4 * eps, atol=4 * eps)


def test_whose_derivative_can_be_asked_for() -> None:
    plain, tracked = torch.zeros(2), torch.zeros(2, requires_grad=True)
    assert special.is_constant(plain)
    assert not special.is_constant(plain, tracked)
    with torch.no_grad():
        assert special.is_constant(tracked)
    seen = []

    def look(x: Tensor) -> Tensor:
        seen.append(special.is_constant(plain))
        return x.sum()

    torch.vmap(look)(torch.zeros(3, 2))
    torch.func.grad(look)(plain)
    torch.func.jvp(look, (plain,), (plain,))
    torch.fx.experimental.proxy_tensor.make_fx(look)(plain)
    with torch.autograd.forward_ad.dual_level():
        look(plain)
    torch.export.export(Looking(look), (plain,))
    assert seen == [False] * len(seen)
    assert len(seen) >= 6


class Looking(torch.nn.Module):
    def __init__(self, look: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.look = look

    def forward(self, x: Tensor) -> Tensor:
        return self.look(x)


def test_compiled_code_is_traced_again_where_a_derivative_can_be_asked_for() -> None:
    def marked(x: Tensor) -> Tensor:
        return x.sum() if special.is_constant(x) else 3 * x.sum()

    torch._dynamo.reset()
    compiled = torch.compile(marked, backend="aot_eager", fullgraph=True)
    plain, tracked = torch.ones(2), torch.ones(2, requires_grad=True)
    assert compiled(plain) == 2
    assert compiled(tracked) == 6
    assert compiled(tracked.detach()) == 2
    assert compiled(2 * tracked) == 12
    with torch.no_grad():
        assert compiled(tracked) == 2
    assert torch.autograd.grad(compiled(tracked), tracked)[0].tolist() == [3, 3]
    transforms = {"grad": torch.func.grad(marked), "jvp": lambda x: torch.func.jvp(marked, (x,), (x,))[1]}
    assert torch.compile(transforms["grad"], backend="aot_eager", fullgraph=True)(plain).tolist() == [3, 3]
    assert torch.compile(transforms["jvp"], backend="aot_eager", fullgraph=True)(plain) == 6
    assert compiled(plain) == 2


FIRST = "normal.sample_and_log_prob"  # all are compiled twice, and take 10 to 20 seconds each


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name != FIRST)) for name in CALLS])
def test_compiled_values_without_derivatives_are_those_with(name: str) -> None:
    function, parameters = CALLS[name]
    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True)
    alone = compiled(*parameters)
    tracked = compiled(*(parameter.clone().requires_grad_() for parameter in parameters))
    for a, b in zip(*(r if isinstance(r, tuple) else (r,) for r in (alone, tracked)), strict=True):
        torch.testing.assert_close(a, b.detach(), rtol=1e-6, atol=1e-6)


# ------------------------------------------------------------------------------------------------------------- numbers
ASLANT, MIRRORED_NUMBERS, UNIT = (-2.0, 3.0), (-3.0, 3.0), (-1.0, 1.0)


@pytest.mark.parametrize(
    ("verb", "bounds"),
    [
        (verb, bounds)
        for verb in ("rsample", "sample_and_log_prob", "icdf", "deterministic", "log_prob")
        for bounds in (ASLANT, MIRRORED_NUMBERS, UNIT)
    ],
    ids=str,
)
@pytest.mark.usefixtures("without_kernels")  # which serve numbers alone
def test_bounds_that_are_numbers_change_no_bit(verb: str, bounds: tuple[float, float]) -> None:
    """What is remembered of numbers is what is computed of tables of them, and under vmap."""
    key = (KEY,) if "sample" in verb else ()
    last = {"icdf": (torch.linspace(0, 1, 400).reshape(-1, 4),), "log_prob": (VALUE / 2,)}.get(verb, ())

    def call(loc: Tensor, scale: Tensor, low: object, high: object) -> tuple[Tensor, ...]:
        return _parts(getattr(tanh_normal, verb)(*key, loc, scale, low, high, *last))

    of_numbers = call(LOC, SCALE, *bounds)
    of_tables = call(LOC, SCALE, *(torch.full_like(LOC, bound) for bound in bounds))
    of_lanes = torch.vmap(lambda loc: call(loc, SCALE, *bounds))(LOC[None])
    of_tracked = call(LOC.clone().requires_grad_(), SCALE, *bounds)
    for a, b, c, d in zip(of_numbers, of_tables, of_lanes, of_tracked, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c[0])
        assert torch.equal(a, d)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("high", [1.0, 2.0, 0.25])
def test_pre_image_between_powers_of_two(high: float, dtype: torch.dtype) -> None:
    eps = torch.finfo(dtype).eps
    near_bound = 1 - torch.logspace(math.log10(eps / 2), -0.31, 200, dtype=dtype)
    share = torch.cat([torch.logspace(-30, -0.01, 200, dtype=dtype), near_bound[near_bound < 1]])
    value = high * torch.cat([share, -share])
    exact = [mpmath.mpf(v) / high for v in value.tolist()]
    with mpmath.workdps(50):
        x = [mpmath.atanh(s) for s in exact]
        log_slope = [mpmath.log(high * (1 - s * s)) for s in exact]
    numbers = [constant.tensor_of(bound, dtype, value.device) for bound in (-high, high)]
    for bounds in (numbers, [number.expand_as(value) for number in numbers]):
        given_x, given_log_slope = special.pre_image(value, *bounds)
        for got, wanted in zip(given_x.tolist(), x, strict=True):
            assert abs(got - wanted) <= 1.5 * eps * abs(wanted)
        for got, wanted in zip(given_log_slope.tolist(), log_slope, strict=True):
            assert abs(got - wanted) <= 1.5 * eps * max(1, abs(wanted))


def number_calls(dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    """Return every verb of every family as a function without arguments, with bounds that are numbers."""
    calls: dict[str, Callable[[], object]] = {}
    numbers = {"low": -1.0, "high": 1.0, "p.low": -1.0, "p.high": 1.0, "q.low": -1.25, "q.high": 1.5}
    for (name, of), batch in itertools.product(VERBS, [(), (2,)]):
        call = call_of(name, of, dtype, batch)
        arguments = [numbers.get(n, t) for n, t in zip(call.names, call.tensors, strict=True)]
        calls[f"{name}.{of} {batch}"] = functools.partial(call.function, *arguments)
        if "low" in call.names and not batch:
            alone = [t[0] if isinstance(t, Tensor) else t for t in arguments]  # without axes
            calls[f"{name}.{of} alone"] = functools.partial(call.function, *alone)
    return calls


def special_calls(dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    """Return public functions of bounds and of rules likewise, of tensors without axes."""
    low, high, x = (torch.tensor(number, dtype=dtype) for number in (-2.0, 3.0, 0.25))
    of_bounds = ("squash", "unsquash", "pre_image", "log_squash_slope", "strictly_inside")
    of_one = ("normal_rule", "fine_normal_rule", "half_line_rule", "log_normal_density", "next_above", "log_ndtr")
    return {
        **{name: functools.partial(getattr(special, name), x, low, high) for name in of_bounds},
        **{name: functools.partial(getattr(special, name), x) for name in of_one},
        "log_pushforward_density": lambda: special.log_pushforward_density(x, low),
        "window_rule": lambda: quadrature.window_rule(x),
        "scalar": lambda: constant.scalar(-1.0, x),
    }


@pytest.mark.parametrize("has_kernels", [True, False], ids=["kernels", "operations"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_who_writes_into_results_changes_no_later_one(dtype: torch.dtype, has_kernels: bool) -> None:
    def results() -> dict[str, tuple[Tensor, ...]]:
        calls = {**number_calls(dtype), **special_calls(dtype)}  # of new arguments: a mean may be the loc itself
        return {name: _parts(call()) for name, call in calls.items()}

    if not has_kernels:
        results = extension.without_kernels(results)
    forget()
    given = results()
    first = {name: tuple(part.clone() for part in parts) for name, parts in given.items()}
    with torch.no_grad():
        for parts in given.values():
            for part in parts:
                with contextlib.suppress(RuntimeError):  # of elements that share memory with each other
                    part.fill_(1 if part.dtype == torch.bool else 77)
    again = results()
    for name, parts in first.items():
        for a, b in zip(parts, again[name], strict=True):
            assert torch.equal(_bits(a), _bits(b)), name


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


class Params(NamedTuple):
    """Those of a family of somebody else."""

    loc: Real
    low: Real = -2.0
    high: Real = 3.0


verb = define(Params)


@verb
def lowest(loc: Real, low: Real, high: Real) -> Tensor:
    return low


@verb
def ends(loc: Real, low: Real, high: Real) -> tuple[Tensor, Tensor]:
    return low.view(1), high.expand(2)


@verb(confine=lambda value, low, high: high)
def confined(loc: Real, low: Real, high: Real) -> Tensor:
    return low


@verb
def doubled(loc: Real, low: Real, high: Real) -> Tensor:
    low.mul_(2)
    high.mul_(2)
    return special.squash(loc, low, high)


@pytest.mark.parametrize("own", [lowest, ends, confined, doubled])
def test_a_family_of_somebody_else_cannot_poison_those_of_this_package(own: Callable[..., object]) -> None:
    def results() -> list[Tensor]:
        return [
            tanh_normal.log_prob(LOC[:1], SCALE[:1], -2.0, 3.0, torch.zeros(1, 4)),
            tanh_normal.deterministic(LOC[:1], SCALE[:1], -4.0, 6.0),
            truncated_normal.mode(LOC[:1], SCALE[:1], -2.0, 3.0),
        ]

    forget()
    wanted = results()
    for _ in range(2):
        for part in _parts(own(LOC[0], -2.0, 3.0)):
            with contextlib.suppress(RuntimeError):  # of elements that share memory
                part.mul_(0.5)
    assert all(map(torch.equal, results(), wanted))
    torch.testing.assert_close(doubled(LOC[0], -2.0, 3.0), special.squash(LOC[0], *(2 * bound for bound in BOUNDS)))


def test_threads_may_be_the_first_at_the_same_time() -> None:
    def of_number(i: int) -> Tensor:
        low, high = -1.0 - i / 7, 1.0 + i / 3
        value = tanh_normal.deterministic(LOC[:2], SCALE[:2], low, high)
        return torch.cat([value, tanh_normal.log_prob(LOC[:2], SCALE[:2], low, high, value / 2)[:, None].expand(2, 4)])

    forget()
    wanted = [of_number(i) for i in range(200)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            for _ in range(3):
                forget()
                # Eight threads meet at every number.
                got = list(pool.map(of_number, [i for i in range(200) for _ in range(8)]))
                assert all(torch.equal(a, wanted[i // 8]) for i, a in enumerate(got))
    finally:
        sys.setswitchinterval(interval)
    # What threads left behind is taken for no tensor that comes later.
    for i in range(300):
        low, high = torch.tensor(-3.0 - i), torch.tensor(2.0 + i)
        assert torch.equal(special.squash(LOC[0], low, high), special.squash(LOC[0], low.expand(4), high.expand(4)))


def test_kernels_are_back_when_calls_without_them_overlap() -> None:
    built, both_are_inside = extension.kernels, threading.Barrier(2)

    @extension.without_kernels
    def look(wait: float) -> object:
        both_are_inside.wait()
        time.sleep(wait)
        return extension.kernels

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(look, [0.0, 0.05])) == [None, None]
    assert extension.kernels is built


@pytest.mark.parametrize("first", [0.0, -0.0])
def test_the_sign_of_a_bound_of_zero_is_not_that_of_an_earlier_one(first: float) -> None:
    x = torch.linspace(-2.0, 2.0, 5)

    def results(low: float) -> tuple[Tensor, ...]:
        return (
            truncated_normal.mode(x, 1.0, low, 1.0),
            tanh_normal.deterministic(x, 1.0, low, 1.0),
            special.squash(x, torch.tensor(low), torch.tensor(1.0)),
        )

    forget()
    alone = results(0.0)
    forget()
    results(first)
    results(-first)
    assert all(torch.equal(_bits(a), _bits(b)) for a, b in zip(results(0.0), alone, strict=True))


def test_bounds_of_two_dtypes_are_not_taken_for_numbers_of_one() -> None:
    x, low, high = torch.tensor(0.3), torch.tensor(-0.1), torch.tensor(0.3, dtype=torch.float64)
    assert torch.equal(special.squash(x, low, high), special.squash(x[None], low[None], high[None])[0])


def test_what_is_remembered_belongs_to_no_mode() -> None:
    forget()
    x = torch.ones(2)

    def use(x: Tensor) -> Tensor:
        return (_doubled(constant.tensor_of(0.3, x.dtype, x.device)) * x).sum()

    def remembered() -> int:
        return constant._result.cache_info().currsize

    torch.vmap(use)(x[None])
    torch.func.grad(use)(x)
    torch.fx.experimental.proxy_tensor.make_fx(use)(x)
    torch.fx.experimental.proxy_tensor.make_fx(use, pre_dispatch=True)(x)
    torch.jit.trace(use, (x,), check_trace=False)
    with torch._subclasses.FakeTensorMode():
        use(torch.ones(2))
    with torch.inference_mode():
        use(x)
    assert remembered() == 0
    tracked = x.clone().requires_grad_()
    use(tracked).backward()
    assert remembered() == 1
    assert torch.equal(tracked.grad, torch.full((2,), 0.6))
    assert torch.equal(torch.func.grad(use)(x), tracked.grad)
    assert torch.equal(torch.compile(use, backend="aot_eager", fullgraph=True)(x), use(x))


@pytest.mark.parametrize("bounds", [(-2.0, 3.0), (-2.0, 2.0)], ids=["aslant", "mirrored"])
@pytest.mark.parametrize("verb", ["deterministic", "rsample", "sample_and_log_prob", "log_prob"])
def test_bounds_alone_have_their_derivatives(verb: str, bounds: tuple[float, float]) -> None:
    key = (KEY,) if "sample" in verb else ()
    value = (VALUE / 2,) if verb == "log_prob" else ()

    def derivatives(*tracked: bool) -> tuple[Tensor, ...]:
        arguments = (LOC.double(), SCALE.double(), *(torch.tensor(bound, dtype=torch.float64) for bound in bounds))
        arguments = [t.clone().requires_grad_(is_tracked) for t, is_tracked in zip(arguments, tracked, strict=True)]
        result = _parts(getattr(tanh_normal, verb)(*key, *arguments, *(v.double() for v in value)))
        return torch.autograd.grad(result[-1].sum(), arguments[2:])

    torch.testing.assert_close(derivatives(False, False, True, True), derivatives(True, True, True, True))


def test_numbers_are_forgotten_before_they_are_too_many() -> None:
    for i in range(2 * constant._result.cache_info().maxsize):
        assert _doubled(number(float(i))) == 2 * i
    assert constant._result.cache_info().currsize == constant._result.cache_info().maxsize


def test_a_number_that_was_written_into_is_not_taken_for_what_it_was() -> None:
    x = number(2.0)
    assert _doubled(x) == 4
    x.fill_(5.0)
    assert _doubled(x) == 10


def test_nothing_is_remembered_of_a_cuda_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch._subclasses.FakeTensorMode():
        there = torch.empty((), device="cuda")
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    assert constant._can_remember(there)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    assert not constant._can_remember(there)
    assert constant._can_remember(torch.empty(()))


def number(x: float) -> Tensor:
    return constant.tensor_of(x, torch.float32, torch.device("cpu"))


@constant.computed_once_for_numbers
def _doubled(number: Tensor) -> Tensor:
    return 2 * number


def _parts(result: object) -> tuple[Tensor, ...]:
    return tuple(part for part in (result if isinstance(result, tuple) else (result,)) if isinstance(part, Tensor))


@pytest.mark.parametrize("family", [tanh_normal, truncated_normal])
def test_who_writes_into_a_support_changes_nothing(family: Any) -> None:
    wanted = family.log_prob(LOC, SCALE, -2.5, 3.5, torch.ones_like(LOC))
    for dims in (0, 1):
        found = family.support(LOC, SCALE, -2.5, 3.5, event_dims=dims)
        found = getattr(found, "base_constraint", found)
        found.lower_bound.fill_(0.5)
        found.upper_bound.fill_(0.6)
    assert torch.equal(family.log_prob(LOC, SCALE, -2.5, 3.5, torch.ones_like(LOC)), wanted)
