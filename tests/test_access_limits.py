"""What guards the address itself: how often one may ask, how much one may hold, and TLS without a proxy."""

import asyncio
import contextlib
import errno
import io
import logging
import socket
import ssl
import threading
import time
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from access_house import PASSWORD, house, sign_in
from faces_harness import served
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

import ui.listen as listening
from twin.errors import ConfigError, SourceError
from ui.access.guesses import FREE, network_of
from ui.access.rates import BURST_S, MAX_KEPT, Held, Rates
from ui.access.role import NOBODY, Identity, Role, Sort
from ui.access.signin import AT_ONCE
from ui.alive import ask
from ui.benches.demo import free_port
from ui.config import WallSection, load_config
from ui.listen import SHARE, faces, listen
from ui.sparing import Sparing

LOCAL, GUEST = Identity("local", "local", Role.ADMIN), Identity("guest", "guest", Role.VIEWER)


def one(ref: str) -> Identity:
    return Identity("li", "li", Role.VIEWER, sort=Sort.TOKEN, ref=ref)


async def test_who_asks_without_end_is_told_to_wait_and_nobody_else_is(tmp_path: Path) -> None:
    made = house(tmp_path, {"requests_per_s": 2})
    made.user("li", Role.VIEWER)
    loop, calm = made.token("li", Role.VIEWER), made.token("li", Role.VIEWER)
    async with made.program(loop) as script, made.program(calm) as other:
        said = [await script.get("/api/v1/access/me") for _ in range(int(2 * BURST_S) + 3)]
        assert [answer.status_code for answer in said[-4:]] == [200, 429, 429, 429]
        assert said[-1].headers["retry-after"] == "1"
        assert "requests_per_s" in said[-1].json()["detail"]
        assert said[-1].headers["x-content-type-options"] == "nosniff"
        assert (await other.get("/api/v1/access/me")).status_code == 200
        made.clock.skip(0.6)
        assert (await script.get("/api/v1/access/me")).status_code == 200
    async with made.browser("198.51.100.9") as stranger, made.browser("198.51.100.10") as neighbour:
        told = [(await stranger.get("/sign-in")).status_code for _ in range(int(2 * BURST_S) + 1)]
        assert told[-2:] == [200, 429]
        assert (await neighbour.get("/sign-in")).status_code == 200


async def test_whoever_shows_a_wrong_token_is_paced_as_anybody(tmp_path: Path) -> None:
    made = house(tmp_path, {"requests_per_s": 2})
    made.user("li", Role.VIEWER)
    good = {"authorization": f"Bearer {made.token('li', Role.VIEWER)}"}
    wrong = {"authorization": "Bearer a-guess"}
    asked = (("GET", "/api/v1/site", wrong), ("GET", "/?kiosk=a-guess", {}), ("POST", "/write?p=a-guess", {}))
    for i, (method, path, shown) in enumerate(asked):
        async with made.browser(f"198.51.100.{20 + i}") as guesser:
            told = [(await guesser.request(method, path, headers=shown)).status_code for _ in range(int(2 * BURST_S) + 2)]
            assert told[-2:] == [429, 429], path
            assert 429 not in told[:-2], path
            assert (await guesser.get("/api/v1/site", headers=good)).status_code == 200, "who has a token is not kept out"


def test_a_user_a_token_and_a_network_of_strangers_hold_twenty_sockets_each() -> None:
    held, anywhere = Held(), "203.0.113.7"
    sessions = [Identity("li", "li", Role.VIEWER, sort=Sort.SESSION, ref=f"s{k % 3}") for k in range(21)]
    kiosks = [Identity("li", "hall", Role.VIEWER, sort=Sort.KIOSK, ref="k1")] * 21
    for crowd, places in (
        (sessions, [anywhere] * 21),
        (kiosks, [anywhere] * 21),
        ([one("t1")] * 21, [f"203.0.113.{k}" for k in range(21)]),
        ([GUEST] * 21, [f"2001:db8::{k}" for k in range(21)]),
    ):
        with ExitStack() as stack:
            free = [stack.enter_context(held.one(who, where)) for who, where in zip(crowd, places, strict=True)]
            assert free == [True] * 20 + [False]
            assert stack.enter_context(held.one(one("t2"), anywhere)), "others are not touched"
            assert stack.enter_context(held.one(GUEST, "2001:db8:1::1"))
        with held.one(crowd[0], places[0]) as again:
            assert again, "what is closed counts no more"
    with ExitStack() as stack:
        assert all(stack.enter_context(held.one(LOCAL, "127.0.0.1")) for _ in range(50)), "this machine is not counted"


def test_a_wall_too_many_of_one_token_is_told_so_and_nobody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ui.access.rates.MAX_SOCKETS", 2)
    made = house(tmp_path)
    made.user("li", Role.VIEWER)
    shown = [{"authorization": f"Bearer {made.token('li', Role.VIEWER)}"} for _ in range(2)]
    with served(made.live) as url, ExitStack() as stack:
        at = url.replace("http", "ws") + "/live"
        walls = [stack.enter_context(connect(at, additional_headers=shown[k])) for k in (0, 0, 0, 1)]
        for k in (0, 1, 3):
            assert '"is":"hello"' in str(walls[k].recv(timeout=10))
        with pytest.raises(ConnectionClosed) as closed:
            walls[2].recv(timeout=10)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason[:9]) == (1013, "20 walls ")


