"""The networks that come with atrc."""

import pytest
import torch
from safetensors.torch import load_file

from atrc.errors import UserError
from atrc.training.loading import load, shipped_networks


def test_one_comes_with_atrc():
    assert list(shipped_networks()) == ["rooms-atrc"]


@pytest.mark.parametrize("name", shipped_networks())
def test_it_loads_by_name_and_predicts(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = load(name)
    image = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        output = network(image)
    assert {task.name for task in network.tasks} == set(output.predictions)
    for task in network.tasks:
        decoded = task.decode(output.predictions[task.name])
        assert decoded.isfinite().all()
        assert decoded.unique().numel() > 1


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
