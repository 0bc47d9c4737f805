"""What calls to a foundation model have used up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Spending:
    """calls: requests sent, failed ones included. tokens_in, tokens_out: as the server counts them. cost: US dollars."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0

    def __add__(self, other: Spending) -> Spending:
        return Spending(
            self.calls + other.calls,
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
            self.cost + other.cost,
        )


@dataclass(frozen=True)
class Usage:
    """Tokens of one call, as the server counts them."""

    tokens_in: int
    tokens_out: int
