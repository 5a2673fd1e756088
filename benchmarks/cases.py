"""The timed cases: families, verbs and shapes, with the same input arrays for every contender."""

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

Arrays = dict[str, np.ndarray]

VERBS = ("sample", "sample_and_log_prob", "log_prob", "entropy", "kl")
DRAWING = ("sample", "sample_and_log_prob", "sample_log_prob_entropy")
PIPELINE = "pipeline "  # prefix of the family in the name of a pipeline, as users run it
ACTORS = ("actor", "ProbabilisticActor")  # verbs of pipelines: `policy.actor`, and TorchRL's with the shim's class
LOW, HIGH, IGNORE_INDEX = -1.0, 1.0, -100
BATCH, OBSERVATION, HIDDEN, ACTION = 32, 17, 64, 6  # of one update of the ensemble
RATE, TEMPERATURE, TARGET = 1e-2, 0.1, 0.5

PARAMETERS = {
    "independent_normal": ("loc", "scale"),
    "tanh_normal": ("loc", "scale"),
    "truncated_normal": ("loc", "scale"),
    "student_t": ("df", "loc", "scale"),
    "von_mises": ("loc", "concentration"),
    "gamma": ("concentration", "rate"),
    "beta": ("concentration1", "concentration0"),
    "categorical": ("logits",),
    "masked_categorical": ("logits", "mask"),
    "one_hot_categorical": ("logits",),
    "ordinal": ("scores",),
    "llm_masked_categorical": ("logits", "mask"),
    "linear_categorical": ("hidden", "weight"),
}
CONTINUOUS = ("independent_normal", "tanh_normal", "truncated_normal")
OF_NUMBERS = ("student_t", "von_mises", "gamma", "beta")  # whose draws are quantiles without a closed form
BOUNDED = ("tanh_normal", "truncated_normal")
LOGITS = "llm_masked_categorical"
HEAD = "linear_categorical"


@dataclass(frozen=True)
class Case:
    """One kind of work at one shape.

    `log_prob` is forward and backward: the log-probs, and the gradient of their sum with respect to the parameters.
    """

    family: str
    verb: str
    shape: tuple[int, ...]
    dtype: str = "float32"

    @property
    def name(self) -> str:
        suffix = "" if self.dtype == "float32" else f" {self.dtype}"
        return f"{self.family} {self.verb} {self.shape}{suffix}"

    @property
    def is_pipeline(self) -> bool:
        return self.family.startswith(PIPELINE)

    @property
    def call(self) -> "Case":
        """The case of the family itself, without the pipeline."""
        return replace(self, family=self.family.removeprefix(PIPELINE))

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))


COPY = Case("memory", "copy", (2**26,))  # larger than any cache
HEADS = tuple(Case(HEAD, verb, (512, 256, 32_768)) for verb in ("sample", "log_prob", "entropy"))
PIPELINES = (
    *(
        Case(f"{PIPELINE}tanh_normal", verb, shape)
        for shape in ((1, 6), (256, 6), (16_384, 6))
        for verb in ("sample", "sample_and_log_prob", "rsample_and_log_prob", "log_prob", *ACTORS)
    ),
    *(
        Case(f"{PIPELINE}{family}", verb, shape)
        for family in ("categorical", "masked_categorical")
        for shape in ((1, 64), (256, 64))
        for verb in ("sample", "sample_and_log_prob", "log_prob")
    ),
)
ENSEMBLES = tuple(Case("ensemble", "update", (num,)) for num in (1, 8, 64, 512))


def work(device: str) -> list[Case]:
    """Return all cases, including larger ones on a GPU."""
    on_gpu = device != "cpu"
    cases = [COPY]
    for family in CONTINUOUS:
        sizes = (1,), (256, 6), (16_384, 6), (262_144, 6), *([(2**24, 6)] if on_gpu else [])
        cases += [Case(family, verb, shape) for shape in sizes for verb in VERBS]
    cases += [Case(family, verb, (16_384,)) for family in OF_NUMBERS for verb in ("sample", "log_prob")]
    for family in ("masked_categorical", "one_hot_categorical"):
        cases += [Case(family, verb, shape) for shape in ((256, 64), (16_384, 64), (256, 32_000)) for verb in VERBS]
    cases += [Case("ordinal", verb, (256, 64)) for verb in VERBS]
    for dtype in ("float32", "bfloat16"):
        cases += [Case(LOGITS, verb, (8, 32, size), dtype) for size in (32_000, 128_256) for verb in VERBS]
    if on_gpu:
        cases.append(Case("masked_categorical", "sample_log_prob_entropy", (4096, 128_256), "bfloat16"))
    cases += HEADS
    cases += [Case("random", verb, shape) for verb in ("uniform", "normal") for shape in ((8,), (256, 6), (2**20,))]
    cases += [Case("random", "split", (num,)) for num in (2, 1024)]
    return [*cases, *ENSEMBLES, *PIPELINES]


def few(cases: list[Case]) -> list[Case]:
    """Return one case of every kind, for a quick run."""
    shapes = ((256, 6), (256, 64), (8, 32, 32_000), (8,))
    return [
        case
        for case in cases
        if (
            case.family in PARAMETERS
            and case.shape in shapes
            and case.verb in ("sample_and_log_prob", "log_prob")
            and case.dtype == "float32"
        )
        or case in (COPY, Case("random", "normal", (2**20,)), ENSEMBLES[1])
        or case == Case(f"{PIPELINE}tanh_normal", "log_prob", (256, 6))
    ]


