"""What computes the vectors: the same ones on every runtime, and nothing slower in silence."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tiny_model import DIM, MODULES, bert_weights, change_json, write_json, write_model

import semsearch
from semsearch import cli, encoders
from semsearch.encoders import (
    RuntimeFallbackWarning,
    TextEncoder,
    batching,
    cache,
    conversion,
    model_folder,
    openvino,
    reference,
    runtimes,
    text,
    tokens,
)
from semsearch.encoders import light as light_runtime
from semsearch.encoders.base import NotConvertible
from semsearch.encoders.model_folder import ModelFolder
from semsearch.encoders.torch import halved
from semsearch.errors import DependencyMissing, InvalidArgument, TextTooLong

TEXTS = ["a b c", "", "c", "a " * 8, "b b", "a c b a"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of 40 kB."""
    return write_model(tmp_path / "tiny")


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, for this test alone."""
    monkeypatch.setenv("SEMSEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def reference_of(folder: Path) -> Any:
    with model_folder.quiet():
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(str(folder), device="cpu")


def encode(folder: Path, runtime: str = "openvino") -> NDArray[np.float32]:
    return TextEncoder(str(folder), runtime=runtime).encode_documents(TEXTS)


# --- the same vectors ---------------------------------------------------------------------------

SCRIPTS = [
    "",
    "a",
    " ",
    "\n\t",
    "?",
    "🙂🙃👩‍👩‍👧‍👦",
    "x" * 2_000,
    "Где находится библиотека?",
    "東京都渋谷区の図書館",
    "أين المكتبة",
    "שלום עולם",
    "ไม่มีวรรคระหว่างคำ",
    "naïve Zoë coöperates, cafe\u0301",
    "[CLS] [SEP] [MASK] [PAD]",
    "<b>bold</b> &amp; http://example.org/?q=1#x",
    "\x00\u200b\ufeff\u202e",
    "1,234.56e-7 % $ € §",
    "mixed 混合 смесь خليط 🙂 in one line",
]


def many_texts() -> list[str]:
    """What there is of scripts, and texts of every length up to the limit."""
    random = np.random.default_rng(3)
    words = [
        *["the", "cat", "sat", "on", "a", "mat", "while", "stock", "prices", "rose", "sharply"],
        *SCRIPTS[1:6],
    ]
    lengths = [*range(1, 40, 3), *range(40, 245, 20)]
    made = [" ".join(random.choice(words, n)) for n in lengths]
    full = ["word " * 254, "one " * 253 + "two"]
    return [*SCRIPTS, *made, *full]


@pytest.mark.model
def test_minilm_has_the_vectors_of_sentence_transformers_on_every_runtime() -> None:
    fast, torch = TextEncoder(runtime="openvino"), TextEncoder(runtime="torch", device="cpu")
    light = TextEncoder(runtime="light")
    texts = [one for one in many_texts() if fast.count_tokens([one])[0] <= fast.max_tokens]
    expected = reference.reference_vectors(reference_of(fast._source.path), texts)
    for encoder in (fast, torch, light):
        rows = encoder.encode_documents(texts)
        assert reference.least_cosine(rows, expected) >= 0.9999
        assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
        alone = np.concatenate([encoder.encode_queries([one]) for one in texts[:24]])
        assert reference.least_cosine(alone, expected[:24]) >= 0.9999
    assert fast.space == torch.space == light.space
    assert repr(light).endswith("runs on light f32)")
    assert repr(fast).endswith("runs on openvino bf16)") or repr(fast).endswith("openvino f32)")


def test_single_precision_has_the_vectors_of_sentence_transformers(
    folder: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "precisions", lambda _: ["f32"])
    expected = reference.reference_vectors(reference_of(folder), TEXTS)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    encoder = TextEncoder(str(folder), runtime="openvino")
    assert_allclose(encoder.encode_documents(TEXTS), expected, atol=1e-5)
    assert repr(encoder).endswith("runs on openvino f32)")
    assert_allclose(encode(folder, "torch"), expected, atol=1e-5)


# --- the light one ------------------------------------------------------------------------------


POOLINGS = {"mean": {"pooling_mode_mean_tokens": True}, "cls": {"pooling_mode_cls_token": True}}


def light(folder: Path) -> TextEncoder:
    encoder = TextEncoder(str(folder), runtime="light")
    encoder.encode_documents(["a"])
    return encoder


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("normalised", [False, True])
def test_light_has_the_vectors_of_sentence_transformers(
    folder: Path, pooling: str, *, normalised: bool
) -> None:
    write_json(
        folder / "1_Pooling" / "config.json", {"word_embedding_dimension": DIM, **POOLINGS[pooling]}
    )
    if normalised:
        kind = "sentence_transformers.models.Normalize"
        module = {"idx": 2, "name": "2", "path": "2_Normalize", "type": kind}
        write_json(folder / "modules.json", [*MODULES, module])
        (folder / "2_Normalize").mkdir()
    expected = reference.reference_vectors(reference_of(folder), TEXTS)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    encoder = light(folder)
    assert repr(encoder).endswith("runs on light f32)")
    assert_allclose(encoder.encode_documents(TEXTS), expected, atol=2e-6)


def roberta(folder: Path) -> None:
    change_json(folder / "config.json", model_type="roberta")


def relu(folder: Path) -> None:
    change_json(folder / "config.json", hidden_act="relu")


def relative(folder: Path) -> None:
    change_json(folder / "config.json", position_embedding_type="relative_key")


def both_poolings(folder: Path) -> None:
    write_json(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": DIM, **POOLINGS["cls"], **POOLINGS["mean"]},
    )


def greatest(folder: Path) -> None:
    write_json(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": DIM, "pooling_mode_max_tokens": True},
    )


def dense_behind(folder: Path) -> None:
    kind = "sentence_transformers.models.Dense"
    module = {"idx": 2, "name": "2", "path": "2_Dense", "type": kind}
    write_json(folder / "modules.json", [*MODULES, module])


def halves(folder: Path) -> None:
    weights = {name: rows.astype("f2") for name, rows in bert_weights().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def prefixed(folder: Path) -> None:
    weights = {f"bert.{name}": rows for name, rows in bert_weights().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def shortened(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", 1_000)


def garbled(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 5_000)


def missing(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    "change",
    [
        *[roberta, relu, relative, both_poolings, greatest, dense_behind],
        *[halves, prefixed, shortened, garbled, missing],
    ],
)
def test_light_takes_only_what_it_computes_right(
    folder: Path, change: Callable[[Path], None]
) -> None:
    change(folder)
    with pytest.raises(NotConvertible):
        light_runtime.load(ModelFolder.read(folder))


def test_another_model_runs_as_usual(folder: Path, own_cache: Path) -> None:
    greatest(folder)
    assert "runs on openvino" in repr(light(folder))
    forget()
    relu(folder)
    assert "runs on openvino" in repr(light(folder))


@pytest.mark.model
def test_one_query_of_the_command_line_needs_neither_openvino_nor_torch(tmp_path: Path) -> None:
    with semsearch.create(tmp_path / "index") as index:
        index.add({"id": "bread", "text": "Keep bread in a cloth."})
    code = (
        "import sys; from semsearch.cli import main; main(sys.argv[1:], standalone_mode=False);"
        "sys.exit(', '.join({'torch', 'openvino', 'transformers'} & sys.modules.keys()) or 0)"
    )
    command = [
        sys.executable,
        "-c",
        code,
        "search",
        "stale loaf",
        "--index",
        str(tmp_path / "index"),
    ]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.parametrize(("native", "first"), [(["BF16", "FP32"], "bf16"), (["FP32"], "f32")])
def test_bfloat16_is_used_where_the_processor_has_it(native: list[str], first: str) -> None:
    class Core:
        def get_property(self, *_: str) -> list[str]:
            return native

    tried = openvino.precisions(Core())
    assert (tried[0], tried[-1]) == (first, "f32")


@pytest.mark.parametrize(
    ("cosines", "precision"),
    [([1.0], "bf16"), ([0.99, 1.0], "bf16"), ([0.99, 0.99, 1.0], "f32")],
)
def test_a_form_that_loses_gives_way_to_the_traced_one_and_then_to_single_precision(
    folder: Path,
    own_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    cosines: list[float],
    precision: str,
) -> None:
    monkeypatch.setattr(openvino, "precisions", lambda _: ["bf16", "f32"])
    measured = iter(cosines)
    monkeypatch.setattr(conversion, "least_cosine", lambda *_: next(measured))
    encoder = TextEncoder(str(folder), runtime="openvino")
    encoder.encode_documents(["a"])
    assert repr(encoder).endswith(f"runs on openvino {precision})")
    assert next(measured, None) is None


def test_a_prompt_that_is_read_but_not_pooled_is_left_to_sentence_transformers(
    folder: Path,
) -> None:
    write_json(folder / "config_sentence_transformers.json", {"prompts": {"document": "doc "}})
    change_json(folder / "1_Pooling" / "config.json", include_prompt=False)
    change_json(folder / "tokenizer_config.json", cls_token="[CLS]", sep_token="[SEP]")
    encoder = TextEncoder(str(folder))
    with pytest.warns(RuntimeFallbackWarning, match="its pooling leaves the prompt out"):
        rows = encoder.encode_documents(["a b", "c"])
    options = {"prompt": "doc ", "normalize_embeddings": True, "show_progress_bar": False}
    assert_allclose(rows, reference_of(folder).encode(["a b", "c"], **options), atol=1e-5)


def test_half_precision_is_used_where_it_keeps_the_vectors(folder: Path) -> None:
    import torch

    assert halved(reference_of(folder)).dtype == torch.float16
    weights = bert_weights()
    weights["encoder.layer.0.intermediate.dense.weight"][:] *= 1e5  # over what float16 can tell
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert halved(reference_of(folder)).dtype == torch.float32


@pytest.mark.gpu
@pytest.mark.model
def test_a_gpu_has_the_vectors_of_the_cpu() -> None:
    if not runtimes._cuda():
        pytest.skip("needs a CUDA device")
    fast, cpu = TextEncoder(device="cuda"), TextEncoder(runtime="torch", device="cpu")
    texts = [one for one in many_texts() if cpu.count_tokens([one])[0] <= cpu.max_tokens]
    rows = fast.encode_documents(texts)
    assert reference.least_cosine(rows, cpu.encode_documents(texts)) >= 0.9999
    assert repr(fast).endswith("float16)")


# --- batches ------------------------------------------------------------------------------------


@given(
    lengths=st.lists(st.integers(0, 60), max_size=40),
    budget=st.integers(1, 200),
)
def test_every_row_is_in_one_batch_whole_and_padded(lengths: list[int], budget: int) -> None:
    rows = [np.arange(1, n + 1, dtype=np.int32) for n in lengths]
    made = list(batching.batches(rows, budget, pad=-7, most=60))
    places = np.concatenate([batch.places for batch in made]) if made else np.array([])
    assert sorted(places) == list(range(len(rows)))
    for batch in made:
        assert batch.ids.size <= budget or len(batch.places) == 1
        for place, ids, mask in zip(batch.places, batch.ids, batch.mask, strict=True):
            n = lengths[place]
            assert_array_equal(ids[:n], rows[place])
            assert (ids[n:] == -7).all()
            assert (mask[:n] == 1).all()
            assert (mask[n:] == 0).all()


def test_little_is_padding_where_there_is_enough_to_choose_from() -> None:
    random = np.random.default_rng(0)
    lengths = np.minimum(random.geometric(1 / 60, 3_000) + 2, 256)
    rows = [np.ones(n, np.int32) for n in lengths]
    area = sum(batch.ids.size for batch in batching.batches(rows, 2_048, 0, 256))
    assert area < 1.1 * lengths.sum()


def test_items_made_ahead_are_the_same_and_so_is_the_error() -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise ValueError("after three")

    taken = []
    with pytest.raises(ValueError, match="after three"):  # noqa: PT012 - what came before matters
        for item in batching.ahead(items()):
            taken.append(item)  # noqa: PERF402
    assert taken == [0, 1, 2]


def test_texts_beyond_one_window_come_back_in_order(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = encode(folder)
    monkeypatch.setattr(text, "_WINDOW", 2)
    assert_allclose(encode(folder), expected, atol=1e-2)
    with pytest.raises(TextTooLong, match="text 5: 11 tokens"):
        TextEncoder(str(folder)).encode_documents([*TEXTS[:5], "a " * 9])


def test_a_counted_text_is_not_tokenised_again(folder: Path) -> None:
    encoder = TextEncoder(str(folder))
    assert encoder.count_tokens(TEXTS) == [5, 2, 3, 10, 4, 6]
    expected = encoder.encode_documents(TEXTS)
    encoder._tokenizing.__dict__["tokenizer"] = None
    assert_array_equal(encoder.encode_documents(TEXTS), expected)


def test_a_text_counted_last_is_never_the_one_forgotten(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "_REMEMBERED", 4)
    encoder = TextEncoder(str(folder), runtime="torch", device="cpu")
    for text_ in TEXTS:
        encoder.count_tokens([text_])
    encoder._tokenizing.__dict__["tokenizer"] = None
    assert encoder.count_tokens(TEXTS[-2:]) == [4, 6]
    with pytest.raises(AttributeError):
        encoder.count_tokens(TEXTS[:1])


def test_calls_at_the_same_time_share_the_requests(folder: Path) -> None:
    encoder = TextEncoder(str(folder), runtime="openvino")
    many = [["a", "b b", "a c b"][n % 3] + " c" * (n % 4) for n in range(700)]
    calls = [many[start:] for start in range(0, 600, 40)]
    expected = [encoder.encode_documents(texts) for texts in calls]
    with ThreadPoolExecutor(5) as pool:
        found = list(pool.map(encoder.encode_documents, calls, timeout=120))
    for one, other in zip(found, expected, strict=True):
        assert_allclose(one, other, atol=1e-2)


# --- the cache ----------------------------------------------------------------------------------


def old(path: Path) -> None:
    """Set the file's time back, as that of a file which is not being written."""
    os.utime(path, ns=(10**18, 10**18))


