"""Storage: where and how the value of a head is stored in the data."""

from dataclasses import dataclass
from typing import Any

from functional_dists.composite.pretanh import has_pretanh
from functional_dists.composite.structure import Path
from functional_dists.policy import keys
from functional_dists.policy.actions import Action
from functional_dists.policy.keys import Key
from functional_dists.spaces.recoded import Recoded, Shift


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


def storage_of(path: Path, family: Any, key: Key, action: Action | None, keep_pretanh: bool) -> Storage:
    """Return the storage of a head: of its path, its family, the key of its value, and the action of the spec."""
    if action is not None and action.is_shifted:
        family = Recoded(family, Shift(action.start))
    pretanh_key = keys.as_key(("pretanh", key)) if keep_pretanh and has_pretanh(family) else None
    return Storage(path, key, family, action if action is not None and action.has_effect else None, pretanh_key)
