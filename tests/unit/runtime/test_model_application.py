"""A saved model behind its protocols, without sockets: requests are handed to its endpoints."""

import asyncio
import json

import numpy as np
import pytest

from tiffin.errors import DecodeError, MethodNotAllowed, PredictError, TiffinError, UnknownRoute
from tiffin.models.model import ModelInfo
from tiffin.protocol.head import Head
from tiffin.runtime.application import RouteTable
from tiffin.runtime.metrics import Metrics
from tiffin.runtime.model_application import ModelApplication
from tiffin.spec import Artefact, Component, ModelSource, ReplicaSpec
from tiffin.types import ANY, TensorSpec

ROW = {"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1.0, 2.0]}


class Sums:
    """A model of two columns whose answer is their sum; the number 13 is too much for it."""

    fork_safe = True
    batchable = True
    info = ModelInfo(
        format="sklearn",
        framework_version="9.9",
        artefact_version="9.8",
        estimator="Sums",
        file="sums.joblib",
        inputs=(TensorSpec("input-0", "FP64", (ANY, 2)),),
        outputs=(TensorSpec("output-0", "FP64", (ANY,)),),
        engine="arithmetic",
    )

    def conform(self, names, arrays):
        if arrays[0].ndim != 2 or arrays[0].shape[1] != 2:
            raise DecodeError("expected [?, 2]", at="inputs[0].shape")
        return (arrays[0].astype(np.float64),)

    def predict(self, arrays):
        if (arrays[0] == 13).any():
            raise PredictError("/home/secret: thirteen")
        return (arrays[0].sum(axis=1),)

    def example(self):
        return (np.zeros((1, 2)),)


class Asked:
    """An exchange that keeps its reply."""

    def __init__(self, path, body):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.head = Head("POST", path, b"", {}, len(data), True)
        self.body = data
        self.closed = False
        self.on_close = None
        self.answer = None

    def reply(self, reply):
        assert self.answer is None, "answered twice"
        self.answer = reply


def serve(*requests, protocol="open-inference", gone=(), output=""):
    """The replies to (method, path, body), asked at once of a loaded application."""
    source = ModelSource(artefact=Artefact("sums.joblib"), output=output)
    spec = ReplicaSpec(
        deployment="sums",
        model_name="sums",
        protocol=protocol,
        component=Component(source=source),
        path="/nowhere",
    )

    async def main():
        application = ModelApplication(spec, Sums())
        table = RouteTable(application.endpoints())
        application.use(Metrics(table.endpoints))
        application.load()
        await application.start()
        asked = []
        for method, path, body in requests:
            exchange = Asked(path, body)
            asked.append(exchange)
            try:
                table.find(method, path).handler(exchange)
            except TiffinError as error:
                exchange.reply(application.render_error(path, error))
        for index in gone:
            asked[index].closed = True
            asked[index].on_close()
        for _ in range(20):
            await asyncio.sleep(0)
        await application.stop()
        return [exchange.answer for exchange in asked]

    return asyncio.run(main())


@pytest.mark.parametrize(("output", "name"), [("", "output-0"), ("predict", "predict")])
def test_the_only_output_is_called_what_the_deployment_says(output, name):
    answer, facts = serve(
        ("POST", "/v2/models/sums/infer", {"inputs": [ROW]}), ("GET", "/v2/models/sums", b""), output=output
    )
    assert [each["name"] for each in json.loads(answer.body)["outputs"]] == [name]
    assert [each["name"] for each in json.loads(facts.body)["outputs"]] == [name]
    assert Sums.info.outputs[0].name == "output-0"


def test_the_three_protocols_give_the_same_answer():
    v2, v1, seldon = serve(
        ("POST", "/v2/models/sums/infer", {"inputs": [ROW]}),
        ("POST", "/v1/models/sums:predict", {"instances": [[1, 2]]}),
        ("POST", "/api/v1.0/predictions", {"data": {"ndarray": [[1, 2]]}}),
    )
    assert json.loads(v2.body)["outputs"][0]["data"] == [3.0]
    assert json.loads(v1.body) == {"predictions": [3.0]}
    assert json.loads(seldon.body)["data"] == {"names": [], "ndarray": [3.0]}
    assert json.loads(seldon.body)["meta"] == {"requestPath": {"sums": "sklearn:9.9"}}


def test_a_failing_row_fails_alone_and_its_reason_stays_in_the_log(caplog):
    bad = dict(ROW, data=[13.0, 0.0])
    replies = serve(*(("POST", "/v2/models/sums/infer", {"inputs": [row]}) for row in (ROW, bad, ROW)))
    assert [reply.status for reply in replies] == [200, 500, 200]
    assert b"secret" not in replies[1].body
    assert "thirteen" in caplog.text


def test_a_caller_that_has_gone_is_not_answered_and_hurts_nobody():
    request = ("POST", "/v2/models/sums/infer", {"inputs": [ROW]})
    replies = serve(request, request, request, gone=[1])
    assert replies[1] is None
    assert [replies[0].status, replies[2].status] == [200, 200]


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/v2/models/other/infer", 404, "Model with name other does not exist."),
        ("/v1/models/other:predict", 404, "Model with name other does not exist."),
        ("/v2/models/sums/versions/3/infer", 501, "versions"),
        ("/nothing", 404, "there is nothing at '/nothing'"),
    ],
)
def test_an_unknown_path_is_named_in_the_words_of_its_protocol(path, status, text):
    (reply,) = serve(("POST", path, {}))
    assert reply.status == status
    assert text in json.loads(reply.body)["error"]


