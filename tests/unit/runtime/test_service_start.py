import pytest

from tiffin.runtime.service_start import OWN, may_decide, with_settings
from tiffin.service.config import read
from tiffin.spec import Artefact, Component, Listen, ReplicaSpec, ServiceSource


def order(**listen):
    source = ServiceSource(artefact=Artefact("."), target="service:Iris")
    return ReplicaSpec(
        deployment="d", model_name="d", component=Component(source=source), path=".", listen=Listen(**listen)
    )


def settings(**config):
    return read(config, is_strict=True)[0]


def test_what_the_command_line_left_open_is_the_services_own():
    found = with_settings(order(), settings(workers=3, http={"host": "0.0.0.0", "port": 4000}, backlog=9), OWN)
    assert (found.listen.host, found.listen.port, found.listen.backlog) == ("0.0.0.0", 4000, 9)
    assert found.component.workers == 3


def test_what_it_says_stays():
    found = with_settings(order(host="h", port=1), settings(workers=3, http={"host": "x", "port": 4000}), ())
    assert (found.listen.host, found.listen.port, found.component.workers) == ("h", 1, 1)


def test_without_a_port_anywhere_it_is_3000():
    assert with_settings(order(port=5), settings(), OWN).listen.port == 3000


def test_a_certificate_is_for_the_socket():
    tls = {"enabled": True, "certfile": "c.pem", "keyfile": "k.pem"}
    assert with_settings(order(), settings(ssl=tls), ()).listen.tls.certfile == "c.pem"
    assert with_settings(order(), settings(ssl={**tls, "enabled": False}), ()).listen.tls is None


@pytest.mark.parametrize(
    ("source", "environment", "expected"),
    [
        ("@service\nclass A: ...", {}, False),
        ("@t.service(traffic={'timeout': 3})\nclass A: ...", {}, False),
        ("@t.service(workers=2)\nclass A: ...", {}, True),
        ("@t.service(**options)\nclass A: ...", {}, True),
        ("@service\nclass A: ...", {"BENTOML_CONFIG_OPTIONS": "workers=2"}, True),
        ("class A(", {}, True),
        ("from other import A", {}, True),
        ("class A: ...", {}, False),
    ],
)
def test_a_service_is_imported_first_only_when_it_may_have_a_say(tmp_path, source, environment, expected):
    (tmp_path / "service.py").write_text(source)
    assert may_decide("service:A", tmp_path, environment) is expected
    assert may_decide("elsewhere:A", tmp_path, environment)
