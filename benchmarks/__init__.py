"""Benchmarks: each a ratio against a peer, measured in one run on one machine."""

import os
from pathlib import Path

STARTER = Path(__file__).resolve().parent.parent / "training" / "starter" / "sft"

# Before the libraries load, which read these once: nothing from the network, and threads that wait
# without spinning, as cores may be shared.
for _name, _value in {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "TRL_EXPERIMENTAL_SILENCE": "1",
}.items():
    os.environ.setdefault(_name, _value)
