"""The networks that come with atrc."""

import pytest
import torch
from safetensors.torch import load_file

from atrc.errors import UserError
from atrc.training.loading import load, shipped_networks


def test_one_comes_with_atrc():
    assert list(shipped_networks()) == ["rooms-atrc"]


# Mean and deviation of the predictions below, of the version that saved the network.
AS_SAVED = {
    "semseg": (0.001855, 1.442732),
    "depth": (2.309271, 0.532347),
    "normals": (7.212604, 14.564946),
    "edge": (-0.610530, 0.437818),
}


def test_it_loads_by_name_and_predicts_as_when_it_was_saved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        predictions = load("rooms-atrc")(image).predictions
    found = {name: (output.mean().item(), output.std().item()) for name, output in predictions.items()}
    assert {name: pytest.approx(numbers, rel=1e-3, abs=1e-5) for name, numbers in AS_SAVED.items()} == found


@pytest.mark.parametrize("name", shipped_networks())
def test_its_weights_are_half_precision_and_at_most_ten_megabytes(name):
    path = shipped_networks()[name] / "model.safetensors"
    assert path.stat().st_size <= 10 * 2**20
    assert {x.dtype for x in load_file(path).values() if x.is_floating_point()} == {torch.float16}


@pytest.mark.parametrize("name", shipped_networks())
def test_its_card_shows_its_genotype(name):
    card = (shipped_networks()[name] / "README.md").read_text()
    for target, row in load(name).genotype.contexts.items():
        assert f"| {target} | {' | '.join(row.values())} |" in card


def test_a_folder_of_that_name_goes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rooms-atrc").mkdir()
    with pytest.raises(UserError, match="rooms-atrc: neither a run"):
        load("rooms-atrc")


def test_a_name_that_is_not_known_names_those_that_are():
    with pytest.raises(UserError, match="atrc comes with rooms-atrc"):
        load("rooms-atcr")
