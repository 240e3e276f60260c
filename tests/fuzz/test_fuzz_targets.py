"""The fuzz targets without a fuzzer: the corpus replayed, and mutated by hypothesis for a moment."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HERE = Path(__file__).parent
TARGETS = sorted(file.stem.removeprefix("fuzz_") for file in HERE.glob("fuzz_*.py"))
TOKENS = [b'"inputs":', b'"data":', b"[", b"]", b"{", b"}", b'"', b",", b"0", b"-1", b"1e999", b"null", b"true"]
TOKENS += [
    b"\r\n",
    b"\n",
    b": ",
    b"\xff",
    b"\\ud800",
    b"\0",
    b"NaN",
    b"4294967296",
    b'"shape":[0,4611686018427387904]',
]


def corpus(target: str) -> list[Path]:
    return sorted(file for file in (HERE / "corpus" / target).iterdir())


@pytest.fixture(autouse=True)
def overflow_to_infinity_is_ignored(recwarn: pytest.WarningsRecorder) -> Iterator[None]:
    import warnings

    sys.path.insert(0, str(HERE))
    warnings.filterwarnings("error")
    warnings.filterwarnings("ignore", "(overflow|invalid value) encountered in cast", RuntimeWarning)
    yield
    sys.path.remove(str(HERE))


def load(target: str) -> Callable[[bytes], None]:
    run: Callable[[bytes], None] = importlib.import_module(f"fuzz_{target}").run
    return run


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus_has_no_findings(target: str) -> None:
    run = load(target)
    files = corpus(target)
    assert len(files) >= 5
    for file in files:
        run(file.read_bytes())


def mutate(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for place, length, text in edits:
        at = place % (len(data) + 1)
        data = data[:at] + text + data[at + length :]
    return data


EDITS = st.lists(
    st.tuples(st.integers(0, 4000), st.integers(0, 8), st.sampled_from(TOKENS) | st.binary(max_size=4)), max_size=5
)


@pytest.mark.parametrize("target", TARGETS)
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_nothing_near_the_corpus_is_a_finding(target: str, data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(corpus(target))).read_bytes()
    load(target)(mutate(seed, data.draw(EDITS)))
