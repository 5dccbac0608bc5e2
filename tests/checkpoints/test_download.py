"""Downloads under faults: what comes out of the cache is the whole file or an error, and nothing is fetched twice."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections import namedtuple
from email.utils import formatdate
from pathlib import Path

import pytest
from faulty_server import Server, hang_up, raw, redirect, send, status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro.checkpoints import cache, download, transfer
from repro.checkpoints.transfer import Patience
from repro.errors import ReproError
from repro.paths import cache_directory

BODY = random.Random(1).randbytes(300_000)
OTHER = random.Random(2).randbytes(300_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
#: The tests wait for no clock.
EAGER = Patience(timeout=10, pause=0)


@pytest.fixture(scope="module")
def running():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def server(running, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    running.reset()
    running.files["/w.pth"] = BODY
    return running


def fetch(server, directory, *paths, **arguments):
    arguments = {"name": "w.pth", "sha256": SHA256, "patience": EAGER, "directory": directory, **arguments}
    urls = [path if "://" in path else server.url + path for path in paths or ["/w.pth"]]
    return download.fetch(urls, **arguments)


def published(directory):
    """Every file that a user of the cache can meet; it has the hash that it is stored under, or the test fails."""
    files = [path for path in directory.glob("sha256/*/*/*") if path.name != ".source.json"]
    for path in files:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.parent.name
        assert path.parent.parent.name == path.parent.name[:2]
    return files


def unfinished(directory):
    return [path for path in directory.glob("partial/*") if path.suffix != ".lock"]


class TestWholeFiles:
    def test_a_file_is_fetched_once_and_kept_under_its_hash(self, server, tmp_path):
        first = fetch(server, tmp_path)
        assert first.path == tmp_path / "sha256" / SHA256[:2] / SHA256 / "w.pth"
        assert first.path.read_bytes() == BODY
        assert (first.sha256, first.size, first.url, first.verified) == (SHA256, 300_000, server.url + "/w.pth", True)
        assert fetch(server, tmp_path) == first
        assert fetch(server, tmp_path, "/gone.pth", name="other.pth") == first
        assert len(server.visits) == 1
        assert unfinished(tmp_path) == []

    @pytest.mark.parametrize("digits", [6, 8, 64])
    def test_the_beginning_of_a_hash_is_enough(self, server, tmp_path, digits):
        assert fetch(server, tmp_path, sha256=SHA256[:digits].upper()).sha256 == SHA256
        assert fetch(server, tmp_path, sha256=SHA256[:7]).sha256 == SHA256
        assert download.find_cached(SHA256[:digits], tmp_path).read_bytes() == BODY
        assert download.find_cached("0" * digits, tmp_path) is None
        assert len(server.visits) == 1

    def test_an_md5_serves_where_no_sha256_is_published(self, server, tmp_path):
        md5 = hashlib.md5(BODY).hexdigest()
        for _ in range(2):
            fetched = fetch(server, tmp_path, sha256=None, md5=md5[:6])
            assert (fetched.sha256, fetched.verified) == (SHA256, True)
        assert len(server.visits) == 1
        with pytest.raises(ReproError, match=f"its md5 is {md5}, not 000000"):
            fetch(server, tmp_path, sha256=None, md5="000000")

    def test_without_a_hash_nothing_is_fetched(self, server, tmp_path):
        with pytest.raises(ReproError, match="no hash of it is published"):
            fetch(server, tmp_path, sha256=None)
        assert server.visits == []

    def test_progress_counts_the_bytes_that_are_here(self, server, tmp_path):
        server.answers["/w.pth"] = [send(cut=100_000)]
        seen = []
        fetch(server, tmp_path, progress=lambda done, total: seen.append((done, total)))
        assert (seen[0], seen[-1]) == ((0, 300_000), (300_000, 300_000))
        assert (100_000, 300_000) in seen
        assert seen == sorted(seen)
        assert [total for _, total in seen] == [300_000] * len(seen)

    @pytest.mark.parametrize("framing", ["chunked", "none"])
    def test_a_body_of_unannounced_length(self, server, tmp_path, framing):
        server.answers["/w.pth"] = [send(framing=framing)]
        seen = []
        fetch(server, tmp_path, progress=lambda *now: seen.append(now), size=None)
        assert seen[-1] == (300_000, None)

    def test_a_damaged_file_of_the_cache_is_fetched_again(self, server, tmp_path):
        path = fetch(server, tmp_path).path
        path.write_bytes(BODY[:-1])
        assert fetch(server, tmp_path).path.read_bytes() == BODY
        assert len(server.visits) == 2

    def test_the_cache_is_where_the_environment_says(self, server, tmp_path, monkeypatch):
        monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "here"))
        assert fetch(server, None).path.is_relative_to(tmp_path / "here")
        monkeypatch.delenv("REPRO_CACHE")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        if sys.platform == "linux":
            assert cache_directory() == tmp_path / "xdg" / "gcnet-repro"


class TestInterruptions:
    @pytest.mark.parametrize("seed", range(6))
    def test_cuts_at_random_points(self, server, tmp_path, seed):
        """Every byte is sent once, whatever the number of connections."""
        rng = random.Random(seed)
        server.answers["/w.pth"] = [send(cut=rng.randint(0, 20_000)) for _ in range(40)]
        assert fetch(server, tmp_path).path.read_bytes() == BODY
        assert server.sent == len(BODY)
        assert len(server.visits) > 15
        assert [visit.start for visit in server.visits] == sorted(visit.start for visit in server.visits)

    @pytest.mark.parametrize("seed", range(4))
    def test_resets_at_random_points(self, server, tmp_path, seed):
        rng = random.Random(seed)
        server.answers["/w.pth"] = [send(cut=rng.randint(50_000, 100_000), reset=True) for _ in range(3)] + [hang_up]
        assert fetch(server, tmp_path).path.read_bytes() == BODY

    @pytest.mark.parametrize("cut", [0, 1, 299_999])
    def test_a_cut_at_the_edge(self, server, tmp_path, cut):
        server.answers["/w.pth"] = [send(cut=cut)]
        assert fetch(server, tmp_path).path.read_bytes() == BODY
        assert server.sent == len(BODY)

    def test_a_cut_chunked_body(self, server, tmp_path):
        server.answers["/w.pth"] = [send(framing="chunked", cut=200_000)]
        assert fetch(server, tmp_path).path.read_bytes() == BODY
        assert server.sent == len(BODY)

    def test_a_later_call_goes_on_where_an_earlier_one_gave_up(self, server, tmp_path):
        server.answers["/w.pth"] = [send(cut=123_456)] + [status(503)] * EAGER.tries
        with pytest.raises(ReproError, match=r"/w\.pth: HTTP status 503"):
            fetch(server, tmp_path)
        assert published(tmp_path) == []
        assert fetch(server, tmp_path).path.read_bytes() == BODY
        assert server.visits[-1].start == 123_456
        assert server.sent == len(BODY)

    def test_a_killed_process_is_gone_on_from(self, server, tmp_path):
        def hold(sent):
            if sent > 200_000:
                while child.poll() is None:
                    time.sleep(0.01)

        server.answers["/w.pth"] = [send(pause=hold)]
        child = process(server, tmp_path)
        while not any(path.stat().st_size > 150_000 for path in tmp_path.glob("partial/*")):
            assert child.poll() is None
            time.sleep(0.01)
        child.kill()
        child.communicate()
        assert published(tmp_path) == []
        assert fetch(server, tmp_path).path.read_bytes() == BODY
        assert server.visits[-1].start > 150_000

    def test_what_was_complete_before_a_kill_is_not_fetched_again(self, server, tmp_path, monkeypatch):
        with monkeypatch.context() as patch:
            patch.setattr(cache.Cache, "publish", interrupt)
            with pytest.raises(KeyboardInterrupt):
                fetch(server, tmp_path)
        assert fetch(server, tmp_path).path.read_bytes() == BODY
        assert len(server.visits) == 1

    def test_ctrl_c_leaves_what_can_be_gone_on_from(self, server, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            fetch(server, tmp_path, progress=lambda done, total: interrupt() if done > 100_000 else None)
        assert fetch(server, tmp_path).path.read_bytes() == BODY
        assert server.visits[-1].start > 0

    @pytest.mark.parametrize("validator", [{"etag": None}, {"etag": 'W/"1"'}])
    def test_without_a_validator_a_file_is_started_again(self, server, tmp_path, validator):
        server.answers["/w.pth"] = [send(cut=100_000, **validator), send(**validator)]
        assert fetch(server, tmp_path).path.read_bytes() == BODY
        assert [visit.headers.get("Range") for visit in server.visits] == [None, None]

    def test_a_date_is_a_validator_too(self, server, tmp_path):
        date = {"etag": None, "modified": "Sun, 02 Jun 2019 10:00:00 GMT"}
        server.answers["/w.pth"] = [send(cut=100_000, **date), send(**date)]
        fetch(server, tmp_path)
        assert server.visits[1].headers["If-Range"] == date["modified"]
        assert server.sent == len(BODY)

    def test_a_server_without_ranges(self, server, tmp_path):
        server.answers["/w.pth"] = [send(ranges=False, cut=cut) for cut in (100_000, 50_000, 200_000)]
        server.answers["/w.pth"] += [send(ranges=False)]
        assert fetch(server, tmp_path).path.read_bytes() == BODY
        assert server.sent == 350_000 + len(BODY)


class TestChanges:
    def test_a_body_that_changes_is_started_again(self, server, tmp_path):
        server.answers["/w.pth"] = [send(body=OTHER, etag='"old"', cut=100_000)]
        assert fetch(server, tmp_path).path.read_bytes() == BODY
        assert [visit.status for visit in server.visits] == [200, 200]

    def test_also_if_the_server_takes_no_notice_of_if_range(self, server, tmp_path):
        server.answers["/w.pth"] = [send(body=OTHER, etag='"old"', cut=100_000), send(if_range=False)]
        assert fetch(server, tmp_path).path.read_bytes() == BODY
        assert [visit.status for visit in server.visits] == [200, 206, 200]

    def test_also_with_an_md5_alone(self, server, tmp_path):
        server.answers["/w.pth"] = [send(body=OTHER, etag='"old"', cut=100_000), send(if_range=False)]
        md5 = hashlib.md5(BODY).hexdigest()
        assert fetch(server, tmp_path, sha256=None, md5=md5).path.read_bytes() == BODY

    def test_also_if_the_server_hides_it(self, server, tmp_path):
        """Same ETag, other body: the hash of the two pieces together is wrong, and the URL gets another chance."""
        server.answers["/w.pth"] = [send(body=OTHER, cut=100_000)]
        assert fetch(server, tmp_path).path.read_bytes() == BODY
        assert [visit.start for visit in server.visits] == [0, 100_000, 0]

    def test_also_to_a_shorter_one(self, server, tmp_path):
        server.answers["/w.pth"] = [send(body=OTHER * 2, cut=400_000)]
        assert fetch(server, tmp_path).path.read_bytes() == BODY
        assert [visit.status for visit in server.visits] == [200, 416, 200]

    @pytest.mark.parametrize(
        "header", ["bytes 0-299999/300000", "bytes 100001-299999/300000", "bytes 100000-299999/300001", "garbage"]
    )
    def test_another_part_than_was_asked_for_is_not_used(self, server, tmp_path, header):
        server.answers["/w.pth"] = [send(cut=100_000), send(content_range=header)]
        assert fetch(server, tmp_path).path.read_bytes() == BODY
        assert [visit.status for visit in server.visits] == [200, 206, 200]

    def test_a_part_of_the_rest_is_gone_on_from(self, server, tmp_path):
        server.answers["/w.pth"] = [
            send(cut=100_000),
            send(content_range="bytes 100000-149999/300000", cut=50_000, length=-150_000),
        ]
        assert fetch(server, tmp_path).path.read_bytes() == BODY
        assert [visit.start for visit in server.visits] == [0, 100_000, 150_000]


@pytest.fixture
def pauses(monkeypatch):
    """The seconds that the client would have slept; threads of servers may still sleep."""
    found, sleep, client = [], time.sleep, threading.current_thread()
    monkeypatch.setattr(time, "sleep", lambda s: found.append(s) if threading.current_thread() is client else sleep(s))
    return found


class TestRefusals:
    def test_a_wrong_hash_is_refused_with_both_named(self, server, tmp_path):
        kept = fetch(server, tmp_path).path
        server.files["/w.pth"] = OTHER
        wanted = "0123456789abcdef" * 4
        with pytest.raises(ReproError) as error:
            fetch(server, tmp_path, sha256=wanted)
        assert wanted in str(error.value)
        assert hashlib.sha256(OTHER).hexdigest() in str(error.value)
        assert len(server.visits) == 2  # no second try: it came in one piece
        assert published(tmp_path) == [kept]
        assert unfinished(tmp_path) == []

    def test_a_wrong_file_is_not_gone_on_from_at_the_next_mirror(self, server, tmp_path):
        server.files["/bad.pth"] = OTHER
        fetched = fetch(server, tmp_path, "/bad.pth", "/w.pth")
        assert (fetched.path.read_bytes(), fetched.url) == (BODY, server.url + "/w.pth")
        assert server.visits[-1].headers.get("Range") is None
        assert published(tmp_path) == [fetched.path]

    def test_mirrors_are_tried_in_order(self, server, tmp_path):
        server.answers["/denied.pth"] = [status(403)]
        server.answers["/busy.pth"] = [status(503)] * EAGER.tries
        server.answers["/short.pth"] = [send(body=BODY[:-1])]
        paths = ("/gone.pth", "/denied.pth", "/busy.pth", "/short.pth", "/w.pth", "/unused.pth")
        assert fetch(server, tmp_path, *paths).url == server.url + "/w.pth"
        asked = [visit.path for visit in server.visits]
        assert asked == ["/gone.pth", "/denied.pth", *["/busy.pth"] * EAGER.tries, "/short.pth", "/w.pth"]

    def test_every_mirror_is_named_with_its_reason(self, server, tmp_path):
        server.answers["/denied.pth"] = [status(403)]
        closed = Server()
        closed.close()
        urls = [server.url + "/gone.pth", server.url + "/denied.pth", closed.url + "/w.pth", "ftp://host/w.pth"]
        with pytest.raises(ReproError) as error:
            fetch(server, tmp_path, *urls)
        lines = str(error.value).splitlines()
        reasons = ["HTTP status 404 (Not Found)", "HTTP status 403 (Forbidden)", "refused", "not an http or https URL"]
        assert "w.pth could not be downloaded" in lines[0]
        for line, url, reason in zip(lines[1:-1], urls, reasons, strict=True):
            assert url in line
            assert reason in line
        assert "`repro checkpoints import FILE`" in lines[-1]

    @pytest.mark.parametrize("length", [-1000, 1000])
    def test_a_wrong_content_length(self, server, tmp_path, length):
        """Announced too short, the file is cut off and so refused; too long, its hash says that all of it is here."""
        server.answers["/w.pth"] = [send(length=length)]
        if length < 0:
            with pytest.raises(ReproError, match="its sha256 is"):
                fetch(server, tmp_path)
            assert published(tmp_path) == []
        else:
            assert fetch(server, tmp_path).path.read_bytes() == BODY
            assert len(server.visits) == 1

    def test_a_file_of_another_size_is_not_even_fetched(self, server, tmp_path):
        server.files["/w.pth"] = bytes(1 << 25)  # more than fits into the connection's buffers
        with pytest.raises(ReproError, match="it announces 33554432 bytes, and the file has 300000"):
            fetch(server, tmp_path, size=300_000)
        assert server.sent < 1 << 25

    def test_an_endless_body_ends_at_the_known_size(self, server, tmp_path):
        server.answers["/w.pth"] = [send(body=BODY + OTHER * 10, framing="none")]
        assert fetch(server, tmp_path, size=len(BODY)).path.read_bytes() == BODY

    def test_a_web_page_is_called_one(self, server, tmp_path):
        server.answers["/w.pth"] = [send(body=b"<html>", kind="text/html; charset=utf-8")]
        with pytest.raises(ReproError, match="it is a web page"):
            fetch(server, tmp_path)

    def test_a_part_that_was_not_asked_for(self, server, tmp_path):
        server.answers["/w.pth"] = [lambda handler: handler.head(206, {"Content-Range": "bytes 5-9/10"})]
        with pytest.raises(ReproError, match="it answers with HTTP status 206"):
            fetch(server, tmp_path)

    def test_a_slow_drip_is_not_waited_for(self, server, tmp_path):
        """It is noticed before a block is full, which the last part of this body never lets one be."""
        over = threading.Event()
        server.answers["/w.pth"] = [send(pause=lambda sent: over.wait(0.02 if sent < 50_000 else 5))]
        with pytest.raises(ReproError, match=r"it is too slow: \d+ bytes a second"):
            fetch(server, tmp_path, patience=Patience(timeout=1, tries=1, window=0.1, rate=1e7))
        over.set()
        assert len(server.visits) == 1
        assert fetch(server, tmp_path).path.read_bytes() == BODY
        assert server.visits[-1].start > 0

    def test_a_silent_server_is_not_waited_for(self, server, tmp_path):
        def silence(_):
            time.sleep(0.5)

        server.answers["/w.pth"] = [send(pause=silence), silence]
        with pytest.raises(ReproError, match="timed out"):
            fetch(server, tmp_path, patience=Patience(timeout=0.1, tries=2, pause=0))

    @pytest.mark.parametrize("code", [429, 503])
    def test_a_server_is_left_alone_as_long_as_it_asks_for(self, server, tmp_path, pauses, code):
        date = formatdate(time.time() + 61, usegmt=True)
        waits = ["30", date, "Wed, 21 Oct 2015 07:28:00 GMT", "soon", "-3", "120"]
        server.answers["/w.pth"] = [status(code, Retry_After=wait) for wait in waits]
        assert fetch(server, tmp_path, patience=Patience(tries=9)).path.read_bytes() == BODY
        assert pauses[0] == 30
        assert 50 < pauses[1] <= 61
        assert pauses[2:] == [4, 8, 16, 120]

    def test_a_server_that_asks_for_too_long_is_left_for_another(self, server, tmp_path, pauses):
        server.answers["/busy.pth"] = [status(429, Retry_After="3600")] * 9
        with pytest.raises(ReproError, match=r"429 \(Too Many Requests\); it asks to be left alone for 3600 seconds"):
            fetch(server, tmp_path, "/busy.pth")
        assert fetch(server, tmp_path, "/busy.pth", "/w.pth").url == server.url + "/w.pth"
        assert [visit.path for visit in server.visits] == ["/busy.pth", "/busy.pth", "/w.pth"]
        assert pauses == []

    def test_pauses_grow_with_tries_in_vain_and_are_bounded(self, server, tmp_path, pauses):
        server.answers["/w.pth"] = [status(503), status(503), send(cut=1000), *[status(503)] * 9]
        with pytest.raises(ReproError, match="503"):
            fetch(server, tmp_path, patience=Patience())
        assert pauses == [1, 2, 1, 1, 2, 4]
        server.answers["/w.pth"] = [send(cut=1)] * 1000
        with pytest.raises(ReproError, match="early"):
            fetch(server, tmp_path, patience=Patience(connections=10))


class TestRedirects:
    @pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
    def test_a_redirect_is_followed_also_for_the_rest(self, server, tmp_path, code):
        server.answers["/old.pth"] = [redirect("/w.pth", code), redirect(server.url + "/w.pth", code)]
        server.answers["/w.pth"] = [send(cut=100_000)]
        fetched = fetch(server, tmp_path, "/old.pth")
        assert (fetched.path.read_bytes(), fetched.url) == (BODY, server.url + "/old.pth")
        assert server.sent == len(BODY)

    def test_a_circle_ends(self, server, tmp_path):
        server.answers["/w.pth"] = [redirect("/w.pth")] * 100
        with pytest.raises(ReproError, match="HTTP status 302"):
            fetch(server, tmp_path)
        assert len(server.visits) <= 11

    def test_a_long_way_ends(self, server, tmp_path):
        for step in range(50):
            server.answers[f"/{step}"] = [redirect(f"/{step + 1}")]
        with pytest.raises(ReproError, match="HTTP status 302"):
            fetch(server, tmp_path, "/0")
        assert len(server.visits) <= 11

    @pytest.mark.parametrize(
        "target", ["file:///etc/passwd", "ftp://127.0.0.1/w.pth", "data:,x", "http://[", "http://h:x/"]
    )
    def test_only_to_the_web(self, server, tmp_path, target):
        server.answers["/w.pth"] = [redirect(target)]
        with pytest.raises(ReproError, match=r"/w\.pth: "):
            fetch(server, tmp_path)
        assert published(tmp_path) == []

    def test_the_body_of_a_redirect_is_not_read(self, server, tmp_path):
        def endless(handler):
            handler.head(302, {"Location": "/w.pth"})
            while handler.visit.sent < 1 << 26:
                handler.write(bytes(1 << 16))

        server.answers["/old.pth"] = [endless]
        fetch(server, tmp_path, "/old.pth")
        assert server.visits[0].sent < 1 << 26


@pytest.fixture
def encrypted(server, tmp_path):
    """The server's files over https, with a certificate that nobody has signed; yields (server, that certificate)."""
    if not shutil.which("openssl"):
        pytest.skip("needs the openssl command, to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    secure = Server()
    secure.encrypt(context)
    secure.files["/w.pth"] = BODY
    yield secure, certificate
    secure.close()


class TestEnvironment:
    def test_a_certificate_has_to_be_trusted(self, encrypted, tmp_path, monkeypatch):
        secure, certificate = encrypted
        with pytest.raises(ReproError, match=r"certificate is not trusted.*SSL_CERT_FILE"):
            fetch(secure, tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert fetch(secure, tmp_path).path.read_bytes() == BODY

    def test_a_secure_place_redirects_to_no_other(self, server, encrypted, tmp_path, monkeypatch):
        secure, certificate = encrypted
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        secure.answers["/old.pth"] = [redirect(server.url + "/w.pth"), redirect("/w.pth")]
        with pytest.raises(ReproError, match=r"redirects to http://.*not followed from https"):
            fetch(secure, tmp_path, "/old.pth")
        secure.answers["/old.pth"] = [redirect(server.url + "/w.pth"), redirect("/w.pth")]
        with pytest.raises(ReproError, match=r"redirects to http://.*not followed from https"):
            fetch(secure, tmp_path, secure.url.replace("https", "HTTPS") + "/old.pth")
        assert server.visits == []
        fetch(secure, tmp_path, "/old.pth")

    def test_a_proxy_is_used(self, server, tmp_path, monkeypatch):
        server.files["http://files.invalid/w.pth"] = BODY
        monkeypatch.setenv("http_proxy", server.url)
        assert fetch(server, tmp_path, "http://files.invalid/w.pth").path.read_bytes() == BODY


Usage = namedtuple("Usage", "total used free")


class FullDisk:
    """`open`, on a disk that takes 100,000 bytes more."""

    def __init__(self, *how):
        self.file, self.left = open(*how), 100_000  # noqa: SIM115 closed by __exit__

    def write(self, block):
        self.file.write(block[: self.left])
        self.left -= len(block)
        if self.left < 0:
            self.left = 0
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()


def left_unfinished(server, directory):
    """The file of a download that ended early."""
    server.answers["/w.pth"] = [send(cut=200_000)] + [status(503)] * EAGER.tries
    with pytest.raises(ReproError, match="503"):
        fetch(server, directory)
    (partial,) = [path for path in unfinished(directory) if path.suffix != ".json"]
    assert 0 < partial.stat().st_size <= 200_000
    return partial


def make_link(partial, victim):
    partial.symlink_to(victim)


def make_hard_link(partial, victim):
    os.link(victim, partial)


def make_pipe(partial, victim):
    os.mkfifo(partial)


class TestLinks:
    @pytest.mark.parametrize("make", [make_link, make_hard_link, make_pipe])
    @pytest.mark.parametrize("suffix", ["", ".json"])
    def test_no_other_file_is_written_through_a_partial_one(self, server, tmp_path, make, suffix):
        victim = tmp_path / "victim"
        victim.write_bytes(BODY[:1000] if not suffix else b"{}")
        before = victim.read_bytes()
        partial = left_unfinished(server, tmp_path / "cache")
        other = partial.with_name(partial.name + suffix)
        other.unlink()
        make(other, victim)
        assert fetch(server, tmp_path / "cache").path.read_bytes() == BODY
        assert victim.read_bytes() == before
        assert unfinished(tmp_path / "cache") == []

    def test_a_link_that_appears_while_bytes_arrive_is_not_followed(self, server, tmp_path, monkeypatch):
        victim = tmp_path / "victim"
        victim.write_bytes(b"precious")
        restart = cache.Partial.restart

        def restart_and_plant(partial, source):
            restart(partial, source)
            partial.path.symlink_to(victim)

        monkeypatch.setattr(cache.Partial, "restart", restart_and_plant)
        with pytest.raises(ReproError, match="cannot write"):
            fetch(server, tmp_path / "cache")
        assert victim.read_bytes() == b"precious"

    def test_what_is_no_file_in_the_cache_is_fetched_again(self, server, tmp_path):
        stored = fetch(server, tmp_path).path
        stored.unlink()
        os.mkfifo(stored)
        assert fetch(server, tmp_path).path.read_bytes() == BODY


class TestDisk:
    def test_room_is_looked_for_first(self, server, tmp_path, monkeypatch):
        monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: Usage(1e9, 9e8, cache.MARGIN + 299_999))
        with pytest.raises(ReproError, match=r"not enough room in .* takes 0\.3 MB .* only 105\.2 MB .*REPRO_CACHE"):
            fetch(server, tmp_path)
        assert published(tmp_path) == []
        monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: Usage(1e9, 9e8, cache.MARGIN + 300_000))
        fetch(server, tmp_path)

    @pytest.mark.parametrize("framing", ["chunked", "none", "length"])
    def test_room_is_looked_for_again_while_bytes_arrive(self, server, tmp_path, monkeypatch, framing):
        """A length may be unknown, and others fill the disk too."""
        monkeypatch.setattr(transfer, "_ROOM_EVERY", 50_000)
        free = iter([cache.MARGIN + 300_000, cache.MARGIN + 299_999, *[cache.MARGIN - 1] * 9])
        monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: Usage(1e9, 9e8, next(free)))
        server.answers["/w.pth"] = [send(framing=framing)]
        with pytest.raises(ReproError, match="not enough room in"):
            fetch(server, tmp_path)
        (rest,) = [path for path in unfinished(tmp_path) if path.suffix != ".json"]
        # Two looks, each after 50,000 bytes and at most the block of 65,536 that brings them.
        assert 100_000 <= rest.stat().st_size < 2 * (50_000 + 65_536)
        monkeypatch.undo()
        server.answers.clear()
        assert fetch(server, tmp_path).path.read_bytes() == BODY

    @pytest.mark.parametrize("framing", ["chunked", "none"])
    def test_an_endless_body_ends_at_what_weights_can_have(self, server, tmp_path, monkeypatch, framing):
        monkeypatch.setattr(transfer, "LIMIT", 200_000)
        server.answers["/w.pth"] = [send(framing=framing)] * 9
        with pytest.raises(ReproError, match="it sends more than 200000 bytes, which no weights have"):
            fetch(server, tmp_path)
        assert len(server.visits) == 1
        assert unfinished(tmp_path) == []

    def test_an_announced_length_beyond_what_weights_can_have(self, server, tmp_path, monkeypatch):
        monkeypatch.setattr(transfer, "LIMIT", 299_999)
        with pytest.raises(ReproError, match="it announces 300000 bytes, and no weights have more than 299999"):
            fetch(server, tmp_path)
        assert unfinished(tmp_path) == []

    def test_only_for_what_is_missing(self, server, tmp_path, monkeypatch):
        server.answers["/w.pth"] = [send(cut=200_000)] + [status(503)] * EAGER.tries
        with pytest.raises(ReproError):
            fetch(server, tmp_path)
        monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: Usage(1e9, 9e8, cache.MARGIN + 100_000))
        fetch(server, tmp_path)

    def test_a_full_disk_leaves_what_can_be_gone_on_from_and_nothing_else(self, server, tmp_path, monkeypatch):
        server.files["/before.pth"] = OTHER
        before = fetch(server, tmp_path, "/before.pth", sha256=hashlib.sha256(OTHER).hexdigest()).path
        with monkeypatch.context() as patch:
            patch.setattr(cache, "open", FullDisk, raising=False)
            with pytest.raises(ReproError, match=r"cannot write .*partial.*the disk is full"):
                fetch(server, tmp_path, "/w.pth", "/before.pth")
        assert published(tmp_path) == [before]
        assert len(server.visits) == 2  # another server would not help
        fetched = fetch(server, tmp_path)
        assert fetched.path.read_bytes() == BODY
        assert server.visits[-1].start == 100_000

    def test_a_full_disk_keeps_nothing_that_cannot_be_gone_on_from(self, server, tmp_path, monkeypatch):
        server.answers["/w.pth"] = [send(etag=None)]
        monkeypatch.setattr(cache, "open", FullDisk, raising=False)
        with pytest.raises(ReproError, match="the disk is full"):
            fetch(server, tmp_path)
        assert unfinished(tmp_path) == []

    def test_a_disk_that_fills_at_the_last_moment(self, server, tmp_path, monkeypatch):
        def full(descriptor):
            if os.fstat(descriptor).st_size == len(BODY):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(ReproError, match="the disk is full"):
                fetch(server, tmp_path)
        assert published(tmp_path) == []
        assert fetch(server, tmp_path).path.read_bytes() == BODY
        assert len(server.visits) == 1

    def test_a_cache_that_cannot_be_written(self, server, tmp_path):
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(ReproError, match="cannot write"):
            fetch(server, tmp_path / "file")

    def test_damaged_notes_of_a_download_are_no_obstacle(self, server, tmp_path):
        for damage in (b"", b"[]", b'{"url": 3}', b'{"url": "x", "validator": 3}', b'{"other": 1}', b"\xff"):
            server.answers["/w.pth"] = [send(cut=100_000)] + [status(503)] * EAGER.tries
            with pytest.raises(ReproError):
                fetch(server, tmp_path)
            (notes,) = tmp_path.glob("partial/*.json")
            notes.write_bytes(damage)
            path = fetch(server, tmp_path).path
            assert server.visits[-1].start == 0
            path.with_name(".source.json").write_bytes(damage)
            assert fetch(server, tmp_path).url is None
            path.unlink()

    def test_bytes_that_a_damaged_disk_changed_are_not_published(self, server, tmp_path):
        server.answers["/w.pth"] = [send(cut=100_000)] + [status(503)] * EAGER.tries
        with pytest.raises(ReproError):
            fetch(server, tmp_path)
        (partial,) = (path for path in tmp_path.glob("partial/*") if not path.suffix)
        partial.write_bytes(OTHER[:100_000])
        assert fetch(server, tmp_path).path.read_bytes() == BODY


