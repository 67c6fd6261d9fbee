from .fit import (
    is_trained as is_trained,
    train as train,
    train_baseline as train_baseline,
    train_missing as train_missing,
)
from .loop import (
    Progress as Progress,
    TrainingConfig as TrainingConfig,
    load_progress as load_progress,
    save_progress as save_progress,
)
from .strategies import WorkerLost as WorkerLost, choose_strategy as choose_strategy
