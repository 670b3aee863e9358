"""VAEs: the latents are diffusers' own, the passport tells spaces apart, bad files are refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from vaes import KODAK, SMALL, TAESD, small_model

import semsearch
from semsearch import VAE
from semsearch.encoders.taef2 import TAEF2
from semsearch.errors import BackendError, DependencyMissing, InvalidArgument

Pixels = NDArray[np.uint8]
PICTURES = np.random.default_rng(5).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
# Leading latents of the middle 64x64 pixels of kodim03, from AutoencoderTiny.encode of
# diffusers 0.42.1 on a CPU.
GOLDEN = {
    "taesd": [0.87009, -0.03378, -1.37722, 0.6648],
    "taesdxl": [-0.45335, -0.16513, 0.03406, 0.26517],
    "taef1": [-1.20662, -0.56981, 1.65172, -0.50138],
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with each of the small models as diffusers saves it."""
    root = tmp_path_factory.mktemp("vaes")
    for name in SMALL:
        small_model(name).save_pretrained(root / name)
    return root


@pytest.fixture
def folder(folders: Path, tmp_path: Path) -> Path:
    """A copy of the tiny one, to be changed."""
    return Path(shutil.copytree(folders / "tiny", tmp_path / "tiny"))


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A TAEF2 with random weights, as a pair of files."""
    torch.manual_seed(0)
    model = TAEF2()
    save_file(model.encoder.state_dict(), tmp_path / "small_encoder.safetensors")
    torch.save(model.decoder.state_dict(), tmp_path / "small_decoder.pth")
    return tmp_path / "small"


def batch(pictures: Pixels) -> Any:
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def middle(number: int, edge: int) -> Pixels:
    """The middle of a Kodak picture, untouched."""
    whole = np.asarray(Image.open(KODAK / f"kodim{number:02}.png").convert("RGB"))
    top, left = (whole.shape[0] - edge) // 2, (whole.shape[1] - edge) // 2
    return np.ascontiguousarray(whole[top : top + edge, left : left + edge])


# --- the latents --------------------------------------------------------------------------------


def scaled(name: str, model: Any, pictures: Any) -> Any:
    """What the pipelines of diffusers make of a picture: each with its own formula."""
    config = model.config
    if name == "shifted":  # pipelines/flux/pipeline_flux_img2img.py
        raw = model.encode(pictures).latent_dist.mode()
        return (raw - config.shift_factor) * config.scaling_factor
    if name == "standardised":  # pipelines/stable_diffusion_xl/..._img2img.py
        raw = model.encode(pictures).latent_dist.mode()
        mean, std = (torch.tensor(each).view(1, -1, 1, 1)
                     for each in (config.latents_mean, config.latents_std))  # fmt: skip
        return (raw - mean) * config.scaling_factor / std
    if name == "flux2":  # pipelines/flux2/pipeline_flux2.py
        raw = model.encode(pictures).latent_dist.mode()
        n, channels, height, width = raw.shape
        patches = raw.view(n, channels, height // 2, 2, width // 2, 2).permute(0, 1, 3, 5, 2, 4)
        patches = patches.reshape(n, channels * 4, height // 2, width // 2)
        std = torch.sqrt(model.bn.running_var.view(1, -1, 1, 1) + config.batch_norm_eps)
        patches = (patches - model.bn.running_mean.view(1, -1, 1, 1)) / std
        patches = patches.reshape(n, channels, 2, 2, height // 2, width // 2)
        return patches.permute(0, 1, 4, 2, 5, 3).reshape(n, channels, height, width)
    if name == "dc":  # pipelines/sana/pipeline_sana.py
        return model.encode(pictures).latent * config.scaling_factor
    return model.encode(pictures).latents


@pytest.mark.parametrize("name", SMALL)
def test_latents_are_those_that_diffusers_gives_to_a_diffusion_model(
    folders: Path, name: str
) -> None:
    vae = VAE(str(folders / name), size=32)
    with torch.inference_mode():
        expected = scaled(name, small_model(name), batch(PICTURES)).numpy()
    latents = vae.encode(list(PICTURES))
    assert latents.dtype == np.float32
    assert latents.shape[1:] == vae.space.shape == vae.shape == (4, 16, 16)
    assert_allclose(latents, expected, atol=1e-4)


@pytest.mark.parametrize("name", SMALL)
def test_latents_are_decoded_as_diffusers_decodes_them(folders: Path, name: str) -> None:
    model = small_model(name)
    with torch.inference_mode():
        output = model.encode(batch(PICTURES))
        raw = next(iter(output.values()))
        decoded = model.decode(raw if torch.is_tensor(raw) else raw.mode()).sample
    expected = ((decoded + 1) * 127.5).clamp(0, 255).permute(0, 2, 3, 1).numpy()
    vae = VAE(str(folders / name), size=32)
    pictures = vae.decode(vae.encode(list(PICTURES)))
    assert pictures.dtype == np.uint8
    assert_allclose(pictures, expected, atol=1)


@pytest.mark.datasets
@pytest.mark.skipif(not TAESD.is_dir(), reason="no datasets here")
@pytest.mark.parametrize("name", ["taesd", "taesdxl", "taef1"])
def test_published_weights_give_the_latents_of_diffusers(name: str) -> None:
    encoder = load_file(TAESD / f"{name}_encoder.safetensors")
    model = diffusers.AutoencoderTiny(latent_channels=len(encoder["14.bias"]))
    model.encoder.load_state_dict({f"layers.{key}": value for key, value in encoder.items()})
    picture = middle(3, 64)
    with torch.inference_mode():
        expected = model.encode(batch(picture[None])).latents.numpy()
    latents = VAE(str(TAESD / name), size=64).encode([picture])
    assert_allclose(latents, expected, atol=1e-3)
    assert_allclose(latents[0, :, 0, 0][:4], GOLDEN[name], atol=1e-3)


@pytest.mark.datasets
@pytest.mark.skipif(not TAESD.is_dir(), reason="no datasets here")
@pytest.mark.parametrize(("name", "least"), [("taesdxl", 27.8), ("taef2", 32.3)])
def test_published_weights_restore_a_photo(name: str, least: float) -> None:
    """A wrong architecture restores worse: TAEF2 with any other number of groups loses 2 dB."""
    picture = middle(3, 256)
    vae = VAE(str(TAESD / name), size=256)
    (restored,) = vae.decode(vae.encode([picture]))
    error = np.mean((picture.astype(float) - restored) ** 2)
    assert 10 * np.log10(255**2 / error) >= least


def test_a_batch_is_encoded_as_each_picture_alone(pair: Path, tmp_path: Path) -> None:
    vae = VAE(str(pair), size=32)
    Image.fromarray(PICTURES[1]).save(tmp_path / "one.png")
    together = vae.encode([PICTURES[0], tmp_path / "one.png", Image.fromarray(PICTURES[2])])
    alone = np.concatenate([vae.encode([one]) for one in PICTURES])
    assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_array_equal(vae.encode(list(PICTURES)), vae.encode(list(PICTURES)))


def test_many_batches_come_back_in_order(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vae = VAE(str(folders / "tiny"), size=32)
    whole = vae.encode(list(PICTURES))
    monkeypatch.setattr("semsearch.encoders.vae._PIXELS_AT_ONCE", 2 * 32 * 32)
    assert_allclose(vae.encode(list(PICTURES)), whole, atol=1e-5)
    assert_allclose(vae.decode(whole)[2], vae.decode(whole[2:])[0], atol=1)


def test_nothing_gives_nothing(folders: Path) -> None:
    vae = VAE(str(folders / "tiny"), size=(48, 32))
    assert vae.encode([]).shape == (0, 4, 16, 24)
    assert vae.decode(np.empty((0, 4, 16, 24), np.float32)).shape == (0, 32, 48, 3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("name", SMALL)
def test_a_gpu_gives_the_same_latents(folders: Path, name: str) -> None:
    on_cpu, on_gpu = (VAE(str(folders / name), size=32, device=one) for one in ("cpu", "cuda"))
    assert on_cpu.space == on_gpu.space
    expected = on_cpu.encode(list(PICTURES))
    assert_allclose(on_gpu.encode(list(PICTURES)), expected, atol=0.02 * np.abs(expected).max())


# --- the passport -------------------------------------------------------------------------------

LIGHT = """
import sys, semsearch
vae = semsearch.VAE(sys.argv[1])
vae.space, repr(vae)
heavy = {"torch", "diffusers", "transformers", "PIL", "skimage"} & sys.modules.keys()
sys.exit(", ".join(heavy) or 0)
"""


def test_the_passport_imports_nothing_heavy(folders: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", LIGHT, str(folders / "tiny")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_copy_is_the_same_space_and_weights_config_and_size_make_another(folder: Path) -> None:
    space = VAE(str(folder), size=32).space
    assert (space.name, space.modality) == ("tiny", "image")
    copy = Path(shutil.copytree(folder, folder.parent / "pipeline" / "vae"))
    change_config(copy, force_upcast=True, _diffusers_version="0.1", sample_size=64)
    assert VAE(str(copy.parent), size=32).space.fingerprint == space.fingerprint

    others = [VAE(str(folder), size=48).space]
    change_config(copy, scaling_factor=2.0)
    others.append(VAE(str(copy), size=32).space)
    weights = load_file(folder / "diffusion_pytorch_model.safetensors")
    save_file(
        {name: tensor + 1 for name, tensor in weights.items()},
        folder / "diffusion_pytorch_model.safetensors",
    )
    others.append(VAE(str(folder), size=32).space)
    assert space.fingerprint not in {one.fingerprint for one in others}


def test_the_preprocessing_is_part_of_the_passport(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = VAE(str(folders / "tiny")).space
    monkeypatch.setattr("semsearch.pictures.PREPROCESSING", "another")
    assert VAE(str(folders / "tiny")).space.fingerprint != space.fingerprint


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_pair_is_found_by_any_of_its_names(pair: Path) -> None:
    names = ["small", "small_encoder.safetensors", "small_decoder.pth", "small_encoder.pth"]
    found = [VAE(str(pair.with_name(name)), size=32) for name in names]
    assert {vae.name for vae in found} == {str(pair)}
    assert {vae.space.fingerprint for vae in found} == {found[0].space.fingerprint}
    assert found[0].shape == (32, 4, 4)
    assert repr(found[0]) == f"VAE({str(pair)!r}, size=32x32, device=None, not loaded)"


def test_loading_says_nothing(folders: Path, capfd: pytest.CaptureFixture[str]) -> None:
    VAE(str(folders / "shifted"), size=32).encode([PICTURES[0]])
    assert capfd.readouterr() == ("", "")


# --- what does not fit --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "message"),
    [(33, "multiples of 2, 16 or more"), (0, "16 or more"), ((32, 8), "32x8"), (-32, "16")],
)
def test_a_size_that_does_not_fit_is_refused(folders: Path, size: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        VAE(str(folders / "tiny"), size=size)


def test_flux2_takes_even_latents_only(folders: Path) -> None:
    with pytest.raises(InvalidArgument, match="multiples of 4"):
        VAE(str(folders / "flux2"), size=34)


@pytest.mark.parametrize(
    "latents",
    [
        np.zeros((1, 4, 16, 8), np.float32),
        np.zeros((4, 16, 16), np.float32),
        np.zeros((1, 4, 16, 16), np.int64),
        np.full((1, 4, 16, 16), np.nan, np.float32),
    ],
)
def test_what_are_no_latents_of_the_space_is_refused(folders: Path, latents: Any) -> None:
    with pytest.raises(InvalidArgument, match="latents: "):
        VAE(str(folders / "tiny"), size=32).decode(latents)


@pytest.mark.parametrize("images", ["one.png", Path("one.png"), 7, None])
def test_what_is_not_a_list_of_pictures_is_refused(folders: Path, images: Any) -> None:
    with pytest.raises(InvalidArgument, match="expected a list of pictures"):
        VAE(str(folders / "tiny"), size=32).encode(images)


def test_what_is_no_vae_is_refused(folders: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    save_file({"a": torch.zeros(1)}, tmp_path / "other_encoder.safetensors")
    for name, message in [
        ("nosuch/vae", "no VAE named"),
        ("", "expected the name"),
        (tmp_path / "file", "expected a folder of diffusers, or a file NAME_encoder"),
        (tmp_path / "empty", "there is no config.json"),
        (tmp_path / "other", "other_decoder: there is no such"),
        (tmp_path / "missing_encoder.pth", "missing_encoder: there is no such"),
    ]:
        with pytest.raises(InvalidArgument, match=message):
            VAE(str(name))
    save_file({"a": torch.zeros(1)}, tmp_path / "other_decoder.safetensors")
    with pytest.raises(InvalidArgument, match="not the encoder of a VAE of the taesd family"):
        VAE(str(tmp_path / "other"))
    change_config(folder, _class_name="UNet2DModel")
    with pytest.raises(InvalidArgument, match=r"of the class AutoencoderKL, .*, got UNet2DModel"):
        VAE(str(folder))


def test_weights_that_do_not_fit_or_are_damaged_are_one_error(folder: Path, pair: Path) -> None:
    change_config(folder, latent_channels=5)
    with pytest.raises(BackendError, match="cannot be loaded"):
        VAE(str(folder), size=32).encode([PICTURES[0]])
    pair.with_name("small_decoder.pth").write_bytes(b"no weights")
    with pytest.raises(BackendError, match=r"small_decoder\.pth: its weights cannot be read"):
        VAE(str(pair), size=32).encode([PICTURES[0]])


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("code of the pickle was run",))


def test_code_in_a_pickle_is_not_run(pair: Path) -> None:
    torch.save({"1.weight": Malicious()}, pair.with_name("small_decoder.pth"))
    with pytest.raises(BackendError, match="cannot be read"):
        VAE(str(pair), size=32).encode([PICTURES[0]])


def test_weights_of_nan_are_noticed(folder: Path) -> None:
    path = folder / "diffusion_pytorch_model.safetensors"
    save_file({name: tensor * np.nan for name, tensor in load_file(path).items()}, path)
    with pytest.raises(BackendError, match="NaN or infinity"):
        VAE(str(folder), size=32).encode([PICTURES[0]])


def test_an_unknown_device_is_refused(folders: Path) -> None:
    with pytest.raises(InvalidArgument, match="device 'nosuch' is not usable"):
        VAE(str(folders / "tiny"), size=32, device="nosuch").encode([PICTURES[0]])


@pytest.mark.parametrize("module", ["diffusers", "PIL"])
def test_what_is_not_installed_is_named_with_its_extra(
    folders: Path, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    vae = semsearch.VAE(str(folders / "tiny"), size=48)
    with pytest.raises(DependencyMissing, match=r"pip install 'semsearch\[images\]'"):
        vae.encode([PICTURES[0]])
