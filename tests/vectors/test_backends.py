"""What is particular to one kind, or to the choice among them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from semsearch.errors import BackendError, DependencyMissing, InvalidArgument
from semsearch.vectors import KINDS, backend, check_wanted, ivf, kind_for
from semsearch.vectors import exact as exact_module
from semsearch.vectors.base import Allowed
from semsearch.vectors.exact import NumpyExact, scan
from semsearch.vectors.faiss import library
from semsearch.vectors.flat import FaissExact
from semsearch.vectors.ivf import IVF
from vectors.corpora import duplicates, gaussian


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_found_by_its_name(kind: str) -> None:
    assert backend(kind).kind == kind


def test_an_unknown_kind_names_those_there_are() -> None:
    with pytest.raises(InvalidArgument, match=r"'hnsw9'.*exact, fp16, sq8, ivf, .*, hnsw"):
        backend("hnsw9")


@pytest.mark.parametrize(
    ("rows", "recall", "memory", "kind"),
    [
        (0, 0.95, None, "exact"),
        (19_999, 1.0, 1e12, "exact"),
        (20_000, 0.95, None, "ivf"),
        (10_000_000, 0.999, None, "ivf"),
        (20_000, 1.0, None, "sq8"),
        (1_000_000, 1.0, 400e6, "sq8"),
        (1_000_000, 1.0, 300e6, "exact"),
        (1_000_000, 0.95, 2e9, "hnsw"),
        (1_000_000, 0.95, 1.5e9, "ivf"),
        (200_000, 0.95, 2e9, "ivf"),
        (1_000_000, 0.95, 50e6, "exact"),
    ],
)
def test_auto_takes_what_fits(rows: int, recall: float, memory: float | None, kind: str) -> None:
    assert kind_for(rows, 384, recall, memory) == kind


def test_auto_reckons_with_codes_that_are_longer_where_three_does_not_divide() -> None:
    assert kind_for(1_000_000, 1024, memory=250e6) == "exact"
    assert kind_for(1_000_000, 1024, memory=300e6) == "ivf"


@pytest.mark.parametrize(
    ("kind", "recall", "memory", "message"),
    [
        ("numpy", 0.95, None, "kind: expected one of auto, exact, fp16"),
        ("auto", 0.0, None, "target_recall: expected a number above 0"),
        ("auto", 1.1, None, "target_recall: expected a number above 0"),
        ("auto", float("nan"), None, "target_recall: expected a finite number"),
        ("auto", "0.9", None, "target_recall: expected a finite number"),
        ("hnsw", 1.0, None, r"target_recall: kind 'hnsw' .* 0\.999 .*'sq8' find all"),
        ("auto", 0.95, 0, "memory: expected bytes above 0"),
        ("auto", 0.95, float("nan"), "memory: expected a finite number"),
        ("auto", 0.95, "8", "memory: expected a finite number"),
    ],
)
def test_what_cannot_be_had_is_refused(
    kind: str, recall: float, memory: float | None, message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        check_wanted(kind, recall, memory)


def test_exact_kinds_find_all() -> None:
    for kind in ("auto", "exact", "fp16", "sq8"):
        check_wanted(kind, 1.0, None)


def test_importing_every_backend_does_not_import_faiss() -> None:
    code = (
        "import sys; from semsearch.vectors import KINDS, backend; list(map(backend, KINDS)); "
        "sys.exit('faiss' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_faiss_names_the_extras(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    library.cache_clear()
    with pytest.raises(DependencyMissing, match=r"semsearch\[cpu\].*semsearch\[gpu\]"):
        IVF.build(gaussian(3, 4))
    with pytest.raises(DependencyMissing, match=r"semsearch\[cpu\]"):
        FaissExact.build(gaussian(3, 4)).search(gaussian(1, 4), 1)


def test_an_error_of_faiss_is_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = gaussian(100, 4)
    index = IVF.build(vectors)
    monkeypatch.setattr(ivf, "_ROW_COST", 1e9)
    monkeypatch.setattr(index._lists, "_index", Broken())
    with pytest.raises(BackendError, match="searching: of its own") as caught:
        index.search(vectors[:1], 3)
    assert isinstance(caught.value.__cause__, RuntimeError)


class Broken:
    nlist = 20

    def search_c(self, *_: object) -> None:
        raise RuntimeError("of its own")


@pytest.mark.parametrize("scores", [1, 7, 64, 2**20])
@pytest.mark.parametrize("share", [None, 0.2, 0.7])
def test_block_sizes_change_nothing(
    monkeypatch: pytest.MonkeyPatch, scores: int, share: float | None
) -> None:
    vectors, queries = duplicates()
    allowed = None if share is None else np.random.default_rng(0).random(len(vectors)) < share
    truth = NumpyExact.build(vectors).search(
        queries, 40, allowed=None if allowed is None else Allowed(allowed)
    )
    monkeypatch.setattr(exact_module, "_SCAN_SCORES", scores * len(queries))
    monkeypatch.setattr(exact_module, "_GATHER_ROWS", scores)
    monkeypatch.setattr(exact_module, "_BATCH_SCORES", scores * 300)
    found = scan(queries, vectors, 40, None if allowed is None else Allowed(allowed))
    np.testing.assert_array_equal(found.rows, truth.rows)
    np.testing.assert_array_equal(found.similarities, truth.similarities)
