import msgspec
import pytest

from tiffin.dialects import combine, routes
from tiffin.errors import SpecError
from tiffin.spec import Artefact, Component, Deployment, ModelSource, Route

COMPONENT = Component(source=ModelSource(artefact=Artefact("m")))


def deployed(
    name: str, *extra: Route, file: str = "", derived: bool = False, namespace: str = "default"
) -> Deployment:
    return Deployment(
        name=name,
        namespace=namespace,
        components=(COMPONENT,),
        routes=routes.own(name, namespace) + extra,
        derived_name=derived,
        file=file or f"{name}.yaml",
    )


def shared(path: str) -> Route:
    return Route(path=path, exact=True, shared=True)


def test_deployments_that_fit_are_left_as_they_are():
    given = [deployed("a", shared("/a")), deployed("b", shared("/b")), deployed("a", namespace="other")]
    assert combine(given) == (given, [])


def test_two_of_one_name_are_refused_with_both_files():
    with pytest.raises(SpecError) as caught:
        combine([deployed("iris", file="a.yaml"), deployed("iris", file="b.yaml")])
    assert str(caught.value) == 'the name "default/iris" is wanted twice: by a.yaml and by b.yaml'


def test_the_documents_of_one_file_are_told_apart():
    twice = [deployed("iris", file="a.yaml"), deployed("iris", file="a.yaml")]
    twice[1] = msgspec.structs.replace(twice[1], document=1)
    with pytest.raises(SpecError, match=r"by a\.yaml and by a\.yaml, document 2"):
        combine(twice)


@pytest.mark.parametrize("first", ["written", "derived"])
def test_a_name_nobody_wrote_gives_way_wherever_it_stands(first):
    written, derived = deployed("iris", file="isvc.yaml"), deployed("iris", file="bentofile.yaml", derived=True)
    given = [written, derived] if first == "written" else [derived, written]
    found, (warning,) = combine(given)
    assert {(each.file, each.name) for each in found} == {("isvc.yaml", "iris"), ("bentofile.yaml", "iris-bento")}
    assert [each.file for each in found] == [each.file for each in given]
    assert str(warning) == (
        'bentofile.yaml: the name "default/iris" is that of isvc.yaml; this one is called "default/iris-bento"'
    )
    moved = next(each for each in found if each.name == "iris-bento")
    assert moved.routes == routes.own("iris-bento", "default")


def test_a_name_is_changed_once_and_then_refused():
    services = [deployed("iris", file=f"{n}/bentofile.yaml", derived=True) for n in "abc"]
    found, _ = combine(services[:2])
    assert [each.name for each in found] == ["iris", "iris-bento"]
    with pytest.raises(SpecError, match="wanted twice"):
        combine(services)


def test_a_shared_address_goes_to_the_first_and_the_other_is_told():
    first, second = deployed("a", shared("/v2"), shared("/x")), deployed("b", shared("/v2"), shared("/y"))
    found, (warning,) = combine([first, second])
    assert found[0] == first
    assert [route.path for route in found[1].routes if route.shared] == ["/y"]
    assert str(warning) == ("default/b (b.yaml): /v2 goes to default/a (a.yaml); it answers below /default/b")


def test_several_lost_addresses_make_one_warning():
    paths = [shared("/predict"), shared("/schema.json"), shared("/readyz")]
    _, (warning,) = combine([deployed("a", *paths), deployed("b", *paths)])
    assert "/predict, /schema.json, /readyz go to default/a" in warning.message


def test_an_address_of_ones_own_beats_a_shared_one():
    own = Route(path="/x", exact=True)
    found, (warning,) = combine([deployed("a", shared("/x")), deployed("b", own)])
    assert own in found[1].routes
    assert shared("/x") not in found[0].routes
    assert warning.path == "default/a (a.yaml)"


def test_an_unshared_address_wanted_twice_is_refused():
    own = Route(path="/x", exact=True)
    with pytest.raises(SpecError, match="the address /x is wanted twice"):
        combine([deployed("a", own), deployed("b", own)])


def test_a_shared_address_on_several_hosts_keeps_those_that_are_free():
    first = Route(path="/x", hosts=("one",), shared=True)
    second = Route(path="/x", hosts=("one", "two"), shared=True)
    found, (warning,) = combine([deployed("a", first), deployed("b", second)])
    assert [route.hosts for route in found[1].routes if route.shared] == [("two",)]
    assert "one/x/" in warning.message


def test_names_that_meet_in_a_host_name_are_refused():
    with pytest.raises(SpecError, match=r"the address a-b\.default\.example\.com/ is wanted twice"):
        combine([deployed("a-b"), deployed("a_b")])
