"""What a plan says of an experiment: measured, ready or blocked, and why."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace

import pytest
from samples import count, record

from repro import paper
from repro.checkpoints.choice import Choice
from repro.data import sources
from repro.errors import ReproError
from repro.evaluation import COCO_EVALUATOR
from repro.experiments import EXPERIMENTS, get, mini, preprocessing
from repro.planning import keys, plan
from repro.planning.arithmetic import check_arithmetic
from repro.settings import Settings

NAME = "coco-r50-gc-r16"
ID = "gcnet/r50-syncbn-gc-r16-1x"


@pytest.fixture
def settings(tmp_path):
    return Settings(results=tmp_path / "results")


@pytest.fixture
def coco(tmp_path):
    """A directory with two annotation files; planning reads no image."""
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    for split in ("train2017", "val2017"):
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps({"split": split}))
    return root


def measured(settings, name=NAME, **changes):
    """A record of exactly what `settings` would measure."""
    experiment = mini.get_at_profile(name, settings.profile)
    whole = record(name, {"ap_box": 40.0}, profile=settings.profile, seed=settings.seed, evaluator=COCO_EVALUATOR)
    training = whole.training.model_copy(update={"key": keys.training_key(experiment, settings)})
    return whole.model_copy(update={"training": training, **changes})


def only(settings, name=NAME):
    (step,) = plan.plan([name], settings)
    return step


def test_an_empty_store_has_everything_to_run(settings):
    names = paper.load(2).experiments
    steps = plan.plan(names, settings, seeds=(0, 1))
    assert [step.status for step in steps] == ["ready"] * 36
    assert [(step.experiment.name, step.seed) for step in steps[:2]] == [(names[0], 0), (names[1], 0)]
    assert {step.reason for step in steps} == {"no record yet"}


def test_a_record_of_the_same_measurement_is_not_measured_again(settings):
    settings.store.add(measured(settings))
    assert only(settings).status == "measured"
    assert only(replace(settings, seed=0), "coco-r50-gc-r4").status == "ready"
    (other_seed,) = plan.plan([NAME], settings, seeds=[1])
    assert (other_seed.status, other_seed.reason) == ("ready", "no record yet")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"spec_hash": "0" * 64}, "the network or the recipe changed"),
        ({}, "data, initial weights, length, batch, engine or numerics differ"),
    ],
)
def test_a_stale_record_says_why_it_is_stale(settings, changes, why):
    stale = measured(settings)
    training = stale.training.model_copy(update={"key": "1" * 64})
    settings.store.add(stale.model_copy(update={"training": training, **changes}))
    step = only(settings)
    assert step.status == "ready"
    assert why in step.reason


def test_another_evaluator_makes_a_metric_stale(settings):
    settings.store.add(measured(settings, evaluator="faster-coco-eval 0.0"))
    assert "evaluated by faster-coco-eval 0.0" in only(settings).reason


def test_the_key_holds_what_can_change_the_answer_and_nothing_else(settings, coco, tmp_path):
    full = replace(settings, profile="full", data_root=coco, initial="random")
    key = keys.training_key(get(NAME), full)
    moved = shutil.copytree(coco, tmp_path / "elsewhere")
    for same in ({"results": tmp_path / "other"}, {"threads": 4}, {"device": "cpu"}, {"data_root": moved}):
        assert keys.training_key(get(NAME), replace(full, **same)) == key, same
    for different in (
        {"seed": 1},
        {"iterations": 5},
        {"precision": "bf16-mixed"},
        {"micro_batch": 2},
        {"initial": None},
    ):
        assert keys.training_key(get(NAME), replace(full, **different)) != key, different
    assert keys.training_key(get("coco-r50-gc-r4"), full) != key
    (moved / "annotations" / "instances_val2017.json").write_text("{}")
    assert keys.training_key(get(NAME), replace(full, data_root=moved)) != key


def test_how_anchors_are_drawn_is_part_of_the_keys_that_it_changes(settings, coco, monkeypatch):
    """Of detectors at full size, where there are many."""
    full = replace(settings, profile="full", data_root=coco, initial="random")
    mini_version = mini.get_at_profile(NAME, "mini")
    monkeypatch.setattr(keys, "data_identity", lambda *_: "images")

    def compute():
        return (
            keys.training_key(get(NAME), full),
            keys.training_key(get(NAME), replace(full, engine="detectron2")),
            keys.training_key(mini_version, settings),
            keys.training_key(get("imagenet-r50-gc-r16"), full),
        )

    before = compute()
    monkeypatch.setattr(keys, "DETECTION_VERSION", 0)
    changed = [one != other for one, other in zip(before, compute(), strict=True)]
    assert changed == [True, True, False, False]


def test_how_videos_are_prepared_is_part_of_the_full_profiles_keys_alone(settings, coco, monkeypatch):
    """Of networks trained here, and of weights as their publisher prepares videos. Images are not."""
    video, full = get("kinetics-r50-5gc"), replace(settings, profile="full", data_root=coco, initial="random")
    monkeypatch.setattr(keys, "data_identity", lambda *_: "videos")
    monkeypatch.setattr(sources, "identify_data", lambda *_: "videos")
    published = Choice("mmaction2/any", "near", "", "0" * 64, "mmaction2")

    def compute():
        return (
            keys.training_key(video, full),
            keys.evaluation_key(video, full, replace(published, format="repro")),
            keys.evaluation_key(video, full, published),
            keys.training_key(mini.get_at_profile(video.name, "mini"), settings),
            keys.training_key(get("imagenet-r50-gc-r16"), full),
        )

    before = compute()
    for name, changed in (("CLIPS_TRAINED_HERE", [0, 1]), ("FORMATS", [2])):
        value = getattr(preprocessing, name)
        other = {"mmaction2": replace(value["mmaction2"], clips=3)} if name == "FORMATS" else replace(value, clips=3)
        monkeypatch.setattr(preprocessing, name, other)
        after = compute()
        assert [i for i in range(5) if after[i] != before[i]] == changed, name
        monkeypatch.setattr(preprocessing, name, value)


def test_the_full_profile_without_coco_is_blocked_and_says_what_to_do(settings, coco):
    full = replace(settings, profile="full", initial="random")
    step = only(full)
    assert step.status == "blocked"
    assert "--data-root" in step.reason
    assert "REPRO_DATA" in step.reason
    (coco / "annotations" / "instances_val2017.json").unlink()
    step = only(replace(full, data_root=coco))
    assert step.status == "blocked"
    assert "instances_val2017.json" in step.reason
    assert "annotations_trainval2017.zip" in step.reason


def test_the_recipes_own_weights_given_as_a_file_are_no_departure(settings, coco, monkeypatch, tmp_path):
    file = tmp_path / "by-hand.pth"
    file.write_bytes(b"stands for ResNet-50")
    full = replace(settings, profile="full", data_root=coco)
    by_hand = replace(full, initial=str(file))
    assert keys.training_key(get(NAME), by_hand) != keys.training_key(get(NAME), full)
    prefix = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    monkeypatch.setattr(keys.initial_weights, "get_sha256_prefix", lambda _: prefix)
    assert keys.training_key(get(NAME), by_hand) == keys.training_key(get(NAME), full)


def test_missing_initial_weights_are_part_of_the_cost(settings, coco, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    step = only(replace(settings, profile="full", data_root=coco, source="trained"))
    assert step.status == "ready"
    assert "download of torchvision/resnet50-19c8e357" in step.cost.words


@pytest.fixture
def full(settings, coco, monkeypatch, tmp_path):
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    return replace(settings, profile="full", data_root=coco)


def test_the_authors_weights_are_evaluated_where_they_released_some(full):
    steps = plan.plan(paper.load(3).experiments, full, seeds=(0, 1))
    assert len(steps) == 15  # weights have no seed
    assert {step.source for step in steps} == {"checkpoint"}
    assert all(step.weights.id.startswith("gcnet/") and step.weights.match == "exact" for step in steps)
    assert all("download of" in step.cost.words and step.cost.words.endswith("5000 images evaluated") for step in steps)


def test_rows_without_released_weights_are_trained(full):
    steps = {step.experiment.name: step for step in plan.plan(paper.load(2).experiments, full)}
    checkpoints = {name for name, step in steps.items() if step.source == "checkpoint"}
    assert checkpoints == {"coco-r50-baseline", "coco-r50-gc-r16", "coco-r50-gc-r4"}


@pytest.mark.parametrize(
    "changes", [{"source": "trained"}, {"iterations": 10}, {"batch_size": 8}, {"initial": "random"}, {"micro_batch": 2}]
)
def test_what_only_a_training_has_asks_for_a_training(full, changes):
    assert only(replace(full, **changes)).source == "trained"


def test_the_cost_of_a_full_training_is_in_gpu_hours_by_the_authors_speed(full):
    trained = replace(full, source="trained")
    # 12 epochs of 117,266 images in batches of 16 at 0.547 s on 8 GPUs
    hours = 12 * 117_266 / 16 * 0.547 * 8 / 3600
    assert f"about {hours:.0f} hours of a V100" in only(trained).cost.words
    assert "4.5 GB for 2 images" in only(trained).cost.words
    assert "report for coco-r50-baseline, and 3.9 GB" in only(trained, "coco-r50-att-scale").cost.words
    cascade = only(trained, "coco-x101-dcn-cascade-gc-r4").cost.words
    assert "at least 178 hours of a V100 by the 0.912 s an iteration that the authors report for coco-x101" in cascade


def test_every_full_training_has_a_cost(full):
    names = [name for name in EXPERIMENTS if name.startswith("coco-")]
    steps = plan.plan(names, replace(full, source="trained"))
    assert len(steps) == 33
    assert all("hours of a V100" in step.cost.words for step in steps)


def test_the_size_of_a_download_is_told_by_the_parameters_where_they_are_counted(full):
    full.store.add_count(count(NAME, 46_922_434, 279.6))
    assert "download of about 188 MB by its parameters from" in only(full).cost.words


def test_a_row_without_weights_takes_those_near_it_if_there_are_any(full):
    step = only(replace(full, source="checkpoint"), "coco-r50-att-scale")
    assert (step.status, step.source) == ("blocked", "checkpoint")
    assert "no public weights that can be evaluated" in step.reason
    nearest = keys.weights_to_evaluate(get("imagenet-r50-baseline"), replace(full, source="checkpoint"))
    assert (nearest.id, nearest.match) == ("torchvision/resnet50-19c8e357", "near")
    near = only(replace(full, source="checkpoint", weights="detectron2/mask_rcnn_R_50_FPN_1x"), "coco-r50-baseline")
    assert (near.status, near.weights.match) == ("ready", "near")
    other = only(replace(full, source="checkpoint", weights="gcnet/r50-syncbn-gc-r4-1x"))
    assert "do not belong to coco-r50-gc-r16; they serve coco-r50-gc-r4" in other.reason


def test_weights_by_hand_are_known_by_their_hash_or_named(full, tmp_path):
    file = tmp_path / "weights.pth"
    file.write_bytes(b"anything")
    asked = replace(full, source="checkpoint", weights=str(file))
    assert (only(asked).weights.id, only(asked).weights.match) == ("file", "near")
    named = only(replace(asked, weights=f"gcnet/r50-syncbn-gc-r16-2x={file}"))
    assert (named.status, named.weights.format, named.weights.file) == ("ready", "mmdetection1", file)
    absent = only(replace(asked, weights="gcnet/r50-syncbn-gc-r16-2x"))
    assert "no published hash" in absent.reason


def test_an_evaluation_is_stale_when_the_data_or_the_conversion_change(full, monkeypatch):
    key = keys.evaluation_key(get(NAME), full, keys.weights_to_evaluate(get(NAME), full))
    full.store.add(record(NAME, {"ap_box": 39.4}, evaluator=COCO_EVALUATOR, checkpoint={"key": key, "id": ID}))
    assert only(full).status == "measured"
    monkeypatch.setattr(keys, "CONVERTER", "another")
    step = only(full)
    assert (step.status, step.reason.split(":")[0]) == ("ready", "stale")
    assert "data, file, conversion, engine or numerics differ" in step.reason


def test_the_second_stage_depends_on_the_first(settings):
    first, second, *others = plan.plan(["imagenet-r50-baseline", "imagenet-r50-gc-r16"], settings, range(2))
    for seed, step in enumerate((first, second)):  # in the mini profile each seed has a first stage of its own
        assert (step.experiment.name, step.seed) == ("imagenet-r50-stage1", seed)
        assert step.needed_by == ("imagenet-r50-baseline", "imagenet-r50-gc-r16")
    assert [(step.experiment.name, step.seed) for step in others] == [
        ("imagenet-r50-baseline", 0), ("imagenet-r50-gc-r16", 0), ("imagenet-r50-baseline", 1),
        ("imagenet-r50-gc-r16", 1),
    ]  # fmt: skip
    assert all(step.reason == "no record yet; starts from imagenet-r50-stage1" for step in others)
    starts = [keys.initial_weights_key(step.experiment, replace(settings, seed=step.seed)) for step in others]
    trained = [keys.training_key(first.experiment, replace(settings, seed=seed)) for seed in range(2)]
    assert starts == [trained[0], trained[0], trained[1], trained[1]]
    alone = plan.plan(["imagenet-r50-stage1"], settings)
    assert [step.needed_by for step in alone] == [()]


def test_at_full_size_all_seeds_share_the_first_stage(full):
    starts = {keys.prerequisite(get("imagenet-r50-gc-r16"), replace(full, seed=seed))[1].seed for seed in range(3)}
    assert starts == {0}


def test_seeds_of_the_mini_profile_share_the_classifier_and_nothing_else(settings):
    """As the paper's detectors begin from one classifier."""
    for name in ("coco-r50-gc-r16", "kinetics-r50-5gc"):
        experiment = mini.get_at_profile(name, "mini")
        classifier, shared = mini.list_pretrainings(experiment)
        own = [replace(settings, seed=seed) for seed in range(3)]
        assert len({keys.pretraining_key(experiment, [classifier], each) for each in own}) == 1
        assert len({keys.pretraining_key(experiment, [classifier, shared], each) for each in own}) == 3
        assert [keys.seed_pretraining([classifier, shared], each) for each in own] == [0, 1, 2]
        assert len({keys.initial_weights_key(experiment, each) for each in own}) == 3


