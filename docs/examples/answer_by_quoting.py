"""Answer a question from an index without any language model: quote the sentences that fit best.

python docs/examples/answer_by_quoting.py "my puppy ate a brownie" --index indexes/demo
"""

from __future__ import annotations

import argparse
import re

import semsearch
from semsearch.encoders import Encoder
from semsearch.rag import Passage, Retriever

_SENTENCE = re.compile(r"\S.*?(?:[.!?](?=\s|$)|$)", re.DOTALL)


def main() -> None:
    """Retrieve, choose sentences, print them with their citations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("question")
    parser.add_argument("--index", default="indexes/demo")
    parser.add_argument("--sentences", type=int, default=2)
    options = parser.parse_args()
    with semsearch.open(options.index) as index:
        context = Retriever(index, k=5, budget=1500).retrieve(options.question)
        quoted = quotes(index.encoder, options.question, context.passages, options.sentences)
    print("\n".join(quoted) or "The index holds nothing about it.")


def quotes(encoder: Encoder, question: str, passages: tuple[Passage, ...], n: int) -> list[str]:
    """The `n` sentences nearest to the question, in reading order, each with its citation."""
    sentences = [
        (passage, match.group())
        for passage in passages
        for match in _SENTENCE.finditer(passage.text)
    ]
    if not sentences:
        return []
    (target,) = encoder.encode_queries([question])
    scores = encoder.encode_documents([sentence for _, sentence in sentences]) @ target
    best = sorted(scores.argsort()[::-1][:n])
    return [
        f"{sentences[at][1]} [{sentences[at][0].number}] {sentences[at][0].label}" for at in best
    ]


if __name__ == "__main__":
    main()
