"""What an installation costs: start, one loop, and the memory of the web process.

A fresh data folder is served on a free port, the loop goes round once over the HTTP API, and the
server is started again. Prints ``BUDGET case measured limit``.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 300


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        environment = {**os.environ, "DATA_DIR": folder, "PORT": str(port)}
        server, seconds = _serve(environment, port)
        try:
            _tell("first_start", f"{seconds:.1f}s", "300s with the downloads of a clean clone")
            _tell("loop", f"{_loop(environment):.0f}s", "600s")
            _tell("web_memory", f"{_resident_megabytes(port):.0f}MB", "250MB")
        finally:
            _stop(server)
        server, seconds = _serve(environment, port)
        _stop(server)
        _tell("warm_start", f"{seconds:.1f}s", "10s")
    return 0


def _tell(case: str, measured: str, limit: str) -> None:
    print(f"BUDGET {case} measured={measured} limit={limit}", flush=True)


def _serve(environment: dict[str, str], port: int) -> tuple[subprocess.Popen[bytes], float]:
    """The server and the seconds until it served its login page."""
    started = time.monotonic()
    server = subprocess.Popen(
        [sys.executable, "manage.py", "serve"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while time.monotonic() < started + START_SECONDS:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/login/", timeout=5):
                return server, time.monotonic() - started
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise SystemExit("the server did not start")


def _loop(environment: dict[str, str]) -> float:
    started = time.monotonic()
    subprocess.run(
        [sys.executable, "manage.py", "loop", "--rounds", "1"],
        cwd=ROOT,
        env=environment,
        stdout=sys.stderr,
        check=True,
    )
    return time.monotonic() - started


def _resident_megabytes(port: int) -> float:
    """Of the largest web process."""
    listing = subprocess.run(
        ["pgrep", "-f", f"gunicorn.*:{port}"], capture_output=True, text=True, check=True
    )
    sizes = []
    for pid in listing.stdout.split():
        status = Path(f"/proc/{pid}/status").read_text()
        sizes.append(int(status.split("VmRSS:")[1].split()[0]) / 1000)
    return max(sizes)


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.send_signal(signal.SIGTERM)
    server.wait()


if __name__ == "__main__":
    sys.exit(main())
