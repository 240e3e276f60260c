"""A plain class behind its endpoints, with exchanges in memory."""

import asyncio
import json
import sys
import threading

import msgspec
import orjson
import pytest
from prometheus_client import REGISTRY, generate_latest

from tiffin.bundle import BundleStore
from tiffin.errors import ServiceError, TiffinError
from tiffin.protocol.head import Head
from tiffin.runtime.application import RouteTable
from tiffin.runtime.class_application import ClassApplication
from tiffin.spec import Artefact, ClassSource, Component, Parameter, ReplicaSpec

TEXT = b'{"data":{"ndarray":[[1,2]]}}'
IRIS = """
class IrisC:
    def __init__(self, add=0):
        self.add = add

    def predict(self, X, names, meta=None):
        return X + self.add
"""


class Exchange:
    """One request whose reply is a future."""

    def __init__(self, method, path, body=b"", query=b"", **headers):
        found = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
        if body:
            found.setdefault(b"content-type", b"application/json")
        self.head = Head(method, path, query, found, len(body), True, False)
        self.body = body
        self.closed = False
        self.on_close = None
        self.answer = asyncio.get_running_loop().create_future()

    def reply(self, reply):
        self.answer.set_result(reply)


def spec(directory, *, target="IrisC", threads=None, parameters=(), protocol="seldon"):
    source = ClassSource(
        artefact=Artefact(str(directory)), target=target, unit="clf", image="img:1.0", parameters=parameters
    )
    component = Component(source=source, threads=threads)
    return ReplicaSpec(
        deployment="iris", model_name="iris", component=component, path=str(directory), protocol=protocol
    )


class Running:
    """An application and its route table, on this loop."""

    def __init__(self, application):
        self.application = application
        self.table = RouteTable(application.endpoints())

    def begin(self, method, path, body=b"", query=b"", **headers):
        exchange = Exchange(method, path, body, query, **headers)
        try:
            self.table.find(method, path).handler(exchange)
        except TiffinError as error:
            exchange.reply(self.application.render_error(path, error))
        return exchange.answer

    async def ask(self, *args, **kwargs):
        return await asyncio.wait_for(self.begin(*args, **kwargs), 10)


def serving(replica, talk):
    """Load, start, have ``talk(running)`` await what it likes, stop."""

    async def life():
        application = ClassApplication(replica)
        await asyncio.to_thread(application.load)
        await application.start()
        try:
            return await talk(Running(application))
        finally:
            await application.stop()

    return asyncio.run(life())


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # Loading changes it; this brings it back.
    path, modules, byte_code = sys.path[:], set(sys.modules), sys.dont_write_bytecode

    def write(text=IRIS, name="IrisC"):
        (tmp_path / "src").mkdir(exist_ok=True)
        (tmp_path / "src" / f"{name}.py").write_text(text)
        return tmp_path / "src"

    yield write
    sys.path[:], sys.dont_write_bytecode = path, byte_code
    for name in set(sys.modules) - modules:
        if name == "IrisC":
            del sys.modules[name]


def one(replica, *args, **kwargs):
    return serving(replica, lambda running: running.ask(*args, **kwargs))


@pytest.mark.parametrize("path", ["/predict", "/api/v1.0/predictions", "/api/v0.1/predictions"])
@pytest.mark.parametrize("way", ["json", "query", "form"])
def test_a_prediction_is_answered_at_every_path_in_every_way(write, path, way):
    quoted = b"json=%7B%22data%22%3A%7B%22ndarray%22%3A%5B%5B1%2C2%5D%5D%7D%7D"
    form = {"content_type": "application/x-www-form-urlencoded"}
    call = {"json": ("POST", path, TEXT), "query": ("GET", path, b"", quoted), "form": ("POST", path, quoted)}[way]
    reply = one(spec(write(), parameters=(Parameter("add", 1),)), *call, **(form if way == "form" else {}))
    assert (reply.status, reply.content_type) == (200, b"application/json")
    assert reply.body == (
        b'{"data":{"names":["t:0","t:1"],"ndarray":[[2,3]]},"meta":{"requestPath":{"clf":"img:1.0"}}}\n'
    )


