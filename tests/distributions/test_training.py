"""The classes where they are used: TorchRL's collector on environments of gymnasium, and its losses of PPO and SAC."""

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from functional_dists import distributions

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tensordict import TensorDict
    from tensordict.nn import TensorDictModule
    from torchrl.collectors import Collector
    from torchrl.data import Binary, Bounded, Composite, OneHot
    from torchrl.envs import GymEnv
    from torchrl.envs.libs.gym import default_info_dict_reader
    from torchrl.modules import ProbabilisticActor, ValueOperator
    from torchrl.modules import distributions as torchrl_distributions
    from torchrl.objectives import A2CLoss, BCLoss, ClipPPOLoss, DiscreteSACLoss, IQLLoss, SACLoss, SoftUpdate

BOUNDS = {"low": -2.0, "high": 2.0}
BATCH = 16
CONTINUOUS: dict[str, dict[str, Any]] = {"IndependentNormal": {}, "TanhNormal": BOUNDS, "TruncatedNormal": BOUNDS}
DISCRETE = ["OneHotCategorical", "MaskedCategorical", "MaskedOneHotCategorical", "Ordinal", "OneHotOrdinal"]


def gaussian_actor(made: Any, options: dict[str, Any], size: int = 1, **more: Any) -> ProbabilisticActor:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 2 * size), distributions.NormalParamExtractor())
    return ProbabilisticActor(
        TensorDictModule(network, in_keys=["observation"], out_keys=["loc", "scale"]),
        in_keys=["loc", "scale"],
        distribution_class=made,
        distribution_kwargs=options,
        return_log_prob=True,
        default_interaction_type="random",
        **more,
    )


class Table(nn.Module):
    """A row of numbers for an observation, a vector or an index, with the mask of the environment if there is one."""

    def __init__(self, inputs: int, outcomes: int) -> None:
        super().__init__()
        self.linear, self.inputs = nn.Linear(inputs, outcomes), inputs

    def forward(self, observation: Tensor, mask: Tensor | None = None) -> Any:
        if not observation.is_floating_point():
            observation = nn.functional.one_hot(observation, self.inputs).float()
        table = self.linear(observation)
        return table if mask is None else (table, mask.bool())


def discrete_actor(name: str, made: Any, inputs: int, outcomes: int) -> ProbabilisticActor:
    torch.manual_seed(0)
    masked = name.startswith("Masked")
    out_keys = ["scores"] if "Ordinal" in name else ["logits", "mask"] if masked else ["logits"]
    in_keys = ["observation", "action_mask"] if masked else ["observation"]
    return ProbabilisticActor(
        TensorDictModule(Table(inputs, outcomes), in_keys=in_keys, out_keys=out_keys),
        in_keys=out_keys,
        distribution_class=made,
        return_log_prob=True,
        default_interaction_type="random",
    )


def value_operator() -> ValueOperator:
    torch.manual_seed(1)
    return ValueOperator(nn.Linear(3, 1), in_keys=["observation"])


def observations() -> TensorDict:
    torch.manual_seed(2)
    mask = torch.rand(BATCH, 4) < 0.6
    mask[:, 1] = True
    return TensorDict({"observation": torch.randn(BATCH, 3), "action_mask": mask}, [BATCH])


def gradients(module: nn.Module, losses: TensorDict) -> list[Tensor]:
    """Return the gradients of the sum of the losses with respect to a module's weights, which are all finite."""
    sum(loss for name, loss in losses.items() if name.startswith("loss_")).backward()
    found = [weight.grad for weight in module.parameters() if weight.requires_grad]
    assert found
    assert all(gradient is not None and gradient.isfinite().all() for gradient in found)
    assert any(gradient.ne(0).any() for gradient in found)
    return found


# ------------------------------------------------------------------------------------------------------------ collector
def collected(env: Any, actor: Any) -> TensorDict:
    env.set_seed(0)
    torch.manual_seed(3)
    collector = Collector(env, actor, frames_per_batch=30, total_frames=60, auto_register_policy_transforms=False)
    batches = torch.cat(list(collector))
    collector.shutdown()
    assert batches.shape == (60,)
    assert batches["action_log_prob"].isfinite().all()
    assert env.action_spec.is_in(batches["action"][0])
    assert_close(actor.get_dist(batches).log_prob(batches["action"]), batches["action_log_prob"], rtol=1e-4, atol=1e-4)
    return batches


@pytest.mark.parametrize("name", ["TanhNormal", "TruncatedNormal"])
def test_collected_from_pendulum(name: str) -> None:
    env = GymEnv("Pendulum-v1")
    made = getattr(distributions, name)
    batches = collected(env, gaussian_actor(made, BOUNDS, spec=env.action_spec, safe=True))
    assert batches["action"].abs().max() <= 2
    assert torch.equal(collected(env, gaussian_actor(made, BOUNDS))["action"], batches["action"])


