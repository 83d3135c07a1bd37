"""Every error that a user can meet, in one tree, with the exit code of the command line.

    CharrnnError                 1
    ├── UsageError               2   flags or arguments that do not fit together
    ├── ConfigError              1   a setting, a preset or a configuration file
    │   └── FinishedError        1   a run to resume whose budget is used up
    ├── CorpusError              1   a corpus that cannot be read or is too short
    ├── CheckpointError          1   a model file that is broken, foreign or too new
    ├── RunError                 1   a run directory: exists already, is in use, is incomplete
    │   └── PeerError            1   another process that trains this run has ended
    ├── DeviceError              1   a device that is not there
    ├── DivergenceError          1   a loss or a gradient that is not finite
    └── SamplingError            1   a sample that cannot be made or written

A message is one line: what was wrong, where, and what to do.
"""

from __future__ import annotations


class CharrnnError(Exception):
    """Base class of all errors that a user can fix; the command line prints one line."""

    exit_code = 1


class UsageError(CharrnnError):
    """Flags or arguments that contradict each other."""

    exit_code = 2


class ConfigError(CharrnnError):
    """Settings that are out of range, of the wrong type, unknown or without effect; lists all."""


class FinishedError(ConfigError):
    """A run that is to be resumed, but whose budget is used up."""


class CorpusError(CharrnnError):
    """A corpus that cannot be read, decoded or learnt from."""


class CheckpointError(CharrnnError):
    """A file that is not a charrnn model, or is damaged."""


class RunError(CharrnnError):
    """A run directory that exists already, is in use by another process, or lacks a file."""


class PeerError(RunError):
    """Another process that trains the same run has ended, or cannot be reached."""


class DeviceError(CharrnnError):
    """A device that was asked for and is not available."""


class DivergenceError(CharrnnError):
    """Training diverged: a loss or gradient that is not finite."""


class SamplingError(CharrnnError):
    """A sample that cannot be made with these settings, or cannot be written."""
