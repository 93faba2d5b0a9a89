"""Every channel against a real receiver or its documented API: form, signature, lengths, rates, and what it does when
refused."""

import asyncio
import base64
import email
import ssl
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from email import policy as mail_policy
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest
import receivers
from aiosmtpd.controller import Controller
from receivers import DING_SECRET, FEISHU_SECRET, Receiver, receiving
from servers import alertmanager
from standardwebhooks import Webhook, WebhookVerificationError

from analytics.oncall.desk import Event, Page
from analytics.oncall.labels import Signal
from analytics.oncall.outbox import Pace
from analytics.rule import Severity
from twin.message import Message
from ui.benches.demo import free_port
from ui.faces.notify import CHANNELS, Parcel, channel_module
from ui.faces.notify.picture import picture
from ui.faces.notify.post import Post, Undelivered, listed, public
from ui.faces.notify.said import cut, say
from ui.faces.notify.signed import key_of, verified
from ui.faces.notify.v4 import annotations, fingerprint
from ui.words import words

SIGNING = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
NOW_S = float(int(time.time()))
LABELS = {"alertname": "pdu_tripped", "severity": "critical", "kind": "pdu", "asset": "A1-feed", "hall": "h1", "site": "c"}
LONG = "供电回路跳闸 " * 900


def signal(key: str = "pdu_tripped:A1-feed", text: str = "{asset} has tripped", **more: Any) -> Signal:
    said = Message(text, {"asset": "A1-feed"})
    return Signal(key, LABELS, Severity.CRITICAL, said, NOW_S - 90, runbook="Look at the breaker.", folded=4999, **more)


def page(event: Event = Event.TRIGGER, *signals: Signal, **more: Any) -> Page:
    given = signals or (signal(),)
    full = {"number": 1, "left_out": 0, "made_s": NOW_S, "opened_s": NOW_S - 60.5, **more}
    return Page("c", 'all:{alertname="pdu_tripped"}', "all:{…}@1", event, Severity.CRITICAL, LABELS, given, **full)


PNG = picture("A1-feed", NOW_S + np.arange(60.0), np.sin(np.arange(60.0) / 9) + 20, 20.5, NOW_S + 30, "c", words("en"), "UTC")
assert PNG is not None


def annotated(outside: str, page_of_rule: str) -> dict[str, str]:
    return annotations(signal(page=page_of_rule), words("en"), outside)


def test_a_runbooks_address_is_one_that_opens_or_is_left_out() -> None:
    assert annotated("https://noc.example.org/", "gpu#gpu_hot")["runbook_url"] == "https://noc.example.org/runbooks/gpu#gpu_hot"
    assert annotated("", "https://wiki.example.org/hot")["runbook_url"] == "https://wiki.example.org/hot"
    assert "runbook_url" not in annotated("", "gpu#gpu_hot")
    assert "runbook_url" not in annotated("https://noc.example.org", "")


def parcel(*pages: Page, language: str = "zh", outside: str = "https://noc.example.org") -> Parcel:
    given = pages or (page(),)
    said = say(given, words(language), "Asia/Shanghai", outside, PNG if len(given) == 1 else None)
    return Parcel("icctwin-1", given, said, NOW_S)


OPTIONS: dict[str, tuple[dict[str, Any], dict[str, str], Callable[[receivers.Seen], tuple[int, Any]]]] = {
    "alertmanager": ({"url": "{url}"}, {}, receivers.anything),
    "dingtalk": ({}, {"url": "{url}/robot/send?access_token=tok", "secret": DING_SECRET}, receivers.dingtalk(time.time)),
    "feishu": ({"mention_all": True}, {"url": "{url}/hook", "secret": FEISHU_SECRET}, receivers.feishu(time.time)),
    "opsgenie": ({"url": "{url}/v2/alerts"}, {"api_key": "og-key"}, receivers.opsgenie),
    "pagerduty": ({"url": "{url}/v2/enqueue"}, {"routing_key": "R" * 32}, receivers.pagerduty),
    "signed": ({"url": "{url}"}, {"secret": SIGNING}, receivers.anything),
    "slack": ({}, {"url": "{url}/services/T/B/x"}, receivers.slack),
    "sms": (
        {"url": "{url}", "numbers": ["+8613800000000"], "body": {"to": "{number}", "content": "{text}", "v": ["{severity}"]}},
        {"token": "t"},
        receivers.anything,
    ),
    "teams": ({}, {"url": "{url}/workflows/x"}, receivers.teams),
    "webhook": ({"url": "{url}/hook"}, {"token": "a-token-of-receivers-0123"}, receivers.anything),
    "wecom": ({}, {"url": "{url}/cgi-bin/webhook/send?key=k-1"}, receivers.wecom()),
    "apprise": ({}, {"url": "json://{bare}/apprise"}, receivers.anything),
}


