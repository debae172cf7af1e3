"""What the dashboards read is what the control API answers."""

from __future__ import annotations

import inspect

import pytest
from pydantic import BaseModel

from reports.dashboards import client, decision_shapes, shapes
from runtime.control import decision_models, models

OURS = {
    "Status": models.Status, "Head": models.Head, "ProfileRef": models.ProfileRef, "BundleRef": models.BundleRef, "Feed": models.Feed,
    "Latency": models.LatencyOut, "Switches": models.Switches, "PaperDays": models.PaperDaysOut, "CapUse": models.CapUse,
    "ClusterUse": models.ClusterExposure, "Cash": models.Cash, "Tier": models.TierOut, "Summary": models.Summary,
    "OpenOrder": models.OpenOrder, "Asset": models.Asset, "Assets": models.Assets, "EquityPoint": models.EquityOut,
    "Equity": models.Equity, "Signal": decision_models.Signal, "Timeline": decision_models.Timeline,
    "RiskEvent": decision_models.RiskEvent, "OrderState": decision_models.OrderState, "Fill": decision_models.Fill,
    "Trade": decision_models.Trade, "Forecast": decision_models.ForecastOut, "Lineage": decision_models.Lineage,
    "Decision": decision_models.DecisionOut, "Gate": decision_models.GateOut, "Gates": decision_models.Gates,
    "Contribution": decision_models.Contribution, "Horizon": decision_models.Horizon, "Contributions": decision_models.Contributions,
    "Candle": decision_models.CandleOut, "Mark": decision_models.MarkOut, "Refusal": decision_models.RefusalMark,
    "Candles": decision_models.Candles, "Receipt": models.Receipt, "Problem": models.Problem,
}  # fmt: skip
SHAPES = {
    name: found
    for name, found in (vars(shapes) | vars(decision_shapes)).items()
    if inspect.isclass(found) and issubclass(found, shapes.Shape)
}


def test_every_shape_has_its_answer() -> None:
    assert set(SHAPES) - {"Shape"} == set(OURS)


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_field_that_is_read_is_answered(name: str) -> None:
    answer: type[BaseModel] = OURS[name]
    assert set(SHAPES[name].model_fields) <= set(answer.model_fields)
    assert set(client.Opened.model_fields) <= set(models.SessionOpened.model_fields)
