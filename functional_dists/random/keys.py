"""Keys: explicit sources of randomness, which functions take, split and pass on.

A key is a ``uint64`` tensor of shape ``(2,)``: the pair ``(seed, offset)`` of the counter-based generator
Philox4x32-10, in the format of PyTorch's experimental ``torch.func._random``. A draw does not change its key: the same
key always gives the same numbers, so every draw needs its own key, from ``split`` or ``fold_in``. A batch of keys is a
tensor of shape ``(*K, 2)``, one key for each entry of a batch.

PyTorch's uint64 tensors can be stacked, indexed, reshaped, copied, compared and mapped over by ``torch.vmap``, and
hardly anything else. To choose between keys there is ``where``.
"""

import operator

import torch
from torch import Tensor

from functional_dists.random import ops
from functional_dists.random.philox import WORDS_PER_BLOCK
from functional_dists.random.reuse import consume

#: Where randomness comes from: a key, a batch of keys, or a generator.
Source = Tensor | torch.Generator
Device = torch.device | str | None


def key(seed: int, *, device: Device = None) -> Tensor:
    """Make a key from a seed.

    Args:
        seed: any integer in [-2^63, 2^64); a negative seed is taken mod 2^64.
        device: of the key, and by default of what is drawn from it. Default: PyTorch's default device.

    Returns:
        A key, uint64 of shape ``(2,)``.

    Raises:
        TypeError: if ``seed`` is not an integer.
        ValueError: if ``seed`` is out of range.

    >>> from functional_dists import random
    >>> random.key(42)
    tensor([42,  0], dtype=torch.uint64)
    """
    if not isinstance(seed, int):
        seed = _integer("seed", seed)
    if not -(2**63) <= seed < 2**64:
        raise ValueError(f"seed must lie in [-2^63, 2^64), got {seed}")
    return torch.tensor([signed_64(seed), 0], dtype=torch.int64, device=device).view(torch.uint64)


def key_from(generator: torch.Generator) -> Tensor:
    """Draw a key from a Generator, which advances.

    ``torch.compile`` cannot trace a Generator: draw a key from it outside, and pass the key to the compiled function.

    Args:
        generator: any ``torch.Generator``.

    Returns:
        A key, uint64 of shape ``(2,)``, on the device of the generator.

    Raises:
        TypeError: if ``generator`` is not a Generator, or under ``torch.compile``.

    >>> from functional_dists import random
    >>> random.key_from(torch.Generator().manual_seed(0)).shape
    torch.Size([2])
    """
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, got {_description(generator)}")
    return _as_key(generator_words(generator, WORDS_PER_BLOCK))


def split(key: Source, num: int = 2) -> Tensor:
    """Make independent keys out of one.

    Args:
        key: a key ``(2,)``; a batch of keys ``(*K, 2)``, each of which is split; or a Generator, from which the keys
            are drawn.
        num: the number of keys to make of each key.

    Returns:
        Keys, uint64 of shape ``(num, 2)``, or ``(*K, num, 2)``. The first ones do not depend on ``num``.

    Raises:
        TypeError: if ``key`` is neither a key nor a Generator.
        ValueError: if ``key`` has another shape, or ``num`` is negative.

    >>> from functional_dists import random
    >>> actor, critic = random.split(random.key(42))
    >>> actor
    tensor([8643895580192075859, 6287785766076502189], dtype=torch.uint64)
    """
    num = num if isinstance(num, (int, torch.SymInt)) else _integer("num", num)
    if num < 0:
        raise ValueError(f"num must not be negative, got {num}")
    if isinstance(key, Tensor):
        consume(checked_key(key))
    return children(key, num)


def children(key: Source, num: int) -> Tensor:
    """What `split` returns; it neither checks nor consumes the key."""
    return _as_key(source_words(key, WORDS_PER_BLOCK * num).unflatten(-1, (num, WORDS_PER_BLOCK)))


def fold_in(key: Source, data: int | Tensor) -> Tensor:
    """Derive the key ``split(key, data + 1)[data]`` from a key, without making those before it.

    Args:
        key: a key ``(2,)``, a batch of keys ``(*K, 2)``, or a Generator, from which the parent key is drawn.
        data: an integer, taken mod 2^64 (a step, an index, a 64-bit hash of a name), or an integer tensor of any shape.
            With a batch of keys the shape of the tensor begins with ``K``, since every key has its own data. An integer
            or a tensor without axes is used for all keys.

    Returns:
        Keys, uint64 of shape ``data.shape + (2,)``, or of the shape of ``key`` if ``data`` has no axes.

    Raises:
        TypeError: if ``key`` is neither a key nor a Generator, or ``data`` is not integer.
        ValueError: if ``key`` has another shape, or ``data`` does not begin with ``K``.

    >>> from functional_dists import random
    >>> bool((random.fold_in(random.key(42), 1) == random.split(random.key(42))[1]).all())
    True
    >>> random.fold_in(random.key(42), torch.arange(5)).shape
    torch.Size([5, 2])
    """
    if isinstance(key, Tensor):
        parent, skip = with_its_own("data", checked_key(key), as_int64("data", data, key.device))
        consume(parent, skip, "fold")
    else:
        parent = key_from(checked_generator(key))
        parent, skip = with_its_own("data", parent, as_int64("data", data, parent.device))
    return _child(parent, skip)


def child(key: Tensor, data: int) -> Tensor:
    """What `fold_in` returns for keys ``(*K, 2)``; it neither checks nor consumes them."""
    return _child(*with_its_own("data", key, as_int64("data", data, key.device)))


def _child(parent: Tensor, skip: Tensor) -> Tensor:
    return _as_key(ops.words(parent, WORDS_PER_BLOCK, skip))


