"""Grids: which runs there are, which share what, and when two of them are the same."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from toolkit.comparison.grid import Grid
from toolkit.comparison.methods import Budget, Method
from toolkit.tasks import Task


@pytest.fixture
def options(tiny_network: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "tasks": ["synthetic_sentiment"],
        "data": {"size": 60, "limit_eval": 10, "max_length": 32, "cache": str(tmp_path / "cache")},
        "model": {"network": str(tiny_network)},
        "budget": Budget(steps=2),
    }


def keys(grid: Grid) -> dict[tuple[str, str, int], str]:
    return {(cell.method, cell.task, cell.seed): cell.key for cell in grid.cells()}


def test_every_method_task_and_seed_is_a_cell_and_shares_the_uncompressed_network(options: dict[str, Any]) -> None:
    methods = [Method.of("proximal_pruning"), Method(name="half", recipe="layer_dropping", options={"model.keep": 1})]
    options["tasks"] = ["synthetic_sentiment", "synthetic_acceptability"]
    cells = Grid(methods=methods, seeds=[0, 7], **options).cells()
    assert len(cells) == len({cell.key for cell in cells}) == 3 * 2 * 2
    dense = {(cell.task, cell.seed): cell.key for cell in cells if cell.method == "fine_tuning"}
    for cell in cells[4:]:
        assert cell.dense == dense[cell.task, cell.seed]
        config = yaml.safe_load(cell.config)
        assert (config["seed_everything"], config["data"]["task"]) == (cell.seed, cell.task)
        assert config["trainer"]["max_steps"] == 2
        assert config["data"]["limit_eval"] == 10
        assert config["timing"]["seconds"] == 0
    assert yaml.safe_load(cells[-1].config)["model"]["keep"] == 1


def test_a_changed_option_touches_its_own_cells_only(options: dict[str, Any]) -> None:
    def grid(**changed: Any) -> dict[tuple[str, str, int], str]:
        methods = [
            Method.of("magnitude_pruning"),
            Method(name="other", recipe="layer_dropping", options={"model.keep": 1} | changed.pop("own", {})),
        ]
        return keys(Grid(methods=methods, seeds=[0], **options | changed))

    before = grid()
    assert grid() == before
    own = grid(own={"model.score": "influence"})
    assert {cell for cell in before if before[cell] != own[cell]} == {("other", "synthetic_sentiment", 0)}
    assert not {*before.values()} & {*grid(budget=Budget(steps=3)).values()}
    assert not {*before.values()} & {*grid(data=options["data"] | {"limit_eval": 9}).values()}


def test_a_changed_file_makes_other_cells(options: dict[str, Any], tmp_path: Path) -> None:
    for name in ("train", "test"):
        rows = "".join(f"word {number % 7} here\t{'yes' if number % 2 else 'no'}\n" for number in range(40))
        (tmp_path / f"{name}.tsv").write_text(f"text\tlabel\n{rows}")
    task = Task(
        name="own", kind="classification", format="tsv", metrics=("accuracy",), texts=("text",),
        files={"train": "train.tsv", "test": "test.tsv"},
    )  # fmt: skip
    options["data"] = {"root": str(tmp_path), "cache": str(tmp_path / "cache")}
    options["tasks"] = [task]
    before = keys(Grid(methods=[Method.of("fine_tuning")], **options))
    with (tmp_path / "test.tsv").open("a") as file:
        file.write("another row\tyes\n")
    after = keys(Grid(methods=[Method.of("fine_tuning")], **options))
    assert before.keys() == after.keys() == {("fine_tuning", "own", 0)}
    assert before != after


def test_a_method_with_another_network_trains_its_own_reference(options: dict[str, Any]) -> None:
    own = Method(name="own", recipe="magnitude_pruning", options={"trainer.max_steps": 5})
    cells = Grid(methods=[own, Method.of("magnitude_pruning")], **options).cells()
    assert [cell.dense is None for cell in cells] == [True, True, False]


def test_a_folder_is_a_method(options: dict[str, Any], tiny_network: Path, tmp_path: Path) -> None:
    def write(labels: list[str]) -> None:
        config = AutoConfig.from_pretrained(tiny_network)
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: number for number, label in enumerate(labels)}
        AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "synthetic_sentiment-3")
        AutoTokenizer.from_pretrained(tiny_network).save_pretrained(tmp_path / "synthetic_sentiment-3")

    write(["negative", "positive"])
    method = Method.of(f"{tmp_path}/{{task}}-{{seed}}")
    before = Grid(methods=[method], seeds=[3], **options).cells()[-1]
    assert (before.recipe, before.dense) == ("evaluation", None)
    assert yaml.safe_load(before.config)["model"]["network"] == str(tmp_path / "synthetic_sentiment-3")
    assert Grid(methods=[method], seeds=[3], **options).cells()[-1].key == before.key
    write(["positive", "negative"])
    assert Grid(methods=[method], seeds=[3], **options).cells()[-1].key != before.key
    with pytest.raises(ValueError, match=r"synthetic_sentiment-4 is no folder of a network \(no config\.json\)"):
        Grid(methods=[method], seeds=[4], **options).cells()


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Method(name="x"), "'x' needs a recipe or a folder"),
        (lambda: Method(recipe="fine_tuning", folder="here/it/is"), "needs a recipe or a folder, one of the two"),
        (lambda: Method.of("fine_tunning"), "did you mean fine_tuning"),
        (lambda: Method.of("compare"), "compare makes no network to compare; there are: .*fine_tuning"),
        (lambda: Method.of("layer_analysis"), "layer_analysis makes no network to compare"),
        (lambda: Method.of("{name: x, recipee: fine_tuning}"), "is no method: give name, recipe and options"),
        (
            lambda: Method(recipe="fine_tuning", options={"data": {"task": "sst2"}}),
            r"data\.task is the comparison's own",
        ),
        (
            lambda: Method(recipe="fine_tuning", options={"seed_everything": 7}),
            "seed_everything is the comparison's own",
        ),
        (
            lambda: Grid(methods=[Method(recipe="fine_tuning", options={"model.x": 1})], tasks=["sst2"]),
            "fine_tuning is the name of the baseline",
        ),
        (
            lambda: Grid(methods=[Method.of("/tmp/{name}/x")], tasks=["synthetic_sentiment"]).cells(),
            "stand for nothing",
        ),
        (lambda: Budget(steps=1, epochs=1), "give one of the two"),
        (lambda: Budget(examples=0), r"budget\.examples is 0"),
        (lambda: Grid(methods=[], tasks=["sst2"]), "methods is empty"),
        (lambda: Grid(methods=[Method.of("quickstart")] * 2, tasks=["sst2"]), "two methods are called 'quickstart'"),
        (lambda: Grid(methods=[Method.of("quickstart")], tasks=["sst2"], seeds=[1, 1]), "given twice"),
    ],
)
def test_what_is_no_grid(make: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        make()


def test_an_unknown_option_is_named_before_anything_runs(options: dict[str, Any]) -> None:
    method = Method(recipe="proximal_pruning", options={"model.sparsty": 0.5})
    with pytest.raises(ValueError, match=r"recipe proximal_pruning has no option model\.sparsty; did you mean"):
        Grid(methods=[method], **options).cells()


def test_an_unknown_option_of_the_data_is_named(options: dict[str, Any]) -> None:
    options["data"]["limit_evall"] = 5
    with pytest.raises(ValueError, match=r"has no option data\.limit_evall; did you mean data\.limit_eval"):
        Grid(methods=[Method.of("fine_tuning")], **options).cells()


def test_nested_options_are_options(options: dict[str, Any]) -> None:
    nested = Method(name="own", recipe="magnitude_pruning", options={"trainer": {"max_steps": 5}})
    cell = Grid(methods=[nested], **options).cells()[-1]
    assert cell.dense is None
    assert yaml.safe_load(cell.config)["trainer"]["max_steps"] == 5


def test_a_network_that_changes_under_its_name_makes_other_cells(
    options: dict[str, Any], tiny_network: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_network, tmp_path / "network")
    options["model"] = {"network": str(tmp_path / "network")}
    before = Grid(methods=[Method.of("fine_tuning")], **options).cells()[0].key
    network = AutoModelForSequenceClassification.from_pretrained(tmp_path / "network")
    network.base_model.embeddings.word_embeddings.weight.data *= 2
    network.save_pretrained(tmp_path / "network")
    assert Grid(methods=[Method.of("fine_tuning")], **options).cells()[0].key != before


def test_a_fixed_network_is_judged_once(options: dict[str, Any], tmp_path: Path, tiny_network: Path) -> None:
    config = AutoConfig.from_pretrained(tiny_network)
    config.id2label, config.label2id = {0: "negative", 1: "positive"}, {"negative": 0, "positive": 1}
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "fixed")
    AutoTokenizer.from_pretrained(tiny_network).save_pretrained(tmp_path / "fixed")
    cells = Grid(methods=[Method.of(f"{tmp_path}/fixed")], seeds=[0, 1], **options).cells()
    assert [cell.seed for cell in cells[-2:]] == [0, 1]
    assert cells[-1].key == cells[-2].key
