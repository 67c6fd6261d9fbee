from .checkpoints import (
    Progress as Progress,
    load_progress as load_progress,
    save_progress as save_progress,
)
from .fit import (
    is_trained as is_trained,
    train as train,
    train_baseline as train_baseline,
    train_missing as train_missing,
)
from .loop import TrainingConfig as TrainingConfig
from .strategies import (
    WorkerLost as WorkerLost,
    choose_strategy as choose_strategy,
)
