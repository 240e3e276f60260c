import stat
from pathlib import Path

import pytest

from tiffin.errors import PlatformError
from tiffin.kits import paths


@pytest.mark.parametrize(
    ("environment", "root"),
    [
        pytest.param({"TIFFIN_HOME": "/t/h", "XDG_DATA_HOME": "/x"}, Path("/t/h"), id="tiffin-home-wins"),
        pytest.param({"XDG_DATA_HOME": "/x"}, Path("/x/tiffin"), id="xdg"),
        pytest.param({"XDG_DATA_HOME": "x"}, Path.home() / ".local/share/tiffin", id="a-relative-xdg-is-ignored"),
        pytest.param({}, Path.home() / ".local/share/tiffin", id="nothing-set"),
        pytest.param({"TIFFIN_HOME": "~/t"}, Path.home() / "t", id="a-tilde"),
    ],
)
def test_the_data_directory_comes_from_the_environment(environment: dict[str, str], root: Path) -> None:
    assert paths.data_directory(environment).root == root


def test_a_relative_home_is_made_absolute() -> None:
    assert paths.data_directory({"TIFFIN_HOME": "here"}).root == Path.cwd() / "here"


def test_only_the_owner_can_enter_what_is_made(tmp_path: Path) -> None:
    data = paths.DataDirectory(tmp_path / "home").make()
    for place in (data.root, data.cache, data.bundles, data.run, data.logs):
        assert stat.S_IMODE(place.stat().st_mode) == 0o700


def test_a_file_in_the_way_is_an_error_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(PlatformError, match="cannot create") as caught:
        paths.DataDirectory(tmp_path / "home").make()
    assert "TIFFIN_HOME" in str(caught.value.hint)
