"""`repro checkpoints`: what it lists, fetches from a local server, recognises and converts."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner
from weights_files import write_exported

from repro import experiments
from repro.checkpoints import registry
from repro.checkpoints.choice import choose
from repro.checkpoints.hub_directories import hash_network
from repro.checkpoints.registry import CheckpointEntry, Registry, Url
from repro.cli.checkpoints import app
from repro.conversion import prepare
from repro.conversion.networks import build_meta_state_dict
from repro.errors import ReproError
from repro.experiments import Backbone, Classifier, Experiment, mini
from repro.models.resnet import ResNet

NETWORK = Classifier(Backbone(blocks=(1, 1, 1, 1), width=8), num_classes=5, input_size=(32, 32))
SMALL = Experiment("small", "imagenet", NETWORK, recipe=None)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return ResNet(NETWORK.backbone, NETWORK.num_classes).state_dict()


class Site:
    """A server with files, and a registry that knows them."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch):
        self.directory, self.monkeypatch, self.requests = directory, monkeypatch, []
        self.entries: list[CheckpointEntry] = []
        handler = functools.partial(self._handler(), directory=str(directory))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _handler(self):
        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(handler, *arguments):
                self.requests.append(handler.path)

        return Handler

    def publish(
        self, id_: str, content: bytes, *, hash_: str = "sha256", of: bytes | None = None, **more
    ) -> CheckpointEntry:
        """An entry of `content`, with the first digits of the hash of `of` (default: of the content itself)."""
        name = f"{id_.replace('/', '-')}.pth"
        (self.directory / name).write_bytes(content)
        raw = {
            "id": id_, "source": "someone/zoo", "format": "torchvision",
            "urls": [{"url": "https://one.example/file.pth"}],
            hash_: hashlib.new(hash_, content if of is None else of).hexdigest()[:8],
            "serves": [{"experiment": "small", "match": "exact"}], **more,
        }  # fmt: skip
        local = Url.model_construct(url=f"http://127.0.0.1:{self.server.server_port}/{name}", note="", by_hand=False)
        self.entries.append(CheckpointEntry.model_validate(raw).model_copy(update={"urls": (local,)}))
        known = Registry(tuple(self.entries), Path("checkpoints.yaml"))
        self.monkeypatch.setattr(registry, "load", lambda: known)
        return self.entries[-1]


@pytest.fixture
def site(tmp_path, monkeypatch):
    (tmp_path / "served").mkdir()
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(experiments.EXPERIMENTS, "small", SMALL)
    monkeypatch.setitem(
        experiments.EXPERIMENTS, "wide", replace(SMALL, name="wide", network=replace(NETWORK, num_classes=6))
    )
    site = Site(tmp_path / "served", monkeypatch)
    yield site
    site.server.shutdown()
    site.server.server_close()


def saved(state: dict, path: Path) -> bytes:
    torch.save(state, path)
    return path.read_bytes()


