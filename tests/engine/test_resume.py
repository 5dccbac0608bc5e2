import errno
import json
import os
import shutil

import pytest
import torch
from tiny_training import TOTAL, Noisy, Plain, Squares, recipe

from repro.engine.loop import fit
from repro.errors import ReproError

pytestmark = pytest.mark.rounding


def train(directory, model=None, **options):
    options = {"identity": "tiny", "seed": 3, "save_every": 4, **options}
    return fit(Noisy() if model is None else model, recipe(), Squares(), directory=directory, **options)


def interrupt(directory, at=10, **options):
    """A training that ends after `at` iterations, with a state of two iterations before."""

    def stop(progress):
        if progress.iteration == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(directory, progress=stop, **options)


def same(first, second):
    return all((first / name).read_bytes() == (second / name).read_bytes() for name in ("weights.pt", "log.jsonl"))


@pytest.fixture
def reference(tmp_path):
    train(tmp_path / "reference")
    return tmp_path / "reference"


# -- processes that are killed or several (separate_processes.py) ------------------------------------------------------


def test_killed_around_every_replacement_of_a_file_it_ends_with_the_same_bytes(separate_processes):
    root, report = separate_processes
    assert len(report["killed"]) == 8
    for name, killed in report["killed"].items():
        assert killed["status"] == -9, name
        assert same(root / name, root / "reference"), name
        assert sorted(os.listdir(root / name)) == ["fitted.json", "log.jsonl", "weights.pt"], name
    assert "weights.pt" in report["killed"]["killed-5-before"]["left"]
    assert "fitted.json" not in report["killed"]["killed-5-before"]["left"]


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
    saved = torch.load(tmp_path / "run" / "state.pt", weights_only=True)["position"]
    assert saved["iteration"] == 8
    seen = []
    fitted = train(tmp_path / "run", progress=seen.append)
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


@pytest.mark.parametrize("keep", [0, 1, 0.5, 0.99])
def test_a_state_that_is_cut_off_is_named(tmp_path, keep):
    interrupt(tmp_path)
    state = tmp_path / "state.pt"
    content = state.read_bytes()
    state.write_bytes(content[: int(len(content) * keep)] if keep != 1 else b"not a state")
    with pytest.raises(ReproError, match=r"state\.pt is damaged.*Delete .* to train from the start"):
        train(tmp_path)
    assert state.exists()


def test_a_state_that_would_run_code_is_refused(tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    torch.save({"identity": "tiny", "position": Hostile()}, tmp_path / "state.pt")
    with pytest.raises(ReproError, match=r"state\.pt is damaged"):
        train(tmp_path)
    assert not (tmp_path / "executed").exists()


def test_a_state_of_another_network_is_refused(tmp_path):
    interrupt(tmp_path)
    with pytest.raises(ReproError, match=r"state\.pt is damaged or not of this training"):
        train(tmp_path, Plain())


def test_a_log_that_was_shortened_is_named(tmp_path):
    interrupt(tmp_path)
    (tmp_path / "log.jsonl").write_bytes(b"")
    with pytest.raises(ReproError, match=r"log\.jsonl is damaged.*shorter"):
        train(tmp_path)


@pytest.mark.parametrize(("file", "content"), [("fitted.json", b'{"identity": "ti'), ("weights.pt", b"half")])
def test_damaged_results_are_named(reference, file, content):
    (reference / file).write_bytes(content)
    with pytest.raises(ReproError, match=rf"{file} is damaged"):
        train(reference)


def test_a_full_disk_leaves_the_earlier_state(tmp_path, reference, monkeypatch):
    interrupt(tmp_path / "run", 6)
    state = tmp_path / "run" / "state.pt"
    before = state.read_bytes()

    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

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
    assert sorted(os.listdir(tmp_path)) == ["fitted.json", "log.jsonl", "weights.pt"]
