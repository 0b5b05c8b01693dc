"""LightningDataModules: labelled tasks, and plain text for masked language modelling."""

from toolkit.data.task_data import TaskData
from toolkit.data.text import Text

__all__ = ["TaskData", "Text"]
