"""The page, in a browser: what a visitor does, and what is seen then."""

import threading

import pytest

from atrc.app.explorer.limits import LRUCache
from atrc.tasks import Depth, HumanParts
from chromium import browsing, find_chromium
from explorer_network import encoded, make_explorer, make_network, scene, serving

CHROMIUM = find_chromium()
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome on the PATH to open the page with")

QUIET = (
    "document.querySelector('.reading')?.textContent && !document.querySelector('[aria-busy]')"
    " && !document.querySelector('#message').textContent && [...document.images].every(image => image.complete)"
)
MAPS = "[...document.querySelectorAll('.map canvas:not([hidden])')].map(canvas => canvas.toDataURL().slice(-60)).join()"
STATE = "Object.fromEntries(new URLSearchParams(location.hash.slice(1)))"
OPENED = "document.querySelector('.stage .photo').src"


@pytest.fixture(scope="module")
def browser():
    with browsing(CHROMIUM) as new_page:
        yield new_page


@pytest.fixture(scope="module")
def explorer():
    return make_explorer(make_network(), make_network(None, (HumanParts(), Depth())))


@pytest.fixture(scope="module")
def address(explorer):
    with serving(explorer) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture
def page(browser, address):
    """Open the page with one network shown; at the end nothing came from elsewhere, and nothing went wrong."""
    page = browser()
    page.emulate(1280, 1000)
    page.open(f"{address}#show=0")
    page.wait(QUIET)
    yield page
    assert {url.split("#")[0].startswith((address, "about:blank")) for url in page.requested()} == {True}
    assert [problem for problem in page.problems() if "status of 4" not in problem] == []
    page.close()


def place(page):
    state = page.run(STATE)
    return int(state["row"]), int(state["column"])


def test_the_page_opens_with_an_example_and_all_that_belongs_to_it(page):
    assert page.run("document.querySelectorAll('#examples img').length") == 2
    assert page.run("[...document.querySelectorAll('.view:not([hidden]) .task b')].map(b => b.textContent)") == [
        "semseg", "depth", "normals", "edge",
    ]  # fmt: skip
    assert page.run("document.querySelectorAll('.genotype .cell').length") == 16
    assert page.run("document.querySelectorAll('.panel').length") == 4
    assert page.run(
        "[...document.querySelectorAll('.view:not([hidden]) .stage img')].every(image => image.naturalWidth === 64)"
    )
    assert page.text(".reading").startswith("Row 24, column 32: semseg ")


def test_names_from_files_are_text(page):
    assert "<b>floor</b>" in page.text(".classes")
    assert page.run("document.querySelectorAll('.classes b').length") == 0


def test_a_click_moves_the_crosshair_and_changes_the_maps(page):
    before, reading = page.run(MAPS), page.text(".reading")
    page.click(".stage", 0.25, 0.75)
    page.wait(f"{MAPS} !== {before!r}")
    assert place(page) == (36, 16)
    assert page.text(".reading") != reading
    assert page.text(".reading").startswith("Row 36, column 16: ")
    left, top = page.run("(c => [c.style.insetInlineStart, c.style.insetBlockStart])(document.querySelector('.cross'))")
    assert (float(left[:-1]), float(top[:-1])) == pytest.approx((100 * 16.5 / 64, 100 * 36.5 / 48), abs=0.01)
    page.click(".chosen .map", 0.99, 0.01)  # any picture takes a click
    page.wait(f"{STATE}.row === '0' && {STATE}.column === '63'")
    page.wait(QUIET)


def test_another_task_brings_its_prediction_legend_and_attention(page):
    page.click(".task:nth-child(2)")
    page.wait("document.querySelector('h3').textContent === 'What depth attends to from this pixel'")
    assert page.run("document.querySelectorAll('.painted')[0].src").count("task=depth") == 1
    assert page.run("[...document.querySelectorAll('.tick')].map(tick => tick.textContent)") == [
        "1",
        "2",
        "3",
        "5",
        "10 m",
    ]
    titles = page.run("[...document.querySelectorAll('.panel .title')].map(title => title.textContent)")
    assert sorted(titles) == ["Gsemseg global", "Ledge local", "Snormals S-label", "Tdepth T-label"]
    page.click(".task:nth-child(3)")
    page.wait("document.querySelector('.ball img')?.naturalWidth === 96")


def test_a_cell_of_the_grid_chooses_the_pair(page):
    before = page.run(MAPS)
    page.click(".cell[title^='normals attends to edge']")
    page.wait(f"{MAPS} !== {before!r} && document.querySelector('.chosen b').textContent === 'edge'")
    state = page.run(STATE)
    assert (state["task"], state["source"]) == ("normals", "edge")
    assert page.run("[...document.querySelectorAll('.cell[aria-pressed=true]')].map(cell => cell.title)") == [
        "normals attends to edge: global"
    ]
    assert page.run("document.querySelectorAll('.others .idle').length") == 3


