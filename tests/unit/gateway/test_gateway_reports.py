"""What Envoy reports, what was written for it, and how many files it may watch."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tiffin.gateway.admin import parse_samples
from tiffin.gateway.files import ResourceFiles
from tiffin.gateway.resources import inline
from tiffin.gateway.router import Choice, Pool, PoolSample, Routed, Share, Snapshot
from tiffin.gateway.routes import render
from tiffin.gateway.watches import MOST, WITHOUT_LIMIT, Watches, affordable
from tiffin.spec import Artefact, Component, Deployment, ModelSource, Route

TEXT = """\
cluster.default/a-00001/predictor.upstream_rq_active: 3
cluster.default/a-00001/predictor.upstream_rq_pending_active: 1
cluster.default/a-00001/predictor.upstream_rq_completed: 12
cluster.default/a-00001/predictor.upstream_rq_5xx: 2
cluster.b.c.upstream_rq_completed: 4
cluster.default/a-00001/predictor.upstream_rq_time: B0.5(0,0) B1(1,7) B5(2,12) B1.8e+06(2,12)
cluster.b.c.upstream_rq_time: No recorded values
"""


def plain(
    deployments: Sequence[Deployment] = (), backends: Mapping[tuple[str, str], Sequence[str]] | None = None
) -> Snapshot:
    """Deployments without variants; endpoints by their key and the name of a component."""
    found = []
    for one in deployments:
        pools = [
            Pool(f"{one.key}/{part.name}", part, (backends or {}).get((one.key, part.name), ()))
            for part in one.components
        ]
        found.append(Routed(one, pools, {pool.component.name: (Choice((Share(pool.name),)),) for pool in pools}))
    return Snapshot(tuple(found))


def test_counters_are_read_by_pool() -> None:
    assert parse_samples(TEXT) == {
        "default/a-00001/predictor": PoolSample(
            active=3, waiting=1, calls=12, failed=2, latency=((0.5, 0), (1.0, 7), (5.0, 12), (1_800_000.0, 12))
        ),
        "b.c": PoolSample(calls=4),
    }
    assert parse_samples("") == {}


def snapshot(*names: str) -> Snapshot:
    part = Component(source=ModelSource(artefact=Artefact(uri="/m")))
    found = [Deployment(name=name, components=(part,), routes=(Route(path=f"/{name}"),)) for name in names]
    return plain(found, {(each.key, "predictor"): [f"/r/{each.name}.sock"] for each in found})


def test_another_owner_reads_what_was_written_and_goes_on_counting(tmp_path: Path) -> None:
    first = ResourceFiles(tmp_path)
    resources = inline(render(snapshot("one", "two")), {"default/two/predictor"})
    first.write_endpoints(resources)
    first.write_clusters(resources)
    first.write_tokens(resources)
    version = first.write_routes(resources)
    second = ResourceFiles(tmp_path)
    assert second.read() == resources
    assert second.write_routes(resources) == version
    assert int(second.write_routes(render(snapshot("one")))) == int(version) + 1
    (tmp_path / "cds.json").write_text('{"version_info": "1", "resources": [')
    assert ResourceFiles(tmp_path).read() is None
    assert ResourceFiles(tmp_path / "nowhere").read() is None


@given(st.lists(st.sets(st.sampled_from("abcdefgh")), min_size=1, max_size=8), st.integers(0, 5))
def test_who_has_a_file_keeps_it_and_there_are_never_too_many(steps: list[set[str]], most: int) -> None:
    watches = Watches(most)
    before: frozenset[str] = frozenset()
    for wanted in steps:
        given_now = watches.give(sorted(wanted))
        assert before & wanted <= given_now <= wanted
        assert len(given_now) == min(most, len(wanted))
        before = given_now


def test_half_of_what_the_system_has_left_is_affordable(tmp_path: Path) -> None:
    assert affordable(tmp_path) == WITHOUT_LIMIT
    limit = tmp_path / "sys/fs/inotify/max_user_instances"
    limit.parent.mkdir(parents=True)
    limit.write_text("128\n")
    assert affordable(tmp_path) == 64
    (tmp_path / "12/fd").mkdir(parents=True)
    for number in range(8):
        (tmp_path / "12/fd" / str(number)).symlink_to("anon_inode:inotify")
    assert affordable(tmp_path) == 60
    limit.write_text("5")
    assert affordable(tmp_path) == 0
    limit.write_text("1000000")
    assert affordable(tmp_path) == MOST
