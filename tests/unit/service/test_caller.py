import time

import numpy as np
import pytest

import tiffin
from tiffin.codec import frame_values
from tiffin.service import caller
from tiffin.service.caller import Caller
from tiffin.service.remote import RemoteMethod, RemoteService


@tiffin.service
class Inner:
    @tiffin.api
    def double(self, x: np.ndarray, *, by: float = 2.0) -> np.ndarray: ...

    @tiffin.api
    def rest(self, *values: int, **more: int) -> int: ...

    @tiffin.api
    def told(self, x: int, ctx: tiffin.Context) -> int: ...


def request(method: str, *args: object, who: Caller | None = None, **kwargs: object) -> tuple[list[bytes], object]:
    """The lines of the head, and what the frame says."""
    remote = RemoteService(Inner, "http://10.0.0.1:80/base")
    made = RemoteMethod(remote, Inner.apis[method])._request(args, kwargs, who)
    head, _, body = b"".join(made).partition(b"\r\n\r\n")
    return head.split(b"\r\n"), frame_values.decode(body, lambda name, data: pytest.fail(name))


def test_a_call_passes_on_who_asked_and_how_long_they_wait():
    headers = {b"traceparent": b"00-1-2-01", b"x-request-id": b"7", b"authorization": b"Bearer t", b"cookie": b"c"}
    lines, _ = request("double", np.ones(1), who=Caller(headers, time.monotonic() + 30))
    assert lines[0] == b"POST /base/tiffin/call/double HTTP/1.1"
    assert b"traceparent: 00-1-2-01" in lines
    assert b"x-request-id: 7" in lines
    assert b"authorization: Bearer t" in lines
    assert b"x-request-timeout: 30" in lines
    assert not any(line.startswith(b"cookie") for line in lines)


def test_arguments_go_by_name_where_they_have_one():
    assert request("double", 1, by=3)[1] == [[], {"x": 1, "by": 3}]
    assert request("rest", 1, 2, a=3)[1] == [[1, 2], {"a": 3}]
    assert request("told", 1, ctx=object())[1] == [[], {"x": 1}]


@pytest.mark.parametrize(("args", "kwargs"), [((1, 2, 3), {}), ((1,), {"x": 1}), ((), {"y": 1})])
def test_arguments_that_no_method_would_take_are_type_errors(args, kwargs):
    with pytest.raises(TypeError, match=r"Inner\.double\(\)"):
        request("double", *args, **kwargs)


@pytest.mark.parametrize(("left", "said"), [(59.2, 60.0), (12.0, 12.0), (3.21, 3.3), (0.04, 0.1)])
def test_what_is_left_is_rounded_up_so_that_heads_stay_alike(monkeypatch, left: float, said: float):
    monkeypatch.setattr(caller.time, "monotonic", lambda: 100.0)
    assert caller.seconds_left(100.0 + left) == pytest.approx(said)


@pytest.mark.parametrize("text", [b"", b"x", b"-1", b"0", b"nan", b"inf"])
def test_a_timeout_that_is_none_is_none(text: bytes):
    assert caller.timeout_of({b"x-request-timeout": text}) is None
    assert caller.timeout_of({}) is None
    assert caller.timeout_of({b"x-request-timeout": b"1.5"}) == 1.5


def test_who_leaves_ends_what_is_under_way_and_what_begins_after():
    ended = []
    who = Caller({})
    with who.until_gone(lambda: ended.append("first")):
        who.leave()
    with who.until_gone(lambda: ended.append("second")):
        pass
    assert ended == ["first", "second"]
