"""The live page: what it answers is what the library does, and strangers are kept out."""

import json
import re
import signal
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from queue import Queue
from urllib.parse import quote, urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image

import convscope as cs
from browsing import SIZES, watched
from convscope.display import Display, to_display
from convscope.samples import SAMPLES

MARKUP = "<img src=x onerror=alert(1)>.png"
LAYER = "features.relu4"


@dataclass(frozen=True)
class Served:
    """A running explorer: its address with the key, and a client that holds the key."""

    address: str
    client: httpx.Client
    process: subprocess.Popen[str]

    @property
    def root(self) -> str:
        return self.address.partition("?")[0]

    def picture(self, path: str, **given: object) -> tuple[dict, np.ndarray]:
        answer = self.client.get(path, params=given)
        assert answer.status_code == 200, answer.text
        length = int.from_bytes(answer.content[:4], "big")
        png = Image.open(BytesIO(answer.content[4 + length :]))
        return json.loads(answer.content[4 : 4 + length]), np.asarray(png.convert("RGB"))


@pytest.fixture(scope="module")
def net() -> cs.Network:
    return cs.load("base")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / "cat.jpg", folder / MARKUP]
    paths[0].write_bytes(SAMPLES[0].content())
    Image.new("RGB", (40, 40), (200, 40, 30)).save(paths[1])
    return paths


@pytest.fixture(scope="module")
def served(pictures) -> Iterator[Served]:
    command = [sys.executable, "-m", "convscope", "explore", "base", *pictures, "--port", "0"]
    with subprocess.Popen(
        [*command, "--no-browser"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{32}", address)
        with httpx.Client(base_url=address.partition("?")[0], timeout=60) as client:
            assert client.get(address).status_code == 303
            yield Served(address, client, process)
            given = {"image": 0, "places": ";".join(["3,3"] * 64), "patch": 9}
            with ThreadPoolExecutor() as pool:
                asked = [pool.submit(client.get, "reading", params=given) for _ in range(8)]
                asked[0].result()
                process.send_signal(signal.SIGINT)  # while others are answered
                assert process.wait(20) == 130
                for answer in asked:  # one that had yet to connect found nobody there
                    late = isinstance(answer.exception(), httpx.ConnectError)
                    assert late or answer.result().status_code in {200, 204}
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_a_projection_on_the_page_is_that_of_project(served, net, pictures):
    for rule in ("deconvnet", "guided", "gradient"):
        for channel in range(0, 50, 10):
            expected = cs.project(net, pictures[:1], LAYER, [channel], rule=rule)
            shown = expected.shown(0, 0, Display())
            facts, painted = served.picture(
                "unit", image=0, layer=LAYER, channel=channel, rule=rule
            )
            assert facts["position"] == expected.position[0, 0].tolist()
            assert facts["window"] == expected.window[0, 0].tolist()
            assert facts["activation"] == expected.activation.item()
            assert (painted == to_display(shown, Display().scale_of(shown))).all()


def test_a_patch_on_the_page_is_that_of_occlude(served, net, pictures):
    whole = cs.occlude(net, pictures[0], 8, 6, layer=LAYER, channel=7, target=[3, 5])
    corners = whole.positions[..., :2].reshape(-1, 2).tolist()[:10]
    places = ";".join(f"{row},{column}" for row, column in corners)
    found = served.client.get("reading", params={
        "image": 0, "places": places, "patch": 8, "classes": "3,5", "layer": LAYER, "channel": 7,
    }).json()  # fmt: skip
    for place, said in enumerate(found):
        at = divmod(place, whole.positions.shape[1])
        for number in (0, 1):
            own = whole.probability[(number, *at)].item()
            assert said["classes"][number]["value"] == pytest.approx(own, abs=1e-6)
        assert said["activation"] == pytest.approx(whole.activation[at].item(), rel=1e-5, abs=1e-5)
        assert said["predicted"] == whole.predicted[at]


def test_a_changed_channel_is_that_of_the_look(served, net, pictures):
    kept = cs.look(net, pictures[0])
    given = {"image": 0, "layer": LAYER, "scale": "3:0;7:2.5", "classes": "3"}
    said = served.client.get("intervention", params=given).json()
    expected = kept.with_units(LAYER, scale={3: 0.0, 7: 2.5}).probability[3].item()
    assert said["classes"] == [{"number": 3, "name": "cat", "value": expected}]
    only = served.client.get("intervention", params={"image": 0, "layer": LAYER, "only": "3,7"})
    expected = kept.with_units(LAYER, only=[3, 7]).probability
    assert only.json()["classes"][0]["value"] == expected.max().item()


def test_the_maps_on_the_page_are_those_of_the_network(served, net, pictures):
    maps = cs.look(net, pictures[0]).maps(LAYER)
    facts, sheet = served.picture("maps", image=0, layer=LAYER)
    height, width = facts["tile"]
    assert facts["peaks"] == [float(own.max()) for own in maps]
    for channel in (0, 5, len(maps) - 1):
        row, column = divmod(channel, facts["columns"])
        tile = sheet[row * height : (row + 1) * height, column * width : (column + 1) * width, 0]
        own = maps[channel] / maps[channel].max().clamp(min=1e-30)
        assert np.abs(tile - 255 * own.numpy()).max() <= 0.5 + 1e-4


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1:1"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Cookie": ""}, 403),
        ({"Cookie": "guess"}, 403),
    ],
)
@pytest.mark.parametrize(
    "path", ["", "state", "events", "assets/explore.js", "maps?image=0&layer=x"]
)
def test_strangers_are_refused(served, headers, status, path):
    ((name, token),) = served.client.cookies.items()
    headers = {**headers, "Cookie": f"{name}={headers.get('Cookie', token)}"}
    answer = httpx.get(served.root + path, headers=headers)
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}