def repro(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


def refused(result) -> str:
    """What a user is told, where the command ends with exit code 2."""
    assert isinstance(result.exception, ReproError), result.output
    return str(result.exception)


# -- list ------------------------------------------------------------------------------------------------------------


def test_list_names_the_authors_weights_of_a_table_first():
    lines = repro("list", "--table", 3).stdout.splitlines()
    at = lines.index("coco-x101-dcn-cascade-gc-r4")
    assert lines[at + 1] == "  exact    gcnet/x101-cascade-dcn-syncbn-gc-r4-1x  (AP box 47.9, AP mask 40.8)"
    assert lines[-1] == "15 experiments: the authors' weights of 15, only near ones of 0"


def test_list_says_what_differs_what_is_in_the_way_and_where_nothing_is():
    output = repro("list", "--table", 5).stdout
    assert "  near     mmaction2/slowonly_r50_8x8x1_256e_kinetics400_rgb  (Top-1 74.93, Top-5 91.92)\n" in output
    assert "           differs: trained from scratch\n" in output
    assert "           in the way: another network (TSM), which is not built here\n" in output
    assert "kinetics-r50-5snl\n  initial  torchvision/resnet50-19c8e357" in output


def test_list_is_data_too():
    rows = json.loads(repro("list", "--experiment", "coco-r50-gc-r4", "--json").stdout)
    assert [row["match"] for row in rows] == ["exact"] + ["near"] * (len(rows) - 2) + ["initial"]
    assert rows[0]["sha256"] == "ace08792"
    assert rows[0]["urls"][0]["url"].endswith("-ace08792.pth")
    assert {row["experiment"] for row in rows} == {"coco-r50-gc-r4"}


def test_list_refuses_what_there_is_not():
    assert "did you mean coco-r50-gc-r4" in refused(repro("list", "--experiment", "coco-r50-gc-r44"))
    assert "do not go together" in refused(repro("list", "--experiment", "coco-r50-gc-r4", "--table", 3))


def test_list_needs_no_torch():
    program = (
        "import sys\nfrom repro.cli.checkpoints import app\n"
        "try: app(['list'])\nexcept SystemExit as end: assert not end.code\n"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


# -- fetch -----------------------------------------------------------------------------------------------------------


def test_fetch_prints_where_the_file_is_and_fetches_it_once(site):
    site.publish("zoo/small", b"the weights")
    result = repro("fetch", "zoo/small")
    id_, path = result.stdout.split()
    assert id_ == "zoo/small"
    assert Path(path).read_bytes() == b"the weights"
    assert repro("fetch", "--experiment", "small").stdout == result.stdout
    assert len(site.requests) == 1


def test_fetch_refuses_a_file_of_another_hash_and_names_both(site):
    site.publish("zoo/small", b"something else", of=b"the weights")
    message = refused(repro("fetch", "zoo/small"))
    assert hashlib.sha256(b"something else").hexdigest() in message
    assert hashlib.sha256(b"the weights").hexdigest()[:8] in message


def test_fetch_checks_an_md5_where_no_more_is_published(site, tmp_path):
    site.publish("zoo/good", b"the weights", hash_="md5")
    site.publish("zoo/bad", b"something else", hash_="md5", of=b"other weights")
    assert repro("fetch", "zoo/good").stdout.startswith("zoo/good")
    message = refused(repro("fetch", "zoo/bad"))
    assert f"its md5 is {hashlib.md5(b'something else').hexdigest()}" in message
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert [path for path in kept if path.read_bytes() == b"something else"] == []
    assert [path for path in kept if path.read_bytes() == b"the weights"] != []


def test_fetch_goes_on_after_a_file_that_cannot_be_had(site):
    site.publish("zoo/bad", b"something else", of=b"the weights")
    site.publish("zoo/good", b"good weights")
    result = repro("fetch", "zoo/bad", "zoo/good")
    assert result.stdout.startswith("zoo/good")
    assert "1 of 2 could not be fetched: zoo/bad" in refused(result)


def test_fetch_asks_no_server_for_a_file_that_could_not_be_used(site):
    site.publish("zoo/small", b"the weights", obstacle="its host is gone")
    assert "zoo/small cannot be fetched: its host is gone" in refused(repro("fetch", "zoo/small"))
    assert site.requests == []


def test_fetch_is_told_what_in_one_way():
    for given in (("small/one", "--table", 3), ("--experiment", "small", "--table", 3), ("x", "--experiment", "small")):
        assert "give one of them" in refused(repro("fetch", *given))


def test_fetch_wants_to_know_what():
    assert "name what to fetch" in refused(repro("fetch"))
    assert "unknown weights 'gcnet/r50'" in refused(repro("fetch", "gcnet/r50"))
    assert "--table" in refused(repro("fetch", "--table", 6))


def test_fetch_brings_what_all_tables_need_to_evaluate_and_to_train(site):
    """Each file once, and no near ones, which must be named."""

    def serve(match, *names):
        differs = "frozen batch norm" if match == "near" else ""
        return [{"experiment": name, "match": match, "differs": differs} for name in names]

    detectors, classifiers = ("coco-r50-gc-r16", "coco-r50-gc-r4"), ("kinetics-r50-baseline",)
    site.publish("zoo/exact", b"exact", serves=serve("exact", *detectors))
    site.publish("zoo/near", b"near", serves=serve("near", *classifiers))
    site.publish("zoo/initial", b"initial", serves=serve("initial", *detectors, *classifiers))
    assert [line.split()[0] for line in repro("fetch", "--table", 5).stdout.splitlines()] == ["zoo/initial"]
    result = repro("fetch", "--table", "all")
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["zoo/exact", "zoo/initial"]
    assert len(site.requests) == 2
    assert "no row of Table 4 has public weights" in refused(repro("fetch", "--table", 4))


def test_without_a_network_what_was_fetched_suffices_and_else_it_is_said_at_once_what_to_do(site):
    site.publish("zoo/here", b"here")
    site.publish("zoo/missing", b"missing")
    fetched = repro("fetch", "zoo/here").stdout
    site.server.shutdown()
    site.server.server_close()
    begin = time.monotonic()
    assert repro("fetch", "zoo/here").stdout == fetched
    message = refused(repro("fetch", "zoo/missing"))
    assert time.monotonic() - begin < 30
    assert message.count("error:") <= 1
    assert "zoo-missing.pth is not in the cache" in message
    assert "`repro checkpoints fetch --table all`, on a machine that has one and with the same REPRO_CACHE" in message


# -- import --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hash_", ["sha256", "md5"])
def test_import_puts_a_copy_where_fetch_looks_first(hash_, site, state, tmp_path):
    content = saved(state, tmp_path / "copy.pth")
    entry = site.publish("a/one", content, hash_=hash_)
    site.publish("a/other", b"another file", hash_=hash_)
    (site.directory / "a-one.pth").unlink()  # the host is gone
    assert "`repro checkpoints import FILE`" in refused(repro("fetch", "a/one"))
    imported = repro("import", tmp_path / "copy.pth")
    assert imported.exit_code == 0, imported.output
    requests = len(site.requests)
    fetched = repro("fetch", "a/one").stdout
    assert imported.stdout == f"{fetched.strip()}  (by the first 8 digits of its {hash_}, as published)\n"
    assert Path(fetched.split()[1]).read_bytes() == content
    assert len(site.requests) == requests
    assert (tmp_path / "copy.pth").read_bytes() == content  # it stays where it is
    chosen = choose(SMALL, "a/one")
    assert prepare.fetch_chosen(chosen, lambda *_: None).url is None  # nobody knows where it came from
    assert entry.id == chosen.id
    assert repro("import", tmp_path / "copy.pth", "--id", "a/one").stdout == imported.stdout  # again: nothing is done


def test_import_takes_no_other_file(site, state, tmp_path):
    content = saved(state, tmp_path / "copy.pth")
    site.publish("a/one", content)
    site.publish("a/gone", b"gone", obstacle="its host is gone", serves=[{"experiment": "wide", "match": "exact"}])
    (tmp_path / "other.pth").write_bytes(content + b"0")
    (tmp_path / "gone.pth").write_bytes(b"gone")
    assert "is none of the files that checkpoints.yaml knows" in refused(repro("import", tmp_path / "other.pth"))
    assert "is not a/one: its sha256 is" in refused(repro("import", tmp_path / "other.pth", "--id", "a/one"))
    assert "its host is gone. `--weights a/gone=FILE`" in refused(repro("import", tmp_path / "gone.pth"))
    assert "one at a time" in refused(repro("import", tmp_path / "copy.pth", tmp_path / "gone.pth", "--id", "a/one"))
    assert not list((tmp_path / "cache").glob("sha256/*/*/*"))


# -- verify ----------------------------------------------------------------------------------------------------------


def test_verify_says_what_a_file_is_and_accounts_for_its_keys(site, state, tmp_path):
    entry = site.publish("zoo/small", content := saved(state, tmp_path / "file.pth"))
    for arguments in ((), ("--id", "zoo/small")):
        result = repro("verify", tmp_path / "file.pth", *arguments)
        assert result.exit_code == 0, result.output
        assert f"sha256: {hashlib.sha256(content).hexdigest()}" in result.stdout
        assert f"entry: {entry.id} of someone/zoo, by the first 8 digits of its sha256" in result.stdout
        assert f"contents: {len(state)} tensors" in result.stdout
        assert "fit the network of small" in result.stdout


def test_verify_fails_where_the_hash_is_another(site, tmp_path):
    (tmp_path / "file.pth").write_bytes(b"something else")
    site.publish("zoo/small", b"the weights")
    result = repro("verify", tmp_path / "file.pth", "--id", "zoo/small")
    assert result.exit_code == 1
    assert f"is {hashlib.sha256(b'something else').hexdigest()}, not " in result.stderr
    assert hashlib.sha256(b"the weights").hexdigest()[:8] in result.stderr
    result = repro("verify", tmp_path / "file.pth")
    assert result.exit_code == 1
    assert "is not in checkpoints.yaml" in result.stderr


def test_verify_refuses_a_withdrawn_file(site, tmp_path):
    (tmp_path / "file.pth").write_bytes(b"the weights")
    site.publish("zoo/old", b"the weights", withdrawn=True, serves=[], obstacle="withdrawn in 2021")
    result = repro("verify", tmp_path / "file.pth")
    assert result.exit_code == 1
    assert "withdrawn in 2021" in result.stderr


class Attack:
    """Unpickled, it would create the file `target`."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return open, (str(self.target), "w")


def test_verify_runs_nothing_even_of_a_file_with_the_published_hash(site, tmp_path):
    content = pickle.dumps({"conv1.weight": Attack(tmp_path / "ran")})
    (tmp_path / "file.pth").write_bytes(content)
    site.publish("zoo/small", content)
    message = refused(repro("verify", tmp_path / "file.pth"))
    assert "file.pth cannot be read" in message
    assert not (tmp_path / "ran").exists()


def test_verify_names_a_missing_file():
    assert "nowhere.pth cannot be read: it does not exist" in refused(repro("verify", "nowhere.pth"))


def test_verify_checks_a_directory_that_was_exported(tmp_path):
    name = "imagenet-r50-gc-r16"
    experiment = mini.get_at_profile(name, "mini")
    state = {
        key: torch.ones(one.shape, dtype=one.dtype) for key, one in build_meta_state_dict(experiment.network).items()
    }
    directory = write_exported(tmp_path / "exported", state, name, network=hash_network(experiment))
    result = repro("verify", directory)
    assert result.exit_code == 0, result.output
    sha256 = hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()
    assert f"sha256: {sha256}\n" in result.stdout
    assert f"exported: {name} at profile mini, seed 3, trained by gcnet-repro 1.0" in result.stdout
    assert f"keys: {len(state)} fit the network of {name}" in result.stdout
    assert "--id is of files that others published" in refused(repro("verify", directory, "--id", "zoo/small"))
    own = write_exported(tmp_path / "own", state, "coordinate-attention")
    result = repro("verify", own)
    assert result.exit_code == 0
    assert "keys: not compared" in result.stdout
    other = write_exported(tmp_path / "other", state, name)
    assert "are of another imagenet-r50-gc-r16 than is defined now" in refused(repro("verify", other))
    shutil.copy(own / "config.json", directory / "config.json")
    (directory / "model.safetensors").write_bytes(b"others")
    assert "is not the file that config.json beside it names" in refused(repro("verify", directory))
    assert "has no config.json" in refused(repro("verify", tmp_path))


# -- convert ---------------------------------------------------------------------------------------------------------


def test_convert_writes_the_state_dict_of_the_experiments_network(site, state, tmp_path):
    site.publish("zoo/small", saved(state, tmp_path / "file.pth"))
    for number, weights in enumerate(("zoo/small", tmp_path / "file.pth", f"zoo/small={tmp_path / 'file.pth'}")):
        output = tmp_path / f"{number}.pt"
        result = repro("convert", weights, "--experiment", "small", "--output", output)
        assert result.exit_code == 0, result.output
        model = ResNet(NETWORK.backbone, NETWORK.num_classes)
        model.load_state_dict(torch.load(output, weights_only=True))
        assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert len(site.requests) == 1
    assert len({(tmp_path / f"{number}.pt").read_bytes() for number in range(3)}) == 1


def test_convert_refuses_a_file_that_is_not_what_its_name_says(site, state, tmp_path):
    site.publish("zoo/small", b"the weights")
    saved(state, tmp_path / "file.pth")
    output = tmp_path / "out.pt"
    message = refused(
        repro("convert", f"zoo/small={tmp_path / 'file.pth'}", "--experiment", "small", "--output", output)
    )
    assert "file.pth is not zoo/small: its sha256 is" in message
    assert not output.exists()


def test_convert_refuses_weights_of_another_network(site, state, tmp_path):
    site.publish("zoo/small", saved(state, tmp_path / "file.pth"))
    output = tmp_path / "out.pt"
    message = refused(repro("convert", "zoo/small", "--experiment", "wide", "--output", output))
    assert "zoo/small do not belong to wide" in message
    entry = site.publish("zoo/wide", saved({**state, "extra": torch.zeros(1)}, tmp_path / "other.pth"))
    message = refused(repro("convert", entry.id, "--experiment", "small", "--output", output))
    assert "extra" in message
    assert not output.exists()


def test_convert_takes_the_named_state_dict_of_several(site, state, tmp_path):
    average = {key: value + 1 if value.is_floating_point() else value for key, value in state.items()}
    torch.save({"model": state, "model_ema": average}, tmp_path / "both.pth")
    site.publish("zoo/small", (tmp_path / "both.pth").read_bytes())
    output = tmp_path / "out.pt"
    for weights in ("zoo/small", str(tmp_path / "both.pth"), f"zoo/small={tmp_path / 'both.pth'}"):
        message = refused(repro("convert", weights, "--experiment", "small", "--output", output))
        assert "several state dicts, model and model_ema" in message
        assert not output.exists()
        assert repro("convert", f"{weights}#model_ema", "--experiment", "small", "--output", output).exit_code == 0
        written = torch.load(output, weights_only=True)
        assert all(torch.equal(written[key], average[key]) for key in average)
        output.unlink()


def test_verify_and_convert_wait_for_no_pipe(site, tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    for command in (("verify",), ("convert", "--experiment", "small", "--output", tmp_path / "out.pt")):
        message = refused(repro(command[0], tmp_path / "pipe.pth", *command[1:]))
        assert "pipe.pth cannot be read: it is no regular file but a named pipe" in message
