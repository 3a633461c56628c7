"""The public surface, and that the README is true."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import atrc
from atrc.app.cli import expand, make_parser

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_public_names_are_these():
    assert sorted(atrc.__all__) == [
        "ATRC", "BoundaryFMeasure", "Genotype", "MultiTaskNetwork", "SearchSpace", "UserError", "__version__",
        "build_backbone", "load", "local_attention", "open_dataset",
    ]  # fmt: skip
    for name in atrc.__all__:
        assert getattr(atrc, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = atrc.nothing


def test_importing_atrc_imports_no_torch():
    code = "import sys, atrc; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.S))
def test_every_python_snippet_of_the_readme_runs(code):
    exec(compile(code, "README.md", "exec"), {})


@pytest.mark.parametrize("line", re.findall(r"^    (atrc .*)$", README.replace("\\\n", ""), re.M))
def test_every_command_of_the_readme_is_understood(line):
    parser, _ = make_parser()
    assert parser.parse_args(expand(shlex.split(line)[1:])).command


@pytest.mark.parametrize("target", re.findall(r"^    make (\w+)$", README, re.M))
def test_every_make_target_of_the_readme_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", README))
def test_every_link_of_the_readme_leads_somewhere(link):
    assert (ROOT / link).exists()
