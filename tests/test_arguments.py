"""How every verb takes its arguments: values that fit, one `Params` for all, defaults, numbers, shapes, messages."""

import importlib.metadata
import inspect
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import functional_dists
from functional_dists import (
    Family,
    bind,
    categorical,
    divergence,
    empirical,
    greedy,
    hl_gauss,
    independent,
    linear_categorical,
    llm_masked_categorical,
    logits,
    masked_categorical,
    multi_categorical,
    normal,
    one_hot,
    one_hot_categorical,
    ordinal,
    plackett_luce,
    random,
    softened,
    sparse_categorical,
    sparse_one_hot_categorical,
    tanh_delta,
    tanh_normal,
    truncated_normal,
    two_hot,
    with_uniform,
)
from functional_dists.family import name_of, specification_of, verbs
from tests.families import BY_NAME, FAMILIES, VERBS, call_of

KEY, LOC = random.key(0), torch.zeros(4, 3)
SCORING = [
    (name, verb)
    for name, verb in VERBS
    if {"value", "pre"} & set(call_of(name, verb).names) and len(call_of(name, verb).names) > 1
]
DRAWING = [(name, verb) for name, verb in VERBS if "sample" in verb]
BATCH = (2, 4)


def same(got: Any, wanted: Any) -> bool:
    if wanted is None:  # of `check`
        return got is None
    if isinstance(wanted, tuple):
        return all(same(a, b) for a, b in zip(got, wanted, strict=True))
    return torch.equal(torch.nan_to_num(got), torch.nan_to_num(wanted))


def scoring_call(name: str, verb: str) -> tuple[Any, list[Tensor], int]:
    """Return a verb, an example of its arguments, and which of them is the value."""
    call = call_of(name, verb, batch=BATCH)
    place = call.names.index("pre" if "pre" in call.names else "value")
    return verbs(BY_NAME[name].family)[verb], call.tensors, place


# -------------------------------------------------------------------------------------------------------------- values
@pytest.mark.parametrize(("name", "verb"), SCORING)
def test_a_value_has_all_axes_of_the_parameters(name: str, verb: str) -> None:
    function, tensors, place = scoring_call(name, verb)
    value = tensors[place]

    def score(value: Tensor) -> Any:
        return function(*tensors[:place], value, *tensors[place + 1 :])

    wanted = score(value)
    of_value, *others = wanted if isinstance(wanted, tuple) else (wanted,)  # an entropy has no axes of the value
    expanded = of_value.expand(5, *of_value.shape)
    assert same(score(value.expand(5, *value.shape).clone()), (expanded, *others) if others else expanded)
    misfits = [value[0], value[:, :1], value[:1], value[..., None], torch.cat([value, value])]
    if value.ndim > len(BATCH):
        misfits += [value[..., :1], value[0, 0], torch.cat([value, value], -1)]
    for misfit in misfits:
        if misfit.ndim == 0:
            continue
        with pytest.raises(ValueError, match=rf"\.{verb}: (value|pre) of shape .* does not fit"):
            score(misfit)


@pytest.mark.parametrize(("name", "verb"), SCORING)
def test_a_number_is_scored_everywhere(name: str, verb: str) -> None:
    function, tensors, place = scoring_call(name, verb)
    value, whole = tensors[place].reshape(-1)[0], torch.full_like(tensors[place], tensors[place].reshape(-1)[0].item())
    before, after = tensors[:place], tensors[place + 1 :]
    if BY_NAME[name].is_one_hot and verb.startswith("log_prob"):
        for number in (value, value.item()):
            with pytest.raises(ValueError, match="does not fit"):
                function(*before, number, *after)
        return
    wanted = function(*before, whole, *after)
    assert same(function(*before, value, *after), wanted)
    assert same(function(*before, value.item(), *after), wanted)
    assert same(function(*before, value.numpy()[()], *after), wanted)


def test_integers_are_scored_by_parameters_that_are_numbers() -> None:
    value = torch.tensor([0, 1])
    assert same(normal.log_prob(0, 1, value), normal.log_prob(0.0, 1.0, value.float()))
    assert same(tanh_normal.unsquash(value, -2.0, 2.0), tanh_normal.unsquash(value.float(), -2.0, 2.0))


def test_under_vmap_the_shapes_are_the_lanes() -> None:
    value = torch.rand(4, 3)
    lanes = torch.vmap(lambda value: tanh_normal.log_prob(torch.zeros(3), 1.0, value=value))(value)
    torch.testing.assert_close(lanes, tanh_normal.log_prob(LOC, 1.0, value=value))
    with pytest.raises(ValueError, match="does not fit"):
        torch.vmap(lambda value: tanh_normal.log_prob(LOC, 1.0, value=value))(value)


