import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import tv_tensors

from atrc.data.centroids import normal_centroids, sample_normals, spherical_k_means
from atrc.data.layouts import open_dataset
from atrc.data.sample import Sample, collate, map_tensors
from atrc.data.sampling import Augmented, EverySampler, StepSampler
from atrc.data.transforms import RandomCrop, RandomFlip, RandomScale, collate_padded, pad, training_transform
from atrc.tasks.depth import DepthMap
from atrc.tasks.normals import NormalMap
from folders import scene


def make_sample(seed: int = 0, h: int = 48, w: int = 64) -> Sample:
    drawn = scene(seed, h, w)
    truth = {
        "semseg": tv_tensors.Mask(torch.from_numpy(drawn["semseg"])),
        "depth": DepthMap(torch.from_numpy(drawn["depth"])),
        "normals": NormalMap(torch.from_numpy(drawn["normals"].transpose(2, 0, 1).copy())),
        "edge": tv_tensors.Mask(torch.from_numpy(drawn["edge"])),
    }
    valid = {task: tv_tensors.Mask(torch.rand(h, w) < 0.8) for task in truth}
    image = tv_tensors.Image(torch.from_numpy(drawn["image"].transpose(2, 0, 1).copy()))
    return {"id": str(seed), "size": (h, w), "image": image, "truth": truth, "valid": valid}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.4, 2.5))
def test_labels_resize_by_nearest_neighbour_and_depth_by_the_scale(seed, factor):
    sample = make_sample(seed)
    scaled = RandomScale((factor, factor))(sample)
    assert scaled["image"].shape[-2:] == (round(48 * factor), round(64 * factor))
    assert set(scaled["truth"]["semseg"].unique().tolist()) <= set(sample["truth"]["semseg"].unique().tolist())
    assert {v.dtype for v in scaled["valid"].values()} == {torch.bool}
    h, w = scaled["image"].shape[-2:]
    true_factor = (h * w / (48 * 64)) ** 0.5
    allowed = sample["truth"]["depth"].unique() / true_factor
    assert torch.isclose(scaled["truth"]["depth"].unique()[:, None], allowed[None]).any(1).all()
    lengths = scaled["truth"]["normals"].norm(dim=0)
    torch.testing.assert_close(lengths.as_subclass(torch.Tensor), torch.ones(h, w))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(8, 90), st.integers(8, 90))
def test_a_crop_keeps_everything_aligned_and_padding_is_valid_nowhere(seed, h, w):
    torch.manual_seed(seed)
    sample = make_sample(seed)
    index = torch.arange(48 * 64).view(48, 64)
    sample["truth"]["semseg"] = tv_tensors.Mask(index)
    sample["valid"]["semseg"] = tv_tensors.Mask(torch.ones(48, 64, dtype=torch.bool))
    cropped = RandomCrop((h, w))(sample)
    assert cropped["image"].shape == (3, h, w)
    cropped = map_tensors(cropped, lambda x: x.as_subclass(torch.Tensor))
    valid = cropped["valid"]["semseg"]
    assert valid.sum() == min(h, 48) * min(w, 64)
    chosen = cropped["truth"]["semseg"][valid]
    depth = sample["truth"]["depth"].as_subclass(torch.Tensor).flatten()[chosen]
    torch.testing.assert_close(cropped["truth"]["depth"][valid], depth)
    colours = sample["image"].as_subclass(torch.Tensor).flatten(1)[:, chosen]
    assert torch.equal(cropped["image"][:, valid], colours)


def test_a_crop_avoids_that_one_class_fills_it():
    sample = make_sample()
    labels = torch.zeros(48, 64, dtype=torch.uint8)
    labels[:, 48:] = 1
    sample["truth"]["semseg"] = tv_tensors.Mask(labels)
    sample["valid"]["semseg"] = tv_tensors.Mask(torch.ones(48, 64, dtype=torch.bool))
    shares = []
    for _ in range(60):
        cropped = RandomCrop((48, 24), "semseg", tries=200)(sample)["truth"]["semseg"]
        shares.append(float(torch.bincount(cropped.flatten()).max() / cropped.numel()))
    assert max(shares) <= 0.75