def test_a_wrong_key_is_no_key(served):
    answer = httpx.get(served.root, params={"token": "guess"})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_the_page_may_load_from_nowhere_else(served):
    for path in ("", "state", "assets/explore.css", "nothing"):
        answer = served.client.get(path)
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert "http" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    cookie = served.client.get(served.address).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def bomb(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes that says it is huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return len(data).to_bytes(4, "big") + kind + data + check.to_bytes(4, "big")

    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [
            chunk(b"IHDR", size + b"\x08\x02\x00\x00\x00"),
            chunk(b"IDAT", zlib.compress(bytes(1000))),
            chunk(b"IEND", b""),
        ]
    )


def test_uploads_are_bounded(served):
    before = len(served.client.get("state").json()["images"])
    sizes = [(60_000, 60_000), (10_000, 5_000)]
    for content in [*(bomb(*size) for size in sizes), b"no picture", b""]:
        answer = served.client.post("picture", content=content)
        assert answer.status_code == 400
        assert "pixels" in answer.json()["error"] or "not an image" in answer.json()["error"]

    def endless() -> Iterator[bytes]:
        for _ in range(200):
            yield bytes(2**20)

    with suppress(httpx.WriteError):  # the server may hang up once it has heard enough
        assert served.client.post("picture", content=endless()).status_code == 413
    assert len(served.client.get("state").json()["images"]) == before


@pytest.mark.parametrize(
    ("what", "given", "content"),
    [
        ("stroke", {"image": 0, "fill": "gray", "patch": 5}, bytes(32 * 32 - 1)),
        ("stroke", {"image": 0, "fill": "gray", "patch": 5}, bytes(32 * 32)),
        ("stroke", {"image": 999, "fill": "gray", "patch": 5}, b"1" * 32 * 32),
        ("stroke", {"image": 0, "fill": "../x", "patch": 5}, b"1" * 32 * 32),
        ("stroke", {"image": 0, "fill": "gray", "patch": 0}, b"1" * 32 * 32),
        ("frame", {}, bytes(32 * 32 * 3)),
        ("frame", {"image": 0}, bytes(32 * 32 * 4)),  # what was given is not replaced
        ("frame", {"image": 999}, bytes(32 * 32 * 4)),
    ],
)
def test_a_wrong_stroke_or_frame_is_refused(served, what, given, content):
    answer = served.client.post(what, params=given, content=content)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_of_images_made_on_the_page_the_newest_are_kept(served):
    given = {"image": 0, "fill": "black", "patch": 5}
    made = [
        served.client.post("stroke", params=given, content=b"1" * 32 * 32).json()["image"]
        for _ in range(66)
    ]
    assert served.client.get("picture", params={"image": made[-1]}).status_code == 200
    gone = served.client.get("picture", params={"image": made[0]})
    assert gone.status_code == 400
    assert "no longer kept" in gone.json()["error"]
    titles = served.client.get("state").json()["images"]
    assert {titles[number] for number in made} == {None}


def test_a_picture_that_is_dropped_is_read_as_a_file_is(served, net, tmp_path):
    sample = SAMPLES[3].content()
    answer = served.client.post("picture", content=sample, params={"title": "my cup"})
    number = answer.json()["image"]
    assert served.client.get("state").json()["images"][number] == "my cup"
    path = tmp_path / SAMPLES[3].file
    path.write_bytes(sample)
    said = served.client.get("reading", params={"image": number}).json()[0]
    expected = cs.look(net, path).read().probability
    assert said["classes"][0]["value"] == expected.max().item()


