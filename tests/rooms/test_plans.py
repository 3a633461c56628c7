"""Plans of furnished rooms."""

from functools import lru_cache

import numpy as np
import pytest

from atrc_rooms import meshes, people, poses
from atrc_rooms.furnish import furnish
from atrc_rooms.layout import Plan
from atrc_rooms.materials import Material
from atrc_rooms.textures import TEXTURES, albedo
from atrc_rooms.things import Seat, Thing

SEEDS = range(25)
SHELL = ("wall", "floor", "ceiling")


@lru_cache
def plan(seed, with_people=False):
    return furnish(np.random.default_rng(seed), with_people)


def cube(name="box", side=0.4):
    thing = Thing(name)
    thing.add(meshes.box(side, side, side), Material(), (0, 0, side / 2))
    return thing


def test_things_stay_in_the_room():
    for seed in SEEDS:
        one = plan(seed)
        for thing in one.things:
            if thing.name in SHELL:
                continue
            low, high = one.box(thing)
            assert (low > -0.01).all(), thing.name
            assert (high < np.asarray(one.size) + 0.01).all(), thing.name


def test_nothing_is_sunk_into_the_floor_or_floats_above_it():
    standing = ("bed", "chair", "sofa", "table", "desk", "cabinet", "dresser", "night stand")
    for seed in SEEDS:
        for thing in plan(seed).things:
            if thing.name in standing:
                assert abs(plan(seed).box(thing)[0, 2]) < 0.012, thing.name


def test_small_things_rest_on_something():
    for seed in SEEDS:
        one = plan(seed)
        boxes = [one.box(t) for t in one.things if t.name not in ("wall", "ceiling")]
        for thing in one.things:
            if thing.name not in ("books", "pillow", "plant", "box"):
                continue
            low, high = one.box(thing)
            middle = (low + high)[:2] / 2
            below = [b for b in boxes if (b[0, :2] < middle).all() and (b[1, :2] > middle).all() and b[0, 2] < low[2]]
            assert low[2] < 0.02 or below, thing.name


def test_furniture_does_not_intersect():
    big = ("bed", "sofa", "desk", "cabinet", "dresser", "night stand", "bookshelf", "door", "window")
    for seed in SEEDS:
        one = plan(seed)
        boxes = [one.box(t) for t in one.things if t.name in big]
        for i, a in enumerate(boxes):
            for b in boxes[:i]:
                assert not ((a[0] < b[1] - 0.02) & (a[1] > b[0] + 0.02)).all()


def test_a_plan_refuses_what_would_intersect():
    one = Plan(np.random.default_rng(0), (3.0, 3.0, 2.5))
    first, second = cube(), cube()
    first.at, second.at = (1, 1, 0), (1.3, 1, 0)
    assert one.try_put(first) is first
    assert one.try_put(second) is None
    second.at = (1.4, 1, 0)  # side by side they only touch
    assert one.try_put(second) is second


def test_a_plan_refuses_what_would_leave_the_room():
    one = Plan(np.random.default_rng(0), (3.0, 3.0, 2.5))
    thing = cube()
    thing.at = (0.1, 1, 0)
    assert one.try_put(thing) is None


def test_things_at_a_wall_turn_their_backs_to_it():
    one = Plan(np.random.default_rng(0), (4.0, 3.0, 2.5))
    for wall, axis, level in ((0, 1, 0.0), (1, 0, 4.0), (2, 1, 3.0), (3, 0, 0.0)):
        thing = one.at_wall(cube(), wall, 0.0, gap=0.0)
        assert thing is not None
        assert np.abs(one.box(thing)[:, axis] - level).min() < 1e-6


def test_people_have_the_size_of_people():
    random = np.random.default_rng(0)
    for _ in range(20):
        low, high = people.person(random, poses.standing(random)).bounds()
        assert abs(low[2]) < 1e-6
        assert 1.45 < high[2] < 2.4  # stretched arms included


def test_the_feet_of_who_sits_reach_the_floor():
    random = np.random.default_rng(0)
    for seat in (0.42, 0.46, 0.58):
        for _ in range(5):
            body = people.person(random, poses.sitting(random, at_table=False), Seat(0, 0, seat))
            low, high = body.bounds()
            assert -0.03 < low[2] < 0.03
            assert 1.1 < high[2] < 1.75


def test_people_appear_only_when_asked_for():
    assert not any(t.name == "person" for seed in SEEDS for t in plan(seed).things)
    assert sum(t.name == "person" for seed in SEEDS for t in plan(seed, True).things) > len(SEEDS)


@pytest.mark.parametrize(
    "mesh",
    [
        meshes.box(1.0, 2.0, 3.0),
        meshes.rounded_box(1.0, 0.5, 0.3, 0.1),
        meshes.ellipsoid(1.0, 2.0, 0.5, 0.5),
        meshes.cylinder(0.3, 1.0, 0.2),
        meshes.limb((0, 0, 0), (0, 0.3, 1), [0.1, 0.2, 0.1]),
        meshes.frame(1.0, 0.1, 0.6, 0.1),
    ],
    ids=["box", "rounded box", "ellipsoid", "cylinder", "limb", "frame"],
)
def test_normals_of_primitives_are_unit_vectors_square_to_their_faces(mesh):
    assert np.abs(np.linalg.norm(mesh.normals, axis=1) - 1).max() < 1e-6
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    flat = np.cross(b - a, c - a)
    area = np.linalg.norm(flat, axis=1)
    solid = area > 1e-9
    mean = mesh.normals[mesh.faces].mean(1)
    agreement = np.abs((flat[solid] / area[solid, None] * mean[solid]).sum(1))
    assert np.average(agreement, weights=area[solid]) > 0.93


def test_a_rounded_box_is_as_large_as_it_says():
    assert np.allclose(np.ptp(meshes.rounded_box(1.0, 0.5, 0.3, 0.1).vertices, axis=0), [1.0, 0.5, 0.3])


def test_a_rotation_turns_y_to_z_when_it_pitches_and_x_to_y_when_it_yaws():
    assert np.allclose(meshes.rotation(pitch=90) @ [0, 1, 0], [0, 0, 1])
    assert np.allclose(meshes.rotation(yaw=90) @ [1, 0, 0], [0, 1, 0])
    assert np.allclose(meshes.rotation(roll=90) @ [0, 0, 1], [1, 0, 0])


def test_every_texture_gives_a_colour():
    for texture in TEXTURES:
        rows = np.array([Material(texture, variant=3).row()], np.float32)
        for x, y, z in np.random.default_rng(0).uniform(-1, 1, (50, 3)):
            colour = np.array(albedo(rows, 0, x, y, z, 0.0, 0.0, 1.0))
            assert np.isfinite(colour).all(), texture
            assert (colour >= 0).all(), texture
            assert (colour < 2).all(), texture
