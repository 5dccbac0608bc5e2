"""Which weights that others trained belong to which experiment: `checkpoints.yaml`, checked. Imports no torch."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_type_hints
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, model_validator

from repro import experiments, paper
from repro.errors import ReproError, unknown
from repro.experiments import Classifier, Detector
from repro.files.regular_files import Digests
from repro.files.schema import FrozenModel, describe_violation
from repro.files.yaml_files import load_yaml
from repro.paths import CHECKPOINTS

#: Whose names, layouts and conventions a file follows; for some of them there is no converter.
Format = Literal[
    "mmdetection1", "mmdetection2", "detectron2", "torchvision-detection", "maskrcnn-benchmark", "paddle",
    "torchvision", "timm", "mmpretrain", "cgnl",
    "mmaction2", "pytorchvideo", "pyslowfast", "caffe2", "mmaction",
]  # fmt: skip

Network = TypeVar("Network", bound=Detector | Classifier)


def _require_https(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise ValueError(f"{url!r} is not an https URL")
    return url


def _require_experiment(name: str) -> str:
    try:
        return experiments.get(name).name
    except ReproError as error:
        raise ValueError(str(error)) from None


def _require_measured_column(name: str) -> str:
    if name not in paper.COLUMNS or not paper.COLUMNS[name].measured:
        known = ", ".join(column for column, kind in paper.COLUMNS.items() if kind.measured)
        raise ValueError(f"{name!r} is no measured column of the tables: {known}")
    return name


class Url(FrozenModel):
    """One address of a file, or of a page where a person can fetch it."""

    url: Annotated[str, AfterValidator(_require_https)]
    note: str = ""  #: what is known of its state
    by_hand: bool = False  #: a page for a browser, never fetched


class Serves(FrozenModel):
    """An experiment that a file can stand in for."""

    experiment: Annotated[str, AfterValidator(_require_experiment)]
    #: exact: the authors' weights of this very row; near: others of its kind; initial: what its recipe starts from
    match: Literal["exact", "near", "initial"]
    differs: str = ""  #: near: how the training or the network differs

    @model_validator(mode="after")
    def _require_what_differs(self) -> Serves:
        if (self.match == "near") != bool(self.differs):
            raise ValueError("'differs' belongs to 'near', and to it alone")
        return self


class ReportedTraining(FrozenModel):
    """What training the file's network cost its publisher, on 8 V100 with two images each."""

    seconds_per_iteration: Annotated[float, Field(gt=0)]
    memory: Annotated[float, Field(gt=0)]  #: of a GPU, GB


