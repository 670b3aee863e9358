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
from semsearch.cli.imagining import analogy, direction
from semsearch.cli.options import (
    PathName,
    device_option,
    examples,
    index_option,
    json_option,
    number_option,
    open_index,
    out_option,
    where_option,
)
from semsearch.cli.pictures import point, save, save_as_one
from semsearch.cli.progress import hint
from semsearch.errors import InvalidArgument

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from semsearch.codec import Fidelity
    from semsearch.encoders.vae import VAE
    from semsearch.latent_file import Latents

_LATENTS = ".safetensors"


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


_images = click.argument("images", nargs=-1, required=True, type=PathName())
_vae = click.option(
    "--vae",
    "name",
    metavar="VAE",
    help="Folder of a VAE of diffusers, NAME_encoder.safetensors of the taesd family, or a model "
    "of the Hugging Face hub.  [default: semsearch-vae, the one that is built in]",
)
_of_index = click.option(
    "--index",
    "index_path",
    metavar="PATH",
    type=PathName(),
    help="Folder of an index of pictures, in place of --vae.",
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


@click.group()
def latent() -> None:
    """Turn pictures into latents and back.

    A latent is what a VAE, the autoencoder of an image generator, makes of a picture: a fraction
    of its numbers, from which the picture can be decoded again.
    """


@latent.command(epilog=examples("semsearch latent encode *.jpg -o a.safetensors"))
@_images
@_vae
@out_option
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
    from semsearch.codec import encode_images

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


@latent.command(
    epilog=examples(
        "semsearch latent decode a.safetensors -o out",
        "semsearch latent decode photos/a.jpg --index indexes/photos -o a.png",
    )
)
@click.argument("names", nargs=-1, required=True, metavar="FILE|ID...")
@_vae
@_of_index
@out_option
@device_option
def decode(
    *,
    names: Sequence[str],
    name: str | None,
    index_path: Path | None,
    out: Path,
    device: str | None,
) -> None:
    """Decode the latents in a FILE, or those of pictures of an index by ID.

    The VAE must be the one that encoded the file. One latent can be decoded to one picture
    (-o picture.png), several to a folder; those of an index to a sheet as well (-o sheet.png). The
    files that the pictures of an index came from are not needed.
    """
    if index_path is not None:
        _decode_ids(index_path, names, out, device)
        return
    if len(names) != 1:
        raise click.UsageError("Give one FILE with --vae; several IDs go with --index.")
    _decode_file(Path(names[0]), name, out, device)


def _decode_ids(index_path: Path, ids: Sequence[str], out: Path, device: str | None) -> None:
    import numpy as np

    with open_index(index_path, device=device) as index, hint("decoding ..."):
        found = index.decode(list(ids))
    frames = np.stack(list(found.values()))
    if out.suffix and len(frames) > 1:
        save_as_one(frames, out)
    else:
        save(frames, [Path(id_).stem for id_ in found], out)


def _decode_file(file: Path, name: str | None, out: Path, device: str | None) -> None:
    from semsearch.codec import decode_images, decoder_of
    from semsearch.latent_file import Latents

    if not file.exists():
        raise InvalidArgument(f"{file}: no such file; a picture of an index goes with --index")
    latents = Latents.load(file)
    vae = decoder_of(latents, _named(name), device=device)
    if out.suffix and len(latents) != 1:
        raise InvalidArgument(
            f"{out}: {file} holds {display.count(len(latents), 'latent')}; give a folder"
        )
    with hint("decoding ..."):
        frames = decode_images(vae, latents)
    save(frames, [Path(picture.name).stem for picture in latents.pictures], out)


@latent.command(
    epilog=examples(
        "semsearch latent morph cat.jpg dog.jpg -o morph.gif",
        "semsearch latent morph a.safetensors b.safetensors --vae DIR/taesdxl -o sheet.png",
        "semsearch latent morph cat.jpg photos/dog.jpg --index indexes/photos -o morph.gif",
    )
)
@click.argument("a")
@click.argument("b")
@_vae
@_of_index
@out_option
@number_option("--steps", "How many pictures, both ends included.", default=10, least=2)
@click.option("--lerp", is_flag=True, help="Go on the straight line instead of the arc.")
@_size
@device_option
def morph(
    *,
    a: str,
    b: str,
    name: str | None,
    index_path: Path | None,
    out: Path,
    steps: int,
    lerp: bool,
    size: tuple[int, int],
    device: str | None,
) -> None:
    """Turn the picture A into B, step by step.

    A and B are pictures, or .safetensors files of one latent each (then --size is theirs). With
    --index they may be ids of its pictures, and the real picture nearest to each step is named;
    VAE and size are the index's. The steps are written as an animation (-o morph.gif), as one sheet
    (-o morph.png) or as numbered pictures in a folder.
    """
    from semsearch import codec

    if index_path is None:
        ends = Path(a), Path(b)
        stored = [_one_latent(path) if path.suffix == _LATENTS else None for path in ends]
        vae = _vae_of(stored, name, size, device)
        first, last = (_end(vae, *end) for end in zip(ends, stored, strict=True))
        with hint("decoding ..."):
            frames = codec.morph(vae, first, last, steps, linear=lerp)
    else:
        frames = _morph_in(index_path, a, b, steps, device, linear=lerp)
    if out.suffix:
        save_as_one(frames, out)
    else:
        save(frames, [f"{number:03d}" for number in range(steps)], out)


def _morph_in(
    index_path: Path, a: str, b: str, steps: int, device: str | None, *, linear: bool
) -> NDArray[np.uint8]:
    from semsearch.imagining import imagine_between

    start, end = point(a), point(b)
    with open_index(index_path, device=device) as index, hint("decoding ..."):
        frames = imagine_between(index, start, end, steps=steps, linear=linear)
        nearest = index.between(start, end, steps=steps)
    for step, hits in enumerate(nearest):
        share = f"{100 * step / (steps - 1):3.0f}%"
        for hit in hits:
            click.echo(f"{share}  {hit.score:.3f}  {display.one_line(hit.id)}")
    return frames


def _vae_of(
    stored: Sequence[Latents | None], name: str | None, size: tuple[int, int], device: str | None
) -> VAE:
    """The VAE that was named, at the size of latents that were given, if any were."""
    from semsearch import codec

    given = next(filter(None, stored), None)
    if given is None:
        return _load(name, size, device)
    return codec.decoder_of(given, _named(name), device=device)


@latent.command(
    "export",
    epilog=examples("semsearch latent export --index indexes/photos -o photos.safetensors --half"),
)
@index_option
@where_option
@out_option
@_half
@device_option
def export(*, path: Path, where: str | None, out: Path, half: bool, device: str | None) -> None:
    """Write the latents that an index keeps to a safetensors file.

    Each is named by its id, with the hash of its picture; the file holds the passport of the VAE
    and size. Needs no picture, and encodes nothing.
    """
    from semsearch.exchange import export_latents

    with open_index(path, device=device) as index:
        latents = export_latents(index, where)
    latents.save(out, half=half)
    click.echo(f"{display.count(len(latents), 'latent')} -> {out}")


@latent.command(
    "import", epilog=examples("semsearch latent import photos.safetensors --index indexes/photos")
)
@click.argument("file", type=PathName())
@index_option
@device_option
def import_(*, file: Path, path: Path, device: str | None) -> None:
    """Add the pictures whose latents are in FILE to an index, without encoding them.

    What is in the index already stays as it is. FILE is what `latent export` or `latent encode`
    wrote, with the VAE and size of the index. An ingest of the same pictures under the same ids
    finds them unchanged.
    """
    from semsearch.exchange import import_latents
    from semsearch.latent_file import Latents

    latents = Latents.load(file)
    with open_index(path, device=device) as index:
        report = import_latents(index, latents)
    became = f"{report.added:,} new, {report.skipped:,} there already"
    click.echo(f"{display.count(len(latents), 'latent')} ({became}) -> {path}")


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
    from semsearch.codec import fidelity

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
    from semsearch.encoders.vae_files import EMBEDDED

    return EMBEDDED if name is None else name


def _one_latent(path: Path) -> Latents:
    from semsearch.latent_file import Latents

    latents = Latents.load(path)
    if len(latents) != 1:
        raise InvalidArgument(f"{path}: expected one latent, it holds {len(latents)}")
    return latents


def _end(vae: VAE, path: Path, stored: Latents | None) -> NDArray[np.float32]:
    from semsearch.codec import check_space

    if stored is None:
        end: NDArray[np.float32] = vae.encode([path])[0]
        return end
    check_space(vae, stored)
    only: NDArray[np.float32] = stored.values[0]
    return only


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


for _operation in (analogy, direction):
    latent.add_command(_operation)
