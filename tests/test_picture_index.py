"""An index of pictures: the same verbs as one of texts, over latents that can be decoded."""

from __future__ import annotations

import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from encoders import PixelEncoder, WordEncoder
from numpy.typing import NDArray
from PIL import Image
from vaes import DATASETS, KODAK, TAESD, small_model

import semsearch
from semsearch import (
    Index,
    IngestError,
    InvalidArgument,
    LatentSpaceMismatch,
    ingest,
    pictures,
    quality,
    search_vectors,
)
from semsearch.cli import main

NAMES = ["a.png", "b.jpg", "c.webp", "below/d.bmp"]


def blobs(seed: int, width: int = 40, height: int = 30) -> Image.Image:
    """A smooth picture that is like no other."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def seen(picture: object) -> pictures.Pixels:
    """What the encoder sees of it."""
    return PixelEncoder().prepared(pictures.read(picture))  # type: ignore[arg-type]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    for seed, name in enumerate(NAMES):
        blobs(seed).save(folder / name)
    return folder


@pytest.fixture
def encoder() -> PixelEncoder:
    return PixelEncoder()


@pytest.fixture
def index(tmp_path: Path, photos: Path, encoder: PixelEncoder) -> Iterator[Index]:
    with semsearch.create(tmp_path / "index", encoder=encoder) as made:
        made.ingest(photos)
        yield made


@pytest.fixture
def texts(tmp_path: Path) -> Iterator[Index]:
    with semsearch.create(tmp_path / "texts", encoder=WordEncoder()) as made:
        made.add({"id": "a", "text": "a dog"})
        yield made


# -- in ------------------------------------------------------------------------------------------


def test_each_picture_of_a_folder_is_a_document(index: Index, photos: Path) -> None:
    assert index.ids() == [f"photos/{name}" for name in ["a.png", "b.jpg", "below/d.bmp", "c.webp"]]
    found = index.get("photos/b.jpg")
    assert found is not None
    assert found.metadata == {"width": 40, "height": 30, "format": "JPEG"}
    assert found.source == str(photos / "b.jpg")
    assert found.text == "sha256:" + pictures.sha256(photos / "b.jpg")
    assert index.ids(where='format = "PNG"') == ["photos/a.png"]
    assert index.verify().ok


def test_what_did_not_change_is_not_encoded_again(
    index: Index, photos: Path, encoder: PixelEncoder
) -> None:
    encoder.encoded = 0
    assert index.ingest(photos).unchanged == 4
    assert encoder.encoded == 0
    blobs(9).save(photos / "a.png")
    shutil.move(photos / "b.jpg", photos / "e.jpg")
    report = index.ingest(photos, prune=True)
    assert (report.added, report.replaced, report.unchanged, report.pruned) == (1, 1, 2, 1)
    assert encoder.encoded == 2
    np.testing.assert_array_equal(index.decode("photos/a.png")["photos/a.png"], seen(blobs(9)))


def test_a_file_that_is_no_picture_is_a_reject_and_the_rest_goes_on(
    index: Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5_000)
    monkeypatch.setattr(pictures, "MAX_BYTES", 50_000)
    (photos / "empty.png").touch()
    (photos / "lying.jpg").write_text("Dear diary")
    (photos / "cut.png").write_bytes((photos / "a.png").read_bytes()[:300])
    (photos / "large.png").write_bytes(bytes(50_001))
    Image.new("1", (30_000, 20)).save(photos / "bomb.png")
    shutil.copy(photos / "a.png", photos / "good.jpg")  # a PNG all the same
    (photos / "notes.txt").write_text("no picture")
    report = index.ingest(photos)
    assert (report.added, report.unchanged, report.rejected) == (1, 4, 5)
    reasons = {Path(one.source).name: one.reason for one in index.rejects()}
    assert reasons.keys() == {"empty.png", "lying.jpg", "cut.png", "large.png", "bomb.png"}
    assert reasons["empty.png"] == "the file is empty"
    assert reasons["lying.jpg"] == "not a picture of a format Pillow reads"
    assert reasons["cut.png"].startswith("a damaged picture: ")
    assert reasons["large.png"].startswith("larger than ")
    assert reasons["bomb.png"].startswith("more pixels than the limit of 5,000")
    (photos / "cut.png").unlink()
    assert index.ingest(photos, prune=True).pruned == 0
    assert len(index) == 5


def black_png(width: int, height: int) -> bytes:
    """A whole file of PNG, one bit a pixel, that was never a picture in memory."""
    head = struct.pack(">2I5B", width, height, 1, 0, 0, 0, 0)
    packer, row = zlib.compressobj(1), bytes(1 + (width + 7) // 8)
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    chunks = ((b"IHDR", head), (b"IDAT", rows), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def test_of_pictures_30000_pixels_long_a_square_is_refused_and_a_strip_is_not(
    index: Index, photos: Path
) -> None:
    (photos / "square.png").write_bytes(black_png(30_000, 30_000))
    (photos / "strip.png").write_bytes(black_png(30_000, 200))
    report = index.ingest(photos)
    assert (report.added, report.unchanged, report.rejected) == (1, 4, 1)
    (reject,) = index.rejects()
    assert Path(reject.source).name == "square.png"
    assert reject.reason.startswith("more pixels than the limit of 89,478,485")
    found = index.get("photos/strip.png")
    assert found
    assert found.metadata == {"width": 30_000, "height": 200, "format": "PNG"}
    assert index.decode("photos/strip.png")["photos/strip.png"].max() == 0


def test_a_picture_that_breaks_keeps_its_document(index: Index, photos: Path) -> None:
    whole = (photos / "a.png").read_bytes()
    (photos / "a.png").write_bytes(whole[:300])
    report = index.ingest(photos, prune=True)
    assert (report.replaced, report.unchanged, report.rejected, report.pruned) == (0, 3, 1, 0)
    np.testing.assert_array_equal(index.decode("photos/a.png")["photos/a.png"], seen(blobs(0)))
    (photos / "a.png").write_bytes(whole)
    assert index.ingest(photos).unchanged == 4
    assert not index.rejects()


def test_a_picture_that_changes_while_it_is_indexed_is_rejected(
    index: Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    addressed = pictures.addressed

    def and_changed(document: semsearch.Document) -> semsearch.Document:
        found = addressed(document)
        blobs(8).save(str(document.source))
        return found

    monkeypatch.setattr(pictures, "addressed", and_changed)
    blobs(7).save(photos / "new.png")
    index.ingest(photos / "new.png")
    assert [one.reason for one in index.rejects()] == ["has changed meanwhile; index it again"]


def test_pictures_are_added_by_a_program(index: Index, photos: Path) -> None:
    index.add(
        [
            {"id": "file", "image": photos / "a.png", "metadata": {"width": "wide"}},
            {"id": "pillow", "image": blobs(5)},
            semsearch.Document("pixels", "", image=np.asarray(blobs(6)), source="camera"),
        ]
    )
    file, pillow, pixels = index.get(["file", "pillow", "pixels"])
    assert file
    assert pillow
    assert pixels
    assert file.metadata == {"width": "wide", "height": 30, "format": "PNG"}
    assert file.source == str(photos / "a.png")
    assert (pillow.metadata, pillow.source) == ({"width": 40, "height": 30}, None)
    assert pixels.source == "camera"
    assert index.add({"id": "pillow", "image": blobs(5)}).unchanged == 1
    np.testing.assert_array_equal(index.decode("pixels")["pixels"], seen(blobs(6)))


def test_a_turned_picture_says_its_upright_size(index: Index, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    blobs(1).save(tmp_path / "turned.jpg", exif=exif)
    index.add({"id": "turned", "image": tmp_path / "turned.jpg"})
    found = index.get("turned")
    assert found
    assert found.metadata == {"width": 30, "height": 40, "format": "JPEG"}


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"id": "x", "text": "a dog"}, "document 'x': expected a picture as 'image', and no text"),
        ({"id": "x", "text": "a dog", "image": "a.png"}, "expected a picture as 'image', and no"),
        ({"id": "x", "image": "nowhere.png"}, r"document 'x': nowhere\.png: cannot be read"),
        ({"id": "x", "image": 5}, "document 'x': picture: expected a file"),
    ],
)
def test_what_is_no_picture_cannot_be_added(index: Index, document: Any, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        index.add([{"id": "good", "image": blobs(5)}, document])
    assert len(index) == 4


def test_vectors_are_not_given_to_an_index_of_pictures(index: Index) -> None:
    with pytest.raises(InvalidArgument, match="an index of pictures makes its own"):
        index.add({"id": "x", "image": blobs(5)}, np.ones((1, 192)))


def test_memory_is_bounded_by_windows_and_by_commits(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for seed in range(200):
        blobs(seed, 8, 8).save(many / f"{seed}.png")
    monkeypatch.setattr(ingest, "COMMIT_BYTES", 70 * 384)
    before = index.info().version
    assert index.ingest(many).added == 200
    assert index.info().version >= before + 2
    assert index.verify().ok


# -- out -----------------------------------------------------------------------------------------


def test_a_picture_finds_itself_and_what_resembles_it(index: Index, photos: Path) -> None:
    for number, name in enumerate(NAMES):
        best, *_ = index.search(semsearch.image(photos / name), k=4)
        assert best.id == f"photos/{name}"
        assert best.score > 0.999
        assert index.search(semsearch.image(blobs(number, 80, 60)), k=1)[0].id == best.id
    assert len(index.search(semsearch.image(photos / "a.png"), where='format != "PNG"')) == 3
    assert index.search(semsearch.like("photos/a.png"))[0].id != "photos/a.png"
    steps = index.between(semsearch.image(photos / "a.png"), semsearch.like("photos/b.jpg"))
    assert [steps[0][0].id, steps[-1][0].id] == ["photos/a.png", "photos/b.jpg"]


def test_latents_are_kept_and_decode_without_the_files(index: Index, photos: Path) -> None:
    expected = {f"photos/{name}": seen(photos / name) for name in NAMES}
    shutil.rmtree(photos)
    found = index.decode(list(expected))
    for id_, picture in expected.items():
        np.testing.assert_array_equal(found[id_], picture)
    latents = index.latents("photos/a.png")["photos/a.png"]
    assert latents.shape == (8, 8, 3)
    assert latents.dtype == np.float16


def test_latents_survive_what_changes_segments(index: Index) -> None:
    for seed in range(5, 25):
        index.add({"id": str(seed), "image": blobs(seed)})
    index.delete(["7", "photos/b.jpg"])
    index.optimize()
    assert len(index.info().segments) == 1
    assert index.verify().ok
    for seed in (5, 6, 24):
        np.testing.assert_array_equal(index.decode(str(seed))[str(seed)], seen(blobs(seed)))


def test_questions_of_the_other_kind_are_refused(index: Index, texts: Index) -> None:
    for mode in ("dense", "keyword", "hybrid"):
        with pytest.raises(InvalidArgument, match=r"holds pictures.*--image FILE"):
            index.search("a dog", mode=mode)
    with pytest.raises(InvalidArgument, match=r"'hybrid' finds words, and .* holds pictures"):
        index.search(semsearch.image(blobs(1)), mode="hybrid")
    with pytest.raises(InvalidArgument, match=r"holds no pictures.*words.*--encoder vae"):
        texts.search(semsearch.image(blobs(1)))
    with pytest.raises(InvalidArgument, match="holds no pictures"):
        texts.decode("a")
    with pytest.raises(InvalidArgument, match=r"document 0 \('x'\): the index holds no pictures"):
        texts.add({"id": "x", "image": blobs(1)})
    with pytest.raises(InvalidArgument, match="no document with id 'x'"):
        index.decode("x")


def test_sources_of_the_other_kind_are_refused(index: Index, texts: Index, photos: Path) -> None:
    (photos.parent / "notes.txt").write_text("a dog")
    with pytest.raises(IngestError, match=r"notes\.txt.*use \.jpg.*the index holds pictures"):
        index.ingest(photos.parent / "notes.txt")
    with pytest.raises(IngestError, match="does not read standard input"):
        index.ingest("-")
    with pytest.raises(IngestError, match=r"a\.png.*is of no kind that is read"):
        texts.ingest(photos / "a.png")


# -- keeping -------------------------------------------------------------------------------------


def damaged(index: Index) -> None:
    (file,) = (index.path / "segments").glob("*.arrow")
    content = bytearray(file.read_bytes())
    content[-2000] ^= 0xFF
    file.write_bytes(content)
    assert not index.verify().ok


def test_a_damaged_latent_is_noticed_and_made_again_from_the_file(
    index: Index, photos: Path
) -> None:
    damaged(index)
    assert index.repair().after.ok
    for name in NAMES:
        np.testing.assert_array_equal(
            index.decode(f"photos/{name}")[f"photos/{name}"], seen(photos / name)
        )


def test_without_the_file_repair_says_what_is_missing(index: Index, photos: Path) -> None:
    damaged(index)
    (photos / "a.png").unlink()
    report = index.repair()
    assert not report.after.ok
    assert "not encoded again" in report.actions[0]
    assert "a.png" in report.actions[0]


# -- with a VAE ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("vaes") / "small"
    small_model("shifted").save_pretrained(folder)
    return f"vae:{folder}@32"


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., str]:
    """Run a command on an index, and get what it prints, or its one error line."""

    def _run(*arguments: str | Path, code: int = 0) -> str:
        words = [*map(str, arguments), "--index", str(tmp_path / "made")]
        result = CliRunner().invoke(main, words, catch_exceptions=False)
        assert result.exit_code == code, result.output
        return " ".join(result.output.split())

    return _run


def test_the_command_line_indexes_and_searches_pictures(
    photos: Path, vae: str, run: Callable[..., str]
) -> None:
    (photos / "broken.png").write_text("x")
    told = run("index", photos, "--encoder", vae, code=3)
    assert "Indexed 4 documents (4 new" in told
    assert "broken.png: not a picture" in told
    assert "0 new, 0 changed, 4 unchanged" in run("index", photos, code=3)
    found = json.loads(run("search", "--image", photos / "a.png", "-k", "2", "--json"))
    assert found["hits"][0]["id"] == "photos/a.png"
    assert found["hits"][0]["metadata"]["format"] == "PNG"
    shown = run("search", "--image", photos / "a.png", "--where", 'format = "JPEG"')
    assert shown.startswith("1. ")
    assert "photos/b.jpg JPEG · 40x30" in shown
    assert "photos/a.png" not in run("search", "--like", "photos/a.png")
    assert "ask with a picture: --image" in run("search", "a dog", code=1)
    assert "a picture" in run("info")
    assert run("verify").endswith("all is well")


def test_an_index_remembers_its_vae_and_size(tmp_path: Path, vae: str) -> None:
    with semsearch.create(tmp_path / "made", encoder=vae) as made:
        made.add({"id": "a", "image": blobs(1)})
        assert made.space.latent == (4, 16, 16)
        assert made.space.dim == 60
        assert made.decode("a")["a"].shape == (32, 32, 3)
    with semsearch.open(tmp_path / "made") as again:
        assert again.info().encoder == vae
        assert again.search(semsearch.image(blobs(1)))[0].score > 0.999
    with pytest.raises(LatentSpaceMismatch, match="open it with the encoder it was made with"):
        semsearch.open(tmp_path / "made", encoder=vae.replace("@32", "@48"))


def test_an_index_whose_vectors_were_made_in_another_way_is_refused(
    tmp_path: Path, vae: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_vectors, "RECIPE", "another recipe")
    with semsearch.create(tmp_path / "made", encoder=vae) as made:
        made.add({"id": "a", "image": blobs(1)})
    monkeypatch.undo()
    with pytest.raises(LatentSpaceMismatch, match=r"vectors are of .*, or index anew"):
        semsearch.open(tmp_path / "made")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("vae:nowhere", "no VAE named 'nowhere' here"),
        ("vae:nowhere@64", "no VAE named 'nowhere' here"),
    ],
)
def test_a_vae_that_is_not_there(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        semsearch.create(tmp_path / "made", encoder=name)
    with pytest.raises(InvalidArgument, match="encodes pictures"):
        semsearch.encoder(name)


def test_options_of_texts_are_refused(tmp_path: Path, vae: str) -> None:
    with pytest.raises(InvalidArgument, match="an index of pictures has no chunks"):
        semsearch.create(tmp_path / "made", encoder=vae, chunk_tokens=64)
    with pytest.raises(InvalidArgument, match="'openvino' does not run vae:"):
        semsearch.create(tmp_path / "made", encoder=vae, runtime="openvino")


@pytest.mark.datasets
@pytest.mark.skipif(not TAESD.is_dir(), reason="needs ../shared/datasets")
def test_edited_copies_are_found_with_published_weights(tmp_path: Path) -> None:
    copies = DATASETS / "images" / "imagededup-mini"
    with semsearch.create(tmp_path / "made", encoder=f"vae:{TAESD / 'taef2'}") as made:
        report = made.ingest(copies)
        assert (report.added, report.rejected) == (15, 1)
        edited = [id_ for id_ in made.ids() if "_" in Path(id_).stem]
        assert len(edited) == 3
        for id_ in edited:
            best = made.search(semsearch.like(id_), k=1)[0]
            assert Path(best.id).stem.partition("_")[0] == Path(id_).stem.partition("_")[0]
        decoded: NDArray[np.uint8] = made.decode(edited[0])[edited[0]]
        assert decoded.shape == (64, 64, 3)


@pytest.mark.datasets
@pytest.mark.skipif(not (TAESD.is_dir() and KODAK.is_dir()), reason="needs ../shared/datasets")
@pytest.mark.parametrize(
    ("name", "photos", "least", "most"),
    [
        ("vae@256", 24, 26, 30),
        (f"vae:{TAESD / 'taef2'}@256", 4, 29.6, 32.4),  # as the weights' source says of four
    ],
)
def test_photos_are_found_by_their_copies_and_decoded_from_the_index(
    tmp_path: Path, name: str, photos: int, least: float, most: float
) -> None:
    (tmp_path / "kodak").mkdir()
    for path in sorted(KODAK.glob("*.png"))[:photos]:
        with Image.open(path) as photo:
            left, top = (photo.width - 256) // 2, (photo.height - 256) // 2
            photo.crop((left, top, left + 256, top + 256)).save(tmp_path / "kodak" / path.name)
    with semsearch.create(tmp_path / "made", encoder=name) as made:
        assert made.ingest(tmp_path / "kodak").added == photos
        ratios = []
        for id_, restored in made.decode(made.ids()).items():
            with Image.open(tmp_path / id_) as photo:
                ratios.append(quality.psnr(np.asarray(photo), restored))
                photo.crop((13, 13, 243, 243)).save(tmp_path / "copy.jpg", quality=40)
            assert made.search(semsearch.image(tmp_path / "copy.jpg"), k=1)[0].id == id_
        assert least <= np.mean(ratios) <= most


def test_a_fifo_is_not_waited_for(photos: Path, index: Index) -> None:
    os.mkfifo(photos / "pipe.png")
    assert index.ingest(photos).rejected == 1