class TestProcesses:
    def test_two_at_once_fetch_once(self, server, tmp_path):
        children = []

        def hold(_):  # until the second process waits, too
            while len(children) < 2 or not (tmp_path / "started-1").exists():
                time.sleep(0.01)
            time.sleep(0.002)

        server.answers["/w.pth"] = [send(pause=hold)]
        children.append(process(server, tmp_path, 0))
        while not server.visits:
            assert children[0].poll() is None
            time.sleep(0.01)
        children.append(process(server, tmp_path, 1))
        found = [child.communicate(timeout=20)[0].strip() for child in children]
        assert found == [f"{SHA256} {server.url}/w.pth"] * 2
        assert len(server.visits) == 1
        assert len(published(tmp_path)) == 1

    def test_many_at_once_also_when_connections_are_cut(self, server, tmp_path):
        server.answers["/w.pth"] = [send(cut=90_000) for _ in range(3)]
        children = [process(server, tmp_path, number) for number in range(3)]
        found = {child.communicate(timeout=20)[0].strip() for child in children}
        assert found == {f"{SHA256} {server.url}/w.pth"}
        assert server.sent == len(BODY)


def process(server, directory, number=0):
    """Another process that fetches the file and prints its sha256 and URL."""
    program = (
        "import sys, pathlib; from repro.checkpoints import download, transfer\n"
        "url, sha256, directory, started = sys.argv[1:]\n"
        "pathlib.Path(started).touch()\n"
        "found = download.fetch([url], name='w.pth', sha256=sha256, directory=pathlib.Path(directory),\n"
        "                       patience=transfer.Patience(pause=0))\n"
        "print(found.sha256, found.url)"
    )
    arguments = [server.url + "/w.pth", SHA256, str(directory), str(directory / f"started-{number}")]
    root = Path(download.__file__).parents[2]
    return subprocess.Popen([sys.executable, "-c", program, *arguments], cwd=root, stdout=subprocess.PIPE, text=True)


