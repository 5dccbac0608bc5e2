"""Weights that others trained, from the file to the record: converted, evaluated, judged."""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mmdetection_peer import Peer

from repro import experiments, paper
from repro.checkpoints import registry
from repro.checkpoints.registry import CheckpointEntry, Registry, Url
from repro.data.miniature import coco as miniature
from repro.detection.torchvision import MaskRCNN
from repro.errors import ReproError
from repro.experiments import Backbone, Detector, get, mini
from repro.measuring.measure import measure
from repro.paper import tolerances
from repro.planning import keys
from repro.planning.work_order import order_work
from repro.settings import Settings
from repro.verification import judgement
from repro.verification.measurements import Measurement, describe_conditions

NAME = "coco-r50-baseline"
#: As small as the heads' names allow; trained at no one's, so that it finds nothing in particular.
NETWORK = Detector(
    Backbone(blocks=(1, 2, 2, 1), width=8, norm="sync"),
    num_classes=6, fpn_channels=8, box_channels=16, mask_channels=4, short_side=64, long_side=192, proposals=(20, 20),
    score_threshold=0.0, detections=5,
)  # fmt: skip


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    """Six generated images in the layout of COCO."""
    patch = pytest.MonkeyPatch()
    patch.setattr(
        miniature,
        "SCENES",
        replace(mini.coco.SCENES, train_images=2, val_images=6, lit_images=2, classification_images=2),
    )
    root = tmp_path_factory.mktemp("data") / "coco"
    miniature.generate(root, 0)
    patch.undo()
    return root


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A published mmdetection 1 file of `NETWORK`, its server and its registry entry; `requests` counts."""
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(experiments.EXPERIMENTS, NAME, replace(get(NAME), network=NETWORK))
    torch.manual_seed(0)
    peer = Peer(1, blocks=(1, 2, 2, 1), stem=8, classes=6, fpn=8, fc=16, mask=4)
    served = tmp_path / "served"
    served.mkdir()
    file = served / "weights.pth"
    torch.save({"meta": {"epoch": 12}, "state_dict": peer.state_dict()}, file)
    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            requests.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(served)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    entry = CheckpointEntry(
        id="gcnet/small", source="someone/zoo", format="mmdetection1", urls=[{"url": "https://one.example/f.pth"}],
        sha256=hashlib.sha256(file.read_bytes()).hexdigest()[:8], reported={"ap_box": 37.2},
        serves=[{"experiment": NAME, "match": "exact"}],
    )  # fmt: skip
    url = Url.model_construct(url=f"http://127.0.0.1:{server.server_port}/weights.pth", note="", by_hand=False)
    entry = entry.model_copy(update={"urls": (url,)})
    monkeypatch.setattr(registry, "load", lambda: Registry((entry,), Path("checkpoints.yaml")))
    yield file, requests
    server.shutdown()
    server.server_close()


@pytest.fixture
def settings(tmp_path, coco):
    return Settings(tmp_path / "results", "full", data_root=coco)


def run(settings, progress=lambda *_: None):
    return measure(order_work(NAME, settings), command="repro run", progress=progress)


def test_the_authors_weights_are_fetched_converted_evaluated_and_recorded(site, settings):
    file, requests = site
    record = run(settings)
    checkpoint = record.weights.checkpoint
    assert (record.source, record.training, record.departures) == ("checkpoint", None, [])
    assert (checkpoint.id, checkpoint.match, checkpoint.verified) == ("gcnet/small", "exact", True)
    assert checkpoint.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (checkpoint.size, checkpoint.url.endswith("/weights.pth")) == (file.stat().st_size, True)
    assert checkpoint.conventions == "mmdetection 1"
    assert not any(deviation.startswith("legacy: ") for deviation in record.deviations)
    assert checkpoint.reported == {"ap_box": 37.2}
    assert record.metric("ap_box").n == record.dataset.evaluated == 6
    assert run(settings, progress=refuse) == record  # nothing is done twice
    assert len(requests) == 1


def test_the_authors_weights_have_no_seed(site, settings):
    assert run(replace(settings, seed=3)).seed == 0


def refuse(*_):
    raise AssertionError("something was fetched or evaluated again")


def test_what_is_evaluated_is_the_files_network(site, settings, monkeypatch):
    """The weights in use are the file's own: spot values, through the whole path, under their new names."""
    file, _ = site
    seen = []
    original = MaskRCNN.find_instances
    monkeypatch.setattr(
        MaskRCNN, "find_instances", lambda model, samples: seen.append(model) or original(model, samples)
    )
    run(settings)
    theirs = torch.load(file, weights_only=True)["state_dict"]
    ours = seen[0].state_dict()
    assert torch.equal(ours["backbone.layer2.1.conv2.weight"], theirs["backbone.layer2.1.conv2.weight"])
    assert torch.equal(ours["roi_heads.box_predictor.cls_score.bias"], theirs["bbox_head.fc_cls.bias"])
    assert seen[0].conventions.inclusive_boxes


def test_the_tolerance_for_the_authors_weights_applies(site, settings, monkeypatch):
    record = run(settings)
    record = record.model_copy(
        update={
            "dataset": record.dataset.model_copy(update={"name": "coco-val2017", "evaluated": 5000}),
            "metrics": [m.model_copy(update={"value": 37.21}) for m in record.metrics],
        }
    )
    rules = tolerances.load()
    (found, *_) = judgement.verify(paper.load(2), [record], {}, rules).cells
    assert (found.verdict, found.applied) == ("compatible", rules.checkpoint.applies_to)
    assert Measurement(NAME, (record,)).describe_shortfall(paper.DATASETS["coco-val2017"]) == ""


