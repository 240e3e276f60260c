"""A watch is read line by line, however the network cuts it."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from tiffin.kube.client import whole_lines


@given(st.lists(st.binary(min_size=1).filter(lambda line: b"\n" not in line and line.strip())), st.data())
def test_lines_are_whole_wherever_they_are_cut(lines, data):
    text = b"".join(line + b"\n" for line in lines) + data.draw(st.sampled_from([b"", b"\n", b'{"cut off']))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    chunks = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]

    async def told():
        for chunk in chunks:
            yield chunk

    async def read():
        return [line async for line in whole_lines(told())]

    assert asyncio.run(read()) == lines
