"""`from helpers.race import race, hold`: what a notebook needs of the room `helpers/racing`, where both are written."""

from helpers.racing.hold import HoldResult, hold
from helpers.racing.race import race
from helpers.racing.race_result import RaceResult

__all__ = ["HoldResult", "RaceResult", "hold", "race"]
