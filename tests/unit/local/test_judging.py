"""The judge by hand-made counters and spools: what it rules, records, compares and reports."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tiffin.errors import CallError
from tiffin.gateway.router import PoolSample
from tiffin.kits import spool
from tiffin.local import cases
from tiffin.local.judging import Judge
from tiffin.local.seams import Contest, Ruling
from tiffin.plan.revision import Revision
from tiffin.rollout.gates import Reading
from tiffin.rollout.machine import RolloutState
from tiffin.spec import Artefact, Component, Deployment, ModelSource, Variant
from tiffin.spec.recording import SAMPLING, Record, Recording, Sampling
from tiffin.spec.rollout import Gate, Rollout, Step

PREDICTOR = Component(source=ModelSource(artefact=Artefact(uri="/m")))
STEPS = (Step(weight=10, seconds=5), Step(weight=50, seconds=5))
KEY = "default/iris"


def deployment(**fields: Any) -> Deployment:
    return Deployment(name="iris", components=(PREDICTOR,), **fields)


def revision(number: int, variant: str = "main") -> Revision:
    return Revision(
        namespace="default",
        deployment="iris",
        number=number,
        variant=variant,
        protocol="open-inference",
        components=(PREDICTOR,),
        digest=str(number),
    )


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A judge with a clock, and the counters of two pools."""

    def __init__(self, root: Path, spec: Deployment, ask: Callable[[str, str], Reading] | None = None) -> None:
        self.clock = Clock()
        self.root = root
        self.spec = spec
        self.judge = Judge(root, clock=self.clock, ask=ask or (lambda server, query: Reading(error="nobody")))
        self.state = b""
        self.counters: dict[str, PoolSample] = {}

    async def tick(self, paused: bool = False) -> Ruling:
        self.clock.now += 1
        contest = Contest(self.spec, revision(1), revision(2), self.counters, self.state, paused, self.clock.now)
        ruling = await self.judge.tick(contest)
        self.state = ruling.state
        return ruling

    def count(self, stable: tuple[int, int], canary: tuple[int, int]) -> None:
        self.counters = {
            "iris-00001": PoolSample(calls=stable[0], failed=stable[1], latency=((5.0, stable[0]),)),
            "iris-00002": PoolSample(calls=canary[0], failed=canary[1], latency=((5.0, canary[0]),)),
        }

    def record(self, name: str, answers: dict[str, Any], *, status: int = 200) -> None:
        directory = self.root / KEY / "spool" / name
        writer = spool.Writer(directory / f"{len(list(directory.iterdir()))}.spool")
        for call, answer in answers.items():
            one = Record(
                id=call,
                time=self.clock.now,
                seconds=0.01,
                method="POST",
                path="/predict",
                query="",
                headers={"x-request-id": call},
                body=b"{}",
                status=status,
                answer_headers={},
                answer=json.dumps(answer).encode(),
            )
            writer.append([msgspec.msgpack.encode(one)])
        writer.close()

    def sampling(self, name: str) -> Sampling | None:
        path = self.root / KEY / "spool" / name / SAMPLING
        return msgspec.json.decode(path.read_bytes(), type=Sampling) if path.exists() else None


def test_a_rollout_is_ruled_by_the_counters_and_ends_in_a_promotion(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path, deployment(rollout=Rollout(steps=STEPS)))
        bench.count((5000, 5), (900, 900))  # From before the rollout: not counted.
        first = await bench.tick()
        assert (first.weight, first.outcome) == (10, "go-on")
        for number in range(1, 40):
            bench.count((5000 + 100 * number, 5), (900 + 30 * number, 900))
            ruling = await bench.tick()
            if ruling.outcome == "promote":
                break
        assert (ruling.outcome, ruling.weight) == ("promote", 100)
        report: Any = bench.judge.report(KEY)
        assert report["rollout"]["phase"] == "promoted"
        assert json.loads(json.dumps(report)) == report

    asyncio.run(story())


