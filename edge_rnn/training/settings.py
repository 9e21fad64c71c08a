"""Every setting of a run in one flat value: the model's and the training's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from edge_rnn.contract.errors import UsageError

Count = Annotated[int, msgspec.Meta(ge=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Fraction = Annotated[float, msgspec.Meta(ge=0, lt=1)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a run; a recipe gives its own defaults.

    ``cell``, ``hidden`` (one width, or one a layer), ``layers``, ``embedding`` (of a token),
    ``dropout`` (between layers), ``inner_dropout`` (of the recurrent connection), ``activation``
    and ``bidirectional`` (cannot stream) shape the model.
    ``loss_on`` is ``all`` for many-to-many and ``last`` for many-to-one. ``chunk`` is the length in
    steps after which backpropagation is cut; ``batch`` the sequences a step of the optimiser sees.
    ``clip_norm`` bounds the gradient's norm, ``clip_value`` its every entry (0: no bound). ``l1`` and ``l2`` weigh the penalties.
    ``patience`` is how many epochs may pass without a better validation loss.
    """

    cell: Literal["elman", "jordan", "lstm", "gru"] = "gru"
    hidden: Count | tuple[Count, ...] = 32
    layers: Count = 1
    embedding: Count = 16
    dropout: Fraction = 0.0
    inner_dropout: Fraction = 0.0
    activation: Literal["tanh", "relu", "sigmoid"] = "tanh"
    bidirectional: bool = False
    loss_on: Literal["all", "last"] = "all"
    optimiser: Literal["adam", "rmsprop", "sgd"] = "adam"
    learning_rate: Positive = 0.003
    momentum: Fraction = 0.0
    l1: NotNegative = 0.0
    l2: NotNegative = 0.0
    clip_norm: NotNegative = 1.0
    clip_value: NotNegative = 0.0
    chunk: Count = 50
    batch: Count = 16
    epochs: Count = 100
    patience: Count = 20


def override(settings: Settings, changes: Mapping[str, str]) -> Settings:
    """``settings`` with some replaced by their text, as ``--set key=value`` gives them.

    Raises `UsageError` naming the key and, for an unknown one, all that are valid.
    """
    fields = {field.name: field for field in msgspec.structs.fields(Settings)}
    for key in changes:
        if key not in fields:
            raise UsageError(f"there is no setting {key!r}; give one of {', '.join(fields)}")
    parsed = {}
    for key, text in changes.items():
        try:
            parsed[key] = msgspec.convert(_number(text, fields[key].type), fields[key].type)
        except (msgspec.ValidationError, ValueError, KeyError) as error:
            raise UsageError(f"setting {key}={text}: expected {_kind(fields[key].type)}") from error
    return msgspec.structs.replace(settings, **parsed)


def _number(text: str, annotation: object) -> str | int | float | bool | tuple[int, ...]:
    """The text as what ``annotation`` asks for. Raises `ValueError`."""
    kind = msgspec.inspect.type_info(annotation)
    if isinstance(kind, msgspec.inspect.UnionType):
        widths = tuple(int(part) for part in text.split(","))
        return widths[0] if len(widths) == 1 else widths
    if isinstance(kind, msgspec.inspect.BoolType):
        return {"true": True, "false": False}[text.lower()]
    if isinstance(kind, msgspec.inspect.IntType):
        return int(text)
    if isinstance(kind, msgspec.inspect.FloatType):
        number = float(text)
        if not math.isfinite(number):
            raise ValueError(text)
        return number
    return text


def _kind(annotation: object) -> str:
    kind = msgspec.inspect.type_info(annotation)
    if isinstance(kind, msgspec.inspect.UnionType):
        return "a whole number at least 1, or several with commas between them"
    if isinstance(kind, msgspec.inspect.BoolType):
        return "true or false"
    if isinstance(kind, msgspec.inspect.LiteralType):
        return "one of " + ", ".join(str(value) for value in kind.values)
    names = {msgspec.inspect.IntType: "a whole number", msgspec.inspect.FloatType: "a number"}
    bounds = [
        f"{what} {getattr(kind, name)}"
        for name, what in (("ge", "at least"), ("gt", "above"), ("lt", "below"))
        if getattr(kind, name, None) is not None
    ]
    return " ".join([names.get(type(kind), type(kind).__name__), " and ".join(bounds)]).strip()
