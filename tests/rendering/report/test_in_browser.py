"""The report in a real browser, where there is one: Chromium, named by REPRO_BROWSER or found in PATH."""

from __future__ import annotations

import base64
import json
import os
import re
import select
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from places import REFERENCE

from repro.rendering import report

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome-headless-shell")
#: The variable may hold options, too: some builds for containers need `--single-process --no-zygote`.
BROWSER = shlex.split(os.environ.get("REPRO_BROWSER", "")) or [*filter(None, map(shutil.which, NAMES))][:1]

pytestmark = pytest.mark.skipif(
    not BROWSER, reason=f"needs a browser: REPRO_BROWSER names no executable, and PATH has none of {', '.join(NAMES)}"
)

#: Texts whose contrast with what is behind them is below 4.5 (WCAG 2, 1.4.3), with the ratio.
CONTRAST = """(() => {
  const parse = c => c.match(/[\\d.]+/g).map(Number), line = v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => .2126 * line(r) + .7152 * line(g) + .0722 * line(b);
  const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  const bad = [];
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()) || e.closest('title')) continue;
    const style = getComputedStyle(e), a = light(parse(e instanceof SVGElement ? style.fill : style.color)), b = light(behind(e));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) bad.push([e.textContent.slice(0, 40), ratio]);
  }
  return bad; })()"""  # noqa: E501


class Page:
    """The report in a tab, spoken to by the DevTools protocol over two pipes."""

    def __init__(self, path: Path, profile: Path):
        (self._read, theirs_out), (theirs_in, self._write) = os.pipe(), os.pipe()

        def place():  # the protocol reads descriptor 3 and writes 4
            first, second = os.dup(theirs_in), os.dup(theirs_out)
            os.dup2(first, 3)
            os.dup2(second, 4)

        # Without a sandbox: it needs privileges that a container lacks, and the page is ours.
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
        ]
        self._process = subprocess.Popen(
            [*BROWSER, *options],
            preexec_fn=place,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._buffer, self._number, self._session, self.events = b"", 0, None, []
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self._session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self(f"{domain}.enable")
        self.url = path.as_uri()
        self.load()

    def __call__(self, method: str, **parameters) -> dict:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def _next(self) -> dict:
        end = time.monotonic() + 60
        while b"\0" not in self._buffer:
            assert select.select([self._read], [], [], max(0, end - time.monotonic()))[0], "the browser does not answer"
            data = os.read(self._read, 1 << 16)
            assert data, "the browser has ended"
            self._buffer += data
        raw, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(raw)
        if "method" in message:
            self.events.append(message)
        return message

    def load(self) -> None:
        self("Page.navigate", url=self.url)
        while self._next().get("method") != "Page.loadEventFired":
            pass

    def evaluate(self, script: str):
        return self("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def close(self) -> None:
        os.close(self._write)
        os.close(self._read)
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    directory = tmp_path_factory.mktemp("page")
    (directory / "report.html").write_text(report.render(REFERENCE), encoding="utf-8")
    page = Page(directory / "report.html", directory / "profile")
    yield page
    page.close()


def resized(page: Page, width: int) -> None:
    page("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 500)


def test_no_console_message_and_no_request_but_the_page(page):
    methods = [event["method"] for event in page.events]
    assert not {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"} & set(methods)
    sent = [e["params"]["request"]["url"] for e in page.events if e["method"] == "Network.requestWillBeSent"]
    assert set(sent) <= {page.url, "data:,"}
    assert page.url in sent


@pytest.mark.parametrize("width", [375, 1280])
def test_nothing_overflows_to_the_side(page, width):
    resized(page, width)
    assert page.evaluate("innerWidth") == width
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out(page, scheme):
    page("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    assert page.evaluate(CONTRAST) == []


def test_the_details_of_a_cell_show_on_focus_and_hide(page):
    page.evaluate("document.querySelector('td button').focus({focusVisible: true})")
    shown = "getComputedStyle(document.querySelector('td .about')).display"
    assert page.evaluate(shown) == "block"
    page.evaluate("document.activeElement.blur()")
    assert page.evaluate(shown) == "none"


def test_it_reads_without_scripts_and_prints(page):
    page("Emulation.setScriptExecutionDisabled", value=True)
    page.load()
    page("Emulation.setScriptExecutionDisabled", value=False)
    assert "Mini profile: NOT comparable with the paper" in page.evaluate("document.body.innerText")
    printed = base64.b64decode(page("Page.printToPDF")["data"])
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) > 5
