"""Writes the pages that follow from the code: one for each family and each public module, and the gallery.

A new family, module, notebook or public name needs no page of its own here.
"""

import importlib
import inspect
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib
import torch
from matplotlib.figure import Figure
from sphinx.pycode import ModuleAnalyzer

import functional_dists
from functional_dists import plot, random
from functional_dists.__main__ import families
from functional_dists.family import verbs

from .examples import example_of
from .markup import converted, escaped

DOCS = Path(__file__).parent.parent
ROOT = DOCS.parent
REFERENCE = DOCS / "reference"
KEY = random.key(0)  # of the draws in the gallery
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

# Files elsewhere in the repository that are pages of the site, and the places of these pages.
COPIED = {
    **{f"notebooks/{path.name}": f"notebooks/{path.name}" for path in NOTEBOOKS},
    "benchmarks/RESULTS.md": "measured/benchmarks.md",
    "tests/accuracy/TABLE.md": "measured/accuracy.md",
    "CHANGELOG.md": "about/changelog.md",
    "CONTRIBUTING.md": "about/contributing.md",
}
GENERATED = sorted({"reference", *(page.partition("/")[0] for page in COPIED.values())})

# The modules in the order of the reference. What else the package exports comes after them.
MODULES = ["random", "composite", "policy", "spaces", "family", "bijectors", "combinators", "divergence", "parameters"]
MODULES += ["plot", "distributions", "logits", "kept", "special"]

# The parts of the navigation, and the pages in each: `*` stands for all that were not named before.
NAVIGATION = {
    "Guide": ["start", "one_page", "algebra", "randomness", "transforms", "adding_a_family", "numerics", "speed", "*"],
    "Cookbook": ["cookbook/*"],
    "Notebooks": ["notebooks/*"],
    "Coming from": ["coming_from/*"],
    "Reference": ["reference/families", "reference/gallery", *(f"reference/{name}" for name in MODULES), "reference/*"],
    "Measurements": ["measured/*"],
    "About": ["about/*"],
}
ON_FIRST_PAGE = ("Guide", "Cookbook", "Coming from")  # these parts are also listed in the text of the first page

_STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": matplotlib.cycler(color=["#3d6fd6", "#e07b39", "#2f9e75", "#a54fb5"]),
    "font.size": 10,
    "svg.hashsalt": "functional_dists",
}


def write() -> None:
    """Write all pages; a name without a docstring raises a ValueError."""
    for folder in GENERATED:
        shutil.rmtree(DOCS / folder, ignore_errors=True)
    for source, page in COPIED.items():
        if (ROOT / source).exists():
            (DOCS / page).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, DOCS / page)
    table = DOCS / COPIED["tests/accuracy/TABLE.md"]
    table.write_text(f"# Errors against 50-digit references\n\nPrinted by `make accuracy`.\n\n{table.read_text()}")
    (REFERENCE / "families").mkdir(parents=True)
    for name, family in families().items():
        print(f"family {name}", flush=True)
        _write(f"families/{name}", _family_page(name, family))
    (REFERENCE / "bijectors").mkdir()
    for name, bijector in bijectors().items():
        print(f"bijector {name}", flush=True)
        _write(name.replace(".", "/"), _bijector_page(name, bijector))
    for name in _modules():
        print(f"module {name}", flush=True)
        _write(name, _module_page(name))
    _write("families", _families_page())
    _write("gallery", _gallery_page())
    if missing := list(undocumented()):
        raise ValueError(f"public names without a docstring: {', '.join(missing)}")


def navigation(docnames: Iterable[str]) -> str:
    """Return the tables of contents, in Markdown, of the pages that exist."""
    left, text = sorted({*docnames} - {"index"}), ""
    for caption, patterns in NAVIGATION.items():
        entries: list[str] = []
        for pattern in patterns:
            expression = re.compile(re.escape(pattern).replace(r"\*", "[^/]+"))
            entries += [name for name in left if expression.fullmatch(name)]
            left = [name for name in left if name not in entries]
        if entries:
            options = [":maxdepth: 1"] if caption in ON_FIRST_PAGE else [":hidden:"]
            text += "\n".join([":::{toctree}", *options, f":caption: {caption}", "", *entries, ":::", "", ""])
    return text


def public_names() -> dict[str, Any]:
    """Return what the reference must describe, by its full name: the families' verbs, and what modules export."""
    names = {
        f"functional_dists.{name}.{verb}": function
        for name, family in (families() | bijectors()).items()
        for verb, function in verbs(family).items()
    }
    for module in _modules():
        names |= {f"functional_dists.{module}.{name}": value for name, value in _exports(module)}
    return names


def undocumented() -> Iterator[str]:
    """Yield the public names that have neither a docstring nor a comment that begins with `#:`."""
    for name, value in public_names().items():
        if not _summary(name, value):
            yield name


