"""Evaluation: mixed sizes, predictions that are no numbers, and what is written down."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from atrc.data.layouts import open_dataset
from atrc.errors import UserError
from atrc.network import Output
from atrc.network.inference import WHOLE, Inference
from atrc.tasks import Boundaries, Depth, Saliency, SemanticSegmentation, SurfaceNormals
from atrc.training.evaluation.evaluate import (
    Meter,
    Result,
    constant_results,
    evaluate,
    evaluation_loader,
    read_measurement,
    read_results,
    results_to_dict,
    warnings_about,
)
from atrc.training.evaluation.protocol import checkpoint_rule, describe_protocol, protocol_differences
from folders import scene, write_nyud

TASKS = (SemanticSegmentation(num_classes=3), Saliency(), SurfaceNormals(), Boundaries(max_dist=0.05), Depth())
each_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


class Blur(nn.Module):
    """Predictions that depend on the whole padded image, as those of global context do."""

    def __init__(self, tasks):
        super().__init__()
        self.tasks = tasks
        g = torch.Generator().manual_seed(0)
        self.mix = {task.name: torch.randn(task.channels, 3, 1, 1, generator=g) * 4 for task in tasks}

    def forward(self, image):
        image = image + image.mean((2, 3), keepdim=True)
        predictions = {name: nn.functional.conv2d(image - 1, mix) for name, mix in self.mix.items()}
        return Output(predictions, auxiliary={}, features={}, initial={})


@pytest.fixture
def mixed(tmp_path):
    """A data set whose images have three sizes, some larger than the crop."""
    root = write_nyud(tmp_path / "NYUD_MT", train=1, val=7)
    for i, (h, w) in enumerate([(48, 64), (64, 48), (30, 40), (48, 64), (30, 40), (64, 48), (33, 70)], 1):
        drawn, id = scene(i, h, w), f"{i:04d}"
        Image.fromarray(drawn["image"]).save(root / "images" / f"{id}.jpg")
        Image.fromarray(drawn["semseg"] + 1).save(root / "segmentation" / f"{id}.png")
        for task in ("depth", "normals", "edge"):
            np.save(root / task / f"{id}.npy", drawn[task])
    return open_dataset(root, "val")


def test_what_is_predicted_does_not_depend_on_the_batch(mixed):
    network, scores = Blur(mixed.tasks), []
    for batch_size in (1, 4, 7):
        loader = evaluation_loader(mixed, (40, 50), batch_size, 0)
        results = evaluate(network, mixed.tasks, loader, progress=False)
        scores.append({task: result.value for task, result in results.items()})
    assert scores[1] == pytest.approx(scores[0], rel=1e-6)
    assert scores[2] == pytest.approx(scores[0], rel=1e-6)


def test_windows_and_flips_are_evaluated_and_recorded(mixed):
    network, inference = Blur(mixed.tasks), Inference((40, 50), flip=True)
    loader = evaluation_loader(mixed, (40, 50), 4, 0)
    plain = evaluate(network, mixed.tasks, loader, progress=False)
    found = evaluate(network, mixed.tasks, loader, progress=False, inference=inference)
    assert all(abs(found[task].value - plain[task].value) > 0 for task in ("depth", "normals"))
    ours, theirs = (describe_protocol(mixed, mixed.tasks, (40, 50), "last", one) for one in (inference, WHOLE))
    assert protocol_differences(ours, theirs, []) == [
        "window is not recorded there and [40, 50] here",
        "tta is not recorded there and 'flip' here",
    ]


def test_images_are_padded_to_the_crop_and_no_further(mixed):
    (batches,) = evaluation_loader(mixed, (40, 50), 7, 0)
    sizes = {tuple(batch["image"].shape[-2:]): sorted(window[2:] for window in batch["window"]) for batch in batches}
    assert sizes == {
        (48, 64): [(48, 64), (48, 64)],
        (64, 50): [(64, 48), (64, 48)],
        (40, 50): [(30, 40), (30, 40)],
        (40, 70): [(33, 70)],
    }
    assert sorted(id for batch in batches for id in batch["id"]) == mixed.ids


def test_evaluation_leaves_the_network_in_the_mode_that_it_was_in(mixed):
    network = Blur(mixed.tasks)
    for training in (True, False):
        network.train(training)
        evaluate(network, mixed.tasks, evaluation_loader(mixed, (40, 50), 4, 0), progress=False)
        assert network.training is training


def example(task):
    """Return logits, truth and a mask, of which one pixel in eight will have no finite prediction."""
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(2, task.channels, 24, 32, generator=g)
    truth = torch.rand(2, 24, 32, generator=g)
    if isinstance(task, SurfaceNormals):
        truth = nn.functional.normalize(torch.randn(2, 3, 24, 32, generator=g), dim=1)
    elif not isinstance(task, Depth):
        truth = (truth * task.region_count).to(torch.uint8)
    return logits, truth, torch.rand(2, 24, 32, generator=g) < 0.7


@each_task
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_pixels_without_a_finite_prediction_are_counted_and_not_scored(task, number):
    logits, truth, valid = example(task)
    broken, meters = logits.clone(), [Meter(task, fast=False) for _ in range(2)]
    broken[:, -1, :, ::8] = number  # one channel is enough
    rest = valid.clone()
    rest[..., ::8] = False
    meters[0].update(broken, truth, valid)
    meters[1].update(logits, truth, rest)
    result, expected = (meter.result() for meter in meters)
    assert result.value == expected.value
    assert math.isfinite(result.value)
    assert result.non_finite == pytest.approx(float((valid & ~rest).sum() / valid.sum()))
    assert expected.non_finite == 0
    (warning,) = warnings_about({task.name: result})
    assert warning.startswith(
        f"{task.name}: {100 * result.non_finite:.3g} % of the valid pixels have no finite prediction"
    )


@each_task
def test_a_prediction_without_any_finite_number_has_no_score(task):
    logits, truth, valid = example(task)
    meter = Meter(task, fast=False)
    meter.update(logits * math.nan, truth, valid)
    assert math.isnan(meter.result().value)
    assert meter.result().non_finite == 1


@each_task
def test_labels_that_are_valid_nowhere_have_no_score(task):
    logits, truth, valid = example(task)
    meter = Meter(task, fast=False)
    meter.update(logits, truth, torch.zeros_like(valid))
    result = meter.result()
    assert math.isnan(result.value)
    assert result.non_finite == 0
    assert "no valid pixel in this split" in warnings_about({task.name: result})[0]


class Broken(Blur):
    def forward(self, image):
        output = super().forward(image)
        output.predictions["depth"][..., :10] = math.nan
        return output


def test_an_evaluation_says_aloud_that_predictions_are_not_finite(mixed, capsys):
    loader = evaluation_loader(mixed, (40, 50), 4, 0)
    results = evaluate(Broken(mixed.tasks), mixed.tasks, loader, progress=False)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("warning: depth: ")
    assert 0.1 < results["depth"].non_finite < 0.4
    evaluate(Blur(mixed.tasks), mixed.tasks, loader, progress=False)
    assert capsys.readouterr().err == ""


def test_the_best_constants_of_images_of_several_sizes_are_scored(mixed):
    results = constant_results(mixed.tasks, evaluation_loader(mixed, (40, 50), 4, 0))
    depths = np.concatenate([mixed.read_label(Depth(), id)[0].ravel() for id in mixed.ids])
    assert results["depth"].value == pytest.approx(depths.std(), rel=1e-5)


def test_results_survive_json_also_without_a_value(tmp_path):
    results = {
        "depth": Result("RMSE", 0.5, "m", False, 0.25),
        "sal": Result("maxF", math.nan, "%", True, 0.0),
    }
    content = {"results": results_to_dict(results), "protocol": {"split": "val"}}
    (tmp_path / "results.json").write_text(json.dumps(content, allow_nan=False))
    read, protocol = read_measurement(tmp_path)
    assert read["depth"] == results["depth"]
    assert math.isnan(read["sal"].value)
    assert protocol == {"split": "val"}
    assert read_results(tmp_path / "results.json")["depth"] == results["depth"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"results": {"depth": {"value": 1}}}', '{"results": {"depth": 3}}'])
def test_a_file_that_holds_no_results_is_named(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(UserError, match=r"results\.json: not the results\.json of a run"):
        read_measurement(tmp_path)


def test_the_protocol_names_all_that_a_result_depends_on(nyud_folder):
    dataset = open_dataset(nyud_folder, "val", ["depth", "edge"])
    protocol = describe_protocol(dataset, dataset.tasks, (32, 40), checkpoint_rule(3, 4))
    assert json.loads(json.dumps(protocol)) == protocol
    assert protocol == {
        "layout": dataset.layout,
        "split": "val",
        "images": 3,
        "image": [48, 64],
        "crop": [32, 40],
        "padding": "whole images, centred in the crop, with zeros around them after normalisation",
        "window": None,
        "tta": None,
        "checkpoint": "step 3 of 4",
        "tasks": {"depth": "RMSE()", "edge": "odsF(max_dist=0.011, mode=exact, per_image=False, eight_bits=True)"},
    }


def test_every_key_that_differs_is_named_with_both_values():
    ours = {"split": "val", "crop": [1, 2], "tasks": {"edge": "odsF(max_dist=0.011)", "depth": "RMSE()"}}
    theirs = {"split": "train", "crop": [1, 2], "checkpoint": "last", "tasks": {"edge": "odsF(max_dist=0.0075)"}}
    assert protocol_differences(ours, ours, ["edge", "depth"]) == []
    assert protocol_differences(ours, theirs, ["edge"]) == [
        "split is 'train' there and 'val' here",
        "metric of edge is 'odsF(max_dist=0.0075)' there and 'odsF(max_dist=0.011)' here",
        "checkpoint is 'last' there and not recorded here",
    ]
    assert protocol_differences(ours, theirs | {"split": "val", "checkpoint": None}, []) == []
    assert protocol_differences(ours, None, []) == ["no protocol is recorded there"]


def test_a_result_has_the_iou_of_every_class_and_the_confusion_matrix():
    meter = Meter(SemanticSegmentation(num_classes=3, class_names=("floor", "wall", "door")), fast=False)
    truth, predicted = torch.tensor([[[0, 0, 0, 1]]]), torch.tensor([[[0, 0, 1, 1]]])
    meter.update(torch.nn.functional.one_hot(predicted, 3).permute(0, 3, 1, 2).float(), truth, torch.ones(1, 1, 4) > 0)
    result = meter.result()
    assert result.confusion == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert result.classes == {"floor": pytest.approx(200 / 3), "wall": 50.0, "door": None}
    assert result.value == pytest.approx((200 / 3 + 50) / 2)
