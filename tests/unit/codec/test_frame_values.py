import contextlib
import datetime
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from pydantic import BaseModel, RootModel

from tiffin.codec import frame_values
from tiffin.errors import DecodeError, ServiceError


class Flower(BaseModel):
    name: str
    petals: list[float] = []


class Names(RootModel[list[str]]):
    pass


@dataclass
class Pair:
    left: np.ndarray
    right: str


def no_files(name: str, data: memoryview) -> Path:
    raise AssertionError(name)


def again(value, save=no_files):
    return frame_values.decode(bytearray(b"".join(frame_values.encode(value))), save)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip
kinds = (
    arrays.boolean_dtypes() | arrays.integer_dtypes() | arrays.floating_dtypes() | arrays.complex_number_dtypes()
    | arrays.datetime64_dtypes() | arrays.timedelta64_dtypes() | arrays.unicode_string_dtypes(max_len=5)
    | arrays.byte_string_dtypes(max_len=5)
)  # fmt: skip
any_array = arrays.arrays(kinds, arrays.array_shapes(min_dims=0, min_side=0, max_dims=4, max_side=4))


@given(plain)
def test_what_json_has_and_bytes_come_back(value):
    assert again(value) == value


@given(any_array, st.booleans())
def test_arrays_come_back_with_dtype_shape_order_and_bits(array: np.ndarray, is_fortran: bool):
    array = np.asfortranarray(array) if is_fortran else array
    found = again({"a": [array]})["a"][0]
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()
    assert found.flags.f_contiguous == array.flags.f_contiguous
    assert found.flags.writeable


@given(st.data())
def test_broken_frames_are_refused_and_crash_nothing(data: st.DataObject):
    value = {
        "a": np.arange(6.0).reshape(2, 3),
        "o": np.array([None, {"x": 1}], dtype=object),
        "z": 1j,
        "t": "text",
    }
    frame = bytearray(b"".join(frame_values.encode(value)))
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DecodeError):
        frame_values.decode(frame, no_files)


@given(st.binary(max_size=300))
def test_any_tree_is_read_or_refused(tree: bytes):
    from tiffin.codec import framing

    frame = b"".join(framing.pack(tree, [memoryview(b"12345678")]))
    with contextlib.suppress(DecodeError):
        frame_values.decode(frame, lambda name, data: Path(name))


def test_an_array_is_a_view_of_memory_on_both_sides():
    array = np.arange(100_000.0)
    parts = frame_values.encode(array)
    assert np.shares_memory(np.frombuffer(parts[-1], np.float64), array)
    frame = bytearray(b"".join(parts))
    assert np.shares_memory(frame_values.decode(frame, no_files), np.frombuffer(frame, np.uint8))


def test_strided_arrays_numpy_scalars_and_arrays_of_objects():
    assert again(np.arange(10)[::3]).tolist() == [0, 3, 6, 9]
    assert again(np.float32(2.5)) == np.float32(2.5)
    assert type(again(np.float32(2.5))) is np.float32
    found = again(np.array([[None, {"a": np.ones(2)}]], dtype=object))
    assert found.shape == (1, 2)
    assert found[0, 1]["a"].tolist() == [1, 1]
    assert again(np.array(["", ""])).tolist() == ["", ""]
    assert again({np.int64(3): 1}) == {3: 1}
    assert again(2 - 1j) == 2 - 1j


def test_models_and_dataclasses_come_as_their_fields():
    assert again([Flower(name="iris", petals=[1])]) == [{"name": "iris", "petals": [1.0]}]
    assert again(Names(["a"])) == ["a"]
    found = again(Pair(np.ones(2), "r"))
    assert found["right"] == "r"
    assert found["left"].tolist() == [1, 1]


frames = [
    pd.DataFrame({"a": [1, 2], "b": ["x", None]}, index=["r", "s"]),
    pd.DataFrame({0: [1.5], 1: [True]}),
    pd.DataFrame({"c": pd.Categorical(["a", "b"]), "t": pd.to_datetime(["2020-01-01", "2021-01-01"], utc=True)}),
    pd.DataFrame({"a": [1, {"z": 2}]}),
    pd.DataFrame(),
]


@pytest.mark.parametrize("frame", frames, ids=range(len(frames)))
def test_pandas_frames_come_back(frame: pd.DataFrame):
    pd.testing.assert_frame_equal(again(frame), frame, check_index_type=False, check_column_type=False)


