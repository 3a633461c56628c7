"""Numba's compiler where its results can be kept, and where they cannot."""

import importlib.util

import pytest

from atrc.jit import jit

TRIPLE = "def triple(x):\n    return 3 * x\n"


def test_what_cannot_be_kept_is_compiled_all_the_same():
    space = {}
    exec(TRIPLE, space)  # of no file, so numba finds no place to keep it
    triple = jit(space["triple"], nogil=True)
    assert triple(2) == 6
    assert triple.nopython_signatures
    assert triple.targetoptions["nogil"]


@pytest.mark.parametrize("package", ["atrc", "atrc_rooms"])
def test_a_kept_result_of_another_numba_is_compiled_again(tmp_path, package):
    (tmp_path / "kept.py").write_text(f"from {package}.jit import jit\n\n\n@jit\n{TRIPLE}")

    def load():
        spec = importlib.util.spec_from_file_location("kept", tmp_path / "kept.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.triple

    assert load()(2) == 6
    (file,) = tmp_path.rglob("*.nbc")
    file.write_bytes(b"cnumba.core.types.gone\nBoolean\n.")  # a pickle that asks for a module which is no more
    triple = load()
    assert triple(2) == 6
    assert not triple.stats.cache_hits
    again = load()
    assert (again(2), sum(again.stats.cache_hits.values())) == (6, 1)
