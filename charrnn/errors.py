"""Every error that a user can meet: one tree, each with the exit code that the command line gives.

    CharrnnError                 1
    ├── UsageError               2   flags or arguments that do not fit together
    ├── ConfigError              1   a setting, a preset or a configuration file
    ├── CorpusError              1   what was to be learnt cannot be read or is too short
    ├── CheckpointError          1   a model file that is broken, foreign or too new
    ├── RunError                 1   a run directory: exists already, is in use, is incomplete
    ├── DeviceError              1   a device that is not there
    ├── DivergenceError          1   a loss or a gradient that is not finite
    └── SamplingError            1   a demand on the sampler that nothing can meet

A message is one line: what was wrong, where, and what to do about it.
"""

from __future__ import annotations


class CharrnnError(Exception):
    """Root of all errors that are the user's to mend; the command line prints it as one line."""

    exit_code = 1


class UsageError(CharrnnError):
    """Flags or arguments that contradict each other."""

    exit_code = 2


class ConfigError(CharrnnError):
    """A setting out of range, of the wrong type or unknown; lists all that was found."""


class CorpusError(CharrnnError):
    """A corpus that cannot be read, decoded or learnt from."""


class CheckpointError(CharrnnError):
    """A file that is not a model of this program, or is damaged."""


class RunError(CharrnnError):
    """A run directory that exists already, is in use by another process, or misses a file."""


class DeviceError(CharrnnError):
    """A device that was asked for and is not available."""


class DivergenceError(CharrnnError):
    """Training met a loss or a gradient that is not finite."""


class SamplingError(CharrnnError):
    """A demand on the sampler that no distribution can meet."""
