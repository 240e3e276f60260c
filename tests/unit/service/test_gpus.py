import pytest

from tiffin.service.gpus import nvidia_count, visible_devices
from tiffin.service.settings import Settings


@pytest.mark.parametrize(
    ("settings", "environment", "count", "expected"),
    [
        (Settings(), {}, 4, None),
        (Settings(gpu=2), {}, 4, "0,1"),
        (Settings(gpu=0.5), {}, 1, "0"),
        (Settings(gpu=1), {}, 0, None),
        (Settings(gpu=1), {"CUDA_VISIBLE_DEVICES": "3"}, 4, None),
        (Settings(gpu=1), {"BENTOML_DISABLE_GPU_ALLOCATION": "True"}, 4, None),
        (Settings(gpu=1), {"TIFFIN_DISABLE_GPU_ALLOCATION": "1"}, 4, None),
        (Settings(gpu=1, workers="cpu"), {}, 4, None),
    ],
)
def test_the_devices_are_chosen_once_and_only_when_nobody_did(settings, environment, count, expected):
    assert visible_devices(settings, environment, count) == expected


def test_the_driver_says_how_many_there_are(tmp_path):
    assert nvidia_count(tmp_path / "none") == 0
    (tmp_path / "0000:01:00.0").mkdir()
    assert nvidia_count(tmp_path) == 1
