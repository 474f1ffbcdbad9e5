"""The command line's client: the relay's own words when it refuses, and what to do when it is not there."""

import asyncio
import contextlib
import io
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay import client
from relay.client import Client
from relay.config import Settings
from relay.errors import InvalidError, RelayError
from tests.support.app import running_app
from tests.support.tls import make_certificates


async def test_calls_with_the_token_of_the_data_directory(tmp_path: Path) -> None:
    async with running_app(tmp_path) as app:
        settings = Settings.model_validate({"data_dir": tmp_path, "http": {"listen": f"127.0.0.1:{app.web.port}"}})
        client = Client(settings)
        answer = await asyncio.to_thread(client.call, "POST", "channels", body={"name": "rally"})
        assert answer["name"] == "rally"
        assert await asyncio.to_thread(client.call, "DELETE", "channels", "rally") is None
        with pytest.raises(RelayError, match="no channel rally"):
            await asyncio.to_thread(client.call, "GET", "channels", "rally")
        for odd in ("a b", "../channels", "x?y", "é", "a/b", "%2e", "\0"):
            with pytest.raises(RelayError, match="no channel"):
                await asyncio.to_thread(client.call, "GET", "channels", odd)
        wrong = Client(settings, token="wrong")
        with pytest.raises(RelayError, match=r"admin\.token"):
            await asyncio.to_thread(wrong.call, "GET", "channels")


def test_without_a_relay_it_says_how_to_start_one(tmp_path: Path) -> None:
    (tmp_path / "admin.token").write_text("t")
    with pytest.raises(RelayError, match="scripts/start"):
        Client(Settings(data_dir=tmp_path), "http://127.0.0.1:9").call("GET", "channels")


def test_without_a_token_it_says_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(RelayError, match="RELAY_DATA_DIR"):
        Client(Settings(data_dir=tmp_path / "none")).call("GET", "channels")


