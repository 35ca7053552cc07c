"""Makes MLflow's tables by its migrations (Alembic), in the database that libpq's environment names."""

import sqlalchemy
from mlflow.store.db.utils import _initialize_tables

_initialize_tables(sqlalchemy.create_engine("postgresql+psycopg://"))
