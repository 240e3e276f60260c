import json

import pytest

import tiffin
from tiffin.errors import ServiceError
from tiffin.service import configuration


def made():
    @tiffin.service(traffic={"timeout": 7, "max_concurrency": 3})
    class Inner: ...

    @tiffin.service(workers=2)
    class Outer:
        inner = tiffin.depends(Inner)

    return Outer, Inner


def test_without_variables_the_decorator_stands():
    outer, inner = made()
    configuration.apply(outer, {})
    assert (outer.settings.workers, inner.settings.timeout_seconds) == (2, 7)


def test_each_source_goes_over_the_one_before(tmp_path):
    outer, inner = made()
    file = tmp_path / "options.yaml"
    file.write_text(
        "services:\n  threads: 5\n  Inner:\n    traffic: {timeout: 8}\n  Outer: {workers: 3, backlog: 64}\n"
    )
    configuration.apply(
        outer,
        {
            "BENTOML_CONFIG": str(file),
            "BENTOML_CONFIG_OVERRIDES": json.dumps({"services": {"Outer": {"workers": 4, "backlog": 65}}}),
            "BENTOML_CONFIG_OPTIONS": "services.Outer.backlog=66",
        },
    )
    assert (outer.settings.workers, outer.settings.backlog, outer.settings.threads) == (4, 66, 5)
    assert (inner.settings.timeout_seconds, inner.settings.max_concurrency, inner.settings.threads) == (8, 3, 5)


def test_tiffins_own_variables_stand_in_for_bentomls():
    outer, _ = made()
    configuration.apply(outer, {"TIFFIN_CONFIG_OPTIONS": "workers=5", "BENTOML_CONFIG_OPTIONS": "workers=6"})
    assert outer.settings.workers == 5


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"BENTOML_CONFIG": "/nowhere/options.yaml"}, "BENTOML_CONFIG: cannot read"),
        ({"BENTOML_CONFIG_OVERRIDES": "{"}, "BENTOML_CONFIG_OVERRIDES: expected JSON"),
        ({"BENTOML_CONFIG_OVERRIDES": "[]"}, "found list"),
        ({"BENTOML_CONFIG_OPTIONS": "workers"}, "found 'workers'"),
        ({"BENTOML_CONFIG_OPTIONS": "workers=0"}, "BENTOML_CONFIG_OPTIONS: workers"),
        ({"BENTOML_CONFIG_OVERRIDES": '{"services": {"Outr": {}}}'}, "'Outr' is neither"),
    ],
)
def test_what_cannot_be_read_names_its_variable(environment, said):
    outer, _ = made()
    with pytest.raises(ServiceError, match=said.replace("(", r"\(")):
        configuration.apply(outer, environment)


def test_a_saved_config_is_loaded_again(tmp_path, monkeypatch):
    monkeypatch.setenv("BENTOML_CONFIG_OPTIONS", "services.Outer.workers=6")
    configuration.save_config(tmp_path / "saved.yaml")
    monkeypatch.delenv("BENTOML_CONFIG_OPTIONS")
    monkeypatch.setenv("TIFFIN_CONFIG", "")
    configuration.load_config(tmp_path / "saved.yaml")
    outer, _ = made()
    configuration.apply(outer)
    assert outer.settings.workers == 6
