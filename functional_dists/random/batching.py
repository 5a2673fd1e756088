"""The batching rule of `view` as another dtype, which torch 2.11 lacks.

Keys are made by such views, so that `torch.vmap` needs the rule. Later versions of PyTorch have their own.
"""

import torch
from torch import _C, Tensor

_MISSING = not _C._dispatch_has_kernel_for_dispatch_key("aten::view.dtype", "FuncTorchBatched")
_BATCHED = _C.DispatchKeySet(_C.DispatchKey.FuncTorchBatched)


def view_as_dtype(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the view of the innermost level of `torch.vmap`, whose axis goes to the front."""
    level = _C._functorch.maybe_current_level()
    assert level is not None  # the key of the rule is that of `torch.vmap`
    with _C._ExcludeDispatchKeyGuard(_BATCHED):
        lanes, axis = _C._functorch._unwrap_batched(x, level)
        if axis is None:
            return lanes.view(dtype)
        if lanes.ndim == 1 and dtype.itemsize != x.dtype.itemsize:  # else the axis of the lanes would be divided
            raise RuntimeError(f"a tensor without axes cannot be viewed as {dtype}, which has another size")
        return _C._functorch._add_batch_dim(lanes.movedim(axis, 0).view(dtype), 0, level)


if _MISSING:
    _library = torch.library.Library("aten", "IMPL")  # the rule lasts as long as this object
    _library.impl("view.dtype", view_as_dtype, "FuncTorchBatched")