def test_flipping_flips_all_and_negates_the_x_of_normals():
    sample = make_sample()
    torch.manual_seed(0)
    flipped = next(f for f in (RandomFlip()(sample) for _ in range(20)) if f is not sample)
    assert torch.equal(flipped["image"], sample["image"].flip(-1))
    assert torch.equal(flipped["valid"]["depth"], sample["valid"]["depth"].flip(-1))
    expected = sample["truth"]["normals"].flip(-1) * torch.tensor([-1.0, 1, 1]).view(3, 1, 1)
    assert torch.equal(flipped["truth"]["normals"], expected)


def test_the_photometric_distortion_touches_the_image_alone():
    sample = make_sample()
    chain = training_transform((48, 64), (1.0, 1.0))
    changed = 0
    for seed in range(6):
        torch.manual_seed(seed)
        result = chain(sample)
        labels = result["truth"]["semseg"]
        assert torch.equal(labels, sample["truth"]["semseg"]) or torch.equal(labels, sample["truth"]["semseg"].flip(-1))
        changed += not torch.equal(result["image"], sample["image"])
    assert changed >= 4


def test_evaluation_pads_at_the_right_and_the_bottom():
    small, large = make_sample(0, 20, 30), make_sample(1, 40, 25)
    batch = collate_padded((32, 32))([small, large])
    assert batch["image"].shape == (2, 3, 40, 32)
    assert torch.equal(batch["image"][0, :, :20, :30], small["image"])
    assert not batch["valid"]["depth"][0, 20:].any()
    assert batch["size"] == [(20, 30), (40, 25)]
    assert pad(large, (10, 10)) is large


def test_every_step_is_a_function_of_the_seed_and_the_step():
    whole = list(StepSampler(10, 4, 12, seed=3))
    resumed = list(StepSampler(10, 4, 12, seed=3, start=7))
    assert resumed == whole[7:]
    assert list(StepSampler(10, 4, 12, seed=4)) != whole


def test_every_pass_shows_every_image_once_in_a_new_order():
    draws = [image for batch in StepSampler(10, 5, 6, seed=0) for image, _ in batch]
    passes = [draws[i : i + 10] for i in range(0, 30, 10)]
    assert all(sorted(p) == list(range(10)) for p in passes)
    assert passes[0] != passes[1]


def test_processes_share_out_the_same_global_batches():
    whole = list(StepSampler(10, 4, 5, seed=1))
    ranks = [list(StepSampler(10, 4, 5, seed=1, rank=rank, world=2)) for rank in range(2)]
    for batch, *shares in zip(whole, *ranks, strict=True):
        assert sorted(batch) == sorted(shares[0] + shares[1])
    assert sorted([*EverySampler(7, 0, 2), *EverySampler(7, 1, 2)]) == list(range(7))


def test_augmentation_depends_on_its_seed_alone_and_leaves_the_global_state(nyud_folder):
    dataset = Augmented(open_dataset(nyud_folder, "train"), training_transform((32, 32)))
    state = torch.get_rng_state()
    one, other, again = dataset[0, 5], dataset[0, 6], dataset[0, 5]
    assert torch.equal(one["image"], again["image"])
    assert not torch.equal(one["image"], other["image"])
    assert torch.equal(torch.get_rng_state(), state)
    assert collate([one, other])["image"].shape == (2, 3, 32, 32)


def test_k_means_finds_clusters_on_the_sphere():
    rng = np.random.default_rng(0)
    centres = np.eye(3)
    points = np.repeat(centres, 50, 0) + rng.normal(0, 0.05, (150, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    found = spherical_k_means(points, 3, seed=0)
    assert np.allclose(np.linalg.norm(found, axis=1), 1)
    assert np.sort((found @ centres.T).max(0)).min() > 0.99


def test_centroids_are_computed_once_and_again_when_the_data_changes(tmp_path):
    from folders import write_nyud

    root = write_nyud(tmp_path / "NYUD_MT")
    dataset = open_dataset(root, "train")
    first = normal_centroids(dataset, 3)
    cache = root / "normal_centroids.json"
    stamp = cache.stat().st_mtime_ns
    assert np.array_equal(normal_centroids(dataset, 3), first)
    assert cache.stat().st_mtime_ns == stamp
    dataset.ids.pop()
    normal_centroids(dataset, 3)
    assert cache.stat().st_mtime_ns != stamp
    nearest = (sample_normals(dataset, 0) @ first.T).max(1)
    assert nearest.mean() == pytest.approx(1, abs=0.05)