def opened(kind: str, receiver: Receiver) -> Any:
    """The channel of that type, told to send to ``receiver``."""
    options, secrets, _ = OPTIONS[kind]
    fill = {"{url}": receiver.url, "{bare}": receiver.url.removeprefix("http://")}

    def put(text: Any) -> Any:
        for sign, value in fill.items():
            text = text.replace(sign, value) if isinstance(text, str) else text
        return text

    module = channel_module(kind)
    named = {name: f"env:{name.upper()}" for name in secrets}
    checked = module.Options.model_validate({**named, **{name: put(value) for name, value in options.items()}})
    return module.build(kind, checked, {name: put(value) for name, value in secrets.items()})


async def deliver(channel: Any, *pages: Page, allow: tuple[str, ...] = ("127.0.0.1",)) -> None:
    post = Post(allow)
    try:
        await channel.deliver(parcel(*pages), post)
    finally:
        await post.close()


def test_every_channel_is_shown() -> None:
    assert set(OPTIONS) | {"email"} == set(CHANNELS)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what apprise imports
@pytest.mark.parametrize("kind", sorted(OPTIONS))
async def test_contract(kind: str) -> None:
    """Each kind of page is taken, one far too long too; a refusal is told apart from trouble; nothing says a secret."""
    with receiving(OPTIONS[kind][2]) as receiver:
        channel = opened(kind, receiver)
        for event in Event:
            await deliver(channel, page(event, note="on my way", person="li"))
        long = page(Event.TRIGGER, *(signal(f"k:{i}", LONG) for i in range(50)), left_out=400)
        await deliver(channel, long)
        await deliver(channel, page(), long, page(Event.RESOLVE))  # a digest
        assert len(receiver.taken) >= len(Event) + 2
        assert len(receiver.taken) == len(receiver.seen)
        if kind == "apprise":
            return  # says only whether
        for status, hopeless in ((500, False), (429, False), (503, False), (400, True), (302, True)):
            receiver.answers.append((status, {"Retry-After": "17", "Location": "http://10.0.0.1/"}, {"token": "secret"}))
            with pytest.raises(Undelivered) as caught:
                await deliver(channel)
            assert caught.value.hopeless is hopeless
            assert status == 302 or caught.value.retry_after_s == 17.0
            assert not any(text in str(caught.value) for text in ("tok&", "k-1", "/services/T", FEISHU_SECRET))
        assert len(receiver.seen) == len(receiver.taken) + 5  # no redirect was followed


async def test_robots_codes_ask_for_patience_or_end() -> None:
    for kind, busy, refused in (("dingtalk", 130101, 310000), ("feishu", 11232, 19021), ("wecom", 45009, 93000)):
        with receiving(OPTIONS[kind][2]) as receiver:
            channel, name = opened(kind, receiver), "code" if kind == "feishu" else "errcode"
            receiver.answers = [(200, {}, {name: busy, "errmsg": "slow"}), (200, {}, {name: refused}), (200, {}, [])]
            found = []
            for _ in range(3):
                with pytest.raises(Undelivered) as caught:
                    await deliver(channel)
                found.append((caught.value.hopeless, caught.value.retry_after_s))
            assert found == [(False, 600.0 if kind == "dingtalk" else 60.0), (True, 0.0), (False, 0.0)]


async def test_what_a_receiver_repeats_of_a_secret_is_not_told() -> None:
    """Parts of path and query, as sent and as meant, and the headers; where the answer is cut, and inside a robot's too."""
    token, value, bearer = "T0KEN-in-the-path", "a/secret value", "a-token-of-receivers-0123"
    url = f"{{url}}/hooks/{token}/x?sig=a%2Fsecret%20value&v=1"
    said = f"Cannot POST /hooks/{token}: {value} a%2Fsecret%20value {token.lower()}; Bearer {bearer}; " + "x" * 60 + token
    channels = [
        ("webhook", {}, [404, 500]),
        ("wecom", {"errcode": 93000, "errmsg": said}, [200]),
    ]
    for kind, body, statuses in channels:
        with receiving(OPTIONS[kind][2]) as receiver:
            module = channel_module(kind)
            options = module.Options.model_validate({"url": "env:URL"})
            secrets = {"url": url.replace("{url}", receiver.url)} | ({"token": bearer} if kind == "webhook" else {})
            channel = module.build("c", options, secrets)
            receiver.answers = [(status, {}, body or said) for status in statuses]
            for _ in range(len(receiver.answers)):
                with pytest.raises(Undelivered) as caught:
                    await deliver(channel)
                told = str(caught.value).lower()
                assert "cannot post" in told
                assert not any(one.lower() in told for one in (token[:8], value, "secret%20value", secrets.get("token", token)))
            assert receiver.seen[0].path.startswith(f"/hooks/{token}/x?sig="), "and the secret's URL is where it went"


