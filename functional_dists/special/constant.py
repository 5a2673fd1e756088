"""What need not be computed: what is there for derivatives alone, and in eager code what numbers already say."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad

F = TypeVar("F", bound=Callable[..., Any])


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
    if torch.is_grad_enabled():
        for tensor in tensors:  # a generator expression would take longer than all the rest
            if tensor.requires_grad:
                return False
    return True


def is_plain() -> bool:
    """Say whether this is eager code, outside of every transform, tracer and mode.

    >>> is_plain()
    True
    """
    return not (torch.compiler.is_compiling() or is_transformed() or torch._C._len_torch_dispatch_stack() > 0)


_MOST_LITERALS = 4096
_PLAIN = (Tensor, torch.nn.Parameter)
_literals: dict[tuple[float | tuple[float, ...], torch.dtype], Tensor] = {}
# Literals and their numbers by identity, which is nobody else's as long as the literal is held here.
_by_identity: dict[int, tuple[Tensor, float]] = {}


def literal(number: float, like: Tensor) -> Any:
    """Return a number as what eager code on a CPU combines with `like` in half the time: a tensor without axes.

    >>> torch.ones(2) * literal(0.5, torch.ones(2))
    tensor([0.5000, 0.5000])
    """
    known = _remembered(number, like)
    return number if known is None else known


def table(numbers: tuple[float, ...], like: Tensor) -> Tensor:
    """Return numbers as a tensor of one axis, of the dtype and on the device of `like`; nobody may write into it.

    >>> table((1.0, 2.0), torch.ones(()))
    tensor([1., 2.])
    """
    known = _remembered(numbers, like)
    return torch.tensor(numbers, dtype=like.dtype, device=like.device) if known is None else known


def _remembered(numbers: float | tuple[float, ...], like: Tensor) -> Tensor | None:
    """Return the tensor that was made of the numbers before, or now, in eager code on a CPU; None elsewhere."""
    if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0:
        return None
    if not like.is_cpu or type(like) not in _PLAIN:  # a subclass may not go together with tensors
        return None
    known = _literals.get((numbers, like.dtype))
    if known is None:
        if is_transformed():
            return None  # what is made now would belong to the transform
        if len(_literals) >= _MOST_LITERALS:
            _forget()
        known = _literals[numbers, like.dtype] = _on_cpu(numbers, like.dtype)
        if not isinstance(numbers, tuple):
            _by_identity[id(known)] = known, numbers
    return known


def _forget() -> None:
    _literals.clear()
    _by_identity.clear()


def scalar(number: float, like: Tensor) -> Tensor:
    """Return a number as a tensor without axes, of the dtype and on the device of `like`; nobody may write into it.

    >>> scalar(0.5, torch.ones(2))
    tensor(0.5000)
    """
    known = literal(number, like)
    return known if isinstance(known, Tensor) else full(number, like)


def full(number: float, like: Tensor) -> Tensor:
    """Return a number as a new tensor without axes, of the dtype and on the device of `like`.

    >>> full(0.5, torch.ones(2))
    tensor(0.5000)
    """
    return torch.full((), number, dtype=like.dtype, device=like.device)


def _on_cpu(numbers: float | tuple[float, ...], dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):  # it will be met outside of that mode too
        return torch.tensor(numbers, dtype=dtype, device="cpu")


def are_numbers(*tensors: Tensor) -> bool:
    """Say whether `tensors` are but numbers, which Python may look at: constant, without axes, on the CPU.

    >>> are_numbers(torch.tensor(1.0)), are_numbers(torch.zeros(2))
    (True, False)
    """
    if torch.compiler.is_compiling():
        return False
    for tensor in tensors:
        if tensor.ndim or not tensor.is_cpu:
            return False
    return is_constant(*tensors)


def once_per_number(function: F) -> F:
    """Make a function of parameters remember its results for `are_numbers`.

    Operations on these take as long as those on a small batch.

    Args:
        function: of tensors of one dtype; it returns a tensor or a tuple.

    >>> once_per_number(torch.nextafter)(torch.tensor(0.0), torch.tensor(1.0))
    tensor(1.4013e-45)
    """

    @functools.lru_cache(maxsize=1024)
    def remembered(dtype: torch.dtype, *numbers: float) -> Any:
        with torch.inference_mode(False), torch.no_grad():
            return function(*[_on_cpu(number, dtype) for number in numbers])

    @functools.wraps(function)
    def of_tensors(*tensors: Tensor) -> Any:
        if is_plain():
            literals = [_by_identity.get(id(tensor)) for tensor in tensors]
            if None not in literals:
                return remembered(tensors[0].dtype, *[literal[1] for literal in literals if literal])
        if not are_numbers(*tensors):
            return function(*tensors)
        return remembered(tensors[0].dtype, *[tensor.item() for tensor in tensors])

    return cast(F, of_tensors)


def is_transformed() -> bool:
    """Say whether `torch.func` or forward mode is at work, where a tensor does not show what is asked of it."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
