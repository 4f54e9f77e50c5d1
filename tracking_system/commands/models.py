"""`tracking-system models`: the networks' weights on this machine."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from services.detector.families import (
    DESCRIBERS,
    OPENVINO_DETECTORS,
    OPENVINO_EMBEDDERS,
    TORCH_DETECTOR,
    TORCH_EMBEDDER,
    build,
    choose_family,
    describers,
)
from services.detector.weights import list_models, pull
from shared import logs
from shared.config import Config
from tracking_system.commands.arguments import add_settings, settings_of, setup_of
from tracking_system.table import aligned

log = logging.getLogger(__name__)

_EPILOG = """\
Weights are looked for in a folder you name (--models, TRACKING_SYSTEM_MODELS), then in the cache, then at
their official address, where their hash is checked.

examples:
  tracking-system models list
  tracking-system models pull                            what a run on this machine uses
  tracking-system models pull person-detection-0202
  tracking-system models check --set family=torch        load what a run would use, and name it
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `models`."""
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="all networks, and where they are")
    pulling = actions.add_parser("pull", help="fetch a network's weights into the cache")
    pulling.add_argument("name", metavar="NAME", nargs="?", help="the network (default: what a run uses)")
    checking = actions.add_parser("check", help="load the networks that a run would use, and name them")
    checking.add_argument("--config", metavar="FILE", type=Path, help="the YAML file of the run")
    for each in (listing, pulling, checking):
        add_settings(each)


def run(arguments: argparse.Namespace) -> int:
    """List, pull or check."""
    logs.configure("models")
    if arguments.action == "check":
        config = (
            settings_of(arguments)
            if arguments.config is None
            else setup_of(arguments, arguments.config).config
        )
        networks = build(config)
        describers(config)
        print(f"detector {networks.detector.name}\nembedder {networks.embedder.name}")
        return 0
    config = settings_of(arguments)
    if arguments.action == "list":
        rows = [("network", "kind", "family", "size", "where", "about")]
        for model in list_models(config.models):
            size = "" if model.bytes is None else f"{model.bytes / 1e6:.1f} MB"
            where = {"folder": "your folder", "cache": "the cache", "": "not here"}[model.place]
            rows.append((model.name, model.kind, model.family, size, where, model.about))
        print(aligned(rows))
        return 0
    for name in [arguments.name] if arguments.name else _used_by(config):
        print(f"{name}: {pull(name, config.models)}")
    return 0


def _used_by(config: Config) -> list[str]:
    if choose_family(config) == "torch":
        names = [config.detector or TORCH_DETECTOR, config.embedder or TORCH_EMBEDDER]
    else:
        names = [config.detector or OPENVINO_DETECTORS[0], config.embedder or OPENVINO_EMBEDDERS[0]]
    for kind, setting in {"face": config.faces, "clothing": config.clothing}.items():
        names += DESCRIBERS[kind] if setting != "off" else ()
    return names
