"""odsF as a torchmetrics class."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from atrc.metrics.boundary.counting import boundary_counts
from atrc.metrics.boundary.protocol import BoundaryProtocol, Mode
from atrc.metrics.boundary.scores import BoundaryScores, boundary_scores


# b batch, h w image
class BoundaryFMeasure(Metric):
    """F-measure of predicted boundaries at the best threshold of the data set (ODS-F, odsF).

    The state is a sum of counts, so it merges exactly over batches and processes.

    Source: SEISM; see ``boundary_counts`` and ``boundary_scores``, of which this is the form for batches.

    Args:
        max_dist: Tolerance as a fraction of the image diagonal: 0.011 for NYUD, 0.0075 for PASCAL.
        mode: As in ``BoundaryProtocol``.
        per_image: Whether to keep the counts of each image, which OIS-F needs (3.2 kB an image).
        eight_bits: Whether to cut predictions off to 8 bits first, as those whose published scores are of PNG files.
        kwargs: For ``torchmetrics.Metric``.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    totals: Tensor
    counts: list[Tensor]

    def __init__(
        self, max_dist: float, mode: Mode = "exact", per_image: bool = False, eight_bits: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.rules = BoundaryProtocol.named("seism", max_dist=max_dist, mode=mode)
        self.max_dist = max_dist
        self.mode: Mode = mode
        self.per_image, self.eight_bits = per_image, eight_bits
        self.add_state("totals", torch.zeros(len(self.rules.thresholds), 4, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("counts", [], dist_reduce_fx="cat")

    def update(
        self,
        preds: Float[Tensor, "b h w"],
        target: Bool[Tensor, "b h w"] | Integer[Tensor, "b h w"],
        valid: Bool[Tensor, "b h w"] | None = None,
    ) -> None:
        """Add a batch of boundary probabilities, truths (boundaries are over 0) and masks of the pixels that count."""
        boundary = target > 0
        valid = torch.ones_like(boundary) if valid is None else valid
        if self.eight_bits:
            preds = (preds * 255).floor() / 255
        images = zip(preds.float().numpy(force=True), _numpy(boundary), _numpy(valid), strict=True)
        counts = np.stack([boundary_counts(p, t, self.rules, v) for p, t, v in images])
        batch = torch.from_numpy(counts).to(self.totals.device)
        self.totals += batch.sum(0)
        if self.per_image:
            self.counts.append(batch)

    def compute(self) -> Float[Tensor, ""]:
        """Return odsF so far."""
        return torch.tensor(self._scores().ods_f, device=self.totals.device)

    def scores(self) -> BoundaryScores:
        """Return all scores so far, of all processes; OIS-F only with ``per_image``."""
        with self.sync_context():
            return self._scores()

    def _scores(self) -> BoundaryScores:
        counts = dim_zero_cat(self.counts) if len(self.counts) else self.totals[None]
        return boundary_scores(counts.numpy(force=True), self.rules, self.per_image)


def _numpy(mask: Bool[Tensor, "b h w"]) -> Bool[np.ndarray, "b h w"]:
    return mask.numpy(force=True)
