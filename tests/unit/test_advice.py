"""What statistics and statements change in advice, and what it warns of."""

import msgspec
import pytest

from crosskey.advice import proposal
from crosskey.advice.proposal import advise
from crosskey.advice.report import Advice, Warned
from crosskey.advice.sql_text import comment_statement, tagged_copy
from crosskey.advice.survey import ColumnFacts, Statement, Survey, TableFacts
from crosskey.catalog.model import Column, Computed, Database, Exclusion, ForeignKey, Table, TableName, UniqueKey
from tests.schema_builders import column, foreign_key, table

TENANTS = table("tenants", None, column("id"), column("name", "text"))
USERS = table("users", None, column("id"), column("tenant"), column("status", "text"))
KEY = foreign_key("users", "tenant", "tenants")


def facts(name: str, rows: int, **attributes: object) -> TableFacts:
    plain = TableFacts(TableName("public", name), rows=rows, inserts=rows)
    return msgspec.structs.replace(plain, **attributes)


def advice_on(*parts: Table | ForeignKey | TableFacts | Statement) -> Advice:
    return advise(
        Survey(
            Database(
                tuple(part for part in parts if isinstance(part, Table)),
                tuple(part for part in parts if isinstance(part, ForeignKey)),
            ),
            tuple(part for part in parts if isinstance(part, TableFacts)),
            statements=tuple(part for part in parts if isinstance(part, Statement)),
        )
    )


def tag_of(advice: Advice, name: str) -> str:
    [tag] = [placed.tag for placed in advice.tables if placed.table == name]
    return tag


def warned(advice: Advice, kind: str) -> list[Warned]:
    return [warning for warning in advice.warnings if warning.kind == kind]


def test_a_file_cannot_tell_a_list_from_tenants_and_says_so() -> None:
    advice = advice_on(TENANTS, USERS, KEY)
    [tenants] = [placed for placed in advice.tables if placed.table == "tenants"]
    assert tenants.tag == "@shard_by id"
    assert "a file alone cannot tell" in tenants.reason


def test_an_empty_database_cannot_tell_either_and_is_not_called_a_file() -> None:
    languages = table("languages", None, column("code", "text"), key=("code",))
    spoken = foreign_key("users", "status", "languages", "code")
    survey = Survey(Database((languages, TENANTS, USERS), (KEY, spoken)), live=True)
    reasons = {placed.table: placed.reason for placed in advise(survey).tables}
    for name in ("languages", "tenants"):
        assert "the database has counted no rows" in reasons[name]
        assert "a file alone" not in reasons[name]
    assert "ANALYZE" in reasons["languages"]


def test_a_crossing_key_onto_what_may_be_a_list_is_warned_of() -> None:
    shares = table("shares", None, column("user"), column("tenant"), key=("user", "tenant"))
    keys = foreign_key("shares", "user", "users", on_delete="CASCADE"), foreign_key("shares", "tenant", "tenants")
    [warning] = warned(advice_on(TENANTS, table("users", None), shares, *keys), "maybe-reference")
    assert (warning.table, warning.paste) == ("tenants", "COMMENT ON TABLE public.tenants IS '@reference';")


def test_few_rows_that_seldom_change_are_a_reference_table() -> None:
    advice = advice_on(TENANTS, USERS, KEY, facts("tenants", 200), facts("users", 50_000))
    assert (tag_of(advice, "tenants"), tag_of(advice, "users")) == ("@reference", "@shard_by id")
    assert advice.local_keys == 1


@pytest.mark.parametrize(
    "tenants", [facts("tenants", 20_000), facts("tenants", 200, updates=10_000), facts("tenants", 60_000)], ids=str
)
def test_many_rows_or_changes_are_not(tenants: TableFacts) -> None:
    assert tag_of(advice_on(TENANTS, USERS, KEY, tenants, facts("users", 50_000)), "tenants") == "@shard_by id"


