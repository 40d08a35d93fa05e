"""A DPO step of K completions against TRL's DPOTrainer on all their pairs."""

from __future__ import annotations

from benchmarks.pair_steps import check_equal, dpo_steps, new_ranking
from benchmarks.timing import compare


def main() -> None:
    for k, reach in ((9, 10.0), (4, 3.5)):
        ours, peer = dpo_steps(new_ranking(k))
        check_equal(ours, peer)
        compare(f"dpo_step_k{k}", reach, ours.run, peer.run)


if __name__ == "__main__":
    main()