def test_regions_are_named_with_their_shares(page):
    page.click(".cell[title^='semseg attends to depth']")
    page.wait("document.querySelector('.chosen figcaption p')?.textContent.startsWith('label regions of depth')")
    shares = page.run(
        "[...document.querySelectorAll('.chosen .regions li')].map(li => li.textContent.match(/[\\d.]+ %$/)[0])"
    )
    assert len(shares) == 7  # six, and the rest
    assert sum(float(share.removesuffix(" %")) for share in shares) == pytest.approx(100, abs=4)  # each is rounded


def test_a_region_that_is_pointed_at_shows_where_it_is(page):
    page.click(".cell[title^='semseg attends to depth']")
    page.wait("document.querySelector('.chosen .regions button')")
    before = page.run(MAPS)
    focus = "document.querySelector('.chosen .regions button').focus()"  # again, if an answer draws it anew
    page.wait(f"({focus}, {MAPS} !== {before!r})")
    page.run("document.querySelector('.chosen .regions button').blur()")
    page.wait(f"{MAPS} === {before!r}")


def test_an_opened_photograph_is_shown_and_nobody_else_sees_it(page, browser, address, tmp_path):
    (tmp_path / "mine.png").write_bytes(encoded(scene(50, (60, 40))))
    before = page.run(OPENED)
    page.choose_file("#file", tmp_path / "mine.png")
    page.wait(f"{OPENED} !== {before!r}")
    page.wait(QUIET)
    name = page.run(STATE)["image"]
    assert page.run("document.querySelector('.stage .photo').naturalHeight") == 60
    assert place(page) == (30, 20)
    other = browser()
    other.open(f"{address}#show=0")
    other.wait(QUIET)
    assert other.run(STATE)["image"] == "example-0"
    assert name not in other.run("document.documentElement.outerHTML")
    other.close()


def test_a_photograph_that_arrives_after_another_was_chosen_is_not_opened(page, explorer, tmp_path, monkeypatch):
    (tmp_path / "mine.png").write_bytes(encoded(scene(52)))
    chosen, arrived, add = threading.Event(), threading.Event(), explorer.add

    def slow(content):
        chosen.wait(20)
        arrived.set()
        return add(content)

    monkeypatch.setattr(explorer, "add", slow)
    page.choose_file("#file", tmp_path / "mine.png")
    page.wait("document.querySelector('#message').textContent.startsWith('Sending')")
    page.click("#examples li:nth-child(2) button")
    chosen.set()
    page.wait(f"{STATE}.image === 'example-1' && {QUIET}")
    assert arrived.wait(20)
    page.run("new Promise(done => setTimeout(done, 500))")
    page.wait(QUIET)
    assert page.run(STATE)["image"] == "example-1"


def test_a_dropped_photograph_is_shown(page):
    code = """(async () => {
        const canvas = Object.assign(document.createElement("canvas"), {width: 30, height: 20});
        const blob = await new Promise((done) => canvas.toBlob(done));
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([blob], "x.png"));
        document.dispatchEvent(new DragEvent("drop", { dataTransfer }));
    })()"""
    page.run(code)
    page.wait("document.querySelector('.stage .photo').naturalWidth === 30")
    page.wait(QUIET)


def test_a_broken_file_shows_a_message_and_the_page_goes_on(page, tmp_path):
    (tmp_path / "holiday.jpg").write_text("not a photograph")
    before = page.run(OPENED)
    page.choose_file("#file", tmp_path / "holiday.jpg")
    page.wait("document.querySelector('#message.error')")
    assert page.text("#message") == "holiday.jpg: not a readable image; convert it to JPEG or PNG"
    assert page.run(OPENED) == before
    page.click("#examples li:nth-child(2) button")
    page.wait(f"{OPENED} !== {before!r}")
    page.wait(QUIET)


def test_the_maps_of_another_photograph_take_the_place_of_those_before(page):
    before = page.run(OPENED)
    page.click("#examples li:nth-child(2) button")
    page.wait(f"{OPENED} !== {before!r} && {QUIET}")
    titles = page.run("[...document.querySelectorAll('.panel .title b')].map(title => title.textContent)")
    assert sorted(titles) == ["depth", "edge", "normals", "semseg"]


def test_a_photograph_that_the_server_let_go_of_is_brought_again(page, explorer, tmp_path):
    (tmp_path / "mine.png").write_bytes(encoded(scene(51)))
    page.choose_file("#file", tmp_path / "mine.png")
    page.wait(f"{STATE}.image.length > 20")
    page.wait(QUIET)
    name = page.run(STATE)["image"]
    explorer._images, explorer._looks = LRUCache(10**6), LRUCache(10**6)
    page.click(".stage", 0.1, 0.1)
    page.wait(f"{STATE}.image !== {name!r}")
    page.wait(QUIET)
    assert page.text(".reading").startswith("Row 24, column 32")


