"""``python -m benchmarks.real_comparisons``: reward models on comparisons that nobody here made.

AlpacaEval's instructions, each with nine models' answers and a judge's score of each: trained on
the first 300, tested on the others. Two backbones: the starter model (a decoder), and a small BERT
that begins with random weights and a vocabulary of the training texts (an encoder). Neither has
read English before, so what is to beat is "the longer answer wins".

The data lies in ``../shared/data`` or the folder that PODIUM_REAL_DATA names. ``--seeds 3``,
``--prompts 300``, ``--epochs 1``, ``--backbones …``, ``--out FILE``, ``--keep FOLDER``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from benchmarks import STARTER
from benchmarks.jobs import model_of, new_job, run
from benchmarks.peers import ROOT
from benchmarks.world_data import pairs_of
from training.jobs.events import EventWriter
from training.jobs.folder import JobFolder
from training.rlhf.comparisons import Comparison, load_comparisons
from training.rlhf.job import Job
from training.rlhf.models import context_length, load_renderer, load_reward_model
from training.rlhf.reports import report
from training.rlhf.scoring import raw_scores

DATA = Path(os.environ.get("PODIUM_REAL_DATA", ROOT.parent / "shared" / "data"))
FILE = "alpaca_eval_rankings.jsonl"
TRAINED_ON = 300
MAX_LENGTH = 1024
VOCABULARY = 8000
ENCODER = {
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": MAX_LENGTH,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_comparisons")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=TRAINED_ON, help="of the 300 to train on")
    parser.add_argument("--tested", type=int, help="of the other prompts; all if not given")
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--backbones", nargs="*", default=["decoder", "encoder"])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--keep", type=Path)
    chosen = parser.parse_args()
    rows = [as_comparison(n, json.loads(line)) for n, line in enumerate(_lines())]
    training = rows[:TRAINED_ON][: chosen.prompts]
    tested = rows[TRAINED_ON:][: chosen.tested]
    with tempfile.TemporaryDirectory() as scratch:
        root = chosen.keep or Path(scratch)
        parts = []
        for backbone in chosen.backbones:
            start = STARTER if backbone == "decoder" else new_encoder(root / "encoder", training)
            found = [
                measure(root / f"{backbone}-{seed}", start, training, tested, chosen.epochs, seed)
                for seed in range(1, chosen.seeds + 1)
            ]
            parts.append(table(backbone, found))
    text = "\n".join(parts)
    print(text)
    if chosen.out:
        chosen.out.write_text(text, encoding="utf-8")
    return 0


def as_comparison(number: int, row: Mapping[str, Any]) -> dict[str, Any]:
    """A published row as a row of comparisons; equal scores are ties."""
    ranks = {str(n): -float(c["judge_score"]) for n, c in enumerate(row["completions"])}
    pairs, ties = pairs_of(ranks)
    return {
        "prompt": str(number),
        "author": "",
        "messages": [{"role": "user", "content": row["prompt"]}],
        "completions": [
            {"text": c["text"], "token_ids": None, "finish_reason": "stop"}
            for c in row["completions"]
        ],
        "rankings": [{"labeler": "judge", "pairs": pairs, "ties": ties}],
    }


def measure(
    root: Path,
    start: Path,
    training: Sequence[Mapping[str, Any]],
    tested: Sequence[Mapping[str, Any]],
    epochs: float,
    seed: int,
) -> dict[str, Any]:
    """Train on all of ``training``, then report on ``tested``, which the run never sees."""
    params = {"validation_share": 0.0, "max_length": MAX_LENGTH, "epochs": epochs}
    job = new_job(root, "reward", start, {"comparisons": training}, params, seed=seed)
    run(job, "reward")
    model, renderer = load_reward_model(str(model_of(job))), load_renderer(str(model_of(job)))
    held_out = _rendered(root / "tested", start, tested, renderer, context_length(model))
    texts = [text for comparison in held_out for text in comparison.texts]
    scores = raw_scores(model, texts, renderer.pad_id).tolist()
    by_length = [float(len(text.completion_ids)) for text in texts]
    found = {
        "model": report(held_out, scores, held_out, ["judge"], seed),
        "longer": report(held_out, by_length, held_out, ["judge"], seed),
        "dropped": [_dropped(JobFolder(folder)) for folder in (root, root / "tested")],
    }
    print(f"{root.name}: accuracy {found['model']['all']['accuracy']:.3f}", file=sys.stderr)
    return found


def _rendered(
    root: Path, start: Path, rows: Sequence[Mapping[str, Any]], renderer: Any, context: int
) -> list[Comparison]:
    """Rows as a reward run reads them; what does not fit is dropped and counted in an event."""
    folder = new_job(root, "reward", start, {"comparisons": rows}, {}, seed=0)
    job = Job(folder, folder.read_spec(), EventWriter(folder.events))
    return load_comparisons(job, renderer, min(MAX_LENGTH, context))


def _dropped(folder: JobFolder) -> dict[str, Any]:
    """What the event about the data tells."""
    events = map(json.loads, folder.events.read_text(encoding="utf-8").splitlines())
    return next(event["metrics"] for event in events if event["phase"] == "data")


def new_encoder(folder: Path, training: Sequence[Mapping[str, Any]]) -> Path:
    """A BERT with random weights, and WordPiece learnt from the training texts."""
    texts = [c["text"] for row in training for c in row["completions"]]
    texts += [row["messages"][0]["content"] for row in training]
    pieces = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    pieces.normalizer = normalizers.BertNormalizer()
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY, special_tokens=special, show_progress=False
    )
    pieces.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=pieces, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", mask_token="[MASK]", bos_token="[CLS]", eos_token="[SEP]",
    )  # fmt: skip
    torch.manual_seed(0)
    BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **ENCODER)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def table(backbone: str, found: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: accuracies, mean over seeds, and what was left out."""
    lines = [
        f"## {backbone}",
        "",
        f"| part | pairs | accuracy | 95 % interval, first of {len(found)} seeds | longer wins |",
        "|---|---|---|---|---|",
        _line("all", [f["model"]["all"] for f in found], found[0]["longer"]["all"]),
    ]
    for number, part in enumerate(found[0]["model"]["by_rank_gap"]):
        series = [f["model"]["by_rank_gap"][number] for f in found]
        lines.append(_line(f"gap {part['gap']}", series, found[0]["longer"]["by_rank_gap"][number]))
    error = statistics.fmean(f["model"]["calibration"]["error"] for f in found)
    lines += ["", f"Calibration error {error:.3f}; of the first seed:", ""]
    lines += ["| predicted | observed | pairs |", "|---|---|---|"]
    for row in found[0]["model"]["calibration"]["bins"]:
        lines.append(f"| {row['predicted']:.3f} | {row['observed']:.3f} | {row['pairs']} |")
    lines += ["", "Left out:", ""]
    for name, dropped in zip(("training", "test"), found[0]["dropped"], strict=True):
        lines.append(f"- {name}: {', '.join(f'{k} {v}' for k, v in dropped.items())}")
    return "\n".join([*lines, ""])


def _line(part: str, series: Sequence[Mapping[str, Any]], longer: Mapping[str, Any]) -> str:
    accuracies = [row["accuracy"] for row in series]
    spread = f" ±{statistics.stdev(accuracies):.3f}" if len(series) > 1 else ""
    first = series[0]
    between = f"{first['accuracy_low']:.3f} to {first['accuracy_high']:.3f}"
    return (
        f"| {part} | {first['pairs']} | {statistics.fmean(accuracies):.3f}{spread} "
        f"| {between} | {longer['accuracy']:.3f} |"
    )


def _lines() -> list[str]:
    path = DATA / FILE
    if not path.is_file():
        raise SystemExit(f"no {path}: PODIUM_REAL_DATA names the folder of the data")
    return path.read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    sys.exit(main())
