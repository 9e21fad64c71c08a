"""What a lower precision costs: measured when the bundle was written, kept in its manifest."""

from __future__ import annotations

import msgspec


class AccuracyFigure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far the main output is from fp32 over ``steps`` steps in all.

    ``drop`` is what `max_drop` bounds: the share of steps with another decision for logits and
    probabilities, else the root mean square of the difference per standard deviation of the fp32 output.
    """

    drop: float
    max_abs_error: float
    rms_error: float
    steps: int


class Accuracy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a lower precision does to the answers, beside the same graph in fp32.

    ``golden`` is measured on the golden vectors' inputs, ``calibration`` on the sequences named by
    ``source``. ``weight_bits`` is 8 or 7 for int8, 16 for fp16.
    """

    golden: AccuracyFigure
    calibration: AccuracyFigure
    source: str
    weight_bits: int