def test_a_copy_by_hand_is_the_same_measurement(site, settings):
    file, requests = site
    record = run(replace(settings, weights=str(file), source="checkpoint"))
    assert (record.weights.checkpoint.id, record.weights.checkpoint.url) == ("gcnet/small", None)
    assert run(settings, progress=refuse) == record
    assert requests == []


def test_a_file_of_unknown_origin_is_recognised_by_its_keys_and_decides_nothing(site, settings, tmp_path):
    other = {key: value + 0 for key, value in torch.load(site[0], weights_only=True)["state_dict"].items()}
    torch.save({"state_dict": other, "note": "mine"}, tmp_path / "mine.pth")
    record = run(replace(settings, weights=str(tmp_path / "mine.pth"), source="checkpoint"))
    checkpoint = record.weights.checkpoint
    assert (checkpoint.id, checkpoint.match, checkpoint.format) == ("file", "near", "mmdetection1")
    assert not checkpoint.verified
    assert any("no published hash" in deviation for deviation in record.deviations)
    assert "weights near it" in Measurement(NAME, (record,)).describe_shortfall(paper.DATASETS["coco-val2017"])


def test_another_file_under_the_published_name_is_refused_with_both_hashes(site, settings):
    file, _ = site
    published = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(ReproError) as refusal:
        run(settings)
    assert published in str(refusal.value)
    assert hashlib.sha256(file.read_bytes()).hexdigest() in str(refusal.value)
    assert settings.store.all() == []


def test_weights_of_another_network_are_refused_by_name_of_the_first_key(site, settings, tmp_path):
    torch.save(Peer(1, blocks=(1, 2, 2, 1), stem=8, classes=6, fpn=8, fc=16, mask=4, ratio=1 / 4).state_dict(),
               tmp_path / "gc.pth")  # fmt: skip
    with pytest.raises(ReproError, match="context_block"):
        run(replace(settings, weights=str(tmp_path / "gc.pth"), source="checkpoint"))


@pytest.mark.parametrize("known", [True, False], ids=["a copy of an entry", "a file of unknown origin"])
def test_a_file_that_changes_after_it_was_planned_is_not_evaluated(site, settings, tmp_path, known):
    """Another file of the same network: all that a later reading could notice is that it is another one."""
    copy = tmp_path / "copy.pth"
    content = torch.load(site[0], weights_only=True)
    copy.write_bytes(site[0].read_bytes()) if known else torch.save({**content, "note": "mine"}, copy)
    order = order_work(NAME, replace(settings, weights=str(copy), source="checkpoint"))
    assert order.weights.id == ("gcnet/small" if known else "file")
    torch.save({**content, "note": "another"}, copy)
    with pytest.raises(ReproError, match="its sha256 is" if known else "changed since this was planned"):
        measure(order, command="repro run", progress=refuse)
    assert settings.store.all() == []


def test_an_interrupted_evaluation_goes_on(site, settings, monkeypatch):
    from repro.tasks.detection import DetectorEvaluation

    monkeypatch.setattr(DetectorEvaluation, "shard", 2)

    class Interrupted(Exception):
        pass

    def stop(stage, done, _, at=None):
        if (stage, done) == ("evaluation", 3):
            raise Interrupted

    with pytest.raises(Interrupted):
        run(settings, progress=stop)
    done = []
    record = run(
        settings, progress=lambda stage, number, _, at=None: done.append(number) if stage == "evaluation" else None
    )
    assert done[0] == 3
    assert record.dataset.evaluated == 6


def test_weights_that_were_trained_here_are_evaluated_by_this_projects_own_arithmetic(site, settings, tmp_path):
    torch.manual_seed(1)
    torch.save(MaskRCNN(NETWORK).state_dict(), tmp_path / "weights.pt")
    record = run(replace(settings, weights=str(tmp_path / "weights.pt"), source="checkpoint"))
    checkpoint = record.weights.checkpoint
    assert (checkpoint.format, checkpoint.conventions, checkpoint.reshaped) == ("gcnet-repro", "authors", [])
    assert not any(deviation.startswith("legacy") for deviation in record.deviations)


def test_two_rows_of_the_authors_weights_are_compared(site, settings, monkeypatch):
    """What they are compared by must not name their files."""
    first = run(settings)
    second = first.model_copy(
        update={
            "experiment": "coco-r50-gc-r16",
            "weights": first.weights.model_copy(
                update={"checkpoint": first.weights.checkpoint.model_copy(update={"id": "other", "sha256": "3" * 64})}
            ),
        }
    )
    assert describe_conditions(first) == describe_conditions(second)
    assert not any(first.weights.checkpoint.id in deviation for deviation in first.deviations)


def test_a_file_that_is_not_the_named_one_is_refused_although_a_record_exists(site, settings, tmp_path):
    run(settings)
    (tmp_path / "other.pth").write_bytes(b"another file")
    with pytest.raises(ReproError, match="is not gcnet/small: its sha256 is"):
        run(replace(settings, weights=f"gcnet/small={tmp_path / 'other.pth'}", source="checkpoint"))


def test_a_correction_in_the_registry_is_another_measurement(site, settings, monkeypatch):
    before = keys.evaluation_key(get(NAME), settings, keys.weights_to_evaluate(get(NAME), settings))
    known = registry.load()
    corrected = known.entries[0].model_copy(update={"network": {"backbone": {"stride_in": "1x1"}}})
    monkeypatch.setattr(registry, "load", lambda: Registry((corrected,), known.path))
    assert keys.evaluation_key(get(NAME), settings, keys.weights_to_evaluate(get(NAME), settings)) != before