def test_rows_that_go_with_their_parent_do_not_look_it_up() -> None:
    key = foreign_key("users", "tenant", "tenants", on_delete="CASCADE")
    advice = advice_on(TENANTS, USERS, key, facts("tenants", 200), facts("users", 50_000))
    assert (tag_of(advice, "tenants"), tag_of(advice, "users")) == ("@shard_by id", "@shard_with tenant")


def test_rows_that_can_live_with_a_parent_that_a_claim_finds() -> None:
    media = table("media", None, column("id"), column("owner"))
    comments = table("comments", None, column("id"), column("media"))
    keys = foreign_key("media", "owner", "users"), foreign_key("comments", "media", "media")
    read = [
        Statement("SELECT * FROM comments WHERE media = $1", 20),
        Statement("SELECT * FROM media WHERE owner = $1", 9),
    ]
    advice = advice_on(table("users", None), media, comments, *keys, *read)
    assert (tag_of(advice, "media"), tag_of(advice, "comments")) == ("@shard_with owner", "@shard_with media")
    assert advice.local_keys == 2


def test_statements_decide_between_equals() -> None:
    keys = foreign_key("messages", "sender", "users"), foreign_key("messages", "recipient", "users")
    messages = table("messages", None, column("id", "uuid"), column("sender"), column("recipient"))
    users = table("users", None)
    assert tag_of(advice_on(users, messages, *keys), "messages") == "@shard_with sender"
    read = Statement("SELECT * FROM messages WHERE recipient = $1", 10)
    advice = advice_on(users, messages, *keys, read, Statement("SELECT * FROM messages WHERE sender = $1", 5))
    assert tag_of(advice, "messages") == "@shard_with recipient"
    assert advice.statements is not None
    assert (advice.statements.single_shard, advice.statements.many_shards) == (10, 5)


def test_without_statements_it_says_why() -> None:
    survey = Survey(Database((USERS,)), why_no_statements="nobody asked")
    advice = advise(survey)
    assert (advice.statements, advice.why_no_statements) == (None, "nobody asked")


def test_without_the_parser_there_is_advice_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposal, "can_read_statements", lambda: False)
    advice = advice_on(USERS, Statement("SELECT * FROM users WHERE id = $1", 1))
    assert tag_of(advice, "users") == "@shard_by id"
    assert (advice.statements, advice.why_no_statements) == (None, proposal.NO_PARSER)


def placed_by(name: str, *columns: Column) -> Table:
    return table("rows", f"@shard_by {name}", *columns)


def test_a_time_is_a_bad_shard_key_whatever_its_type() -> None:
    advice = advice_on(placed_by("created_at", column("id", "uuid"), column("created_at")))
    assert [warning.column for warning in warned(advice, "time")] == ["created_at"]
    timed = table("readings", None, column("at", "timestamptz"), column("sensor"), key=("at", "sensor"))
    assert [warning.column for warning in warned(advice_on(timed), "time")] == ["at"]


def test_a_sequence_spreads_rows_away_from_their_parent() -> None:
    number = column("id", sequence=TableName("public", "rows_id_seq"))
    rows = placed_by("id", number, column("user"))
    advice = advice_on(table("users", None), rows, foreign_key("rows", "user", "users"))
    assert [warning.column for warning in warned(advice, "sequence")] == ["id"]
    assert not warned(advice_on(placed_by("id", number)), "sequence")
    looked_up = advice_on(table("users", "@reference"), rows, foreign_key("rows", "user", "users"))
    assert not warned(looked_up, "sequence")


def test_few_values_fill_shards_unevenly() -> None:
    rows = placed_by("status", column("id", "uuid"), column("status", "text"))
    status = ColumnFacts("status", 3, top_share=0.7)
    advice = advice_on(rows, facts("rows", 5000, columns=(status,)))
    assert [warning.column for warning in warned(advice, "low-cardinality")] == ["status"]
    assert "70%" in warned(advice, "skew")[0].reason
    many = ColumnFacts("status", -0.5)
    assert not advice_on(rows, facts("rows", 5000, columns=(many,))).warnings


