"""Records of trials made by hand, for the report, its page and the history."""

from __future__ import annotations

from typing import Any

HOUR_MS = 3_600_000


def worth(
    helped: int = 3, equal: int = 1, hurt: int = 0, *, gains: tuple[float, ...] = (0.6, 0.3, 0.2, 0.0, 0.0),
    parity_h: float | None = 6.0, ratio: float = 0.5, metric: str = "cpu", alone: tuple[int, int] = (0, 2),
) -> dict[str, Any]:  # fmt: skip
    """An account of helped + equal + hurt series of one class. gains: by age; alone: pages, seeded and cold."""
    series = helped + equal + hurt
    edges = (0, 1, 3, 6, 12, 24)
    mean = sum(gains) / len(gains) if gains else 0.0
    numbers = {
        "series": series, "young": 0, "helped": helped, "equal": equal, "hurt": hurt, "gain": mean,
        "error_ratio": ratio, "parity_h": parity_h, "not_caught_up": 0,
    }  # fmt: skip
    return {
        "hours": 24.0,
        **numbers,
        "by_age": [
            {
                "from_h": edges[at], "to_h": edges[at + 1], "series": series, "samples": 60 * series,
                "seeded": 0.1, "cold": 0.1 + gain, "gain": gain,
            }
            for at, gain in enumerate(gains)
        ],
        "classes": [{"class": metric, **numbers, "borrowed": {"scale": 0.5, "tail": 0.25}}],
        "classes_left_out": 0,
        "pages": {"seeded": 1, "cold": 3, "seeded_alone": alone[0], "cold_alone": alone[1]},
    }  # fmt: skip


def record(
    entity: str, finding: str, hour: float, account: dict[str, Any] | None = None, *, environment: str = "eu",
    source: str = "us", number: int = 0, unlike: float = 0.4,
) -> dict[str, Any]:  # fmt: skip
    """As `engine.records.of_finding` writes it."""
    is_decided = finding not in ("settled", "standing")
    return {
        "schema": "graft.experiment/1", "id": f"{environment} {entity} {finding} {number} {hour}",
        "at_ms": int(hour * HOUR_MS), "environment": environment, "entity": entity, "series": None,
        "kind": "guard" if is_decided else "worth", "finding": finding,
        "source": {"number": number, "environment": source},
        "evidence": {"unlike": unlike, "loud": 0.1} if is_decided else {},
        "limits": {"unlike": 1.0, "loud": 1.65} if is_decided else {},
        "worth": account, "because": f"{entity} was {finding}.", "follows": [],
    }  # fmt: skip


def retune(entity: str, series: str, hour: float) -> list[dict[str, Any]]:
    """An order and what came of it."""
    order = {
        "schema": "graft.order/1", "id": f"retune {series} {hour}", "at_ms": int(hour * HOUR_MS), "kind": "retune",
        "target": {"series": series, "entity": entity}, "because": "the level has moved", "params": {},
    }  # fmt: skip
    done = {
        "schema": "graft.experiment/1", "id": order["id"], "at_ms": int(hour * HOUR_MS) + 60_000, "environment": "eu",
        "entity": entity, "series": series, "order": order, "before": {"level": 1.0, "sd": 2.0},
        "after": {"level": 5.0, "sd": 2.0},
    }  # fmt: skip
    return [order, done]
