import asyncio
import json

import pytest

import tiffin
from tiffin.errors import ServiceError
from tiffin.service import decorating
from tiffin.service.absent import NAMES, Absent
from tiffin.service.hooks import hooks_of


class Base:
    @tiffin.api
    def inherited(self, x: int) -> int:
        return x

    @tiffin.on_startup
    def warm(self): ...


@tiffin.service(
    name="Other", labels={"a": "b"}, envs=[{"name": "K", "value": "v"}, {"name": "B", "stage": "build"}]
)
class Full(Base):
    """What it does."""

    @tiffin.api(route="/go")
    def run(self) -> str:
        return "x"

    @tiffin.on_shutdown
    async def close(self): ...

    @tiffin.on_deployment
    def prepare(): ...


def test_the_decorator_works_bare_and_with_options():
    @tiffin.service
    class Bare: ...

    assert Bare.name == "Bare"
    assert Full.name == "Other"
    assert Full.inner.__name__ == "Full"
    assert isinstance(Full(), Full.inner)


def test_the_package_is_the_decorator_too():
    import tiffin.service.loading

    assert callable(tiffin.service)
    assert tiffin.service.loading is not None


def test_inherited_endpoints_and_hooks_count():
    assert list(Full.apis) == ["inherited", "run"]
    assert Full.hooks("startup") == ["warm"]
    assert Full.hooks("shutdown") == ["close"]
    assert Full.hooks("deployment") == ["prepare"]
    assert Full.inner.prepare() is None


def test_hooks_of_the_real_bentoml_are_read():
    class Marked:
        def up(self): ...

    Marked.up.__bentoml_startup_hook__ = True
    assert hooks_of(Marked, "startup") == ["up"]


def test_a_service_is_decorated_once():
    with pytest.raises(ServiceError, match="applied once"):
        tiffin.service(Full)


def test_an_unknown_option_names_the_nearest():
    with pytest.raises(ServiceError, match="did you mean 'traffic'"):

        @tiffin.service(traffix={"timeout": 3})
        class Typo: ...


def test_a_class_of_ones_own_for_services_is_refused_by_name():
    with pytest.raises(ServiceError, match="service_class"):
        decorating.decorate(type("X", (), {}), {"service_class": object}, is_strict=False)


def test_two_endpoints_cannot_share_a_route():
    @tiffin.service
    class Clash:
        @tiffin.api
        def a(self) -> None: ...

        @tiffin.api(route="/a")
        def b(self) -> None: ...

    with pytest.raises(ServiceError, match="one route"):
        Clash.check()


def test_the_schema_names_every_route():
    schema = Full.schema()
    assert [*schema] == ["name", "type", "routes", "description", "paths"]
    assert (schema["name"], schema["type"], schema["description"]) == ("Other", "service", "What it does.")
    assert schema["paths"] == {"/inherited": {"mounted": False}, "/go": {"mounted": False}}
    json.dumps(schema)


def test_a_prefix_stands_before_every_route():
    @tiffin.service(path_prefix="v1/")
    class Prefixed:
        @tiffin.api
        def go(self) -> None: ...

    assert Prefixed.schema()["routes"][0]["route"] == "/v1/go"


def test_the_description_is_what_the_platform_reads():
    found = Full.describe("module:Full")
    assert found.name == "Other"
    assert [e.route for e in found.endpoints] == ["/inherited", "/go"]
    assert found.environment == {"K": "v"}
    assert found.labels == {"a": "b"}
    assert found.timeout_seconds == 60


def test_a_service_knows_where_it_comes_from():
    assert Full.import_string == f"{__name__}:Full"
    assert Full.url is None
    assert Full.openapi_spec["info"]["title"] == "Other"


def test_an_image_recipe_is_recorded_with_a_warning():
    image = tiffin.images.Image(python_version="3.11").python_packages("numpy").run("echo")

    @tiffin.service(image=image)
    class WithImage: ...

    assert image.steps == [("python_packages", ("numpy",)), ("run", ("echo",))]
    assert any(w.startswith("image:") for w in WithImage.warnings)


# Dependencies


@tiffin.service
class Inner:
    made = 0

    def __init__(self):
        type(self).made += 1

    @tiffin.api
    def twice(self, x: int) -> int:
        return 2 * x

    @tiffin.api
    async def thrice(self, x: int) -> int:
        return 3 * x


@tiffin.service
class Outer:
    inner = tiffin.depends(Inner)
    again = tiffin.depends(Inner)


def test_a_dependency_is_one_instance_per_process():
    outer = Outer()
    assert outer.inner is outer.again is Outer().inner
    assert outer.inner.twice(2) == 4
    assert Inner.inner.made == 1
    assert list(Outer.all_services()) == ["Outer", "Inner"]


def test_methods_can_be_called_from_the_other_colour():
    outer = Outer()

    async def ask():
        return await outer.inner.to_async.twice(2), await outer.inner.to_async.thrice(2)

    assert asyncio.run(ask()) == (4, 6)
    assert outer.inner.to_sync.twice(1) == 2
    assert outer.inner.to_sync.thrice(1) == 3


def test_a_dependency_is_a_service():
    with pytest.raises(ServiceError, match="expects a class decorated"):
        tiffin.depends(int)


# Names that are not there yet


@pytest.mark.parametrize("name", sorted(NAMES - {"list", "get", "models", "images"}))
def test_a_name_of_later_versions_imports_and_refuses(name):
    found = getattr(tiffin, name)
    assert isinstance(found, Absent)
    with pytest.raises(ServiceError, match=name):
        found()
    with pytest.raises(ServiceError, match=name):
        found.anything  # noqa: B018


def test_a_name_nobody_has_is_an_attribute_error():
    with pytest.raises(AttributeError):
        tiffin.nonsense  # noqa: B018
