"""One training step: gradient accumulation."""

import pytest
import torch
from lightning.fabric import Fabric

from atrc.network import NetworkConfig, build_network
from atrc.tasks import Depth, SemanticSegmentation
from atrc.training.nonfinite import Guard
from atrc.training.phases.train import TrainPhase
from atrc.training.recipe import OptimConfig, Recipe
from atrc.training.run.folder import RunFolder
from atrc.training.step import Stepper

TASKS = SemanticSegmentation(num_classes=4), Depth()


def batch(seed):
    g = torch.Generator().manual_seed(seed)
    valid = torch.rand(4, 32, 48, generator=g) < torch.tensor([0.9, 0.1, 0.5, 0.0])[:, None, None]  # of each image
    return {
        "id": list("abcd"),
        "window": [(0, 0, 32, 48)] * 4,
        "image": torch.randint(256, (4, 3, 32, 48), generator=g, dtype=torch.uint8),
        "truth": {
            "semseg": torch.randint(4, (4, 32, 48), generator=g),
            "depth": torch.rand(4, 32, 48, generator=g, dtype=torch.float64) * 5 + 1,
        },
        "valid": {"semseg": valid, "depth": valid.flip(0)},
    }


def take(tmp_path, parts, *, train):
    torch.manual_seed(0)
    network = build_network(
        NetworkConfig("timm:test_efficientnet", distillation="atrc", genotype="s_label", dropout=0.0), TASKS
    )
    fabric = Fabric(accelerator="cpu", devices=1, precision="64-true")
    phase = TrainPhase(network, Recipe(optim=OptimConfig(steps=3, accumulate=parts, clip=1.0)))
    wrapped, optimizer = fabric.setup(network, phase.optimizer)
    network.train(train)
    stepper = Stepper(fabric, phase, wrapped, optimizer, Guard(fabric, RunFolder(tmp_path), lambda step: None), None)
    losses = [stepper.take(step, batch(step)) for step in range(2)]
    return network.state_dict(), losses


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_parts_equal_the_whole_batch_however_unevenly_its_pixels_are_valid(tmp_path, parts):
    (whole, losses), (summed, others) = (take(tmp_path, count, train=False) for count in (1, parts))
    # Norms in evaluation mode see no batch. Losses are in single precision, outside of Fabric's forward pass.
    torch.testing.assert_close(others, losses, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(summed, whole, rtol=1e-5, atol=1e-6)


def test_batch_norms_see_a_part_at_a_time(tmp_path):
    (whole, _), (summed, _) = (take(tmp_path, count, train=True) for count in (1, 2))
    key = next(key for key in whole if key.endswith("num_batches_tracked"))
    assert (int(whole[key]), int(summed[key])) == (2, 4)
