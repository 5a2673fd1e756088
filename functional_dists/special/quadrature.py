"""Quadrature rules. Their nodes are computed on the device of the parameters; one rule has a table on the CPU.

Callers use `constant.table_of`, which computes a rule once per device.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional


def normal_rule(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes z and weights w, sum_i w_i f(z_i) = E f(Z) for a standard normal Z.

    The trapezoidal rule, which converges exponentially for an analytic f (Trefethen & Weideman 2014): the error is
    exp(-2 pi d / step) where f is analytic within d of the real line. There are 40 nodes in float32, 112 in float64.
    They reach further down than up, since the tail of a saturated tanh weights its integrand with exp(-4 z).

    >>> z, w = normal_rule(torch.tensor(0.0))
    >>> (w * z**2).sum()
    tensor(1.0000)
    """
    first, last, count = (-9.5, 6.5, 40) if like.dtype == torch.float32 else (-13.5, 9.5, 112)
    step = (last - first) / (count - 1)
    z = first + step * torch.arange(count, dtype=like.dtype, device=like.device)
    return z, step / math.sqrt(2 * math.pi) * torch.exp(-0.5 * z * z)


def fine_normal_rule(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes z and weights w of a finer `normal_rule`, in float64, for an f with large derivatives.

    There are 341 nodes for float32 accuracy, 951 for float64 accuracy. They reach far enough for a small mean of large
    values of either sign.

    >>> z, w = fine_normal_rule(torch.tensor(0.0))
    >>> (w * torch.sigmoid(20 * z)).sum()
    tensor(0.5000, dtype=torch.float64)
    """
    last, count = (8.5, 341) if like.dtype == torch.float32 else (9.5, 951)
    step = 2 * last / (count - 1)
    z = step * torch.arange(count, dtype=torch.float64, device=like.device) - last
    return z, step / math.sqrt(2 * math.pi) * torch.exp(-0.5 * z * z)


def half_line_rule(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes x and weights w, sum_i w_i f(x_i) = integral of f over x > 0, for f that decays like exp(-2 x).

    The trapezoidal rule in t with x = exp(t - exp(-t)) (Takahasi & Mori 1974, for integrands that decay exponentially).
    There are 48 nodes in float32, 88 in float64.

    >>> x, w = half_line_rule(torch.tensor(0.0))
    >>> (w * torch.exp(-2 * x)).sum()
    tensor(0.5000)
    """
    first, last, count = (-3.0, 2.8, 48) if like.dtype == torch.float32 else (-3.6, 3.3, 88)
    step = (last - first) / (count - 1)
    t = first + step * torch.arange(count, dtype=like.dtype, device=like.device)
    e = torch.exp(-t)
    x = torch.exp(t - e)
    return x, step * x * (1 + e)


def sum_of_nodes(table: Tensor) -> Tensor:
    """Sum the first axis; eager code gives a column the same bits in a table of any shape.

    PyTorch sums columns in blocks of several vectors, and sums the remaining columns in another order.

    >>> sum_of_nodes(torch.ones(20, 3))
    tensor([20., 20., 20.])
    """
    count = math.prod(table.shape[1:])
    if torch.compiler.is_compiling() or count % _COLUMNS == 0:
        return table.sum(0)
    blocks = functional.pad(table.reshape(len(table), -1), (0, -count % _COLUMNS))
    return blocks.sum(0)[:count].reshape(table.shape[1:])


_COLUMNS = 64  # four float32 vectors of AVX-512; other blocks are halves or quarters of it


def unit_interval_rule(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes u and weights w, sum_i w_i f(u_i) = integral of f over (0, 1), for a smooth f.

    The trapezoidal rule in t with u = sigmoid(pi sinh(t)) (Takahasi & Mori 1974), 36 nodes for float64.

    >>> u, w = unit_interval_rule(torch.tensor(0.0, dtype=torch.float64))
    >>> (w * u**2).sum()
    tensor(0.3333, dtype=torch.float64)
    """
    last, count = 3.1, 36
    step = 2 * last / (count - 1)
    t = step * torch.arange(count, dtype=like.dtype, device=like.device) - last
    u = torch.sigmoid(math.pi * torch.sinh(t))
    return u, step * math.pi * torch.cosh(t) * u * torch.sigmoid(-math.pi * torch.sinh(t))


# In the code of a function these are constants for dynamo. It would guard each number of a module in every call.
def window_nodes() -> tuple[float, ...]:
    """Return the nodes in (0, 1) of `window_rule` in float32, correctly rounded and symmetric about 1/2.

    >>> len(window_nodes())
    20
    """
    return (
        0.0049103595968691405,
        0.025130322393414527,
        0.05892625948765198,
        0.10317239631378078,
        0.15499766071511636,
        0.21215197976553649,
        0.27298373041439983,
        0.33629392078736814,
        0.4011897145792527,
        0.4669687044650827,
        0.5330312955349172,
        0.5988102854207473,
        0.6637060792126319,
        0.7270162695856002,
        0.7878480202344635,
        0.8450023392848837,
        0.8968276036862193,
        0.941073740512348,
        0.9748696776065855,
        0.9950896404031309,
    )


def window_weights() -> tuple[float, ...]:
    """Return the weights of `window_rule` in float32, correctly rounded.

    >>> round(sum(window_weights()), 6)
    1.0
    """
    return (
        0.01251195543639739,
        0.027510781470202885,
        0.039542743186242846,
        0.04846578239648119,
        0.05481077273949098,
        0.059225283006943345,
        0.06224087914547369,
        0.06423260926394415,
        0.06544334248965639,
        0.0660158508650933,
        0.0660158508650933,
        0.06544334248965639,
        0.06423260926394415,
        0.06224087914547369,
        0.059225283006943345,
        0.05481077273949098,
        0.04846578239648119,
        0.039542743186242846,
        0.027510781470202885,
        0.01251195543639739,
    )


def window_rule(like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return nodes u, 1 - u and weights w, sum_i w_i f(u_i) = integral of f over (0, 1).

    It is for an entire f such as exp(-u^2). In float32 on the CPU it is a table: the Gauss-Legendre rule with 20 nodes,
    under the map x = arcsin(0.8 y) / arcsin(0.8) of (-1, 1) to itself. The map makes the nodes less dense at the ends
    (Hale & Trefethen, "New quadrature formulas from conformal maps", 2008). The integral of exp(-e) is right to 2e-9
    for the energies e of windows, which are at most 24. In float64 it is `fejer_rule`, and also on other devices, since
    copying a table would wait for the device.

    >>> u, _, w = window_rule(torch.tensor(0.0))
    >>> (w * u**2).sum()
    tensor(0.3333)
    """
    if like.dtype == torch.float32 and like.device.type == "cpu":
        return _window_table()
    node, weight = fejer_rule(like)
    return node, node.flip(0), weight


def _window_table() -> tuple[Tensor, Tensor, Tensor]:
    tables = (window_nodes(), window_nodes()[::-1], window_weights())
    node, mirrored, weight = (torch.tensor(numbers, dtype=torch.float32, device="cpu") for numbers in tables)
    return node, mirrored, weight


def fejer_rule(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes and weights of the first rule of Fejer (1933) on (0, 1): 36 in float32, 88 in float64.

    >>> u, w = fejer_rule(torch.tensor(0.0))
    >>> (w * u**2).sum()
    tensor(0.3333)
    """
    return _fejer(36 if like.dtype == torch.float32 else 88, like)


def panel_rule(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return 16 nodes and weights of the first rule of Fejer on (0, 1), for one of many panels.

    >>> u, w = panel_rule(torch.tensor(0.0))
    >>> (w * u**2).sum()
    tensor(0.3333)
    """
    return _fejer(16, like)


def _fejer(count: int, like: Tensor) -> tuple[Tensor, Tensor]:
    odd = 2 * torch.arange(count, device=like.device) + 1
    order = torch.arange(1, count // 2 + 1, device=like.device)
    # Integers reduce the angles by whole turns. The sum is in float64, since it cancels near the ends.
    turn = (odd[:, None] * order) % (2 * count)
    cosine = torch.cos(turn.double() * (math.pi / count))
    weight = (1 - 2 * (cosine / (4 * order * order - 1)).sum(-1)) / count
    u = torch.sin(odd.to(like.dtype) * (0.25 * math.pi / count)).square()
    return u, weight.to(like.dtype)
