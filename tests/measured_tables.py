"""The tables of docs/numerics.md and docs/speed.md, made of what `make accuracy` and `make bench` have written.

`python -m tests.measured_tables` writes them again.
"""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
ERRORS, TIMES = ROOT / "tests" / "accuracy" / "TABLE.md", ROOT / "benchmarks" / "RESULTS.md"
PAGES = {"errors": ROOT / "docs" / "numerics.md", "times": ROOT / "docs" / "speed.md"}

VERBS = (
    "normal.log_prob",
    "normal.cdf",
    "normal.log_cdf",
    "normal.icdf",
    "normal.kl",
    "tanh_normal.log_prob",
    "tanh_normal.squash",
    "tanh_normal.mode",
    "tanh_normal.mean",
    "tanh_normal.entropy",
    "tanh_normal.cdf",
    "tanh_normal.icdf",
    "tanh_normal.kl",
    "truncated_normal.log_prob",
    "truncated_normal.mean",
    "truncated_normal.variance",
    "truncated_normal.entropy",
    "truncated_normal.cdf",
    "truncated_normal.icdf",
    "truncated_normal.kl",
    "gamma.log_prob",
    "gamma.cdf",
    "gamma.icdf",
    "gamma.entropy",
    "gamma.kl",
    "beta.log_prob",
    "beta.log_cdf",
    "beta.entropy",
    "student_t.log_prob",
    "student_t.entropy",
    "von_mises.log_prob",
    "masked_categorical.log_prob",
    "masked_categorical.entropy",
    "masked_categorical.kl_same_mask",
    "ordinal.log_prob",
    "ordinal.entropy",
)
WORKS = (
    "random normal (256, 6)",
    "random normal (1048576,)",
    "tanh_normal sample_and_log_prob (256, 6)",
    "tanh_normal sample_and_log_prob (16384, 6)",
    "tanh_normal sample_and_log_prob (262144, 6)",
    "tanh_normal log_prob (256, 6)",
    "truncated_normal sample_and_log_prob (256, 6)",
    "truncated_normal sample_and_log_prob (16384, 6)",
    "truncated_normal log_prob (16384, 6)",
    "masked_categorical sample_and_log_prob (256, 64)",
    "masked_categorical sample_and_log_prob (16384, 64)",
    "masked_categorical sample_and_log_prob (256, 32000)",
    "masked_categorical log_prob (256, 64)",
    "llm_masked_categorical sample (8, 32, 32000)",
    "llm_masked_categorical log_prob (8, 32, 32000)",
    "ensemble update (512,)",
)


def rows(text: str) -> Iterator[list[str]]:
    """Yield the cells of the lines of tables; `\\|` is no border."""
    for line in text.splitlines():
        if line.startswith("| "):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def as_table(header: list[str], body: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, ["---"] * len(header), *body])


def errors() -> str:
    """Return the largest errors of values, of float32 and float64."""
    found = {(cells[0], cells[1]): cells for cells in rows(ERRORS.read_text())}

    def error(cell: str) -> str:
        value = cell.partition(";")[0].split()  # ulp, relative, and how many are not finite
        return cell if cell in ("-", "raises") else " ".join([value[0], *value[2:]])

    body = []
    for verb in VERBS:
        single, double = (found[verb, dtype] for dtype in ("float32", "float64"))
        numbers = [error(single[2]), error(double[2]), error(single[5]), error(single[6])]
        body.append([f"`{verb}`", *numbers])
    return as_table(["verb", "float32", "float64", "torch, float32", "TorchRL, float32"], body)


def times() -> str:
    """Return medians and ratios, with one thread."""
    text = TIMES.read_text()
    one_thread = text[text.index("\n## 1 thread") : text.index("\n## 2 threads")]
    header, *body = rows(one_thread)
    found = {cells[0]: dict(zip(header, cells, strict=True)) for cells in body}
    medians = ("ours, eager", "ours, eager, key", "ours, compiled", "torchrl", "torchrl, compiled", "torch", "JAX")
    ratios = ("/ torchrl", "/ torch", "/ jax", "of the bandwidth")

    def median(cell: str) -> str:
        return cell.partition(" (")[0]

    table = [[work, *(median(found[work][name]) for name in medians), *(found[work][name] for name in ratios)]
             for work in WORKS]  # fmt: skip
    return as_table(["work", *medians, *ratios], table)


MAKERS = {"errors": errors, "times": times}


def with_table(name: str, page: str) -> str:
    """Return the text of a page with its table made again, between two comments."""
    begin, end = f"<!-- {name} -->\n", "\n<!-- end -->"
    before, rest = page.split(begin)
    return before + begin + MAKERS[name]() + end + rest.partition(end)[2]


if __name__ == "__main__":
    for name, path in PAGES.items():
        path.write_text(with_table(name, path.read_text()))
