"""State dicts of torch, in the layouts in which people keep them.

Training code wraps a network and adds heads; what is wanted is the network inside: a state dict alone or
under a key of a checkpoint, its names behind prefixes such as `module.` (DistributedDataParallel) or
`backbone.` (fast-reid), with classifiers that no longer matter beside it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from shared.errors import ModelError

log = logging.getLogger(__name__)

WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
"""Keys under which checkpoints keep the state dict."""

PREFIXES = ("module.", "backbone.", "base.", "model.", "encoder.")


def load_into(network: torch.nn.Module, path: Path) -> None:
    """Load the file into the network; what the network has no place for is named in the log.

    Raises ModelError for a file that is no state dict, or in which something of the network is missing or
    of another shape.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - a damaged pickle raises nearly anything
        told = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise _refused(network, path, told) from None
    wanted = network.state_dict()
    state = _unwrapped(found, wanted)
    # Old checkpoints lack these counters, which matter to training alone.
    missing = [name for name in wanted if name not in state and not name.endswith("num_batches_tracked")]
    if missing:
        raise _refused(network, path, f"{len(missing)} of its parts are missing, {missing[0]} for one")
    for name, value in state.items():
        if name in wanted and value.shape != wanted[name].shape:
            shapes = f"{tuple(value.shape)} where {tuple(wanted[name].shape)} belongs"
            raise _refused(network, path, f"{name} is {shapes}")
    ignored = sorted({name.split(".")[0] for name in state} - {name.split(".")[0] for name in wanted})
    if ignored:
        log.info("%s: %s not used", path.name, ", ".join(ignored))
    network.load_state_dict({name: state[name] for name in wanted if name in state}, strict=False)


def _unwrapped(found: object, wanted: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The tensors by their names in the network."""
    for key in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping):
        return {}
    state = {str(name): value for name, value in found.items() if isinstance(value, torch.Tensor)}
    while not state.keys() & wanted.keys():
        # The prefix of most names is the wrapper's; names without it are heads beside the network.
        prefix = max(PREFIXES, key=lambda each: sum(name.startswith(each) for name in state))
        inner = {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
        if not inner:
            break
        outer = {name: value for name, value in state.items() if not name.startswith(prefix)}
        state = inner if inner.keys() & outer.keys() else {**outer, **inner}
    return state


def _refused(network: torch.nn.Module, path: Path, told: str) -> ModelError:
    return ModelError(
        f"{path} is not a state dict of {type(network).__name__} ({told}): delete it and run "
        "`tracking-system models pull`, or save the network's state_dict() again"
    )
