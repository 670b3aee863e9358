"""What is interrupted at every step: an index, an operation on it, and what may be found after."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from crash.model import Content, Operation, State, add, create, numbered, reopen
from semsearch import Index

Damage = Callable[[Path], None]


@dataclass(frozen=True)
class Scenario:
    """An operation on a prepared index.

    Attributes:
        adds: Each one call of `add`, so one segment.
        damage: Done to the files then.
    """

    operation: Operation
    adds: tuple[State, ...] = ()
    optimized: str | None = None
    deleted: tuple[str, ...] = ()
    damage: Damage | None = None

    def prepare(self, path: Path) -> State:
        """Make the index that the operation is done on; gives what it holds."""
        state: State = {}
        if self.operation.kind == "create":
            return state
        with create(path) as index:
            for documents in self.adds:
                add(index, documents)
                state = {**state, **documents}
            self._arrange(index)
        if self.damage:
            self.damage(path / "segments")
        return {id_: content for id_, content in state.items() if id_ not in self.deleted}

    def _arrange(self, index: Index) -> None:
        if self.optimized:
            index.optimize(self.optimized)
        if self.deleted:
            index.delete(self.deleted)
        index.delete([])  # sweeps

    def run(self, path: Path) -> None:
        """The operation, from opening to closing."""
        if self.operation.kind == "create":
            create(path).close()
            return
        with reopen(path) as index:
            self.operation.perform(index)


def _arrow(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.arrow"))


def lose_derived(folder: Path) -> None:
    next(folder.glob("*.faiss")).unlink()


def damage_one(folder: Path) -> None:
    file = _arrow(folder)[1]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)


def truncate_one(folder: Path) -> None:
    file = _arrow(folder)[1]
    file.write_bytes(file.read_bytes()[:100])


def swap_two(folder: Path) -> None:
    """The vectors of one were given, so that nobody can make them again."""
    first, second, *_ = _arrow(folder)
    aside = folder / "aside"
    shutil.move(first, aside)
    shutil.move(second, first)
    shutil.move(aside, second)


def rotate_three(folder: Path) -> None:
    swap_two(folder)
    _, second, third = _arrow(folder)
    aside = folder / "aside"
    shutil.move(second, aside)
    shutil.move(third, second)
    shutil.move(aside, third)


THREE = (numbered(range(5)), numbered(range(5, 10), given=True), numbered(range(10, 15)))
EIGHT = tuple(numbered(range(3 * i, 3 * i + 3), given=i % 2 == 0) for i in range(8))
RELABELLED = {id_: Content(content.text, {"new": True}) for id_, content in THREE[0].items()}
ENCODED = (numbered(range(5)), numbered(range(5, 10)), numbered(range(10, 15)))
REPAIR = Operation("repair")

SCENARIOS = {
    "create": Scenario(Operation("create")),
    "first add": Scenario(Operation("add", numbered(range(3)))),
    "add that compacts": Scenario(Operation("add", numbered(range(90, 94))), EIGHT),
    "replace": Scenario(Operation("add", numbered([1, 6, 7, 12, 40], "second")), THREE),
    "relabel": Scenario(Operation("add", RELABELLED), THREE),
    "delete": Scenario(Operation("delete", ids=["d1", "d7", "d12"]), THREE),
    "delete a whole segment": Scenario(
        Operation("delete", ids=["d1", *THREE[1]]), THREE, deleted=("d0",)
    ),
    "optimize": Scenario(Operation("optimize"), THREE, deleted=("d1", "d7")),
    "optimize ivf": Scenario(Operation("optimize", index_kind="ivf"), THREE, deleted=("d1", "d7")),
    "optimize back": Scenario(Operation("optimize"), THREE, optimized="ivf", deleted=("d1", "d7")),
    "repair lost derived": Scenario(REPAIR, THREE, "ivf", ("d1",), lose_derived),
    "repair damaged segment": Scenario(REPAIR, ENCODED, None, ("d6",), damage_one),
    "repair truncated segment": Scenario(REPAIR, ENCODED, None, ("d6",), truncate_one),
    "repair swapped segments": Scenario(REPAIR, THREE, None, ("d6",), swap_two),
    "repair three rotated": Scenario(REPAIR, THREE, None, ("d6",), rotate_three),
}

SLOW = {"optimize", "optimize back", "repair truncated segment", "repair three rotated"}
"""Variants, left out where time counts."""
