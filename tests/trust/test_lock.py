"""One process at a time in the folder of a run or a study."""

import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from atrc.errors import UserError
from atrc.training.loop import fit
from atrc.training.run.lock import lock
from runs import tiny

HOLD = "import sys; from atrc.training.run.lock import lock\n"
HOLD += "with lock(__import__('pathlib').Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"


@contextmanager
def held_by_another(folder):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_another_process_is_kept_off_a_folder_until_this_one_ends(tmp_path):
    with held_by_another(tmp_path) as process:
        said = f"works here .process {process.pid}."
        with pytest.raises(UserError, match=said), lock(tmp_path):
            pass
        with pytest.raises(UserError, match=said), lock(tmp_path):  # refused again, by the same name
            pass
    with lock(tmp_path):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())


def test_a_second_run_is_kept_off_the_folder_and_changes_nothing(tmp_path, nyud_folder):
    recipe = tiny(tmp_path / "run", nyud_folder)
    with held_by_another(recipe.folder), pytest.raises(UserError, match="another atrc works here"):
        fit(recipe, progress=False)
    assert [path.name for path in recipe.folder.iterdir()] == [".lock"]
    fit(recipe, progress=False)
    assert recipe.folder.joinpath("results.json").exists()


def test_a_folder_that_cannot_be_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to .*file.*another --out"), lock(tmp_path / "file"):
        pass
