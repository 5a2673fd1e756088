"""State-dependent exploration: its matrices, how long they are held, and the exact density of an action."""

import math

import pytest
import torch
from torch.func import grad, jvp, vmap

from functional_dists import normal, parameters, policy, random, tanh_normal
from functional_dists.special import ndtr

F64 = torch.float64
LATENT = torch.tensor([[0.3, -1.2, 0.7], [2.0, 0.1, -0.4]], dtype=F64)
LOC = torch.tensor([[0.2, -0.5], [0.1, 0.9]], dtype=F64)
STD = torch.tensor([[0.1, 0.7], [0.4, 0.2], [0.3, 0.5]], dtype=F64)
COUNT = 20_000


def matrices() -> torch.Tensor:
    return policy.exploration_matrix(random.key(3), STD, sample_shape=COUNT)


def test_the_covariance_of_actions_is_the_closed_form() -> None:
    """Cov(a_i(s), a_j(t)) is sum_l latent_l(s) latent_l(t) std_lj^2 if i = j, else 0."""
    noise = policy.explore(torch.zeros_like(LOC), LATENT, matrices()[:, None]).flatten(1)
    found = noise.T @ noise / COUNT
    wanted = torch.zeros(2, 2, 2, 2, dtype=F64)
    for j in range(2):
        wanted[:, j, :, j] = LATENT * STD[:, j].square() @ LATENT.T
    wanted = wanted.reshape(4, 4)
    scale = wanted.diagonal().outer(wanted.diagonal()).sqrt()
    assert ((found - wanted).abs() < 5 * scale / math.sqrt(COUNT / 2)).all()
    scales = parameters.state_dependent_params(LOC, LATENT, STD)[1]
    torch.testing.assert_close(scales.flatten().square(), wanted.diagonal(), rtol=1e-14, atol=0.0)


def test_actions_follow_the_marginal_density() -> None:
    """Kolmogorov-Smirnov, for each action of each state, before and after the squashing."""
    pre = policy.explore(LOC, LATENT, matrices()[:, None])
    loc, scale = parameters.state_dependent_params(LOC, LATENT, STD)
    squashed = tanh_normal.cdf(loc, scale, -2.0, 1.0, tanh_normal.squash(pre, -2.0, 1.0))
    rank = torch.arange(COUNT, dtype=F64)[:, None, None]
    for probability in (ndtr((pre - loc) / scale), squashed):
        ordered = probability.sort(0).values
        distance = torch.maximum((rank + 1) / COUNT - ordered, ordered - rank / COUNT).amax(0)
        assert (distance * math.sqrt(COUNT) < 1.95).all()


