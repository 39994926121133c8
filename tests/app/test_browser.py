"""The explorer in a real browser: what AppTest cannot click."""

import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from benchmarks.simulated_study import simulate
from mfsearch.cli import main
from mfsearch.commands.explore import explore_command
from mfsearch.presets import preset
from tests.analysis.front.test_report import CHROMIUM, FLAGS
from tests.app.explorer import REFERENCE

STUDY = REFERENCE / "fast151"
WRITTEN = 40  # lines of the journal that are there when the page opens
# Where a trial's point is drawn on the screen.
PLACE = """([key, number]) => {
  const plot = document.querySelector(`.st-key-${key} .js-plotly-plot`);
  for (const trace of plot._fullData) {
    const numbers = Array.from(trace.customdata || []);
    const at = numbers.findIndex(each => (typeof each === "object" ? each[0] : each) === number);
    if (at < 0 || trace.hoverinfo === "skip") continue;
    const {xaxis, yaxis} = plot._fullLayout, box = plot.getBoundingClientRect();
    return [box.left + xaxis._offset + xaxis.d2p(trace.x[at]), box.top + yaxis._offset + yaxis.d2p(trace.y[at])];
  }
}"""

# The titles of x axes that reach beyond their figure, of each figure.
CUT = """plots => plots.map(plot => Array.from(plot.querySelectorAll("[class^='g-x'] text"))
  .filter(text => text.getBoundingClientRect().right > plot.getBoundingClientRect().right + 1
    || text.getBoundingClientRect().left < plot.getBoundingClientRect().left - 1)
  .map(text => text.textContent).join())"""

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="chromium is not installed")


@pytest.fixture
def growing(tmp_path: Path) -> tuple[Path, list[bytes]]:
    """A copy of a committed study as it was in the middle of its search, and the lines that are still to come."""
    folder = tmp_path / "results" / "fast151"
    folder.mkdir(parents=True)
    shutil.copy(STUDY / "manifest.json", folder)
    lines = (STUDY / "journal.log").read_bytes().splitlines(keepends=True)
    (folder / "journal.log").write_bytes(b"".join(lines[:WRITTEN]))
    return folder, lines[WRITTEN:]


