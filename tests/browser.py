"""A real browser for tests: headless Chromium, driven through the two pipes of its DevTools protocol.

with Browser() as browser:
    page = browser.open(path)
    page.press('j')
    assert page.run('document.title') == 'A run' and page.problems == []
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

FLAGS = (
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--no-default-browser-check',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--disable-extensions',
    '--hide-scrollbars',
    '--remote-debugging-pipe',
)
TIMEOUT = 180  # seconds for one command, which a page of 10,000 rows needs where other processes have the processor
# What is pressed: key -> (code, number), where they differ from the key itself.
KEYS = {
    'ArrowDown': 40,
    'ArrowUp': 38,
    'ArrowLeft': 37,
    'ArrowRight': 39,
    'Enter': 13,
    'Escape': 27,
    'Home': 36,
    'End': 35,
    'PageDown': 34,
    'PageUp': 33,
    'Tab': 9,
}


def chromium() -> str | None:
    "The browser's program; None where there is none."
    names = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome')
    return os.environ.get('CHROMIUM') or next(filter(None, map(shutil.which, names)), None)


class Browser:
    "A browser of its own, with an empty profile that is thrown away."

    def __enter__(self) -> Browser:
        self._stack = contextlib.ExitStack()
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        child_in, self._out = os.pipe()
        self._in, child_out = os.pipe()
        # Out of the way of 3 and 4, where the browser looks for them.
        child_in, child_out = (fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (child_in, child_out))

        def arrange():
            os.dup2(child_in, 3)
            os.dup2(child_out, 4)

        self.log = Path(folder) / 'log.txt'
        with self.log.open('wb') as log:
            self._process = subprocess.Popen(
                [chromium(), *FLAGS, f'--user-data-dir={folder}/profile'],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=arrange,
                pass_fds=(3, 4),
                start_new_session=True,
            )
        os.close(child_in)
        os.close(child_out)
        self._number, self._rest, self.pages = 0, b'', {}
        return self

    def __exit__(self, *exception) -> None:
        with contextlib.suppress(OSError, AssertionError):
            self.send('Browser.close')
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._out)
        os.close(self._in)
        self._stack.close()

    def _receive(self, until: float) -> dict:
        "The next message."
        while b'\0' not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(0, until - time.monotonic()))
            data = os.read(self._in, 1 << 20) if ready else b''
            assert data, f'The browser does not answer:\n{self.log.read_text(errors="replace")[-2000:]}'
            self._rest += data
        message, _, self._rest = self._rest.partition(b'\0')
        return json.loads(message)

    def _handle(self, message: dict) -> None:
        page = self.pages.get(message.get('sessionId'))
        if page is not None:
            page.heard(message['method'], message['params'])

    def send(self, method: str, session: str | None = None, timeout: float = TIMEOUT, **params) -> dict:
        "Give a command and return its result."
        self._number += 1
        number, until = self._number, time.monotonic() + timeout
        command = dict(id=number, method=method, params=params) | (dict(sessionId=session) if session else {})
        data = memoryview(json.dumps(command).encode() + b'\0')
        while data:
            data = data[os.write(self._out, data) :]
        while True:
            message = self._receive(until)
            if message.get('id') == number:
                assert 'error' not in message, f'{method}: {message["error"]}'
                return message['result']
            if 'method' in message:
                self._handle(message)

    def wait_for(self, page: Page, method: str, timeout: float = TIMEOUT) -> None:
        "Wait until the page was told of an event."
        until = time.monotonic() + timeout
        while method not in page.events:
            self._handle(self._receive(until))

    def open(self, path: Path, width: int = 1280, height: int = 800, dark: bool = False, phone: bool = False) -> Page:
        "Open a file and wait until it is loaded."
        target = self.send('Target.createTarget', url='about:blank')['targetId']
        session = self.send('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        page = self.pages[session] = Page(self, session, target)
        for domain in ('Page', 'Runtime', 'Log', 'Network', 'Audits'):
            page.send(f'{domain}.enable')
        page.send('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=phone)
        page.send(
            'Emulation.setEmulatedMedia',
            features=[dict(name='prefers-color-scheme', value='dark' if dark else 'light')],
        )
        page.address, page.events = Path(path).resolve().as_uri(), []
        page.problems.clear()
        page.send('Page.navigate', url=page.address)
        self.wait_for(page, 'Page.loadEventFired')
        return page

    def close_pages(self) -> None:
        "Close what is open: pages in the background take memory and time too."
        for page in self.pages.values():
            self.send('Target.closeTarget', targetId=page.target)
        self.pages.clear()


class Page:
    "A page in a browser, and whatever went wrong in it."

    def __init__(self, browser: Browser, session: str, target: str):
        self.browser, self.session, self.target, self.address = browser, session, target, ''
        self.events: list[str] = []
        self.problems: list[str] = []  # console errors, exceptions, dialogs, requests, breaches of the page's policy

    def send(self, method: str, **params) -> dict:
        return self.browser.send(method, self.session, **params)

    def heard(self, method: str, params: dict) -> None:
        "Take note of an event."
        self.events.append(method)
        if method == 'Runtime.exceptionThrown':
            self.problems.append(f'exception: {params["exceptionDetails"]}')
        if method == 'Runtime.consoleAPICalled' and params['type'] in ('error', 'warning', 'assert'):
            self.problems.append(f'console: {params["args"]}')
        if method == 'Log.entryAdded' and params['entry']['level'] in ('error', 'warning'):
            self.problems.append(f'log: {params["entry"]["text"]}')
        if method == 'Audits.issueAdded' and 'ContentSecurityPolicy' in params['issue']['code']:
            self.problems.append(f'policy: {params["issue"]["details"]}')
        if method == 'Page.javascriptDialogOpening':
            self.problems.append(f'dialog: {params["message"]}')
        if method == 'Network.requestWillBeSent' and params['request']['url'] != self.address:
            self.problems.append(f'request: {params["request"]["url"]}')

    def run(self, expression: str):
        "The value of a JavaScript expression, or of the promise that it gives."
        result = self.send('Runtime.evaluate', expression=expression, returnByValue=True, awaitPromise=True)
        assert 'exceptionDetails' not in result, f'{expression}: {result["exceptionDetails"]}'
        return result['result'].get('value')

    def settle(self) -> None:
        "Wait until what was asked for is drawn."
        self.run('new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done())))')

    def press(self, *keys: str) -> None:
        "Press keys one after the other; a letter is typed."
        for key in keys:
            typed = {} if key in KEYS else dict(text=key)
            if key == 'Enter':
                typed = dict(text='\r')
            number = KEYS.get(key, 0)
            self.send('Input.dispatchKeyEvent', type='keyDown', key=key, windowsVirtualKeyCode=number, **typed)
            self.send('Input.dispatchKeyEvent', type='keyUp', key=key, windowsVirtualKeyCode=number)
        self.settle()

    def click(self, selector: str, times: int = 1) -> None:
        "Bring the first element that a selector finds into sight, and click into its middle."
        x, y = self.run(
            f'(() => {{ const found = document.querySelector({json.dumps(selector)}); '
            'found.scrollIntoViewIfNeeded(); const box = found.getBoundingClientRect(); '
            'return [box.x + box.width / 2, box.y + box.height / 2]; })()'
        )
        for count in range(1, times + 1):
            for kind in ('mousePressed', 'mouseReleased'):
                self.send('Input.dispatchMouseEvent', type=kind, x=x, y=y, button='left', clickCount=count)
        self.settle()

    def screenshot(self, path: Path) -> None:
        "Write what is in sight as a PNG."
        self.settle()
        Path(path).write_bytes(base64.b64decode(self.send('Page.captureScreenshot', format='png')['data']))
