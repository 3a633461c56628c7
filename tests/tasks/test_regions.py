"""What people call the label regions, and how they are painted."""

import numpy as np
import pytest
import torch

from atrc.tasks import TASKS, Boundaries, Depth, HumanParts, Saliency, SemanticSegmentation, SurfaceNormals


@pytest.mark.parametrize("kind", TASKS.values(), ids=TASKS)
def test_every_region_has_a_name_and_a_colour(kind):
    task = kind()
    assert len(set(task.region_names)) == task.region_count
    assert task.region_colours.shape == (task.region_count, 3)
    assert task.region_colours.dtype == np.uint8


def test_regions_of_classes_bear_the_names_of_the_classes():
    task = SemanticSegmentation(num_classes=2, class_names=("wall", "floor"), class_colours=((9, 9, 9), (0, 0, 7)))
    assert task.region_names == ("wall", "floor")
    assert task.region_colours.tolist() == [[9, 9, 9], [0, 0, 7]]
    assert SemanticSegmentation(num_classes=3).region_names == ("0", "1", "2")
    assert HumanParts().region_names[1] == "head"


def test_depth_bins_are_named_by_their_ends_which_bound_their_labels():
    task = Depth(bins=4, nearest=1.0, farthest=16.0)
    assert task.region_names == ("1.00-2.00 m", "2.00-4.00 m", "4.00-8.00 m", "8.00-16.00 m")
    assert task.region_labels(torch.tensor([[[1.99, 2.01, 7.9]]])).tolist() == [[[0, 1, 2]]]
    assert (task.region_colours == task.colour(np.array([[2**0.5, 2**1.5, 2**2.5, 2**3.5]]))[0]).all()


def test_directions_and_pairs_take_the_colours_of_their_pictures():
    task = SurfaceNormals(centroids=((0.0, 0.0, 1.0), (0.0, -1.0, 0.0)))
    assert task.region_names == ("(+0.00 +0.00 +1.00)", "(+0.00 -1.00 +0.00)")
    assert (task.region_colours == task.colour(np.array([[[0.0, 0.0]], [[0.0, -1.0]], [[1.0, 0.0]]]))[0]).all()
    assert Boundaries().region_colours.tolist() == [[255] * 3, [0] * 3]
    assert Saliency().region_names == ("not salient", "salient")
