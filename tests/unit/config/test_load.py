"""From files, environment and options to one frozen tree, or to all mistakes at once."""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING

import pytest
import yaml
from pydantic import ValidationError

from adaptive_stream.config import ConfigError, load, show
from adaptive_stream.contracts.topics import Topic

if TYPE_CHECKING:
    from pathlib import Path

MATCH = "families.f.match=[m]"
FAMILY = "families:\n  f:\n    match: [m]\n"


def written(folder: Path, text: str | bytes, name: str = "worker.yaml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def mistakes(
    *overrides: str, files: list[Path] | None = None, environ: dict[str, str] | None = None
) -> list[tuple[str, str, str]]:
    with pytest.raises(ConfigError) as refused:
        load(files or [], environ or {}, overrides)
    found = refused.value.mistakes
    assert all(str(mistake) in str(refused.value) for mistake in found), "the text tells every mistake"
    return [(mistake.source, mistake.path, mistake.message) for mistake in found]


# -- layers ------------------------------------------------------------------------------------------------------------


def test_options_beat_the_environment_and_the_environment_beats_the_files(tmp_path: Path) -> None:
    first = written(tmp_path, FAMILY + "kafka: {group: first, client_id: first}\ntopics: {prefix: first.}\nseed: 1\n")
    second = written(tmp_path, "kafka: {group: second, client_id: second}\nseed: 2\n", "second.yaml")
    environ = {"ADAPTIVE_STREAM__KAFKA__GROUP": "environ", "ADAPTIVE_STREAM__SEED": "3", "PATH": "not looked at"}
    config = load([first, second], environ, ["seed=4"])
    assert config.topics.prefix == "first."
    assert config.kafka.client_id == "second"
    assert config.kafka.group == "environ"
    assert config.seed == 4


def test_a_later_layer_changes_one_setting_and_leaves_its_neighbours(tmp_path: Path) -> None:
    path = written(tmp_path, FAMILY + "    monitor: {pane_s: 60, panes: 3}\n")
    monitor = load([path], {}, ["families.f.monitor.panes=7"]).families["f"].monitor
    assert (monitor.pane_s, monitor.panes) == (60, 7)


def test_a_setting_is_read_as_yaml() -> None:
    config = load([], {}, ['families.f.match=["a", "b"]', "http.enabled=false", "families.f.monitor.baseline=0.8"])
    assert config.families["f"].match == ["a", "b"]
    assert config.http.enabled is False
    assert config.families["f"].monitor.baseline == 0.8


def test_a_setting_that_is_no_yaml_is_the_text_itself() -> None:
    overrides = ["families.f.match=[m]", "kafka.security.username=*x: [", "kafka.security.password=!x"]
    security = load([], {}, overrides).kafka.security
    assert (security.username, security.secret_password()) == ("*x: [", "!x")


@pytest.mark.parametrize("digits", ["12345", "007", "1e5", "yes"])
def test_a_text_of_digits_stays_the_text_it_is(digits: str) -> None:
    config = load([], {"ADAPTIVE_STREAM__KAFKA__GROUP": digits}, [MATCH])
    assert config.kafka.group == digits


def test_every_mistake_that_spans_settings_is_told() -> None:
    settings = ["kafka.heartbeat_interval_ms=20000", "kafka.request_timeout_ms=50000"]
    with pytest.raises(ConfigError) as caught:
        load([], {}, [MATCH, *settings])
    assert "at most a third" in str(caught.value)
    assert "request_timeout_ms must be above" in str(caught.value)


def test_a_stated_baseline_of_an_error_leaves_room_for_an_alert() -> None:
    regression = ["families.f.task=regression", "families.f.tolerance=10"]
    load([], {}, [MATCH, *regression, "families.f.monitor.baseline=9"])
    with pytest.raises(ConfigError, match="no alert could fire"):
        load([], {}, [MATCH, *regression, "families.f.monitor.baseline=9.5"])


def test_an_equals_sign_belongs_to_the_value() -> None:
    overrides = ["families.f.match=[m]", "kafka.security.password=a=b="]
    assert load([], {}, overrides).kafka.security.secret_password() == "a=b="