def interrupt(*_):
    raise KeyboardInterrupt


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            *("", ".", "..", "../w.pth", "/etc/passwd", "a/b", "a\\b", "C:w.pth", "w.pth/", "~", ".hidden", "-rf"),
            *("a\0b", "a\nb", "w.pth\n", "ä.pth", "a\u202eb", "\udcff", "a" * 201),
        ],
    )
    def test_a_name_that_could_mean_another_place_is_refused(self, server, tmp_path, name):
        with pytest.raises(ReproError, match="cannot be the name of a downloaded file"):
            fetch(server, tmp_path, name=name)
        assert server.visits == []
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "name",
        ["resnet50-19c8e357.pth", "model_final_a54504.pkl", "mask_rcnn_r16_gcb_c3-c5_r50_fpn_1x_20190602-c550c707.pth"],
    )
    def test_names_of_publishers_pass(self, name):
        assert download.require_safe_name(name) == name

    @settings(deadline=None)
    @given(st.text() | st.text("./\\ab:~-\0", max_size=8) | st.text("aZ9_.+-", min_size=1, max_size=230))
    def test_no_name_leaves_the_directory(self, name):
        try:
            accepted = download.require_safe_name(name)
        except ReproError:
            return
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / accepted
            path.touch()
            assert list(Path(directory).resolve().iterdir()) == [path.resolve()]
            assert not accepted.startswith(".")

    @pytest.mark.parametrize("digits", ["", "abcde", "g" * 8, "../../etc", "*" * 8, "a" * 65, "sha256:abcdef"])
    def test_what_is_no_hash_is_refused(self, server, tmp_path, digits):
        if digits:
            with pytest.raises(ReproError, match="is no sha256"):
                fetch(server, tmp_path, sha256=digits)
        with pytest.raises(ReproError, match="is no sha256"):
            download.find_cached(digits, tmp_path)