def test_a_safe_actor_is_projected_in_pendulum() -> None:
    """The normal has no bounds; the environment has."""
    env = GymEnv("Pendulum-v1")
    actor = gaussian_actor(distributions.IndependentNormal, {}, spec=env.action_spec, safe=True)
    with torch.no_grad():
        actor[0].module[0].bias.copy_(torch.tensor([0.0, 3.0]))
    actions = env.rollout(40, actor)["action"]
    assert actions.abs().max() == 2
    assert (actions.abs() < 2).any()


@pytest.mark.parametrize("name", ["OneHotCategorical", "OneHotOrdinal", "Ordinal"])
def test_collected_from_cartpole(name: str) -> None:
    env = GymEnv("CartPole-v1", categorical_action_encoding="OneHot" not in name)
    batches = collected(env, discrete_actor(name, getattr(distributions, name), 4, 2))
    assert batches["action"].unique().tolist() == [0, 1]
    assert batches["next", "done"].any()


def test_only_valid_actions_are_collected_from_taxi() -> None:
    env = GymEnv("Taxi-v4", categorical_action_encoding=True)
    env.set_info_dict_reader(default_info_dict_reader(["action_mask"], spec=[Binary(6, dtype=torch.int8)]))
    batches = collected(env, discrete_actor("MaskedCategorical", distributions.MaskedCategorical, 500, 6))
    assert batches["action_mask"].gather(-1, batches["action"][:, None]).bool().all()
    assert not batches["action_mask"].bool().all()
    assert (batches["observation"] != batches["next", "observation"]).all()  # a masked action leaves a state as it is


# ------------------------------------------------------------------------------------------------------------------ PPO
def ppo(name: str, classes: Any, entropy: bool = True) -> tuple[TensorDict, list[Tensor]]:
    """Return PPO's losses with a class of that name, of actions that ours with other weights chose; and gradients."""
    actors = [actor_with(name, made) for made in (distributions, classes)]
    data = observations()
    with torch.no_grad():
        torch.manual_seed(4)
        data = actors[0](data)
        for weight in actors[1].parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    data["advantage"], data["value_target"] = torch.linspace(-1, 1, BATCH)[:, None], torch.ones(BATCH, 1)
    loss = ClipPPOLoss(actors[1], value_operator(), entropy_bonus=entropy, entropy_coeff=0.1)
    losses = loss(data)
    assert all(value.isfinite().all() for value in losses.values())
    return losses, gradients(actors[1], losses)


def actor_with(name: str, classes: Any) -> ProbabilisticActor:
    made = getattr(classes, name)
    return gaussian_actor(made, CONTINUOUS[name]) if name in CONTINUOUS else discrete_actor(name, made, 3, 4)


@pytest.mark.parametrize("name", [*CONTINUOUS, *DISCRETE])
def test_ppo(name: str) -> None:
    # The other two have no entropy, or a wrong one.
    entropy = name not in ("TanhNormal", "TruncatedNormal")
    found, of_found = ppo(name, distributions, entropy)
    expected, of_expected = ppo(name, torchrl_distributions, entropy)
    assert set(found.keys()) == set(expected.keys())
    for key in expected.keys():  # noqa: SIM118
        assert_close(found[key], expected[key], rtol=1e-4, atol=1e-5)
    assert_close(of_found, of_expected, rtol=1e-3, atol=1e-5)
    with_entropy, gradients = ppo(name, distributions)
    assert_close(with_entropy["loss_entropy"].detach(), -0.1 * with_entropy["entropy"])
    assert entropy or not torch.equal(gradients[0], of_found[0])


def test_the_bonus_raises_the_entropy() -> None:
    actor = gaussian_actor(distributions.TanhNormal, BOUNDS)
    data = observations()
    with torch.no_grad():
        data = actor(data)
    data["advantage"], data["value_target"] = torch.zeros(BATCH, 1), torch.zeros(BATCH, 1)
    loss = ClipPPOLoss(actor, value_operator(), entropy_coeff=1.0)
    assert_close(loss(data)["entropy"], actor.get_dist(data).entropy().mean())
    entropies = []
    optimiser = torch.optim.SGD(actor.parameters(), lr=0.05)
    for _ in range(5):
        losses = loss(data)
        entropies.append(losses["entropy"].item())
        optimiser.zero_grad()
        losses["loss_entropy"].backward()
        optimiser.step()
    assert entropies == sorted(entropies)


# ------------------------------------------------------------------------------------------------------------------ SAC
class Critic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 1)

    def forward(self, observation: Tensor, action: Tensor) -> Tensor:
        return self.linear(torch.cat([observation, action], -1))


def transitions(actor: Any) -> TensorDict:
    data = observations()
    with torch.no_grad():
        torch.manual_seed(5)
        data = actor(data)
    following = {"observation": data["observation"] + 0.1, "reward": torch.linspace(-1, 1, BATCH)[:, None]}
    ends = {name: torch.zeros(BATCH, 1, dtype=torch.bool) for name in ("done", "terminated")}
    data["next"] = {**following, **ends, "action_mask": data["action_mask"]}
    return data