async def test_what_the_robots_were_told() -> None:
    """In Chinese, the cause in the first line, with the link, and no mention smuggled in."""
    for kind in ("dingtalk", "feishu", "wecom"):
        with receiving(OPTIONS[kind][2]) as receiver:
            await deliver(opened(kind, receiver), page(Event.TRIGGER, signal(text="{asset} @all [x](http://evil) tripped")))
            body = receiver.taken[0].body
            text = {
                "dingtalk": lambda b: b["markdown"]["text"],
                "feishu": lambda b: b["card"]["elements"][0]["content"],
                "wecom": lambda b: b["markdown"]["content"],
            }[kind](body)
            assert "A1-feed" in text.splitlines()[0]
            assert "严重" in text.splitlines()[0]
            assert "+4999" in text
            assert "(https://noc.example.org/oncall?alert=" in text
            assert "@all" not in text
            assert "](http://evil" not in text
            if kind == "wecom":
                assert receiver.taken[1].body["msgtype"] == "image"


async def test_alertmanager_payload_is_of_version_4() -> None:
    with receiving(receivers.anything) as receiver:
        over = replace(signal(), ended_s=NOW_S)
        await deliver(opened("webhook", receiver), page(Event.UPDATE, signal(), over))
        body = receiver.taken[0].body
    assert list(body) == [
        "receiver", "status", "alerts", "groupLabels", "commonLabels", "commonAnnotations", "externalURL", "version",
        "groupKey", "truncatedAlerts",
    ]  # fmt: skip
    alert, ended = body["alerts"]
    assert list(alert) == ["status", "labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint"]
    assert (alert["status"], alert["endsAt"], ended["status"]) == ("firing", "0001-01-01T00:00:00Z", "resolved")
    assert body["groupKey"] == '{}:{alertname="pdu_tripped"}'
    assert body["commonLabels"] == LABELS


async def test_a_signed_webhook_is_believed_by_others_and_not_when_changed_or_played_again() -> None:
    now_s = float(int(time.time()))  # the library looks at the machine's clock
    with receiving(receivers.anything) as receiver:
        post = Post(("127.0.0.1",))
        await opened("signed", receiver).deliver(replace(parcel(), now_s=now_s), post)
        await post.close()
        one = receiver.taken[0]
    raw, headers, key = one.headers["raw"], one.headers, key_of(SIGNING)
    assert Webhook(SIGNING).verify(raw, headers)["type"] == "page.trigger"  # the specification's own library
    with pytest.raises(WebhookVerificationError):
        Webhook(SIGNING).verify(raw.replace("tripped", "skipped"), headers)
    seen: dict[str, float] = {}
    assert not verified(key, headers, raw.replace("tripped", "skipped").encode(), now_s, seen)
    assert not verified(key, headers, raw.encode(), now_s + 301, seen)
    assert verified(key, headers, raw.encode(), now_s + 10, seen)
    assert not verified(key, headers, raw.encode(), now_s + 20, seen)  # played again
    with pytest.raises(ValueError, match="24 or more"):
        key_of("short")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://a.example/x", "no scheme"),
        ("http://a.example/x", "write https"),
        ("https://u:p@a.example/x", "password in the URL"),
        ("https://127.0.0.1/x", "private network"),
        ("https://169.254.169.254/latest/meta-data", "private network"),
        ("https://[::1]/x", "private network"),
        ("https://localhost/x", "private network"),
    ],
)
async def test_where_a_page_may_never_go(url: str, says: str) -> None:
    post = Post(("10.0.0.0/8", "*.mgmt"))
    with pytest.raises(Undelivered, match=says):
        await post.send(url, body={})
    await post.close()
    assert listed("10.1.2.3", ("10.0.0.0/8",))
    assert listed("AM.mgmt", ("*.mgmt",))
    assert not public("100.64.0.1")


