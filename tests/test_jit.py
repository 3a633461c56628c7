"""Numba's compiler where its results can be kept, and where they cannot."""

from atrc.jit import jit

TRIPLE = "def triple(x):\n    return 3 * x\n"


def test_what_cannot_be_kept_is_compiled_all_the_same():
    space = {}
    exec(TRIPLE, space)  # of no file, so numba finds no place to keep it
    triple = jit(space["triple"], nogil=True)
    assert triple(2) == 6
    assert triple.nopython_signatures
    assert triple.targetoptions["nogil"]
