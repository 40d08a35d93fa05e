"""A reward-model step of K completions against TRL's RewardTrainer on all their pairs."""

from __future__ import annotations

from benchmarks.pair_steps import check_equal, new_ranking, reward_steps
from benchmarks.timing import compare


def main() -> None:
    for k, reach in ((9, 15.0), (4, 4.5)):
        ours, peer = reward_steps(new_ranking(k))
        check_equal(ours, peer)
        compare(f"reward_step_k{k}", reach, ours.run, peer.run)


if __name__ == "__main__":
    main()
