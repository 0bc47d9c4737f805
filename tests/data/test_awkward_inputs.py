"""One table of awkward inputs and what becomes of each: the right values, or one line. None is silently wrong."""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from genz_ppl.data import Items
from genz_ppl.errors import GenzError, GenzWarning

NAN = float("nan")
KEEP = "; --as-text (as_text=) keeps it as text"


class Case(NamedTuple):
    """source: the content of a file, or a DataFrame; `x` is the column looked at and `y` the target, unless roles say otherwise.

    outcome: the values of x; or a function of the items and what it gives; or, as text, the whole error, with FILE for the path.
    notes: all that is said, in full. suffix: of the file.
    """

    name: str
    source: str | bytes | pd.DataFrame
    outcome: list[Any] | str | tuple[Callable[[Items], Any], Any]
    notes: tuple[str, ...] = ()
    roles: dict[str, Any] = {}  # noqa: RUF012
    suffix: str = ".csv"


def column(*cells: object, name: str = "x") -> str:
    """A file of one column and a target."""
    quoted = ('"' + str(cell).replace('"', '""') + '"' for cell in cells)
    return f'"{name}",y\n' + "".join(f"{cell},{row}\n" for row, cell in enumerate(quoted))


def frame(x: Any, **others: Any) -> pd.DataFrame:
    return pd.DataFrame({"x": x, "y": [float(row) for row in range(len(x))], **others})


def read(kind: str, cell: str, value: object, more: str = "") -> tuple[str]:
    """The note on a column of a file that is read as numbers or dates."""
    return (f"FILE: column 'x' is read as {kind}, {cell!r} as {value}{more}{KEEP}",)


def either(value: object) -> str:
    return f"; that it is {value} no value rules out"


def targets(items: Items) -> list[Any]:
    return [] if items.targets is None else items.targets[:, 0].tolist()


def texts(items: Items) -> list[str]:
    return [item.text for item in items]


def names(items: Items) -> list[str]:
    return [", ".join(item.fields) for item in items[:1]]


DAY, LATER = dt.date(2020, 12, 31), dt.date(2021, 2, 1)
WORDS = frame(["a", "b", "c"])
CLASSES = {"classes": True}

