"""Skip work that only derivatives need, and cache results that depend only on Python numbers."""

import functools
import operator
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import _C, Tensor
from torch.autograd import forward_ad

F = TypeVar("F", bound=Callable[..., Any])
PLAIN_TENSORS = (Tensor, torch.nn.Parameter)
_PRE_DISPATCH = _C.DispatchKey.PreDispatch


def is_plain() -> bool:
    """Say whether this is eager code, outside of every transform, tracer and mode.

    Only such code reads or fills the caches: what a tracer records must not depend on earlier calls.

    >>> is_plain()
    True
    """
    return not (
        torch.compiler.is_compiling()
        or _C._len_torch_dispatch_stack() > 0
        or _C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or _C._is_tracing()  # `torch.jit.trace` is not in the stack, nor is `make_fx(pre_dispatch=True)`, the next line
        or _C._dispatch_tls_is_dispatch_key_included(_PRE_DISPATCH)
    )


def is_transformed() -> bool:
    """Say whether a `torch.func` transform or forward mode is active: tensors then do not show if they are tracked."""
    return _C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def is_constant(*tensors: Tensor) -> bool:
    """Say whether no derivative by `tensors` is possible; False under every transform and tracer but `torch.compile`.

    `torch.compile` guards the answer, and recompiles if the answer changes.

    >>> is_constant(torch.zeros(2)), is_constant(torch.zeros(2, requires_grad=True))
    (True, False)
    >>> torch.vmap(lambda x: x + is_constant(x))(torch.zeros(1))
    tensor([0.])
    """
    if torch.compiler.is_compiling():
        if is_transformed() or torch.compiler.is_exporting():
            return False
    elif not is_plain():
        return False
    return not are_tracked(*tensors)


def are_tracked(*tensors: Tensor) -> bool:
    """Say whether autograd tracks one of `tensors`.

    >>> are_tracked(torch.zeros(2), torch.zeros(2, requires_grad=True))
    True
    """
    if torch.is_grad_enabled():
        for tensor in tensors:  # a generator expression would take longer than all the rest
            if tensor.requires_grad:
                return True
    return False


def are_numbers(*tensors: Tensor) -> bool:
    """Say whether Python may read `tensors` as numbers: they are constant, without axes, on the CPU.

    >>> are_numbers(torch.tensor(1.0)), are_numbers(torch.zeros(2))
    (True, False)
    """
    if not is_plain():
        return False
    for tensor in tensors:
        if tensor.ndim or not tensor.is_cpu or type(tensor) not in PLAIN_TENSORS:
            return False
    return not are_tracked(*tensors)


# -------------------------------------------------------------------------------------------------------------- caches
# Keys are numbers and dtypes, never tensors. A cached tensor is an operand of the next operation only: do not write to
# it, and do not return it or a view of it.
@functools.lru_cache(maxsize=4096)
def cached_scalar(number: float, dtype: torch.dtype) -> Tensor:
    """Return a number as a cached tensor without axes; -0.0 becomes 0.0. Call it only where `is_plain` holds.

    >>> cached_scalar(0.5, torch.float32)
    tensor(0.5000)
    """
    with torch.inference_mode(False):  # later calls may be outside of that mode
        tensor = torch.tensor(number + 0.0, dtype=dtype, device="cpu")
    tensor._number = tensor.item()  # type: ignore[attr-defined]
    return tensor


def can_use_cache(tensor: Tensor) -> bool:
    """Say whether a cached CPU tensor may be an operand beside `tensor` here.

    >>> can_use_cache(torch.ones(2))
    True
    """
    # A tensor subclass may reject plain tensors.
    return tensor.is_cpu and type(tensor) in PLAIN_TENSORS and is_plain()


def operand(number: float, like: Tensor) -> Tensor:
    """Return a number as a tensor that may be cached, in a fifth of the time of `scalar`; use it as an operand only.

    >>> operand(0.5, torch.ones(2))
    tensor(0.5000)
    """
    return cached_scalar(number, like.dtype) if can_use_cache(like) else scalar(number, like)


def scalar(number: float, like: Tensor) -> Tensor:
    """Return a number as a new tensor without axes, of the dtype and on the device of `like`.

    >>> scalar(0.5, torch.ones(2))
    tensor(0.5000)
    """
    return torch.full((), number, dtype=like.dtype, device=like.device)


_cached_number = operator.attrgetter("_number")


@functools.lru_cache(maxsize=1024)
def _result(function: Callable[..., Any], dtype: torch.dtype, *numbers: float) -> Any:
    with torch.inference_mode(False), torch.no_grad():
        return function(*[torch.tensor(number + 0.0, dtype=dtype, device="cpu") for number in numbers])


def cached_for_numbers(function: F) -> F:
    """Make a function of parameters cache its results for tensors that are numbers, see `are_numbers`.

    An operation on such a tensor takes as long as one on a small batch.

    Args:
        function: It takes tensors of one dtype, and returns a tensor or a tuple. Callers use these as operands only.

    >>> cached_for_numbers(torch.nextafter)(torch.tensor(0.0), torch.tensor(1.0))
    tensor(1.4013e-45)
    """

    @functools.wraps(function)
    def wrapper(*tensors: Tensor) -> Any:
        if tensors[0].ndim or not is_plain():
            return function(*tensors)
        try:
            return _result(function, tensors[0].dtype, *map(_cached_number, tensors))
        except AttributeError:
            pass  # one of them is not a cached scalar
        dtype = tensors[0].dtype
        if not are_numbers(*tensors) or any(tensor.dtype is not dtype for tensor in tensors):
            return function(*tensors)
        return _result(function, dtype, *[tensor.item() for tensor in tensors])

    return cast(F, wrapper)


def _clear_caches() -> None:
    cached_scalar.cache_clear()
    _result.cache_clear()
