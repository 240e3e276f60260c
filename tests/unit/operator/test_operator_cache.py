"""What the operator knows of a cluster."""

from hypothesis import given
from hypothesis import strategies as st

from tiffin.kube import names
from tiffin.kube.client import Kind
from tiffin.operator.cache import Cache, owner, place

MAPS = Kind("", "v1", "ConfigMap", "configmaps")
SERVICES = Kind("", "v1", "Service", "services")


def item(name, version=1, *, namespace="n", deployment="", uid="", **metadata):
    metadata |= {"name": name, "namespace": namespace, "resourceVersion": str(version), "uid": uid or f"u-{name}"}
    if deployment:
        metadata["labels"] = {names.DEPLOYMENT: deployment}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


ITEMS = st.builds(
    item,
    st.sampled_from("abc"),
    st.integers(1, 30),
    namespace=st.sampled_from(["n", "m"]),
    deployment=st.sampled_from(["", "iris", "wine"]),
)
DEEDS = st.one_of(
    st.tuples(st.just("put"), st.sampled_from([MAPS, SERVICES]), ITEMS),
    st.tuples(st.just("remove"), st.sampled_from([MAPS, SERVICES]), ITEMS),
    st.tuples(st.just("replace"), st.sampled_from([MAPS, SERVICES]), st.lists(ITEMS, max_size=4)),
    st.tuples(st.just("forget"), st.sampled_from([MAPS, SERVICES]), st.none()),
)


@given(st.lists(DEEDS, max_size=25))
def test_changes_tell_all_and_owners_find_all(deeds):
    told = {}

    def changed(change):
        key = (change.kind, place(change.object))
        assert told.get(key) == change.before, "the object before is the one that was told last"
        if change.after is None:
            del told[key]
        else:
            told[key] = change.after

    cache = Cache(changed)
    for deed, kind, what in deeds:
        if deed == "put":
            cache.put(kind, what)
        elif deed == "remove":
            cache.remove(kind, place(what))
        elif deed == "replace":
            cache.replace(kind, what)
            assert {place(one) for one in cache.all(kind)} == {place(one) for one in what}
        else:
            cache.forget(kind)
    held = {(kind, place(one)): one for kind in (MAPS, SERVICES) for one in cache.all(kind)}
    assert held == told
    for namespace in ("n", "m"):
        for deployment in ("iris", "wine"):
            found = {(kind, place(one)): one for kind, one in cache.of(namespace, deployment)}
            assert found == {key: one for key, one in held.items() if owner(one) == (namespace, deployment)}


def test_an_older_object_does_not_take_the_place_of_a_newer_one():
    cache = Cache()
    cache.put(MAPS, item("a", 10))
    cache.put(MAPS, item("a", 9))
    cache.put(MAPS, item("a", 10, deployment="iris"))
    assert cache.get(MAPS, ("n", "a")) == item("a", 10)
    cache.put(MAPS, item("a", 3, uid="another"))
    assert cache.get(MAPS, ("n", "a"))["metadata"]["uid"] == "another"


def test_a_listing_of_one_namespace_says_nothing_of_others():
    cache = Cache()
    cache.replace(MAPS, [item("a"), item("a", namespace="m")])
    cache.replace(MAPS, [], namespace="m")
    assert [place(one) for one in cache.all(MAPS)] == [("n", "a")]


def test_who_wrote_which_field_is_not_kept():
    cache = Cache()
    cache.put(MAPS, item("a", managedFields=[{"manager": "kubectl"}]))
    assert "managedFields" not in cache.get(MAPS, ("n", "a"))["metadata"]


def test_of_a_pod_is_kept_what_is_read_of_it():
    pods = Kind("", "v1", "Pod", "pods")
    container = {"name": "main", "image": "i", "ports": [{"containerPort": 8080}], "env": [{"name": "A"}]}
    annotations = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "team": "red"}
    pod = item("p", deployment="iris", annotations=annotations, managedFields=[{}]) | {"kind": "Pod"}
    pod |= {"spec": {"containers": [container], "volumes": [{}]}, "status": {"podIP": "10.0.0.1"}}
    cache = Cache()
    cache.put(pods, pod)
    found = cache.get(pods, ("n", "p"))
    assert found["spec"] == {"containers": [{"name": "main", "ports": [{"containerPort": 8080}]}]}
    assert found["status"] == pod["status"]
    assert found["metadata"]["annotations"] == {"team": "red"}
    assert "managedFields" not in found["metadata"]
    assert owner(found) == ("n", "iris")
