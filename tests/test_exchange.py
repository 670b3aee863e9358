"""Latents of an index to a file and back: nothing is encoded twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from encoders import PixelEncoder, WordEncoder
from PIL import Image
from vaes import small_model

import semsearch
from semsearch import Index, InvalidArgument, Latents, LatentSpace, LatentSpaceMismatch
from semsearch.cli import main


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for seed in range(3):
        picture(seed).save(tmp_path / "photos" / f"{seed}.png")
    return tmp_path / "photos"


@pytest.fixture
def index(tmp_path: Path, photos: Path) -> Iterator[Index]:
    with semsearch.create(tmp_path / "index", encoder=PixelEncoder()) as made:
        made.ingest(photos)
        yield made


def test_what_is_exported_can_be_imported_without_the_pictures(
    index: Index, tmp_path: Path
) -> None:
    file = tmp_path / "latents.safetensors"
    semsearch.export_latents(index).save(file, half=True)
    encoder = PixelEncoder()
    with semsearch.create(tmp_path / "other", encoder=encoder) as other:
        report = semsearch.import_latents(other, Latents.load(file))
        assert (report.added, encoder.encoded) == (3, 0)
        assert other.ids() == index.ids()
        for id_ in index.ids():
            np.testing.assert_array_equal(other.decode(id_)[id_], index.decode(id_)[id_])
            np.testing.assert_allclose(other.vectors(id_)[id_], index.vectors(id_)[id_], atol=1e-3)
        assert semsearch.import_latents(other, Latents.load(file)).skipped == 3
        assert other.verify().ok


def test_an_ingest_after_an_import_encodes_nothing_and_adds_sources(
    index: Index, photos: Path, tmp_path: Path
) -> None:
    latents = semsearch.export_latents(index)
    encoder = PixelEncoder()
    with semsearch.create(tmp_path / "other", encoder=encoder) as other:
        semsearch.import_latents(other, latents)
        other.ingest(photos)
        assert encoder.encoded == 0
        found = other.get("photos/0.png")
        assert found
        assert found.source == str(photos / "0.png")
        assert found.metadata == {"width": 16, "height": 12, "format": "PNG"}
        picture(9).save(photos / "0.png")
        assert other.ingest(photos).replaced == 1
        assert encoder.encoded == 1


def test_only_what_matches_is_exported(index: Index) -> None:
    latents = semsearch.export_latents(index, 'id = "photos/1.png"')
    (only,) = latents.pictures
    assert (only.name, only.width, only.height) == ("photos/1.png", 16, 12)
    document = index.get("photos/1.png")
    assert document
    assert document.text == f"sha256:{only.sha256}"
    assert len(semsearch.export_latents(index, "width > 16")) == 0


def test_latents_of_another_space_are_refused(index: Index, tmp_path: Path) -> None:
    other = LatentSpace("other", "image", (8, 8, 3), "0" * 64)
    latents = semsearch.export_latents(index)
    with pytest.raises(LatentSpaceMismatch, match=r"are of other .*keeps those of pixels"):
        semsearch.import_latents(index, Latents(other, latents.values, latents.pictures))
    with (
        semsearch.create(tmp_path / "texts", encoder=WordEncoder()) as texts,
        pytest.raises(InvalidArgument, match="holds no pictures"),
    ):
        semsearch.export_latents(texts)


def test_files_of_the_command_line_are_of_the_vae_and_size(photos: Path, tmp_path: Path) -> None:
    small_model("shifted").save_pretrained(tmp_path / "vae")
    file, path = tmp_path / "latents.safetensors", tmp_path / "made"
    with semsearch.create(path, encoder=f"vae:{tmp_path / 'vae'}@32") as made:
        made.ingest(photos)
        expected = made.decode("photos/0.png")["photos/0.png"]
    run = CliRunner().invoke
    done = run(main, ["latent", "export", "--index", str(path), "-o", str(file)])
    assert done.output.startswith("3 latents -> ")
    done = run(main, ["latent", "import", str(file), "--index", str(path)])
    assert done.output.startswith("3 latents (0 new, 3 there already) -> ")
    vae = ["--vae", str(tmp_path / "vae"), "-o", str(tmp_path / "out")]
    assert run(main, ["latent", "decode", str(file), *vae]).exit_code == 0
    with Image.open(tmp_path / "out" / "0.png") as decoded:
        assert np.abs(np.asarray(decoded).astype(int) - expected).max() <= 1
    encoded = ["latent", "encode", str(photos / "0.png"), "--size", "32", "-o", str(file)]
    assert run(main, [*encoded, "--vae", str(tmp_path / "vae")]).exit_code == 0
    assert "1 new" in run(main, ["latent", "import", str(file), "--index", str(path)]).output
