"""Draw the sample pictures.

    python data/draw_pictures.py        # writes data/pictures/*.jpg

Twenty-two pictures of 256x256 pixels: landscapes, fruits, patterns and gradients, and four that
are edited copies of others, for the search of near-duplicates. Always the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

FOLDER = Path(__file__).resolve().parent / "pictures"
SIDE = 256
_FINE = 2 * SIDE  # drawn at twice the size, so that edges are smooth

Colour = tuple[int, int, int]
Point = tuple[float, float]


def main() -> int:
    """Draw them all."""
    FOLDER.mkdir(exist_ok=True)
    for name, draw in DRAWN.items():
        _save(grained(draw()).resize((SIDE, SIDE), Image.Resampling.LANCZOS), name)
    for name, (source, edit, quality) in COPIES.items():
        with Image.open(FOLDER / f"{source}.jpg") as picture:
            _save(edit(picture.convert("RGB")), name, quality)
    return 0


def _save(picture: Image.Image, name: str, quality: int = 85) -> None:
    picture.save(FOLDER / f"{name}.jpg", quality=quality)


# -- how to draw ---------------------------------------------------------------------------------


def faded(top: Colour, bottom: Colour) -> Image.Image:
    """From one colour at the top to another at the bottom."""
    down = np.linspace(0, 1, _FINE)[:, np.newaxis, np.newaxis]
    rows = np.array(top) * (1 - down) + np.array(bottom) * down
    return Image.fromarray(np.repeat(rows, _FINE, axis=1).astype(np.uint8))


def grained(picture: Image.Image) -> Image.Image:
    """With a little noise, as a photo has."""
    noise = np.random.default_rng(0).normal(0, 5, (_FINE, _FINE, 1))
    pixels = np.asarray(picture.convert("RGB")) + noise
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def fine(points: list[Point]) -> list[Point]:
    """From a unit square to pixels."""
    return [(x * _FINE, y * _FINE) for x, y in points]


def disc(picture: Image.Image, centre: Point, radius: float, colour: Colour) -> None:
    """A filled circle; lengths are shares of the side."""
    (x, y), r = centre, radius
    ImageDraw.Draw(picture).ellipse([(x - r) * _FINE, (y - r) * _FINE,
                                     (x + r) * _FINE, (y + r) * _FINE], fill=colour)  # fmt: skip


def ball(picture: Image.Image, centre: Point, radius: float, colour: Colour) -> None:
    """A round thing, lit from the upper left."""
    for step in np.linspace(0, 1, 24):
        lit = tuple(int(0.55 * c + (0.45 * c + 50 * step) * step) for c in colour)
        r, (x, y) = radius * (1 - step), centre
        place = (x - 0.35 * (radius - r), y - 0.35 * (radius - r))
        disc(picture, place, r, (min(lit[0], 255), min(lit[1], 255), min(lit[2], 255)))


def ridge(picture: Image.Image, height: float, rough: float, colour: Colour, seed: int) -> None:
    """Hills whose tops lie about `height` below the upper edge."""
    random = np.random.default_rng(seed)
    x = np.linspace(0, 1, 80)
    y = np.full_like(x, height)
    for octave in range(1, 7):
        wave = np.sin(x * octave * 4 + random.uniform(0, 7))
        y += rough / octave * random.uniform(0.4, 1) * wave
    outline = [*zip(x.tolist(), y.tolist(), strict=True), (1.0, 1.0), (0.0, 1.0)]
    ImageDraw.Draw(picture).polygon(fine(outline), fill=colour)


# -- landscapes ----------------------------------------------------------------------------------


def hills(sky: tuple[Colour, Colour], land: list[Colour], sun: tuple[Point, Colour]) -> Image.Image:
    """A sky, a sun and three ridges."""
    picture = faded(*sky)
    disc(picture, sun[0], 0.08, sun[1])
    for number, colour in enumerate(land):
        ridge(picture, 0.55 + 0.14 * number, 0.07, colour, number)
    return picture


def meadow() -> Image.Image:
    """Green hills at noon."""
    land = [(112, 150, 110), (80, 140, 60), (60, 120, 40)]
    return hills(((70, 140, 220), (200, 225, 245)), land, ((0.72, 0.2), (255, 245, 200)))


def dusk() -> Image.Image:
    """Dark hills below a red sky."""
    land = [(110, 50, 80), (70, 30, 60), (35, 18, 40)]
    return hills(((60, 30, 100), (250, 140, 60)), land, ((0.3, 0.48), (255, 220, 120)))


def dunes() -> Image.Image:
    """Sand below a pale sky."""
    land = [(225, 180, 120), (210, 155, 90), (185, 125, 65)]
    return hills(((120, 180, 225), (240, 225, 195)), land, ((0.5, 0.15), (255, 255, 235)))


def snow() -> Image.Image:
    """White mountains."""
    picture = faded((100, 150, 200), (225, 235, 245))
    for number, x in enumerate((0.2, 0.55, 0.85)):
        top = 0.25 + 0.06 * number
        peak = [(x - 0.4, 0.85), (x, top), (x + 0.4, 0.85)]
        ImageDraw.Draw(picture).polygon(fine(peak), fill=(110, 125, 150))
        cap = [(x - 0.14, top + 0.21), (x, top), (x + 0.14, top + 0.21), (x, top + 0.15)]
        ImageDraw.Draw(picture).polygon(fine(cap), fill=(250, 252, 255))
    ridge(picture, 0.8, 0.03, (235, 240, 248), 3)
    return picture


def sea() -> Image.Image:
    """Waves to the horizon, and a sail."""
    picture = faded((130, 190, 235), (225, 240, 250))
    pen = ImageDraw.Draw(picture)
    for number, y in enumerate(np.linspace(0.5, 1, 26)):
        shade = (20 + 2 * number, 80 + 3 * number, 130 + 2 * number)
        pen.rectangle([0, y * _FINE, _FINE, _FINE], fill=shade)
    pen.polygon(fine([(0.6, 0.25), (0.6, 0.52), (0.76, 0.52)]), fill=(250, 250, 245))
    pen.polygon(fine([(0.54, 0.54), (0.8, 0.54), (0.74, 0.6), (0.6, 0.6)]), fill=(120, 60, 30))
    return picture


def night() -> Image.Image:
    """Moon and stars over a wood."""
    picture = faded((8, 10, 35), (40, 50, 90))
    random = np.random.default_rng(4)
    for x, y in random.random((120, 2)):
        disc(picture, (float(x), float(y) * 0.8), float(random.uniform(0.001, 0.004)), (240,) * 3)
    disc(picture, (0.7, 0.25), 0.09, (245, 240, 215))
    disc(picture, (0.66, 0.23), 0.08, (14, 17, 44))
    for x in np.linspace(0, 1, 14):
        top = 0.68 + 0.07 * float(random.random())
        tree = [(x - 0.06, 1.0), (x, top), (x + 0.06, 1.0)]
        ImageDraw.Draw(picture).polygon(fine(tree), fill=(8, 20, 18))
    return picture


# -- fruits --------------------------------------------------------------------------------------


def table(cloth: Colour) -> Image.Image:
    """A wall and a table before it."""
    picture = faded((235, 225, 205), (215, 200, 175))
    ImageDraw.Draw(picture).rectangle([0, 0.68 * _FINE, _FINE, _FINE], fill=cloth)
    return picture


def apple() -> Image.Image:
    """A red one with a leaf."""
    picture = table((120, 80, 50))
    ball(picture, (0.5, 0.55), 0.27, (215, 40, 45))
    pen = ImageDraw.Draw(picture)
    pen.line(fine([(0.5, 0.32), (0.53, 0.18)]), fill=(90, 60, 30), width=12)
    pen.polygon(fine([(0.53, 0.22), (0.64, 0.12), (0.72, 0.2), (0.62, 0.25)]), fill=(80, 150, 50))
    return picture


def oranges() -> Image.Image:
    """Three."""
    picture = table((70, 100, 140))
    for centre in ((0.3, 0.62), (0.68, 0.64), (0.5, 0.4)):
        ball(picture, centre, 0.2, (245, 145, 30))
    return picture


def grapes() -> Image.Image:
    """A bunch."""
    picture = table((200, 190, 170))
    for row in range(5):
        for place in range(5 - row):
            centre = (0.28 + 0.11 * place + 0.055 * row, 0.3 + 0.1 * row)
            ball(picture, centre, 0.07, (105, 50, 140))
    return picture


def lemons() -> Image.Image:
    """Two in a blue bowl."""
    picture = table((90, 130, 90))
    ball(picture, (0.38, 0.45), 0.16, (250, 220, 50))
    ball(picture, (0.62, 0.45), 0.16, (245, 210, 40))
    box = [0.16 * _FINE, 0.2 * _FINE, 0.84 * _FINE, 0.86 * _FINE]
    ImageDraw.Draw(picture).chord(box, 0, 180, fill=(50, 90, 170))
    return picture


def melon() -> Image.Image:
    """A slice."""
    picture = table((225, 215, 195))
    pen = ImageDraw.Draw(picture)
    for edge, colour in ((0.0, (40, 120, 50)), (0.04, (220, 235, 200)), (0.07, (230, 60, 70))):
        low, high = (0.1 + edge) * _FINE, (0.9 - edge) * _FINE
        pen.chord([low, low - 0.1 * _FINE, high, high - 0.1 * _FINE], 0, 180, fill=colour)
    for x in np.linspace(0.3, 0.7, 6):
        disc(picture, (float(x), 0.5 + 0.06 * float(np.sin(20 * x))), 0.014, (40, 25, 20))
    return picture


# -- patterns and gradients ----------------------------------------------------------------------


def squares() -> Image.Image:
    """A chessboard."""
    dark = np.indices((8, 8)).sum(axis=0) % 2
    cells = np.where(dark[..., np.newaxis], (40, 45, 60), (235, 225, 205)).astype(np.uint8)
    return Image.fromarray(cells).resize((_FINE, _FINE), Image.Resampling.NEAREST)


def rings() -> Image.Image:
    """Circles in each other."""
    picture = faded((250, 240, 220), (250, 240, 220))
    colours = ((200, 50, 60), (250, 240, 220), (40, 110, 160))
    for number in range(9):
        disc(picture, (0.5, 0.5), 0.46 - 0.05 * number, colours[number % 3])
    return picture


def stripes() -> Image.Image:
    """Aslant, in four colours."""
    colours = np.array([(30, 60, 110), (240, 190, 60), (220, 90, 60), (245, 240, 230)], np.uint8)
    across = np.add(*np.indices((_FINE, _FINE))) // 48 % len(colours)
    return Image.fromarray(colours[across])


def panes() -> Image.Image:
    """Rectangles between black lines."""
    picture = faded((245, 243, 235), (245, 243, 235))
    pen = ImageDraw.Draw(picture)
    for corners, colour in (
        ((0.0, 0.0, 0.3, 0.45), (215, 40, 35)),
        ((0.7, 0.6, 1.0, 1.0), (30, 70, 160)),
        ((0.3, 0.75, 0.7, 1.0), (250, 205, 40)),
    ):
        pen.rectangle([value * _FINE for value in corners], fill=colour)
    for at in (0.3, 0.7):
        pen.line(fine([(at, 0), (at, 1)]), fill=(20, 20, 20), width=14)
    for at in (0.45, 0.6, 0.75):
        pen.line(fine([(0, at), (1, at)]), fill=(20, 20, 20), width=14)
    return picture


def rainbow() -> Image.Image:
    """All hues from left to right."""
    hue = np.tile(np.linspace(0, 255, _FINE), (_FINE, 1))
    full = np.full_like(hue, 210)
    return Image.fromarray(np.dstack([hue, full, full]).astype(np.uint8), "HSV").convert("RGB")


def glow() -> Image.Image:
    """Bright in the middle of dark."""
    y, x = np.indices((_FINE, _FINE)) / _FINE - 0.5
    light = np.exp(-8 * (x**2 + y**2))[..., np.newaxis]
    return Image.fromarray((np.array((255, 210, 120)) * light + (10, 15, 30)).clip(0, 255)
                           .astype(np.uint8))  # fmt: skip


def morning() -> Image.Image:
    """Nothing but a fading sky."""
    return faded((90, 130, 200), (250, 190, 170))


DRAWN: dict[str, Callable[[], Image.Image]] = {
    draw.__name__: draw
    for draw in (
        *(meadow, dusk, dunes, snow, sea, night),
        *(apple, oranges, grapes, lemons, melon),
        *(squares, rings, stripes, panes, rainbow, glow, morning),
    )
}

COPIES: dict[str, tuple[str, Callable[[Image.Image], Image.Image], int]] = {
    "meadow-mirrored": ("meadow", ImageOps.mirror, 85),
    "apple-brighter": ("apple", lambda image: ImageEnhance.Brightness(image).enhance(1.25), 85),
    "sea-blurred": ("sea", lambda image: image.filter(ImageFilter.GaussianBlur(1.5)), 85),
    "grapes-small-file": ("grapes", lambda image: image, 20),
}
"""Name of the copy: what it is made from, how, and the quality of its JPEG."""


if __name__ == "__main__":
    sys.exit(main())
