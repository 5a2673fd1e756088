"""Actions of a spec: how the outcomes of a family become actions, and which families fit which spaces."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch  # noqa: F401 (for the examples)

from functional_dists.family import name_of, specification_of
from functional_dists.policy import keys
from functional_dists.policy.keys import Key
from functional_dists.policy.projection import PROJECTIONS, Box, Integers, Projection, projection
from functional_dists.policy.spaces import spaces_of
from functional_dists.spaces.kinds import kind_of
from functional_dists.spaces.tables import table


@dataclass(frozen=True, eq=False)
class Action:
    """The conversion between the outcomes of a family and the actions of a space: outcome k is the action `start + k`.

    start: The first action; for vectors of integers the first action of each element.
    project: The projection onto the space, which `safe=True` asks for.
    mask_key: The key of the mask of valid actions.
    """

    start: int | tuple[int, ...] = 0
    project: Projection | None = None
    mask_key: Key | None = None

    @property
    def is_shifted(self) -> bool:
        """Whether actions and outcomes have different numbers."""
        return any(self.start) if isinstance(self.start, tuple) else self.start != 0

    @property
    def has_effect(self) -> bool:
        """Whether there is anything to convert, to project or to check."""
        return isinstance(self.start, tuple) or self.is_shifted or self.project is not None

    def of(self, outcome: Any, data: Any) -> Any:
        """Return the action to store for an outcome."""
        return self.nearest(self._shifted(outcome, 1), data)

    def nearest(self, action: Any, data: Any) -> Any:
        """Return the nearest valid action, if actions are projected."""
        if self.project is None:
            return action
        return self.project(action, None if self.mask_key is None else keys.get(data, self.mask_key))

    def outcome(self, action: Any) -> Any:
        """Return the outcome of a stored action."""
        return self._shifted(action, -1)

    def _shifted(self, value: Any, sign: int) -> Any:
        if isinstance(self.start, int):
            return value + sign * self.start if self.start else value
        if value.shape[-1:] != (len(self.start),):
            raise ValueError(
                f"the spec is of {len(self.start)} integers, and the family's value of shape {tuple(value.shape)} has "
                "no such last axis: give the family parameters with an axis for them, such as logits of shape "
                f"(*batch, {len(self.start)}, N), or use a composite with a family and a Discrete space for each"
            )
        return value + sign * table(self.start, value)


def actions(
    spec: Any, families: Mapping[Key, Any], safe: bool = False, mask_keys: Mapping[Key, Key] | None = None
) -> dict[Key, Action]:
    """Return the conversions between the outcomes of families and the actions of a spec, for the actions that it has.

    Args:
        spec: As `project` takes it.
        families: The families by the keys of their actions.
        safe: Whether to project actions onto the spec.
        mask_keys: As `project` takes it.

    Raises:
        KeyError: the spec has none of the actions.
        TypeError: the spec is of an unknown class.
        ValueError: a family draws values that are not actions of its space.

    >>> class Discrete:
    ...     __module__, n, start = "gymnasium.spaces", 3, -1
    >>> from functional_dists import categorical
    >>> actions(Discrete(), {"action": categorical})["action"].of(torch.tensor([0, 1, 2]), {})
    tensor([-1,  0,  1])
    """
    found = {}
    for key, space in spaces_of(spec, list(families)).items():
        nearest = projection(space)
        _check_fit(key, families[key], space, nearest)
        found[key] = Action(getattr(nearest, "start", 0), nearest if safe else None, (mask_keys or {}).get(key))
    return found


def checked_mask_keys(given: Any, action_keys: Sequence[Key], spec: Any, safe: bool) -> dict[Key, Key]:
    """Return the keys of masks by action key: of one mask, that of the first action.

    Raises:
        ValueError: the options `spec`, `safe` and `mask_keys` of a step contradict each other.
    """
    if safe and spec is None:
        raise ValueError("safe=True needs a spec to project actions onto")
    if given is None:
        return {}
    if not safe:
        raise ValueError("mask_keys say what is valid for safe=True, which is not set")
    if isinstance(given, Mapping):
        return {keys.as_key(action): keys.as_key(mask) for action, mask in given.items()}
    return {action_keys[0]: keys.as_key(given)}


# By the `value_layout` of a family's log_prob: what the family draws, and the spaces that have such actions.
_DRAWS = {
    "per row": "integers",
    "one-hot": "one-hot vectors",
    "per element": "real numbers",
    "vector": "vectors of real numbers",
    "outcomes": "vectors of integers",
}
_SPACES = {
    "per row": ("Discrete", "Categorical", "MultiDiscrete", "MultiCategorical", "Unbounded"),
    "one-hot": ("OneHot", "Box", "Bounded", "Unbounded"),
    "per element": ("Box", "Bounded", "Unbounded"),
    "vector": ("Box", "Bounded", "Unbounded"),
    "outcomes": ("MultiDiscrete", "MultiCategorical", "Unbounded"),
}
# By the name of a space: the family to use instead.
_CURES = {
    "Discrete": "use a family of integers, such as categorical",
    "Categorical": "use a family of integers, such as categorical",
    "OneHot": "use a family of one-hot vectors, such as one_hot_categorical",
    "Box": "use a family of real numbers, such as tanh_normal, or a Discrete space with the lowest action as its start",
    "Bounded": "use a family of real numbers, such as tanh_normal, or a Categorical spec",
}
_CURE_OF_VECTORS = "use a composite of a family for each element, in a composite of their spaces"


def _check_fit(key: Key, family: Any, space: Any, nearest: Any) -> None:
    spec = specification_of(getattr(family, "log_prob", None))
    if spec is None or spec.value_layout not in _SPACES:
        return
    layout = spec.value_layout
    package, name = kind_of(space, PROJECTIONS) or ("", "")
    fits = name in _SPACES[layout]
    if isinstance(nearest, Integers) and layout == "per row":
        fits = len(set(nearest.sizes)) == 1  # one table of logits has one number of outcomes
    elif isinstance(nearest, Box) and layout == "per row":
        fits = not nearest.low.is_floating_point() and not nearest.low.any()
    if not fits:
        raise ValueError(
            f"the spec of {key!r}, {package}'s {name}, does not fit the family {name_of(family)}, which draws "
            f"{_DRAWS[layout]}: {_CURES.get(name, _CURE_OF_VECTORS)}; the spec is {space}"
        )
