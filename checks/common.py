"""What the checks share: processes that end with them, the tool, and HTTP."""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
EVENTS = ROOT / "events"
TOOLS = ROOT / ".tools"
CATALOG = ROOT / "target" / "debug" / "catalog"
ARCHITECTURE = "x86_64"
DEMO_KEY = "cat_live_DemoKeyOfAcmeForLocalUseOnly0001"


def lambdas(architecture=ARCHITECTURE):
    """Where the binaries of the functions are."""
    return ROOT / "target" / "lambda" / architecture


class Failed(Exception):
    """A check that did not hold, in words for who runs it."""


def main(check):
    """Runs a check; its failures are told without a trace."""
    try:
        check()
    except Failed as failure:
        sys.exit(f"FAILED: {failure}")


def need(path, how):
    """A file that must be there, and what to do if it is not."""
    if not pathlib.Path(path).exists():
        raise Failed(f"{path} is missing; {how}")


def need_command(name, how):
    if shutil.which(name) is None:
        raise Failed(f"the command {name} is missing; {how}")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(what, condition, seconds=60):
    """Waits until a condition gives something, and returns that."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(OSError, ValueError, KeyError):
            found = condition()
            if found:
                return found
        time.sleep(0.2)
    raise Failed(f"{what} did not come within {seconds} s")


def listens(port):
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


class Processes:
    """Processes that end when the check ends, each with its output in a file."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.running = []

    def __enter__(self):
        return self

    def start(self, name, command, environment=None):
        log = open(self.folder / f"{name}.log", "wb")
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            cwd=ROOT,
        )
        self.running.append(process)
        return process

    def log(self, name):
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def __exit__(self, *_):
        for process in reversed(self.running):
            process.terminate()
        for process in reversed(self.running):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def run(command, environment=None, **options):
    """Runs a command to its end; its output is told when it fails."""
    result = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, **(environment or {})},
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=False,
        **options,
    )
    if result.returncode != 0:
        raise Failed(f"{' '.join(map(str, command))}\n{result.stdout}\n{result.stderr}")
    return result.stdout


def serve(processes, folder, *more):
    """A catalog with the sample data; returns where it is."""
    need(CATALOG, "build it: cargo build --locked -p catalog-cli")
    ready = pathlib.Path(folder) / "ready.json"
    data = pathlib.Path(folder) / "catalog"
    # One of another catalog would tell of that.
    ready.unlink(missing_ok=True)
    command = [CATALOG, "serve", "--sample", "--port", "0", "--ready-file", ready, "--data", data]
    processes.start("serve", [*command, *more])
    return wait_for("the catalog", lambda: json.loads(ready.read_text()))


def http(method, url, body=None, headers=None):
    """Status, headers and body of a reply, whatever the status."""
    request = urllib.request.Request(url, data=body, headers=headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, reply.headers, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()
