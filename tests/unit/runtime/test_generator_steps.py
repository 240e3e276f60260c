import threading

from tiffin.runtime.generator_steps import Steps


def test_items_come_one_by_one_and_then_the_mark():
    steps = Steps(iter([1, 2]))
    done = object()
    assert [steps.next(done), steps.next(done), steps.next(done)] == [1, 2, done]
    assert not steps.leave()


def test_a_generator_that_waits_is_closed_by_who_leaves():
    ended = []

    def items():
        try:
            yield 1
            yield 2
        finally:
            ended.append(True)

    steps = Steps(items())
    assert steps.next(None) == 1
    assert steps.leave()
    assert not ended
    steps.close()
    assert ended
    assert steps.next("done") == "done"


def test_a_generator_that_runs_is_closed_by_its_step():
    running, go, ended = threading.Event(), threading.Event(), threading.Event()

    def items():
        try:
            running.set()
            go.wait(10)
            yield 1
        finally:
            ended.set()

    kept = items()  # the garbage collector must have no part in it
    steps = Steps(kept)
    thread = threading.Thread(target=steps.next, args=(None,))
    thread.start()
    assert running.wait(10)
    assert not steps.leave()
    assert not ended.is_set()
    go.set()
    thread.join(10)
    assert ended.is_set()


def test_one_that_has_not_begun_needs_no_end():
    steps = Steps(x for x in [1])
    assert not steps.leave()
    assert steps.next("done") == "done"
