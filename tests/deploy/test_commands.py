"""Command lines: no value, however hostile, is anything but one word of a command; no secret is in one."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.remote import change, delivery, looking, traffic
from deploy.remote.audit import Entry, encode_entry, parse_audit, unfinished
from deploy.remote.change import Change
from deploy.remote.command import Command, Result, parse_facts, script
from deploy.remote.layout import Layout, Slot
from deploy.remote.ssh import CONNECTION_FAILED, telling, told, why_broken
from deploy.remote.units import Service, quadlet_text, service_text, systemd_quote
from edge_rnn.contract.errors import UsageError

HOSTILE = st.text(
    st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), min_size=1, max_size=40
) | st.sampled_from(
    [
        "$(touch PWNED)",
        "`touch PWNED`",
        "';touch PWNED;'",
        '"; touch PWNED #',
        "a\ntouch PWNED",
        "-rf",
        "&& touch PWNED",
    ]
)


def commands(app: str, root: str, text: str, slot: Slot) -> list[Command]:
    """Every command there is, each field of it that comes from an inventory or a person set to the values given."""
    layout = Layout(app, root)
    entry = Entry(time=text, who=text, what="", device=text, rollout=text, release=text, detail=text)
    changing = Change(layout, entry)
    image = f"{text}@sha256:{'0' * 64}"
    return [
        change.acquire_lock(layout, text, text, text),
        change.release_lock(layout, text),
        change.break_lock(changing),
        delivery.prepare(changing),
        delivery.put(changing, text, f"{root}/{text}", b"secret-content", text, 1),
        delivery.put_key(changing, b"pem"),
        delivery.verify_slot(layout, slot, image),
        delivery.pull_image(changing, text, image, auth=b"secret-content"),
        delivery.load_image(changing, text, image, Path("archive")),
        delivery.pull_bundle(changing, text, image, text, text, text, auth=b"secret-content"),
        delivery.put_bundle(changing, text, b"tar"),
        delivery.fill_slot(changing, slot, image, text, text),
        delivery.empty_slot(changing, slot),
        delivery.golden(text, image, text),
        delivery.install_unit(changing, slot, text, text, text, enable=True),
        traffic.start_shadow(changing, slot),
        traffic.promote(changing, text, slot, 9464, 9465),
        traffic.swap(changing, slot, first=False),
        traffic.swap(changing, slot, first=True),
        traffic.go_back(changing, slot),
        traffic.settle(changing),
        traffic.withdraw(changing),
        traffic.stop_shadow(changing, slot),
        looking.probe(layout, text, [text, text]),
        looking.look(layout, text, 9464),
        looking.ask(text, text, 9464, text),
        looking.has_image(text, image),
        looking.read_audit(layout),
        looking.read_logs(layout, 5, text),
        looking.run_inside(text, text, [text, text]),
        looking.prune(changing, text, text, [text]),
    ]


@given(HOSTILE, HOSTILE, HOSTILE, st.sampled_from(["a", "b"]))
@settings(max_examples=60, deadline=None)
def test_any_value_of_any_field_stays_one_word_of_the_line(app, root, text, slot):
    for command in commands(app, root, text, slot):
        for sudo in (False, True):
            words = shlex.split(command.line(sudo=sudo))
            assert words == [*(("sudo", "-n", "--") if sudo else ()), *command.argv], command.what
            assert "secret-content" not in command.line(sudo=sudo)
            assert "secret-content" not in repr(command)


@given(HOSTILE, HOSTILE, HOSTILE, st.sampled_from(["a", "b"]))
@settings(max_examples=60, deadline=None)
def test_the_text_of_every_script_is_the_same_whatever_the_values(app, root, text, slot):
    hostile, plain = commands(app, root, text, slot), commands("app", "/root", "text", slot)
    for one, other in zip(hostile, plain, strict=True):
        if one.argv[:2] == ("sh", "-euc"):
            assert one.argv[:4] == other.argv[:4]


@given(st.lists(HOSTILE, min_size=1, max_size=4))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_real_shell_gives_a_script_its_values_as_they_are(tmp_path, values):
    command = script("show", 'for one in "$@"; do printf "%s\\0" "$one"; done', *values)
    done = subprocess.run(["sh", "-c", command.line(sudo=False)], capture_output=True, cwd=tmp_path, check=True)
    assert done.stdout.decode().split("\0")[:-1] == values
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "make",
    [
        lambda c: delivery.prepare(c),
        lambda c: change.break_lock(c),
        lambda c: delivery.fill_slot(c, "a", "image", "release", None),
    ],
)
def test_hostile_audit_and_path_run_by_a_real_shell_do_nothing_but_what_they_say(make: Callable, tmp_path):
    root = tmp_path / "a $(touch PWNED) 'b' `touch PWNED`"
    (root / "app" / "slots" / "a").mkdir(parents=True)
    entry = Entry(time="t", who="$(touch PWNED)'\"", what="", device="d\n`touch PWNED`", detail="\\ %s %n")
    command = make(Change(Layout("app", str(root)), entry))
    argv = [
        word.replace("/etc/edge-rnn", f"{tmp_path}/etc").replace("/run/edge-rnn", f"{tmp_path}/run")
        for word in command.argv
    ]
    done = subprocess.run(["sh", "-c", shlex.join(argv)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.name == "PWNED"]
    entries = parse_audit((root / "app" / "audit.jsonl").read_text(), "audit")
    assert [entry.outcome for entry in entries] == ["begun", "done"]
    assert entries[0].who == entry.who
    assert entries[0].device == entry.device


def test_word_with_a_nul_is_refused():
    with pytest.raises(UsageError, match="NUL"):
        script("x", "true", "a\0b")


def test_change_that_fails_is_told_as_failed_and_one_that_was_cut_off_as_never_ended(tmp_path):
    layout = Layout("app", str(tmp_path))
    changing = Change(layout, Entry(time="t", who="w", what="", device="d", rollout="r"))
    run = lambda command: subprocess.run(command.argv, input=command.stdin, capture_output=True, check=False)  # noqa: E731
    assert run(changing.script("none", "true")).returncode == change.LOCKED
    assert run(change.acquire_lock(layout, "one", "me", "r")).returncode == 0
    assert run(changing.script("one", "exit 3")).returncode == 3
    assert run(changing.script("two", "kill -9 $$")).returncode == -9
    with (tmp_path / "app/audit.jsonl").open("a") as file:
        file.write('{"time": "cut')
    assert run(changing.script("three", "true")).returncode == 0
    text = (tmp_path / "app/audit.jsonl").read_text()
    told = parse_audit(text, "d")
    assert [(entry.what, entry.outcome) for entry in told] == [
        *(("one", "begun"), ("one", "failed"), ("two", "begun"), ("unreadable", "failed")),
        *(("three", "begun"), ("three", "done")),
    ]
    assert [entry.what for entry in unfinished(told)] == ["two"]


def test_lock_is_taken_once_kept_by_its_holder_and_given_back(tmp_path):
    layout = Layout("app", str(tmp_path))
    run = lambda command: subprocess.run(command.argv, capture_output=True, text=True, check=False)  # noqa: E731
    assert run(change.acquire_lock(layout, "one", '{"who": "me"}', "r1")).returncode == 0
    assert run(change.acquire_lock(layout, "one", '{"who": "me"}', "r2")).returncode == 0
    taken = run(change.acquire_lock(layout, "two", '{"who": "you"}', "r3"))
    assert (taken.returncode, taken.stdout) == (change.LOCKED, '{"who": "me"}\n')
    for earlier in ("r1", "r3"):
        run(change.release_lock(layout, earlier))
        assert run(change.acquire_lock(layout, "two", "x", "r3")).returncode == change.LOCKED
    run(change.release_lock(layout, "r2"))
    assert run(change.acquire_lock(layout, "two", "x", "r3")).returncode == 0
    broken = run(change.break_lock(Change(layout, Entry(time="t", who="w", what="", device="d", rollout="r4"))))
    assert broken.stdout == "x\n"
    assert run(change.acquire_lock(layout, "one", "y", "r5")).returncode == 0


@given(
    st.text(
        st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp", "Cf", "Co", "Cn", "Zs")), min_size=1, max_size=30
    )
)
def test_word_of_a_unit_holds_no_bare_dollar_percent_or_quote(word):
    quoted = systemd_quote(word)
    inner = quoted[1:-1] if quoted.startswith('"') else quoted
    assert inner.replace("$$", "").count("$") == 0
    assert inner.replace("%%", "").count("%") == 0
    assert inner.replace("\\\\", "").replace('\\"', "").count('"') == 0


def test_word_of_a_unit_with_a_line_break_is_refused():
    with pytest.raises(ValueError, match="not printable"):
        systemd_quote("a\nExecStartPre=evil")


@pytest.mark.parametrize("write", [service_text, quadlet_text])
def test_unit_runs_by_digest_with_no_rights_and_starts_only_the_slot_that_serves(write):
    image = "r.test/edge@sha256:" + "1" * 64
    text = write(Service(layout=Layout("app"), slot="b", image=image, engine="podman", port=9465, signed=True))
    assert image in text
    assert "readlink" in text
    assert "ExecCondition=/bin/sh -c" in text
    assert "/var/lib/edge-rnn/app/verify" in text
    lowered = text.lower().replace("-", "").replace("=", " ")
    for word in ("readonly", "nonewprivileges", "65532", "restart always", "envir"):
        assert word in lowered, word


def test_audit_lines_hold_no_line_break_whatever_is_told():
    line = encode_entry(Entry(time="t", who="a\nb", what="w", device="d\r\n"))
    assert len(line.splitlines()) == 1
    assert parse_audit(line + "\n", "x")[0].who == "a\nb"


@pytest.mark.parametrize("status", [0, 1, 125, 254, 255])
def test_status_of_a_command_is_told_as_it_is_and_never_as_that_of_a_broken_connection(status):
    line = telling(shlex.join(("sh", "-c", f"echo out; printf err >&2; exit {status}")))
    done = subprocess.run(["sh", "-c", line], capture_output=True, check=False)
    assert done.returncode != CONNECTION_FAILED
    assert told(done.returncode, done.stdout, done.stderr) == Result(status, b"out\n", b"err")


def test_broken_connection_is_told_in_the_words_of_ssh():
    sudo = b"sudo: unable to resolve host d: Name or service not known\n"
    refused = b"ssh: connect to host 127.0.0.1 port 1: Connection refused\r\n"
    assert why_broken(sudo) == "the connection broke"
    assert why_broken(refused + sudo) == "ssh: connect to host 127.0.0.1 port 1: Connection refused"


def test_facts_pass_over_what_is_no_fact():
    assert parse_facts("a=1\nmotd: welcome\nslot.a.unit=active\n b c=2\n") == {"a": "1", "slot.a.unit": "active"}
