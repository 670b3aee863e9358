"""How many analogies does a blend of three words answer?

The words of the Google analogy questions (Mikolov et al., 2013) are the documents of an index.
For each question, a is to b as c is to what?, the nearest to `like(b) - like(a) + like(c)` is
looked for; the three words themselves are left out, as a search for a blend always does. Beside
it, from the same vectors: 3CosMul (Levy and Goldberg, 2014, section 6), which multiplies the
cosines, so that no single one outweighs the others, and only the nearest to c, as the least that
a formula has to beat.

    python benchmarks/analogies.py            # measure, write the JSON and the table
    python benchmarks/analogies.py --table    # the table again from the JSON
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import report
from numpy.typing import NDArray

import semsearch

LEAST = 0.65
"""Share of all questions that the blend must answer."""

_BATCH = 1000
_EPSILON = 0.1  # the paper's 0.001, for cosines of word vectors, answers 0.006 less


class Question(NamedTuple):
    """a is to b as c is to d."""

    group: str
    a: str
    b: str
    c: str
    d: str


def main() -> int:
    """Measure, or only write the table; 1 when too few are answered."""
    return report.main("analogies", _parser(), measure, table)


def _parser() -> argparse.ArgumentParser:
    parser = report.parser(__doc__)
    questions = report.DATASETS / "text" / "analogies" / "questions-words.txt"
    parser.add_argument("--questions", type=Path, default=questions)
    return parser


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Index the words, answer all questions in each way."""
    questions = read(options.questions)
    words = sorted({word for question in questions for word in question[1:]})
    with tempfile.TemporaryDirectory() as folder, semsearch.create(Path(folder) / "i") as index:
        index.add({"id": word, "text": word} for word in words)
        began = time.perf_counter()
        answers = {"b - a + c, a blend": blended(index, questions)}
        seconds = time.perf_counter() - began
        found = index.vectors(words)
        vectors = np.stack([found[word][0] for word in words])
    answers |= calculated(questions, words, vectors)
    asked = Counter(question.group for question in questions)
    groups = [
        {"group": group, "questions": n, **shares(answers, questions, group)}
        for group, n in asked.items()
    ]
    overall = shares(answers, questions)
    return {
        "question": "How many analogies does a blend of three words answer?",
        "questions": len(questions),
        "words": len(words),
        "groups": groups,
        "overall": overall,
        "milliseconds": 1e3 * seconds / len(questions),
        "least": LEAST,
        "passed": next(iter(overall.values())) >= LEAST,
        **report.circumstances(),
    }


def read(path: Path) -> list[Question]:
    """The questions of a file whose groups begin with a line `: name`."""
    questions, group = [], ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(":"):
            group = line[1:].strip()
        else:
            questions.append(Question(group, *line.split()))
    return questions


def blended(index: semsearch.Index, questions: list[Question]) -> list[str]:
    """What a search for the blend finds first."""
    blends = [semsearch.like(q.b) - semsearch.like(q.a) + semsearch.like(q.c) for q in questions]
    answers = []
    for at in range(0, len(blends), _BATCH):
        answers += [hits[0].id for hits in index.search(blends[at : at + _BATCH], k=1)]
    return answers


def calculated(
    questions: list[Question], words: list[str], vectors: NDArray[np.float32]
) -> dict[str, list[str]]:
    """What other formulas find, the three words left out.

    Args:
        questions: All of them.
        words: The words.
        vectors: `(words, dim)`, unit length.
    """
    place = {word: row for row, word in enumerate(words)}
    a, b, c = (np.array([place[q[n]] for q in questions]) for n in (1, 2, 3))
    cosines = vectors @ vectors.T
    near = (cosines + 1) / 2  # as 3CosMul has it: none below zero
    formulas = {
        "3CosMul": near[b] * near[c] / (near[a] + _EPSILON),
        "nearest to c": cosines[c].copy(),
    }
    rows = np.arange(len(questions))
    for scores in formulas.values():
        for operand in (a, b, c):
            scores[rows, operand] = -np.inf
    return {
        name: [words[row] for row in scores.argmax(axis=1)] for name, scores in formulas.items()
    }


def shares(
    answers: dict[str, list[str]], questions: list[Question], group: str | None = None
) -> dict[str, float]:
    """Share of the questions, of one group or of all, that each formula answers."""
    chosen = [row for row, question in enumerate(questions) if group in (None, question.group)]
    return {
        name: sum(given[row] == questions[row].d for row in chosen) / len(chosen)
        for name, given in answers.items()
    }


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    names = list(result["overall"])
    rows = [
        *result["groups"],
        {"group": "**all**", "questions": result["questions"], **result["overall"]},
    ]
    lines = [
        f"| {row['group']} | {row['questions']:,} | "
        + " | ".join(f"{row[name]:.3f}" for name in names)
        + " |"
        for row in rows
    ]
    verdict = "At least" if result["passed"] else "**Not** at least"
    about = (
        f"{result['words']} words. {verdict} {result['least']} of all by the blend, "
        f"{result['milliseconds']:.2f} ms each. {report.measured_on(result)}"
    )
    head = f"| share answered | questions | {' | '.join(names)} |"
    return "\n".join([head, "|---|---:|" + "---:|" * len(names), *lines, "", about])


if __name__ == "__main__":
    sys.exit(main())
