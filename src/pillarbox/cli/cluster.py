"""The options of commands that talk to a cluster, and where to run them."""

from __future__ import annotations

from pathlib import Path

import click

from pillarbox.secrets import DEFAULT_HOME

#: The hint where a command finds nothing, and the machine is not the one that it is about.
ON_THE_MASTER = (
    "Runs, the cluster and the registry are the Salt master's: run this there, as root; in a lab, through "
    "`pillarbox lab exec HOST -- …`."
)

kubeconfig_option = click.option(
    "--kubeconfig",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="How to reach the cluster (default: what the model says, then $KUBECONFIG).",
)
gpg_home_option = click.option(
    "--gpg-home",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_HOME,
    show_default=True,
    help="Where the key is that opens the secrets.",
)
