"""Data sets of folders from anywhere: their own plain files are read, and nothing else is opened or run."""

import http.server
import os
import pickle
import threading
import zipfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
from datasets import Features, Image, Value
from pyarrow import parquet

from toolkit.data.data_sets import load_data_set
from toolkit.data.hub import read_hub
from toolkit.data.text_sources import TextSet, hub_texts
from toolkit.tasks import Hub, Task

PARQUET_BRANCH = "refs/convert/parquet"
asked: list[str] = []


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")


@pytest.fixture
def server() -> Iterator[str]:
    """Address of a file on another machine, so to speak, which notes who asks for it."""

    class Remote(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            content = b"text,label\nremote,1\n"
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    asked.clear()
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Remote)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}/train.csv"
    running.shutdown()
    running.server_close()
    assert not asked


class Evil:
    """A pickle that runs a command."""

    def __reduce__(self) -> Any:
        return os.system, ("touch EXECUTED",)


def own(path: str, **where: Any) -> Task:
    hub = Hub(path=path, splits={"train": "train", "test": "train"}, texts=("text",), label="label", **where)
    return Task(name="own", kind="classification", format="tsv", metrics=("accuracy",), hub=hub)


def folder_of(text: str, card: str | None = None, name: str = "README.md") -> Path:
    """A data set with one file, and a card."""
    folder = Path("set")
    folder.mkdir(exist_ok=True)
    (folder / "train.csv").write_text(f"text,label\n{text},0\n")
    if card is not None:
        (folder / name).write_text(f"---\n{card}\n---\n" if name == "README.md" else card)
    return folder