def matching(cases: list[Case], patterns: Sequence[str]) -> list[Case]:
    """Return the cases whose name contains one of the patterns, which may have the wildcards `*` and `?`.

    >>> [case.name for case in matching(work("cpu"), ["tanh_normal*(256, 6)"])][:2]
    ['tanh_normal sample (256, 6)', 'tanh_normal sample_and_log_prob (256, 6)']
    """
    return [case for case in cases if any(fnmatch.fnmatchcase(case.name, f"*{pattern}*") for pattern in patterns)]


# --------------------------------------------------------------------------------------------------------------- inputs
def inputs(case: Case) -> Arrays:
    """Return the parameters by name, those of a second distribution as `q_...`, and a `value` to score.

    For a pipeline, `raw` is the network output that gives these parameters.
    """
    source = np.random.default_rng(0)
    if case.is_pipeline:
        return _pipeline(source, case.call)
    if case.family == "ensemble":
        return _ensemble(source, case.shape[0])
    if case.family not in PARAMETERS:
        return {}
    if case.family == HEAD:
        return _head(source, case)
    makers = {**dict.fromkeys(CONTINUOUS, _continuous), **dict.fromkeys(OF_NUMBERS, _numbers)}
    arrays = makers.get(case.family, _discrete)(source, case)
    if case.dtype == "bfloat16":
        arrays = {name: _rounded(array) if array.dtype == np.float32 else array for name, array in arrays.items()}
    return arrays


def _continuous(source: np.random.Generator, case: Case) -> Arrays:
    loc, q_loc, noise = (source.standard_normal(case.shape, dtype=np.float32) for _ in range(3))
    scale, q_scale, uniform = (0.3 + 0.7 * source.random(case.shape, dtype=np.float32) for _ in range(3))
    loc *= 0.5
    x = loc + scale * noise
    values = {"independent_normal": x, "tanh_normal": np.tanh(x), "truncated_normal": 2 * (uniform - 0.65)}
    q_loc = loc + 0.3 * q_loc
    return {"loc": loc, "scale": scale, "q_loc": q_loc, "q_scale": q_scale, "value": values[case.family]}


def _numbers(source: np.random.Generator, case: Case) -> Arrays:
    """Return parameters of families of numbers; df, rate and concentrations are log-uniform between 0.5 and 500."""
    loc, value = (source.standard_normal(case.shape, dtype=np.float32) for _ in range(2))
    size = (0.5 * 10 ** (3 * source.random(case.shape))).astype(np.float32)
    other = (0.5 * 10 ** (3 * source.random(case.shape))).astype(np.float32)
    named = {"df": size, "loc": loc, "scale": np.ones_like(loc), "rate": other}
    named |= {"concentration": size, "concentration1": size, "concentration0": other}
    if case.family in ("gamma", "beta"):
        value = 1 / (1 + np.exp(-value))
    return {**{name: named[name] for name in PARAMETERS[case.family]}, "value": value}


def _discrete(source: np.random.Generator, case: Case) -> Arrays:
    table, q_table = (source.standard_normal(case.shape, dtype=np.float32) for _ in range(2))
    first = PARAMETERS[case.family][0]
    arrays: Arrays = {first: table, f"q_{first}": q_table}
    value = source.integers(case.shape[-1], size=case.shape[:-1])
    if case.family == LOGITS:
        arrays["mask"] = source.random(case.shape[:-1], dtype=np.float32) < 0.9
    elif case.family == "masked_categorical":
        arrays["mask"] = source.random(case.shape, dtype=np.float32) < 0.7
        np.put_along_axis(arrays["mask"], value[..., None], True, -1)
    elif case.family == "one_hot_categorical":
        index, value = value[..., None], np.zeros(case.shape, np.int64)
        np.put_along_axis(value, index, 1, -1)
    return {**arrays, "value": value}


def _head(source: np.random.Generator, case: Case) -> Arrays:
    rows, size, count = case.shape
    hidden, q_hidden = (source.standard_normal((rows, size), dtype=np.float32) for _ in range(2))
    weight = source.standard_normal((count, size), dtype=np.float32) / np.float32(size**0.5)
    return {"hidden": hidden, "q_hidden": q_hidden, "weight": weight, "value": source.integers(count, size=rows)}


def _pipeline(source: np.random.Generator, case: Case) -> Arrays:
    if case.family in CONTINUOUS:
        arrays = _continuous(source, case)
        # The inverse of `parameters.normal_params`, whose scale is softplus(raw + log(expm1(0.99))) + 0.01.
        raw_scale = np.log(np.expm1(arrays["scale"] - 0.01) / np.expm1(0.99))
        return {**arrays, "raw": np.concatenate([arrays["loc"], raw_scale], -1, dtype=np.float32)}
    arrays = _discrete(source, case)
    if "mask" in arrays:
        arrays["mask"] = source.random(case.shape[-1:], dtype=np.float32) < 0.7  # the same for all rows
        arrays["value"] = source.choice(np.flatnonzero(arrays["mask"]), case.shape[:-1])
    state_values = np.zeros((*case.shape[:-1], 1), np.float32)  # the output of a second head
    return {**arrays, "raw": np.concatenate([arrays["logits"], state_values], -1)}


def _ensemble(source: np.random.Generator, num: int) -> Arrays:
    def weights(*shape: int) -> np.ndarray:
        return source.standard_normal((num, *shape), dtype=np.float32) / np.float32(shape[0] ** 0.5)

    return {
        "w1": weights(OBSERVATION, HIDDEN),
        "b1": np.zeros((num, HIDDEN), np.float32),
        "w2": weights(HIDDEN, 2 * ACTION),
        "b2": np.zeros((num, 2 * ACTION), np.float32),
        "observation": source.standard_normal((num, BATCH, OBSERVATION), dtype=np.float32),
    }


def _rounded(array: np.ndarray) -> np.ndarray:
    """Return the numbers rounded to bfloat16."""
    bits = array.view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
