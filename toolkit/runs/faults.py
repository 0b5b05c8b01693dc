"""What went wrong outside of the program, and what to do: a full disk, a folder for reading only, too little memory."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR}
# How libraries that do not pass the system's error on say that a disk is full: safetensors and NumPy.
_SAYS_FULL = re.compile(r"\(os error (28|122)\)|No space left on device|\d+ requested and \d+ written")
_SAYS_MEMORY = re.compile(r"DefaultCPUAllocator: (can't allocate memory|not enough memory)|CUDA out of memory")


@contextmanager
def explained(folder: Path, option: str = "output") -> Iterator[None]:
    """Say of errors of the machine what to do, in place of what a library says of them.

    Lightning's exit after Ctrl-C becomes the KeyboardInterrupt that it was.

    Args:
        folder: What is written to inside the block.
        option: That names another folder.

    Raises:
        OSError: If the disk is full, or the folder is for reading only.
        MemoryError: If the memory, of the machine or of a GPU, is not enough.
    """
    try:
        yield
    except SystemExit as ended:
        if isinstance(ended.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from ended
        raise
    except (OSError, RuntimeError, MemoryError, SafetensorError) as error:
        if is_memory(error):
            raise MemoryError(memory_advice(error)) from error
        if is_full(error):
            raise OSError(
                f"The disk of {folder} is full ({_first_line(error)}). Nothing is lost of what was complete: make room "
                f"and give the same command with resume=true, or choose another folder with {option}=FOLDER."
            ) from error
        if isinstance(error, OSError) and error.errno in _READ_ONLY and _lies_in(error, folder):
            raise OSError(
                f"{folder} cannot be written ({_first_line(error)}); change its permissions, or choose another folder "
                f"with {option}=FOLDER."
            ) from error
        raise


def is_full(error: BaseException) -> bool:
    """Whether an error, or one that it came from, says that a disk is full: by the system's number or in words.

    Args:
        error: What was raised.
    """
    seen: BaseException | None = error
    while seen is not None:
        if (isinstance(seen, OSError) and seen.errno in _FULL) or _SAYS_FULL.search(str(seen)):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def is_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had: the GPU's, the allocator's of the CPU, Python's, NumPy's."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and _SAYS_MEMORY.search(str(error)) is not None


def memory_advice(error: BaseException) -> str:
    """What to do if memory is not enough.

    Args:
        error: That said so.
    """
    if isinstance(error, torch.OutOfMemoryError) or "CUDA" in str(error):
        where, further = "The GPU's memory", "trainer.precision=bf16-mixed takes about half for activations"
    else:
        where, further = "The machine's memory", "fewer processes at a time (engine.workers, trainer.devices) share it"
    return (
        f"{where} is not enough ({_first_line(error)}). Halve data.batch_size and double "
        "trainer.accumulate_grad_batches, which trains the same; data.eval_batch_size is what a pass without training "
        f"takes; a smaller data.max_length takes less; {further}."
    )


def _lies_in(error: OSError, folder: Path) -> bool:
    """Whether an error is of a file in a folder, or of the way there, as far as it says."""
    if not isinstance(error.filename, str | Path):
        return True
    file, inside = Path(error.filename).absolute(), folder.absolute()
    return file.is_relative_to(inside) or inside.is_relative_to(file)


def _first_line(error: BaseException) -> str:
    """The first sentence of an error, without the place in a library's source."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return re.sub(r"^\[enforce fail at [^\]]*\]\s*\.?\s*", "", line)[:200].rstrip(". ")
