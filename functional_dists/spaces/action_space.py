"""`from_space`: from the action space of an environment to the family of a policy."""

from dataclasses import dataclass
from typing import Any

import optree
from torch import Tensor

import functional_dists.composite as composite
from functional_dists.composite.structure import is_single, names_in_data
from functional_dists.family import from_pickle, to_pickle
from functional_dists.family.reprs import call, changed
from functional_dists.parameters import ScaleMapping
from functional_dists.random import Shape, Source
from functional_dists.spaces.nodes import Inputs, Node
from functional_dists.spaces.reading import Options, read


def from_space(
    space: Any,
    *,
    bounded: Any = Options.bounded,
    partly_bounded: Any = Options.partly_bounded,
    unbounded: Any = Options.unbounded,
    scale_mapping: ScaleMapping = Options.scale_mapping,
    scale_lb: float = Options.scale_lb,
    max_length: int | None = Options.max_length,
    max_values: int = Options.max_values,
) -> "ActionSpace":
    """Return the family of the actions of a space, and what connects it with a network and an environment.

    A value is a tensor, or dicts and tuples of tensors, with the batch in front. Its numbers are those of the space:
    the value of `Discrete(3, start=5)` is 5, 6 or 7. `to_env` gives it the types that the environment takes.

    Discrete, MultiDiscrete and a Box of integers are categorical, and have a logit for each number. MultiBinary has a
    logit for each bit. A Box of real numbers has a location and a scale for each number; where its bounds are equal,
    the number is a constant of log-probability 0. Dict and Tuple are dicts and
    tuples of independent families. The value of OneOf is `{"which": index, "parts": (value, ...)}`. The value of
    Sequence and Text is `{"length": length, "items": values}`, with an axis of items after the batch. The parts that
    were not chosen, and the items after the end, have no effect on the log-probability.

    Args:
        space: A Box, Discrete, MultiDiscrete, MultiBinary, Dict, Tuple, OneOf, Sequence or Text of gymnasium; or a
            Bounded, Unbounded, Categorical, OneHot, MultiCategorical, MultiOneHot, Binary or Composite of torchrl,
            without batch axes.
        bounded: The family of real numbers with two finite bounds. Parameters `low` and `high` are the bounds of the
            space; those beyond 1e30 count as infinite. The others must be `loc` and `scale`, or one real number; or
            give a pair of the family and of a function that returns them, of as many tensors of the network's numbers.
        partly_bounded: The family of a box where some bounds are infinite.
        unbounded: The family of a box without bounds.
        scale_mapping: As `parameters.normal_params` takes it.
        scale_lb: The least scale.
        max_length: The greatest length of a Sequence, which has none of its own; and of a Text, if that is longer.
        max_values: The greatest number of values of an element in a Box of integers.

    Returns:
        An `ActionSpace`.

    Raises:
        NotImplementedError: the space is a Graph.
        TypeError: the space is of an unknown class, or an option is not a family.
        ValueError: a Sequence without `max_length`; too many integers; a box whose bounds leave no number.

    >>> import torch
    >>> from functional_dists import random
    >>> class Discrete:
    ...     __module__, n, start, dtype = "gymnasium.spaces", 3, 5, "int64"
    >>> space = from_space(Discrete())
    >>> space.family, space.size
    (Recoded(categorical, Shift(5)), 3)
    >>> raw = torch.zeros(4, 3)  # the output of a network
    >>> action = space.sample(random.key(42), raw, mask=torch.tensor([True, True, False]))
    >>> action
    tensor([5, 6, 6, 5])
    >>> space.log_prob(raw, action), space.to_env(action[0])
    (tensor([-1.0986, -1.0986, -1.0986, -1.0986]), np.int64(5))
    """
    if max_length is not None and max_length < 1:
        raise ValueError(f"max_length must be at least 1, got {max_length}")
    options = Options(bounded, partly_bounded, unbounded, scale_mapping, scale_lb, max_length, max_values)
    node = read(space, options)
    family = node.family(0, False)
    if not optree.tree_leaves(family, is_leaf=lambda head: is_single(head), namespace="torch"):
        raise ValueError(f"the space has no parts: {space}")
    return ActionSpace(space, family, node.size, node.mask_size, node, options)