def test_what_is_given_with_init_takes_the_place_of_the_first_stage(full):
    experiment = get("imagenet-r50-gc-r16")
    given = replace(full, initial="torchvision/resnet50-19c8e357")
    assert keys.prerequisite(experiment, full) is not None
    assert keys.prerequisite(experiment, given) is None
    assert keys.initial_weights_key(experiment, given) == "19c8e357"
    with pytest.raises(ReproError, match=r"--init nothing: no such file, and no id of checkpoints\.yaml"):
        keys.initial_weights_key(experiment, replace(full, initial="nothing"))


def test_a_directory_may_hold_several_data_sets(full, tmp_path):
    assert sources.find_root(tmp_path / "coco", "coco") == tmp_path / "coco"
    (tmp_path / "kinetics400").mkdir()
    assert sources.find_root(tmp_path, "kinetics") == tmp_path / "kinetics400"
    assert sources.find_root(tmp_path, "imagenet") == tmp_path
    with pytest.raises(ReproError, match="needs Kinetics-400: pass --data-root DIR or set REPRO_DATA"):
        sources.find_root(None, "kinetics")


def test_an_unknown_experiment_offers_the_nearest_names(settings):
    with pytest.raises(ReproError, match="did you mean coco-r50-gc-r16"):
        plan.plan(["coco-r50-gc-r61"], settings)


