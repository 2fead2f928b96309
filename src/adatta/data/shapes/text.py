"""Plain text.

{"text": "C'era una volta."}
"""

from __future__ import annotations

from adatta.data.shape import Shape

SHAPE = Shape(
    kind="document",
    keys=("text",),
    optional=(),
    convert=lambda fields, reader: {"text": reader.text(fields["text"], "text")},
)
