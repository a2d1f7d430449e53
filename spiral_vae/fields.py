"""Fields and kinds: what a config may hold, declared once, in the classes that use it.

A *field* is an attribute of a dataclass that says its default, its rule and its meaning. A *kind*
is a class that a config can name; a *family* is all kinds with the same contract. From these
declarations follow the checks of a config and their sentences, what belongs to which kind, what a
sweep may vary and what a resume may change, how objects are made, and the reference in docs/.

    @kind("likelihood", "geco")
    @dataclass(frozen=True, kw_only=True)
    class Geco(Likelihood):
        geco_rate: Number = field(0.01, POSITIVE, "of log lambda, each step")

An object is made of fields; of a `section`, an object with a section of the config of its own,
whose class is fixed or named by the section's `kind`; and of a `choice`, a part whose class is
named by a field and whose own fields lie in the same section. `static` fields fix shapes or
compiled code; all others are leaves of the object as a pytree, and can be lanes of a sweep.
"""

import dataclasses
import difflib
import functools
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax

Fields = dict[str, Any]  # a whole config, flat: dotted field -> value
Class = TypeVar("Class", bound=type)

_PACKAGE = __name__.partition(".")[0]


class FieldError(ValueError):
    """A class does not keep its contract; the message is a sentence for its author."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """What the value of a field may be."""

    type: type
    allowed: str  # completes the sentence 'must be ...'
    holds: Callable[[Any], bool] = lambda value: True
    empty: bool = False  # whether the field may have no value
    options: tuple[str, ...] = ()  # all of them, where they can be listed

    def accepts(self, value: Any) -> bool:
        if value is None:
            return self.empty
        # To Python a bool is an int, to a user it isn't.
        typed = isinstance(value, self.type) and isinstance(value, bool) == (self.type is bool)
        return typed and self.holds(value)


def integer(low: int, high: int = 2**31 - 1) -> Rule:  # int32 counts everything on devices
    return Rule(int, f"an integer in [{low}, {high}]", lambda value: low <= value <= high)


def number(low: float, high: float) -> Rule:
    return Rule(float, f"a number in [{low:g}, {high:g}]", lambda value: low <= value <= high)


def finite(allowed: str, holds: Callable[[float], bool] = lambda value: True) -> Rule:
    return Rule(float, allowed, lambda value: math.isfinite(value) and holds(value))


def optional(rule: Rule) -> Rule:
    return dataclasses.replace(rule, allowed=f"{rule.allowed}, or none", empty=True)


def one_of(*options: str) -> Rule:
    allowed = " or ".join(map(repr, options))
    return Rule(str, allowed, lambda value: value in options, options=options)


TEXT = Rule(str, "a text")
BOOLEAN = Rule(bool, "True or False")
STRINGS = Rule(tuple, "a tuple of strings", lambda values: all(isinstance(v, str) for v in values))
FINITE = finite("a finite number")
NONZERO = finite("a finite number other than 0", lambda value: value != 0)
POSITIVE = finite("a finite number > 0", lambda value: value > 0)
SHARE = finite("a number in (0, 1]", lambda value: 0 < value <= 1)
NOT_NEGATIVE = finite("a finite number >= 0", lambda value: value >= 0)


@dataclasses.dataclass(frozen=True)
class Field:
    """The declaration of a field."""

    default: Any
    rule: Rule
    meaning: str
    static: bool  # it fixes shapes or the compiled program
    not_swept: str  # why no axis of a sweep can vary it; empty: it can
    changeable: bool  # a run that goes on may have another value
    of_length: bool  # where it isn't 0 an epoch depends on how many there are


class Together(NamedTuple):
    """What fields of a class must keep together, given by dotted paths.

    It is asked for where all of them are in use.
    """

    paths: tuple[str, ...]
    holds: Callable[..., bool]  # of their values
    wanted: str  # the sentence


def field(
    default: Any,
    rule: Rule,
    meaning: str,
    *,
    static: bool = False,
    not_swept: str = "",
    changeable: bool = False,
    of_length: bool = False,
) -> Any:
    """Returns a dataclass field that a config can set; see `Field` for the arguments."""
    own = Field(default, rule, meaning, static, not_swept, changeable, of_length)
    return dataclasses.field(default=default, metadata={"field": own, "static": static})


def section(of: type | str) -> Any:
    """Returns a dataclass field for an object with its own section of the config.

    Args:
      of: its class, or the family of which the section's field `kind` names one.
    """
    return dataclasses.field(metadata={"section": of})


def choice(family: str, default: str, meaning: str, *, without: tuple[str, ...] = ()) -> Any:
    """Returns a dataclass field for a part; the config's field of this name says which kind.

    Args:
      family: of the part.
      default: name of a kind.
      meaning: of the choice.
      without: kinds of the family that can't be chosen here.
    """
    return dataclasses.field(
        default_factory=lambda: _FAMILIES[family].kinds[default](),
        metadata={"choice": (family, default, meaning, without)},
    )


# Families and their kinds.


@dataclasses.dataclass(frozen=True)
class _Family:
    contract: type
    default: str
    meaning: str
    kinds: dict[str, type]


_FAMILIES: dict[str, _Family] = {}


def contract(family: str, default: str, meaning: str) -> Callable[[Class], Class]:
    """Returns a decorator for the base class of a family: its methods are the contract.

    Args:
      family: its name, the section's where the kinds fill a section of the config.
      default: name of the default kind.
      meaning: of the field `kind`, in base.py's words.
    """

    def decorate(cls: Class) -> Class:
        _FAMILIES[family] = _Family(cls, default, meaning, {})
        return cls

    return decorate


def kind(family: str, name: str) -> Callable[[Class], Class]:
    """Returns a decorator that lets a config name a dataclass, and makes it a pytree.

    Raises:
      FieldError: there is no such family, the name is taken, the class is no frozen dataclass of
        the family's contract, or lacks one of its methods.
    """

    def decorate(cls: Class) -> Class:
        what = f"{family} {name!r} ({cls.__name__})"
        if family not in _FAMILIES:
            raise FieldError(f"{what}: no such family; there are {', '.join(_FAMILIES)}")
        own = _FAMILIES[family]
        if not (issubclass(cls, own.contract) and "__dataclass_params__" in vars(cls)):
            raise FieldError(f"{what}: must be a dataclass derived from {own.contract.__name__}")
        if not vars(cls)["__dataclass_params__"].frozen:
            raise FieldError(f"{what}: must be @dataclass(frozen=True, kw_only=True)")
        if missing := sorted(getattr(cls, "__abstractmethods__", ())):
            raise FieldError(f"{what}: lacks {', '.join(f'{method}()' for method in missing)}")
        taken = own.kinds.get(name)
        if taken is not None and _origin(taken) != _origin(cls):
            raise FieldError(f"{what}: the name belongs to {taken.__module__}.{taken.__name__}")
        own.kinds[name] = pytree(cls)
        return cls

    return decorate


def pytree(cls: Class) -> Class:
    """Returns a dataclass after making it a pytree; for classes that stand for one another.

    Not by `register_dataclass`, for JAX 0.10 takes two such classes with fields of the same names
    for equal structures, and `jit` may then run the program of one for the other.
    """
    own = [one for one in dataclasses.fields(cls) if one.init]
    data = [one.name for one in own if not one.metadata.get("static")]
    static = [one.name for one in own if one.metadata.get("static")]
    keys = [jax.tree_util.GetAttrKey(name) for name in data]

    def flatten(one: Any) -> tuple[list[Any], tuple[Any, ...]]:
        return [getattr(one, name) for name in data], tuple(getattr(one, name) for name in static)

    def flatten_with_keys(one: Any) -> tuple[list[tuple[Any, Any]], tuple[Any, ...]]:
        leaves, rest = flatten(one)
        return list(zip(keys, leaves, strict=True)), rest

    def unflatten(rest: tuple[Any, ...], leaves: Iterable[Any]) -> Any:
        values = zip([*data, *static], [*leaves, *rest], strict=True)
        return cls(**dict(values))

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


def kinds(family: str) -> Mapping[str, type]:
    """Returns the classes of a family by name."""
    return _FAMILIES[family].kinds


def forget(module: str) -> None:
    """Takes out the kinds of a module, of one that could not be run to its end."""
    for family in _FAMILIES.values():
        for name in [name for name, cls in family.kinds.items() if cls.__module__ == module]:
            del family.kinds[name]


def source(cls: type) -> Path | None:
    """Returns the file of a user's class; None for one of this package or of no file."""
    if cls.__module__.partition(".")[0] == _PACKAGE:
        return None
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return Path(file).resolve() if file else None