PATHS = ["../../../../etc/passwd", "..%2f..%2fetc%2fpasswd", "/etc/passwd", "C:\\boot.ini", "\x00"]


@pytest.mark.parametrize("path", PATHS)
def test_no_parameter_is_a_path(served, path):
    for query in (
        {"layer": path}, {"image": path}, {"channel": path}, {"rule": path}, {"row": path},
        {"checkpoint": path},
    ):  # fmt: skip
        given = {"image": 0, "layer": LAYER, "channel": 0, **query}
        answer = served.client.get("unit", params=given)
        assert answer.status_code == 400
        assert "root:" not in answer.text
    for query in ({"fill": path}, {"patch": path}, {"places": path}, {"classes": path}):
        given = {"image": 0, "places": "0,0", **query}
        assert served.client.get("reading", params=given).status_code == 400
    assert served.client.get(f"assets/{quote(path)}").status_code == 404


@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("maps", {"image": 999, "layer": LAYER}),
        ("maps", {"image": -1, "layer": LAYER}),
        ("maps", {"image": 0}),
        ("unit", {"image": 0, "layer": LAYER, "channel": 10**8}),
        ("unit", {"image": 0, "layer": LAYER, "channel": "1e3"}),
        ("unit", {"image": 0, "layer": LAYER, "channel": 0, "row": 99, "column": 0}),
        ("reading", {"image": 0, "places": "99,99"}),
        ("reading", {"image": 0, "places": "0,0", "patch": 0}),
        ("reading", {"image": 0, "classes": "10"}),
        ("reading", {"image": 0, "places": "0,0;" * 65 + "0,0"}),
        ("intervention", {"image": 0, "layer": LAYER, "scale": "a:b"}),
        ("intervention", {"image": 0, "layer": LAYER, "only": "-1"}),
        ("state", {"network": 1}),
        ("picture", {"image": 0, "network": "-1"}),
    ],
)
def test_a_wrong_question_gets_one_sentence(served, path, given):
    answer = served.client.get(path, params=given)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_of_many_at_once_none_brings_it_down(served):
    statuses = []

    def ask(number: int) -> None:
        given = {"image": 0, "layer": LAYER, "channel": number % 64}
        answer = httpx.get(
            served.root + "unit", params=given, cookies=served.client.cookies, timeout=60
        )
        statuses.append(answer.status_code)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= 64
    assert served.client.get("state").status_code == 200


def test_channels_are_sorted_by_what_they_typically_reach(served, net, pictures):
    facts, _ = served.picture("maps", image=0, layer=LAYER)
    best = cs.project(net, pictures[0], LAYER, top=3, rank="relative").channels[0].tolist()
    order = sorted(range(len(facts["peaks"])), key=lambda n: -facts["relative"][n])
    assert order[:3] == best


def test_a_newer_question_of_a_kind_overtakes_older_ones(served):
    given = {"image": 0, "kind": "drag", "places": "0,0"}
    assert served.client.get("reading", params={**given, "turn": 5}).status_code == 200
    old = served.client.get("reading", params={**given, "turn": 4})
    assert old.status_code == 204
    assert served.client.get("reading", params={**given, "turn": 6}).status_code == 200


def test_a_client_that_leaves_does_no_harm(served):
    given = {"image": 0, "places": ";".join(["3,3"] * 64), "patch": 9}
    address, cookies = served.root + "reading", served.client.cookies
    for _ in range(3):
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(address, params=given, cookies=cookies, timeout=0.001)
    assert served.client.get("state").status_code == 200


def test_a_busy_port_gives_the_next_free_one(served, net, pictures):
    busy, ready = urlsplit(served.address).port, Queue()
    given = {"port": busy, "browser": False, "ready": ready.put}
    threading.Thread(target=lambda: cs.explore(net, pictures, **given), daemon=True).start()
    address = ready.get(timeout=60)
    assert busy < urlsplit(address).port <= busy + 50
    with httpx.Client(cookies=served.client.cookies) as visitor:  # of both, as one browser
        assert visitor.get(address).status_code == 303
        assert visitor.get(f"{served.root}state").status_code == 200


