"""Jitted JAX: distrax where it has the family, `jax.random` and `jax.scipy` for the truncated normal."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import t as student_t
from jax.scipy.stats import truncnorm

from benchmarks.cases import (
    CONTINUOUS,
    DRAWING,
    HEAD,
    HIGH,
    IGNORE_INDEX,
    LOW,
    OF_NUMBERS,
    PARAMETERS,
    RATE,
    TARGET,
    TEMPERATURE,
    Arrays,
    Case,
)
from benchmarks.contenders import Prepared

# Where distrax subtracts log-probs, those of two masked outcomes must not be infinite.
MASKED = -1e30


def _independent_normal(loc: jax.Array, scale: jax.Array) -> Any:
    return distrax.Independent(distrax.Normal(loc, scale), 1)


def _tanh_normal(loc: jax.Array, scale: jax.Array) -> Any:
    return distrax.Transformed(_independent_normal(loc, scale), distrax.Block(distrax.Tanh(), 1))


def _masked_categorical(logits: jax.Array, mask: jax.Array) -> Any:
    return distrax.Categorical(logits=jnp.where(mask, logits.astype(jnp.float32), MASKED))


class _TruncatedNormal:
    def __init__(self, loc: jax.Array, scale: jax.Array) -> None:
        self.loc, self.scale = loc, scale
        self.low, self.high = (LOW - loc) / scale, (HIGH - loc) / scale

    def sample(self, seed: jax.Array) -> jax.Array:
        return self.loc + self.scale * jax.random.truncated_normal(seed, self.low, self.high)

    def log_prob(self, value: jax.Array) -> jax.Array:
        return truncnorm.logpdf(value, self.low, self.high, self.loc, self.scale).sum(-1)

    def sample_and_log_prob(self, seed: jax.Array) -> tuple[jax.Array, jax.Array]:
        value = self.sample(seed)
        return value, self.log_prob(value)


class _StudentT:
    def __init__(self, df: jax.Array, loc: jax.Array, scale: jax.Array) -> None:
        self.df, self.loc, self.scale = df, loc, scale

    def sample(self, seed: jax.Array) -> jax.Array:
        return self.loc + self.scale * jax.random.t(seed, self.df)

    def log_prob(self, value: jax.Array) -> jax.Array:
        return student_t.logpdf(value, self.df, self.loc, self.scale)


class _Tokens:
    """A Categorical with a mask of positions, computed in float32 whatever the logits are."""

    def __init__(self, logits: jax.Array, mask: jax.Array) -> None:
        self.categorical, self.mask = distrax.Categorical(logits=logits.astype(jnp.float32)), mask

    def sample(self, seed: jax.Array) -> jax.Array:
        return jnp.where(self.mask, self.categorical.sample(seed=seed), IGNORE_INDEX)

    def sample_and_log_prob(self, seed: jax.Array) -> tuple[jax.Array, jax.Array]:
        value, log_prob = self.categorical.sample_and_log_prob(seed=seed)
        return jnp.where(self.mask, value, IGNORE_INDEX), jnp.where(self.mask, log_prob, 0.0)

    def log_prob(self, value: jax.Array) -> jax.Array:
        return jnp.where(self.mask, self.categorical.log_prob(value), 0.0)

    def entropy(self) -> jax.Array:
        return jnp.where(self.mask, self.categorical.entropy(), 0.0)

    def kl_divergence(self, other: "_Tokens") -> jax.Array:
        return jnp.where(self.mask, self.categorical.kl_divergence(other.categorical), 0.0)


MAKERS: dict[str, Callable[..., Any]] = {
    "independent_normal": _independent_normal,
    "tanh_normal": _tanh_normal,
    "truncated_normal": _TruncatedNormal,
    "student_t": _StudentT,
    "von_mises": distrax.VonMises,
    "gamma": distrax.Gamma,
    "beta": distrax.Beta,
    "masked_categorical": _masked_categorical,
    "one_hot_categorical": lambda logits: distrax.OneHotCategorical(logits=logits),
    "llm_masked_categorical": _Tokens,
    "linear_categorical": lambda hidden, weight: distrax.Categorical(logits=hidden @ weight.T),
}


def prepare(form: str, case: Case, arrays: Arrays, device: str) -> Prepared | None:
    real = jnp.dtype(case.dtype)
    data = {name: jnp.asarray(array, real if array.dtype == np.float32 else None) for name, array in arrays.items()}
    key = jax.random.key(42)
    if case.family == "random":
        return _jitted(_draw(case), key)
    if case.family == "ensemble":
        return _ensemble(data, jax.random.split(key, case.shape[0]))
    if case.family not in MAKERS or (case.family == "truncated_normal" and case.verb in ("entropy", "kl")):
        return None
    inputs = [data[name] for name in PARAMETERS[case.family]]
    if case.verb in DRAWING:
        return _jitted(_function(case), key, *inputs)
    if case.verb == "log_prob":
        return _jitted(_with_gradient(case), *inputs, data["value"])
    if case.verb == "kl":
        inputs += [data.get(f"q_{name}", data[name]) for name in PARAMETERS[case.family]]
    return _jitted(_function(case), *inputs)


def _jitted(function: Callable[..., Any], *arguments: jax.Array) -> Prepared:
    jitted = jax.jit(function)
    inputs = [a for a in arguments if not jnp.issubdtype(a.dtype, jax.dtypes.prng_key)]
    return Prepared(lambda: jax.block_until_ready(jitted(*arguments)), inputs)


def _function(case: Case) -> Callable[..., Any]:
    make, num = MAKERS[case.family], len(PARAMETERS[case.family])

    def sample_log_prob_entropy(key: jax.Array, *parameters: jax.Array) -> tuple[jax.Array, ...]:
        distribution = make(*parameters)
        return *distribution.sample_and_log_prob(seed=key), distribution.entropy()

    functions: dict[str, Callable[..., Any]] = {
        "sample": lambda key, *p: make(*p).sample(seed=key),
        "sample_and_log_prob": lambda key, *p: make(*p).sample_and_log_prob(seed=key),
        "sample_log_prob_entropy": sample_log_prob_entropy,
        "entropy": lambda *p: make(*p).entropy(),
        "kl": lambda *both: make(*both[:num]).kl_divergence(make(*both[num:])),
    }
    return functions[case.verb]


def _with_gradient(case: Case) -> Callable[..., Any]:
    make, leaves = MAKERS[case.family], (0, 1) if case.family in (*CONTINUOUS, HEAD) else (0,)
    if case.family in OF_NUMBERS:
        leaves = tuple(range(len(PARAMETERS[case.family])))

    def total(*arguments: jax.Array) -> tuple[jax.Array, jax.Array]:
        scores = make(*arguments[:-1]).log_prob(arguments[-1])
        return scores.sum(), scores

    def step(*arguments: jax.Array) -> tuple[jax.Array, ...]:
        (_, scores), gradients = jax.value_and_grad(total, leaves, has_aux=True)(*arguments)
        return scores, *gradients

    return step


def _draw(case: Case) -> Callable[[jax.Array], jax.Array]:
    if case.verb == "split":
        return lambda key: jax.random.split(key, case.shape[0])
    draw = getattr(jax.random, case.verb)
    return lambda key: draw(key, case.shape)


# ------------------------------------------------------------------------------------------------------------- ensemble
def _loss(weights: dict[str, jax.Array], key: jax.Array, observation: jax.Array) -> jax.Array:
    hidden = jnp.tanh(observation @ weights["w1"] + weights["b1"])
    loc, raw = jnp.split(hidden @ weights["w2"] + weights["b2"], 2, -1)
    action, log_prob = _tanh_normal(loc, jax.nn.softplus(raw) + 0.1).sample_and_log_prob(seed=key)
    return (TEMPERATURE * log_prob + jnp.square(action - TARGET).sum(-1)).mean()


def _ensemble(data: dict[str, jax.Array], keys: jax.Array) -> Prepared:
    def update(weights: dict[str, jax.Array], key: jax.Array, observation: jax.Array) -> Any:
        loss, gradients = jax.value_and_grad(_loss)(weights, key, observation)
        return loss, jax.tree.map(lambda weight, gradient: weight - RATE * gradient, weights, gradients)

    update_all = jax.jit(jax.vmap(update))
    weights = {name: data[name] for name in ("w1", "b1", "w2", "b2")}

    def call() -> tuple[jax.Array, jax.Array]:
        losses, moved = jax.block_until_ready(update_all(weights, keys, data["observation"]))
        return losses, moved["w2"]

    return Prepared(call)


def to_numpy(result: Any) -> tuple[np.ndarray, ...]:
    parts: Sequence[jax.Array] = result if isinstance(result, tuple) else (result,)
    return tuple(_array(part) for part in parts)


def _array(part: jax.Array) -> np.ndarray:
    if jnp.issubdtype(part.dtype, jax.dtypes.prng_key):
        part = jax.random.key_data(part)
    return np.asarray(part.astype(jnp.float32) if part.dtype == jnp.bfloat16 else part)


def time_calls(call: Callable[[], Any], count: int, device: str) -> float:
    """Return the seconds that a call takes, of so many in a row; every one waits for its result."""
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def release() -> None:
    jax.clear_caches()
