"""That the documentation is complete, and true where it shows commands and code."""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from atrc.app.cli import COMMANDS, expand, make_parser, with_dashes
from atrc.contexts import CONTEXTS, get_context
from chromium import browsing, find_chromium

CHROMIUM = find_chromium()
ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = {page.relative_to(DOCS).as_posix(): page.read_text(encoding="utf-8") for page in sorted(DOCS.rglob("*.md"))}
OURS = [page for page in PAGES if page in ("index.md", "method.md") or page.startswith("tutorials/")]
FENCE = re.compile(r"^(`{3,})([^\n]*)\n(.*?)^\1 *$", re.M | re.S)


class Loader(yaml.SafeLoader):
    """Reads mkdocs.yml, whatever tags its plugins may need."""


Loader.add_multi_constructor("!", lambda *_: None)
SITE = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)


def commands(text):
    """Return the commands of a page: lines of its blocks that start with atrc."""
    blocks = [block[3] for block in FENCE.finditer(text) if block[2].strip() in ("", "sh", "bash", "console")]
    blocks += re.findall(r"(?:^    .*\n?)+", FENCE.sub("", text), re.M)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    found = [line.strip().removeprefix("$ ") for line in lines]
    return [line for line in found if re.match(r"atrc [a-z]", line)]


def load(path):
    """Import a file by its path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def leaves(nav):
    for entry in nav:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            yield from leaves(value) if isinstance(value, list) else [value]


def anchor(heading):
    """Return the anchor of a heading, as Python-Markdown makes it."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


def anchors(page):
    text = (
        load(DOCS / "hooks/reference.py").on_page_markdown(PAGES[page])
        if "<!-- commands" in PAGES[page]
        else PAGES[page]
    )
    return {anchor(heading) for heading in re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.M)}


