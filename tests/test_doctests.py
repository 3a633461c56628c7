import doctest
import importlib
from pathlib import Path

import pytest

import atrc

SOURCE = Path(atrc.__file__).parent
MODULES = [
    ".".join(["atrc", *file.relative_to(SOURCE).with_suffix("").parts]).removesuffix(".__init__")
    for file in sorted(SOURCE.rglob("*.py"))
    if ">>>" in file.read_text()
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_are_true(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0
    assert found.failed == 0


def test_examples_were_found():
    assert len(MODULES) > 20