def test_engines_are_measured_apart_and_the_embedded_one_is_no_part_of_the_key(settings):
    """Records from before there was a second engine stay what they are."""
    experiment = mini.get_at_profile(NAME, "mini")
    assert keys.training_key(experiment, settings) != keys.training_key(
        experiment, replace(settings, engine="detectron2")
    )
    settings.store.add(measured(settings))
    assert only(replace(settings, engine="detectron2")).status == "ready"
    assert only(settings).status == "measured"


def test_what_it_would_cost_is_known_without_the_data(full):
    step = only(replace(full, data_root=None))
    assert (step.status, step.reason) == (
        "blocked",
        "needs COCO 2017: pass --data-root DIR or set REPRO_DATA",
    )
    assert "download of" in step.cost.words
    assert "hours of a V100" in only(replace(full, data_root=None, source="trained")).cost.words


def test_what_pytorch_has_no_kernel_for_is_refused(full):
    deformable, mixed = get("coco-x101-dcn-cascade-baseline"), replace(full, precision="bf16-mixed")
    with pytest.raises(ReproError, match="float32 only on a CPU"):
        check_arithmetic(deformable, mixed, "cpu")
    check_arithmetic(deformable, mixed, "cuda")
    check_arithmetic(deformable, full, "cpu")
    check_arithmetic(get(NAME), mixed, "cpu")


def test_a_plan_says_what_the_cpu_that_is_asked_for_cannot(full):
    step = only(replace(full, device="cpu", precision="tf32"))
    assert step.status == "blocked"
    assert "which has no TF32" in step.reason
    assert only(replace(full, device="auto", precision="tf32")).status == "ready"
    on_a_gpu = replace(full, device="cuda", precision="tf32", source="trained")
    on_a_gpu.store.add(measured(on_a_gpu))
    assert only(replace(on_a_gpu, device="cpu")).status == "measured"
