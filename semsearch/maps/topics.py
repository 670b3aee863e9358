"""Words that say what is spoken of in each part of a map."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semsearch.stopwords import STOP_WORDS

_WORD = re.compile(r"[^\W\d_]{3,}")
_FEWEST = 40  # passages of a map that has parts
_MOST = 24  # parts
_LEAST_SHARE = 0.05  # of a part's passages that hold a word for it to be named by


@dataclass(frozen=True, slots=True)
class Topic:
    """A part of a map.

    Attributes:
        x: Where its name is to stand.
        y: Likewise.
        name: Two words that its passages hold and others do not.
    """

    x: float
    y: float
    name: str


def topics(points: NDArray[np.float32], texts: Sequence[str]) -> list[Topic]:
    """The parts of a map that can be named by words of its passages, the largest first."""
    if len(points) < _FEWEST:
        return []
    owners = _parts(points)
    words = [_words(text) for text in texts]
    overall = Counter(word for each in words for word in each)
    found = []
    for part, size in Counter(owners.tolist()).most_common():
        members = np.flatnonzero(owners == part)
        inside = Counter(word for member in members.tolist() for word in words[member])
        name = _name(inside, size, overall, len(texts))
        if name:
            x, y = np.median(points[members], axis=0).tolist()
            found.append(Topic(x, y, name))
    return found


def _parts(points: NDArray[np.float32]) -> NDArray[np.int32]:
    """The part that each point belongs to."""
    from sklearn.cluster import KMeans  # openTSNE needs it, so it is there

    number = int(np.clip(np.sqrt(len(points) / 8), 3, _MOST))
    owners: NDArray[np.int32] = KMeans(number, n_init=2, random_state=0).fit_predict(points)
    return owners


def _words(text: str) -> set[str]:
    return {word for word in _WORD.findall(text.lower()) if word not in STOP_WORDS}


def _name(inside: Counter[str], size: int, overall: Counter[str], total: int) -> str:
    """The two words that say most: by their part of the divergence of this part from all.

    That is p log(p / q), p the share of passages here that hold the word, q that of all.
    """

    def says(word: str) -> float:
        here, all_over = inside[word] / size, overall[word] / total
        return float(here * np.log(here / all_over)) if here > _LEAST_SHARE else 0.0

    ranked = sorted(inside, key=lambda word: (-says(word), word))
    name: list[str] = []
    for word in ranked:
        if says(word) <= 0 or len(name) == 2:
            break
        if not any(word[:4] == other[:4] for other in name):  # "film" and "films" say the same
            name.append(word)
    return ", ".join(name)
