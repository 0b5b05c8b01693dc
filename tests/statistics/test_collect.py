"""One pass over a split: each row once, the same sums after an interruption, and on any number of processes."""

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import RichProgressBar
from torch import Tensor
from transformers import PreTrainedModel

from toolkit.data import TaskData
from toolkit.models.loading import load_network
from toolkit.statistics.collect import _Pass, collect
from toolkit.statistics.features import extract_features
from toolkit.statistics.hidden_states import HiddenBatch

AT_ONCE = timedelta(0)


@torch.no_grad()
def token_means(network: PreTrainedModel, data: TaskData, split: str) -> Tensor:
    """Mean hidden state of all tokens but [CLS] and [SEP], one sentence after the other, (L, D) float64."""
    network.eval()
    tokens = []
    for row in data.split(split):
        inputs = {name: torch.tensor([row[name]]).long() for name in ("input_ids", "token_type_ids")}
        states = network.base_model(**inputs, output_hidden_states=True).hidden_states
        special = data.tokenizer.get_special_tokens_mask(row["input_ids"], already_has_special_tokens=True)
        tokens.append(torch.stack(states)[:, 0, ~torch.tensor(special).bool()].double())
    return torch.cat(tokens, 1).mean(1)


@pytest.mark.parametrize("task", ["synthetic_sentiment", "synthetic_similarity", "synthetic_entities"])
def test_every_row_once(task: str, observed: Any, token_sum: Any, seen: Any, quiet: Any) -> None:
    network, data = observed(task)
    metric, rows = token_sum(), seen()
    collect(network, data, [metric, rows], split="dev", trainer=quiet)
    torch.testing.assert_close(metric.compute(), token_means(network, data, "dev"), atol=1e-6, rtol=1e-5)
    examples = len(data.split("dev"))
    if data.task.kind == "tagging":
        examples = sum(len(row["words"]) for row in data.sentences("dev"))
    assert sorted(row for batch in rows.batches for row in batch) == list(range(examples))


def test_network_is_left_as_it_was(observed: Any, token_sum: Any, quiet: Any) -> None:
    network, data = observed()
    network.train()
    network.base_model.embeddings.eval()
    modes = [module.training for module in network.modules()]
    random = torch.get_rng_state()
    first, second = token_sum(), token_sum()
    collect(network, data, [first], split="dev", trainer=quiet)
    assert [module.training for module in network.modules()] == modes
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
    assert torch.equal(torch.get_rng_state(), random)
    collect(network, data, [second], split="dev", trainer=quiet)
    assert torch.equal(first.compute(), second.compute())  # no dropout
    first.update(torch.zeros(3, 1, 32))  # in place, which tensors made in inference mode would refuse


def test_float32_whatever_the_trainer_and_the_network_are(observed: Any, token_sum: Any, quiet: Any) -> None:
    network, data = observed()
    exact, mixed, low, cast = (token_sum() for _ in range(4))
    collect(network, data, [exact], split="dev", trainer=quiet)

    def always_mixed(**options: Any) -> Trainer:
        trainer: Trainer = quiet(**{**options, "precision": "bf16-mixed"})
        return trainer

    collect(network, data, [mixed], split="dev", trainer=always_mixed)
    assert torch.equal(mixed.compute(), exact.compute())
    collect(network, data, [low], split="dev", trainer=quiet, precision="bf16-mixed")
    assert 0 < (low.compute() - exact.compute()).abs().max() < 0.1
    network.to(torch.bfloat16)
    collect(network, data, [cast], split="dev", trainer=quiet)
    assert network.dtype == torch.bfloat16
    assert exact.total.dtype == cast.total.dtype == torch.float64
    torch.testing.assert_close(cast.compute(), token_means(network.float(), data, "dev"), atol=1e-6, rtol=1e-5)
    with pytest.raises(ValueError, match=r"trainer\.precision=bf16-true leaves no float32"):
        collect(network, data, [token_sum()], trainer=lambda **options: quiet(**{**options, "precision": "bf16-true"}))


def test_limits_of_the_trainer_do_not_hold(observed: Any, token_sum: Any, quiet: Any) -> None:
    network, data = observed()
    whole, limited = token_sum(), token_sum()
    collect(network, data, [whole], split="dev", trainer=quiet)
    collect(network, data, [limited], split="dev", trainer=partial(quiet, limit_predict_batches=1))
    assert limited.count == whole.count > 0


