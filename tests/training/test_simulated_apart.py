"""Work of simulated labelers stays out of snapshots unless it is asked for by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from labeling import services as labeling_services
from labeling.models import Pool, Ranking
from tests.conftest import Caller, Cast, as_lines, caller, line, rank
from training import lifecycle, snapshots
from training.jobs.folder import JobFolder
from training.management.commands import loop
from training.models import ModelVersion, Run

pytestmark = pytest.mark.django_db
PEOPLE, ROBOT, IMPORTED = "what ben wrote", "what the robot wrote", "what was imported"
PTX = {"ptx_coef": 1, "ptx_ratio": 2}
# Every kind of run that reads what labelers made, and the file that it cannot do without.
READERS = {"sft": "demonstrations", "reward": "comparisons", "dpo": "comparisons", "ppo": "ptx"}


@pytest.fixture
def robot(cast: Cast) -> Caller:
    return caller("robot", "labeler", is_simulated=True)


@pytest.fixture
def shared(cast: Cast, robot: Caller) -> Pool:
    """A pool where a person and a robot have each ranked every task and written for a prompt."""
    pool = labeling_services.create_pool(name="shared", overlap=2)
    row = line("prompt 0") | {"reference": IMPORTED}
    labeling_services.import_prompts(pool, as_lines(row, line("prompt 1")))
    for labeler, text in ((cast.ben, PEOPLE), (robot, ROBOT)):
        write(labeler, pool, text)
        for _ in range(2):
            rank(labeler, pool)
    return pool


def write(labeler: Caller, pool: Pool, text: str) -> None:
    import uuid

    handle = labeler.post("demonstrations/next/", {"pool": pool.pk}).json()["handle"]
    body = {"handle": handle, "submission_id": str(uuid.uuid4()), "text": text}
    assert labeler.post("demonstrations/", body).status_code == 201


@pytest.fixture
def simulation(robot: Caller, make_pool: Any) -> Pool:
    """A pool in which nobody but a robot has ranked and written."""
    pool = make_pool(tasks=1, overlap=2)
    write(robot, pool, ROBOT)
    rank(robot, pool)
    return pool


@pytest.fixture
def reward_model(cast: Cast) -> ModelVersion:
    return ModelVersion.objects.create(
        name="reward-0", kind="reward", reference="org/reward", round=lifecycle.current_round()
    )


def body_of(kind: str, pool: Pool, labelers: str | None = None) -> dict[str, Any]:
    """``None``: the body does not say whose work it is to take."""
    named = {"labelers": labelers} if labelers else {}
    return {"kind": kind, "pool": pool.pk, "params": PTX if kind == "ppo" else {}, **named}


def frozen(cast: Cast, tmp_path: Any, **body: Any) -> dict[str, list[dict[str, Any]]]:
    """The rows of each file of the snapshot that such a run would train on."""
    answer = cast.ada.post("runs/", body)
    assert answer.status_code == 201, answer.content
    run = Run.objects.get(pk=answer.json()["id"])
    folder = JobFolder(tmp_path / str(run.pk))
    folder.create()
    snapshot, files = snapshots.freeze(run, folder)
    assert set(snapshot.files) == set(files)
    return {name: list(folder.read_data(entry)) for name, entry in files.items()}


def labelers_in(rows: list[dict[str, Any]]) -> set[str]:
    return {ranking["labeler"] for row in rows for ranking in row.get("rankings", ())}


def texts_in(rows: list[dict[str, Any]]) -> set[str]:
    return {row["completion"] for row in rows}


@pytest.mark.parametrize("kind", ["reward", "dpo"])
@pytest.mark.parametrize("asked", [None, "people", "simulated", "all"])
def test_rankings_are_those_of_people_unless_named(
    cast: Cast, robot: Caller, shared: Pool, tmp_path: Any, kind: str, asked: str | None
) -> None:
    named = {"labelers": asked} if asked else {}
    files = frozen(cast, tmp_path, kind=kind, pool=shared.pk, **named)
    ben, machine = str(cast.ben.user.pk), str(robot.user.pk)
    expected = {"simulated": {machine}, "all": {ben, machine}}.get(asked or "", {ben})
    assert labelers_in(files["comparisons"]) == expected
    assert len(files["comparisons"]) == 2


@pytest.mark.parametrize("asked", [None, "people", "simulated", "all"])
def test_demonstrations_are_those_of_people_unless_named(
    cast: Cast, shared: Pool, tmp_path: Any, asked: str | None
) -> None:
    named = {"labelers": asked} if asked else {}
    files = frozen(cast, tmp_path, kind="sft", pool=shared.pk, **named)
    people = {PEOPLE, IMPORTED}
    expected = {"simulated": {ROBOT}, "all": people | {ROBOT}}.get(asked or "", people)
    assert texts_in(files["demonstrations"]) == expected


def test_a_reward_model_of_people_takes_its_zero_from_people_alone(
    cast: Cast, simulation: Pool, tmp_path: Any
) -> None:
    """Also where nobody but a robot has written anything."""
    rank(cast.ben, simulation)
    of_people = frozen(cast, tmp_path, **body_of("reward", simulation))
    assert of_people["demonstrations"] == []
    assert ROBOT not in json.dumps(of_people)
    named = frozen(cast, tmp_path, **body_of("reward", simulation, "simulated"))
    assert texts_in(named["demonstrations"]) == {ROBOT}


@pytest.mark.parametrize("asked", [None, "people", "simulated", "all"])
def test_what_ppo_mixes_in_is_that_of_people_unless_named(
    cast: Cast, shared: Pool, reward_model: ModelVersion, tmp_path: Any, asked: str | None
) -> None:
    files = frozen(cast, tmp_path, **body_of("ppo", shared, asked))
    people = {PEOPLE, IMPORTED}
    expected = {"simulated": {ROBOT}, "all": people | {ROBOT}}.get(asked or "", people)
    assert texts_in(files["ptx"]) == expected


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("asked", [None, "people"])
def test_where_only_robots_worked_a_run_that_does_not_name_them_is_refused(
    cast: Cast, simulation: Pool, reward_model: ModelVersion, kind: str, asked: str | None
) -> None:
    refused = cast.ada.post("runs/", body_of(kind, simulation, asked))
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (400, "no_training_data")
    assert error["data"] == {"field": "labelers"}
    assert "by people" in error["message"]
    assert "only by simulated labelers" in error["message"]
    assert "set labelers to simulated" in error["message"]
    assert not Run.objects.exists()


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("asked", ["simulated", "all"])
def test_named_they_are_taken_where_nobody_else_worked(
    cast: Cast,
    robot: Caller,
    simulation: Pool,
    reward_model: ModelVersion,
    tmp_path: Any,
    kind: str,
    asked: str,
) -> None:
    files = frozen(cast, tmp_path, **body_of(kind, simulation, asked))
    rows = files[READERS[kind]]
    found = labelers_in(rows) if READERS[kind] == "comparisons" else texts_in(rows)
    assert found == ({str(robot.user.pk)} if READERS[kind] == "comparisons" else {ROBOT})
    assert Run.objects.get().labelers == asked


@pytest.mark.parametrize("kind", Run.Kind.values)
def test_no_snapshot_has_simulated_work_that_was_not_named(
    cast: Cast,
    robot: Caller,
    shared: Pool,
    reward_model: ModelVersion,
    tmp_path: Any,
    kind: str,
) -> None:
    """Every kind there is, every file of its snapshot, by whatever name."""
    if kind == "sample":
        lifecycle.open_round()
    files = frozen(cast, tmp_path, **body_of(kind, shared))
    assert files
    for rows in files.values():
        assert rows
        assert ROBOT not in json.dumps(rows)
        assert str(robot.user.pk) not in labelers_in(rows)


def test_what_robots_do_between_start_and_freezing_stays_out(
    cast: Cast, robot: Caller, pool: Pool, tmp_path: Any
) -> None:
    rank(cast.ben, pool)
    run = Run.objects.get(pk=cast.ada.post("runs/", body_of("reward", pool)).json()["id"])
    Ranking.objects.all().delete()
    rank(robot, pool)
    write(robot, pool, ROBOT)
    folder = JobFolder(tmp_path / "job")
    folder.create()
    _, files = snapshots.freeze(run, folder)
    assert [*folder.read_data(files["comparisons"])] == []
    assert [*folder.read_data(files["demonstrations"])] == []


@pytest.mark.parametrize(
    ("kind", "params"), [("ppo", {}), ("rejection", {"past_completions": True}), ("sample", {})]
)
def test_they_cannot_be_named_where_nothing_of_labelers_is_read(
    cast: Cast, shared: Pool, reward_model: ModelVersion, kind: str, params: dict[str, Any]
) -> None:
    body = body_of(kind, shared, "simulated") | {"params": params}
    error = cast.ada.post("runs/", body).json()["error"]
    assert (error["code"], error["data"]) == ("run_refused", {"field": "labelers"})


def test_what_a_held_out_labeler_wrote_never_trains(
    cast: Cast, shared: Pool, tmp_path: Any
) -> None:
    labeling_services.change_user(cast.ben.user, labeler_group="held-out")
    files = frozen(cast, tmp_path, kind="sft", pool=shared.pk)
    assert texts_in(files["demonstrations"]) == {IMPORTED}


@pytest.mark.parametrize("kind", ["reward", "ppo", "rejection"])
@pytest.mark.parametrize("params", [{}, {"ppo": PTX}])
def test_what_the_loop_asks_for_is_not_refused_where_only_robots_worked(
    cast: Cast, simulation: Pool, reward_model: ModelVersion, kind: str, params: dict[str, Any]
) -> None:
    """It names whose work is read, and nobody's where none is."""
    body = loop.asked_of(kind, simulation.pk, 1, params)
    assert cast.ada.post("runs/", body).status_code == 201
