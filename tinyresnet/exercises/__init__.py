"""Exercises that say what you did wrong. Floor 5.

    from tinyresnet import exercises

    exercises.all()                                    # each with .name, .title, .task, .equation, .presupposes
    exercises.check("batch_norm_backward", mine)       # -> passed, symptom, diagnosis, hints

A learner's function has the signature of our op of that name. NumPy suffices.
"""

from .check import all_exercises as all
from .check import check, get
from .check_file import check_file
from .exercise import Exercise, Mistake
from .language import language
from .result import CheckResult
from .train_on import train_on

__all__ = ["CheckResult", "Exercise", "Mistake", "all", "check", "check_file", "get", "language", "train_on"]
