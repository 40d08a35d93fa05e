"""How likely an answer is, as a part of its score: trained, kept, read back."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from tests.rlhf.conftest import byte_tokenizer, events_of, metrics_of, prefers_a, tiny_config
from training.rlhf import language, ppo, reward
from training.rlhf.errors import TrainingError
from training.rlhf.models import load_policy, load_reward_model, read_card
from training.rlhf.rendering import Rendered
from training.rlhf.scoring import Scorer, raw_head_scores

PARAMS = {"epochs": 4, "learning_rate": 3e-3, "batch_prompts": 4, "likelihood": 2.0}
TEXTS = [Rendered([1, 3, 80 + n % 2, 4], [81, 70 + n, 2][: 1 + n]) for n in range(4)]


@pytest.fixture(params=[False, True], ids=["untied", "tied"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A language model whose head is, or is not, its embedding."""
    torch.manual_seed(0)
    folder = tmp_path / "start"
    LlamaForCausalLM(tiny_config(tie_word_embeddings=request.param)).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return str(folder)


def trained(make_job: Any, start: str, **options: Any) -> Path:
    job = make_job("reward", {"comparisons": prefers_a(12)}, PARAMS | options, model=start)
    reward.run(job)
    assert metrics_of(job)["train_accuracy"] > 0.8
    folder: Path = job.folder.artifacts / "model"
    return folder


def mean_logprob(policy: Any, text: Rendered) -> float:
    """By the library's own loss."""
    labels = torch.tensor([[-100] * len(text.prompt_ids) + text.completion_ids])
    return -float(policy(torch.tensor([text.ids]), labels=labels).loss)


@pytest.mark.parametrize("options", [{}, {"heads": 2}, {"lora_rank": 4}, {"lm_coef": 0.5}])
@torch.no_grad()
def test_a_score_is_the_heads_and_the_likelihood(options: Any, make_job: Any, start: str) -> None:
    with torch.enable_grad():
        folder = trained(make_job, start, **options)
    head = load_reward_model(str(folder))
    policy = load_policy(start)
    policy.model = head.base_model
    tied = policy.config.tie_word_embeddings
    kept = folder / language.FILE
    assert kept.is_file() != tied
    weight = head.get_input_embeddings().weight if tied else load_file(kept)["weight"]
    policy.lm_head.weight = torch.nn.Parameter(weight)
    likelihood = torch.tensor([[mean_logprob(policy, text)] for text in TEXTS])
    weights = torch.tensor(read_card(str(folder))["likelihood"])
    raw = raw_head_scores(head, TEXTS, 0) + likelihood * weights
    scorer = Scorer.load(str(folder))
    expected = ((raw - scorer.shifts - scorer.mean) / scorer.std).mean(1)
    assert torch.allclose(scorer.score(TEXTS), expected, atol=1e-4)
    assert likelihood.std() > 0.01


@pytest.mark.parametrize("rank", [0, 4], ids=["whole", "one-body"])
def test_ppo_learns_from_the_scores_that_the_scorer_gives(
    rank: int, make_job: Any, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one body with the policy, too, once the reward model is an adapter on it."""
    folder = trained(make_job, start, lora_rank=rank)
    alone, seen = Scorer.load(str(folder)), []
    score = Scorer.score

    def compared(self: Scorer, texts: Any) -> torch.Tensor:
        found = score(self, texts)
        seen.append((found, score(alone, texts)))
        return found

    monkeypatch.setattr(Scorer, "score", compared)
    prompts = [
        {"prompt": f"p{n}", "author": "", "messages": row["messages"]}
        for n, row in enumerate(prefers_a(4))
    ]
    params = {"steps": 1, "batch_size": 4, "minibatch_size": 4, "max_new_tokens": 4}
    params |= {"lora_rank": rank}
    job = make_job("ppo", {"prompts": prompts}, params, model=start, reward_model=str(folder))
    ppo.run(job)
    assert [e["bodies"] for e in events_of(job, "models")] == [1 if rank else 4]
    assert seen
    for found, expected in seen:
        assert torch.allclose(found, expected, atol=1e-3)


def test_a_lost_head_is_told(make_job: Any, start: str) -> None:
    folder = trained(make_job, start)
    head = folder / language.FILE
    lost = head.is_file()
    head.unlink(missing_ok=True)
    # Where the embedding is the head there is nothing to lose.
    with pytest.raises(TrainingError, match="put back the file") if lost else nullcontext():
        assert len(Scorer.load(str(folder)).score(TEXTS)) == len(TEXTS)


def test_training_does_not_go_on_without_it(make_job: Any, start: str) -> None:
    folder = trained(make_job, start)
    options = {"likelihood": 0.0}
    job = make_job("reward", {"comparisons": prefers_a(4)}, options, model=str(folder), name="on")
    with pytest.raises(TrainingError, match="counts the likelihood"):
        reward.run(job)
