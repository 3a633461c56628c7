"""That the core needs none of the extras, and that a missing one is named."""

import sys

import pytest

from atrc.errors import UserError, needs_extra


def test_a_missing_package_is_named_with_its_extra_and_the_purpose(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with (
        pytest.raises(UserError) as error,
        needs_extra("export", "an ONNX export"),
    ):
        import onnx  # noqa: F401
    assert str(error.value) == "an ONNX export needs onnx, which is not installed; pip install 'atrc[export]'"


def test_a_package_that_is_there_but_not_whole_gives_its_reason_on_one_line():
    with (
        pytest.raises(UserError, match=r"^video needs more than is .* \(libz.so.1 is missing\); .*'atrc\[video\]'$"),
        needs_extra("video", "video"),
    ):
        raise ImportError("libz.so.1 is missing\nand more")


def test_other_mistakes_pass_through():
    with pytest.raises(ZeroDivisionError), needs_extra("video", "video"):
        _ = 1 / 0
