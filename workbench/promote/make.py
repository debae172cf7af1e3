"""`promote`: checks first, then one signed folder, or nothing."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import BallastError, GateError
from runtime.home import check_home, exclusive, sweep_partial
from runtime.ops.bundles.keys import SigningKey, TrustedKey, signing_key, trust, trusted_keys
from runtime.ops.bundles.manifest import Lineage, Manifest
from runtime.ops.bundles.package import Contents, Shown, bundles_path, write_bundle
from runtime.ops.bundles.read import read_bundle
from runtime.progress import Report, silent
from workbench.notebook.receipt import RECEIPT_NAME, read_receipt
from workbench.promote.checks import Check, run_checks
from workbench.promote.subject import Subject, open_subject


@dataclass(frozen=True, slots=True)
class Promotion:
    """What a promotion found and made.

    Attributes:
        run_id: of the run.
        checks: in the order in which they ran.
        path: the bundle; None when a check failed, and nothing was written.
        manifest: of the bundle.
        key_made: the signing key was made just now.
        forecasts_n: recorded forecasts that came out the same when the written bundle was read back.
    """

    run_id: str
    checks: tuple[Check, ...]
    path: Path | None
    manifest: Manifest | None
    key_made: bool
    forecasts_n: int

    def require_bundle(self) -> None:
        """Raise when a check failed.

        Raises:
            GateError: names every failed check; the first one says what to do.
        """
        failed = [check for check in self.checks if check.asked and not check.ok]
        if failed:
            others = f" ({len(failed)} checks failed: {', '.join(check.name for check in failed)})" if len(failed) > 1 else ""
            raise GateError(
                f"{self.run_id} is not promoted: {failed[0].name}: {failed[0].found}{others}",
                expected=failed[0].expected,
                action=failed[0].action,
            )


def promote(
    home: Path,
    run: str,
    *,
    until_t: int | None = None,
    lineage: bool = False,
    key_file: Path | None = None,
    report: Report = silent,
) -> Promotion:
    """Check a run's evidence and write its bundle to `home/bundles`.

    Args:
        home: the home folder.
        run: a run's folder, id, the beginning of one, or a bundle's name.
        until_t: closing time of the last seed bar, seconds UTC; None: the dataset's end.
        lineage: whether the replay goes back to the lake and the models.
        key_file: where the signing key is kept instead of the keyring; accepted for paper only.
        report: told about replay and gates.

    Raises:
        BallastError: the run, its study or data cannot be read; there is no key; the folder cannot be written. A failed check is
            not raised here but by `Promotion.require_bundle`; nothing was written then either.
    """
    check_home(home)
    with exclusive(home):
        sweep_partial(home)
        subject = open_subject(home, run, until_t)
        checks = tuple(run_checks(subject, report, lineage=lineage))
        if not all(check.ok for check in checks if check.asked):
            return Promotion(subject.run_dir.name, checks, None, None, key_made=False, forecasts_n=0)
        key = signing_key(key_file)
        trust(home, TrustedKey(public_key=key.public_key, store=key.store, label="promotions on this machine"))
        return _write(subject, checks, key)


def _write(subject: Subject, checks: tuple[Check, ...], key: SigningKey) -> Promotion:
    contents = Contents(
        forecaster=subject.forecaster,
        pairs=subject.genesis.pairs,
        tail=subject.seed,
        profile=subject.genesis.profile,
        lineage=_lineage(subject),
        shown=tuple(Shown(check.name, check.asked, check.found, check.document) for check in checks),
    )
    path = write_bundle(bundles_path(subject.home), contents, key)
    try:
        loaded = read_bundle(path, trusted_keys(subject.home))
    except BallastError:
        shutil.rmtree(path, ignore_errors=True)  # what cannot be read back was never made
        raise
    return Promotion(subject.run_dir.name, checks, path, loaded.manifest, key_made=key.made, forecasts_n=loaded.forecasts_n)


def _lineage(subject: Subject) -> Lineage:
    study, genesis = subject.study, subject.genesis
    run = study.runs[genesis.bundle.name]
    return Lineage(
        run_id=run.run_id,
        run_root=run.run_root,
        genesis_hash=run.genesis_hash,
        run_bundle_hash=genesis.bundle.bundle_hash,
        study_id=study.study_id,
        study_digest=study.digest,
        dataset_hash=study.dataset_hash,
        source=study.source,
        venue=study.venue,
        simulated=study.simulated,
        universe_version=genesis.universe_version,
        source_commit=read_receipt(subject.study_dir / RECEIPT_NAME).git_commit,
    )
