"""The explorer shows the predictions and the attention of the network."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from atrc.app.explorer.examples import from_folder, rooms
from atrc.app.explorer.limits import Limits, LRUCache, MissingError
from atrc.app.explorer.model import Model
from atrc.backbones import build_backbone
from atrc.errors import UserError
from atrc.network import MultiTaskNetwork
from atrc.search import supergraph
from atrc.studies.attention.inspection import Inspection
from atrc.tasks import Boundaries, Depth, HumanParts, Saliency
from explorer_network import GENOTYPE, TASKS, encoded, make_explorer, make_network, scene


@pytest.fixture(scope="module")
def network():
    return make_network()


def tensor(photo):
    return torch.from_numpy(photo.transpose(2, 0, 1).copy()).float() / 255


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content)))


def test_the_page_gets_the_coloured_predictions_of_every_task(network):
    look = make_explorer(network).look("example-1", 0)
    with torch.inference_mode():
        predictions = network(tensor(scene(101))[None]).predictions
    for task in TASKS:
        expected = task.colour(task.decode(predictions[task.name])[0].numpy())
        np.testing.assert_array_equal(pixels(look.prediction(task.name)), expected)
        assert len(np.unique(expected)) > 1
    with pytest.raises(MissingError, match="no task 'fly'; the network has semseg, depth"):
        look.prediction("fly")


def test_attention_is_that_of_an_inspection(network):
    look = make_explorer(network).look("example-0", 0)
    expected = Inspection(network, tensor(scene(100))).maps("depth", 7, 50)
    found = look.at(7, 50, "depth")
    assert (found["pixel"], found["grid"]) == ([7, 50], [12, 16])
    for source, one in expected.items():
        assert found["sources"][source]["context"] == one.context == GENOTYPE["depth", source]
        levels = np.frombuffer(base64.b64decode(found["sources"][source]["levels"]), np.uint8).reshape(12, 16)
        weights = one.pixels.numpy()
        shares = (weights - weights.min()) / (weights.max() - weights.min())
        np.testing.assert_allclose(levels / 255, shares, atol=0.5 / 255 + 1e-6)
    assert found["sources"]["normals"]["regions_of"] == "normals"  # S-label
    labelled = found["sources"]["depth"]
    assert labelled["regions_of"] == "depth"  # T-label
    names = TASKS[1].region_names
    for region in labelled["regions"]:
        assert region["share"] == pytest.approx(float(expected["depth"].regions[names.index(region["name"])]), abs=1e-4)
    shares = [region["share"] for region in labelled["regions"]]
    assert shares == sorted(shares, reverse=True)
    assert labelled["others"]["count"] == 2
    assert sum(shares) + labelled["others"]["share"] == pytest.approx(1, abs=1e-3)
    assert found["sources"]["edge"]["range"].endswith("an even share of the window")
    where = look.region("depth", labelled["regions"][0]["number"])
    assert where["grid"] == [12, 16]
    for task, number in (("depth", 8), ("depth", -1), ("fly", 0)):
        with pytest.raises(MissingError, match="no label region"):
            look.region(task, number)
    assert look.at(7, 50, "edge")["sources"]["depth"] == {"context": "none"}


def test_a_pixel_of_an_image_that_was_shrunk_is_found_on_the_small_one(network):
    photo = scene(5, (96, 128))
    small = np.asarray(Image.fromarray(photo).resize((32, 24), Image.Resampling.LANCZOS))
    look = Model("net", network, "cpu", max_side=32).look(photo)
    expected = Inspection(network, tensor(small)).maps("edge", 23, 8)["normals"].pixels.numpy()
    found = look.at(95, 35, "edge")["sources"]["normals"]
    levels = np.frombuffer(base64.b64decode(found["levels"]), np.uint8).reshape(6, 8)
    np.testing.assert_array_equal(levels > 0, expected > 0)
    assert pixels(look.prediction("semseg")).shape == (96, 128, 3)
    for place in ((96, 0), (0, 128), (-1, 0)):
        with pytest.raises(UserError, match="is not in the image of 96x128"):
            look.at(*place)


def test_values_have_names_and_units(network):
    look = make_explorer(network).look("example-0", 0)
    found = look.at(0, 0)
    assert set(found) == {"pixel", "values"}
    classes = TASKS[0].region_names
    with torch.inference_mode():
        output = network(tensor(scene(100))[None]).predictions
    assert found["values"]["semseg"] == classes[int(output["semseg"][0, :, 0, 0].argmax())]
    assert float(found["values"]["depth"].removesuffix(" m")) == pytest.approx(
        float(output["depth"][0, 0, 0, 0]), abs=0.01
    )
    assert found["values"]["edge"] == f"{100 * float(output['edge'][0, 0, 0, 0].sigmoid()):.0f} %"


def test_the_grid_is_the_genotype_and_the_classes_are_those_that_occur(network):
    found = make_explorer(network).look("example-0", 0).describe()
    assert found["contexts"] == GENOTYPE.contexts
    shares = [share for _, share in found["present"]["semseg"]]
    assert sum(shares) == pytest.approx(1, abs=1e-3)
    assert shares == sorted(shares, reverse=True)
    assert found["present"]["depth"] == []


def test_a_network_that_does_not_attend_only_predicts():
    explorer = make_explorer(make_network(None))
    assert "predictions only" in explorer.describe()["models"][0]["message"]
    look = explorer.look("example-0", 0)
    assert look.describe()["contexts"] is None
    assert "sources" not in look.at(0, 0, "depth")


def test_the_supergraph_of_a_search_shows_its_best_candidates(nyud_tasks):
    names = [task.name for task in nyud_tasks]
    network = MultiTaskNetwork(nyud_tasks, build_backbone("hrnet18"), supergraph(names)).eval()
    contexts = Model("search", network, "cpu").look(scene(0)).describe()["contexts"]
    assert {name for row in contexts.values() for name in row.values()} == {"none"}  # undecided: the first


def test_a_look_that_was_dropped_is_made_again_and_is_the_same(network):
    explorer = make_explorer(network, limits=Limits(looks=1))
    first = explorer.look("example-0", 0)
    assert explorer.look("example-0", 0) is first
    explorer.look("example-1", 0)
    again = explorer.look("example-0", 0)
    assert again is not first
    assert again.coloured == first.coloured
    assert again.at(3, 3, "semseg") == first.at(3, 3, "semseg")


def test_images_are_dropped_by_bytes_and_their_names_cannot_be_guessed(network):
    one = make_explorer(network).add(encoded(scene(0)))
    explorer = make_explorer(network, limits=Limits(images=2 * 48 * 64 * 3 + 8000))
    names = [explorer.add(encoded(scene(i)))["id"] for i in range(3)]
    assert len({*names, one["id"]}) == 4
    assert all(len(name) >= 20 for name in names)
    with pytest.raises(MissingError, match="no longer on the server"):
        explorer.image(names[0])
    assert explorer.image(names[2])["size"] == [48, 64]
    for name in ("example-7", "example--1", "example-x", "", "../x"):
        with pytest.raises(MissingError):
            explorer.image(name)


def test_the_cache_drops_the_least_recently_used_values():
    cache = LRUCache[str, int](10)
    cache.put("a", 1, 4)
    cache.put("a", 2, 6)
    cache.put("b", 3, 4)
    assert (cache.get("a"), cache.size) == (2, 10)
    cache.put("c", 4, 1)  # b was used less recently than a
    assert (cache.get("b"), cache.get("a"), cache.get("c"), cache.size) == (None, 2, 4, 7)
    cache.put("d", 5, 99)
    assert (cache.size, cache.get("d")) == (99, 5)


def test_examples_are_rooms_with_people_if_a_task_needs_them():
    assert [one.title for one in rooms(TASKS)][:2] == ["Room 1", "Room 2"]
    people = rooms([HumanParts(), Saliency()])
    assert {one.load.args[0] for one in people} == {"people"}
    assert {one.load.args[0] for one in rooms([Depth(), Boundaries()])} == {"indoor"}


def test_examples_of_a_folder_are_its_images(tmp_path):
    (tmp_path / "b.png").write_bytes(encoded(scene(1, (30, 40))))
    (tmp_path / "a.jpg").write_bytes(encoded(scene(0, (30, 400)), "JPEG"))
    (tmp_path / "notes.txt").write_text("none")
    found = from_folder(str(tmp_path), 200, 10**6)
    assert [one.title for one in found] == ["a", "b"]
    assert [one.load().shape for one in found] == [(15, 200, 3), (30, 40, 3)]
    with pytest.raises(UserError, match="no such folder"):
        from_folder(str(tmp_path / "x"), 200, 10**6)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no images"):
        from_folder(str(tmp_path / "empty"), 200, 10**6)


def test_a_network_that_diverged_is_still_shown(network):
    broken = make_network()
    for module in broken.distillation.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.constant_(module.weight, torch.nan)
    look = make_explorer(broken).look("example-0", 0)
    found = look.at(0, 0, "depth")
    assert "nan" in found["values"]["depth"]
    assert all(one["context"] == "none" or base64.b64decode(one["levels"]) for one in found["sources"].values())