def test_a_bad_candidate_is_rolled_back_with_evidence_also_by_the_next_controller(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path, deployment(rollout=Rollout(steps=STEPS)))
        bench.count((0, 0), (0, 0))
        await bench.tick()
        bench.count((400, 0), (30, 15))
        assert (await bench.tick()).outcome == "go-on"
        bench.judge = Judge(tmp_path, clock=bench.clock)  # The controller was killed; Envoy went on counting.
        bench.count((900, 1), (60, 30))
        ruling = await bench.tick()
        assert (ruling.outcome, ruling.weight) == ("roll-back", 0)
        assert "canary failed 30 of 60 calls (50 %)" in ruling.message
        report: Any = bench.judge.report(KEY)
        (failing, *_) = [gate for gate in report["rollout"]["gates"] if gate["outcome"] == "fail"]
        assert failing["evidence"] > 1 / failing["bound"]
        assert failing["canary"]["low"] > failing["stable"]["high"]
        # Nobody looks again at what is over, also not the next controller.
        assert Judge(tmp_path).report(KEY)["rollout"] == report["rollout"]

    asyncio.run(story())


def test_a_gateway_that_says_nothing_for_a_moment_is_no_new_count(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path, deployment(rollout=Rollout(steps=STEPS)))
        for counters in ((0, 0), (30, 0), None, (30, 0), None, (30, 0)):
            if counters is None:
                bench.counters = {}
            else:
                bench.count(counters, counters)
            await bench.tick()
        state = msgspec.json.decode(bench.state, type=RolloutState)
        assert state.canary.total.calls == 30

    asyncio.run(story())


def test_people_pause_resume_promote_and_undo(tmp_path: Path) -> None:
    async def story() -> None:
        spec = deployment(rollout=Rollout(steps=STEPS, gates=()))
        bench = Bench(tmp_path, spec)
        with pytest.raises(CallError):
            bench.judge.steer(spec, b"", "promote", 1.0)
        await bench.tick()
        for _ in range(20):
            assert (await bench.tick(paused=True)).weight == 10
        assert (await bench.tick(paused=False)).weight == 10
        bench.state = bench.judge.steer(spec, bench.state, "undo", bench.clock.now)
        told: Any = bench.judge.report(KEY)
        assert (told["rollout"]["phase"], told["rollout"]["weight"]) == ("rolled-back", 0)
        assert told["rollout"]["reason"] == "somebody rolled it back"
        assert (await bench.tick()).outcome == "roll-back"
        with pytest.raises(CallError):
            bench.judge.steer(spec, bench.state, "promote", bench.clock.now)

    asyncio.run(story())


def test_a_state_of_another_revision_or_none_begins_anew(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path, deployment(rollout=Rollout(steps=STEPS)))
        for state in (b"{broken", msgspec.json.encode(RolloutState(revision="iris-00009", phase="rolled-back"))):
            bench.state = state
            assert (await bench.tick()).outcome == "go-on"

    asyncio.run(story())


