"""Presets: partial settings in TOML files, bundled or the user's own."""

from __future__ import annotations

import tomllib
from pathlib import Path

from charrnn.config import Given, check
from charrnn.errors import ConfigError
from charrnn.files import bundled


def presets() -> dict[str, Path]:
    """The bundled presets by name."""
    return {path.stem: path for path in sorted(bundled("configs").glob("*.toml"))}


def load_preset(name: str | None) -> Given:
    """Read a bundled preset by name, or a TOML file by path; None: no settings.

    Raises:
        ConfigError: no such preset or file, not TOML, or a mistake in it.
    """
    if not name:
        return check({}, "")
    known = presets()
    path = known.get(name, Path(name))
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"no preset or file {name!r}; presets: {', '.join(known)}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not a TOML file ({error})") from None
    return check(values, str(path))
