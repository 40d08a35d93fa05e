"""What an installation costs: start, one loop, and the memory of the web process.

A fresh data folder is served on a free port, the loop goes round once over the HTTP API, and the
server is started again. Prints ``BUDGET case measured limit``.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.server import serving

STARTER = "starter"


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        begun = time.monotonic()
        with serving(folder, model=STARTER) as made:
            _tell(
                "first_start", f"{_since(begun):.1f}s", "300s with the downloads of a clean clone"
            )
            begun = time.monotonic()
            made.manage("loop", "--rounds", "1")
            _tell("loop", f"{_since(begun):.0f}s", "600s")
            _tell("web_memory", f"{_resident_megabytes(made.port):.0f}MB", "250MB")
        begun = time.monotonic()
        with serving(folder, model=STARTER):
            _tell("warm_start", f"{_since(begun):.1f}s", "10s")
    return 0


def _since(begun: float) -> float:
    return time.monotonic() - begun


def _tell(case: str, measured: str, limit: str) -> None:
    print(f"BUDGET {case} measured={measured} limit={limit}", flush=True)


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


if __name__ == "__main__":
    sys.exit(main())