NUMBERS = [
    Case("thousands", column("1,200", "13,000.5"), [1200, 13000.5], read("numbers", "1,200", 1200)),
    Case("thousands or decimals", column("1,200", "950"), [1200, 950], read("numbers", "1,200", 1200, either(1.2))),
    Case("dollars", column("$1,200.50", "$7"), [1200.5, 7], read("numbers", "$1,200.50", 1200.5)),
    Case("euros after", column("1.234,56 €", "7,00 €"), [1234.56, 7.0], read("numbers", "1.234,56 €", 1234.56)),
    Case("currency codes", column("USD 5", "USD 1,234.5"), [5, 1234.5], read("numbers", "USD 5", 5)),
    Case("percent", column("12 %", "7.5%"), [12, 7.5], read("numbers", "12 %", 12)),
    Case("decimal commas", column("0,5", "12,25"), [0.5, 12.25], read("numbers", "0,5", 0.5)),
    Case("spaces between thousands", column("1 234,5", "12"), [1234.5, 12], read("numbers", "1 234,5", 1234.5)),
    Case("no-break spaces", column("1\u00a0200,5", "900"), [1200.5, 900], read("numbers", "1\u00a0200,5", 1200.5)),
    Case("apostrophes", column("1'234.5", "99"), [1234.5, 99], read("numbers", "1'234.5", 1234.5)),
    Case("lakhs", column("₹1,23,456", "₹99"), [123456, 99], read("numbers", "₹1,23,456", 123456)),
    Case("units", column("85 m2", "120.5m2"), [85, 120.5], read("numbers", "85 m2", 85)),
    Case("units stay in the text", column("85 m2", "12 m2"), (texts, ["x: 85 m2", "x: 12 m2"]), read("numbers", "85 m2", 85)),
    Case("speeds", column("85 km/h", "120 km/h"), [85, 120], read("numbers", "85 km/h", 85)),
    Case("thousands and millions as letters", column("3.5k", "900", "1.2M"), [3500, 900, 1200000], read("numbers", "3.5k", 3500)),
    Case("negative in brackets", column("(1,200.5)", "300"), [-1200.5, 300], read("numbers", "(1,200.5)", -1200.5)),
    Case("minus sign", column("\u22125", "3"), [-5, 3], read("numbers", "\u22125", -5)),
    Case("exponents", column("1E+05", "2e-3"), [100000.0, 0.002]),
    Case("three decimals", column("1.234", "2.345"), [1.234, 2.345]),
    Case("whole numbers as 1.0", column("1.0", "2.0"), [1.0, 2.0]),
    Case("NA, N/A and null among numbers", column("1", "NA", "N/A", "null", ""), [1, None, None, None, None]),
    Case("a dash for a gap", column("1", "-", "3"), [1, None, 3], read("numbers", "-", "missing")),
    Case("a question mark for a gap", column("1", "?", "3"), [1, None, 3], read("numbers", "?", "missing")),
    Case(
        "infinite",
        column("1", "inf", "3"),
        [1, None, 3],
        ("FILE: column 'x' has infinite values (1), read as missing",),
    ),
    Case(
        "one word among numbers",
        column(*range(20), "unknown"),
        [*map(str, range(20)), "unknown"],
        (
            "FILE: column 'x' is read as text: 20 of 21 values are numbers, but not 'unknown' in row 21; "
            "correct or empty such cells, or silence this with --as-text (as_text=)",
        ),
    ),
    Case(
        "another unit in one cell",
        column(*(f"{row % 9} kg" for row in range(20)), "5 lb"),
        (lambda items: items[20].fields, {"x": "5 lb"}),
        (
            "FILE: column 'x' is read as text: 20 of 21 values are numbers, but not '5 lb' in row 21; "
            "correct or empty such cells, or silence this with --as-text (as_text=)",
        ),
    ),
    Case(
        "text and numbers of a spreadsheet",
        frame([1200, "1,300.5"]),
        [1200, 1300.5],
        ("the DataFrame: column 'x' is read as numbers, '1,300.5' as 1300.5" + KEEP,),
    ),
    Case("numbers as text in a frame", frame(["1.5", "n/a", "2"]), [1.5, None, 2]),
    Case("zip codes", column("01234", "10115"), ["01234", "10115"]),
    Case("zip codes of a frame", frame(["10115", "80331"]), ["10115", "80331"]),
    Case("phone numbers", column("+49 30 123", "+49 30 555"), ["+49 30 123", "+49 30 555"]),
    Case("phone numbers in threes", column("555 123 456", "555 123 999"), ["555 123 456", "555 123 999"]),
    Case("long numbers", column("12345678901234567890", "2"), ["12345678901234567890", "2"]),
    Case("whole numbers beyond 2^53", column("9007199254740993", "1"), [9007199254740993, 1]),
    Case("versions", column("1.2.3", "1.2.4"), ["1.2.3", "1.2.4"]),
    Case("codes", column("12B", "13B"), ["12B", "13B"]),
    Case("ratios", column("1:2", "3:4"), ["1:2", "3:4"]),
    Case("said to be text", column("$1,200", "$7"), ["$1,200", "$7"], (), {"as_text": "x"}),
    Case("said to be a number", column("01234", "10115"), [1234, 10115], (), {"as_number": "x"}),
    Case(
        "said to be a number, and none",
        column("7", "abc"),
        "FILE: column 'x', row 2: expected a number written as in '1,234.5', found 'abc'; "
        "correct it or drop --as-number (as_number=)",
        (),
        {"as_number": "x"},
    ),
    Case(
        "a target of dollars",
        'x,y\na,"$1,200.5"\nb,$7\n',
        (targets, [1200.5, 7.0]),
        ("FILE: column 'y' is read as numbers, '$1,200.5' as 1200.5",),
    ),
    Case(
        "a covariate of commas",
        'x,c,y\na,"1,5",1\nb,"2,25",2\n',
        (lambda items: items.covariates.tolist(), [[1.5], [2.25]]),
        ("FILE: column 'c' is read as numbers, '1,5' as 1.5",),
        {"covariates": "c"},
    ),
]

