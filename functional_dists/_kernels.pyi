"""What `_kernels.c` offers, addresses of results last; these are contiguous, and 0 where a result is not wanted.

An operand is a number, a tensor as (address, shape, strides), or None; it broadcasts to the shape that comes first.
"""

from collections.abc import Sequence

_Tensor = tuple[int, Sequence[int], Sequence[int]]
_Operand = float | _Tensor
_Optional = _Operand | None
_Shape = tuple[int, ...]

def philox_words(keys: int, rows: int, num: int, words: int, /) -> None: ...
def philox_uniforms(keys: int, rows: int, num: int, uniforms: int, /) -> None: ...
def philox_double_uniforms(keys: int, rows: int, num: int, uniforms: int, /) -> None: ...
def philox_normals(keys: int, rows: int, num: int, normals: int, /) -> None: ...
def categories(
    shape: _Shape,
    logits: _Operand,
    mask: _Optional,
    samples: int,
    share: int,
    unit: float,
    outcome: int,
    log_prob: int,
    /,
) -> None: ...
def entropies(shape: _Shape, logits: _Operand, mask: _Optional, entropy: int, /) -> None: ...
def divergences(
    shape: _Shape, p_logits: _Operand, p_mask: _Optional, q_logits: _Operand, q_mask: _Optional, divergence: int, /
) -> None: ...
def category_slopes(
    shape: _Shape, logits: _Operand, mask: _Optional, outcome: int, slope: _Operand, by_logits: int, /
) -> None: ...
def token_scores(
    shape: _Shape,
    logits: _Operand,
    is_half: bool,
    mask: _Optional,
    positions: _Optional,
    rows: tuple[int, int],
    samples: int,
    token: int,
    ignored: int,
    log_prob: int,
    entropy: int,
    sums: int,
    /,
) -> None: ...
def token_slopes(
    shape: _Shape,
    logits: _Operand,
    is_half: bool,
    mask: _Optional,
    positions: _Optional,
    rows: tuple[int, int],
    samples: int,
    token: int,
    ignored: int,
    sums: int,
    by_score: int,
    by_entropy: int,
    by_logits: int,
    /,
) -> None: ...
def draws_of_noise(
    shape: _Shape,
    event_dims: int,
    noise: _Operand,
    loc: _Operand,
    scale: _Operand,
    low: _Optional,
    high: _Optional,
    x: int,
    end: int,
    log_density: int,
    /,
) -> bool: ...
def squash(shape: _Shape, x: int, sigmoid: int, low: _Operand, high: _Operand, tanh: int, /) -> None: ...
def draw_slopes(
    shape: _Shape,
    noise: _Operand,
    x: int,
    loc: _Operand,
    scale: _Operand,
    low: _Optional,
    high: _Optional,
    by_value: _Optional,
    by_density: _Optional,
    by_loc: int,
    by_scale: int,
    /,
) -> None: ...
def log_density_at(
    shape: _Shape,
    event_dims: int,
    value: _Operand,
    loc: _Operand,
    scale: _Operand,
    low: _Optional,
    high: _Optional,
    log_density: int,
    /,
) -> None: ...
def log_density_slopes(
    shape: _Shape,
    value: _Operand,
    is_noise: bool,
    loc: _Operand,
    scale: _Operand,
    low: _Optional,
    high: _Optional,
    slope: _Operand,
    by_loc: int,
    by_scale: int,
    /,
) -> None: ...
def add_terms(
    logits: int,
    rows: int,
    count: int,
    first: int,
    maximum: int,
    index: int,
    rest: int,
    tilt: int,
    tokens: int,
    picks: int,
    picked: int,
    /,
) -> None: ...
def tile_slopes(logits: int, rows: int, count: int, maximum: int, constant: int, factor: int, /) -> None: ...
def part_tops(logits: int, rows: int, count: int, maximum: int, index: int, /) -> None: ...
def part_sums(logits: int, rows: int, count: int, maximum: int, without: int, rest: int, tilt: int, /) -> None: ...
def part_units(logits: int, rows: int, count: int, maximum: int, unit: float, total: int, /) -> None: ...
def part_places(
    logits: int, rows: int, count: int, maximum: int, unit: float, target: int, picks: int, place: int, /
) -> None: ...
def beta_quantiles(
    below: int,
    above: int,
    a: int,
    b: int,
    size: int,
    first: tuple[int, int, int, bool],
    last: tuple[int, int, int, bool],
    offset: int,
    /,
) -> None: ...
def beta_locals(
    offset: int, a: int, b: int, size: int, rule: tuple[int, int, int, bool], results: tuple[int, ...], /
) -> None: ...
def beta_scores(offset: int, a: int, b: int, size: int, results: tuple[int, ...], /) -> None: ...
def gamma_quantile(
    shape: _Shape,
    below: _Tensor,
    above: _Tensor,
    concentration: _Tensor,
    is_precise: bool,
    coarse: int,
    fine: int,
    result: int,
    /,
) -> None: ...
def gamma_local(
    shape: _Shape,
    offset: _Tensor,
    concentration: _Tensor,
    table: int,
    /,
    *results: int,
) -> None: ...
def stirling_rests(shape: _Shape, concentration: _Tensor, /, *results: int) -> None: ...
def gamma_divergence(
    shape: _Shape, a: _Tensor, b: _Tensor, change: _Tensor, nodes: int, rule: int, value: int, slope: int, /
) -> None: ...
