"""Whether a new revision may go on: measurements in, a verdict with its evidence out. Pure.

``sequential``: tests that may be looked at as often as one likes. ``streams``: counters that only grow, even when
the proxy that counts starts again. ``gates``: one gate and what was measured, judged. ``machine``: the steps of a
rollout. Next door: ``spec.rollout`` (what somebody wrote) and ``local`` (which measures and sets the weights).
"""
