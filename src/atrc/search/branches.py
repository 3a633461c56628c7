"""The search for a branched backbone: every node of the tree picks its parent among the nodes before."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from atrc.backbones import Backbone
from atrc.backbones.branched import TaskBackbone
from atrc.branching import Branching
from atrc.errors import UserError
from atrc.search.gumbel import gumbel_noise, gumbel_softmax

# b batch, h w image, n nodes of a stage (one per task), s subsets of them (bit masks), l stages that branch


class BranchSupergraph(TaskBackbone):
    """A backbone whose later stages have as many copies (nodes) as there are tasks, with relaxed edges between them.

    A node reads a mixture of the nodes of the stage before, a head one of the nodes of the last stage; the weights are
    Gumbel-softmax samples of alpha. In evaluation everybody reads the most probable one. All nodes of the first
    branching stage read the shared stem.

    Source: Bruggemann et al., BMVC 2020, Sec. 3.1 to 3.3 (BMTAS).
    """

    stage_costs: Tensor

    def __init__(self, backbone: Backbone, tasks: Sequence[str]) -> None:
        """Copy the stages and start undecided.

        Args:
            backbone: Any backbone made of stages.
            tasks: The tasks; every stage gets one node for each.

        Raises:
            UserError: The backbone has no stages to branch.
        """
        super().__init__(backbone)
        first, *later = backbone.stages()
        if not later:
            raise UserError(f"the backbone {type(backbone).__name__} has one stage only, so it cannot branch")
        self.tasks = tuple(tasks)
        self.first = first
        self.later = nn.ModuleList(nn.ModuleList(copy.deepcopy(stage) for _ in tasks) for stage in later)
        n = len(self.tasks)
        self.register_buffer("stage_costs", stage_shares(backbone), persistent=False)
        # alpha[l, j]: which node of stage l the node j of the next stage, or the head of task j, reads.
        self.alpha = nn.Parameter(torch.zeros(len(later), n, n))
        self.weights: Float[Tensor, "l n n"] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the graph of the step's weights: it cannot be copied."""
        return {**self.__dict__, "weights": None if self.weights is None else self.weights.detach()}

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> dict[str, list[Float[Tensor, "b _ _ _"]]]:
        state = self.first([image])
        inputs = [state for _ in self.tasks]
        for stage, copies in enumerate(self.later):
            outputs = [node(read) for node, read in zip(copies, inputs, strict=True)]  # type: ignore[call-overload]
            inputs = [self._read(outputs, stage, j) for j in range(len(self.tasks))]
        return dict(zip(self.tasks, inputs, strict=True))

    def _read(self, outputs: list[list[Tensor]], stage: int, j: int) -> list[Tensor]:
        if not self.training or self.weights is None:
            return outputs[int(self.alpha[stage, j].argmax())]
        weights = self.weights[stage, j].to(outputs[0][0].dtype)
        return [sum(w * x for w, x in zip(weights, level, strict=True)) for level in zip(*outputs, strict=True)]

    def alphas(self) -> list[nn.Parameter]:
        """Return the architecture parameters."""
        return [self.alpha]

    def sample(self, temperature: float, seed: int) -> None:
        """Draw the weights of one step; the same seed draws the same noise on every device and process."""
        generator = torch.Generator().manual_seed(seed)
        self.weights = gumbel_softmax(self.alpha, gumbel_noise(self.alpha, generator), temperature)

    def entropy(self) -> Float[Tensor, ""]:
        """Return the mean entropy of the edges' distributions [nat]."""
        return torch.distributions.Categorical(logits=self.alpha).entropy().mean()

    def cost(self) -> Float[Tensor, ""]:
        """Return the expected multiply-adds of the later stages, as a share of those with all nodes in use."""
        return (self.stage_costs * expected_nodes(self.alpha.softmax(-1))).sum() / len(self.tasks)

    def probabilities(self) -> dict[str, float]:
        """Return the probabilities of the edges, named `stage/reader/node`."""
        return {
            f"{stage + 2}/{reader}/{node}": p
            for stage, rows in enumerate(self.alpha.softmax(-1).tolist())
            for reader, row in zip(self.tasks, rows, strict=True)
            for node, p in zip(self.tasks, row, strict=True)
        }

    def branching(self) -> Branching:
        """Return the most probable tree, without the nodes that nobody reads."""
        reading = list(range(len(self.tasks)))  # the node that each task reads, from the heads down
        stages = []
        for parents in reversed(self.alpha.argmax(-1).tolist()):
            reading = [parents[node] for node in reading]
            nodes = dict.fromkeys(reading)
            stages.append(
                tuple(tuple(t for t, r in zip(self.tasks, reading, strict=True) if r == node) for node in nodes)
            )
        return Branching(tuple(reversed(stages)))


def expected_nodes(edges: Float[Tensor, "l n n"]) -> Float[Tensor, " l"]:
    """Return the expected number of nodes in use in every stage, exactly.

    From the heads down: the nodes in use in a stage are those that the nodes in use after it read. Their
    distribution over all 2^n subsets is carried from stage to stage.

    Args:
        edges: edges[l, j, i] is the probability that reader j of stage l reads node i; readers are the nodes of the
            next stage, or the heads.

    Source: Bruggemann et al., BMVC 2020, Sec. 3.3 (expected resources, in closed form).
    """
    n = edges.shape[1]
    sizes = torch.tensor([s.bit_count() for s in range(2**n)], dtype=edges.dtype, device=edges.device)
    using = edges.new_zeros(2**n)
    using[-1] = 1.0  # all heads read
    counts = []
    for readers in reversed(edges.unbind(0)):
        using = sum((using[s] * _union(readers[_members(s, n)]) for s in range(1, 2**n)), torch.zeros_like(using))
        counts.append((using * sizes).sum())
    return torch.stack(counts[::-1])


@torch.no_grad()
def stage_shares(backbone: Backbone, size: int = 64) -> Float[Tensor, " l"]:
    """Return the multiply-adds of every stage after the first, as shares of their sum."""
    first, *later = backbone.stages()
    modes = [(module, module.training) for module in backbone.modules()]
    backbone.eval()
    state, counts = first([torch.zeros(1, 3, size, size)]), []
    for stage in later:
        with FlopCounterMode(display=False) as counter:
            state = stage(state)
        counts.append(counter.get_total_flops())
    for module, training in modes:
        module.training = training
    return torch.tensor(counts) / sum(counts)


def _union(readers: Float[Tensor, "_ n"]) -> Float[Tensor, " s"]:
    """Return the distribution over subsets of the nodes that independent readers read together."""
    n = readers.shape[1]
    subsets = torch.arange(2**n, device=readers.device)
    union = readers.new_zeros(2**n)
    union[0] = 1.0
    for reader in readers:
        grown = torch.zeros_like(union)
        for i in range(n):
            grown = grown.index_add(0, subsets | (1 << i), union * reader[i])
        union = grown
    return union


def _members(subset: int, n: int) -> list[int]:
    return [i for i in range(n) if subset >> i & 1]
