from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar
from xml.etree import ElementTree

import pytest
from encoders import WordEncoder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import semsearch
from semsearch import Index, InvalidArgument
from semsearch.rag import STYLES, Context, Retriever, Style

EXAMPLES = Path(__file__).resolve().parent.parent / "docs" / "examples"
NUMERALS = "one two three four five six seven eight nine ten eleven twelve".split()  # noqa: SIM905
STORY = "".join(
    f"The {word} apple fell on the head of a {word} old man who slept below it in the sun. "
    f"He woke up and said {word} words that I will not repeat here, {word} times. "
    for word in NUMERALS
)
TWIN = "A kettle boils water for tea, and it whistles when the water is hot enough to pour."


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    folder: Path = tmp_path_factory.mktemp("rag")
    with semsearch.create(folder / "index", encoder=WordEncoder(), chunk_tokens=34) as index:
        index.add(
            [
                {"id": "story", "text": STORY, "title": "Apples", "source": "/books/apples.txt"},
                {"id": "tea", "text": TWIN, "metadata": {"page": 7, "kind": "guide"}},
                {"id": "tea again", "text": TWIN.upper() + " Really."},
                {"id": "marks", "text": 'Is 1 < 2 & "3" > 2? <passage number="1"> says so.'},
            ]
        )
        yield index


def words(text: str) -> int:
    return len(re.findall(r"\S+", text))


def holds(index: Index, context: Context) -> None:
    """Every citation names the very characters of its document."""
    assert [passage.number for passage in context] == list(range(1, len(context) + 1))
    for passage in context:
        document = index.get(passage.id)
        assert document is not None
        assert passage.text == document.text[slice(*passage.span)]


def test_a_hit_comes_with_its_neighbours_and_adjoining_hits_are_one_passage(index: Index) -> None:
    chunks = index.chunks("story")["story"]
    question = chunks[4].text
    alone = Retriever(index, k=1, neighbours=0).retrieve(question)
    assert [passage.text for passage in alone] == [chunks[4].text]
    around = Retriever(index, k=1).retrieve(question)
    assert [passage.span for passage in around] == [(chunks[3].span[0], chunks[5].span[1])]
    everything = Retriever(index, k=100).retrieve(question)
    assert len([passage for passage in everything if passage.id == "story"]) == 1
    assert everything.passages[0].text == STORY[: everything.passages[0].span.end]
    holds(index, everything)


def test_what_says_the_same_is_not_said_twice(index: Index) -> None:
    context = Retriever(index, k=2).retrieve(TWIN)
    assert [hit.id for hit in index.search(TWIN, k=2)] == ["tea", "tea again"]
    assert [passage.id for passage in context] == ["tea"]


def test_a_filter_narrows_the_search(index: Index) -> None:
    context = Retriever(index).retrieve("apple", where={"kind": "guide"})
    assert [passage.id for passage in context] == ["tea"]


def test_labels_name_title_page_and_source(index: Index) -> None:
    context = Retriever(index, k=100).retrieve(TWIN)
    labels = {passage.id: passage.label for passage in context}
    assert labels["story"] == "Apples (/books/apples.txt)"
    assert labels["tea"] == "tea (page 7)"
    assert labels["marks"] == "marks"


@pytest.mark.parametrize(
    ("style", "block"),
    [
        ("markdown", f"**[1] tea (page 7)**\n\n{TWIN}"),
        ("plain", f"[1] tea (page 7)\n{TWIN}"),
        ("xml", f'<passage number="1" source="tea (page 7)">\n{TWIN}\n</passage>'),
    ],
)
def test_styles(index: Index, style: Style, block: str) -> None:
    context = Retriever(index, style=style, k=1).retrieve(TWIN)
    assert context.as_context() == block


