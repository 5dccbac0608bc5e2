"""Experiments of the user's own: defined in a Python file, or in a package with an entry point of `GROUP`.

Such a file makes them of those of the paper, with `replace` or `exchange_block`. It is executed when a command names
it, and never else. The hash of its source, and of the modules that it imports from beside it, is part of every key.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from repro.errors import ReproError, unknown
from repro.experiments import EXPERIMENTS, Classifier, Detector, Experiment, get, list_own, overrides, register
from repro.experiments.specification import Recipe, SourceCode, SourceFile, canonical, digest
from repro.files.places import is_there
from repro.files.regular_files import read_regular
from repro.user_code import execute, report_failures

GROUP = "gcnet_repro.experiments"  #: of entry points
_LIMIT = 1 << 20  #: bytes of one source file
_KEPT = 128 << 10  #: bytes of source that a record keeps, of all files together
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}")
_PACKAGE = Path(__file__).parents[1]


def list_names(reference: str) -> list[str]:
    """The names of the experiments that a reference stands for: NAME, FILE.py, FILE.py:NAME, ENTRY or ENTRY:NAME.

    Those of files and entry points are loaded, and known to `get` from then on.

    Raises:
        ReproError: there is no such experiment, file or entry point; or as `load`.
    """
    place, _, name = reference.rpartition(":") if ":" in reference else (reference, "", "")
    if place.endswith(".py") or _find_entry_points(place):
        loaded = load(place)
        base = overrides.split_name(name)[0]
        if name and base not in loaded:
            raise unknown(f"experiment of {place},", base, loaded)
        names = [name] if name else list(loaded)
    elif ":" in reference:
        raise unknown(f"entry point of {GROUP} (and no file that ends in .py)", place, _list_entry_points())
    else:
        names = [reference]
    return [get(one).name for one in names]


def name_one(reference: str) -> str:
    """The name of the one experiment that a reference stands for.

    Raises:
        ReproError: as `list_names`, or there are several.
    """
    names = list_names(reference)
    if len(names) > 1:
        raise ReproError(
            f"{reference} has {len(names)} experiments, and one is wanted: add :NAME, of {', '.join(names)}"
        )
    return names[0]


def load(reference: str) -> dict[str, Experiment]:
    """Load the experiments of a Python file or of an entry point, by name, in the order of the file.

    Raises:
        ReproError: there is none, it cannot be imported, or an experiment in it is not defined as it has to be.
    """
    main, root = _locate(reference)
    identity = str(main) if reference.endswith(".py") else reference
    contents = _collect_sources(main, root)
    source = _describe_source(identity, contents)
    known = [one for one in list_own() if one.source == source and one.source and one.source.reference == identity]
    if known:
        return {one.name: one for one in known}
    name = main.relative_to(root).as_posix()
    with _fresh_modules(contents):
        if reference.endswith(".py"):
            module = execute(main, contents[name])
        else:
            with report_failures(f"entry point {reference}: {name} cannot be imported", str(root)):
                module = importlib.import_module(_name_module(name))
    found = {one.name: replace(one, source=source) for one in _find_experiments(module, identity)}
    for experiment in found.values():
        register(experiment)
    return found


def load_again(reference: str, sha256: str) -> None:
    """Load the experiments of a file or an entry point that another process has loaded, by the hash of that.

    Raises:
        ReproError: as `load`, or it was edited in between.
    """
    for experiment in load(reference).values():
        if experiment.source and experiment.source.sha256 != sha256:
            raise _explain_edit(experiment.source)


def confirm_source(experiment: Experiment) -> None:
    """Refuse an experiment whose file was edited since it was loaded.

    Raises:
        ReproError: it was.
    """
    if (source := experiment.source) is None:
        return
    now = _describe_source(source.reference, _collect_sources(*_locate(source.reference)))
    if now.sha256 != source.sha256:
        raise _explain_edit(source)


def _explain_edit(source: SourceCode) -> ReproError:
    return ReproError(
        f"{source.name}, or what it imports from beside it, was edited since this was planned. Run the same command "
        "again: it plans with what is there now, as another measurement."
    )


# -- sources ----------------------------------------------------------------------------------------------------------


def _collect_sources(main: Path, root: Path) -> dict[str, bytes]:
    """The contents of a file and of what it imports from below `root`, by path from there; the file itself first."""
    contents: dict[str, bytes] = {}
    waiting = [main, *_find_files(root, main.relative_to(root).parts[:-1])]
    while waiting:
        path = waiting.pop(0)
        name = path.relative_to(root).as_posix()
        if name in contents:
            continue
        contents[name] = read_regular(path, _LIMIT, "source")
        with report_failures(f"{path} cannot be imported"):
            tree = ast.parse(contents[name], path.name)
        package = path.parent.relative_to(root).parts
        for module in _list_imports(tree, package):
            waiting += _find_files(root, module)
    return contents


def _list_imports(tree: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The modules that import statements anywhere in a file may mean, relative ones from the file's package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = (*above, *(node.module.split(".") if node.module else ()))
            yield module
            yield from ((*module, alias.name) for alias in node.names)


def _find_files(root: Path, module: tuple[str, ...]) -> Iterator[Path]:
    """The files below `root` that are executed when a module is imported."""
    for length in range(1, len(module) + 1):
        place = root.joinpath(*module[:length])
        for path in (place.with_name(f"{place.name}.py"), place / "__init__.py"):
            if is_there(path) and not path.is_relative_to(_PACKAGE):
                yield path


def _describe_source(reference: str, contents: dict[str, bytes]) -> SourceCode:
    """The source by its files; the name of the first is no part of the hash, for nothing imports it."""
    hashes = [hashlib.sha256(content).hexdigest() for content in contents.values()]
    beside = dict(list(zip(contents, hashes, strict=True))[1:])
    kept, files = _KEPT, []
    for (name, content), sha256 in zip(contents.items(), hashes, strict=True):
        fits = len(content) <= kept
        kept -= len(content) if fits else 0
        files.append(SourceFile(name, sha256, content.decode(errors="replace") if fits else None))
    return SourceCode(digest([hashes[0], beside]), reference, tuple(files))


@contextmanager
def _fresh_modules(contents: dict[str, bytes]) -> Iterator[None]:
    """Import anew what lies beside a file: not what another file had there, nor what was compiled before an edit."""
    for name in contents:
        sys.modules.pop(_name_module(name), None)
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.dont_write_bytecode = written


def _name_module(path: str) -> str:
    """The module of a file below the directory that modules are found in."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


