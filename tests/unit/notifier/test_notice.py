"""The words of a notice, and what hostile words can do in it: nothing."""

import json
from email import message_from_bytes
from email.policy import default
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slack_sdk.models.blocks import Block

from contracts.catalogue import heard_by
from contracts.jobs import JobSubmitted, Remedy
from services.notifier.domain import blocks, mail
from services.notifier.domain.notice import (
    ABOUT,
    REMARKS,
    UNKNOWN_REMARK,
    Fact,
    Notice,
    Surroundings,
    about,
    notice_of,
    plain,
    spoken,
    subject,
    with_invitation,
)
from tests.unit.notifier import facts

HERE = Surroundings("https://woodshed.example/", "EUR")
ALL = [
    facts.succeeded(), facts.failed(), facts.cancelled(), facts.reported(), facts.unreported(), facts.remarked(),
    facts.untracked(),
]  # fmt: skip
HOSTILE = [
    "<!channel> <@U123> <https://evil.example|click>",
    '<script>alert(1)</script><img src="file:///etc/passwd" onerror=x>',
    '=HYPERLINK("https://evil.example","x")',
    "line\r\nBcc: victim@example.com\r\n\r\nbody",
    "\x1b[2J\x1b]0;owned\x07 \u202egnp.exe",
    "{title} {0} %s &amp; &lt;",
    "*bold* _it_ `code` ~no~",
    "&" * 5000,
]


def every_text(value: object) -> list[str]:
    """Collect the text objects of a Slack message."""
    if isinstance(value, dict):
        inner = [text for each in value.values() for text in every_text(each)]
        return inner + ([value["text"]] if value.get("type") == "mrkdwn" else [])
    return [text for each in value for text in every_text(each)] if isinstance(value, list) else []


@pytest.mark.parametrize("fact", ALL, ids=lambda fact: type(fact).__name__)
def test_every_fact_becomes_a_notice_with_a_way_to_look_further(fact: Fact) -> None:
    notice = notice_of(fact, HERE)
    assert notice.link.startswith("https://woodshed.example/v1/fine_tuning/jobs/ftjob-1")
    assert notice.title in notice.text()
    assert notice.lead in notice.text()
    assert notice.link in notice.text()


def test_every_fact_the_notifier_hears_of_a_job_is_about_something() -> None:
    heard = {fact.kind for fact in heard_by("notifier") if "job_id" in fact.kind.__struct_fields__}
    assert set(ABOUT) == heard - {JobSubmitted}
    assert about(facts.untracked()) == "remark:tracker_refused"


def test_success_names_the_model_and_the_figures_people_ask_for() -> None:
    notice = notice_of(facts.succeeded(interruptions=2), HERE)
    assert notice.figures == (
        ("Model", "ft:SmolLM2-135M-Instruct:acme:coach:7p4xure2"),
        ("Training time", "11 min"),
        ("Learned from", "18,250 tokens"),
        ("Cost", "0.01 EUR"),
        ("Interruptions survived", "2, 0 steps lost"),
    )


def test_failure_says_why_and_what_to_do() -> None:
    notice = notice_of(facts.failed(), HERE)
    assert notice.lead == "The machine ran out of memory."
    assert ("What to do", "Choose a smaller rank.") in notice.figures
    assert ("Try again with", "woodshed retry ftjob-1") in notice.figures
    mend = Remedy(kind="change_data", title="Mend the file", sentence="Line 3 has no reply.")
    figures = notice_of(facts.failed(remedy=mend), HERE).figures
    assert ("Try again with", "woodshed retry ftjob-1 --file MENDED") in figures


@pytest.mark.parametrize("code", ["time_limit", "loss_spike", "not_converging", "evaluation_skipped", "new"])
def test_each_kind_of_alert_has_its_title_and_is_told_for_itself(code: str) -> None:
    notice = notice_of(facts.remarked(code=code), HERE)
    assert notice.title == REMARKS.get(code, UNKNOWN_REMARK)
    assert notice.lead == "The loss jumped."
    assert about(facts.remarked(code=code)) == f"remark:{code}"


@pytest.mark.parametrize("percent", [50, 80, 100])
def test_what_a_budget_has_come_to_is_a_subject_of_its_own(percent: int) -> None:
    told = facts.remarked(code=f"budget_{percent}")
    assert "budget" in notice_of(told, HERE).title
    assert about(told) == f"budget:budget_{percent}"


