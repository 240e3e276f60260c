import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tiffin.errors import DecodeError
from tiffin.models.table import Table, Texts
from tiffin.types import ANY


def test_the_usual_tensor_passes_as_it_is():
    rows = np.ones((3, 4))
    assert Table(4).conform(["anything"], [rows])[0] is rows


@pytest.mark.parametrize("dtype", ["?", "i1", "u2", "i4", "u8", "f2", "f4", ">f8"])
def test_other_numbers_are_cast(dtype):
    (found,) = Table(2).conform(["x"], [np.array([[1, 0]], dtype)])
    assert found.dtype == np.float64
    assert found.tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize(
    ("array", "at", "says"),
    [
        (np.zeros((1, 3)), "inputs[0].shape", "expected [?, 4], found [1, 3]"),
        (np.zeros(4), "inputs[0].shape", "add the batch dimension: [1, 4]"),
        (np.zeros(3), "inputs[0].shape", "expected [?, 4], found [3]"),
        (np.zeros((1, 2, 2)), "inputs[0].shape", "expected [?, 4], found [1, 2, 2]"),
        (np.zeros((0, 4)), "inputs[0].shape", "at least one row"),
        (np.array(1.0), "inputs[0].shape", "expected [?, 4], found []"),
        (np.array([[1, 2, np.nan, 4]]), "inputs[0].data", "found NaN in row 0"),
        (np.array([[1.0] * 4, [1, 2, np.inf, 4]]), "inputs[0].data", "infinity"),
        (np.array([["a", "b", "c", "d"]], dtype=object), "inputs[0].datatype", "expected FP64, found BYTES"),
    ],
)
def test_what_does_not_fit_is_refused_at_its_place(array, at, says):
    with pytest.raises(DecodeError) as caught:
        Table(4).conform(["x"], [array])
    assert caught.value.at == at
    assert says in str(caught.value)


def test_huge_but_finite_numbers_are_taken():
    rows = np.full((2, 4), 1e300)
    assert Table(4).conform(["x"], [rows])[0].tolist() == rows.tolist()


def test_a_missing_value_is_taken_where_the_model_knows_them_but_infinity_is_not():
    table = Table(2, allows_nan=True)
    assert np.isnan(table.conform(["x"], [np.array([[1, np.nan]])])[0][0, 1])
    with pytest.raises(DecodeError, match="infinity"):
        table.conform(["x"], [np.array([[np.nan, np.inf]])])


def test_a_value_that_overflows_the_narrower_dtype_is_refused():
    with pytest.raises(DecodeError, match="too large for float32"):
        Table(1, dtype=np.float32, allows_nan=True).conform(["x"], [np.array([[1e300]])])


def test_columns_are_ordered_by_name():
    table = Table(2, names=("a", "b"))
    (found,) = table.conform(["b", "a"], [np.array([2, 4]), np.array([[1.0], [3.0]])])
    assert found.tolist() == [[1, 2], [3, 4]]


def test_columns_without_known_names_go_by_order():
    (found,) = Table(2).conform(["p", "q"], [np.array([1]), np.array([2])])
    assert found.tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("names", "arrays", "at"),
    [
        (["a", "c"], [np.zeros(1), np.zeros(1)], "inputs"),
        (["a", "b", "c"], [np.zeros(1)] * 3, "inputs"),
        (["x", "y", "z"], [np.zeros(1)] * 3, "inputs"),
        (["a", "a"], [np.zeros(1)] * 2, "inputs"),
        (["a", "b"], [np.zeros(2), np.zeros(1)], "inputs[1].shape"),
        (["a", "b"], [np.zeros((2, 2)), np.zeros(2)], "inputs[0].shape"),
        (["a", "b"], [np.array(1.0), np.array(2.0)], "inputs[0].shape"),
        (["a", "b"], [np.zeros(1), np.array(["x"], dtype=object)], "inputs[1].datatype"),
        ([], [], "inputs"),
    ],
)
def test_columns_that_do_not_make_a_table_are_refused(names, arrays, at):
    with pytest.raises(DecodeError) as caught:
        Table(2, names=("a", "b")).conform(names, arrays)
    assert caught.value.at == at


@settings(deadline=None)
@given(
    hnp.arrays(
        st.sampled_from(["?", "i1", "u8", "i8", "f2", "f4", "f8", "O", "S3", "U2"]).map(np.dtype),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
    st.booleans(),
)
def test_whatever_comes_is_conformed_or_refused(array, allows_nan):
    table = Table(2, allows_nan=allows_nan)
    found = None
    with contextlib.suppress(DecodeError):
        (found,) = table.conform(["x"], [array])
    if found is None:
        return
    assert found.dtype == np.float64
    assert found.shape == array.shape
    assert found.shape[0] > 0
    assert not np.isinf(found).any()
    assert allows_nan or np.isfinite(found).all()


def test_a_table_of_unknown_width_takes_any():
    assert Table(ANY).conform(["x"], [np.zeros((1, 7))])[0].shape == (1, 7)
    assert Table(ANY).example() is None


def test_texts_are_decoded():
    (found,) = Texts().conform(["x"], [np.array([[b"caf\xc3\xa9"], ["tea"]], dtype=object)])
    assert found.tolist() == ["café", "tea"]


@pytest.mark.parametrize(
    ("array", "at"),
    [
        (np.zeros(1), "inputs[0].datatype"),
        (np.array([[b"a", b"b"]], dtype=object), "inputs[0].shape"),
        (np.array([], dtype=object), "inputs[0].shape"),
        (np.array([b"\xff"], dtype=object), "inputs[0].data"),
    ],
)
def test_what_is_no_text_is_refused(array, at):
    with pytest.raises(DecodeError) as caught:
        Texts().conform(["x"], [array])
    assert caught.value.at == at