DATES = [
    Case("day first by one value", column("31/12/2020", "1/2/2021"), [DAY, LATER], read("dates", "31/12/2020", DAY)),
    Case("month first by one value", column("12/31/2020", "2/1/2021"), [DAY, LATER], read("dates", "12/31/2020", DAY)),
    Case(
        "day or month first",
        column("01/02/2021", "01/02/2021"),
        [LATER, LATER],
        read("dates", "01/02/2021", LATER, either("2021-01-02")),
    ),
    Case(
        "first days of months, month first",
        column("01/01/2021", "02/01/2021"),
        [dt.date(2021, 1, 1), LATER],
        read("dates", "02/01/2021", LATER, either("2021-01-02")),
    ),
    Case("dots", column("31.12.2020", "01.02.2021"), [DAY, LATER], read("dates", "31.12.2020", DAY)),
    Case("short years", column("31.12.20", "01.02.21"), [DAY, LATER], read("dates", "31.12.20", DAY)),
    Case("names of months", column("31 December 2020", "1 February 2021"), [DAY, LATER], read("dates", "31 December 2020", DAY)),
    Case("ISO", column("2020-12-31", "2021-02-01", ""), [DAY, LATER, None]),
    Case(
        "ISO with times",
        column("2020-12-31 23:59", "2021-02-01T00:00:00"),
        [dt.datetime(2020, 12, 31, 23, 59), dt.datetime(2021, 2, 1)],
    ),
    Case(
        "afternoons",
        column("12/31/2020 10:30 PM", "2/1/2021 3:04 AM"),
        [dt.datetime(2020, 12, 31, 22, 30), dt.datetime(2021, 2, 1, 3, 4)],
        read("dates", "12/31/2020 10:30 PM", "2020-12-31T22:30:00"),
    ),
    Case(
        "one zone",
        column("2020-12-31T10:00:00+02:00", "2021-02-01T11:00:00+02:00"),
        (
            lambda items: [items[0].fields["x"], dict(items.schema.readings)["x"]],
            [dt.datetime(2020, 12, 31, 10), "%Y-%m-%d %H:%M:%S UTC+02:00"],
        ),
        read("dates", "2020-12-31T10:00:00+02:00", "2020-12-31T10:00:00 UTC+02:00"),
    ),
    Case(
        "several zones",
        column("2020-12-31T10:00:00Z", "2020-12-31T12:00:00+02:00"),
        [dt.datetime(2020, 12, 31, 10)] * 2,
        read("dates", "2020-12-31T10:00:00Z", "2020-12-31T10:00:00 UTC"),
    ),
    Case(
        "times of a frame in a zone",
        frame(pd.to_datetime(["2020-12-31 10:00", "2021-07-01 12:30"]).tz_localize("Europe/Berlin")),
        [dt.datetime(2020, 12, 31, 10), dt.datetime(2021, 7, 1, 12, 30)],
    ),
    Case("days of a frame", frame([DAY, None, LATER]), [DAY, None, LATER]),
    Case("days as whole numbers", column(20201231, 20210201, 20210201), [DAY, LATER, LATER], read("dates", "20201231", DAY)),
    Case(
        "periods",
        frame(pd.period_range("2021-01", periods=2, freq="M")),
        [dt.date(2021, 1, 1), LATER],
        ("the DataFrame: column 'x' is read as dates, '2021-01' as 2021-01-01" + KEEP,),
    ),
    Case("durations", frame(pd.to_timedelta(["1h", "90s"])), [3600.0, 90.0]),
    Case("a text with some dates", column("2020-12-31", "soon"), ["2020-12-31", "soon"]),
    Case("an impossible date", column("2020-02-30", "2020-12-31"), ["2020-02-30", "2020-12-31"]),
    Case(
        "a word among dates",
        column(*["31/12/2020"] * 15, "soon"),
        (lambda items: items[0].fields, {"x": "31/12/2020"}),
        (
            "FILE: column 'x' is read as text: 15 of 16 values are dates, but not 'soon' in row 16; "
            "correct or empty such cells, or silence this with --as-text (as_text=)",
        ),
    ),
    Case(
        "dates to explain",
        frame(["a", "b"]).assign(y=pd.to_datetime(["2020-12-31", "2021-02-01"])),
        "the DataFrame: target 'y', row 1 (id '0'): expected a finite number, "
        "found Timestamp('2020-12-31 00:00:00'); correct the cell or "
        "leave the column out, or read classes with --likelihood categorical or bernoulli "
        "(in Python likelihood=, for Items classes=True)",
    ),
]

