"""A headless Chromium that tests of pages speak to; without one they are skipped, saying why."""

import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from importlib.resources import files

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu-sandbox", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader", "--remote-debugging-port=0", "--remote-allow-origins=*",
    "--mute-audio", "--disable-background-networking", "--no-first-run",
    "--disable-component-update",
    "--hide-scrollbars", "--disable-dev-shm-usage",
)  # fmt: skip


class Browser:
    """One process, one page; records what the page logs, throws and asks the network for."""

    def __init__(self, program, profile):
        import websocket

        self.profile = profile
        self.process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        port = self._wait(lambda: (profile / "DevToolsActivePort").read_text().split()[0])
        local = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        pages = self._wait(
            lambda: next(
                page
                for page in json.load(local.open(f"http://127.0.0.1:{port}/json"))
                if page["type"] == "page"
            )
        )
        self.socket = websocket.create_connection(pages["webSocketDebuggerUrl"], timeout=60)
        self.numbers = itertools.count(1)
        self.events = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.send("Emulation.setFocusEmulationEnabled", enabled=True)

    @staticmethod
    def _wait(ask, seconds=30):
        end = time.monotonic() + seconds
        while True:
            try:
                return ask()
            except (OSError, IndexError, StopIteration, ValueError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def send(self, method, **params):
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def open(self, page, width=1280, height=900, scripts=True):
        """Load a file; everything of pages before is forgotten."""
        self.send("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.size(width, height)
        self.events.clear()
        self.send("Page.navigate", url=page.resolve().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(json.loads(self.socket.recv()))

    def size(self, width, height):
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip

    def __call__(self, expression):
        """Value of a JavaScript expression; promises are waited for."""
        found = self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, expression, seconds=40):
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self(expression):
            assert time.monotonic() < end, f"never true: {expression}"
            time.sleep(0.05)

    def click(self, x, y):
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            held = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **held)

    def press(self, key):
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, text=key)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key)

    def picture(self, selector):
        """What the screen shows of an element, as base64 of PNG."""
        self("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        x, y, width, height = self(
            "(({left, top, width, height}) => [left + scrollX, top + scrollY, width, height])"
            f"(document.querySelector({selector!r}).getBoundingClientRect())"
        )
        clip = {"x": x, "y": y, "width": width, "height": height, "scale": 0.5}
        return self.send("Page.captureScreenshot", format="png", clip=clip)["data"]

    @property
    def complaints(self):
        """What the page threw, or wrote as an error or warning."""
        self("0")
        found = []
        for event in self.events:
            about = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                found.append(about["exceptionDetails"])
            elif event["method"] == "Runtime.consoleAPICalled" and about["type"] == "error":
                found.append(about["args"])
            elif event["method"] == "Log.entryAdded" and about["entry"]["level"] == "error":
                found.append(about["entry"])
        return found

    @property
    def requests(self):
        """Addresses the page asked for, but itself and what lies inside it."""
        self("0")
        asked = [
            event["params"]["request"]["url"] for event in self.events
            if event["method"] == "Network.requestWillBeSent"
        ]  # fmt: skip
        return [url for url in asked[1:] if not url.startswith(("data:", "blob:"))]

    def close(self):
        self.socket.close()
        self.process.terminate()
        self.process.wait(10)

    def serious_findings(self):
        """What axe-core calls serious or critical on the page: (impact, rule, HTML)."""
        reason = "axe-core-python is not installed (extra test)"
        pytest.importorskip("axe_core_python", reason=reason)
        self(files("axe_core_python").joinpath("axe.min.js").read_text("utf-8") + ";0")
        found = self(
            "axe.run(document, {resultTypes: ['violations']}).then((all) => all.violations"
            ".map((one) => [one.impact, one.id, one.nodes[0].html.slice(0, 200)]))"
        )
        return [one for one in found if one[0] in ("serious", "critical")]


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser on PATH ({', '.join(NAMES)})")
    pytest.importorskip("websocket", reason="websocket-client is not installed (extra test)")
    found = Browser(program, tmp_path_factory.mktemp("browser"))
    yield found
    found.close()