def forget() -> None:
    """Be another process."""
    cache._digest_of_state.cache_clear()


def test_a_digest_is_remembered_by_other_processes(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"weights")
    old(file)
    assert cache.file_digest(file) == hashlib.sha256(b"weights").hexdigest()
    forget()
    with monkeypatch.context() as patch:
        patch.delattr(hashlib, "file_digest")
        assert cache.file_digest(file) == hashlib.sha256(b"weights").hexdigest()


def swap(file: Path) -> None:
    """Another file of the same size and time."""
    (file.parent / "other").write_bytes(b"changed")
    old(file.parent / "other")
    (file.parent / "other").replace(file)


@pytest.mark.parametrize("change", [swap, lambda file: file.write_bytes(b"changed")])
def test_a_changed_file_has_another_digest(
    own_cache: Path, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"weights")
    old(file)
    cache.file_digest(file)
    change(file)
    assert cache.file_digest(file) == hashlib.sha256(b"changed").hexdigest()


def test_a_file_being_written_is_not_remembered(own_cache: Path, tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"weights")
    cache.file_digest(file)
    assert not own_cache.exists()


@pytest.mark.parametrize("damage", [b"", b"\x00\xff", b"{}", None])
def test_a_damaged_entry_is_made_again(
    own_cache: Path, tmp_path: Path, damage: bytes | None
) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"weights")
    old(file)
    cache.file_digest(file)
    (entry,) = (own_cache / "digests").iterdir()
    whole = entry.read_bytes()
    entry.write_bytes(whole.replace(b'"sha256": "9', b'"sha256": "8') if damage is None else damage)
    forget()
    assert cache.file_digest(file) == hashlib.sha256(b"weights").hexdigest()
    assert entry.read_bytes() == whole


