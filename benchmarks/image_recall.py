"""Does an index of pictures find edited copies of a picture, and pictures of its kind?

Copies: 1,000 photos are the gallery, 200 of them are edited in ten ways, and each edited one asks
for the photo it was made from (recall@1). Kind: 2,000 small pictures of ten classes ask for each
other (share of the first 10 that are of the query's class, leave-one-out). Pictures become vectors
as they do in an index, by its encoder and at its size; beside it, plainer ways.

    python benchmarks/image_recall.py --vae DIR/taef2    # encode, write JSON and table
    python benchmarks/image_recall.py                    # the embedded VAE, with a table of its own
    python benchmarks/image_recall.py --table            # its table again from the JSON

Looks for the photos in ../shared/datasets/images. Latents are kept in results/local, so that only
the first run takes long: five minutes on one core.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import report
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from semsearch import pictures
from semsearch.encoders.picture import VAEEncoder
from semsearch.encoders.vae import VAE
from semsearch.encoders.vae_files import EMBEDDED
from semsearch.latents import normalize

HERE = Path(__file__).resolve().parent
LOCAL = HERE / "results" / "local"
PHOTOS = report.DATASETS / "images"
PIXELS = 16
QUERIES, PER_CLASS, FIRST = 200, 200, 10
LEAST = {"image_recall": (0.985, 0.42), "image_recall_embedded": (0.95, 0.33)}
"""Least recall@1, mean over the edits, and precision@10: of a VAE given, of the embedded one."""

Latents = NDArray[np.float32]
Vectors = NDArray[np.float32]
Way = Callable[[Sequence[Image.Image], str], Vectors]
"""Pictures, and what to call them, to unit vectors."""


def jpeg(image: Image.Image) -> Image.Image:
    """Saved as JPEG of quality 20."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=20)
    return Image.open(file).convert("RGB")


def cut(image: Image.Image, share: float) -> Image.Image:
    """The middle, without `share` of the width and of the height."""
    x, y = image.width * share / 2, image.height * share / 2
    return image.crop((round(x), round(y), round(image.width - x), round(image.height - y)))


def shrunk(image: Image.Image) -> Image.Image:
    """A quarter of the width and of the height."""
    size = (max(1, image.width // 4), max(1, image.height // 4))
    return image.resize(size, Image.Resampling.LANCZOS)


EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG quality 20": jpeg,
    "10% cut off": lambda image: cut(image, 0.10),
    "25% cut off": lambda image: cut(image, 0.25),
    "mirrored": ImageOps.mirror,
    "30% brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "40% more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.4),
    "turned by 5 degrees": lambda image: image.rotate(5, Image.Resampling.BICUBIC),
    "blurred, 2 pixels": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "shrunk to a quarter": shrunk,
}


def main() -> int:
    """Measure, or only write the table; 1 when the recipe is worse than its limits."""
    options, _ = _parser().parse_known_args()
    return report.main(_name(options), _parser(), measure, table)


def _name(options: argparse.Namespace) -> str:
    return "image_recall_embedded" if options.vae == EMBEDDED else "image_recall"


def _parser() -> argparse.ArgumentParser:
    parser = report.parser(__doc__)
    parser.add_argument("--vae", default=EMBEDDED, help="a VAE, such as DIR/taef2")
    parser.add_argument("--seed", type=int, default=1)
    return parser


# -- measuring -----------------------------------------------------------------------------------


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Both questions for each way to make vectors."""
    random = np.random.default_rng(options.seed)
    photos = sorted((PHOTOS / "imagenet-sample-256" / "img").iterdir())
    asked = random.permutation(len(photos))[:QUERIES]
    gallery = [opened(path) for path in photos]
    edited = {name: [edit(gallery[at]) for at in asked] for name, edit in EDITS.items()}
    small, classes = small_pictures(random)
    encoder = VAEEncoder(f"vae:{options.vae}")
    ways = [
        {
            "way": name,
            "dim": way(small[:1], "one").shape[1],
            "recall@1": recall(way, gallery, edited, asked),
            "precision@10": precision(way(small, "small"), classes),
        }
        for name, way in ways_of(encoder).items()
    ]
    index = ways[-1]
    least_recall, least_precision = LEAST[_name(options)]
    return {
        "question": "Does an index of pictures find edited copies, and pictures of the same class?",
        "space": encoder.space.name,
        "size": encoder.vae.size.width,
        "photos": len(photos),
        "queries": QUERIES,
        "small": len(small),
        "seed": options.seed,
        "ways": ways,
        "passed": index["recall@1"]["mean"] >= least_recall
        and index["precision@10"] >= least_precision,
        **report.circumstances(),
    }


def ways_of(encoder: VAEEncoder) -> dict[str, Way]:
    """The ways that are compared, an index's last."""
    return {
        f"{PIXELS}x{PIXELS} pixels": lambda images, _: pixels(images),
        "latents, 4x4 grid": lambda images, name: grid(encoded(encoder.vae, name, images)),
        "index": lambda images, name: indexed(encoder, name, images),
    }