def test_a_call_id_is_echoed_or_made(write):
    async def talk(running):
        return await running.ask("POST", "/predict", TEXT, seldon_puid="mine"), await running.ask(
            "POST", "/predict", b"{"
        )

    named, made = serving(spec(write()), talk)
    assert named.headers == ((b"seldon-puid", b"mine"),)
    assert made.status == 400
    assert len(dict(made.headers)[b"seldon-puid"]) == 36


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/predict", b"{", 400),
        ("POST", "/predict", b"", 400),
        ("GET", "/predict", b"", 400),
        ("POST", "/nope", b"", 404),
        ("DELETE", "/predict", b"", 405),
        ("POST", "/aggregate", b"{}", 400),
        ("POST", "/route", TEXT, 400),
        ("POST", "/v2/models/other/infer", b"{}", 404),
        ("POST", "/v2/models/iris/infer", b"{}", 400),
    ],
)
def test_a_bad_call_is_the_callers_in_the_style_of_its_protocol(write, method, path, body, status):
    reply = one(spec(write()), method, path, body)
    assert reply.status == status
    assert ("error" if path.startswith("/v2") else "status") in json.loads(reply.body)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/health/ping", b"pong"),
        ("/health/status", b'{"meta":{"requestPath":{"clf":"img:1.0"}},"strData":"healthy"}\n'),
        ("/api/v1.0/health/status", b'{"meta":{"requestPath":{"clf":"img:1.0"}},"strData":"healthy"}\n'),
        ("/metadata", b'{"custom":{},"inputs":[],"name":"img","outputs":[],"platform":"","versions":["1.0"]}\n'),
        (
            "/api/v1.0/metadata/clf",
            b'{"custom":{},"inputs":[],"name":"img","outputs":[],"platform":"","versions":["1.0"]}\n',
        ),
        (
            "/api/v1.0/metadata",
            b'{"graphinputs":[],"graphoutputs":[],"models":{"clf":{"custom":{},"inputs":[],"name":"img",'
            b'"outputs":[],"platform":"","versions":["1.0"]}},"name":"iris"}\n',
        ),
        ("/live", b"live\n"),
        ("/ready", b"ready\n"),
        ("/v2/health/live", b'{"live":true}'),
        ("/v2/health/ready", b'{"ready":true}'),
        ("/v2/models/iris/ready", b'{"name":"iris","ready":true}'),
    ],
)
def test_small_questions_are_answered(write, path, body):
    reply = one(spec(write()), "GET", path)
    assert (reply.status, reply.body) == (200, body)


def test_nothing_is_ready_before_it_is_loaded(write):
    async def talk():
        running = Running(ClassApplication(spec(write())))
        return [
            (await running.ask("GET", p)).status for p in ("/ready", "/v2/health/ready", "/v2/models/iris/ready")
        ]

    assert asyncio.run(talk()) == [503, 503, 503]


def test_metadata_is_the_classes_then_the_environments(write, monkeypatch):
    text = IRIS + "    def init_metadata(self):\n        return {'name': 'mine', 'platform': 'p'}\n"
    monkeypatch.setenv("MODEL_METADATA", "platform: sklearn\ncustom: {a: b}")
    shown = json.loads(one(spec(write(text)), "GET", "/metadata").body)
    assert (shown["name"], shown["platform"], shown["custom"]) == ("mine", "sklearn", {"a": "b"})


def test_metadata_that_is_none_is_500_and_the_class_is_served_all_the_same(write):
    text = IRIS + "    def init_metadata(self):\n        return 5\n"

    async def talk(running):
        return await running.ask("GET", "/metadata"), await running.ask("POST", "/predict", TEXT)

    metadata, prediction = serving(spec(write(text)), talk)
    assert (metadata.status, json.loads(metadata.body)["status"]["reason"]) == (500, "MICROSERVICE_BAD_METADATA")
    assert prediction.status == 200


