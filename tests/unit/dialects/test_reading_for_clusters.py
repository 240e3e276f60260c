"""Every sample is read for a cluster, too: nothing is said of a machine, and nothing written in it can crash."""

import contextlib
import copy
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tiffin.dialects import convert, parse
from tiffin.errors import SpecError
from tiffin.spec import warnings_for

SAMPLES = Path(__file__).parent / "samples"
FILES = sorted(path.name for path in SAMPLES.glob("*.yaml") if path.name != "bentofile.yaml")
VALUES = {file: [one for one in yaml.safe_load_all((SAMPLES / file).read_text()) if one] for file in FILES}


def text_of(values):
    return json.dumps(values[0] if len(values) == 1 else {"apiVersion": "v1", "kind": "List", "items": values})


@pytest.mark.parametrize("file", FILES)
def test_what_is_said_for_a_cluster_is_true_of_one(file):
    for found in parse((SAMPLES / file).read_text(), file=file, target="kubernetes"):
        assert [one for one in found.warnings if "machine" in one.message] == []
        assert warnings_for(found.warnings, "kubernetes") == found.warnings


@pytest.mark.parametrize("file", FILES)
def test_what_is_read_for_no_target_says_what_each_of_them_is_told(file):
    read = {target: parse((SAMPLES / file).read_text(), file=file, target=target) for target in ("", "local")}
    for both, local in zip(read[""], read["local"], strict=True):
        assert set(local.warnings) <= set(both.warnings)


def paths(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths(inner, (*path, key))


def put(value, path, new):
    changed = copy.deepcopy(value)
    where = changed
    for key in path[:-1]:
        where = where[key]
    where[path[-1]] = new
    return changed


ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 70000)
    | st.sampled_from(["", "a", "{{", "{{.Name}}", "$(A)", "1Gi"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["name", "env", "x"]), inner),
    max_leaves=4,
)
PODS = [file for file in FILES if "full" in file or "runtimes" in file or "autoscaling" in file]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_nothing_that_is_written_crashes_whoever_reads_it_for_a_cluster(data):
    value = VALUES[data.draw(st.sampled_from(PODS))]
    path = data.draw(st.sampled_from([found for found in paths(value) if len(found) > 2]))
    changed = put(value, path, data.draw(ODD))
    with contextlib.suppress(SpecError):
        for found in parse(text_of(changed), target="kubernetes"):
            json.dumps([part.pod.spec for part in found.components])
    with contextlib.suppress(SpecError):
        for found in parse(text_of(changed), target=""):
            for to in ("kserve", "seldon", "tiffin"):
                convert(found, to)
