from openapi_spec_validator import validate

import tiffin


@tiffin.service
class Jobs:
    @tiffin.task(route="/jobs/add")
    def add(self, a: int) -> int:
        """Adds."""
        return a

    @tiffin.api
    def ping(self) -> str:
        return "pong"


def test_the_five_paths_of_a_task_are_documented_and_those_of_nothing_else():
    document = Jobs.openapi_spec
    validate(document)
    verbs = {path: list(item) for path, item in document["paths"].items() if path.startswith(("/jobs", "/ping"))}
    assert verbs == {
        "/ping": ["post"],
        "/jobs/add": ["post"],
        "/jobs/add/submit": ["post"],
        "/jobs/add/status": ["get"],
        "/jobs/add/get": ["get"],
        "/jobs/add/retry": ["post"],
        "/jobs/add/cancel": ["put"],
    }
    names = [
        operation["operationId"]
        for item in document["paths"].values()
        for operation in item.values()
        if "operationId" in operation
    ]
    assert len(names) == len(set(names)) == 7


def test_a_task_is_submitted_as_it_is_called():
    paths = Jobs.openapi_spec["paths"]
    call, submit = paths["/jobs/add"]["post"], paths["/jobs/add/submit"]["post"]
    assert submit["requestBody"] == call["requestBody"]
    assert paths["/jobs/add/get"]["get"]["responses"]["200"] == call["responses"]["200"]


def test_a_service_without_tasks_has_no_word_about_them():
    @tiffin.service
    class Plain:
        @tiffin.api
        def ping(self) -> str:
            return "pong"

    assert "TaskStatus" not in Plain.openapi_spec["components"]["schemas"]
