"""Time a probabilistic step and a whole actor step against tensordict's and TorchRL's, interleaved, on one thread.

2026-11-22, figures of 2026-11-27 at (256, 6). Found: an eager `ProbabilisticModule` takes 24 us, 31 us with the
log-prob; tensordict's with TorchRL's `TanhNormal` 82 and 173 us. Compiled actors are 1.0 to 1.3 times as fast as
TorchRL's.

    python -m benchmarks.studies.policy_speed

The actions are tanh-normal, of shape (`--batch`, 6). The module is eager, drawing from a Generator; the actor, a linear
network or one of two hidden layers before the same draw, is compiled and draws from a key, TorchRL's from the global
generator. Both networks are the same on both sides, so the linear one shows what the rest costs. What a compiled call
takes at the least is beside it: that of the network alone, and that of the shortest function of a dict that draws with
a key, by `torch.tanh` and without a log-prob.
"""

import argparse
import functools
import warnings
from collections.abc import Callable
from typing import Any

import tensordict
import torch
import torchrl
from tensordict import TensorDict
from tensordict.nn import InteractionType, NormalParamExtractor, ProbabilisticTensorDictModule, TensorDictModule
from torch import Tensor, nn
from torchrl.modules import ProbabilisticActor, TanhNormal

from benchmarks.measures import medians
from benchmarks.progress import say, steps
from functional_dists import policy, random, tanh_normal

OBSERVATION, ACTION, HIDDEN = 17, 6, 64
Calls = dict[str, Callable[[], object]]
COLUMNS = ("dict", "TensorDict", "peer", "network alone", "shortest")


def module_calls(return_log_prob: bool, batch: int) -> Calls:
    ours = policy.ProbabilisticModule(
        tanh_normal,
        ["loc", "scale"],
        ["action"],
        default_interaction_type="random",
        return_log_prob=return_log_prob,
    )
    theirs = ProbabilisticTensorDictModule(
        in_keys=["loc", "scale"],
        out_keys=["action"],
        distribution_class=TanhNormal,
        default_interaction_type=InteractionType.RANDOM,
        return_log_prob=return_log_prob,
    )
    generator = torch.Generator().manual_seed(0)
    data = {"loc": torch.randn(batch, ACTION), "scale": torch.rand(batch, ACTION) + 0.5}
    in_tensordict = TensorDict(data, [batch])
    return {
        "dict": lambda: ours((), generator, data),
        "TensorDict": lambda: ours((), generator, in_tensordict),
        "peer": lambda: theirs(in_tensordict.copy()),  # it writes into what it is given
    }


def linear() -> nn.Module:
    return nn.Linear(OBSERVATION, 2 * ACTION)


def two_hidden_layers() -> nn.Module:
    return nn.Sequential(
        nn.Linear(OBSERVATION, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 2 * ACTION)
    )


def actor_calls(return_log_prob: bool, batch: int, make_network: Callable[[], nn.Module]) -> Calls:
    network = make_network()
    params, step = policy.actor(network, tanh_normal, in_keys=["observation"], return_log_prob=return_log_prob)
    theirs = ProbabilisticActor(
        TensorDictModule(
            nn.Sequential(network, NormalParamExtractor()), in_keys=["observation"], out_keys=["loc", "scale"]
        ),
        in_keys=["loc", "scale"],
        distribution_class=TanhNormal,
        default_interaction_type=InteractionType.RANDOM,
        return_log_prob=return_log_prob,
    )
    key, data = random.key(42), {"observation": torch.randn(batch, OBSERVATION)}
    in_tensordict = TensorDict(data, [batch])

    def shortest(key: Tensor, data: dict[str, Tensor]) -> dict[str, Tensor]:
        loc, raw = network(data["observation"]).chunk(2, -1)
        scale = torch.nn.functional.softplus(raw)
        return {**data, "action": torch.tanh(loc + scale * random.normal(key, loc.shape))}

    compiled, compiled_theirs = torch.compile(step, fullgraph=True), torch.compile(theirs)
    alone, by_hand = torch.compile(network, fullgraph=True), torch.compile(shortest, fullgraph=True)
    return {
        "dict": lambda: compiled(params, key, data),
        "TensorDict": lambda: compiled(params, key, in_tensordict),
        "peer": lambda: compiled_theirs(in_tensordict.copy()),
        "network alone": lambda: alone(data["observation"]),
        "shortest": lambda: by_hand(key, data),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=51)
    parser.add_argument("--repeats", type=int, default=40)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows: dict[str, Callable[[bool, int], Calls]] = {
        "eager module, Generator": module_calls,
        "compiled actor, linear, key": functools.partial(actor_calls, make_network=linear),
        "compiled actor, two hidden layers, key": functools.partial(actor_calls, make_network=two_hidden_layers),
    }
    print(f"torch {torch.__version__}, tensordict {tensordict.__version__}, torchrl {torchrl.__version__}, 1 thread")
    print(f"actions of shape ({arguments.batch}, {ACTION})")
    print(f"median us of {arguments.rounds} rounds; how many times as fast as the peer, on the same kind of data\n")
    print(f"| step | log-prob | {' | '.join(COLUMNS)} | dict | TensorDict |\n|{'---|' * (len(COLUMNS) + 4)}")
    for name, return_log_prob in steps([(name, scored) for name in rows for scored in (False, True)], "steps"):
        torch._dynamo.reset()
        with torch.no_grad():
            median = medians(rows[name](return_log_prob, arguments.batch), arguments.rounds, arguments.repeats)
        cells: list[Any] = [name, "yes" if return_log_prob else "no"]
        cells += [f"{median[column]:.0f}" if column in median else "" for column in COLUMNS]
        cells += [f"{median['peer'] / median[column]:.1f}x" for column in ("dict", "TensorDict")]
        say(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
