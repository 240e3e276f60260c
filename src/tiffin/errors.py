"""What Tiffin raises, split first by who can fix it.

    TiffinError
    ├── CallError            the caller can fix it (HTTP 4xx, or 503/504 when waiting helps)
    │   ├── DecodeError          400  the bytes are not what the endpoint takes
    │   ├── Unauthorized         401  the token is missing or another one
    │   ├── UnknownRoute         404  no such path, model or endpoint
    │   ├── MethodNotAllowed     405
    │   ├── NoSuchDeployment     404  the controller has no deployment of that name
    │   ├── Conflict             409  somebody else changed the object in between
    │   ├── Expired              410  changes since then are no longer known
    │   ├── CallTimeout          408  the caller sent its request too slowly
    │   ├── TooLarge             413  a body, tensor or head over its limit
    │   ├── UnsupportedMedia     415
    │   ├── HeadTooLarge         431
    │   ├── TooManyCalls         429
    │   ├── NotImplementedHere   501  a part of a protocol Tiffin does not serve
    │   ├── NotReady             503  loading or draining; try again
    │   └── DeadlineExceeded     504
    ├── AuthorError          the author of a model, service or file can fix it (HTTP 500)
    │   ├── SpecError            a deployment file does not say what it must
    │   ├── ModelError           an artefact cannot be found, read or loaded
    │   │   └── UntrustedArtefact    it would run code nobody allowed
    │   ├── ServiceError         a service cannot be imported, or its signature cannot be served
    │   ├── BundleError          a bundle cannot be built or found
    │   ├── ImageError           an image cannot be made, or a layout or archive of one is broken
    │   ├── SignatureError       a signature is missing, by another key, or the content was changed
    │   └── PredictError         the model or method raised, or gave back the wrong thing
    └── PlatformError        who runs the machine can fix it (HTTP 503)
        ├── StorageError         an artefact's address cannot be reached
        ├── RegistryError        a registry refuses, does not answer, or gives something else
        ├── DiskFull         507
        ├── PortInUse
        ├── ProcessError         a replica or the gateway did not start, or died
        └── MissingExtra         an optional package is not installed

A package adds a class of its own below these where only it raises and catches it; the errors page has all codes.

A message says what was expected, what was found and where; ``hint`` says what to do next. What a caller
may see is ``str(error)`` of a CallError only: every other class is answered with a general sentence, and
its text goes to the log with the call's id.
"""

from __future__ import annotations


class TiffinError(Exception):
    """The root. Never raised itself.

    Args:
        message: What was expected, found, and where; one sentence.
        hint: What to do next; shown by the CLI on a line of its own.
        at: Where in the input, for example ``inputs[0].shape`` or ``spec.predictor.model``.
    """

    code = "error"
    status = 500
    retryable = False

    def __init__(self, message: str, *, hint: str | None = None, at: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.at = at

    def __str__(self) -> str:
        """The message, with its place in front when there is one."""
        return f"{self.at}: {self.message}" if self.at else self.message


class CallError(TiffinError):
    """The caller can fix it; the text reaches the caller."""

    code = "bad-call"
    status = 400


class DecodeError(CallError):
    """The bytes of a request are not what the endpoint takes."""

    code = "decode"


class Unauthorized(CallError):
    """The token is missing, or is another one."""

    code = "unauthorized"
    status = 401


class UnknownRoute(CallError):
    """No such path, model or endpoint."""

    code = "unknown-route"
    status = 404


class NoSuchDeployment(CallError):
    """The controller has no deployment of that name."""

    code = "no-such-deployment"
    status = 404


class Conflict(CallError):
    """Somebody else changed the object since the version that was named."""

    code = "conflict"
    status = 409


class Expired(CallError):
    """Changes since the version that was named are no longer known; list again."""

    code = "expired"
    status = 410


class MethodNotAllowed(CallError):
    """The path exists, with another HTTP method. ``allow`` lists those, for example ``("POST",)``."""

    code = "method-not-allowed"
    status = 405

    def __init__(self, message: str, *, allow: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.allow = allow


class CallTimeout(CallError):
    """The caller sent its request too slowly."""

    code = "call-timeout"
    status = 408


class TooLarge(CallError):
    """A body or tensor over its limit."""

    code = "too-large"
    status = 413


class UnsupportedMedia(CallError):
    """The content type or content encoding is not taken here."""

    code = "unsupported-media"
    status = 415


class HeadTooLarge(CallError):
    """The request line and headers are over their limit in bytes or in number."""

    code = "head-too-large"
    status = 431


class TooManyCalls(CallError):
    """The concurrency limit is reached."""

    code = "too-many-calls"
    status = 429
    retryable = True


class NotImplementedHere(CallError):
    """A part of a protocol that Tiffin does not serve."""

    code = "not-implemented"
    status = 501


class NotReady(CallError):
    """The replica is loading or draining; the same call can succeed a little later."""

    code = "not-ready"
    status = 503
    retryable = True


class DeadlineExceeded(CallError):
    """The call took longer than its time-out."""

    code = "deadline"
    status = 504
    retryable = True


class AuthorError(TiffinError):
    """The author of the model, service or file can fix it; the text stays out of replies."""

    code = "author"


class SpecError(AuthorError):
    """A deployment file does not say what it must; ``at`` is the field's path, ``place`` is ``file:line``."""

    code = "spec"

    def __init__(
        self, message: str, *, hint: str | None = None, at: str | None = None, place: str | None = None
    ) -> None:
        super().__init__(message, hint=hint, at=at)
        self.place = place

    def __str__(self) -> str:
        """``file:line: path: message``, as far as they are known."""
        text = super().__str__()
        return f"{self.place}: {text}" if self.place else text


class ModelError(AuthorError):
    """An artefact cannot be found, read or loaded."""

    code = "model"


class UntrustedArtefact(ModelError):
    """Opening the artefact would import or call something that is not allowed."""

    code = "untrusted"


class ServiceError(AuthorError):
    """A service cannot be imported, or its signature cannot be served."""

    code = "service"


class BundleError(AuthorError):
    """A bundle cannot be built, or is not in the store."""

    code = "bundle"


class ImageError(AuthorError):
    """An image cannot be made of a bundle, or the layout or archive of an image is broken."""

    code = "image"


class SignatureError(AuthorError):
    """A signature is missing, is by another key, or the content is not what was signed."""

    code = "signature"


class PredictError(AuthorError):
    """The model or the method raised, or gave back something that is not an answer."""

    code = "predict"


class PlatformError(TiffinError):
    """Who runs the machine or the cluster can fix it."""

    code = "platform"
    status = 503


class StorageError(PlatformError):
    """An artefact's address cannot be reached."""

    code = "storage"


class RegistryError(PlatformError):
    """A registry refuses, does not answer, or gives something else than what was asked for."""

    code = "registry"


class DiskFull(PlatformError):
    """There is no room left to write what was asked for."""

    code = "disk-full"
    status = 507


class PortInUse(PlatformError):
    """Another process listens there."""

    code = "port-in-use"


class ProcessError(PlatformError):
    """A replica or the gateway did not start, or died."""

    code = "process"


class MissingExtra(PlatformError):
    """An optional package is not installed; the hint is the command that installs it."""

    code = "missing-extra"