def test_the_keyboard_is_enough(page):
    page.run("document.querySelector('.stage').focus()")
    for key, shift in (("ArrowRight", False), ("ArrowUp", True), ("ArrowUp", True), ("Enter", False)):
        page.press(key, shift=shift)
    page.wait("document.querySelector('.reading').textContent.startsWith('Row 22, column 33')")
    page.run("document.querySelector('.cell[tabindex=\"0\"]').focus()")
    for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
        page.press(key)
    assert page.run("document.activeElement.title") == "depth attends to normals: S-label"
    page.press("Enter", code=13)
    page.wait("document.querySelector('.chosen b').textContent === 'normals'")
    page.run("document.querySelector('.task input:checked').focus()")
    page.press("ArrowRight", code=39)
    page.wait(f"{STATE}.task === 'normals'")
    page.wait(QUIET)


def test_all_that_can_be_used_has_a_name(page):
    nodes = page("Accessibility.getFullAXTree")["nodes"]
    used = ("button", "radio", "slider", "application", "img", "table", "radiogroup", "group")
    named = [(node["role"]["value"], node.get("name", {}).get("value")) for node in nodes if not node["ignored"]]
    controls = [(role, name) for role, name in named if role in used]
    assert {role for role, _ in controls} >= {"button", "radio", "slider", "application", "radiogroup"}
    assert [control for control in controls if not control[1]] == []


def test_the_address_keeps_what_is_shown(page, address):
    page.click(".cell[title^='edge attends to normals']")
    page.click(".stage", 0.8, 0.2)
    page.run("(s => { s.value = 20; s.dispatchEvent(new Event('input')); })(document.querySelector('#fade'))")
    page.click("label:has([value=prediction])")
    page.wait(f"{QUIET} && document.querySelector('.reading').textContent.startsWith('Row 9, column 51')")
    maps, state = page.run(MAPS), page.run(STATE)
    page.open(page.run("location.href"))
    page.wait(f"{QUIET} && {MAPS} === {maps!r}")
    assert page.run(STATE) == state
    assert (state["fade"], state["over"], state["source"]) == ("20", "prediction", "normals")
    assert page.run("getComputedStyle(document.querySelector('.painted')).opacity") == "0.2"
    assert "task=normals" in page.run("document.querySelector('.chosen .map img').src")


def test_two_networks_of_different_tasks_stand_side_by_side_and_share_the_crosshair(page):
    page.click("label:has([name=show][value=all])")
    page.wait(f"document.querySelectorAll('.view:not([hidden])').length === 2 && {QUIET}")
    page.click(".view:nth-child(2) .stage", 0.5, 0.1)
    page.wait("[...document.querySelectorAll('.reading')].every(r => r.textContent.startsWith('Row 4, column 32'))")
    assert "predictions only" in page.text(".view:nth-child(2) .alone")
    chosen = "[...document.querySelectorAll('.task input:checked')].map(input => input.value)"
    assert page.run(chosen) == ["semseg", "human_parts"]  # each its first
    page.click(".view:nth-child(2) .task:nth-child(2)")
    page.wait(f"{chosen}.join() === 'depth,depth'")
    columns = page.run("[...document.querySelectorAll('.view')].map(view => view.getBoundingClientRect().top)")
    assert columns[0] == columns[1]


@pytest.mark.parametrize(("width", "phone"), [(360, True), (700, False), (1100, False)])
def test_nothing_is_wider_than_the_window(page, width, phone):
    page.emulate(width, 800, phone=phone)
    assert page.run("document.documentElement.scrollWidth") <= width
    wide = f"[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > {width + 1})"
    assert page.run(f"{wide}.filter(e => !e.closest('#examples')).map(e => e.outerHTML.slice(0, 80))") == []


@pytest.mark.parametrize("width", [360, 1280])
def test_legends_stay_under_their_photograph(page, width):
    page.emulate(width, 800)
    for task in ("depth", "edge"):
        page.click(f".task input[value={task}]")
        page.wait(f"document.querySelector('.painted').src.includes('task={task}')")
        end = page.run("document.querySelector('.predictions').getBoundingClientRect().right")
        ticks = "[...document.querySelector('.legend').querySelectorAll('.tick')]"
        assert page.run(f"Math.max(...{ticks}.map(tick => tick.getBoundingClientRect().right))") <= end


def test_titles_of_maps_do_not_run_into_each_other(page):
    page.emulate(360, 800, phone=True)
    wide = "[...document.querySelectorAll('.panel .title')].filter(title => title.scrollWidth > title.clientWidth)"
    page.run("document.querySelectorAll('.others .title b').forEach(b => (b.textContent = 'human_parts_of_it'))")
    assert page.run(f"{wide}.map(title => title.textContent)") == []


def test_dark_mode_is_dark(page):
    light = page.run("getComputedStyle(document.body).backgroundColor")
    page.emulate(1280, 1000, dark=True)
    assert light == "rgb(246, 247, 249)"
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"


def test_a_server_that_is_gone_is_named(browser):
    with serving(make_explorer(make_network())) as port:
        page = browser()
        page.open(f"http://127.0.0.1:{port}/")
        page.wait(QUIET)
    page.click(".stage", 0.1, 0.1)
    page.wait("document.querySelector('#message.error')?.textContent.includes('the server does not answer')")
    page.close()
