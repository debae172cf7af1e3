"""Service units for a daemon that starts with the session and comes back after a crash: systemd (user) and launchd, as text.

A stop that was asked for is final, and so is a failure that a restart cannot cure (a wrong setting, a failed gate, a broken chain):
restarting into those would only hide them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

from runtime.errors import EXIT_DATA, EXIT_GATE, EXIT_INTERRUPTED, EXIT_INVARIANT, EXIT_USAGE, EXIT_VERIFY, UsageError

FINAL_CODES: Final = (EXIT_USAGE, EXIT_DATA, EXIT_GATE, EXIT_VERIFY, EXIT_INVARIANT)
LABEL: Final = "ballast.runtime"

SYSTEMD: Final = """\
# Ballast paper trading, as a user service. Install:
#   ballast runtime units systemd > ~/.config/systemd/user/ballast.service
#   systemctl --user daemon-reload && systemctl --user enable --now ballast
#   loginctl enable-linger        (to let it run while nobody is logged in)
[Unit]
Description=Ballast trading daemon (paper)
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=600
StartLimitBurst=5

[Service]
Type=exec
ExecStart={command}
Restart=on-failure
RestartSec=10
RestartPreventExitStatus={final_codes}
SuccessExitStatus={interrupted}
KillSignal=SIGTERM
TimeoutStopSec=10
UMask=0077

# It writes in its home and its cache of compiled code, and nowhere else.
ProtectSystem=strict
ProtectHome=read-only
ReadWritePaths={writable}
PrivateTmp=yes
NoNewPrivileges=yes
RestrictSUIDSGID=yes
RestrictRealtime=yes
RestrictNamespaces=yes
LockPersonality=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
SystemCallArchitectures=native
# No MemoryDenyWriteExecute: the decision core is compiled when it is first used.

[Install]
WantedBy=default.target
"""

LAUNCHD: Final = """\
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<!-- Ballast paper trading, as a launch agent. Install:
     ballast runtime units launchd > ~/Library/LaunchAgents/{label}.plist
     launchctl bootstrap gui/$(id -u) ~/Library/LaunchAgents/{label}.plist
-->
<plist version="1.0">
<dict>
    <key>Label</key>
    <string>{label}</string>
    <key>ProgramArguments</key>
    <array>
{arguments}
    </array>
    <key>RunAtLoad</key>
    <true/>
    <key>KeepAlive</key>
    <dict>
        <key>SuccessfulExit</key>
        <false/>
    </dict>
    <key>ThrottleInterval</key>
    <integer>10</integer>
    <key>ExitTimeOut</key>
    <integer>10</integer>
    <key>ProcessType</key>
    <string>Interactive</string>
    <key>Umask</key>
    <integer>63</integer>
    <key>StandardErrorPath</key>
    <string>{errors}</string>
</dict>
</plist>
"""


class Place(NamedTuple):
    """Where a unit runs the daemon, all absolute.

    Attributes:
        python: the interpreter of the installation.
        home: the home folder.
        cache: the folder of compiled code.
    """

    python: Path
    home: Path
    cache: Path

    def command(self) -> tuple[str, ...]:
        """Return the command line of the daemon."""
        return (str(self.python), "-m", "runtime.cli", "runtime", "run", "--mode", "paper", "--home", str(self.home))


def systemd_unit(place: Place) -> str:
    """Return a systemd user unit.

    Raises:
        UsageError: a path that no unit can carry.
    """
    return SYSTEMD.format(
        command=" ".join(_systemd(word) for word in place.command()),
        final_codes=" ".join(map(str, FINAL_CODES)),
        interrupted=EXIT_INTERRUPTED,
        writable=" ".join(_systemd(str(path)) for path in (place.home, place.cache)),
    )


def launchd_plist(place: Place) -> str:
    """Return a launchd property list of an agent.

    Raises:
        UsageError: a path that no property list can carry.
    """
    return LAUNCHD.format(
        label=LABEL,
        arguments="\n".join(f"        <string>{_xml(word)}</string>" for word in place.command()),
        errors=_xml(str(place.home / "runtime" / "daemon.err")),
    )


def _systemd(word: str) -> str:
    """Return a word quoted for a unit: specifiers and variables are taken as they stand."""
    escaped = _plain(word).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def _xml(word: str) -> str:
    return escape(_plain(word))


def _plain(word: str) -> str:
    if not word.isprintable():
        raise UsageError(
            f"the path {word!a}", expected="a path of characters that print", action="choose another folder with --home"
        )
    return word
