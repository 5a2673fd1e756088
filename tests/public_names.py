"""The public names with their signatures: `python -m tests.public_names` writes them to tests/public_names.txt."""

import enum
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import functional_dists
from functional_dists.family import Family, verbs

PATH = Path(__file__).with_suffix(".txt")
COMMAND = "python -m tests.public_names"
MODULES = ["random", "policy", "composite", "bijectors", "combinators", "family", "distributions", "divergence"]
MODULES += ["parameters", "logits", "kept", "plot", "spaces", "special"]


def signature_of(function: Any) -> str:
    """Return the names and defaults of the arguments; no annotations, whose text differs between Python versions."""
    given = inspect.signature(function)
    parameters = [p.replace(annotation=p.empty, default=shown(p.default)) for p in given.parameters.values()]
    return str(given.replace(parameters=parameters, return_annotation=given.empty))


class Text(str):
    """A default whose repr is this text."""

    def __repr__(self) -> str:
        return str(self)


def shown(default: Any) -> Any:
    """Return a default that has the same repr in every process."""
    if isinstance(default, enum.Enum):
        return Text(str(default))
    is_named = inspect.isfunction(default) or inspect.isclass(default) or inspect.ismodule(default)
    return Text(default.__name__) if is_named and default is not inspect.Parameter.empty else default


def lines_of(name: str, found: Any) -> Iterator[str]:
    """Yield the lines of one public name."""
    if inspect.isclass(found):
        yield from lines_of_class(name, found)
    elif isinstance(found, Family):
        yield name + ".Params" + signature_of(found.Params)
        yield from (f"{name}.{verb}{signature_of(function)}" for verb, function in verbs(found).items())
    elif isinstance(found, ModuleType):
        yield f"{name}: module"
    elif inspect.isfunction(found):
        yield name + signature_of(found)
    else:
        yield f"{name}: {type(found).__name__}"


def lines_of_class(name: str, found: type) -> Iterator[str]:
    """Yield the constructor of a class, and what this package defines of its attributes."""
    if issubclass(found, enum.Enum):
        yield f"{name}: {', '.join(found.__members__)}"
        return
    is_plain = issubclass(found, Exception) or getattr(found, "_is_protocol", False)
    yield f"class {name}" + ("" if is_plain else signature_of(found))
    own = [base for base in found.__mro__ if base.__module__.startswith("functional_dists")]
    for attribute in sorted({key for base in own for key in vars(base) if not key.startswith("_")}):
        static = inspect.getattr_static(found, attribute)
        function = static.__func__ if isinstance(static, classmethod | staticmethod) else static
        yield f"{name}.{attribute}" + (signature_of(function) if inspect.isfunction(function) else "")


def text() -> str:
    """Return all public names, one a line."""
    lines = [f"# Written by `{COMMAND}`."]
    for name in functional_dists.__all__:
        lines += lines_of(name, getattr(functional_dists, name))
    for name in MODULES:
        module = getattr(functional_dists, name)
        for public in sorted(module.__all__):
            found = getattr(module, public)
            if found is not getattr(functional_dists, public, None):  # the root has it already
                lines += lines_of(f"{name}.{public}", found)
            else:
                lines.append(f"{name}.{public}: {public}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PATH.write_text(text())
