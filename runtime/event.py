"""One event of a paper or live chain with everything that came with it, as the bytes that the journal stores.

The bytes are what the block's inputs digest covers, in the order of a backtest's: EVENT, then the bars, forecasts (with the digest of
the features they were made from) and memberships that it names, then the note: canonical JSON of who did it and why.
See docs/reference/canonical-bytes.md.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from runtime.canonical import canonical_json
from runtime.core import codes as c
from runtime.core.records import BAR, CLUSTER, EVENT, FORECAST, INSTRUMENTS
from runtime.inference.bundle import DIGEST_BYTES
from runtime.policy import HEX, ProfileVersion
from runtime.ports import VenueEvent, no_inputs

Rows = npt.NDArray[np.void]

NOTE_MAX: Final = 64 * 1024
"""Bytes of a note; a profile has about 4,000."""
_NOTED: Final = (
    c.EV_CONTROL, c.EV_DEPOSIT, c.EV_WITHDRAWAL, c.EV_CORRECTION, c.EV_RECONCILIATION, c.EV_POLICY, c.EV_BUNDLE, c.EV_SESSION,
)  # fmt: skip
"""Kinds of event that somebody is responsible for, so that a note must say who."""
_CASH: Final = (c.EV_DEPOSIT, c.EV_WITHDRAWAL, c.EV_CORRECTION, c.EV_RECONCILIATION)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class BundleNote(_Frozen):
    """Which bundle makes the forecasts from a block on."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")
    bundle_hash: str = Field(pattern=HEX)
    feature_set_hash: str = Field(pattern=HEX)
    model_hashes: tuple[str, ...] = ()
    manifest_digest: str = Field(pattern=HEX, description="SHA-256 of the signed manifest")
    signer: str = Field(pattern=HEX, description="Ed25519 public key that signed it")


class SessionNote(_Frozen):
    """Which process trades, on what: every start and stop of trading is on record."""

    version: str = Field(max_length=80)
    core_digest: str = Field(pattern=HEX)
    clock: str = Field(pattern=r"^(system|venue)$", description="where the time comes from")
    venue: str = Field(max_length=400, description="the venue's address, without credentials")
    simulated: bool = Field(description="whether the venue or its time is not the real one: such days count for nothing")
    settings_digest: str = Field(pattern=HEX)
    cause: str = Field(pattern=r"^(start|stop|crash-recovery)$")


class Note(_Frozen):
    """Who did it, why, and what it says beyond numbers; at most one of the last three."""

    actor: str = Field(min_length=1, max_length=120)
    reason: str = Field(default="", max_length=1_000)
    command_id: str = Field(default="", max_length=120, description="the same id is carried out once")
    profile: ProfileVersion | None = None
    bundle: BundleNote | None = None
    session: SessionNote | None = None

    @model_validator(mode="after")
    def _one_body(self) -> Note:
        if sum(body is not None for body in (self.profile, self.bundle, self.session)) > 1:
            raise ValueError("a note is about one thing")
        return self

    def canonical(self) -> bytes:
        """Return the canonical JSON bytes."""
        return canonical_json(self.model_dump(mode="json", exclude_none=True))


