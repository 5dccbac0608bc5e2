"""Every task as a nox session. Arguments after `--` reach the command line: `nox -s verify -- --table 2`."""

import json
import os
import platform
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["tests"]


#: Processes that compute beside one another: a thread each, and huge pages, as workers of the mini profile have them
#: (repro/engine/pages.py).
SINGLE = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
if platform.machine().lower() in ("x86_64", "amd64"):
    SINGLE["GLIBC_TUNABLES"] = os.environ.get("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")


def install(session: nox.Session) -> None:
    """The locked environment, then the package itself in place, so that `tables/` is this checkout's."""
    # Where this is set, every process compiles all that torch imports again: 10 s each.
    session.env["PYTHONDONTWRITEBYTECODE"] = None
    session.install("--require-hashes", "-r", "requirements.lock")
    session.install("--no-deps", "-e", ".")


def install_peers(session: nox.Session) -> None:
    """What only tests compare with and the locked environment has not: see the `test` extra of pyproject.toml."""
    session.install("--no-deps", "--require-hashes", "-r", "requirements-peers.lock")


@nox.session
def reproduce(session: nox.Session) -> None:
    """Reproduce a table: `nox -s reproduce -- --table 2`."""
    install(session)
    session.run("repro", "reproduce", *session.posargs)


def _reproduce(number: int, what: str) -> None:
    def session(session: nox.Session) -> None:
        install(session)
        session.run("repro", "reproduce", "--table", str(number), *session.posargs)

    session.__doc__ = (
        f"Table {number} of the paper, {what}, beside what this machine measures: `-- --seeds 8` for more."
    )
    nox.session(name=f"reproduce-table{number}")(session)


for _number, _what in {
    1: "statistics of attention",
    2: "ablations on COCO",
    3: "stronger backbones",
    4: "ImageNet",
    5: "Kinetics",
}.items():
    _reproduce(_number, _what)


#: Of the mini profile: the experiment that the smoke test repeats, in whose network Figure 1 can be drawn.
REPEATED = "coco-r50-1nl"


@nox.session
def smoke(session: nox.Session) -> None:
    """In minutes: all counts, one mini experiment bit for bit, claims, a figure, the report; in results/smoke, anew."""
    install(session)
    session.env.update(SINGLE)
    results = Path("results", "smoke")
    shutil.rmtree(results, ignore_errors=True)
    here = ["--results", str(results)]
    began = time.monotonic()
    with ThreadPoolExecutor(1) as beside:  # one core trains, the other counts
        counted = beside.submit(session.run, "repro", "complexity", *here, silent=True)
        session.run("repro", "run", REPEATED, "--profile", "mini", *here)
        counted.result()  # fails where a count is off
    others = _find_other_instructions(session, results)
    session.run("repro", "diff", str(results), "tables/reference", *([] if others else ["--exit-code"]))
    session.run("repro", "claims", "--claim", "intro-cost", *here)
    session.run("repro", "figure", "1", "--experiment", REPEATED, "--profile", "mini", *here)
    session.run("repro", "report", *here, "--output", str(results / "report.html"))
    said = "as expected but for the bits, which are those of other instructions" if others else "all as expected"
    session.log(f"{said}, in {time.monotonic() - began:.0f} s; see {results / 'report.html'}")


def _find_other_instructions(session: nox.Session, results: Path) -> bool:
    """Whether records have other bits than the committed ones, by a CPU without their instructions, and no more.

    So on ARM, or without AVX2 (docs/mini.md, "One instruction set"). With the same instructions, bits are the same.
    """
    compare = ["repro", "diff", str(results), "tables/reference", "--json"]
    said = str(session.run(*compare, silent=True))
    found = json.loads(said[said.index("{") :])
    unlike = [record["causes"] for record in found["changed"] if not record["alike"]]
    if not unlike or not all(change["field"].endswith(".counter") for change in found["counts"]):
        return False
    others = all("the CPU's instructions" in [cause["name"] for cause in causes] for causes in unlike)
    return others and not any(cause["decisive"] for causes in unlike for cause in causes)


@nox.session
def verify(session: nox.Session) -> None:
    """Compare what was measured with what was published; exit 1 names the cells that are off."""
    install(session)
    session.run("repro", "verify", *session.posargs)


@nox.session
def tables(session: nox.Session) -> None:
    """Render the committed tables from the committed records; `-- --check` proves that they are such renderings."""
    install(session)
    session.run("repro", "tables", *session.posargs)


@nox.session
def complexity(session: nox.Session) -> None:
    """Count parameters and operations of the full-size networks beside the published cells."""
    install(session)
    session.run("repro", "complexity", *session.posargs)


@nox.session
def figures(session: nox.Session) -> None:
    """Figures 1 and 2 of the mini profile's network; options of `repro figure` after `--` choose another."""
    install(session)
    if not session.posargs:
        session.run("repro", "run", "coco-r50-1nl", "--profile", "mini")
    chosen = session.posargs or ["--experiment", "coco-r50-1nl", "--profile", "mini"]
    for number in ("1", "2"):
        session.run("repro", "figure", number, *chosen)