# -- entry points -----------------------------------------------------------------------------------------------------


def _locate(reference: str) -> tuple[Path, Path]:
    """(the file that a reference names, the directory that it and what lies beside it are imported from).

    Nothing of an entry point's module is executed.

    Raises:
        ReproError: there is no such file, entry point or module.
    """
    if reference.endswith(".py"):
        path = Path(os.path.abspath(reference))
        if not is_there(path):
            raise ReproError(f"there is no file {path}")
        return path, path.parent
    found = _find_entry_points(reference)
    if not found:
        raise unknown(f"entry point of {GROUP}", reference, _list_entry_points())
    module = found[0].module
    top = importlib.util.find_spec(module.partition(".")[0])
    places = list(top.submodule_search_locations or ()) if top else []
    root = Path(places[0]).parent if places else Path(top.origin).parent if top and top.origin else None
    files = list(_find_files(root, tuple(module.split(".")))) if root else []
    if root is None or not files or _name_module(files[-1].relative_to(root).as_posix()) != module:
        raise ReproError(f"entry point {reference} of {GROUP}: there is no module {module}")
    return files[-1], root


def _find_entry_points(name: str) -> list[EntryPoint]:
    return list(entry_points(group=GROUP, name=name))


def _list_entry_points() -> list[str]:
    return sorted({entry.name for entry in entry_points(group=GROUP)})


# -- experiments ------------------------------------------------------------------------------------------------------


def _find_experiments(module: ModuleType, reference: str) -> list[Experiment]:
    """The experiments among a module's variables, alone or in lists; names that begin with "_" are skipped.

    Raises:
        ReproError: there is none, two have one name, or one is not defined as it has to be.
    """
    found: dict[str, Experiment] = {}
    where = f"{reference}: "
    for variable, value in vars(module).items():
        if variable.startswith("_"):
            continue
        for one in _list_experiments(value):
            if one == EXPERIMENTS.get(one.name):
                continue
            _check(one, where)
            if found.setdefault(one.name, one) != one:
                raise ReproError(f"{where}two experiments have the name {one.name!r}: give one of them another")
    if not found:
        raise ReproError(
            f"{where}it defines no experiment: make one with `exchange_block(get('coco-r50-gc-r16'), 'my-block', "
            "MyBlock)` and give it to a variable (docs/how-to/add-a-block.md)"
        )
    return list(found.values())


def _list_experiments(value: object) -> list[Experiment]:
    if isinstance(value, dict):
        value = list(value.values())
    items = value if isinstance(value, (list, tuple)) else [value]
    return [item for item in items if isinstance(item, Experiment)]


def _check(experiment: Experiment, where: str) -> None:
    """Check that an experiment can be named, stored, hashed and placed in a table.

    Raises:
        ReproError: it cannot; the message says why.
    """
    name = experiment.name
    if name in EXPERIMENTS:
        raise ReproError(
            f"{where}{name!r} is an experiment of the paper, and this is another one: give it a name of its own, as in "
            "`replace(..., name='my-block')`, or the variable a name that begins with _"
        )
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ReproError(f"{where}{name!r} is no name: take letters, digits, - and _, at most 60")
    where = f"{where}{name}: "
    _check_types(experiment, where)
    base = EXPERIMENTS.get(experiment.derived_from)
    if base is None or base.dataset != experiment.dataset:
        raise ReproError(
            f"{where}say beside which of the paper's experiments on {experiment.dataset} it stands: make it with "
            f"`replace(get(...), ...)`, or set `derived_from`, now {experiment.derived_from!r}"
        )
    if experiment.profile != "full":
        raise ReproError(f"{where}define it for the full profile; the mini profile scales it down")
    block = experiment.own_block
    if block is not None and (not callable(block) or _is_module(block)):
        raise ReproError(
            f"{where}its block is {type(block).__name__}; it has to be a function or a class that is called with "
            "(channels, dimensions) and returns a torch.nn.Module, for every place a new one"
        )
    try:
        digest(canonical(experiment))
    except (TypeError, ValueError) as error:
        raise ReproError(f"{where}it cannot be hashed, for it holds what is no plain data: {error}") from None


def _check_types(experiment: Experiment, where: str) -> None:
    """Refuse parts of another kind, which would fail far from here."""
    for part, kinds in (("network", (Detector, Classifier)), ("recipe", (Recipe,))):
        value: Any = getattr(experiment, part)
        if not isinstance(value, kinds):
            names = " or ".join(kind.__name__ for kind in kinds)
            raise ReproError(f"{where}its {part} is {type(value).__name__}, not a {names}")
    for each in fields(experiment.recipe):
        if each.name in ("epochs", "batch_size", "learning_rate") and not getattr(experiment.recipe, each.name) > 0:
            raise ReproError(f"{where}its recipe's {each.name} is not above 0")


def _is_module(value: object) -> bool:
    """Whether it is a `torch.nn.Module`; asked without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)
