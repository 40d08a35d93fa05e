"""Gold is known to simulated labelers, the starter model's maker and benchmarks; to nobody else.

The loop's first half is gone through for real, and every byte that comes of it is searched for the
gold of the answers. What may follow from gold is a simulated labeler's own judgement: its ranks,
ratings and flags.
"""

from __future__ import annotations

import ast
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import grimp
import httpx
import pytest
from django.apps import apps
from django.core import serializers
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from labeling.api.exports import ROWS_OF_KIND, WRITERS
from labeling.execution.quality import compute_next_quality
from labeling.models import Completion, Pool, Ranking
from labeling.ordering import ALIASES
from labeling.services import adjudicate, create_pool, import_prompts
from labeling.urls import urlpatterns
from tests.conftest import Caller, Cast, caller, rank, take
from training import lifecycle, snapshots
from training.jobs.folder import JobFolder
from training.jobs.params import PARAMS_OF_KIND
from training.jobs.world import FLAWS, GoldScore, labelers, starter_prompts
from training.jobs.world.scoring import GENERIC_WEIGHTS, WEIGHTS
from training.jobs.world.scoring import score as true_score
from training.jobs.world.tasks import Task, draw_tasks
from training.models import ModelVersion, Run

ROOT = Path(__file__).resolve().parent.parent.parent
PROMPTS = 12
# Gold is often a round number, which may stand anywhere; so scaled, its digits are unmistakable.
SCALE = 1.0371931
COMPONENTS = sorted(WEIGHTS.keys() | GENERIC_WEIGHTS.keys() | {"gold"})
TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[\d.]*")
NAMED = re.compile(rf"""(?:["']|&quot;|&#x27;)({"|".join(COMPONENTS)})(?:["']|&quot;|&#x27;)\s*:""")


@dataclass
class Gold:
    """Every gold score that was computed, what labelers made of it, and the search for both."""

    scores: list[GoldScore] = field(default_factory=list)
    perceived: list[float] = field(default_factory=list)

    def score(self, messages: Any, text: str) -> GoldScore:
        found = true_score(messages, text)
        components = {name: value * SCALE for name, value in found.components.items()}
        self.scores.append(GoldScore(found.total * SCALE, components))
        return self.scores[-1]

    def numbers(self) -> set[str]:
        """Totals, components and what they seemed to be, whole and rounded, as texts."""
        values = {*self.perceived, *(score.total for score in self.scores)}
        values |= {value for score in self.scores for value in score.components.values()}
        forms = (repr, "{:.6f}".format, "{:.4f}".format, "{:.3f}".format)
        return {form(abs(value)) for value in values if abs(value) > 0.01 for form in forms}

    def found_in(self, text: str) -> set[str]:
        plain = TIME.sub("", text)
        return {n for n in self.numbers() if n in plain} | set(NAMED.findall(plain))


