"""The text encoder: the model's own vectors, nothing cut in silence, light until it encodes."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from numpy.testing import assert_allclose
from safetensors.numpy import save_file
from tiny_model import (
    DIM,
    MODULES,
    POSITIONS,
    bert_weights,
    change_json,
    write_json,
    write_model,
)

from semsearch import encoders
from semsearch.encoders import Encoder, TextEncoder, TruncationWarning, model_folder
from semsearch.errors import BackendError, DependencyMissing, InvalidArgument, TextTooLong

CAT, KITTEN, STOCKS = (
    "The cat sat on the mat",
    "A kitten rested on the rug",
    "Stock prices rose sharply today",
)
# Leading components from sentence_transformers.SentenceTransformer.encode, 6.2.0 on a CPU.
GOLDEN = {
    CAT: [0.1304, -0.01187, -0.02812, 0.05124, -0.05597],
    "": [-0.11884, 0.0483, -0.00255, -0.01101, 0.05195],
    "Где находится библиотека? 東京 🙂": [0.1057, 0.08545, -0.00242, 0.04159, -0.09386],
    "def add(a, b):\n    return a + b": [-0.02379, -0.00601, -0.06713, 0.02349, -0.09138],
    "Deep learning finds structure in large data sets. " * 20: [
        -0.07434,
        0.00605,
        0.02991,
        -0.01957,
        0.08968,
    ],
}


@pytest.fixture(scope="module")
def minilm() -> TextEncoder:
    try:
        return TextEncoder()
    except DependencyMissing:
        pytest.skip("the all-MiniLM-L6-v2 weights are not installed")


@pytest.fixture(scope="module")
def minilm_folder(minilm: TextEncoder) -> Path:
    folder = model_folder._packaged_minilm()
    assert folder is not None
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of 40 kB."""
    return write_model(tmp_path / "tiny")


def fingerprint(folder: Path) -> str:
    return TextEncoder(str(folder)).space.fingerprint


# --- the vectors --------------------------------------------------------------------------------


@pytest.mark.model
def test_sentences_of_one_meaning_are_near_and_of_another_far(minilm: TextEncoder) -> None:
    rows = minilm.encode_documents([CAT, KITTEN, STOCKS])
    assert_allclose(rows[0] @ rows[1:].T, [0.613, 0.059], atol=0.005)


@pytest.mark.model
def test_vectors_begin_as_the_reference_does(minilm: TextEncoder) -> None:
    rows = minilm.encode_documents(list(GOLDEN))
    assert_allclose(rows[:, :5], list(GOLDEN.values()), atol=1e-3)


@pytest.mark.model
def test_vectors_are_those_of_sentence_transformers(
    minilm: TextEncoder, minilm_folder: Path
) -> None:
    with model_folder.quiet():
        from sentence_transformers import SentenceTransformer

        reference = SentenceTransformer(str(minilm_folder), device="cpu")
    texts = [*GOLDEN, KITTEN, STOCKS]
    expected = reference.encode(texts, show_progress_bar=False)
    torch = TextEncoder(runtime="torch", device="cpu")
    assert_allclose(torch.encode_documents(texts), expected, atol=1e-5)
    assert_allclose(torch.encode_queries(texts), expected, atol=1e-5)
    assert minilm.count_tokens(texts) == [len(ids) for ids in reference.tokenizer(texts).input_ids]


@pytest.mark.model
def test_rows_are_unit_float32_in_the_order_given(minilm: TextEncoder) -> None:
    texts = ["word " * n for n in (90, 1, 200, 0, 40)]
    rows = minilm.encode_documents(texts)
    assert rows.dtype == np.float32
    assert rows.shape == (5, 384)
    assert rows.flags.c_contiguous
    assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    alone = np.concatenate([minilm.encode_documents([one]) for one in texts])
    assert_allclose(rows, alone, atol=1e-5)


def test_no_texts_make_no_rows(folder: Path) -> None:
    encoder = TextEncoder(str(folder))
    assert encoder.encode_documents([]).shape == (0, DIM)
    assert encoder.encode_queries([]).shape == (0, DIM)
    assert encoder.count_tokens([]) == []


