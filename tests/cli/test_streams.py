"""What a terminal obeys or cannot show, and output that nobody takes."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import unicodedata

import pytest
from rich.progress import Progress

from repro.cli.console import TextConsole
from repro.cli.streams import GuardedStream, guard_streams
from repro.errors import ReaderLeftError, ReproError
from repro.files.printable import escape_controls, flatten

HOSTILE = "\x1b[2J\x1b]8;;http://evil\x07name\u202egnp.exe\x9b1A\r\x08\x7f"


@pytest.fixture
def streams(monkeypatch):
    """Put streams of an encoding in the place of the standard ones; returns what was written to them."""

    def put(encoding="utf-8"):
        raw = io.BytesIO(), io.BytesIO()
        for name, stream in zip(("stdout", "stderr"), raw, strict=True):
            wrapper = io.TextIOWrapper(stream, encoding=encoding, write_through=True)
            monkeypatch.setattr(sys, name, wrapper)
        return raw

    return put


def test_every_control_character_is_escaped_and_nothing_else():
    """By Unicode's own categories: Cc but for tab and line feed, and what has a part in the order of the text."""
    directions = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    marks = "\u061c\u200e\u200f\u2028\u2029"
    for code in range(0x3000):
        character = chr(code)
        commands = unicodedata.category(character) == "Cc" and character not in "\t\n"
        commands |= unicodedata.bidirectional(character) in directions or character in marks
        assert (escape_controls(character) != character) == commands, hex(code)
    assert flatten("a\tb\nc") == "a\\u0009b\\u000ac"


def test_what_is_escaped_reads_back_as_json():
    text = json.dumps([HOSTILE, "\t\n"], ensure_ascii=False)
    assert json.loads(escape_controls(text)) == [HOSTILE, "\t\n"]


def test_print_and_messages_pass_the_filter(streams):
    raw = streams()
    with guard_streams():
        print(HOSTILE)
        print(HOSTILE, file=sys.stderr)
    for stream in raw:
        written = stream.getvalue().decode()
        assert all(c.isprintable() or c == "\n" for c in written)
        assert "\\u001b[2J" in written
        assert "\\u202egnp.exe" in written


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_what_an_encoding_lacks_is_escaped_and_json_stays_json(encoding, streams):
    text = "caf\xe9 ≈ 38.0 \U0001f600 \udce9"
    out, _ = streams(encoding)
    with guard_streams():
        print(json.dumps([text], ensure_ascii=False))
    (back,) = json.loads(out.getvalue().decode(encoding))
    assert back.encode("utf-16-be", "surrogatepass") == text.encode("utf-16-be", "surrogatepass")


def test_the_streams_are_as_before_afterwards(streams):
    streams("ascii")
    before = sys.stdout, sys.stdout.errors, sys.stderr, sys.stderr.errors
    with guard_streams():
        assert isinstance(sys.stdout, GuardedStream)
    assert (sys.stdout, sys.stdout.errors, sys.stderr, sys.stderr.errors) == before


class Broken(io.StringIO):
    """A stream that fails."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error


@pytest.mark.parametrize(
    ("error", "raised", "why"),
    [
        (OSError(28, "No space left"), ReproError, "the disk is full"),
        (OSError(5, "Input/output error"), ReproError, "Input/output error"),
        (BrokenPipeError(32, "Broken pipe"), ReaderLeftError, None),
    ],
)
def test_what_cannot_be_written_is_one_error_on_stdout_and_none_on_stderr(error, raised, why, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Broken(error))
    monkeypatch.setattr(sys, "stderr", Broken(error))
    with guard_streams():
        print("lost", file=sys.stderr)
        with pytest.raises(raised, match=why):
            print("lost")
        print("not tried again")


def test_rich_keeps_its_own_styling_and_not_that_of_a_name(monkeypatch):
    """The bar moves the cursor and has colours; the name of a file does neither."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "150")
    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", stream)
    with guard_streams():
        with Progress(console=TextConsole(), redirect_stdout=False, redirect_stderr=False) as bar:
            bar.add_task(HOSTILE, total=3)
        TextConsole().print(HOSTILE, markup=False, highlight=False, soft_wrap=True)
    shown = stream.getvalue()
    assert re.search(r"\x1b\[[0-9;]+m", shown)  # rich's
    assert "\x1b[2J" not in shown
    assert "\x1b]8" not in shown
    assert not set("\u202e\x9b\x08\x7f\x07") & set(shown)


