"""The registry of public weights: complete, true to what was published, and strict about its file."""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import ROOT, SHARED

from repro import paper
from repro.checkpoints import registry
from repro.checkpoints.cache import require_safe_name
from repro.checkpoints.registry import CheckpointEntry, Registry, Url
from repro.errors import ReproError
from repro.experiments import EXPERIMENTS, GC, SE, Detector, get
from repro.files.regular_files import hash_file
from repro.paths import CHECKPOINTS

FACTS = SHARED / "facts" / "checkpoints.yaml"

MINIMAL = {
    "hosts": {"zoo": [{"base": "https://one.example/"}, {"base": "https://two.example/files/", "note": "a mirror"}]},
    "entries": [
        {
            "id": "zoo/r50-0123abcd",
            "source": "someone/zoo",
            "format": "mmdetection1",
            "urls": ["zoo:a/r50-0123abcd.pth", {"url": "https://page.example/1", "by_hand": True}],
            "sha256": "0123abcd",
            "reported": {"ap_box": 37.2},
            "serves": [{"experiment": "coco-r50-baseline", "match": "exact"}],
        },
        {
            "id": "zoo/old",
            "source": "someone/zoo",
            "format": "mmdetection2",
            "urls": ["https://one.example/old.pth"],
            "md5": "beef12",
            "withdrawn": True,
            "obstacle": "another network than its name says",
        },
    ],
}


@pytest.fixture(scope="module")
def known() -> Registry:
    return registry.load()


def written(path: Path, content: object) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


# -- what is in it ----------------------------------------------------------------------------------------------------


def test_34_rows_have_the_authors_weights_and_16_more_have_near_ones(known):
    best = [
        found[0][1].match
        for table in paper.load_all()
        for row in table.rows
        if (found := known.list_serving(row.experiment))
    ]
    assert (best.count("exact"), best.count("near"), len(best)) == (34, 16, 50)


def test_every_row_of_table_3_has_the_authors_weights_with_the_ap_that_the_paper_prints(known):
    (validation, test) = paper.load(3).groups
    assert len(validation.rows) == 15
    for row in validation.rows:
        entry, serves = known.list_serving(row.experiment)[0]
        assert serves.match == "exact"
        assert entry.obstacle is None
        assert entry.reported == {column: row.cell(column).value for column in ("ap_box", "ap_mask")}, row.label
    assert {row.experiment for row in test.rows} < {row.experiment for row in validation.rows}


def test_exact_means_the_authors(known):
    exact = {entry.id: s.experiment for entry in known.entries for s in entry.serves if s.match == "exact"}
    assert len(exact) == 15
    assert {id_.split("/")[0] for id_ in exact} == {"gcnet"}


def test_the_hash_of_a_file_is_the_one_in_its_published_name(known):
    for entry in known.entries:
        for url in entry.fetchable:
            if entry.digest:
                assert entry.digest.split(":")[1] in url.rsplit("/", 1)[1], entry.id
    assert sum(entry.digest is not None for entry in known.entries) > 100


def test_the_recipes_start_from_entries_that_say_so(known):
    recipes = {e.name: e.recipe.initial_weights for e in EXPERIMENTS.values() if e.recipe}
    public = {name: weights for name, weights in recipes.items() if weights not in ("imagenet-r50-stage1", "random")}
    said = {s.experiment: e.id for e in known.entries for s in e.serves if s.match == "initial"}
    assert said == public
    for weights in set(public.values()):
        entry = known.get_initial(weights)
        assert entry.id == weights
        assert entry.sha256 == weights[-8:]
    assert [entry.id for entry, _ in known.list_initial("coco-r101-gc-r4")] == ["torchvision/resnet101-5d3b4d8f"]


def test_a_file_without_an_obstacle_can_be_fetched_checked_and_converted(known):
    from repro import conversion

    for entry in known.entries:
        if entry.obstacle is None:
            assert entry.digest
            assert entry.fetchable
            assert entry.format in conversion.FORMATS
            for serves in entry.serves:
                known_format, detects = conversion.FORMATS[entry.format], get(serves.experiment).dataset == "coco"
                assert serves.match == "initial" or (known_format.detector if detects else known_format.classifier)


def test_names_of_files_are_safe_and_the_publishers(known):
    assert all(require_safe_name(entry.file_name) for entry in known.entries)
    entry = known.get("gcnet/r50-syncbn-gc-r16-1x")
    assert entry.file_name == "mask_rcnn_r16_gcb_c3-c5_r50_fpn_syncbn_1x_20190602-a0169c20.pth"
    assert known.get("gcnet/r50-syncbn-gc-r16-2x").file_name == "gcnet-r50-syncbn-gc-r16-2x"


