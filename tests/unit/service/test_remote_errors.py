from http import HTTPStatus

import msgspec
import pytest
from pydantic import TypeAdapter, ValidationError

from tiffin import errors
from tiffin.service import exceptions
from tiffin.service.remote_errors import Failure, of_status, raised, told


class Sour(exceptions.BentoMLException):
    error_code = HTTPStatus.IM_A_TEAPOT

    def __init__(self, what: str, much: int) -> None:
        super().__init__(f"{what} is {much} times too sour")


def across(error: BaseException) -> Exception:
    """As it is raised on the other side."""
    sent = msgspec.json.encode(told(error, "Inner.f"))
    return raised(msgspec.json.decode(sent, type=Failure))


def test_an_authors_class_keeps_class_status_and_message():
    found = across(Sour("milk", 3))
    assert type(found) is Sour
    assert str(found) == "milk is 3 times too sour"
    assert found.message == "milk is 3 times too sour"
    assert found.error_code == 418


def test_a_class_that_is_not_here_is_its_nearest_base():
    failure = told(exceptions.BadInput("no"), "Inner.f")
    names = ("elsewhere:Finer", *failure.names)
    assert type(raised(Failure(400, "no", names))) is exceptions.BadInput
    found = raised(Failure(409, "no", ("elsewhere:Other",)))
    assert type(found) is exceptions.RemoteException
    assert found.error_code == 409


def test_a_status_given_to_one_error_is_kept():
    found = across(exceptions.NotFound("gone", error_code=HTTPStatus.GONE))
    assert (type(found), found.error_code) == (exceptions.NotFound, 410)


@pytest.mark.parametrize(
    "error",
    [
        errors.TooManyCalls("full"),
        errors.DeadlineExceeded("late"),
        errors.NotReady("soon"),
        errors.DecodeError("x"),
    ],
)
def test_the_platforms_own_errors_keep_class_and_status(error: errors.CallError):
    found = across(error)
    assert (type(found), found.status, str(found)) == (type(error), error.status, str(error))


def test_what_nobody_expected_says_nothing_of_its_inside():
    found = across(ValueError("password=1"))
    assert (type(found), found.error_code) == (exceptions.InternalServerError, 500)
    assert "password" not in str(found)
    assert "Inner.f" in str(found)


def test_values_that_do_not_fit_are_the_callers_mistake():
    with pytest.raises(ValidationError) as info:
        TypeAdapter(int).validate_python("x")
    found = across(info.value)
    assert (type(found), found.error_code) == (exceptions.BadInput, 400)


def test_only_exceptions_of_services_are_rebuilt():
    found = raised(Failure(500, "x", ("builtins:SystemExit", "os:error")))
    assert type(found) is exceptions.RemoteException


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (413, errors.TooLarge),
        (429, errors.TooManyCalls),
        (503, errors.NotReady),
        (504, errors.DeadlineExceeded),
        (404, exceptions.RemoteException),
    ],
)
def test_answers_of_the_gateway_become_errors_of_their_status(status: int, kind: type[Exception]):
    assert type(of_status(status, "Inner.f", "")) is kind
