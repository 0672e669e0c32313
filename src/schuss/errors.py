"""Every error that a user can meet.

    SchussError
    ├── DataError            the table cannot be used as it is               (also a ValueError)
    │   ├── SourceError      a file is missing, unreadable, empty or not a table
    │   ├── ColumnError      a column is missing, doubled, unnamed or of the wrong kind
    │   └── CellError        a single value is impossible: where it stands is said
    ├── SettingError         a setting is out of range or does not fit another (also a ValueError)
    ├── ModelFileError       a model or a checkpoint is damaged or foreign
    │   └── NewerFormatError it is from a newer version
    ├── RunError             a run folder is in use, holds something else, or does not fit what is asked of it
    ├── OutputError          a result cannot be written                      (also an OSError)
    ├── AbandonedError       a training was abandoned by whoever watched it
    ├── DivergedError        the loss became infinite or undefined before any W was worth keeping
    └── EngineError          an engine that was asked for cannot be used here

A message says what was wrong, where (file, row, column, step), and one thing to do about it.
"""


class SchussError(Exception):
    """The root of the tree: ``except SchussError`` catches whatever schuss reports."""


class DataError(SchussError, ValueError):
    """The table cannot be used as it is."""


class SourceError(DataError):
    """A file is missing, unreadable, empty or not a table."""


class ColumnError(DataError):
    """A column is missing, doubled, unnamed or of the wrong kind."""


class CellError(DataError):
    """A single value is impossible; the message says in which row and column it stands."""


class SettingError(SchussError, ValueError):
    """A setting is out of range or does not fit another one."""


class ModelFileError(SchussError):
    """A model file or a checkpoint is damaged or foreign."""


class NewerFormatError(ModelFileError):
    """A file is from a newer version of schuss."""


class RunError(SchussError):
    """A run folder is in use, holds something else, or does not fit what is asked of it."""


class IncompleteRunWarning(UserWarning):
    """Something of a run folder could not be written or read; the training went on without it."""


class AbandonedError(SchussError):
    """A training was abandoned: nothing was kept."""


class OutputError(SchussError, OSError):
    """A result cannot be written."""


class DivergedError(SchussError):
    """The loss became infinite or undefined before any W was worth keeping."""


class EngineError(SchussError):
    """An engine that was asked for cannot be used here."""


def one_line(error: BaseException) -> str:
    """What another library says, up to its first line break and without the full stop."""
    return str(error).strip().partition("\n")[0].rstrip(".")