# -- processes --------------------------------------------------------------------------------------------------------


def start(command, **options):
    environment = {**os.environ, "PYTHONUNBUFFERED": "", **options.pop("env", {})}
    return subprocess.run(
        ["bash", "-c", command.replace("repro", f"{sys.executable} -m repro")],
        env=environment, capture_output=True, text=True, check=False, timeout=120, **options,
    )  # fmt: skip


FULL = "error: cannot write standard output: the disk is full\n"
needs_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs the device that is always full")


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("repro list | (exec <&-); exit ${PIPESTATUS[0]}", 141, ""),  # as behind `| head`, but for certain
        ("repro cells --json | (exec <&-); exit ${PIPESTATUS[0]}", 141, ""),
        pytest.param("repro list > /dev/full", 2, FULL, marks=needs_full),
        pytest.param("repro --help > /dev/full", 2, FULL, marks=needs_full),
        ("repro list >&-", 2, "error: cannot write standard output: it is closed\n"),
        ("repro list <&-", 0, ""),
        ("repro list 2>&-", 0, ""),
        ("repro run nothing >&- 2>&-", 2, ""),
        ("repro run nothing > /dev/null 2>&-", 2, ""),
        ("PYTHONIOENCODING=ascii repro tolerances", 0, ""),
        ("LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 repro tolerances", 0, ""),
    ],
)  # fmt: skip
def test_exit_codes_of_real_processes(command, code, said):
    process = start(command)
    assert (process.returncode, process.stderr) == (code, said)


def test_a_closed_stream_is_not_taken_by_a_file_that_is_opened(tmp_path):
    """Else what is printed is written into it."""
    process = start(f"repro verify --results {tmp_path} --junit {tmp_path}/out.xml >&- 2>&-")
    assert process.returncode == 2
    assert (tmp_path / "out.xml").read_text().endswith("</testsuites>\n")


@pytest.mark.parametrize("delay", [0.08, 0.12, 0.18, 0.25, 0.3])
def test_ctrl_c_while_modules_are_imported_is_no_traceback(delay):
    """The interpreter's own start, about 50 ms, is not ours: the signal comes when the first module is imported."""
    program = (
        "import sys, threading, os, signal, time\n"
        "import repro.__main__\n"
        "def interrupt():\n"
        "    while signal.getsignal(signal.SIGINT) is signal.default_int_handler:\n"  # `main` has not begun
        "        pass\n"
        f"    time.sleep({delay} - 0.08)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "threading.Thread(target=interrupt).start()\n"
        "sys.argv = ['repro', 'explain', '2/a/+1 GC']\n"
        "repro.__main__.main()\n"
        "time.sleep(1)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in a background
    )  # fmt: skip
    assert "Traceback" not in process.stderr
    assert process.returncode == 130


def test_ctrl_c_is_ignored_where_the_shell_said_so():
    """As a shell does for what runs in the background."""
    process = subprocess.Popen(
        [sys.executable, "-m", "repro", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )  # fmt: skip
    threading.Timer(0.1, lambda: process.send_signal(signal.SIGINT)).start()
    time.sleep(0.1)
    _, said = process.communicate(timeout=120)
    assert (process.returncode, said) == (0, b"")


def test_what_a_users_file_prints_is_not_in_the_json(tmp_path):
    """When it is imported, when it builds, in its forward pass, from C, from another process, and at the end."""
    (tmp_path / "net.py").write_text(
        "import atexit, ctypes, os, subprocess\n"
        "from torch import nn\n"
        "print('noise')\n"
        "ctypes.CDLL(None).printf(b'noise\\n')\n"
        "atexit.register(print, 'noise')\n"
        "class Net(nn.Conv2d):\n"
        "    def forward(self, x):\n"
        "        print('noise')\n"
        "        return super().forward(x)\n"
        "def make():\n"
        "    os.write(1, b'noise\\n')\n"
        "    subprocess.run(['echo', 'noise'])\n"
        "    return Net(3, 4, 1)\n"
    )
    process = start(f"repro complexity --model {tmp_path}/net.py:make --input 1x3x8x8 --json")
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)["inputs"] == [[1, 3, 8, 8]]
    assert "noise" not in process.stdout
    assert process.stderr.count("noise") >= 6
