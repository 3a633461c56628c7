"""Boundary scores of folders: the forms of files, what is wrong with files, what is written of scores."""

from __future__ import annotations

import csv
import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from atrc.errors import UserError
from atrc.metrics.boundary import (
    BoundaryProtocol,
    boundary_counts,
    boundary_scores,
    draw_worst,
    evaluate_folders,
    label_boundaries,
    plot_precision_recall,
    write_bsds,
    write_image_scores,
)

BSDS, SEISM = BoundaryProtocol.named("bsds", max_dist=0.03), BoundaryProtocol.named("seism", max_dist=0.03)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Write three images of a blurred diagonal and noise, and their truths."""
    predictions, truths = tmp_path / "predictions", tmp_path / "truths"
    predictions.mkdir()
    truths.mkdir()
    for seed, stem in enumerate(("a", "b.c", "d")):
        noise = np.random.default_rng(seed).integers(0, 120, (30, 40))
        truth = np.eye(30, 40, k=seed, dtype=bool)
        strong = np.where(truth | np.roll(truth, 1, 1), 250, noise).astype(np.uint8)
        Image.fromarray(strong).save(predictions / f"{stem}.png")
        Image.fromarray(truth.astype(np.uint8) * 255).save(truths / f"{stem}.png")
    return predictions, truths


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_folders_score_as_their_images(folders: tuple[Path, Path]) -> None:
    pairs = [(read(p) / np.float32(255), read(folders[1] / p.name) > 0) for p in sorted(folders[0].iterdir())]
    for mode in ("exact", "nested"):
        rules = replace(SEISM, mode=mode)
        expected = boundary_scores(np.stack([boundary_counts(p, t, rules) for p, t in pairs]), rules)
        for workers in (1, 2):
            result = evaluate_folders(*folders, rules, workers=workers)
            assert (result.scores, result.remarks) == (expected, ())


def test_the_form_of_the_files_does_not_matter(folders: tuple[Path, Path]) -> None:
    expected = evaluate_folders(*folders, SEISM).scores
    predictions, truths = folders
    values = read(predictions / "a.png")
    Image.fromarray(values.astype(np.uint16) * 257).save(predictions / "a.png")  # 16 bits
    np.save(predictions / "d.npy", read(predictions / "d.png") / np.float32(255))
    Image.fromarray(np.repeat(read(predictions / "b.c.png")[..., None], 3, 2)).save(predictions / "b.c.PNG")
    np.save(truths / "a.npy", (read(truths / "a.png") > 0).astype(np.float32))
    Image.fromarray(read(truths / "d.png") > 0).save(truths / "d.png")  # 1 bit
    savemat(truths / "b.c.mat", {"edges": read(truths / "b.c.png")})
    for path in (predictions / "d.png", truths / "a.png", predictions / "b.c.png", truths / "b.c.png"):
        path.unlink()
    (predictions / "._a.png").write_bytes(b"what macOS leaves on other disks")
    assert evaluate_folders(*folders, SEISM).scores == expected
    savemat(predictions / "d.mat", {"d": np.load(predictions / "d.npy").astype(float)})
    (predictions / "d.npy").unlink()
    assert evaluate_folders(*folders, SEISM).scores == expected


def annotations(truths: Path, stem: str) -> np.ndarray:
    truth = read(truths / f"{stem}.png") > 0
    return np.stack([truth, np.roll(truth, 3, 1)])


def test_a_folder_of_annotators_and_a_bsds_file_score_alike(folders: tuple[Path, Path], tmp_path: Path) -> None:
    predictions, truths = folders
    maps = {path.stem: annotations(truths, path.stem) for path in truths.iterdir()}
    counts = [boundary_counts(read(predictions / f"{k}.png") / np.float32(255), maps[k], BSDS) for k in sorted(maps)]
    several, bsds = tmp_path / "several", tmp_path / "bsds"
    bsds.mkdir()
    for stem, (first, second) in maps.items():
        (several / stem).mkdir(parents=True)
        np.save(several / stem / "0.npy", first)
        Image.fromarray(second).save(several / stem / "1.png")
        cell = np.empty((1, 2), object)
        for i, one in enumerate((first, second)):
            labels = np.cumsum(one, 1)  # 0 on the left of the diagonal
            cell[0, i] = {"Boundaries": one.astype(np.uint8), "Segmentation": labels}
        savemat(bsds / f"{stem}.mat", {"groundTruth": cell})
    for folder in (several, bsds):
        np.testing.assert_array_equal(evaluate_folders(predictions, folder, BSDS).counts, counts)
    first = replace(BSDS, annotators="first")
    assert evaluate_folders(predictions, bsds, first).scores.ods_f == evaluate_folders(*folders, first).scores.ods_f
    labels = evaluate_folders(predictions, bsds, BSDS, truth="labels").pairs[0].read()[1]
    np.testing.assert_array_equal(labels[0], label_boundaries(np.cumsum(maps["a"][0], 1)))
    with pytest.raises(UserError, match="2 annotations, protocol 'seism' takes one"):
        evaluate_folders(predictions, bsds, SEISM)


def test_label_maps_are_converted_on_request(folders: tuple[Path, Path]) -> None:
    truths = folders[1]
    palette = Image.fromarray(np.tri(30, 40, dtype=np.uint8) + 1)
    palette.putpalette([0, 0, 0, 9, 9, 9, 9, 9, 9])  # indices count, not colours
    palette.save(truths / "a.png")
    Image.fromarray(np.tri(30, 40, dtype=np.uint16) * 1000).save(truths / "d.png")
    result = evaluate_folders(*folders, SEISM, truth="labels")
    # A pixel under the diagonal differs from the one to its right; below and to the right of it all is the same again.
    found = result.pairs[0].read()[1][0]
    np.testing.assert_array_equal(found, np.eye(30, 40, dtype=bool) | np.eye(30, 40, k=1, dtype=bool)[[*range(29), 28]])


def test_progress_goes_to_standard_error(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    evaluate_folders(*folders, SEISM)
    assert capsys.readouterr().err == ""
    evaluate_folders(*folders, SEISM, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "3/3" in captured.err


def spoil_size(predictions: Path, truths: Path) -> str:
    Image.new("L", (39, 30)).save(predictions / "a.png")
    return "a.png (truth: .*a.png): the prediction is 30x39, its truth 30x40 (height x width): crop or pad"


def spoil_prediction_missing(predictions: Path, truths: Path) -> str:
    (predictions / "b.c.png").unlink()
    return (
        "predictions: nothing goes with .*truths/b.c.png (of 1 such files); both folders need the same names, or skip"
    )


def spoil_truth_missing(predictions: Path, truths: Path) -> str:
    (truths / "a.png").unlink()
    return "truths: nothing goes with .*predictions/a.png (of 1 such files)"


def spoil_names_with_something_at_the_end(predictions: Path, truths: Path) -> str:
    for path in list(predictions.iterdir()):
        path.rename(path.with_name(f"{path.stem}_pred.png"))
    return (
        "nothing goes with .*truths/a.png (of 3 such files); rename a_pred.png, which is named much the same, or skip"
    )


def spoil_names_in_capitals(predictions: Path, truths: Path) -> str:
    (predictions / "d.png").rename(predictions / "D.png")
    return "nothing goes with .*truths/d.png (of 1 such files); rename D.png, which is named much the same, or skip"


def spoil_no_annotators(predictions: Path, truths: Path) -> str:
    (truths / "d.png").unlink()
    (truths / "d").mkdir()
    return "truths/d: no annotation in this folder (of 1 such folders); add .png, .npy or .mat files, or skip"


def spoil_annotations_of_two_sizes(predictions: Path, truths: Path) -> str:
    (truths / "d").mkdir()
    (truths / "d.png").rename(truths / "d" / "0.png")
    np.save(truths / "d" / "1.npy", np.zeros((30, 41), bool))
    return "1.npy: (30, 41) pixels, .*0.png (30, 40): all annotations need one size"


def spoil_all_zero(predictions: Path, truths: Path) -> str:
    for path in predictions.iterdir():
        Image.new("L", (40, 30)).save(path)
    return "3 of 3 images predict no boundary at all: check .* (first: .*a.png)"


def spoil_ones_in_eight_bits(predictions: Path, truths: Path) -> str:
    for path in predictions.iterdir():
        Image.fromarray((read(path) > 100).astype(np.uint8)).save(path)
    return "3 of 3 images hold nothing above 1/255, as if 0..1 was saved as whole numbers: multiply by 255"


def spoil_matrices(predictions: Path, truths: Path) -> str:
    (truths / "d.png").unlink()
    savemat(truths / "d.mat", {"one": np.zeros((30, 40)), "two": np.zeros((30, 40))})
    return "d.mat: holds 2 matrices (variables: one, two); save one, or BSDS's groundTruth"


def spoil_annotations_as_prediction(predictions: Path, truths: Path) -> str:
    (predictions / "d.png").unlink()
    savemat(predictions / "d.mat", {"groundTruth": {"Boundaries": np.zeros((30, 40))}})
    return "d.mat: holds 0 matrices (variables: groundTruth); save one"


def spoil_no_files(predictions: Path, truths: Path) -> str:
    for path in predictions.iterdir():
        path.unlink()
    return "predictions: no files that end in .png, .npy, .mat, .jpg or .jpeg"


def spoil_no_folder(predictions: Path, truths: Path) -> str:
    predictions.rename(predictions.with_name("elsewhere"))
    return "predictions: no such folder"


def spoil_twice(predictions: Path, truths: Path) -> str:
    np.save(predictions / "a.npy", np.zeros((30, 40), np.float32))
    return "a.npy and a.png have the same name"


def spoil_unreadable(predictions: Path, truths: Path) -> str:
    (predictions / "a.png").write_bytes(b"no image")
    return "predictions/a.png: not a readable image"


def spoil_truncated(predictions: Path, truths: Path) -> str:
    path = predictions / "a.png"
    path.write_bytes(path.read_bytes()[:200])
    return "predictions/a.png: cannot be read"


def spoil_empty(predictions: Path, truths: Path) -> str:
    (predictions / "d.png").unlink()
    (predictions / "d.npy").touch()
    return "predictions/d.npy: not a readable .npy array"


def spoil_colour(predictions: Path, truths: Path) -> str:
    Image.new("RGB", (40, 30), "red").save(predictions / "a.png")
    return "a.png: expected one channel, found 3"


def spoil_channels(predictions: Path, truths: Path) -> str:
    (predictions / "a.png").unlink()
    np.save(predictions / "a.npy", np.zeros((1, 30, 40), np.float32))
    return "a.npy: expected one channel, found 40"


def spoil_logits(predictions: Path, truths: Path) -> str:
    (predictions / "a.png").unlink()
    np.save(predictions / "a.npy", np.full((30, 40), -2.5, np.float32))
    return (
        "a.npy (truth: .*a.png): boundary probabilities lie in [0, 1], these in [-2.5, -2.5]: apply a sigmoid to logits"
    )


def spoil_bytes_as_floats(predictions: Path, truths: Path) -> str:
    np.save(predictions / "a.npy", read(predictions / "a.png").astype(np.float32))
    (predictions / "a.png").unlink()
    return "a.npy (truth: .*a.png): boundary probabilities lie in [0, 1], these in [0, 250]: divide 8-bit values by 255"


def spoil_nan(predictions: Path, truths: Path) -> str:
    (predictions / "a.png").unlink()
    np.save(predictions / "a.npy", np.full((30, 40), np.nan))
    return "a.npy (truth: .*a.png): boundary probabilities lie in [0, 1], 1200 of these are NaN or infinite"


def spoil_integers(predictions: Path, truths: Path) -> str:
    (predictions / "a.png").unlink()
    np.save(predictions / "a.npy", np.zeros((30, 40), np.int64))
    return "a.npy: int64 values; save floats"


def spoil_labels(predictions: Path, truths: Path) -> str:
    Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40)).save(truths / "a.png")
    return "truths/a.png: a truth holds 0 and one other value, this one 1200 values: .*choose truth labels"


@pytest.mark.parametrize("spoil", [value for name, value in globals().items() if name.startswith("spoil_")])
def test_what_cannot_be_used_is_named(folders: tuple[Path, Path], spoil) -> None:  # type: ignore[no-untyped-def]
    message = re.escape(spoil(*folders)).replace(r"\.\*", ".*")
    with pytest.raises(UserError, match=message):
        evaluate_folders(*folders, BSDS)


def test_what_lacks_a_prediction_or_an_annotation_is_skipped_on_request_and_counted(folders: tuple[Path, Path]) -> None:
    predictions, truths = folders
    expected = evaluate_folders(*folders, BSDS)
    for name in ("alone", "bare", "empty"):
        Image.new("L", (40, 30)).save(predictions / f"{name}.png")
    (truths / "bare").mkdir()
    savemat(truths / "empty.mat", {"groundTruth": np.empty((1, 0), object)})
    Image.new("L", (40, 30)).save(truths / "unpredicted.png")
    result = evaluate_folders(*folders, BSDS, skip_missing=True)
    assert result.scores == expected.scores
    assert result.remarks == (
        "4 images skipped that lack a prediction or an annotation: the scores are of the other 3",
    )
    for path in truths.glob("*.png"):
        path.unlink()
    with pytest.raises(UserError, match="no annotation of any image"):
        evaluate_folders(*folders, BSDS, skip_missing=True)


def test_what_can_be_scored_but_looks_wrong_is_remarked(folders: tuple[Path, Path]) -> None:
    predictions, truths = folders
    Image.fromarray(read(predictions / "a.png")).convert("RGB").save(predictions / "a.jpg")
    (predictions / "a.png").unlink()
    Image.new("L", (40, 30)).save(predictions / "b.c.png")
    Image.new("L", (40, 30)).save(truths / "b.c.png")
    Image.fromarray(255 - read(predictions / "d.png")).save(predictions / "d.png")
    remarks = evaluate_folders(*folders, SEISM).remarks
    for remark, start in zip(
        remarks, ("predict no", "score higher when inverted", "are JPEG", "have an annot"), strict=True
    ):
        assert remark.startswith(f"1 of 3 images {start}")
    assert "(first: " in remarks[0]


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_figures_are_written(folders: tuple[Path, Path], tmp_path: Path, suffix: str) -> None:
    result = evaluate_folders(*folders, SEISM)
    curves, worst = tmp_path / f"new/curves.{suffix}", tmp_path / f"worst.{suffix}"
    plot_precision_recall({"one": result.scores, "two": result.scores}, curves, human=True)
    draw_worst(result, worst, number=2)
    assert min(curves.stat().st_size, worst.stat().st_size) > 5000
    with pytest.raises(UserError, match="a.jpg: a figure is .png, .svg or .pdf"):
        plot_precision_recall({"one": result.scores}, tmp_path / "a.jpg")


def test_the_worst_images_come_first_in_the_colours_of_what_is_wrong(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    truth = np.zeros((30, 40), bool)
    truth[10, 5:35] = True
    np.save(folders[0] / "e.npy", np.roll(truth, 10, 0).astype(float))  # all false, all missed
    np.save(folders[1] / "e.npy", truth)
    draw_worst(evaluate_folders(*folders, BSDS), tmp_path / "worst.png", number=1)
    drawn = read(tmp_path / "worst.png")[..., :3].reshape(-1, 3).tolist()
    false, missed, correct = ([213, 94, 0], [0, 114, 178], [0, 158, 115])
    # The legend has as much of each; nothing else is correct.
    assert drawn.count(correct) < min(drawn.count(false), drawn.count(missed)) - 20


def test_scores_of_images_are_those_of_the_image_alone(folders: tuple[Path, Path], tmp_path: Path) -> None:
    result = evaluate_folders(*folders, BSDS)
    write_image_scores(result, tmp_path / "images.csv")
    with (tmp_path / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["a", "b.c", "d"]
    alone = boundary_scores(result.counts[1:2], BSDS)
    assert float(rows[1]["best_f"]) == pytest.approx(alone.ods_f, abs=1e-5)
    assert float(rows[1]["best_threshold"]) == pytest.approx(alone.ods_threshold, abs=1e-5)
    at = np.abs(np.array(BSDS.thresholds) - result.scores.ods_threshold).argmin()
    assert float(rows[1]["precision"]) == pytest.approx(alone.precision[at], abs=1e-5)


def test_the_bsds_files_hold_the_scores_and_the_counts(folders: tuple[Path, Path], tmp_path: Path) -> None:
    result = evaluate_folders(*folders, BSDS)
    write_bsds(result, tmp_path / "eval")
    scores = result.scores
    row = np.loadtxt(tmp_path / "eval/eval_bdry.txt")
    expected = [scores.ods_threshold, scores.ods_recall, scores.ods_precision, scores.ods_f]
    np.testing.assert_allclose(row[[0, 1, 2, 3, 6, 7]], [*expected, scores.ois_f, scores.ap], rtol=1e-5)
    thresholds = np.loadtxt(tmp_path / "eval/eval_bdry_thr.txt")
    np.testing.assert_allclose(thresholds[:, :3].T, [scores.thresholds, scores.recall, scores.precision], rtol=1e-5)
    assert np.loadtxt(tmp_path / "eval/eval_bdry_img.txt").shape == (3, 5)
    # threshold, found, true, correct, predicted
    image = np.loadtxt(tmp_path / "eval/b.c_ev1.txt")
    np.testing.assert_array_equal(image[:, 1:], result.counts[1][:, [2, 3, 0, 1]])


def test_results_record_the_protocol(folders: tuple[Path, Path]) -> None:
    recorded = asdict(evaluate_folders(*folders, replace(BSDS, filter_radius=1)).scores)["protocol"]
    assert (recorded["name"], recorded["max_dist"], recorded["filter_radius"]) == ("bsds", 0.03, 1)
