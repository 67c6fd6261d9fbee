"""What can be wrong with a video, a folder or a configuration. Each error is a `ValueError` and says what to do.

A call on a single video raises these; batch jobs record them in the manifest.
"""


class UnreadableVideo(ValueError):
    """No frame can be decoded: the file is missing, empty, cut off, or not a video."""


class TookTooLong(UnreadableVideo):
    """The video exceeded its time limit. On a machine that is less busy it may not."""


class NoFaceFound(ValueError):
    """The video can be decoded, but no detected face lasts long enough to be a person."""


class BrokenCatalog(ValueError):
    """A folder has no videos, or its `metadata.json` is not DFDC's."""


class ConfigMismatch(ValueError):
    """Two stages disagree on a `SequenceConfig`, or a training and the unfinished one in its folder on a setting."""


class TrainingDiverged(ValueError):
    """The loss of a training became NaN; with the same settings it would do so again."""
