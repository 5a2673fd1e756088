"""What need not be computed: what is there for derivatives alone, and in eager code what numbers already say."""

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

    Nothing is remembered elsewhere, and nothing that was remembered is used: an earlier call must not show in what a
    tracer records.

    >>> is_plain()
    True
    """
    return not (
        torch.compiler.is_compiling()
        or _C._len_torch_dispatch_stack() > 0
        or _C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or _C._is_tracing()  # `torch.jit.trace`, and then `make_fx(pre_dispatch=True)`: neither is in the stack
        or _C._dispatch_tls_is_dispatch_key_included(_PRE_DISPATCH)
    )


def is_transformed() -> bool:
    """Say whether `torch.func` or forward mode is at work, where a tensor does not show what is asked of it."""
    return _C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def is_constant(*tensors: Tensor) -> bool:
    """Say whether nobody can ask for a derivative by `tensors`: False where a transform is at work, or a tracer.

    But `torch.compile` guards what is asked here, and traces again where the answer is another one.

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
    """Say whether autograd records what is done with one of `tensors`.

    >>> are_tracked(torch.zeros(2), torch.zeros(2, requires_grad=True))
    True
    """
    if torch.is_grad_enabled():
        for tensor in tensors:  # a generator expression would take longer than all the rest
            if tensor.requires_grad:
                return True
    return False


def are_numbers(*tensors: Tensor) -> bool:
    """Say whether `tensors` are but numbers, which Python may look at: constant, without axes, on the CPU.

    >>> are_numbers(torch.tensor(1.0)), are_numbers(torch.zeros(2))
    (True, False)
    """
    if not is_plain():
        return False
    for tensor in tensors:
        if tensor.ndim or not tensor.is_cpu or type(tensor) not in PLAIN_TENSORS:
            return False
    return not are_tracked(*tensors)


# -------------------------------------------------------------------------------------------------- what is remembered
# By numbers and dtypes, never by tensors. Nobody may write into what is remembered, or return it or a view of it: it is
# an operand of the next operation, and nothing else.
@functools.lru_cache(maxsize=4096)
def remembered(number: float, dtype: torch.dtype) -> Tensor:
    """Return a number as a tensor without axes, in code for which `is_plain` holds; -0.0 is 0.0.

    >>> remembered(0.5, torch.float32)
    tensor(0.5000)
    """
    with torch.inference_mode(False):  # it will be met outside of that mode too
        known = torch.tensor(number + 0.0, dtype=dtype, device="cpu")
    known._number = known.item()  # type: ignore[attr-defined]
    return known


def goes_with_plain(tensor: Tensor) -> bool:
    """Say whether plain tensors on the CPU go together with `tensor`, and this is code that may remember them.

    >>> goes_with_plain(torch.ones(2))
    True
    """
    # A subclass may not.
    return tensor.is_cpu and type(tensor) in PLAIN_TENSORS and is_plain()


def operand(number: float, like: Tensor) -> Tensor:
    """Return a number as `scalar` does, in a fifth of the time: it may be remembered.

    >>> operand(0.5, torch.ones(2))
    tensor(0.5000)
    """
    return remembered(number, like.dtype) if goes_with_plain(like) else scalar(number, like)


def scalar(number: float, like: Tensor) -> Tensor:
    """Return a number as a new tensor without axes, of the dtype and on the device of `like`.

    >>> scalar(0.5, torch.ones(2))
    tensor(0.5000)
    """
    return torch.full((), number, dtype=like.dtype, device=like.device)


_number_of_remembered = operator.attrgetter("_number")


@functools.lru_cache(maxsize=1024)
def _result(function: Callable[..., Any], dtype: torch.dtype, *numbers: float) -> Any:
    with torch.inference_mode(False), torch.no_grad():
        return function(*[torch.tensor(number + 0.0, dtype=dtype, device="cpu") for number in numbers])


def once_per_number(function: F) -> F:
    """Make a function of parameters remember its results for `are_numbers`.

    Operations on these take as long as those on a small batch.

    Args:
        function: of tensors of one dtype; it returns a tensor or a tuple, which its callers may use as operands only.

    >>> once_per_number(torch.nextafter)(torch.tensor(0.0), torch.tensor(1.0))
    tensor(1.4013e-45)
    """

    @functools.wraps(function)
    def of_tensors(*tensors: Tensor) -> Any:
        if tensors[0].ndim or not is_plain():
            return function(*tensors)
        try:
            return _result(function, tensors[0].dtype, *map(_number_of_remembered, tensors))
        except AttributeError:
            pass  # one of them was not remembered
        dtype = tensors[0].dtype
        if not are_numbers(*tensors) or any(tensor.dtype is not dtype for tensor in tensors):
            return function(*tensors)
        return _result(function, dtype, *[tensor.item() for tensor in tensors])

    return cast(F, of_tensors)


def _forget() -> None:
    remembered.cache_clear()
    _result.cache_clear()