@pytest.mark.parametrize("quote", ["", '"'])
def test_an_instant_needs_no_quotes(tmp_path: Path, quote: str) -> None:
    path = written(tmp_path, f"{FAMILY}time:\n  earliest: {quote}2013-01-01T00:00:00Z{quote}\n")
    assert load([path], {}).time.earliest == "2013-01-01T00:00:00Z"
    config = load([path], {}, [f"time.earliest={quote}2014-01-01T00:00:00Z{quote}"])
    assert config.time.earliest == "2014-01-01T00:00:00Z"


def test_the_demo_loads() -> None:
    with resources.as_file(resources.files("adaptive_stream.demo") / "worker.yaml") as path:
        config = load([path], {})
    assert [feature.name for feature in config.families["flights"].features][-2:] == ["carrier", "origin"]


# -- mistakes ----------------------------------------------------------------------------------------------------------


def test_all_mistakes_of_all_layers_are_told_at_once_and_each_with_its_place(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        FAMILY
        + "    taks: binary\n"
        + "    features:\n"
        + "      - {name: a, knd: numeric}\n"
        + "      - {kind: numeric}\n"
        + "kafka:\n"
        + "  session_timeout_ms: many\n",
    )
    found = mistakes(
        "nonsense",
        "kafka.security.protocl=SSL",
        files=[path],
        environ={"ADAPTIVE_STREAM__HTTP__PORT": "99999", "ADAPTIVE_STREAM__JOYN__WINDOW_S": "1"},
    )
    assert {(source, setting) for source, setting, _ in found} == {
        ("--set nonsense", ""),
        ("--set kafka.security.protocl", "kafka.security.protocl"),
        (f"{path}:4:5", "families.f.taks"),
        (f"{path}:6:19", "families.f.features.0.knd"),
        (f"{path}:7:9", "families.f.features.1.name"),
        (f"{path}:9:3", "kafka.session_timeout_ms"),
        ("ADAPTIVE_STREAM__HTTP__PORT", "http.port"),
        ("ADAPTIVE_STREAM__JOYN__WINDOW_S", "joyn"),
    }
    assert len(found) == 8