@pytest.mark.parametrize("fail_at", [1, 4, 6])
def test_interrupted_pass_continues_with_equal_sums(
    fail_at: int, observed: Any, token_sum: Any, seen: Any, quiet: Any, tmp_path: Path
) -> None:
    network, data = observed()
    options = {"trainer": quiet, "resume_file": tmp_path / "folder" / "pass.ckpt", "save_every": AT_ONCE}
    whole, rows = token_sum(), seen()
    collect(network, data, [whole, rows], trainer=quiet)
    assert len(rows.batches) == 7
    interrupted = seen(fail_at)
    with pytest.raises(RuntimeError, match="interrupted"):
        collect(network, data, [token_sum(), interrupted], **options)
    resumed, rest = token_sum(), seen()
    collect(network, data, [resumed, rest], **options)
    assert interrupted.batches + rest.batches == rows.batches
    assert torch.equal(resumed.total, whole.total)
    assert resumed.count == whole.count
    again, nothing = token_sum(), seen()
    collect(network, data, [again, nothing], **options)
    assert nothing.batches == []
    assert torch.equal(again.compute(), whole.compute())
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["pass.ckpt"]
    assert torch.load(tmp_path / "folder" / "pass.ckpt", weights_only=True)["batches"] == 7


def test_file_of_another_pass_is_ignored(observed: Any, token_sum: Any, quiet: Any, tmp_path: Path) -> None:
    network, data = observed()
    options: dict[str, Any] = {"trainer": quiet, "resume_file": tmp_path / "pass.ckpt", "split": "dev"}
    first = token_sum()
    collect(network, data, [first], **options)
    with pytest.warns(UserWarning, match=r"pass\.ckpt is ignored .* another pass: data, options differ"):
        collect(network, data, [token_sum()], **options | {"split": "test"})
    network.base_model.embeddings.word_embeddings.weight.data[5] += 1
    with pytest.warns(UserWarning, match="another pass: network, data, options differ"):
        collect(network, observed(size=50)[1], [token_sum()], **options, pooling="first")
    changed = token_sum()
    changed.corrected = True
    with pytest.warns(UserWarning, match="another pass: data, options, statistics differ"):
        collect(network, data, [changed], **options)
    (tmp_path / "pass.ckpt").write_bytes(b"\x00" * 100)
    last = token_sum()
    with pytest.warns(UserWarning, match="is ignored and the pass starts anew: it is damaged"):
        collect(network, data, [last], **options)
    assert not torch.equal(last.compute(), first.compute())
    torch.testing.assert_close(last.compute(), token_means(network, data, "dev"), atol=1e-6, rtol=1e-5)


def test_head_and_label_names_are_not_part_of_a_pass(
    observed: Any, token_sum: Any, seen: Any, quiet: Any, tmp_path: Path
) -> None:
    network, data = observed()
    options: dict[str, Any] = {"trainer": quiet, "resume_file": tmp_path / "pass.ckpt", "split": "dev"}
    collect(network, data, [seen()], **options)
    network.classifier.weight.data += 1
    network.config.name_or_path = "elsewhere"
    again = seen()
    collect(network, data, [again], **options)
    assert again.batches == []


def test_progress_bar_names_the_split(observed: Any, token_sum: Any, capsys: pytest.CaptureFixture[str]) -> None:
    made: list[Trainer] = []

    def trainer(**options: Any) -> Trainer:
        made.append(Trainer(accelerator="cpu", **options))
        return made[-1]

    network, data = observed()
    collect(network, data, [token_sum()], split="dev", trainer=trainer)
    [bar] = [callback for callback in made[0].callbacks if isinstance(callback, RichProgressBar)]  # type: ignore[attr-defined]
    assert bar.predict_description == "Hidden states of dev"


def test_what_cannot_be_collected(observed: Any, token_sum: Any, quiet: Any, tmp_path: Path) -> None:
    network, data = observed()
    used = token_sum()
    used.update(torch.zeros(3, 1, 32))
    with pytest.raises(ValueError, match="TokenSum has seen batches before"):
        collect(network, data, [used], trainer=quiet)

    class Forgetful:
        def observe(self, batch: Any) -> None: ...

    with pytest.raises(TypeError, match="Forgetful cannot be resumed: give it state_dict"):
        collect(network, data, [Forgetful()], trainer=quiet, resume_file=tmp_path / "pass.ckpt")