# ------------------------------------------------------------------------------------------------------------- families
def _family_page(name: str, family: Any) -> Iterator[str]:
    yield from (*_title(name), f".. py:module:: functional_dists.{name}", "")
    if not isinstance(family, ModuleType):
        yield from (f"``{name}`` is ``{family!r}``.", "")
    yield from converted((_description(family)).splitlines())
    yield from _plot(name, family)
    yield from _parameters_and_verbs(name, family)


def _parameters_and_verbs(name: str, family: Any) -> Iterator[str]:
    yield from (*_title("Parameters", "-"), ".. py:class:: Params", "   :no-typesetting:", "")
    described = dict(line.strip().split(": ", 1) for line in family.Params.__doc__.splitlines() if ": " in line)
    for field in family.Params._fields:
        default = family.Params._field_defaults.get(field)
        tail = "" if default is None else f" Default: ``{default}``."
        yield from (f"``{field}``", f"   {escaped(described.get(field, ''))}{tail}", "")
    yield from (*_title("Verbs", "-"), ".. list-table::", "   :class: names", "   :widths: auto", "")
    for verb, function in verbs(family).items():
        yield from (f"   * - :py:func:`~functional_dists.{name}.{verb}`", f"     - {_sentence(function)}")
    yield ""
    for verb in verbs(family):
        yield from (f".. autofunction:: functional_dists.{name}.{verb}", "")


# ----------------------------------------------------------------------------------------------------------- bijectors
def bijectors() -> dict[str, Any]:
    """Return the bijectors, by their names behind that of the package."""
    found = {name: getattr(functional_dists.bijectors, name) for name in functional_dists.bijectors.__all__}
    return {f"bijectors.{name}": value for name, value in found.items() if hasattr(value, "Params")}


def _bijector_page(name: str, bijector: Any) -> Iterator[str]:
    yield from (*_title(name.partition(".")[2]), f".. py:module:: functional_dists.{name}", "")
    if not isinstance(bijector, ModuleType):
        yield from (f"``{name.partition('.')[2]}`` is ``{bijector!r}``.", "")
    yield from converted((_description(bijector)).splitlines())
    yield from _parameters_and_verbs(name, bijector)


def _description(family: Any) -> str:
    """Return the docstring of the module that says what the family is."""
    if isinstance(family, ModuleType):
        return family.__doc__ or ""
    if hasattr(family, "fixed"):  # bound parameters or options
        return _description(family.family)
    return sys.modules[family._call[0].__module__].__doc__ or ""


def _plot(name: str, family: Any) -> Iterator[str]:
    example = example_of(name)
    if example is None:  # vectors, and counts without an end
        return
    params = family.Params(**{field: torch.tensor(value) for field, value in example.items()})
    with matplotlib.rc_context(_STYLE):
        for image, draw in ((name, plot.density), (f"{name}_draws", partial(plot.samples_against_density, KEY))):
            figure = Figure(figsize=(6, 3), layout="constrained")
            draw(family, params, ax=figure.subplots()).set_title("")
            figure.savefig(REFERENCE / "families" / f"{image}.svg", metadata={"Date": None})
    given = [f"    {field}=torch.tensor({value})," for field, value in example.items()]
    yield from (
        f".. image:: {name}.svg",
        f"   :alt: The density of {name} with these parameters",
        "   :class: plot",
        "",
    )
    yield from (".. code-block:: python", "")
    code = ["import torch", f"from functional_dists import {name}, plot", "", f"params = {name}.Params(", *given, ")"]
    yield from (f"   {line}".rstrip() for line in (*code, f"plot.density({name}, params)"))
    yield ""


def _families_page() -> Iterator[str]:
    yield from (
        *_title("Families"),
        "``make test`` runs every example on these pages, and ``make docs`` draws the plots.",
        "",
        ".. list-table::",
        "   :class: names",
        "   :widths: auto",
        "   :header-rows: 1",
        "",
    )
    yield from ("   * - family", "     - parameters", "     - what it is")
    for name, family in families().items():
        fields = ", ".join(f"``{field}``" for field in family.Params._fields)
        yield from (f"   * - :doc:`families/{name}`", f"     - {fields}", f"     - {_first(_description(family))}")
    yield from ("", ".. toctree::", "   :hidden:", "", *(f"   families/{name}" for name in families()))


# -------------------------------------------------------------------------------------------------------------- modules
def _modules() -> list[str]:
    known = {*MODULES, *families()}
    others = [name for name in functional_dists.__all__ if isinstance(getattr(functional_dists, name), ModuleType)]
    return [*MODULES, *(name for name in others if name not in known)]


def _module(name: str) -> ModuleType:
    found = getattr(functional_dists, name) if name in functional_dists.__all__ else None
    return found or importlib.import_module(f"functional_dists.{name}")


