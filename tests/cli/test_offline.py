"""What commands without a relay do, seen from inside: settings without a store, long lists of problems, progress."""

import json
from pathlib import Path

import pytest

from relay.audit import AuditLog
from relay.cli.offline import BAD, GOOD, MOST_SHOWN, NOT_CHECKED, check_recording, print_key, rebuild_catalog
from relay.config import ArchiveSettings, Settings
from relay.errors import ConfigError, NotFoundError


def test_with_the_archive_off_only_folders_and_buckets_can_be_named(
    data: Path, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(data_dir=data, archive=ArchiveSettings(store="off"))
    assert check_recording(lambda: settings, recording.name, None, {}, as_json=False) == NOT_CHECKED
    assert "archive.store is off); name a directory or s3:// instead" in capsys.readouterr().err
    assert check_recording(lambda: settings, str(recording), None, {}, as_json=False) == GOOD
    with pytest.raises(ConfigError, match="there is nothing to rebuild from"):
        rebuild_catalog(settings, None, unsigned=False, replace=False, as_json=False)


def test_only_the_first_problems_are_shown_and_all_are_in_the_json(
    data: Path, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(data_dir=data)
    assert len(list(recording.glob("*.m4s"))) + 2 < MOST_SHOWN
    for path in recording.glob("*.m4s"):
        path.unlink()
    assert check_recording(lambda: settings, str(recording), None, {}, as_json=True) == BAD
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert check_recording(lambda: settings, str(recording), None, {}, as_json=False) == BAD
    shown = capsys.readouterr().out
    assert [f"{item['file']}: {item['problem']}" in shown for item in problems] == [True] * len(problems)


def test_a_key_nobody_made_is_not_printed(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="the relay makes it when it first starts"):
        print_key(tmp_path, as_json=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("20260101T000000Z-000000", "", ""),
            "there is no recording 20260101T000000Z-000000 with a manifest",
        ),
        (("./nothing", "", ""), "there is no directory ./nothing; name the folder of one recording"),
        ((".", "", ""), "there is no manifest.json in file:"),
        (("s3://bucket", "", ""), "s3://bucket is not a recording; write s3://BUCKET/PREFIX/CHANNEL/RECORDING"),
        (("s3://", "", ""), "s3:// is not a recording; write"),
        ((".", "/nowhere", ""), "cannot read the public key /nowhere: No such file or directory"),
        ((".", "/etc/hostname", ""), "/etc/hostname is not an Ed25519 public key; give it as PEM or in base64"),
        (("s3://bucket/talk/x", "", "nonsense"), "cannot use the object store s3://bucket"),
        (("s3://bucket/talk/x", "", "http://127.0.0.1:9"), "s3://bucket/"),
    ],
)
def test_what_cannot_be_checked_ends_with_2_and_says_what_to_do(
    words: tuple[str, str, str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(data_dir=tmp_path / "data")
    target, key, endpoint = words
    options = {"s3_endpoint": endpoint} if endpoint else {}
    assert check_recording(lambda: settings, target, Path(key) if key else None, options, as_json=False) == NOT_CHECKED
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert list(tmp_path.iterdir()) == []


def test_a_recording_is_found_without_the_database(
    data: Path, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(data_dir=data)
    (data / "relay.db").unlink()
    assert check_recording(lambda: settings, recording.name, None, {}, as_json=False) == GOOD
    assert capsys.readouterr().err == ""
    assert not (data / "relay.db").exists(), "looking makes no database"
    (recording / "manifest.json").write_text("{}")
    assert check_recording(lambda: settings, recording.name, None, {}, as_json=False) == BAD
    assert capsys.readouterr().out == "BAD: manifest.json: it is not a manifest: format: Field required\n"
    assert check_recording(lambda: settings, recording.name, None, {}, as_json=True) == BAD
    assert json.loads(capsys.readouterr().out)["recording"] is None


def test_unsigned_recordings_are_rebuilt_when_told_so(
    data: Path, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (recording / "manifest.json").write_text("{}")
    rebuild_catalog(Settings(data_dir=data), None, unsigned=True, replace=True, as_json=False)
    assert capsys.readouterr().out.splitlines()[-1] == "1 replaced"
    (entry,) = AuditLog(data).read(1)
    assert (entry.who, entry.action, entry.about["recordings"]) == ("command line", "catalog rebuilt", recording.name)
    rebuild_catalog(Settings(data_dir=tmp_path / "new"), None, unsigned=False, replace=False, as_json=False)
    assert capsys.readouterr().out == f"there are no recordings in file:{tmp_path}/new/archive\n"