@pytest.mark.parametrize(
    ("more", "files", "body"),
    [
        ("    example = [[1, 2]]\n", {}, {"data": {"ndarray": [[1, 2]]}}),
        ("    example = {'data': {'ndarray': [[3]]}}\n", {}, {"data": {"ndarray": [[3]]}}),
        ("    def example(self): return [[1]]\n", {}, {"data": {"ndarray": [[1]]}}),
        (
            "    def init_metadata(self):\n"
            "        schema = {'names': ['a', 'b'], 'shape': [-1, 2]}\n"
            "        return {'inputs': [{'messagetype': 'tensor', 'schema': schema}]}\n",
            {},
            {"data": {"names": ["a", "b"], "ndarray": [[0.0, 0.0]]}},
        ),
        (
            "",
            {
                "contract.json": {
                    "features": [
                        {"name": "x", "dtype": "FLOAT", "ftype": "continuous", "range": [4, 8]},
                        {"name": "n", "dtype": "INT", "ftype": "continuous", "range": [0, "inf"], "repeat": 2},
                    ]
                }
            },
            {"data": {"names": ["x", "n1", "n2"], "ndarray": [[6.0, 0, 0]]}},
        ),
    ],
)
def test_an_example_is_shown_when_it_is_known(write, more, files, body):
    directory = write(IRIS + more)
    for name, content in files.items():
        (directory / name).write_text(json.dumps(content))
    reply = one(spec(directory), "GET", "/tiffin/example")
    assert json.loads(reply.body) == {
        "path": "/api/v1.0/predictions",
        "headers": {"content-type": "application/json"},
        "body": body,
    }


@pytest.mark.parametrize(
    "more", ["", "    example = [['text']]\n", "    example = object()\n", "    example = [{1}]\n"]
)
def test_an_example_is_not_guessed_nor_shown_when_it_fails(write, more):
    reply = one(spec(write(IRIS + more), parameters=(Parameter("add", 1),)), "GET", "/tiffin/example")
    assert reply.status == 404


def test_v2_reaches_the_same_class(write):
    body = orjson.dumps(
        {"id": "7", "inputs": [{"name": "x", "shape": [1, 2], "datatype": "INT64", "data": [1, 2]}]}
    )
    reply = one(spec(write()), "POST", "/v2/models/iris/infer", body)
    assert reply.status == 200
    assert json.loads(reply.body) == {
        "model_name": "iris",
        "model_version": None,
        "id": "7",
        "parameters": None,
        "outputs": [{"name": "predict", "shape": [1, 2], "datatype": "INT64", "parameters": None, "data": [1, 2]}],
    }


def test_v2_columns_become_one_array_with_their_names(write):
    text = "class IrisC:\n    def predict(self, X, names):\n        return [f'{X.tolist()} {names}']\n"
    columns = [{"name": n, "shape": [2, 1], "datatype": "BYTES", "data": [n, n * 2]} for n in "ab"]
    reply = one(spec(write(text)), "POST", "/v2/models/iris/infer", orjson.dumps({"inputs": columns}))
    [output] = json.loads(reply.body)["outputs"]
    assert output["data"] == ["[['a', 'b'], ['aa', 'bb']] ['a', 'b']"]


def test_v2_inputs_that_are_no_columns_are_refused(write):
    inputs = [{"name": n, "shape": [1, 2], "datatype": "FP64", "data": [1, 2]} for n in "ab"]
    reply = one(spec(write()), "POST", "/v2/models/iris/infer", orjson.dumps({"inputs": inputs}))
    assert (reply.status, "columns of one length" in json.loads(reply.body)["error"]) == (400, True)


HELD = """
import threading

class IrisC:
    def __init__(self):
        self.entered = threading.Semaphore(0)
        self.release = threading.Event()
        self.inside = 0
        self.most = 0

    def predict(self, X):
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.entered.release()
        self.release.wait(10)
        self.inside -= 1
        return [threading.current_thread().name]
"""


