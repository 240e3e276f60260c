"""Plain classes: loaded, made, and called as their signatures want it."""

import sys

import pytest

from tiffin.errors import PredictError, ServiceError
from tiffin.service.plain_class import NOT_WRITTEN, BadMetadata, PlainClass, Refusal, open_class
from tiffin.service.signatures import Caller


def told(*shown):
    """A method of a class made from the text of its parameters; it gives back what it was given."""
    parameters, body = shown
    scope = {}
    exec(f"class Model:\n    def predict(self{parameters}): return {body}", scope)
    return PlainClass(scope["Model"]).call("predict", X="X", names="N", meta="M").data


@pytest.mark.parametrize(
    ("parameters", "body", "given"),
    [
        (", X", "X", "X"),
        (", X, names", "X, names", ("X", "N")),
        (", X, features_names=None, meta=None", "X, features_names, meta", ("X", "N", "M")),
        (", X, names, meta", "X, names, meta", ("X", "N", "M")),
        (", rows, columns=None", "rows, columns", ("X", "N")),
        (", X, meta=None", "X, meta", ("X", "M")),
        (", X, *, meta", "X, meta", ("X", "M")),
        (", X, *, names=None", "X, names", ("X", "N")),
        (", X, *, features_names=None", "X, features_names", ("X", "N")),
        (", X, **kwargs", "X, kwargs", ("X", {"meta": "M"})),
        (", *args", "args", ("X", "N")),
        (", *args, **kwargs", "args, kwargs", (("X", "N"), {"meta": "M"})),
        (", X, names, meta=None, threshold=0.5", "X, names, meta, threshold", ("X", "N", "M", 0.5)),
        (", X, names, extra=5", "X, names, extra", ("X", "N", 5)),
        (", X, /, names=None, *, meta=None", "X, names, meta", ("X", "N", "M")),
        ("", "'none'", "none"),
    ],
)
def test_a_method_gets_what_its_signature_asks_for(parameters, body, given):
    assert told(parameters, body) == given


@pytest.mark.parametrize("parameters", [", X, names, other", ", X, *, other", ", X, names, meta, other"])
def test_a_parameter_nobody_fills_is_refused_before_the_first_call(parameters):
    with pytest.raises(ServiceError, match="found one more, 'other'"):
        told(parameters, "0")


def test_an_async_method_is_refused():
    async def predict(X):
        return X

    with pytest.raises(ServiceError, match="found an async one"):
        Caller(predict, ("X",))


def test_a_method_written_in_c_gets_all_positional_values():
    assert Caller(max, ("a", "b"))({"a": 1, "b": 2}) == 2


def test_static_and_class_methods_and_callables_are_methods():
    class Model:
        @staticmethod
        def predict(X):
            return X

        @classmethod
        def route(cls, X):
            return 1

    model = PlainClass(Model)
    assert model.call("predict", X=5, names=[], meta=None).data == 5
    assert model.call("route", X=5, names=[], meta=None).data == 1


def test_parameters_reach_the_constructor():
    class Model:
        def __init__(self, threshold, name="x"):
            self.given = (threshold, name)

    assert PlainClass(Model, {"threshold": 0.5}).instance.given == (0.5, "x")


@pytest.mark.parametrize("parameters", [{}, {"threshold": 1, "other": 2}])
def test_parameters_the_constructor_does_not_take_are_refused(parameters):
    class Model:
        def __init__(self, threshold):
            pass

    with pytest.raises(ServiceError, match=r"expected parameters \(threshold\)"):
        PlainClass(Model, parameters)


def test_what_the_constructor_or_load_raises_says_where():
    class Model:
        def load(self):
            raise AttributeError("a typo")

    with pytest.raises(
        ServiceError, match=r"test_plain_class.py:\d+: Model.load\(\) raised AttributeError: a typo"
    ):
        PlainClass(Model).load()


def test_an_exception_of_a_method_says_where():
    class Model:
        def predict(self, X):
            return 1 / 0

    with pytest.raises(PredictError, match=r"test_plain_class.py:\d+: Model.predict\(\) raised ZeroDivisionError"):
        PlainClass(Model).call("predict", X=1, names=[], meta=None)


@pytest.mark.parametrize("name", ["predict_rest", "custom_service", "model_error_handler"])
def test_what_is_not_called_is_warned_about(name):
    model = PlainClass(type("Model", (), {name: lambda self: None}))
    [warning] = model.warnings
    assert warning.startswith(f"Model.{name} is not called: ")


@pytest.mark.parametrize(
    "metadata",
    [[], {"name": 1}, {"versions": "1"}, {"versions": [1]}, {"inputs": [1]}, {"custom": []}, {"colour": "red"}],
)
def test_metadata_that_is_none_is_refused(metadata):
    with pytest.raises(BadMetadata):
        PlainClass(type("Model", (), {"init_metadata": lambda self: metadata})).metadata()


SOURCE = """
from seldon_core.user_model import SeldonComponent, SeldonNotImplementedError, SeldonResponse
from seldon_core.flask_utils import SeldonMicroserviceException
from seldon_core.metrics import create_counter, create_gauge, create_timer

class {name}(SeldonComponent):
    def __init__(self, threshold=1):
        super().__init__()
        self.threshold = threshold

    def predict(self, X, features_names=None, meta=None):
        if X == "bad":
            raise SeldonMicroserviceException("nope", status_code=403, reason="R")
        return SeldonResponse(self.threshold, tags={{"a": 1}}, metrics=[create_timer("t", 2.5)])

    def predict_raw(self, msg):
        raise SeldonNotImplementedError("not here")

    def metrics(self):
        return [create_counter("c", 1), create_gauge("g", 2.0, tags={{"x": "y"}})]
"""


@pytest.fixture
def imports():
    path, modules = sys.path[:], set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.partition(".")[0] in ("seldon_core", "IrisA", "lib_iris"):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("file", "target"), [("IrisA.py", "IrisA"), ("IrisA.py", "IrisA:IrisA"), ("lib_iris/m.py", "lib_iris.m.IrisA")]
)
def test_a_class_written_for_seldon_runs_without_seldon(tmp_path, imports, file, target):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(SOURCE.format(name="IrisA"))
    model = open_class(target, tmp_path, {"threshold": 7})
    model.load()
    assert model.raw("predict", {}) is NOT_WRITTEN
    assert not model.has("route")
    assert model.class_names() is None
    assert model.metadata() == {}
    outcome = model.call("predict", X="good", names=[], meta=None)
    assert outcome.data == 7
    assert outcome.tags == ({"a": 1},)
    assert outcome.metrics == (
        [
            {"key": "c", "type": "COUNTER", "value": 1},
            {"key": "g", "type": "GAUGE", "value": 2.0, "tags": {"x": "y"}},
        ],
        [{"key": "t", "type": "TIMER", "value": 2.5}],
    )
    with pytest.raises(Refusal) as caught:
        model.call("predict", X="bad", names=[], meta=None)
    assert (str(caught.value), caught.value.status, caught.value.reason) == ("nope", 403, "R")


def test_a_module_or_class_that_is_not_there_is_told(tmp_path, imports):
    (tmp_path / "IrisA.py").write_text("class Other: ...\n")
    with pytest.raises(ServiceError, match="IrisA"):
        open_class("IrisA", tmp_path)
    with pytest.raises(ServiceError, match="no module named"):
        open_class("Missing", tmp_path)