class Event(NamedTuple):
    """An event and what came with it.

    Attributes:
        record: EVENT [1].
        bars: BAR [INSTRUMENTS], where `bar_n` is not negative; the desk numbers what comes, from 0.
        forecasts: FORECAST [INSTRUMENTS], where `forecast_n` is not negative.
        feature_digest: 32 bytes with forecasts, else empty.
        clusters: CLUSTER [INSTRUMENTS], where `cluster_n` is not negative.
        note: canonical JSON of a `Note`, or empty.
    """

    record: Rows
    bars: Rows | None = None
    forecasts: Rows | None = None
    feature_digest: bytes = b""
    clusters: Rows | None = None
    note: bytes = b""

    @property
    def kind_id(self) -> int:
        """What it is about."""
        return int(self.record[0]["kind_id"])

    @property
    def at_t(self) -> int:
        """When it took effect, seconds UTC."""
        return int(self.record[0]["at_t"])

    def content(self) -> bytes:
        """Return the bytes that the journal stores and the inputs digest covers."""
        parts = [self.record.tobytes()]
        if self.bars is not None:
            parts.append(np.ascontiguousarray(self.bars).tobytes())
        if self.forecasts is not None:
            parts += [np.ascontiguousarray(self.forecasts).tobytes(), self.feature_digest]
        if self.clusters is not None:
            parts.append(np.ascontiguousarray(self.clusters).tobytes())
        return b"".join([*parts, self.note])

    def numbered(self, bar_n: int, forecast_n: int, cluster_n: int) -> Event:
        """Return the event with the row numbers of what it brings, each counted from 0 over the chain."""
        record = self.record.copy()
        brought = (
            ("bar_n", self.bars, bar_n),
            ("forecast_n", self.forecasts, forecast_n),
            ("cluster_n", self.clusters, cluster_n),
        )
        for name, rows, number in brought:
            record[name] = -1 if rows is None else number
        return self._replace(record=record)

    @classmethod
    def decode(cls, content: bytes) -> Event:
        """Return the event that stored bytes say; whether its parts fit its kind is for `check` to say.

        Raises:
            ValueError: they end too early.
        """
        if len(content) < EVENT.itemsize:
            raise ValueError(f"an event of {len(content)} bytes")
        record = np.frombuffer(content, EVENT, 1).copy()
        rest = content[EVENT.itemsize :]
        bars = forecasts = clusters = None
        feature_digest = b""
        if record[0]["bar_n"] >= 0:
            bars, rest = _rows(rest, BAR)
        if record[0]["forecast_n"] >= 0:
            forecasts, rest = _rows(rest, FORECAST)
            feature_digest, rest = rest[:DIGEST_BYTES], rest[DIGEST_BYTES:]
        if record[0]["cluster_n"] >= 0:
            clusters, rest = _rows(rest, CLUSTER)
        return cls(record, bars, forecasts, feature_digest, clusters, rest)

    def note_of(self) -> Note | None:
        """Return who did it and why, or `None` for what nobody did.

        Raises:
            ValueError: the note is not one, or not in canonical form.
        """
        if not self.note:
            return None
        try:
            note = Note.model_validate_json(self.note)
        except ValidationError as e:
            raise ValueError(f"a note that cannot be read: {e.errors(include_url=False)[0]['msg']}") from e
        if note.canonical() != self.note:
            raise ValueError("a note that is not in canonical form")
        return note

    def check(self) -> None:
        """Refuse an event whose parts do not fit its kind.

        Raises:
            ValueError: they do not.
        """
        kind, record = self.kind_id, self.record[0]
        for name, rows in (("bar_n", self.bars), ("forecast_n", self.forecasts), ("cluster_n", self.clusters)):
            if (int(record[name]) >= 0) != (rows is not None):
                raise ValueError(f"{name} {int(record[name])}, with{'out' if rows is None else ''} what it names")
        if (self.bars is not None) != (kind == c.EV_BARS) or (self.clusters is not None) != (kind == c.EV_CLUSTERS):
            raise ValueError(f"bars or memberships that do not fit an event of kind {kind}")
        if self.forecasts is not None and (kind != c.EV_BARS or len(self.feature_digest) != DIGEST_BYTES):
            raise ValueError("forecasts without bars, or without the digest of their features")
        if bool(self.note) != (kind in _NOTED) or len(self.note) > NOTE_MAX:
            raise ValueError(f"a note of {len(self.note)} bytes at an event of kind {kind}")
        note = self.note_of()
        if note is None:
            return
        bodies = {c.EV_POLICY: note.profile, c.EV_BUNDLE: note.bundle, c.EV_SESSION: note.session}
        for body_kind, body in bodies.items():
            if (body is not None) != (kind == body_kind):
                raise ValueError(f"a note that does not fit an event of kind {kind}")


