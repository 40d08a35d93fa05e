"""Benchmarks: each a ratio against a peer, measured in one run on one machine."""

from pathlib import Path

STARTER = Path(__file__).resolve().parent.parent / "training" / "starter" / "sft"
