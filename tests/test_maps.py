# ruff: noqa: E402 - what is imported below needs the extra `map`
from __future__ import annotations

import json
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner

import semsearch
from semsearch import cli, encoders, maps
from semsearch.cli.mapping import map_
from semsearch.encoders.cache import cache_folder
from semsearch.errors import DependencyMissing
from semsearch.maps import document, picture, projection, table
from semsearch.maps.topics import topics

for _name in ("openTSNE", "sklearn", "PIL"):
    pytest.importorskip(_name)

from encoders import WordEncoder

PICTURES = Path(__file__).parent.parent / "data" / "pictures"
GROUPS = {"bread": "oven loaf", "moon": "orbit face", "tap": "washer pipe"}


@pytest.fixture(scope="module")
def path(memory: Path) -> Path:
    """An index of three groups of 40 documents each."""
    with semsearch.create(memory / "map", encoder=WordEncoder(32)) as index:
        index.add(
            [
                {
                    "id": f"{word}-{number}",
                    "text": f"{word} {more} number{number}",
                    "metadata": {"group": word, "id": number, "mixed": number or "none"},
                }
                for word, more in GROUPS.items()
                for number in range(40)
            ]
        )
    return memory / "map"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMSEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(encoders, "load", lambda _, **__: WordEncoder(32))


@pytest.fixture
def index(path: Path) -> Any:
    return semsearch.open(path, encoder=WordEncoder(32))


# -- points --------------------------------------------------------------------------------------