def _rows(content: bytes, dtype: np.dtype[np.void]) -> tuple[Rows, bytes]:
    size = INSTRUMENTS * dtype.itemsize
    if len(content) < size:
        raise ValueError("an event that ends inside what it names")
    # a copy: compiled code takes read-only arrays for another type, and would be compiled for them as well
    return np.frombuffer(content, dtype, INSTRUMENTS).copy(), content[size:]


def _event(kind_id: int, at_t: int, instrument_id: int = 0, quote_id: int = 0, value_n: int = 0) -> Rows:
    record = no_inputs()
    record["kind_id"], record["at_t"], record["instrument_id"] = kind_id, at_t, instrument_id
    record["quote_id"], record["value_n"] = quote_id, value_n
    return record


def bars(at_t: int, open_t: int, rows: Rows, forecasts: Rows | None = None, feature_digest: bytes = b"") -> Event:
    """Return one closed bar of every instrument, with the forecasts made on it if there are any."""
    record = _event(c.EV_BARS, at_t, value_n=open_t)
    record["bar_n"], record["forecast_n"] = 0, -1 if forecasts is None else 0
    return Event(record, rows, forecasts, feature_digest)


def clusters(at_t: int, version_n: int, rows: Rows) -> Event:
    """Return a membership; `version_n` counts them from 1."""
    record = _event(c.EV_CLUSTERS, at_t, value_n=version_n)
    record["cluster_n"] = 0
    return Event(record, clusters=rows)


def quote(at_t: int, instrument_id: int, bid_e8: int, ask_e8: int, *, moved: bool = False) -> Event:
    """Return the best bid and ask; `moved` asks for a decision about a held instrument."""
    record = _event(c.EV_QUOTE, at_t, instrument_id, value_n=int(moved))
    record["price_e8"], record["reference_e8"] = bid_e8, ask_e8
    return Event(record)


def venue(event: VenueEvent) -> Event:
    """Return what the venue did or said."""
    return Event(event.to_record())


def heartbeat(at_t: int, skew_ms: int) -> Event:
    """Return a sign of life with the clock's skew."""
    return Event(_event(c.EV_HEARTBEAT, at_t, value_n=skew_ms))


def control(at_t: int, switch_id: int, value_n: int, note: Note) -> Event:
    """Return a switch that somebody throws."""
    return Event(_event(c.EV_CONTROL, at_t, switch_id, value_n=value_n), note=note.canonical())


def policy(at_t: int, note: Note) -> Event:
    """Return the profile (the note's) that governs from here on."""
    version_n = note.profile.profile.version if note.profile else 0
    return Event(_event(c.EV_POLICY, at_t, value_n=version_n), note=note.canonical())


def bundle(at_t: int, bundle_n: int, note: Note) -> Event:
    """Return the bundle (the note's) whose forecasts come from here on; `bundle_n` counts them from 1."""
    return Event(_event(c.EV_BUNDLE, at_t, value_n=bundle_n), note=note.canonical())


def session(at_t: int, note: Note, *, started: bool) -> Event:
    """Return the start or stop of trading."""
    return Event(_event(c.EV_SESSION, at_t, value_n=int(started)), note=note.canonical())


def cash(at_t: int, kind_id: int, quote_id: int, amount_e8: int, note: Note) -> Event:
    """Return a deposit, withdrawal, correction or reconciliation; the last two are signed."""
    if kind_id not in _CASH:
        raise ValueError(f"an event of kind {kind_id} is no movement of cash")
    record = _event(kind_id, at_t, quote_id=quote_id)
    record["amount_e8"] = amount_e8
    return Event(record, note=note.canonical())


def rate(at_t: int, quote_id: int, price_e8: int) -> Event:
    """Return a quote currency's rate to the base currency."""
    record = _event(c.EV_RATE, at_t, quote_id=quote_id)
    record["price_e8"] = price_e8
    return Event(record)
