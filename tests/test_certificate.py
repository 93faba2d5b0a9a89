"""The certificate of the wall is renewed on disk: a TLS client is shown the new one without a restart, never a broken one."""

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import trustme
from access_house import house

from ui import certificate as certificates
from ui.alive import ask
from ui.benches.demo import free_port
from ui.certificate import Certificate, stands
from ui.config import WallSection
from ui.doctor import Health, examine
from ui.listen import faces, listen
from ui.view import Live, view
from ui.words import words

NOW = datetime.now(UTC)
PAST = datetime(2020, 1, 1, tzinfo=UTC)


class Renewals:
    """What certbot keeps: a folder for each renewal, and a link to the newest that is swapped at once."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count, self.authority = folder, 0, trustme.CA()
        self.cert, self.key = folder / "live" / "fullchain.pem", folder / "live" / "privkey.pem"

    def renew(self, ends: datetime | None = None, cert: bytes | None = None, key: bytes | None = None) -> int:
        """A new pair (or what stands in its place); gives its serial number."""
        self.count += 1
        begins = PAST - timedelta(days=1) if ends else None
        made = self.authority.issue_cert("127.0.0.1", not_after=ends, not_before=begins)
        there = self.folder / f"archive-{self.count}"
        there.mkdir()
        chain = b"".join(pem.bytes() for pem in made.cert_chain_pems)
        (there / "fullchain.pem").write_bytes(chain if cert is None else cert)
        (there / "privkey.pem").write_bytes(made.private_key_pem.bytes() if key is None else key)
        link = self.folder / "next"
        link.symlink_to(there)
        link.replace(self.folder / "live")
        return self.serial_of(chain)

    def serial_of(self, chain: bytes) -> int:
        """As a client sees it."""
        der = ssl.PEM_cert_to_DER_cert(chain.decode().split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n")
        return hash(der)


class Wall:
    """A wall that serves what ``renewals`` keeps."""

    def __init__(self, live: Live, wall: WallSection, renewals: Renewals) -> None:
        self.live, self.port, self.renewals = live, wall.port, renewals
        self.config = renewals.folder / "alive.toml"
        self.config.write_text(f'[wall]\nport = {wall.port}\ntls_cert = "live/fullchain.pem"\ntls_key = "live/privkey.pem"\n')
        self.trusted = ssl.create_default_context()
        renewals.authority.configure_trust(self.trusted)

    def shown(self) -> int:
        """The certificate that a client that trusts the authority is shown by a new connection."""
        plain = socket.create_connection(("127.0.0.1", self.port))
        with self.trusted.wrap_socket(plain, server_hostname="127.0.0.1") as spoken:
            return hash(spoken.getpeercert(binary_form=True))

    def until(self, true: Callable[[], bool]) -> None:
        """Wait for it; a test that hangs here has failed."""
        while not true():
            time.sleep(0.01)


@pytest.fixture
def wall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wall]:
    monkeypatch.setattr(certificates, "LOOK_S", 0.02)
    renewals = Renewals(tmp_path)
    renewals.renew()
    section = WallSection(port=free_port(), tls_cert=renewals.cert, tls_key=renewals.key)
    live = house(tmp_path, {"url": f"https://127.0.0.1:{section.port}"}).live
    listener = listen(section)
    server = faces(live, section)
    thread = threading.Thread(target=lambda: server.run(sockets=[listener]))
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield Wall(live, section, renewals)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def test_a_renewed_certificate_is_served_without_a_restart_and_a_broken_one_never(wall: Wall) -> None:
    said = wall.live
    with httpx.Client(verify=wall.trusted) as kept:
        assert kept.get(f"https://127.0.0.1:{wall.port}/healthz").json() == {"status": "ok"}
        first = wall.shown()
        second = wall.renewals.renew()
        wall.until(lambda: wall.shown() == second)
        assert first != second
        assert said.certificate is None
        assert kept.get(f"https://127.0.0.1:{wall.port}/healthz").json() == {"status": "ok"}, "who was connected stays so"
    for broken, why in (
        ({"cert": b"nothing"}, "cannot be read"),
        ({"key": wall.renewals.authority.issue_cert("a.example").private_key_pem.bytes()}, "does not fit its key"),
        ({"ends": PAST}, "has ended on 2020-01-01"),
    ):
        wall.renewals.renew(**broken)
        wall.until(lambda why=why: said.certificate is not None and why in str(said.certificate))
        assert wall.shown() == second, "the one before goes on"
        assert ask(wall.config), "and no container engine ends a wall that serves"
        notices = [str(one) for one in view(said, said.clock.now()).notices]
        assert any("is not served, the one before goes on" in one for one in notices), "and everybody sees why"
        assert said.certificate is not None
        chinese = words("zh").sentence(said.certificate).replace("UTC", "")
        assert not re.search("[a-zA-Z/]", chinese), "in his own language, and no path of ours"
    wall.renewals.cert.unlink()
    wall.until(lambda: "cannot be read" in str(said.certificate))
    assert wall.shown() == second
    third = wall.renewals.renew()
    wall.until(lambda: wall.shown() == third)
    wall.until(lambda: said.certificate is None)


def test_one_that_ends_soon_is_named_and_check_and_doctor_say_of_the_files_what_they_are(tmp_path: Path) -> None:
    renewals = Renewals(tmp_path)
    renewals.renew(ends=NOW + timedelta(days=9))
    served = Certificate(renewals.cert, renewals.key)
    served.look(NOW)
    assert "ends on" in str(served.trouble)
    served.look(NOW - timedelta(days=30))
    assert served.trouble is None
    good, says = stands(renewals.cert, renewals.key, NOW)
    assert (good, "renew it soon" in says) == (True, True)
    (tmp_path / "assets.csv").write_text("id,kind,parent\nh,hall,\n")
    config = tmp_path / "site.toml"
    config.write_text('[site]\nname = "x"\n[wall]\ntls_cert = "live/fullchain.pem"\ntls_key = "live/privkey.pem"\n')
    for how, health in (({}, Health.OK), ({"ends": PAST}, Health.BAD), ({"key": b"none"}, Health.BAD)):
        renewals.renew(**how)  # type: ignore[arg-type]
        (row,) = [row for row in examine(config) if row.what == "certificate"]
        assert row.health is health