@nox.session
def blocks(session: nox.Session) -> None:
    """Blocks that others published beside the paper's, in the mini profile: `-- --seeds 1`, `-- --task kinetics`."""
    install(session)
    session.run("python", "examples/compare_blocks.py", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """The test suite, two single-threaded processes side by side."""
    install(session)
    install_peers(session)
    session.run("pytest", *(session.posargs or ["-n", "2", "--dist", "worksteal"]), env=SINGLE)


#: Every reader of files that others made, tried with damaged ones.
FUZZED = [
    "tests/checkpoints/test_fuzz_weights.py", "tests/data/test_fuzz_pictures.py", "tests/data/test_lists_fuzz.py",
    "tests/data/test_video_fuzz.py",
]  # fmt: skip


@nox.session
def fuzz(session: nox.Session) -> None:
    """A minute of damaged files for each reader, always the same ones; REPRO_FUZZ_SECONDS and _FIRST choose others."""
    install(session)
    install_peers(session)
    environment = SINGLE | {"REPRO_FUZZ_SECONDS": os.environ.get("REPRO_FUZZ_SECONDS", "60")}
    session.run("pytest", *(session.posargs or ["-n", "2", "--dist", "worksteal"]), "-rP", *FUZZED, env=environment)


#: Another CPU's instructions, for PyTorch's own kernels, its convolutions and its matrix products.
OTHER_INSTRUCTIONS = {
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "default": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
}
OWN_INSTRUCTIONS = dict.fromkeys(["ATEN_CPU_CAPABILITY", "NPY_DISABLE_CPU_FEATURES"])  #: not those asked for outside
#: Prints what PyTorch computes with, and the features beyond its baseline that NumPy found.
ASK_INSTRUCTIONS = """
import torch
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
print(torch.backends.cpu.get_cpu_capability(), *(name for name in __cpu_dispatch__ if __cpu_features__.get(name)))
"""


@nox.session(name="tests-rounding")
def tests_rounding(session: nox.Session) -> None:
    """The tests that train or compare floats, as a CPU with other instructions than this one's rounds."""
    install(session)
    install_peers(session)
    found = session.run("python", "-c", ASK_INSTRUCTIONS, env=OWN_INSTRUCTIONS, silent=True)
    own, *of_numpy = found.splitlines()[-1].split()
    other = "avx2" if own.startswith("AVX512") else "default"
    session.log(f"{own} here; tested with {other}")
    environment: dict[str, str | None] = {**SINGLE, **OTHER_INSTRUCTIONS[other]}
    environment["NPY_DISABLE_CPU_FEATURES"] = " ".join(of_numpy) or None
    session.run("pytest", "-m", "rounding", *(session.posargs or ["-n", "2", "--dist", "worksteal"]), env=environment)


DETECTRON2 = "git+https://github.com/facebookresearch/detectron2.git"  #: as its documentation says


@nox.session(name="tests-detectron2")
def tests_detectron2(session: nox.Session) -> None:
    """The tests of the engine on Detectron2, built here or from DETECTRON2: a checkout, a wheel or a pinned URL."""
    install(session)
    source = os.environ.get("DETECTRON2") or DETECTRON2
    if "://" not in source and not Path(source).exists():
        session.error(f"DETECTRON2 names {source}, which does not exist; it may be a checkout, a wheel or a URL")
    # Its setup imports the installed torch. It runs with all of the locked environment but iopath, of which it wants
    # an earlier version, and setuptools, of which its model zoo does.
    session.install("setuptools<81", "wheel", "ninja")
    try:
        session.install("--no-build-isolation", source)
    except nox.command.CommandFailed:
        session.error(
            f"Detectron2 cannot be installed from {source}: see above. It takes a C++ compiler, some minutes, and the "
            "network unless the environment variable DETECTRON2 names a checkout or a wheel built for this torch."
        )
    tests = session.posargs or [f"tests/detection/test_{name}.py" for name in ("detectron2", "engines", "detector")]
    session.run("pytest", *tests, env=SINGLE)


#: Prints why PyTorch can use no CUDA device; nothing where it can.
ASK_CUDA = "from repro.engine.cuda import explain_missing_cuda; print(explain_missing_cuda() or '')"


@nox.session(name="tests-cuda")
def tests_cuda(session: nox.Session) -> None:
    """The tests that need a GPU, which `tests` skips without one; without one this fails, for it would test nothing."""
    install(session)
    install_peers(session)
    if missing := session.run("python", "-c", ASK_CUDA, silent=True).splitlines()[-1]:
        session.error(f"there is no CUDA device here: {missing}")
    session.run("pytest", "-m", "cuda", *(session.posargs or ["tests/cuda"]), env={"OMP_NUM_THREADS": "1"})


@nox.session
def lint(session: nox.Session) -> None:
    """Style, formatting, types, who may import whom, workflows, shell scripts and the Dockerfile."""
    install(session)
    session.install("--require-hashes", "-r", "requirements-tools.lock")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")
    session.run("mypy")
    session.run("actionlint")
    session.run("shellcheck", ".ci/run", "containers/install.sh", *map(str, sorted(Path(".github").rglob("*.sh"))))
    session.run("hadolint", "containers/Dockerfile")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation as a site, in site/: every link is checked, and nothing is loaded from outside."""
    install(session)
    session.install("--require-hashes", "-r", "requirements-tools.lock")
    session.run("mkdocs", "build", *session.posargs, env={"NO_MKDOCS_2_WARNING": "1"})
