"""The VAE that is part of the package: what its weights give, and that it needs nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file
from vaes import KODAK, TAESD

import semsearch
from semsearch import VAE, pictures
from semsearch.cli import main
from semsearch.encoders import vae_files
from semsearch.quality import psnr

WEIGHTS = Path(vae_files.__file__).parent / "weights"
FILE = WEIGHTS / "semsearch-vae.safetensors"
LARGEST = 6_000_000  # bytes
# Leading latents of `ramps()`, as the weights gave them when they were published.
GOLDEN = [0.7253, 0.08477, 0.08663, -1.50281, 0.5242, -0.01531]
LEAST_PSNR = 26.0  # dB, mean over the middles of Kodak's photos
LEAST_FROM_TEACHER = 25.0  # dB, decoding the latents of TAEF2
SAMPLES = Path(__file__).parent.parent / "data" / "pictures"
MOST_LEFT = 0.36  # of the variance of the teacher's latents

Pixels = NDArray[np.uint8]


def ramps() -> Pixels:
    """Red to the right, green downward, blue in squares."""
    y, x = np.indices((64, 64))
    return np.dstack([4 * x, 4 * y, (x // 16 + y // 16) % 2 * 255]).astype(np.uint8)


def kodak(edge: int) -> list[Pixels]:
    """The middle of each photo, untouched."""
    photos = []
    for path in sorted(KODAK.glob("*.png")):
        whole = pictures.read(path)
        top, left = ((side - edge) // 2 for side in whole.shape[:2])
        photos.append(np.ascontiguousarray(whole[top : top + edge, left : left + edge]))
    return photos


def test_it_is_the_vae_when_none_is_named() -> None:
    vae = VAE()
    assert (vae.name, vae.shape, vae.space.name) == ("semsearch-vae", (32, 64, 64), "semsearch-vae")
    assert VAE("semsearch-vae").space == vae.space
    assert VAE(size=(48, 32)).shape == (32, 4, 6)


def test_its_weights_are_small_and_of_half_precision() -> None:
    assert FILE.stat().st_size <= LARGEST
    assert {str(value.dtype) for value in load_file(FILE).values()} == {"float16"}


def test_its_latents_are_golden() -> None:
    (latent,) = VAE(size=64).encode([ramps()])
    assert_allclose(latent[:6, 0, 0], GOLDEN, atol=1e-3)


ALONE = """
import sys
sys.modules["diffusers"] = None
import numpy, semsearch
picture = numpy.zeros((32, 32, 3), numpy.uint8)
vae = semsearch.VAE(size=32)
print(vae.decode(vae.encode([picture])).shape)
"""


def test_it_needs_no_diffusers() -> None:
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=True)
    assert done.stdout == "(1, 32, 32, 3)\n"


def test_commands_take_it_when_none_is_named(tmp_path: Path) -> None:
    Image.fromarray(ramps()).save(tmp_path / "a.png")
    file, out = tmp_path / "a.safetensors", tmp_path / "b.png"
    for words in (
        ["encode", str(tmp_path / "a.png"), "--size", "64", "-o", str(file)],
        ["decode", str(file), "-o", str(out)],
    ):
        result = CliRunner().invoke(main, ["latent", *words], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert semsearch.Latents.load(file).space == VAE(size=64).space
    assert pictures.read(out).shape == (64, 64, 3)


@pytest.mark.datasets
@pytest.mark.skipif(not KODAK.is_dir(), reason="no datasets here")
def test_it_restores_photos_it_has_not_seen() -> None:
    photos = kodak(256)
    vae = VAE(size=256)
    restored = vae.decode(vae.encode(photos))
    ratios = [psnr(*pair) for pair in zip(photos, restored, strict=True)]
    assert np.mean(ratios) >= LEAST_PSNR


@pytest.mark.datasets
@pytest.mark.skipif(not (KODAK.is_dir() and TAESD.is_dir()), reason="no datasets here")
def test_its_space_is_that_of_its_teacher() -> None:
    """Its decoder reads the teacher's latents, and most of what varies in them is in its own."""
    photos = kodak(256)[:6]
    vae, teacher = VAE(size=256), VAE(str(TAESD / "taef2"), size=256)
    known = teacher.encode(photos)
    left = np.mean((vae.encode(photos) - known) ** 2) / known.var()
    assert left <= MOST_LEFT
    ratios = [psnr(*pair) for pair in zip(photos, vae.decode(known), strict=True)]
    assert np.mean(ratios) >= LEAST_FROM_TEACHER


def test_an_index_needs_no_other(tmp_path: Path) -> None:
    path = str(tmp_path / "index")
    run = CliRunner().invoke
    assert run(main, ["index", str(SAMPLES), "--encoder", "vae", "--index", path]).exit_code == 0
    found = run(main, ["search", "--image", str(SAMPLES / "sea-blurred.jpg"), "--index", path])
    assert [line.split()[-1] for line in found.output.splitlines() if ". " in line[:4]][:2] == [
        "pictures/sea-blurred.jpg",
        "pictures/sea.jpg",
    ]
    with semsearch.open(path) as index:
        assert index.info().encoder == "vae:semsearch-vae"
        groups = [group.ids for group in index.duplicates()]
        assert ("pictures/apple-brighter.jpg", "pictures/apple.jpg") in [
            tuple(sorted(ids)) for ids in groups
        ]
        assert len(groups) == 4
        assert index.decode("pictures/sea.jpg")["pictures/sea.jpg"].shape == (64, 64, 3)
    with semsearch.create(tmp_path / "large", encoder="vae@128") as large:
        assert large.info().encoder == "vae:semsearch-vae@128"