SCRIPT = """
import sys
from functools import partial
from pathlib import Path

import torch
from lightning.pytorch import Trainer

sys.path.insert(0, {folder!r})
from conftest import Seen, TokenSum
from toolkit.data import TaskData
from toolkit.models.loading import load_network
from toolkit.statistics.collect import _Pass, collect
from toolkit.statistics.features import extract_features
from toolkit.statistics.hidden_states import HiddenBatch

network_folder, out, size, batch_size = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
trainer = partial(Trainer, accelerator="cpu", devices=2, strategy="ddp", enable_progress_bar=False)
data = TaskData("synthetic_entities", network=network_folder, size=size, eval_batch_size=batch_size)
network = load_network(network_folder, data.task)
for attempt in (0, 1):
    metric, rows = TokenSum(), Seen()
    collect(network, data, [metric, rows], trainer=trainer, resume_file=out / "pass.ckpt")
    rank = torch.distributed.get_rank()
    found = (metric.compute(), metric.total, metric.count, rows.batches)
    torch.save(found, out / f"collected-{{attempt}}-{{rank}}.pt")
for attempt in (0, 1):
    metric = TokenSum()
    features = extract_features(network, data, "train", out / "features", trainer=trainer, statistics=[metric])
    torch.save((features.matrix(), metric.total), out / f"extracted-{{attempt}}-{{rank}}.pt")
"""


@pytest.mark.slow
@pytest.mark.parametrize(("size", "batch_size"), [(40, 8), (40, 64)])  # the last: one process has no batch
def test_two_processes(
    size: int, batch_size: int, tiny_network: Path, tmp_path: Path, token_sum: Any, quiet: Callable[..., Trainer]
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(folder=str(Path(__file__).parent)))
    out = tmp_path / "out"
    out.mkdir()
    arguments = [str(tiny_network), str(out), str(size), str(batch_size)]
    done = subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    data = TaskData("synthetic_entities", network=str(tiny_network), size=size, eval_batch_size=batch_size)
    network = load_network(str(tiny_network), data.task)
    metric = token_sum()
    features = extract_features(network, data, "train", tmp_path / "alone", trainer=quiet, statistics=[metric])
    seen = []
    for rank in (0, 1):
        for attempt in (0, 1):
            mean, total, count, batches = torch.load(out / f"collected-{attempt}-{rank}.pt")
            torch.testing.assert_close(mean, metric.compute(), atol=1e-12, rtol=1e-9)
            torch.testing.assert_close(total, metric.total, atol=1e-9, rtol=1e-9)
            assert count == metric.count
            assert bool(batches) == (attempt == 0 and (rank == 0 or batch_size == 8))
            seen += [row for batch in batches for row in batch]
            matrix, total = torch.load(out / f"extracted-{attempt}-{rank}.pt")
            assert torch.equal(matrix, features.matrix())
            torch.testing.assert_close(total, metric.total, atol=1e-9, rtol=1e-9)
    assert sorted(seen) == list(range(len(features.labels)))


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_spawned_processes_are_refused(observed: Any, token_sum: Any, quiet: Any) -> None:
    network, data = observed()
    trainer = partial(quiet, devices=1, strategy="ddp_fork")
    with pytest.raises(Exception, match=r"trainer\.strategy spawns or forks its processes"):
        collect(network, data, [token_sum()], trainer=trainer)


@pytest.mark.parametrize("tokens", [0, 3])
def test_padding_that_is_no_number_is_seen_in_the_means(tokens: int) -> None:
    """Zero times NaN is NaN: the mean of a sentence tells of what its valid tokens hide, or where there are none."""
    states = torch.zeros(2, tokens, 4)
    means = torch.zeros(2, 1, 4)
    batch = HiddenBatch(tokens=states, rows=means, labels=torch.zeros(1), positions=torch.zeros(1), sentences=means)
    state: Any = SimpleNamespace(done=5, split="dev", options={"precision": "32-true"})
    _Pass._check_finite(state, batch)
    means[1, 0, 2] = torch.nan
    with pytest.raises(FloatingPointError, match="layer 1 have NaN or infinite entries, in batch 5 of dev"):
        _Pass._check_finite(state, batch)
