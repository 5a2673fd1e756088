"""A short run of the demo, end to end, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


def test_sac_pendulum_runs_end_to_end(tmp_path: Path) -> None:
    for module in ("gymnasium", "matplotlib", "tqdm"):
        pytest.importorskip(module)
    command = [sys.executable, str(ROOT / "notebooks" / "sac_pendulum.py"), "--smoke", "--output", str(tmp_path)]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)

    assert run.returncode == 0, run.stdout + run.stderr
    assert "the same returns, bit for bit" in run.stdout

    saved = torch.load(tmp_path / "sac_pendulum_policy.pt", weights_only=True)
    assert saved["returns"].shape == (8, 3)
    assert saved["returns"].isfinite().all()
    assert all(weight.shape[0] == 8 and weight.isfinite().all() for weight in saved["actor"].values())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        start = torch.nn.Linear(3, 64).weight.detach()  # what the first agent's actor begins with
    moved = (saved["actor"]["0.weight"][0] - start).abs().max()
    assert 0 < moved < 0.5  # two hundred updates away from its own start; another's would be about 1.1 away

    for plot in ("sac_pendulum.png", "sac_pendulum_episode.png"):
        assert (tmp_path / plot).read_bytes().startswith(b"\x89PNG")
