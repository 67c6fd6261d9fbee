from .compare import Compare as Compare
from .curve import TrainingCurve as TrainingCurve
from .faces import FaceBrowser as FaceBrowser
from .threshold import ThresholdExplorer as ThresholdExplorer
from .verdict import VideoJudge as VideoJudge
