"""The lineage of a run: from the lake and the stored models to the forecasts that its genesis names, computed again.

dataset manifest -> bar files -> core bars and clusters -> features -> models (or the trend rule) -> calibration -> forecasts

Every file is verified by its digest before it is read, every result is compared with what the genesis names, and the first
that differs is named. Nothing is trained: models are evaluated by the runtime's own evaluator, from their stored text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from runtime.adapters.inputs import bars_digest
from runtime.canonical import sha256_hex
from runtime.core.records import FORECAST, INSTRUMENTS
from runtime.difference import Failure, FailureClass
from runtime.engine import RunInputs
from runtime.errors import BallastError, DataError, UsageError, VerificationError
from runtime.genesis import Genesis
from runtime.inference.bundle import BundleDescription, BundlePart, Forecasts, HorizonModels
from runtime.inference.features import DEFAULT_SPEC, clip, compute, feature_digests, usable
from runtime.inference.panel import BarPanel, Floats, Ints
from runtime.inference.predict import Calibration, forecast
from runtime.inference.trees import TreeModel, raw_scores, require_logit
from runtime.lineage import LineageBreak
from runtime.progress import Report
from workbench.backtest import core_inputs
from workbench.data.datasets.manifests import DatasetManifest, datasets_dir, load_manifest, load_panel
from workbench.data.store.lake import Lake
from workbench.data.universe.versions import iso
from workbench.study.result import RESULT_NAME, STUDIES_NAME, StudyResult, load_result
from workbench.study.stages import trend_of, trend_spec
from workbench.training.labels import decision_rows

CHUNK_ROWS: Final = 512
"""Decision times whose features are in memory together."""
HORIZONS: Final = ("near", "main", "far")

Rows = npt.NDArray[np.void]


class _Broken(Exception):
    """Not an error: it carries the answer out of the steps."""

    def __init__(self, failure: Failure, *, computed: bool) -> None:
        super().__init__(failure.detail)
        self.answer = LineageBreak(failure, computed)


def trace(home: Path, inputs: RunInputs, report: Report) -> LineageBreak | None:
    """Follow a run's inputs back to the lake and the models, and return the first that differs, `None` when all agree.

    Args:
        home: the home folder with lake, datasets and studies.
        inputs: what the run was computed from, verified by its digests.
        report: told about bar files, models and forecasts.
    """
    try:
        _Trace(home, inputs, report).follow()
    except _Broken as broken:
        return broken.answer
    except (ValidationError, DataError) as e:  # verified by its digest, and yet not understood
        said = e.got if isinstance(e, DataError) else str(e).splitlines()[0]
        detail = f"this version does not understand what the study stored: {said}"
        return LineageBreak(Failure(kind=FailureClass.CODE_DRIFT, detail=detail), computed=False)
    return None


def _damaged(kind: FailureClass, detail: str, record: str, path: str = "", symbol: str = "") -> _Broken:
    """Return what ends a trace at something that is missing or not what its digest says."""
    return _Broken(Failure(kind=kind, detail=detail, record=record, path=path, symbol=symbol), computed=False)


def _differs(
    detail: str, record: str, stored: str, recomputed: str, *, field: str = "", symbol: str = "", at_t: int = 0
) -> _Broken:
    """Return what ends a trace at a result that is another than the one that the genesis names."""
    failure = Failure(
        kind=FailureClass.INPUT_CHANGED, detail=detail, record=record, field=field, stored=stored, recomputed=recomputed,
        symbol=symbol, at_t=at_t,
    )  # fmt: skip
    return _Broken(failure, computed=True)


@dataclass(frozen=True, slots=True)
class _Horizon:
    """What forecasts one horizon: the global model, those of single assets by their number, and the calibration."""

    of_all: TreeModel
    of_coin: dict[int, TreeModel]
    calibration: Calibration


class _Trace:
    """One run's lineage."""

    def __init__(self, home: Path, inputs: RunInputs, report: Report) -> None:
        self._home = home
        self._inputs = inputs
        self._genesis: Genesis = inputs.genesis
        self._report = report

    def follow(self) -> None:
        """Go from the sources to the forecasts; raise `_Broken` at the first difference."""
        study, folder = self._study()
        bundle = self._bundle(folder)
        self._check_spec(study, bundle)
        manifest = self._manifest()
        panel = self._panel(manifest)
        rows = self._decision_rows(study, panel)
        self._check_core(panel)
        found = self._ml(panel, rows, bundle, folder) if bundle.kind == "ml" else self._trend(panel, rows, study)
        if found.digest != self._genesis.forecasts_digest:
            raise _differs(
                "the forecasts have another digest", "forecasts", self._genesis.forecasts_digest, found.digest, field="digest"
            )

    # ---- what the genesis names ------------------------------------------------------------------------------------

    def _study(self) -> tuple[StudyResult, Path]:
        """Return the study of this home folder that made the run."""
        wanted, unreadable = self._genesis.hash.hex(), []
        for path in sorted((self._home / STUDIES_NAME).glob(f"*/{RESULT_NAME}")):
            try:
                found = load_result(path.parent)
            except (OSError, ValidationError):
                unreadable.append(self._name(path))
                continue
            if all(run.genesis_hash != wanted for run in found.runs.values()):
                continue
            if (found.spec.study_id, found.dataset_hash) != (path.parent.name, self._genesis.dataset_hash):
                raise _damaged(
                    FailureClass.INPUT_CHANGED, f"{self._name(path)} is not the study that its folder names", "study",
                    self._name(path),
                )  # fmt: skip
            return found, path.parent
        if unreadable:
            raise _damaged(
                FailureClass.INPUT_CHANGED,
                f"no readable study made the run; {unreadable[0]} is damaged",
                "study",
                unreadable[0],
            )
        raise _damaged(
            FailureClass.INPUT_MISSING, "no study of this home folder made the run: without it nothing says how", "study",
            STUDIES_NAME,
        )  # fmt: skip

    def _bundle(self, folder: Path) -> BundleDescription:
        bundle = self._genesis.bundle
        path = folder / "bundles" / f"{bundle.name}.json"
        found = BundleDescription.model_validate_json(
            self._stored(path, bundle.bundle_hash, "bundle", "description of the bundle")
        )
        if tuple(found.model_hashes) != bundle.model_hashes or found.feature_set_hash != bundle.feature_set_hash:
            raise _damaged(
                FailureClass.MODEL_CHANGED, "the genesis names other models or features than its bundle is made of", "bundle",
                self._name(path),
            )  # fmt: skip
        return found

    def _check_spec(self, study: StudyResult, bundle: BundleDescription) -> None:
        """Refuse to compute features, or a rule, that this code defines otherwise."""
        here = DEFAULT_SPEC.digest if bundle.kind == "ml" else trend_spec(study.spec).digest
        if here != bundle.feature_set_hash:
            what = "features" if bundle.kind == "ml" else "trend rule"
            raise _Broken(
                Failure(
                    kind=FailureClass.CODE_DRIFT, detail=f"this version defines the {what} otherwise", record="feature set",
                    field="digest", stored=bundle.feature_set_hash, recomputed=here,
                ),
                computed=False,
            )  # fmt: skip

    def _stored(self, path: Path, digest: str, record: str, what: str) -> bytes:
        """Return the content of a file of the study, verified."""
        try:
            content = path.read_bytes()
        except OSError as e:
            raise _damaged(
                FailureClass.INPUT_MISSING, f"the {what} {self._name(path)} cannot be read", record, self._name(path)
            ) from e
        if sha256_hex(content) != digest:
            raise _damaged(
                FailureClass.MODEL_CHANGED, f"{self._name(path)} is not the {what} that the genesis names", record,
                self._name(path),
            )  # fmt: skip
        return content

    def _name(self, path: Path) -> str:
        return path.relative_to(self._home).as_posix()

    # ---- bars ------------------------------------------------------------------------------------------------------

    def _manifest(self) -> DatasetManifest:
        digest = self._genesis.dataset_hash
        path = self._name(datasets_dir(self._home) / f"{digest}.json")
        try:
            return load_manifest(self._home, digest)
        except UsageError as e:
            raise _damaged(FailureClass.INPUT_MISSING, f"the dataset manifest {path} is missing", "manifest", path) from e
        except (DataError, VerificationError) as e:
            raise _damaged(FailureClass.INPUT_CHANGED, f"the dataset manifest was changed: {e.got}", "manifest", path) from e

    def _panel(self, manifest: DatasetManifest) -> BarPanel:
        """Return the dataset's bars; every file is verified by the digest that the manifest names."""
        lake = Lake(self._home)
        for n, file in enumerate(manifest.files, 1):
            for segment in file.segments:
                target = lake.root / segment.path(file.series)
                path = self._name(target)
                if not target.is_file():
                    raise _damaged(FailureClass.INPUT_MISSING, f"the bar file {path} is missing", "bar file", path, file.symbol)
                try:
                    lake.read(file.series, (segment,))
                except VerificationError as e:
                    raise _damaged(
                        FailureClass.INPUT_CHANGED, f"a bar file was changed: {e.got}", "bar file", path, file.symbol
                    ) from e
            self._report("bar files", n, len(manifest.files))
        try:
            return load_panel(self._home, manifest)
        except VerificationError as e:
            raise _damaged(FailureClass.INPUT_CHANGED, e.got, "manifest") from e

    def _decision_rows(self, study: StudyResult, panel: BarPanel) -> Ints:
        """Return the panel's rows of the study's test windows, as far as the run goes."""
        rows = decision_rows(panel, study.spec.grid_h)
        at_t = panel.open_t[rows] + panel.interval_t
        last_t = min(study.folds[-1].test_last_t, self._genesis.last_t)
        rows = rows[(at_t >= study.folds[0].test_first_t) & (at_t <= last_t)]
        found = panel.open_t[rows] + panel.interval_t
        self._same_times("forecast", self._inputs.forecasts.at_t, found)
        for named in (self._genesis.symbols, self._inputs.forecasts.symbols):
            if named != panel.symbols:
                raise _differs(
                    "the dataset holds other assets", "forecast", " ".join(named), " ".join(panel.symbols), field="symbols"
                )
        return rows

    def _same_times(self, record: str, stored: Ints, found: Ints) -> None:
        if np.array_equal(stored, found):
            return
        n = _first_n(stored, found)
        shown = [iso(int(times[n])) if n < len(times) else "absent" for times in (stored, found)]
        raise _differs(f"{record} number {n + 1} is of another time", record, *shown, field="at_t")

    def _check_core(self, panel: BarPanel) -> None:
        """Compare the core's bars and clusters with those that the dataset gives."""
        inputs = self._inputs
        try:
            bars, close_t, clusters = core_inputs(panel, int(inputs.forecasts.at_t[0]), self._genesis.last_t)
        except BallastError as e:
            raise _differs(f"the core's bars cannot be made from the dataset: {e.got}", "core bar", "present", "absent") from e
        if bars_digest(bars, close_t) != self._genesis.bars_digest:
            self._same_times("core bar", inputs.close_t, close_t)
            self._name_cell("core bar", inputs.bars, bars, close_t, "a core bar is not what the lake gives")
        if clusters.digest != self._genesis.clusters_digest:
            self._same_times("cluster membership", inputs.clusters.at_t, clusters.at_t)
            self._name_cell(
                "cluster membership", inputs.clusters.rows, clusters.rows, clusters.at_t, "a cluster is not what the bars give"
            )

    def _name_cell(self, record: str, stored: Rows, found: Rows, at_t: Ints, what: str) -> None:
        """Raise for the first cell in which two arrays [T, INSTRUMENTS] differ; return when they do not."""
        symbols, names = self._genesis.symbols, stored.dtype.names or ()
        unlike = np.stack([stored[name] != found[name] for name in names], axis=-1)
        if not unlike.any():
            return
        row_n, instrument, k = (int(i) for i in np.argwhere(unlike)[0])
        symbol = symbols[instrument] if instrument < len(symbols) else f"instrument {instrument}"
        values = [str(int(rows[names[k]][row_n, instrument])) for rows in (stored, found)]
        when = int(at_t[row_n])
        raise _differs(f"{what}: {symbol} at {iso(when)}", record, *values, field=names[k], symbol=symbol, at_t=when)

    # ---- forecasts -------------------------------------------------------------------------------------------------

    def _trend(self, panel: BarPanel, rows: Ints, study: StudyResult) -> Forecasts:
        found = trend_of(panel, rows, study.spec)
        self._compare(found.feature_digests, found.rows, found.at_t, 0, "the trend rule says")
        self._report("forecasts", len(rows), len(rows))
        return found

    def _ml(self, panel: BarPanel, rows: Ints, bundle: BundleDescription, folder: Path) -> Forecasts:
        at_t = panel.open_t[rows] + panel.interval_t
        out = np.zeros((len(rows), INSTRUMENTS), FORECAST)
        digests: list[bytes] = []
        for part, first, end in self._parts(bundle, at_t):
            horizons = [self._horizon(folder, models) for models in part.horizons]
            for begin in range(first, end, CHUNK_ROWS):
                chunk = slice(begin, min(begin + CHUNK_ROWS, end))
                values = compute(*clip(panel, rows[chunk]), DEFAULT_SPEC)
                forecast_rows(values, horizons, out[chunk])
                digests += feature_digests(values)
                self._compare(digests[chunk], out[chunk], at_t[chunk], begin, f"the models of fold {part.fold_n} say")
                self._report("forecasts", chunk.stop, len(rows))
        return Forecasts(panel.symbols, at_t, out, digests)

    def _parts(self, bundle: BundleDescription, at_t: Ints) -> Iterator[tuple[BundlePart, int, int]]:
        """Yield each part of a bundle with the range of decision times in which it is in force; they tile all times."""
        done = 0
        for part in bundle.parts:
            first, end = (int(n) for n in np.searchsorted(at_t, (part.from_t, part.to_t)))
            if first == done < end:
                yield part, first, end
                done = end
        if done != len(at_t):
            raise _damaged(
                FailureClass.INPUT_CHANGED,
                f"no models are in force at {iso(int(at_t[done]))}: the study's folds were changed",
                "study",
            )

    def _horizon(self, folder: Path, models: HorizonModels) -> _Horizon:
        position = {symbol: n for n, symbol in enumerate(self._genesis.symbols)}
        digest = models.calibration_hash
        content = self._stored(folder / "calibrations" / f"{digest}.json", digest, "calibration", "calibration")
        return _Horizon(
            self._model(folder, models.global_hash),
            {position[coin.symbol]: self._model(folder, coin.model_hash) for coin in models.coins},
            Calibration.model_validate_json(content),
        )

    def _model(self, folder: Path, digest: str) -> TreeModel:
        model = TreeModel.parse(self._stored(folder / "models" / f"{digest}.txt", digest, "model", "model").decode())
        require_logit(model)
        return model

    def _compare(self, digests: list[bytes], rows: Rows, at_t: Ints, first: int, source: str) -> None:
        """Compare the digests of the features, then the forecasts, of some times from forecast number `first` on."""
        stored = self._inputs.forecasts
        for n, digest in enumerate(digests):
            named = stored.feature_digests[first + n]
            if named != digest:
                when = int(at_t[n])
                raise _differs(
                    f"the feature row at {iso(when)} is another", "feature row", named.hex(), digest.hex(), field="digest",
                    at_t=when,
                )  # fmt: skip
        self._name_cell("forecast", stored.rows[first : first + len(rows)], rows, at_t, f"a forecast is not what {source}")


