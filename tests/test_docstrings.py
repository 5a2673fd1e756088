"""The docstrings of the verbs: what they say of arguments, results and errors is held against calls."""

import inspect
import re
import textwrap
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from functional_dists import random
from functional_dists.family import BoundFamily, verbs
from tests.families import BY_NAME, EVENT, FAMILIES, VERBS, call_of

BATCH, SAMPLES, POSITIONS, SLOTS = (2,), (7,), (4,), 2
SHAPE = re.compile(r"\((\*[^)]*)\)")
DTYPE = torch.float32


def section(name: str, verb: str, title: str) -> str:
    doc = verbs(BY_NAME[name].family)[verb].__doc__
    found = re.search(rf"^{title}:\n((?:    .*\n?)+)", doc, re.MULTILINE)
    assert found, f"{name}.{verb} has no section {title}"
    return re.sub(r"\n +", " ", textwrap.dedent(found[1]).rstrip())  # each entry in one line


def sizes(name: str, sample_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return what stands for each axis of a documented shape, in the calls below."""
    event_dims = BY_NAME[name].event_dims
    named = {"N": EVENT, "V": EVENT, "K": SLOTS, "T": POSITIONS[0]}
    axes = {key: (size,) for key, size in named.items()}
    axes.update({"*sample_shape": sample_shape, "*sample": SAMPLES, "*batch": BATCH, "*event": (EVENT,)})
    if event_dims == 0:  # the last axis is one of the batch then
        axes.update({"*batch": (*BATCH, EVENT), "*event": ()})
    return axes


def shapes_in(text: str, name: str, sample_shape: tuple[int, ...] = ()) -> list[tuple[int, ...]]:
    axes = sizes(name, sample_shape)
    return [sum((axes[axis] for axis in found.split(", ")), ()) for found in SHAPE.findall(text)]


def arguments_of(name: str, verb: str) -> dict[str, Any]:
    """Return the arguments of a verb by name, all but options; what is scored has axes of samples."""
    batch = (*BATCH, *POSITIONS) if name == "llm_masked_categorical" else BATCH
    call = call_of(name, verb, DTYPE, batch)
    given = dict(zip(call.names, call.tensors, strict=True))
    if verb == "kl":
        sides = [{key[2:]: t for key, t in given.items() if key.startswith(side)} for side in ("p.", "q.")]
        return {"p": BY_NAME[name].family.Params(**sides[0]), "q": BY_NAME[name].family.Params(**sides[1])}
    for key in ("value", "pre"):
        if key in given:
            given[key] = given[key].expand(*SAMPLES, *given[key].shape)
    return {"key": random.key(0), **given} if "sample" in verb else given


@pytest.mark.parametrize(("name", "verb"), VERBS)
def test_arguments_are_those_of_the_signature_with_their_shapes(name: str, verb: str) -> None:
    family = BY_NAME[name].family
    lines = [line.partition(": ") for line in section(name, verb, "Args").splitlines()]
    signature = inspect.signature(verbs(family)[verb])
    assert [argument for argument, _, _ in lines] == list(signature.parameters)
    given = arguments_of(name, verb)
    for argument, _, text in lines:
        if isinstance(given.get(argument), Tensor) and argument != "key":
            assert given[argument].shape in shapes_in(text, name)


@pytest.mark.parametrize(("name", "verb"), VERBS)
def test_results_have_the_shapes_and_dtypes_that_are_told(name: str, verb: str) -> None:
    text = section(name, verb, "Returns")
    given = arguments_of(name, verb)
    assert ("*sample," in text) <= bool({"value", "pre"} & set(given))
    assert "value" not in text or "value" in given
    sample_shape = (5,) if "key" in given else ()
    options = {"sample_shape": sample_shape} if "key" in given else {}
    result = verbs(BY_NAME[name].family)[verb](**given, **options)
    if verb == "check":
        assert (text, result) == ("None.", None)
        return
    results = result if isinstance(result, tuple) else (result,)
    dtypes = [torch.int64 if found == "int64" else DTYPE for found in re.findall("int64|parameters' dtype", text)]
    if verb == "log_prob_and_entropy":
        dtypes *= 2  # told once for both
    assert [part.shape for part in results] == shapes_in(text, name, sample_shape)
    assert [part.dtype for part in results] == dtypes


@pytest.mark.parametrize(("name", "verb"), VERBS)
def test_errors_are_raised_as_told(name: str, verb: str) -> None:
    text = section(name, verb, "Raises")
    function, given = verbs(BY_NAME[name].family)[verb], arguments_of(name, verb)
    assert re.findall(r"^(\w+): ", text, re.MULTILINE)[:2] == ["TypeError", "ValueError"]
    first = next(iter(given))
    with pytest.raises(TypeError):
        function(**{**given, first: object()})
    assert ("event_dims" in text) == ("event_dims" in inspect.signature(function).parameters)
    if "event_dims" in text:
        with pytest.raises(ValueError, match="event_dims"):
            function(**given, event_dims=9)
    for option in ("temperature", "atol", "rtol"):
        assert (f"`{option}`" in text) == (option in inspect.signature(function).parameters)
        if f"`{option}`" in text:
            with pytest.raises(ValueError, match=option):
                function(**given, **{option: -1.0})
            with pytest.raises(ValueError, match=option):
                function(**given, **{option: torch.ones(9, 1)})


@pytest.mark.parametrize(("name", "verb"), VERBS)
def test_the_example_calls_the_verb_and_the_language_is_right(name: str, verb: str) -> None:
    family = BY_NAME[name].family
    function = verbs(family)[verb]
    doc, own_name = function.__doc__, function.__name__  # `normal.mode` is `normal.mean`
    if isinstance(family, ModuleType | BoundFamily):  # the example of a combinator stands in its own docstring
        example = doc[doc.index(">>>") :]
        assert re.search(rf"\b{own_name}\(", example)
        assert re.search(r"^(?!>>>|\.\.\.).", example, re.MULTILINE)  # it shows a result
    assert not re.search(r"\ba [aeio]\w", doc.replace("a one-hot", ""))
    assert doc.splitlines()[0].endswith((".", ":"))


def test_the_verbs_of_every_family_are_looked_at() -> None:
    assert {name for name, _ in VERBS} == {row.name for row in FAMILIES}
