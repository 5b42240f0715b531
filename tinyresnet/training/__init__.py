"""Floor 5: from a config and pictures to a trained net in a folder, with stops and restarts on the way.

trainer = Trainer.start(config, Path("runs/mine"))
trainer.run()
run = open_run("runs/mine")
run.predict(pictures)
"""

from .config import Config, DataConfig, NetConfig, TrainingConfig, changed, read_config, recipe
from .diverged import Diverged
from .environment import environment
from .evaluation import Evaluation, Predictor, evaluate
from .loop import Listener, Trainer
from .nets import Net
from .run import Run, open_run
from .sources import dataset_of
from .state import Progress
from .step import StepResult
from .stopping import Stop, stopping_by_signal

__all__ = [
    "Config",
    "DataConfig",
    "Diverged",
    "Evaluation",
    "Listener",
    "Net",
    "NetConfig",
    "Predictor",
    "Progress",
    "Run",
    "StepResult",
    "Stop",
    "Trainer",
    "TrainingConfig",
    "changed",
    "dataset_of",
    "environment",
    "evaluate",
    "open_run",
    "read_config",
    "recipe",
    "stopping_by_signal",
]
