"""What Seldon's own wrapper (1.19.0) was seen to answer, and what it should have answered."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.errors import TiffinError
from tiffin.protocol import seldon
from tiffin.protocol.seldon import Bounds
from tiffin.runtime.class_verbs import ClassVerbs
from tiffin.service.plain_class import PlainClass

M = b'"meta":{"requestPath":{"clf":"img:1.0"}}'
NDARRAY = {"data": {"ndarray": [[1, 2]]}}
TENSOR = {"data": {"tensor": {"shape": [1, 2], "values": [1, 2]}}}


class SeldonMicroserviceException(Exception):
    """Known by its name: the real one, ours, or a copy."""

    def __init__(self, message, status_code=400, reason="MICROSERVICE_BAD_DATA"):
        super().__init__(message)
        self.message, self.status_code, self.reason = message, status_code, reason


class SeldonNotImplementedError(SeldonMicroserviceException):
    pass


class SeldonResponse:
    def __init__(self, data, tags=None, metrics=None):
        self.data, self.tags, self.metrics = data, tags or {}, metrics or []


def predicting(give):
    """A class whose predict gives a value, or what a function makes of its arguments."""

    class Model:
        def __init__(self):
            self.seen = []

        def predict(self, X, names, meta=None):
            self.seen.append((X, names, meta))
            return give

    return Model


def ask(made_of, verb="predict", document=NDARRAY, **parameters):
    served = made_of if isinstance(made_of, PlainClass) else PlainClass(made_of, parameters)
    verbs = ClassVerbs(served, "clf", "img:1.0", Bounds())
    try:
        method = getattr(verbs, verb)
        reply = method() if verb == "health_status" else method(document)
    except TiffinError as error:
        reply = seldon.render_error(error)
    return reply.status, reply.body


METRIC = {"key": "m", "type": "COUNTER", "value": 1}


@pytest.mark.parametrize(
    ("result", "document", "expected"),
    [
        (np.array([[0.1, 0.9]]), NDARRAY, b'{"data":{"names":["t:0","t:1"],"ndarray":[[0.1,0.9]]},%b}\n' % M),
        (
            np.array([[0.1, 0.9]]),
            TENSOR,
            b'{"data":{"names":["t:0","t:1"],"tensor":{"shape":[1,2],"values":[0.1,0.9]}},%b}\n' % M,
        ),
        (
            np.array([[0.1, 0.9]]),
            {"strData": "a"},
            b'{"data":{"names":["t:0","t:1"],"tensor":{"shape":[1,2],"values":[0.1,0.9]}},%b}\n' % M,
        ),
        ([1, 2], NDARRAY, b'{"data":{"names":[],"ndarray":[1,2]},%b}\n' % M),
        (np.array([[[1, 2]]]), NDARRAY, b'{"data":{"names":["t:0"],"ndarray":[[[1,2]]]},%b}\n' % M),
        ({"a": 1}, NDARRAY, b'{"jsonData":{"a":1},%b}\n' % M),
        ({"status": {"code": 418}}, NDARRAY, b'{"jsonData":{"status":{"code":418}},%b}\n' % M),
        ("é", NDARRAY, b'{%b,"strData":"\\u00e9"}\n' % M),
        (b"xy", NDARRAY, b'{"binData":"eHk=",%b}\n' % M),
        (
            SeldonResponse(np.array([[1]]), {"rt": 1}, [METRIC]),
            NDARRAY,
            b'{"data":{"names":["t:0"],"ndarray":[[1]]},"meta":{"metrics":[{"key":"m","type":"COUNTER","value":1}],'
            b'"requestPath":{"clf":"img:1.0"},"tags":{"rt":1}}}\n',
        ),
    ],
)
def test_a_result_is_answered_as_seldon_answers_it(result, document, expected):
    assert ask(predicting(result), document=document) == (200, expected)


@pytest.mark.parametrize("result", [None, 1.5])
def test_a_result_seldon_does_not_know_is_400(result):
    info = f"Unknown data type returned as payload (must be list or np array):{result}"
    expected = {"status": {"code": -1, "info": info, "reason": "MICROSERVICE_BAD_DATA", "status": 1}}
    status, body = ask(predicting(result))
    assert (status, json.loads(body)) == (400, expected)


@pytest.mark.parametrize(
    ("document", "dtype", "meta"),
    [
        (NDARRAY, np.int64, None),
        ({"data": {}}, np.float64, None),
        ({"data": {"ndarray": [["a", 1]]}, "meta": {"tags": {}}}, np.dtype("<U21"), {"tags": {}}),
    ],
)
def test_the_class_sees_array_names_and_meta(document, dtype, meta):
    served = PlainClass(predicting([]))
    ask(served, document=document)
    [(value, names, seen_meta)] = served.instance.seen
    assert (value.dtype, names, seen_meta) == (dtype, [], meta)


def test_tags_metrics_and_class_names_of_the_class_are_told():
    class Model:
        class_names = ["no", "yes"]

        def predict(self, X):
            return SeldonResponse(np.array([[1, 2]]), {"b": 3})

        def tags(self):
            return {"a": 2, "b": 2}

        def metrics(self):
            return [METRIC]

    document = {**NDARRAY, "meta": {"tags": {"a": 1, "c": 1}, "puid": "P", "routing": {"r": 1}}}
    status, body = ask(Model, document=document)
    assert status == 200
    assert json.loads(body) == {
        "data": {"names": ["no", "yes"], "ndarray": [[1, 2]]},
        "meta": {
            "puid": "P",
            "tags": {"a": 2, "b": 3, "c": 1},
            "metrics": [METRIC],
            "requestPath": {"clf": "img:1.0"},
        },
    }


def test_class_names_may_be_a_method():
    class Model:
        def predict(self, X):
            return X

        def class_names(self):
            return np.array(["a", "b"])

    assert b'"names":["a","b"]' in ask(Model)[1]


@pytest.mark.parametrize("metrics", [{}, [1], [{"key": "m"}], [{"key": "m", "type": "X", "value": 1}]])
def test_metrics_that_are_none_are_500_with_their_own_reason(metrics):
    model = predicting([1])
    model.metrics = lambda self: metrics
    status, body = ask(model)
    assert (status, json.loads(body)["status"]["reason"]) == (500, "MICROSERVICE_BAD_METRIC")


class Nothing:
    """No method at all."""


@pytest.mark.parametrize(
    ("verb", "document", "status", "body"),
    [
        ("predict", NDARRAY, 200, b'{"data":{"names":[],"ndarray":[]},%b}\n' % M),
        ("transform_input", NDARRAY, 200, b'{"data":{"names":["t:0","t:1"],"ndarray":[[1,2]]},%b}\n' % M),
        ("transform_output", {"strData": "s"}, 200, b'{%b,"strData":"s"}\n' % M),
        ("send_feedback", {"reward": 1}, 200, b'{"data":{"ndarray":[]},%b}\n' % M),
        ("health_status", None, 200, b'{%b,"strData":"healthy"}\n' % M),
        ("route", NDARRAY, 400, seldon.write_error("Route not defined", "MICROSERVICE_BAD_DATA")),
        ("aggregate", [NDARRAY], 400, seldon.write_error("Aggregate not defined", "MICROSERVICE_BAD_DATA")),
    ],
)
def test_a_method_that_is_not_written_has_a_default(verb, document, status, body):
    assert ask(Nothing, verb, document) == (status, body)


def test_an_exception_is_500_without_its_text_and_the_class_is_called_once():
    calls = []

    class Model:
        def predict(self, X, names, meta=None):
            calls.append(1)
            raise TypeError("secret")

    status, body = ask(Model)
    assert status == 500
    assert json.loads(body)["status"]["reason"] == "MICROSERVICE_INTERNAL_ERROR"
    assert b"secret" not in body
    assert calls == [1]


def test_a_class_may_choose_its_own_error():
    class Model:
        def predict(self, X):
            raise SeldonMicroserviceException("nope", status_code=403, reason="R")

    assert ask(Model) == (403, b'{"status":{"code":-1,"info":"nope","reason":"R","status":1}}\n')


def test_a_chosen_status_that_is_no_error_is_400():
    class Model:
        def predict(self, X):
            raise SeldonMicroserviceException("nope", status_code=200)

    assert ask(Model)[0] == 400


def test_sys_exit_in_a_method_is_an_error_like_any_other():
    class Model:
        def predict(self, X):
            raise SystemExit(3)

    assert ask(Model)[0] == 500


@pytest.mark.parametrize(
    ("give", "document", "status", "body"),
    [
        (1, TENSOR, 200, b'{"data":{"names":["t:0"],"tensor":{"shape":[1,1],"values":[1]}},%b}\n' % M),
        (1, NDARRAY, 200, b'{"data":{"names":["t:0"],"ndarray":[[1]]},%b}\n' % M),
        (True, NDARRAY, 200, b'{"data":{"names":["t:0"],"ndarray":[[true]]},%b}\n' % M),
        (SeldonResponse(2), NDARRAY, 200, b'{"data":{"names":["t:0"],"ndarray":[[2]]},%b}\n' % M),
        (
            np.int64(1),
            NDARRAY,
            400,
            seldon.write_error("Routing response must be int but got 1", "MICROSERVICE_BAD_DATA"),
        ),
    ],
)
def test_a_route_is_a_whole_number(give, document, status, body):
    class Router:
        def route(self, features, names):
            return give

    assert ask(Router, "route", document) == (status, body)


def test_a_route_leaves_the_callers_meta_behind_and_adds_its_own():
    class Router:
        def route(self, features, names):
            return 0

        def tags(self):
            return {"who": "R"}

    body = ask(Router, "route", {**NDARRAY, "meta": {"puid": "P", "tags": {"t": 1}, "requestPath": {"x": "y"}}})[1]
    assert json.loads(body)["meta"] == {"requestPath": {"clf": "img:1.0"}, "tags": {"who": "R"}}


@pytest.mark.parametrize("wrap", [lambda messages: messages, lambda messages: {"seldonMessages": messages}])
def test_aggregate_joins_messages_in_order(wrap):
    class Mean:
        def aggregate(self, features_list, names_list):
            assert names_list == [["a"], []]
            return np.mean(features_list, axis=0)

        def tags(self):
            return {"who": "R"}

    first = {
        "data": {"names": ["a"], "ndarray": [[1.0]]},
        "meta": {"puid": "P", "tags": {"a": 1, "b": 1}, "metrics": [1]},
    }
    second = {"data": {"ndarray": [[3.0]]}, "meta": {"puid": "Q", "tags": {"b": 2}, "metrics": [2]}}
    status, body = ask(Mean, "aggregate", wrap([first, second]))
    assert status == 200
    assert json.loads(body) == {
        "data": {"names": ["t:0"], "ndarray": [[2.0]]},
        "meta": {
            "puid": "P",
            "tags": {"a": 1, "b": 2, "who": "R"},
            "metrics": [1, 2],
            "requestPath": {"clf": "img:1.0"},
        },
    }


@pytest.mark.parametrize(
    ("document", "routing", "reward"),
    [
        ({"request": NDARRAY, "response": {"meta": {"routing": {"clf": 1}}}, "reward": 1}, 1, 1.0),
        ({"request": NDARRAY}, None, 0.0),
    ],
)
def test_feedback_reaches_the_class_as_floats(document, routing, reward):
    seen = []

    class Bandit:
        def send_feedback(self, features, names, reward, truth, routing=None):
            seen.append((features, names, reward, truth, routing))

    assert ask(Bandit, "send_feedback", document) == (200, b'{"data":{"ndarray":[]},%b}\n' % M)
    [(features, names, got_reward, truth, got_routing)] = seen
    assert (features.tolist(), features.dtype, names) == ([[1.0, 2.0]], np.float64, [])
    assert (got_reward, got_routing, truth.shape) == (reward, routing, (0,))


def test_a_raw_method_gets_the_whole_message_and_says_the_status():
    class Raw:
        def predict_raw(self, msg):
            return {"got": msg, "status": {"code": 418}}

        def predict(self, X):
            raise AssertionError("raw comes first")

    status, body = ask(Raw, document={"anything": 1})
    assert (status, body) == (418, b'{"got":{"anything":1},"status":{"code":418}}\n')


def test_a_raw_method_may_pass():
    class Raw:
        def predict_raw(self, msg):
            raise SeldonNotImplementedError("not here")

        def predict(self, X):
            return X

    assert ask(Raw)[0] == 200


@pytest.mark.parametrize("raw", ["text", None, {"a": object()}, {1: 1, "a": 1}])
def test_a_raw_result_that_is_no_message_is_the_authors_mistake(raw):
    model = type("Raw", (), {"predict_raw": lambda self, msg: raw})
    assert ask(model)[0] == 500


def test_health_status_is_the_classes_own():
    class Model:
        def health_status(self):
            return {"gpu": "ok"}

    assert ask(Model, "health_status") == (200, b'{"jsonData":{"gpu":"ok"},%b}\n' % M)


FIELDS = (
    *("data", "ndarray", "tensor", "shape", "values", "names", "meta", "tags", "metrics", "requestPath"),
    *("puid", "strData", "binData", "jsonData", "reward", "request", "response", "truth", "routing"),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=3),
    max_leaves=10,
)
VALID = st.fixed_dictionaries(
    {
        "data": st.fixed_dictionaries({"ndarray": st.lists(JSON, max_size=3)})
        | st.fixed_dictionaries({"tensor": JSON})
    },
    optional={"meta": JSON},
)


@given(
    st.sampled_from(["predict", "transform_input", "transform_output", "route", "aggregate", "send_feedback"]),
    JSON | VALID | st.lists(VALID, max_size=2),
)
def test_whatever_the_document_the_answer_is_no_server_error(verb, document):
    document = seldon.parse(json.dumps(document).encode())
    status, body = ask(Nothing, verb, document)
    assert status in (200, 400)
    json.loads(body)