@pytest.fixture
def pickles(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose Parquet file is a pickle, and a reader of pickles, as ``datasets`` had one before 5.2."""
    from datasets.packaged_modules.pandas.pandas import Pandas

    def tables(self: Any, files: Any) -> Iterator[Any]:
        lists = ([part] if isinstance(part, str) else part for part in files)  # Old versions give lists of them.
        for number, file in enumerate(chain.from_iterable(lists)):
            yield number, pa.Table.from_pandas(pickle.loads(Path(file).read_bytes()))

    monkeypatch.setattr(Pandas, "_generate_tables", tables)
    folder = Path("evil/train")
    folder.mkdir(parents=True)
    (folder / "a.parquet").write_bytes(pickle.dumps(Evil()))
    return folder.parent.absolute()


@pytest.mark.filterwarnings("ignore:The Pandas builder is deprecated:FutureWarning")
def test_pickles_are_not_read_as_data_sets(pickles: Path) -> None:
    with pytest.raises(ValueError, match=r"'pandas' is a reader .* give the folder that holds the files"):
        read_hub(own("pandas", name=str(pickles), revision=PARQUET_BRANCH), "train")
    with pytest.raises(ValueError, match="'pandas' is a reader"):
        hub_texts(TextSet(path="pandas", name=str(pickles)))
    with pytest.raises(ValueError, match=r"evil cannot be read .*mend its files"):
        hub_texts(TextSet(path=str(pickles)))
    assert not Path("EXECUTED").exists()
    with pytest.raises(datasets.exceptions.DatasetGenerationError):  # What is not refused here would have run it.
        datasets.load_dataset("pandas", data_files=str(pickles / "train" / "a.parquet"))
    assert Path("EXECUTED").exists()


def test_names_that_are_none_of_the_hub() -> None:
    for name in ("csv", "parquet", "webdataset", "cache", "sql", "text"):
        with pytest.raises(ValueError, match=f"{name!r} is a reader"):
            load_data_set(name, "train")
    for name in ("hf://datasets/pandas", "./missing", "../missing", "/missing", "a/b/c", "http://localhost/x", ""):
        with pytest.raises(FileNotFoundError, match=r"there is no folder|data\.hub"):
            hub_texts(TextSet(path=name))


def test_a_folder_may_have_the_name_of_a_reader() -> None:
    folder_of("local").rename("pandas")
    assert hub_texts(TextSet(path="pandas")) == ["local"]


CARDS = [
    "configs:\n- {config_name: default, data_files: 'URL'}",
    "configs:\n- {config_name: default, data_files: [train.csv, 'URL']}",
    "configs:\n- {config_name: default, data_files: [{split: train, path: 'URL'}]}",
    "configs:\n- {config_name: default, data_files: [{split: train, path: [train.csv, 'URL']}]}",
    "configs:\n- {config_name: default, data_files: train.csv}\n- {config_name: other, data_files: 'URL'}",
    "configs:\n- {config_name: default, data_dir: 'URL'}",
    "configs:\n- {config_name: default, data_files: 'simplecache::URL'}",
    "configs:\n- {config_name: default, data_files: ../outside.csv}",
    "configs:\n- {config_name: default, data_files: [{split: train, path: 'FOLDER/../outside.csv'}]}",
    "configs:\n- {config_name: default, data_files: ~/outside.csv}",
]


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("name", ["README.md", ".huggingface.yaml"])
def test_cards_name_files_of_their_folder(name: str, card: str, server: str) -> None:
    Path("outside.csv").write_text("text,label\noutside,0\n")
    folder = folder_of("local", card.replace("URL", server).replace("FOLDER", str(Path("set").absolute())), name)
    for read in (lambda: hub_texts(TextSet(path=str(folder))), lambda: read_hub(own(str(folder)), "train")):
        with pytest.raises(ValueError, match=rf"set/{name} names the data files .*put them there"):
            read()


def test_cards_of_folders_are_followed_within_them() -> None:
    folder = folder_of("local", "configs:\n- {config_name: a, data_files: 'part/*.csv', sep: ;}\n")
    (folder / "part").mkdir()
    (folder / "part" / "x.csv").write_text("text;label\nof a part;1\n")
    assert hub_texts(TextSet(path=str(folder), name="a")) == ["of a part"]


@pytest.mark.parametrize(
    "card", ["configs: [", "configs: {a: 1}", "configs: [1]", "- 1", "configs:\n- {config_name: 3}"]
)
@pytest.mark.parametrize("name", ["README.md", ".huggingface.yaml"])
def test_cards_that_are_none(name: str, card: str) -> None:
    folder = folder_of("local", card, name)
    with pytest.raises(
        ValueError, match=r"^set cannot be read .*mend or remove its README\.md and \.huggingface\.yaml"
    ):
        hub_texts(TextSet(path=str(folder)))


@pytest.mark.parametrize("name", ["/elsewhere", "http://127.0.0.1:1/x", "../x", "~", "zip://a::b"])
def test_names_of_configurations_lead_nowhere(name: str) -> None:
    with pytest.raises(ValueError, match=r"names the data files .*put them there"):
        read_hub(own(str(folder_of("local")), name=name, revision=PARQUET_BRANCH), "train")


def test_archives_are_not_unpacked() -> None:
    folder = Path("set")
    folder.mkdir()
    with zipfile.ZipFile(folder / "train.csv.zip", "w") as archive:
        archive.writestr("train.csv", "text,label\npacked,0\n")
    with pytest.raises(ValueError, match=r"train\.csv\.zip is read neither as text nor as a table.*unpack archives"):
        hub_texts(TextSet(path=str(folder)))


def test_images_are_not_opened(server: str) -> None:
    Path("set").mkdir()
    features = Features({"text": Image(decode=True), "label": Value("string")})
    table = pa.table(
        {"text": pa.array([{"bytes": None, "path": server}], Image().pa_type), "label": ["0"]},
        schema=features.arrow_schema,
    )
    parquet.write_table(table, "set/train.parquet")
    for read in (lambda: hub_texts(TextSet(path="set")), lambda: read_hub(own("set"), "train")):
        with pytest.raises(ValueError, match=r"column 'text' holds other things than text \(Image\)"):
            read()
