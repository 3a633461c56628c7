"""Losses of a recipe: class weights and label smoothing."""

import json

import pytest
import torch
import torch.nn.functional as F

from atrc.data.frequencies import median_frequency
from atrc.data.layouts import open_dataset
from atrc.data.nyud import NYUD
from atrc.errors import UserError
from atrc.tasks import Depth, HumanParts, SemanticSegmentation
from atrc.training.loop import fit
from atrc.training.losses import configure_losses
from atrc.training.recipe import LossConfig
from runs import last, same, tiny


def test_class_weights_and_label_smoothing_are_those_of_pytorch():
    torch.manual_seed(0)
    logits, truth = torch.randn(2, 3, 4, 5), torch.randint(3, (2, 4, 5))
    valid = torch.rand(2, 4, 5) > 0.3
    task = SemanticSegmentation(num_classes=3, class_weights=(0.5, 2.0, 0.0), label_smoothing=0.1)
    for smoothing in (0.1, 0.0):
        task = SemanticSegmentation(num_classes=3, class_weights=(0.5, 2.0, 0.0), label_smoothing=smoothing)
        losses = F.cross_entropy(
            logits, truth, torch.tensor([0.5, 2.0, 0.0]), reduction="none", label_smoothing=smoothing
        )
        torch.testing.assert_close(task.loss(logits, truth, valid), losses[valid].mean())
    changed = torch.where(valid, truth, 2 - truth)
    assert task.loss(logits, changed, valid) == task.loss(logits, truth, valid)
    plain = F.cross_entropy(logits, truth, torch.tensor([0.5, 2.0, 0.0]), reduction="none")[valid].mean()
    torch.testing.assert_close(task.auxiliary_loss(logits, truth, valid), plain)  # weighted, not smoothed


class Labels(NYUD):
    """Two images: class 0 in both, class 1 in the first only, class 2 nowhere; two pixels are not valid."""

    def __init__(self):
        self.ids = ["a", "b"]

    def read_label(self, task, id):
        truth = torch.tensor([[0, 0, 0, 1]] if id == "a" else [[0, 0, 1, 1]]).numpy()
        return truth, (truth == 0) | (id == "a")


def test_the_median_frequency_counts_the_images_that_have_a_class():
    # Class 0 has 5 of 6 valid pixels, class 1 has 1 of 4; the median of both frequencies is 13 / 24.
    weights = median_frequency(Labels(), SemanticSegmentation(num_classes=3))
    assert weights.tolist() == pytest.approx([13 / 24 / (5 / 6), 13 / 24 / (1 / 4), 1.0])


def test_a_recipe_sets_losses_by_task_and_the_run_keeps_the_numbers(tmp_path, nyud_folder):
    loss = LossConfig({"semseg": "median_frequency"}, {"semseg": 0.1})
    fit(tiny(tmp_path / "run", nyud_folder, 1, loss=loss, validate_every=0), progress=False)
    (saved,) = [task for task in last(tmp_path / "run").read_tasks() if task.name == "semseg"]
    expected = median_frequency(open_dataset(nyud_folder, "train"), SemanticSegmentation())
    assert saved.class_weights == pytest.approx(tuple(expected), abs=1e-6)
    assert saved.label_smoothing == 0.1
    (tmp_path / "run/results.json").unlink()
    fit(tiny(tmp_path / "run", nyud_folder, 1, loss=loss, validate_every=0), resume=True, progress=False)
    fit(tiny(tmp_path / "plain", nyud_folder, 1, validate_every=0), progress=False)
    assert not same(last(tmp_path / "run").network, last(tmp_path / "plain").network)


def test_losses_that_are_not_possible_are_named(nyud_folder):
    tasks, dataset = (SemanticSegmentation(num_classes=3), Depth()), open_dataset(nyud_folder, "train")
    for config, said in [
        (LossConfig({"depth": [1.0]}), "loss.class_weights names depth, which has no classes here; choose from semseg"),
        (LossConfig({}, {"smseg": 0.1}), "loss.label_smoothing names smseg, .*; choose from semseg"),
        (
            LossConfig({"semseg": [1.0]}),
            "semseg: class_weights has 1 numbers for 3 classes; give one for each, or median",
        ),
        (LossConfig({"semseg": [1.0, -1.0, 1.0]}), "semseg: class_weights holds -1.0; give numbers of 0 or more"),
        (LossConfig({}, {"semseg": 1.0}), "semseg: label_smoothing is 1.0; give 0 or more, but less than 1"),
    ]:
        with pytest.raises(UserError, match=said):
            configure_losses(tasks, config, dataset)
    with pytest.raises(UserError, match="no task here has classes"):
        configure_losses(tasks[1:], LossConfig({}, {"semseg": 0.1}), dataset)


def test_weights_survive_json():
    from atrc.tasks import tasks_from_dicts, tasks_to_dicts

    task = HumanParts(class_weights=(1.0,) * 6 + (2.0,), label_smoothing=0.1)
    assert tasks_from_dicts(json.loads(json.dumps(tasks_to_dicts([task])))) == (task,)
