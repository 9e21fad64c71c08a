"""What each kind of operation does to rows. Importing this package registers every rule."""

from exporters.trace.rules import (  # noqa: F401  (each registers its rules)
    choose,
    contract,
    elementwise,
    join,
    normal,
    recurrent,
    reduce,
    shape,
    stretch,
    window,
    write,
)
