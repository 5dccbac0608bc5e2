"""Which jobs a plan becomes, what each waits for, and the scripts."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from repro import paper
from repro.cli.fleet import submit_steps
from repro.data import sources
from repro.errors import ReproError
from repro.jobs.cluster import Cluster, Resources
from repro.jobs.graph import build_jobs
from repro.jobs.submission import _describe, build_batches, write_scripts
from repro.measuring import worker
from repro.planning import full_size, keys
from repro.planning.plan import plan
from repro.settings import Settings


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    """Of Table 4 in the mini profile, with two seeds."""
    settings = Settings(results=tmp_path_factory.mktemp("results"))
    return build_jobs(plan(paper.load(4).experiments, settings, range(2)), "repro reproduce")


def test_one_job_for_each_step_behind_what_it_begins_with(jobs):
    by_label = {job.label: job for job in jobs}
    assert len(by_label) == len(jobs) == 1 + 2 + 8 * 2
    assert jobs[0].label == "mini-imagenet-pretraining, which others begin with"
    for seed in range(2):  # in the mini profile each has a first stage of its own
        stage1 = by_label[f"imagenet-r50-stage1 seed {seed}"]
        assert stage1.after == (jobs[0].name,)
        mine = {job.label for job in jobs if job.after == (stage1.name,)}
        assert mine == {f"{name} seed {seed}" for name in paper.load(4).experiments}
        assert jobs.index(stage1) < min(jobs.index(by_label[label]) for label in mine)


def test_what_is_alike_becomes_an_array(jobs):
    batches = build_batches(jobs, Cluster())
    assert [len(batch.jobs) for batch in batches] == [1, 2, 8, 8]
    assert [len(batch.jobs) for batch in build_batches(jobs, Cluster(), most=5)] == [1, 2, 5, 3, 5, 3]


def test_what_the_longest_chain_begins_with_is_submitted_first(tmp_path, monkeypatch):
    """Of all tables at full size: Kinetics' longest, COCO's longest, ImageNet's first stage before all else of COCO."""
    monkeypatch.setattr(keys, "data_identity", lambda *_: "some data")
    monkeypatch.setattr(sources, "identify_data", lambda *_: "some data")
    names = dict.fromkeys(name for table in paper.load_all() for name in table.experiments)
    steps = plan(names, Settings(results=tmp_path, profile="full", source="trained"), range(2))
    jobs = build_jobs(steps, "repro reproduce")
    batches = build_batches(jobs, Cluster())
    assert [job.name for batch in batches for job in batch.jobs] == [job.name for job in jobs]
    (stage1,) = (job for job in jobs if job.label == "imagenet-r50-stage1 seed 0")
    of_imagenet = max(step.seconds for step in steps if step.experiment.recipe.initial_weights == "imagenet-r50-stage1")
    before = jobs[: jobs.index(stage1)]
    assert {job.dataset for job in before} == {"kinetics", "coco"}
    assert min(job.seconds for job in before) >= stage1.seconds + of_imagenet
    assert max(job.seconds for job in jobs[jobs.index(stage1) + 1 :]) <= stage1.seconds + of_imagenet
    assert [batch.jobs[0].dataset for batch in batches] == ["kinetics", "coco", "imagenet", "coco", "imagenet"]


def test_work_with_statistics_of_attention_is_another_job(tmp_path):
    steps = plan(["coco-r50-1nl"], Settings(results=tmp_path))
    wanted = [replace(step, order=replace(step.order, attention=True)) for step in steps]
    names = [build_jobs(each, "")[-1].name for each in (steps, wanted)]
    assert names[1] == f"{names[0]}.attention"


