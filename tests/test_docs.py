"""README and docs: their links lead somewhere, their commands and Python run, and the generated pages are up to date."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from typer.main import get_command

from genz_ppl.cli.app import app, run
from genz_ppl.models import LIKELIHOODS
from genz_ppl.settings import LIKELIHOOD_NAMES

ROOT = Path(__file__).resolve().parent.parent
GENERATED = ("api.md", "commands.md")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
WRITTEN = [page for page in PAGES if page.name not in GENERATED]
# A round of two additions: the commands are tried here, not the search.
SHORT = ["--cycles", "1", "--add", "2", "--cut", "0", "--quiet"]
FENCE = re.compile(r"^```(\w*) ?(.*?)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    """The script that makes the generated pages."""
    spec = importlib.util.spec_from_file_location("make_api", ROOT / "docs" / "make_api.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the table that the pages use; runs made by one page stay for the next."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "examples").mkdir()
    shutil.copy(ROOT / "examples" / "flats.csv", folder / "examples")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield folder
    torch.set_num_threads(threads)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def command_lines(text: str) -> list[str]:
    """The lines of a block that call genz, continued ones joined, without their comments."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip().startswith("genz ")]


def blocks(page: Path, language: str, mark: str = "") -> list[str]:
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [text for kind, info, text in found if kind == language and mark in info]


def fast_and_slow(language: str, mark: str = "") -> list[Any]:
    """The pages that have such blocks; all but the README's are slow together."""
    pages = [page for page in WRITTEN if blocks(page, language, mark)]
    slow = {page: [] if page.name == "README.md" else [pytest.mark.slow] for page in pages}
    return [pytest.param(page, id=name_of(page), marks=slow[page]) for page in pages]


def headings(page: Path) -> list[str]:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)


def links(page: Path) -> list[str]:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return [link or source for link, source in re.findall(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"", text)]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_anchors_lead_somewhere(page: Path, maker: ModuleType) -> None:
    for link in links(page):
        if re.match(r"https?://", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{link}: no such file"
        assert target.is_relative_to(ROOT), f"{link}: outside of the project"
        if anchor:
            assert anchor in {maker.slug(heading) for heading in headings(target)}, f"{link}: no such heading"


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "api.md"], ids=name_of)  # readings and Readings
def test_headings_are_there_once(page: Path, maker: ModuleType) -> None:
    anchors = [maker.slug(heading) for heading in headings(page)]
    assert sorted(anchors) == sorted(set(anchors))


def test_the_pages_of_the_folder_are_reached_from_the_readme() -> None:
    reached = {name.partition("#")[0] for name in links(ROOT / "README.md")}
    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} <= reached


@pytest.mark.parametrize("name", GENERATED)
def test_generated_pages_are_up_to_date(name: str, maker: ModuleType) -> None:
    (wanted,) = [text for file, text in maker.pages().items() if file.name == name]
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == wanted, f"docs/{name} is stale: run python docs/make_api.py"


