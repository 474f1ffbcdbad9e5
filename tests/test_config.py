"""Settings: defaults, file, environment, and errors that name the key."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from relay.config import Settings, load_settings, split_address
from relay.errors import ConfigError

EXAMPLE = Path(__file__).parents[1] / "deploy" / "relay.example.toml"


@pytest.fixture(autouse=True)
def _without_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RELAY_DATA_DIR", "RELAY_ARCHIVE__STORE", "RELAY_RTMP__LISTEN"):
        monkeypatch.delenv(name, raising=False)


def keys(model: type[BaseModel], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found |= keys(inner, f"{prefix}{name}.")
        else:
            found.add(prefix + name)
    return found


def flat(table: dict[str, Any], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, value in table.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name}
    return found


def test_the_example_file_loads_and_names_every_key_with_its_default(tmp_path: Path) -> None:
    text = EXAMPLE.read_text("utf-8")
    load_settings(EXAMPLE)
    # Keys without a useful default stand there commented out: with the marks taken away the file must still load.
    opened = tmp_path / "open.toml"
    marked = [
        line.removeprefix("# ") if line.startswith("# ") and " = " in line else line for line in text.splitlines()
    ]
    opened.write_text("\n".join(marked))
    load_settings(opened)
    assert flat(tomllib.loads(opened.read_text())) == keys(Settings)
    defaults = Settings().model_dump(mode="json")
    for section, values in tomllib.loads(text).items():
        assert defaults[section] == ({**defaults[section], **values} if isinstance(values, dict) else values), section


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "relay.toml"
    file.write_text('data_dir = "/srv/relay"\n[archive]\nstore = "off"\nsegment_s = 4\n')
    monkeypatch.setenv("RELAY_ARCHIVE__STORE", "file:elsewhere")
    settings = load_settings(file)
    assert (settings.archive.store, settings.archive.segment_s) == ("file:elsewhere", 4.0)
    assert settings.data_dir == Path("/srv/relay")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[rtmp]\nlisten = '1935'", "rtmp.listen"),
        ("[rtmp]\nlsiten = ':1935'", "rtmp.lsiten"),
        ("[archive]\nstore = 'http://x'", "archive.store"),
        ("[archive]\nstore = 's3://ab'", "archive.store"),
        ("[limits]\nbacklog_s = 0", "limits.backlog_s"),
        ("not toml", "relay.toml"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "relay.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_settings(file)


def test_a_typo_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_SERVICE_PORT", "tcp://192.0.2.1")  # as others set for programs of this name
    assert load_settings() == Settings()
    monkeypatch.setenv("RELAY_ARCHVE__STORE", "s3://bucket")
    with pytest.raises(ConfigError, match=r"RELAY_ARCHVE__STORE: there is no section 'archve'; .*archive"):
        load_settings()


def test_a_missing_file_leads_to_the_example(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"relay\.example\.toml"):
        load_settings(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "address"), [("0.0.0.0:1935", ("0.0.0.0", 1935)), (":80", ("0.0.0.0", 80)), ("[::1]:5", ("::1", 5))]
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert split_address(text) == address
    with pytest.raises(ValueError, match="HOST:PORT"):
        split_address("nonsense")


def test_where_streamers_pages_are_is_an_address_or_nothing(tmp_path: Path) -> None:
    assert Settings().http.share_listen == ""
    file = tmp_path / "relay.toml"
    file.write_text('[http]\nshare_listen = "8082"\n', "utf-8")
    with pytest.raises(ConfigError, match=r"http\.share_listen"):
        load_settings(file)
