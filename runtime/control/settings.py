"""Bounds of the control API: how much of the process its clients may take."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ControlSettings(BaseModel):
    """Settings of the API. The address is always loopback."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    port: int = Field(default=0, ge=0, le=65_535, description="TCP port on 127.0.0.1; 0: a free one")
    body_max_bytes: int = Field(default=65_536, ge=1, le=2**20, description="largest body of a request")
    header_max_bytes: int = Field(default=16_384, ge=1_024, le=65_536, description="largest head of a request")
    connections_max_n: int = Field(default=512, ge=1, le=4_096, description="open connections; further ones are closed at once")
    streams_max_n: int = Field(default=256, ge=1, le=2_048, description="open event streams")
    read_s: float = Field(default=10.0, gt=0, le=120, description="time in which a request must have arrived whole")
    write_s: float = Field(default=10.0, gt=0, le=120, description="time in which a client must take in what is sent to it")
    keep_alive_s: int = Field(default=15, ge=1, le=600, description="time that an unused connection is kept")
    heartbeat_s: float = Field(default=2.0, gt=0, le=60, description="silence after which an event stream says that it lives")
    poll_s: float = Field(default=0.1, gt=0, le=5, description="how often the desk is looked at for event streams")
    receipt_s: float = Field(default=15.0, gt=0, le=120, description="time in which a command must have its block")
    session_idle_t: int = Field(
        default=1_800, ge=60, le=86_400, description="seconds without a request after which a session ends"
    )
    session_max_t: int = Field(
        default=43_200, ge=60, le=7 * 86_400, description="seconds after which a session ends in any case"
    )
    sessions_max_n: int = Field(default=64, ge=1, le=1_024, description="open sessions; the longest unused one makes room")
    failures_max_n: int = Field(default=10, ge=1, le=1_000, description="wrong credentials in a minute before 429")
    demand_queue_n: int = Field(default=4, ge=1, le=64, description="explanations that wait for the worker; then 503")
    demand_s: float = Field(default=60.0, gt=0, le=600, description="time that one explanation may take")
