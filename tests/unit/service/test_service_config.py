import pytest

from tiffin.errors import ServiceError
from tiffin.service.config import Settings, read


def settings(**config) -> Settings:
    found, warnings = read(config, is_strict=True)
    assert warnings == ()
    return found


def test_nothing_written_gives_the_defaults():
    assert settings() == Settings(workers=1, threads=None, timeout_seconds=60.0, max_concurrency=None)


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        ({"resources": {"cpu": "2"}}, "cpu", 2.0),
        ({"resources": {"cpu": "100m"}}, "cpu", 0.1),
        ({"resources": {"cpu": 1.5}}, "cpu", 1.5),
        ({"resources": {"memory": 2}}, "memory_bytes", 2 * 2**30),
        ({"resources": {"memory": "512Mi"}}, "memory_bytes", 512 * 2**20),
        ({"resources": {"memory": "1"}}, "memory_bytes", 2**30),
        ({"resources": {"memory": "500M"}}, "memory_bytes", 500_000_000),
        ({"resources": {"gpu": 0.5}}, "gpu", 0.5),
        ({"workers": 4}, "workers", 4),
        ({"workers": "cpu_count"}, "workers", "cpu"),
        ({"threads": 8}, "threads", 8),
        ({"traffic": {"timeout": 30}}, "timeout_seconds", 30.0),
        ({"traffic": {"max_concurrency": 5}}, "max_concurrency", 5),
    ],
)
def test_an_option_is_honoured(config, field, value):
    assert getattr(settings(**config), field) == value


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"workers": 0}, "workers"),
        ({"workers": "many"}, "workers"),
        ({"workers": True}, "workers"),
        ({"threads": 0}, "threads"),
        ({"threads": 1.5}, "threads"),
        ({"traffic": {"timeout": "30"}}, "traffic.timeout"),
        ({"traffic": {"timeout": 0}}, "traffic.timeout"),
        ({"traffic": {"max_concurrency": -1}}, "traffic.max_concurrency"),
        ({"traffic": 30}, "traffic"),
        ({"resources": {"gpu": 0}}, "resources.gpu"),
        ({"resources": {"cpu": "two"}}, "resources.cpu"),
        ({"resources": {"memory": "2m"}}, "resources.memory"),
    ],
)
@pytest.mark.parametrize("is_strict", [True, False])
def test_a_wrong_value_is_refused_by_its_path(config, path, is_strict):
    with pytest.raises(ServiceError) as caught:
        read(config, is_strict=is_strict)
    assert str(caught.value).startswith(f"{path}: expected")


@pytest.mark.parametrize(
    ("config", "path", "near"),
    [
        ({"traffix": {}}, "traffix", "traffic"),
        ({"traffic": {"timeuot": 3}}, "traffic.timeuot", "timeout"),
        ({"resources": {"cpus": 3}}, "resources.cpus", "cpu"),
        ({"labelz": {}}, "labelz", "labels"),
    ],
)
def test_an_unknown_option_is_an_error_that_knows_better_or_a_warning(config, path, near):
    with pytest.raises(ServiceError) as caught:
        read(config, is_strict=True)
    assert str(caught.value).startswith(path)
    assert repr(near) in str(caught.value)
    _, warnings = read(config, is_strict=False)
    assert len(warnings) == 1
    assert warnings[0].startswith(path)


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"tracing": {"sample_rate": 1.0}}, "tracing"),
        ({"grpc": {"port": 3001}}, "grpc"),
        ({"traffic": {"external_queue": True}}, "traffic.external_queue"),
        ({"resources": {"gpu_type": "nvidia-l4"}}, "resources.gpu_type"),
    ],
)
def test_an_option_that_is_not_acted_on_is_a_warning(config, path):
    _, warnings = read(config, is_strict=True)
    assert [warning.partition(":")[0] for warning in warnings] == [path]