ROWS = [
    categorical,
    masked_categorical,
    ordinal,
    sparse_categorical,
    llm_masked_categorical,
    linear_categorical,
    empirical,
    two_hot,
    hl_gauss,
    multi_categorical((2, 3)),
    plackett_luce(2),
    one_hot(categorical),
    one_hot(sparse_categorical),
    independent(categorical, 1),
    with_uniform(categorical, 0.1),
    greedy(ordinal),
    softened(masked_categorical, 2.0),
]


@pytest.mark.parametrize("family", ROWS, ids=name_of)
def test_parameters_of_rows_have_an_axis(family: Any) -> None:
    numbers = {"floating point": torch.tensor(0.5), "bool": torch.tensor(True), "integer": torch.tensor(0)}
    for name, verb in verbs(family).items():
        spec: Any = specification_of(verb)
        arguments: list[Any] = [numbers[argument.kind.holds] for argument in spec.arguments]
        if spec.num_params == 2:
            half = len(arguments) // 2
            arguments = [tuple(arguments[:half]), tuple(arguments[half:])]
        own = "hidden" if family is linear_categorical else "bins" if name == "encode" else family.Params._fields[0]
        with pytest.raises(ValueError, match=rf"\.{name}: (p\.)?{own} .*must have"):
            verb(*[KEY] * spec.draws, *arguments)


def test_the_message_about_a_missing_axis_has_the_shape_and_the_cure() -> None:
    message = r"categorical\.sample: logits of shape \(\) must have a last axis, .*; give a number for each outcome"
    with pytest.raises(ValueError, match=message):
        categorical.sample(KEY, torch.tensor(0.5))
    with pytest.raises(ValueError, match=message):
        torch.vmap(categorical.sample, (None, 0))(KEY, torch.zeros(3))
    with pytest.raises(ValueError, match=r"sparse_categorical\.mode: indices of shape \(\) must have a last axis"):
        sparse_categorical.mode(LOC, torch.tensor(0))


def test_numbers_of_rows_broadcast_to_those_with_an_axis() -> None:
    wanted = torch.full((2,), math.log(0.5))
    assert torch.allclose(masked_categorical.log_prob(torch.tensor(0.5), torch.ones(2).bool(), torch.arange(2)), wanted)
    assert torch.allclose(empirical.log_prob(torch.arange(2.0), 3.0, torch.arange(2.0)), wanted)


def test_what_is_no_one_hot_vector_of_length_n_is_an_error() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0])
    for value in (torch.tensor(1), torch.tensor([1, 0]), torch.tensor([[1], [0]]), torch.tensor([1]), 1):
        with pytest.raises(ValueError, match="does not fit"):
            one_hot_categorical.log_prob(logits, value)


# --------------------------------------------------------------------------------------------------------- one `Params`
@pytest.mark.parametrize(
    ("name", "verb"), [pair for pair in VERBS if pair[1] not in ("kl", "squash", "unsquash", "inside")]
)
def test_one_params_stands_for_all_parameters(name: str, verb: str) -> None:
    family, call = BY_NAME[name].family, call_of(name, verb)
    function, size = verbs(family)[verb], len(family.Params._fields)
    key = (random.key(7),) * ("sample" in verb)
    params = family.Params(*call.tensors[:size])
    rest = call.tensors[size:]
    wanted = function(*key, *params, *rest)
    got = function(*key, params, *rest)
    assert same(got, wanted) if verb != "support" else type(got) is type(wanted)
    if rest:
        named = {call.names[-1]: rest[0]}
        assert same(function(*key, params, **named), wanted)
        with pytest.raises(TypeError, match="misses"):
            function(*key, params)
    with pytest.raises(TypeError, match="takes"):
        function(*key, params, *rest, LOC)


@pytest.mark.parametrize("family", [tanh_normal, truncated_normal, tanh_delta])
def test_parameters_with_a_default_may_be_left_out(family: Any) -> None:
    given = (LOC,) if family is tanh_delta else (LOC, 0.5)
    whole = (*given, -1.0, 1.0)
    value = torch.full((4, 3), 0.25)
    for name, verb in verbs(family).items():
        names = list(inspect.signature(verb).parameters)
        if name in ("kl", "squash", "unsquash", "support", "inside"):
            continue
        key = (KEY,) * (names[0] == "key")
        named = {scored: value for scored in ("value", "pre") if scored in names}
        assert same(verb(*key, *given, **named), verb(*key, *whole, *named.values()))
        if named:
            assert same(verb(*key, family.Params(*given), value), verb(*key, *whole, value))
            with pytest.raises(TypeError, match=rf"{name} misses .*give it by name"):
                verb(*key, *given, value)
        else:
            assert inspect.signature(verb).parameters["low"].default == -1.0
            assert same(verb(*key, *given, high=1.0), verb(*key, *whole))


