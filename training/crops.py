"""Cut the training pictures of the embedded VAE out of Debian's packages.

    python training/crops.py --work DIR       # downloads 0.9 GB with apt-get, writes DIR/crops.npy

Wallpapers and the art of games, all of Debian main, so free. Nothing of them enters the
repository; `DIR/packages.json` tells their versions and licences for the model card.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

SIDE = 128
_SEED = 5
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
_LEAST_BYTES, _LEAST_SIDE = 20_000, 160
_FLAT = 6.0  # standard deviation of a crop that shows next to nothing
_FLAT_KEPT, _RECOLOURED = 0.15, 0.3  # shares

Crops = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Package:
    """A package of Debian, and how many crops each of its pictures gives."""

    name: str
    crops: int


PACKAGES = (
    Package("gnome-backgrounds", 30),
    Package("lomiri-wallpapers-16.04", 240),
    Package("lomiri-wallpapers-20.04", 240),
    Package("lxqt-themes", 70),
    Package("mate-backgrounds", 150),
    Package("palapeli-data", 240),
    Package("plasma-workspace-wallpapers", 130),
    Package("ukui-wallpapers", 240),
    Package("supertuxkart-data", 4),
    Package("tuxpaint-stamps-default", 10),
)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where pictures came from, as the model card tells it."""

    package: str
    version: str
    licences: list[str]
    pictures: int
    crops: int


def main() -> int:
    """Download what is missing, cut, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, required=True, help="folder for all that is made")
    work: Path = parser.parse_args().work
    with ProcessPoolExecutor() as pool:
        crops, origins = zip(*(cut(package, work, pool) for package in PACKAGES), strict=True)
    together = np.concatenate(crops)
    shuffled = together[np.random.default_rng(_SEED).permutation(len(together))]
    np.save(work / "crops.npy", shuffled, allow_pickle=False)
    facts = json.dumps([asdict(origin) for origin in origins], indent=2)
    (work / "packages.json").write_text(facts + "\n", encoding="utf-8")
    print(f"{len(shuffled):,} crops of {SIDE} pixels from {len(PACKAGES)} packages")
    return 0


def cut(package: Package, work: Path, pool: ProcessPoolExecutor) -> tuple[Crops, Origin]:
    """The crops of one package."""
    folder = unpacked(package.name, work)
    paths = pictures(folder)
    seeds = np.random.default_rng(_SEED).integers(2**32, size=len(paths))
    parts = pool.map(crops_of, paths, [package.crops] * len(paths), seeds)
    crops = np.concatenate([np.empty((0, SIDE, SIDE, 3), np.uint8), *parts])
    version = (folder / "VERSION").read_text().strip()
    origin = Origin(package.name, version, licences(folder), len(paths), len(crops))
    print(f"{package.name}: {len(paths)} pictures, {len(crops):,} crops", file=sys.stderr)
    return crops, origin


def unpacked(package: str, work: Path) -> Path:
    """Folder with the files of a package; its version is in the file `VERSION`."""
    folder = work / "packages" / package
    if not (folder / "VERSION").exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", package], cwd=folder, check=True)
        (deb,) = folder.glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", str(deb), str(folder)], check=True)
        field = ["dpkg-deb", "-f", str(deb), "Version"]
        version = subprocess.run(field, check=True, capture_output=True, text=True).stdout
        deb.unlink()
        (folder / "VERSION").write_text(version)
    return folder


def pictures(folder: Path) -> list[Path]:
    """Pictures worth cutting: of one that is there in several sizes, the largest."""
    files = (path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    large = [p for p in files if p.is_file() and p.stat().st_size >= _LEAST_BYTES]
    best: dict[Path, Path] = {}
    for path in sorted(large, key=lambda path: path.stat().st_size):
        in_sizes = re.fullmatch(r"\d+x\d+", path.stem)
        best[path.parent if in_sizes else path] = path
    return sorted(path for path in best.values() if "screenshot" not in path.stem)


def licences(folder: Path) -> list[str]:
    """Licences named by Debian's copyright file."""
    (path,) = folder.glob("usr/share/doc/*/copyright")
    text = path.read_text(encoding="utf-8")
    fields = re.findall(r"^License:\s*(\S.*?)\s*$", text, re.MULTILINE)
    prose = re.findall(r"Creative Commons Attribution[-\w ]*? [234]\.0", text)
    return sorted(set(fields) or {*prose, "GPL-2+"})


def crops_of(path: Path, n: int, seed: int) -> Crops:
    """At most `n` crops of a picture: squares of any scale, some mirrored, some recoloured."""
    random = np.random.default_rng(seed)
    try:
        with Image.open(path) as file:
            picture = flattened(file, random)
    except OSError as error:
        print(f"left out: {path.name}: {error}", file=sys.stderr)
        return np.empty((0, SIDE, SIDE, 3), np.uint8)
    if min(picture.size) < _LEAST_SIDE:
        return np.empty((0, SIDE, SIDE, 3), np.uint8)
    kept = [np.asarray(crop) for crop in squares(picture, n, random)]
    return np.stack(kept) if kept else np.empty((0, SIDE, SIDE, 3), np.uint8)


def flattened(file: Image.Image, random: np.random.Generator) -> Image.Image:
    """In RGB; what is transparent is laid over one colour, at random."""
    if not file.has_transparency_data:
        return file.convert("RGB")
    colour = tuple(int(value) for value in random.integers(256, size=3))
    ground = Image.new("RGBA", file.size, (*colour, 255))
    ground.alpha_composite(file.convert("RGBA"))
    return ground.convert("RGB")


def squares(picture: Image.Image, n: int, random: np.random.Generator) -> Iterator[Image.Image]:
    """Squares of `SIDE`, their sides in the picture spread evenly over the octaves."""
    smallest = min(picture.size)
    for _ in range(n):
        side = int(np.exp(random.uniform(np.log(SIDE), np.log(smallest))))
        left, top = (int(random.integers(edge - side + 1)) for edge in picture.size)
        box = (left, top, left + side, top + side)
        crop = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS, box, reducing_gap=2.0)
        flat = np.asarray(crop).std(axis=(0, 1)).mean() < _FLAT
        if not flat or random.random() < _FLAT_KEPT:
            mirrored = random.random() < 0.5
            crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else crop
            yield recoloured(crop, random) if random.random() < _RECOLOURED else crop


def recoloured(crop: Image.Image, random: np.random.Generator) -> Image.Image:
    """Grey to vivid, dark to bright, faint to hard."""
    for enhance, least, most in (
        (ImageEnhance.Color, 0.0, 1.6),
        (ImageEnhance.Brightness, 0.6, 1.4),
        (ImageEnhance.Contrast, 0.6, 1.5),
    ):
        crop = enhance(crop).enhance(random.uniform(least, most))
    return crop


if __name__ == "__main__":
    sys.exit(main())
