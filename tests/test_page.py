"""The web page in headless Chromium, as people use it."""

# ruff: noqa: E402 - what is imported below needs the extra `server`
from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import semsearch
from semsearch import encoders

for _name in ("fastapi", "httptools", "multipart", "prometheus_client", "uvicorn"):
    pytest.importorskip(_name)
playwright = pytest.importorskip("playwright.sync_api")

from encoders import WordEncoder
from serving import Client, running

from semsearch import maps
from semsearch.errors import DependencyMissing
from semsearch.maps.document import write_document
from semsearch.server.app import make_app
from semsearch.server.collections import Collections
from semsearch.server.service import Limits
from semsearch.server.tokens import Tokens

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
PICTURES = Path(__file__).parent.parent / "data" / "pictures"
TOKEN = "read-token-0123456789"
EVIL = "</p><script>window.hurt = 1</script><img src=x onerror='window.hurt = 1'>"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here"),
]


@pytest.fixture(scope="module", autouse=True)
def _words() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoders, "load", lambda _, **__: WordEncoder(64))
        yield


@pytest.fixture(scope="module")
def root(memory: Path) -> Path:
    """`notes`, of 43 documents, the sample `pictures`, and `points`, whose vectors are given."""
    folder = memory / "page"
    with semsearch.create(folder / "notes", encoder=WordEncoder(64)) as index:
        index.add(
            [
                {
                    "id": "bread",
                    "title": "Dense loaves",
                    "text": "😀 It is late. A heavy loaf of bread was proofed too short a time.",
                    "metadata": {"year": 2024, "tags": ["bread", "oven"]},
                    "source": "https://example.org/bread",
                },
                {"id": "evil", "title": EVIL, "text": f"heavy {EVIL}", "metadata": {EVIL: EVIL}},
                {"id": "long", "text": "One word and another. " * 200 + "A walrus at the end."},
                *({"id": f"rolls-{n}", "text": f"bread rolls, batch {n}", "metadata": {"year": n}}
                  for n in range(1990, 2030)),
            ]
        )  # fmt: skip
    with semsearch.create(folder / "pictures", encoder="vae") as index:
        index.ingest(PICTURES)
    with semsearch.create(folder / "points", dim=2) as index:
        index.add([{"id": "east", "text": "the east wind"}], [[1, 0]])
    return folder


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[Client]:
    with running(make_app(Collections(root), Tokens([]), Limits())) as client:
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running_playwright:
        found = running_playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture
def page(browser: Any, server: Client) -> Iterator[Any]:
    """The page, open; at the end nothing must have gone wrong in it, nor left this machine."""
    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        made = context.new_page()
        made.set_default_timeout(60_000)
        wrong: list[str] = []
        made.on("pageerror", lambda error: wrong.append(str(error)))
        made.on("console", lambda told: wrong.append(told.text) if _is_wrong(told) else None)
        made.on("request", lambda asked: wrong.append(asked.url) if _is_far(asked) else None)
        made.goto(server.url)
        made.locator("#size").get_by_text("43 documents").wait_for()
        yield made
        assert wrong == []


def _is_wrong(told: Any) -> bool:
    """Chromium tells of every answer from 400 on, and of how a test reads the canvas."""
    expected = re.compile("Failed to load resource|Canvas2D: Multiple readback")
    return told.type in ("error", "warning") and not expected.match(told.text)


def _is_far(asked: Any) -> bool:
    return not re.match(r"http://127\.0\.0\.1:|data:|blob:", asked.url)


def search(page: Any, query: str) -> Any:
    """What is found."""
    page.get_by_role("searchbox", name="Search").fill(query)
    page.keyboard.press("Enter")
    page.get_by_role("status").filter(has_text=re.compile(r"hits? in|Nothing")).wait_for()
    return page.locator("#hits article")


# -- searching -----------------------------------------------------------------------------------


def test_a_search_shows_passages_with_what_answers_marked(page: Any) -> None:
    first = search(page, "heavy loaf").first
    assert first.get_by_role("heading").inner_text() == "Dense loaves"
    expected = "A heavy loaf of bread was proofed too short a time."
    assert first.locator("mark.sentence").inner_text() == expected  # an emoji stands before it
    assert first.locator("mark.word").all_inner_texts() == ["heavy", "loaf"]
    assert re.fullmatch(r"Score\s+\d\.\d{3}", first.locator(".score").inner_text().strip())
    assert first.get_by_role("link").get_attribute("href") == "https://example.org/bread"
    assert page.get_by_role("status").inner_text().startswith("10 hits in")
    assert page.title() == "heavy loaf · semsearch"


