"""Labels in LaTeX, as plots have them, on a page without scripts."""

from __future__ import annotations

import re
import unicodedata

from markupsafe import Markup, escape


def symbol(label: str) -> Markup:
    r"""A LaTeX label as HTML: italic letters, sub- and superscripts, Greek letters.

    Everything else, and everything outside of dollar signs, is shown as it is, escaped.

    >>> symbol("$m_Z$")
    Markup('<i>m</i><sub><i>Z</i></sub>')
    >>> symbol(r"$\sigma_\mathrm{bkg}$ <b>")
    Markup('<i>σ</i><sub>bkg</sub> &lt;b&gt;')
    """
    parts = re.split(r"\$([^$]+)\$", label)
    return Markup("").join(_mathematics(p) if i % 2 else escape(p) for i, p in enumerate(parts))


_TOKEN = re.compile(r"\\(?P<command>[A-Za-z]+|.)|(?P<shift>[_^])|(?P<open>\{)|(?P<letter>.)", re.S)
_UPRIGHT = {"mathrm", "text", "mathsf", "rm", "operatorname"}
_GLYPHS = {
    "to": "→", "ell": "ℓ", "times": "×", "pm": "±", "cdot": "·", "prime": "′", "ast": "∗",
    "langle": "⟨", "rangle": "⟩", "sum": "Σ", "parallel": "∥", "perp": "⊥",
    "left": "", "right": "",
}  # fmt: skip
_ACCENTS = {"hat": "\u0302", "tilde": "\u0303", "bar": "\u0304", "vec": "\u20d7"}
_AS_IT_IS = {"mathcal", "mathbf", "mathit"}
_WITH_ARGUMENT = {*_UPRIGHT, *_AS_IT_IS, *_ACCENTS, "sqrt"}
_SPACES = {",", ";", " ", "quad"}


def _glyph(command: str) -> str:
    """The letter that a LaTeX command stands for; its name where it is not known."""
    if command in _SPACES:
        return " "
    case = "CAPITAL" if command[0].isupper() else "SMALL"
    name = command.removeprefix("var").upper().replace("LAMBDA", "LAMDA")
    if command in _GLYPHS:
        return _GLYPHS[command]
    try:
        return unicodedata.lookup(f"GREEK {case} LETTER {name}")
    except KeyError:
        return command


def _mathematics(source: str, upright: bool = False) -> Markup:
    html = Markup("")
    at = 0
    while match := _TOKEN.match(source, at):
        at = match.end()
        if match["command"] in _UPRIGHT:
            inner, at = _argument(source, at)
            html += _mathematics(inner, upright=True)
        elif match["command"] in _WITH_ARGUMENT:
            inner, at = _argument(source, at)
            html += _applied(match["command"], inner, upright)
        elif match["command"] in ("left", "right") and source[at : at + 1] == ".":
            at += 1
        elif match["command"]:
            glyph = _glyph(match["command"])  # of several letters: a function's name, as cos
            html += _letter(glyph, upright or len(glyph) > 1)
        elif match["shift"]:
            inner, at = _argument(source, at)
            tag = Markup("<sub>{}</sub>" if match["shift"] == "_" else "<sup>{}</sup>")
            html += tag.format(_mathematics(inner, upright))
        elif match["open"]:
            inner, at = _argument(source, match.start())
            html += _mathematics(inner, upright)
        else:
            html += _letter(match["letter"], upright)
    return html


def _applied(command: str, inner: str, upright: bool) -> Markup:
    """A root, in brackets if it is of more than one letter, an accent, or other letters."""
    html = _mathematics(inner, upright)
    if command in _ACCENTS:
        return html + Markup(_ACCENTS[command])
    if command == "sqrt":
        return Markup("√{}" if len(html.striptags()) == 1 else "√({})").format(html)
    return html


def _letter(letter: str, upright: bool) -> Markup:
    return escape(letter) if upright or not letter.isalpha() else Markup("<i>{}</i>").format(letter)


def _argument(source: str, at: int) -> tuple[str, int]:
    """What a command at ``at`` applies to, a group or one token, and where that ends."""
    if source[at : at + 1] != "{":
        match = _TOKEN.match(source, at)
        if match is None:
            return "", len(source)
        if match["command"] in _WITH_ARGUMENT:
            return source[at : _argument(source, match.end())[1]], _argument(source, match.end())[1]
        return match[0], match.end()
    depth = 0
    for end in range(at, len(source)):
        depth += {"{": 1, "}": -1}.get(source[end], 0)
        if depth == 0:
            return source[at + 1 : end], end + 1
    return source[at + 1 :], len(source)
