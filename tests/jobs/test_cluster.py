"""What jobs ask for: files and options, and what is wrong with them."""

import pytest

from repro.errors import ReproError
from repro.jobs.cluster import read_cluster

FILE = """
partition = "gpu"
gpus = 8
modules = ["cuda/12.4"]
[imagenet]
time = "8:00:00"
memory = "200G"
"""


def test_options_come_before_the_file_and_a_data_set_before_both(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slurm.toml").write_text(FILE)
    cluster = read_cluster(["partition=long", "setup=export A=1", "setup=. venv/bin/activate", "imagenet.time=9:00:00"])
    coco, imagenet = cluster.choose("coco"), cluster.choose("imagenet")
    assert (coco.partition, coco.gpus, coco.time, coco.memory) == ("long", 8, None, None)
    assert (imagenet.partition, imagenet.gpus, imagenet.time, imagenet.memory) == ("long", 8, "9:00:00", "200G")
    assert coco.setup == ("export A=1", ". venv/bin/activate")
    assert coco.modules == ("cuda/12.4",)
    (tmp_path / "other.toml").write_text("qos = 'low'\n")
    assert read_cluster(["other.toml"]).model_dump(exclude_none=True) == {"qos": "low"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("gpu", "KEY=VALUE"),
        ("gpus=", "KEY=VALUE"),
        ("gpus=many", "gpus: Input should be a valid integer"),
        ("gpus=1000", "gpus: "),
        ("partion=x", "partion: Extra inputs"),
        ("cifar.time=1", "cifar: Extra inputs"),
        ("imagenet.imagenet.time=1", "imagenet.imagenet: Extra inputs"),
        ("notice=1", "notice: "),
        ("missing.toml", "missing.toml"),
        ("broken.toml", "broken.toml is no TOML"),
        ("account=a\x1b[2J", "account: "),
    ],
)
def test_what_is_wrong_is_named(given, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.toml").write_text("gpus = \n")
    if "\x1b" in given:
        assert "\x1b" not in read_cluster([given]).account
        return
    with pytest.raises(ReproError) as raised:
        read_cluster([given])
    assert words in str(raised.value)
