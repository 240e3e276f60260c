"""The Seldon protocol, byte for byte as its own Python wrapper (1.19.0) was seen to write it."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tiffin.errors import CallError, DecodeError, PredictError, ServiceError, TooLarge, UnknownRoute
from tiffin.protocol import seldon

PATH = {"requestPath": {"clf": "img:1.0"}}
M = b'"meta":{"requestPath":{"clf":"img:1.0"}}'
SCORES = np.array([[0.1, 0.9]])


def answer(body: bytes, result, names=None) -> bytes:
    request = seldon.read(body)
    return seldon.write(
        result, request=request, names=names, meta=seldon.reply_meta(request, unit="clf", image="img:1.0")
    )


NDARRAY = b'{"data":{"ndarray":[[1,2]]}}'
TENSOR = b'{"data":{"tensor":{"shape":[1,2],"values":[1,2]}}}'
META = (
    b'{"data":{"ndarray":[[1,2]]},"meta":{"puid":"P","tags":{"t":1},"routing":{"r":1},'
    b'"requestPath":{"x":"y"},"metrics":[{"key":"m","type":"COUNTER","value":1}]}}'
)


@pytest.mark.parametrize(
    ("body", "result", "expected"),
    [
        (NDARRAY, SCORES, b'{"data":{"names":["t:0","t:1"],"ndarray":[[0.1,0.9]]},%b}\n' % M),
        (TENSOR, SCORES, b'{"data":{"names":["t:0","t:1"],"tensor":{"shape":[1,2],"values":[0.1,0.9]}},%b}\n' % M),
        *(
            (
                body,
                SCORES,
                b'{"data":{"names":["t:0","t:1"],"tensor":{"shape":[1,2],"values":[0.1,0.9]}},%b}\n' % M,
            )
            for body in (b'{"strData":"a"}', b'{"jsonData":{"a":1}}', b'{"binData":"eHk="}')
        ),
        (b'{"data":{}}', SCORES, b'{"data":{"names":["t:0","t:1"],"ndarray":[[0.1,0.9]]},%b}\n' % M),
        (
            META,
            SCORES,
            b'{"data":{"names":["t:0","t:1"],"ndarray":[[0.1,0.9]]},"meta":{"metrics":[{"key":"m","type":"COUNTER",'
            b'"value":1}],"puid":"P","requestPath":{"clf":"img:1.0","x":"y"},"tags":{"t":1}}}\n',
        ),
        (NDARRAY, [1, 2], b'{"data":{"names":[],"ndarray":[1,2]},%b}\n' % M),
        (NDARRAY, np.array([[1, 2]]), b'{"data":{"names":["t:0","t:1"],"ndarray":[[1,2]]},%b}\n' % M),
        (NDARRAY, np.array([[True]]), b'{"data":{"names":["t:0"],"ndarray":[[true]]},%b}\n' % M),
        (TENSOR, np.array([[True]]), b'{"data":{"names":["t:0"],"ndarray":[[true]]},%b}\n' % M),
        (NDARRAY, np.array([["a", "b"]]), b'{"data":{"names":["t:0","t:1"],"ndarray":[["a","b"]]},%b}\n' % M),
        (TENSOR, np.array([["a", "b"]]), b'{"data":{"names":["t:0","t:1"],"ndarray":[["a","b"]]},%b}\n' % M),
        (NDARRAY, [["a", 1]], b'{"data":{"names":["t:0","t:1"],"ndarray":[["a",1]]},%b}\n' % M),
        (NDARRAY, [[1], [1, 2]], b'{"data":{"names":[],"ndarray":[[1],[1,2]]},%b}\n' % M),
        (NDARRAY, np.array([[[1, 2]]]), b'{"data":{"names":["t:0"],"ndarray":[[[1,2]]]},%b}\n' % M),
        (NDARRAY, {"b": 1, "a": "<&>é"}, b'{"jsonData":{"a":"<&>\\u00e9","b":1},%b}\n' % M),
        (NDARRAY, "s", b'{%b,"strData":"s"}\n' % M),
        (NDARRAY, b"xy", b'{"binData":"eHk=",%b}\n' % M),
        (NDARRAY, [], b'{"data":{"names":[],"ndarray":[]},%b}\n' % M),
        (TENSOR, [[1]], b'{"data":{"names":["t:0"],"tensor":{"shape":[1,1],"values":[1]}},%b}\n' % M),
        (
            NDARRAY,
            np.array([[math.nan, math.inf]]),
            b'{"data":{"names":["t:0","t:1"],"ndarray":[[NaN,Infinity]]},%b}\n' % M,
        ),
    ],
)
def test_a_reply_is_byte_for_byte_what_seldon_writes(body, result, expected):
    assert answer(body, result) == expected


def test_class_names_replace_the_default_names():
    assert answer(NDARRAY, SCORES, ["no", "yes"]).startswith(b'{"data":{"names":["no","yes"],')


def test_feedback_is_answered_with_an_empty_array_without_names():
    assert seldon.write_feedback(None, meta=PATH) == b'{"data":{"ndarray":[]},%b}\n' % M


@pytest.mark.parametrize("result", [None, 1.5, (1, 2), object])
def test_a_result_of_another_kind_is_named(result):
    with pytest.raises(seldon.UnknownResult) as caught:
        answer(NDARRAY, result)
    assert caught.value.status == 400
    assert str(caught.value) == f"Unknown data type returned as payload (must be list or np array):{result}"


@pytest.mark.parametrize(
    "result",
    [{"a": object()}, np.array([[1j]]), {1: 1, "a": 2}, [[object()]]],
    ids=["object", "complex", "keys", "list"],
)
def test_a_result_json_cannot_say_is_the_authors_mistake(result):
    with pytest.raises(PredictError, match="can be written as JSON"):
        answer(NDARRAY, result)


@pytest.mark.parametrize(
    "number",
    [
        1e16,
        1e-7,
        1e15,
        123456789012345680.0,
        1e22,
        1e-5,
        1.234e-5,
        0.0001,
        9.999e-5,
        1e-9,
        1e-10,
        1.5e300,
        5e-324,
        -0.0,
        -1e-6,
        10.00001,
        1.00001e-5,
    ],
)
def test_floats_read_as_python_writes_them(number):
    assert json.dumps([[number, 2.0]], separators=(",", ":")).encode() in answer(
        NDARRAY, np.array([[number, 2.0]])
    )


@given(
    hnp.arrays(
        st.sampled_from([np.float64, np.float32, np.float16, np.int64, np.uint64, np.int8, ">f8", ">i4"]),
        hnp.array_shapes(min_dims=1, max_dims=3, min_side=0),
    )
)
def test_any_numeric_array_is_written_as_python_writes_its_list(array):
    expected = json.dumps(array.tolist(), separators=(",", ":")).encode()
    assert b'"ndarray":%b}' % expected in answer(NDARRAY, array)


@given(
    hnp.arrays(
        st.sampled_from([np.float64, np.int64]), hnp.array_shapes(max_dims=4), elements={"allow_nan": False}
    )
)
def test_a_tensor_survives_the_round_trip(array):
    body = answer(TENSOR, array)
    back = seldon.read(body)
    assert back.kind == "tensor"
    np.testing.assert_array_equal(back.value, array)
    assert back.value.shape == array.shape


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "data",
                    "ndarray",
                    "tensor",
                    "shape",
                    "values",
                    "names",
                    "meta",
                    "tags",
                    "strData",
                    "binData",
                    "jsonData",
                    "reward",
                    "request",
                    "response",
                    "truth",
                    "routing",
                    "seldonMessages",
                ]
            )
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def refusal_of(reader, body: bytes) -> CallError | None:
    try:
        reader(body)
    except CallError as error:
        return error
    return None


@given(st.sampled_from([seldon.read, seldon.read_list, seldon.read_feedback]), JSON)
def test_any_json_is_a_message_or_a_callers_error(reader, document):
    refusal = refusal_of(reader, json.dumps(document).encode())
    assert refusal is None or 400 <= seldon.render_error(refusal).status < 500


@given(st.sampled_from([seldon.read, seldon.read_list, seldon.read_feedback]), st.binary(max_size=60))
def test_any_bytes_are_a_message_or_a_callers_error(reader, body):
    refusal = refusal_of(reader, body)
    assert refusal is None or 400 <= seldon.render_error(refusal).status < 500


@pytest.mark.parametrize(
    ("body", "kind", "value"),
    [
        (b'{"strData":"a"}', "strData", "a"),
        (b'{"jsonData":{"a":1}}', "jsonData", {"a": 1}),
        (b'{"jsonData":null}', "jsonData", None),
        (b'{"binData":"eHk="}', "binData", b"xy"),
        (b'{"binData":"eHk=","strData":"s","jsonData":[1]}', "jsonData", [1]),
        (b'{"binData":"eHk=","strData":"s"}', "strData", "s"),
    ],
)
def test_other_kinds_reach_the_class_as_they_are(body, kind, value):
    message = seldon.read(body)
    assert (message.kind, message.value, message.names, message.meta) == (kind, value, [], None)


def test_integers_stay_integers_and_mixed_rows_become_text():
    assert seldon.read(NDARRAY).value.dtype == np.int64
    assert seldon.read(b'{"data":{"ndarray":[["a",1]]}}').value.dtype == np.dtype("<U21")
    assert seldon.read(b'{"data":{}}').value.dtype == np.float64
    assert seldon.read(b'{"data":{"names":["x"],"ndarray":[[NaN]]}}').names == ["x"]


def test_one_dimension_may_be_left_open():
    assert seldon.read(b'{"data":{"tensor":{"shape":[-1,2],"values":[1,2,3,4]}}}').value.shape == (2, 2)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{}", "Invalid request data type: {}"),
        (b'{"foo":1}', "Invalid request data type: {'foo': 1}"),
        (b"[1]", "Invalid request data type: [1]"),
        (b"{", "Can't find JSON in data"),
        (b"", "Can't find JSON in data"),
        (b'{"data":[1]}', "data: expected an object with tensor or ndarray, found an array"),
        (b'{"data":{"ndarray":5}}', "data.ndarray: expected an array, found a number"),
        (
            b'{"data":{"ndarray":[[1,2],[3]]}}',
            "data.ndarray: expected rows of one length, found 2 at [0] and 1 at [1]",
        ),
        (
            b'{"data":{"ndarray":[[1],3]}}',
            "data.ndarray: expected rows of one length, found an array at [0] and a number at [1]",
        ),
        (
            b'{"data":{"tensor":{"shape":[2,2],"values":[1]}}}',
            "data.tensor.values: expected 4 values for shape [2, 2], found 1",
        ),
        (
            b'{"data":{"tensor":{"shape":[-1,2],"values":[1]}}}',
            "data.tensor.values: expected a multiple of 2 values for shape [-1, 2], found 1",
        ),
        (
            b'{"data":{"tensor":{"shape":[-1,-1],"values":[1]}}}',
            "data.tensor.values: expected a multiple of 1 values for shape [-1, -1], found 1",
        ),
        (b'{"data":{"tensor":{"shape":[9223372036854775807,9223372036854775807],"values":[1]}}}', None),
        (
            b'{"data":{"tensor":{"shape":[1.0],"values":[1]}}}',
            "data.tensor.shape[0]: expected a whole number from 0, found 1.0",
        ),
        (
            b'{"data":{"tensor":{"values":[1]}}}',
            "data.tensor.shape: expected an array of whole numbers, found nothing",
        ),
        (b'{"data":{"names":[1],"ndarray":[1]}}', "data.names[0]: expected a string, found a number"),
        (
            b'{"data":{"tftensor":{}}}',
            "data.tftensor: expected tensor or ndarray; TensorFlow's own tensors are not served here",
        ),
        (b'{"binData":"?"}', "binData: expected base64 text (RFC 4648, with padding), found something else"),
        (b'{"strData":5}', "strData: expected a string, found a number"),
        (b'{"strData":"a","meta":3}', "meta: expected an object, found a number"),
        (b'{"strData":"a","meta":{"tags":[]}}', "meta.tags: expected an object, found an array"),
        (b'{"customData":{}}', None),
        (
            b'{"data":{"ndarray":' + b"[" * 40 + b"]" * 40 + b"}}",
            "data.ndarray: expected at most 32 levels, found 40",
        ),
        (
            b'{"data":{"ndarray":' + b"[" * 90 + b"]" * 90 + b"}}",
            "data.ndarray: expected at most 32 levels, found more",
        ),
        (b'{"jsonData":' + b"[" * 90 + b"]" * 90 + b"}", "jsonData: expected at most 32 levels, found more"),
        (b'{"jsonData":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "Can't find JSON in data"),
        (b'{"data":{"ndarray":' + b"[" * 3000 + b"NaN" + b"]" * 3000 + b"}}", None),
    ],
)
def test_bad_input_is_told_what_was_expected_and_where(body, text):
    with pytest.raises(DecodeError) as caught:
        seldon.read(body)
    assert caught.value.status == 400
    if text is not None:
        assert str(caught.value) == text


def test_text_that_would_fill_the_memory_is_refused_before_it_does():
    body = json.dumps({"data": {"ndarray": [["x" * 100_000] + ["y"] * 5000]}}).encode()
    with pytest.raises(TooLarge, match="5001 elements of up to 100000 characters"):
        seldon.read(body)
    assert seldon.read(body, seldon.Bounds(max_bytes=1 << 40)).value.shape == (1, 5001)


def test_meta_of_an_aggregate_follows_the_order_of_its_messages():
    first, second = seldon.read_list(
        b'[{"strData":"a","meta":{"puid":"one","tags":{"a":1,"b":1},"metrics":[1],"requestPath":{"p":"q"}}},'
        b'{"strData":"b","meta":{"puid":"two","tags":{"b":2},"metrics":[2],"requestPath":{"r":"s"}}}]'
    )
    assert seldon.reply_meta(first, second, unit="c", image="i", tags=[{"who": "R"}], metrics=[[3]]) == {
        "puid": "one",
        "tags": {"a": 1, "b": 2, "who": "R"},
        "metrics": [1, 2, 3],
        "requestPath": {"c": "i", "p": "q", "r": "s"},
    }


def test_feedback_numbers_are_floats_and_missing_parts_are_empty():
    feedback = seldon.read_feedback(
        b'{"request":{"data":{"ndarray":[[1,2]]}},"response":{"meta":{"routing":{"clf":1}}},"reward":1}'
    )
    assert feedback.request.value.dtype == np.float64
    assert feedback.truth.value.shape == (0,)
    assert (feedback.reward, feedback.routing) == (1.0, {"clf": 1})


@pytest.mark.parametrize(
    "body", [b"[]", b'{"foo":1}', b'{"reward":"a"}', b'{"response":{"meta":{"routing":{"a":"b"}}}}']
)
def test_feedback_that_is_none_is_refused(body):
    with pytest.raises(DecodeError):
        seldon.read_feedback(body)


def test_errors_carry_a_reason_and_only_callers_errors_their_text():
    refused = seldon.render_error(UnknownRoute("there is nothing at '/x'"))
    assert refused.status == 404
    assert refused.body == (
        b'{"status":{"code":-1,"info":"there is nothing at \'/x\'","reason":"MICROSERVICE_BAD_DATA","status":1}}\n'
    )
    failed = seldon.render_error(ServiceError("secret"))
    assert failed.status == 500
    assert b"secret" not in failed.body
    assert b"MICROSERVICE_INTERNAL_ERROR" in failed.body
