// Makes Graphile Worker's tables, in the database that libpq's environment names.
const { runMigrations } = require("graphile-worker");

runMigrations({ connectionString: "postgres://" });
