"""Latents of pictures on files: written, read, decoded, morphed and judged, also as commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from safetensors.numpy import load_file, save_file
from vaes import KODAK, TAESD, small_model

import semsearch
from semsearch import VAE, Latents, pictures, quality
from semsearch import latents as latents_algebra
from semsearch.cli import main
from semsearch.errors import BackendError, InvalidArgument, LatentSpaceMismatch
from semsearch.types import LatentSpace

SIZE = 32


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> VAE:
    folder = tmp_path_factory.mktemp("vaes") / "small"
    small_model("shifted").save_pretrained(folder)
    return VAE(str(folder), size=SIZE)


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Two pictures of different sizes, and a colour."""
    y, x = np.mgrid[:40, :60]
    smooth = np.stack([4 * x, 6 * y, 2 * x + 3 * y], axis=-1).astype(np.uint8)
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    Image.fromarray(smooth).save(paths[0])
    Image.fromarray(255 - smooth.transpose(1, 0, 2)).save(paths[1])
    Image.new("RGB", (SIZE, SIZE), (10, 120, 230)).save(paths[2])
    return paths


@pytest.fixture
def latents(vae: VAE, images: list[Path]) -> Latents:
    return semsearch.encode_images(vae, images)


# -- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [False, True])
def test_latents_come_back_from_a_file(latents: Latents, tmp_path: Path, half: bool) -> None:
    latents.save(tmp_path / "all.safetensors", half=half)
    back = Latents.load(tmp_path / "all.safetensors")
    assert (back.space, back.pictures) == (latents.space, latents.pictures)
    assert back.values.dtype == np.float32
    np.testing.assert_allclose(back.values, latents.values, rtol=1e-3 if half else 0, atol=1e-4)


def test_the_file_is_readable_by_any_program(
    latents: Latents, images: list[Path], tmp_path: Path
) -> None:
    latents.save(tmp_path / "all.safetensors", half=True)
    table = load_file(tmp_path / "all.safetensors")
    assert set(table) == set(map(str, images))
    assert {(tensor.dtype.name, tensor.shape) for tensor in table.values()} == {
        ("float16", latents.space.shape)
    }


def test_origins_are_recorded(latents: Latents, images: list[Path]) -> None:
    origin = latents.pictures[0]
    assert (origin.name, origin.width, origin.height) == (str(images[0]), 60, 40)
    assert len(origin.sha256) == 64
    assert len({picture.sha256 for picture in latents.pictures}) == 3


def test_a_picture_given_twice_is_refused(vae: VAE, images: list[Path]) -> None:
    with pytest.raises(InvalidArgument, match=r"a\.png: given twice"):
        semsearch.encode_images(vae, [images[0], images[0]])


