"""The differentiable search for every pair's context."""

from atrc.search.mixture import Mixture
from atrc.search.supergraph import Supergraph, supergraph

__all__ = ["Mixture", "Supergraph", "supergraph"]
