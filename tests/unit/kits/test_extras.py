"""Whether optional packages are there, and what is said when they are not."""

from __future__ import annotations

import pytest

from tiffin.errors import MissingExtra
from tiffin.kits import extras


def test_grpc_is_found_without_being_imported() -> None:
    assert extras.has_grpc()
    extras.require_grpc()


@pytest.mark.parametrize("name", ["grpc", "google", "google.protobuf", "numpy"])
def test_without_one_of_its_packages_the_extra_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda asked: None if asked.startswith(name) else object())
    assert not extras.has_grpc()
    with pytest.raises(MissingExtra) as caught:
        extras.require_grpc()
    assert caught.value.hint == "pip install 'tiffin[grpc]'"
