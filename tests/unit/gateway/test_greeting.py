"""What is said first at the outer door: the greeting hides the inside, and outsiders alone go on."""

import json

import pytest

from services.gateway.domain.greeting import demanding_tls, of_an_outsider, payload_after


def test_the_greeting_demands_tls_and_does_not_say_where_the_broker_is() -> None:
    said = {"server_id": "N", "version": "2.15.1", "host": "127.0.0.1", "port": 4222, "client_ip": "127.0.0.1"}
    greeting = demanding_tls(b"INFO " + json.dumps(said | {"connect_urls": ["10.0.0.2:4222"]}).encode() + b" \r\n")
    assert greeting.endswith(b"\r\n")
    assert json.loads(greeting.removeprefix(b"INFO ")) == {"server_id": "N", "version": "2.15.1", "tls_required": True}


@pytest.mark.parametrize("other", [b"", b"-ERR 'maximum connections exceeded'\r\n", b"INFO []\r\n", b"INFO {\r\n"])
def test_anything_else_is_no_greeting(other: bytes) -> None:
    with pytest.raises(ValueError, match=r"INFO|JSON|Expected|truncated"):
        demanding_tls(other)


@pytest.mark.parametrize(
    ("hello", "heard"),
    [
        (b'CONNECT {"pass":"x","user":"events-0abc"}\r\n', {"user": "events-0abc", "pass": "x"}),
        (b'CONNECT {"verbose":false,"user":"events-"}\r\n', {"user": "events-", "verbose": False}),
        (b'CONNECT {"user":"gateway","user":"events-0"}\r\n', {"user": "events-0"}),
        (b'CONNECT {"user":"events-0","User":"gateway","jwt":"y","auth_token":"z"}\r\n', {"user": "events-0"}),
        (b'CONNECT {"user":"events-0","user":"gateway"}\r\n', None),
        (b'CONNECT {"user":"gateway","pass":"x"}\r\n', None),
        (b'CONNECT {"pass":"x"}\r\n', None),
        (b'CONNECT {"user":3}\r\n', None),
        (b"CONNECT events-\r\n", None),
        (b"PUB evt.studio.job 2\r\n", None),
        (b'connect {"user":"events-0"}\r\n', None),
    ],
)
def test_only_event_credentials_go_on_and_as_they_were_understood_here(
    hello: bytes, heard: dict[str, object] | None
) -> None:
    said = of_an_outsider(hello)
    assert (said and json.loads(said.removeprefix(b"CONNECT "))) == heard


@pytest.mark.parametrize(
    ("line", "size"),
    [
        (b"PING\r\n", None),
        (b"SUB evt.studio.> 1\r\n", None),
        (b"UNSUB 1\r\n", None),
        (b"PUB missed.studio.events-0 _INBOX.events-0.a 12\r\n", 12),
        (b"PUB\tmissed.studio.events-0\t3\r\n", 3),
        (b"pub missed.studio.events-0 0\r\n", 0),
        (b"HPUB missed.studio.events-0 _INBOX.events-0.a 20 32\r\n", 32),
    ],
)
def test_where_a_message_ends_is_known(line: bytes, size: int | None) -> None:
    assert payload_after(line) == size


@pytest.mark.parametrize(
    "line",
    [
        b'CONNECT {"user":"gateway"}\r\n',
        b'connect {"user":"gateway"}\r\n',
        b"PING\n",
        b"PUB a\r 53\n",
        b"PUB a\r 53\r\n",
        b"PUB a -1\r\n",
        b"PUB a +5\r\n",
        b"PUB a\r\n",
        b"PUB \r\n",
    ],
)
def test_nobody_presents_themselves_twice_and_nothing_is_read_otherwise_by_the_broker(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"outsider says|no size"):
        payload_after(line)
