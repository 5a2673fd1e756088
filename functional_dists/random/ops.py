"""Words, uniforms and normals of keys as library operations, which every transformation of PyTorch can see through.

An operation takes keys ``(*B, 2)`` and gives numbers ``(*B, num)``, those of every key by itself. ``torch.vmap``,
``make_fx`` and fake tensors see one opaque operation, and in eager code on the CPU it is one call: into PyTorch's own
kernels where there are any, else into `random.cpu`. While ``torch.compile`` traces, tensor operations take its place,
so that they fuse.

Block ``n`` of a key ``(seed, offset)`` is the cipher text of the counter ``offset + n`` (mod 2^64) under the cipher key
``seed``. Normals are made in pairs: Box, Muller, "A note on the generation of random normal deviates", 1958.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from functional_dists.random import cpu, portable
from functional_dists.random.philox import WORDS_PER_BLOCK


def words(key: Tensor, num: int, skip: Tensor | None = None) -> Tensor:
    """``num`` int32 words ``(*B, num)`` of keys ``(*B, 2)``, after ``skip`` ``(*B)`` blocks; keys broadcast."""
    if torch.compiler.is_compiling():
        return portable.interleave(portable.word_streams(key, num, skip), num)
    return _philox_words(key if skip is None else key.expand(*skip.shape, 2), skip, num)


def words_of_block(key: Tensor, block: Tensor) -> Sequence[Tensor]:
    """The four int32 words ``(*B)`` of the blocks numbered ``(*B)``, int64, to which keys ``(..., 2)`` broadcast."""
    if torch.compiler.is_compiling():
        return [word.squeeze(-1) for word in portable.word_streams(key, WORDS_PER_BLOCK, block)]
    return words(key, WORDS_PER_BLOCK, block).unbind(-1)


def normals_of_block(key: Tensor, block: Tensor, *, double: bool) -> Sequence[Tensor]:
    """The standard normals ``(*B)``, two in float64 or four in float32, of the blocks with these numbers."""
    num = 2 if double else WORDS_PER_BLOCK
    if torch.compiler.is_compiling():
        return [normal.squeeze(-1) for normal in portable.normal_streams(key, num, block, double=double)]
    seed, offset = key.view(torch.int64).unbind(-1)
    shifted = torch.stack([seed.expand(block.shape), offset + block], -1).view(torch.uint64)
    return _philox_normals(shifted, num, double).unbind(-1)


def uniforms(key: Tensor, num: int, *, double: bool) -> Tensor:
    """``num`` uniforms on [0, 1) ``(*B, num)`` of keys ``(*B, 2)``, in float64 or float32; not for compiled code."""
    return _philox_uniforms(key, num, double)


def normals(key: Tensor, num: int, *, double: bool) -> Tensor:
    """``num`` standard normals ``(*B, num)`` of keys ``(*B, 2)``, in float64 or float32."""
    if torch.compiler.is_compiling():
        return portable.interleave(portable.normal_streams(key, num, double=double), num)
    return _philox_normals(key, num, double)


# --- What the operations do ------------------------------------------------------------------------------------------


def _words_on_cpu(key: Tensor, skip: Tensor | None, num: int) -> Tensor:
    if skip is not None:
        key = cpu.advance(key, skip)
    return _native_words(key, num) if _has_native_kernels("cpu") else cpu.words(key, num)


def _uniforms_on_cpu(key: Tensor, num: int, double: bool) -> Tensor:
    return cpu.uniforms(key, num, double=double)


def _uniforms_elsewhere(key: Tensor, num: int, double: bool) -> Tensor:
    return portable.uniforms_of_words(_philox_words(key, None, 2 * num if double else num), double=double)


def _normals_on_cpu(key: Tensor, num: int, double: bool) -> Tensor:
    return _native_normals(key, num, double) if _has_native_kernels("cpu") else cpu.normals(key, num, double=double)


def _words_elsewhere(key: Tensor, skip: Tensor | None, num: int) -> Tensor:
    if skip is None and _has_native_kernels(key.device.type):
        return _native_words(key, num)
    return portable.interleave(portable.word_streams(key, num, skip), num).contiguous()


def _normals_elsewhere(key: Tensor, num: int, double: bool) -> Tensor:
    if _has_native_kernels(key.device.type):
        return _native_normals(key, num, double)
    return portable.interleave(portable.normal_streams(key, num, double=double), num).contiguous()


def _native_words(key: Tensor, num: int) -> Tensor:
    out = torch.empty((*key.shape[:-1], num), dtype=torch.int32, device=key.device)
    torch.ops.aten._philox_randint_(out, _native_key(key), -(2**31), None)
    return out


def _native_normals(key: Tensor, num: int, double: bool) -> Tensor:
    dtype = torch.float64 if double else torch.float32
    out = torch.empty((*key.shape[:-1], num), dtype=dtype, device=key.device)
    torch.ops.aten._philox_normal_(out, _native_key(key), 0.0, 1.0)
    return out


def _native_key(key: Tensor) -> Tensor:
    return key if key.dim() == 1 else key.unsqueeze(-2)  # a batch of keys has the axes of the numbers, and its own


@functools.cache
def _has_native_kernels(device_type: str) -> bool:
    """Whether PyTorch has kernels for this kind of device (2.15 has, for the CPU) that give the numbers they should."""
    # Of three blocks of the first key the last lies beyond the wrap of the offset.
    keys = torch.tensor([[0x0123456789ABCDEF, -2], [-1, 2**62]], dtype=torch.int64, device="cpu").view(torch.uint64)
    try:
        for known_key in (keys[0], keys):
            key = known_key.to(device_type)
            if not torch.equal(_native_words(key, 12).cpu(), cpu.words(known_key, 12)):
                return False
            for double, tolerance in ((False, 2e-6), (True, 1e-14)):
                native, known = _native_normals(key, 12, double).cpu(), cpu.normals(known_key, 12, double=double)
                if not torch.allclose(native, known, tolerance, tolerance):
                    return False
    except (AttributeError, NotImplementedError, RuntimeError):
        return False
    return True


# --- The operations --------------------------------------------------------------------------------------------------

_library = torch.library.Library("functional_dists", "FRAGMENT")
_library.define("philox_words(Tensor key, Tensor? skip, SymInt num) -> Tensor")
_library.define("philox_uniforms(Tensor key, SymInt num, bool double) -> Tensor")
_library.define("philox_normals(Tensor key, SymInt num, bool double) -> Tensor")
_library.impl("philox_words", _words_on_cpu, "CPU")
_library.impl("philox_uniforms", _uniforms_on_cpu, "CPU")
_library.impl("philox_normals", _normals_on_cpu, "CPU")
_library.impl("philox_words", _words_elsewhere, "CompositeExplicitAutograd")
_library.impl("philox_uniforms", _uniforms_elsewhere, "CompositeExplicitAutograd")
_library.impl("philox_normals", _normals_elsewhere, "CompositeExplicitAutograd")

_philox_words: Callable[[Tensor, Tensor | None, int], Tensor] = torch.ops.functional_dists.philox_words.default
_philox_uniforms: Callable[[Tensor, int, bool], Tensor] = torch.ops.functional_dists.philox_uniforms.default
_philox_normals: Callable[[Tensor, int, bool], Tensor] = torch.ops.functional_dists.philox_normals.default


def _fake_words(key: Tensor, skip: Tensor | None, num: int) -> Tensor:
    return key.new_empty((*key.shape[:-1], num), dtype=torch.int32)


def _fake_reals(key: Tensor, num: int, double: bool) -> Tensor:
    return key.new_empty((*key.shape[:-1], num), dtype=torch.float64 if double else torch.float32)


InDims = tuple[int | None, ...]


def _vmap_words(info: Any, in_dims: InDims, key: Tensor, skip: Tensor | None, num: int) -> tuple[Tensor, int]:
    key = _lanes_first(key, in_dims[0], info.batch_size)
    if skip is not None:
        skip = _lanes_first(skip, in_dims[1], info.batch_size)
    return _philox_words(key, skip, num), 0


def _vmap_uniforms(info: Any, in_dims: InDims, key: Tensor, num: int, double: bool) -> tuple[Tensor, int]:
    return _philox_uniforms(_lanes_first(key, in_dims[0], info.batch_size), num, double), 0


def _vmap_normals(info: Any, in_dims: InDims, key: Tensor, num: int, double: bool) -> tuple[Tensor, int]:
    return _philox_normals(_lanes_first(key, in_dims[0], info.batch_size), num, double), 0


def _lanes_first(operand: Tensor, lane_dim: int | None, lanes: int) -> Tensor:
    return operand.expand(lanes, *operand.shape) if lane_dim is None else operand.movedim(lane_dim, 0)


torch.library.register_fake("functional_dists::philox_words", _fake_words, lib=_library)
torch.library.register_fake("functional_dists::philox_uniforms", _fake_reals, lib=_library)
torch.library.register_fake("functional_dists::philox_normals", _fake_reals, lib=_library)
torch.library.register_vmap("functional_dists::philox_words", _vmap_words, lib=_library)
torch.library.register_vmap("functional_dists::philox_uniforms", _vmap_uniforms, lib=_library)
torch.library.register_vmap("functional_dists::philox_normals", _vmap_normals, lib=_library)
