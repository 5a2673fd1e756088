"""Storage: where and how the value of a head is stored in the data."""

from dataclasses import dataclass
from typing import Any

from functional_dists.composite.structure import Path
from functional_dists.policy import keys
from functional_dists.policy.actions import Action, actions
from functional_dists.policy.keys import Key
from functional_dists.policy.shifted import Shifted
from functional_dists.pretanh import has_pretanh


@dataclass(frozen=True, eq=False)
class Storage:
    """Where and how the value of one head is stored.

    path: The path of the head.
    key: The key of the value.
    family: The family of what is stored: the head's own, or with the outcomes shifted to actions.
    action: How an outcome becomes an action of the spec; None where both are the same.
    pretanh_key: The key of the value before the squashing; None where that is not stored.
    """

    path: Path
    key: Key
    family: Any
    action: Action | None = None
    pretanh_key: Key | None = None

    def stored(self, outcome: Any, data: Any) -> Any:
        """Return what to store for a value of the head."""
        return outcome if self.action is None else self.action.of(outcome, data)

    def outcome(self, stored: Any) -> Any:
        """Return the value of the head for what is stored."""
        return stored if self.action is None else self.action.outcome(stored)

    def pretanh_in(self, data: Any) -> Any:
        """Return the value before the squashing, or None."""
        return None if self.pretanh_key is None else keys.find(data, self.pretanh_key)


def storages(
    heads: dict[Path, Any],
    value_keys: dict[Path, Key],
    *,
    spec: Any,
    safe: bool,
    mask_keys: dict[Key, Key],
    keep_pretanh: bool,
) -> dict[Path, Storage]:
    """Return the storages of all heads by their paths.

    Args:
        heads: The families by their paths.
        value_keys: The keys of the values by the same paths.
        spec, safe, mask_keys, keep_pretanh: As `ProbabilisticModule` takes them.

    Raises:
        ValueError: no head squashes, and `keep_pretanh` is set; or a family does not fit the spec.
    """
    if keep_pretanh and not any(map(has_pretanh, heads.values())):
        raise ValueError(
            f"keep_pretanh=True needs a family that squashes, such as tanh_normal, got {[*heads.values()]}"
        )
    by_key = {value_keys[path]: family for path, family in heads.items()}
    converted = {} if spec is None else actions(spec, by_key, safe, mask_keys)
    found = {}
    for path, family in heads.items():
        key = value_keys[path]
        action = converted.get(key)
        pretanh_key = keys.as_key(("pretanh", key)) if keep_pretanh and has_pretanh(family) else None
        stored_family = Shifted(family, action.start) if action is not None and action.is_shifted else family
        action = action if action is not None and action.has_effect else None
        found[path] = Storage(path, key, stored_family, action, pretanh_key)
    return found
