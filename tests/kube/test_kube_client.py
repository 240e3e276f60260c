"""The edge to a real API server."""

import asyncio
import json

import pytest

from tiffin.errors import PlatformError
from tiffin.kube import client
from tiffin.kube.client import Conflict, Kind, NotFound, Refused, Unreachable

MAPS = Kind("", "v1", "ConfigMap", "configmaps")
DEPLOYMENTS = Kind("apps", "v1", "Deployment", "deployments")


def config(namespace, name, **data):
    metadata = {"name": name, "namespace": namespace, "labels": {"a": "b"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def run(cluster, use):
    async def whole():
        async with client.connect(kubeconfig=cluster.kubeconfig) as api:
            return await use(api)

    return asyncio.run(whole())


def test_objects_are_applied_listed_and_deleted(cluster, namespace):
    async def use(api):
        for name in ("one", "two"):
            await api.apply(MAPS, config(namespace, name, key=name))
        listed = await api.list(MAPS, namespace, labels="a=b")
        assert sorted(item["metadata"]["name"] for item in listed.items) == ["one", "two"]
        assert {item["kind"] for item in listed.items} == {"ConfigMap"}
        await api.apply(MAPS, config(namespace, "one", other="1"))
        assert (await api.get(MAPS, namespace, "one"))["data"] == {"other": "1"}
        await api.delete(MAPS, namespace, "one", uid="another")
        assert await api.get(MAPS, namespace, "one")
        await api.delete(MAPS, namespace, "one")
        await api.delete(MAPS, namespace, "one")
        with pytest.raises(NotFound):
            await api.get(MAPS, namespace, "one")
        assert api.writes == 6

    run(cluster, use)


def test_pages_are_put_together(cluster, namespace, monkeypatch):
    monkeypatch.setattr(client, "PAGE", 3)

    async def use(api):
        await asyncio.gather(*(api.apply(MAPS, config(namespace, f"m{number}")) for number in range(8)))
        return [item["metadata"]["name"] for item in (await api.list(MAPS, namespace, labels="a=b")).items]

    assert run(cluster, use) == [f"m{number}" for number in range(8)]


def test_a_watch_tells_what_happens(cluster, namespace):
    async def use(api):
        version = (await api.list(MAPS, namespace)).version
        seen = []

        async def follow():
            async for event in api.watch(MAPS, namespace, version=version, labels="a=b"):
                if event.type != "BOOKMARK":
                    seen.append((event.type, event.object["metadata"]["name"]))
                if event.type == "DELETED":
                    return

        following = asyncio.create_task(follow())
        await api.apply(MAPS, config(namespace, "one", a="1"))
        await api.apply(MAPS, config(namespace, "one", a="2"))
        await api.delete(MAPS, namespace, "one")
        await asyncio.wait_for(following, 20)
        return seen

    assert run(cluster, use) == [("ADDED", "one"), ("MODIFIED", "one"), ("DELETED", "one")]


def test_errors_are_told_apart(cluster, namespace):
    async def use(api):
        with pytest.raises(Refused, match=r"spec\.selector"):
            await api.apply(
                DEPLOYMENTS,
                {
                    "apiVersion": "apps/v1",
                    "kind": "Deployment",
                    "metadata": {"name": "x", "namespace": namespace},
                    "spec": {"template": {"spec": {"containers": [{"name": "a", "image": "b"}]}}},
                },
            )
        made = await api.create(MAPS, config(namespace, "one", a="1"))
        with pytest.raises(Conflict):
            await api.create(MAPS, config(namespace, "one"))
        await api.patch(MAPS, namespace, "one", {"data": {"a": "2"}})
        with pytest.raises(Conflict):
            await api.replace(MAPS, {**made, "data": {"a": "3"}})
        with pytest.raises(NotFound):
            await api.list(Kind("no.such", "v1", "Thing", "things"))

    run(cluster, use)


def test_a_server_that_is_away_is_unreachable(cluster, namespace):
    cluster.stop_server()
    try:
        with pytest.raises(Unreachable, match="GET /api/v1"):
            run(cluster, lambda api: api.get(MAPS, namespace, "one"))
    finally:
        cluster.start_server()


def test_kinds_and_the_version_are_found(cluster):
    async def use(api):
        kinds = await api.kinds()
        assert kinds["apps", "Deployment"] == DEPLOYMENTS
        assert kinds["", "ConfigMap"] == MAPS
        assert not kinds["", "Namespace"].is_namespaced
        assert kinds["autoscaling", "HorizontalPodAutoscaler"].version == "v2"
        reads = api.reads
        assert await api.kinds() == await api.kinds_one_by_one(), "both ways say the same"
        assert api.reads - reads > 10, "the one is for servers without aggregated discovery"
        return await api.minor()

    assert run(cluster, use) >= 33


def test_without_a_configuration_nothing_is_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(PlatformError, match="no cluster is known"):
        client.connect()
    with pytest.raises(PlatformError, match="no cluster is known"):
        client.connect(kubeconfig=tmp_path / "missing")


def test_a_context_that_is_not_there_is_named(cluster):
    with pytest.raises(PlatformError, match="no cluster is known"):
        client.connect(kubeconfig=cluster.kubeconfig, context="other")


def test_a_kind_of_another_version_than_the_preferred_is_found(cluster):
    def definition(kind, version):
        schema = {"openAPIV3Schema": {"type": "object"}}
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{kind.lower()}s.client.test"},
            "spec": {
                "group": "client.test",
                "names": {"kind": kind, "plural": f"{kind.lower()}s"},
                "scope": "Namespaced",
                "versions": [{"name": version, "served": True, "storage": True, "schema": schema}],
            },
        }

    given = "\n".join(json.dumps(definition(*one)) for one in (("Old", "v1alpha1"), ("New", "v1beta1")))
    cluster.kubectl("apply", "-f", "-", given=given)
    cluster.kubectl("wait", "--for=condition=Established", "crd/olds.client.test", "crd/news.client.test")

    async def use(api):
        while True:
            kinds = await api.kinds()
            if {("client.test", "Old"), ("client.test", "New")} <= kinds.keys():
                return kinds
            await asyncio.sleep(0.1)

    kinds = run(cluster, lambda api: asyncio.wait_for(use(api), 30))
    assert kinds["client.test", "Old"].version == "v1alpha1"
    assert kinds["client.test", "New"].version == "v1beta1"


def test_a_message_that_repeats_an_object_is_cut_in_its_middle(cluster, namespace):
    metadata = {"name": "big", "namespace": namespace}
    one = {"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": metadata, "revision": 1}
    kind = Kind("apps", "v1", "ControllerRevision", "controllerrevisions")

    async def use(api):
        await api.apply(kind, one | {"data": {"a": "y"}})
        with pytest.raises(client.ApiError) as caught:
            await api.apply(kind, one | {"data": {"a": "x" * 5000}})
        return str(caught.value)

    said = run(cluster, use)
    assert 400 < len(said) < 700
    assert said.rstrip().endswith("field is immutable")
