"""The job folder: hashes, torn lines, and specs that cannot be run."""

import json

import pytest

from training.jobs.errors import FolderError, SpecError
from training.jobs.events import EventWriter, read_events
from training.jobs.folder import JobFolder, sha256_of_folder
from training.jobs.params import PARAMS_OF_KIND, parse_params
from training.jobs.spec import JobSpec


@pytest.fixture
def folder(tmp_path) -> JobFolder:
    made = JobFolder(tmp_path / "job")
    made.create()
    return made


def test_data_reads_back_as_written(folder):
    rows = [{"text": "é\u2028\n\r \x85 end"}, {"n": 1}]
    entry = folder.write_data("prompts", rows)
    assert entry.rows == 2
    assert list(folder.read_data(entry)) == rows


def test_changed_data_is_refused(folder):
    entry = folder.write_data("prompts", [{"a": 1}])
    (folder.root / entry.path).write_text('{"a": 2}\n')
    with pytest.raises(FolderError, match="changed"):
        list(folder.read_data(entry))


def test_events_are_read_on_from_an_offset_and_torn_lines_are_left(folder):
    writer = EventWriter(folder.events)
    writer.write("train", step=1, total=3, loss=0.5, bad=float("nan"))
    events, offset = read_events(folder.events)
    assert [(e.phase, e.step, dict(e.metrics)) for e in events] == [
        ("train", 1, {"loss": 0.5, "bad": None})
    ]
    with folder.events.open("ab") as file:
        file.write(b'{"phase": "tra')
    assert read_events(folder.events, offset) == ([], offset)
    EventWriter(folder.events).write("train", step=2)
    events, _ = read_events(folder.events, offset)
    assert [e.step for e in events] == [2]


def test_without_a_file_there_are_no_events(tmp_path):
    assert read_events(tmp_path / "none") == ([], 0)


def test_a_folder_address_depends_on_names_and_contents_alone(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "file").write_text("x")
    first = sha256_of_folder(tmp_path / "one")
    assert first == sha256_of_folder(tmp_path / "two")
    (tmp_path / "two" / "sub" / "file").rename(tmp_path / "two" / "sub" / "other")
    assert first != sha256_of_folder(tmp_path / "two")


def spec(**changes):
    raw = {
        "version": 1,
        "run": "1",
        "kind": "sample",
        "seed": 0,
        "model": "/model",
        "reward_model": None,
        "params": {},
        "data": {"prompts": {"path": "data/prompts.jsonl", "sha256": "0", "rows": 1}},
    }
    return raw | changes


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"version": 2}, "version"),
        ({"extra": 1}, "extra"),
        ({"kind": "magic"}, "kind"),
        ({"kind": "ppo"}, "reward_model"),
        ({"kind": "reward"}, "data.comparisons"),
        ({"params": {"temprature": 1}}, "params.temprature"),
        ({"kind": ["ppo"]}, "kind"),
        ({"seed": "x"}, "seed"),
        ({"seed": 1.9}, "seed"),
        ({"seed": True}, "seed"),
        ({"model": None}, "model"),
        ({"params": []}, "params"),
        ({"data": {"prompts": {"path": "data/prompts.jsonl"}}}, "data.prompts"),
        ({"data": {"prompts": 3}}, "data.prompts"),
    ],
)
def test_a_spec_that_cannot_run_names_the_field(change, field):
    with pytest.raises(SpecError) as refused:
        JobSpec.from_json(spec(**change))
    assert refused.value.field == field


def test_a_spec_is_an_object():
    with pytest.raises(SpecError, match="must be an object"):
        JobSpec.from_json([])


def test_a_folder_without_a_spec_says_so(folder):
    with pytest.raises(FolderError, match=r"job\.json"):
        folder.read_spec()


@pytest.mark.parametrize("kind", PARAMS_OF_KIND)
def test_every_default_passes_its_own_bounds(kind):
    import dataclasses

    defaults = dataclasses.asdict(parse_params(kind, {}))
    assert dataclasses.asdict(parse_params(kind, json.loads(json.dumps(defaults)))) == defaults


@pytest.mark.parametrize("value", [None, True, "1", [], float("nan"), float("inf"), 1.5, 0, 2000])
def test_a_value_that_does_not_fit_is_refused(value):
    with pytest.raises(SpecError) as refused:
        parse_params("rejection", {"n": value})
    assert refused.value.field == "params.n"
