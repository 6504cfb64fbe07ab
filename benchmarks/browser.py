"""A headless Chromium, driven over its own protocol (CDP) with the websocket client that is here anyway.

Used by the page's benchmark and by its tests. No driver program and no package of its own: a page is loaded, keys are
pressed, an expression is evaluated, a picture is taken, and that is all that is needed.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any, Self

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome")
START_S, ANSWER_S = 30.0, 20.0


def chromium() -> str | None:
    """Where it is, None where it is not."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """`async with Browser(path) as browser`; one tab. errors: what the page has complained of, at most 100 lines."""

    def __init__(self, path: str, *, wide: int = 1280, high: int = 900, dark: bool = False) -> None:
        self.errors: deque[str] = deque(maxlen=100)
        self._path = path
        self._size = (wide, high)
        self._dark = dark
        self._number = 0
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._waiting: list[tuple[str, asyncio.Future[Any]]] = []

    async def __aenter__(self) -> Self:
        """Start it and open a tab."""
        self._folder = tempfile.mkdtemp(prefix="graft-browser-")
        arguments = [
            self._path, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-extensions", "--disable-background-networking", "--hide-scrollbars", "--remote-debugging-port=0",
            f"--user-data-dir={self._folder}", "about:blank",
        ]  # fmt: skip
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = await asyncio.to_thread(lambda: subprocess.Popen(arguments, **quiet))
        self._session = aiohttp.ClientSession()
        try:
            port = await self._port()
            async with self._session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                tab = next(one for one in await answer.json() if one["type"] == "page")
            self._socket = await self._session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=1 << 26)
            self._reader = asyncio.create_task(self._read())
            for domain in ("Page", "Runtime", "Log", "Network"):
                await self.call(f"{domain}.enable")
            await self.resize(*self._size)
            await self.dark(is_dark=self._dark)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """End it."""
        if hasattr(self, "_reader"):
            self._reader.cancel()
            await self._socket.close()
        await self._session.close()
        self._process.terminate()
        try:
            await asyncio.to_thread(self._process.wait, 5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
        shutil.rmtree(self._folder, ignore_errors=True)

    async def call(self, method: str, **params: Any) -> Any:
        """One request of the protocol."""
        self._number += 1
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers[self._number] = done
        await self._socket.send_str(json.dumps({"id": self._number, "method": method, "params": params}))
        return await asyncio.wait_for(done, ANSWER_S)

    async def goto(self, url: str) -> None:
        """Load a page and wait for it."""
        loaded: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(("Page.loadEventFired", loaded))
        await self.call("Page.navigate", url=url)
        await asyncio.wait_for(loaded, ANSWER_S)

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript; RuntimeError if it throws."""
        found = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"]))
        return found["result"].get("value")

    async def until(self, expression: str, *, timeout_s: float = 10.0) -> None:
        """Wait until an expression is true. TimeoutError names it and what the page shows."""
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s:
            if await self.evaluate(f"Boolean({expression})"):
                return
            await asyncio.sleep(0.05)
        text = await self.evaluate("document.body.innerText.slice(0, 1500)")
        raise TimeoutError(f"not within {timeout_s:g} s: {expression}\n{text}\n{list(self.errors)}")

    async def press(self, key: str) -> None:
        """Press a key."""
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        code = {"Enter": 13, "Tab": 9, "Escape": 27}.get(key, ord(key.upper()) if len(key) == 1 else 0)
        params = {"key": key, "windowsVirtualKeyCode": code}
        await self.call("Input.dispatchKeyEvent", type="keyDown", **params, **({"text": text} if text else {}))
        await self.call("Input.dispatchKeyEvent", type="keyUp", **params)

    async def type(self, text: str) -> None:
        """Write into what has the focus."""
        await self.call("Input.insertText", text=text)

    async def resize(self, wide: int, high: int, *, is_phone: bool = False) -> None:
        """Another size of the window."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=wide, height=high, deviceScaleFactor=1, mobile=is_phone
        )

    async def dark(self, *, is_dark: bool) -> None:
        """Light or dark, as the reader's system would say."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def picture(self, path: Path) -> None:
        """The whole page as a PNG."""
        size = await self.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": size[0], "height": min(size[1], 6000), "scale": 1}
        found = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        await asyncio.to_thread(path.write_bytes, base64.b64decode(found["data"]))

    async def _port(self) -> int:
        path = Path(self._folder) / "DevToolsActivePort"
        end_s = time.monotonic() + START_S
        while time.monotonic() < end_s:
            if path.exists() and (text := path.read_text()).count(os.linesep):
                return int(text.split()[0])
            if self._process.poll() is not None:
                break
            await asyncio.sleep(0.05)
        raise RuntimeError(f"{self._path} did not start (status {self._process.poll()})")

    async def _read(self) -> None:
        async for message in self._socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                break
            self._heard(json.loads(message.data))

    def _heard(self, found: dict[str, Any]) -> None:
        if (done := self._answers.pop(found.get("id", -1), None)) is not None and not done.done():
            if "error" in found:
                done.set_exception(RuntimeError(str(found["error"])))
            else:
                done.set_result(found["result"])
            return
        method, params = found.get("method", ""), found.get("params", {})
        for name, waiting in list(self._waiting):
            if name == method and not waiting.done():
                waiting.set_result(params)
                self._waiting.remove((name, waiting))
        if method == "Runtime.exceptionThrown":
            self.errors.append(str(params["exceptionDetails"].get("exception", params["exceptionDetails"]))[:500])
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}"[:500])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.errors.append(str(params["args"])[:500])
