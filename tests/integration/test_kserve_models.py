"""Programs written with KServe's SDK in replicas of their own: real processes, real HTTP, a real peer to call.

Where the kserve package is installed, it is the one these run with; else Tiffin's own module of that name.
"""

import asyncio
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest

from tiffin.kits import waiting
from tiffin.spec import Component, ContainerSource, ReplicaSpec

PREDICTOR = """
import argparse, time
import numpy as np
import kserve
from kserve import InferRequest, Model, ModelServer, model_server
from kserve.errors import InvalidInput
from kserve.utils.utils import get_predict_input, get_predict_response

class Scale(Model):
    def __init__(self, name, factor):
        super().__init__(name)
        self.factor = factor

    def load(self):
        self.ready = True
        return self.ready

    def predict(self, payload, headers=None):
        rows = get_predict_input(payload)
        if isinstance(payload, dict):
            first = payload["instances"][0][0]
            if first == -1:
                raise InvalidInput("minus one")
            if first == -2:
                raise RuntimeError("secret")
            if first == -3:
                time.sleep(1.5)
            if first == -4:
                raise SystemExit(3)
        return get_predict_response(payload, rows * self.factor, self.name)

    async def explain(self, payload, headers=None):
        return {"explanations": [headers["x-request-id"]]}

    def get_input_types(self):
        return [{"name": "x", "datatype": "FP64", "shape": [-1, 2]}]

class Words(Model):
    def load(self):
        self.ready = True

    async def predict(self, payload, headers=None):
        async def words():
            for word in payload["instances"]:
                yield word + " "
        return words()

parser = argparse.ArgumentParser(parents=[model_server.parser])
parser.add_argument("--factor", type=float, default=1.0)
args, _ = parser.parse_known_args()

if __name__ == "__main__":
    models = [Scale(args.model_name, args.factor), Words("words")]
    for model in models:
        model.load()
    ModelServer().start(models)
"""

TRANSFORMER = """
import argparse
import kserve

class Double(kserve.Model):
    def __init__(self, name):
        super().__init__(name, return_response_headers=True)
        self.ready = True

    def preprocess(self, payload, headers=None):
        if isinstance(payload, kserve.InferRequest):
            return payload
        return {"instances": [[2 * x for x in row] for row in payload["instances"]]}

    async def predict(self, payload, headers=None, response_headers=None):
        return await super().predict(payload, headers, response_headers)

    async def postprocess(self, result, headers=None, response_headers=None):
        response_headers["x-by"] = "double"
        return result

parser = argparse.ArgumentParser(parents=[kserve.model_server.parser])
args, _ = parser.parse_known_args()

if __name__ == "__main__":
    kserve.ModelServer(workers=1).start([Double(args.model_name)])
"""