def _origin(cls: type) -> Path | str:
    """Returns the file or module of a class; what is run again there takes its place."""
    return source(cls) or cls.__module__


def is_own(cls: type) -> bool:
    """Returns whether a class is the user's and not one of this package."""
    return cls.__module__.partition(".")[0] != _PACKAGE


# What classes declare.


class Part(NamedTuple):
    """A dataclass field, as `parts` finds it."""

    path: str
    name: str  # of the attribute
    field: Field | None  # a field of the config: a value, or the name of a kind
    family: str | None  # of which the value names a kind
    inside: type | None  # a section of a fixed class
    prefix: str  # of the fields of the kind or of the class


def parts(cls: type, prefix: str = "") -> Iterator[Part]:
    """Yields what an object of a class is made of."""
    for own in dataclasses.fields(cls):
        path = f"{prefix}{own.name}"
        if (found := own.metadata.get("field")) is not None:
            yield Part(path, own.name, found, None, None, prefix)
        elif "choice" in own.metadata:
            family, default, meaning, without = own.metadata["choice"]
            selector = _selector(family, default, meaning, without)
            yield Part(path, own.name, selector, family, None, prefix)
        elif isinstance(inside := own.metadata.get("section"), str):
            family = _FAMILIES[inside]
            selector = _selector(inside, family.default, family.meaning, ())
            yield Part(f"{path}.kind", own.name, selector, inside, None, f"{path}.")
        elif inside is not None:
            yield Part(path, own.name, None, None, inside, f"{path}.")


