"""Fetching against a server of our own: resumed, checked, and unpacked without trust."""

import hashlib
import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from convscope import downloads
from convscope.errors import DataError, OutputError
from convscope.study import data
from convscope.study.data import fetch_cifar10

SIZE = 3000  # of each file; the real one would make these tests slow


def archived(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def dataset() -> dict[str, bytes]:
    names = [name for names in data.FILES.values() for name in names]
    return {f"{data.FOLDER}/{name}": bytes([number]) * SIZE for number, name in enumerate(names, 1)}


class Server:
    """Sends ``content``, honouring Range unless told not to, breaking off where told to."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.resumes = True
        self.breaks_at: int | None = None
        self.ranges: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/cifar-10-binary.tar.gz"
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()

    @property
    def md5(self) -> str:
        return hashlib.md5(self.content).hexdigest()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range")
        self.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if not self.resumes:
            start = 0
        if start >= len(self.content):
            handler.send_error(416)
            return
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(self.content) - start))
        handler.end_headers()
        handler.wfile.write(self.content[start : self.breaks_at])

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(data, "FILE_BYTES", SIZE)
    serving = Server(archived(dataset()))
    yield serving
    serving.close()


def test_it_fetches_checks_and_unpacks_once(tmp_path, server):
    seen = []
    folder = fetch_cifar10(
        tmp_path, url=server.url, md5=server.md5, progress=lambda *had: seen.append(had)
    )
    assert folder == tmp_path / data.FOLDER
    assert (folder / "test_batch.bin").read_bytes() == bytes([6]) * SIZE
    assert list(tmp_path.iterdir()) == [folder]
    assert seen[-1] == (len(server.content), len(server.content))
    assert fetch_cifar10(tmp_path, url=server.url, md5=server.md5) == folder
    assert server.ranges == [None]


def test_a_broken_download_goes_on_where_it_stopped(tmp_path, server, monkeypatch):
    monkeypatch.setattr(downloads, "CHUNK", 16)
    server.breaks_at = 100
    with pytest.raises(DataError, match="broke off"):
        fetch_cifar10(tmp_path, url=server.url, md5=server.md5)
    server.breaks_at = None
    fetch_cifar10(tmp_path, url=server.url, md5=server.md5)
    assert server.ranges in ([None, "bytes=96-"], [None, "bytes=100-"])  # by how it broke off


def test_a_server_that_cannot_resume_sends_everything_again(tmp_path, server):
    server.resumes = False
    (tmp_path / "cifar-10-binary.tar.gz.part").write_bytes(server.content[:50])
    fetch_cifar10(tmp_path, url=server.url, md5=server.md5)
    assert server.ranges == ["bytes=50-"]


def test_a_download_that_was_whole_already_is_used(tmp_path, server):
    (tmp_path / "cifar-10-binary.tar.gz.part").write_bytes(server.content)
    fetch_cifar10(tmp_path, url=server.url, md5=server.md5)
    assert (tmp_path / data.FOLDER).is_dir()


def test_another_hash_is_refused_and_deleted(tmp_path, server):
    with pytest.raises(DataError, match=f"has the MD5 {server.md5}, not 0000"):
        fetch_cifar10(tmp_path, url=server.url, md5="0000")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_outside_the_folder(tmp_path, server):
    evil = {f"{data.FOLDER}/../../escaped": b"x", "../escaped": b"x", "/tmp/escaped": b"x"}
    out = tmp_path / "in" / "out"
    server.content = archived({**dataset(), **evil})
    with pytest.raises(DataError, match="cannot be unpacked"):
        fetch_cifar10(out, url=server.url, md5=server.md5)
    assert not list(tmp_path.rglob("escaped"))


def test_an_archive_of_something_else_is_named(tmp_path, server):
    server.content = archived({"other/file": b"x"})
    with pytest.raises(DataError, match=r"data_batch_1\.bin is missing"):
        fetch_cifar10(tmp_path, url=server.url, md5=server.md5)
    server.content = b"no archive at all"
    with pytest.raises(DataError, match="cannot be unpacked"):
        fetch_cifar10(tmp_path, url=server.url, md5=server.md5)


def test_a_server_that_is_not_there_is_named(tmp_path, server):
    with pytest.raises(DataError, match=r"cannot fetch http://127\.0\.0\.1:1/x: "):
        fetch_cifar10(tmp_path, url="http://127.0.0.1:1/x", md5=server.md5)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write into"):
        fetch_cifar10(tmp_path / "file", url=server.url, md5=server.md5)