async def test_guesses_at_ones_own_password_wait_and_are_few_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = house(tmp_path)
    made.user("li", Role.VIEWER)
    real, lock, inside, most = made.access.users.check, threading.Lock(), [0], [0]

    def check(*args: Any) -> bool:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        time.sleep(0.05)
        with lock:
            inside[0] -= 1
        return real(*args)

    async with made.browser() as browser:
        await sign_in(browser, "li")
        monkeypatch.setattr(made.access.users, "check", check)
        path, said = "/api/v1/access/password", {"old": "a guess", "new": "five red valves turn"}
        answers = await asyncio.gather(*(browser.post(path, json=said) for _ in range(9)))
        codes = sorted(answer.status_code for answer in answers)
        assert codes == [403] * FREE + [429] * (9 - FREE)
        assert most[0] <= AT_ONCE
        made.clock.skip(60)
        assert (await browser.post(path, json=said | {"old": PASSWORD})).status_code == 204


@given(gaps_s=st.lists(st.floats(0, 3), max_size=200), per_s=st.floats(1, 20))
def test_over_any_time_no_more_is_let_through_than_the_rate_and_a_full_bucket(gaps_s: list[float], per_s: float) -> None:
    rates, now_s, passed = Rates(per_s), 1e9, 0
    for gap_s in gaps_s:
        now_s += gap_s
        wait_s = rates.wait_s(one("a"), "", now_s)
        passed += wait_s == 0
        assert wait_s <= 1 / per_s + 1e-6
    assert passed <= per_s * (sum(gaps_s) + BURST_S) + 1e-6
    assert passed >= min(len(gaps_s), int(per_s * BURST_S))


def test_buckets_are_bounded_and_whoever_sits_at_the_machine_has_none() -> None:
    rates = Rates(1)
    for i in range(MAX_KEPT + 50):
        rates.wait_s(NOBODY, f"address-{i}", 0.0)
    assert len(rates._buckets) == MAX_KEPT
    assert all(rates.wait_s(LOCAL, "127.0.0.1", 0.0) == 0 for _ in range(100))
    assert any(rates.wait_s(GUEST, "198.51.100.1", 0.0) for _ in range(100)), "guests of an open wall count by address"


def test_who_has_a_network_of_ipv6_asks_no_more_often_than_one_address() -> None:
    rates = Rates(2)
    waits = [rates.wait_s(NOBODY, f"2001:db8::{k:x}", 0.0) for k in range(1000)]
    assert (waits[:24], set(waits[24:])) == ([0.0] * 24, {0.5})
    assert rates.wait_s(GUEST, "2001:db8:0:1::1", 0.0) == 0.0, "the next /64 is somebody else's"
    assert len(rates._buckets) == 2


def test_ipv4_on_a_socket_of_both_kinds_is_no_network_of_ipv6() -> None:
    said = ("::ffff:203.0.113.7", "203.0.113.7", "2001:db8::7", "fe80::7", "address-0", "")
    assert [network_of(one) for one in said] == ["203.0.113.7"] * 2 + ["2001:db8::/64", "fe80::/64", "address-0", ""]
    rates = Rates(1)
    for k in range(40):
        assert rates.wait_s(NOBODY, f"::ffff:203.0.113.{k}", 0.0) == 0.0


