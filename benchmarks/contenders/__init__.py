"""The libraries that are compared, a module each, which a process of its own imports.

Such a module has `prepare(form, case, arrays, device)`, which returns a `Prepared` call, or None where the library has
no such thing; `to_numpy(result)`; `time_calls(call, count, device)`; and `release()`, which forgets what was compiled.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

FORMS = {
    "ours": ("eager", "key", "compiled", "contiguous"),
    "torchrl": ("eager", "compiled"),
    "torch": ("eager", "products"),
    "jax": ("jit",),
}
CONTIGUOUS = "ours/contiguous"  # of pipelines: eager too, on contiguous arrays with bounds as floats
PRODUCTS = "torch/products"  # of heads: the matrix products alone that the verb needs
CONTENDERS = tuple(f"{framework}/{form}" for framework, forms in FORMS.items() for form in forms)


class Prepared(NamedTuple):
    """A call to time.

    call: Does the work once, and has it done when it returns, or, on a GPU, has asked for all of it.
    inputs: What it reads, whose size tells the least memory traffic.
    note: What a reader of its times should know.
    """

    call: Callable[[], Any]
    inputs: Sequence[Any] = ()
    note: str = ""