@dataclass(frozen=True, eq=False)
class ActionSpace:
    """The family of the actions of a space; made by `from_space`.

    space: The space of gymnasium or the spec of torchrl.
    family: The family, or a composite of families.
    size: How many numbers a network puts out for an action.
    mask_size: How many outcomes a flat mask has.
    """

    space: Any
    family: Any
    size: int
    mask_size: int
    _node: Node
    _options: Options

    def __repr__(self) -> str:
        given = {name: option for name, option in vars(self._options).items() if not name.startswith("_")}
        return call("spaces.from_space", self.space, **changed(from_space, given))

    def __reduce__(self) -> tuple[Any, ...]:
        options = {name: option for name, option in vars(self._options).items() if not name.startswith("_")}
        names = ("bounded", "partly_bounded", "unbounded")
        return _unpickled, (self.space, {**options, **{name: _to_pickle(options[name]) for name in names}})

    def params(self, raw: Tensor, mask: Any = None) -> Any:
        """Return the parameters of the family.

        Args:
            raw: The output of a network, of shape (*batch, size).
            mask: The allowed outcomes, as `flat_mask` takes them.

        Raises:
            ValueError: the network does not put out `size` numbers.
        """
        return self._node.params(self._inputs(raw, mask))

    def named_params(self, raw: Tensor, mask: Any = None) -> Any:
        """Return the parameters as entries of data: a dict by name in place of every `Params`, and of every tuple."""
        return _named(self.family, self.params(raw, mask))

    def flat_mask(self, mask: Any) -> Tensor | None:
        """Return a mask as one tensor, bool, of shape (*batch, mask_size), or None if it allows everything.

        Args:
            mask: A flat mask; or masks in the structure that `space.sample(mask=...)` of gymnasium takes, with or
                without a batch in front of every array. None, for all or for a part, allows everything. OneOf also
                takes a dict of `which` and `parts`, and Sequence and Text take one of `length` and `items`.

        Raises:
            TypeError: a mask is of another kind.
            ValueError: a mask has another shape.
        """
        return self._node.flat_mask(mask)

    def _inputs(self, raw: Tensor, mask: Any) -> Inputs:
        if raw.ndim == 0 or raw.shape[-1] != self.size:
            raise ValueError(
                f"raw must have {self.size} numbers in its last axis, as many as a network puts out for this space, "
                f"got shape {tuple(raw.shape)}"
            )
        flat, batch = self.flat_mask(mask), raw.shape[:-1]
        if flat is None:
            return Inputs(raw)
        own = flat.shape[:-1]
        if len(own) > len(batch) or any(n not in (1, size) for n, size in zip(own[::-1], batch[::-1], strict=False)):
            raise ValueError(f"a mask of the batch {tuple(own)} does not fit raw of the batch {tuple(batch)}")
        return Inputs(raw, flat.to(raw.device).expand(*batch, self.mask_size))

    # ---------------------------------------------------------------------------------------------- the family's verbs
    def sample(self, key: Source, raw: Tensor, mask: Any = None, *, sample_shape: Shape = ()) -> Any:
        """Draw a value, without gradients."""
        return composite.sample(key, self.family, self.params(raw, mask), sample_shape=sample_shape)

    def rsample(self, key: Source, raw: Tensor, mask: Any = None, *, sample_shape: Shape = ()) -> Any:
        """Draw what `sample` draws, with the pathwise gradient of the real numbers."""
        return composite.rsample(key, self.family, self.params(raw, mask), sample_shape=sample_shape)

    def sample_and_log_prob(
        self, key: Source, raw: Tensor, mask: Any = None, *, sample_shape: Shape = ()
    ) -> tuple[Any, Tensor]:
        """Draw what `sample` draws, with its log-probability, which has the gradient of the score function."""
        value, log_prob = composite.sample_and_log_prob(
            key, self.family, self.params(raw, mask), sample_shape=sample_shape
        )
        return value, log_prob

    def log_prob(self, raw: Tensor, value: Any, mask: Any = None) -> Tensor:
        """Return the log-probability of a value, of shape (*sample, *batch)."""
        found: Tensor = composite.log_prob(self.family, self.params(raw, mask), value)
        return found

    def entropy(self, raw: Tensor, mask: Any = None) -> Tensor:
        """Return the entropy in nats, of shape (*batch); exact for OneOf, Sequence and Text too."""
        return self._node.entropy(self._inputs(raw, mask))

    def mode(self, raw: Tensor, mask: Any = None) -> Any:
        """Return the value of the highest probability or density; of OneOf and sequences the mode of every part."""
        return composite.mode(self.family, self.params(raw, mask))

    def deterministic(self, raw: Tensor, mask: Any = None) -> Any:
        """Return what a policy plays when it does not explore."""
        return composite.deterministic(self.family, self.params(raw, mask))

    # ------------------------------------------------------------------------------------------------- the environment
    def to_env(self, value: Any) -> Any:
        """Return what `env.step` takes: numbers, arrays and strings for gymnasium, tensors for torchrl.

        A value with one batch axis becomes what a vector environment of gymnasium takes. A value may come from the data
        of a policy, where tuples are dicts with the names "0", "1", ...
        """
        return self._node.to_env(value)

    def from_env(self, action: Any, batch_dims: int = 0) -> Any:
        """Return the value of an action of the environment.

        Args:
            action: What `to_env` returns, or what `space.sample()` returns.
            batch_dims: The number of batch axes of the action.

        Raises:
            ValueError: a sequence is too long.
        """
        return self._node.from_env(action, batch_dims)


def _named(family: Any, params: Any) -> Any:
    if is_single(family):
        return dict(zip(family.Params._fields, params, strict=True))
    if isinstance(family, composite.Chain):
        return params
    if isinstance(family, dict):
        return {name: _named(part, params[name]) for name, part in family.items()}
    own = zip(names_in_data(family), family, params, strict=True)
    return {name: _named(part, given) for name, part, given in own}


def _to_pickle(option: Any) -> Any:
    return tuple(map(to_pickle, option)) if isinstance(option, tuple) else to_pickle(option)


def _unpickled(space: Any, options: dict[str, Any]) -> ActionSpace:
    given: dict[str, Any] = {
        name: tuple(map(from_pickle, option)) if isinstance(option, tuple) else from_pickle(option)
        for name, option in options.items()
    }
    return from_space(space, **given)
