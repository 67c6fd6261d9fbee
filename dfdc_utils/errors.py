"""What can be wrong with a video, a folder or a configuration. Each is a `ValueError` and says what to do.

Batch jobs record these in their manifest; a call on a single video raises them.
"""


class UnreadableVideo(ValueError):
    """No frame can be decoded from the file: it is missing, empty, cut off, or not a video."""


class TookTooLong(UnreadableVideo):
    """The video went over its time limit; on a machine that is less busy it may not."""


class NoFaceFound(ValueError):
    """The video decodes, but no detector hit in it lasts long enough to be a person."""


class BrokenCatalog(ValueError):
    """A DFDC folder, or its `metadata.json`, cannot be read as one."""


class ConfigMismatch(ValueError):
    """Two stages disagree on a `SequenceConfig`, or a training and the unfinished one in its folder on a setting."""


class TrainingDiverged(ValueError):
    """The loss of a training became NaN; with the same settings it would do so again."""