def test_withdrawn_files_are_recognised_and_serve_nothing(known):
    withdrawn = [entry for entry in known.entries if entry.withdrawn]
    assert len(withdrawn) == 3
    for entry in withdrawn:
        assert known.find_by_sha256(entry.sha256 + "0" * 56) is entry
        assert "withdrawn" in entry.obstacle


# -- against the facts that were collected ----------------------------------------------------------------------------


#: Host of video-nonlocal-net's files when the facts were collected, and since January 2019 (its commit 626722b).
MOVED = (b"https://s3.amazonaws.com/video-nonlocal/", b"https://dl.fbaipublicfiles.com/video-nonlocal/")


@pytest.fixture(scope="module")
def facts() -> dict:
    if not FACTS.is_file():
        pytest.skip("needs the collected facts, ../shared/facts/checkpoints.yaml, beside the checkout")
    return yaml.load(FACTS.read_bytes().replace(*MOVED), yaml.CSafeLoader)


#: Served by another entry: the same file, and a link that carries the hash of another network.
SAME_FILE = "timm_resnet50_tv"
SUSPECT = "mmaction2_v1_slowonly_r50-in1k-pre-nl-embedded-gaussian_8xb16-8x8x1-steplr-150e_kinetics400-rgb"


@pytest.fixture(scope="module")
def pairs(facts, known) -> list[tuple[dict, CheckpointEntry]]:
    """Each fact of a file that stands in for a row, or was withdrawn, with its entry."""
    found = []
    for fact in facts["entries"]:
        rows = [row for row in fact.get("paper_rows") or [] if row["match"] != "initial_weights_only"]
        if (rows or fact.get("do_not_use")) and fact["id"] != SAME_FILE:
            primary = fact["urls"]["primary"]
            (entry,) = [entry for entry in known.entries if primary in {url.url for url in entry.urls}]
            found.append((fact, entry))
    return found


def test_every_fact_has_its_entry_and_every_entry_its_fact(pairs, known):
    assert len({entry.id for _, entry in pairs}) == len(pairs)
    initial_only = {e.id for e in known.entries if {s.match for s in e.serves} == {"initial"}}
    assert {entry.id for _, entry in pairs} | initial_only == {
        entry.id
        for entry in known.entries
        if entry.id != "torchvision/resnet50-19c8e357"  # a mirror in the facts
    }


def test_hashes_are_the_published_ones(pairs):
    for fact, entry in pairs:
        assert entry.sha256 == (None if fact["id"] == SUSPECT else fact["sha256_prefix"]), entry.id
        assert entry.md5 == fact.get("md5_prefix"), entry.id
        assert entry.withdrawn == bool(fact.get("do_not_use")), entry.id


def test_urls_are_the_published_ones(pairs):
    for fact, entry in pairs:
        published = {fact["urls"]["primary"], *(mirror["url"] for mirror in fact["urls"].get("mirrors") or [])}
        kept = {u for u in published if u.startswith("https://") and "huggingface.co" not in u}
        kept -= {"https://download.pytorch.org/models/resnet50-19c8e357.pth"}  # another file
        assert kept <= {url.url for url in entry.urls}, entry.id
        for url in {url.url for url in entry.urls} - kept:  # a host's other address, with the same path
            assert any(url.rsplit("/", 1)[1] == other.rsplit("/", 1)[1] for other in kept), entry.id


def test_no_file_is_looked_for_where_it_was_before_it_moved(known):
    assert not [url.url for entry in known.entries for url in entry.urls if url.url.startswith(MOVED[0].decode())]


def test_metrics_are_the_published_ones(pairs):
    names = {"box_AP": "ap_box", "mask_AP": "ap_mask", "top1": "top1", "top5": "top5"}
    for fact, entry in pairs:
        metrics = fact["metrics"]
        results = metrics.get("results", [metrics])
        published = [
            {ours: result[theirs] for theirs, ours in names.items() if result.get(theirs) is not None}
            for result in results
        ]
        assert entry.reported in published, entry.id


def test_rows_are_those_of_the_facts(pairs):
    experiments = {
        (f"{table.number}{group.name}" if len(group.name) == 1 else str(table.number),
         f"{group.name} {row.label}" if len(group.name) > 1 else row.label): row.experiment
        for table in paper.load_all()
        for group in table.groups
        for row in group.rows
    }  # fmt: skip
    for fact, entry in pairs:
        expected = {
            (experiments[row["table"], row["row"]], "exact" if row["match"] == "exact_row" else "near")
            for row in fact.get("paper_rows") or []
            if row["match"] != "initial_weights_only"
        }
        assert {(s.experiment, s.match) for s in entry.serves if s.match != "initial"} == expected, entry.id


