"""Secrets that no face, no log and no error ever shows."""

import asyncio
import logging
from pathlib import Path

import httpx
import pytest
from whole_centre import alive, token_of, write_centre

from twin.errors import ConfigError
from ui.access.role import Role
from ui.access.routes import ROUTES, Does
from ui.config import load_config
from ui.faces.server import build_server

CANARY = "canary-7f3a9c41d2e8"
SECRETS = {"senders": f"push-{CANARY}", "oncall": f"oncall-{CANARY}", "hook": f"hook-{CANARY}", "read": f"read-{CANARY}"}


def configured(folder: Path) -> Path:
    """A centre with a secret in every place that takes one, each with the canary in it."""
    (folder / "bearer").write_text(SECRETS["read"])
    (folder / "hook").write_text(SECRETS["hook"])
    (folder / "oncall-token").write_text(SECRETS["oncall"])
    (folder / "hook-url").write_text(f"https://127.0.0.1:9/robot?access_token={SECRETS['hook']}")
    (folder / "oncall.toml").write_text(
        '[delivery]\noutside = "https://noc.example.org"\ntoken = "file:oncall-token"\nallow = ["127.0.0.1"]\n'
        '[[channel]]\nname = "noc"\ntype = "dingtalk"\nurl = "file:hook-url"\nsecret = "file:hook"\n'
        '[[route]]\nname = "all"\nchannels = ["noc"]\n'
    )
    path = write_centre(
        folder,
        '[[source]]\nname = "far"\ntype = "prometheus"\nmapping = "dcgm"\ntargets = "http://127.0.0.1:9/metrics"\n'
        'bearer_token_file = "bearer"\n[alerts]\noncall = "oncall.toml"\n',
    )
    (folder / "push-token").write_text(SECRETS["senders"])
    return path


def test_a_secret_that_was_written_where_none_belongs_is_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "assets.csv").write_text("id,kind,parent\nh,hall,\n")
    (tmp_path / "site.toml").write_text(f'[site]\nname = "x"\n[store]\npassword = "{CANARY}"\n[wall]\nhots = "shown"\n')
    with pytest.raises(ConfigError, match="got a secret, not shown") as error:
        load_config(tmp_path / "site.toml")
    assert CANARY not in str(error.value)
    assert "shown" in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        f'[cluster]\nbroker = "mqtt://icctwin:{CANARY}@broker:1883"\n',
        f'[cluster]\npostgres = "host=db password={CANARY} dbname=x"\n',
        f'[cluster]\npostgres = "postgresql://icctwin:{CANARY}@db/x"\n',
        f'[store]\ntype = "influxdb"\nurl = "http://admin:{CANARY}@influx:8086"\n',
        f'[cluster]\npostgres = "host=db passwd={CANARY} dbname=x"\n',
        f'[cluster]\npostgres = "postgresql://db/x?sslpassword={CANARY}"\n',
        f'[store]\ntype = "influxdb"\nurl = "http://influx:8086/?p={CANARY}"\n',
        f'[store]\ntype = "victoriametrics"\nurl = "vm"\nuser = "{CANARY}"\n',
        f'[[source]]\nname = "g"\ntype = "grid"\napi_key = "{CANARY}"\n',
        f'[[source]]\nname = "g"\ntype = "weather"\nurl = "ftp://me:{CANARY}/x@host/"\n',
        f'[[source]]\nname = "s"\ntype = "snmp"\ncommunity = "{CANARY}"\n',
        f'[wall]\ntls_cert = "{CANARY}.pem"\n[[source]]\nname = "p"\ntype = "push"\nunknown = "{CANARY}"\n',
        f'[access]\nurl = "https://x"\n[access.oidc]\nissuer = "https://me:{CANARY}@idp"\nclient_id = "x"\n',
    ],
)
def test_no_error_repeats_what_may_be_a_secret(tmp_path: Path, text: str) -> None:
    (tmp_path / "assets.csv").write_text("id,kind,parent\nh,hall,\n")
    (tmp_path / "site.toml").write_text(f'[site]\nname = "x"\n{text}')
    with pytest.raises(ConfigError) as error:
        load_config(tmp_path / "site.toml")
    assert CANARY not in str(error.value)


def test_no_face_no_log_and_no_error_shows_a_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """All that a viewer, an admin or a stranger can be shown: every page and answer, every refusal, the log, the records."""
    caplog.set_level(logging.DEBUG)
    with alive(configured(tmp_path)) as centre:
        admin = token_of(centre, "li.na", Role.ADMIN)
        seen: dict[str, bytes] = {}
        transport = httpx.ASGITransport(build_server(centre.live), raise_app_exceptions=False)

        async def look() -> None:
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                for row in ROUTES:
                    path = row.path.replace("{area}", "gpu").replace("{asset:path}", "site").replace("{key}", "x")
                    if row.does is not Does.LOOK or "{" in path or row.method != "GET":
                        continue
                    for word in ("", admin, SECRETS["oncall"]):
                        shown = {"authorization": f"Bearer {word}"} if word else {}
                        answer = await client.get(path, headers=shown, params={"kind": "gpu", "metric": "power_w"})
                        seen[f"{row.path} {len(word)}"] = answer.content + repr(answer.headers.raw).encode()
                for path in ("/api/v2/write", "/write", "/api/v1/write", "/v1/metrics"):
                    for said in (SECRETS["senders"], SECRETS["senders"][:-1]):
                        answer = await client.post(path, headers={"authorization": f"Token {said}"}, content=b"not a page")
                        seen[f"{path} {len(said)}"] = answer.content

        asyncio.run(look())
        records = [str(record) for topic in ("alert", "access-audit", "page") for record in centre.records.read(topic)]
    assert len(seen) > 150
    assert sum(b"Sign in" in body for body in seen.values()) > 20, "strangers were refused, and that was looked at"
    shown_in = [where for where, body in seen.items() if CANARY.encode() in body]
    assert shown_in == []
    assert CANARY not in caplog.text
    assert not any(CANARY in record for record in records)
