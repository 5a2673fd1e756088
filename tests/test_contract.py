"""What holds for every verb of every family: signatures, transforms, compilation, dtypes, pytrees, randomness."""

import inspect
import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter, CompileCounterWithBackend
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap

from functional_dists import random, tanh_normal
from functional_dists.family import verbs
from functional_dists.family.trees import fnv1a
from tests.accuracy.goals import NAMES as MEASURED
from tests.families import (
    BY_NAME,
    COMBINED_VERBS,
    CONTINUOUS,
    DIFFERENTIABLE,
    DISCRETE,
    DISTINCT,
    EVENT,
    FAMILIES,
    ONE_HOT,
    POINTS,
    SHARED,
    VERBS,
    call_of,
    is_differentiable,
    keyed_call_of,
)

BATCH = (2,)
SUMMED = ("log_prob", "log_prob_pretanh", "entropy", "kl", "sample_and_log_prob", "rsample_and_log_prob")
SUMS_EVENTS = [(name, verb) for name, verb in VERBS if verb in SUMMED and name not in DISCRETE]
# Options of single families.
OWN = ("gradient", "temperature", "padding_value", "ignore_index", "atol", "rtol", "softcap", "mask", "support")
LOG_PROBS = ("log_prob", "entropy", "kl", "normalized_logits", "log_cdf", "log_survival")
DRAWS = [(name, verb) for name, verb in VERBS if "sample" in verb]
# The tests of transformations know no shapes, so that they also run over the families with other examples.
TRANSFORMED = [*VERBS, *COMBINED_VERBS]
OF_CATEGORIES = [(name, verb) for name, verb in TRANSFORMED if name in (*DISCRETE, *SHARED)]
OF_LOG_PROBS = [(name, verb) for name, verb in OF_CATEGORIES if verb.startswith(LOG_PROBS) or verb in SUMMED]
BATCHED = [(name, verb) for name, verb in TRANSFORMED if name not in SHARED]
KEYED = [(name, verb) for name, verb in TRANSFORMED if "sample" in verb]
DERIVED = [(name, verb) for name, verb in TRANSFORMED if is_differentiable(name, verb)]


def parts(result: Any) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


def total(function: Any) -> Any:
    """Return `function` summed to a number, so that it has a gradient."""
    return lambda *tensors: sum(part.sum() for part in parts(function(*tensors)))


def distinct_first(pairs: list[tuple[str, str]], *, seen_elsewhere: Any = lambda name, verb: False) -> list[Any]:
    """Mark as slow the families that share their code with others, and what is `seen_elsewhere`: half an hour."""
    slow = pytest.mark.slow
    return [
        pytest.param(name, verb, marks=[slow] * (name not in DISTINCT or seen_elsewhere(name, verb)))
        for name, verb in pairs
    ]


def is_derived_elsewhere(name: str, verb: str) -> bool:
    """Whether the derivatives of other verbs contain those of this one."""
    others = {
        "rsample": "rsample_and_log_prob",
        "median": "icdf",
        "stddev": "variance",
        "log_prob_and_entropy": "entropy",
    }
    return (name, others.get(verb)) in DIFFERENTIABLE


def goes_through_inductor_elsewhere(name: str, verb: str) -> bool:
    """Whether the accuracy tests measure it compiled, or it is the draw without gradient that is compared below."""
    if name == "truncated_normal" and "sample" in verb:  # compile for half a minute to more than a minute
        return True
    return verb == "sample" or any(measured.startswith(f"{name}.{verb}") for measured in MEASURED)


def along_ones(function: Any, call: Any) -> Any:
    """Return value and derivative as all real arguments grow alike."""
    real = tuple(call.tensors[i] for i in call.real)

    def of_real(*moved: Tensor) -> Any:
        tensors = list(call.tensors)
        for i, tensor in zip(call.real, moved, strict=True):
            tensors[i] = tensor
        return function(*tensors)

    return jvp(of_real, real, tuple(torch.ones_like(t) for t in real))


