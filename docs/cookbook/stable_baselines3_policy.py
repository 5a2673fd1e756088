"""# A Stable-Baselines3 policy through an adapter

The default policy of PPO in Stable-Baselines3 is a Gaussian. It draws actions outside of the bounds, and the environment gets
them clipped. The adapter below gives the policy a family of this library. Here that is a `tanh_normal` on the bounds of
`Pendulum-v1`, so the action that is stored and scored is the action that is played.

* `FamilyDistribution` has the interface of `stable_baselines3.common.distributions.Distribution`.
* `FamilyPolicy` keeps the networks of `ActorCriticPolicy`, and replaces the distribution on top of them.
* Draws come from PyTorch's global generator, given by name, since Stable-Baselines3 seeds that one.
* The entropy is exact. Stable-Baselines3 estimates it by -log_prob where a distribution has none.

Stable-Baselines3 is the extra `sb3`: `pip install "functional_dists[sb3]"`. The extra also has `rich`, which draws the progress bar.

The program trains for 60,000 steps, and takes about a minute on one core. `--short` trains for 512 steps.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from functional_dists import tanh_normal

try:
    from stable_baselines3 import PPO
    from stable_baselines3.common.distributions import Distribution
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.policies import ActorCriticPolicy
except ModuleNotFoundError as error:
    sys.exit(f'{error}. Install the extra: pip install "functional_dists[sb3]"')


class FamilyDistribution(Distribution):
    """A family and its parameters, with the interface that Stable-Baselines3 expects."""

    def __init__(self, family, params) -> None:
        super().__init__()
        self.family, self.params = family, params

    def proba_distribution_net(self, *args, **kwargs):
        raise NotImplementedError("the policy makes the networks")

    def proba_distribution(self, *params) -> "FamilyDistribution":
        self.params = self.family.Params(*params)
        return self

    def log_prob(self, actions: Tensor) -> Tensor:
        return self.family.log_prob(self.params, actions)

    def entropy(self) -> Tensor:
        return self.family.entropy(self.params)

    def sample(self) -> Tensor:
        return self.family.rsample(torch.default_generator, self.params)

    def mode(self) -> Tensor:
        return self.family.deterministic(self.params)

    def actions_from_params(self, *params, deterministic: bool = False) -> Tensor:
        return self.proba_distribution(*params).get_actions(deterministic)

    def log_prob_from_params(self, *params) -> tuple[Tensor, Tensor]:
        return self.family.rsample_and_log_prob(torch.default_generator, self.family.Params(*params))


class FamilyPolicy(ActorCriticPolicy):
    """An actor-critic policy for a Box, with a family of (loc, scale, low, high) in the place of the Gaussian."""

    def __init__(self, *args, family, **kwargs) -> None:
        self.family = family
        super().__init__(*args, **kwargs)

    def _get_action_dist_from_latent(self, latent_pi: Tensor) -> FamilyDistribution:
        loc = self.action_net(latent_pi)
        scale = self.log_std.exp().expand_as(loc)
        low, high = (torch.as_tensor(bound).to(loc) for bound in (self.action_space.low, self.action_space.high))
        return FamilyDistribution(self.family, self.family.Params(loc, scale, low, high))

    def _get_constructor_parameters(self) -> dict:
        return {**super()._get_constructor_parameters(), "family": self.family}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true", help="train for 512 steps only")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    options = {"n_steps": 256, "n_epochs": 2} if args.short else {"n_steps": 1024, "n_epochs": 10}
    model = PPO(
        FamilyPolicy,
        "Pendulum-v1",
        policy_kwargs={"family": tanh_normal},
        gamma=0.9,
        learning_rate=1e-3,
        ent_coef=1e-3,
        seed=args.seed,
        device="cpu",
        **options,
    )
    model.learn(512 if args.short else 60_000, progress_bar=sys.stderr.isatty())

    actions = torch.as_tensor(model.rollout_buffer.actions)
    assert (actions.abs() < 2).all()  # inside of the bounds: nothing was clipped
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "policy")
        loaded = PPO.load(Path(folder) / "policy", device="cpu")
    obs = model.get_env().reset()
    assert (loaded.predict(obs, deterministic=True)[0] == model.predict(obs, deterministic=True)[0]).all()

    mean_return, _ = evaluate_policy(model, model.get_env(), n_eval_episodes=2 if args.short else 20)
    print(f"mean return of the trained policy: {mean_return:.0f}")
    assert args.short or mean_return > -600


if __name__ == "__main__":
    main()
