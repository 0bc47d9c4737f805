"""Where the bytes of a SOURCE are: a file, maybe compressed, a folder, standard input, or an address."""

from __future__ import annotations

import codecs
import re
import shutil
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow

from genz_ppl.data.values import listing
from genz_ppl.errors import InputError, OptionError
from genz_ppl.mapped import bytes_of_size

STANDARD_INPUT = "-"
PACKED = (".gz", ".bz2", ".zst", ".zip")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # one letter would be a drive
# How files of a kind begin, where a name does not say it; anything else is taken for csv.
_BEGINNINGS = {b"PAR1": ".parquet", b"PK\x03\x04": ".xlsx", b"{": ".jsonl", b"[": ".json", b"\x1f\x8b": ".csv.gz"}


@dataclass(frozen=True)
class Written:
    """How a text file is written, where that is not to be found out. sep: what separates cells, one character; decimal: the mark
    before decimals, "," or "."; encoding: of its characters, None for UTF-8. memory: a size such as "2GB": where the targets of
    any file would take more than a fourth of it, they are kept in a temporary file. Raises OptionError for anything else.
    """

    sep: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    memory: str | None = None

    def __post_init__(self) -> None:
        if self.sep == "\\t":  # as shells have it
            object.__setattr__(self, "sep", "\t")
        if self.sep is not None and (len(self.sep) != 1 or self.sep in '"\r\n'):
            raise OptionError(f"sep: expected one character, such as ';', got {self.sep!r}")
        if self.decimal not in (None, ",", "."):
            raise OptionError(f"decimal: expected ',' or '.', got {self.decimal!r}")
        if self.decimal == self.sep == ",":
            raise OptionError("decimal: a comma before decimals cannot separate cells, too; give sep, such as ';'")
        if self.memory is not None:
            bytes_of_size(self.memory)
        try:
            codecs.lookup(self.encoding or "utf-8")
        except LookupError:
            known = "such as latin-1, cp1252 or utf-16"
            raise OptionError(f"encoding: expected the name of an encoding, {known}, got {self.encoding!r}") from None

    @property
    def room(self) -> int | None:
        """`memory` in bytes."""
        return None if self.memory is None else bytes_of_size(self.memory)


@dataclass(frozen=True)
class SourceFile:
    """A file or a folder on this machine. name: what messages call it; folder: what relative image paths start from."""

    path: Path
    name: str
    folder: Path

    def __str__(self) -> str:
        return self.name

    @property
    def packed(self) -> bool:
        """Whether the last suffix says that it is compressed."""
        return self.path.suffix.lower() in PACKED

    @property
    def suffix(self) -> str:
        """What is in it, with a dot and in small letters."""
        return (self.path.with_suffix("") if self.packed else self.path).suffix.lower()


def is_address(source: str | Path) -> bool:
    """Whether a source is an address, https://... or s3://..."""
    return isinstance(source, str) and _ADDRESS.match(source) is not None


@contextmanager
def located(source: str | Path) -> Iterator[SourceFile]:
    """The file of a source; that of "-" and of an address is a copy which is gone in the end. Raises InputError."""
    if source != STANDARD_INPUT and not is_address(source):
        path = Path(source).expanduser()
        if not path.exists():
            raise InputError(f"{path}: there is no such file; check the path")
        yield SourceFile(path, str(path), path if path.is_dir() else path.parent)
        return
    with tempfile.TemporaryDirectory() as folder:
        path, name = Path(folder) / "table", str(source)
        if source == STANDARD_INPUT:
            name = "standard input"
            _copy_input(path)
        else:
            path = _copy_address(name, path)
        if not SourceFile(path, name, Path()).suffix:
            path = path.rename(path.with_name(f"table{_kind(path)}"))
        yield SourceFile(path, name, Path())


def _copy_input(path: Path) -> None:
    if sys.stdin is None or sys.stdin.isatty():
        raise InputError("standard input: expected a table, found a terminal; pipe one in, as in: genz fit - ... < FILE")
    with path.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)


def _copy_address(address: str, path: Path) -> Path:
    """A copy beside `path` that keeps the suffixes."""
    parts = urlsplit(address)
    if parts.password:
        raise InputError(
            f"{parts.scheme}://{parts.hostname}: an address is noted in runs; leave out the password, log in otherwise"
        )
    suffixes = "".join(Path(unquote(parts.path)).suffixes[-2:])
    path = path.with_name(f"table{suffixes}")
    try:
        import fsspec

        with fsspec.open(address, "rb") as remote, path.open("wb") as file:
            shutil.copyfileobj(remote, file)
    except ImportError as error:
        raise InputError(f"{address}: needs the extra remote ({error}): pip install 'genz-ppl[remote]'") from None
    except Exception as error:  # every file system has errors of its own
        raise InputError(f"{address}: cannot be read ({first_line(error)}); check the address") from None
    return path


def _kind(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(64).removeprefix(codecs.BOM_UTF8).lstrip()
    return next((suffix for beginning, suffix in _BEGINNINGS.items() if start.startswith(beginning)), ".csv")


def read_text(file: Path | SourceFile, encoding: str | None = None) -> str:
    """A text file, UTF-8 unless said otherwise, unpacked, without a byte order mark.

    Raises InputError with the place of the first byte that is not of the encoding.
    """
    return decoded(read_bytes(file), file, encoding)


def read_bytes(file: Path | SourceFile) -> bytes:
    """What is in a file, unpacked. Raises InputError where it cannot be read."""
    path = file.path if isinstance(file, SourceFile) else file
    try:
        return _unpacked(path, str(file))
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or first_line(error)}); check the file") from None


def decoded(content: bytes, file: Path | SourceFile, encoding: str | None) -> str:
    """The text of a file's bytes, as `read_text`."""
    try:
        return content.decode(encoding or "utf-8").removeprefix("\ufeff")
    except UnicodeError as error:
        place = first_line(error)
        if isinstance(error, UnicodeDecodeError) and error.start < len(content):
            line = content.count(b"\n", 0, error.start) + 1
            place = f"byte 0x{content[error.start]:02x} at position {error.start} (line {line})"
        remedy = "re-save the file as UTF-8, or name its encoding with --encoding (encoding=)"
        raise InputError(f"{file}: not {encoding or 'UTF-8'}, {place}; {remedy}") from None


def _unpacked(path: Path, name: str) -> bytes:
    """The bytes of a file, those inside it where its last suffix says that it is compressed. Raises OSError, InputError."""
    kind = path.suffix.lower()
    if kind not in PACKED:
        return path.read_bytes()
    if kind != ".zip":
        with pyarrow.input_stream(str(path), compression="detect") as stream:
            return bytes(stream.read())
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX")]
            if len(names) != 1:
                raise InputError(f"{name}: expected one file in the archive, found {len(names)}: {listing(names)}; keep one")
            return archive.read(names[0])
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # damaged, or behind a password
        raise OSError(str(error)) from None


def first_line(error: Exception) -> str:
    """Of what an error says, at most 120 characters."""
    return next(iter(str(error).splitlines()), type(error).__name__)[:120]