FILES = [
    Case("byte order mark", b"\xef\xbb\xbfx,y\na,1\nb,2\n", ["a", "b"]),
    Case(
        "another encoding",
        "x,y\ncafé,1\nb,2\n".encode("cp1252"),
        "FILE: not UTF-8, byte 0xe9 at position 7 (line 2); re-save the file as UTF-8, "
        "or name its encoding with --encoding (encoding=)",
    ),
    Case(
        "UTF-16",
        "x,y\na,1\n".encode("utf-16"),
        "FILE: not UTF-8, byte 0xff at position 0 (line 1); re-save the file as UTF-8, "
        "or name its encoding with --encoding (encoding=)",
    ),
    Case(
        "semicolons and decimal commas",
        "x;y\n1,250;1\n2,5;2\n",
        [1.25, 2.5],
        ("FILE: cells are separated by ';', as in the header, not by ','", *read("numbers", "1,250", 1.25)),
    ),
    Case(
        "semicolons: a comma is before decimals",
        "x;y\n1,250;1\n2,500;2\n",
        [1.25, 2.5],
        ("FILE: cells are separated by ';', as in the header, not by ','", *read("numbers", "1,250", 1.25, either(1250))),
    ),
    Case("tabs in .csv", "x\ty\na\t1\nb\t2\n", ["a", "b"], ("FILE: cells are separated by '\\t', as in the header, not by ','",)),
    Case("line breaks in quotes", 'x,y\n"a\nb",1\nc,2\n', ["a\nb", "c"]),
    Case(
        "a quote that never ends",
        'x,y\n"a,1\nb,2\n',
        "FILE: line 2: unexpected end of data; check the quotes in the row that starts there",
    ),
    Case(
        "a comma too many",
        "x,y\na,b,1\n",
        "FILE: line 2 has 3 cells but the header has 2, separated by ','; "
        "put quotes around cells that hold the separator, or name another one with --sep (sep=)",
    ),
    Case("columns of one name", "x,x,y\na,b,1\n", "FILE: duplicate column names (x); give each column its own name"),
    Case("an index without a name", ",x,y\n0,a,1\n1,b,2\n", (names, ["x"])),
    Case("empty columns at the end", "x,y,,\na,1,,\nb,2,,\n", (names, ["x"])),
    Case(
        "a name with spaces, a line break and a picture", column("a", "b", name="🏠 price\nof it"), (names, ["🏠 price\nof it"])
    ),
    Case(
        "no header",
        "1,2\n3,4\n5,6\n",
        (targets, [4.0, 6.0]),
        ("FILE: the header is numbers only; if it is a row of data, put a header above it",),
        {"target": "2"},
    ),
    Case("an empty file", "", "FILE: the file is empty; a header row and at least one row of data are needed"),
    Case("a header alone", "x,y\n", "FILE: there is a header but no row of data; at least one is needed"),
    Case("one row", "x,y\na,1\n", "FILE: there is one row; at least two are needed to explain a target"),
    Case(
        "a spreadsheet",
        b"PK",
        "FILE: unknown suffix '.xls'; known are .csv, .tsv, .jsonl, .json, .parquet, .xlsx, and those of text with "
        ".gz, .bz2, .zst, .zip behind: "
        "save it as one of these",
        (),
        {},
        ".xls",
    ),
    Case(
        "JSON with an array",
        '[{"x": 1}]',
        "FILE: line 1: expected a JSON object, found [{'x': 1}]; one object per line is needed",
        (),
        {},
        ".jsonl",
    ),
    Case("JSON with gaps and depth", '{"x": {"a": [1]}, "y": 1}\n{"y": 2}\n', ['{"a":[1]}', None], (), {}, ".jsonl"),
]

CELLS = [
    Case("Namibia", column("NA", "ZA"), ["NA", "ZA"]),
    Case("TRUE and False", column("TRUE", "False", ""), [True, False, None]),
    Case("yes and no", column("yes", "no"), ["yes", "no"]),
    Case("an empty column", "x,z,y\n,a,1\n,b,2\n", [None, None]),
    Case("a column of one value", column("a", "a"), ["a", "a"]),
    Case("categories", frame(pd.Series(["a", None], dtype="category")), ["a", None]),
    Case("whole numbers with gaps", frame(pd.array([1, None], dtype="Int64")), [1, None]),
    Case("decimals", frame([Decimal("1.50"), Decimal(2)]), [1.5, 2]),
    Case("lists and dates in them", frame([[1, 2], {"on": DAY}]), ["[1,2]", '{"on":"2020-12-31"}']),
    Case("binary", frame([b"a", b"b"]), "the DataFrame: column 'x' holds binary data: name others with text="),
    Case("mixed types", frame([1, "a", True]), [1, "a", True]),
    Case(
        "columns 1 and '1'",
        pd.DataFrame([[1, 2, 3]], columns=[1, "1", "y"]),
        "the DataFrame: duplicate column names (1); give each column its own name",
    ),
    Case("a long text", frame(["w " * 10**6, "b"]), ["w " * 10**6, "b"]),
]

