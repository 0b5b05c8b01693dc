"""What is quick stays quick: the heavy libraries are imported by what computes, not by what lists or refuses."""

import json
import subprocess
import sys

import pytest

import toolkit
from toolkit.models import storage

HEAVY = {"datasets", "jsonargparse", "lightning", "numpy", "scipy", "torch", "torchmetrics", "transformers"}
REFUSED = """
from toolkit import run
try:
    run.main([{word!r}])
except SystemExit as ended:
    assert ended.code == 1
"""


@pytest.mark.parametrize(
    "code",
    [
        "import toolkit",
        "import recipes",
        "from toolkit import run; run.main([])",
        "from toolkit import run; run.main(['--help'])",
        REFUSED.format(word="recipe=nothing_like_it"),
        REFUSED.format(word="data.task=sst2"),
        REFUSED.format(word="quickstart"),
    ],
    ids=["toolkit", "recipes", "list", "help", "unknown recipe", "no recipe", "no option"],
)
def test_no_heavy_library_is_imported(code: str) -> None:
    command = [sys.executable, "-c", f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    modules = set(json.loads(done.stdout.splitlines()[-1]))
    assert "toolkit" in modules or "recipes" in modules
    assert not modules & HEAVY


def test_loading_is_imported_when_it_is_used() -> None:
    assert toolkit.load is storage.load
    with pytest.raises(AttributeError, match="no attribute 'loads'"):
        toolkit.loads  # noqa: B018
