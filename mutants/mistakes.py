"""Plausible mistakes in a source file, each a small change of its text."""

import ast
import dataclasses
import io
import tokenize
from collections.abc import Callable, Iterator

# What is put in the place of an operator or of a name that is called.
_OPERATORS = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "/",
    ast.Div: "*",
    ast.FloorDiv: "*",
    ast.Mod: "//",
    ast.Pow: "*",
    ast.MatMult: "*",
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.In: "not in",
    ast.NotIn: "in",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.And: "or",
    ast.Or: "and",
}
_NAMES = {
    "min": "max",
    "max": "min",
    "minimum": "maximum",
    "maximum": "minimum",
    "mean": "sum",
    "sum": "mean",
    "std": "var",
    "var": "std",
    "any": "all",
    "all": "any",
    "floor": "ceil",
    "ceil": "floor",
    "exp": "expm1",
    "log": "log1p",
    "cos": "sin",
    "sin": "cos",
    "argmin": "argmax",
    "zeros": "ones",
    "ones": "zeros",
}
_DECLARING = {"field", "choice", "section", "Metric", "Together", "Rule", "finite"}
_DROPPED = {"abs", "sqrt", "square", "exp", "log", "sorted", "cumsum", "stop_gradient"}


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A change of a file: `new` in the place of what stands there."""

    line: int
    old: str
    new: str
    text: str  # of the whole file with the mistake in it


def mistakes(text: str) -> list[Mistake]:
    """Returns all mistakes that can be put into a source file, in the order of the file."""
    tree = ast.parse(text)
    right = ast.dump(tree)
    found = [
        mistake
        for node in _code(tree)
        for span, new in _changes(node, text)
        if (mistake := _made(text, span, new, right)) is not None
    ]
    return sorted(found, key=lambda mistake: (mistake.line, mistake.old, mistake.new))


Span = tuple[int, int]  # offsets in the text


def _code(tree: ast.AST) -> Iterator[ast.AST]:
    """Yields what is computed: no annotation or decorator, and nothing of a message."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "type_params", "decorator_list"):
            continue
        for node in value if isinstance(value, list) else [value]:
            if isinstance(node, ast.AST) and not isinstance(
                node, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom
            ):
                yield node
                yield from _code(node)


def _changes(node: ast.AST, text: str) -> Iterator[tuple[Span, str]]:
    def span(of: ast.AST) -> Span:
        return _offset(text, of.lineno, of.col_offset), _offset(
            text, of.end_lineno, of.end_col_offset
        )

    def source(of: ast.AST) -> str:
        begin, end = span(of)
        return text[begin:end]

    def between(left: ast.AST, right: ast.AST, new: str) -> Iterator[tuple[Span, str]]:
        yield from _operator(text, (span(left)[1], span(right)[0]), new)

    match node:
        case ast.BinOp():
            yield from between(node.left, node.right, _OPERATORS.get(type(node.op), ""))
        case ast.BoolOp():
            yield from between(node.values[0], node.values[1], _OPERATORS[type(node.op)])
        case ast.Compare():
            yield from between(node.left, node.comparators[0], _OPERATORS[type(node.ops[0])])
        case ast.UnaryOp(op=ast.USub() | ast.Not()):
            yield span(node), source(node.operand)
        case ast.Constant(value=bool()):
            yield span(node), str(not node.value)
        case ast.Constant(value=int() | float()):
            yield (
                span(node),
                repr(node.value + 1 if isinstance(node.value, int) else 2 * node.value),
            )
        case ast.Subscript(ctx=ast.Load()) if not isinstance(node.slice, ast.Constant):
            yield span(node), source(node.value)
        case ast.IfExp():
            yield span(node), f"({source(node.body)})"
            yield span(node), f"({source(node.orelse)})"
        case ast.Expr(value=ast.Call()):
            yield span(node), "pass"
        case ast.AugAssign():
            yield span(node), "pass"
        case ast.Call():
            yield from _calls(node, span, source)


def _calls(
    node: ast.Call, span: Callable[[ast.AST], Span], source: Callable[[ast.AST], str]
) -> Iterator[tuple[Span, str]]:
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    begin, end = span(node.func)
    if name in _NAMES:
        yield (end - len(name), end), _NAMES[name]
    if name in _DROPPED and len(node.args) == 1:
        yield span(node), f"({source(node.args[0])})"
    if (
        len(node.args) >= 2
        and name not in _DECLARING
        and not any(isinstance(arg, ast.Starred) for arg in node.args[:2])
    ):
        (first, _), (_, last) = span(node.args[0]), span(node.args[1])
        yield (first, last), f"{source(node.args[1])}, {source(node.args[0])}"
    for keyword in node.keywords:
        if keyword.arg is not None and (len(node.args) + len(node.keywords)) > 1:
            start, stop = span(keyword)
            yield (start, stop), ""


def _operator(text: str, gap: Span, new: str) -> Iterator[tuple[Span, str]]:
    """Yields the change of the operator that stands between two operands."""
    if not new:
        return
    begin, end = gap
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(f"({text[begin:end]})\n").readline))
    except tokenize.TokenError:  # the operands are in parentheses of their own
        return
    for token in tokens[1:]:
        if token.string.strip("()") and token.type in (tokenize.OP, tokenize.NAME):
            place = text.index(token.string, begin)
            length = len(token.string)
            follows = text[place + length : end].lstrip()
            if token.string in ("not", "is") and follows.startswith(("in", "not")):
                length += len(text[place + length : end]) - len(follows) + len(follows.split()[0])
            yield (place, place + length), new
            return


def _made(text: str, span: Span, new: str, right: str) -> Mistake | None:
    """Returns the mistake; None if the file would be no Python, or the same."""
    begin, end = span
    changed = text[:begin] + new + text[end:]
    if not new:  # a keyword goes with its comma
        rest = text[end:].lstrip()
        changed = text[:begin] + rest.removeprefix(",").lstrip()
    try:
        same = ast.dump(ast.parse(changed)) == right
    except SyntaxError:
        return None
    if same:
        return None
    return Mistake(text[:begin].count("\n") + 1, text[begin:end], new, changed)


def _offset(text: str, line: int | None, column: int | None) -> int:
    """Returns the place in a text of a line, from 1 on, and a column in bytes."""
    lines = text.splitlines(keepends=True)
    row = (line or 1) - 1
    return sum(map(len, lines[:row])) + len(lines[row].encode()[: column or 0].decode())
