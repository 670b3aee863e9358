"""latent: pictures to latents and back, on files."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from semsearch.cli import display
from semsearch.cli.options import device_option, examples, json_option, number_option
from semsearch.cli.progress import hint
from semsearch.errors import InvalidArgument

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from semsearch.encoders.vae import VAE
    from semsearch.imaging import Fidelity
    from semsearch.latent_file import Latents

_LATENTS = ".safetensors"
_GIF = ".gif"


class _Size(click.ParamType[tuple[int, int]]):
    """`512` or `768x512`."""

    name = "size"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Width and height in pixels."""
        found = re.fullmatch(r"(\d+)(?:x(\d+))?", str(value))
        if found is None:
            self.fail(f"{value!r}: expected pixels, such as 512 or 768x512.", param, ctx)
        return int(found[1]), int(found[2] or found[1])


_images = click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
_vae = click.option(
    "--vae",
    "name",
    metavar="VAE",
    help="Folder of a VAE of diffusers, NAME_encoder.safetensors of the taesd family, or a model "
    "of the Hugging Face hub.  [required]",
)
_size = click.option(
    "--size",
    type=_Size(),
    metavar="PIXELS",
    default="512",
    show_default=True,
    help="Pictures are cut and resized to this size, such as 512 or 768x512.",
)
_half = click.option("--half", is_flag=True, help="Keep latents in half precision (float16).")
_out = click.option(
    "-o",
    "out",
    metavar="PATH",
    required=True,
    type=click.Path(path_type=Path),
    help="Where to write.",
)


@click.group()
def latent() -> None:
    """Turn pictures into latents and back.

    A latent is what a VAE, the autoencoder of an image generator, makes of a picture: a fraction
    of its numbers, from which the picture can be decoded again.
    """


@latent.command(epilog=examples("semsearch latent encode *.jpg --vae DIR/taesdxl -o a.safetensors"))
@_images
@_vae
@_out
@_size
@_half
@device_option
@json_option
def encode(
    *,
    images: Sequence[Path],
    name: str | None,
    out: Path,
    size: tuple[int, int],
    half: bool,
    device: str | None,
    as_json: bool,
) -> None:
    """Encode IMAGES and write their latents to a safetensors file."""
    from semsearch.imaging import encode_images

    vae = _load(name, size, device)
    with hint(f"encoding {display.count(len(images), 'picture')} ..."):
        latents = encode_images(vae, images)
        latents.save(out, half=half)
    if as_json:
        shape = list(latents.space.shape)
        pictures = [asdict(picture) for picture in latents.pictures]
        space = {**asdict(latents.space), "shape": shape}
        display.echo_json({"path": str(out), "space": space, "pictures": pictures})
    else:
        each = " x ".join(map(str, latents.space.shape))
        click.echo(f"{display.count(len(latents), 'latent')} of {each} -> {out}")


@latent.command(epilog=examples("semsearch latent decode a.safetensors --vae DIR/taesdxl -o out"))
@click.argument("file", type=click.Path(path_type=Path))
@_vae
@_out
@device_option
def decode(*, file: Path, name: str | None, out: Path, device: str | None) -> None:
    """Decode the latents in FILE to pictures.

    The VAE must be the one that encoded them. A file of one latent can be decoded to one picture
    (-o picture.png), one of several to a folder.
    """
    from semsearch.imaging import decode_images, decoder_of
    from semsearch.latent_file import Latents

    latents = Latents.load(file)
    vae = decoder_of(latents, _named(name), device=device)
    if out.suffix and len(latents) != 1:
        raise InvalidArgument(
            f"{out}: {file} holds {display.count(len(latents), 'latent')}; give a folder"
        )
    with hint("decoding ..."):
        frames = decode_images(vae, latents)
    stems = [Path(picture.name).stem for picture in latents.pictures]
    _save(frames, stems, out)


@latent.command(
    epilog=examples(
        "semsearch latent morph cat.jpg dog.jpg --vae DIR/taesdxl -o morph.gif",
        "semsearch latent morph a.safetensors b.safetensors --vae DIR/taesdxl -o sheet.png",
    )
)
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@_vae
@_out
@number_option("--steps", "How many pictures, both ends included.", default=10, least=2)
@click.option("--lerp", is_flag=True, help="Go on the straight line instead of the arc.")
@_size
@device_option
def morph(
    *,
    a: Path,
    b: Path,
    name: str | None,
    out: Path,
    steps: int,
    lerp: bool,
    size: tuple[int, int],
    device: str | None,
) -> None:
    """Turn the picture A into B, step by step.

    A and B are pictures, or .safetensors files of one latent each (then --size is theirs). The
    steps are written as an animation (-o morph.gif), as one sheet (-o morph.png) or as numbered
    pictures in a folder.
    """
    from semsearch import imaging

    stored = [_one_latent(path) if path.suffix == _LATENTS else None for path in (a, b)]
    given = stored[0] or stored[1]
    if given is None:
        vae = _load(name, size, device)
    else:
        vae = imaging.decoder_of(given, _named(name), device=device)
    first, last = (_end(vae, *end) for end in zip((a, b), stored, strict=True))
    with hint("decoding ..."):
        frames = imaging.morph(vae, first, last, steps, linear=lerp)
    if out.suffix:
        _save_as_one(frames, out)
    else:
        _save(frames, [f"{number:03d}" for number in range(steps)], out)


