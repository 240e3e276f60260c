import importlib
import importlib.util
import sys
from http import HTTPStatus

import pytest

from tiffin.errors import ServiceError
from tiffin.service import exceptions
from tiffin.service.compat import adapt
from tiffin.service.compat.module import install
from tiffin.service.exceptions import BentoMLException, status_of

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("bentoml") is not None and "bentoml" not in sys.modules, reason="bentoml is installed"
)


@pytest.fixture
def bentoml():
    remove = install()
    yield importlib.import_module("bentoml")
    remove()
    assert "bentoml" not in sys.modules


@pytest.mark.parametrize(
    "name",
    [
        "service", "api", "depends", "on_startup", "on_shutdown", "on_deployment", "Context", "Cookie", "Field",
        "importing", "get_current_service", "server_context", "Service", "IODescriptor", "load", "validators",
        "exceptions", "models", "images", "sklearn", "task", "asgi_app", "monitor", "SyncHTTPClient", "gradio",
    ],
)  # fmt: skip
def test_a_name_of_bentoml_is_there(bentoml, name):
    assert getattr(bentoml, name) is not None


@pytest.mark.parametrize(
    "line",
    [
        "from bentoml.validators import Shape, DType, ContentType, DataframeSchema",
        "from bentoml.exceptions import InvalidArgument, BentoMLException",
        "from bentoml.models import BentoModel, HuggingFaceModel",
        "from bentoml.images import Image",
        "import bentoml.sklearn",
        "from bentoml.client import SyncHTTPClient",
        "from bentoml import Field",
    ],
)
def test_an_import_of_bentoml_works(bentoml, line):
    exec(line, {})


@pytest.mark.parametrize(
    "line", ["import bentoml.nonsense", "from bentoml import nonsense", "from bentoml.images import X"]
)
def test_an_import_of_what_is_not_there_fails_as_always(bentoml, line):
    with pytest.raises(ImportError):
        exec(line, {})


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("from bentoml.io import JSON as found", "bentoml.io.JSON"),
        ("import bentoml.legacy.io as m; found = m.NumpyNdarray", "bentoml.legacy.io.NumpyNdarray"),
        ("from bentoml import Runner as found", "bentoml.Runner"),
        ("from bentoml.models import ModelOptions as found", "ModelOptions"),
        ("from bentoml import BentoCloudClient as found", "bentoml.BentoCloudClient"),
    ],
)
def test_what_we_do_not_have_imports_and_is_refused_by_name_when_used(bentoml, line, name):
    scope = {}
    exec(line, scope)
    with pytest.raises(ServiceError, match=name) as raised:
        scope["found"]()
    assert raised.value.hint


def test_the_exceptions_are_ours(bentoml):
    assert bentoml.exceptions.NotFound is exceptions.NotFound


def test_unknown_options_are_warnings_as_bentoml_ignores_them(bentoml):
    @bentoml.service(foo=1, traffic={"timeuot": 3})
    class Loose: ...

    assert len(Loose.warnings) == 2


def test_a_task_is_ours(bentoml):
    @bentoml.service
    class Jobs:
        @bentoml.task
        def work(self): ...

    assert Jobs.apis["work"].is_task


def test_a_local_bentoml_comes_first(bentoml, tmp_path, monkeypatch):
    (tmp_path / "bentoml.py").write_text("mine = True")
    monkeypatch.syspath_prepend(str(tmp_path))
    del sys.modules["bentoml"]
    try:
        assert importlib.import_module("bentoml").mine
    finally:
        del sys.modules["bentoml"]
        importlib.invalidate_caches()
        monkeypatch.undo()


def test_importing_lets_an_import_fail_outside_of_a_replica(bentoml, monkeypatch):
    monkeypatch.setattr(bentoml.server_context, "worker_index", None)
    with bentoml.importing():
        import nowhere_at_all
    monkeypatch.setattr(bentoml.server_context, "worker_index", 1)
    with pytest.raises(ImportError), bentoml.importing():
        import nowhere_at_all  # noqa: F401


def test_other_values_are_left_as_they_are():
    assert adapt(5) == 5


# Exceptions


class Custom(BentoMLException):
    error_code = HTTPStatus.CONFLICT


class Odd(BentoMLException):
    error_code = "x"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (exceptions.InvalidArgument("x"), 400),
        (exceptions.BadInput("x"), 400),
        (exceptions.NotFound("x"), 404),
        (exceptions.UnprocessableEntity("x"), 422),
        (exceptions.ServiceUnavailable("x"), 503),
        (BentoMLException("x"), 500),
        (BentoMLException("x", error_code=HTTPStatus.UNAUTHORIZED), 401),
        (Custom("x"), 409),
        (Odd("x"), 500),
        (exceptions.StateException("x"), None),
        (ValueError("x"), None),
    ],
)
def test_an_exception_has_its_status(error, status):
    assert status_of(error) == status


def test_an_exception_of_the_real_bentoml_counts():
    real = type(
        "BentoMLException", (Exception,), {"__module__": "bentoml.exceptions", "error_code": HTTPStatus.GONE}
    )
    assert status_of(type("Mine", (real,), {})("x")) == 410