class CheckpointEntry(FrozenModel):
    """One published file."""

    #: publisher/name
    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*/[A-Za-z0-9]+([._-][A-Za-z0-9]+)*$", max_length=150)]
    source: Annotated[str, Field(min_length=1)]  #: the publishing repository
    format: Format
    urls: Annotated[tuple[Url, ...], Field(min_length=1)]  #: in the order to try
    #: hex digits of the file's sha256, or as many of them as are published
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{6,64}$")] | None = None
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{6,32}$")] | None = None  #: as sha256
    size: Annotated[int, Field(gt=0)] | None = None  #: bytes
    #: by the publisher, by column of the tables
    reported: dict[
        Annotated[str, AfterValidator(_require_measured_column)], Annotated[float, Field(strict=True, ge=0, le=100)]
    ] = {}
    training: ReportedTraining | None = None
    network: dict[str, Any] = {}  #: fields in which its network differs from the experiment's
    serves: tuple[Serves, ...] = ()
    obstacle: str | None = None  #: why the file cannot be fetched and evaluated
    withdrawn: bool = False  #: by its publisher

    @model_validator(mode="after")
    def _require_consistency(self) -> CheckpointEntry:
        names = [(s.experiment, s.match) for s in self.serves]
        if len(set(names)) != len(names):
            raise ValueError("'serves' names an experiment twice")
        if self.withdrawn and (self.serves or not self.obstacle or not self.digest):
            raise ValueError("a withdrawn file serves nothing, and needs an obstacle and a hash")
        if not self.withdrawn and not self.serves:
            raise ValueError("'serves' is empty")
        if not self.obstacle and not (self.digest and self.fetchable):
            raise ValueError("a file without a hash, or without a URL to fetch, needs an obstacle")
        for serves in self.serves:
            if serves.match != "initial":
                self.adapt_network(experiments.get(serves.experiment).network)
        return self

    @property
    def digest(self) -> str | None:
        """What is published of the file's hash, as "sha256:..." or "md5:..."; None if nothing is."""
        return f"sha256:{self.sha256}" if self.sha256 else f"md5:{self.md5}" if self.md5 else None

    @property
    def fetchable(self) -> tuple[str, ...]:
        """The URLs that a program can fetch, in the order to try."""
        return tuple(url.url for url in self.urls if not url.by_hand)

    @property
    def file_name(self) -> str:
        """A safe name for the file: its publisher's or, where no URL of the file itself is known, the id."""
        name = urlsplit(self.fetchable[0]).path.rsplit("/", 1)[-1] if self.fetchable else ""
        return name if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) else self.id.replace("/", "-")

    def find_service(self, experiment: str) -> Serves | None:
        """How the file stands in for a trained network of `experiment`; None if it does not."""
        return next((s for s in self.serves if s.experiment == experiment and s.match != "initial"), None)

    def adapt_network(self, network: Network) -> Network:
        """Change `network`, an experiment's, where the file's network differs from it.

        Raises:
            ValueError: `self.network` names a field that does not exist, or gives it an impossible value.
        """
        return _replace_fields(network, self.network, "network")

    def check(self, path: Path, digests: Digests) -> str:
        """Check that the file at `path`, which has these `digests`, is this one; what was compared, in words.

        Raises:
            ReproError: its hash is another; both are named.
        """
        if self.digest is None:
            return "nothing: no hash is published"
        kind, expected = self.digest.split(":")
        actual: str = getattr(digests, kind)
        if not actual.startswith(expected):
            dots = "..." if len(expected) < len(actual) else ""
            raise ReproError(f"{path} is not {self.id}: its {kind} is {actual}, not {expected}{dots}")
        return f"its {kind}" if expected == actual else f"the first {len(expected)} digits of its {kind}, as published"


@dataclasses.dataclass(frozen=True)
class Registry:
    """All entries, the nearest to the paper first."""

    entries: tuple[CheckpointEntry, ...]
    path: Path

    def get(self, id: str) -> CheckpointEntry:
        """The entry with that id.

        Raises:
            ReproError: there is none; the message offers the nearest ids.
        """
        for entry in self.entries:
            if entry.id == id:
                return entry
        raise unknown("weights", id, (entry.id for entry in self.entries))

    def list_serving(self, experiment: str) -> list[tuple[CheckpointEntry, Serves]]:
        """What stands in for a trained network of `experiment`: exact before near, fetchable ones first."""
        pairs = [(entry, serves) for entry in self.entries if (serves := entry.find_service(experiment))]
        return sorted(pairs, key=lambda pair: (pair[1].match != "exact", pair[0].obstacle is not None))

    def get_initial(self, id: str) -> CheckpointEntry:
        """The entry of the initial weights of a recipe.

        Raises:
            ReproError: there is no such entry, or no recipe starts from it.
        """
        starts = [entry.id for entry in self.entries if any(s.match == "initial" for s in entry.serves)]
        if id not in starts:
            raise unknown("initial weights", id, starts)
        return self.get(id)

    def list_initial(self, experiment: str) -> list[tuple[CheckpointEntry, Serves]]:
        """What the recipe of `experiment` starts from, if that is public."""
        pairs = ((entry, serves) for entry in self.entries for serves in entry.serves)
        return [(e, s) for e, s in pairs if (s.experiment, s.match) == (experiment, "initial")]

    def find_by_sha256(self, hex: str) -> CheckpointEntry | None:
        """The entry whose published sha256 is this one or begins it; None if there is none."""
        return next((e for e in self.entries if e.sha256 and hex.lower().startswith(e.sha256)), None)

    def identify(self, digests: Digests) -> CheckpointEntry | None:
        """The entry that a file with these `digests` is by its sha256 or md5; None if it is none."""
        if entry := self.find_by_sha256(digests.sha256):
            return entry
        return next((e for e in self.entries if e.md5 and digests.md5.startswith(e.md5)), None)


