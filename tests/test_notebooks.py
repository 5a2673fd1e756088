"""A short run of each notebook, end to end, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


def run_smoke(notebook: str, output: Path) -> str:
    for module in ("gymnasium", "matplotlib", "tqdm"):
        pytest.importorskip(module)
    command = [sys.executable, str(ROOT / "notebooks" / notebook), "--smoke", "--output", str(output)]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_sac_pendulum_runs_end_to_end(tmp_path: Path) -> None:
    printed = run_smoke("sac_pendulum.py", tmp_path)
    assert "the same returns, bit for bit" in printed

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


def test_ppo_taxi_runs_end_to_end(tmp_path: Path) -> None:
    printed = run_smoke("ppo_taxi.py", tmp_path)
    assert "the same returns, bit for bit" in printed

    saved = torch.load(tmp_path / "ppo_taxi_policy.pt", weights_only=True)
    assert torch.equal(saved["with mask"]["invalid"], torch.zeros(4))
    assert (saved["without mask"]["invalid"] > 0.3).all()  # half the actions change nothing, and it draws from all
    for name in ("with mask", "without mask"):
        tables, episodes = saved[name]["tables"], saved[name]["episodes"]
        assert tables["logits"].shape == (4, 500, 6)
        assert tables["values"].shape == (4, 500)
        assert all(table.isfinite().all() and table.any() for table in tables.values())  # they begin with zeros
        assert set(episodes[:, 1].tolist()) == {0, 1, 2, 3}
        assert ((episodes[:, 2] >= -2000) & (episodes[:, 2] <= 20)).all()
    assert saved["with mask"]["episodes"][:, 2].min() == -200  # a step costs 1, and no refused one 10

    assert (tmp_path / "ppo_taxi.png").read_bytes().startswith(b"\x89PNG")


def test_mixed_actions_runs_end_to_end(tmp_path: Path) -> None:
    printed = run_smoke("mixed_actions.py", tmp_path)
    assert "passes gymnasium's check of environments" in printed
    assert "the same returns, bit for bit" in printed

    saved = torch.load(tmp_path / "mixed_actions_policy.pt", weights_only=True)
    assert saved["kinds"] == ["chain", "amount blind to the move", "chain without mask"]
    assert saved["returns"].shape == (3, 12)
    assert saved["returns"].isfinite().all()
    assert torch.equal(saved["refused"][:, :8], torch.zeros(3, 8))
    assert (saved["refused"][:, 8:] > 0.1).all()  # it draws from all three moves, one of which is often ruled out
    weights = [weight for network in ("actor", "critic") for weight in saved["weights"][network].values()]
    assert all(weight.shape[0] == 12 and weight.isfinite().all() for weight in weights)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        start = torch.nn.Linear(3, 8).weight.detach()  # what the first agent's actor begins with
    moved = (saved["weights"]["actor"]["0.weight"][0] - start).abs().max()
    assert 0 < moved < 0.2  # 48 steps of Adam away from its own start

    for plot in ("mixed_actions.png", "mixed_actions_policy.png"):
        assert (tmp_path / plot).read_bytes().startswith(b"\x89PNG")


def test_multimodal_runs_end_to_end(tmp_path: Path) -> None:
    printed = run_smoke("multimodal.py", tmp_path)
    assert "the same losses, bit for bit" in printed

    saved = torch.load(tmp_path / "multimodal_policy.pt", weights_only=True)
    for name in ("normal", "mixture", "spline flow"):
        found = saved[name]
        assert found["losses"].shape == (5, 4)
        assert found["losses"].isfinite().all()
        assert (found["nll"] > saved["least"]).all()
        assert ((found["crashes"] >= 0) & (found["crashes"] <= 1)).all()
        assert all(weight.shape[0] == 4 and weight.isfinite().all() for weight in found["weights"].values())
    assert (tmp_path / "multimodal.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow  # two policies are compiled
def test_beta_policy_runs_end_to_end(tmp_path: Path) -> None:
    printed = run_smoke("beta_policy.py", tmp_path)
    assert "the same returns, bit for bit" in printed

    saved = torch.load(tmp_path / "beta_policy.pt", weights_only=True)
    assert list(saved) == ["Beta", "Dirichlet"]
    for run in saved.values():
        assert run["returns"].shape == run["near_bounds"].shape == run["entropies"].shape == (3, 8)
        assert run["returns"].isfinite().all()
        assert run["entropies"].isfinite().all()
        assert ((run["near_bounds"] >= 0) & (run["near_bounds"] <= 1)).all()
    assert (tmp_path / "beta_policy.png").read_bytes().startswith(b"\x89PNG")


def test_grpo_tokens_runs_end_to_end(tmp_path: Path) -> None:
    printed = run_smoke("grpo_tokens.py", tmp_path)
    assert "the same curve, bit for bit" in printed

    saved = torch.load(tmp_path / "grpo_tokens_policy.pt", weights_only=True)
    assert saved["curve"].shape == saved["ratios"].shape == (4, 3)
    assert saved["curve"].isfinite().all()
    replayed, whole, mass = saved["ratios"].unbind(1)
    assert (replayed - 1).abs().max() < 1e-5
    assert (whole < 0.99).all()  # a policy that knows nothing spreads over the vocabulary, and top-p cuts a part
    torch.testing.assert_close(whole, mass)
    assert (tmp_path / "grpo_tokens.png").read_bytes().startswith(b"\x89PNG")


def test_many_devices_draws_the_same_tokens_for_any_number_of_processes(tmp_path: Path) -> None:
    printed = run_smoke("many_devices.py", tmp_path)
    assert "2 processes: the same tokens in all 3 updates as 1" in printed

    runs = [json.loads((tmp_path / f"many_devices_{world}.json").read_text()) for world in (1, 2)]
    tokens = torch.tensor(runs[0]["tokens"])
    assert tokens.shape == (3, 256, 3)
    assert tokens.unique().numel() > 80  # of a vocabulary of 101
    torch.testing.assert_close(torch.tensor(runs[0]["loss"]), torch.tensor(runs[1]["loss"]), rtol=0, atol=1e-6)
    assert (tmp_path / "many_devices.png").read_bytes().startswith(b"\x89PNG")
