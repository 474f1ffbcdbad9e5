"""Bench: what a fault run is given (processes, a folder, its length) and where it writes its figures."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from tests.support.process import Processes


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured thing: of which fault, what it is, what came out, what must come out, and whether it did."""

    fault: str
    what: str
    found: str
    must: str
    good: bool


class Bench:
    """One run of one fault, which is a module of ``package``. ``quick``: the short form that the tests run."""

    def __init__(
        self, fault: str, processes: Processes, folder: Path, *, quick: bool, package: str = "tests.chaos"
    ) -> None:
        self.fault = fault
        self.processes = processes
        self.folder = folder
        self.quick = quick
        self._package = package
        self.figures: list[Figure] = []

    def times(self, full: int, quick: int) -> int:
        """How often, or how much, in this run."""
        return quick if self.quick else full

    def figure(self, what: str, found: object, must: str, good: bool) -> None:
        """Note a result, for example ``figure("acknowledged messages lost", 0, "0", lost == 0)``."""
        self.figures.append(Figure(self.fault, what, str(found), must, good))

    def timed(self, what: str, found: object, must: str, good: bool) -> None:
        """As ``figure``, of what takes longer on a machine that is busy with others, as that of the tests is.

        The short form shows it, and misses nothing by it.
        """
        self.figure(what, found, must + " (in the full run)" * self.quick, good or self.quick)

    async def run(self) -> list[Figure]:
        """Do the harm; the figures."""
        await import_module(f"{self._package}.{self.fault}").run(self)
        assert self.figures, f"{self.fault} has no figures"
        return self.figures