def indexed(encoder: VAEEncoder, name: str, images: Sequence[Image.Image]) -> Vectors:
    """What an index would keep of pictures; their latents are encoded once."""
    vectors: Vectors = encoder.points_of(encoded(encoder.vae, name, images)).vectors
    return vectors


def encoded(vae: VAE, name: str, images: Sequence[Image.Image]) -> Latents:
    """Latents of pictures, encoded once and kept."""
    key = hashlib.sha256(vae.space.fingerprint.encode())
    for image in images:
        key.update(repr(image.size).encode() + image.tobytes())
    path = LOCAL / f"{key.hexdigest()[:16]}.npy"
    if not path.exists():
        print(f"encoding {len(images)} pictures: {name}", file=sys.stderr)
        LOCAL.mkdir(parents=True, exist_ok=True)
        np.save(path, vae.encode(images), allow_pickle=False)
    latents: Latents = np.load(path, allow_pickle=False)
    return latents


def opened(path: Path) -> Image.Image:
    """A photo in RGB."""
    with Image.open(path) as image:
        return image.convert("RGB")


def small_pictures(
    random: np.random.Generator, per_class: int = PER_CLASS
) -> tuple[list[Image.Image], NDArray[np.str_]]:
    """As many CIFAR-10 test pictures of each class."""
    chosen = []
    with zipfile.ZipFile(PHOTOS / "cifar10-test" / "cifar10-test-jpg.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        for class_ in sorted({name.split("/")[1] for name in names}):
            of_class = [name for name in names if name.split("/")[1] == class_]
            for name in random.permutation(of_class)[:per_class]:
                image = Image.open(io.BytesIO(archive.read(str(name)))).convert("RGB")
                chosen.append((image, class_))
    return [image for image, _ in chosen], np.array([class_ for _, class_ in chosen])


def pixels(images: Sequence[Image.Image]) -> Vectors:
    """Shrunk to a few pixels."""
    shrunken = [
        pictures.fitted(pictures.read(image), pictures.Size(PIXELS, PIXELS)) for image in images
    ]
    return normalize(np.stack(shrunken).reshape(len(images), -1).astype(np.float32) - 127.5)


def grid(latents: Latents) -> Vectors:
    """Plain means over a 4x4 grid."""
    n, channels, height, width = latents.shape
    cells = latents.reshape(n, channels, 4, height // 4, 4, width // 4).mean((3, 5))
    return normalize(cells.reshape(n, -1))


def recall(
    way: Way,
    gallery: Sequence[Image.Image],
    edited: dict[str, list[Image.Image]],
    asked: NDArray[np.int64],
) -> dict[str, float]:
    """Share of the queries whose first hit is what they were made from: each edit's, the mean."""
    known = way(gallery, "gallery")
    shares = {
        name: float(((way(images, name) @ known.T).argmax(axis=1) == asked).mean())
        for name, images in edited.items()
    }
    return {**shares, "mean": float(np.mean(list(shares.values())))}


def precision(units: Vectors, classes: NDArray[np.str_]) -> float:
    """Share of the first 10 neighbours that are of the query's class, the query left out."""
    scores = units @ units.T
    np.fill_diagonal(scores, -np.inf)
    first = np.argsort(-scores, axis=1)[:, :FIRST]
    return float((classes[first] == classes[:, np.newaxis]).mean())


# -- reporting -----------------------------------------------------------------------------------


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    ways = result["ways"]
    head = ["| |", *(f" {one['way']} |" for one in ways)]
    rows = [("numbers of a vector", [f"{one['dim']:,}" for one in ways])]
    rows += [
        (f"recall@1: {edit}", [f"{one['recall@1'][edit]:.4f}" for one in ways])
        for edit in ways[0]["recall@1"]
    ]
    rows.append(("precision@10", [f"{one['precision@10']:.4f}" for one in ways]))
    about = (
        f"Space {result['space']}, {result['size']} pixels. {result['queries']} queries for each "
        f"edit among {result['photos']:,} photos; precision over {result['small']:,} CIFAR-10 "
        f"pictures. Seed {result['seed']}. {report.measured_on(result)}"
    )
    lines = [f"| {name} | {' | '.join(cells)} |" for name, cells in rows]
    return "\n".join(["".join(head), "|---|" + "---:|" * len(ways), *lines, "", about])


if __name__ == "__main__":
    sys.exit(main())
