"""What is put into a cluster: what the programs may do, how they run, and the files that hold it."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from typer.testing import CliRunner

from tiffin.cli import install as command
from tiffin.errors import SpecError
from tiffin.kube import install
from tiffin.kube.install import __main__ as written
from tiffin.kube.install import naming, programs, rights
from tiffin.kube.install.options import Options, gateway
from tiffin.kube.manifests import identify
from tiffin.kube.settings import Gateway, Settings
from tiffin.operator import discovery, election, running

ROOT = Path(__file__).parents[3]


def of_kind(kind: str, options: Options | None = None) -> list[dict[str, Any]]:
    return [one for one in install.manifests(options or Options()) if one["kind"] == kind]


def may(rules: list[dict[str, Any]], group: str, plural: str) -> set[str]:
    return {
        verb for one in rules if group in one["apiGroups"] and plural in one["resources"] for verb in one["verbs"]
    }


PLURALS = {"NetworkPolicy": "networkpolicies", "Ingress": "ingresses", "Deployment": "deployments"}


def plural(group: str, kind: str) -> str:
    if (group, kind) == ("tiffin.dev", "Deployment"):
        return "tiffindeployments"
    return PLURALS.get(kind, f"{kind.lower()}s")


def test_no_object_is_there_twice() -> None:
    counts = Counter(identify(one) for one in install.manifests(Options(watched=("a", "b"))))
    assert [one for one, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("pair", discovery.RENDERED, ids="/".join)
def test_the_operator_may_make_all_that_it_renders(pair: tuple[str, str]) -> None:
    verbs = may(rights.of_operator(), pair[0], plural(*pair))
    assert {"get", "list", "watch", "create", "patch", "delete"} == verbs


@pytest.mark.parametrize("pair", discovery.WRITTEN, ids="/".join)
def test_the_operator_may_read_what_people_write_and_write_its_status_only(pair: tuple[str, str]) -> None:
    assert may(rights.of_operator(), pair[0], plural(*pair)) == {"get", "list", "watch"}
    assert may(rights.of_operator(), pair[0], f"{plural(*pair)}/status") == {"patch"}


@pytest.mark.parametrize("pair", discovery.REFERRED, ids="/".join)
def test_the_operator_may_read_what_is_referred_to(pair: tuple[str, str]) -> None:
    rules = [*rights.of_operator(), *rights.of_cluster()]
    assert may(rules, pair[0], plural(*pair)) == {"get", "list", "watch"}


def test_no_right_is_for_everything() -> None:
    rules = [
        one
        for manifest in install.manifests(Options())
        if manifest["kind"] in ("ClusterRole", "Role")
        for one in manifest["rules"]
    ]
    for one in rules:
        assert "*" not in [*one["apiGroups"], *one["resources"], *one["verbs"]]
        if "secrets" in one["resources"]:
            assert not {"list", "watch", "delete", "patch"} & set(one["verbs"])


def test_one_namespace_needs_no_rights_in_others() -> None:
    found = install.manifests(Options(watched=("team",), webhook=False))
    everywhere = [
        one
        for one in found
        if one["kind"] == "ClusterRole" and not one["metadata"]["name"].endswith(("edit", "view"))
    ]
    assert [one["rules"] for one in everywhere] == [rights.of_cluster()]
    roles = {one["metadata"].get("namespace") for one in found if one["kind"] == "Role"}
    assert roles == {"team", "tiffin-system"}


def test_names_are_those_that_the_operator_looks_for() -> None:
    assert naming.SETTINGS == running.SETTINGS
    assert election.Election.__init__.__kwdefaults__ == {"name": naming.LEASE, "seconds": election.LEASE_SECONDS}
    (config,) = of_kind("ConfigMap")
    key, _, value = running.ACTIVATOR.partition("=")
    pods = {
        one["metadata"]["name"]: one["spec"]["template"]["metadata"]["labels"] for one in of_kind("Deployment")
    }
    assert pods["tiffin-activator"][key] == value
    assert config["metadata"]["labels"]["app.kubernetes.io/part-of"] == "tiffin"


def test_settings_are_what_the_operator_reads_back() -> None:
    options = Options(
        domain="models.example.org", gateway=None, ingress_class="nginx", image="a/b:1", takeover=True
    )
    before = Settings(namespace="tiffin-system")
    (config,) = of_kind("ConfigMap", options)
    assert running.settings_of(config, before, pytest.fail) == options.settings()
    (plain,) = of_kind("ConfigMap")
    assert plain["data"]["settings.yaml"] == f"runtimeImage: {Settings().runtime_image}\n"


def test_programs_run_as_nobody_in_particular_and_write_nothing() -> None:
    for deployment in of_kind("Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
        assert container["resources"]["requests"] == {"cpu": "100m", "memory": "96Mi"}
        assert {"livenessProbe", "readinessProbe"} <= container.keys()


def test_what_is_watched_is_said_to_both_programs() -> None:
    commands = {
        one["metadata"]["name"]: " ".join(one["spec"]["template"]["spec"]["containers"][0]["command"])
        for one in of_kind("Deployment", Options(watched=("a", "b"), replicas=3))
    }
    assert "--watch a --watch b" in commands["tiffin-operator"]
    assert "--namespace a --namespace b" in commands["tiffin-activator"]
    assert {one["spec"]["replicas"] for one in of_kind("Deployment", Options(replicas=3))} == {3}


def test_without_a_webhook_nothing_is_left_of_it() -> None:
    found = install.manifests(Options(webhook=False, crds=()))
    assert "webhook" not in json.dumps(found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(namespace="A b"), "--namespace: expected the name of a namespace"),
        (Options(watched=("x_y",)), "--watch-namespace: expected"),
        (Options(domain="http://a"), "--domain: expected a domain"),
        (Options(image="a b"), "--image: expected"),
        (Options(replicas=0), "--replicas: expected at least 1, found 0"),
        (Options(crds=("knative",)), "--crds: expected kinds of kserve, seldon, tiffin, found 'knative'"),
    ],
)
def test_options_that_cannot_be_followed_are_refused(options: Options, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        install.manifests(options)
    assert message in str(caught.value)


def test_a_gateway_is_written_as_namespace_and_name() -> None:
    assert gateway("none") is None
    assert gateway("infra/public") == Gateway(namespace="infra", name="public")
    assert gateway("infra/public/https") == Gateway(namespace="infra", name="public", section="https")
    for text in ("public", "a/b/c/d", "A/b", ""):
        with pytest.raises(SpecError, match="expected namespace/name of a Gateway"):
            gateway(text)


def run(*words: str) -> Any:
    import typer

    app = typer.Typer()
    app.command()(command.install)
    return CliRunner().invoke(app, list(words))


def test_the_command_prints_what_kubectl_takes() -> None:
    done = run("--crds", "tiffin", "--watch-namespace", "team", "--no-webhook")
    assert done.exit_code == 0
    options = Options(crds=("tiffin",), watched=("team",), webhook=False)
    assert list(yaml.safe_load_all(done.stdout)) == list(install.manifests(options))
    assert json.loads(run("-o", "json").stdout)["items"] == list(install.manifests(Options()))


def test_it_says_that_the_kinds_of_others_are_defined_too() -> None:
    assert "leave theirs alone with --crds tiffin" in " ".join(run().stderr.split())
    assert run("--crds", "tiffin").stderr == ""
    assert "CustomResourceDefinition" not in run("--crds", "none").stdout


def test_the_files_of_the_repository_are_those_that_are_made() -> None:
    for path, text in written.files().items():
        assert (ROOT / path).read_text() == text, f"{path}: run: python -m tiffin.kube.install ."


def test_settings_of_the_chart_are_the_operators() -> None:
    values = yaml.safe_load((ROOT / "charts/tiffin/values.yaml").read_text())
    assert msgspec.convert({"runtimeImage": values["image"], **values["settings"]}, Settings) == Settings()
    assert programs.settings(Options())["data"]["settings.yaml"] == f"runtimeImage: {values['image']}\n"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a: [b", "expected"),
        ("hostTemplat: x", "hostTemplat"),
        ('hostTemplate: "{nope}.{domain}"', "{nope}"),
        ('hostTemplate: "{name"', "{name}, {namespace}, {domain}"),
        ('hostTemplate: "{0}"', "{0}"),
        ('hostTemplate: "{name.x}"', "{name.x}"),
    ],
)
def test_settings_that_are_not_understood_change_nothing_and_are_said_in_one_line(text: str, word: str) -> None:
    said: list[str] = []
    before = Settings(namespace="own", domain="mine.example")
    found = running.settings_of(
        {"data": {"settings.yaml": text}}, before, lambda *told: said.append(told[0] % told[1:])
    )
    assert found is before
    (line,) = said
    assert word in line
    assert "\n" not in line