def test_few_values_are_not_proposed() -> None:
    users = facts("users", 50_000, columns=(ColumnFacts("tenant", 4),))
    key = foreign_key("users", "tenant", "tenants", on_delete="CASCADE")
    assert tag_of(advice_on(TENANTS, USERS, key, facts("tenants", 4), users), "users") == "@shard_by id"


def test_statements_do_not_make_up_for_few_values() -> None:
    status = ColumnFacts("status", 4, top_share=0.4)
    read = Statement("SELECT * FROM users WHERE status = $1", 1000)
    advice = advice_on(TENANTS, USERS, KEY, facts("tenants", 900), facts("users", 50_000, columns=(status,)), read)
    assert tag_of(advice, "users") == "@shard_by id"
    assert advice.score is not None
    assert (advice.score.one_shard, round(advice.score.largest_shard, 2)) == (0.0, 0.33)


def test_a_shard_key_that_changes_moves_rows() -> None:
    rows = placed_by("status", column("id", "uuid"), column("status", "text"))
    advice = advice_on(rows, Statement("UPDATE rows SET status = $1 WHERE id = $2", 7))
    assert "7 calls" in warned(advice, "often-updated")[0].reason
    assert warned(advice_on(rows, facts("rows", 100, updates=500)), "often-updated")
    assert not warned(advice_on(rows, facts("rows", 100, updates=50)), "often-updated")


def test_an_id_that_does_not_place_its_row_costs_a_claim() -> None:
    advice = advice_on(placed_by("user", column("id"), column("user")))
    assert [warning.column for warning in warned(advice, "claimed-id")] == ["id"]
    assert not advice_on(placed_by("user", column("id", "uuid"), column("user"))).warnings


def test_a_row_that_names_rows_on_several_shards_is_over_normalised() -> None:
    items = table("items", None, column("id", "uuid"), column("a"), column("b"), column("c"))
    parents = [table(name, None) for name in ("aa", "bb", "cc")]
    keys = [foreign_key("items", name, name * 2, on_delete="CASCADE") for name in "abc"]
    [warning] = warned(advice_on(items, *parents, *keys), "over-normalised")
    assert (warning.table, "bb and cc" in warning.reason) == ("items", True)


def test_a_table_without_a_column_for_it_is_a_reference_table_with_a_warning() -> None:
    advice = advice_on(table("prices", None, column("amount", "numeric"), key=()))
    assert tag_of(advice, "prices") == "@reference"
    assert [warning.table for warning in warned(advice, "no-shard-key")] == ["prices"]


def test_a_reference_table_that_names_another_lives_with_none() -> None:
    prices = table("prices", None, column("amount", "numeric"), key=("amount",))
    days = table("days", None, column("day", "date"), column("price", "numeric"), key=("day",))
    advice = advice_on(prices, days, foreign_key("days", "price", "prices", "amount"))
    assert (tag_of(advice, "days"), tag_of(advice, "prices")) == ("@reference", "@reference")


# By an operator class of its own, and by a function under one.
LIKE_NAME = UniqueKey("users_name_idx", ("name",), constraint=False, plain=False)
LOWER_LIKE_NAME = UniqueKey("users_lower_idx", (), constraint=False, plain=False)
OWN_KEY = UniqueKey("users_pkey", ("id",), primary=True)


@pytest.mark.parametrize(("index", "tag"), [(LOWER_LIKE_NAME, "@reference"), (LIKE_NAME, "@shard_by name")], ids=str)
def test_an_index_that_bars_a_better_shard_key_is_named(index: UniqueKey, tag: str) -> None:
    advice = advice_on(table("users", None, column("id"), column("name", "text"), unique_keys=(OWN_KEY, index)))
    [users] = advice.tables
    assert (users.tag, f'@shard_by id is refused because of "{index.name}"' in users.reason) == (tag, True)
    [warning] = warned(advice, "barred")
    assert (warning.table, warning.constraint) == ("users", index.name)
    assert f'unique index "{index.name}" holds no column that places a row ("id")' in warning.reason
    assert 'add "id" to it' in warning.advice
    assert not warned(advice, "no-shard-key")


