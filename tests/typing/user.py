"""What users write: mypy and pyright must accept it, and refuse the lines marked `# expect-error`.

This file is not run. `tests/test_typing.py` checks it.
"""

from collections.abc import Callable
from typing import Any, assert_type

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from functional_dists import (
    Family,
    bind,
    categorical,
    composite,
    distributions,
    divergence,
    independent,
    independent_normal,
    logits,
    logits_from_probs,
    masked_categorical,
    normal,
    one_hot,
    one_hot_categorical,
    parameters,
    plot,
    policy,
    random,
    tanh_normal,
    truncated_normal,
)
from functional_dists.composite import Head, chain
from functional_dists.family import BoundFamily

key = random.key(42)
loc, scale = torch.zeros(3), torch.ones(3)
score, table, mask = torch.zeros(5), torch.zeros(2, 5), torch.ones(2, 5, dtype=torch.bool)

# ---------------------------------------------------------------------------------------------------------- randomness
assert_type(key, Tensor)
assert_type(random.split(key, 2), Tensor)
assert_type(random.fold_in(key, 3), Tensor)
assert_type(random.normal(torch.Generator(), (2, 3)), Tensor)
random.key("seed")  # expect-error
random.normal(key, "three")  # expect-error
random.split(42)  # expect-error

# --------------------------------------------------------------------------------------------------- families: modules
params = tanh_normal.Params(loc, scale)
assert_type(tanh_normal.sample(key, loc, scale), Tensor)
assert_type(tanh_normal.sample(key, loc, scale, -2.0, 2.0, sample_shape=(4,)), Tensor)
assert_type(tanh_normal.sample(key, params), Tensor)
assert_type(tanh_normal.rsample(key, loc=loc, scale=scale, high=2.0), Tensor)
assert_type(tanh_normal.rsample_and_log_prob(key, params), tuple[Tensor, Tensor])
assert_type(tanh_normal.log_prob(params, loc), Tensor)
assert_type(tanh_normal.log_prob(params, value=loc), Tensor)
assert_type(tanh_normal.log_prob(loc, scale, value=loc), Tensor)
assert_type(tanh_normal.log_prob(loc, scale, -1.0, 1.0, loc, event_dims=0), Tensor)
assert_type(tanh_normal.entropy(loc, scale), Tensor)
assert_type(tanh_normal.mean(params), Tensor)
assert_type(tanh_normal.kl(params, params), Tensor)
assert_type(tanh_normal.support(params), Constraint)
assert_type(normal.log_prob({"a": loc}, 1.0, {"a": loc}), Tensor)
assert_type(normal.survival(loc, scale, 0.0), Tensor)
assert_type(normal.deterministic(loc, scale), Tensor)
assert_type(truncated_normal.sample(key, loc, scale, low=0.0), Tensor)
assert_type(categorical.sample(key, score), Tensor)
assert_type(categorical.sample_and_log_prob(key, score), tuple[Tensor, Tensor])
assert_type(masked_categorical.log_prob(table, mask, torch.tensor([0, 1])), Tensor)
assert_type(masked_categorical.probs(table, mask), Tensor)
tanh_normal.check(params)
tanh_normal.sample(key, loc, scale, sample_shape="four")  # expect-error
tanh_normal.log_prob(params, loc, event_dims="all")  # expect-error
number: float = tanh_normal.entropy(params)  # expect-error
pair: Tensor = normal.sample_and_log_prob(key, loc, scale)  # expect-error
tanh_normal.log_probs(params, loc)  # expect-error
tanh_normal.Params(loc)  # expect-error
tanh_normal.Params(loc, scale, lower=-1.0)  # expect-error
upper = params.upper  # expect-error
categorical.rsample(key, score)  # expect-error


