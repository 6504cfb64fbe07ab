"""People: how often each of them is right, from answers about the same thing.

Owns the estimate and the weight that an answer gets from it. One-coin model of Dawid and Skene (1979): each person is
right with one probability, truth is hidden, and both are found in turn. Answers about the same thing are those to one
question (of which one may override another) and to later questions about the same cause in the same entity.

Not obvious: an answer that nobody has contradicted says nothing of its author, who then stays where everybody begins.
The prior is worth ten answers, so that two people who differ once lose a little, and one who differs always is soon
no more than a coin. Incident or not is all that is compared; who is unsure has said nothing.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable

#: Where everybody begins, and how many answers that is worth.
FIRST, FIRST_WEIGHT = 0.9, 10.0
#: Nobody is worse than a coin, or their answers could be turned round; nobody is beyond doubt.
WORST, BEST = 0.5, 0.98
ROUNDS = 5
#: Things and answers about each that are remembered, the newest.
MOST_THINGS, MOST_ANSWERS = 2000, 20
#: Answers that say whether it was an incident.
IS_INCIDENT = {"incident": True, "expected": False, "new_normal": False, "false_alarm": False}


class People:
    """Answers by thing; `heard` adds one, and a label counts once."""

    def __init__(self) -> None:
        self._things: OrderedDict[str, dict[str, tuple[str, bool]]] = OrderedDict()

    def heard(self, thing: str, *, label: str, by: str, answer: str) -> None:
        """Somebody has said something about a thing."""
        if answer not in IS_INCIDENT:
            return
        answers = self._things.setdefault(thing, {})
        answers[label] = (by, IS_INCIDENT[answer])
        while len(answers) > MOST_ANSWERS:
            del answers[next(iter(answers))]
        self._things.move_to_end(thing)
        while len(self._things) > MOST_THINGS:
            self._things.popitem(last=False)

    def weight(self, by: str) -> float:
        """What an answer of this person counts, in [0, 1]; 1 for somebody who was never contradicted."""
        right = accuracies([list(one.values()) for one in self._things.values()]).get(by, FIRST)
        return round(min(max((right - WORST) / (FIRST - WORST), 0.0), 1.0), 4)


def accuracies(things: Iterable[list[tuple[str, bool]]]) -> dict[str, float]:
    """How often each person is right. things: for each thing, who has said whether it was an incident.

    >>> found = accuracies([[("ann", True), ("bob", True), ("cleo", False)]] * 9)
    >>> {name: round(share, 1) for name, share in found.items()}
    {'ann': 0.9, 'bob': 0.9, 'cleo': 0.5}
    """
    answered = list(things)
    right = {by: FIRST for answers in answered for by, _ in answers}
    for _ in range(ROUNDS):
        sums = dict.fromkeys(right, (FIRST * FIRST_WEIGHT, FIRST_WEIGHT))
        for answers in answered:
            odds = sum((1.0 if said else -1.0) * math.log(right[by] / (1.0 - right[by])) for by, said in answers)
            is_one = 1.0 / (1.0 + math.exp(-max(min(odds, 30.0), -30.0)))
            for by, said in answers:
                hits, count = sums[by]
                sums[by] = (hits + (is_one if said else 1.0 - is_one), count + 1.0)
        right = {by: min(max(hits / count, WORST), BEST) for by, (hits, count) in sums.items()}
    return right
