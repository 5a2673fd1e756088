"""From the action space of an environment to the family of a policy.

`from_space` takes any space of gymnasium, or spec of torchrl. It gives a family, the number of a network's outputs, the
parameters for these outputs, and the conversion between values and actions.

>>> import torch
>>> from functional_dists import random, spaces
>>> class Bits:
...     __module__, __qualname__, shape, dtype = "gymnasium.spaces", "MultiBinary", (2,), "int8"
>>> Bits.__name__ = "MultiBinary"
>>> space = spaces.from_space(Bits())
>>> value = space.sample(random.key(42), torch.zeros(3, space.size))
>>> value.shape, space.log_prob(torch.zeros(3, space.size), value)
(torch.Size([3, 2]), tensor([-1.3863, -1.3863, -1.3863]))
"""

from functional_dists.spaces.action_space import ActionSpace, from_space

__all__ = ["ActionSpace", "from_space"]
__dir__ = __all__.copy  # what tab completion shows