def test_what_a_document_says_is_text_and_never_markup(page: Any) -> None:
    search(page, "window hurt script").first.wait_for()
    shown = page.locator("#hits article").filter(has_text="onerror")
    assert shown.get_by_role("heading").inner_text() == EVIL
    assert "<script>" in shown.locator(".passage").inner_text()
    assert page.locator("#hits script, #hits img").count() == 0
    assert page.evaluate("window.hurt") is None


def test_what_would_become_markup_is_refused_by_the_browser(browser: Any, server: Client) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(server.url)
        refused = "(() => { try { document.body.innerHTML = 'a' } catch (e) { return e.name } })()"
        assert page.evaluate(refused) == "TypeError"


def test_a_search_can_be_by_words_or_by_meaning(page: Any) -> None:
    assert search(page, "walrus").count() == 10
    page.get_by_role("radio", name="Words").check()
    page.get_by_role("status").filter(has_text="1 hit in").wait_for()
    page.get_by_label("Hits").select_option("20")
    page.get_by_role("radio", name="Meaning").check()
    page.get_by_role("status").filter(has_text="20 hits in").wait_for()
    assert "mode=dense" in page.url
    assert "k=20" in page.url


def test_a_long_passage_is_cut_around_what_answers(page: Any) -> None:
    page.get_by_role("radio", name="Words").check()
    passage = search(page, "walrus").first.locator(".passage")
    assert "walrus" in passage.inner_text()


def test_a_filter_narrows_and_a_wrong_one_is_told_at_its_place(page: Any) -> None:
    search(page, "bread")
    where = page.get_by_label("Filter")
    where.fill("year >= 2028")
    where.press("Enter")
    page.get_by_role("status").filter(has_text="2 hits").wait_for()
    where.fill("year >= and")
    where.press("Enter")
    told = page.locator("#where-problem").filter(has_text="expected a value")
    lines = told.inner_text().splitlines()
    assert lines[-1].index("^") == lines[-2].index("and")
    assert where.get_attribute("aria-invalid") == "true"
    assert page.locator("#hits article").count() == 0
    where.fill("")
    where.press("Enter")
    page.get_by_role("status").filter(has_text="10 hits").wait_for()
    assert where.get_attribute("aria-invalid") == "false"


def test_a_click_on_metadata_filters_by_it(page: Any) -> None:
    search(page, "loaf").get_by_role("button", name="oven").click()
    page.get_by_role("status").filter(has_text="1 hit in").wait_for()
    assert page.get_by_label("Filter").input_value() == 'tags = "oven"'


def test_odd_names_of_metadata_can_be_filtered_by_as_well(page: Any) -> None:
    search(page, "window hurt script").locator(".chip").filter(has_text="onerror").click()
    page.get_by_role("status").filter(has_text="1 hit in").wait_for()
    assert page.get_by_label("Filter").input_value().startswith("metadata.[</p>")


def test_more_like_this_shows_the_document_and_its_neighbours(page: Any) -> None:
    found = search(page, "batch 2001")
    found.first.get_by_role("button", name="More like rolls-2001").click()
    page.get_by_role("status").filter(has_text="10 neighbours").wait_for()
    assert page.get_by_role("article", name="Like rolls-2001").is_visible()
    names = page.locator("#hits h2").all_inner_texts()
    assert "rolls-2001" not in names
    page.get_by_role("button", name="Clear").click()
    page.locator("#like article").wait_for(state="detached")


def test_the_address_keeps_what_was_asked(page: Any) -> None:
    search(page, "heavy loaf")
    search(page, "batch 2001")
    page.go_back()
    page.locator("#hits h2").first.filter(has_text="Dense loaves").wait_for()
    assert page.get_by_role("searchbox").input_value() == "heavy loaf"
    page.reload()
    page.locator("#hits h2").first.filter(has_text="Dense loaves").wait_for()


def test_a_collection_without_an_encoder_is_searched_by_words(page: Any) -> None:
    page.get_by_label("Collection").select_option("points")
    page.locator("#size").get_by_text("1 document ").wait_for()
    assert page.get_by_role("radio", name="Meaning").is_disabled()
    assert search(page, "wind").count() == 1


