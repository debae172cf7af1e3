"""The smallest governed notebook: seeded prices, a moving average, one result."""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium")

with app.setup:
    import sys

    import marimo as mo
    import numpy as np
    import polars as pl
    from pydantic import BaseModel, ConfigDict, Field

    from workbench.notebook.controls import controls as controls_for
    from workbench.notebook.display import Result, show_spec


@app.class_definition
class TinySpec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    symbol: str = Field(pattern="^[A-Z]+$", description="asset")
    window: int = Field(ge=2, le=50, description="bars of the average")
    fee: float = Field(ge=0, le=0.01, description="fee per trade")


@app.cell
def parameters():
    symbol: str = "BTC"  # asset
    window: int = 10  # bars of the average
    fee: float = 0.004  # fee per trade
    return fee, symbol, window


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    # A tiny study
    """)
    return


@app.cell
def given(fee, symbol, window):
    given = TinySpec(symbol=symbol, window=window, fee=fee)
    return (given,)


@app.cell
def controls(given):
    controls = controls_for(given)
    controls
    return (controls,)


@app.cell
def spec(controls):
    spec = TinySpec(**controls.value)
    show_spec(spec)
    return (spec,)


@app.cell
def prices(spec):
    prices = pl.DataFrame({"t": np.arange(200), "close": np.random.Generator(np.random.PCG64(7)).integers(90, 110, 200)})
    prices = prices.with_columns(mean=pl.col("close").rolling_mean(spec.window))
    print("object", object())
    print("a line for people", file=sys.stderr)
    prices.tail(3)
    return (prices,)


@app.cell
def result(prices, spec):
    result = Result(
        {"symbol": spec.symbol, "rows": prices.height, "above": int((prices["close"] > prices["mean"]).sum()), "fee": spec.fee}
    )
    result
    return


if __name__ == "__main__":
    app.run()
