"""What special functions ask about the mode they run in, and results that are computed once for Python numbers."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import _C, Tensor
from torch.autograd import forward_ad

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")
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


def has_values(tensor: Tensor) -> bool:
    """Say whether eager code can know the numbers of a tensor: `vmap` does not batch it, and no tracer follows it.

    >>> has_values(torch.zeros(2)), torch.func.vmap(lambda x: x + has_values(x))(torch.zeros(2))
    (True, tensor([0., 0.]))
    """
    if torch.compiler.is_compiling() or _C._len_torch_dispatch_stack() > 0 or _C._is_tracing():
        return False
    if _C._dispatch_tls_is_dispatch_key_included(_PRE_DISPATCH):
        return False
    while _C._functorch.is_functorch_wrapped_tensor(tensor):
        if _C._functorch.is_batchedtensor(tensor):
            return False
        tensor = _C._functorch.get_unwrapped(tensor)
    return type(tensor) in PLAIN_TENSORS and not tensor.is_meta


def is_transformed() -> bool:
    """Say whether a `torch.func` transform or forward mode is active: tensors then do not show if they are tracked."""
    return _C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def is_forward_mode() -> bool:
    """Say whether forward-mode differentiation is active, by `torch.func.jvp` or by `torch.autograd.forward_ad`.

    >>> is_forward_mode()
    False
    """
    return forward_ad._current_level >= 0


def is_constant(*tensors: Tensor) -> bool:
    """Say whether no derivative by `tensors` is possible; False under every transform and tracer but `torch.compile`.

    `torch.compile` guards the answer, and recompiles if the answer changes.

    >>> is_constant(torch.zeros(2)), is_constant(torch.zeros(2, requires_grad=True))
    (True, False)
    >>> torch.vmap(lambda x: x + is_constant(x))(torch.zeros(1))
    tensor([0.])
    """
    if torch.compiler.is_compiling():
        # Not `is_exporting()`, which is True in all compiled code of torch 2.11.
        if is_transformed() or torch.compiler._is_exporting_flag:
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


# ------------------------------------------------------------------------------------------------------------ numbers
def tensor_of(number: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a number as a new tensor without axes, which `computed_once_for_numbers` knows.

    >>> tensor_of(0.5, torch.float32, torch.device("cpu"))
    tensor(0.5000)
    """
    tensor = torch.full((), number, dtype=dtype, device=device)
    if is_plain() and not tensor.is_inference():
        tensor._number = float(number)  # type: ignore[attr-defined]
    return tensor


def _number_of(tensor: Tensor) -> float | None:
    """Return the number that a tensor of `tensor_of` holds; None for other tensors, and after a write."""
    number: float | None = getattr(tensor, "_number", None)
    return None if number is None or tensor._version else number


def _can_remember(like: Tensor) -> bool:
    """Say whether results on this device stay valid: the memory of a CUDA graph is written again at every replay."""
    return not (like.is_cuda and torch.cuda.is_current_stream_capturing())


@functools.lru_cache(maxsize=1024)
def _result(function: Callable[..., Any], dtype: torch.dtype, device: torch.device, *numbers: float) -> Any:
    with torch.inference_mode(False), torch.no_grad():  # later calls may be outside of these modes
        return function(*[torch.full((), number, dtype=dtype, device=device) for number in numbers])


def computed_once_for_numbers(function: F) -> F:
    """Make a function of tensors compute its result once per device for tensors that hold Python numbers.

    An operation on such a tensor takes as long as one on a small batch.

    Args:
        function: It takes tensors of one dtype, and returns a tensor or a tuple. Callers use these as operands only:
            they do not write to them, and do not return them or views of them.

    >>> computed_once_for_numbers(torch.nextafter)(torch.tensor(0.0), torch.tensor(1.0))
    tensor(1.4013e-45)
    """

    @functools.wraps(function)
    def wrapper(*tensors: Tensor) -> Any:
        if tensors[0].ndim or not is_plain():
            return function(*tensors)
        numbers = [_number_of(tensor) for tensor in tensors]
        if None in numbers or not _can_remember(tensors[0]):
            return function(*tensors)
        return _result(function, tensors[0].dtype, tensors[0].device, *numbers)

    return cast(F, wrapper)


def scalar(number: float, like: Tensor) -> Tensor:
    """Return a number as a new tensor without axes, of the dtype and on the device of `like`.

    >>> scalar(0.5, torch.ones(2))
    tensor(0.5000)
    """
    return torch.full((), number, dtype=like.dtype, device=like.device)


def table_of(rule: Callable[[Tensor], R], like: Tensor) -> R:
    """Return the tensors that a rule gives for a dtype and a device, computed once; use them as operands only.

    >>> table_of(lambda like: torch.arange(3, dtype=like.dtype, device=like.device), torch.tensor(0.5))
    tensor([0., 1., 2.])
    """
    if not is_plain() or not _can_remember(like):
        return rule(like)
    return cast(R, _result(rule, like.dtype, like.device, 0.0))
