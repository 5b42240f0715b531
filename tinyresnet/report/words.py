"""What the report says, in both languages at once: a text without its twin cannot be written down."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

CODE = re.compile(r"`([^`]+)`")
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
BACKTICK = "\ue000"  # stands for a backtick that a user's text has, until the code marks are dealt with


class Words(NamedTuple):
    """One text in English and in Chinese. `like this` is code; nothing else is marked up, and all of it is escaped."""

    en: str
    zh: str

    def format(self, **values: Any) -> Words:
        """Both texts with their {names} filled in. A value that is Words goes into each text in its own language."""
        return Words(*(text.format(**_in(values, language)) for text, language in zip(self, ("en", "zh"), strict=True)))


def _in(values: dict[str, Any], language: str) -> dict[str, Any]:
    return {name: _value(value, language) for name, value in values.items()}


def _value(value: Any, language: str) -> Any:
    if isinstance(value, Words):
        return getattr(value, language)
    return value.replace("`", BACKTICK) if isinstance(value, str) else value


def same(text: str) -> Words:
    """A name or a number: the same in both languages."""
    return Words(text.replace("`", BACKTICK), text.replace("`", BACKTICK))


def listed(parts: Iterable[Words]) -> Words:
    """a, b, c and a、b、c."""
    every = list(parts)
    return Words(", ".join(part.en for part in every), "、".join(part.zh for part in every))


def both(words: Words) -> str:
    """HTML that shows the text in the language of the page; a text that is the same in both stands there once."""
    if words.en == words.zh:
        return marked_up(words.en)
    return f'<span class="en" lang="en">{marked_up(words.en)}</span><span class="zh" lang="zh-CN">{marked_up(words.zh)}</span>'


def marked_up(text: str) -> str:
    """Escaped, with `code` as <code>."""
    return CODE.sub(r"<code>\1</code>", html.escape(text)).replace(BACKTICK, "`")


def plain(text: str) -> str:
    """For an attribute's value: escaped, without marks."""
    return html.escape(CODE.sub(r"\1", text).replace(BACKTICK, "`"))


def attribute(name: str, words: Words) -> str:
    """An attribute in both languages: English until the switch, which reads the data-*, says otherwise."""
    en, zh = plain(words.en), plain(words.zh)
    return f'{name}="{en}"' if en == zh else f'{name}="{en}" data-en-{name}="{en}" data-zh-{name}="{zh}"'


# ---- numbers -------------------------------------------------------------------------------------------------------------
def percent(share: float, digits: int = 1) -> str:
    """0.9064 -> "90.6 %"; what is less than 1 but would be rounded to it stays below: 0.99999 -> "99.9 %"."""
    shown = min(share, 1 - 10.0 ** -(digits + 2)) if share < 1 else share
    text = f"{100 * shown:.{digits}f}"
    return f"{text if share == 1 or not text.startswith('100') else '99.' + '9' * digits}\u00a0%"


def number(value: float) -> str:
    """Integers with their thousands apart, others with four digits that count."""
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:.4g}"


def scientific(value: float) -> str:
    """0.000000000014 -> "1.4 × 10⁻¹¹"."""
    digits, _, power = f"{value:.1e}".partition("e")
    return f"{digits}\u00a0×\u00a010{str(int(power)).translate(SUPERSCRIPT)}" if value else "0"


def duration(seconds: float) -> Words:
    """In the two largest units that it has."""
    if seconds < 60:
        return Words(f"{seconds:.1f} s", f"{seconds:.1f} 秒")
    whole = round(seconds)
    if whole < 3600:
        return Words(f"{whole // 60} min {whole % 60} s", f"{whole // 60} 分 {whole % 60} 秒")
    return Words(f"{whole // 3600} h {whole % 3600 // 60} min", f"{whole // 3600} 小时 {whole % 3600 // 60} 分")