def test_cutting_never_splits_a_character() -> None:
    for n in range(3, 40):
        assert len(cut("供电回路跳闸ab", n).encode()) <= n


def test_a_picture_is_small_and_says_nothing_without_values() -> None:
    assert len(PNG) < 20_000
    empty = picture("x", np.arange(9.0), np.full(9, np.nan), 1.0, 0.0, "c", words("en"), "UTC")
    assert empty is None


# --- real ones
# -----------------------------------------------------------------------------------------------------------------


@pytest.mark.server
async def test_a_real_alertmanager_takes_our_alerts_and_speaks_as_we_do(tmp_path: Path) -> None:
    """Pushed in by its API, they come out of its webhook; ours is the same payload, key by key, fingerprint included."""
    with receiving(receivers.anything) as receiver, alertmanager(tmp_path, f"{receiver.url}/hook") as url:
        module = channel_module("alertmanager")
        channel = module.build("am", module.Options.model_validate({"url": url}), {})
        await deliver(channel)
        theirs = await _until(receiver, "firing")
        await deliver(channel, page(Event.RESOLVE, replace(signal(), ended_s=NOW_S)))
        await _until(receiver, "resolved")
        await deliver(opened("webhook", receiver), page())
        ours = receiver.taken[-1].body
        with urlopen(Request(f"{url}/api/v2/alerts?active=false"), timeout=5) as answer:  # noqa: ASYNC210 - a test
            assert answer.status == 200
    assert list(ours) == list(theirs)
    assert list(ours["alerts"][0]) == list(theirs["alerts"][0])
    for name in ("labels", "fingerprint", "status", "endsAt", "annotations"):
        assert ours["alerts"][0][name] == theirs["alerts"][0][name] or name == "annotations"
    assert ours["groupKey"] == theirs["groupKey"] == '{}:{alertname="pdu_tripped"}'
    assert ours["commonLabels"] == theirs["commonLabels"]
    assert fingerprint(LABELS) == theirs["alerts"][0]["fingerprint"]


async def _until(receiver: Receiver, status: str) -> dict[str, Any]:
    for _ in range(200):
        if found := [one.body for one in receiver.taken if one.body["status"] == status]:
            return dict(found[-1])
        await asyncio.sleep(0.05)
    raise AssertionError(f"no {status} page came")


class Mailbox:
    """What an SMTP server keeps; refuses one receiver."""

    def __init__(self) -> None:
        self.mails: list[Any] = []

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address.startswith("nobody@"):
            return "550 no such user here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        assert session.ssl is not None, "the mail came in the clear"
        self.mails.append(email.message_from_bytes(envelope.content, policy=mail_policy.default))
        return "250 kept"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return key, cert


async def test_mail_goes_over_tls_with_a_picture_in_one_thread(certificate: tuple[Path, Path]) -> None:
    key, cert = certificate
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    box = Mailbox()
    server = Controller(box, hostname="127.0.0.1", port=free_port(), tls_context=context, require_starttls=True)
    server.start()
    try:
        module = channel_module("email")
        given = {"host": "localhost", "port": server.port, "sender": "noc@c.example", "to": ["li@c.example"], "ca": str(cert)}
        channel = module.build("mail", module.Options.model_validate(given), {})
        await deliver(channel)
        await deliver(channel, page(Event.RESOLVE))
        refused = module.build("mail", module.Options.model_validate(given | {"to": ["nobody@c.example"]}), {})
        with pytest.raises(Undelivered, match="none of 1"):
            await deliver(refused)
        untrusted = module.build("mail", module.Options.model_validate({k: v for k, v in given.items() if k != "ca"}), {})
        with pytest.raises(Undelivered, match="certificate"):
            await deliver(untrusted)
    finally:
        server.stop()
    first, last = box.mails
    assert "A1-feed" in first["Subject"]
    assert first["References"] == last["References"]
    assert first["Message-ID"]
    assert [part.get_content_type() for part in first.walk()][-1] == "image/png"
    assert "严重" in first["Subject"]


def test_paces_stay_under_the_documented_limits() -> None:
    limits = {"dingtalk": (20, 0), "feishu": (100, 5), "wecom": (20, 0)}
    for kind, (per_minute, per_second) in limits.items():
        pace: Pace = channel_module(kind).PACE
        assert 0 < pace.per_minute_count < per_minute
        assert not per_second or 0 < pace.per_second_count < per_second
        assert pace.digests
