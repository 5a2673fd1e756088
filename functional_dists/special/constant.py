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
    if is_transformed():
        return False
    if torch.compiler.is_exporting() if torch.compiler.is_compiling() else torch._C._len_torch_dispatch_stack() > 0:
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


_MOST_LITERALS, _MOST_RESULTS = 4096, 1024
PLAIN_TENSORS = (Tensor, torch.nn.Parameter)
_literals: dict[tuple[float | tuple[float, ...], torch.dtype], Tensor] = {}
_identities: set[int] = set()  # of the literals of one number


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
    if not like.is_cpu or type(like) not in PLAIN_TENSORS:  # a subclass may not go together with tensors
        return None
    known = _literals.get((numbers, like.dtype))
    if known is None:
        if is_transformed():
            return None  # what is made now would belong to the transform
        if len(_literals) >= _MOST_LITERALS:
            _forget()
        known = _literals[numbers, like.dtype] = _on_cpu(numbers, like.dtype)
        if not isinstance(numbers, tuple):
            _identities.add(id(known))
    return known


def _forget() -> None:
    _literals.clear()
    _identities.clear()


def scalar(number: float, like: Tensor) -> Tensor:
    """Return a number as a tensor without axes, of the dtype and on the device of `like`; nobody may write into it.

    >>> scalar(0.5, torch.ones(2))
    tensor(0.5000)
    """
    known = _remembered(number, like)
    return full(number, like) if known is None else known


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
    if torch.compiler.is_compiling() or is_recorded():
        return False
    for tensor in tensors:
        if tensor.ndim or not tensor.is_cpu:
            return False
    return is_constant(*tensors)


_PRE_DISPATCH = torch._C.DispatchKey.PreDispatch


def is_recorded() -> bool:
    """Say whether a tracer records operations without a mode that `is_plain` would see."""
    return torch._C._is_tracing() or torch._C._dispatch_tls_is_dispatch_key_included(_PRE_DISPATCH)


def once_per_number(function: F) -> F:
    """Make a function of parameters remember its results for `are_numbers`.

    Operations on these take as long as those on a small batch.

    Args:
        function: of tensors of one dtype; it returns a tensor or a tuple.

    >>> once_per_number(torch.nextafter)(torch.tensor(0.0), torch.tensor(1.0))
    tensor(1.4013e-45)
    """

    @functools.lru_cache(maxsize=_MOST_RESULTS)
    def remembered(dtype: torch.dtype, *numbers: float) -> Any:
        with torch.inference_mode(False), torch.no_grad():
            return function(*[_on_cpu(number, dtype) for number in numbers])

    # By the identities of literals, into which nobody writes; they are nobody else's as long as these are held here.
    of_literals: dict[tuple[int, ...], tuple[Any, tuple[Tensor, ...]]] = {}

    @functools.wraps(function)
    def of_tensors(*tensors: Tensor) -> Any:
        if not is_plain():
            return function(*tensors)
        identities = tuple(map(id, tensors))
        known = of_literals.get(identities)
        if known is not None:
            return known[0]
        if not are_numbers(*tensors):
            return function(*tensors)
        result = remembered(tensors[0].dtype, *[tensor.item() for tensor in tensors])
        if _identities.issuperset(identities):
            if len(of_literals) >= _MOST_RESULTS:
                of_literals.clear()
            of_literals[identities] = result, tensors
        return result

    return cast(F, of_tensors)


def is_transformed() -> bool:
    """Say whether `torch.func` or forward mode is at work, where a tensor does not show what is asked of it."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