def test_the_count_of_mistakes_leads_the_message() -> None:
    with pytest.raises(ConfigError, match=r"^1 mistake in"):
        load([], {}, [])
    with pytest.raises(ConfigError, match=r"^2 mistakes in"):
        load([], {}, ["htp=1"])


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("htp.port=1", 'unknown setting; did you mean "http"?'),
        ("kafka.grup=x", 'unknown setting; did you mean "group"?'),
        ("families.f.taks=binary", 'unknown setting; did you mean "task"?'),
        ("families.f.monitor.pane=60", 'unknown setting; did you mean "panes"?'),
        ("families.f.features=[{name: a, kin: numeric}]", 'unknown setting; did you mean "kind"?'),
        ("log.zzz=1", "unknown setting; known here: format, level"),
        ("families.f.task=regresion", 'did you mean "regression"?'),
        ("families.f.task=Binary", 'did you mean "binary"?'),
        ("kafka.security.protocol=sasl-ssl", 'did you mean "SASL_SSL"?'),
    ],
)
def test_what_was_meant_is_guessed_and_never_assumed(override: str, hint: str) -> None:
    [(source, setting, message)] = mistakes("families.f.match=[m]", override)
    assert source == f"--set {override.partition('=')[0]}"
    assert setting.startswith(source.removeprefix("--set ").partition(".")[0])
    assert message.endswith(hint)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("http.port=70000", "less than or equal to 65535, not 70000"),
        ("http.port=-1", "greater than or equal to 0, not -1"),
        ("http.port=eighty", "a valid integer"),
        ("http.enabled=perhaps", "a valid boolean"),
        ("http=8080", "Http"),
        ("seed=1.5", "a valid integer"),
        ("topics.prefix=a b", "match pattern"),
        ("topics.partitions=0", "greater than or equal to 1"),
        ("kafka.bootstrap=somewhere", "'somewhere' is not host:port"),
        ("kafka.bootstrap=a:1,b", "'b' is not host:port"),
        ("kafka.heartbeat_interval_ms=20000", "at most a third of session_timeout_ms"),
        ("kafka.request_timeout_ms=45000", "must be above session_timeout_ms and rebalance_timeout_ms"),
        ("kafka.security.protocol=SASL_SSL", "SASL_SSL needs mechanism, username and password"),
        ("kafka.security.ca_file=/no/such/file", "the file /no/such/file does not exist"),
        ("kafka.security.cert_file=/dev/null", "cert_file and key_file go together"),
        ("time.earliest=yesterday", "not an RFC 3339 date and time"),
        ("time.earliest=2013-13-45", "not an RFC 3339 date and time"),
        ("state.journal_ring=16", "state.journal_ring must be at least 600"),
        ("batch.commit_interval_ms=20000", "transaction_timeout_ms must be at least four times"),
        ("state.on_lost_history=ignore", "'ignore' is not one of 'refuse' or 'continue'"),
        ("families={}", "at least 1 item"),
        ("families.a b.match=[x]", "match pattern"),
        ("families.f.match=[]", "at least 1 item"),
        ("families.f.match=m", "a valid list"),
        ("families.f.threshold=1.1", "less than or equal to 1"),
        ("families.f.threshold=.nan", "a finite number"),
        ("families.f.tolerance=0", "greater than 0"),
        ("families.f.tolerance=.inf", "a finite number"),
        ("families.f.task=multiclass", "multiclass needs classes"),
        ("families.f.classes=[a, b]", "classes belong to task: multiclass"),
        ("families.f.features=[{name: a}, {name: a}]", "features are named twice: a"),
        ("families.f.features=[{name: a, kind: categorical}]", "a categorical feature needs levels"),
        ("families.f.features=[{name: a, levels: [x]}]", "a numeric feature has no levels"),
        ("families.f.features=[{name: a, kind: categorical, levels: [x, x]}]", "levels must differ"),
        ("families.f.monitor.baseline=1.5", "between 0 and 1"),
        ("families.f.monitor.status_interval_s=301", "must be a multiple of evaluate_every_s"),
        ("families.f.alerts.AccuracyDegraded.high=0.01", "high must be further on the bad side than medium"),
        ("families.f.alerts.AccuracyDegraded.recovery=0", "greater than 0"),
        ("families.g.match=[m]", "families.g: the pattern 'm' is taken by family 'f' before"),
    ],
)
def test_what_is_wrong_is_said(override: str, said: str) -> None:
    base = [] if override.startswith("families={") else ["families.f.match=[m]"]
    found = mistakes(*base, override)
    assert len(found) == 1
    assert said in found[0][2]


def test_the_baseline_of_an_error_is_not_negative() -> None:
    base = ["families.f.match=[m]", "families.f.task=regression", "families.f.tolerance=50"]
    assert load([], {}, [*base, "families.f.monitor.baseline=12.5"]).families["f"].monitor.baseline == 12.5
    [(_, setting, message)] = mistakes(*base, "families.f.monitor.baseline=-1")
    assert (setting, message) == ("families.f", "monitor.baseline of an error is not negative")


def test_a_part_that_spans_settings_is_placed_at_the_part(tmp_path: Path) -> None:
    path = written(tmp_path, FAMILY + "    alerts:\n      AccuracyDegraded: {medium: 0.2, high: 0.1}\n")
    [(source, setting, _)] = mistakes(files=[path])
    assert (source, setting) == (f"{path}:5:7", "families.f.alerts.AccuracyDegraded")


def test_an_empty_file_says_only_what_is_missing(tmp_path: Path) -> None:
    for text in ("", "# nothing but words\n"):
        [(_, setting, message)] = mistakes(files=[written(tmp_path, text)])
        assert (setting, message) == ("families", "is missing")


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("a: [", ":1:5", "not valid YAML"),
        ("families:\n\tf: 1\n", ":2:1", "not valid YAML"),
        ("a: 1\n---\nb: 2\n", ":2:1", "not valid YAML"),
        ("a: *nobody\n", ":1:4", "not valid YAML"),
        (b"a: \x00", "", "not valid YAML"),
        (b"a: \xff", "", "cannot be read: not UTF-8"),
        ("- a\n- b\n", ":1:1", "the file must hold a mapping of settings"),
        ("nothing\n", ":1:1", "the file must hold a mapping of settings"),
    ],
)
def test_a_file_that_is_no_yaml_is_named_with_the_place(
    tmp_path: Path, text: str | bytes, place: str, said: str
) -> None:
    path = written(tmp_path, text)
    source, setting, message = mistakes(files=[path])[0]
    assert (source, setting) == (f"{path}{place}", "")
    assert said in message


