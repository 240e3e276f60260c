"""Why pods are not ready, so that somebody can act: from their statuses, events and Deployments. Pure.

What changes all the time by itself (how long the next try waits, the suffix of a pod that was refused) is left
out of messages: a problem that stays is the same problem, so that it is written to the status once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tiffin.kube.manifests import Manifest
from tiffin.operator.observing import Part
from tiffin.plan.state import Problem, ReplicaPhase

FETCHING = "storage-initializer"
"""The init container that fetches a model."""
LINES = 20
"""Last lines of a container that ended, at most."""
_LONGEST = 600

_Fields = Mapping[str, Any]

_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError",
          "RegistryUnavailable", "SignatureValidationFailed")  # fmt: skip
_CONFIGURATION = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
_EVENTS = ("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "Unhealthy")
_HINTS = {
    "ImagePullBackOff": "check the image's name, and the pull secret of the service account",
    "InvalidImageName": "write the image as [registry/]name[:tag]",
    "ErrImageNeverPull": "load the image onto the nodes, or change imagePullPolicy",
    "CreateContainerConfigError": "create what it refers to in this namespace",
    "OOMKilled": "raise resources.limits.memory, or load a smaller model",
    "Unschedulable": "make room, or ask for less: `kubectl describe pod` shows what each node lacks",
    "ModelLoadFailed": "check the artefact's address and its credentials",
    "FailedMount": "create what the volume refers to in this namespace",
    "Unhealthy": "see the container's log; the probe's path and port are those of the container",
    "FailedCreate": "raise the namespace's quota, or ask for less",
    "Evicted": "the node ran short: ask for what the pod needs, so that it is put where that is",
    "ProgressDeadlineExceeded": "see the pods' events and logs; progressDeadlineSeconds is how long it may take",
}
_WORST = ("CrashLoopBackOff", "OOMKilled", "Failed", "ModelLoadFailed", *_CONFIGURATION, *_IMAGE, "FailedMount",
          "FailedAttachVolume", "Evicted", "Unschedulable", "FailedCreatePodSandBox", "Unhealthy")  # fmt: skip
_ERROR, _HINT = "error: ", "hint: "
"""What commands of Tiffin begin their last lines with."""
_POD_NAME = re.compile(r'^(pods?) "[^"]*" ')
_BACK_OFF = re.compile(r'^Back-off pulling image "[^"]*"(?:: ErrImagePull: )?')


def phase_of(pod: Manifest) -> ReplicaPhase:
    """What a pod is doing, in the words every target shares."""
    status = _fields(pod.get("status"))
    if pod["metadata"].get("deletionTimestamp"):
        return "Draining"
    if is_ready(pod):
        return "Ready"
    if status.get("phase") == "Failed":
        return "Failed"
    if any(_crash(one) is not None for one in _containers(status)):
        return "CrashLoopBackOff"
    if any("running" in _fields(one.get("state")) for one in _list(status, "containerStatuses")):
        return "Starting"
    return "Pending"


def is_ready(pod: Manifest) -> bool:
    """Whether its Service sends calls to it."""
    if pod["metadata"].get("deletionTimestamp"):
        return False
    return any(
        one.get("type") == "Ready" and one.get("status") == "True"
        for one in _list(_fields(pod.get("status")), "conditions")
    )


def is_fetching(pod: Manifest) -> bool:
    """Whether its model is on its way."""
    return any(
        one.get("name") == FETCHING and "running" in _fields(one.get("state"))
        for one in _list(_fields(pod.get("status")), "initContainerStatuses")
    )


def has_fetched(pod: Manifest) -> bool:
    """Whether its model has come."""
    for one in _list(_fields(pod.get("status")), "initContainerStatuses"):
        ended = _fields(_fields(one.get("state")).get("terminated"))
        if one.get("name") == FETCHING and ended:
            return ended.get("exitCode") == 0
    return False


def of_pod(pod: Manifest, events: Sequence[Manifest] = ()) -> Problem | None:
    """What keeps a pod from being ready; ``None`` when nothing is known to. ``events`` may be of any pods."""
    status = _fields(pod.get("status"))
    if is_ready(pod) or pod["metadata"].get("deletionTimestamp"):
        return None
    found = [problem for one in _containers(status) if (problem := _of_container(one, pod)) is not None]
    if status.get("phase") == "Failed" and not found:
        reason = str(status.get("reason") or "Failed")
        found.append(_problem(reason, str(status.get("message") or "the pod failed")))
    for condition in _list(status, "conditions"):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            reason = str(condition.get("reason") or "Unschedulable")
            found.append(_problem(reason, str(condition.get("message") or "no node takes the pod")))
    found += _of_events(pod, events)
    return worst(found)


def of_part(part: Part) -> Problem | None:
    """What keeps a Deployment from making pods, or from coming to an end."""
    by_type = {one.get("type"): one for one in part.conditions}
    failure = by_type.get("ReplicaFailure") or {}
    if failure.get("status") == "True":
        message = _POD_NAME.sub(r"\1 ", str(failure.get("message") or "its pods cannot be made"))
        return _problem(str(failure.get("reason") or "FailedCreate"), message)
    progressing = by_type.get("Progressing") or {}
    if progressing.get("status") == "False":
        reason = str(progressing.get("reason") or "ProgressDeadlineExceeded")
        return _problem(reason, f"{part.name} made no progress within its deadline")
    ready = by_type.get("Ready") or {}  # Only Services of Knative say so.
    if ready.get("status") == "False" and part.is_current:
        return _problem(str(ready.get("reason") or "NotReady"), str(ready.get("message") or "it is not ready"))
    return None


def worst(problems: Iterable[Problem]) -> Problem | None:
    """The one to look at first."""
    return min(problems, key=rank, default=None)


def rank(problem: Problem) -> int:
    """Lower is worse."""
    return _WORST.index(problem.reason) if problem.reason in _WORST else len(_WORST)


# -- containers ------------------------------------------------------------------------------------------------


def _of_container(container: _Fields, pod: Manifest) -> Problem | None:
    name = str(container.get("name", ""))
    waiting = _fields(_fields(container.get("state")).get("waiting"))
    reason, message = str(waiting.get("reason") or ""), str(waiting.get("message") or "")
    if reason in _IMAGE:
        reason = "ImagePullBackOff" if reason == "ErrImagePull" else reason
        why = _BACK_OFF.sub("", message).strip()
        image = str(container.get("image") or "")
        told = f"{name}: the image {image} cannot be pulled" + (f": {why}" if why else "")
        return _problem(reason, told)
    crash = _crash(container)
    if crash is not None:
        return _ended(name, container, crash)
    if reason in _CONFIGURATION:
        return _problem(reason, f"{name}: {message or 'the container cannot be created'}")
    return None


def _crash(container: _Fields) -> _Fields | None:
    """How a container that does not stay up ended last."""
    if container.get("ready"):
        return None
    for state in (_fields(container.get("state")), _fields(container.get("lastState"))):
        ended = state.get("terminated")
        if isinstance(ended, Mapping) and (ended.get("exitCode") or ended.get("reason") in ("Error", "OOMKilled")):
            return ended
    waiting = _fields(_fields(container.get("state")).get("waiting"))
    if waiting.get("reason") == "CrashLoopBackOff":
        return _fields(_fields(container.get("lastState")).get("terminated"))
    return None


def _ended(name: str, container: _Fields, ended: _Fields) -> Problem:
    code = ended.get("exitCode")
    lines = [line for line in str(ended.get("message") or "").splitlines() if line.strip()][-LINES:]
    if ended.get("reason") == "OOMKilled":
        return _problem("OOMKilled", f"{name} used more memory than its limit", lines, code)
    how = "ended" if code is None else f"ended with exit code {code}"
    if name == FETCHING:
        told, hint, rest = _said(lines)
        return _problem(
            "ModelLoadFailed", f"the model could not be fetched: {told or f'{name} {how}'}", rest, code, hint
        )
    return _problem("CrashLoopBackOff", f"{name} {how}", lines, code)


def _said(lines: Sequence[str]) -> tuple[str, str, Sequence[str]]:
    """The last error of a program of ours, its hint, and the lines that say something else; else the last line."""
    errors = [at for at, line in enumerate(lines) if line.startswith(_ERROR)]
    if not errors:
        return (lines[-1] if lines else ""), "", lines
    at = errors[-1]
    hint = next((line.removeprefix(_HINT) for line in lines[at + 1 :] if line.startswith(_HINT)), "")
    rest = [line for line in lines if not line.startswith((_ERROR, _HINT))]
    return lines[at].removeprefix(_ERROR), hint, rest


def _of_events(pod: Manifest, events: Sequence[Manifest]) -> Iterable[Problem]:
    """What no status says: volumes that cannot be mounted, probes that fail."""
    uid, name = pod["metadata"].get("uid"), pod["metadata"]["name"]
    has_run = any(
        "running" in _fields(one.get("state")) for one in _list(_fields(pod.get("status")), "containerStatuses")
    )
    latest: dict[str, str] = {}
    for event in events:
        about = _fields(event.get("involvedObject") or event.get("regarding"))
        reason = str(event.get("reason") or "")
        is_own = about.get("uid") == uid if uid and about.get("uid") else about.get("name") == name
        # Once containers run, volumes are there; before that no probe is asked.
        if is_own and reason in _EVENTS and (reason == "Unhealthy") == has_run:
            latest[reason] = str(event.get("message") or event.get("note") or "")
    for reason, message in latest.items():
        yield _problem(reason, message)


def _problem(reason: str, message: str, log: Sequence[str] = (), code: object = None, hint: str = "") -> Problem:
    exit_code = code if isinstance(code, int) else None
    message = message if len(message) <= _LONGEST else message[: _LONGEST - 1] + "…"
    return Problem(
        reason=reason, message=message, hint=hint or _HINTS.get(reason, ""), log=tuple(log), exit_code=exit_code
    )


def _containers(status: _Fields) -> list[_Fields]:
    return [*_list(status, "initContainerStatuses"), *_list(status, "containerStatuses")]


def _fields(value: object) -> _Fields:
    return value if isinstance(value, Mapping) else {}


def _list(status: _Fields, name: str) -> list[_Fields]:
    found = status.get(name)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []
