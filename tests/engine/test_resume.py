import errno
import hashlib
import io
import json
import os
import shutil

import pytest
import torch
from tiny_training import TOTAL, Noisy, Plain, Squares, recipe

from repro.engine.fitted import find_finished
from repro.engine.loop import fit
from repro.engine.observation import Observation
from repro.engine.state import Run
from repro.errors import ReproError
from repro.files.seals import unseal_bytes

pytestmark = pytest.mark.rounding

FINISHED = ["fitted.copy.json", "fitted.json", "log.jsonl", "metrics.csv", "weights.pt"]


def train(directory, model=None, **options):
    options = {"identity": "tiny", "seed": 3, "save_every": 4, **options}
    return fit(Noisy() if model is None else model, recipe(), Squares(), directory=directory, **options)


def read_state(directory, name="state.pt"):
    return torch.load(io.BytesIO(unseal_bytes((directory / name).read_bytes())[0]), weights_only=True)


def stop_after(iteration):
    def stop(progress):
        if progress.iteration == iteration:
            raise KeyboardInterrupt

    return stop


def interrupt(directory, at=10, **options):
    """A training that ends after `at` iterations, with a state of two iterations before."""
    with pytest.raises(KeyboardInterrupt):
        train(directory, observation=Observation(progress=stop_after(at)), **options)


def same(first, second):
    return all((first / name).read_bytes() == (second / name).read_bytes() for name in ("weights.pt", "log.jsonl"))


@pytest.fixture
def reference(tmp_path):
    train(tmp_path / "reference")
    return tmp_path / "reference"


# -- processes that are killed or several (separate_processes.py) ------------------------------------------------------


def test_killed_around_every_replacement_of_a_file_it_ends_with_the_same_bytes(separate_processes):
    root, report = separate_processes
    assert len(report["killed"]) == 14
    for name, killed in report["killed"].items():
        assert killed["status"] == -9, name
        assert same(root / name, root / "reference"), name
        assert sorted(os.listdir(root / name)) == FINISHED, name
    left = {name: killed["left"] for name, killed in report["killed"].items()}
    assert left["killed-2-before"] == ["log.jsonl", "metrics.csv", "state.previous.pt"]
    assert left["killed-8-before"] == ["log.jsonl", "metrics.csv", "state.previous.pt", "state.pt", "weights.pt"]
    assert left["killed-9-before"] == ["fitted.json", *left["killed-8-before"]]


def test_killed_at_random_moments_it_ends_with_the_same_bytes(separate_processes):
    root, report = separate_processes
    assert all(lines > 0 for lines in report["random"]), report["random"]
    assert same(root / "killed-at-random", root / "reference")


def test_two_processes_hold_the_same_weights_at_every_iteration(separate_processes):
    root, _ = separate_processes
    first, second = (torch.load(root / "two" / f"rank{rank}.pt", weights_only=True) for rank in range(2))
    assert len(first["whole"]) == TOTAL
    for name in first:
        assert torch.equal(first[name], second[name])
    assert torch.equal(first["final"], torch.load(root / "two" / "weights.pt", weights_only=True)["fc.weight"])


def _close(first, second):
    a, b = (torch.load(directory / "weights.pt", weights_only=True) for directory in (first, second))
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    for lines in zip(*((d / "log.jsonl").read_text().splitlines() for d in (first, second)), strict=True):
        one, other = map(json.loads, lines)
        assert one["lr"] == other["lr"]
        assert one["losses"] == pytest.approx(other["losses"], rel=1e-3)


def test_two_processes_train_what_one_trains(separate_processes, tmp_path):
    root, _ = separate_processes
    train(tmp_path, Plain())
    _close(root / "two", tmp_path)
    assert json.loads((root / "two" / "fitted.json").read_text())["fitted"]["world_size"] == 2


def test_one_process_takes_up_what_two_began(separate_processes, tmp_path):
    root, _ = separate_processes
    shutil.copytree(root / "two-interrupted", tmp_path / "taken-up")
    fitted = train(tmp_path / "taken-up", Plain())
    assert [(segment.start, segment.world_size) for segment in fitted.segments] == [(0, 2), (8, 1)]
    assert (fitted.resumed, fitted.world_size) == (1, 1)
    train(tmp_path / "alone", Plain())
    _close(tmp_path / "taken-up", tmp_path / "alone")


@pytest.mark.parametrize(("name", "file"), [("limited log", "log.jsonl"), ("limited state", "state.pt")])
def test_a_file_that_cannot_grow_stops_with_its_name_and_can_be_taken_up(separate_processes, name, file):
    root, report = separate_processes
    directory = root / name.replace(" ", "-")
    assert report[name].startswith(f"cannot write {directory / file}: ")
    assert same(directory, root / "reference")


# -- interruptions in this process -------------------------------------------------------------------------------------


def test_a_resumed_training_reports_its_segments_and_adds_up_its_time(tmp_path, reference):
    interrupt(tmp_path / "run", 6)
    interrupt(tmp_path / "run", 10)
    saved = read_state(tmp_path / "run")["position"]
    assert saved["iteration"] == 8
    seen = []
    fitted = train(tmp_path / "run", observation=Observation(progress=seen.append))
    assert [segment.start for segment in fitted.segments] == [0, 4, 8]
    assert fitted.resumed == 2
    assert [at.iteration for at in seen] == list(range(9, TOTAL + 1))
    assert seen[0].seconds > saved["seconds"]
    assert fitted.peak_memory_bytes >= saved["peak_memory_bytes"]
    assert same(tmp_path / "run", reference)


def test_what_is_resumed_does_not_depend_on_the_model_that_is_passed(tmp_path, reference):
    interrupt(tmp_path / "run")
    other = Noisy()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    train(tmp_path / "run", other, save_every=7)
    assert same(tmp_path / "run", reference)


def test_a_finished_training_is_not_done_again(reference):
    class Untouchable(Squares):
        def sample(self, index, **options):
            raise AssertionError("trained again")

    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in reference.iterdir()}
    model = Noisy()
    fitted = fit(model, recipe(), Untouchable(), identity="tiny", directory=reference, seed=3)
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in reference.iterdir()} == before
    assert fitted.weights == reference / "weights.pt"
    expected = torch.load(fitted.weights, weights_only=True)
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


def test_results_without_weights_are_trained_again(reference):
    content = (reference / "weights.pt").read_bytes()
    (reference / "weights.pt").unlink()
    train(reference)
    assert (reference / "weights.pt").read_bytes() == content


def test_the_state_of_another_training_is_refused(tmp_path):
    interrupt(tmp_path)
    before = (tmp_path / "state.pt").read_bytes()
    with pytest.raises(ReproError, match=r"state\.pt belongs to another training.*seed differ.*delete"):
        train(tmp_path, identity="other")
    assert (tmp_path / "state.pt").read_bytes() == before


def test_the_result_of_another_training_is_refused(reference):
    with pytest.raises(ReproError, match=r"fitted\.json belongs to another training"):
        train(reference, identity="other")


def damage(path, content=None):
    """Change the lowest bit of the byte in the middle, or write another content."""
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :] if content is None else content)


@pytest.mark.parametrize("keep", [0, 1, 0.5, 0.99, "without its seal"])
def test_a_state_that_is_cut_off_is_told_and_the_one_before_taken(tmp_path, reference, capsys, keep):
    interrupt(tmp_path / "run")
    state = tmp_path / "run" / "state.pt"
    content = state.read_bytes()
    short = {1: b"not a state", "without its seal": unseal_bytes(content)[0]}
    state.write_bytes(short[keep] if keep in short and keep else content[: int(len(content) * keep)])
    seen = []
    train(tmp_path / "run", observation=Observation(progress=seen.append))
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "state.pt is damaged" in said
    assert said.endswith("The training goes on from state.previous.pt.\n")
    assert seen[0].iteration == 5  # states are of iterations 4 and 8
    assert same(tmp_path / "run", reference)
    assert sorted(os.listdir(tmp_path / "run")) == FINISHED