def test_a_partial_index_and_one_over_an_expression_bar_nothing() -> None:
    lowered = Computed((column("lower", "text"),), ("lower(name)",), ("name",), "lower(name)")
    live = Computed((column("name", "text"),), ("name",), ("name", "left_at"), "name", "(left_at IS NULL)")
    indexes = [
        UniqueKey("users_lower_idx", (), constraint=False, plain=False, computed=lowered),
        UniqueKey("users_name_idx", ("name",), constraint=False, plain=False, computed=live),
    ]
    columns = column("id", "uuid"), column("name", "text"), column("left_at", "date")
    users = table("users", None, *columns, unique_keys=(OWN_KEY, *indexes))
    advice = advice_on(users, Statement("SELECT * FROM users WHERE left_at = $1", 9))
    assert tag_of(advice, "users") == "@shard_by id"
    assert not warned(advice, "barred")
    assert advice.statements is not None
    assert advice.statements.by_claim == 0


def test_an_index_that_bars_nothing_better_is_not_warned_of() -> None:
    owned = UniqueKey("notes_idx", ("owner",), constraint=False, plain=False)
    keys = UniqueKey("notes_pkey", ("id",), primary=True), owned
    notes = table("notes", None, column("id"), column("owner"), unique_keys=keys)
    advice = advice_on(table("users", None), notes, foreign_key("notes", "owner", "users", on_delete="CASCADE"))
    assert tag_of(advice, "notes") == "@shard_with owner"
    assert not warned(advice, "barred")


def test_an_exclusion_that_bars_a_shard_key_is_named() -> None:
    rooms = table("rooms", None, column("id"), exclusions=(Exclusion("apart", ()),))
    [warning] = warned(advice_on(rooms), "barred")
    assert (warning.constraint, "compare id with =" in warning.advice) == ("apart", True)


def test_a_unique_name_is_no_shard_key_because_it_may_change() -> None:
    keys = UniqueKey("users_pkey", ("id",), primary=True), UniqueKey("users_name_key", ("name",))
    users = table("users", None, column("id", "uuid"), column("name", "text"), unique_keys=keys)
    advice = advice_on(users, Statement("SELECT * FROM users WHERE name = $1", 9))
    assert tag_of(advice, "users") == "@shard_by id"
    assert advice.statements is not None
    assert advice.statements.by_claim == 9


def test_tables_that_name_each_other_are_placed_too() -> None:
    teams = table("teams", None, column("id", "uuid"), column("owner", "uuid"))
    users = table("users", None, column("id", "uuid"), column("team", "uuid"))
    advice = advice_on(teams, users, foreign_key("teams", "owner", "users"), foreign_key("users", "team", "teams"))
    assert (advice.local_keys, advice.crossing_keys) == (1, 1)


def test_a_schema_of_many_keys_is_planned() -> None:
    names = [f"t{number:02}" for number in range(25)]
    parents = {name: names[:place] for place, name in enumerate(names)}
    tables = [table(name, None, column("id"), *map(column, parents[name])) for name in names]
    keys = [foreign_key(name, parent, parent) for name in names for parent in parents[name]]
    assert advice_on(*tables, *keys).plan is not None


def test_what_is_written_keeps_the_text() -> None:
    statement = comment_statement(table("a", "It's\nprose \\ here"), "@reference", {"a": '"a"'})
    assert statement == """COMMENT ON TABLE public."a" IS E'It''s\\nprose \\\\ here\\n@reference';"""
    assert tagged_copy("SELECT 1;\n", []) == "SELECT 1;\n"
    assert tagged_copy("SELECT 1 -- one", ["x;"]).startswith("SELECT 1 -- one\n;\n")