def test_the_wall_speaks_tls_by_itself(tmp_path: Path) -> None:
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    (tmp_path / "key.pem").write_bytes(made.private_key_pem.bytes())
    (tmp_path / "cert.pem").write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
    wall = WallSection(port=free_port(), tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem")
    centre = house(tmp_path, {"url": f"https://127.0.0.1:{wall.port}"})
    listener = listen(wall)
    server = faces(centre.live, wall)
    thread = threading.Thread(target=lambda: server.run(sockets=[listener]))
    thread.start()
    try:
        trusted = ssl.create_default_context()
        authority.configure_trust(trusted)
        while not server.started:
            time.sleep(0.01)
        answer = httpx.get(f"https://127.0.0.1:{wall.port}/healthz", verify=trusted)
        assert answer.json() == {"status": "ok"}
        assert answer.headers["strict-transport-security"].startswith("max-age=")
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"https://127.0.0.1:{wall.port}/healthz")
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{wall.port}/healthz")
        config = tmp_path / "alive.toml"
        told = f'port = {wall.port}\ntls_key = "key.pem"\n'
        config.write_text(f'[wall]\nhost = "0.0.0.0"\ntls_cert = "cert.pem"\n{told}')
        assert ask(config) == f"https://127.0.0.1:{wall.port}/healthz"
        (tmp_path / "other.pem").write_bytes(trustme.CA().issue_cert("127.0.0.1").cert_chain_pems[0].bytes())
        config.write_text(f'[wall]\ntls_cert = "other.pem"\n{told}')
        assert ask(config), "it lives, whatever certificate lies on the disk by now"
        config.write_text(f'[wall]\nport = {free_port()}\ntls_cert = "cert.pem"\n')
        with pytest.raises(SourceError, match=r"does not say that the wall lives: .*refused"):
            ask(config)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def test_whoever_opens_connections_and_says_nothing_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three networks: one that opens idle connections, one that drips, one that asks."""
    monkeypatch.setattr(listening, "HEAD_S", 0.4)
    wall = WallSection(host="0.0.0.0", port=free_port())
    centre = house(tmp_path, {"mode": "single"})
    with listen(wall) as listener:
        listener._most = 40
        server = faces(centre.live, wall)
        thread = threading.Thread(target=lambda: server.run(sockets=[listener]))
        thread.start()

        def opened(last: int) -> socket.socket:
            return socket.create_connection(("127.0.0.1", wall.port), 10, (f"127.0.0.{last}", 0))

        def over(one: socket.socket) -> bool:
            with contextlib.suppress(ConnectionResetError):
                while one.recv(1000):
                    pass
            return True

        try:
            while not server.started:
                time.sleep(0.01)
            idle = [opened(2) for _ in range(60)]
            for one in idle[40 // SHARE :]:
                assert over(one), "one network has its share and no more"
            assert listener._open == {"127.0.0.2": 40 // SHARE}
            with opened(3) as other:
                other.sendall(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
                assert other.recv(100).startswith(b"HTTP/1.1 200")
                other.sendall(b"GET /healthz HTTP/1.1\r\nhost: ")  # half of the next one
                assert over(other), "also of a connection that asked before"
            drips = opened(4)
            with contextlib.suppress(OSError):
                while True:
                    drips.sendall(b"G")
                    time.sleep(0.02)
            assert all(over(one) for one in idle), "and in time they are closed"
            with connect(f"ws://127.0.0.1:{wall.port}/live?page=overview") as pushed:
                end_s = time.monotonic() + 1.0
                while time.monotonic() < end_s:
                    assert pushed.recv(10), "a socket of the wall is no late request"
                assert listener._open.total() == 1
            for one in (*idle, drips):
                one.close()
        finally:
            server.should_exit = True
            thread.join()
        assert listener._open.total() == 0


def test_a_sender_that_asks_every_six_seconds_keeps_its_connection_which_counts_while_it_is_idle(tmp_path: Path) -> None:
    wall = WallSection(host="127.0.0.1", port=free_port())
    with listen(wall) as listener:
        server = faces(house(tmp_path, {"mode": "single"}).live, wall)
        thread = threading.Thread(target=lambda: server.run(sockets=[listener]))
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            with contextlib.closing(HTTPConnection("127.0.0.1", wall.port, timeout=10)) as sender:
                sender.connect()
                sender.auto_open = 0  # this connection or none
                for rest_s in (6.0, 0.0):
                    sender.request("GET", "/healthz")
                    assert sender.getresponse().read() == b'{"status":"ok"}'
                    time.sleep(rest_s)
                    assert listener._open == {"127.0.0.1": 1}
        finally:
            server.should_exit = True
            thread.join()
        assert listener._open.total() == 0


def test_without_a_file_for_it_no_connection_is_taken_and_that_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def accept(_: socket.socket) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with listen(WallSection(port=free_port())) as listener:
        monkeypatch.setattr(socket.socket, "accept", accept)
        with pytest.raises(OSError, match="Too many open files"):
            listener.accept()
        for _ in range(1000):
            with pytest.raises(BlockingIOError):
                listener.accept()
    assert [record.getMessage() for record in caplog.records] == ["no file is left for another connection; raise LimitNOFILE"]


def test_no_more_connections_than_half_of_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (400, 4096))
    with listen(WallSection(port=free_port())) as listener:
        assert listener._most == 200


def test_a_certificate_that_is_none_is_told_before_the_start(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("nothing")
    with pytest.raises(ConfigError, match=r"are no certificate with its key .*name PEM files"):
        listen(WallSection(tls_cert=tmp_path / "x.pem", tls_key=tmp_path / "x.pem"))
    (tmp_path / "assets.csv").write_text("id,kind,parent\nh,hall,\n")
    (tmp_path / "site.toml").write_text('[site]\nname = "x"\n[wall]\ntls_cert = "x.pem"\n')
    with pytest.raises(ConfigError, match="belong together"):
        load_config(tmp_path / "site.toml")
    text = '[site]\nname = "x"\n[wall]\ntls_cert = "x.pem"\ntls_key = "x.pem"\n[access]\nurl = "http://noc.example"\n'
    (tmp_path / "site.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"site\.toml:7: begins with http, and the wall speaks TLS"):
        load_config(tmp_path / "site.toml")


def test_who_asks_badly_fills_no_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each bad request is a warning of uvicorn's, which went past the handlers that say the same once a minute."""
    for name in ("uvicorn", "uvicorn.error"):
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    handler.addFilter(Sparing())
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    faces(house(tmp_path).live, WallSection(port=free_port()))
    for _ in range(100):
        logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    assert said.getvalue() == "Invalid HTTP request received.\n"
    assert logging.getLogger("uvicorn").handlers == []
