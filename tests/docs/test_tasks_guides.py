"""What the guides of tasks and of batches show is code, and does what they say."""

import re
import sys
import types
from pathlib import Path

import pytest

import tiffin
from tiffin.errors import ServiceError
from tiffin.runtime.tasks import transitions
from tiffin.service.context import BatchContext

GUIDES = Path(__file__).parents[2] / "docs" / "guides"


def module_of(guide: str) -> types.ModuleType:
    module = types.ModuleType(f"guide_{guide}")
    sys.modules[module.__name__] = module
    for block in re.findall(r"```python\n(.*?)```", (GUIDES / f"{guide}.md").read_text(), re.DOTALL):
        exec(block, vars(module))
    return module


def test_the_report_is_a_task_and_a_method() -> None:
    reports = module_of("tasks").Reports
    reports.check()
    task = reports.apis["summarize"]
    assert (task.is_task, task.timeout_seconds, task.retries) == (True, 600.0, 2)
    assert reports.settings.concurrency == 2
    assert reports().summarize(["a", "b"], ctx=tiffin.Context({})) == "a b"


def test_the_batches_are_served() -> None:
    module = module_of("batching")
    module.Encoder.check()
    module.Tagger.check()
    assert module.Tagger.apis["tag"].cost("four") == 4
    assert module.Encoder().encode(["a", "bb"]) == [1, 2]


@pytest.mark.parametrize("name", ["request", "response", "temp_dir"])
def test_a_batch_has_nothing_of_one_call(name: str) -> None:
    with pytest.raises(ServiceError, match=rf"ctx\.{name} is that of one call"):
        getattr(BatchContext({}), name)


def test_the_numbers_of_the_guide_are_those_of_the_code() -> None:
    text = (GUIDES / "tasks.md").read_text()
    assert f"a lease of {transitions.LEASE_SECONDS:.0f} seconds" in text
    *pauses, last = (f"{pause:.0f}" for pause in transitions.DELIVERY_SECONDS)
    assert f"tried again after {', '.join(pauses)} and {last} seconds" in text.replace("\n", " ")
