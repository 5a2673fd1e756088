"""Whether a derivative can be asked for: what is there for derivatives alone costs eager code a third of its time."""

import torch
from torch import Tensor
from torch.autograd import forward_ad


def is_constant(*tensors: Tensor) -> bool:
    """Say whether nobody can ask for a derivative by `tensors`: False while a transform or a tracer is at work.

    >>> is_constant(torch.zeros(2)), is_constant(torch.zeros(2, requires_grad=True))
    (True, False)
    >>> torch.vmap(lambda x: x + is_constant(x))(torch.zeros(1))
    tensor([0.])
    """
    if torch.compiler.is_compiling() or is_transformed() or torch._C._len_torch_dispatch_stack() > 0:
        return False
    return not torch.is_grad_enabled() or not any(tensor.requires_grad for tensor in tensors)


def is_transformed() -> bool:
    """Say whether `torch.func` or forward mode is at work, where a tensor does not show what is asked of it."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
