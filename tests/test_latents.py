from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from semsearch.errors import InvalidArgument
from semsearch.latents import combine, lerp, normalize, slerp

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)
MATRICES = hnp.arrays(
    np.float32, st.tuples(st.integers(0, 4), st.integers(1, 5)), elements=FINITE
).filter(lambda matrix: bool(matrix.any(axis=1).all()))


@given(MATRICES)
def test_rows_get_unit_length_and_keep_their_direction(matrix: NDArray[np.float32]) -> None:
    unit = normalize(matrix)
    assert unit.shape == matrix.shape
    np.testing.assert_allclose(np.linalg.norm(unit.astype(np.float64), axis=1), 1, atol=1e-6)
    exact = matrix.astype(np.float64)
    peaks = np.abs(exact).max(axis=1, keepdims=True)
    lengths = np.linalg.norm(exact / peaks, axis=1, keepdims=True)
    np.testing.assert_allclose(unit * lengths, exact / peaks, atol=1e-6)


def test_known_row() -> None:
    unit = normalize([[3, 4], [0, -2]])
    assert unit.dtype == np.float32
    assert unit.flags.c_contiguous
    np.testing.assert_array_equal(unit, np.array([[0.6, 0.8], [0, -1]], np.float32))


@pytest.mark.parametrize("scale", [5e-324, 1e-310, 1e-45, 1e-30, 1e30, 1e300])
def test_extreme_lengths_are_no_harm(scale: float) -> None:
    unit = normalize(np.array([[scale, -scale]]))
    np.testing.assert_allclose(unit, [[0.5**0.5, -(0.5**0.5)]], rtol=1e-6)


def test_float32_denormals_are_no_harm() -> None:
    unit = normalize(np.full((1, 4), 1e-45, np.float32))
    np.testing.assert_array_equal(unit, np.full((1, 4), 0.5, np.float32))


def test_input_is_left_alone_and_any_layout_is_read() -> None:
    matrix = np.asfortranarray(np.array([[2, 0], [0, 3]], np.float32))
    unit = normalize(matrix)
    assert unit.flags.c_contiguous
    np.testing.assert_array_equal(unit, np.eye(2))
    np.testing.assert_array_equal(matrix, [[2, 0], [0, 3]])


def test_no_rows_give_no_rows() -> None:
    assert normalize(np.empty((0, 7), np.float32)).shape == (0, 7)


@pytest.mark.parametrize(
    ("row", "why"),
    [([0, 0], "zero"), ([np.nan, 1], "NaN"), ([1, np.inf], "NaN or inf"), ([-np.inf, 0], "inf")],
)
def test_a_row_without_direction_is_named(row: list[float], why: str) -> None:
    with pytest.raises(InvalidArgument, match=f"row 2 .*{why}"):
        normalize(np.array([[1, 0], [0, 1], row, row]))


@pytest.mark.parametrize(
    "wrong", [[1.0, 2.0], 3.0, [["a"]], [[1j]], [[1, 2], [3]], [[None]], [[True]]]
)
def test_what_is_no_matrix_of_numbers_is_refused(wrong: object) -> None:
    with pytest.raises(InvalidArgument, match="expected"):
        normalize(wrong)  # type: ignore[arg-type]


STEPS = np.linspace(0, 1, 11)
ENDS = hnp.arrays(np.float64, (2, 6), elements=st.floats(-100, 100)).filter(
    lambda ends: bool((np.linalg.norm(ends, axis=1) > 1e-3).all())
)


@given(ENDS)
def test_a_line_begins_and_ends_at_its_ends_and_is_straight(ends: NDArray[np.float64]) -> None:
    a, b = ends
    line = lerp(a, b, STEPS)
    assert line.dtype == np.float32
    np.testing.assert_array_equal(line[0], a.astype(np.float32))
    np.testing.assert_array_equal(line[-1], b.astype(np.float32))
    np.testing.assert_allclose(line[5], (a + b) / 2, rtol=1e-6, atol=1e-5)


@given(ENDS)
def test_an_arc_turns_evenly_and_changes_its_length_evenly(ends: NDArray[np.float64]) -> None:
    a, b = ends
    lengths = np.linalg.norm(ends, axis=1)
    cosine = a @ b / lengths.prod()
    if cosine < -0.999:
        return
    arc = slerp(a, b, STEPS).astype(np.float64)
    np.testing.assert_allclose(arc[[0, -1]], ends, rtol=1e-6, atol=1e-5)
    expected = (1 - STEPS) * lengths[0] + STEPS * lengths[1]
    np.testing.assert_allclose(np.linalg.norm(arc, axis=1), expected, rtol=1e-5)
    units = arc / np.linalg.norm(arc, axis=1, keepdims=True)
    turned = np.arccos(np.clip(units @ (a / lengths[0]), -1, 1))
    np.testing.assert_allclose(turned, STEPS * np.arccos(np.clip(cosine, -1, 1)), atol=2e-3)


def test_a_quarter_turn() -> None:
    arc = slerp([2, 0], [0, 4], [0, 1 / 3, 0.5, 1])
    half = 3 * 0.5**0.5
    third = [8 / 3 * np.cos(np.pi / 6), 8 / 3 * np.sin(np.pi / 6)]
    np.testing.assert_allclose(arc, np.array([[2, 0], third, [half, half], [0, 4]]), atol=1e-6)


def test_an_arc_between_parallel_ends_is_their_line() -> None:
    np.testing.assert_allclose(slerp([1, 1], [3, 3], [0.5]), [[2, 2]])
    np.testing.assert_allclose(slerp([1, 0], [1, 1e-9], [0.5]), [[1, 5e-10]])


@pytest.mark.parametrize(
    ("a", "b", "t", "why"),
    [
        ([1, 0], [-2, 0], [0.5], "opposite"),
        ([0, 0], [1, 0], [0.5], "zero"),
        ([1, 0], [1, 0, 0], [0.5], "one shape"),
        ([[1, 0]], [[1, 0]], [0.5], "one shape"),
        ([1, 0], [0, 1], 0.5, "steps"),
        ([1, np.nan], [0, 1], [0.5], "NaN"),
        ([1, 0], [0, 1], [np.inf], "infinite"),
    ],
)
def test_what_has_no_arc_is_refused(a: object, b: object, t: object, why: str) -> None:
    with pytest.raises(InvalidArgument, match=why):
        slerp(a, b, t)  # type: ignore[arg-type]


def test_a_sum_counts_directions_and_weights() -> None:
    np.testing.assert_allclose(combine([1, 1], [[5.0, 0.0], [0.0, 0.1]]), [0.5**0.5] * 2, rtol=1e-6)
    np.testing.assert_allclose(combine([-1, 1, 1], [[1, 0], [1, 0], [0, 1]]), [0, 1], atol=1e-7)
    np.testing.assert_allclose(combine([-2], [[3, 4]]), [-0.6, -0.8], rtol=1e-6)


@pytest.mark.parametrize(
    ("weights", "vectors", "why"),
    [
        ([1, -1], [[0.1, 0.2], [0.3, 0.6]], "cancel"),
        ([0], [[1, 0]], "cancel"),
        ([1], [[1, 0], [0, 1]], "2 finite"),
        ([np.nan, 1], [[1, 0], [0, 1]], "2 finite"),
        ([1, 1], [[1, 0], [0, 0]], "row 1 is zero"),
    ],
)
def test_a_sum_without_direction_is_refused(weights: object, vectors: object, why: str) -> None:
    with pytest.raises(InvalidArgument, match=why):
        combine(weights, vectors)  # type: ignore[arg-type]
