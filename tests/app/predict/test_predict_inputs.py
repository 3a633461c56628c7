from pathlib import Path

import pytest

from atrc.app.predict.inputs import find_inputs
from atrc.errors import UserError
from predicting import noise


def names(given, out="out"):
    inputs, others = find_inputs([str(one) for one in given], Path(out))
    return [one.name for one in inputs], dict(others)


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_folders_give_all_images_and_videos_below_them_by_path(tmp_path):
    found = ("b.jpg", "a/z.PNG", "a/deep/x.webp", "clip.mp4", "notes.txt", "more.txt", ".hidden.jpg", ".git/x.jpg")
    touch(*(tmp_path / name for name in found))
    assert names([tmp_path]) == (["b", "clip", "a/z", "a/deep/x"], {".txt": 2})


def test_names_are_unique(tmp_path):
    given = [tmp_path / name for name in ("a/x.jpg", "b/x.jpg", "b/X.png", "c/x.jpg", "c/x_jpg.png")]
    touch(*given)
    assert names(given)[0] == ["x", "x_jpg", "X_png", "x_2", "x_jpg_png"]


def test_a_file_that_is_given_twice_is_predicted_once(tmp_path):
    one = noise(tmp_path / "x.jpg")
    (tmp_path / "link.jpg").symlink_to(one)
    assert names([one, tmp_path, tmp_path / "link.jpg"])[0] == ["x"]
    (tmp_path / "circle.jpg").symlink_to("circle.jpg")
    assert names([tmp_path])[0] == ["circle", "link"]


def test_patterns_that_the_shell_did_not_expand_are_expanded(tmp_path):
    touch(*(tmp_path / name for name in ("a/1.jpg", "a/2.png", "b/3.jpg")))
    assert names([tmp_path / "a/*"])[0] == ["1", "2"]
    assert names([tmp_path / "**/*.jpg"])[0] == ["1", "3"]
    touch(tmp_path / "[odd].jpg")
    assert names([tmp_path / "[odd].jpg"])[0] == ["[odd]"]
    touch(*(tmp_path / name for name in (".hidden.jpg", ".cache/4.jpg")))
    assert names([tmp_path / "**/*.jpg"])[0] == ["[odd]", "1", "3"]
    assert names([tmp_path / ".[a-z]*/*.jpg", tmp_path / ".h*.jpg"])[0] == ["4", ".hidden"]


def test_earlier_predictions_are_not_inputs_unless_they_are_named(tmp_path):
    out = tmp_path / "out"
    touch(tmp_path / "x.png", tmp_path / "deep/y.png", out / "sheets/z.png")
    assert names([tmp_path], out)[0] == ["x", "deep/y"]
    for pattern in ("**/*.png", "*"):
        assert names([tmp_path / pattern], out)[0] == ["y", "x"]
    assert names([out / "*/*.png"], out)[0] == ["z"]
    assert names([tmp_path / "*.png"], tmp_path)[0] == ["x"]
    given = sorted(tmp_path.iterdir())  # a shell expands * like this
    for inputs, folder in (([tmp_path], tmp_path), (given, out)):
        with pytest.raises(UserError, match="is the folder of the images itself; choose another one, it may be inside"):
            names(inputs, folder)
    (out / "predictions.json").touch()
    assert names(given, out) == (["y", "x"], {f"{out}/": 1})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["gone.jpg"], "gone.jpg: no such file or folder"),
        (["*.jpg"], "no such"),
        (["empty"], "no images .*1 .txt"),
        ([], "nothing given: name images, folders or videos"),
    ],
)
def test_nothing_to_predict_is_an_error(tmp_path, monkeypatch, given, message):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / "empty/notes.txt")
    with pytest.raises(UserError, match=message):
        names(given)