def test_no_bit_of_a_state_is_changed_unnoticed(tmp_path, capsys):
    """Bits in every part of the file: header, weights, momentum, position, directory of the archive, seal."""
    interrupt(tmp_path / "run")
    state = tmp_path / "run" / "state.pt"
    content = state.read_bytes()
    for at in range(0, len(content), len(content) // 150):
        state.write_bytes(content[:at] + bytes([content[at] ^ (1 << at % 8)]) + content[at + 1 :])
        run = Run(tmp_path / "run", "tiny", writes=True)
        assert run.choose_state() == "state.previous.pt", at
        assert "state.pt is damaged" in capsys.readouterr().err
        assert not state.exists()


def test_without_a_whole_state_it_is_trained_from_the_start(tmp_path, reference, capsys):
    interrupt(tmp_path / "run")
    for name in ("state.pt", "state.previous.pt"):
        damage(tmp_path / "run" / name)
    train(tmp_path / "run")
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.count("is damaged") == 2
    assert "goes on from the start" in said
    assert same(tmp_path / "run", reference)


def test_a_damaged_state_never_replaces_the_one_before(tmp_path, reference):
    interrupt(tmp_path / "run")
    damage(tmp_path / "run" / "state.pt")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", observation=Observation(progress=stop_after(8)))  # when its state was saved
    names = ["log.jsonl", "metrics.csv", "state.previous.pt", "state.pt", "state.pt.damaged"]
    assert sorted(os.listdir(tmp_path / "run")) == names
    assert read_state(tmp_path / "run", "state.previous.pt")["position"]["iteration"] == 4
    train(tmp_path / "run")
    assert same(tmp_path / "run", reference)


def test_a_state_of_an_earlier_version_is_read_and_told(tmp_path, reference, capsys):
    interrupt(tmp_path / "run")
    state = tmp_path / "run" / "state.pt"
    content = read_state(tmp_path / "run")
    for name in ("log_sha256", "last_losses"):
        del content["position"][name]
    del content["sealed"]
    torch.save(content, state)
    seen = []
    train(tmp_path / "run", observation=Observation(progress=seen.append))
    assert seen[0].iteration == 9
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "state.pt was written by an earlier version, without a hash" in said
    assert same(tmp_path / "run", reference)
    assert results(tmp_path / "run")["final_loss"] == results(reference)["final_loss"]


def results(directory):
    return json.loads((directory / "fitted.json").read_text())["fitted"]


def test_a_state_that_would_run_code_is_not_read(tmp_path, capsys):
    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    torch.save({"identity": "tiny", "position": Hostile()}, tmp_path / "state.pt")
    train(tmp_path)
    assert "state.pt is damaged" in capsys.readouterr().err
    assert not (tmp_path / "executed").exists()


def test_a_state_of_another_network_is_refused(tmp_path):
    interrupt(tmp_path)
    with pytest.raises(ReproError, match=r"state\.pt is damaged or not of this training"):
        train(tmp_path, Plain())


@pytest.mark.parametrize("line", [6, 7])
def test_a_log_that_is_damaged_after_the_state_before_is_written_again(tmp_path, reference, capsys, line):
    interrupt(tmp_path / "run")
    log = tmp_path / "run" / "log.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    lines[line] = lines[line].replace(b'"lr": 0.0', b'"lr": 0.1')
    log.write_bytes(b"".join(lines[: line + 1] if line == 7 else lines))
    train(tmp_path / "run")
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "log.jsonl is damaged (it is not what" in said
    assert "goes on from state.previous.pt" in said
    assert same(tmp_path / "run", reference)


@pytest.mark.parametrize("content", [b"", b'{"iteration": 1, "lr": 0.0'])
def test_for_a_lost_log_no_training_is_begun_anew(tmp_path, reference, capsys, content):
    interrupt(tmp_path / "run")
    (tmp_path / "run" / "log.jsonl").write_bytes(content)
    seen = []
    train(tmp_path / "run", observation=Observation(progress=seen.append))
    assert seen[0].iteration == 9
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "log.jsonl is damaged (it is shorter" in said
    assert "the log stays damaged" in said
    assert (tmp_path / "run" / "weights.pt").read_bytes() == (reference / "weights.pt").read_bytes()
    assert results(tmp_path / "run")["final_loss"] == results(reference)["final_loss"]
    whole = (reference / "log.jsonl").read_bytes().splitlines(keepends=True)
    assert (tmp_path / "run" / "log.jsonl").read_bytes() == b"".join(whole[8:])


# -- results ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "content"),
    [("fitted.json", b'{"identity": "ti'), ("fitted.json", None), ("fitted.copy.json", None), ("fitted.json", b"")],
)
def test_of_a_damaged_result_the_copy_is_taken(reference, capsys, file, content):
    before = (reference / "fitted.json").read_bytes()
    damage(reference / file, content)
    seen = []
    fitted = train(reference, observation=Observation(progress=seen.append))
    assert not seen
    said = capsys.readouterr().err
    assert said.count("\n") == (file == "fitted.json")
    assert not said or "is whole, and is taken" in said
    assert [(reference / name).read_bytes() for name in ("fitted.json", "fitted.copy.json")] == [before, before]
    assert fitted == train(reference)
    assert not capsys.readouterr().err


