"""What `help` prints: of a family its parameters and verbs, of a verb the text that `define` adds, in short lines."""

import pydoc
from types import ModuleType
from typing import Any

import pytest

from functional_dists import bind, independent, one_hot_categorical, ordinal, tanh_normal
from functional_dists.family import verbs
from tests.families import BY_NAME, VERBS

TORQUE = bind(tanh_normal, low=-2.0, high=2.0)
MADE = [TORQUE, one_hot_categorical, independent(ordinal), bind(one_hot_categorical, gradient="relaxed")]


def shown(value: Any) -> str:
    return pydoc.plain(pydoc.render_doc(value))


@pytest.mark.parametrize(("name", "verb"), VERBS)
def test_help_of_a_verb_has_its_arguments_in_short_lines(name: str, verb: str) -> None:
    text = shown(verbs(BY_NAME[name].family)[verb])
    assert "Annotated" not in text
    assert "Kind(" not in text
    sections = text.partition("Args:")[2].partition(">>>")[0]
    assert sections
    assert max(map(len, sections.splitlines())) <= 100


@pytest.mark.parametrize("name", [name for name, row in BY_NAME.items() if isinstance(row.family, ModuleType)])
def test_help_of_a_module_has_parameters_and_verbs_and_no_imports(name: str) -> None:
    family: Any = BY_NAME[name].family
    text = shown(family)
    assert "\nDATA\n" not in text
    assert "Annotated" not in text
    for verb in verbs(family):
        assert f"\n    {verb}(" in text or f"\n    {verb} = " in text
    for argument in family.Params._fields:
        assert f"\n            {argument}: " in text  # under "Args:" of a verb


@pytest.mark.parametrize("family", MADE, ids=repr)
def test_help_of_a_made_family_has_its_code_its_parameters_and_its_verbs(family: Any) -> None:
    lines = shown(family).splitlines()
    assert repr(family) in lines
    for argument in family.Params._fields:
        assert any(line.startswith(f"        {argument}: ") for line in lines)
    for verb in verbs(family):
        assert any(line.startswith(f"        {verb}(") for line in lines)


def test_help_of_a_verb_of_a_bound_family_leaves_out_what_is_fixed() -> None:
    text = shown(TORQUE.log_prob)
    assert "log_prob(loc: Real, scale: Real, value: Real, *, event_dims: int = 1)" in text
    assert "A verb of `bind(tanh_normal, low=-2.0, high=2.0)`." in text
    assert "\n        scale: " in text
    assert "\n        low: " not in text
    text = text.replace("\n    \n", "\n\n")  # Python 3.11 indents empty lines, later versions do not
    assert "Example of `tanh_normal.log_prob`:\n\n    >>> log_prob(" in text
    assert "low:" not in shown(TORQUE.Params)
