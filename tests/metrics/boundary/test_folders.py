"""Boundary scores of folders, and their plot."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atrc.errors import UserError
from atrc.metrics.boundary import boundary_counts, boundary_scores, evaluate_folders, plot_precision_recall


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
        expected = boundary_scores(np.stack([boundary_counts(p, t, 0.03, mode) for p, t in pairs]))
        for workers in (1, 2):
            assert evaluate_folders(*folders, 0.03, mode, workers) == expected


def test_the_form_of_the_files_does_not_matter(folders: tuple[Path, Path]) -> None:
    expected = evaluate_folders(*folders)
    predictions, truths = folders
    values = read(predictions / "a.png")
    Image.fromarray(values.astype(np.uint16) * 257).save(predictions / "a.png")  # 16 bits
    np.save(predictions / "d.npy", read(predictions / "d.png") / np.float32(255))
    np.save(truths / "a.npy", (read(truths / "a.png") > 0).astype(np.float32))
    Image.fromarray(read(truths / "d.png") > 0).save(truths / "d.png")  # 1 bit
    (predictions / "d.png").unlink()
    (truths / "a.png").unlink()
    assert evaluate_folders(*folders) == expected


def test_progress_goes_to_standard_error(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    evaluate_folders(*folders)
    assert capsys.readouterr().err == ""
    evaluate_folders(*folders, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "3/3" in captured.err


def spoil_size(predictions: Path, truths: Path) -> str:
    Image.new("L", (39, 30)).save(predictions / "a.png")
    return "a.png (truth: .*a.png): the prediction is 30x39, its truth 30x40"


def spoil_prediction_missing(predictions: Path, truths: Path) -> str:
    (predictions / "b.c.png").unlink()
    return "predictions: nothing goes with .*truths/b.c.png (of 1 such files)"


def spoil_truth_missing(predictions: Path, truths: Path) -> str:
    (truths / "a.png").unlink()
    return "truths: nothing goes with .*predictions/a.png (of 1 such files)"


def spoil_no_files(predictions: Path, truths: Path) -> str:
    for path in predictions.iterdir():
        path.unlink()
    return "predictions: no files that end in .png or .npy"


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
    Image.new("RGB", (40, 30), (1, 2, 3)).save(predictions / "a.png")
    return "a.png: expected one channel, found 3"


def spoil_channels(predictions: Path, truths: Path) -> str:
    (predictions / "a.png").unlink()
    np.save(predictions / "a.npy", np.zeros((1, 30, 40), np.float32))
    return "a.npy: expected one channel, found 40"


def spoil_logits(predictions: Path, truths: Path) -> str:
    (predictions / "a.png").unlink()
    np.save(predictions / "a.npy", np.full((30, 40), -2.5, np.float32))
    return "a.npy (truth: .*a.png): boundary probabilities lie in [0, 1], these in [-2.5, -2.5]: apply a sigmoid"


def spoil_integers(predictions: Path, truths: Path) -> str:
    (predictions / "a.png").unlink()
    np.save(predictions / "a.npy", np.zeros((30, 40), np.int64))
    return "a.npy: int64 values; save floats"


def spoil_labels(predictions: Path, truths: Path) -> str:
    Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40)).save(truths / "a.png")
    return "truths/a.png: a truth holds 0 and one other value, this one 1200 values"


@pytest.mark.parametrize("spoil", [value for name, value in globals().items() if name.startswith("spoil_")])
def test_what_cannot_be_used_is_named(folders: tuple[Path, Path], spoil) -> None:  # type: ignore[no-untyped-def]
    message = re.escape(spoil(*folders)).replace(r"\.\*", ".*")
    with pytest.raises(UserError, match=message):
        evaluate_folders(*folders)


def test_unknown_settings_are_refused(folders: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match="max_dist"):
        evaluate_folders(*folders, max_dist=3.0)


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_plot_is_written(folders: tuple[Path, Path], tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"curve.{suffix}"
    plot_precision_recall(evaluate_folders(*folders), path)
    assert path.stat().st_size > 5000
