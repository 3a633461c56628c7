"""Laws of the joint transforms for all six tasks, and of the order of images."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from atrc.data.layouts import open_dataset
from atrc.data.sample import Sample, collate, cut, map_tensors, network_input
from atrc.data.sampling import Augmented, BilevelSampler, EverySampler, Rounds, StepSampler
from atrc.data.transforms import (
    PAD,
    Chain,
    IgnoreBackgroundCrops,
    Pad,
    RandomFlip,
    RandomScaledCrop,
    collate_padded,
    training_transform,
)
from atrc.tasks import TASKS, Boundaries, Depth, HumanParts, Saliency, SemanticSegmentation, SurfaceNormals
from atrc.tasks.maps import LabelMap, resize_nearest
from folders import scene

H, W = 48, 64
CENTROIDS = ((0.6, 0.0, 0.8), (-0.6, 0.0, 0.8), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
ALL = {
    "semseg": SemanticSegmentation(num_classes=7),
    "human_parts": HumanParts(),
    "sal": Saliency(),
    "normals": SurfaceNormals(centroids=CENTROIDS),
    "edge": Boundaries(),
    "depth": Depth(),
}
each_task = pytest.mark.parametrize("task", ALL.values(), ids=ALL)


def make_sample(seed: int = 0, h: int = H, w: int = W) -> Sample:
    """Draw a scene with the labels of all tasks, each valid at random places of its own."""
    drawn = scene(seed, h, w)
    drawn |= {"human_parts": drawn["semseg"] * 3, "sal": (drawn["semseg"] == 2).astype(np.uint8)}
    drawn["normals"] = drawn["normals"].transpose(2, 0, 1).copy()
    g = torch.Generator().manual_seed(seed)
    return {
        "id": str(seed),
        "window": (0, 0, h, w),
        "image": tv_tensors.Image(torch.from_numpy(drawn["image"].transpose(2, 0, 1).copy())),
        "truth": {name: task.truth_type(torch.from_numpy(drawn[name])) for name, task in ALL.items()},
        "valid": {name: LabelMap(torch.rand(h, w, generator=g) < 0.8) for name in ALL},
    }


def positions(sample: Sample) -> Sample:
    """Return the sample with the position y * W + x in the place of its classes, known everywhere."""
    index = LabelMap(torch.arange(H * W, dtype=torch.int32).view(H, W))
    everywhere = LabelMap(torch.ones(H, W, dtype=torch.bool))
    return {**sample, "truth": sample["truth"] | {"at": index}, "valid": sample["valid"] | {"at": everywhere}}


def plain(sample: Sample) -> Sample:
    return map_tensors(sample, lambda x: x.as_subclass(Tensor))


def flip(sample: Sample) -> Sample:
    return map_tensors(sample, TF.horizontal_flip)


def equal(one: Sample, other: Sample) -> bool:
    matches = []
    for key in ("truth", "valid"):
        matches += [torch.equal(one[key][task], other[key][task]) for task in one[key]]
    return torch.equal(one["image"], other["image"]) and all(matches)


def test_every_task_is_covered():
    assert set(ALL) == set(TASKS)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 90), st.integers(4, 90), st.floats(0.4, 2.5), st.booleans())
def test_after_any_augmentation_all_belongs_to_the_pixel_that_it_came_from(seed, h, w, factor, flips):
    torch.manual_seed(seed)
    before = positions(make_sample(seed))
    after = Chain((RandomScaledCrop((h, w), (factor, factor)), Pad((h, w))))(before)
    before, after = plain(before), plain(flip(after) if flips else after)
    assert after["image"].shape == (3, h, w)
    inside = after["valid"]["at"]
    at = after["truth"]["at"][inside].long()
    for task in ALL:
        came_valid = before["valid"][task].flatten()[at]
        assert torch.equal(after["valid"][task][inside], came_valid)
        assert not after["valid"][task][~inside].any()
        truth, came = after["truth"][task][..., inside], before["truth"][task].flatten(-2)[..., at]
        if task == "depth":
            ratio = came / truth
            torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))
        elif task == "normals":
            assert torch.equal(truth, came * torch.tensor([-1.0 if flips else 1, 1, 1]).view(3, 1))
            torch.testing.assert_close(truth.norm(dim=0), torch.ones(truth.shape[1]))
        else:
            assert torch.equal(truth, came)
    assert set(after["image"][:, ~inside].unique().tolist()) <= set(PAD)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.4, 2.5), st.booleans())
def test_depth_is_divided_by_the_scale_that_was_really_taken(seed, factor, crops):
    torch.manual_seed(seed)
    size = (24, 30) if crops else (200, 200)
    before = positions(make_sample())
    after = plain(RandomScaledCrop(size, (factor, factor))(before))
    inside = after["valid"]["at"]
    at, h, w = after["truth"]["at"][inside].long(), int(inside[:, 0].sum()), int(inside[0].sum())
    if not crops:
        assert (h, w) == (int(H * factor), int(W * factor))
    scale = before["truth"]["depth"].as_subclass(Tensor).flatten()[at] / after["truth"]["depth"][inside]
    # Off by a pixel of the whole image after the resize, or by half a pixel of the window before it.
    rounding = max(
        1 / (full * factor) if int(full * factor) <= crop else 0.5 * factor / crop
        for full, crop in zip((H, W), size, strict=True)
    )
    assert float(scale.mean()) == pytest.approx(factor, rel=1.1 * rounding)
    if factor > 1:  # every source pixel of the window is seen
        window = at.div(W, rounding_mode="floor").unique().numel() * at.remainder(W).unique().numel()
        assert float(scale.mean()) == pytest.approx((h * w / window) ** 0.5, rel=1e-5)


def test_labels_lie_on_the_image_without_a_shift():
    ramp = torch.arange(W, dtype=torch.uint8) * 3
    sample = positions(make_sample())
    sample["image"] = tv_tensors.Image(ramp.expand(3, H, W).contiguous())
    shifts = []
    for _ in range(60):
        after = plain(RandomScaledCrop((40, 40), (0.5, 2.0))(sample))
        inside = after["valid"]["at"]
        off = after["image"][0][inside].float() / 3 - after["truth"]["at"][inside].remainder(W)
        assert off.abs().max() <= 0.5 + 0.5 / 3 + 1e-3  # half a pixel of the nearest, half a level of rounding
        shifts.append(float(off.mean()))
    assert abs(np.mean(shifts)) < 0.05


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 10**6))
def test_the_nearest_pixel_is_the_one_that_holds_the_centre(old, new, seed):
    values = torch.from_numpy(np.random.default_rng(seed).integers(0, 200, (2, old, 3)).astype(np.uint8))
    rows = [int((Fraction(2 * i + 1, 2) * old) // new) for i in range(new)]
    assert torch.equal(resize_nearest(values, (new, 3)), values[:, rows])
    assert torch.equal(resize_nearest(values.mT, (3, new)), values.mT[..., rows])


@each_task
def test_a_resize_keeps_a_truths_type_and_invents_no_values(task):
    truth = make_sample()["truth"][task.name]
    resized = TF.resize(truth, [37, 90])
    assert type(resized) is task.truth_type
    assert resized.dtype == truth.dtype
    known = truth.unique() if task.name != "depth" else truth.unique() / (37 * 90 / (H * W)) ** 0.5
    found = resized.unique()
    assert torch.isclose(found[:, None].double(), known[None].double(), rtol=1e-6).any(1).all()


def test_half_of_the_samples_are_flipped():
    sample = make_sample()
    flips = [equal(RandomFlip()(sample), flip(sample)) for _ in range(100)]
    assert 30 < sum(flips) < 70


def test_flipping_twice_is_the_identity_and_flips_all():
    sample = make_sample()
    flipped = flip(sample)
    assert equal(flip(flipped), sample)
    assert torch.equal(flipped["image"], sample["image"].flip(-1))
    assert all(torch.equal(flipped["valid"][task], sample["valid"][task].flip(-1)) for task in ALL)
    for task in set(ALL) - {"normals"}:
        assert torch.equal(flipped["truth"][task], sample["truth"][task].flip(-1))


def test_a_flip_negates_the_x_of_normals_and_leaves_the_original():
    truth = make_sample()["truth"]["normals"].as_subclass(Tensor)
    kept = truth.clone()
    flipped = TF.horizontal_flip(SurfaceNormals.truth_type(truth)).as_subclass(Tensor)
    assert torch.equal(flipped[0], -truth[0].flip(-1))
    assert torch.equal(flipped[1:], truth[1:].flip(-1))
    assert torch.equal(truth, kept)


@each_task
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_flip_commutes_with_label_regions_and_colours(task, seed):
    truth = make_sample(seed)["truth"][task.name]
    flipped = TF.horizontal_flip(truth).as_subclass(Tensor)
    truth = truth.as_subclass(Tensor)
    regions, mirrored = task.region_labels(truth[None])[0].long(), task.region_labels(flipped[None])[0].long()
    swap = torch.tensor([1, 0, 2, 3]) if task.name == "normals" else torch.arange(task.region_count)  # x and -x
    assert torch.equal(mirrored, swap[regions].flip(-1))
    colours, mirrored = task.colour(truth.numpy())[:, ::-1].astype(int), task.colour(flipped.numpy()).astype(int)
    if task.name == "normals":
        colours[..., 0] = 255 - colours[..., 0]
    assert abs(mirrored - colours).max() <= (task.name == "normals")  # 127.5 is rounded to even


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1))
def test_a_crop_fails_if_one_class_takes_three_quarters_of_what_is_valid_or_nothing_is_valid(seed, share):
    g = torch.Generator().manual_seed(seed)
    sample = make_sample()
    sample["truth"]["semseg"] = LabelMap((torch.rand(H, W, generator=g) < share).to(torch.uint8) * 3)
    sample["valid"]["semseg"] = LabelMap(torch.rand(H, W, generator=g) < torch.rand(2, generator=g)[0])
    labels = sample["truth"]["semseg"][sample["valid"]["semseg"]].numpy()
    taken = max(np.unique(labels, return_counts=True)[1], default=0)
    window = slice(0, H), slice(0, W)
    assert RandomScaledCrop((H, W), limited="semseg")._varied(sample, window) is bool(taken < 0.75 * len(labels))
    assert RandomScaledCrop((H, W))._varied(sample, window)


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.6])
def test_a_crop_avoids_that_one_class_fills_it(factor):
    sample = make_sample()
    labels = torch.zeros(H, W, dtype=torch.uint8)
    labels[:, 48:] = 1
    sample["truth"]["semseg"] = LabelMap(labels)
    sample["valid"]["semseg"] = LabelMap(torch.ones(H, W, dtype=torch.bool))
    shares = []
    for _ in range(60):
        cropped = RandomScaledCrop((32, 16), (factor, factor), "semseg", tries=200)(sample)["truth"]["semseg"]
        shares.append(float(torch.bincount(cropped.flatten()).max() / cropped.numel()))
    assert max(shares) < 0.75 + 0.5 / 16  # half a column more or less is drawn after the count


def test_the_window_may_lie_anywhere():
    torch.manual_seed(0)
    before = positions(make_sample())
    corners = [int(RandomScaledCrop((40, 50))(before)["truth"]["at"][0, 0]) for _ in range(600)]
    assert {corner // W for corner in corners} == set(range(9))
    assert {corner % W for corner in corners} == set(range(15))


def test_the_same_seed_gives_the_same_sample_and_leaves_the_original():
    sample, kept = make_sample(), make_sample()
    chain = training_transform((32, 40), limited="semseg")
    drawn = []
    for seed in (0, 1, 0):
        torch.manual_seed(seed)
        drawn.append(chain(sample))
    assert equal(drawn[0], drawn[2])
    assert not equal(drawn[0], drawn[1])
    assert equal(sample, kept)


def test_after_ten_failed_tries_the_eleventh_place_is_taken_untested():
    sample = make_sample()
    sample["valid"]["semseg"] = LabelMap(torch.zeros(H, W, dtype=torch.bool))
    crop = RandomScaledCrop((20, 20), limited="semseg")
    torch.manual_seed(0)
    places = [[int(torch.randint(H - 19, ())), int(torch.randint(W - 19, ()))] for _ in range(12)]
    torch.manual_seed(0)
    assert list(crop._place(sample, 20, 20)) == places[10]
    sample["valid"]["semseg"] = LabelMap(torch.ones(H, W, dtype=torch.bool))
    sample["truth"]["semseg"] = LabelMap(torch.arange(H * W).remainder(3).view(H, W))
    torch.manual_seed(0)
    assert list(crop._place(sample, 20, 20)) == places[0]


def test_padding_is_centred_is_valid_nowhere_and_is_zero_once_normalised():
    small, large, also_small = make_sample(0, 21, 30), make_sample(1, 40, 25), make_sample(2, 31, 12)
    smalls, larges = collate_padded((32, 33))([small, large, also_small])
    assert smalls["window"] == [(5, 1, 21, 30), (0, 10, 31, 12)]  # the odd pixel is on the far side
    assert larges["window"] == [(0, 4, 40, 25)]
    assert smalls["image"].shape == (2, 3, 32, 33)
    assert Pad((10, 10))(large) is large
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    for batch, samples in ((smalls, (small, also_small)), (larges, (large,))):
        for image, sample, window, valid in zip(
            network_input(batch), samples, batch["window"], batch["valid"]["depth"], strict=True
        ):
            assert torch.equal(cut(image, window), sample["image"].as_subclass(Tensor).float() / 255)
            outside = torch.ones(image.shape[1:], dtype=torch.bool)
            cut(outside, window)[:] = False
            assert outside.any()
            assert (((image - mean) / std)[:, outside] == 0).all()
            assert not valid[outside].any()
            assert torch.equal(cut(valid, window), sample["valid"]["depth"].as_subclass(Tensor))


def test_a_crop_is_flipped_and_distorted_before_it_is_padded():
    chain = training_transform((64, 80), (0.5, 0.5), limited="semseg")
    for seed in range(20):
        torch.manual_seed(seed)
        after = chain(make_sample())
        assert after["window"] == (20, 24, 24, 32)
        outside = torch.ones(64, 80, dtype=torch.bool)
        cut(outside, after["window"])[:] = False
        assert after["image"].as_subclass(Tensor)[:, outside].unique(dim=1).flatten().tolist() == list(PAD)


def test_a_crop_without_human_parts_is_ignored_for_that_task_as_in_the_released_code():
    sample = make_sample()
    parts = torch.zeros(H, W, dtype=torch.uint8)
    parts[:, :10] = 2
    sample["truth"]["human_parts"] = LabelMap(parts)
    ignore = IgnoreBackgroundCrops(("human_parts",))
    seen = set()
    for seed in range(40):
        torch.manual_seed(seed)
        crop = RandomScaledCrop((20, 20))(sample)
        after = ignore(crop)
        shown = bool(((crop["truth"]["human_parts"] > 0) & crop["valid"]["human_parts"]).any())
        assert bool(after["valid"]["human_parts"].any()) is shown
        assert torch.equal(after["valid"]["semseg"], crop["valid"]["semseg"])
        seen.add(shown)
    assert seen == {True, False}


def test_the_corner_rule_is_that_of_opencv():
    values = torch.arange(7).repeat(3, 1)
    for new in (1, 3, 7, 10, 21):
        expected = [int(i * 7 / new) for i in range(new)]
        resized = TF.resize(LabelMap(values), [3, new], InterpolationMode.NEAREST, antialias=False)
        assert resized[0].tolist() == expected
    after = RandomScaledCrop((100, 100), (1.5, 1.5), corner=True)(positions(make_sample()))
    assert (after["truth"]["at"][0] % W).tolist() == [int(i / 1.5) for i in range(96)]
    assert after["truth"]["depth"].max() == pytest.approx(make_sample()["truth"]["depth"].max() / 1.5)


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


def test_a_bilevel_search_draws_alpha_and_weights_from_different_images_pass_by_pass():
    rounds = Rounds(images=20, batch_size=4, warmup=3)
    assert rounds.steps == (1, 4)
    kinds = [rounds.at(step)[0] for step in range(13)]
    assert kinds == [False] * 3 + [True] + [False] * 4 + [True] + [False] * 4
    assert [step for step in range(13) if rounds.begins(step)] == [0, 3, 4, 8, 9]
    batches = list(BilevelSampler(rounds, 13, seed=0))
    seen = {kind: [i for k, batch in zip(kinds, batches, strict=True) if k == kind for i, _ in batch] for kind in kinds}
    assert sorted(seen[True]) == sorted([*{*seen[True]}] * 2)  # two passes
    assert sorted({*seen[False]} | {*seen[True]}) == list(range(20))
    assert not {*seen[False]} & {*seen[True]}
    assert len({seed for batch in batches for _, seed in batch}) == 13 * 4
    assert list(BilevelSampler(rounds, 13, seed=0, start=5, rank=1, world=2)) == [batch[1::2] for batch in batches[5:]]


@pytest.mark.parametrize("images", [2, 3, 6])
def test_few_images_are_divided_too(images):
    rounds = Rounds(images, batch_size=4, warmup=0)
    assert 0 < rounds.for_weights < images
    assert rounds.steps == (1, 1)
    assert all(len(batch) == 4 for batch in BilevelSampler(rounds, 4, seed=0))


def test_augmentation_depends_on_its_seed_alone_and_leaves_the_global_state(nyud_folder):
    dataset = Augmented(open_dataset(nyud_folder, "train"), (32, 32))
    state = torch.get_rng_state()
    one, other, again = dataset[0, 5], dataset[0, 6], dataset[0, 5]
    assert torch.equal(one["image"], again["image"])
    assert not torch.equal(one["image"], other["image"])
    assert torch.equal(torch.get_rng_state(), state)
    assert collate([one, other])["image"].shape == (2, 3, 32, 32)


def test_single_task_runs_see_the_same_crops_as_multi_task_ones(nyud_folder, pascal_folder):
    """Semantic labels choose the crops, though only the task's own labels are returned."""
    for folder, task in ((nyud_folder, "depth"), (pascal_folder, "edge")):
        every, alone = (Augmented(open_dataset(folder, "train", tasks), (16, 20)) for tasks in (None, [task]))
        for seed in range(12):
            one, other = every[0, seed], alone[0, seed]
            assert torch.equal(one["image"], other["image"])
            assert torch.equal(one["truth"][task], other["truth"][task])
            assert set(other["truth"]) == set(other["valid"]) == {task}


def test_what_the_released_code_does_with_labels_is_an_option(pascal_folder):
    dataset = open_dataset(pascal_folder, "train")
    found = [Augmented(dataset, (12, 12), released=released)[0, 3] for released in (False, True)]
    assert torch.equal(found[0]["image"], found[1]["image"])
    transforms = Augmented(dataset, (12, 12), released=True).transform.transforms
    assert transforms[0].corner
    assert transforms[1].tasks == ["human_parts"]