def test_an_unknown_seldon_path_gets_a_seldon_error():
    (reply,) = serve(("POST", "/api/v1.0/nothing", {}))
    assert reply.status == 404
    assert json.loads(reply.body)["status"]["code"] == -1


@pytest.mark.parametrize(
    ("protocol", "path"),
    [
        ("open-inference", "/v2/models/sums/infer"),
        ("kserve-v1", "/v1/models/sums:predict"),
        ("seldon", "/api/v1.0/predictions"),
    ],
)
def test_the_example_is_a_request_that_is_answered(protocol, path):
    (shown,) = serve(("GET", "/tiffin/example", b""), protocol=protocol)
    example = json.loads(shown.body)
    assert example["path"] == path
    (reply,) = serve(("POST", example["path"], example["body"]), protocol=protocol)
    assert reply.status == 200


def test_small_questions_are_answered():
    replies = serve(
        *(
            ("GET", path, b"")
            for path in (
                "/",
                "/v1/models",
                "/v1/models/sums",
                "/v2",
                "/v2/health/live",
                "/v2/health/ready",
                "/v2/models",
                "/v2/models/sums",
                "/v2/models/sums/ready",
                "/tiffin/model",
            )
        )
    )
    bodies = [json.loads(reply.body) for reply in replies]
    assert bodies[0] == {"status": "alive"}
    assert bodies[1] == bodies[6] == {"models": ["sums"]}
    assert bodies[2] == bodies[8] == {"name": "sums", "ready": True}
    assert bodies[4] == {"live": True}
    assert bodies[5] == {"ready": True}
    assert bodies[7]["inputs"] == [{"name": "input-0", "datatype": "FP64", "shape": [-1, 2]}]
    assert (bodies[9]["estimator"], bodies[9]["predicts_in"]) == ("Sums", "the event loop")


def test_there_is_no_explainer():
    (reply,) = serve(("POST", "/v1/models/sums:explain", {"instances": []}))
    assert reply.status == 501


def test_routes_tell_unknown_paths_from_wrong_methods():
    source = ModelSource(artefact=Artefact("x"))
    spec = ReplicaSpec(deployment="sums", model_name="sums", component=Component(source=source), path="/nowhere")
    table = RouteTable(ModelApplication(spec, Sums()).endpoints())
    with pytest.raises(UnknownRoute):
        table.find("GET", "/v2/models/sums/infer/")
    with pytest.raises(MethodNotAllowed) as caught:
        table.find("DELETE", "/v2/models/sums/infer")
    assert caught.value.allow == ("POST",)
    assert table.find("HEAD", "/v2").template == "/v2"