@pytest.mark.parametrize(("percent", "mood"), [(50, "plain"), (80, "plain"), (100, "bad")])
def test_what_a_month_has_cost_is_told_once_at_each_threshold_with_what_can_be_done(percent: int, mood: str) -> None:
    told = facts.month_spent(percent)
    notice = notice_of(told, HERE)
    assert (about(told), subject(told), notice.mood) == (f"budget:month_{percent}", "2026-11", mood)
    assert "month's budget" in notice.title
    assert ("Spent", "401.25 of 500.00 EUR") in notice.figures
    assert notice.link == "https://woodshed.example/v1/budget"


def test_the_letter_with_an_invitation_is_not_what_is_kept_of_it() -> None:
    told = facts.invited()
    kept = notice_of(told, HERE)
    sent = with_invitation(kept, "the-secret", facts.AT, HERE)
    assert (about(told), subject(told)) == ("invitation:3", "member-ana")
    assert "the-secret" not in kept.text()
    assert ("Invitation", "the-secret") in sent.figures
    assert "woodshed accept https://woodshed.example" in sent.text()
    assert "21 November 2026, 12:00 UTC" in sent.text()


@pytest.mark.parametrize(
    ("verdict", "mood"),
    [("better", "good"), ("worse", "bad"), ("no_difference", "plain"), ("mixed", "plain"), ("new", "plain")],
)
def test_the_report_links_to_itself_and_shows_its_verdict(verdict: str, mood: str) -> None:
    notice = notice_of(facts.reported(verdict=verdict), HERE)
    assert notice.link.endswith("/ftjob-1/report.html")
    assert notice.mood == mood


@pytest.mark.parametrize("words", HOSTILE)
@pytest.mark.parametrize("of", [lambda w: facts.succeeded(model=w), lambda w: facts.failed(message=w, fix=w, reason=w)])
def test_slack_takes_every_message_and_finds_no_markup_in_it(words: str, of) -> None:  # type: ignore[no-untyped-def]
    body = blocks.message(notice_of(of(words), HERE))
    for block in body["blocks"]:
        Block.parse(block).validate_json()
    told = [body["text"], *every_text(body["blocks"])]
    link = "<https://woodshed.example/v1/fine_tuning/jobs/ftjob-1|See the job>"
    assert all("<" not in text.replace(link, "") for text in told)
    assert all(len(text) <= 3000 for text in told)
    assert all(len(field["text"]) <= 2000 for block in body["blocks"] for field in block.get("fields", []))


@given(st.text(max_size=300), st.integers(0, 400))
def test_an_escaped_text_is_never_longer_than_allowed_nor_ends_inside_an_entity(text: str, longest: int) -> None:
    safe = blocks.escaped(text, longest)
    assert len(safe) <= longest
    restored = safe.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert text.startswith(restored)


class Tags(HTMLParser):
    """Notes every tag and every attribute's name and value."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [str(value) for name, value in attrs if name in ("href", "src") or name.startswith("on")]


@pytest.mark.parametrize("words", HOSTILE)
def test_a_mail_shows_hostile_words_as_words_and_fetches_nothing(words: str) -> None:
    notice = notice_of(facts.failed(message=words, fix=words), HERE)
    seen = Tags()
    seen.feed(mail.page(notice))
    assert not seen.tags & {"script", "img", "style", "link", "iframe"}
    assert seen.links == [notice.link]


@pytest.mark.parametrize("words", HOSTILE)
def test_a_mail_has_two_parts_and_only_the_headers_it_should(words: str) -> None:
    letter = mail.letter(notice_of(facts.failed(message=words), HERE), "notice-1", "Woodshed <w@x>", "a@x, b@x")
    read = message_from_bytes(bytes(letter), policy=default)
    assert [part.get_content_type() for part in read.iter_parts()] == ["text/plain", "text/html"]
    assert read["Bcc"] is None
    assert read["Message-ID"] == "<notice-1@woodshed>"
    assert plain(words)[:40] in read.get_body(("plain",)).get_content().replace("\n", " ")


def test_a_title_can_break_no_header() -> None:
    notice = Notice(title=plain("a\r\nBcc: x@y"), lead="", mood="plain", job_id="j", link="l", link_label="see")
    assert "\nBcc" not in bytes(mail.letter(notice, "notice-1", "w@x", "a@x")).decode()


def test_control_and_direction_characters_are_taken_out() -> None:
    assert plain("\x1b[2Jred\x07 \u202egnp\n\tx\u2028y") == "[2Jred gnp x y"


def test_the_slack_message_is_json() -> None:
    assert json.loads(json.dumps(blocks.message(notice_of(facts.reported(), HERE))))


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (89, "89 s"), (662, "11 min"), (5400, "1 h 30 min"), (12_000, "3 h 20 min")]
)
def test_durations_are_spoken(seconds: float, words: str) -> None:
    assert spoken(seconds) == words
