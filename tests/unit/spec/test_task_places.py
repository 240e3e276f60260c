from pathlib import Path

import pytest

from tiffin.spec.tasks import queue_name, store_url

ROOT = Path("/data")
NAMES = {"namespace": "default", "deployment": "iris"}


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, "sqlite:////data/tasks/default.iris.db"),
        ({"TIFFIN_TASKS": "redis://r:6379/0", "BENTOML_RESULT_STORE": "/b.db"}, "redis://r:6379/0"),
        ({"TIFFIN_TASKS": "", "BENTOML_RESULT_STORE": "/b.db"}, "/b.db"),
    ],
)
def test_the_environment_says_where_else_a_file_of_the_deployment(environment, url):
    assert store_url(environment, ROOT, **NAMES) == url


def test_projects_of_one_name_in_two_places_have_two_files():
    found = {store_url({}, ROOT, **NAMES, directory=place) for place in ("", "/a", "/b")}
    assert len(found) == 3


def test_each_variant_works_off_its_own_queue():
    assert queue_name("default", "iris", "Iris") == "default/iris/Iris"
    assert queue_name("default", "iris", "Iris", "shadow") == "default/iris/Iris@shadow"
