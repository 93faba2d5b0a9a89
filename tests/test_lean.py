"""The lean way to fetch: whatever a server does, the answer is whole, or one clear sentence, or left to the full client."""

import asyncio
import gzip
from contextlib import asynccontextmanager, suppress

import pytest
from yarl import URL

from ingest.lean import Buffers, Line, NotLean
from twin.errors import SourceError

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n"
BODY = b"a 1\n" * 100


def whole(body=BODY, more=b""):
    return HEAD + more + b"Content-Length: %d\r\n\r\n" % len(body) + body


@asynccontextmanager
async def server(*answers, close=False):
    """Gives each request the next of ``answers``: bytes, or pieces that come one after another. ``close``: hang up then."""
    left, seen, serving = list(answers), [], []

    async def serve(reader, writer):
        serving.append(asyncio.current_task())
        seen.append(0)
        try:
            while left:
                await reader.readuntil(b"\r\n\r\n")
                seen[-1] += 1
                answer = left.pop(0)
                for piece in [answer] if isinstance(answer, bytes) else answer:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
                if close:
                    return
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    line = Line(URL(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/m?x=1"), Buffers(), 100_000)
    try:
        yield line, seen
    finally:
        line.close()
        listening.close()
        await asyncio.gather(*serving)
        await listening.wait_closed()


def ask(line, timeout_s=5.0):
    return line.get({"Accept": "text/plain"}, timeout_s)


PACKED = gzip.compress(BODY)


@pytest.mark.parametrize(
    "answer",
    [
        whole(),
        [whole()[i : i + 7] for i in range(0, len(whole()), 7)],
        whole(PACKED, b"Content-Encoding: gzip\r\n"),
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
        whole().replace(b"HTTP/1.1", b"HTTP/1.0"),
        whole(more=b"Connection: close\r\n"),
    ],
    ids=["plain", "in pieces", "gzip", "chunked", "http 1.0", "close"],
)
async def test_what_exporters_send_is_read_again_and_again(answer):
    async with server(answer, answer, answer) as (line, seen):
        for _ in range(3):
            got = await ask(line)
            assert (got.body, got.content_type) == (BODY, "text/plain")
        kept = not any(word in b"".join(answer if isinstance(answer, list) else [answer]) for word in (b"1.0 200", b": close"))
        assert seen == ([3] if kept else [1, 1, 1]), "a connection is kept where the server keeps it"


async def test_a_connection_that_the_server_closed_meanwhile_is_opened_again():
    async with server(whole(), whole(), whole(), close=True) as (line, seen):
        for _ in range(3):
            assert (await ask(line)).body == BODY
        assert seen == [1, 1, 1]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "status 503 Busy; 200 is expected"),
        (b"HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n\r\nno", "status 401 Unauthorized; 200 is expected"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.2/\r\nContent-Length: 0\r\n\r\n", "redirects to another server"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "broken HTTP"),
        (HEAD + b"X: " + b"x" * 200_000 + b"\r\nContent-Length: 0\r\n\r\n", "headers over"),
        (HEAD.replace(b"0.0.4", b"0.0.4; charset=utf-16") + b"Content-Length: 0\r\n\r\n", "charset utf-16"),
        (whole(b"x" * 100_001), "over 100000 bytes"),
        (whole(gzip.compress(b"\n" * 10**7), b"Content-Encoding: gzip\r\n"), "over 100000 bytes"),
        (whole(gzip.compress(b"\n" * 260_000), b"Content-Encoding: gzip\r\n"), "over 100000 bytes"),
        (whole(PACKED[:-9], b"Content-Encoding: gzip\r\n"), "not whole gzip"),
        (whole(b"no gzip at all", b"Content-Encoding: gzip\r\n"), "not whole gzip"),
    ],
    ids=[
        "status",
        "closed",
        "elsewhere",
        "no http",
        "headers",
        "charset",
        "large",
        "bomb",
        "small bomb",
        "cut gzip",
        "no gzip",
    ],
)
async def test_a_sick_server_is_one_sentence_and_the_next_answer_counts(answer, says):
    async with server(answer, whole()) as (line, _):
        with pytest.raises(SourceError, match=says):
            await ask(line)
        assert (await ask(line)).body == BODY


async def test_a_server_that_hangs_up_or_hangs_is_one_sentence():
    async with server(HEAD + b"Content-Length: 10\r\n\r\nabc", close=True) as (line, _):
        with pytest.raises(SourceError, match="broke before the body was whole"):
            await ask(line)
    async with server(HEAD) as (line, _):  # hangs after its headers
        with pytest.raises(SourceError, match=r"no whole answer within 0.05 s"):
            await ask(line, 0.05)
    async with server() as (line, _):
        pass
    with pytest.raises(SourceError, match="no connection"):
        await ask(line)


async def test_what_comes_late_or_unasked_is_never_the_next_answer():
    async with server(
        whole(b"a 1\n"), whole(b"a 2\n") + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\na 9\n", whole(b"a 3\n")
    ) as (
        line,
        _,
    ):
        assert (await ask(line)).body == b"a 1\n"
        assert (await ask(line)).body == b"a 2\n"
        assert (await ask(line)).body == b"a 3\n"
    go_on = asyncio.Event()

    serving = []

    async def slow(reader, writer):
        serving.append(asyncio.current_task())
        await reader.readuntil(b"\r\n\r\n")
        if not go_on.is_set():
            await go_on.wait()
            writer.write(whole(b"a 1\n"))
        else:
            writer.write(whole(b"a 2\n"))
        with suppress(ConnectionError):
            await reader.read()
        writer.close()

    listening = await asyncio.start_server(slow, "127.0.0.1", 0)
    line = Line(URL(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"), Buffers(), 1000)
    with pytest.raises(SourceError, match="no whole answer"):
        await ask(line, 0.05)
    go_on.set()
    assert (await ask(line)).body == b"a 2\n"
    line.close()
    listening.close()
    await asyncio.gather(*serving)
    await listening.wait_closed()


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"\r\n" + BODY,
        HEAD + b"Content-Encoding: deflate\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 301 Moved\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + whole(),
    ],
    ids=["no length", "deflate", "moved", "hints"],
)
async def test_what_only_the_full_client_knows_is_left_to_it(answer):
    async with server(answer) as (line, _):
        with pytest.raises(NotLean):
            await ask(line)


async def test_headers_that_cannot_be_sent_so_are_left_to_the_full_client():
    line = Line(URL("http://127.0.0.1:9/"), Buffers(), 1000)
    for value in ("a\r\nHost: b", "é"):
        with pytest.raises(NotLean):
            await line.get({"X": value}, 1.0)


def test_large_pages_unpack_as_small_ones_and_nothing_unpacks_past_its_limit():
    buffers = Buffers()
    for size in (10, 10**6, 3 * 10**6, 100):
        assert buffers.unpack(gzip.compress(b"z" * size), 4 * 10**6) == b"z" * size
    with pytest.raises(OverflowError):
        buffers.unpack(gzip.compress(b"z" * (4 * 10**6 + 1)), 4 * 10**6)
