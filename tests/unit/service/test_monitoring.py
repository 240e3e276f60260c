import json

import numpy as np
import pytest

import tiffin
from tiffin.errors import ServiceError
from tiffin.service import monitoring
from tiffin.service.settings import MonitoringSettings


@pytest.fixture
def directory(tmp_path):
    monitoring.configure(MonitoringSettings(directory=str(tmp_path / "noted")))
    yield tmp_path / "noted"
    monitoring.configure(MonitoringSettings())


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_values_are_a_line_each_and_their_meaning_another_file(directory):
    for n in range(2):
        with tiffin.monitor("iris") as noted:
            noted.log(np.float32(n), name="width", role="feature", data_type="numerical")
            noted.log("setosa", name="kind", role="prediction", data_type="categorical")
    first, second = lines(directory / "iris/data/data.1.log")
    assert (first["width"], second["width"], first["kind"]) == (0.0, 1.0, "setosa")
    assert {"timestamp", "request_id", "trace_id"} <= first.keys()
    [schema] = lines(directory / "iris/schema/schema.1.log")
    assert schema["columns"][0] == {"name": "width", "role": "feature", "type": "numerical"}


def test_a_batch_is_a_line_for_each_row(directory):
    with tiffin.monitor("rows") as noted:
        noted.log_batch([1, 2, 3], name="x", role="feature", data_type="numerical")
        noted.log_batch(["a", "b", "c"], name="y", role="target", data_type="categorical")
    assert [(row["x"], row["y"]) for row in lines(directory / "rows/data/data.1.log")] == [
        (1, "a"),
        (2, "b"),
        (3, "c"),
    ]


def test_nothing_is_written_for_a_call_that_fails_or_notes_nothing(directory):
    with pytest.raises(ZeroDivisionError), tiffin.monitor("iris") as noted:
        noted.log(1 / 0, name="x", role="feature", data_type="numerical")
    with tiffin.monitor("iris"):
        pass
    assert not directory.exists()


def test_it_can_be_switched_off(tmp_path):
    monitoring.configure(MonitoringSettings(enabled=False, directory=str(tmp_path / "off")))
    with tiffin.monitor("iris") as noted:
        noted.log(1, name="x", role="feature", data_type="numerical")
    assert not (tmp_path / "off").exists()
    monitoring.configure(MonitoringSettings())


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "x", "role": "input", "data_type": "numerical"},
        {"name": "x", "role": "feature", "data_type": "number"},
    ],
)
def test_a_role_or_type_nobody_knows_is_refused(wrong):
    with pytest.raises(ServiceError, match="expected a"), tiffin.monitor("iris") as noted:
        noted.log(1, **wrong)


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden"])
def test_a_monitor_has_a_plain_name(name):
    with pytest.raises(ServiceError, match="plain name"), tiffin.monitor(name):
        pass


def test_columns_of_different_lengths_are_refused():
    noted = monitoring.Monitor()
    noted.log_batch([1, 2], name="x", role="feature", data_type="numerical")
    with pytest.raises(ServiceError, match="expected 2 values, found 1"):
        noted.log_batch([1], name="y", role="feature", data_type="numerical")
