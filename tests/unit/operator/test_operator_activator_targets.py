import pytest

from tiffin.kube import names
from tiffin.operator.activator.targets import Target, Targets, ready_of, target_of


def service(ports: list[str] | None = None, **said: str) -> dict:
    listed = [{"name": name, "port": 80} for name in ports] if ports else [{"port": 80}]
    return {
        "metadata": {"namespace": "models", "name": "iris-predictor", "annotations": said},
        "spec": {"ports": listed},
    }


def slice_of(name: str, endpoints: list[dict], port: int = 8080, **labels: str) -> dict:
    return {
        "metadata": {
            "namespace": "models",
            "name": name,
            "labels": {"kubernetes.io/service-name": "iris-predictor"} | labels,
        },
        "ports": [{"name": "http", "port": port}],
        "endpoints": endpoints,
    }


def test_a_service_says_all_that_is_needed() -> None:
    found = target_of(
        service(["http", "grpc"], **{names.PORT: "20004", names.ACTIVATION: "3", names.HOLD_SECONDS: "12.5"})
    )
    assert found == Target(
        namespace="models", name="iris-predictor", port=20004, ports=("http", "grpc"), scale=3, seconds=12.5
    )


@pytest.mark.parametrize("port", ["", "x", "-1", "0", "65535", "99999999999", "²"])
def test_a_port_that_is_none_is_passed_over(port: str) -> None:
    assert target_of(service(**{names.PORT: port})) is None


@pytest.mark.parametrize(("scale", "seconds"), [("0", "0"), ("x", "nan"), ("-2", "-1"), ("", "inf")])
def test_odd_settings_fall_back(scale: str, seconds: str) -> None:
    found = target_of(service(**{names.PORT: "20000", names.ACTIVATION: scale, names.HOLD_SECONDS: seconds}))
    assert found is not None
    assert (found.scale, found.seconds) == (1, None)


def test_ports_beyond_those_it_was_given_are_not_taken_from_a_neighbour() -> None:
    found = target_of(service([f"p{one}" for one in range(9)], **{names.PORT: "20000"}))
    assert found is not None
    assert len(found.ports) == names.ACTIVATOR_PORTS


def test_only_addresses_that_are_ready_count_each_once() -> None:
    found = ready_of(
        [
            slice_of(
                "a", [{"addresses": ["10.0.0.2"]}, {"addresses": ["10.0.0.3"], "conditions": {"ready": False}}]
            ),
            slice_of("b", [{"addresses": ["10.0.0.2"], "conditions": {"ready": True}}]),
            slice_of("c", [{"addresses": ["10.0.0.1"], "conditions": {}}], port=9000),
        ]
    )
    assert found == {"http": (("10.0.0.1", 9000), ("10.0.0.2", 8080))}
    assert ready_of([{"metadata": {}, "ports": None, "endpoints": None}]) == {}


def test_what_leads_to_the_activator_is_no_replica() -> None:
    book = Targets()
    own = slice_of("own", [{"addresses": ["10.0.0.9"]}], **{names.SLICE_MANAGER: "tiffin"})
    assert book.slice(own) is None
    assert book.ready("models/iris-predictor", "http") == ()


def test_only_what_changed_is_told() -> None:
    book = Targets()
    key = "models/iris-predictor"
    first = service(["http"], **{names.PORT: "20000"})
    assert book.service(first) == key
    assert book.service(first) is None
    pods = slice_of("a", [{"addresses": ["10.0.0.2"]}])
    assert book.slice(pods) == key
    assert book.slice(pods) is None
    assert book.ready(key, "http") == (("10.0.0.2", 8080),)
    assert book.no_slice(pods) == key
    assert book.no_slice(pods) is None
    assert book.ready(key, "http") == ()
    assert book.service(service(["http"])) == key
    assert book.get(key) is None
    assert book.service(service(["http"])) is None
    assert book.no_service("models", "iris-predictor") is None