@cache
def load(path: Path = CHECKPOINTS) -> Registry:
    """Load and check the registry.

    Raises:
        ReproError: the file is malformed; the message names file, entry and key.
    """
    try:
        file = _RegistryFile.model_validate(load_yaml(path))
    except ValidationError as error:
        raise ReproError(f"{path}: {describe_violation(error)}") from None
    entries = tuple(_build_entry(raw, position, file.hosts, path) for position, raw in enumerate(file.entries))
    _refuse_duplicates(entries, path)
    return Registry(entries, path)


class _HostAddress(FrozenModel):
    """An address under which a host keeps the paths of its files."""

    base: Annotated[str, AfterValidator(_require_https), Field(pattern=r"/$")]
    note: str = ""
    by_hand: bool = False


class _RegistryFile(FrozenModel):
    hosts: dict[
        Annotated[str, Field(pattern=r"^[a-z0-9-]+$")], Annotated[tuple[_HostAddress, ...], Field(min_length=1)]
    ]
    entries: tuple[dict[str, Any], ...]


def _build_entry(
    raw: dict[str, Any], position: int, hosts: dict[str, tuple[_HostAddress, ...]], path: Path
) -> CheckpointEntry:
    name = raw["id"] if isinstance(raw.get("id"), str) else f"number {position + 1}"
    urls = raw.get("urls")
    try:
        return CheckpointEntry.model_validate(
            {**raw, "urls": _expand_hosts(urls, hosts) if isinstance(urls, list) else urls}
        )
    except ValidationError as error:
        raise ReproError(f"{path}: entry {name}: {describe_violation(error)}") from None


def _expand_hosts(urls: list[Any], hosts: dict[str, tuple[_HostAddress, ...]]) -> Iterator[Any]:
    """Yield the `urls` of an entry, "host:path" replaced by the path on each address of that host."""
    for url in urls:
        host, separator, path = url.partition(":") if isinstance(url, str) else ("", "", "")
        if separator and host in hosts:
            yield from (Url(url=b.base + path, note=b.note, by_hand=b.by_hand) for b in hosts[host])
        else:
            yield {"url": url} if isinstance(url, str) else url


def _refuse_duplicates(entries: Iterable[CheckpointEntry], path: Path) -> None:
    seen: dict[str, str] = {}
    for entry in entries:
        for what in (entry.id, *(url.url for url in entry.urls)):
            if other := seen.get(what):
                raise ReproError(f"{path}: entry {entry.id}: {what} stands in entry {other} as well")
            seen[what] = entry.id
    for kind in ("sha256", "md5"):
        known = sorted((digest, entry.id) for entry in entries if (digest := getattr(entry, kind)))
        for (digest, id), (longer, other) in pairwise(known):
            if longer.startswith(digest):
                raise ReproError(f"{path}: entry {other}: {kind} {longer} cannot be told from that of entry {id}")


def _replace_fields(spec: Any, changes: dict[str, Any], where: str) -> Any:
    kinds = get_type_hints(type(spec))
    values = {}
    for field, value in changes.items():
        if field not in kinds:
            raise ValueError(f"{where}: {type(spec).__name__} has no field {field!r}")
        current = getattr(spec, field)
        if dataclasses.is_dataclass(current) and isinstance(value, dict):
            values[field] = _replace_fields(current, value, f"{where}.{field}")
            continue
        try:
            values[field] = TypeAdapter(kinds[field]).validate_python(value)
        except ValidationError as error:
            raise ValueError(f"{where}.{field}: {error.errors(include_url=False)[0]['msg']}") from None
    return dataclasses.replace(spec, **values)