def test_a_bound_family_takes_one_params_and_defaults_too() -> None:
    torque = bind(tanh_normal, low=-2.0)
    params = torque.Params(LOC, 1.0)
    assert params.high == 1.0
    wanted = tanh_normal.sample(KEY, LOC, 1.0, -2.0, 1.0)
    assert same(torque.sample(KEY, params), wanted)
    assert same(torque.sample(KEY, LOC, 1.0), wanted)
    assert same(torque.log_prob(params, LOC - 0.5), tanh_normal.log_prob(LOC, 1.0, -2.0, 1.0, LOC - 0.5))
    assert torque.Params is bind(tanh_normal, low=-3.0).Params
    with pytest.raises(TypeError, match=r"tanh_normal.sample takes 4 positional arguments .*, got 5"):
        torque.sample(KEY, LOC, 1.0, 2.0, 3.0)
    with pytest.raises(TypeError, match=r"tanh_normal.sample: \['low'\] are fixed"):
        torque.sample(KEY, LOC, 1.0, low=0.0)
    with pytest.raises(TypeError, match=r"there are 3 parameters .*got 4"):
        torque.kl((LOC, 1.0, 1.0, 1.0), params)


def test_bind_works_in_compiled_code() -> None:
    def step(key: Tensor, loc: Tensor, low: Tensor) -> Any:
        torque = bind(bind(tanh_normal, low=low, high=2.0), event_dims=2)
        value, log_prob = torque.sample_and_log_prob(key, loc, scale=1.0)
        return value, log_prob, torque.log_prob(loc, 1.0, loc), torque.kl((loc, 1.0), {"loc": loc, "scale": 2.0})

    low = torch.tensor(-2.0)
    torch.testing.assert_close(torch.compile(step, fullgraph=True)(KEY, LOC, low), step(KEY, LOC, low))


def test_the_params_of_a_bound_family_may_be_made_in_compiled_code() -> None:
    torque = bind(tanh_normal, low=-2.0, loc=0.5)
    compiled = torch.compile(lambda key, scale: torque.sample(key, torque.Params(scale)), fullgraph=True)
    torch.testing.assert_close(compiled(KEY, LOC + 1), torque.sample(KEY, LOC + 1))


# --------------------------------------------------------------------------------------------------- shapes and numbers
@pytest.mark.parametrize(("name", "verb"), DRAWING)
@pytest.mark.parametrize("sample_shape", [5, np.int64(5), [5], torch.Size([5])])
def test_a_sample_shape_is_an_integer_or_a_sequence(name: str, verb: str, sample_shape: Any) -> None:
    call, function = call_of(name, verb), verbs(BY_NAME[name].family)[verb]
    wanted = function(KEY, *call.tensors, sample_shape=(5,))
    assert same(function(KEY, *call.tensors, sample_shape=sample_shape), wanted)


@pytest.mark.parametrize(
    ("sample_shape", "error"), [(2.5, TypeError), ("ab", TypeError), ([2.0], TypeError), (-1, ValueError)]
)
def test_what_is_no_shape_is_named(sample_shape: Any, error: type) -> None:
    with pytest.raises(error, match=r"normal\.sample: sample_shape must .*got"):
        normal.sample(KEY, LOC, 1.0, sample_shape=sample_shape)


@pytest.mark.parametrize("number", [2, 2.0, np.float32(2), np.float64(2), np.float16(2), np.int64(2), np.int8(2)])
def test_numbers_of_every_kind_are_parameters(number: Any) -> None:
    assert same(normal.sample(KEY, LOC, number), normal.sample(KEY, LOC, 2.0))
    assert same(tanh_normal.mean(LOC, 1.0, -1, high=number), tanh_normal.mean(LOC, 1.0, -1.0, 2.0))
    compiled = torch.compile(normal.log_prob, backend="eager", fullgraph=True)
    assert same(compiled(LOC, number, LOC), normal.log_prob(LOC, 2.0, LOC))