def test_a_model_that_does_not_normalise_gives_unit_rows_all_the_same(folder: Path) -> None:
    rows = TextEncoder(str(folder)).encode_documents(["a b", "c", ""])
    assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_threads_share_one_model_and_get_their_own_rows(folder: Path) -> None:
    encoder = TextEncoder(str(folder))
    texts = ["a", "b", "c", "a b", "b c"] * 4
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda one: encoder.encode_queries([one])[0], texts))
    assert_allclose(rows, TextEncoder(str(folder)).encode_queries(texts), atol=1e-5)


# --- what does not fit --------------------------------------------------------------------------


def test_a_document_over_the_limit_is_refused_by_position_tokens_and_limit(folder: Path) -> None:
    encoder = TextEncoder(str(folder))
    assert encoder.count_tokens(["a " * 8, "a " * 9]) == [10, 11]
    encoder.encode_documents(["a " * 8])
    with pytest.raises(TextTooLong, match=r"text 1: 11 tokens, and .* reads 10; split it"):
        encoder.encode_documents(["a", "a " * 9])


def test_a_query_over_the_limit_is_read_to_the_limit_with_a_warning(folder: Path) -> None:
    encoder = TextEncoder(str(folder))
    with pytest.warns(TruncationWarning, match="query 1: 11 tokens; only the first 10"):
        rows = encoder.encode_queries(["b", "a b c a b c a b c"])
    assert_allclose(rows[1:], encoder.encode_queries(["a b c a b c a b"]), atol=1e-5)


@pytest.mark.parametrize("key", ["document", "passage"])
def test_prompts_are_encoded_and_counted(folder: Path, key: str) -> None:
    plain = TextEncoder(str(folder))
    settings = {"prompts": {"query": "query ", key: "doc "}}
    write_json(folder / "config_sentence_transformers.json", settings)
    prompted = TextEncoder(str(folder))
    assert prompted.count_tokens(["a"]) == [4]
    assert_allclose(prompted.encode_documents(["a"]), plain.encode_documents(["doc a"]), atol=1e-5)
    assert_allclose(prompted.encode_queries(["a"]), plain.encode_queries(["query a"]), atol=1e-5)
    with pytest.raises(TextTooLong, match="11 tokens"):
        prompted.encode_documents(["a " * 8])


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("one text", "got one str"),
        (b"bytes", "got one bytes"),
        (7, "got int"),
        (["a", None], "text 1: expected a string, got NoneType"),
        (["a", "\ud800"], "text 1: lone surrogate"),
    ],
)
def test_what_is_not_a_list_of_strings_is_refused(folder: Path, texts: Any, message: str) -> None:
    encoder = TextEncoder(str(folder))
    for method in (encoder.encode_documents, encoder.encode_queries, encoder.count_tokens):
        with pytest.raises(InvalidArgument, match=message):
            method(texts)


# --- light until it encodes, and quiet ----------------------------------------------------------

LIGHT = """
import sys
from semsearch import encoders
encoder = encoders.load(sys.argv[1])
encoder.space, encoder.max_tokens, repr(encoder), encoder.count_tokens(["a text"])
heavy = {"torch", "transformers", "sentence_transformers", "huggingface_hub"} & sys.modules.keys()
sys.exit(", ".join(heavy) or 0)
"""


