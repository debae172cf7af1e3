"""A look at a dataset before anything is trained on it: coverage, findings, correlations, volatility, spreads."""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Explore data")

with app.setup:
    import marimo as mo

    from runtime.home import home_path
    from runtime.progress import from_environment
    from workbench.data.view import estimates, explore
    from workbench.notebook import explore_charts as charts
    from workbench.notebook.controls import controls as controls_for
    from workbench.notebook.datasets import dataset_hash
    from workbench.notebook.display import Result, show_spec


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    # Explore data

    What is in a dataset, what is missing, what the quality gates found, and how its prices move. Look here before you train:
    no model is better than its bars.

    *How to use it:* `marimo edit notebooks/explore_data.py` gives the controls below, and charts to click, drag and zoom;
    `ballast notebook run explore_data -p dataset latest` or `papermill notebooks/explore_data.py out.ipynb -p dataset latest`
    runs it governed, sealed and hashed. Nothing here changes the lake, and no bar is filled, moved or invented.
    """)
    return


@app.cell
def parameters():
    dataset: str = "simulated"  # dataset hash, a prefix of one, `latest`, or `simulated`
    second: str = ""  # dataset of another venue to compare prices with; empty: none
    symbols: list[str] = []  # assets; empty: all of the dataset
    bars: str = "1h"  # length of the bars looked at: 15m, 1h, 4h or 1d
    first_day: str = ""  # first day (UTC); empty: from the beginning
    last_day: str = ""  # last day (UTC); empty: to the end
    window_days: int = 30  # days of the rolling volatility window
    return (
        bars,
        dataset,
        first_day,
        last_day,
        second,
        symbols,
        window_days,
    )


@app.cell
def given(bars, dataset, first_day, last_day, second, symbols, window_days):
    home = home_path()
    report = from_environment()
    given = explore.ExploreSpec(
        dataset=dataset_hash(home, dataset, report),
        second=dataset_hash(home, second, report),
        symbols=tuple(symbols),
        bars=bars,
        first_day=first_day,
        last_day=last_day,
        window_days=window_days,
    )
    return given, home, report


@app.cell(hide_code=True)
def controls(given, home):
    controls = controls_for(given, choices={"symbols": explore.assets_of(given, home)})
    controls.vstack()
    return (controls,)


@app.cell
def spec(controls):
    spec = explore.ExploreSpec(**controls.value)
    show_spec(spec)
    return (spec,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Prices

    Closes relative to the first one. Click an asset in the legend to follow it alone, turn the wheel to zoom along time, point
    at a line for its numbers.
    """)
    return


@app.cell
def market(home, report, spec):
    market = explore.load(spec, home, report)
    charts.prices_chart(market)
    return (market,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Coverage

    Bars that are there against bars that could be, between the first and the last one of each asset. A missing bar is a missing
    row and stays one. Click a class in the legend to see where it is.
    """)
    return


@app.cell
def coverage(market):
    charts.coverage_chart(market)
    return


@app.cell
def longest_gaps(market):
    explore.longest_gaps(market)
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Findings

    What the quality gates found in these bars. A blocking finding is real history that somebody accepted by name, or this
    would be no dataset. Click a gate to see its assets and years, an asset to see its gates.
    """)
    return


@app.cell
def findings(market):
    charts.findings_chart(market.findings, market.label)
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Correlation

    Of log returns, each from one bar to the next, over the bars both assets have.
    """)
    return


@app.cell
def correlations(market):
    correlations = estimates.correlations(market)
    charts.correlation_chart(correlations, market.label)
    return (correlations,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Volatility

    Realised: the root of the mean squared log return of a rolling window, per year. A window that lacks more than a fifth of its
    returns has no value. Drag over the lower chart to choose the time of the upper one.
    """)
    return


@app.cell
def volatility(market, spec):
    volatility = estimates.rolling_volatility(market, spec.window_days)
    charts.volatility_chart(market, volatility, spec.window_days)
    return


@app.cell
def week(market):
    charts.week_chart(estimates.hour_of_week(market), market.label)
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Spreads

    What a round trip may cost, told from bars alone; both are estimates and rise with volatility. *Corwin-Schultz* (Corwin and
    Schultz, Journal of Finance 67(2), 2012) sets the high-low range of two bars against that of both together. *Abdi-Ranaldo*
    (Abdi and Ranaldo, Review of Financial Studies 30(12), 2017) sets a close against the middle of the ranges around it.
    """)
    return


@app.cell
def spreads(market):
    spreads = estimates.spreads(market)
    charts.spreads_chart(spreads, market.symbols, market.label)
    return (spreads,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Between venues

    With a second dataset: how far the closes of the two venues lie apart, bar by bar, per month. The band holds nine of ten.
    """)
    return


@app.cell
def venues(home, market, report, spec):
    second_market = explore.load_second(spec, home, market, report)
    (
        charts.venues_chart(
            estimates.venue_spreads(market, second_market),
            market.symbols,
            market.label,
            second_market.label,
        )
        if second_market
        else mo.md("No second dataset was named.")
    )
    return (second_market,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Result

    The figures above in whole numbers. The digest below is what a pin holds and what marimo's own runtime must reproduce.
    """)
    return


@app.cell
def explored(correlations, market, second_market, spec, spreads):
    explored = explore.summarise(spec, market, second_market, correlations, spreads)
    explore.figures(explored)
    return (explored,)


@app.cell
def result(explored):
    result = Result(explored.model_dump(mode="json"))
    result
    return


if __name__ == "__main__":
    app.run()