@pytest.mark.parametrize("field", ["final_loss", "seconds", "effective_batch", "sha256"])
def test_a_result_that_was_edited_is_refused(reference, capsys, field):
    """In both files, with the seal cut out: none is taken, and the training is done again."""
    for name in ("fitted.json", "fitted.copy.json"):
        content = json.loads((reference / name).read_text())
        content["fitted"][field] = "0" * 64 if field == "sha256" else 1
        (reference / name).write_text(json.dumps(content))
    whole = (reference / "weights.pt").read_bytes()
    assert find_finished(reference, "tiny") is None
    fitted = train(reference)
    assert fitted.final_loss != 1
    assert "was changed after it was written" in capsys.readouterr().err
    assert (reference / "weights.pt").read_bytes() == whole


def test_weights_with_a_changed_bit_are_trained_again(reference, capsys):
    whole = (reference / "weights.pt").read_bytes()
    damage(reference / "weights.pt")
    assert find_finished(reference, "tiny") is None
    train(reference)
    assert "weights.pt is damaged: its sha256 is not the one in fitted.json" in capsys.readouterr().err
    assert (reference / "weights.pt").read_bytes() == whole
    assert find_finished(reference, "tiny").sha256 == hashlib.sha256(whole).hexdigest()


def test_a_result_of_an_earlier_version_is_read_and_told_once(reference, capsys):
    content = json.loads((reference / "fitted.json").read_text())
    (reference / "fitted.copy.json").unlink()
    old = {"identity": content["identity"], "fitted": content["fitted"]}
    (reference / "fitted.json").write_text(json.dumps(old, indent=1) + "\n")
    seen = []
    fitted = train(reference, observation=Observation(progress=seen.append))
    assert not seen
    assert "fitted.json was written by an earlier version, without a hash" in capsys.readouterr().err
    assert train(reference) == fitted
    assert not capsys.readouterr().err


def test_a_full_disk_leaves_the_earlier_state(tmp_path, reference, monkeypatch):
    interrupt(tmp_path / "run", 6)
    state = tmp_path / "run" / "state.pt"
    before = state.read_bytes()

    replace = os.replace

    def full(source, target):
        if target.name.startswith("state"):
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(ReproError, match=r"cannot write .*state\.pt: the disk is full"):
            train(tmp_path / "run")
    assert state.read_bytes() == before
    assert not list((tmp_path / "run").glob(".state*"))
    train(tmp_path / "run")
    assert same(tmp_path / "run", reference)


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ReproError, match=r"a part of the path is a file"):
        train(tmp_path / "file" / "run")


def test_leftovers_of_a_killed_write_are_removed(tmp_path):
    for name in (".state.pt.x1", ".weights.pt.x2", ".fitted.json.x3"):
        (tmp_path / name).write_bytes(b"half")
    train(tmp_path)
    assert sorted(os.listdir(tmp_path)) == FINISHED