def _selector(family: str, default: str, meaning: str, without: tuple[str, ...]) -> Field:
    options = (name for name in _FAMILIES[family].kinds if name not in without)
    return Field(default, one_of(*options), meaning, True, "", False, False)


class Declared(NamedTuple):
    """All that is declared for a path."""

    fields: list[Field]  # more than one where kinds declare it each for itself
    users: list[str]  # what uses it, such as "likelihood.kind 'geco'"; empty: everything


def declared(*roots: type) -> Mapping[str, Declared]:
    """Returns all fields by dotted path, those of all kinds."""
    return _declared(roots, tuple((name, *own.kinds.items()) for name, own in _FAMILIES.items()))


@functools.lru_cache(8)
def _declared(roots: tuple[type, ...], all_kinds: tuple[Any, ...]) -> Mapping[str, Declared]:
    """Returns them for the kinds that there are; a long sweep asks for each lane."""
    del all_kinds
    found: dict[str, Declared] = {}

    def walk(cls: type, prefix: str, user: str | None) -> None:
        for part in parts(cls, prefix):
            if part.inside is not None:
                walk(part.inside, part.prefix, user)
                continue
            own = found.setdefault(part.path, Declared([], []))
            if part.field is not None and part.field not in own.fields:
                own.fields.append(part.field)
            if user is not None and user not in own.users:
                own.users.append(user)
            if part.family is not None and part.field is not None:
                for name in part.field.rule.options:
                    walk(kinds(part.family)[name], part.prefix, f"{part.path} {name!r}")

    for root in roots:
        walk(root, "", None)
    return found


class Used(NamedTuple):
    """What a config makes use of."""

    fields: dict[str, Field]
    classes: list[type]


def used(values: Mapping[str, Any], *roots: type) -> Used:
    """Returns the fields and classes in use; of a kind whose name is wrong nothing more."""
    found = Used({}, [])

    def walk(cls: type, prefix: str) -> None:
        found.classes.append(cls)
        for part in parts(cls, prefix):
            if part.field is not None:
                found.fields[part.path] = part.field
            inside = part.inside
            if part.family is not None and part.field is not None:
                name = str(values.get(part.path))
                inside = kinds(part.family)[name] if part.field.rule.accepts(name) else None
            if inside is not None:
                walk(inside, part.prefix)

    for root in roots:
        walk(root, "")
    return found