@contextlib.contextmanager
def answering(*answers: bytes, asked: list[bytes] | None = None) -> Iterator[str]:
    """A program that is no relay: the URL where it says each of ``answers`` once; ``asked`` hears what it is asked."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for answer in answers:
                peer, _ = listener.accept()
                with peer:
                    heard = peer.recv(65536)
                    peer.sendall(answer)
                if asked is not None:
                    asked.append(heard)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{",
        b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n",
        b"",
    ],
)
def test_what_is_no_relay_is_told_in_one_line(tmp_path: Path, answer: bytes) -> None:
    """Nor is the token carried to where such a program points."""
    with answering(answer) as server, pytest.raises(RelayError) as caught:
        Client(Settings(data_dir=tmp_path), server, "token").call("GET", "channels")
    assert "relay" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "server", ["nonsense", "ftp://h", "http://", "127.0.0.1:8080", "http://h/?x=1", "http://h/?", "http://h#a"]
)
def test_a_server_that_is_no_url_is_named(tmp_path: Path, server: str) -> None:
    with pytest.raises(InvalidError, match="http://HOST:PORT"):
        Client(Settings(data_dir=tmp_path), server, "token")


async def test_the_relay_here_is_reached_past_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    async with running_app(tmp_path) as app:
        settings = Settings.model_validate({"data_dir": tmp_path, "http": {"listen": f"127.0.0.1:{app.web.port}"}})
        assert await asyncio.to_thread(Client(settings).call, "GET", "channels")


async def test_a_relay_with_its_own_certificate_is_reached_and_no_other(tmp_path: Path) -> None:
    own, other = make_certificates(tmp_path / "own", host="relay.example"), make_certificates(tmp_path / "other")
    http = {"listen": "127.0.0.1:0", "tls_certificate": own.certificate, "tls_key": own.key}
    async with running_app(tmp_path, http=http) as app:
        listen = f"127.0.0.1:{app.web.port}"

        def client(certificate: Path) -> Client:
            return Client(
                Settings.model_validate(
                    {"data_dir": tmp_path, "http": {"listen": listen, "tls_certificate": certificate}}
                )
            )

        assert await asyncio.to_thread(client(own.certificate).call, "GET", "channels")
        with pytest.raises(RelayError, match="no relay answers"):
            await asyncio.to_thread(client(other.certificate).call, "GET", "channels")


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1:1", "http://127.0.0.1:1"),
        (":2", "http://127.0.0.1:2"),
        ("[::1]:3", "http://[::1]:3"),
        ("[::]:4", "http://[::1]:4"),
    ],
)
def test_where_the_relay_here_listens(tmp_path: Path, listen: str, url: str) -> None:
    settings = Settings.model_validate({"data_dir": tmp_path, "http": {"listen": listen}})
    with pytest.raises(RelayError, match="no relay answers") as caught:
        Client(settings, token="t").call("GET", "channels")
    assert f"{url} " in str(caught.value)


def test_a_download_that_breaks_off_says_so(tmp_path: Path) -> None:
    (tmp_path / "admin.token").write_text("t")
    seen: list[tuple[int, int]] = []

    def download(url: str) -> bytes:
        file = io.BytesIO()
        client = Client(Settings(data_dir=tmp_path), url)
        assert client.download("x", file=file, told=lambda *sizes: seen.append(sizes), query={"from": ""}) == "1.5"
        return file.getvalue()

    head = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nX-Export-Duration: 1.5\r\nContent-Length: 6\r\n\r\n"
    with answering(head + b"abcdef") as url:
        assert download(url) == b"abcdef"
    assert (seen[0], seen[-1]) == ((0, 6), (6, 6))
    with (
        answering(head + b"abc") as url,
        pytest.raises(RelayError, match=r"broke off after 3 of 6 bytes .* run it again"),
    ):
        download(url)
    for other in (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi", b"SSH-2.0-x\r\n"):
        with answering(other) as url, pytest.raises(RelayError, match="relay"):
            download(url)


TYPE = b"Content-Type: video/mp4\r\nX-Export-Duration: 1.5\r\n"


def test_a_download_that_breaks_off_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "RESUME_S", 0.01)
    (tmp_path / "admin.token").write_text("t")
    whole = b'HTTP/1.1 200 OK\r\nContent-Length: 6\r\nETag: "one"\r\n' + TYPE + b"\r\nabc"
    some = b'HTTP/1.1 206 Partial Content\r\nContent-Length: 3\r\nETag: "one"\r\n' + TYPE + b"\r\n"
    rest = some.replace(b"Length: 3", b"Length: 1")
    other = b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\nETag: "two"\r\n' + TYPE + b"\r\n1234"

    def download(*answers: bytes) -> tuple[bytes, list[str]]:
        file, asked = io.BytesIO(), list[bytes]()
        with answering(*answers, asked=asked) as url:
            found = Client(Settings(data_dir=tmp_path), url)
            assert found.download("x", file=file, told=lambda *_: None, query={}) == "1.5"
        ranges = [re.search(rb"Range: bytes=(.*?)\r\n.*If-Range: (.*?)\r\n", words, re.DOTALL) for words in asked[1:]]
        return file.getvalue(), [f"{item[1].decode()} {item[2].decode()}" for item in ranges if item]

    assert download(whole, some + b"def") == (b"abcdef", ['3- "one"'])
    assert download(whole, some + b"de", b"", rest + b"f") == (b"abcdef", ['3- "one"', '5- "one"', '5- "one"'])
    assert download(whole, other) == (b"1234", ['3- "one"'])  # it is another file by now
    gone = b"HTTP/1.1 404 Gone\r\nContent-Length: 36\r\n\r\n" + b'{"error":{"message":"it is deleted"}}'[:36]
    with pytest.raises(RelayError, match="404"), answering(whole, gone) as url:
        Client(Settings(data_dir=tmp_path), url).download("x", file=io.BytesIO(), told=lambda *_: None, query={})
    asked: list[bytes] = []
    with (
        pytest.raises(RelayError, match="broke off after 3 of 6 bytes"),
        answering(whole, *[some] * (client.RESUMES - 1), asked=asked) as url,
    ):
        Client(Settings(data_dir=tmp_path), url).download("x", file=io.BytesIO(), told=lambda *_: None, query={})
    assert len(asked) == client.RESUMES