# ------------------------------------------------------------------------------------------------ families made of them
torque = bind(tanh_normal, low=-2.0, high=2.0)
assert_type(torque, BoundFamily)
rows: Family = independent(normal, 2)
vectors: Family = one_hot(categorical)
drawn: Tensor = torque.rsample(key, loc, scale)
vector: Tensor = one_hot_categorical.sample(key, score)
summed: Tensor = independent_normal.log_prob(loc, scale, loc)
own: Tensor = independent(categorical).entropy(table)
bind()  # expect-error
independent()  # expect-error
independent(normal, "two")  # expect-error
one_hot(categorical, 2)  # expect-error


def first_action(family: Family, *given: Any) -> Tensor:
    """Take a family of any sort."""
    if isinstance(family, Family):
        drawn: Tensor = family.sample(key, *given)
        return drawn
    return loc


first_action(tanh_normal, loc, scale)
first_action(torque, loc, scale)
first_action(one_hot(categorical), score)
first_action(independent_normal, loc, scale)
first_action(logits, loc)  # expect-error
first_action("normal", loc)  # expect-error

# ---------------------------------------------------------------------------------------- joint distributions, and KL
families = {"unit": categorical, "aim": (torque, normal)}
joint = {"unit": (score,), "aim": ((loc, scale), (loc, scale))}
actions = composite.sample(key, families, joint)
total: Tensor = composite.log_prob(families, joint, actions)
spread: Tensor = composite.entropy(families, joint)
order = chain(unit=Head(categorical), aim=Head(normal, lambda params, earlier: (params["aim"], 1.0)))
assert_type(order, composite.Chain)
assert_type(composite.has(families, "mode"), bool)
assert_type(composite.pick(table, torch.tensor([0, 1])), Tensor)
assert_type(divergence.kl((normal, (loc, scale)), (normal, (loc, 1.0))), Tensor)
chain(unit=categorical)  # expect-error
composite.log_prob(families, joint)  # expect-error
divergence.kl(normal, (loc, scale))  # expect-error

# ------------------------------------------------------------------------------------------------------------- policies
network = torch.nn.Linear(3, 6)
weights, act = policy.actor(network, tanh_normal, in_keys=["observation"], return_log_prob=True)
assert_type(act, policy.Sequential)
data = act(weights, key, {"observation": loc}, interaction_type="mode")
assert_type(act.log_prob(weights, data), Tensor)
assert_type(act.entropy(weights, data), Tensor)
step: policy.Step = act
tensors, loc_step = policy.from_module(network, ["observation"], ["loc"])
assert_type(tensors, dict[str, Tensor])
assert_type(loc_step, policy.FunctionModule)
drawing = policy.ProbabilisticModule(normal, ["loc", "scale"], ["action"], num_samples=4)
assert_type(drawing.log_prob((), data), Tensor)
assert_type(policy.interaction_type(), policy.InteractionType | None)
with policy.set_interaction_type("mode"):
    act(weights, key, data)
policy.actor(network, tanh_normal)  # expect-error
policy.actor(network, tanh_normal, in_keys=["observation"], save=True)  # expect-error
policy.ProbabilisticModule(normal, ["loc", "scale"], ["action"], return_log_prop=True)  # expect-error
act.steps = ()  # expect-error
wrong: policy.Step = "step"  # expect-error

# ------------------------------------------------------------------------------------------------------------- the rest
assert_type(logits.top_p(logits.temperature(score, 0.7), 0.9), Tensor)
assert_type(logits_from_probs(score.softmax(-1)), Tensor)
assert_type(parameters.scale_mapping("exp"), Callable[[Tensor], Tensor])
split_loc, split_scale = parameters.normal_params(torch.zeros(6))
dist = distributions.TanhNormal(loc, scale)
assert_type(dist.rsample((2,), key=key), Tensor)
assert_type(dist.log_prob(loc), Tensor)
assert_type(distributions.wrap(torque, loc, scale), distributions.FamilyDistribution)
axes = plot.density(normal, normal.Params(loc, 1.0))
axes.set_title("A normal")
logits.top_k(score, "five")  # expect-error
logits.top_p(score)  # expect-error
parameters.scale_mapping(1.0)  # expect-error
distributions.TanhNormal(loc, scale, lowest=-1.0)  # expect-error
plot.density(normal)  # expect-error
