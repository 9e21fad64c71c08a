"""A board's own state: files as a Jetson has them, and a machine without any."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_rnn.cli import checkup
from runtime.observe.board import Board, BoardCollector
from runtime.observe.metrics import Metrics

FILES = {
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n",
    "etc/nvpmodel.conf": "< PARAM TYPE=FILE NAME=CPU_ONLINE >\n< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=2 NAME=15W >\n",
    "var/lib/nvpmodel/status": "pmode:0002\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "48125\n",
    "sys/class/thermal/thermal_zone1/type": "gpu-thermal\n",
    "sys/class/thermal/thermal_zone1/temp": "46000\n",
    "sys/class/thermal/thermal_zone2/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone2/temp": "-5000\n",
    "sys/class/thermal/thermal_zone3/type": "off\n",
    "sys/class/thermal/thermal_zone3/temp": "unreadable\n",
    "sys/devices/platform/gpu.0/load": "375\n",
}


def board_of(root: Path) -> Board:
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return Board(root)


def test_jetson_tells_its_release_power_mode_temperatures_and_load(tmp_path: Path) -> None:
    board = board_of(tmp_path)
    assert board.jetpack() == (36, "4.3")
    assert board.power_mode() == "15W"
    assert board.temperatures() == {"cpu-thermal": 48.125, "gpu-thermal": 46.0, "cpu-thermal-2": -5.0}
    assert board.gpu_load() == 0.375


def test_power_mode_without_a_name_is_its_number(tmp_path: Path) -> None:
    assert board_of(tmp_path).power_mode() == "15W"
    (tmp_path / "etc/nvpmodel.conf").unlink()
    assert Board(tmp_path).power_mode() == "2"


def test_machine_without_any_of_it_tells_nothing(tmp_path: Path) -> None:
    board = Board(tmp_path)
    assert (board.jetpack(), board.power_mode(), board.temperatures(), board.gpu_load()) == (None, None, {}, None)


def test_metrics_show_what_there_is_at_each_scrape(tmp_path: Path) -> None:
    metrics = Metrics()
    metrics.registry.register(BoardCollector(board_of(tmp_path)))
    value = metrics.registry.get_sample_value
    assert value("edge_rnn_temperature_celsius", {"zone": "gpu-thermal"}) == 46.0
    assert value("edge_rnn_power_mode", {"name": "15W"}) == 1
    assert value("edge_rnn_gpu_load_ratio") == 0.375
    (tmp_path / "var/lib/nvpmodel/status").write_text("pmode:0000")
    assert value("edge_rnn_power_mode", {"name": "MAXN"}) == 1
    assert value("edge_rnn_power_mode", {"name": "15W"}) is None
    assert b"edge_rnn_power_mode" in metrics.render()


@pytest.mark.parametrize(("release", "told"), [("36", "JetPack 6"), ("38", "JetPack 7"), ("35", "JetPack 5")])
def test_doctor_tells_a_jetson_what_it_is_and_where_its_wheels_come_from(
    tmp_path: Path, release: str, told: str
) -> None:
    board = board_of(tmp_path)
    (tmp_path / "etc/nv_tegra_release").write_text(f"# R{release} (release), REVISION: 2.0, GCID: 1\n")
    (finding,) = checkup.jetson(board)
    assert finding.what == "jetson"
    assert told in finding.found
    assert "15W" in finding.found
    assert "docs/gpu.md" in finding.remedy
    assert finding.state == ("missing" if release == "35" else "ok")


def test_doctor_says_nothing_of_a_jetson_elsewhere(tmp_path: Path) -> None:
    assert list(checkup.jetson(Board(tmp_path))) == []
