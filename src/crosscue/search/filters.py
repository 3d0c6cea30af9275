"""Filters of a search, such as `taken>=2024-06 camera:Canon folder:trips/ -format:gif width>2000 caption:"birthday"`.

The library builds the expression from objects, so that no value of a user is ever read as SQL.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from crosscue.errors import OptionError, suggestion

if TYPE_CHECKING:
    from lancedb.expr import Expr

Kind = Literal["contains", "equals", "below", "listed", "number", "date"]
COLUMNS: dict[str, tuple[str, Kind]] = {
    "folder": ("folder", "below"),
    "name": ("name", "contains"),
    "path": ("path", "contains"),
    "format": ("format", "equals"),
    "camera": ("camera", "contains"),
    "caption": ("captions", "listed"),
    "category": ("category", "equals"),
    "split": ("split", "equals"),
    "root": ("root", "equals"),
    "taken": ("taken", "date"),
    "width": ("width", "number"),
    "height": ("height", "number"),
    "size": ("size", "number"),
    "latitude": ("latitude", "number"),
    "longitude": ("longitude", "number"),
}
"""Name in a filter -> the column and the way in which it is compared."""
OPERATORS = (":", "=", ">=", "<=", ">", "<")
FORMATS = {"jpg": "jpeg", "tif": "tiff", "heif": "heic", "jpeg2000": "jp2"}
"""Other names of image formats."""
_TERM = re.compile(r'\s*(-?)([^\s:=<>"]+)(>=|<=|[:=<>])(?:"([^"]*)"|([^\s"]*))(?=\s|$)')
_PART = re.compile(r'(?:"[^"]*"|\S)+')


@dataclass(frozen=True)
class Term:
    """One condition of a filter. An image without a value of the column meets only a negative one."""

    name: str
    operator: str
    value: str
    negative: bool = False

    def __post_init__(self) -> None:
        """Checks name, operator and value.

        Raises:
            OptionError: the column is unknown, cannot be compared so, or the value is no number or date.
        """
        if self.name not in COLUMNS:
            raise OptionError(f"there is no column '{self.name}'.{suggestion(self.name, COLUMNS)}")
        ordered = self.kind in ("number", "date")
        if self.operator not in OPERATORS or (self.operator not in (":", "=") and not ordered):
            raise OptionError(
                f"{self.name}: '{self.operator}' compares numbers and dates. Write {self.name}:{self.value}"
            )
        if not self.value:
            raise OptionError(f"{self.name}: there is no value. Write one, such as {self.name}:{EXAMPLES[self.kind]}")
        if self.kind == "number":
            number_of(self.name, self.value)
        elif self.kind == "date":
            interval_of(self.name, self.value)

    @property
    def kind(self) -> Kind:
        """Way in which the column is compared."""
        return COLUMNS[self.name][1]

    def expression(self) -> Expr:
        """Returns the condition for LanceDB."""
        from lancedb.expr import col, func, lit

        column = col(COLUMNS[self.name][0])
        positive = self._positive(column)
        if not self.negative:
            return positive
        absent = func("concat", column.cast("string"), lit("")) == lit("")  # true of null, where NOT would stay null
        return ~positive | absent

    def _positive(self, column: Expr) -> Expr:
        from lancedb.expr import lit

        value = unicodedata.normalize("NFC", self.value)
        match self.kind:
            case "contains":
                return column.lower().contains(lit(value.lower()))
            case "listed":
                return column.cast("string").lower().contains(lit(value.lower()))
            case "equals":
                value = value.lower()
                return column.lower() == lit(FORMATS.get(value, value) if self.name == "format" else value)
            case "below":
                folder = value.strip("/")
                return (column == lit(folder)) | ((column >= lit(f"{folder}/")) & (column < lit(f"{folder}0")))
            case "number":
                return _compared(column, self.operator, lit(number_of(self.name, value)))
            case "date":
                start, end = map(lit, interval_of(self.name, value))
                match self.operator:
                    case ">=":
                        return column >= start
                    case ">":
                        return column >= end
                    case "<":
                        return column < start
                    case "<=":
                        return column < end
                return (column >= start) & (column < end)


EXAMPLES: dict[Kind, str] = {
    "contains": "dog",
    "equals": "png",
    "below": "trips/",
    "listed": '"birthday"',
    "number": "800",
    "date": "2024-06",
}


def parsed(text: str) -> list[Term]:
    """Returns the terms of a filter; an image has to meet all of them.

    Raises:
        OptionError: a part is no term, or a term is wrong; the message contains it.
    """
    terms, end = [], 0
    while text[end:].strip():
        found = _TERM.match(text, end)
        if found is None:
            part = _PART.search(text, end)
            raise OptionError(
                f"filter: '{part.group() if part else text[end:]}' is no condition. Write name:value, -name:value or name>value, "
                "such as --filter 'taken>=2024-06 folder:trips/ caption:\"birthday\"'"
            )
        sign, name, operator, quoted, plain = found.groups()
        terms.append(Term(name, operator, plain if quoted is None else quoted, sign == "-"))
        end = found.end()
    return terms


def expression_of(terms: list[Term]) -> Expr | None:
    """Returns the conjunction of the terms for LanceDB; None without any."""
    whole = None
    for term in terms:
        one = term.expression()
        whole = one if whole is None else whole & one
    return whole


def number_of(name: str, value: str) -> int | float:
    """Returns the number of a term.

    Raises:
        OptionError: the value is no number.
    """
    if re.fullmatch(r"[+-]?\d{1,15}", value, re.ASCII):
        return int(value)
    if re.fullmatch(r"[+-]?\d{0,15}\.\d{1,15}", value, re.ASCII):
        return float(value)
    raise OptionError(f"{name}: '{value}' is no number. Write one, such as {name}>800")


def interval_of(name: str, value: str) -> tuple[datetime, datetime]:
    """Returns the start of a year, month or day, and the start of the following one.

    Raises:
        OptionError: the value is no date.
    """
    refusal = OptionError(f"{name}: '{value}' is no date (2024, 2024-06, 2024-06-30).")
    found = re.fullmatch(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?", value, re.ASCII)
    if found is None:
        raise refusal
    year, month, day = (int(part) if part else 0 for part in found.groups())
    try:
        start = datetime(year, month if found[2] else 1, day if found[3] else 1)
        if found[3]:
            return start, start + timedelta(days=1)
        years, months = divmod(month or 12, 12)
        return start, datetime(year + years, months + 1, 1)
    except (ValueError, OverflowError) as error:
        raise refusal from error


def checked_sql(text: str) -> str:
    """Returns a condition in SQL, in parentheses, after a check that the whole string is one expression.

    LanceDB ignores what follows a `;` or a complete expression. Inside parentheses it does not.

    Raises:
        OptionError: the string ends before its end: `;`, a comment, or a parenthesis too many or too few.
    """
    bare = re.sub(r"'(?:[^']|'')*'|\"[^\"]*\"|`[^`]*`", "''", text)
    depth = 0
    for character in bare:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            break
    if not bare.strip() or depth or re.search(r"[;'\"`]|--|/\*", bare.replace("''", "")):
        raise OptionError(
            f'--where {text!r} is not one expression in SQL. Write one, such as --where "width > 2000 AND camera IS NOT NULL"'
        )
    return f"({text})"


def _compared(column: Expr, operator: str, value: Any) -> Any:
    match operator:
        case ">=":
            return column >= value
        case "<=":
            return column <= value
        case ">":
            return column > value
        case "<":
            return column < value
    return column == value