def build(cls: type, values: Mapping[str, Any], prefix: str = "", **given: Any) -> Any:
    """Returns an object of a class from the values of a sound config.

    Args:
      cls: a dataclass of fields, sections and choices.
      values: by dotted path.
      prefix: of the object's own fields.
      given: attributes that are not from the config.
    """
    for part in parts(cls, prefix):
        if part.inside is not None:
            given[part.name] = build(part.inside, values, part.prefix)
        elif part.family is not None:
            given[part.name] = build(kinds(part.family)[values[part.path]], values, part.prefix)
        else:
            given[part.name] = values[part.path]
    return cls(**given)


def depends_on_length(values: Mapping[str, Any], *roots: type) -> bool:
    """Returns whether an epoch of such a run may depend on how many epochs there are.

    A user's class is taken to, unless it says `of_length = False` itself.
    """
    found = used(values, *roots)
    fields = any(own.of_length and values[path] != 0 for path, own in found.fields.items())
    return fields or any(
        getattr(cls, "of_length", False) or (is_own(cls) and "of_length" not in vars(cls))
        for cls in found.classes
    )


# Sentences.


def problems(values: Mapping[str, Any], *roots: type) -> list[str]:
    """Returns a sentence for each rule that a whole config breaks."""
    known, inside = declared(*roots), used(values, *roots)
    found = [unknown(path, known) for path in values if path not in known]
    bad = set()
    for path, own in known.items():
        rule = inside.fields[path].rule if path in inside.fields else own.fields[0].rule
        if path not in values:
            found.append(f"{path}: missing, must be {rule.allowed}")
            bad.add(path)
        elif path in inside.fields and not rule.accepts(values[path]):
            found.append(f"{path}: found {values[path]!r}, must be {rule.allowed}")
            bad.add(path)
        elif not any(field.rule.accepts(values[path]) for field in own.fields):
            found.append(f"{path}: found {values[path]!r}, must be {rule.allowed}")
            bad.add(path)
    seen: set[Together] = set()
    for together in (one for cls in inside.classes for one in getattr(cls, "together", ())):
        paths = together.paths
        if together in seen or not bad.isdisjoint(paths) or not inside.fields.keys() >= {*paths}:
            continue
        seen.add(together)
        if not together.holds(*(values[path] for path in paths)):
            given = assignments({path: values[path] for path in paths})
            found.append(f"{together.wanted}, found {given}")
    return found


def unused(values: Mapping[str, Any], *roots: type) -> dict[str, str]:
    """Returns a sentence for each field off its default that a config makes no use of."""
    inside = used(values, *roots).fields
    return {
        path: f"{path}: found {values[path]!r}, but nothing here uses it; {belongs(path, *roots)} "
        f"and has the default {own.fields[0].default!r}"
        for path, own in declared(*roots).items()
        if path not in inside and values[path] not in [field.default for field in own.fields]
    }


def belongs(path: str, *roots: type) -> str:
    """Returns which kinds use a field, as half a sentence."""
    by_selector: dict[str, list[str]] = {}
    for user in declared(*roots)[path].users:
        selector, name = user.split(" ", 1)
        by_selector.setdefault(selector, []).append(name)
    return "it belongs to " + " or ".join(
        f"{selector} {' or '.join(names)}" for selector, names in by_selector.items()
    )


def unknown(path: str, known: Mapping[str, Any]) -> str:
    """Returns the sentence for an unknown field, with the fields that it may have meant."""

    def similarity(field: str) -> float:
        # By its last part too: a field is often remembered without its section.
        pairs = [(path, field), (path.rpartition(".")[2], field.rpartition(".")[2])]
        return max(difflib.SequenceMatcher(None, *pair).ratio() for pair in pairs)

    scores = {field: similarity(field) for field in known}
    best = max(scores.values(), default=0)
    near = [field for field, score in scores.items() if score > max(0.7, best - 0.1)]
    hint = f"did you mean {' or '.join(near)}?" if near else "configs/base.py lists all fields"
    return f"{path}: no such field; {hint}"


def assignments(values: Mapping[str, Any]) -> str:
    """Returns values as they are written on a command line."""
    return ", ".join(f"{path}={value}" for path, value in values.items())