def test_coverage_is_that_of_the_facts(facts, known):
    experiments = iter(row.experiment for table in paper.load_all() for row in table.rows)
    for fact, experiment in zip(facts["coverage"], experiments, strict=True):
        found = known.list_serving(experiment)
        assert (found[0][1].match if found else "none") == fact["best"].split(" ")[0], fact["row"]


# -- how it answers ---------------------------------------------------------------------------------------------------


def test_it_loads_without_torch():
    program = (
        "import sys; from repro.checkpoints import registry; registry.load(); "
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_nearest_weights_come_first_and_obstructed_ones_after_others_of_their_kind(known):
    found = known.list_serving("coco-r50-gc-r16")
    assert [found[0][0].id, found[1][0].id] == [
        "gcnet/r50-syncbn-gc-r16-1x",
        "gcnet/r50-fixbn-gc-r16-1x",
    ]
    kinds = [(serves.match, entry.obstacle is not None) for entry, serves in found]
    assert kinds == sorted(kinds)
    assert ("near", True) in kinds
    assert known.list_serving("coco-r50-gc-r8") == []


def test_an_unknown_id_is_answered_with_the_nearest(known):
    with pytest.raises(ReproError, match=r"did you mean gcnet/x101-cascade-syncbn-gc-r16-1x or"):
        known.get("gcnet/x101-cascade-syncbn-gc-r16")
    with pytest.raises(ReproError, match="torchvision/resnet50-19c8e357"):
        known.get_initial("torchvision/resnet50-0676ba61")  # public, but no recipe starts from it


def test_the_network_of_a_file_is_the_experiments_with_its_own_fields(known):
    plain = get("coco-r101-baseline").network
    caffe = known.get("detectron2/mask_rcnn_R_101_FPN_3x").adapt_network(plain)
    assert isinstance(caffe, Detector)
    assert (caffe.backbone.stride_in, caffe.backbone.blocks) == ("1x1", plain.backbone.blocks)
    assert known.get("gcnet/r101-syncbn-baseline-1x").adapt_network(plain) == plain
    senet = known.get("timm/seresnet50.ra2_in1k").adapt_network(get("imagenet-r50-avg-scale").network)
    assert senet.backbone.context.block == SE != GC
    assert senet.backbone.context.sites == tuple((stage, None) for stage in ("c2", "c3", "c4", "c5"))
    non_local = known.get("mmaction2/slowonly_nl_embedded_gaussian_r50_4x16x1_150e_kinetics400_rgb")
    network = non_local.adapt_network(get("kinetics-r50-5nl").network)
    assert network.backbone.context.sites == (("c3", 0), ("c3", 2), ("c4", 0), ("c4", 2), ("c4", 4))
    assert network.input_size == (4, 224, 224)


def published(content: bytes, **hashes: str) -> CheckpointEntry:
    raw = {**MINIMAL["entries"][0], "urls": [{"url": "https://one.example/file.pth"}]}
    del raw["sha256"]
    return CheckpointEntry.model_validate({**raw, **hashes})


def test_a_file_is_checked_against_all_that_is_published_of_its_hash(tmp_path):
    content = b"weights"
    (tmp_path / "file").write_bytes(content)
    (tmp_path / "other").write_bytes(b"other")
    sha, md5 = hashlib.sha256(content).hexdigest(), hashlib.md5(content).hexdigest()
    for hashes, words in (
        ({"sha256": sha}, "its sha256"),
        ({"sha256": sha[:8]}, "the first 8 digits of its sha256, as published"),
        ({"md5": md5[:6]}, "the first 6 digits of its md5, as published"),
    ):
        entry = published(content, **hashes)
        assert entry.check(tmp_path / "file", hash_file(tmp_path / "file")) == words
        (kind, expected), *_ = hashes.items()
        found = hashlib.new(kind, b"other").hexdigest()
        with pytest.raises(ReproError, match=rf"{entry.id}.*{found}, not {expected}"):
            entry.check(tmp_path / "other", hash_file(tmp_path / "other"))
        known = Registry((entry,), tmp_path / "registry")
        assert known.identify(hash_file(tmp_path / "file")) is entry
        assert known.identify(hash_file(tmp_path / "other")) is None
    unknown = published(content, obstacle="nobody knows its hash")
    assert unknown.check(tmp_path / "other", hash_file(tmp_path / "other")) == "nothing: no hash is published"


# -- how it is read ---------------------------------------------------------------------------------------------------


def test_a_path_stands_for_every_address_of_its_host(tmp_path):
    entry = registry.load(written(tmp_path / "r.yaml", MINIMAL)).entries[0]
    assert entry.urls == (
        Url(url="https://one.example/a/r50-0123abcd.pth"),
        Url(url="https://two.example/files/a/r50-0123abcd.pth", note="a mirror"),
        Url(url="https://page.example/1", by_hand=True),
    )
    assert entry.fetchable == tuple(url.url for url in entry.urls[:2])


SERVES = [{"experiment": "coco-r50-baseline", "match": "exact"}]
OVERRIDE = "network: Detector has no field 'colour'"
WRONG = {
    "another key": ({"colour": "red"}, "colour: Extra inputs are not permitted"),
    "no such format": ({"format": "mmdetection9"}, "format: "),
    "an id with a way out": ({"id": "../etc/passwd"}, "entry ../etc/passwd: id: "),
    "an id with a hidden name": ({"id": "zoo/.hidden"}, "id: "),
    "no publisher": ({"id": "r50"}, "id: "),
    "not https": ({"urls": ["http://one.example/a.pth"]}, "urls.0.url: 'http://one.example/a.pth' is not an https URL"),
    "no such host": ({"urls": ["zoom:a.pth"]}, "urls.0.url: 'zoom:a.pth' is not an https URL"),
    "no host name": ({"urls": ["https:///a.pth"]}, "urls.0.url: "),
    "no urls": ({"urls": []}, "urls: "),
    "urls of another kind": ({"urls": 3}, "urls: "),
    "no hexadecimal digits": ({"sha256": "0123abcx"}, "sha256: "),
    "capitals": ({"sha256": "0123ABCD"}, "sha256: "),
    "a number for a hash": ({"sha256": 17235656}, "sha256: "),
    "too few digits": ({"sha256": "0123a"}, "sha256: "),
    "too many digits": ({"sha256": "0" * 65}, "sha256: "),
    "size of nothing": ({"size": 0}, "size: "),
    "no such column": ({"reported": {"AP": 37.2}}, "'AP' is no measured column"),
    "a counted column": ({"reported": {"flops": 37.2}}, "'flops' is no measured column"),
    "text for a number": ({"reported": {"ap_box": "37.2"}}, "reported.ap_box: "),
    "more than all": ({"reported": {"ap_box": 372}}, "reported.ap_box: "),
    "no such experiment": (
        {"serves": [{"experiment": "coco-r50-gc-r61", "match": "exact"}]},
        "serves.0.experiment: unknown experiment 'coco-r50-gc-r61': did you mean coco-r50-gc-r16",
    ),
    "no such match": ({"serves": [{"experiment": "coco-r50-baseline", "match": "close"}]}, "serves.0.match: "),
    "near without a difference": (
        {"serves": [{"experiment": "coco-r50-baseline", "match": "near"}]},
        "serves.0: 'differs' belongs to 'near'",
    ),
    "exact with a difference": ({"serves": [{**SERVES[0], "differs": "2x"}]}, "serves.0: 'differs' belongs to 'near'"),
    "an experiment twice": ({"serves": SERVES * 2}, "names an experiment twice"),
    "of no use": ({"serves": []}, "'serves' is empty"),
    "no hash": ({"sha256": None}, "needs an obstacle"),
    "only a page": ({"urls": [{"url": "https://page.example/1", "by_hand": True}]}, "needs an obstacle"),
    "withdrawn and in use": ({"withdrawn": True, "obstacle": "wrong"}, "a withdrawn file serves nothing"),
    "no such field": ({"network": {"colour": "red"}}, OVERRIDE),
    "no such field of a part": ({"network": {"backbone": {"colour": 1}}}, "network.backbone: Backbone has no field"),
    "an impossible value": ({"network": {"backbone": {"stride_in": "5x5"}}}, "network.backbone.stride_in: "),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named_with_file_entry_and_key(change, message, tmp_path):
    raw = {**MINIMAL["entries"][0], **change}
    path = written(tmp_path / "r.yaml", {**MINIMAL, "entries": [raw, MINIMAL["entries"][1]]})
    with pytest.raises(ReproError, match=re.escape(message)) as refusal:
        registry.load(path)
    assert str(refusal.value).startswith(f"{path}: entry {raw['id']}: ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "zoo/r50-0123abcd stands in entry zoo/r50-0123abcd"),
        ({"id": "zoo/other", "sha256": "beef0000"}, "https://one.example/a/r50-0123abcd.pth stands in entry"),
        ({"id": "zoo/other", "urls": ["zoo:b.pth"]}, "sha256 0123abcd cannot be told from that of entry"),
        ({"id": "zoo/other", "urls": ["zoo:b.pth"], "sha256": "0123abcdef"}, "sha256 0123abcdef cannot be told from"),
    ],
    ids=["id", "url", "hash", "a longer hash"],
)
def test_duplicates_are_refused(change, message, tmp_path):
    first = MINIMAL["entries"][0]
    path = written(tmp_path / "r.yaml", {**MINIMAL, "entries": [first, {**first, **change}]})
    with pytest.raises(ReproError, match=re.escape(message)):
        registry.load(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("entries: [", "is not whole, valid YAML"),
        ("entries: []\nentries: []\nhosts: {}", "'entries' stands twice"),
        ("\x00", "is not whole, valid YAML"),
        ("- 1", "valid dictionary"),
        ("", "valid dictionary"),
        ("hosts: {}", "entries: Field required"),
        ("hosts: {}\nentries: [1]", "entries.0: "),
        ("hosts: {zoo: [{base: 'https://one.example'}]}\nentries: []", "hosts.zoo.0.base: "),
        ("hosts: {zoo: [{base: 'ftp://one.example/'}]}\nentries: []", "is not an https URL"),
        ("hosts: {}\nentries: [{source: x}]", "entry number 1: id: "),
        *((f"entries: [!!{tag}]", "is not whole, valid YAML") for tag in ("int x", "float x", "timestamp 99999")),
        ("hosts: {}\nentries: [!!python/object/apply:os.system ['false']]", "is not whole, valid YAML"),
    ],
)
def test_a_malformed_file_is_refused(text, message, tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(ReproError, match=re.escape(message)) as refusal:
        registry.load(path)
    assert str(path) in str(refusal.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ReproError, match=r"r\.yaml cannot be read: it does not exist"):
        registry.load(tmp_path / "r.yaml")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


def places(content: object, at: tuple = ()) -> list[tuple]:
    """The way to every value in `content`."""
    children = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [at, *(place for key, value in children for place in places(value, (*at, key)))]


@given(place=st.sampled_from(places(MINIMAL)), value=ANYTHING)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_wrong_value_anywhere_is_an_error_for_people(place, value, tmp_path):
    content = value
    if place:
        content = copy.deepcopy(MINIMAL)
        *way, last = place
        functools.reduce(lambda part, key: part[key], way, content)[last] = value
    path = written(tmp_path / "r.yaml", content)
    with contextlib.suppress(ReproError):
        registry.load.__wrapped__(path)


@given(start=st.integers(0, 70_000), length=st.integers(1, 200), text=st.binary(max_size=20))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_registry_is_an_error_for_people(start, length, text, tmp_path):
    content = CHECKPOINTS.read_bytes()
    path = tmp_path / "r.yaml"
    path.write_bytes(content[:start] + text + content[start + length :])
    with contextlib.suppress(ReproError):
        registry.load.__wrapped__(path)


# -- the table in the documentation -----------------------------------------------------------------------------------


def rows_of(experiment: str) -> str:
    """The rows that are `experiment`, as "2a, 2b: baseline; 3a: R50 baseline"."""
    places: dict[str, list[str]] = {}
    for table in paper.load_all():
        for group in table.groups:
            for row in group.rows:
                if row.experiment == experiment:
                    name = f"{table.number}{group.name}" if len(group.name) < 2 else f"{table.number} {group.name}"
                    places.setdefault(row.label, []).append(name)
    return "; ".join(f"{', '.join(names)}: {label}" for label, names in places.items())


def test_the_documentation_lists_the_nearest_weights_of_every_experiment(known):
    lines = ["| rows | weights | | reported |", "|---|---|---|---|"]
    for name in EXPERIMENTS:
        if found := known.list_serving(name):
            entry, serves = found[0]
            reported = " / ".join(str(value) for value in entry.reported.values())
            weights = f"{entry.id}" if entry.obstacle is None else f"{entry.id}, not usable"
            lines.append(f"| {rows_of(name)} | {weights} | {serves.match} | {reported} |")
    assert len(lines) == 2 + 15 + 12
    written = (ROOT / "docs" / "checkpoints.md").read_text().splitlines()
    assert [line for line in written if line.startswith("|")][-len(lines) :] == lines, "\n".join(lines)
