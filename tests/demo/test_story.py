"""The whole demo on the embedded broker, with less training and a shorter feed."""

from __future__ import annotations

import io
import json

import pytest

from edge_rnn.demo.narrator import Narrator
from edge_rnn.demo.settings import DemoSettings
from edge_rnn.demo.story import tell


@pytest.mark.slow
def test_demo_when_the_daemon_is_killed_in_the_middle_then_nothing_is_lost_or_doubled(tmp_path):
    said = io.StringIO()
    settings = DemoSettings(out=tmp_path / "out", epochs=2, steps=30, records_per_s=300.0)
    result = tell(settings, Narrator(said))
    assert result.verdict.is_exact, result.verdict
    assert result.verdict.records_in == result.verdict.outputs == 40 * 30
    assert result.served.exit_status == 0
    assert result.served.moments.streams_restored == 40
    assert result.recovery_s is not None
    assert 0 < result.recovery_s < 10
    assert result.predictions.said.shape == (40, 30)
    page = (tmp_path / "out" / "index.html").read_text()
    assert "nothing shows" in page
    assert json.loads((tmp_path / "out" / "result.json").read_text())["lost"] == 0
    told = said.getvalue()
    for part in (*(f"{number}/6" for number in range(1, 7)), "edge-rnn export", "SIGKILL", "exit status 0", "0 lost"):
        assert part in told
    assert (tmp_path / "out" / "daemon.log").read_text().count('"starting"') == 2