def test_the_navigation_lists_every_page_once():
    assert sorted(leaves(SITE["nav"])) == sorted(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", PAGES[page])):
        if "://" in target:
            continue
        name, _, place = target.partition("#")
        path = (DOCS / page).parent / name if name else DOCS / page
        assert path.exists(), target
        if place and path.suffix == ".md" and not place.startswith("atrc."):
            assert place in anchors(path.resolve().relative_to(DOCS).as_posix()), target


@pytest.mark.parametrize(("page", "line"), [(page, line) for page, text in PAGES.items() for line in commands(text)])
def test_every_command_of_a_page_is_understood(page, line):
    parser, _ = make_parser()
    assert parser.parse_args(expand(shlex.split(line, comments=True)[1:])).command


@pytest.mark.parametrize("page", OURS)
def test_every_python_snippet_of_a_tutorial_runs(page):
    for code in re.findall(r"```python\n(.*?)```", PAGES[page], re.S):
        exec(compile(code, page, "exec"), {})


@pytest.mark.parametrize(("page", "study"), [("tutorials/nyud.md", "table1"), ("tutorials/pascal.md", "table4")])
def test_the_papers_numbers_in_a_tutorial_are_those_of_its_study(page, study):
    rows = yaml.safe_load((ROOT / f"recipes/study/{study}.yaml").read_text(encoding="utf-8"))["rows"]
    papers = {row["name"]: row["paper"] for row in rows}
    shown = re.findall(r"^\| ([A-Z][^|]+?) \|((?: [-+\d.]+ \|)+)$", PAGES[page], re.M)
    assert len(shown) >= 3
    for name, cells in shown:
        expected = {key: value for key, value in papers[name].items() if key not in ("parameters", "multiply_adds")}
        assert [float(cell) for cell in cells.strip(" |").split("|")] == list(expected.values()), name


def test_the_figures_have_the_colours_of_the_contexts():
    for name in ("contexts", "block", "mixture", "course"):
        text = (DOCS / f"assets/method/{name}.svg").read_text(encoding="utf-8")
        missing = {context for context in CONTEXTS if get_context(context).colour not in text}
        assert missing == ({"none"} if name == "block" else set()), name


def test_the_command_reference_has_every_command_and_every_option():
    page = load(DOCS / "hooks/reference.py").commands()
    parsers = make_parser()[1]
    assert re.findall(r"^## atrc (.*)$", page, re.M) == list(COMMANDS)
    for name, parser in parsers.items():
        section = page.split(f"## atrc {name}\n")[1].split("\n## ")[0] + page.split("## The recipe")[1]
        for action in parser._actions:
            shared = action.dest in ("help", "config", "print_config") or "ConfigLoad" in type(action).__name__
            if action.option_strings and not shared:
                assert f"`{with_dashes(action.option_strings[0])}`" in section, (name, action.option_strings)


def test_a_reference_page_lists_every_public_module_of_its_package():
    modules = load(DOCS / "hooks/reference.py").modules
    assert modules("atrc.heads") == "::: atrc.heads"
    assert modules("atrc.genotype") == "::: atrc.genotype"
    documented = re.findall(r"<!-- modules of ([\w.]+) -->", "".join(PAGES.values()))
    packages = {f"atrc.{path.stem}" for path in (ROOT / "src/atrc").glob("[a-z]*") if path.suffix in ("", ".py")}
    assert packages - set(documented) == {"atrc.app"}  # the command line has a page of its own


def test_what_the_site_and_the_package_need_is_not_ignored_by_git():
    assert [name for name in (*SITE["extra_css"], *SITE["extra"]["polyfills"]) if not (DOCS / name).is_file()] == []
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    command = ["git", "status", "--porcelain", "--ignored", "docs", "src"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    ignored = [line[3:] for line in done.stdout.splitlines() if line.startswith("!!")]
    assert [name for name in ignored if "__pycache__" not in name and ".egg-info" not in name] == []


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome on the PATH")
def test_a_worker_runs_without_a_server(tmp_path):
    shutil.copy(DOCS / "assets/site/iframe-worker.js", tmp_path)
    (tmp_path / "worker.js").write_text('addEventListener("message", (event) => postMessage(2 * event.data));')
    code = 'const worker = new Worker("worker.js"); worker.addEventListener("message",'
    code += "(event) => (document.title = event.data)); worker.postMessage(21);"
    page = f'<head><script src="iframe-worker.js"></script></head><body><script>{code}</script></body>'
    (tmp_path / "index.html").write_text(page)
    with browsing(CHROMIUM) as new_page:
        opened = new_page()
        opened.open((tmp_path / "index.html").as_uri())
        opened.wait("document.title === '42'")
        assert opened.problems() == []


@pytest.mark.skipif(not importlib.util.find_spec("griffe"), reason="needs the docs group: make docs")
def test_docstrings_become_markdown():
    docstrings = load(DOCS / "hooks/docstrings.py")
    assert docstrings.fenced("Add.\n\n>>> 1 + 1\n2\n\nEnd.") == "Add.\n\n```pycon\n>>> 1 + 1\n2\n```\n\nEnd."
    source = '"""Doc."""\n\n# b batch, t / s target / source, h w grid (any),\n# k candidates\n\nx = 1  # b c\n'
    expected = "Shapes: `b` batch, `t / s` target / source, `h w` grid (any), `k` candidates."
    assert docstrings.legend(source).strip() == expected
    assert docstrings.legend("# The matrices of Ottosson's Oklab\n") == ""


class Requests(HTMLParser):
    """Finds what a page would fetch."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "image"):
            self.found += [given.get("src"), given.get("href")]
        elif tag == "link":
            self.found.append(given.get("href"))


@pytest.mark.slow
def test_the_site_builds_without_warnings_and_fetches_nothing_from_elsewhere(tmp_path):
    for package in ("mkdocs", "material", "mkdocstrings_handlers.python"):
        pytest.importorskip(package.split(".")[0], reason="needs the docs group: make docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > len(PAGES)  # and 404.html
    for page in pages:
        requests = Requests()
        requests.feed(page.read_text(encoding="utf-8"))
        assert [url for url in requests.found if url and "//" in url and not url.startswith("data:")] == [], page
        local = [url.split("#")[0] for url in requests.found if url and not url.startswith("data:")]
        assert [url for url in local if not (page.parent / url.lstrip("/")).exists()] == [], page
    for style in tmp_path.rglob("*.css"):
        outside = re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", style.read_text(encoding="utf-8"))
        assert outside == [], style
    # The theme's script names a few addresses, for features that are off: it fetches them for diagrams, for a
    # repository's stars, and for browsers without ResizeObserver.
    allowed = {"api.github.com", "unpkg.com"}
    script = next((tmp_path / "assets/javascripts").glob("bundle.*.js")).read_text(encoding="utf-8")
    assert set(re.findall(r"[\"'`]https://([\w.]+\w)/", script)) <= allowed
    for page in pages:
        assert 'class="mermaid"' not in page.read_text(encoding="utf-8")
    assert "repo_url" not in SITE


@pytest.mark.parametrize("table", range(1, 6))
def test_the_page_on_reproducing_has_the_numbers_of_the_recipes(table):
    study = yaml.safe_load((ROOT / f"recipes/study/table{table}.yaml").read_text(encoding="utf-8"))
    section = PAGES["reproduce.md"].split(f"## {study['title']}\n")[1].split("\n## ")[0]
    rows = {cells[0]: cells[5:] for line in section.splitlines() if len(cells := line.strip("| ").split(" | ")) > 5}
    for row in study["rows"]:
        scores = [value for key, value in row["paper"].items() if key not in ("parameters", "multiply_adds")]
        assert sorted(map(float, rows[row["name"]])) == sorted(scores), row["name"]