def test_the_passport_and_counting_import_nothing_heavy(folder: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", LIGHT, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.model
def test_the_packaged_weights_are_found_without_importing_the_package(minilm: TextEncoder) -> None:
    package = model_folder._MINILM_PACKAGE
    code = f"{LIGHT.rpartition('sys.exit')[0]}sys.exit('{package}' in sys.modules)"
    command = [sys.executable, "-c", code, minilm.name]
    assert subprocess.run(command, check=False).returncode == 0


def test_the_first_encode_prints_nothing(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    TextEncoder(str(folder)).encode_documents(["a"])
    assert capfd.readouterr() == ("", "")


def test_repr_tells_the_model_and_its_state(folder: Path) -> None:
    encoder = TextEncoder(str(folder), device="cpu")
    about = f"TextEncoder({str(folder)!r}, dim=8, max_tokens=10, device='cpu', runtime='auto', "
    assert repr(encoder) == about + "not loaded)"
    encoder.encode_documents(["a"])
    assert repr(encoder).startswith(about + "runs on openvino ")


# --- the passport -------------------------------------------------------------------------------


@pytest.mark.model
def test_minilm_has_its_passport(minilm: TextEncoder) -> None:
    assert (minilm.space.name, minilm.space.modality) == ("all-MiniLM-L6-v2", "text")
    assert (minilm.space.shape, minilm.max_tokens) == ((384,), 256)
    assert isinstance(minilm, Encoder)


@pytest.mark.model
def test_a_copy_of_minilm_is_the_same_space(
    minilm: TextEncoder, minilm_folder: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(minilm_folder, tmp_path / "copy")
    (copy / "README.md").write_text("another")
    (copy / "vocab.txt").unlink()
    assert fingerprint(copy) == minilm.space.fingerprint


def test_a_copy_with_other_runtimes_versions_and_spellings_is_the_same_space(
    folder: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "onnx").mkdir()
    (copy / "onnx" / "model.onnx").write_bytes(b"onnx")
    (copy / "README.md").write_text("read me")
    change_json(copy / "config.json", transformers_version="9", dtype="float32", _name_or_path="x")
    names = ("base.modules.transformer.Transformer", "sentence_transformer.modules.pooling.Pooling")
    listed = [
        m | {"type": f"sentence_transformers.{n}"} for m, n in zip(MODULES, names, strict=True)
    ]
    write_json(copy / "modules.json", listed)
    new_spelling = {"embedding_dimension": DIM, "pooling_mode": "mean", "include_prompt": True}
    write_json(copy / "1_Pooling" / "config.json", new_spelling)
    assert fingerprint(copy) == fingerprint(folder)


def change_a_weight(folder: Path) -> None:
    weights = bert_weights()
    weights["embeddings.word_embeddings.weight"][4, 0] += 1e-3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def add_normalize(folder: Path) -> None:
    write_json(folder / "modules.json", [*MODULES, {"path": "2_Normalize", "type": "Normalize"}])


CHANGES: dict[str, Callable[[Path], None]] = {
    "a weight": change_a_weight,
    "pooling": lambda folder: change_json(
        folder / "1_Pooling" / "config.json",
        pooling_mode_cls_token=True,
        pooling_mode_mean_tokens=False,
    ),
    "max_seq_length": lambda folder: change_json(
        folder / "sentence_bert_config.json", max_seq_length=9
    ),
    "do_lower_case": lambda folder: change_json(
        folder / "sentence_bert_config.json", do_lower_case=True
    ),
    "prompts": lambda folder: write_json(
        folder / "config_sentence_transformers.json", {"prompts": {"query": "query "}}
    ),
    "a head": lambda folder: change_json(folder / "config.json", num_attention_heads=4),
    "tokenizer": lambda folder: write_json(folder / "tokenizer.json", {}),
    "normalize": add_normalize,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_changes_the_geometry_changes_the_fingerprint(
    folder: Path, change: Callable[[Path], None]
) -> None:
    before = fingerprint(folder)
    change(folder)
    assert fingerprint(folder) != before


def test_the_weights_are_hashed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(folder)
    monkeypatch.delattr(hashlib, "file_digest")
    assert fingerprint(folder) == before


def test_the_dimension_is_the_last_modules(folder: Path) -> None:
    dense = {"path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    write_json(folder / "modules.json", [*MODULES, dense])
    write_json(folder / "2_Dense" / "config.json", {"in_features": DIM, "out_features": 3})
    assert TextEncoder(str(folder)).space.shape == (3,)
    write_json(folder / "modules.json", MODULES)
    change_json(folder / "1_Pooling" / "config.json", pooling_mode_cls_token=True)
    assert TextEncoder(str(folder)).encode_documents(["a"]).shape == (1, 2 * DIM)


def test_a_plain_transformers_folder_gets_mean_pooling(folder: Path) -> None:
    expected = TextEncoder(str(folder)).encode_documents(["a b c"])
    (folder / "modules.json").unlink()
    (folder / "sentence_bert_config.json").unlink()
    encoder = TextEncoder(str(folder))
    assert encoder.max_tokens == POSITIONS
    assert_allclose(encoder.encode_documents(["a b c"]), expected, atol=1e-5)


def test_do_lower_case_is_counted_as_it_is_encoded(folder: Path) -> None:
    change_json(folder / "sentence_bert_config.json", do_lower_case=True)
    encoder = TextEncoder(str(folder))
    assert_allclose(encoder.encode_queries(["A"]), encoder.encode_queries(["a"]), atol=1e-6)
    assert encoder._tokenizing.tokenizer.encode("A").ids == [2, 4, 3]


# --- names --------------------------------------------------------------------------------------


@pytest.mark.model
def test_minilm_has_two_names_and_is_the_default(minilm: TextEncoder) -> None:
    for name in ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"):
        assert encoders.load(name).name == "all-MiniLM-L6-v2"
    assert encoders.load().space == minilm.space


def test_a_folder_comes_first_and_its_name_finds_it_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.rename(folder.parent / "all-MiniLM-L6-v2")
    monkeypatch.chdir(folder.parent)
    encoder = encoders.load()
    assert encoder.space.shape == (DIM,)
    monkeypatch.chdir("/")
    assert encoders.load(encoder.name).space == encoder.space


def test_the_hub_cache_comes_before_a_download(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, bool]] = []

    def snapshot(repository: str, *, local_files_only: bool = False, **_: object) -> str:
        calls.append((repository, local_files_only))
        if local_files_only and repository == "someone/uncached":
            raise LocalEntryNotFoundError("not cached")
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert encoders.load("tiny").space.name == "tiny"
    assert encoders.load("someone/uncached").name == "someone/uncached"
    assert calls == [
        ("sentence-transformers/tiny", True),
        ("someone/uncached", True),
        ("someone/uncached", False),
    ]


@pytest.mark.parametrize("name", ["no-such-model", "someone/no-such-model", "not a/valid/name"])
def test_an_unknown_name_says_what_to_give(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InvalidArgument, match=f"no model named '{name}' here: give a folder"):
        encoders.load(name)


@pytest.mark.parametrize("name", ["", "  ", None, 3])
def test_what_is_not_a_name_is_refused(name: Any) -> None:
    with pytest.raises(InvalidArgument, match="expected a non-empty string"):
        encoders.load(name)


def test_without_its_package_minilm_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> NoReturn:
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(model_folder, "_MINILM_PACKAGE", "no_such_package")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(DependencyMissing, match=r"semsearch\[minilm\]"):
        encoders.load()


# --- what is broken -----------------------------------------------------------------------------


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"no modules\.json and no config\.json"):
        encoders.load(str(tmp_path))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("modules.json", "[", "not readable as JSON"),
        ("modules.json", "{}", "expected a JSON list"),
        ("config.json", "[]", "expected a JSON object"),
        ("modules.json", '[{"type": "x.StaticEmbedding"}]', "expected a transformer model"),
    ],
)
def test_a_broken_description_is_refused_at_once(
    folder: Path, file: str, content: str, message: str
) -> None:
    (folder / file).write_text(content)
    with pytest.raises(InvalidArgument, match=message):
        encoders.load(str(folder))


def test_damaged_weights_are_a_backend_error_with_its_cause(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(BackendError, match="cannot be loaded") as raised:
        encoders.load(str(folder)).encode_documents(["a"])
    assert raised.value.__cause__ is not None


def test_vectors_that_are_not_finite_are_a_backend_error(folder: Path) -> None:
    weights = bert_weights()
    weights["embeddings.LayerNorm.weight"][:] = np.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BackendError, match="not finite"):
        encoders.load(str(folder)).encode_documents(["a"])


def test_a_damaged_tokenizer_is_a_backend_error(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(BackendError, match="tokenizer cannot be read"):
        encoders.load(str(folder)).count_tokens(["a"])


@pytest.mark.parametrize("device", ["cuda:99", "abacus", ""])
def test_a_device_that_is_not_there_is_refused(folder: Path, device: str) -> None:
    with pytest.raises(InvalidArgument, match="is not usable"):
        encoders.load(str(folder), device=device).encode_documents(["a"])


@pytest.mark.model
def test_a_folder_with_a_vocabulary_only_is_counted_by_transformers(
    minilm: TextEncoder, minilm_folder: Path, tmp_path: Path
) -> None:
    slow = tmp_path / "slow"
    ignored = shutil.ignore_patterns("tokenizer.json", "*.safetensors")
    shutil.copytree(minilm_folder, slow, ignore=ignored)
    assert TextEncoder(str(slow)).count_tokens(list(GOLDEN)) == minilm.count_tokens(list(GOLDEN))
