"""Objects are written where they differ from what is rendered, and only there."""

import asyncio
import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.kube import names
from tiffin.kube.client import Kind, NotFound, Refused
from tiffin.operator.applying import Applier, difference, digest, marked, projected
from tiffin.operator.cache import Cache
from tiffin.operator.claims import NameTaken

DEPLOYMENTS = Kind("apps", "v1", "Deployment", "deployments")
OWNER = "uid-of-the-object"


def rendered(**spec):
    containers = [
        {
            "name": "main",
            "image": "a",
            "resources": {"limits": {"cpu": "1000m"}},
            "env": [{"name": "A", "value": "1"}],
        }
    ]
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": containers}}
    metadata = {"name": "x", "namespace": "n", "ownerReferences": [{"kind": "K", "name": "k", "uid": OWNER}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {"template": template, **spec},
    }


class Server:
    """Takes what is applied, adds what servers add, and writes amounts in its own way."""

    def __init__(self):
        self.version, self.writes, self.deleted = 0, 0, []
        self.refusals = 0
        self.theirs = {}
        self.managers = []

    async def metadata(self, kind, namespace, name):
        if name not in self.theirs:
            raise NotFound(name)
        return {"metadata": self.theirs[name]}

    async def apply(self, kind, manifest, *, force=True, manager=names.FIELD_MANAGER):
        self.writes += 1
        self.managers.append(manager)
        if self.refusals:
            self.refusals -= 1
            raise Refused("duplicate")
        made = copy.deepcopy(manifest)
        self.version += 1
        made["metadata"] |= {"uid": "u", "resourceVersion": str(self.version), "managedFields": []}
        made["spec"]["progressDeadlineSeconds"] = 600
        made["spec"].setdefault("replicas", 1)
        for container in made["spec"]["template"]["spec"]["containers"]:
            container["terminationMessagePath"] = "/dev/termination-log"
            container["resources"]["limits"]["cpu"] = "1"
        return made

    async def patch(self, kind, namespace, name, change):
        self.writes += 1
        self.patched = change

    async def delete(self, kind, namespace, name, *, uid):
        self.deleted.append((name, uid))


def world():
    server, cache = Server(), Cache()
    return server, cache, Applier(server, cache)


def drifted(cache, change):
    """Somebody changes what the cache holds."""
    found = copy.deepcopy(cache.get(DEPLOYMENTS, ("n", "x")))
    change(found)
    found["metadata"]["resourceVersion"] = str(int(found["metadata"]["resourceVersion"]) + 100)
    cache.put(DEPLOYMENTS, found)


def container(manifest):
    return manifest["spec"]["template"]["spec"]["containers"][0]


FOREIGN = {
    "a default": lambda found: found["spec"].update(progressDeadlineSeconds=1),
    "replicas that nobody rendered": lambda found: found["spec"].update(replicas=7),
    "another annotation": lambda found: found["metadata"].setdefault("annotations", {}).update(team="red"),
    "a container beside": lambda found: found["spec"]["template"]["spec"]["containers"].insert(
        0, {"name": "side"}
    ),
    "another variable": lambda found: container(found)["env"].append({"name": "B"}),
    "a status": lambda found: found.update(status={"replicas": 1}),
}
OURS = {
    "the image": lambda found: container(found).update(image="evil"),
    "a variable's value": lambda found: container(found)["env"][0].update(value="2"),
    "a variable": lambda found: container(found)["env"].clear(),
    "an amount": lambda found: container(found)["resources"]["limits"].update(cpu="2"),
    "a label": lambda found: found["spec"]["template"]["metadata"]["labels"].clear(),
    "the owner": lambda found: found["metadata"].pop("ownerReferences"),
    "the digest": lambda found: found["metadata"]["annotations"].pop(names.APPLIED),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_what_others_own_is_left_to_them(what):
    async def whole():
        server, cache, applier = world()
        assert await applier.apply(DEPLOYMENTS, rendered())
        drifted(cache, FOREIGN[what])
        assert not await applier.apply(DEPLOYMENTS, rendered())
        assert server.writes == 1

    asyncio.run(whole())


@pytest.mark.parametrize("what", OURS)
def test_what_is_rendered_is_set_back(what):
    async def whole():
        _, cache, applier = world()
        await applier.apply(DEPLOYMENTS, rendered())
        drifted(cache, OURS[what])
        assert await applier.apply(DEPLOYMENTS, rendered())

    asyncio.run(whole())


def test_what_is_rendered_anew_is_written_once():
    async def whole():
        server, _, applier = world()
        for replicas in (1, 1, 2, 2, 2):
            await applier.apply(DEPLOYMENTS, rendered(replicas=replicas))
        return server.writes

    assert asyncio.run(whole()) == 2


def test_one_that_starts_anew_learns_what_the_server_made_with_one_write_at_most():
    async def whole():
        server, cache, applier = world()
        await applier.apply(DEPLOYMENTS, rendered())
        server.version += 100
        after = Applier(server, cache)
        for _ in range(3):
            await after.apply(DEPLOYMENTS, rendered())
        return server.writes

    assert asyncio.run(whole()) <= 2


def test_what_is_going_is_not_written():
    async def whole():
        server, cache, applier = world()
        await applier.apply(DEPLOYMENTS, rendered())
        drifted(cache, lambda found: found["metadata"].update(deletionTimestamp="now"))
        await applier.apply(DEPLOYMENTS, rendered(replicas=3))
        return server.writes

    assert asyncio.run(whole()) == 1


def test_lists_that_cannot_be_merged_are_set_whole_and_what_is_new_and_wrong_is_refused():
    async def whole():
        server, cache, applier = world()
        server.refusals = 1
        with pytest.raises(Refused):
            await applier.apply(DEPLOYMENTS, rendered())
        await applier.apply(DEPLOYMENTS, rendered())
        drifted(cache, OURS["the image"])
        server.refusals = 1
        assert await applier.apply(DEPLOYMENTS, rendered())
        assert server.patched == {"spec": rendered()["spec"]}

    asyncio.run(whole())


def test_only_what_is_owned_and_not_rendered_is_deleted():
    def one(name, owner, **metadata):
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": "n", "uid": f"u-{name}", **metadata}
            | {"ownerReferences": [{"uid": owner}]},
        }

    async def whole():
        server, _, applier = world()
        owned = [
            one("kept", OWNER),
            one("old", OWNER),
            one("going", OWNER, deletionTimestamp="now"),
            one("theirs", "another"),
        ]
        services = Kind("", "v1", "Service", "services")
        count = await applier.prune([(services, each) for each in owned], [one("kept", OWNER)], OWNER)
        return count, server.deleted

    assert asyncio.run(whole()) == (1, [("old", "u-old")])


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=1), inner),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text("abc", min_size=1, max_size=1), PLAIN, max_size=3)


