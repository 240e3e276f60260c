import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.errors import DecodeError
from tiffin.protocol.deadlines import seconds_waited

NAMES = st.sampled_from([b"x-request-timeout", b"request-timeout", b"grpc-timeout"])


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({b"x-request-timeout": b"2.5"}, 2.5),
        ({b"x-request-timeout": b" 500ms "}, 0.5),
        ({b"request-timeout": b"3s"}, 3.0),
        ({b"grpc-timeout": b"100m"}, 0.1),
        ({b"grpc-timeout": b"2M"}, 120.0),
        ({b"x-request-timeout": b"1", b"grpc-timeout": b"9S"}, 1.0),
    ],
)
def test_a_callers_time_is_read(headers, seconds):
    assert seconds_waited(headers) == pytest.approx(seconds) if seconds else seconds_waited(headers) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x-request-timeout", b""), (b"x-request-timeout", b"0"), (b"x-request-timeout", b"-1"),
        (b"x-request-timeout", b"nan"), (b"x-request-timeout", b"inf"), (b"x-request-timeout", b"1m"),
        (b"request-timeout", b"soon"), (b"grpc-timeout", b"5"), (b"grpc-timeout", b"123456789S"),
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused_by_its_name(name, value):
    with pytest.raises(DecodeError, match="expected a time above 0 such as") as raised:
        seconds_waited({name: value})
    assert raised.value.at == name.decode()


@given(NAMES, st.binary(max_size=20))
def test_any_bytes_are_a_time_or_refused(name, value):
    try:
        assert seconds_waited({name: value}) > 0
    except DecodeError:
        return
