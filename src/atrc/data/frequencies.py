"""How frequent the classes of a data set are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from atrc.data.dataset import MultiTaskDataset
from atrc.errors import UserError
from atrc.tasks import SemanticSegmentation, Task

# k classes


def with_class_weights(tasks: tuple[Task, ...], dataset: MultiTaskDataset) -> tuple[Task, ...]:
    """Return tasks whose class weights are numbers: "median_frequency" is computed from a split's labels.

    Raises:
        UserError: No image of the split has a valid label.
    """
    return tuple(
        replace(task, class_weights=tuple(median_frequency(dataset, task).round(6).tolist()))
        if isinstance(task, SemanticSegmentation) and task.class_weights == "median_frequency"
        else task
        for task in tasks
    )


def median_frequency(dataset: MultiTaskDataset, task: SemanticSegmentation) -> Float[np.ndarray, " k"]:
    """Return the weights that balance classes: the median frequency over the frequency of each class.

    The frequency of a class is its share of the valid pixels in the images that have it. A class that never occurs
    has weight 1. Source: Eigen and Fergus, ICCV 2015, Sec. 4.3.3.

    Raises:
        UserError: No image of the split has a valid label.
    """
    pixels, images = np.zeros((2, task.num_classes))
    for id in dataset.ids:
        truth, valid = dataset.read_label(task, id)
        counts = np.bincount(truth[valid].ravel(), minlength=task.num_classes)
        pixels += counts
        images += np.where(counts > 0, valid.sum(), 0)
    present = pixels > 0
    if not present.any():
        raise UserError(
            f"{dataset.root}: no image of the {dataset.split} split has a valid {task.name} label, so there is no "
            "median frequency; give class_weights as numbers"
        )
    frequency = pixels[present] / images[present]
    weights = np.ones(task.num_classes)
    weights[present] = np.median(frequency) / frequency
    return weights
