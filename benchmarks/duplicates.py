"""From which cosine on are two pictures copies of one, and at which size is that seen best?

1,000 photos, and 100 of them edited in ten ways: of the edited ones the share is counted that a
threshold takes for copies of their original, of the photos the pairs that it takes for copies of
each other and that are none. Sizes are those to which an index brings all its pictures.

    python benchmarks/duplicates.py --vae DIR/taef2    # encode, write JSON and table
    python benchmarks/duplicates.py                    # the embedded VAE, with a table of its own
    python benchmarks/duplicates.py --table            # its table again from the JSON

Looks for the photos in ../shared/datasets/images. Latents are kept in results/local.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import image_recall as images
import numpy as np
import report

from semsearch.encoders.picture import SIZE, VAEEncoder
from semsearch.encoders.vae_files import EMBEDDED
from semsearch.reader import DUPLICATE_PICTURES

SIZES = (32, 64, 128)
QUERIES, PER_CLASS = 100, 50
THRESHOLDS = (0.7, 0.75, 0.8, 0.85, 0.9)
LEAST_FOUND, MOST_FALSE = 0.85, 3


def main() -> int:
    """Measure, or only write the table; 1 when the default is worse than its limits."""
    options, _ = _parser().parse_known_args()
    name = "duplicates_embedded" if options.vae == EMBEDDED else "duplicates"
    return report.main(name, _parser(), measure, table)


def _parser() -> argparse.ArgumentParser:
    parser = report.parser(__doc__)
    parser.add_argument("--vae", default=EMBEDDED, help="a VAE, such as DIR/taef2")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help=f"{SIZE} among them")
    parser.add_argument("--seed", type=int, default=2)
    return parser


# -- measuring -----------------------------------------------------------------------------------


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Every size on the same pictures."""
    sizes = [measured(options.vae, size, options.seed) for size in options.sizes]
    (chosen,) = (one for one in sizes if one["size"] == SIZE)
    at = THRESHOLDS.index(DUPLICATE_PICTURES)
    found, false = chosen["found"]["mean"][at], chosen["false_pairs"][at]
    return {
        "question": "From which cosine on are two pictures copies, and at which size?",
        "space": VAEEncoder(f"vae:{options.vae}").space.name,
        "photos": chosen["photos"],
        "queries": QUERIES,
        "seed": options.seed,
        "thresholds": list(THRESHOLDS),
        "sizes": sizes,
        "passed": found >= LEAST_FOUND and false <= MOST_FALSE,
        **report.circumstances(),
    }


def measured(name: str, size: int, seed: int) -> dict[str, Any]:
    """What one size makes of the photos, of their copies, and of small pictures of ten kinds."""
    random, encoder = np.random.default_rng(seed), VAEEncoder(f"vae:{name}@{size}")
    paths = sorted((images.PHOTOS / "imagenet-sample-256" / "img").iterdir())
    asked = random.permutation(len(paths))[:QUERIES]
    photos = images.indexed(encoder, "gallery", [images.opened(path) for path in paths])
    originals = [images.opened(paths[at]) for at in asked]
    found, firsts = {}, []
    for edit, change in images.EDITS.items():
        copies = images.indexed(encoder, edit, [change(one) for one in originals])
        cosines = copies @ photos.T
        found[edit] = cosines[np.arange(QUERIES), asked]
        firsts.append(cosines.argmax(axis=1) == asked)
    pairs = (photos @ photos.T)[np.triu_indices(len(photos), 1)]
    small, classes = images.small_pictures(random, PER_CLASS)
    return {
        "size": size,
        "photos": len(paths),
        "recall@1": float(np.mean(firsts)),
        "precision@10": images.precision(images.indexed(encoder, "small", small), classes),
        "nearest_pair": float(pairs.max()),
        "found": {
            **{edit: shares(of_edit) for edit, of_edit in found.items()},
            "mean": shares(np.concatenate(list(found.values()))),
        },
        "false_pairs": [int((pairs >= least).sum()) for least in THRESHOLDS],
    }


def shares(cosines: images.Vectors) -> list[float]:
    """Share that each threshold takes for copies."""
    return [float((cosines >= least).mean()) for least in THRESHOLDS]


# -- reporting -----------------------------------------------------------------------------------


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    sizes = result["sizes"]
    rows = [
        ("recall@1 of edited photos", [f"{one['recall@1']:.3f}" for one in sizes]),
        ("precision@10 of small pictures", [f"{one['precision@10']:.3f}" for one in sizes]),
        ("cosine of the two photos most alike", [f"{one['nearest_pair']:.3f}" for one in sizes]),
    ]
    for at, least in enumerate(result["thresholds"]):
        cells = [f"{one['found']['mean'][at]:.1%}, {one['false_pairs'][at]}" for one in sizes]
        rows.append((f"copies found and false pairs from {least} on", cells))
    (chosen,) = (one for one in sizes if one["size"] == SIZE)
    head = ["", *(f"{one['size']} pixels" for one in sizes)]
    lines = [
        f"| {' | '.join(head)} |",
        "|---|" + "---:|" * len(sizes),
        *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows),
        "",
        f"| copies found at {SIZE} pixels, from | "
        + " | ".join(map(str, result["thresholds"]))
        + " |",
        "|---|" + "---:|" * len(result["thresholds"]),
        *(
            f"| {edit} | {' | '.join(f'{share:.0%}' for share in found)} |"
            for edit, found in chosen["found"].items()
        ),
        "",
        f"Space {result['space']}. {result['photos']:,} photos, {result['queries']} of them "
        f"edited; 500 small pictures (CIFAR-10). Seed {result['seed']}. "
        f"{report.measured_on(result)}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