@pytest.mark.parametrize("number", [1, np.int32(1), np.uint8(1), torch.tensor(1, dtype=torch.uint8)])
def test_integers_of_every_kind_are_outcomes(number: Any) -> None:
    assert same(categorical.log_prob(LOC, number), torch.full((4,), -math.log(3.0)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: normal.sample(KEY, LOC, True), r"normal\.sample: scale must be a floating point number .*got True"),
        (lambda: normal.sample(KEY, LOC, np.True_), r"scale must be a floating point number .*got"),
        (lambda: normal.sample(KEY, LOC, np.ones(3)), r"normal\.sample: scale .*got ndarray; call torch\.as_tensor"),
        (lambda: categorical.log_prob(LOC, 1.0), r"categorical\.log_prob: value must be an integer number .*got 1\.0"),
        (lambda: categorical.log_prob(LOC, True), r"value must be an integer number or tensor, got True"),
        (lambda: categorical.log_prob(LOC, torch.ones(4)), r"value must be an integer tensor, got torch\.float32"),
        (lambda: categorical.sample(KEY, LOC.long()), r"logits must be a floating point tensor.*\.float\(\)"),
        (lambda: normal.sample(KEY, 0.0, 1.0), r"must be a tensor, got only numbers; make one of them a tensor"),
        (lambda: normal.log_prob(LOC, 1.0, LOC, value=LOC), r"normal\.log_prob|multiple values"),
        (lambda: normal.log_prob(LOC, 1.0, loc=LOC), r"normal\.log_prob got \['loc'\] by position and by name"),
    ],
)
def test_messages_name_function_argument_and_cure(call: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call()


# --------------------------------------------------------------------------------------------------------- the package
def test_the_package_shows_its_public_names_alone() -> None:
    names = dir(functional_dists)
    assert {*names} == {*functional_dists.__all__, "__version__"}
    assert all(hasattr(functional_dists, name) for name in names)
    assert functional_dists.__version__ == importlib.metadata.version("functional_dists")


@pytest.mark.parametrize("row", FAMILIES, ids=[row.name for row in FAMILIES])
def test_every_family_is_a_family(row: Any) -> None:
    assert isinstance(row.family, Family)
    assert not isinstance(random, Family)


@pytest.mark.parametrize("family", [sparse_categorical, sparse_one_hot_categorical])
def test_a_listed_outcome_that_does_not_exist_is_named_with_the_cure(family: Any) -> None:
    logits, indices = torch.zeros(2, 5), torch.tensor([[0, 2], [1, -1]])
    params, value = family.Params(logits, indices), family.mode(logits, indices.clamp(min=0))
    for name, verb in verbs(family).items():
        rest = (torch.zeros(2, 5),) if name == "log_prob_relaxed" else (value,) if name.startswith("log_prob") else ()
        arguments = (params, params) if name == "kl" else ((KEY,) if "sample" in name else ()) + (*params, *rest)
        if name in ("check", "support"):
            continue
        with pytest.raises(ValueError, match=r"indices must lie between 0 and 4, got -1.*padding_value=-1"):
            verb(*arguments)
        verb(*arguments, padding_value=-1)


# ------------------------------------------------------------------------------------------------------ kinds and pairs
def test_values_that_are_no_outcomes_are_refused_on_every_path() -> None:
    for dtype in (torch.bool, torch.complex64):
        with pytest.raises(TypeError, match="value must be an integer tensor"):
            categorical.log_prob(LOC, torch.zeros(4, dtype=dtype))


def test_scores_have_the_dtype_of_the_parameters() -> None:
    pre = LOC.double()
    assert tanh_normal.log_prob_pretanh(LOC, 1.0, pre=pre).dtype == torch.float32
    assert tanh_normal.log_prob_pretanh(LOC.half(), 1.0, pre=LOC).dtype == torch.float16
    assert tanh_normal.log_prob_pretanh(LOC, 1.0, pre=LOC.long()).dtype == torch.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: normal.log_prob(tanh_normal.Params(LOC, 1.0), LOC),
            r"normal\.log_prob takes Params of its own family",
        ),
        (lambda: normal.kl(tanh_normal.Params(LOC, 1.0), (LOC, 1.0)), r"must be .*normal\.Params.*tanh_normal\.Params"),
        (lambda: normal.kl({"loc": LOC}, (LOC, 1.0)), r"\['scale'\] of the parameters"),
        (lambda: normal.entropy(LOC, 1.0, event_dims=1.0), r"normal\.entropy: event_dims must be an integer, got 1\.0"),
        (lambda: bind(3, loc=1.0), r"bind: family must be a family"),
        (lambda: random.split(KEY, 2.0), r"num must be an integer, got 2\.0"),
        (lambda: divergence.kl(normal.Params(LOC, 1.0), normal.Params(LOC, 1.0)), r"divergence\.kl: p must be a pair"),
        (lambda: divergence.kl(normal, normal), r"divergence\.kl: p must be a pair of a family and its parameters"),
    ],
)
def test_what_is_no_family_or_no_params_is_named(call: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call()


def test_numpy_numbers_are_options_too() -> None:
    half = np.float32(0.5)
    assert same(logits.temperature(LOC, half), logits.temperature(LOC, 0.5))
    compiled = torch.compile(lambda x, t: logits.temperature(x, t), backend="eager", fullgraph=True)
    assert same(compiled(LOC, half), logits.temperature(LOC, 0.5))
    assert logits.sample_without_replacement(KEY, LOC, np.int64(2)).shape == (4, 2)