ANSWERS = st.one_of(
    st.builds(
        send, cut=st.integers(0, 20_000), reset=st.booleans(), framing=st.sampled_from(["length", "chunked", "none"])
    ),
    st.builds(
        send, body=st.sampled_from([BODY[:20_000], OTHER[:20_000], b""]), etag=st.sampled_from(['"1"', '"2"', None])
    ),
    st.builds(send, length=st.integers(-100, 100), if_range=st.booleans(), ranges=st.booleans()),
    st.builds(send, content_range=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)),
    st.builds(
        send, etag=st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=300)
    ),
    st.builds(status, st.sampled_from([204, 304, 400, 401, 404, 416, 429, 500, 503])),
    st.builds(redirect, st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)),
    st.builds(raw, st.binary(max_size=50) | st.binary(max_size=50).map(b"HTTP/1.1 200 OK\r\n".__add__)),
    st.builds(raw, st.integers().map(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n12345".__mod__)),
    st.just(hang_up),
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.lists(ANSWERS, max_size=6), second=st.lists(ANSWERS, max_size=3))
def test_whatever_servers_answer_only_the_file_is_published(server, first, second):
    body = BODY[:20_000]
    server.reset()
    server.files |= {"/w.pth": body, "/mirror.pth": body}
    server.answers["/w.pth"], server.answers["/mirror.pth"] = list(first), list(second)
    with tempfile.TemporaryDirectory() as directory:
        directory = Path(directory)
        wanted = {"sha256": hashlib.sha256(body).hexdigest()[:8]}
        try:
            fetch(server, directory, "/w.pth", "/mirror.pth", **wanted)
        except ReproError:
            assert published(directory) == []
        server.answers.clear()
        assert fetch(server, directory, "/w.pth", "/mirror.pth", **wanted).path.read_bytes() == body
        visits = len(server.visits)
        (path,) = published(directory)
        assert fetch(server, directory, **wanted).path == path
        assert len(server.visits) == visits


@pytest.mark.parametrize(
    "reason",
    [
        OSError(errno.ENETUNREACH, "Network is unreachable"),
        OSError(errno.EHOSTUNREACH, "No route to host"),
        TimeoutError("timed out"),
        socket.gaierror(-3, "Temporary failure in name resolution"),
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
    ],
)
def test_where_there_is_no_network_each_address_is_tried_once_and_one_message_says_what_to_do(
    reason, tmp_path, monkeypatch
):
    tried = []

    def connect(address, *_, **__):
        tried.append(address[0])
        raise reason

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with pytest.raises(ReproError) as raised:
        download.fetch(["http://one.example/w.pth", "https://two.example/w.pth"], name="w.pth", sha256=SHA256)
    assert tried == ["one.example", "two.example"]
    assert f"w.pth is not in the cache {tmp_path}" in str(raised.value)
    assert str(raised.value).count("`repro checkpoints fetch --table all`") == 1
