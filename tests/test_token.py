"""Secrets that people choose and that let programs in: those that can be guessed are refused at the start, and not repeated."""

import secrets
from pathlib import Path

import pytest
from small import small_site

from ingest.sources import push
from twin.errors import ConfigError, SourceError
from twin.token import LEAST_CHARACTERS, weak
from ui.oncall.file import load_oncall

EASY = "Winter2026!"
REPEATED = "abcabcabcabcabcabcabcabcabc"
EDGE = "0123456789abcdefghijkl"


def test_what_is_made_passes_and_what_people_think_of_does_not() -> None:
    assert all(not weak(one) for _ in range(1000) for one in (secrets.token_urlsafe(16), secrets.token_hex(16)))
    assert len(EDGE) == LEAST_CHARACTERS
    assert not weak(EDGE)
    assert "has 21 characters and can be guessed; 22 is the least, make one with: openssl rand -hex 32" in weak(EDGE[1:])
    assert "has 3 different characters" in weak(REPEATED)


@pytest.mark.parametrize("token", [EASY, REPEATED, EDGE[1:]])
def test_the_on_call_file_and_its_webhooks_are_refused_with_the_line(tmp_path: Path, token: str) -> None:
    (tmp_path / "mine").write_text(token)
    hook = '[[channel]]\nname = "noc"\ntype = "webhook"\nurl = "https://noc.example.org/hook"\ntoken = "file:mine"\n'
    path = tmp_path / "oncall.toml"
    path.write_text(f'[delivery]\ntoken = "env:TOKEN"\n{hook}')
    with pytest.raises(ConfigError) as refused:
        load_oncall(path, "UTC", {"TOKEN": token})
    said = [str(one) for one in refused.value.problems]
    assert sorted(one.partition(": ")[0].rpartition(":")[2] for one in said) == ["2", "7"]
    assert all("can be guessed" in one and "openssl rand -hex 32" in one for one in said)
    assert token not in str(refused.value)
    (tmp_path / "mine").write_text(EDGE)
    assert load_oncall(path, "UTC", {"TOKEN": EDGE}).token == EDGE


def test_a_push_source_is_refused_at_the_start_and_a_weak_one_that_comes_later_lets_nobody_in(tmp_path: Path) -> None:
    file = tmp_path / "token"
    options = push.Options(token_file=file)
    file.write_text(EASY)
    with pytest.raises(ConfigError, match="has 11 characters and can be guessed") as refused:
        push.build("s1", options, small_site())
    assert EASY not in str(refused.value)
    file.unlink()
    (inlet,) = push.build("s1", options, small_site()).inlets  # the file may come later, as of a mounted secret
    file.write_text(EDGE)
    assert inlet.opens(EDGE)
    assert not inlet.opens(EDGE[1:])
    file.write_text(EASY)
    with pytest.raises(SourceError, match="can be guessed"):
        inlet.opens(EASY)
