import base64
import hashlib
import hmac
import ipaddress
import json
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.errors import CallError
from tiffin.runtime.tasks import webhooks
from tiffin.runtime.tasks.record import Task, Webhook
from tiffin.runtime.tasks.webhooks import Rules, is_public, message, tell


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "::1",
        "fe80::1", "fd00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "::",
    ],
)  # fmt: skip
def test_private_addresses_are_known_in_every_disguise(address):
    assert not is_public(ipaddress.ip_address(address))


@given(st.ip_addresses(v=4))
def test_an_address_mapped_into_ipv6_is_judged_as_itself(address):
    assert is_public(ipaddress.ip_address(f"::ffff:{address}")) == is_public(address)


@pytest.mark.parametrize("url", ["https://example.com/x", "http://93.184.215.14:8080/x?y=1"])
def test_public_addresses_may_be_told(url):
    Rules().check(url)


@pytest.mark.parametrize(
    "url",
    [
        "", "example.com", "ftp://example.com", "http://", "http://a:b@example.com/", "http://ex ample.com/",
        "http://example.com/\r\nx: y", "http://127.0.0.1/", "http://[::1]:80/", "http://example.com:99999/",
        "http://[::1", "https://exämple.com/", "https://example.com/" + "x" * 3000,
    ],
)  # fmt: skip
def test_what_may_not_be_told_is_refused_before_the_task_is_kept(url):
    with pytest.raises(CallError, match="expected a webhook"):
        Rules().check(url)


@given(st.text(max_size=60))
def test_any_text_is_taken_or_refused(text):
    try:
        Rules().check("http://" + text)
    except CallError:
        return


def test_a_list_allows_private_hosts_and_no_others():
    rules = Rules(["*.internal", "127.0.0.1:9000"])
    rules.check("http://hooks.internal/x")
    rules.check("http://127.0.0.1:9000/x")
    for url in ("http://127.0.0.1:9001/", "https://example.com/"):
        with pytest.raises(CallError, match="on a host of the list"):
            rules.check(url)


def test_a_name_that_leads_to_a_private_address_is_not_told(monkeypatch):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.7", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: found)
    task = Task(id="t", queue="q", method="m", created_at=0.0, webhook=Webhook(url="http://trick.example/"))
    error, is_final = tell(task, Rules())
    assert (error, is_final) == ("expected a webhook at a public address, found trick.example at 10.0.0.7", True)


def test_the_address_that_was_checked_is_the_one_that_is_asked(monkeypatch):
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in ("10.0.0.7", "93.184.215.14")
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: found)
    rules = Rules()
    assert rules.address(rules.check("http://both.example/")) == ("93.184.215.14", 80)


@pytest.mark.parametrize(("secret", "key"), [("hush", b"hush"), ("whsec_AAEC", b"\x00\x01\x02")])
def test_messages_are_signed(secret, key):
    task = Task(
        id="t", queue="q", method="m", created_at=0.0, state="completed", webhook=Webhook(url="http://a.example")
    )
    headers, body = message(task, 1000.7, Rules(secret=secret))
    expected = hmac.new(key, b"t.1000." + body, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(expected).decode()
    assert json.loads(body)["data"]["task_id"] == "t"
    assert "webhook-signature" not in message(task, 1000.7, Rules())[0]


def test_a_secret_that_is_no_base64_is_refused_when_it_is_read():
    from tiffin.errors import SpecError

    with pytest.raises(SpecError, match="TIFFIN_WEBHOOK_SECRET"):
        Rules.from_environment({"TIFFIN_WEBHOOK_SECRET": "whsec_!"})
    rules = webhooks.Rules.from_environment({"TIFFIN_WEBHOOK_HOSTS": " A.example , ,b "})
    assert rules.hosts == ("a.example", "b")
