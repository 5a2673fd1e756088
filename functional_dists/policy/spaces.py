"""Spaces in composite spaces, looked up by the keys of actions."""

from collections.abc import Sequence
from typing import Any

from functional_dists.policy import keys
from functional_dists.policy.keys import Key
from functional_dists.spaces.kinds import COMPOSITES, kind_of


def spaces_of(spec: Any, action_keys: Sequence[Key]) -> dict[Key, Any]:
    """Return the spaces by action key: of a composite spec those that it has, else that of the first action.

    A composite is looked up by the whole key of the action, then by ever shorter ends of the key.

    Raises:
        KeyError: a composite has none of the actions.
    """
    if kind_of(spec, COMPOSITES) is None:
        return {action_keys[0]: spec}
    spaces = {key: space for key in action_keys if (space := _space_of(spec, key)) is not None}
    if not spaces:
        raise KeyError(f"the spec has none of the actions {[*action_keys]}")
    return spaces


def _space_of(spec: Any, key: Key) -> Any:
    path = keys.path_of(key)
    for start in range(len(path)):
        space = spec
        for name in path[start:]:
            space = _part(space, name)
        if space is not None:
            return space
    return None


def _part(space: Any, name: str) -> Any:
    kind = kind_of(space, COMPOSITES)
    if kind is None:
        return None
    if kind == ("gymnasium", "Tuple"):
        return dict(enumerate(space.spaces)).get(int(name)) if name.isdigit() else None
    names = space.spaces if hasattr(space, "spaces") else space.keys()
    return space[name] if name in names else None
