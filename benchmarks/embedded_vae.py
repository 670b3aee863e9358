"""How true is the VAE that is built in, and how fast beside the one that it learnt from?

    python benchmarks/embedded_vae.py --beside DIR/taef2    # measure, write JSON and table
    python benchmarks/embedded_vae.py --table               # the table again from the JSON

Looks for the photos in ../shared/datasets/images/kodak24. About two minutes.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import numpy as np
import report
from numpy.typing import NDArray
from PIL import Image

from semsearch.encoders.vae import VAE
from semsearch.encoders.vae_files import EMBEDDED
from semsearch.quality import psnr, ssim

PHOTOS = report.DATASETS / "images" / "kodak24"
LEAST_PSNR, LEAST_SPEEDUP = 23.0, 3.0
REPEATS = 5

Photo = NDArray[np.uint8]


def main() -> int:
    """Measure, or only write the table; 1 when a limit is missed."""
    parser = report.parser(__doc__)
    parser.add_argument("--beside", help="the teacher, such as DIR/taef2; needed to measure")
    return report.main("embedded_vae", parser, measure, table)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """How true it is over all photos, and the time that each takes for one."""
    photos = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(PHOTOS.iterdir())
              if path.suffix == ".png"]  # fmt: skip
    names = {"embedded": EMBEDDED, "teacher": options.beside}
    times = encode_times(names, photos[0])
    encode_ms = {role: 1000 * float(np.median(each)) for role, each in times.items()}
    speedup = encode_ms["teacher"] / encode_ms["embedded"]
    truth = fidelity(photos)
    return {
        "question": "How true is the embedded VAE, and how fast beside its teacher?",
        "photos": len(photos),
        **truth,
        "encode_ms": encode_ms,
        "speedup": speedup,
        "passed": truth["psnr"] >= LEAST_PSNR and speedup >= LEAST_SPEEDUP,
        **report.circumstances(),
    }


def fidelity(photos: list[Photo]) -> dict[str, float]:
    """PSNR and SSIM of the decoded photos: the means, and the least and the most PSNR."""
    vaes = {photo.shape: _of(EMBEDDED, photo) for photo in photos}
    decoded = [_round_trip(vaes[photo.shape], photo) for photo in photos]
    pairs = list(zip(photos, decoded, strict=True))
    ratios = [psnr(*pair) for pair in pairs]
    return {
        "psnr": float(np.mean(ratios)),
        "least_psnr": min(ratios),
        "most_psnr": max(ratios),
        "ssim": float(np.mean([ssim(*pair) for pair in pairs])),
    }


def encode_times(names: dict[str, str], photo: Photo) -> dict[str, list[float]]:
    """Seconds for one photo, by turns; the first turn, which loads the weights, left out."""
    vaes = {role: _of(name, photo) for role, name in names.items()}
    times: dict[str, list[float]] = {role: [] for role in names}
    for turn in range(REPEATS + 1):
        for role, vae in vaes.items():
            begin = time.perf_counter()
            vae.encode([photo])
            if turn:
                times[role].append(time.perf_counter() - begin)
    return times


def _of(name: str, photo: Photo) -> VAE:
    height, width, _ = photo.shape
    return VAE(name, size=(width, height), device="cpu")


def _round_trip(vae: VAE, photo: Photo) -> Photo:
    decoded: Photo = vae.decode(vae.encode([photo]))[0]
    return decoded


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    times = result["encode_ms"]
    rows = {
        "PSNR dB, mean": f"{result['psnr']:.2f}",
        "PSNR dB, least and most": f"{result['least_psnr']:.2f} to {result['most_psnr']:.2f}",
        "SSIM, mean": f"{result['ssim']:.3f}",
        "encode ms": f"{times['embedded']:.0f}",
        "encode ms, TAEF2": f"{times['teacher']:.0f}",
        "times as fast": f"{result['speedup']:.1f}",
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    about = f"{result['photos']} photos. {report.measured_on(result)}"
    return "\n".join(["| | semsearch-vae |", "|---|---:|", *lines, "", about])


if __name__ == "__main__":
    sys.exit(main())
