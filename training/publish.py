"""Put trained weights into the package, and what they were trained on into their model card.

python training/publish.py --work DIR
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

WEIGHTS = Path(__file__).resolve().parents[1] / "semsearch" / "encoders" / "weights"
FILE = "semsearch-vae.safetensors"
BEGIN, END = "<!-- packages -->\n", "<!-- end packages -->"


def main() -> int:
    """Copy the weights, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, required=True, help="where train.py wrote")
    work: Path = parser.parse_args().work
    shutil.copyfile(work / FILE, WEIGHTS / FILE)
    card = WEIGHTS / "MODEL_CARD.md"
    before, _, rest = card.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    packages = json.loads((work / "packages.json").read_text(encoding="utf-8"))
    text = before + BEGIN + table(packages) + END + after
    card.write_text(text, encoding="utf-8")
    return 0


def table(packages: list[dict[str, Any]]) -> str:
    """Packages, how much of each was used, and what its copyright file says."""
    rows = [
        f"| {one['package']} {one['version']} | {one['pictures']:,} | {one['crops']:,} | "
        f"{', '.join(one['licences'])} |"
        for one in packages
    ]
    total = sum(one["crops"] for one in packages)
    head = ["| package of Debian | pictures | crops | licences it names |", "|---|---:|---:|---|"]
    return "\n".join([*head, *rows, f"| together | | {total:,} | |", ""])


if __name__ == "__main__":
    sys.exit(main())
