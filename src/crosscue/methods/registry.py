"""The names of the methods, and where each one is."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from crosscue.configuration import configured
from crosscue.errors import MethodError, suggestion
from crosscue.plugins import failure, loaded, plugged

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from crosscue.backbones.protocol import Backbone
    from crosscue.methods.contract import Method

METHODS = {
    "zero_shot": "crosscue.methods.zero_shot:ZeroShot",
    "dual_prompt": "crosscue.methods.dual_prompt:DualPrompt",
    "dcar": "crosscue.methods.dcar.model:Dcar",
    "filip": "crosscue.methods.filip:Filip",
    "alip": "crosscue.methods.alip:Alip",
    "fineclip": "crosscue.methods.fineclip:FineClip",
    "coop": "crosscue.methods.coop:Coop",
    "clip_adapter": "crosscue.methods.clip_adapter:ClipAdapter",
    "maple": "crosscue.methods.maple:Maple",
    "lora": "crosscue.methods.lora:Lora",
    "full_ft": "crosscue.methods.full_ft:FullFt",
    "linear_probe": "crosscue.methods.linear_probe:LinearProbe",
    "action": "crosscue.methods.action.model:Action",
    "acke": "crosscue.methods.acke.model:Acke",
    "acke_released": "crosscue.methods.acke.released:ReleasedAcke",
}
"""Name -> module:class. A new method adds its line here and its row in tests/grid.py."""
GROUP = "crosscue.methods"
"""Entry points of methods in other installed packages."""


def method_names() -> list[str]:
    """Returns the names of all methods: our own, then those of plug-ins. No method is imported."""
    return list(METHODS | plugged(GROUP))


def method_class(name: str) -> type[Method[Any]]:
    """Returns the class of a method.

    Raises:
        MethodError: there is no such method; the message suggests the nearest name.
        CrosscueError: it belongs to a plug-in that cannot be imported.
    """
    name = str(name)
    if name not in METHODS:
        return _plugged_class(name)
    module, _, attribute = METHODS[name].partition(":")
    found: type[Method[Any]] = getattr(importlib.import_module(module), attribute)
    return found


def unknown(name: str, names: Iterable[str]) -> MethodError:
    """Returns the error of a name that is none of these; it suggests the nearest."""
    return MethodError(f"there is no method '{name}'.{suggestion(name, names)}")


def _plugged_class(name: str) -> type[Method[Any]]:
    point = plugged(GROUP).get(name)
    if point is None:
        raise unknown(name, method_names())
    found: type[Method[Any]] | None = loaded(point)
    if found is None:
        raise failure(point)
    return found


def build(name: str, backbone: Backbone, options: Mapping[str, Any] | object | None = None) -> Method[Any]:
    """Returns a method around a backbone; `options` is its config, a mapping of config fields, or None for defaults.

    Raises:
        MethodError: an unknown method, or an option the backbone cannot satisfy.
        OptionError: see `config_of`.
    """
    found = method_class(name)
    return found(backbone, config_of(found, options))


def config_of(method: type[Method[Any]], options: Mapping[str, Any] | object | None) -> Any:
    """Returns the config of `method` from a mapping, a ready config, or None.

    Raises:
        OptionError: an unknown option, or a value of a wrong type or outside the choices.
    """
    return configured(method.config_class, options, f"method '{method.name}'")
