"""docs/errors.md knows the messages: those on the page occur in the sources, and the reverse."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "errors.md"
HOLE = "…"  # what differs from case to case
SAY_EXPECTED = ("file_error", "_unreadable", "need")
HANDED_ON = (f"Fix {HOLE}: {HOLE}",)  # what another layer says


def headlines() -> list[str]:
    """The messages of the page: first column of its tables."""
    rows = re.findall(r"^\| `(.*)` \| .* \|$", PAGE.read_text(), re.MULTILINE)
    return [headline for row in rows for headline in row.split("`<br>`")]


def cpp_messages() -> list[str]:
    """Arguments of what stops or warns, string literals joined, with holes for values."""
    messages = []
    for path in sorted((ROOT / "cpp_bridge").rglob("*.cpp")):
        text = re.sub(
            r"/\*.*?\*/|//[^\n\"]*$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE
        )
        for call in re.finditer(
            r"(error->\w+|throw Failure|_\.stop|failure_ =|std::string text =)\W", text
        ):
            literal = r'"(?:[^"\\]|\\.)*"'
            end = text.index(";\n", call.end())
            words = re.findall(literal, text[call.end() : end])
            if not words:
                continue  # a text that was made elsewhere
            gaps = re.split(literal, text[call.end() : end])[1:]
            joined = "".join(
                word[1:-1] + ("" if gap.strip() == "" else HOLE)
                for word, gap in zip(words, gaps, strict=True)
            )
            messages.append(re.sub(r"\{[^}]*\}", HOLE, joined))
    return messages


def words_of(node: ast.expr) -> str:
    """A Python expression as the text that it makes, with holes for values."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(map(words_of, node.values))
    if isinstance(node, ast.BinOp):
        return words_of(node.left) + words_of(node.right)
    return HOLE


def python_messages() -> list[str]:
    """Every text in the package; `file_error` and its like say `expected X, found Y; remedy`."""
    messages = []
    for path in sorted((ROOT / "python").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp):
                messages.append(words_of(node))
            if isinstance(node, ast.Call) and ast.unparse(node.func) in SAY_EXPECTED:
                _, _, expected, *found = map(words_of, node.args)
                if ast.unparse(node.func) == "need":
                    found = [HOLE, *found]
                messages.append(f"expected {expected}, found {'; '.join(found)}")
    return messages


def contains(message: str, headline: str) -> bool:
    """Is the headline a part of the message, holes standing for anything?"""
    shape = ".*?".join(map(re.escape, headline.split(HOLE)))
    return re.search(shape, message, re.DOTALL) is not None


def test_messages_of_the_page_occur_in_the_sources():
    known = [*cpp_messages(), *python_messages()]
    found = headlines()
    assert len(found) > 150
    assert [h for h in found if not any(contains(m, h) for m in known)] == []


def test_messages_of_the_plugin_are_on_the_page():
    messages = [m for m in cpp_messages() if m not in HANDED_ON]
    assert len(messages) > 75
    found = headlines()
    assert [m for m in messages if not any(contains(m, h) for h in found)] == []
