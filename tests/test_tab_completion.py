"""Tab completion shows public names alone: `dir` of a module lists what users may use, and nothing that it imports."""

import importlib
import inspect
import pickle
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import functional_dists
from functional_dists.family import verbs
from tests.public_names import MODULES


def public_modules() -> Iterator[tuple[str, ModuleType]]:
    """Yield the modules that a user reaches by public names, and the rooms that `import` alone reaches."""
    found = (*{*MODULES} - {*functional_dists.__all__}, "continuous", "discrete", "kernels")
    rooms = [functional_dists] + [importlib.import_module(f"functional_dists.{name}") for name in found]
    seen: dict[str, ModuleType] = {}
    while rooms:
        module = rooms.pop()
        if module.__name__ not in seen:
            seen[module.__name__] = module
            values = [getattr(module, name) for name in getattr(module, "__all__", ())]
            rooms += [value for value in values if inspect.ismodule(value)]
    yield from sorted(seen.items())


MODULES_BY_NAME = dict(public_modules())


@pytest.mark.parametrize("name", MODULES_BY_NAME)
def test_dir_lists_the_public_names(name: str) -> None:
    module: Any = MODULES_BY_NAME[name]
    public = {"Params", *verbs(module)} if hasattr(module, "Params") else {*module.__all__}
    assert {listed for listed in dir(module) if not listed.startswith("__")} == public
    assert all(hasattr(module, listed) for listed in public)


def test_the_walk_reaches_families_and_rooms() -> None:
    names = {name.removeprefix("functional_dists.") for name in MODULES_BY_NAME}
    assert {"continuous.tanh_normal", "discrete.logits", "random", "special.softmax", "plot"} <= names


@pytest.mark.parametrize("name", ["continuous.tanh_normal", "discrete.logits", "parameters"])
def test_names_that_are_not_listed_are_still_found(name: str) -> None:
    module = MODULES_BY_NAME[f"functional_dists.{name}"]
    assert "torch" in vars(module)
    public = {key: value for key, value in inspect.getmembers(module) if inspect.isfunction(value)}
    assert public == {key: pickle.loads(pickle.dumps(value)) for key, value in public.items()}
