"""The examples of docs/integrations.md run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "integrations.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.model
@pytest.mark.parametrize(
    ("example", "package"),
    list(zip(EXAMPLES, ["langchain_core", "llama_index.core", "haystack"], strict=True)),
    ids=["langchain", "llama_index", "haystack"],
)
def test_an_example_finds_the_cat(
    example: str,
    package: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip(package)
    monkeypatch.chdir(folder)
    exec(compile(example, str(PAGE), "exec"), {})
    assert capsys.readouterr().out.startswith("The cat sat on the mat {'year': 2021}")
