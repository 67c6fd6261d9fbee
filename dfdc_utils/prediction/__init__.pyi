from .detector import (
    MOST_EXPLAINED as MOST_EXPLAINED,
    Detector as Detector,
    decode_faces as decode_faces,
)
from .verdicts import (
    RARE as RARE,
    Explanation as Explanation,
    Prediction as Prediction,
    WindowScore as WindowScore,
    predictions_table as predictions_table,
)
