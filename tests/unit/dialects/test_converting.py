from pathlib import Path

import pytest

from tiffin.dialects import convert, parse, read
from tiffin.errors import SpecError

SAMPLES = Path(__file__).parent / "samples"
FILES = sorted(SAMPLES.glob("*.yaml"))


def outcome(call):
    """The result and nothing, or nothing and what it was refused with."""
    try:
        return call(), ""
    except SpecError as error:
        return None, error.message


@pytest.mark.parametrize("to", ["kserve", "seldon", "tiffin"])
@pytest.mark.parametrize("file", [pytest.param(path, id=path.name) for path in FILES])
def test_every_sample_becomes_a_file_that_can_be_read_or_says_why_not(file, to):
    for found in read(file):
        converted, refusal = outcome(lambda found=found: convert(found, to))
        if converted is None:
            assert refusal
            continue
        after, refusal = outcome(lambda text=converted.text: parse(text, base=str(SAMPLES)))
        if after is None:
            assert any(refusal in loss for loss in converted.losses), (refusal, converted.losses)
        else:
            assert [each.key for each in after] == [found.key]


@pytest.mark.parametrize(("file", "to"), [("kserve.yaml", "kserve"), ("tiffin_full.yaml", "tiffin")])
def test_what_is_converted_to_its_own_dialect_loses_nothing(file, to):
    (found,) = read(SAMPLES / file)
    assert convert(found, to).losses == ()


def test_yaml_is_written_in_the_order_people_write_it():
    (found,) = read(SAMPLES / "kserve.yaml")
    keys = [line.partition(":")[0] for line in convert(found, "kserve").text.splitlines() if line[0] != " "]
    assert keys == ["apiVersion", "kind", "metadata", "spec"]