def test_an_error_of_the_server_is_told(page: Any, server: Client) -> None:
    page.route("**/search", lambda route: route.abort())
    page.get_by_role("searchbox").fill("bread")
    page.keyboard.press("Enter")
    assert "does not answer" in page.locator("#problem:not(:empty)").inner_text()


# -- the map -------------------------------------------------------------------------------------


def test_a_picture_finds_pictures_that_look_like_it(page: Any) -> None:
    page.get_by_label("Collection").select_option("pictures")
    page.get_by_role("status").get_by_text("Choose a picture").wait_for()
    assert page.get_by_role("searchbox", name="Search").is_hidden()
    page.get_by_label("Choose a picture").set_input_files(PICTURES / "sea-blurred.jpg")
    page.get_by_role("status").filter(has_text="10 hits in").wait_for()
    names = page.locator("#hits h2").all_inner_texts()[:2]
    assert names == ["pictures/sea-blurred.jpg", "pictures/sea.jpg"]
    shown = page.get_by_role("img", name="pictures/sea.jpg")
    page.wait_for_function("image => image.naturalWidth === 64", arg=shown.element_handle())
    page.get_by_role("button", name="More like pictures/apple.jpg").click()
    page.get_by_role("status").filter(has_text="10 neighbours").wait_for()
    assert page.locator("#hits h2").first.inner_text() == "pictures/apple-brighter.jpg"
    page.get_by_label("Collection").select_option("notes")
    assert search(page, "heavy loaf").count() > 1


def morphing(page: Any) -> Any:
    """The slider between two pictures that were chosen among the hits."""
    page.get_by_label("Collection").select_option("pictures")
    page.get_by_label("Choose a picture").set_input_files(PICTURES / "sea-blurred.jpg")
    page.get_by_role("status").filter(has_text="10 hits in").wait_for()
    page.get_by_role("button", name="Morph to pictures/sea.jpg").click()
    page.get_by_text("Choose “Morph from this” at another picture.").wait_for()
    page.get_by_role("button", name="More like pictures/sea.jpg").click()
    page.get_by_role("status").filter(has_text="10 neighbours").wait_for()
    page.get_by_label("Hits").select_option("50")
    page.get_by_role("button", name="Morph from pictures/apple.jpg").click()
    slider = page.get_by_role("slider", name="Way")
    slider.wait_for()
    return slider


def pixels(image: Any) -> Any:
    """`(height, width, 3)` of an image of the page."""
    found = image.evaluate(
        """async (image) => {
          await image.decode();
          const canvas = document.createElement("canvas");
          Object.assign(canvas, { width: image.naturalWidth, height: image.naturalHeight });
          const context = canvas.getContext("2d");
          context.drawImage(image, 0, 0);
          const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
          return { data: [...data], width: canvas.width };
        }"""
    )
    return np.array(found["data"], np.uint8).reshape(-1, found["width"], 4)[..., :3]


def alike(seen: Any, expected: Any) -> bool:
    """But for rounding: pictures are decoded together with others."""
    return bool(np.abs(seen.astype(int) - expected).max() <= 1)


def test_a_slider_morphs_one_picture_into_another(page: Any, root: Path) -> None:
    slider = morphing(page)
    made, real = (page.locator("#morph img").nth(at) for at in (0, 1))
    with semsearch.open(root / "pictures") as index:
        ends = index.decode(["pictures/apple.jpg", "pictures/sea.jpg"])
        ways = semsearch.imagine_between(
            index,
            semsearch.like("pictures/apple.jpg"),
            semsearch.like("pictures/sea.jpg"),
            steps=21,
        )
    assert slider.evaluate("it => it === document.activeElement")
    assert slider.get_attribute("aria-valuetext").startswith("50 %, nearest is pictures/")
    assert alike(pixels(made), ways[10])
    page.keyboard.press("ArrowRight")
    assert page.locator("#morph output").inner_text() == "55 %"
    assert alike(pixels(made), ways[11])
    for key, id_, share in (("Home", "apple", "0"), ("End", "sea", "100")):
        page.keyboard.press(key)
        assert slider.get_attribute("aria-valuetext") == f"{share} %, nearest is pictures/{id_}.jpg"
        page.get_by_role("region", name="Morph").get_by_role("img", name=f"{id_}.jpg").wait_for()
        assert alike(pixels(real), ends[f"pictures/{id_}.jpg"])
        assert alike(pixels(made), ends[f"pictures/{id_}.jpg"])
        assert made.get_attribute("alt") == f"{share} % of the way"