def test_what_is_no_file_of_latents_is_refused(latents: Latents, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    for content in (b"", b"not safetensors, but long enough to look"):
        path.write_bytes(content)
        with pytest.raises(InvalidArgument, match="not a safetensors file"):
            Latents.load(path)
    save_file({"a": np.zeros(1)}, path)
    with pytest.raises(InvalidArgument, match="not a file of latents"):
        Latents.load(path)
    with pytest.raises(InvalidArgument, match="found: a folder"):
        Latents.load(tmp_path)
    with pytest.raises(InvalidArgument, match="found: No such file"):
        Latents.load(tmp_path / "missing")
    latents.save(path)
    with pytest.raises(InvalidArgument, match="cannot be written"):
        latents.save(tmp_path / "missing" / "a.safetensors")
    metadata = {"format": "semsearch-latents-1", "space": latents.space.to_json()}
    save_file({}, path, metadata | {"pictures": '{"a": {"name": "a"}}'})
    with pytest.raises(BackendError, match="damaged"):
        Latents.load(path)


# -- decode and morph ----------------------------------------------------------------------------


def test_decoding_is_that_of_the_vae(vae: VAE, latents: Latents) -> None:
    expected = vae.decode(latents.values)
    np.testing.assert_array_equal(semsearch.decode_images(vae, latents), expected)


def test_latents_of_another_space_are_refused(vae: VAE, latents: Latents) -> None:
    larger = VAE(vae.name, size=2 * SIZE)
    with pytest.raises(LatentSpaceMismatch, match=r"shape \(4, 16, 16\); the VAE's space is small"):
        semsearch.decode_images(larger, latents)
    text = Latents(LatentSpace("words", "text", (3,), "0"), np.zeros((0, 3), np.float32), ())
    with pytest.raises(LatentSpaceMismatch, match="a text space: only latents of pictures"):
        semsearch.decode_images(vae, text)


@pytest.mark.parametrize("linear", [False, True])
def test_a_morph_begins_and_ends_with_the_reconstructions(
    vae: VAE, latents: Latents, linear: bool
) -> None:
    a, b = latents.values[:2]
    frames = semsearch.morph(vae, a, b, 10, linear=linear)
    assert frames.shape == (10, SIZE, SIZE, 3)
    np.testing.assert_allclose(frames[[0, -1]], vae.decode(latents.values[:2]), atol=1)
    steps = np.abs(np.diff(frames.astype(int), axis=0)).mean(axis=(1, 2, 3))
    assert (steps > 0).all()


def test_the_way_is_the_arc_or_the_line(vae: VAE) -> None:
    a, b = np.random.default_rng(1).standard_normal((2, *vae.shape)).astype(np.float32)
    arc, line = (semsearch.morph(vae, a, b, 3, linear=linear)[1] for linear in (False, True))
    half_way = latents_algebra.slerp(a.ravel(), b.ravel(), [0.5]).reshape(1, *vae.shape)
    np.testing.assert_array_equal(arc, vae.decode(half_way)[0])
    np.testing.assert_array_equal(line, vae.decode((a + b)[None] / 2)[0])
    assert (arc != line).any()


def test_a_morph_of_what_does_not_fit_is_refused(vae: VAE, latents: Latents) -> None:
    a, b = latents.values[:2]
    with pytest.raises(InvalidArgument, match="steps: expected 2 or more, got 1"):
        semsearch.morph(vae, a, b, 1)
    with pytest.raises(InvalidArgument, match=r"expected latents \(4, 16, 16\)"):
        semsearch.morph(vae, a, b[:, :8])


# -- fidelity ------------------------------------------------------------------------------------


def test_psnr_and_ssim_of_known_pictures() -> None:
    black, grey = np.zeros((16, 16, 3), np.uint8), np.full((16, 16, 3), 51, np.uint8)
    assert quality.psnr(black, black) == np.inf
    assert quality.psnr(black, grey) == pytest.approx(20 * np.log10(5))
    assert quality.ssim(grey, grey) == pytest.approx(1)
    constant = (0.01 * 255) ** 2  # of the paper; two flat pictures differ in luminance only
    assert quality.ssim(black, grey) == pytest.approx(constant / (51**2 + constant))


def test_fidelity_is_what_is_measured_by_hand(vae: VAE, images: list[Path]) -> None:
    report = semsearch.fidelity(vae, images[0], half=True)
    original = vae.prepared(images[0])
    copy = vae.decode(vae.encode([original]))[0]
    assert report.shape == (4, 16, 16)
    assert report.by_values == 3  # 32 * 32 * 3 numbers for 4 * 16 * 16
    assert report.by_bytes == images[0].stat().st_size / (4 * 16 * 16 * 2)
    assert report.psnr == pytest.approx(quality.psnr(original, copy), abs=0.1)
    assert report.ssim == pytest.approx(quality.ssim(original, copy), abs=0.01)
    assert semsearch.fidelity(vae, original).by_bytes is None


# -- the commands --------------------------------------------------------------------------------


@pytest.fixture
def run(vae: VAE) -> Callable[..., str]:
    """Run a command with the small VAE, and get what it prints, or its one error line."""

    def _run(*arguments: str | Path, code: int = 0, model: str | None = vae.name) -> str:
        with_vae = [*arguments, *(["--vae", model] if model else [])]
        result = CliRunner().invoke(main, ["latent", *map(str, with_vae)], catch_exceptions=False)
        assert result.exit_code == code, result.output
        if not code:
            return str(result.stdout)
        assert result.stdout == ""
        (line,) = result.stderr.splitlines()
        return str(line)

    return _run


def test_encode_and_decode(
    run: Callable[..., str], vae: VAE, latents: Latents, images: list[Path], tmp_path: Path
) -> None:
    file, out = tmp_path / "all.safetensors", tmp_path / "out"
    shown = run("encode", *images, "-o", file, "--size", SIZE)
    assert shown == f"3 latents of 4 x 16 x 16 -> {file}\n"
    np.testing.assert_allclose(Latents.load(file).values, latents.values, atol=1e-5)
    assert run("decode", file, "-o", out) == f"3 pictures -> {out}\n"
    decoded = [pictures.read(out / f"{name}.png") for name in "abc"]
    np.testing.assert_allclose(decoded, vae.decode(latents.values), atol=1)


def test_encode_as_json(run: Callable[..., str], images: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "one.safetensors"
    answer = json.loads(run("encode", images[0], "-o", file, "--size", "48x32", "--json"))
    assert answer["space"]["shape"] == [4, 16, 24]
    assert [picture["name"] for picture in answer["pictures"]] == [str(images[0])]


def test_pictures_of_one_name_are_decoded_to_two(
    run: Callable[..., str], images: list[Path], tmp_path: Path
) -> None:
    other = tmp_path / "folder" / "a.png"
    other.parent.mkdir()
    other.write_bytes(images[1].read_bytes())
    run("encode", images[0], other, "-o", tmp_path / "two.safetensors", "--size", SIZE)
    run("decode", tmp_path / "two.safetensors", "-o", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.png", "a-2.png"}


def test_morph_is_written_as_the_name_says(
    run: Callable[..., str], images: list[Path], tmp_path: Path
) -> None:
    a, b = images[:2]
    run("morph", a, b, "-o", tmp_path / "m.gif", "--size", SIZE)
    with Image.open(tmp_path / "m.gif") as animation:
        assert (getattr(animation, "n_frames", 1), animation.size) == (10, (SIZE, SIZE))
    run("morph", a, b, "-o", tmp_path / "m.png", "--size", SIZE, "--steps", "5", "--lerp")
    assert pictures.read(tmp_path / "m.png").shape == (36 + 4, 5 * 36 + 4, 3)
    for name, image in (("a", a), ("b", b)):
        run("encode", image, "-o", tmp_path / f"{name}.safetensors", "--size", SIZE)
    run("morph", tmp_path / "a.safetensors", b, "-o", tmp_path / "frames", "--steps", "3")
    assert len(list((tmp_path / "frames").iterdir())) == 3


def test_report_for_people_and_for_programs(run: Callable[..., str], images: list[Path]) -> None:
    lines = run("report", *images, "--size", SIZE).splitlines()
    assert len(lines) == 4
    assert "3.0x" in lines[1]
    (row,) = json.loads(run("report", images[0], "--size", SIZE, "--json"))["pictures"]
    assert (row["by_values"], row["shape"]) == (3.0, [4, 16, 16])


def test_errors_are_one_line(
    run: Callable[..., str], images: list[Path], latents: Latents, vae: VAE, tmp_path: Path
) -> None:
    file, other = tmp_path / "a.safetensors", tmp_path / "other"
    latents.save(file)
    small_model("dc").save_pretrained(other)
    embedded = run("decode", file, "-o", "out", code=1, model=None)
    assert "the VAE's space is semsearch-vae" in embedded
    mismatch = run("decode", file, "-o", "out", code=1, model=str(other))
    assert "the VAE's space is other" in mismatch
    assert "holds 3 latents; give a folder" in run("decode", file, "-o", "one.png", code=1)
    assert "expected one latent, it holds 3" in run("morph", file, images[0], "-o", "x", code=1)
    assert "not a picture" in run("encode", file, "-o", "x", code=1)
    assert "found: a folder" in run("decode", tmp_path, "-o", "x", code=1)
    one = semsearch.encode_images(VAE(str(other), size=SIZE), images[:1])
    one.save(tmp_path / "one.safetensors")
    semsearch.encode_images(vae, images[:1]).save(file)
    across = run("morph", file, tmp_path / "one.safetensors", "-o", "x.gif", code=1)
    assert "the latents are of other" in across
    assert "take the VAE and the size that encoded them" in across
    assert "expected pixels" in CliRunner().invoke(
        main, ["latent", "report", "a.png", "--size", "big"]
    ).stderr  # fmt: skip


# -- the published weights -----------------------------------------------------------------------


@pytest.mark.datasets
@pytest.mark.skipif(not TAESD.is_dir(), reason="no datasets here")
def test_a_photo_is_squeezed_48_times() -> None:
    report = semsearch.fidelity(VAE(str(TAESD / "taesdxl")), KODAK / "kodim03.png", half=True)
    assert (report.shape, report.by_values) == ((4, 64, 64), 48)
    assert report.by_bytes == pytest.approx(15.3, abs=0.1)
    assert report.psnr > 29
    assert report.ssim > 0.83


@pytest.mark.datasets
@pytest.mark.skipif(not TAESD.is_dir(), reason="no datasets here")
def test_a_morph_of_photos_ends_at_their_reconstructions() -> None:
    vae = VAE(str(TAESD / "taesdxl"), size=128)
    latents = vae.encode([KODAK / "kodim03.png", KODAK / "kodim04.png"])
    frames = semsearch.morph(vae, latents[0], latents[1], 10)
    np.testing.assert_allclose(frames[[0, -1]], vae.decode(latents), atol=1)
