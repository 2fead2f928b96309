"""Plain text.

{"text": "C'era una volta."}
"""

from __future__ import annotations

from adatta.data.shape import Shape

SHAPE = Shape(kind="document", keys={"text": "text"}, optional=())