def assert_same(got: Any, wanted: Any, **tolerance: float) -> None:
    for a, b in zip(parts(got), parts(wanted), strict=True):
        torch.testing.assert_close(a, b, equal_nan=True, **tolerance)


# --------------------------------------------------------------------------------------------------------- signatures
@pytest.mark.parametrize(("name", "verb"), [*VERBS, *((name, verb) for name, verb in COMBINED_VERBS if name in SHARED)])
def test_signature(name: str, verb: str) -> None:
    row = BY_NAME[name]
    signature = inspect.signature(verbs(row.family)[verb])
    positional = [p.name for p in signature.parameters.values() if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    options = {p.name: p.default for p in signature.parameters.values() if p.kind is inspect.Parameter.KEYWORD_ONLY}
    fields = list(row.family.Params._fields)
    bounds = [field for field in fields if field in ("low", "high")]
    expected = {
        "kl": ["p", "q"],
        "squash": ["pre", *bounds],
        "unsquash": ["value", *bounds],
        "inside": ["value", *bounds],
        "log_prob_pretanh": [*fields, "pre"],
    }.get(verb)
    if expected is None:
        scores = verb in (
            "log_prob",
            "log_prob_and_entropy",
            "log_prob_relaxed",
            "cdf",
            "log_cdf",
            "survival",
            "log_survival",
            "icdf",
        )
        expected = ["key"] * ("sample" in verb) + fields + ["value"] * scores
    assert positional == expected
    assert len(positional) + len(options) == len(signature.parameters)
    assert {option: default for option, default in options.items() if option not in OWN} == {
        **({"sample_shape": ()} if "sample" in verb else {}),
        **({"dtype": None} if (name, verb) in OF_LOG_PROBS else {}),
        **({"event_dims": row.event_dims} if (name, verb) in SUMS_EVENTS else {}),
    }
    assert list(row.parameters) == fields


# --------------------------------------------------------------------------------------------------------- transforms
@pytest.mark.parametrize(("name", "verb"), TRANSFORMED)
def test_vmap_over_any_subset_is_the_loop(name: str, verb: str) -> None:
    single, batched = call_of(name, verb), call_of(name, verb, batch=BATCH)
    count = len(single.tensors)
    for chosen in itertools.product((None, 0), repeat=count):
        if chosen == (None,) * count:
            continue
        mixed = [b if dim == 0 else s for s, b, dim in zip(single.tensors, batched.tensors, chosen, strict=True)]
        got = vmap(single.function, in_dims=chosen)(*mixed)
        lanes = [
            parts(single.function(*(t[i] if dim == 0 else t for t, dim in zip(mixed, chosen, strict=True))))
            for i in range(BATCH[0])
        ]
        assert_same(got, tuple(torch.stack(lane) for lane in zip(*lanes, strict=True)), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize(("name", "verb"), BATCHED)
def test_transforms_agree_with_what_kernels_compute(name: str, verb: str) -> None:
    """Compiled kernels serve float32 in eager code alone: `vmap` and `grad` are left to PyTorch's operations."""
    call = call_of(name, verb, torch.float32, BATCH)
    rows = [tuple(t[i].contiguous() for t in call.tensors) for i in range(BATCH[0])]
    loop = [parts(call.function(*row)) for row in rows]
    lanes = tuple(torch.stack(lane) for lane in zip(*loop, strict=True))
    assert_same(vmap(call.function)(*call.tensors), lanes, rtol=2e-6, atol=2e-6)
    if (name, verb) not in DERIVED:
        return
    tracked = [t.clone().requires_grad_() if i in call.real else t for i, t in enumerate(call.tensors)]
    asked = [tracked[i] for i in call.real]
    by_autograd = torch.autograd.grad(total(call.function)(*tracked), asked, allow_unused=True)
    by_autograd = tuple(torch.zeros_like(t) if g is None else g for g, t in zip(by_autograd, asked, strict=True))
    assert_same(grad(total(call.function), call.real)(*call.tensors), by_autograd, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(("name", "verb"), BATCHED)
def test_nested_vmap_is_the_batched_call(name: str, verb: str) -> None:
    call = call_of(name, verb, batch=(2, 4))
    got = vmap(vmap(call.function))(*call.tensors)
    if "sample" in verb:  # one key gives every lane the same noise, a batched call fresh noise to every element
        single = [t[1, 2] for t in call.tensors]
        got, wanted = tuple(part[1, 2] for part in parts(got)), call.function(*single)
    else:
        wanted = call.function(*call.tensors)
    assert_same(got, wanted, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize(("name", "verb"), KEYED)
def test_vmap_over_keys_is_the_loop(name: str, verb: str) -> None:
    call = keyed_call_of(name, verb)
    keys = random.split(call.tensors[0], 3)
    got = vmap(call.function, in_dims=(0, *[None] * (len(call.tensors) - 1)))(keys, *call.tensors[1:])
    lanes = [parts(call.function(key, *call.tensors[1:])) for key in keys]
    assert_same(got, tuple(torch.stack(lane) for lane in zip(*lanes, strict=True)), rtol=1e-14, atol=0)


def real_parameters(name: str, verb: str) -> int:
    call = call_of(name, verb)
    return sum(call.names[i] != "value" for i in call.real)


# The score-function gradient is no derivative of the draw; `test_score_gradient_...` is about it.
# Nor is the straight-through gradient of a one-hot vector one; and of a relaxed one what is masked must stay 0.
SMOOTH = [
    (name, verb)
    for name, verb in DERIVED
    if verb != "sample_and_log_prob"
    and not (name in ONE_HOT and verb.startswith("rsample"))
    and not (name.startswith(("masked", "sparse")) and verb == "log_prob_relaxed")
]


@pytest.mark.parametrize(("name", "verb"), SMOOTH)
def test_gradient_is_the_finite_difference(name: str, verb: str) -> None:
    call = call_of(name, verb)
    tensors = [t.requires_grad_(t.is_floating_point()) for t in call.tensors]
    assert torch.autograd.gradcheck(call.function, tensors, eps=1e-6, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("name", "verb"), DERIVED)
def test_derivatives_agree_between_modes_and_under_vmap(name: str, verb: str) -> None:
    call = call_of(name, verb)
    function, argnums = total(call.function), call.real
    gradient = grad(function, argnums)(*call.tensors)
    assert_same(jacrev(function, argnums)(*call.tensors), gradient)
    assert_same(jacfwd(function, argnums)(*call.tensors), gradient, rtol=1e-9, atol=1e-11)
    _, directional = along_ones(function, call)
    assert_same(directional, sum(g.sum() for g in gradient), rtol=1e-9, atol=1e-11)

    batched = call_of(name, verb, batch=BATCH)
    lanes = [grad(function, argnums)(*(t[i] for t in batched.tensors)) for i in range(BATCH[0])]
    wanted = tuple(torch.stack(lane) for lane in zip(*lanes, strict=True))
    assert_same(vmap(grad(function, argnums))(*batched.tensors), wanted, rtol=1e-10, atol=1e-12)
    assert_same(vmap(jacfwd(function, argnums))(*batched.tensors), wanted, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("name", "verb"), SMOOTH)
def test_second_derivatives_are_differences_of_the_first(name: str, verb: str) -> None:
    call = call_of(name, verb)
    function = total(call.function)
    step = 1e-5
    for i in call.real:

        def of_one(x: Tensor, i: int = i) -> Tensor:
            return function(*call.tensors[:i], x, *call.tensors[i + 1 :])

        x = call.tensors[i]
        curvature = hessian(of_one)(x)
        assert_same(jacrev(jacrev(of_one))(x), curvature, rtol=1e-7, atol=1e-9)
        bumps = step * torch.eye(x.numel(), dtype=x.dtype).reshape(-1, *x.shape)
        for bump, slope in zip(bumps, curvature.reshape(bumps.shape), strict=True):
            difference = (grad(of_one)(x + bump) - grad(of_one)(x - bump)) / (2 * step)
            assert_same(slope, difference, rtol=1e-4, atol=1e-5)
    batched = call_of(name, verb, batch=BATCH)
    first = vmap(hessian(function, argnums=0))(*batched.tensors)
    lane = hessian(function, argnums=0)(*(t[1] for t in batched.tensors))
    assert_same(first[1], lane, rtol=1e-10, atol=1e-12)


# -------------------------------------------------------------------------------------------------------- compilation
def compiled(function: Any, backend: str = "aot_eager") -> Any:
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend=backend)


@pytest.mark.parametrize(("name", "verb"), distinct_first(TRANSFORMED))
def test_compiles_once_for_all_values(name: str, verb: str) -> None:
    call = call_of(name, verb, batch=() if name in SHARED else BATCH)
    count = CompileCounterWithBackend("aot_eager")
    function = compiled(call.function, count)
    for shift in (0.0, 1e-3, 2e-3):
        tensors = [t + shift if t.is_floating_point() else t for t in call.tensors]
        assert_same(function(*tensors), call.function(*tensors), rtol=1e-12, atol=1e-13)
    assert count.frame_count == 1


@pytest.mark.parametrize(("name", "verb"), distinct_first(TRANSFORMED))
def test_compiles_under_vmap(name: str, verb: str) -> None:
    call = call_of(name, verb, batch=BATCH)
    mapped = vmap(call.function)
    assert_same(compiled(mapped)(*call.tensors), mapped(*call.tensors), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("transform", ["vmap_grad", "jvp", "jacrevs"])
@pytest.mark.parametrize(("name", "verb"), distinct_first(DERIVED, seen_elsewhere=is_derived_elsewhere))
def test_derivatives_compile(name: str, verb: str, transform: str) -> None:
    call = call_of(name, verb, batch=BATCH if transform == "vmap_grad" else ())
    function, argnums = total(call.function), call.real

    def jacrevs(*tensors: Tensor) -> Any:
        once = jacrev(lambda *tensors: parts(call.function(*tensors))[-1], argnums=0)
        return once(*tensors), jacrev(jacrev(function, argnums=call.real[-1]), argnums=0)(*tensors)

    transformed = {
        "vmap_grad": vmap(grad(function, argnums)),
        "jvp": lambda *tensors: along_ones(function, call._replace(tensors=tensors)),
        "jacrevs": jacrevs,
    }[transform]
    assert_same(compiled(transformed)(*call.tensors), transformed(*call.tensors), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("name", "verb"), distinct_first(VERBS, seen_elsewhere=goes_through_inductor_elsewhere))
def test_inductor_gives_value_and_gradient(name: str, verb: str) -> None:
    call = call_of(name, verb, torch.float32, BATCH)

    def value_and_gradient(*tensors: Tensor) -> tuple[Tensor, ...]:
        value = parts(call.function(*tensors))
        if (name, verb) not in DERIVED:
            return value
        return (*value, *grad(total(call.function), call.real)(*tensors))

    got = compiled(value_and_gradient, "inductor")(*call.tensors)
    assert_same(got, value_and_gradient(*call.tensors), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(("name", "verb"), [(n, v) for n, v in VERBS if n == "tanh_normal" and v != "kl"])
def test_new_numbers_recompile_at_most_once(name: str, verb: str) -> None:
    call = call_of(name, verb)
    count = CompileCounter()
    function = compiled(call.function, count)
    for number in (3.0, 4.0, 5.0, 6.0, 7.0):
        function(*(number if name == "high" else t for name, t in zip(call.names, call.tensors, strict=True)))
    assert count.frame_count <= 2


@pytest.mark.parametrize("wider", [0, 1])
def test_new_bounds_of_a_divergence_recompile_at_most_once(wider: int) -> None:
    """Equal numbers, which leave out the integral, and others."""
    count = CompileCounter()

    def divergence(loc: Tensor, p_high: float, q_high: float) -> Tensor:
        return tanh_normal.kl((loc, 1.0, -1.0, p_high), (loc + 1, 1.0, -1.0, q_high))

    function, loc = compiled(divergence, count), torch.zeros(3)
    for number in (3.0, 4.0, 5.0, 6.0, 7.0):
        torch.testing.assert_close(function(loc, number, number + wider), divergence(loc, number, number + wider))
    assert count.frame_count <= 2


# ---------------------------------------------------------------------------------------------------------- arguments
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize(("name", "verb"), TRANSFORMED)
def test_dtypes(name: str, verb: str, dtype: torch.dtype) -> None:
    call = call_of(name, verb, dtype)
    got = call.function(*call.tensors)
    assert all(part.dtype == (dtype if part.is_floating_point() else torch.int64) for part in parts(got))
    wanted = call.function(*(t.float() if t.is_floating_point() else t for t in call.tensors))
    if "sample" in verb and dtype != torch.float32:
        wanted = tuple(part.to(dtype) if part.is_floating_point() else part for part in parts(wanted))
        # Rounding may reach a bound, which the draw itself never does.
        epsilon = torch.finfo(dtype).eps
        assert_same(got, wanted, rtol=2 * epsilon, atol=2 * epsilon)
    else:
        wanted = tuple(part.to(got_part.dtype) for part, got_part in zip(parts(wanted), parts(got), strict=True))
        assert_same(got, wanted, rtol=torch.finfo(dtype).eps, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize(("name", "verb"), OF_LOG_PROBS)
def test_log_probs_in_another_dtype(name: str, verb: str, dtype: torch.dtype) -> None:
    """The option removes the last rounding; the values of draws keep their dtype."""
    call = call_of(name, verb, dtype)
    *values, wanted = parts(call.function(*(t.float() if t.is_floating_point() else t for t in call.tensors)))
    with_option = call_of(name, verb, dtype, options={"dtype": torch.float32})
    *got_values, got = parts(with_option.function(*with_option.tensors))
    assert got.dtype == torch.float32
    assert_same(got, wanted, rtol=2e-6, atol=2e-6)
    if verb == "log_prob_and_entropy":
        assert_same(tuple(got_values), tuple(values), rtol=2e-6, atol=2e-6)
    if "sample" in verb:
        assert_same(tuple(got_values), parts(call.function(*call.tensors))[:1], rtol=0, atol=0)
    wide = call_of(name, verb, dtype, options={"dtype": torch.float64})
    assert parts(wide.function(*wide.tensors))[-1].dtype == torch.float64
    wrong = call_of(name, verb, dtype, options={"dtype": torch.int64})
    with pytest.raises(TypeError, match="dtype must be a floating-point dtype"):
        wrong.function(*wrong.tensors)


@pytest.mark.parametrize("name", DISCRETE)
def test_log_prob_and_entropy_are_those_of_the_two_verbs(name: str) -> None:
    family, call = BY_NAME[name].family, call_of(name, "log_prob_and_entropy", torch.float32, BATCH)
    log_prob, entropy = family.log_prob_and_entropy(*call.tensors)
    assert torch.equal(log_prob, family.log_prob(*call.tensors))
    assert torch.equal(entropy, family.entropy(*call.tensors[:-1]))
    assert family.log_prob_and_entropy(family.Params(*call.tensors[:-1]), call.tensors[-1])[0].equal(log_prob)


@pytest.mark.parametrize(("name", "verb"), [(n, v) for n, v in VERBS if real_parameters(n, v) > 1])
def test_promotes_mixed_dtypes(name: str, verb: str) -> None:
    call = call_of(name, verb)
    got = call.function(call.tensors[0].float(), *call.tensors[1:])
    assert all(part.dtype == torch.float64 for part in parts(got))


@pytest.mark.parametrize(("name", "verb"), VERBS)
def test_accepts_numbers_and_names(name: str, verb: str) -> None:
    call = call_of(name, verb)
    if verb == "kl":
        params = BY_NAME[name].family.Params
        function = verbs(BY_NAME[name].family)["kl"]
        half = len(call.tensors) // 2
        p, q = params(*call.tensors[:half]), params(*call.tensors[half:])
        assert_same(function(p._asdict(), q=tuple(q)), function(p, q))
        return
    family_verb = verbs(BY_NAME[name].family)[verb]
    key = (random.key(7),) if "sample" in verb else ()
    named = dict(zip(call.names, call.tensors, strict=True))
    assert_same(family_verb(*key, **named), family_verb(*key, *call.tensors))
    lists = ("indices", "value") if name in ONE_HOT else ("indices",)  # of which no number is one
    tensors = [
        t if i == 0 or n in lists else t.flatten()[0]
        for i, (n, t) in enumerate(zip(call.names, call.tensors, strict=True))
    ]
    numbers = [t if i == 0 or t.ndim else t.item() for i, t in enumerate(tensors)]
    assert_same(family_verb(*key, *numbers), family_verb(*key, *tensors))


# llm_masked_categorical refuses the leaves here, which broadcast; its own tests have trees that fit.
@pytest.mark.parametrize(("name", "verb"), [(n, v) for n, v in VERBS if n != "llm_masked_categorical"])
def test_pytrees(name: str, verb: str) -> None:
    """A leaf of a tree gives what it gives alone, with a key that depends on its path only."""
    family_verb = verbs(BY_NAME[name].family)[verb]
    draws = "sample" in verb
    call, other = call_of(name, verb), call_of(name, verb, batch=(2,))

    def of_trees(trees: list[Any], key: Tensor | None = None) -> Any:
        if verb == "kl":
            half = len(trees) // 2
            params = BY_NAME[name].family.Params
            return family_verb(params(*trees[:half]), params(*trees[half:]))
        return family_verb(*([key] if draws else []), *trees)

    key = random.key(3)
    first, *rest = zip(call.tensors, other.tensors, strict=True)
    # The first argument is the widest tree; the second and the value are prefixes; the others are tensors.
    scored = ("value", "pre")
    of_legs = [(i == 0 and call.names[0] not in scored) or given in scored for i, given in enumerate(call.names[1:])]
    trees = [{"arm": first[0], "legs": (first[1], {"left": first[0]})}]
    trees += [{"arm": a, "legs": b} if is_tree else a for is_tree, (a, b) in zip(of_legs, rest, strict=True)]
    leaves = [[first[0], *(a for a, _ in rest)]]
    leaves += [
        [f, *(b if is_tree else a for is_tree, (a, b) in zip(of_legs, rest, strict=True))] for f in (first[1], first[0])
    ]
    got = of_trees(trees, key)
    got_trees = got if isinstance(got, tuple) else (got,)
    for i, tree in enumerate(got_trees):
        for leaf, path, arguments in zip(
            (tree["arm"], tree["legs"][0], tree["legs"][1]["left"]),
            ("arm", "legs/0", "legs/1/left"),
            leaves,
            strict=True,
        ):
            alone = of_trees(arguments, random.fold_in(key, fnv1a(path)))
            assert_same(leaf, parts(alone)[i])


@pytest.mark.parametrize(("name", "verb"), SUMS_EVENTS)
def test_event_dims(name: str, verb: str) -> None:
    function = verbs(BY_NAME[name].family)[verb]
    call = call_of(name, verb, batch=(4,))
    if verb == "kl":
        half = len(call.tensors) // 2
        params = BY_NAME[name].family.Params
        arguments = (params(*call.tensors[:half]), params(*call.tensors[half:]))
        scalars = tuple(params(*(t[0, 0] for t in side)) for side in arguments)
    else:
        key = [random.key(7)] * ("sample" in verb)
        arguments, scalars = (*key, *call.tensors), (*key, *(t[0, 0] for t in call.tensors))
    elementwise = parts(function(*arguments, event_dims=0))[-1]
    assert elementwise.shape == (4, EVENT)
    assert_same(parts(function(*arguments, event_dims=1))[-1], elementwise.sum(-1))
    assert_same(parts(function(*arguments, event_dims=2))[-1], elementwise.sum())
    assert parts(function(*scalars))[-1].shape == ()
    with pytest.raises(ValueError, match="event_dims=1"):
        function(*scalars, event_dims=1)
    with pytest.raises(ValueError, match="event_dims=3"):
        function(*arguments, event_dims=3)


@pytest.mark.parametrize("name", [row.name for row in FAMILIES])
def test_value_may_only_add_leading_axes(name: str) -> None:
    row = BY_NAME[name]
    *parameters, value = call_of(name, "log_prob").tensors
    wanted = row.family.log_prob(*parameters, value)
    got = row.family.log_prob(*parameters, value.expand(5, 2, *value.shape))
    assert_same(got, wanted.expand(5, 2, *wanted.shape))
    batched = [t.expand(4, *t.shape) for t in parameters]
    with pytest.raises(ValueError, match="may only add leading axes"):
        row.family.log_prob(*batched, value.expand(3, *value.shape))
    if len(parameters) > 1 and "indices" not in row.parameters:
        with pytest.raises(ValueError, match=f"do not broadcast: {row.family.Params._fields[0]}"):
            row.family.log_prob(parameters[0], parameters[1].new_ones(EVENT + 1), *parameters[2:], value)


# --------------------------------------------------------------------------------------------------------- randomness
@pytest.mark.parametrize(("name", "verb"), distinct_first(DRAWS))
def test_draws_are_the_same_in_every_mode(name: str, verb: str) -> None:
    call = keyed_call_of(name, verb, torch.float32)
    eager = call.function(*call.tensors)
    lane = vmap(call.function, in_dims=(0, *[None] * (len(call.tensors) - 1)))(call.tensors[0][None], *call.tensors[1:])
    assert_same(tuple(part[0] for part in parts(lane)), eager, rtol=0, atol=0)
    # Inductor's log and cos differ from the eager ones by a few ulp.
    assert_same(compiled(call.function, "inductor")(*call.tensors), eager, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize(("name", "verb"), DRAWS)
def test_sample_shape_and_agreement_of_the_four_draws(name: str, verb: str) -> None:
    family = BY_NAME[name].family
    call = keyed_call_of(name, verb)
    drawn = parts(call.function(*call.tensors, sample_shape=(5, 2)))
    assert drawn[0].shape == ((5, 2) if name in DISCRETE and name not in ONE_HOT else (5, 2, EVENT))
    if verb == "sample_pretanh":
        bounds = [t for t, n in zip(call.tensors, call.names, strict=True) if n in ("low", "high")]
        drawn = (family.squash(drawn[0], *bounds),)
    assert_same(drawn[0], family.sample(*call.tensors, sample_shape=(5, 2)).to(drawn[0].dtype), rtol=0, atol=0)
    if len(drawn) == 2:
        assert_same(drawn[1], family.log_prob(*call.tensors[1:], drawn[0]), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("name", "verb"), [(n, v) for n, v in DRAWS if n not in POINTS])
def test_generator(name: str, verb: str) -> None:
    call = keyed_call_of(name, verb)
    first, second = (
        parts(call.function(torch.Generator().manual_seed(5), *call.tensors[1:], sample_shape=(16,))) for _ in range(2)
    )
    assert_same(first, second)
    generator = torch.Generator().manual_seed(5)
    call.function(generator, *call.tensors[1:])
    assert not torch.equal(first[0], parts(call.function(generator, *call.tensors[1:], sample_shape=(16,)))[0])
    lanes = vmap(
        lambda loc: call.function(generator, loc, *call.tensors[2:], sample_shape=(16,)), randomness="different"
    )(call.tensors[1].expand(3, EVENT))
    assert not torch.equal(parts(lanes)[0][0], parts(lanes)[0][1])
    two = {"a": call.tensors[1], "b": call.tensors[1]}
    tree = call.function(generator, two, *call.tensors[2:], sample_shape=(16,))
    tree = tree[0] if isinstance(tree, tuple) else tree
    assert not torch.equal(tree["a"], tree["b"])
    with pytest.raises(torch._dynamo.exc.Unsupported, match="key_from"):
        compiled(call.function)(generator, *call.tensors[1:])


@pytest.mark.parametrize(("name", "verb"), VERBS)
def test_leaves_the_global_generator_alone(name: str, verb: str) -> None:
    call = call_of(name, verb)
    before = torch.get_rng_state()
    call.function(*call.tensors)
    vmap(call.function)(*call_of(name, verb, batch=BATCH).tensors)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("name", "verb"), DRAWS)
def test_refuses_what_is_no_key(name: str, verb: str) -> None:
    call = keyed_call_of(name, verb)
    for wrong in (None, 3, torch.zeros(2), torch.zeros(2, dtype=torch.int64)):
        with pytest.raises(TypeError, match="key"):
            call.function(wrong, *call.tensors[1:])
    with pytest.raises(ValueError, match=r"key.*\(4, 2\)"):
        call.function(random.split(random.key(0), 4), *call.tensors[1:])


@pytest.mark.parametrize("name", [row.name for row in FAMILIES])
def test_score_gradient_is_that_of_log_prob_at_the_sample(name: str) -> None:
    family = BY_NAME[name].family
    call = keyed_call_of(name, "sample_and_log_prob")
    key, *parameters = call.tensors
    argnums = tuple(i for i, parameter in enumerate(parameters) if parameter.is_floating_point())
    value = family.sample(key, *parameters)

    def of_draw(*parameters: Tensor) -> Tensor:
        return family.sample_and_log_prob(key, *parameters)[1].sum()

    def of_value(*parameters: Tensor) -> Tensor:
        return family.log_prob(*parameters, value).sum()

    assert_same(grad(of_draw, argnums)(*parameters), grad(of_value, argnums)(*parameters), rtol=1e-8, atol=1e-8)
    assert_same(hessian(of_draw)(*parameters), hessian(of_value)(*parameters), rtol=1e-7, atol=1e-7)
    if name in DISCRETE:
        assert value.dtype == torch.int64
        return

    def drawn(*parameters: Tensor) -> Tensor:
        return family.sample_and_log_prob(key, *parameters)[0].sum()

    assert all((g == 0).all() for g in grad(drawn, argnums)(*parameters))
    assert jvp(drawn, tuple(parameters), tuple(parameters))[1] == 0


@pytest.mark.parametrize("name", CONTINUOUS)
def test_pathwise_gradient_is_minus_the_cdf_slope_over_the_density(name: str) -> None:
    """Implicit reparameterisation: d value / d parameter = -(d cdf / d parameter) / density."""
    family = BY_NAME[name].family
    key, *parameters = keyed_call_of(name, "rsample").tensors
    value = family.sample(key, *parameters)
    density = family.log_prob(*parameters, value, event_dims=0).exp()
    for i in range(len(parameters)):
        path = grad(lambda *p: family.rsample(key, *p).sum(), i)(*parameters)
        slope = grad(lambda *p: family.cdf(*p, value).sum(), i)(*parameters)
        assert_same(path, -slope / density, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", [row.name for row in FAMILIES])
def test_check_passes_the_example_and_names_what_is_wrong(name: str) -> None:
    row = BY_NAME[name]
    call = call_of(name, "sample")
    row.family.check(*call.tensors)
    for i in call.real:
        bad = [t.clone() for t in call.tensors]
        bad[i][0] = math.nan
        with pytest.raises(ValueError, match=rf"{call.names[i]} .*position \(0,\)"):
            row.family.check(*bad)
