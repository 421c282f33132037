"""`--set KEY=VALUE`: settings from the command line."""

import tomllib
from collections.abc import Iterable
from typing import Any

from p2pfl.cli.errors import BadInput


def parse_overrides(settings: Iterable[str]) -> dict[str, Any]:
    """Parse settings, later ones in place of earlier ones.

    Raises:
        BadInput: one is no ``KEY=VALUE``, or looks like TOML but is not.
    """
    overrides: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        key = key.strip()
        if not equals or not key or not all(key.split(".")):
            raise BadInput(f"--set {setting}: write it as KEY=VALUE, such as peers=64")
        overrides[key] = _parse_value(key, value.strip())
    return overrides


def _parse_value(key: str, value: str) -> Any:
    try:
        document = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError as error:
        if value and value[0] not in "\"'[{" and "\n" not in value:
            return value
        raise BadInput(f"--set {key}: the value is not TOML: {error}") from None
    if set(document) != {"value"}:
        raise BadInput(f"--set {key}: that is more than one value")
    return document["value"]
