"""The subcommand that proposes where the tables of a schema could live."""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from crosskey.advice.proposal import advise as advise_on
from crosskey.advice.report import Advice
from crosskey.advice.sql_text import tagged_copy
from crosskey.advice.survey import Survey
from crosskey.catalog.planning import SchemaRefused, plan_schema
from crosskey.cli.advice_tables import print_advice
from crosskey.cli.extensions import extension_option
from crosskey.cli.plan import EXISTING_FILE, EXISTING_FOLDER, print_refusals, some_database
from crosskey.cli.schema_reading import read_schema
from crosskey.local_cluster.cluster_error import ClusterError


@click.command()
@click.argument("schema", type=EXISTING_FILE, required=False)
@click.option("--dsn", help="A live database to read statistics from, and the schema too if no file is given.")
@click.option("--write", "copy", type=click.Path(dir_okay=False, path_type=Path), help="Write a tagged copy of SCHEMA.")
@click.option("--json", "as_json", is_flag=True, help="Print the advice as JSON.")
@click.option("--postgres-bin", type=EXISTING_FOLDER, help="Where initdb and postgres are; the embedded ones if not.")
@extension_option
def advise(
    schema: Path | None,
    dsn: str | None,
    copy: Path | None,
    as_json: bool,
    postgres_bin: Path | None,
    extensions: Sequence[str],
) -> None:
    """Propose where the rows of SCHEMA should live, and warn of what will cost more than it must.

    SCHEMA is loaded into a temporary PostgreSQL. The database that --dsn names is only read, in one READ ONLY
    transaction. Exits with 1 if there is nothing that Crosskey could shard.
    """
    _check(schema, dsn, copy)
    try:
        advice = _advise(schema, dsn, copy, postgres_bin, extensions)
    except ClusterError as error:
        raise click.ClickException(str(error)) from None
    except SchemaRefused as refused:
        print_refusals(refused.refusals, "json" if as_json else "table")
        sys.exit(1)
    if as_json:
        click.echo(msgspec.json.encode(advice))
    else:
        print_advice(advice)
    if advice.refusals:
        if copy is not None:
            click.echo(f"{copy} is not written: planning refuses the schema", err=True)
        sys.exit(1)


def _check(schema: Path | None, dsn: str | None, copy: Path | None) -> None:
    """Refuse flags that do not go together."""
    if schema is None and dsn is None:
        raise click.UsageError("name a schema file, or a live database with --dsn, or both")
    if copy is not None and schema is None:
        raise click.UsageError(
            "--write copies a schema file: name one as well, such as pg_dump --schema-only makes of the database"
        )
    if copy is not None and schema is not None and copy.resolve() == schema.resolve():
        raise click.UsageError("--write would replace the schema itself; name another file")


def _advise(
    schema: Path | None, dsn: str | None, copy: Path | None, postgres_bin: Path | None, extensions: Sequence[str]
) -> Advice:
    live = read_schema("survey", dsn, Survey.from_json) if dsn is not None else None
    if schema is None:
        assert live is not None, "one of both is given"
        return _advise_on(live)
    with some_database(None, postgres_bin, extensions) as scratch_dsn:
        survey = _survey_file(scratch_dsn, schema)
        advice = _advise_on(survey if live is None else survey.counted_by(live))
        if copy is not None and not advice.refusals:
            _write(schema, copy, advice, scratch_dsn)
    return advice


def _survey_file(scratch_dsn: str, schema: Path) -> Survey:
    return read_schema("survey", scratch_dsn, Survey.from_json, schema)


def _advise_on(survey: Survey) -> Advice:
    if not survey.database.tables:
        raise ClusterError("there are no tables to give advice on")
    return advise_on(survey)


def _write(schema: Path, copy: Path, advice: Advice, scratch_dsn: str) -> None:
    """Write the tagged copy, once planning has accepted its text. Raises SchemaRefused if it does not."""
    text = tagged_copy(schema.read_bytes().decode(), advice.pastes)
    with tempfile.TemporaryDirectory(prefix="crosskey-advise-") as folder:
        draft = Path(folder) / "schema.sql"
        draft.write_bytes(text.encode())
        plan_schema(_survey_file(scratch_dsn, draft).database)
    try:
        copy.write_bytes(text.encode())
    except OSError as error:
        raise ClusterError(f"cannot write {copy}: {error.strerror}") from None