TARGETS = [
    Case("gaps", "x,y\na,\nb,1\nc,2\n", (lambda items: np.isnan(targets(items)).tolist(), [True, False, False])),
    Case(
        "one value",
        WORDS.assign(y=1),
        "the DataFrame: target 'y' is 1 wherever it has a value: there is nothing to explain; name another column with target=",
    ),
    Case("no value", WORDS.assign(y=None), "the DataFrame: target 'y' has no values at all; name another column with target="),
    Case(
        "infinite targets",
        WORDS.assign(y=[1, np.inf, 2]),
        "the DataFrame: target 'y', row 2 (id '1'): expected a finite number, found inf; correct the cell or "
        "leave the column out, or read classes with --likelihood categorical or bernoulli "
        "(in Python likelihood=, for Items classes=True)",
    ),
    Case(
        "classes 1 and 2",
        WORDS.assign(y=[1, 2, 1]),
        (lambda items: (items.class_names, targets(items)), ((("1", "2"),), [0, 1, 0])),
        (),
        CLASSES,
    ),
    Case(
        "classes '1' and '2'",
        WORDS.assign(y=["1", "2", "1"]),
        (lambda items: (items.class_names, targets(items)), ((("1", "2"),), [0, 1, 0])),
        (),
        CLASSES,
    ),
    Case(
        "classes 1.0 and 2.0 with a gap",
        WORDS.assign(y=[1.0, 2.0, NAN]),
        (lambda items: items.class_names, (("1", "2"),)),
        (),
        CLASSES,
    ),
    Case(
        "as many classes as rows",
        frame(["a", "b"] * 6).assign(y=list("abcdefghijkl")),
        "the DataFrame: target 'y' has 12 different labels, more than 6: it looks like numbers or ids; "
        "drop classes=True (--likelihood on the command line)",
        (),
        CLASSES,
    ),
    Case(
        "an id twice",
        WORDS.assign(key=[1, 2, 1]),
        "the DataFrame: id '1' is in rows 1 and 3; ids must be unique",
        (),
        {"id": "key"},
    ),
    Case(
        "an id missing",
        WORDS.assign(key=["u", "", "v"]),
        "the DataFrame: id column 'key' is empty in row 2; fill it in or drop id=",
        (),
        {"id": "key"},
    ),
    Case(
        "a copy in words",
        frame(["no", "yes"] * 10).assign(y=[0, 1] * 10),
        ["no", "yes"] * 10,
        (
            "the DataFrame: column 'x' tells almost all of target 'y' (R² 1.00): if it is a copy of it or was made from it, "
            "leave it out with --drop (drop=)",
        ),
    ),
    Case(
        "a copy in other units",
        frame([1.5 * row for row in range(20)]),
        [1.5 * row for row in range(20)],
        (
            "the DataFrame: column 'x' tells almost all of target 'y' (R² 1.00): if it is a copy of it or was made from it, "
            "leave it out with --drop (drop=)",
        ),
    ),
    Case("a column dropped", frame(["a", "b"], z=[1, 2]), (names, ["z"]), (), {"drop": "x"}),
    Case(
        "an id that is read",
        frame([f"C-{row}" for row in range(20)]).assign(y=[row % 3 for row in range(20)]),
        [f"C-{row}" for row in range(20)],
        (
            "the DataFrame: column 'x' has another value in almost every row, like an id, and can explain little; "
            "leave it out with --drop (drop=) or --id (id=)",
        ),
    ),
    Case(
        "rows that are there twice",
        frame(["a", "b"] * 6).assign(y=[row % 11 + 0.5 for row in range(12)], x=["a"] * 11 + ["a"]),
        ["a"] * 12,
        (
            "the DataFrame: rows repeat the text and target of others (1): "
            "they may be learned from and tested on; keep one of each",
        ),
    ),
]

TABLE = [*NUMBERS, *DATES, *FILES, *CELLS, *TARGETS]


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name.replace(" ", "-")) for case in TABLE])
def test_an_awkward_input(case: Case, tmp_path: Path) -> None:
    path, roles = tmp_path / f"a{case.suffix}", {"target": "y", **case.roles}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            if isinstance(case.source, pd.DataFrame):
                items = Items.from_frame(case.source, **roles)
            else:
                path.write_bytes(case.source if isinstance(case.source, bytes) else case.source.encode())
                items = Items.from_file(path, **roles)
        except GenzError as error:
            outcome: Any = str(error)
        else:
            look, _ = (
                case.outcome if isinstance(case.outcome, tuple) else ((lambda items: [item.fields["x"] for item in items]), None)
            )
            outcome = look(items)
    expected = case.outcome[1] if isinstance(case.outcome, tuple) else case.outcome
    shown = outcome.replace(str(path), "FILE") if isinstance(outcome, str) else outcome
    assert shown == expected
    assert [type(value) for value in shown] == [type(value) for value in expected]
    assert [str(note.message).replace(str(path), "FILE") for note in said] == list(case.notes)
    assert {note.category for note in said} <= {GenzWarning}


def test_the_table_is_long_enough() -> None:
    assert len({case.name for case in TABLE}) == len(TABLE) >= 60
