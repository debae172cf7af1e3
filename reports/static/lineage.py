"""Every digest that stands behind a report, in the order in which one leads to the next."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from reports.static.facts import SERIES
from reports.static.inputs import Inputs
from reports.static.numbers import plural, utc

DIGEST: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Hash:
    """One digest and what it stands for."""

    label: str
    value: str
    note: str


@dataclass(frozen=True, slots=True)
class Model:
    """One trained model and the proof that our evaluator repeats it bit for bit."""

    model_hash: str
    scope: str
    horizon_h: int
    fold_n: int
    trees_n: int
    bytes_n: int
    equal: bool
    rows_n: int


def hashes(inputs: Inputs) -> tuple[Hash, ...]:
    """Return dataset, features, policy, then per run its header, journal and root, then the notebook's receipt."""
    study = inputs.study
    found = [
        Hash("Dataset", study.dataset_hash, "manifest of every bar file, gap, finding and assumption"),
        Hash("Feature set", study.feature_set_hash, "which features, over which windows"),
        Hash("Risk policy", study.policy_hash, "the governed profile that every decision obeyed"),
    ]
    found += [
        Hash(f"{SERIES.get(name, name)}: bundle", value, "what made the forecasts")
        for name, value in sorted(study.bundle_hashes.items())
    ]
    for name, run in inputs.runs.items():
        label, s = SERIES[name], run.summary
        add_new(found, label, dict(run.genesis), "named in the run's header")
        found += [
            Hash(f"{label}: genesis file", run.genesis_sha256, f"SHA-256 of genesis.json of run {s.run_id}"),
            Hash(f"{label}: journal head", s.journal_head, f"hash of the last of {plural(s.blocks, 'block')}"),
            Hash(f"{label}: run root", s.run_root, "stands for the whole run: header, last block, length"),
        ]
    add_new(found, "Notebook", dict(inputs.receipt), "receipt of the sealed notebook")
    found += [
        Hash(f"Table: {name}", value, f"SHA-256 of tables/{name}.parquet") for name, value in sorted(study.tables.items())
    ]
    return tuple(found)


def add_new(found: list[Hash], label: str, value: JsonValue, note: str) -> None:
    """Append the digests inside a JSON value that are not in the list yet, under whatever name they stand there."""
    for path, text in digests(value, ""):
        if all(text != known.value for known in found):
            found.append(Hash(f"{label}: {words(path)}", text, note))


def digests(value: JsonValue, path: str) -> Iterator[tuple[str, str]]:
    """Yield the path and text of every digest inside a JSON object, in key order; lists (of models) have their own table."""
    if isinstance(value, dict):
        for key in sorted(value):
            yield from digests(value[key], f"{path}.{key}" if path else key)
    elif isinstance(value, str) and DIGEST.fullmatch(value):
        yield path, value


def words(path: str) -> str:
    """Return a key path as words."""
    return path.replace("_", " ").replace(".", ", ")


def models(inputs: Inputs) -> tuple[Model, ...]:
    """Return every model of the study."""
    rows = inputs.tables["models"].sort("horizon_h", "fold_n", "scope", "model_hash")
    columns = ("model_hash", "scope", "horizon_h", "fold_n", "trees_n", "bytes_n", "evaluator_equal", "rows_compared")
    return tuple(Model(h, scope, hours, fold, trees, size, bool(equal), rows_n)
                 for h, scope, hours, fold, trees, size, equal, rows_n in rows.select(columns).iter_rows())  # fmt: skip


def files(inputs: Inputs) -> tuple[Hash, ...]:
    """Return the bar files of the dataset."""
    return tuple(
        Hash(f.symbol, f.sha256, f"{plural(f.rows, 'bar')}, {utc(f.first_t)} to {utc(f.last_t)}") for f in inputs.manifest.files
    )