@given(PLAIN)
def test_an_object_has_what_it_has(value):
    assert projected(value, value) == value


def merged(target, patch):
    """RFC 7396, as its section 2 says it."""
    if not isinstance(patch, dict):
        return patch
    found = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key), value)
    return found


def without_nulls(value):
    return (
        {key: without_nulls(one) for key, one in value.items() if one is not None}
        if isinstance(value, dict)
        else value
    )


@given(OBJECTS, OBJECTS)
def test_a_difference_makes_one_of_the_other(before, after):
    # A merge patch cannot say null; no status has any.
    before, after = without_nulls(before), without_nulls(after)
    assert merged(before, difference(before, after)) == after
    assert difference(after, after) == {}


def test_the_digest_is_of_what_is_rendered_alone():
    assert digest(rendered()) == digest(dict(reversed(rendered().items())))
    assert marked(rendered())["metadata"]["annotations"] == {names.APPLIED: digest(rendered())}
    assert "annotations" not in rendered()["metadata"]


def test_what_a_server_adds_to_objects_without_a_name_is_no_difference():
    rule = {"matches": [{"path": {"value": "/"}}], "backendRefs": [{"name": "a", "weight": 1}]}
    made = {
        "matches": [{"path": {"value": "/", "type": "PathPrefix"}}],
        "backendRefs": [{"name": "a", "weight": 1, "group": "", "kind": "Service"}],
    }
    assert projected([made], [rule]) == [rule]
    assert projected([made, made], [rule]) != [rule]
    assert projected([{**made, "matches": []}], [rule]) != [rule]


def test_an_object_that_kserve_made_for_the_same_object_is_taken_over():
    server, _, applier = world()
    server.theirs["x"] = {"ownerReferences": [{"uid": OWNER}]}
    assert asyncio.run(applier.apply(DEPLOYMENTS, rendered()))


@pytest.mark.parametrize("theirs", [{}, {"ownerReferences": [{"uid": "another"}]}], ids=["nobody's", "another's"])
def test_an_object_that_is_not_known_to_be_ours_is_left_as_it_is(theirs):
    server, _, applier = world()
    server.theirs["x"] = theirs
    with pytest.raises(NameTaken, match="Deployment x"):
        asyncio.run(applier.apply(DEPLOYMENTS, rendered()))
    assert server.writes == 0