def test_the_picture_is_small() -> None:
    assert (ROOT / "docs" / "report.png").stat().st_size < 200_000


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_commands_have_the_options_they_are_given(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for text in blocks(page, "toml"):
        (tmp_path / "flats.toml").write_text(text, encoding="utf-8")  # a file of options is read while they are parsed
    for line in [line for text in blocks(page, "sh") for line in command_lines(text)]:
        check_line(shlex.split(line, comments=True)[1:])


def check_line(arguments: list[str]) -> None:
    """Parsed as the command line does, and nothing run."""
    command: Any = get_command(app)
    context: Any = None
    while hasattr(command, "commands"):
        arguments = getattr(command, "completed", list)(arguments)  # some may be left out
        assert arguments[0] in command.commands, f"there is no command {arguments[0]}"
        command, arguments = command.commands[arguments[0]], arguments[1:]
    context = command.make_context("genz", list(arguments))
    assert context.params


def test_an_option_that_does_not_exist_is_found() -> None:
    with pytest.raises(Exception, match="No such option"):
        check_line(["fit", "flats.csv", "--out", "runs", "--colour", "red"])
    with pytest.raises(Exception, match="out"):
        check_line(["fit", "flats.csv"])
    with pytest.raises(AssertionError, match="no command guess"):
        check_line(["guess"])


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_options_in_the_text_exist(page: Path) -> None:
    """Options and commands in `code` within sentences and tables, those of other programs aside."""
    known = {"--help", "--version"} | {option for parameter in all_parameters() for option in option_names(parameter)}
    commands: Any = get_command(app).commands  # type: ignore[attr-defined]
    for piece in re.findall(r"`([^`\n]+)`", FENCE.sub("", page.read_text(encoding="utf-8"))):
        if piece.startswith(("genz ", "-")):
            options = re.findall(r"(?<![\w-])--[a-z][a-z-]*", piece)
            assert set(options) <= known, piece
        if piece.startswith("genz ") and piece.split()[1].islower():
            assert piece.split()[1] in commands, piece


def all_parameters() -> Iterator[Any]:
    waiting: list[Any] = [get_command(app)]
    while waiting:
        command = waiting.pop()
        yield from command.params
        waiting += getattr(command, "commands", {}).values()


def option_names(parameter: Any) -> list[str]:
    return [*parameter.opts, *parameter.secondary_opts]


@pytest.mark.parametrize("page", fast_and_slow("sh", "run"))
def test_commands_of_marked_blocks_run(page: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    for line in [line for text in blocks(page, "sh", "run") for line in command_lines(text)]:
        arguments = shlex.split(line, comments=True)[1:]
        if "--out" in arguments and (workplace / arguments[arguments.index("--out") + 1]).exists():
            continue  # an earlier page has made this run
        assert run(arguments + (SHORT if arguments[0] == "fit" else [])) == 0, line


@pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto:UserWarning")  # a short run is a poor one
@pytest.mark.parametrize("page", fast_and_slow("python"))
def test_python_runs(page: Path, workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(workplace / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    given = (random.random((200, 2)) < 0.5).astype(float)
    names: dict[str, Any] = {"answers": given, "targets": given @ np.array([2.0, -1.0]) + random.gumbel(scale=0.3, size=200)}
    names |= {"covariates": None, "new_answers": given[:3], "new_covariates": None}
    with own_likelihoods_forgotten(), pyro.get_param_store().scope():
        for block in blocks(page, "python"):
            exec(block, names)  # noqa: S102 - the project's own text
    if page.name == "README.md":
        assert "district is" in " ".join(names["run"].features["text"])
        assert names["run"].predict(names["items"]).shape == (160, 4)
        assert (tmp_path / "flats.html").exists()
        assert names["result"].posterior.shape == (200, 2)
    if page.name == "likelihoods-and-links.md":
        np.testing.assert_allclose(names["result"].parameters["weights"][:, 0], [2.0, -1.0], atol=0.2)


def test_a_likelihood_is_short() -> None:
    pages = blocks(ROOT / "docs" / "likelihoods-and-links.md", "python")
    block = next(block for block in pages if "@add_likelihood" in block)
    own = block[block.index("@add_likelihood") : block.index("result =")]
    assert len([line for line in own.splitlines() if line.strip()]) < 20


@contextmanager
def own_likelihoods_forgotten() -> Iterator[None]:
    """Take out what the pages add to the tables, which other tests go through."""
    before, listed = dict(LIKELIHOODS), list(LIKELIHOOD_NAMES)
    try:
        yield
    finally:
        LIKELIHOODS.clear()
        LIKELIHOODS.update(before)
        LIKELIHOOD_NAMES[:] = listed


@pytest.mark.slow
def test_the_quickstart_finds_what_the_readme_shows(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first commands of the README as they stand, in a fresh folder."""
    fresh = workplace / "quickstart"
    shutil.copytree(workplace / "examples", fresh / "examples")
    monkeypatch.chdir(fresh)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for line in command_lines(blocks(ROOT / "README.md", "sh", "run")[0]):
        assert run(shlex.split(line, comments=True)[1:]) == 0, line
    printed = capsys.readouterr().out
    shown = re.findall(r"^    (\S.*)$", text[: text.index("## A real example")], flags=re.MULTILINE)
    questions = [line.split("  ")[0] for line in shown[1:-1]]
    assert questions
    assert [line.split("  ")[0] for line in printed.splitlines()[1 : len(questions) + 1]] == questions
    assert (fresh / "runs" / "flats" / "report.html").exists()
