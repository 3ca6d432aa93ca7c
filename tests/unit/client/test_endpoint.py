"""What an endpoint tells of a receiver's words: nothing of what was sent to it in confidence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_stream.client.endpoint import Endpoint

SLACK = "https://hooks.slack.example/services/T0123456/B0123456/XyZabcdefghij"
PLAIN = "https://h.example/hook"


@pytest.mark.parametrize(
    ("url", "words", "told"),
    [
        (SLACK, "no team T0123456", "no team ***"),
        (SLACK, "no hook XyZabcdefghij here", "no hook *** here"),
        (SLACK, "POST /services/T0123456/B0123456/XyZabcdefghij", "POST /***"),
        (SLACK, "https://hooks2.example/v2/B0123456/XyZabcdefghij", "https://hooks2.example/v2/***/***"),
        ("https://h/hook?team=7&token=s3cretvalue", "bad token s3cretvalue", "bad token ***"),
        ("https://h/hook?token=s3cretvalue&x=1", "tokens: s3cretvalue.", "tokens: ***."),
        ("https://h/hook?s3cretvalue", "what is s3cretvalue", "what is ***"),
        ("https://h?token=s3cretvalue", "what is s3cretvalue", "what is ***"),
        ("https://h/s3%2Fcret%3Dval", "unknown: s3/cret=val", "unknown: ***"),
        ("https://h/s3%2Fcret%3Dval", "unknown: s3%2fcret%3dval", "unknown: ***"),
        ("https://h/s3%2Fcret%3Dval", r'{"unknown":"s3\/cret=val"}', '{"unknown":"***"}'),
        ("https://h/s3/crét-value", "unknown: crét-value", "unknown: ***"),
        ("https://h/s3/crét-value", "unknown: cr%C3%A9t-value", "unknown: ***"),
        ("https://h/hook?k=a+secret+value", "k is a secret value", "k is ***"),
        ("https://h/hook?k=a+secret+value", "k is a%20secret%20value", "k is ***"),
        ("https://anastasia:hunter2@h/hook", "no user anastasia", "no user ***"),
        ("https://anastasia:hun%23ter2@h/hook", "password hun#ter2 of anastasia", "password *** of ***"),
        ("https://anastasia:hun%23ter2@h/hook", "password hun%23ter2 of anastasia", "password *** of ***"),
        ("https://ana:pw@h/hook", "user ana, password pw", "user ***, password ***"),
    ],
)
def test_no_part_of_what_was_sent_is_told(url: str, words: str, told: str) -> None:
    assert Endpoint.parse(url).told(words) == told


def test_words_of_a_path_stay() -> None:
    endpoint = Endpoint.parse("https://h.example/hook/v2?team=ops")
    assert endpoint.told("/hook/v2 has no team ops") == "/hook/v2 has no team ops"


@pytest.mark.parametrize("value", ["1", "a", "no", "t r"])
def test_a_short_header_does_not_hide_the_log(value: str) -> None:
    endpoint = Endpoint.parse("https://a:b@h.example/hook", [f"X-Env: {value}"])
    words = "internal server trouble, notes at https://status.example/101"
    assert endpoint.told(words) == words
    assert endpoint.told(f"X-Env: {value}") == "X-Env: ***"


@given(st.text(), st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S")), max_size=20))
def test_any_words_can_be_told(words: str, value: str) -> None:
    told = Endpoint.parse(PLAIN, [f"X-Any: {value}"]).told(words)
    assert told.isprintable()
    assert len(told) <= 200