@contextmanager
def serving(results: Path) -> Iterator[str]:
    """The address of an explorer of these studies, as `mfsearch explore` starts it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = results.parent / "explorer.log"
    with log.open("w") as said:
        command = explore_command(None, results, port)
        server = subprocess.Popen(command, stdout=said, stderr=said, env=os.environ | {"OMP_NUM_THREADS": "1"})
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1)
                break
            except (urllib.error.URLError, OSError):
                assert server.poll() is None, log.read_text()
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        server.wait(20)


def settle(page: Any) -> None:
    """Wait until the page has been drawn for what was last done."""
    page.wait_for_timeout(400)
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=60_000)
    page.wait_for_timeout(300)


def choose_page(page: Any, name: str) -> None:
    page.locator(".st-key-page").get_by_role("radio", name=name, exact=True).click()
    settle(page)


def test_a_person_finds_compares_and_takes_a_network_while_a_search_writes(
    growing: tuple[Path, list[bytes]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from playwright.sync_api import sync_playwright

    complaints: list[str] = []
    requests: set[str] = set()
    folder, to_come = growing
    with serving(folder.parent) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 1600}, accept_downloads=True)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.add(request.url.split("/")[2]))
        page.goto(address)
        page.wait_for_selector(".js-plotly-plot .scatterlayer .points path", timeout=60_000)
        settle(page)

        # A slider cuts the front, and the answer follows.
        answer = page.get_by_test_id("stMarkdown").filter(has_text="top-1").first
        before = answer.inner_text()
        slider = page.locator(".st-key-latency_ms").get_by_role("slider")
        slider.focus()
        for _ in range(60):
            slider.press("ArrowLeft")
        settle(page)
        assert answer.inner_text() != before
        assert "latency_ms=" in page.url

        # A click on a point chooses its trial, and new trials do not move the page.
        x, y = page.evaluate(PLACE, ["figure-madds", 1])
        page.mouse.click(x, y)
        settle(page)
        assert "trial=1" in page.url
        page.get_by_role("heading", name="Trial 1", exact=True).wait_for()
        with (folder / "journal.log").open("ab") as journal:
            journal.writelines(to_come)
        page.get_by_role("button", name="new trials: show").wait_for(timeout=30_000)
        page.get_by_role("heading", name="Trial 1", exact=True).wait_for()
        page.get_by_role("button", name="new trials: show").click()
        settle(page)
        page.get_by_role("heading", name="Trial 1", exact=True).wait_for()

        # Two pinned networks side by side, with a note.
        page.get_by_role("button", name="Pin", exact=True).click()
        settle(page)
        x, y = page.evaluate(PLACE, ["figure-madds", 0])
        page.mouse.click(x, y)
        settle(page)
        page.get_by_role("button", name="Pin", exact=True).click()
        settle(page)
        assert "pins=1%2C0" in page.url
        page.get_by_role("button", name="Look closer").click()
        settle(page)
        assert page.get_by_role("heading", name="Which network?").is_visible()
        text = page.locator("body").inner_text()
        assert "Compare" in text

        # The config that is taken out is read by the command line.
        choose_page(page, "Take")
        with page.expect_download(timeout=60_000) as download:
            page.locator(".st-key-config-1").get_by_role("button").click()
        config = tmp_path / "found.yaml"
        download.value.save_as(config)

        # The link opens the same state.
        link = page.url
        again = browser.new_page(viewport={"width": 1280, "height": 1600})
        again.goto(link)
        again.get_by_role("heading", name="Take it with me").wait_for(timeout=60_000)
        settle(again)
        for number in (1, 0):
            assert again.locator(f".st-key-config-{number}").is_visible()
        choose_page(again, "Budget")
        assert again.get_by_role("heading", name="Trial 0", exact=True).is_visible()
        browser.close()
    assert main(["describe", str(config)]) == 0
    assert preset("mf-52m").arch_id in capsys.readouterr().out
    assert complaints == []
    assert requests == {address.split("/")[2]}


def test_of_thousands_of_trials_any_is_chosen_by_a_click(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    simulate(tmp_path / "results" / "many", 2500, seed=0)
    with serving(tmp_path / "results") as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 1600})
        page.goto(address)
        page.wait_for_selector(".js-plotly-plot .heatmaplayer image", timeout=60_000)
        settle(page)
        # Of those that lie within three pixels, the one that is chosen is the one that was told of.
        number = page.evaluate("""() => {
          const {_fullData} = document.querySelector(".st-key-figure-madds .js-plotly-plot");
          return _fullData.find(trace => trace.type === "scatter" && trace.name === "dominated").customdata[1000][0];
        }""")
        x, y = page.evaluate(PLACE, ["figure-madds", number])
        page.mouse.move(x, y)
        page.wait_for_selector(".st-key-figure-madds .hovertext")
        told = page.locator(".st-key-figure-madds .hovertext").text_content() or ""
        page.mouse.click(x, y)
        settle(page)
        number = int(re.findall(r"trial (\d+)", told)[0])
        page.get_by_role("heading", name=f"Trial {number}", exact=True).wait_for()
        assert f"trial={number}" in page.url

        # A member of the front is what one points at, however many lie beside it.
        number = page.evaluate("""() => {
          const {data} = document.querySelector(".st-key-figure-madds .js-plotly-plot");
          return data.find(trace => trace.name === "published, trained here").customdata[0];
        }""")
        page.mouse.click(*page.evaluate(PLACE, ["figure-madds", number]))
        settle(page)
        page.get_by_role("heading", name=f"Trial {number}", exact=True).wait_for()
        browser.close()


def test_names_that_are_markup_stay_text_on_every_page(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    name = "<img src=x onerror=alert(1)>"
    folder = tmp_path / "results" / name
    folder.mkdir(parents=True)
    manifest = json.loads((STUDY / "manifest.json").read_text())
    manifest |= {"study": name, "data": manifest["data"] | {"name": name}, "command": f"mfsearch run {name}"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    # The study's name, who proposed its networks and why some were rejected, in the ledger as in the manifest.
    journal = (STUDY / "journal.log").read_text()
    for word in ('"fast151"', '"cifar10"', '"gp"', '"random"'):
        journal = journal.replace(word, json.dumps(name))
    (folder / "journal.log").write_text(journal.replace("is over the limit", name))

    seen: list[str] = []
    with serving(folder.parent) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 1600})
        page.on("dialog", lambda dialog: seen.append(dialog.message))
        page.on("pageerror", lambda error: seen.append(str(error)))
        page.goto(f"{address}?trial=34&pins=34,47&note.34={quote(name)}&show=rejected+and+stopped&show=dominated")
        page.get_by_role("heading", name="What can I get for my budget?").wait_for(timeout=60_000)
        settle(page)
        for each in ("Budget", "Network", "Knobs", "Trust", "Search", "Milliseconds", "Take"):
            choose_page(page, each)
            assert page.locator("img[src=x]").count() == 0, each
            assert page.locator('[data-testid="stException"]').count() == 0, each
        assert name in page.locator("body").inner_text()
        browser.close()
    assert seen == []


def test_the_first_figure_is_on_the_first_screen_and_nothing_is_wider_than_a_phone(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    for name in ("reference/fast151", "calibrations"):
        shutil.copytree(REFERENCE.parent / name, tmp_path / "results" / Path(name).name)
    tops, bottoms = [], []
    span = "(e) => [e.getBoundingClientRect().top, e.getBoundingClientRect().bottom]"
    with serving(tmp_path / "results") as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(address)
        for name in ("Budget", "Network", "Trust"):
            page.wait_for_selector(".js-plotly-plot", timeout=60_000)
            choose_page(page, name)
            top, bottom = page.locator(".js-plotly-plot").first.evaluate(span)
            tops.append(top)
            bottoms.append(bottom)
        labels = [page.locator(f".st-key-{key} label").first.evaluate(span)[0] for key in ("study", "page")]
        page.set_viewport_size({"width": 400, "height": 850})
        settle(page)
        wide = page.evaluate("document.documentElement.scrollWidth")
        cut = []
        for name in ("Trust", "Knobs"):
            choose_page(page, name)
            cut += page.locator(".js-plotly-plot").evaluate_all(CUT)
        browser.close()
    assert bottoms[0] <= 900
    assert max(tops) <= 500
    assert abs(labels[0] - labels[1]) <= 1
    assert wide <= 400
    assert cut
    assert not any(cut), cut


def test_nobody_else_gets_in(growing: tuple[Path, list[bytes]]) -> None:
    def upgraded(host: str, origin: str) -> bool:
        """Whether the server opens the channel over which all data goes."""
        key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
        head = f"GET /_stcore/stream HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}"
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(f"{head}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{key}\r\n\r\n".encode())
            return b" 101 " in client.recv(200)

    with serving(growing[0].parent) as address:
        port = int(address.rstrip("/").rpartition(":")[2])
        assert upgraded(f"127.0.0.1:{port}", f"http://127.0.0.1:{port}")
        assert not upgraded(f"127.0.0.1:{port}", "http://evil.example")
        assert not upgraded(f"evil.example:{port}", f"http://evil.example:{port}")  # DNS rebinding
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(urllib.request.Request(address, headers={"Host": f"evil.example:{port}"}))
        with Path("/proc/net/tcp").open() as table:
            bound = [line.split()[1] for line in table if line.split()[1].endswith(f":{port:04X}")]
        assert {place.split(":")[0] for place in bound} == {"0100007F"}
        for path in ("../../../../etc/passwd", "app/static/../explorer.py", "component/../../../../etc/passwd"):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                client.sendall(f"GET /{path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
                answer = b"".join(iter(lambda: client.recv(1 << 16), b""))
            assert b"root:" not in answer
            assert b"import streamlit" not in answer