def with_its_own(name: str, key: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and numbers ``(*K, *R)`` that broadcast, from keys ``(*K, 2)`` and numbers ``(*K, *R)`` or without axes."""
    keys = key.shape[:-1]
    if not numbers.ndim:
        return key, numbers.expand(keys) if keys else numbers
    if numbers.shape[: len(keys)] != keys:
        raise ValueError(
            f"{name} must begin with {tuple(keys)} as the keys have shape {tuple(key.shape)}, got {name} of shape "
            f"{tuple(numbers.shape)}; {name}.expand{(*keys, *numbers.shape)} is the same {name} for every key"
        )
    # Do not expand the keys: compiled code would write them to memory.
    return key.reshape(*keys, *[1] * (numbers.ndim - len(keys)), 2), numbers


def where(cond: Tensor, key_a: Tensor, key_b: Tensor) -> Tensor:
    """Choose between keys, as ``torch.where`` does, which does not take uint64 everywhere.

    Args:
        cond: bool, of shape ``(*B)``.
        key_a: the keys to take where ``cond`` is true, of shape ``(*B, 2)``.
        key_b: the keys to take elsewhere, of shape ``(*B, 2)``. All three broadcast.

    Returns:
        Keys, uint64 of shape ``(*B, 2)``.

    Raises:
        TypeError: if ``cond`` is not a bool tensor, or ``key_a`` or ``key_b`` is not a key.
        ValueError: if the last axis of one of the keys is not 2.

    >>> from functional_dists import random
    >>> random.where(torch.tensor([True, False]), random.key(1), random.key(2))
    tensor([[1, 0],
            [2, 0]], dtype=torch.uint64)
    """
    if not isinstance(cond, Tensor) or cond.dtype != torch.bool:
        raise TypeError(f"cond must be a bool tensor, got {_description(cond)}")
    for name, keys in (("key_a", key_a), ("key_b", key_b)):
        _check_key_dtype(keys, name)
        if keys.dim() == 0 or keys.shape[-1] != 2:
            raise ValueError(f"{name} must have shape (*B, 2), got {tuple(keys.shape)}")
    return torch.where(cond.unsqueeze(-1), key_a.view(torch.int64), key_b.view(torch.int64)).view(torch.uint64)


# --- For the draws ---------------------------------------------------------------------------------------------------


def checked_key(key: Tensor) -> Tensor:
    """Return a key or a batch of keys; an error for anything else."""
    _check_key_dtype(key, "key")
    if not key.ndim or key.shape[-1] != 2:
        raise ValueError(f"key must have shape (2,), got {tuple(key.shape)}; a batch of keys has shape (*K, 2)")
    return key


def checked_generator(generator: object) -> torch.Generator:
    """Return a Generator; an error for anything else, and while PyTorch traces.

    Do not call this with a Tensor: PyTorch 2.15 cannot trace `isinstance` of a Tensor and `torch.Generator`.
    """
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"key must be a key (see random.key) or a torch.Generator, got {_description(generator)}")
    if torch.compiler.is_compiling():
        raise TypeError(
            "torch.compile cannot trace a torch.Generator: outside of the compiled function make a key of it, "
            "key = random.key_from(generator), and pass the key"
        )
    return generator


def checked_source(key: Source) -> Source:
    """Return a key, a batch of keys or a Generator; an error for anything else."""
    return checked_key(key) if isinstance(key, Tensor) else checked_generator(key)


def source_words(key: Source, num: int, device: Device = None) -> Tensor:
    """``num`` int32 words of each key, or drawn from a Generator; it does not check the keys."""
    if isinstance(key, Tensor):
        return ops.words(on_device(key, device), num)
    return generator_words(key, num, device)


def on_device(key: Tensor, device: Device) -> Tensor:
    """The key on the device; by default, on its own."""
    return key if device is None else key.to(device)


def generator_words(generator: torch.Generator, num: int, device: Device = None) -> Tensor:
    """``num`` int32 words drawn from a Generator."""
    generator = checked_generator(generator)
    device = generator.device if device is None else device
    return torch.randint(-(2**31), 2**31, (num,), generator=generator, dtype=torch.int32, device=device)


def signed_64(value: int) -> int:
    """The signed 64-bit integer equal to ``value`` mod 2^64."""
    return value if -(2**63) <= value < 2**63 else (value + 2**63) % 2**64 - 2**63


def _as_key(words: Tensor) -> Tensor:
    """Words ``(*B, 4)`` to keys ``(*B, 2)``."""
    # The low word comes first, as in memory. Inductor drops the view where a draw views the key as words again.
    return words.view(torch.uint64)


def as_int64(name: str, data: int | Tensor, device: torch.device) -> Tensor:
    """An integer mod 2^64, or an integer tensor, as an int64 tensor."""
    if not isinstance(data, Tensor):
        if not isinstance(data, int):
            data = _integer(name, data)
        return torch.full((), signed_64(data), dtype=torch.int64, device=device)
    if data.is_floating_point() or data.is_complex():
        raise TypeError(f"{name} must be an integer or an integer tensor, got {_description(data)}")
    return data.view(torch.int64) if data.dtype == torch.uint64 else data.to(torch.int64)


def _integer(name: str, value: object) -> int:
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {_description(value)}") from None


def _check_key_dtype(key: object, name: str) -> None:
    if not isinstance(key, Tensor):
        raise TypeError(f"{name} must be a key (see random.key) or a torch.Generator, got {_description(key)}")
    if key.dtype != torch.uint64:
        raise TypeError(f"{name} must be a key, a torch.uint64 tensor as random.key makes it, got {_description(key)}")


def _description(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a {value.dtype} tensor of shape {tuple(value.shape)}"
    return f"{value!r}" if value is None else f"{value!r} of type {type(value).__name__}"
