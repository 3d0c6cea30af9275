"""Action triplets from a caption without a model: closed lists and word order, deterministic, in English."""

from __future__ import annotations

import re
from collections.abc import Iterable

from crosscue.knowledge.actions.record import ActionKnowledge, CaptionKnowledge, Triplet

VERB = re.compile(
    r"\b(\w+) (?:is |are )?(\w{2,}ing)(?: (in|on|at|with|through|near|over|under|into|to))?(?: (?:a|an|the))? ?(\w*)"
)


def rules_knowledge(captions: Iterable[str]) -> ActionKnowledge:
    """Returns what the rules find in each caption; `null` where they find nothing."""
    return ActionKnowledge({caption: _known(caption) for caption in dict.fromkeys(captions)})


def _known(caption: str) -> CaptionKnowledge:
    triplets = tuple(
        Triplet(match.group(1), " ".join(filter(None, match.group(2, 3))), match.group(4))
        for match in VERB.finditer(caption.lower())
    )
    states = tuple(" ".join(f"the {t.subject} is visibly {t.action} {t.object}".split()) for t in triplets)
    return CaptionKnowledge(triplets, states, "rules") if triplets else CaptionKnowledge()
