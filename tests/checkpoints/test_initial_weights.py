"""Initial weights: fetched whole or not at all, checked, and loaded without running what a file may hold."""

from __future__ import annotations

import hashlib
import io

import pytest
import torch
from faulty_server import Server, send
from weights_files import write_exported

from repro.checkpoints import initial_weights, registry
from repro.checkpoints.registry import Registry, Url
from repro.checkpoints.weight_files import read
from repro.errors import ReproError

STATE = {"conv1.weight": torch.arange(6.0).reshape(2, 3)}
PUBLISHED = "torchvision/resnet50-19c8e357"


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A local server with one weights file, of which 8 digits of its hash are known; yields (id, the server)."""
    file = io.BytesIO()
    torch.save(STATE, file)
    name = f"small-{hashlib.sha256(file.getvalue()).hexdigest()[:8]}"
    server = Server()
    server.files[f"/{name}.pth"] = file.getvalue()
    urls = (Url.model_construct(url=f"{server.url}/{name}.pth"),)
    entry = registry.load().get_initial(PUBLISHED)
    entry = entry.model_copy(update={"id": f"test/{name}", "urls": urls, "sha256": name[-8:], "size": None})
    known = Registry((entry,), registry.load().path)
    monkeypatch.setattr(registry, "load", lambda: known)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    yield entry.id, server
    server.close()


def test_the_ids_of_the_recipes_are_in_the_registry():
    """torch hub's names, of which the part after the dash is the hash's beginning."""
    for weights in (PUBLISHED, "torchvision/resnet101-5d3b4d8f", "openmmlab/resnext101_32x4d-a5af3160"):
        assert weights.endswith(f"-{initial_weights.get_sha256_prefix(weights)}")
        assert initial_weights.locate(weights).name == weights.split("/")[1] + ".pth"
    with pytest.raises(ReproError, match="unknown initial weights 'torchvision/resnet50'"):
        initial_weights.get_sha256_prefix("torchvision/resnet50")


def test_a_file_or_one_state_dict_of_it_is_given(site, tmp_path):
    weights, _ = site
    file = tmp_path / "own.pth"
    torch.save({"model": STATE, "model_ema": STATE}, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert initial_weights.fetch_given(str(file)) == (file, None)
    assert initial_weights.fetch_given(f"{file}#model_ema") == (file, "model_ema")
    assert initial_weights.identify_given(str(file)) == digest
    assert initial_weights.identify_given(f"{file}#model_ema") == f"{digest}#model_ema"
    path, part = initial_weights.fetch_given(f"{weights}#model")
    assert (path, part) == (initial_weights.fetch(weights), "model")
    assert initial_weights.identify_given(f"{weights}#model") == f"{weights[-8:]}#model"
    for read_given in (initial_weights.fetch_given, initial_weights.identify_given):
        with pytest.raises(ReproError, match=r"--init nowhere: no such file, and no id"):
            read_given("nowhere")
    with pytest.raises(ReproError, match=r"nowhere\.pth cannot be read: it does not exist"):
        initial_weights.identify_given("nowhere.pth")


def test_a_directory_that_was_exported_is_given(tmp_path):
    directory = write_exported(tmp_path / "exported", STATE)
    digest = hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()
    assert initial_weights.fetch_given(str(directory)) == (directory / "model.safetensors", None)
    assert initial_weights.identify_given(str(directory)) == digest
    (directory / "model.safetensors").write_bytes(b"others")
    for read_given in (initial_weights.fetch_given, initial_weights.identify_given):
        with pytest.raises(ReproError, match=r"is not the file that config\.json beside it names"):
            read_given(str(directory))
        with pytest.raises(ReproError, match=r"is a directory, and has no config\.json.*Name a file of weights in it"):
            read_given(str(tmp_path))


def test_a_file_is_fetched_once(site):
    weights, server = site
    assert not initial_weights.locate(weights).exists()
    path = initial_weights.fetch(weights)
    assert torch.equal(read(path).tensors["conv1.weight"], STATE["conv1.weight"])
    server.files.clear()
    assert initial_weights.fetch(weights) == initial_weights.locate(weights) == path
    assert len(server.visits) == 1


def test_torchvisions_copy_is_used(site):
    weights, server = site
    copy = initial_weights.locate(weights)
    copy.parent.mkdir(parents=True)
    (content,) = server.files.values()
    copy.write_bytes(content)
    assert initial_weights.fetch(weights) == copy
    assert server.visits == []


def test_a_wrong_copy_of_torchvisions_is_left_alone_and_not_used(site):
    weights, server = site
    copy = initial_weights.locate(weights)
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"something else")
    path = initial_weights.fetch(weights)
    assert path != copy
    assert path.read_bytes() == next(iter(server.files.values()))
    assert copy.read_bytes() == b"something else"


def test_a_file_of_another_hash_is_refused_and_not_kept(site):
    weights, server = site
    ((name, content),) = server.files.items()
    server.answers[name] = [send(body=content + b"more")]
    with pytest.raises(ReproError, match=rf"its sha256 is \w{{64}}, not {weights[-8:]}\.\.\."):
        initial_weights.fetch(weights)
    assert not initial_weights.locate(weights).exists()


def test_a_file_that_changed_in_the_cache_is_fetched_again(site):
    weights, server = site
    path = initial_weights.fetch(weights)
    path.write_bytes(b"something else")
    assert torch.equal(read(initial_weights.fetch(weights)).tensors["conv1.weight"], STATE["conv1.weight"])
    assert len(server.visits) == 2


def test_a_file_that_is_not_there_says_what_else_can_be_done(site):
    weights, server = site
    server.files.clear()
    with pytest.raises(ReproError, match=rf"(?s)initial weights {weights}: .*404 \(Not Found\).*--init FILE"):
        initial_weights.fetch(weights)
