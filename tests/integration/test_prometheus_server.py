"""Queries to a real Prometheus that scrapes itself."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from tiffin.local import prometheus

PROMETHEUS = shutil.which("prometheus")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if PROMETHEUS is None:
        pytest.skip("needs the program prometheus: apt-get install prometheus, or prometheus.io/download")
    home = tmp_path_factory.mktemp("prometheus")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (home / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\n"
        f"scrape_configs: [{{job_name: itself, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n"
    )
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                PROMETHEUS,
                f"--config.file={home}/prometheus.yml",
                f"--storage.tsdb.path={home}/data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while prometheus.query(address, 'sum(up{job="itself"})').value != 1.0:
            assert process.poll() is None, (home / "log").read_text()
            assert time.monotonic() < deadline, prometheus.query(address, "up").error
            time.sleep(0.1)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def test_numbers_and_reasons_of_a_real_server(server: str) -> None:
    assert prometheus.query(server, "vector(0.25)").value == 0.25
    assert prometheus.query(server, "2 + 1").value == 3.0
    assert prometheus.query(f"{server}/", 'up{job="itself"}').value == 1.0
    assert "no value" in prometheus.query(server, 'up{job="nobody"}').error
    assert "series" in prometheus.query(server, "prometheus_http_requests_total or up").error
    assert "refused" in prometheus.query(server, "sum(").error
    assert "matrix" in prometheus.query(server, "up[1m]").error
    assert prometheus.query(server, "0 / 0").value != prometheus.query(server, "0 / 0").value


def test_another_path_is_no_prometheus(server: str) -> None:
    assert "did not answer like Prometheus" in prometheus.query(f"{server}/nowhere", "up").error