@pytest.fixture
def gold(monkeypatch: pytest.MonkeyPatch) -> Gold:
    gold = Gold()
    perceived = labelers.SimulatedLabeler.perceived

    def recorded(self: labelers.SimulatedLabeler, golds: dict[str, float]) -> dict[str, float]:
        utilities = perceived(self, golds)
        gold.perceived.extend(utilities.values())
        return utilities

    monkeypatch.setattr(labelers, "score", gold.score)
    monkeypatch.setattr(labelers.SimulatedLabeler, "perceived", recorded)
    return gold


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Bodies of all requests of the simulated labelers, and of the answers."""
    bodies: list[str] = []
    send = httpx.HTTPTransport.handle_request

    def recorded(self: Any, request: httpx.Request) -> httpx.Response:
        response = send(self, request)
        bodies.extend([request.read().decode(), response.read().decode()])
        return response

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", recorded)
    return bodies


def world_lines() -> Iterator[bytes]:
    """The starter pool's lines, with answers as good and as flawed as a model's."""
    rng = Random(1)
    lines = starter_prompts(PROMPTS)
    for line, task in zip(lines, distinct_tasks(), strict=False):
        assert line.get("prompt", task.messages[0]["content"]) == task.messages[0]["content"]
        flaws = rng.sample(sorted(FLAWS), 3)
        texts = [task.good(rng), *(task.flawed(flaw, rng) for flaw in flaws)]
        yield json.dumps(line | {"completions": [{"text": text} for text in texts]}).encode()


def distinct_tasks() -> Iterator[Task]:
    seen: set[str] = set()
    for task in draw_tasks(1):
        if str(task.messages) not in seen:
            seen.add(str(task.messages))
            yield task


@pytest.fixture
def worked(transactional_db: None, live_server: Any, gold: Gold, sent: list[str]) -> Pool:
    """A pool of the starter world that simulated labelers have worked on; one place is left."""
    pool = create_pool(name="world", overlap=3, guidelines="Be kind.")
    report = import_prompts(pool, world_lines())
    assert (report.accepted, report.rejected) == (PROMPTS, 0)
    told = io.StringIO()
    call_command(
        "simulate_labelers", pool="world", url=live_server.url, labelers=2, rankings=2 * PROMPTS,
        demonstrations=6, noise=0.1, position_bias=0.3, drafts=0.5, stdout=told,
    )  # fmt: skip
    assert "fewer than asked" not in told.getvalue()
    assert len(gold.perceived) >= PROMPTS * 8
    sent.append(told.getvalue())
    return pool


@pytest.fixture
def people(worked: Pool) -> Cast:
    return Cast(
        **{n: caller(n, r) for n, r in (("ada", "admin"), ("rob", "reviewer"))},
        **{n: caller(n, "labeler") for n in ("ben", "cho")},
    )


def test_the_search_would_find_gold(gold: Gold) -> None:
    task = next(draw_tasks(1))
    found = gold.score(task.messages, task.good(Random(1)))
    for planted in (
        f"<p>{found.total}</p>",
        json.dumps({"score": round(found.total, 4)}),
        f"{min(found.components.values()):.6f}",
        json.dumps({"on_topic": 1}),
        "data-x='{&quot;polite&quot;: 1}'",
    ):
        assert gold.found_in(planted), planted
    assert not gold.found_in('2026-01-01T00:00:01.037193Z {"rank": 1, "quality": 7} polite')


def test_no_gold_leaves_a_simulated_labeler(worked: Pool, gold: Gold, sent: list[str]) -> None:
    assert len(sent) > 4 * PROMPTS
    assert gold.found_in("\n".join(sent)) == set()


def test_no_gold_is_in_the_database(worked: Pool, gold: Gold) -> None:
    rows = [row for model in apps.get_models() for row in model._default_manager.all()]
    assert len(rows) > 20 * PROMPTS
    assert gold.found_in(serializers.serialize("json", rows)) == set()


def test_no_gold_is_in_a_snapshot_of_any_kind(
    worked: Pool, gold: Gold, people: Cast, tmp_path: Path
) -> None:
    ModelVersion.objects.create(
        name="reward-0", kind="reward", reference="org/reward", round=lifecycle.current_round()
    )
    params = {
        "ppo": {"ptx_coef": 1, "ptx_ratio": 2},
        "rejection": {"past_completions": True},
    }
    for kind in PARAMS_OF_KIND:
        if kind == "sample":
            lifecycle.open_round()
        body = {"kind": kind, "pool": worked.pk, "params": params.get(kind, {})}
        asked = {"labelers": "simulated"} if kind in ("sft", "reward", "dpo", "ppo") else {}
        answer = people.ada.post("runs/", body | asked)
        assert answer.status_code == 201, answer.content
        run = Run.objects.get(pk=answer.json()["id"])
        folder = JobFolder(tmp_path / kind)
        folder.create()
        _, files = snapshots.freeze(run, folder)
        texts = [path.read_text(encoding="utf-8") for path in sorted(folder.data.iterdir())]
        assert len(texts) == len(files)
        assert all(texts), kind
        assert gold.found_in("\n".join([*texts, answer.content.decode()])) == set(), kind


def test_no_gold_is_in_an_export_of_any_kind(worked: Pool, gold: Gold, people: Cast) -> None:
    ranks = {alias: rank for rank, alias in enumerate(ALIASES[: worked.completions_per_prompt], 1)}
    for task in set(Completion.objects.values_list("task", flat=True)):
        adjudicate(people.rob.user, task, ranks=ranks, reason="They disagree.")
    for kind in ROWS_OF_KIND:
        for format_ in WRITERS:
            if format_ == "trl" and kind in ("rankings", "adjudications"):
                continue
            answer = people.rob.get(
                f"pools/{worked.pk}/export/", kind=kind, format=format_, labelers="all"
            )
            content = b"".join(answer.streaming_content)
            text = parquet_text(content) if format_ == "parquet" else content.decode()
            assert len(text) > 1000, (kind, format_)
            assert gold.found_in(text) == set(), (kind, format_)
            columns = text.partition("\n")[0].split(",") if format_ == "csv" else []
            assert not set(columns) & set(COMPONENTS)


def parquet_text(content: bytes) -> str:
    import pyarrow.parquet

    return json.dumps(pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist())


def test_no_gold_is_shown_to_people_who_label(worked: Pool, gold: Gold, people: Cast) -> None:
    """Neither in what the API hands out nor on the pages; nor any work of the simulated ones."""
    browser = Client()
    browser.force_login(people.cho.user)
    home = browser.get(reverse("labeling:home"))
    page = browser.get(reverse("labeling:pool_rank", args=[worked.pk]), follow=True)
    task = people.ben.post("assignments/next/", {"pool": worked.pk})
    writing = people.ben.post("demonstrations/next/", {"pool": worked.pk})
    for answer in (home, page, task, writing):
        assert answer.status_code == 200
        shown = answer.content.decode() + json.dumps(dict(answer.headers))
        assert gold.found_in(shown) == set()
        assert "simulated-" not in shown
    assert "data-ranking" in page.content.decode()
    assert set(task.json()) == {
        "assignment", "lease_token", "lease_seconds", "pool", "prompt", "completions", "rubric",
        "guidelines", "draft", "alike", "warnings",
    }  # fmt: skip
    assert task.json()["draft"] is None
    assert all(set(shown) == {"alias", "text"} for shown in task.json()["completions"])


# Addresses that name a record which no fixture makes: prompts that labelers propose, qualification.
WITHOUT_RECORD = {"review_one", "trial", "feedback"}


def pages(known: dict[str, Any]) -> dict[str, str]:
    """By name, the address of every page for which ``known`` has the records."""
    wanted = {str(p.name): p.pattern.converters.keys() for p in urlpatterns}
    assert {name for name, records in wanted.items() if not records <= known.keys()} == (
        WITHOUT_RECORD
    )
    return {
        name: reverse(f"labeling:{name}", kwargs={record: known[record] for record in records})
        for name, records in wanted.items()
        if name not in WITHOUT_RECORD
    }


def read_all(who: Caller, addresses: dict[str, str]) -> dict[str, str]:
    """What each page shows that they can read. The page that compares answers asks which."""
    browser = Client()
    browser.force_login(who.user)
    sides = {"compare": {"a": "A", "b": "B"}}
    answers = {
        name: browser.get(address, sides.get(name), follow=True)
        for name, address in addresses.items()
    }
    assert {answer.status_code for answer in answers.values()} <= {200, 403, 404, 405}
    return {
        name: answer.content.decode() + json.dumps(dict(answer.headers))
        for name, answer in answers.items()
        if answer.status_code == 200
    }


def test_no_gold_is_on_any_page_of_the_site(worked: Pool, gold: Gold, people: Cast) -> None:
    """Also where a labeler looks back on its work, and a reviewer on that of the simulated ones."""
    ranking = rank(people.ben, worked)["ranking"]
    writing = people.ben.post("demonstrations/next/", {"pool": worked.pk}).json()
    known = {
        "pool_id": worked.pk,
        "assignment_id": take(people.ben, worked)["assignment"],
        "ranking_id": ranking,
        "handle": writing["handle"],
        "task_id": Ranking.objects.get(pk=ranking).task_id,
    }
    assert compute_next_quality()
    addresses = pages(known)
    labelers_own = read_all(people.ben, addresses)
    assert labelers_own.keys() >= {
        "home", "pool_rank", "assignment", "compare", "rankings", "ranking", "pool_write",
        "writing", "demonstrations", "guidelines", "statistics", "preferences",
    }  # fmt: skip
    for name, shown in labelers_own.items():
        assert gold.found_in(shown) == set(), name
        assert "simulated-" not in shown, name
    reviewers = read_all(people.rob, addresses)
    assert reviewers.keys() >= {"quality", "disagreements", "adjudicate"}
    assert "simulated-" in reviewers["quality"]
    assert {name for name, shown in reviewers.items() if gold.found_in(shown)} == set()


# --- who can know gold ----------------------------------------------------------------------------

GOLD = "training.jobs.world.scoring"
KNOWS_GOLD = ("training.jobs.world", "training.management", "training.rlhf.starter")
GOLD_NAMES = {"score", "GoldScore", "recognise", "BEST", "scoring", "labelers", "SimulatedLabeler"}
USES_GOLD = re.compile(
    r"training/jobs/world/|training/rlhf/starter\w*\.py|training/management/simulation\.py|"
    r"training/management/commands/simulate_labelers\.py"
)


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("config", "labeling", "training", cache_dir=None)


def test_no_trainer_can_reach_gold(graph: grimp.ImportGraph) -> None:
    """Not even by way of another module, or by an import inside a function."""
    trainers = {
        module
        for module in graph.find_descendants("training.rlhf")
        if not module.startswith("training.rlhf.starter")
    }
    assert {"training.rlhf.reward", "training.rlhf.ppo", "training.rlhf.dpo"} <= trainers
    world = {m for m in graph.modules if m.startswith("training.jobs.world")}
    reached = {m: graph.find_upstream_modules(m) & world for m in trainers}
    assert {m: found for m, found in reached.items() if found} == {}
    assert GOLD in graph.find_upstream_modules("training.rlhf.starter_card")


def test_only_commands_and_the_starters_maker_can_reach_gold(graph: grimp.ImportGraph) -> None:
    knowing = graph.find_downstream_modules(GOLD)
    assert "training.management.simulation" in knowing
    assert [module for module in sorted(knowing) if not module.startswith(KNOWS_GOLD)] == []


def gold_imports(source: str) -> set[str]:
    """Names by which a module takes hold of gold."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            "training.jobs.world"
        ):
            tail = (node.module or "").rpartition(".")[2]
            found |= ({alias.name for alias in node.names} | {tail}) & GOLD_NAMES
        elif isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.startswith("training.jobs.world")}
    return found


def each_source(of: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    for package in ("config", "labeling", "training"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if of(name):
                yield name, path.read_text(encoding="utf-8")


def test_gold_is_imported_by_those_who_may_alone() -> None:
    """First start, for one, takes prompts from the world and nothing else."""
    assert gold_imports("from training.jobs.world import draw_tasks, score") == {"score"}
    assert gold_imports("from training.jobs.world.scoring import BEST") == {"BEST", "scoring"}
    assert gold_imports("import training.jobs.world.scoring")
    others = {
        name: gold_imports(source)
        for name, source in each_source(lambda name: not USES_GOLD.match(name))
    }
    assert len(others) > 100
    assert {name: found for name, found in others.items() if found} == {}
