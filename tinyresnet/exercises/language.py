"""English or 中文: what a learner reads comes in both."""

from __future__ import annotations

import locale
import os
from typing import NamedTuple

LANGUAGES = ("en", "zh")


class Text(NamedTuple):
    """The same thing said in English and in Chinese; `str(text)` is the one of the reader's language."""

    en: str
    zh: str

    def __str__(self) -> str:
        return self.zh if language() == "zh" else self.en

    def format(self, **values: object) -> Text:
        """Both with these values put in."""
        return Text(self.en.format(**values), self.zh.format(**values))


def language() -> str:
    """ "en" or "zh": TINYRESNET_LANG if it is set, else that of the locale. Raises ValueError for another TINYRESNET_LANG."""
    asked = os.environ.get("TINYRESNET_LANG", "")
    if asked:
        chosen = asked.lower().replace("-", "_").partition("_")[0]
        if chosen not in LANGUAGES:
            raise ValueError(f'environment variable TINYRESNET_LANG must be "en" or "zh", not {asked!r}')
        return chosen
    # The variables first, in POSIX's order: Python reads the locale only once somebody has called setlocale.
    named = next((value for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := os.environ.get(name))), None)
    return "zh" if (named or locale.getlocale()[0] or "").lower().startswith(("zh", "chinese")) else "en"
