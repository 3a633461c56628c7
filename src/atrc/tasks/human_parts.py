"""Human-part segmentation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from atrc.tasks.semseg import SemanticSegmentation

PARTS = ("background", "head", "torso", "upper arms", "lower arms", "upper legs", "lower legs")


@dataclass(frozen=True)
class HumanParts(SemanticSegmentation):
    """Six body parts and background. An image without people has no valid pixel."""

    name: str = "human_parts"
    num_classes: int = len(PARTS)
    class_names: tuple[str, ...] = PARTS
    weight: float = field(default=2.0, kw_only=True)

    kind_title: ClassVar[str] = "Human parts"
    hub_tag: ClassVar[str] = "human-parsing"
    limits_crop: ClassVar[bool] = False
    labelled_by_parts: ClassVar[bool] = True
