"""The differentiable search for every pair's context."""

from atrc.search.mixture import Choice, Mixture
from atrc.search.supergraph import Supergraph, supergraph

__all__ = ["Choice", "Mixture", "Supergraph", "supergraph"]