def _exports(name: str) -> Iterator[tuple[str, Any]]:
    """Yield the public names of a module without the families, which have their own pages."""
    module = _module(name)
    functions = [key for key, value in vars(module).items() if inspect.isfunction(value) and not key.startswith("_")]
    for export in getattr(module, "__all__", functions):
        if export not in families() and f"{name}.{export}" not in bijectors():
            yield export, getattr(module, export)


def _module_page(name: str) -> Iterator[str]:
    yield from (*_title(name), f".. py:module:: functional_dists.{name}", "", *converted(_doc(_module(name))))
    exports = dict(_exports(name))
    if name == "bijectors":
        yield from _bijectors_table()
    yield from (".. list-table::", "   :class: names", "   :widths: auto", "")
    for export, value in exports.items():
        full = f"functional_dists.{name}.{export}"
        yield from (f"   * - :py:obj:`~{full}`", f"     - {_summary(full, value)}")
    yield ""
    for export, value in exports.items():
        yield from (*_described(f"functional_dists.{name}.{export}", value), "")


def _bijectors_table() -> Iterator[str]:
    yield from (".. list-table::", "   :class: names", "   :widths: auto", "")
    for name, bijector in bijectors().items():
        yield from (f"   * - :doc:`{name.replace('.', '/')}`", f"     - {_first(_description(bijector))}")
    yield from ("", ".. toctree::", "   :hidden:", "", *(f"   {name.replace('.', '/')}" for name in bijectors()), "")


def _described(full: str, value: Any) -> Iterable[str]:
    if isinstance(value, ModuleType):
        return (f".. py:data:: {full.rpartition('.')[2]}", "", f"   A module. {_sentence(value)}")
    if inspect.isclass(value):
        kind = "exception" if issubclass(value, BaseException) else "class"
        fields = ", ".join(getattr(value, "_fields", ()))  # which the docstring describes
        return (f".. auto{kind}:: {full}", "   :members:", *[f"   :exclude-members: {fields}"] * bool(fields))
    if inspect.isroutine(value):
        return (f".. autofunction:: {full}",)
    return (f".. py:data:: {full.rpartition('.')[2]}", "", f"   {escaped(_comment(full))}")


def _summary(full: str, value: Any) -> str:
    """Return the first sentence of a docstring; for a constant, whose docstring is that of its type, its comment."""
    has_docstring = inspect.isroutine(value) or inspect.isclass(value) or isinstance(value, ModuleType)
    return _sentence(value) if has_docstring else escaped(_comment(full))


def _comment(full: str) -> str:
    """Return the comment that begins with `#:` before a constant, wherever in its package the constant stands."""
    module, _, name = full.rpartition(".")
    package = _module(module.removeprefix("functional_dists.")).__name__
    for found in [key for key in sys.modules if key == package or key.startswith(f"{package}.")]:
        if text := ModuleAnalyzer.for_module(found).find_attr_docs().get(("", name)):
            return " ".join(text).strip()
    return ""


# -------------------------------------------------------------------------------------------------------------- gallery
def _gallery_page() -> Iterator[str]:
    yield from (*_title("Gallery"), "Every family, drawn by :py:func:`functional_dists.plot.density`.", "")
    yield from _figures("")
    yield from (*_title("Draws", "-"), "10,000 draws of each, with one key, as")
    yield from (":py:func:`functional_dists.plot.samples_against_density` shows them.", "")
    yield from _figures("_draws")
    yield from (*_title("Learning curves", "-"), "Policies that the notebooks train.", "", ".. container:: curves", "")
    for path in NOTEBOOKS:
        if path.with_suffix(".png").exists():
            yield from (f"   .. figure:: ../../notebooks/{path.stem}.png", f"      :alt: The plot of {path.stem}")
            yield from ("", f"      :doc:`../notebooks/{path.stem}`", "")


def _figures(suffix: str) -> Iterator[str]:
    yield from (".. container:: gallery", "")
    for name in families():
        if example_of(name) is None:
            continue
        yield from (f"   .. figure:: families/{name}{suffix}.svg", f"      :alt: A plot of {name}")
        yield from (f"      :target: families/{name}.html", "", f"      :doc:`families/{name}`", "")


# ---------------------------------------------------------------------------------------------------------------- text
def _write(page: str, lines: Iterable[str]) -> None:
    (REFERENCE / f"{page}.rst").write_text("\n".join(lines) + "\n")


def _title(text: str, underline: str = "=") -> tuple[str, ...]:
    return (text, underline * len(text), "")


def _doc(value: Any) -> list[str]:
    return inspect.cleandoc(value.__doc__ or "").splitlines()


def _first(doc: str) -> str:
    """Return the first sentence of a docstring."""
    paragraph = " ".join(inspect.cleandoc(doc).partition("\n\n")[0].split())
    end = paragraph.find(". ")
    return escaped(paragraph if end < 0 else paragraph[: end + 1])


def _sentence(value: Any) -> str:
    return _first(value.__doc__ or "")
