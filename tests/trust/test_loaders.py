"""Loader processes: what they raise is told as it is, and one that is lost ends the run with one line."""

import os
import signal

import numpy as np
import pytest
import torch
from torch.utils.data import get_worker_info

from atrc.app.evaluate import score_checkpoint
from atrc.data.nyud import NYUD
from atrc.errors import UserError, lost_loaders
from atrc.training.loop import fit
from folders import write_nyud
from runs import last, same_run, tiny


@pytest.fixture
def cut(tmp_path):
    """A data set whose depth maps are too low."""
    root = write_nyud(tmp_path / "NYUD_MT")
    for file in (root / "depth").iterdir():
        np.save(file, np.load(file)[:-3])
    return root


@pytest.mark.parametrize("workers", [0, 1])
def test_a_label_of_a_wrong_size_is_told_in_one_line_with_and_without_loader_processes(
    tmp_path, cut, nyud_folder, workers
):
    said = r"^[^\\]*: image '\d{4}' is 48x64 pixels but its depth label is 45x64; labels must have the size of their im"
    what = tiny(tmp_path / "run", cut)
    what.data.workers = workers
    with pytest.raises(UserError, match=said):
        fit(what, progress=False)
    fit(tiny(tmp_path / "good", nyud_folder, 1), progress=False)
    with pytest.raises(UserError, match=said):
        score_checkpoint(str(tmp_path / "good"), str(cut), None, "val", workers)


def test_a_run_whose_loader_process_is_killed_says_so_and_resumes_as_if_unbroken(tmp_path, nyud_folder, monkeypatch):
    read, what = NYUD.read_image, tiny(tmp_path / "run", nyud_folder)
    what.data.workers = 1
    step = torch.zeros(1).share_memory_()

    def killed(self, id):
        step.add_(1)
        if get_worker_info() and step > 12:  # as the kernel does when memory is short
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, id)

    monkeypatch.setattr(NYUD, "read_image", killed)
    said = r"^a loader process was lost \(.*\); memory may be short: give data\.workers fewer processes or 0, then cont"
    with pytest.raises(UserError, match=said):
        fit(what, progress=False)
    monkeypatch.undo()
    fit(what, resume=True, progress=False)
    fit(tiny(tmp_path / "whole", nyud_folder), progress=False)
    assert last(tmp_path / "run").step == 4
    assert same_run(tmp_path / "run", tmp_path / "whole")


def test_other_failures_pass():
    with pytest.raises(RuntimeError, match="^else$"), lost_loaders("x"):
        raise RuntimeError("else")
