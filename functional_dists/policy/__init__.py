"""The functional policy: steps are functions of parameters, a key and data, which return the data with more entries.

    params, act = policy.actor(network, tanh_normal, in_keys=["observation"], return_log_prob=True)
    data = act(params, key, data)  # has "action" and "sample_log_prob"
    log_prob, entropy = act.log_prob(params, data), act.entropy(params, data)  # of the actions in the data

Data are nested dicts or TensorDicts. A step holds no tensors and is immutable, so `torch.vmap`, `torch.func.grad` and
`torch.compile(fullgraph=True)` work on it. An ensemble of actors, each with its own network and key:

>>> import torch
>>> from functional_dists import policy, random, tanh_normal
>>> from torch.utils import _pytree as pytree
>>> actors = [policy.actor(torch.nn.Linear(3, 4), tanh_normal, in_keys=["observation"]) for _ in range(8)]
>>> params = pytree.tree_map(lambda *leaves: torch.stack(leaves).detach(), *[params for params, _ in actors])
>>> act, data = actors[0][1], {"observation": torch.zeros(256, 3)}
>>> keys = random.split(random.key(42), 8)
>>> torch.vmap(act, in_dims=(0, 0, None))(params, keys, data)["action"].shape
torch.Size([8, 256, 2])
"""

from functional_dists.policy.actor import actor
from functional_dists.policy.exploration import exploration_matrix, explore, held_exploration_matrix
from functional_dists.policy.interaction import InteractionType, interaction_type, set_interaction_type
from functional_dists.policy.modules import from_module
from functional_dists.policy.probabilistic import ProbabilisticModule
from functional_dists.policy.projection import project
from functional_dists.policy.steps import FunctionModule, Sequential, Step

__all__ = [
    "FunctionModule",
    "InteractionType",
    "ProbabilisticModule",
    "Sequential",
    "Step",
    "actor",
    "exploration_matrix",
    "explore",
    "from_module",
    "held_exploration_matrix",
    "interaction_type",
    "project",
    "set_interaction_type",
]
__dir__ = __all__.copy  # what tab completion shows
