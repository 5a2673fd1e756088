"""Reads the spaces of gymnasium and the specs of torchrl; neither package is imported."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

import functional_dists.continuous.normal as normal
import functional_dists.continuous.tanh_normal as tanh_normal
import functional_dists.continuous.truncated_normal as truncated_normal
from functional_dists.family import bind, name_of, specification_of
from functional_dists.parameters import ScaleMapping, normal_params
from functional_dists.spaces.kinds import Kind, kind_of
from functional_dists.spaces.leaves import Bits, Integers, Reals
from functional_dists.spaces.nodes import Node
from functional_dists.spaces.ports import NumpyPort, Port, TensorPort
from functional_dists.spaces.recoded import Code, Constants, OneHots, Shift
from functional_dists.spaces.trees import Characters, OneOf, Repeated, Several

_FINITE = 1e30  # the width of a box of larger numbers overflows in float32


@dataclass(frozen=True)
class Options:
    """The options of `from_space`."""

    bounded: Any = tanh_normal
    partly_bounded: Any = truncated_normal
    unbounded: Any = normal
    scale_mapping: ScaleMapping = "biased_softplus_1.0"
    scale_lb: float = 1e-4
    max_length: int | None = None
    max_values: int = 256
    _path: tuple[Any, ...] = field(default=())

    def at(self, name: Any) -> "Options":
        """Return the options for a part of a space, which know its place."""
        return Options(**{**vars(self), "_path": (*self._path, name)})

    @property
    def place(self) -> str:
        """The part of a message that says where the problem is."""
        return f" at {'/'.join(map(str, self._path))!r}" if self._path else ""


def read(space: Any, options: Options) -> Node:
    """Return the node of a space.

    Raises:
        NotImplementedError: actions of the space have no bound size.
        TypeError: the space is of an unknown class.
        ValueError: the space has no finite family with these options.
    """
    kind = kind_of(space, _READERS)
    if kind is None:
        known = ", ".join(".".join(name) for name in _READERS)
        got = f"{type(space).__module__}.{type(space).__name__}"
        raise TypeError(f"the space{options.place} must be one of {known}, got {got}")
    return _READERS[kind](space, options)


# ----------------------------------------------------------------------------------------------------------- the leaves
def _nested(array: Any) -> Any:
    """Return an array as nested tuples."""
    return tuple(map(_nested, array)) if isinstance(array, list) else array


def _shift(starts: Any, dtype: torch.dtype | None) -> Code | None:
    """Return the code of integers that begin at `starts`, an array."""
    if dtype == torch.int64:
        dtype = None
    distinct = np.unique(starts)
    if distinct.size == 1:
        start = int(distinct[0])
        return None if start == 0 and dtype is None else Shift(start, dtype)
    return Shift(_nested(starts.astype(np.int64).tolist()), dtype)


def _integers(
    low: Any, counts: Any, port: Port, name: str, dtype: torch.dtype | None = None, mask: Any = None
) -> Integers:
    """Return integers from `low` on, an array of the space's shape, with `counts` of the same shape."""
    allowed = None if mask is None else _allowed(mask, int(counts.sum()), name)
    flat = tuple(int(count) for count in counts.reshape(-1))
    return Integers(counts.shape, flat, port, _shift(low, dtype), name, allowed)


def _allowed(mask: Tensor, size: int, name: str) -> tuple[bool, ...]:
    if mask.numel() != size:
        raise ValueError(f"the mask of the spec {name} must have {size} entries, got shape {tuple(mask.shape)}")
    return tuple(mask.bool().reshape(-1).tolist())


def _real_box(low: Any, high: Any, port: Port, options: Options) -> Reals:
    """Return the real numbers between bounds, which are arrays and may be infinite."""
    low, high = low.astype(np.float64), high.astype(np.float64)
    low, high = np.where(low < -_FINITE, -np.inf, low), np.where(high > _FINITE, np.inf, high)
    has_low, has_high = np.isfinite(low), np.isfinite(high)
    is_bounded, is_unbounded = (has_low & has_high).all(), not (has_low | has_high).any()
    name = "bounded" if is_bounded else "unbounded" if is_unbounded else "partly_bounded"
    given = getattr(options, name)
    family, function = given if isinstance(given, tuple) else (given, None)
    if not hasattr(family, "Params"):
        raise TypeError(f"{name} must be a family, or a pair of a family and a function, got {type(family).__name__}")
    bounds = {side: bound for side, bound in (("low", low), ("high", high)) if side in family.Params._fields}
    code, free, is_constant = None, None, has_low & has_high & (low == high)
    if len(bounds) == 2 and is_constant.any():  # whatever the family draws there between other bounds
        code, free = Constants(_nested(np.where(is_constant, low, 0.0).tolist())), _nested((~is_constant).tolist())
        low, high = np.where(is_constant, -1.0, low), np.where(is_constant, 1.0, high)
        bounds = {"low": low, "high": high}
    if len(bounds) == 2 and (narrow := np.nextafter(np.float32(low), np.float32(math.inf)) >= np.float32(high)).any():
        raise ValueError(
            f"the box{options.place} must leave a number between its bounds; this fails at position "
            f"{tuple(np.argwhere(narrow)[0].tolist())}"
        )
    fixed = {side: float(bound.flat[0]) for side, bound in bounds.items() if np.unique(bound).size == 1}
    base = bind(family, **fixed)
    tables = {side: _nested(bound.tolist()) for side, bound in bounds.items() if side not in fixed}
    names = tuple(
        field for field in base.Params._fields if field not in tables and field not in base.Params._field_defaults
    )
    spec = specification_of(family.log_prob)
    elementwise = {} if spec is None or spec.event_dims is None else {"event_dims": 0}
    to_params = _to_params(family, names, function, options)
    return Reals(low.shape, port, base, names, to_params, tables, elementwise, free, code)


