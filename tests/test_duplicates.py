"""Duplicates: groups of documents that resemble each other, in any index."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from encoders import PixelEncoder, WordEncoder
from numpy.typing import NDArray
from PIL import Image

import semsearch
from semsearch import Index, InvalidArgument, duplicates
from semsearch.cli import main

SPREAD = 0.05


def groups(index: Index, threshold: float, **options: str) -> list[tuple[str, ...]]:
    return [group.ids for group in index.duplicates(threshold, **options)]


def expected(vectors: NDArray[np.float64], threshold: float) -> list[set[str]]:
    """Connected components of all pairs, the plain way."""
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    near = units @ units.T >= threshold
    left, found = set(range(len(units))), []
    while left:
        group, grown = set[int](), {min(left)}
        while grown > group:
            group = grown
            grown = group | {int(other) for one in group for other in np.flatnonzero(near[one])}
        left -= group
        if len(group) > 1:
            found.append({str(one) for one in group})
    return found


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with semsearch.create(tmp_path / "index", dim=8) as made:
        yield made


def fill(index: Index, vectors: NDArray[np.float64]) -> None:
    documents = [
        {"id": str(n), "text": f"text {n}", "metadata": {"n": n}} for n in range(len(vectors))
    ]
    third = len(vectors) // 3
    for part in (slice(third), slice(third, None)):
        index.add(documents[part], vectors[part])


@pytest.mark.parametrize("threshold", [0.9, 0.99, 0.999])
def test_groups_are_what_comparing_all_with_all_gives(
    index: Index, threshold: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "_BLOCK", 50)
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((60, 8))
    vectors = np.repeat(centres, 5, axis=0) + SPREAD * rng.standard_normal((300, 8))
    fill(index, vectors)
    found = index.duplicates(threshold)
    assert sorted(map(sorted, (group.ids for group in found))) == sorted(
        map(sorted, expected(vectors, threshold))
    )
    assert [group.score for group in found] == sorted((g.score for g in found), reverse=True)
    for group in found:
        assert [int(id_) for id_ in group.ids] == sorted(map(int, group.ids))
        above = groups(index, group.score + 1e-4)
        assert group.ids not in above


def test_more_equal_documents_than_neighbours_are_one_group(index: Index) -> None:
    fill(index, np.vstack([np.ones((150, 8)), -np.ones((2, 8)), np.eye(8)]))
    assert sorted(map(len, groups(index, 0.999))) == [2, 150]


def test_deleted_and_filtered_documents_are_no_copies(index: Index) -> None:
    fill(index, np.vstack([np.ones((4, 8)), np.eye(8)]))
    assert groups(index, 0.9) == [("0", "1", "2", "3")]
    index.delete("1")
    assert groups(index, 0.9) == [("0", "2", "3")]
    assert groups(index, 0.9, where="n >= 2") == [("2", "3")]
    index.delete(["0", "2"])
    assert groups(index, 0.9) == []


def test_passages_of_one_text_are_no_copies_of_each_other(tmp_path: Path) -> None:
    with semsearch.create(tmp_path / "texts", encoder=WordEncoder()) as made:
        made.add({"id": "long", "text": "the same words again. " * 40})
        assert groups(made, 0.99) == []
        made.add({"id": "short", "text": "the same words again."})
        made.add({"id": "other", "text": "nothing of the kind"})
        assert groups(made, 0.9) == [("long", "short")]


def test_a_threshold_is_needed_for_texts_and_must_be_a_cosine(index: Index) -> None:
    with pytest.raises(InvalidArgument, match=r"depends on the texts; give one, such as 0\.95"):
        index.duplicates()
    for bad in (0, -1, 1.1, float("nan")):
        with pytest.raises(InvalidArgument, match=r"threshold: .* from 0\.01 to 1"):
            index.duplicates(bad)


def test_copies_of_pictures_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = Image.effect_noise((64, 64), 90).convert("RGB")
    pictures = {"a": photo, "other": Image.linear_gradient("L"), "b": photo.rotate(0.5)}
    path = tmp_path / "photos"
    with semsearch.create(path, encoder=PixelEncoder()) as made:
        made.add([{"id": id_, "image": picture} for id_, picture in pictures.items()])
        assert [group.ids for group in made.duplicates()] == [("a", "b")]
    result = CliRunner().invoke(main, ["duplicates", "--index", str(path)], catch_exceptions=False)
    assert result.exit_code == 0
    assert result.output.split()[1:] == ["a", "b", "1", "group", "of", "2", "documents"]
    as_json = ["duplicates", "--index", str(path), "--json"]
    (group,) = json.loads(CliRunner().invoke(main, as_json).output)["groups"]
    assert group["ids"] == ["a", "b"]
    assert group["score"] > 0.8
