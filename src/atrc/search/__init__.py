"""The differentiable search for every pair's context."""

from atrc.search.cost import Cost, count_cost
from atrc.search.mixture import Choice, Mixture
from atrc.search.supergraph import Supergraph, supergraph

__all__ = ["Choice", "Cost", "Mixture", "Supergraph", "count_cost", "supergraph"]