def test_a_missing_file_and_a_folder_are_named_beside_the_other_mistakes(tmp_path: Path) -> None:
    good = written(tmp_path, FAMILY)
    found = mistakes("htp=1", files=[tmp_path / "none.yaml", tmp_path, good])
    assert found[0] == (str(tmp_path / "none.yaml"), "", "cannot be read: No such file or directory")
    assert found[1] == (str(tmp_path), "", "cannot be read: Is a directory")
    assert [setting for _, setting, _ in found[2:]] == ["htp"]


def test_a_key_given_twice_is_a_mistake_although_yaml_allows_it(tmp_path: Path) -> None:
    path = written(tmp_path, FAMILY + "  f:\n    match: [other]\n")
    assert mistakes(files=[path]) == [(f"{path}:4:3", "families.f", "is given twice")]


def test_a_tag_builds_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, FAMILY + "kafka:\n  group: !!python/object/apply:os.getcwd []\n")
    assert "kafka.group" in {setting for _, setting, _ in mistakes(files=[path])}
    path = written(tmp_path, FAMILY + "kafka:\n  group: !secret x\n")
    assert (f"{path}:5:10", "kafka.group", "is no plain YAML value: tag !secret") in mistakes(files=[path])


def test_an_alias_to_the_mapping_around_it_ends(tmp_path: Path) -> None:
    path = written(tmp_path, FAMILY + "kafka: &again\n  security: *again\n")
    assert "is nested without end" in {message for _, _, message in mistakes(files=[path])}


# -- the tree ----------------------------------------------------------------------------------------------------------


def test_the_tree_is_frozen() -> None:
    config = load([], {}, ["families.f.match=[m]"])
    for part, name in ((config, "seed"), (config.kafka, "group"), (config.families["f"].monitor, "panes")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, name, 1)


def test_secrets_are_masked_wherever_the_tree_is_shown(tmp_path: Path) -> None:
    hidden = "correct-horse"
    path = written(tmp_path, f"{FAMILY}kafka:\n  security:\n    key_password: {hidden}-key\n")
    config = load([path], {"ADAPTIVE_STREAM__KAFKA__SECURITY__PASSWORD": hidden})
    assert config.kafka.security.secret_password() == hidden
    assert config.kafka.security.secret_key_password() == f"{hidden}-key"
    shown = show(config)
    assert {shown["kafka"]["security"][name] for name in ("password", "key_password")} == {"********"}
    for text in (json.dumps(shown), yaml.safe_dump(shown), repr(config), str(config)):
        assert hidden not in text


def test_a_secret_that_is_refused_is_not_told(tmp_path: Path) -> None:
    text = f"{FAMILY}kafka: {{security: {{password: [hunter2], key_password: 271828}}}}\n"
    found = mistakes(files=[written(tmp_path, text)])
    assert len(found) == 2
    assert not any("hunter2" in message or "271828" in message for _, _, message in found)


def test_a_secret_file_is_read_at_each_use(tmp_path: Path) -> None:
    path = written(tmp_path, "first\n", "password")
    config = load([], {}, ["families.f.match=[m]", f"kafka.security.password_file={path}"])
    assert config.kafka.security.secret_password() == "first"
    path.write_text("second\n")
    assert config.kafka.security.secret_password() == "second"
    assert show(config)["kafka"]["security"]["password"] is None


def test_what_is_shown_loads_again_as_the_same_tree(tmp_path: Path) -> None:
    config = load([], {}, ['families.f.match=["m-*"]', "families.f.task=multiclass", "families.f.classes=[a, b]"])
    path = written(tmp_path, yaml.safe_dump(show(config)))
    assert load([path], {}) == config


def test_a_topic_has_the_prefix_and_its_role() -> None:
    topics = load([], {}, ["families.f.match=[m]", "topics.prefix=mine-"]).topics
    assert topics.name(Topic.DEAD_LETTERS) == "mine-dead-letters"