def test_the_scripts_say_what_was_asked_for_and_bash_can_read_them(jobs, tmp_path):
    pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
    cluster = Cluster(
        partition="gpu", account="vision", qos="low", gpus=2, cpus=16, memory="64G", nodes=2, parallel=5, notice=300,
        modules=["cuda/12.4", "gcc"], setup=["export A='b c'"], imagenet={"time": "8:00:00"},
    )  # fmt: skip
    jobs = [replace(job, order=replace(job.order, settings=replace(job.order.settings, devices=2))) for job in jobs]
    first, second, third, fourth = write_scripts(build_batches(jobs, cluster), tmp_path / "re sults")
    for line in (
        "--partition=gpu", "--account=vision", "--qos=low", "--gpus-per-node=2", "--cpus-per-task=16", "--mem=64G",
        "--nodes=2", "--ntasks-per-node=2", "--time=8:00:00", "--signal=B:USR1@300", "--requeue", "--open-mode=append",
        "--job-name=repro-imagenet",
    ):  # fmt: skip
        assert f"#SBATCH {line}\n" in first, line
    assert "\nmodule load cuda/12.4 gcc\nexport A='b c'\n" in first
    assert f"\nexec {sys.executable} -u -m submitit.core._submit '{tmp_path / 're sults'}/jobs/logs'\n" in first
    assert "--dependency" not in first
    assert "--array" not in first
    assert "--dependency='afterok:$JOB1'" in second
    assert "--kill-on-invalid-dep=yes" in second
    assert "#SBATCH --array=0-1%2\n" in second
    for script, before in ((third, "$JOB2_0"), (fourth, "$JOB2_1")):
        assert "#SBATCH --array=0-7%5\n" in script
        assert f"--dependency='afterok:{before}'" in script
    for script in (first, second, third, fourth):
        assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


def test_a_container_is_split_as_a_shell_does_and_written_down(jobs, tmp_path, capsys):
    pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
    cluster = Cluster(container="apptainer exec --bind '/my data' repro.sif")
    (first, *_) = batches = build_batches(jobs, cluster)
    words = ("apptainer", "exec", "--bind", "/my data", "repro.sif")
    assert _describe(first.jobs[0], first.resources).container == words
    assert _describe(first.jobs[0], Resources()).container == ()
    with pytest.raises(ReproError, match=r"container = .*No closing quotation"):
        build_batches(jobs, Cluster(container="apptainer 'exec"))[0].resources.split_container()
    steps = plan(["imagenet-r50-1gc"], Settings(results=tmp_path))
    submit_steps(steps, Settings(results=tmp_path), cluster, print, dry_run=True)
    shown = capsys.readouterr().out
    assert shown.count("# each measures in a container: apptainer exec --bind '/my data' repro.sif python -u") == 3
    assert batches[0].resources.container in shown


def test_without_submitit_it_is_said_what_to_install(jobs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ReproError, match=r"pip install 'gcnet-repro\[slurm\]'"):
        write_scripts(build_batches(jobs, Cluster()), tmp_path)


@pytest.fixture
def at_full_size(tmp_path, monkeypatch):
    """The plan of a training of the full profile, and its settings."""
    monkeypatch.setattr(keys, "data_identity", lambda *_: "some data")
    monkeypatch.setattr(sources, "identify_data", lambda *_: "some data")

    def make(devices=None, device="auto"):
        settings = Settings(results=tmp_path, profile="full", source="trained", devices=devices, device=device)
        return plan(["coco-r50-gc-r16"], settings), settings

    return make


def test_jobs_that_ask_for_no_gpu_are_told_of(at_full_size, capsys):
    pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
    for cluster, device, told in ((Cluster(), "auto", 1), (Cluster(), "cuda", 0), (Cluster(gpus=1), "auto", 0)):
        steps, settings = at_full_size(device=device)
        submit_steps(steps, settings, cluster, print, dry_run=True)
        assert capsys.readouterr().out.count("jobs ask for no GPU") == told


def test_a_batch_that_cannot_be_divided_is_refused_before_it_waits_in_a_queue(at_full_size):
    steps, settings = at_full_size(devices=8)
    with pytest.raises(
        ReproError, match=r"16 images .* among 32 processes: choose .*gpus x nodes\) among 1, 2, 4, 8, 16,"
    ):
        submit_steps(steps, settings, Cluster(gpus=8, nodes=4), print, dry_run=True)


def test_a_job_that_finds_no_gpu_does_not_train_for_months(at_full_size, monkeypatch, capsys):
    (step,), _ = at_full_size()
    monkeypatch.setattr(full_size, "explain_missing_cuda", lambda: "no driver here")
    monkeypatch.setattr(sys, "argv", ["worker", worker.write_task(step.order, "repro reproduce")])
    with pytest.raises(SystemExit, match="2"):
        worker.main()
    event = json.loads(capsys.readouterr().out)
    assert event["event"] == "failed"
    assert (
        "coco-r50-gc-r16 is to be trained at full size, and there is no CUDA device here: no driver" in event["message"]
    )
