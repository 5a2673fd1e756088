"""# Sharded heads: policies on many devices

Every verb takes DTensors, PyTorch's tensors on a mesh of devices. Each device computes its part, and the result is bit
for bit what one device would draw. This program runs as it is, or on N processes, with the same tokens:

    torchrun --nproc-per-node N sharded_heads.py

* All devices get the same key. `sample` draws for each device its window of the draw of the whole batch. PyTorch's own
  random numbers would be the same on every device of a CPU mesh.
* A vocabulary that is cut costs an all-reduce or a gather of some numbers a row, never the table. A log-prob takes two
  and none on the way back, a draw three.
* What is the same on all devices stays replicated: log-probs, entropies and tokens, if the batch is not cut.
* A loss in plain local tensors, as Megatron-style trainers write it: wrap the shard by `DTensor.from_local`, and take
  `.to_local()` of the result.
* `check` raises on all devices alike, with the position in the whole tensor.

Not checked, since it would cost a collective: that all devices have the same key and the same replicated numbers.
`ordinal` and the slots of sparse families gather their rows. `torch.vmap` over DTensors and forward mode do not work.
A `torch.Generator` is an error: draw a key from it on one device, and send the key to all.
"""

import argparse
import os

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from functional_dists import categorical, random, tanh_normal

parser = argparse.ArgumentParser()
parser.add_argument("--short", action="store_true", help="a smaller vocabulary")
args = parser.parse_args()
BATCH, WIDTH, VOCABULARY = 8, 16, 101 if args.short else 10_001

os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
os.environ.setdefault("MASTER_PORT", "29501")
dist.init_process_group("gloo", rank=int(os.environ.get("RANK", 0)), world_size=int(os.environ.get("WORLD_SIZE", 1)))
mesh = init_device_mesh("cpu", (dist.get_world_size(),))
torch.manual_seed(0)  # the same weights on all devices
key = random.key(0)  # the same key

# A head whose vocabulary is cut: each device has some rows of the weight.
hidden, weight = torch.randn(BATCH, WIDTH), 0.1 * torch.randn(VOCABULARY, WIDTH)
head = torch.nn.Parameter(distribute_tensor(weight, mesh, [Shard(0)]))
logits = distribute_tensor(hidden, mesh, [Replicate()]) @ head.T  # cut along the vocabulary
token, log_prob = categorical.sample_and_log_prob(key, logits)
(-log_prob - 0.01 * categorical.entropy(logits)).sum().full_tensor().backward()

# What one device computes. The products may round differently, the draws do not.
whole = hidden @ weight.T
assert torch.equal(token.to_local(), categorical.sample(key, whole))
torch.testing.assert_close(log_prob.to_local(), categorical.log_prob(whole, token.to_local()))

# Plain local tensors with a process group: only the logits of this device's part of the vocabulary.
shard = logits.to_local().detach().requires_grad_()
cut = DTensor.from_local(shard, mesh, [Shard(-1)], run_check=False, shape=whole.shape, stride=whole.stride())
score = categorical.log_prob(cut, token.to_local()).to_local()
score.sum().backward()
assert shard.grad.shape == shard.shape

# A batch that is cut: each device draws the actions of its own rows, with its window of the noise.
loc = distribute_tensor(torch.randn(BATCH, 3), mesh, [Shard(0)])
action = tanh_normal.sample(key, loc, 0.5)
assert torch.equal(action.full_tensor(), tanh_normal.sample(key, loc.full_tensor(), 0.5))

if dist.get_rank() == 0:
    print(f"{dist.get_world_size()} devices drew the tokens {token.to_local().tolist()}")
dist.destroy_process_group()
