"""The inventory: what it may hold, what is said when it does not, and who is served when."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.fleet.inventory import Device, SecretRef, merge, parse_inventory
from deploy.fleet.selection import count_of, select, waves_of
from deploy.fleet.settings import resolver, run_settings, secret_values, shadow_settings, to_toml
from edge_rnn.contract.errors import UsageError
from tests.deploy.fleets import APP, HOST_KEY, inventory

BASE = APP.format(key=HOST_KEY, broker="kafka.test:9092")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[device]]\nname = 'Bad Name'\n", "device 'Bad Name' name is 'Bad Name', expected lower-case letters"),
        ("[[device]]\nname = 'a'\nssh = {host = '-oProxyCommand=x'}\n", "device a ssh.host is '-oProxyCommand=x'"),
        ("[[device]]\nname = 'a'\nssh = {user = 'x;y'}\n", "device a ssh.user is 'x;y'"),
        ("[[device]]\nname = 'a'\ninput = 'x y'\n", "device a input is 'x y', expected a topic"),
        ("[[device]]\nname = 'a'\nroot = '/var/../etc'\n", "device a root is '/var/../etc'"),
        ("[[device]]\nname = 'a'\nroot = 'var'\n", "device a root is 'var'"),
        ("[[device]]\nname = 'a'\nlabels = {site = 'a b'}\n", "device a label site is 'a b'"),
        ("[[device]]\nname = 'a'\narch = 'mips'\n", "device a.arch: Invalid enum value 'mips'"),
        ("[[device]]\nname = 'a'\nprot = 22\n", "device a: Object contains unknown field `prot`"),
        ("[[device]]\nname = 'a'\n[[device]]\nname = 'a'\n", "two devices named 'a'"),
        ("[[device]]\nname = 'a'\nrun = {instance = 'x'}\n", "sets 'instance', which the deployment sets itself"),
        ("[[device]]\nname = 'a'\nrun = {broker = 'x;y:1'}\n", "run.broker is 'x;y:1', expected HOST:PORT"),
        ("[[device]]\nname = 'a'\nsecrets = {'kafka.x' = {}}\n", "kafka.x needs one of env = 'NAME' and file = 'PATH'"),
        ("[[device]]\nname = 'a'\nsecrets = {instance = {env = 'X'}}\n", "sets 'instance', which the deployment"),
        ("[[device]]\nname = 'a'\nrun = {kafka = {'sasl.password' = 'x'}}\n", "kafka holds 'sasl.password' itself"),
        ("[[device]]\nname = 'a'\nrun = {kafka = 1}\n", "run.kafka is 1, expected a table"),
        ("", "has no [[device]]"),
        ("[[device]]\narch = 'amd64'\n", "device number 1: Object missing required field `name`"),
        ("[gates]\nbake = '5'\n[[device]]\nname = 'a'\n", "gates.bake is '5', expected a duration"),
        ("[", "is not TOML"),
    ],
)
def test_inventory_with_a_wrong_field_is_refused_by_device_and_field(text, said):
    with pytest.raises(UsageError) as error:
        parse_inventory(BASE + text)
    assert said in str(error.value)


def test_device_without_a_pinned_host_key_is_refused_with_the_command_that_prints_it():
    with pytest.raises(UsageError, match="ssh-keyscan -t ed25519 a"):
        parse_inventory(BASE.replace("host-key", "#host-key") + "[[device]]\nname = 'a'\n")


def test_defaults_hold_for_each_device_that_does_not_say_otherwise():
    fleet = parse_inventory(
        BASE + "[[device]]\nname = 'a'\n[[device]]\nname = 'b'\nssh = {user = 'root', port = 2222}\n"
    )
    assert [(d.ssh.user, d.ssh.port, d.ssh.host_key) for d in fleet.device] == [
        ("edge", 22, HOST_KEY),
        ("root", 2222, HOST_KEY),
    ]


def test_settings_of_a_device_have_its_topics_its_name_and_its_secrets_in_place(tmp_path):
    (tmp_path / "password").write_text("s3 \"cr\\et'\n")
    fleet = parse_inventory(
        BASE.replace(
            "[defaults.ssh]",
            "[app.secrets]\n'kafka.sasl.password' = {file = 'password'}\n'kafka.sasl.username' = {env = 'WHO'}\n"
            "[app.run.kafka]\n'security.protocol' = 'SASL_SSL'\n[defaults.ssh]",
        )
        + "[[device]]\nname = 'north-1'\ninput = 'sensors.north'\n"
    )
    (device,) = fleet.device
    values = secret_values(fleet.app, device, resolver(tmp_path, {"WHO": "me"}))
    settings = run_settings(fleet.app, device, 9465, values)
    written = tomllib.loads(to_toml(settings))
    assert written["kafka"] == {
        "security.protocol": "SASL_SSL",
        "sasl.password": "s3 \"cr\\et'",
        "sasl.username": "me",
    }
    assert (written["input"], written["output"], written["instance"]) == ("sensors.north", "activity", "north-1")
    assert (written["group"], written["http"]) == ("activity-north-1", "127.0.0.1:9465")
    shadow = tomllib.loads(to_toml(shadow_settings(settings, 0.1)))
    assert shadow["shadow"] == "activity-north-1"
    assert "group" not in shadow


def test_devices_without_topics_of_their_own_are_members_of_one_group():
    fleet = inventory(["a", "b"])
    assert {run_settings(fleet.app, device, 9465)["group"] for device in fleet.device} == {"activity"}


def test_secret_that_is_not_there_is_named_by_its_place_and_device(tmp_path):
    resolve = resolver(tmp_path, {})
    with pytest.raises(UsageError, match=r"the secret kafka.x of a is to come from \$PASS, which is not set"):
        resolve(SecretRef(env="PASS"), "kafka.x of a")
    with pytest.raises(UsageError, match="cannot be read from nowhere"):
        resolve(SecretRef(file="nowhere"), "kafka.x of a")


@given(
    st.dictionaries(st.text(), st.text() | st.booleans() | st.integers() | st.lists(st.text(), max_size=3), max_size=5)
)
def test_toml_that_is_written_reads_back_as_it_was(values):
    settings = {**values, "table": {**values}}
    assert tomllib.loads(to_toml(settings)) == settings


@given(st.recursive(st.integers(), lambda inner: st.dictionaries(st.text("ab", max_size=2), inner, max_size=3)))
def test_merge_with_nothing_changes_nothing(value):
    table = {"x": value}
    assert merge(table, {}) == merge({}, table) == table


def fleet_of(count: int, kinds: int) -> tuple[Device, ...]:
    kind = [("amd64", "cpu"), ("arm64", "cpu"), ("arm64", "jetson"), ("amd64", "cuda")]
    return tuple(
        Device(name=f"d{i}", arch=kind[i * kinds // max(count, 1)][0], accelerator=kind[i * kinds // max(count, 1)][1])
        for i in range(count)
    )


@given(
    st.integers(0, 120),
    st.integers(1, 4),
    st.one_of(st.integers(0, 150).map(str), st.integers(1, 100).map(lambda n: f"{n}%")),
    st.lists(st.integers(1, 100).map(lambda n: f"{n}%"), max_size=4),
)
def test_waves_hold_every_device_once_and_the_canary_holds_as_many_kinds_as_it_can(count, kinds, canary, sizes):
    devices = fleet_of(count, kinds)
    waves = waves_of(devices, canary, sizes)
    assert sorted(d.name for wave in waves for d in wave) == sorted(d.name for d in devices)
    assert all(waves)
    if waves:
        assert len(waves[0]) == count_of(canary, count, "canary")
        there = len({(d.arch, d.accelerator) for d in devices})
        assert len({(d.arch, d.accelerator) for d in waves[0]}) == min(len(waves[0]), there)


@pytest.mark.parametrize(
    ("size", "of", "count"), [("5%", 400, 20), ("5%", 3, 1), ("1", 9, 1), ("0", 9, 1), ("100%", 7, 7), ("50", 7, 7)]
)
def test_size_is_a_share_rounded_up_or_a_number(size, of, count):
    assert count_of(size, of, "--canary") == count


@pytest.mark.parametrize("size", ["", "5 %", "-1", "101%", "1.5", "all"])
def test_size_that_is_none_is_refused(size):
    with pytest.raises(UsageError, match="--canary is"):
        count_of(size, 10, "--canary")


def test_selectors_pick_by_name_label_kind_and_refuse_what_names_nothing():
    each = "labels = {site = 'north'}\n"
    fleet = inventory(["a", "b"], each=each)
    more = inventory(["c"], each="arch = 'arm64'\nlabels = {site = 'south'}\n")
    fleet = type(fleet)(app=fleet.app, device=fleet.device + more.device)
    names = [[d.name for d in select(fleet, to)] for to in ([], ["a"], ["site=north"], ["arch=arm64"], ["c", "a"])]
    assert names == [["a", "b", "c"], ["a"], ["a", "b"], ["c"], ["a", "c"]]
    assert [d.name for d in select(fleet, ["site=south,arch=arm64"])] == ["c"]
    with pytest.raises(UsageError, match="selects no device"):
        select(fleet, ["site=south,arch=amd64"])


@pytest.mark.parametrize("memory", ["512m\nExecStartPre=evil", "512m --privileged", "-1m", "0m", "lots", ""])
def test_memory_that_is_no_size_is_refused(memory):
    with pytest.raises(UsageError, match=r"app.memory is .*expected a size such as 512m"):
        parse_inventory(BASE.replace('name = "activity"', f"name = 'activity'\nmemory = {memory!r}".replace("'", '"')))