def test_pandas_frames_come_back_without_pyarrow(monkeypatch):
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, np.nan]}, index=[7, 8])
    with monkeypatch.context() as patched:
        patched.setitem(__import__("sys").modules, "pyarrow", None)
        pd.testing.assert_frame_equal(again(frame), frame)
        pd.testing.assert_series_equal(again(frame["a"]), frame["a"])


def test_series_keep_their_name_or_have_none():
    for name in ("n", None):
        series = pd.Series([1, 2], name=name)
        pd.testing.assert_series_equal(again(series), series)


def test_a_pickle_in_an_arrow_type_is_refused():
    import pyarrow

    from tiffin.codec import framing

    field = pyarrow.field("x", pyarrow.int64(), metadata={"ARROW:extension:name": "arrow.py_extension_type"})
    table = pyarrow.table({"x": [1]}).cast(pyarrow.schema([field]))
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    import msgspec

    tree = msgspec.msgpack.encode(msgspec.msgpack.Ext(frame_values.ARROW, msgspec.msgpack.encode(["frame", 0])))
    frame = b"".join(framing.pack(tree, [memoryview(sink.getvalue())]))
    with pytest.raises(DecodeError, match="pickle"):
        frame_values.decode(frame, no_files)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "1", "P", "F"])
def test_images_come_back_pixel_by_pixel(mode: str):
    image = Image.new("RGB", (5, 3))
    image.putdata([(x * 17 % 256, x * 5, 200) for x in range(15)])
    image = image.convert(mode)
    image.format = "PNG"
    found = again(image)
    assert (found.mode, found.size, found.format) == (mode, (5, 3), "PNG")
    assert found.convert("RGBA").tobytes() == image.convert("RGBA").tobytes()


def test_files_are_kept_where_the_receiver_says(tmp_path: Path):
    (tmp_path / "in.txt").write_bytes(b"content")
    kept = {}

    def save(name: str, data: memoryview) -> Path:
        kept[name] = bytes(data)
        return Path("/there") / name

    assert again(tmp_path / "in.txt", save) == Path("/there/in.txt")
    assert kept == {"in.txt": b"content"}


def test_dates_come_as_text_for_the_annotation_to_read():
    assert again(datetime.date(2020, 1, 2)) == "2020-01-02"


def endless() -> list:
    found: list = []
    found.append(found)
    return found


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (object(), "builtins.object cannot go"),
        (lambda: 1, "function cannot go"),
        (2**70, "cannot go to another process"),
        (np.zeros(1, dtype=[("a", "f8")]), "cannot go"),
        (np.ma.masked_array([1]), "masked array"),
        (Path("/nowhere/at/all"), "the file /nowhere/at/all cannot go"),
        (endless(), "contains itself"),
    ],
)
def test_what_cannot_go_is_named(value, says: str):
    with pytest.raises(ServiceError, match=says):
        frame_values.encode({"x": [value]})


@pytest.mark.parametrize(
    ("code", "content", "says"),
    [
        (1, ["array", 0, "<f8", False, [2]], "found 8 bytes"),
        (1, ["array", 0, "|O8", False, [1]], "expected the dtype"),
        (1, ["array", 0, "f8,f8", False, [1]], "expected the dtype"),
        (1, ["array", 5, "<f8", False, [1]], "one of 1 buffers"),
        (1, ["array", True, "<f8", False, [1]], "one of 1 buffers"),
        (1, ["array", 0, "<f8", False, [-1]], "expected the shape"),
        (1, ["array", 0, "<f8", False, [1] * 40], "expected the shape"),
        (1, ["array", 0], "cannot be read"),
        (2, [[3], [1]], "found 1"),
        (6, ["RGB", 10**9, 10**9, "", 0], "expected the pixels"),
        (6, ["P", 1, 1, "", 0], "expected the mode"),
        (7, ["EPS", 0], "expected the format"),
        (7, ["PNG", 0], "cannot be read"),
        (3, ["frame", 0], "cannot be read"),
        (77, [], "found number 77"),
    ],
)
def test_an_extension_that_lies_is_refused(code: int, content: list, says: str):
    import msgspec

    from tiffin.codec import framing

    tree = msgspec.msgpack.encode(msgspec.msgpack.Ext(code, msgspec.msgpack.encode(content)))
    with pytest.raises(DecodeError, match=says):
        frame_values.decode(b"".join(framing.pack(tree, [memoryview(bytes(8))])), no_files)
