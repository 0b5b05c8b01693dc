"""The progress bar of a pass over a set."""

from lightning.pytorch.callbacks import RichProgressBar


class PassProgress(RichProgressBar):
    """A progress bar of ``Trainer.predict`` that says what is done.

    Args:
        description: Stands before the bar, such as ``Judging on test``.
    """

    def __init__(self, description: str) -> None:
        super().__init__()
        self.description = description

    @property
    def predict_description(self) -> str:
        """What stands before the bar."""
        return self.description
