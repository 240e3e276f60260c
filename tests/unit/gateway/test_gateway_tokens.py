"""Keys for tokens, and what is told when a deployment is applied."""

from pathlib import Path

import msgspec
import pytest

from tiffin.errors import SpecError
from tiffin.gateway.checks import check
from tiffin.gateway.router import Routed, Snapshot
from tiffin.gateway.tokens import Keys
from tiffin.spec import Artefact, Component, Deployment, Jwt, Match, ModelSource, Route, Rule, Sticky, Traffic

KEYS = '{"keys": [{"kty": "oct", "k": "aGVsbG8"}]}'


def deployment(**traffic: object) -> Deployment:
    part = Component(source=ModelSource(artefact=Artefact(uri="/m")))
    return Deployment(
        name="iris",
        components=(part,),
        routes=(Route(path="/iris"),),
        traffic=Traffic(**traffic),  # type: ignore[arg-type]
    )


def keys_in(keys: Keys, jwt: Jwt) -> str:
    (routed,) = keys.put(Snapshot((Routed(deployment(jwt=jwt)),))).routed
    found = routed.deployment.traffic.jwt
    assert found is not None
    assert found.jwks_file == ""
    return found.jwks


def test_keys_of_a_file_that_went_away_stay_and_others_are_followed(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text(KEYS)
    keys, jwt = Keys(), Jwt(issuer="me", jwks_file=str(file))
    first = keys_in(keys, jwt)
    assert msgspec.json.decode(first) == msgspec.json.decode(KEYS)
    file.write_text(KEYS.replace("aGVsbG8", "b3RoZXI"))
    second = keys_in(keys, jwt)
    assert "b3RoZXI" in second
    file.write_text("half")
    assert keys_in(keys, jwt) == second
    file.unlink()
    assert keys_in(keys, jwt) == second


def test_keys_that_never_could_be_read_are_nobodys_and_stay_the_same(tmp_path: Path) -> None:
    keys, jwt = Keys(), Jwt(issuer="me", jwks_file=str(tmp_path / "none.json"))
    first = keys_in(keys, jwt)
    assert keys_in(keys, jwt) == first
    assert keys_in(Keys(), jwt) != first


@pytest.mark.parametrize(
    ("traffic", "said"),
    [
        ({"jwt": Jwt(issuer="me", jwks="{}")}, "key set"),
        ({"jwt": Jwt(issuer="me", jwks_file="/no/such/file")}, "cannot be read"),
        ({"rules": (Rule(matches=(Match(header="x", value="(", how="regex"),), variant="main"),)}, "regular"),
        ({"rules": (Rule(matches=(Match(header="a_b", value="x"),), variant="main"),)}, "underscore"),
        ({"sticky": Sticky(by="cookie", name="a;b")}, "cookie"),
        ({"sticky": Sticky(by="header", name="a_b")}, "underscore"),
    ],
)
def test_what_could_not_be_routed_is_told_when_it_is_applied(traffic: dict[str, object], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        check(deployment(**traffic))


def test_what_can_be_routed_passes() -> None:
    rule = Rule(matches=(Match(claim="a", value="b"), Match(header="x", value="a+", how="regex")), variant="main")
    jwt = Jwt(issuer="me", jwks=KEYS)
    check(deployment(rules=(rule,), jwt=jwt, sticky=Sticky(by="cookie", name="who")))
    check(deployment())
