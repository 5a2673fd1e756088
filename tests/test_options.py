"""Options that may be a number for every row: one rule for their shapes, and one for the numbers they may be."""

import itertools
import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter
from torch.func import grad, jvp, vmap

from functional_dists import delta, logits, random, tanh_delta
from functional_dists.family import name_of, verbs
from tests.families import BY_NAME, EVENT, ONE_HOT, call_of

INF, NAN = math.inf, math.nan
KEY = random.key(11)
RELAXED = [*itertools.product(ONE_HOT, ("rsample", "rsample_and_log_prob", "log_prob_relaxed"))]
CUTS: dict[str, Any] = {
    "t": logits.temperature,
    "k": logits.top_k,
    "p of top_p": logits.top_p,
    "p of min_p": logits.min_p,
}


def relaxed_call(name: str, verb: str, batch: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Any:
    """Return `f(*tensors, temperature=...)` and tensors of that batch."""
    function, tensors = verbs(BY_NAME[name].family)[verb], call_of(name, verb, dtype, batch).tensors
    if verb == "log_prob_relaxed":
        return function, tensors
    return lambda *tensors, **options: function(KEY, *tensors, gradient="relaxed", **options), tensors


def parts(result: Any) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


def numbers_for(name: str, shape: tuple[int, ...]) -> Tensor:
    uniforms = 0.1 + 0.8 * random.uniform(KEY, shape, dtype=torch.float64)
    return (5 * uniforms).long() + 1 if name == "k" else uniforms


# ------------------------------------------------------------------------------------------------------------- shapes
@pytest.mark.parametrize(("name", "verb"), RELAXED)
def test_a_temperature_for_each_row_is_that_of_the_row(name: str, verb: str) -> None:
    for batch in ((2,), (EVENT,), (2, EVENT)):  # also where there are as many rows as outcomes
        function, tensors = relaxed_call(name, verb, batch)
        temperature = 0.5 + torch.arange(math.prod(batch), dtype=torch.float64).reshape(batch)
        got = parts(function(*tensors, temperature=temperature))
        places = list(itertools.product(*map(range, batch)))
        for number in {temperature[place].item() for place in places}:
            of_number = parts(function(*tensors, temperature=number))
            for one, wanted in zip(got, of_number, strict=True):
                assert one.shape == wanted.shape
                for place in places:
                    if temperature[place] == number:
                        assert torch.equal(one[place], wanted[place])
        for same in (temperature[..., :1], temperature[..., :1].float()):
            assert all(
                a.shape == b.shape for a, b in zip(parts(function(*tensors, temperature=same)), got, strict=True)
            )


@pytest.mark.parametrize(("name", "verb"), RELAXED)
def test_a_temperature_of_another_shape_raises(name: str, verb: str) -> None:
    for batch, shapes in {
        (2,): [(2, 1), (1, 2), (1, 1), (EVENT,), (2, EVENT), (0,)],
        (EVENT,): [(EVENT, 1), (1, EVENT), (EVENT, EVENT), (2,)],
        (2, EVENT): [(2,), (2, EVENT, 1), (EVENT, 2), (1, 2, EVENT)],
        (): [(1,), (EVENT,), (2, 1)],
    }.items():
        function, tensors = relaxed_call(name, verb, batch)
        for shape in shapes:
            with pytest.raises(ValueError, match="does not broadcast") as error:
                function(*tensors, temperature=torch.ones(shape))
            called = f"{name_of(BY_NAME[name].family)}.{verb}"
            for part in (
                called,
                "temperature",
                f"shape {shape}",
                f"the batch {batch}",
            ):
                assert part in str(error.value)


@pytest.mark.parametrize("name", ONE_HOT)
def test_axes_of_samples_share_the_temperatures_of_the_rows(name: str) -> None:
    function, tensors = relaxed_call(name, "rsample_and_log_prob", (2,))
    temperature = torch.tensor([0.4, 2.0])
    value, log_density = function(*tensors, temperature=temperature, sample_shape=(EVENT, 2))
    assert (value.shape, log_density.shape) == ((EVENT, 2, 2, EVENT), (EVENT, 2, 2))
    score = verbs(BY_NAME[name].family)["log_prob_relaxed"]
    torch.testing.assert_close(score(*tensors, value, temperature=temperature), log_density)
    with pytest.raises(ValueError, match="temperature of shape"):
        function(*tensors, temperature=torch.ones(EVENT, 2, 2), sample_shape=(EVENT, 2))
    with pytest.raises(ValueError, match="temperature of shape"):  # where it is not used too
        verbs(BY_NAME[name].family)["rsample"](KEY, *tensors, temperature=torch.ones(2, 1))


@pytest.mark.parametrize("name", CUTS)
def test_a_number_for_each_row_of_logits_is_that_of_the_row(name: str) -> None:
    function = CUTS[name]
    for batch in ((4,), (9,), (1,), (3, 4)):
        table = random.normal(KEY, (*batch, 9))
        for shape in {batch, (), batch[-1:], (1,) * len(batch), (*batch[:-1], 1)}:
            numbers = numbers_for(name, shape)
            got, wide = function(table, numbers), numbers.expand(batch)
            assert got.shape == table.shape
            for place in itertools.product(*map(range, batch)):
                assert torch.equal(got[place], function(table[place], wide[place]))
        for shape in {(*batch, 1), (1, *batch), (*batch, 9), (batch[-1] + 1,), (0,)}:
            with pytest.raises(ValueError, match=rf"^logits\.\w+: {name[0]} of shape .* does not broadcast against"):
                function(table, numbers_for(name, shape))
    rows = function(table[0, 0], numbers_for(name, (5, 1)))  # one row of logits, as many rows as there are numbers
    assert rows.shape == (5, 1, 9)


def test_tolerances_of_points_are_of_elements() -> None:
    point, value = torch.zeros(3, 2), torch.tensor([[0.0, 0.3], [0.1, 0.3], [0.3, 0.0]])
    atol = torch.tensor([0.2, 0.4])
    for rtol in (0.0, atol, torch.zeros(3, 1)):
        assert delta.log_prob(point, value, atol=atol, rtol=rtol).tolist() == [0, 0, -INF]
        assert tanh_delta.log_prob(point, -1.0, 1.0, value, atol=atol, rtol=rtol).tolist() == [0, 0, -INF]
    assert delta.log_prob(point, value, atol=torch.tensor([[0.3], [0.2], [0.4]])).tolist() == [0, -INF, 0]
    assert delta.log_prob(point, value.expand(5, 3, 2), atol=np.float32(0.35)).tolist() == [[0, 0, 0]] * 5
    lanes = vmap(lambda p, v, a: delta.log_prob(p, v, atol=a))(point, value, torch.tensor([0.3, 0.2, 0.4]))
    assert lanes.tolist() == [0, -INF, 0]
    for family, rest in ((delta, ()), (tanh_delta, (-1.0, 1.0))):
        for option, shape in itertools.product(("atol", "rtol"), ((3,), (2, 1), (5, 3, 2), (3, 2, 1))):
            with pytest.raises(ValueError, match=rf"delta\.log_prob: {option} of shape .* the shape \(3, 2\)"):
                family.log_prob(point, *rest, value, **{option: torch.ones(shape)})
        for wrong in (-1e-9, NAN, torch.tensor([0.1, -0.1]), torch.tensor(NAN)):
            with pytest.raises(ValueError, match=r"delta\.log_prob: atol must be at least 0, got"):
                family.log_prob(point, *rest, value, atol=wrong)
    assert vmap(lambda a: delta.log_prob(point, point, atol=a))(torch.tensor([NAN])).isnan().all()


# ------------------------------------------------------------------------------------------------------------ numbers
@pytest.mark.parametrize("name", CUTS)
def test_numbers_of_every_kind_are_one(name: str) -> None:
    function, table = CUTS[name], random.normal(KEY, (4, 9))
    kinds = [2, np.int64(2), np.int32(2), torch.tensor(2)] if name == "k" else [0.5, np.float64(0.5), np.float32(0.5)]
    for number in kinds:
        assert torch.equal(function(table, number), function(table, kinds[0]))
    if name != "k":
        for one in (1, np.int64(1), np.uint8(1), torch.tensor(1), torch.tensor(1.0)):
            assert torch.equal(function(table, one), function(table, 1.0))
    for wrong in ("a", None, True, np.bool_(True), 1j, [1], torch.tensor(True), torch.tensor(1j)):
        with pytest.raises(TypeError, match=rf"logits\.\w+: {name[0]} must be an? "):
            function(table, wrong)


@pytest.mark.parametrize(("name", "verb"), RELAXED)
def test_temperatures_of_relaxed_vectors_are_positive_numbers(name: str, verb: str) -> None:
    function, tensors = relaxed_call(name, verb, (2,))
    called = re.escape(f"{name_of(BY_NAME[name].family)}.{verb}")
    for half in (np.float32(0.5), np.float64(0.5), torch.tensor(0.5)):
        wanted = parts(function(*tensors, temperature=0.5))
        assert all(map(torch.equal, parts(function(*tensors, temperature=half)), wanted))
    outside = [-1.0, NAN, torch.tensor([0.5, -1.0]), torch.tensor([1.0, NAN]), -1, np.float32(-1)]
    for wrong in outside + ([] if verb == "rsample" else [0.0, 0, INF, torch.tensor([0.5, 0.0])]):
        with pytest.raises(ValueError, match=rf"{called}: temperature must be .*, got .*"):
            function(*tensors, temperature=wrong)
    for wrong in ("a", None, True, torch.tensor([True, True])):
        with pytest.raises(TypeError, match=rf"{called}: temperature must be a number or a tensor"):
            function(*tensors, temperature=wrong)
    unseen = vmap(lambda t, *tensors: function(*tensors, temperature=t))(
        torch.tensor([0.5, NAN] if verb == "rsample" else [0.5, 0.0]), *tensors
    )
    for part, one in zip(parts(unseen), parts(function(*tensors, temperature=0.5)), strict=True):
        assert torch.equal(part[0], one[0])
    assert parts(unseen)[-1][1].isnan().any()


@pytest.mark.parametrize("name", ONE_HOT)
def test_the_limits_of_relaxed_draws(name: str) -> None:
    function, tensors = relaxed_call(name, "rsample", (2,), torch.float32)
    warm = function(*tensors, temperature=1.0, sample_shape=(50,))
    hard = torch.nn.functional.one_hot(warm.argmax(-1), EVENT).float()
    for temperature in (0.0, 0, 1e-40, 1e-300, torch.tensor([0.0, 1e-30])):
        assert torch.equal(function(*tensors, temperature=temperature, sample_shape=(50,)), hard)
    cold = grad(lambda table: function(table, *tensors[1:], temperature=0.0).sum())(tensors[0])
    assert (cold == 0).all()
    support = verbs(BY_NAME[name].family)["mean"](*tensors) > 0
    center = (support / support.sum(-1, keepdim=True)).expand(50, 2, EVENT)
    torch.testing.assert_close(function(*tensors, temperature=INF, sample_shape=(50,)), center)
    mixed = function(*tensors, temperature=torch.tensor([0.0, 1.0]), sample_shape=(50,))
    assert torch.equal(mixed, torch.stack([hard[:, 0], warm[:, 1]], 1))
    lanes = vmap(lambda t: function(*tensors, temperature=t))(torch.tensor([0.0, 1.0]))
    assert torch.equal(lanes[0], function(*tensors, temperature=0.0))


# --------------------------------------------------------------------------------------------------------- transforms
@pytest.mark.parametrize(("name", "verb"), RELAXED)
def test_temperatures_have_derivatives(name: str, verb: str) -> None:
    function, tensors = relaxed_call(name, verb, (2,))
    weights = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)

    def total(temperature: Tensor, *tensors: Tensor) -> Tensor:
        value, *rest = parts(function(*tensors, temperature=temperature))
        return ((value * weights).sum() if value.shape[-1:] == (EVENT,) else value.sum()) + sum(r.sum() for r in rest)

    temperature = torch.tensor([0.6, 1.7], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda t: total(t, *tensors), temperature.clone().requires_grad_())
    slope = grad(total)(temperature, *tensors)
    torch.testing.assert_close(
        vmap(grad(total))(temperature, *tensors)[0], grad(total)(temperature[0], *(t[0] for t in tensors))
    )
    tangent = jvp(lambda t: total(t, *tensors), (temperature,), (torch.ones_like(temperature),))[1]
    torch.testing.assert_close(tangent, slope.sum())


@pytest.mark.parametrize(("name", "verb"), [pair for pair in RELAXED if pair[0] == "masked_one_hot_categorical"])
def test_temperatures_compile_and_new_ones_do_so_at_most_once_more(name: str, verb: str) -> None:
    function, tensors = relaxed_call(name, verb, (2,))
    torch._dynamo.reset()
    counter = CompileCounter()
    compiled = torch.compile(function, backend=counter, fullgraph=True)
    for number in (0.5, 0.7, 1.3, 2.9):
        for a, b in zip(
            parts(compiled(*tensors, temperature=number)), parts(function(*tensors, temperature=number)), strict=True
        ):
            torch.testing.assert_close(a, b)
    assert counter.frame_count <= 2
    for shift in (0.0, 1.0):
        temperature = torch.tensor([0.5, 1.0]) + shift
        wanted = parts(function(*tensors, temperature=temperature))
        for a, b in zip(parts(compiled(*tensors, temperature=temperature)), wanted, strict=True):
            torch.testing.assert_close(a, b)
    assert counter.frame_count <= 3
