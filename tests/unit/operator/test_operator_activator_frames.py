import itertools
import json

import h2.config
import h2.connection
import h2.events
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.operator.activator import answers, frames

FRAMES = st.lists(
    st.builds(
        frames.frame,
        st.sampled_from([frames.DATA, frames.HEADERS, frames.SETTINGS]),
        st.just(0),
        st.integers(0, 99),
        st.binary(max_size=40),
    ),
    max_size=5,
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(ends)]


@given(FRAMES, FRAMES, st.lists(st.integers(0, 500), max_size=12))
def test_exactly_the_first_acknowledgement_is_taken_out_however_bytes_come(
    before: list[bytes], after: list[bytes], places: list[int]
) -> None:
    ack = frames.acknowledgement()
    start, end = frames.PREFACE + b"".join(before), b"".join(after) + ack
    sieve = frames.AcknowledgementFilter()
    passed = b"".join(sieve.feed(part) for part in cut(start + ack + end, places))
    assert passed == start + end
    assert sieve.is_done


@given(FRAMES, st.lists(st.integers(0, 500), max_size=12))
def test_without_an_acknowledgement_all_passes(sent: list[bytes], places: list[int]) -> None:
    data = frames.PREFACE + b"".join(sent)
    sieve = frames.AcknowledgementFilter()
    assert b"".join(sieve.feed(part) for part in cut(data, places)) == data
    assert not sieve.is_done


def test_a_client_of_http2_reads_the_refusal() -> None:
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    client.initiate_connection()
    client.send_headers(1, [(":method", "POST"), (":scheme", "http"), (":path", "/x"), (":authority", "a")])
    message = "no replica was ready within 60 s" + " and more" * 30
    events = client.receive_data(frames.settings() + frames.unavailable(1, message, 5) + frames.farewell(1))
    heads = next(event for event in events if isinstance(event, h2.events.ResponseReceived))
    found = dict(heads.headers)
    assert found[b":status"] == b"503"
    assert found[b"grpc-status"] == b"14"
    assert found[b"retry-after"] == b"5"
    assert found[b"grpc-message"].decode() == message
    assert any(isinstance(event, h2.events.StreamEnded) for event in events)
    assert any(isinstance(event, h2.events.ConnectionTerminated) for event in events)


def test_the_heads_of_a_real_client_are_found() -> None:
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    client.initiate_connection()
    client.send_headers(1, [(":method", "POST"), (":scheme", "http"), (":path", "/x"), (":authority", "a")])
    client.send_data(1, b"x" * 1000, end_stream=True)
    found = [head for head, _ in frames.Walker().feed(client.data_to_send())]
    assert [(one.kind, one.stream) for one in found] == [
        (frames.SETTINGS, 0),
        (frames.HEADERS, 1),
        (frames.DATA, 1),
    ]


@pytest.mark.parametrize(
    ("first", "speech"),
    [
        (b"POST /v1/models/iris:predict HTTP/1.1\r\n", "http/1"),
        (b"GET / HTTP/1.0\r\n\r\n", "http/1"),
        (b"POS", "http/1"),
        (frames.PREFACE + b"\0\0\0\4", "http/2"),
        (b"PRI * HT", "http/2"),
        (b"\x16\x03\x01\x02", "other"),
        (b"", "other"),
        (b"hello there\n", "other"),
    ],
)
def test_first_bytes_tell_the_protocol(first: bytes, speech: str) -> None:
    assert answers.speech(first) == speech


@given(st.binary(max_size=60))
def test_no_first_bytes_crash_the_look(first: bytes) -> None:
    assert answers.speech(first) in ("http/1", "http/2", "other")


def test_a_refusal_is_json_with_a_time_to_come_again() -> None:
    head, _, body = answers.refusal('no "replica"', retry_after=7).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 7\r\n" in head
    assert f"content-length: {len(body)}".encode() in head
    assert json.loads(body) == {"error": 'no "replica"'}
