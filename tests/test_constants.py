"""What is left out where no derivative can be asked for changes no value, but for the last digits."""

import math
from collections.abc import Callable

import mpmath
import pytest
import torch
from torch import Tensor

from functional_dists import masked_categorical, normal, random, special, tanh_normal, truncated_normal
from functional_dists.family import verbs
from functional_dists.special import constant, quadrature
from tests.families import BY_NAME, VERBS, call_of

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


@pytest.mark.parametrize("name", CALLS)
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
        if not (verb == "log_prob" and bounds == UNIT)  # for which there is `test_pre_image_between_powers_of_two`
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
        if verb != "sample_and_log_prob" or a.ndim > 1:  # the log-prob with a gradient anchors the noise again
            assert torch.equal(a, c[0])
            assert torch.equal(a, d)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("high", [1.0, 2.0, 0.25])
def test_pre_image_between_powers_of_two(high: float, dtype: torch.dtype) -> None:
    """Of numbers it has a shorter formula, which is to be as exact as that of tables."""
    eps = torch.finfo(dtype).eps
    near_bound = 1 - torch.logspace(math.log10(eps / 2), -0.31, 200, dtype=dtype)
    share = torch.cat([torch.logspace(-30, -0.01, 200, dtype=dtype), near_bound[near_bound < 1]])
    value = high * torch.cat([share, -share])
    exact = [mpmath.mpf(v) / high for v in value.tolist()]
    with mpmath.workdps(50):
        x = [mpmath.atanh(s) for s in exact]
        log_slope = [mpmath.log(high * (1 - s * s)) for s in exact]
    numbers = constant.scalar(-high, value), constant.scalar(high, value)
    for bounds in (numbers, tuple(number.expand_as(value) for number in numbers)):
        given_x, given_log_slope = special.pre_image(value, *bounds)
        for got, wanted in zip(given_x.tolist(), x, strict=True):
            assert abs(got - wanted) <= 1.5 * eps * abs(wanted)
        for got, wanted in zip(given_log_slope.tolist(), log_slope, strict=True):
            assert abs(got - wanted) <= 1.5 * eps * max(1, abs(wanted))


@pytest.mark.parametrize(("name", "verb"), [(n, v) for n, v in VERBS if "low" in BY_NAME[n].parameters and v != "kl"])
def test_no_result_is_a_bound_that_is_remembered(name: str, verb: str) -> None:
    """Who writes into a result must not write into the bounds of the next call."""
    call = call_of(name, verb)
    numbers = {"low": -1.0, "high": 1.0}
    arguments = [numbers.get(n, t) for n, t in zip(call.names, call.tensors, strict=True)]
    result = verbs(BY_NAME[name].family)[verb](*((KEY,) if "sample" in verb else ()), *arguments)
    remembered = {known.untyped_storage().data_ptr() for known in constant._literals.values()}
    assert remembered
    assert all(part.untyped_storage().data_ptr() not in remembered for part in _parts(result))


class Special(Tensor):
    """Which might not go together with plain tensors."""


def test_literals_belong_to_no_mode() -> None:
    constant._forget()
    x = torch.ones(2)
    seen = []

    def use(x: Tensor) -> Tensor:
        seen.append(constant.literal(0.3, x))
        return (constant.scalar(0.3, x) * x).sum()

    torch.vmap(use)(x[None])
    torch.func.grad(use)(x)
    torch.fx.experimental.proxy_tensor.make_fx(use)(x)
    assert seen == [0.3] * 3
    with torch.inference_mode():
        assert constant.literal(0.3, x) is constant.literal(0.3, x)
    assert constant.literal(0.3, x.as_subclass(Special)) == 0.3
    assert isinstance(constant.literal(0.3, torch.nn.Parameter(x)), Tensor)
    tracked = x.clone().requires_grad_()
    use(tracked).backward()  # needs 0.3, which inference mode would not let it keep
    assert torch.equal(tracked.grad, torch.full((2,), 0.3))
    torch.func.grad(use)(x)
    assert isinstance(seen[-1], Tensor)
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


def test_literals_are_forgotten_before_they_are_too_many() -> None:
    x = torch.ones(2)
    for i in range(2 * constant._MOST_LITERALS):
        constant.scalar(float(i), x)
    assert len(constant._literals) <= constant._MOST_LITERALS
    assert len(constant._identities) <= constant._MOST_LITERALS


def test_a_tensor_is_not_taken_for_a_literal_that_was_there_before() -> None:
    x = torch.ones(2)
    for _ in range(100):
        constant._forget()
        known = {id(constant.scalar(float(i), x)) for i in range(50)}
        constant._forget()
        made = [torch.tensor(7.0) for _ in range(50)]
        for tensor in made:
            assert _doubled(tensor) == 14
        if known & {id(tensor) for tensor in made}:
            return
    pytest.skip("no tensor got the identity of one that is gone")


@constant.once_per_number
def _doubled(number: Tensor) -> Tensor:
    return 2 * number


def _parts(result: object) -> tuple[Tensor, ...]:
    return tuple(part for part in (result if isinstance(result, tuple) else (result,)) if isinstance(part, Tensor))


def forget() -> None:
    """Bring the package to where no call is remembered."""
    constant._forget()
    quadrature._remembered_window_table.cache_clear()
