"""Words, uniforms and normals of keys as one library operation, which works under every transformation of PyTorch.

The operation takes keys ``(*B, 2)`` and returns ``num`` numbers of each, ``(*B, num)``. It is opaque to ``torch.vmap``,
``make_fx`` and fake tensors. In eager code on the CPU it is one call of PyTorch's own kernels, if there are any, or of
`random.cpu`. While ``torch.compile`` traces, tensor operations replace it, so that they fuse with what follows.

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
    """``num`` int32 words ``(*B, num)`` after ``skip`` ``(*B)`` blocks, to which keys ``(..., 2)`` broadcast."""
    if torch.compiler.is_compiling():
        return portable.interleave(portable.word_streams(key, num, skip), num)
    return _philox(key, num, "words") if skip is None else _philox(key.expand(*skip.shape, 2), num, "words", skip)


def uniforms(key: Tensor, num: int, *, double: bool) -> Tensor:
    """``num`` uniforms on [0, 1) ``(*B, num)`` of keys ``(*B, 2)``, in float64 or float32; not for compiled code."""
    return _philox(key, num, _UNIFORMS[double])


def normals(key: Tensor, num: int, *, double: bool) -> Tensor:
    """``num`` standard normals ``(*B, num)`` of keys ``(*B, 2)``, in float64 or float32."""
    if torch.compiler.is_compiling():
        return portable.interleave(portable.normal_streams(key, num, double=double), num)
    return _philox(key, num, _NORMALS[double])


def words_of_block(key: Tensor, block: Tensor) -> Sequence[Tensor]:
    """The four int32 words ``(*B)`` of the blocks numbered ``(*B)``, int64, to which keys ``(..., 2)`` broadcast."""
    if torch.compiler.is_compiling():
        return [word.squeeze(-1) for word in portable.word_streams(key, WORDS_PER_BLOCK, block)]
    return words(key, WORDS_PER_BLOCK, block).unbind(-1)


def normals_of_block(key: Tensor, block: Tensor, *, double: bool) -> Sequence[Tensor]:
    """The standard normals ``(*B)`` of the blocks numbered ``(*B)``: two in float64, or four in float32."""
    num = 2 if double else WORDS_PER_BLOCK
    if torch.compiler.is_compiling():
        return [normal.squeeze(-1) for normal in portable.normal_streams(key, num, block, double=double)]
    return _philox(key.expand(*block.shape, 2), num, _NORMALS[double], block).unbind(-1)


# --- What the operation does -----------------------------------------------------------------------------------------

_UNIFORMS, _NORMALS = ("uniforms32", "uniforms64"), ("normals32", "normals64")  # indexed by `double`
_DTYPES = {
    "words": torch.int32,
    **dict(zip(_UNIFORMS, (torch.float32, torch.float64), strict=True)),
    **dict(zip(_NORMALS, (torch.float32, torch.float64), strict=True)),
}


def _on_cpu(key: Tensor, num: int, kind: str, skip: Tensor | None = None) -> Tensor:
    if skip is not None:
        key = cpu.advance(key, skip)
    if kind in _UNIFORMS:
        return cpu.uniforms(key, num, double=kind == "uniforms64")
    if _has_native_kernels("cpu"):
        return _native(key, num, kind)
    return cpu.words(key, num) if kind == "words" else cpu.normals(key, num, double=kind == "normals64")


def _elsewhere(key: Tensor, num: int, kind: str, skip: Tensor | None = None) -> Tensor:
    if kind in _UNIFORMS:
        double = kind == "uniforms64"
        return portable.uniforms_of_words(_philox(key, 2 * num if double else num, "words", skip), double=double)
    if skip is None and _has_native_kernels(key.device.type):
        return _native(key, num, kind)
    if kind == "words":
        streams = portable.word_streams(key, num, skip)
    else:
        streams = portable.normal_streams(key, num, skip, double=kind == "normals64")
    return portable.interleave(streams, num).contiguous()


def _native(key: Tensor, num: int, kind: str) -> Tensor:
    numbers = _fake(key, num, kind)
    key = key if key.ndim == 1 else key.unsqueeze(-2)  # these want an axis of keys for every axis of the numbers
    if kind == "words":
        torch.ops.aten._philox_randint_(numbers, key, -(2**31), None)
    else:
        torch.ops.aten._philox_normal_(numbers, key, 0.0, 1.0)
    return numbers


@functools.cache
def _has_native_kernels(device_type: str) -> bool:
    """Whether PyTorch has kernels for this kind of device that compute these numbers; 2.15 has them for the CPU."""
    # The third block of the first key lies beyond the wrap of its offset.
    keys = torch.tensor([[0x0123456789ABCDEF, -2], [-1, 2**62]], dtype=torch.int64, device="cpu").view(torch.uint64)
    try:
        for known_key in (keys[0], keys):
            key = known_key.to(device_type)
            if not torch.equal(_native(key, 12, "words").cpu(), cpu.words(known_key, 12)):
                return False
            for double, tolerance in ((False, 2e-6), (True, 1e-14)):
                native, known = _native(key, 12, _NORMALS[double]).cpu(), cpu.normals(known_key, 12, double=double)
                if not torch.allclose(native, known, tolerance, tolerance):
                    return False
    except (AttributeError, NotImplementedError, RuntimeError):
        return False
    return True


# --- The operation ---------------------------------------------------------------------------------------------------


def _fake(key: Tensor, num: int, kind: str, skip: Tensor | None = None) -> Tensor:
    return key.new_empty((*key.shape[:-1], num), dtype=_DTYPES[kind])


def _vmap(
    info: Any, in_dims: tuple[int | None, ...], key: Tensor, num: int, kind: str, skip: Tensor | None = None
) -> tuple[Tensor, int]:
    key = _lanes_first(key, in_dims[0], info.batch_size)
    if skip is not None:
        skip = _lanes_first(skip, in_dims[3], info.batch_size)
    return _philox(key, num, kind, skip), 0


def _lanes_first(operand: Tensor, lane_dim: int | None, lanes: int) -> Tensor:
    return operand.expand(lanes, *operand.shape) if lane_dim is None else operand.movedim(lane_dim, 0)


_library = torch.library.Library("functional_dists", "FRAGMENT")
_library.define("philox(Tensor key, SymInt num, str kind, Tensor? skip=None) -> Tensor")
_library.impl("philox", _on_cpu, "CPU")
_library.impl("philox", _elsewhere, "CompositeExplicitAutograd")
torch.library.register_fake("functional_dists::philox", _fake, lib=_library)
torch.library.register_vmap("functional_dists::philox", _vmap, lib=_library)

_philox: Callable[..., Tensor] = torch.ops.functional_dists.philox.default
