"""A question with a better and a worse answer, as in orca_dpo_pairs.

{"system": "Rispondi in italiano.", "question": "Che ore sono?", "chosen": "Sono le tre.",
 "rejected": "It's three o'clock."}
"""

from __future__ import annotations

from adatta.data.shape import Shape

SHAPE = Shape(kind="preference", keys={"question": "user", "chosen": "answer", "rejected": "answer"})
