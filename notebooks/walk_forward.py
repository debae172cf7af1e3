"""The walk-forward study: data, features, folds, models, two bundles through the decision core, and the result."""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Walk-forward study")

with app.setup:
    import marimo as mo
    import polars as pl

    from runtime.home import home_path
    from runtime.progress import from_environment
    from workbench import study
    from workbench.notebook import charts
    from workbench.notebook.controls import controls as controls_for
    from workbench.notebook.datasets import dataset_hash
    from workbench.notebook.display import Result, show_spec
    from workbench.training.executor import executor_from_environment
    from workbench.training.tracking import begin


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    # Walk-forward study

    Can models trained only on the past forecast the next hours, and would acting on them have paid for its costs?

    The study cuts time into folds. In each, models learn on the training window, are calibrated on the validation window,
    and forecast the test window they have never seen. Both bundles, the models (**ML**) and a simple **trend** rule, then go
    through the very same integer decision core, with fees, spread, slippage and every risk gate, and are compared with
    staying flat, holding BTC and holding all assets in equal parts.

    *How to use it:* `marimo edit notebooks/walk_forward.py` gives the controls below; `ballast notebook run walk_forward -p
    folds_n 12` or `papermill notebooks/walk_forward.py out.ipynb -p folds_n 12` runs it governed, sealed and hashed.
    """)
    return


@app.cell
def parameters():
    dataset: str = "simulated"  # dataset hash, a prefix of one, `latest`, or `simulated`
    horizons_h: list[int] = [4, 24, 72]  # label horizons in hours, three at least
    grid_h: int = 4  # hours between two decisions of the model
    folds_n: int = 8  # walk-forward folds
    first_test: str = ""  # first day of the first test window (UTC); empty: after 40 % of the data
    train_rule: str = "expanding"  # expanding or rolling training window
    rolling_days: int = 730  # length of a rolling training window
    seed: int = 7  # seed of models and samples
    profile: str = "conservative"  # governed risk profile
    initial_cash_usd: int = 100000  # cash at the start
    return (
        dataset,
        first_test,
        folds_n,
        grid_h,
        horizons_h,
        initial_cash_usd,
        profile,
        rolling_days,
        seed,
        train_rule,
    )


@app.cell
def given(
    dataset,
    first_test,
    folds_n,
    grid_h,
    horizons_h,
    initial_cash_usd,
    profile,
    rolling_days,
    seed,
    train_rule,
):
    home = home_path()
    report = from_environment()
    executor = executor_from_environment()
    given = study.StudySpec(
        dataset=dataset_hash(home, dataset, report),
        horizons_h=tuple(horizons_h),
        grid_h=grid_h,
        folds_n=folds_n,
        first_test=first_test,
        train_rule=train_rule,
        rolling_days=rolling_days,
        seed=seed,
        profile=profile,
        initial_cash_usd=initial_cash_usd,
    )
    return executor, given, home, report


@app.cell(hide_code=True)
def controls(given):
    controls = controls_for(given)
    controls.vstack()
    return (controls,)


@app.cell
def spec(controls):
    spec = study.StudySpec(**controls.value)
    show_spec(spec)
    return (spec,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Data

    A dataset is content-addressed: its hash covers every file, the gaps, and the findings that were accepted by name. A
    missing bar stays missing: nothing is filled, and an asset cannot be traded in a gap.
    """)
    return


@app.cell
def data(home, spec):
    data = study.load(spec, home)
    charts.prices_chart(data.panel, data.manifest.label)
    return (data,)


@app.cell
def findings(data):
    pl.DataFrame(
        [f.model_dump(include={"symbol", "gate", "severity", "rows_n", "accepted"}) for f in data.manifest.findings],
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Features and folds

    A feature at time $t$ sees the last $W$ bars and nothing else, bit for bit the same in a backtest and live. Between the
    windows of a fold lie a purge (the longest horizon, so that no label reaches into the next window) and an embargo.
    """)
    return


@app.cell
def features(data, executor, report, spec):
    features = study.make_features(data, spec, executor, report)
    return (features,)


@app.cell
def folds(data, features, spec):
    folds = study.make_folds(features, spec)
    charts.folds_chart(folds, features.at_t, data.manifest.label)
    return (folds,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Models

    Small LightGBM models, one global and one per coin, blended in log-odds, calibrated on validation windows only. Each is
    proven equal, bit for bit, to the evaluator that the live runtime uses.
    """)
    return


@app.cell
def trained(data, executor, features, folds, report, spec):
    trained = study.train(data, features, folds, spec, executor, report)
    return (trained,)


@app.cell(hide_code=True)
def tracking(home, trained):
    tracking = begin(home) if trained else None  # MLflow gets ready while the next stages run
    return (tracking,)


@app.cell
def evaluation(data, features, spec, trained):
    evaluation = study.evaluate(data, features, trained, spec)
    charts.metrics_table(evaluation)
    return (evaluation,)


@app.cell
def skill(data, evaluation):
    charts.skill_chart(evaluation, data.manifest.label)
    return


@app.cell
def calibration(data, evaluation):
    charts.calibration_chart(evaluation, data.manifest.label)
    return


@app.cell
def shap(data, executor, spec, trained):
    shap = study.explain(trained, spec, executor)
    charts.shap_chart(shap, data.manifest.label)
    return (shap,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Through the decision core

    Forecasts are quantised once and handed to the integer core, which sizes, refuses, orders, fills and books. A refusal is
    a record with a reason. Gates are never loosened to look busy: a model that cannot beat its costs trades little or not at
    all.
    """)
    return


@app.cell
def ml(data, features, home, report, spec, trained):
    ml = study.backtest(
        home,
        data,
        study.forecast_ml(data, features, trained, spec),
        study.describe_ml(data, features, trained, spec),
        spec,
        report,
    )
    return (ml,)


@app.cell
def trend(data, features, folds, home, report, spec):
    trend = study.backtest(
        home,
        data,
        study.forecast_trend(data, features, folds, spec),
        study.describe_trend(spec),
        spec,
        report,
    )
    return (trend,)


@app.cell
def refusals(data, ml, trend):
    charts.refusals_chart({"ML": ml.refusals, "trend rule": trend.refusals}, data.manifest.label)
    return


@app.cell
def baselines(data, features, folds, spec):
    baselines = study.baselines(data, features, folds, spec)
    return (baselines,)


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## Result

    Everything above, written once: `study.json`, its tables, the models and both bundles. The digest below is what a pin
    holds, what marimo's own runtime must reproduce, and what the receipt names.
    """)
    return


@app.cell
def found(
    baselines,
    data,
    evaluation,
    features,
    home,
    ml,
    shap,
    spec,
    tracking,
    trained,
    trend,
):
    found = study.write_study(
        home,
        study.StudyParts(
            spec=spec,
            data=data,
            features=features,
            trained=trained,
            evaluation=evaluation,
            shap=shap,
            runs={study.ML: ml, study.TREND: trend},
            baselines=baselines,
        ),
        tracking if tracking.process.poll() is None else begin(home),
    )
    charts.portfolio_table(found)
    return (found,)


@app.cell
def equity(data, found, home, spec):
    equity = pl.read_parquet(study.study_dir(home, spec) / "tables" / "equity.parquet") if found else None
    charts.equity_chart(equity, data.manifest.label)
    return


@app.cell
def verdict(found):
    print("\n".join(found.verdict))
    return


@app.cell
def result(found):
    result = Result.from_json(found.canonical())
    result
    return


if __name__ == "__main__":
    app.run()
