-- Riders, drivers and trips. This file also runs unchanged on a single PostgreSQL: the tags are comments.

CREATE TABLE riders (
    id bigint PRIMARY KEY,
    name text NOT NULL CHECK (name <> '')
);
COMMENT ON TABLE riders IS '@shard_by id';

CREATE TABLE drivers (
    id bigint PRIMARY KEY,
    name text NOT NULL CHECK (name <> ''),
    fare_per_km numeric(6, 2) NOT NULL
);
COMMENT ON TABLE drivers IS '@shard_by id';

-- A trip lives with its rider, so a rider's history is read on one shard. Its driver may live on any. The name of the
-- driver follows the driver, the fare is what it was when the trip was booked.
CREATE TABLE trips (
    rider_id bigint NOT NULL CONSTRAINT trips_rider REFERENCES riders ON DELETE CASCADE,
    id bigint NOT NULL,
    driver_id bigint CONSTRAINT trips_driver REFERENCES drivers ON DELETE SET NULL,
    driver_name text,
    fare_per_km numeric(6, 2),
    kilometres numeric(6, 1) NOT NULL,
    PRIMARY KEY (rider_id, id)
);
CREATE INDEX ON trips (driver_id);
COMMENT ON TABLE trips IS '@shard_by rider_id';
COMMENT ON COLUMN trips.driver_name IS '@copy driver_id.name';
COMMENT ON COLUMN trips.fare_per_km IS '@copy driver_id.fare_per_km snapshot';

-- Whoever leaves is not kept waiting until all trips have been looked after.
COMMENT ON CONSTRAINT trips_rider ON trips IS '@enforce eventual';
COMMENT ON CONSTRAINT trips_driver ON trips IS '@enforce eventual';
