"""Verbs of DTensors: every process computes its part, bit for bit what one device would compute.

Nothing here is called by users. A verb that meets a DTensor runs by `verbs.run`.
"""

from functional_dists.sharded.verbs import run

__all__ = ["run"]
