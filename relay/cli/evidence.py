"""Commands that need no running relay: verify a recording, print the evidence key, rebuild the catalog."""

from pathlib import Path
from typing import Annotated

import typer

from relay.cli.shared import Chosen, Json

# ``relay.cli.offline`` is imported by each command: the others start quicker without the archive.

KeyFile = Annotated[
    Path | None, typer.Option("--key", help="Public key (PEM or base64) it must be signed with; else the relay's own.")
]

catalog_app = typer.Typer(help="The database of what has been recorded.", no_args_is_help=True)


def verify_command(
    target: Annotated[str, typer.Argument(help="RECORDING, DIRECTORY or s3://BUCKET/PREFIX/CHANNEL/RECORDING")],
    key: KeyFile = None,
    s3_endpoint: Annotated[str, typer.Option(help="Where s3:// is; else as in the settings.")] = "",
    s3_region: Annotated[str, typer.Option(help="Its region; else as in the settings.")] = "",
    s3_path_style: Annotated[bool, typer.Option("--s3-path-style", help="The bucket is in the path.")] = False,
    as_json: Json = False,
) -> None:
    """Check a recording against its signed manifest, object by object. No relay need run.

    A recording by its id is looked for in the store of the settings. Exit code 0: all is as it was recorded;
    1: something is not, and the first such segment is named; 2: it could not be checked.
    """
    from relay.cli.offline import check_recording

    options = {"s3_endpoint": s3_endpoint, "s3_region": s3_region, "s3_path_style": s3_path_style}
    given = {name: value for name, value in options.items() if value}
    code = check_recording(Chosen.settings, target, key, given, as_json=as_json)
    if code:
        raise typer.Exit(code)


def evidence_key(as_json: Json = False) -> None:
    """Print the public half of the key this relay signs its manifests with. Keep it somewhere else."""
    from relay.cli.offline import print_key

    print_key(Chosen.settings().data_dir, as_json=as_json)


@catalog_app.command("rebuild")
def catalog_rebuild(
    key: KeyFile = None,
    replace: Annotated[bool, typer.Option("--replace", help="Also recordings the catalog knows already.")] = False,
    unsigned: Annotated[bool, typer.Option("--unsigned", help="Also where the manifest does not hold.")] = False,
    as_json: Json = False,
) -> None:
    """Make the catalog of recordings again from the object store alone; stop the relay first.

    The store is not changed. What the catalog knows stays as it is, so the command can be repeated. Segments without
    a manifest that tells of them are read to find out what they are.
    """
    from relay.cli.offline import rebuild_catalog

    rebuild_catalog(Chosen.settings(), key, unsigned=unsigned, replace=replace, as_json=as_json)