def test_a_morph_stands_in_the_address_and_is_cleared(page: Any) -> None:
    morphing(page)
    page.reload()
    page.get_by_role("slider", name="Way").wait_for()
    assert page.get_by_role("heading", name=re.compile(r"from .*apple.* to .*sea")).is_visible()
    page.get_by_role("button", name="Clear morph").click()
    page.get_by_role("region", name="Morph").wait_for(state="hidden")
    assert "from=" not in page.url
    page.go_back()
    page.get_by_role("slider", name="Way").wait_for()
    page.get_by_label("Collection").select_option("notes")
    page.get_by_role("region", name="Morph").wait_for(state="hidden")


def test_a_morph_of_a_picture_that_is_gone_says_so(page: Any, server: Client) -> None:
    page.goto(f"{server.url}/?c=pictures&from=pictures/sea.jpg&to=gone.jpg")
    page.get_by_role("alert").filter(has_text="no document with id 'gone.jpg'").wait_for()


@pytest.mark.parametrize("width", [360, 768])
def test_a_morph_is_not_cut_off_on_a_narrow_screen(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    morphing(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.fixture
def map_page(page: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The page with the map of `notes`, every passage on a place of its own."""
    monkeypatch.setattr(maps, "project", on_a_grid)
    page.get_by_role("link", name="Map").click()
    page.get_by_role("img", name=re.compile("Map of")).wait_for()
    return page


def on_a_grid(vectors: Any, _: Any = None) -> Any:
    rows = np.arange(len(vectors))
    return np.stack([rows % 8 / 8, rows // 8 / 8], axis=1).astype(np.float32)


def place_of(page: Any, row: int) -> tuple[float, float]:
    """Where the canvas shows a point of the grid, on the screen."""
    box = page.locator("#map canvas").bounding_box()
    told = re.search(r"(\d+) (?:passages|pictures)", page.locator("body").inner_text())
    assert told
    (width, height), margin = (7 / 8, (int(told[1]) - 1) // 8 / 8), 28
    unit = min((box["width"] - 2 * margin) / width, (box["height"] - 2 * margin) / height)
    x = box["x"] + box["width"] / 2 + (row % 8 / 8 - width / 2) * unit
    y = box["y"] + box["height"] / 2 - (row // 8 / 8 - height / 2) * unit
    return x, y


def lit(page: Any) -> int:
    """How many pixels of the canvas have the colour of hits."""
    found = page.evaluate(
        """() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => {
          const canvas = document.querySelector("#map canvas");
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          let lit = 0;
          for (let at = 0; at < data.length; at += 4)
            lit += data[at] === 217 && data[at + 1] === 72 && data[at + 2] === 15;
          done(lit);
        })))"""
    )
    return int(found)


def test_a_click_on_the_map_shows_the_document_and_its_neighbours(map_page: Any) -> None:
    assert lit(map_page) == 0
    x, y = place_of(map_page, 0)
    map_page.mouse.move(x, y)
    assert map_page.locator(".tip").inner_text() == "Dense loaves"
    map_page.mouse.click(x, y)
    map_page.get_by_role("status").filter(has_text="10 neighbours").wait_for()
    assert map_page.get_by_role("article", name="Like Dense loaves").is_visible()
    assert lit(map_page) > 0


def test_a_click_on_the_map_of_pictures_shows_the_picture(
    page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maps, "project", on_a_grid)
    page.get_by_label("Collection").select_option("pictures")
    page.get_by_role("link", name="Map").click()
    page.get_by_role("img", name="Map of 22 pictures").wait_for()
    x, y = place_of(page, 0)
    page.mouse.move(x, y)
    assert page.locator(".tip").inner_text() == "pictures/apple-brighter.jpg"
    page.mouse.click(x, y)
    subject = page.get_by_role("article", name="Like pictures/apple-brighter.jpg")
    shown = subject.get_by_role("img")
    page.wait_for_function("image => image.naturalWidth === 64", arg=shown.element_handle())


def test_a_search_lights_up_its_hits_on_the_map(map_page: Any) -> None:
    search(map_page, "heavy loaf").first.wait_for()
    before = lit(map_page)
    assert before > 10 * 3
    map_page.locator("#hits article").first.hover()
    assert map_page.locator(".tip").inner_text() == "Dense loaves"
    assert lit(map_page) > before  # a ring around it


def test_hits_are_lit_that_were_found_before_the_map_was_there(
    page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maps, "project", on_a_grid)
    search(page, "heavy loaf").first.wait_for()
    page.get_by_role("link", name="Map").click()
    page.get_by_role("img", name=re.compile("Map of")).wait_for()
    assert lit(page) > 0


def test_the_map_is_moved_and_zoomed_with_keys(map_page: Any) -> None:
    x, y = place_of(map_page, 0)
    map_page.locator("#map canvas").focus()
    map_page.keyboard.press("ArrowRight")
    map_page.mouse.move(x - 60, y)
    assert map_page.locator(".tip").inner_text() == "Dense loaves"
    map_page.keyboard.press("+")
    map_page.keyboard.press("0")
    map_page.mouse.move(x + 1, y)
    assert map_page.locator(".tip").inner_text() == "Dense loaves"


def test_a_map_that_cannot_be_drawn_says_why(page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **__: Any) -> Any:
        raise DependencyMissing("a map needs openTSNE: pip install 'semsearch[map]'")

    monkeypatch.setattr(maps, "draw", missing)
    page.get_by_label("Collection").select_option("points")
    page.get_by_role("link", name="Map").click()
    page.get_by_role("alert").filter(has_text="pip install").wait_for()


def test_a_map_in_a_file_needs_no_server(browser: Any, root: Path, tmp_path: Path) -> None:
    with semsearch.open(root / "notes", encoder=WordEncoder(64)) as index:
        sample = index.sample(1000)
    drawn = maps.Map(sample, on_a_grid(sample.vectors), [])
    write_document(drawn, tmp_path / "map.html", "</title>notes")
    with browser.new_context(offline=True) as context:
        page = context.new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda told: wrong.append(told.text))
        page.goto((tmp_path / "map.html").as_uri())
        page.get_by_label("Find words").fill("walrus")
        page.get_by_text("1 of", exact=False).wait_for()
        page.mouse.click(*place_of(page, 0))
        assert page.locator("#item h2").inner_text() == "Dense loaves"
        assert page.get_by_role("heading", name="</title>notes").is_visible()
        assert page.evaluate("window.hurt") is None
        assert wrong == []


# -- keyboard, screen readers, phones ------------------------------------------------------------


def test_everything_is_reached_with_the_keyboard(page: Any) -> None:
    page.get_by_role("searchbox").blur()
    page.keyboard.press("/")
    page.keyboard.type("heavy loaf")
    page.keyboard.press("Enter")
    page.locator("#hits article").first.wait_for()
    order = []
    for _ in range(9):
        page.keyboard.press("Tab")
        order.append(
            page.evaluate("(({activeElement: at}) => at.id || at.name || at.textContent)(document)")
        )
    assert order[:4] == ["Search", "mode", "where", "k"]
    assert order[-1] == "More like this"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "query"
    page.keyboard.press("/")
    assert page.get_by_role("searchbox").input_value() == "/"  # it selects, and then it is a letter


def test_what_can_be_operated_has_a_name(page: Any) -> None:
    search(page, "heavy loaf")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, a, input, select")].filter((one) =>
        !one.labels?.length && !one.textContent.trim() && !one.ariaLabel)
        .map((one) => one.outerHTML)"""
    )
    assert nameless == []
    for role in ("banner", "search", "main", "navigation"):
        assert page.get_by_role(role).count() == 1


@pytest.mark.parametrize("width", [360, 768])
def test_nothing_is_cut_off_on_a_narrow_screen(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    search(page, "heavy").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


# -- tokens --------------------------------------------------------------------------------------


def test_a_token_is_asked_for_and_kept_in_the_tab_only(browser: Any, root: Path) -> None:
    tokens = Tokens([("read", TOKEN)])
    with (
        running(make_app(Collections(root), tokens, Limits())) as guarded,
        browser.new_context() as context,
    ):
        page = context.new_page()
        page.goto(guarded.url)
        for token in ("wrong", TOKEN):
            page.get_by_role("textbox", name="Token").fill(token)
            page.get_by_role("button", name="Continue").click()
            if token == "wrong":
                page.get_by_text("does not know this token").wait_for()
        assert search(page, "heavy loaf").count() == 10
        page.reload()
        page.locator("#hits article").first.wait_for()
        kept = "[localStorage.length, document.cookie, sessionStorage.length]"
        assert page.evaluate(kept) == [0, "", 1]
        assert TOKEN not in page.url
        page.get_by_role("button", name="Forget token").click()
        page.get_by_role("textbox", name="Token").wait_for()