def test_queries_are_asked_in_the_background_with_names_filled_in(tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []

    def ask(server: str, query: str) -> Reading:
        asked.append((server, query))
        return Reading(value=3.0)

    async def story() -> None:
        gate = Gate(
            kind="query", server="http://p:9090", query='up{revision="$candidate",ns="$namespace"}', most=1
        )
        bench = Bench(tmp_path, deployment(rollout=Rollout(steps=STEPS, gates=(gate,))), ask)
        outcomes = []
        for _ in range(40):
            outcomes.append((await bench.tick()).outcome)
            await asyncio.gather(*bench.judge._asking.values())
            if outcomes[-1] == "roll-back":
                break
        assert outcomes[-1] == "roll-back"
        assert asked[0] == ("http://p:9090", 'up{revision="iris-00002",ns="default"}')
        assert len(asked) == 3
        await bench.judge.close()

    asyncio.run(story())


def test_a_shadow_is_compared_with_the_main_variant(tmp_path: Path) -> None:
    async def story() -> None:
        shadow = Variant(name="next", components=(PREDICTOR,), mirror_percent=50.0)
        spec = deployment(variants=(shadow,))
        bench = Bench(tmp_path, spec)
        assert bench.judge.spool(spec, revision(1), PREDICTOR) is not None
        assert bench.judge.spool(spec, revision(2, "next"), PREDICTOR) is not None
        assert bench.judge.spool(spec, revision(1), msgspec.structs.replace(PREDICTOR, name="explainer")) is None
        await bench.judge.attend([spec])
        assert bench.sampling("iris-00001") == Sampling()
        bench.record("iris-00001", {f"c{number}": {"p": ["cat"]} for number in range(100)})
        bench.record(
            "iris-00002", {f"c{number}": {"p": ["dog" if number < 10 else "cat"]} for number in range(50)}
        )
        await bench.judge.attend([spec])
        report: Any = bench.judge.report(KEY)
        (told,) = report["shadows"]
        assert (told["revision"], told["variant"]) == ("iris-00002", "next")
        assert (told["compared"], told["equal"], told["agreement"]) == (50, 40, 0.8)
        assert told["differencesByPath"] == {"p[*]": 10}
        assert told["examples"][0]["differences"] == [{"path": "p[0]", "reference": '"cat"', "shadow": '"dog"'}]
        await bench.judge.close()
        again: Any = Judge(tmp_path).report(KEY)
        assert again["shadows"] == report["shadows"]
        assert not list((tmp_path / KEY / "spool").glob("*/*.spool"))

    asyncio.run(story())


def test_agreement_of_mirrored_answers_rules_a_rollout_and_its_recording_ends_with_it(tmp_path: Path) -> None:
    async def story() -> None:
        rollout = Rollout(steps=STEPS, gates=(Gate(kind="agreement", least=0.95),), mirror_percent=100)
        spec = deployment(rollout=rollout)
        bench = Bench(tmp_path, spec)
        for number in (1, 2):
            bench.judge.spool(spec, revision(number), PREDICTOR)
        await bench.judge.attend([spec])
        assert bench.sampling("iris-00001") is None
        assert (await bench.tick()).mirror_percent == 100
        await bench.judge.attend([spec])
        assert bench.sampling("iris-00001") is not None
        bench.record("iris-00002", {f"c{number}": [number % 2] for number in range(80)})
        bench.record("iris-00001", {f"c{number}": [0] for number in range(80)})
        await bench.judge.attend([spec])
        ruling = await bench.tick()
        assert ruling.outcome == "roll-back"
        assert "40 of 80 mirrored answers are equal" in ruling.message
        await bench.judge.attend([spec])
        assert bench.sampling("iris-00001") is None
        await bench.judge.close()

    asyncio.run(story())


def test_a_candidate_that_was_promoted_is_what_a_shadow_is_compared_with(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path, deployment(rollout=Rollout(steps=STEPS, gates=())))
        await bench.tick()
        bench.spec = deployment(variants=(Variant(name="next", components=(PREDICTOR,), mirror_percent=50.0),))
        for one in (revision(1), revision(2), revision(3, "next")):
            bench.judge.spool(bench.spec, one, PREDICTOR)
        bench.record("iris-00002", {"a": 1, "b": 1})
        bench.record("iris-00003", {"a": 1, "b": 2})
        await bench.judge.attend([bench.spec])
        report: Any = bench.judge.report(KEY)
        (told,) = report["shadows"]
        assert (told["revision"], told["compared"], told["equal"]) == ("iris-00003", 2, 1)
        assert "rollout" not in report
        await bench.judge.close()

    asyncio.run(story())


def test_more_calls_than_can_be_compared_halve_the_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "MOST_A_LOOK", 16)

    async def story() -> None:
        spec = deployment(variants=(Variant(name="next", components=(PREDICTOR,), mirror_percent=50.0),))
        bench = Bench(tmp_path, spec)
        bench.judge.spool(spec, revision(1), PREDICTOR)
        bench.record("iris-00001", {str(number): 1 for number in range(40)})
        await bench.judge.attend([spec])
        await bench.judge.attend([spec])
        sampling = bench.sampling("iris-00001")
        assert sampling is not None
        assert sampling.percent == 50.0

    asyncio.run(story())


def test_recording_keeps_calls_and_a_missing_package_is_reported_not_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        spec = deployment(recording=Recording())
        bench = Bench(tmp_path, spec)
        bench.judge.spool(spec, revision(1), PREDICTOR)
        with monkeypatch.context() as patch:
            patch.setitem(__import__("sys").modules, "pyarrow", None)
            await bench.judge.attend([spec])
            report: Any = bench.judge.report(KEY)
            assert "pip install 'tiffin[record]'" in report["problem"]
        pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'tiffin[record]'")
        await bench.judge.attend([spec])
        bench.record("iris-00001", {"a": 1, "b": 2})
        await bench.judge.attend([spec])
        with pytest.raises(Exception, match="replica"):
            await bench.judge.replay(spec, revision(2), [], None)
        told: Any = bench.judge.report(KEY)
        assert len(told["recording"]["files"]) == 1
        assert "problem" not in told
        bench.judge.forget(KEY)
        assert not (tmp_path / KEY).exists()

    asyncio.run(story())


def test_replaying_nothing_says_what_to_do(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path, deployment())
        with pytest.raises(CallError) as raised:
            await bench.judge.replay(bench.spec, revision(2), ["/x"], None)
        assert "record" in (raised.value.hint or "")

    asyncio.run(story())