# --- converted once -----------------------------------------------------------------------------


def forbid(*_: object) -> NoReturn:
    raise AssertionError("converted again")


def converted(own_cache: Path) -> Path:
    (entry,) = (own_cache / "openvino").iterdir()
    return entry


def test_a_model_is_converted_once(
    folder: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = encode(folder)
    assert {file.name for file in converted(own_cache).iterdir()} == {
        "lock",
        "model.blob",
        "model.json",
    }
    monkeypatch.setattr(conversion, "convert", forbid)
    assert_array_equal(encode(folder), first)


def cut_in_half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


DAMAGES: list[Callable[[Path], object]] = [cut_in_half, flip_a_byte, Path.unlink]


@pytest.mark.parametrize("name", ["model.blob", "model.json"])
def test_a_damaged_conversion_is_made_again(folder: Path, own_cache: Path, name: str) -> None:
    expected = encode(folder)
    for damage in DAMAGES:
        file = converted(own_cache) / name
        whole = file.stat().st_size
        damage(file)
        forget()
        assert_allclose(encode(folder), expected, atol=1e-6)
        assert file.stat().st_size == pytest.approx(whole, rel=0.01)


TWO = """
import sys
from semsearch import encoders
rows = encoders.load(sys.argv[1], runtime="openvino").encode_documents(["a b c", "c"])
print(rows.tobytes().hex())
"""


def test_two_encoders_that_convert_at_once_convert_once(
    folder: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert, calls = conversion.convert, []

    def counted(*arguments: Any) -> conversion.Converted:
        calls.append(arguments)
        return convert(*arguments)

    monkeypatch.setattr(conversion, "convert", counted)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(encode, [folder, folder])
    assert len(calls) == 1
    assert_array_equal(first, second)


@pytest.mark.slow
def test_two_processes_that_convert_at_once_agree(folder: Path, own_cache: Path) -> None:
    command = [sys.executable, "-W", "error::UserWarning", "-c", TWO, str(folder)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    answers = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert answers[0] == answers[1] != b""
    assert not list(converted(own_cache).glob("*.tmp"))


# --- never slower in silence --------------------------------------------------------------------


def break_the_tracer(patch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> NoReturn:
        raise RuntimeError("no such operation: aten::mystery\nlong story")

    patch.setattr(conversion, "_traced", fail)


def break_the_vectors(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conversion, "least_cosine", lambda *_: 0.5)


@pytest.mark.parametrize(
    ("break_", "reason"),
    [
        (break_the_tracer, "RuntimeError: no such operation: aten::mystery$"),
        (break_the_vectors, "its vectors are not those of sentence-transformers"),
    ],
)
def test_a_model_that_cannot_be_converted_runs_on_torch_and_says_so(
    folder: Path,
    own_cache: Path,
    break_: Callable[[pytest.MonkeyPatch], None],
    reason: str,
) -> None:
    expected = encode(folder, "torch")
    with pytest.MonkeyPatch.context() as patch:
        break_(patch)
        with pytest.warns(RuntimeFallbackWarning, match=reason):
            assert_allclose(encode(folder, "auto"), expected, atol=1e-6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conversion, "convert", forbid)  # the refusal is remembered
        with pytest.warns(RuntimeFallbackWarning, match=reason):
            encode(folder, "auto")
        with pytest.raises(encoders.NotConvertible, match=reason):
            encode(folder, "openvino")


def test_without_openvino_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.warns(RuntimeFallbackWarning, match=r"pip install 'semsearch\[cpu\]'"):
        encode(folder, "auto")
    with pytest.raises(DependencyMissing, match=r"pip install 'semsearch\[cpu\]'"):
        encode(folder, "openvino")


def test_a_cache_that_cannot_be_written_is_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("SEMSEARCH_CACHE", str(tmp_path / "file"))
    with pytest.warns(RuntimeFallbackWarning, match=r"cannot be written .*set SEMSEARCH_CACHE"):
        encode(folder, "auto")


def test_torch_is_not_a_fallback_where_it_was_asked_for(folder: Path, own_cache: Path) -> None:
    encode(folder, "torch")
    assert not (own_cache / "openvino").exists()


def test_a_runtime_that_is_not_there_is_refused(folder: Path, tmp_path: Path) -> None:
    for make in (
        lambda: encoders.load(str(folder), runtime="onnx"),
        lambda: semsearch.create(tmp_path / "a", encoder=str(folder), runtime="onnx"),
        lambda: semsearch.open(tmp_path / "a", runtime="onnx"),
    ):
        with pytest.raises(InvalidArgument, match="one of auto, light, openvino, torch; got 'on"):
            make()
    with pytest.raises(InvalidArgument, match="'openvino' runs on the CPU, not on device 'cuda'"):
        encoders.load(str(folder), runtime="openvino", device="cuda")


def test_the_command_line_lists_the_runtimes(tmp_path: Path) -> None:
    command = ["search", "a", "--index", str(tmp_path / "index"), "--runtime", "onnx"]
    unknown = CliRunner().invoke(cli.main, command)
    assert unknown.exit_code == 2
    assert "'auto', 'light', 'openvino', 'torch'" in unknown.output


# --- light --------------------------------------------------------------------------------------

SEARCH = """
import sys
from semsearch import cli
cli.main(sys.argv[1:], standalone_mode=False)
heavy = {"torch", "transformers", "sentence_transformers", "openvino_telemetry"}
sys.exit(", ".join(heavy & sys.modules.keys()) or 0)
"""


@pytest.mark.model
def test_a_search_process_imports_no_torch(tmp_path: Path) -> None:
    with semsearch.create(tmp_path / "index") as index:
        index.add([{"id": "cat", "text": "The cat sat on the mat"}])
    command = [sys.executable, "-W", "error", "-c", SEARCH, "search", "a kitten"]
    done = subprocess.run(
        [*command, "--index", str(tmp_path / "index")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "cat" in done.stdout
