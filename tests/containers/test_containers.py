"""The files that containers are built from: what they name is there, and what they leave out is CUDA alone.

Building takes minutes, a base image and a package index: see docs/containers.md for what was built, and where.
"""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess

import pytest
from places import ROOT

CONTAINERS = ROOT / "containers"
DOCKERFILE = re.sub(r"\\\n", " ", (CONTAINERS / "Dockerfile").read_text())
DEFINITION = (CONTAINERS / "apptainer.def").read_text()
LOCK = (ROOT / "requirements.lock").read_text()
split_lock = runpy.run_path(str(CONTAINERS / "split_lock.py"))["split_lock"]


def list_entries(lock: str) -> dict[str, str]:
    """Each entry of a lock file by its first line, with its hashes."""
    entries: dict[str, str] = {}
    for line in lock.splitlines():
        if not line[:1].isspace() and line.strip():
            first = line.rstrip(" \\")
            entries[first] = ""
        else:
            entries[first] += line.strip(" \\") + "\n"
    return entries


def test_a_cpu_has_all_that_is_locked_but_cuda_and_another_pytorch():
    locked, torch = (list_entries(part) for part in split_lock(LOCK))
    everything = list_entries(LOCK)
    assert all(locked[first] == everything[first] and "sha256:" in locked[first] for first in locked)
    assert set(torch) == {first for first in everything if first.split("==")[0] in ("torch", "torchvision")}
    assert set(torch.values()) == {""}
    left_out = {first.split("==")[0] for first in set(everything) - set(locked) - set(torch)}
    assert left_out
    assert {name for name in left_out if not name.startswith(("nvidia-", "cuda-"))} == {"triton"}
    assert not {name for name in map(str.lower, locked) if "nvidia" in name or "cuda" in name}


def list_tracked() -> list[str]:
    """What git tracks, or would."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def list_sent() -> set[str]:
    """The paths that .dockerignore lets into a build."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    return {line[1:] for line in lines if line.startswith("!")}


def list_copied() -> dict[str, str]:
    """What apptainer.def copies into its first stage, with where to."""
    first = DEFINITION.split("Stage: final")[0]
    section = re.search(r"%files\n(.*?)\n\n", first, re.S)
    return dict(line.split() for line in section[1].splitlines())


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no checkout of git")
def test_what_is_copied_is_there_and_tracked():
    tracked = list_tracked()
    for path in {*list_sent(), *list_copied()}:
        assert any(each == path or each.startswith(f"{path}/") for each in tracked), path


def test_both_kinds_of_containers_are_built_from_the_same_files_and_settings():
    copied = list_copied()
    assert set(copied) == list_sent()
    assert all(target == f"/checkout/{source}" for source, target in copied.items())
    for name in ("BASE", "VARIANT", "TORCH_INDEX"):
        (of_docker,) = set(re.findall(rf"^ARG {name}=(.*)$", DOCKERFILE, re.M))
        (of_apptainer,) = set(re.findall(rf"^ +{name}=(.*)$", DEFINITION, re.M))
        assert of_docker == of_apptainer, name
    for name in ("REPRO_DATA", "REPRO_RESULTS", "REPRO_CACHE"):
        (place,) = re.findall(rf"{name}=(/\w+)", DOCKERFILE)
        assert f'export {name}="${{{name}:-{place}}}"' in DEFINITION  # what is set outside comes first there


def test_the_build_is_sent_all_that_the_wheel_takes():
    section = (ROOT / "pyproject.toml").read_text().partition("force-include]\n")[2].partition("\n\n")[0]
    included = [line.partition(" = ")[0].strip('"') for line in section.splitlines()]
    assert len(included) == 3
    assert {*included, "repro", "README.md", "LICENSE", "pyproject.toml"} <= list_sent()


def test_docker_runs_repro_as_no_root_from_where_it_was_installed():
    build, final = DOCKERFILE.split("\nFROM ${BASE}\n")
    (install,) = re.findall(r"bash (/checkout/containers/install.sh .*)$", build, re.M)
    environment = shlex.split(install)[-1]
    assert f"COPY --from=build {environment} {environment}" in final
    assert f"PATH={environment}/bin:$PATH" in final
    user = re.findall(r"^USER (\d+)$", final, re.M)
    assert user == ["1000"]
    assert "useradd --uid 1000" in final.partition("USER 1000")[0]
    assert final.rstrip().endswith('ENTRYPOINT ["repro"]')
    assert re.search(r"^ARG BASE=python:3\.\d+\.\d+-slim-\w+$", DOCKERFILE, re.M)


@pytest.fixture
def tools(tmp_path):
    """Stand-ins for Python and uv, which say how they are called; and a checkout."""
    log = tmp_path / "log"
    uv = f'#!/bin/sh\necho "uv $*" >> {log}\n'
    python = f"""#!/bin/sh
if [ "$1 $2" = "-m venv" ]; then
    mkdir -p "$3/bin"; cp {tmp_path}/fake-pip "$3/bin/python"; cp {tmp_path}/fake-uv "$3/bin/uv"
else
    : > "$3"; : > "$4"
fi
"""
    for name, text in {"fake-uv": uv, "fake-pip": f'#!/bin/sh\necho "pip $*" >> {log}\n', "python3": python}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)

    def run(variant, **environment):
        command = ["bash", CONTAINERS / "install.sh", variant, ROOT, tmp_path / "environment"]
        environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "TMPDIR": str(tmp_path), **environment}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return done, [line for line in log.read_text().splitlines() if line.startswith("uv pip")]

    return run


def test_cuda_takes_the_lock_as_it_is(tools):
    done, (locked, package) = tools("cuda")
    assert done.returncode == 0, done.stderr
    assert locked.endswith(f"--require-hashes -r {ROOT / 'requirements.lock'}")
    assert package.endswith(str(ROOT))
    assert "--no-deps" in locked
    assert "--no-deps" in package


@pytest.mark.parametrize(
    ("index", "chosen"), [("", "--torch-backend cpu"), ("file:///here", "--default-index file:///here")]
)
def test_a_cpu_takes_pytorch_from_its_own_index_or_the_one_that_is_named(tools, index, chosen):
    done, (torch, locked, _) = tools("cpu", TORCH_INDEX=index)
    assert done.returncode == 0, done.stderr
    assert re.search(rf"{chosen} -r \S*torch\.txt$", torch)
    assert re.search(r"--require-hashes -r \S*locked\.txt$", locked)


def test_another_variant_is_refused(tools):
    done, calls = tools("rocm")
    assert (done.returncode, [line for line in calls if " install " in line]) == (2, [])
    assert "the variant is cpu or cuda, not 'rocm'" in done.stderr
