"""Objects for code that expects `torch.distributions`: their methods are the verbs of the families.

The classes have the constructors and attributes of TorchRL's classes of the same names: changing the import is enough.
`wrap` makes an object of any family. `CompositeDistribution` and `KeyedModule` need tensordict.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import functional_dists.distributions.kl  # noqa: F401 (registers the divergences)
from functional_dists.distributions.base import FamilyDistribution, wrap
from functional_dists.distributions.continuous import Delta, IndependentNormal, TanhDelta, TanhNormal, TruncatedNormal
from functional_dists.distributions.discrete import MaskedCategorical, Ordinal
from functional_dists.distributions.modules import AddStateIndependentNormalScale, NormalParamExtractor
from functional_dists.distributions.one_hot import (
    MaskedOneHotCategorical,
    OneHotCategorical,
    OneHotOrdinal,
    ReparamGradientStrategy,
)
from functional_dists.distributions.tokens import LLMMaskedCategorical

if TYPE_CHECKING:
    from functional_dists.distributions.composite import CompositeDistribution
    from functional_dists.distributions.keyed import KeyedModule

_CLASSES: dict[str, tuple[type[FamilyDistribution], ...]] = {
    "continuous": (Delta, IndependentNormal, TanhDelta, TanhNormal, TruncatedNormal),
    "discrete": (MaskedCategorical, MaskedOneHotCategorical, OneHotCategorical, OneHotOrdinal, Ordinal),
}

#: The classes by name. The keys are the name in lower case, the class, and the key in TorchRL's map of this name.
distributions_maps: dict[str | type[FamilyDistribution], type[FamilyDistribution]] = {
    key: made
    for module, classes in _CLASSES.items()
    for made in classes
    for name in [made.__name__.lower()]
    for key in (name, made, f"<class 'torchrl.modules.distributions.{module}.{name}'>")
}

__all__ = [
    "AddStateIndependentNormalScale",
    "CompositeDistribution",
    "Delta",
    "FamilyDistribution",
    "IndependentNormal",
    "KeyedModule",
    "LLMMaskedCategorical",
    "MaskedCategorical",
    "MaskedOneHotCategorical",
    "NormalParamExtractor",
    "OneHotCategorical",
    "OneHotOrdinal",
    "Ordinal",
    "ReparamGradientStrategy",
    "TanhDelta",
    "TanhNormal",
    "TruncatedNormal",
    "distributions_maps",
    "wrap",
]
__dir__ = __all__.copy  # what tab completion shows


def __getattr__(name: str) -> Any:
    # Both need tensordict, which is optional.
    needs_tensordict = {"CompositeDistribution": "composite", "KeyedModule": "keyed"}
    if name not in needs_tensordict:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(f"{__name__}.{needs_tensordict[name]}"), name)
