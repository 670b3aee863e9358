"""Pictures that no file holds: points between, beyond and beside those of an index, decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from encoders import PixelEncoder, WordEncoder
from PIL import Image
from vaes import small_model

import semsearch
from semsearch import Direction, Index, InvalidArgument, latents
from semsearch.cli import main
from semsearch.imagining import latent_of

SIZE = (32, 32)


def shade(light: int, seed: int) -> Image.Image:
    """A picture of one brightness, with a little noise."""
    noise = np.random.default_rng(seed).integers(-20, 20, (*SIZE, 3))
    return Image.fromarray(np.clip(light + noise, 0, 255).astype(np.uint8))


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for kind, light in {"day": 200, "night": 50}.items():
        (tmp_path / "photos" / kind).mkdir(parents=True)
        for seed in range(4):
            shade(light, light + seed).save(tmp_path / "photos" / kind / f"{seed}.png")
    return tmp_path / "photos"


@pytest.fixture
def index(tmp_path: Path, photos: Path) -> Iterator[Index]:
    with semsearch.create(tmp_path / "index", encoder=PixelEncoder()) as made:
        made.ingest(photos)
        yield made


def like(name: str) -> semsearch.Blend:
    return semsearch.like(f"photos/{name}.png")


def test_one_picture_is_imagined_as_it_is_kept(index: Index, photos: Path) -> None:
    kept = index.decode("photos/day/0.png")["photos/day/0.png"]
    np.testing.assert_array_equal(semsearch.imagine(index, like("day/0")), kept)
    file = semsearch.image(photos / "day" / "0.png")
    np.testing.assert_array_equal(semsearch.imagine(index, file), kept)


def test_an_analogy_has_the_direction_of_a_search_and_a_length_that_decodes(index: Index) -> None:
    asked = like("night/0") - like("day/0") + like("day/1")
    found = latent_of(index, asked)
    kept = index.latents([f"photos/{name}.png" for name in ("night/0", "day/0", "day/1")])
    rows = np.stack([latent.ravel() for latent in kept.values()]).astype(np.float32)
    lengths = np.linalg.norm(rows, axis=1)
    assert np.linalg.norm(found) == pytest.approx((lengths[0] + lengths[2]) / 2, rel=1e-4)
    direction = latents.combine([1, -1, 1], rows)
    np.testing.assert_allclose(found / np.linalg.norm(found), direction, atol=1e-5)
    same = latent_of(index, like("day/0") - like("day/0") + like("day/1"))
    np.testing.assert_allclose(same, rows[2], rtol=1e-3)


def test_a_morph_begins_and_ends_with_the_pictures(index: Index) -> None:
    frames = semsearch.imagine_between(index, like("night/0"), like("day/0"), steps=5)
    kept = index.decode(["photos/night/0.png", "photos/day/0.png"])
    assert frames.shape == (5, 8, 8, 3)
    np.testing.assert_array_equal(frames[0], kept["photos/night/0.png"])
    np.testing.assert_array_equal(frames[-1], kept["photos/day/0.png"])
    brightness = frames.mean(axis=(1, 2, 3))
    assert (np.diff(brightness) > 0).all()
    straight = semsearch.imagine_between(
        index, like("night/0"), like("day/0"), steps=3, linear=True
    )
    middle = (frames[0].astype(int) + frames[-1]) / 2
    assert np.abs(straight[1] - middle).max() <= 1


def test_a_direction_leads_from_one_kind_to_the_other(index: Index, photos: Path) -> None:
    positive, negative = (sorted((photos / kind).iterdir()) for kind in ("day", "night"))
    fitted = semsearch.fit_direction(index, "light", positive, negative)
    assert (fitted.auc, fitted.positive, fitted.negative) == (1.0, 4, 4)
    frames = semsearch.apply_direction(index, like("night/0"), "light", [0, 0.5, 1])
    kept = index.decode("photos/night/0.png")["photos/night/0.png"]
    np.testing.assert_array_equal(frames[0], kept)
    assert frames.mean(axis=(1, 2, 3)) == pytest.approx([50, 125, 200], abs=4)


def test_an_index_keeps_directions_by_name(index: Index, photos: Path) -> None:
    assert index.directions() == {}
    files = sorted(photos.glob("*/*.png"))
    semsearch.fit_direction(index, "second", files[:4], files[4:])
    fitted = semsearch.fit_direction(index, "first", files[4:], files[:4])
    with semsearch.open(index.path, encoder=PixelEncoder()) as again:
        kept = again.directions()
        assert list(kept) == ["first", "second"]
        np.testing.assert_array_equal(kept["first"].latent, fitted.latent)
        assert kept["first"].auc == fitted.auc
        assert again.verify().ok
        with pytest.raises(InvalidArgument, match=r"no direction 'third' in .*: first, second"):
            semsearch.apply_direction(again, like("day/0"), "third")


def test_what_has_no_meaning_is_refused(index: Index, photos: Path, tmp_path: Path) -> None:
    one = [photos / "day" / "0.png"]
    with pytest.raises(InvalidArgument, match="2 examples of either kind or more, got 1 and 1"):
        semsearch.fit_direction(index, "x", one, one)
    with pytest.raises(InvalidArgument, match=r"expected semsearch\.image\(FILE\)"):
        semsearch.imagine(index, semsearch.text("a dog"))
    with pytest.raises(InvalidArgument, match="expected a name, and 192 numbers"):
        index.keep_direction("x", Direction(np.zeros(3, np.float32), 1.0, 2, 2))
    with (
        semsearch.create(tmp_path / "texts", encoder=WordEncoder()) as texts,
        pytest.raises(InvalidArgument, match="holds no pictures"),
    ):
        semsearch.imagine(texts, like("day/0"))


def test_held_out_auc_is_chance_without_a_difference() -> None:
    rng = np.random.default_rng(0)
    same = [latents.held_out_auc(*rng.standard_normal((2, 30, 50))) for _ in range(20)]
    assert np.mean(same) == pytest.approx(0.5, abs=0.1)
    apart = rng.standard_normal((2, 30, 50)) + np.array([[[1.0]], [[-1.0]]])
    assert latents.held_out_auc(*apart) == 1.0
    with pytest.raises(InvalidArgument, match="2 points of either kind"):
        latents.held_out_auc(np.ones((1, 3)), np.ones((5, 3)))


# -- commands ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("vaes") / "small"
    small_model("shifted").save_pretrained(folder)
    return f"vae:{folder}@32"


@pytest.fixture
def run(tmp_path: Path, photos: Path, vae: str) -> Callable[..., str]:
    """Run a command on an index of the photos, and get what it prints."""
    path = tmp_path / "made"
    with semsearch.create(path, encoder=vae) as made:
        made.ingest(photos)

    def _run(*arguments: str | Path, code: int = 0) -> str:
        words = ["latent", *map(str, arguments), "--index", str(path)]
        result = CliRunner().invoke(main, words, catch_exceptions=False)
        assert result.exit_code == code, result.output
        return " ".join(result.output.split())

    return _run


def test_pictures_of_an_index_are_decoded_and_morphed(
    run: Callable[..., str], photos: Path, tmp_path: Path
) -> None:
    run("decode", "photos/day/0.png", "-o", tmp_path / "one.png")
    assert size_of(tmp_path / "one.png") == SIZE
    run("decode", "photos/day/0.png", "photos/day/1.png", "-o", tmp_path / "sheet.png")
    assert size_of(tmp_path / "sheet.png")[0] > 2 * SIZE[0]
    run("decode", "photos/day/0.png", "photos/night/0.png", "-o", tmp_path / "several")
    assert sorted(path.name for path in (tmp_path / "several").iterdir()) == ["0-2.png", "0.png"]
    told = run(
        *("morph", photos / "day" / "0.png", "photos/night/0.png"),
        *("--steps", "3", "-o", tmp_path / "morph.gif"),
    )
    assert told.startswith("0% 1.000 photos/day/0.png 50%")
    assert "100% 1.000 photos/night/0.png" in told
    assert "no document with id" in run("decode", "x", "-o", tmp_path / "x.png", code=1)


def test_analogies_and_directions_on_the_command_line(
    run: Callable[..., str], photos: Path, tmp_path: Path
) -> None:
    day, night = photos / "day", photos / "night"
    ids = ("photos/day/0.png", "photos/night/0.png", "photos/day/1.png")
    assert "photos/" in run("analogy", *ids, "-o", tmp_path / "made.png")
    told = run("direction", "fit", "dark", "--positive", night, "--negative", day)
    assert told == "dark: AUC 1.000, held out; 4 positive and 4 negative examples"
    assert run("direction", "list") == "dark: AUC 1.000, 4 positive, 4 negative"
    run("direction", "apply", "dark", "photos/day/0.png", "-o", tmp_path / "dark.png")
    assert size_of(tmp_path / "dark.png") == SIZE
    strengths = ("--strength", "-1", "--strength", "1")
    run("direction", "apply", "dark", day / "0.png", *strengths, "-o", tmp_path / "both.png")
    assert size_of(tmp_path / "both.png")[0] > 2 * SIZE[0]
    gone = ("direction", "fit", "x", "--positive", tmp_path / "gone", "--negative", day)
    assert "expected a folder of pictures" in run(*gone, code=1)
