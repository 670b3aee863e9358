"""Which small segments are merged into one."""

from __future__ import annotations

from collections.abc import Sequence

from semsearch.view import LiveSegment

FAN_IN = 8
"""This many neighbouring small segments are merged into one."""

SMALL_SEGMENT = FAN_IN**4
"""Segments of fewer live rows are merged by themselves; larger ones wait for `optimize`."""


def run_to_merge(segments: Sequence[LiveSegment]) -> list[LiveSegment]:
    """The next segments to merge: a run of one tier, or one segment that is more than half dead.

    A tier is live rows from a power of `FAN_IN` up to, not including, the next. A run is of
    neighbours, ends with the `FAN_IN`-th of its tier, and takes in smaller ones between them.
    """
    for live in segments:
        if live.row.dead * 2 > live.row.rows:
            return [live]
    least = 1
    while least < SMALL_SEGMENT:
        run: list[LiveSegment] = []
        members = 0
        for live in segments:
            if live.live >= least * FAN_IN:
                run, members = [], 0
                continue
            run.append(live)
            members += live.live >= least
            if members == FAN_IN:
                return run
        least *= FAN_IN
    return []
