"""What a run waits for and why: one answer for people and programs."""

from petiole.client.explaining.explanation import Explanation, Superstep, Wait, WaitKind
from petiole.client.explaining.runs import explain

__all__ = ["Explanation", "Superstep", "Wait", "WaitKind", "explain"]
