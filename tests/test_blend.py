from __future__ import annotations

import numpy as np
import pytest

from semsearch.blend import Blend, Text, Vector, like, text, vector
from semsearch.errors import InvalidArgument


def test_an_analogy_reads_as_it_is_written() -> None:
    blend = text("king") - text("man") + text("woman")
    assert list(blend.terms) == [(1.0, Text("king")), (-1.0, Text("man")), (1.0, Text("woman"))]
    assert blend.texts == ["king", "man", "woman"]


def test_weights_scale_whole_blends() -> None:
    blend = 2 * (like("a") + 0.5 * text("b")) - (text("c") - like("d")) * np.float32(3)
    assert blend.weights == [2, 1, -3, 3]
    assert blend.ids == ["a", "d"]
    assert blend.texts == ["b", "c"]


def test_a_vector_is_copied() -> None:
    numbers = np.array([1.0, 2.0])
    ((weight, part),) = (-vector(numbers)).terms
    numbers[0] = 9
    assert weight == -1
    assert isinstance(part, Vector)
    np.testing.assert_array_equal(part.numbers, [1, 2])


@pytest.mark.parametrize("wrong", ["", "  \n", None, 3, b"x"])
def test_empty_parts_are_refused(wrong: object) -> None:
    with pytest.raises(InvalidArgument, match="text: expected a string"):
        text(wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="like: expected the id"):
        like(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [[], [0, 0], [1, np.nan], [[1, 2]], ["a"], 3, None, [1j]])
def test_what_is_no_point_is_refused(wrong: object) -> None:
    with pytest.raises(InvalidArgument, match="vector: expected"):
        vector(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", ["2", None, np.nan, float("inf"), [1], text("a")])
def test_a_weight_is_a_finite_number(wrong: object) -> None:
    with pytest.raises(InvalidArgument, match="weight: expected a finite number"):
        text("a") * wrong  # type: ignore[operator]


def test_only_blends_are_added() -> None:
    with pytest.raises(TypeError):
        text("a") + "b"  # type: ignore[operator]
    assert isinstance(text("a") + text("b"), Blend)