def test_what_is_alike_lies_near(index: Any) -> None:
    shares: list[float] = []
    drawn = maps.draw(index, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    groups = np.array([hit.id.partition("-")[0] for hit in drawn.sample.passages])
    away = np.linalg.norm(drawn.points[:, None] - drawn.points[None], axis=2)
    nearest = np.argsort(away, axis=1)[:, 1:6]
    assert (groups[nearest] == groups[:, None]).mean() > 0.95
    assert drawn.points.min(axis=0).tolist() == [0, 0]
    assert drawn.points.max() == 1
    assert {topic.name.split(", ")[0] for topic in drawn.topics} & set(" ".join(
        [*GROUPS, *GROUPS.values()]).split())  # fmt: skip


def test_the_same_vectors_give_the_same_points() -> None:
    vectors = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
    np.testing.assert_array_equal(projection.project(vectors), projection.project(vectors))


@pytest.mark.parametrize("number", [0, 1, 2, 3, 11, 12, 13])
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_few_vectors_have_points_too(number: int, dim: int) -> None:
    vectors = np.random.default_rng(0).standard_normal((number, dim)).astype(np.float32)
    points = projection.project(vectors)
    assert points.shape == (number, 2)
    assert np.isfinite(points).all()
    assert number < 2 or points.max() == 1


def test_equal_vectors_have_points_too() -> None:
    assert np.isfinite(projection.project(np.ones((20, 4), np.float32))).all()


def test_points_are_kept_until_the_index_changes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def counted(vectors: Any, _: Any) -> Any:
        calls.append(len(vectors))
        return np.zeros((len(vectors), 2), np.float32)

    monkeypatch.setattr(maps, "project", counted)
    with semsearch.create(folder / "one", encoder=WordEncoder(32)) as index:
        index.add({"id": "a", "text": "a"})
        maps.draw(index)
        maps.draw(index)
        assert calls == [1]
        index.delete("a")
        index.add({"id": "b", "text": "b"})
        assert maps.draw(index).sample.passages[0].id == "b"
        assert calls == [1, 1]
    (entry,) = cache_folder().rglob("*.npy")  # that of the earlier commit is gone
    entry.write_bytes(b"damaged")
    with semsearch.open(folder / "one", encoder=WordEncoder(32)) as index:
        maps.draw(index)
    assert calls == [1, 1, 1]


def test_a_sample_stands_for_all(index: Any) -> None:
    all_of_it, some = index.sample(1000), index.sample(30)
    assert (len(all_of_it.passages), all_of_it.total) == (120, 120)
    assert (len(some.passages), some.total) == (30, 120)
    assert some.vectors.shape == (30, 32)
    assert [hit.id for hit in index.sample(30).passages] == [hit.id for hit in some.passages]
    rows = {hit.chunk: row for row, hit in enumerate(all_of_it.passages)}
    chosen = [rows[hit.chunk] for hit in some.passages]
    np.testing.assert_array_equal(all_of_it.vectors[chosen], some.vectors)


def test_without_its_extra_a_map_names_it(index: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openTSNE", None)
    with pytest.raises(DependencyMissing, match=r"semsearch\[map\]"):
        maps.draw(index)


def test_topics_are_named_by_words_that_others_do_not_hold(index: Any) -> None:
    passages = index.sample(120).passages
    corners = {"bread": (0, 0), "moon": (1, 0), "tap": (0, 1)}
    places = [corners[hit.id.partition("-")[0]] for hit in passages]
    points = np.array(places, np.float32) + np.random.default_rng(0).normal(
        scale=0.01, size=(120, 2)
    ).astype(np.float32)
    for topic in topics(points, [hit.text for hit in passages]):
        group = next(
            name for name, at in corners.items() if np.hypot(topic.x - at[0], topic.y - at[1]) < 0.2
        )
        assert set(topic.name.split(", ")) <= {group, *GROUPS[group].split()}


@pytest.fixture
def pictures(folder: Path) -> Iterator[Any]:
    """An index of 44 pictures: those of the sample, and each again mirrored."""
    with semsearch.create(folder / "pictures", encoder="vae") as index:
        for place in ("home", "away"):
            index.add(
                {"id": f"{place}/{file.name}", "image": file} for file in PICTURES.glob("*.jpg")
            )
        yield index


def test_pictures_are_called_by_their_names(pictures: Any, tmp_path: Path) -> None:
    import pyarrow.parquet

    found = maps.draw(pictures)
    assert found.topics
    named = {word for topic in found.topics for word in topic.name.split(", ")}
    assert named <= set(re.findall("[a-z]{3,}", " ".join(pictures.ids())))
    table.write_table(found, tmp_path / "map.parquet")
    texts = pyarrow.parquet.read_table(tmp_path / "map.parquet")["text"].to_pylist()
    assert texts == pictures.ids()
    document.write_document(found, tmp_path / "map.html", "pictures")
    told = (tmp_path / "map.html").read_text("utf-8")
    assert '"noun": "picture"' in told
    assert "sha256:" not in told


# -- files ---------------------------------------------------------------------------------------


def drawn(index: Any) -> maps.Map:
    sample = index.sample(120)
    places = np.stack([np.arange(120) % 12 / 11, np.arange(120) // 12 / 11], axis=1)
    return maps.Map(sample, places.astype(np.float32), [maps.Topic(0.5, 0.5, "bread, oven")])


def test_a_table_has_a_row_for_each_passage(index: Any, tmp_path: Path) -> None:
    import pyarrow.parquet

    table.write_table(drawn(index), tmp_path / "map.parquet")
    read = pyarrow.parquet.read_table(tmp_path / "map.parquet")
    assert read.column_names == [
        *("id", "chunk", "title", "text", "source", "x", "y", "group", "metadata.id", "mixed")
    ]
    last = read.slice(119).to_pylist()[0]
    assert (last["id"], last["text"]) == ("tap-39", "tap washer pipe number39")
    assert (last["metadata.id"], last["mixed"]) == (39, "39")  # of several kinds: JSON
    assert last["x"] == 1.0
    assert last["y"] == pytest.approx(9 / 11)


def test_a_picture_has_dots_where_points_are(index: Any, tmp_path: Path) -> None:
    from PIL import Image

    picture.write_picture(drawn(index), tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    height, width, _ = pixels.shape
    assert width == 1600
    assert height == pytest.approx(1600 - 1480 * 2 / 11, abs=1)
    blue = pixels[..., 2] - pixels[..., 0]
    assert blue[height - 60, 60] > 50  # the first point is at the left below
    assert blue[60, 60 + 1480] > 50
    assert blue[60 + 67, 60 + 67] == 0


def test_a_document_is_one_file_that_texts_cannot_end(index: Any, tmp_path: Path) -> None:
    index_map = drawn(index)
    object.__setattr__(index_map.sample.passages[0], "text", "</script><script>bad()</script>")
    document.write_document(index_map, tmp_path / "map.html", "notes & more")
    text = (tmp_path / "map.html").read_text("utf-8")
    assert "<title>notes &amp; more</title>" in text
    assert text.count("<script") == text.count("</script>") == 2
    assert not re.search(r"(?:src|href)=|https?://|@import|%[A-Z]+%", text)
    data = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)
    assert data
    assert json.loads(data[1])["passages"][0]["text"] == "</script><script>bad()</script>"
    assert stat.S_IMODE((tmp_path / "map.html").stat().st_mode) & 0o044


# -- the command ---------------------------------------------------------------------------------


def test_the_command_writes_all_that_is_asked_for(path: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"map.{kind}" for kind in ("png", "html", "parquet")]
    outputs = [argument for file in files for argument in ("-o", str(file))]
    done = CliRunner().invoke(cli.main, ["map", "--index", str(path), "--points", "50", *outputs])
    assert done.exit_code == 0, done.output
    assert re.match(
        r"Drew a sample of 50 of 120 passages \(--points takes more\) in .* -> ", done.output
    )
    assert all(file.stat().st_size > 1000 for file in files)


def test_the_command_tells_programs_what_it_drew(path: Path, tmp_path: Path) -> None:
    file = str(tmp_path / "map.PNG")
    done = CliRunner().invoke(cli.main, ["map", "--index", str(path), "-o", file, "--json"])
    assert json.loads(done.output) == {"passages": 120, "total": 120, "files": [file]}


def test_the_command_knows_how_large_a_map_may_be() -> None:
    """It says so before it imports what draws."""
    (points,) = (option for option in map_.params if option.name == "points")
    assert isinstance(points.type, click.IntRange)
    assert (points.default, points.type.max) == (maps.POINTS, maps.MOST_POINTS)
    assert f"at most {maps.MOST_POINTS};" in str(points.to_info_dict()["help"])


def test_an_unknown_kind_is_refused_before_anything_is_drawn(path: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        cli.main, ["map", "--index", str(path), "-o", str(tmp_path / "a.svg")]
    )
    assert done.exit_code == 2
    assert "expected a name that ends in .png, .html, .parquet" in done.output
