"""Initial weights: fetched whole or not at all, checked, and loaded without running what a file may hold."""

from __future__ import annotations

import functools
import hashlib
import http.server
import pickle
import threading

import pytest
import torch

from repro.checkpoints import initial
from repro.errors import ReproError

STATE = {"conv1.weight": torch.arange(6.0).reshape(2, 3)}


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A local server with one weights file, which stands for the published one; yields (id, its directory)."""
    served = tmp_path / "served"
    served.mkdir()
    torch.save(STATE, served / "small.pth")
    digest = hashlib.sha256((served / "small.pth").read_bytes()).hexdigest()
    (served / "small.pth").rename(served / f"small-{digest[:8]}.pth")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(served))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    weights = f"test/small-{digest[:8]}"
    url = f"http://127.0.0.1:{server.server_port}/small-{digest[:8]}.pth"
    monkeypatch.setitem(initial.SOURCES, weights, url)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    yield weights, served
    server.shutdown()
    server.server_close()


def test_a_file_is_fetched_once(site):
    weights, served = site
    path = initial.fetch(weights)
    assert torch.equal(initial.load(path)["conv1.weight"], STATE["conv1.weight"])
    for file in served.iterdir():
        file.unlink()
    assert initial.fetch(weights) == path


def test_a_file_of_another_hash_is_refused_and_not_kept(site):
    weights, served = site
    (file,) = served.iterdir()
    file.write_bytes(file.read_bytes() + b"more")
    with pytest.raises(ReproError, match="invalid hash"):
        initial.fetch(weights)
    assert not initial.cached(weights).exists()


def test_a_file_that_changed_in_the_cache_is_refused(site):
    weights, _ = site
    path = initial.fetch(weights)
    path.write_bytes(b"something else")
    with pytest.raises(ReproError, match="its sha256 is"):
        initial.fetch(weights)


def test_a_file_that_is_not_there_says_what_else_can_be_done(site):
    weights, served = site
    for file in served.iterdir():
        file.unlink()
    with pytest.raises(ReproError, match=r"could not be downloaded.*--init"):
        initial.fetch(weights)


class Malicious:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code from the file ran')",))


@pytest.mark.parametrize(
    "save", [lambda value, path: torch.save(value, path), lambda v, p: p.write_bytes(pickle.dumps(v))]
)
def test_code_in_a_file_does_not_run(tmp_path, save):
    save({"conv1.weight": Malicious()}, tmp_path / "bad.pth")
    with pytest.raises(ReproError, match="cannot be read"):
        initial.load(tmp_path / "bad.pth")


def test_every_cut_of_a_file_is_one_clear_error(tmp_path):
    torch.save(STATE, tmp_path / "whole.pth")
    content = (tmp_path / "whole.pth").read_bytes()
    for size in range(0, len(content), 37):
        (tmp_path / "cut.pth").write_bytes(content[:size])
        with pytest.raises(ReproError, match=r"cut\.pth"):
            initial.load(tmp_path / "cut.pth")


def test_what_is_not_a_state_dict_is_refused(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(ReproError, match="not a state dict"):
        initial.load(tmp_path / "list.pth")
    torch.save({"state_dict": STATE, "meta": {}}, tmp_path / "wrapped.pth")
    assert set(initial.load(tmp_path / "wrapped.pth")) == set(STATE)
