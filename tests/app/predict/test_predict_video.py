import errno
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from atrc.app.predict.inputs import Input
from atrc.app.predict.predict import run_predict
from atrc.app.predict.predictor import decode, non_finite
from atrc.app.predict.report import Report
from atrc.app.predict.settings import Settings
from atrc.app.predict.video import Frame, Summary, chunks
from atrc.errors import UserError
from atrc.tasks.sheet import draw_sheet
from predicting import PREDICTED, RAW, files, index, noise, outputs, read

av = pytest.importorskip("av")


@pytest.fixture
def clip(tmp_path):
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for i in range(5):
            frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), 40 * i, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return tmp_path / "clip.mp4"


def test_a_video_becomes_a_video_of_sheets(model, clip, tmp_path):
    noise(tmp_path / "images/clip/000002.png", 30, 30)  # has the name of a frame
    settings = Settings(every=2, frames=True, batch=2, device="cpu")
    assert run_predict(model, [str(clip), str(tmp_path / "images")], tmp_path / "out", settings)
    with av.open(str(tmp_path / "out/videos/clip.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert container.streams.video[0].average_rate == 5
    assert len(frames) == 3
    drawn = draw_sheet(np.zeros((32, 48, 3), np.uint8), PREDICTED, decode(PREDICTED, outputs(32, 48)), "x")
    assert frames[0].shape[:2] == tuple(side + side % 2 for side in drawn.size[::-1])
    inputs = [frame[100, 100].mean() for frame in frames]  # grey levels 0, 80 and 160
    np.testing.assert_allclose(inputs, [0, 80, 160], atol=12)
    raw = {f"frames/{task}/clip/{i:06}.{RAW[task]}" for task in RAW for i in (0, 2, 4)}
    assert raw | {"videos/clip.mp4"} <= set(files(tmp_path / "out"))
    assert read(tmp_path / "out/frames/depth/clip/000002.npy").shape == (32, 48)
    assert read(tmp_path / "out/depth/clip/000002.npy").shape == (30, 30)


def write_changing(path, *sizes):
    """Write a video of MPEG parts with eight frames of each size."""
    parts = []
    for i, (width, height) in enumerate(sizes):
        part = path.with_name(f"part{i}")
        with av.open(str(part), "w", format="mpegts") as container:
            stream = container.add_stream("mpeg2video", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for j in range(8):
                grey = np.full((height, width, 3), 30 * j, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
            container.mux(stream.encode())
        parts.append(part.read_bytes())
        part.unlink()
    path.write_bytes(b"".join(parts))
    return path


def test_the_frames_of_a_video_may_change_their_size(model, tmp_path):
    video = write_changing(tmp_path / "x.mpg", (64, 48), (48, 96), (64, 48))
    with av.open(str(video)) as container:
        expected = [(frame.height, frame.width) for frame in container.decode(video=0)]
    assert {(48, 64), (96, 48)} == set(expected)
    assert run_predict(model, [str(video)], tmp_path / "out", Settings(frames=True, batch=3, device="cpu"))
    done = index(tmp_path / "out")["images"][0]
    assert (done["size"], done["note"]) == ([48, 64], f"{len(expected)} frames of 2 sizes")
    raw = sorted((tmp_path / "out/frames/depth/x").iterdir())
    assert [read(file).shape for file in raw] == expected
    with av.open(str(tmp_path / "out/videos/x.mp4")) as container:
        assert len({(frame.height, frame.width) for frame in container.decode(video=0)}) == 1


def test_consecutive_frames_of_one_size_form_batches():
    frames = [Frame(i, (h, 4), np.zeros((h, 4, 3), np.uint8)) for i, h in enumerate([4, 4, 4, 8, 4, 4])]
    assert [[frame.number for frame in chunk] for chunk in chunks(frames, 2)] == [[0, 1], [2], [3], [4, 5]]


def test_a_video_reports_the_mean_share_of_its_frames():
    summary, report = Summary(), Report()
    for shares in ({}, {"depth": 1.0}, {"depth": 0.5, "edge": 0.3}):
        summary.add((2, 3), shares)
    summary.report(Input(Path("x.mp4"), "x"), report)
    assert report.done[0]["non_finite"] == pytest.approx({"depth": 0.5, "edge": 0.1})
    report.succeed(Input(Path("y.png"), "y"), (2, 3), non_finite=non_finite({"depth": torch.zeros(1, 2, 3)}))
    assert "non_finite" not in report.done[1]


def test_a_video_that_fails_midway_does_not_stop_the_others(model, clip, tmp_path, failing_at, capsys):
    noise(tmp_path / "a.png")
    failing_at(3, ValueError("odd"))
    settings = Settings(keep="raw", batch=1, device="cpu")
    assert not run_predict(model, [str(clip), str(tmp_path / "a.png")], tmp_path / "out", settings)
    content = index(tmp_path / "out")
    assert [one["name"] for one in content["images"]] == ["a"]
    assert [one["source"] for one in content["failed"]] == [str(clip)]
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"failed: {clip}: ValueError (odd); a bug in atrc")


def test_a_full_disk_stops_the_command_in_a_video(model, clip, tmp_path, monkeypatch):
    def full(*_):
        raise av.error.OSError(errno.ENOSPC, "No space left on device", "x.mp4")

    monkeypatch.setattr("atrc.app.predict.video._encode", full)
    with pytest.raises(UserError, match="x.mp4: No space left on device; 0 files are done"):
        run_predict(model, [str(clip)], tmp_path / "out", Settings(device="cpu"))
    assert index(tmp_path / "out")["failed"][0]["source"] == str(clip)


def test_a_file_that_is_not_a_video_is_a_failure(model, tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video")
    assert not run_predict(model, [str(tmp_path)], tmp_path / "out", Settings(device="cpu"))
    for one in index(tmp_path / "out")["failed"]:
        assert one["reason"].startswith("cannot be read as a video (Invalid data")
    assert files(tmp_path / "out") == ["predictions.json"]


def test_without_pyav_the_extra_is_named(model, clip, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    noise(tmp_path / "a.jpg")
    settings = Settings(keep="raw", device="cpu")
    assert not run_predict(model, [str(clip), str(tmp_path / "a.jpg")], tmp_path / "out", settings)
    content = index(tmp_path / "out")
    assert "pip install 'atrc[video]'" in content["failed"][0]["reason"]
    assert [one["name"] for one in content["images"]] == ["a"]
