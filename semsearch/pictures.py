"""Pictures as arrays: any file that Pillow reads to RGB of one size, and back to files.

Pillow is imported here and nowhere else, when the first picture is read or written.
"""

from __future__ import annotations

import hashlib
import io
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semsearch.errors import DependencyMissing, InvalidArgument
from semsearch.types import Document

if TYPE_CHECKING:
    from PIL import Image

    PictureLike = str | Path | ArrayLike | Image.Image

Pixels = NDArray[np.uint8]
"""`(height, width, 3)` uint8, RGB."""

PREPROCESSING = "first frame, EXIF orientation, over white, 8-bit RGB, centre crop, Lanczos"
"""What `read` and `fitted` do, for passports: change it whenever they change pixels."""

MAX_BYTES = 256 * 2**20
"""Largest file of a picture; larger ones are refused."""

ADDRESS = "sha256:"
"""How the address of a picture begins, which is the text of its document."""

_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)  # EXIF: turned by a quarter, to either side
_FRAME_MS = 100
_GAP = 4  # white pixels between the pictures of a sheet


class Size(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def read(picture: PictureLike) -> Pixels:
    """Read a picture of any size and mode.

    The first frame is taken, turned as its EXIF orientation says. What is transparent is laid over
    white; 16-bit values are rounded to 8 bits, palettes, grey, CMYK and others are converted to
    RGB. Colour profiles are not applied.

    Args:
        picture: A file, an image of Pillow, or an array `(height, width, 3)` of uint8, which is
            taken as it is.

    Raises:
        InvalidArgument: There is no such file, it is larger than `MAX_BYTES`, it is damaged or no
            picture, it has more pixels than Pillow's limit (`PIL.Image.MAX_IMAGE_PIXELS`), or the
            array is of another kind.
        DependencyMissing: Pillow is not installed.
    """
    if isinstance(picture, str | Path):
        return _decoded(_content(Path(picture)), str(picture))
    if hasattr(picture, "getexif"):
        with _mapped("image"):
            return _converted(picture, "image")
    return _checked(picture)


def decoded(content: bytes, name: str) -> Pixels:
    """Like `read`, of what a file holds; errors call it by `name`."""
    if not content:
        raise InvalidArgument(f"{name}: the file is empty")
    return _decoded(content, name)


def png(pixels: Pixels) -> bytes:
    """The picture as a file of PNG."""
    content = io.BytesIO()
    _pillow().fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def sha256(path: Path) -> str:
    """Hash of a picture's file.

    Raises:
        InvalidArgument: The file cannot be read.
    """
    return hashlib.sha256(_content(path)).hexdigest()


def addressed(document: Document) -> Document:
    """The document of a picture with what identifies it: its address, facts and source.

    Only the head of a file is decoded. The text becomes the address, `sha256:` and the hash of the
    file (of an image of Pillow or an array: of its pixels); `width` and `height` of the upright
    picture and, of a file, its `format` go into the metadata, unless these names are taken; the
    source of a file is its absolute path, unless it has one.

    Raises:
        InvalidArgument: There is no image or a text as well, or it cannot be read.
        DependencyMissing: Pillow is not installed.
    """
    picture = document.image
    if picture is None or document.text:
        raise InvalidArgument("expected a picture as 'image', and no text")
    source = document.source
    if isinstance(picture, str | Path):
        source = source or str(Path(picture).expanduser().absolute())
        content, name = _content(Path(picture).expanduser()), str(picture)
        with _mapped(name), _pillow().open(io.BytesIO(content)) as image:
            facts = {**_upright_size(image), "format": image.format}
    else:
        pixels = read(cast("PictureLike", picture))
        content = repr(pixels.shape).encode() + pixels.tobytes()
        facts = size_of(pixels)._asdict()
    return replace(
        document,
        text=ADDRESS + hashlib.sha256(content).hexdigest(),
        metadata={**facts, **document.metadata},
        source=source,
    )


def same(document: Document) -> Pixels:
    """The picture of a document, as it was when it was addressed.

    Raises:
        InvalidArgument: It cannot be read, or has changed since.
    """
    picture = document.image
    if not isinstance(picture, str | Path):
        return read(cast("PictureLike", picture))
    content = _content(Path(picture).expanduser())
    if ADDRESS + hashlib.sha256(content).hexdigest() != document.text:
        raise InvalidArgument(f"{picture}: has changed meanwhile; index it again")
    return _decoded(content, str(picture))


def _upright_size(image: Any) -> dict[str, int]:
    width, height = image.size
    turned = image.getexif().get(_ORIENTATION) in _TURNED
    return {"width": height, "height": width} if turned else {"width": width, "height": height}


def size_of(pixels: Pixels) -> Size:
    """Width and height."""
    return Size(pixels.shape[1], pixels.shape[0])


def fitted(pixels: Pixels, size: Size) -> Pixels:
    """Cut the largest part of the size's shape out of the middle and resize it (Lanczos).

    A picture that has the size already is returned as it is, to the last bit.
    """
    if size_of(pixels) == size:
        return pixels
    image, lanczos = _pillow().fromarray(pixels), _pillow().Resampling.LANCZOS
    from PIL import ImageOps

    return np.asarray(ImageOps.fit(image, size, lanczos))


def save(pixels: Pixels, path: Path) -> None:
    """Write one picture, in the format that the file's name says.

    Raises:
        InvalidArgument: The format is not known, or the file cannot be written.
    """
    _write(_pillow().fromarray(pixels), path)


def save_animation(frames: Sequence[Pixels], path: Path) -> None:
    """Write a GIF that shows the frames for a tenth of a second each, for ever.

    Raises:
        InvalidArgument: The file cannot be written.
    """
    first, *rest = (_pillow().fromarray(frame) for frame in frames)
    _write(first, path, save_all=True, append_images=rest, duration=_FRAME_MS, loop=0)


def sheet(frames: Sequence[Pixels]) -> Pixels:
    """All frames on one white sheet, row by row, in as many columns as leave the fewest gaps."""
    root = math.ceil(math.sqrt(len(frames)))
    columns = min(range(root, 2 * root), key=lambda columns: -len(frames) % columns)
    rows = math.ceil(len(frames) / columns)
    height, width = frames[0].shape[0] + _GAP, frames[0].shape[1] + _GAP
    whole = np.full((rows * height + _GAP, columns * width + _GAP, 3), 255, np.uint8)
    for number, frame in enumerate(frames):
        top, left = _GAP + number // columns * height, _GAP + number % columns * width
        whole[top : top + frame.shape[0], left : left + frame.shape[1]] = frame
    return whole


# -- reading -------------------------------------------------------------------------------------


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidArgument(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_BYTES:
        raise InvalidArgument(f"{path}: larger than {MAX_BYTES // 2**20} MiB; make it smaller")
    if not content:
        raise InvalidArgument(f"{path}: the file is empty")
    return content


def _decoded(content: bytes, name: str) -> Pixels:
    with _mapped(name), _pillow().open(io.BytesIO(content)) as image:
        return _converted(image, name)


@contextmanager
def _mapped(name: str) -> Iterator[None]:
    """Turn what Pillow raises into InvalidArgument."""
    pillow = _pillow()
    with warnings.catch_warnings():
        # Pillow warns of a picture above its limit and refuses one of twice the limit: refuse both.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", pillow.DecompressionBombWarning)
        try:
            yield
        except InvalidArgument:
            raise
        except (pillow.DecompressionBombError, pillow.DecompressionBombWarning) as error:
            raise InvalidArgument(
                f"{name}: more pixels than the limit of {pillow.MAX_IMAGE_PIXELS:,}; "
                "make it smaller first"
            ) from error
        except pillow.UnidentifiedImageError as error:
            raise InvalidArgument(f"{name}: not a picture of a format Pillow reads") from error
        except Exception as error:  # Pillow's plugins raise whatever their parsing ran into
            raise InvalidArgument(f"{name}: a damaged picture: {error}") from error


def _converted(image: Any, name: str) -> Pixels:
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        image = _eight_bits(image, name)
    if image.has_transparency_data:
        return _over_white(image.convert("RGBA"))
    if image.mode in ("F", "LAB"):
        raise InvalidArgument(f"{name}: pixels of mode {image.mode} have no one meaning as RGB")
    return np.asarray(image.convert("RGB"))


def _eight_bits(image: Any, name: str) -> Any:
    deep = np.asarray(image).astype(np.int32)
    if deep.min() < 0 or deep.max() > 0xFFFF:
        raise InvalidArgument(f"{name}: grey values beyond 16 bits")
    deep += 128  # in place: of large pictures every copy counts
    deep //= 257
    return _pillow().fromarray(deep.astype(np.uint8))


def _over_white(image: Any) -> Pixels:
    white = _pillow().new("RGBA", image.size, "white")
    return np.asarray(_pillow().alpha_composite(white, image).convert("RGB"))


def _checked(picture: object) -> Pixels:
    array = np.asarray(picture)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise InvalidArgument(
            "picture: expected a file, an image of Pillow or uint8 (height, width, 3), got "
            f"{type(picture).__name__} of {array.dtype} {array.shape}"
        )
    return array


# -- writing -------------------------------------------------------------------------------------


def _write(image: Any, path: Path, **options: Any) -> None:
    """Encode in memory first, so that a failure leaves no half-written file."""
    extension = path.suffix.lower()
    format_ = _pillow().registered_extensions().get(extension)
    if format_ is None or format_ not in _pillow().SAVE:
        raise InvalidArgument(f"{path}: no picture format has the ending {extension!r}; take .png")
    content = io.BytesIO()
    image.save(content, format_, **options)
    try:
        path.write_bytes(content.getvalue())
    except OSError as error:
        raise InvalidArgument(f"{path}: cannot be written: {error.strerror or error}") from error


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise DependencyMissing(
            "pictures need Pillow, which is not installed: pip install 'semsearch[images]'"
        ) from error
    return Image