@pytest.fixture(params=SIZES)
def page(request, browser, served):
    width, colours = request.param
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=colours)
    tab = context.new_page()
    complaints, requests = watched(tab)
    tab.goto(served.address)
    tab.wait_for_selector("body[data-ready]")
    yield tab
    assert tab.text_content("#error") == ""
    assert complaints == []
    assert [url for url in requests if not url.startswith((served.root, "blob:"))] == []
    assert tab.evaluate("() => document.documentElement.scrollWidth") <= width
    context.close()


def named(page, words: str) -> None:
    """Wait until the channel that is shown is called so."""
    is_named = "words => document.querySelector('#unit-name').textContent === words"
    page.wait_for_function(is_named, arg=words)


def choose(page, layer: str, channel: int) -> None:
    page.click(f'#strip [data-layer="{layer}"]')
    page.wait_for_selector(f'#strip [data-layer="{layer}"][aria-selected="true"]')
    page.click(f'#grid [data-channel="{channel}"]')
    named(page, f"{layer}, channel {channel}")


def bars(page) -> dict[str, float]:
    names = page.locator("#classes .name").all_text_contents()
    values = page.locator("#classes .value").all_text_contents()
    return dict(zip(names, map(float, values), strict=True))


def until(page, expected: dict[str, float]) -> None:
    """Wait until the bars say what is expected, to their three digits."""
    words = {name: f"{value:.3f}" for name, value in expected.items()}
    page.wait_for_function(
        """words => Object.entries(words).every(([name, value]) =>
            [...document.querySelectorAll('#classes > div')].some(line =>
                line.querySelector('.name').textContent === name &&
                line.querySelector('.value').textContent === value))""",
        arg=words,
        timeout=20_000,
    )


def shown(net, clean, reading) -> dict[str, float]:
    best = clean.probability.topk(5).indices.tolist()
    return {net.classes[n]: reading.probability[n].item() for n in best}


@pytest.mark.parametrize("page", [(1280, "light"), (390, "dark")], indirect=True)
def test_the_page_shows_what_the_library_finds(page, net, pictures):
    kept = cs.look(net, pictures[0])
    clean = kept.read()
    until(page, shown(net, clean, clean))
    choose(page, LAYER, 7)
    found = kept.project(LAYER, 7)
    row, column = found.position[0, 0].tolist()
    noted = "words => document.querySelector('#unit-note').textContent.includes(words)"
    page.wait_for_function(noted, arg=f"row {row}, column {column}")
    page.wait_for_function("() => document.querySelectorAll('#rules canvas').length === 3")
    display = Display()
    values = found.shown(0, 0, display)
    expected = to_display(values, display.scale_of(values))
    page.wait_for_function("() => document.querySelector('#rules canvas')?.width > 100")
    drawn = page.evaluate("""() => {
        const canvas = document.querySelector('[data-rule="deconvnet"] canvas');
        const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        return [canvas.width, canvas.height, [...pixels]];
    }""")
    times = drawn[0] // expected.shape[1]
    pixels = np.array(drawn[2], np.uint8).reshape(drawn[1], drawn[0], 4)[::times, ::times, :3]
    assert (pixels == expected).all()


def test_keys_move_the_patch_and_the_answer_with_it(page, net, pictures):
    kept = cs.look(net, pictures[0])
    clean = kept.read()
    page.focus("#image")
    page.keyboard.press("ArrowRight")  # it appears in the middle
    page.keyboard.press("ArrowUp")
    page.wait_for_function("() => location.hash.includes('top=')")
    place = dict(part.split("=") for part in page.url.partition("#")[2].split("&"))
    top, left = int(place["top"]), int(place["left"])
    until(page, shown(net, clean, kept.occlude(top, left)))
    reached = page.evaluate("""() => {
        const heat = document.querySelector('#heat');
        return heat.getContext('2d').getImageData(0, 0, heat.width, heat.height).data.some(v => v);
    }""")
    assert reached
    page.keyboard.press("Escape")
    until(page, shown(net, clean, clean))


def test_the_mouse_drags_the_patch(page, net, pictures):
    kept = cs.look(net, pictures[0])
    box = page.locator("#image").bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    middle = 16 - 5 // 2
    page.wait_for_function("() => location.hash.match(/top=1[34]/)")
    place = dict(part.split("=") for part in page.url.partition("#")[2].split("&"))
    assert abs(int(place["top"]) - middle) <= 1
    said = kept.occlude(int(place["top"]), int(place["left"]))
    until(page, shown(net, kept.read(), said))


