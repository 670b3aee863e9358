"""An adapter without its framework says what to install."""

from __future__ import annotations

import importlib
import sys

import pytest

from semsearch import DependencyMissing


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [
        ("langchain", "langchain_core", "langchain"),
        ("llama_index", "llama_index", "llama-index"),
        ("haystack", "haystack", "haystack"),
    ],
)
def test_a_missing_framework_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, module: str, package: str, extra: str
) -> None:
    name = f"semsearch.integrations.{module}"
    for loaded in list(sys.modules):
        if loaded.startswith((name, f"{package}.")):
            monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DependencyMissing, match=rf"pip install 'semsearch\[{extra}\]'"):
        importlib.import_module(name)
