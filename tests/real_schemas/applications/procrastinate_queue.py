"""Makes procrastinate's tables, in the database that libpq's environment names."""

import procrastinate

app = procrastinate.App(connector=procrastinate.SyncPsycopgConnector())
with app.open():
    app.schema_manager.apply_schema()
