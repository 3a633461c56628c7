"""What rendered rooms show, and what their labels say about it."""

from functools import lru_cache

import numpy as np
import pytest

from atrc_rooms import CLASSES, PROFILES, RoomsError, render_room
from atrc_rooms.labels import boundaries, salient
from atrc_rooms.profiles import BODY_GROUPS, BODY_PARTS, HUMAN_PARTS

SIZE = (60, 80)


@lru_cache
def view(profile="people", seed=0, size=SIZE):
    return render_room(profile, (1, seed), size)


@lru_cache
def views(profile, count=10):
    return [view(profile, seed) for seed in range(count)]


def points(one):
    """Back-projected pixels in the camera's frame: x right, y up, z to the viewer [m]."""
    height, width = one.depth.shape
    scale = one.camera.focal * max(height, width)
    x = (np.arange(width) + 0.5 - width / 2) / scale
    y = -(np.arange(height) + 0.5 - height / 2) / scale
    rays = np.stack([np.broadcast_to(x, one.depth.shape), np.broadcast_to(y[:, None], one.depth.shape)], -1)
    return np.concatenate([rays, -np.ones((height, width, 1))], -1) * one.depth[..., None]


@pytest.mark.parametrize("profile", PROFILES)
def test_the_same_seed_gives_the_same_view(profile):
    one, other = view(profile, 3), render_room(profile, (1, 3), SIZE)
    for name in ("image", "semseg", "human_parts", "sal", "depth", "normals", "edge", "instances"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


def test_another_seed_gives_another_view():
    assert not np.array_equal(view(seed=0).image, view(seed=1).image)


def test_images_and_labels_of_a_seed_stay_the_same():
    """A change that alters rooms must also change `writer.VERSION`, and these numbers."""
    indoor, people = ([154.3, 146.93, 135.62], 3.0272, 35), ([156.52, 148.31, 138.38], 3.0823, 39)
    for profile, (image, depth, instances) in {"indoor": indoor, "people": people}.items():
        one = view(profile, 1)
        assert one.image.mean((0, 1)) == pytest.approx(image, abs=0.1)
        assert one.depth.mean() == pytest.approx(depth, abs=1e-3)
        assert len(one.names) == instances


@pytest.mark.parametrize(("profile", "count"), [("people", 10), ("varied", 6)])
def test_normals_are_unit_vectors_that_face_the_camera(profile, count):
    for one in views(profile)[:count]:
        assert np.abs(np.linalg.norm(one.normals, axis=-1) - 1).max() < 1e-4
        assert ((one.normals * points(one)).sum(-1) < 0).all()


def test_floors_and_ceilings_are_planes_in_depth_and_normals():
    checked = 0
    for one in views("indoor"):
        for instance in np.unique(one.instances):
            here = one.instances == instance
            if one.names[instance] not in ("floor", "ceiling") or here.sum() < 50:
                continue
            normal = np.median(one.normals[here], axis=0)
            level = points(one)[here] @ normal
            assert np.ptp(level) < 2e-3
            assert np.abs(one.normals[here] - normal).max() < 1e-3
            checked += 1
    assert checked >= 8


def test_the_floor_lies_below_the_camera_by_its_height():
    for one in views("indoor"):
        floor = one.semseg == CLASSES["indoor"].index("floor")
        if not floor.any():
            continue
        world = points(one)[floor] @ one.camera.axes + one.camera.eye
        assert np.abs(world[:, 2]).max() < 2e-3
        assert 1.2 <= one.camera.eye[2] <= 1.75


def test_normals_point_up_on_the_floor_and_z_is_towards_the_viewer():
    one = next(v for v in views("indoor") if (v.semseg == 1).sum() > 100)
    floor = one.normals[one.semseg == CLASSES["indoor"].index("floor")]
    assert (floor[:, 1] > 0.7).all()
    assert np.median(one.normals[..., 2]) > 0


def test_every_view_shows_a_room_of_some_depth():
    for profile in ("indoor", "people"):
        for one in views(profile):
            assert 1.2 < np.median(one.depth) < 7
            assert (one.depth < 0.7).mean() < 0.1
            assert len(np.unique(one.semseg)) >= 4
            assert 40 < one.image.mean() < 220


@pytest.mark.parametrize("profile", ["indoor", "people"])
def test_edges_are_thin_and_lie_where_instances_meet(profile):
    for one in views(profile):
        ids, edge = one.instances, one.edge
        blocks = edge[:-1, :-1] & edge[1:, :-1] & edge[:-1, 1:] & edge[1:, 1:]
        assert blocks.mean() < 0.002
        padded = np.pad(ids, 1, mode="edge")
        around = [
            padded[1 + y : 1 + y + ids.shape[0], 1 + x : 1 + x + ids.shape[1]] for y in (-1, 0, 1) for x in (-1, 0, 1)
        ]
        meets = np.any([a != ids for a in around], axis=0)
        assert (edge <= meets).all()
        near = np.pad(edge, 1)
        close = np.any(
            [
                near[1 + y : near.shape[0] - 1 + y, 1 + x : near.shape[1] - 1 + x]
                for y in (-1, 0, 1)
                for x in (-1, 0, 1)
            ],
            axis=0,
        )
        # Thinning may remove islands of one or two pixels.
        assert (close | ~meets).mean() > 0.97


def test_the_boundary_of_two_halves_is_one_line():
    ids = np.zeros((6, 8), int)
    ids[:, 4:] = 1
    assert boundaries(ids).sum(1).tolist() == [1] * 6


def test_walls_are_instances_so_corners_are_edges():
    wall = CLASSES["indoor"].index("wall")
    found = []
    for one in views("indoor"):
        both = (one.semseg[:, 1:] == wall) & (one.semseg[:, :-1] == wall)
        found += one.edge[:, :-1][both & (one.instances[:, 1:] != one.instances[:, :-1])].tolist()
    assert len(found) > 50
    assert np.mean(found) > 0.7  # thinning takes the corners of staircases


def test_human_parts_cover_exactly_the_persons():
    seen = set()
    for one in views("people"):
        person = one.semseg == CLASSES["people"].index("person")
        assert np.array_equal(person, one.human_parts > 0)
        seen |= set(np.unique(one.human_parts).tolist())
    assert seen == set(range(len(HUMAN_PARTS)))


def test_the_indoor_profile_has_no_people():
    assert "person" not in CLASSES["indoor"]
    assert all((v.human_parts == 0).all() for v in views("indoor"))


def test_body_parts_stack_as_they_do_on_a_standing_person():
    heights = {name: [] for name in ("head", "torso", "lower legs")}
    for one in views("people"):
        world = points(one) @ one.camera.axes + one.camera.eye
        for name in heights:
            heights[name] += world[one.human_parts == HUMAN_PARTS.index(name)][:, 2].tolist()
    head, torso, legs = (np.median(heights[name]) for name in heights)
    assert head > torso > legs
    assert min(heights["lower legs"]) > -0.03


def test_every_body_part_belongs_to_a_group():
    assert len(BODY_PARTS) == len(BODY_GROUPS)
    assert set(BODY_GROUPS) == set(range(len(HUMAN_PARTS)))


def test_persons_and_one_prominent_thing_are_salient():
    instances = np.zeros((40, 40), int)
    instances[10:30, 12:28] = 1
    instances[0:4, 0:4] = 2
    instances[30:36, 30:34] = 3
    names = ("wall", "chair", "sofa", "person")
    sal = salient(instances, names, np.full((40, 40), 2.0, np.float32))
    assert np.array_equal(sal, (instances == 1) | (instances == 3))


def test_background_is_never_salient():
    instances = np.zeros((20, 20), int)
    instances[5:15, 5:15] = 1
    assert not salient(instances, ("wall", "window"), np.ones((20, 20), np.float32)).any()


def test_saliency_is_neither_rare_nor_everything():
    share = [v.sal.mean() for v in views("people")]
    assert 0.02 < np.mean(share) < 0.5
    assert max(share) < 0.9


def test_larger_images_show_the_same_room():
    small, large = view("indoor", 0), view("indoor", 0, (120, 160))
    assert np.allclose(small.camera.eye, large.camera.eye)
    halved = large.image.reshape(60, 2, 80, 2, 3).mean((1, 3))
    assert np.abs(halved - small.image).mean() < 12


def test_odd_sizes_render():
    assert view("people", 4, (37, 53)).normals.shape == (37, 53, 3)


def test_an_unknown_profile_is_named():
    with pytest.raises(RoomsError, match="'outdoor'; choose from indoor, people, varied, varied_people"):
        render_room("outdoor", 0, SIZE)


def test_every_class_occurs_within_30_scenes():
    seen = set()
    for seed in range(30):
        seen |= set(np.unique(view("people", seed, (36, 48)).semseg).tolist())
    assert [name for i, name in enumerate(CLASSES["people"]) if i not in seen] == []
