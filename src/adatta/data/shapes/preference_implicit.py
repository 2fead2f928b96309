"""Two conversations that differ in their last answer, as messages or as texts like those of hh-rlhf.

{"chosen": [{"role": "user", "content": "Che ore sono?"}, {"role": "assistant",
 "content": "Sono le tre."}], "rejected": [{"role": "user",
 "content": "Che ore sono?"}, {"role": "assistant", "content": "Three."}]}
"""

from __future__ import annotations

from adatta.data.shape import Shape

SHAPE = Shape(kind="preference", keys={"chosen": "answer", "rejected": "answer"})
