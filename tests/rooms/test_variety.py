"""The varied profiles: the labels of the plain ones, with more varied images."""

import numpy as np
import pytest

from atrc_rooms import CLASSES, PROFILES, render_room, variety, write_rooms
from atrc_rooms.furnish import furnish
from atrc_rooms.profiles import BODY_PARTS
from atrc_rooms.scene import build

SIZE = (24, 32)


def spread(profile):
    """Standard deviations over 12 views: of brightness, of mean colours, of camera heights."""
    views = [render_room(profile, (3, seed), SIZE) for seed in range(12)]
    colours = np.array([view.image.mean((0, 1)) for view in views])
    tints = colours / colours.mean(1, keepdims=True)
    return colours.mean(1).std(), tints.std(0).mean(), np.std([view.camera.eye[2] for view in views])


def test_varied_views_differ_more_in_brightness_colour_and_height():
    brightness, colour, height = np.divide(spread("varied"), spread("indoor"))
    assert brightness > 1.3
    assert colour > 1.3
    assert height > 2


@pytest.mark.parametrize(("varied", "plain"), [("varied", "indoor"), ("varied_people", "people")])
def test_a_varied_profile_has_the_tasks_and_classes_of_a_plain_one(varied, plain):
    assert (PROFILES[varied], CLASSES[varied]) == (PROFILES[plain], CLASSES[plain])


def test_people_keep_their_skin_and_hair():
    scene = build(furnish(np.random.default_rng(5), with_people=True))
    other = variety.redecorated(scene, np.random.default_rng(0))
    head = np.isin(scene.body, [BODY_PARTS.index("head"), BODY_PARTS.index("hair")])
    assert head.any()
    assert np.array_equal(other.materials[head], scene.materials[head])
    assert not np.array_equal(other.materials, scene.materials)


def test_parts_that_share_a_material_share_the_new_one():
    scene = build(furnish(np.random.default_rng(5), with_people=False))
    other = variety.redecorated(scene, np.random.default_rng(0))
    assert len(np.unique(other.materials, axis=0)) <= len(np.unique(scene.materials, axis=0))


@pytest.mark.parametrize("radiance", [0.0, 1e-3, 1.0, 6.0])
def test_the_camera_takes_any_light(radiance):
    light = np.full((24, 32, 3), radiance, np.float32)
    for seed in range(12):
        image = variety.photographed(light, np.random.default_rng(seed))
        assert (image.shape, image.dtype) == (light.shape, np.uint8)


def test_a_varied_set_has_the_layout_of_nyud(tmp_path):
    write_rooms(tmp_path, "varied", train=1, val=1, size=(24, 32), workers=1, progress=False)
    assert len(list(tmp_path.glob("*/*_00000.*"))) == 10
