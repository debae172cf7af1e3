"""The report: what each cause is worth, what became of each order in both runs, and whether anything is left unexplained."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, FieldSerializationInfo, field_serializer

from runtime.core.codes import SIDE_NAMES
from runtime.divergence.course import Course, Key, OrderResult
from runtime.divergence.equality import TableDifference, compare
from runtime.divergence.period import Period, Record
from runtime.divergence.stages import CAUSES, Backdrop, Hours, Stage
from runtime.genesis import Genesis
from runtime.progress import Report, silent


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_serializer("*", when_used="json")
    def _exact(self, value: object, info: FieldSerializationInfo) -> object:
        """Write money and quantities as text, as everywhere in this project: JSON numbers end at 2**53."""
        return str(value) if isinstance(value, int) and info.field_name.endswith("_e8") else value


class CauseAmount(_Frozen):
    """What one cause changed.

    Attributes:
        cause: `data`, `restart`, `operator`, `latency`, `fill`, `fee` or `mark`.
        amount_e8: portfolio value at the end with it less the value without it, base currency.
        value_e8: the value with it and all causes before it; up to `fee` at the close of the last bars.
        orders_n: orders whose existence, size, price, time or fee it changed.
        left_out_n: events of the journal that the run with it could not take, for example a withdrawal of cash that it does not have.
    """

    cause: str
    amount_e8: int
    value_e8: int
    orders_n: int
    left_out_n: int = 0


class Outcome(_Frozen):
    """An order in one of the two runs; quantities and money in 1e-8, quote currency, times in seconds UTC."""

    decided_t: int
    wanted_e8: int
    filled_e8: int
    price_e8: int
    fee_e8: int
    first_fill_t: int
    last_fill_t: int


class OrderDifference(_Frozen):
    """One order of either run.

    Attributes:
        symbol, side: what it was about.
        made_by: `bars`, `event` or `open`: the bars opened at `made_at`, block `made_at`, or order `made_at` from before the period.
        backtest, paper: what became of it; `None`: the run has no such order.
        causes: which steps on the way from the backtest to the journal changed it; empty: it is the same in both.
    """

    symbol: str
    side: str
    made_by: str
    made_at: int
    backtest: Outcome | None
    paper: Outcome | None
    causes: tuple[str, ...]


class HourCounts(_Frozen):
    """Hours of the period that the journal does not have as a backtest would; see `runtime.divergence.stages.Hours`."""

    late: int
    overdue: int
    missed: int
    absent: int
    changed: int
    unknown: int
    unmade: int


class Divergence(_Frozen):
    """Why a paper run did not end where a backtest of the same period ends.

    Attributes:
        run_id: the run.
        since_t, until_t: of the first and last event compared, seconds UTC.
        parity: the journal is what the core computes, and the last run of the chain ends in the journal's very state.
        parity_detail: the first difference when it is not.
        backtest_value_e8, paper_value_e8: portfolio value at the end, base currency.
        left_out_n: events of the journal that the backtest could not take.
        causes: in the order of their steps; the amounts add up to the difference of the two values.
        remainder_e8: what they leave unexplained: 0.
        orders: of both runs, by time.
        tables: record types compared row by row; acknowledgements left out.
        equal: no row differs.
        hours: what the journal does not have as a backtest would.
        forecasts: why forecasts cannot be made again, empty when they can.
    """

    run_id: str
    since_t: int
    until_t: int
    parity: bool
    parity_detail: str = ""
    backtest_value_e8: int = 0
    paper_value_e8: int = 0
    left_out_n: int = 0
    causes: tuple[CauseAmount, ...] = ()
    remainder_e8: int = 0
    orders: tuple[OrderDifference, ...] = ()
    tables: tuple[TableDifference, ...] = ()
    equal: bool = False
    hours: HourCounts = HourCounts(late=0, overdue=0, missed=0, absent=0, changed=0, unknown=0, unmade=0)
    forecasts: str = ""

    @property
    def explained(self) -> bool:
        """Whether every difference has its cause."""
        return self.parity and self.remainder_e8 == 0


def attribute(run_id: str, period: Period, record: Record, report: Report = silent, forecasts: str = "") -> Divergence:
    """Return the report of a period.

    Args:
        run_id: shown in it.
        period: of a paper journal (`read_period`).
        record: bars and forecasts as they are on record by now.
        report: told which run is done.
        forecasts: why forecasts cannot be made again, for the report.

    Raises:
        ValueError, OverflowError: the core refused an event that every run must be able to take.
    """
    first_t = period.events[0].event.at_t if period.events else 0
    if period.parity:
        return Divergence(run_id=run_id, since_t=first_t, until_t=period.end_t, parity=False, parity_detail=period.parity)
    backdrop = Backdrop(period, record)
    runs: list[Course] = []
    for stage in Stage:
        runs.append(backdrop.run(stage))
        report("runs", len(runs), len(Stage))
    backtest, paper = runs[0], runs[-1]
    values = [run.value_e8 if stage == Stage.MARK else run.bar_value_e8 for stage, run in zip(Stage, runs, strict=True)]
    same = paper.state.tobytes() == period.final.tobytes()
    orders = _orders(period.genesis, runs)
    causes = tuple(
        CauseAmount(
            cause=CAUSES[stage],
            amount_e8=values[stage] - values[stage - 1],
            value_e8=values[stage],
            orders_n=sum(CAUSES[stage] in order.causes for order in orders),
            left_out_n=runs[stage].left_out_n,
        )
        for stage in CAUSES
    )
    tables = compare(paper, backtest)
    return Divergence(
        run_id=run_id,
        since_t=first_t,
        until_t=period.end_t,
        parity=same,
        parity_detail="" if same else "the journal's events do not lead to the state that the journal ends in",
        backtest_value_e8=backtest.value_e8,
        paper_value_e8=period.value_e8,
        left_out_n=backtest.left_out_n,
        causes=causes,
        remainder_e8=period.value_e8 - backtest.value_e8 - sum(cause.amount_e8 for cause in causes),
        orders=tuple(orders),
        tables=tuple(tables),
        equal=not any(table.first for table in tables),
        hours=_counts(backdrop.hours),
        forecasts=forecasts,
    )


def _counts(hours: Hours) -> HourCounts:
    return HourCounts(
        late=len(hours.late), overdue=len(hours.overdue), missed=len(hours.missed), absent=len(hours.absent), changed=len(hours.changed),
        unknown=len(hours.unknown), unmade=len(hours.unmade),
    )  # fmt: skip


def _orders(genesis: Genesis, runs: Sequence[Course]) -> list[OrderDifference]:
    keys: dict[Key, int] = {}
    for run in runs:
        for key, result in run.results.items():
            keys.setdefault(key, result.decided_t)
    found = []
    for key, _ in sorted(keys.items(), key=lambda pair: (pair[1], pair[0])):
        results = [run.results.get(key) for run in runs]
        causes = tuple(CAUSES[stage] for stage in CAUSES if results[stage] != results[stage - 1])
        if results[0] is None and results[-1] is None:
            continue  # it came and went on the way: its causes cancelled out
        found.append(
            OrderDifference(
                symbol=genesis.symbols[key.instrument_id],
                side=SIDE_NAMES[key.side_id],
                made_by=key.what,
                made_at=key.at_t,
                backtest=_outcome(results[0]),
                paper=_outcome(results[-1]),
                causes=causes,
            )
        )
    return found


def _outcome(result: OrderResult | None) -> Outcome | None:
    if result is None:
        return None
    return Outcome(
        decided_t=result.decided_t, wanted_e8=result.wanted_e8, filled_e8=result.qty_e8, price_e8=result.price_e8,
        fee_e8=result.fee_e8, first_fill_t=result.first_fill_t, last_fill_t=result.last_fill_t,
    )  # fmt: skip
