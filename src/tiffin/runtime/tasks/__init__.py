"""Tasks: calls that are written down, run later, and answered when somebody asks.

Lives here: what a task is (``record``), the rules of its life (``transitions``, pure), where it is kept (``store``
and its three kinds), who runs it (``keeper``, ``running``), in this process or a child of its own (``isolation``,
``child``), and who is told at the end (``webhooks``). ``runtime.service_tasks`` is their HTTP.
"""
