"""Products and solutions of many vectors with few matrices: vectors that share a matrix become its columns."""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["diagonal_of", "product", "solution"]


def product(matrix: Tensor, vectors: Tensor) -> Tensor:
    """Return the products ``(*P, *B, M)`` of matrices ``(*B, M, N)`` with vectors ``(*P, *B, N)``.

    >>> product(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [1.0, 0.0]]))
    tensor([[11.],
            [ 1.]])
    """
    return _by_columns(torch.matmul, matrix, vectors)


def solution(lower: Tensor, vectors: Tensor, *, transposed: bool = False) -> Tensor:
    """Return the solutions x of L x = v, or of L^T x = v, for lower triangular ``(*B, N, N)`` and ``(*P, *B, N)``.

    >>> solution(torch.tensor([[2.0, 0.0], [1.0, 1.0]]), torch.tensor([2.0, 3.0]))
    tensor([1., 2.])
    """

    def solve(triangle: Tensor, columns: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(triangle, columns, upper=transposed)

    return _by_columns(solve, lower.mT if transposed else lower, vectors)


def _by_columns(function: Callable[[Tensor, Tensor], Tensor], matrix: Tensor, vectors: Tensor) -> Tensor:
    batch = torch.broadcast_shapes(matrix.shape[:-2], vectors.shape[:-1])
    vectors = vectors.expand(*batch, vectors.shape[-1])
    extra = len(batch) - (matrix.ndim - 2)  # leading axes that the matrix lacks
    flat = vectors.flatten(0, extra - 1) if extra else vectors[None]
    return function(matrix, flat.movedim(0, -1)).movedim(-1, 0).reshape(*batch, -1)


def diagonal_of(matrix: Tensor) -> Tensor:
    """Return the diagonals ``(*B, N)`` of matrices.

    >>> diagonal_of(torch.eye(2))
    tensor([1., 1.])
    """
    # Inductor of PyTorch 2.13 gives a warning for `diagonal`.
    return matrix.flatten(-2)[..., :: matrix.shape[-1] + 1]
