"""What `_kernels.c` offers: functions of addresses, counts and numbers, the addresses of results last."""

def philox_words(keys: int, rows: int, num: int, words: int, /) -> None: ...
def philox_uniforms(keys: int, rows: int, num: int, uniforms: int, /) -> None: ...
def philox_double_uniforms(keys: int, rows: int, num: int, uniforms: int, /) -> None: ...
def philox_normals(keys: int, rows: int, num: int, normals: int, /) -> None: ...
def categories(
    logits: int, mask: int, rows: int, count: int, share: int, unit: float, outcome: int, log_prob: int, /
) -> None: ...
def entropies(logits: int, mask: int, rows: int, count: int, entropy: int, /) -> None: ...
def divergences(
    p_logits: int, p_mask: int, q_logits: int, q_mask: int, rows: int, count: int, divergence: int, /
) -> None: ...
def category_slopes(
    logits: int, mask: int, rows: int, count: int, outcome: int, slope: int, by_logits: int, /
) -> None: ...
def squashed_pair(
    noise: int, loc: int, scale: int, half_width: float, rows: int, count: int, x: int, log_density: int, /
) -> None: ...
def log_density_at(
    value: int,
    loc: int,
    scale: int,
    low: float | None,
    high: float | None,
    rows: int,
    count: int,
    log_density: int,
    /,
) -> None: ...
def log_density_slopes(
    value: int,
    loc: int,
    scale: int,
    low: float | None,
    high: float | None,
    slope: int,
    rows: int,
    count: int,
    by_loc: int,
    by_scale: int,
    /,
) -> None: ...