@pytest.mark.parametrize(("threads", "most"), [(None, 1), (2, 2)])
def test_health_answers_while_predict_is_busy_and_threads_bound_it(write, threads, most):
    async def talk(running):
        instance = running.application._verbs.served.instance
        calls = [running.begin("POST", "/predict", TEXT) for _ in range(3)]
        for _ in range(most):
            await asyncio.to_thread(instance.entered.acquire, timeout=10)
        health = [(await running.ask("GET", path)).status for path in ("/health/ping", "/health/status", "/ready")]
        assert not any(call.done() for call in calls)
        instance.release.set()
        replies = await asyncio.wait_for(asyncio.gather(*calls), 10)
        return health, [reply.status for reply in replies], instance.most

    assert serving(spec(write(HELD), threads=threads), talk) == ([200] * 3, [200] * 3, most)


def test_a_call_whose_caller_left_does_not_reach_the_class(write):
    async def talk(running):
        instance = running.application._verbs.served.instance
        first = running.begin("POST", "/predict", TEXT)
        await asyncio.to_thread(instance.entered.acquire, timeout=10)
        gone = Exchange("POST", "/predict", TEXT)
        running.table.find("POST", "/predict").handler(gone)
        gone.closed = True
        gone.on_close()
        last = running.begin("POST", "/predict", TEXT)
        instance.release.set()
        await asyncio.wait_for(asyncio.gather(first, last), 10)
        return (
            gone.answer.done(),
            instance.entered.acquire(blocking=False),
            instance.entered.acquire(blocking=False),
        )

    assert serving(spec(write(HELD)), talk) == (False, True, False)


def test_calls_over_the_limit_are_told_to_come_back(write):
    replica = spec(write(HELD))
    replica = msgspec.structs.replace(
        replica, component=msgspec.structs.replace(replica.component, max_concurrency=4, workers=2)
    )

    async def talk(running):
        instance = running.application._verbs.served.instance
        calls = [running.begin("POST", "/predict", TEXT) for _ in range(3)]
        refused = await asyncio.wait_for(calls.pop(), 10)
        instance.release.set()
        await asyncio.wait_for(asyncio.gather(*calls), 10)
        return refused.status, (await running.ask("POST", "/predict", TEXT)).status

    assert serving(replica, talk) == (429, 200)


def test_metrics_of_the_class_are_on_the_page_while_it_is_served(write):
    text = IRIS + "    def metrics(self):\n        return [{'type': 'COUNTER', 'key': 'seen', 'value': 2}]\n"
    text += "    example = [[1, 2]]  # What warms the class up is no call.\n"

    async def talk(running):
        await running.ask("POST", "/predict", TEXT)
        await running.ask("POST", "/predict", TEXT)
        return generate_latest(REGISTRY).decode()

    page = serving(spec(write(text)), talk)
    labels = 'deployment_name="iris",method="predict",model_image="img",model_name="clf",model_version="1.0"'
    assert f"seen_total{{{labels}}} 4.0" in page
    assert "seen_total" not in generate_latest(REGISTRY).decode()


def test_a_bundle_says_its_class_and_stays_as_it_was_built(write, tmp_path):
    store = BundleStore(tmp_path / "bundles")
    bundle = store.build(write(), tag="iris-image:v0.1")
    reply = one(spec(bundle.path, target=""), "POST", "/predict", TEXT)
    assert reply.status == 200
    assert not (bundle.source / "__pycache__").exists()
    assert store.get("iris-image:v0.1").digest == bundle.digest


def test_a_class_opens_the_files_beside_it_by_their_names(write):
    directory = write("class IrisC:\n    def __init__(self):\n        open('model.txt').close()\n")
    (directory / "model.txt").write_text("weights")
    assert serving(spec(directory), lambda running: running.ask("POST", "/predict", TEXT)).status == 200


def test_a_directory_without_a_target_is_refused(tmp_path):
    with pytest.raises(ServiceError, match="expected module:Class or a bundle"):
        ClassApplication(spec(tmp_path, target="")).load()


def test_threads_end_with_the_application(write):
    before = threading.active_count()
    one(spec(write()), "POST", "/predict", TEXT)
    for thread in threading.enumerate():
        if thread.name.startswith(("predict-", "health-")):
            thread.join(10)
    assert threading.active_count() <= before
