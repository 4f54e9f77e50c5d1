"""Nothing of a password is left in an address that is shown or stored, whatever its characters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.redaction import redacted, redacted_path

SECRETS = st.text(
    st.sampled_from("ABCDEFabcdef0123456789/@#%?:;=.-_~!$'()*+, é"), min_size=1, max_size=12
).map(lambda text: f"QZ{text}ZQ")
"""Each begins and ends with letters that are nowhere else, so that a part of it is found too."""

USERS = st.sampled_from(["", "admin", "me.too", "a%40b"])
HOSTS = st.sampled_from(["h", "10.0.0.5:554", "[::1]:554", "camera.example"])
PATHS = st.sampled_from(["", "/", "/cam/realmonitor?channel=1&subtype=0", "/x#y", "/user=admin&stream=1"])
SCHEMES = st.sampled_from(["rtsp", "rtsps", "http", "https", "RTSP"])
NAMES = st.sampled_from(
    ["password", "pwd", "PASS", "token", "api_key", "auth", "secret", "x-sig", "pass%77ord", "pw"]
)


def leaks(secret: str, shown: str) -> bool:
    return "QZ" in shown or "ZQ" in shown or secret in shown


@given(SCHEMES, USERS, SECRETS, HOSTS, PATHS)
def test_a_users_password_is_hidden(scheme: str, user: str, secret: str, host: str, path: str) -> None:
    shown = redacted(f"{scheme}://{user}:{secret}@{host}{path}")
    assert not leaks(secret, shown)
    assert shown.startswith(f"{scheme}://{user}:***")


@given(SCHEMES, HOSTS, NAMES, SECRETS, st.sampled_from(["?", "?a=b&", "/", "#", "/user=a_", "?a=b;"]))
def test_a_value_whose_name_sounds_like_a_secret_is_hidden(
    scheme: str, host: str, name: str, secret: str, before: str
) -> None:
    shown = redacted(f"{scheme}://{host}/x{before}{name}={secret}&channel=2")
    assert not leaks(secret, shown)
    assert shown.endswith("&channel=2")


@given(SECRETS, SECRETS, HOSTS)
def test_both_are_hidden_together(password: str, token: str, host: str) -> None:
    shown = redacted(f"http://admin:{password}@{host}/x?token={token}")
    assert not leaks(password, shown)
    assert not leaks(token, shown)


@given(SECRETS.filter(lambda secret: ":" not in secret), HOSTS)
def test_a_token_in_place_of_the_user_is_hidden(secret: str, host: str) -> None:
    assert not leaks(secret, redacted(f"rtsp://{secret}@{host}/1"))


@given(SECRETS)
def test_a_password_in_an_address_without_its_scheme_is_hidden_in_errors(secret: str) -> None:
    assert not leaks(secret, redacted_path(f"/home/me/admin:{secret}@10.0.0.5/1"))


@given(st.text())
def test_hiding_twice_changes_nothing_more(text: str) -> None:
    once = redacted(text)
    assert redacted(once) == once


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("rtsp://admin:p4ss@10.0.0.1/x?a=b", "rtsp://admin:***@10.0.0.1/x?a=b"),
        ("rtsp://admin:pa/ss@h/s", "rtsp://admin:***@h/s"),
        ("rtsp://admin:p@ss@h/s", "rtsp://admin:***@h/s"),
        ("http://h/v?user=a&password=b&n=1", "http://h/v?user=a&password=***&n=1"),
        ("rtsp://h:554/user=a&password=b&channel=1", "rtsp://h:554/user=a&password=***&channel=1"),
        ("rtsp://10.0.0.1/live:1", "rtsp://10.0.0.1/live:1"),
        ("/videos/a:b@c.mp4", "/videos/a:b@c.mp4"),
        ("0", "0"),
    ],
)
def test_what_is_no_secret_stays(source: str, shown: str) -> None:
    assert redacted(source) == shown
