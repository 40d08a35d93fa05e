"""Work of simulated labelers stays out of snapshots unless it is asked for by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from labeling import services as labeling_services
from labeling.models import Pool
from tests.conftest import Caller, Cast, as_lines, caller, line, rank
from training import snapshots
from training.jobs.folder import JobFolder
from training.models import Run

pytestmark = pytest.mark.django_db
PEOPLE, ROBOT, IMPORTED = "what ben wrote", "what the robot wrote", "what was imported"


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
    return {ranking["labeler"] for row in rows for ranking in row["rankings"]}


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
    cast: Cast, robot: Caller, make_pool: Any, tmp_path: Any
) -> None:
    """Also where nobody but a robot has written anything."""
    pool = make_pool(tasks=1, overlap=2)
    write(robot, pool, ROBOT)
    rank(cast.ben, pool)
    rank(robot, pool)
    of_people = frozen(cast, tmp_path, kind="reward", pool=pool.pk)
    assert of_people["demonstrations"] == []
    assert ROBOT not in json.dumps(of_people)
    named = frozen(cast, tmp_path, kind="reward", pool=pool.pk, labelers="simulated")
    assert texts_in(named["demonstrations"]) == {ROBOT}


def test_what_ppo_mixes_in_is_that_of_people(cast: Cast, shared: Pool, tmp_path: Any) -> None:
    from training import lifecycle
    from training.models import ModelVersion

    ModelVersion.objects.create(
        name="reward-0", kind="reward", reference="org/reward", round=lifecycle.current_round()
    )
    params = {"ptx_coef": 1, "ptx_ratio": 2}
    files = frozen(cast, tmp_path, kind="ppo", pool=shared.pk, params=params)
    assert texts_in(files["ptx"]) == {PEOPLE, IMPORTED}


def test_where_only_robots_ranked_the_run_says_so(
    cast: Cast, robot: Caller, pool: Pool, tmp_path: Any
) -> None:
    """The default never mixes: it takes people's, or, where there are none, says “simulated”."""
    rank(robot, pool)
    run = cast.ada.post("runs/", {"kind": "reward", "pool": pool.pk}).json()
    assert run["labelers"] == "simulated"
    refused = cast.ada.post("runs/", {"kind": "reward", "pool": pool.pk, "labelers": "people"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "no_training_data")


def test_what_a_held_out_labeler_wrote_never_trains(
    cast: Cast, shared: Pool, tmp_path: Any
) -> None:
    labeling_services.change_user(cast.ben.user, labeler_group="held-out")
    files = frozen(cast, tmp_path, kind="sft", pool=shared.pk)
    assert texts_in(files["demonstrations"]) == {IMPORTED}