Start = Callable[..., httpx.Client]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a program in a replica; a client of it."""
    running: list[tuple[subprocess.Popen[bytes], httpx.Client, Path]] = []

    def begin(program: str, *arguments: str, **environment: str) -> httpx.Client:
        place = tmp_path / f"program{len(running)}"
        place.mkdir()
        (place / "model.py").write_text(program)
        source = ContainerSource(image="m:v1", command=("python", "-m", "model"), arguments=arguments)
        spec = ReplicaSpec(
            deployment="m",
            model_name="m",
            component=Component(source=source),
            path=str(place),
            ready_file=str(place / "ready"),
        )
        (place / "order.json").write_bytes(msgspec.json.encode(spec))
        with (place / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tiffin.runtime", "--replica", str(place / "order.json")],
                stdout=log,
                stderr=log,
                env={**os.environ, **environment},
            )

        async def address() -> str | None:
            assert process.poll() is None, (place / "log").read_text()
            ready = place / "ready"
            return json.loads(ready.read_bytes())["address"] if ready.exists() else None

        client = httpx.Client(verify=False, timeout=20)
        running.append((process, client, place / "log"))
        found = asyncio.run(waiting.until(address, seconds=40))
        assert found is not None, (place / "log").read_text()
        client.base_url = httpx.URL(found)
        return client

    try:
        yield begin
        for process, _, log in running:
            process.terminate()
            assert process.wait(20) == 0, log.read_text()
    finally:
        for process, client, _ in running:
            client.close()
            process.kill()
            process.wait()


def tensor(values: list[list[float]]) -> dict[str, Any]:
    array = np.array(values)
    return {"name": "x", "shape": list(array.shape), "datatype": "FP64", "data": array.ravel().tolist()}


def test_a_predictor_answers_v1_and_v2_as_kserve_does(start: Start) -> None:
    client = start(PREDICTOR, "--model_name=scale", "--factor", "3")
    predict = "/v1/models/scale:predict"
    assert client.post(predict, json={"instances": [[1, 2.5]]}).json() == {"predictions": [[3.0, 7.5]]}
    infer = client.post("/v2/models/scale/infer", json={"id": "a", "inputs": [tensor([[1, 2], [3, 4]])]})
    assert infer.content == (
        b'{"model_name":"scale","model_version":null,"id":"a","parameters":null,"outputs":[{"name":"output-0",'
        b'"shape":[2,2],"datatype":"FP64","parameters":null,"data":[3.0,6.0,9.0,12.0]}]}'
    )
    assert client.get("/v1/models/scale").json() == {"name": "scale", "ready": True}
    assert client.get("/v1/models").json() == {"models": ["scale", "words"]}
    assert client.get("/v2/models/scale").json()["inputs"][0]["name"] == "x"
    explained = client.post("/v1/models/scale:explain", json={"instances": []}, headers={"X-Request-Id": "r"})
    assert explained.json() == {"explanations": ["r"]}
    example = client.get("/tiffin/example").json()
    assert client.post(example["path"], json=example["body"]).status_code == 200
    assert 'request_predict_seconds_count{model_name="scale"}' in client.get("/metrics").text


def test_a_binary_call_is_answered_in_binary(start: Start) -> None:
    client = start(PREDICTOR, "--model_name=scale", "--factor", "2")
    rows = np.array([[1.0, 2.0]])
    asked = {"name": "x", "shape": [1, 2], "datatype": "FP64", "parameters": {"binary_data_size": 16}}
    text = json.dumps({"inputs": [asked], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))}
    reply = client.post("/v2/models/scale/infer", content=text + rows.tobytes(), headers=headers)
    length = int(reply.headers["inference-header-content-length"])
    assert np.frombuffer(reply.content[length:]).tolist() == [2.0, 4.0]
    assert json.loads(reply.content[:length])["outputs"][0]["parameters"] == {"binary_data_size": 16}


def test_errors_are_the_callers_the_authors_or_kserves_own(start: Start) -> None:
    client = start(PREDICTOR, "--model_name=scale")
    predict, infer = "/v1/models/scale:predict", "/v2/models/scale/infer"
    refused = client.post(predict, json={"instances": [[-1]]})
    assert (refused.status_code, refused.json()) == (400, {"error": "minus one"})
    failed = client.post(predict, json={"instances": [[-2]]})
    assert failed.status_code == 500
    assert "secret" not in failed.text
    assert client.post(predict, json={"instances": [[-4]]}).status_code == 500
    assert client.post(predict, json={"instances": 3}).json() == {"error": 'Expected "instances" to be a list'}
    assert client.post(predict, content=b"{").status_code == 400
    empty = client.post(predict, json={})
    assert (empty.status_code, empty.json()) == (400, {"error": 'Expected "instances" in the request'})
    for body in (
        {},
        {"inputs": 1},
        {"inputs": [1]},
        {"inputs": [{"name": "x"}]},
        {"inputs": [tensor([[1]]) | {"shape": [9]}]},
    ):
        assert client.post(infer, json=body).status_code == 400, body
    assert client.post(infer, content=b"{}", headers={"Inference-Header-Content-Length": "99"}).status_code == 400
    missing = client.post("/v1/models/other:predict", json={})
    assert (missing.status_code, missing.json()) == (404, {"error": "Model with name other does not exist."})
    assert client.post("/v2/models/scale/versions/1/infer", json={}).status_code == 501
    assert client.post(predict, json={"instances": [[1]]}).status_code == 200


def test_a_plain_predict_that_takes_long_holds_up_no_health(start: Start) -> None:
    client = start(PREDICTOR, "--model_name=scale")
    with httpx.Client(base_url=client.base_url, timeout=20) as other:
        slow = threading.Thread(target=lambda: other.post("/v1/models/scale:predict", json={"instances": [[-3]]}))
        slow.start()
        elapsed = [client.get("/readyz").elapsed.total_seconds() for _ in range(20)]
        assert slow.is_alive()
        slow.join()
    assert sorted(elapsed)[10] < 0.3


def test_an_async_iterator_is_streamed(start: Start) -> None:
    client = start(PREDICTOR)
    with client.stream("POST", "/v1/models/words:predict", json={"instances": ["a", "b"]}) as reply:
        assert reply.headers["transfer-encoding"] == "chunked"
        assert b"".join(reply.iter_raw()) == b"a b "


def test_a_cloud_event_is_answered_by_one(start: Start) -> None:
    client = start(PREDICTOR, "--model_name=scale")
    event = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "time": "2026-01-01T00:00:00Z"}
    whole = client.post(
        "/v1/models/scale:predict",
        content=json.dumps({**event, "data": {"instances": [[1]]}}),
        headers={"content-type": "application/cloudevents+json"},
    )
    assert whole.json()["data"] == {"predictions": [[1.0]]}
    assert whole.json()["type"] == "io.kserve.inference.response"
    headers = {f"ce-{name}": value for name, value in event.items()} | {"content-type": "application/json"}
    parts = client.post("/v1/models/scale:predict", json={"instances": [[1]]}, headers=headers)
    assert parts.json() == {"predictions": [[1.0]]}
    assert parts.headers["ce-source"] == "io.kserve.inference.scale"


class Peer(http.server.BaseHTTPRequestHandler):
    """A predictor that remembers what it was asked, and refuses some."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.seen.append((self.path, dict(self.headers), body, self.client_address))  # type: ignore[attr-defined]
        status = body.get("instances", [[200]])[0][0] if "instances" in body else 200
        answer = {"predictions": [1]} if status < 400 else {"error": "as it is"}
        if "inputs" in body:
            answer = {"model_name": "m", "outputs": [{**body["inputs"][0], "name": "y"}]}
        data = json.dumps(answer).encode()
        self.send_response(200 if status < 400 else status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        if status == 503:
            self.send_header("retry-after", "7")
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def peer() -> Iterator[Any]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Peer)
    server.seen = []  # type: ignore[attr-defined]
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_transformer_calls_its_predictor_and_passes_on_what_it_says(start: Start, peer: Any) -> None:
    host = f"127.0.0.1:{peer.server_port}/default/m/-/predictor"
    client = start(TRANSFORMER, "--model_name", "m", "--predictor_host", "$(PREDICTOR_HOST)", PREDICTOR_HOST=host)
    sent = {"X-Request-Id": "r", "traceparent": "00-a-b-01", "Authorization": "Bearer t", "X-Other": "no"}
    good = client.post("/v1/models/m:predict", json={"instances": [[100]]}, headers=sent)
    assert (good.status_code, good.json(), good.headers["x-by"]) == (200, {"predictions": [1]}, "double")
    path, headers, body, _ = peer.seen[-1]
    assert path == "/default/m/-/predictor/v1/models/m:predict"
    assert body == {"instances": [[200]]}
    lower = {name.lower(): value for name, value in headers.items()}
    assert (lower["x-request-id"], lower["traceparent"], lower["authorization"]) == ("r", "00-a-b-01", "Bearer t")
    assert "x-other" not in lower
    for half, status in ((202, 404), (211.5, 423), (251.5, 503)):
        bad = client.post("/v1/models/m:predict", json={"instances": [[half]]})
        assert (bad.status_code, bad.json()) == (status, {"error": "as it is"})
    assert bad.headers["retry-after"] == "7"
    for _ in range(5):
        client.post("/v1/models/m:predict", json={"instances": [[100]]})
    assert len({address for *_, address in peer.seen}) == 1, "its connection stays open"


def test_a_transformer_of_v2_sends_and_reads_tensors(start: Start, peer: Any) -> None:
    host = f"127.0.0.1:{peer.server_port}"
    client = start(TRANSFORMER, "--model_name=m", f"--predictor_host={host}", "--predictor_protocol=v2")
    reply = client.post("/v2/models/m/infer", json={"id": "q", "inputs": [tensor([[1, 2]])]})
    assert reply.json()["outputs"][0] == tensor([[1, 2]]) | {"name": "y", "parameters": None}
    path, _, body, _ = peer.seen[-1]
    assert (path, body["id"]) == ("/v2/models/m/infer", "q")


def test_a_predictor_that_is_not_there_is_503_and_no_secret(start: Start) -> None:
    client = start(TRANSFORMER, "--model_name=m", "--predictor_host=127.0.0.1:9")
    reply = client.post("/v1/models/m:predict", json={"instances": [[1]]})
    assert reply.status_code == 503
    assert "cannot be reached" in reply.json()["error"]
    alone = start(TRANSFORMER, "--model_name=m")
    assert alone.post("/v1/models/m:predict", json={"instances": [[1]]}).status_code == 501