def _to_params(
    family: Any, names: tuple[str, ...], function: Callable[..., Any] | None, options: Options
) -> Callable[[Tensor], tuple[Any, ...]]:
    """Return the function from a flat output to the parameters with these names."""
    if function is not None:
        return functools.partial(_of_chunks, len(names), function)
    if names == ("loc", "scale"):
        return functools.partial(normal_params, scale_mapping=options.scale_mapping, scale_lb=options.scale_lb)
    if len(names) == 1:
        return functools.partial(_of_chunks, 1, _unchanged)
    raise TypeError(
        f"give the family {name_of(family)} with a function from a network's numbers to its parameters {names}: "
        f"({name_of(family)}, function)"
    )


def _of_chunks(count: int, function: Callable[..., Any], raw: Tensor) -> tuple[Any, ...]:
    return tuple(function(*raw.chunk(count, -1)))


def _unchanged(*chunks: Tensor) -> tuple[Tensor, ...]:
    return chunks


def _integer_box(low: Any, high: Any, port: Port, name: str, options: Options, dtype: Any = None) -> Integers:
    """Return the integers between bounds, which are arrays."""
    # Python's integers do not overflow.
    numbers = np.asarray(high.astype(object) - low.astype(object) + 1, dtype=object)
    most = max(map(int, numbers.reshape(-1)), default=1)
    if most > options.max_values:
        raise ValueError(
            f"the integers{options.place} take up to {most} values, more than max_values={options.max_values}: raise "
            "max_values, or use a space of real numbers"
        )
    return _integers(low.astype(np.int64), numbers.astype(np.int64), port, name, dtype)


# ------------------------------------------------------------------------------------------------------------ gymnasium
def _box(space: Any, options: Options) -> Node:
    if np.issubdtype(space.dtype, np.floating):
        return _real_box(space.low, space.high, NumpyPort(space.dtype, False, space.low, space.high), options)
    return _integer_box(space.low, space.high, NumpyPort(space.dtype), "Box", options)


def _discrete(space: Any, options: Options) -> Node:
    return _integers(np.asarray(space.start), np.asarray(space.n), NumpyPort(space.dtype, True), "Discrete")


def _multi_discrete(space: Any, options: Options) -> Node:
    return _integers(space.start, space.nvec, NumpyPort(space.dtype), "MultiDiscrete")


def _one_of(space: Any, options: Options) -> Node:
    parts = tuple(read(part, options.at(i)) for i, part in enumerate(space.spaces))
    port = NumpyPort(np.dtype(np.int64), True)
    return OneOf(Integers((), (len(parts),), port, name="the choice"), Several(None, parts))


def _sequence(space: Any, options: Options) -> Node:
    most = options.max_length
    if most is None or most < 1:
        raise ValueError(f"a Sequence{options.place} has no greatest length: give max_length, at least 1, got {most}")
    item = read(space.feature_space, options.at("items"))
    return Repeated(_length(0, most), item, 0, most, bool(space.stack))


def _text(space: Any, options: Options) -> Node:
    least, most, alphabet = space.min_length, space.max_length, "".join(space.character_list)
    if options.max_length is not None:
        most = max(least, min(most, options.max_length))
    if not alphabet or most < 1:
        raise ValueError(f"the Text{options.place} has no text but the empty one")
    character = Integers((), (len(alphabet),), NumpyPort(np.dtype(np.int64), True), name="a character")
    return Characters(_length(least, most), character, least, most, False, alphabet)


def _length(least: int, most: int) -> Integers:
    code = Shift(least) if least else None
    return Integers((), (most - least + 1,), NumpyPort(np.dtype(np.int64), True), code, "the length")