def sac(actor: Any) -> tuple[TensorDict, list[Tensor]]:
    torch.manual_seed(6)
    critic = ValueOperator(Critic(), in_keys=["observation", "action"])
    loss = SACLoss(actor, critic, action_spec=Bounded(-2.0, 2.0, (2,)))
    SoftUpdate(loss, eps=0.99)
    data = transitions(actor)
    torch.manual_seed(7)
    losses = loss(data)
    assert all(value.isfinite().all() for value in losses.values())
    return losses, gradients(loss.actor_network_params, losses)


@pytest.mark.parametrize("name", list(CONTINUOUS))
def test_sac(name: str) -> None:
    """Without a key the draws are those of torch.distributions, so that one seed makes one loss."""
    found, of_found = sac(gaussian_actor(getattr(distributions, name), CONTINUOUS[name], 2))
    if name != "TruncatedNormal":  # which draws from uniforms by another formula
        expected, of_expected = sac(gaussian_actor(getattr(torchrl_distributions, name), CONTINUOUS[name], 2))
        for key in expected.keys():  # noqa: SIM118
            assert_close(found[key], expected[key], rtol=1e-4, atol=1e-4)
        assert_close(of_found, of_expected, rtol=1e-3, atol=1e-4)


def discrete_sac(made: Any) -> tuple[TensorDict, list[Tensor]]:
    actor = discrete_actor("OneHotCategorical", made, 3, 4)
    torch.manual_seed(6)
    critic = ValueOperator(nn.Linear(3, 4), in_keys=["observation"], out_keys=["action_value"])
    loss = DiscreteSACLoss(actor, critic, action_space=Composite(action=OneHot(4)), num_actions=4)
    SoftUpdate(loss, eps=0.99)
    losses = loss(transitions(discrete_actor("OneHotCategorical", distributions.OneHotCategorical, 3, 4)))
    assert all(value.isfinite().all() for value in losses.values())
    return losses, gradients(loss.actor_network_params, losses)


def test_discrete_sac() -> None:
    found, of_found = discrete_sac(distributions.OneHotCategorical)
    expected, of_expected = discrete_sac(torchrl_distributions.OneHotCategorical)
    for key in expected.keys():  # noqa: SIM118
        assert_close(found[key], expected[key], rtol=1e-4, atol=1e-5)
    assert_close(of_found, of_expected, rtol=1e-3, atol=1e-4)


# ----------------------------------------------------------------------------------------------------- clipped actions
def clipped(dtype: torch.dtype, bound: float) -> TensorDict:
    """Return transitions whose actions were clamped to the bounds, and stored in a dtype of their own."""
    data = observations()
    data["action"] = torch.linspace(-4, 4, 2 * BATCH, dtype=dtype).reshape(BATCH, 2).clamp(-bound, bound)
    assert data["action"].eq(torch.tensor(bound, dtype=dtype)).any(0).all()
    ends = {name: torch.zeros(BATCH, 1, dtype=torch.bool) for name in ("done", "terminated")}
    data["next"] = {"observation": data["observation"] + 0.1, "reward": torch.linspace(-1, 1, BATCH)[:, None], **ends}
    data["advantage"], data["value_target"] = torch.linspace(-1, 1, BATCH)[:, None], torch.ones(BATCH, 1)
    return data


def iql_loss(actor: Any) -> IQLLoss:
    torch.manual_seed(6)
    loss = IQLLoss(actor, ValueOperator(Critic(), in_keys=["observation", "action"]), value_operator())
    SoftUpdate(loss, eps=0.99)
    return loss


def bc_loss(actor: Any) -> BCLoss:
    with warnings.catch_warnings():  # it says that it has no target parameters
        warnings.simplefilter("ignore")
        return BCLoss(actor)


LOSSES = {
    "IQL": iql_loss,
    "BC": bc_loss,
    "ClipPPO": lambda actor: ClipPPOLoss(actor, value_operator()),
    "A2C": lambda actor: A2CLoss(actor, value_operator()),
}


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 2.0), (torch.float32, 0.7), (torch.float64, 0.7)])
@pytest.mark.parametrize("name", list(LOSSES))
def test_actions_clamped_to_the_bounds_train(name: str, dtype: torch.dtype, bound: float) -> None:
    actor = gaussian_actor(distributions.TanhNormal, {"low": -bound, "high": bound}, 2)
    data = clipped(dtype, bound)
    if name == "IQL":
        data["action"] = data["action"].float()  # the critic's
    with torch.no_grad():
        data["action_log_prob"] = actor.get_dist(data).log_prob(data["action"])
    assert data["action_log_prob"].isfinite().all()
    loss = LOSSES[name](actor)
    losses = loss(data)
    assert all(value.isfinite().all() for value in losses.values())
    gradients(loss.actor_network_params, losses)


def test_actions_beyond_the_bounds_do_not_pass_for_clamped_ones() -> None:
    dist = distributions.TanhNormal(torch.zeros(2), 1.0, **BOUNDS)
    assert dist.log_prob(torch.tensor([2.0, 2.001])) == -torch.inf
