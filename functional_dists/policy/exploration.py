"""State-dependent exploration: noise that is a function of the state, held for several steps.

The action is loc + latent @ matrix, where the matrix is drawn once for several steps. So the noise changes smoothly
with the state, and does not shake a robot. It is the generalized state-dependent exploration (gSDE) of Raffin, Kober
and Stulp, "Smooth exploration for robotic reinforcement learning" (2021).

The density of one action is that of an ordinary family. `parameters.state_dependent_params` gives its parameters:

>>> import torch
>>> from functional_dists import parameters, policy, random, tanh_normal
>>> loc, latent, std = torch.zeros(5, 2), torch.ones(5, 3), torch.full((3, 2), 0.1)
>>> matrix = policy.held_exploration_matrix(random.key(42), std, 17, hold=8)
>>> pre = policy.explore(loc, latent, matrix)
>>> action = tanh_normal.squash(pre, -1.0, 1.0)
>>> loc, scale = parameters.state_dependent_params(loc, latent, std)
>>> tanh_normal.log_prob_pretanh(loc, scale, -1.0, 1.0, pre).shape
torch.Size([5])
"""

import torch  # noqa: F401 (for the examples)
from torch import Tensor

import functional_dists.random as random
from functional_dists.random import Shape, Source

__all__ = ["exploration_matrix", "explore", "held_exploration_matrix"]
__dir__ = __all__.copy  # what tab completion shows


def exploration_matrix(key: Source, std: Tensor, *, sample_shape: Shape = ()) -> Tensor:
    """Draw matrices of independent normal entries with mean 0, differentiable with respect to `std`.

    Args:
        key: A key, a batch of keys ``(*K, 2)``, or a Generator. With a batch of keys, `std` of shape (L, A) is that of
            each key; else its batch begins with K.
        std: The standard deviations, positive, of shape (*batch, L, A) for L features and A actions.
        sample_shape: The leading axes, of independent draws.

    Returns:
        Matrices of shape (*sample_shape, *batch, L, A).

    Raises:
        TypeError: `key` is neither a key nor a Generator.
        ValueError: `std` is no matrix, or its batch does not begin with that of the keys.

    >>> exploration_matrix(random.key(42), torch.ones(1, 2))
    tensor([[-0.9702,  0.1940]])
    """
    if std.ndim < 2:
        raise ValueError(f"std must have a row for each feature and a column for each action, got {tuple(std.shape)}")
    *batch, features, actions = std.shape
    if isinstance(key, Tensor) and not batch:
        batch = list(key.shape[:-1])
    noise = random.draw_entries(
        random.normal, key, sample_shape, batch, (features, actions), dtype=std.dtype, device=std.device
    )
    return std * noise


def held_exploration_matrix(
    key: Source, std: Tensor, step: int | Tensor, *, hold: int, sample_shape: Shape = ()
) -> Tensor:
    """Draw the matrix of a step: the same for `hold` steps, then a new one, that of ``fold_in(key, step // hold)``.

    Each of these steps draws the same numbers from the key again, which `random.forbid_reuse` takes for a mistake.
    Under it, draw a matrix by `exploration_matrix` and carry it along.

    Args:
        key: A key, or a batch of keys ``(*K, 2)``.
        std: The standard deviations, positive, of shape (*batch, L, A).
        step: The number of the step, from 0; an integer, or an integer tensor without axes or of shape K.
        hold: For how many steps a matrix is held.
        sample_shape: The leading axes, of independent draws.

    Returns:
        Matrices of shape (*sample_shape, *batch, L, A).

    Raises:
        TypeError: `key` is neither a key nor a Generator.
        ValueError: `hold` is not positive, or what `exploration_matrix` raises.

    >>> matrices = [held_exploration_matrix(random.key(42), torch.ones(3, 2), step, hold=4) for step in (0, 3, 4)]
    >>> matrices[0].equal(matrices[1]), matrices[0].equal(matrices[2])
    (True, False)
    """
    if hold < 1:
        raise ValueError(f"hold must be at least 1, got {hold}")
    return exploration_matrix(random.fold_in(key, step // hold), std, sample_shape=sample_shape)


def explore(loc: Tensor, latent: Tensor, matrix: Tensor) -> Tensor:
    """Return the action loc + latent @ matrix, before any squashing.

    Args:
        loc: The mean action, of shape (*batch, A).
        latent: Features of the state, of shape (*batch, L).
        matrix: What `exploration_matrix` draws, of shape (L, A) or (*batch, L, A).

    Returns:
        Actions of shape (*batch, A).

    >>> explore(torch.zeros(1), torch.tensor([1.0, 2.0]), torch.tensor([[0.1], [0.2]]))
    tensor([0.5000])
    """
    return loc + (latent.unsqueeze(-2) @ matrix).squeeze(-2)