def _graph(space: Any, options: Options) -> Node:
    raise NotImplementedError(
        f"a Graph{options.place} has no bound number of nodes and edges, and so no family: describe its parts with a "
        "Dict of other spaces"
    )


def _dict(space: Any, options: Options) -> Node:
    parts = {name: read(part, options.at(name)) for name, part in space.spaces.items()}
    return Several(tuple(parts), tuple(parts.values()))


# -------------------------------------------------------------------------------------------------------------- torchrl
def _spec_of_integers(spec: Any, options: Options) -> Node:
    shape = tuple(spec.shape)
    counts = np.full(shape, int(spec.space.n), dtype=np.int64)
    return _integers(np.zeros_like(counts), counts, TensorPort(spec.dtype), "Categorical", spec.dtype, spec.mask)


def _multi_categorical(spec: Any, options: Options) -> Node:
    counts = np.broadcast_to(np.asarray([int(count) for count in spec.nvec.reshape(-1)]), tuple(spec.shape))
    return _integers(np.zeros_like(counts), counts, TensorPort(spec.dtype), "MultiCategorical", spec.dtype, spec.mask)


def _one_hot(spec: Any, options: Options) -> Node:
    count, shape = int(spec.space.n), tuple(spec.shape[:-1])
    return _vectors((count,), shape, np.full(shape, count, dtype=np.int64), False, spec)


def _multi_one_hot(spec: Any, options: Options) -> Node:
    counts = tuple(int(box.n) for box in spec.space)
    shape = (*spec.shape[:-1], len(counts))
    return _vectors(counts, shape, np.broadcast_to(np.asarray(counts), shape), True, spec)


def _vectors(sizes: tuple[int, ...], shape: tuple[int, ...], counts: Any, joined: bool, spec: Any) -> Node:
    allowed = None if spec.mask is None else _allowed(spec.mask, int(counts.sum()), type(spec).__name__)
    flat = tuple(int(count) for count in counts.reshape(-1))
    code = OneHots(sizes, spec.dtype, joined)
    return Integers(shape, flat, TensorPort(spec.dtype), code, type(spec).__name__, allowed)


def _bounded(spec: Any, options: Options) -> Node:
    low, high = spec.space.low, spec.space.high
    if spec.dtype.is_floating_point:
        arrays = low.cpu().double().numpy(), high.cpu().double().numpy()
        return _real_box(*arrays, TensorPort(spec.dtype, low, high), options)
    arrays = low.cpu().numpy(), high.cpu().numpy()
    return _integer_box(*arrays, TensorPort(spec.dtype), "Bounded", options, spec.dtype)


def _unbounded(spec: Any, options: Options) -> Node:
    if not spec.dtype.is_floating_point:
        raise ValueError(f"the integers{options.place} have no bounds: use a Bounded spec or a Categorical spec")
    infinite = np.full(tuple(spec.shape), np.inf)
    return _real_box(-infinite, infinite, TensorPort(spec.dtype), options)


def _composite(spec: Any, options: Options) -> Node:
    if tuple(spec.shape):
        raise ValueError(
            f"the Composite{options.place} has a batch of shape {tuple(spec.shape)}: give the spec of one environment, "
            "such as env.full_action_spec_unbatched"
        )
    parts = {str(name): read(part, options.at(name)) for name, part in spec.items() if part is not None}
    return Several(tuple(parts), tuple(parts.values()))


_READERS: dict[Kind, Callable[[Any, Options], Node]] = {
    ("gymnasium", "Box"): _box,
    ("gymnasium", "Discrete"): _discrete,
    ("gymnasium", "MultiDiscrete"): _multi_discrete,
    ("gymnasium", "MultiBinary"): lambda space, options: Bits(tuple(space.shape), NumpyPort(space.dtype)),
    ("gymnasium", "Text"): _text,
    ("gymnasium", "Dict"): _dict,
    ("gymnasium", "Tuple"): lambda space, options: Several(
        None, tuple(read(part, options.at(i)) for i, part in enumerate(space.spaces))
    ),
    ("gymnasium", "OneOf"): _one_of,
    ("gymnasium", "Sequence"): _sequence,
    ("gymnasium", "Graph"): _graph,
    ("torchrl", "Categorical"): _spec_of_integers,
    ("torchrl", "MultiCategorical"): _multi_categorical,
    ("torchrl", "OneHot"): _one_hot,
    ("torchrl", "MultiOneHot"): _multi_one_hot,
    ("torchrl", "Binary"): lambda spec, options: Bits(tuple(spec.shape), TensorPort(spec.dtype), Shift(0, spec.dtype)),
    ("torchrl", "Bounded"): _bounded,
    ("torchrl", "Unbounded"): _unbounded,
    ("torchrl", "Composite"): _composite,
}