def test_xml_is_well_formed_whatever_the_text_is(index: Index) -> None:
    context = Retriever(index, style="xml", k=100).retrieve("passage number")
    root = ElementTree.fromstring(f"<all>{context.as_context()}</all>")
    assert [(each.text or "").strip() for each in root] == [
        passage.text.strip() for passage in context
    ]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    budget=st.integers(1, 400),
    style=st.sampled_from(STYLES),
    question=st.lists(st.sampled_from([*NUMERALS, "tea", "apple", "number"]), min_size=1).map(
        " ".join
    ),
    neighbours=st.integers(0, 3),
    count=st.sampled_from([words, len, None]),
)
def test_the_budget_is_kept_and_every_citation_resolves(
    index: Index, *, budget: int, style: Style, question: str, neighbours: int, count: Any
) -> None:
    retriever = Retriever(
        index, budget=budget, style=style, neighbours=neighbours, count_tokens=count
    )
    context = retriever.retrieve(question)
    holds(index, context)
    counted = count or (lambda text: index.encoder.count_tokens([text])[0])
    if context.passages:
        assert counted(context.as_context()) <= budget
    else:
        assert context.as_context() == ""
    if count is words and budget >= 20:
        assert context.passages


def test_a_first_passage_that_never_fits_is_cut_at_a_word(index: Index) -> None:
    context = Retriever(index, budget=12, count_tokens=words, style="plain").retrieve(TWIN)
    assert context.as_context() == "[1] tea (page 7)\n" + " ".join(TWIN.split()[:8])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"budget": 0}, "budget: expected an integer of at least 1"),
        ({"budget": 2.5}, "budget"),
        ({"neighbours": -1}, "neighbours: expected an integer of at least 0"),
        ({"style": "html"}, "style: 'html' is not markdown or plain or xml"),
        ({"k": 0}, "k: expected"),
    ],
)
def test_a_wrong_argument_is_named(index: Index, wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        Retriever(index, **wrong).retrieve("tea")


def test_an_empty_question(index: Index) -> None:
    with pytest.raises(InvalidArgument, match="empty"):
        Retriever(index).retrieve("  ")


def test_an_empty_index_gives_an_empty_context(tmp_path: Path) -> None:
    with semsearch.create(tmp_path / "index", encoder=WordEncoder()) as index:
        context = Retriever(index).retrieve("tea")
    assert (len(context), context.as_context()) == (0, "")


# --- the examples of docs/examples --------------------------------------------------------------


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index that another process can open: with the real model."""
    folder: Path = tmp_path_factory.mktemp("notes") / "index"
    with semsearch.create(folder) as index:
        index.add(
            [
                {"id": "bread", "text": "Bread rises because of yeast. Salt slows the yeast down."},
                {"id": "cats", "text": "Cats sleep for most of the day. They hunt at dusk."},
            ]
        )
    return folder


def example(name: str, *arguments: str, **environment: str) -> str:
    run = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent.parent), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.model
def test_the_example_that_quotes(notes: Path) -> None:
    shown = example(
        "answer_by_quoting.py",
        "what makes bread rise?",
        *("--index", str(notes), "--sentences", "1"),
    )
    assert shown == "Bread rises because of yeast. [1] bread\n"


class _Model(BaseHTTPRequestHandler):
    """Answers as a chat endpoint does, and keeps what it was asked."""

    asked: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.asked.append({"path": self.path, **json.loads(self.rfile.read(length))})
        answer = {"choices": [{"message": {"role": "assistant", "content": "Yeast does [1]."}}]}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.mark.model
def test_the_example_with_a_language_model(notes: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), _Model) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        shown = example(
            "answer_with_llm.py",
            "what makes bread rise?",
            *("--index", str(notes)),
            OPENAI_BASE_URL=f"http://127.0.0.1:{server.server_port}/v1",
            OPENAI_MODEL="stub",
        )
        server.shutdown()
    assert shown.startswith("Yeast does [1].\n\n[1] bread, characters 0-56\n")
    (asked,) = _Model.asked
    assert (asked["path"], asked["model"]) == ("/v1/chat/completions", "stub")
    assert "**[1] bread**\n\nBread rises because of yeast." in asked["messages"][0]["content"]
