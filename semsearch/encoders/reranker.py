"""Reranker: a cross-encoder of sentence-transformers, which reads query and passage together."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from semsearch.encoders.model_folder import quiet, resolve
from semsearch.errors import BackendError, InvalidArgument

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder


class Reranker:
    """Scores passages by reading each together with the query: slower and better than vectors.

    Safe to use from several threads; one reads at a time.

    Args:
        name: A folder with a cross-encoder, or one of the Hugging Face hub, such as
            "cross-encoder/ms-marco-MiniLM-L6-v2": its local cache is looked up first.
        device: "cpu", "cuda", ...; None takes a GPU if there is one.

    Raises:
        InvalidArgument: There is no such model here.
    """

    def __init__(self, name: str, *, device: str | None = None) -> None:
        self._source = resolve(name)
        self._device = device
        self._model: CrossEncoder | None = None
        self._lock = threading.Lock()

    def score(self, query: str, passages: Sequence[str]) -> NDArray[np.float32]:
        """How well each passage answers the query.

        Args:
            query: A text.
            passages: What to read; what is longer than the model reads is cut at its end.

        Returns:
            `(len(passages),)` float32, higher is better, in the model's own scale.

        Raises:
            InvalidArgument: The model is no reranker: it gives several scores for a pair.
            BackendError: The model cannot be loaded or failed.
        """
        if not passages:
            return np.empty(0, np.float32)
        with self._lock:
            if self._model is None:
                self._model = self._load()
            try:
                pairs = [(query, passage) for passage in passages]
                scores = self._model.predict(pairs, show_progress_bar=False)
            except Exception as error:  # torch raises RuntimeError and subclasses of its own
                raise BackendError(f"{self._source.name}: reranking failed: {error}") from error
        return np.asarray(scores, np.float32)

    def _load(self) -> CrossEncoder:
        try:
            with quiet():
                from sentence_transformers import CrossEncoder

                model = CrossEncoder(
                    str(self._source.path), device=self._device, local_files_only=True
                )
        except Exception as error:  # whatever torch, transformers, safetensors or the disk raise
            raise BackendError(f"{self._source.name}: cannot be loaded: {error}") from error
        if model.num_labels != 1:
            raise InvalidArgument(
                f"{self._source.name}: expected a reranker, which gives one score for a pair; "
                f"it gives {model.num_labels}"
            )
        return model
