"""Commands that need no relay: what they print, and how they end, for whatever is given."""

import json
import shutil
from pathlib import Path

from relay.archive.signing import Signer, own_public_key
from relay.database.lock import owned
from tests.cli.commands import relay


def key_id(data: Path) -> str:
    key = own_public_key(data)
    assert key is not None
    return key.id


async def test_a_good_recording_by_id_with_and_without_the_database_and_by_folder(data: Path, recording: Path) -> None:
    for target in (recording.name, str(recording)):
        code, out, err = await relay("verify", target, data=data)
        assert (code, err) == (0, "")
        assert out.splitlines()[-1] == f"GOOD: {target} is what was recorded"
        assert f"{recording.name} of channel talk" in out
        assert f"key {key_id(data)}\n" in out
    (data / "relay.db").write_bytes(b"not a database any more")
    code, out, err = await relay("verify", recording.name, data=data)
    assert (code, "GOOD" in out) == (0, True)
    assert err.startswith("relay: going by the store alone: cannot open the database")


async def test_a_bad_recording_names_its_first_bad_segment(data: Path, recording: Path) -> None:
    (recording / "000003.m4s").write_bytes(b"x")
    (recording / "000001.m4s").unlink()
    code, out, _ = await relay("verify", recording.name, data=data)
    assert code == 1
    bad = out[out.index("BAD") :].splitlines()
    assert bad[0] == "BAD: segment 000001.m4s: it is missing"
    assert bad[1].startswith("     segment 000003.m4s: it has 1 bytes, and ")
    code, out, err = await relay("verify", recording.name, "--json", data=data)
    answer = json.loads(out)
    assert (code, err, answer["good"], answer["final"], answer["recording"]) == (1, "", False, True, recording.name)
    assert answer["key_id"] == answer["key_expected"] == key_id(data)
    assert answer["problems"][0] == {"file": "segment 000001.m4s", "problem": "it is missing"}


async def test_the_public_key_is_printed_and_checked_against(data: Path, recording: Path, tmp_path: Path) -> None:
    code, pem, err = await relay("evidence-key", data=data)
    assert (code, err) == (0, f"key {key_id(data)}\n")
    code, out, _ = await relay("evidence-key", "--json", data=data)
    assert (json.loads(out)["pem"], json.loads(out)["id"]) == (pem, key_id(data))
    copy = Path(shutil.copytree(recording, tmp_path / "elsewhere"))
    away = tmp_path / "no-relay-here"
    code, out, _ = await relay("verify", str(copy), data=away)
    assert (code, f"key {key_id(data)}, by its own word only: give --key" in out) == (0, True)
    public = tmp_path / "public.pem"
    public.write_text(pem)
    code, out, _ = await relay("verify", str(copy), "--key", str(public), data=away)
    assert (code, "by its own word" in out) == (0, False)
    other = Signer(tmp_path / "other" / "evidence.key")
    public.write_text(other.public.pem)
    code, out, err = await relay("verify", str(copy), "--key", str(public), data=away)
    assert (code, out) == (2, "")
    assert f"it is signed with key {key_id(data)} and not with {other.public.id}: give the public key" in err
    assert not away.exists(), "checking leaves nothing behind"


async def test_a_broken_key_file_or_settings_file_is_told(data: Path, recording: Path, tmp_path: Path) -> None:
    (data / "evidence.key").write_text("hello")
    for words in (("verify", recording.name), ("catalog", "rebuild")):
        code, _, err = await relay(*words, data=data)
        assert code == (2 if words[0] == "verify" else 1)
        assert "evidence.key is not an Ed25519 private key; restore it from a backup" in err
    code, _, err = await relay("evidence-key", data=tmp_path / "none")
    assert (code, "the relay makes it when it first starts with an archive" in err) == (1, True)
    code, _, err = await relay("-c", "none.toml", "verify", recording.name, data=data)
    assert (code, "no settings file none.toml" in err) == (2, True)


async def test_the_catalog_is_rebuilt_from_the_store(data: Path, recording: Path) -> None:
    (data / "relay.db").unlink()
    code, out, err = await relay("catalog", "rebuild", data=data)
    assert (code, err) == (0, "")
    assert out.splitlines()[0].startswith(f" rebuilt  talk/{recording.name}, ")
    assert out.splitlines()[-1] == "1 rebuilt"
    code, out, _ = await relay("catalog", "rebuild", data=data)
    assert (code, out) == (0, "1 known\n")
    (recording / "000001.m4s").unlink()
    code, out, _ = await relay("catalog", "rebuild", "--replace", "--json", data=data)
    [answer] = json.loads(out)["recordings"]
    assert (code, answer["what"], answer["notes"]) == (0, "replaced", ["segment 000001.m4s is missing in the store"])
    (recording / "manifest.json").write_text("{}")
    code, out, _ = await relay("catalog", "rebuild", "--replace", data=data)
    assert (code, out.splitlines()[-1]) == (0, "1 skipped")
    assert "manifest.json: it is not a manifest" in out
    assert "with --unsigned it is done without" in out


async def test_nothing_is_rebuilt_while_a_relay_runs(data: Path) -> None:
    with owned(data):
        code, out, err = await relay("catalog", "rebuild", data=data)
        assert (code, out) == (1, "")
        assert err.startswith(f"relay: a relay runs on {data} already; stop it first")
