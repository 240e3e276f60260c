"""The metrics of a class, as Prometheus reads them."""

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tiffin.protocol.seldon import Bounds
from tiffin.runtime import class_metrics
from tiffin.runtime.class_metrics import ClassMetrics
from tiffin.runtime.class_verbs import ClassVerbs
from tiffin.service.plain_class import PlainClass


def samples(metrics):
    registry = CollectorRegistry()
    registry.register(metrics)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def values(metrics, name):
    return [value for (found, _), value in samples(metrics).items() if found == name]


def test_counters_add_up_gauges_stand_and_timers_are_in_seconds():
    metrics = ClassMetrics({"model_name": "clf"})
    for value in (1, 2.5):
        metrics.record([{"type": "COUNTER", "key": "c", "value": value}], "predict")
        metrics.record([{"type": "GAUGE", "key": "g", "value": value}], "predict")
        metrics.record([{"type": "TIMER", "key": "t_ms", "value": 20.2, "tags": {"a": "b"}}], "router")
    found = samples(metrics)
    assert found["c_total", (("method", "predict"), ("model_name", "clf"))] == 3.5
    assert found["g", (("method", "predict"), ("model_name", "clf"))] == 2.5
    labels = (("a", "b"), ("method", "router"), ("model_name", "clf"))
    assert found["t_ms_sum", labels] == pytest.approx(0.0404)
    assert found["t_ms_count", labels] == 2
    buckets = {dict(labels)["le"]: value for (name, labels), value in found.items() if name == "t_ms_bucket"}
    assert len(buckets) == 52
    assert (buckets["0.0"], buckets["+Inf"]) == (0, 2)
    assert {value for bound, value in buckets.items() if float(bound) < 0.0202} == {0}
    assert {value for bound, value in buckets.items() if float(bound) >= 0.0202} == {2}


def test_a_key_may_come_with_other_tags():
    metrics = ClassMetrics({})
    for tags in ({"a": "1"}, {"a": "2"}, {"b": "1"}, {}):
        metrics.record([{"type": "COUNTER", "key": "c", "value": 1, "tags": tags}], "predict")
    assert values(metrics, "c_total") == [1, 1, 1, 1]


def test_every_feedback_counts_also_one_without_reward():
    metrics = ClassMetrics({})

    class Bandit:
        def send_feedback(self, features, names, reward, truth):
            pass

    verbs = ClassVerbs(PlainClass(Bandit), "clf", "img:1.0", Bounds(), metrics)
    for reward in (0.5, 0):
        verbs.send_feedback({"reward": reward})
    assert values(metrics, "seldon_api_model_feedback_total") == [2]
    assert values(metrics, "seldon_api_model_feedback_reward_total") == [0.5]


def test_the_tags_of_a_reply_do_not_change_by_being_counted():
    reported = {"type": "COUNTER", "key": "c", "value": 1, "tags": {"a": "b"}}

    class Model:
        def predict(self, X):
            return X

        def metrics(self):
            return [reported]

    verbs = ClassVerbs(PlainClass(Model), "clf", "img:1.0", Bounds(), ClassMetrics({}))
    reply = verbs.predict({"data": {"ndarray": [[1]]}})
    assert b'"tags":{"a":"b"}' in reply.body
    assert reported["tags"] == {"a": "b"}


@pytest.mark.parametrize("key", ["", "1a", "a b", "é"])
def test_a_key_prometheus_does_not_take_is_left_out_with_a_warning(key, caplog):
    metrics = ClassMetrics({})
    for _ in range(2):
        metrics.record([{"type": "GAUGE", "key": key, "value": 1}], "predict")
    assert samples(metrics) == {}
    assert len(caplog.records) == 1


def test_series_are_bounded(monkeypatch, caplog):
    monkeypatch.setattr(class_metrics, "MOST_SERIES", 3)
    metrics = ClassMetrics({})
    for kind in ("COUNTER", "TIMER"):
        for i in range(3):
            metrics.record([{"type": kind, "key": kind, "value": 1, "tags": {"caller": i}}], "predict")
    assert len(values(metrics, "COUNTER_total")) == 3
    assert values(metrics, "TIMER_count") == []
    assert "3 series already" in caplog.text