@latent.command(epilog=examples("semsearch latent report photo.png --vae DIR/taesdxl"))
@_images
@_vae
@_size
@_half
@device_option
@json_option
def report(
    *,
    images: Sequence[Path],
    name: str | None,
    size: tuple[int, int],
    half: bool,
    device: str | None,
    as_json: bool,
) -> None:
    """Tell what encoding and decoding leaves of IMAGES.

    Compression by values (numbers of the picture for each of the latent) and by bytes (of the file
    for each of the latent), PSNR in dB and SSIM of the decoded picture. Pictures are compared as
    the VAE sees them, cut and resized.
    """
    from semsearch.imaging import fidelity

    vae = _load(name, size, device)
    with hint(f"measuring {display.count(len(images), 'picture')} ..."):
        found = [fidelity(vae, image, half=half) for image in images]
    if as_json:
        rows = [_as_json(image, one) for image, one in zip(images, found, strict=True)]
        display.echo_json({"vae": vae.name, "size": list(vae.size), "pictures": rows})
    else:
        click.echo("\n".join(_table(images, found)))


def _load(name: str | None, size: tuple[int, int], device: str | None) -> VAE:
    from semsearch.encoders.vae import VAE

    return VAE(_named(name), size=size, device=device)


def _named(name: str | None) -> str:
    if name is None:
        raise InvalidArgument(
            "no VAE: give one with --vae, such as the folder of a VAE of diffusers, "
            "DIR/taesdxl_encoder.safetensors with its decoder beside it, or madebyollin/taesdxl"
        )
    return name


def _one_latent(path: Path) -> Latents:
    from semsearch.latent_file import Latents

    latents = Latents.load(path)
    if len(latents) != 1:
        raise InvalidArgument(f"{path}: expected one latent, it holds {len(latents)}")
    return latents


def _end(vae: VAE, path: Path, stored: Latents | None) -> NDArray[np.float32]:
    from semsearch.imaging import check_space

    if stored is None:
        end: NDArray[np.float32] = vae.encode([path])[0]
        return end
    check_space(vae, stored)
    only: NDArray[np.float32] = stored.values[0]
    return only


def _save_as_one(frames: NDArray[np.uint8], out: Path) -> None:
    from semsearch import pictures

    if out.suffix.lower() == _GIF:
        pictures.save_animation(list(frames), out)
    else:
        pictures.save(pictures.sheet(list(frames)), out)
    click.echo(f"{display.count(len(frames), 'picture')} -> {out}")


def _save(frames: NDArray[np.uint8], stems: Sequence[str], out: Path) -> None:
    """Into one file when `out` has an ending, else into a folder."""
    from semsearch import pictures

    if out.suffix:
        pictures.save(frames[0], out)
    else:
        out.mkdir(parents=True, exist_ok=True)
        for stem, frame in zip(_distinct(stems), frames, strict=True):
            pictures.save(frame, out / f"{stem}.png")
    click.echo(f"{display.count(len(frames), 'picture')} -> {out}")


def _distinct(stems: Sequence[str]) -> list[str]:
    """The names, those that came before with a number: files of two folders may share one."""
    taken: dict[str, None] = {}
    for stem in stems:
        number, name = 1, stem
        while name in taken:
            number += 1
            name = f"{stem}-{number}"
        taken[name] = None
    return list(taken)


def _table(images: Sequence[Path], found: Sequence[Fidelity]) -> list[str]:
    heads = ["picture", "latent", "by values", "by bytes", "PSNR dB", "SSIM"]
    rows = [
        [
            display.location(str(image)),
            "x".join(map(str, one.shape)),
            f"{one.by_values:.1f}x",
            f"{one.by_bytes:.1f}x" if one.by_bytes else "",
            f"{one.psnr:.2f}",
            f"{one.ssim:.4f}",
        ]
        for image, one in zip(images, found, strict=True)
    ]
    return display.table([heads, *rows])


def _as_json(image: Path, one: Fidelity) -> dict[str, Any]:
    psnr = one.psnr if math.isfinite(one.psnr) else None
    return {"picture": str(image), **asdict(one), "psnr": psnr}
