"""The differentiable search for every pair's context."""

from atrc.search.choice import Choice
from atrc.search.cost import Cost, count_cost
from atrc.search.supergraph import Supergraph, supergraph

__all__ = ["Choice", "Cost", "Supergraph", "count_cost", "supergraph"]
