"""What should be there, what is there, and the changes between the two; the same for every target. Pure.

``revision``: an immutable version of a variant. ``state``: what a target observes and what a deployment's status
says of it. ``objects``: the JSON of the API. Next door: ``spec`` (what somebody wrote), ``autoscale`` and
``rollout`` (which decide numbers and weights), ``local`` (which applies changes on this machine).
"""
