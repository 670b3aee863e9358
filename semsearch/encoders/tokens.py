"""Texts to token ids, the way the model's own tokenizer does it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from semsearch.encoders.batching import Tokens
from semsearch.encoders.model_folder import ModelFolder

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_REMEMBERED = 1 << 20  # token ids: 4 MB of them, and as many that were met before those


class Tokenizing:
    """A model's tokenizer, which remembers the texts it met last.

    A passage is counted when its document is cut into chunks and encoded soon after; it should be
    tokenised once.

    Args:
        folder: The model's.
    """

    def __init__(self, folder: ModelFolder) -> None:
        self._folder = folder
        self._known: dict[str, Tokens] = {}
        self._older: dict[str, Tokens] = {}
        self._size = 0
        self._lock = threading.Lock()

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """It cuts and pads nothing."""
        return self._folder.tokenizer()

    @cached_property
    def _cutting(self) -> Tokenizer:
        tokenizer = self._folder.tokenizer()
        tokenizer.enable_truncation(self._folder.max_tokens)
        return tokenizer

    def whole(self, texts: Sequence[str]) -> list[Tokens]:
        """All token ids of each text, special ones included."""
        known, older = self._known, self._older
        found = {
            text: row for text in texts if (row := known.get(text, older.get(text))) is not None
        }
        missing = list(dict.fromkeys(text for text in texts if text not in found))
        if missing:
            encodings = self.tokenizer.encode_batch_fast(missing)
            new = {
                text: np.array(encoding.ids, np.int32)
                for text, encoding in zip(missing, encodings, strict=True)
            }
            self._remember(new)
            found |= new
        return [found[text] for text in texts]

    def _remember(self, new: dict[str, Tokens]) -> None:
        with self._lock:
            if self._size > _REMEMBERED:
                self._older, self._known, self._size = self._known, {}, 0
            self._known |= new
            self._size += sum(map(len, new.values()))

    def cut(self, text: str) -> Tokens:
        """The first `max_tokens` token ids of a text, with the special ones where they belong."""
        return np.array(self._cutting.encode(text).ids, np.int32)

    def prompt_length(self, prompt: str) -> int:
        """Tokens in front of the text: those of the prompt, without a special one at its end."""
        if not prompt:
            return 0
        special = self.tokenizer.encode(prompt).special_tokens_mask
        return len(special) - (special[-1] if special else 0)
