"""What a page of the report must not have: faults of the page itself, and texts that are not in both languages."""

from __future__ import annotations

import re

from tests.report.html_page import Element, read

# Words of the zh part that are names, units or code; whatever else is in Latin letters there is untranslated English.
NAMES = {
    "tinyresnet", "resnet", "resnet_v2", "resnet_v2_small", "ResNet", "v2", "IoU", "Grad-CAM", "Selvaraju", "SGD", "Nesterov",
    "logit", "TOML", "epoch", "float64", "config", "toml", "conv1", "weights", "block", "block1", "block2", "block3", "pictures",
    "train", "dy", "gamma", "beta", "logits", "numpy", "python", "blas", "name", "English", "mine", "scenes", "cat", "dog", "bird",
    "background",
}  # fmt: skip
CODE = ("code", "pre", "th")  # config, names of ops and classes


def problems(text: str, files: dict[str, bytes]) -> list[str]:
    """What a page that is opened from a disk, without a network, must not have."""
    page = read(text)
    found = [
        f"reaches out: {m}" for m in re.findall(r"""https?:\S*|//[a-z][\w.-]+\.[a-z]+|@import\S*|url\([^)]*\)""", text)
    ]
    sources = [image.attributes["src"] for image in page.all("img")]
    found += [f"no such picture: {source}" for source in sources if source not in files]
    found += [f"not shown: {file}" for file in files if file not in sources]
    found += [
        f"no text for {image.attributes['src']}"
        for image in page.all("img")
        if not image.attributes.get("alt", "").strip()
    ]
    ids = [e.attributes["id"] for e in page.walk() if "id" in e.attributes]
    found += [f"twice: {name}" for name in ids if ids.count(name) > 1]
    links = [e.attributes["href"] for e in page.all("a")]
    found += [f"leads nowhere: {link}" for link in links if link[1:] not in [*ids, "en", "zh"]]
    levels = [int(e.tag[1]) for e in page.walk() if re.fullmatch("h[1-6]", e.tag)]
    if levels[:1] != [1] or levels.count(1) != 1 or any(b > a + 1 for a, b in zip(levels, levels[1:], strict=False)):
        found.append(f"headings {levels}")
    found += [f"{len(page.all(tag))} <{tag}>" for tag in ("main", "header", "footer") if len(page.all(tag)) != 1]
    return found


def anchors(page: Element) -> list[str]:
    return [section.attributes["aria-labelledby"].removeprefix("en-") for section in page.all("section")]


def untranslated(page: Element) -> list[str]:
    """What of the Chinese page is not Chinese, and which texts have no twin."""
    found = []
    for parent in page.walk():
        languages = [
            c.attributes.get("class", "").split()[-1:]
            for c in parent.children
            if isinstance(c, Element) and "lang" in c.attributes
        ]
        if parent.attributes.get("class") != "languages" and languages != [["en"], ["zh"]] * (len(languages) // 2):
            found.append(f"<{parent.tag}> has {languages}")
    for element in page.walk():
        own = "".join(child for child in element.children if isinstance(child, str))
        english = "en" in element.attributes.get("class", "").split()
        if not english and element.tag not in (*CODE, "style", "script", "title", "dd"):
            found += [f"{word!r} in {own.strip()[:60]!r}" for word in latin(own)]
        for name, value in element.attributes.items():
            if name.startswith("data-zh-"):
                found += [f"{word!r} in {value[:60]!r}" for word in latin(value)]
                found += [] if element.attributes.get(name.replace("zh", "en", 1)) else [f"{name} has no twin"]
    return found


def latin(text: str) -> list[str]:
    return [word for word in re.findall(r"[A-Za-z][A-Za-z0-9_-]+", text) if word not in NAMES]