def test_a_matrix_is_held_for_steps() -> None:
    key = random.key(5)
    drawn = [policy.held_exploration_matrix(key, STD, step, hold=4) for step in range(9)]
    assert all(torch.equal(drawn[step], drawn[step // 4 * 4]) for step in range(9))
    assert not torch.isclose(drawn[0], drawn[4]).any()
    assert torch.equal(drawn[8], policy.exploration_matrix(random.fold_in(key, 2), STD))
    assert torch.equal(drawn[6], policy.held_exploration_matrix(key, STD, torch.tensor(6), hold=4))


def test_batches_of_keys_and_steps() -> None:
    """An environment has its own key and its own step; the batch is a vmap, and a loop."""
    keys, steps = random.split(random.key(5), 3), torch.tensor([0, 4, 7])
    batch = policy.held_exploration_matrix(keys, STD, steps, hold=4)
    mapped = vmap(lambda key, step: policy.held_exploration_matrix(key, STD, step, hold=4))(keys, steps)
    alone = [policy.held_exploration_matrix(key, STD, step, hold=4) for key, step in zip(keys, steps, strict=True)]
    assert torch.equal(batch, mapped)
    assert torch.equal(batch, torch.stack(alone))
    own = STD * torch.ones(3, 1, 1, dtype=F64)
    assert policy.exploration_matrix(keys, own, sample_shape=(2,)).shape == (2, 3, 3, 2)
    latent = LATENT[[0, 1, 0]]
    actions = policy.explore(LOC[[0, 1, 0]], latent, batch)
    wanted = torch.stack([latent[i] @ batch[i] for i in range(3)]) + LOC[[0, 1, 0]]
    torch.testing.assert_close(actions, wanted, rtol=1e-14, atol=1e-15)


def score(log_std: torch.Tensor, latent: torch.Tensor, loc: torch.Tensor) -> torch.Tensor:
    loc, scale, low, high = parameters.state_dependent_params(loc, latent, log_std.exp(), -1.0, 1.0)
    return tanh_normal.log_prob(loc, scale, low, high, torch.full_like(loc, 0.3)).sum()


def test_gradients_of_the_density() -> None:
    """Those of the density of the variance, written out."""
    log_std = STD.log()
    found = grad(score, argnums=(0, 1, 2))(log_std, LATENT, LOC)

    def plain(log_std: torch.Tensor, latent: torch.Tensor, loc: torch.Tensor) -> torch.Tensor:
        variance = (latent[:, :, None] * log_std.exp()).square().sum(1)
        x = math.atanh(0.3)
        return (-0.5 * (x - loc).square() / variance - 0.5 * variance.log()).sum()

    for a, b in zip(found, grad(plain, argnums=(0, 1, 2))(log_std, LATENT, LOC), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    direction = torch.ones_like(log_std)
    forward = jvp(lambda log_std: score(log_std, LATENT, LOC), (log_std,), (direction,))[1]
    torch.testing.assert_close(forward, found[0].sum(), rtol=1e-12, atol=0.0)
    per_state = vmap(grad(score, argnums=1), in_dims=(None, 0, 0))(log_std, LATENT, LOC)
    torch.testing.assert_close(per_state, found[1], rtol=1e-12, atol=0.0)


def test_latents_of_zero_have_the_least_scale_and_no_gradient() -> None:
    def total(latent: torch.Tensor) -> torch.Tensor:
        return parameters.state_dependent_params(LOC, latent, STD, scale_lb=1e-3)[1].sum()

    assert total(torch.zeros_like(LATENT)).item() == pytest.approx(4e-3)
    assert (grad(total)(torch.zeros_like(LATENT)) == 0).all()


def test_float32_squares_neither_overflow_nor_vanish() -> None:
    latent = torch.tensor([[1e30, 0.0, 0.0], [1e-25, 0.0, 0.0]])
    scale = parameters.state_dependent_params(LOC.float(), latent, torch.ones(3, 2), scale_lb=0.0)[1]
    torch.testing.assert_close(scale, latent[:, :1].expand(2, 2), rtol=1e-6, atol=0.0)


def test_compiled_code_is_eager_code() -> None:
    def act(key: torch.Tensor, step: torch.Tensor, log_std: torch.Tensor) -> tuple[torch.Tensor, ...]:
        matrix = policy.held_exploration_matrix(key, log_std.exp(), step, hold=4)
        pre = policy.explore(LOC, LATENT, matrix)
        loc, scale = parameters.state_dependent_params(LOC, LATENT, log_std.exp())
        return pre, tanh_normal.log_prob_pretanh(loc, scale, -1.0, 1.0, pre), normal.entropy(loc, scale, event_dims=1)

    arguments = random.key(1), torch.tensor(5), STD.log()
    compiled = torch.compile(act, fullgraph=True, backend="aot_eager")
    for a, b in zip(compiled(*arguments), act(*arguments), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-14, atol=0.0)


def test_errors_name_the_argument() -> None:
    with pytest.raises(ValueError, match=r"^hold must be at least 1"):
        policy.held_exploration_matrix(random.key(0), STD, 0, hold=0)
    with pytest.raises(ValueError, match=r"^std must have a row"):
        policy.exploration_matrix(random.key(0), STD[0])
    for loc, latent, std in ((LOC, LATENT, STD.T), (LOC, LATENT[:, :2], STD), (LOC[:, :1], LATENT, STD)):
        with pytest.raises(ValueError, match=r"^std must have a row"):
            parameters.state_dependent_params(loc, latent, std)
