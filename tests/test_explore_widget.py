"""The live page in a notebook: a widget whose questions the kernel answers."""

import importlib.util
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from queue import Queue

import nbformat
import pytest

import convscope as cs
from browsing import CHROMIUM, show, watched
from convscope.display import Display, to_display
from convscope.samples import SAMPLES

LAYER, CHANNEL = "features.relu4", 7

# A page that does what a notebook does for a widget.
NOTEBOOK = """<!doctype html><div id="cell"></div><script type="module">
  const { default: widget } = await import(URL.createObjectURL(
    new Blob([await (await fetch("module.js")).text()], { type: "text/javascript" })));
  const heard = [];
  const hear = (messages) => {
    for (const [answer, content] of messages) {
      const buffers = content ? [new DataView(Uint8Array.from(content).buffer)] : [];
      for (const call of heard) call(answer, buffers);
    }
  };
  setInterval(async () => hear(await window.sent()), 100);
  const model = {
    get: () => window.page, on: (_, call) => heard.push(call), off: () => {},
    send: async (question, _, [body]) => {
      await window.asked(question, body ? [...new Uint8Array(body)] : null);
      hear(await window.sent());
    },
  };
  window.page = await (await fetch("page.html")).text();
  widget.render({ model, el: document.querySelector("#cell") });
</script>"""


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "cat.jpg"
    path.write_bytes(SAMPLES[0].content())
    return path


@pytest.fixture(scope="module")
def net() -> cs.Network:
    return cs.load("base")


@pytest.fixture(scope="module")
def player():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as player:
        yield player


def check(frame, net: cs.Network, picture: Path) -> None:
    """Use the page in a frame: choose a unit, move the patch; all as the library finds."""
    frame.wait_for_selector("body[data-ready]", timeout=120_000)
    frame.click(f'#strip [data-layer="{LAYER}"]')
    starts = "words => document.querySelector('#layer-name').textContent.startsWith(words)"
    frame.wait_for_function(starts, arg=LAYER)
    frame.click(f'#grid [data-channel="{CHANNEL}"]')
    display = Display()
    found = cs.project(net, picture, LAYER, [CHANNEL]).shown(0, 0, display)
    expected = to_display(found, display.scale_of(found))
    show(frame, '[data-rule="deconvnet"] canvas', expected)
    frame.focus("#image")
    frame.press("#image", "ArrowRight")
    kept, patch = cs.look(net, picture), round(32 / 7)
    corner = round((32 - patch) / 2)
    best = int(kept.read().probability.argmax())
    value = f"{kept.occlude(corner, corner, patch).probability[best].item():.3f}"
    says = "words => document.querySelector('#classes .value').textContent === words"
    frame.wait_for_function(says, arg=value)
    assert frame.text_content("#error") == ""


def test_a_widget_answers_as_the_library_does(player, net, picture, monkeypatch):
    explore = sys.modules[cs.explore.__module__]
    monkeypatch.setattr(explore, "in_notebook", lambda: True)
    widget = cs.explore(net, picture)
    messages: Queue[tuple[dict, list[int] | None]] = Queue()

    def send(facts: dict, bodies: Sequence[bytes] = ()) -> None:
        messages.put((facts, [*bodies[0]] if bodies else None))

    def asked(question: dict, body: list[int] | None) -> None:
        widget._handle_custom_msg(question, [bytes(body)] if body else [])

    monkeypatch.setattr(widget, "send", send)
    ended = threading.Event()

    def slow(*_: object, progress, **__: object) -> None:
        try:
            for done in range(2000):
                progress(done, 2000)
                time.sleep(0.01)
        finally:
            ended.set()

    monkeypatch.setattr("convscope.explorer.session.attribute", slow)

    files = {"/": NOTEBOOK, "/page.html": widget.page, "/module.js": widget._esm}
    browser = player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
    tab = browser.new_page()
    complaints, _ = watched(tab)
    tab.expose_function("asked", asked)
    tab.expose_function("sent", lambda: [messages.get() for _ in range(messages.qsize())])

    def serve(route, request) -> None:
        path = "/" + request.url.split("/", 3)[3]
        kind = "text/javascript" if path.endswith(".js") else "text/html"
        route.fulfill(body=str(files[path]), content_type=kind)

    tab.route("http://notebook.test/**", serve)
    tab.goto("http://notebook.test/")
    frame = tab.wait_for_selector("iframe").content_frame()
    check(frame, net, picture)
    frame.set_input_files("#file", picture)
    frame.wait_for_function("() => document.querySelectorAll('#pictures button').length === 3")
    assert tab.locator("iframe").bounding_box()["height"] > 600
    frame.select_option("#rule", "smoothgrad")
    frame.get_by_text(re.compile(r"measuring: \d+%")).wait_for()
    before = frame.text_content("#classes .value")
    frame.click("#only")  # is answered meanwhile
    changed = "words => document.querySelector('#classes .value').textContent !== words"
    frame.wait_for_function(changed, arg=before)
    assert not ended.is_set()
    frame.get_by_role("button", name="Stop").click()
    frame.get_by_text("smoothgrad: stopped").wait_for()
    for _ in range(500):  # while the browser goes on: "stop" may still be on its way
        if ended.is_set():
            break
        tab.wait_for_timeout(20)
    assert ended.is_set()
    monkeypatch.setattr(widget, "_handle_custom_msg", lambda *_: None)  # as after a restart
    frame.fill("#factor", "0")
    frame.get_by_text("if it was restarted, run this cell again").wait_for()
    browser.close()
    assert complaints == []


def test_a_mistake_in_a_widget_is_one_sentence(net, picture, monkeypatch):
    monkeypatch.setattr(sys.modules[cs.explore.__module__], "in_notebook", lambda: True)
    widget = cs.explore(net, picture)
    sent: list[dict] = []
    monkeypatch.setattr(widget, "send", lambda facts, bodies=(): sent.append(facts))
    widget._handle_custom_msg({"id": "a-1", "path": "maps", "given": {"image": "9"}}, [])
    assert sent == [{"id": "a-1", "error": "layer is missing"}]


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("jupyterlab"), reason="needs JupyterLab")
def test_a_click_in_jupyterlab_answers(player, net, picture, tmp_path):
    cell = "import convscope as cs\ncs.explore(cs.load('base'), 'cat.jpg')"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, tmp_path / "page.ipynb")
    (tmp_path / "cat.jpg").write_bytes(picture.read_bytes())
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--port", "0", "--allow-root"]
    command += ["--ServerApp.token=", "--ServerApp.password=", f"--notebook-dir={tmp_path}"]
    lab = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        assert lab.stderr is not None
        address = next(
            found[0] for line in lab.stderr if (found := re.search(r"http://localhost:\d+", line))
        )
        browser = player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1400, "height": 1000})
        tab.goto(f"{address}/lab/tree/page.ipynb")
        tab.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=120_000)
        tab.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=120_000)
        prompt = tab.locator(".jp-Notebook .jp-InputPrompt").first
        while prompt.inner_text() == "[ ]:":  # what is run before the kernel listens is lost
            tab.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click()
            tab.keyboard.press("Shift+Enter")
            tab.wait_for_timeout(2000)
        frame = tab.wait_for_selector("iframe[title=convscope]", timeout=120_000).content_frame()
        check(frame, net, picture)
        frame.click("#ask-trust")
        frame.wait_for_selector("#told table", timeout=60_000)
        tab.screenshot(path=tmp_path / "lab.png")
        browser.close()
    finally:
        lab.terminate()
        lab.communicate(timeout=60)