def test_a_channel_is_switched_off_and_kept_alone(page, net, pictures):
    kept = cs.look(net, pictures[0])
    clean = kept.read()
    choose(page, LAYER, 7)
    page.fill("#factor", "0")
    until(page, shown(net, clean, kept.with_units(LAYER, off=[7])))
    assert "7 off" in page.text_content("#changed")
    page.fill("#factor", "1")
    page.click("#only")
    until(page, shown(net, clean, kept.with_units(LAYER, only=[7])))
    page.click("#undo")
    until(page, shown(net, clean, clean))
    page.click("#only")
    until(page, shown(net, clean, kept.with_units(LAYER, only=[7])))
    page.focus("#image")
    page.keyboard.press("ArrowRight")  # the patch is laid on the network as it is
    until(page, shown(net, clean, kept.occlude(14, 14)))
    assert page.text_content("#changed") == ""


def test_the_heat_map_fills_itself_in(page, net, pictures):
    page.check("#complete")
    page.wait_for_function(
        """() => {
            const heat = document.querySelector('#heat');
            const data = heat.getContext('2d').getImageData(0, 0, heat.width, heat.height).data;
            let covered = 0;
            for (let place = 3; place < data.length; place += 4) covered += data[place] > 0;
            return covered > 0.6 * heat.width * heat.height;
        }""",
        timeout=30_000,
    )


def test_an_address_brings_everything_back_and_so_does_the_back_button(page, net, pictures):
    choose(page, LAYER, 7)
    choose(page, "features.relu3", 4)
    page.go_back()  # the layer alone
    page.go_back()
    named(page, f"{LAYER}, channel 7")
    assert LAYER in page.text_content("#layer-name")
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    named(page, f"{LAYER}, channel 7")


def test_a_layer_and_a_channel_are_reached_by_keys_alone(page):
    page.focus('#strip [tabindex="0"]')
    before = page.evaluate("document.activeElement.dataset.layer")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_function(
        "before => document.querySelector('#strip [aria-selected=true]').dataset.layer !== before",
        arg=before,
    )
    shown = "before => !document.querySelector('#layer-name').textContent.startsWith(before)"
    page.wait_for_function(shown, arg=before)
    page.focus('#grid [tabindex="0"]')
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector("#unit:not([hidden])")
    # Keys move on from the peak, which is known once the first projection is there.
    page.wait_for_function("() => document.querySelector('#unit-note').textContent")
    page.focus("#map")
    page.keyboard.press("ArrowDown")
    page.wait_for_function("() => location.hash.includes('row=')")


def test_names_are_text_and_channels_are_found(page):
    assert MARKUP in page.locator("#pictures button").all_text_contents()
    page.get_by_role("button", name=MARKUP).click()
    page.wait_for_function("() => location.hash.includes('image=1')")
    assert page.locator("#pictures img").count() == 0
    page.fill("#find", "12")
    labels = page.locator("#grid .name").all_text_contents()
    assert labels
    assert all(label.startswith("12") for label in labels)


class Proxy(BaseHTTPRequestHandler):
    """What a notebook server does for a port: `/proxy/PORT/...` is that port's `/...`."""

    def do_GET(self) -> None:
        _, _, port, rest = self.path.split("/", 3)
        headers = {"Cookie": self.headers.get("Cookie", "")}
        answer = httpx.get(f"http://127.0.0.1:{port}/{rest}", headers=headers, timeout=60)
        self.send_response(answer.status_code)
        for name in ("content-type", "set-cookie", "location", "content-security-policy"):
            if name in answer.headers:
                self.send_header(name, answer.headers[name])
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, *_: object) -> None:
        pass


def test_the_page_works_behind_a_proxy(browser, served):
    address = urlsplit(served.address)
    complaints = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        tab = browser.new_page()
        tab.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        root = f"http://127.0.0.1:{proxy.server_port}/proxy/{address.port}/"
        tab.goto(f"{root}?{address.query}")
        tab.wait_for_selector("body[data-ready]")
        assert tab.url.startswith(root)
        choose(tab, LAYER, 7)
        tab.wait_for_function("() => document.querySelector('#rules canvas')?.width > 100")
        tab.close()
        proxy.shutdown()
    assert complaints == []


@pytest.mark.slow
def test_a_thousand_questions_leave_no_memory_behind(served):
    def resident() -> int:
        status = Path(f"/proc/{served.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1])

    def ask(count: int) -> None:
        for number in range(count):
            given = {"image": 0, "layer": LAYER, "channel": number % 64}
            served.client.get("unit", params=given)
            place = f"{number % 25},{number * 7 % 25}"
            served.client.get("reading", params={"image": 0, "places": place, "patch": 6})

    ask(50)
    early = resident()
    ask(450)
    assert resident() <= 1.05 * early
