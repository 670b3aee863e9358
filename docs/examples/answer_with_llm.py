"""Answer a question from an index with a language model behind any OpenAI-compatible endpoint.

export OPENAI_BASE_URL=http://localhost:11434/v1 OPENAI_MODEL=llama3.2   # Ollama, for example
python docs/examples/answer_with_llm.py "my puppy ate a brownie" --index indexes/demo
"""

from __future__ import annotations

import argparse
import json
import os
import urllib.request

import semsearch
from semsearch.rag import Retriever

INSTRUCTION = (
    "Answer only from the numbered passages and cite them like [1]. "
    "If they do not hold the answer, say so."
)


def main() -> None:
    """Retrieve, ask, print the answer and what it may cite."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("question")
    parser.add_argument("--index", default="indexes/demo")
    options = parser.parse_args()
    with semsearch.open(options.index) as index:
        context = Retriever(index, budget=1500).retrieve(options.question)
    prompt = f"{INSTRUCTION}\n\n{context.as_context()}\n\nQuestion: {options.question}"
    print(complete(prompt))
    print()
    for passage in context:
        print(f"[{passage.number}] {passage.label}, characters {passage.span.start}"
              f"-{passage.span.end}")  # fmt: skip


def complete(prompt: str) -> str:
    """The model's answer; see platform.openai.com/docs/api-reference/chat/create."""
    base = os.environ.get("OPENAI_BASE_URL", "https://api.openai.com/v1").rstrip("/")
    body = {
        "model": os.environ.get("OPENAI_MODEL", "gpt-4o-mini"),
        "messages": [{"role": "user", "content": prompt}],
    }
    request = urllib.request.Request(
        f"{base}/chat/completions",
        json.dumps(body).encode(),
        {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {os.environ.get('OPENAI_API_KEY', 'none')}",
        },
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        return str(json.load(response)["choices"][0]["message"]["content"])


if __name__ == "__main__":
    main()
