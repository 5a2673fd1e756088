"""Objects for code that expects `torch.distributions`: thin, their methods are the verbs of the families.

The classes have the constructors and attributes of TorchRL's classes of the same names, so that changing the import is
enough; `wrap` makes an object of any family.
"""

from functional_dists.distributions.base import FamilyDistribution, wrap
from functional_dists.distributions.continuous import IndependentNormal, TanhNormal
from functional_dists.distributions.discrete import MaskedCategorical

__all__ = ["FamilyDistribution", "IndependentNormal", "MaskedCategorical", "TanhNormal", "wrap"]
