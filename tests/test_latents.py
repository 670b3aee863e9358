from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from semsearch.errors import InvalidArgument
from semsearch.latents import normalize

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
