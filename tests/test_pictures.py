"""Pictures: every mode comes out as RGB of one size, and what is damaged is refused in one line."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semsearch import pictures
from semsearch.errors import InvalidArgument
from semsearch.pictures import Size, fitted, read

RED, WHITE, BLACK = (255, 0, 0), (255, 255, 255), (0, 0, 0)
ORIENTATION = 0x0112


def gradient(width: int = 48, height: int = 32) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([5 * x, 7 * y, x + y], axis=-1).astype(np.uint8))


def first(path: Path) -> tuple[int, ...]:
    return tuple(int(value) for value in read(path)[0, 0])


# -- modes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV", "LA", "RGBA", "I"])
def test_any_mode_is_read_as_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "picture.tiff"
    image = Image.new("RGB", (5, 3), WHITE).convert("L" if mode in "1LALI" else "RGB")
    image = image.point(lambda value: value * 257, "I") if mode == "I" else image.convert(mode)
    if mode == "HSV":  # no file format keeps it
        pixels = read(image)
    else:
        image.save(path)
        pixels = read(path)
    assert pixels.shape == (3, 5, 3)
    assert pixels.dtype == np.uint8
    assert (pixels >= 254).all()


@pytest.mark.parametrize(("deep", "eight"), [(0, 0), (65535, 255), (32768, 128), (128, 0)])
def test_sixteen_bits_are_rounded_to_eight(tmp_path: Path, deep: int, eight: int) -> None:
    path = tmp_path / "deep.png"
    Image.fromarray(np.full((2, 2), deep, np.uint16)).save(path)
    assert first(path) == (eight, eight, eight)


def test_what_is_transparent_is_laid_over_white(tmp_path: Path) -> None:
    path = tmp_path / "transparent.png"
    Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(path)
    assert first(path) == WHITE
    Image.new("RGBA", (2, 2), (0, 0, 0, 128)).save(path)
    assert first(path) == (127, 127, 127)
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([*RED, *BLACK])
    palette.save(path, transparency=0)
    assert first(path) == WHITE
    palette.save(path)
    assert first(path) == RED


def test_a_photo_taken_upright_is_turned(tmp_path: Path) -> None:
    image = gradient()
    turned = image.transpose(Image.Transpose.ROTATE_90)  # as a camera held sideways stores it
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read(tmp_path / "turned.png"), np.asarray(image))


def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, BLACK)]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    assert first(tmp_path / "two.gif") == RED


def test_images_of_pillow_and_arrays_are_read_as_files_are(tmp_path: Path) -> None:
    gradient().save(tmp_path / "a.png")
    pixels = read(tmp_path / "a.png")
    np.testing.assert_array_equal(read(str(tmp_path / "a.png")), pixels)
    np.testing.assert_array_equal(read(gradient()), pixels)
    assert read(pixels) is pixels


# -- what is refused -----------------------------------------------------------------------------


def test_a_missing_file_a_folder_and_a_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    for name, message in [
        ("missing.png", "No such file"),
        ("", "Is a directory"),
        ("text.png", "not a picture"),
    ]:
        with pytest.raises(InvalidArgument, match=message):
            read(tmp_path / name)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".gif", ".tiff", ".webp", ".bmp"])
def test_a_damaged_picture_is_refused_by_name(tmp_path: Path, ending: str) -> None:
    content = io.BytesIO()
    gradient(200, 200).save(content, Image.registered_extensions()[ending])
    path = tmp_path / f"half{ending}"
    whole = content.getvalue()
    for length in (len(whole) // 2, len(whole) // 20, 10):
        path.write_bytes(whole[:length])
        with pytest.raises(InvalidArgument, match=f"half{ending}"):
            read(path)


@pytest.mark.parametrize("beyond", [1, 3])
def test_a_decompression_bomb_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beyond: int
) -> None:
    Image.new("1", (100, 100)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000 // beyond - 1)  # Pillow warns, or raises
    with pytest.raises(InvalidArgument, match=r"bomb\.png: more pixels than the limit"):
        read(tmp_path / "bomb.png")


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_without_a_known_range_are_refused(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (2, 2), 70_000).save(tmp_path / "deep.tiff")
    with pytest.raises(InvalidArgument, match=r"mode F|beyond 16 bits"):
        read(tmp_path / "deep.tiff")


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4)), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8), 7]
)
def test_an_array_of_another_kind_is_refused(wrong: object) -> None:
    with pytest.raises(InvalidArgument, match=r"expected a file, an image of Pillow or uint8"):
        read(wrong)  # type: ignore[arg-type]


# -- one size ------------------------------------------------------------------------------------


def test_a_picture_of_the_size_is_not_touched() -> None:
    pixels = np.asarray(gradient())
    assert fitted(pixels, Size(48, 32)) is pixels


def test_the_middle_is_cut_out_and_keeps_its_shape() -> None:
    wide = np.zeros((32, 96, 3), np.uint8)
    wide[:, 32:64] = 255
    assert (fitted(wide, Size(32, 32)) == 255).all()
    assert (fitted(wide.transpose(1, 0, 2), Size(16, 16))[3:-3] == 255).all()


@pytest.mark.parametrize("size", [(1, 500), (500, 1), (3, 3), (257, 255)])
def test_any_size_is_brought_to_the_size(size: tuple[int, int]) -> None:
    assert fitted(np.asarray(gradient(*size)), Size(64, 32)).shape == (32, 64, 3)


# -- writing -------------------------------------------------------------------------------------


def test_a_png_is_written_as_it_is(tmp_path: Path) -> None:
    pixels = np.asarray(gradient())
    pictures.save(pixels, tmp_path / "a.png")
    np.testing.assert_array_equal(read(tmp_path / "a.png"), pixels)


def test_an_animation_has_its_frames(tmp_path: Path) -> None:
    frames = [np.full((8, 8, 3), 60 * number, np.uint8) for number in range(4)]
    pictures.save_animation(frames, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as image:
        assert (getattr(image, "n_frames", 1), image.info["duration"]) == (4, 100)


def test_a_sheet_shows_every_frame_once() -> None:
    frames = [np.full((6, 5, 3), number, np.uint8) for number in range(10)]
    sheet = pictures.sheet(frames)
    shown = [int((sheet[..., 0] == number).sum()) for number in range(10)]
    assert shown == [30] * 10


@pytest.mark.parametrize(
    ("frames", "columns"), [(1, 1), (2, 2), (3, 3), (4, 2), (10, 5), (13, 7), (24, 6)]
)
def test_a_sheet_has_few_gaps(frames: int, columns: int) -> None:
    height, width, _ = pictures.sheet([np.zeros((6, 6, 3), np.uint8)] * frames).shape
    assert (width, height) == (4 + 10 * columns, 4 + 10 * math.ceil(frames / columns))


def test_a_file_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    pixels = np.asarray(gradient())
    with pytest.raises(InvalidArgument, match=r"no picture format has the ending '\.xyz'"):
        pictures.save(pixels, tmp_path / "a.xyz")
    with pytest.raises(InvalidArgument, match="No such file"):
        pictures.save(pixels, tmp_path / "missing" / "a.png")