def forecast_rows(values: Floats, horizons: list[_Horizon], out: Rows) -> None:
    """Forecast every asset that may be asked about, near, main and far, as the core reads it.

    Args:
        values: float64 [N, S, F], features in the order of `DEFAULT_SPEC`.
        horizons: models and calibration of the near, main and far horizon.
        out: FORECAST [N, INSTRUMENTS], zeros; asset s is written to instrument s.
    """
    time_n, symbol_n = np.nonzero(usable(values))
    asked = np.ascontiguousarray(values[time_n, symbol_n])
    for name, horizon in zip(HORIZONS, horizons, strict=True):
        of_coin = np.full(len(asked), np.nan)
        for s, model in horizon.of_coin.items():
            mine = symbol_n == s
            of_coin[mine] = raw_scores(model, asked[mine])
        found = forecast(raw_scores(horizon.of_all, asked), of_coin, horizon.calibration)
        out[f"prob_{name}_ppm"][time_n, symbol_n] = found.prob_ppm
        out[f"ret_{name}_ppm"][time_n, symbol_n] = found.ret_ppm
        if name == "main":
            out["uncertainty_ppm"][time_n, symbol_n] = found.uncertainty_ppm
    out["valid_n"][time_n, symbol_n] = 1


def _first_n(stored: Ints, found: Ints) -> int:
    """Return the first position in which two rows of times differ."""
    common = min(len(stored), len(found))
    unlike = np.flatnonzero(stored[:common] != found[:common])
    return int(unlike[0]) if len(unlike) else common
